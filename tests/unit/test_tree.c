/* The prefix tree against a plain simulation: what a page holds is written down whenever one is filled, so that a wrong
 * page, one that was freed early or one that leaked shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/tree.h"

enum { MAX_PAGES = 96, MAX_TOKENS = 160, MAX_STATES = 24, MAX_RUNNING = 6, MAX_INSERTED = 512 };
enum { PAGES_OF = (MAX_TOKENS + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS };

/* What keys and values depend on: the caller's key and all tokens up to here. */
struct content {
    char key;
    int n;
    int32_t ids[MAX_TOKENS];
};

static struct {
    int n_pages, refs[MAX_PAGES];
    struct content pages[MAX_PAGES];
    bool state_used[MAX_STATES];
    struct content states[MAX_STATES];
} pool;

static void retain(void *user, int32_t page)
{
    (void)user;
    assert_true(page >= 0 && page < pool.n_pages && pool.refs[page] > 0);
    pool.refs[page]++;
}

static void release(void *user, int32_t page)
{
    (void)user;
    assert_true(page >= 0 && page < pool.n_pages && pool.refs[page] > 0);
    pool.refs[page]--;
}

static bool unshared(void *user, int32_t page)
{
    (void)user;
    return pool.refs[page] == 1;
}

static void release_state(void *user, int32_t state)
{
    (void)user;
    assert_true(pool.state_used[state]);
    pool.state_used[state] = false;
}

static struct pn_tree *tree_new(bool recurrent, int n_pages)
{
    struct pn_tree_memory memory = {.retain = retain,
                                    .release = release,
                                    .unshared = unshared,
                                    .release_state = release_state,
                                    .recurrent = recurrent};
    struct pn_tree *tree;
    struct pn_error err;
    memset(&pool, 0, sizeof pool);
    pool.n_pages = n_pages;
    assert_int_equal(pn_tree_new(&memory, &tree, &err), PN_OK);
    return tree;
}

static int32_t page_new(struct pn_tree *tree)
{
    do
        for (int32_t i = 0; i < pool.n_pages; i++)
            if (!pool.refs[i]) {
                pool.refs[i] = 1;
                pool.pages[i].n = 0;
                return i;
            }
    while (pn_tree_evict(tree) || pn_tree_evict_state(tree));
    return -1;
}

static int32_t state_new(struct pn_tree *tree)
{
    do
        for (int32_t i = 0; i < MAX_STATES; i++)
            if (!pool.state_used[i]) {
                pool.state_used[i] = true;
                return i;
            }
    while (pn_tree_evict_state(tree));
    return -1;
}

/* ---- a running sequence ---- */

struct sequence {
    bool running;
    char key[2];
    int n, want; /* tokens with keys and values; tokens in all */
    int n_pages;
    int32_t ids[MAX_TOKENS], pages[PAGES_OF];
};

/* A page that others read too only gains tokens. */
static void write_content(struct content *c, const struct sequence *s, int n)
{
    c->key = s->key[0];
    c->n = n;
    memcpy(c->ids, s->ids, (size_t)n * sizeof *s->ids);
}

/* The page must hold the tokens of `s` up to `n` (and may hold others after them). */
static void check_content(const struct content *c, const struct sequence *s, int n)
{
    assert_int_equal(c->key, s->key[0]);
    assert_true(c->n >= n);
    assert_memory_equal(c->ids, s->ids, (size_t)n * sizeof *s->ids);
}

static void check_pages(const struct sequence *s)
{
    for (int i = 0; i < s->n_pages; i++) {
        int end = (i + 1) * PN_PAGE_TOKENS < s->n ? (i + 1) * PN_PAGE_TOKENS : s->n;
        assert_true(pool.refs[s->pages[i]] > 0);
        check_content(&pool.pages[s->pages[i]], s, end);
    }
}

static void end(struct sequence *s)
{
    for (int i = 0; i < s->n_pages; i++)
        release(NULL, s->pages[i]);
    s->running = false;
    s->n_pages = 0;
}

