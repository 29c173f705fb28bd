/* Models with a known shape and random weights: the written file can be loaded and has the right size. */
#define _POSIX_C_SOURCE 200809L /* as synthetic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Included for its tables and its writer: whole models are too large to write in a test. */
#include "engine/synthetic.c"

#include "gguf_writer.h"

#include <dirent.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct writer written(const struct shape *shape, const struct mix *mix)
{
    struct writer w = {0};
    describe(&w, "a:b", shape, mix);
    assert_false(w.failed || w.head.failed);
    return w;
}

static void forget(struct writer *w)
{
    pn_buf_free(&w->head);
    free(w->tensor);
}

/* The bytes of the header after a key and its type, which must occur once. */
static const char *value_of(const struct writer *w, const char *key)
{
    const char *found = NULL;
    size_t n = strlen(key);
    for (size_t i = 0; i + n + 12 < w->head.len; i++) {
        uint64_t len;
        memcpy(&len, w->head.data + i, sizeof len);
        if (len != n || memcmp(w->head.data + i + 8, key, n) != 0)
            continue;
        assert_null(found);
        found = w->head.data + i + 8 + n + 4;
    }
    if (!found)
        fail_msg("%s is missing", key);
    return found;
}

/* Compares with config.json and the cards of the models. */
static void shapes_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t n_params;
        uint32_t n_head, n_head_kv, n_context, n_layer, n_embd, n_ff;
        float freq_base;
    } models[] = {
        {"smollm2-135m", 134515008, 9, 3, 8192, 30, 576, 1536, 100000},
        {"smollm2-360m", 361821120, 15, 5, 8192, 32, 960, 2560, 100000},
        {"smollm2-1.7b", 1711376384, 32, 32, 8192, 24, 2048, 8192, 130000},
        {"llama3.2-1b", 1235814400, 32, 8, 131072, 16, 2048, 8192, 500000},
        {"llama3.2-3b", 3212749824, 24, 8, 131072, 28, 3072, 8192, 500000},
        {"llama3.1-8b", 8030261248, 32, 8, 131072, 32, 4096, 14336, 500000},
    };
    assert_int_equal(COUNT(models), COUNT(shapes));
    for (size_t i = 0; i < COUNT(models); i++) {
        struct writer w = written(&shapes[i], &mixes[0]);
        const struct {
            const char *key;
            uint32_t value;
        } numbers[] = {
            {"llama.attention.head_count", models[i].n_head}, {"llama.attention.head_count_kv", models[i].n_head_kv},
            {"llama.context_length", models[i].n_context},    {"llama.block_count", models[i].n_layer},
            {"llama.embedding_length", models[i].n_embd},     {"llama.feed_forward_length", models[i].n_ff}};
        uint64_t n_params = 0;
        assert_string_equal(shapes[i].name, models[i].name);
        for (size_t t = 0; t < w.n; t++)
            n_params += (uint64_t)w.tensor[t].row * (w.tensor[t].rows ? w.tensor[t].rows : 1);
        assert_true(n_params == models[i].n_params);
        for (size_t k = 0; k < COUNT(numbers); k++)
            assert_memory_equal(value_of(&w, numbers[k].key), &numbers[k].value, 4);
        assert_memory_equal(value_of(&w, "llama.rope.freq_base"), &models[i].freq_base, 4);
        assert_memory_equal(value_of(&w, "llama.attention.layer_norm_rms_epsilon"), &(float){1e-5f}, 4);
        assert_int_equal(w.n_meta, 10);
        forget(&w);
    }
}

/* Bits per value. Rows that are not whole super-blocks of 256 have another type. */
static double bits_of(const char *name, uint32_t row)
{
    static const struct {
        const char *name, *fallback;
        double bits;
    } types[] = {{"f32", NULL, 32},     {"f16", NULL, 16},     {"bf16", NULL, 16},      {"q8_0", NULL, 8.5},
                 {"q4_0", NULL, 4.5},   {"q4_1", NULL, 5},     {"q5_0", NULL, 5.5},     {"q5_1", NULL, 6},
                 {"q4_k", "q5_0", 4.5}, {"q5_k", "q5_1", 5.5}, {"q6_k", "q8_0", 6.5625}};
    for (size_t i = 0; i < COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].fallback && row % 256 ? bits_of(types[i].fallback, row) : types[i].bits;
    fail_msg("%s", name);
    return 0;
}

