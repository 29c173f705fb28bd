/* Planning, first part: assigns nodes to phases and fuses them. See plan.h.
 *
 * A node is done when it is part of a phase. Each done node decrements the count of missing operands of its users.
 * Nodes that miss nothing go to a work list, which returns the lowest number first: the order of the model. */
#include "tensor/planner.h"

#include <string.h>

/* ---- work lists ---- */

static void push(struct pn_planner *p, struct pn_worklist *list, pn_array a)
{
    int i = list->len++;
    while (i > 0 && list->data[(i - 1) / 2] > a) {
        list->data[i] = list->data[(i - 1) / 2];
        i = (i - 1) / 2;
        p->plan->work++;
    }
    list->data[i] = a;
    p->plan->work++;
}

static pn_array pop(struct pn_planner *p, struct pn_worklist *list)
{
    pn_array first = list->data[0], last = list->data[--list->len];
    int i = 0;
    for (int child; (child = 2 * i + 1) < list->len; i = child) {
        if (child + 1 < list->len && list->data[child + 1] < list->data[child])
            child++;
        if (list->data[child] >= last)
            break;
        list->data[i] = list->data[child];
        p->plan->work++;
    }
    list->data[i] = last;
    p->plan->work++;
    return first;
}

/* The lowest listed node that is not done (fused since), or PN_NONE. */
static pn_array pop_waiting(struct pn_planner *p, struct pn_worklist *list)
{
    while (list->len > 0) {
        pn_array a = pop(p, list);
        if (!p->done[a])
            return a;
    }
    return PN_NONE;
}

/* A node that misses nothing: a view is done with its operand, others wait for their phase. */
static void release(struct pn_planner *p, pn_array a)
{
    enum pn_op_kind kind = pn_op_kind(pn_node(p->g, a)->op);
    if (kind != PN_KIND_VIEW) {
        push(p, kind == PN_KIND_ROW ? &p->rows : &p->wide, a);
        return;
    }
    p->done[a] = true;
    for (int32_t i = p->first_user[a]; i < p->first_user[a + 1]; i++, p->plan->work++)
        if (--p->n_missing[p->users[i]] == 0)
            release(p, p->users[i]);
}

/* Node `a` is done: its users no longer miss it. Fused nodes may still be listed; the list skips them. */
static void finish(struct pn_planner *p, pn_array a)
{
    p->done[a] = true;
    for (int32_t i = p->first_user[a]; i < p->first_user[a + 1]; i++, p->plan->work++)
        if (--p->n_missing[p->users[i]] == 0)
            release(p, p->users[i]);
}

/* ---- fusion ---- */

/* The only reader of `a`; PN_NONE if it has several, or the caller reads it. */
static pn_array only_user(const struct pn_planner *p, pn_array a)
{
    return p->n_users[a] == 1 && p->plan->slots[a].result < 0 ? p->user[a] : PN_NONE;
}

/* The node that can be fused into the computation of `a`: its only user, element-wise over the same values, with its
 * other operand (if any) already computed. */
static pn_array epilogue_after(const struct pn_planner *p, pn_array a)
{
    pn_array u = only_user(p, a);
    if (u == PN_NONE)
        return PN_NONE;
    const struct pn_node *n = pn_node(p->g, u);
    if (pn_op_trait(n->op) != PN_TRAIT_ELEMENTWISE || (int64_t)n->n1 * n->n2 != pn_node(p->g, a)->n2)
        return PN_NONE;
    if (n->n_src == 1)
        return u;
    pn_array other = p->base[n->src[0]] == a ? n->src[1] : n->src[0];
    if (n->n1 != 1)
        return PN_NONE;
    /* Not for views: a strided operand would need another loop. */
    return p->done[other] && pn_node(p->g, other)->op != PN_OP_VIEW ? u : PN_NONE;
}

static void append(struct pn_planner *p, struct pn_product *item, pn_array next)
{
    item->epilogue[item->n_epilogue++] = (struct pn_follower){.array = next, .node = pn_node(p->g, next)};
    item->out = next;
}

static void extend_epilogue(struct pn_planner *p, struct pn_product *item)
{
    pn_array next;
    while (item->n_epilogue < PN_MAX_EPILOGUE && (next = epilogue_after(p, item->out)) != PN_NONE)
        append(p, item, next);
}

/* act(gate) * up, if both are results of this phase without other readers. */
static void fuse_gate(struct pn_planner *p, struct pn_phase *phase, int gate)
{
    struct pn_product *item = &phase->products[gate];
    if (item->out == PN_NONE || item->gate >= 0)
        return;
    pn_array act = only_user(p, item->out);
    if (act == PN_NONE)
        return;
    const struct pn_node *n = pn_node(p->g, act);
    if (n->op != PN_OP_ACT || n->src[0] != item->out || n->n1 != 1)
        return;
    pn_array mul = only_user(p, act);
    if (mul == PN_NONE)
        return;
    const struct pn_node *m = pn_node(p->g, mul);
    if (m->op != PN_OP_MUL)
        return;
    pn_array up = m->src[0] == act ? m->src[1] : m->src[0];
    for (int j = 0; j < phase->n_products; j++) {
        struct pn_product *other = &phase->products[j];
        if (j == gate || other->out != up || other->gate >= 0 || only_user(p, up) != mul)
            continue;
        other->gate = gate;
        other->gate_at = other->n_epilogue;
        other->gate_fn = n->fn;
        other->act = act;
        other->after_gate = mul;
        other->out = mul;
        item->out = PN_NONE;
        return;
    }
}

