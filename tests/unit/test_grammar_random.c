/* The compiler and the matcher agree with the reference on random grammars and strings, and every prefix that the
 * matcher keeps alive is one of a string that the reference accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "grammar/match.h"
#include "grammar/sets.h"
#include "grammar_oracle.h"
#include "random_grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_GRAMMARS = 1500, N_STRINGS = 40, MAX_STRING = 9 };

static size_t draw_string(struct pn_rng *rng, char *out)
{
    static const char *const pieces[] = {"a", "b", "c", "\xC3\xA9", "\"", "\\", "\\\"", "\\n", "\n", "\\u0001", "\xC3"};
    size_t n = 0, pieces_wanted = pn_rng_u64(rng) % MAX_STRING;
    /* mostly letters */
    for (size_t i = 0; i < pieces_wanted; i++) {
        const char *piece = pieces[pn_rng_u64(rng) % (pn_rng_u64(rng) % 4 ? 3 : 11)];
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return n;
}

static void fail_grammar(const struct pn_expr_builder *b, pn_expr root, const char *text, size_t n, const char *what)
{
    struct pn_buf out = {0};
    for (int r = 0; r < pn_expr_n_rules(b); r++) {
        pn_buf_printf(&out, "%s ::= ", pn_expr_rule_name(b, r).data);
        pn_expr_print(b, pn_expr_body(b, r), &out);
        pn_buf_puts(&out, "\n");
    }
    pn_expr_print(b, root, &out);
    fail_msg("%s\n\"%.*s\": %s", out.data, (int)n, text, what);
}

/* A shortest way from a living set to an accepting one, byte by byte: it must exist, and the reference must accept it.
 */
static void check_alive(struct pn_sets *sets, uint32_t set, const struct pn_expr_builder *b, pn_expr root, char *text,
                        size_t n)
{
    enum { LONG = 60, MOST = 500 };
    struct step {
        uint32_t set, before;
        unsigned char byte;
    } *steps = calloc(MOST, sizeof *steps);
    size_t len = 1, at = 0, tail = 0;
    char rest[LONG];
    steps[0].set = set;
    for (; at < len && !sets->sets.data[steps[at].set].accepts; at++)
        for (int byte = 0; byte < 256 && len < MOST && !sets->status; byte++) {
            uint32_t to = pn_sets_step(sets, steps[at].set, (unsigned char)byte);
            bool known = to == PN_SET_DEAD || to == PN_SET_NONE;
            for (size_t i = 0; i < len && !known; i++)
                known = steps[i].set == to;
            if (!known)
                steps[len++] = (struct step){to, (uint32_t)at, (unsigned char)byte};
        }
    if (at == len && len < MOST && !sets->status)
        fail_grammar(b, root, text, n, "nothing completes it");
    if (at < len && sets->sets.data[steps[at].set].accepts) {
        for (; at && tail < LONG; at = steps[at].before)
            rest[tail++] = (char)steps[at].byte;
        for (size_t i = 0; i < tail; i++)
            text[n + i] = rest[tail - 1 - i];
        if (tail < LONG && !oracle_accepts(b, root, text, n + tail))
            fail_grammar(b, root, text, n + tail, "the reference rejects the completion");
    }
    free(steps);
}

static void check_string(struct pn_sets *sets, const struct pn_expr_builder *b, pn_expr root, char *text, size_t n,
                         bool deep)
{
    uint32_t set = PN_SET_START;
    for (size_t i = 0; i < n && set != PN_SET_DEAD; i++)
        set = pn_sets_step(sets, set, (unsigned char)text[i]);
    bool accepted = sets->sets.data[set].accepts;
    if (accepted != oracle_accepts(b, root, text, n))
        fail_grammar(b, root, text, n, accepted ? "accepted" : "rejected");
    if (deep && set != PN_SET_DEAD)
        check_alive(sets, set, b, root, text, n);
}

static void agrees_with_the_reference(void **state)
{
    (void)state;
    int n_empty = 0, n_accepted = 0;
    for (uint64_t seed = 0; seed < N_GRAMMARS; seed++) {
        struct pn_rng rng = {seed};
        struct pn_expr_builder *b;
        struct pn_grammar *g = NULL;
        struct pn_sets sets = {0};
        char text[256];
        assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
        pn_expr root = random_grammar(b, &rng, 1 + (int)(seed % 4));
        assert_int_equal(pn_expr_status(b, NULL), PANTRY_OK);
        pantry_status status = pn_grammar_compile(b, root, &g, NULL);
        n_empty += status == PANTRY_UNSUPPORTED;
        if (status)
            assert_int_equal(status, PANTRY_UNSUPPORTED);
        else
            assert_int_equal(pn_sets_init(&sets, g, true, NULL), PANTRY_OK);
        for (int i = 0; i < N_STRINGS; i++) {
            size_t n = draw_string(&rng, text);
            sets.work = 10000000;
            sets.status = PANTRY_OK; /* a completion may have been too far away */
            if (status && oracle_accepts(b, root, text, n))
                fail_grammar(b, root, text, n, "the compiler finds no string");
            if (!status)
                check_string(&sets, b, root, text, n, i < 3);
            n_accepted += !status && oracle_accepts(b, root, text, n);
        }
        if (!status)
            pn_sets_free(&sets);
        pn_grammar_free(g);
        pn_expr_builder_free(b);
    }
    assert_true(n_empty < N_GRAMMARS / 3);
    assert_true(n_accepted > N_GRAMMARS); /* the strings say something */
}

static void moved_sets_go_on(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct pn_rng rng = {seed};
        struct pn_expr_builder *b;
        struct pn_grammar *g = NULL;
        struct pn_sets one, other;
        char text[256];
        assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
        pn_expr root = random_grammar(b, &rng, 3);
        if (pn_grammar_compile(b, root, &g, NULL) == PANTRY_OK) {
            assert_int_equal(pn_sets_init(&one, g, true, NULL), PANTRY_OK);
            for (int i = 0; i < 20; i++) {
                size_t n = draw_string(&rng, text), cut = n / 2;
                uint32_t set = PN_SET_START, ids[2];
                one.work = 10000000;
                for (size_t k = 0; k < cut && set != PN_SET_DEAD; k++)
                    set = pn_sets_step(&one, set, (unsigned char)text[k]);
                ids[0] = ids[1] = set;
                assert_int_equal(pn_sets_init(&other, g, true, NULL), PANTRY_OK);
                assert_int_equal(pn_sets_move(&other, &one, ids, 2, NULL), PANTRY_OK);
                assert_int_equal(ids[0], ids[1]);
                for (size_t k = cut; k < n && set != PN_SET_DEAD; k++) {
                    set = pn_sets_step(&one, set, (unsigned char)text[k]);
                    ids[0] = pn_sets_step(&other, ids[0], (unsigned char)text[k]);
                }
                assert_int_equal(ids[0] == PN_SET_DEAD, set == PN_SET_DEAD);
                assert_int_equal(other.sets.data[ids[0]].accepts, one.sets.data[set].accepts);
                assert_true(other.sets.len <= one.sets.len);
                pn_sets_free(&other);
            }
            pn_sets_free(&one);
        }
        pn_grammar_free(g);
        pn_expr_builder_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_the_reference), cmocka_unit_test(moved_sets_go_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
