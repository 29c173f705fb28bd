/* The budget: see memory.h. */
#include "base/memory.h"

#include <stdbool.h>
#include <stdio.h>

struct pn_memory *pn_memory_of_process(void)
{
    static struct pn_memory memory = {.lock = PTHREAD_MUTEX_INITIALIZER, .look = pn_os_memory};
    return &memory;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct pn_digits pn_memory_text(uint64_t bytes)
{
    struct pn_digits d;
    if (bytes < (uint64_t)1 << 20)
        snprintf(d.text, sizeof d.text, "%llu KiB", (unsigned long long)(bytes >> 10));
    else if (bytes < (uint64_t)1 << 30)
        snprintf(d.text, sizeof d.text, "%llu MiB", (unsigned long long)(bytes >> 20));
    else
        snprintf(d.text, sizeof d.text, "%.1f GiB", (double)bytes * 0x1p-30);
    return d;
}

/* The room that one bound leaves. */
struct room {
    uint64_t limit, left;
    const char *whose; /* ends the sentence */
};

/* A bound of the system, which would still give `left` bytes now. */
static struct room system_room(const struct pn_memory *m, uint64_t limit, uint64_t left, const char *whose)
{
    uint64_t promised = less(m->taken, atomic_load(&m->touched));
    uint64_t weights = least(m->step_bytes, limit / 2);
    uint64_t margin = least(limit / 32, (uint64_t)64 << 20); /* for uncounted memory: heap, stacks, page tables */
    return (struct room){limit, less(less(less(left, promised), weights), margin), whose};
}

/* The tightest of all bounds. */
static struct room room_of(const struct pn_memory *m)
{
    struct pn_os_memory now;
    struct room best = {UINT64_MAX, UINT64_MAX, "there is"};
    m->look(&now);
    if (now.available != UINT64_MAX) {
        struct room r = system_room(m, now.total, now.available, "this machine has");
        best = r.left < best.left ? r : best;
    }
    if (now.group_limit < now.total) {
        struct room r = system_room(m, now.group_limit, now.group_left, "the control group allows");
        best = r.left < best.left ? r : best;
    }
    if (m->limit) {
        struct room r = {m->limit, less(less(m->limit, m->weight_bytes), m->taken), "pantry may use"};
        best = r.left < best.left ? r : best;
    }
    return best;
}

void pn_memory_set_limit(struct pn_memory *m, uint64_t bytes)
{
    pthread_mutex_lock(&m->lock);
    m->limit = bytes;
    pthread_mutex_unlock(&m->lock);
}

static pantry_status refuse(struct pantry_error *err, const char *what, uint64_t bytes, struct room r)
{
    return pn_fail(err, PANTRY_NO_MEMORY, "%s needs %s of memory, but %s are left of the %s that %s", what,
                   pn_memory_text(bytes).text, pn_memory_text(r.left).text, pn_memory_text(r.limit).text, r.whose);
}

pantry_status pn_memory_add_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes, const char *what,
                                    struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    pthread_mutex_lock(&m->lock);
    uint64_t used = m->weight_bytes + m->taken;
    if (m->limit && bytes > less(m->limit, used)) {
        status = refuse(err, what, bytes, (struct room){m->limit, less(m->limit, used), "pantry may use"});
    } else {
        m->weight_bytes += bytes;
        m->step_bytes += step_bytes;
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

void pn_memory_remove_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes)
{
    pthread_mutex_lock(&m->lock);
    m->weight_bytes -= bytes;
    m->step_bytes -= step_bytes;
    pthread_mutex_unlock(&m->lock);
}

static pantry_status take(struct pn_memory *m, uint64_t bytes, bool check_only, const char *what,
                          struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    pthread_mutex_lock(&m->lock);
    struct room r = room_of(m);
    if (bytes > r.left)
        status = refuse(err, what, bytes, r);
    else if (!check_only)
        m->taken += bytes;
    pthread_mutex_unlock(&m->lock);
    return status;
}

pantry_status pn_memory_take(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err)
{
    return take(m, bytes, false, what, err);
}

pantry_status pn_memory_check(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err)
{
    return take(m, bytes, true, what, err);
}

void pn_memory_give(struct pn_memory *m, uint64_t bytes)
{
    pthread_mutex_lock(&m->lock);
    m->taken -= bytes;
    pthread_mutex_unlock(&m->lock);
}

void pn_memory_touch(struct pn_memory *m, int64_t bytes)
{
    atomic_fetch_add_explicit(&m->touched, (uint64_t)bytes, memory_order_relaxed);
}

uint64_t pn_memory_left(struct pn_memory *m)
{
    pthread_mutex_lock(&m->lock);
    uint64_t left = room_of(m).left;
    pthread_mutex_unlock(&m->lock);
    return left;
}

uint64_t pn_memory_addresses(struct pn_memory *m)
{
    struct pn_os_memory now;
    m->look(&now);
    pthread_mutex_lock(&m->lock);
    uint64_t limit = m->limit ? m->limit : UINT64_MAX;
    pthread_mutex_unlock(&m->lock);
    limit = least(limit, least(now.total, now.group_limit));
    return now.addresses == UINT64_MAX ? limit : least(limit, now.addresses / 4);
}
