/* Memory of the GGUF reader. Every allocation of open fails, alone and with all later ones: the result is
 * PANTRY_NO_MEMORY without leaks. And memory is never allocated for a bad file's claims.
 *
 * The sources are compiled into this program again, with counted malloc, calloc, realloc and free. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    size_t live, calls, largest, total;
    size_t fail_at; /* the call, from 1, that fails; 0: none */
    int for_good;   /* and all after it */
} memory;

static int allowed(size_t bytes)
{
    memory.calls++;
    if (memory.fail_at && (memory.for_good ? memory.calls >= memory.fail_at : memory.calls == memory.fail_at))
        return 0;
    memory.total += bytes;
    if (bytes > memory.largest)
        memory.largest = bytes;
    return 1;
}

static void *counted_calloc(size_t n, size_t size)
{
    void *p = allowed(n * size) ? calloc(n, size) : NULL;
    memory.live += p != NULL;
    return p;
}

static void *counted_realloc(void *old, size_t size)
{
    void *p = allowed(size) ? realloc(old, size) : NULL;
    memory.live += p && !old;
    return p;
}

static void counted_free(void *p)
{
    memory.live -= p != NULL;
    free(p);
}

#define calloc  counted_calloc
#define realloc counted_realloc
#define free    counted_free
#include "../../src/base/alloc.c"
#include "../../src/format/gguf.c"
#include "../../src/format/names.c"
#include "../../src/format/weights.c"
#undef calloc
#undef realloc
#undef free

#include "expect_gguf.h"

static void put_shard(unsigned no)
{
    struct gw g;
    char name[64];
    gw_init(&g);
    gw_u16(&g, "split.no", (uint16_t)no);
    gw_u16(&g, "split.count", 2);
    for (int i = 0; i < 20; i++) { /* enough that every vector grows more than once */
        snprintf(name, sizeof name, "shard%u.key%d", no, i);
        gw_strings(&g, name, 2, (const char *const[]){"a", "b"});
        gw_constant(&g, name, GW_F32, 1, (const int64_t[]){8}, 1);
    }
    snprintf(name, sizeof name, "m-%05u-of-00002.gguf", no + 1);
    gw_file(&g, name);
    gw_free(&g);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    put_shard(0);
    put_shard(1);
    const char *path = gw_temp("m-00001-of-00002.gguf");
    for (int for_good = 0; for_good < 2; for_good++) {
        pantry_status status;
        size_t failures = 0;
        do {
            struct pn_weights *w = NULL;
            struct pantry_error err = {.text = ""};
            memory.calls = 0;
            memory.live = 0;
            memory.for_good = for_good;
            memory.fail_at = failures + 1;
            status = pn_weights_open(path, &w, &err);
            memory.fail_at = 0;
            if (status) {
                failures++;
                assert_int_equal(status, PANTRY_NO_MEMORY);
                assert_int_equal(err.status, PANTRY_NO_MEMORY);
                assert_non_null(strstr(err.text, "out of memory for "));
                assert_null(w);
            }
            pn_weights_close(w);
            assert_int_equal(memory.live, 0);
        } while (status);
        assert_true(failures > 10);
    }
    /* an error frees everything: the other shard is missing */
    remove(gw_temp("m-00002-of-00002.gguf"));
    memory.live = 0;
    expect_refused(path, PANTRY_NOT_FOUND, "is missing");
    assert_int_equal(memory.live, 0);
}

/* Small files with large claims. */
static void expect_modest(struct gw *g, const char *part)
{
    const char *path = gw_file(g, "claims.gguf");
    gw_free(g);
    memory.largest = memory.total = memory.live = 0;
    expect_refused(path, PANTRY_FORMAT, part); /* opens twice */
    assert_int_equal(memory.live, 0);
    assert_true(memory.largest <= 20000 && memory.total <= 60000);
}

static void test_claims(void **state)
{
    (void)state;
    for (int bits = 12; bits < 64; bits++) {
        struct gw g;
        uint64_t n = (uint64_t)1 << bits;
        small_gguf(&g);
        g.n_tensors = n;
        expect_modest(&g, " tensors, but only ");
        small_gguf(&g);
        g.n_meta = n;
        expect_modest(&g, " metadata keys, but only ");
        small_gguf(&g);
        gw_value(&g, "key", GW_STRING, &n, 8);
        expect_modest(&g, " bytes, but only ");
        small_gguf(&g);
        gw_array(&g, "key", GW_STRING, 2, (const uint64_t[]){0, n}, 8);
        expect_modest(&g, " bytes, but only ");
        for (uint32_t type = 0; type < 13; type++) {
            unsigned char head[12];
            if (type == GW_ARRAY)
                continue;
            memcpy(head, &type, 4);
            memcpy(head + 4, &n, 8);
            small_gguf(&g);
            gw_value(&g, "key", GW_ARRAY, head, sizeof head);
            expect_modest(&g, " items, but only ");
        }
    }
}

/* A count that the file's size allows, followed by bytes that are not strings: memory is allocated only after the
 * strings were checked. */
static void test_claims_of_a_large_file(void **state)
{
    (void)state;
    struct gw g;
    size_t n = 1 << 20;
    uint64_t *items = malloc(n * sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < n; i++)
        items[i] = i == 1000 ? UINT64_MAX : 0;
    gw_init(&g);
    gw_array(&g, "key", GW_STRING, n, items, sizeof *items);
    expect_modest(&g, "has a string of 18,446,744,073,709,551,615 bytes, but only ");
    gw_init(&g); /* keys: 20,000 would fit, but the third is not a key */
    gw_u8(&g, "one", 1);
    gw_u8(&g, "two", 1);
    gw_data(&g, items, n * sizeof *items);
    g.n_meta = 20000;
    expect_modest(&g, "metadata 3 of 20,000 has a key that is empty");
    gw_init(&g); /* and tensors */
    gw_data(&g, items, n * sizeof *items);
    g.n_tensors = 200000;
    expect_modest(&g, "tensor 1 of 200,000 has a name that is empty");
    free(items);
    /* a valid file needs memory in proportion to its size */
    items = calloc(n, sizeof *items);
    assert_non_null(items);
    gw_init(&g);
    gw_array(&g, "key", GW_STRING, n, items, sizeof *items);
    const char *path = gw_file(&g, "right.gguf");
    gw_free(&g);
    memory.total = 0;
    pn_weights_close(expect_open(path));
    assert_true(memory.total <= 2 * n * sizeof *items + (2 << 20)); /* and a block of the arena */
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_claims_of_a_large_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
