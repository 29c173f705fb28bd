/* Pages of keys and values, and slots of recurrent state: sizes, where each lies, what happens when they are used up,
 * and which come back. A device of the test's own bounds how much memory there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/kv.h"
#include "engine/state.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- a device with little memory ---- */

static struct {
    size_t most;    /* the largest buffer it gives */
    int n_asked;    /* buffers asked for */
    size_t largest; /* ... and the size of the first */
    int n_open;
} memory;

static pn_status give_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pn_error *err)
{
    if (memory.n_asked++ == 0)
        memory.largest = size;
    if (size > memory.most)
        return pn_fail(err, PN_NO_MEMORY, "the test has no %zu bytes", size);
    memory.n_open++;
    return pn_host_buffer_new(device, size, out, err);
}

static void take_buffer(struct pn_device *device, struct pn_buffer *buffer)
{
    memory.n_open -= buffer->data != NULL;
    pn_host_buffer_free(device, buffer);
}

static const struct pn_device_class test_class = {
    .name = "test", .buffer_new = give_buffer, .buffer_free = take_buffer};
static struct pn_device device = {.class = &test_class};

static void give_at_most(size_t bytes)
{
    memset(&memory, 0, sizeof memory);
    memory.most = bytes;
}

/* ---- pages ---- */

enum { N_CACHES = 3 };
static struct pn_cache_shape shapes[N_CACHES] = {
    {.n_head = 2, .dim_k = 32, .dim_v = 64},
    {.n_head = 1, .dim_k = 96, .dim_v = 64, .value_in_key = true},
    {.n_head = 3, .dim_k = 32, .dim_v = 32},
};
static const struct pn_model model = {.caches = shapes, .n_caches = N_CACHES};

/* Values of a token in all layers: 2 * (32 + 64), 96 (its values are in there), 3 * (32 + 32). */
enum { TOKEN_VALUES = 192 + 96 + 192, PAGE_VALUES = TOKEN_VALUES * PN_PAGE_TOKENS };

static struct pn_kv_pool *new_pool(pn_type type, uint64_t bytes)
{
    struct pn_kv_pool *pool;
    struct pn_error err;
    if (pn_kv_pool_new(&device, &model, type, bytes, &pool, &err))
        fail_msg("%s", err.text);
    return pool;
}

static void pages_have_the_size_of_their_rows(void **state)
{
    (void)state;
    static const struct {
        pn_type type;
        size_t numerator, denominator; /* bytes of a value */
    } cases[] = {{PN_TYPE_F32, 4, 1}, {PN_TYPE_F16, 2, 1}, {PN_TYPE_BF16, 2, 1}, {PN_TYPE_Q8_0, 34, 32}};
    give_at_most(SIZE_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t page = PAGE_VALUES * cases[i].numerator / cases[i].denominator;
        struct pn_kv_pool *pool = new_pool(cases[i].type, 7 * page);
        assert_int_equal(pool->page_bytes, page);
        assert_int_equal(pool->n_pages, 7);
        assert_int_equal(pn_kv_token_bytes(pool), page / PN_PAGE_TOKENS);
        pn_kv_pool_free(pool);
        pool = new_pool(cases[i].type, 7 * page - 1);
        assert_int_equal(pool->n_pages, 6);
        pn_kv_pool_free(pool);
    }
    assert_int_equal(memory.n_open, 0);
    pn_kv_pool_free(NULL);
}

/* Fills page p of a run with `mark`, or looks whether it is still full of it. */
static void mark_rows(const struct pn_kv_pool *pool, unsigned char *run, size_t bytes, int p, int mark, bool look)
{
    const unsigned char *begin = pool->memory.data, *end = begin + pool->memory.size;
    unsigned char *at = run + (size_t)p * bytes;
    assert_true(at >= begin && at + bytes <= end);
    assert_int_equal((uintptr_t)run % 64, 0);
    if (!look)
        memset(at, mark, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != mark)
            fail_msg("page %d: %d where %d should be", p, at[i], mark);
}

