/* The wide operations of training on the CPU: attention over a batch, the loss, and gradients.
 *
 * Products with a transposed weight decode some of its columns into a panel, (columns, rows), and multiply that with
 * the kernel for float32 weights. Sums over tokens transpose their operands once and use the same kernel. */
#include "device/cpu/phases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL_COLS = 256, MIN_COLS = 16 };

/* One operation as a worker sees it. */
struct back {
    struct pn_cpu_run *run;
    const struct pn_step *step;
    const struct pn_graph *graph;
    struct pn_strided out, src[PN_MAX_SRC];
    int phase, worker;
};

static const struct pn_node *operand(const struct back *b, int i)
{
    return pn_node(b->graph, b->step->node->src[i]);
}

/* y[col][row] = sum of w[row][i] x[col][i] over k; strides in floats. */
static void multiply(const struct back *b, const float *w, int64_t w_stride, int64_t n_rows, const float *x,
                     int64_t x_stride, int64_t n_cols, int64_t k, float *y, int64_t y_stride)
{
    const struct pn_program *p = b->run->program;
    p->device->kernels.matmul[PN_TYPE_F32].run(&(struct pn_matmul_args){.type = PN_TYPE_F32,
                                                                        .w = w,
                                                                        .w_stride = (size_t)w_stride * sizeof(float),
                                                                        .n_rows = n_rows,
                                                                        .k = k,
                                                                        .x = x,
                                                                        .x_stride = (size_t)x_stride * sizeof(float),
                                                                        .n_cols = n_cols,
                                                                        .y = y,
                                                                        .y_stride = (size_t)y_stride,
                                                                        .scratch = p->workers[b->worker].scratch});
}

static bool out_of_memory(struct pn_cpu_run *run, const void *p)
{
    int expected = PANTRY_OK;
    if (!p && atomic_compare_exchange_strong(&run->status, &expected, PANTRY_NO_MEMORY))
        pn_no_memory(&run->error, "gradients");
    return !p;
}

/* ---- products with a transposed weight ---- */

/* Columns of a weight that are decoded together: whole blocks of its type. */
static int64_t panel_cols(const struct pn_weight *w)
{
    int64_t block = pn_type_info(w->type)->block, group = w->group ? w->group : block;
    int64_t unit = group > block ? group : block;
    int64_t cols = w->n_cols / ((int64_t)4 * MIN_COLS) / unit * unit;
    cols = cols > PANEL_COLS ? PANEL_COLS / unit * unit : cols;
    return cols < unit ? unit : cols;
}

/* Values first .. first + n - 1 of each row, transposed: (n, n_rows). */
static void decode_panel(const struct pn_weight *w, int64_t mat, int64_t first, int64_t n, float *row, float *panel)
{
    for (int64_t r = 0; r < w->n_rows; r++) {
        pn_weight_decode(w, mat, r, first, n, row);
        for (int64_t i = 0; i < n; i++)
            panel[i * w->n_rows + r] = row[i];
    }
}

/* Rows whose heads have no gaps, as in results of operations. */
static bool is_dense(struct pn_strided v, const struct pn_node *n)
{
    return n->n1 == 1 || v.stride1 == n->n2;
}

static void matmul_back(struct back *b)
{
    const struct pn_weight *w = operand(b, 1)->weight;
    int64_t cols = panel_cols(w), n_tasks = (w->n_cols + cols - 1) / cols, task, end;
    int64_t rows = pn_cpu_n_rows(b->run, b->step->node);
    float *panel = malloc((size_t)(cols * (w->n_rows + 1)) * sizeof *panel);
    if (out_of_memory(b->run, panel))
        return;
    while (pn_claim_next(&b->run->program->claims[b->phase], n_tasks, 1, &task, &end)) {
        int64_t first = task * cols, n = w->n_cols - first < cols ? w->n_cols - first : cols;
        decode_panel(w, 0, first, n, panel + cols * w->n_rows, panel);
        multiply(b, panel, w->n_rows, n, b->src[0].data, b->src[0].stride0, rows, w->n_rows, b->out.data + first,
                 b->out.stride0);
    }
    free(panel);
}

