/* Sequences: see sequence.h. */
#include "engine/sequence.h"

#include <stdlib.h>
#include <string.h>

static const size_t portion_bytes = (size_t)16 << 20;
enum { MAX_STATES = 4096 };                              /* kept by the tree ... */
static const size_t max_state_bytes = (size_t)512 << 20; /* ... and their memory if layers are recurrent */

/* ---- the memory of a model's sequences ---- */

static void retain_page(void *user, int32_t page)
{
    pn_kv_page_retain(((struct pn_seq_memory *)user)->pool, 0, page);
}

static void release_page(void *user, int32_t page)
{
    pn_kv_page_release(((struct pn_seq_memory *)user)->pool, 0, page);
}

static bool page_is_unshared(void *user, int32_t page)
{
    return pn_kv_page_refs(((struct pn_seq_memory *)user)->pool, 0, page) == 1;
}

static void release_state(void *user, int32_t state)
{
    pn_checkpoint_release(&((struct pn_seq_memory *)user)->checkpoints, state);
}

static int back_of_state(void *user, int32_t state)
{
    return pn_checkpoint_back(&((struct pn_seq_memory *)user)->checkpoints, state);
}

pantry_status pn_seq_memory_init(struct pn_seq_memory *m, struct pn_runner *runner, struct pn_kv_pool *pool,
                                 struct pantry_error *err)
{
    *m = (struct pn_seq_memory){.runner = runner, .pool = pool, .max_states = MAX_STATES};
    m->stateful = runner->states || pool->n_groups > 1;
    pn_checkpoints_init(&m->checkpoints, pool, runner->states);
    if (runner->states) {
        size_t kept = max_state_bytes / (runner->states->stride * sizeof(float));
        m->max_states = kept < 2 ? 2 : kept > MAX_STATES ? MAX_STATES : (int)kept;
    }
    struct pn_tree_memory memory = {.user = m,
                                    .retain = retain_page,
                                    .release = release_page,
                                    .unshared = page_is_unshared,
                                    .release_state = release_state,
                                    .back = back_of_state,
                                    .stateful = m->stateful,
                                    .thin = m->stateful && !runner->states};
    return pn_tree_new(&memory, &m->tree, err);
}

void pn_seq_memory_release(struct pn_seq_memory *m)
{
    pn_tree_free(m->tree);
    for (int g = 0; m->pool && g < m->pool->n_groups; g++)
        if (m->n_promised[g])
            pn_kv_unpromise(m->pool, g, m->n_promised[g]);
    pn_checkpoints_release(&m->checkpoints);
    *m = (struct pn_seq_memory){0};
}

/* Pages are taken from the budget several at a time, since each call asks the system. */
static int32_t portion(const struct pn_kv_pool *pool, int group)
{
    size_t stride = pool->groups[group].slots.stride;
    size_t n = stride ? portion_bytes / stride : 64;
    return n < 1 ? 1 : n > 64 ? 64 : (int32_t)n;
}

/* The prefix tree only saves time, so it may fill at most a quarter of the memory. */
static bool tree_is_full(const struct pn_seq_memory *m)
{
    uint64_t bytes = (uint64_t)pn_tree_n_pages(m->tree) * pn_kv_page_weight(m->pool, 0) + m->checkpoints.page_bytes;
    return 4 * bytes > pn_kv_capacity(m->pool);
}

static bool spare(struct pn_seq_memory *m)
{
    return m->spare && m->spare(m->spare_user);
}

static bool evict(struct pn_seq_memory *m)
{
    return pn_tree_evict(m->tree) || spare(m) || pn_tree_evict_state(m->tree);
}

static pantry_status promise_more(struct pn_seq_memory *m, int group, struct pantry_error *err)
{
    int32_t n = portion(m->pool, group);
    if (pn_kv_promise(m->pool, group, n, "keys and values", NULL)) {
        pantry_status status = pn_kv_promise(m->pool, group, n = 1, "a page of keys and values", err);
        if (status)
            return status;
    }
    m->n_promised[group] += n;
    return PANTRY_OK;
}

/* Returns a group's unused pages to the budget, all except `but` of them. False: none. */
static bool unpromise_spare(struct pn_seq_memory *m, int group, int32_t but)
{
    int32_t spare = m->n_promised[group] - pn_kv_pages_used(m->pool, group) - but;
    if (spare <= 0)
        return false;
    pn_kv_unpromise(m->pool, group, spare);
    m->n_promised[group] -= spare;
    return true;
}

/* Frees memory for a page of a group, from other groups or the tree. False: there is none. */
static bool make_room_for_page(struct pn_seq_memory *m, int group)
{
    bool some = false;
    for (int g = 0; g < m->pool->n_groups; g++)
        some |= g != group && unpromise_spare(m, g, 0);
    return some || evict(m);
}

