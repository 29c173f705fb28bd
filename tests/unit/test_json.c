/* Fields of requests: what is missing changes nothing, and what is wrong is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "server/json.h"

static json_t *parse(const char *text)
{
    json_t *v = json_loads(text, 0, NULL);
    assert_non_null(v);
    return v;
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"abc", 3, "abc"},
        {"", 0, ""},
        {"a\xC3\xA9z", 4, "a\xC3\xA9z"},
        {"a\xFFz", 3, "a\xEF\xBF\xBDz"},
        {"\xE2\x82", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},                                   /* cut off */
        {"\xC0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},                                   /* too long */
        {"\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},                   /* a surrogate */
        {"\xF4\x90\x80\x80x", 5, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDx"}, /* beyond Unicode */
        {"\xF0\x9F\x98\x80\x80", 5, "\xF0\x9F\x98\x80\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v = pn_json_text(cases[i].in, cases[i].len);
        assert_non_null(v);
        assert_string_equal(json_string_value(v), cases[i].out);
        json_decref(v);
    }
    json_t *nul = pn_json_text("a\0b", 3);
    assert_int_equal(json_string_length(nul), 3);
    json_decref(nul);
}

static void fields(void **state)
{
    (void)state;
    struct pantry_error err;
    json_t *v =
        parse("{\"b\": true, \"i\": 7, \"r\": 2.5, \"whole\": 3.0, \"s\": \"x\", \"l\": [\"a\", \"b\"], \"o\": {}, "
              "\"n\": null, \"mixed\": [\"a\", 1], \"big\": 1e30}");
    bool b = false;
    int i = -5;
    float f = -1;
    uint64_t seed = 9;
    const char *s = "old", *list[2];
    size_t n = 77;
    json_t *array = v, *object = v;
    assert_int_equal(pn_json_bool(v, "b", &b, &err), PANTRY_OK);
    assert_true(b);
    assert_int_equal(pn_json_int(v, "i", 0, 7, &i, &err), PANTRY_OK);
    assert_int_equal(i, 7);
    assert_int_equal(pn_json_int(v, "whole", 0, 7, &i, &err), PANTRY_OK);
    assert_int_equal(i, 3);
    assert_int_equal(pn_json_int(v, "i", 0, 6, &i, &err), PANTRY_INVALID);
    assert_string_equal(err.text, "i: out of range (found 7, allowed integers from 0 to 6)");
    assert_int_equal(pn_json_int(v, "r", 0, 6, &i, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_int(v, "big", 0, 6, &i, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_int(v, "s", 0, 6, &i, &err), PANTRY_INVALID);
    assert_string_equal(err.text, "s: wrong type (found a string, allowed an integer)");
    assert_int_equal(i, 3);
    assert_int_equal(pn_json_float(v, "r", 0, 2.5, &f, &err), PANTRY_OK);
    assert_true(f == 2.5f);
    assert_int_equal(pn_json_float(v, "r", 0, 2.4, &f, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_seed(v, "r", &seed, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_string(v, "s", &s, &err), PANTRY_OK);
    assert_string_equal(s, "x");
    assert_int_equal(pn_json_string(v, "i", &s, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_strings(v, "l", 2, list, &n, &err), PANTRY_OK);
    assert_true(n == 2 && strcmp(list[1], "b") == 0);
    assert_int_equal(pn_json_strings(v, "s", 2, list, &n, &err), PANTRY_OK);
    assert_int_equal(n, 1);
    assert_int_equal(pn_json_strings(v, "l", 1, list, &n, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_strings(v, "mixed", 2, list, &n, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_array(v, "l", &array, &err), PANTRY_OK);
    assert_int_equal(json_array_size(array), 2);
    assert_int_equal(pn_json_array(v, "o", &array, &err), PANTRY_INVALID);
    assert_int_equal(pn_json_object(v, "o", &object, &err), PANTRY_OK);
    assert_int_equal(pn_json_object(v, "l", &object, &err), PANTRY_INVALID);
    for (int way = 0; way < 2; way++) { /* null is as good as missing */
        const char *name = way ? "n" : "missing";
        s = "old";
        assert_true(!pn_json_bool(v, name, &b, &err) && b && !pn_json_int(v, name, 0, 1, &i, &err) && i == 3 &&
                    !pn_json_string(v, name, &s, &err) && strcmp(s, "old") == 0);
    }
    json_decref(v);
}

static void refusals(void **state)
{
    (void)state;
    struct pantry_error err;
    static const char *const names[] = {"a", "b", NULL};
    static const char *const fine[] = {"{}", "{\"a\": null}", "{\"a\": false, \"b\": 0}", "{\"a\": \"\", \"b\": []}",
                                       "{\"b\": {}, \"c\": 1}"};
    static const char *const refused[] = {"{\"b\": true}", "{\"b\": 1}", "{\"b\": \"x\"}", "{\"b\": [0]}",
                                          "{\"b\": {\"x\": null}}"};
    for (size_t i = 0; i < 5; i++) {
        json_t *v = parse(fine[i]), *w = parse(refused[i]);
        assert_int_equal(pn_json_refuse(v, names, &err), PANTRY_OK);
        assert_int_equal(pn_json_refuse(w, names, &err), PANTRY_UNSUPPORTED);
        assert_string_equal(err.text, "b: not supported");
        json_decref(v);
        json_decref(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(fields),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
