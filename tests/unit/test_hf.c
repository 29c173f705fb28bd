/* Hugging Face and MLX directories: hostile files, tiny directories made here, and recorded ones (../shared/data/mlx or
 * PANTRY_TEST_DATA), which are skipped if they are not there. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/model_files.h"
#include "base/random.h"
#include "compare.h"
#include "gguf_writer.h"
#include "pantry.h"
#include "safetensors_writer.h"
#include "tensor/weight.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
enum { N_IDS = sizeof ids / sizeof *ids };

static char *make_folder(const char *name)
{
    char *folder = strdup(gw_temp(name));
    assert_non_null(folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    return folder;
}

static void remove_folder(char *folder)
{
    struct pn_names names;
    char path[1400];
    assert_int_equal(pn_names_read(-100, folder, false, &names, NULL), PANTRY_OK); /* AT_FDCWD */
    for (size_t i = 0; i < names.len; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names.data[i]);
        unlink(path);
    }
    pn_names_free(&names);
    rmdir(folder);
    free(folder);
}

/* The logits of all ids; NULL and the error's text if the model cannot be loaded. */
static float *logits_of(const char *path, const char *const *adapters, const int32_t *all, size_t n, size_t *n_values,
                        struct pantry_error *err)
{
    pantry_model *model;
    pantry_session *session;
    struct pantry_model_options o = pantry_model_options_default();
    struct pantry_model_info info = {.size = sizeof info};
    o.n_threads = 2;
    o.isa = "generic";
    o.kv_type = "f32";
    o.adapters = adapters;
    if (pantry_model_load(path, &o, &model, err))
        return NULL;
    assert_int_equal(pantry_session_new(model, NULL, &session, err), PANTRY_OK);
    pantry_model_info(model, &info, NULL);
    *n_values = n * (size_t)info.n_vocab;
    float *out = malloc(*n_values * sizeof *out);
    assert_non_null(out);
    if (pantry_logits(session, all, n, NULL, 0, out, err))
        fail_msg("%s: %s", path, err->text);
    pantry_session_free(session);
    pantry_model_free(model);
    return out;
}

/* ---- hostile files ---- */

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"num_hidden_layers\":2,\"vocab_size\":32,\"rms_norm_eps\":1e-5,"
    "\"max_position_embeddings\":64,\"tie_word_embeddings\":false,\"rope_theta\":500.0}";

static void put_text(const char *folder, const char *name, const char *text)
{
    stw_put(folder, name, text, strlen(text));
}

static void refuse_bytes(const char *folder, const void *bytes, size_t n, const char *why)
{
    struct pantry_error err = {0};
    stw_put(folder, "model.safetensors", bytes, n);
    assert_int_not_equal(pantry_check(folder, &err), PANTRY_OK);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void refuse_header(const char *folder, const char *header, size_t n_data, const char *why)
{
    struct pn_buf out = {0};
    uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++)
        pn_buf_putc(&out, (char)(n >> 8 * i));
    pn_buf_puts(&out, header);
    for (size_t i = 0; i < n_data; i++)
        pn_buf_putc(&out, 0);
    refuse_bytes(folder, out.data, out.len, why);
    pn_buf_free(&out);
}

