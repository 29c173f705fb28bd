/* Weights: the places of a tensor's numbers, in their storage type, and functions that read them by row.
 *
 * A weight is a matrix, a vector (one row) or a stack of matrices. Its numbers are in one plane, or in several if
 * scales and biases are separate (MLX). Matrices of a stack follow each other at one stride, or are at the addresses in
 * `mats` (experts that are separate tensors). Nothing else may compute the address of a row: call pn_weight_at or
 * pn_weight_decode.
 *
 * Numbers that a model computes once (rotary frequencies, reciprocals, tables of biases) are weights too: constants. */
#ifndef PN_TENSOR_WEIGHT_H
#define PN_TENSOR_WEIGHT_H

#include "base/alloc.h"
#include "tensor/type.h"

struct pn_plane {
    const void *data; /* row 0 of matrix 0; unused with `mats` */
    size_t row_bytes; /* from one row to the next */
    size_t mat_bytes; /* from one matrix of a stack to the next */
    pn_type type;     /* type of its numbers; of the values: the weight's */
};

struct pn_weight {
    const char *name;
    pn_type type;
    int64_t n_mat, n_rows, n_cols; /* (n_mat, n_rows, n_cols), n_cols contiguous */
    int group;                     /* values per scale if scales have a plane, else 0 */
    int n_planes;
    struct pn_plane plane[PN_MAX_PLANES];
    const void *const *mats; /* start of plane p of matrix m: [m * n_planes + p]; NULL: one stride */
    /* The tensor that it is a part of (some rows, or the same numbers in another shape); NULL: a whole tensor. Parts
     * share the tensor's id, so devices place a tensor once for all leaves that read it. */
    const struct pn_weight *whole;
    uint64_t id; /* of the tensor, unique in the process; 0: no device needs to place it */
};

/* A weight with one plane whose rows and matrices follow each other without gaps. */
struct pn_weight pn_weight_plain(const char *name, pn_type type, int64_t n_mat, int64_t n_rows, int64_t n_cols,
                                 const void *data);
/* Reserves n ids and returns the first. */
uint64_t pn_weight_ids(size_t n);
/* A float32 matrix with its own id and numbers to fill in, all in `arena`. NULL: out of memory. */
const struct pn_weight *pn_weight_constant(struct pn_arena *arena, const char *name, int64_t n_rows, int64_t n_cols,
                                           float **values);

/* Where a row starts in a plane. */
static inline const void *pn_weight_at(const struct pn_weight *w, int plane, int64_t mat, int64_t row)
{
    const struct pn_plane *p = &w->plane[plane];
    const void *base = w->mats ? w->mats[mat * w->n_planes + plane] : p->data;
    return (const char *)base + (w->mats ? 0 : (size_t)mat * p->mat_bytes) + (size_t)row * p->row_bytes;
}

/* Decodes values first .. first + n - 1 of a row to float32; `first` and `n` are multiples of the type's block. Exact:
 * the reference of every kernel. */
void pn_weight_decode(const struct pn_weight *w, int64_t mat, int64_t row, int64_t first, int64_t n, float *dst);
/* The values of a row in place if they are aligned float32, else NULL. */
const float *pn_weight_floats(const struct pn_weight *w, int64_t mat, int64_t row);

/* Bytes of its numbers, in all planes and matrices. */
uint64_t pn_weight_bytes(const struct pn_weight *w);
/* The tensors of `n` weights, each once, by rising id: a device has to place these. Tensors without an id are left out.
 * `out` has room for n, and may be `weights`. Returns their number. */
size_t pn_weight_wholes(const struct pn_weight *const *weights, size_t n, const struct pn_weight **out);

#endif
