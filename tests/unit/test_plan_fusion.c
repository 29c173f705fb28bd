/* Fusion: every operation after a product with every kind of operand, gates, and random graphs, on all devices against
 * formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "eager.h"
#include "tensor/plan.h"

enum { WIDTH = 16, N_OUT = 40 }; /* more than one chunk of weight rows */

static const int lengths[] = {3, 4};

static void init(struct eager *e, uint64_t seed)
{
    eager_init(e, seed, WIDTH, lengths, 2);
}

/* The fused plan of a value, as text; the caller frees. */
static struct pn_buf plan_text(const struct eager *e, int result)
{
    struct pantry_error err;
    struct pn_plan *plan;
    struct pn_buf text = {0};
    struct pn_plan_spec spec = {
        .results = &e->values[result].array, .n_results = 1, .max_rows = {0, 8, 8, 8, 8}, .fuse = true};
    if (pn_plan_new(&e->run.graph, &spec, &plan, &err))
        fail_msg("%s", err.text);
    pn_plan_print(plan, &text);
    pn_plan_free(plan);
    return text;
}

static void want_plan(const struct eager *e, int result, const char *wanted)
{
    struct pn_buf text = plan_text(e, result);
    if (strcmp(text.data, wanted) != 0)
        fail_msg("the plan is\n%swhere this was wanted:\n%s", text.data, wanted);
    pn_buf_free(&text);
}

/* ---- the second operand after a product ---- */

enum other {
    OTHER_INPUT,      /* from a row operation of the same phase */
    OTHER_BEFORE,     /* a product of an earlier phase */
    OTHER_SAME,       /* a product of the same phase */
    OTHER_SAME_ACT,   /* act(product of the same phase) */
    OTHER_SAME_GATED, /* act(product) * product of the same phase */
    OTHER_AFTER,      /* a product of a later phase */
    OTHER_VIEW,       /* a reshaped product of an earlier phase */
    OTHER_SLICE,      /* a part of one: its rows are strided */
    OTHER_SHARED,     /* from an earlier phase, and read again at the end */
    OTHER_ITSELF,     /* the product itself */
    N_OTHERS
};

/* Operands from an earlier phase, made before the product of x. */
static int early_other(struct eager *e, enum other kind, int x)
{
    int before = eager_matmul(e, x, N_OUT);
    switch (kind) {
    case OTHER_INPUT:
        return eager_scale(e, eager_concat(e, eager_concat(e, x, x), eager_slice(e, x, 4, 8)), -0.5f, 0.25f);
    case OTHER_VIEW:
        return eager_reshape(e, eager_reshape(e, before, 4, N_OUT / 4), 1, N_OUT);
    case OTHER_SLICE:
        return eager_slice(e, eager_matmul(e, x, 2 * N_OUT), 10, N_OUT);
    default:
        return before;
    }
}

static int late_other(struct eager *e, enum other kind, int x, int product, int early)
{
    switch (kind) {
    case OTHER_SAME:
        return eager_matmul(e, x, N_OUT);
    case OTHER_SAME_ACT:
        return eager_act(e, eager_matmul(e, x, N_OUT), PN_ACT_FN_TANH);
    case OTHER_SAME_GATED: {
        int gate = eager_matmul(e, x, N_OUT), up = eager_matmul(e, x, N_OUT);
        return eager_binary(e, eager_act(e, gate, PN_ACT_FN_SIGMOID), up, true);
    }
    case OTHER_AFTER:
        return eager_matmul(e, eager_act(e, eager_matmul(e, x, N_OUT), PN_ACT_FN_TANH), N_OUT);
    case OTHER_ITSELF:
        return product;
    default:
        return early;
    }
}

static void sums_and_products_of_two_arrays(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_OTHERS; kind++)
        for (int form = 0; form < 8; form++) {
            bool multiply = form & 1, second = form & 2, again = form & 4;
            struct eager e;
            init(&e, (uint64_t)(kind * 8 + form));
            int early = early_other(&e, (enum other)kind, 0);
            /* x comes from an earlier product, so that arrays made before x are from an earlier phase */
            int x = kind == OTHER_INPUT ? 0 : eager_act(&e, eager_matmul(&e, 0, WIDTH), PN_ACT_FN_TANH);
            int y = eager_matmul(&e, x, N_OUT), other = late_other(&e, (enum other)kind, x, y, early);
            int sum = second ? eager_binary(&e, other, y, multiply) : eager_binary(&e, y, other, multiply);
            int result = eager_act(&e, sum, PN_ACT_FN_SILU);
            if (again || kind == OTHER_SHARED) /* the product, or its other operand, has a second reader */
                result = eager_binary(&e, result, kind == OTHER_SHARED ? other : y, false);
            char what[80];
            snprintf(what, sizeof what, "operand kind %d, form %d", kind, form);
            eager_check(&e, result, what);
            eager_free(&e);
        }
}

