/* Names of tensors and keys: validity and lookup.
 *
 * The index is a sorted array: sorting finds duplicates, and unlike a hash table it has no worst case that a hostile
 * file could trigger. */
#ifndef PN_FORMAT_NAMES_H
#define PN_FORMAT_NAMES_H

#include "base/alloc.h"

#include <stddef.h>

/* NULL for a valid name: 1 to `max` bytes of valid UTF-8 without control characters, safe to print in a terminal.
 * Otherwise the problem, to be printed after "the name". */
const char *pn_name_problem(const char *bytes, size_t n, size_t max);

struct pn_name_entry {
    const char *name;
    size_t at; /* position of the named item */
};

struct pn_name_index {
    struct pn_name_entry *entries;
    size_t n;
};

/* An index with room for `n` entries, for the caller to fill; NULL when memory is out. */
struct pn_name_index *pn_name_index_new(struct pn_arena *arena, size_t n);
/* Sorts the filled index. Returns an entry with a duplicate name, or NULL when all are different. */
const struct pn_name_entry *pn_name_index_sort(struct pn_name_index *index);
/* The position of `name`, or SIZE_MAX. */
size_t pn_name_index_find(const struct pn_name_index *index, const char *name);

#endif
