/* Shared by the two halves of the scheduler: its thread (sched.c) and its steps (sched_step.c). */
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

    /* of the engine's thread */
    struct pn_request *active; /* not ended, oldest first */
    struct pn_seq_memory memory;
    struct pn_disk *disk; /* NULL: prefixes are in memory only */
    struct pn_step_builder step;
    struct pn_request *in_step[PN_MAX_RUNNING]; /* the requests of the step, in its order */
    uint64_t capacity;                          /* bytes of pages possible in this step; 0: not computed yet */
    enum pn_result result;                      /* of the step: logits or ids */
    float *rows;                                /* memory for the result ... */
    size_t n_values;                            /* ... and its capacity in values */
    bool starved;                               /* there was no memory for the step's pictures */
    struct pn_pace pace;
    struct pn_sched_stats stats;
};

/* Builds a step, runs it, and delivers its results. False: nothing can run until something changes. */
bool pn_sched_step(struct pn_sched *s);
void pn_sched_end_all(struct pn_sched *s);

#endif
