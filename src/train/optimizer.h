/* Optimizers, as mlx.optimizers has them, and schedules of the learning rate. */
#ifndef PN_TRAIN_OPTIMIZER_H
#define PN_TRAIN_OPTIMIZER_H

#include "train/params.h"

/* One line per optimizer: PN_OPTIMIZER(NAME, name, moments) */
#define PN_OPTIMIZERS                                                                                                  \
    PN_OPTIMIZER(SGD, sgd, 0)                                                                                          \
    PN_OPTIMIZER(ADAM, adam, 2)                                                                                        \
    PN_OPTIMIZER(ADAMW, adamw, 2)                                                                                      \
    PN_OPTIMIZER(MUON, muon, 1)

enum pn_optimizer {
#define PN_OPTIMIZER(NAME, name, moments) PN_OPTIMIZER_##NAME,
    PN_OPTIMIZERS
#undef PN_OPTIMIZER
        PN_OPTIMIZER_COUNT
};

/* PN_OPTIMIZER_COUNT for an unknown name. */
enum pn_optimizer pn_optimizer_find(const char *name);
int pn_optimizer_moments(enum pn_optimizer optimizer);
/* Updates all values by their gradients: SGD (no momentum); Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter,
 * 2019) without bias correction, decay 0.01; Muon (Jordan et al., 2024). */
pantry_status pn_optimizer_step(enum pn_optimizer optimizer, struct pn_train_params *params, float learning_rate,
                                struct pantry_error *err);
/* The length of the gradient over all values; scales it to `limit` if it is longer and `limit` is above 0. */
double pn_optimizer_clip(struct pn_train_params *params, double limit);

enum pn_schedule { PN_SCHEDULE_CONSTANT, PN_SCHEDULE_COSINE, PN_SCHEDULE_LINEAR, PN_SCHEDULE_COUNT };
enum pn_schedule pn_schedule_find(const char *name);
/* The learning rate of update `at` (from 0) of `n`: rises from 0 over `warmup` updates, then stays or falls to `end`.
 */
float pn_schedule_rate(enum pn_schedule schedule, float rate, float end, int64_t warmup, int64_t at, int64_t n);

#endif
