/* The CPU device: opening it, compiling plans, walking through phases. */
#include "device/cpu/cpu.h"

#include "base/clock.h"
#include "base/os.h"
#include "device/cpu/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t line = 64;

/* ---- the device ---- */

static void cpu_close(struct pn_device *device)
{
    struct pn_cpu *d = (struct pn_cpu *)device;
    if (!d)
        return;
    pn_pool_free(d->pool);
    free(d);
}

static pantry_status cpu_open(const struct pn_device_options *o, struct pn_device **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_cpu *d = calloc(1, sizeof *d);
    if (!d)
        return pn_no_memory(err, "a device");
    d->base.class = &pn_cpu_device;
    int n = o->n_threads ? o->n_threads : pn_os_physical_cores();
    pantry_status status = PANTRY_OK;
    if (!pn_cpu_kernels_select(&d->kernels, o->isa))
        status = pn_fail(err, PANTRY_INVALID, "this processor has no instruction set \"%s\"", o->isa);
    else
        status = pn_pool_new(n, &d->pool, err);
    if (status) {
        cpu_close(&d->base);
        return status;
    }
    d->base.properties =
        (struct pn_device_properties){.fuses = true, .unified = true, .n_threads = n, .cache_type = PN_TYPE_F16};
    snprintf(d->base.properties.name, sizeof d->base.properties.name, "cpu (%s, %d thread%s)", d->kernels.isa, n,
             n == 1 ? "" : "s");
    *out = &d->base;
    return PANTRY_OK;
}

static uint64_t cpu_elapsed(const struct pn_device *device)
{
    return ((const struct pn_cpu *)device)->elapsed;
}

/* ---- compiling ---- */

static size_t round_up(size_t n)
{
    return (n + line - 1) & ~(line - 1);
}

static pantry_status find_vector(struct pn_program *p, pn_array a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_node(p->plan->graph, a)->weight;
    bool dense = w->n_rows == 1 || w->plane[PN_PLANE_VALUES].row_bytes == (size_t)w->n_cols * sizeof(float);
    if (dense && (p->vectors[a] = pn_weight_floats(w, 0, 0)))
        return PANTRY_OK;
    float *v = pn_arena_array(&p->arena, (size_t)w->n_rows * (size_t)w->n_cols, sizeof *v);
    if (!v)
        return pn_no_memory(err, w->name);
    for (int64_t r = 0; r < w->n_rows; r++)
        pn_weight_decode(w, 0, r, 0, w->n_cols, v + r * w->n_cols);
    p->vectors[a] = v;
    return PANTRY_OK;
}

/* Weight vectors and the biases of experts are read as float32; those of other types are decoded once. */
static pantry_status find_vectors(struct pn_program *p, struct pantry_error *err)
{
    const struct pn_graph *g = p->plan->graph;
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < g->len && !status; i++) {
        const struct pn_node *n = &g->data[i];
        if (n->op == PN_OP_WEIGHT && n->weight->n_rows * n->weight->n_mat == 1)
            status = find_vector(p, (pn_array)i, err);
        else if (n->op == PN_OP_EACH_BIAS)
            status = find_vector(p, n->src[2], err);
    }
    return status;
}

/* Few chunks a worker for long streams, enough of them for unequal cores to end together; whole kernel tiles. */
static int64_t chunk_rows(int64_t n_rows, int n_threads, int max_tokens)
{
    int64_t chunk = n_rows / ((int64_t)n_threads * 8) / 16 * 16;
    int64_t most = max_tokens == 1 ? 4 * PN_CPU_MAX_CHUNK : PN_CPU_MAX_CHUNK;
    return chunk < 16 ? 16 : chunk > most ? most : chunk;
}

static void compile_products(struct pn_program *p, const struct pn_phase *f, struct pn_cpu_phase *c)
{
    const struct pn_node *x = pn_node(p->plan->graph, f->x);
    c->k = (int64_t)x->n1 * x->n2;
    c->gathers = x->n1 > 1 && f->from.stride1 != x->n2;
    for (int j = 0; j < f->n_products; j++) {
        const struct pn_weight *w = f->products[j].weight;
        for (int i = 0; i < PN_COLUMNS_COUNT; i++)
            c->wants_q8[i] |= p->device->kernels.matmul[w->type].form[i].act == PN_ACT_Q8;
        if (f->products[j].out == PN_NONE)
            continue;
        c->chunk[j] = chunk_rows(w->n_rows, p->device->base.properties.n_threads, p->plan->max_rows[PN_ROWS_TOKENS]);
        c->n_chunks[j] = (w->n_rows + c->chunk[j] - 1) / c->chunk[j];
        c->total_chunks += c->n_chunks[j];
    }
}

