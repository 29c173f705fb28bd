/* Shared by `pantry template` and `pantry parse`: a template's source, a context, and their errors. */
#ifndef PN_CLI_TEMPLATE_H
#define PN_CLI_TEMPLATE_H

#include "cli/options.h"
#include "pantry.h"

enum { PN_TEMPLATE_LIMIT = 16 << 20, PN_CONTEXT_LIMIT = 256 << 20 };

struct pn_template_choice {
    const char *template_file, *context_file;
};

enum { PN_N_TEMPLATE_OPTIONS = 2 };
extern const struct pn_option pn_template_options[PN_N_TEMPLATE_OPTIONS]; /* of struct pn_template_choice */

/* The source of --template FILE, or of the template in the model `name`. Caller frees with free. */
int pn_cli_template_source(const struct pn_template_choice *choice, const char *name, char **source, size_t *len);

/* Prints an error that the template raised, word for word after "template error: ". Exit status. */
int pn_cli_template_fail(const struct pantry_error *error);

#endif
