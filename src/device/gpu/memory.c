/* Memory and weights of GPU devices: see gpu.h and memory.h. */
#include "device/gpu/memory.h"

#include <stdlib.h>
#include <string.h>

/* Tensors this close share an extent, so a model file becomes a few. No other tensor fits between them. */
static const size_t max_gap = 256;
/* ... as long as it does not get larger than this, so that tensors of a file can come and go in parts. */
static const size_t max_extent = (size_t)1 << 30;

static struct pn_gpu *gpu_of(struct pn_device *device)
{
    return (struct pn_gpu *)device;
}

/* ---- buffers ---- */

void pn_gpu_memory_of(const struct pn_device *device, uint64_t *total, uint64_t *free)
{
    struct pn_gpu *g = (struct pn_gpu *)(uintptr_t)device;
    pthread_mutex_lock(&g->lock);
    g->driver->class->memory(g->driver, total, free);
    pthread_mutex_unlock(&g->lock);
}

static bool reserve(struct pn_gpu *g)
{
    if (g->n_buffers < g->cap_buffers)
        return true;
    size_t cap = g->cap_buffers ? 2 * g->cap_buffers : 16;
    struct pn_gpu_memory *grown = realloc(g->buffers, cap * sizeof *grown);
    if (!grown)
        return false;
    g->buffers = grown;
    g->cap_buffers = cap;
    return true;
}

pantry_status pn_gpu_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    struct pn_gpu *g = gpu_of(device);
    *out = (struct pn_buffer){0};
    if (size == 0)
        return PANTRY_OK;
    pthread_mutex_lock(&g->lock);
    pantry_status status = reserve(g) ? PANTRY_OK : pn_no_memory(err, "a list of buffers");
    if (!status)
        status = g->driver->class->allocate(g->driver, size, &g->buffers[g->n_buffers], err);
    if (!status) {
        const struct pn_gpu_memory *m = &g->buffers[g->n_buffers++];
        *out = (struct pn_buffer){device, m->host, m->address, size};
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

void pn_gpu_buffer_free(struct pn_device *device, struct pn_buffer *buffer)
{
    if (!buffer)
        return;
    struct pn_gpu *g = gpu_of(device);
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->n_buffers; i++)
        if (g->buffers[i].address == buffer->address && buffer->size) {
            g->driver->class->release(g->driver, &g->buffers[i]);
            g->buffers[i] = g->buffers[--g->n_buffers];
            break;
        }
    pthread_mutex_unlock(&g->lock);
    *buffer = (struct pn_buffer){0};
}

/* A GPU's allocation keeps its memory. */
void pn_gpu_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size)
{
    (void)device;
    (void)buffer;
    (void)offset;
    (void)size;
}

void pn_gpu_write(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size)
{
    struct pn_gpu *g = gpu_of(device);
    if (!size)
        return;
    pthread_mutex_lock(&g->lock);
    g->driver->class->write(g->driver, to->address + offset, from, size);
    pthread_mutex_unlock(&g->lock);
}

void pn_gpu_read(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size)
{
    struct pn_gpu *g = gpu_of(device);
    if (!size)
        return;
    pthread_mutex_lock(&g->lock);
    g->driver->class->read(g->driver, to, from->address + offset, size);
    pthread_mutex_unlock(&g->lock);
}

void pn_gpu_copy(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                 size_t from_offset, size_t size)
{
    struct pn_gpu *g = gpu_of(device);
    if (!size)
        return;
    pthread_mutex_lock(&g->lock);
    g->driver->class->copy(g->driver, to->address + to_offset, from->address + from_offset, size);
    pthread_mutex_unlock(&g->lock);
}

void pn_gpu_fill(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size)
{
    struct pn_gpu *g = gpu_of(device);
    if (!size)
        return;
    pthread_mutex_lock(&g->lock);
    g->driver->class->fill(g->driver, to->address + offset, byte, size);
    pthread_mutex_unlock(&g->lock);
}

/* ---- extents ---- */

static struct pn_gpu_extent *find_extent(const struct pn_gpu *g, const char *host)
{
    size_t low = 0, high = g->n_extents;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->extents[middle].host <= host)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &g->extents[low - 1] : NULL;
}

static struct pn_gpu_extent *extent_with(const struct pn_gpu *g, const char *host, size_t size)
{
    struct pn_gpu_extent *e = find_extent(g, host);
    return e && (size_t)(host - e->host) <= e->size && size <= e->size - (size_t)(host - e->host) ? e : NULL;
}

