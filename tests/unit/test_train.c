/* Training without a model: rows of data, the rule of batches, orders, choices of rows; and, if the
 * reference data is there (../shared/data/lora, or PANTRY_TEST_DATA), the tokens of its rows. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/tokenizer_files.h"
#include "train/batch.h"

/* ---- rows ---- */

static const char words[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<e>\",\"special\":true,\"single_word\":false,"
    "\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
    "\"Whitespace\"},\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"<e>\":0,"
    "\"user\":1,\"assistant\":2,\"a\":3,\"b\":4,\"?\":5},\"unk_token\":\"?\"}}";
static const char turns[] =
    "{% for m in messages %}{{ m.role }} {{ m.content }} <e>{% endfor %}{% if add_generation_prompt %}assistant {% "
    "endif %}";

static struct pn_train_text text_new(bool mask)
{
    struct pantry_error err = {0};
    struct pn_tokenizer *t;
    struct pn_template *template = NULL;
    if (pn_tokenizer_from_json(words, sizeof words - 1, &(struct pn_token_names){.eos = "<e>"}, NULL, &t, &err) ||
        pn_template_parse(turns, sizeof turns - 1, &template, &err))
        fail_msg("%s", err.text);
    return (struct pn_train_text){.tokenizer = t, .template = template, .mask_prompt = mask};
}

static void text_free(struct pn_train_text *how)
{
    pn_tokenizer_free((struct pn_tokenizer *)(uintptr_t)how->tokenizer);
    pn_template_free((struct pn_template *)(uintptr_t)how->template);
}

static void reads_three_forms(void **state)
{
    (void)state;
    static const char rows[] = "{\"text\": \"a b\"}\r\n\n{\"text\": \"a <e>\"}\n"
                               "{\"prompt\": \"a\", \"completion\": \"b b\"}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}";
    static const int32_t want[4][8] = {{3, 4, 0}, {3, 0}, {1, 3, 0, 2, 4, 4, 0}, {1, 3, 0}};
    static const int n[4] = {3, 2, 7, 3};
    struct pantry_error err = {0};
    struct pn_train_data data = {0};
    struct pn_train_text how = text_new(false);
    if (pn_train_data_parse("x", rows, sizeof rows - 1, &how, &data, &err))
        fail_msg("%s", err.text);
    assert_int_equal(data.len, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(data.data[i].n, n[i]);
        assert_int_equal(data.data[i].offset, 0);
        assert_memory_equal(data.data[i].ids, want[i], (size_t)n[i] * sizeof(int32_t));
    }
    pn_train_data_free(&data);
    how.mask_prompt = true;
    const char *pair = strstr(rows, "{\"prompt");
    assert_int_equal(pn_train_data_parse("x", pair, strlen(pair), &how, &data, &err), PANTRY_OK);
    assert_int_equal(data.data[0].offset, 4); /* user a <e> assistant */
    assert_int_equal(data.data[1].offset, 0); /* nothing before it, and it is not the assistant's */
    pn_train_data_free(&data);
    text_free(&how);
}

static void names_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *row, *wanted;
    } bad[] = {
        {"{\"text\": \"\\ud800\"}", "x:3: is not JSON"},     {"nul", "x:3: is not JSON"},
        {"{\"text\": null}", "x:3: \"text\" is not a text"}, {"{\"messages\": {}}", "x:3: \"messages\" is not a list"},
        {"{\"messages\": [1]}", "x:3: message 1 has no"},    {"{\"prompt\": \"a\"}", "x:3: has neither"},
        {"{\"messages\": [{\"role\": \"user\"}]}", NULL}};
    struct pn_train_text how = text_new(false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pantry_error err = {0};
        struct pn_train_data data = {0};
        char rows[200];
        snprintf(rows, sizeof rows, "{\"text\": \"a\"}\n \n%s\n", bad[i].row);
        pantry_status status = pn_train_data_parse("x", rows, strlen(rows), &how, &data, &err);
        assert_true(bad[i].wanted ? status != PANTRY_OK : true);
        if (bad[i].wanted && strncmp(err.text, bad[i].wanted, strlen(bad[i].wanted)) != 0)
            fail_msg("%s: %s", bad[i].row, err.text);
        pn_train_data_free(&data);
    }
    text_free(&how);
}

