/* What the two halves of the scheduler share: its thread (sched.c) and its steps (sched_step.c). */
#ifndef PN_ENGINE_SCHED_IMPL_H
#define PN_ENGINE_SCHED_IMPL_H

#include "engine/pace.h"
#include "engine/sched.h"

struct pn_job;

struct pn_sched {
    struct pn_runner *runner;

    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake, job_done;
    struct pn_request *arrivals, *forgotten; /* lists by .next and .forgotten */
    struct pn_job *jobs;
    unsigned n_wakes;
    bool running, stop;
    pthread_t thread;

    /* the engine thread's */
    struct pn_request *active; /* all that have not ended, oldest first */
    struct pn_seq_memory memory;
    struct pn_step_builder step;
    struct pn_request *in_step[PN_MAX_RUNNING]; /* whose sequences the step has, in its order */
    uint64_t capacity;                          /* bytes of pages that there could be in this step; 0: not asked yet */
    enum pn_result result;                      /* what the step is for: logits, or ids */
    float *rows;                                /* its result ... */
    size_t n_values;                            /* ... and how many values there is room for */
    struct pn_pace pace;
    struct pn_sched_stats stats;
};

/* Puts a step together, runs it, and hands out what came of it. False: nothing can run until something changes. */
bool pn_sched_step(struct pn_sched *s);
void pn_sched_end_all(struct pn_sched *s);

#endif
