/* Valid GGUF files: everything written is read back; typed reads; shards; inspection of unknown types; a file that is
 * truncated while it is mapped. Invalid files are in test_gguf_hostile.c. */
#define _POSIX_C_SOURCE 200809L /* truncate */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "expect_gguf.h"
#include "base/model_files.h"
#include "format/names.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- metadata ---- */

static void put_all_kinds(struct gw *g)
{
    gw_u8(g, "u8", 250);
    gw_i8(g, "i8", -120);
    gw_u16(g, "u16", 65000);
    gw_i16(g, "i16", -32000);
    gw_u32(g, "u32", 4000000000u);
    gw_i32(g, "i32", -2000000000);
    gw_u64(g, "u64", UINT64_MAX);
    gw_i64(g, "i64", INT64_MIN);
    gw_f32(g, "f32", 1.5f);
    gw_f64(g, "f64", -1e300);
    gw_bool(g, "yes", true);
    gw_bool(g, "no", false);
    gw_str(g, "str", "größe \xF0\x9F\x8D\x9E");
    gw_str(g, "empty", "");
    gw_strings(g, "strs", 3, (const char *const[]){"one", "", "three"});
    gw_strings(g, "no_strs", 0, NULL);
    gw_array(g, "au8", GW_UINT8, 3, (const uint8_t[]){1, 2, 255}, 1);
    gw_array(g, "ai8", GW_INT8, 3, (const int8_t[]){-1, 0, 127}, 1);
    gw_array(g, "au16", GW_UINT16, 2, (const uint16_t[]){7, 65535}, 2);
    gw_array(g, "ai16", GW_INT16, 2, (const int16_t[]){-7, 32767}, 2);
    gw_array(g, "au32", GW_UINT32, 2, (const uint32_t[]){9, UINT32_MAX}, 4);
    gw_array(g, "ai32", GW_INT32, 2, (const int32_t[]){-9, INT32_MAX}, 4);
    gw_array(g, "au64", GW_UINT64, 2, (const uint64_t[]){11, UINT64_MAX}, 8);
    gw_array(g, "ai64", GW_INT64, 2, (const int64_t[]){-11, INT64_MIN}, 8);
    gw_array(g, "af32", GW_FLOAT32, 2, (const float[]){0.25f, -INFINITY}, 4);
    gw_array(g, "af64", GW_FLOAT64, 2, (const double[]){0.125, 1e-300}, 8);
    gw_array(g, "abool", GW_BOOL, 3, (const uint8_t[]){1, 0, 1}, 1);
    gw_array(g, "none", GW_FLOAT32, 0, NULL, 4);
}

static const struct pn_meta *meta(const struct pn_weights *w, const char *key)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (!m)
        fail_msg("%s is missing", key);
    assert_string_equal(m->key, key);
    return m;
}

static void test_scalars(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    put_all_kinds(&g);
    struct pn_weights *w = expect_open(gw_file(&g, "kinds.gguf"));
    assert_int_equal(w->n_meta, 28);
    assert_int_equal(w->n_tensors, 0);
    assert_string_equal(w->format, "gguf v3");
    assert_string_equal(w->meta[0].key, "u8"); /* the file's order */
    assert_string_equal(w->meta[27].key, "none");
    static const struct {
        const char *key;
        enum pn_meta_type type;
        unsigned width;
        uint64_t bits;
    } integers[] = {
        {"u8", PN_META_UINT, 1, 250},          {"i8", PN_META_INT, 1, (uint64_t)-120},
        {"u16", PN_META_UINT, 2, 65000},       {"i16", PN_META_INT, 2, (uint64_t)-32000},
        {"u32", PN_META_UINT, 4, 4000000000u}, {"i32", PN_META_INT, 4, (uint64_t)-2000000000},
        {"u64", PN_META_UINT, 8, UINT64_MAX},  {"i64", PN_META_INT, 8, (uint64_t)INT64_MIN},
    };
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        const struct pn_meta *m = meta(w, integers[i].key);
        assert_int_equal(m->type, integers[i].type);
        assert_int_equal(m->width, integers[i].width);
        assert_true(m->u == integers[i].bits);
    }
    assert_true(meta(w, "f32")->type == PN_META_FLOAT && meta(w, "f32")->f == 1.5);
    assert_true(meta(w, "f64")->type == PN_META_FLOAT && meta(w, "f64")->f == -1e300);
    assert_true(meta(w, "yes")->type == PN_META_BOOL && meta(w, "yes")->b);
    assert_true(meta(w, "no")->type == PN_META_BOOL && !meta(w, "no")->b);
    assert_int_equal(meta(w, "str")->s.len, 12);
    assert_memory_equal(meta(w, "str")->s.data, "größe \xF0\x9F\x8D\x9E", 12);
    assert_true(meta(w, "empty")->type == PN_META_STRING && meta(w, "empty")->s.len == 0);
    assert_null(pn_weights_meta(w, "u9"));
    assert_null(pn_weights_meta(w, ""));
    assert_null(pn_weights_tensor(w, "u8"));
    pn_weights_close(w);
    gw_free(&g);
}

