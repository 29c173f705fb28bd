/* Recurrent state: what layers without keys and values remember of a sequence. Its size does not grow with the
 * sequence, and it cannot be cut back; so a session keeps copies of it at earlier positions, and rewinding goes to the
 * nearest of them at or before the wanted position. */
#ifndef PN_ENGINE_STATE_H
#define PN_ENGINE_STATE_H

#include "engine/slots.h"

#include <pthread.h>

enum { PN_MAX_CHECKPOINTS = 8 };

/* Slots of one state each, for all sessions of a model. */
struct pn_state_pool {
    struct pn_slots slots;
    size_t n_floats, stride; /* of a slot: used, and from one to the next */
    int n_checkpoints;       /* that a session may keep */
    pthread_mutex_t lock;
};

/* `max_bytes` bounds the addresses reserved. */
pn_status pn_state_pool_new(struct pn_device *device, size_t n_floats, uint64_t max_bytes, struct pn_state_pool **out,
                            struct pn_error *err);
void pn_state_pool_free(struct pn_state_pool *pool);

/* A session's state, and its copies at earlier positions. */
struct pn_states {
    struct pn_state_pool *pool; /* NULL: the model has none; the functions below then do nothing */
    int32_t slot;
    int n, n_max; /* copies there are; copies that memory was promised for */
    struct pn_checkpoint {
        int at;
        int32_t slot;
    } checkpoints[PN_MAX_CHECKPOINTS]; /* rising, all after at least one token */
};

/* The state of a sequence without tokens. Where memory is short it keeps fewer copies. */
pn_status pn_states_init(struct pn_states *s, struct pn_state_pool *pool, struct pn_error *err);
void pn_states_release(struct pn_states *s);
/* A step of `n` tokens has led to `at` tokens: keeps a copy after prompts and now and then while generating. Where
 * there are as many as may be, the least useful copy makes room. */
void pn_states_advance(struct pn_states *s, int at, int n);
/* Goes back to at most n tokens; returns to how many. What came after is forgotten. */
int pn_states_rewind(struct pn_states *s, int n);

#endif
