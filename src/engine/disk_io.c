/* The threads of the prefix cache: see disk_io.h. */
#include "engine/disk_io.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/threads.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 16 };                           /* of each thread ... */
static const size_t buffer_bytes = (size_t)16 << 20; /* ... or two, if they are larger than this together */

struct pn_disk_counters pn_disk_counters;

/* A thread and its buffers. */
struct side {
    pthread_t thread;
    bool started;
    uint64_t taken;      /* from the budget */
    pthread_cond_t work; /* there is some, or a buffer is free */
    struct pn_disk_buffer buffers[MAX_BUFFERS];
    struct pn_disk_buffer *free, *filled, *last; /* lists; the filled ones in order */
};

struct pn_disk_io {
    struct pn_disk_folder *folder;
    struct pn_disk_shape shape;
    void (*wake)(void *user);
    void *user;
    struct pn_memory *budget;
    double byte_ns; /* what reading costs; 0: unknown. The reader's */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* for pn_disk_io_wait */
    bool stop, failed;
    int n_writing;
    unsigned n_done; /* checks and writes so far */
    struct side reader, writer;
    struct pn_disk_save *checks, *checking;
    struct pn_disk_load *loads;
};

/* ---- buffers; under the lock ---- */

static struct pn_disk_buffer *take_free(struct side *s)
{
    struct pn_disk_buffer *b = s->free;
    if (b)
        s->free = b->next;
    return b;
}

static void give_free(struct side *s, struct pn_disk_buffer *b)
{
    b->next = s->free;
    s->free = b;
}

static void push_filled(struct side *s, struct pn_disk_buffer *b)
{
    b->next = NULL;
    *(s->last ? &s->last->next : &s->filled) = b;
    s->last = b;
}

static struct pn_disk_buffer *pop_filled(struct side *s)
{
    struct pn_disk_buffer *b = s->filled;
    if (b && !(s->filled = b->next))
        s->last = NULL;
    return b;
}

/* ---- writing ---- */

/* Finds the blocks that the folder lacks. Those that it has were used. */
static void check(struct pn_disk_io *io, struct pn_disk_save *s)
{
    struct pn_disk_chain chain;
    bool ok = pn_disk_chain_init(&chain, &s->root, s->ids, s->n);
    struct pn_disk_block *last = NULL;
    for (int i = 0; i < s->n_items; i++) {
        struct pn_disk_block *b = &s->items[i].block;
        if (!ok || !pn_disk_chain_fill(&chain, b))
            continue;
        bool has = pn_disk_folder_has(io->folder, b);
        s->items[i].missing = !has;
        if (b->kind == PN_DISK_PAGE)
            last = has ? b : NULL; /* what follows makes it used */
        else if (has)
            pn_disk_folder_touch(io->folder, b);
    }
    if (last)
        pn_disk_folder_touch(io->folder, last);
    pn_disk_chain_free(&chain);
}

static void save_free(struct pn_disk_save *s)
{
    if (!s)
        return;
    free(s->ids);
    free(s->items);
    free(s);
}

/* Checks the next save. Called and returns with the lock. */
static void run_check(struct pn_disk_io *io)
{
    struct pn_disk_save *s = io->checking = io->checks;
    io->checks = s->next_check;
    if (!s->abandoned) {
        pthread_mutex_unlock(&io->lock);
        check(io, s);
        pthread_mutex_lock(&io->lock);
    }
    io->checking = NULL;
    s->checked = true;
    if (s->abandoned)
        save_free(s);
}

static void count_trimmed(const struct pn_disk_usage *usage)
{
    atomic_fetch_add(&pn_disk_counters.files_removed, usage->removed);
}

/* Writes the next buffer. Called and returns with the lock. */
static void run_write(struct pn_disk_io *io)
{
    struct pn_disk_buffer *b = pop_filled(&io->writer);
    struct pn_disk_usage usage;
    pthread_mutex_unlock(&io->lock);
    bool ok = pn_disk_file_seal(b->file, &b->block) &&
              pn_disk_folder_write(io->folder, &b->block, b->file, NULL) == PANTRY_OK;
    pn_disk_folder_keep_limit(io->folder, &usage);
    count_trimmed(&usage);
    if (ok) {
        atomic_fetch_add(&pn_disk_counters.files_written, 1);
        atomic_fetch_add(&pn_disk_counters.bytes_written, pn_disk_file_size(b->block.bytes));
    } else {
        atomic_fetch_add(&pn_disk_counters.failures, 1);
    }
    atomic_fetch_sub(&pn_disk_counters.pending, 1);
    pthread_mutex_lock(&io->lock);
    io->failed |= !ok;
    io->n_writing--;
    give_free(&io->writer, b);
}

