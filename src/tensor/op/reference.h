/* Shared by the files in op/: the references' prototypes and how they walk over arrays. */
#ifndef PN_TENSOR_OP_REFERENCE_H
#define PN_TENSOR_OP_REFERENCE_H

#include "tensor/op.h"

pn_op_fn pn_ref_embed, pn_ref_rows, pn_ref_pool, pn_ref_kind_embed, pn_ref_add, pn_ref_mul, pn_ref_scale, pn_ref_act,
    pn_ref_softcap, pn_ref_rms_norm, pn_ref_layer_norm, pn_ref_rope_table, pn_ref_rope, pn_ref_pos_scale, pn_ref_matmul,
    pn_ref_cache_write, pn_ref_attention, pn_ref_clamp, pn_ref_concat, pn_ref_pos_embed, pn_ref_route,
    pn_ref_matmul_each, pn_ref_each_scale, pn_ref_each_bias, pn_ref_each_sum, pn_ref_mul_heads, pn_ref_conv,
    pn_ref_ssm_scan, pn_ref_delta, pn_ref_cutoff, pn_ref_match, pn_ref_mix;

static inline float *pn_view_at(struct pn_strided v, int64_t row, int64_t head)
{
    return v.data + row * v.stride0 + head * v.stride1;
}

/* Values of a weight vector or matrix row, decoded to float32 (caller frees); NULL when memory is out. */
float *pn_ref_weight_row(const struct pn_weight *w, int64_t row);

/* True if `a` is an activation (not a weight and not PN_NONE); otherwise records that `what` must be one. */
bool pn_op_want_rows(struct pn_graph *g, pn_array a, const char *what);

/* Whether the heads of a row follow each other without gaps, as those of every array do that is no slice. */
bool pn_op_contiguous(const struct pn_graph *g, pn_array x);

/* Whether `a` is a weight of one row of n values. */
bool pn_op_is_vector(const struct pn_graph *g, pn_array a, int64_t n);

/* What errors call an operand: the weight's name, or the operation that makes it. */
const char *pn_op_what(const struct pn_graph *g, pn_array a);

#endif