/* Biases and scales first, then gates (they take two products), then the rest: a gating product must stop at its
 * activation, which the gate applies. */
static void fuse_products(struct pn_planner *p, struct pn_phase *phase)
{
    for (int i = 0; i < phase->n_products; i++) {
        struct pn_product *item = &phase->products[i];
        pn_array next;
        while (item->n_epilogue < PN_MAX_EPILOGUE && (next = epilogue_after(p, item->out)) != PN_NONE &&
               (pn_node(p->g, next)->op == PN_OP_ADD || pn_node(p->g, next)->op == PN_OP_SCALE))
            append(p, item, next);
    }
    for (int i = 0; i < phase->n_products; i++)
        fuse_gate(p, phase, i);
    for (int i = 0; i < phase->n_products; i++)
        if (phase->products[i].out != PN_NONE)
            extend_epilogue(p, &phase->products[i]);
}

/* ---- phases ---- */

static void finish_product(struct pn_planner *p, const struct pn_product *item)
{
    finish(p, item->matmul);
    for (int e = 0; e < item->n_epilogue; e++)
        finish(p, item->epilogue[e].array);
    if (item->gate >= 0) {
        finish(p, item->act);
        finish(p, item->after_gate);
    }
}

static bool schedule_products(struct pn_planner *p, struct pn_phase *phase, pn_array first)
{
    const struct pn_node *n = pn_node(p->g, first);
    phase->kind = PN_PHASE_PRODUCT;
    phase->x = n->src[0];
    struct pn_product products[PN_MAX_PRODUCTS];
    phase->products = products;
    int32_t *i = &p->next_user[phase->x];
    for (; *i < p->first_user[phase->x + 1] && phase->n_products < PN_MAX_PRODUCTS; ++*i, p->plan->work++) {
        pn_array a = p->users[*i];
        const struct pn_node *m = pn_node(p->g, a);
        if (p->done[a] || m->op != PN_OP_MATMUL)
            continue;
        phase->products[phase->n_products++] =
            (struct pn_product){.matmul = a, .weight = pn_node(p->g, m->src[1])->weight, .gate = -1, .out = a};
        if (!p->plan->fused) {
            ++*i;
            break;
        }
    }
    if (p->plan->fused)
        fuse_products(p, phase);
    for (int k = 0; k < phase->n_products; k++) /* only now: no product of the phase may be an operand of another */
        finish_product(p, &products[k]);
    size_t n_products = (size_t)phase->n_products;
    phase->products = pn_arena_array(&p->plan->arena, n_products, sizeof *products);
    if (!phase->products)
        return false;
    memcpy(phase->products, products, n_products * sizeof *products);
    return true;
}

/* For a cache_write: the attention that reads it, if its queries need no other wide operation first. */
static pn_array attention_of(struct pn_planner *p, pn_array write)
{
    for (int32_t i = p->first_user[write]; i < p->first_user[write + 1]; i++, p->plan->work++) {
        pn_array a = p->users[i];
        if (!p->done[a] && pn_node(p->g, a)->op == PN_OP_ATTENTION)
            return p->done[pn_node(p->g, a)->src[0]] ? a : PN_NONE;
    }
    return PN_NONE;
}

static void schedule_rows(struct pn_planner *p, struct pn_phase *phase)
{
    pn_array a;
    phase->first_row = p->plan->n_steps;
    while ((a = pop_waiting(p, &p->rows)) != PN_NONE) {
        p->plan->steps[p->plan->n_steps++].array = a;
        phase->n_row++;
        finish(p, a);
        if (!p->plan->fused)
            return;
    }
}

static bool schedule_wide(struct pn_planner *p, struct pn_phase *phase)
{
    phase->x = phase->write = phase->wide = PN_NONE;
    if (!p->plan->fused && phase->n_row)
        return true;
    pn_array wide = pop_waiting(p, &p->wide);
    if (wide == PN_NONE)
        return true;
    const struct pn_node *n = pn_node(p->g, wide);
    if (n->op == PN_OP_MATMUL)
        return schedule_products(p, phase, wide);
    phase->kind = n->op == PN_OP_ATTENTION ? PN_PHASE_ATTENTION : PN_PHASE_OTHER;
    phase->wide = wide;
    pn_array attention = n->op == PN_OP_CACHE_WRITE && p->plan->fused ? attention_of(p, wide) : PN_NONE;
    if (attention != PN_NONE) {
        phase->kind = PN_PHASE_ATTENTION;
        phase->write = wide;
        phase->wide = attention;
        finish(p, wide);
    }
    finish(p, phase->wide);
    return true;
}

