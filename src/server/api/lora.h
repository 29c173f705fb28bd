/* Adapters as llama.cpp's server has them: /lora-adapters, and the field "lora" of a request. */
#ifndef PN_API_LORA_H
#define PN_API_LORA_H

#include "server/server.h"

pn_route_fn pn_lora_list;
pn_route_fn pn_lora_set; /* its body is an array */

/* Holds the model that a request names, with the adapters of its field "lora", [{"id": 0, "scale": 1}, ...]: those that
 * it leaves out are not used. Without the field, with those in the model's name, or those for all requests. */
pantry_status pn_lora_hold(struct pn_server *server, const char *model, const json_t *body, struct pn_loaded **out,
                           bool *loaded_now, struct pantry_error *err);

#endif
