/* Borrowed bytes. */
#ifndef PN_BASE_STR_H
#define PN_BASE_STR_H

#include <stddef.h>

struct pn_str { /* not NUL-terminated */
    const char *data;
    size_t len;
};

#endif
