/* Attention, every variant over long contexts: one step on a cache filled by the test, against the formula in double
 * precision. Sequences of different lengths share a batch; contexts are split among workers or not; windows begin
 * within a page. Unowned memory is NaN, and everything a step writes is compared byte by byte.
 *
 * Keys and values are multiples of 1/128 with a 127/128 in each block of 32, so every cache type stores them exactly
 * and the test needs no encoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_run.h"

enum { MAX_SEQS = 20, PAGE = 32 };

struct variant {
    int n_head, n_head_kv, dim_k, dim_v;
    pn_type type;
    bool latent; /* a value is the first part of its key */
    float softcap, alibi;
    int window;
    enum pn_window_kind kind;
    bool both_ways; /* not causal */
    bool sinks;
    int reach;  /* of a bias table; 0: none */
    bool late;  /* the queries are computed after the cache is written, and a second attention reads the same cache */
    bool early; /* the queries come from a product before the keys */
};

struct sequence {
    int past, n;
};

/* The memory of one case. */
struct world {
    const struct variant *v;
    const struct sequence *seqs;
    int n_seqs, n_new, width;
    struct pn_rng rng;
    float *k[MAX_SEQS], *val[MAX_SEQS]; /* (past + n, n_head_kv, dim) */
    float *rows;                        /* (n_new, width): q, k, v */
    float *sinks, *bias, *unit;
    int32_t *tables, *pages[MAX_SEQS];    /* where those of each sequence begin */
    struct pn_cache cache, before, after; /* as used by a run; its initial contents; its expected contents */
    size_t k_bytes, v_bytes;
    double *want;
};

/* ---- numbers ---- */

static float number(struct pn_rng *rng, int i)
{
    int n = (int)(pn_rng_u64(rng) % 255) - 127;
    return (float)(i % 32 == 11 ? (n < 0 ? -127 : 127) : n) / 128;
}

static float *numbers(struct pn_rng *rng, int n_rows, int dim)
{
    float *v = malloc((size_t)n_rows * (size_t)dim * sizeof *v);
    assert_non_null(v);
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < dim; i++)
            v[r * dim + i] = number(rng, i);
    return v;
}

/* A multiple of 1/128 below 1 as half precision. */
static uint16_t half_of(float x)
{
    int n = (int)(fabsf(x) * 128), exponent = 0;
    if (n == 0)
        return 0;
    while (n >> (exponent + 1))
        exponent++;
    int mantissa = (n << (10 - exponent)) & 1023;
    return (uint16_t)((x < 0 ? 0x8000 : 0) | (exponent - 7 + 15) << 10 | mantissa);
}

static void put_row(pn_type type, unsigned char *to, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (type == PN_TYPE_F32) {
            memcpy(to + 4 * i, &x[i], 4);
        } else if (type == PN_TYPE_F16) {
            uint16_t h = half_of(x[i]);
            memcpy(to + 2 * i, &h, 2);
        } else {
            uint16_t d = 0x2000; /* 1/128 */
            memcpy(to + i / 32 * 34, &d, 2);
            to[i / 32 * 34 + 2 + i % 32] = (unsigned char)(int8_t)(x[i] * 128);
        }
}

static size_t row_bytes(pn_type type, int n)
{
    return (size_t)(type == PN_TYPE_F32 ? 4 * n : type == PN_TYPE_F16 ? 2 * n : n / 32 * 34);
}

/* ---- memory ---- */

static void make_sequences(struct world *w)
{
    const struct variant *v = w->v;
    int row = 0, n_q = v->n_head * v->dim_k, n_k = v->n_head_kv * v->dim_k, n_v = v->n_head_kv * v->dim_v;
    w->width = n_q + n_k + (v->latent ? 0 : n_v);
    for (int s = 0; s < w->n_seqs; s++)
        w->n_new += w->seqs[s].n;
    w->rows = numbers(&w->rng, w->n_new, w->width);
    for (int s = 0; s < w->n_seqs; s++) {
        int past = w->seqs[s].past, total = past + w->seqs[s].n;
        w->k[s] = numbers(&w->rng, total * v->n_head_kv, v->dim_k);
        w->val[s] = v->latent ? NULL : numbers(&w->rng, total * v->n_head_kv, v->dim_v);
        for (int t = past; t < total; t++, row++) {
            float *x = w->rows + row * w->width + n_q;
            memcpy(x, w->k[s] + t * n_k, (size_t)n_k * sizeof *x);
            if (!v->latent)
                memcpy(x + n_k, w->val[s] + t * n_v, (size_t)n_v * sizeof *x);
        }
    }
}

