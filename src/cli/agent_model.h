/* The model that a coding agent gets, and how much fits its context. */
#ifndef PN_CLI_AGENT_MODEL_H
#define PN_CLI_AGENT_MODEL_H

#include "cli/client.h"

/* Checks that `wanted` can call tools; NULL: takes the largest model of the service that can, and that fits in what is
 * free of this machine's memory. Loads it, unless `look` says to change nothing, and tells its context. Reports errors;
 * returns an exit status. Caller frees *name. */
int pn_agent_model(const struct pn_client *client, const char *wanted, bool look, char **name, int *n_context);

#endif
