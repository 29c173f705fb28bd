/* Attention against its formula in double precision: groups of heads, windows, soft caps, values that are part of their
 * keys, caches of each type, several sequences in one batch, contexts of one page and of many, on every device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "op_run.h"

struct attention {
    int n_head;
    struct op_cache cache;
    int window;
    float softcap;
    int picture; /* the PICTURE tokens from here on see one another; 0: none */
    bool whole;  /* ... in spite of a window */
    int listed;  /* windows of that many tokens, each seen whole and nothing else; 0: none */
};

enum { PICTURE = 35 };

/* The last position that a token at `position` sees. */
static int last_of(const struct attention *a, int position, int length)
{
    if (a->listed)
        return position / a->listed * a->listed + a->listed < length ? position / a->listed * a->listed + a->listed - 1
                                                                     : length - 1;
    int end = a->picture + PICTURE < length ? a->picture + PICTURE : length;
    return a->picture && position >= a->picture && position < end ? end - 1 : position;
}

/* The first position of its picture or window; without one, its own. */
static int first_of(const struct attention *a, int position)
{
    if (a->listed)
        return position / a->listed * a->listed;
    bool inside = a->picture && position >= a->picture && position < a->picture + PICTURE;
    return inside && a->whole ? a->picture : position;
}

/* Rounds n values like a cache of that type. */
static void through_cache(pn_type type, const float *x, float *y, int n)
{
    unsigned char bytes[4096];
    pn_type_info(type)->encode(x, bytes, (size_t)n);
    pn_type_decode_row(type, bytes, y, (size_t)n);
}

/* A row of the input is q (n_head, dim_k), k (n_head_kv, dim_k) and, unless keys contain values, v (n_head_kv,
 * dim_v). */
static float *kept(const struct op_run *o, const struct attention *a)
{
    const struct op_cache *c = &a->cache;
    float *kv = malloc((size_t)o->n_rows * (size_t)o->width * sizeof *kv);
    assert_non_null(kv);
    for (int r = 0; r < o->n_rows; r++) {
        const float *x = o->input + r * o->width + a->n_head * c->dim_k;
        float *y = kv + r * o->width + a->n_head * c->dim_k;
        for (int h = 0; h < c->n_head; h++)
            through_cache(c->type, x + h * c->dim_k, y + h * c->dim_k, c->dim_k);
        for (int h = 0; h < c->n_head && !c->value_in_key; h++)
            through_cache(c->type, x + c->n_head * c->dim_k + h * c->dim_v, y + c->n_head * c->dim_k + h * c->dim_v,
                          c->dim_v);
    }
    return kv;
}

/* Head h of the row at `position` of the sequence whose first row is `first`. */
static void attend(const struct op_run *o, const struct attention *a, const float *kv, int first, int position,
                   int last, int h, double *out)
{
    const struct op_cache *c = &a->cache;
    const float *q = o->input + (first + position) * o->width + h * c->dim_k;
    int head = h / (a->n_head / c->n_head), from = 0;
    double sum = 0, scale = 1 / sqrt((double)c->dim_k);
    if (a->window && position >= a->window)
        from = position - a->window + 1;
    if (a->listed || (a->window && first_of(a, position) < from))
        from = first_of(a, position);
    for (int i = 0; i < c->dim_v; i++)
        out[i] = 0;
    for (int t = from; t <= last; t++) {
        const float *keys = kv + (first + t) * o->width + a->n_head * c->dim_k, *k = keys + head * c->dim_k;
        const float *v = c->value_in_key ? k : keys + c->n_head * c->dim_k + head * c->dim_v;
        double s = 0;
        for (int i = 0; i < c->dim_k; i++)
            s += (double)q[i] * (double)k[i];
        s *= scale * 4;
        if (a->softcap > 0)
            s = (double)a->softcap * tanh(s / (double)a->softcap);
        sum += exp(s);
        for (int i = 0; i < c->dim_v; i++)
            out[i] += exp(s) * (double)v[i];
    }
    for (int i = 0; i < c->dim_v; i++)
        out[i] /= sum;
}

static pn_array write_down(struct op_run *o, const struct attention *a)
{
    const struct op_cache *c = &a->cache;
    struct pn_graph *g = &o->graph;
    int n_q = a->n_head * c->dim_k, n_k = c->n_head * c->dim_k, n_v = c->n_head * c->dim_v;
    struct pn_attention_params p = {.n_head_kv = c->n_head,
                                    .dim_k = c->dim_k,
                                    .dim_v = c->dim_v,
                                    .value_in_key = c->value_in_key,
                                    .scale = 4 / sqrtf((float)c->dim_k),
                                    .softcap = a->softcap,
                                    .window = a->listed ? a->listed : a->window,
                                    .window_kind = a->listed ? PN_WINDOW_LISTED : PN_WINDOW_SLIDING,
                                    .causal = !a->listed};
    pn_array q = pn_reshape(g, pn_slice(g, o->x, 0, n_q), a->n_head, c->dim_k);
    pn_array k = pn_reshape(g, pn_slice(g, o->x, n_q, n_k), c->n_head, c->dim_k);
    pn_array v = c->value_in_key ? PN_NONE : pn_reshape(g, pn_slice(g, o->x, n_q + n_k, n_v), c->n_head, c->dim_v);
    return pn_attention(g, q, pn_cache_write(g, k, v, &p), PN_NONE, &p);
}