static void hostile_files(void **state)
{
    (void)state;
    char *folder = make_folder("hostile.hf");
    static const struct {
        const char *header;
        size_t n_data;
        const char *why;
    } rows[] = {
        {"", 0, "not JSON"},
        {"[]", 0, "not a JSON object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "duplicate"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "the dtype \"F31\""},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a count"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]}}", 4, "whole bytes"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "whole bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "has 4 bytes, but"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "ends at byte 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "two rising offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "last 1 bytes belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "overlap"},
        {"{\"\\u0007\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "control characters"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "9 dimensions"},
        {"{\"what\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has no place in architecture"},
    };
    stw_put(folder, "config.json", config, strlen(config));
    refuse_bytes(folder, "", 0, "too short");
    refuse_bytes(folder, "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "9,223,372,036,854,775,807 bytes");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse_header(folder, rows[i].header, rows[i].n_data, rows[i].why);
    put_text(folder, "config.json", "{\"model_type\":\"nobody\"}");
    refuse_header(folder, "{}", 0, "type \"nobody\" are not supported");
    put_text(folder, "config.json", "{");
    refuse_header(folder, "{}", 0, "is not JSON");
    stw_put(folder, "config.json", config, strlen(config));
    put_text(folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../x.safetensors\"}}");
    refuse_header(folder, "{}", 0, "not a name of a safetensors file");
    put_text(folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"b.safetensors\"}}");
    refuse_header(folder, "{}", 0, "b.safetensors: is missing");
    remove_folder(folder);
}

/* ---- tiny models ---- */

enum { WIDTH = 64, FF = 96, VOCAB = 32, LAYERS = 2, HEADS = 4, KV = 2, HEAD = WIDTH / HEADS };

struct rule {
    const char *hf, *gguf;
    int64_t rows, cols; /* rows 0: a norm */
    int heads;          /* whose halves are pairs in a GGUF file */
};

static const struct rule of_layer[] = {{"input_layernorm", "attn_norm", 0, WIDTH, 0},
                                       {"post_attention_layernorm", "ffn_norm", 0, WIDTH, 0},
                                       {"self_attn.q_proj", "attn_q", WIDTH, WIDTH, HEADS},
                                       {"self_attn.k_proj", "attn_k", KV *HEAD, WIDTH, KV},
                                       {"self_attn.v_proj", "attn_v", KV *HEAD, WIDTH, 0},
                                       {"self_attn.o_proj", "attn_output", WIDTH, WIDTH, 0},
                                       {"mlp.gate_proj", "ffn_gate", FF, WIDTH, 0},
                                       {"mlp.up_proj", "ffn_up", FF, WIDTH, 0},
                                       {"mlp.down_proj", "ffn_down", WIDTH, FF, 0}},
                         of_model[] = {{"model.embed_tokens", "token_embd", VOCAB, WIDTH, 0},
                                       {"model.norm", "output_norm", 0, WIDTH, 0},
                                       {"lm_head", "output", VOCAB, WIDTH, 0}};

static float *numbers_of(struct pn_rng *rng, const struct rule *r)
{
    size_t n = (size_t)(r->rows ? r->rows : 1) * (size_t)r->cols;
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = r->rows ? (pn_rng_float(rng) - 0.5f) * 0.4f : 0.5f + pn_rng_float(rng);
    return values;
}

/* Both forms of one tensor. */
static void put_both(struct stw *to, struct gw *g, const char *hf, const char *gguf, const struct rule *r,
                     struct pn_rng *rng)
{
    float *values = numbers_of(rng, r);
    size_t bytes = (size_t)(r->rows ? r->rows : 1) * (size_t)r->cols * sizeof *values;
    float *turned = malloc(bytes);
    const int64_t matrix[] = {r->rows, r->cols}, *shape = r->rows ? matrix : matrix + 1;
    assert_non_null(turned);
    memcpy(turned, values, bytes);
    for (int64_t i = 0; i < r->rows && r->heads; i++) {
        int64_t in = i % HEAD, from = i - in + in % 2 * (HEAD / 2) + in / 2;
        memcpy(turned + i * r->cols, values + from * r->cols, (size_t)r->cols * sizeof *values);
    }
    stw_tensor(to, hf, "F32", r->rows ? 2 : 1, shape, values, bytes);
    gw_tensor(g, gguf, GW_F32, r->rows ? 2 : 1, shape, turned, bytes);
    free(turned);
    free(values);
}

static void put_keys(struct gw *g)
{
    gw_str(g, "general.architecture", "llama");
    gw_u32(g, "llama.block_count", LAYERS);
    gw_u32(g, "llama.context_length", 64);
    gw_u32(g, "llama.embedding_length", WIDTH);
    gw_u32(g, "llama.feed_forward_length", FF);
    gw_u32(g, "llama.attention.head_count", HEADS);
    gw_u32(g, "llama.attention.head_count_kv", KV);
    gw_f32(g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gw_f32(g, "llama.rope.freq_base", 500);
}

/* A directory of two shards computes what the GGUF file of the same model does. */
static void a_directory_is_a_file(void **state)
{
    (void)state;
    char *folder = make_folder("tiny.hf"), hf[128], gguf[128];
    struct stw shard[2] = {{{0}, {0}}};
    struct pn_rng rng = {11};
    struct pn_buf index = {0};
    struct gw g;
    size_t n;
    struct pantry_error err = {0};
    gw_init(&g);
    put_keys(&g);
    pn_buf_puts(&index, "{\"weight_map\":{");
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++) {
            snprintf(hf, sizeof hf, "model.layers.%d.%s.weight", l, of_layer[i].hf);
            snprintf(gguf, sizeof gguf, "blk.%d.%s.weight", l, of_layer[i].gguf);
            put_both(&shard[l], &g, hf, gguf, &of_layer[i], &rng);
            pn_buf_printf(&index, "\"%s\":\"m-%d.safetensors\",", hf, l);
        }
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++) {
        snprintf(hf, sizeof hf, "%s.weight", of_model[i].hf);
        snprintf(gguf, sizeof gguf, "%s.weight", of_model[i].gguf);
        put_both(&shard[1], &g, hf, gguf, &of_model[i], &rng);
        pn_buf_printf(&index, "\"%s\":\"m-1.safetensors\"%s", hf, i < 2 ? "," : "}}");
    }
    stw_file(&shard[0], folder, "m-0.safetensors");
    stw_file(&shard[1], folder, "m-1.safetensors");
    stw_put(folder, "config.json", config, strlen(config));
    stw_put(folder, "model.safetensors.index.json", index.data, index.len);
    char *file = strdup(gw_file(&g, "tiny.gguf"));
    if (pantry_check(folder, &err))
        fail_msg("%s", err.text);
    float *got = logits_of(folder, NULL, ids, N_IDS, &n, &err), *want = logits_of(file, NULL, ids, N_IDS, &n, &err);
    assert_true(got && want);
    double e = nmse(got, want, n);
    if (!(e < 1e-11))
        fail_msg("NMSE %g", e);
    free(got);
    free(want);
    free(file);
    pn_buf_free(&index);
    stw_free(&shard[0]);
    stw_free(&shard[1]);
    gw_free(&g);
    remove_folder(folder);
}

