/* Compares hand-written scanners and splitters with their regular expressions, run by PCRE2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/split/pretokenize.h"
#include "text/split/pretype.h"
#include "text/unicode/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Characters in which the expressions differ: letters with and without case, marks, digits of all kinds, white space,
 * contractions, scripts, and characters next to the ranges. Only characters of Unicode 14, because PCRE2 may have no
 * later tables. */
static const uint32_t alphabet[] = {
    'a',     'b',     's',     't',     'r',     'e',     'v',    'm',     'l',    'd',    'S',    'T',
    'R',     'E',     'L',     'A',     'Z',     '\'',    '\'',   '\'',    ' ',    ' ',    ' ',    '\n',
    '\r',    '\t',    '0',     '1',     '2',     '9',     '.',    ',',     '!',    '/',    '(',    ')',
    '_',     '$',     '+',     0x7F,    0x0B,    0x0C,    0x1C,   0x85,    0xA0,   0xAD,   0xB2,   0xBD,
    0xDF,    0xE9,    0xC9,    0x17F,   0x1C5,   0x2B0,   0x300,  0x301,   0x345,  0x3A3,  0x430,  0x416,
    0x5D0,   0x660,   0x903,   0x905,   0x966,   0xE01,   0xE31,  0x1100,  0x1680, 0x180E, 0x2000, 0x200B,
    0x200D,  0x2028,  0x2029,  0x202F,  0x20AC,  0x2160,  0x24B6, 0x2460,  0x2E80, 0x3000, 0x3005, 0x3007,
    0x3042,  0x30A2,  0x3105,  0x4E00,  0x9FA5,  0xAC00,  0xFB01, 0xFE0F,  0xFF21, 0xFF10, 0xFFFD, 0x10400,
    0x1D400, 0x1D7CE, 0x1F130, 0x1F600, 0x1F3FB, 0x20000, 0xE000, 0x16FF0, 0x0};

static void random_text(struct pn_rng *rng, struct pn_buf *text)
{
    pn_buf_clear(text);
    size_t n = pn_rng_u64(rng) % 24;
    uint32_t last = 'a';
    for (size_t i = 0; i < n; i++) {
        unsigned r = (unsigned)(pn_rng_u64(rng) % 8);
        if (r > 2) /* else repeat the last one, for runs */
            last = alphabet[pn_rng_u64(rng) % (sizeof alphabet / sizeof *alphabet)];
        if (r == 7)
            last = 0x20 + (uint32_t)(pn_rng_u64(rng) % 0x550);
        char c = (char)last;
        if (last < 0x80)
            pn_buf_append(text, &c, 1);
        else if (last < 0xD800 || last > 0xDFFF)
            pn_buf_put_utf8(text, last);
    }
}

/* Runs of white space of all lengths around the powers of two, before something and at the end. */
static void blank_runs(struct pn_rng *rng, struct pn_buf *text)
{
    static const char *const between[] = {"a", "1", ".", "\n", "\u3000", "", "\r\n", "'s"};
    pn_buf_clear(text);
    for (int i = 0; i < 3; i++) {
        size_t n = ((size_t)1 << pn_rng_u64(rng) % 11) + pn_rng_u64(rng) % 5;
        for (size_t k = pn_rng_u64(rng) % 2; k < n; k++)
            pn_buf_puts(text, pn_rng_u64(rng) % 97 ? " " : "\u2003");
        pn_buf_puts(text, between[pn_rng_u64(rng) % (sizeof between / sizeof *between)]);
    }
}

static void show(const char *what, const struct pn_pieces *pieces, const char *text)
{
    print_error("%s:", what);
    for (size_t i = 0; i < pieces->len; i++)
        print_error(" [%.*s]", (int)(pieces->data[i].end - pieces->data[i].start), text + pieces->data[i].start);
    print_error("\n");
}

