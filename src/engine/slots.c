/* Blocks of memory: see slots.h. */
#include "engine/slots.h"

#include <stdlib.h>

static const size_t granule = 4096; /* blocks end at page boundaries, so that each can be given back */
static const size_t warm_bytes = (size_t)64 << 20;

/* An odd number of granules, so that the same offset in many blocks does not map to the same cache sets. */
static size_t stride_of(size_t bytes)
{
    size_t n = (bytes + granule - 1) / granule;
    return (n + (n > 0 && n % 2 == 0)) * granule;
}

static void free_memory(struct pn_slots *s)
{
    for (int i = 0; i < s->n_parts; i++)
        s->part[i].device->class->buffer_free(s->part[i].device, &s->part[i].memory);
}

/* The most blocks for which devices that commit memory at once have room, with some left for other things. */
static uint64_t room_on_devices(const struct pn_slots *s, uint64_t n)
{
    for (int i = 0; i < s->n_parts; i++) {
        const struct pn_slots_part *p = &s->part[i];
        uint64_t total = UINT64_MAX, left = UINT64_MAX;
        if (!p->device->properties.commits || !p->stride)
            continue;
        p->device->class->memory(p->device, &total, &left);
        left = left == UINT64_MAX ? left : left / (uint64_t)p->device->properties.commits;
        if (left / p->stride < n)
            n = left / p->stride;
    }
    return n;
}

static pantry_status reserve(struct pn_slots *s, size_t n, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (int i = 0; i < s->n_parts && !status; i++) {
        struct pn_slots_part *p = &s->part[i];
        status = p->device->class->buffer_new(p->device, p->stride * n, &p->memory, err);
    }
    if (status)
        free_memory(s);
    return status;
}

pantry_status pn_slots_init(struct pn_slots *s, struct pn_device *const *devices, const size_t *bytes, int n_parts,
                            uint64_t most, uint64_t max_bytes, const char *what, struct pantry_error *err)
{
    *s = (struct pn_slots){.budget = pn_memory_of_process(), .n_parts = n_parts};
    for (int i = 0; i < n_parts; i++) {
        s->part[i] = (struct pn_slots_part){.device = devices[i], .bytes = bytes[i], .stride = stride_of(bytes[i])};
        s->stride += s->part[i].stride;
    }
    uint64_t n = s->stride ? max_bytes / s->stride : most;
    n = room_on_devices(s, n);
    n = n < 2 ? 2 : n > most ? most : n;
    pantry_status status = PANTRY_NO_MEMORY;
    for (; status && n >= 1; n /= 2) { /* fewer if addresses are limited */
        status = reserve(s, (size_t)n, err);
        s->n = (int32_t)n;
    }
    if (!status && !(s->free = calloc((size_t)s->n, sizeof *s->free)))
        status = pn_no_memory(err, what);
    if (status)
        pn_slots_release(s);
    return status;
}

void pn_slots_release(struct pn_slots *s)
{
    if (!s->n_parts)
        return;
    pn_memory_touch(s->budget, -(int64_t)((size_t)(s->n_used - s->n_cold) * s->stride));
    pn_memory_give(s->budget, (uint64_t)s->n_promised * s->stride);
    free_memory(s);
    free(s->free);
    *s = (struct pn_slots){0};
}

static pantry_status have_addresses(const struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err)
{
    if (n <= s->n - s->n_promised)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_NO_MEMORY, "%s needs %s of memory, but only %s of addresses are left", what,
                   pn_memory_text((uint64_t)n * s->stride).text,
                   pn_memory_text((uint64_t)(s->n - s->n_promised) * s->stride).text);
}

pantry_status pn_slots_check(const struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err)
{
    /* The budget first: its error says more. */
    pantry_status status = pn_memory_check(s->budget, (uint64_t)n * s->stride, what, err);
    return status ? status : have_addresses(s, n, what, err);
}

