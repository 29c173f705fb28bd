/* The header Link (RFC 8288), by which a server says where a list goes on. */
#ifndef PN_STORE_LINK_H
#define PN_STORE_LINK_H

#include <stdbool.h>
#include <stddef.h>

/* The target of the first link with the relation "next" in the header's value, which need not end in a zero. False:
 * there is none, it is damaged, or it has no room in `out`. */
bool pn_link_next(const char *value, size_t n, char *out, size_t size);

#endif
