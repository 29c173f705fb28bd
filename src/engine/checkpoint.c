/* Checkpoints: see checkpoint.h. */
#include "engine/checkpoint.h"

#include <stdlib.h>

void pn_checkpoints_init(struct pn_checkpoints *c, struct pn_kv_pool *pool, struct pn_state_pool *states)
{
    *c = (struct pn_checkpoints){.pool = pool, .states = states, .unused = -1};
    for (int g = 1; g < pool->n_groups; g++) {
        c->start[g] = c->width;
        c->width += pn_kv_most_pages(pool, g, INT32_MAX, 0);
    }
}

void pn_checkpoints_release(struct pn_checkpoints *c)
{
    free(c->all);
    free(c->pages);
    *c = (struct pn_checkpoints){.unused = -1};
}

/* Doubles the room, so that a tree that no longer grows allocates nothing. */
static bool make_room(struct pn_checkpoints *c)
{
    size_t n = c->n_room ? 2 * (size_t)c->n_room : 16;
    struct pn_checkpoint *all = realloc(c->all, n * sizeof *all);
    if (!all)
        return false;
    c->all = all;
    int32_t *pages = realloc(c->pages, n * ((size_t)c->width + 1) * sizeof *pages);
    if (!pages)
        return false;
    c->pages = pages;
    for (size_t i = n; i-- > (size_t)c->n_room;) {
        all[i] = (struct pn_checkpoint){.next_unused = c->unused};
        c->unused = (int32_t)i;
    }
    c->n_room = (int)n;
    return true;
}

static int n_pages(const struct pn_checkpoint *p)
{
    return (p->n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
}

static int32_t *page_at(const struct pn_checkpoints *c, int32_t number, int group, int i)
{
    size_t at = (size_t)number * (size_t)c->width + (size_t)c->start[group];
    return c->pages + at + (size_t)(i - c->all[number].first[group]);
}

int32_t pn_checkpoint_page(const struct pn_checkpoints *c, int32_t number, int group, int i)
{
    return *page_at(c, number, group, i);
}

int32_t pn_checkpoint_new(struct pn_checkpoints *c, const int32_t *tables, int table, const int *first, int n,
                          int32_t state)
{
    if (c->unused < 0 && !make_room(c))
        return -1;
    int32_t number = c->unused;
    struct pn_checkpoint *p = &c->all[number];
    c->unused = p->next_unused;
    *p = (struct pn_checkpoint){.n = n, .state = state, .serial = ++c->n_given, .used = true};
    for (int g = 1; g < c->pool->n_groups; g++) {
        int needed = pn_kv_first_page(c->pool, g, n);
        p->first[g] = first[g] > needed ? first[g] : needed;
        for (int i = p->first[g]; i < n_pages(p); i++) {
            int32_t page = tables[(size_t)g * (size_t)table + (size_t)i];
            *page_at(c, number, g, i) = page;
            pn_kv_page_retain(c->pool, g, page);
            c->page_bytes += c->pool->groups[g].slots.stride;
        }
    }
    return number;
}

void pn_checkpoint_release(struct pn_checkpoints *c, int32_t number)
{
    struct pn_checkpoint *p = &c->all[number];
    for (int g = 1; g < c->pool->n_groups; g++)
        for (int i = p->first[g]; i < n_pages(p); i++) {
            pn_kv_page_release(c->pool, g, *page_at(c, number, g, i));
            c->page_bytes -= c->pool->groups[g].slots.stride;
        }
    if (p->state >= 0)
        pn_state_release(c->states, p->state);
    p->used = false;
    p->next_unused = c->unused;
    c->unused = number;
}

int pn_checkpoint_back(const struct pn_checkpoints *c, int32_t number)
{
    const struct pn_checkpoint *p = &c->all[number];
    int least = c->states ? p->n : 0; /* a recurrent state cannot be cut back */
    for (int g = 1; g < c->pool->n_groups; g++) {
        int n = pn_kv_least_length(c->pool, g, p->first[g]);
        least = n > least ? n : least;
    }
    return least < p->n ? p->n - least : 0;
}
