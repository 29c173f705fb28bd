/* base/: status and error text, arenas, byte buffers, vectors, hashes, clock and random numbers. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/hash.h"
#include "base/size.h"
#include "base/status.h"
#include "interpose.h"
#include "sanitized.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <wchar.h>

#if PN_ASAN
/* The tests ask for impossible sizes on purpose. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

/* ---- calls that are counted ---- */

static int unmapped;

int munmap(void *at, size_t size)
{
    static int (*real)(void *, size_t);
    if (!real)
        find_next("munmap", &real);
    unmapped++;
    return real(at, size);
}

/* ---- status ---- */

static void test_fail(void **state)
{
    (void)state;
    struct pantry_error err = {.text = "old"};
    assert_int_equal(pn_fail(&err, PANTRY_LIMIT, "%s: %d", "field", 7), PANTRY_LIMIT);
    assert_int_equal(err.status, PANTRY_LIMIT);
    assert_string_equal(err.text, "field: 7");
    assert_int_equal(pn_fail(NULL, PANTRY_IO, "ignored"), PANTRY_IO);
    assert_int_equal(pn_fail_prefix(&err, "file %d", 3), PANTRY_LIMIT);
    assert_string_equal(err.text, "file 3: field: 7");
    assert_int_equal(pn_fail_prefix(NULL, "x"), PANTRY_INTERNAL);
    assert_int_equal(pn_no_memory(&err, "a plan"), PANTRY_NO_MEMORY);
    assert_string_equal(err.text, "out of memory for a plan");
}

/* Long text is never cut inside a character: n ASCII letters, then characters of 2, 3 and 4 bytes. */
static void test_long_text(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8D\x9E"};
    struct pantry_error err;
    char text[2048];
    for (size_t c = 0; c < 3; c++) {
        size_t width = strlen(characters[c]);
        for (size_t letters = 0; letters < 8; letters++) {
            memset(text, 'a', letters);
            size_t n = letters;
            for (; n + width < sizeof text; n += width)
                memcpy(text + n, characters[c], width);
            text[n] = '\0';
            pn_fail(&err, PANTRY_FORMAT, "%s", text);
            size_t len = strlen(err.text);
            assert_true(len < sizeof err.text && len > sizeof err.text - 5);
            assert_int_equal((len - letters) % width, 0);
            assert_memory_equal(err.text, text, len);
            pn_fail_prefix(&err, "p");
            len = strlen(err.text);
            assert_true(len > sizeof err.text - 8);
            assert_int_equal((len - letters - 3) % width, 0);
        }
    }
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pn_fail(&err, PANTRY_FORMAT, "the sentence");
    pn_fail_prefix(&err, "%s", text); /* a prefix longer than its buffer */
    assert_non_null(strstr(err.text, "x: the sentence"));
}

/* Lengths around the largest that fits: n bytes, the last ones a character. */
static void test_text_that_just_fits(void **state)
{
    (void)state;
    static const char euro[] = "\xE2\x82\xAC";
    struct pantry_error err;
    enum { ROOM = sizeof err.text - 1, PREFIX_ROOM = 511 };
    char text[ROOM + 8];
    for (size_t n = ROOM - 4; n <= ROOM + 4; n++) {
        memset(text, 'a', n - 3);
        memcpy(text + n - 3, euro, 4);
        pn_fail(&err, PANTRY_FORMAT, "%s", text);
        assert_int_equal(strlen(err.text), n <= ROOM ? n : n - 3 < ROOM ? n - 3 : ROOM);
        pn_fail(&err, PANTRY_FORMAT, "%s", text + 10); /* shorter by the length of the prefix */
        pn_fail_prefix(&err, "12345678");
        assert_int_equal(strncmp(err.text, "12345678: a", 11), 0);
        assert_int_equal(strlen(err.text), n <= ROOM ? n : n - 3 < ROOM ? n - 3 : ROOM);
    }
    for (size_t n = PREFIX_ROOM - 4; n <= PREFIX_ROOM + 4; n++) {
        memset(text, 'a', n - 3);
        memcpy(text + n - 3, euro, 4);
        pn_fail(&err, PANTRY_FORMAT, "it");
        pn_fail_prefix(&err, "%s", text);
        size_t prefix = n <= PREFIX_ROOM ? n : n - 3 < PREFIX_ROOM ? n - 3 : PREFIX_ROOM;
        assert_string_equal(err.text + prefix, ": it");
        assert_int_equal(strncmp(err.text, text, prefix), 0);
    }
    pn_fail(&err, PANTRY_FORMAT, "%s", "");
    assert_string_equal(err.text, "");
    pn_fail_prefix(&err, "%s", "");
    assert_string_equal(err.text, ": ");
}

