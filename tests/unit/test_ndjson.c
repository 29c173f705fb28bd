/* The reader of JSON lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/ndjson.h"

#include <string.h>

struct seen {
    json_int_t sum;
    int n, most;
};

static bool add(void *user, json_t *object)
{
    struct seen *seen = user;
    seen->sum = seen->sum * 10 + json_integer_value(json_object_get(object, "n"));
    return ++seen->n != seen->most;
}

static pantry_status feed(const char *text, size_t piece, struct seen *seen, struct pantry_error *err)
{
    struct pn_ndjson reader;
    size_t n = strlen(text);
    pantry_status status = PANTRY_OK;
    pn_ndjson_start(&reader, add, seen);
    for (size_t at = 0; at < n && !status; at += piece)
        status = pn_ndjson_push(&reader, text + at, n - at < piece ? n - at : piece, err);
    if (!status)
        status = pn_ndjson_finish(&reader, err);
    pn_ndjson_free(&reader);
    return status;
}

static void test_lines_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 40; piece++) {
        struct seen seen = {0};
        struct pantry_error err;
        assert_int_equal(feed("{\"n\": 1}\n\r\n  \n{\"n\": 2}\r\n{\"n\": 3, \"x\": \"a\\u0000b\"}", piece, &seen, &err),
                         0);
        assert_int_equal(seen.sum, 123);
    }
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "[1]", "{", "{}{}", "\"n\"", "{\"n\": 1", "nul"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct seen seen = {0};
        struct pantry_error err = {0};
        char text[64];
        snprintf(text, sizeof text, "{\"n\": 7}\n%s\n{\"n\": 8}\n", bad[i]);
        assert_int_equal(feed(text, 5, &seen, &err), PANTRY_FORMAT);
        assert_int_equal(seen.sum, 7);
        assert_non_null(strstr(err.text, "not JSON"));
    }
}

static void test_ends_when_no_more_is_wanted(void **state)
{
    (void)state;
    struct seen seen = {.most = 2};
    struct pantry_error err;
    assert_int_equal(feed("{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\nnot JSON\n", 100, &seen, &err), 0);
    assert_int_equal(seen.sum, 12);
}

static void test_long_line(void **state)
{
    (void)state;
    struct pn_ndjson reader;
    struct seen seen = {0};
    struct pantry_error err = {0};
    static char spaces[1 << 20];
    pantry_status status = PANTRY_OK;
    memset(spaces, ' ', sizeof spaces);
    pn_ndjson_start(&reader, add, &seen);
    for (size_t i = 0; i <= PN_NDJSON_LINE_MAX / sizeof spaces && !status; i++)
        status = pn_ndjson_push(&reader, spaces, sizeof spaces, &err);
    assert_int_equal(status, PANTRY_LIMIT);
    pn_ndjson_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_in_any_pieces),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_ends_when_no_more_is_wanted),
        cmocka_unit_test(test_long_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
