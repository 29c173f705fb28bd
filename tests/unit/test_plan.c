/* Plans: five phases per layer, fusion, lifetimes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "tensor/op.h"
#include "tensor/plan.h"
#include "tiny_model.h"

static struct pn_model *load(const char *arch)
{
    struct pantry_error err;
    struct pn_weights *weights;
    struct pn_model *model = NULL;
    if (pn_weights_open(tiny_model(arch, GW_F16, "plan.gguf"), &weights, &err) ||
        pn_model_new(weights, &(struct pn_rope_override){0}, &model, &err))
        fail_msg("%s", err.text);
    return model;
}

static struct pn_plan *plan_of(const struct pn_model *model, int tokens, bool fuse)
{
    struct pantry_error err;
    struct pn_plan *plan;
    struct pn_plan_spec spec = {.results = &model->results[PN_RESULT_LOGITS],
                                .n_results = 1,
                                .max_rows = {0, tokens, tokens, tokens, tokens},
                                .fuse = fuse};
    if (pn_plan_new(&model->graph, &spec, &plan, &err))
        fail_msg("%s", err.text);
    return plan;
}

static void a_layer_takes_five_phases(void **state)
{
    (void)state;
    static const char *const wanted =
        "0: embed rms_norm rope_table | blk.0.attn_q.weight blk.0.attn_k.weight blk.0.attn_v.weight\n"
        "1: rope rope | cache_write attention\n"
        "2: | blk.0.attn_output.weight+add\n"
        "3: rms_norm | blk.0.ffn_gate.weight blk.0.ffn_up.weight*act(#0)\n"
        "4: | blk.0.ffn_down.weight+add\n"
        "5: rms_norm | blk.1.attn_q.weight blk.1.attn_k.weight blk.1.attn_v.weight\n";
    struct pn_model *model = load("llama");
    struct pn_plan *plan = plan_of(model, 1, true);
    struct pn_buf text = {0};
    pn_plan_print(plan, &text);
    if (strncmp(text.data, wanted, strlen(wanted)) != 0)
        fail_msg("the plan is\n%s", text.data);
    assert_int_equal(plan->n_phases, 5 * TINY_LAYERS + 1);
    pn_buf_free(&text);
    pn_plan_free(plan);
    pn_model_free(model);

    model = load("gemma3"); /* norms after the blocks need no phase of their own */
    plan = plan_of(model, 1, true);
    assert_int_equal(plan->n_phases, 5 * TINY_LAYERS + 1);
    pn_plan_free(plan);
    pn_model_free(model);
}

static size_t bytes_of(const struct pn_plan *plan, pn_array a)
{
    const struct pn_node *n = pn_node(plan->graph, a);
    return (size_t)plan->max_rows[n->rows] * (size_t)n->n1 * (size_t)n->n2 * sizeof(float);
}

/* Arrays that are alive together never share memory, all are inside the arena, and memory is reused. */
static void lifetimes_do_not_overlap(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gemma3"};
    for (int i = 0; i < 4; i++) {
        struct pn_model *model = load(archs[i % 2]);
        struct pn_plan *plan = plan_of(model, 16, i / 2);
        size_t total = 0;
        pn_array n = (pn_array)plan->graph->len;
        for (pn_array a = 0; a < n; a++) {
            const struct pn_slot *s = &plan->slots[a];
            if (s->offset == SIZE_MAX)
                continue;
            total += bytes_of(plan, a);
            assert_true(s->offset + bytes_of(plan, a) <= plan->memory);
            for (pn_array b = 0; b < a; b++) {
                const struct pn_slot *o = &plan->slots[b];
                bool together = o->offset != SIZE_MAX && s->first <= o->last && o->first <= s->last;
                bool apart = s->offset + bytes_of(plan, a) <= o->offset || o->offset + bytes_of(plan, b) <= s->offset;
                if (together && !apart)
                    fail_msg("arrays %d and %d share memory while both are alive", b, a);
            }
        }
        assert_true(plan->memory < total / 3);
        pn_plan_free(plan);
        pn_model_free(model);
    }
}

static void wrong_shapes_are_errors(void **state)
{
    (void)state;
    struct pn_graph g;
    struct pantry_error err = {0};
    struct pn_plan *plan;
    float values[12] = {0};
    struct pn_weight table = pn_weight_plain("table", PN_TYPE_F32, 1, 3, 4, values),
                     narrow = pn_weight_plain("narrow", PN_TYPE_F32, 1, 4, 3, values);
    pn_graph_init(&g);
    g.context = "layer 7";
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table));
    pn_array y = pn_matmul(&g, x, pn_weight_leaf(&g, &narrow));
    assert_int_equal(y, PN_NONE);
    assert_int_equal(pn_add(&g, y, x), PN_NONE); /* errors propagate */
    assert_int_equal(pn_graph_status(&g, &err), PANTRY_FORMAT);
    assert_string_equal(err.text, "layer 7: narrow takes rows of 3 values, but gets 4");
    struct pn_plan_spec spec = {.results = &x, .n_results = 1, .max_rows = {0, 1, 1, 1, 1}, .fuse = true};
    assert_int_equal(pn_plan_new(&g, &spec, &plan, &err), PANTRY_FORMAT);
    pn_graph_free(&g);
}

