/* Sequences without a model: every token's keys and values, and every state, are a hash of the tokens before it, so
 * that a page or state of another sequence is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/step.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { CONTEXT = 200, PAGE = PN_PAGE_TOKENS, STRIDE = 4096 };

static const struct pn_device_class test_class = {.name = "test",
                                                  .buffer_new = pn_host_buffer_new,
                                                  .buffer_free = pn_host_buffer_free,
                                                  .discard = pn_host_discard,
                                                  .copy = pn_host_copy,
                                                  .fill = pn_host_fill};
static struct pn_device device = {.class = &test_class};
static struct pn_cache_shape shapes[3] = {{.n_head = 1, .dim_k = 4, .dim_v = 4},
                                          {.n_head = 1, .dim_k = 4, .dim_v = 4},
                                          {.n_head = 1, .dim_k = 4, .dim_v = 4}};
static const struct pn_model model = {.caches = shapes, .n_caches = 1};

/* A layer that sees everything, one that sees 40 tokens, and one that sees those since the last multiple of 48. */
enum { WINDOW = 40, CHUNK = 48 };
static struct pn_node layers[] = {
    {.op = PN_OP_ATTENTION, .attn = {.cache = 0, .causal = true}},
    {.op = PN_OP_ATTENTION, .attn = {.cache = 1, .causal = true, .window = WINDOW}},
    {.op = PN_OP_ATTENTION, .attn = {.cache = 2, .causal = true, .window = CHUNK, .window_kind = PN_WINDOW_CHUNKED}}};
static const struct pn_model windowed = {.caches = shapes, .n_caches = 3, .graph = {.data = layers, .len = 3}};

/* The first token that the next one sees, in each layer. */
static int first_seen(int layer, int n)
{
    return layer == 2 ? n / CHUNK * CHUNK : layer == 1 && n >= WINDOW ? n - WINDOW + 1 : 0;
}

/* A machine with unlimited memory: only the pools' bounds matter. */
static void look(struct pn_os_memory *out)
{
    *out = (struct pn_os_memory){.total = (uint64_t)1 << 40,
                                 .available = (uint64_t)1 << 40,
                                 .group_limit = UINT64_MAX,
                                 .group_left = UINT64_MAX,
                                 .addresses = UINT64_MAX};
}

static int use_look(void **state)
{
    (void)state;
    pn_memory_of_process()->look = look;
    return 0;
}

/* Shared by the sequences of a test: a number of pages, and of states if layers are recurrent. */
struct world {
    struct pn_runner runner;
    struct pn_kv_pool *pool;
    struct pn_seq_memory memory;
    uint64_t taken; /* from the budget, before the test */
};

static void open_world_of(const struct pn_model *of, struct world *w, int n_pages, int n_states)
{
    struct pantry_error err;
    *w = (struct world){.taken = pn_memory_of_process()->taken};
    w->runner.device = &device;
    if (pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, of, PN_TYPE_F32, (uint64_t)n_pages * STRIDE, &w->pool,
                       &err) ||
        (n_states && pn_state_pool_new(&(struct pn_device *){&device}, &(size_t){0}, &(size_t){3}, 1,
                                       (uint64_t)n_states * STRIDE, &w->runner.states, &err)) ||
        pn_seq_memory_init(&w->memory, &w->runner, w->pool, &err))
        fail_msg("%s", err.text);
    assert_int_equal(w->pool->n_groups, of->n_caches);
    for (int g = 0; g < of->n_caches; g++)
        assert_int_equal(w->pool->groups[g].slots.n, n_pages);
}

static void open_world(struct world *w, int n_pages, int n_states)
{
    open_world_of(&model, w, n_pages, n_states);
}

/* Checks that nothing is in use any more. */
static void close_world(struct world *w)
{
    pn_tree_clear(w->memory.tree);
    for (int g = 0; g < w->pool->n_groups; g++)
        assert_int_equal(pn_kv_pages_used(w->pool, g), 0);
    assert_true(w->memory.checkpoints.page_bytes == 0);
    if (w->runner.states)
        assert_int_equal(pn_states_used(w->runner.states), 0);
    pn_seq_memory_release(&w->memory);
    pn_kv_pool_free(w->pool);
    pn_state_pool_free(w->runner.states);
    assert_true(pn_memory_of_process()->taken == w->taken);
}

struct one {
    struct pn_seq seq;
    int32_t ids[CONTEXT];
};

static void open_one(struct one *o, struct world *w, const char *key, const int32_t *ids)
{
    struct pantry_error err;
    memcpy(o->ids, ids, sizeof o->ids);
    if (pn_seq_init(&o->seq, &w->memory, key, o->ids, CONTEXT, &err))
        fail_msg("%s", err.text);
    o->seq.n_ids = CONTEXT;
}

