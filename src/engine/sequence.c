/* Sequences: see sequence.h. */
#include "engine/sequence.h"

#include <stdlib.h>
#include <string.h>

static const size_t portion_bytes = (size_t)16 << 20;
static const size_t max_state_bytes = (size_t)512 << 20; /* of the states that the tree keeps */

/* ---- the memory of a model's sequences ---- */

static void retain_page(void *user, int32_t page)
{
    pn_kv_page_retain(((struct pn_seq_memory *)user)->pool, page);
}

static void release_page(void *user, int32_t page)
{
    pn_kv_page_release(((struct pn_seq_memory *)user)->pool, page);
}

static bool page_is_unshared(void *user, int32_t page)
{
    return pn_kv_page_refs(((struct pn_seq_memory *)user)->pool, page) == 1;
}

static void release_state(void *user, int32_t state)
{
    pn_state_release(((struct pn_seq_memory *)user)->runner->states, state);
}

pn_status pn_seq_memory_init(struct pn_seq_memory *m, struct pn_runner *runner, struct pn_kv_pool *pool,
                             struct pn_error *err)
{
    *m = (struct pn_seq_memory){.runner = runner, .pool = pool};
    if (runner->states) {
        size_t kept = max_state_bytes / (runner->states->stride * sizeof(float));
        m->max_states = kept < 2 ? 2 : kept > 4096 ? 4096 : (int)kept;
    }
    struct pn_tree_memory memory = {.user = m,
                                    .retain = retain_page,
                                    .release = release_page,
                                    .unshared = page_is_unshared,
                                    .release_state = release_state,
                                    .recurrent = runner->states != NULL};
    return pn_tree_new(&memory, &m->tree, err);
}

void pn_seq_memory_release(struct pn_seq_memory *m)
{
    pn_tree_free(m->tree);
    if (m->n_promised)
        pn_kv_unpromise(m->pool, m->n_promised);
    *m = (struct pn_seq_memory){0};
}

/* Pages are taken from the budget some at a time, as asking it costs a look at the system. */
static int32_t portion(const struct pn_kv_pool *pool)
{
    size_t n = pool->slots.stride ? portion_bytes / pool->slots.stride : 64;
    return n < 1 ? 1 : n > 64 ? 64 : (int32_t)n;
}

/* The prefix tree only saves time: it may fill a quarter of the memory that there is. */
static bool tree_is_full(const struct pn_seq_memory *m)
{
    return pn_tree_n_pages(m->tree) > pn_kv_capacity(m->pool) / 4;
}

static pn_status promise_more(struct pn_seq_memory *m, struct pn_error *err)
{
    int32_t n = portion(m->pool);
    if (pn_kv_promise(m->pool, n, "keys and values", NULL)) {
        pn_status status = pn_kv_promise(m->pool, n = 1, "a page of keys and values", err);
        if (status)
            return status;
    }
    m->n_promised += n;
    return PN_OK;
}

pn_status pn_seq_page_new(struct pn_seq_memory *m, int32_t *page, struct pn_error *err)
{
    while (pn_kv_pages_used(m->pool) >= m->n_promised) {
        if (tree_is_full(m) && (pn_tree_evict(m->tree) || pn_tree_evict_state(m->tree)))
            continue;
        pn_status status = promise_more(m, err);
        if (status && !pn_tree_evict(m->tree) && !pn_tree_evict_state(m->tree))
            return status;
    }
    return pn_kv_page_new(m->pool, page, err);
}

void pn_seq_memory_settle(struct pn_seq_memory *m)
{
    int32_t spare = m->n_promised - pn_kv_pages_used(m->pool), n = portion(m->pool);
    if (spare <= 2 * n)
        return;
    pn_kv_unpromise(m->pool, spare - n);
    m->n_promised -= spare - n;
}

pn_status pn_seq_state_new(struct pn_seq_memory *m, int32_t *state, struct pn_error *err)
{
    pn_status status;
    while ((status = pn_state_new(m->runner->states, state, err)) == PN_NO_MEMORY)
        if (!pn_tree_evict_state(m->tree))
            break;
    return status;
}

/* ---- sequences ---- */

