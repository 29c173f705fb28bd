/* What a model of the store carries besides its weights: system message, template, parameters, ... */
#ifndef PN_STORE_CARRIED_H
#define PN_STORE_CARRIED_H

#include "store/store.h"

#include <jansson.h>

struct pn_carried {
    char *system;           /* the default of conversations; NULL: none, like the others */
    char *template;         /* in place of the file's */
    char *default_template; /* where the file has none: a pulled model's Go template, which nobody has checked */
    json_t *licenses;       /* array of texts */
    json_t *params;         /* object, as pn_parameters_read takes it; not checked */
    json_t *messages;       /* array of objects with role and content: how every conversation begins */
    json_t *adapters;       /* array of paths */
    json_t *projectors;
    json_t *drafts;
};

/* Reads it for a name, as pn_store_find takes it. Everything is NULL where the manifest has nothing. */
pantry_status pn_carried_read(const char *name, struct pn_carried *out, struct pantry_error *err);
/* The same for a name or a path, as pn_store_resolve takes it; a path carries nothing. */
pantry_status pn_carried_find(const char *model, struct pn_carried *out, struct pantry_error *err);
void pn_carried_free(struct pn_carried *carried);
/* The template that is used where the file has `own` (NULL: none). */
const char *pn_carried_template(const struct pn_carried *carried, const char *own);
/* The paths of its adapters, ended by NULL: at most `most` - 1, borrowed. */
void pn_carried_adapters(const struct pn_carried *carried, const char **out, size_t most);
/* The projector of the model at `path`: the first that it carries, or the only file mmproj*.gguf beside it. NULL: there
 * is none; caller frees. */
char *pn_carried_projector(const struct pn_carried *carried, const char *path);
/* A copy of a list of messages as a conversation with this model: what it carries comes first. The system message is
 * left out where the list begins with one. Caller decrefs. */
json_t *pn_carried_conversation(const struct pn_carried *carried, const json_t *messages);
/* A Modelfile that makes the same model. `from` is the path of the weights, `template` what is used, or NULL. NULL: out
 * of memory; caller frees. */
char *pn_carried_modelfile(const struct pn_carried *carried, const char *name, const char *from, const char *template);
/* The parameters, one per line, as `show --parameters` prints them. Caller frees. */
char *pn_carried_parameters(const struct pn_carried *carried);
/* All licences. NULL: none; caller frees. */
char *pn_carried_license(const struct pn_carried *carried);

#endif
