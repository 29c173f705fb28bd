/* Models on devices: see runner.h. Their steps are in stages.c. */
#include "engine/runner.h"

#include "engine/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts the weights, which are already mapped. */
static pantry_status add_weights(struct pn_runner *r, struct pantry_error *err)
{
    const struct pn_model *m = r->model;
    char what[256];
    snprintf(what, sizeof what, "%s: the model", m->weights->path);
    pantry_status status = pn_memory_add_weights(r->budget, m->size_bytes, m->step_bytes, what, err);
    r->counted = !status;
    return status;
}

/* Places the tensors that a part's nodes read on its device, each once. */
static pantry_status place_weights(struct pn_runner *r, int part, struct pantry_error *err)
{
    const struct pn_graph *g = &r->model->graph;
    struct pn_part *p = &r->parts[part];
    size_t n = 0;
    bool *wanted = calloc(g->len + 1, sizeof *wanted);
    p->weights = calloc(g->len + 1, sizeof *p->weights);
    for (size_t a = 0; wanted && p->weights && a < g->len; a++)
        for (int i = 0; i < g->data[a].n_src; i++) {
            pn_array s = g->data[a].src[i];
            bool here = !r->device_of || r->device_of[a] == part || r->device_of[a] == PN_ANY_DEVICE;
            if (s == PN_NONE || !here || g->data[s].op != PN_OP_WEIGHT || wanted[s])
                continue;
            wanted[s] = true;
            p->weights[n++] = g->data[s].weight;
        }
    pantry_status status = wanted && p->weights ? PANTRY_OK : pn_no_memory(err, "a model");
    free(wanted);
    if (status)
        return status;
    n = pn_weight_wholes(p->weights, n, p->weights);
    status = p->device->class->place(p->device, p->weights, n, NULL, err);
    p->n_weights = status ? 0 : n;
    return status;
}

/* Where the state of an operation begins, and on which part. */
struct state_part {
    size_t offset;
    int part;
};

static int by_offset(const void *a, const void *b)
{
    const struct state_part *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Finds the range of floats in a state that each part's operations use. An operation's state ends where the next one's
 * begins. */
static bool find_states(const struct pn_runner *r, size_t *first, size_t *n)
{
    const struct pn_graph *g = &r->model->graph;
    struct state_part *list = calloc(g->len + 1, sizeof *list);
    size_t len = 0;
    for (size_t a = 0; list && a < g->len; a++)
        if (pn_op_trait(g->data[a].op) == PN_TRAIT_RECURRENT)
            list[len++] = (struct state_part){g->data[a].recurrent.offset, r->device_of ? r->device_of[a] : 0};
    if (len)
        qsort(list, len, sizeof *list, by_offset);
    for (size_t i = 0; i < len; i++) {
        size_t end = i + 1 < len ? list[i + 1].offset : r->model->n_state, *begin = &first[list[i].part];
        if (n[list[i].part] == 0)
            *begin = list[i].offset;
        n[list[i].part] = end - *begin;
    }
    bool ok = list != NULL;
    free(list);
    return ok;
}

static pantry_status make_states(struct pn_runner *r, struct pn_device *const *devices, struct pantry_error *err)
{
    size_t first[PN_MAX_PARTS] = {0}, n[PN_MAX_PARTS] = {0};
    if (!find_states(r, first, n))
        return pn_no_memory(err, "a model");
    return pn_state_pool_new(devices, first, n, r->n_parts, pn_memory_addresses(r->budget), &r->states, err);
}

static pantry_status open_parts(struct pn_runner *r, const struct pn_split *split, struct pantry_error *err)
{
    const struct pn_model *m = r->model;
    pantry_status status = PANTRY_OK;
    if (r->n_parts > 1) {
        r->device_of = calloc(m->graph.len + 1, sizeof *r->device_of);
        r->device_of_cache = calloc((size_t)m->n_caches + 1, sizeof *r->device_of_cache);
        if (!r->device_of || !r->device_of_cache)
            return pn_no_memory(err, "a model");
        status = pn_split_assign(split, m, r->device_of, r->device_of_cache, err);
    }
    for (int i = 0; i < r->n_parts && !status; i++)
        status = place_weights(r, i, err);
    if (!status && m->n_state)
        status = make_states(r, split->devices, err);
    return status;
}

double pn_runner_bandwidth(const struct pn_runner *r)
{
    return r->n_parts == 1 ? r->device->properties.bandwidth : 0;
}

static void name_devices(struct pn_runner *r)
{
    size_t used = 0;
    for (int i = 0; i < r->n_parts && used < sizeof r->device_name; i++)
        used += (size_t)snprintf(r->device_name + used, sizeof r->device_name - used, "%s%s", i ? " + " : "",
                                 r->parts[i].device->properties.name);
}

pantry_status pn_runner_new(struct pn_model *model, const struct pn_split *split, struct pn_runner **out,
                            struct pantry_error *err)
{
    *out = NULL;
    struct pn_runner *r = calloc(1, sizeof *r);
    if (!r) {
        struct pn_split taken = *split;
        pn_model_free(model);
        pn_split_close(&taken);
        return pn_no_memory(err, "a model");
    }
    *r = (struct pn_runner){
        .model = model, .device = split->devices[0], .n_parts = split->n, .budget = pn_memory_of_process()};
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->settle_lock, NULL);
    for (int i = 0; i < split->n; i++)
        r->parts[i] = (struct pn_part){.device = split->devices[i], .turn = pn_devices_turn(split->devices[i])};
    name_devices(r);
    pantry_status status = pn_stages_init(r, err);
    if (!status)
        status = add_weights(r, err);
    if (!status)
        status = open_parts(r, split, err);
    if (status)
        pn_runner_free(r);
    else
        *out = r;
    return status;
}

