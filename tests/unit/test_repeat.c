/* The detector of texts that repeat themselves: loops, and texts that only look like loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/repeat.h"

#include <stdio.h>
#include <string.h>

/* Feeds one token per word with the space before it, per sign and per line break, as tokenizers do. Returns where it
 * was stopped (in tokens, from 1), or 0. */
static long feed(struct pn_repeat *repeat, const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = *p == ' ';
        if ((p[n] | 32) >= 'a' && (p[n] | 32) <= 'z')
            while ((p[n] | 32) >= 'a' && (p[n] | 32) <= 'z')
                n++;
        else if (p[n])
            n++;
        uint32_t id = 5381;
        for (size_t i = 0; i < n; i++)
            id = id * 33 + (unsigned char)p[i];
        if (pn_repeat_push(repeat, (int32_t)(id & 0x7FFFFFFF), p, n))
            return repeat->n;
        p += n;
    }
    return 0;
}

static long feed_times(const char *before, const char *span, int times)
{
    static struct pn_repeat repeat;
    memset(&repeat, 0, sizeof repeat);
    long stopped = feed(&repeat, before);
    for (int i = 0; i < times && !stopped; i++)
        stopped = feed(&repeat, span);
    return stopped;
}

static void notices_loops(void **state)
{
    (void)state;
    static const char before[] = "The capital of France is a city with many names, and here they are: ";
    assert_true(feed_times(before, "la femme au martyre, ", 100) > 0);
    assert_true(feed_times(before, "I do not know what to say about it. ", 20) > 0);
    assert_true(feed_times("", "ha ", 200) > 0);
    char paragraph[2048] = "";
    for (int i = 0; i < 70; i++)
        snprintf(paragraph + strlen(paragraph), sizeof paragraph - strlen(paragraph), " word%c%c", 'a' + i % 26,
                 'a' + i / 26);
    assert_true(feed_times(before, paragraph, 5) > 0);
    assert_true(feed_times(before, paragraph, 3) == 0);
}

/* Exactly eight times and 96 tokens: one token fewer goes on. */
static void counts(void **state)
{
    (void)state;
    for (int p = 1; p <= 200; p += 7) {
        static struct pn_repeat repeat;
        memset(&repeat, 0, sizeof repeat);
        long wanted = p >= 64 ? 4L * p : 8L * p > 96 ? 8L * p : 96, stopped = 0;
        for (long i = 0; i < 2000 && !stopped; i++)
            if (pn_repeat_push(&repeat, (int32_t)(i % p), "word", 4))
                stopped = i + 1;
        assert_int_equal(stopped, wanted);
    }
}

static void span_limit(void **state)
{
    (void)state;
    static struct pn_repeat repeat;
    for (int extra = 0; extra < 2; extra++) {
        memset(&repeat, 0, sizeof repeat);
        long stopped = 0;
        for (long i = 0; i < 5000 && !stopped; i++)
            if (pn_repeat_push(&repeat, (int32_t)(i % (PN_REPEAT_SPAN + extra)), "word", 4))
                stopped = i + 1;
        assert_int_equal(stopped, extra ? 0 : 4 * PN_REPEAT_SPAN);
    }
}

static void lists_tables_and_code_go_on(void **state)
{
    (void)state;
    static struct pn_repeat repeat;
    char line[200];
    memset(&repeat, 0, sizeof repeat);
    for (int i = 1; i <= 300; i++) { /* a numbered list of equal items */
        snprintf(line, sizeof line, "%d. Item\n", i);
        assert_int_equal(feed(&repeat, line), 0);
    }
    for (int i = 0; i < 300; i++) { /* a table whose rows differ in one number */
        snprintf(line, sizeof line, "| red | %d | yes |\n", i * 7919 % 1000);
        assert_int_equal(feed(&repeat, line), 0);
    }
    for (int i = 0; i < 100; i++) { /* code */
        snprintf(line, sizeof line, "    case %d:\n        return value[%d];\n", i, i);
        assert_int_equal(feed(&repeat, line), 0);
    }
    assert_int_equal(feed_times("```\n", "0, 0, 0, 0, 0, 0, 0, 0,\n", 30), 0); /* a matrix of zeros */
    assert_int_equal(feed_times("", "|---|---|---|\n", 20), 0);
    assert_int_equal(feed_times("", "<td>x</td>\n", 7), 0);
    assert_int_equal(feed_times("", "Row, row, row your boat\n", 7), 0);
    assert_int_equal(feed_times("", "}\n", 400), 0);
    assert_true(feed_times("", "0, ", 1000) > 0); /* but not for ever */
}

/* Text before the repetition, and its end, reset the count. */
static void a_break_starts_over(void **state)
{
    (void)state;
    static struct pn_repeat repeat;
    memset(&repeat, 0, sizeof repeat);
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 7; k++)
            assert_int_equal(feed(&repeat, "the same sentence of a dozen words comes here once more and again. "), 0);
        char other[64];
        snprintf(other, sizeof other, "number %d of them\n", i);
        assert_int_equal(feed(&repeat, other), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notices_loops),       cmocka_unit_test(counts),
        cmocka_unit_test(span_limit),          cmocka_unit_test(lists_tables_and_code_go_on),
        cmocka_unit_test(a_break_starts_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
