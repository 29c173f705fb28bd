/* Creating, checking and printing plans: see plan.h. order.c and place.c do the work. */
#include "tensor/plan.h"

#include "tensor/planner.h"

#include <stdlib.h>
#include <string.h>

/* ---- making ---- */

static pantry_status note_results(struct pn_planner *p, const struct pn_plan_spec *spec, struct pantry_error *err)
{
    const struct pn_graph *g = p->g;
    struct pn_plan *plan = p->plan;
    for (int i = 0; i < spec->n_results; i++) {
        pn_array a = spec->results[i];
        if (a < 0 || (size_t)a >= g->len || pn_is_leaf(g, a) || pn_node(g, a)->op == PN_OP_VIEW)
            return pn_fail(err, PANTRY_INTERNAL, "result %d of a plan must be computed", i);
        if (plan->slots[a].result >= 0)
            return pn_fail(err, PANTRY_INTERNAL, "results %d and %d of a plan are the same array",
                           plan->slots[a].result, i);
        plan->slots[a].result = i;
        plan->results[i] = a;
    }
    plan->n_results = spec->n_results;
    if (spec->n_results == 0)
        return pn_fail(err, PANTRY_INTERNAL, "a plan without results");
    return PANTRY_OK;
}

static pantry_status note_inputs(struct pn_planner *p, const struct pn_plan_spec *spec, struct pantry_error *err)
{
    const struct pn_graph *g = p->g;
    for (int i = 0; i < spec->n_inputs; i++) {
        pn_array a = spec->inputs[i];
        if (a < 0 || (size_t)a >= g->len || pn_node(g, a)->op != PN_OP_INPUT || p->plan->slots[a].input >= 0)
            return pn_fail(err, PANTRY_INTERNAL, "input %d of a plan is not an input of the graph, or a duplicate", i);
        p->plan->slots[a].input = i;
    }
    for (int i = 0; i < spec->n_given; i++) {
        pn_array a = spec->given[i];
        bool computed = a >= 0 && (size_t)a < g->len && !pn_is_leaf(g, a) && pn_node(g, a)->op != PN_OP_VIEW;
        if (!computed || p->plan->slots[a].input >= 0 || p->plan->slots[a].result >= 0)
            return pn_fail(err, PANTRY_INTERNAL, "given array %d of a plan is a leaf, a view, a result or a duplicate",
                           i);
        p->plan->slots[a].input = spec->n_inputs + i;
    }
    return PANTRY_OK;
}

/* Checks that needed inputs are given, rows have a limit, and the device supports the operations. */
static bool has_room(const struct pn_plan_spec *spec, enum pn_rows rows)
{
    return rows == PN_ROWS_NONE || rows == PN_ROWS_ONE || spec->max_rows[rows] > 0;
}

static pantry_status check_nodes(const struct pn_planner *p, const struct pn_plan_spec *spec, struct pantry_error *err)
{
    for (pn_array a = 0; a < (pn_array)p->g->len; a++) {
        const struct pn_node *n = pn_node(p->g, a);
        if (!p->needed[a])
            continue;
        if (n->op == PN_OP_INPUT && p->plan->slots[a].input < 0)
            return pn_fail(err, PANTRY_INTERNAL, "the plan needs the input \"%s\", which is not given", n->input.name);
        if (!has_room(spec, n->rows))
            return pn_fail(err, PANTRY_INTERNAL, "the plan has an array of %s, but allows none", pn_rows_name(n->rows));
        if (spec->can && !pn_is_ready(p, a) && n->op != PN_OP_VIEW && !spec->can(spec->device, p->g, n))
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: operation %s is not supported", spec->device_name,
                           pn_op_name(n->op));
    }
    return PANTRY_OK;
}

static bool allocate(struct pn_planner *p, int n_results)
{
    struct pn_plan *plan = p->plan;
    size_t n = p->g->len + 1;
    plan->slots = pn_arena_array(&plan->arena, n, sizeof *plan->slots);
    plan->results = pn_arena_array(&plan->arena, (size_t)n_results + 1, sizeof *plan->results);
    p->base = pn_arena_array(&p->arena, n, sizeof *p->base);
    p->needed = pn_arena_array(&p->arena, n, sizeof *p->needed);
    p->done = pn_arena_array(&p->arena, n, sizeof *p->done);
    p->n_users = pn_arena_array(&p->arena, n, sizeof *p->n_users);
    p->user = pn_arena_array(&p->arena, n, sizeof *p->user);
    p->n_missing = pn_arena_array(&p->arena, n, sizeof *p->n_missing);
    p->first_user = pn_arena_array(&p->arena, n, sizeof *p->first_user);
    p->next_user = pn_arena_array(&p->arena, n, sizeof *p->next_user);
    p->rows.data = pn_arena_array(&p->arena, n, sizeof *p->rows.data);
    p->wide.data = pn_arena_array(&p->arena, n, sizeof *p->wide.data);
    p->made = pn_arena_array(&p->arena, n, sizeof *p->made);
    if (!plan->slots || !plan->results || !p->base || !p->needed || !p->done || !p->n_users || !p->user ||
        !p->n_missing || !p->first_user || !p->next_user || !p->rows.data || !p->wide.data || !p->made)
        return false;
    for (size_t i = 0; i < n; i++)
        plan->slots[i] =
            (struct pn_slot){.offset = SIZE_MAX, .first = -1, .last = -1, .row_phase = -1, .input = -1, .result = -1};
    return true;
}

