/* The recorded answers in data/dialects/cases.json: content, reasoning and calls must be exact; the prompt is rendered
 * from each row's template and context. Skipped without the data.
 *
 * Some rows continue an assistant message whose reasoning was not recorded, so the expected reasoning is in no input.
 * For these the content, the calls and the reasoning's end are compared, and their number must not grow. Then the
 * missing part is added to the message, and the row must be exact. */
#include "text/dialect/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_UNRECORDED 24

static const char *data_path(const char *name, char *path, size_t size)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    snprintf(path, size, "%s/%s", root ? root : "../shared/data", name);
    return path;
}

static char *read_all(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (!file)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        *len = (size_t)ftell(file);
        rewind(file);
        text = malloc(*len + 1);
        if (text && fread(text, 1, *len, file) != *len) {
            free(text);
            text = NULL;
        }
    }
    fclose(file);
    return text;
}

static const char *member(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static enum pn_tool_choice choice(const char *name)
{
    return strcmp(name, "none") == 0 ? PN_TOOL_NONE : strcmp(name, "required") == 0 ? PN_TOOL_REQUIRED : PN_TOOL_AUTO;
}

/* The row continues a message, and no text of the row contains the reasoning that it expects. */
static bool unrecorded(const json_t *row)
{
    const json_t *context = json_object_get(row, "context"), *messages = json_object_get(context, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    return strcmp(member(last, "role"), "assistant") == 0 && !json_object_get(last, "reasoning_content") &&
           *member(json_object_get(row, "expect"), "reasoning_content");
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The row with its missing reasoning: the part of the expected text before the found one. */
static json_t *with_reasoning(const json_t *row, const json_t *got)
{
    json_t *whole = json_deep_copy(row), *messages = json_object_get(json_object_get(whole, "context"), "messages");
    const char *expected = member(json_object_get(row, "expect"), "reasoning_content");
    size_t missing = strlen(expected) - strlen(member(got, "reasoning_content"));
    while (missing && expected[missing - 1] == ' ') /* white space in the middle belongs to the output */
        missing--;
    json_object_set_new(json_array_get(messages, json_array_size(messages) - 1), "reasoning_content",
                        json_stringn(expected, missing));
    return whole;
}

static bool row_is_right(const json_t *row, json_t *got)
{
    json_t *expect = json_object_get(row, "expect"), *call;
    size_t i;
    json_array_foreach(json_object_get(got, "tool_calls"), i, call) json_object_del(call, "id");
    if (json_equal(expect, got))
        return true;
    if (!unrecorded(row) || !ends_with(member(expect, "reasoning_content"), member(got, "reasoning_content")))
        return false;
    return strcmp(member(expect, "content"), member(got, "content")) == 0 &&
           json_equal(json_object_get(expect, "tool_calls"), json_object_get(got, "tool_calls"));
}

static json_t *answer_of(const json_t *row)
{
    char path[1024], name[512];
    size_t len = 0;
    json_t *got = NULL, *output = json_object_get(row, "output");
    struct pantry_error err;
    snprintf(name, sizeof name, "chat-templates/%s", member(row, "template"));
    char *source = read_all(data_path(name, path, sizeof path), &len);
    assert_non_null(source);
    struct pn_parse_options options = {.reasoning_in_content = strcmp(member(row, "reasoning"), "in-content") == 0,
                                       .tool_choice = choice(member(row, "tool_choice"))};
    if (pn_parse_all(source, len, json_object_get(row, "context"), json_string_value(output),
                     json_string_length(output), &options, &got, &err) != PANTRY_OK)
        fail_msg("%s: %s", member(row, "template"), err.text);
    free(source);
    return got;
}

static void recorded_answers(void **state)
{
    (void)state;
    char path[1024];
    size_t i, wrong = 0, n_unrecorded = 0;
    json_t *row, *rows = json_load_file(data_path("dialects/cases.json", path, sizeof path), 0, NULL);
    if (!rows)
        skip();
    json_array_foreach(rows, i, row)
    {
        json_t *got = answer_of(row);
        bool right = row_is_right(row, got);
        if (right && unrecorded(row)) {
            json_t *whole = with_reasoning(row, got);
            n_unrecorded++;
            json_decref(got);
            got = answer_of(whole);
            json_decref(whole);
            right = row_is_right(row, got) && json_equal(json_object_get(row, "expect"), got);
        }
        if (!right) {
            char *expected = json_dumps(json_object_get(row, "expect"), JSON_SORT_KEYS),
                 *text = json_dumps(got, JSON_SORT_KEYS);
            print_error("row %zu, %s: %s\n  expected %s\n  got      %s\n", i, member(row, "template"),
                        member(row, "output"), expected, text);
            free(expected);
            free(text);
            wrong++;
        }
        json_decref(got);
    }
    print_message("%zu rows, %zu wrong, %zu without the reasoning that they go on with\n", json_array_size(rows), wrong,
                  n_unrecorded);
    json_decref(rows);
    assert_int_equal(wrong, 0);
    assert_true(n_unrecorded <= MAX_UNRECORDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(recorded_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