/* ---- sums over tokens ---- */

/* (rows, n) as (n, rows). */
static void transpose(struct pn_strided v, const struct pn_node *n, int64_t rows, int64_t first, int64_t end, float *to)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = first; i < end; i++)
            to[(i - first) * rows + r] = pn_view_at(v, r, i / n->n2)[i % n->n2];
}

/* Each worker computes some columns of the result: (n_out, n_in). */
static void outer(struct back *b)
{
    const struct pn_node *n = b->step->node;
    int64_t rows = pn_batch_n_rows(b->run->batch, operand(b, 0)->rows), first, end;
    pn_cpu_share(b->run, b->worker, n->n2, &first, &end);
    if (end <= first)
        return;
    float *dy = malloc((size_t)(rows * (n->n1 + end - first) + 1) * sizeof *dy), *x = dy + rows * n->n1;
    if (out_of_memory(b->run, dy))
        return;
    transpose(b->src[0], operand(b, 0), rows, 0, n->n1, dy);
    transpose(b->src[1], operand(b, 1), rows, first, end, x);
    multiply(b, x, rows, end - first, dy, rows, n->n1, rows, b->out.data + first, n->n2);
    free(dy);
}

/* ---- attention ---- */

/* Attention of one key head of one sequence, for blocks of queries: room for scores, and copies of keys and values that
 * are transposed for products along the sequence. */
enum { QUERY_BLOCK = 32 };

struct attend {
    struct back *b;
    const struct pn_attention_params *p;
    const struct pn_batch_seq *seq;
    int n_head, kv, longest;
    float *scores, *slopes; /* (QUERY_BLOCK, longest) */
    float *turned;          /* dim x longest */
    float *small;           /* QUERY_BLOCK x longest, turned */
};

static struct pn_strided rows_from(struct pn_strided v, int64_t row, int64_t head)
{
    return (struct pn_strided){v.data + row * v.stride0 + head * v.stride1, v.stride0, v.stride1};
}

/* The probabilities of queries i .. i + n - 1 of head h over all keys (zeros where they see nothing), the slopes of the
 * soft cap, and the sinks' probabilities. */
static void find_probabilities(struct attend *t, int h, int64_t i, int64_t n, float *sinks)
{
    struct back *b = t->b;
    const struct pn_cpu_kernels *kernels = &b->run->program->device->kernels;
    const struct pn_attention_params *p = t->p;
    const float *all_sinks = pn_cpu_vector(b->run->program, &b->step->src[3]);
    struct pn_strided q = rows_from(b->src[0], t->seq->start + i, h), k = rows_from(b->src[1], t->seq->start, t->kv);
    int64_t keys = t->seq->n;
    multiply(b, k.data, k.stride0, keys, q.data, q.stride0, n, p->dim_k, t->scores, t->longest);
    float slope = p->alibi > 0 ? pn_alibi_slope(p->alibi, t->n_head, h) : 0;
    struct pn_position_bias bias = {NULL, 0};
    if (b->step->node->src[4] != PN_NONE)
        bias = pn_position_bias_of(operand(b, 4)->weight, h);
    for (int64_t r = 0; r < n; r++) {
        float *s = t->scores + r * t->longest, *d = t->slopes + r * t->longest;
        int64_t at = i + r, first = pn_attention_first(p, at);
        int64_t last = pn_attention_last_of(p, b->run->batch, t->seq, at), seen = last - first + 1;
        for (int64_t j = first; j <= last; j++) {
            s[j] *= p->scale;
            d[j] = 1;
        }
        if (p->softcap > 0) {
            for (int64_t j = first; j <= last; j++)
                s[j] /= p->softcap;
            kernels->act(PN_ACT_FN_TANH, s + first, s + first, seen);
            for (int64_t j = first; j <= last; j++) {
                d[j] = 1 - s[j] * s[j];
                s[j] *= p->softcap;
            }
        }
        for (int64_t j = first; j <= last && (slope != 0 || bias.row); j++)
            s[j] += (bias.row ? pn_position_bias_at(bias, j - at) : 0) - slope * (float)(j < at ? at - j : j - at);
        float sink = all_sinks ? all_sinks[h] : -INFINITY, highest = kernels->max(s + first, seen);
        highest = sink > highest ? sink : highest;
        float sunk = all_sinks ? expf(sink - highest) : 0, sum = kernels->exp_shift(s + first, highest, seen) + sunk;
        kernels->scale_mul(s + first, NULL, 1 / sum, s + first, seen);
        memset(s, 0, (size_t)first * sizeof *s);
        memset(s + last + 1, 0, (size_t)(keys - last - 1) * sizeof *s);
        sinks[r] = sunk / sum;
    }
}

