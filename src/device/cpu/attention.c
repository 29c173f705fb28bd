/* Attention on the CPU: online softmax (Milakov & Gimelshein, 2018) over pages. Each page is read once for all query
 * heads of its group and a tile of tokens. A task that would take much longer than the others is split: its pages are
 * divided among workers, and the last to finish combines the parts. */
#include "device/cpu/phases.h"

#include <math.h>
#include <string.h>

enum { MAX_QUERIES = 32, MIN_SPLIT_PAGES = 4 };
_Static_assert(PN_KV_PAGE == PN_PAGE_TOKENS, "kernels and caches have the same pages");

/* What a worker needs for a task of `n` query rows: queries, scores, accumulators, maxima, sums. */
struct task_memory {
    float *q, *p, *acc, *max, *sum;
};

static int tile_tokens(const struct pn_node *a)
{
    int group = a->n1 / a->attn.n_head_kv;
    return group >= MAX_QUERIES ? 1 : MAX_QUERIES / group;
}

size_t pn_cpu_attention_floats(const struct pn_node *a)
{
    size_t n = (size_t)tile_tokens(a) * (size_t)(a->n1 / a->attn.n_head_kv);
    return n * ((size_t)a->attn.dim_k + PN_KV_PAGE + (size_t)a->attn.dim_v + 2) + 64;
}

static struct task_memory task_memory(float *at, const struct pn_attention_params *a, int n)
{
    struct task_memory m;
    m.q = at;
    m.p = m.q + (size_t)n * (size_t)a->dim_k;
    m.acc = m.p + (size_t)n * PN_KV_PAGE;
    m.max = m.acc + (size_t)n * (size_t)a->dim_v;
    m.sum = m.max + n;
    return m;
}

/* ---- writing the cache ---- */

static size_t row_in_page(int head, int64_t position)
{
    return (size_t)head * PN_KV_PAGE + (size_t)(position % PN_KV_PAGE);
}

static unsigned char *key_row(const struct pn_batch *b, const struct pn_cache *c, const struct pn_batch_seq *seq,
                              int head, int64_t position)
{
    return c->k + pn_batch_page(b, seq, c->group, position) * c->k_page + row_in_page(head, position) * c->k_row;
}

static unsigned char *value_row(const struct pn_batch *b, const struct pn_cache *c, const struct pn_batch_seq *seq,
                                int head, int64_t position)
{
    return c->v + pn_batch_page(b, seq, c->group, position) * c->v_page + row_in_page(head, position) * c->v_row;
}

static void encode(const struct pn_cpu_run *run, pn_type type, const float *x, unsigned char *to, int n)
{
    if (type == PN_TYPE_F16)
        run->program->device->kernels.f32_to_f16(x, (uint16_t *)(void *)to, n);
    else
        pn_type_info(type)->encode(x, to, (size_t)n);
}

static void write_head(const struct pn_cpu_run *run, const struct pn_attention_params *a, struct pn_strided k,
                       struct pn_strided v, const struct pn_batch_seq *seq, int64_t row, int head)
{
    const struct pn_cache *c = &run->batch->caches[a->cache];
    int64_t position = seq->past + (row - seq->start);
    encode(run, c->type, k.data + row * k.stride0 + head * k.stride1, key_row(run->batch, c, seq, head, position),
           a->dim_k);
    if (!a->value_in_key)
        encode(run, c->type, v.data + row * v.stride0 + head * v.stride1, value_row(run->batch, c, seq, head, position),
               a->dim_v);
}

void pn_cpu_cache_write(struct pn_cpu_run *run, int worker, const struct pn_step *write, int64_t first, int64_t end)
{
    const struct pn_batch *b = run->batch;
    const struct pn_attention_params *a = &write->node->attn;
    struct pn_strided k = pn_cpu_view(run, worker, &write->src[0]), v = pn_cpu_view(run, worker, &write->src[1]);
    for (int32_t s = pn_batch_seq_after(b, first); s < b->n_seqs && b->seqs[s].start < end; s++) {
        const struct pn_batch_seq *seq = &b->seqs[s];
        int64_t low = first > seq->start ? first : seq->start;
        int64_t high = end < seq->start + seq->n ? end : seq->start + seq->n;
        for (int64_t r = low; r < high; r++)
            for (int h = 0; h < a->n_head_kv; h++)
                write_head(run, a, k, v, seq, r, h);
    }
}

/* ---- attention ---- */

