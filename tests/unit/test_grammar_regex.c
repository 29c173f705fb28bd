/* Regular expressions: syntax, assertions, search, errors, and all of the shared rows. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grammar/match.h"
#include "grammar/regex.h"
#include "grammar_oracle.h"
#include "grammar_rows.h"

#include <stdlib.h>
#include <string.h>

static void check_list(const struct pn_expr_builder *b, pn_expr e, const struct pn_grammar *g, const char *pattern,
                       const char *list, bool wanted)
{
    char *copy = strdup(list);
    struct pantry_error err = {0};
    for (char *save, *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
        size_t n = strcmp(s, "~") == 0 ? 0 : strlen(s);
        bool found = !wanted;
        for (size_t i = 0; i < n; i++)
            s[i] = s[i] == '_' ? ' ' : s[i];
        if (g && pn_grammar_accepts(g, s, n, &found, &err))
            fail_msg("%s: %s", pattern, err.text);
        if (oracle_accepts(b, e, s, n) != wanted || (g && found != wanted))
            fail_msg("%s: \"%s\" should be %s", pattern, s, wanted ? "accepted" : "rejected");
    }
    free(copy);
}

/* Strings are separated by blanks; ~ stands for the empty one, _ for a blank. */
static void expect(enum pn_regex_mode mode, const char *pattern, const char *accepted, const char *rejected)
{
    struct pn_expr_builder *b;
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    pn_expr e;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    if (pn_regex_parse(b, pattern, strlen(pattern), mode, &e, &err))
        fail_msg("%s: %s", pattern, err.text);
    pantry_status status = pn_grammar_compile(b, e, &g, &err);
    if (status && (status != PANTRY_UNSUPPORTED || *accepted))
        fail_msg("%s: %s", pattern, err.text);
    check_list(b, e, g, pattern, accepted, true);
    check_list(b, e, g, pattern, rejected, false);
    pn_grammar_free(g);
    pn_expr_builder_free(b);
}

static void full(const char *pattern, const char *accepted, const char *rejected)
{
    expect(PN_REGEX_FULL, pattern, accepted, rejected);
}

static void search(const char *pattern, const char *accepted, const char *rejected)
{
    expect(PN_REGEX_SEARCH, pattern, accepted, rejected);
}

static void syntax(void **state)
{
    (void)state;
    full("", "~", "a");
    full("a|b|", "a b ~", "c ab");
    full("a(b|c)*?d+?", "ad abcbd acdd", "a d abc");
    full("a{2}b{1,}c{0,2}d{,1}", "aab aabbcc aabd", "ab aabccc aabdd");
    full("a{,}b{x}c{", "a{,}b{x}c{", "ab");
    full("\\d\\D\\w\\W\\s\\S", "1xa-_- 9-Z+_q", "xxa-_- 1xaa_-");
    full("[\\d\\-x.]+[^\\W\\d]", "1-x.a -q 5b", "a1 1- 1\xC3\xA9");
    full(".", "a \xC3\xA9 \xF0\x9F\x98\x80 _", "~ ab \n \xC3");
    full("(?s).", "\n a", "aa");
    full("(?:a)(?<name>b)(?P<other>c)(?#comment)d", "abcd", "abc");
    full("\\x41\\u0042\\u{43}\\u{1F600}\\uD83D\\uDE00\\t\\cA\\0?\\/\\.\\\\",
         "ABC\xF0\x9F\x98\x80\xF0\x9F\x98\x80\t\x01/.\\", "ABC");
    full("[^]", "a \n", "~ aa");
    full("[]|a", "a", "~ b");
    full("[a-]+[-a]", "-a a- aa", "b- ~");
    full("[\\w-.]+", "a-. -", "+ ~");
    full("[\\u0041-\\u0043\\b]", "A B C \b", "D");
    full("\\p{Lu}\\p{L}*\\P{L}", "\xC3\x89t\xC3\xA9! A1", "a1 A Ab");
    full("[\\p{Nd}\\p{Letter}]+", "\xD9\xA3\xC3\xA9z9", "- ~");
    full("(?i)stra\xC3\x9F"
         "e|\xC3\x89[a-c]",
         "STRA\xC3\x9F"
         "E stra\xC3\x9F"
         "e \xC3\xA9"
         "B",
         "x strasse");
}

