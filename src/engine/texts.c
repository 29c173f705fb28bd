/* Inputs as token ids: see texts.h. */
#include "engine/texts.h"

#include <stdlib.h>
#include <string.h>

static const char *path_of(const struct pantry_model *m)
{
    return m->runner->model->weights->path;
}

pantry_status pn_texts_init(struct pn_texts *t, struct pantry_model *m, const struct pantry_embed_options *o, size_t n,
                            struct pantry_error *err)
{
    int trained = m->runner->model->hp.n_context_train;
    *t = (struct pn_texts){.model = m, .options = o, .n = n};
    if (o->dimensions < 0 || o->max_tokens < 0 || o->n_batch < 0 || o->n_batch > PN_MAX_STEP ||
        (unsigned)o->pooling > PANTRY_POOLING_NONE)
        return pn_fail(
            err, PANTRY_INVALID,
            "dimensions, max_tokens and n_batch must be 0 or more, and n_batch at most %d (found %d, %d, %d)",
            PN_MAX_STEP, o->dimensions, o->max_tokens, o->n_batch);
    t->max_tokens = trained < PN_MAX_STEP ? trained : PN_MAX_STEP;
    if (o->max_tokens && o->max_tokens < t->max_tokens)
        t->max_tokens = o->max_tokens;
    t->text = calloc(n + 1, sizeof *t->text);
    return t->text ? PANTRY_OK : pn_no_memory(err, "embeddings");
}

void pn_texts_free(struct pn_texts *t)
{
    for (size_t i = 0; t->text && i < t->n; i++)
        free(t->text[i].owned);
    free(t->text);
}

/* ---- one text ---- */

static pantry_status encode(const struct pn_texts *t, const struct pantry_input *in, bool specials, struct pn_ids *out,
                            struct pantry_error *err)
{
    if (!t->model->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: the model has no tokenizer; its inputs must be token ids",
                       path_of(t->model));
    unsigned flags = (t->options->plain_text ? 0u : PN_TOKENIZE_SPECIAL) | (specials ? PN_TOKENIZE_BOS : 0u);
    return pn_tokenizer_encode(t->model->tokenizer, in->text, in->len, flags, out, err);
}

/* Cuts a text that is too long before its final special tokens, or fails. `which` counts from 1. */
static pantry_status fit(struct pn_texts *t, struct pn_text *s, size_t n_after, size_t which, struct pantry_error *err)
{
    size_t most = (size_t)t->max_tokens;
    if (s->n <= t->max_tokens)
        return PANTRY_OK;
    if (!t->options->truncate)
        return pn_fail(err, PANTRY_CONTEXT_FULL,
                       "text %zu is too long (found %d tokens, allowed %d); shorten it or allow truncation", which,
                       s->n, t->max_tokens);
    if (s->owned && n_after < most)
        memmove(s->owned + most - n_after, s->owned + (size_t)s->n - n_after, n_after * sizeof *s->owned);
    s->n = t->max_tokens;
    s->second = s->second < s->n ? s->second : s->n;
    t->truncated = true;
    return PANTRY_OK;
}

static pantry_status check_ids(const struct pn_texts *t, const struct pn_text *s, size_t which,
                               struct pantry_error *err)
{
    int n_vocab = t->model->runner->model->hp.n_vocab;
    if (s->n == 0)
        return pn_fail(err, PANTRY_INVALID, "text %zu has no tokens", which);
    for (int i = 0; i < s->n; i++)
        if (s->ids[i] < 0 || s->ids[i] >= n_vocab)
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %d", s->ids[i], n_vocab);
    return PANTRY_OK;
}

static pantry_status take_over(struct pn_text *s, struct pn_ids *ids, struct pantry_error *err)
{
    if (ids->len > INT32_MAX) {
        free(ids->data);
        ids->data = NULL; /* freed here, not by the caller too */
        return pn_fail(err, PANTRY_LIMIT, "text too long (found %zu tokens, allowed %d)", ids->len, INT32_MAX);
    }
    *s = (struct pn_text){.ids = ids->data, .owned = ids->data, .n = (int)ids->len, .second = (int)ids->len};
    return PANTRY_OK;
}

