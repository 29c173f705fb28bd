/* Models of Hugging Face: hf.co/<user>/<repo>[:<quant>]. A repository is a list of files; the one GGUF file that fits
 * the quant is the model. */
#ifndef PN_STORE_HUB_H
#define PN_STORE_HUB_H

#include "store/registry.h"

bool pn_hub_has(const struct pn_model_name *name);
/* The server: HF_ENDPOINT or https://huggingface.co. */
const char *pn_hub_origin(void);

/* Asks for the repository's files and chooses one: *layer, and *url to get it from. PANTRY_NOT_FOUND if none fits,
 * PANTRY_INVALID with their names if several do. Caller frees *url. */
pantry_status pn_hub_find(struct pn_registry *hub, struct pn_layer *layer, char **url, struct pantry_error *err);

/* The choice alone, from the server's answer; *path: caller frees. */
pantry_status pn_hub_choose(const char *text, size_t n, const char *quant, struct pn_layer *layer, char **path,
                            struct pantry_error *err);

#endif
