/* The handlers of Ollama's API, for its table of routes. */
#ifndef PN_SERVER_API_OLLAMA_H
#define PN_SERVER_API_OLLAMA_H

#include "server/server.h"

pn_route_fn pn_ollama_generate, pn_ollama_chat, pn_ollama_embed, pn_ollama_embeddings;
/* A keep_alive: "5m", "1h30m", 300 (seconds), -1 (forever), 0 (unload at once). */
pantry_status pn_ollama_duration(const json_t *value, struct pn_keep_alive *out, struct pantry_error *err);

#endif
