/* SHA-256, streaming. */
#ifndef PN_BASE_HASH_H
#define PN_BASE_HASH_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { PN_SHA256_HEX = 64 };

/* A zeroed struct is not started; pn_sha256_free accepts it. */
struct pn_sha256 {
    void *context;
    bool failed; /* checked once, by pn_sha256_finish */
};

pantry_status pn_sha256_start(struct pn_sha256 *hash, struct pantry_error *err);
void pn_sha256_update(struct pn_sha256 *hash, const void *bytes, size_t n);
/* Writes lower-case hex digits and a NUL; frees the state. */
pantry_status pn_sha256_finish(struct pn_sha256 *hash, char hex[PN_SHA256_HEX + 1], struct pantry_error *err);
void pn_sha256_free(struct pn_sha256 *hash);

pantry_status pn_sha256_bytes(const void *bytes, size_t n, char hex[PN_SHA256_HEX + 1], struct pantry_error *err);

#endif
