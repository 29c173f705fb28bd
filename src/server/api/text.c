/* Tokens, templates and ranking: /tokenize, /detokenize, /apply-template as llama.cpp has them, /v1/rerank as Jina and
 * Cohere have it. */
#include "server/api/text.h"

#include "base/alloc.h"
#include "base/status.h"
#include "server/answer.h"

#include <stdlib.h>
#include <string.h>

/* Holds the model that a request names. */
static pantry_status hold(struct pn_server *s, const json_t *body, struct pn_loaded **out, struct pantry_error *err)
{
    const char *model = NULL;
    pantry_status status = pn_json_string(body, "model", &model, err);
    if (!status && !model)
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    return status ? status : pn_models_hold(s->models, model, out, NULL, err);
}

static void end(struct pn_server *s, struct pn_exchange *x, struct pn_loaded *loaded, pantry_status status,
                const struct pantry_error *err)
{
    if (status)
        pn_reply_error(x, PN_ERRORS_OPENAI, err);
    if (loaded)
        pn_models_release(s->models, loaded, NULL);
}

static pantry_status tokenizer_of(const struct pn_loaded *l, const pantry_tokenizer **out, struct pantry_error *err)
{
    *out = pantry_model_tokenizer(l->model);
    return *out ? PANTRY_OK : pn_fail(err, PANTRY_UNSUPPORTED, "%s has no tokenizer", l->name);
}

/* ---- tokens ---- */

static pantry_status tokenize(struct pn_exchange *x, const struct pn_loaded *l, const json_t *body,
                              struct pantry_error *err)
{
    const char *text = NULL;
    bool add_special = false, parse_special = true, pieces = false;
    const pantry_tokenizer *tokenizer;
    int32_t *ids;
    size_t n;
    pantry_status status = tokenizer_of(l, &tokenizer, err);
    if (!status)
        status = pn_json_string(body, "content", &text, err);
    if (!status)
        status = pn_json_bool(body, "add_special", &add_special, err);
    if (!status)
        status = pn_json_bool(body, "parse_special", &parse_special, err);
    if (!status)
        status = pn_json_bool(body, "with_pieces", &pieces, err);
    if (!status && !text)
        status = pn_fail(err, PANTRY_INVALID, "content is required");
    unsigned flags = (add_special ? PANTRY_TOKENIZE_BOS : 0u) | (parse_special ? PANTRY_TOKENIZE_SPECIAL : 0u);
    if (!status)
        status = pantry_tokenize(tokenizer, text, strlen(text), flags, &ids, &n, err);
    if (status)
        return status;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char *piece = NULL;
        size_t len;
        if (pieces && !pantry_detokenize(tokenizer, ids + i, 1, PANTRY_DETOKENIZE_SPECIAL, &piece, &len, NULL))
            json_array_append_new(list, json_pack("{s:i, s:o}", "id", ids[i], "piece", pn_json_text(piece, len)));
        else
            json_array_append_new(list, json_integer(ids[i]));
        pantry_free(piece);
    }
    pantry_free(ids);
    pn_reply_json(x, 200, json_pack("{s:o}", "tokens", list));
    return PANTRY_OK;
}

static pantry_status detokenize(struct pn_exchange *x, const struct pn_loaded *l, const json_t *body,
                                struct pantry_error *err)
{
    json_t *list = NULL, *v;
    const pantry_tokenizer *tokenizer;
    char *text;
    size_t i, len;
    pantry_status status = tokenizer_of(l, &tokenizer, err);
    if (!status)
        status = pn_json_array(body, "tokens", &list, err);
    if (!status && !list)
        status = pn_fail(err, PANTRY_INVALID, "tokens is required");
    if (status)
        return status;
    int32_t *ids = calloc(json_array_size(list) + 1, sizeof *ids);
    if (!ids)
        return pn_no_memory(err, "token ids");
    json_array_foreach(list, i, v)
    {
        json_int_t id = json_integer_value(v);
        ids[i] = json_is_integer(v) && id >= 0 && id <= INT32_MAX ? (int32_t)id : -1;
    }
    status = pantry_detokenize(tokenizer, ids, json_array_size(list), PANTRY_DETOKENIZE_SPECIAL, &text, &len, err);
    free(ids);
    if (status)
        return status;
    pn_reply_json(x, 200, json_pack("{s:o}", "content", pn_json_text(text, len)));
    pantry_free(text);
    return PANTRY_OK;
}

