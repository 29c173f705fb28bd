/* Expressions: what the builder makes, refuses and prints, and what the reference recognizer says about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grammar/expr.h"
#include "grammar_oracle.h"

#include <string.h>

static struct pn_expr_builder *builder(void)
{
    struct pn_expr_builder *b;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    return b;
}

static pn_expr text(struct pn_expr_builder *b, const char *s)
{
    return pn_expr_literal(b, s, strlen(s));
}

static pn_expr range(struct pn_expr_builder *b, uint32_t first, uint32_t last, bool negate)
{
    return pn_expr_class(b, &(struct pn_code_range){first, last}, 1, negate);
}

static void expect(const struct pn_expr_builder *b, pn_expr e, const char *s, bool accepted)
{
    if (oracle_accepts(b, e, s, strlen(s)) != accepted)
        fail_msg("\"%s\": expected %d", s, accepted);
}

static void regular_expressions(void **state)
{
    (void)state;
    struct pn_expr_builder *b = builder();
    pn_expr word = pn_expr_repeat(b, range(b, 'a', 'z', false), 2, 3), dot = range(b, '\n', '\n', true);
    expect(b, word, "a", false);
    expect(b, word, "ab", true);
    expect(b, word, "abc", true);
    expect(b, word, "abcd", false);
    expect(b, dot, "\xF0\x9F\x98\x80", true);
    expect(b, dot, "\xF0\x9F\x98", false);
    expect(b, dot, "\xED\xA0\x80", false); /* a surrogate */
    expect(b, pn_expr_not(b, word), "ab", false);
    expect(b, pn_expr_not(b, word), "abcd", true);
    expect(b, pn_expr_not(b, word), "\xC3", false);
    expect(b, pn_expr_and(b, word, pn_expr_not(b, text(b, "no"))), "no", false);
    expect(b, pn_expr_and(b, word, pn_expr_not(b, text(b, "no"))), "yes", true);
    pn_expr any = pn_expr_repeat(b, dot, 0, PN_EXPR_NO_MAX),
            json = pn_expr_json_chars(b, pn_expr_repeat(b, range(b, 0, 0x7F, false), 2, 2));
    expect(b, pn_expr_repeat(b, any, 2, 5), "", true); /* an empty loop ends */
    expect(b, json, "ab", true);
    expect(b, json, "a\"", false);
    expect(b, json, "a\\\"", true);
    expect(b, json, "\\n\\u001F", true);
    expect(b, json, "a\\u000a", false); /* written \n */
    expect(b, json, "a\n", false);
    expect(b, json, "a", false);
    pn_expr_builder_free(b);
}

static void rules(void **state)
{
    (void)state;
    struct pn_expr_builder *b = builder();
    int sum = pn_expr_rule(b, "sum", 3), pair = pn_expr_rule(b, "pair", 4);
    assert_int_equal(pn_expr_rule(b, "sum", 3), sum);
    pn_expr digit = range(b, '0', '9', false), ref = pn_expr_ref(b, sum);
    const pn_expr more[] = {ref, text(b, "+"), digit};
    const pn_expr either[] = {pn_expr_seq(b, more, 3), digit};
    assert_int_equal(pn_expr_check(b, &(struct pantry_error){0}), PANTRY_FORMAT);
    assert_true(pn_expr_define(b, sum, pn_expr_choice(b, either, 2)));
    assert_false(pn_expr_define(b, sum, digit));
    const pn_expr inside[] = {text(b, "("), pn_expr_ref(b, pair), text(b, ")"), pn_expr_ref(b, pair)};
    const pn_expr pairs[] = {pn_expr_empty(b), pn_expr_seq(b, inside, 4)};
    assert_true(pn_expr_define(b, pair, pn_expr_choice(b, pairs, 2)));
    assert_int_equal(pn_expr_check(b, NULL), PANTRY_OK);
    expect(b, ref, "1+2+3", true); /* left recursion */
    expect(b, ref, "1+", false);
    expect(b, pn_expr_ref(b, pair), "(()())()", true);
    expect(b, pn_expr_ref(b, pair), "(()", false);
    struct pn_buf out = {0};
    pn_expr_print(b, pn_expr_choice(b, either, 2), &out);
    assert_string_equal(out.data, "((sum \"+\" [0-9]) | [0-9])");
    pn_buf_free(&out);
    pn_expr_builder_free(b);
}

static void refusals(void **state)
{
    (void)state;
    struct pn_expr_builder *b = builder();
    struct pantry_error err;
    pn_expr e = text(b, "a");
    for (int i = 0; i < PN_EXPR_MAX_DEPTH - 1; i++)
        e = pn_expr_repeat(b, e, 0, 1);
    assert_int_not_equal(e, PN_EXPR_NONE);
    assert_int_equal(pn_expr_repeat(b, e, 0, 1), PN_EXPR_NONE);
    assert_int_equal(pn_expr_status(b, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "nested too deeply"));
    assert_int_equal(text(b, "b"), PN_EXPR_NONE); /* errors stay */
    pn_expr_builder_free(b);
    b = builder();
    assert_int_equal(pn_expr_repeat(b, text(b, "a"), 5, 2), PN_EXPR_NONE);
    assert_int_equal(pn_expr_status(b, &err), PANTRY_FORMAT);
    pn_expr_builder_free(b);
    b = builder();
    assert_int_equal(pn_expr_not(b, pn_expr_ref(b, pn_expr_rule(b, "r", 1))), PN_EXPR_NONE);
    assert_int_equal(pn_expr_status(b, &err), PANTRY_UNSUPPORTED);
    pn_expr_builder_free(b);
}

static void classes_are_sorted(void **state)
{
    (void)state;
    struct pn_expr_builder *b = builder();
    const struct pn_code_range r[] = {{'x', 'z'}, {'a', 'c'}, {'b', 'f'}, {'g', 'g'}, {0xD000, 0xE001}};
    const struct pn_expr_node *node = pn_expr_get(b, pn_expr_class(b, r, 5, false));
    assert_int_equal(node->n, 4);
    assert_int_equal(node->ranges[0].last, 'g');
    assert_int_equal(node->ranges[2].last, 0xD7FF);
    assert_int_equal(node->ranges[3].first, 0xE000);
    node = pn_expr_get(b, pn_expr_class(b, NULL, 0, false));
    assert_int_equal(node->kind, PN_EXPR_CHOICE); /* no character */
    pn_expr_builder_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(regular_expressions), cmocka_unit_test(rules),
                                       cmocka_unit_test(refusals), cmocka_unit_test(classes_are_sorted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
