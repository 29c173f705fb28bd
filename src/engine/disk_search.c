/* Finding prefixes on disk: see disk_search.h. */
#include "engine/disk_search.h"

#include <stdlib.h>
#include <string.h>

bool pn_disk_chain_init(struct pn_disk_chain *c, const struct pn_disk_key *root, const int32_t *ids, int n)
{
    int n_pages = n / PN_PAGE_TOKENS;
    *c = (struct pn_disk_chain){.ids = ids, .n = n, .keys = calloc((size_t)n_pages + 1, sizeof *c->keys)};
    bool ok = c->keys != NULL;
    if (ok)
        c->keys[0] = *root;
    for (int i = 0; i < n_pages && ok; i++)
        ok = pn_disk_key_next(&c->keys[i], ids + i * PN_PAGE_TOKENS, PN_PAGE_TOKENS, &c->keys[i + 1]);
    return ok;
}

void pn_disk_chain_free(struct pn_disk_chain *c)
{
    free(c->keys);
    c->keys = NULL;
}

bool pn_disk_chain_fill(const struct pn_disk_chain *c, struct pn_disk_block *b)
{
    int page = (b->n - 1) / PN_PAGE_TOKENS, n_ids = pn_disk_n_ids(b->n);
    const int32_t *ids = c->ids + page * PN_PAGE_TOKENS;
    b->parent = c->keys[page];
    memcpy(b->ids, ids, (size_t)n_ids * sizeof *ids);
    if (n_ids < PN_PAGE_TOKENS)
        return pn_disk_key_next(&b->parent, ids, n_ids, &b->key);
    b->key = c->keys[page + 1];
    return true;
}

struct pn_disk_block pn_disk_page_block(const struct pn_disk_shape *shape, int group, int i, int n)
{
    int end = (i + 1) * PN_PAGE_TOKENS;
    return (struct pn_disk_block){.kind = group ? PN_DISK_WINDOW : PN_DISK_PAGE,
                                  .group = group,
                                  .n = end < n ? end : n,
                                  .bytes = shape->page_bytes[group]};
}

static bool has(const struct pn_disk_folder *f, const struct pn_disk_chain *c, struct pn_disk_block *b)
{
    return pn_disk_chain_fill(c, b) && pn_disk_folder_has(f, b);
}

int pn_disk_find_pages(const struct pn_disk_folder *f, const struct pn_disk_shape *shape, const struct pn_disk_chain *c,
                       int n_have)
{
    int i = n_have, n = c->n / PN_PAGE_TOKENS * PN_PAGE_TOKENS;
    for (; (i + 1) * PN_PAGE_TOKENS <= n; i++) {
        struct pn_disk_block b = pn_disk_page_block(shape, 0, i, n);
        if (!has(f, c, &b))
            break;
    }
    return i * PN_PAGE_TOKENS;
}

int pn_disk_find_checkpoint(const struct pn_disk_folder *f, const struct pn_disk_shape *shape,
                            const struct pn_disk_chain *c, int n, int least, struct pn_disk_block *b)
{
    int step = shape->recurrent ? 1 : PN_PAGE_TOKENS;
    for (int m = n / step * step; m > least; m -= step) {
        *b = (struct pn_disk_block){.kind = PN_DISK_CHECKPOINT, .n = m, .bytes = shape->state_bytes};
        if (has(f, c, b))
            return m;
    }
    return 0;
}

bool pn_disk_is_complete(const struct pn_disk_folder *f, const struct pn_disk_shape *shape,
                         const struct pn_disk_chain *c, const struct pn_disk_block *checkpoint, int n_have)
{
    int n = checkpoint->n, n_pages = (n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    bool ok = true;
    for (int g = 0; g < shape->pool->n_groups && ok; g++) {
        int first = g ? checkpoint->first[g] : n_have;
        if (g)
            ok = first >= 0 && first <= n / PN_PAGE_TOKENS && pn_kv_least_length(shape->pool, g, first) <= n;
        for (int i = first; i < n_pages && ok; i++) {
            struct pn_disk_block b = pn_disk_page_block(shape, g, i, n);
            ok = has(f, c, &b);
        }
    }
    return ok;
}