/* A past bug: the epilogue of W1 x read W2 x, of the same phase, before it existed. */
static void products_of_one_phase_are_not_operands_of_each_other(void **state)
{
    (void)state;
    struct eager e;
    init(&e, 1);
    int first = eager_matmul(&e, 0, N_OUT), second = eager_matmul(&e, 0, N_OUT);
    int sum = eager_binary(&e, first, second, false);
    want_plan(&e, sum, "0: embed | weight weight\n1: add\n");
    eager_check(&e, sum, "W1 x + W2 x");
    int third = eager_matmul(&e, sum, N_OUT); /* but a product of an earlier phase may be one */
    int more = eager_binary(&e, first, third, true);
    want_plan(&e, more, "0: embed | weight weight\n1: add | weight+mul\n");
    eager_check(&e, more, "W1 x * W3 (W1 x + W2 x)");
    eager_free(&e);

    init(&e, 2);
    int gate = eager_act(&e, eager_matmul(&e, 0, N_OUT), PN_ACT_FN_SILU);
    int gated = eager_binary(&e, gate, eager_matmul(&e, 0, N_OUT), true);
    sum = eager_binary(&e, eager_matmul(&e, 0, N_OUT), gated, false);
    eager_check(&e, sum, "W3 x + act(W1 x) * W2 x");
    want_plan(&e, sum, "0: embed | weight weight*act(#0) weight\n1: add\n");
    eager_free(&e);
}

/* ---- operations without a second array ---- */

static int unary(struct eager *e, int kind, int x)
{
    switch (kind) {
    case 0:
        return eager_vector(e, x, false, false);
    case 1:
        return eager_vector(e, x, false, true);
    case 2:
        return eager_scale(e, x, -1.5f, 0.25f);
    case 3:
        return eager_softcap(e, x, 0.75f);
    default:
        return eager_act(e, x, (enum pn_act_fn)(kind - 4));
    }
}

enum { N_UNARY = 4 + PN_ACT_FN_COUNT };

static void vectors_scales_caps_and_activations_after_a_product(void **state)
{
    (void)state;
    static const char *const names[] = {"add", "mul", "scale", "softcap"};
    for (int first = 0; first < N_UNARY; first++)
        for (int second = 0; second < 5; second++) {
            struct eager e;
            char wanted[80], what[80];
            init(&e, (uint64_t)(first * 8 + second));
            int y = unary(&e, second, unary(&e, first, eager_matmul(&e, 0, N_OUT)));
            snprintf(what, sizeof what, "operations %d and %d", first, second);
            eager_check_two(&e, y, first + second, what);
            snprintf(wanted, sizeof wanted, "0: embed | weight+%s+%s\n", first < 4 ? names[first] : "act",
                     second < 4 ? names[second] : "act");
            want_plan(&e, y, wanted);
            eager_free(&e);
        }
}

static void long_epilogues_continue_in_the_next_phase(void **state)
{
    (void)state;
    struct eager e;
    init(&e, 5);
    int y = eager_matmul(&e, 0, N_OUT);
    for (int i = 0; i < PN_MAX_EPILOGUE + 2; i++)
        y = unary(&e, i % 4, y);
    want_plan(&e, y, "0: embed | weight+add+mul+scale+softcap+add+mul\n1: scale softcap\n");
    eager_check(&e, y, "a long epilogue");
    eager_free(&e);
}

/* Views between a product and the next operation: reshapes are fused, slices are not. */
static void views_after_a_product(void **state)
{
    (void)state;
    struct eager e;
    init(&e, 6);
    int y = eager_matmul(&e, 0, N_OUT), heads = eager_reshape(&e, y, 4, N_OUT / 4);
    int whole = eager_act(&e, heads, PN_ACT_FN_GELU);
    want_plan(&e, whole, "0: embed | weight+act\n");
    eager_check(&e, whole, "act of heads");
    eager_free(&e);

    init(&e, 7);
    y = eager_matmul(&e, 0, N_OUT);
    int part = eager_act(&e, eager_slice(&e, y, 8, N_OUT - 8), PN_ACT_FN_GELU);
    want_plan(&e, part, "0: embed | weight\n1: act\n");
    eager_check(&e, part, "act of a slice");
    eager_free(&e);

    init(&e, 8);
    heads = eager_reshape(&e, eager_matmul(&e, 0, N_OUT), 4, N_OUT / 4);
    int sum = eager_vector(&e, heads, true, false); /* one vector for all heads */
    want_plan(&e, sum, "0: embed | weight\n1: add\n");
    eager_check(&e, sum, "heads plus a vector");
    eager_free(&e);
}

