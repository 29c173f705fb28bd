/* The subset construction, and the removal of empty edges: see fsa.h. */
#include "grammar/fsa.h"

#include <stdlib.h>
#include <string.h>

/* Sets of states, each sorted and stored once. */
struct subsets {
    const struct pn_nfa *nfa;
    uint32_t end;
    struct {
        uint32_t *data; /* the members of all sets, one set after the other */
        size_t len, cap;
    } members;
    struct {
        size_t *data; /* where each set begins */
        size_t len, cap;
    } first;
    uint32_t *slots; /* set + 1 by hash; 0: free */
    size_t n_slots;
    uint32_t *stack, *stamp, stamp_now; /* (states of the nfa) */
    struct {
        struct pn_fsa_edge *data;
        size_t len, cap;
    } edges; /* of the set in hand, by first symbol */
    struct {
        uint32_t *data;
        size_t len, cap;
    } cuts, targets;
    struct {
        struct pn_fsa_edge *data;
        size_t len, cap;
    } active;
    int64_t *work; /* that is left */
};

static bool is_empty_edge(const struct pn_nfa_edge *e)
{
    return e->first > e->last;
}

/* States without edges of their own decide nothing, except the end. */
static bool matters(const struct subsets *s, uint32_t state)
{
    if (state == s->end)
        return true;
    for (uint32_t i = s->nfa->states.data[state]; i; i = s->nfa->edges.data[i].next)
        if (!is_empty_edge(&s->nfa->edges.data[i]))
            return true;
    return false;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Pushes the closure of the states as a new set onto `members`, sorted; returns its size, or SIZE_MAX without memory.
 */
static size_t close_set(struct subsets *s, const uint32_t *states, size_t n)
{
    size_t depth = 0, begin = s->members.len;
    s->stamp_now++;
    for (size_t i = 0; i < n; i++)
        if (s->stamp[states[i]] != s->stamp_now) {
            s->stamp[states[i]] = s->stamp_now;
            s->stack[depth++] = states[i];
        }
    while (depth) {
        uint32_t state = s->stack[--depth];
        --*s->work;
        if (matters(s, state) && !pn_vec_push(&s->members, state))
            return SIZE_MAX;
        for (uint32_t i = s->nfa->states.data[state]; i; i = s->nfa->edges.data[i].next) {
            const struct pn_nfa_edge *e = &s->nfa->edges.data[i];
            if (is_empty_edge(e) && s->stamp[e->to] != s->stamp_now) {
                s->stamp[e->to] = s->stamp_now;
                s->stack[depth++] = e->to;
            }
        }
    }
    size_t size = s->members.len - begin;
    if (size > 1)
        qsort(s->members.data + begin, size, sizeof *s->members.data, by_number);
    return size;
}

static uint64_t hash_of(const uint32_t *p, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
    return h;
}

static size_t size_of_set(const struct subsets *s, size_t set)
{
    return (set + 1 < s->first.len ? s->first.data[set + 1] : s->members.len) - s->first.data[set];
}

static bool grow_slots(struct subsets *s)
{
    size_t n = s->n_slots ? 2 * s->n_slots : 256;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t set = 0; set < s->first.len; set++) {
        size_t at = hash_of(s->members.data + s->first.data[set], size_of_set(s, set)) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)set + 1;
    }
    free(s->slots);
    s->slots = slots;
    s->n_slots = n;
    return true;
}

/* The number of the set of these states; UINT32_MAX without memory. */
static uint32_t find_set(struct subsets *s, const uint32_t *states, size_t n)
{
    if (2 * (s->first.len + 1) > s->n_slots && !grow_slots(s))
        return UINT32_MAX;
    size_t begin = s->members.len, size = close_set(s, states, n);
    if (size == SIZE_MAX)
        return UINT32_MAX;
    size_t at = hash_of(s->members.data + begin, size) & (s->n_slots - 1);
    for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        size_t other = s->slots[at] - 1;
        size_t other_end = other + 1 < s->first.len ? s->first.data[other + 1] : begin;
        if (other_end - s->first.data[other] == size &&
            (size == 0 || memcmp(s->members.data + s->first.data[other], s->members.data + begin,
                                 size * sizeof *s->members.data) == 0)) {
            s->members.len = begin;
            return (uint32_t)other;
        }
    }
    if (!pn_vec_push(&s->first, begin))
        return UINT32_MAX;
    s->slots[at] = (uint32_t)s->first.len;
    return (uint32_t)(s->first.len - 1);
}

