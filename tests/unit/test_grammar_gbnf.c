/* GBNF: what it reads, its errors, and all of the shared rows. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grammar/gbnf.h"
#include "grammar/match.h"
#include "grammar_oracle.h"
#include "grammar_rows.h"

#include <stdlib.h>
#include <string.h>

static pantry_status compile(const char *text, size_t n, struct pn_grammar **grammar, struct pantry_error *err)
{
    struct pn_expr_builder *b;
    pn_expr root;
    pantry_status status = pn_expr_builder_new(&b, err);
    *grammar = NULL;
    if (!status)
        status = pn_gbnf_parse(b, text, n, &root, err);
    if (!status)
        status = pn_grammar_compile(b, root, grammar, err);
    pn_expr_builder_free(b);
    return status;
}

/* The strings are separated by blanks; ~ stands for the empty one. */
static void expect(const char *grammar, const char *accepted, const char *rejected)
{
    struct pn_expr_builder *b;
    struct pn_grammar *g;
    struct pantry_error err = {0};
    pn_expr root;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    if (pn_gbnf_parse(b, grammar, strlen(grammar), &root, &err) || pn_grammar_compile(b, root, &g, &err))
        fail_msg("%s: %s", grammar, err.text);
    for (int k = 0; k < 2; k++) {
        char *list = strdup(k ? rejected : accepted);
        for (char *save, *s = strtok_r(list, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
            size_t n = strcmp(s, "~") == 0 ? 0 : strlen(s);
            bool found = !k;
            assert_int_equal(pn_grammar_accepts(g, s, n, &found, &err), PANTRY_OK);
            if (found != !k || oracle_accepts(b, root, s, n) != !k)
                fail_msg("%s: \"%s\" should be %s", grammar, s, k ? "rejected" : "accepted");
        }
        free(list);
    }
    pn_grammar_free(g);
    pn_expr_builder_free(b);
}

static void notation(void **state)
{
    (void)state;
    expect("root ::= \"a\"", "a", "~ b aa");
    expect("root ::= \"a\" | # comment \"x\"\n \"b\" \"c\"\n\n# end", "a bc", "~ b abc");
    expect("root ::= a\n  | b\na ::= \"1\"\r\nb ::=\n \"2\"", "1 2", "12");
    expect("root ::= [a-c]{2} \"x\"{2,3} \"y\"{1,} [^a-z]{,1}", "abxxy ccxxxyyy aaxxy7", "abxy axxy abxxyz");
    expect("root ::= \"\\x41\\u00e9\\U0001F600\\\"\\\\\" .", "A\xC3\xA9\xF0\x9F\x98\x80\"\\z",
           "A\xC3\xA9\xF0\x9F\x98\x80\"\\");
    expect("root ::= (\"a\" | \"b\" \"c\"){2}? \"\\[\"", "aa[ abc[ [ bcbc[", "a[ ~ abc");
}

static void expect_error(const char *grammar, const char *part)
{
    struct pn_grammar *g;
    struct pantry_error err = {0};
    if (!compile(grammar, strlen(grammar), &g, &err))
        fail_msg("%s: should be refused", grammar);
    if (!strstr(err.text, part))
        fail_msg("%s: %s (expected: %s)", grammar, err.text, part);
}

static void mistakes(void **state)
{
    (void)state;
    expect_error("start ::= \"a\"", "root");
    expect_error("", "root");
    expect_error("root ::= \"a\n", "line 1, column 10: the literal is not closed");
    expect_error("root ::= \"a\"\nx ::= [a", "line 2, column 7: the class is not closed");
    expect_error("root ::= \"\\xZZ\"", "hexadecimal");
    expect_error("root ::= \"\\q\"", "unknown escape");
    expect_error("root ::= (\"a\"", "column 10: the parenthesis is not closed");
    expect_error("root ::= \"a\")", "expected an item");
    expect_error("root ::= * \"a\"", "needs an item before it");
    expect_error("root ::= \"a\"{3,2}", "minimum above its maximum");
    expect_error("root ::= \"a\"{", "expected the number");
    expect_error("root ::= \"a\"{9999999}", "too large");
    expect_error("root ::= \"\xC3\xA9\" b", "line 1, column 14: the rule \"b\" is not defined");
    expect_error("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule is defined already");
    expect_error("x ::= \"x\" root ::= x", "expected an item");
    expect_error("root = \"a\"", "expected ::=");
    expect_error("root ::= [z-a]", "ends before it begins");
    expect_error("root ::= \"\xFF\"", "not UTF-8");
    expect_error("root ::= \"x\" root", "no text can satisfy it");
    expect_error("root ::= !x", "after !");
    expect_error("root ::= <[x]>", "number of a token");
    expect_error("root ::= <think", "not closed");
}

static void recursion(void **state)
{
    (void)state;
    expect("root ::= root \"+\" num | num\nnum ::= [0-9]+", "1 1+2 10+20+30", "~ +1 1+ 1++2");
    expect("root ::= a\na ::= \"x\" b | \".\"\nb ::= \"y\" c | \".\"\nc ::= \"z\" a | \".\"", ". x. xy. xyz. xyzxyzxy.",
           "~ x xz. xyzy. xyz");
    expect("root ::= \"a\" loop | \"b\"\nloop ::= \"x\" loop", "b", "a axxx bx ~");
    expect("root ::= (\"a\"*)*", "~ a aaaa", "b ab");
    expect("root ::= ((\"a\"?)*)+ \"b\"", "b ab aab", "a ~ ba");
    expect("root ::= x x x\nx ::= y | \"\"\ny ::= x | \"a\"", "~ a aa aaa", "aaaa b");
    expect("root ::= \"(\" root \")\" root | \"\"", "~ () (()())()", "( (() )");
    expect("root ::= root root | \"a\"", "a aa aaaaaaa", "~ b");
    expect("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\"", "~ aa abba abbbba", "ab aba");
    expect("e ::= e \"+\" t | t\nt ::= t \"*\" f | f\nf ::= \"(\" e \")\" | [a-z]\nroot ::= e", "a a+b*c (a+b)*c ((a))",
           "~ a+ (a a*+b");
    expect("root ::= <think> [a-z]* !<[7]>", "<think>abc <think>!", "think abc");
}

static void repetitions(void **state)
{
    (void)state;
    char text[4096];
    struct pn_grammar *g;
    bool accepted;
    const char *source = "root ::= \"<\" [a-z]{3,1000} \">\" pair{2,500}\npair ::= \"(\" root? \")\"";
    assert_int_equal(compile(source, strlen(source), &g, NULL), PANTRY_OK);
    assert_true(g->n_states < 100); /* counted, not expanded */
    for (int n = 0; n <= 1001; n += n == 3 ? 997 : 1) {
        memset(text, 'q', sizeof text);
        text[0] = '<';
        strcpy(text + n + 1, ">()(<abc>()())");
        assert_int_equal(pn_grammar_accepts(g, text, strlen(text), &accepted, NULL), PANTRY_OK);
        assert_int_equal(accepted, n >= 3 && n <= 1000);
    }
    pn_grammar_free(g);
    expect("root ::= \"x\" ([a-c] | \"bb\"){300,} \"y\"", "", "xabcy");
}

static void hostile(void **state)
{
    (void)state;
    struct pn_buf text = {0};
    struct pn_grammar *g;
    struct pantry_error err;
    bool accepted;
    pn_buf_puts(&text, "root ::= ");
    for (int i = 0; i < 60000; i++)
        pn_buf_putc(&text, '(');
    assert_int_equal(compile(text.data, text.len, &g, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "nested too deeply"));
    static const char *const chains[] = {"r%d ::= r%d\n", "r%d ::= r%d \"a\" | r%d\n", "r%d ::= \"a\" r%d | \"b\"\n",
                                         "r%d ::= r%d r%d | \"c\"\n"};
    for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
        pn_buf_clear(&text);
        pn_buf_puts(&text, "root ::= r0\n");
        for (int i = 0; i < 5000; i++)
            pn_buf_printf(&text, chains[k], i, i + 1, i + 1); /* a format may leave the last out */
        pn_buf_puts(&text, "r5000 ::= \"z\"");
        assert_int_equal(compile(text.data, text.len, &g, &err), PANTRY_OK);
        assert_int_equal(pn_grammar_accepts(g, "z", 1, &accepted, &err), PANTRY_OK);
        assert_int_equal(accepted, k < 2);
        pn_grammar_free(g);
    }
    pn_buf_clear(&text);
    for (int i = 0; i < 60000; i++)
        pn_buf_putc(&text, '(');
    for (int i = 0; i < 60000; i++)
        pn_buf_putc(&text, ')');
    const char *pairs = "root ::= \"(\" root \")\" | \"\"", *exponential = "root ::= [ab]* \"a\" [ab]{30}";
    assert_int_equal(compile(pairs, strlen(pairs), &g, &err), PANTRY_OK);
    assert_int_equal(pn_grammar_accepts(g, text.data, text.len, &accepted, &err), PANTRY_OK);
    assert_true(accepted);
    pn_grammar_free(g);
    assert_int_equal(compile(exponential, strlen(exponential), &g, &err), PANTRY_OK);
    assert_int_equal(pn_grammar_accepts(g, "abbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", 31, &accepted, &err), PANTRY_OK);
    assert_true(accepted);
    pn_grammar_free(g);
    pn_buf_free(&text);
}

static void shared_rows(void **state)
{
    (void)state;
    check_grammar_rows("gbnf.json", "source", compile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(notation),  cmocka_unit_test(mistakes),
                                       cmocka_unit_test(recursion), cmocka_unit_test(repetitions),
                                       cmocka_unit_test(hostile),   cmocka_unit_test(shared_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
