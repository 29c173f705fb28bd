/* Planning: order, fusion, lifetimes. See plan.h for the shape of the result. */
#include "tensor/plan.h"

#include <stdlib.h>
#include <string.h>

struct planner {
    const struct pn_graph *g;
    struct pn_plan *plan;
    int32_t *n_users;    /* of each node, views looked through */
    pn_array *user;      /* the last one; the only one if n_users is 1 */
    bool *needed, *done; /* reachable from the result; scheduled */
    int n_rows;
};

static pn_array base_of(const struct pn_graph *g, pn_array a)
{
    while (a != PN_NONE && pn_node(g, a)->op == PN_OP_VIEW)
        a = pn_node(g, a)->src[0];
    return a;
}

static void mark_needed(struct planner *p, pn_array result)
{
    p->needed[result] = true;
    for (pn_array a = result; a >= 0; a--) { /* operands come before their users */
        if (!p->needed[a])
            continue;
        const struct pn_node *n = pn_node(p->g, a);
        for (int i = 0; i < n->n_src; i++)
            if (n->src[i] != PN_NONE)
                p->needed[n->src[i]] = true;
    }
    for (pn_array a = 0; a <= result; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        if (!p->needed[a] || n->op == PN_OP_VIEW)
            continue;
        for (int i = 0; i < n->n_src; i++) {
            pn_array s = base_of(p->g, n->src[i]);
            if (s != PN_NONE) {
                p->n_users[s]++;
                p->user[s] = a;
            }
        }
    }
}

static bool leaf(const struct planner *p, pn_array a)
{
    return pn_op_kind(pn_node(p->g, a)->op) == PN_KIND_LEAF;
}

static bool ready(const struct planner *p, pn_array a)
{
    const struct pn_node *n = pn_node(p->g, a);
    for (int i = 0; i < n->n_src; i++) {
        pn_array s = base_of(p->g, n->src[i]);
        if (s != PN_NONE && !leaf(p, s) && !p->done[s])
            return false;
    }
    return true;
}

/* ---- fusion ---- */

static bool is_elementwise(enum pn_op op)
{
    return op == PN_OP_ADD || op == PN_OP_MUL || op == PN_OP_SCALE || op == PN_OP_ACT || op == PN_OP_SOFTCAP;
}

/* The node that may be applied to `a` as it is made: a's only user, element-wise over the same values, whose other
 * operand (if any) is there already. */
static pn_array epilogue_after(const struct planner *p, pn_array a)
{
    if (p->n_users[a] != 1 || a == p->plan->result)
        return PN_NONE;
    pn_array u = p->user[a];
    const struct pn_node *n = pn_node(p->g, u);
    if (!is_elementwise(n->op) || (int64_t)n->n1 * n->n2 != pn_node(p->g, a)->n2)
        return PN_NONE;
    if (n->n_src == 1)
        return n->src[0] == a || base_of(p->g, n->src[0]) == a ? u : PN_NONE;
    pn_array other = base_of(p->g, n->src[0]) == a ? n->src[1] : n->src[0];
    if (n->n1 != 1 || other == PN_NONE)
        return PN_NONE;
    if (leaf(p, other))
        return pn_node(p->g, other)->n2 == n->n2 ? u : PN_NONE;
    /* A strided operand would need another loop: only whole arrays. */
    return p->done[base_of(p->g, other)] && pn_node(p->g, other)->op != PN_OP_VIEW ? u : PN_NONE;
}

static void extend_epilogue(struct planner *p, struct pn_product *item)
{
    pn_array next;
    while (item->n_epilogue < PN_MAX_EPILOGUE && (next = epilogue_after(p, item->out)) != PN_NONE) {
        item->epilogue[item->n_epilogue++] = next;
        item->out = next;
    }
}

/* act(gate) * up, where both are results of this phase that nobody else reads. */
static void fuse_gate(struct planner *p, struct pn_phase *phase, int gate)
{
    struct pn_product *item = &phase->products[gate];
    if (item->out == PN_NONE || item->gate >= 0 || p->n_users[item->out] != 1)
        return;
    pn_array act = p->user[item->out];
    const struct pn_node *n = pn_node(p->g, act);
    if (n->op != PN_OP_ACT || n->src[0] != item->out || n->n1 != 1 || p->n_users[act] != 1)
        return;
    pn_array mul = p->user[act];
    const struct pn_node *m = pn_node(p->g, mul);
    if (m->op != PN_OP_MUL || m->src[0] == m->src[1])
        return;
    pn_array up = m->src[0] == act ? m->src[1] : m->src[0];
    for (int j = 0; j < phase->n_products; j++) {
        struct pn_product *other = &phase->products[j];
        if (j == gate || other->out != up || other->gate >= 0 || p->n_users[up] != 1)
            continue;
        other->gate = gate;
        other->gate_at = other->n_epilogue;
        other->gate_fn = n->fn;
        other->after_gate = mul;
        other->act = act;
        other->out = mul;
        item->out = PN_NONE;
        return;
    }
}