/* Takes what the tree has of the sequence; what it has is checked against what was written down. */
static void start(struct pn_tree *tree, struct sequence *s, bool recurrent)
{
    struct pn_tree_match m;
    int found = pn_tree_find(tree, s->key, s->ids, s->want - 1);
    pn_tree_match(tree, s->key, s->ids, s->want - 1, s->pages, &m);
    assert_int_equal(m.n_tokens, found);
    assert_true(m.n_tokens < s->want);
    assert_int_equal(m.n_pages, m.n_tokens / PN_PAGE_TOKENS);
    assert_int_equal(m.copy >= 0, m.n_tokens % PN_PAGE_TOKENS != 0);
    assert_int_equal(m.state >= 0, recurrent && m.n_tokens > 0);
    s->running = true;
    s->n = m.n_tokens;
    s->n_pages = m.n_pages;
    if (m.state >= 0) {
        assert_true(pool.state_used[m.state]);
        assert_int_equal(pool.states[m.state].n, s->n);
        check_content(&pool.states[m.state], s, s->n);
    }
    if (m.copy >= 0) {
        check_content(&pool.pages[m.copy], s, s->n);
        int32_t copy = page_new(tree);
        if (copy >= 0) {
            write_content(&pool.pages[copy], s, s->n);
            s->pages[s->n_pages++] = copy;
        } else {
            s->n = s->n_pages * PN_PAGE_TOKENS;
        }
        release(NULL, m.copy);
    }
    check_pages(s);
}

/* Runs up to `n` more tokens; false where no page is left. */
static bool step(struct pn_tree *tree, struct sequence *s, int n)
{
    for (; n > 0 && s->n < s->want; n--) {
        if (s->n == s->n_pages * PN_PAGE_TOKENS) {
            int32_t page = page_new(tree);
            if (page < 0)
                return false;
            s->pages[s->n_pages++] = page;
        }
        s->n++;
        write_content(&pool.pages[s->pages[s->n_pages - 1]], s, s->n);
    }
    return true;
}

static void keep(struct pn_tree *tree, struct sequence *s, bool recurrent)
{
    struct pn_error err;
    int32_t state = recurrent ? state_new(tree) : -1;
    if (state >= 0)
        write_content(&pool.states[state], s, s->n);
    assert_int_equal(pn_tree_insert(tree, s->key, s->ids, s->n, s->pages, state, &err), PN_OK);
}

/* ---- random schedules ---- */

static uint32_t next(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* Sequences that share beginnings of every length. */
static void make_ids(uint32_t *seed, struct sequence *s)
{
    int shared = (int)next(seed, MAX_TOKENS);
    uint32_t family = next(seed, 3), own = next(seed, 5);
    s->want = 2 + (int)next(seed, MAX_TOKENS - 2);
    s->key[0] = "ab"[next(seed, 2)];
    s->key[1] = '\0';
    for (int i = 0; i < s->want; i++)
        s->ids[i] = (int32_t)(i < shared ? family : 10 + own);
}

/* No page or state leaks, none is freed early, nobody sees what another key or another beginning made. */
static void random_schedule(uint32_t seed)
{
    bool recurrent = seed % 2;
    struct pn_tree *tree = tree_new(recurrent, 12 + (int)(seed % 7) * 14);
    static struct sequence all[MAX_RUNNING];
    memset(all, 0, sizeof all);
    for (int i = 0; i < 120; i++) {
        struct sequence *s = &all[next(&seed, MAX_RUNNING)];
        if (!s->running) {
            make_ids(&seed, s);
            start(tree, s, recurrent);
            continue;
        }
        check_pages(s);
        bool out = !step(tree, s, 1 + (int)next(&seed, 60));
        if (s->n && !out && next(&seed, 3) == 0) /* while it goes on writing the rest of its last page */
            keep(tree, s, recurrent);
        if (s->n == s->want || out || next(&seed, 8) == 0) { /* done, no memory, cancelled */
            if (s->n && !out)
                keep(tree, s, recurrent);
            end(s);
        }
    }
    for (int i = 0; i < MAX_RUNNING; i++)
        end(&all[i]);
    int held = 0, states = 0;
    for (int i = 0; i < pool.n_pages; i++)
        held += pool.refs[i];
    for (int i = 0; i < MAX_STATES; i++)
        states += pool.state_used[i];
    assert_int_equal(held, pn_tree_n_pages(tree)); /* the tree holds each page once */
    assert_int_equal(states, pn_tree_n_states(tree));
    while (pn_tree_evict(tree) || pn_tree_evict_state(tree)) /* and gives all of them back */
        ;
    assert_int_equal(pn_tree_n_pages(tree), 0);
    assert_int_equal(pn_tree_n_states(tree), 0);
    for (int i = 0; i < pool.n_pages; i++)
        assert_int_equal(pool.refs[i], 0);
    pn_tree_free(tree);
}

static void random_schedules_leak_nothing(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 1000; seed++)
        random_schedule(seed);
}