uint64_t pn_gpu_address(const struct pn_gpu *g, const void *host, size_t size)
{
    const struct pn_gpu_extent *e = extent_with(g, host, size);
    return e ? e->address + (uint64_t)((const char *)host - e->host) : 0;
}

size_t pn_gpu_plane_bytes(const struct pn_weight *w, int plane)
{
    const struct pn_plane *p = &w->plane[plane];
    size_t n = (size_t)w->n_cols;
    if (plane == PN_PLANE_BIASES && w->type == PN_TYPE_CODES4)
        n = 16; /* what the codes stand for */
    else if (plane == PN_PLANE_BIASES && w->type == PN_TYPE_FP4_NV)
        n = 1; /* a factor of the whole tensor */
    else if (plane > 0)
        n = w->group > 0 ? (n + (size_t)w->group - 1) / (size_t)w->group : 1;
    size_t row = pn_type_row_bytes(p->type, n);
    return (size_t)(w->n_rows - 1) * p->row_bytes + row;
}

struct range {
    const char *host;
    size_t size;
};

static int by_host(const void *a, const void *b)
{
    const char *x = ((const struct range *)a)->host, *y = ((const struct range *)b)->host;
    return (x > y) - (x < y);
}

/* Calls `f` for each piece of memory that has numbers of the weight. */
static void each_range(const struct pn_weight *w, void (*f)(void *context, const char *host, size_t size),
                       void *context)
{
    for (int p = 0; p < w->n_planes; p++) {
        size_t plane = pn_gpu_plane_bytes(w, p);
        if (!w->mats)
            f(context, w->plane[p].data, plane + (size_t)(w->n_mat - 1) * w->plane[p].mat_bytes);
        for (int64_t m = 0; m < w->n_mat && w->mats; m++)
            f(context, w->mats[m * w->n_planes + p], plane);
    }
}

static void count_range(void *context, const char *host, size_t size)
{
    (void)host;
    (void)size;
    ++*(size_t *)context;
}

struct ranges {
    struct range *data;
    size_t n;
};

static void add_range(void *context, const char *host, size_t size)
{
    struct ranges *r = context;
    r->data[r->n++] = (struct range){host, size};
}

/* Merges sorted ranges that are close to each other. Returns their number. */
static size_t merge_ranges(struct range *r, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        struct range *last = len ? &r[len - 1] : NULL;
        const char *end = last ? last->host + last->size : NULL;
        bool inside = last && r[i].host <= end;
        bool close = last && !inside && (size_t)(r[i].host - end) <= max_gap &&
                     (size_t)(r[i].host - last->host) + r[i].size <= max_extent;
        if (!inside && !close)
            r[len++] = r[i];
        else if (r[i].host + r[i].size > end)
            last->size = (size_t)(r[i].host + r[i].size - last->host);
    }
    return len;
}

static size_t leave_out_present(const struct pn_gpu *g, struct range *r, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        if (!extent_with(g, r[i].host, r[i].size))
            r[len++] = r[i];
    return len;
}

/* A copy in the GPU's memory, with the same alignment up to 256 bytes. Written in pieces, so that progress shows. */
static pantry_status upload(struct pn_gpu *g, const struct range *r, struct pn_gpu_extent *e, uint64_t *done,
                            uint64_t total, const struct pn_progress *progress, struct pantry_error *err)
{
    const size_t piece = 64 << 20;
    size_t skew = (uintptr_t)r->host % 256;
    pantry_status status = g->driver->class->allocate(g->driver, r->size + skew, &e->memory, err);
    if (status)
        return status;
    e->address = e->memory.address + skew;
    for (size_t at = 0; at < r->size; at += piece) {
        size_t n = r->size - at < piece ? r->size - at : piece;
        g->driver->class->write(g->driver, e->address + at, r->host + at, n);
        *done += n;
        if (progress)
            progress->report(progress->context, *done < total ? *done : total, total);
    }
    return PANTRY_OK;
}

static pantry_status wrap(struct pn_gpu *g, const struct range *r, struct pn_gpu_extent *e, struct pantry_error *err)
{
    size_t page = g->driver->page, skew = (uintptr_t)r->host % page;
    size_t size = (r->size + skew + page - 1) / page * page;
    pantry_status status =
        g->driver->class->wrap(g->driver, (void *)((uintptr_t)r->host - skew), size, &e->memory, err);
    e->address = e->memory.address + skew;
    return status;
}

