/* Pages of keys and values, and slots of recurrent state: sizes, addresses, running out, and reuse. A test device
 * limits the memory. */
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
    size_t most;    /* the largest buffer allowed */
    int n_asked;    /* buffers requested */
    size_t largest; /* ... and the size of the first */
    int n_open;
    int most_buffers; /* allowed; 0: any number */
} memory;

static pantry_status give_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    if (memory.n_asked++ == 0)
        memory.largest = size;
    if (size > memory.most || (memory.most_buffers && memory.n_open == memory.most_buffers))
        return pn_fail(err, PANTRY_NO_MEMORY, "the test has no %zu bytes", size);
    memory.n_open += size > 0;
    return pn_host_buffer_new(device, size, out, err);
}

static void take_buffer(struct pn_device *device, struct pn_buffer *buffer)
{
    memory.n_open -= buffer->host != NULL;
    pn_host_buffer_free(device, buffer);
}

static const struct pn_device_class test_class = {.name = "test",
                                                  .buffer_new = give_buffer,
                                                  .buffer_free = take_buffer,
                                                  .discard = pn_host_discard,
                                                  .copy = pn_host_copy,
                                                  .fill = pn_host_fill};
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

/* Values of a token in all layers: 2 * (32 + 64), 96 (values are part of the keys), 3 * (32 + 32). */
enum { TOKEN_VALUES = 192 + 96 + 192, PAGE_VALUES = TOKEN_VALUES * PN_PAGE_TOKENS };

/* Bytes from one page or state to the next: an odd number of 4 KiB. */
static size_t stride_of(size_t bytes)
{
    size_t stride = 4096;
    while (stride < bytes)
        stride += 8192;
    return stride;
}

static struct pn_kv_pool *new_pool(pn_type type, uint64_t bytes)
{
    struct pn_kv_pool *pool;
    struct pantry_error err;
    if (pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &model, type, bytes, &pool, &err))
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
        struct pn_kv_pool *pool = new_pool(cases[i].type, 7 * stride_of(page));
        assert_int_equal(pool->groups[0].page_bytes, page);
        assert_int_equal(pool->groups[0].slots.stride, stride_of(page));
        assert_int_equal(pool->groups[0].slots.n, 7);
        pn_kv_pool_free(pool);
        pool = new_pool(cases[i].type, 7 * stride_of(page) - 1);
        assert_int_equal(pool->groups[0].slots.n, 6);
        pn_kv_pool_free(pool);
    }
    assert_int_equal(memory.n_open, 0);
    pn_kv_pool_free(NULL);
}

/* Fills a layer's part of page p with `mark`, or checks that it still holds it. */
static void mark_rows(const struct pn_kv_pool *pool, unsigned char *at, size_t bytes, int mark, bool look)
{
    const struct pn_buffer *pages = &pool->groups[0].slots.part[0].memory;
    const unsigned char *begin = pages->host, *end = begin + pages->size;
    assert_true(at >= begin && at + bytes <= end);
    assert_int_equal((uintptr_t)at % 64, 0);
    if (!look)
        memset(at, mark, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != mark)
            fail_msg("byte %zu is %d where %d should be", i, at[i], mark);
}

/* Fills the keys and values of every page of every layer with a unique number, then checks them all: nothing overlaps
 * or ends outside the buffer, and a layer's part begins at a cache line. */
static void pages_do_not_overlap(void **state)
{
    (void)state;
    enum { N = 5 };
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0};
    give_at_most(SIZE_MAX);
    for (size_t t = 0; t < COUNT(types); t++) {
        struct pn_kv_pool *pool = new_pool(types[t], 0);
        size_t page = pool->groups[0].slots.stride;
        pn_kv_pool_free(pool);
        pool = new_pool(types[t], N * page);
        assert_int_equal(pool->groups[0].slots.n, N);
        for (int pass = 0; pass < 2; pass++)
            for (int c = 0; c < N_CACHES; c++)
                for (int p = 0; p < N; p++) {
                    const struct pn_cache *cache = &pool->caches[c];
                    size_t rows = (size_t)shapes[c].n_head * PN_PAGE_TOKENS;
                    int mark = 1 + 2 * (p + N * c);
                    mark_rows(pool, cache->k + (size_t)p * cache->k_page, rows * cache->k_row, mark, pass);
                    if (!shapes[c].value_in_key)
                        mark_rows(pool, cache->v + (size_t)p * cache->v_page, rows * cache->v_row, mark + 1, pass);
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
        assert_int_equal(cache->type, PN_TYPE_F16);
        assert_int_equal(cache->n_head, shapes[c].n_head);
        assert_int_equal(cache->dim_k, shapes[c].dim_k);
        assert_int_equal(cache->dim_v, shapes[c].dim_v);
        assert_int_equal(cache->k_row, k_row);
        assert_int_equal(cache->k_page, pool->groups[0].slots.stride);
        bool inside = shapes[c].value_in_key;
        assert_int_equal(cache->v_row, inside ? k_row : v_row);
        assert_int_equal(cache->v_page, pool->groups[0].slots.stride);
        assert_true((cache->v == cache->k) == inside);
    }
    pn_kv_pool_free(pool);
}

