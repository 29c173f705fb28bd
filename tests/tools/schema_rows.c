/* Compiles JSON schemas for tests: one row {"schema", "strings"?, "walks"?, "seed"?, "options"?} per line on standard
 * input, one {"error"} or {"accepts": [bool], "walks": [string], "ms": number} per line on standard output. A walk is a
 * random path through the automaton; after some bytes it takes the shortest way to the end. */
#include "base/clock.h"
#include "base/random.h"
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAR = 1 << 28, LONG = 150, LONGEST = 100000 };

struct frame {
    uint32_t rule, back; /* the rule walked, and where its caller goes on */
    int32_t count;
};

struct walk {
    const struct pn_grammar *g;
    uint32_t *distance;
    uint64_t seed, n_drawn;
    struct {
        struct frame *data;
        size_t len, cap;
    } stack;
    struct pn_buf out;
};

static uint32_t draw(struct walk *w, uint32_t n)
{
    return (uint32_t)(pn_random_at(w->seed, w->n_drawn++) % n);
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a + b < FAR ? a + b : FAR;
}

static uint32_t rule_distance(const struct walk *w, uint32_t rule)
{
    const struct pn_grammar_rule *r = &w->g->rules[rule];
    uint64_t n = w->distance[r->start];
    n = n ? n : 1;
    n *= r->counts && r->min > 1 ? (uint64_t)r->min : 1;
    return n < FAR ? (uint32_t)n : FAR;
}

/* Bytes from each state to a final one, at least. */
static void find_distances(struct walk *w)
{
    const struct pn_grammar *g = w->g;
    w->distance = malloc((g->n_states + 1) * sizeof *w->distance);
    if (!w->distance)
        abort();
    for (uint32_t s = 0; s < g->n_states; s++)
        w->distance[s] = g->flags[s] & PN_STATE_FINAL ? 0 : FAR;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t s = g->n_states; s-- > 0;) {
            uint32_t best = w->distance[s];
            for (uint32_t i = g->byte_first[s]; i < g->byte_first[s + 1]; i++) {
                uint32_t d = sum(1, w->distance[g->bytes[i].to]);
                best = d < best ? d : best;
            }
            for (uint32_t i = g->call_first[s]; i < g->call_first[s + 1]; i++) {
                uint32_t d = sum(rule_distance(w, g->calls[i].what), w->distance[g->calls[i].to]);
                best = d < best ? d : best;
            }
            more = more || best != w->distance[s];
            w->distance[s] = best;
        }
    }
}

/* Goes on from the state; false at the end of the text. */
static bool advance(struct walk *w, uint32_t *state)
{
    const struct pn_grammar *g = w->g;
    uint32_t s = *state, n_bytes = g->byte_first[s + 1] - g->byte_first[s];
    uint32_t n_calls = g->call_first[s + 1] - g->call_first[s], n = n_bytes + n_calls;
    bool final = g->flags[s] & PN_STATE_FINAL, hurry = w->out.len > LONG;
    if (final && (n == 0 || hurry || draw(w, n + 1) == n)) {
        struct frame *top = &w->stack.data[w->stack.len - 1];
        const struct pn_grammar_rule *r = &g->rules[top->rule];
        if (r->counts) {
            top->count++;
            bool may_stop = top->count >= r->min, may_go = r->max == PN_EXPR_NO_MAX || top->count < r->max;
            if (!may_stop || (may_go && !hurry && draw(w, 4))) {
                *state = r->start;
                return true;
            }
        }
        *state = top->back;
        return --w->stack.len > 0;
    }
    uint32_t pick = draw(w, n), best = FAR + 1;
    for (uint32_t k = 0; hurry && k < n; k++) {
        uint32_t d = k < n_bytes ? sum(1, w->distance[g->bytes[g->byte_first[s] + k].to])
                                 : sum(rule_distance(w, g->calls[g->call_first[s] + k - n_bytes].what),
                                       w->distance[g->calls[g->call_first[s] + k - n_bytes].to]);
        if (d < best) {
            best = d;
            pick = k;
        }
    }
    if (pick < n_bytes) {
        const struct pn_byte_edge *e = &g->bytes[g->byte_first[s] + pick];
        pn_buf_putc(&w->out, (char)(e->first + draw(w, e->last - e->first + 1u)));
        *state = e->to;
    } else {
        const struct pn_call_edge *e = &g->calls[g->call_first[s] + pick - n_bytes];
        struct frame frame = {e->what, e->to, 0};
        if (!pn_vec_push(&w->stack, frame))
            abort();
        *state = g->rules[e->what].start;
    }
    return true;
}

static json_t *walks(const struct pn_grammar *g, int n, uint64_t seed)
{
    struct walk w = {.g = g, .seed = seed};
    json_t *out = json_array();
    find_distances(&w);
    for (int i = 0; i < n; i++) {
        struct frame first = {0, 0, 0};
        uint32_t state = g->rules[0].start;
        w.stack.len = 0;
        pn_buf_clear(&w.out);
        if (!pn_vec_push(&w.stack, first))
            abort();
        while (w.out.len < LONGEST && advance(&w, &state)) {
        }
        json_array_append_new(out, json_stringn(w.out.data ? w.out.data : "", w.out.len));
    }
    pn_buf_free(&w.out);
    free(w.stack.data);
    free(w.distance);
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
    struct pn_expr_builder *b = NULL;
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    struct pn_schema_options options = {0};
    const char *option = json_string_value(json_object_get(row, "options"));
    char *text = json_dumps(json_object_get(row, "schema"), JSON_ENCODE_ANY);
    uint64_t start = pn_clock_ns();
    pn_expr root = PN_EXPR_NONE;
    json_t *out;
    options.closed = option && strcmp(option, "closed") == 0;
    options.space = option && strcmp(option, "compact") == 0    ? PN_SCHEMA_COMPACT
                    : option && strcmp(option, "indented") == 0 ? PN_SCHEMA_INDENTED
                                                                : PN_SCHEMA_FLEXIBLE;
    pantry_status status = pn_expr_builder_new(&b, &err);
    if (!status)
        status = pn_schema_parse(b, text, strlen(text), &options, &root, &err);
    if (!status)
        status = pn_grammar_compile(b, root, &g, &err);
    double ms = (double)(pn_clock_ns() - start) / 1e6;
    if (status)
        out = json_pack("{s:s, s:f}", "error", err.text, "ms", ms);
    else
        out = json_pack("{s:o, s:o, s:f, s:i}", "accepts", accepts(g, json_object_get(row, "strings")), "walks",
                        walks(g, (int)json_integer_value(json_object_get(row, "walks")),
                              (uint64_t)json_integer_value(json_object_get(row, "seed"))),
                        "ms", ms, "states", (int)g->n_states);
    pn_grammar_free(g);
    pn_expr_builder_free(b);
    free(text);
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
