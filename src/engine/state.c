/* Slots of recurrent state: see state.h. */
#include "engine/state.h"

#include <stdlib.h>

enum { MAX_SLOTS = 1 << 16 };

pantry_status pn_state_pool_new(struct pn_device *const *devices, const size_t *first, const size_t *n_floats,
                                int n_parts, uint64_t max_bytes, struct pn_state_pool **out, struct pantry_error *err)
{
    size_t bytes[PN_MAX_PARTS];
    *out = NULL;
    struct pn_state_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pn_no_memory(err, "recurrent state");
    pthread_mutex_init(&pool->lock, NULL);
    for (int i = 0; i < n_parts; i++) {
        pool->first[i] = first[i];
        pool->n_floats += n_floats[i];
        bytes[i] = n_floats[i] * sizeof(float);
    }
    pantry_status status =
        pn_slots_init(&pool->slots, devices, bytes, n_parts, MAX_SLOTS, max_bytes, "recurrent state", err);
    pool->stride = pool->slots.stride / sizeof(float);
    if (!status && !(pool->n_refs = calloc((size_t)pool->slots.n, sizeof *pool->n_refs)))
        status = pn_no_memory(err, "recurrent state");
    if (status)
        pn_state_pool_free(pool);
    else
        *out = pool;
    return status;
}

void pn_state_pool_free(struct pn_state_pool *pool)
{
    if (!pool)
        return;
    pn_slots_release(&pool->slots);
    pthread_mutex_destroy(&pool->lock);
    free(pool->n_refs);
    free(pool);
}

pantry_status pn_state_new(struct pn_state_pool *pool, int32_t *slot, struct pantry_error *err)
{
    pthread_mutex_lock(&pool->lock);
    pantry_status status = pn_slots_promise(&pool->slots, 1, "the recurrent state of a sequence", err);
    if (!status && !pn_slots_take(&pool->slots, slot)) {
        pn_slots_unpromise(&pool->slots, 1);
        status = pn_fail(err, PANTRY_NO_MEMORY, "all %d slots for recurrent state are in use", pool->slots.n);
    }
    if (!status)
        pool->n_refs[*slot] = 1;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void pn_state_retain(struct pn_state_pool *pool, int32_t slot)
{
    pthread_mutex_lock(&pool->lock);
    pool->n_refs[slot]++;
    pthread_mutex_unlock(&pool->lock);
}

void pn_state_release(struct pn_state_pool *pool, int32_t slot)
{
    pthread_mutex_lock(&pool->lock);
    if (--pool->n_refs[slot] == 0) {
        pn_slots_give(&pool->slots, slot);
        pn_slots_unpromise(&pool->slots, 1);
    }
    pthread_mutex_unlock(&pool->lock);
}

uint32_t pn_state_refs(struct pn_state_pool *pool, int32_t slot)
{
    pthread_mutex_lock(&pool->lock);
    uint32_t n = pool->n_refs[slot];
    pthread_mutex_unlock(&pool->lock);
    return n;
}

float *pn_state_base(const struct pn_state_pool *pool, int part, size_t *stride)
{
    const struct pn_slots_part *p = &pool->slots.part[part];
    *stride = p->stride / sizeof(float);
    return (float *)(uintptr_t)(p->memory.address - pool->first[part] * sizeof(float));
}

void pn_state_clear(struct pn_state_pool *pool, int32_t slot)
{
    pn_slots_clear(&pool->slots, slot);
}

int pn_states_used(struct pn_state_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int n = pool->slots.n_used - pool->slots.n_free;
    pthread_mutex_unlock(&pool->lock);
    return n;
}