static uint32_t mark(const int32_t *ids, int n)
{
    uint32_t h = 1;
    for (int i = 0; i < n; i++)
        h = h * 31 + (uint32_t)ids[i] + 7;
    return h & 0xfffff; /* exact in a float */
}

/* The page table of a group. */
static const int32_t *pages_of(const struct pn_seq *s, int group)
{
    return pn_tables_at(&s->memory->pool->tables, s->pages + group * s->table);
}

static float *row(const struct pn_seq *s, int layer, int at, bool value)
{
    const struct pn_cache *c = &s->memory->pool->caches[layer];
    assert_true(at / PAGE >= s->first[c->group] && at / PAGE < s->n_pages);
    int32_t number = pages_of(s, c->group)[at / PAGE];
    assert_true(pn_kv_page_refs(s->memory->pool, c->group, number) > 0);
    unsigned char *page = (value ? c->v : c->k) + (size_t)number * c->k_page;
    return (float *)(void *)(page + (size_t)(at % PAGE) * c->k_row);
}

static float *state_of(const struct pn_seq *s)
{
    const struct pn_state_pool *states = s->memory->runner->states;
    return (float *)states->slots.part[0].memory.host + (size_t)s->state * states->stride;
}

/* Simulates a step. */
static void run(struct one *o, int n)
{
    struct pn_seq *s = &o->seq;
    for (int at = s->n_past; at < s->n_past + n; at++)
        for (int layer = 0; layer < s->memory->pool->n_caches; layer++) {
            *row(s, layer, at, false) = (float)mark(o->ids, at + 1);
            *row(s, layer, at, true) = -(float)mark(o->ids, at + 1);
        }
    pn_seq_advance(s, n);
    for (int i = 0; s->state >= 0 && i < 3; i++)
        state_of(s)[i] = s->n_past ? (float)mark(o->ids, s->n_past) + (float)i : 0;
}

/* Checks that everything the sequence holds comes from its own tokens. */
static void check_one(const struct one *o)
{
    const struct pn_seq *s = &o->seq;
    for (int layer = 0; layer < s->memory->pool->n_caches; layer++)
        for (int at = first_seen(layer, s->n_past); at < s->n_past; at++) {
            float wanted = (float)mark(o->ids, at + 1);
            if (*row(s, layer, at, false) != wanted || *row(s, layer, at, true) != -wanted)
                fail_msg("layer %d: token %d of %d is another sequence's", layer, at, s->n_past);
        }
    for (int i = 0; s->state >= 0 && i < 3; i++)
        if (state_of(s)[i] != (s->n_past ? (float)mark(o->ids, s->n_past) + (float)i : 0))
            fail_msg("the state after %d tokens is another's", s->n_past);
}

static void grow_and_run(struct one *o, int n)
{
    struct pantry_error err;
    if (pn_seq_grow(&o->seq, n, &err))
        fail_msg("%s", err.text);
    run(o, n);
}

static int start(struct one *o, int n)
{
    struct pantry_error err;
    if (pn_seq_start(&o->seq, n, &err))
        fail_msg("%s", err.text);
    assert_int_equal(o->seq.n_pages, (o->seq.n_past + PAGE - 1) / PAGE);
    check_one(o);
    return o->seq.n_past;
}

static const int32_t *some_ids(uint64_t seed, int differ_at)
{
    static int32_t ids[CONTEXT];
    struct pn_rng rng = {seed};
    for (int i = 0; i < CONTEXT; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % 100) + (i >= differ_at ? 100 : 0);
    return ids;
}

static uint32_t refs(const struct world *w, const struct one *o, int i)
{
    return pn_kv_page_refs(w->pool, 0, pages_of(&o->seq, 0)[i]);
}

/* ---- starting ---- */

/* Prompts that diverge from a kept one at every position, cut at every length. */
static void starts_find_the_longest_kept_prefix(void **state)
{
    (void)state;
    enum { N = 75 };
    struct world w;
    struct one a, b;
    for (int partly = 0; partly < 2; partly++) {
        open_world(&w, 40, 0);
        open_one(&a, &w, "k", some_ids(1, CONTEXT));
        assert_int_equal(start(&a, N), 0);
        grow_and_run(&a, N);
        pn_seq_keep(&a.seq, partly);
        int kept = partly ? N : N - N % PAGE;
        assert_int_equal(pn_tree_n_pages(w.memory.tree), partly ? 3 : 2);
        for (int at = 0; at <= N; at++) {
            open_one(&b, &w, "k", some_ids(1, at));
            int n = at < kept ? at : kept;
            assert_int_equal(start(&b, N), n);
            pn_seq_drop(&b.seq);
            assert_int_equal(start(&b, CONTEXT), n);
            pn_seq_release(&b.seq);
            open_one(&b, &w, "k", a.ids);
            assert_int_equal(start(&b, at), n);
            grow_and_run(&b, 3); /* does not change what is shared */
            check_one(&a);
            pn_seq_release(&b.seq);
        }
        open_one(&b, &w, "other", a.ids);
        assert_int_equal(start(&b, N), 0);
        pn_seq_release(&b.seq);
        pn_seq_release(&a.seq);
        close_world(&w);
    }
}