static void test_arrays(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    put_all_kinds(&g);
    struct pn_weights *w = expect_open(gw_file(&g, "kinds.gguf"));
    static const struct {
        const char *key;
        enum pn_meta_type item;
        size_t n;
        uint64_t u1;
        int64_t i0, i1;
        double f1;
    } arrays[] = {
        {"au8", PN_META_UINT, 3, 2, 1, 2, 2},
        {"ai8", PN_META_INT, 3, 0, -1, 0, 0},
        {"au16", PN_META_UINT, 2, 65535, 7, 65535, 65535},
        {"ai16", PN_META_INT, 2, 32767, -7, 32767, 32767},
        {"au32", PN_META_UINT, 2, UINT32_MAX, 9, UINT32_MAX, UINT32_MAX},
        {"ai32", PN_META_INT, 2, INT32_MAX, -9, INT32_MAX, INT32_MAX},
        {"au64", PN_META_UINT, 2, UINT64_MAX, 11, INT64_MAX, 0x1p64},
        {"ai64", PN_META_INT, 2, 0, -11, INT64_MIN, -0x1p63},
        {"af32", PN_META_FLOAT, 2, 0, 0, 0, -INFINITY},
        {"af64", PN_META_FLOAT, 2, 0, 0, 0, 1e-300},
        {"abool", PN_META_BOOL, 3, 0, 1, 0, 0},
        {"none", PN_META_FLOAT, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        const struct pn_meta *m = meta(w, arrays[i].key);
        assert_int_equal(m->type, PN_META_ARRAY);
        assert_int_equal(m->item, arrays[i].item);
        assert_int_equal(m->n, arrays[i].n);
        assert_null(m->items);
        assert_true(pn_meta_item_u64(m, 1) == arrays[i].u1);
        assert_true(pn_meta_item_i64(m, 0) == arrays[i].i0);
        assert_true(pn_meta_item_i64(m, 1) == arrays[i].i1);
        assert_true(pn_meta_item_f64(m, 1) == arrays[i].f1);
        assert_true(pn_meta_item_u64(m, m->n) == 0 && pn_meta_item_f64(m, SIZE_MAX) == 0); /* beyond the end */
        assert_true(pn_meta_item_str(m, 0).len == 0);
    }
    assert_true(pn_meta_item_bool(meta(w, "abool"), 2));
    assert_false(pn_meta_item_bool(meta(w, "abool"), 1));
    assert_false(pn_meta_item_bool(meta(w, "af32"), 0));
    const struct pn_meta *strs = meta(w, "strs");
    assert_true(strs->type == PN_META_ARRAY && strs->item == PN_META_STRING && strs->n == 3);
    assert_int_equal(strs->items[0].len, 3);
    assert_memory_equal(strs->items[0].data, "one", 3);
    assert_int_equal(strs->items[1].len, 0);
    assert_memory_equal(pn_meta_item_str(strs, 2).data, "three", 5);
    assert_int_equal(pn_meta_item_str(strs, 3).len, 0);
    assert_true(pn_meta_item_u64(strs, 0) == 0);
    assert_int_equal(meta(w, "no_strs")->n, 0);
    pn_weights_close(w);
    gw_free(&g);
}

static void test_typed_reads(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    put_all_kinds(&g);
    gw_f32(&g, "nan", NAN);
    struct pn_weights *w = expect_open(gw_file(&g, "kinds.gguf"));
    struct pantry_error err = {.text = "untouched"};
    uint32_t u = 77;
    int64_t i = 77;
    float f = 77;
    bool b = false;
    struct pn_str s = {0};
    assert_int_equal(pn_meta_u32(w, "absent", &u, &err), PANTRY_NOT_FOUND);
    assert_int_equal(u, 77);
    assert_string_equal(err.text, "untouched");
    assert_int_equal(pn_meta_u32(w, "u8", &u, &err), PANTRY_OK);
    assert_int_equal(u, 250);
    assert_int_equal(pn_meta_u32(w, "u32", &u, &err), PANTRY_OK);
    assert_true(u == 4000000000u);
    assert_int_equal(pn_meta_u32(w, "i8", &u, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "i8 is -120, but must be 0 to 4,294,967,295"));
    assert_int_equal(pn_meta_u32(w, "u64", &u, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "u64 is 18,446,744,073,709,551,615, which is out of range"));
    assert_true(u == 4000000000u);
    assert_int_equal(pn_meta_i64(w, "i64", &i, &err), PANTRY_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(pn_meta_i64(w, "u16", &i, &err), PANTRY_OK);
    assert_true(i == 65000);
    assert_int_equal(pn_meta_i64(w, "str", &i, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "kinds.gguf: str is a string, but must be an integer"));
    assert_int_equal(pn_meta_f32(w, "f32", &f, &err), PANTRY_OK);
    assert_true(f == 1.5f);
    assert_int_equal(pn_meta_f32(w, "f64", &f, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "f64 is -1e+300, but must be a finite"));
    assert_int_equal(pn_meta_f32(w, "nan", &f, &err), PANTRY_FORMAT);
    assert_int_equal(pn_meta_f32(w, "u8", &f, &err), PANTRY_FORMAT);
    assert_int_equal(pn_meta_f32(w, "absent", &f, &err), PANTRY_NOT_FOUND);
    assert_int_equal(pn_meta_bool(w, "yes", &b, &err), PANTRY_OK);
    assert_true(b);
    assert_int_equal(pn_meta_bool(w, "u8", &b, &err), PANTRY_FORMAT);
    assert_int_equal(pn_meta_bool(w, "absent", &b, &err), PANTRY_NOT_FOUND);
    assert_int_equal(pn_meta_str(w, "str", &s, &err), PANTRY_OK);
    assert_int_equal(s.len, 12);
    assert_int_equal(pn_meta_str(w, "strs", &s, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "strs is an array, but must be a string"));
    assert_int_equal(pn_meta_str(w, "absent", &s, &err), PANTRY_NOT_FOUND);
    pn_weights_close(w);
    gw_free(&g);
}

static void test_chat_template(void **state)
{
    (void)state;
    struct gw g;
    small_gguf(&g);
    struct pn_weights *w = expect_open(gw_file(&g, "t.gguf"));
    assert_int_equal(w->chat_template.len, 0);
    pn_weights_close(w);
    gw_str(&g, "tokenizer.chat_template", "{{ x }}");
    w = expect_open(gw_file(&g, "t.gguf"));
    assert_int_equal(w->chat_template.len, 7);
    assert_memory_equal(w->chat_template.data, "{{ x }}", 7);
    pn_weights_close(w);
    gw_free(&g);
    small_gguf(&g);
    gw_u32(&g, "tokenizer.chat_template", 1);
    expect_gw_refused(&g, PANTRY_FORMAT, "tokenizer.chat_template is an integer, but must be a string");
}

/* ---- tensors ---- */

static void test_tensors(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct gw g;
        small_gguf(&g);
        g.version = version;
        gw_tensor(&g, "c.weight", GW_Q8_0, 3, (const int64_t[]){2, 3, 64}, memset((char[408]){0}, 7, 408), 408);
        struct pn_weights *w = expect_open(gw_file(&g, "tensors.gguf"));
        assert_string_equal(w->format, version == 2 ? "gguf v2" : "gguf v3");
        assert_string_equal(w->path, gw_temp("tensors.gguf"));
        assert_int_equal(w->n_tensors, 3);
        assert_string_equal(w->tensors[2].name, "c.weight");
        const struct pn_tensor_info *a = pn_weights_tensor(w, "a.weight"), *b = pn_weights_tensor(w, "b.weight"),
                                    *c = pn_weights_tensor(w, "c.weight");
        assert_true(a == &w->tensors[0] && b == &w->tensors[1] && c == &w->tensors[2]);
        assert_null(pn_weights_tensor(w, "d.weight"));
        assert_true(a->type == PN_TYPE_F32 && a->number == GW_F32 && a->n_dims == 2 && a->bytes == 48);
        assert_true(a->shape[0] == 3 && a->shape[1] == 4 && a->shape[2] == 1 && a->shape[3] == 1);
        assert_true(((const float *)a->data)[0] == 1 && ((const float *)a->data)[11] == 12);
        assert_true(b->type == PN_TYPE_F16 && b->n_dims == 1 && b->shape[0] == 5 && b->bytes == 10);
        assert_int_equal(((const uint16_t *)b->data)[4], 0x4500);
        assert_true(c->n_dims == 3 && c->shape[0] == 2 && c->shape[2] == 64 && c->bytes == 408);
        assert_memory_equal((const char *)c->data + 404, "\7\7\7\7", 4);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal((uintptr_t)w->tensors[i].data % 32, 0);
        assert_false(pn_weights_damaged(w));
        pn_weights_close(w);
        assert_int_equal(pn_weights_check(gw_temp("tensors.gguf"), NULL), PANTRY_OK);
        gw_free(&g);
    }
}

static void test_alignment(void **state)
{
    (void)state;
    for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
        struct gw g;
        small_gguf(&g);
        gw_free(&g);
        gw_init(&g);
        g.alignment = alignment;
        gw_u32(&g, "general.alignment", (uint32_t)alignment);
        gw_constant(&g, "a", GW_F32, 1, (const int64_t[]){3}, 3);
        gw_constant(&g, "b", GW_F32, 1, (const int64_t[]){3}, 4);
        struct pn_weights *w = expect_open(gw_file(&g, "aligned.gguf"));
        assert_true((const char *)w->tensors[1].data - (const char *)w->tensors[0].data ==
                    (ptrdiff_t)(alignment < 16 ? 16 : alignment));
        assert_true(*(const float *)w->tensors[1].data == 4);
        pn_weights_close(w);
        gw_free(&g);
    }
}