/* (n, dim) rows of a head as (dim, n). */
static void turn(struct pn_strided v, int64_t n, int dim, float *to)
{
    for (int64_t j = 0; j < n; j++)
        for (int d = 0; d < dim; d++)
            to[d * n + j] = v.data[j * v.stride0 + d];
}

static void attend_head(struct attend *t, int h)
{
    struct back *b = t->b;
    float sinks[QUERY_BLOCK];
    turn(rows_from(b->src[2], t->seq->start, t->kv), t->seq->n, t->p->dim_v, t->turned);
    for (int64_t i = 0; i < t->seq->n; i += QUERY_BLOCK) {
        int64_t n = t->seq->n - i < QUERY_BLOCK ? t->seq->n - i : QUERY_BLOCK;
        struct pn_strided out = rows_from(b->out, t->seq->start + i, h);
        find_probabilities(t, h, i, n, sinks);
        multiply(b, t->turned, t->seq->n, t->p->dim_v, t->scores, t->longest, n, t->seq->n, out.data, out.stride0);
    }
}

/* Adds the product of (queries, keys) and (queries, dim), over queries, to (keys, dim) of the result. */
static void add_over_queries(struct attend *t, const float *scores, int64_t n, struct pn_strided x, int dim,
                             struct pn_strided to, float *room)
{
    int64_t keys = t->seq->n;
    float *x_turned = room, *y = room + dim * n;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < keys; j++)
            t->small[j * n + r] = scores[r * t->longest + j];
    for (int64_t r = 0; r < n; r++)
        for (int d = 0; d < dim; d++)
            x_turned[d * n + r] = x.data[r * x.stride0 + d];
    multiply(t->b, x_turned, n, dim, t->small, n, keys, n, y, dim);
    for (int64_t j = 0; j < keys; j++)
        for (int d = 0; d < dim; d++)
            to.data[j * to.stride0 + d] += y[j * dim + d];
}

