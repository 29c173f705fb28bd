/* The header Link: see link.h. Nothing in it is trusted; a reading position never passes the end. */
#include "store/link.h"

#include <string.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* A character of an address between angle brackets. */
static bool is_target(char c)
{
    return c > ' ' && c < 0x7F && c != '>';
}

/* Skips spaces; true if `c` follows, which is then skipped, too. */
static bool take(struct cursor *p, char c)
{
    while (p->at < p->end && is_space(*p->at))
        p->at++;
    bool found = p->at < p->end && *p->at == c;
    p->at += found;
    return found;
}

/* Letters up to one of `ends`, a space, or the end. */
static size_t word(struct cursor *p, const char *ends, const char **text)
{
    *text = p->at;
    while (p->at < p->end && !is_space(*p->at) && !strchr(ends, *p->at))
        p->at++;
    return (size_t)(p->at - *text);
}

/* Is `name` one of the words, with spaces between them? */
static bool has_word(const char *text, size_t n, const char *name)
{
    struct cursor p = {text, text + n};
    size_t len = strlen(name);
    while (p.at < p.end) {
        const char *one;
        size_t m = word(&p, "", &one);
        if (m == len && strncasecmp(one, name, len) == 0)
            return true;
        p.at += p.at < p.end;
    }
    return false;
}

/* The value of a parameter, a word or a quoted text. */
static size_t parameter(struct cursor *p, const char **text)
{
    if (!take(p, '"'))
        return word(p, ";,", text);
    *text = p->at;
    while (p->at < p->end && *p->at != '"')
        p->at += *p->at == '\\' && p->end - p->at > 1 ? 2 : 1;
    size_t n = (size_t)(p->at - *text);
    p->at += p->at < p->end;
    return n;
}

/* Reads the parameters of a link; *next: its relation is "next". False: they are damaged. */
static bool parameters(struct cursor *p, bool *next)
{
    bool known = false; /* only the first `rel` counts */
    *next = false;
    while (take(p, ';')) {
        const char *name, *value = "";
        take(p, ' ');
        size_t n = word(p, "=;,", &name), m = take(p, '=') ? parameter(p, &value) : 0;
        if (n == 3 && strncasecmp(name, "rel", 3) == 0 && !known) {
            known = true;
            *next = has_word(value, m, "next");
        }
    }
    return take(p, ',') || p->at == p->end;
}

bool pn_link_next(const char *value, size_t n, char *out, size_t size)
{
    struct cursor p = {value, value + n};
    while (take(&p, ','))
        ; /* empty elements */
    while (take(&p, '<')) {
        const char *target = p.at;
        bool next;
        while (p.at < p.end && is_target(*p.at))
            p.at++;
        size_t len = (size_t)(p.at - target);
        if (p.at == p.end || *p.at++ != '>' || !parameters(&p, &next))
            return false;
        if (next) {
            if (!len || len >= size)
                return false;
            memcpy(out, target, len);
            out[len] = '\0';
            return true;
        }
        while (take(&p, ','))
            ;
    }
    return false;
}