/* A packed weight with scales and biases per 32 values, and the numbers that it stands for. */
static void put_packed(struct stw *packed, struct stw *plain, const char *module, const struct rule *r,
                       struct pn_rng *rng)
{
    int64_t groups = r->cols / 32, words[] = {r->rows, r->cols / 8}, scales[] = {r->rows, groups};
    int64_t shape[] = {r->rows, r->cols};
    size_t n = (size_t)(r->rows * r->cols), n_groups = (size_t)(r->rows * groups);
    unsigned char *q = calloc(n / 2, 1);
    float *s = malloc(n_groups * sizeof *s), *b = malloc(n_groups * sizeof *b), *values = malloc(n * sizeof *values);
    char name[160];
    assert_true(q && s && b && values);
    for (size_t i = 0; i < n_groups; i++) {
        s[i] = 0.01f + pn_rng_float(rng) * 0.02f;
        b[i] = -8 * s[i];
    }
    for (size_t i = 0; i < n; i++) {
        unsigned level = (unsigned)(pn_rng_float(rng) * 16) & 15;
        q[i / 2] |= (unsigned char)(level << i % 2 * 4);
        values[i] = (float)level * s[i / 32] + b[i / 32];
    }
    snprintf(name, sizeof name, "%s.weight", module);
    stw_tensor(packed, name, "U32", 2, words, q, n / 2);
    stw_tensor(plain, name, "F32", 2, shape, values, n * sizeof *values);
    snprintf(name, sizeof name, "%s.scales", module);
    stw_tensor(packed, name, "F32", 2, scales, s, n_groups * sizeof *s);
    snprintf(name, sizeof name, "%s.biases", module);
    stw_tensor(packed, name, "F32", 2, scales, b, n_groups * sizeof *b);
    free(q);
    free(s);
    free(b);
    free(values);
}

static void put_any(struct stw *packed, struct stw *plain, const char *module, const struct rule *r, struct pn_rng *rng)
{
    char name[160];
    if (r->rows) {
        put_packed(packed, plain, module, r, rng);
        return;
    }
    float *values = numbers_of(rng, r);
    snprintf(name, sizeof name, "%s.weight", module);
    stw_tensor(packed, name, "F32", 1, &r->cols, values, (size_t)r->cols * sizeof *values);
    stw_tensor(plain, name, "F32", 1, &r->cols, values, (size_t)r->cols * sizeof *values);
    free(values);
}

