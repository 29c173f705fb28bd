/* `pantry create` by a service on another machine: it gets the files that it lacks, and then makes the model. */
#ifndef PN_CLI_REMOTE_CREATE_H
#define PN_CLI_REMOTE_CREATE_H

#include "cli/client.h"
#include "store/create.h"

/* Reports progress, unless `quiet`, and errors; exit status. */
int pn_remote_create(const struct pn_client *client, const char *name, const struct pn_create *create, bool quiet);

#endif
