/* Recurrences on the CPU: convolutions, state spaces, delta rules. Channels (rows of the state) are independent, so a
 * task is a block of channels over all new tokens of one sequence; its state stays in cache. */
#include "device/cpu/phases.h"

#include <math.h>
#include <string.h>

enum { CONV_BLOCK = 256, ROW_BLOCK = 32, LANES = 8 };

/* The operands of a recurrence for one sequence. */
struct recurrence {
    struct pn_cpu_run *run;
    const struct pn_graph *graph;
    const struct pn_step *step;
    const struct pn_node *node;
    struct pn_strided src[PN_MAX_SRC], out;
    const struct pn_batch_seq *seq;
    const float *state_in; /* the operation's state of the sequence, before and after the step */
    float *state;
};

static const float *vector(const struct recurrence *r, int i)
{
    return pn_cpu_vector(r->run->program, &r->step->src[i]);
}

/* Copies n floats of the old state from `at` on, which the task then updates. */
static void begin(const struct recurrence *r, int64_t at, int64_t n)
{
    if (r->state != r->state_in)
        memcpy(r->state + at, r->state_in + at, (size_t)n * sizeof *r->state);
}

/* ---- convolution ---- */

static void convolve(const struct recurrence *r, int64_t first, int64_t end)
{
    int64_t channels = r->node->n2, k = pn_node(r->graph, r->node->src[1])->n2 / channels, n = end - first;
    const float *weight = vector(r, 1) + first * k;
    for (int64_t t = 0; t < r->seq->n; t++) {
        float *y = pn_view_at(r->out, r->seq->start + t, 0) + first;
        memset(y, 0, (size_t)n * sizeof *y);
        for (int64_t i = 0; i < k; i++) {
            int64_t from = t - (k - 1) + i;
            const float *x =
                (from < 0 ? r->state_in + (from + k - 1) * channels : pn_view_at(r->src[0], r->seq->start + from, 0)) +
                first;
            for (int64_t c = 0; c < n; c++)
                y[c] += x[c] * weight[c * k + i];
        }
    }
    for (int64_t i = 0; i < k - 1; i++) { /* oldest first, so rows move towards the front */
        int64_t from = r->seq->n - (k - 1) + i;
        const float *x =
            (from < 0 ? r->state_in + (from + k - 1) * channels : pn_view_at(r->src[0], r->seq->start + from, 0)) +
            first;
        memcpy(r->state + i * channels + first, x, (size_t)n * sizeof *x);
    }
}

/* ---- state space ---- */

/* s = s * decay + b * input; returns s.c */
static float scan_row(float *s, const float *b, const float *c, float decay, float input, int n)
{
    float sum[LANES] = {0}, total = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            s[i + l] = s[i + l] * decay + b[i + l] * input;
            sum[l] += s[i + l] * c[i + l];
        }
    for (; i < n; i++) {
        s[i] = s[i] * decay + b[i] * input;
        total += s[i] * c[i];
    }
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    return total;
}

static float scan_row_each(float *s, const float *b, const float *c, const float *a, float dt, float input, int n)
{
    float total = 0;
    for (int i = 0; i < n; i++) {
        s[i] = s[i] * expf(dt * a[i]) + b[i] * input;
        total += s[i] * c[i];
    }
    return total;
}

/* Rows first .. end - 1 of (heads * dim). */
static void scan(const struct recurrence *r, int64_t first, int64_t end)
{
    const struct pn_node *nb = pn_node(r->graph, r->node->src[2]);
    int heads = r->node->n1, dim = r->node->n2, n = nb->n2, group = heads / nb->n1;
    bool each = pn_node(r->graph, r->node->src[4])->n2 != heads;
    const float *a = vector(r, 4), *d = vector(r, 5);
    begin(r, first * n, (end - first) * n);
    for (int64_t t = r->seq->start; t < r->seq->start + r->seq->n; t++)
        for (int64_t row = first; row < end;) {
            int64_t h = row / dim, stop = (h + 1) * dim < end ? (h + 1) * dim : end;
            float dt = pn_view_at(r->src[1], t, 0)[h], decay = each ? 0 : expf(dt * a[h]);
            const float *x = pn_view_at(r->src[0], t, h), *b = pn_view_at(r->src[2], t, h / group),
                        *c = pn_view_at(r->src[3], t, h / group);
            float *y = pn_view_at(r->out, t, h);
            for (; row < stop; row++) {
                float *s = r->state + row * n, in = x[row - h * dim];
                float sum =
                    each ? scan_row_each(s, b, c, a + h * n, dt, dt * in, n) : scan_row(s, b, c, decay, dt * in, n);
                y[row - h * dim] = sum + d[h] * in;
            }
        }
}

