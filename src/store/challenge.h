/* The answer of a registry that wants a token: WWW-Authenticate: Bearer realm="...",service="...",scope="...". */
#ifndef PN_STORE_CHALLENGE_H
#define PN_STORE_CHALLENGE_H

#include <stdbool.h>
#include <stddef.h>

enum { PN_CHALLENGE_TEXT_MAX = 4096 };

struct pn_challenge {
    char realm[1024], service[256], scope[1024];
};

/* Reads the first Bearer challenge of a header's value; false if there is none with a realm, or one that is damaged:
 * control characters, duplicate parameters, too long. */
bool pn_challenge_parse(const char *text, size_t n, struct pn_challenge *out);

/* May a registry send us to this host for a token? Only to itself, its parent domain and what is below that, without
 * regard to case. A parent that anybody can register below ("com", "co.uk") does not count; nor does that of an
 * address. Hosts without ports. */
bool pn_challenge_trusts(const char *registry, const char *realm);

#endif
