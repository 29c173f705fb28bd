/* Steps of training: see trainer.h. */
#include "train/trainer.h"

#include "base/memory.h"
#include "base/random.h"
#include "model/hf/hf.h"
#include "tensor/grad.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A plan and what runs it. */
struct program {
    struct pn_plan *plan;
    struct pn_program *program;
};

struct pn_trainer {
    struct pn_model *model;
    struct pn_device *device;
    struct pn_train_params params;
    struct pn_arena arena;
    const struct pn_weight **weights; /* placed on the device */
    size_t n_weights;
    pn_array seed;    /* (outputs, 1, 2): the gradient of the losses */
    pn_array *leaves; /* (n_grads): trained leaves ... */
    pn_array *grads;  /* ... their gradients in the graph ... */
    float **buffers;  /* ... and their numbers after a step */
    int n_grads;
    float *loss, *seeds, *keys; /* (tokens, 2); keys: of the dropout, if the model has one */
    void **results;             /* loss, then the gradients */
    struct program learn, measure;
    struct pn_buffer scratch; /* of either */
    uint64_t bytes, taken;    /* taken: from the budget of memory ... */
    uint64_t weight_bytes;    /* ... where the base's weights count too */
};

/* ---- trained weights ---- */

static pantry_status add_weight(struct pn_trainer *t, const char *name, const char *part, const struct pn_weight *w,
                                struct pn_train_form form, struct pantry_error *err)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", name, part);
    return w ? pn_train_params_add(&t->params, full, w, form, err) : PANTRY_OK;
}

/* One part of a module from all its targets. They share A. */
static pantry_status add_part(struct pn_trainer *t, const struct pn_adapter *adapter,
                              const struct pn_adapter_module *module, char part, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (int i = 0; i < module->n_targets && !status; i++) {
        const struct pn_adapter_pair *p = pn_adapter_find(adapter, module->targets[i]);
        const struct pn_weight *w = part == 'a' ? p->a : part == 'b' ? p->b : p->trained_magnitude;
        struct pn_train_form form = {.turned = part != 'm' && w->n_mat == 1, .vector = part == 'm', .joins = i > 0};
        const char name[] = {'.', part, '\0'};
        if (w)
            status = add_weight(t, p->name, name, w, form, err);
    }
    return status;
}

static pantry_status add_adapter(struct pn_trainer *t, const struct pn_adapter *adapter, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < adapter->modules.len && !status; i++)
        for (const char *part = "abm"; *part && !status; part++)
            status = add_part(t, adapter, &adapter->modules.data[i], *part, err);
    return status;
}

/* All weights of the blocks. */
static pantry_status add_blocks(struct pn_trainer *t, struct pantry_error *err)
{
    const struct pn_graph *g = &t->model->graph;
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < g->len && !status; i++) {
        const struct pn_weight *w = g->data[i].op == PN_OP_WEIGHT ? g->data[i].weight : NULL;
        const struct pn_tensor_info *info = w ? pn_weights_tensor(t->model->weights, w->name) : NULL;
        const struct pn_weight *whole = w && w->whole ? w->whole : w;
        if (!info || strncmp(w->name, "blk.", 4) != 0 || !pn_model_is_writable(t->model->weights, info))
            continue;
        const void *at = info->places ? pn_weight_at(info->places, 0, 0, 0) : info->data;
        if (pn_weight_at(whole, 0, 0, 0) == at) /* else a constant that was computed from it */
            status = pn_train_params_add(&t->params, whole->name, whole,
                                         (struct pn_train_form){.vector = info->n_dims == 1}, err);
    }
    return status;
}

/* ---- graph ---- */

/* Appends the gradients, and lists the leaves that have one. */
static pantry_status differentiate(struct pn_trainer *t, int n_checkpoints, struct pantry_error *err)
{
    struct pn_graph *g = &t->model->graph;
    size_t n = g->len;
    t->seed = pn_input(g, "the gradient of the loss", PN_ROWS_OUTPUTS, 1, 2);
    bool *trained = pn_arena_array(&t->arena, n + 1, sizeof *trained);
    pn_array *grads = pn_arena_array(&t->arena, n + 1, sizeof *grads);
    t->leaves = pn_arena_array(&t->arena, n + 1, sizeof *t->leaves);
    t->grads = pn_arena_array(&t->arena, n + 1, sizeof *t->grads);
    t->buffers = pn_arena_array(&t->arena, n + 1, sizeof *t->buffers);
    t->results = pn_arena_array(&t->arena, n + 2, sizeof *t->results);
    if (!trained || !grads || !t->leaves || !t->grads || !t->buffers || !t->results)
        return pn_no_memory(err, "gradients");
    for (size_t i = 0; i < n; i++)
        trained[i] = g->data[i].op == PN_OP_WEIGHT && pn_train_params_of(&t->params, g->data[i].weight);
    pantry_status status = pn_grad_append(g, t->model->loss, t->seed, n_checkpoints, trained, grads, err);
    for (size_t i = 0; i < n && !status; i++) {
        if (grads[i] == PN_NONE)
            continue;
        t->leaves[t->n_grads] = (pn_array)i;
        t->grads[t->n_grads++] = grads[i];
    }
    return status;
}

