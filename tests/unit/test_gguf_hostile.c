/* Invalid GGUF files with one wrong claim each: the error names the problem. Then files that are truncated at every
 * byte and files with every header byte changed. */
#define _POSIX_C_SOURCE 200809L /* truncate */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "expect_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define U64(...) ((const uint64_t[]){__VA_ARGS__})
#define I64(...) ((const int64_t[]){__VA_ARGS__})

static void expect_bytes_refused(const void *bytes, size_t n, pantry_status status, const char *part)
{
    expect_refused(gw_put("refused.gguf", bytes, n), status, part);
}

/* ---- the beginning of the file ---- */

static void test_no_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *part;
    } files[] = {
        {"", 0, "is an empty file"},
        {"GG", 2, "has only 2 bytes"},
        {"GGUF", 4, "has only 4 bytes; it was probably cut off"}, /* CVE-2024-39720 */
        {"GGUF\3\0\0", 7, "has only 7 bytes"},
        {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 23, "has only 23 bytes"},
        {"gguf\3\0\0\0", 8, "begin with the letters GGUF"},
        {"\0\0\0\0\0", 5, "begins with zeros"},
        {"tjgg\1\0\0\0", 8, "the format before GGUF"},
        {"PK\3\4....", 8, "`pantry import` takes wheels"},
        {"<!DOCTYPE html>", 15, "is a web page"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "is a Git LFS pointer"},
        {"\x10\0\0\0\0\0\0\0{\"a\":{}}", 16, "looks like a safetensors file"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_bytes_refused(files[i].bytes, files[i].n, PANTRY_FORMAT, files[i].part);
    expect_refused("/", PANTRY_NOT_FOUND, "is a folder without a GGUF model");
    expect_refused(gw_temp("absent.gguf"), PANTRY_NOT_FOUND, "absent.gguf: ");
}

static void test_versions(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        const char *part;
    } versions[] = {
        {0, "is GGUF version 0"},
        {1, "is GGUF version 1, but"},
        {4, "is GGUF version 4, but only"},
        {0xFFFFFFFF, "is GGUF version 4294967295"},
        {0x02000000, "is a big-endian GGUF file"},
        {0x03000000, "is a big-endian GGUF file"},
    };
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct gw g;
        small_gguf(&g);
        g.version = versions[i].version;
        expect_gw_refused(&g, PANTRY_UNSUPPORTED, versions[i].part);
    }
}

/* Counts beyond the contents of the file, with products that wrap for any size of a tensor or key. */
static void test_counts(void **state)
{
    (void)state;
    for (int bits = 8; bits <= 64; bits++) {
        for (uint64_t less = 0; less < 2; less++) {
            uint64_t n = (bits == 64 ? 0 : (uint64_t)1 << bits) - less;
            if (n == 0)
                continue;
            struct gw g;
            small_gguf(&g);
            g.n_tensors = n;
            expect_gw_refused(&g, PANTRY_FORMAT, " tensors, but only ");
            small_gguf(&g);
            g.n_meta = n;
            expect_gw_refused(&g, PANTRY_FORMAT, " metadata keys, but only ");
        }
    }
    struct gw g;
    small_gguf(&g); /* one too many: the next bytes are not a key */
    g.n_meta++;
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor 1 of 2 has a name of 844,424,930,131,968 bytes, but only ");
    small_gguf(&g);
    g.n_tensors++;
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor 3 of 3 has a name of ");
    small_gguf(&g); /* one too few: the last key's bytes are not a tensor */
    g.n_meta--;
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor ");
    small_gguf(&g); /* one tensor too few: its description is read as data */
    g.n_tensors--;
    expect_gw_refused(&g, PANTRY_FORMAT, "bytes after its last tensor");
    gw_init(&g);
    for (unsigned i = 0; i <= 65536; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        gw_u8(&g, key, 1);
        if (i == 65535)
            pn_weights_close(expect_open(gw_file(&g, "limits.gguf")));
    }
    expect_gw_refused(&g, PANTRY_LIMIT, "has 65,537 metadata keys, but at most 65,536 are allowed");
}

