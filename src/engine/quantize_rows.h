/* Converts the rows of a tensor to another storage type, on several threads, in pieces of bounded size. */
#ifndef PN_ENGINE_QUANTIZE_ROWS_H
#define PN_ENGINE_QUANTIZE_ROWS_H

#include "base/threads.h"
#include "format/weights.h"

/* Gets the next bytes of the converted tensor. */
typedef pantry_status pn_rows_sink(void *user, const void *bytes, size_t n, struct pantry_error *err);

/* `weights`: of each column's squared errors, for each of `n_matrices` equal parts of the tensor; NULL: all 1.
 * `order`: the input's row for each row of the output; NULL: the same. */
pantry_status pn_quantize_rows(struct pn_pool *pool, int n_threads, const struct pn_tensor_info *tensor, pn_type to,
                               const float *weights, size_t n_matrices, const int64_t *order,
                               const pantry_cancel *cancel, pn_rows_sink *sink, void *user, struct pantry_error *err);

/* The squared error of `to` relative to the values' squares, both weighted, on at most `n_rows` rows. */
pantry_status pn_quantize_error(struct pn_pool *pool, const struct pn_tensor_info *tensor, pn_type to,
                                const float *weights, size_t n_matrices, size_t n_rows, double *out,
                                struct pantry_error *err);

#endif