/* The operand of a product may be a slice of heads, with strided rows. */
static void products_of_strided_operands(void **state)
{
    (void)state;
    struct eager e;
    init(&e, 9);
    int heads = eager_slice(&e, eager_reshape(&e, eager_matmul(&e, 0, N_OUT), 4, 10), 2, 5);
    int y = eager_matmul(&e, heads, N_OUT), z = eager_matmul(&e, heads, N_OUT);
    int result = eager_binary(&e, eager_act(&e, y, PN_ACT_FN_RELU), z, true);
    want_plan(&e, result, "0: embed | weight\n1: | weight weight*act(#0)\n");
    eager_check(&e, result, "products of a slice of heads");
    eager_free(&e);
}

/* ---- gates ---- */

static void gates_in_all_surroundings(void **state)
{
    (void)state;
    for (int form = 0; form < 128; form++) {
        struct eager e;
        init(&e, (uint64_t)form);
        bool up_first = form & 1, act_second = form & 2, gate_bias = form & 4, up_bias = form & 8;
        int first = eager_matmul(&e, 0, N_OUT), second = eager_matmul(&e, 0, N_OUT);
        int gate = up_first ? second : first, up = up_first ? first : second;
        gate = gate_bias ? eager_vector(&e, gate, false, false) : gate;
        gate = form & 16 ? eager_scale(&e, gate, 2, 0.5f) : gate;
        up = up_bias ? eager_vector(&e, up, false, false) : up;
        int act = eager_act(&e, gate, (enum pn_act_fn)(form % PN_ACT_FN_COUNT));
        int y = act_second ? eager_binary(&e, up, act, true) : eager_binary(&e, act, up, true);
        y = form & 32 ? eager_vector(&e, y, false, true) : y;
        if (form & 64) { /* a third product uses the gated one as its gate: not in the same phase */
            int again = eager_act(&e, y, PN_ACT_FN_TANH);
            y = eager_binary(&e, again, eager_matmul(&e, 0, N_OUT), true);
        }
        struct pn_buf text = plan_text(&e, y);
        char what[80];
        snprintf(what, sizeof what, "gate of form %d", form);
        if (!strstr(text.data, "*act(#"))
            fail_msg("%s is not fused:\n%s", what, text.data);
        pn_buf_free(&text);
        eager_check_two(&e, y, form + form / 16, what);
        eager_free(&e);
    }
}

/* act(gate) * up where one of them has another reader, or where up is not a product of the phase. */
static void gates_that_cannot_be_fused(void **state)
{
    (void)state;
    for (int form = 0; form < 6; form++) {
        struct eager e;
        init(&e, (uint64_t)(200 + form));
        int gate = eager_matmul(&e, 0, N_OUT), up = eager_matmul(&e, form == 3 ? gate : 0, N_OUT);
        if (form == 5) /* a part of a product */
            gate = eager_slice(&e, eager_matmul(&e, 0, N_OUT + 8), 8, N_OUT);
        int act = eager_act(&e, gate, PN_ACT_FN_SILU);
        int y = eager_binary(&e, act, form == 4 ? act : up, true);
        if (form < 3)
            y = eager_binary(&e, y, form == 0 ? gate : form == 1 ? act : up, false);
        struct pn_buf text = plan_text(&e, y);
        if (strstr(text.data, "*act(#"))
            fail_msg("form %d is fused:\n%s", form, text.data);
        pn_buf_free(&text);
        eager_check(&e, y, "a gate with another reader");
        eager_free(&e);
    }
}

/* A phase has room for PN_MAX_PRODUCTS products of its operand; more go to another phase. */
static void many_products_of_one_operand(void **state)
{
    (void)state;
    struct eager e;
    init(&e, 300);
    int sum = eager_matmul(&e, 0, N_OUT);
    for (int i = 0; i < PN_MAX_PRODUCTS; i++)
        sum = eager_binary(&e, sum, eager_matmul(&e, 0, N_OUT), false);
    struct pn_buf text = plan_text(&e, sum);
    const char *first = "0: embed | weight weight weight weight weight weight weight weight\n1: ";
    if (strncmp(text.data, first, strlen(first)) != 0)
        fail_msg("the plan is\n%s", text.data);
    pn_buf_free(&text);
    eager_check(&e, sum, "nine products of one operand");
    eager_free(&e);
}

/* ---- random graphs ---- */

static int pick(struct eager *e, int n)
{
    return (int)(pn_rng_u64(&e->run.rng) % (uint64_t)n);
}

/* One of the last few values, sometimes any. */
static int pick_value(struct eager *e)
{
    int recent = e->n < 4 ? e->n : 4;
    return pick(e, 4) ? e->n - 1 - pick(e, recent) : pick(e, e->n);
}

/* A value of x's shape, or -1. */
static int pick_like(struct eager *e, int x)
{
    for (int tries = 0; tries < 16; tries++) {
        int i = pick_value(e);
        const struct eager_value *a = &e->values[i], *b = &e->values[x];
        if (a->outputs == b->outputs && a->n1 == b->n1 && a->n2 == b->n2)
            return i;
    }
    return -1;
}

