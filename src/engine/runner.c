/* Plans by token-count bucket: see runner.h. */
#include "engine/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The tensors of the graph, each once: the device makes them reachable. */
static pn_status place_weights(struct pn_runner *r, struct pn_error *err)
{
    const struct pn_graph *g = &r->model->graph;
    size_t n = 0;
    r->weights = calloc(g->len + 1, sizeof *r->weights);
    if (!r->weights)
        return pn_no_memory(err, "a model");
    for (size_t i = 0; i < g->len; i++)
        if (g->data[i].op == PN_OP_WEIGHT)
            r->weights[n++] = g->data[i].weight;
    n = pn_weight_wholes(r->weights, n, r->weights);
    pn_status status = r->device->class->place(r->device, r->weights, n, NULL, err);
    r->n_weights = status ? 0 : n;
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
    pn_status status = add_weights(r, err);
    if (!status)
        status = place_weights(r, err);
    if (!status && model->n_state)
        status = pn_state_pool_new(device, model->n_state, pn_memory_addresses(r->budget), &r->states, err);
    if (status)
        pn_runner_free(r);
    else
        *out = r;
    return status;
}

/* ---- scratch ---- */

/* Of the scratch that all programs share, what steps touch: each program its part, but all of it at most. */
static uint64_t scratch_bytes(const struct pn_runner *r, bool in_use_only)
{
    uint64_t sum = 0;
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            sum += !in_use_only || r->buckets[k][i].in_use ? r->buckets[k][i].bytes : 0;
    return sum < r->scratch.buffer.size ? sum : r->scratch.buffer.size;
}

static void touch_scratch(struct pn_runner *r)
{
    uint64_t now = scratch_bytes(r, true);
    pn_memory_touch(r->budget, (int64_t)now - (int64_t)r->scratch.touched);
    r->scratch.touched = now;
}

/* Nothing of it is touched any more. */
static void forget_scratch(struct pn_runner *r)
{
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++) {
            r->buckets[k][i].bytes = 0;
            r->buckets[k][i].in_use = false;
        }
    touch_scratch(r);
    pn_memory_give(r->budget, r->scratch.taken);
    r->scratch.taken = 0;
}

/* Reserves scratch for the bucket's longest step, and takes from the budget what one of `n_tokens` touches of it. */
static pn_status take_scratch(struct pn_runner *r, struct pn_bucket *b, int n_tokens, struct pn_error *err)
{
    size_t all = r->device->class->scratch_bytes(b->program);
    char what[64];
    if (r->scratch.buffer.size < all)
        forget_scratch(r);
    pn_status status = pn_scratch_fit(&r->scratch.buffer, r->device, b->program, err);
    uint64_t before = b->bytes, bytes = (uint64_t)((double)all * n_tokens / b->max_tokens);
    if (status || bytes <= before)
        return status;
    b->bytes = bytes;
    uint64_t wanted = scratch_bytes(r, false);
    snprintf(what, sizeof what, "a step of %d tokens", n_tokens);
    if (wanted > r->scratch.taken)
        status = pn_memory_take(r->budget, wanted - r->scratch.taken, what, err);
    if (status)
        b->bytes = before;
    else if (wanted > r->scratch.taken)
        r->scratch.taken = wanted;
    return status;
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
    forget_scratch(r);
    r->device->class->buffer_free(r->device, &r->scratch.buffer);
    pn_kv_pool_free(r->pool);
    pn_state_pool_free(r->states);
    r->device->class->release(r->device, r->weights, r->n_weights);
    free(r->weights);
    if (r->counted)
        pn_memory_remove_weights(r->budget, r->model->size_bytes, r->model->step_bytes);
    pn_devices_close(r->device);
    pn_model_free(r->model);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- what all sequences have in common ---- */

static pn_status type_of(const struct pn_runner *r, const char *name, pn_type *out, struct pn_error *err)
{
    if (!name) { /* encoders keep nothing for later: float32 costs little */
        *out = r->model->arch->encoder ? PN_TYPE_F32 : r->device->properties.cache_type;
        return PN_OK;
    }
    bool known = strcmp(name, "f16") == 0 || strcmp(name, "f32") == 0 || strcmp(name, "q8_0") == 0;
    if (!known || !pn_type_from_name(name, out))
        return pn_fail(err, PN_INVALID, "keys and values cannot be kept as \"%s\"; f16, q8_0 and f32 are possible",
                       name);
    return PN_OK;
}

pn_status pn_runner_pool(struct pn_runner *r, const char *name, struct pn_kv_pool **out, struct pn_error *err)
{
    pn_type type;
    pn_status status = type_of(r, name, &type, err);
    if (status)
        return status;
    pthread_mutex_lock(&r->lock);
    if (!r->pool)
        status = pn_kv_pool_new(r->device, r->model, type, pn_memory_addresses(r->budget), &r->pool, err);
    else if (name && type != r->pool->type)
        status =
            pn_fail(err, PN_INVALID, "this model's keys and values are kept as %s, so no session can have them as %s",
                    pn_type_info(r->pool->type)->name, name);
    *out = r->pool;
    pthread_mutex_unlock(&r->lock);
    return status;
}

/* The longest context that rotates with the short frequencies; 0: there are no others. */
static int longest_short(const struct pn_graph *g)
{
    int n = 0;
    for (size_t i = 0; i < g->len; i++)
        if (g->data[i].op == PN_OP_ROPE_TABLE && g->data[i].src[1] != PN_NONE)
            n = g->data[i].rope.n_short > n ? g->data[i].rope.n_short : n;
    return n;
}

pn_status pn_runner_settle_rope(struct pn_runner *r, int n_context, struct pn_error *err)
{
    int n_short = longest_short(&r->model->graph);
    pn_status status = PN_OK;
    if (!n_short)
        return PN_OK;
    pthread_mutex_lock(&r->lock);
    if (r->rope == PN_ROPE_ANY)
        r->rope = n_context > n_short ? PN_ROPE_LONG : PN_ROPE_SHORT;
    else if (r->rope == PN_ROPE_SHORT && n_context > n_short)
        status = pn_fail(err, PN_INVALID,
                         "this model rotates for contexts of up to %d tokens, so no session can have %d: load it for "
                         "that many",
                         n_short, n_context);
    pthread_mutex_unlock(&r->lock);
    return status;
}

int pn_runner_rope_context(const struct pn_runner *r)
{
    return r->rope == PN_ROPE_LONG ? INT32_MAX : 1;
}

/* ---- steps ---- */

static pn_status make_plan(const struct pn_runner *r, pn_array result, int n, struct pn_plan **out,
                           struct pn_error *err)
{
    struct pn_plan_spec spec = {.results = &result, .n_results = 1};
    for (int rows = PN_ROWS_TOKENS; rows < PN_ROWS_COUNT; rows++)
        spec.max_rows[rows] = n;
    return pn_device_plan(r->device, &r->model->graph, spec, out, err);
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
        status = make_plan(r, r->model->results[result], b->max_tokens, &b->plan, err);
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
        bucket->in_use = true;
        touch_scratch(r);
        if (r->turn)
            pthread_mutex_lock(r->turn);
        status = pn_device_run(r->device, bucket->program, &r->scratch.buffer, batch, err);
        if (r->turn)
            pthread_mutex_unlock(r->turn);
    }
    if (pn_weights_damaged(r->model->weights))
        status = pn_fail(err, PN_IO, "%s: the file was cut short while it was in use", r->model->weights->path);
    pthread_mutex_unlock(&r->lock);
    return status;
}
