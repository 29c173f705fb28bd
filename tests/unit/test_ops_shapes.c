/* Shapes that operations with many operands reject: each is built with shapes that fit, and then with one number
 * changed. Shapes that fit are accepted, all others are errors of the model file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "op_run.h"

enum { MAX_SHAPES = 12, WIDE = 4096 };

/* An activation (n1, n2), sliced from rows that are wide enough for every case. */
static pn_array rows_of(struct pn_graph *g, pn_array x, int n1, int n2)
{
    return pn_reshape(g, pn_slice(g, x, 0, n1 * n2), n1, n2);
}

static pn_array weight_of(struct pn_graph *g, pn_type type, int n_rows, int n_cols)
{
    struct pn_weight *w = pn_arena_alloc(&g->arena, sizeof *w);
    assert_non_null(w);
    *w = pn_weight_plain("weight", type, 1, n_rows, n_cols, "");
    return pn_weight_leaf(g, w);
}

/* The operation built from the numbers at n. */
typedef pn_array build_fn(struct pn_graph *g, pn_array x, const int *n);

static pn_array build_conv(struct pn_graph *g, pn_array x, const int *n)
{
    return pn_conv(g, rows_of(g, x, n[0], n[1]), weight_of(g, PN_TYPE_F32, n[2], n[3]), 0);
}

/* x (heads, dim), dt (n1, n2), b and c (groups, n), a and d. */
static pn_array build_space(struct pn_graph *g, pn_array x, const int *n)
{
    return pn_ssm_scan(g, rows_of(g, x, n[0], n[1]), rows_of(g, x, n[2], n[3]), rows_of(g, x, n[4], n[5]),
                       rows_of(g, x, n[6], n[7]), weight_of(g, PN_TYPE_F32, n[8], n[9]),
                       weight_of(g, PN_TYPE_F32, n[10], n[11]), 0);
}

/* q and k (heads_k, dim_k), v, gate, beta, a vector. */
static pn_array build_delta(struct pn_graph *g, pn_array x, const int *n)
{
    return pn_delta(g, rows_of(g, x, n[0], n[1]), rows_of(g, x, n[2], n[3]), rows_of(g, x, n[4], n[5]),
                    rows_of(g, x, n[6], n[7]), rows_of(g, x, n[8], n[9]), weight_of(g, PN_TYPE_F32, n[10], n[11]),
                    &(struct pn_recurrent_params){.scale = 1});
}

static pn_array build_write(struct pn_graph *g, pn_array x, const int *n)
{
    struct pn_attention_params p = {.n_head_kv = n[4], .dim_k = n[5], .dim_v = n[6], .value_in_key = n[7]};
    return pn_cache_write(g, rows_of(g, x, n[0], n[1]), n[2] ? rows_of(g, x, n[2], n[3]) : PN_NONE, &p);
}

/* q (n0, n1) over a cache of heads of n3; n[4] sinks; a table of n[6] rows and n[7] columns of type n[5]. */
static pn_array build_attention(struct pn_graph *g, pn_array x, const int *n)
{
    struct pn_attention_params p = {.n_head_kv = 2, .dim_k = 8, .dim_v = 8};
    pn_array written = pn_cache_write(g, rows_of(g, x, 2, 8), rows_of(g, x, 2, 8), &p), q = rows_of(g, x, n[0], n[1]);
    p.n_head_kv = n[2];
    p.dim_k = n[3];
    if (n[4])
        return pn_attention(g, q, written, weight_of(g, PN_TYPE_F32, 1, n[4]), &p);
    if (n[6])
        return pn_attention_bias(g, q, written, weight_of(g, (pn_type)n[5], n[6], n[7]), &p);
    return pn_attention(g, q, written, PN_NONE, &p);
}

static pn_array build_mix(struct pn_graph *g, pn_array x, const int *n)
{
    return pn_mix(g, rows_of(g, x, n[0], n[1]), rows_of(g, x, n[2], n[3]));
}

