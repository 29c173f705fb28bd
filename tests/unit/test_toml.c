/* TOML: values, lines, what may be defined where, and bounds. tests/diff/toml_documents.py compares with tomllib. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/toml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pn_arena arena;

static const struct pn_toml *parse(const char *text)
{
    struct pn_toml *root;
    struct pantry_error err = {0};
    if (pn_toml_parse(text, strlen(text), "f.toml", &arena, &root, &err))
        fail_msg("%s", err.text);
    return root;
}

static void refuse(const char *text, const char *expected)
{
    struct pn_toml *root;
    struct pantry_error err = {0};
    if (!pn_toml_parse(text, strlen(text), "f.toml", &arena, &root, &err))
        fail_msg("accepted: %s", text);
    assert_null(root);
    if (!strstr(err.text, expected))
        fail_msg("\"%s\" is not in \"%s\"", expected, err.text);
}

static int clean(void **state)
{
    (void)state;
    pn_arena_free(&arena);
    return 0;
}

static void values(void **state)
{
    (void)state;
    const struct pn_toml *t = parse("s = \"a\\tb\\u00e9\" # c\nl = 'a\\b'\ni = -1_000\nh = 0xff\nf = 1.5e3\nn = -inf\n"
                                    "b = true\nd = 1979-05-27 07:32:00Z\na = [1, [2.0], \"x\"]\nt = {x.y = 1, z = {}}\n"
                                    "m = \"\"\"\none \\\n   two\"\"\"\"\n");
    assert_string_equal(pn_toml_get(t, "s")->text, "a\tb\xc3\xa9");
    assert_string_equal(pn_toml_get(t, "l")->text, "a\\b");
    assert_int_equal(pn_toml_get(t, "i")->integer, -1000);
    assert_int_equal(pn_toml_get(t, "h")->integer, 255);
    assert_true(pn_toml_get(t, "f")->number == 1500);
    assert_true(isinf(pn_toml_get(t, "n")->number) && pn_toml_get(t, "n")->number < 0);
    assert_true(pn_toml_get(t, "b")->truth);
    assert_string_equal(pn_toml_get(t, "d")->text, "1979-05-27 07:32:00Z");
    const struct pn_toml *a = pn_toml_get(t, "a");
    assert_int_equal(a->kind, PN_TOML_ARRAY);
    assert_true(a->first->next->first->number == 2);
    assert_string_equal(a->last->text, "x");
    assert_int_equal(pn_toml_get(pn_toml_get(pn_toml_get(t, "t"), "x"), "y")->integer, 1);
    assert_string_equal(pn_toml_get(t, "m")->text, "one two\"");
    assert_int_equal(pn_toml_get(t, "m")->line, 11);
    assert_null(pn_toml_get(t, "none"));
}

static void tables(void **state)
{
    (void)state;
    const struct pn_toml *t =
        parse("[a.b]\nx = 1\n[a]\ny.z = 2\n[models.\"q:1.5b\"]\nk = 3\n[[l]]\nn = 1\n[[l]]\nn = 2\n"
              "[l.s]\no = 3\n");
    assert_int_equal(pn_toml_get(pn_toml_get(pn_toml_get(t, "a"), "b"), "x")->line, 2);
    assert_int_equal(pn_toml_get(pn_toml_get(pn_toml_get(t, "a"), "y"), "z")->integer, 2);
    assert_int_equal(pn_toml_get(pn_toml_get(pn_toml_get(t, "models"), "q:1.5b"), "k")->integer, 3);
    const struct pn_toml *l = pn_toml_get(t, "l");
    assert_int_equal(l->kind, PN_TOML_ARRAY);
    assert_int_equal(pn_toml_get(l->first, "n")->integer, 1);
    assert_int_equal(pn_toml_get(pn_toml_get(l->last, "s"), "o")->integer, 3);
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a = 1\na = 2", "f.toml:2: a: defined twice (first in line 1)"},
        {"[a]\n[a]", "f.toml:2: a: defined twice"},
        {"[a.b.c]\n[a]\nb.c.d = 1", "defined twice"},
        {"a.b = 1\n[a]", "defined twice"},
        {"a = {}\na.b = 1", "defined twice"},
        {"a = []\n[[a]]", "defined twice"},
        {"[[a]]\n[a]", "defined twice"},
        {"a = {b = {}, b.c = 1}", "defined twice"},
        {"a", "f.toml:1: a: a key goes on with \"=\""},
        {"\n= 1", "f.toml:2: a key is missing"},
        {"a = ", "a value is missing"},
        {"a = 1 2", "unexpected text after a value or header (found \"2\")"},
        {"a = 01", "begins with 0"},
        {"a = 9223372036854775808", "does not fit"},
        {"a = \"x", "no end in this line"},
        {"a = \"\"\"\n\nx", "the string that begins in line 1 has no end"},
        {"a = \"\\x\"", "unknown escape"},
        {"a = \"\\ud800\"", "names no character (found U+D800)"},
        {"a = \"\x01\"", "control character in a string (found 0x01)"},
        {"# \x7f", "control character in a comment"},
        {"a = [1\nb = 2", "the array that begins in line 1"},
        {"a = {b = 1\n}", "in the same line"},
        {"a = {b = 1,}", "a key is missing"},
        {"[a", "ends with \"]\""},
        {"[[a]", "ends with \"]]\""},
        {"a = 2021-02-29", "unexpected text"},
        {"\"\"\"a\"\"\" = 1", "several lines"},
        {"a = 1\n\n\xff = 2", "f.toml:3: not UTF-8 text (found byte 0xff)"},
        {"\xed\xa0\x80 = 2", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i][0], cases[i][1]);
}

static void bounds(void **state)
{
    (void)state;
    static char text[PN_TOML_MAX + 2];
    struct pn_toml *root;
    struct pantry_error err;
    memset(text, '[', 400);
    memcpy(text, "a = ", 4);
    refuse(text, "nest too deeply");
    char *p = text;
    for (int i = 0; i < 100; i++)
        p += sprintf(p, "a.");
    strcpy(p, "a = 1");
    refuse(text, "nest too deeply");
    p = text + sprintf(text, "a = [");
    for (int i = 0; i < 20000; i++)
        p += sprintf(p, "1,");
    strcpy(p, "]");
    refuse(text, "too many values");
    memset(text, '#', sizeof text);
    assert_int_equal(pn_toml_parse(text, PN_TOML_MAX + 1, "f.toml", &arena, &root, &err), PANTRY_LIMIT);
    assert_int_equal(pn_toml_parse(text, PN_TOML_MAX, "f.toml", &arena, &root, &err), PANTRY_OK);
    assert_int_equal(pn_toml_parse("a = 1\0b", 7, "f.toml", &arena, &root, &err), PANTRY_FORMAT);
    char *exact = malloc(7); /* no byte after the text is read */
    memcpy(exact, "a = 0.5", 7);
    assert_int_equal(pn_toml_parse(exact, 7, "f.toml", &arena, &root, &err), PANTRY_OK);
    free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(values, clean),
        cmocka_unit_test_teardown(tables, clean),
        cmocka_unit_test_teardown(mistakes, clean),
        cmocka_unit_test_teardown(bounds, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