pantry_status pn_slots_promise(struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err)
{
    if (n > s->n - s->n_promised)
        return pn_slots_check(s, n, what, err);
    pantry_status status = pn_memory_take(s->budget, (uint64_t)n * s->stride, what, err);
    if (!status)
        s->n_promised += n;
    return status;
}

void pn_slots_unpromise(struct pn_slots *s, int32_t n)
{
    s->n_promised -= n;
    pn_memory_give(s->budget, (uint64_t)n * s->stride);
}

bool pn_slots_take(struct pn_slots *s, int32_t *slot)
{
    bool cold = s->n_free == s->n_cold; /* also if none is free */
    if (s->n_free)
        *slot = s->free[--s->n_free];
    else if (s->n_used < s->n)
        *slot = s->n_used++;
    else
        return false;
    if (s->n_cold > s->n_free)
        s->n_cold = s->n_free;
    if (cold)
        pn_memory_touch(s->budget, (int64_t)s->stride);
    return true;
}

static int rising(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Returns the memory of the n warm blocks that were freed first to the system, neighbours in one call. */
static void cool(struct pn_slots *s, int32_t n)
{
    int32_t *first = s->free + s->n_cold;
    qsort(first, (size_t)n, sizeof *first, rising);
    for (int32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && first[end] == first[end - 1] + 1; end++)
            ;
        for (int k = 0; k < s->n_parts; k++)
            if (s->part[k].stride)
                s->part[k].device->class->discard(s->part[k].device, &s->part[k].memory,
                                                  (size_t)first[i] * s->part[k].stride,
                                                  (size_t)(end - i) * s->part[k].stride);
    }
    s->n_cold += n;
    pn_memory_touch(s->budget, -(int64_t)((size_t)n * s->stride));
}

void pn_slots_give(struct pn_slots *s, int32_t slot)
{
    s->free[s->n_free++] = slot;
    if (!s->stride)
        return;
    int32_t in_use = s->n_used - s->n_free, warm = s->n_free - s->n_cold;
    int32_t enough = (int32_t)(warm_bytes / s->stride);
    enough = enough > in_use / 4 ? enough : in_use / 4;
    if (warm > enough) /* down to half, so that not every block costs a call */
        cool(s, warm - enough / 2);
}

void pn_slots_copy(struct pn_slots *s, int32_t to, int32_t from)
{
    for (int i = 0; i < s->n_parts; i++) {
        struct pn_slots_part *p = &s->part[i];
        if (p->stride)
            p->device->class->copy(p->device, &p->memory, (size_t)to * p->stride, &p->memory, (size_t)from * p->stride,
                                   p->bytes);
    }
}

void pn_slots_clear(struct pn_slots *s, int32_t slot)
{
    for (int i = 0; i < s->n_parts; i++) {
        struct pn_slots_part *p = &s->part[i];
        if (p->stride)
            p->device->class->fill(p->device, &p->memory, (size_t)slot * p->stride, 0, p->bytes);
    }
}

size_t pn_slots_bytes(const struct pn_slots *s)
{
    size_t sum = 0;
    for (int i = 0; i < s->n_parts; i++)
        sum += s->part[i].bytes;
    return sum;
}

void pn_slots_read(const struct pn_slots *s, int32_t slot, unsigned char *to)
{
    for (int i = 0; i < s->n_parts; i++) {
        const struct pn_slots_part *p = &s->part[i];
        if (p->bytes)
            p->device->class->read(p->device, &p->memory, (size_t)slot * p->stride, to, p->bytes);
        to += p->bytes;
    }
}

void pn_slots_write(struct pn_slots *s, int32_t slot, const unsigned char *from)
{
    for (int i = 0; i < s->n_parts; i++) {
        struct pn_slots_part *p = &s->part[i];
        if (p->bytes)
            p->device->class->write(p->device, &p->memory, (size_t)slot * p->stride, from, p->bytes);
        from += p->bytes;
    }
}
