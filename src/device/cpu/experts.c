/* Mixtures of experts on the CPU: products with many matrices, each for the tokens routed to it.
 *
 * The slots of all tokens are grouped by matrix (a counting sort by the first worker), then workers claim chunks of a
 * matrix's rows and run one product for all slots of its group: each needed matrix is read once per step. With one
 * token, or without a route, nothing is grouped. */
#include "device/cpu/phases.h"

#include <string.h>

/* One product with a stack of matrices: its step, node, operand's node and stack. */
struct each {
    const struct pn_step *step;
    const struct pn_node *node, *x;
    const struct pn_weight *stack;
};

static struct each each_of(const struct pn_program *p, int phase)
{
    const struct pn_step *step = p->plan->phases[phase].step;
    const struct pn_graph *g = p->plan->graph;
    return (struct each){step, step->node, pn_node(g, step->node->src[0]), pn_node(g, step->node->src[1])->weight};
}

/* ---- compiling ---- */

void pn_cpu_each_compile(struct pn_program *p, int phase, struct pn_cpu_each_sizes *s)
{
    struct each e = each_of(p, phase);
    const struct pn_node *n = e.node, *x = e.x;
    const struct pn_weight *w = e.stack;
    struct pn_cpu_phase *c = &p->phases[phase];
    c->k = w->n_cols;
    c->wants_q15 = p->device->kernels.matmul[w->type].x_format == PN_X_Q15;
    int64_t chunk = w->n_rows / ((int64_t)p->device->base.properties.n_threads * 4) / 16 * 16;
    c->chunk[0] = chunk < 16 ? 16 : chunk > PN_CPU_MAX_CHUNK ? PN_CPU_MAX_CHUNK : chunk;
    c->n_chunks[0] = (w->n_rows + c->chunk[0] - 1) / c->chunk[0];
    size_t q15 = c->wants_q15 ? pn_q15_row_bytes(c->k) * (size_t)x->n1 : 0;
    s->q15 = q15 > s->q15 ? q15 : s->q15;
    s->slots = (size_t)n->n1 > s->slots ? (size_t)n->n1 : s->slots;
    s->mats = (size_t)w->n_mat > s->mats ? (size_t)w->n_mat : s->mats;
}

/* ---- preparing ---- */

/* Groups the slots by matrix: those of the i-th matrix in use are first[i] .. first[i + 1] in x_index and y_index. */
static void group(struct pn_cpu_run *run, int phase)
{
    struct pn_program *p = run->program;
    struct pn_cpu_groups *g = &p->groups;
    struct each e = each_of(p, phase);
    bool one = e.x->n1 == 1;
    int n_slots = e.node->n1, n_mat = (int)e.stack->n_mat;
    int64_t rows = pn_cpu_n_rows(run, e.node);
    struct pn_strided route = pn_cpu_view(run, 0, &e.step->src[2]);
    memset(g->count, 0, (size_t)n_mat * sizeof *g->count);
    for (int64_t r = 0; r < rows; r++)
        for (int j = 0; j < n_slots; j++)
            g->count[(int)pn_view_at(route, r, 1)[j]]++;
    g->n = 0;
    g->first[0] = 0;
    for (int m = 0; m < n_mat; m++) {
        if (g->count[m] == 0)
            continue;
        g->mat[g->n] = m;
        g->first[g->n + 1] = g->first[g->n] + g->count[m];
        g->count[m] = g->first[g->n++]; /* from here on: the place of the next slot */
    }
    for (int64_t r = 0; r < rows; r++)
        for (int j = 0; j < n_slots; j++) {
            int32_t to = g->count[(int)pn_view_at(route, r, 1)[j]]++;
            g->y_index[to] = (int32_t)(r * n_slots + j);
            g->x_index[to] = one ? (int32_t)r : g->y_index[to];
        }
}

bool pn_cpu_each_prepare(struct pn_cpu_run *run, int phase, int worker)
{
    struct pn_program *p = run->program;
    const struct pn_cpu_phase *c = &p->phases[phase];
    struct each e = each_of(p, phase);
    int n1 = e.x->n1;
    struct pn_strided x = pn_cpu_view(run, worker, &e.step->src[0]);
    size_t q15_row = pn_q15_row_bytes(c->k);
    int64_t first = 0, end = pn_cpu_n_rows(run, e.node);
    unsigned char *q15 = run->single ? p->workers[worker].q15 : p->q15;
    if (!run->single)
        pn_cpu_share(run, worker, end, &first, &end);
    if (c->wants_q15)
        for (int64_t r = first; r < end; r++)
            for (int h = 0; h < n1; h++)
                p->device->kernels.quantize(pn_view_at(x, r, h), q15 + (size_t)(r * n1 + h) * q15_row, c->k);
    if (run->single)
        return false;
    if (e.node->src[2] != PN_NONE) {
        if (p->plan->phases[phase].n_row > 0) /* other workers may have computed the route in this phase */
            pn_pool_barrier(p->device->pool);
        if (worker == 0)
            group(run, phase);
    }
    return true;
}

