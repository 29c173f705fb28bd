/* What the layers of a manifest are: Ollama's media types, and those of OCI artifacts with GGUF files (Docker's models,
 * CNCF's ModelPack, files that ORAS pushed). */
#ifndef PN_STORE_MEDIA_H
#define PN_STORE_MEDIA_H

#include "store/internal.h"

#include <jansson.h>

enum { PN_LAYERS_MAX = 64 };

#define PN_TYPE_MANIFEST     "application/vnd.docker.distribution.manifest.v2+json"
#define PN_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define PN_TYPE_MODEL        "application/vnd.ollama.image.model"
#define PN_TYPE_PROJECTOR    "application/vnd.ollama.image.projector"
#define PN_KEY_TITLE         "org.opencontainers.image.title"

/* "sha256:" and 64 lower-case digits: the digits, or NULL. The only way from a manifest to a file name. */
const char *pn_digest_hex(const char *digest);

/* May a manifest with a layer of this type be a model's? */
bool pn_media_is_known(const json_t *layer);

/* The layers with the model: one, or the numbered parts of one, in their order. The parts say their numbers in their
 * titles, "x-00001-of-00003.gguf". `models` has room for PN_LAYERS_MAX. PANTRY_FORMAT if it is not so. */
pantry_status pn_media_models(const json_t *layers, const json_t **models, size_t *n, struct pantry_error *err);

/* Reads N and M of a name that ends in "-NNNNN-of-MMMMM.gguf"; false for another one. */
bool pn_media_part(const char *name, unsigned *number, unsigned *count);

/* ---- shards.c ---- */

/* A folder of links, models/shards/<hash of the digests>/model-NNNNN-of-MMMMM.gguf, gives the parts of a model the
 * names that its readers need. The path of the first; NULL: out of memory. Caller frees. */
char *pn_shards_path(const char *home, const struct pn_digest *parts, size_t n);
/* Makes the folder for the manifest `text`, if its model has parts. Needs the lock of the store. */
pantry_status pn_shards_link(const char *home, const char *text, size_t len, struct pantry_error *err);
/* Removes the folders whose blobs are gone. Needs the lock of the store. */
void pn_shards_tidy(const char *home);

#endif
