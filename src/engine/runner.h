/* A loaded model on a device: its plans, its pools, and the locks that give steps their turn: one for this model's, one
 * for those of all models on the device. */
#ifndef PN_ENGINE_RUNNER_H
#define PN_ENGINE_RUNNER_H

#include "engine/devices.h"
#include "engine/kv.h"
#include "engine/state.h"

/* Sessions feed at most PN_MAX_BATCH tokens at once; texts that must be read as a whole may be longer. */
enum { PN_N_BUCKETS = 6, PN_DEFAULT_BATCH = 512, PN_MAX_BATCH = 4096, PN_MAX_STEP = 32768 };

/* LongRoPE has frequencies for short and for long contexts. */
enum pn_rope_choice { PN_ROPE_ANY, PN_ROPE_SHORT, PN_ROPE_LONG };

struct pn_runner {
    struct pn_model *model;
    struct pn_device *device;
    pthread_mutex_t *turn; /* the device's; NULL: no other model uses it */
    struct pn_memory *budget;
    bool counted;                     /* its weights are in the budget */
    const struct pn_weight **weights; /* what the device has placed: tensors, each once */
    size_t n_weights;
    struct pn_scratch { /* of all programs, as one runs at a time */
        struct pn_buffer buffer;
        uint64_t taken;   /* from the budget */
        uint64_t touched; /* of it, by steps that have run */
    } scratch;
    struct pn_bucket { /* a plan for up to max_tokens tokens, made when first needed */
        int max_tokens;
        struct pn_plan *plan;
        struct pn_program *program;
        uint64_t bytes; /* of the scratch that its longest step so far touches */
        bool in_use;    /* it has run */
    } buckets[PN_N_RESULTS][PN_N_BUCKETS];
    struct pn_kv_pool *pool;      /* NULL: nobody has settled the type */
    struct pn_state_pool *states; /* NULL: no layer is recurrent */
    int n_context;                /* of sessions that do not say; 0: as trained */
    enum pn_rope_choice rope;     /* of all sessions */
    pthread_mutex_t lock;
};

/* Takes model and device over (also on failure); a device of pn_devices_open or one of its own. */
pn_status pn_runner_new(struct pn_model *model, struct pn_device *device, struct pn_runner **out, struct pn_error *err);
void pn_runner_free(struct pn_runner *runner);
/* The pool of keys and values, in one type for all sequences: "f16", "q8_0" or "f32", or NULL for any. Whoever asks
 * first settles it. */
pn_status pn_runner_pool(struct pn_runner *runner, const char *type, struct pn_kv_pool **out, struct pn_error *err);
/* Settles or checks how sessions with a context of that length rotate. */
pn_status pn_runner_settle_rope(struct pn_runner *runner, int n_context, struct pn_error *err);
/* A length of context that rotates as was settled. */
int pn_runner_rope_context(const struct pn_runner *runner);
/* Makes the plan that a step of `n_tokens` towards logits runs, so that the step allocates nothing. */
pn_status pn_runner_prepare(struct pn_runner *runner, int n_tokens, struct pn_error *err);
/* Runs one step; steps of several threads take turns. A damaged file is an error here. */
pn_status pn_runner_step(struct pn_runner *runner, enum pn_result result, const struct pn_batch *batch,
                         struct pn_error *err);

#endif