/* Rows of different kinds do not fit. */
static pn_array build_outputs(struct pn_graph *g, pn_array x, const int *n)
{
    pn_array y = n[1] ? pn_output_rows(g, x) : x;
    return n[0] == 0   ? pn_add(g, x, y)
           : n[0] == 1 ? pn_concat(g, x, y)
           : n[0] == 2 ? pn_mul_heads(g, x, pn_slice(g, y, 0, 1))
           : n[0] == 3 ? pn_match(g, x, y)
                       : pn_mix(g, pn_slice(g, x, 0, 1), y);
}

static const struct {
    const char *name;
    build_fn *build;
    int good[MAX_SHAPES];
    int bad[13][2]; /* index of the number, and its replacement; { -1 }: end */
} cases[] = {
    {"conv", build_conv, {1, 6, 1, 24}, {{0, 2}, {1, 7}, {2, 2}, {3, 23}, {3, 25}, {-1, 0}}},
    {"a space with a decay for each head",
     build_space,
     {6, 4, 1, 6, 3, 5, 3, 5, 1, 6, 1, 6},
     {{0, 5}, {0, 9}, {2, 2}, {3, 5}, {3, 7}, {4, 2}, {5, 4}, {6, 6}, {7, 6}, {9, 7}, {11, 5}, {10, 2}, {-1, 0}}},
    {"a space with a decay for each value",
     build_space,
     {6, 4, 1, 6, 3, 5, 3, 5, 1, 30, 1, 6},
     {{9, 29}, {9, 31}, {8, 2}, {11, 30}, {4, 4}, {-1, 0}}},
    {"a delta rule",
     build_delta,
     {2, 8, 2, 8, 6, 5, 1, 6, 1, 6, 1, 6},
     {{0, 3}, {1, 7}, {2, 3}, {3, 7}, {4, 5}, {6, 2}, {7, 5}, {8, 2}, {9, 5}, {9, 7}, {10, 2}, {11, 5}, {-1, 0}}},
    {"a delta rule with gates",
     build_delta,
     {2, 8, 2, 8, 6, 5, 6, 8, 1, 6, 1, 6},
     {{6, 5}, {7, 7}, {7, 9}, {6, 1}, {11, 7}, {-1, 0}}},
    {"keys and values",
     build_write,
     {2, 8, 2, 6, 2, 8, 6, 0},
     {{0, 3}, {1, 7}, {2, 3}, {3, 5}, {4, 3}, {5, 9}, {6, 7}, {7, 1}, {-1, 0}}},
    {"values in keys", build_write, {1, 8, 0, 0, 1, 8, 8, 1}, {{0, 2}, {1, 9}, {4, 2}, {5, 7}, {6, 9}, {-1, 0}}},
    {"short values in keys", build_write, {1, 8, 0, 0, 1, 8, 3, 1}, {{2, 1}, {-1, 0}}},
    {"attention", build_attention, {6, 8, 2, 8}, {{0, 5}, {1, 7}, {2, 0}, {2, -1}, {2, 4}, {3, 9}, {-1, 0}}},
    {"sinks", build_attention, {6, 8, 2, 8, 6}, {{4, 5}, {4, 7}, {4, 2}, {-1, 0}}},
    {"a table of distances",
     build_attention,
     {6, 8, 2, 8, 0, PN_TYPE_F32, 6, 9},
     {{5, PN_TYPE_F16}, {6, 5}, {6, 7}, {7, 8}, {7, 10}, {-1, 0}}},
    {"mix", build_mix, {3, 4, 4, 9}, {{1, 3}, {1, 5}, {2, 3}, {2, 9}, {-1, 0}}},
    {"add outputs", build_outputs, {0, 0}, {{1, 1}, {-1, 0}}},
    {"concat outputs", build_outputs, {1, 0}, {{1, 1}, {-1, 0}}},
    {"multiply heads by outputs", build_outputs, {2, 0}, {{1, 1}, {-1, 0}}},
    {"match outputs", build_outputs, {3, 0}, {{1, 1}, {-1, 0}}},
    {"mix outputs", build_outputs, {4, 0}, {{1, 1}, {-1, 0}}},
};

