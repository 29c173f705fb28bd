/* Embeddings and ranking: see pantry.h.
 *
 * Inputs become token ids first, all of them, so that whatever is wrong with one is known before anything runs. Then
 * they are packed into steps: each is a sequence of its own, in pages of keys and values that live for that step only,
 * and is read as a whole, since tokens may see what stands behind them. */
#include "engine/handle.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One input as it is read. */
struct sequence {
    const int32_t *ids;
    int32_t *owned; /* to be freed; NULL if the caller's */
    int n;
    int second; /* where the second of two texts begins; n: there is none */
};

struct work {
    struct pantry_model *model;
    const struct pantry_embed_options *options;
    enum pn_pooling pooling; /* NONE: a row for each token */
    enum pn_result result;
    struct pn_sched *sched;
    struct sequence *sequences;
    size_t n;
    int max_tokens;
    bool truncated;
    float *rows; /* where the next step's results go */
    double seconds;
    /* a step's */
    size_t first, end; /* its sequences */
    struct pn_step_builder step;
    int32_t pages;   /* where the page tables of its sequences begin: one per group, */
    int table;       /* ... so many entries apart */
    int32_t *states; /* one per sequence where layers are recurrent */
    int n_pages, n_states;
};

/* The file's poolings, as callers name them. RANK is a head, not a pooling. */
static const enum pn_pooling poolings[] = {[PANTRY_POOLING_AUTO] = PN_POOLING_RANK,
                                           [PANTRY_POOLING_MEAN] = PN_POOLING_MEAN,
                                           [PANTRY_POOLING_CLS] = PN_POOLING_CLS,
                                           [PANTRY_POOLING_LAST] = PN_POOLING_LAST,
                                           [PANTRY_POOLING_NONE] = PN_POOLING_NONE};

enum pantry_pooling pn_pooling_of(enum pn_pooling pooling)
{
    enum pantry_pooling p = PANTRY_POOLING_NONE;
    while (p > PANTRY_POOLING_AUTO && poolings[p] != pooling)
        p--;
    return p;
}

static const char *path_of(const struct pantry_model *m)
{
    return m->runner->model->weights->path;
}

/* ---- texts to ids ---- */