static void compile_phase(struct pn_program *p, int i, struct pn_cpu_sizes *s)
{
    const struct pn_phase *f = &p->plan->phases[i];
    struct pn_cpu_phase *c = &p->phases[i];
    if (f->kind == PN_PHASE_PRODUCT) {
        compile_products(p, f, c);
        bool wants_q8 = c->wants_q8[PN_FEW] || c->wants_q8[PN_MANY];
        size_t q8 = wants_q8 ? pn_q8_row_bytes(c->k) : 0, row = c->gathers ? round_up((size_t)c->k * 4) : 0;
        s->q8_row = q8 > s->q8_row ? q8 : s->q8_row;
        s->gathered_row = row > s->gathered_row ? row : s->gathered_row;
    } else if (f->kind == PN_PHASE_ATTENTION) {
        const struct pn_node *n = f->step->node;
        size_t floats = round_up(pn_cpu_attention_floats(n) * sizeof(float));
        size_t partial = (size_t)n->n1 * PN_CPU_MAX_SPLITS * ((size_t)n->attn.dim_v + 2) * sizeof(float);
        s->attn = floats > s->attn ? floats : s->attn;
        s->partial = partial > s->partial ? partial : s->partial;
        s->tasks = (size_t)n->attn.n_head_kv > s->tasks ? (size_t)n->attn.n_head_kv : s->tasks;
    } else if (f->kind == PN_PHASE_OTHER && f->step->node->op == PN_OP_MATMUL_EACH) {
        pn_cpu_each_compile(p, i, &s->each);
        s->q8_row = s->each.q8 > s->q8_row ? s->each.q8 : s->q8_row;
    }
}

/* Hands out pieces of one allocation; with `at` NULL only counts. */
static void *carve(unsigned char **at, size_t *used, size_t bytes)
{
    void *p = *at ? *at + *used : NULL;
    *used += round_up(bytes);
    return p;
}

static size_t split_tokens(const struct pn_program *p)
{
    size_t tokens = (size_t)p->plan->max_rows[PN_ROWS_TOKENS];
    return tokens < PN_CPU_SPLIT_MAX_TOKENS ? tokens : PN_CPU_SPLIT_MAX_TOKENS;
}

static size_t lay_out(struct pn_program *p, unsigned char *base)
{
    const struct pn_cpu_sizes *s = p->sizes;
    size_t used = 0, tokens = (size_t)p->plan->max_rows[PN_ROWS_TOKENS];
    size_t tile = (tokens == 1 ? 4 * PN_CPU_MAX_CHUNK : tokens * PN_CPU_MAX_CHUNK) * sizeof(float);
    p->memory = carve(&base, &used, p->plan->memory);
    for (int i = 0; i < p->device->base.properties.n_threads; i++) {
        struct pn_cpu_worker *w = &p->workers[i];
        w->own = carve(&base, &used, p->plan->own_memory);
        w->q8 = carve(&base, &used, s->q8_row);
        w->row = carve(&base, &used, s->gathered_row);
        w->scratch = carve(&base, &used, PN_CPU_SCRATCH);
        w->tile = carve(&base, &used, tile);
        w->attn = carve(&base, &used, s->attn);
    }
    p->q8 = carve(&base, &used, s->q8_row * tokens);
    p->gathered = carve(&base, &used, s->gathered_row * tokens);
    p->partial = carve(&base, &used, s->partial * split_tokens(p));
    p->groups.mat = carve(&base, &used, s->each.mats * sizeof(int32_t));
    p->groups.first = carve(&base, &used, (s->each.mats + 1) * sizeof(int32_t));
    p->groups.count = carve(&base, &used, s->each.mats * sizeof(int32_t));
    p->groups.x_index = carve(&base, &used, s->each.slots * tokens * sizeof(int32_t));
    p->groups.y_index = carve(&base, &used, s->each.slots * tokens * sizeof(int32_t));
    return used;
}