static void whole_pages_are_shared_and_parts_copied(void **state)
{
    (void)state;
    struct world w;
    struct one a, b, c;
    open_world(&w, 20, 0);
    open_one(&a, &w, "", some_ids(2, CONTEXT));
    start(&a, 0);
    grow_and_run(&a, 75);
    for (int i = 0; i < 3; i++)
        assert_int_equal(refs(&w, &a, i), 1);
    pn_seq_keep(&a.seq, true);
    pn_seq_keep(&a.seq, true); /* again: no change */
    open_one(&b, &w, "", a.ids);
    open_one(&c, &w, "", a.ids);
    assert_int_equal(start(&b, 75), 75);
    assert_int_equal(start(&c, 64), 64);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pages_of(&b.seq, 0)[i], pages_of(&a.seq, 0)[i]);
        assert_int_equal(pages_of(&c.seq, 0)[i], pages_of(&a.seq, 0)[i]);
        assert_int_equal(refs(&w, &a, i), 4); /* including the tree's */
    }
    assert_int_not_equal(pages_of(&b.seq, 0)[2], pages_of(&a.seq, 0)[2]);
    assert_int_equal(refs(&w, &a, 2), 2);
    assert_int_equal(refs(&w, &b, 2), 1);
    assert_int_equal(pn_kv_pages_used(w.pool, 0), 4);
    grow_and_run(&b, 20);
    grow_and_run(&a, 20); /* both fill their third page */
    check_one(&a);
    check_one(&b);
    pn_seq_keep_last(&b.seq);
    pn_seq_release(&b.seq);
    pn_seq_release(&c.seq);
    assert_int_equal(refs(&w, &a, 0), 2);
    open_one(&c, &w, "", a.ids);
    assert_int_equal(start(&c, 100), 95); /* as far as B came */
    pn_seq_release(&c.seq);
    pn_seq_release(&a.seq);
    pn_seq_release(&a.seq); /* twice is allowed */
    close_world(&w);
}

/* ---- growing ---- */

static void growing_takes_pages_as_they_are_needed(void **state)
{
    (void)state;
    struct world w;
    struct one a, b;
    struct pantry_error err;
    open_world(&w, 5, 0);
    open_one(&a, &w, "", some_ids(3, CONTEXT));
    open_one(&b, &w, "", some_ids(4, CONTEXT));
    start(&a, 0);
    start(&b, 0);
    for (int i = 1; i <= 3 * PAGE; i++) {
        assert_int_equal(pn_seq_grow(&a.seq, 0, &err), PANTRY_OK);
        assert_int_equal(a.seq.n_pages, (i - 1 + PAGE - 1) / PAGE);
        grow_and_run(&a, 1);
        assert_int_equal(a.seq.n_pages, (i + PAGE - 1) / PAGE);
        assert_int_equal(pn_kv_pages_used(w.pool, 0), a.seq.n_pages);
    }
    /* Two pages are left, so three fail, and the pages taken stay with the sequence. */
    assert_int_equal(pn_seq_grow(&b.seq, 2 * PAGE + 1, &err), PANTRY_NO_MEMORY);
    assert_non_null(strstr(err.text, "a page of keys and values needs "));
    assert_int_equal(b.seq.n_pages, 2);
    assert_int_equal(b.seq.n_past, 0);
    run(&b, 2 * PAGE);
    assert_int_equal(pn_seq_grow(&b.seq, 1, &err), PANTRY_NO_MEMORY);
    check_one(&a);
    /* Pages that only the tree holds are evicted, pages that a sequence uses are not. */
    pn_seq_keep(&a.seq, true);
    assert_int_equal(pn_seq_grow(&b.seq, 1, &err), PANTRY_NO_MEMORY);
    pn_seq_drop(&a.seq);
    assert_int_equal(pn_kv_pages_used(w.pool, 0), 5);
    grow_and_run(&b, PAGE);
    assert_int_equal(pn_tree_n_pages(w.memory.tree), 2);
    assert_int_equal(start(&a, 3 * PAGE), 2 * PAGE); /* its end was evicted first */
    grow_and_run(&b, 0);
    check_one(&b);
    pn_seq_release(&a.seq);
    pn_seq_release(&b.seq);
    close_world(&w);
}

