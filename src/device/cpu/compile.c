/* Compiles a plan for the CPU: decodes small weights, divides products into chunks, and lays out the scratch. */
#include "device/cpu/compile.h"

#include "device/cpu/phases.h"

#include <stdlib.h>

static const size_t line = 64;

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

static void compile_phase(struct pn_program *p, int i, struct pn_cpu_sizes *s)
{
    const struct pn_phase *f = &p->plan->phases[i];
    struct pn_cpu_phase *c = &p->phases[i];
    if (f->kind == PN_PHASE_PRODUCT) {
        pn_cpu_product_compile(p, i);
        size_t q15 = c->wants_q15 ? pn_q15_row_bytes(c->k) : 0, row = c->gathers ? round_up((size_t)c->k * 4) : 0;
        s->q15_row = q15 > s->q15_row ? q15 : s->q15_row;
        s->gathered_row = row > s->gathered_row ? row : s->gathered_row;
    } else if (f->kind == PN_PHASE_ATTENTION) {
        const struct pn_node *n = f->step->node;
        size_t floats = round_up(pn_cpu_attention_floats(n) * sizeof(float));
        size_t partial = (size_t)n->n1 * ((size_t)n->attn.dim_v + 2) * sizeof(float);
        s->attn = floats > s->attn ? floats : s->attn;
        s->partial = partial > s->partial ? partial : s->partial;
        s->tasks = (size_t)n->attn.n_head_kv > s->tasks ? (size_t)n->attn.n_head_kv : s->tasks;
    } else if (f->kind == PN_PHASE_OTHER && f->step->node->op == PN_OP_MATMUL_EACH) {
        pn_cpu_each_compile(p, i, &s->each);
        s->q15_row = s->each.q15 > s->q15_row ? s->each.q15 : s->q15_row;
    }
}

/* Hands out pieces of one allocation; with `at` NULL only counts. */
static void *carve(unsigned char **at, size_t *used, size_t bytes)
{
    void *p = *at ? *at + *used : NULL;
    *used += round_up(bytes);
    return p;
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
        w->q15 = carve(&base, &used, s->q15_row);
        w->row = carve(&base, &used, s->gathered_row);
        w->scratch = carve(&base, &used, PN_CPU_SCRATCH);
        w->tile = carve(&base, &used, tile);
        w->attn = carve(&base, &used, s->attn);
    }
    p->q15 = carve(&base, &used, s->q15_row * tokens);
    p->gathered = carve(&base, &used, s->gathered_row * tokens);
    p->partial = carve(&base, &used, s->partial * (size_t)p->n_parts);
    p->groups.mat = carve(&base, &used, s->each.mats * sizeof(int32_t));
    p->groups.first = carve(&base, &used, (s->each.mats + 1) * sizeof(int32_t));
    p->groups.count = carve(&base, &used, s->each.mats * sizeof(int32_t));
    p->groups.x_index = carve(&base, &used, s->each.slots * tokens * sizeof(int32_t));
    p->groups.y_index = carve(&base, &used, s->each.slots * tokens * sizeof(int32_t));
    return used;
}

void pn_cpu_program_free(struct pn_device *device, struct pn_program *p)
{
    (void)device;
    if (!p)
        return;
    pn_arena_free(&p->arena);
    free(p);
}

pantry_status pn_cpu_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err)
{
    *out = NULL;
    struct pn_program *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, "a program");
    p->plan = plan;
    p->device = (struct pn_cpu *)device;
    int64_t tokens = plan->max_rows[PN_ROWS_TOKENS];
    p->n_parts = PN_CPU_MAX_SPLITS * (tokens < PN_CPU_SPLIT_TOKENS ? tokens : PN_CPU_SPLIT_TOKENS);
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
        p->split_done = pn_arena_array(&p->arena, p->sizes->tasks * (size_t)p->n_parts + 1, sizeof *p->split_done);
        p->scratch_bytes = lay_out(p, NULL);
        if (!p->split_done)
            status = pn_no_memory(err, "a program");
    }
    if (status)
        pn_cpu_program_free(device, p);
    else
        *out = p;
    return status;
}

void pn_cpu_use_scratch(struct pn_program *p, const struct pn_buffer *scratch)
{
    if (p->scratch == scratch->address)
        return;
    lay_out(p, (unsigned char *)(uintptr_t)scratch->address);
    p->scratch = scratch->address;
}