static void assertions(void **state)
{
    (void)state;
    full("^abc$", "abc", "ab abcd");
    full("^a|b$", "a b", "ab");
    full("a^b", "", "ab a b");
    full("a*^b", "b", "ab");
    full("(^|x)a($|y)", "a xa ay xay", "xxa ya");
    search("b", "b abc bb", "~ a ac");
    search("^b", "b bc", "ab ~");
    search("b$", "b ab", "bc ~");
    search("^[a-z]{2,3}$", "ab abc", "a abcd 1ab");
    search("(^|,)x(,|$)", "x a,x x,b a,x,b", "ax xa ~");
    search("^$|a", "~ a ba", "b");
    search("(?:^a|b)c", "ac acd xbc", "xac");
    search("^(?=.*[A-Z])(?=.*\\d).{3,5}$", "A1x xxA9 12Ab", "abc A1 AAAA 123 A12345");
    search("^(?!foo|bar)\\w+$", "fo baz fob", "foo bar foobar barx");
    search("^(?!.*--)[a-z-]+$", "a-b a ab-c-d", "a--b --");
    search("\\bfoo\\b", "foo foo_bar a_foo (foo)", "foobar afoo fo");
    search("\\Boo\\b", "foo xfoo", "oo a_oo foox");
    full("a(?<!b)c", "ac", "ab bc a abc");
    full("\\w+(?<!x)", "ab xa", "ax x");
    full("(?<=a)b|(?<=^)c", "c", "b ab");
    full("a(?=b)b|c(?!d)\\w", "ab ce", "a cd ac");
}

static void expect_error(const char *pattern, const char *part)
{
    struct pn_expr_builder *b;
    struct pantry_error err = {0};
    pn_expr e;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    if (!pn_regex_parse(b, pattern, strlen(pattern), PN_REGEX_SEARCH, &e, &err))
        fail_msg("%s: should be refused", pattern);
    if (!strstr(err.text, part))
        fail_msg("%s: %s (expected: %s)", pattern, err.text, part);
    assert_int_equal(e, PN_EXPR_NONE);
    pn_expr_builder_free(b);
}

static void mistakes(void **state)
{
    (void)state;
    expect_error("[abc", "column 1: the class is not closed");
    expect_error("a{5,2}", "column 2: the repetition has its minimum above");
    expect_error("\xC3\xA9(a", "column 2: the group is not closed");
    expect_error("a)", "column 2: no group is open");
    expect_error("*a", "nothing to repeat");
    expect_error("a**", "nothing to repeat");
    expect_error("^*", "nothing to repeat");
    expect_error("a++", "possessive");
    expect_error("(a)\\1", "back reference");
    expect_error("(?<n>a)\\k<n>", "back reference");
    expect_error("(?>a)", "atomic");
    expect_error("(?(1)a)", "condition");
    expect_error("(?R)", "kind of group");
    expect_error("(^a|b)+", "repeating a group with an anchor");
    expect_error("\\w*\\b\\w*", "\\b or \\B");
    expect_error("[z-a]", "ends before it begins");
    expect_error("\\q", "unknown escape");
    expect_error("\\x4", "2 hexadecimal");
    expect_error("\\u{110000}", "code point");
    expect_error("\\p{Script=Han}", "Script=Han");
    expect_error("a\\", "after a backslash");
    expect_error("\xFF", "UTF-8");
    expect_error("a{2000000}", "too large");
}

static void hostile(void **state)
{
    (void)state;
    struct pn_expr_builder *b;
    struct pn_grammar *g;
    struct pantry_error err;
    struct pn_buf text = {0};
    pn_expr e;
    for (int i = 0; i < 60000; i++)
        pn_buf_putc(&text, '(');
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    assert_int_equal(pn_regex_parse(b, text.data, text.len, PN_REGEX_FULL, &e, &err), PANTRY_FORMAT);
    pn_expr_builder_free(b);
    static const char *const large[] = {"((a{1,1000}){1,1000}){1,1000}",
                                        "(?!(a|b)*a(a|b){40}).*",
                                        "(a*)*b",
                                        "((a?)*)+",
                                        "\\p{L}{1,64}",
                                        "(\\p{L}|\\p{N}){1000}",
                                        "(x+x+)+y"};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
        assert_int_equal(pn_regex_parse(b, large[i], strlen(large[i]), PN_REGEX_FULL, &e, &err), PANTRY_OK);
        pantry_status status = pn_grammar_compile(b, e, &g, &err); /* or says that it is too large */
        assert_int_equal(status, i == 1 ? PANTRY_LIMIT : PANTRY_OK);
        pn_grammar_free(g);
        pn_expr_builder_free(b);
    }
    pn_buf_free(&text);
}

static pantry_status compile(const char *text, size_t n, struct pn_grammar **grammar, struct pantry_error *err)
{
    struct pn_expr_builder *b;
    pn_expr root;
    pantry_status status = pn_expr_builder_new(&b, err);
    *grammar = NULL;
    if (!status)
        status = pn_regex_parse(b, text, n, PN_REGEX_FULL, &root, err);
    if (!status)
        status = pn_grammar_compile(b, root, grammar, err);
    pn_expr_builder_free(b);
    return status;
}

static void shared_rows(void **state)
{
    (void)state;
    check_grammar_rows("regex.json", "pattern", compile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(syntax), cmocka_unit_test(assertions),
                                       cmocka_unit_test(mistakes), cmocka_unit_test(hostile),
                                       cmocka_unit_test(shared_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
