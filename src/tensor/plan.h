/* Plans: a graph ordered for a device, with operations fused, memory assigned and the place of every operand resolved.
 *
 * A plan is a list of phases. A phase first runs row operations (norms, rotations, sums: each row on its own), then one
 * wide operation that all workers share. Workers meet between phases. A decoder layer takes five phases:
 *
 *   norm | Q, K, V      rotate | write cache, attend      O + residual      norm | act(gate) * up      down + residual
 *
 * Products of one operand run in one phase, so the operand is prepared once. Element-wise operations after a product
 * (bias, activation, gate, residual, scale, soft cap) are its epilogue, applied while its result is in cache.
 *
 * Inputs and results are in memory of the caller. Every other array lives in the step's arena from the phase that makes
 * it to the last one that reads it, and arrays that are never alive together may share memory. Sizes are for the most
 * rows of each kind; a plan runs any step up to those.
 *
 * Planning takes time linear in nodes and operands: it counts the missing operands of each node and lists the nodes
 * that miss none. Nothing is looked up while a plan runs: steps give the space, offset and strides of each operand. */
#ifndef PN_TENSOR_PLAN_H
#define PN_TENSOR_PLAN_H

#include "tensor/graph.h"

enum { PN_MAX_PRODUCTS = 8, PN_MAX_EPILOGUE = 6 };

struct pn_plan_spec {
    const pn_array *inputs; /* INPUT leaves, in the order of pn_batch.inputs */
    int n_inputs;
    const pn_array *given; /* arrays that another plan computed; in pn_batch.inputs they follow the leaves */
    int n_given;
    const pn_array *results; /* arrays to compute, in the order of pn_batch.results */
    int n_results;
    int max_rows[PN_ROWS_COUNT]; /* the most rows of each kind in a step */
    int max_pages;               /* the most pages of all sequences of a step together; 0: no limit */
    bool fuse;                   /* false: every operation runs alone (the reference device) */
    /* Whether the device supports an operation, checked for each before planning; NULL: it supports all. */
    bool (*can)(const void *device, const struct pn_graph *graph, const struct pn_node *node);
    const void *device;
    const char *device_name;
};

/* ---- places ---- */

enum pn_space {
    PN_SPACE_NONE,   /* absent, or without values */
    PN_SPACE_WEIGHT, /* the weight of array `index` */
    PN_SPACE_ARENA,  /* of the step */
    PN_SPACE_INPUT,  /* number `index` of the batch's inputs: INPUT leaves, then given arrays */
    PN_SPACE_RESULT  /* number `index` of its results */
};

struct pn_place {
    enum pn_space space;
    int32_t index;
    size_t offset;            /* bytes from the start of the space */
    int64_t stride0, stride1; /* floats between rows, between heads */
    int64_t own;              /* bytes into a worker's private rows, if the reading phase made the array; else -1 */
};

/* An operation with its operands resolved. */
struct pn_step {
    pn_array array;
    const struct pn_node *node;
    struct pn_place out, src[PN_MAX_SRC];
    bool kept; /* a row operation whose result other phases or the caller read */
};

/* ---- phases ---- */

enum pn_phase_kind {
    PN_PHASE_ROWS,      /* row operations only */
    PN_PHASE_PRODUCT,   /* matrix products of one operand */
    PN_PHASE_ATTENTION, /* attention, after writing its cache if `write` is set */
    PN_PHASE_OTHER      /* any other wide operation */
};

/* An element-wise operation of an epilogue; `other` is its second operand, if it has one. */
struct pn_follower {
    pn_array array;
    const struct pn_node *node;
    struct pn_place other;
};

struct pn_product {
    pn_array matmul; /* the node whose weight is used */
    const struct pn_weight *weight;
    int n_epilogue;
    struct pn_follower epilogue[PN_MAX_EPILOGUE]; /* in order */
    int gate;                                     /* >= 0: multiplied with act(product `gate` of this phase) ... */
    int gate_at;                                  /* ... after that many nodes of the epilogue */
    enum pn_act_fn gate_fn;
    pn_array act, after_gate; /* the node of gate_fn and the one that multiplies both */
    pn_array out;             /* the final array; PN_NONE for a product that only gates another */
    struct pn_place to;       /* its place */
};

struct pn_phase {
    enum pn_phase_kind kind;
    int first_row, n_row; /* in plan->steps: the row operations, in order */
    pn_array x;           /* PRODUCT: the operand */
    struct pn_place from; /* its place */
    int n_products;
    struct pn_product *products;
    pn_array write, wide;                    /* ATTENTION: cache_write (or PN_NONE) and attention; OTHER: wide */
    const struct pn_step *write_step, *step; /* the same, resolved */
};

struct pn_slot {
    size_t offset;     /* bytes in the arena; SIZE_MAX: not in the arena (leaf, view, fused, result) */
    size_t bytes;      /* its size, for the most rows */
    size_t own;        /* its place in a worker's private rows, for row operations */
    int first, last;   /* phases */
    int row_phase;     /* the phase whose row operations make it, or -1 */
    int input, result; /* its number as one, or -1 */
    bool kept;         /* a row result that other phases or the caller read */
};

struct pn_plan {
    const struct pn_graph *graph;
    struct pn_arena arena;
    int max_rows[PN_ROWS_COUNT], max_pages;
    bool fused;
    struct pn_phase *phases;
    int n_phases;
    struct pn_step *steps;
    int n_steps;
    struct pn_slot *slots; /* one per node */
    pn_array *results;
    int n_results;
    size_t memory;     /* bytes of the step's arena */
    size_t own_memory; /* bytes of a worker's private rows */
    uint64_t work;     /* nodes, operands and moves that planning visited */
};

/* Plans how to compute the results. The graph must outlive the plan; the spec need not. */
pantry_status pn_plan_new(const struct pn_graph *graph, const struct pn_plan_spec *spec, struct pn_plan **out,
                          struct pantry_error *err);
void pn_plan_free(struct pn_plan *plan);

/* Checks a step against the limits of the plan, and the order of its sequences and rows. Devices call it before a run.
 */
pantry_status pn_plan_check(const struct pn_plan *plan, const struct pn_batch *batch, struct pantry_error *err);

/* Prints the phases, one per line, for tests and debugging. */
void pn_plan_print(const struct pn_plan *plan, struct pn_buf *out);

#endif
