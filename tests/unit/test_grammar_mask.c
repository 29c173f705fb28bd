/* Masks and matchers: a token is allowed exactly if stepping over its bytes leaves the text completable; clones,
 * rollback, forced text, tokens of the grammar, half characters, bounds of memory, and threads that share everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "base/threads.h"
#include "grammar/gbnf.h"
#include "grammar/mask.h"
#include "grammar/sets.h"
#include "random_grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 400, END = 0, OTHER_END = 1, CONTROL = 2, EMPTY = 3, FIRST = 4 };

struct words {
    struct pn_grammar_token tokens[MAX_TOKENS];
    char text[MAX_TOKENS][12];
    size_t n;
    struct pn_grammar_vocabulary *vocabulary;
};

static void add_word(struct words *w, const char *bytes, size_t n)
{
    memcpy(w->text[w->n], bytes, n);
    w->tokens[w->n] = (struct pn_grammar_token){.bytes = {w->text[w->n], n}, .text = {w->text[w->n], n}};
    w->n++;
}

/* Control tokens, all single bytes, then random pieces of text, some of them half characters. */
static struct words *new_words(uint64_t seed)
{
    static const char *const pieces[] = {"a",    "b",    "c", "ab", "\xC3\xA9", "\"", "\\",
                                         "\xC3", "\xA9", "z", "(",  ")",        "\\n"};
    struct words *w = calloc(1, sizeof *w);
    struct pn_rng rng = {seed};
    static const char *const control[] = {"<end>", "<eot>", "<think>", ""};
    for (int i = 0; i < FIRST; i++) {
        w->tokens[w->n] = (struct pn_grammar_token){.text = {control[i], strlen(control[i])}};
        w->tokens[w->n].ends = i == END || i == OTHER_END;
        w->tokens[w->n++].special = i == CONTROL || i == END;
    }
    for (int byte = 0; byte < 256; byte++)
        add_word(w, &(char){(char)byte}, 1);
    while (w->n < MAX_TOKENS - 1) {
        char text[12];
        size_t n = 0;
        for (uint64_t k = 1 + pn_rng_u64(&rng) % 5; k; k--) {
            const char *piece = pieces[pn_rng_u64(&rng) % 13];
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        add_word(w, text, n);
    }
    add_word(w, "ab", 2); /* duplicates are all allowed */
    assert_int_equal(pn_grammar_vocabulary_new(w->tokens, w->n, &w->vocabulary, NULL), PANTRY_OK);
    return w;
}

static void free_words(struct words *w)
{
    pn_grammar_vocabulary_free(w->vocabulary);
    free(w);
}

static struct pn_grammar *from_gbnf(const char *text)
{
    struct pn_expr_builder *b;
    struct pn_grammar *g = NULL;
    struct pantry_error err;
    pn_expr root;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    if (pn_gbnf_parse(b, text, strlen(text), &root, &err) || pn_grammar_compile(b, root, &g, &err))
        fail_msg("%s: %s", text, err.text);
    pn_expr_builder_free(b);
    return g;
}

static bool in_mask(const struct pn_mask *mask, size_t id)
{
    return mask->bits[id / 64] >> id % 64 & 1;
}

static struct pn_mask mask_of(struct pn_matcher *m)
{
    struct pn_mask mask;
    struct pantry_error err;
    size_t n = 0;
    if (pn_matcher_mask(m, &mask, &err))
        fail_msg("%s", err.text);
    for (size_t w = 0; w < mask.n_words; w++)
        n += (size_t)__builtin_popcountll(mask.bits[w]);
    assert_int_equal(n, mask.n_allowed);
    assert_true((mask.ids != NULL) == (n <= PN_MASK_FEW));
    for (size_t i = 0; mask.ids && i < n; i++)
        assert_true(in_mask(&mask, (size_t)mask.ids[i]) && (i == 0 || mask.ids[i - 1] < mask.ids[i]));
    return mask;
}

/* Compares the mask with steps over the bytes of each token in another collection of sets. */
static void check_mask(const struct words *w, struct pn_matcher *m, struct pn_sets *sets, uint32_t set)
{
    struct pn_mask mask = mask_of(m);
    bool accepts = sets->sets.data[set].accepts;
    assert_int_equal(pn_matcher_can_end(m), accepts);
    for (size_t id = 0; id < w->n; id++) {
        uint32_t to = id < FIRST ? PN_SET_DEAD : set;
        bool allowed, wanted;
        for (size_t i = 0; i < w->tokens[id].bytes.len && to != PN_SET_DEAD; i++)
            to = pn_sets_step(sets, to, (unsigned char)w->tokens[id].bytes.data[i]);
        wanted = w->tokens[id].ends ? accepts : to != PN_SET_DEAD;
        assert_int_equal(pn_matcher_allows(m, (int32_t)id, &allowed, NULL), PANTRY_OK);
        if (in_mask(&mask, id) != wanted || allowed != wanted)
            fail_msg("token %zu: mask %d, allows %d, expected %d", id, in_mask(&mask, id), allowed, wanted);
    }
}

static int32_t draw_allowed(const struct pn_mask *mask, struct pn_rng *rng)
{
    size_t pick = pn_rng_u64(rng) % mask->n_allowed;
    for (size_t id = 0;; id++)
        if (in_mask(mask, id) && pick-- == 0)
            return (int32_t)id;
}

/* Walks at random through a grammar, comparing every mask; goes back now and then. */
static void walk(const struct words *w, struct pn_grammar *g, struct pn_rng *rng, int n_steps)
{
    struct pn_matcher *m, *copy;
    struct pn_sets sets;
    uint32_t history[64] = {PN_SET_START};
    int at = 0;
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    assert_int_equal(pn_sets_init(&sets, g, false, NULL), PANTRY_OK);
    for (int i = 0; i < n_steps; i++) {
        sets.work = 100000000;
        check_mask(w, m, &sets, history[at]);
        struct pn_mask mask = mask_of(m);
        int32_t id = mask.n_allowed ? draw_allowed(&mask, rng) : END;
        if (id == END || id == OTHER_END || at == 63) {
            int n = at ? 1 + (int)(pn_rng_u64(rng) % (uint64_t)at) : 0;
            assert_int_equal(pn_matcher_rollback(m, (size_t)n, NULL), PANTRY_OK);
            at -= n;
            continue;
        }
        history[at + 1] = history[at];
        for (size_t k = 0; k < w->tokens[id].bytes.len; k++)
            history[at + 1] = pn_sets_step(&sets, history[at + 1], (unsigned char)w->tokens[id].bytes.data[k]);
        assert_int_equal(pn_matcher_accept(m, id, NULL), PANTRY_OK);
        assert_int_equal(pn_matcher_n_steps(m), ++at);
        if (i % 8 == 3) { /* the copy goes on, the original is gone */
            assert_int_equal(pn_matcher_clone(m, &copy, NULL), PANTRY_OK);
            pn_matcher_free(m);
            m = copy;
        }
    }
    pn_matcher_free(m);
    pn_sets_free(&sets);
}

static void masks_equal_steps(void **state)
{
    (void)state;
    struct words *w = new_words(7);
    int n = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct pn_rng rng = {seed};
        struct pn_expr_builder *b;
        struct pn_grammar *g;
        assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
        pn_expr root = random_grammar(b, &rng, 1 + (int)(seed % 3));
        if (pn_grammar_compile(b, root, &g, NULL) == PANTRY_OK) {
            walk(w, g, &rng, 10);
            pn_grammar_free(g);
            n++;
        }
        pn_expr_builder_free(b);
    }
    assert_true(n > 200);
    free_words(w);
}