pantry_status pn_seq_page_new(struct pn_seq_memory *m, int group, int32_t *page, struct pantry_error *err)
{
    while (pn_kv_pages_used(m->pool, group) >= m->n_promised[group]) {
        if (tree_is_full(m) && evict(m))
            continue;
        pantry_status status = promise_more(m, group, err);
        if (status && !make_room_for_page(m, group))
            return status;
    }
    return pn_kv_page_new(m->pool, group, page, err);
}

void pn_seq_memory_settle(struct pn_seq_memory *m)
{
    for (int g = 0; g < m->pool->n_groups; g++) {
        int32_t spare = m->n_promised[g] - pn_kv_pages_used(m->pool, g), n = portion(m->pool, g);
        if (spare > 2 * n)
            unpromise_spare(m, g, n);
    }
}

bool pn_seq_memory_shrink(struct pn_seq_memory *m)
{
    bool some = false, more = true;
    while (!some && more) {
        for (int g = 0; g < m->pool->n_groups; g++)
            some |= unpromise_spare(m, g, 0);
        more = !some && evict(m);
    }
    return some;
}

pantry_status pn_seq_state_new(struct pn_seq_memory *m, int32_t *state, struct pantry_error *err)
{
    pantry_status status;
    while ((status = pn_state_new(m->runner->states, state, err)) == PANTRY_NO_MEMORY)
        if (!spare(m) && !pn_tree_evict_state(m->tree))
            break;
    return status;
}

/* ---- sequences ---- */

pantry_status pn_seq_init(struct pn_seq *s, struct pn_seq_memory *m, const char *key, int32_t *ids, int n_context,
                          struct pantry_error *err)
{
    *s = (struct pn_seq){.memory = m,
                         .key = key,
                         .ids = ids,
                         .keys = ids,
                         .n_context = n_context,
                         .state = -1,
                         .next = -1,
                         .passing = -1};
    s->table = n_context / PN_PAGE_TOKENS + 1;
    pantry_status status = pn_tables_take(&m->pool->tables, m->pool->n_groups * s->table, &s->pages, err);
    if (status)
        *s = (struct pn_seq){0};
    return status;
}

void pn_seq_release(struct pn_seq *s)
{
    if (!s->memory)
        return;
    pn_seq_drop(s);
    pn_tables_give(&s->memory->pool->tables, s->pages, s->memory->pool->n_groups * s->table);
    *s = (struct pn_seq){0};
}

static int32_t *pages_of(const struct pn_seq *s, int group)
{
    return pn_tables_at(&s->memory->pool->tables, s->pages + group * s->table);
}

/* The entries `first` .. `end` - 1 of all page tables have changed. */
static void changed(const struct pn_seq *s, int first, int end)
{
    for (int g = 0; g < s->memory->pool->n_groups; g++)
        pn_tables_changed(&s->memory->pool->tables, s->pages + g * s->table + first, end - first);
}

static void release_pages(struct pn_seq *s, int group, int end)
{
    for (int *i = &s->first[group]; *i < end; ++*i)
        pn_kv_page_release(s->memory->pool, group, pages_of(s, group)[*i]);
}

void pn_seq_drop(struct pn_seq *s)
{
    for (int g = 0; g < s->memory->pool->n_groups; g++) {
        release_pages(s, g, s->n_pages);
        s->first[g] = 0;
    }
    if (s->state >= 0)
        pn_state_release(s->memory->runner->states, s->state);
    if (s->next >= 0)
        pn_state_release(s->memory->runner->states, s->next);
    s->state = s->next = s->passing = -1;
    s->n_past = s->n_pages = 0;
}

void pn_seq_advance(struct pn_seq *s, int n)
{
    s->n_past += n;
    if (s->next >= 0) {
        pn_state_release(s->memory->runner->states, s->state);
        s->state = s->next;
        s->next = -1;
    }
    for (int g = 1; g < s->memory->pool->n_groups; g++)
        release_pages(s, g, pn_kv_first_page(s->memory->pool, g, s->n_past));
}

struct pn_batch_seq pn_seq_batch(const struct pn_seq *s, int n)
{
    int32_t state = s->state < 0 ? 0 : s->state;
    return (struct pn_batch_seq){.n = n,
                                 .past = s->n_past,
                                 .pages = s->pages,
                                 .table = s->table,
                                 .n_context = pn_runner_rope_context(s->memory->runner),
                                 .state_in = state,
                                 .state_out = s->next < 0 ? state : s->next};
}

uint64_t pn_seq_bytes(const struct pn_seq *s)
{
    uint64_t sum = 0;
    for (int g = 0; s->memory && g < s->memory->pool->n_groups; g++)
        sum += (uint64_t)(s->n_pages - s->first[g]) * pn_kv_page_weight(s->memory->pool, g);
    return sum;
}

