/* The prefix cache on disk: see disk.h. */
#include "engine/disk.h"

#include "base/clock.h"
#include "engine/disk_identity.h"
#include "engine/disk_io.h"

#include <stdlib.h>
#include <string.h>

enum {
    LEAST_TOKENS = 2 * PN_PAGE_TOKENS, /* shorter prefixes are not worth a file */
    MAX_SAVES = 256,                   /* prefixes that hold references at the same time */
    MAX_POINTS = 64,
    LAST_POINTS = 3,     /* always saved: the ends of the answer, of its prompt, and of the one before */
    POINT_TOKENS = 1024, /* between those before */
};
static const size_t busy_bytes = (size_t)8 << 20; /* copied per step while requests run: about a millisecond */
static const uint64_t flush_ns = 5000000000u;

struct pn_disk {
    struct pn_disk_folder *folder;
    struct pn_disk_io *io;
    struct pn_disk_shape shape;
    struct pn_seq_memory *memory;
    struct pn_disk_key identity;
    struct pn_disk_save *saves, *last_save; /* in order */
    int n_saves;
    struct pn_disk_load *loads;
    bool copying; /* into pages: the loads must stay */
};

/* ---- references ---- */

/* The blocks' memory. */
static struct pn_slots *slots_of(const struct pn_disk *d, const struct pn_disk_block *b)
{
    return b->kind == PN_DISK_CHECKPOINT ? &d->memory->runner->states->slots : &d->memory->pool->groups[b->group].slots;
}

static void retain(struct pn_disk *d, const struct pn_disk_item *item)
{
    if (item->slot < 0)
        return;
    if (item->block.kind == PN_DISK_CHECKPOINT)
        pn_state_retain(d->memory->runner->states, item->slot);
    else
        pn_kv_page_retain(d->memory->pool, item->block.group, item->slot);
}

static void release(struct pn_disk *d, const struct pn_disk_item *item)
{
    if (item->slot < 0)
        return;
    if (item->block.kind == PN_DISK_CHECKPOINT)
        pn_state_release(d->memory->runner->states, item->slot);
    else
        pn_kv_page_release(d->memory->pool, item->block.group, item->slot);
}

/* ---- saving ---- */

/* Ends the oldest save, whose items from `done` on have references. */
static void end_save(struct pn_disk *d)
{
    struct pn_disk_save *s = d->saves;
    for (; s->done < s->n_items; s->done++)
        release(d, &s->items[s->done]);
    if (!(d->saves = s->next))
        d->last_save = NULL;
    d->n_saves--;
    atomic_fetch_sub(&pn_disk_counters.pending, 1);
    pn_disk_io_drop_save(d->io, s);
}

/* Whether prefixes with a key of the prefix tree outlive the process: no key, or the caller's. */
static bool lasts(const char *key)
{
    return key[0] == '\0' || key[0] == '/';
}

/* Chooses the checkpoints to save: the last ones, those where paths fork, and some of the others. */
static int choose_points(struct pn_tree_point *points, int n)
{
    int kept = 0, before = 0;
    for (int i = 0; i < n; i++) {
        if (i < n - LAST_POINTS && !points[i].forks && points[i].n - before < POINT_TOKENS)
            continue;
        before = points[i].n;
        points[kept++] = points[i];
    }
    return kept;
}

/* The tokens after which a checkpoint is saved: windows reach back a page more than needed, so it can be cut to full
 * pages; a recurrent state cannot. 0: the windows do not reach. */
static int point_end(const struct pn_disk *d, const struct pn_tree_point *p)
{
    const struct pn_checkpoints *all = &d->memory->checkpoints;
    int n = d->shape.recurrent ? p->n : p->n / PN_PAGE_TOKENS * PN_PAGE_TOKENS;
    return p->n - n <= pn_checkpoint_back(all, p->state) || n == p->n ? n : 0;
}

static int32_t group_page(const struct pn_disk *d, const struct pn_tree_point *p, int group, int i)
{
    return pn_checkpoint_page(&d->memory->checkpoints, p->state, group, i);
}

/* Adds the blocks of a checkpoint to `items` (NULL: only counts them): the page of layers that see everything if it is
 * not full, the pages of the windows, and last the checkpoint itself. */
