/* Base64 (RFC 4648), of both alphabets. */
#ifndef PN_BASE_BASE64_H
#define PN_BASE_BASE64_H

#include "base/alloc.h"

/* Appends the bytes of a text; white space and padding at the end are skipped. False: the text is not base64. */
bool pn_base64_decode(const char *text, size_t len, struct pn_buf *out);
/* Appends the text of bytes, with padding. */
void pn_base64_encode(const void *bytes, size_t n, struct pn_buf *out);

#endif
