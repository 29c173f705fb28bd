/* Storage types of directories, between matrix.c and packed.c. */
#ifndef PN_MODEL_HF_STORAGE_H
#define PN_MODEL_HF_STORAGE_H

#include "model/hf/hf.h"
#include "tensor/weight.h"

/* The tensor whose name has `end` instead of the weight's; NULL: none. */
const struct pn_st_tensor *pn_hf_beside(const struct pn_hf *hf, const struct pn_st_tensor *t, const char *end);
/* The storage type of plain numbers. */
bool pn_hf_plain_type(enum pn_st_type from, pn_type *out);
/* Fills in the logical shape, and makes a weight with it. */
bool pn_hf_shape(struct pn_hf *hf, const struct pn_st_tensor *t, const int64_t *shape, int n_dims,
                 struct pn_hf_matrix *out);
/* A plane whose rows and matrices follow each other. */
void pn_hf_plane(struct pn_weight *w, int plane, const void *data, size_t row_bytes, pn_type type);
/* Number i of a tensor of floats or integers, and how many there are. */
float pn_hf_number(const struct pn_st_tensor *t, size_t i);
size_t pn_hf_count(const struct pn_st_tensor *t);
/* n x m floats of the arena; NULL after an error. */
float *pn_hf_floats(struct pn_hf *hf, size_t n, size_t m);

/* packed.c: integers that are packed across the rows (GPTQ, AWQ) are copied into the order of rows; those packed along
 * them (compressed-tensors) and indices into a table (bitsandbytes) stay in place. */
bool pn_hf_packed_across(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out);
bool pn_hf_packed_along(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out);
bool pn_hf_codes(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out);

#endif