struct task {
    const struct pn_batch_seq *seq;
    int seq_index, head, split, n_splits;
    int64_t first, n;     /* tokens of the sequence's new ones */
    int64_t last;         /* highest position that they see */
    int64_t page0, page1; /* of the sequence */
    const struct pn_weight *bias;
};

/* p[j] -= slope |offset + j| */
static void add_alibi(float *p, float slope, int64_t offset, int n)
{
    for (int j = 0; j < n; j++) {
        int64_t distance = offset + j;
        p[j] -= slope * (float)(distance < 0 ? -distance : distance);
    }
}

/* p[j] += the table's bias for the distance of key j */
static void add_bias(float *p, struct pn_position_bias bias, int64_t offset, int n)
{
    for (int j = 0; j < n; j++)
        p[j] += pn_position_bias_at(bias, offset + j);
}

/* Folds the scores of one page into the running maxima, sums and accumulators. */
static void fold(const struct pn_cpu_run *run, const struct pn_attention_params *a, const struct task *t, int group,
                 struct task_memory m, int64_t page, int n_tokens)
{
    const struct pn_cpu_kernels *k = &run->program->device->kernels;
    int64_t base = page * PN_KV_PAGE;
    for (int64_t i = 0; i < t->n; i++) {
        int64_t position = t->seq->past + t->first + i;
        int64_t low =
            pn_attention_first_of(a, run->batch, t->seq, t->first + i) - base; /* visible: low <= token < high */
        int64_t high = pn_attention_last_of(a, run->batch, t->seq, t->first + i) + 1 - base;
        for (int h = 0; h < group; h++) {
            int row = (int)i * group + h;
            float *p = m.p + (size_t)row * PN_KV_PAGE;
            if (a->softcap > 0) {
                for (int j = 0; j < n_tokens; j++)
                    p[j] /= a->softcap;
                k->act(PN_ACT_FN_TANH, p, p, n_tokens);
                for (int j = 0; j < n_tokens; j++)
                    p[j] *= a->softcap;
            }
            if (a->alibi > 0)
                add_alibi(p, pn_alibi_slope(a->alibi, a->n_head_kv * group, t->head * group + h), base - position,
                          n_tokens);
            if (t->bias)
                add_bias(p, pn_position_bias_of(t->bias, t->head * group + h), base - position, n_tokens);
            for (int64_t j = 0; j < low && j < n_tokens; j++)
                p[j] = -INFINITY;
            for (int64_t j = high < 0 ? 0 : high; j < n_tokens; j++)
                p[j] = -INFINITY;
            float highest = k->max(p, n_tokens);
            if (highest == -INFINITY) { /* this row sees no token of the page */
                memset(p, 0, (size_t)n_tokens * sizeof *p);
                continue;
            }
            if (highest > m.max[row]) {
                float shrink = expf(m.max[row] - highest);
                float *acc = m.acc + (size_t)row * (size_t)a->dim_v;
                m.sum[row] *= shrink;
                for (int j = 0; j < a->dim_v; j++)
                    acc[j] *= shrink;
                m.max[row] = highest;
            }
            m.sum[row] += k->exp_shift(p, m.max[row], n_tokens);
        }
    }
}

static void attend(const struct pn_cpu_run *run, int worker, const struct pn_attention_params *a, const struct task *t,
                   int group, struct task_memory m)
{
    const struct pn_cpu_kernels *k = &run->program->device->kernels;
    const struct pn_cache *c = &run->batch->caches[a->cache];
    int n = (int)t->n * group;
    int64_t end = t->last + 1;
    for (int i = 0; i < n; i++) {
        m.max[i] = -INFINITY;
        m.sum[i] = 0;
    }
    memset(m.acc, 0, (size_t)n * (size_t)a->dim_v * sizeof *m.acc);
    for (int64_t page = t->page0; page < t->page1; page++) {
        int64_t left = end - page * PN_KV_PAGE;
        struct pn_attn_page_args args = {.type = c->type,
                                         .page = key_row(run->batch, c, t->seq, t->head, page * PN_KV_PAGE),
                                         .n_tokens = left < PN_KV_PAGE ? (int)left : PN_KV_PAGE,
                                         .head_dim = a->dim_k,
                                         .row_bytes = c->k_row,
                                         .n_query = n,
                                         .q = m.q,
                                         .q_stride = (size_t)a->dim_k,
                                         .p = m.p,
                                         .scratch = run->program->workers[worker].scratch};
        k->attn_scores(&args);
        fold(run, a, t, group, m, page, args.n_tokens);
        args.page = value_row(run->batch, c, t->seq, t->head, page * PN_KV_PAGE);
        args.head_dim = a->dim_v;
        args.row_bytes = c->v_row;
        args.acc = m.acc;
        args.acc_stride = (size_t)a->dim_v;
        k->attn_values(&args);
    }
}