pantry_status pn_texts_read(struct pn_texts *t, size_t i, const struct pantry_input *in, struct pantry_error *err)
{
    struct pn_text *s = &t->text[i];
    struct pn_ids ids = {0};
    size_t n_after = 0;
    pantry_status status = PANTRY_OK;
    if (in->text) {
        if ((status = encode(t, in, true, &ids, err))) {
            free(ids.data);
            return status;
        }
        if ((status = take_over(s, &ids, err)))
            return status;
        pn_tokenizer_around(t->model->tokenizer, true, &n_after);
    } else if (in->n_ids > INT32_MAX) {
        return pn_fail(err, PANTRY_LIMIT, "text too long (found %zu tokens, allowed %d)", in->n_ids, INT32_MAX);
    } else {
        *s = (struct pn_text){.ids = in->ids, .n = (int)in->n_ids, .second = (int)in->n_ids};
    }
    if ((status = fit(t, s, n_after, i + 1, err)))
        return status;
    return check_ids(t, s, i + 1, err);
}

/* ---- a query and a document ---- */

static bool append(struct pn_ids *out, const int32_t *ids, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = pn_vec_push(out, ids[i]);
    return ok;
}

/* Expands {query} and {document} in a template. */
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

static pantry_status encode_template(struct pn_texts *t, struct pn_str template, const struct pantry_input *query,
                                     const struct pantry_input *document, struct pn_ids *ids, struct pantry_error *err)
{
    struct pn_buf text = {0};
    pantry_status status = fill_template(template, query, document, &text);
    if (status)
        pn_no_memory(err, "a prompt");
    else
        status = pn_tokenizer_encode(t->model->tokenizer, text.data, text.len, PN_TOKENIZE_SPECIAL | PN_TOKENIZE_BOS,
                                     ids, err);
    pn_buf_free(&text);
    return status;
}

/* Makes [CLS] query [SEP] document [SEP], or <s> query </s></s> document </s> if the file asks for a second separator.
 */
static pantry_status encode_pair(struct pn_texts *t, const struct pantry_input *query,
                                 const struct pantry_input *document, struct pn_ids *ids, int *second,
                                 struct pantry_error *err)
{
    const struct pn_weights *weights = t->model->runner->model->weights;
    const struct pn_tokenizer *tokenizer = t->model->tokenizer;
    size_t n_before, n_after;
    const int32_t *before = pn_tokenizer_around(tokenizer, false, &n_before),
                  *after = pn_tokenizer_around(tokenizer, true, &n_after);
    bool again = false;
    struct pn_str kind = {"", 0};
    int64_t id = -1;
    pn_meta_bool(weights, "tokenizer.ggml.add_sep_token", &again, NULL);
    pn_meta_str(weights, "tokenizer.ggml.model", &kind, NULL);
    pn_meta_i64(weights, "tokenizer.ggml.seperator_token_id", &id, NULL);
    bool wordpiece = kind.len == 4 && memcmp(kind.data, "bert", 4) == 0;
    int32_t sep = (int32_t)id;
    bool ok = append(ids, before, n_before);
    pantry_status status = encode(t, query, false, ids, err);
    ok = ok && append(ids, after, n_after);
    if (again && !wordpiece && id >= 0 && id < t->model->runner->model->hp.n_vocab)
        ok = ok && append(ids, &sep, 1);
    *second = ids->len < INT32_MAX ? (int)ids->len : 0;
    if (!status)
        status = encode(t, document, false, ids, err);
    ok = ok && append(ids, after, n_after);
    return !status && !ok ? pn_no_memory(err, "token ids") : status;
}

pantry_status pn_texts_read_pair(struct pn_texts *t, size_t i, const struct pantry_input *query,
                                 const struct pantry_input *document, struct pantry_error *err)
{
    struct pn_text *s = &t->text[i];
    struct pn_ids ids = {0};
    struct pn_str template = {"", 0};
    size_t n_after = 0;
    int second = -1;
    pantry_status status = PANTRY_OK;
    if (!query->text || !document->text)
        return pn_fail(err, PANTRY_INVALID, "a model with a ranking head needs query and document as texts, not ids");
    if (!t->model->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: the model has no tokenizer", path_of(t->model));
    pn_tokenizer_around(t->model->tokenizer, true, &n_after);
    if (pn_meta_str(t->model->runner->model->weights, "tokenizer.chat_template.rerank", &template, NULL) == PANTRY_OK)
        status = encode_template(t, template, query, document, &ids, err);
    else
        status = encode_pair(t, query, document, &ids, &second, err);
    if (status) {
        free(ids.data);
        return status;
    }
    if ((status = take_over(s, &ids, err)))
        return status;
    if (second >= 0)
        s->second = second;
    if ((status = fit(t, s, n_after, i + 1, err)))
        return status;
    return check_ids(t, s, i + 1, err);
}