/* Counts that fit into the file (with a hole at its end) but are still out of bounds. */
static void test_limits(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    g.n_tensors = 262145;
    const char *path = gw_file(&g, "limits.gguf");
    assert_int_equal(truncate(path, 1 << 24), 0);
    expect_refused(path, PANTRY_LIMIT, "has 262,145 tensors, but at most 262,144 are allowed");
    g.n_tensors = 262144;
    path = gw_file(&g, "limits.gguf");
    assert_int_equal(truncate(path, 1 << 24), 0);
    expect_refused(path, PANTRY_FORMAT, "tensor 1 of 262,144 has a name that is empty");
    gw_free(&g);
    gw_init(&g);
    gw_array(&g, "key", GW_STRING, 0, NULL, 0);
    uint64_t n = (1 << 24) + 1;
    memcpy(g.meta.data + g.meta.len - 8, &n, 8);
    path = gw_file(&g, "limits.gguf");
    assert_int_equal(truncate(path, 1 << 28), 0);
    expect_refused(path, PANTRY_LIMIT, "metadata key has 16,777,217 strings, but at most 16,777,216 are allowed");
    gw_free(&g);
}

/* ---- strings and arrays ---- */

static void test_string_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {1000000,   0x7FFFFFFF,        0xFFFFFFFF,     0x100000000,
                                       INT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 8, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct gw g;
        uint64_t n = lengths[i];
        gw_init(&g); /* of a value */
        gw_value(&g, "key", GW_STRING, &n, 8);
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata key has a string of ");
        gw_init(&g); /* of a key */
        pn_buf_append(&g.meta, &n, 8);
        pn_buf_append(&g.meta, "abcdefgh", 8);
        g.n_meta = 1;
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata 1 of 1 has a key of ");
        gw_init(&g); /* in an array */
        pn_buf_append(&g.meta, "", 0);
        gw_array(&g, "key", GW_STRING, 2, U64(0, n), 8);
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata key has a string of ");
        gw_init(&g); /* of a tensor */
        pn_buf_append(&g.infos, &n, 8);
        pn_buf_append(&g.infos, "abcdefghabcdefghabcdefghabcdefgh", 32);
        g.n_tensors = 1;
        expect_gw_refused(&g, PANTRY_FORMAT, "tensor 1 of 1 has a name of ");
    }
    struct gw g;
    gw_init(&g);
    gw_value(&g, "key", GW_STRING, U64(1000000), 8);
    expect_gw_refused(&g, PANTRY_FORMAT,
                      "refused.gguf: metadata key has a string of 1,000,000 bytes, but only 0 are left in the file");
}

static void put_claimed_array(struct gw *g, uint32_t type, uint64_t n)
{
    unsigned char head[12 + 64] = {0};
    memcpy(head, &type, 4);
    memcpy(head + 4, &n, 8);
    gw_value(g, "key", GW_ARRAY, head, sizeof head);
}

static void test_array_counts(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < 13; type++) {
        if (type == GW_ARRAY)
            continue;
        for (int bits = 7; bits <= 64; bits++) { /* 2^61 items of 8 bytes wrap to none, 2^62 of 4 too */
            struct gw g;
            gw_init(&g);
            put_claimed_array(&g, type, bits == 64 ? UINT64_MAX : (uint64_t)1 << bits);
            expect_gw_refused(&g, PANTRY_FORMAT, " items, but only 64 bytes are left in the file");
        }
    }
    struct gw g;
    gw_init(&g);
    put_claimed_array(&g, GW_FLOAT64, 9); /* one too many */
    expect_gw_refused(&g, PANTRY_FORMAT, "metadata key is an array of 9 items, but only 64 bytes are left");
    gw_init(&g);
    put_claimed_array(&g, GW_FLOAT64, 8);
    expect_gw_opens(&g);
}

