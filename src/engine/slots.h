/* Equal blocks of a device's memory, numbered: pages of keys and values, recurrent states.
 *
 * Addresses are reserved for as many blocks as the budget could ever hold. Promising blocks takes their memory from the
 * budget; using them touches it. Some freed blocks stay warm for the next user; the memory of the others returns to the
 * system. The owner of the blocks must lock. */
#ifndef PN_ENGINE_SLOTS_H
#define PN_ENGINE_SLOTS_H

#include "base/memory.h"
#include "device/device.h"

enum { PN_MAX_PARTS = 4 };

/* A device's part of every block. */
struct pn_slots_part {
    struct pn_device *device;
    struct pn_buffer memory;
    size_t bytes, stride; /* size of the part, and distance to the next block's */
};

struct pn_slots {
    struct pn_memory *budget;
    struct pn_slots_part part[PN_MAX_PARTS]; /* one per device of the model */
    int n_parts;
    size_t stride;     /* bytes of a block on all devices together */
    int32_t n, n_used; /* blocks n_used .. n - 1 were never handed out */
    int32_t n_promised;
    int32_t *free; /* a stack: the block freed last is used next; the lowest n_cold have no memory */
    int32_t n_free, n_cold;
};

/* Creates blocks; device i has `bytes[i]` of every block (0: no memory). Reserves at most `most` blocks and `max_bytes`
 * of addresses. Where a device commits memory at once, a share of what it has free. `what` names them in
 * errors. */
pantry_status pn_slots_init(struct pn_slots *s, struct pn_device *const *devices, const size_t *bytes, int n_parts,
                            uint64_t most, uint64_t max_bytes, const char *what, struct pantry_error *err);
void pn_slots_release(struct pn_slots *s);
/* Takes the memory of n blocks from the budget, or fails with the bytes needed and left: "WHAT needs ...". */
pantry_status pn_slots_promise(struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err);
/* Whether pn_slots_promise would succeed now; takes nothing. */
pantry_status pn_slots_check(const struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err);
void pn_slots_unpromise(struct pn_slots *s, int32_t n);
/* False if all are in use; never fails for a promised one. */
bool pn_slots_take(struct pn_slots *s, int32_t *slot);
void pn_slots_give(struct pn_slots *s, int32_t slot);
/* Fills a block with a copy of another, or with zeros. In order with the device's steps. */
void pn_slots_copy(struct pn_slots *s, int32_t to, int32_t from);
void pn_slots_clear(struct pn_slots *s, int32_t slot);
/* Bytes of a block's contents, of all parts one after another; reads and writes them. In order with the device's
 * steps. */
size_t pn_slots_bytes(const struct pn_slots *s);
void pn_slots_read(const struct pn_slots *s, int32_t slot, unsigned char *to);
void pn_slots_write(struct pn_slots *s, int32_t slot, const unsigned char *from);

#endif
