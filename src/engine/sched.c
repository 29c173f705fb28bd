/* The scheduler's thread: see sched.h. sched_step.c decides what goes into a step. */
#include "engine/sched_impl.h"

#include "base/threads.h"

#include <stdio.h>
#include <stdlib.h>

struct pn_job {
    pn_sched_work *work;
    void *user;
    struct pantry_error *err;
    pantry_status status;
    bool done;
    struct pn_job *next;
};

/* ---- the thread ---- */

/* Appends new requests to the active ones, in order. The lock is held. */
static void accept_arrivals(struct pn_sched *s)
{
    struct pn_request **end = &s->active;
    while (*end)
        end = &(*end)->next;
    *end = s->arrivals;
    s->arrivals = NULL;
}

/* The lock is held, and released while a job runs. */
static void run_jobs(struct pn_sched *s)
{
    while (s->jobs) {
        struct pn_job *job = s->jobs;
        s->jobs = job->next;
        pthread_mutex_unlock(&s->lock);
        pantry_status status = job->work(job->user, &s->memory, job->err);
        pthread_mutex_lock(&s->lock);
        job->status = status;
        job->done = true;
        pthread_cond_broadcast(&s->job_done);
    }
}

/* Destroys abandoned requests that have ended. The lock is held. */
static void destroy_ended(struct pn_sched *s)
{
    for (struct pn_request **at = &s->forgotten, *r; (r = *at);) {
        if (r->phase == PN_REQUEST_ENDED) {
            *at = r->forgotten;
            pn_request_destroy(r);
        } else {
            at = &r->forgotten;
        }
    }
}

static void *engine_thread(void *user)
{
    struct pn_sched *s = user;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        accept_arrivals(s);
        run_jobs(s);
        unsigned seen = s->n_wakes;
        pthread_mutex_unlock(&s->lock);
        bool ran = pn_sched_step(s);
        pthread_mutex_lock(&s->lock);
        destroy_ended(s);
        if (s->stop)
            break;
        while (!ran && seen == s->n_wakes && !s->arrivals && !s->jobs && !s->stop)
            pthread_cond_wait(&s->wake, &s->lock);
    }
    accept_arrivals(s);
    run_jobs(s);
    pthread_mutex_unlock(&s->lock);
    pn_sched_end_all(s);
    if (s->disk)
        pn_disk_flush(s->disk);
    pthread_mutex_lock(&s->lock);
    destroy_ended(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The lock is held. The thread starts with the first work, so that merely inspecting a model needs no thread. */
static pantry_status start_thread(struct pn_sched *s, struct pantry_error *err)
{
    if (s->running)
        return PANTRY_OK;
    if (pn_thread_start(&s->thread, engine_thread, s) != 0)
        return pn_fail(err, PANTRY_NO_MEMORY, "cannot start the engine's thread");
    s->running = true;
    return PANTRY_OK;
}

/* ---- life ---- */

pantry_status pn_sched_new(struct pn_runner *runner, struct pn_kv_pool *pool, struct pn_sched **out,
                           struct pantry_error *err)
{
    *out = NULL;
    struct pn_sched *s = calloc(1, sizeof *s);
    if (!s)
        return pn_no_memory(err, "a scheduler");
    s->runner = runner;
    pn_pace_init(&s->pace, runner->model->n_params);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->job_done, NULL);
    pantry_status status = pn_seq_memory_init(&s->memory, runner, pool, err);
    if (!status)
        status = pn_step_init(&s->step, PN_MAX_BATCH + PN_MAX_RUNNING, PN_MAX_RUNNING, err);
    if (status)
        pn_sched_free(s);
    else
        *out = s;
    return status;
}

static void wake(void *user)
{
    pn_sched_wake(user);
}

pantry_status pn_sched_use_disk(struct pn_sched *s, struct pn_disk_folder *folder, const struct pn_rope_override *rope,
                                struct pantry_error *err)
{
    return pn_disk_new(folder, rope, &s->memory, wake, s, &s->disk, err);
}

