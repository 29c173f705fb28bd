/* The options of sampling that a model carries and that requests, settings and commands set: one table of their names,
 * types and ranges. The names are those of Ollama and llama.cpp. */
#ifndef PN_STORE_SAMPLING_H
#define PN_STORE_SAMPLING_H

#include "base/status.h"

enum { PN_SAMPLING_TEXTS = 64, PN_SAMPLING_ORDER = 256 };

/* Texts of an option. */
struct pn_sampling_texts {
    const char *item[PN_SAMPLING_TEXTS];
    size_t n;
    bool given; /* n may be 0 */
};

struct pn_sampling_field {
    const char *name;
    bool whole;         /* an int, else a float */
    bool more;          /* of struct pantry_samplers, else of struct pantry_sampling */
    double least, most; /* what is allowed */
    size_t offset;      /* in that struct */
};

enum { PN_N_SAMPLING_FIELDS = 23 };
extern const struct pn_sampling_field pn_sampling_fields[PN_N_SAMPLING_FIELDS];

/* The field with this name; NULL: none. */
const struct pn_sampling_field *pn_sampling_find(const char *name);
/* Where its value is. */
void *pn_sampling_at(const struct pn_sampling_field *field, struct pantry_sampling *sampling,
                     struct pantry_samplers *more);
/* Sets a number, which is in range. */
void pn_sampling_set(const struct pn_sampling_field *field, double value, struct pantry_sampling *sampling,
                     struct pantry_samplers *more);
/* Turns the values that mean "off" elsewhere into the library's: top_k -1, top_p 0. */
void pn_sampling_settle(struct pantry_sampling *sampling);

#endif