/* ---- starting ---- */

/* Sets the state that the sequence resumes from: the tree's, or an empty one. */
static pantry_status start_state(struct pn_seq *s, int32_t from, struct pantry_error *err)
{
    struct pn_state_pool *states = s->memory->runner->states;
    if (!states)
        return PANTRY_OK;
    if (from >= 0) {
        pn_state_retain(states, from);
        s->state = from;
        return PANTRY_OK;
    }
    pantry_status status = pn_seq_state_new(s->memory, &s->state, err);
    if (!status)
        pn_state_clear(states, s->state);
    return status;
}

/* Pages to copy at the start, since the rest of them belongs to other sequences; -1: none. Retained until copied. */
struct copies {
    int32_t from[PN_KV_GROUPS];
};

/* Shares the pages before n_past that windows reach, from a checkpoint at n_past or a little later. */
static void take_windows(struct pn_seq *s, int32_t checkpoint, struct copies *copies)
{
    const struct pn_checkpoints *all = &s->memory->checkpoints;
    struct pn_kv_pool *pool = s->memory->pool;
    for (int g = 1; g < pool->n_groups; g++) {
        int first = pn_kv_first_page(pool, g, s->n_past), had = all->all[checkpoint].first[g];
        s->first[g] = first > had ? first : had;
        for (int i = s->first[g]; i < s->n_pages; i++) {
            pages_of(s, g)[i] = pn_checkpoint_page(all, checkpoint, g, i);
            pn_kv_page_retain(pool, g, pages_of(s, g)[i]);
        }
        if (copies->from[0] >= 0) {
            copies->from[g] = pn_checkpoint_page(all, checkpoint, g, s->n_pages);
            pn_kv_page_retain(pool, g, copies->from[g]);
        }
    }
}

/* Adds a page in every group; on failure in none. */
static pantry_status add_pages(struct pn_seq *s, struct pantry_error *err)
{
    struct pn_kv_pool *pool = s->memory->pool;
    for (int g = 0; g < pool->n_groups; g++) {
        pantry_status status = pn_seq_page_new(s->memory, g, &pages_of(s, g)[s->n_pages], err);
        if (!status)
            continue;
        while (g-- > 0)
            pn_kv_page_release(pool, g, pages_of(s, g)[s->n_pages]);
        return status;
    }
    changed(s, s->n_pages, s->n_pages + 1);
    s->n_pages++;
    return PANTRY_OK;
}

static pantry_status copy_pages(struct pn_seq *s, const struct copies *copies, struct pantry_error *err)
{
    struct pn_kv_pool *pool = s->memory->pool;
    pantry_status status = copies->from[0] >= 0 ? add_pages(s, err) : PANTRY_OK;
    for (int g = 0; g < pool->n_groups; g++)
        if (copies->from[g] >= 0 && !status)
            pn_kv_page_copy(pool, g, pages_of(s, g)[s->n_pages - 1], copies->from[g]);
    return status;
}

static void release_copied(struct pn_seq *s, const struct copies *copies)
{
    for (int g = 0; g < s->memory->pool->n_groups; g++)
        if (copies->from[g] >= 0)
            pn_kv_page_release(s->memory->pool, g, copies->from[g]);
}

/* Whether the sequence could resume after n tokens with the pages it has. */
static bool has_windows_at(const struct pn_seq *s, int n)
{
    bool all = true;
    for (int g = 1; g < s->memory->pool->n_groups; g++)
        all &= pn_kv_least_length(s->memory->pool, g, s->first[g]) <= n;
    return all;
}

pantry_status pn_seq_start(struct pn_seq *s, int n, struct pantry_error *err)
{
    struct pn_seq_memory *m = s->memory;
    struct pn_tree_match match;
    pn_tree_match(m->tree, s->key, s->keys, n, pages_of(s, 0), &match);
    struct copies copies;
    for (int g = 0; g < PN_KV_GROUPS; g++)
        copies.from[g] = g ? -1 : match.copy;
    s->n_pages = match.n_pages;
    s->n_past = match.n_tokens;
    s->n_known = match.n_known;
    if (match.state >= 0)
        take_windows(s, match.state, &copies);
    changed(s, 0, s->n_pages);
    pantry_status status = start_state(s, match.state >= 0 ? m->checkpoints.all[match.state].state : -1, err);
    if (!status)
        status = copy_pages(s, &copies, err);
    release_copied(s, &copies);
    if (!status)
        return PANTRY_OK;
    /* There is no page for the copy; the prefix just found may hold the last ones. */
    if (!m->runner->states && has_windows_at(s, s->n_pages * PN_PAGE_TOKENS)) {
        s->n_past = s->n_pages * PN_PAGE_TOKENS;
        return PANTRY_OK;
    }
    pn_seq_drop(s);
    return match.n_tokens ? start_state(s, -1, err) : status;
}