/* Makes an extent of a range, after the others: the list is sorted when all are made. */
static pantry_status add_extent(struct pn_gpu *g, const struct range *r, uint64_t *done, uint64_t total,
                                const struct pn_progress *progress, struct pantry_error *err)
{
    struct pn_gpu_extent e = {.host = r->host, .size = r->size};
    pantry_status status = g->driver->unified ? wrap(g, r, &e, err) : upload(g, r, &e, done, total, progress, err);
    if (!status)
        g->extents[g->n_extents++] = e;
    return status;
}

static int by_extent(const void *a, const void *b)
{
    const char *x = ((const struct pn_gpu_extent *)a)->host, *y = ((const struct pn_gpu_extent *)b)->host;
    return (x > y) - (x < y);
}

static void add_user(void *context, const char *host, size_t size)
{
    struct pn_gpu_extent *e = extent_with(context, host, size);
    if (e)
        e->n_users++;
}

static void remove_user(void *context, const char *host, size_t size)
{
    struct pn_gpu_extent *e = extent_with(context, host, size);
    if (e)
        e->n_users--;
}

/* Gives back extents that nobody uses. */
static void sweep(struct pn_gpu *g)
{
    size_t len = 0;
    for (size_t i = 0; i < g->n_extents; i++)
        if (g->extents[i].n_users > 0)
            g->extents[len++] = g->extents[i];
        else
            g->driver->class->release(g->driver, &g->extents[i].memory);
    g->n_extents = len;
}

static bool is_placed(const struct pn_device *d, uint64_t id)
{
    size_t low = 0, high = d->n_placed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->placed[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->n_placed && d->placed[low].id == id;
}

/* Extents for the tensors that are not placed yet. */
static pantry_status place_new(struct pn_gpu *g, const struct pn_weight *const *weights, size_t n,
                               const struct pn_progress *progress, struct pantry_error *err)
{
    size_t n_ranges = 0;
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_placed(&g->base, weights[i]->id))
            each_range(weights[i], count_range, &n_ranges);
    struct ranges r = {.data = calloc(n_ranges + 1, sizeof *r.data)};
    struct pn_gpu_extent *grown = realloc(g->extents, (g->n_extents + n_ranges + 1) * sizeof *grown);
    if (grown)
        g->extents = grown;
    pantry_status status = r.data && grown ? PANTRY_OK : pn_no_memory(err, "a list of weights");
    for (size_t i = 0; i < n && !status; i++)
        if (!is_placed(&g->base, weights[i]->id))
            each_range(weights[i], add_range, &r);
    if (!status) {
        qsort(r.data, r.n, sizeof *r.data, by_host);
        r.n = leave_out_present(g, r.data, merge_ranges(r.data, r.n));
    }
    for (size_t i = 0; i < r.n; i++)
        total += r.data[i].size;
    size_t before = g->n_extents;
    for (size_t i = 0; i < r.n && !status; i++)
        status = add_extent(g, &r.data[i], &done, total, progress, err);
    free(r.data);
    for (; status && g->n_extents > before; g->n_extents--)
        g->driver->class->release(g->driver, &g->extents[g->n_extents - 1].memory);
    if (status)
        return status;
    qsort(g->extents, g->n_extents, sizeof *g->extents, by_extent);
    return PANTRY_OK;
}

pantry_status pn_gpu_place(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                           const struct pn_progress *progress, struct pantry_error *err)
{
    struct pn_gpu *g = gpu_of(device);
    const struct pn_progress *shown = g->driver->unified ? NULL : progress;
    pthread_mutex_lock(&g->lock);
    pantry_status status = place_new(g, weights, n, shown, err);
    for (size_t i = 0; i < n && !status; i++)
        each_range(weights[i], add_user, g);
    if (!status && (status = pn_host_place(device, weights, n, shown ? NULL : progress, err))) {
        for (size_t i = 0; i < n; i++)
            each_range(weights[i], remove_user, g);
    }
    sweep(g);
    pthread_mutex_unlock(&g->lock);
    return status;
}

void pn_gpu_release(struct pn_device *device, const struct pn_weight *const *weights, size_t n)
{
    struct pn_gpu *g = gpu_of(device);
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < n; i++)
        each_range(weights[i], remove_user, g);
    pn_host_release(device, weights, n);
    sweep(g);
    pthread_mutex_unlock(&g->lock);
}
