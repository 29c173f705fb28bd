/* Random texts of a grammar: paths through its automaton that take the shortest way to the end after some bytes. */
#ifndef GRAMMAR_WALK_H
#define GRAMMAR_WALK_H

#include "base/alloc.h"
#include "base/random.h"
#include "grammar/grammar.h"

#include <stdlib.h>

enum { WALK_FAR = 1 << 28, WALK_LONG = 150, WALK_LONGEST = 100000 };

struct walk_frame {
    uint32_t rule, back; /* the rule walked, and where its caller goes on */
    int32_t count;
};

struct walk {
    const struct pn_grammar *g;
    uint32_t *distance;
    uint64_t seed, n_drawn;
    struct {
        struct walk_frame *data;
        size_t len, cap;
    } stack;
    struct pn_buf out;
};

static uint32_t walk_draw(struct walk *w, uint32_t n)
{
    return (uint32_t)(pn_random_at(w->seed, w->n_drawn++) % n);
}

static uint32_t walk_sum(uint32_t a, uint32_t b)
{
    return a + b < WALK_FAR ? a + b : WALK_FAR;
}

static uint32_t walk_rule_distance(const struct walk *w, uint32_t rule)
{
    const struct pn_grammar_rule *r = &w->g->rules[rule];
    uint64_t n = w->distance[r->start];
    n = n ? n : 1;
    n *= r->counts && r->min > 1 ? (uint64_t)r->min : 1;
    return n < WALK_FAR ? (uint32_t)n : WALK_FAR;
}

/* Bytes from each state to a final one, at least. */
static void walk_find_distances(struct walk *w)
{
    const struct pn_grammar *g = w->g;
    w->distance = malloc((g->n_states + 1) * sizeof *w->distance);
    if (!w->distance)
        abort();
    for (uint32_t s = 0; s < g->n_states; s++)
        w->distance[s] = g->flags[s] & PN_STATE_FINAL ? 0 : WALK_FAR;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t s = g->n_states; s-- > 0;) {
            uint32_t best = w->distance[s];
            for (uint32_t i = g->byte_first[s]; i < g->byte_first[s + 1]; i++) {
                uint32_t d = walk_sum(1, w->distance[g->bytes[i].to]);
                best = d < best ? d : best;
            }
            for (uint32_t i = g->call_first[s]; i < g->call_first[s + 1]; i++) {
                uint32_t d = walk_sum(walk_rule_distance(w, g->calls[i].what), w->distance[g->calls[i].to]);
                best = d < best ? d : best;
            }
            more = more || best != w->distance[s];
            w->distance[s] = best;
        }
    }
}

/* Goes on from the state; false at the end of the text. */
static bool walk_advance(struct walk *w, uint32_t *state)
{
    const struct pn_grammar *g = w->g;
    uint32_t s = *state, n_bytes = g->byte_first[s + 1] - g->byte_first[s];
    uint32_t n_calls = g->call_first[s + 1] - g->call_first[s], n = n_bytes + n_calls;
    bool final = g->flags[s] & PN_STATE_FINAL, hurry = w->out.len > WALK_LONG;
    if (final && (n == 0 || hurry || walk_draw(w, n + 1) == n)) {
        struct walk_frame *top = &w->stack.data[w->stack.len - 1];
        const struct pn_grammar_rule *r = &g->rules[top->rule];
        if (r->counts) {
            top->count++;
            bool may_stop = top->count >= r->min, may_go = r->max == PN_EXPR_NO_MAX || top->count < r->max;
            if (!may_stop || (may_go && !hurry && walk_draw(w, 4))) {
                *state = r->start;
                return true;
            }
        }
        *state = top->back;
        return --w->stack.len > 0;
    }
    uint32_t pick = walk_draw(w, n), best = WALK_FAR + 1;
    for (uint32_t k = 0; hurry && k < n; k++) {
        uint32_t d = k < n_bytes ? walk_sum(1, w->distance[g->bytes[g->byte_first[s] + k].to])
                                 : walk_sum(walk_rule_distance(w, g->calls[g->call_first[s] + k - n_bytes].what),
                                            w->distance[g->calls[g->call_first[s] + k - n_bytes].to]);
        if (d < best) {
            best = d;
            pick = k;
        }
    }
    if (pick < n_bytes) {
        const struct pn_byte_edge *e = &g->bytes[g->byte_first[s] + pick];
        pn_buf_putc(&w->out, (char)(e->first + walk_draw(w, e->last - e->first + 1u)));
        *state = e->to;
    } else {
        const struct pn_call_edge *e = &g->calls[g->call_first[s] + pick - n_bytes];
        struct walk_frame frame = {e->what, e->to, 0};
        if (!pn_vec_push(&w->stack, frame))
            abort();
        *state = g->rules[e->what].start;
    }
    return true;
}

static inline void walk_start(struct walk *w, const struct pn_grammar *g, uint64_t seed)
{
    *w = (struct walk){.g = g, .seed = seed};
    walk_find_distances(w);
}

/* The next text, in w->out. */
static inline void walk_once(struct walk *w)
{
    struct walk_frame first = {0, 0, 0};
    uint32_t state = w->g->rules[0].start;
    w->stack.len = 0;
    pn_buf_clear(&w->out);
    if (!pn_vec_push(&w->stack, first))
        abort();
    while (w->out.len < WALK_LONGEST && walk_advance(w, &state)) {
    }
}

static inline void walk_end(struct walk *w)
{
    pn_buf_free(&w->out);
    free(w->stack.data);
    free(w->distance);
}

#endif
