/* The parameters that a model of the store may set (PARAMETER in a Modelfile): their names, types and ranges. Requests
 * and options of commands come before them. */
#ifndef PN_STORE_PARAMETERS_H
#define PN_STORE_PARAMETERS_H

#include "base/alloc.h"
#include "base/status.h"
#include "store/sampling.h"

#include <jansson.h>
#include <stdbool.h>

struct pn_parameters {
    struct pantry_sampling sampling;
    struct pantry_samplers more;        /* without its texts */
    int max_tokens, n_context, n_batch; /* 0: not set, or no limit */
    struct pn_sampling_texts stop, breakers, banned;
    const char *order;        /* NULL: the usual one */
    bool has_seed, has_limit; /* has_limit: max_tokens was set */
};

/* Sets what the object `params` (NULL: nothing) has and leaves the rest. Texts are borrowed from it. PANTRY_INVALID: a
 * wrong type or range; PANTRY_UNSUPPORTED: a parameter that nothing here honours. */
pantry_status pn_parameters_read(const json_t *params, struct pn_parameters *out, struct pantry_error *err);
/* Adds a parameter as a Modelfile writes it; `stop` may come several times. */
pantry_status pn_parameters_add(json_t *params, const char *name, const char *text, struct pantry_error *err);
/* Calls `put` with the value's text for each parameter, for each of several stop texts. */
void pn_parameters_each(const json_t *params, void (*put)(void *user, const char *name, const char *text), void *user);

#endif