/* Even a small tree gives up its pages before an answer fails. */
static void small_trees_make_room_too(void **state)
{
    (void)state;
    struct world w;
    struct one a;
    open_world(&w, 4, 0);
    open_one(&a, &w, "", some_ids(8, CONTEXT));
    start(&a, 0);
    grow_and_run(&a, PAGE);
    pn_seq_keep_last(&a.seq);
    pn_seq_drop(&a.seq);
    memcpy(a.ids, some_ids(9, CONTEXT), sizeof a.ids);
    assert_int_equal(start(&a, CONTEXT), 0);
    grow_and_run(&a, 3 * PAGE);
    assert_int_equal(pn_tree_n_pages(w.memory.tree), 1);
    grow_and_run(&a, PAGE);
    assert_int_equal(pn_tree_n_pages(w.memory.tree), 0);
    check_one(&a);
    pn_seq_release(&a.seq);
    close_world(&w);
}

/* When nothing runs, unused pages return to the budget, except 64. */
static void idle_memory_goes_back_to_the_budget(void **state)
{
    (void)state;
    struct world w;
    struct one many[60];
    const struct pn_memory *budget = pn_memory_of_process();
    open_world(&w, 400, 0);
    pn_seq_memory_settle(&w.memory);
    for (size_t i = 0; i < COUNT(many); i++) {
        open_one(&many[i], &w, "", some_ids(i, CONTEXT));
        start(&many[i], 0);
        grow_and_run(&many[i], 100);
    }
    assert_int_equal(pn_kv_pages_used(w.pool, 0), 240);
    assert_true(budget->taken == w.taken + 256 * STRIDE);
    pn_seq_memory_settle(&w.memory);
    assert_true(budget->taken == w.taken + 256 * STRIDE);
    for (size_t i = 10; i < COUNT(many); i++)
        pn_seq_release(&many[i].seq);
    pn_seq_memory_settle(&w.memory); /* 64 of 216 unused ones stay */
    assert_true(budget->taken == w.taken + (40 + 64) * STRIDE);
    assert_int_equal(w.memory.n_promised[0], 104);
    for (int i = 0; i < 10; i++) {
        check_one(&many[i]);
        pn_seq_release(&many[i].seq);
    }
    close_world(&w);
}

/* ---- short of memory at the start ---- */

static void starts_without_a_page_take_whole_pages(void **state)
{
    (void)state;
    struct world w;
    struct one a, b;
    open_world(&w, 3, 0);
    open_one(&a, &w, "", some_ids(5, CONTEXT));
    open_one(&b, &w, "", a.ids);
    start(&a, 0);
    grow_and_run(&a, 75);
    pn_seq_keep(&a.seq, true);
    assert_int_equal(start(&b, 75), 64); /* A uses all of them */
    assert_int_equal(refs(&w, &a, 0), 3);
    assert_int_equal(refs(&w, &a, 2), 2);
    pn_seq_drop(&b.seq);
    pn_seq_release(&a.seq);
    assert_int_equal(start(&b, 75), 64); /* the tree has all pages: the third cannot be both matched and evicted */
    grow_and_run(&b, 11);                /* but it can be evicted now */
    assert_int_equal(pn_tree_n_pages(w.memory.tree), 2);
    check_one(&b);
    pn_seq_release(&b.seq);
    close_world(&w);
}

/* A step from a shared state writes the next one to another slot. If no slot is free, the tree gives up its states, and
 * the slot then belongs to the sequence alone. */