static pantry_status status_of(build_fn *build, const int *n, bool *made)
{
    struct pn_graph g;
    struct pn_weight table = pn_weight_plain("input", PN_TYPE_F32, 1, 1, WIDE, "");
    pn_graph_init(&g);
    pn_array y = build(&g, pn_embed(&g, pn_weight_leaf(&g, &table)), n);
    pantry_status status = pn_graph_status(&g, NULL);
    *made = y != PN_NONE;
    pn_graph_free(&g);
    return status;
}

static void one_number_changed(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bool made;
        if (status_of(cases[c].build, cases[c].good, &made) != PANTRY_OK || !made)
            fail_msg("%s: a shape that fits is rejected", cases[c].name);
        for (int i = 0; cases[c].bad[i][0] >= 0; i++) {
            int n[MAX_SHAPES];
            memcpy(n, cases[c].good, sizeof n);
            n[cases[c].bad[i][0]] = cases[c].bad[i][1];
            if (status_of(cases[c].build, n, &made) != PANTRY_FORMAT || made)
                fail_msg("%s: number %d as %d is not rejected", cases[c].name, cases[c].bad[i][0], cases[c].bad[i][1]);
        }
    }
}

static pn_array build_text(struct pn_graph *g, pn_array x, const int *n)
{
    pn_array a = rows_of(g, x, n[1], n[2]), b = rows_of(g, x, n[3], n[4]), route;
    struct pn_route_params p = {.n_expert = 7, .n_used = 2, .scale = 1};
    route = n[0] > 4 ? pn_route(g, rows_of(g, x, 1, 7), PN_NONE, &p) : PN_NONE;
    struct pn_weight *stack = pn_arena_alloc(&g->arena, sizeof *stack);
    *stack = pn_weight_plain("stack", PN_TYPE_F32, n[3], 5, n[4], "");
    switch (n[0]) {
    case 0:
        return pn_match(g, a, b);
    case 1:
        return pn_concat(g, a, b);
    case 2:
        return pn_mul(g, a, b);
    case 3:
        return pn_mul_heads(g, a, b);
    case 4:
        return pn_add(g, a, weight_of(g, PN_TYPE_F32, n[3], n[4]));
    case 5:
        return pn_each_sum(g, a, route);
    case 6:
        return pn_each_scale(g, a, route, PN_NONE);
    case 7:
        return pn_each_bias(g, a, route, weight_of(g, PN_TYPE_F32, n[3], n[4]));
    case 8:
        return pn_matmul_each(g, a, pn_weight_leaf(g, stack), route);
    case 9:
        p = (struct pn_route_params){.n_expert = n[3], .n_used = n[4], .scale = 1};
        return pn_route(g, a, PN_NONE, &p);
    default:
        return pn_rms_norm(g, a, weight_of(g, PN_TYPE_F32, n[3], n[4]), 1);
    }
}

