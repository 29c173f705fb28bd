/* Whether a model fits on a machine, and how fast it will be: for `pantry fit`. */
#ifndef PN_CLI_FIT_H
#define PN_CLI_FIT_H

#include "cli/model.h"
#include "monitor/chips.h"
#include "monitor/limits.h"

/* The machine that is asked about: this one, or a chip of the table. */
struct pn_fit_machine {
    const struct pn_chip *chip; /* NULL: this one */
    struct pn_limits limits;    /* of this one; of a chip, from the table */
    uint64_t total, usable;     /* bytes of memory, and those that models can use */
};

/* A model on that machine. */
struct pn_fit {
    struct pantry_model_info info; /* strings are not valid */
    struct pantry_estimate need;
    bool fits;
    double step_seconds;   /* of a token at the end of the context */
    double first_seconds;  /* of such a step at its beginning */
    double prompt_seconds; /* of a prompt of `n_prompt` tokens */
    int n_prompt;
};

/* The usual prompt, for times to the first token. */
enum { PN_FIT_PROMPT = 512 };

/* These report errors and return an exit status. */

/* Takes the limits that were measured and kept; measures if there are none for this device, or with `again`. */
int pn_fit_this_machine(const struct pn_machine *machine, bool again, struct pn_fit_machine *out);
int pn_fit_chip(const char *name, uint64_t memory, struct pn_fit_machine *out);
/* `name`: SHAPE:TYPE, a model of the store, or a file. Pulls nothing. `n_sequences` run together. */
int pn_fit_model(const char *name, const struct pn_machine *machine, const struct pn_fit_machine *on, int n_sequences,
                 struct pn_fit *out);
/* Whether the name is SHAPE:TYPE; `shape` alone counts too, with NULL in *type. */
bool pn_fit_is_shape(const char *name, const char **type);

#endif