/* One query head: fills its dq and sinks, adds to dk and dv. `dp`: (QUERY_BLOCK, longest). */
static void attend_back_head(struct attend *t, int h, float *dp, float *room)
{
    struct back *b = t->b;
    const struct pn_attention_params *p = t->p;
    int at_k = t->n_head * p->dim_k, at_v = at_k + p->n_head_kv * p->dim_k, at_sink = at_v + p->n_head_kv * p->dim_v;
    int64_t keys = t->seq->n;
    float sinks[QUERY_BLOCK];
    struct pn_strided v = rows_from(b->src[2], t->seq->start, t->kv), out = rows_from(b->out, t->seq->start, 0);
    struct pn_strided dk = {out.data + at_k + t->kv * p->dim_k, out.stride0, 0};
    struct pn_strided dv = {out.data + at_v + t->kv * p->dim_v, out.stride0, 0};
    turn(rows_from(b->src[1], t->seq->start, t->kv), keys, p->dim_k, t->turned);
    for (int64_t i = 0; i < keys; i += QUERY_BLOCK) {
        int64_t n = keys - i < QUERY_BLOCK ? keys - i : QUERY_BLOCK;
        struct pn_strided dy = rows_from(b->src[5], t->seq->start + i, h);
        find_probabilities(t, h, i, n, sinks);
        add_over_queries(t, t->scores, n, dy, p->dim_v, dv, room);
        multiply(b, v.data, v.stride0, keys, dy.data, dy.stride0, n, p->dim_v, dp, t->longest);
        for (int64_t r = 0; r < n; r++) {
            float *s = t->scores + r * t->longest, *d = t->slopes + r * t->longest, *g = dp + r * t->longest, sum = 0;
            int64_t first = pn_attention_first(p, i + r);
            int64_t last = pn_attention_last_of(p, b->run->batch, t->seq, i + r);
            for (int64_t j = first; j <= last; j++)
                sum += s[j] * g[j];
            for (int64_t j = first; j <= last; j++)
                s[j] *= (g[j] - sum) * d[j] * p->scale;
            if (b->step->node->src[3] != PN_NONE)
                out.data[(i + r) * out.stride0 + at_sink + h] = -sinks[r] * sum;
        }
        multiply(b, t->turned, keys, p->dim_k, t->scores, t->longest, n, keys,
                 out.data + i * out.stride0 + h * p->dim_k, out.stride0);
        add_over_queries(t, t->scores, n, rows_from(b->src[0], t->seq->start + i, h), p->dim_k, dk, room);
    }
}

/* One key head of one sequence. */
static void attend_task(struct attend *t, bool back, float *dp, float *room)
{
    struct back *b = t->b;
    const struct pn_attention_params *p = t->p;
    int group = t->n_head / p->n_head_kv, at_k = t->n_head * p->dim_k, at_v = at_k + p->n_head_kv * p->dim_k;
    for (int64_t j = 0; back && j < t->seq->n; j++) {
        float *row = pn_view_at(b->out, t->seq->start + j, 0);
        memset(row + at_k + t->kv * p->dim_k, 0, (size_t)p->dim_k * sizeof *row);
        memset(row + at_v + t->kv * p->dim_v, 0, (size_t)p->dim_v * sizeof *row);
    }
    for (int h = t->kv * group; h < (t->kv + 1) * group; h++)
        if (back)
            attend_back_head(t, h, dp, room);
        else
            attend_head(t, h);
}

static void attend(struct back *b)
{
    const struct pn_attention_params *p = &b->step->node->attn;
    bool back = b->step->node->op == PN_OP_ATTEND_BACK;
    struct attend t = {.b = b, .p = p, .n_head = operand(b, 0)->n1};
    for (int i = 0; i < b->run->batch->n_seqs; i++)
        t.longest = b->run->batch->seqs[i].n > t.longest ? b->run->batch->seqs[i].n : t.longest;
    size_t block = (size_t)QUERY_BLOCK * (size_t)t.longest, dim = (size_t)(p->dim_k > p->dim_v ? p->dim_k : p->dim_v);
    float *all = malloc((4 * block + 2 * dim * (size_t)t.longest + dim * QUERY_BLOCK) * sizeof *all);
    if (out_of_memory(b->run, all))
        return;
    t.scores = all;
    t.slopes = t.scores + block;
    t.small = t.slopes + block;
    float *dp = t.small + block, *room = dp + block + dim * (size_t)t.longest;
    t.turned = dp + block;
    int64_t task, end, n_tasks = (int64_t)b->run->batch->n_seqs * p->n_head_kv;
    while (pn_claim_next(&b->run->program->claims[b->phase], n_tasks, 1, &task, &end)) {
        t.seq = &b->run->batch->seqs[task / p->n_head_kv];
        t.kv = (int)(task % p->n_head_kv);
        attend_task(&t, back, dp, room);
    }
    free(all);
}

/* ---- the loss ---- */

enum { VOCAB_TILE = 256 };

