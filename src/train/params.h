/* Trained numbers: blocks of float32 that leaves of a graph read in place, their gradients, and the state that an
 * optimizer keeps for them. */
#ifndef PN_TRAIN_PARAMS_H
#define PN_TRAIN_PARAMS_H

#include "base/alloc.h"
#include "base/status.h"
#include "tensor/graph.h"

enum { PN_TRAIN_MOMENTS = 2 };

struct pn_train_param {
    const char *name;
    float *values, *grad;
    float *moment[PN_TRAIN_MOMENTS]; /* of the optimizer; NULL: it has none */
    size_t n;
    int64_t rows, cols; /* as a matrix; a stack has the rows of all its matrices */
    int64_t n_mat;
    bool turned; /* the file has rows and columns exchanged */
};

struct pn_train_params {
    struct pn_arena arena;
    struct pn_train_param *data; /* by address of their values after pn_train_params_ready */
    size_t len, cap;
    size_t n; /* of all values */
};

/* Adds the values of a float32 weight without gaps; a block that is known already is not added again. */
pantry_status pn_train_params_add(struct pn_train_params *p, const char *name, const struct pn_weight *w, bool turned,
                                  struct pantry_error *err);
/* Sorts the blocks, and allocates gradients and `n_moments` moments, all 0. */
pantry_status pn_train_params_ready(struct pn_train_params *p, int n_moments, struct pantry_error *err);
void pn_train_params_free(struct pn_train_params *p);

/* The block with the values of a leaf's first row; NULL: the leaf is not trained. */
const struct pn_train_param *pn_train_params_of(const struct pn_train_params *p, const struct pn_weight *leaf);
/* Adds a leaf's gradient, (n_mat * n_rows, n_cols), to those of its blocks. */
void pn_train_params_add_grad(struct pn_train_params *p, const struct pn_weight *leaf, const float *grad);

#endif
