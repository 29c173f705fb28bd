/* Embeddings: see pantry.h. */
#include "engine/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void normalize(float *row, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)row[i] * (double)row[i];
    double length = sqrt(sum);
    for (size_t i = 0; i < n && length > 0; i++)
        row[i] = (float)((double)row[i] / length);
}

/* Cuts rows of `width` values in place to the dimensions that were asked for, and normalizes them. */
static void finish(struct pantry_embeddings *out, size_t width, const struct pantry_embed_options *o)
{
    size_t n = (size_t)out->n_dimensions;
    for (size_t r = 0; r < out->n_rows; r++) {
        memmove(out->rows + r * n, out->rows + r * width, n * sizeof *out->rows);
        if (o->normalize)
            normalize(out->rows + r * n, n);
    }
}

void pantry_embeddings_free(struct pantry_embeddings *e)
{
    if (!e)
        return;
    free(e->rows);
    free(e->n_tokens);
    pn_give_result(e, &(struct pantry_embeddings){.size = sizeof *e});
}

/* Reads the inputs; sets out->n_tokens, and out->n_rows to the number of texts, or of tokens where each has a row. */
static pantry_status read_inputs(struct pn_texts *texts, const struct pantry_input *inputs, bool row_per_token,
                                 struct pantry_embeddings *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    size_t total = 0;
    out->n_tokens = calloc(texts->n + 1, sizeof *out->n_tokens);
    if (!out->n_tokens)
        return pn_no_memory(err, "embeddings");
    for (size_t i = 0; i < texts->n && !status; i++) {
        status = pn_texts_read(texts, i, &inputs[i], err);
        out->n_tokens[i] = texts->text[i].n;
        total += (size_t)texts->text[i].n;
    }
    out->n_rows = row_per_token ? total : texts->n;
    return status;
}

static pantry_status embed(struct pn_texts *texts, const struct pantry_input *inputs, struct pantry_embeddings *out,
                           struct pantry_error *err)
{
    const struct pn_model *model = texts->model->runner->model;
    const struct pantry_embed_options *o = texts->options;
    enum pn_pooling pooling = pn_pooling_for(o->pooling, model->hp.pooling);
    bool states = pooling == PN_POOLING_NONE;
    enum pn_result result = states ? PN_RESULT_STATES : PN_RESULT_EMBEDDINGS;
    int width = pn_node(&model->graph, model->results[result])->n2;
    size_t size;
    if (o->dimensions > width || (states && o->dimensions))
        return pn_fail(err, PANTRY_INVALID,
                       states ? "states cannot be cut to %d dimensions (they have %d)"
                              : "too many dimensions (found %d, allowed %d)",
                       o->dimensions, width);
    pantry_status status = read_inputs(texts, inputs, states, out, err);
    if (status)
        return status;
    if (!pn_size_mul(out->n_rows + 1, (size_t)width, &size) || !pn_size_mul(size, sizeof *out->rows, &size) ||
        !(out->rows = malloc(size)))
        return pn_no_memory(err, "embeddings");
    if ((status = pn_pack_run(texts, result, pooling, out->rows, &out->seconds, err)))
        return status;
    out->n_dimensions = o->dimensions ? o->dimensions : width;
    out->truncated = texts->truncated;
    if (!states)
        finish(out, (size_t)width, o);
    return PANTRY_OK;
}

pantry_status pantry_embed(pantry_model *model, const struct pantry_input *inputs, size_t n,
                           const struct pantry_embed_options *options, struct pantry_embeddings *out,
                           struct pantry_error *err)
{
    struct pantry_embed_options o = pantry_embed_options_default();
    struct pantry_embeddings own = {.size = sizeof own};
    struct pantry_error why;
    struct pn_texts texts;
    pantry_status status = pn_check_result(out, "embeddings", err);
    if (status)
        return status;
    pn_give_result(out, &own);
    if ((status = pn_take_options(&o, options, "options of embeddings", err)))
        return status;
    if (!(status = pn_texts_init(&texts, model, &o, n, &why)))
        status = embed(&texts, inputs, &own, &why);
    pn_tell(status, &why, err);
    pn_texts_free(&texts);
    if (status)
        pantry_embeddings_free(&own);
    else
        pn_give_result(out, &own);
    return status;
}