/* Logits of a tile of the vocabulary for `n` rows from `row`, as (n, tile), and their slopes. */
static void tile_of_logits(const struct back *b, int64_t row, int64_t n, int64_t first, int64_t tile, float *decoded,
                           float *z, float *slopes)
{
    const struct pn_node *node = b->step->node;
    const struct pn_weight *w = operand(b, 1)->weight;
    const struct pn_cpu_kernels *kernels = &b->run->program->device->kernels;
    const float *bias = pn_cpu_vector(b->run->program, &b->step->src[2]);
    float factor = node->scale.factor, cap = node->scale.offset;
    for (int64_t i = 0; i < tile; i++)
        pn_weight_decode(w, 0, first + i, 0, w->n_cols, decoded + i * w->n_cols);
    multiply(b, decoded, w->n_cols, tile, b->src[0].data + row * b->src[0].stride0, b->src[0].stride0, n, w->n_cols, z,
             VOCAB_TILE);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < tile; i++) {
            float *at = &z[r * VOCAB_TILE + i];
            *at = (*at + (bias ? bias[first + i] : 0)) * factor;
            slopes[r * VOCAB_TILE + i] = factor;
        }
    for (int64_t r = 0; r < n && cap > 0; r++) {
        float *at = z + r * VOCAB_TILE, *slope = slopes + r * VOCAB_TILE;
        for (int64_t i = 0; i < tile; i++)
            at[i] /= cap;
        kernels->act(PN_ACT_FN_TANH, at, at, tile);
        for (int64_t i = 0; i < tile; i++) {
            slope[i] *= 1 - at[i] * at[i];
            at[i] *= cap;
        }
    }
}

static int64_t target_of(const struct back *b, int64_t row)
{
    return (int64_t)pn_view_at(b->src[3], row, 0)[0];
}

static void add_to_losses(const struct back *b, int64_t row, int64_t n, int64_t first, int64_t tile, float *z,
                          float *highest, double *sums)
{
    const struct pn_cpu_kernels *kernels = &b->run->program->device->kernels;
    for (int64_t r = 0; r < n; r++) {
        float *at = z + r * VOCAB_TILE, top = kernels->max(at, tile);
        int64_t target = target_of(b, row + r) - first;
        if (target >= 0 && target < tile)
            pn_view_at(b->out, row + r, 0)[0] = at[target];
        top = top > highest[r] ? top : highest[r];
        sums[r] = sums[r] * exp((double)highest[r] - (double)top) + (double)kernels->exp_shift(at, top, tile);
        highest[r] = top;
    }
}

/* d loss / d x.w of the tile, then times its rows, added to dx. `turned`: the decoded tile as (n_cols, tile). */
static void add_to_gradients(const struct back *b, int64_t row, int64_t n, int64_t first, int64_t tile, float *z,
                             const float *slopes, const float *decoded, float *turned, float *sum)
{
    int64_t k = operand(b, 1)->weight->n_cols;
    for (int64_t r = 0; r < n; r++) {
        float *at = z + r * VOCAB_TILE, log_sum = pn_view_at(b->src[4], row + r, 0)[1];
        float seed = pn_view_at(b->src[5], row + r, 0)[0];
        int64_t target = target_of(b, row + r) - first;
        b->run->program->device->kernels.exp_shift(at, log_sum, tile);
        if (target >= 0 && target < tile)
            at[target] -= 1;
        for (int64_t i = 0; i < tile; i++)
            at[i] *= slopes[r * VOCAB_TILE + i] * seed;
    }
    for (int64_t i = 0; i < tile; i++)
        for (int64_t j = 0; j < k; j++)
            turned[j * tile + i] = decoded[i * k + j];
    multiply(b, turned, tile, k, z, VOCAB_TILE, n, tile, sum, k);
    for (int64_t r = 0; r < n; r++) {
        float *out = pn_view_at(b->out, row + r, 0);
        for (int64_t j = 0; j < k; j++)
            out[j] = (first ? out[j] : 0) + sum[r * k + j];
    }
}

