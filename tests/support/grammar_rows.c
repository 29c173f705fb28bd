/* Reads the rows: see grammar_rows.h. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grammar_rows.h"

#include "grammar/match.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10 };

static int n_wrong;

static void wrong(const json_t *row, const char *what, const char *detail)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *file = json_string_value(json_object_get(row, "file"));
    const char *of_case = json_string_value(json_object_get(row, "case"));
    if (n_wrong++ < SHOWN)
        print_error("%s%s%s: %s: %s\n", name ? name : "", file ? file : "", of_case ? of_case : "", what, detail);
}

/* Of the strings with one label at least one is accepted. */
static void check_labels(const json_t *row, const json_t *expected, const bool *accepted)
{
    for (size_t i = 0; i < json_array_size(expected); i++) {
        const char *label = json_string_value(json_array_get(expected, i));
        bool any = false;
        for (size_t k = 0; label && k < json_array_size(expected); k++) {
            const char *other = json_string_value(json_array_get(expected, k));
            any = any || (other && strcmp(other, label) == 0 && accepted[k]);
        }
        if (label && !any)
            wrong(row, "no string is accepted of", label);
    }
}

static void check_strings(const json_t *row, const struct pn_grammar *grammar)
{
    const json_t *strings = json_object_get(row, "strings"), *expected = json_object_get(row, "expect");
    size_t n = json_array_size(strings);
    bool *accepted = calloc(n + 1, sizeof *accepted);
    struct pantry_error err = {0};
    for (size_t i = 0; i < n; i++) {
        const json_t *string = json_array_get(strings, i), *verdict = json_array_get(expected, i);
        if (pn_grammar_accepts(grammar, json_string_value(string), json_string_length(string), &accepted[i], &err))
            wrong(row, json_string_value(string), err.text);
        else if (json_is_boolean(verdict) && json_is_true(verdict) != accepted[i])
            wrong(row, accepted[i] ? "accepts" : "rejects", json_string_value(string));
    }
    check_labels(row, expected, accepted);
    free(accepted);
}

static void check_row(const json_t *row, const char *key, grammar_compiler *compile)
{
    const char *class = json_string_value(json_object_get(row, "class"));
    const char *mention = json_string_value(json_object_get(row, "mention"));
    const json_t *source = json_object_get(row, key);
    char *text = json_is_string(source) ? strdup(json_string_value(source)) : json_dumps(source, JSON_ENCODE_ANY);
    size_t n = json_is_string(source) ? json_string_length(source) : strlen(text);
    struct pn_grammar *grammar = NULL;
    struct pantry_error err = {0};
    pantry_status status = compile(text, n, &grammar, &err);
    if (!status && strcmp(class, "error") == 0)
        wrong(row, "should be refused", text);
    else if (status && strcmp(class, "must") == 0)
        wrong(row, "should compile", err.text);
    else if (status && mention && !strstr(err.text, mention))
        wrong(row, mention, err.text);
    else if (!status)
        check_strings(row, grammar);
    pn_grammar_free(grammar);
    free(text);
}

void check_grammar_rows(const char *file, const char *key, grammar_compiler *compile)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/grammar/%s", root ? root : "../shared/data", file);
    json_t *rows = json_load_file(path, 0, &error);
    if (!rows)
        skip();
    n_wrong = 0;
    assert_true(json_array_size(rows) > 0);
    for (size_t i = 0; i < json_array_size(rows); i++)
        check_row(json_array_get(rows, i), key, compile);
    json_decref(rows);
    if (n_wrong)
        fail_msg("%d mistakes in %s", n_wrong, file);
}
