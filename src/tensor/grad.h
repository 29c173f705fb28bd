/* Gradients as operations of the same graph: reverse-mode differentiation (Linnainmaa, 1970). A model's graph grows by
 * the nodes that compute the gradients of its trained weights, so training runs on the same plans and devices.
 *
 * Each differentiable operation has a rule pn_back_<name> in op/, beside its shape rule: it appends the gradients of
 * its operands, given that of its result. op.def says which operations have one. */
#ifndef PN_TENSOR_GRAD_H
#define PN_TENSOR_GRAD_H

#include "tensor/graph.h"

/* A graph while gradients are appended. */
struct pn_grad {
    struct pn_graph *g;
    pn_array n;    /* nodes before the first gradient */
    bool *wanted;  /* (n): depends on a trained weight */
    pn_array *sum; /* (n): the gradient of each array so far; PN_NONE: none */
    /* With checkpoints: what the arrays from n on are copies of, or PN_NONE; and, while a layer is walked, the copies
     * of arrays (n), or PN_NONE. */
    struct {
        pn_array *data;
        size_t len, cap;
    } origin;
    pn_array *copy;
    int32_t n_layers, layer; /* that have checkpoints; the one whose copies exist, -1: none */
};

/* Appends the gradients of the sum over `seed` * y, of y's shape, with respect to the leaves that `trained` (one per
 * node) marks: grads (one per node) gets computed arrays with one row, (1, n_rows, n_cols) for a matrix, (1, n_mat *
 * n_rows, n_cols) for a stack, and PN_NONE for all other nodes and for leaves that y does not depend on. The arrays of
 * the first n_checkpoints layers (0: none) are computed again for the backward pass (Chen et al., 2016), so that only
 * their inputs are kept: the same numbers, in less memory and more time.
 * PANTRY_UNSUPPORTED names an operation that has no rule yet. */
pantry_status pn_grad_append(struct pn_graph *g, pn_array y, pn_array seed, int n_checkpoints, const bool *trained,
                             pn_array *grads, struct pantry_error *err);

/* ---- for rules ---- */

/* Given the gradient `dy` of node `y`. Nodes move while a graph grows: copy what you need before you append. */
typedef void pn_grad_fn(struct pn_grad *t, pn_array y, pn_array dy);
/* Whether `a` depends on a trained weight. */
bool pn_grad_wants(const struct pn_grad *t, pn_array a);
/* Adds to the gradient of `a`. `da` has as many values per row as `a`, in any division into heads. */
void pn_grad_add(struct pn_grad *t, pn_array a, pn_array da);

/* ---- operations of the backward pass ---- */

/* dy (rows, n1, n2), weight (n1 * n2, n_cols) -> (rows, 1, n_cols): times the transposed weight. */
pn_array pn_matmul_back(struct pn_graph *g, pn_array dy, pn_array weight);
/* dy (rows, slots, n_out), stack (n_mat, n_out, n) -> (rows, slots, n): see pn_matmul_each. */
pn_array pn_matmul_each_back(struct pn_graph *g, pn_array dy, pn_array stack, pn_array route);
/* dy (rows, ...m values), x (rows, ...n values) -> (1, m, n): the sum over rows of dy' x. */
pn_array pn_outer(struct pn_graph *g, pn_array dy, pn_array x);
/* dy (rows, slots, m), x (rows, slots or 1, n) -> (1, n_mat * m, n): the same for each matrix over its own slots.
 * Without x (PN_NONE): the sum of dy, n = 1. */
pn_array pn_outer_each(struct pn_graph *g, pn_array dy, pn_array x, pn_array route, int n_mat);
/* x (rows, n1, n2) -> (1, 1, n): the sum over rows, and over heads if n is n2 and not n1 * n2. */
pn_array pn_column_sum(struct pn_graph *g, pn_array x, int n);
/* dy * act'(x). */
pn_array pn_act_back(struct pn_graph *g, pn_array x, pn_array dy, enum pn_act_fn fn);
/* dy where low <= x <= high, else 0. */
pn_array pn_clamp_back(struct pn_graph *g, pn_array x, pn_array dy, float low, float high);
/* Gradients of norms with respect to x. */
pn_array pn_rms_norm_back(struct pn_graph *g, pn_array x, pn_array dy, pn_array weight, float eps);
pn_array pn_layer_norm_back(struct pn_graph *g, pn_array x, pn_array dy, pn_array weight, float eps);
pn_array pn_cutoff_back(struct pn_graph *g, pn_array x, pn_array dy, float by);
/* Rotates back. */
pn_array pn_rope_back(struct pn_graph *g, pn_array dy, pn_array table, enum pn_rope_kind kind);
/* The gradient (rows, 1, n_expert) of a router's logits from that of the route (rows, 2, n_used), whose second half is
 * ignored: the choice itself has no gradient. */
pn_array pn_route_back(struct pn_graph *g, pn_array logits, pn_array route, pn_array droute);
/* a.b of each head: (rows, n1, n2), the same -> (rows, n1, 1). */
pn_array pn_head_dot(struct pn_graph *g, pn_array a, pn_array b);
/* (rows, 1, n) -> (rows, n1, n): n1 copies. */
pn_array pn_spread(struct pn_graph *g, pn_array x, int n1);
/* (rows, n1, n) -> (rows, n1, n2): zeros, with x's values from `offset` on. */
pn_array pn_pad(struct pn_graph *g, pn_array x, int offset, int n2);
/* (outputs or hidden states, n1, n2) -> (tokens, n1, n2): zeros for all other tokens. */
pn_array pn_rows_back(struct pn_graph *g, pn_array x);

/* ---- dropout (op/elementwise.c) ---- */

/* Sets a random share of x's values to 0 and divides the others by 1 - share. `keys` (rows, 1, 2): whole numbers below
 * 2^24 as floats, which choose the values with `salt`; a negative first one: the row stays as it is. */
pn_array pn_dropout(struct pn_graph *g, pn_array x, pn_array keys, float share, uint32_t salt);

/* ---- order ---- */

/* x, not before `y`, an array with the same kind of rows, is there. */
pn_array pn_after(struct pn_graph *g, pn_array x, pn_array y);

/* ---- attention of a batch over its own keys (op/attend.c) ---- */

/* What pn_attention computes, for sequences that begin in this batch and whose keys and values are arrays instead of a
 * cache: q (tokens, n_head, dim_k), k (tokens, n_head_kv, dim_k), v (tokens, n_head_kv, dim_v) -> (tokens, n_head,
 * dim_v). `sinks` (n_head) and `bias` (a table of positions) may be PN_NONE. */
pn_array pn_attend(struct pn_graph *g, pn_array q, pn_array k, pn_array v, pn_array sinks, pn_array bias,
                   const struct pn_attention_params *params);
/* Its gradient: (tokens, 1, n): of the queries, keys and values, then of each head's sink if there are any. Scores are
 * computed again a row at a time, so memory is linear in the length. */
pn_array pn_attend_back(struct pn_graph *g, pn_array y, pn_array dy);

/* ---- the loss (op/loss.c) ---- */

/* Cross-entropy of the logits cap(factor * (x W' + bias)) with `targets`: x (rows, ... n_cols values), weight (n_vocab,
 * n_cols), targets (rows, 1, 1) ids as floats -> (rows, 1, 2): -log p(target), and the logarithm of the sum of
 * exponentials. softcap c > 0: cap is c tanh(z / c). Logits are computed in tiles of the vocabulary and never whole. */
pn_array pn_cross_entropy(struct pn_graph *g, pn_array x, pn_array weight, pn_array bias, pn_array targets,
                          float factor, float softcap);

#endif
