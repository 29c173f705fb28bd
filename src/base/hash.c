/* SHA-256 through OpenSSL's libcrypto: see hash.h. */
#include "base/hash.h"

#include <openssl/evp.h>

pantry_status pn_sha256_start(struct pn_sha256 *hash, struct pantry_error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    *hash = (struct pn_sha256){.context = context};
    if (!context)
        return pn_no_memory(err, "SHA-256");
    if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL)) {
        pn_sha256_free(hash);
        return pn_fail(err, PANTRY_UNSUPPORTED, "SHA-256: this libcrypto does not offer it");
    }
    return PANTRY_OK;
}

void pn_sha256_update(struct pn_sha256 *hash, const void *bytes, size_t n)
{
    if (!EVP_DigestUpdate(hash->context, bytes, n))
        hash->failed = true;
}

pantry_status pn_sha256_finish(struct pn_sha256 *hash, char hex[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool ok = !hash->failed && EVP_DigestFinal_ex(hash->context, raw, &n) && n * 2 == PN_SHA256_HEX;
    pn_sha256_free(hash);
    if (!ok)
        return pn_fail(err, PANTRY_INTERNAL, "SHA-256: libcrypto failed");
    for (unsigned i = 0; i < n; i++) {
        hex[2 * i] = digits[raw[i] >> 4];
        hex[2 * i + 1] = digits[raw[i] & 15];
    }
    hex[PN_SHA256_HEX] = '\0';
    return PANTRY_OK;
}

void pn_sha256_free(struct pn_sha256 *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    *hash = (struct pn_sha256){0};
}

pantry_status pn_sha256_bytes(const void *bytes, size_t n, char hex[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    struct pn_sha256 hash;
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    pn_sha256_update(&hash, bytes, n);
    return pn_sha256_finish(&hash, hex, err);
}
