/* Grammars by content, and their public calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grammar/source.h"
#include "pantry.h"

#include <stdio.h>
#include <string.h>

static struct pn_grammar *make(enum pn_grammar_kind kind, const char *text, const struct pn_schema_options *options)
{
    struct pn_grammar *g;
    assert_int_equal(pn_grammar_make(kind, text, strlen(text), options, &g, NULL), PANTRY_OK);
    return g;
}

static void found_by_content(void **state)
{
    (void)state;
    const struct pn_schema_options compact = {.space = PN_SCHEMA_COMPACT};
    char text[64];
    struct pn_grammar *a = make(PN_GRAMMAR_REGEX, "a+", NULL), *b = make(PN_GRAMMAR_REGEX, "a+", NULL);
    assert_ptr_equal(a, b);
    struct pn_grammar *c = make(PN_GRAMMAR_REGEX, "a*", NULL), *d = make(PN_GRAMMAR_REGEX, "a+", &compact);
    assert_ptr_not_equal(a, c);
    assert_ptr_not_equal(a, d);
    pn_grammar_free(b);
    pn_grammar_free(c);
    pn_grammar_free(d);
    for (int i = 0; i < 200; i++) { /* more than are kept: the first one goes on, but is not found again */
        snprintf(text, sizeof text, "x{%d}", i + 1);
        pn_grammar_free(make(PN_GRAMMAR_REGEX, text, NULL));
    }
    b = make(PN_GRAMMAR_REGEX, "a+", NULL);
    assert_ptr_not_equal(a, b);
    assert_int_equal(a->n_states, b->n_states);
    pn_grammar_free(a);
    pn_grammar_free(b);
}

static void public_calls(void **state)
{
    (void)state;
    struct pantry_grammar_options options = pantry_grammar_options_default();
    struct pantry_error err;
    pantry_grammar *g;
    char *dot;
    bool accepted = false;
    assert_int_equal(pantry_grammar_new(PANTRY_GRAMMAR_JSON_OBJECT, "", 0, NULL, &g, &err), PANTRY_OK);
    assert_int_equal(pantry_grammar_accepts(g, "{\"a\": [1]}", 10, &accepted, &err), PANTRY_OK);
    assert_true(accepted);
    assert_int_equal(pantry_grammar_accepts(g, "[1]", 3, &accepted, &err), PANTRY_OK);
    assert_false(accepted);
    assert_int_equal(pantry_grammar_dot(g, &dot, &err), PANTRY_OK);
    assert_non_null(strstr(dot, "digraph"));
    pantry_free(dot);
    pantry_grammar_free(g);
    pantry_grammar_free(NULL);
    options.whitespace = (enum pantry_whitespace)3;
    assert_int_equal(pantry_grammar_new(PANTRY_GRAMMAR_JSON, "", 0, &options, &g, &err), PANTRY_INVALID);
    assert_null(g);
    assert_int_equal(pantry_grammar_new((enum pantry_grammar_kind)9, "", 0, NULL, &g, &err), PANTRY_INVALID);
    assert_int_equal(pantry_grammar_new(PANTRY_GRAMMAR_GBNF, "x", 1, NULL, &g, &err), PANTRY_FORMAT);
    assert_null(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_by_content), cmocka_unit_test(public_calls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
