/* Windows of a text: see windows.h. */
#include "engine/windows.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 512, LEAST_CONTEXT = 8, MOST_CONTEXT = 131072 };

/* The token that begins a text, if the model asks for one. */
static pantry_status find_bos(struct pn_windows *w, const pantry_tokenizer *tokenizer, struct pantry_error *err)
{
    int32_t *with = NULL, *without = NULL;
    size_t n_with = 0, n_without = 0;
    pantry_status status = pantry_tokenize(tokenizer, "a", 1, PANTRY_TOKENIZE_BOS, &with, &n_with, err);
    if (!status)
        status = pantry_tokenize(tokenizer, "a", 1, 0, &without, &n_without, err);
    bool begins = !status && n_with > n_without && n_without > 0 && with[0] != without[0];
    w->bos = begins ? with[0] : -1;
    pantry_free(with);
    pantry_free(without);
    return status;
}

static pantry_status take_ids(struct pn_windows *w, const char *text, size_t len, const int32_t *ids, size_t n,
                              int max_windows, struct pantry_error *err)
{
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(w->model);
    int32_t *own = NULL;
    if (!tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no tokenizer");
    pantry_status status = find_bos(w, tokenizer, err);
    if (!status && !ids) {
        status = pantry_tokenize(tokenizer, text, len, PANTRY_TOKENIZE_BOS, &own, &n, err);
        ids = own;
    }
    if (!status && n / (size_t)w->n_context < 1)
        status = pn_fail(err, PANTRY_INVALID, "the text is too short (found %zu tokens, allowed %d or more)", n,
                         w->n_context);
    if (!status) {
        size_t windows = n / (size_t)w->n_context;
        if (max_windows > 0 && windows > (size_t)max_windows)
            windows = (size_t)max_windows;
        w->n_windows = windows > INT32_MAX ? INT32_MAX : (int)windows;
        w->ids = malloc((size_t)w->n_windows * (size_t)w->n_context * sizeof *w->ids);
        if (w->ids)
            memcpy(w->ids, ids, (size_t)w->n_windows * (size_t)w->n_context * sizeof *w->ids);
        else
            status = pn_no_memory(err, "a text");
    }
    pantry_free(own);
    return status;
}

pantry_status pn_windows_open(struct pn_windows *w, pantry_model *model, const char *text, size_t len,
                              const int32_t *ids, size_t n, int n_context, int max_windows, struct pantry_error *err)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_session_options session = pantry_session_options_default();
    size_t floats;
    *w = (struct pn_windows){.model = model, .n_context = n_context ? n_context : DEFAULT_CONTEXT};
    if (w->n_context < LEAST_CONTEXT || w->n_context > MOST_CONTEXT)
        return pn_fail(err, PANTRY_INVALID, "n_context: out of range (found %d, allowed %d..%d)", w->n_context,
                       LEAST_CONTEXT, MOST_CONTEXT);
    if (max_windows < 0)
        return pn_fail(err, PANTRY_INVALID, "max_windows: out of range (found %d, allowed 0 or more)", max_windows);
    pantry_status status = pantry_model_info(model, &info, err);
    if (!status)
        status = take_ids(w, text, len, ids, n, max_windows, err);
    session.n_context = w->n_context;
    if (!status)
        status = pantry_session_new(model, &session, &w->session, err);
    w->n_vocab = info.n_vocab;
    if (!status && (!pn_size_mul((size_t)w->n_context, (size_t)w->n_vocab, &floats) ||
                    !(w->logits = calloc(floats, sizeof *w->logits))))
        status = pn_no_memory(err, "the logits of a window");
    return status;
}

pantry_status pn_windows_read(struct pn_windows *w, int i, struct pantry_error *err)
{
    int32_t *ids = w->ids + (size_t)i * (size_t)w->n_context, first = ids[0];
    if (w->bos >= 0)
        ids[0] = w->bos;
    pantry_status status = pantry_logits(w->session, ids, (size_t)w->n_context, NULL, 0, w->logits, err);
    ids[0] = first;
    return status;
}

void pn_windows_free(struct pn_windows *w)
{
    pantry_session_free(w->session);
    free(w->ids);
    free(w->logits);
    *w = (struct pn_windows){0};
}

double pn_windows_log_sum(const float *logits, int n_vocab)
{
    float largest = logits[0];
    double sum = 0;
    for (int i = 1; i < n_vocab; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (int i = 0; i < n_vocab; i++)
        sum += (double)expf(logits[i] - largest);
    return (double)largest + log(sum);
}

void pn_windows_add(const struct pn_windows *w, int i, struct pn_window_sums *sums)
{
    const int32_t *ids = w->ids + (size_t)i * (size_t)w->n_context;
    for (int at = w->n_context / 2; at < w->n_context - 1; at++) {
        const float *logits = w->logits + (size_t)at * (size_t)w->n_vocab;
        double nll = pn_windows_log_sum(logits, w->n_vocab) - (double)logits[ids[at + 1]];
        bool top = true;
        for (int k = 0; k < w->n_vocab && top; k++)
            top = logits[k] <= logits[ids[at + 1]];
        sums->nll += nll;
        sums->nll_squares += nll * nll;
        sums->n_tokens++;
        sums->n_top += top;
    }
}
