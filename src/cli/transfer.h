/* Pulling a model with a bar, and with a question where several files fit. */
#ifndef PN_CLI_TRANSFER_H
#define PN_CLI_TRANSFER_H

#include <stdbool.h>

struct pn_cli_pull {
    bool insecure;
    bool json;        /* the progress, on standard output */
    const char *name; /* of a URL's model in the store; NULL: that of the file */
};

/* Pulls what the name or URL means, with progress on standard error. Reports errors. Caller frees *path. Exit status.
 */
int pn_cli_pull_model(const char *name, const struct pn_cli_pull *pull, char **path);

#endif
