/* Calls as a grammar demands them are calls to the dialect's own parser: alone and several, in every dialect that has a
 * shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/dialect/call_shape.h"

static const char tools_json[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"parameters\": {\"type\": \"object\","
    " \"properties\": {\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}}}}}]";

struct result {
    struct pn_buf content, calls;
};

static void collect(void *user, const struct pn_parse_event *e)
{
    struct result *r = user;
    if (e->type == PN_EVENT_CONTENT)
        pn_buf_append(&r->content, e->text, e->len);
    if (e->type != PN_EVENT_TOOL_CALL)
        return;
    json_t *arguments = json_loads(e->arguments, JSON_DECODE_ANY, NULL);
    char *text = json_dumps(arguments, JSON_COMPACT | JSON_SORT_KEYS);
    pn_buf_printf(&r->calls, "%s%s%s", e->name, text ? text : "?", ";");
    free(text);
    json_decref(arguments);
}

static void put_call(struct pn_buf *out, const struct pn_call_shape *s)
{
    pn_buf_printf(out, "%sget_weather%s", s->before, s->after);
    if (s->elements) {
        pn_buf_printf(out, "%scity%sNew \"York\"%s", s->key_before, s->value_before, s->value_after);
        pn_buf_printf(out, "%sdays%s2%s", s->key_before, s->value_before, s->value_after);
    } else {
        pn_buf_puts(out, "{\"city\": \"New \\\"York\\\"\", \"days\": 2}");
    }
    pn_buf_puts(out, s->end);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    json_t *tools = json_loads(tools_json, 0, NULL);
    const struct pn_dialect *dialect;
    int n_shapes = 0, n_wrong = 0;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        struct pn_call_shape s;
        if (!pn_dialect_call_shape(dialect, &s))
            continue;
        n_shapes++;
        for (int n = 1; n <= (s.between ? 3 : 1); n++) {
            const struct pn_parse_options o = {.prompt = "", .tools = tools, .tool_choice = PN_TOOL_REQUIRED};
            struct result r = {0};
            struct pn_buf text = {0}, expected = {0};
            pn_buf_puts(&text, s.open);
            for (int k = 0; k < n; k++) {
                pn_buf_puts(&text, k ? s.between : "");
                put_call(&text, &s);
                pn_buf_puts(&expected, "get_weather{\"city\":\"New \\\"York\\\"\",\"days\":2};");
            }
            pn_buf_puts(&text, s.close);
            assert_memory_equal(text.data, s.trigger, strlen(s.trigger));
            struct pn_parser *p = pn_parser_new(dialect, &o, collect, &r);
            assert_int_equal(pn_parser_push(p, text.data, text.len, NULL), PANTRY_OK);
            assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
            pn_parser_free(p);
            if (r.content.len || !r.calls.data || strcmp(r.calls.data, expected.data) != 0)
                print_error("%s, %d calls: wrote\n%s\nread content '%s', calls %s\n", pn_dialect_name(dialect), n,
                            text.data, r.content.len ? r.content.data : "", r.calls.len ? r.calls.data : "none");
            bool same = !r.content.len && r.calls.data && strcmp(r.calls.data, expected.data) == 0;
            pn_buf_free(&r.content);
            pn_buf_free(&r.calls);
            pn_buf_free(&text);
            pn_buf_free(&expected);
            n_wrong += !same;
        }
    }
    json_decref(tools);
    assert_int_equal(n_wrong, 0);
    assert_in_range(n_shapes, 20, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
