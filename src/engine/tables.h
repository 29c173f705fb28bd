/* The page tables of all sequences of a model, in memory of the devices that read them: a batch names a sequence's
 * tables by where they begin. The host changes its own copy, which is the first device's where both can reach it; other
 * devices get what has changed before a step.
 *
 * The engine's thread alone touches them. */
#ifndef PN_ENGINE_TABLES_H
#define PN_ENGINE_TABLES_H

#include "engine/slots.h"

struct pn_table_span {
    int32_t at, n;
};

struct pn_tables {
    struct pn_device *devices[PN_MAX_PARTS];
    int n_parts;
    struct pn_buffer part[PN_MAX_PARTS]; /* each device's copy */
    int32_t *entries;                    /* (n): the host's copy */
    int32_t n;
    unsigned char *changed;     /* one per PN_TABLE_LINE entries, for devices that have a copy of their own */
    struct pn_table_span *free; /* by rising place; neighbours are joined */
    int32_t n_free, n_free_room, n_taken;
};

enum { PN_TABLE_LINE = 256 };

void pn_tables_init(struct pn_tables *t, struct pn_device *const *devices, int n_parts);
void pn_tables_release(struct pn_tables *t);
/* Takes n entries; their values are undefined. May move the host's copy. On failure nothing is taken. */
pantry_status pn_tables_take(struct pn_tables *t, int32_t n, int32_t *at, struct pantry_error *err);
void pn_tables_give(struct pn_tables *t, int32_t at, int32_t n);
/* Where the host changes entries, until the next pn_tables_take. Tell pn_tables_changed after a change. */
int32_t *pn_tables_at(const struct pn_tables *t, int32_t at);
void pn_tables_changed(struct pn_tables *t, int32_t at, int32_t n);
/* Sends what has changed to the devices. Call it before a step. */
void pn_tables_send(struct pn_tables *t);
/* The table's first entry, as the device of a part knows it. */
const int32_t *pn_tables_base(const struct pn_tables *t, int part);

#endif
