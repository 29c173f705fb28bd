/* Joins the automata of rules to one grammar, without what leads nowhere: see grammar.h. */
#include "grammar/compile.h"

#include <stdlib.h>
#include <string.h>

/* Which states can reach a final state of their rule, by calls of rules that can, too. A call waits for two facts: that
 * its target is live, and that its rule's start is. */
struct liveness {
    const struct pn_built_rule *rules;
    uint32_t n_rules, n_states;
    uint32_t *base; /* (n_rules + 1): first state of each rule */
    struct in_edge {
        uint32_t from, rule; /* rule UINT32_MAX: not a call */
    } * in;
    size_t *in_first;      /* (n_states + 1): edges by target */
    size_t *callers_first; /* (n_rules + 1): calls by rule, as (from, to) */
    struct caller {
        uint32_t from, to;
    } * callers;
    uint32_t *rule_at; /* state -> rule + 1 if it is the start of one; 0: not */
    bool *live;
    uint32_t *queue, n_queue;
};

static bool is_call(uint32_t symbol)
{
    return symbol >= PN_SYMBOL_BYTES && symbol % 2 == 0;
}

static uint32_t rule_of_call(uint32_t symbol)
{
    return (symbol - PN_SYMBOL_BYTES) / 2;
}

static void found_live(struct liveness *l, uint32_t state)
{
    if (!l->live[state]) {
        l->live[state] = true;
        l->queue[l->n_queue++] = state;
    }
}

/* Counts, then fills, the lists by target and by called rule. */
static void list_edges(struct liveness *l, bool fill)
{
    for (uint32_t r = 0; r < l->n_rules; r++) {
        const struct pn_fsa *f = &l->rules[r].fsa;
        for (uint32_t s = 0; s < f->n_states; s++)
            for (uint32_t i = f->first[s]; i < f->first[s + 1]; i++) {
                uint32_t from = l->base[r] + s, to = l->base[r] + f->edges[i].to, symbol = f->edges[i].first;
                uint32_t rule = is_call(symbol) ? rule_of_call(symbol) : UINT32_MAX;
                if (!fill) {
                    l->in_first[to + 2]++;
                    if (rule != UINT32_MAX)
                        l->callers_first[rule + 2]++;
                    continue;
                }
                l->in[l->in_first[to + 1]++] = (struct in_edge){from, rule};
                if (rule != UINT32_MAX)
                    l->callers[l->callers_first[rule + 1]++] = (struct caller){from, to};
            }
    }
}

static bool prepare(struct liveness *l, struct pn_arena *scratch)
{
    size_t n = l->n_states, n_edges = 0;
    for (uint32_t r = 0; r < l->n_rules; r++)
        n_edges += l->rules[r].fsa.first[l->rules[r].fsa.n_states];
    l->in = pn_arena_array(scratch, n_edges + 1, sizeof *l->in);
    l->callers = pn_arena_array(scratch, n_edges + 1, sizeof *l->callers);
    l->in_first = pn_arena_array(scratch, n + 3, sizeof *l->in_first);
    l->callers_first = pn_arena_array(scratch, (size_t)l->n_rules + 3, sizeof *l->callers_first);
    l->rule_at = pn_arena_array(scratch, n + 1, sizeof *l->rule_at);
    l->live = pn_arena_array(scratch, n + 1, sizeof *l->live);
    l->queue = pn_arena_array(scratch, n + 1, sizeof *l->queue);
    if (!l->in || !l->callers || !l->in_first || !l->callers_first || !l->rule_at || !l->live || !l->queue)
        return false;
    list_edges(l, false);
    for (size_t s = 0; s < n; s++)
        l->in_first[s + 2] += l->in_first[s + 1];
    for (size_t r = 0; r < l->n_rules; r++)
        l->callers_first[r + 2] += l->callers_first[r + 1];
    list_edges(l, true);
    return true;
}

