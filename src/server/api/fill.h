/* Prompts that fill in the middle of a text, with the tokens that models know its parts by; and llama.cpp's /infill. */
#ifndef PN_SERVER_API_FILL_H
#define PN_SERVER_API_FILL_H

#include "base/alloc.h"
#include "server/server.h"

/* Appends the prompt for what goes between `prefix` (n bytes) and `suffix`. `name` is the field with the suffix, for
 * errors. PANTRY_UNSUPPORTED: the model has no such tokens. */
pantry_status pn_fill_prompt(const struct pn_loaded *loaded, const char *name, const char *prefix, size_t n,
                             const char *suffix, struct pn_buf *out, struct pantry_error *err);

pn_route_fn pn_fill_infill;

#endif
