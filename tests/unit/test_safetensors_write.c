/* The writer of safetensors files: what the reader finds in its files, shards with their index, wrong lists, and
 * failures that leave nothing. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/safetensors_write.h"

#include "gguf_writer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

/* A name to escape, a number without dimensions, one without values, and bits that share bytes. */
static const struct {
    const char *name;
    enum pn_st_type type;
    int n_dims;
    int64_t shape[3];
    size_t bytes;
} tensors[] = {
    {"model.embed \"tokens\\.weight", PN_ST_F32, 2, {3, 5}, 60},
    {"scalar", PN_ST_F16, 0, {0}, 2},
    {"none", PN_ST_I32, 2, {0, 7}, 0},
    {"codes", PN_ST_F4, 1, {6}, 3},
    {"model.norm.weight", PN_ST_BF16, 3, {2, 2, 2}, 16},
    {"last.none", PN_ST_U8, 1, {0}, 0},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static unsigned char byte_of(size_t tensor, size_t at)
{
    return (unsigned char)(tensor * 71 + at * 13);
}

static struct pn_st_writer *begun(const char *path, uint64_t split_size)
{
    struct pn_st_writer *w;
    struct pantry_error err;
    assert_int_equal(
        pn_st_writer_new(path, &(struct pn_st_options){.format = "mlx", .split_size = split_size}, &w, &err),
        PANTRY_OK);
    for (size_t i = 0; i < TENSORS; i++)
        assert_int_equal(pn_st_add(w, tensors[i].name, tensors[i].type, tensors[i].n_dims, tensors[i].shape, &err),
                         PANTRY_OK);
    assert_int_equal(pn_st_total(w), 81);
    assert_int_equal(pn_st_begin(w, &err), PANTRY_OK);
    return w;
}

/* All bytes in pieces that do not end where tensors do. */
static void fill(struct pn_st_writer *w, size_t piece)
{
    unsigned char all[81];
    size_t n = 0;
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t k = 0; k < tensors[i].bytes; k++)
            all[n++] = byte_of(i, k);
    for (size_t at = 0; at < n; at += piece)
        assert_int_equal(pn_st_write(w, all + at, n - at < piece ? n - at : piece, NULL), PANTRY_OK);
}

/* Reads one file and counts what it has of the list. */
static size_t check_file(const char *path)
{
    struct pn_map map = {0};
    struct pn_arena arena = {0};
    struct pn_st_tensors found = {0};
    struct pantry_error err;
    const char *writer = NULL;
    assert_int_equal(pn_map_open(&map, path, &err), PANTRY_OK);
    if (pn_safetensors_read(&map, 0, path, &arena, &found, &writer, &err))
        fail_msg("%s", err.text);
    assert_string_equal(writer, "mlx");
    for (size_t f = 0; f < found.len; f++) {
        const struct pn_st_tensor *t = &found.data[f];
        size_t i = 0;
        while (i < TENSORS && strcmp(tensors[i].name, t->name) != 0)
            i++;
        assert_true(i < TENSORS);
        assert_int_equal(t->type, tensors[i].type);
        assert_int_equal(t->n_dims, tensors[i].n_dims);
        assert_int_equal(t->bytes, tensors[i].bytes);
        for (int d = 0; d < t->n_dims; d++)
            assert_int_equal(t->shape[d], tensors[i].shape[d]);
        for (size_t k = 0; k < t->bytes; k++)
            assert_int_equal(t->data[k], byte_of(i, k));
    }
    size_t n = found.len;
    free(found.data);
    pn_arena_free(&arena);
    pn_map_close(&map);
    return n;
}

static void reads_what_was_written(void **state)
{
    (void)state;
    const char *path = gw_temp("model.safetensors");
    for (size_t piece = 1; piece <= 81; piece += 16) {
        struct pn_st_writer *w = begun(path, 0);
        fill(w, piece);
        assert_int_equal(access(path, F_OK), -1); /* not before it is complete */
        assert_int_equal(pn_st_write(w, "", 1, NULL), PANTRY_INVALID);
        assert_int_equal(pn_st_finish(w, NULL), PANTRY_OK);
        pn_st_writer_free(w);
        assert_int_equal(check_file(path), TENSORS);
        unlink(path);
    }
}

