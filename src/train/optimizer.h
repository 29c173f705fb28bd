/* Optimizers, as mlx.optimizers has them. All numbers are float32. */
#ifndef PN_TRAIN_OPTIMIZER_H
#define PN_TRAIN_OPTIMIZER_H

#include "train/params.h"

/* One line per optimizer: PN_OPTIMIZER(NAME, name) */
#define PN_OPTIMIZERS                                                                                                  \
    PN_OPTIMIZER(SGD, sgd)                                                                                             \
    PN_OPTIMIZER(ADAM, adam)                                                                                           \
    PN_OPTIMIZER(ADAMW, adamw)                                                                                         \
    PN_OPTIMIZER(MUON, muon)                                                                                           \
    PN_OPTIMIZER(ADAFACTOR, adafactor)

enum pn_optimizer_kind {
#define PN_OPTIMIZER(NAME, name) PN_OPTIMIZER_##NAME,
    PN_OPTIMIZERS
#undef PN_OPTIMIZER
        PN_OPTIMIZER_COUNT
};

/* An optimizer with its settings. Members that it does not know are 0. */
struct pn_optimizer {
    enum pn_optimizer_kind kind;
    double betas[2], eps[2]; /* eps[1]: Adafactor's */
    double weight_decay, momentum, dampening, clip_threshold, decay_rate, ns_steps, beta_1;
    bool nesterov, bias_correction, scale_parameter, relative_step, warmup_init;
};

/* PN_OPTIMIZER_COUNT for an unknown name. */
enum pn_optimizer_kind pn_optimizer_find(const char *name);
/* The optimizer's defaults, then `config` (NULL: none): "NAME=VALUE ...", as in optimizer_config of mlx_lm; pairs are
 * written 0.9:0.99. "OPTIMIZER.NAME=VALUE" counts for that optimizer only. */
pantry_status pn_optimizer_read(enum pn_optimizer_kind kind, const char *config, struct pn_optimizer *out,
                                struct pantry_error *err);
/* What it keeps for each trained number, and whether it keeps means of rows and columns. */
struct pn_train_keeps pn_optimizer_keeps(const struct pn_optimizer *optimizer);
/* Updates all values by their gradients: SGD; Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019); Muon
 * (Jordan et al., 2024); Adafactor (Shazeer & Stern, 2018). `number` counts updates from 1. */
pantry_status pn_optimizer_step(const struct pn_optimizer *optimizer, struct pn_train_params *params,
                                float learning_rate, int64_t number, struct pantry_error *err);
/* The length of the gradient over all values; scales it to `limit` if it is longer and `limit` is above 0. */
double pn_optimizer_clip(struct pn_train_params *params, double limit);

/* For optimizer.c: the updates of Muon and Adafactor, which see whole matrices (matrices.c). */
pantry_status pn_muon(const struct pn_optimizer *optimizer, struct pn_train_params *params, float rate,
                      struct pantry_error *err);
pantry_status pn_adafactor(const struct pn_optimizer *optimizer, struct pn_train_params *params, float rate,
                           int64_t number, struct pantry_error *err);

#endif
