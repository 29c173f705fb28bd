/* A plan compiled for the CPU, and one run of it: addresses resolved, buffers allocated, work divided. All files of
 * this folder are built on these structs and on the functions that find operands and shares of work. */
#ifndef PN_DEVICE_CPU_PROGRAM_H
#define PN_DEVICE_CPU_PROGRAM_H

#include "base/threads.h"
#include "device/cpu/cpu.h"
#include "device/cpu/kernel.h"
#include "tensor/op.h"

struct pn_cpu {
    struct pn_device base;
    struct pn_cpu_kernels kernels;
    struct pn_pool *pool;
    uint64_t elapsed;
};

enum { PN_CPU_MAX_SPLITS = 16, PN_CPU_SPLIT_MAX_TOKENS = 16, PN_CPU_MAX_CHUNK = 64 };

/* What one worker has for itself. */
struct pn_cpu_worker {
    float *own;    /* private copies of one row (plan->own_memory bytes) */
    void *q8;      /* one quantized activation row */
    float *row;    /* one gathered activation row */
    void *scratch; /* PN_CPU_SCRATCH bytes for kernels */
    float *tile;   /* results of a gating product */
    float *attn;   /* attention: scaled queries, scores, accumulators, maxima and sums */
};

struct pn_cpu_phase {
    bool wants_q8[PN_COLUMNS_COUNT]; /* of the operand of products: some kernel reads q8 activations */
    bool gathers;                    /* the operand's rows are not contiguous */
    int64_t k;
    int64_t chunk[PN_MAX_PRODUCTS];    /* weight rows claimed at once */
    int64_t n_chunks[PN_MAX_PRODUCTS]; /* 0 for gating products */
    int64_t total_chunks;
    int query_tile; /* attention: tokens a task takes, and ... */
    int schedule;   /* ... which of the program's schedules has its tasks */
};

/* Which slots of a step meet which matrix of a stack (experts.c). */
struct pn_cpu_groups {
    int32_t n;                  /* matrices in use */
    int32_t *mat;               /* (n): which */
    int32_t *first;             /* (n + 1): where their slots start in the indices */
    int32_t *count;             /* (n_mat) */
    int32_t *x_index, *y_index; /* (slots): rows of the operand and of the result */
};

/* The tasks of attention in a step, which layers of equal heads and windows share: sequences in the order in which they
 * are begun, those with the longest tasks first, and how many tasks come before each. */
struct pn_cpu_schedule {
    const struct pn_node *node; /* the first of them: heads, windows */
    int tile;
    int64_t n_tasks;
    int64_t *first;            /* (max_seqs + 1), in that order */
    int64_t *length;           /* ... pages of a sequence's longest task */
    int32_t *order, *n_splits; /* ... the sequence, and into how many parts its pages go */
};

/* The most of each that any phase needs. */
struct pn_cpu_each_sizes {
    size_t q8, slots, mats; /* quantized bytes and slots of a token; matrices of a stack */
};

struct pn_cpu_sizes {
    size_t q8_row, gathered_row, attn, partial, tasks;
    struct pn_cpu_each_sizes each;
};

struct pn_program {
    const struct pn_plan *plan;
    struct pn_cpu *device;
    struct pn_arena arena;
    uint64_t scratch; /* the address of the scratch that pointers below are laid out in; 0: none yet */
    size_t scratch_bytes;
    unsigned char *memory;      /* the arrays of a step */
    struct pn_cpu_sizes *sizes; /* what the rest of the scratch is divided by */
    struct pn_cpu_worker *workers;
    struct pn_cpu_phase *phases;
    struct pn_claim *claims; /* (n_phases) */
    const float **vectors;   /* (n_nodes): weight vectors and biases of experts as float32, NULL for others */
    unsigned char *q8;       /* quantized operand of the running phase: (max_tokens, row) */
    float *gathered;         /* the operand's rows, made contiguous */
    float *partial;          /* attention over splits: (task, split, heads of a group, 2 + dim_v) */
    atomic_int *split_done;  /* (task): 0 between steps, so not in the scratch */
    struct pn_cpu_groups groups;
    struct pn_cpu_schedule *schedules; /* how attention is divided, for each kind of it */
    int n_schedules;
};

/* One run of a program, as every worker sees it. */
struct pn_cpu_run {
    struct pn_program *program;
    const struct pn_batch *batch;
    bool single; /* one token: every worker does the row operations for itself */
    atomic_int status;
    struct pantry_error error; /* of the worker that set status */
};

/* Where an operand is for `worker`. */
static inline struct pn_strided pn_cpu_view(const struct pn_cpu_run *run, int worker, const struct pn_place *at)
{
    const struct pn_program *p = run->program;
    uintptr_t base;
    if (run->single && at->own >= 0)
        return (struct pn_strided){(float *)((uintptr_t)p->workers[worker].own + (size_t)at->own), at->stride0,
                                   at->stride1};
    switch (at->space) {
    case PN_SPACE_ARENA:
        base = (uintptr_t)p->memory;
        break;
    case PN_SPACE_RESULT:
        base = (uintptr_t)run->batch->results[at->index];
        break;
    case PN_SPACE_INPUT:
        base = (uintptr_t)run->batch->inputs[at->index];
        break;
    default:
        return (struct pn_strided){0};
    }
    return (struct pn_strided){(float *)(base + at->offset), at->stride0, at->stride1};
}

/* A weight vector as float32; NULL for operands of other kinds. */
static inline const float *pn_cpu_vector(const struct pn_program *p, const struct pn_place *at)
{
    return at->space == PN_SPACE_WEIGHT ? p->vectors[at->index] : NULL;
}

static inline int64_t pn_cpu_n_rows(const struct pn_cpu_run *run, const struct pn_node *node)
{
    return pn_batch_n_rows(run->batch, node->rows);
}

/* Worker's share of n rows: [first, end). */
static inline void pn_cpu_share(const struct pn_cpu_run *run, int worker, int64_t n, int64_t *first, int64_t *end)
{
    int64_t threads = run->program->device->base.properties.n_threads;
    *first = n * worker / threads;
    *end = n * (worker + 1) / threads;
}

#endif
