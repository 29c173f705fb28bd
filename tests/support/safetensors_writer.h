/* Writes safetensors files and model directories for tests. If memory runs out, the test program ends. */
#ifndef PN_TESTS_SAFETENSORS_WRITER_H
#define PN_TESTS_SAFETENSORS_WRITER_H

#include "base/alloc.h"

#include <stdint.h>

struct stw {
    struct pn_buf header, data; /* the header without its braces */
};

void stw_free(struct stw *w);
/* A tensor of `bytes` bytes; shape is outermost first. */
void stw_tensor(struct stw *w, const char *name, const char *dtype, int n_dims, const int64_t *shape, const void *data,
                size_t bytes);
/* The whole file, appended to `out`. */
void stw_bytes(const struct stw *w, struct pn_buf *out);
/* Writes bytes as folder/name. */
void stw_put(const char *folder, const char *name, const void *bytes, size_t n);
/* Writes the file as folder/name. */
void stw_file(const struct stw *w, const char *folder, const char *name);

#endif
