/* Models with a known shape and made-up weights: the file that is written is one that loads, of the size it claims. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pantry.h"

static void has_the_size_of_the_model_it_stands_for(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_model_info info;
    pantry_model *model;
    if (pantry_model_synthetic("smollm2-135m:q4_0", NULL, &model, &error))
        fail_msg("%s", error.text);
    pantry_model_info(model, &info);
    assert_true(info.n_params == 134515008); /* as published */
    assert_int_equal(info.n_layer, 30);
    assert_int_equal(info.n_vocab, 49152);
    assert_false(info.has_tokenizer);
    uint64_t embedding = (uint64_t)49152 * 576;
    /* 576 values are no whole blocks of q6_k: the embedding is q8_0; vectors are float32 */
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

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ":", "smollm2-135m", "smollm2-135m:q9", "abacus:q4_0", ":q4_0"};
    struct pantry_error error;
    pantry_model *model;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pantry_model_synthetic(bad[i], NULL, &model, &error), PANTRY_NOT_FOUND);
        assert_null(model);
        assert_non_null(strstr(error.text, "smollm2-135m")); /* tells what there is */
    }
}

static void says_where_it_cannot_write(void **state)
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
        cmocka_unit_test(has_the_size_of_the_model_it_stands_for),
        cmocka_unit_test(makes_finite_logits_that_depend_on_the_token),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(says_where_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
