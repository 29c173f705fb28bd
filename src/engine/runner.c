/* Plans by token-count bucket: see runner.h. */
#include "engine/runner.h"

#include <stdio.h>
#include <stdlib.h>

static const int bucket_tokens[PN_N_BUCKETS] = {1, 16, 128, 512, PN_MAX_BATCH, PN_MAX_STEP};

/* Counts the weights; they are mapped already. */
static pn_status add_weights(struct pn_runner *r, struct pn_error *err)
{
    const struct pn_model *m = r->model;
    char what[256];
    snprintf(what, sizeof what, "%s: the model", m->weights->path);
    pn_status status = pn_memory_add_weights(r->budget, m->size_bytes, m->step_bytes, what, err);
    r->counted = !status;
    return status;
}

pn_status pn_runner_new(struct pn_model *model, struct pn_device *device, struct pn_runner **out, struct pn_error *err)
{
    *out = NULL;
    struct pn_runner *r = calloc(1, sizeof *r);
    if (!r) {
        pn_model_free(model);
        pn_devices_close(device);
        return pn_no_memory(err, "a model");
    }
    *r = (struct pn_runner){
        .model = model, .device = device, .turn = pn_devices_turn(device), .budget = pn_memory_of_process()};
    pthread_mutex_init(&r->lock, NULL);
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            r->buckets[k][i].max_tokens = bucket_tokens[i];
    const struct pn_weights *w = model->weights;
    pn_status status = add_weights(r, err);
    if (status) {
        pn_runner_free(r);
        return status;
    }
    for (size_t i = 0; i < w->n_maps; i++) {
        status = device->class->adopt(device, w->maps[i].data, w->maps[i].size, err);
        if (status) {
            pn_runner_free(r);
            return status;
        }
    }
    if (model->n_state) {
        status = pn_state_pool_new(device, model->n_state, pn_memory_addresses(r->budget), &r->states, err);
        if (status) {
            pn_runner_free(r);
            return status;
        }
    }
    *out = r;
    return PN_OK;
}

static void drop_program(struct pn_runner *r, struct pn_bucket *b)
{
    if (b->in_use)
        pn_memory_touch(r->budget, -(int64_t)b->bytes);
    pn_memory_give(r->budget, b->bytes);
    r->device->class->program_free(r->device, b->program);
}

/* Takes from the budget what a step of so many tokens touches: the bucket's memory is reserved for its longest one. */
static pn_status take_scratch(struct pn_runner *r, struct pn_bucket *b, int n_tokens, struct pn_error *err)
{
    double part = (double)n_tokens / b->max_tokens;
    size_t bytes = (size_t)((double)r->device->class->program_bytes(b->program) * part);
    char what[64];
    if (bytes <= b->bytes)
        return PN_OK;
    snprintf(what, sizeof what, "a step of %d tokens", n_tokens);
    pn_status status = pn_memory_take(r->budget, bytes - b->bytes, what, err);
    if (status)
        return status;
    if (b->in_use)
        pn_memory_touch(r->budget, (int64_t)(bytes - b->bytes));
    b->bytes = bytes;
    return PN_OK;
}

void pn_runner_free(struct pn_runner *r)
{
    if (!r)
        return;
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++) {
            drop_program(r, &r->buckets[k][i]);
            pn_plan_free(r->buckets[k][i].plan);
        }
    for (int i = 0; i < PN_MAX_POOLS; i++)
        pn_kv_pool_free(r->pools[i]);
    pn_state_pool_free(r->states);
    if (r->counted)
        pn_memory_remove_weights(r->budget, r->model->size_bytes, r->model->step_bytes);
    pn_devices_close(r->device);
    pn_model_free(r->model);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

pn_status pn_runner_pool(struct pn_runner *r, pn_type type, struct pn_kv_pool **out, struct pn_error *err)
{
    pn_status status = PN_OK;
    int i = 0;
    pthread_mutex_lock(&r->lock);
    while (i < PN_MAX_POOLS && r->pools[i] && r->pools[i]->type != type)
        i++;
    if (i == PN_MAX_POOLS) {
        status = pn_fail(err, PN_LIMIT, "more than %d types of key/value cache at once", PN_MAX_POOLS);
    } else if (!r->pools[i]) {
        status = pn_kv_pool_new(r->device, r->model, type, pn_memory_addresses(r->budget), &r->pools[i], err);
    }
    if (!status)
        *out = r->pools[i];
    pthread_mutex_unlock(&r->lock);
    return status;
}

static pn_status program_for(struct pn_runner *r, enum pn_result result, int n_tokens, struct pn_bucket **out,
                             struct pn_error *err)
{
    int i = 0;
    while (i < PN_N_BUCKETS && bucket_tokens[i] < n_tokens)
        i++;
    if (i == PN_N_BUCKETS)
        return pn_fail(err, PN_INVALID, "a step of %d tokens is longer than the %d possible", n_tokens, PN_MAX_STEP);
    struct pn_bucket *b = &r->buckets[result][i];
    pn_status status = PN_OK;
    if (!b->plan)
        status = pn_plan_new(&r->model->graph, r->model->results[result], b->max_tokens, b->max_tokens,
                             r->device->properties.fuses, &b->plan, err);
    if (!status && !b->program)
        status = r->device->class->compile(r->device, b->plan, &b->program, err);
    if (!status)
        status = take_scratch(r, b, n_tokens, err);
    *out = b;
    return status;
}

pn_status pn_runner_prepare(struct pn_runner *r, int n_tokens, struct pn_error *err)
{
    struct pn_bucket *bucket;
    pthread_mutex_lock(&r->lock);
    pn_status status = program_for(r, PN_RESULT_LOGITS, n_tokens, &bucket, err);
    pthread_mutex_unlock(&r->lock);
    return status;
}

pn_status pn_runner_step(struct pn_runner *r, enum pn_result result, const struct pn_batch *batch, struct pn_error *err)
{
    struct pn_bucket *bucket;
    pthread_mutex_lock(&r->lock);
    pn_status status = program_for(r, result, batch->n_tokens, &bucket, err);
    if (!status) {
        if (!bucket->in_use)
            pn_memory_touch(r->budget, (int64_t)bucket->bytes);
        bucket->in_use = true;
        if (r->turn)
            pthread_mutex_lock(r->turn);
        status = r->device->class->run(r->device, bucket->program, batch, err);
        if (r->turn)
            pthread_mutex_unlock(r->turn);
    }
    if (pn_weights_damaged(r->model->weights))
        status = pn_fail(err, PN_IO, "%s: the file was cut short while it was in use", r->model->weights->path);
    pthread_mutex_unlock(&r->lock);
    return status;
}
