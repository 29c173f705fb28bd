/* Matrix products on the CPU: the operand is prepared once for all products of a phase, weight rows are claimed in
 * chunks, and the epilogue is applied while a chunk's results are in cache. */
#include "device/cpu/phases.h"

#include <string.h>

/* ---- compiling ---- */

/* Few chunks per worker, so that each reads long streams, but enough of them that unequal cores end together. Chunks
 * are whole kernel tiles. */
static int64_t chunk_rows(int64_t n_rows, int n_threads, int max_tokens)
{
    int64_t chunk = n_rows / ((int64_t)n_threads * 8) / 16 * 16;
    int64_t most = max_tokens == 1 ? 4 * PN_CPU_MAX_CHUNK : PN_CPU_MAX_CHUNK;
    return chunk < 16 ? 16 : chunk > most ? most : chunk;
}

void pn_cpu_product_compile(struct pn_program *p, int phase)
{
    const struct pn_phase *f = &p->plan->phases[phase];
    struct pn_cpu_phase *c = &p->phases[phase];
    const struct pn_node *x = pn_node(p->plan->graph, f->x);
    c->k = (int64_t)x->n1 * x->n2;
    c->gathers = x->n1 > 1 && f->from.stride1 != x->n2;
    for (int j = 0; j < f->n_products; j++) {
        const struct pn_weight *w = f->products[j].weight;
        c->wants_q15 |= p->device->kernels.matmul[w->type].x_format == PN_X_Q15;
        if (f->products[j].out == PN_NONE)
            continue;
        c->chunk[j] = chunk_rows(w->n_rows, p->device->base.properties.n_threads, p->plan->max_rows[PN_ROWS_TOKENS]);
        c->n_chunks[j] = (w->n_rows + c->chunk[j] - 1) / c->chunk[j];
        c->total_chunks += c->n_chunks[j];
    }
}

/* ---- preparing ---- */

/* One operand row, contiguous. */
static const float *operand_row(const struct pn_cpu_phase *c, struct pn_strided x, int n1, int n2, int64_t row,
                                float *gathered)
{
    const float *at = x.data + row * x.stride0;
    if (!c->gathers)
        return at;
    for (int h = 0; h < n1; h++)
        memcpy(gathered + (int64_t)h * n2, at + h * x.stride1, (size_t)n2 * sizeof *at);
    return gathered;
}

bool pn_cpu_product_prepare(struct pn_cpu_run *run, int phase, int worker)
{
    struct pn_program *p = run->program;
    const struct pn_phase *f = &p->plan->phases[phase];
    const struct pn_cpu_phase *c = &p->phases[phase];
    const struct pn_node *n = pn_node(p->plan->graph, f->x);
    struct pn_strided x = pn_cpu_view(run, worker, &f->from);
    struct pn_cpu_worker *w = &p->workers[worker];
    if (!c->wants_q15 && !c->gathers)
        return false;
    if (run->single) {
        if (pn_cpu_n_rows(run, n) == 0)
            return false;
        const float *row = operand_row(c, x, n->n1, n->n2, 0, w->row);
        if (c->wants_q15)
            p->device->kernels.quantize(row, w->q15, c->k);
        return false;
    }
    int64_t first, end;
    size_t q15_row = pn_q15_row_bytes(c->k);
    pn_cpu_share(run, worker, pn_cpu_n_rows(run, n), &first, &end);
    for (int64_t r = first; r < end; r++) {
        const float *row = operand_row(c, x, n->n1, n->n2, r, p->gathered + r * c->k);
        if (c->wants_q15)
            p->device->kernels.quantize(row, p->q15 + (size_t)r * q15_row, c->k);
    }
    return true;
}

/* ---- multiplying ---- */

/* An element-wise operation of an epilogue, ready for a chunk: `z` is the second operand at the chunk's first column,
 * with `stride` floats between rows (0: a weight vector, the same for all rows). */
struct follower {
    const struct pn_node *node;
    const float *z;
    int64_t stride;
};

static struct follower follower_of(const struct pn_cpu_run *run, int worker, const struct pn_follower *f, int64_t first)
{
    struct follower out = {.node = f->node};
    const float *vector = pn_cpu_vector(run->program, &f->other);
    struct pn_strided v = pn_cpu_view(run, worker, &f->other);
    out.stride = vector ? 0 : v.stride0;
    out.z = vector ? vector + first : v.data ? v.data + first : NULL;
    return out;
}

/* y[i] = f(y[i]) for one row of a chunk. */
static void apply(const struct pn_cpu_run *run, const struct follower *f, float *y, int64_t row, int64_t n)
{
    const struct pn_cpu_kernels *k = &run->program->device->kernels;
    const struct pn_node *node = f->node;
    const float *z = f->z ? f->z + row * f->stride : NULL;
    switch (node->op) {
    case PN_OP_SCALE:
        for (int64_t i = 0; i < n; i++)
            y[i] = y[i] * node->scale.factor + node->scale.offset;
        return;
    case PN_OP_ACT:
        k->act(node->fn, y, y, n);
        return;
    case PN_OP_SOFTCAP:
        for (int64_t i = 0; i < n; i++)
            y[i] /= node->scale.factor;
        k->act(PN_ACT_FN_TANH, y, y, n);
        for (int64_t i = 0; i < n; i++)
            y[i] *= node->scale.factor;
        return;
    case PN_OP_ADD:
        for (int64_t i = 0; i < n; i++)
            y[i] += z[i];
        return;
    default:
        for (int64_t i = 0; i < n; i++)
            y[i] *= z[i];
    }
}

