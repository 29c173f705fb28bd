/* Bytes that belong to somebody else. */
#ifndef PN_BASE_STR_H
#define PN_BASE_STR_H

#include <stddef.h>

struct pn_str { /* borrowed bytes, not NUL-terminated */
    const char *data;
    size_t len;
};

#endif