/* The data starts at the first aligned byte at or after the end of the header. */
static void test_every_header_length(void **state)
{
    (void)state;
    char text[65] = "";
    for (size_t n = 0; n < 64; n++) {
        struct gw g;
        gw_init(&g);
        gw_str(&g, "key", text);
        gw_constant(&g, "a", GW_F32, 1, (const int64_t[]){3}, 5);
        struct pn_weights *w = expect_open(gw_file(&g, "length.gguf"));
        const unsigned char *start = w->maps[0].data + gw_data_start(&g);
        assert_ptr_equal(w->tensors[0].data, start);
        assert_true(*(const float *)w->tensors[0].data == 5);
        pn_weights_close(w);
        gw_free(&g);
        text[n] = 'x';
    }
}

/* The last tensor may lack its padding, and tensors may be in another order than their data. */
static void test_loose_ends(void **state)
{
    (void)state;
    struct gw g;
    small_gguf(&g);
    g.pad_end = false;
    expect_gw_opens(&g);
    gw_init(&g);
    gw_tensor_claim(&g, "second", 6, GW_F32, 1, (const uint64_t[]){8}, 1, 32);
    gw_tensor_claim(&g, "first", 5, GW_F32, 1, (const uint64_t[]){8}, 1, 0);
    gw_data(&g, (const float[16]){1}, 64);
    expect_gw_opens(&g);
    gw_init(&g); /* nothing at all */
    expect_gw_opens(&g);
    gw_init(&g); /* the file ends with a string */
    gw_str(&g, "last", "words");
    expect_gw_opens(&g);
    gw_init(&g); /* as many keys and names as in a big model, unsorted */
    for (unsigned i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%u.weight", i * 7919 % 3000);
        gw_u32(&g, name, i);
        gw_constant(&g, name, GW_F32, 1, (const int64_t[]){8}, (float)i);
    }
    struct pn_weights *w = expect_open(gw_file(&g, "many.gguf"));
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t value;
        assert_int_equal(pn_meta_u32(w, w->tensors[i].name, &value, NULL), PANTRY_OK);
        assert_int_equal(value, i);
        assert_true(pn_weights_tensor(w, w->tensors[i].name) == &w->tensors[i]);
    }
    pn_weights_close(w);
    gw_free(&g);
}

