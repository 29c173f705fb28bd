/* Recurrent state: the memory of a sequence in layers without keys and values. Its size does not grow with the
 * sequence. It cannot be rewound, so the prefix tree keeps states at earlier positions. */
#ifndef PN_ENGINE_STATE_H
#define PN_ENGINE_STATE_H

#include "engine/slots.h"

#include <pthread.h>

/* One slot per state, for all sequences of a model. Slots have reference counts: a step that reads a shared state
 * writes the next one to another slot, so no state is ever copied. */
struct pn_state_pool {
    struct pn_slots slots;
    size_t n_floats, stride;    /* floats used of a slot, and from one to the next */
    size_t first[PN_MAX_PARTS]; /* the first float of each device's part of a state */
    uint32_t *n_refs;           /* of each slot */
    pthread_mutex_t lock;
};

/* Device i has floats first[i] .. first[i] + n_floats[i] - 1 of each state. `max_bytes` bounds the addresses reserved.
 */
pantry_status pn_state_pool_new(struct pn_device *const *devices, const size_t *first, const size_t *n_floats,
                                int n_parts, uint64_t max_bytes, struct pn_state_pool **out, struct pantry_error *err);
void pn_state_pool_free(struct pn_state_pool *pool);
/* For a step on device `part`: where float 0 of slot 0 is, or would be, and the floats between slots. */
float *pn_state_base(const struct pn_state_pool *pool, int part, size_t *stride);

/* Takes a slot and its memory from the budget; its contents are undefined. PANTRY_NO_MEMORY: the budget or the slots
 * are used up. */
pantry_status pn_state_new(struct pn_state_pool *pool, int32_t *slot, struct pantry_error *err);
void pn_state_retain(struct pn_state_pool *pool, int32_t slot);
void pn_state_release(struct pn_state_pool *pool, int32_t slot);
/* The number of references to the slot. */
uint32_t pn_state_refs(struct pn_state_pool *pool, int32_t slot);
/* Resets a slot to the state of an empty sequence. */
void pn_state_clear(struct pn_state_pool *pool, int32_t slot);
/* The number of slots in use. */
int pn_states_used(struct pn_state_pool *pool);

#endif