static pantry_status encode(const struct work *w, const struct pantry_input *in, bool around, struct pn_ids *out,
                            struct pantry_error *err)
{
    if (!w->model->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s has no tokenizer: its inputs must be token ids", path_of(w->model));
    unsigned flags = (w->options->plain_text ? 0u : PN_TOKENIZE_SPECIAL) | (around ? PN_TOKENIZE_BOS : 0u);
    return pn_tokenizer_encode(w->model->tokenizer, in->text, in->len, flags, out, err);
}

/* Cuts what is in front of the last special tokens, or refuses. `which` counts from 1. */
static pantry_status fit(struct work *w, struct sequence *s, size_t n_behind, size_t which, struct pantry_error *err)
{
    size_t most = (size_t)w->max_tokens;
    if (s->n <= w->max_tokens)
        return PANTRY_OK;
    if (!w->options->truncate)
        return pn_fail(err, PANTRY_CONTEXT_FULL, "text %zu has %d tokens, but at most %d fit; it can be truncated",
                       which, s->n, w->max_tokens);
    if (s->owned && n_behind < most)
        memmove(s->owned + most - n_behind, s->owned + (size_t)s->n - n_behind, n_behind * sizeof *s->owned);
    s->n = w->max_tokens;
    s->second = s->second < s->n ? s->second : s->n;
    w->truncated = true;
    return PANTRY_OK;
}

static pantry_status check_ids(const struct work *w, const struct sequence *s, size_t which, struct pantry_error *err)
{
    int n_vocab = w->model->runner->model->hp.n_vocab;
    if (s->n == 0)
        return pn_fail(err, PANTRY_INVALID, "text %zu has no tokens", which);
    for (int i = 0; i < s->n; i++)
        if (s->ids[i] < 0 || s->ids[i] >= n_vocab)
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %d", s->ids[i], n_vocab);
    return PANTRY_OK;
}

static pantry_status take_over(struct sequence *s, struct pn_ids *ids, struct pantry_error *err)
{
    if (ids->len > INT32_MAX) {
        free(ids->data);
        ids->data = NULL; /* the caller frees what it still has */
        return pn_fail(err, PANTRY_LIMIT, "a text of %zu tokens is too long", ids->len);
    }
    *s = (struct sequence){.ids = ids->data, .owned = ids->data, .n = (int)ids->len, .second = (int)ids->len};
    return PANTRY_OK;
}

static pantry_status read_input(struct work *w, const struct pantry_input *in, size_t i, struct pantry_error *err)
{
    struct sequence *s = &w->sequences[i];
    struct pn_ids ids = {0};
    size_t n_behind = 0;
    pantry_status status = PANTRY_OK;
    if (in->text) {
        if ((status = encode(w, in, true, &ids, err))) {
            free(ids.data);
            return status;
        }
        if ((status = take_over(s, &ids, err)))
            return status;
        pn_tokenizer_around(w->model->tokenizer, true, &n_behind);
    } else if (in->n_ids > INT32_MAX) {
        return pn_fail(err, PANTRY_LIMIT, "a text of %zu tokens is too long", in->n_ids);
    } else {
        *s = (struct sequence){.ids = in->ids, .n = (int)in->n_ids, .second = (int)in->n_ids};
    }
    if ((status = fit(w, s, n_behind, i + 1, err)))
        return status;
    return check_ids(w, s, i + 1, err);
}

/* ---- query and document read together ---- */

static bool append(struct pn_ids *out, const int32_t *ids, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = pn_vec_push(out, ids[i]);
    return ok;
}

/* The text of a template with {query} and {document} replaced. */
static pantry_status fill_template(struct pn_str template, const struct pantry_input *query,
                                   const struct pantry_input *document, struct pn_buf *out)
{
    static const char q[] = "{query}", d[] = "{document}";
    size_t i = 0;
    while (i < template.len) {
        const char *at = template.data + i;
        if (template.len - i >= sizeof q - 1 && memcmp(at, q, sizeof q - 1) == 0) {
            pn_buf_append(out, query->text, query->len);
            i += sizeof q - 1;
        } else if (template.len - i >= sizeof d - 1 && memcmp(at, d, sizeof d - 1) == 0) {
            pn_buf_append(out, document->text, document->len);
            i += sizeof d - 1;
        } else {
            pn_buf_putc(out, *at);
            i++;
        }
    }
    return out->failed ? PANTRY_NO_MEMORY : PANTRY_OK;
}

static pantry_status encode_template(struct work *w, struct pn_str template, const struct pantry_input *query,
                                     const struct pantry_input *document, struct pn_ids *ids, struct pantry_error *err)
{
    struct pn_buf text = {0};
    pantry_status status = fill_template(template, query, document, &text);
    if (status)
        pn_no_memory(err, "a prompt");
    else
        status = pn_tokenizer_encode(w->model->tokenizer, text.data, text.len, PN_TOKENIZE_SPECIAL | PN_TOKENIZE_BOS,
                                     ids, err);
    pn_buf_free(&text);
    return status;
}

/* [CLS] query [SEP] document [SEP], or <s> query </s></s> document </s> where the file asks for a second separator. */
static pantry_status encode_pair(struct work *w, const struct pantry_input *query, const struct pantry_input *document,
                                 struct pn_ids *ids, int *second, struct pantry_error *err)
{
    const struct pn_weights *weights = w->model->runner->model->weights;
    const struct pn_tokenizer *t = w->model->tokenizer;
    size_t n_before, n_behind;
    const int32_t *before = pn_tokenizer_around(t, false, &n_before), *behind = pn_tokenizer_around(t, true, &n_behind);
    bool again = false;
    struct pn_str kind = {"", 0};
    int64_t id = -1;
    pn_meta_bool(weights, "tokenizer.ggml.add_sep_token", &again, NULL);
    pn_meta_str(weights, "tokenizer.ggml.model", &kind, NULL);
    pn_meta_i64(weights, "tokenizer.ggml.seperator_token_id", &id, NULL);
    bool wordpiece = kind.len == 4 && memcmp(kind.data, "bert", 4) == 0;
    int32_t sep = (int32_t)id;
    bool ok = append(ids, before, n_before);
    pantry_status status = encode(w, query, false, ids, err);
    ok = ok && append(ids, behind, n_behind);
    if (again && !wordpiece && id >= 0 && id < w->model->runner->model->hp.n_vocab)
        ok = ok && append(ids, &sep, 1);
    *second = ids->len < INT32_MAX ? (int)ids->len : 0;
    if (!status)
        status = encode(w, document, false, ids, err);
    ok = ok && append(ids, behind, n_behind);
    return !status && !ok ? pn_no_memory(err, "token ids") : status;
}

static pantry_status read_pair(struct work *w, const struct pantry_input *query, const struct pantry_input *document,
                               size_t i, struct pantry_error *err)
{
    struct sequence *s = &w->sequences[i];
    struct pn_ids ids = {0};
    struct pn_str template = {"", 0};
    size_t n_behind = 0;
    int second = -1;
    pantry_status status = PANTRY_OK;
    if (!query->text || !document->text)
        return pn_fail(err, PANTRY_INVALID, "a model with a ranking head reads query and document as texts");
    if (!w->model->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s has no tokenizer", path_of(w->model));
    pn_tokenizer_around(w->model->tokenizer, true, &n_behind);
    if (pn_meta_str(w->model->runner->model->weights, "tokenizer.chat_template.rerank", &template, NULL) == PANTRY_OK)
        status = encode_template(w, template, query, document, &ids, err);
    else
        status = encode_pair(w, query, document, &ids, &second, err);
    if (status) {
        free(ids.data);
        return status;
    }
    if ((status = take_over(s, &ids, err)))
        return status;
    if (second >= 0)
        s->second = second;
    if ((status = fit(w, s, n_behind, i + 1, err)))
        return status;
    return check_ids(w, s, i + 1, err);
}

/* ---- steps ---- */

static pantry_status work_init(struct work *w, struct pantry_model *m, const struct pantry_embed_options *o, size_t n,
                               struct pantry_error *err)
{
    const struct pn_hparams *hp = &m->runner->model->hp;
    *w = (struct work){.model = m, .options = o, .n = n};
    if (o->dimensions < 0 || o->max_tokens < 0 || o->n_batch < 0 || o->n_batch > PN_MAX_STEP ||
        (unsigned)o->pooling > PANTRY_POOLING_NONE)
        return pn_fail(err, PANTRY_INVALID, "%d dimensions, %d tokens in steps of %d: below 0 or above %d",
                       o->dimensions, o->max_tokens, o->n_batch, PN_MAX_STEP);
    w->max_tokens = hp->n_context_train < PN_MAX_STEP ? hp->n_context_train : PN_MAX_STEP;
    if (o->max_tokens && o->max_tokens < w->max_tokens)
        w->max_tokens = o->max_tokens;
    w->pooling = o->pooling == PANTRY_POOLING_AUTO ? hp->pooling : poolings[o->pooling];
    w->result = w->pooling == PN_POOLING_NONE ? PN_RESULT_STATES : PN_RESULT_EMBEDDINGS;
    w->sequences = calloc(n + 1, sizeof *w->sequences);
    return w->sequences ? PANTRY_OK : pn_no_memory(err, "embeddings");
}

static void work_release(struct work *w)
{
    for (size_t i = 0; w->sequences && i < w->n; i++)
        free(w->sequences[i].owned);
    free(w->sequences);
    pn_step_release(&w->step);
    free(w->states);
}

/* Room for the longest step: a full one, or the longest input. */
static pantry_status make_room(struct work *w, struct pantry_error *err)
{
    pantry_status status = pn_model_sched(w->model, NULL, &w->sched, err);
    if (status)
        return status;
    int room = w->options->n_batch ? w->options->n_batch : PN_DEFAULT_BATCH;
    for (size_t i = 0; i < w->n; i++)
        room = w->sequences[i].n > room ? w->sequences[i].n : room;
    w->table = room;
    w->states = calloc((size_t)room, sizeof *w->states);
    if (!w->states)
        return pn_no_memory(err, "embeddings");
    return pn_step_init(&w->step, room, room, err);
}

static int32_t *page_at(const struct work *w, struct pn_seq_memory *m, int group, int i)
{
    return pn_tables_at(&m->pool->tables, w->pages + group * w->table + i);
}

/* A page of every group, or of none: the step reads each text as a whole. */
static pantry_status add_page(struct work *w, struct pn_seq_memory *m, struct pantry_error *err)
{
    for (int g = 0; g < m->pool->n_groups; g++) {
        pantry_status status = pn_seq_page_new(m, g, page_at(w, m, g, w->n_pages), err);
        if (!status)
            continue;
        while (g-- > 0)
            pn_kv_page_release(m->pool, g, *page_at(w, m, g, w->n_pages));
        return status;
    }
    w->n_pages++;
    return PANTRY_OK;
}

/* Appends a sequence to the step: its tokens, pages and outputs. */
static pantry_status add(struct work *w, struct pn_seq_memory *m, const struct sequence *s, struct pantry_error *err)
{
    struct pn_batch_seq seq = {.n = s->n, .pages = w->pages + w->n_pages, .table = w->table, .n_context = s->n};
    pantry_status status = PANTRY_OK;
    if (m->runner->states) {
        if ((status = pn_seq_state_new(m, &seq.state_in, err)))
            return status;
        seq.state_out = seq.state_in;
        pn_state_clear(m->runner->states, seq.state_in);
        w->states[w->n_states++] = seq.state_in;
    }
    for (int i = 0; i < (s->n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS; i++)
        if ((status = add_page(w, m, err)))
            return status;
    int first = pn_step_add(&w->step, &seq, s->ids);
    for (int i = 0; i < s->n; i++) {
        bool last = i == s->n - 1;
        if (i >= s->second)
            pn_step_set_second(&w->step, first + i);
        if (w->pooling == PN_POOLING_LAST ? last : w->pooling == PN_POOLING_CLS ? i == 0 : true)
            pn_step_output(&w->step, first + i);
    }
    return PANTRY_OK;
}

/* Runs the sequences first .. end - 1 as one step, on the engine's thread; their results follow those before. */
static pantry_status run_step(void *user, struct pn_seq_memory *m, struct pantry_error *err)
{
    struct work *w = user;
    struct pn_batch *b = &w->step.batch;
    uint64_t start = pn_clock_ns();
    pantry_status status = pn_tables_take(&m->pool->tables, w->table * m->pool->n_groups, &w->pages, err);
    if (status)
        return status;
    pn_step_begin(&w->step, m->runner, m->pool);
    w->step.results[0] = w->rows;
    for (size_t i = w->first; i < w->end && !status; i++)
        status = add(w, m, &w->sequences[i], err);
    pn_tables_changed(&m->pool->tables, w->pages, w->table * m->pool->n_groups);
    if (!status)
        status = pn_runner_step(m->runner, w->result, b, err);
    for (; w->n_pages; w->n_pages--)
        for (int g = 0; g < m->pool->n_groups; g++)
            pn_kv_page_release(m->pool, g, *page_at(w, m, g, w->n_pages - 1));
    pn_tables_give(&m->pool->tables, w->pages, w->table * m->pool->n_groups);
    while (w->n_states)
        pn_state_release(m->runner->states, w->states[--w->n_states]);
    w->seconds += (double)(pn_clock_ns() - start) * 1e-9;
    size_t width = (size_t)pn_node(&m->runner->model->graph, m->runner->model->results[w->result])->n2;
    w->rows += width * (size_t)(w->result == PN_RESULT_STATES ? b->n_outputs : b->n_seqs);
    return status;
}

/* All sequences, packed into steps in their order; their rows go to `rows`. */
static pantry_status run_all(struct work *w, float *rows, struct pantry_error *err)
{
    int full = w->options->n_batch ? w->options->n_batch : PN_DEFAULT_BATCH;
    bool recurrent = w->model->runner->states != NULL;
    pantry_status status = make_room(w, err);
    w->rows = rows;
    for (size_t first = 0, end; first < w->n && !status; first = end) {
        if (w->options->cancel && pantry_cancel_is_set(w->options->cancel))
            return pn_fail(err, PANTRY_CANCELLED, "cancelled");
        int tokens = w->sequences[first].n;
        for (end = first + 1; end < w->n && tokens + w->sequences[end].n <= full; end++)
            if (!recurrent) /* slots of recurrent state are few */
                tokens += w->sequences[end].n;
            else
                break;
        w->first = first;
        w->end = end;
        status = pn_sched_call(w->sched, run_step, w, err);
    }
    return status;
}

/* ---- rows ---- */

static void normalize(float *row, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)row[i] * (double)row[i];
    double length = sqrt(sum);
    for (size_t i = 0; i < n && length > 0; i++)
        row[i] = (float)((double)row[i] / length);
}

/* Cuts rows of `width` values to the dimensions wanted, in place, and normalizes them. */
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

static pantry_status embed(struct work *w, const struct pantry_input *inputs, struct pantry_embeddings *out,
                           struct pantry_error *err)
{
    const struct pn_model *model = w->model->runner->model;
    const struct pantry_embed_options *o = w->options;
    int width = pn_node(&model->graph, model->results[w->result])->n2;
    bool states = w->result == PN_RESULT_STATES;
    size_t size;
    if (o->dimensions > width || (states && o->dimensions))
        return pn_fail(err, PANTRY_INVALID,
                       states ? "%d dimensions of states are not possible; they have all %d"
                              : "%d dimensions are not possible; this model has %d",
                       o->dimensions, width);
    pantry_status status = PANTRY_OK;
    out->n_tokens = calloc(w->n + 1, sizeof *out->n_tokens);
    if (!out->n_tokens)
        return pn_no_memory(err, "embeddings");
    out->n_rows = w->n;
    for (size_t i = 0, total = 0; i < w->n && !status; i++) {
        status = read_input(w, &inputs[i], i, err);
        out->n_tokens[i] = w->sequences[i].n;
        total += (size_t)w->sequences[i].n;
        if (states)
            out->n_rows = total;
    }
    if (status)
        return status;
    if (!pn_size_mul(out->n_rows + 1, (size_t)width, &size) || !pn_size_mul(size, sizeof *out->rows, &size) ||
        !(out->rows = malloc(size)))
        return pn_no_memory(err, "embeddings");
    if ((status = run_all(w, out->rows, err)))
        return status;
    out->n_dimensions = o->dimensions ? o->dimensions : width;
    out->truncated = w->truncated;
    out->seconds = w->seconds;
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
    struct work w;
    pantry_status status = pn_check_result(out, "embeddings", err);
    if (status)
        return status;
    pn_give_result(out, &own);
    if ((status = pn_take_options(&o, options, "options of embeddings", err)))
        return status;
    if (!(status = work_init(&w, model, &o, n, &why)))
        status = embed(&w, inputs, &own, &why);
    pn_tell(status, &why, err);
    work_release(&w);
    if (status)
        pantry_embeddings_free(&own);
    else
        pn_give_result(out, &own);
    return status;
}

/* ---- ranking ---- */

/* The probability of the first of `n` labels. */
static float softmax_first(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[0]);
    return (float)(1 / sum);
}

static pantry_status rank_by_head(struct work *w, const struct pantry_input *query,
                                  const struct pantry_input *documents, float *scores, struct pantry_error *err)
{
    const struct pn_model *model = w->model->runner->model;
    size_t width = (size_t)pn_node(&model->graph, model->results[PN_RESULT_SCORES])->n2, size;
    pantry_status status = PANTRY_OK;
    float *rows = NULL;
    w->result = PN_RESULT_SCORES;
    w->pooling = model->hp.pooling;
    for (size_t i = 0; i < w->n && !status; i++)
        status = read_pair(w, query, &documents[i], i, err);
    if (!status && (!pn_size_mul(w->n, width, &size) || !pn_size_mul(size, sizeof *rows, &size) ||
                    !(rows = malloc(size ? size : 1))))
        status = pn_no_memory(err, "scores");
    if (!status)
        status = run_all(w, rows, err);
    for (size_t i = 0; i < w->n && !status; i++)
        scores[i] = model->arch->rank_softmax ? softmax_first(rows + i * width, width) : rows[i * width];
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
        return pn_fail(err, PANTRY_INVALID, "texts are compared by one embedding each");
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
    struct work w;
    pantry_status status = pn_take_options(&o, options, "options of ranking", err);
    if (status)
        return status;
    if (model->runner->model->results[PN_RESULT_SCORES] == PN_NONE)
        return rank_by_cosine(model, query, documents, n, &o, scores, err);
    struct pantry_error why;
    if (!(status = work_init(&w, model, &o, n, &why)))
        status = rank_by_head(&w, query, documents, scores, &why);
    pn_tell(status, &why, err);
    work_release(&w);
    return status;
}
