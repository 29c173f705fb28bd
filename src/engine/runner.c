/* Plans by token-count bucket: see runner.h. */
#include "engine/runner.h"

#include "base/os.h"

#include <stdlib.h>

static const int bucket_tokens[PN_N_BUCKETS] = {1, 16, 128, 512, PN_MAX_BATCH, PN_MAX_STEP};

static uint64_t memory_bytes(void)
{
    uint64_t memory = pn_os_memory_bytes();
    return memory ? memory : (uint64_t)1 << 32;
}

pn_status pn_runner_new(struct pn_model *model, struct pn_device *device, struct pn_runner **out, struct pn_error *err)
{
    *out = NULL;
    struct pn_runner *r = calloc(1, sizeof *r);
    if (!r) {
        pn_model_free(model);
        pn_device_close(device);
        return pn_no_memory(err, "a model");
    }
    *r = (struct pn_runner){.model = model, .device = device};
    pthread_mutex_init(&r->lock, NULL);
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            r->buckets[k][i].max_tokens = bucket_tokens[i];
    const struct pn_weights *w = model->weights;
    for (size_t i = 0; i < w->n_maps; i++) {
        pn_status status = device->class->adopt(device, w->maps[i].data, w->maps[i].size, err);
        if (status) {
            pn_runner_free(r);
            return status;
        }
    }
    if (model->n_state) {
        pn_status status = pn_state_pool_new(device, model->n_state, memory_bytes(), &r->states, err);
        if (status) {
            pn_runner_free(r);
            return status;
        }
    }
    *out = r;
    return PN_OK;
}

void pn_runner_free(struct pn_runner *r)
{
    if (!r)
        return;
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++) {
            r->device->class->program_free(r->device, r->buckets[k][i].program);
            pn_plan_free(r->buckets[k][i].plan);
        }
    for (int i = 0; i < PN_MAX_POOLS; i++)
        pn_kv_pool_free(r->pools[i]);
    pn_state_pool_free(r->states);
    pn_device_close(r->device);
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
        status = pn_kv_pool_new(r->device, r->model, type, memory_bytes(), &r->pools[i], err);
    }
    if (!status)
        *out = r->pools[i];
    pthread_mutex_unlock(&r->lock);
    return status;
}

static pn_status program_for(struct pn_runner *r, enum pn_result result, int n_tokens, struct pn_program **out,
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
    *out = b->program;
    return status;
}

pn_status pn_runner_prepare(struct pn_runner *r, int n_tokens, struct pn_error *err)
{
    struct pn_program *program;
    pthread_mutex_lock(&r->lock);
    pn_status status = program_for(r, PN_RESULT_LOGITS, n_tokens, &program, err);
    pthread_mutex_unlock(&r->lock);
    return status;
}

pn_status pn_runner_step(struct pn_runner *r, enum pn_result result, const struct pn_batch *batch, struct pn_error *err)
{
    struct pn_program *program;
    pthread_mutex_lock(&r->lock);
    pn_status status = program_for(r, result, batch->n_tokens, &program, err);
    if (!status)
        status = r->device->class->run(r->device, program, batch, err);
    if (pn_weights_damaged(r->model->weights))
        status = pn_fail(err, PN_IO, "%s: the file was cut short while it was in use", r->model->weights->path);
    pthread_mutex_unlock(&r->lock);
    return status;
}
