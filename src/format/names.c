/* Names of tensors and keys: see names.h. */
#include "format/names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Decodes the UTF-8 sequence at `p` (at most `n` bytes, n > 0); returns its length, or 0 when it is malformed:
 * overlong, a surrogate, beyond U+10FFFF or cut off. */
static size_t decode_utf8(const unsigned char *p, size_t n, uint32_t *out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xE0) == 0xC0 ? 2
                 : (p[0] & 0xF0) == 0xE0 ? 3
                 : (p[0] & 0xF8) == 0xF0 ? 4
                                         : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < smallest[len] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *out = c;
    return len;
}

const char *pn_name_problem(const char *bytes, size_t n, size_t max)
{
    if (n == 0)
        return "is empty";
    if (n > max)
        return "is too long";
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t len = decode_utf8((const unsigned char *)bytes + i, n - i, &c);
        if (len == 0)
            return "is not valid UTF-8";
        if (c < 0x20 || (c >= 0x7F && c < 0xA0))
            return "has control characters";
        i += len;
    }
    return NULL;
}

struct pn_name_index *pn_name_index_new(struct pn_arena *arena, size_t n)
{
    struct pn_name_index *index = pn_arena_alloc(arena, sizeof *index);
    if (!index)
        return NULL;
    index->entries = pn_arena_array(arena, n, sizeof *index->entries);
    index->n = n;
    return index->entries ? index : NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct pn_name_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

const struct pn_name_entry *pn_name_index_sort(struct pn_name_index *index)
{
    qsort(index->entries, index->n, sizeof *index->entries, by_name);
    for (size_t i = 1; i < index->n; i++)
        if (strcmp(index->entries[i - 1].name, index->entries[i].name) == 0)
            return &index->entries[i];
    return NULL;
}

size_t pn_name_index_find(const struct pn_name_index *index, const char *name)
{
    if (!index || index->n == 0)
        return SIZE_MAX;
    const struct pn_name_entry key = {.name = name};
    const struct pn_name_entry *e = bsearch(&key, index->entries, index->n, sizeof *index->entries, by_name);
    return e ? e->at : SIZE_MAX;
}
