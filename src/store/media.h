/* What the layers of a manifest are: Ollama's media types, and those of OCI artifacts with GGUF files (Docker's models,
 * CNCF's ModelPack, files that ORAS pushed). */
#ifndef PN_STORE_MEDIA_H
#define PN_STORE_MEDIA_H

#include "store/internal.h"

#include <jansson.h>

#define PN_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define PN_TYPE_MODEL        "application/vnd.ollama.image.model"
#define PN_TYPE_PROJECTOR    "application/vnd.ollama.image.projector"
#define PN_KEY_TITLE         "org.opencontainers.image.title"

/* May a manifest with a layer of this type be a model's? */
bool pn_media_is_known(const json_t *layer);

/* The layers with the model: one, or the parts of one in their order. If their titles have numbers,
 * "x-00001-of-00003.gguf", these say the order, else they are in it already. `models` has room for PN_LAYERS_MAX.
 * PANTRY_FORMAT if it is not so. */
pantry_status pn_media_models(const json_t *layers, const json_t **models, size_t *n, struct pantry_error *err);

#endif
