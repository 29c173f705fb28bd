/* Downloads one blob in parts, several at once, into blobs/sha256-<hex>-partial-data. What is there of each part is in
 * the file -partial-state beside it, so that a later call goes on where this one ended, however it ended. */
#ifndef PN_STORE_PARTS_H
#define PN_STORE_PARTS_H

#include "store/registry.h"

/* Gives the bytes in place, about ten times a second. */
typedef void pn_parts_tick(void *user, uint64_t bytes);

/* Downloads `url` until the file is complete; its digest is not checked here. *resumed: some of it was there before.
 * Needs the lock of the store. */
pantry_status pn_parts_download(struct pn_registry *registry, const char *url, const char *store,
                                const struct pn_layer *layer, pn_parts_tick *tick, void *user, bool *resumed,
                                struct pantry_error *err);
/* The path of the file; NULL: out of memory. Caller frees. */
char *pn_parts_data(const char *store, const struct pn_layer *layer);
/* Bytes of the disk that the blob still needs, where an earlier call has reserved some. */
uint64_t pn_parts_space(const char *store, const struct pn_layer *layer);
/* Removes both files. */
void pn_parts_remove(const char *store, const char *hex);

#endif