static void test_unknown_types(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {4, 5, 31, 1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct gw g;
        char sentence[128];
        small_gguf(&g);
        gw_tensor(&g, "odd.weight", numbers[i], 2, (const int64_t[]){3, 5}, (char[100]){0}, 100);
        gw_constant(&g, "after.weight", GW_F32, 1, (const int64_t[]){2}, 9);
        const char *path = gw_file(&g, "odd.gguf");
        snprintf(sentence, sizeof sentence, "tensor odd.weight has storage type %u, which", numbers[i]);
        expect_refused(path, PANTRY_UNSUPPORTED, sentence);
        struct pn_weights *w;
        struct pantry_error err;
        assert_int_equal(pn_weights_inspect(path, &w, &err), PANTRY_OK);
        const struct pn_tensor_info *t = pn_weights_tensor(w, "odd.weight");
        assert_true(t->type == PN_TYPE_COUNT && t->number == numbers[i] && !t->data && t->bytes == 0);
        assert_true(t->n_dims == 2 && t->shape[0] == 3 && t->shape[1] == 5);
        assert_true(*(const float *)pn_weights_tensor(w, "after.weight")->data == 9);
        assert_int_equal(pn_weights_require_types(w, &err), PANTRY_UNSUPPORTED);
        pn_weights_close(w);
        assert_int_equal(pn_weights_check(path, &err), PANTRY_UNSUPPORTED);
        gw_free(&g);
    }
}

