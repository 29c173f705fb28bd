/* Memory and weights of devices that share the host's memory: see device.h. Weights stay where they are and are only
 * counted. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "device/device.h"

#include "base/os.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

void pn_host_memory(const struct pn_device *device, uint64_t *total, uint64_t *free)
{
    (void)device;
    struct pn_os_memory m;
    pn_os_memory(&m);
    *total = m.total < m.group_limit ? m.total : m.group_limit;
    *free = m.available < m.group_left ? m.available : m.group_left;
}

pantry_status pn_host_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    *out = (struct pn_buffer){0};
    if (size == 0)
        return PANTRY_OK;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE; /* a cache for a long context takes memory only as the context grows */
#endif
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED)
        return pn_fail(err, PANTRY_NO_MEMORY, "cannot reserve %zu MiB of memory: %s", size >> 20, strerror(errno));
    *out = (struct pn_buffer){device, p, (uintptr_t)p, size};
    return PANTRY_OK;
}

/* The host's address of a buffer, even if buffer->host hides it. */
static char *at(const struct pn_buffer *buffer, size_t offset)
{
    return (char *)(uintptr_t)buffer->address + offset;
}

void pn_host_buffer_free(struct pn_device *device, struct pn_buffer *buffer)
{
    (void)device;
    if (buffer && buffer->size)
        munmap(at(buffer, 0), buffer->size);
    if (buffer)
        *buffer = (struct pn_buffer){0};
}

void pn_host_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size)
{
    (void)device;
    pn_os_discard(at(buffer, offset), size);
}

void pn_host_write(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size)
{
    (void)device;
    if (size)
        memcpy(at(to, offset), from, size);
}

void pn_host_read(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size)
{
    (void)device;
    if (size)
        memcpy(to, at(from, offset), size);
}

void pn_host_copy(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                  size_t from_offset, size_t size)
{
    (void)device;
    if (size)
        memcpy(at(to, to_offset), at(from, from_offset), size);
}

void pn_host_fill(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size)
{
    (void)device;
    if (size)
        memset(at(to, offset), byte, size);
}

/* ---- weights ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the lists of all devices */

/* Merges the device's list and `n` more tensors, both by rising id, into `merged`. Returns its length. */
static size_t merge(const struct pn_device *d, const struct pn_weight *const *w, size_t n, struct pn_placed *merged)
{
    size_t i = 0, j = 0, len = 0;
    while (i < d->n_placed || j < n) {
        if (j == n || (i < d->n_placed && d->placed[i].id < w[j]->id)) {
            merged[len++] = d->placed[i++];
            continue;
        }
        merged[len] = (struct pn_placed){.id = w[j]->id, .bytes = pn_weight_bytes(w[j])};
        if (i < d->n_placed && d->placed[i].id == w[j]->id)
            merged[len] = d->placed[i++];
        merged[len++].n_users++;
        j++;
    }
    return len;
}

pantry_status pn_host_place(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                            const struct pn_progress *progress, struct pantry_error *err)
{
    uint64_t total = 0, done = 0;
    pthread_mutex_lock(&lock);
    struct pn_placed *merged = calloc(device->n_placed + n + 1, sizeof *merged);
    if (merged) {
        device->n_placed = merge(device, weights, n, merged);
        free(device->placed);
        device->placed = merged;
    }
    pthread_mutex_unlock(&lock);
    if (!merged)
        return pn_no_memory(err, "a list of weights");
    for (size_t i = 0; i < n; i++)
        total += pn_weight_bytes(weights[i]);
    for (size_t i = 0; i < n && progress; i++)
        progress->report(progress->context, done += pn_weight_bytes(weights[i]), total);
    return PANTRY_OK;
}

void pn_host_release(struct pn_device *device, const struct pn_weight *const *weights, size_t n)
{
    size_t len = 0, j = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < device->n_placed; i++) {
        struct pn_placed p = device->placed[i];
        while (j < n && weights[j]->id < p.id)
            j++;
        if (j < n && weights[j]->id == p.id)
            p.n_users--;
        if (p.n_users > 0)
            device->placed[len++] = p;
    }
    device->n_placed = len;
    pthread_mutex_unlock(&lock);
}

/* ---- steps ---- */

pantry_status pn_host_wait(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err)
{
    (void)device;
    if (ticket->status && err)
        *err = ticket->error;
    return ticket->status;
}