static pantry_status apply_template(struct pn_exchange *x, const struct pn_loaded *l, const json_t *body,
                                    struct pantry_error *err)
{
    json_t *messages = NULL;
    char *text;
    size_t len;
    pantry_status status = pn_json_array(body, "messages", &messages, err);
    if (!status && !messages)
        status = pn_fail(err, PANTRY_INVALID, "messages is required");
    if (status)
        return status;
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message)
    {
        if (!json_is_object(message))
            return pn_fail(err, PANTRY_INVALID, "messages[%zu]: wrong type (allowed an object)", i);
    }
    struct pn_answer_options options = pn_answer_defaults(l);
    options.context = json_copy((json_t *)(uintptr_t)body);
    json_object_del(options.context, "model");
    if (!json_object_get(options.context, "add_generation_prompt"))
        json_object_set_new(options.context, "add_generation_prompt", json_true());
    status = pn_answer_render(l, &options, &text, &len, err);
    json_decref(options.context);
    if (status)
        return status;
    pn_reply_json(x, 200, json_pack("{s:o}", "prompt", pn_json_text(text, len)));
    pantry_free(text);
    return PANTRY_OK;
}

/* ---- ranking ---- */

struct ranked {
    size_t index;
    float score;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* A document is a text, or an object with one. */
static const json_t *text_of(const json_t *document)
{
    return json_is_object(document) ? json_object_get(document, "text") : document;
}

static pantry_status rank(const struct pn_loaded *l, const char *query, const json_t *documents, struct ranked *out,
                          struct pantry_error *err)
{
    size_t n = json_array_size(documents);
    struct pantry_input *inputs = calloc(n + 1, sizeof *inputs), q = {.text = query, .len = strlen(query)};
    float *scores = calloc(n + 1, sizeof *scores);
    pantry_status status = inputs && scores ? PANTRY_OK : pn_no_memory(err, "documents");
    for (size_t i = 0; i < n && !status; i++) {
        const json_t *text = text_of(json_array_get(documents, i));
        if (!json_is_string(text))
            status = pn_fail(err, PANTRY_INVALID, "documents[%zu]: a text is needed", i);
        else
            inputs[i] = (struct pantry_input){.text = json_string_value(text), .len = json_string_length(text)};
    }
    struct pantry_embed_options options = pantry_embed_options_default();
    options.truncate = true;
    if (!status)
        status = pantry_rank(l->model, &q, inputs, n, &options, scores, err);
    for (size_t i = 0; i < n && !status; i++)
        out[i] = (struct ranked){i, scores[i]};
    if (!status)
        qsort(out, n, sizeof *out, by_score);
    free(inputs);
    free(scores);
    return status;
}

static pantry_status rerank(struct pn_exchange *x, const struct pn_loaded *l, const json_t *body,
                            struct pantry_error *err)
{
    const char *query = NULL;
    json_t *documents = NULL;
    int top_n = 0;
    bool with_texts = false;
    pantry_status status = pn_json_string(body, "query", &query, err);
    if (!status)
        status = pn_json_array(body, "documents", &documents, err);
    if (!status)
        status = pn_json_int(body, "top_n", 0, 1 << 24, &top_n, err);
    if (!status)
        status = pn_json_bool(body, "return_documents", &with_texts, err);
    if (!status && (!query || !json_array_size(documents)))
        status = pn_fail(err, PANTRY_INVALID, "query and documents are required");
    if (status)
        return status;
    size_t n = json_array_size(documents);
    struct ranked *ranked = calloc(n, sizeof *ranked);
    if (!ranked)
        return pn_no_memory(err, "documents");
    if (!(status = rank(l, query, documents, ranked, err))) {
        json_t *results = json_array();
        for (size_t i = 0; i < n && (!top_n || i < (size_t)top_n); i++) {
            json_t *v = json_pack("{s:I, s:f}", "index", (json_int_t)ranked[i].index, "relevance_score",
                                  (double)ranked[i].score);
            if (with_texts)
                json_object_set_new(v, "document",
                                    json_pack("{s:O}", "text", text_of(json_array_get(documents, ranked[i].index))));
            json_array_append_new(results, v);
        }
        pn_reply_json(x, 200,
                      json_pack("{s:O, s:s, s:o}", "model", json_object_get(body, "model"), "object", "list", "results",
                                results));
    }
    free(ranked);
    return status;
}

/* ---- routes ---- */

typedef pantry_status work_fn(struct pn_exchange *x, const struct pn_loaded *l, const json_t *body,
                              struct pantry_error *err);

static void with_model(struct pn_server *s, struct pn_exchange *x, const json_t *body, work_fn *work)
{
    struct pantry_error err;
    struct pn_loaded *l = NULL;
    pantry_status status = hold(s, body, &l, &err);
    if (!status)
        status = work(x, l, body, &err);
    end(s, x, l, status, &err);
}

#define ROUTE(name, work)                                                                                              \
    void name(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)                              \
    {                                                                                                                  \
        (void)tail;                                                                                                    \
        with_model(s, x, body, work);                                                                                  \
    }
ROUTE(pn_text_tokenize, tokenize)
ROUTE(pn_text_detokenize, detokenize)
ROUTE(pn_text_apply_template, apply_template)
ROUTE(pn_text_rerank, rerank)