static int add_point(const struct pn_disk *d, const struct pn_tree_point *p, struct pn_disk_item *items)
{
    const struct pn_checkpoint *c = &d->memory->checkpoints.all[p->state];
    int end = point_end(d, p), n = 0, n_pages = (end + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    struct pn_disk_block mark = {.kind = PN_DISK_CHECKPOINT, .n = end, .bytes = d->shape.state_bytes};
    if (end < LEAST_TOKENS)
        return 0;
    if (end % PN_PAGE_TOKENS) {
        if (items)
            items[n] = (struct pn_disk_item){pn_disk_page_block(&d->shape, 0, n_pages - 1, end), p->page, false};
        n++;
    }
    for (int g = 1; g < d->memory->pool->n_groups; g++) {
        int first = pn_kv_first_page(d->memory->pool, g, end);
        mark.first[g] = first > c->first[g] ? first : c->first[g];
        for (int i = mark.first[g]; i < n_pages; i++, n++)
            if (items)
                items[n] =
                    (struct pn_disk_item){pn_disk_page_block(&d->shape, g, i, end), group_page(d, p, g, i), false};
    }
    if (items)
        items[n] = (struct pn_disk_item){mark, c->state, false};
    return n + 1;
}

/* Makes the list of blocks: all full pages, then the checkpoints, the newest first. */
static struct pn_disk_save *list_blocks(struct pn_disk *d, const int32_t *ids, int n, const int32_t *pages,
                                        const struct pn_tree_path *path)
{
    int n_items = path->n_pages;
    for (int i = 0; i < path->n_points; i++)
        n_items += add_point(d, &path->points[i], NULL);
    struct pn_disk_save *s = n_items ? pn_disk_save_new(ids, n, n_items) : NULL;
    if (!s)
        return NULL;
    for (int i = 0; i < path->n_pages; i++)
        s->items[s->n_items++] = (struct pn_disk_item){pn_disk_page_block(&d->shape, 0, i, n), pages[i], false};
    for (int i = path->n_points; i-- > 0;)
        s->n_items += add_point(d, &path->points[i], s->items + s->n_items);
    return s;
}

static void queue_save(struct pn_disk *d, struct pn_disk_save *s)
{
    if (!d->saves)
        pn_disk_io_has_failed(d->io); /* an earlier failure says nothing about this one */
    for (int i = 0; i < s->n_items; i++)
        retain(d, &s->items[i]);
    *(d->last_save ? &d->last_save->next : &d->saves) = s;
    d->last_save = s;
    d->n_saves++;
    atomic_fetch_add(&pn_disk_counters.pending, 1);
}

void pn_disk_save(struct pn_disk *d, const char *key, const int32_t *ids, int n)
{
    struct pn_tree_point points[MAX_POINTS];
    struct pn_tree_path path = {.points = points, .room = d->shape.stateful ? MAX_POINTS : 0};
    if (!lasts(key) || n < LEAST_TOKENS || d->n_saves >= MAX_SAVES)
        return;
    int32_t *pages = malloc((size_t)(n / PN_PAGE_TOKENS) * sizeof *pages);
    struct pn_disk_save *s = NULL;
    if (pages) {
        pn_tree_trace(d->memory->tree, key, ids, n, pages, &path);
        path.n_points = choose_points(points, path.n_points);
        if (path.n_points || !d->shape.stateful)
            s = list_blocks(d, ids, n, pages, &path);
    }
    free(pages);
    if (!s)
        return;
    if (!pn_disk_root(&d->identity, d->memory->runner->rope, key, &s->root)) {
        pn_disk_io_drop_save(d->io, s);
        return;
    }
    queue_save(d, s);
    if (!pn_disk_io_check(d->io, s)) /* no thread */
        while (d->saves)
            end_save(d);
}

/* Copies blocks that the folder lacks to buffers, at most `most` bytes. True: it could go on. */
static bool copy_saves(struct pn_disk *d, size_t most)
{
    while (d->saves && most > 0 && pn_disk_io_is_checked(d->io, d->saves)) {
        struct pn_disk_save *s = d->saves;
        for (; s->done < s->n_items && most > 0; s->done++) {
            struct pn_disk_item *item = &s->items[s->done];
            struct pn_disk_buffer *b = item->missing ? pn_disk_io_take(d->io, s) : NULL;
            if (item->missing && !b)
                return false;
            if (b) {
                b->block = item->block;
                if (item->block.bytes)
                    pn_slots_read(slots_of(d, &item->block), item->slot, b->file + PN_DISK_HEADER);
                pn_disk_io_write(d->io, b);
                most -= item->block.bytes < most ? item->block.bytes : most;
            }
            release(d, item);
        }
        if (s->done == s->n_items)
            end_save(d);
    }
    return d->saves && most == 0;
}

/* ---- loading ---- */

static int32_t *page_of(const struct pn_disk_load *l, int group, int i)
{
    return &l->pages[group * l->table + i];
}

/* Gives back the pages and the state of a load, which then fails. False: it has none. */
static bool give_up(struct pn_disk *d, struct pn_disk_load *l)
{
    bool some = l->state >= 0;
    if (l->state >= 0)
        pn_state_release(d->memory->runner->states, l->state);
    l->state = -1;
    for (int g = 0; g < d->memory->pool->n_groups; g++)
        for (int i = 0; i < l->table; i++) {
            if (*page_of(l, g, i) < 0)
                continue;
            pn_kv_page_release(d->memory->pool, g, *page_of(l, g, i));
            *page_of(l, g, i) = -1;
            some = true;
        }
    l->failed |= some;
    return some;
}

/* Takes a load off the list and gives back what it holds. */
static void end_load(struct pn_disk *d, struct pn_disk_load *l)
{
    struct pn_disk_load **at = &d->loads;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    give_up(d, l);
    pn_disk_io_drop_load(d->io, l);
}

/* Copies a block into a page or state. */
static void copy_in(struct pn_disk *d, struct pn_disk_load *l, const struct pn_disk_buffer *b)
{
    const struct pn_disk_block *block = &b->block;
    int32_t *slot = &l->state;
    pantry_status status = PANTRY_OK;
    if (block->kind == PN_DISK_CHECKPOINT) {
        memcpy(l->first, block->first, sizeof l->first);
        l->has_checkpoint = true;
        if (!d->memory->runner->states)
            return;
        status = pn_seq_state_new(d->memory, slot, NULL);
    } else {
        slot = page_of(l, block->group, (block->n - 1) / PN_PAGE_TOKENS);
        status = pn_seq_page_new(d->memory, block->group, slot, NULL);
    }
    l->failed |= status != PANTRY_OK;
    if (status)
        *slot = -1;
    else if (block->bytes)
        pn_slots_write(slots_of(d, block), *slot, b->file + PN_DISK_HEADER);
}

/* Copies what has been read into memory, at most `most` bytes. True: there may be more. */
static bool copy_loads(struct pn_disk *d, size_t most)
{
    struct pn_disk_buffer *b;
    d->copying = true;
    while (most > 0 && (b = pn_disk_io_next(d->io))) {
        if (!b->load->failed)
            copy_in(d, b->load, b);
        most -= b->block.bytes < most ? b->block.bytes : most;
        pn_disk_io_give(d->io, b);
    }
    d->copying = false;
    return most == 0;
}

/* Puts a load's n tokens into the tree, if the pages before them are still there. */
static bool adopt(struct pn_disk *d, struct pn_disk_load *l, const char *key, int n)
{
    struct pn_tree_path path = {0};
    int32_t *had = malloc((size_t)l->table * sizeof *had), state = l->state;
    if (had)
        pn_tree_trace(d->memory->tree, key, l->ids, l->n, had, &path);
    bool ok = had && !l->failed && path.n_pages >= l->n_have && (l->has_checkpoint || !d->shape.stateful);
    for (int i = 0; i < l->n_have && ok; i++) { /* the tree may give them up while it makes room */
        *page_of(l, 0, i) = had[i];
        pn_kv_page_retain(d->memory->pool, 0, had[i]);
    }
    free(had);
    if (!ok)
        return false;
    l->state = -1;
    if (pn_seq_adopt(d->memory, key, l->ids, n, l->pages, l->table, l->first, state, NULL))
        return false;
    atomic_fetch_add(&pn_disk_counters.hits, 1);
    atomic_fetch_add(&pn_disk_counters.tokens_loaded, (uint64_t)(n - l->n_resumes));
    return true;
}

static struct pn_disk_load *begin_load(struct pn_disk *d, const char *key, const int32_t *ids, int n, int resumes,
                                       double token_ns)
{
    struct pn_tree_path path = {0};
    struct pn_disk_load *l = pn_disk_load_new(ids, n, d->memory->pool->n_groups);
    if (!l)
        return NULL;
    pn_tree_trace(d->memory->tree, key, ids, n, l->pages, &path);
    for (int i = 0; i < path.n_pages; i++) /* the tree's */
        l->pages[i] = -1;
    l->n_have = path.n_pages;
    l->n_resumes = resumes;
    l->token_ns = token_ns;
    l->next = d->loads;
    d->loads = l;
    if (pn_disk_root(&d->identity, d->memory->runner->rope, key, &l->root) && pn_disk_io_read(d->io, l))
        return l;
    l->done = true; /* no thread has it */
    end_load(d, l);
    return NULL;
}

bool pn_disk_wait(struct pn_disk *d, struct pn_disk_load **load, const char *key, const int32_t *ids, int n,
                  int resumes, double token_ns, int *loaded)
{
    *loaded = resumes;
    if (!*load) {
        if (lasts(key) && n - resumes >= LEAST_TOKENS)
            *load = begin_load(d, key, ids, n, resumes, token_ns);
        return *load != NULL;
    }
    struct pn_disk_load *l = *load;
    int found;
    if (!pn_disk_io_is_loaded(d->io, l, &found))
        return true;
    if (found > 0 && adopt(d, l, key, found))
        *loaded = found;
    end_load(d, l);
    *load = NULL;
    return false;
}

void pn_disk_forget(struct pn_disk *d, struct pn_disk_load *load)
{
    end_load(d, load);
}

/* ---- steps ---- */

bool pn_disk_step(struct pn_disk *d, bool busy)
{
    bool more = false;
    if (d->loads)
        more = copy_loads(d, busy ? busy_bytes : SIZE_MAX);
    if (!d->saves)
        return more;
    if (!pn_disk_io_has_failed(d->io))
        return copy_saves(d, busy ? busy_bytes : SIZE_MAX) || more;
    while (d->saves) /* the disk may be full: the next request's end tries again */
        end_save(d);
    return more;
}

/* Gives back what is held besides the tree. False: there was nothing. */
static bool spare(void *user)
{
    struct pn_disk *d = user;
    bool some = d->saves != NULL;
    while (d->saves)
        end_save(d);
    for (struct pn_disk_load *l = d->loads; l && !d->copying; l = l->next)
        some |= give_up(d, l);
    return some;
}

void pn_disk_flush(struct pn_disk *d)
{
    uint64_t end = pn_clock_ns() + flush_ns, now;
    for (;;) {
        unsigned seen = pn_disk_io_progress(d->io);
        pn_disk_step(d, false);
        if ((!d->saves && !pn_disk_io_is_writing(d->io)) || (now = pn_clock_ns()) >= end)
            return;
        pn_disk_io_wait(d->io, seen, end - now);
    }
}

/* ---- life ---- */

pantry_status pn_disk_new(struct pn_disk_folder *folder, const struct pn_rope_override *rope, struct pn_seq_memory *m,
                          void (*wake)(void *user), void *user, struct pn_disk **out, struct pantry_error *err)
{
    struct pn_disk *d = *out = NULL;
    if (!(d = calloc(1, sizeof *d)))
        return pn_no_memory(err, "the prefix cache");
    d->folder = folder;
    d->memory = m;
    d->shape = (struct pn_disk_shape){.pool = m->pool, .stateful = m->stateful, .recurrent = m->runner->states != NULL};
    for (int g = 0; g < m->pool->n_groups; g++)
        d->shape.page_bytes[g] = pn_slots_bytes(&m->pool->groups[g].slots);
    if (m->runner->states)
        d->shape.state_bytes = pn_slots_bytes(&m->runner->states->slots);
    pantry_status status = pn_disk_identity(m->runner, rope, &d->identity, err);
    if (!status)
        status = pn_disk_io_new(folder, &d->shape, wake, user, &d->io, err);
    if (status) {
        free(d);
        return status;
    }
    m->spare = spare;
    m->spare_user = d;
    *out = d;
    return PANTRY_OK;
}

void pn_disk_free(struct pn_disk *d)
{
    if (!d)
        return;
    while (d->saves)
        end_save(d);
    while (d->loads)
        end_load(d, d->loads);
    d->memory->spare = NULL;
    pn_disk_io_free(d->io);
    free(d);
}
