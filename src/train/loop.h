/* The course of a training: batches, updates, validation, saving, resuming. */
#ifndef PN_TRAIN_LOOP_H
#define PN_TRAIN_LOOP_H

#include "train/data.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainer.h"

struct pn_train_plan {
    struct pn_optimizer optimizer;
    struct pn_schedule schedule;
    const char *settings; /* a text that names all options that resuming may not change besides those here */
    double clip;          /* most length of a gradient; 0: any */
    int iters, batch_size, max_length, accumulation, warmup;
    int eval_every;   /* iterations; 0: only at the end */
    int val_batches;  /* 0: all */
    int patience;     /* validations without a better loss before it ends early; 0: it does not */
    int save_every;   /* iterations; 0: only at the end */
    int report_every; /* iterations between due steps */
    bool shuffle, resume;
    uint64_t seed;
    const char *folder; /* of the results */
    const char *config; /* the text of adapter_config.json */
};

/* What happened; `loss` is of a batch, or of all validation data. */
struct pn_train_report {
    enum { PN_TRAIN_STEP, PN_TRAIN_VALIDATION, PN_TRAIN_SAVED } kind;
    int iter; /* iterations done */
    double loss;
    float learning_rate;
    int64_t tokens; /* targets that counted */
    int64_t n_cut;  /* rows that were too long so far */
    double seconds;
    bool due;         /* a step: it ends report_every iterations, or is the last one */
    double mean_loss; /* of the steps since the last due one */
    bool best;        /* a validation: the lowest loss so far; FOLDER/best has its weights */
};

struct pn_train_listener {
    bool (*report)(void *user, const struct pn_train_report *report); /* false: stop with PANTRY_CANCELLED */
    void *user;
};

/* The mean cross-entropy of whole batches of rows, the first n_batches (0: all); *tokens of them count. */
pantry_status pn_train_measure(struct pn_trainer *trainer, const struct pn_train_data *data,
                               const struct pn_train_plan *plan, int n_batches, double *loss, int64_t *tokens,
                               struct pantry_error *err);
/* Trains. `valid` may have no rows. Killed at any time, a later call with `resume` goes on from the last save and ends
 * with the same numbers, bit for bit, on the same device. */
pantry_status pn_train_run(struct pn_trainer *trainer, const struct pn_train_data *train,
                           const struct pn_train_data *valid, const struct pn_train_plan *plan,
                           const struct pn_train_listener *listener, struct pantry_error *err);

#endif
