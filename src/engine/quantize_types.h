/* The mixes of storage types: which tensor of a model gets which type. The rules are llama.cpp's, so that files of one
 * name have the same types everywhere. */
#ifndef PN_ENGINE_QUANTIZE_TYPES_H
#define PN_ENGINE_QUANTIZE_TYPES_H

#include "base/status.h"
#include "format/weights.h"
#include "tensor/type.h"

/* "Q4_K_M" and so on, and the plain types. */
struct pn_mix {
    const char *name;
    int file_type; /* general.file_type */
    pn_type base;
};

/* A mix by its name, without regard to case. PANTRY_NOT_FOUND: the error lists all. */
pantry_status pn_mix_find(const char *name, const struct pn_mix **out, struct pantry_error *err);

/* What the user asks for. */
struct pn_mix_requests {
    const char *const *patterns; /* of names, PCRE2, found anywhere */
    const pn_type *types;        /* of the patterns */
    size_t n_patterns;
    bool has_output, has_embedding;
    pn_type output, embedding;
    bool pure;       /* all matrices get the mix's base type */
    bool importance; /* there is an importance matrix */
};

/* Whether a tensor may be quantized: matrices, but no norms, routers, convolutions and other small tables. */
bool pn_mix_quantizes(const struct pn_tensor_info *tensor);
/* Fills types[i] for each tensor of the weights; *n_fallbacks counts rows that blocks do not divide. */
pantry_status pn_mix_types(const struct pn_weights *weights, const struct pn_mix *mix,
                           const struct pn_mix_requests *requests, pn_type *types, size_t *n_fallbacks,
                           struct pantry_error *err);
/* The type that replaces one whose blocks do not divide a row of `n` values. */
pn_type pn_mix_fallback(pn_type type, int64_t n);

#endif
