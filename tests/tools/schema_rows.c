/* Compiles JSON schemas for tests: one row {"schema" or "text", "strings"?, "walks"?, "samples"?, "seed"?, "options"?}
 * per line on standard input, one {"error"} or {"accepts": [bool], "walks": [string], "samples": [string], "n_cut",
 * "ms": number} per line on standard output. A walk is a random path through the automaton; after some bytes it takes
 * the shortest way to the end. A sample is made as an answer is: token by token, the likeliest of those that the mask
 * allows, by random logits. Tokens that close something get likelier with the length; one that does not end within
 * MOST tokens is cut and only counted. */
#include "base/clock.h"
#include "grammar/grammar.h"
#include "grammar/mask.h"
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

/* ---- samples ---- */

enum { MOST = 400, CALM = 40, N_PIECES = 3000 };

/* Every byte, pieces of JSON, and pieces of words that are cut anywhere, also within a character. */
static struct pn_grammar_vocabulary *make_vocabulary(struct pn_str *tokens, size_t *n_tokens)
{
    static const char text[] =
        "{\"name\": \"value\", \"id\": [12, 3.5e-7, -40, true, false, null], \"x y\": {\"a\\n\": "
        "\"caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80\"}}]}, {\"items\": [{\"kind\": \"b-c\"}, "
        "{}], \"count\": 100, \"2024-02-29T10:00:00Z\": \"/path/to\\\\file\", \"q\": \"\\\"\"}";
    static char bytes[256];
    struct pn_rng rng = {1};
    struct pn_grammar_token *made = calloc(257 + N_PIECES, sizeof *made);
    struct pn_grammar_vocabulary *v;
    size_t n = 0;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        made[n++].bytes = (struct pn_str){bytes + i, 1};
    }
    for (int i = 0; i < N_PIECES; i++) {
        size_t len = 2 + pn_rng_u64(&rng) % 9, at = pn_rng_u64(&rng) % (sizeof text - 1 - len);
        made[n++].bytes = (struct pn_str){text + at, len};
    }
    made[n++].ends = true;
    if (pn_grammar_vocabulary_new(made, n, &v, NULL))
        abort();
    for (size_t i = 0; i < n; i++)
        tokens[i] = made[i].bytes;
    *n_tokens = n;
    free(made);
    return v;
}

/* False: it did not end. */
static bool sample(struct pn_matcher *m, const struct pn_str *tokens, size_t n_tokens, struct pn_rng *rng,
                   struct pn_buf *out)
{
    for (int step = 0; step < MOST; step++) {
        struct pn_mask mask;
        size_t best = n_tokens;
        float most = -1;
        if (pn_matcher_mask(m, &mask, NULL))
            return false;
        for (size_t i = 0; i < n_tokens; i++) {
            float logit = pn_rng_float(rng);
            if (!(mask.bits[i / 64] >> i % 64 & 1))
                continue;
            if (step > CALM && (!tokens[i].len || memchr("\"]}", tokens[i].data[0], 3)))
                logit += 0.01f * (float)(step - CALM);
            if (logit > most) {
                most = logit;
                best = i;
            }
        }
        if (best == n_tokens || pn_matcher_accept(m, (int32_t)best, NULL))
            return false;
        if (!tokens[best].len)
            return true;
        pn_buf_append(out, tokens[best].data, tokens[best].len);
    }
    return false;
}

static json_t *samples(struct pn_grammar *g, int n, uint64_t seed, int *n_cut)
{
    static struct pn_str tokens[257 + N_PIECES];
    static struct pn_grammar_vocabulary *vocabulary;
    static size_t n_tokens;
    struct pn_rng rng = {seed};
    struct pn_buf text = {0};
    json_t *out = json_array();
    if (!vocabulary)
        vocabulary = make_vocabulary(tokens, &n_tokens);
    for (int i = 0; i < n; i++) {
        struct pn_matcher *m;
        pn_buf_clear(&text);
        if (pn_matcher_new(g, vocabulary, &m, NULL))
            abort();
        if (sample(m, tokens, n_tokens, &rng, &text))
            json_array_append_new(out, json_stringn(text.data ? text.data : "", text.len));
        else
            ++*n_cut;
        pn_matcher_free(m);
    }
    pn_buf_free(&text);
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
    uint64_t start = pn_clock_ns(), seed = (uint64_t)json_integer_value(json_object_get(row, "seed"));
    int n_cut = 0;
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
        out = json_pack("{s:o, s:o, s:o, s:i, s:f, s:i}", "accepts", accepts(g, json_object_get(row, "strings")),
                        "walks", walks(g, (int)json_integer_value(json_object_get(row, "walks")), seed), "samples",
                        samples(g, (int)json_integer_value(json_object_get(row, "samples")), seed, &n_cut), "n_cut",
                        n_cut, "ms", ms, "states", (int)g->n_states);
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
