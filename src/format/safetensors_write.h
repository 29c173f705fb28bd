/* Writes safetensors files: a list of tensors, then their bytes in that order.
 *
 * As in gguf_write.h, the layout is known before the first byte is written, so memory holds the list only, and a file
 * gets its name when it is complete. With a split size, model.safetensors becomes model-00001-of-00003.safetensors and
 * so on, and model.safetensors.index.json says which tensor is where.
 *
 *     pn_st_writer_new("out/model.safetensors", &(struct pn_st_options){.format = "mlx"}, &writer, err);
 *     pn_st_add(writer, "model.norm.weight", PN_ST_BF16, 1, (const int64_t[]){2048}, err);
 *     pn_st_begin(writer, err);
 *     pn_st_write(writer, data, bytes, err);       // as often as needed, in the order of the tensors
 *     pn_st_finish(writer, err);
 *     pn_st_writer_free(writer);
 */
#ifndef PN_FORMAT_SAFETENSORS_WRITE_H
#define PN_FORMAT_SAFETENSORS_WRITE_H

#include "format/safetensors.h"

struct pn_st_options {
    uint64_t split_size; /* most bytes of tensors in a file, unless one tensor has more; 0: one file */
    const char *format;  /* who can read it, in the file's metadata: "pt", "mlx"; NULL: no metadata */
};

struct pn_st_writer;

/* The writer of `path`, which ends in .safetensors. Opens nothing yet. */
pantry_status pn_st_writer_new(const char *path, const struct pn_st_options *options, struct pn_st_writer **out,
                               struct pantry_error *err);
/* The next tensor; shape is outermost first, n_dims 0 is a single number. PANTRY_INVALID: a wrong or duplicate name, a
 * negative or too large shape, bits that are not whole bytes. */
pantry_status pn_st_add(struct pn_st_writer *writer, const char *name, enum pn_st_type type, int n_dims,
                        const int64_t *shape, struct pantry_error *err);
/* Lays out the files and writes their headers. */
pantry_status pn_st_begin(struct pn_st_writer *writer, struct pantry_error *err);
/* The next bytes of the current tensor; after its last one the next tensor is the current one. */
pantry_status pn_st_write(struct pn_st_writer *writer, const void *bytes, size_t n, struct pantry_error *err);
/* After the last byte: the files reach the disk and get their names, the index last. */
pantry_status pn_st_finish(struct pn_st_writer *writer, struct pantry_error *err);
/* Bytes of all tensors added so far. */
uint64_t pn_st_total(const struct pn_st_writer *writer);
/* Without pn_st_finish, removes the partial files. Accepts NULL. */
void pn_st_writer_free(struct pn_st_writer *writer);

#endif
