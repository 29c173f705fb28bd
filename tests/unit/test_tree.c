/* The prefix tree against a simple simulation that records the contents of every page, so that a wrong page, one freed
 * early or one that leaked is noticed. */
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
enum { WINDOW = 40, MAX_WINDOW_PAGES = 96 };
enum { PAGES_OF = (MAX_TOKENS + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS };

/* Contents of keys and values: the caller's key and all tokens up to here. */
struct content {
    char key;
    int n;
    int32_t ids[MAX_TOKENS];
};

/* What sequences resume from: any page; recurrent states; window pages, which states reference. */
enum mode { PLAIN, RECURRENT, WINDOWS, N_MODES };

static struct {
    int n_pages, refs[MAX_PAGES];
    struct content pages[MAX_PAGES];
    int window_refs[MAX_WINDOW_PAGES];
    struct content window_pages[MAX_WINDOW_PAGES];
    bool state_used[MAX_STATES];
    struct content states[MAX_STATES];
    int state_first[MAX_STATES], state_pages[MAX_STATES][PAGES_OF]; /* of windows */
} pool;

/* The first page that a sequence of n tokens keeps: everything the next one sees, and one page more. */
static int window_first(int n)
{
    int first = (n - WINDOW + 1) / PN_PAGE_TOKENS - 1;
    return n < WINDOW || first < 0 ? 0 : first;
}

static void window_release(int page)
{
    assert_true(pool.window_refs[page] > 0);
    pool.window_refs[page]--;
}

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
    for (int i = pool.state_first[state]; i * PN_PAGE_TOKENS < pool.states[state].n; i++)
        window_release(pool.state_pages[state][i]);
}

static int back(void *user, int32_t state)
{
    (void)user;
    int first = pool.state_first[state], least = first ? first * PN_PAGE_TOKENS + WINDOW - 1 : 0;
    return pool.states[state].n - least;
}

static struct pn_tree *tree_new(enum mode mode, int n_pages)
{
    struct pn_tree_memory memory = {.retain = retain,
                                    .release = release,
                                    .unshared = unshared,
                                    .release_state = release_state,
                                    .back = mode == WINDOWS ? back : NULL,
                                    .stateful = mode != PLAIN};
    struct pn_tree *tree;
    struct pantry_error err;
    memset(&pool, 0, sizeof pool);
    pool.n_pages = n_pages;
    assert_int_equal(pn_tree_new(&memory, &tree, &err), PANTRY_OK);
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
                pool.states[i].n = pool.state_first[i] = 0;
                return i;
            }
    while (pn_tree_evict_state(tree));
    return -1;
}

static int window_page_new(struct pn_tree *tree)
{
    do
        for (int i = 0; i < MAX_WINDOW_PAGES; i++)
            if (!pool.window_refs[i]) {
                pool.window_refs[i] = 1;
                pool.window_pages[i].n = 0;
                return i;
            }
    while (pn_tree_evict_state(tree));
    fail_msg("no window page is left: the running sequences need less");
    return -1;
}

/* ---- a running sequence ---- */

struct sequence {
    bool running;
    char key[2];
    int n, want; /* tokens with keys and values; all tokens */
    int n_pages;
    int32_t ids[MAX_TOKENS], pages[PAGES_OF];
    int first, window[PAGES_OF]; /* pages of the window, from the first kept one on */
};

/* A shared page may only gain tokens. */
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

static void check_pages(const struct sequence *s, enum mode mode)
{
    for (int i = 0; i < s->n_pages; i++) {
        int end = (i + 1) * PN_PAGE_TOKENS < s->n ? (i + 1) * PN_PAGE_TOKENS : s->n;
        assert_true(pool.refs[s->pages[i]] > 0);
        check_content(&pool.pages[s->pages[i]], s, end);
        if (mode == WINDOWS && i >= s->first) {
            assert_true(pool.window_refs[s->window[i]] > 0);
            check_content(&pool.window_pages[s->window[i]], s, end);
        }
    }
    assert_true(mode != WINDOWS || s->n < WINDOW ? s->first == 0 : s->first * PN_PAGE_TOKENS <= s->n - WINDOW + 1);
}

static void end(struct sequence *s, enum mode mode)
{
    for (int i = 0; i < s->n_pages; i++)
        release(NULL, s->pages[i]);
    for (int i = s->first; mode == WINDOWS && i < s->n_pages; i++)
        window_release(s->window[i]);
    s->first = 0;
    s->running = false;
    s->n_pages = 0;
}

