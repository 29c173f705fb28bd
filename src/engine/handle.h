/* The opaque types of pantry.h. */
#ifndef PN_ENGINE_HANDLE_H
#define PN_ENGINE_HANDLE_H

#include "engine/sched.h"
#include "grammar/source.h"
#include "text/template/template.h"
#include "text/tokenizer/tokenizer.h"

#include "pantry.h"

struct pantry_tokenizer {
    struct pn_weights *weights; /* hold the bytes of the tokens; NULL if a model owns them */
    struct pn_tokenizer *tokenizer;
};

struct pantry_model {
    atomic_int refs; /* the caller's, and one per session and request */
    struct pn_runner *runner;
    struct pn_sched *sched; /* created when first needed, under the lock */
    pthread_mutex_t sched_lock;
    struct pn_tokenizer *tokenizer;    /* NULL if the file has none */
    struct pantry_tokenizer view;      /* returned by pantry_model_tokenizer */
    struct pn_template *chat_template; /* parsed on first use */
    pthread_mutex_t template_lock;
    struct pn_grammar_vocabulary *vocabulary; /* for grammars; made on first use, under the template's lock */
    struct pn_eye *eye;                       /* of a model that sees; else NULL, and ... */
    struct pantry_error blind;                /* ... why, if it has a part that could not be opened */
    struct pn_disk_folder *folder;            /* of the prefix cache; NULL: none */
    struct pn_rope_override rope;             /* as asked for; owns its text */
    char *architecture, *name, *license, *tokenizer_name;
    double load_seconds;
};

/* A conversation: a key of the prefix tree, under which its tokens stay in memory. */
struct pantry_session {
    struct pantry_model *model;
    struct pn_sched *sched;
    char key[32];
    int n_context, n_batch;
    int n_past;
};

struct pantry_grammar {
    struct pn_grammar *grammar;
    char *trigger; /* it is about what follows this text, each time it comes; NULL: about the whole answer */
    /* what it was made of; NULL: it was made for a model */
    char *source; /* (len) */
    size_t len;
    enum pn_grammar_kind kind;
    struct pn_schema_options options;
};

struct pantry_prompt {
    struct pantry_model *model;
    struct pn_pictures *pictures; /* NULL: none */
    int32_t *ids;                 /* without pictures; else NULL */
    size_t n;
    struct pn_seen **seen; /* (n_pictures), of `pictures` */
    size_t n_pictures;
};

/* NULL: it has none, or there is no prompt. */
static inline struct pn_pictures *pn_prompt_pictures(const struct pantry_prompt *prompt)
{
    return prompt ? prompt->pictures : NULL;
}

struct pantry_request {
    struct pantry_model *model;
    struct pn_request *request;
};

/* pantry.c: adds a user of the model. pantry_model_free removes one. */
struct pantry_model *pn_model_retain(struct pantry_model *model);
/* The scheduler that runs the model, with keys and values stored as `kv_type` (NULL: as already decided, or the
 * device's default). */
pantry_status pn_model_sched(struct pantry_model *model, const char *kv_type, struct pn_sched **out,
                             struct pantry_error *err);

/* pantry.c: keeps a request's answer within its grammar (NULL: none). PANTRY_UNSUPPORTED: the model has no tokenizer.
 */
pantry_status pn_model_guide(struct pantry_model *model, const pantry_grammar *grammar, struct pn_request *request,
                             struct pantry_error *err);

/* prompt.c: the error where a model that only reads text is shown a picture. */
pantry_status pn_prompt_refuse(const struct pantry_model *model, struct pantry_error *err);
/* prompt.c: encodes the prompt's pictures, if there are any. PANTRY_INVALID: the prompt is another model's. */
pantry_status pn_prompt_encode(const pantry_prompt *prompt, const struct pantry_model *model, struct pantry_error *err);

/* session.c: the context length for a model that generates; `wanted` 0: as loaded or trained, at most 32,768. */
pantry_status pn_context_length(const struct pn_runner *runner, int wanted, int *out, struct pantry_error *err);

/* session.c: shrinks a context that nobody chose until it fits in memory. Fails if a chosen one does not fit, or if the
 * model's rotation is not for it. */
pantry_status pn_fit_context(struct pantry_model *model, int wanted, int n_batch, int *n_context,
                             struct pantry_error *err);

/* options.c: copies a caller's options (NULL: none) over the defaults in `own`. Both begin with their size; `what`
 * names them in errors. */
pantry_status pn_take_options(void *own, const void *given, const char *what, struct pantry_error *err);
/* Checks that a caller's result has a valid size; `what` names it in errors. */
pantry_status pn_check_result(const void *result, const char *what, struct pantry_error *err);
/* Fills a caller's result, as much as its size allows. */
void pn_give_result(void *result, const void *own);

/* Copies the error only if the call failed: a call that succeeds must not report errors it recovered from. */
static inline pantry_status pn_tell(pantry_status status, const struct pantry_error *why, struct pantry_error *err)
{
    if (status && err)
        *err = *why;
    return status;
}

/* options.c: a model file's pooling as callers name it. */
enum pantry_pooling pn_pooling_of(enum pn_pooling pooling);
/* The pooling that a caller asked for; AUTO is the file's. */
enum pn_pooling pn_pooling_for(enum pantry_pooling pooling, enum pn_pooling file);

#endif
