/* Whether a model fits on a machine, and how fast it will be: for `pantry fit`. */
#ifndef PN_CLI_FIT_H
#define PN_CLI_FIT_H

#include "cli/kept.h"
#include "cli/model.h"
#include "monitor/chips.h"

/* The machine that is asked about: this one, or a chip of the table. */
struct pn_fit_machine {
    const struct pn_chip *chip; /* NULL: this one */
    struct pn_limits limits;    /* of this one; of a chip, from the table */
    bool rough;                 /* the limits are only guessed from the bandwidth */
    uint64_t total, usable;     /* bytes of memory, and those that models can use; of a card, its own */
    uint64_t beside;            /* main memory beside a card that models can use; 0: none */
    struct pn_run runs[PN_KEPT_RUNS];
    size_t n_runs; /* own runs, for corrections */
};

/* What is asked about a model. */
struct pn_fit_question {
    const struct pn_machine *machine;
    const struct pn_fit_machine *on;
    int n_sequences; /* that run together */
    bool insecure;   /* http to a registry on another machine */
};

/* A model on that machine. */
struct pn_fit {
    struct pantry_model_info info; /* strings are not valid */
    struct pantry_estimate need;
    uint64_t have;   /* bytes that it may use */
    uint64_t remote; /* bytes to download; 0: it is here, or a shape */
    uint64_t read;   /* of these, what was fetched to judge it */
    bool fits;
    double share;          /* of weights, keys and values, on the card; 1 without a card */
    double step_seconds;   /* of a token at the end of the context */
    double first_seconds;  /* of such a step at its beginning */
    double prompt_seconds; /* of a prompt of `n_prompt` tokens */
    int n_prompt;
    struct pn_prediction sure; /* how far the seconds may be off, and after which runs */
};

/* The usual prompt, for times to the first token. */
enum { PN_FIT_PROMPT = 512 };

/* Tokens per second: less is slow. */
#define PN_FIT_SLOW 5.0

/* These report errors and return an exit status. */

/* Takes the limits that were measured and kept; measures if there are none for this device, or with `again`. */
int pn_fit_this_machine(const struct pn_machine *machine, bool again, struct pn_fit_machine *out);
/* The same without measuring for seconds: where nothing is kept, the limits are guessed. */
int pn_fit_this_machine_now(const struct pn_machine *machine, struct pn_fit_machine *out);
/* `memory`: 0: the most that it is sold with. `ram`: main memory beside a card, 0: none. */
int pn_fit_chip(const char *name, uint64_t memory, uint64_t ram, struct pn_fit_machine *out);
/* `name`: SHAPE:TYPE, a model of the store, a file, or what could be pulled, of which only heads are read. */
int pn_fit_model(const char *name, const struct pn_fit_question *question, struct pn_fit *out);
/* The same; the error is for the caller. */
pantry_status pn_fit_look(const char *name, const struct pn_fit_question *question, struct pn_fit *out,
                          struct pantry_error *err);
/* Whether the name is SHAPE:TYPE; `shape` alone counts too, with NULL in *type. */
bool pn_fit_is_shape(const char *name, const char **type);

/* The work of a model for predictions, with keys and values of n_past tokens at their share of the estimate's context,
 * and a prompt of n_prompt tokens. */
struct pn_work pn_fit_work(const char *name, const struct pantry_estimate *need, int n_layer, int n_past, int n_prompt);

#endif