static void used_up_pages_are_out_of_memory(void **state)
{
    (void)state;
    enum { N = 5 };
    struct pantry_error err;
    int32_t pages[N], page = -7;
    bool seen[N] = {false};
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F32, N * stride_of(PAGE_VALUES * 4));
    assert_int_equal(pool->groups[0].slots.n, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(pn_kv_page_new(pool, 0, &pages[i], &err), PANTRY_OK);
        assert_in_range(pages[i], 0, N - 1);
        assert_false(seen[pages[i]]);
        seen[pages[i]] = true;
        assert_int_equal(pn_kv_page_refs(pool, 0, pages[i]), 1);
        assert_int_equal(pn_kv_pages_used(pool, 0), i + 1);
    }
    for (int again = 0; again < 3; again++) {
        assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_NO_MEMORY);
        assert_non_null(strstr(err.text, "all 5 pages"));
        assert_int_equal(page, -7);
    }
    /* Released pages are reused, the last one first, each only once. */
    pn_kv_page_release(pool, 0, pages[1]);
    pn_kv_page_release(pool, 0, pages[3]);
    assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_OK);
    assert_int_equal(page, pages[3]);
    assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_OK);
    assert_int_equal(page, pages[1]);
    assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_NO_MEMORY);
    for (int i = 0; i < N; i++)
        pn_kv_page_release(pool, 0, pages[i]);
    assert_int_equal(pn_kv_pages_used(pool, 0), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_OK);
    assert_int_equal(pn_kv_page_new(pool, 0, &page, &err), PANTRY_NO_MEMORY);
    pn_kv_pool_free(pool);
}

/* A shared page is freed with its last reference. */
static void shared_pages_stay(void **state)
{
    (void)state;
    struct pantry_error err;
    int32_t a, b, c;
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F32, 2 * stride_of(PAGE_VALUES * 4));
    assert_int_equal(pn_kv_page_new(pool, 0, &a, &err), PANTRY_OK);
    assert_int_equal(pn_kv_page_new(pool, 0, &b, &err), PANTRY_OK);
    pn_kv_page_retain(pool, 0, a);
    pn_kv_page_retain(pool, 0, a);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pn_kv_page_refs(pool, 0, a), 3 - i);
        pn_kv_page_release(pool, 0, a);
        assert_int_equal(pn_kv_page_new(pool, 0, &c, &err), PANTRY_NO_MEMORY);
    }
    pn_kv_page_release(pool, 0, a);
    assert_int_equal(pn_kv_page_new(pool, 0, &c, &err), PANTRY_OK);
    assert_int_equal(c, a);
    pn_kv_page_release(pool, 0, c); /* it starts with one reference again */
    assert_int_equal(pn_kv_pages_used(pool, 0), 1);
    pn_kv_pool_free(pool);
}

/* A copy has the keys and values of all layers and does not change other pages. */
static void copies_have_all_layers(void **state)
{
    (void)state;
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F16, 4 * stride_of(PAGE_VALUES * 2));
    unsigned char *pages = pool->groups[0].slots.part[0].memory.host;
    size_t stride = pool->groups[0].slots.stride;
    for (size_t i = 0; i < 4 * stride; i++)
        pages[i] = (unsigned char)(i % 251 + i / stride);
    pn_kv_page_copy(pool, 0, 2, 1);
    for (size_t i = 0; i < 4 * stride; i++) {
        size_t from = i / stride == 2 ? i - stride : i;
        if (i % stride < pool->groups[0].page_bytes && pages[i] != (unsigned char)(from % 251 + from / stride))
            fail_msg("byte %zu of page %zu", i % stride, i / stride);
    }
    pn_kv_pool_free(pool);
}

