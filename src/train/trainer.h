/* A model on a device while it is trained: its graph with gradients, the plans of a step, and the trained numbers. */
#ifndef PN_TRAIN_TRAINER_H
#define PN_TRAIN_TRAINER_H

#include "device/device.h"
#include "model/model.h"
#include "train/batch.h"
#include "train/params.h"

struct pn_trainer;

/* Takes over the model (pn_model_new_trained); borrows the device. The trained weights are those of the model's
 * adapter, or, without one, of its blocks, which must be float32 in memory that may be written. `dora`: the magnitudes
 * too. `checkpoints`: blocks are computed again in the backward pass. Batches have at most max_rows rows of max_length
 * tokens. All memory of a step is planned and taken from the budget before the first one: PANTRY_NO_MEMORY says how
 * much it needs and how much there is. */
pantry_status pn_trainer_new(struct pn_model *model, struct pn_device *device, int max_rows, int max_length,
                             struct pn_train_keeps keeps, bool checkpoints, struct pn_trainer **out,
                             struct pantry_error *err);
void pn_trainer_free(struct pn_trainer *trainer);

struct pn_train_params *pn_trainer_params(struct pn_trainer *trainer);
struct pn_model *pn_trainer_model(struct pn_trainer *trainer);
/* Bytes of trained numbers, their gradients and the optimizer's state, and of the arrays of a step. */
uint64_t pn_trainer_bytes(const struct pn_trainer *trainer);
/* The sum of the batch's cross-entropies. `learn`: adds the gradients of their mean to those of the params; `stream`
 * then chooses the dropout. */
pantry_status pn_trainer_step(struct pn_trainer *trainer, const struct pn_train_batch *batch, bool learn,
                              uint64_t stream, double *sum, struct pantry_error *err);

#endif
