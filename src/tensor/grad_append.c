/* Walking a graph backwards and appending gradients: see grad.h. */
#include "tensor/grad.h"

#include "tensor/op/reference.h"

#include <stdlib.h>

static const char *const open_ops[PN_OP_COUNT] = {
/* those whose rule is missing */
#define PN_GRAD_OPEN_NONE(NAME, name)
#define PN_GRAD_OPEN_RULE(NAME, name)
#define PN_GRAD_OPEN_OPEN(NAME, name)            [PN_OP_##NAME] = #name,
#define PN_OP(NAME, name, kind, trait, gradient) PN_GRAD_OPEN_##gradient(NAME, name)
#include "tensor/op.def"
#undef PN_OP
};

static pn_grad_fn *const rules[PN_OP_COUNT] = {
#define PN_GRAD_OF_NONE(name)                    NULL
#define PN_GRAD_OF_OPEN(name)                    NULL
#define PN_GRAD_OF_RULE(name)                    pn_back_##name
#define PN_OP(NAME, name, kind, trait, gradient) [PN_OP_##NAME] = PN_GRAD_OF_##gradient(name),
#include "tensor/op.def"
#undef PN_OP
};

/* Marks the arrays that depend on a trained leaf. Operands come before their users. */
static pantry_status find_wanted(struct pn_grad *t, const bool *trained, pn_array y, struct pantry_error *err)
{
    for (pn_array a = 0; a <= y; a++) {
        const struct pn_node *n = pn_node(t->g, a);
        bool behind = false;
        for (int i = 0; i < n->n_src; i++)
            behind |= pn_grad_wants(t, n->src[i]);
        if (n->op == PN_OP_WEIGHT)
            t->wanted[a] = trained[a];
        else
            t->wanted[a] = behind && (rules[n->op] || open_ops[n->op]);
    }
    return t->wanted[y] ? PANTRY_OK : pn_fail(err, PANTRY_INVALID, "the loss depends on no trained weight");
}

/* Results of a plan are computed arrays, each named once: views and arrays that serve two leaves are copied. */
static void collect(struct pn_grad *t, const bool *trained, pn_array *grads)
{
    for (pn_array a = 0; a < t->n; a++) {
        grads[a] = trained[a] ? t->sum[a] : PN_NONE;
        if (grads[a] != PN_NONE && pn_node(t->g, grads[a])->op == PN_OP_VIEW)
            grads[a] = pn_scale(t->g, grads[a], 1, 0);
    }
}

/* Notes that array `a`, which was just appended, is a copy. */
static bool note_copy(struct pn_grad *t, pn_array a, pn_array of)
{
    while (a != PN_NONE && t->origin.len <= (size_t)(a - t->n)) {
        pn_array none = PN_NONE;
        if (!pn_vec_push(&t->origin, none))
            return pn_graph_fail(t->g, PANTRY_NO_MEMORY, "out of memory for the graph") != PN_NONE;
    }
    if (a != PN_NONE)
        t->origin.data[a - t->n] = of;
    return a != PN_NONE;
}

/* The copy of an operand of a copied node: what a layer gets from elsewhere is taken when the gradient is there, so
 * that nothing of the layer is computed early. */
static pn_array copy_operand(struct pn_grad *t, pn_array a, pn_array dy)
{
    if (a == PN_NONE || t->copy[a] != PN_NONE)
        return a == PN_NONE ? PN_NONE : t->copy[a];
    const struct pn_node *n = pn_node(t->g, a);
    bool leaf = n->op == PN_OP_WEIGHT || n->op == PN_OP_INPUT;
    if (leaf || !t->wanted[a] || n->rows != pn_node(t->g, dy)->rows)
        return a;
    t->copy[a] = pn_after(t->g, a, dy);
    note_copy(t, t->copy[a], a);
    return t->copy[a];
}

/* Appends copies of a layer's nodes up to `last`; dy: the gradient of its result. */
static void copy_layer(struct pn_grad *t, pn_array last, pn_array dy)
{
    for (pn_array a = 0; a < t->n; a++)
        t->copy[a] = PN_NONE;
    t->layer = pn_node(t->g, last)->layer;
    t->g->layer = t->layer;
    for (pn_array a = 0; a <= last && !t->g->error.status; a++) {
        struct pn_node n = *pn_node(t->g, a);
        if (n.layer != t->layer || !t->wanted[a] || n.op == PN_OP_WEIGHT || n.op == PN_OP_INPUT)
            continue;
        for (int i = 0; i < n.n_src; i++)
            n.src[i] = copy_operand(t, n.src[i], dy);
        t->copy[a] = pn_graph_add(t->g, n);
        note_copy(t, t->copy[a], a);
    }
}

/* The array that a rule sees in place of `a`. */
static pn_array seen(struct pn_grad *t, pn_array a)
{
    int32_t layer = pn_node(t->g, a)->layer;
    if (layer < 0 || layer >= t->n_layers)
        return a;
    if (layer != t->layer)
        copy_layer(t, a, t->sum[a]);
    return t->copy[a] == PN_NONE ? a : t->copy[a];
}

static pantry_status walk(struct pn_grad *t, pn_array y, struct pantry_error *err)
{
    for (pn_array a = y; a >= 0; a--) {
        if (!t->wanted[a] || t->sum[a] == PN_NONE)
            continue;
        enum pn_op op = pn_node(t->g, a)->op;
        if (open_ops[op])
            return pn_fail(err, PANTRY_UNSUPPORTED, "training through the operation %s is not supported", open_ops[op]);
        t->g->layer = pn_node(t->g, a)->layer;
        pn_array at = seen(t, a);
        if (rules[op] && !t->g->error.status)
            rules[op](t, at, t->sum[a]);
    }
    return PANTRY_OK;
}

pantry_status pn_grad_append(struct pn_graph *g, pn_array y, pn_array seed, int n_checkpoints, const bool *trained,
                             pn_array *grads, struct pantry_error *err)
{
    pantry_status status = pn_graph_status(g, err);
    if (status)
        return status;
    struct pn_grad t = {.g = g, .n = (pn_array)g->len, .n_layers = n_checkpoints, .layer = -1};
    t.wanted = calloc(g->len, sizeof *t.wanted);
    t.sum = calloc(g->len, sizeof *t.sum);
    t.copy = calloc(g->len, sizeof *t.copy);
    if (!t.wanted || !t.sum || !t.copy) {
        status = pn_no_memory(err, "gradients");
        goto done;
    }
    for (pn_array a = 0; a < t.n; a++)
        t.sum[a] = PN_NONE;
    if ((status = find_wanted(&t, trained, y, err)))
        goto done;
    t.sum[y] = seed;
    if ((status = walk(&t, y, err)))
        goto done;
    collect(&t, trained, grads);
    status = pn_graph_status(g, err);
done:
    free(t.wanted);
    free(t.sum);
    free(t.copy);
    free(t.origin.data);
    return status;
}
