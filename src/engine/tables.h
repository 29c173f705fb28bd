/* The page tables of all sequences of a model, in memory of the devices that read them. A batch refers to a sequence's
 * tables by their index. The host changes its own copy, which is the first device's if the host can reach that; other
 * devices get the changed entries before a step.
 *
 * Only the engine's thread uses them. */
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
    unsigned char *changed;     /* one per PN_TABLE_LINE entries, for devices with their own copy */
    struct pn_table_span *free; /* by rising index; neighbours are joined */
    int32_t n_free, n_free_room, n_taken;
};

enum { PN_TABLE_LINE = 256 };

void pn_tables_init(struct pn_tables *t, struct pn_device *const *devices, int n_parts);
void pn_tables_release(struct pn_tables *t);
/* Takes n entries with undefined values. May move the host's copy. On failure nothing is taken. */
pantry_status pn_tables_take(struct pn_tables *t, int32_t n, int32_t *at, struct pantry_error *err);
void pn_tables_give(struct pn_tables *t, int32_t at, int32_t n);
/* The host's entries, valid until the next pn_tables_take. Call pn_tables_changed after changing them. */
int32_t *pn_tables_at(const struct pn_tables *t, int32_t at);
void pn_tables_changed(struct pn_tables *t, int32_t at, int32_t n);
/* Sends changed entries to the devices. Call it before a step. */
void pn_tables_send(struct pn_tables *t);
/* The address of the first entry on the device of a part. */
const int32_t *pn_tables_base(const struct pn_tables *t, int part);

#endif
