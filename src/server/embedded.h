/* Files of docs/ that the program carries; the Makefile makes them into C. */
#ifndef PN_SERVER_EMBEDDED_H
#define PN_SERVER_EMBEDDED_H

#include <stddef.h>

extern const unsigned char pn_embedded_openapi[];
extern const size_t pn_embedded_openapi_len;

#endif
