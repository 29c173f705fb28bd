/* Holding an engine: see hold.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hold.h"

static pantry_status wait_in_engine(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    struct hold *h = user;
    (void)memory;
    (void)err;
    pthread_mutex_lock(&h->lock);
    h->holds = true;
    pthread_cond_broadcast(&h->changed);
    while (!h->may_go)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
    return PANTRY_OK;
}

static void *call_engine(void *user)
{
    struct hold *h = user;
    pn_sched_call(h->model->sched, wait_in_engine, h, NULL);
    return NULL;
}

void hold_engine(struct hold *h, pantry_model *model)
{
    struct pn_sched *sched;
    *h = (struct hold){.model = model};
    assert_int_equal(pn_model_sched(model, NULL, &sched, NULL), PANTRY_OK);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    assert_int_equal(pthread_create(&h->thread, NULL, call_engine, h), 0);
    pthread_mutex_lock(&h->lock);
    while (!h->holds)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

void release_engine(struct hold *h)
{
    pthread_mutex_lock(&h->lock);
    h->may_go = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
}
