/* Schedules of the learning rate: those of mlx.optimizers, and two that know the length of the training. */
#ifndef PN_TRAIN_SCHEDULE_H
#define PN_TRAIN_SCHEDULE_H

#include "base/status.h"

#include <stdint.h>

/* One line per schedule: PN_SCHEDULE(NAME, name, least, most, steps): the numbers that it takes, and which of them
 * (from 0) is a number of updates (-1: none). */
#define PN_SCHEDULES                                                                                                   \
    PN_SCHEDULE(CONSTANT, constant, 1, 1, -1)                                                                          \
    PN_SCHEDULE(COSINE, cosine, 1, 2, -1)                                                                              \
    PN_SCHEDULE(LINEAR, linear, 1, 2, -1)                                                                              \
    PN_SCHEDULE(COSINE_DECAY, cosine_decay, 2, 3, 1)                                                                   \
    PN_SCHEDULE(EXPONENTIAL_DECAY, exponential_decay, 2, 2, -1)                                                        \
    PN_SCHEDULE(STEP_DECAY, step_decay, 3, 3, 2)                                                                       \
    PN_SCHEDULE(LINEAR_SCHEDULE, linear_schedule, 3, 3, 2)

enum pn_schedule_kind {
#define PN_SCHEDULE(NAME, name, least, most, steps) PN_SCHEDULE_##NAME,
    PN_SCHEDULES
#undef PN_SCHEDULE
        PN_SCHEDULE_COUNT
};

struct pn_schedule {
    enum pn_schedule_kind kind;
    double number[3];   /* the first: the learning rate at its start. Of COSINE and LINEAR: the last rate */
    int64_t warmup;     /* updates until then */
    bool waits;         /* the rise begins at warmup_init and takes one update more, as in mlx_lm */
    double warmup_init; /* where the rise begins */
};

enum pn_schedule_kind pn_schedule_find(const char *name); /* PN_SCHEDULE_COUNT: unknown */
/* "NAME NUMBER... [warmup=N] [warmup_init=X]", as mlx_lm's lr_schedule. */
pantry_status pn_schedule_read(const char *text, struct pn_schedule *out, struct pantry_error *err);
/* The learning rate of update `at` (from 0) of `n`. */
float pn_schedule_rate(const struct pn_schedule *schedule, int64_t at, int64_t n);

#endif
