/* Plans: a graph put in order for a device, with operations fused and memory assigned.
 *
 * A plan is a list of phases. A phase first runs row operations (norms, rotations, sums: each row alone), then one wide
 * operation that all workers share; between phases everybody waits. So a decoder layer takes five phases:
 *
 *   norm | Q, K, V      rotate | write cache, attend      O + residual      norm | act(gate) * up      down + residual
 *
 * Products of one operand run as one phase, so the operand is prepared once. What follows a product element by element
 * (bias, activation, gate, residual, scale, soft cap) is applied while its result is in cache: its epilogue.
 *
 * Memory: every array lives from the phase that makes it to the last that reads it; arrays that are never alive
 * together share an address. Sizes are for `max_tokens` and `max_outputs` rows; a plan runs any step up to those. */
#ifndef PN_TENSOR_PLAN_H
#define PN_TENSOR_PLAN_H

#include "tensor/graph.h"

enum { PN_MAX_PRODUCTS = 8, PN_MAX_EPILOGUE = 6 };

enum pn_phase_kind {
    PN_PHASE_ROWS,      /* row operations only */
    PN_PHASE_PRODUCT,   /* matrix products of one operand */
    PN_PHASE_ATTENTION, /* attention, after writing its cache if `write` is set */
    PN_PHASE_OTHER      /* one wide operation of another kind */
};

struct pn_product {
    pn_array matmul; /* the node whose weight is used */
    int n_epilogue;
    pn_array epilogue[PN_MAX_EPILOGUE]; /* element-wise nodes, in order */
    int gate;                           /* >= 0: multiplied with act(product `gate` of this phase) ... */
    int gate_at;                        /* ... after that many nodes of the epilogue */
    enum pn_act_fn gate_fn;
    pn_array act, after_gate; /* the nodes that gate_fn is from and that are the product of both */
    pn_array out;             /* where the result goes; PN_NONE for a product that only gates another */
};

struct pn_phase {
    enum pn_phase_kind kind;
    int first_row, n_row; /* in plan->rows: the row operations, in order */
    pn_array x;           /* PRODUCT: the operand */
    int n_products;
    struct pn_product *products;
    pn_array write, wide; /* ATTENTION: cache_write (or PN_NONE) and attention; OTHER: wide */
};

struct pn_slot {
    size_t offset;   /* bytes in the arena; SIZE_MAX: no memory (leaf, view, fused away) or the result */
    size_t own;      /* bytes in a worker's private copy of one row, valid for row operations */
    int first, last; /* phases */
};

struct pn_plan {
    const struct pn_graph *graph;
    struct pn_arena arena;
    int max_tokens, max_outputs;
    bool fused;
    struct pn_phase *phases;
    int n_phases;
    pn_array *rows;
    struct pn_slot *slots; /* one a node */
    size_t memory;         /* bytes of the step's arena */
    size_t own_memory;     /* bytes of a worker's private rows */
    pn_array result;
};

/* Plans the computation of `result`. With `fuse` false every operation stands alone (the reference device). The graph
 * must outlive the plan. */
pn_status pn_plan_new(const struct pn_graph *graph, pn_array result, int max_tokens, int max_outputs, bool fuse,
                      struct pn_plan **out, struct pn_error *err);
void pn_plan_free(struct pn_plan *plan);

/* Prints the phases, one a line: for tests, for people. */
void pn_plan_print(const struct pn_plan *plan, struct pn_buf *out);

#endif
