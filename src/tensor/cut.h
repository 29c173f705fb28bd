/* Cutting a graph into segments: what each of several devices does in one go, in an order in which every segment finds
 * what it reads. A segment becomes a plan of its own, which is given the arrays that earlier segments computed. */
#ifndef PN_TENSOR_CUT_H
#define PN_TENSOR_CUT_H

#include "tensor/graph.h"

/* For nodes that are cheap and read nothing but weights and the batch: every segment that needs them computes them. */
enum { PN_ANY_DEVICE = -1 };

struct pn_segment {
    int device;
    const pn_array *given; /* what earlier segments compute: never views */
    int n_given;
    const pn_array *results; /* what later segments read, and results of the whole */
    int n_results;
};

struct pn_cut {
    struct pn_arena arena;
    struct pn_segment *segments;
    int n_segments;
};

/* `device_of` has a device's number for each node (leaves and views do not matter). A graph with INPUT leaves is not
 * cut. */
pantry_status pn_cut_new(const struct pn_graph *graph, const pn_array *results, int n_results, const int8_t *device_of,
                         struct pn_cut **out, struct pantry_error *err);
void pn_cut_free(struct pn_cut *cut);

#endif