/* An error names the numbers that do not fit, each in its place. */
static void errors_name_the_shapes(void **state)
{
    (void)state;
    static const struct {
        build_fn *build;
        int n[MAX_SHAPES];
        const char *text;
    } rows[] = {
        {build_text, {0, 2, 3, 4, 5}, "cannot stretch rows of 2 x 3 values to those of 4 x 5"},
        {build_text, {1, 2, 3, 4, 5}, "cannot join rows of 2 x 3 and of 4 x 5 values"},
        {build_text, {2, 2, 3, 4, 5}, "cannot mul rows of 2 x 3 and of 4 x 5 values"},
        {build_text, {3, 2, 3, 4, 5}, "cannot multiply 2 heads by 4 x 5 numbers"},
        {build_text, {4, 2, 3, 4, 5}, "weight has 4 x 5 values where 3 are needed"},
        {build_text, {5, 4, 3, 1, 1}, "4 slots do not fit a route of 2"},
        {build_text, {6, 4, 3, 1, 1}, "scales do not fit 2 of 7 experts"},
        {build_text, {7, 2, 3, 4, 5}, "weight has 4 x 5 values where 7 x 3 are needed"},
        {build_text, {8, 1, 3, 4, 5}, "stack takes rows of 5 values, but gets 3"},
        {build_text, {8, 1, 3, 4, 3}, "stack has 4 matrices for 2 slots"},
        {build_text, {9, 1, 3, 8, 2}, "cannot choose 2 of 8 experts by 3 logits"},
        {build_text, {10, 2, 3, 4, 5}, "weight of a norm over 3 values has 4 x 5"},
        {build_conv, {2, 3, 4, 5}, "a convolution of 2 x 3 channels cannot have a kernel of 4 x 5 values"},
        {build_mix, {2, 3, 4, 5}, "cannot mix rows of 4 x 5 values by 2 x 3"},
        {build_space,
         {2, 9, 1, 3, 4, 5, 6, 7, 1, 8, 1, 9},
         "2 heads, 3 steps, B of 4 x 5 and C of 6 x 7 do not fit a state space"},
        {build_space, {6, 4, 1, 6, 3, 5, 3, 5, 1, 8, 1, 9}, "a state space of 6 heads x 5 has 8 decays and 9 skips"},
        {build_delta,
         {2, 3, 4, 5, 6, 7, 8, 9, 1, 6, 1, 6},
         "queries of 2 x 3, keys of 4 x 5, values of 6 x 7 and gates of 8 x 9 do not fit"},
        {build_delta, {2, 8, 2, 8, 6, 5, 1, 6, 2, 3, 4, 5}, "6 heads have 2 x 3 betas and 4 x 5 decays"},
        {build_write, {2, 3, 4, 5, 6, 7, 8, 0}, "keys of 2 x 3 and values of 4 x 5 do not fit 6 heads of 7 and 8"},
        {build_attention, {3, 7, 2, 8}, "queries of 3 x 7 do not fit 2 key heads of 8"},
        {build_attention, {6, 8, 2, 8, 5}, "weight has 5 values for 6 heads"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_graph g;
        struct pantry_error err = {0};
        struct pn_weight table = pn_weight_plain("input", PN_TYPE_F32, 1, 1, WIDE, "");
        pn_graph_init(&g);
        assert_int_equal(rows[i].build(&g, pn_embed(&g, pn_weight_leaf(&g, &table)), rows[i].n), PN_NONE);
        assert_int_equal(pn_graph_status(&g, &err), PANTRY_FORMAT);
        assert_string_equal(err.text, rows[i].text);
        pn_graph_free(&g);
    }
}

/* A missing operand makes a missing result, without another error. */
static void missing_operands_make_missing_results(void **state)
{
    (void)state;
    struct pn_graph g;
    struct pn_weight table = pn_weight_plain("input", PN_TYPE_F32, 1, 1, WIDE, "");
    struct pn_attention_params p = {.n_head_kv = 1, .dim_k = 8, .dim_v = 8};
    struct pn_recurrent_params r = {.scale = 1};
    pn_graph_init(&g);
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table)), w = weight_of(&g, PN_TYPE_F32, 1, 8),
             v = pn_slice(&g, x, 0, 8);
    pn_array route = pn_route(&g, v, PN_NONE, &(struct pn_route_params){.n_expert = 8, .n_used = 2, .scale = 1});
    size_t n = g.len;
    assert_int_equal(pn_weight_leaf(&g, NULL), PN_NONE);
    assert_int_equal(pn_embed(&g, PN_NONE), PN_NONE);
    assert_int_equal(pn_add(&g, v, PN_NONE), PN_NONE);
    assert_int_equal(pn_mul(&g, PN_NONE, v), PN_NONE);
    assert_int_equal(pn_matmul(&g, v, PN_NONE), PN_NONE);
    assert_int_equal(pn_matmul_each(&g, v, PN_NONE, route), PN_NONE);
    assert_int_equal(pn_each_scale(&g, v, PN_NONE, w), PN_NONE);
    assert_int_equal(pn_each_bias(&g, v, PN_NONE, w), PN_NONE);
    assert_int_equal(pn_each_bias(&g, v, route, PN_NONE), PN_NONE);
    assert_int_equal(pn_rope(&g, v, PN_NONE, PN_ROPE_PAIRS), PN_NONE);
    assert_int_equal(pn_conv(&g, v, PN_NONE, 0), PN_NONE);
    assert_int_equal(pn_ssm_scan(&g, v, v, v, v, PN_NONE, w, 0), PN_NONE);
    assert_int_equal(pn_ssm_scan(&g, v, v, v, v, w, PN_NONE, 0), PN_NONE);
    assert_int_equal(pn_delta(&g, v, v, v, v, v, PN_NONE, &r), PN_NONE);
    assert_int_equal(pn_cache_write(&g, PN_NONE, v, &p), PN_NONE);
    assert_int_equal(pn_cache_write(&g, v, PN_NONE, &p), PN_NONE);
    assert_int_equal(pn_attention(&g, v, PN_NONE, PN_NONE, &p), PN_NONE);
    assert_int_equal(pn_attention_bias(&g, v, x, PN_NONE, &p), PN_NONE);
    assert_int_equal(pn_attention_bias(&g, PN_NONE, x, w, &p), PN_NONE);
    assert_int_equal(pn_graph_status(&g, NULL), PANTRY_OK);
    assert_int_equal(g.len, n);
    pn_graph_free(&g);
}