static void cpu_program_free(struct pn_device *device, struct pn_program *p)
{
    (void)device;
    if (!p)
        return;
    pn_arena_free(&p->arena);
    free(p);
}

static size_t cpu_scratch_bytes(const struct pn_program *p)
{
    return p->scratch_bytes;
}

static bool cpu_can(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)device;
    bool multiplies = node->op == PN_OP_MATMUL || node->op == PN_OP_MATMUL_EACH;
    if (multiplies && pn_node(graph, node->src[1])->weight->n_planes > 1) /* no kernel reads scales elsewhere yet */
        return false;
    if (node->op == PN_OP_MATMUL_EACH && node->src[2] != PN_NONE) { /* slots are counted through: no gaps */
        const struct pn_node *x = pn_node(graph, node->src[0]);
        struct pn_view_shape shape = pn_view_of(graph, node->src[0]);
        return x->n1 == 1 || shape.stride0 == x->n1 * shape.stride1;
    }
    return pn_op_reference(node->op) != NULL;
}

static pantry_status cpu_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                                 struct pantry_error *err)
{
    *out = NULL;
    struct pn_program *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, "a program");
    p->plan = plan;
    p->device = (struct pn_cpu *)device;
    size_t n = plan->graph->len;
    pantry_status status = PANTRY_OK;
    p->workers = pn_arena_array(&p->arena, (size_t)device->properties.n_threads, sizeof *p->workers);
    p->phases = pn_arena_array(&p->arena, (size_t)plan->n_phases, sizeof *p->phases);
    p->claims = pn_arena_array(&p->arena, (size_t)plan->n_phases, sizeof *p->claims);
    p->vectors = pn_arena_array(&p->arena, n, sizeof *p->vectors);
    p->sizes = pn_arena_alloc(&p->arena, sizeof *p->sizes);
    if (!p->workers || !p->phases || !p->claims || !p->vectors || !p->sizes)
        status = pn_no_memory(err, "a program");
    else if ((status = find_vectors(p, err)) == PANTRY_OK)
        status = pn_cpu_attention_compile(p, err);
    for (int i = 0; i < plan->n_phases && !status; i++)
        compile_phase(p, i, p->sizes);
    if (!status) {
        p->split_done = pn_arena_array(&p->arena, p->sizes->tasks * split_tokens(p) + 1, sizeof *p->split_done);
        p->scratch_bytes = lay_out(p, NULL);
        if (!p->split_done)
            status = pn_no_memory(err, "a program");
    }
    if (status)
        cpu_program_free(device, p);
    else
        *out = p;
    return status;
}

/* ---- running ---- */

void pn_cpu_share(const struct pn_cpu_run *run, int worker, int64_t n, int64_t *first, int64_t *end)
{
    int64_t threads = run->program->device->base.properties.n_threads;
    *first = n * worker / threads;
    *end = n * (worker + 1) / threads;
}

/* With one token: everybody computes the row, the first worker stores what others read later. */
static void run_rows_single(struct pn_cpu_run *run, const struct pn_phase *f, int worker)
{
    const struct pn_program *p = run->program;
    for (int r = 0; r < f->n_row; r++) {
        const struct pn_step *step = &p->plan->steps[f->first_row + r];
        if (pn_cpu_n_rows(run, step->node) == 0)
            continue;
        pn_cpu_row_op(run, worker, step, 0, 1);
        if (worker == 0 && step->kept) {
            struct pn_place shared = step->out;
            shared.own = -1;
            memcpy(pn_cpu_view(run, worker, &shared).data, pn_cpu_view(run, worker, &step->out).data,
                   (size_t)step->node->n1 * (size_t)step->node->n2 * sizeof(float));
        }
    }
}

/* With several: each worker its share of the rows. Choosing and pooling rows crosses shares, so all meet first. */
static void run_rows(struct pn_cpu_run *run, const struct pn_phase *f, int worker)
{
    const struct pn_program *p = run->program;
    for (int r = 0; r < f->n_row; r++) {
        const struct pn_step *step = &p->plan->steps[f->first_row + r];
        if (pn_op_trait(step->node->op) == PN_TRAIT_REGROUPS && step->src[0].own >= 0)
            pn_pool_barrier(p->device->pool);
        int64_t first, end;
        pn_cpu_share(run, worker, pn_cpu_n_rows(run, step->node), &first, &end);
        if (end > first)
            pn_cpu_row_op(run, worker, step, first, end);
    }
}