static void fill(struct world *w, struct pn_cache *c, bool with_new)
{
    const struct variant *v = w->v;
    memset(c->k, 0xFF, w->k_bytes);
    if (!v->latent)
        memset(c->v, 0xFF, w->v_bytes);
    for (int s = 0; s < w->n_seqs; s++)
        for (int t = 0; t < w->seqs[s].past + (with_new ? w->seqs[s].n : 0); t++)
            for (int h = 0; h < v->n_head_kv; h++) {
                size_t page = (size_t)w->pages[s][t / PAGE], at = (size_t)(h * PAGE + t % PAGE);
                put_row(v->type, c->k + page * c->k_page + at * c->k_row, w->k[s] + (t * v->n_head_kv + h) * v->dim_k,
                        v->dim_k);
                if (!v->latent)
                    put_row(v->type, c->v + page * c->v_page + at * c->v_row,
                            w->val[s] + (t * v->n_head_kv + h) * v->dim_v, v->dim_v);
            }
}

/* Rows of keys and values have different padding, and pages are in random order. */
static void make_cache(struct world *w)
{
    const struct variant *v = w->v;
    int n_pages = 2, taken = 0;
    for (int s = 0; s < w->n_seqs; s++)
        n_pages += (w->seqs[s].past + w->seqs[s].n - 1) / PAGE + 1;
    int step = n_pages % 7 ? 7 : 11; /* i * step mod n_pages visits every page once */
    while (n_pages % step == 0)
        step += 2;
    w->tables = malloc((size_t)(n_pages - 2) * sizeof *w->tables);
    assert_non_null(w->tables);
    for (int s = 0; s < w->n_seqs; s++) {
        w->pages[s] = w->tables + taken;
        for (int i = 0; i <= (w->seqs[s].past + w->seqs[s].n - 1) / PAGE; i++)
            w->pages[s][i] = ++taken * step % n_pages;
    }
    struct pn_cache c = {.type = v->type, .n_head = v->n_head_kv, .dim_k = v->dim_k, .dim_v = v->dim_v};
    c.k_row = row_bytes(v->type, v->dim_k) + row_bytes(v->type, 32);
    c.v_row = v->latent ? c.k_row : row_bytes(v->type, v->dim_v) + row_bytes(v->type, 64);
    c.k_page = (size_t)(v->n_head_kv * PAGE) * c.k_row;
    c.v_page = (size_t)(v->n_head_kv * PAGE) * c.v_row;
    w->k_bytes = (size_t)n_pages * c.k_page;
    w->v_bytes = (size_t)n_pages * c.v_page;
    struct pn_cache *all[] = {&w->cache, &w->before, &w->after};
    for (int i = 0; i < 3; i++) {
        *all[i] = c;
        all[i]->k = malloc(w->k_bytes);
        all[i]->v = v->latent ? all[i]->k : malloc(w->v_bytes);
        assert_true(all[i]->k && all[i]->v);
    }
    fill(w, &w->before, false);
    fill(w, &w->after, true);
}

static void world_free(struct world *w)
{
    struct pn_cache *all[] = {&w->cache, &w->before, &w->after};
    for (int i = 0; i < 3; i++) {
        if (all[i]->v != all[i]->k)
            free(all[i]->v);
        free(all[i]->k);
    }
    for (int s = 0; s < w->n_seqs; s++) {
        free(w->k[s]);
        free(w->val[s]);
    }
    free(w->tables);
    free(w->rows);
    free(w->sinks);
    free(w->bias);
    free(w->unit);
    free(w->want);
}

/* ---- the formula ---- */

static bool sees(const struct variant *v, int at, int other)
{
    int w = v->window;
    if (!v->both_ways && other > at)
        return false;
    if (w == 0)
        return true;
    if (v->kind == PN_WINDOW_CHUNKED)
        return other >= at - at % w;
    if (v->kind == PN_WINDOW_SYMMETRIC)
        return abs(at - other) <= w / 2;
    return other > at - w;
}

