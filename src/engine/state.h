/* Recurrent state: what layers without keys and values remember of a sequence. Its size does not grow with the
 * sequence, and it cannot be cut back; so copies of it at earlier positions are kept in the prefix tree. */
#ifndef PN_ENGINE_STATE_H
#define PN_ENGINE_STATE_H

#include "engine/slots.h"

#include <pthread.h>

/* Slots of one state each, for all sequences of a model. Slots are counted: a step that reads a state which others hold
 * too leaves the next one in another slot, so no state is ever copied. */
struct pn_state_pool {
    struct pn_slots slots;
    size_t n_floats, stride;    /* of a slot: used, and from one to the next */
    size_t first[PN_MAX_PARTS]; /* the state's float that each device's part of a slot begins with */
    uint32_t *n_refs;           /* of each slot */
    pthread_mutex_t lock;
};

/* `max_bytes` bounds the addresses reserved. */
pantry_status pn_state_pool_new(struct pn_device *device, size_t n_floats, uint64_t max_bytes,
                                struct pn_state_pool **out, struct pantry_error *err);
/* The same on several devices: device i has floats first[i] .. first[i] + n_floats[i] - 1 of each state. */
pantry_status pn_state_pool_new_parts(struct pn_device *const *devices, const size_t *first, const size_t *n_floats,
                                      int n_parts, uint64_t max_bytes, struct pn_state_pool **out,
                                      struct pantry_error *err);
void pn_state_pool_free(struct pn_state_pool *pool);
/* What a step on device `part` is told: where slot 0's float 0 is, or would be, and floats between slots. */
float *pn_state_base(const struct pn_state_pool *pool, int part, size_t *stride);

/* Takes a slot's memory from the budget and hands it out; what is in it is left over. PANTRY_NO_MEMORY: the budget or
 * all slots are used up. */
pantry_status pn_state_new(struct pn_state_pool *pool, int32_t *slot, struct pantry_error *err);
void pn_state_retain(struct pn_state_pool *pool, int32_t slot);
void pn_state_release(struct pn_state_pool *pool, int32_t slot);
/* How many hold the slot. */
uint32_t pn_state_refs(struct pn_state_pool *pool, int32_t slot);
/* The state of a sequence without tokens. */
void pn_state_clear(struct pn_state_pool *pool, int32_t slot);
/* Slots that somebody holds. */
int pn_states_used(struct pn_state_pool *pool);

#endif