static void write_cache(struct pn_cpu_run *run, const struct pn_step *step, int worker)
{
    int64_t first, end;
    pn_cpu_share(run, worker, pn_cpu_n_rows(run, step->node), &first, &end);
    pn_cpu_cache_write(run, worker, step, first, end);
}

static bool is_each(const struct pn_phase *f)
{
    return f->kind == PN_PHASE_OTHER && f->step->node->op == PN_OP_MATMUL_EACH;
}

static void run_wide(struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_phase *f = &run->program->plan->phases[phase];
    if (f->kind == PN_PHASE_PRODUCT)
        pn_cpu_product_run(run, phase, worker);
    else if (f->kind == PN_PHASE_ATTENTION)
        pn_cpu_attention_run(run, phase, worker);
    else if (f->kind == PN_PHASE_ROWS)
        return;
    else if (f->step->node->op == PN_OP_CACHE_WRITE)
        write_cache(run, f->step, worker);
    else if (is_each(f))
        pn_cpu_each_run(run, phase, worker);
    else
        pn_cpu_recurrent_run(run, phase, worker);
}

static void run_worker(void *context, int worker)
{
    struct pn_cpu_run *run = context;
    const struct pn_program *p = run->program;
    for (int i = 0; i < p->plan->n_phases; i++) {
        const struct pn_phase *f = &p->plan->phases[i];
        bool must_meet = false;
        if (run->single) {
            run_rows_single(run, f, worker);
        } else {
            run_rows(run, f, worker);
            must_meet = f->n_row > 0 || f->write_step;
            if (f->write_step)
                write_cache(run, f->write_step, worker);
        }
        if (f->kind == PN_PHASE_PRODUCT)
            must_meet |= pn_cpu_product_prepare(run, i, worker);
        else if (is_each(f))
            must_meet |= pn_cpu_each_prepare(run, i, worker);
        if (must_meet && f->kind != PN_PHASE_ROWS)
            pn_pool_barrier(p->device->pool);
        run_wide(run, i, worker);
        if (i + 1 < p->plan->n_phases) /* the end of a run waits for all anyway */
            pn_pool_barrier(p->device->pool);
    }
}

/* The scratch may be another one than the last time: the runner's has grown. */
static void use_scratch(struct pn_program *p, const struct pn_buffer *scratch)
{
    if (p->scratch == scratch->address)
        return;
    lay_out(p, (unsigned char *)(uintptr_t)scratch->address);
    p->scratch = scratch->address;
}

static pantry_status cpu_submit(struct pn_device *device, struct pn_program *p, const struct pn_buffer *scratch,
                                const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err)
{
    struct pn_cpu *d = (struct pn_cpu *)device;
    struct pn_cpu_run run = {.program = p, .batch = batch, .single = batch->n_tokens == 1};
    pantry_status status = pn_plan_check(p->plan, batch, err);
    if (status)
        return status;
    uint64_t start = pn_clock_ns();
    use_scratch(p, scratch);
    pn_cpu_attention_schedule(&run);
    memset(p->claims, 0, (size_t)p->plan->n_phases * sizeof *p->claims);
    pn_pool_run(d->pool, run_worker, &run);
    d->elapsed = pn_clock_ns() - start;
    ticket->status = (pantry_status)atomic_load(&run.status);
    if (ticket->status)
        ticket->error = run.error;
    return PANTRY_OK;
}

const struct pn_device_class pn_cpu_device = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .memory = pn_host_memory,
    .buffer_new = pn_host_buffer_new,
    .buffer_free = pn_host_buffer_free,
    .discard = pn_host_discard,
    .write = pn_host_write,
    .read = pn_host_read,
    .copy = pn_host_copy,
    .fill = pn_host_fill,
    .place = pn_host_place,
    .release = pn_host_release,
    .can = cpu_can,
    .compile = cpu_compile,
    .program_free = cpu_program_free,
    .scratch_bytes = cpu_scratch_bytes,
    .submit = cpu_submit,
    .wait = pn_host_wait,
    .elapsed = cpu_elapsed,
};