static void compare(const char *regex, const struct pn_split *fast, size_t rounds)
{
    struct pantry_error err = {0};
    struct pn_split slow = {.kind = PN_SPLIT_REGEX};
    struct pn_split_scratch scratch = {0};
    struct pn_pieces a = {0}, b = {0};
    struct pn_buf text = {0};
    struct pn_rng rng = {.state = 20241122};
    if (pn_regex_new(regex, strlen(regex), &slow.regex, &err))
        fail_msg("%s", err.text);
    for (size_t round = 0; round < rounds; round++) {
        if (round % 64)
            random_text(&rng, &text);
        else
            blank_runs(&rng, &text);
        a.len = b.len = 0;
        struct pn_piece all = {0, text.len};
        const char *p = text.data ? text.data : "";
        assert_int_equal(pn_split_run(fast, &scratch, p, all, &a, &err), PANTRY_OK);
        if (scratch.regex)
            pn_regex_scratch_start(scratch.regex, text.len);
        if (pn_split_run(&slow, &scratch, p, all, &b, &err))
            fail_msg("%s", err.text);
        if (a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len * sizeof *a.data)))
            continue;
        show("scanner", &a, p);
        show("regex  ", &b, p);
        for (size_t i = 0; i < text.len; i++)
            print_error("%02x ", (unsigned char)p[i]);
        fail_msg("\n%s: round %zu", regex, round);
    }
    pn_split_free(&slow);
    pn_split_scratch_free(&scratch);
    free(a.data);
    free(b.data);
    pn_buf_free(&text);
}

static void scanners_equal_their_expressions(void **state)
{
    (void)state;
    const char *regex;
    size_t n = 0;
    for (; (regex = pn_scan_regex(n)); n++) {
        struct pn_split fast = {.kind = PN_SPLIT_SCAN, .scan = pn_scan_find(regex, strlen(regex))};
        compare(regex, &fast, 4000);
    }
    assert_true(n >= 12);
}

static void splitters_equal_their_expressions(void **state)
{
    (void)state;
    const char *regex;
    for (size_t n = 0; (regex = pn_split_regex(n)); n++) {
        if (!strcmp(regex, PN_NUMBER_BYTES))
            continue;
        struct pn_split fast = {.kind = PN_SPLIT_CUT, .cut = pn_split_find(regex, strlen(regex))};
        compare(regex, &fast, 4000);
    }
}

/* Every pre-type is found by each of its names, and its expressions compile. The most common steps have a scanner: a
 * typing mistake in one of two tables would lose it silently. */
static void pretypes_compile(void **state)
{
    (void)state;
    const struct pn_pretype *row;
    size_t scanned = 0, names = 0;
    for (size_t i = 0; (row = pn_pretype_row(i)); i++) {
        for (const char *p = row->names; *p; names++) {
            size_t n = strcspn(p, " ");
            assert_ptr_equal(pn_pretype_find(p, n), row);
            p += n + (p[n] == ' ');
        }
        for (size_t k = 0; k < PN_PRETYPE_STEPS && row->steps[k]; k++) {
            struct pn_split split;
            struct pantry_error err = {0};
            if (pn_split_from_regex(&split, row->steps[k], strlen(row->steps[k]), &err))
                fail_msg("%s: %s", row->names, err.text);
            scanned += split.kind == PN_SPLIT_SCAN;
            pn_split_free(&split);
        }
    }
    assert_true(names >= 80);
    assert_true(scanned >= 24);
    assert_null(pn_pretype_find("gpt-", 4));
    assert_null(pn_pretype_find("", 0));
    assert_null(pn_pretype_find("gpt-2 phi-2", 11));
}

static size_t count_matches(const char *regex, const char *text)
{
    struct pantry_error err = {0};
    struct pn_regex *re = NULL;
    struct pn_regex_scratch *scratch = NULL;
    size_t n = 0, start, end;
    if (pn_regex_new(regex, strlen(regex), &re, &err) || pn_regex_scratch_new(&scratch, &err))
        fail_msg("%s", err.text);
    pn_regex_scratch_start(scratch, strlen(text));
    for (size_t pos = 0; pos<strlen(text); pos = end> pos ? end : pos + 1) {
        if (pn_regex_find(re, scratch, text, strlen(text), pos, &start, &end, &err))
            break;
        n += end > start;
    }
    pn_regex_free(re);
    pn_regex_scratch_free(scratch);
    return n;
}