/* ---- shards ---- */

struct shard_options {
    unsigned no, count, name_no, name_count;
    int tensors_count; /* -1: no such key */
    const char *tensor;
};

static const char *write_shard(struct shard_options o)
{
    struct gw g;
    char name[64];
    gw_init(&g);
    if (o.no == 0)
        gw_str(&g, "general.architecture", "llama");
    gw_u16(&g, "split.no", (uint16_t)o.no);
    gw_u16(&g, "split.count", (uint16_t)o.count);
    if (o.tensors_count >= 0)
        gw_i32(&g, "split.tensors.count", o.tensors_count);
    if (o.tensor)
        gw_constant(&g, o.tensor, GW_F32, 1, (const int64_t[]){4}, (float)o.no);
    snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", o.name_no, o.name_count);
    const char *path = gw_file(&g, name);
    gw_free(&g);
    return path;
}

static const char *write_three(void)
{
    const char *first = write_shard((struct shard_options){0, 3, 1, 3, 2, NULL}); /* as --no-tensor-first-split */
    write_shard((struct shard_options){1, 3, 2, 3, 2, "one"});
    write_shard((struct shard_options){2, 3, 3, 3, 2, "two"});
    return first;
}

/* Any shard opens the whole model, as the first one does. */
static void test_later_shards(void **state)
{
    (void)state;
    const char *first = write_three();
    static const char *const names[] = {"m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (size_t i = 0; i < 2; i++) {
        struct pn_weights *w = expect_open(gw_temp(names[i]));
        assert_string_equal(w->path, first);
        assert_int_equal(w->n_maps, 3);
        assert_int_equal(w->n_tensors, 2);
        assert_non_null(pn_weights_meta(w, "general.architecture"));
        assert_true(*(const float *)pn_weights_tensor(w, "one")->data == 1);
        assert_true(*(const float *)pn_weights_tensor(w, "two")->data == 2);
        pn_weights_close(w);
    }
}

