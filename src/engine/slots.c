/* Blocks of memory: see slots.h. */
#include "engine/slots.h"

#include <stdlib.h>

static const size_t granule = 4096; /* blocks end where pages of memory do, so that each can be given back */
static const size_t warm_bytes = (size_t)64 << 20;

/* A whole number of granules, an odd one: equal places of many blocks then share no sets of a cache. */
static size_t stride_of(size_t bytes)
{
    size_t n = (bytes + granule - 1) / granule;
    return (n + (n > 0 && n % 2 == 0)) * granule;
}

pn_status pn_slots_init(struct pn_slots *s, struct pn_device *device, size_t bytes, uint64_t most, uint64_t max_bytes,
                        const char *what, struct pn_error *err)
{
    *s = (struct pn_slots){
        .device = device, .budget = pn_memory_of_process(), .bytes = bytes, .stride = stride_of(bytes)};
    uint64_t n = s->stride ? max_bytes / s->stride : most;
    n = n < 2 ? 2 : n > most ? most : n;
    pn_status status = PN_NO_MEMORY;
    for (; status && n >= 1; n /= 2) { /* where addresses are rationed fewer must do */
        status = device->class->buffer_new(device, s->stride * (size_t)n, &s->memory, err);
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
    if (!s->device)
        return;
    pn_memory_touch(s->budget, -(int64_t)((size_t)(s->n_used - s->n_cold) * s->stride));
    pn_memory_give(s->budget, (uint64_t)s->n_promised * s->stride);
    s->device->class->buffer_free(s->device, &s->memory);
    free(s->free);
    *s = (struct pn_slots){0};
}

static pn_status have_addresses(const struct pn_slots *s, int32_t n, const char *what, struct pn_error *err)
{
    if (n <= s->n - s->n_promised)
        return PN_OK;
    return pn_fail(err, PN_NO_MEMORY, "%s needs %s of memory, but addresses are left for %s only", what,
                   pn_memory_text((uint64_t)n * s->stride).text,
                   pn_memory_text((uint64_t)(s->n - s->n_promised) * s->stride).text);
}

pn_status pn_slots_check(const struct pn_slots *s, int32_t n, const char *what, struct pn_error *err)
{
    /* The budget first: it has the better reason. */
    pn_status status = pn_memory_check(s->budget, (uint64_t)n * s->stride, what, err);
    return status ? status : have_addresses(s, n, what, err);
}

pn_status pn_slots_promise(struct pn_slots *s, int32_t n, const char *what, struct pn_error *err)
{
    if (n > s->n - s->n_promised)
        return pn_slots_check(s, n, what, err);
    pn_status status = pn_memory_take(s->budget, (uint64_t)n * s->stride, what, err);
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
    bool cold = s->n_free == s->n_cold; /* also when none is free */
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

/* The memory of the n warm blocks that were freed first returns to the system, neighbours in one call. */
static void cool(struct pn_slots *s, int32_t n)
{
    int32_t *first = s->free + s->n_cold;
    qsort(first, (size_t)n, sizeof *first, rising);
    for (int32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && first[end] == first[end - 1] + 1; end++)
            ;
        s->device->class->discard(s->device, &s->memory, (size_t)first[i] * s->stride, (size_t)(end - i) * s->stride);
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
    if (warm > enough) /* down to half, so that blocks that come and go do not cost a call each */
        cool(s, warm - enough / 2);
}

void pn_slots_copy(struct pn_slots *s, int32_t to, int32_t from)
{
    if (s->stride)
        s->device->class->copy(s->device, &s->memory, (size_t)to * s->stride, &s->memory, (size_t)from * s->stride,
                               s->bytes);
}

void pn_slots_clear(struct pn_slots *s, int32_t slot)
{
    if (s->stride)
        s->device->class->fill(s->device, &s->memory, (size_t)slot * s->stride, 0, s->bytes);
}