void pn_sched_free(struct pn_sched *s)
{
    if (!s)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    pn_disk_free(s->disk);
    pn_seq_memory_release(&s->memory);
    pn_step_release(&s->step);
    free(s->rows);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->job_done);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- from other threads ---- */

pantry_status pn_sched_submit(struct pn_sched *s, struct pn_request *r, struct pantry_error *err)
{
    pthread_mutex_lock(&s->lock);
    pantry_status status = start_thread(s, err);
    struct pn_request **end = &s->arrivals;
    while (*end)
        end = &(*end)->next;
    if (!status)
        *end = r;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return status;
}

void pn_sched_wake(struct pn_sched *s)
{
    pthread_mutex_lock(&s->lock);
    s->n_wakes++;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

const struct pantry_event *pn_sched_next(struct pn_sched *s, struct pn_request *r, int timeout_ms)
{
    bool has_room;
    const struct pantry_event *event = pn_request_next(r, timeout_ms, &has_room);
    if (has_room)
        pn_sched_wake(s);
    return event;
}

bool pn_sched_is_running(struct pn_sched *s)
{
    pthread_mutex_lock(&s->lock);
    bool running = s->running;
    pthread_mutex_unlock(&s->lock);
    return running;
}

struct pn_kv_pool *pn_sched_pool(const struct pn_sched *s)
{
    return s->memory.pool;
}

pantry_status pn_sched_check_context(struct pn_sched *s, int n_context, int slice, struct pantry_error *err)
{
    struct pn_kv_pool *pool = s->memory.pool;
    int32_t pages[PN_KV_GROUPS];
    char what[64];
    for (int g = 0; g < pool->n_groups; g++)
        pages[g] = pn_kv_most_pages(pool, g, n_context, slice);
    snprintf(what, sizeof what, "a context of %d tokens", n_context);
    return pn_kv_check(pool, pages, what, err);
}

void pn_sched_forget(struct pn_sched *s, struct pn_request *r)
{
    atomic_store(&r->cancel, true);
    pthread_mutex_lock(&s->lock);
    r->forgotten = s->forgotten;
    s->forgotten = r;
    s->n_wakes++;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

pantry_status pn_sched_call(struct pn_sched *s, pn_sched_work *work, void *user, struct pantry_error *err)
{
    struct pn_job job = {.work = work, .user = user, .err = err};
    pthread_mutex_lock(&s->lock);
    pantry_status status = start_thread(s, err);
    if (!status) {
        struct pn_job **end = &s->jobs;
        while (*end)
            end = &(*end)->next;
        *end = &job;
        pthread_cond_signal(&s->wake);
        while (!job.done)
            pthread_cond_wait(&s->job_done, &s->lock);
        status = job.status;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

struct stats_job {
    struct pn_sched *sched;
    struct pn_sched_stats *out;
};

static pantry_status collect_stats(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)err;
    struct stats_job *job = user;
    *job->out = job->sched->stats;
    for (const struct pn_request *r = job->sched->active; r; r = r->next)
        job->out->n_requests++;
    job->out->pages_used = pn_kv_pages_used(memory->pool, 0);
    job->out->pages_in_tree = pn_tree_n_pages(memory->tree);
    for (int g = 1; g < memory->pool->n_groups; g++)
        job->out->window_pages_used += pn_kv_pages_used(memory->pool, g);
    job->out->states_used = memory->runner->states ? pn_states_used(memory->runner->states) : 0;
    job->out->states_in_tree = memory->runner->states ? pn_tree_n_states(memory->tree) : 0;
    return PANTRY_OK;
}

pantry_status pn_sched_stats(struct pn_sched *s, struct pn_sched_stats *out, struct pantry_error *err)
{
    return pn_sched_call(s, collect_stats, &(struct stats_job){s, out}, err);
}
