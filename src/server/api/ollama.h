/* The handlers of Ollama's API, for its table of routes. */
#ifndef PN_SERVER_API_OLLAMA_H
#define PN_SERVER_API_OLLAMA_H

#include "server/answer.h"
#include "server/server.h"

pn_route_fn pn_ollama_generate, pn_ollama_chat, pn_ollama_embed, pn_ollama_embeddings;
pn_route_fn pn_ollama_tags, pn_ollama_ps, pn_ollama_version, pn_ollama_show;
pn_route_fn pn_ollama_pull, pn_ollama_push, pn_ollama_delete, pn_ollama_copy;
pn_route_fn pn_ollama_create, pn_ollama_has_blob, pn_ollama_put_blob;
/* The model's name, in one of two fields of a request, and the same where it must be one of the own store. */
pantry_status pn_ollama_field_name(const json_t *body, const char **out, struct pantry_error *err);
pantry_status pn_ollama_name(const json_t *body, const char **out, struct pantry_error *err);
/* Pulls a model for another request, with lines of progress in its stream (`stream`); *begun: the reply has begun. */
pantry_status pn_ollama_fetch(struct pn_server *s, struct pn_exchange *x, const char *name, bool stream, bool *begun,
                              pantry_cancel *cancel, struct pantry_error *err);
/* A keep_alive: "5m", "1h30m", 300 (seconds), -1 (forever), 0 (unload at once). */
pantry_status pn_ollama_duration(const json_t *value, struct pn_keep_alive *out, struct pantry_error *err);
/* The object `options`. PANTRY_UNSUPPORTED: one of them is not known. */
pantry_status pn_ollama_options(const json_t *fields, struct pn_answer_options *out, struct pantry_error *err);
/* Whether a chat template knows reasoning. NULL does not. */
bool pn_ollama_thinks(const char *template);

#endif
