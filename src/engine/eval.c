/* pantry_eval: perplexity on a text, and the distance from another model's saved logits.
 *
 * The file of logits is the one that llama.cpp's perplexity tool writes: "_logits_", the window length, the vocabulary
 * and the number of windows as int32, the ids, then for each counted position a record of uint16: a float32 scale and a
 * float32 least log probability, and per token the steps of the scale above it. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"
#include "engine/windows.h"

#include "base/file.h"
#include "format/cursor.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[] = "_logits_";
enum { FLOATS_OF_RECORD = 4, STEPS = 65535 };

/* Numbers of a record, an even number for alignment. */
static size_t record_length(int n_vocab)
{
    return 2 * (((size_t)n_vocab + 1) / 2) + FLOATS_OF_RECORD;
}

struct base {
    struct pn_map map;
    int n_context, n_windows;
    const int32_t *ids;
    const unsigned char *records; /* uint16, perhaps unaligned */
};

struct totals {
    struct pn_window_sums sums;
    double base_nll, divergence, divergence_squares;
    size_t n_same;
    struct {
        float *data;
        size_t len, cap;
    } each; /* divergences, for their quantiles */
};

struct eval {
    struct pantry_eval_options options;
    struct pn_windows windows;
    struct base base;
    FILE *file; /* save_logits, as a partial file */
    char *partial;
    uint16_t *record;
    struct totals totals;
};

/* ---- the base ---- */

static pantry_status open_base(struct base *b, const char *path, int n_vocab, struct pantry_error *err)
{
    uint32_t n_context = 0, vocab = 0, windows = 0;
    pantry_status status = pn_map_open(&b->map, path, err);
    if (status)
        return status;
    struct pn_cursor in = {.data = b->map.data, .size = b->map.size};
    const char *begins = pn_cursor_take(&in, sizeof magic - 1);
    if (!begins || memcmp(begins, magic, sizeof magic - 1) != 0 || !pn_cursor_u32(&in, &n_context) ||
        !pn_cursor_u32(&in, &vocab) || !pn_cursor_u32(&in, &windows))
        return pn_fail(err, PANTRY_FORMAT, "%s: is not a file of logits", path);
    if ((int)vocab != n_vocab)
        return pn_fail(err, PANTRY_FORMAT, "%s: has the logits of %u tokens, but the model has %d", path, vocab,
                       n_vocab);
    if (n_context < 8 || n_context > 131072 || windows < 1 || windows > INT32_MAX / n_context)
        return pn_fail(err, PANTRY_FORMAT, "%s: has %u windows of %u tokens, which cannot be", path, windows,
                       n_context);
    uint64_t per_window = (uint64_t)(n_context - 1 - n_context / 2) * record_length(n_vocab) * sizeof(uint16_t);
    b->ids = pn_cursor_take(&in, (uint64_t)windows * n_context * sizeof(int32_t));
    if (!b->ids || pn_cursor_left(&in) / per_window < windows)
        return pn_fail(err, PANTRY_FORMAT, "%s: is shorter than its %u windows of %u tokens", path, windows, n_context);
    b->records = in.data + in.at;
    b->n_context = (int)n_context;
    b->n_windows = (int)windows;
    return PANTRY_OK;
}

/* Adds one position: p_base is the base's distribution, p the model's. */
static bool add_divergence(struct totals *t, const unsigned char *record, const float *logits, int n_vocab,
                           int32_t token)
{
    float scale, least, top = 0, top_base = 0;
    int at = 0, at_base = 0;
    double sum = 0, log_sum = pn_windows_log_sum(logits, n_vocab);
    memcpy(&scale, record, sizeof scale);
    memcpy(&least, record + sizeof scale, sizeof least);
    record += FLOATS_OF_RECORD * sizeof(uint16_t);
    for (int i = 0; i < n_vocab; i++) {
        uint16_t steps;
        memcpy(&steps, record + (size_t)i * sizeof steps, sizeof steps);
        float base = scale * (float)steps + least;
        if (i == 0 || base > top_base) {
            top_base = base;
            at_base = i;
        }
        if (i == 0 || logits[i] > top) {
            top = logits[i];
            at = i;
        }
        if (base > -16)
            sum += (double)expf(base) * ((double)base - ((double)logits[i] - log_sum));
        if (i == token)
            t->base_nll -= (double)base;
    }
    t->divergence += sum;
    t->divergence_squares += sum * sum;
    t->n_same += at == at_base;
    float one = (float)sum;
    return pn_vec_push(&t->each, one);
}

