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

enum { PN_CPU_MAX_SPLITS = 16, PN_CPU_SPLIT_TOKENS = 16, PN_CPU_MAX_CHUNK = 64 };

/* A worker's own memory. */
struct pn_cpu_worker {
    float *own;    /* private copies of one row (plan->own_memory bytes) */
    void *q15;     /* one quantized activation row */
    float *row;    /* one gathered activation row */
    void *scratch; /* PN_CPU_SCRATCH bytes for kernels */
    float *tile;   /* results of a gating product */
    float *attn;   /* attention: scaled queries, scores, accumulators, maxima and sums */
};

struct pn_cpu_phase {
    bool wants_q15; /* whether a product of the phase reads q15 activations */
    bool gathers;   /* the operand's rows are not contiguous */
    int64_t k;
    int64_t chunk[PN_MAX_PRODUCTS];    /* weight rows claimed at once */
    int64_t n_chunks[PN_MAX_PRODUCTS]; /* 0 for gating products */
    int64_t total_chunks;
    int schedule; /* attention: the program's schedule with its tasks */
};

/* The slots of a step, grouped by matrix of a stack (experts.c). */
struct pn_cpu_groups {
    int32_t n;                  /* matrices in use */
    int32_t *mat;               /* (n): their numbers */
    int32_t *first;             /* (n + 1): where their slots start in x_index and y_index */
    int32_t *count;             /* (n_mat) */
    int32_t *x_index, *y_index; /* (slots): rows of the operand and of the result */
};

/* The tasks of attention in a step, for layers with equal heads and windows. Sequences with the longest tasks start
 * first; `first` counts the tasks before each sequence. */
struct pn_cpu_schedule {
    const struct pn_node *node; /* the first of these layers */
    int tile;
    int64_t n_tasks;
    int64_t *first;            /* (max_seqs + 1), by position in `order` */
    int64_t *length;           /* (max_seqs + 1), by sequence: pages of its longest task */
    int32_t *order, *n_splits; /* sequences by start; by sequence: parts that its pages are split into */
};

/* The most that any product with a stack of matrices needs. */
struct pn_cpu_each_sizes {
    size_t q15, slots, mats; /* quantized bytes per token, slots per token, matrices */
};

/* The most that any phase needs, in bytes; `tasks` is a count. */
struct pn_cpu_sizes {
    size_t q15_row, gathered_row, attn, partial, tasks;
    struct pn_cpu_each_sizes each;
};

struct pn_program {
    const struct pn_plan *plan;
    struct pn_cpu *device;
    struct pn_arena arena;
    uint64_t scratch; /* address of the scratch that the pointers below point into; 0: none yet */
    size_t scratch_bytes;
    unsigned char *memory;      /* the arrays of a step */
    struct pn_cpu_sizes *sizes; /* of the other parts of the scratch */
    struct pn_cpu_worker *workers;
    struct pn_cpu_phase *phases;
    struct pn_claim *claims; /* (n_phases) */
    const float **vectors;   /* (n_nodes): weight vectors and biases of experts as float32, NULL for others */
    unsigned char *q15;      /* quantized operand of the running phase: (max_tokens, row) */
    float *gathered;         /* ... and gathered: its rows made contiguous */
    int64_t n_parts;         /* of attention: all tokens of a step times the most splits of a task */
    float *partial;          /* ... (task, split, its query rows, 2 + dim_v) */
    atomic_int *split_done;  /* (task): 0 between steps, so not in the scratch */
    struct pn_cpu_groups groups;
    struct pn_cpu_schedule *schedules; /* of attention, one per kind of layer */
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

/* The address and strides of an operand for `worker`. */
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

/* The share of n rows that belongs to `worker`: [first, end). */
static inline void pn_cpu_share(const struct pn_cpu_run *run, int worker, int64_t n, int64_t *first, int64_t *end)
{
    int64_t threads = run->program->device->base.properties.n_threads;
    *first = n * worker / threads;
    *end = n * (worker + 1) / threads;
}

#endif