/* Press et al., 2021: slopes for the largest power of two heads, then every second one for twice as many. */
static double slope_of(const struct variant *v, int h)
{
    int n = 1;
    while (2 * n <= v->n_head)
        n *= 2;
    if (v->alibi == 0)
        return 0;
    return h < n ? pow(2, -(double)v->alibi * (h + 1) / n) : pow(2, -(double)v->alibi * (2 * (h - n) + 1) / (2 * n));
}

static double score(const struct world *w, int s, const float *q, int h, int at, int other)
{
    const struct variant *v = w->v;
    const float *k = w->k[s] + (other * v->n_head_kv + h / (v->n_head / v->n_head_kv)) * v->dim_k;
    double sum = 0;
    for (int i = 0; i < v->dim_k; i++)
        sum += (double)q[i] * (double)k[i];
    sum *= 4 / sqrt((double)v->dim_k);
    if (v->softcap > 0)
        sum = (double)v->softcap * tanh(sum / (double)v->softcap);
    sum -= slope_of(v, h) * abs(at - other);
    if (v->reach > 0) {
        int distance = other - at;
        distance = distance > v->reach ? v->reach : distance < -v->reach ? -v->reach : distance;
        sum += (double)w->bias[h * (2 * v->reach + 1) + v->reach + distance];
    }
    return sum;
}

static void attend(const struct world *w, int s, const float *q, int h, int at, double *out)
{
    const struct variant *v = w->v;
    double sum = w->sinks ? exp((double)w->sinks[h]) : 0;
    for (int i = 0; i < v->dim_v; i++)
        out[i] = 0;
    for (int t = 0; t < w->seqs[s].past + w->seqs[s].n; t++) {
        int head = t * v->n_head_kv + h / (v->n_head / v->n_head_kv);
        const float *x = v->latent ? w->k[s] + head * v->dim_k : w->val[s] + head * v->dim_v;
        if (!sees(v, at, t))
            continue;
        double e = exp(score(w, s, q, h, at, t));
        sum += e;
        for (int i = 0; i < v->dim_v; i++)
            out[i] += e * (double)x[i];
    }
    for (int i = 0; i < v->dim_v; i++)
        out[i] /= sum;
}

static void make_wanted(struct world *w)
{
    const struct variant *v = w->v;
    w->want = malloc((size_t)(w->n_new * v->n_head * v->dim_v) * sizeof *w->want);
    assert_non_null(w->want);
    for (int s = 0, row = 0; s < w->n_seqs; s++)
        for (int t = 0; t < w->seqs[s].n; t++, row++)
            for (int h = 0; h < v->n_head; h++)
                attend(w, s, w->rows + row * w->width + h * v->dim_k, h, w->seqs[s].past + t,
                       w->want + (row * v->n_head + h) * v->dim_v);
}

/* ---- running ---- */

