/* Challenges of registries: see challenge.h. RFC 9110, 11.6.1: challenges are separated by commas, and so are the
 * parameters of one; a word without '=' begins the next challenge. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/challenge.h"

#include <string.h>
#include <strings.h>

struct scan {
    const char *p, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_spaces(struct scan *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}

static size_t skip_word(struct scan *s)
{
    const char *start = s->p;
    while (s->p < s->end && is_token(*s->p))
        s->p++;
    return (size_t)(s->p - start);
}

/* A quoted string or a word, to `out` of `size` bytes (NULL: skipped); false if it is damaged or too long. */
static bool read_value(struct scan *s, char *out, size_t size)
{
    size_t n = 0;
    bool quoted = s->p < s->end && *s->p == '"';
    s->p += quoted;
    while (s->p < s->end && (quoted ? *s->p != '"' : is_token(*s->p) || strchr("/:=", *s->p))) {
        if (quoted && *s->p == '\\' && ++s->p == s->end)
            return false;
        unsigned char c = (unsigned char)*s->p++;
        if (c < 0x20 || c >= 0x7F || (out && n + 1 >= size))
            return false;
        if (out)
            out[n] = (char)c;
        n++;
    }
    if (quoted && (s->p == s->end || *s->p++ != '"'))
        return false;
    if (out)
        out[n] = '\0';
    return n > 0 || quoted;
}

/* The place of a parameter that is used; NULL: another one. */
static char *place_of(struct pn_challenge *c, const char *name, size_t n, size_t *size)
{
    const struct {
        const char *name;
        char *place;
        size_t size;
    } known[] = {{"realm", c->realm, sizeof c->realm},
                 {"service", c->service, sizeof c->service},
                 {"scope", c->scope, sizeof c->scope}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == n && strncasecmp(known[i].name, name, n) == 0) {
            *size = known[i].size;
            return known[i].place;
        }
    return NULL;
}

/* One "name=value", after the name; of the Bearer challenge if `out` is given. */
static bool read_parameter(struct scan *s, const char *name, size_t n, struct pn_challenge *out)
{
    size_t size = 0;
    char *place = out ? place_of(out, name, n, &size) : NULL;
    s->p++; /* '=' */
    skip_spaces(s);
    if (place && *place)
        return false;
    return read_value(s, place, size);
}

bool pn_challenge_parse(const char *text, size_t n, struct pn_challenge *out)
{
    *out = (struct pn_challenge){0};
    if (n > PN_CHALLENGE_TEXT_MAX)
        return false;
    struct scan s = {text, text + n};
    bool bearer = false;
    for (;;) {
        while (s.p < s.end && (is_space(*s.p) || *s.p == ','))
            s.p++;
        const char *word = s.p;
        size_t len = skip_word(&s);
        if (len == 0)
            break;
        skip_spaces(&s);
        if (s.p < s.end && *s.p == '=') {
            if (!read_parameter(&s, word, len, bearer ? out : NULL))
                return false;
        } else if (bearer) {
            break; /* the next challenge */
        } else {
            bearer = len == 6 && strncasecmp(word, "Bearer", 6) == 0;
        }
    }
    return bearer && out->realm[0];
}

/* ---- hosts ---- */

static bool is_address(const char *host)
{
    size_t n = strlen(host);
    return strchr(host, ':') || strspn(host, "0123456789.") == n;
}

/* The part after the first dot, if that is a domain of one owner. Two-letter endings have second levels that are not:
 * co.uk, com.au, so of those three labels are needed. */
static const char *parent_of(const char *host)
{
    const char *parent = is_address(host) ? NULL : strchr(host, '.');
    const char *dot = parent ? strchr(++parent, '.') : NULL;
    if (!dot)
        return NULL;
    bool country = strlen(dot + 1) == 2;
    return country && !strchr(dot + 1, '.') && dot - parent <= 3 ? NULL : parent;
}

bool pn_challenge_trusts(const char *registry, const char *realm)
{
    if (!*registry || strcasecmp(registry, realm) == 0)
        return *registry != '\0';
    const char *parent = parent_of(registry);
    if (!parent || is_address(realm))
        return false;
    size_t n = strlen(parent), m = strlen(realm);
    if (m < n || strcasecmp(realm + m - n, parent) != 0)
        return false;
    return m == n || realm[m - n - 1] == '.';
}
