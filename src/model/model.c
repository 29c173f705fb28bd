/* Loading a model: see model.h. */
#include "model/model.h"

#include "model/complete.h"
#include "model/hf/hf.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_model_arch(const struct pn_weights *w, struct pn_arch *out, struct pantry_error *err)
{
    struct pn_str name;
    if (w->arch) {
        *out = *w->arch;
        return PANTRY_OK;
    }
    pantry_status status = pn_meta_str(w, "general.architecture", &name, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_FORMAT, "%s: general.architecture is missing", w->path);
    if (status)
        return status;
    if (pn_arch_find(name.data, name.len, out))
        return PANTRY_OK;
    struct pn_buf known = {0};
    for (int i = 0; pn_arch_at(i, out); i++)
        pn_buf_printf(&known, "%s%s", i ? ", " : "", out->name);
    status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: architecture \"%.*s\" is not supported; supported are %s", w->path,
                     (int)(name.len < 64 ? name.len : 64), name.data, known.data ? known.data : "none");
    pn_buf_free(&known);
    return status;
}

void pn_model_count(struct pn_model *model)
{
    for (size_t i = 0; i < model->weights->n_tensors; i++) {
        const struct pn_tensor_info *t = &model->weights->tensors[i];
        uint64_t n = 1;
        for (int d = 0; d < t->n_dims; d++)
            n *= (uint64_t)t->shape[d];
        model->n_params += n;
        model->size_bytes += t->bytes;
    }
}

pantry_status pn_model_builder(struct pn_model *model, struct pn_builder *b, struct pantry_error *err)
{
    size_t n_layer = (size_t)model->hp.n_layer, n_tensors = model->weights->n_tensors;
    *b = (struct pn_builder){.graph = &model->graph,
                             .weights = model->weights,
                             .arch = &model->arch,
                             .hp = &model->hp,
                             .arena = &model->arena,
                             .layer_input = PN_NONE,
                             .stream = PN_NONE,
                             .layer_inputs = PN_NONE,
                             .shown = PN_NONE,
                             .first_id = pn_weight_ids(n_tensors),
                             .rope_global = PN_NONE,
                             .rope_local = PN_NONE,
                             .position_bias = PN_NONE,
                             .dropout_keys = PN_NONE,
                             .adapters = model->adapters,
                             .n_adapters = model->n_adapters};
    b->caches = model->caches = pn_arena_array(&model->arena, n_layer, sizeof *b->caches);
    b->written = pn_arena_array(&model->arena, n_layer, sizeof *b->written);
    b->tensors = pn_arena_array(&model->arena, n_tensors + 1, sizeof *b->tensors);
    if (!b->caches || !b->written || !b->tensors)
        return pn_no_memory(err, "a model");
    for (size_t i = 0; i < n_layer; i++)
        b->written[i] = PN_NONE;
    return PANTRY_OK;
}

static pantry_status build_graph(struct pn_model *model, struct pantry_error *err)
{
    struct pn_builder builder;
    pantry_status status = pn_model_builder(model, &builder, err);
    if (status)
        return status;
    pn_array states = pn_model_states(&builder);
    model->results[PN_RESULT_STATES] = states;
    bool logits = !model->arch.encoder;
    model->results[PN_RESULT_LOGITS] = logits ? pn_model_logits(&builder, states) : PN_NONE;
    model->step_bytes = builder.used_bytes;
    model->results[PN_RESULT_IDS] = logits ? pn_argmax(&model->graph, model->results[PN_RESULT_LOGITS]) : PN_NONE;
    model->results[PN_RESULT_EMBEDDINGS] = pn_model_embedding(&builder, states);
    model->results[PN_RESULT_SCORES] = pn_model_scores(&builder, states);
    model->results[PN_RESULT_SHOWN] = builder.shown == PN_NONE ? PN_NONE : pn_output_rows(&model->graph, builder.shown);
    model->graph.context = NULL;
    model->n_caches = builder.n_caches;
    model->n_state = builder.n_state;
    if ((status = pn_graph_status(&model->graph, err)))
        pn_fail_prefix(err, "%s", model->weights->path);
    return status;
}

static pantry_status build_loss(struct pn_model *model, struct pantry_error *err)
{
    struct pn_builder builder;
    pantry_status status = pn_model_builder(model, &builder, err);
    if (status)
        return status;
    builder.trains = true;
    for (int i = 0; i < PN_N_RESULTS; i++)
        model->results[i] = PN_NONE;
    model->dropout_keys = PN_NONE;
    if (model->n_adapters && model->adapters[0]->dropout > 0)
        model->dropout_keys = pn_input(&model->graph, "dropout", PN_ROWS_TOKENS, 1, 2);
    builder.dropout_keys = model->dropout_keys;
    pn_array states = pn_model_states(&builder);
    model->targets = pn_input(&model->graph, "targets", PN_ROWS_OUTPUTS, 1, 1);
    model->loss = pn_model_loss(&builder, states, model->targets);
    model->graph.context = NULL;
    if ((status = pn_graph_status(&model->graph, err)))
        pn_fail_prefix(err, "%s", model->weights->path);
    return status;
}

