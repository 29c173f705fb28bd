/* Page tables: see tables.h. */
#include "engine/tables.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ENTRIES = 4096, MAX_ENTRIES = 1 << 28 };

void pn_tables_init(struct pn_tables *t, struct pn_device *const *devices, int n_parts)
{
    *t = (struct pn_tables){.n_parts = n_parts};
    memcpy(t->devices, devices, (size_t)n_parts * sizeof *devices);
}

static bool is_hosts(const struct pn_tables *t, int part)
{
    return t->part[part].host == t->entries;
}

static void free_buffers(struct pn_tables *t)
{
    bool own = t->n_parts && !t->part[0].host;
    for (int i = 0; i < t->n_parts; i++)
        if (t->part[i].size)
            t->devices[i]->class->buffer_free(t->devices[i], &t->part[i]);
    if (own)
        free(t->entries);
    free(t->changed);
}

void pn_tables_release(struct pn_tables *t)
{
    free_buffers(t);
    free(t->free);
    *t = (struct pn_tables){0};
}

/* ---- room ---- */

/* Moves to buffers of n entries on all devices. */
static pantry_status grow(struct pn_tables *t, int32_t n, struct pantry_error *err)
{
    struct pn_tables new = {.n_parts = t->n_parts, .n = n};
    size_t bytes = (size_t)n * sizeof *new.entries;
    pantry_status status = PANTRY_OK;
    memcpy(new.devices, t->devices, sizeof new.devices);
    for (int i = 0; i < t->n_parts && !status; i++)
        status = t->devices[i]->class->buffer_new(t->devices[i], bytes, &new.part[i], err);
    if (!status) {
        new.entries = new.part[0].host ? new.part[0].host : calloc(1, bytes);
        new.changed = malloc((size_t)n / PN_TABLE_LINE);
        if (!new.entries || !new.changed)
            status = pn_no_memory(err, "page tables");
    }
    if (status) {
        free_buffers(&new);
        return status;
    }
    if (t->n)
        memcpy(new.entries, t->entries, (size_t)t->n * sizeof *new.entries);
    memset(new.changed, 1, (size_t)n / PN_TABLE_LINE);
    free_buffers(t);
    memcpy(t->part, new.part, sizeof t->part);
    t->entries = new.entries;
    t->changed = new.changed;
    t->n = n;
    return PANTRY_OK;
}

/* Adds a free span and joins it with its neighbours. There is room for it. */
static void add_free(struct pn_tables *t, int32_t at, int32_t n)
{
    int32_t i = t->n_free;
    while (i > 0 && t->free[i - 1].at > at)
        i--;
    bool joins_left = i > 0 && t->free[i - 1].at + t->free[i - 1].n == at;
    bool joins_right = i < t->n_free && at + n == t->free[i].at;
    struct pn_table_span *rest = t->free + i;
    size_t n_rest = (size_t)(t->n_free - i);
    if (joins_left && joins_right) {
        rest[-1].n += n + rest->n;
        memmove(rest, rest + 1, (n_rest - 1) * sizeof *rest);
        t->n_free--;
    } else if (joins_left) {
        rest[-1].n += n;
    } else if (joins_right) {
        *rest = (struct pn_table_span){at, rest->n + n};
    } else {
        memmove(rest + 1, rest, n_rest * sizeof *rest);
        *rest = (struct pn_table_span){at, n};
        t->n_free++;
    }
}

/* There is at most one free span between two taken ones, so with this room pn_tables_give needs no memory. */
static pantry_status reserve_spans(struct pn_tables *t, struct pantry_error *err)
{
    if (t->n_taken + 2 < t->n_free_room)
        return PANTRY_OK;
    int32_t room = 2 * t->n_taken + 16;
    struct pn_table_span *spans = realloc(t->free, (size_t)room * sizeof *spans);
    if (!spans)
        return pn_no_memory(err, "page tables");
    t->free = spans;
    t->n_free_room = room;
    return PANTRY_OK;
}

/* The index of a free span of at least n entries; n_free: none. */
static int32_t find(const struct pn_tables *t, int32_t n)
{
    int32_t i = 0;
    while (i < t->n_free && t->free[i].n < n)
        i++;
    return i;
}

pantry_status pn_tables_take(struct pn_tables *t, int32_t n, int32_t *at, struct pantry_error *err)
{
    pantry_status status = reserve_spans(t, err);
    int32_t i = find(t, n);
    if (!status && i == t->n_free) {
        int64_t room = t->n ? 2 * (int64_t)t->n : FIRST_ENTRIES, old = t->n;
        while (room < old + n)
            room *= 2;
        if (room > MAX_ENTRIES)
            return pn_fail(err, PANTRY_LIMIT, "page tables are too large (found %lld entries, allowed %d)",
                           (long long)old + n, MAX_ENTRIES);
        if (!(status = grow(t, (int32_t)room, err)))
            add_free(t, (int32_t)old, (int32_t)(room - old));
        i = find(t, n);
    }
    if (status)
        return status;
    *at = t->free[i].at;
    t->free[i].at += n;
    t->free[i].n -= n;
    if (t->free[i].n == 0) {
        memmove(t->free + i, t->free + i + 1, (size_t)(t->n_free - i - 1) * sizeof *t->free);
        t->n_free--;
    }
    t->n_taken++;
    return PANTRY_OK;
}

void pn_tables_give(struct pn_tables *t, int32_t at, int32_t n)
{
    t->n_taken--;
    add_free(t, at, n);
}

/* ---- values ---- */

int32_t *pn_tables_at(const struct pn_tables *t, int32_t at)
{
    return t->entries + at;
}

void pn_tables_changed(struct pn_tables *t, int32_t at, int32_t n)
{
    if (n > 0)
        memset(t->changed + at / PN_TABLE_LINE, 1, (size_t)((at + n - 1) / PN_TABLE_LINE - at / PN_TABLE_LINE + 1));
}

void pn_tables_send(struct pn_tables *t)
{
    int32_t n_lines = t->n / PN_TABLE_LINE;
    const size_t line = PN_TABLE_LINE * sizeof *t->entries;
    if (t->n_parts == 1 && is_hosts(t, 0))
        return;
    for (int32_t i = 0; i < n_lines; i++) {
        if (!t->changed[i])
            continue;
        t->changed[i] = 0;
        for (int p = 0; p < t->n_parts; p++)
            if (!is_hosts(t, p))
                t->devices[p]->class->write(t->devices[p], &t->part[p], (size_t)i * line,
                                            t->entries + (size_t)i * PN_TABLE_LINE, line);
    }
}

const int32_t *pn_tables_base(const struct pn_tables *t, int part)
{
    return (const int32_t *)(uintptr_t)t->part[part].address;
}