static void check(const struct attention *a, uint64_t seed, const int *lengths, int n_lengths)
{
    static const int slices[] = {1000, 7, 1};
    const struct op_cache *c = &a->cache;
    struct op_run o;
    struct pantry_error err = {0};
    int n = a->n_head * c->dim_v;
    op_run_init(&o, seed, (a->n_head + c->n_head) * c->dim_k + (c->value_in_key ? 0 : c->n_head * c->dim_v), lengths,
                n_lengths, 0);
    o.cache = c;
    int32_t *last = calloc((size_t)o.n_rows, 2 * sizeof *last), *begin = last + o.n_rows;
    for (int s = 0, row = 0; s < n_lengths; s++)
        for (int t = 0; t < lengths[s]; t++, row++) {
            last[row] = last_of(a, t, lengths[s]);
            begin[row] = first_of(a, t);
        }
    o.last = a->picture || a->listed ? last : NULL;
    o.first = a->whole || a->listed ? begin : NULL;
    pn_array y = write_down(&o, a);
    if (pn_graph_status(&o.graph, &err))
        fail_msg("%s", err.text);
    float *kv = kept(&o, a), *got = malloc((size_t)(o.n_rows * n) * sizeof *got);
    double *want = calloc((size_t)(o.n_rows * n), sizeof *want);
    for (int s = 0, first = 0; s < n_lengths; first += lengths[s++])
        for (int t = 0; t < lengths[s]; t++)
            for (int h = 0; h < a->n_head; h++)
                attend(&o, a, kv, first, t, last_of(a, t, lengths[s]), h, want + (first + t) * n + h * c->dim_v);
    for (int d = 0; d < op_n_devices; d++)
        for (int i = 0; i < (a->picture || a->listed ? 1 : 3); i++) { /* a picture must be in one step */
            if (op_is_gpu(&op_devices[d]) && i != (a->picture || a->listed ? 0 : 1))
                continue; /* the emulator is slow */
            if (strcmp(op_devices[d].name, "metal") == 0 && !getenv("PANTRY_TEST_SLOW"))
                continue; /* it follows every access */
            op_run_on(&o, y, &op_devices[d], slices[i], got, NULL);
            double e = op_distance(got, want, (size_t)(o.n_rows * n));
            if (!(e < 1e-11))
                fail_msg("%d heads of %d x %d, %d for keys, cache %s, on %s (%d threads), slices of %d: NMSE %g",
                         a->n_head, c->dim_k, c->dim_v, c->n_head, pn_type_info(c->type)->name, op_devices[d].name,
                         op_devices[d].n_threads, slices[i], e);
        }
    free(last);
    free(kv);
    free(got);
    free(want);
    op_run_free(&o);
}

static void attention_equals_its_formula(void **state)
{
    (void)state;
    static const int three[] = {40, 1, 9}, long_one[] = {300};
    static const struct attention cases[] = {
        {.n_head = 4, .cache = {PN_TYPE_F32, 2, 16, 16, false}},
        {.n_head = 3, .cache = {PN_TYPE_F16, 3, 33, 20, false}, .window = 11},
        {.n_head = 6, .cache = {PN_TYPE_Q8_0, 2, 64, 32, false}, .softcap = 2},
        {.n_head = 8, .cache = {PN_TYPE_F32, 1, 40, 32, true}},
        {.n_head = 5, .cache = {PN_TYPE_F16, 1, 41, 33, true}, .window = 40},
        {.n_head = 2, .cache = {PN_TYPE_Q8_0, 1, 96, 64, true}},
        {.n_head = 40, .cache = {PN_TYPE_F16, 1, 24, 16, true}},
        {.n_head = 4, .cache = {PN_TYPE_F32, 2, 16, 16, false}, .picture = 20},
        {.n_head = 2, .cache = {PN_TYPE_F16, 1, 24, 16, false}, .picture = 3, .window = 5},
        {.n_head = 2, .cache = {PN_TYPE_F16, 1, 32, 32, false}, .picture = 100},
        {.n_head = 2, .cache = {PN_TYPE_F16, 1, 24, 16, false}, .picture = 3, .window = 5, .whole = true},
        {.n_head = 2, .cache = {PN_TYPE_F32, 2, 16, 16, false}, .picture = 110, .window = 40, .whole = true},
        {.n_head = 4, .cache = {PN_TYPE_F32, 4, 16, 16, false}, .picture = 1, .listed = 13},
        {.n_head = 2, .cache = {PN_TYPE_F32, 2, 20, 20, false}, .picture = 1, .listed = 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(&cases[i], 1100 + i, three, 3);
        if (i % 3 == 0 || cases[i].picture)
            check(&cases[i], 1200 + i, long_one, 1);
    }
}

/* Keys that contain their values take no separate ones, and must be long enough. */
static void wrong_values_are_errors(void **state)
{
    (void)state;
    static const int one[] = {1};
    struct pn_attention_params p = {.n_head_kv = 1, .dim_k = 8, .dim_v = 8, .value_in_key = true};
    for (int way = 0; way < 2; way++) {
        struct op_run o;
        op_run_init(&o, 1, 8, one, 1, 0);
        p.dim_v = way ? 9 : 8;
        assert_int_equal(pn_cache_write(&o.graph, o.x, way ? PN_NONE : o.x, &p), PN_NONE);
        assert_int_equal(pn_graph_status(&o.graph, NULL), PANTRY_FORMAT);
        op_run_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_its_formula),
        cmocka_unit_test(wrong_values_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