/* ---- multiplying ---- */

/* One matrix and its slots. */
struct job {
    int64_t mat, n_slots;
    const int32_t *x_index, *y_index; /* or NULL: every x_step-th row from x_first, every y_step-th from y_first */
    int64_t x_first, x_step, y_first, y_step;
};

static struct job job_at(const struct pn_cpu_run *run, int phase, int worker, int64_t i)
{
    const struct pn_program *p = run->program;
    struct each e = each_of(p, phase);
    int n1 = e.x->n1;
    if (e.node->src[2] == PN_NONE)
        return (struct job){
            .mat = i, .n_slots = pn_cpu_n_rows(run, e.node), .x_first = i, .x_step = n1, .y_first = i, .y_step = n1};
    if (run->single) {
        int64_t mat = (int64_t)pn_view_at(pn_cpu_view(run, worker, &e.step->src[2]), 0, 1)[i];
        return (struct job){.mat = mat, .n_slots = 1, .x_first = n1 == 1 ? 0 : i, .y_first = i};
    }
    const struct pn_cpu_groups *g = &p->groups;
    return (struct job){.mat = g->mat[i],
                        .n_slots = g->first[i + 1] - g->first[i],
                        .x_index = g->x_index + g->first[i],
                        .y_index = g->y_index + g->first[i]};
}

static void run_job(const struct pn_cpu_run *run, int phase, int worker, const struct job *job, int64_t first,
                    int64_t n)
{
    const struct pn_program *p = run->program;
    const struct pn_cpu_phase *c = &p->phases[phase];
    struct each e = each_of(p, phase);
    const struct pn_weight *w = e.stack;
    struct pn_strided x = pn_cpu_view(run, worker, &e.step->src[0]), out = pn_cpu_view(run, worker, &e.step->out);
    size_t slot, step;
    const char *data;
    const struct pn_matmul_kernel *kernel = &p->device->kernels.matmul[w->type];
    if (kernel->x_format == PN_X_Q15) {
        slot = pn_q15_row_bytes(c->k);
        step = slot * (size_t)(job->x_index ? 1 : job->x_step);
        data = run->single ? p->workers[worker].q15 : (const void *)p->q15;
    } else {
        slot = (size_t)(e.x->n1 == 1 ? x.stride0 : x.stride1) * sizeof(float);
        step = job->x_index ? slot : (size_t)x.stride0 * sizeof(float);
        data = (const char *)x.data;
    }
    struct pn_matmul_planes planes;
    kernel->run(&(struct pn_matmul_args){.type = w->type,
                                         .planes = pn_cpu_planes(w, job->mat, first, &planes),
                                         .w = pn_weight_at(w, PN_PLANE_VALUES, job->mat, first),
                                         .w_stride = w->plane[PN_PLANE_VALUES].row_bytes,
                                         .n_rows = n,
                                         .k = w->n_cols,
                                         .x = data + (size_t)job->x_first * slot,
                                         .x_stride = step,
                                         .n_cols = job->n_slots,
                                         .x_index = job->x_index,
                                         .y_index = job->y_index,
                                         .y = out.data + job->y_first * w->n_rows + first,
                                         .y_stride = (size_t)(w->n_rows * (job->y_index ? 1 : job->y_step)),
                                         .scratch = p->workers[worker].scratch});
}

void pn_cpu_each_observe(const struct pn_cpu_run *run, int phase)
{
    const struct pn_observer *o = run->program->device->base.observer;
    struct each e = each_of(run->program, phase);
    struct pn_strided x = pn_cpu_view(run, 0, &e.step->src[0]);
    bool routed = e.node->src[2] != PN_NONE;
    struct pn_strided route = routed ? pn_cpu_view(run, 0, &e.step->src[2]) : (struct pn_strided){0};
    for (int64_t r = 0; r < pn_cpu_n_rows(run, e.node); r++)
        for (int j = 0; j < e.node->n1; j++)
            o->operand(o->context, e.stack, routed ? (int64_t)pn_view_at(route, r, 1)[j] : j,
                       pn_view_at(x, r, e.x->n1 == 1 ? 0 : j), 1, e.x->n2, 0);
}

void pn_cpu_each_run(struct pn_cpu_run *run, int phase, int worker)
{
    struct pn_program *p = run->program;
    const struct pn_cpu_phase *c = &p->phases[phase];
    struct each e = each_of(p, phase);
    int64_t n_rows = e.stack->n_rows, claimed, end;
    if (pn_cpu_n_rows(run, e.node) == 0)
        return;
    int64_t jobs = e.node->src[2] == PN_NONE || run->single ? e.node->n1 : p->groups.n;
    while (pn_claim_next(&p->claims[phase], jobs * c->n_chunks[0], 1, &claimed, &end)) {
        struct job job = job_at(run, phase, worker, claimed / c->n_chunks[0]);
        int64_t first = claimed % c->n_chunks[0] * c->chunk[0];
        run_job(run, phase, worker, &job, first, n_rows - first < c->chunk[0] ? n_rows - first : c->chunk[0]);
    }
}
