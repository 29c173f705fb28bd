/* Shared by the parts of planning: order.c puts nodes into phases, place.c assigns memory and resolves operands. */
#ifndef PN_TENSOR_PLANNER_H
#define PN_TENSOR_PLANNER_H

#include "tensor/plan.h"

/* Arrays by number, the lowest first: a binary heap. */
struct pn_worklist {
    pn_array *data;
    int len;
};

struct pn_planner {
    const struct pn_graph *g;
    struct pn_plan *plan;
    struct pn_arena arena;
    pn_array *base;                /* per node, views resolved */
    bool *needed, *done;           /* needed by a result; part of a phase */
    int32_t *n_users;              /* per base */
    pn_array *user;                /* the last one; the only one if n_users is 1 */
    int32_t *n_missing;            /* operands that are not done yet */
    int32_t *first_user;           /* (n + 1): where the direct users of each array (views too) start in `users` ... */
    pn_array *users;               /* ... in rising order */
    int32_t *next_user;            /* where to continue the search for products of an array */
    struct pn_worklist rows, wide; /* nodes with no missing operands */
    pn_array *made;                /* arrays, in the order in which phases make them */
    int n_made;
};

/* order.c: marks the nodes that results depend on, then orders them. */
void pn_planner_find_needed(struct pn_planner *p);
pantry_status pn_planner_order(struct pn_planner *p, struct pantry_error *err);
/* place.c */
pantry_status pn_planner_place(struct pn_planner *p, struct pantry_error *err);

/* Whether `a` exists before the plan runs: a leaf, or given. */
static inline bool pn_is_ready(const struct pn_planner *p, pn_array a)
{
    return pn_op_kind(pn_node(p->g, a)->op) == PN_KIND_LEAF || p->plan->slots[a].input >= 0;
}

static inline bool pn_is_leaf(const struct pn_graph *g, pn_array a)
{
    return pn_op_kind(pn_node(g, a)->op) == PN_KIND_LEAF;
}

#endif