/* Biases and scales first, then gates (they take two products), then what follows: a gating product must stop at its
 * activation, which the gate applies. */
static void fuse_products(struct planner *p, struct pn_phase *phase)
{
    for (int i = 0; i < phase->n_products; i++) {
        struct pn_product *item = &phase->products[i];
        pn_array next;
        while (item->n_epilogue < PN_MAX_EPILOGUE && (next = epilogue_after(p, item->out)) != PN_NONE &&
               (pn_node(p->g, next)->op == PN_OP_ADD || pn_node(p->g, next)->op == PN_OP_SCALE)) {
            item->epilogue[item->n_epilogue++] = next;
            item->out = next;
        }
    }
    for (int i = 0; i < phase->n_products; i++)
        fuse_gate(p, phase, i);
    for (int i = 0; i < phase->n_products; i++)
        if (phase->products[i].out != PN_NONE)
            extend_epilogue(p, &phase->products[i]);
}

/* ---- order ---- */

/* Only now is it done: while products of a phase are fused, none of them may be an operand of another's epilogue. */
static void mark_product(struct planner *p, const struct pn_product *item)
{
    p->done[item->matmul] = true;
    for (int i = 0; i < item->n_epilogue; i++)
        p->done[item->epilogue[i]] = true;
    if (item->gate >= 0)
        p->done[item->act] = p->done[item->after_gate] = true;
}

static bool schedule_products(struct planner *p, struct pn_phase *phase, pn_array first)
{
    const struct pn_node *n = pn_node(p->g, first);
    phase->kind = PN_PHASE_PRODUCT;
    phase->x = n->src[0];
    phase->products = pn_arena_array(&p->plan->arena, PN_MAX_PRODUCTS, sizeof *phase->products);
    if (!phase->products)
        return false;
    for (pn_array a = first; a < (pn_array)p->g->len && phase->n_products < PN_MAX_PRODUCTS; a++) {
        const struct pn_node *m = pn_node(p->g, a);
        if (!p->needed[a] || p->done[a] || m->op != PN_OP_MATMUL || m->src[0] != phase->x)
            continue;
        phase->products[phase->n_products++] = (struct pn_product){.matmul = a, .gate = -1, .out = a};
        if (!p->plan->fused)
            break;
    }
    if (p->plan->fused)
        fuse_products(p, phase);
    for (int i = 0; i < phase->n_products; i++)
        mark_product(p, &phase->products[i]);
    return true;
}

/* The first wide node whose operands are there; a cache_write waits for its attention when fusing. */
static pn_array next_wide(const struct planner *p)
{
    for (pn_array a = 0; a < (pn_array)p->g->len; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        if (!p->needed[a] || p->done[a] || pn_op_kind(n->op) != PN_KIND_WIDE)
            continue;
        if (ready(p, a))
            return a;
    }
    return PN_NONE;
}

/* With a cache_write at hand: the attention that reads it, if its queries can be had without another wide operation. */
static pn_array attention_of(const struct planner *p, pn_array write)
{
    for (pn_array a = write + 1; a < (pn_array)p->g->len; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        if (p->needed[a] && !p->done[a] && n->op == PN_OP_ATTENTION && n->src[1] == write) {
            pn_array q = base_of(p->g, n->src[0]);
            return p->done[q] ? a : PN_NONE;
        }
    }
    return PN_NONE;
}

static void schedule_rows(struct planner *p, struct pn_phase *phase)
{
    phase->first_row = p->n_rows;
    for (pn_array a = 0; a < (pn_array)p->g->len; a++) {
        if (!p->needed[a] || p->done[a] || pn_op_kind(pn_node(p->g, a)->op) != PN_KIND_ROW || !ready(p, a))
            continue;
        p->plan->rows[p->n_rows++] = a;
        p->done[a] = true;
        phase->n_row++;
        if (!p->plan->fused)
            return;
    }
}