static void pools_shrink_to_the_memory(void **state)
{
    (void)state;
    static struct pn_cache_shape tiny = {.n_head = 1, .dim_k = 1, .dim_v = 1};
    const size_t page = stride_of(PAGE_VALUES * 4);
    struct pn_kv_pool *pool;
    struct pantry_error err;
    give_at_most(SIZE_MAX);
    pool = new_pool(PN_TYPE_F32, 0); /* it reserves at least two */
    assert_int_equal(pool->groups[0].slots.n, 2);
    assert_int_equal(memory.largest, 2 * page);
    pn_kv_pool_free(pool);
    struct pn_model small = {.caches = &tiny, .n_caches = 1}, none = {.n_caches = 0};
    assert_int_equal(
        pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &small, PN_TYPE_F32, UINT64_MAX, &pool, &err),
        PANTRY_OK);
    assert_int_equal(pool->groups[0].slots.n, 1 << 18); /* and no more than the maximum */
    pn_kv_pool_free(pool);
    assert_int_equal(pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &none, PN_TYPE_F32, 1 << 20, &pool, &err),
                     PANTRY_OK);
    assert_int_equal(pool->groups[0].slots.n, 1 << 18); /* without attention, pages need no memory */
    assert_int_equal(pn_kv_capacity(pool), 1 << 18);
    pn_kv_page_copy(pool, 0, 1, 0);
    pn_kv_pool_free(pool);
    /* Halves the number until the allocation succeeds. */
    give_at_most(10 * page);
    pool = new_pool(PN_TYPE_F32, 64 * page);
    assert_int_equal(pool->groups[0].slots.n, 8);
    assert_int_equal(memory.n_asked, 4);
    pn_kv_pool_free(pool);
    give_at_most(2 * page - 1);
    pool = new_pool(PN_TYPE_F32, 64 * page);
    assert_int_equal(pool->groups[0].slots.n, 1);
    pn_kv_pool_free(pool);
    give_at_most(page - 1);
    assert_int_equal(
        pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &model, PN_TYPE_F32, 64 * page, &pool, &err),
        PANTRY_NO_MEMORY);
    assert_null(pool);
    assert_int_equal(memory.n_open, 0);
}

/* Pages are taken from the budget before they are used, and the pool gives back the rest. */
static void pages_are_taken_from_the_budget(void **state)
{
    (void)state;
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken;
    struct pantry_error err;
    const size_t page = stride_of(PAGE_VALUES * 4);
    give_at_most(SIZE_MAX);
    struct pn_kv_pool *pool = new_pool(PN_TYPE_F32, 20 * page);
    pn_memory_set_limit(budget, budget->weight_bytes + taken + 7 * page + page / 2);
    assert_int_equal(pn_kv_capacity(pool) / page, 7);
    assert_int_equal(pn_kv_promise(pool, 0, 5, "the test", &err), PANTRY_OK);
    assert_true(budget->taken == taken + 5 * page);
    assert_int_equal(pn_kv_capacity(pool) / page, 7); /* promised pages count too */
    assert_int_equal(pn_kv_promise(pool, 0, 3, "the test", &err), PANTRY_NO_MEMORY);
    assert_non_null(strstr(err.text, "the test needs 180 KiB of memory, but 150 KiB are left"));
    assert_true(budget->taken == taken + 5 * page);
    assert_int_equal(pn_kv_check(pool, &(int32_t){8}, "the test", &err), PANTRY_NO_MEMORY); /* three more */
    assert_non_null(strstr(err.text, "the test needs 180 KiB of memory, but 150 KiB are left"));
    assert_int_equal(pn_kv_check(pool, &(int32_t){7}, "the test", &err), PANTRY_OK);
    assert_true(budget->taken == taken + 5 * page && pool->groups[0].slots.n_promised == 5); /* a check takes nothing */
    pn_kv_unpromise(pool, 0, 1);
    assert_true(budget->taken == taken + 4 * page);
    assert_int_equal(pn_kv_promise(pool, 0, 3, "the test", &err), PANTRY_OK);
    pn_memory_set_limit(budget, 0);
    assert_int_equal(pn_kv_promise(pool, 0, 13, "the test", &err), PANTRY_OK); /* all 20 */
    assert_int_equal(pn_kv_capacity(pool), 20 * page);
    assert_int_equal(pn_kv_check(pool, &(int32_t){20}, "the test", &err), PANTRY_OK);
    assert_int_equal(pn_kv_check(pool, &(int32_t){21}, "the test", &err), PANTRY_NO_MEMORY);
    assert_int_equal(pn_kv_promise(pool, 0, 1, "the test", &err), PANTRY_NO_MEMORY);
    assert_non_null(strstr(err.text, "the test needs 60 KiB of memory, but only 0 KiB of addresses are left"));
    assert_true(budget->taken == taken + 20 * page);
    pn_kv_pool_free(pool);
    assert_true(budget->taken == taken);
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
        {{.caches = &odd_k, .n_caches = 1}, PN_TYPE_Q8_0, "heads of 48 values do not fit type q8_0"},
        {{.caches = &odd_v, .n_caches = 1}, PN_TYPE_Q8_0, "do not fit type q8_0, which has blocks of 32"},
        {{.caches = second, .n_caches = 2}, PN_TYPE_Q8_0, "do not fit type q8_0"},
        {{.caches = &odd_k, .n_caches = 1}, PN_TYPE_F16, NULL},
        {{.caches = shapes, .n_caches = 1}, PN_TYPE_Q8_0, NULL},
        {{.caches = shapes, .n_caches = 1}, PN_TYPE_AFFINE4, "type affine4 cannot store keys and values"},
    };
    give_at_most(SIZE_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_kv_pool *pool;
        struct pantry_error err;
        pantry_status status = pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &cases[i].model, cases[i].type,
                                              1 << 20, &pool, &err);
        assert_int_equal(status, cases[i].says ? PANTRY_INVALID : PANTRY_OK);
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
    struct pantry_error err;
    if (pn_state_pool_new(&(struct pn_device *){&device}, &(size_t){0}, &(size_t){n_floats}, 1, bytes, &pool, &err))
        fail_msg("%s", err.text);
    return pool;
}

