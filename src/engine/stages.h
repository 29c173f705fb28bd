/* The steps of a runner: the plans of each bucket, their shared scratch, and running them in stages. Called under the
 * runner's lock. */
#ifndef PN_ENGINE_STAGES_H
#define PN_ENGINE_STAGES_H

#include "engine/runner.h"

pantry_status pn_stages_init(struct pn_runner *runner, struct pantry_error *err);
void pn_stages_free(struct pn_runner *runner);
/* The bucket for a step of `n_tokens` for a result, ready to run: planned, with its scratch reserved and taken from the
 * budget. */
pantry_status pn_stages_for(struct pn_runner *runner, enum pn_result result, int n_tokens, struct pn_bucket **out,
                            struct pantry_error *err);
/* Allocates nothing. */
pantry_status pn_stages_run(struct pn_runner *runner, struct pn_bucket *bucket, const struct pn_batch *batch,
                            struct pantry_error *err);

#endif