static void counted(void **state)
{
    (void)state;
    struct words *w = new_words(8);
    static const char *const grammars[] = {
        "root ::= \"\\\"\" [^\"\\\\]{5,300} \"\\\"\" tail{3,}\ntail ::= \"(\" [a-c]{0,400} \")\" | \"z\"{300}",
        "root ::= ([a-b]{2} \"c\" | \"z\"){100,130} (\"a\" | root)*", "root ::= (\"a\"? [b-c]*){257,258} \"z\""};
    for (size_t i = 0; i < 3; i++) {
        struct pn_rng rng = {i};
        struct pn_grammar *g = from_gbnf(grammars[i]);
        walk(w, g, &rng, 60);
        pn_grammar_free(g);
    }
    /* near each bound of the count, by single bytes */
    struct pn_grammar *g = from_gbnf("root ::= \"(\" [ab]{20,300} \")\"");
    struct pn_matcher *m;
    struct pn_sets sets;
    uint32_t set = PN_SET_START;
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    assert_int_equal(pn_sets_init(&sets, g, false, NULL), PANTRY_OK);
    for (int i = 0; i <= 300; i++) {
        char byte = i ? 'a' : '(';
        sets.work = 1000000;
        set = pn_sets_step(&sets, set, (unsigned char)byte);
        assert_int_equal(pn_matcher_accept_text(m, &byte, 1, NULL), PANTRY_OK);
        check_mask(w, m, &sets, set);
    }
    pn_sets_free(&sets);
    pn_matcher_free(m);
    pn_grammar_free(g);
    free_words(w);
}