/* Text that fits stays as it is, even if it is not UTF-8; text that is cut loses only a partial character. */
static void test_bytes_at_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *end;
        size_t stays; /* bytes that remain if there is only room for it */
    } rows[] = {{"aaaa", 4},
                {"aaa\xC3", 3},
                {"aa\xC3\xA9", 4},
                {"aaa\xE2", 3},
                {"aa\xE2\x82", 2},
                {"a\xE2\x82\xAC", 4},
                {"aaa\xF0", 3},
                {"aa\xF0\x9F", 2},
                {"a\xF0\x9F\x8D", 1},
                {"\xF0\x9F\x8D\x9E", 4},
                {"a\x80\x80\x80", 4},
                {"\x80\x80\x80\x80", 4},
                {"a\xC3\xA9\x80", 4},
                {"aa\x80\x80", 4},
                {"a\xDF\xBF"
                 "a",
                 4},
                {"aaa\xEF", 3},
                {"aaa\xDF", 3},
                {"aaa\xC0", 3},
                {"aaa\xE0", 3},
                {"aaa\xBF", 4},
                {"aa\xDF\xBF", 4},
                {"aa\xE0\xA0", 2},
                {"aa\xEF\xBF", 2},
                {"a\xEF\xBF\xBF", 4}};
    struct pantry_error err;
    enum { ROOM = sizeof err.text - 1 };
    char text[ROOM + 8];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(text, 'a', sizeof text);
        memcpy(text + ROOM - 4, rows[i].end, 4);
        for (int longer = 0; longer < 2; longer++) {
            text[ROOM + longer] = '\0';
            pn_fail(&err, PANTRY_FORMAT, "%s", text);
            assert_int_equal(strlen(err.text), ROOM - 4 + (longer ? rows[i].stays : 4));
            assert_memory_equal(err.text, text, strlen(err.text));
            text[ROOM + longer] = 'a';
        }
        pn_fail(&err, PANTRY_FORMAT, "%.4s", rows[i].end);
        pn_fail_prefix(&err, "x");
        assert_int_equal(strncmp(err.text, "x: ", 3), 0);
        assert_string_equal(err.text + 3, rows[i].end);
    }
}