static void state_slots_do_not_overlap(void **state)
{
    (void)state;
    static const struct {
        size_t n_floats, stride;
        uint64_t bytes;
        int n_slots;
    } cases[] = {
        {1024, 1024, 10 * 4096, 10},
        {1025, 3072, 10 * 3 * 4096, 10},
        {1023, 1024, 10 * 4096 - 1, 9},
        {1, 1024, 0, 2},
        {1, 1024, UINT64_MAX, 1 << 16},
        {(size_t)1 << 24, ((size_t)1 << 24) + 1024, 0, 2},
        {((size_t)1 << 24) + 1024, ((size_t)1 << 24) + 1024, 0, 2},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        give_at_most(SIZE_MAX);
        struct pn_state_pool *pool = new_states(cases[i].n_floats, cases[i].bytes);
        assert_int_equal(pool->n_floats, cases[i].n_floats);
        assert_int_equal(pool->stride, cases[i].stride);
        assert_int_equal(pool->slots.n, cases[i].n_slots);
        assert_int_equal(memory.largest, cases[i].stride * sizeof(float) * (size_t)cases[i].n_slots);
        pn_state_pool_free(pool);
        assert_int_equal(memory.n_open, 0);
    }
    /* Halves the number if memory is short, down to one. */
    struct pn_state_pool *pool;
    struct pantry_error err;
    give_at_most(10 * 4096);
    pool = new_states(16, 64 * 4096);
    assert_int_equal(pool->slots.n, 8);
    pn_state_pool_free(pool);
    give_at_most(4096);
    pool = new_states(16, 64 * 4096);
    assert_int_equal(pool->slots.n, 1);
    pn_state_pool_free(pool);
    give_at_most(4095);
    assert_int_equal(
        pn_state_pool_new(&(struct pn_device *){&device}, &(size_t){0}, &(size_t){16}, 1, 64 * 4096, &pool, &err),
        PANTRY_NO_MEMORY);
    assert_null(pool);
    pn_state_pool_free(NULL);
}

static float *state_of(const struct pn_state_pool *pool, int32_t slot)
{
    return (float *)pool->slots.part[0].memory.host + (size_t)slot * pool->stride;
}

static void fill(struct pn_state_pool *pool, int32_t slot, int value)
{
    for (size_t i = 0; i < pool->n_floats; i++)
        state_of(pool, slot)[i] = (float)value;
}