static size_t gradient_bytes(const struct pn_trainer *t, int i)
{
    const struct pn_node *node = pn_node(&t->model->graph, t->grads[i]);
    return (size_t)node->n1 * (size_t)node->n2 * sizeof(float);
}

/* Plans all memory of a step, takes it from the budget, and allocates it. */
static pantry_status allocate(struct pn_trainer *t, size_t tokens, struct pn_train_keeps keeps,
                              struct pantry_error *err)
{
    size_t scratch[2] = {t->device->class->scratch_bytes(t->learn.program),
                         t->device->class->scratch_bytes(t->measure.program)};
    size_t most = scratch[0] > scratch[1] ? scratch[0] : scratch[1];
    t->bytes = most + (pn_train_params_n_state(&t->params, keeps) + t->params.n + 6 * tokens) * sizeof(float);
    for (int i = 0; i < t->n_grads; i++)
        t->bytes += gradient_bytes(t, i);
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t weights = t->model->size_bytes;
    pantry_status status = pn_memory_add_weights(budget, weights, weights, t->model->weights->path, err);
    if (status)
        return status;
    t->weight_bytes = weights;
    if ((status = pn_memory_take(budget, t->bytes, "this training", err)))
        return status;
    t->taken = t->bytes;
    for (int i = 0; i < t->n_grads; i++) {
        t->results[i + 1] = t->buffers[i] = pn_arena_alloc(&t->arena, gradient_bytes(t, i));
        if (!t->buffers[i])
            return pn_no_memory(err, "gradients");
    }
    t->loss = pn_arena_array(&t->arena, tokens, 2 * sizeof *t->loss);
    t->seeds = pn_arena_array(&t->arena, tokens, 2 * sizeof *t->seeds);
    t->keys = pn_arena_array(&t->arena, tokens, 2 * sizeof *t->keys);
    t->results[0] = t->loss;
    if (!t->loss || !t->seeds || !t->keys)
        return pn_no_memory(err, "training");
    status = pn_train_params_ready(&t->params, keeps, err);
    return status ? status : pn_scratch_fit(&t->scratch, t->device, most, err);
}

static pantry_status place_weights(struct pn_trainer *t, struct pantry_error *err)
{
    const struct pn_graph *g = &t->model->graph;
    t->weights = pn_arena_array(&t->arena, g->len + 1, sizeof *t->weights);
    if (!t->weights)
        return pn_no_memory(err, "a list of weights");
    for (size_t i = 0; i < g->len; i++)
        if (g->data[i].op == PN_OP_WEIGHT)
            t->weights[t->n_weights++] = g->data[i].weight;
    t->n_weights = pn_weight_wholes(t->weights, t->n_weights, t->weights);
    pantry_status status = t->device->class->place(t->device, t->weights, t->n_weights, NULL, err);
    if (status)
        t->n_weights = 0;
    return status;
}

static pantry_status compile(struct pn_trainer *t, struct program *p, const pn_array *results, int n_results,
                             bool seeded, int max_rows, int max_tokens, struct pantry_error *err)
{
    pn_array inputs[3] = {t->model->targets};
    int n_inputs = 1;
    if (t->model->dropout_keys != PN_NONE)
        inputs[n_inputs++] = t->model->dropout_keys;
    if (seeded)
        inputs[n_inputs++] = t->seed;
    struct pn_plan_spec spec = {.inputs = inputs,
                                .n_inputs = n_inputs,
                                .results = results,
                                .n_results = n_results,
                                .max_rows = {[PN_ROWS_TOKENS] = max_tokens,
                                             [PN_ROWS_OUTPUTS] = max_tokens,
                                             [PN_ROWS_HIDDEN] = 1,
                                             [PN_ROWS_SEQS] = max_rows}};
    pantry_status status = pn_device_plan(t->device, &t->model->graph, spec, &p->plan, err);
    return status ? status : t->device->class->compile(t->device, p->plan, &p->program, err);
}

static pantry_status compile_all(struct pn_trainer *t, int max_rows, int max_tokens, struct pantry_error *err)
{
    pn_array *results = pn_arena_array(&t->arena, (size_t)t->n_grads + 1, sizeof *results);
    if (!results)
        return pn_no_memory(err, "a plan");
    results[0] = t->model->loss;
    memcpy(results + 1, t->grads, (size_t)t->n_grads * sizeof *results);
    pantry_status status = compile(t, &t->learn, results, t->n_grads + 1, true, max_rows, max_tokens, err);
    return status ? status : compile(t, &t->measure, results, 1, false, max_rows, max_tokens, err);
}