static void spread(struct liveness *l)
{
    for (uint32_t r = 0; r < l->n_rules; r++) {
        const struct pn_fsa *f = &l->rules[r].fsa;
        l->rule_at[l->base[r]] = r + 1;
        for (uint32_t s = 0; s < f->n_states; s++)
            if (f->final[s])
                found_live(l, l->base[r] + s);
    }
    for (uint32_t at = 0; at < l->n_queue; at++) {
        uint32_t state = l->queue[at];
        for (size_t i = l->in_first[state]; i < l->in_first[state + 1]; i++)
            if (l->in[i].rule == UINT32_MAX || l->live[l->base[l->in[i].rule]])
                found_live(l, l->in[i].from);
        if (!l->rule_at[state])
            continue;
        uint32_t rule = l->rule_at[state] - 1;
        for (size_t i = l->callers_first[rule]; i < l->callers_first[rule + 1]; i++)
            if (l->live[l->callers[i].to])
                found_live(l, l->callers[i].from);
    }
}

/* ---- the arrays of the grammar ---- */

struct counts {
    size_t bytes, calls, tokens;
};

/* The edges of one state that lead somewhere; `g` NULL: only counts them. */
static void put_edges(const struct liveness *l, const uint32_t *number, uint32_t r, uint32_t s, struct counts *n,
                      struct pn_grammar *g)
{
    const struct pn_fsa *f = &l->rules[r].fsa;
    for (uint32_t i = f->first[s]; i < f->first[s + 1]; i++) {
        const struct pn_fsa_edge *e = &f->edges[i];
        uint32_t to = l->base[r] + e->to;
        if (!l->live[to])
            continue;
        if (e->first < PN_SYMBOL_BYTES) {
            if (g)
                g->bytes[n->bytes] = (struct pn_byte_edge){number[to], (uint8_t)e->first, (uint8_t)e->last};
            n->bytes++;
        } else if (!is_call(e->first)) {
            if (g)
                g->tokens[n->tokens] = (struct pn_call_edge){number[to], (e->first - PN_SYMBOL_BYTES - 1) / 2};
            n->tokens++;
        } else if (l->live[l->base[rule_of_call(e->first)]]) {
            if (g)
                g->calls[n->calls] = (struct pn_call_edge){number[to], rule_of_call(e->first)};
            n->calls++;
        }
    }
}

static bool make_arrays(struct pn_grammar *g, size_t n_states, const struct counts *n)
{
    struct pn_arena *a = &g->arena;
    g->byte_first = pn_arena_array(a, n_states + 1, sizeof *g->byte_first);
    g->call_first = pn_arena_array(a, n_states + 1, sizeof *g->call_first);
    g->token_first = pn_arena_array(a, n_states + 1, sizeof *g->token_first);
    g->bytes = pn_arena_array(a, n->bytes + 1, sizeof *g->bytes);
    g->calls = pn_arena_array(a, n->calls + 1, sizeof *g->calls);
    g->tokens = pn_arena_array(a, n->tokens + 1, sizeof *g->tokens);
    g->rule_of = pn_arena_array(a, n_states + 1, sizeof *g->rule_of);
    g->flags = pn_arena_array(a, n_states + 1, sizeof *g->flags);
    return g->byte_first && g->call_first && g->token_first && g->bytes && g->calls && g->tokens && g->rule_of &&
           g->flags;
}

static bool fill(struct pn_grammar *g, const struct liveness *l, const uint32_t *number, uint32_t n_live)
{
    struct counts n = {0};
    for (uint32_t r = 0; r < l->n_rules; r++)
        for (uint32_t s = 0; s < l->rules[r].fsa.n_states; s++)
            if (l->live[l->base[r] + s])
                put_edges(l, number, r, s, &n, NULL);
    if (!make_arrays(g, n_live, &n))
        return false;
    n = (struct counts){0};
    for (uint32_t r = 0; r < l->n_rules; r++)
        for (uint32_t s = 0; s < l->rules[r].fsa.n_states; s++) {
            if (!l->live[l->base[r] + s])
                continue;
            uint32_t state = number[l->base[r] + s];
            g->byte_first[state] = (uint32_t)n.bytes;
            g->call_first[state] = (uint32_t)n.calls;
            g->token_first[state] = (uint32_t)n.tokens;
            g->rule_of[state] = r;
            struct counts before = n;
            put_edges(l, number, r, s, &n, g);
            bool goes_on = n.bytes > before.bytes || n.calls > before.calls || n.tokens > before.tokens;
            g->flags[state] =
                (uint8_t)((l->rules[r].fsa.final[s] ? PN_STATE_FINAL : 0) | (goes_on ? PN_STATE_GOES_ON : 0));
        }
    g->byte_first[n_live] = (uint32_t)n.bytes;
    g->call_first[n_live] = (uint32_t)n.calls;
    g->token_first[n_live] = (uint32_t)n.tokens;
    g->n_states = n_live;
    return true;
}

