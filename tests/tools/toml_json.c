/* Reads TOML for differential tests: one document as a JSON string per line on standard input, one {"value"} or
 * {"error"} per line on standard output. A scalar is {"type", "value"}, its value as text. */
#include "base/toml.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *scalar(const struct pn_toml *v)
{
    char text[64];
    switch (v->kind) {
    case PN_TOML_INTEGER:
        snprintf(text, sizeof text, "%lld", (long long)v->integer);
        return json_pack("{s:s, s:s}", "type", "integer", "value", text);
    case PN_TOML_FLOAT:
        snprintf(text, sizeof text, "%.17g", v->number);
        return json_pack("{s:s, s:s}", "type", "float", "value", text);
    case PN_TOML_BOOL:
        return json_pack("{s:s, s:s}", "type", "bool", "value", v->truth ? "true" : "false");
    default:
        return json_pack("{s:s, s:s%}", "type", v->kind == PN_TOML_TIME ? "time" : "string", "value", v->text, v->len);
    }
}

static json_t *value(const struct pn_toml *v)
{
    if (v->kind != PN_TOML_TABLE && v->kind != PN_TOML_ARRAY)
        return scalar(v);
    json_t *out = v->kind == PN_TOML_TABLE ? json_object() : json_array();
    for (const struct pn_toml *m = v->first; m; m = m->next)
        if (v->kind == PN_TOML_ARRAY)
            json_array_append_new(out, value(m));
        else
            json_object_setn_new(out, m->key, m->key_len, value(m));
    return out;
}

int main(void)
{
    json_t *row;
    while ((row = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL))) {
        struct pn_arena arena = {0};
        struct pn_toml *root;
        struct pantry_error err = {0};
        pantry_status status =
            pn_toml_parse(json_string_value(row), json_string_length(row), "document", &arena, &root, &err);
        json_t *out = status ? json_pack("{s:s}", "error", err.text) : json_pack("{s:o}", "value", value(root));
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(row);
        pn_arena_free(&arena);
    }
    return 0;
}