pantry_status pn_trainer_new(struct pn_model *model, struct pn_device *device, int max_rows, int max_length,
                             struct pn_train_keeps keeps, bool checkpoints, struct pn_trainer **out,
                             struct pantry_error *err)
{
    *out = NULL;
    struct pn_trainer *t = calloc(1, sizeof *t);
    if (!t) {
        pn_model_free(model);
        return pn_no_memory(err, "training");
    }
    t->model = model;
    t->device = device;
    size_t tokens = (size_t)max_rows * (size_t)max_length;
    pantry_status status = model->n_adapters ? add_adapter(t, model->adapters[0], err) : add_blocks(t, err);
    if (!status)
        status = pn_train_params_sort(&t->params, err);
    if (status || (status = differentiate(t, checkpoints ? (int)model->hp.n_layer : 0, err)) ||
        (status = place_weights(t, err)) || (status = compile_all(t, max_rows, (int)tokens, err)) ||
        (status = allocate(t, tokens, keeps, err)))
        goto fail;
    *out = t;
    return PANTRY_OK;
fail:
    pn_trainer_free(t);
    return status;
}

static void free_program(struct pn_trainer *t, struct program *p)
{
    if (p->program)
        t->device->class->program_free(t->device, p->program);
    pn_plan_free(p->plan);
}

void pn_trainer_free(struct pn_trainer *t)
{
    if (!t)
        return;
    free_program(t, &t->learn);
    free_program(t, &t->measure);
    t->device->class->buffer_free(t->device, &t->scratch);
    pn_memory_give(pn_memory_of_process(), t->taken);
    pn_memory_remove_weights(pn_memory_of_process(), t->weight_bytes, t->weight_bytes);
    if (t->n_weights)
        t->device->class->release(t->device, t->weights, t->n_weights);
    pn_train_params_free(&t->params);
    pn_arena_free(&t->arena);
    pn_model_free(t->model);
    free(t);
}

struct pn_train_params *pn_trainer_params(struct pn_trainer *t)
{
    return &t->params;
}

struct pn_model *pn_trainer_model(struct pn_trainer *t)
{
    return t->model;
}

uint64_t pn_trainer_bytes(const struct pn_trainer *t)
{
    return t->bytes;
}

/* ---- steps ---- */

/* DoRA: the reciprocals of the lengths of the rows of W + scale B A. */
static pantry_status refresh_lengths(struct pn_trainer *t, struct pantry_error *err)
{
    for (int a = 0; a < t->model->n_adapters; a++)
        for (size_t i = 0; i < t->model->adapters[a]->pairs.len; i++) {
            const struct pn_adapter_pair *p = &t->model->adapters[a]->pairs.data[i];
            pantry_status status = p->trained_magnitude ? pn_adapter_refresh(p, t->model->weights, err) : PANTRY_OK;
            if (status)
                return status;
        }
    return PANTRY_OK;
}

/* The dropout of each token of a step; without `learn` there is none. */
static void choose_keys(struct pn_trainer *t, int n_tokens, bool learn, uint64_t stream)
{
    for (int i = 0; i < n_tokens; i++) {
        uint64_t bits = pn_random_at(stream, (uint64_t)i);
        t->keys[2 * i] = learn ? (float)(bits >> 40) : -1;
        t->keys[2 * i + 1] = (float)(bits & 0xffffff);
    }
}

pantry_status pn_trainer_step(struct pn_trainer *t, const struct pn_train_batch *b, bool learn, uint64_t stream,
                              double *sum, struct pantry_error *err)
{
    bool drops = t->model->dropout_keys != PN_NONE;
    const void *inputs[] = {b->targets, drops ? t->keys : t->seeds, t->seeds};
    struct pn_batch batch = {.n_tokens = b->n_tokens,
                             .ids = b->ids,
                             .pos = b->pos,
                             .n_seqs = b->n_seqs,
                             .seqs = b->seqs,
                             .n_outputs = b->n_outputs,
                             .out_rows = b->out_rows,
                             .inputs = inputs,
                             .results = t->results};
    *sum = 0;
    pantry_status status = refresh_lengths(t, err);
    if (status)
        return status;
    for (int i = 0; i < b->n_outputs; i++) {
        t->seeds[2 * i] = 1 / (float)b->n_outputs;
        t->seeds[2 * i + 1] = 0;
    }
    choose_keys(t, b->n_tokens, learn, stream);
    struct program *p = learn ? &t->learn : &t->measure;
    if ((status = pn_device_run(t->device, p->program, &t->scratch, &batch, err)))
        return status;
    if (pn_weights_damaged(t->model->weights))
        return pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", t->model->weights->path);
    for (int i = 0; i < b->n_outputs; i++)
        *sum += (double)t->loss[2 * i];
    for (int i = 0; i < t->n_grads && learn; i++)
        pn_train_params_add_grad(&t->params, pn_node(&t->model->graph, t->leaves[i])->weight, t->buffers[i]);
    return PANTRY_OK;
}