/* ---- delta rule ---- */

static float dot(const float *x, const float *y, int n)
{
    float sum[LANES] = {0}, total = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            sum[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        total += x[i] * y[i];
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    return total;
}

/* s += change * k; returns s.q */
static float add_dot(float *s, const float *k, const float *q, float change, int n)
{
    float sum[LANES] = {0}, total = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            s[i + l] += change * k[i + l];
            sum[l] += s[i + l] * q[i + l];
        }
    for (; i < n; i++) {
        s[i] += change * k[i];
        total += s[i] * q[i];
    }
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    return total;
}

/* Rows first .. end - 1 of head h's (dim_v, dim_k). */
static void delta(const struct recurrence *r, int h, int64_t first, int64_t end)
{
    const struct pn_node *nk = pn_node(r->graph, r->node->src[1]), *ng = pn_node(r->graph, r->node->src[3]);
    const struct pn_recurrent_params *p = &r->node->recurrent;
    int heads = r->node->n1, n = nk->n2;
    int from = p->interleaved ? h / (heads / nk->n1) : h % nk->n1;
    bool gates = ng->n1 != 1 || ng->n2 != heads;
    int64_t at = (int64_t)h * r->node->n2 * n;
    float a = vector(r, 5)[h], *state = r->state + at;
    begin(r, at + first * n, (end - first) * n);
    for (int64_t t = r->seq->start; t < r->seq->start + r->seq->n; t++) {
        const float *q = pn_view_at(r->src[0], t, from), *k = pn_view_at(r->src[1], t, from),
                    *v = pn_view_at(r->src[2], t, h);
        float beta = pn_view_at(r->src[4], t, 0)[h], *y = pn_view_at(r->out, t, h);
        const float *gate = gates ? pn_view_at(r->src[3], t, h) : NULL;
        float decay = gates ? 0 : expf(a * pn_view_at(r->src[3], t, 0)[h]);
        if (gates)
            for (int i = 0; i < n; i++) {
                float kept = expf(a * gate[i]);
                for (int64_t j = first; j < end; j++)
                    state[j * n + i] *= kept;
            }
        for (int64_t j = first; j < end; j++) {
            float *s = state + j * n;
            if (!gates)
                for (int i = 0; i < n; i++)
                    s[i] *= decay;
            y[j] = add_dot(s, k, q, (v[j] - dot(s, k, n)) * beta, n) * p->scale;
        }
    }
}

/* ---- tasks ---- */

static int64_t blocks(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static int64_t n_tasks(const struct pn_node *n)
{
    switch (n->op) {
    case PN_OP_CONV:
        return blocks(n->n2, CONV_BLOCK);
    case PN_OP_SSM_SCAN:
        return blocks((int64_t)n->n1 * n->n2, ROW_BLOCK);
    default:
        return n->n1 * blocks(n->n2, ROW_BLOCK);
    }
}

static void run_task(const struct recurrence *r, int64_t task)
{
    int64_t n = r->node->n2, block = r->node->op == PN_OP_CONV ? CONV_BLOCK : ROW_BLOCK;
    int64_t a_head = blocks(n, block), head = 0;
    if (r->node->op == PN_OP_SSM_SCAN) {
        n *= r->node->n1;
    } else {
        head = task / a_head;
        task %= a_head;
    }
    int64_t first = task * block, end = first + block < n ? first + block : n;
    if (r->node->op == PN_OP_CONV)
        convolve(r, first, end);
    else if (r->node->op == PN_OP_SSM_SCAN)
        scan(r, first, end);
    else
        delta(r, (int)head, first, end);
}

void pn_cpu_recurrent_run(struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_step *step = run->program->plan->phases[phase].step;
    struct recurrence r = {.run = run, .graph = run->program->plan->graph, .step = step, .node = step->node};
    r.out = pn_cpu_view(run, worker, &step->out);
    for (int i = 0; i < r.node->n_src; i++)
        r.src[i] = pn_cpu_view(run, worker, &step->src[i]);
    int64_t each = n_tasks(r.node), task, end;
    while (pn_claim_next(&run->program->claims[phase], each * run->batch->n_seqs, 1, &task, &end)) {
        r.seq = &run->batch->seqs[task / each];
        r.state_in = pn_batch_state_in(run->batch, r.seq, r.node->recurrent.offset);
        r.state = pn_batch_state_out(run->batch, r.seq, r.node->recurrent.offset);
        run_task(&r, task % each);
    }
}
