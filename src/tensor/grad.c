/* The sums of gradients that rules add to: see grad.h. Nodes are appended directly, since the rules are beside the
 * constructors. */
#include "tensor/grad.h"

/* What `a` is a copy of, or itself. */
static pn_array origin_of(const struct pn_grad *t, pn_array a)
{
    size_t i = a >= t->n ? (size_t)(a - t->n) : SIZE_MAX;
    return i < t->origin.len && t->origin.data[i] != PN_NONE ? t->origin.data[i] : a;
}

bool pn_grad_wants(const struct pn_grad *t, pn_array a)
{
    a = origin_of(t, a);
    return a != PN_NONE && a < t->n && t->wanted[a];
}

/* `da` divided into heads like `a`. A slice of several heads has gaps, so it is copied first. */
static pn_array like(struct pn_graph *g, pn_array a, pn_array da)
{
    struct pn_node n = *pn_node(g, a), d = *pn_node(g, da);
    if (d.n1 == n.n1)
        return da;
    if (d.n1 > 1 && pn_view_of(g, da).stride1 != d.n2)
        da = pn_graph_add(g, (struct pn_node){.op = PN_OP_SCALE,
                                              .rows = d.rows,
                                              .n1 = d.n1,
                                              .n2 = d.n2,
                                              .n_src = 1,
                                              .src = {da},
                                              .scale = {.factor = 1}});
    if (da == PN_NONE || (int64_t)d.n1 * d.n2 != (int64_t)n.n1 * n.n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "a gradient of %d x %d values is for %d x %d", d.n1, d.n2, n.n1, n.n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_VIEW,
                                            .rows = d.rows,
                                            .n1 = n.n1,
                                            .n2 = n.n2,
                                            .n_src = 1,
                                            .src = {da},
                                            .view = {.stride1 = n.n2}});
}

void pn_grad_add(struct pn_grad *t, pn_array a, pn_array da)
{
    a = origin_of(t, a);
    if (!pn_grad_wants(t, a) || da == PN_NONE)
        return;
    if (pn_node(t->g, a)->op != PN_OP_WEIGHT)
        da = like(t->g, a, da);
    if (t->sum[a] != PN_NONE && da != PN_NONE) {
        const struct pn_node *n = pn_node(t->g, da);
        da = pn_graph_add(
            t->g, (struct pn_node){
                      .op = PN_OP_ADD, .rows = n->rows, .n1 = n->n1, .n2 = n->n2, .n_src = 2, .src = {t->sum[a], da}});
    }
    t->sum[a] = da;
}