/* Shares the window pages of a state, and copies the one that is not full. */
static void take_window(struct pn_tree *tree, struct sequence *s, int32_t state)
{
    const struct content *at = &pool.states[state];
    int first = window_first(s->n), had = pool.state_first[state], whole = s->n / PN_PAGE_TOKENS;
    assert_true(pool.state_used[state] && at->n >= s->n && at->n - back(NULL, state) <= s->n);
    check_content(at, s, s->n);
    s->first = first > had ? first : had;
    for (int i = s->first; i * PN_PAGE_TOKENS < s->n; i++) {
        s->window[i] = pool.state_pages[state][i];
        pool.window_refs[s->window[i]]++;
    }
    if (s->n % PN_PAGE_TOKENS) {
        int copy = window_page_new(tree);
        check_content(&pool.window_pages[s->window[whole]], s, s->n);
        write_content(&pool.window_pages[copy], s, s->n);
        window_release(s->window[whole]);
        s->window[whole] = copy;
    }
}

/* No page is left for a copy: takes only whole pages, or nothing. */
static void start_short(struct sequence *s, enum mode mode)
{
    int n = s->n_pages * PN_PAGE_TOKENS;
    if (mode == WINDOWS)
        window_release(s->window[s->n_pages]);
    if (mode == WINDOWS && s->first && s->first * PN_PAGE_TOKENS > n - WINDOW + 1) {
        end(s, mode);
        n = 0;
    }
    s->running = true;
    s->n = n;
}

/* Takes the sequence's prefix from the tree and checks it against the records. */
static void start(struct pn_tree *tree, struct sequence *s, enum mode mode)
{
    struct pn_tree_match m;
    int found = pn_tree_find(tree, s->key, s->ids, s->want - 1);
    pn_tree_match(tree, s->key, s->ids, s->want - 1, s->pages, &m);
    assert_int_equal(m.n_tokens, found);
    assert_true(m.n_tokens < s->want && m.n_known >= m.n_tokens);
    assert_int_equal(m.n_pages, m.n_tokens / PN_PAGE_TOKENS);
    assert_int_equal(m.copy >= 0, m.n_tokens % PN_PAGE_TOKENS != 0);
    assert_int_equal(m.state >= 0, mode != PLAIN && m.n_tokens > 0);
    s->running = true;
    s->n = m.n_tokens;
    s->n_pages = m.n_pages;
    s->first = 0;
    if (m.state >= 0 && mode == RECURRENT) {
        assert_true(pool.state_used[m.state]);
        assert_int_equal(pool.states[m.state].n, s->n);
        check_content(&pool.states[m.state], s, s->n);
    } else if (m.state >= 0) {
        take_window(tree, s, m.state);
    }
    if (m.copy >= 0) {
        check_content(&pool.pages[m.copy], s, s->n);
        int32_t copy = page_new(tree);
        if (copy >= 0) {
            write_content(&pool.pages[copy], s, s->n);
            s->pages[s->n_pages++] = copy;
        } else {
            start_short(s, mode);
        }
        release(NULL, m.copy);
    }
    check_pages(s, mode);
}

/* Runs up to `n` more tokens; false if no page is left. */
static bool step(struct pn_tree *tree, struct sequence *s, int n, enum mode mode)
{
    for (; n > 0 && s->n < s->want; n--) {
        if (s->n == s->n_pages * PN_PAGE_TOKENS) {
            int32_t page = page_new(tree);
            if (page < 0)
                return false;
            if (mode == WINDOWS)
                s->window[s->n_pages] = window_page_new(tree);
            s->pages[s->n_pages++] = page;
        }
        s->n++;
        write_content(&pool.pages[s->pages[s->n_pages - 1]], s, s->n);
        if (mode == WINDOWS)
            write_content(&pool.window_pages[s->window[s->n_pages - 1]], s, s->n);
    }
    for (; mode == WINDOWS && s->first < window_first(s->n); s->first++)
        window_release(s->window[s->first]);
    return true;
}

/* Returns the state; -1: none, or the tree had one already. */
static int32_t keep(struct pn_tree *tree, struct sequence *s, enum mode mode)
{
    struct pantry_error err;
    int32_t state = mode != PLAIN ? state_new(tree) : -1;
    if (state >= 0) {
        write_content(&pool.states[state], s, s->n);
        pool.state_first[state] = mode == WINDOWS ? s->first : PAGES_OF;
        for (int i = s->first; mode == WINDOWS && i < s->n_pages; i++) {
            pool.state_pages[state][i] = s->window[i];
            pool.window_refs[s->window[i]]++;
        }
    }
    assert_int_equal(pn_tree_insert(tree, s->key, s->ids, s->n, s->pages, state, &err), PANTRY_OK);
    return state >= 0 && pool.state_used[state] ? state : -1;
}

/* ---- random schedules ---- */

