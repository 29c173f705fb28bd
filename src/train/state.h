/* The state of a training on disk: everything that the next iteration depends on. */
#ifndef PN_TRAIN_STATE_H
#define PN_TRAIN_STATE_H

#include "train/loop.h"

struct pn_train_progress {
    int64_t iter, updates; /* done */
    int64_t n_cut;
    int64_t bad; /* validations since the best */
    double best;
};

/* Writes FOLDER/tune_state.safetensors; complete or not at all. */
pantry_status pn_train_state_save(const struct pn_train_params *params, const struct pn_train_plan *plan, size_t n_rows,
                                  const struct pn_train_progress *progress, struct pantry_error *err);
/* Reads it. PANTRY_NOT_FOUND: there is none. PANTRY_INVALID: it belongs to other options, data or weights. */
pantry_status pn_train_state_load(struct pn_train_params *params, const struct pn_train_plan *plan, size_t n_rows,
                                  struct pn_train_progress *progress, struct pantry_error *err);

#endif
