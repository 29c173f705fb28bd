/* Equal blocks of a device's memory, numbered: pages of keys and values, recurrent states.
 *
 * Addresses are reserved for as many blocks as the budget could ever pay for; memory is taken from the budget as blocks
 * are promised, and touched as they are used. Of the blocks that come back a few stay warm for the next user; the
 * memory of the others returns to the system. The owner of the blocks locks. */
#ifndef PN_ENGINE_SLOTS_H
#define PN_ENGINE_SLOTS_H

#include "base/memory.h"
#include "device/device.h"

enum { PN_MAX_PARTS = 4 };

/* What a device has of every block. */
struct pn_slots_part {
    struct pn_device *device;
    struct pn_buffer memory;
    size_t bytes, stride; /* of a block, and from one to the next */
};

struct pn_slots {
    struct pn_memory *budget;
    struct pn_slots_part part[PN_MAX_PARTS]; /* one a device that the model runs on */
    int n_parts;
    size_t stride;     /* bytes that a block takes of all devices together */
    int32_t n, n_used; /* blocks n_used .. n - 1 were never handed out */
    int32_t n_promised;
    int32_t *free; /* a stack: the block freed last is used next; the lowest n_cold have no memory */
    int32_t n_free, n_cold;
};

/* Blocks of one device, or of several: each has `bytes[i]` of every block, which may be 0. Room for at most `most`
 * blocks of `bytes` (0: they need no memory), and `max_bytes` of addresses. `what` is told when memory is out. */
pantry_status pn_slots_init(struct pn_slots *s, struct pn_device *device, size_t bytes, uint64_t most,
                            uint64_t max_bytes, const char *what, struct pantry_error *err);
pantry_status pn_slots_init_parts(struct pn_slots *s, struct pn_device *const *devices, const size_t *bytes,
                                  int n_parts, uint64_t most, uint64_t max_bytes, const char *what,
                                  struct pantry_error *err);
void pn_slots_release(struct pn_slots *s);
/* Takes n blocks from the budget, or says what they need and what is left: "WHAT needs ...". */
pantry_status pn_slots_promise(struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err);
/* Whether that would succeed now; takes nothing. */
pantry_status pn_slots_check(const struct pn_slots *s, int32_t n, const char *what, struct pantry_error *err);
void pn_slots_unpromise(struct pn_slots *s, int32_t n);
/* False when all are in use: never for one that was promised. */
bool pn_slots_take(struct pn_slots *s, int32_t *slot);
void pn_slots_give(struct pn_slots *s, int32_t slot);
/* What is in a block: that of another, or zeros. In order with the device's steps. */
void pn_slots_copy(struct pn_slots *s, int32_t to, int32_t from);
void pn_slots_clear(struct pn_slots *s, int32_t slot);

#endif