static void check_state(const struct pn_state_pool *pool, int32_t slot, int value)
{
    for (size_t i = 0; i < pool->n_floats; i++)
        if (state_of(pool, slot)[i] != (float)value)
            fail_msg("value %zu of slot %d is %g", i, (int)slot, (double)state_of(pool, slot)[i]);
}

static void states_run_out_and_return(void **state)
{
    (void)state;
    enum { N = 5, FLOATS = 1030, STRIDE = 3 * 4096 };
    int32_t s[N], late = -7;
    struct pantry_error err;
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken;
    give_at_most(SIZE_MAX);
    struct pn_state_pool *pool = new_states(FLOATS, N * STRIDE);
    assert_int_equal(pool->slots.n, N);
    for (int round = 0; round < 2; round++) { /* the second time in used slots */
        for (int i = 0; i < N; i++) {
            assert_int_equal(pn_state_new(pool, &s[i], &err), PANTRY_OK);
            assert_in_range(s[i], 0, N - 1);
            assert_int_equal(pn_states_used(pool), i + 1);
            assert_true(budget->taken == taken + (uint64_t)(i + 1) * STRIDE);
            pn_state_clear(pool, s[i]);
            check_state(pool, s[i], 0);
            fill(pool, s[i], i + 1);
        }
        for (int i = 0; i < N; i++)
            check_state(pool, s[i], i + 1); /* slots do not overlap */
        assert_int_equal(pn_state_new(pool, &late, &err), PANTRY_NO_MEMORY);
        assert_non_null(strstr(err.text, "the recurrent state of a sequence needs 12 KiB"));
        assert_int_equal(late, -7);
        assert_true(budget->taken == taken + N * STRIDE);
        pn_state_clear(pool, s[3]);
        check_state(pool, s[3], 0);
        check_state(pool, s[2], 3);
        check_state(pool, s[4], 5);
        assert_int_equal(pn_state_refs(pool, s[2]), 1);
        pn_state_retain(pool, s[2]);
        assert_int_equal(pn_state_refs(pool, s[2]), 2);
        for (int i = 0; i < N; i++)
            pn_state_release(pool, s[i]);
        assert_int_equal(pn_states_used(pool), 1); /* still referenced */
        assert_true(budget->taken == taken + STRIDE);
        pn_state_release(pool, s[2]);
        assert_int_equal(pn_states_used(pool), 0);
        assert_true(budget->taken == taken);
    }
    /* The budget runs out before the slots. */
    pn_memory_set_limit(budget, budget->weight_bytes + taken + 2 * STRIDE);
    assert_int_equal(pn_state_new(pool, &s[0], &err), PANTRY_OK);
    assert_int_equal(pn_state_new(pool, &s[1], &err), PANTRY_OK);
    assert_int_equal(pn_state_new(pool, &s[2], &err), PANTRY_NO_MEMORY);
    pn_state_release(pool, s[0]);
    assert_int_equal(pn_state_new(pool, &s[2], &err), PANTRY_OK);
    pn_memory_set_limit(budget, 0);
    pn_state_pool_free(pool);
    assert_true(budget->taken == taken);
}

/* ---- groups ---- */

enum { N_GROUPED = 9, LONGEST = 4096 };

static struct pn_node sees(int cache, int window, enum pn_window_kind kind, bool causal)
{
    return (struct pn_node){
        .op = PN_OP_ATTENTION,
        .attn = {.cache = cache, .window = window, .window_kind = kind, .causal = causal, .n_head_kv = 1}};
}

/* Layers that see equally far back share pages. A cache that several layers read keeps what all of them need. If a
 * layer's window is unknown, or there are too many groups, everything is kept. */