static void states_are_shared_until_a_step(void **state)
{
    (void)state;
    struct world w;
    struct one a, b, c;
    struct pantry_error err;
    int32_t last;
    open_world(&w, 20, 2);
    open_one(&a, &w, "", some_ids(6, CONTEXT));
    open_one(&b, &w, "", a.ids);
    open_one(&c, &w, "", some_ids(7, CONTEXT));
    start(&a, 0);
    grow_and_run(&a, 70);
    pn_seq_keep(&a.seq, false);
    assert_int_equal(start(&b, 80), 70);
    assert_int_equal(b.seq.state, a.seq.state);
    assert_int_equal(pn_states_used(w.runner.states), 1);
    assert_int_equal(pn_state_refs(w.runner.states, a.seq.state), 3);
    grow_and_run(&b, 5);
    assert_int_equal(pn_states_used(w.runner.states), 2);
    assert_int_equal(pn_tree_n_states(w.memory.tree), 1);
    grow_and_run(&a, 10); /* no slot is free, so the tree drops its state, and A has the only reference */
    assert_int_equal(pn_tree_n_states(w.memory.tree), 0);
    assert_int_equal(pn_states_used(w.runner.states), 2);
    check_one(&a);
    check_one(&b);

    pn_seq_keep(&a.seq, false);
    assert_int_equal(pn_seq_start(&c.seq, 80, &err),
                     PANTRY_NO_MEMORY); /* A still holds the state that the tree gave up */
    assert_non_null(strstr(err.text, "the recurrent state of a sequence needs "));
    assert_true(c.seq.state == -1 && c.seq.n_pages == 0 && c.seq.n_past == 0);
    assert_int_equal(pn_tree_n_states(w.memory.tree), 0);

    pn_seq_drop(&b.seq);
    pn_seq_keep(&a.seq, false);
    assert_int_equal(start(&b, 80), 80);
    assert_int_equal(pn_state_new(w.runner.states, &last, &err), PANTRY_OK);
    assert_int_equal(pn_seq_grow(&b.seq, 1, &err), PANTRY_NO_MEMORY); /* A and B share it */
    assert_true(b.seq.state == a.seq.state && b.seq.next == -1);
    check_one(&b);
    pn_state_release(w.runner.states, last);
    grow_and_run(&b, 1);
    check_one(&a);
    check_one(&b);
    pn_seq_release(&a.seq);
    pn_seq_release(&b.seq);
    pn_seq_release(&c.seq);
    close_world(&w);
}

/* ---- states ---- */

/* Rewinding to any position resumes from the last kept state at or before it. */
static void rewinding_finds_the_last_kept_state(void **state)
{
    (void)state;
    static const int kept[] = {1, 16, 31, 32, 33, 64, 70, 96, 130};
    struct world w;
    struct one a, b;
    open_world(&w, 60, 40);
    open_one(&a, &w, "", some_ids(7, CONTEXT));
    start(&a, 0);
    for (size_t i = 0; i < COUNT(kept); i++) {
        grow_and_run(&a, kept[i] - a.seq.n_past);
        pn_seq_keep(&a.seq, false);
        assert_int_equal(pn_tree_n_states(w.memory.tree), i + 1);
    }
    grow_and_run(&a, 10);
    pn_seq_keep_last(&a.seq);
    assert_int_equal(pn_states_used(w.runner.states), COUNT(kept) + 1);
    pn_seq_release(&a.seq);
    assert_int_equal(pn_states_used(w.runner.states), COUNT(kept) + 1);
    for (int at = 0; at <= 150; at++) {
        int wanted = at >= 140 ? 140 : 0;
        for (size_t i = 0; at < 140 && i < COUNT(kept); i++)
            wanted = kept[i] <= at ? kept[i] : wanted;
        open_one(&b, &w, "", some_ids(7, at));
        assert_int_equal(start(&b, CONTEXT - 1), wanted);
        grow_and_run(&b, 5);
        pn_seq_drop(&b.seq);
        memcpy(b.ids, some_ids(7, CONTEXT), sizeof b.ids);
        assert_int_equal(start(&b, at), wanted); /* B changed only its own state */
        pn_seq_release(&b.seq);
    }
    close_world(&w);
}

/* ---- windows ---- */

/* One page more than the next token sees. */
static int first_kept(int layer, int n)
{
    int page = first_seen(layer, n) / PAGE - 1;
    return layer == 0 || page < 0 ? 0 : page;
}

static void windows_give_back_old_pages(void **state)
{
    (void)state;
    static const int slices[] = {1, 7, 32, 50, 97};
    struct world w;
    struct one a;
    for (size_t i = 0; i < COUNT(slices); i++) {
        open_world_of(&windowed, &w, 20, 0);
        open_one(&a, &w, "", some_ids(20, CONTEXT));
        start(&a, 0);
        while (a.seq.n_past + slices[i] <= CONTEXT) {
            grow_and_run(&a, slices[i]);
            check_one(&a);
            uint64_t bytes = 0;
            for (int g = 0; g < 3; g++) {
                int held = a.seq.n_pages - first_kept(g, a.seq.n_past);
                assert_int_equal(pn_kv_pages_used(w.pool, g), held);
                assert_true(held <= pn_kv_most_pages(w.pool, g, CONTEXT, 0));
                bytes += (uint64_t)held * STRIDE;
            }
            assert_true(pn_seq_bytes(&a.seq) == bytes);
        }
        pn_seq_release(&a.seq);
        close_world(&w);
    }
}

/* Where a sequence can resume that shares `at` tokens with one that was kept after n. */
static int goes_on(int n, int at)
{
    int m = n < at ? n : at;
    for (int layer = 1; layer < 3; layer++) {
        int first = first_kept(layer, n) * PAGE;
        if (first_seen(layer, m) < first)
            return 0;
    }
    return m;
}

