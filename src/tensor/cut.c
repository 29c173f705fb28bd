/* Segments of a graph: see cut.h.
 *
 * Nodes are taken in the order of the graph, operands first. Each goes to the earliest segment of its device that is
 * not before the segments of its operands. Arrays that one segment computes and another reads then cross between
 * them. */
#include "tensor/cut.h"

#include <stdlib.h>

struct crossing { /* an array, and the segment that reads or computes it */
    int32_t segment;
    pn_array array;
};

struct cutter {
    const struct pn_graph *g;
    const int8_t *device_of;
    bool *needed;
    int32_t *segment_of; /* (nodes): -1 for leaves, views and nodes that every segment computes for itself */
    int8_t *devices;     /* (segments) */
    int n_segments;
    struct crossing *given, *results;
    int n_given, n_results;
};

static bool is_computed(const struct cutter *c, pn_array a)
{
    enum pn_op_kind kind = pn_op_kind(pn_node(c->g, a)->op);
    return kind != PN_KIND_LEAF && kind != PN_KIND_VIEW && c->device_of[a] != PN_ANY_DEVICE;
}

static pantry_status find_needed(struct cutter *c, const pn_array *results, int n_results, struct pantry_error *err)
{
    for (int i = 0; i < n_results; i++)
        c->needed[results[i]] = true;
    for (pn_array a = (pn_array)c->g->len - 1; a >= 0; a--) {
        const struct pn_node *n = pn_node(c->g, a);
        if (!c->needed[a])
            continue;
        if (n->op == PN_OP_INPUT)
            return pn_fail(err, PANTRY_INTERNAL, "a graph with the input \"%s\" cannot be cut", n->input.name);
        for (int i = 0; i < n->n_src; i++)
            if (n->src[i] != PN_NONE)
                c->needed[n->src[i]] = true;
    }
    return PANTRY_OK;
}

/* The array of operand i of a node, views resolved. */
static pn_array operand(const struct cutter *c, const struct pn_node *n, int i)
{
    return n->src[i] == PN_NONE ? PN_NONE : pn_view_of(c->g, n->src[i]).base;
}

static void choose_segment(struct cutter *c, pn_array a)
{
    const struct pn_node *n = pn_node(c->g, a);
    int at = 0;
    for (int i = 0; i < n->n_src; i++) {
        pn_array s = operand(c, n, i);
        if (s == PN_NONE || c->segment_of[s] < 0)
            continue;
        at = c->segment_of[s] > at ? c->segment_of[s] : at;
    }
    while (at < c->n_segments && c->devices[at] != c->device_of[a])
        at++;
    if (at == c->n_segments)
        c->devices[c->n_segments++] = c->device_of[a];
    c->segment_of[a] = at;
}

static void note_crossings(struct cutter *c, pn_array a)
{
    const struct pn_node *n = pn_node(c->g, a);
    for (int i = 0; i < n->n_src; i++) {
        pn_array s = operand(c, n, i);
        if (s == PN_NONE || c->segment_of[s] < 0 || c->segment_of[s] == c->segment_of[a])
            continue;
        c->given[c->n_given++] = (struct crossing){c->segment_of[a], s};
        c->results[c->n_results++] = (struct crossing){c->segment_of[s], s};
    }
}

static int by_segment(const void *a, const void *b)
{
    const struct crossing *x = a, *y = b;
    int by = (x->segment > y->segment) - (x->segment < y->segment);
    return by ? by : (x->array > y->array) - (x->array < y->array);
}

/* Sorts, drops duplicates, and gives each segment its part. */
static bool distribute(struct pn_cut *cut, struct crossing *list, int n, bool given)
{
    pn_array *arrays = pn_arena_array(&cut->arena, (size_t)n + 1, sizeof *arrays);
    if (!arrays)
        return false;
    if (n)
        qsort(list, (size_t)n, sizeof *list, by_segment);
    for (int i = 0, len = 0; i < n; i++) {
        if (i > 0 && by_segment(&list[i - 1], &list[i]) == 0)
            continue;
        struct pn_segment *s = &cut->segments[list[i].segment];
        int *count = given ? &s->n_given : &s->n_results;
        if (++*count == 1)
            *(given ? &s->given : &s->results) = arrays + len;
        arrays[len++] = list[i].array;
    }
    return true;
}

static bool allocate(struct cutter *c, struct pn_arena *arena, int n_results)
{
    size_t n = c->g->len, n_src = 0;
    for (size_t i = 0; i < n; i++)
        n_src += (size_t)c->g->data[i].n_src;
    c->needed = pn_arena_array(arena, n + 1, sizeof *c->needed);
    c->segment_of = pn_arena_array(arena, n + 1, sizeof *c->segment_of);
    c->devices = pn_arena_array(arena, n + 1, sizeof *c->devices);
    c->given = pn_arena_array(arena, n_src + 1, sizeof *c->given);
    c->results = pn_arena_array(arena, n_src + (size_t)n_results + 1, sizeof *c->results);
    return c->needed && c->segment_of && c->devices && c->given && c->results;
}

static pantry_status cut_up(struct cutter *c, struct pn_cut *cut, const pn_array *results, int n_results,
                            struct pantry_error *err)
{
    pantry_status status = find_needed(c, results, n_results, err);
    if (status)
        return status;
    for (pn_array a = 0; a < (pn_array)c->g->len; a++) {
        c->segment_of[a] = -1;
        if (c->needed[a] && is_computed(c, a))
            choose_segment(c, a);
    }
    for (pn_array a = 0; a < (pn_array)c->g->len; a++)
        if (c->segment_of[a] >= 0)
            note_crossings(c, a);
    for (int i = 0; i < n_results; i++)
        if (c->segment_of[results[i]] < 0)
            return pn_fail(err, PANTRY_INTERNAL, "result %d of a plan must be computed", i);
    for (int i = 0; i < n_results; i++)
        c->results[c->n_results++] = (struct crossing){c->segment_of[results[i]], results[i]};
    cut->n_segments = c->n_segments;
    cut->segments = pn_arena_array(&cut->arena, (size_t)c->n_segments + 1, sizeof *cut->segments);
    if (!cut->segments || !distribute(cut, c->given, c->n_given, true) ||
        !distribute(cut, c->results, c->n_results, false))
        return pn_no_memory(err, "a plan");
    for (int i = 0; i < c->n_segments; i++)
        cut->segments[i].device = c->devices[i];
    return PANTRY_OK;
}

pantry_status pn_cut_new(const struct pn_graph *graph, const pn_array *results, int n_results, const int8_t *device_of,
                         struct pn_cut **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = PANTRY_OK;
    struct pn_arena arena = {0};
    struct cutter c = {.g = graph, .device_of = device_of};
    struct pn_cut *cut = calloc(1, sizeof *cut);
    if (!cut || !allocate(&c, &arena, n_results))
        status = pn_no_memory(err, "a plan");
    else
        status = cut_up(&c, cut, results, n_results, err);
    pn_arena_free(&arena);
    if (status)
        pn_cut_free(cut);
    else
        *out = cut;
    return status;
}

void pn_cut_free(struct pn_cut *cut)
{
    if (!cut)
        return;
    pn_arena_free(&cut->arena);
    free(cut);
}
