/* Cuts a graph for several devices into segments, each run by one device, in an order where operands come first. A
 * segment becomes a plan, which is given the arrays that earlier segments computed. */
#ifndef PN_TENSOR_CUT_H
#define PN_TENSOR_CUT_H

#include "tensor/graph.h"

/* For cheap nodes that read only weights and the batch: every segment that needs them computes them. */
enum { PN_ANY_DEVICE = -1 };

struct pn_segment {
    int device;
    const pn_array *given; /* arrays that earlier segments compute; never views */
    int n_given;
    const pn_array *results; /* arrays that later segments read, and results of the graph */
    int n_results;
};

struct pn_cut {
    struct pn_arena arena;
    struct pn_segment *segments;
    int n_segments;
};

/* `device_of` has the device of each node; leaves and views do not matter. A graph with INPUT leaves cannot be cut. */
pantry_status pn_cut_new(const struct pn_graph *graph, const pn_array *results, int n_results, const int8_t *device_of,
                         struct pn_cut **out, struct pantry_error *err);
void pn_cut_free(struct pn_cut *cut);

#endif