static bool schedule_wide(struct planner *p, struct pn_phase *phase)
{
    pn_array wide = next_wide(p);
    phase->x = phase->write = phase->wide = PN_NONE;
    if (wide == PN_NONE || (!p->plan->fused && phase->n_row))
        return true;
    const struct pn_node *n = pn_node(p->g, wide);
    if (n->op == PN_OP_MATMUL)
        return schedule_products(p, phase, wide);
    phase->kind = PN_PHASE_OTHER;
    phase->wide = wide;
    p->done[wide] = true;
    if (n->op == PN_OP_ATTENTION) {
        phase->kind = PN_PHASE_ATTENTION;
    } else if (n->op == PN_OP_CACHE_WRITE && p->plan->fused) {
        pn_array attention = attention_of(p, wide);
        if (attention != PN_NONE) {
            phase->kind = PN_PHASE_ATTENTION;
            phase->write = wide;
            phase->wide = attention;
            p->done[attention] = true;
        }
    }
    return true;
}

static pn_status schedule(struct planner *p, struct pn_error *err)
{
    struct pn_plan *plan = p->plan;
    while (!p->done[plan->result]) {
        struct pn_phase *phase = &plan->phases[plan->n_phases];
        int before = p->n_rows;
        schedule_rows(p, phase);
        if (!schedule_wide(p, phase))
            return pn_no_memory(err, "a plan");
        if (phase->kind == PN_PHASE_ROWS && p->n_rows == before)
            return pn_fail(err, PN_INTERNAL, "the graph cannot be put in order");
        plan->n_phases++;
    }
    return PN_OK;
}

/* ---- lifetimes ---- */

static void note_use(struct planner *p, pn_array a, int phase)
{
    a = base_of(p->g, a);
    if (a != PN_NONE && !leaf(p, a) && p->plan->slots[a].last < phase)
        p->plan->slots[a].last = phase;
}

static void note_operands(struct planner *p, pn_array a, int phase)
{
    const struct pn_node *n = pn_node(p->g, a);
    for (int i = 0; i < n->n_src; i++)
        note_use(p, n->src[i], phase);
}

static void note_made(struct planner *p, pn_array a, int phase)
{
    p->plan->slots[a].first = phase;
    note_use(p, a, phase);
}

static void find_lifetimes(struct planner *p)
{
    struct pn_plan *plan = p->plan;
    for (int i = 0; i < plan->n_phases; i++) {
        struct pn_phase *f = &plan->phases[i];
        size_t own = 0;
        for (int r = 0; r < f->n_row; r++) {
            pn_array a = plan->rows[f->first_row + r];
            note_operands(p, a, i);
            note_made(p, a, i);
            plan->slots[a].own = own;
            own += ((size_t)pn_node(p->g, a)->n1 * (size_t)pn_node(p->g, a)->n2 * sizeof(float) + 63) & ~(size_t)63;
        }
        plan->own_memory = own > plan->own_memory ? own : plan->own_memory;
        for (int j = 0; j < f->n_products; j++) {
            const struct pn_product *item = &f->products[j];
            note_use(p, f->x, i);
            for (int e = 0; e < item->n_epilogue; e++)
                note_operands(p, item->epilogue[e], i);
            if (item->out != PN_NONE)
                note_made(p, item->out, i);
        }
        if (f->write != PN_NONE)
            note_operands(p, f->write, i);
        if (f->wide != PN_NONE) {
            note_operands(p, f->wide, i);
            note_made(p, f->wide, i);
        }
    }
    plan->slots[plan->result].last = plan->n_phases;
}

static size_t slot_bytes(const struct pn_plan *plan, pn_array a)
{
    const struct pn_node *n = pn_node(plan->graph, a);
    size_t rows = (size_t)(n->rows == PN_ROWS_TOKENS ? plan->max_tokens : plan->max_outputs);
    return (rows * (size_t)n->n1 * (size_t)n->n2 * sizeof(float) + 63) & ~(size_t)63;
}

/* First fit: each array takes the lowest address free over its whole life. `order` holds the arrays placed so far. */
static void place(struct pn_plan *plan, pn_array a, pn_array *order, int *n_placed)
{
    struct pn_slot *s = &plan->slots[a];
    size_t bytes = slot_bytes(plan, a), offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < *n_placed; i++) {
            const struct pn_slot *o = &plan->slots[order[i]];
            size_t end = o->offset + slot_bytes(plan, order[i]);
            bool together = s->first <= o->last && o->first <= s->last;
            if (together && offset < end && o->offset < offset + bytes) {
                offset = end;
                moved = true;
            }
        }
    }
    s->offset = offset;
    if (offset + bytes > plan->memory)
        plan->memory = offset + bytes;
    /* Only what is still alive can be in the way of later arrays. */
    int kept = 0;
    for (int i = 0; i < *n_placed; i++)
        if (plan->slots[order[i]].last >= s->first)
            order[kept++] = order[i];
    order[kept++] = a;
    *n_placed = kept;
}

