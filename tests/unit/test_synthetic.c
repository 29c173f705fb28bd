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
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A stack, a matrix and a norm of a type. */
static void describe_three(struct maker *m, const void *what)
{
    const pn_type *type = what;
    meta_text(m, "general.architecture", "none");
    add_tensor(m, "stack", *type, 3, (const uint32_t[]){3, 20, 512}, false);
    add_tensor(m, "matrix", *type, 2, (const uint32_t[]){40, 256}, false);
    add_tensor(m, "norm", PN_TYPE_F32, 1, (const uint32_t[]){256}, true);
}

/* Written and read: sizes, values that keep activations in range, repeated rows; stacks of experts too. */
static void files_have_the_right_contents(void **state)
{
    (void)state;
    for (enum pn_type type = 0; type < PN_TYPE_COUNT; type++) {
        struct pantry_error err;
        struct pn_weights *weights = NULL;
        const char *path = gw_temp("small.gguf");
        if (!pn_type_info(type)->encode || pn_type_info(type)->gguf < 0)
            continue;
        if (make_file(path, describe_three, &type, true, true, &err) || pn_weights_open(path, &weights, &err))
            fail_msg("%s", err.text);
        assert_int_equal(weights->n_tensors, 3);
        for (size_t t = 0; t < weights->n_tensors; t++) {
            const struct pn_tensor_info *info = &weights->tensors[t];
            static float first[512], row[512];
            int64_t n = info->shape[info->n_dims - 1],
                    rows = (int64_t)(info->bytes / pn_type_row_bytes(info->type, (size_t)n));
            size_t bytes = pn_type_row_bytes(info->type, (size_t)n);
            double squares = 0;
            for (int64_t r = 0; r < rows; r++) {
                pn_type_info(info->type)->decode((const char *)info->data + (size_t)r * bytes, row, (size_t)n);
                if (r == 0)
                    memcpy(first, row, sizeof first);
                if (r && info->n_dims > 1) /* sixteen rows, then the same again */
                    assert_true((memcmp(row, first, (size_t)n * sizeof *row) == 0) == (r % 16 == 0));
                for (int64_t i = 0; i < n; i++) {
                    squares += (double)row[i] * (double)row[i];
                    assert_true(info->n_dims > 1 || row[i] == 1);
                }
            }
            double variance = squares / (double)(rows * n) * (double)n;
            assert_true(info->n_dims == 1 || (variance > 0.3 && variance < 2)); /* types of one bit are coarse */
        }
        pn_weights_close(weights);
    }
}

/* The same file without weights reads as zeros and takes no disk. */
static void outlines_are_holes(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_weights *weights = NULL;
    struct stat st;
    const char *path = gw_temp("outline.gguf");
    struct model model = {.name = "outline"};
    if (pn_shape_parse("llama3.1-8b:q4_k_m", &model.spec, &err) ||
        make_file(path, describe_model, &model, false, true, &err) || pn_weights_open(path, &weights, &err))
        fail_msg("%s", err.text);
    assert_int_equal(weights->n_tensors, 32 * 9 + 3);
    assert_int_equal(*(const char *)weights->tensors[weights->n_tensors - 1].data, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 4900000000 && st.st_blocks < 10000);
    pn_weights_close(weights);
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
        assert_non_null(strstr(error.text, ", gpt-oss-120b; types: f32, f16, ")); /* lists all shapes and types */
    }
}

/* A limit of file sizes stands for a full disk: nothing is left. */
static void full_disks_are_errors(void **state)
{
    (void)state;
    const char *path = gw_temp("full.gguf");
    char partial[1200];
    struct model model = {.name = "full", .vocabulary = true};
    struct pantry_error err;
    struct rlimit old;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(pn_shape_parse("smollm2-135m:q4_0", &model.spec, &err), PANTRY_OK);
    for (int temporary = 0; temporary < 2; temporary++) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){5 << 20, old.rlim_max});
        pantry_status status = make_file(path, describe_model, &model, true, temporary, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, PANTRY_IO);
        assert_non_null(strstr(err.text, "cannot be written: "));
        assert_int_equal(strstr(err.text, "MB of weights (set TMPDIR to use another folder): ") != NULL, temporary);
        snprintf(partial, sizeof partial, "%s.%d.partial", path, (int)getpid());
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(access(partial, F_OK), -1);
    }
}

/* A file of two layers: its tokenizer reads any text, and two calls make the same bytes. */
static void files_have_a_tokenizer(void **state)
{
    (void)state;
    static const char text[] = "The quick brown fox, 42\xc3\xa4\n";
    struct pantry_error error;
    pantry_model *model;
    int32_t *ids = NULL;
    size_t n = 0, len = 0;
    char *again = NULL;
    const char *paths[] = {gw_temp("synth.gguf"), gw_temp("synth2.gguf")};
    char *bytes[2];
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        if (pantry_synthesize("qwen3-0.6b:q4_k_m", paths[i], 2, &error) ||
            pn_file_read(paths[i], 1 << 30, &bytes[i], &sizes[i], &error))
            fail_msg("%s", error.text);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    if (pantry_model_load(paths[0], NULL, &model, &error) ||
        pantry_tokenize(pantry_model_tokenizer(model), text, strlen(text), 0, &ids, &n, &error) ||
        pantry_detokenize(pantry_model_tokenizer(model), ids, n, 0, &again, &len, &error))
        fail_msg("%s", error.text);
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model_info(model, &info, NULL);
    assert_int_equal(info.n_layer, 2);
    assert_int_equal(info.n_vocab, 151936);
    assert_true(info.has_tokenizer);
    assert_true(n < strlen(text)); /* merges are used */
    assert_int_equal(len, strlen(text));
    assert_memory_equal(again, text, len);
    pantry_free(again);
    pantry_free(ids);
    pantry_model_free(model);
    for (int i = 0; i < 2; i++)
        free(bytes[i]);
    assert_int_equal(pantry_synthesize("qwen3-0.6b:q4_k_m", paths[0], 29, &error), PANTRY_INVALID);
    assert_int_equal(pantry_synthesize("qwen3-0.6b", paths[0], 0, &error), PANTRY_NOT_FOUND);
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
        cmocka_unit_test(files_have_the_right_contents),
        cmocka_unit_test(outlines_are_holes),
        cmocka_unit_test(has_the_size_of_the_real_model),
        cmocka_unit_test(makes_finite_logits_that_depend_on_the_token),
        cmocka_unit_test(unknown_specs_are_errors),
        cmocka_unit_test(full_disks_are_errors),
        cmocka_unit_test(files_have_a_tokenizer),
        cmocka_unit_test(errors_name_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
