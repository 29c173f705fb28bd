/* A request: a prompt, how to continue it, and a bounded queue of its tokens.
 *
 * The engine's thread fills the queue and one other thread empties it. If the reader is slow and the queue is full,
 * only this request waits. */
#ifndef PN_ENGINE_REQUEST_H
#define PN_ENGINE_REQUEST_H

#include "engine/guide.h"
#include "engine/logprobs.h"
#include "engine/sample.h"
#include "engine/pictures.h"
#include "engine/sequence.h"
#include "engine/think.h"
#include "text/tokenizer/tokenizer.h"

#include "pantry.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PN_MAX_EVENTS = 64, PN_MAX_EVENT_BYTES = 4096 };

struct pn_sched;

enum pn_request_phase {
    PN_REQUEST_QUEUED, /* holds no memory */
    PN_REQUEST_RUNNING,
    PN_REQUEST_ENDED
};

struct pn_request {
    /* the options; they do not change */
    struct pn_sched *sched;
    const struct pn_tokenizer *tokenizer; /* NULL: tokens have no text */
    struct pantry_sampling sampling;
    int n_prompt, max_tokens, n_context; /* max_tokens 0: until the context is full */
    int n_batch;                         /* most tokens of its prompt in a step */
    bool ignore_eos;
    char **stop; /* (n_stop) */
    size_t n_stop;
    char *key;                        /* of the prefix tree */
    const pantry_cancel *also_cancel; /* the caller's; may be NULL */
    atomic_bool cancel;
    atomic_int prompt_read, prompt_cached; /* tokens, for the caller */

    /* the engine thread's */
    enum pn_request_phase phase;
    struct pn_request *next;      /* in the scheduler's list */
    struct pn_request *forgotten; /* in the list of abandoned requests, under the scheduler's lock */
    struct pn_seq seq;
    int32_t *ids;                 /* (n_context) */
    int32_t *keys;                /* (n_context): for the prefix tree; `ids` without pictures */
    struct pn_pictures *pictures; /* of the prompt; NULL: none */
    int kept;                     /* tokens that are in the prefix tree */
    int boundary;                 /* where a younger prompt branches off; 0: nowhere */
    struct pn_disk_load *load;    /* of its prompt's beginning, if it waits for one */
    bool looked;                  /* for it on the disk */
    int n_memory, n_loaded;       /* tokens that were in memory then, and after the load */
    bool in_step;
    struct pn_sampler sampler;
    struct pn_think think;
    const pantry_cancel *end_thinking; /* the caller's; may be NULL */
    struct pn_guide guide;             /* within a grammar */
    bool may_think;                    /* the template knows reasoning */
    struct pn_ids forced;              /* tokens that come next, whatever the model says, ... */
    size_t at_forced;                  /* ... from here on */
    struct pn_logprobs logprobs;
    struct pn_detokenizer *detokenizer;
    struct pn_buf text; /* decoded but held back: it may begin a stop text */
    struct pantry_stats stats;
    uint64_t submitted, started, first_token; /* ns */
    int n_steps;                              /* of one token, after the prompt's */
    double cache_bytes;                       /* read by those steps */
    int n_past;                               /* tokens in memory when it ended */

    /* of both threads, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t ready; /* an event arrived */
    struct pn_event {
        int32_t id;
        size_t len;
        float logprob;
        int n_top;
    } events[PN_MAX_EVENTS];     /* a ring */
    struct pantry_logprob *tops; /* (PN_MAX_EVENTS, n_most): of the events */
    int first_event, n_events;
    struct pn_buf waiting;     /* the events' text */
    bool starved;              /* the engine's thread waits for room */
    bool ended;                /* no more events */
    pantry_status status;      /* how it ended, and ... */
    struct pantry_error error; /* ... the message */

    /* of the reader */
    struct pantry_event event; /* the last one ... */
    struct pantry_token token; /* ... with its token ... */
    struct pn_buf out;         /* ... and text */
    struct pantry_logprob top[PN_MAX_TOP_LOGPROBS];
    int n_read; /* tokens */
};

/* Checks and copies the options. `pictures`: of the prompt, encoded; NULL: it has none. */
pantry_status pn_request_new(struct pn_sched *sched, const struct pn_model *model, const struct pn_tokenizer *tokenizer,
                             const struct pantry_request_options *options, struct pn_pictures *pictures,
                             struct pn_request **out, struct pantry_error *err);
void pn_request_destroy(struct pn_request *r);

/* The next token if it is forced; -1: the model says. */
int32_t pn_request_forced(struct pn_request *r);
/* Takes a token that has become part of the answer into account. Sets stats.stop if the answer is whole.
 * PANTRY_INVALID: the grammar does not allow it. */
pantry_status pn_request_took(struct pn_request *r, int32_t id, struct pantry_error *err);
/* Finds tokens that the grammar forces next, after the `n_ids` tokens of r->ids. */
pantry_status pn_request_look_ahead(struct pn_request *r, int n_ids, struct pantry_error *err);
/* Keeps the answer within a grammar. Once, before the request is submitted. */
pantry_status pn_request_guide(struct pn_request *r, struct pn_grammar *grammar, const char *trigger,
                               struct pn_grammar_vocabulary *vocabulary, struct pantry_error *err);

bool pn_request_cancelled(const struct pn_request *r);
/* Whether the queue has room for another token. */
bool pn_request_has_room(struct pn_request *r);
/* Adds a token's text to the queue. Sets stats.stop if a stop text ends the request. */
pantry_status pn_request_emit(struct pn_request *r, int32_t id, struct pantry_error *err);
/* Adds the last event. With PANTRY_OK, text that was held back comes first. */
void pn_request_end(struct pn_request *r, pantry_status status, const struct pantry_error *err);
/* Waits at most `timeout_ms` for an event (negative: forever); NULL: timed out. Sets *has_room if the engine's thread
 * was waiting for room and there is some now. */
const struct pantry_event *pn_request_next(struct pn_request *r, int timeout_ms, bool *has_room);

#endif
