/* Uploads one blob to a registry: in chunks, after one another, in a session whose address is noted, so that a later
 * call goes on with it where the registry still knows it. */
#ifndef PN_STORE_SEND_H
#define PN_STORE_SEND_H

#include "store/registry.h"

struct pn_send {
    struct pn_registry *registry;
    const char *store;
    struct pn_layer layer;
    const char *mount_from; /* "space/model" of the same registry that has the blob, too; NULL: none known */
    void (*tick)(void *user, uint64_t bytes); /* what the registry has of the blob, or was sent */
    void *user;
};

/* Is the blob there? */
pantry_status pn_send_has(struct pn_registry *r, const struct pn_layer *layer, bool *has, struct pantry_error *err);
/* Brings it there. Needs the lock of pn_send_key. */
pantry_status pn_send_blob(const struct pn_send *upload, struct pantry_error *err);
/* Names the upload of a blob to a repository: its lock and the file with its session. */
pantry_status pn_send_key(const struct pn_registry *r, const char *hex, char key[sizeof "upload-" + PN_SHA256_HEX],
                          struct pantry_error *err);

#endif
