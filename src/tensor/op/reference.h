/* Shared by the files in op/: prototypes of the references, and helpers of shape rules. */
#ifndef PN_TENSOR_OP_REFERENCE_H
#define PN_TENSOR_OP_REFERENCE_H

#include "tensor/grad.h"
#include "tensor/op.h"

#define PN_REF_DECLARE_LEAF(name)
#define PN_REF_DECLARE_VIEW(name)
#define PN_REF_DECLARE_ROW(name)                 pn_op_fn pn_ref_##name;
#define PN_REF_DECLARE_WIDE(name)                pn_op_fn pn_ref_##name;
#define PN_OP(NAME, name, kind, trait, gradient) PN_REF_DECLARE_##kind(name)
#include "tensor/op.def"
#undef PN_OP

#define PN_GRAD_DECLARE_NONE(name)
#define PN_GRAD_DECLARE_OPEN(name)
#define PN_GRAD_DECLARE_RULE(name)               pn_grad_fn pn_back_##name;
#define PN_OP(NAME, name, kind, trait, gradient) PN_GRAD_DECLARE_##gradient(name)
#include "tensor/op.def"
#undef PN_OP

/* Values of a weight vector or matrix row, decoded to float32 (the caller frees them); NULL: out of memory. */
float *pn_ref_weight_row(const struct pn_weight *w, int64_t row);

/* Where a step leaves n floats of an operation's state of a sequence; filled with the state before the step. */
float *pn_ref_state(const struct pn_op_args *a, const struct pn_batch_seq *seq, size_t n);

/* True if `a` is an activation (not a weight and not PN_NONE); otherwise records that `what` must be one. */
bool pn_op_want_rows(struct pn_graph *g, pn_array a, const char *what);

/* Whether the heads of a row follow each other without gaps, as in every array that is not a slice. */
bool pn_op_contiguous(const struct pn_graph *g, pn_array x);

/* Whether `a` is a weight of one row of n values. */
bool pn_op_is_vector(const struct pn_graph *g, pn_array a, int64_t n);

/* The name of an operand in errors: the weight's, or that of the operation. */
const char *pn_op_what(const struct pn_graph *g, pn_array a);

#endif