static pn_status assign_memory(struct planner *p, struct pn_error *err)
{
    struct pn_plan *plan = p->plan;
    pn_array *order = malloc((p->g->len + 1) * sizeof *order);
    if (!order)
        return pn_no_memory(err, "a plan");
    find_lifetimes(p);
    int n_placed = 0;
    for (int phase = 0; phase < plan->n_phases; phase++)
        for (pn_array a = 0; a < (pn_array)p->g->len; a++) {
            struct pn_slot *s = &plan->slots[a];
            if (s->first == phase && a != plan->result && slot_bytes(plan, a))
                place(plan, a, order, &n_placed);
        }
    free(order);
    return PN_OK;
}

/* ---- plans ---- */

pn_status pn_plan_new(const struct pn_graph *g, pn_array result, int max_tokens, int max_outputs, bool fuse,
                      struct pn_plan **out, struct pn_error *err)
{
    pn_status status = pn_graph_status(g, err);
    if (status)
        return status;
    if (result == PN_NONE || leaf(&(struct planner){.g = g}, result) || pn_node(g, result)->op == PN_OP_VIEW)
        return pn_fail(err, PN_INTERNAL, "the result of a plan must be computed");
    struct pn_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return pn_no_memory(err, "a plan");
    *plan = (struct pn_plan){
        .graph = g, .max_tokens = max_tokens, .max_outputs = max_outputs, .fused = fuse, .result = result};
    struct planner p = {.g = g, .plan = plan};
    struct pn_arena scratch = {0};
    p.n_users = pn_arena_array(&scratch, g->len, sizeof *p.n_users);
    p.user = pn_arena_array(&scratch, g->len, sizeof *p.user);
    p.needed = pn_arena_array(&scratch, g->len, sizeof *p.needed);
    p.done = pn_arena_array(&scratch, g->len, sizeof *p.done);
    plan->phases = pn_arena_array(&plan->arena, g->len, sizeof *plan->phases);
    plan->rows = pn_arena_array(&plan->arena, g->len, sizeof *plan->rows);
    plan->slots = pn_arena_array(&plan->arena, g->len, sizeof *plan->slots);
    if (!p.n_users || !p.user || !p.needed || !p.done || !plan->phases || !plan->rows || !plan->slots) {
        status = pn_no_memory(err, "a plan");
        goto done;
    }
    for (size_t i = 0; i < g->len; i++)
        plan->slots[i] = (struct pn_slot){.offset = SIZE_MAX, .first = -1, .last = -1};
    mark_needed(&p, result);
    if ((status = schedule(&p, err)) == PN_OK)
        status = assign_memory(&p, err);
done:
    pn_arena_free(&scratch);
    if (status) {
        pn_plan_free(plan);
        plan = NULL;
    }
    *out = plan;
    return status;
}

void pn_plan_free(struct pn_plan *plan)
{
    if (!plan)
        return;
    pn_arena_free(&plan->arena);
    free(plan);
}

static void print_product(const struct pn_plan *plan, const struct pn_product *item, struct pn_buf *out)
{
    const struct pn_graph *g = plan->graph;
    pn_buf_printf(out, " %s", pn_node(g, pn_node(g, item->matmul)->src[1])->weight->name);
    for (int i = 0; i <= item->n_epilogue; i++) {
        if (item->gate >= 0 && i == item->gate_at)
            pn_buf_printf(out, "*act(#%d)", item->gate);
        if (i < item->n_epilogue)
            pn_buf_printf(out, "+%s", pn_op_name(pn_node(g, item->epilogue[i])->op));
    }
}

void pn_plan_print(const struct pn_plan *plan, struct pn_buf *out)
{
    const struct pn_graph *g = plan->graph;
    for (int i = 0; i < plan->n_phases; i++) {
        const struct pn_phase *f = &plan->phases[i];
        pn_buf_printf(out, "%d:", i);
        for (int r = 0; r < f->n_row; r++)
            pn_buf_printf(out, " %s", pn_op_name(pn_node(g, plan->rows[f->first_row + r])->op));
        if (f->kind != PN_PHASE_ROWS)
            pn_buf_puts(out, " |");
        for (int j = 0; j < f->n_products; j++)
            print_product(plan, &f->products[j], out);
        if (f->write != PN_NONE)
            pn_buf_puts(out, " cache_write");
        if (f->wide != PN_NONE)
            pn_buf_printf(out, " %s", pn_op_name(pn_node(g, f->wide)->op));
        pn_buf_putc(out, '\n');
    }
}