static void splits(void **state)
{
    (void)state;
    const char *path = gw_temp("split.safetensors");
    char shard[1200], index[1200];
    struct pn_st_writer *w = begun(path, 20);
    fill(w, 7);
    assert_int_equal(pn_st_finish(w, NULL), PANTRY_OK);
    pn_st_writer_free(w);
    size_t n = 0;
    for (int i = 1; i <= 3; i++) { /* 60; 2, 0, 3; 16, 0 bytes */
        snprintf(shard, sizeof shard, "%.*s-0000%d-of-00003.safetensors", (int)(strlen(path) - 12), path, i);
        n += check_file(shard);
        unlink(shard);
    }
    assert_int_equal(n, TENSORS);
    snprintf(index, sizeof index, "%s.index.json", path);
    json_t *read = json_load_file(index, JSON_REJECT_DUPLICATES, NULL);
    unlink(index);
    assert_non_null(read);
    const json_t *where = json_object_get(read, "weight_map");
    assert_int_equal(json_object_size(where), TENSORS);
    assert_string_equal(json_string_value(json_object_get(where, tensors[0].name)), "split-00001-of-00003.safetensors");
    assert_string_equal(json_string_value(json_object_get(where, "codes")), "split-00002-of-00003.safetensors");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(read, "metadata"), "total_size")), 81);
    json_decref(read);
}

static void refuses_wrong_lists(void **state)
{
    (void)state;
    struct pn_st_writer *w;
    struct pantry_error err;
    const int64_t odd[] = {3}, negative[] = {-1}, large[] = {INT64_MAX, INT64_MAX};
    assert_int_equal(pn_st_writer_new("x.bin", &(struct pn_st_options){0}, &w, &err), PANTRY_INVALID);
    assert_null(w);
    assert_int_equal(pn_st_writer_new(gw_temp("wrong.safetensors"), &(struct pn_st_options){0}, &w, &err), PANTRY_OK);
    assert_int_equal(pn_st_add(w, "", PN_ST_U8, 0, NULL, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a\n", PN_ST_U8, 0, NULL, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a", PN_ST_F4, 1, odd, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a", PN_ST_U8, 1, negative, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a", PN_ST_U8, 2, large, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a", PN_ST_U8, 9, large, &err), PANTRY_INVALID);
    assert_int_equal(pn_st_add(w, "a", PN_ST_U8, 1, odd, &err), PANTRY_OK);
    assert_int_equal(pn_st_add(w, "a", PN_ST_U8, 1, odd, &err), PANTRY_OK);
    assert_int_equal(pn_st_begin(w, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "duplicate tensor a"));
    pn_st_writer_free(w);
}

/* A folder that does not exist, missing data, and a full disk: nothing stays, and nothing gets the final name. */
static void leaves_nothing_after_failures(void **state)
{
    (void)state;
    struct pn_st_writer *w;
    struct pantry_error err;
    const char *path = gw_temp("fails.safetensors");
    char partial[1200];
    snprintf(partial, sizeof partial, "%s.%d.partial", path, (int)getpid());
    w = begun(path, 0);
    assert_int_equal(access(partial, F_OK), 0);
    assert_int_equal(pn_st_write(w, "abc", 3, &err), PANTRY_OK);
    assert_int_equal(pn_st_finish(w, &err), PANTRY_INVALID);
    pn_st_writer_free(w);
    assert_int_equal(access(partial, F_OK), -1);
    assert_int_equal(access(path, F_OK), -1);

    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    w = begun(path, 0);
    small = (struct rlimit){64, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    pantry_status status = pn_st_write(w, "0123456789", 10, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, PANTRY_IO);
    assert_non_null(strstr(err.text, "cannot be written"));
    pn_st_writer_free(w);
    assert_int_equal(access(partial, F_OK), -1);

    assert_int_equal(pn_st_writer_new("/nonexistent/x.safetensors", &(struct pn_st_options){0}, &w, &err), PANTRY_OK);
    assert_int_equal(pn_st_begin(w, &err), PANTRY_IO);
    pn_st_writer_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(splits),
        cmocka_unit_test(refuses_wrong_lists),
        cmocka_unit_test(leaves_nothing_after_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
