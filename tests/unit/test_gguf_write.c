/* The writer of GGUF files: what the reader finds in its files, shards, resuming, and failures that leave nothing. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/gguf_write.h"

#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TENSORS = 5 };

/* Tensor i has i + 1 rows of 64 values in a type of its own. */
static const pn_type types[TENSORS] = {PN_TYPE_F32, PN_TYPE_Q8_0, PN_TYPE_F16, PN_TYPE_Q4_0, PN_TYPE_BF16};

static const char *tensor_name(int i)
{
    static char name[32];
    snprintf(name, sizeof name, "blk.%d.weight", i);
    return name;
}

static size_t tensor_bytes(int i)
{
    return pn_type_row_bytes(types[i], 64) * (size_t)(i + 1);
}

static unsigned char byte_of(int tensor, size_t at)
{
    return (unsigned char)(tensor * 71 + (int)(at * 13 % 251));
}

static struct pn_gguf_writer *begun(const char *path, const struct pn_gguf_options *options)
{
    struct pn_gguf_writer *w;
    struct pn_gguf_meta meta = {0};
    struct pantry_error err;
    pn_gguf_str(&meta, "general.architecture", "llama");
    pn_gguf_u32(&meta, "llama.block_count", 5);
    assert_int_equal(pn_gguf_writer_new(path, options, &w, &err), PANTRY_OK);
    for (int i = 0; i < TENSORS; i++) {
        pn_gguf_shard(w, (size_t)i / 2);
        assert_int_equal(pn_gguf_add(w, tensor_name(i), types[i], 2, (const int64_t[]){i + 1, 64}, &err), PANTRY_OK);
    }
    assert_int_equal(pn_gguf_begin(w, &meta, &err), PANTRY_OK);
    pn_gguf_meta_free(&meta);
    return w;
}

/* Writes tensors first .. end - 1 in pieces of 100 bytes; of the last one only `part` bytes. */
static void fill(struct pn_gguf_writer *w, int first, int end, size_t part)
{
    for (int i = first; i < end; i++) {
        size_t n = i == end - 1 && part ? part : tensor_bytes(i);
        for (size_t at = 0; at < n; at += 100) {
            unsigned char piece[100];
            size_t length = n - at < 100 ? n - at : 100;
            for (size_t k = 0; k < length; k++)
                piece[k] = byte_of(i, at + k);
            assert_int_equal(pn_gguf_write(w, piece, length, NULL), PANTRY_OK);
        }
    }
}

static void check_file(const char *path, size_t n_maps)
{
    struct pn_weights *weights;
    struct pantry_error err;
    if (pn_weights_open(path, &weights, &err) != PANTRY_OK)
        fail_msg("%s", err.text);
    assert_int_equal(weights->n_maps, n_maps);
    assert_int_equal(weights->n_tensors, TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        const struct pn_tensor_info *t = pn_weights_tensor(weights, tensor_name(i));
        assert_non_null(t);
        assert_int_equal(t->type, types[i]);
        assert_int_equal(t->shape[0], i + 1);
        assert_int_equal(t->bytes, tensor_bytes(i));
        for (size_t k = 0; k < t->bytes; k++)
            assert_int_equal(((const unsigned char *)t->data)[k], byte_of(i, k));
    }
    pn_weights_close(weights);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void one_file(void **state)
{
    (void)state;
    const char *path = gw_temp("one.gguf");
    struct pn_gguf_writer *w = begun(path, &(struct pn_gguf_options){.alignment = 256});
    assert_false(exists(path));
    fill(w, 0, TENSORS, 0);
    struct stat st;
    uint64_t total = pn_gguf_total(w);
    assert_int_equal(pn_gguf_finish(w, NULL), PANTRY_OK);
    pn_gguf_writer_free(w);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, total);
    check_file(path, 1);
}

/* Shards by size: no shard is larger unless it has only one tensor. */
static void shards(void **state)
{
    (void)state;
    static const struct {
        uint64_t split;
        bool keep;
        size_t n;
    } cases[] = {{1, false, 5}, {1200, false, 2}, {1 << 20, false, 1}, {0, true, 3}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct pn_gguf_options options = {.split_size = cases[c].split, .keep_shards = cases[c].keep};
        char stem[32], name[64];
        snprintf(stem, sizeof stem, "split%zu.gguf", c);
        struct pn_gguf_writer *w = begun(gw_temp(stem), &options);
        fill(w, 0, TENSORS, 0);
        assert_int_equal(pn_gguf_finish(w, NULL), PANTRY_OK);
        pn_gguf_writer_free(w);
        for (size_t i = 0; i < cases[c].n; i++) {
            struct stat st;
            snprintf(name, sizeof name, cases[c].n > 1 ? "split%zu-%05zu-of-%05zu.gguf" : "split%zu.gguf", c, i + 1,
                     cases[c].n);
            assert_int_equal(stat(gw_temp(name), &st), 0);
            if (cases[c].split > 1)
                assert_true((uint64_t)st.st_size <= cases[c].split);
            if (i == 0)
                check_file(gw_temp(name), cases[c].n);
        }
    }
}