/* ---- batches ---- */

static void counts_targets_as_mlx_does(void **state)
{
    (void)state;
    enum { N = 3 };
    static int32_t ids[N][100];
    for (int r = 0; r < N; r++)
        for (int i = 0; i < 100; i++)
            ids[r][i] = 10 + i;
    struct pn_train_row rows[N] = {{ids[0], 5, 0, 1}, {ids[1], 33, 30, 2}, {ids[2], 100, 90, 3}};
    struct pn_train_data data = {.data = rows, .len = N};
    static const size_t order[N] = {0, 1, 2};
    struct pn_train_batch b;
    struct pantry_error err = {0};
    assert_int_equal(pn_train_batch_new(N, 64, &b, &err), PANTRY_OK);
    /* width 1 + 32: five targets, the last of them padding */
    pn_train_batch_fill(&b, &data, order, 0, 1);
    assert_int_equal(b.n_outputs, 5);
    assert_int_equal(b.n_tokens, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(b.out_rows[i], i);
        assert_true(b.targets[i] == (i < 4 ? (float)(11 + i) : 0));
    }
    /* width 64 for 33 tokens: from the offset to the padding */
    pn_train_batch_fill(&b, &data, order, 1, 1);
    assert_int_equal(b.n_outputs, 4);
    assert_int_equal(b.out_rows[0], 29);
    assert_true(b.targets[0] == 40 && b.targets[3] == 0);
    /* 100 tokens are cut to 64, which fill the width: no padding, and no target after an offset beyond it */
    pn_train_batch_fill(&b, &data, order, 2, 1);
    assert_int_equal(b.n_outputs, 0);
    assert_int_equal(b.n_tokens, 63);
    assert_int_equal(b.n_cut, 1);
    rows[2].offset = 0;
    pn_train_batch_fill(&b, &data, order, 0, N);
    assert_int_equal(b.n_seqs, 3);
    assert_int_equal(b.n_outputs, 5 + 4 + 63);
    assert_int_equal(b.seqs[2].start, 5 + 33);
    assert_int_equal(b.pos[5], 0);
    pn_train_batch_free(&b);
}

static void orders_are_permutations(void **state)
{
    (void)state;
    enum { N = 57 };
    size_t a[N], b[N];
    int moved = 0, differ = 0;
    pn_train_order(a, N, false, 1, 1);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(a[i], i);
    pn_train_order(a, N, true, 1, 0);
    pn_train_order(b, N, true, 1, 1);
    bool seen[N] = {false};
    for (size_t i = 0; i < N; i++) {
        moved += a[i] != i;
        differ += a[i] != b[i];
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
    }
    assert_true(moved > N / 2 && differ > N / 2);
}

/* ---- choices of rows ---- */

static struct pn_train_data numbered(size_t n)
{
    struct pn_train_data data = {.path = strdup("x")};
    for (size_t i = 0; i < n; i++) {
        struct pn_train_row row = {.ids = calloc(1, sizeof(int32_t)), .n = (int32_t)i + 1, .line = (int32_t)i + 1};
        assert_non_null(row.ids);
        assert_true(pn_vec_push(&data, row));
    }
    return data;
}

static void long_rows(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_train_data data = numbered(6);
    assert_int_equal(pn_long_rows_find("skip"), PN_LONG_SKIP);
    assert_int_equal(pn_long_rows_find("keep"), PN_LONG_COUNT);
    assert_int_equal(pn_train_data_limit(&data, PN_LONG_CUT, 4, &err), PANTRY_OK);
    assert_int_equal(data.len, 6);
    assert_int_equal(pn_train_data_limit(&data, PN_LONG_REFUSE, 4, &err), PANTRY_LIMIT);
    assert_string_equal(err.text, "x:5: has 5 tokens (allowed 4), the first of 2 rows that are too long");
    assert_int_equal(pn_train_data_limit(&data, PN_LONG_SKIP, 4, &err), PANTRY_OK);
    assert_int_equal(data.len, 4);
    assert_int_equal(data.n_left_out, 2);
    assert_int_equal(pn_train_data_limit(&data, PN_LONG_REFUSE, 4, &err), PANTRY_OK);
    assert_int_equal(pn_train_data_limit(&data, PN_LONG_SKIP, 0, &err), PANTRY_LIMIT);
    pn_train_data_free(&data);
}