static void sequences_resume_where_windows_are_kept(void **state)
{
    (void)state;
    static const int kept[] = {20, 64, 70, 97, 140};
    struct world w;
    struct one a, b;
    open_world_of(&windowed, &w, 60, 0);
    open_one(&a, &w, "", some_ids(21, CONTEXT));
    start(&a, 0);
    for (size_t i = 0; i < COUNT(kept); i++) {
        grow_and_run(&a, kept[i] - a.seq.n_past);
        pn_seq_keep(&a.seq, true);
    }
    assert_int_equal(pn_tree_n_states(w.memory.tree), 3); /* of those on one path, the last ones stay */
    grow_and_run(&a, 30);
    int used = pn_kv_pages_used(w.pool, 1);
    for (int at = 0; at <= 160; at++) {
        int wanted = 0;
        for (size_t i = 2; i < COUNT(kept); i++)
            wanted = goes_on(kept[i], at) > wanted ? goes_on(kept[i], at) : wanted;
        open_one(&b, &w, "", some_ids(21, at));
        assert_int_equal(start(&b, CONTEXT - 1), wanted);
        assert_int_equal(b.seq.n_known, at < 140 ? at : 140);
        assert_true(pn_kv_pages_used(w.pool, 1) <= used + 1); /* the last page is copied, the others are shared */
        grow_and_run(&b, 9);
        check_one(&b);
        check_one(&a);
        pn_seq_release(&b.seq);
        assert_int_equal(pn_kv_pages_used(w.pool, 1), used);
    }
    pn_seq_release(&a.seq);
    close_world(&w);
}

/* A temporary checkpoint is replaced by the next one; permanent ones and those of other sequences stay. */
static void passing_checkpoints_are_replaced(void **state)
{
    (void)state;
    struct world w;
    struct one a;
    open_world_of(&windowed, &w, 60, 0);
    open_one(&a, &w, "", some_ids(22, CONTEXT));
    start(&a, 0);
    for (int i = 1; i <= 5; i++) {
        grow_and_run(&a, 35);
        pn_seq_keep(&a.seq, false);
        assert_int_equal(pn_tree_n_states(w.memory.tree), 1);
        assert_int_equal(pn_tree_find(w.memory.tree, "", a.ids, CONTEXT), 35 * i / PAGE * PAGE);
        pn_seq_keep(&a.seq, false); /* again: no change */
        assert_int_equal(pn_tree_n_states(w.memory.tree), 1);
    }
    while (pn_tree_evict_state(w.memory.tree)) /* evicted by the tree without the sequence's knowledge */
        ;
    pn_seq_keep(&a.seq, false);
    assert_int_equal(pn_tree_n_states(w.memory.tree), 1);
    pn_seq_keep(&a.seq, true);
    assert_int_equal(pn_tree_n_states(w.memory.tree), 1);
    grow_and_run(&a, 5);
    pn_seq_keep(&a.seq, false); /* there is none at 160 yet */
    pn_seq_keep_last(&a.seq);
    assert_int_equal(pn_tree_n_states(w.memory.tree), 2);
    pn_seq_release(&a.seq);
    close_world(&w);
}

/* Groups can use each other's unused memory. */
static void groups_share_the_budget(void **state)
{
    (void)state;
    enum { N = CONTEXT };
    struct world w;
    struct one a, b;
    struct pantry_error err;
    struct pn_memory *budget = pn_memory_of_process();
    open_world_of(&windowed, &w, 200, 0);
    pn_memory_set_limit(budget, budget->weight_bytes + budget->taken + 15 * STRIDE);
    open_one(&a, &w, "", some_ids(23, CONTEXT));
    open_one(&b, &w, "", some_ids(24, CONTEXT));
    start(&a, 0);
    start(&b, 0);
    for (int i = 0; i < 192; i += 16)
        grow_and_run(&a, 16); /* 6 full pages, and at most 4 and 3 for the windows */
    check_one(&a);
    assert_int_equal(pn_seq_grow(&b.seq, PAGE + 1, &err), PANTRY_NO_MEMORY);
    assert_non_null(strstr(err.text, "a page of keys and values needs "));
    for (int g = 0; g < 3; g++) /* a page missing in one group is released in all */
        assert_int_equal(pn_kv_pages_used(w.pool, g), 6 - first_kept(g, 192) + b.seq.n_pages);
    pn_seq_keep_last(&a.seq);
    pn_seq_release(&a.seq);
    for (int i = 0; i < 128; i += 16)
        grow_and_run(&b, 16); /* with pages evicted from the tree */
    check_one(&b);
    pn_seq_release(&b.seq);
    pn_memory_set_limit(budget, 0);
    close_world(&w);
}

/* ---- all together ---- */

