/* The protocol of registries (Docker's v2, OCI distribution): manifests, blobs, anonymous tokens. */
#ifndef PN_STORE_REGISTRY_H
#define PN_STORE_REGISTRY_H

#include "store/http.h"
#include "store/media.h"

struct pn_layer {
    char hex[PN_SHA256_HEX + 1];
    uint64_t bytes;
};

/* The blobs of a manifest, each once: the configuration and the layers. */
struct pn_layers {
    struct pn_layer layer[PN_LAYERS_MAX + 1];
    size_t n;
};

/* Adds a blob unless it is there; false if it is there with another size. */
bool pn_layers_add(struct pn_layers *layers, const char *hex, uint64_t bytes);
/* Checks the text of a manifest from a registry: an object with the layers of one model, and only layers of known
 * types. */
pantry_status pn_layers_parse(const char *text, size_t n, struct pn_layers *layers, struct pantry_error *err);

struct pn_registry {
    struct pn_http http;
    const struct pn_model_name *name;
    char *origin;
    const char *scopes[3]; /* what tokens are asked for; none: what the challenge says */
    unsigned generation;   /* of the token */
    int tokens;            /* asked for without getting a part in between */
};

/* The server of a name's host: docker.io is a name, not a server. */
const char *pn_registry_server(const char *host);

/* http for names of this machine (localhost, 127.*) or if `insecure`, else https. pn_registry_close must follow. */
pantry_status pn_registry_open(struct pn_registry *r, const struct pn_model_name *name, bool insecure, bool public_only,
                               const pantry_cancel *cancel, struct pantry_error *err);
void pn_registry_close(struct pn_registry *r);
/* The same for another server, which speaks no registry protocol: "https://host". */
pantry_status pn_registry_open_at(struct pn_registry *r, const struct pn_model_name *name, const char *origin,
                                  bool public_only, const pantry_cancel *cancel, struct pantry_error *err);

/* True for https, and for http to this machine. */
bool pn_registry_is_safe(const char *origin);

/* Gets the manifest. PANTRY_NOT_FOUND if the registry does not have the model. */
pantry_status pn_registry_manifest(struct pn_registry *r, struct pn_buf *text, struct pantry_error *err);
/* The URL of a blob; NULL: out of memory. Caller frees. */
char *pn_registry_blob(const struct pn_registry *r, const char *hex);
/* The URL of the manifest. */
char *pn_registry_manifest_url(const struct pn_registry *r);
/* A request as pn_http_call's, which gets a token if it needs one. */
pantry_status pn_registry_call(struct pn_registry *r, const char *url, const struct pn_http_body *body,
                               const char *const *lines, struct pn_http_head *head, struct pn_buf *answer,
                               CURLcode *code, struct pantry_error *err);
/* The same with more tries; the answer's body is dropped. */
pantry_status pn_registry_ask(struct pn_registry *r, const char *url, const struct pn_http_body *body,
                              const char *const *lines, struct pn_http_head *head, struct pantry_error *err);
/* The error for an answer: "refuses WHAT", with the registry's own words. */
pantry_status pn_registry_refused(const struct pn_registry *r, const char *what, const struct pn_http_head *head,
                                  struct pantry_error *err);
/* After status 401: gets a token from the place that the challenge names, if it may. */
pantry_status pn_registry_authorize(struct pn_registry *r, const struct pn_http_head *head, struct pantry_error *err);

#endif