/* Fills the keys and values of every page of every layer with a number of its own, then looks whether all are there:
 * nothing overlaps, nothing ends outside the buffer, runs begin at cache lines. */
static void pages_do_not_overlap(void **state)
{
    (void)state;
    enum { N = 5 };
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0};
    give_at_most(SIZE_MAX);
    for (size_t t = 0; t < COUNT(types); t++) {
        struct pn_kv_pool *pool = new_pool(types[t], 0);
        size_t page = pool->page_bytes;
        pn_kv_pool_free(pool);
        pool = new_pool(types[t], N * page);
        assert_int_equal(pool->n_pages, N);
        for (int pass = 0; pass < 2; pass++)
            for (int c = 0; c < N_CACHES; c++)
                for (int p = 0; p < N; p++) {
                    mark_rows(pool, pool->caches[c].k, pool->caches[c].k_page, p, 1 + 2 * (p + N * c), pass);
                    if (!shapes[c].value_in_key)
                        mark_rows(pool, pool->caches[c].v, pool->caches[c].v_page, p, 2 + 2 * (p + N * c), pass);
                }
        pn_kv_pool_free(pool);
    }
}

static void caches_are_described(void **state)
{
    (void)state;
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F16, (uint64_t)1 << 24);
    for (int c = 0; c < N_CACHES; c++) {
        const struct pn_cache *cache = &pool->caches[c];
        size_t k_row = 2 * (size_t)shapes[c].dim_k, v_row = 2 * (size_t)shapes[c].dim_v;
        size_t heads = (size_t)shapes[c].n_head;
        assert_int_equal(cache->type, PN_TYPE_F16);
        assert_int_equal(cache->n_head, shapes[c].n_head);
        assert_int_equal(cache->dim_k, shapes[c].dim_k);
        assert_int_equal(cache->dim_v, shapes[c].dim_v);
        assert_int_equal(cache->k_row, k_row);
        assert_int_equal(cache->k_page, heads * PN_PAGE_TOKENS * k_row);
        bool inside = shapes[c].value_in_key;
        assert_int_equal(cache->v_row, inside ? k_row : v_row);
        assert_int_equal(cache->v_page, heads * PN_PAGE_TOKENS * (inside ? k_row : v_row));
        assert_true((cache->v == cache->k) == inside);
    }
    pn_kv_pool_free(pool);
}

static void used_up_pages_are_out_of_memory(void **state)
{
    (void)state;
    enum { N = 5 };
    struct pn_error err;
    int32_t pages[N], page = -7;
    bool seen[N] = {false};
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F32, N * PAGE_VALUES * 4);
    assert_int_equal(pool->n_pages, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(pn_kv_page_new(pool, &pages[i], &err), PN_OK);
        assert_in_range(pages[i], 0, N - 1);
        assert_false(seen[pages[i]]);
        seen[pages[i]] = true;
        assert_int_equal(pool->n_refs[pages[i]], 1);
    }
    for (int again = 0; again < 3; again++) {
        assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_NO_MEMORY);
        assert_non_null(strstr(err.text, "all 5 pages"));
        assert_int_equal(page, -7);
    }
    /* What comes back is handed out again, the last one first, and each only once. */
    pn_kv_page_release(pool, pages[1]);
    pn_kv_page_release(pool, pages[3]);
    assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_OK);
    assert_int_equal(page, pages[3]);
    assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_OK);
    assert_int_equal(page, pages[1]);
    assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_NO_MEMORY);
    for (int i = 0; i < N; i++)
        pn_kv_page_release(pool, pages[i]);
    assert_int_equal(pool->n_free, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_OK);
    assert_int_equal(pn_kv_page_new(pool, &page, &err), PN_NO_MEMORY);
    pn_kv_pool_free(pool);
}

