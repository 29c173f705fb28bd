/* The handlers of typed decisions: /v1/systemone as Ollama and TypeSafe have it, /v1/decisions as OpenAI has it. */
#ifndef PN_SERVER_API_DECISIONS_H
#define PN_SERVER_API_DECISIONS_H

#include "server/server.h"

pn_route_fn pn_decide_systemone, pn_decide_openai;

#endif