/* Grammars of one vocabulary share the masks of parts that are alike; these are so nearly. */
static void alike_but_for_a_bound(void **state)
{
    (void)state;
    struct words *w = new_words(9);
    static const char *const inside[] = {"[^\"\\\\]", "[^\"]", "( [a-c] | \"(\" | \"\\\"\" [a-c] )", "(\"a\" tail)"};
    int n = 0;
    for (int i = 0; i < 4; i++)
        for (int least = 0; least < 4; least++)
            for (int most = 3; most < 14; most++) {
                char text[256];
                struct pn_rng rng = {(uint64_t)n++};
                snprintf(text, sizeof text,
                         "root ::= \"\\\"\" %s{%d,%d} \"\\\"\" tail{%d}\ntail ::= \"(\" [a-c]{%d,} \")\"", inside[i],
                         least, most, most % 2, least);
                struct pn_grammar *g = from_gbnf(text);
                walk(w, g, &rng, 30);
                pn_grammar_free(g);
            }
    free_words(w);
}

static void ends(void **state)
{
    (void)state;
    struct words *w = new_words(9);
    struct pn_grammar *g = from_gbnf("root ::= \"ab\"+");
    struct pn_matcher *m;
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_accept(m, END, NULL), PANTRY_INVALID);
    assert_false(pn_matcher_can_end(m));
    assert_int_equal(pn_matcher_accept_text(m, "ab", 2, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_accept_text(m, "b", 1, NULL), PANTRY_INVALID);
    assert_true(pn_matcher_can_end(m) && !pn_matcher_is_finished(m));
    assert_int_equal(pn_matcher_accept(m, OTHER_END, NULL), PANTRY_OK);
    assert_true(pn_matcher_can_end(m) && pn_matcher_is_finished(m));
    struct pn_mask mask = mask_of(m);
    assert_int_equal(mask.n_allowed, 2);
    assert_int_equal(pn_matcher_accept(m, FIRST + 'a', NULL), PANTRY_INVALID);
    assert_int_equal(pn_matcher_accept(m, END, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_rollback(m, 2, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_accept(m, FIRST + 'a', NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_rollback(m, 3, NULL), PANTRY_INVALID);
    assert_int_equal(pn_matcher_accept(m, (int32_t)w->n, NULL), PANTRY_INVALID);
    assert_int_equal(pn_matcher_accept(m, -1, NULL), PANTRY_INVALID);
    pn_matcher_free(m);
    pn_grammar_free(g);
    g = from_gbnf("root ::= \"a\" | \"b\" \"c\"?");
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_accept_text(m, "a", 1, NULL), PANTRY_OK);
    assert_true(pn_matcher_is_finished(m)); /* nothing can follow */
    pn_matcher_free(m);
    pn_grammar_free(g);
    free_words(w);
}

static void forced_text(void **state)
{
    (void)state;
    struct words *w = new_words(10);
    struct pn_grammar *g = from_gbnf("root ::= \"{\\\"name\\\": \" (\"true\" | \"tree\") \"}\"");
    struct pn_matcher *m;
    struct pn_buf out = {0};
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_forced(m, 100, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, "{\"name\": tr");
    assert_int_equal(pn_matcher_n_steps(m), 0);
    pn_buf_clear(&out);
    assert_int_equal(pn_matcher_forced(m, 3, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, "{\"n");
    assert_int_equal(pn_matcher_accept_text(m, "{\"name\": tru", 12, NULL), PANTRY_OK);
    pn_buf_clear(&out);
    assert_int_equal(pn_matcher_forced(m, 100, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, "e}");
    pn_buf_free(&out);
    pn_matcher_free(m);
    pn_grammar_free(g);
    free_words(w);
}

static void tokens_of_the_grammar(void **state)
{
    (void)state;
    struct words *w = new_words(11);
    struct pn_grammar *g = from_gbnf("root ::= <think> !<[101]>{2} (<[0]> | \"x\" <[103]> | \"xc\")");
    struct pn_matcher *m;
    struct pantry_error err;
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    struct pn_mask mask = mask_of(m);
    assert_int_equal(mask.n_allowed, 1); /* not the bytes of its spelling */
    assert_int_equal(mask.ids[0], CONTROL);
    assert_int_equal(pn_matcher_accept(m, CONTROL, NULL), PANTRY_OK);
    mask = mask_of(m);
    assert_int_equal(mask.n_allowed, w->n - 4); /* no control token, nor 101; the empty one is a token */
    assert_false(in_mask(&mask, 101) || in_mask(&mask, CONTROL) || in_mask(&mask, END) || in_mask(&mask, OTHER_END));
    assert_int_equal(pn_matcher_accept(m, EMPTY, NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_accept(m, 101, NULL), PANTRY_INVALID);
    assert_int_equal(pn_matcher_accept(m, 102, NULL), PANTRY_OK);
    mask = mask_of(m);
    assert_true(in_mask(&mask, END) && in_mask(&mask, FIRST + 'x') && mask.n_allowed >= 2);
    assert_int_equal(pn_matcher_accept(m, FIRST + 'x', NULL), PANTRY_OK);
    mask = mask_of(m);
    assert_int_equal(FIRST + 'c', 103); /* as a token and as a text */
    assert_true(in_mask(&mask, 103));
    assert_int_equal(pn_matcher_accept(m, 103, NULL), PANTRY_OK);
    assert_true(pn_matcher_is_finished(m));
    pn_matcher_free(m);
    pn_grammar_free(g);
    g = from_gbnf("root ::= <none>");
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "<none>"));
    assert_null(m);
    pn_grammar_free(g);
    g = from_gbnf("root ::= <[5000]>");
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, &err), PANTRY_NOT_FOUND);
    pn_grammar_free(g);
    free_words(w);
}

/* More states than are kept: a long text goes on, one that nests as deeply is refused. */
static void bounded_memory(void **state)
{
    (void)state;
    struct words *w = new_words(12);
    struct pn_grammar *g = from_gbnf("root ::= [a-c]{0,1000000}");
    struct pn_matcher *m;
    struct pantry_error err;
    pantry_status status = PANTRY_OK;
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    for (int i = 0; i < 700000; i++)
        assert_int_equal(pn_matcher_accept(m, FIRST + 'a', NULL), PANTRY_OK);
    assert_int_equal(pn_matcher_rollback(m, PN_MATCHER_HISTORY, NULL), PANTRY_OK);
    assert_true(mask_of(m).n_allowed > 5); /* tokens of several bytes, too */
    for (int i = 0; i < 300000 + PN_MATCHER_HISTORY; i++)
        assert_int_equal(pn_matcher_accept(m, FIRST + 'b', NULL), PANTRY_OK);
    assert_int_equal(mask_of(m).n_allowed, 2);
    assert_true(pn_matcher_is_finished(m));
    pn_matcher_free(m);
    pn_grammar_free(g);
    g = from_gbnf("root ::= \"(\" root \")\" | \"a\"");
    assert_int_equal(pn_matcher_new(g, w->vocabulary, &m, NULL), PANTRY_OK);
    for (int i = 0; !status && i < 2000000; i++)
        status = pn_matcher_accept(m, FIRST + '(', &err);
    assert_int_equal(status, PANTRY_LIMIT);
    assert_true(pn_matcher_n_steps(m) > 100000);
    pn_matcher_free(m);
    pn_grammar_free(g);
    free_words(w);
}

struct job {
    const struct words *w;
    struct pn_grammar *g;
    uint64_t seed, sum;
};

static void *run_job(void *argument)
{
    struct job *job = argument;
    struct pn_rng rng = {job->seed};
    struct pn_matcher *m = NULL;
    for (int i = 0; i < 300; i++) {
        struct pn_mask mask;
        if (!m && pn_matcher_new(job->g, job->w->vocabulary, &m, NULL))
            abort();
        if (pn_matcher_mask(m, &mask, NULL) || !mask.n_allowed)
            abort();
        for (size_t k = 0; k < mask.n_words; k++)
            job->sum = job->sum * 31 + mask.bits[k];
        int32_t id = draw_allowed(&mask, &rng);
        if (pn_matcher_accept(m, id, NULL))
            abort();
        if (pn_matcher_is_finished(m) || i % 50 == 49) {
            pn_matcher_free(m);
            m = NULL;
        }
    }
    pn_matcher_free(m);
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    enum { N_JOBS = 4 };
    uint64_t sums[2][N_JOBS];
    for (int together = 0; together < 2; together++) {
        struct words *w = new_words(13);
        struct pn_grammar *g = from_gbnf("root ::= \"(\" item{2,300} \")\"\nitem ::= root | [a-c\xC3\xA9]{1,50} \"z\"");
        struct job jobs[N_JOBS];
        pthread_t thread[N_JOBS];
        for (int i = 0; i < N_JOBS; i++) {
            jobs[i] = (struct job){w, g, (uint64_t)i, 0};
            if (together)
                assert_int_equal(pn_thread_start(&thread[i], run_job, &jobs[i]), 0);
            else
                run_job(&jobs[i]);
        }
        for (int i = 0; i < N_JOBS; i++) {
            if (together)
                pthread_join(thread[i], NULL);
            sums[together][i] = jobs[i].sum;
        }
        pn_grammar_free(g);
        free_words(w);
    }
    assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_equal_steps),     cmocka_unit_test(counted),
        cmocka_unit_test(alike_but_for_a_bound), cmocka_unit_test(ends),
        cmocka_unit_test(forced_text),           cmocka_unit_test(tokens_of_the_grammar),
        cmocka_unit_test(bounded_memory),        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