/* The divisor of the values. A sink joins the sum of exponentials; `highest` is the highest score. */
static float whole(const float *sinks, int head, float highest, float sum)
{
    return sinks ? sum + expf(sinks[head] - highest) : sum;
}

/* Combines the parts of a query row whose context was split; `part` is (split, rows, 2 + dim_v): maximum, sum, values.
 */
static void combine(const float *part, int n_splits, int rows, int row, int dim_v, const float *sinks, int head,
                    float *out)
{
    size_t size = (size_t)dim_v + 2, step = (size_t)rows * size;
    float highest = -INFINITY, sum = 0;
    part += (size_t)row * size;
    for (int s = 0; s < n_splits; s++)
        highest = part[(size_t)s * step] > highest ? part[(size_t)s * step] : highest;
    memset(out, 0, (size_t)dim_v * sizeof *out);
    for (int s = 0; s < n_splits; s++) {
        const float *p = part + (size_t)s * step;
        float factor = expf(p[0] - highest);
        sum += p[1] * factor;
        for (int i = 0; i < dim_v; i++)
            out[i] += p[2 + i] * factor;
    }
    sum = whole(sinks, head, highest, sum);
    for (int i = 0; i < dim_v; i++)
        out[i] /= sum;
}

/* Where the result of a row of a task belongs. */
static float *out_row(const struct task *t, int group, int row, struct pn_strided out)
{
    int64_t token = t->seq->start + t->first + row / group, head = (int64_t)t->head * group + row % group;
    return out.data + token * out.stride0 + head * out.stride1;
}

/* The most parts of a task: the room for parts is divided among the tokens of the step. */
static int64_t most_splits(const struct pn_cpu_run *run)
{
    int64_t tokens = run->batch->n_tokens, n = tokens ? run->program->n_parts / tokens : 1;
    return n < 1 ? 1 : n > PN_CPU_MAX_SPLITS ? PN_CPU_MAX_SPLITS : n;
}

static void store(const struct pn_cpu_run *run, const struct pn_attention_params *a, const struct task *t, int group,
                  struct task_memory m, const float *sinks, struct pn_strided out)
{
    struct pn_program *p = run->program;
    int rows = (int)t->n * group;
    if (t->n_splits == 1) {
        for (int row = 0; row < rows; row++) {
            float *y = out_row(t, group, row, out);
            const float *acc = m.acc + (size_t)row * (size_t)a->dim_v;
            float sum = whole(sinks, t->head * group + row % group, m.max[row], m.sum[row]);
            for (int j = 0; j < a->dim_v; j++)
                y[j] = acc[j] / sum;
        }
        return;
    }
    size_t part_row = (size_t)a->dim_v + 2;
    size_t at = (size_t)t->head * (size_t)run->batch->n_tokens + (size_t)(t->seq->start + t->first);
    float *part = p->partial + at * (size_t)most_splits(run) * (size_t)group * part_row;
    for (int row = 0; row < rows; row++) {
        float *to = part + (size_t)(t->split * rows + row) * part_row;
        to[0] = m.max[row];
        to[1] = m.sum[row];
        memcpy(to + 2, m.acc + (size_t)row * (size_t)a->dim_v, (size_t)a->dim_v * sizeof *to);
    }
    if (atomic_fetch_add_explicit(&p->split_done[at], 1, memory_order_acq_rel) != t->n_splits - 1)
        return;
    atomic_store_explicit(&p->split_done[at], 0, memory_order_relaxed);
    for (int row = 0; row < rows; row++)
        combine(part, t->n_splits, rows, row, a->dim_v, sinks, t->head * group + row % group,
                out_row(t, group, row, out));
}

/* ---- schedules ---- */

/* Pages of a sequence's longest task, which is the last tile of its new tokens. */
static int64_t longest_task(const struct pn_attention_params *a, const struct pn_batch_seq *seq, int tile)
{
    int64_t end = (int64_t)seq->past + seq->n, low = end - (seq->n < tile ? seq->n : tile);
    return pn_attention_last(a, end - 1, end) / PN_KV_PAGE - pn_attention_first(a, low) / PN_KV_PAGE + 1;
}

static int64_t n_tiles(const struct pn_batch_seq *seq, int tile)
{
    return (seq->n + tile - 1) / tile;
}