/* The layer's cache is the second of two; the first has no memory. */
static pn_array write_down(struct world *w, struct pn_graph *g, struct pn_weight weights[4])
{
    const struct variant *v = w->v;
    int n_q = v->n_head * v->dim_k, n_k = v->n_head_kv * v->dim_k, n_v = v->n_head_kv * v->dim_v;
    struct pn_attention_params p = {.cache = 1,
                                    .n_head_kv = v->n_head_kv,
                                    .dim_k = v->dim_k,
                                    .dim_v = v->dim_v,
                                    .value_in_key = v->latent,
                                    .scale = 4 / sqrtf((float)v->dim_k),
                                    .softcap = v->softcap,
                                    .alibi = v->alibi,
                                    .window = v->window,
                                    .window_kind = v->kind,
                                    .causal = !v->both_ways};
    weights[0] = pn_weight_plain("input", PN_TYPE_F32, 1, w->n_new, w->width, w->rows);
    weights[1] = pn_weight_plain("sinks", PN_TYPE_F32, 1, 1, v->n_head, w->sinks);
    weights[2] = pn_weight_plain("bias", PN_TYPE_F32, 1, v->n_head, 2 * v->reach + 1, w->bias);
    pn_array x = pn_embed(g, pn_weight_leaf(g, &weights[0]));
    pn_array q = pn_slice(g, x, 0, n_q);
    weights[3] = pn_weight_plain("unit", PN_TYPE_F32, 1, n_q, n_q, w->unit);
    if (v->early)
        q = pn_matmul(g, q, pn_weight_leaf(g, &weights[3]));
    q = pn_reshape(g, q, v->n_head, v->dim_k);
    pn_array k = pn_reshape(g, pn_slice(g, x, n_q, n_k), v->n_head_kv, v->dim_k);
    pn_array values = v->latent ? PN_NONE : pn_reshape(g, pn_slice(g, x, n_q + n_k, n_v), v->n_head_kv, v->dim_v);
    pn_array written = pn_cache_write(g, k, values, &p);
    if (v->late) { /* 2 y - y, by two attentions */
        q = pn_matmul(g, pn_slice(g, x, 0, n_q), pn_weight_leaf(g, &weights[3]));
        q = pn_reshape(g, q, v->n_head, v->dim_k);
        pn_array twice = pn_scale(g, pn_attention(g, q, written, PN_NONE, &p), 2, 0);
        return pn_add(g, twice, pn_scale(g, pn_attention(g, q, written, PN_NONE, &p), -1, 0));
    }
    if (v->reach > 0)
        return pn_attention_bias(g, q, written, pn_weight_leaf(g, &weights[2]), &p);
    return v->sinks ? pn_attention(g, q, written, pn_weight_leaf(g, &weights[1]), &p)
                    : pn_attention(g, q, written, PN_NONE, &p);
}

static void run_on(struct world *w, const struct op_device *d, const char *what)
{
    const struct variant *v = w->v;
    struct pn_weight weights[4];
    struct pn_graph g;
    struct pantry_error err = {0};
    struct pn_batch_seq *seqs =
        malloc((size_t)w->n_seqs * sizeof *seqs); /* exact size, so that a sanitizer notices reads beyond it */
    size_t n = (size_t)(w->n_new * v->n_head * v->dim_v);
    float *got = malloc(n * sizeof *got);
    int32_t *ids = malloc((size_t)w->n_new * 2 * sizeof *ids), *pos = ids + w->n_new;
    assert_true(got && ids && seqs);
    for (int s = 0, row = 0; s < w->n_seqs; s++) {
        seqs[s] = (struct pn_batch_seq){.start = row, .n = w->seqs[s].n, .past = w->seqs[s].past};
        seqs[s].pages = (int32_t)(w->pages[s] - w->tables);
        for (int t = 0; t < w->seqs[s].n; t++, row++) {
            ids[row] = row;
            pos[row] = 0; /* attention computes positions itself */
        }
    }
    memcpy(w->cache.k, w->before.k, w->k_bytes);
    if (!v->latent)
        memcpy(w->cache.v, w->before.v, w->v_bytes);
    struct pn_cache caches[2] = {{.type = PN_TYPE_F32}, w->cache};
    struct pn_batch b = {.n_tokens = w->n_new, .ids = ids, .pos = pos, .n_seqs = w->n_seqs, .seqs = seqs};
    b.tables = w->tables;
    b.caches = caches;
    b.results = (void *[]){got};
    pn_graph_init(&g);
    pn_array y = write_down(w, &g, weights);
    if (op_step(&g, y, d, &b, &err))
        fail_msg("%s", err.text);
    double e = op_distance(got, w->want, n);
    if (!(e < 1e-10))
        fail_msg("%s on %s (%s, %d threads), past %d: NMSE %g", what, d->name, d->isa ? d->isa : "best", d->n_threads,
                 w->seqs[0].past, e);
    if (memcmp(w->cache.k, w->after.k, w->k_bytes) || (!v->latent && memcmp(w->cache.v, w->after.v, w->v_bytes)))
        fail_msg("%s on %s (%d threads): the cache is not what it should be", what, d->name, d->n_threads);
    pn_graph_free(&g);
    free(seqs);
    free(ids);
    free(got);
}

static const struct op_device devices[] = {
    {"ref", NULL, 1}, {"cpu", NULL, 1}, {"cpu", "generic", 2}, {"cpu", NULL, 3}, {"cpu", NULL, 4}};