/* A page that several sequences share comes back with the last of them. */
static void shared_pages_stay(void **state)
{
    (void)state;
    struct pn_error err;
    int32_t a, b, c;
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F32, 2 * PAGE_VALUES * 4);
    assert_int_equal(pn_kv_page_new(pool, &a, &err), PN_OK);
    assert_int_equal(pn_kv_page_new(pool, &b, &err), PN_OK);
    pn_kv_page_retain(pool, a);
    pn_kv_page_retain(pool, a);
    for (int i = 0; i < 2; i++) {
        pn_kv_page_release(pool, a);
        assert_int_equal(pn_kv_page_new(pool, &c, &err), PN_NO_MEMORY);
    }
    pn_kv_page_release(pool, a);
    assert_int_equal(pn_kv_page_new(pool, &c, &err), PN_OK);
    assert_int_equal(c, a);
    pn_kv_page_release(pool, c); /* its references start anew */
    assert_int_equal(pool->n_free, 1);
    pn_kv_pool_free(pool);
}

static void pools_take_what_memory_there_is(void **state)
{
    (void)state;
    static struct pn_cache_shape tiny = {.n_head = 1, .dim_k = 1, .dim_v = 1};
    const size_t page = PAGE_VALUES * 4, slack = 2 * 64 * N_CACHES;
    struct pn_kv_pool *pool;
    struct pn_error err;
    give_at_most(SIZE_MAX);
    pool = new_pool(PN_TYPE_F32, 0); /* never fewer than two */
    assert_int_equal(pool->n_pages, 2);
    assert_true(memory.largest >= 2 * page && memory.largest <= 2 * page + slack);
    pn_kv_pool_free(pool);
    struct pn_model small = {.caches = &tiny, .n_caches = 1}, none = {.n_caches = 0};
    assert_int_equal(pn_kv_pool_new(&device, &small, PN_TYPE_F32, UINT64_MAX, &pool, &err), PN_OK);
    assert_int_equal(pool->n_pages, 1 << 18); /* nor more than there are ever wanted */
    pn_kv_pool_free(pool);
    assert_int_equal(pn_kv_pool_new(&device, &none, PN_TYPE_F32, 1 << 20, &pool, &err), PN_OK);
    assert_int_equal(pool->n_pages, 1 << 18); /* without attention pages cost nothing */
    assert_int_equal(pn_kv_token_bytes(pool), 0);
    pn_kv_pool_free(pool);
    /* Half as many until they can be had. */
    give_at_most(10 * page + slack);
    pool = new_pool(PN_TYPE_F32, 64 * page);
    assert_int_equal(pool->n_pages, 8);
    assert_int_equal(memory.n_asked, 4);
    pn_kv_pool_free(pool);
    give_at_most(2 * page + slack);
    pool = new_pool(PN_TYPE_F32, 64 * page);
    assert_int_equal(pool->n_pages, 2);
    pn_kv_pool_free(pool);
    give_at_most(2 * page - 1);
    assert_int_equal(pn_kv_pool_new(&device, &model, PN_TYPE_F32, 64 * page, &pool, &err), PN_NO_MEMORY);
    assert_null(pool);
    assert_int_equal(memory.n_open, 0);
}