/* While nothing is forgotten, the longest common beginning with anything inserted is found. */
static void longest_prefixes_are_found(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        bool recurrent = round % 2;
        uint32_t seed = 77 + round;
        struct pn_tree *tree = tree_new(recurrent, MAX_PAGES);
        static struct content inserted[MAX_INSERTED];
        int n_inserted = 0;
        for (int i = 0; i < 12; i++) {
            struct sequence s = {0};
            make_ids(&seed, &s);
            int best = 0;
            for (int k = 0; k < n_inserted; k++) {
                int n = 0;
                while (n < inserted[k].n && n < s.want - 1 && inserted[k].ids[n] == s.ids[n])
                    n++;
                if (inserted[k].key == s.key[0] && n > best && (!recurrent || n == inserted[k].n))
                    best = n;
            }
            assert_int_equal(pn_tree_find(tree, s.key, s.ids, s.want - 1), best);
            start(tree, &s, recurrent);
            assert_int_equal(s.n, best);
            assert_true(step(tree, &s, s.want));
            keep(tree, &s, recurrent);
            write_content(&inserted[n_inserted++], &s, s.n);
            end(&s);
        }
        pn_tree_free(tree);
        for (int i = 0; i < pool.n_pages; i++)
            assert_int_equal(pool.refs[i], 0);
    }
}

static void insert(struct pn_tree *tree, int first, int n, bool recurrent)
{
    struct sequence s = {.key = "a", .want = n};
    for (int i = 0; i < n; i++)
        s.ids[i] = i == 0 ? first : i;
    assert_true(step(tree, &s, n));
    keep(tree, &s, recurrent);
    end(&s);
}

static int known(struct pn_tree *tree, int first, int n)
{
    int32_t ids[MAX_TOKENS];
    for (int i = 0; i < n; i++)
        ids[i] = i == 0 ? first : i;
    return pn_tree_find(tree, "a", ids, n);
}

/* The leaf used least recently goes first, and one that somebody else holds does not go at all. */
static void least_recent_leaves_go_first(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(false, MAX_PAGES);
    struct pn_tree_match m;
    int32_t ids[40], pages[2];
    insert(tree, 1, 64, false);
    insert(tree, 2, 40, false);
    insert(tree, 3, 32, false);
    for (int i = 0; i < 40; i++)
        ids[i] = i == 0 ? 1 : i;
    pn_tree_match(tree, "a", ids, 32, pages, &m); /* uses the first page of the first sequence, and holds it */
    assert_int_equal(m.n_tokens, 32);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 1, 64), 32); /* its second page was the oldest leaf */
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 2, 40), 32);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 2, 40), 0);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 3, 32), 0);
    assert_false(pn_tree_evict(tree)); /* the held page stays */
    assert_int_equal(known(tree, 1, 64), 32);
    release(NULL, pages[0]);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 1, 64), 0);
    pn_tree_free(tree);
}

/* Finding a sequence, and remembering it again, count as use. */
static void use_keeps_a_sequence(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(false, MAX_PAGES);
    struct pn_tree_match m;
    int32_t pages[1], ids[33] = {1};
    for (int i = 1; i < 33; i++)
        ids[i] = i;
    for (int first = 1; first <= 3; first++)
        insert(tree, first, 32, false);
    pn_tree_match(tree, "a", ids, 32, pages, &m);
    release(NULL, pages[0]);
    insert(tree, 2, 32, false);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 3, 32), 0);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 1, 32), 0);
    assert_int_equal(known(tree, 2, 32), 32);
    pn_tree_free(tree);
}

/* A state that goes takes the pages along that lead to no other state. */
static void pages_without_states_go_too(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(true, MAX_PAGES);
    insert(tree, 1, 64, true);
    insert(tree, 1, 100, true);
    assert_int_equal(pn_tree_n_pages(tree), 4);
    assert_int_equal(known(tree, 1, 160), 100);
    assert_int_equal(known(tree, 1, 99), 64);
    assert_true(pn_tree_evict_state(tree)); /* of the longer one: parents count as used after their children */
    assert_int_equal(pn_tree_n_pages(tree), 2);
    assert_int_equal(known(tree, 1, 160), 64);
    assert_true(pn_tree_evict_state(tree));
    assert_int_equal(pn_tree_n_pages(tree), 0);
    assert_false(pn_tree_evict_state(tree));
    pn_tree_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_leak_nothing), cmocka_unit_test(longest_prefixes_are_found),
        cmocka_unit_test(least_recent_leaves_go_first),  cmocka_unit_test(use_keeps_a_sequence),
        cmocka_unit_test(pages_without_states_go_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
