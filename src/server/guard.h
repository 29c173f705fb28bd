/* Which requests may come in. A page of another site that the user has open in a browser must not reach the service:
 * not by its address (Host), which stops rebinding of names, and not from its origin. */
#ifndef PN_SERVER_GUARD_H
#define PN_SERVER_GUARD_H

#include "pantry.h"

#include <stdbool.h>

/* Whether a Host header names this machine: localhost, an address of its own kind, *.localhost, or `own`. NULL is fine
 * (HTTP/1.0). */
bool pn_guard_host(const char *header, const char *own);
/* Whether an address to listen on is this machine's alone. */
bool pn_guard_is_local(const char *host);
/* Whether a web page of that origin may call: none, this machine's, or one of `more` (up to NULL). */
bool pn_guard_origin(const char *origin, const char *const *more);
/* Whether a body of that type may be read as JSON. A page may send forms to other sites without asking, so what comes
 * from a page must say that it is JSON; `curl -d` says that it sends a form. */
bool pn_guard_content_type(const char *type, bool from_page);
/* The key in an Authorization header ("Bearer KEY"), or else in x-api-key; either may be NULL. Of `most` characters
 * with its end; "": there is none, or it is longer. */
void pn_guard_key(const char *authorization, const char *api_key, char *out, size_t most);

#endif
