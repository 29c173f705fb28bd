/* Holds a model's engine thread between two steps, so that what a test submits meanwhile arrives together. */
#ifndef PN_TESTS_HOLD_H
#define PN_TESTS_HOLD_H

#include "engine/handle.h"

#include <pthread.h>

struct hold {
    pantry_model *model;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool holds, may_go;
};

void hold_engine(struct hold *h, pantry_model *model);
void release_engine(struct hold *h);

#endif