/* Takes a slot for the next state if others hold the current one. If only the tree does, it may give it up. */
static pantry_status grow_state(struct pn_seq *s, struct pantry_error *err)
{
    struct pn_state_pool *states = s->memory->runner->states;
    while (s->state >= 0 && s->next < 0 && pn_state_refs(states, s->state) > 1) {
        pantry_status status = pn_state_new(states, &s->next, err);
        if (status && !spare(s->memory) && !pn_tree_evict_state(s->memory->tree))
            return status;
    }
    return PANTRY_OK;
}

pantry_status pn_seq_grow(struct pn_seq *s, int n, struct pantry_error *err)
{
    int needed = (s->n_past + n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    while (s->n_pages < needed) {
        pantry_status status = add_pages(s, err);
        if (status)
            return status;
    }
    return grow_state(s, err);
}

/* ---- remembering ---- */

static void make_room_for_state(struct pn_seq_memory *m)
{
    while (pn_tree_n_states(m->tree) >= m->max_states && pn_tree_evict_state(m->tree))
        ;
}

/* Makes a checkpoint after n tokens; takes over `state`. -1: not needed, or out of memory. */
static int32_t checkpoint(struct pn_seq *s, int n, int32_t state)
{
    struct pn_seq_memory *m = s->memory;
    if (!m->stateful)
        return -1;
    int32_t number =
        has_windows_at(s, n) ? pn_checkpoint_new(&m->checkpoints, pages_of(s, 0), s->table, s->first, n, state) : -1;
    if (number < 0 && state >= 0)
        pn_state_release(m->runner->states, state);
    return number;
}

static bool is_kept(const struct pn_seq *s, int32_t number, uint32_t serial)
{
    const struct pn_checkpoint *all = s->memory->checkpoints.all;
    return number >= 0 && all[number].used && all[number].serial == serial;
}

/* Removes the sequence's last checkpoint from the tree, if it was temporary. */
static void forget_passing(struct pn_seq *s)
{
    if (is_kept(s, s->passing, s->passing_serial))
        pn_tree_drop_state(s->memory->tree, s->key, s->keys, s->n_passing, s->passing);
    s->passing = -1;
}

/* Puts the first n tokens into the tree with a checkpoint, which stays, or only until the next one. */
static void remember(struct pn_seq *s, int n, int32_t number, bool stays)
{
    struct pn_checkpoints *c = &s->memory->checkpoints;
    uint32_t serial = number >= 0 ? c->all[number].serial : 0;
    pn_tree_insert(s->memory->tree, s->key, s->keys, n, pages_of(s, 0), number, NULL);
    if (number < 0)
        return;
    forget_passing(s);
    if (stays || !is_kept(s, number, serial)) /* the tree may have had one there already */
        return;
    s->passing = number;
    s->n_passing = n;
    s->passing_serial = serial;
}

void pn_seq_keep(struct pn_seq *s, bool partly)
{
    struct pn_seq_memory *m = s->memory;
    int n = s->n_past;
    int32_t state = -1;
    if (m->stateful)
        make_room_for_state(m);
    if (m->runner->states) {
        state = s->state; /* the next step does not change it */
        pn_state_retain(m->runner->states, state);
    } else if (!partly) {
        n -= n % PN_PAGE_TOKENS;
    }
    if (s->n_passing == n && is_kept(s, s->passing, s->passing_serial)) { /* there is one already */
        s->passing = partly ? -1 : s->passing;
        return;
    }
    remember(s, n, checkpoint(s, n, state), partly || m->runner->states);
}

void pn_seq_keep_last(struct pn_seq *s)
{
    struct pn_seq_memory *m = s->memory;
    if (m->stateful)
        make_room_for_state(m);
    int32_t number = checkpoint(s, s->n_past, s->state);
    s->state = -1; /* the checkpoint owns it now */
    remember(s, s->n_past, number, true);
}

pantry_status pn_seq_adopt(struct pn_seq_memory *m, const char *key, const int32_t *ids, int n, const int32_t *tables,
                           int table, const int *first, int32_t state, struct pantry_error *err)
{
    int32_t number = -1;
    if (m->stateful) {
        make_room_for_state(m);
        number = pn_checkpoint_new(&m->checkpoints, tables, table, first, n, state);
        if (number < 0 && state >= 0)
            pn_state_release(m->runner->states, state);
        if (number < 0)
            return pn_no_memory(err, "a checkpoint");
    }
    return pn_tree_insert(m->tree, key, ids, n, tables, number, err);
}

pantry_status pn_seq_check_ids(const struct pn_model *model, const int32_t *ids, size_t n, struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= model->hp.n_vocab)
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %d", ids[i],
                           model->hp.n_vocab);
    return PANTRY_OK;
}