static void *write_thread(void *user)
{
    struct pn_disk_io *io = user;
    pthread_mutex_lock(&io->lock);
    while (!io->stop) {
        if (io->writer.filled) {
            run_write(io);
        } else if (io->checks) {
            run_check(io);
        } else {
            pthread_cond_wait(&io->writer.work, &io->lock);
            continue;
        }
        io->n_done++;
        pthread_cond_broadcast(&io->changed);
        pthread_mutex_unlock(&io->lock);
        io->wake(io->user);
        pthread_mutex_lock(&io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

/* ---- reading ---- */

static void load_free(struct pn_disk_load *l)
{
    if (!l)
        return;
    free(l->ids);
    free(l->pages);
    free(l);
}

/* A free buffer for a load; NULL: it was abandoned. */
static struct pn_disk_buffer *take_for(struct pn_disk_io *io, struct pn_disk_load *l)
{
    struct pn_disk_buffer *b = NULL;
    pthread_mutex_lock(&io->lock);
    while (!io->stop && !l->abandoned && !(b = take_free(&io->reader)))
        pthread_cond_wait(&io->reader.work, &io->lock);
    pthread_mutex_unlock(&io->lock);
    return b;
}

static void give_back(struct pn_disk_io *io, struct pn_disk_buffer *b)
{
    pthread_mutex_lock(&io->lock);
    give_free(&io->reader, b);
    pthread_mutex_unlock(&io->lock);
}

/* Hands a buffer to the engine. */
static void hand_over(struct pn_disk_io *io, struct pn_disk_load *l, struct pn_disk_buffer *b)
{
    pthread_mutex_lock(&io->lock);
    b->load = l;
    if (l->abandoned) {
        give_free(&io->reader, b);
    } else {
        push_filled(&io->reader, b);
        l->n_ready++;
    }
    pthread_mutex_unlock(&io->lock);
    io->wake(io->user);
}

/* Reads a block into a buffer, and learns how long that takes. */
static bool read_into(struct pn_disk_io *io, struct pn_disk_buffer *b, const struct pn_disk_block *block)
{
    uint64_t began = pn_clock_ns();
    size_t size = pn_disk_file_size(block->bytes);
    b->block = *block;
    pantry_status status = pn_disk_folder_read(io->folder, &b->block, b->file);
    if (status == PANTRY_FORMAT)
        atomic_fetch_add(&pn_disk_counters.files_rejected, 1);
    if (status)
        return false;
    double each = (double)(pn_clock_ns() - began) / (double)size;
    io->byte_ns = io->byte_ns > 0 ? io->byte_ns + (each - io->byte_ns) / 4 : each;
    atomic_fetch_add(&pn_disk_counters.bytes_loaded, size);
    return true;
}

/* Reads a block for the engine. */
static bool read_block(struct pn_disk_io *io, struct pn_disk_load *l, const struct pn_disk_chain *chain,
                       struct pn_disk_block block)
{
    struct pn_disk_buffer *b = take_for(io, l);
    if (!b)
        return false;
    if (!pn_disk_chain_fill(chain, &block) || !read_into(io, b, &block)) {
        give_back(io, b);
        return false;
    }
    if (block.kind == PN_DISK_WINDOW)
        pn_disk_folder_touch(io->folder, &block);
    hand_over(io, l, b);
    return true;
}

/* Whether reading n tokens from the disk takes less time than computing them. Until both were measured, it does; what
 * was measured long ago counts less, so that a disk that was slow once gets another chance. */
static bool is_faster(struct pn_disk_io *io, const struct pn_disk_load *l, int n)
{
    const struct pn_disk_shape *s = &io->shape;
    int first = l->n_have, end = (n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    double bytes = (double)s->state_bytes + (double)(end - first) * (double)s->page_bytes[0];
    for (int g = 1; g < s->pool->n_groups; g++)
        bytes += (double)(end - pn_kv_first_page(s->pool, g, n)) * (double)s->page_bytes[g];
    bool faster = bytes * io->byte_ns < (n - l->n_resumes) * l->token_ns || !(l->token_ns > 0);
    if (!faster)
        io->byte_ns *= 0.9;
    return faster;
}

/* Loads the pages of a model that needs no checkpoints. Returns how many tokens. */
static int load_pages(struct pn_disk_io *io, struct pn_disk_load *l, const struct pn_disk_chain *chain)
{
    int n = pn_disk_find_pages(io->folder, &io->shape, chain, l->n_have), i = l->n_have;
    if (n <= l->n_resumes || !is_faster(io, l, n))
        return 0;
    while (i < n / PN_PAGE_TOKENS && read_block(io, l, chain, pn_disk_page_block(&io->shape, 0, i, n)))
        i++;
    struct pn_disk_block last = pn_disk_page_block(&io->shape, 0, i - 1, n);
    if (i > l->n_have && pn_disk_chain_fill(chain, &last))
        pn_disk_folder_touch(io->folder, &last);
    return i * PN_PAGE_TOKENS > l->n_resumes ? i * PN_PAGE_TOKENS : 0;
}

/* Reads the longest checkpoint whose pages are all there into a buffer. NULL: there is none. */
static struct pn_disk_buffer *read_checkpoint(struct pn_disk_io *io, struct pn_disk_load *l,
                                              const struct pn_disk_chain *chain)
{
    struct pn_disk_block c;
    struct pn_disk_buffer *b = take_for(io, l);
    int n = b ? chain->n : 0;
    while ((n = pn_disk_find_checkpoint(io->folder, &io->shape, chain, n, l->n_resumes, &c)) > 0) {
        if (!is_faster(io, l, n))
            break;
        bool good = read_into(io, b, &c);
        if (good && pn_disk_is_complete(io->folder, &io->shape, chain, &b->block, l->n_have))
            return b;
        if (good)
            pn_disk_folder_remove(io->folder, &c); /* useless without the pages that are gone */
        n--;
    }
    if (b)
        give_back(io, b);
    return NULL;
}

/* Loads a checkpoint and its pages. Returns after how many tokens it is. */
static int load_checkpoint(struct pn_disk_io *io, struct pn_disk_load *l, const struct pn_disk_chain *chain)
{
    struct pn_disk_buffer *b = read_checkpoint(io, l, chain);
    if (!b)
        return 0;
    const struct pn_disk_block c = b->block;
    bool ok = true;
    hand_over(io, l, b);
    for (int g = 0; g < io->shape.pool->n_groups; g++)
        for (int i = g ? c.first[g] : l->n_have; ok && i * PN_PAGE_TOKENS < c.n; i++)
            ok = read_block(io, l, chain, pn_disk_page_block(&io->shape, g, i, c.n));
    if (ok)
        pn_disk_folder_touch(io->folder, &c);
    return ok ? c.n : 0;
}

/* Runs the next load. Called and returns with the lock. */
static void run_load(struct pn_disk_io *io)
{
    struct pn_disk_load *l = io->loads;
    struct pn_disk_chain chain = {0};
    int n = 0;
    if (!l->abandoned) {
        pthread_mutex_unlock(&io->lock);
        atomic_fetch_add(&pn_disk_counters.lookups, 1);
        if (pn_disk_chain_init(&chain, &l->root, l->ids, l->n))
            n = io->shape.stateful ? load_checkpoint(io, l, &chain) : load_pages(io, l, &chain);
        pn_disk_chain_free(&chain);
        pthread_mutex_lock(&io->lock);
    }
    io->loads = l->next_read;
    l->n_found = n;
    l->done = true;
    if (l->abandoned)
        load_free(l);
}

static void *read_thread(void *user)
{
    struct pn_disk_io *io = user;
    pthread_mutex_lock(&io->lock);
    while (!io->stop) {
        if (!io->loads) {
            pthread_cond_wait(&io->reader.work, &io->lock);
            continue;
        }
        run_load(io);
        pthread_mutex_unlock(&io->lock);
        io->wake(io->user);
        pthread_mutex_lock(&io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

/* ---- life ---- */

static size_t largest_block(const struct pn_disk_shape *shape)
{
    size_t most = shape->state_bytes;
    for (int g = 0; g < shape->pool->n_groups; g++)
        most = shape->page_bytes[g] > most ? shape->page_bytes[g] : most;
    return most;
}

static bool make_buffers(struct pn_disk_io *io, struct side *s)
{
    size_t size = pn_disk_file_size(largest_block(&io->shape)), n = buffer_bytes / size;
    uint64_t left = pn_memory_left(io->budget) / 16; /* they only save time */
    n = n > MAX_BUFFERS ? MAX_BUFFERS : n;
    n = n * size > left ? (size_t)(left / size) : n;
    n = n < 2 ? 2 : n;
    if (s->taken)
        return true;
    if (n * size > 2 * left || pn_memory_take(io->budget, n * size, "the buffers of the prefix cache", NULL))
        return false;
    s->taken = n * size;
    pn_memory_touch(io->budget, (int64_t)s->taken);
    for (size_t i = 0; i < n; i++)
        if ((s->buffers[i].file = malloc(size)))
            give_free(s, &s->buffers[i]);
    return s->free != NULL;
}

static void free_side(struct pn_disk_io *io, struct side *s)
{
    if (s->started)
        pthread_join(s->thread, NULL);
    for (int i = 0; i < MAX_BUFFERS; i++)
        free(s->buffers[i].file);
    pn_memory_touch(io->budget, -(int64_t)s->taken);
    pn_memory_give(io->budget, s->taken);
    pthread_cond_destroy(&s->work);
}

pantry_status pn_disk_io_new(struct pn_disk_folder *folder, const struct pn_disk_shape *shape, void (*wake)(void *user),
                             void *user, struct pn_disk_io **out, struct pantry_error *err)
{
    struct pn_disk_io *io = *out = calloc(1, sizeof *io);
    if (!io)
        return pn_no_memory(err, "the prefix cache");
    *io = (struct pn_disk_io){
        .folder = folder, .shape = *shape, .wake = wake, .user = user, .budget = pn_memory_of_process()};
    pthread_mutex_init(&io->lock, NULL);
    pn_os_cond_init(&io->changed);
    pthread_cond_init(&io->reader.work, NULL);
    pthread_cond_init(&io->writer.work, NULL);
    return PANTRY_OK;
}

void pn_disk_io_free(struct pn_disk_io *io)
{
    if (!io)
        return;
    pthread_mutex_lock(&io->lock);
    io->stop = true;
    pthread_cond_broadcast(&io->reader.work);
    pthread_cond_broadcast(&io->writer.work);
    pthread_mutex_unlock(&io->lock);
    free_side(io, &io->reader);
    free_side(io, &io->writer);
    for (struct pn_disk_load *l = io->loads, *next; l; l = next) {
        next = l->next_read;
        load_free(l);
    }
    for (struct pn_disk_save *s = io->checks, *next; s; s = next) {
        next = s->next_check;
        save_free(s);
    }
    atomic_fetch_sub(&pn_disk_counters.pending, (uint64_t)io->n_writing);
    pthread_cond_destroy(&io->changed);
    pthread_mutex_destroy(&io->lock);
    free(io);
}

struct pn_disk_save *pn_disk_save_new(const int32_t *ids, int n, int n_items)
{
    struct pn_disk_save *s = calloc(1, sizeof *s);
    if (!s || !(s->ids = malloc((size_t)n * sizeof *ids)) || !(s->items = calloc((size_t)n_items, sizeof *s->items))) {
        save_free(s);
        return NULL;
    }
    memcpy(s->ids, ids, (size_t)n * sizeof *ids);
    s->n = n;
    return s;
}

struct pn_disk_load *pn_disk_load_new(const int32_t *ids, int n, int n_groups)
{
    struct pn_disk_load *l = calloc(1, sizeof *l);
    int table = n / PN_PAGE_TOKENS + 1;
    size_t n_pages = (size_t)(n_groups * table);
    if (!l || !(l->ids = malloc((size_t)n * sizeof *ids)) || !(l->pages = malloc(n_pages * sizeof *l->pages))) {
        load_free(l);
        return NULL;
    }
    memcpy(l->ids, ids, (size_t)n * sizeof *ids);
    for (size_t i = 0; i < n_pages; i++)
        l->pages[i] = -1;
    l->n = n;
    l->table = table;
    l->state = -1;
    return l;
}

/* ---- from the engine's thread ---- */

/* Threads and their buffers are made for the first work. The lock is held. */
static bool start(struct pn_disk_io *io, struct side *s, void *(*run)(void *))
{
    if (!s->started && make_buffers(io, s))
        s->started = pn_thread_start(&s->thread, run, io) == 0;
    return s->started;
}

bool pn_disk_io_check(struct pn_disk_io *io, struct pn_disk_save *save)
{
    pthread_mutex_lock(&io->lock);
    bool ok = start(io, &io->writer, write_thread);
    struct pn_disk_save **end = &io->checks;
    while (*end)
        end = &(*end)->next_check;
    if (ok)
        *end = save;
    pthread_cond_signal(&io->writer.work);
    pthread_mutex_unlock(&io->lock);
    return ok;
}

bool pn_disk_io_read(struct pn_disk_io *io, struct pn_disk_load *load)
{
    pthread_mutex_lock(&io->lock);
    bool ok = start(io, &io->reader, read_thread);
    struct pn_disk_load **end = &io->loads;
    while (*end)
        end = &(*end)->next_read;
    if (ok)
        *end = load;
    pthread_cond_signal(&io->reader.work);
    pthread_mutex_unlock(&io->lock);
    return ok;
}

void pn_disk_io_drop_save(struct pn_disk_io *io, struct pn_disk_save *save)
{
    pthread_mutex_lock(&io->lock);
    bool queued = io->checking == save;
    for (const struct pn_disk_save *s = io->checks; s; s = s->next_check)
        queued |= s == save;
    if (queued)
        save->abandoned = true;
    else
        save_free(save);
    pthread_mutex_unlock(&io->lock);
}

/* Returns the buffers of a load that the engine did not copy. The lock is held. */
static void give_ready(struct pn_disk_io *io, const struct pn_disk_load *load)
{
    struct side *s = &io->reader;
    struct pn_disk_buffer *all = s->filled;
    s->filled = s->last = NULL;
    for (struct pn_disk_buffer *b = all, *next; b; b = next) {
        next = b->next;
        if (b->load == load)
            give_free(s, b);
        else
            push_filled(s, b);
    }
}

void pn_disk_io_drop_load(struct pn_disk_io *io, struct pn_disk_load *load)
{
    pthread_mutex_lock(&io->lock);
    give_ready(io, load);
    if (load->done)
        load_free(load);
    else
        load->abandoned = true;
    pthread_cond_signal(&io->reader.work);
    pthread_mutex_unlock(&io->lock);
}

struct pn_disk_buffer *pn_disk_io_take(struct pn_disk_io *io, struct pn_disk_save *save)
{
    pthread_mutex_lock(&io->lock);
    struct pn_disk_buffer *b = save->checked ? take_free(&io->writer) : NULL;
    pthread_mutex_unlock(&io->lock);
    return b;
}

void pn_disk_io_write(struct pn_disk_io *io, struct pn_disk_buffer *b)
{
    pthread_mutex_lock(&io->lock);
    push_filled(&io->writer, b);
    io->n_writing++;
    atomic_fetch_add(&pn_disk_counters.pending, 1);
    pthread_cond_signal(&io->writer.work);
    pthread_mutex_unlock(&io->lock);
}

bool pn_disk_io_is_checked(struct pn_disk_io *io, const struct pn_disk_save *save)
{
    pthread_mutex_lock(&io->lock);
    bool checked = save->checked;
    pthread_mutex_unlock(&io->lock);
    return checked;
}

bool pn_disk_io_has_failed(struct pn_disk_io *io)
{
    pthread_mutex_lock(&io->lock);
    bool failed = io->failed;
    io->failed = false;
    pthread_mutex_unlock(&io->lock);
    return failed;
}

struct pn_disk_buffer *pn_disk_io_next(struct pn_disk_io *io)
{
    pthread_mutex_lock(&io->lock);
    struct pn_disk_buffer *b = pop_filled(&io->reader);
    if (b)
        b->load->n_ready--;
    pthread_mutex_unlock(&io->lock);
    return b;
}

void pn_disk_io_give(struct pn_disk_io *io, struct pn_disk_buffer *b)
{
    pthread_mutex_lock(&io->lock);
    give_free(&io->reader, b);
    pthread_cond_signal(&io->reader.work);
    pthread_mutex_unlock(&io->lock);
}

bool pn_disk_io_is_loaded(struct pn_disk_io *io, const struct pn_disk_load *load, int *n)
{
    pthread_mutex_lock(&io->lock);
    bool loaded = load->done && !load->n_ready;
    *n = load->n_found;
    pthread_mutex_unlock(&io->lock);
    return loaded;
}

unsigned pn_disk_io_progress(struct pn_disk_io *io)
{
    pthread_mutex_lock(&io->lock);
    unsigned n = io->n_done;
    pthread_mutex_unlock(&io->lock);
    return n;
}

void pn_disk_io_wait(struct pn_disk_io *io, unsigned seen, uint64_t ns)
{
    pthread_mutex_lock(&io->lock);
    if (io->n_done == seen)
        pn_os_cond_wait(&io->changed, &io->lock, ns);
    pthread_mutex_unlock(&io->lock);
}

bool pn_disk_io_is_writing(struct pn_disk_io *io)
{
    pthread_mutex_lock(&io->lock);
    bool writing = io->n_writing > 0;
    pthread_mutex_unlock(&io->lock);
    return writing;
}