static void layers_are_grouped_by_what_they_see(void **state)
{
    (void)state;
    struct pn_node nodes[] = {
        sees(0, 0, PN_WINDOW_SLIDING, true),
        sees(1, 40, PN_WINDOW_SLIDING, true),
        sees(2, 100, PN_WINDOW_SLIDING, true),
        sees(2, 40, PN_WINDOW_SLIDING, true),
        sees(3, 100, PN_WINDOW_CHUNKED, true),
        sees(4, 40, PN_WINDOW_CHUNKED, true),
        sees(4, 100, PN_WINDOW_SLIDING, true),
        sees(5, 40, PN_WINDOW_SYMMETRIC, false),
        sees(6, LONGEST, PN_WINDOW_SLIDING, true),
        sees(7, LONGEST - 1, PN_WINDOW_SLIDING, true),
        sees(8, 40, PN_WINDOW_SLIDING, true),
        sees(8, 0, PN_WINDOW_SLIDING, true),
        {.op = PN_OP_CACHE_WRITE, .attn = {.cache = 1}},
    };
    static const struct {
        int group, window;
        enum pn_window_kind kind;
    } wanted[N_GROUPED] = {{0, 0, 0},
                           {1, 40, PN_WINDOW_SLIDING},
                           {2, 100, PN_WINDOW_SLIDING},
                           {3, 100, PN_WINDOW_CHUNKED},
                           {2, 100, 0},
                           {0, 0, 0},
                           {0, 0, 0},
                           {0, 0, 0},
                           {0, 0, 0}};
    struct pn_cache_shape all[N_GROUPED];
    for (int i = 0; i < N_GROUPED; i++)
        all[i] = (struct pn_cache_shape){.n_head = 1, .dim_k = 32 + 32 * i, .dim_v = 32};
    struct pn_model grouped = {.caches = all, .n_caches = N_GROUPED, .hp.n_context_train = LONGEST};
    grouped.graph.data = nodes;
    grouped.graph.len = COUNT(nodes);
    size_t bytes[PN_KV_GROUPS] = {0};
    struct pn_kv_pool *pool;
    struct pantry_error err;
    give_at_most(SIZE_MAX);
    assert_int_equal(
        pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &grouped, PN_TYPE_F16, 1 << 22, &pool, &err),
        PANTRY_OK);
    assert_int_equal(pool->n_groups, PN_KV_GROUPS);
    for (int i = 0; i < N_GROUPED; i++) {
        const struct pn_cache *c = &pool->caches[i];
        const struct pn_kv_group *g = &pool->groups[c->group];
        assert_int_equal(c->group, wanted[i].group);
        assert_int_equal(g->window, wanted[i].window);
        assert_int_equal(g->kind, wanted[i].kind);
        assert_ptr_equal(c->k, (unsigned char *)g->slots.part[0].memory.host + bytes[c->group]);
        bytes[c->group] += (size_t)(32 + 32 * i) * 2 * PN_PAGE_TOKENS;
        assert_ptr_equal(c->v, (unsigned char *)g->slots.part[0].memory.host + bytes[c->group]);
        bytes[c->group] += 32 * 2 * PN_PAGE_TOKENS;
        assert_int_equal(c->k_page, stride_of(g->page_bytes));
        assert_int_equal(c->v_page, c->k_page);
    }
    for (int g = 0; g < PN_KV_GROUPS; g++) {
        assert_int_equal(pool->groups[g].page_bytes, bytes[g]);
        assert_int_equal(pool->groups[g].slots.n, (1 << 22) / stride_of(bytes[g]));
    }
    assert_int_equal(memory.n_open, PN_KV_GROUPS);
    pn_kv_pool_free(pool);
    assert_int_equal(memory.n_open, 0);
    for (int n = 1; n < PN_KV_GROUPS; n++) { /* one group gets memory, the next does not */
        give_at_most(SIZE_MAX);
        memory.most_buffers = n;
        assert_int_equal(
            pn_kv_pool_new(&(struct pn_device *){&device}, 1, NULL, &grouped, PN_TYPE_F16, 1 << 22, &pool, &err),
            PANTRY_NO_MEMORY);
        assert_int_equal(memory.n_open, 0);
    }
}

