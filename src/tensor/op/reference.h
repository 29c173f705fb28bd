/* Shared by the files in op/: the references' prototypes and what shape rules ask. */
#ifndef PN_TENSOR_OP_REFERENCE_H
#define PN_TENSOR_OP_REFERENCE_H

#include "tensor/op.h"

#define PN_REF_DECLARE_LEAF(name)
#define PN_REF_DECLARE_VIEW(name)
#define PN_REF_DECLARE_ROW(name)       pn_op_fn pn_ref_##name;
#define PN_REF_DECLARE_WIDE(name)      pn_op_fn pn_ref_##name;
#define PN_OP(NAME, name, kind, trait) PN_REF_DECLARE_##kind(name)
#include "tensor/op.def"
#undef PN_OP

/* Values of a weight vector or matrix row, decoded to float32 (caller frees); NULL when memory is out. */
float *pn_ref_weight_row(const struct pn_weight *w, int64_t row);

/* n floats of the state of an operation of a sequence, as they are before the step, where the step leaves them. */
float *pn_ref_state(const struct pn_op_args *a, const struct pn_batch_seq *seq, size_t n);

/* True if `a` is an activation (not a weight and not PN_NONE); otherwise records that `what` must be one. */
bool pn_op_want_rows(struct pn_graph *g, pn_array a, const char *what);

/* Whether the heads of a row follow each other without gaps, as those of every array do that is no slice. */
bool pn_op_contiguous(const struct pn_graph *g, pn_array x);

/* Whether `a` is a weight of one row of n values. */
bool pn_op_is_vector(const struct pn_graph *g, pn_array a, int64_t n);

/* What errors call an operand: the weight's name, or the operation that makes it. */
const char *pn_op_what(const struct pn_graph *g, pn_array a);

#endif
