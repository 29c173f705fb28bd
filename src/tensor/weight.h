/* Weights: where a tensor's numbers are, in which storage type, and how to read them by row.
 *
 * A weight is a matrix, a vector (one row) or a stack of matrices. Its numbers are in one plane, or in several if
 * scales and biases are separate (MLX). Matrices of a stack follow each other at one stride, or are at the addresses in
 * `mats` (experts stored as separate tensors). Always find a row through pn_weight_at or pn_weight_decode.
 *
 * Constants that a model computes once (rotary frequencies, reciprocals, tables of biases) are weights too. */
#ifndef PN_TENSOR_WEIGHT_H
#define PN_TENSOR_WEIGHT_H

#include "base/alloc.h"
#include "tensor/type.h"

struct pn_plane {
    const void *data; /* row 0 of matrix 0; unused with `mats` */
    size_t row_bytes; /* from one row to the next */
    size_t mat_bytes; /* from one matrix of a stack to the next */
    pn_type type;     /* of the plane's numbers; for the values, the weight's */
};

struct pn_weight {
    const char *name;
    pn_type type;
    int64_t n_mat, n_rows, n_cols; /* (n_mat, n_rows, n_cols), n_cols contiguous */
    int group;                     /* values that share a scale, if scales have a plane; else 0 */
    int n_planes;
    struct pn_plane plane[PN_MAX_PLANES];
    const void *const *mats; /* [m * n_planes + p]: where plane p of matrix m starts; NULL: at one stride */
    /* The tensor that this is a part of (some rows, or another shape); NULL: a whole tensor. Parts share the tensor's
     * id, so devices place a tensor once, however many leaves read it. */
    const struct pn_weight *whole;
    uint64_t id; /* of the tensor, unique in the process; 0: no device needs to place it */
};

/* A weight with one plane whose rows and matrices follow each other without gaps. */
struct pn_weight pn_weight_plain(const char *name, pn_type type, int64_t n_mat, int64_t n_rows, int64_t n_cols,
                                 const void *data);
/* Reserves `n` new ids; returns the first. */
uint64_t pn_weight_ids(size_t n);
/* A new float32 matrix with its own id, allocated in `arena`; fill in *values. NULL: out of memory. */
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
/* The values of a row, if they are stored as aligned float32; else NULL. */
const float *pn_weight_floats(const struct pn_weight *w, int64_t mat, int64_t row);

/* The size in bytes, of all planes and matrices. */
uint64_t pn_weight_bytes(const struct pn_weight *w);
/* Collects the whole tensors of `n` weights, which a device has to place: each once, by rising id, without those that
 * have no id. `out` has room for n and may be `weights`. Returns their number. */
size_t pn_weight_wholes(const struct pn_weight *const *weights, size_t n, const struct pn_weight **out);

#endif
