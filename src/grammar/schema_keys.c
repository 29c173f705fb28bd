/* Sets of object keys. */
#include "grammar/schema_impl.h"

#include <string.h>

bool pn_str_same(struct pn_str a, struct pn_str b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

bool pn_keys_have(struct pn_schema *s, const struct pn_keys *keys, struct pn_str name)
{
    bool found = false;
    for (size_t i = 0; i < keys->names.n && !found; i++)
        found = pn_str_same(keys->names.items[i], name);
    for (size_t i = 0; i < keys->languages.n && !found; i++)
        found = pn_language_has(s, &keys->languages.items[i], name);
    for (size_t i = 0; i < keys->n_sets && !found; i++)
        found = pn_keys_have(s, keys->sets[i], name);
    return found != keys->negated;
}

bool pn_keys_have_cell(const struct pn_keys *keys, const struct pn_language *all, size_t n, uint64_t cell)
{
    bool found = false;
    for (size_t i = 0; i < keys->languages.n && !found; i++)
        for (size_t k = 0; k < n; k++)
            if (all[k].e == keys->languages.items[i].e)
                found = (cell >> k & 1) != keys->languages.items[i].negated;
    for (size_t i = 0; i < keys->n_sets && !found; i++)
        found = pn_keys_have_cell(keys->sets[i], all, n, cell);
    return found != keys->negated;
}