/* Expressions that PCRE2 reads differently from Oniguruma. */
static void expressions_are_translated(void **state)
{
    (void)state;
    assert_int_equal(count_matches("\\s", "a\u180Eb\xC2\x85"
                                          "c\u2028"),
                     2); /* the vowel separator is not white space */
    assert_int_equal(count_matches("[^\\s]", " a\u180E"), 2);
    assert_int_equal(count_matches("[\\S]", " a\u180E"), 2);
    assert_int_equal(count_matches("\\w+", "a\u0301b c\u203Fd"), 2);
    assert_int_equal(count_matches("\\w", "\u00b2\u00b3\u00b9\u00bc\u00bd\u00be\u00bf\u00b4\u2460"), 6);
    assert_int_equal(count_matches("\\W", "\u00b2\u00b1\u00bb\u2460"), 3);
    assert_int_equal(count_matches("[\\w]", "\u00b2\u00bd_a"), 2); /* but not in a class */
    assert_int_equal(count_matches("a\\b", "a\u00b2 a\u2460 a"), 2);
    assert_int_equal(count_matches("a\\B", "a\u00b2 a\u2460 a"), 1);
    assert_int_equal(count_matches("\\p{Han}+", "漢、字"), 2); /* the script, not its extensions */
    assert_int_equal(count_matches("[\\p{L}&&[^\\p{Han}]]+", "ab漢c"), 2);
    assert_int_equal(count_matches("[^\\p{L}&&[^\\p{Han}]]", "ab漢1"), 2);
    assert_int_equal(count_matches("[a[0-9]]+", "a1b2"), 2);
    assert_int_equal(count_matches("[]a]+", "]a"), 1);
    assert_int_equal(count_matches("x$", "x\nx"), 2);
    assert_int_equal(count_matches("\\u4e00|\\u{4e01}", "一丁"), 2);
    assert_int_equal(count_matches("a{,2}", "aaaa"), 2);
    assert_int_equal(count_matches("[[:digit:]]+", "12 3"), 2);
}

static void bad_expressions_are_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[a",    "(",   "a)",       "[a&&", "[a&&]", "\\", "\\p{Nothing}", "[[[[[[[[[[[[[[[[[[[[a",
        "\\u12", "[a-", "(?<!a*)b", "\\C",  "*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pantry_error err = {0};
        struct pn_regex *re = NULL;
        if (!pn_regex_new(bad[i], strlen(bad[i]), &re, &err))
            fail_msg("accepted: %s", bad[i]);
        assert_true(strlen(err.text) > 0);
    }
    struct pn_buf nested = {0};
    for (int i = 0; i < 60000; i++)
        pn_buf_putc(&nested, '(');
    struct pn_regex *re = NULL;
    assert_int_not_equal(pn_regex_new(nested.data, nested.len, &re, NULL), PANTRY_OK);
    pn_buf_free(&nested);
    struct pn_buf longest = {0}; /* 64 KiB, mostly classes that become one */
    pn_buf_putc(&longest, '[');
    while (longest.len < 64 * 1024 - 1)
        pn_buf_putc(&longest, 'a');
    pn_buf_putc(&longest, ']');
    struct pantry_error err = {0};
    if (pn_regex_new(longest.data, longest.len, &re, &err))
        fail_msg("%s", err.text);
    pn_regex_free(re);
    pn_buf_putc(&longest, '+');
    assert_int_equal(pn_regex_new(longest.data, longest.len, &re, &err), PANTRY_LIMIT);
    pn_buf_free(&longest);
}

/* An expression that backtracks exponentially is an error; one whose match is empty advances. */
static void hostile_expressions_end(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_split split = {0};
    struct pn_split_scratch scratch = {0};
    struct pn_pieces pieces = {0};
    char text[4096];
    memset(text, 'a', sizeof text);
    assert_int_equal(pn_split_from_regex(&split, "(?:a|aa)+(?=[bc])", 17, &err), PANTRY_OK);
    struct pn_piece all = {0, sizeof text};
    assert_int_equal(pn_split_run(&split, &scratch, text, all, &pieces, &err), PANTRY_LIMIT);
    pn_split_free(&split);
    pieces.len = 0;
    assert_int_equal(pn_split_from_regex(&split, "x*", 2, &err), PANTRY_OK);
    assert_int_equal(pn_split_run(&split, &scratch, text, all, &pieces, &err), PANTRY_OK);
    assert_int_equal(pieces.len, sizeof text); /* an empty match before each character */
    pn_split_free(&split);
    pn_split_scratch_free(&scratch);
    free(pieces.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_equal_their_expressions),
        cmocka_unit_test(splitters_equal_their_expressions),
        cmocka_unit_test(pretypes_compile),
        cmocka_unit_test(expressions_are_translated),
        cmocka_unit_test(bad_expressions_are_errors),
        cmocka_unit_test(hostile_expressions_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
