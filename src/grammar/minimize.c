/* The smallest deterministic automaton: Valmari, Fast brief practical DFA minimization, 2012. States and transitions
 * are split into ever finer classes; time is O(transitions * log(states)). */
#include "grammar/fsa.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TRANSITIONS = 20000000 }; /* of single symbols */

/* A partition of 0 .. n-1 whose classes can be split by marking members. */
struct partition {
    uint32_t n_classes;
    uint32_t *members, *place; /* by class; where each number is in it */
    uint32_t *class;           /* of each number */
    uint32_t *first, *end;     /* of each class in `members` */
    uint32_t *marked;          /* how many members at the beginning of each class are marked */
    uint32_t *touched;         /* classes with marked members */
    uint32_t n_touched;
};

static bool partition_new(struct partition *p, uint32_t n)
{
    *p = (struct partition){.n_classes = n > 0};
    uint32_t **const arrays[] = {&p->members, &p->place, &p->class, &p->first, &p->end, &p->marked, &p->touched};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = calloc((size_t)n + 1, sizeof **arrays[i]);
        if (!*arrays[i])
            return false;
    }
    for (uint32_t i = 0; i < n; i++)
        p->members[i] = p->place[i] = i;
    p->end[0] = n;
    return true;
}

static void partition_free(struct partition *p)
{
    uint32_t *const arrays[] = {p->members, p->place, p->class, p->first, p->end, p->marked, p->touched};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static void mark(struct partition *p, uint32_t x)
{
    uint32_t c = p->class[x], i = p->place[x], j = p->first[c] + p->marked[c];
    if (i < j)
        return; /* marked already */
    p->members[i] = p->members[j];
    p->place[p->members[i]] = i;
    p->members[j] = x;
    p->place[x] = j;
    if (!p->marked[c]++)
        p->touched[p->n_touched++] = c;
}

/* Makes the smaller of the marked and the other members of each touched class a new class. */
static void split(struct partition *p)
{
    while (p->n_touched) {
        uint32_t c = p->touched[--p->n_touched], middle = p->first[c] + p->marked[c], z = p->n_classes;
        if (middle == p->end[c]) {
            p->marked[c] = 0;
            continue;
        }
        if (p->marked[c] <= p->end[c] - middle) {
            p->first[z] = p->first[c];
            p->end[z] = p->first[c] = middle;
        } else {
            p->end[z] = p->end[c];
            p->first[z] = p->end[c] = middle;
        }
        for (uint32_t i = p->first[z]; i < p->end[z]; i++)
            p->class[p->members[i]] = z;
        p->marked[c] = p->marked[z] = 0;
        p->n_classes++;
    }
}

/* Which states reach a final one. */
static pantry_status find_live(const struct pn_fsa *fsa, bool *live, struct pantry_error *err)
{
    uint32_t n = fsa->n_states, n_edges = fsa->first[n], depth = 0;
    uint32_t *first = calloc((size_t)n + 2, sizeof *first), *from = calloc((size_t)n_edges + 1, sizeof *from);
    uint32_t *stack = calloc((size_t)n + 1, sizeof *stack);
    if (!first || !from || !stack) {
        free(first);
        free(from);
        free(stack);
        return pn_no_memory(err, "a grammar");
    }
    for (uint32_t i = 0; i < n_edges; i++)
        first[fsa->edges[i].to + 2]++;
    for (uint32_t s = 0; s < n; s++)
        first[s + 2] += first[s + 1];
    for (uint32_t s = 0; s < n; s++)
        for (uint32_t i = fsa->first[s]; i < fsa->first[s + 1]; i++)
            from[first[fsa->edges[i].to + 1]++] = s;
    for (uint32_t s = 0; s < n; s++) {
        live[s] = fsa->final[s];
        if (live[s])
            stack[depth++] = s;
    }
    while (depth) {
        uint32_t s = stack[--depth];
        for (uint32_t i = first[s]; i < first[s + 1]; i++)
            if (!live[from[i]]) {
                live[from[i]] = true;
                stack[depth++] = from[i];
            }
    }
    free(first);
    free(from);
    free(stack);
    return PANTRY_OK;
}

/* Transitions of one symbol each; symbols that no edge tells apart count as one. */
struct transitions {
    uint32_t n;
    uint32_t *tail, *label, *head;
    uint32_t *cuts; /* symbols where ranges begin or have ended, ascending */
    size_t n_cuts;
};

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t find_cut(const struct transitions *t, uint32_t symbol)
{
    size_t low = 0, high = t->n_cuts;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->cuts[middle] < symbol)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static pantry_status find_cuts(const struct pn_fsa *fsa, struct transitions *t, struct pantry_error *err)
{
    uint32_t n_edges = fsa->first[fsa->n_states];
    size_t kept = 0;
    t->cuts = calloc(2 * (size_t)n_edges + 1, sizeof *t->cuts);
    if (!t->cuts)
        return pn_no_memory(err, "a grammar");
    for (uint32_t i = 0; i < n_edges; i++) {
        t->cuts[t->n_cuts++] = fsa->edges[i].first;
        t->cuts[t->n_cuts++] = fsa->edges[i].last + 1;
    }
    if (t->n_cuts > 1)
        qsort(t->cuts, t->n_cuts, sizeof *t->cuts, by_number);
    for (size_t i = 0; i < t->n_cuts; i++)
        if (kept == 0 || t->cuts[kept - 1] != t->cuts[i])
            t->cuts[kept++] = t->cuts[i];
    t->n_cuts = kept;
    return PANTRY_OK;
}

/* Leaves tail NULL, with PANTRY_OK, if there are too many. */
static pantry_status find_transitions(const struct pn_fsa *fsa, const bool *live, struct transitions *t,
                                      struct pantry_error *err)
{
    uint64_t n = 0;
    pantry_status status = find_cuts(fsa, t, err);
    if (status)
        return status;
    for (uint32_t i = 0; i < fsa->first[fsa->n_states]; i++)
        n += find_cut(t, fsa->edges[i].last + 1) - find_cut(t, fsa->edges[i].first);
    if (n > MAX_TRANSITIONS)
        return PANTRY_OK;
    t->tail = calloc(n + 1, sizeof *t->tail);
    t->label = calloc(n + 1, sizeof *t->label);
    t->head = calloc(n + 1, sizeof *t->head);
    if (!t->tail || !t->label || !t->head)
        return pn_no_memory(err, "a grammar");
    for (uint32_t s = 0; s < fsa->n_states; s++)
        for (uint32_t i = fsa->first[s]; i < fsa->first[s + 1]; i++) {
            const struct pn_fsa_edge *e = &fsa->edges[i];
            if (!live[s] || !live[e->to])
                continue;
            for (size_t c = find_cut(t, e->first); t->cuts[c] <= e->last; c++) {
                t->tail[t->n] = s;
                t->label[t->n] = (uint32_t)c;
                t->head[t->n++] = e->to;
            }
        }
    return PANTRY_OK;
}

static void transitions_free(struct transitions *t)
{
    free(t->tail);
    free(t->label);
    free(t->head);
    free(t->cuts);
}

/* Numbers grouped by a key below n_keys: those of key k are order[first[k]] to order[first[k + 1]]. */
static bool group(const uint32_t *key, uint32_t n, size_t n_keys, uint32_t *order, uint32_t **first)
{
    uint32_t *f = calloc(n_keys + 2, sizeof *f);
    *first = f;
    if (!f)
        return false;
    for (uint32_t i = 0; i < n; i++)
        f[key[i] + 2]++;
    for (size_t k = 0; k < n_keys; k++)
        f[k + 2] += f[k + 1];
    for (uint32_t i = 0; i < n; i++)
        order[f[key[i] + 1]++] = i;
    return true;
}

/* Refines the states' classes until equal states share one. */
static bool refine(const struct transitions *t, struct partition *states, struct partition *cords, uint32_t n_states)
{
    uint32_t *by_label, *into, *order = calloc((size_t)t->n + 1, sizeof *order);
    bool ok = order && group(t->label, t->n, t->n_cuts, cords->members, &by_label);
    if (!ok) {
        free(order);
        return false;
    }
    cords->n_classes = 0;
    for (size_t k = 0; k < t->n_cuts; k++) {
        if (by_label[k] == by_label[k + 1])
            continue;
        uint32_t z = cords->n_classes++;
        cords->first[z] = by_label[k];
        cords->end[z] = by_label[k + 1];
        for (uint32_t i = cords->first[z]; i < cords->end[z]; i++) {
            cords->place[cords->members[i]] = i;
            cords->class[cords->members[i]] = z;
        }
    }
    free(by_label);
    if (!group(t->head, t->n, n_states, order, &into)) {
        free(order);
        return false;
    }
    for (uint32_t b = 1, c = 0; c < cords->n_classes; c++) {
        for (uint32_t i = cords->first[c]; i < cords->end[c]; i++)
            mark(states, t->tail[cords->members[i]]);
        split(states);
        for (; b < states->n_classes; b++) {
            for (uint32_t i = states->first[b]; i < states->end[b]; i++)
                for (uint32_t j = into[states->members[i]]; j < into[states->members[i] + 1]; j++)
                    mark(cords, order[j]);
            split(cords);
        }
    }
    free(order);
    free(into);
    return true;
}

/* Builds the automaton of the classes, numbered as they are met from the start. */
static pantry_status build(const struct pn_fsa *fsa, const bool *live, const uint32_t *class, uint32_t n_classes,
                           struct pn_fsa *out, struct pantry_error *err)
{
    struct pn_fsa_builder b = {0};
    uint32_t *number = calloc((size_t)n_classes + 1, sizeof *number), len = 0; /* of a class, + 1 */
    uint32_t *states = calloc((size_t)n_classes + 1, sizeof *states);          /* one of each class, in order */
    bool ok = number && states;
    if (ok) {
        states[len++] = 0;
        number[class[0]] = len;
    }
    for (uint32_t at = 0; ok && at < len; at++) {
        uint32_t s = states[at];
        ok = pn_fsa_begin(&b, fsa->final[s]);
        for (uint32_t i = fsa->first[s]; ok && i < fsa->first[s + 1]; i++) {
            const struct pn_fsa_edge *e = &fsa->edges[i];
            if (!live[e->to])
                continue;
            if (!number[class[e->to]]) {
                states[len++] = e->to;
                number[class[e->to]] = len;
            }
            ok = pn_fsa_add(&b, e->first, e->last, number[class[e->to]] - 1);
        }
    }
    free(number);
    free(states);
    if (!ok) {
        pn_fsa_builder_free(&b);
        return pn_no_memory(err, "a grammar");
    }
    return pn_fsa_finish(&b, true, out, err);
}

pantry_status pn_fsa_minimize(struct pn_fsa *fsa, struct pantry_error *err)
{
    struct transitions t = {0};
    struct partition states = {0}, cords = {0};
    struct pn_fsa out = {0};
    bool *live = calloc((size_t)fsa->n_states + 1, sizeof *live);
    pantry_status status = live ? find_live(fsa, live, err) : pn_no_memory(err, "a grammar");
    if (!status)
        status = find_transitions(fsa, live, &t, err);
    if (!status && (!partition_new(&states, fsa->n_states) || !partition_new(&cords, t.n)))
        status = pn_no_memory(err, "a grammar");
    if (!status && t.tail) {
        for (uint32_t s = 0; s < fsa->n_states; s++) /* dead states are a class: no transition has one */
            if (!live[s])
                mark(&states, s);
        split(&states);
        for (uint32_t s = 0; s < fsa->n_states; s++)
            if (fsa->final[s])
                mark(&states, s);
        split(&states);
        if (t.n && !refine(&t, &states, &cords, fsa->n_states))
            status = pn_no_memory(err, "a grammar");
    }
    if (!status && !t.tail) /* too many to compare: each state is a class */
        for (states.n_classes = 0; states.n_classes < fsa->n_states; states.n_classes++)
            states.class[states.n_classes] = states.n_classes;
    if (!status)
        status = build(fsa, live, states.class, states.n_classes, &out, err);
    if (!status) {
        pn_fsa_free(fsa);
        *fsa = out;
    }
    free(live);
    transitions_free(&t);
    partition_free(&states);
    partition_free(&cords);
    return status;
}