/* ---- missing operands ---- */

/* Operands come before their users, so one walk down from the last result finds all needed nodes. */
void pn_planner_find_needed(struct pn_planner *p)
{
    const struct pn_plan *plan = p->plan;
    pn_array last = 0;
    for (int i = 0; i < plan->n_results; i++) {
        p->needed[plan->results[i]] = true;
        last = plan->results[i] > last ? plan->results[i] : last;
    }
    for (pn_array a = last; a >= 0; a--) {
        const struct pn_node *n = pn_node(p->g, a);
        bool is_ready = pn_is_ready(p, a); /* given arrays need no operands */
        for (int i = 0; i < n->n_src && p->needed[a] && !is_ready; i++)
            if (n->src[i] != PN_NONE)
                p->needed[n->src[i]] = true;
    }
}

/* Whether the plan computes `a`, or `a` is a view. */
static bool is_computed(const struct pn_planner *p, pn_array a)
{
    return p->needed[a] && !pn_is_ready(p, a);
}

static void count_users(struct pn_planner *p)
{
    pn_array n_nodes = (pn_array)p->g->len;
    for (pn_array a = 0; a < n_nodes; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        p->base[a] = n->op == PN_OP_VIEW ? p->base[n->src[0]] : a;
        p->done[a] = pn_is_ready(p, a);
        p->plan->work++;
        for (int i = 0; i < n->n_src && is_computed(p, a); i++, p->plan->work++) {
            pn_array s = n->src[i];
            if (s == PN_NONE)
                continue;
            p->first_user[s + 1]++;
            p->n_missing[a] += !pn_is_ready(p, s);
            if (n->op != PN_OP_VIEW) {
                p->n_users[p->base[s]]++;
                p->user[p->base[s]] = a;
            }
        }
    }
}

static bool list_users(struct pn_planner *p)
{
    pn_array n_nodes = (pn_array)p->g->len;
    for (pn_array a = 0; a < n_nodes; a++) {
        p->first_user[a + 1] += p->first_user[a];
        p->next_user[a] = p->first_user[a];
    }
    p->users = pn_arena_array(&p->arena, (size_t)p->first_user[n_nodes] + 1, sizeof *p->users);
    if (!p->users)
        return false;
    for (pn_array a = 0; a < n_nodes; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        for (int i = 0; i < n->n_src && is_computed(p, a); i++, p->plan->work++)
            if (n->src[i] != PN_NONE)
                p->users[p->next_user[n->src[i]]++] = a;
    }
    for (pn_array a = 0; a < n_nodes; a++)
        p->next_user[a] = p->first_user[a];
    return true;
}

/* Nodes that miss nothing from the start. They are listed before the first one is released, because releasing changes
 * the counts. */
static void release_first(struct pn_planner *p)
{
    int n = 0;
    for (pn_array a = 0; a < (pn_array)p->g->len; a++)
        if (p->needed[a] && p->n_missing[a] == 0 && !p->done[a])
            p->made[n++] = a;
    for (int i = 0; i < n; i++)
        release(p, p->made[i]);
}

/* Room for the maximum: with fusion only wide nodes end a phase, and products need no steps. */
static bool make_room(struct pn_planner *p)
{
    struct pn_plan *plan = p->plan;
    size_t n_rows = 0, n_wide = 0, n_products = 0;
    for (pn_array a = 0; a < (pn_array)p->g->len; a++) {
        enum pn_op_kind kind = pn_op_kind(pn_node(p->g, a)->op);
        n_rows += p->needed[a] && kind == PN_KIND_ROW;
        n_wide += p->needed[a] && kind == PN_KIND_WIDE;
        n_products += p->needed[a] && pn_node(p->g, a)->op == PN_OP_MATMUL;
    }
    plan->phases = pn_arena_array(&plan->arena, n_wide + (plan->fused ? 1 : n_rows), sizeof *plan->phases);
    plan->steps = pn_arena_array(&plan->arena, n_rows + n_wide - n_products + 1, sizeof *plan->steps);
    return plan->phases && plan->steps;
}

pantry_status pn_planner_order(struct pn_planner *p, struct pantry_error *err)
{
    struct pn_plan *plan = p->plan;
    count_users(p);
    if (!make_room(p) || !list_users(p))
        return pn_no_memory(err, "a plan");
    release_first(p);
    while (p->rows.len > 0 || p->wide.len > 0) {
        struct pn_phase *phase = &plan->phases[plan->n_phases];
        schedule_rows(p, phase);
        if (!schedule_wide(p, phase))
            return pn_no_memory(err, "a plan");
        if (phase->kind != PN_PHASE_ROWS || phase->n_row > 0) /* else all listed nodes are fused */
            plan->n_phases++;
    }
    for (int i = 0; i < plan->n_results; i++)
        if (!p->done[plan->results[i]])
            return pn_fail(err, PANTRY_INTERNAL, "the graph cannot be put in order");
    return PANTRY_OK;
}
