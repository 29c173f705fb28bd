/* Values of Go's templates: see value.h. */
#include "text/template/go/value.h"

#include <stdlib.h>
#include <string.h>

bool pn_go_is_true(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_TRUE:
        return true;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(v) != 0;
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    default:
        return false;
    }
}

/* "ToolCallID" -> "tool_call_id" */
static void to_snake(const char *name, char out[80])
{
    size_t n = 0;
    for (size_t i = 0; name[i] && n < 78; i++) {
        bool upper = name[i] >= 'A' && name[i] <= 'Z', after = i && name[i - 1] >= 'A' && name[i - 1] <= 'Z';
        if (upper && i && !after)
            out[n++] = '_';
        out[n++] = upper ? (char)(name[i] - 'A' + 'a') : name[i];
    }
    out[n] = '\0';
}

json_t *pn_go_field(const json_t *v, const char *name)
{
    char snake[80];
    json_t *found = json_object_get(v, name);
    if (found || !json_is_object(v))
        return found;
    to_snake(name, snake);
    return json_object_get(v, snake);
}

int pn_go_compare(const json_t *a, const json_t *b, bool *ok)
{
    *ok = true;
    if (json_is_string(a) && json_is_string(b))
        return strcmp(json_string_value(a), json_string_value(b));
    if (json_is_integer(a) && json_is_integer(b))
        return (json_integer_value(a) > json_integer_value(b)) - (json_integer_value(a) < json_integer_value(b));
    *ok = json_is_number(a) && json_is_number(b);
    double x = json_number_value(a), y = json_number_value(b);
    return *ok ? (x > y) - (x < y) : 1;
}

void pn_go_put_json(struct pn_buf *out, const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        out->failed = true;
    for (const char *c = text; c && *c; c++) {
        if (*c == '<' || *c == '>' || *c == '&')
            pn_buf_printf(out, "\\u%04x", (unsigned)*c);
        else
            pn_buf_putc(out, *c);
    }
    free(text);
}

/* Go prints a list of texts as [a b]. */
static bool has_texts_only(const json_t *v)
{
    size_t i;
    json_t *item;
    json_array_foreach(v, i, item) if (!json_is_string(item)) return false;
    return json_array_size(v) > 0;
}

void pn_go_put(struct pn_buf *out, const json_t *v)
{
    size_t i;
    json_t *item;
    if (!v || json_is_null(v))
        return;
    if (json_is_string(v)) {
        pn_buf_append(out, json_string_value(v), json_string_length(v));
    } else if (has_texts_only(v)) {
        json_array_foreach(v, i, item)
        {
            pn_buf_putc(out, i ? ' ' : '[');
            pn_buf_append(out, json_string_value(item), json_string_length(item));
        }
        pn_buf_putc(out, ']');
    } else {
        pn_go_put_json(out, v);
    }
}