/* The time of a sequence's longest task, in no unit: reading a page costs about as much as three tokens that use it. */
static int64_t work(const struct pn_batch_seq *seq, int64_t pages, int tile)
{
    return pages * ((seq->n < tile ? seq->n : tile) + 3);
}

/* The number of parts that each task of a sequence is split into, so that none takes much more than half of a worker's
 * share of the total. */
static int n_splits(const struct pn_cpu_run *run, int64_t pages, int64_t work, int64_t total)
{
    int64_t workers = run->program->device->base.properties.n_threads;
    int64_t n = workers == 1 ? 1 : (2 * workers * work + total - 1) / total, most = pages / MIN_SPLIT_PAGES;
    n = n < most ? n : most;
    most = most_splits(run);
    return n < 1 ? 1 : n > most ? (int)most : (int)n;
}

static bool before(const struct pn_cpu_schedule *s, int32_t a, int32_t b)
{
    return s->length[a] > s->length[b] || (s->length[a] == s->length[b] && a < b);
}

/* Restores a heap whose element i may be out of place. The top is the sequence that comes last. */
static void sift(const struct pn_cpu_schedule *s, int32_t *heap, int32_t i, int32_t n)
{
    int32_t moved = heap[i];
    for (int32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(s, heap[child], heap[child + 1]))
            child++;
        if (!before(s, moved, heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

static void sort_by_length(struct pn_cpu_schedule *s, int32_t n)
{
    for (int32_t i = n / 2; i-- > 0;)
        sift(s, s->order, i, n);
    for (int32_t end = n; end-- > 1;) {
        int32_t last = s->order[0];
        s->order[0] = s->order[end];
        s->order[end] = last;
        sift(s, s->order, 0, end);
    }
}

static void fill_schedule(const struct pn_cpu_run *run, struct pn_cpu_schedule *s)
{
    const struct pn_batch *b = run->batch;
    const struct pn_attention_params *a = &s->node->attn;
    int64_t total = 0;
    for (int32_t i = 0; i < b->n_seqs; i++) {
        s->order[i] = i;
        s->length[i] = longest_task(a, &b->seqs[i], s->tile);
        total += a->n_head_kv * n_tiles(&b->seqs[i], s->tile) * work(&b->seqs[i], s->length[i], s->tile);
    }
    for (int32_t i = 0; i < b->n_seqs; i++) {
        s->n_splits[i] = n_splits(run, s->length[i], work(&b->seqs[i], s->length[i], s->tile), total);
        s->length[i] = (s->length[i] + s->n_splits[i] - 1) / s->n_splits[i];
    }
    sort_by_length(s, b->n_seqs);
    s->n_tasks = 0;
    for (int32_t i = 0; i < b->n_seqs; i++) {
        const struct pn_batch_seq *seq = &b->seqs[s->order[i]];
        s->first[i] = s->n_tasks;
        s->n_tasks += (int64_t)a->n_head_kv * s->n_splits[s->order[i]] * n_tiles(seq, s->tile);
    }
    s->first[b->n_seqs] = s->n_tasks;
}

void pn_cpu_attention_schedule(struct pn_cpu_run *run)
{
    for (int i = 0; i < run->program->n_schedules; i++)
        fill_schedule(run, &run->program->schedules[i]);
}

static bool divides_alike(const struct pn_node *x, const struct pn_node *y)
{
    const struct pn_attention_params *a = &x->attn, *b = &y->attn;
    return x->n1 == y->n1 && a->n_head_kv == b->n_head_kv && a->window == b->window &&
           a->window_kind == b->window_kind && a->causal == b->causal;
}

static bool schedule_new(struct pn_program *p, const struct pn_node *n)
{
    size_t seqs = (size_t)p->plan->max_rows[PN_ROWS_SEQS];
    struct pn_cpu_schedule s = {.node = n, .tile = tile_tokens(n)};
    s.first = pn_arena_array(&p->arena, seqs + 1, sizeof *s.first);
    s.length = pn_arena_array(&p->arena, seqs + 1, sizeof *s.length);
    s.order = pn_arena_array(&p->arena, seqs + 1, sizeof *s.order);
    s.n_splits = pn_arena_array(&p->arena, seqs + 1, sizeof *s.n_splits);
    p->schedules[p->n_schedules++] = s;
    return s.first && s.length && s.order && s.n_splits;
}

/* Layers with equal heads and windows share a schedule; a model has one or two such kinds. */
pantry_status pn_cpu_attention_compile(struct pn_program *p, struct pantry_error *err)
{
    const struct pn_plan *plan = p->plan;
    int n_attention = 0;
    for (int i = 0; i < plan->n_phases; i++)
        n_attention += plan->phases[i].kind == PN_PHASE_ATTENTION;
    p->schedules = pn_arena_array(&p->arena, (size_t)n_attention + 1, sizeof *p->schedules);
    if (!p->schedules)
        return pn_no_memory(err, "a program");
    for (int i = 0; i < plan->n_phases; i++) {
        if (plan->phases[i].kind != PN_PHASE_ATTENTION)
            continue;
        const struct pn_node *n = plan->phases[i].step->node;
        int s = 0;
        while (s < p->n_schedules && !divides_alike(p->schedules[s].node, n))
            s++;
        if (s == p->n_schedules && !schedule_new(p, n))
            return pn_no_memory(err, "a program");
        p->phases[i].schedule = s;
    }
    return PANTRY_OK;
}

/* The sequence, head, tokens and pages of task `at`. Later tokens come first, because they read more pages. */
static struct task task_at(const struct pn_cpu_run *run, const struct pn_attention_params *a,
                           const struct pn_cpu_schedule *s, int64_t at)
{
    struct task t = {0};
    int32_t low = 0, high = run->batch->n_seqs; /* first[low] <= at < first[high] */
    while (high - low > 1) {
        int32_t middle = low + (high - low) / 2;
        if (s->first[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    at -= s->first[low];
    t.seq_index = s->order[low];
    t.seq = &run->batch->seqs[t.seq_index];
    t.n_splits = s->n_splits[t.seq_index];
    t.head = (int)(at % a->n_head_kv);
    at /= a->n_head_kv;
    t.split = (int)(at % t.n_splits);
    at /= t.n_splits;
    t.first = (n_tiles(t.seq, s->tile) - 1 - at) * s->tile;
    t.n = t.seq->n - t.first < s->tile ? t.seq->n - t.first : s->tile;
    for (int64_t i = 0; i < t.n; i++) {
        int64_t last = pn_attention_last_of(a, run->batch, t.seq, t.first + i);
        t.last = last > t.last ? last : t.last;
    }
    int64_t page0 = pn_attention_first_of(a, run->batch, t.seq, t.first) / PN_KV_PAGE,
            n_pages = t.last / PN_KV_PAGE + 1 - page0;
    t.page0 = page0 + n_pages * t.split / t.n_splits;
    t.page1 = page0 + n_pages * (t.split + 1) / t.n_splits;
    return t;
}

/* The scaled queries of a task, one row per token and head of the group. */
static void gather_queries(const struct pn_attention_params *a, const struct task *t, int group, struct pn_strided q,
                           float *to)
{
    for (int64_t i = 0; i < t->n; i++)
        for (int h = 0; h < group; h++, to += a->dim_k) {
            const float *from = pn_view_at(q, t->seq->start + t->first + i, t->head * group + h);
            for (int j = 0; j < a->dim_k; j++)
                to[j] = from[j] * a->scale;
        }
}

void pn_cpu_attention_run(struct pn_cpu_run *run, int phase, int worker)
{
    struct pn_program *p = run->program;
    const struct pn_phase *f = &p->plan->phases[phase];
    const struct pn_node *n = f->step->node;
    const struct pn_attention_params *a = &n->attn;
    const struct pn_cpu_schedule *schedule = &p->schedules[p->phases[phase].schedule];
    int group = n->n1 / a->n_head_kv;
    struct pn_strided q = pn_cpu_view(run, worker, &f->step->src[0]), out = pn_cpu_view(run, worker, &f->step->out);
    const float *sinks = pn_cpu_vector(p, &f->step->src[2]);
    struct pn_strided k = {0}, v = {0};
    if (f->write_step) {
        k = pn_cpu_view(run, worker, &f->write_step->src[0]);
        v = pn_cpu_view(run, worker, &f->write_step->src[1]);
    }
    int64_t at, end;
    while (pn_claim_next(&p->claims[phase], schedule->n_tasks, 1, &at, &end)) {
        struct task t = task_at(run, a, schedule, at);
        t.bias = n->src[3] == PN_NONE ? NULL : pn_node(p->plan->graph, n->src[3])->weight;
        struct task_memory m = task_memory(p->workers[worker].attn, a, (int)t.n * group);
        /* With one token, the worker that reads a head's last page writes the new row first. */
        if (run->single && f->write_step && t.split == t.n_splits - 1)
            write_head(run, a, k, v, t.seq, 0, t.head);
        gather_queries(a, &t, group, q, m.q);
        attend(run, worker, a, &t, group, m);
        store(run, a, &t, group, m, sinks, out);
    }
}
