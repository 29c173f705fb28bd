/* Every kind of step of a tokenizer.json, compared with Hugging Face tokenizers on the same texts:
 * tests/golden/tokenizers.json, recorded by make_tokenizers.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/tokenizer/tokenizer_files.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct pn_tokenizer *make(const json_t *golden, const json_t *row)
{
    static const char *const parts[] = {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"};
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    json_t *file = json_object();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        json_object_set(file, parts[i], json_object_get(row, parts[i]));
    json_object_set(
        file, "model",
        json_object_get(json_object_get(golden, "models"), json_string_value(json_object_get(row, "model"))));
    char *text = json_dumps(file, 0);
    if (pn_tokenizer_from_json(text, strlen(text), NULL, NULL, &t, &err))
        fail_msg("%s", err.text);
    free(text);
    json_decref(file);
    return t;
}

static bool same_ids(const struct pn_ids *ids, const json_t *want)
{
    bool same = ids->len == json_array_size(want);
    for (size_t i = 0; i < ids->len && same; i++)
        same = ids->data[i] == json_integer_value(json_array_get(want, i));
    return same;
}

static bool check_text(const struct pn_tokenizer *t, const json_t *text, const json_t *want, unsigned flags)
{
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    struct pn_buf back = {0};
    const json_t *decoded = json_array_get(want, 1);
    if (pn_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &err) ||
        pn_tokenizer_decode(t, ids.data, ids.len, true, &back, &err))
        fail_msg("%s: %s", json_string_value(text), err.text);
    bool good = same_ids(&ids, json_array_get(want, 0)) && back.len == json_string_length(decoded) &&
                (!back.len || memcmp(back.data, json_string_value(decoded), back.len) == 0);
    if (!good) {
        char *expected = json_dumps(want, 0);
        print_error("\"%s\": want %s, got", json_string_value(text), expected);
        for (size_t i = 0; i < ids.len; i++)
            print_error(" %d", ids.data[i]);
        print_error(" \"%s\"\n", back.data ? back.data : "");
        free(expected);
    }
    free(ids.data);
    pn_buf_free(&back);
    return good;
}

static size_t check_case(const json_t *golden, const json_t *row)
{
    size_t bad = 0, i;
    const json_t *want;
    struct pn_tokenizer *t = make(golden, row);
    json_t *texts = json_object_get(golden, "texts");
    json_array_foreach(json_object_get(row, "rows"), i, want) bad +=
        !check_text(t, json_array_get(texts, i), want, PN_TOKENIZE_SPECIAL);
    json_array_foreach(json_object_get(row, "around"), i, want) bad +=
        !check_text(t, json_array_get(texts, i), want, PN_TOKENIZE_SPECIAL | PN_TOKENIZE_BOS);
    pn_tokenizer_free(t);
    if (bad) {
        json_t *steps = json_deep_copy(row);
        json_object_del(steps, "rows");
        json_object_del(steps, "around");
        char *text = json_dumps(steps, 0);
        print_error("%zu differences: %s\n", bad, text);
        free(text);
        json_decref(steps);
    }
    return bad;
}

static void every_step_equals_its_reference(void **state)
{
    (void)state;
    json_error_t where = {0};
    json_t *golden = json_load_file("tests/golden/tokenizers.json", JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!golden)
        fail_msg("tokenizers.json: %s", where.text);
    size_t bad = 0, i;
    const json_t *row;
    json_array_foreach(json_object_get(golden, "cases"), i, row) bad += check_case(golden, row);
    assert_true(i >= 70);
    json_decref(golden);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_step_equals_its_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
