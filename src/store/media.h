/* What the layers of a manifest are: Ollama's media types, and those of OCI artifacts with GGUF files (Docker's models,
 * CNCF's ModelPack, files that ORAS pushed). */
#ifndef PN_STORE_MEDIA_H
#define PN_STORE_MEDIA_H

#include "store/internal.h"

#include <jansson.h>

#define PN_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define PN_TYPE_MODEL        "application/vnd.ollama.image.model"
#define PN_TYPE_PROJECTOR    "application/vnd.ollama.image.projector"
#define PN_TYPE_FILE         "application/vnd.pantry.image.file" /* of a Hugging Face directory; its title is its name */
#define PN_KEY_TITLE         "org.opencontainers.image.title"

/* May a manifest with a layer of this type be a model's? */
bool pn_media_is_known(const json_t *layer);

/* The layers with the model: one, or the parts of one in their order. If their titles have numbers,
 * "x-00001-of-00003.gguf", these say the order, else they are in it already. Or all files of a Hugging Face directory:
 * *folder. `models` has room for PN_LAYERS_MAX. PANTRY_FORMAT if it is not so. */
pantry_status pn_media_models(const json_t *layers, const json_t **models, size_t *n, bool *folder,
                              struct pantry_error *err);
/* The name of a layer's file, or "". */
const char *pn_media_title(const json_t *layer);

/* A file by itself whose title says that it is GGUF. */
bool pn_media_is_gguf(const json_t *layer);

/* May a file of this name be a part of a directory's model: its weights, tokenizer and so on? It has no '/', and is
 * safe as a file name. */
bool pn_media_is_part(const char *name);
bool pn_media_is_weights(const char *name); /* safetensors */

#endif
