/* Ranking documents by a query: see pantry.h. */
#include "engine/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The probability of the first of `n` labels. */
static float softmax_first(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[0]);
    return (float)(1 / sum);
}

static pantry_status rank_by_head(struct pn_texts *texts, const struct pantry_input *query,
                                  const struct pantry_input *documents, float *scores, struct pantry_error *err)
{
    const struct pn_model *model = texts->model->runner->model;
    size_t n = texts->n, width = (size_t)pn_node(&model->graph, model->results[PN_RESULT_SCORES])->n2, size;
    pantry_status status = PANTRY_OK;
    float *rows = NULL;
    double seconds;
    for (size_t i = 0; i < n && !status; i++)
        status = pn_texts_read_pair(texts, i, query, &documents[i], err);
    if (!status &&
        (!pn_size_mul(n, width, &size) || !pn_size_mul(size, sizeof *rows, &size) || !(rows = malloc(size ? size : 1))))
        status = pn_no_memory(err, "scores");
    if (!status)
        status = pn_pack_run(texts, PN_RESULT_SCORES, model->hp.pooling, rows, &seconds, err);
    for (size_t i = 0; i < n && !status; i++)
        scores[i] = model->arch.rank.softmax ? softmax_first(rows + i * width, width) : rows[i * width];
    free(rows);
    return status;
}

static pantry_status rank_by_cosine(struct pantry_model *m, const struct pantry_input *query,
                                    const struct pantry_input *documents, size_t n,
                                    const struct pantry_embed_options *options, float *scores, struct pantry_error *err)
{
    struct pantry_embed_options o = *options;
    struct pantry_embeddings e = {.size = sizeof e};
    o.normalize = true;
    if (o.pooling == PANTRY_POOLING_NONE)
        return pn_fail(err, PANTRY_INVALID, "ranking needs one embedding per text: pooling cannot be NONE");
    struct pantry_input *all = malloc((n + 1) * sizeof *all);
    if (!all)
        return pn_no_memory(err, "inputs");
    all[0] = *query;
    memcpy(all + 1, documents, n * sizeof *all);
    pantry_status status = pantry_embed(m, all, n + 1, &o, &e, err);
    for (size_t i = 0; i < n && !status; i++) {
        const float *row = e.rows + (i + 1) * (size_t)e.n_dimensions;
        double sum = 0;
        for (int j = 0; j < e.n_dimensions; j++)
            sum += (double)e.rows[j] * (double)row[j];
        scores[i] = (float)sum;
    }
    pantry_embeddings_free(&e);
    free(all);
    return status;
}

pantry_status pantry_rank(pantry_model *model, const struct pantry_input *query, const struct pantry_input *documents,
                          size_t n, const struct pantry_embed_options *options, float *scores, struct pantry_error *err)
{
    struct pantry_embed_options o = pantry_embed_options_default();
    struct pn_texts texts;
    pantry_status status = pn_take_options(&o, options, "options of ranking", err);
    if (status)
        return status;
    if (model->runner->model->results[PN_RESULT_SCORES] == PN_NONE)
        return rank_by_cosine(model, query, documents, n, &o, scores, err);
    struct pantry_error why;
    if (!(status = pn_texts_init(&texts, model, &o, n, &why)))
        status = rank_by_head(&texts, query, documents, scores, &why);
    pn_tell(status, &why, err);
    pn_texts_free(&texts);
    return status;
}