static pantry_status add_base(struct eval *e, int i, struct pantry_error *err)
{
    const struct pn_windows *w = &e->windows;
    int first = w->n_context / 2, n = w->n_context - 1 - first;
    size_t bytes = record_length(w->n_vocab) * sizeof(uint16_t);
    for (int k = 0; k < n; k++)
        if (!add_divergence(&e->totals, e->base.records + ((size_t)i * (size_t)n + (size_t)k) * bytes,
                            w->logits + (size_t)(first + k) * (size_t)w->n_vocab, w->n_vocab,
                            w->ids[(size_t)i * (size_t)w->n_context + (size_t)(first + k) + 1]))
            return pn_no_memory(err, "divergences");
    return pn_map_damaged(&e->base.map)
               ? pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", e->options.base_logits)
               : PANTRY_OK;
}

/* ---- saving ---- */

static pantry_status io_error(const char *path, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", path, strerror(errno));
}

static pantry_status begin_saving(struct eval *e, struct pantry_error *err)
{
    const struct pn_windows *w = &e->windows;
    const int32_t counts[] = {w->n_context, w->n_vocab, w->n_windows};
    struct pn_buf name = {0};
    pn_buf_printf(&name, "%s.%d.partial", e->options.save_logits, (int)getpid());
    e->partial = pn_buf_take(&name);
    e->record = calloc(record_length(w->n_vocab), sizeof *e->record);
    if (!e->partial || !e->record)
        return pn_no_memory(err, "saved logits");
    e->file = fopen(e->partial, "wb");
    if (!e->file || fwrite(magic, 1, sizeof magic - 1, e->file) != sizeof magic - 1 ||
        fwrite(counts, sizeof *counts, 3, e->file) != 3 ||
        fwrite(w->ids, sizeof *w->ids * (size_t)w->n_context, (size_t)w->n_windows, e->file) != (size_t)w->n_windows)
        return io_error(e->partial, err);
    return PANTRY_OK;
}

/* Log probabilities within 16 of the likeliest, in 65,535 steps. */
static void make_record(uint16_t *record, const float *logits, int n_vocab)
{
    float most = logits[0], least = logits[0];
    for (int i = 1; i < n_vocab; i++) {
        most = logits[i] > most ? logits[i] : most;
        least = logits[i] < least ? logits[i] : least;
    }
    least = least > most - 16 ? least : most - 16;
    float scale = (most - least) / (float)STEPS, lowest = (float)((double)least - pn_windows_log_sum(logits, n_vocab));
    memcpy(record, &scale, sizeof scale);
    memcpy(record + 2, &lowest, sizeof lowest);
    for (int i = 0; i < n_vocab; i++)
        record[FLOATS_OF_RECORD + i] =
            scale > 0 && logits[i] > least ? (uint16_t)lrintf((logits[i] - least) / scale) : 0;
}

static pantry_status save_window(struct eval *e, struct pantry_error *err)
{
    const struct pn_windows *w = &e->windows;
    size_t n = record_length(w->n_vocab);
    for (int at = w->n_context / 2; at < w->n_context - 1; at++) {
        make_record(e->record, w->logits + (size_t)at * (size_t)w->n_vocab, w->n_vocab);
        if (fwrite(e->record, sizeof *e->record, n, e->file) != n)
            return io_error(e->partial, err);
    }
    return PANTRY_OK;
}

static pantry_status end_saving(struct eval *e, struct pantry_error *err)
{
    FILE *file = e->file;
    e->file = NULL;
    if (fclose(file) != 0 || rename(e->partial, e->options.save_logits) != 0)
        return io_error(e->options.save_logits, err);
    free(e->partial);
    e->partial = NULL;
    return PANTRY_OK;
}

/* ---- results ---- */

/* Of a mean of n values, from their sum and the sum of their squares. */
static double standard_error(double sum, double squares, size_t n)
{
    double count = (double)n, mean = sum / count, variance = squares / count - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (count - 1)) : 0;
}

static double share_error(double share, size_t n)
{
    return n > 1 ? sqrt(share * (1 - share) / (double)(n - 1)) : 0;
}

