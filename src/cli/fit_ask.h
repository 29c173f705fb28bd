/* Before a model is pulled or run: whether it will fit and be quick here, and what would. */
#ifndef PN_CLI_FIT_ASK_H
#define PN_CLI_FIT_ASK_H

#include "cli/fit.h"

/* The nearest model that fits in place of `name`: of its repository the best quant, else the largest of the catalog.
 * False: none does. */
bool pn_fit_nearest(const char *name, const struct pn_fit_question *question, char *instead, size_t size,
                    struct pn_fit *fit);

struct pn_fit_answer {
    char name[256]; /* the model that is wanted now */
    bool changed;   /* it is another one */
};
/* On a terminal, warns of a model that will not fit or will be slow, and asks where it will not fit. Says nothing to
 * scripts, and nothing where it cannot judge: then what follows has the error. PN_CLI_GO_ON, or the exit status if the
 * user does not want it. */
int pn_fit_ask(const char *name, const struct pn_machine *machine, bool insecure, struct pn_fit_answer *answer);

#endif
