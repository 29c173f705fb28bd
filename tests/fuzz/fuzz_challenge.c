/* Fuzzes the parser of WWW-Authenticate: what it accepts is bounded, printable, and is accepted again when it is
 * written out. */
#include "store/challenge.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_quoted(char *out, size_t *n, const char *name, const char *value)
{
    *n += (size_t)sprintf(out + *n, ",%s=\"", name);
    for (const char *c = value; *c; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
            abort();
        if (*c == '"' || *c == '\\')
            out[(*n)++] = '\\';
        out[(*n)++] = *c;
    }
    out[(*n)++] = '"';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_challenge c, again;
    char *exact = malloc(size ? size : 1); /* of exactly this size */
    if (size)
        memcpy(exact, data, size);
    if (pn_challenge_parse(exact, size, &c)) {
        static char text[2 * sizeof c + 100];
        size_t n = (size_t)sprintf(text, "Basic realm=x, Bearer ");
        put_quoted(text, &n, "realm", c.realm);
        if (*c.service)
            put_quoted(text, &n, "service", c.service);
        if (*c.scope)
            put_quoted(text, &n, "scope", c.scope);
        if (n <= PN_CHALLENGE_TEXT_MAX && (!pn_challenge_parse(text, n, &again) || strcmp(c.realm, again.realm) != 0 ||
                                           strcmp(c.service, again.service) != 0 || strcmp(c.scope, again.scope) != 0))
            abort();
        pn_challenge_trusts(c.realm, c.service);
        if (*c.realm && !pn_challenge_trusts(c.realm, c.realm))
            abort();
    }
    free(exact);
    return 0;
}