static int compare_floats(const void *a, const void *b)
{
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static struct pantry_eval_result summarize(struct eval *e)
{
    struct totals *t = &e->totals;
    size_t n = t->sums.n_tokens;
    double count = (double)n;
    struct pantry_eval_result r = {.size = sizeof r, .n_windows = (size_t)e->windows.n_windows, .n_tokens = n};
    r.perplexity = exp(t->sums.nll / count);
    r.perplexity_error = r.perplexity * standard_error(t->sums.nll, t->sums.nll_squares, n);
    r.top1 = (double)t->sums.n_top / count;
    r.top1_error = share_error(r.top1, n);
    if (!t->each.len)
        return r;
    qsort(t->each.data, t->each.len, sizeof *t->each.data, compare_floats);
    r.base_perplexity = exp(t->base_nll / count);
    r.divergence = t->divergence / count;
    r.divergence_error = standard_error(t->divergence, t->divergence_squares, n);
    r.divergence_median = (double)t->each.data[t->each.len / 2];
    r.divergence_99 = (double)t->each.data[t->each.len * 99 / 100];
    r.divergence_max = (double)t->each.data[t->each.len - 1];
    r.same_top = (double)t->n_same / count;
    r.same_top_error = share_error(r.same_top, n);
    return r;
}

/* ---- all of it ---- */

static pantry_status open_windows(struct eval *e, pantry_model *model, const char *text, size_t len,
                                  struct pantry_error *err)
{
    struct pantry_model_info info = {.size = sizeof info};
    const struct pantry_eval_options *o = &e->options;
    if (!o->base_logits)
        return pn_windows_open(&e->windows, model, text, len, NULL, 0, o->n_context, o->max_windows, err);
    pantry_status status = pantry_model_info(model, &info, err);
    if (!status)
        status = open_base(&e->base, o->base_logits, info.n_vocab, err);
    if (status)
        return status;
    size_t n = (size_t)e->base.n_windows * (size_t)e->base.n_context;
    int32_t *ids = malloc(n * sizeof *ids); /* those in the file may be unaligned */
    if (!ids)
        return pn_no_memory(err, o->base_logits);
    memcpy(ids, e->base.ids, n * sizeof *ids);
    for (size_t i = 0; !status && i < n; i++)
        if (ids[i] < 0 || ids[i] >= info.n_vocab)
            status = pn_fail(err, PANTRY_FORMAT, "%s: id %zu is not in the vocabulary", o->base_logits, i);
    if (!status)
        status = pn_windows_open(&e->windows, model, NULL, 0, ids, n, e->base.n_context, o->max_windows, err);
    free(ids);
    return status;
}

static pantry_status run(struct eval *e, pantry_model *model, const char *text, size_t len, struct pantry_error *err)
{
    const struct pantry_eval_options *o = &e->options;
    pantry_status status = open_windows(e, model, text, len, err);
    if (!status && o->save_logits)
        status = begin_saving(e, err);
    for (int i = 0; !status && i < e->windows.n_windows; i++) {
        if ((status = pn_windows_read(&e->windows, i, err)))
            break;
        pn_windows_add(&e->windows, i, &e->totals.sums);
        if (o->base_logits)
            status = add_base(e, i, err);
        if (!status && o->save_logits)
            status = save_window(e, err);
        const struct pantry_window window = {(size_t)i + 1, (size_t)e->windows.n_windows,
                                             exp(e->totals.sums.nll / (double)e->totals.sums.n_tokens)};
        if (!status && o->callback && !o->callback(o->user, &window))
            status = pn_fail(err, PANTRY_CANCELLED, "cancelled after %d of %d windows", i + 1, e->windows.n_windows);
    }
    if (!status && o->save_logits)
        status = end_saving(e, err);
    return status;
}

pantry_status pantry_eval(pantry_model *model, const char *text, size_t len, const struct pantry_eval_options *options,
                          struct pantry_eval_result *result, struct pantry_error *error)
{
    struct eval e = {.options = {.size = sizeof e.options}};
    pantry_status status = pn_check_result(result, "results of an evaluation", error);
    if (!status)
        status = pn_take_options(&e.options, options, "options of an evaluation", error);
    if (!status && !text && !e.options.base_logits)
        status = pn_fail(error, PANTRY_INVALID, "an evaluation needs a text or base_logits");
    if (!status)
        status = run(&e, model, text, len, error);
    if (!status) {
        const struct pantry_eval_result own = summarize(&e);
        pn_give_result(result, &own);
    }
    if (e.file)
        fclose(e.file);
    if (e.partial)
        unlink(e.partial);
    free(e.partial);
    free(e.record);
    free(e.totals.each.data);
    pn_map_close(&e.base.map);
    pn_windows_free(&e.windows);
    return status;
}
