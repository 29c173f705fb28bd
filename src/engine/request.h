/* A request: a prompt, how to go on from it, and a bounded queue of what came of it.
 *
 * The engine's thread fills the queue, any one thread empties it. When the reader is slow and the queue is full, the
 * request waits, and nobody else does. */
#ifndef PN_ENGINE_REQUEST_H
#define PN_ENGINE_REQUEST_H

#include "engine/logprobs.h"
#include "engine/sample.h"
#include "engine/sequence.h"
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
    /* what was asked, fixed */
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

    /* the engine thread's */
    enum pn_request_phase phase;
    struct pn_request *next;      /* in the scheduler's list */
    struct pn_request *forgotten; /* in the list of those that nobody reads, under the scheduler's lock */
    struct pn_seq seq;
    int32_t *ids; /* (n_context) */
    int kept;     /* tokens that the prefix tree has been told of */
    int boundary; /* 0, or where a younger prompt goes on from this one */
    bool in_step;
    struct pn_sampler sampler;
    struct pn_logprobs logprobs;
    struct pn_detokenizer *detokenizer;
    struct pn_buf text; /* decoded, but not shown: it may be the beginning of a stop text */
    struct pantry_stats stats;
    uint64_t submitted, started, first_token; /* ns */
    int n_steps;                              /* of one token, after the prompt's */
    double cache_bytes;                       /* read by those steps */
    int n_past;                               /* tokens in memory when it ended */

    /* both threads', under the lock */
    pthread_mutex_t lock;
    pthread_cond_t ready; /* there is an event */
    struct pn_event {
        int32_t id;
        size_t len;
        float logprob;
        int n_top;
    } events[PN_MAX_EVENTS];     /* a ring */
    struct pantry_logprob *tops; /* (PN_MAX_EVENTS, n_most): of the events */
    int first_event, n_events;
    struct pn_buf waiting;     /* the events' text */
    bool starved;              /* the engine's thread found no room */
    bool ended;                /* nothing more comes */
    pantry_status status;      /* with which it ended, and */
    struct pantry_error error; /* its sentence */

    /* the reader's */
    struct pantry_event event; /* the last one, */
    struct pantry_token token; /* its token, and */
    struct pn_buf out;         /* its text */
    struct pantry_logprob top[PN_MAX_TOP_LOGPROBS];
    int n_read; /* tokens */
};

/* Copies the options. Checks what can be known before anything runs. */
pantry_status pn_request_new(struct pn_sched *sched, const struct pn_model *model, const struct pn_tokenizer *tokenizer,
                             const struct pantry_request_options *options, struct pn_request **out,
                             struct pantry_error *err);
void pn_request_destroy(struct pn_request *r);

bool pn_request_cancelled(const struct pn_request *r);
/* The queue has room for what one token may bring. */
bool pn_request_has_room(struct pn_request *r);
/* A token was chosen: its text goes to the queue. Sets stats.stop where a stop text ends the request. */
pantry_status pn_request_emit(struct pn_request *r, int32_t id, struct pantry_error *err);
/* The last event. With PANTRY_OK what was held back for a stop text comes first. */
void pn_request_end(struct pn_request *r, pantry_status status, const struct pantry_error *err);
/* Waits for an event for `timeout_ms` (negative: as long as it takes); NULL: there is none yet. Sets *has_room where
 * the engine's thread waits for the room that there is now. */
const struct pantry_event *pn_request_next(struct pn_request *r, int timeout_ms, bool *has_room);

#endif
