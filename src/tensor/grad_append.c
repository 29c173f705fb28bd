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

static pantry_status walk(struct pn_grad *t, pn_array y, struct pantry_error *err)
{
    for (pn_array a = y; a >= 0; a--) {
        if (!t->wanted[a] || t->sum[a] == PN_NONE)
            continue;
        enum pn_op op = pn_node(t->g, a)->op;
        if (open_ops[op])
            return pn_fail(err, PANTRY_UNSUPPORTED, "training through the operation %s is not supported", open_ops[op]);
        t->g->layer = pn_node(t->g, a)->layer;
        if (rules[op])
            rules[op](t, a, t->sum[a]);
    }
    return PANTRY_OK;
}

pantry_status pn_grad_append(struct pn_graph *g, pn_array y, pn_array seed, const bool *trained, pn_array *grads,
                             struct pantry_error *err)
{
    pantry_status status = pn_graph_status(g, err);
    if (status)
        return status;
    struct pn_grad t = {.g = g, .n = (pn_array)g->len};
    t.wanted = calloc(g->len, sizeof *t.wanted);
    t.sum = calloc(g->len, sizeof *t.sum);
    if (!t.wanted || !t.sum) {
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
    return status;
}
