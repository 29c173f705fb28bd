/* Packs texts into steps and runs them. */
#ifndef PN_ENGINE_PACK_H
#define PN_ENGINE_PACK_H

#include "engine/texts.h"

/* Runs all texts in order, as many per step as fit. The rows of `result` follow each other in `rows`: one per token for
 * PN_RESULT_STATES, else one per text. `pooling` says which tokens contribute to a row. *seconds: the time of all
 * steps. */
pantry_status pn_pack_run(const struct pn_texts *texts, enum pn_result result, enum pn_pooling pooling, float *rows,
                          double *seconds, struct pantry_error *err);

#endif