pantry_status pn_plan_new(const struct pn_graph *g, const struct pn_plan_spec *spec, struct pn_plan **out,
                          struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = pn_graph_status(g, err);
    if (status)
        return status;
    struct pn_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return pn_no_memory(err, "a plan");
    plan->graph = g;
    plan->fused = spec->fuse;
    plan->max_pages = spec->max_pages;
    memcpy(plan->max_rows, spec->max_rows, sizeof plan->max_rows);
    plan->max_rows[PN_ROWS_ONE] = 1;
    struct pn_planner p = {.g = g, .plan = plan};
    if (!allocate(&p, spec->n_results))
        status = pn_no_memory(err, "a plan");
    else if ((status = note_results(&p, spec, err)) == PANTRY_OK &&
             (status = note_inputs(&p, spec, err)) == PANTRY_OK) {
        pn_planner_find_needed(&p);
        if ((status = check_nodes(&p, spec, err)) == PANTRY_OK && (status = pn_planner_order(&p, err)) == PANTRY_OK)
            status = pn_planner_place(&p, err);
    }
    pn_arena_free(&p.arena);
    if (status)
        pn_plan_free(plan);
    else
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

/* ---- checking steps ---- */

static pantry_status check_rows(const struct pn_plan *plan, const struct pn_batch *b, enum pn_rows rows,
                                struct pantry_error *err)
{
    int64_t n = pn_batch_n_rows(b, rows);
    if (n < 0 || n > plan->max_rows[rows])
        return pn_fail(err, PANTRY_INTERNAL, "a step of %lld %s does not fit a plan for %d", (long long)n,
                       pn_rows_name(rows), plan->max_rows[rows]);
    return PANTRY_OK;
}

static pantry_status check_list(const struct pn_batch *b, enum pn_rows rows, struct pantry_error *err)
{
    const int32_t *list = pn_batch_list(b, rows);
    for (int64_t i = 0, n = pn_batch_n_rows(b, rows); i < n; i++)
        if (list[i] < 0 || list[i] >= b->n_tokens || (i > 0 && list[i] <= list[i - 1]))
            return pn_fail(err, PANTRY_INTERNAL, "the %s of a step must rise and be among its %d tokens",
                           pn_rows_name(rows), b->n_tokens);
    return PANTRY_OK;
}

/* Sequences must follow each other: pn_batch_seq_after searches them by bisection. */
static pantry_status check_seqs(const struct pn_plan *plan, const struct pn_batch *b, struct pantry_error *err)
{
    int64_t pages = 0, end = 0;
    for (int i = 0; i < b->n_seqs; i++) {
        const struct pn_batch_seq *s = &b->seqs[i];
        if (s->n < 1 || s->past < 0 || s->start < end || s->n > b->n_tokens - s->start)
            return pn_fail(err, PANTRY_INTERNAL, "sequence %d of a step has tokens %d to %d of %d", i, s->start,
                           s->start + s->n - 1, b->n_tokens);
        end = s->start + s->n;
        pages += ((int64_t)s->past + s->n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    }
    if (plan->max_pages > 0 && pages > plan->max_pages)
        return pn_fail(err, PANTRY_INTERNAL, "a step of %lld pages does not fit a plan for %d", (long long)pages,
                       plan->max_pages);
    return PANTRY_OK;
}

pantry_status pn_plan_check(const struct pn_plan *plan, const struct pn_batch *b, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (int rows = PN_ROWS_TOKENS; rows < PN_ROWS_COUNT && !status; rows++)
        status = check_rows(plan, b, (enum pn_rows)rows, err);
    if (!status)
        status = check_list(b, PN_ROWS_OUTPUTS, err);
    if (!status)
        status = check_list(b, PN_ROWS_HIDDEN, err);
    return status ? status : check_seqs(plan, b, err);
}

/* ---- printing ---- */

static void print_product(const struct pn_product *item, struct pn_buf *out)
{
    pn_buf_printf(out, " %s", item->weight->name);
    for (int i = 0; i <= item->n_epilogue; i++) {
        if (item->gate >= 0 && i == item->gate_at)
            pn_buf_printf(out, "*act(#%d)", item->gate);
        if (i < item->n_epilogue)
            pn_buf_printf(out, "+%s", pn_op_name(item->epilogue[i].node->op));
    }
}

void pn_plan_print(const struct pn_plan *plan, struct pn_buf *out)
{
    for (int i = 0; i < plan->n_phases; i++) {
        const struct pn_phase *f = &plan->phases[i];
        pn_buf_printf(out, "%d:", i);
        for (int r = 0; r < f->n_row; r++)
            pn_buf_printf(out, " %s", pn_op_name(plan->steps[f->first_row + r].node->op));
        if (f->kind != PN_PHASE_ROWS)
            pn_buf_puts(out, " |");
        for (int j = 0; j < f->n_products; j++)
            print_product(&f->products[j], out);
        if (f->write_step)
            pn_buf_puts(out, " cache_write");
        if (f->step)
            pn_buf_printf(out, " %s", pn_op_name(f->step->node->op));
        pn_buf_putc(out, '\n');
    }
}