static void every_kind_of_metadata(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    gw_u8(&g, "a.u8", 255);
    gw_i8(&g, "a.i8", -128);
    gw_u16(&g, "a.u16", 65535);
    gw_i16(&g, "a.i16", -32768);
    gw_u32(&g, "a.u32", UINT32_MAX);
    gw_i32(&g, "a.i32", INT32_MIN);
    gw_u64(&g, "a.u64", UINT64_MAX);
    gw_i64(&g, "a.i64", INT64_MIN);
    gw_f32(&g, "a.f32", 1.1f);
    gw_f64(&g, "a.f64", 1.1);
    gw_bool(&g, "a.bool", true);
    gw_str(&g, "a.str", "caf\xC3\xA9");
    gw_strings(&g, "a.strings", 3, (const char *const[]){"x", "", "yz"});
    static const uint32_t item_types[] = {GW_UINT8, GW_INT16, GW_UINT32, GW_FLOAT32, GW_FLOAT64, GW_INT64};
    static const size_t widths[] = {1, 2, 4, 4, 8, 8};
    for (size_t i = 0; i < 6; i++) {
        char key[16];
        snprintf(key, sizeof key, "a.array%zu", i);
        gw_array(&g, key, item_types[i], 2, "\x01\x02\x03\x04\x05\x06\x07\x3F\x11\x12\x13\x14\x15\x16\x17\x3F",
                 widths[i]);
    }
    gw_array(&g, "a.bools", GW_BOOL, 3, "\x01\x00\x01", 1);
    struct pn_weights *weights;
    struct pn_gguf_meta copy = {0};
    assert_int_equal(pn_weights_open(gw_file(&g, "kinds.gguf"), &weights, NULL), PANTRY_OK);
    for (size_t i = 0; i < weights->n_meta; i++)
        pn_gguf_copy(&copy, &weights->meta[i]);
    assert_int_equal(copy.n, g.n_meta);
    assert_int_equal(copy.bytes.len, g.meta.len);
    assert_memory_equal(copy.bytes.data, g.meta.data, g.meta.len);
    pn_gguf_meta_free(&copy);
    pn_weights_close(weights);
    gw_free(&g);
}

/* A run that stops at any tensor, in the middle of it, goes on after the last complete one.
 */
static void resuming(void **state)
{
    (void)state;
    for (int shape = 0; shape < 2; shape++)
        for (int stop = 1; stop <= TENSORS; stop++) {
            const char *path = gw_temp("resumed.gguf"), *first = path;
            struct pn_gguf_options options = {.key = "job", .keep_shards = shape == 1};
            struct pn_gguf_writer *w = begun(path, &options);
            assert_int_equal(pn_gguf_done(w), 0);
            fill(w, 0, stop, 50);
            pn_gguf_writer_free(w);
            if (shape == 1) {
                first = gw_temp("resumed-00001-of-00003.gguf");
                gw_temp("resumed-00002-of-00003.gguf");
                gw_temp("resumed-00003-of-00003.gguf");
            }
            assert_false(exists(first));
            w = begun(path, &options);
            assert_int_equal(pn_gguf_done(w), stop - 1);
            fill(w, stop - 1, TENSORS, 0);
            assert_int_equal(pn_gguf_finish(w, NULL), PANTRY_OK);
            pn_gguf_writer_free(w);
            check_file(first, shape == 1 ? 3 : 1);
            unlink(first);
        }
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    struct pantry_error err;
    const char *path = gw_temp("failed.gguf");
    char partial[512];
    snprintf(partial, sizeof partial, "%s.%d.partial", path, (int)getpid());
    struct pn_gguf_writer *w = begun(path, &(struct pn_gguf_options){0});
    assert_true(exists(partial));
    fill(w, 0, 3, 0);
    assert_int_equal(pn_gguf_finish(w, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "2 of 5 tensors have no data"));
    pn_gguf_writer_free(w);
    assert_false(exists(partial));
    assert_false(exists(path));

    w = begun(path, &(struct pn_gguf_options){0});
    fill(w, 0, TENSORS, 0);
    assert_int_equal(pn_gguf_write(w, "x", 1, &err), PANTRY_INVALID);
    pn_gguf_writer_free(w);

    assert_int_equal(pn_gguf_writer_new("/nowhere/x.gguf", &(struct pn_gguf_options){0}, &w, &err), PANTRY_OK);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 1, (const int64_t[]){4}, &err), PANTRY_OK);
    assert_int_equal(pn_gguf_begin(w, &(struct pn_gguf_meta){0}, &err), PANTRY_IO);
    pn_gguf_writer_free(w);
    assert_int_equal(pn_gguf_writer_new(path, &(struct pn_gguf_options){.alignment = 24}, &w, &err), PANTRY_INVALID);
}

static void bad_tensors(void **state)
{
    (void)state;
    struct pn_gguf_writer *w;
    struct pantry_error err;
    assert_int_equal(pn_gguf_writer_new(gw_temp("bad.gguf"), &(struct pn_gguf_options){0}, &w, &err), PANTRY_OK);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_Q4_K, 1, (const int64_t[]){128}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "", PN_TYPE_F32, 1, (const int64_t[]){4}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_AFFINE4, 1, (const int64_t[]){64}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 0, (const int64_t[]){4}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 2, (const int64_t[]){0, 4}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 2, (const int64_t[]){INT64_MAX, 8}, &err), PANTRY_INVALID);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 1, (const int64_t[]){4}, &err), PANTRY_OK);
    assert_int_equal(pn_gguf_add(w, "a", PN_TYPE_F32, 1, (const int64_t[]){4}, &err), PANTRY_OK);
    assert_int_equal(pn_gguf_begin(w, &(struct pn_gguf_meta){0}, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "duplicate tensor a"));
    pn_gguf_writer_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file),
        cmocka_unit_test(shards),
        cmocka_unit_test(every_kind_of_metadata),
        cmocka_unit_test(resuming),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(bad_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
