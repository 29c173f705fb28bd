/* Memory that the GPU and the host share: allocated by Metal, or pages of the host's that Metal wraps. The host
 * accesses it between steps, directly. */
#include "device/metal/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Shared with the host. Metal need not look for dependencies: steps.c has them. */
enum { OPTIONS = 0x100 };

/* ---- how much ---- */

static uint64_t in_use(const struct pn_metal *m)
{
    uint64_t metal = pn_device_allocated(m->device);
    return metal > m->wired ? metal : m->wired;
}

void pn_metal_memory(const struct pn_gpu_driver *d, uint64_t *total, uint64_t *free)
{
    const struct pn_metal *m = (const struct pn_metal *)d;
    uint64_t used = in_use(m);
    *total = d->working_set;
    *free = used < *total ? *total - used : 0;
}

/* The GPU must not wire more than the system recommends: beyond that, steps fail or the machine stops. */
static pantry_status check_size(const struct pn_metal *m, const char *what, size_t size, struct pantry_error *err)
{
    uint64_t total, left;
    pn_metal_memory(&m->base, &total, &left);
    if (size > left)
        return pn_fail(err, PANTRY_NO_MEMORY, "Metal: %s needs %s bytes of the GPU's memory, but %s of %s are left",
                       what, pn_digits(size).text, pn_digits(left).text, pn_digits(total).text);
    if (size > m->max_buffer)
        return pn_fail(err, PANTRY_NO_MEMORY, "Metal: %s is too large (found %s bytes, allowed %s)", what,
                       pn_digits(size).text, pn_digits(m->max_buffer).text);
    return PANTRY_OK;
}

/* ---- the list ---- */

static bool reserve(struct pn_metal *m)
{
    if (m->n_buffers < m->cap_buffers)
        return true;
    size_t cap = m->cap_buffers ? 2 * m->cap_buffers : 64;
    struct pn_metal_buffer *grown = realloc(m->buffers, cap * sizeof *grown);
    if (!grown)
        return false;
    m->buffers = grown;
    m->cap_buffers = cap;
    return true;
}

static void insert(struct pn_metal *m, const struct pn_metal_buffer *b)
{
    size_t at = m->n_buffers++;
    for (; at > 0 && m->buffers[at - 1].address > b->address; at--)
        m->buffers[at] = m->buffers[at - 1];
    m->buffers[at] = *b;
}

/* The index of the buffer that begins last up to the address; n_buffers if none does. */
static size_t find(const struct pn_metal *m, uint64_t address)
{
    size_t low = 0, high = m->n_buffers;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->buffers[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : m->n_buffers;
}

/* Where the host finds bytes of an allocation. */
static char *host_of(const struct pn_metal *m, uint64_t address, size_t size)
{
    size_t i = find(m, address);
    assert(i < m->n_buffers && address - m->buffers[i].address + size <= m->buffers[i].size);
    (void)size;
    return m->buffers[i].host + (address - m->buffers[i].address);
}

/* ---- making and releasing it ---- */

static pantry_status take(struct pn_metal *m, pn_id buffer, void *host, size_t size, bool wrapped,
                          struct pn_gpu_memory *out, struct pantry_error *err)
{
    if (!buffer)
        return pn_fail(err, PANTRY_NO_MEMORY, "Metal: cannot %s %s bytes", wrapped ? "wrap" : "allocate",
                       pn_digits(size).text);
    struct pn_metal_buffer b = {pn_buffer_address(buffer), size, wrapped ? host : pn_buffer_contents(buffer), buffer};
    pantry_status status = PANTRY_OK;
    if (!b.address || !b.host)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "Metal: a buffer has no address");
    if (!status && !wrapped && !reserve(m))
        status = pn_no_memory(err, "a list of buffers");
    if (!status)
        status = pn_metal_make_resident(m, buffer, err);
    if (status) {
        pn_objc_release(buffer);
        return status;
    }
    if (!wrapped)
        insert(m, &b);
    m->wired += size;
    *out = (struct pn_gpu_memory){b.address, b.host, size, buffer};
    return PANTRY_OK;
}

pantry_status pn_metal_allocate(struct pn_gpu_driver *d, size_t size, struct pn_gpu_memory *out,
                                struct pantry_error *err)
{
    struct pn_metal *m = (struct pn_metal *)d;
    *out = (struct pn_gpu_memory){0};
    pantry_status status = check_size(m, "an array", size, err);
    if (status)
        return status;
    void *pool = pn_objc.pool_push();
    status = take(m, pn_device_new_buffer(m->device, size, OPTIONS), NULL, size, false, out, err);
    pn_objc.pool_pop(pool);
    return status;
}

pantry_status pn_metal_wrap(struct pn_gpu_driver *d, void *data, size_t size, struct pn_gpu_memory *out,
                            struct pantry_error *err)
{
    struct pn_metal *m = (struct pn_metal *)d;
    *out = (struct pn_gpu_memory){0};
    if ((uintptr_t)data % d->page || size % d->page || size == 0)
        return pn_fail(err, PANTRY_INVALID, "Metal: only whole pages of %zu bytes can be wrapped (found %p, %zu bytes)",
                       d->page, data, size);
    pantry_status status = check_size(m, "a part of the weights", size, err);
    if (status)
        return status;
    void *pool = pn_objc.pool_push();
    status = take(m, pn_device_wrap(m->device, data, size, OPTIONS, NULL), data, size, true, out, err);
    pn_objc.pool_pop(pool);
    return status;
}

void pn_metal_release(struct pn_gpu_driver *d, struct pn_gpu_memory *memory)
{
    struct pn_metal *m = (struct pn_metal *)d;
    if (!memory->handle)
        return;
    pn_metal_finish(m);
    void *pool = pn_objc.pool_push();
    size_t i = find(m, memory->address);
    if (i < m->n_buffers && m->buffers[i].buffer == memory->handle) {
        m->n_buffers--;
        memmove(m->buffers + i, m->buffers + i + 1, (m->n_buffers - i) * sizeof *m->buffers);
    }
    m->wired -= memory->size;
    pn_metal_end_residency(m, memory->handle);
    pn_objc_release(memory->handle);
    pn_objc.pool_pop(pool);
    *memory = (struct pn_gpu_memory){0};
}

void pn_metal_buffers_close(struct pn_metal *m)
{
    free(m->buffers);
}

/* ---- access ---- */

void pn_metal_write(struct pn_gpu_driver *d, uint64_t to, const void *from, size_t size)
{
    struct pn_metal *m = (struct pn_metal *)d;
    pn_metal_finish(m);
    memcpy(host_of(m, to, size), from, size);
}

void pn_metal_read(struct pn_gpu_driver *d, void *to, uint64_t from, size_t size)
{
    struct pn_metal *m = (struct pn_metal *)d;
    pn_metal_finish(m);
    memcpy(to, host_of(m, from, size), size);
}

void pn_metal_copy(struct pn_gpu_driver *d, uint64_t to, uint64_t from, size_t size)
{
    struct pn_metal *m = (struct pn_metal *)d;
    pn_metal_finish(m);
    memmove(host_of(m, to, size), host_of(m, from, size), size);
}

void pn_metal_fill(struct pn_gpu_driver *d, uint64_t to, unsigned char byte, size_t size)
{
    struct pn_metal *m = (struct pn_metal *)d;
    pn_metal_finish(m);
    memset(host_of(m, to, size), byte, size);
}