/* The reference reports a token without a sequence: there is no cache for it. */
static void tokens_without_a_sequence(void **state)
{
    (void)state;
    static const int lengths[] = {3};
    for (int way = 0; way < 2; way++) {
        struct op_run o;
        struct pantry_error err = {0};
        struct pn_attention_params p = {.n_head_kv = 1, .dim_k = 4, .dim_v = 4, .causal = true};
        float out[3 * 4];
        unsigned char memory[2][PN_PAGE_TOKENS * 16];
        op_run_init(&o, 5, 8, lengths, 1, 0);
        pn_array k = pn_slice(&o.graph, o.x, 0, 4), v = pn_slice(&o.graph, o.x, 4, 4);
        pn_array y = pn_attention(&o.graph, k, pn_cache_write(&o.graph, k, v, &p), PN_NONE, &p);
        if (way)
            y = pn_cache_write(&o.graph, k, v, &p);
        struct pn_cache cache = {.type = PN_TYPE_F32, .n_head = 1, .dim_k = 4, .dim_v = 4, .k_row = 16, .v_row = 16};
        cache.k_page = cache.v_page = PN_PAGE_TOKENS * 16;
        cache.k = memory[0];
        cache.v = memory[1];
        int32_t ids[] = {0, 1, 2}, pos[] = {0, 1, 2}, page = 0;
        struct pn_batch_seq seq = {.n = 2};
        struct pn_batch b = {.n_tokens = 3, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .tables = &page};
        b.caches = &cache;
        b.results = (void *[]){out};
        assert_int_equal(op_step(&o.graph, y, &op_devices[0], &b, &err), PANTRY_INTERNAL);
        assert_string_equal(err.text, "token 2 belongs to no sequence");
        op_run_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_number_changed),
        cmocka_unit_test(errors_name_the_shapes),
        cmocka_unit_test(missing_operands_make_missing_results),
        cmocka_unit_test(tokens_without_a_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
