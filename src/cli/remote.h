/* The models of a service on another machine, for the commands that otherwise use the own store: all through Ollama's
 * API, so that a service of Ollama will do too. */
#ifndef PN_CLI_REMOTE_H
#define PN_CLI_REMOTE_H

#include "cli/client.h"

#include <stddef.h>

/* A model that can be run by name, here or there. */
struct pn_listed {
    char *name, *path, *source; /* path NULL: not known */
    uint64_t bytes;
    int base; /* 1: it has no chat template, 0: it has one, -1: not known */
};
struct pn_listed_all {
    struct pn_listed *data;
    size_t len, cap;
};
void pn_listed_free(struct pn_listed_all *all);

/* The models there; `names`: their names alone, in one call. Reports errors; exit status. Free *out. */
int pn_remote_list(const struct pn_client *client, bool names, struct pn_listed_all *out);

/* What pantry_describe says about a model there, with what the model carries: *root; *bytes: of all its files. Of
 * Ollama, which says less, what there is. Reports errors; exit status. Caller frees *root. */
int pn_remote_show(const struct pn_client *client, const char *name, json_t **root, uint64_t *bytes);

/* Lets the service pull or push a model, with progress on standard error or, as JSON, on standard output. Reports
 * errors; exit status. */
struct pn_remote_transfer {
    const char *name, *to; /* `to`: what a push calls it in the registry; NULL: the same */
    bool push, insecure, json;
};
int pn_remote_transfer(const struct pn_client *client, const struct pn_remote_transfer *transfer);

/* A request that changes the models there and has no reply; takes `body` over. Reports errors; exit status. */
int pn_remote_change(const struct pn_client *client, const char *method, const char *path, json_t *body);

#endif
