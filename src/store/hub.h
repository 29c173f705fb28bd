/* Models of Hugging Face: hf.co/<user>/<repo>[:<quant>]. A repository is a list of files; the GGUF file that fits the
 * quant, or its parts, are the model, and a projector may belong to it. In a repository without GGUF files config.json,
 * the safetensors files and those of the tokenizer are the model, a folder. */
#ifndef PN_STORE_HUB_H
#define PN_STORE_HUB_H

#include "store/registry.h"

bool pn_hub_has(const struct pn_model_name *name);
/* The server: HF_ENDPOINT or https://huggingface.co. */
const char *pn_hub_origin(void);
/* Prepares requests to it, which HF_TOKEN allows to see more. pn_registry_close must follow. */
pantry_status pn_hub_open(struct pn_registry *hub, const struct pn_model_name *name, bool public_only,
                          const pantry_cancel *cancel, struct pantry_error *err);

struct pn_hub_file {
    struct pn_layer layer;
    char *path, *url;
    bool projector;
    bool small;         /* the server says no digest of it: it is read first */
    struct pn_buf text; /* of a small file, once it is read */
};
/* The parts of the model in their order, then the projector, if there is one. */
struct pn_hub_model {
    struct pn_hub_file file[PN_LAYERS_MAX];
    size_t n;
    bool folder;
};
void pn_hub_free(struct pn_hub_model *model);

/* Asks for the repository's files and chooses. PANTRY_NOT_FOUND if none fits; if several do, `options` may choose one,
 * else PANTRY_INVALID with their names. Whatever it returns, pn_hub_free must follow. */
pantry_status pn_hub_find(struct pn_registry *hub, const struct pn_pull_options *options, struct pn_hub_model *model,
                          struct pantry_error *err);

/* Reads the small files, which have their digests then. */
pantry_status pn_hub_read_small(struct pn_registry *hub, struct pn_hub_model *model, struct pantry_error *err);
/* Makes them blobs. Needs the lock of the store, and a note that keeps them. */
pantry_status pn_hub_put_small(const char *store, const struct pn_hub_model *model, struct pantry_error *err);

/* pantry's own manifest for the files: *text; the configuration blob is written. Needs the lock of the store. Caller
 * frees *text. */
pantry_status pn_hub_manifest(const char *store, const char *name, const struct pn_hub_model *model, char **text,
                              struct pantry_error *err);

/* The choice alone, from the server's answer on one page. */
pantry_status pn_hub_choose(const char *text, size_t n, const char *quant, const struct pn_pull_options *options,
                            struct pn_hub_model *model, struct pantry_error *err);

/* ---- source.c: where a name or URL leads ---- */

/* The name in the store of what the text means. */
pantry_status pn_source_name(const char *text, const struct pn_pull_options *options, struct pn_model_name *name,
                             struct pantry_error *err);
/* Prepares requests to its server. `name` must outlive the registry; pn_registry_close must follow. */
pantry_status pn_source_open(const char *text, const struct pn_pull_options *options, const struct pn_model_name *name,
                             struct pn_registry *registry, struct pantry_error *err);

/* ---- url.c: a file by its address ---- */

/* The name for the file of a URL; NULL: out of memory. Caller frees. */
char *pn_url_name(const char *url);
/* Prepares requests to the URL's server. HF_TOKEN goes there only if it is Hugging Face's. */
pantry_status pn_url_open(struct pn_registry *server, const struct pn_model_name *name, const char *url,
                          const struct pn_pull_options *options, struct pantry_error *err);

struct pn_url_file {
    struct pn_job *job;
    struct pn_registry *registry;
    const char *store, *url;
    /* The result: */
    struct pn_layer layer;
    char part[PN_SHA256_HEX + 1]; /* names the unfinished files */
    struct pn_lock lock;          /* of these */
};
/* Downloads the file and computes its digest; pn_blobs_publish and pn_lock_release must follow. */
pantry_status pn_url_download(struct pn_url_file *file, struct pantry_error *err);

#endif