static void splits(void **state)
{
    (void)state;
    for (int random = 0; random < 2; random++) {
        struct pantry_error err = {0};
        struct pn_train_data data = numbered(20), out = {0};
        bool seen[20] = {false}, last = true;
        assert_int_equal(pn_train_data_split(&data, 0.25, random, 3, &out, &err), PANTRY_OK);
        assert_int_equal(data.len, 15);
        assert_int_equal(out.len, 5);
        for (size_t i = 0; i < 20; i++) {
            const struct pn_train_data *from = i < 15 ? &data : &out;
            size_t at = i < 15 ? i : i - 15;
            int32_t line = from->data[at].line;
            assert_true(!seen[line - 1] && (at == 0 || line > from->data[at - 1].line));
            seen[line - 1] = true;
            last &= i < 15 || line > 15;
        }
        assert_true(last == !random);
        pn_train_data_free(&data);
        pn_train_data_free(&out);
    }
    struct pantry_error err = {0};
    struct pn_train_data one = numbered(1), out = {0};
    assert_int_equal(pn_train_data_split(&one, 0.5, true, 0, &out, &err), PANTRY_INVALID);
    pn_train_data_free(&one);
}

/* ---- reference rows ---- */

static void rows_equal_references(void **state)
{
    (void)state;
    static const struct {
        const char *model, *file;
        bool mask;
    } sets[] = {{"llama", "tokens-all", false}, {"llama-4bit", "tokens-all", false}, {"qwen3", "tokens-mask", true}};
    const char *root = getenv("PANTRY_TEST_DATA");
    root = root ? root : "../shared/data";
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        char path[600];
        struct pantry_error err = {0};
        snprintf(path, sizeof path, "%s/lora/data/%s/%s.json", root, sets[s].model, sets[s].file);
        json_t *all = json_load_file(path, 0, NULL);
        if (!all)
            skip();
        struct pn_train_text how = {.mask_prompt = sets[s].mask};
        struct pn_tokenizer *tokenizer;
        struct pn_template *template = NULL;
        struct pn_buf source = {0};
        snprintf(path, sizeof path, "%s/lora/models/%s", root, sets[s].model);
        if (pn_tokenizer_from_hf(path, NULL, &tokenizer, &source, &err) ||
            pn_template_parse(source.data, source.len, &template, &err))
            fail_msg("%s", err.text);
        how.tokenizer = tokenizer;
        how.template = template;
        const char *part;
        json_t *rows;
        json_object_foreach(all, part, rows)
        {
            struct pn_train_data data;
            snprintf(path, sizeof path, "%s/lora/data/%s/%s.jsonl", root, sets[s].model, part);
            if (pn_train_data_read(path, &how, &data, &err))
                fail_msg("%s", err.text);
            assert_int_equal(data.len, json_array_size(rows));
            for (size_t i = 0; i < data.len; i++) {
                const json_t *row = json_array_get(rows, i), *ids = json_object_get(row, "ids");
                assert_int_equal(data.data[i].n, json_array_size(ids));
                assert_int_equal(data.data[i].offset, json_integer_value(json_object_get(row, "offset")));
                for (int j = 0; j < data.data[i].n; j++)
                    assert_int_equal(data.data[i].ids[j], json_integer_value(json_array_get(ids, (size_t)j)));
            }
            pn_train_data_free(&data);
        }
        pn_buf_free(&source);
        text_free(&how);
        json_decref(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_three_forms),
        cmocka_unit_test(names_the_line),
        cmocka_unit_test(counts_targets_as_mlx_does),
        cmocka_unit_test(orders_are_permutations),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(splits),
        cmocka_unit_test(rows_equal_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
