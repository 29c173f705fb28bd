/* Cuts a graph into segments, each of which one device runs at once, ordered so that every segment finds its operands.
 * Each segment becomes a separate plan, which gets the arrays that earlier segments computed. */
#ifndef PN_TENSOR_CUT_H
#define PN_TENSOR_CUT_H

#include "tensor/graph.h"

/* For nodes that are cheap and read only weights and the batch: every segment computes those that it needs. */
enum { PN_ANY_DEVICE = -1 };

struct pn_segment {
    int device;
    const pn_array *given; /* computed by earlier segments; never views */
    int n_given;
    const pn_array *results; /* read by later segments, or results of the whole graph */
    int n_results;
};

struct pn_cut {
    struct pn_arena arena;
    struct pn_segment *segments;
    int n_segments;
};

/* `device_of` has the number of a device for each node; those of leaves and views are ignored. A graph with INPUT
 * leaves is not cut. */
pantry_status pn_cut_new(const struct pn_graph *graph, const pn_array *results, int n_results, const int8_t *device_of,
                         struct pn_cut **out, struct pantry_error *err);
void pn_cut_free(struct pn_cut *cut);

#endif