struct operand {
    const void *q15;
    const float *f32;
    size_t q15_stride, f32_stride; /* bytes */
    int64_t n_rows;
};

static struct operand operand_of(const struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_program *p = run->program;
    const struct pn_cpu_phase *c = &p->phases[phase];
    const struct pn_phase *f = &p->plan->phases[phase];
    const struct pn_cpu_worker *w = &p->workers[worker];
    struct pn_strided x = pn_cpu_view(run, worker, &f->from);
    struct operand o = {.n_rows = pn_cpu_n_rows(run, pn_node(p->plan->graph, f->x))};
    o.q15 = run->single ? w->q15 : p->q15;
    o.q15_stride = pn_q15_row_bytes(c->k);
    o.f32 = !c->gathers ? x.data : run->single ? w->row : p->gathered;
    o.f32_stride = (size_t)(c->gathers ? c->k : x.stride0) * sizeof(float);
    return o;
}

static void multiply(const struct pn_cpu_run *run, int worker, const struct operand *o, const struct pn_weight *w,
                     int64_t first, int64_t n, float *y, size_t y_stride)
{
    const struct pn_program *p = run->program;
    const struct pn_matmul_kernel *kernel = &p->device->kernels.matmul[w->type];
    bool q15 = kernel->x_format == PN_X_Q15;
    struct pn_matmul_planes planes;
    kernel->run(&(struct pn_matmul_args){.type = w->type,
                                         .planes = pn_cpu_planes(w, 0, first, &planes),
                                         .w = pn_weight_at(w, PN_PLANE_VALUES, 0, first),
                                         .w_stride = w->plane[PN_PLANE_VALUES].row_bytes,
                                         .n_rows = n,
                                         .k = w->n_cols,
                                         .x = q15 ? o->q15 : (const void *)o->f32,
                                         .x_stride = q15 ? o->q15_stride : o->f32_stride,
                                         .n_cols = o->n_rows,
                                         .y = y,
                                         .y_stride = y_stride,
                                         .scratch = p->workers[worker].scratch});
}

/* Columns [first, first + n) of product j for all rows, epilogue included. */
static void run_chunk(const struct pn_cpu_run *run, int phase, int worker, const struct operand *o, int j,
                      int64_t first, int64_t n)
{
    const struct pn_program *p = run->program;
    const struct pn_phase *f = &p->plan->phases[phase];
    const struct pn_product *item = &f->products[j];
    const struct pn_product *gate = item->gate >= 0 ? &f->products[item->gate] : NULL;
    struct pn_strided out = pn_cpu_view(run, worker, &item->to);
    struct follower mine[PN_MAX_EPILOGUE], gates[PN_MAX_EPILOGUE];
    float *tile = p->workers[worker].tile;
    multiply(run, worker, o, item->weight, first, n, out.data + first, (size_t)out.stride0);
    if (gate)
        multiply(run, worker, o, gate->weight, first, n, tile, (size_t)n);
    for (int e = 0; e < item->n_epilogue; e++)
        mine[e] = follower_of(run, worker, &item->epilogue[e], first);
    for (int e = 0; gate && e < gate->n_epilogue; e++)
        gates[e] = follower_of(run, worker, &gate->epilogue[e], first);
    for (int64_t r = 0; r < o->n_rows; r++) {
        float *y = out.data + r * out.stride0 + first, *t = tile + r * n;
        for (int e = 0; e <= item->n_epilogue; e++) {
            if (gate && e == item->gate_at) {
                for (int i = 0; i < gate->n_epilogue; i++)
                    apply(run, &gates[i], t, r, n);
                p->device->kernels.act_mul(item->gate_fn, t, y, y, n);
            }
            if (e < item->n_epilogue)
                apply(run, &mine[e], y, r, n);
        }
    }
}

void pn_cpu_product_observe(const struct pn_cpu_run *run, int phase)
{
    const struct pn_observer *o = run->program->device->base.observer;
    const struct pn_phase *f = &run->program->plan->phases[phase];
    const struct pn_node *x = pn_node(run->program->plan->graph, f->x);
    struct pn_strided from = pn_cpu_view(run, 0, &f->from);
    for (int j = 0; j < f->n_products; j++)
        for (int64_t r = 0; r < pn_cpu_n_rows(run, x); r++)
            o->operand(o->context, f->products[j].weight, 0, pn_view_at(from, r, 0), x->n1, x->n2, from.stride1);
}

void pn_cpu_product_run(struct pn_cpu_run *run, int phase, int worker)
{
    struct pn_program *p = run->program;
    const struct pn_cpu_phase *c = &p->phases[phase];
    struct operand o = operand_of(run, phase, worker);
    int64_t at, end;
    if (o.n_rows == 0)
        return;
    while (pn_claim_next(&p->claims[phase], c->total_chunks, 1, &at, &end)) {
        int j = 0;
        while (at >= c->n_chunks[j])
            at -= c->n_chunks[j++];
        int64_t n_rows = p->plan->phases[phase].products[j].weight->n_rows;
        int64_t first = at * c->chunk[j];
        int64_t n = n_rows - first < c->chunk[j] ? n_rows - first : c->chunk[j];
        run_chunk(run, phase, worker, &o, j, first, n);
    }
}
