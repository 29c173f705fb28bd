/* Importance matrices in llama.cpp's two formats: the mean squared inputs of each product, per column of its weight.
 *
 * GGUF: tensors NAME.in_sum2 (matrices, columns) and NAME.counts (matrices, 1), the sums of squares and the numbers of
 * rows summed. The older format has one number of calls per entry and sums scaled to it. Matrices are the experts of a
 * stacked weight, else one. */
#ifndef PN_ENGINE_IMATRIX_FILE_H
#define PN_ENGINE_IMATRIX_FILE_H

#include "base/alloc.h"
#include "base/status.h"

struct pn_imatrix_entry {
    char *name; /* of the weight */
    size_t columns, matrices;
    double *sum;   /* (matrices, columns) of squared inputs */
    double *count; /* (matrices): rows in the sums */
};

struct pn_imatrix {
    struct {
        struct pn_imatrix_entry *data;
        size_t len, cap;
    } entries;
    struct {
        char **data; /* the texts' names */
        size_t len, cap;
    } datasets;
    uint32_t chunks, chunk_size;
};

/* Reads either format; the content decides. Adds to what *matrix has: sums, counts and chunks add up. PANTRY_FORMAT: a
 * malformed file, values that are not finite, or shapes that differ from those of the same entry. */
pantry_status pn_imatrix_add_file(struct pn_imatrix *matrix, const char *path, struct pantry_error *err);
/* The entry of a weight, made if it is missing; NULL when out of memory or with another shape. */
struct pn_imatrix_entry *pn_imatrix_entry(struct pn_imatrix *matrix, const char *name, size_t columns, size_t matrices);
const struct pn_imatrix_entry *pn_imatrix_find(const struct pn_imatrix *matrix, const char *name);
/* Notes that the data comes from this text. */
pantry_status pn_imatrix_add_dataset(struct pn_imatrix *matrix, const char *name, struct pantry_error *err);
/* Writes GGUF, or the older format if the name ends in ".dat". */
pantry_status pn_imatrix_write(const struct pn_imatrix *matrix, const char *path, struct pantry_error *err);
void pn_imatrix_free(struct pn_imatrix *matrix);

#endif