/* Each device has the keys and values of its own layers, of every group; a page has the same number on all devices. */
static void groups_have_parts_on_their_devices(void **state)
{
    (void)state;
    enum { N_DEVICES = 3, N_LAYERS = 4, N_PAGES = 5 };
    struct pn_device devices[N_DEVICES] = {device, device, device};
    struct pn_device *all[N_DEVICES] = {&devices[0], &devices[1], &devices[2]};
    struct pn_node nodes[] = {sees(0, 40, PN_WINDOW_SLIDING, true), sees(1, 0, PN_WINDOW_SLIDING, true),
                              sees(2, 40, PN_WINDOW_SLIDING, true), sees(3, 40, PN_WINDOW_SLIDING, true)};
    static const int8_t part_of[N_LAYERS] = {0, 2, 2, 0}; /* the second device has no layers */
    static const size_t bytes[2][N_DEVICES] = {{0, 0, 2 * 8192}, {4 * 8192, 0, 2 * 8192}};
    struct pn_cache_shape layers[N_LAYERS];
    for (int i = 0; i < N_LAYERS; i++)
        layers[i] = (struct pn_cache_shape){.n_head = 2, .dim_k = 64, .dim_v = 64}; /* of 8192 bytes each */
    struct pn_model parted = {.caches = layers, .n_caches = N_LAYERS, .hp.n_context_train = LONGEST};
    parted.graph.data = nodes;
    parted.graph.len = COUNT(nodes);
    struct pn_memory *budget = pn_memory_of_process();
    struct pn_kv_pool *pool;
    struct pantry_error err;
    give_at_most(SIZE_MAX);
    assert_int_equal(pn_kv_pool_new(all, N_DEVICES, part_of, &parted, PN_TYPE_F16, N_PAGES * 4 * 8192 * 2, &pool, &err),
                     PANTRY_OK);
    assert_int_equal(pool->n_groups, 2);
    for (int g = 0; g < 2; g++) {
        const struct pn_kv_group *group = &pool->groups[g];
        size_t stride = 0, sum = 0;
        for (int i = 0; i < N_DEVICES; i++) {
            const struct pn_slots_part *part = &group->slots.part[i];
            assert_int_equal(part->bytes, bytes[g][i]);
            assert_int_equal(part->stride, bytes[g][i] ? stride_of(bytes[g][i]) : 0);
            assert_int_equal(part->memory.size, part->stride * (size_t)group->slots.n);
            assert_true(part->memory.device == (bytes[g][i] ? all[i] : NULL));
            stride += part->stride;
            sum += bytes[g][i];
        }
        assert_int_equal(group->page_bytes, sum);
        assert_int_equal(group->slots.stride, stride);
        assert_true(group->slots.n >= N_PAGES);
        uint64_t taken = budget->taken;
        assert_int_equal(pn_kv_promise(pool, g, 2, "the test", &err), PANTRY_OK);
        assert_int_equal(budget->taken - taken, 2 * stride);
        pn_kv_unpromise(pool, g, 2);
        assert_int_equal(budget->taken, taken);
    }
    for (int i = 0; i < N_LAYERS; i++) { /* page p of layer i is filled with 10 i + p */
        const struct pn_cache *c = &pool->caches[i];
        const struct pn_slots_part *part = &pool->groups[c->group].slots.part[part_of[i]];
        const unsigned char *begin = part->memory.host;
        assert_int_equal(c->group, i != 1);
        assert_int_equal(c->k_page, part->stride);
        assert_true(c->k >= begin && c->k + 8192 <= begin + part->bytes);
        assert_true(c->v >= begin && c->v + 8192 <= begin + part->bytes);
        for (int p = 0; p < N_PAGES; p++) {
            memset(c->k + (size_t)p * c->k_page, 10 * i + p, 8192);
            memset(c->v + (size_t)p * c->v_page, 10 * i + p, 8192);
        }
    }
    pn_kv_page_copy(pool, 1, 1, 3); /* only layers with windows, on both of their devices */
    for (int i = 0; i < N_LAYERS; i++)
        for (int p = 0; p < N_PAGES; p++) {
            const struct pn_cache *c = &pool->caches[i];
            int mark = 10 * i + (p == 1 && i != 1 ? 3 : p);
            const unsigned char *k = c->k + (size_t)p * c->k_page, *v = c->v + (size_t)p * c->v_page;
            assert_true(k[0] == mark && k[8191] == mark && v[0] == mark && v[8191] == mark);
        }
    pn_kv_pool_free(pool);
    assert_int_equal(memory.n_open, 0);
}

