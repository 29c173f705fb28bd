/* Compiles JSON schemas for tests: one row {"schema" or "text", "strings"?, "walks"?, "seed"?, "options"?} per line on
 * standard input, one {"error"} or {"accepts": [bool], "walks": [string], "ms": number} per line on standard output. A
 * walk is a random path through the automaton; after some bytes it takes the shortest way to the end. */
#include "base/clock.h"
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/schema.h"

#include "../support/grammar_walk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *walks(const struct pn_grammar *g, int n, uint64_t seed)
{
    struct walk w;
    json_t *out = json_array();
    walk_start(&w, g, seed);
    for (int i = 0; i < n; i++) {
        walk_once(&w);
        json_array_append_new(out, json_stringn(w.out.data ? w.out.data : "", w.out.len));
    }
    walk_end(&w);
    return out;
}

static json_t *accepts(const struct pn_grammar *g, const json_t *strings)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(strings); i++) {
        const json_t *text = json_array_get(strings, i);
        struct pantry_error err = {0};
        bool accepted = false;
        if (pn_grammar_accepts(g, json_string_value(text), json_string_length(text), &accepted, &err))
            json_array_append_new(out, json_string(err.text));
        else
            json_array_append_new(out, json_boolean(accepted));
    }
    return out;
}

static json_t *answer(const json_t *row)
{
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    struct pn_schema_options options = {0};
    const char *option = json_string_value(json_object_get(row, "options"));
    const json_t *given = json_object_get(row, "text"); /* instead of the schema */
    char *made = given ? NULL : json_dumps(json_object_get(row, "schema"), JSON_ENCODE_ANY);
    const char *text = given ? json_string_value(given) : made ? made : "";
    uint64_t start = pn_clock_ns();
    json_t *out;
    options.closed = option && strcmp(option, "closed") == 0;
    options.space = option && strcmp(option, "compact") == 0    ? PN_SCHEMA_COMPACT
                    : option && strcmp(option, "indented") == 0 ? PN_SCHEMA_INDENTED
                                                                : PN_SCHEMA_FLEXIBLE;
    pantry_status status = pn_schema_compile_text(text, strlen(text), &options, &g, &err);
    double ms = (double)(pn_clock_ns() - start) / 1e6;
    if (status)
        out = json_pack("{s:s, s:f}", "error", err.text, "ms", ms);
    else
        out = json_pack("{s:o, s:o, s:f, s:i}", "accepts", accepts(g, json_object_get(row, "strings")), "walks",
                        walks(g, (int)json_integer_value(json_object_get(row, "walks")),
                              (uint64_t)json_integer_value(json_object_get(row, "seed"))),
                        "ms", ms, "states", (int)g->n_states);
    pn_grammar_free(g);
    free(made);
    return out;
}

int main(void)
{
    json_t *row;
    while ((row = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL))) {
        json_t *out = answer(row);
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(row);
    }
    return 0;
}