enum { N_OPEN = 4 };

/* Checks that every open sequence still holds its own tokens. */
static void check_all(struct one *all, const struct world *w)
{
    int pages[PN_KV_GROUPS] = {pn_tree_n_pages(w->memory.tree)};
    for (int g = 1; g < w->pool->n_groups; g++)
        pages[g] = (int)(w->memory.checkpoints.page_bytes / STRIDE);
    for (int i = 0; i < N_OPEN; i++)
        if (all[i].seq.memory) {
            check_one(&all[i]);
            for (int g = 0; g < w->pool->n_groups; g++)
                pages[g] += all[i].seq.n_pages - all[i].seq.first[g];
        }
    for (int g = 0; g < w->pool->n_groups; g++) {
        assert_true(pn_kv_pages_used(w->pool, g) <= w->pool->groups[g].slots.n);
        assert_true(pn_kv_pages_used(w->pool, g) <= pages[g]);
    }
}

/* Sequences with common prefixes start, grow, are kept, dropped and released in random order, while memory is short. */
static void any_order_keeps_sequences_apart(void **state)
{
    (void)state;
    static const char *const keys[] = {"", "k"};
    int n_reused = 0, n_short = 0;
    for (int round = 0; round < 120; round++) {
        bool has_states = round % 2, has_windows = round / 2 % 2;
        struct world w;
        struct one all[N_OPEN] = {0};
        struct pn_rng rng = {(uint64_t)round + 1};
        struct pantry_error err;
        open_world_of(has_windows ? &windowed : &model, &w, 6 + round % 20, has_states ? 3 + round % 7 : 0);
        for (int i = 0; i < 300; i++) {
            struct one *o = &all[pn_rng_u64(&rng) % N_OPEN];
            int n = 1 + (int)(pn_rng_u64(&rng) % 50);
            if (!o->seq.memory) {
                open_one(o, &w, keys[pn_rng_u64(&rng) % 2],
                         some_ids(pn_rng_u64(&rng) % 2, (int)(pn_rng_u64(&rng) % CONTEXT)));
                if (pn_seq_start(&o->seq, (int)(pn_rng_u64(&rng) % CONTEXT), &err))
                    pn_seq_release(&o->seq);
                else
                    n_reused += o->seq.n_past > 0;
            } else if (pn_rng_u64(&rng) % 8 == 0) {
                if (pn_rng_u64(&rng) % 2)
                    pn_seq_keep_last(&o->seq);
                pn_seq_release(&o->seq);
            } else if (pn_rng_u64(&rng) % 4 == 0) {
                pn_seq_keep(&o->seq, pn_rng_u64(&rng) % 2);
            } else if (o->seq.n_past + n <= CONTEXT) {
                if (!pn_seq_grow(&o->seq, n, &err))
                    run(o, n);
                else
                    n_short++;
            }
            check_all(all, &w);
        }
        for (int i = 0; i < N_OPEN; i++)
            pn_seq_release(&all[i].seq);
        close_world(&w);
    }
    assert_true(n_reused > 100 && n_short > 100);
}

/* ---- steps ---- */

static void steps_hold_their_sequences_in_order(void **state)
{
    (void)state;
    struct world w;
    struct pn_step_builder step;
    struct pantry_error err;
    static const int32_t ids[] = {11, 12, 13, 14, 15, 16, 17};
    open_world(&w, 4, 3);
    assert_int_equal(pn_step_init(&step, 10, 3, &err), PANTRY_OK);
    for (int again = 0; again < 2; again++) { /* a reused step is empty */
        pn_step_begin(&step, &w.runner, w.pool);
        assert_true(step.batch.n_tokens == 0 && step.batch.n_seqs == 0 && step.batch.n_outputs == 0);
        assert_ptr_equal(step.batch.caches, w.pool->caches);
        assert_ptr_equal(step.batch.states, w.runner.states->slots.part[0].memory.host);
        assert_int_equal(step.batch.state_stride, w.runner.states->stride);
        const struct pn_batch_seq a = {.n = 3, .past = 31, .pages = 5, .n_context = 100, .state_in = 2, .state_out = 3},
                                  b = {.start = 77, .n = 4, .pages = 9, .n_context = 50, .state_in = 1, .state_out = 1};
        assert_int_equal(pn_step_add(&step, &a, ids), 0);
        assert_null(step.batch.kinds); /* no second text */
        pn_step_set_second(&step, 1);
        assert_int_equal(pn_step_add(&step, &b, ids + 3), 3);
        pn_step_output(&step, 2);
        pn_step_output(&step, 6);
        const struct pn_batch *batch = &step.batch;
        assert_true(batch->n_tokens == 7 && batch->n_seqs == 2 && batch->n_outputs == 2);
        assert_memory_equal(batch->ids, ids, sizeof ids);
        assert_memory_equal(batch->pos, ((const int32_t[]){31, 32, 33, 0, 1, 2, 3}), 7 * sizeof *ids);
        assert_memory_equal(batch->kinds, ((const int32_t[]){0, 1, 0, 0, 0, 0, 0}), 7 * sizeof *ids);
        assert_memory_equal(batch->out_rows, ((const int32_t[]){2, 6}), 2 * sizeof *ids);
        assert_true(batch->seqs[0].start == 0 && batch->seqs[1].start == 3);
        assert_true(batch->seqs[0].past == 31 && batch->seqs[0].n_context == 100 && batch->seqs[0].state_in == 2 &&
                    batch->seqs[0].state_out == 3);
        memset(step.kinds, 0x11, 10 * sizeof *step.kinds);
        assert_true(batch->seqs[1].pages == 9 && batch->seqs[1].n == 4 && batch->seqs[1].state_in == 1 &&
                    batch->seqs[1].state_out == 1);
    }
    pn_step_release(&step);
    close_world(&w);
}