static uint32_t next(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* Sequences with common prefixes of every length. */
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

/* No page or state leaks or is freed early, and no sequence sees pages of another key or prefix. */
static void random_schedule(uint32_t seed)
{
    enum mode mode = (enum mode)(seed % N_MODES);
    struct pn_tree *tree = tree_new(mode, 12 + (int)(seed % 7) * 14);
    static struct sequence all[MAX_RUNNING];
    memset(all, 0, sizeof all);
    for (int i = 0; i < 120; i++) {
        struct sequence *s = &all[next(&seed, MAX_RUNNING)];
        if (!s->running) {
            make_ids(&seed, s);
            start(tree, s, mode);
            continue;
        }
        check_pages(s, mode);
        bool out = !step(tree, s, 1 + (int)next(&seed, 60), mode);
        if (s->n && !out && next(&seed, 3) == 0) { /* while the sequence fills the rest of its last page */
            int32_t state = keep(tree, s, mode);
            if (state >= 0 && next(&seed, 4) == 0) {
                pn_tree_drop_state(tree, s->key, s->ids, s->n, state);
                assert_false(pool.state_used[state]);
            }
        }
        if (s->n == s->want || out || next(&seed, 8) == 0) { /* done, no memory, cancelled */
            if (s->n && !out)
                keep(tree, s, mode);
            end(s, mode);
        }
    }
    for (int i = 0; i < MAX_RUNNING; i++)
        end(&all[i], mode);
    int held = 0, states = 0;
    for (int i = 0; i < pool.n_pages; i++)
        held += pool.refs[i];
    for (int i = 0; i < MAX_STATES; i++)
        states += pool.state_used[i];
    assert_int_equal(held, pn_tree_n_pages(tree)); /* the tree holds each page once */
    assert_int_equal(states, pn_tree_n_states(tree));
    while (pn_tree_evict(tree) || pn_tree_evict_state(tree)) /* and evicts all of them */
        ;
    assert_int_equal(pn_tree_n_pages(tree), 0);
    assert_int_equal(pn_tree_n_states(tree), 0);
    for (int i = 0; i < pool.n_pages; i++)
        assert_int_equal(pool.refs[i], 0);
    for (int i = 0; i < MAX_WINDOW_PAGES; i++)
        assert_int_equal(pool.window_refs[i], 0);
    pn_tree_free(tree);
}

static void random_schedules_leak_nothing(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 1000; seed++)
        random_schedule(seed);
}

/* Without evictions, the longest common prefix with any inserted sequence is found. */
static void longest_prefixes_are_found(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        enum mode mode = (enum mode)(round % N_MODES);
        uint32_t seed = 77 + round;
        struct pn_tree *tree = tree_new(mode, MAX_PAGES);
        static struct content inserted[MAX_INSERTED];
        static int least[MAX_INSERTED]; /* tokens at which a sequence can resume */
        int n_inserted = 0;
        for (int i = 0; i < 12; i++) {
            struct sequence s = {0};
            make_ids(&seed, &s);
            int best = 0;
            for (int k = 0; k < n_inserted; k++) {
                int n = 0;
                while (n < inserted[k].n && n < s.want - 1 && inserted[k].ids[n] == s.ids[n])
                    n++;
                if (inserted[k].key == s.key[0] && n > best && n >= least[k])
                    best = n;
            }
            assert_int_equal(pn_tree_find(tree, s.key, s.ids, s.want - 1), best);
            start(tree, &s, mode);
            assert_int_equal(s.n, best);
            assert_true(step(tree, &s, s.want, mode));
            keep(tree, &s, mode);
            least[n_inserted] = mode == RECURRENT            ? s.n
                                : mode == WINDOWS && s.first ? s.first * PN_PAGE_TOKENS + WINDOW - 1
                                                             : 0;
            write_content(&inserted[n_inserted++], &s, s.n);
            end(&s, mode);
        }
        pn_tree_free(tree);
        for (int i = 0; i < pool.n_pages; i++)
            assert_int_equal(pool.refs[i], 0);
    }
}

static void insert(struct pn_tree *tree, int first, int n, enum mode mode)
{
    struct sequence s = {.key = "a", .want = n};
    for (int i = 0; i < n; i++)
        s.ids[i] = i == 0 ? first : i;
    assert_true(step(tree, &s, n, mode));
    keep(tree, &s, mode);
    end(&s, mode);
}

static int known(struct pn_tree *tree, int first, int n)
{
    int32_t ids[MAX_TOKENS];
    for (int i = 0; i < n; i++)
        ids[i] = i == 0 ? first : i;
    return pn_tree_find(tree, "a", ids, n);
}

