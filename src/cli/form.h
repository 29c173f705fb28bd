/* The form of answers: the options --json-schema, --grammar and --regex. */
#ifndef PN_CLI_FORM_H
#define PN_CLI_FORM_H

#include "cli/sampler.h"

/* Reads and compiles what the options name. Reports errors; exit status. Free it with pn_cli_form_free. */
int pn_cli_form_read(struct pn_cli_sampler *sampler);
void pn_cli_form_free(struct pn_cli_sampler *sampler);

#endif
