/* Safetensors files: named tensors, read in place from the map; docs/formats.md has the layout. */
#ifndef PN_FORMAT_SAFETENSORS_H
#define PN_FORMAT_SAFETENSORS_H

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

enum { PN_ST_MAX_DIMS = 8 };

/* The types that the format's authors list: PN_ST(NAME, bits) */
#define PN_ST_TYPES                                                                                                    \
    PN_ST(BOOL, 8)                                                                                                     \
    PN_ST(F4, 4)                                                                                                       \
    PN_ST(F6_E2M3, 6)                                                                                                  \
    PN_ST(F6_E3M2, 6)                                                                                                  \
    PN_ST(U8, 8)                                                                                                       \
    PN_ST(I8, 8)                                                                                                       \
    PN_ST(F8_E5M2, 8)                                                                                                  \
    PN_ST(F8_E4M3, 8)                                                                                                  \
    PN_ST(F8_E8M0, 8)                                                                                                  \
    PN_ST(I16, 16)                                                                                                     \
    PN_ST(U16, 16)                                                                                                     \
    PN_ST(F16, 16)                                                                                                     \
    PN_ST(BF16, 16)                                                                                                    \
    PN_ST(I32, 32)                                                                                                     \
    PN_ST(U32, 32)                                                                                                     \
    PN_ST(F32, 32)                                                                                                     \
    PN_ST(C64, 64)                                                                                                     \
    PN_ST(F64, 64)                                                                                                     \
    PN_ST(I64, 64)                                                                                                     \
    PN_ST(U64, 64)

enum pn_st_type {
#define PN_ST(name, bits) PN_ST_##name,
    PN_ST_TYPES
#undef PN_ST
        PN_ST_TYPE_COUNT
};

struct pn_st_tensor {
    const char *name; /* NUL-terminated UTF-8 without control characters */
    enum pn_st_type type;
    int n_dims;                    /* 0 (one number) to PN_ST_MAX_DIMS */
    int64_t shape[PN_ST_MAX_DIMS]; /* outermost first; unused ones are 1 */
    const unsigned char *data;     /* in the map; no alignment */
    size_t bytes;
    size_t map; /* index of the map */
};

struct pn_st_tensors {
    struct pn_st_tensor *data;
    size_t len, cap;
};

/* Appends the tensors of a mapped file, whose name is for messages. After success, their names are unique in the file
 * and printable, shapes fit their bytes, and the tensors cover the data region without gaps and overlaps. Names are
 * copied into the arena. `writer` becomes "format" of the file's metadata, if it has that. The caller frees out->data,
 * after an error too. */
pantry_status pn_safetensors_read(const struct pn_map *map, size_t number, const char *path, struct pn_arena *arena,
                                  struct pn_st_tensors *out, const char **writer, struct pantry_error *err);

const char *pn_st_type_name(enum pn_st_type type);
unsigned pn_st_type_bits(enum pn_st_type type);

#endif
