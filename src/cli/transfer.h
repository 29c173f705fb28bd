/* Pulling a model with a bar, and with a question where several files fit. */
#ifndef PN_CLI_TRANSFER_H
#define PN_CLI_TRANSFER_H

#include "cli/options.h"

/* The options of commands that transfer models. */
#define PN_OPT_INSECURE(offset_)                                                                                       \
    PN_OPT_FLAG("insecure", offset_, "use http, without encryption",                                                   \
                .more = "Names that begin with localhost or an address 127.* always use http, others https.")
#define PN_OPT_PROGRESS(offset_, route_)                                                                               \
    PN_OPT_FLAG("json", offset_, "print the progress as JSON, one object per line",                                    \
                .more = "The lines have the fields of Ollama's `" route_ "`.")

struct pn_cli_pull {
    bool insecure;
    bool json;        /* the progress, on standard output */
    const char *name; /* of a URL's model in the store; NULL: that of the file */
};

/* Pulls what the name or URL means, with progress on standard error. Reports errors. Caller frees *path. Exit status.
 */
int pn_cli_pull_model(const char *name, const struct pn_cli_pull *pull, char **path);

#endif