/* As in llama.cpp, *_M files have half of the value and down matrices, and the output, in a larger type. */
static void files_have_the_size_of_their_types(void **state)
{
    (void)state;
    static const struct {
        const char *name, *base, *more, *output;
    } types[] = {
        {"f32", "f32", "f32", "f32"},       {"f16", "f16", "f16", "f16"},     {"bf16", "bf16", "bf16", "bf16"},
        {"q8_0", "q8_0", "q8_0", "q8_0"},   {"q4_0", "q4_0", "q4_0", "q6_k"}, {"q4_1", "q4_1", "q4_1", "q6_k"},
        {"q5_0", "q5_0", "q5_0", "q6_k"},   {"q5_1", "q5_1", "q5_1", "q6_k"}, {"q4_k_m", "q4_k", "q6_k", "q6_k"},
        {"q5_k_m", "q5_k", "q6_k", "q6_k"}, {"q6_k", "q6_k", "q6_k", "q6_k"}};
    assert_int_equal(COUNT(types), COUNT(mixes));
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (size_t m = 0; m < COUNT(types); m++) {
            const struct shape *h = &shapes[s];
            struct writer w = written(h, &mixes[m]);
            double d = h->n_embd, ff = h->n_ff, kv = d / h->n_head * h->n_head_kv, bits = 0, vocab = h->n_vocab;
            int n = (int)h->n_layer;
            assert_string_equal(mixes[m].name, types[m].name);
            for (int i = 0; i < n; i++) {
                const char *careful =
                    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2 ? types[m].more : types[m].base;
                bits += (2 * d * d + kv * d + 2 * ff * d) * bits_of(types[m].base, h->n_embd);
                bits += kv * d * bits_of(careful, h->n_embd) + ff * d * bits_of(careful, h->n_ff) + 2 * d * 32;
            }
            bits += vocab * d * bits_of(h->tied ? types[m].output : types[m].base, h->n_embd) + d * 32;
            bits += h->tied ? 0 : vocab * d * bits_of(types[m].output, h->n_embd);
            uint64_t bytes = 0, end = 0;
            for (size_t t = 0; t < w.n; t++) {
                assert_true(w.tensor[t].offset % 32 == 0 && w.tensor[t].offset >= end && w.tensor[t].offset < end + 32);
                end = w.tensor[t].offset + w.tensor[t].bytes;
                bytes += w.tensor[t].bytes;
            }
            assert_true((double)bytes * 8 == bits);
            assert_true(w.end >= end && w.end < end + 32);
            forget(&w);
        }
}

/* A small shape, written and read: sizes, values that keep activations in range, repeated rows. */
static void files_have_the_right_contents(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        for (size_t m = 0; m < COUNT(mixes); m++) {
            const struct shape small = {"small", 8, 256, 4, 2, 512, 40, 64, 10000, tied};
            struct pantry_error err;
            struct pn_weights *weights = NULL;
            const char *path = gw_temp("small.gguf");
            struct writer w = written(&small, &mixes[m]);
            FILE *file = fopen(path, "wb");
            if (!file || write_file(file, path, &w, &err) || fclose(file) != 0 || pn_weights_open(path, &weights, &err))
                fail_msg("%s", err.text);
            assert_int_equal(weights->n_tensors, w.n);
            assert_int_equal(w.n, 8 * 9 + 3 - tied);
            for (size_t t = 0; t < w.n; t++) {
                const struct pn_tensor_info *info = &weights->tensors[t];
                static float first[512], row[512];
                int64_t n = info->shape[info->n_dims - 1], rows = info->n_dims == 2 ? info->shape[0] : 1;
                size_t bytes = pn_type_row_bytes(info->type, (size_t)n);
                double sum = 0, squares = 0;
                for (int64_t r = 0; r < rows; r++) {
                    pn_type_info(info->type)->decode((const char *)info->data + (size_t)r * bytes, row, (size_t)n);
                    if (r == 0)
                        memcpy(first, row, sizeof first);
                    if (r && info->n_dims == 2) /* sixteen rows, then the same again */
                        assert_true((memcmp(row, first, (size_t)n * sizeof *row) == 0) == (r % 16 == 0));
                    for (int64_t i = 0; i < n; i++) {
                        sum += (double)row[i];
                        squares += (double)row[i] * (double)row[i];
                        assert_true(info->n_dims == 2 || row[i] == 1);
                    }
                }
                double count = (double)(rows * n), variance = squares / count * (double)n;
                assert_int_equal(info->bytes, w.tensor[t].bytes);
                assert_string_equal(info->name, w.tensor[t].name);
                assert_true(info->n_dims == 1 || (variance > 0.9 && variance < 1.1 && fabs(sum / count) < 0.01));
            }
            pn_weights_close(weights);
            forget(&w);
        }
}

