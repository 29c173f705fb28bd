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
    int32_t group;
};

/* What a file has as one array: blocks whose rows follow one another, or the separate matrices of a stack. */
struct pn_train_group {
    int64_t n_mat, rows, cols; /* rows: of each matrix */
    bool turned;               /* the file has rows and columns exchanged */
    bool vector;               /* the file has one dimension */
    float *row_means,
        *col_means; /* (n_mat, rows), (n_mat, cols) of the optimizer; of a vector: (cols), none. Or NULL */
};

/* What an optimizer keeps: so many numbers for each trained one; means of rows and columns. */
struct pn_train_keeps {
    int n_moments;
    bool factors;
};

struct pn_train_params {
    struct pn_arena arena;
    struct pn_train_param *data; /* by address of their values after pn_train_params_sort */
    size_t len, cap;
    size_t n; /* of all values */
    struct {
        struct pn_train_group *data;
        size_t len, cap;
    } groups;
};

/* How pn_train_params_add takes a weight. `joins`: its rows go on with those of the weight before. */
struct pn_train_form {
    bool turned, vector, joins;
};

/* Adds the values of a float32 weight without gaps; a block that is known already is not added again. */
pantry_status pn_train_params_add(struct pn_train_params *p, const char *name, const struct pn_weight *w,
                                  struct pn_train_form form, struct pantry_error *err);
/* Sorts the blocks; then pn_train_params_of works. */
pantry_status pn_train_params_sort(struct pn_train_params *p, struct pantry_error *err);
/* Numbers of gradients and of the optimizer's state. */
size_t pn_train_params_n_state(const struct pn_train_params *p, struct pn_train_keeps keeps);
/* Allocates gradients and the optimizer's state, all 0. */
pantry_status pn_train_params_ready(struct pn_train_params *p, struct pn_train_keeps keeps, struct pantry_error *err);
void pn_train_params_free(struct pn_train_params *p);

/* The block with the values of a leaf's first row; NULL: the leaf is not trained. */
const struct pn_train_param *pn_train_params_of(const struct pn_train_params *p, const struct pn_weight *leaf);
/* Adds a leaf's gradient, (n_mat * n_rows, n_cols), to those of its blocks. */
void pn_train_params_add_grad(struct pn_train_params *p, const struct pn_weight *leaf, const float *grad);

#endif
