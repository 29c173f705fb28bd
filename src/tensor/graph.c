/* Building graphs: see graph.h. */
#include "tensor/graph.h"

#include <stdlib.h>

static const struct {
    const char *name;
    enum pn_op_kind kind;
    enum pn_op_trait trait;
} ops[PN_OP_COUNT] = {
#define PN_OP(NAME, name, kind, trait, gradient) [PN_OP_##NAME] = {#name, PN_KIND_##kind, PN_TRAIT_##trait},
#include "tensor/op.def"
#undef PN_OP
};

const char *pn_op_name(enum pn_op op)
{
    return ops[op].name;
}

const char *pn_rows_name(enum pn_rows rows)
{
    static const char *const names[PN_ROWS_COUNT] = {"weights",       "tokens",    "outputs",
                                                     "hidden states", "sequences", "whole steps"};
    return names[rows];
}

enum pn_op_kind pn_op_kind(enum pn_op op)
{
    return ops[op].kind;
}

enum pn_op_trait pn_op_trait(enum pn_op op)
{
    return ops[op].trait;
}

void pn_graph_init(struct pn_graph *g)
{
    *g = (struct pn_graph){0};
}

void pn_graph_free(struct pn_graph *g)
{
    if (!g)
        return;
    free(g->data);
    pn_arena_free(&g->arena);
    *g = (struct pn_graph){0};
}

pantry_status pn_graph_status(const struct pn_graph *g, struct pantry_error *err)
{
    if (g->error.status && err)
        *err = g->error;
    return g->error.status;
}

pn_array pn_graph_fail(struct pn_graph *g, pantry_status status, const char *format, ...)
{
    if (g->error.status == PANTRY_OK) {
        va_list args;
        va_start(args, format);
        pn_vfail(&g->error, status, format, args);
        va_end(args);
        if (g->context)
            pn_fail_prefix(&g->error, "%s", g->context);
    }
    return PN_NONE;
}

pn_array pn_graph_add(struct pn_graph *g, struct pn_node node)
{
    if (g->error.status)
        return PN_NONE;
    if (g->len >= PN_MAX_NODES)
        return pn_graph_fail(g, PANTRY_LIMIT, "the model has too many operations (allowed %d)", PN_MAX_NODES);
    if (!pn_vec_push(g, node))
        return pn_graph_fail(g, PANTRY_NO_MEMORY, "out of memory for the graph");
    struct pn_node *n = &g->data[g->len - 1];
    n->layer = g->layer;
    for (int i = n->n_src; i < PN_MAX_SRC; i++)
        n->src[i] = PN_NONE;
    return (pn_array)(g->len - 1);
}

struct pn_view_shape pn_view_of(const struct pn_graph *g, pn_array a)
{
    const struct pn_node *n = pn_node(g, a);
    if (n->op != PN_OP_VIEW)
        return (struct pn_view_shape){a, 0, (int64_t)n->n1 * n->n2, n->n2};
    struct pn_view_shape s = pn_view_of(g, n->src[0]);
    s.offset += n->view.offset;
    if (n->view.stride1)
        s.stride1 = n->view.stride1;
    return s;
}