pn_status pn_seq_init(struct pn_seq *s, struct pn_seq_memory *m, const char *key, int32_t *ids, int n_context,
                      struct pn_error *err)
{
    *s = (struct pn_seq){.memory = m, .key = key, .ids = ids, .n_context = n_context, .state = -1};
    s->pages = calloc((size_t)n_context / PN_PAGE_TOKENS + 1, sizeof *s->pages);
    return s->pages ? PN_OK : pn_no_memory(err, "a sequence");
}

void pn_seq_release(struct pn_seq *s)
{
    if (!s->memory)
        return;
    pn_seq_drop(s);
    free(s->pages);
    *s = (struct pn_seq){0};
}

void pn_seq_drop(struct pn_seq *s)
{
    while (s->n_pages)
        pn_kv_page_release(s->memory->pool, s->pages[--s->n_pages]);
    if (s->state >= 0)
        pn_state_release(s->memory->runner->states, s->state);
    s->state = -1;
    s->n_past = 0;
}

/* The state that the sequence goes on from: a copy of the tree's, or one of no tokens. */
static pn_status start_state(struct pn_seq *s, int32_t from, struct pn_error *err)
{
    struct pn_state_pool *states = s->memory->runner->states;
    if (!states)
        return PN_OK;
    if (from < 0) {
        pn_status status = pn_seq_state_new(s->memory, &s->state, err);
        if (!status)
            pn_state_clear(states, s->state);
        return status;
    }
    /* The tree could give up the very state that was found, so only a slot that is free will do. */
    pn_status status = pn_state_new(states, &s->state, err);
    if (!status)
        pn_state_copy(states, s->state, from);
    return status;
}

pn_status pn_seq_start(struct pn_seq *s, int n, struct pn_error *err)
{
    struct pn_seq_memory *m = s->memory;
    struct pn_tree_match match;
    pn_tree_match(m->tree, s->key, s->ids, n, s->pages, &match);
    s->n_pages = match.n_pages;
    s->n_past = match.n_tokens;
    pn_status status = start_state(s, match.state, err);
    if (!status && match.copy >= 0 && !(status = pn_seq_page_new(m, &s->pages[s->n_pages], err)))
        pn_kv_page_copy(m->pool, s->pages[s->n_pages++], match.copy);
    if (match.copy >= 0)
        pn_kv_page_release(m->pool, match.copy);
    if (!status)
        return PN_OK;
    /* No page for the copy, or no slot beside the state found: what was found may hold the last of them. */
    if (!m->runner->states) {
        s->n_past = s->n_pages * PN_PAGE_TOKENS;
        return PN_OK;
    }
    pn_seq_drop(s);
    return match.n_tokens ? start_state(s, -1, err) : status;
}

pn_status pn_seq_grow(struct pn_seq *s, int n, struct pn_error *err)
{
    int needed = (s->n_past + n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    while (s->n_pages < needed) {
        pn_status status = pn_seq_page_new(s->memory, &s->pages[s->n_pages], err);
        if (status)
            return status;
        s->n_pages++;
    }
    return PN_OK;
}

static void make_room_for_state(struct pn_seq_memory *m)
{
    while (pn_tree_n_states(m->tree) >= m->max_states && pn_tree_evict_state(m->tree))
        ;
}

void pn_seq_keep(struct pn_seq *s, bool partly)
{
    struct pn_seq_memory *m = s->memory;
    int n = s->n_past;
    int32_t state = -1;
    if (m->runner->states) {
        make_room_for_state(m);
        if (pn_seq_state_new(m, &state, NULL))
            return;
        pn_state_copy(m->runner->states, state, s->state);
    } else if (!partly) {
        n -= n % PN_PAGE_TOKENS;
    }
    pn_tree_insert(m->tree, s->key, s->ids, n, s->pages, state, NULL);
}

void pn_seq_keep_last(struct pn_seq *s)
{
    struct pn_seq_memory *m = s->memory;
    if (m->runner->states)
        make_room_for_state(m);
    pn_tree_insert(m->tree, s->key, s->ids, s->n_past, s->pages, s->state, NULL);
    s->state = -1; /* it is the tree's now */
}

pn_status pn_seq_check_ids(const struct pn_model *model, const int32_t *ids, size_t n, struct pn_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= model->hp.n_vocab)
            return pn_fail(err, PN_INVALID, "token id %d is not in the vocabulary of %d", ids[i], model->hp.n_vocab);
    return PN_OK;
}