static int by_symbol(const void *a, const void *b)
{
    const struct pn_fsa_edge *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

/* Collects the edges of a set, sorted, and the symbols where their ranges begin or have ended. */
static bool gather(struct subsets *s, size_t set, bool *final)
{
    size_t begin = s->first.data[set], n = size_of_set(s, set);
    s->edges.len = s->cuts.len = 0;
    *final = false;
    for (size_t m = begin; m < begin + n; m++) {
        uint32_t state = s->members.data[m];
        *final = *final || state == s->end;
        for (uint32_t i = s->nfa->states.data[state]; i; i = s->nfa->edges.data[i].next) {
            const struct pn_nfa_edge *e = &s->nfa->edges.data[i];
            struct pn_fsa_edge edge = {e->first, e->last, e->to};
            --*s->work;
            if (!is_empty_edge(e) && (!pn_vec_push(&s->edges, edge) || !pn_vec_push(&s->cuts, e->first) ||
                                      !pn_vec_push(&s->cuts, e->last + 1)))
                return false;
        }
    }
    if (s->edges.len > 1)
        qsort(s->edges.data, s->edges.len, sizeof *s->edges.data, by_symbol);
    if (s->cuts.len > 1)
        qsort(s->cuts.data, s->cuts.len, sizeof *s->cuts.data, by_number);
    return true;
}

/* The edges of one set: between two cuts, the same edges apply. */
static bool expand(struct subsets *s, size_t set, struct pn_fsa_builder *out)
{
    bool final;
    size_t next = 0;
    if (!gather(s, set, &final) || !pn_fsa_begin(out, final))
        return false;
    s->active.len = 0;
    for (size_t c = 0; c + 1 < s->cuts.len; c++) {
        uint32_t low = s->cuts.data[c], high = s->cuts.data[c + 1] - 1;
        if (s->cuts.data[c + 1] == low)
            continue;
        size_t kept = 0;
        for (size_t i = 0; i < s->active.len; i++)
            if (s->active.data[i].last >= low)
                s->active.data[kept++] = s->active.data[i];
        s->active.len = kept;
        for (; next < s->edges.len && s->edges.data[next].first <= low; next++)
            if (!pn_vec_push(&s->active, s->edges.data[next]))
                return false;
        s->targets.len = 0;
        for (size_t i = 0; i < s->active.len; i++)
            if (!pn_vec_push(&s->targets, s->active.data[i].to))
                return false;
        *s->work -= (int64_t)s->active.len;
        if (s->targets.len == 0)
            continue;
        uint32_t to = find_set(s, s->targets.data, s->targets.len);
        if (to == UINT32_MAX || !pn_fsa_add(out, low, high, to))
            return false;
    }
    return true;
}

static pantry_status start_subsets(struct subsets *s, const struct pn_nfa *nfa, uint32_t end, int64_t *work,
                                   struct pantry_error *err)
{
    *s = (struct subsets){.nfa = nfa, .end = end, .work = work};
    if (nfa->too_large)
        return pn_fail(err, PANTRY_LIMIT, "the grammar is too large (allowed %s states of a rule)",
                       pn_digits(PN_FSA_MAX_STATES).text);
    if (nfa->no_memory)
        return pn_no_memory(err, "a grammar");
    s->stack = calloc(nfa->states.len + 1, sizeof *s->stack);
    s->stamp = calloc(nfa->states.len + 1, sizeof *s->stamp);
    return s->stack && s->stamp ? PANTRY_OK : pn_no_memory(err, "a grammar");
}

static void end_subsets(struct subsets *s)
{
    free(s->members.data);
    free(s->first.data);
    free(s->slots);
    free(s->stack);
    free(s->stamp);
    free(s->edges.data);
    free(s->cuts.data);
    free(s->targets.data);
    free(s->active.data);
}

pantry_status pn_fsa_determinize(const struct pn_nfa *nfa, uint32_t start, uint32_t end, uint32_t max_states,
                                 int64_t *work, struct pn_fsa *out, struct pantry_error *err)
{
    struct subsets s;
    struct pn_fsa_builder b = {0};
    *out = (struct pn_fsa){0};
    pantry_status status = start_subsets(&s, nfa, end, work, err);
    if (!status && find_set(&s, &start, 1) == UINT32_MAX)
        status = pn_no_memory(err, "a grammar");
    for (size_t set = 0; !status && set < s.first.len; set++) {
        if (!expand(&s, set, &b))
            status = pn_no_memory(err, "a grammar");
        else if (s.first.len > max_states || *work < 0 || b.edges.len > PN_FSA_MAX_EDGES)
            status =
                pn_fail(err, PANTRY_LIMIT,
                        "the grammar is too large: a deterministic automaton of a part of it has more than %s states",
                        pn_digits(max_states).text);
    }
    if (!status)
        status = pn_fsa_finish(&b, true, out, err);
    pn_fsa_builder_free(&b);
    end_subsets(&s);
    return status;
}

pantry_status pn_fsa_without_empty(const struct pn_nfa *nfa, uint32_t start, uint32_t end, int64_t *work,
                                   struct pn_fsa *out, struct pantry_error *err)
{
    struct subsets s;
    struct pn_fsa_builder b = {0};
    size_t n = nfa->states.len, len = 0;
    uint32_t *number = calloc(n + 1, sizeof *number),
             *order = calloc(n + 1, sizeof *order); /* of states: + 1; 0: none */
    *out = (struct pn_fsa){0};
    pantry_status status = start_subsets(&s, nfa, end, work, err);
    if (!status && (!number || !order))
        status = pn_no_memory(err, "a grammar");
    if (!status) {
        order[len++] = start;
        number[start] = (uint32_t)len;
    }
    for (size_t at = 0; !status && at < len; at++) {
        bool final, ok;
        s.members.len = s.first.len = 0;
        ok = close_set(&s, &order[at], 1) != SIZE_MAX && pn_vec_push(&s.first, (size_t)0) && gather(&s, 0, &final) &&
             pn_fsa_begin(&b, final);
        for (size_t i = 0; ok && i < s.edges.len; i++) {
            struct pn_fsa_edge e = s.edges.data[i];
            if (i && memcmp(&e, &s.edges.data[i - 1], sizeof e) == 0)
                continue;
            if (!number[e.to]) {
                order[len++] = e.to;
                number[e.to] = (uint32_t)len;
            }
            ok = pn_fsa_add(&b, e.first, e.last, number[e.to] - 1);
        }
        if (!ok)
            status = pn_no_memory(err, "a grammar");
        else if (*work < 0 || b.edges.len > PN_FSA_MAX_EDGES)
            status = pn_fail(err, PANTRY_LIMIT, "the grammar is too large (allowed %s edges of a rule)",
                             pn_digits(PN_FSA_MAX_EDGES).text);
    }
    if (!status)
        status = pn_fsa_finish(&b, false, out, err);
    pn_fsa_builder_free(&b);
    end_subsets(&s);
    free(number);
    free(order);
    return status;
}