static void test_status_text(void **state)
{
    (void)state;
    static const struct {
        pantry_status status;
        const char *text;
    } rows[] = {{PANTRY_INVALID, "invalid argument"},  {PANTRY_FORMAT, "malformed input"},
                {PANTRY_UNSUPPORTED, "not supported"}, {PANTRY_NOT_FOUND, "not found"},
                {PANTRY_IO, "input/output error"},     {PANTRY_NO_MEMORY, "out of memory"},
                {PANTRY_LIMIT, "limit exceeded"},      {PANTRY_CANCELLED, "cancelled"},
                {PANTRY_CONTEXT_FULL, "context full"}, {PANTRY_RAISED, "raised by the template"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(pantry_status_text(rows[i].status), rows[i].text);
    assert_string_equal(pantry_status_text(PANTRY_OK), "success");
    assert_string_equal(pantry_status_text(PANTRY_INTERNAL), "internal error");
    assert_string_equal(pantry_status_text((pantry_status)-999), "unknown status");
}

static void test_digits(void **state)
{
    (void)state;
    assert_string_equal(pn_digits(0).text, "0");
    assert_string_equal(pn_digits(999).text, "999");
    assert_string_equal(pn_digits(1000).text, "1,000");
    assert_string_equal(pn_digits(99999).text, "99,999");
    assert_string_equal(pn_digits(100000).text, "100,000");
    assert_string_equal(pn_digits(999999).text, "999,999");
    assert_string_equal(pn_digits(1000000).text, "1,000,000");
    assert_string_equal(pn_digits(105412608).text, "105,412,608");
    assert_string_equal(pn_digits(UINT64_MAX).text, "18,446,744,073,709,551,615");
}

static void test_size_text(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 bytes"},         {999, "999 bytes"},    {1000, "1.0 kB"},      {9949, "9.9 kB"},
                 {9950, "10 kB"},        {98362432, "98 MB"},   {999499999, "999 MB"}, {999500000, "1.0 GB"},
                 {1117320768, "1.1 GB"}, {253113024, "253 MB"}, {92871040, "93 MB"},   {UINT64_MAX, "18 EB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pn_size(cases[i].bytes).text, cases[i].text);
}

/* ---- memory ---- */

static void test_size_arithmetic(void **state)
{
    (void)state;
    size_t out = 5;
    assert_true(pn_size_mul(SIZE_MAX / 2, 2, &out) && out == SIZE_MAX - 1);
    assert_false(pn_size_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(out == SIZE_MAX - 1);
    assert_true(pn_size_add(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(pn_size_add(SIZE_MAX, 1, &out));
}

/* Tables of all sizes are zeroed, writable to the last byte, and large ones start at a page. */
static void test_tables(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4096, 2097151, 2097152, 2097153, 6000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *table = pn_table_new(sizes[i], 1);
        assert_true(table || !sizes[i]);
        if (sizes[i] >= 2097152)
            assert_int_equal((uintptr_t)table % 4096, 0);
        for (size_t k = 0; k < sizes[i]; k += k + 1009 < sizes[i] ? 1009 : 1) {
            assert_int_equal(table[k], 0);
            table[k] = 1;
        }
        pn_table_free(table, sizes[i], 1);
    }
    assert_null(pn_table_new(SIZE_MAX / 2, 4));
    assert_null(pn_table_new(SIZE_MAX - 4095, 1));
    pn_table_free(NULL, 1, 1);
}

static void test_arena(void **state)
{
    (void)state;
    struct pn_arena arena = {0};
    struct pn_rng rng = {.state = 3};
    unsigned char *pieces[400];
    size_t sizes[400];
    for (size_t i = 0; i < 400; i++) { /* of all sizes, some larger than a block: none overlaps another */
        sizes[i] = pn_rng_u64(&rng) % (i % 50 == 0 ? 3000000 : 3000);
        pieces[i] = pn_arena_alloc(&arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++) {
            if (pieces[i][k])
                fail_msg("not zeroed");
            pieces[i][k] = (unsigned char)i;
        }
    }
    for (size_t i = 0; i < 400; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            if (pieces[i][k] != (unsigned char)i)
                fail_msg("pieces overlap");
    assert_null(pn_arena_alloc(&arena, SIZE_MAX));
    assert_null(pn_arena_alloc(&arena, SIZE_MAX - 16));
    assert_null(pn_arena_array(&arena, SIZE_MAX / 8 + 1, 8));
    assert_null(pn_arena_copy(&arena, "", SIZE_MAX));
    assert_non_null(pn_arena_array(&arena, 0, 8));
    assert_string_equal(pn_arena_copy(&arena, "bread and butter", 5), "bread");
    assert_string_equal(pn_arena_copy(&arena, NULL, 0), "");
    pn_arena_free(&arena);
    assert_true(!arena.head && arena.used == 0);
    pn_arena_free(&arena);
    pn_arena_free(NULL);
}

/* Blocks double from 16 KiB to 1 MiB and are used to their last byte; a piece that does not fit begins a new one. */
static void test_arena_blocks(void **state)
{
    (void)state;
    static const size_t blocks[] = {16, 32, 64, 128, 256, 512, 1024, 1024, 1024}; /* KiB */
    struct pn_arena arena = {0};
    size_t used = 0;
    for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
        char *first = pn_arena_alloc(&arena, 16);
        used += 16;
        for (size_t at = 16; at < blocks[b] << 10; at += 16, used += 16)
            if (pn_arena_alloc(&arena, 1 + at % 16) != first + at)
                fail_msg("block %zu ends at %zu", b, at);
        assert_int_equal(arena.used, used);
    }
    pn_arena_free(&arena);

    static const struct {
        size_t size, used;
    } sizes[] = {{0, 16}, {1, 16}, {15, 16}, {16, 16}, {17, 32}, {32, 32}, {33, 48}, {2000000, 2000000}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t before = arena.used;
        assert_non_null(pn_arena_alloc(&arena, sizes[i].size));
        assert_int_equal(arena.used - before, sizes[i].used);
    }
    /* After a large piece, blocks are still bounded. */
    char *first = pn_arena_alloc(&arena, 16);
    assert_ptr_equal(pn_arena_alloc(&arena, 1024 * 1024 - 16), first + 16);
    assert_ptr_not_equal(pn_arena_alloc(&arena, 16), first + 1024 * 1024);
    pn_arena_free(&arena);
    for (int i = 0; i < 3; i++) /* all blocks are freed */
        assert_non_null(pn_arena_alloc(&arena, 3000000));
    unmapped = 0;
    pn_arena_free(&arena);
    assert_int_equal(unmapped, 3);
    for (size_t less = 0; less < 40; less++)
        assert_null(pn_arena_alloc(&arena, SIZE_MAX - less));
    assert_int_equal(arena.used, 0);
    int *array = pn_arena_array(&arena, 10, sizeof *array);
    assert_int_equal(arena.used, 48);
    char *copy = pn_arena_copy(&arena, "0123456789abcdef", 16); /* and its NUL */
    assert_int_equal(arena.used, 48 + 32);
    assert_string_equal(copy, "0123456789abcdef");
    pn_arena_free(&arena);
}

/* Capacities double from 8, in one allocation even for a larger size. */
static void test_growth(void **state)
{
    (void)state;
    static const struct {
        size_t cap, need, wanted;
    } cases[] = {{0, 1, 8},    {0, 8, 8},    {0, 9, 16},   {8, 8, 8},       {8, 9, 16},     {16, 17, 32},
                 {16, 33, 64}, {20, 21, 40}, {16, 10, 16}, {0, 1000, 1024}, {0, 1024, 1024}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t cap = cases[i].cap;
        void *data = cap ? malloc(cap * 4) : NULL;
        assert_true(pn_vec_reserve(&data, &cap, cases[i].need, 4));
        assert_int_equal(cap, cases[i].wanted);
        memset(data, 1, cap * 4);
        free(data);
    }
    void *data = NULL;
    size_t cap = 0;
    assert_false(pn_vec_reserve(&data, &cap, SIZE_MAX / 2 + 2, 1)); /* larger than any power of two */
    assert_false(pn_vec_reserve(&data, &cap, SIZE_MAX, 1));
    assert_false(pn_vec_reserve(&data, &cap, SIZE_MAX / 4, 8));
    assert_true(!data && cap == 0);
}

static void test_buf_edges(void **state)
{
    (void)state;
    struct pn_buf buf = {0};
    char text[64];
    /* Every length around every capacity, with each append function: the NUL always fits. */
    for (size_t n = 0; n < 70; n++)
        for (int how = 0; how < 3; how++) {
            for (size_t k = 0; k < n; k++)
                pn_buf_putc(&buf, (char)('a' + k % 26));
            size_t extra = n % 7;
            memset(text, 'X', extra);
            text[extra] = '\0';
            if (how == 0)
                pn_buf_append(&buf, text, extra);
            else if (how == 1)
                pn_buf_puts(&buf, text);
            else
                pn_buf_printf(&buf, "%s", text);
            assert_true(buf.len == n + extra && buf.cap > buf.len && (n + extra == 0 || strlen(buf.data) == buf.len));
            for (size_t k = 0; k < n + extra; k++)
                assert_int_equal(buf.data[k], k < n ? (int)('a' + k % 26) : 'X');
            pn_buf_free(&buf);
            assert_true(!buf.data && !buf.cap);
        }
    assert_true(pn_buf_reserve(&buf, 100) && buf.cap >= 101 && buf.len == 0);
    pn_buf_append(&buf, "abc", 3);
    char *at = buf.data;
    size_t cap = buf.cap;
    pn_buf_clear(&buf);
    assert_true(buf.data == at && buf.cap == cap && buf.data[0] == '\0');
    buf.limit = 3;
    pn_buf_append(&buf, "abcd", 4);
    assert_true(buf.over_limit && !buf.failed && buf.len == 0);
    pn_buf_puts(&buf, "a"); /* ignored until cleared */
    assert_int_equal(buf.len, 0);
    assert_false(pn_buf_reserve(&buf, 0));
    pn_buf_clear(&buf);
    assert_false(buf.over_limit);
    pn_buf_puts(&buf, "abc");
    assert_false(buf.over_limit);
    char *taken = pn_buf_take(&buf);
    assert_string_equal(taken, "abc");
    free(taken);
    pn_buf_puts(&buf, "abcd");
    assert_true(buf.over_limit); /* the limit stays */
    buf.limit = 0;
    pn_buf_clear(&buf);
    pn_buf_puts(&buf, "abcd");
    assert_false(pn_buf_reserve(&buf, SIZE_MAX - 4)); /* one too many with the NUL */
    assert_true(buf.failed && buf.len == 4);
    pn_buf_clear(&buf);
    pn_buf_clear(&buf);
    assert_false(buf.failed);
    pn_buf_free(&buf);
}

static void test_buf(void **state)
{
    (void)state;
    struct pn_buf buf = {0};
    for (int i = 0; i < 1000; i++) {
        pn_buf_printf(&buf, "%d,", i);
        assert_int_equal(buf.data[buf.len], 0);
    }
    assert_int_equal(buf.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(buf.data + buf.len - 4, "999,", 5);
    pn_buf_clear(&buf);
    assert_int_equal(buf.len, 0);
    pn_buf_puts(&buf, "a");
    pn_buf_putc(&buf, '\0');
    pn_buf_append(&buf, "bc", 2);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "a\0bc", 5);
    char *taken = pn_buf_take(&buf);
    assert_memory_equal(taken, "a\0bc", 5);
    free(taken);
    taken = pn_buf_take(&buf); /* of an empty buffer */
    assert_string_equal(taken, "");
    free(taken);
    pn_buf_printf(&buf, "a%lc", (wint_t)0x7FFFFFF0); /* not a character */
    assert_true(buf.failed && buf.len == 0);
    assert_null(pn_buf_take(&buf));
    buf.limit = 3;
    pn_buf_puts(&buf, "abc");
    taken = pn_buf_take(&buf); /* up to the limit */
    assert_string_equal(taken, "abc");
    free(taken);
    buf.limit = 5;
    pn_buf_puts(&buf, "12345");
    assert_false(buf.over_limit);
    pn_buf_puts(&buf, "6");
    assert_true(buf.over_limit);
    pn_buf_puts(&buf, "");
    assert_int_equal(buf.len, 5);
    assert_null(pn_buf_take(&buf));
    assert_int_equal(buf.limit, 5);
    assert_false(pn_buf_reserve(&buf, SIZE_MAX));
    pn_buf_free(&buf);
    assert_false(pn_buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    pn_buf_puts(&buf, "ignored");
    assert_int_equal(buf.len, 0);
    assert_null(pn_buf_take(&buf));
    pn_buf_free(&buf);
    pn_buf_free(NULL);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        uint32_t c;
        const char *bytes;
    } cases[] = {
        {1, "\x01"},
        {0x7F, "\x7F"},
        {0x80, "\xC2\x80"},
        {0x7FF, "\xDF\xBF"},
        {0x800, "\xE0\xA0\x80"},
        {0xD7FF, "\xED\x9F\xBF"},
        {0xD800, "\xEF\xBF\xBD"},
        {0xDFFF, "\xEF\xBF\xBD"},
        {0xE000, "\xEE\x80\x80"},
        {0xFFFF, "\xEF\xBF\xBF"},
        {0x10000, "\xF0\x90\x80\x80"},
        {0x110000, "\xEF\xBF\xBD"},
        {0xFFFFFFFF, "\xEF\xBF\xBD"},
        {0x10FFFF, "\xF4\x8F\xBF\xBF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pn_buf buf = {0};
        pn_buf_put_utf8(&buf, cases[i].c);
        assert_string_equal(buf.data, cases[i].bytes);
        pn_buf_free(&buf);
    }
}

static void test_vec(void **state)
{
    (void)state;
    struct {
        uint64_t *data;
        size_t len, cap;
    } v = {0};
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(pn_vec_push(&v, i * i));
    assert_int_equal(v.len, 1000);
    assert_true(v.cap < 2000 && v.data[999] == 999 * 999);
    void *data = v.data;
    size_t cap = v.cap;
    assert_false(pn_vec_reserve(&data, &cap, SIZE_MAX / 8 + 1, 8));
    assert_true(data == v.data && cap == v.cap);
    free(v.data);
}

/* ---- hash ---- */

/* The examples of FIPS 180-4, in one piece and split anywhere. */
static void test_hash(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[PN_SHA256_HEX + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].text);
        assert_int_equal(pn_sha256_bytes(cases[i].text, n, hex, NULL), PANTRY_OK);
        assert_string_equal(hex, cases[i].hex);
        for (size_t cut = 0; cut <= n; cut++) {
            struct pn_sha256 hash;
            assert_int_equal(pn_sha256_start(&hash, NULL), PANTRY_OK);
            pn_sha256_update(&hash, cases[i].text, cut);
            pn_sha256_update(&hash, cases[i].text + cut, n - cut);
            memset(hex, 'x', sizeof hex);
            assert_int_equal(pn_sha256_finish(&hash, hex, NULL), PANTRY_OK);
            assert_string_equal(hex, cases[i].hex);
            assert_null(hash.context);
        }
    }
    struct pn_sha256 hash;
    struct pantry_error err;
    assert_int_equal(pn_sha256_start(&hash, &err), PANTRY_OK);
    assert_false(hash.failed);
    hash.failed = true;
    assert_int_equal(pn_sha256_finish(&hash, hex, &err), PANTRY_INTERNAL);
    assert_null(hash.context);
    pn_sha256_free(&hash);
    assert_int_equal(pn_sha256_start(&hash, &err), PANTRY_OK);
    pn_sha256_free(&hash);
    assert_null(hash.context);
    pn_sha256_free(NULL);
}

/* ---- clock ---- */

static void test_clock(void **state)
{
    (void)state;
    uint64_t before = pn_clock_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = pn_clock_ns();
        assert_true(now >= before);
        before = now;
    }
}

static uint64_t system_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Times agree with the system's clocks. */
static void test_clock_units(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        uint64_t before = system_ns(CLOCK_MONOTONIC), now = pn_clock_ns(), after = system_ns(CLOCK_MONOTONIC);
        assert_true(before <= now && now <= after);
        before = system_ns(CLOCK_THREAD_CPUTIME_ID);
        now = pn_clock_thread_ns();
        after = system_ns(CLOCK_THREAD_CPUTIME_ID);
        assert_true(before <= now && now <= after);
    }
}

/* The published SplitMix64 sequence for seed 0. */
static void test_random(void **state)
{
    (void)state;
    struct pn_rng rng = {0};
    assert_true(pn_rng_u64(&rng) == 0xE220A8397B1DCDAFu);
    assert_true(pn_rng_u64(&rng) == 0x6E789E6AA1B965F4u);
    assert_true(pn_rng_u64(&rng) == 0x06C45D188009454Fu);
    rng.state = 0;
    assert_true(pn_rng_float(&rng) == (float)0xE220A8 / 16777216.0f); /* the upper 24 bits */
    assert_true(pn_rng_float(&rng) == (float)0x6E789E / 16777216.0f);
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        float f = pn_rng_float(&rng);
        assert_true(f >= 0 && f < 1);
        sum += (double)f;
    }
    assert_true(sum > 4900 && sum < 5100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_status_text),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_size_text),
        cmocka_unit_test(test_size_arithmetic),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_vec),
        cmocka_unit_test(test_bytes_at_the_end),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_arena_blocks),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_buf_edges),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_clock_units),
        cmocka_unit_test(test_text_that_just_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