static void test_value_types(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {13, 14, 255, 256, 0x80000000, 0xFFFFFFFF};
    struct gw g;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gw_init(&g);
        gw_value(&g, "key", wrong[i], "12345678", 8);
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata key has the unknown value type ");
        gw_init(&g);
        put_claimed_array(&g, wrong[i], 1);
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata key is an array of the unknown value type ");
        gw_init(&g);
        put_claimed_array(&g, wrong[i], 0);
        expect_gw_refused(&g, PANTRY_FORMAT, "metadata key is an array of the unknown value type ");
    }
    for (uint64_t n = 0; n < 3; n++) {
        gw_init(&g);
        put_claimed_array(&g, GW_ARRAY, n);
        expect_gw_refused(&g, PANTRY_UNSUPPORTED, "metadata key is an array of arrays");
    }
    for (unsigned b = 2; b < 256; b++) {
        unsigned char byte = (unsigned char)b;
        gw_init(&g);
        gw_value(&g, "key", GW_BOOL, &byte, 1);
        expect_gw_refused(&g, PANTRY_FORMAT, "only 0 and 1 are allowed");
        gw_init(&g);
        gw_array(&g, "key", GW_BOOL, 3, (const unsigned char[]){0, 1, byte}, 1);
        expect_gw_refused(&g, PANTRY_FORMAT, "only 0 and 1 are allowed");
    }
}

/* ---- names ---- */

static const struct {
    const char *bytes;
    size_t n;
    const char *problem;
} bad_names[] = {
    {"", 0, "that is empty"},
    {"a\0b", 3, "that has control characters"},
    {"a\0", 2, "that has control characters"},
    {"\x1B[2J", 4, "that has control characters"},
    {"a\nb", 3, "that has control characters"},
    {"a\x7F", 2, "that has control characters"},
    {"\xC2\x9B", 2, "that has control characters"}, /* CSI in one character */
    {"\x80", 1, "that is not valid UTF-8"},
    {"a\xFF", 2, "that is not valid UTF-8"},
    {"\xC3", 1, "that is not valid UTF-8"},             /* cut off */
    {"\xE2\x82", 2, "that is not valid UTF-8"},         /* cut off */
    {"\xC0\xAF", 2, "that is not valid UTF-8"},         /* overlong */
    {"\xE0\x80\xAF", 3, "that is not valid UTF-8"},     /* overlong */
    {"\xF0\x80\x80\xAF", 4, "that is not valid UTF-8"}, /* overlong */
    {"\xED\xA0\x80", 3, "that is not valid UTF-8"},     /* surrogate */
    {"\xF4\x90\x80\x80", 4, "that is not valid UTF-8"}, /* beyond U+10FFFF */
    {"\xC3(", 2, "that is not valid UTF-8"},
    {"\xE2(\xA1", 3, "that is not valid UTF-8"},
    {"\xE2\x82(", 3, "that is not valid UTF-8"},
    {"\xED\xBF\xBF", 3, "that is not valid UTF-8"}, /* surrogate */
    {"\xF8\x88\x80\x80\x80", 5, "that is not valid UTF-8"},
};

