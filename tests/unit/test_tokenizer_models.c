/* Real vocabularies: every recorded text has the recorded ids, and decoding them returns the text, at once and as a
 * stream cut anywhere. The data is next to the project (../shared/data/tokenizers, or PANTRY_TEST_DATA); without it the
 * tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/gguf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model {
    struct pn_weights *weights;
    struct pn_tokenizer *tokenizer;
    json_t *cases;
};

static void data_path(char *path, size_t size, const char *name, const char *suffix)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    snprintf(path, size, "%s/tokenizers/%s%s", root ? root : "../shared/data", name, suffix);
}

/* False: no data. */
static bool open_model(struct model *m, const char *name)
{
    char path[1024];
    struct pantry_error err = {0};
    *m = (struct model){0};
    data_path(path, sizeof path, name, ".json");
    m->cases = json_load_file(path, 0, NULL);
    if (!m->cases)
        return false;
    data_path(path, sizeof path, name, ".gguf");
    if (pn_weights_open(path, &m->weights, &err) || pn_vocab_from_weights(m->weights, &m->tokenizer, &err))
        fail_msg("%s: %s", name, err.text);
    return true;
}

static void close_model(struct model *m)
{
    pn_tokenizer_free(m->tokenizer);
    pn_weights_close(m->weights);
    json_decref(m->cases);
}

static void check_case(const struct model *m, const char *name, size_t i, bool decodes)
{
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    struct pn_buf whole = {0}, stream = {0};
    json_t *row = json_array_get(m->cases, i), *want = json_object_get(row, "ids"),
           *text = json_object_get(row, "text");
    const char *bytes = json_string_value(text);
    if (pn_tokenizer_encode(m->tokenizer, bytes, json_string_length(text), 0, &ids, &err))
        fail_msg("%s, text %zu: %s", name, i, err.text);
    if (ids.len != json_array_size(want))
        fail_msg("%s, text %zu \"%s\": %zu ids instead of %zu", name, i, bytes, ids.len, json_array_size(want));
    for (size_t k = 0; k < ids.len; k++)
        if (ids.data[k] != json_integer_value(json_array_get(want, k)))
            fail_msg("%s, text %zu \"%s\": id %zu is %d", name, i, bytes, k, ids.data[k]);
    struct pn_detokenizer *d = NULL;
    assert_int_equal(pn_tokenizer_decode(m->tokenizer, ids.data, ids.len, true, &whole, &err), PANTRY_OK);
    assert_int_equal(pn_detokenizer_new(m->tokenizer, PN_DETOKENIZE_SPECIAL, &d, &err), PANTRY_OK);
    for (size_t k = 0; k < ids.len; k++)
        assert_int_equal(pn_detokenizer_push(d, ids.data[k], &stream, &err), PANTRY_OK);
    pn_detokenizer_flush(d, &stream);
    if (decodes) {
        assert_int_equal(whole.len, json_string_length(text));
        assert_memory_equal(whole.data ? whole.data : "", bytes, whole.len);
    }
    assert_int_equal(stream.len, whole.len);
    if (whole.len)
        assert_memory_equal(stream.data, whole.data, whole.len);
    pn_detokenizer_free(d);
    pn_buf_free(&whole);
    pn_buf_free(&stream);
    free(ids.data);
}

static void recorded_ids(void **state)
{
    struct model m;
    const char *name = *state;
    if (!open_model(&m, name))
        skip();
    assert_int_equal(json_array_size(m.cases), 46);
    for (size_t i = 0; i < json_array_size(m.cases); i++)
        check_case(&m, name, i, strcmp(name, "bert-bge") != 0); /* BERT drops accents and case */
    close_model(&m);
}

static bool adds_bos(const struct pn_tokenizer *t)
{
    size_t n;
    const int32_t *before = pn_tokenizer_around(t, false, &n);
    return n == 1 && before[0] == pn_tokenizer_bos(t);
}

static void special_tokens(void **state)
{
    (void)state;
    struct model m;
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    struct pn_buf text = {0};
    if (!open_model(&m, "llama-bpe"))
        skip();
    const char *prompt = "<|begin_of_text|>hi<|eot_id|>";
    assert_int_equal(pn_tokenizer_encode(m.tokenizer, prompt, strlen(prompt), PN_TOKENIZE_SPECIAL, &ids, &err),
                     PANTRY_OK);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.data[0], 128000);
    assert_int_equal(ids.data[2], 128009);
    assert_true(pn_tokenizer_is_eog(m.tokenizer, 128009));
    assert_true(pn_tokenizer_is_eog(m.tokenizer, 128001));
    assert_false(pn_tokenizer_is_eog(m.tokenizer, 128000));
    assert_int_equal(pn_tokenizer_find(m.tokenizer, "<|eot_id|>", 10), 128009);
    assert_int_equal(pn_tokenizer_decode(m.tokenizer, ids.data, ids.len, false, &text, &err), PANTRY_OK);
    assert_string_equal(text.data, "hi");
    /* Not parsed: ordinary text. */
    ids.len = 0;
    assert_int_equal(pn_tokenizer_encode(m.tokenizer, prompt, strlen(prompt), PN_TOKENIZE_BOS, &ids, &err), PANTRY_OK);
    assert_int_equal(ids.data[0], 128000);
    assert_true(ids.len > 8);
    for (size_t i = 1; i < ids.len; i++)
        assert_true(ids.data[i] < 128000);
    assert_true(adds_bos(m.tokenizer));
    free(ids.data);
    pn_buf_free(&text);
    close_model(&m);
}

/* A blank comes in front again after each special token, and phi-3's tokens take the template's white space. */
static void blanks_around_special_tokens(void **state)
{
    (void)state;
    struct model m;
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    if (!open_model(&m, "phi-3"))
        skip();
    const char *prompt = "<|user|>\nHi<|end|>\n<|assistant|>\n";
    assert_int_equal(pn_tokenizer_encode(m.tokenizer, prompt, strlen(prompt), PN_TOKENIZE_SPECIAL, &ids, &err),
                     PANTRY_OK);
    /* llama-cpp-python 0.3.36: Llama("phi-3.gguf", vocab_only=True).tokenize(prompt, add_bos=False, special=True) */
    const int32_t want[] = {32010, 6324, 32007, 32001};
    assert_int_equal(ids.len, 4);
    assert_memory_equal(ids.data, want, sizeof want);
    free(ids.data);
    close_model(&m);
}

#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        name, recorded_ids, NULL, NULL, (void *)(uintptr_t)name                                                        \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        MODEL("bert-bge"),
        MODEL("deepseek-coder"),
        MODEL("falcon"),
        MODEL("gpt-2"),
        MODEL("llama-bpe"),
        MODEL("llama-spm"),
        MODEL("phi-3"),
        MODEL("qwen2"),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(blanks_around_special_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