/* Loads with its own temporary folder, from which the file must be unlinked already. */
static pantry_model *load_synthetic(const char *spec, const struct pantry_model_options *options)
{
    struct pantry_error error;
    pantry_model *model;
    char *before = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL, *folder = strdup(gw_temp("x"));
    *strrchr(folder, '/') = '\0';
    setenv("TMPDIR", folder, 1);
    pantry_status status = pantry_model_synthetic(spec, options, &model, &error);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    if (status)
        fail_msg("%s", error.text);
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        assert_int_not_equal(strncmp(e->d_name, "pantry-synthetic-", 17), 0);
    closedir(d);
    free(folder);
    free(before);
    return model;
}

static void has_the_size_of_the_real_model(void **state)
{
    (void)state;
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model *model =
        load_synthetic("smollm2-135m:q4_0",
                       &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"});
    pantry_model_info(model, &info, NULL);
    assert_true(info.n_params == 134515008); /* as published */
    assert_int_equal(strncmp(info.device, "ref", 3), 0);
    assert_string_equal(info.name, "smollm2-135m:q4_0");
    assert_int_equal(info.n_layer, 30);
    assert_int_equal(info.n_vocab, 49152);
    assert_false(info.has_tokenizer);
    uint64_t embedding = (uint64_t)49152 * 576;
    /* 576 values are not whole blocks of q6_k, so the embedding is q8_0; vectors are float32 */
    uint64_t least = embedding * 34 / 32 + (info.n_params - embedding) * 18 / 32;
    assert_true(info.size_bytes > least && info.size_bytes < least + 1000000);
    pantry_model_free(model);
}

static void makes_finite_logits_that_depend_on_the_token(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model;
    pantry_session *session;
    enum { N_VOCAB = 49152 };
    float *logits = malloc(2 * N_VOCAB * sizeof *logits);
    assert_non_null(logits);
    if (pantry_model_synthetic("smollm2-135m:q4_0", NULL, &model, &error) ||
        pantry_session_new(model, NULL, &session, &error) ||
        pantry_logits(session, (const int32_t[]){1, 2}, 2, NULL, 0, logits, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < 2 * N_VOCAB; i++)
        assert_true(isfinite(logits[i]));
    assert_true(memcmp(logits, logits + N_VOCAB, N_VOCAB * sizeof *logits) != 0);
    free(logits);
    pantry_session_free(session);
    pantry_model_free(model);
}

static void unknown_specs_are_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      "smollm2-135m",
                                      "smollm2-135m:q9",
                                      "smollm2-135m:",
                                      "abacus:q4_0",
                                      ":q4_0",
                                      "smollm2-135:q4_0",
                                      "smollm2-135mm:q4_0",
                                      "smollm2-135x:q4_0"};
    struct pantry_error error;
    pantry_model *model;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pantry_model_synthetic(bad[i], NULL, &model, &error), PANTRY_NOT_FOUND);
        assert_null(model);
        assert_non_null(strstr(error.text, "use SHAPE:TYPE, such as llama3.2-1b:q4_k_m; shapes: smollm2-135m, "));
        assert_non_null(strstr(error.text, ", llama3.1-8b; types: f32, f16, ")); /* lists all shapes and types */
    }
}

static void full_disks_are_errors(void **state)
{
    (void)state;
    struct pantry_error err;
    FILE *full = fopen("/dev/full", "wb");
    if (!full)
        skip();
    struct writer w = written(&shapes[0], &mixes[4]);
    w.n = 3; /* the embedding is enough */
    assert_int_equal(write_file(full, "the file", &w, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "the file: cannot write "));
    assert_non_null(
        strstr(err.text, " MB of random weights: No space left on device; set TMPDIR to use another folder"));
    fclose(full);
    forget(&w);
}

static void errors_name_the_folder(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model;
    char *before = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL;
    setenv("TMPDIR", "/no/such/folder", 1);
    pantry_status status = pantry_model_synthetic("smollm2-135m:q4_0", NULL, &model, &error);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    free(before);
    assert_int_equal(status, PANTRY_IO);
    assert_non_null(strstr(error.text, "/no/such/folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_the_published_ones),
        cmocka_unit_test(files_have_the_size_of_their_types),
        cmocka_unit_test(files_have_the_right_contents),
        cmocka_unit_test(has_the_size_of_the_real_model),
        cmocka_unit_test(makes_finite_logits_that_depend_on_the_token),
        cmocka_unit_test(unknown_specs_are_errors),
        cmocka_unit_test(full_disks_are_errors),
        cmocka_unit_test(errors_name_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