static void check_on(const struct variant *v, const struct sequence *seqs, int n_seqs, const char *what,
                     const struct op_device *first, int n_devices)
{
    struct world w = {.v = v, .seqs = seqs, .n_seqs = n_seqs, .rng = {77}};
    assert_true(n_seqs <= MAX_SEQS);
    make_sequences(&w);
    if (v->sinks) {
        w.sinks = numbers(&w.rng, 1, v->n_head);
        for (int h = 0; h < v->n_head; h++) /* some with as much weight as a context, some with almost none */
            w.sinks[h] = 4 * w.sinks[h] + (h % 2 ? 3 : 0);
    }
    if (v->reach > 0)
        w.bias = numbers(&w.rng, v->n_head, 2 * v->reach + 1);
    if (v->late || v->early) {
        int n = v->n_head * v->dim_k;
        w.unit = calloc((size_t)(n * n), sizeof *w.unit);
        assert_non_null(w.unit);
        for (int i = 0; i < n; i++)
            w.unit[i * n + i] = 1;
    }
    make_cache(&w);
    make_wanted(&w);
    for (int d = 0; d < n_devices; d++)
        run_on(&w, &first[d], what);
    world_free(&w);
}

static void check(const struct variant *v, const struct sequence *seqs, int n_seqs, const char *what)
{
    check_on(v, seqs, n_seqs, what, devices, (int)(sizeof devices / sizeof *devices));
}

/* One token; four tokens with different contexts; and a mix of long and short contexts with several tokens each. */
static void check_shapes(const struct variant *v, const char *what)
{
    static const struct sequence one[] = {{300, 1}}, four[] = {{131, 1}, {287, 1}, {33, 1}, {0, 1}},
                                 mixed[] = {{0, 40}, {288, 1}, {37, 6}};
    check(v, one, 1, what);
    check(v, four, 4, what);
    check(v, mixed, 3, what);
}

/* ---- cases ---- */

static void types_and_groups(void **state)
{
    (void)state;
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0};
    static const int heads[][2] = {{1, 1}, {6, 2}, {5, 5}, {16, 1}, {40, 1}};
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 5; i++) {
            struct variant v = {.n_head = heads[i][0], .n_head_kv = heads[i][1], .type = types[t]};
            v.dim_k = t == 2 || i % 2 ? 64 : 40;
            v.dim_v = t == 2 || i % 2 ? 32 : 19;
            check_shapes(&v, "plain");
        }
}

static void latent_keys(void **state)
{
    (void)state;
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0};
    for (int t = 0; t < 3; t++) {
        struct variant v = {.n_head = 5, .n_head_kv = 1, .dim_k = 96, .dim_v = 64, .type = types[t], .latent = true};
        check_shapes(&v, "latent keys");
        v.window = 70;
        v.sinks = true;
        check_shapes(&v, "latent keys with sinks and a window");
    }
}

/* A sink counts once when parts of a context are combined. */
static void sinks(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct variant v = {.n_head = 6, .n_head_kv = i % 2 ? 1 : 3, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F16};
        v.sinks = true;
        v.window = i < 2 ? 0 : 200;
        v.softcap = i == 3 ? 1.5f : 0;
        check_shapes(&v, "sinks");
    }
}

static void alibi(void **state)
{
    (void)state;
    static const int heads[] = {1, 2, 3, 5, 6, 7, 8, 12};
    for (int i = 0; i < 8; i++) {
        struct variant v = {.n_head = heads[i], .n_head_kv = heads[i], .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F32};
        v.alibi = 8;
        if (heads[i] % 3 == 0)
            v.n_head_kv = heads[i] / 3;
        check_shapes(&v, "alibi");
        v.alibi = 4;
        v.both_ways = true;
        v.sinks = i % 2;
        check_shapes(&v, "alibi both ways");
    }
}

static void soft_caps_and_biases(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct variant v = {.n_head = 3, .n_head_kv = i % 2 ? 1 : 3, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F16};
        v.softcap = i % 3 == 0 ? 0 : 0.75f * (float)i;
        v.reach = i < 3 ? 0 : 10 * (i - 2);
        v.both_ways = i > 3;
        check_shapes(&v, "soft caps and biases");
    }
}

