/* pantry_grammar: the public API of grammars. */
#include "engine/handle.h"

#include "grammar/match.h"
#include "grammar/source.h"

#include <stdlib.h>
#include <string.h>

static const enum pn_grammar_kind kinds[] = {
    [PANTRY_GRAMMAR_SCHEMA] = PN_GRAMMAR_SCHEMA,      [PANTRY_GRAMMAR_GBNF] = PN_GRAMMAR_GBNF,
    [PANTRY_GRAMMAR_REGEX] = PN_GRAMMAR_REGEX,        [PANTRY_GRAMMAR_JSON] = PN_GRAMMAR_JSON,
    [PANTRY_GRAMMAR_JSON_OBJECT] = PN_GRAMMAR_OBJECT,
};

static const enum pn_schema_space spaces[] = {
    [PANTRY_WHITESPACE_FLEXIBLE] = PN_SCHEMA_FLEXIBLE,
    [PANTRY_WHITESPACE_COMPACT] = PN_SCHEMA_COMPACT,
    [PANTRY_WHITESPACE_INDENTED] = PN_SCHEMA_INDENTED,
};

pantry_status pantry_grammar_new(enum pantry_grammar_kind kind, const char *source, size_t len,
                                 const struct pantry_grammar_options *options, pantry_grammar **grammar,
                                 struct pantry_error *err)
{
    struct pantry_grammar_options o = pantry_grammar_options_default();
    *grammar = NULL;
    pantry_status status = pn_take_options(&o, options, "options of a grammar", err);
    if (status)
        return status;
    if ((size_t)kind >= sizeof kinds / sizeof *kinds)
        return pn_fail(err, PANTRY_INVALID, "kind: out of range (found %d, allowed 0..%zu)", (int)kind,
                       sizeof kinds / sizeof *kinds - 1);
    if ((size_t)o.whitespace >= sizeof spaces / sizeof *spaces)
        return pn_fail(err, PANTRY_INVALID, "whitespace: out of range (found %d, allowed 0..%zu)", (int)o.whitespace,
                       sizeof spaces / sizeof *spaces - 1);
    struct pantry_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return pn_no_memory(err, "a grammar");
    g->kind = kinds[kind];
    g->options = (struct pn_schema_options){.space = spaces[o.whitespace], .closed = o.closed};
    g->len = len;
    if (!(g->source = malloc(len + 1)))
        status = pn_no_memory(err, "a grammar");
    else if (len)
        memcpy(g->source, source, len);
    if (!status)
        status = pn_grammar_make(g->kind, source, len, &g->options, &g->grammar, err);
    if (status)
        pantry_grammar_free(g);
    else
        *grammar = g;
    return status;
}

void pantry_grammar_free(pantry_grammar *grammar)
{
    if (!grammar)
        return;
    pn_grammar_free(grammar->grammar);
    free(grammar->trigger);
    free(grammar->source);
    free(grammar);
}

pantry_status pantry_grammar_accepts(const pantry_grammar *grammar, const char *text, size_t len, bool *accepted,
                                     struct pantry_error *err)
{
    return pn_grammar_accepts(grammar->grammar, text, len, accepted, err);
}

pantry_status pantry_grammar_dot(const pantry_grammar *grammar, char **dot, struct pantry_error *err)
{
    struct pn_buf out = {.limit = 256 << 20};
    pn_grammar_dot(grammar->grammar, &out);
    if (out.over_limit) {
        pn_buf_free(&out);
        return pn_fail(err, PANTRY_LIMIT, "the grammar is too large to draw (found %u states)",
                       (unsigned)grammar->grammar->n_states);
    }
    char *text = pn_buf_take(&out);
    if (!text)
        return pn_no_memory(err, "the drawing of a grammar");
    *dot = text;
    return PANTRY_OK;
}
