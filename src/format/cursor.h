/* A bounded cursor over untrusted bytes. A read either fits into the remaining bytes and advances, or returns false and
 * changes nothing. Values are little-endian and unaligned, as in GGUF files. */
#ifndef PN_FORMAT_CURSOR_H
#define PN_FORMAT_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct pn_cursor {
    const unsigned char *data;
    size_t size, at; /* at <= size, always */
};

static inline size_t pn_cursor_left(const struct pn_cursor *c)
{
    return c->size - c->at;
}

/* The next `n` bytes, in place; NULL when fewer are left. */
static inline const void *pn_cursor_take(struct pn_cursor *c, uint64_t n)
{
    if (n > pn_cursor_left(c))
        return NULL;
    const void *p = c->data + c->at;
    c->at += (size_t)n;
    return p;
}

static inline bool pn_cursor_u32(struct pn_cursor *c, uint32_t *out)
{
    const void *p = pn_cursor_take(c, sizeof *out);
    if (p)
        memcpy(out, p, sizeof *out);
    return p != NULL;
}

static inline bool pn_cursor_u64(struct pn_cursor *c, uint64_t *out)
{
    const void *p = pn_cursor_take(c, sizeof *out);
    if (p)
        memcpy(out, p, sizeof *out);
    return p != NULL;
}

#endif
