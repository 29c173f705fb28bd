/* Planning, second part: lifetimes of arrays, their places in the arena, and the operands of each operation. See
 * plan.h. */
#include "tensor/planner.h"

/* ---- lifetimes ---- */

static void note_use(struct pn_planner *p, pn_array a, int phase)
{
    if (a == PN_NONE)
        return;
    struct pn_slot *s = &p->plan->slots[p->base[a]];
    if (s->last < phase)
        s->last = phase;
    p->plan->work++;
}

static void note_operands(struct pn_planner *p, pn_array a, int phase)
{
    const struct pn_node *n = pn_node(p->g, a);
    for (int i = 0; i < n->n_src; i++)
        note_use(p, n->src[i], phase);
}

static void note_made(struct pn_planner *p, pn_array a, int phase)
{
    p->plan->slots[a].first = phase;
    note_use(p, a, phase);
    p->made[p->n_made++] = a;
}

static size_t round_up(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t row_bytes(const struct pn_node *n)
{
    return (size_t)n->n1 * (size_t)n->n2 * sizeof(float);
}

static void find_row_lifetimes(struct pn_planner *p, const struct pn_phase *f, int phase)
{
    struct pn_plan *plan = p->plan;
    size_t own = 0;
    for (int r = 0; r < f->n_row; r++) {
        pn_array a = plan->steps[f->first_row + r].array;
        note_operands(p, a, phase);
        note_made(p, a, phase);
        plan->slots[a].own = own;
        plan->slots[a].row_phase = phase;
        own += round_up(row_bytes(pn_node(p->g, a)));
    }
    plan->own_memory = own > plan->own_memory ? own : plan->own_memory;
}

static void find_lifetimes(struct pn_planner *p)
{
    struct pn_plan *plan = p->plan;
    for (int i = 0; i < plan->n_phases; i++) {
        const struct pn_phase *f = &plan->phases[i];
        find_row_lifetimes(p, f, i);
        note_use(p, f->x, i);
        for (int j = 0; j < f->n_products; j++) {
            const struct pn_product *item = &f->products[j];
            for (int e = 0; e < item->n_epilogue; e++)
                note_operands(p, item->epilogue[e].array, i);
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
    for (int i = 0; i < plan->n_results; i++)
        plan->slots[plan->results[i]].last = plan->n_phases;
}

/* ---- memory ---- */

/* The live arrays, by offset. */
struct alive {
    pn_array *data;
    int len;
};

static bool slot_bytes(const struct pn_plan *plan, pn_array a, size_t *out)
{
    const struct pn_node *n = pn_node(plan->graph, a);
    size_t bytes;
    if (!pn_size_mul((size_t)plan->max_rows[n->rows], row_bytes(n), &bytes) || bytes > SIZE_MAX / 4)
        return false;
    *out = round_up(bytes);
    return true;
}

/* First fit: the array takes the lowest address that is free for its whole lifetime. */
static bool place(struct pn_planner *p, struct alive *alive, pn_array a)
{
    struct pn_plan *plan = p->plan;
    struct pn_slot *s = &plan->slots[a];
    size_t bytes, offset = 0;
    if (!slot_bytes(plan, a, &bytes))
        return false;
    s->bytes = bytes;
    if (bytes == 0)
        return true;
    int kept = 0, at = -1; /* drop arrays that died before */
    for (int i = 0; i < alive->len; i++) {
        const struct pn_slot *o = &plan->slots[alive->data[i]];
        if (o->last >= s->first)
            alive->data[kept++] = alive->data[i];
    }
    alive->len = kept;
    for (int i = 0; i < kept && at < 0; i++) {
        const struct pn_slot *o = &plan->slots[alive->data[i]];
        if (offset + bytes <= o->offset)
            at = i;
        else if (o->offset + o->bytes > offset)
            offset = o->offset + o->bytes;
    }
    plan->work += (uint64_t)kept;
    at = at < 0 ? kept : at;
    for (int i = alive->len++; i > at; i--)
        alive->data[i] = alive->data[i - 1];
    alive->data[at] = a;
    s->offset = offset;
    if (offset + bytes > plan->memory)
        plan->memory = offset + bytes;
    return plan->memory <= SIZE_MAX / 4;
}

/* Places arrays in the order in which phases make them. */
static pantry_status assign_memory(struct pn_planner *p, struct pantry_error *err)
{
    struct alive alive = {.data = pn_arena_array(&p->arena, p->g->len + 1, sizeof *alive.data)};
    if (!alive.data)
        return pn_no_memory(err, "a plan");
    for (int i = 0; i < p->n_made; i++)
        if (p->plan->slots[p->made[i]].result < 0 && !place(p, &alive, p->made[i]))
            return pn_fail(err, PANTRY_LIMIT, "the arrays of a step of %d tokens exceed the address space",
                           p->plan->max_rows[PN_ROWS_TOKENS]);
    return PANTRY_OK;
}

/* ---- places ---- */

/* The place of `a` for operations in `phase`. */
static struct pn_place place_of(struct pn_planner *p, pn_array a, int phase)
{
    struct pn_place at = {.own = -1};
    if (a == PN_NONE)
        return at;
    const struct pn_node *n = pn_node(p->g, a);
    if (n->op == PN_OP_WEIGHT) {
        at.space = PN_SPACE_WEIGHT;
        at.index = a;
        return at;
    }
    struct pn_view_shape v = pn_view_of(p->g, a);
    struct pn_slot *s = &p->plan->slots[v.base];
    if (pn_node(p->g, v.base)->n2 == 0)
        return at;
    at.offset = (size_t)v.offset * sizeof(float);
    at.stride0 = v.stride0;
    at.stride1 = v.stride1;
    if (s->row_phase == phase)
        at.own = (int64_t)(s->own + at.offset);
    else if (s->row_phase >= 0)
        s->kept = true;
    at.space = s->input >= 0 ? PN_SPACE_INPUT : s->result >= 0 ? PN_SPACE_RESULT : PN_SPACE_ARENA;
    at.index = s->input >= 0 ? s->input : s->result >= 0 ? s->result : 0;
    if (at.space == PN_SPACE_ARENA)
        at.offset += s->offset;
    return at;
}

static void resolve(struct pn_planner *p, struct pn_step *step, pn_array a, int phase)
{
    const struct pn_node *n = pn_node(p->g, a);
    step->array = a;
    step->node = n;
    step->out = place_of(p, a, phase);
    for (int i = 0; i < PN_MAX_SRC; i++)
        step->src[i] = place_of(p, n->src[i], phase);
    p->plan->work++;
}

static const struct pn_step *add_step(struct pn_planner *p, pn_array a, int phase)
{
    if (a == PN_NONE)
        return NULL;
    struct pn_step *step = &p->plan->steps[p->plan->n_steps++];
    resolve(p, step, a, phase);
    return step;
}

static void resolve_product(struct pn_planner *p, struct pn_product *item, int phase)
{
    pn_array made = item->matmul;
    for (int e = 0; e <= item->n_epilogue; e++) {
        if (item->gate >= 0 && e == item->gate_at)
            made = item->after_gate;
        if (e == item->n_epilogue)
            break;
        struct pn_follower *f = &item->epilogue[e];
        pn_array other = f->node->n_src < 2 ? PN_NONE : f->node->src[p->base[f->node->src[0]] == made ? 1 : 0];
        f->other = place_of(p, other, phase);
        made = f->array;
    }
    item->to = place_of(p, item->out, phase);
}

static void resolve_all(struct pn_planner *p)
{
    struct pn_plan *plan = p->plan;
    for (int i = 0; i < plan->n_phases; i++) {
        struct pn_phase *f = &plan->phases[i];
        for (int r = 0; r < f->n_row; r++)
            resolve(p, &plan->steps[f->first_row + r], plan->steps[f->first_row + r].array, i);
        f->from = place_of(p, f->x, i);
        for (int j = 0; j < f->n_products; j++)
            resolve_product(p, &f->products[j], i);
        f->write_step = add_step(p, f->write, i);
        f->step = add_step(p, f->wide, i);
    }
    for (int i = 0; i < plan->n_results; i++)
        plan->slots[plan->results[i]].kept = true;
    for (int i = 0; i < plan->n_steps; i++)
        plan->steps[i].kept = plan->slots[plan->steps[i].array].kept;
}

pantry_status pn_planner_place(struct pn_planner *p, struct pantry_error *err)
{
    p->n_made = 0;
    find_lifetimes(p);
    pantry_status status = assign_memory(p, err);
    if (!status)
        resolve_all(p);
    return status;
}