/* The least recently used leaf is evicted first, and one with other references never. */
static void least_recent_leaves_go_first(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(PLAIN, MAX_PAGES);
    struct pn_tree_match m;
    int32_t ids[40], pages[2];
    insert(tree, 1, 64, PLAIN);
    insert(tree, 2, 40, PLAIN);
    insert(tree, 3, 32, PLAIN);
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

/* Matching a sequence and inserting it again count as use. */
static void use_keeps_a_sequence(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(PLAIN, MAX_PAGES);
    struct pn_tree_match m;
    int32_t pages[1], ids[33] = {1};
    for (int i = 1; i < 33; i++)
        ids[i] = i;
    for (int first = 1; first <= 3; first++)
        insert(tree, first, 32, PLAIN);
    pn_tree_match(tree, "a", ids, 32, pages, &m);
    release(NULL, pages[0]);
    insert(tree, 2, 32, PLAIN);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 3, 32), 0);
    assert_true(pn_tree_evict(tree));
    assert_int_equal(known(tree, 1, 32), 0);
    assert_int_equal(known(tree, 2, 32), 32);
    pn_tree_free(tree);
}

/* Evicting a state also drops pages that lead to no other state. */
static void pages_without_states_go_too(void **state)
{
    (void)state;
    struct pn_tree *tree = tree_new(RECURRENT, MAX_PAGES);
    insert(tree, 1, 64, RECURRENT);
    insert(tree, 1, 100, RECURRENT);
    assert_int_equal(pn_tree_n_pages(tree), 4);
    assert_int_equal(known(tree, 1, 160), 100);
    assert_int_equal(known(tree, 1, 99), 64);
    assert_true(pn_tree_evict_state(tree)); /* of the longer sequence: parents count as used after their children */
    assert_int_equal(pn_tree_n_pages(tree), 2);
    assert_int_equal(known(tree, 1, 160), 64);
    assert_true(pn_tree_evict_state(tree));
    assert_int_equal(pn_tree_n_pages(tree), 0);
    assert_false(pn_tree_evict_state(tree));
    pn_tree_free(tree);
}

/* Window states at the ends of a conversation's prompts and answers do not pile up: besides the newest, only the last
 * two stay, and those where conversations fork. */
static void conversations_keep_few_states(void **state)
{
    (void)state;
    static const int ends[] = {20, 64, 70, 96, 130, 150};
    for (int parts_at = 0; parts_at <= 96; parts_at++) {
        struct pn_tree *tree = tree_new(WINDOWS, MAX_PAGES);
        struct pn_tree_memory thin = {.retain = retain,
                                      .release = release,
                                      .unshared = unshared,
                                      .release_state = release_state,
                                      .back = back,
                                      .stateful = true,
                                      .thin = true};
        struct pantry_error err;
        pn_tree_free(tree);
        assert_int_equal(pn_tree_new(&thin, &tree, &err), PANTRY_OK);
        struct sequence a = {.key = "a", .want = MAX_TOKENS}, b = {.key = "a", .want = MAX_TOKENS};
        for (int i = 0; i < MAX_TOKENS; i++) {
            a.ids[i] = i;
            b.ids[i] = i < parts_at ? i : 1000 + i;
        }
        bool kept_fork = false;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            bool fork = ends[i] == parts_at;
            assert_true(step(tree, &a, ends[i] - a.n, WINDOWS));
            keep(tree, &a, WINDOWS);
            if (fork) { /* another conversation continues from here */
                start(tree, &b, WINDOWS);
                assert_int_equal(b.n, parts_at);
                assert_true(step(tree, &b, 40, WINDOWS));
                keep(tree, &b, WINDOWS);
            }
            kept_fork |= fork;
            /* The other conversation has one, and both the fork and the start of its page may have one. */
            assert_true(pn_tree_n_states(tree) <= 3 + 3 * kept_fork);
            assert_int_equal(pn_tree_find(tree, "a", a.ids, MAX_TOKENS), ends[i]);
        }
        for (size_t i = sizeof ends / sizeof *ends - 3; i < sizeof ends / sizeof *ends; i++)
            assert_int_equal(pn_tree_find(tree, "a", a.ids, ends[i]), ends[i]);
        if (kept_fork) {
            assert_int_equal(pn_tree_find(tree, "a", b.ids, MAX_TOKENS), parts_at + 40);
            assert_int_equal(pn_tree_find(tree, "a", a.ids, parts_at), parts_at);
        }
        end(&a, WINDOWS);
        end(&b, WINDOWS);
        pn_tree_free(tree);
        for (int i = 0; i < MAX_WINDOW_PAGES; i++)
            assert_int_equal(pool.window_refs[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_leak_nothing), cmocka_unit_test(longest_prefixes_are_found),
        cmocka_unit_test(least_recent_leaves_go_first),  cmocka_unit_test(use_keeps_a_sequence),
        cmocka_unit_test(pages_without_states_go_too),   cmocka_unit_test(conversations_keep_few_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
