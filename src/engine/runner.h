/* A loaded model on its devices: its plans, its pools, and the locks that make steps take turns: one for the model, and
 * one per device for all models on it.
 *
 * On several devices a step has several stages, each a plan for one device. Between stages, arrays are copied from
 * device to device. Caches and states are on the device whose layers use them. */
#ifndef PN_ENGINE_RUNNER_H
#define PN_ENGINE_RUNNER_H

#include "engine/kv.h"
#include "engine/split.h"
#include "engine/state.h"
#include "tensor/cut.h"

#include <stdatomic.h>

/* Sessions run at most PN_MAX_BATCH tokens per step; texts that must be read as a whole may be longer. */
enum { PN_N_BUCKETS = 6, PN_DEFAULT_BATCH = 512, PN_MAX_BATCH = 4096, PN_MAX_STEP = 32768 };

/* LongRoPE has separate frequencies for short and long contexts. */
enum pn_rope_choice { PN_ROPE_ANY, PN_ROPE_SHORT, PN_ROPE_LONG };

/* One of the devices that the model runs on. */
struct pn_part {
    struct pn_device *device;
    pthread_mutex_t *turn;            /* lock of the device; NULL: no other model uses it */
    const struct pn_weight **weights; /* the tensors placed on it, each once */
    size_t n_weights;
    struct pn_buffer scratch; /* shared by all programs, since one runs at a time; crossing arrays come first */
    uint64_t taken;           /* from the budget, for scratch ... */
    uint64_t touched;         /* ... and how much of it steps have touched */
};

/* An array that crosses between parts, and its place in the part's scratch. */
struct pn_crossing {
    pn_array array;
    size_t at; /* in the part's scratch */
    int from;  /* given: the part that it comes from, or -1 if it is already here ... */
    size_t from_at;
};

struct pn_stage {
    int part;
    struct pn_plan *plan;
    struct pn_program *program;
    struct pn_crossing *given, *results;
    int n_given, n_results;
    const void **inputs; /* (given): for a step */
    void **outputs;      /* (results) */
};

struct pn_bucket { /* plans for up to max_tokens tokens, created when first needed */
    int max_tokens, n_stages;
    pn_array result;
    struct pn_arena arena;
    struct pn_stage *stages;
    size_t crossing[PN_MAX_PARTS];  /* bytes of crossing arrays */
    uint64_t touched[PN_MAX_PARTS]; /* bytes of each part's scratch that the longest step so far has touched */
    bool in_use;                    /* a step has run */
};

struct pn_runner {
    struct pn_model *model;
    struct pn_device *device; /* the first of several */
    struct pn_part parts[PN_MAX_PARTS];
    int n_parts;
    char device_name[256];               /* of all */
    int8_t *device_of, *device_of_cache; /* (nodes), (caches): their part; NULL with one part */
    struct pn_memory *budget;
    bool counted;                      /* its weights are in the budget */
    struct pn_cut *cuts[PN_N_RESULTS]; /* NULL with one part */
    unsigned char *staging;            /* buffer for crossings between devices whose memory the host cannot reach */
    struct pn_bucket buckets[PN_N_RESULTS][PN_N_BUCKETS];
    struct pn_kv_pool *pool;      /* NULL: the type is not decided yet */
    struct pn_state_pool *states; /* NULL: no layer is recurrent */
    int n_context;                /* default of sessions; 0: as trained */
    atomic_int rope;              /* enum pn_rope_choice, of all sessions */
    pthread_mutex_t settle_lock;  /* for pool and rope, which callers may set while steps run */
    pthread_mutex_t lock;         /* of steps */
};

/* Bytes per second that the model's only device reads from its own memory; 0: main memory, or several devices. */
double pn_runner_bandwidth(const struct pn_runner *r);

/* Takes over the model and the devices in `split`, also on failure. Devices may come from pn_device_open too. */
pantry_status pn_runner_new(struct pn_model *model, const struct pn_split *split, struct pn_runner **out,
                            struct pantry_error *err);
void pn_runner_free(struct pn_runner *runner);
/* The pool of keys and values, of one type for all sequences: "f16", "q8_0" or "f32", or NULL for any. The first caller
 * decides. */
pantry_status pn_runner_pool(struct pn_runner *runner, const char *type, struct pn_kv_pool **out,
                             struct pantry_error *err);
/* Decides, or checks, the rotation for sessions with a context of that length. */
pantry_status pn_runner_settle_rope(struct pn_runner *runner, int n_context, struct pantry_error *err);
/* A context length with the rotation that was decided. */
int pn_runner_rope_context(const struct pn_runner *runner);
/* Creates the plan of a step of `n_tokens` for a result and takes its scratch, so that the step allocates nothing.
 * PANTRY_NO_MEMORY: the scratch of a shorter step may fit. */
pantry_status pn_runner_prepare(struct pn_runner *runner, enum pn_result result, int n_tokens,
                                struct pantry_error *err);
/* Runs one step; steps of several threads take turns. The result goes to host memory at batch->results[0]. Fails if the
 * model file was damaged. */
pantry_status pn_runner_step(struct pn_runner *runner, enum pn_result result, const struct pn_batch *batch,
                             struct pantry_error *err);

#endif
