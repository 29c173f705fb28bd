/* Intersection and difference of deterministic automata, state by state: see fsa.h. */
#include "grammar/fsa.h"

#include <stdlib.h>

enum { DEAD = UINT32_MAX }; /* where an automaton goes without an edge */

struct product {
    const struct pn_fsa *a, *b;
    bool subtract;
    struct {
        uint64_t *data; /* a's state << 32 | b's state */
        size_t len, cap;
    } pairs;
    uint32_t *slots; /* pair + 1 by hash; 0: free */
    size_t n_slots;
};

static bool grow(struct product *p)
{
    size_t n = p->n_slots ? 2 * p->n_slots : 1024;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < p->pairs.len; i++) {
        size_t at = (p->pairs.data[i] * 0x9E3779B97F4A7C15u >> 20) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(p->slots);
    p->slots = slots;
    p->n_slots = n;
    return true;
}

/* The number of a pair; DEAD without memory. */
static uint32_t find(struct product *p, uint32_t x, uint32_t y)
{
    uint64_t pair = (uint64_t)x << 32 | y;
    if (2 * (p->pairs.len + 1) > p->n_slots && !grow(p))
        return DEAD;
    size_t at = (pair * 0x9E3779B97F4A7C15u >> 20) & (p->n_slots - 1);
    for (; p->slots[at]; at = (at + 1) & (p->n_slots - 1))
        if (p->pairs.data[p->slots[at] - 1] == pair)
            return p->slots[at] - 1;
    if (!pn_vec_push(&p->pairs, pair))
        return DEAD;
    p->slots[at] = (uint32_t)p->pairs.len;
    return (uint32_t)(p->pairs.len - 1);
}

/* An edge of the product where a has one: b has the edge to y, or none. */
static bool add(struct product *p, struct pn_fsa_builder *out, uint32_t first, uint32_t last, uint32_t x, uint32_t y)
{
    if (y == DEAD && !p->subtract)
        return true;
    uint32_t to = find(p, x, y);
    return to != DEAD && pn_fsa_add(out, first, last, to);
}

static bool expand(struct product *p, uint64_t pair, struct pn_fsa_builder *out)
{
    uint32_t x = (uint32_t)(pair >> 32), y = (uint32_t)pair;
    bool in_b = y != DEAD && p->b->final[y];
    if (!pn_fsa_begin(out, p->a->final[x] && in_b != p->subtract))
        return false;
    uint32_t j = y == DEAD ? 0 : p->b->first[y], end = y == DEAD ? 0 : p->b->first[y + 1];
    for (uint32_t i = p->a->first[x]; i < p->a->first[x + 1]; i++) {
        struct pn_fsa_edge e = p->a->edges[i];
        while (j < end && p->b->edges[j].last < e.first)
            j++;
        for (uint32_t k = j; k < end && p->b->edges[k].first <= e.last && e.first <= e.last; k++) {
            const struct pn_fsa_edge *f = &p->b->edges[k];
            uint32_t last = f->last < e.last ? f->last : e.last;
            if (f->first > e.first && !add(p, out, e.first, f->first - 1, e.to, DEAD))
                return false;
            if (!add(p, out, f->first > e.first ? f->first : e.first, last, e.to, f->to))
                return false;
            e.first = last + 1;
        }
        if (e.first <= e.last && !add(p, out, e.first, e.last, e.to, DEAD))
            return false;
    }
    return true;
}

static pantry_status multiply(struct product *p, uint32_t max_states, struct pn_fsa *out, struct pantry_error *err)
{
    struct pn_fsa_builder b = {0};
    pantry_status status = PANTRY_OK;
    *out = (struct pn_fsa){0};
    if (find(p, 0, 0) == DEAD)
        status = pn_no_memory(err, "a grammar");
    for (size_t i = 0; !status && i < p->pairs.len; i++) {
        if (!expand(p, p->pairs.data[i], &b))
            status = pn_no_memory(err, "a grammar");
        else if (p->pairs.len > max_states || b.edges.len > PN_FSA_MAX_EDGES)
            status =
                pn_fail(err, PANTRY_LIMIT, "the grammar is too large: an intersection in it has more than %s states",
                        pn_digits(max_states).text);
    }
    if (!status)
        status = pn_fsa_finish(&b, true, out, err);
    pn_fsa_builder_free(&b);
    free(p->pairs.data);
    free(p->slots);
    return status;
}

pantry_status pn_fsa_intersect(const struct pn_fsa *a, const struct pn_fsa *b, uint32_t max_states, struct pn_fsa *out,
                               struct pantry_error *err)
{
    struct product p = {.a = a, .b = b};
    return multiply(&p, max_states, out, err);
}

pantry_status pn_fsa_subtract(const struct pn_fsa *a, const struct pn_fsa *b, uint32_t max_states, struct pn_fsa *out,
                              struct pantry_error *err)
{
    struct product p = {.a = a, .b = b, .subtract = true};
    return multiply(&p, max_states, out, err);
}