static void test_names(void **state)
{
    (void)state;
    struct gw g;
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        gw_init(&g);
        gw_value_raw(&g, bad_names[i].bytes, bad_names[i].n, GW_UINT32, "1234567", 8);
        expect_gw_refused(&g, PANTRY_FORMAT, bad_names[i].problem);
        gw_init(&g);
        gw_tensor_claim(&g, bad_names[i].bytes, bad_names[i].n, GW_F32, 1, U64(8), 1, 0);
        gw_data(&g, (const char[32]){0}, 32);
        expect_gw_refused(&g, PANTRY_FORMAT, bad_names[i].problem);
    }
    char *name = malloc(65536);
    assert_non_null(name);
    memset(name, 'n', 65536);
    static const size_t lengths[] = {64, 1023, 1024};
    for (size_t i = 0; i < 3; i++) {
        gw_init(&g);
        gw_tensor_claim(&g, name, lengths[i], GW_F32, 1, U64(8), 1, 0);
        gw_data(&g, (const char[32]){0}, 32);
        if (lengths[i] < 1024)
            expect_gw_opens(&g);
        else
            expect_gw_refused(&g, PANTRY_FORMAT, "a name that is too long");
    }
    gw_init(&g);
    gw_value_raw(&g, name, 65535, GW_UINT8, "1", 1);
    expect_gw_opens(&g);
    gw_init(&g);
    gw_value_raw(&g, name, 65536, GW_UINT8, "1", 1);
    expect_gw_refused(&g, PANTRY_FORMAT, "a key that is too long");
    gw_init(&g);
    gw_value_raw(&g, name, 65535, 13, "1", 1); /* a long name does not hide the start of the error */
    expect_gw_refused(&g, PANTRY_FORMAT, "refused.gguf: metadata nnnn");
    gw_init(&g); /* bytes after a name are not part of it */
    gw_value_raw(&g, "\xC3", 1, 0x80808080, "1234567", 8);
    expect_gw_refused(&g, PANTRY_FORMAT, "that is not valid UTF-8");
    gw_init(&g); /* just inside the bounds */
    gw_u8(&g, " ~\xC2\xA0\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF", 1);
    expect_gw_opens(&g);
    gw_init(&g);
    gw_u8(&g, "größe.\xF0\x9F\x8D\x9E", 1);
    expect_gw_opens(&g);
    free(name);
}

static void test_duplicates(void **state)
{
    (void)state;
    struct gw g;
    small_gguf(&g);
    gw_f32(&g, "llama.block_count", 1);
    expect_gw_refused(&g, PANTRY_FORMAT, "duplicate metadata key llama.block_count");
    small_gguf(&g);
    gw_constant(&g, "a.weight", GW_F32, 1, I64(1), 0);
    expect_gw_refused(&g, PANTRY_FORMAT, "duplicate tensor a.weight");
}

/* ---- alignment ---- */

static void test_alignments(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {0, 1, 2, 3, 4, 12, 33, 131072, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    struct gw g;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        small_gguf(&g);
        gw_u32(&g, "general.alignment", wrong[i]);
        expect_gw_refused(&g, PANTRY_FORMAT, "but must be a power of two from 8 to 65,536");
    }
    for (int kind = 0; kind < 8; kind++) { /* CVE-2025-0317 and similar: the right number with the wrong type */
        const char *key = "general.alignment";
        small_gguf(&g);
        switch (kind) {
        case 0:
            gw_i32(&g, key, 32);
            break;
        case 1:
            gw_u64(&g, key, 32);
            break;
        case 2:
            gw_u8(&g, key, 32);
            break;
        case 3:
            gw_f32(&g, key, 32);
            break;
        case 4:
            gw_str(&g, key, "32");
            break;
        case 5:
            gw_bool(&g, key, true);
            break;
        case 6:
            gw_array(&g, key, GW_UINT32, 1, (const uint32_t[]){32}, 4);
            break;
        default:
            gw_array(&g, key, GW_UINT32, 0, NULL, 4);
            break;
        }
        expect_gw_refused(&g, PANTRY_FORMAT, "general.alignment must be an unsigned 32-bit integer");
    }
    small_gguf(&g); /* laid out to 32, claimed to be 64 */
    gw_u32(&g, "general.alignment", 64);
    gw_constant(&g, "c", GW_F32, 1, I64(1), 0);
    expect_gw_refused(&g, PANTRY_FORMAT, "which is not aligned to 64 bytes");
}

/* ---- shapes ---- */

static void claim(struct gw *g, uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t offset)
{
    gw_init(g);
    gw_tensor_claim(g, "t", 1, type, n_dims, dims, n_dims > 5 ? 5 : n_dims, offset);
    gw_data(g, (const char[256]){0}, 256);
}