/* "PATH=SCALE": a number after the last '='. */
static pantry_status open_adapter(struct pn_model *model, const char *text, struct pantry_error *err)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    float scale = equals ? strtof(equals + 1, &end) : 1;
    bool scaled = equals && equals[1] && *end == '\0';
    if (scaled && !(scale >= -1000 && scale <= 1000))
        return pn_fail(err, PANTRY_INVALID, "%s: the scale of an adapter must be between -1000 and 1000", text);
    size_t n = scaled ? (size_t)(equals - text) : strlen(text);
    char *path = pn_arena_copy(&model->arena, text, n);
    if (!path)
        return pn_no_memory(err, "an adapter");
    if (model->weights->hf && pn_adapter_is_full(path)) /* its weights were opened in place of the base's */
        return PANTRY_OK;
    pantry_status status =
        pn_adapter_open(path, scaled ? scale : 1, model->weights, &model->adapters[model->n_adapters], err);
    model->n_adapters += !status;
    return status;
}

static pantry_status open_adapters(struct pn_model *model, const char *const *adapters, struct pantry_error *err)
{
    size_t n = 0;
    pantry_status status = PANTRY_OK;
    while (adapters && adapters[n])
        n++;
    if (n > 64)
        return pn_fail(err, PANTRY_LIMIT, "%zu adapters are too many (allowed 64)", n);
    model->adapters = pn_arena_array(&model->arena, n + 1, sizeof(struct pn_adapter *));
    if (!model->adapters)
        return pn_no_memory(err, "adapters");
    for (size_t i = 0; i < n && !status; i++)
        status = open_adapter(model, adapters[i], err);
    return status;
}

pantry_status pn_model_new(struct pn_weights *weights, const struct pn_rope_override *rope, struct pn_model **out,
                           struct pantry_error *err)
{
    return pn_model_new_adapted(weights, rope, NULL, out, err);
}

pantry_status pn_model_new_adapted(struct pn_weights *weights, const struct pn_rope_override *rope,
                                   const char *const *adapters, struct pn_model **out, struct pantry_error *err)
{
    pantry_status status;
    *out = NULL;
    struct pn_model *model = calloc(1, sizeof *model);
    if (!model) {
        pn_weights_close(weights);
        return pn_no_memory(err, "a model");
    }
    model->weights = weights;
    pn_graph_init(&model->graph);
    if ((status = open_adapters(model, adapters, err)) || (status = pn_model_arch(weights, &model->arch, err)) ||
        (status = pn_hparams_read(weights, &model->arch, &model->arena, &model->hp, err)) ||
        (status = pn_hparams_extend(&model->hp, &model->arch, rope, err)) || (status = build_graph(model, err)) ||
        (status = pn_model_complete(weights, &model->arch, &model->hp, &model->arena, err))) {
        pn_model_free(model);
        return status;
    }
    pn_model_count(model);
    *out = model;
    return PANTRY_OK;
}

pantry_status pn_model_new_trained(struct pn_weights *weights, struct pn_adapter *adapter, struct pn_model **out,
                                   struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    *out = NULL;
    struct pn_model *model = calloc(1, sizeof *model);
    if (!model) {
        pn_adapter_free(adapter);
        pn_weights_close(weights);
        return pn_no_memory(err, "a model");
    }
    model->weights = weights;
    pn_graph_init(&model->graph);
    model->adapters = pn_arena_array(&model->arena, 1, sizeof(struct pn_adapter *));
    if (!model->adapters) {
        pn_adapter_free(adapter);
        status = pn_no_memory(err, "a model");
    } else if (adapter) {
        model->adapters[model->n_adapters++] = adapter;
    }
    if (status || (status = pn_model_arch(weights, &model->arch, err)) ||
        (status = pn_hparams_read(weights, &model->arch, &model->arena, &model->hp, err)))
        goto fail;
    if (model->arch.encoder) {
        status =
            pn_fail(err, PANTRY_UNSUPPORTED, "%s: an encoder cannot be trained as a language model", weights->path);
        goto fail;
    }
    if ((status = build_loss(model, err)))
        goto fail;
    pn_model_count(model);
    *out = model;
    return PANTRY_OK;
fail:
    pn_model_free(model);
    return status;
}

void pn_model_free(struct pn_model *model)
{
    if (!model)
        return;
    pn_graph_free(&model->graph);
    for (int i = 0; i < model->n_adapters; i++)
        pn_adapter_free(model->adapters[i]);
    pn_weights_close(model->weights);
    pn_arena_free(&model->arena);
    free(model);
}