static void refuses_types_that_do_not_fit(void **state)
{
    (void)state;
    static struct pn_cache_shape odd_k = {.n_head = 1, .dim_k = 48, .dim_v = 64};
    static struct pn_cache_shape odd_v = {.n_head = 1, .dim_k = 64, .dim_v = 48};
    struct pn_cache_shape second[] = {shapes[0], odd_v};
    const struct {
        struct pn_model model;
        pn_type type;
        const char *says;
    } cases[] = {
        {{.caches = &odd_k, .n_caches = 1}, PN_TYPE_Q8_0, "heads of 48 values cannot be kept as q8_0"},
        {{.caches = &odd_v, .n_caches = 1}, PN_TYPE_Q8_0, "cannot be kept as q8_0, which takes blocks of 32"},
        {{.caches = second, .n_caches = 2}, PN_TYPE_Q8_0, "cannot be kept as q8_0"},
        {{.caches = &odd_k, .n_caches = 1}, PN_TYPE_F16, NULL},
        {{.caches = shapes, .n_caches = 1}, PN_TYPE_Q8_0, NULL},
        {{.caches = shapes, .n_caches = 1}, PN_TYPE_IQ2_XXS, "keys and values cannot be kept as iq2_xxs"},
    };
    give_at_most(SIZE_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_kv_pool *pool;
        struct pn_error err;
        pn_status status = pn_kv_pool_new(&device, &cases[i].model, cases[i].type, 1 << 20, &pool, &err);
        assert_int_equal(status, cases[i].says ? PN_INVALID : PN_OK);
        assert_true((pool == NULL) == (cases[i].says != NULL));
        if (cases[i].says && !strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
        pn_kv_pool_free(pool);
    }
}

/* ---- recurrent state ---- */

static struct pn_state_pool *new_states(size_t n_floats, uint64_t bytes)
{
    struct pn_state_pool *pool;
    struct pn_error err;
    if (pn_state_pool_new(&device, n_floats, bytes, &pool, &err))
        fail_msg("%s", err.text);
    return pool;
}

static float *state_of(const struct pn_states *s)
{
    return (float *)s->pool->memory.data + (size_t)s->slot * s->pool->stride;
}

static void init(struct pn_states *s, struct pn_state_pool *pool)
{
    struct pn_error err;
    if (pn_states_init(s, pool, &err))
        fail_msg("%s", err.text);
}

/* `n` tokens that lead to `at` tokens: the state becomes `at` in all its values. */
static void advance(struct pn_states *s, int at, int n)
{
    for (size_t i = 0; i < s->pool->n_floats; i++)
        state_of(s)[i] = (float)at;
    pn_states_advance(s, at, n);
}

/* The state is that after `at` tokens, in all its values. */
static void check_state(const struct pn_states *s, int at)
{
    for (size_t i = 0; i < s->pool->n_floats; i++)
        if (state_of(s)[i] != (float)at)
            fail_msg("value %zu of the state after %d tokens is %g", i, at, (double)state_of(s)[i]);
}

static void check_kept(const struct pn_states *s, int n, const int *at)
{
    assert_int_equal(s->n, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(s->checkpoints[i].at, at[i]);
        assert_true(s->checkpoints[i].slot != s->slot);
        for (int k = 0; k < i; k++)
            assert_true(s->checkpoints[i].slot != s->checkpoints[k].slot);
    }
}

static void state_pools_have_slots_apart(void **state)
{
    (void)state;
    static const struct {
        size_t n_floats, stride;
        uint64_t bytes;
        int n_slots, n_checkpoints;
    } cases[] = {
        {16, 16, 10 * 64, 10, 8},
        {17, 32, 10 * 128, 10, 8},
        {15, 16, 10 * 64 - 1, 9, 8},
        {1, 16, 0, 4, 8},
        {1, 16, UINT64_MAX, 1 << 16, 8},
        {(size_t)1 << 24, (size_t)1 << 24, 0, 4, 8},              /* 64 MiB: eight copies are 512 */
        {((size_t)1 << 24) + 1, ((size_t)1 << 24) + 16, 0, 4, 7}, /* a little more */
        {(size_t)3 << 24, (size_t)3 << 24, 0, 4, 2},              /* 192 MiB */
        {(size_t)1 << 26, (size_t)1 << 26, 0, 4, 2},
        {(size_t)1 << 28, (size_t)1 << 28, 0, 4, 2}, /* always two */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        give_at_most(SIZE_MAX);
        struct pn_state_pool *pool = new_states(cases[i].n_floats, cases[i].bytes);
        assert_int_equal(pool->stride, cases[i].stride);
        assert_int_equal(pool->n_slots, cases[i].n_slots);
        assert_int_equal(pool->n_checkpoints, cases[i].n_checkpoints);
        assert_int_equal(memory.largest, cases[i].stride * sizeof(float) * (size_t)cases[i].n_slots);
        pn_state_pool_free(pool);
        assert_int_equal(memory.n_open, 0);
    }
    /* Half as many where there is less, down to one. */
    struct pn_state_pool *pool;
    struct pn_error err;
    give_at_most(10 * 64);
    pool = new_states(16, 64 * 64);
    assert_int_equal(pool->n_slots, 8);
    pn_state_pool_free(pool);
    give_at_most(64);
    pool = new_states(16, 64 * 64);
    assert_int_equal(pool->n_slots, 1);
    pn_state_pool_free(pool);
    give_at_most(63);
    assert_int_equal(pn_state_pool_new(&device, 16, 64 * 64, &pool, &err), PN_NO_MEMORY);
    assert_null(pool);
    pn_state_pool_free(NULL);
}

static void states_start_empty_and_run_out(void **state)
{
    (void)state;
    enum { N = 5, FLOATS = 20 };
    struct pn_states s[N], late;
    struct pn_error err;
    give_at_most(SIZE_MAX);
    struct pn_state_pool *pool = new_states(FLOATS, N * 128);
    assert_int_equal(pool->n_slots, N);
    for (int round = 0; round < 2; round++) { /* the second time in slots that were used */
        for (int i = 0; i < N; i++) {
            init(&s[i], pool);
            check_state(&s[i], 0);
            assert_in_range(s[i].slot, 0, N - 1);
            for (int k = 0; k < FLOATS; k++)
                state_of(&s[i])[k] = (float)(i + 1);
        }
        for (int i = 0; i < N; i++)
            check_state(&s[i], i + 1);
        assert_int_equal(pn_states_init(&late, pool, &err), PN_NO_MEMORY);
        assert_non_null(strstr(err.text, "all 5 slots"));
        assert_null(late.pool);
        pn_states_release(&late); /* of what never was: nothing */
        for (int i = 0; i < N; i++)
            pn_states_release(&s[i]);
        assert_int_equal(pool->n_free, N);
    }
    pn_state_pool_free(pool);
}

/* Copies are kept after prompts, and after every 256th token of an answer. */
static void copies_are_kept_now_and_then(void **state)
{
    (void)state;
    struct pn_states s;
    give_at_most(SIZE_MAX);
    struct pn_state_pool *pool = new_states(16, 100 * 64);
    init(&s, pool);
    advance(&s, 2, 2);
    for (int at = 3; at <= 520; at++)
        advance(&s, at, 1);
    advance(&s, 530, 10);
    check_kept(&s, 4, (const int[]){2, 256, 512, 530});
    for (int i = 0; i < s.n; i++)
        assert_true(((float *)pool->memory.data)[(size_t)s.checkpoints[i].slot * pool->stride + 15] ==
                    (float)s.checkpoints[i].at);
    /* Back to the nearest at or before; later ones are forgotten. */
    assert_int_equal(pn_states_rewind(&s, 529), 512);
    check_state(&s, 512);
    check_kept(&s, 3, (const int[]){2, 256, 512});
    assert_int_equal(pn_states_rewind(&s, 512), 512);
    check_kept(&s, 3, (const int[]){2, 256, 512});
    assert_int_equal(pn_states_rewind(&s, 511), 256);
    check_state(&s, 256);
    assert_int_equal(pn_states_rewind(&s, 2), 2);
    check_state(&s, 2);
    assert_int_equal(pn_states_rewind(&s, 1), 0);
    check_state(&s, 0);
    check_kept(&s, 0, NULL);
    assert_int_equal(pool->n_free, pool->n_used - 1); /* all but the state itself */
    pn_states_release(&s);
    pn_state_pool_free(pool);
}

/* Where no more copies may be kept, the one with the shortest way from the one before goes; of equals the first. */
static void the_least_useful_copy_makes_room(void **state)
{
    (void)state;
    static const struct {
        int fed[12]; /* where each prompt ended; the ninth needs room */
        int kept[8];
    } cases[] = {
        {{10, 20, 30, 40, 50, 60, 70, 80, 90}, {20, 30, 40, 50, 60, 70, 80, 90}},
        {{10, 20, 30, 38, 50, 60, 70, 80, 90}, {10, 20, 30, 50, 60, 70, 80, 90}},
        {{10, 20, 30, 40, 50, 60, 70, 72, 90}, {10, 20, 30, 40, 50, 60, 70, 90}},
        {{2, 20, 30, 40, 50, 60, 70, 80, 90}, {20, 30, 40, 50, 60, 70, 80, 90}},
        {{10, 12, 30, 32, 50, 60, 70, 80, 90}, {10, 30, 32, 50, 60, 70, 80, 90}},
        {{10, 20, 30, 40, 50, 60, 70, 80, 82, 100}, {20, 30, 40, 50, 60, 70, 80, 100}},
    };
    give_at_most(SIZE_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_states s;
        struct pn_state_pool *pool = new_states(16, 100 * 64);
        init(&s, pool);
        for (int k = 0; k < 12 && cases[i].fed[k]; k++)
            advance(&s, cases[i].fed[k], 2);
        check_kept(&s, 8, cases[i].kept);
        for (int k = 7; k >= 0; k--) {
            assert_int_equal(pn_states_rewind(&s, cases[i].kept[k]), cases[i].kept[k]);
            check_state(&s, cases[i].kept[k]);
        }
        pn_states_release(&s);
        assert_int_equal(pool->n_free, pool->n_used);
        pn_state_pool_free(pool);
    }
}

/* With few slots, a session gives up a copy of its own for a new one; without any it keeps none. */
static void copies_share_what_slots_there_are(void **state)
{
    (void)state;
    struct pn_states a, b, c;
    give_at_most(SIZE_MAX);
    struct pn_state_pool *pool = new_states(16, 5 * 64);
    assert_int_equal(pool->n_slots, 5);
    init(&a, pool);
    init(&b, pool);
    advance(&a, 10, 10);
    advance(&a, 14, 4);
    advance(&a, 30, 16); /* all five are in use */
    check_kept(&a, 3, (const int[]){10, 14, 30});
    advance(&b, 5, 5);
    check_kept(&b, 0, NULL);
    check_state(&b, 5);
    advance(&a, 40, 10);
    check_kept(&a, 3, (const int[]){10, 30, 40});
    check_state(&b, 5);
    assert_int_equal(pn_states_rewind(&b, 4), 0);
    check_state(&b, 0);
    assert_int_equal(pn_states_rewind(&a, 39), 30);
    init(&c, pool); /* in the slot that came back */
    check_state(&c, 0);
    check_state(&a, 30);
    pn_states_release(&a);
    pn_states_release(&b);
    pn_states_release(&c);
    assert_int_equal(pool->n_free, 5);
    pn_states_release(&a);
    assert_int_equal(pool->n_free, 5);
    pn_state_pool_free(pool);
    pn_states_advance(&(struct pn_states){0}, 3, 3); /* a model without recurrent layers */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_have_the_size_of_their_rows),
        cmocka_unit_test(pages_do_not_overlap),
        cmocka_unit_test(caches_are_described),
        cmocka_unit_test(used_up_pages_are_out_of_memory),
        cmocka_unit_test(shared_pages_stay),
        cmocka_unit_test(pools_take_what_memory_there_is),
        cmocka_unit_test(refuses_types_that_do_not_fit),
        cmocka_unit_test(state_pools_have_slots_apart),
        cmocka_unit_test(states_start_empty_and_run_out),
        cmocka_unit_test(copies_are_kept_now_and_then),
        cmocka_unit_test(the_least_useful_copy_makes_room),
        cmocka_unit_test(copies_share_what_slots_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