static void test_shapes(void **state)
{
    (void)state;
    struct gw g;
    static const uint32_t n_dims[] = {0, 5, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof n_dims / sizeof *n_dims; i++) {
        claim(&g, GW_F32, n_dims[i], U64(8, 1, 1, 1, 1), 0);
        expect_gw_refused(&g, PANTRY_FORMAT, "dimensions, but must have 1 to 4");
    }
    static const uint64_t impossible[] = {0, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < 3; i++)
        for (unsigned at = 0; at < 4; at++) {
            uint64_t dims[4] = {1, 1, 1, 1};
            dims[at] = impossible[i];
            claim(&g, GW_F32, 4, dims, 0);
            expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has a dimension of ");
        }
    static const uint64_t overflow[][4] = {
        {(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1},
        {(uint64_t)1 << 32, (uint64_t)1 << 31, 1, 1},
        {(uint64_t)1 << 62, 4, 1, 1},
        {1 << 16, 1 << 16, 1 << 16, 1 << 16},
        {0x100000001, 0xFFFFFFFF, 1, 2},
        {INT64_MAX, 1, 1, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof overflow / sizeof *overflow; i++)
        for (uint32_t type = 0; type < 2; type++) {
            claim(&g, type, 4, overflow[i], 0);
            expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has dimensions whose product is beyond 63 bits");
        }
    claim(&g, GW_F32, 1, U64(INT64_MAX), 0); /* the number of values fits, the bytes do not */
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has more bytes than 64 bits can count");
    claim(&g, GW_F32, 1, U64((uint64_t)1 << 62), 0); /* 2^64 bytes */
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has more bytes than 64 bits can count");
    /* products that are 0 or small when cut to 32 bits */
    static const uint64_t cut[][2] = {{65536, 65536}, {1 << 30, 1}, {0x100000008, 1}, {0x80000000, 2}};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        claim(&g, GW_F32, 2, cut[i], 0);
        expect_gw_refused(&g, PANTRY_FORMAT, "tensor t ends at byte ");
    }
    /* rows that are not a whole number of blocks, although the product is */
    claim(&g, GW_Q8_0, 2, U64(16, 2), 0);
    expect_gw_refused(&g, PANTRY_FORMAT,
                      "tensor t has rows of 16 values, which is not a multiple of the 32 in a block of q8_0");
    claim(&g, GW_Q8_0, 1, U64(33), 0);
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has rows of 33 values");
}

/* ---- data ---- */

static void test_data_ranges(void **state)
{
    (void)state;
    struct gw g;
    claim(&g, GW_F32, 1, U64(65), 0); /* CVE-2026-7482: 4 bytes beyond the end */
    expect_gw_refused(&g, PANTRY_FORMAT,
                      "refused.gguf: tensor t ends at byte 324, but the file has 320; it was probably cut off while "
                      "downloading");
    claim(&g, GW_F32, 1, U64(8), 256);
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t ends at byte 352, but the file has 320");
    static const uint64_t offsets[] = {(uint64_t)1 << 32, (uint64_t)1 << 62, (uint64_t)1 << 63, UINT64_MAX - 63};
    for (size_t i = 0; i < 4; i++) {
        claim(&g, GW_F32, 1, U64(1), offsets[i]);
        expect_gw_refused(&g, PANTRY_FORMAT,
                          i < 3 ? "tensor t ends at byte " : "offset 18,446,744,073,709,551,552, beyond");
    }
    claim(&g, GW_F32, 1, U64(8), UINT64_MAX - 31); /* offset + size is 0 */
    expect_gw_refused(&g, PANTRY_FORMAT,
                      "tensor t has its data at offset 18,446,744,073,709,551,584, beyond the end of the file");
    claim(&g, GW_F32, 1, U64(8), 4);
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t has its data at offset 4, which is not aligned to 32 bytes");
    claim(&g, 12345, 1, U64(8), 320); /* nor does an unknown type lead outside */
    expect_gw_refused(&g, PANTRY_FORMAT, "tensor t ends at byte 384, but the file has 320");
}

static void two(struct gw *g, uint64_t n1, uint64_t at1, uint64_t n2, uint64_t at2, size_t bytes)
{
    gw_init(g);
    gw_tensor_claim(g, "one", 3, GW_F32, 1, &n1, 1, at1);
    gw_tensor_claim(g, "two", 3, GW_F32, 1, &n2, 1, at2);
    for (size_t i = 0; i < bytes; i++)
        gw_data(g, "", 1);
}

static void test_layout(void **state)
{
    (void)state;
    struct gw g;
    two(&g, 16, 0, 16, 64, 128);
    expect_gw_opens(&g);
    two(&g, 16, 0, 16, 0, 64);
    expect_gw_refused(&g, PANTRY_FORMAT, "overlap");
    two(&g, 16, 0, 16, 32, 96);
    expect_gw_refused(&g, PANTRY_FORMAT, "the data of tensors one and two overlap");
    two(&g, 16, 32, 16, 0, 96);
    expect_gw_refused(&g, PANTRY_FORMAT, "the data of tensors two and one overlap");
    two(&g, 32, 0, 8, 32, 128); /* one inside the other */
    expect_gw_refused(&g, PANTRY_FORMAT, "overlap");
    two(&g, 9, 0, 8, 32, 96); /* by four bytes */
    expect_gw_refused(&g, PANTRY_FORMAT, "overlap");
    two(&g, 8, 0, 8, 64, 96);
    expect_gw_refused(&g, PANTRY_FORMAT, "32 bytes before the data of tensor two belong to no tensor");
    two(&g, 8, 32, 8, 64, 96);
    expect_gw_refused(&g, PANTRY_FORMAT, "32 bytes before the data of tensor one belong to no tensor");
    two(&g, 8, 0, 8, 32, 65);
    g.pad_end = false;
    expect_gw_refused(&g, PANTRY_FORMAT, "has 1 bytes after its last tensor");
    two(&g, 8, 0, 8, 32, 1 << 20);
    expect_gw_refused(&g, PANTRY_FORMAT, "bytes after its last tensor");
    two(&g, 8, 0, 7, 32, 60);
    g.pad_end = false;
    expect_gw_opens(&g);
    struct pn_buf bytes; /* a vocabulary and then junk */
    gw_init(&g);
    gw_u32(&g, "a", 1);
    gw_bytes(&g, &bytes);
    for (size_t n = bytes.len; n % 32; n++)
        pn_buf_putc(&bytes, 0);
    pn_weights_close(expect_open(gw_put("opens.gguf", bytes.data, bytes.len)));
    pn_buf_putc(&bytes, 0);
    expect_bytes_refused(bytes.data, bytes.len, PANTRY_FORMAT, "bytes after its last tensor");
    pn_buf_free(&bytes);
    gw_free(&g);
}

/* Without a known end, the remaining checks still apply. */
static void test_layout_of_unknown_types(void **state)
{
    (void)state;
    static const struct {
        uint32_t type1, type2;
        uint64_t at1, at2;
        bool opens;
    } cases[] = {
        {999, GW_F32, 0, 64, true}, {GW_F32, 999, 0, 32, true}, {999, 999, 0, 32, true},     {999, 999, 32, 32, false},
        {999, GW_F32, 0, 0, false}, {GW_F32, 999, 0, 0, false}, {GW_F32, 999, 0, 64, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gw g;
        struct pn_weights *w;
        gw_init(&g);
        gw_tensor_claim(&g, "one", 3, cases[i].type1, 1, U64(8), 1, cases[i].at1);
        gw_tensor_claim(&g, "two", 3, cases[i].type2, 1, U64(8), 1, cases[i].at2);
        gw_data(&g, (const char[96]){0}, 96);
        pantry_status status = pn_weights_inspect(gw_file(&g, "unknown.gguf"), &w, NULL);
        assert_int_equal(status, cases[i].opens ? PANTRY_OK : PANTRY_FORMAT);
        pn_weights_close(w);
        gw_free(&g);
    }
}

/* ---- whole files ---- */

/* A model with a bit of everything. */
static void put_model(struct gw *g)
{
    struct pn_rng rng = {.state = 1};
    small_gguf(g);
    gw_bool(g, "b", true);
    gw_f64(g, "d", 1);
    gw_strings(g, "tokenizer.ggml.tokens", 3, (const char *const[]){"a", "bc", ""});
    gw_array(g, "tokenizer.ggml.scores", GW_FLOAT32, 3, (const float[]){1, 2, 3}, 4);
    gw_array(g, "flags", GW_BOOL, 3, (const unsigned char[]){1, 0, 1}, 1);
    gw_str(g, "tokenizer.chat_template", "{{ messages }}");
    gw_u32(g, "general.alignment", 32);
    gw_f32(g, "last", 7);
    gw_random(g, "c.weight", GW_F16, 4, I64(2, 3, 1, 5), 1, &rng);
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (int with_data = 0; with_data < 2; with_data++) {
        struct gw g;
        struct pn_buf bytes;
        put_model(&g);
        if (!with_data)
            g.n_tensors = g.infos.len = g.data.len = 0;
        g.pad_end = false;
        gw_bytes(&g, &bytes);
        const char *path = gw_put("cut.gguf", bytes.data, bytes.len);
        pn_weights_close(expect_open(path));
        for (size_t n = bytes.len; n-- > 0;) {
            assert_int_equal(truncate(path, (off_t)n), 0);
            struct pn_weights *w;
            struct pantry_error err;
            pantry_status status = pn_weights_open(path, &w, &err);
            if (status != PANTRY_FORMAT)
                fail_msg("cut to %zu bytes of %zu: %d", n, bytes.len, status);
            assert_null(w);
        }
        pn_buf_free(&bytes);
        gw_free(&g);
    }
}

/* Reads everything in a pn_weights, so a sanitizer can check every access. */
static uint64_t read_everything(const struct pn_weights *w)
{
    uint64_t sum = w->chat_template.len ? (uint64_t)(unsigned char)w->chat_template.data[w->chat_template.len - 1] : 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct pn_tensor_info *t = &w->tensors[i];
        assert_true(pn_weights_tensor(w, t->name) == t);
        if (t->bytes)
            sum += ((const unsigned char *)t->data)[0] + ((const unsigned char *)t->data)[t->bytes - 1];
    }
    for (size_t i = 0; i < w->n_meta; i++) {
        const struct pn_meta *m = &w->meta[i];
        assert_true(pn_weights_meta(w, m->key) == m);
        if (m->type == PN_META_STRING && m->s.len)
            sum += (unsigned char)m->s.data[m->s.len - 1];
        for (size_t k = 0; m->type == PN_META_ARRAY && k < m->n; k++) {
            struct pn_str s = pn_meta_item_str(m, k);
            sum +=
                pn_meta_item_u64(m, k) + (pn_meta_item_f64(m, k) > 0) + (s.len ? (unsigned char)s.data[s.len - 1] : 0);
        }
    }
    return sum;
}

static void test_change_every_byte(void **state)
{
    (void)state;
    struct gw g;
    struct pn_buf bytes;
    put_model(&g);
    gw_bytes(&g, &bytes);
    static const unsigned char change[] = {0x01, 0x80, 0xFF, 0x20, 0x08};
    unsigned refused = 0, opened = 0;
    uint64_t sum = 0;
    size_t header = gw_data_start(&g);
    for (size_t at = 0; at < header; at++) {
        for (size_t c = 0; c < sizeof change; c++) {
            bytes.data[at] = (char)(bytes.data[at] ^ change[c]);
            struct pn_weights *w;
            struct pantry_error err = {.text = ""};
            pantry_status status = pn_weights_inspect(gw_put("changed.gguf", bytes.data, bytes.len), &w, &err);
            if (status) {
                refused++;
                assert_true(status == PANTRY_FORMAT || status == PANTRY_UNSUPPORTED || status == PANTRY_LIMIT);
                assert_non_null(strstr(err.text, "changed.gguf: "));
            } else {
                opened++;
                sum += read_everything(w);
            }
            pn_weights_close(w);
            bytes.data[at] = (char)(bytes.data[at] ^ change[c]);
        }
    }
    assert_true(refused > opened / 2 && opened > 100 && sum > 0); /* both happen, so the loop tests something */
    pn_buf_free(&bytes);
    gw_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_gguf),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_string_lengths),
        cmocka_unit_test(test_array_counts),
        cmocka_unit_test(test_value_types),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_data_ranges),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_layout_of_unknown_types),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_change_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