/* A slice of several heads has gaps between them, so a reshape would read the gaps. */
static void slices_of_heads_are_not_read_as_one_row(void **state)
{
    (void)state;
    struct pn_graph g;
    struct pantry_error err = {0};
    float values[24] = {0};
    struct pn_weight table = pn_weight_plain("table", PN_TYPE_F32, 1, 2, 12, values);
    pn_graph_init(&g);
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table));
    pn_array heads = pn_reshape(&g, x, 3, 4), part = pn_slice(&g, heads, 1, 2);
    assert_int_not_equal(pn_reshape(&g, pn_slice(&g, x, 2, 8), 2, 4), PN_NONE); /* of one head: no gaps */
    assert_int_not_equal(pn_reshape(&g, heads, 1, 12), PN_NONE);
    assert_int_equal(pn_reshape(&g, part, 3, 2), part);
    assert_int_equal(pn_graph_status(&g, &err), PANTRY_OK);
    assert_int_equal(pn_reshape(&g, part, 1, 6), PN_NONE);
    assert_int_equal(pn_graph_status(&g, &err), PANTRY_INTERNAL);
    assert_string_equal(err.text, "a slice of 3 heads cannot be read as rows of 1 x 6 without a copy");
    pn_graph_free(&g);
}

/* Absent operands are PN_NONE, not array 0. */
static void absent_operands_are_none(void **state)
{
    (void)state;
    struct pn_graph g;
    float values[12] = {0};
    struct pn_weight table = pn_weight_plain("table", PN_TYPE_F32, 1, 3, 4, values),
                     kernel = pn_weight_plain("kernel", PN_TYPE_F32, 1, 1, 8, values);
    pn_graph_init(&g);
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table));
    pn_array nodes[] = {x, pn_scale(&g, x, 1, 0), pn_add(&g, x, x), pn_rms_norm(&g, x, PN_NONE, 0),
                        pn_conv(&g, x, pn_weight_leaf(&g, &kernel), 0)};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        assert_int_not_equal(nodes[i], PN_NONE);
        const struct pn_node *n = pn_node(&g, nodes[i]);
        for (int s = n->n_src; s < PN_MAX_SRC; s++)
            assert_int_equal(n->src[s], PN_NONE);
    }
    pn_graph_free(&g);
}

/* Where the executor reads a vector, a matrix or a stack is an error. */
static void vectors_are_one_row(void **state)
{
    (void)state;
    float values[24] = {0};
    struct pn_weight table = pn_weight_plain("table", PN_TYPE_F32, 1, 3, 4, values),
                     stack = pn_weight_plain("stack", PN_TYPE_F32, 3, 1, 4, values),
                     column = pn_weight_plain("column", PN_TYPE_F32, 1, 4, 1, values);
    for (int i = 0; i < 6; i++) {
        struct pn_graph g;
        pn_graph_init(&g);
        pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table)), many = pn_weight_leaf(&g, &stack);
        pn_array heads = pn_reshape(&g, x, 4, 1), tall = pn_weight_leaf(&g, &column);
        struct pn_attention_params p = {.n_head_kv = 4, .dim_k = 1, .dim_v = 1};
        struct pn_route_params route = {.n_expert = 4, .n_used = 2};
        pn_array written = pn_cache_write(&g, heads, heads, &p), chosen = pn_route(&g, x, PN_NONE, &route);
        pn_array slots = pn_slice(&g, pn_reshape(&g, x, 2, 2), 0, 2);
        assert_int_equal(pn_graph_status(&g, NULL), PANTRY_OK);
        pn_array y = i == 0   ? pn_add(&g, x, many)
                     : i == 1 ? pn_rms_norm(&g, x, many, 0)
                     : i == 2 ? pn_attention(&g, heads, written, tall, &p)
                     : i == 3 ? pn_route(&g, x, tall, &route)
                     : i == 4 ? pn_route(&g, x, many, &route)
                              : pn_each_scale(&g, slots, chosen, many);
        assert_int_equal(y, PN_NONE);
        assert_int_equal(pn_graph_status(&g, NULL), PANTRY_FORMAT);
        pn_graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_takes_five_phases), cmocka_unit_test(lifetimes_do_not_overlap),
        cmocka_unit_test(wrong_shapes_are_errors),   cmocka_unit_test(slices_of_heads_are_not_read_as_one_row),
        cmocka_unit_test(absent_operands_are_none),  cmocka_unit_test(vectors_are_one_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