static char *folder_path(const char *folder, const char *name)
{
    static char path[2][1024];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void move_into(const char *folder, const char *name)
{
    assert_int_equal(rename(gw_temp(name), folder_path(folder, name)), 0);
}

/* A folder is its only model: shards count as one, projectors and importance matrices are none. */
static void test_folders(void **state)
{
    (void)state;
    struct gw g;
    struct pantry_error err;
    char *folder = strdup(gw_temp("a.folder")), sentence[256];
    assert_non_null(folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    expect_refused(folder, PANTRY_NOT_FOUND, "a.folder: is a folder without a GGUF model");
    gw_put("model.safetensors", "x", 1);
    move_into(folder, "model.safetensors");
    expect_refused(folder, PANTRY_UNSUPPORTED, "its safetensors files need a config.json");
    static const char *const others[] = {"mmproj-F16.gguf", "a-MMPROJ.gguf", "x.imatrix.gguf", ".hidden.gguf",
                                         "readme"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        gw_put(others[i], "GGUF", 4);
        move_into(folder, others[i]);
    }
    expect_refused(folder, PANTRY_UNSUPPORTED, "a.folder: is a folder without a GGUF model");
    write_three();
    for (unsigned i = 3; i >= 1; i--) {
        char name[32];
        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", i);
        move_into(folder, name);
        if (i > 1)
            expect_refused(folder, PANTRY_NOT_FOUND, "m-00001-of-00003.gguf: is missing; it is shard 1 of 3");
    }
    struct pn_weights *w = expect_open(folder);
    assert_int_equal(w->n_tensors, 2);
    assert_string_equal(w->path, folder_path(folder, "m-00001-of-00003.gguf"));
    pn_weights_close(w);
    small_gguf(&g);
    gw_file(&g, "Z.GGUF");
    gw_free(&g);
    move_into(folder, "Z.GGUF");
    snprintf(sentence, sizeof sentence, "%s: has 2 models; name one of its files (Z.GGUF, m-00001-of-00003.gguf)",
             folder);
    expect_refused(folder, PANTRY_INVALID, sentence);
    struct pn_names left;
    assert_int_equal(pn_names_read(AT_FDCWD, folder, true, &left, &err), PANTRY_OK);
    for (size_t i = 0; i < left.len; i++)
        unlink(folder_path(folder, left.data[i]));
    unlink(folder_path(folder, ".hidden.gguf"));
    pn_names_free(&left);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

static void test_shards(void **state)
{
    (void)state;
    struct pn_weights *w = expect_open(write_three());
    assert_int_equal(w->n_maps, 3);
    assert_int_equal(w->n_tensors, 2);
    assert_int_equal(w->n_meta, 4);
    assert_true(*(const float *)pn_weights_tensor(w, "one")->data == 1);
    assert_true(*(const float *)pn_weights_tensor(w, "two")->data == 2);
    for (size_t i = 0; i < 2; i++) {
        const struct pn_map *map = &w->maps[w->tensors[i].map];
        assert_int_equal(w->tensors[i].map, i + 1);
        assert_true((const unsigned char *)w->tensors[i].data > map->data &&
                    (const unsigned char *)w->tensors[i].data < map->data + map->size);
    }
    pn_weights_close(w);
    /* one shard is a whole file, whatever its name */
    struct gw g;
    small_gguf(&g);
    gw_u16(&g, "split.no", 0);
    gw_u16(&g, "split.count", 1);
    expect_gw_opens(&g);
}

static void test_wrong_shards(void **state)
{
    (void)state;
    const char *first = write_three(), *second = gw_temp("m-00002-of-00003.gguf");
    char sentence[512];
    unlink(first);
    snprintf(sentence, sizeof sentence, "%s: is missing; it is shard 1 of 3", first);
    expect_refused(second, PANTRY_NOT_FOUND, sentence);
    write_shard((struct shard_options){2, 3, 1, 3, 2, NULL});
    expect_refused(second, PANTRY_FORMAT,
                   "m-00001-of-00003.gguf: does not match the number in its name: split.no is 2");
    write_shard((struct shard_options){0, 4, 1, 3, 2, NULL});
    expect_refused(second, PANTRY_FORMAT, "m-00001-of-00003.gguf: does not match the number in its name: split.count");
    write_three();
    unlink(second);
    expect_refused(first, PANTRY_NOT_FOUND, "m-00002-of-00003.gguf: is missing; it is shard 2 of 3");
    gw_put("m-00002-of-00003.gguf", "GGU", 3);
    expect_refused(first, PANTRY_FORMAT, "m-00002-of-00003.gguf: is not a GGUF file, but should be shard 2 of 3");
    gw_put("m-00002-of-00003.gguf", "GGUX\3\0\0\0", 8);
    expect_refused(first, PANTRY_FORMAT, "m-00002-of-00003.gguf: is not a GGUF file, but should be shard 2 of 3");
    unlink(second);
    assert_int_equal(mkdir(second, 0700), 0);
    expect_refused(first, PANTRY_INVALID, "m-00002-of-00003.gguf: not a regular file (found a directory)");
    assert_int_equal(rmdir(second), 0);
    write_shard((struct shard_options){2, 3, 2, 3, 2, "one"});
    expect_refused(first, PANTRY_FORMAT, "m-00002-of-00003.gguf: does not match the number in its name: split.no is 2");
    write_shard((struct shard_options){1, 4, 2, 3, 2, "one"});
    expect_refused(first, PANTRY_FORMAT, "split.count is 4 instead of 3");
    struct gw g;
    small_gguf(&g);
    gw_file(&g, "m-00002-of-00003.gguf");
    gw_free(&g);
    expect_refused(first, PANTRY_FORMAT,
                   "m-00002-of-00003.gguf: does not match the number in its name: split.no is missing");
    write_shard((struct shard_options){1, 3, 2, 3, -1, "two"});
    expect_refused(first, PANTRY_FORMAT, "duplicate tensor two");
    write_shard((struct shard_options){1, 3, 2, 3, 2, NULL});
    expect_refused(first, PANTRY_FORMAT, "split.tensors.count is 2, but its shards have 1 tensors");
    write_shard((struct shard_options){1, 3, 2, 3, 2, "one"});
    pn_weights_close(expect_open(first));
    write_shard((struct shard_options){0, 3, 1, 3, -1, NULL});
    pn_weights_close(expect_open(first)); /* a total is checked if there is one */
    write_shard((struct shard_options){0, 4, 1, 3, 2, NULL});
    expect_refused(first, PANTRY_FORMAT, "is shard 1 of 4, so its name must end in -00001-of-00004.gguf");
    expect_refused(write_shard((struct shard_options){0, 65535, 1, 65535, 2, NULL}), PANTRY_NOT_FOUND,
                   "m-00002-of-65535.gguf: is missing");
}

/* The total of shards is a number, not below 0. */
static void test_shard_totals(void **state)
{
    (void)state;
    struct gw g;
    const char *first = write_three();
    gw_init(&g);
    gw_u16(&g, "split.no", 0);
    gw_u16(&g, "split.count", 3);
    gw_str(&g, "split.tensors.count", "2");
    gw_file(&g, "m-00001-of-00003.gguf");
    gw_free(&g);
    expect_refused(first, PANTRY_FORMAT, "split.tensors.count is a string, but must be an integer");
    static const int wrong[] = {-1, 1, 3}; /* of two */
    for (int i = 0; i < 3; i++) {
        char sentence[96];
        gw_init(&g);
        gw_u16(&g, "split.no", 0);
        gw_u16(&g, "split.count", 3);
        gw_i32(&g, "split.tensors.count", wrong[i]);
        gw_file(&g, "m-00001-of-00003.gguf");
        gw_free(&g);
        snprintf(sentence, sizeof sentence, "split.tensors.count is %d, but its shards have 2 tensors", wrong[i]);
        expect_refused(first, PANTRY_FORMAT, sentence);
    }
    for (int i = 0; i < 2; i++) { /* a count of one or zero means a whole file */
        gw_init(&g);
        gw_u16(&g, "split.count", (uint16_t)i);
        expect_gw_opens(&g);
    }
}

/* Entries are found by whole names only, for any number of entries. */
static void test_name_index(void **state)
{
    (void)state;
    static const char *const names[] = {"b", "a", "ab", "", "c"};
    assert_true(pn_name_index_find(NULL, "a") == SIZE_MAX);
    for (size_t n = 0; n <= 5; n++) {
        struct pn_arena arena = {0};
        struct pn_name_index *index = pn_name_index_new(&arena, n);
        assert_non_null(index);
        for (size_t i = 0; i < n; i++)
            index->entries[i] = (struct pn_name_entry){names[i], i};
        assert_null(pn_name_index_sort(index));
        for (size_t i = 0; i < 5; i++)
            assert_true(pn_name_index_find(index, names[i]) == (i < n ? i : SIZE_MAX));
        assert_true(pn_name_index_find(index, "abc") == SIZE_MAX);
        for (size_t i = 0; n > 1 && i < n; i++) /* any two may be equal */
            index->entries[i] = (struct pn_name_entry){i == 1 ? names[n - 1 == 1 ? 0 : n - 1] : names[i], i};
        if (n > 1)
            assert_non_null(pn_name_index_sort(index));
        pn_arena_free(&arena);
    }
}

/* A split file without a shard number in its name opens no other file. */
static void test_shard_names(void **state)
{
    (void)state;
    static const char *const names[] = {"plain.gguf",
                                        "m_00001-of-00002.gguf",
                                        "m-00001_of-00002.gguf",
                                        "m-0000:-of-00002.gguf",
                                        "m-00001-of-0000!.gguf",
                                        "m-00001-of-00002.ggml",
                                        "m-00002-of-00002.gguf",
                                        "m-00001-of-00009.gguf",
                                        "s.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct gw g;
        gw_init(&g);
        gw_u16(&g, "split.no", 0);
        gw_u16(&g, "split.count", 2);
        expect_refused(gw_file(&g, names[i]), PANTRY_FORMAT,
                       "is shard 1 of 2, so its name must end in -00001-of-00002.gguf");
        gw_free(&g);
    }
    char old[4096], *folder = strdup(gw_temp("s.gguf"));
    assert_non_null(getcwd(old, sizeof old));
    assert_non_null(folder);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(chdir(folder), 0);
    expect_refused("s.gguf", PANTRY_FORMAT, "s.gguf: is shard 1 of 2"); /* a path shorter than the suffix */
    assert_int_equal(chdir(old), 0);
    free(folder);
    expect_refused(write_shard((struct shard_options){0, 9, 1, 9, 2, NULL}), PANTRY_NOT_FOUND,
                   "m-00002-of-00009.gguf: is");
    struct gw g;
    gw_init(&g);
    gw_str(&g, "split.count", "2");
    expect_gw_refused(&g, PANTRY_FORMAT, "split.count is a string, but must be an integer");
    gw_init(&g);
    gw_u16(&g, "split.count", 2);
    gw_str(&g, "split.no", "0");
    expect_gw_refused(&g, PANTRY_FORMAT, "split.no is a string, but must be an integer");
}

/* ---- truncated files ---- */

static void test_cut_short_while_mapped(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    gw_constant(&g, "big", GW_F32, 1, (const int64_t[]){1 << 18}, 3);
    const char *path = gw_file(&g, "cut.gguf");
    gw_free(&g);
    struct pn_weights *w = expect_open(path);
    const float *data = w->tensors[0].data;
    assert_true(data[0] == 3);
    assert_int_equal(truncate(path, 4096), 0);
    assert_false(pn_weights_damaged(w));
    assert_true(data[(1 << 18) - 1] == 0); /* this process gets no fatal signal */
    assert_true(pn_weights_damaged(w));
    assert_true(data[1 << 17] == 0);
    pn_weights_close(w);
    expect_refused(path, PANTRY_FORMAT, "tensor big ends at byte 1,048,");
}

static void test_check(void **state)
{
    (void)state;
    struct gw g;
    struct pantry_error err;
    for (int wrong = 0; wrong < 5; wrong++) {
        static const char *const said[] = {"", "tokenizer.ggml.scores has 2 items, but there are 3 tokens",
                                           "tokenizer.ggml.token_type has 4 items, but there are 3 tokens",
                                           "tokenizer.ggml.scores is not an array",
                                           "tokenizer.ggml.tokens is not an array of strings"};
        gw_init(&g);
        if (wrong == 4)
            gw_u32(&g, "tokenizer.ggml.tokens", 1);
        else
            gw_strings(&g, "tokenizer.ggml.tokens", 3, (const char *const[]){"a", "b", "c"});
        if (wrong == 3)
            gw_f32(&g, "tokenizer.ggml.scores", 1);
        else
            gw_array(&g, "tokenizer.ggml.scores", GW_FLOAT32, wrong == 1 ? 2 : 3, (const float[3]){0}, 4);
        gw_array(&g, "tokenizer.ggml.token_type", GW_INT32, wrong == 2 ? 4 : 3, (const int32_t[4]){1}, 4);
        const char *path = gw_file(&g, "vocabulary.gguf");
        assert_int_equal(pn_weights_check(path, &err), wrong ? PANTRY_FORMAT : PANTRY_OK);
        assert_true(!wrong || strstr(err.text, said[wrong]));
        pn_weights_close(expect_open(path));
        gw_free(&g);
    }
}

static void test_close_null(void **state)
{
    (void)state;
    pn_weights_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_typed_reads),
        cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_every_header_length),
        cmocka_unit_test(test_loose_ends),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_later_shards),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_wrong_shards),
        cmocka_unit_test(test_shard_totals),
        cmocka_unit_test(test_name_index),
        cmocka_unit_test(test_shard_names),
        cmocka_unit_test(test_cut_short_while_mapped),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_close_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