static bool copy_rules(struct pn_grammar *g, const struct liveness *l, const uint32_t *number,
                       const struct pn_token_label *labels, uint32_t n_labels)
{
    g->n_rules = l->n_rules;
    g->rules = pn_arena_array(&g->arena, l->n_rules, sizeof *g->rules);
    g->n_labels = n_labels;
    g->labels = pn_arena_array(&g->arena, (size_t)n_labels + 1, sizeof *g->labels);
    if (!g->rules || !g->labels)
        return false;
    if (n_labels)
        memcpy(g->labels, labels, n_labels * sizeof *labels);
    for (uint32_t r = 0; r < l->n_rules; r++) {
        g->rules[r] = l->rules[r].is;
        g->rules[r].start = l->live[l->base[r]] ? number[l->base[r]] : UINT32_MAX; /* then nothing calls it */
    }
    return true;
}

static pantry_status build(struct liveness *l, const struct pn_token_label *labels, uint32_t n_labels,
                           struct pn_arena *scratch, struct pn_grammar *g, struct pantry_error *err)
{
    uint32_t *number = pn_arena_array(scratch, (size_t)l->n_states + 1, sizeof *number), n_live = 0;
    if (!number || !prepare(l, scratch))
        return pn_no_memory(err, "a grammar");
    spread(l);
    if (!l->live[0])
        return pn_fail(err, PANTRY_UNSUPPORTED, "the grammar is empty: no text can satisfy it");
    for (uint32_t s = 0; s < l->n_states; s++)
        if (l->live[s])
            number[s] = n_live++;
    return fill(g, l, number, n_live) && copy_rules(g, l, number, labels, n_labels) ? PANTRY_OK
                                                                                    : pn_no_memory(err, "a grammar");
}

pantry_status pn_grammar_assemble(const struct pn_built_rule *rules, uint32_t n_rules,
                                  const struct pn_token_label *labels, uint32_t n_labels, struct pn_arena *arena,
                                  struct pn_grammar **out, struct pantry_error *err)
{
    struct pn_arena scratch = {0};
    struct liveness l = {.rules = rules, .n_rules = n_rules};
    struct pn_grammar *g = calloc(1, sizeof *g);
    uint64_t n = 0;
    l.base = pn_arena_array(&scratch, (size_t)n_rules + 1, sizeof *l.base);
    pantry_status status = g && l.base ? PANTRY_OK : pn_no_memory(err, "a grammar");
    for (uint32_t r = 0; !status && r < n_rules; r++) {
        l.base[r] = (uint32_t)n;
        n += rules[r].fsa.n_states;
        if (n > 4 * (uint64_t)PN_FSA_MAX_STATES)
            status = pn_fail(err, PANTRY_LIMIT, "the grammar is too large (allowed %s states)",
                             pn_digits(4 * (uint64_t)PN_FSA_MAX_STATES).text);
    }
    l.n_states = (uint32_t)n;
    if (!status)
        status = build(&l, labels, n_labels, &scratch, g, err);
    pn_arena_free(&scratch);
    if (status) {
        if (g)
            pn_arena_free(&g->arena);
        free(g);
        return status;
    }
    pn_arena_join(&g->arena, arena); /* names and labels live as long as the grammar */
    atomic_init(&g->n_users, 1);
    *out = g;
    return PANTRY_OK;
}

struct pn_grammar *pn_grammar_share(struct pn_grammar *grammar)
{
    atomic_fetch_add_explicit(&grammar->n_users, 1, memory_order_relaxed);
    return grammar;
}

void pn_grammar_free(struct pn_grammar *grammar)
{
    if (!grammar || atomic_fetch_sub_explicit(&grammar->n_users, 1, memory_order_acq_rel) != 1)
        return;
    pn_arena_free(&grammar->arena);
    free(grammar);
}