void pn_runner_free(struct pn_runner *r)
{
    if (!r)
        return;
    pn_stages_free(r);
    pn_kv_pool_free(r->pool);
    pn_state_pool_free(r->states);
    for (int i = 0; i < r->n_parts; i++) {
        r->parts[i].device->class->release(r->parts[i].device, r->parts[i].weights, r->parts[i].n_weights);
        free(r->parts[i].weights);
    }
    if (r->counted)
        pn_memory_remove_weights(r->budget, r->model->size_bytes, r->model->step_bytes);
    for (int i = 0; i < r->n_parts; i++)
        pn_devices_close(r->parts[i].device);
    pn_model_free(r->model);
    free(r->device_of);
    free(r->device_of_cache);
    pthread_mutex_destroy(&r->settle_lock);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- shared by all sequences ---- */

static pantry_status type_of(const struct pn_runner *r, const char *name, pn_type *out, struct pantry_error *err)
{
    if (!name) { /* encoders do not keep them, so float32 costs little */
        *out = r->model->arch.encoder ? PN_TYPE_F32 : r->device->properties.cache_type;
        return PANTRY_OK;
    }
    bool known = strcmp(name, "f16") == 0 || strcmp(name, "f32") == 0 || strcmp(name, "q8_0") == 0;
    if (!known || !pn_type_from_name(name, out))
        return pn_fail(err, PANTRY_INVALID, "unknown type of keys and values (found \"%s\", allowed f16, q8_0 and f32)",
                       name);
    return PANTRY_OK;
}

pantry_status pn_runner_pool(struct pn_runner *r, const char *name, struct pn_kv_pool **out, struct pantry_error *err)
{
    pn_type type;
    pantry_status status = type_of(r, name, &type, err);
    if (status)
        return status;
    struct pn_device *devices[PN_MAX_PARTS];
    for (int i = 0; i < r->n_parts; i++)
        devices[i] = r->parts[i].device;
    pthread_mutex_lock(&r->settle_lock);
    if (!r->pool)
        status = pn_kv_pool_new(devices, r->n_parts, r->device_of_cache, r->model, type, pn_memory_addresses(r->budget),
                                &r->pool, err);
    else if (name && type != r->pool->type)
        status = pn_fail(err, PANTRY_INVALID,
                         "all sessions of a model store keys and values in one type (found %s, allowed %s)", name,
                         pn_type_info(r->pool->type)->name);
    *out = r->pool;
    pthread_mutex_unlock(&r->settle_lock);
    return status;
}

/* The longest context that uses the short frequencies; 0: there are no long ones. */
static int longest_short(const struct pn_graph *g)
{
    int n = 0;
    for (size_t i = 0; i < g->len; i++)
        if (g->data[i].op == PN_OP_ROPE_TABLE && g->data[i].src[1] != PN_NONE)
            n = g->data[i].rope.n_short > n ? g->data[i].rope.n_short : n;
    return n;
}

pantry_status pn_runner_settle_rope(struct pn_runner *r, int n_context, struct pantry_error *err)
{
    int n_short = longest_short(&r->model->graph);
    pantry_status status = PANTRY_OK;
    if (!n_short)
        return PANTRY_OK;
    pthread_mutex_lock(&r->settle_lock);
    if (r->rope == PN_ROPE_ANY)
        r->rope = n_context > n_short ? PN_ROPE_LONG : PN_ROPE_SHORT;
    else if (r->rope == PN_ROPE_SHORT && n_context > n_short)
        status = pn_fail(
            err, PANTRY_INVALID,
            "this model was loaded for shorter contexts (found %d tokens, allowed %d); load it with a larger n_context",
            n_context, n_short);
    pthread_mutex_unlock(&r->settle_lock);
    return status;
}

int pn_runner_rope_context(const struct pn_runner *r)
{
    return r->rope == PN_ROPE_LONG ? INT32_MAX : 1;
}

/* ---- steps ---- */

pantry_status pn_runner_prepare(struct pn_runner *r, enum pn_result result, int n_tokens, struct pantry_error *err)
{
    struct pn_bucket *bucket;
    pthread_mutex_lock(&r->lock);
    pantry_status status = pn_stages_for(r, result, n_tokens, &bucket, err);
    pthread_mutex_unlock(&r->lock);
    return status;
}

pantry_status pn_runner_step(struct pn_runner *r, enum pn_result result, const struct pn_batch *batch,
                             struct pantry_error *err)
{
    struct pn_bucket *bucket;
    pthread_mutex_lock(&r->lock);
    pantry_status status = pn_stages_for(r, result, batch->n_tokens, &bucket, err);
    if (!status)
        status = pn_stages_run(r, bucket, batch, err);
    if (pn_weights_damaged(r->model->weights))
        status = pn_fail(err, PANTRY_IO, "%s: the file was truncated while in use", r->model->weights->path);
    pthread_mutex_unlock(&r->lock);
    return status;
}