/* Affine groups in place compute what the numbers that they stand for do. */
static void affine_groups_in_place(void **state)
{
    (void)state;
    char *packed_folder = make_folder("packed.hf"), *plain_folder = make_folder("plain.hf"), module[128];
    struct stw packed = {{0}, {0}}, plain = {{0}, {0}};
    struct pn_rng rng = {12};
    struct pantry_error err = {0};
    struct pn_buf text = {0};
    size_t n;
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++) {
            snprintf(module, sizeof module, "model.layers.%d.%s", l, of_layer[i].hf);
            put_any(&packed, &plain, module, &of_layer[i], &rng);
        }
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
        put_any(&packed, &plain, of_model[i].hf, &of_model[i], &rng);
    stw_file(&packed, packed_folder, "model.safetensors");
    stw_file(&plain, plain_folder, "model.safetensors");
    stw_put(plain_folder, "config.json", config, strlen(config));
    pn_buf_append(&text, config, strlen(config) - 1);
    pn_buf_puts(&text, ",\"quantization\":{\"group_size\":32,\"bits\":4}}");
    stw_put(packed_folder, "config.json", text.data, text.len);
    float *got = logits_of(packed_folder, NULL, ids, N_IDS, &n, &err),
          *want = logits_of(plain_folder, NULL, ids, N_IDS, &n, &err);
    if (!got || !want)
        fail_msg("%s", err.text);
    double e = nmse(got, want, n);
    if (!(e < 1e-11))
        fail_msg("NMSE %g", e);
    free(got);
    free(want);
    pn_buf_free(&text);
    stw_free(&packed);
    stw_free(&plain);
    remove_folder(packed_folder);
    remove_folder(plain_folder);
}

/* ---- recorded directories ---- */

static char root[1024];
static json_t *manifest;

static int find_data(void **state)
{
    (void)state;
    char path[1200];
    const char *data = getenv("PANTRY_TEST_DATA");
    snprintf(root, sizeof root, "%s/mlx", data ? data : "../shared/data");
    snprintf(path, sizeof path, "%s/manifest.json", root);
    manifest = json_load_file(path, 0, NULL);
    return 0;
}

static int forget_data(void **state)
{
    (void)state;
    json_decref(manifest);
    return 0;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    assert_non_null(text);
    return text;
}

static void check_recorded(const json_t *row, const char *model, const char *adapter)
{
    char path[1400], adapter_path[1400];
    int32_t all[256];
    size_t n_ids = 0, n;
    struct pantry_error err = {0};
    const char *const adapters[] = {adapter ? adapter_path : NULL, NULL};
    snprintf(path, sizeof path, "%s/ids.txt", root);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (n_ids < 256 && fscanf(f, "%d", &all[n_ids]) == 1)
        n_ids++;
    fclose(f);
    snprintf(path, sizeof path, "%s/%s", root, model);
    snprintf(adapter_path, sizeof adapter_path, "%s/%s", root, adapter ? adapter : "");
    float *got = logits_of(path, adapters, all, n_ids, &n, &err);
    if (!got)
        fail_msg("%s", err.text);
    float *want = malloc(n * sizeof *want);
    snprintf(path, sizeof path, "%s/%s", root, text_of(row, "logits"));
    f = fopen(path, "rb");
    assert_true(want && f && fread(want, sizeof *want, n, f) == n);
    fclose(f);
    double e = nmse(got, want, n);
    print_message("  %-28s NMSE %.1e\n", text_of(row, "name"), e);
    if (!(e < 1e-7))
        fail_msg("%s: NMSE %g", text_of(row, "name"), e);
    free(got);
    free(want);
}

static void recorded_models(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    if (!manifest)
        skip();
    json_array_foreach(json_object_get(manifest, "models"), i, row) check_recorded(row, text_of(row, "dir"), NULL);
}

static void recorded_adapters(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    if (!manifest)
        skip();
    json_array_foreach(json_object_get(manifest, "adapters"), i, row)
        check_recorded(row, text_of(row, "base"), text_of(row, "dir"));
}

static void recorded_damage(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    char path[1400];
    struct pantry_error err = {0};
    if (!manifest)
        skip();
    json_array_foreach(json_object_get(manifest, "good"), i, row)
    {
        snprintf(path, sizeof path, "%s/%s", root, json_string_value(row));
        if (pantry_check(path, &err))
            fail_msg("%s", err.text);
    }
    json_array_foreach(json_object_get(manifest, "damaged"), i, row)
    {
        snprintf(path, sizeof path, "%s/%s", root, text_of(row, "dir"));
        if (!pantry_check(path, &err))
            fail_msg("%s is taken", path);
        print_message("  %s\n", strstr(err.text, "damaged/") ? strstr(err.text, "damaged/") : err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_files),          cmocka_unit_test(a_directory_is_a_file),
        cmocka_unit_test(affine_groups_in_place), cmocka_unit_test(recorded_models),
        cmocka_unit_test(recorded_adapters),      cmocka_unit_test(recorded_damage),
    };
    return cmocka_run_group_tests(tests, find_data, forget_data);
}