/* Each worker takes some of the rows, in blocks that keep a tile of the weight in cache. */
static void loss(struct back *b)
{
    enum { ROWS = 64 };
    const struct pn_weight *w = operand(b, 1)->weight;
    bool back = b->step->node->op == PN_OP_CROSS_ENTROPY_BACK;
    int64_t k = w->n_cols, row, end;
    size_t cells = (size_t)ROWS * VOCAB_TILE;
    pn_cpu_share(b->run, b->worker, pn_cpu_n_rows(b->run, b->step->node), &row, &end);
    if (end <= row)
        return;
    float *decoded =
        malloc((2 * (size_t)VOCAB_TILE * (size_t)k + 2 * cells + (size_t)ROWS * (size_t)k) * sizeof(float));
    if (out_of_memory(b->run, decoded))
        return;
    float *turned = decoded + VOCAB_TILE * k, *z = turned + VOCAB_TILE * k, *slopes = z + cells, *sum = slopes + cells;
    for (; row < end; row += ROWS) {
        int64_t n = end - row < ROWS ? end - row : ROWS;
        float highest[ROWS];
        double sums[ROWS];
        for (int64_t r = 0; r < n; r++)
            highest[r] = -INFINITY, sums[r] = 0;
        for (int64_t first = 0; first < w->n_rows; first += VOCAB_TILE) {
            int64_t tile = w->n_rows - first < VOCAB_TILE ? w->n_rows - first : VOCAB_TILE;
            tile_of_logits(b, row, n, first, tile, decoded, z, slopes);
            if (back)
                add_to_gradients(b, row, n, first, tile, z, slopes, decoded, turned, sum);
            else
                add_to_losses(b, row, n, first, tile, z, highest, sums);
        }
        for (int64_t r = 0; r < n && !back; r++) {
            float *out = pn_view_at(b->out, row + r, 0);
            double log_sum = (double)highest[r] + log(sums[r]);
            out[0] = (float)(log_sum - (double)out[0]);
            out[1] = (float)log_sum;
        }
    }
    free(decoded);
}

/* ---- dispatch ---- */

/* Whether the operands are as the fast forms need them. */
static bool is_fast(const struct back *b)
{
    switch (b->step->node->op) {
    case PN_OP_MATMUL_BACK:
    case PN_OP_CROSS_ENTROPY:
    case PN_OP_CROSS_ENTROPY_BACK:
        return is_dense(b->src[0], operand(b, 0));
    case PN_OP_OUTER:
    case PN_OP_ATTEND:
    case PN_OP_ATTEND_BACK:
        return true;
    default:
        return false;
    }
}

static void run_fast(struct back *b)
{
    switch (b->step->node->op) {
    case PN_OP_MATMUL_BACK:
        matmul_back(b);
        return;
    case PN_OP_OUTER:
        outer(b);
        return;
    case PN_OP_ATTEND:
    case PN_OP_ATTEND_BACK:
        attend(b);
        return;
    default:
        loss(b);
    }
}

/* Whether rows of the result can be computed apart from each other by the reference. */
static bool divides(enum pn_op op)
{
    return op == PN_OP_MATMUL_BACK || op == PN_OP_MATMUL_EACH_BACK || op == PN_OP_CROSS_ENTROPY ||
           op == PN_OP_CROSS_ENTROPY_BACK;
}

void pn_cpu_back_run(struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_step *step = run->program->plan->phases[phase].step;
    struct back b = {.run = run, .step = step, .graph = run->program->plan->graph, .phase = phase, .worker = worker};
    int64_t first = 0, end = pn_cpu_n_rows(run, step->node);
    b.out = pn_cpu_view(run, worker, &step->out);
    for (int i = 0; i < step->node->n_src; i++)
        b.src[i] = pn_cpu_view(run, worker, &step->src[i]);
    if (end > 0 && is_fast(&b)) {
        run_fast(&b);
        return;
    }
    if (divides(step->node->op))
        pn_cpu_share(run, worker, end, &first, &end);
    else if (worker > 0)
        return;
    if (end > first)
        pn_cpu_row_op(run, worker, step, first, end);
}