/* Keeps values small, since large ones would dominate the comparison. */
static int tamed(struct eager *e, int y)
{
    const struct eager_value *v = &e->values[y];
    double most = 0;
    for (int i = 0; i < e->run.n_rows * v->n1 * v->n2; i++)
        most = v->v[i] > most ? v->v[i] : -v->v[i] > most ? -v->v[i] : most;
    return most > 8 ? eager_softcap(e, y, 4) : y;
}

static void grow_product(struct eager *e, int x)
{
    int n = 1 + pick(e, 3), first = eager_matmul(e, x, 24), other = first;
    for (int i = 1; i < n; i++)
        other = eager_matmul(e, x, pick(e, 4) ? 24 : WIDTH);
    if (n > 1 && e->values[other].n2 == 24) {
        int act = eager_act(e, first, (enum pn_act_fn)pick(e, PN_ACT_FN_COUNT));
        pick(e, 2) ? eager_binary(e, act, other, true) : eager_binary(e, other, act, true);
    } else if (pick(e, 2)) {
        unary(e, pick(e, N_UNARY), other);
    }
}

static void grow_view(struct eager *e, int x)
{
    const struct eager_value *v = &e->values[x];
    if (v->n1 == 1 && v->n2 % 4 == 0 && pick(e, 2))
        eager_reshape(e, x, 4, v->n2 / 4);
    else if (v->n1 == 4 && v->op != PN_OP_VIEW)
        eager_reshape(e, x, 1, 4 * v->n2);
    else if (v->n2 > 3)
        eager_slice(e, x, pick(e, 3), v->n2 - 3);
}

static void grow(struct eager *e)
{
    int x = pick_value(e), other, what = pick(e, 14);
    if (what < 5 && (other = pick_like(e, x)) >= 0) {
        tamed(e, eager_binary(e, x, other, what < 2));
        return;
    }
    switch (what) {
    case 5:
        tamed(e, unary(e, pick(e, N_UNARY), x));
        break;
    case 6:
        unary(e, pick(e, N_UNARY), tamed(e, eager_vector(e, x, pick(e, 2), pick(e, 2))));
        break;
    case 7:
        eager_rms_norm(e, x);
        break;
    case 8:
        grow_view(e, x);
        break;
    case 9:
        if ((other = pick_like(e, x)) >= 0 && e->values[x].n2 < 60)
            eager_concat(e, x, other);
        break;
    case 10:
        eager_clamp(e, x, -0.5f, 1);
        break;
    case 11:
        if (!e->values[x].outputs && pick(e, 3) == 0)
            eager_outputs(e, x);
        else if (e->values[x].n1 == 4)
            tamed(e, eager_mul_heads(e, x, eager_slice(e, x, 0, 1)));
        break;
    default:
        grow_product(e, x);
    }
}

static void random_graphs_equal_their_formulas(void **state)
{
    (void)state;
    int n_epilogues = 0, n_gates = 0, n_shared = 0;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct eager e;
        init(&e, seed + 1000);
        int size = 6 + pick(&e, 30), result = 0;
        while (e.n < size)
            grow(&e);
        for (int i = 0; i < 6; i++) { /* use values that would otherwise not be needed */
            int last = e.n - 1, other = pick_like(&e, last);
            result = other < 0 || other == last ? eager_scale(&e, last, 2, 1) : eager_binary(&e, last, other, false);
        }
        char what[40];
        snprintf(what, sizeof what, "graph %d", (int)seed);
        eager_check_two(&e, result, (int)seed, what);
        struct pn_buf text = plan_text(&e, result);
        for (const char *s = text.data; *s; s++) {
            n_epilogues += *s == '+';
            n_gates += *s == '#';
            n_shared += strncmp(s, "weight weight", 13) == 0;
        }
        pn_buf_free(&text);
        eager_free(&e);
    }
    if (n_epilogues < 400 || n_gates < 80 || n_shared < 100) /* otherwise the test covers too little */
        fail_msg("only %d epilogues, %d gates and %d shared operands", n_epilogues, n_gates, n_shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_one_phase_are_not_operands_of_each_other),
        cmocka_unit_test(sums_and_products_of_two_arrays),
        cmocka_unit_test(vectors_scales_caps_and_activations_after_a_product),
        cmocka_unit_test(long_epilogues_continue_in_the_next_phase),
        cmocka_unit_test(views_after_a_product),
        cmocka_unit_test(products_of_strided_operands),
        cmocka_unit_test(gates_in_all_surroundings),
        cmocka_unit_test(gates_that_cannot_be_fused),
        cmocka_unit_test(many_products_of_one_operand),
        cmocka_unit_test(random_graphs_equal_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
