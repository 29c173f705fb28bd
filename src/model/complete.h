/* Looks for lost tensors. */
#ifndef PN_MODEL_COMPLETE_H
#define PN_MODEL_COMPLETE_H

#include "model/arch.h"
#include "model/hparams.h"

/* Refuses a file in which a layer lacks exactly one tensor that another layer of its kind has. Uses memory of `arena`.
 */
pantry_status pn_model_complete(const struct pn_weights *weights, const struct pn_arch *arch,
                                const struct pn_hparams *hp, struct pn_arena *arena, struct pantry_error *err);

#endif