/* A state has a part on each device, where a step finds its floats at their offsets in the state. */
static void states_have_parts(void **state)
{
    (void)state;
    struct pn_device devices[2] = {device, device};
    struct pn_device *all[2] = {&devices[0], &devices[1]};
    static const size_t first[2] = {3000, 0}, n_floats[2] = {500, 3000};
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken;
    struct pn_state_pool *pool;
    struct pantry_error err;
    int32_t slots[2];
    give_at_most(SIZE_MAX);
    assert_int_equal(pn_state_pool_new(all, first, n_floats, 2, 1 << 20, &pool, &err), PANTRY_OK);
    assert_int_equal(pool->n_floats, 3500);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pn_state_new(pool, &slots[i], &err), PANTRY_OK);
    assert_int_equal(budget->taken - taken, 2 * (stride_of(500 * 4) + stride_of(3000 * 4)));
    for (int part = 0; part < 2; part++) {
        size_t stride;
        uintptr_t base = (uintptr_t)pn_state_base(pool, part, &stride);
        assert_int_equal(stride, stride_of(n_floats[part] * 4) / 4);
        assert_int_equal(base + first[part] * 4, (uintptr_t)pool->slots.part[part].memory.host);
        memset(pool->slots.part[part].memory.host, 7, 2 * stride * 4);
    }
    pn_state_clear(pool, slots[1]);
    for (int part = 0; part < 2; part++) {
        const char *at = pool->slots.part[part].memory.host;
        size_t stride = pool->slots.part[part].stride, bytes = n_floats[part] * 4;
        assert_true(at[0] == 7 && at[stride - 1] == 7 && at[stride] == 0 && at[stride + bytes - 1] == 0);
    }
    for (int i = 0; i < 2; i++)
        pn_state_release(pool, slots[i]);
    pn_state_pool_free(pool);
    assert_int_equal(budget->taken, taken);
    assert_int_equal(memory.n_open, 0);
}

/* The formulas for windows, checked at every length. */
static void window_formulas_match_brute_force(void **state)
{
    (void)state;
    static const int windows[] = {1, 2, 31, 32, 33, 64, 100, 129}, slices[] = {0, 1, 5, 32, 33, 100};
    enum { N = 700 };
    for (size_t i = 0; i < 2 * COUNT(windows); i++) {
        int w = windows[i / 2];
        bool chunked = i % 2;
        struct pn_kv_pool pool = {.n_groups = 2,
                                  .groups = {{0}, {.window = w, .kind = chunked ? PN_WINDOW_CHUNKED : 0}}};
        int first_page[N];
        for (int n = 0; n < N; n++) {
            int seen = chunked ? n / w * w : n < w ? 0 : n - w + 1, page = seen / PN_PAGE_TOKENS;
            first_page[n] = pn_kv_first_page(&pool, 1, n);
            assert_int_equal(first_page[n], page ? page - 1 : 0);
            assert_int_equal(pn_kv_first_page(&pool, 0, n), 0);
            int least = 0; /* with pages from this one on */
            while ((chunked ? least / w * w : least - w + 1) < page * PN_PAGE_TOKENS && page)
                least++;
            assert_int_equal(pn_kv_least_length(&pool, 1, page), least);
        }
        assert_int_equal(pn_kv_least_length(&pool, 0, 0), 0);
        for (size_t k = 0; k < COUNT(slices); k++) {
            int most = 0;
            for (int n = 0; n + slices[k] < N; n++) {
                int held = (n + slices[k] + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS - first_page[n];
                most = held > most ? held : most;
                assert_true(held <= pn_kv_most_pages(&pool, 1, n + slices[k], slices[k]));
            }
            assert_in_range(pn_kv_most_pages(&pool, 1, 1 << 20, slices[k]), most, most + 1 + chunked);
        }
        assert_int_equal(pn_kv_most_pages(&pool, 0, 1000, 32), 1000 / PN_PAGE_TOKENS + 1);
        assert_int_equal(pn_kv_most_pages(&pool, 1, 0, 32), 1);
        assert_true(pn_kv_most_pages(&pool, 1, INT32_MAX, INT32_MAX) > 0);
        assert_true(pn_kv_most_bytes(&pool, 0, 0) == 2); /* a page without memory counts as 1 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_have_the_size_of_their_rows),
        cmocka_unit_test(pages_do_not_overlap),
        cmocka_unit_test(caches_are_described),
        cmocka_unit_test(used_up_pages_are_out_of_memory),
        cmocka_unit_test(shared_pages_stay),
        cmocka_unit_test(copies_have_all_layers),
        cmocka_unit_test(pools_shrink_to_the_memory),
        cmocka_unit_test(pages_are_taken_from_the_budget),
        cmocka_unit_test(refuses_types_that_do_not_fit),
        cmocka_unit_test(state_slots_do_not_overlap),
        cmocka_unit_test(layers_are_grouped_by_what_they_see),
        cmocka_unit_test(groups_have_parts_on_their_devices),
        cmocka_unit_test(states_have_parts),
        cmocka_unit_test(window_formulas_match_brute_force),
        cmocka_unit_test(states_run_out_and_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