/* A window of size 0 means no window, whatever its kind. */
static void kinds_without_a_window(void **state)
{
    (void)state;
    struct variant v = {.n_head = 2, .n_head_kv = 1, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F32};
    for (int way = 0; way < 6; way++) {
        v.kind = way % 3 == 0 ? PN_WINDOW_SLIDING : way % 3 == 1 ? PN_WINDOW_CHUNKED : PN_WINDOW_SYMMETRIC;
        v.both_ways = way > 2;
        check(&v, (const struct sequence[]){{40, 3}, {0, 70}}, 2, "no window");
    }
}

/* Windows around every boundary: one token more or less of past, of the window and of a page. */
static void windows(void **state)
{
    (void)state;
    static const enum pn_window_kind kinds[] = {PN_WINDOW_SLIDING, PN_WINDOW_CHUNKED, PN_WINDOW_SYMMETRIC};
    static const int sizes[] = {1, 2, 31, 32, 33, 64, 150};
    static const struct op_device few[] = {{"ref", NULL, 1}, {"cpu", NULL, 1}, {"cpu", NULL, 3}};
    for (int way = 0; way < 6; way++)
        for (int i = 0; i < 7; i++) {
            int w = sizes[i];
            const struct sequence borders[] = {{w - 1, 1}, {w, 1},          {w + 1, 1}, {2 * w - 1, 1},
                                               {2 * w, 1}, {2 * w + 1, 1},  {w - 1, 3}, {2 * w - 1, 35},
                                               {w / 2, 2}, {w / 2 + 1, 40}, {200, 1}};
            struct variant v = {.n_head = 2, .n_head_kv = 1, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F32};
            v.window = w;
            v.kind = kinds[way % 3];
            v.both_ways = way > 2;
            check_on(&v, borders, 11, "windows", few, 3);
            for (int s = 0; s < 3; s++)
                check_on(&v, borders + 2 * s, 1, "a window and one token", few, 3);
        }
}

static void late_and_early_queries(void **state)
{
    (void)state;
    struct variant v = {.n_head = 4, .n_head_kv = 2, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F16, .late = true};
    check_shapes(&v, "queries after the cache");
    v.latent = true;
    check_shapes(&v, "queries after the latent cache");
    v.late = false;
    v.early = true;
    check_shapes(&v, "queries before the latent cache");
    v.latent = false;
    check_shapes(&v, "queries before the cache");
}

/* Parts of at least four pages, more parts than workers, and the maximum of parts; batches of single tokens; slices of
 * a tile and of several, whose tokens begin to see at different pages. */
static void splits(void **state)
{
    (void)state;
    static const struct op_device many[] = {{"cpu", NULL, 2}, {"cpu", NULL, 5}, {"cpu", NULL, 10}};
    static const int pasts[] = {126, 127, 128, 254, 255, 256, 383, 384, 511, 512};
    struct variant v = {.n_head = 2, .n_head_kv = 1, .dim_k = 32, .dim_v = 32, .type = PN_TYPE_F16, .sinks = true};
    for (int i = 0; i < 10; i++)
        check_on(&v, &(struct sequence){pasts[i], 1}, 1, "splits", many, 2);
    check_on(&v, &(struct sequence){2111, 1}, 1, "as many parts as there may be", many, 3);
    v.window = 600;
    check_on(&v, &(struct sequence){700, 1}, 1, "a long window", many, 3);
    struct sequence batch[17];
    for (int s = 0; s < 17; s++)
        batch[s] = (struct sequence){256 + 3 * s, 1};
    for (int n = 15; n <= 17; n++)
        check_on(&v, batch, n, "a batch of single tokens", many + 1, 2);
    batch[3].n = 2;
    check_on(&v, batch, 4, "single tokens and two of one", many, 2);
    static const struct sequence slices[] = {{40, 1}, {1500, 20}, {7, 1}, {900, 3}, {2000, 1}};
    check_on(&v, slices, 5, "slices in a window", many, 3);
    v.window = 0;
    check_on(&v, slices, 5, "slices", many, 3);
    check_on(&v, &(struct sequence){1500, 63}, 1, "a slice of tiles in two parts", many, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_groups),
        cmocka_unit_test(latent_keys),
        cmocka_unit_test(sinks),
        cmocka_unit_test(alibi),
        cmocka_unit_test(soft_caps_and_biases),
        cmocka_unit_test(kinds_without_a_window),
        cmocka_unit_test(windows),
        cmocka_unit_test(late_and_early_queries),
        cmocka_unit_test(splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