/* Cut between sequences, within one, and before the outputs. */
static void steps_can_be_cut(void **state)
{
    (void)state;
    static const int32_t ids[] = {11, 12, 13, 14, 15, 16, 17, 18, 19};
    static const struct {
        int n, n_seqs, n_last, n_outputs;
    } cases[] = {{9, 3, 2, 3}, {8, 3, 1, 2}, {7, 2, 4, 2}, {6, 2, 3, 1}, {4, 2, 1, 1}, {3, 1, 3, 1}, {2, 1, 2, 0}};
    struct world w;
    struct pn_step_builder step;
    struct pantry_error err;
    open_world(&w, 4, 0);
    assert_int_equal(pn_step_init(&step, 9, 3, &err), PANTRY_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pn_step_begin(&step, &w.runner, w.pool);
        pn_step_add(&step, &(struct pn_batch_seq){.n = 3}, ids);
        pn_step_output(&step, 2);
        pn_step_add(&step, &(struct pn_batch_seq){.n = 4}, ids + 3);
        pn_step_output(&step, 6);
        pn_step_add(&step, &(struct pn_batch_seq){.n = 2}, ids + 7);
        pn_step_output(&step, 8);
        pn_step_cut(&step, cases[i].n);
        const struct pn_batch *b = &step.batch;
        assert_true(b->n_tokens == cases[i].n && b->n_seqs == cases[i].n_seqs && b->n_outputs == cases[i].n_outputs);
        assert_int_equal(b->seqs[b->n_seqs - 1].n, cases[i].n_last);
    }
    pn_step_release(&step);
    close_world(&w);
}

static void ids_are_checked(void **state)
{
    (void)state;
    struct pantry_error err;
    const struct pn_model words = {.hp.n_vocab = 7};
    static const int32_t good[] = {0, 6, 3}, high[] = {0, 7}, low[] = {-1};
    assert_int_equal(pn_seq_check_ids(&words, good, 3, &err), PANTRY_OK);
    assert_int_equal(pn_seq_check_ids(&words, high, 1, &err), PANTRY_OK);
    assert_int_equal(pn_seq_check_ids(&words, high, 2, &err), PANTRY_INVALID);
    assert_string_equal(err.text, "token id 7 is not in the vocabulary of 7");
    assert_int_equal(pn_seq_check_ids(&words, low, 1, &err), PANTRY_INVALID);
    assert_int_equal(pn_seq_check_ids(&words, low, 0, &err), PANTRY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_find_the_longest_kept_prefix),
        cmocka_unit_test(whole_pages_are_shared_and_parts_copied),
        cmocka_unit_test(growing_takes_pages_as_they_are_needed),
        cmocka_unit_test(small_trees_make_room_too),
        cmocka_unit_test(idle_memory_goes_back_to_the_budget),
        cmocka_unit_test(starts_without_a_page_take_whole_pages),
        cmocka_unit_test(states_are_shared_until_a_step),
        cmocka_unit_test(rewinding_finds_the_last_kept_state),
        cmocka_unit_test(windows_give_back_old_pages),
        cmocka_unit_test(sequences_resume_where_windows_are_kept),
        cmocka_unit_test(passing_checkpoints_are_replaced),
        cmocka_unit_test(groups_share_the_budget),
        cmocka_unit_test(any_order_keeps_sequences_apart),
        cmocka_unit_test(steps_hold_their_sequences_in_order),
        cmocka_unit_test(steps_can_be_cut),
        cmocka_unit_test(ids_are_checked),
    };
    return cmocka_run_group_tests(tests, use_look, NULL);
}
