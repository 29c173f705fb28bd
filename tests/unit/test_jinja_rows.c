/* Renders programs and compares the output with jinja2's. tests/golden/jinja.json has small programs: operators,
 * filters, tests, methods, formats and statements with operands at the edges. The templates of real models with
 * recorded conversations are next to the project (../shared/data/chat-templates, or PANTRY_TEST_DATA); without them
 * that test is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "text/template/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *data_path(char path[1024], const char *name)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    snprintf(path, 1024, "%s/chat-templates/%s", root ? root : "../shared/data", name);
    return path;
}

static const json_t *find_context(const json_t *cases, const char *name)
{
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)cases, i,
                       row) if (strcmp(json_string_value(json_object_get(row, "name")), name) ==
                                0) return json_object_get(row, "context");
    return NULL;
}

/* "TemplateError: " comes from raise_exception: its text is only the message. */
static bool row_is_good(const json_t *row, pantry_status status, const char *out, size_t len,
                        const struct pantry_error *err)
{
    static const char raised[] = "TemplateError: ";
    const json_t *expected = json_object_get(row, "output");
    if (expected)
        return status == PANTRY_OK && len == json_string_length(expected) &&
               memcmp(out, json_string_value(expected), len) == 0;
    const char *text = json_string_value(json_object_get(row, "error"));
    if (strncmp(text, raised, sizeof raised - 1) == 0)
        return status == PANTRY_RAISED && strcmp(err->text, text + sizeof raised - 1) == 0;
    return status == PANTRY_INVALID && strcmp(err->text, text) == 0;
}

static bool check_row(const json_t *row, const json_t *cases)
{
    char path[1024];
    const char *name = json_string_value(json_object_get(row, "template"));
    const char *case_name = json_string_value(json_object_get(row, "case"));
    const struct pn_template_limits limits = {.now = 1768480496}; /* 2026-01-15 12:34:56 */
    struct pn_template *t = NULL;
    struct pantry_error err = {0};
    char *source = NULL, *out = NULL;
    size_t size = 0, len = 0;
    pantry_status status = pn_file_read(data_path(path, name), 1 << 20, &source, &size, &err);
    if (status == PANTRY_OK)
        status = pn_template_parse(source, size, &t, &err);
    if (status == PANTRY_OK)
        status = pn_template_render(t, find_context(cases, case_name), &limits, &out, &len, &err);
    bool good = row_is_good(row, status, out, len, &err);
    if (!good)
        print_error("%s, %s: %s\n", name, case_name, status == PANTRY_OK ? out : err.text);
    free(source);
    free(out);
    pn_template_free(t);
    return good;
}

static void test_recorded_rows(void **state)
{
    (void)state;
    char path[1024];
    size_t i, bad = 0;
    json_t *cases = json_load_file(data_path(path, "cases.json"), 0, NULL);
    json_t *rows = json_load_file(data_path(path, "expected.json"), 0, NULL), *row;
    if (!cases || !rows) {
        json_decref(cases);
        json_decref(rows);
        skip();
    }
    json_array_foreach(rows, i, row) bad += !check_row(row, cases);
    assert_true(json_array_size(rows) > 0);
    json_decref(cases);
    json_decref(rows);
    assert_int_equal(bad, 0);
}

/* A row is [program, output] or [program, null, error]. */
static bool check_program(const json_t *row, const json_t *context)
{
    const json_t *source = json_array_get(row, 0), *output = json_array_get(row, 1), *error = json_array_get(row, 2);
    const struct pn_template_limits limits = {.now = 1768480496}; /* 2026-01-15 12:34:56 */
    struct pn_template *t = NULL;
    struct pantry_error err = {0};
    char *out = NULL;
    size_t len = 0;
    pantry_status status = pn_template_parse(json_string_value(source), json_string_length(source), &t, &err);
    if (status == PANTRY_OK)
        status = pn_template_render(t, context, &limits, &out, &len, &err);
    bool good = error ? status != PANTRY_OK && strcmp(err.text, json_string_value(error)) == 0
                      : status == PANTRY_OK && len == json_string_length(output) &&
                            memcmp(out, json_string_value(output), len) == 0;
    if (!good)
        print_error("%s\n  want %s\n  got  %s\n", json_string_value(source), json_string_value(error ? error : output),
                    status == PANTRY_OK ? out : err.text);
    free(out);
    pn_template_free(t);
    return good;
}

static void test_programs(void **state)
{
    (void)state;
    json_error_t where = {0};
    json_t *golden = json_load_file("tests/golden/jinja.json", JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where), *row;
    if (!golden)
        fail_msg("jinja.json: %s", where.text);
    size_t i, bad = 0;
    json_array_foreach(json_object_get(golden, "rows"), i, row) bad +=
        !check_program(row, json_object_get(golden, "context"));
    assert_true(i > 2000);
    json_decref(golden);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recorded_rows), cmocka_unit_test(test_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
