/* Slots of recurrent state and checkpoints: see state.h. */
#include "engine/state.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SLOTS = 1 << 16, INTERVAL = 256 /* tokens between copies while generating */ };
static const size_t max_checkpoint_bytes = (size_t)512 << 20; /* of one session */

/* ---- slots ---- */

pn_status pn_state_pool_new(struct pn_device *device, size_t n_floats, uint64_t max_bytes, struct pn_state_pool **out,
                            struct pn_error *err)
{
    *out = NULL;
    struct pn_state_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pn_no_memory(err, "recurrent state");
    pthread_mutex_init(&pool->lock, NULL);
    size_t bytes = n_floats * sizeof(float), kept = max_checkpoint_bytes / bytes;
    pool->n_floats = n_floats;
    pool->n_checkpoints = kept < 2 ? 2 : kept > PN_MAX_CHECKPOINTS ? PN_MAX_CHECKPOINTS : (int)kept;
    pn_status status = pn_slots_init(&pool->slots, device, bytes, MAX_SLOTS, max_bytes, "recurrent state", err);
    pool->stride = pool->slots.stride / sizeof(float);
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
    free(pool);
}

static bool take(struct pn_state_pool *pool, int32_t *slot)
{
    pthread_mutex_lock(&pool->lock);
    bool ok = pn_slots_take(&pool->slots, slot);
    pthread_mutex_unlock(&pool->lock);
    return ok;
}

static void give(struct pn_state_pool *pool, int32_t slot)
{
    pthread_mutex_lock(&pool->lock);
    pn_slots_give(&pool->slots, slot);
    pthread_mutex_unlock(&pool->lock);
}

static float *floats(const struct pn_states *s, int32_t slot)
{
    return (float *)s->pool->slots.memory.data + (size_t)slot * s->pool->stride;
}

/* ---- a session's ---- */

pn_status pn_states_init(struct pn_states *s, struct pn_state_pool *pool, struct pn_error *err)
{
    *s = (struct pn_states){0};
    pthread_mutex_lock(&pool->lock);
    pn_status status = pn_slots_promise(&pool->slots, 1, "the recurrent state of a sequence", err);
    if (!status) { /* copies only save time: they leave half of the memory to others */
        uint64_t most = pn_memory_left(pool->slots.budget) / 2 / pool->slots.stride;
        int n = most < (uint64_t)pool->n_checkpoints ? (int)most : pool->n_checkpoints;
        s->n_max = pn_slots_promise(&pool->slots, n, "copies of it", NULL) ? 0 : n;
    }
    if (!status && !pn_slots_take(&pool->slots, &s->slot)) {
        pn_slots_unpromise(&pool->slots, 1 + s->n_max);
        status = pn_fail(err, PN_NO_MEMORY, "all %d slots for recurrent state are in use", pool->slots.n);
    }
    pthread_mutex_unlock(&pool->lock);
    if (status) {
        *s = (struct pn_states){0};
        return status;
    }
    s->pool = pool;
    memset(floats(s, s->slot), 0, pool->n_floats * sizeof(float));
    return PN_OK;
}

static void drop(struct pn_states *s, int i)
{
    give(s->pool, s->checkpoints[i].slot);
    s->n--;
    memmove(s->checkpoints + i, s->checkpoints + i + 1, (size_t)(s->n - i) * sizeof *s->checkpoints);
}

void pn_states_release(struct pn_states *s)
{
    if (!s->pool)
        return;
    while (s->n)
        drop(s, s->n - 1);
    give(s->pool, s->slot);
    pthread_mutex_lock(&s->pool->lock);
    pn_slots_unpromise(&s->pool->slots, 1 + s->n_max);
    pthread_mutex_unlock(&s->pool->lock);
    *s = (struct pn_states){0};
}

/* The copy without which the fewest tokens would have to be fed again. */
static int least_useful(const struct pn_states *s)
{
    int best = 0, cost = INT32_MAX;
    for (int i = 0; i < s->n; i++) {
        int gap = s->checkpoints[i].at - (i ? s->checkpoints[i - 1].at : 0);
        if (gap < cost) {
            cost = gap;
            best = i;
        }
    }
    return best;
}

void pn_states_advance(struct pn_states *s, int at, int n)
{
    if (!s->pool)
        return;
    if ((n == 1 && at % INTERVAL != 0) || !s->n_max)
        return;
    if (s->n == s->n_max)
        drop(s, least_useful(s));
    int32_t slot;
    if (!take(s->pool, &slot))
        return;
    memcpy(floats(s, slot), floats(s, s->slot), s->pool->n_floats * sizeof(float));
    s->checkpoints[s->n++] = (struct pn_checkpoint){at, slot};
}

int pn_states_rewind(struct pn_states *s, int n)
{
    while (s->n && s->checkpoints[s->n - 1].at > n)
        drop(s, s->n - 1);
    float *state = floats(s, s->slot);
    if (!s->n) {
        memset(state, 0, s->pool->n_floats * sizeof *state);
        return 0;
    }
    memcpy(state, floats(s, s->checkpoints[s->n - 1].slot), s->pool->n_floats * sizeof *state);
    return s->checkpoints[s->n - 1].at;
}
