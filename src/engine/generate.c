/* The token loop: feed the prompt, then sample, show, feed again. Allocates nothing after the first token. */
#include "engine/handle.h"

#include "base/clock.h"
#include "engine/sample.h"

#include <string.h>

enum { TEXT_RESERVE = 4096 };

struct generation {
    struct pantry_session *session;
    const struct pantry_generate_options *options;
    struct pantry_stats *stats;
    struct pn_sampler sampler;
    struct pn_detokenizer *detokenizer;
    struct pn_buf text; /* decoded but not yet shown: it may be the start of a stop text */
    uint64_t start, first_token;
    int n_steps;        /* of one token, after the prompt's */
    double cache_bytes; /* read by those steps */
    bool refused;       /* the callback wants no more */
};

static bool cancelled(const struct generation *g)
{
    return g->options->cancel && *g->options->cancel;
}

/* ---- text ---- */

/* Where the first stop text begins in the pending text, or SIZE_MAX. */
static size_t find_stop(const struct generation *g)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < g->options->n_stop; i++) {
        size_t n = strlen(g->options->stop[i]);
        for (size_t at = 0; n && at + n <= g->text.len && at < found; at++)
            if (memcmp(g->text.data + at, g->options->stop[i], n) == 0)
                found = at;
    }
    return found;
}

/* How much of the pending text may be shown: all but the longest end that could become a stop text. */
static size_t safe_length(const struct generation *g)
{
    size_t held = 0;
    for (size_t i = 0; i < g->options->n_stop; i++) {
        size_t n = strlen(g->options->stop[i]);
        size_t most = n && n - 1 < g->text.len ? n - 1 : g->text.len;
        for (size_t k = n ? most : 0; k > held; k--)
            if (memcmp(g->text.data + g->text.len - k, g->options->stop[i], k) == 0)
                held = k;
    }
    return g->text.len - held;
}

/* Shows `n` bytes of the pending text with the token that completed them; false when the callback wants to stop. */
static bool show(struct generation *g, int32_t id, size_t n)
{
    bool go_on = true;
    if (g->options->callback) {
        struct pantry_token token = {.id = id, .text = g->text.data ? g->text.data : "", .len = n};
        go_on = g->options->callback(g->options->user, &token);
    }
    if (n) {
        memmove(g->text.data, g->text.data + n, g->text.len - n);
        g->text.len -= n;
        g->text.data[g->text.len] = '\0';
    }
    return go_on;
}

/* Adds a token's text; sets the stop reason when the generation ends here. */
static pn_status emit(struct generation *g, int32_t id, struct pn_error *err)
{
    if (g->detokenizer) {
        pn_status status = pn_detokenizer_push(g->detokenizer, id, &g->text, err);
        if (status)
            return status;
    }
    size_t stop = g->text.len ? find_stop(g) : SIZE_MAX;
    if (stop != SIZE_MAX) {
        g->text.len = stop;
        g->stats->stop_reason = "stop_string";
        show(g, id, stop);
    } else if (!show(g, id, safe_length(g))) {
        g->refused = true;
        g->stats->stop_reason = "cancelled";
    }
    return PN_OK;
}

/* What was held back for a stop text that did not come, and what the detokenizer still has. */
static void flush(struct generation *g)
{
    if (g->detokenizer)
        pn_detokenizer_flush(g->detokenizer, &g->text);
    if (g->text.len && g->options->callback) {
        struct pantry_token token = {.id = -1, .text = g->text.data, .len = g->text.len};
        g->options->callback(g->options->user, &token);
    }
}

/* ---- tokens ---- */

/* Feeds the prompt in slices; only the last one makes logits. */
static pn_status prefill(struct generation *g, const int32_t *ids, int n, struct pn_error *err)
{
    struct pn_session *s = &g->session->session;
    int common = pn_session_common(s, ids, n - 1); /* the last token's logits are wanted */
    pn_session_rewind(s, common);
    g->stats->n_cached = s->n_past;
    for (int at = s->n_past; at < n;) {
        if (cancelled(g)) {
            g->stats->stop_reason = "cancelled";
            return PN_OK;
        }
        int slice = n - at < s->n_batch ? n - at : s->n_batch;
        if (s->states.pool && at + slice == n && slice > 1) /* so that this prompt with another end finds its state */
            slice--;
        bool last = at + slice == n;
        pn_status status = pn_session_feed(s, ids + at, slice, last ? 1 : 0, g->session->logits, err);
        if (status)
            return status;
        at += slice;
    }
    return PN_OK;
}

static pn_status loop(struct generation *g, struct pn_error *err)
{
    struct pn_session *s = &g->session->session;
    const struct pn_tokenizer *tokenizer = g->session->model->tokenizer;
    const struct pantry_generate_options *o = g->options;
    while (!g->stats->stop_reason) {
        int32_t id = pn_sampler_choose(&g->sampler, g->session->logits, s->ids, s->n_past);
        if (id < 0)
            return pn_fail(err, PN_INTERNAL, "the model's logits are not numbers");
        if (!g->first_token)
            g->first_token = pn_clock_ns();
        if (!o->ignore_eos && tokenizer && pn_tokenizer_is_eog(tokenizer, id)) {
            g->stats->stop_reason = "stop";
            return PN_OK;
        }
        g->stats->n_generated++;
        pn_status status = emit(g, id, err);
        if (status || g->stats->stop_reason)
            return status;
        if (g->stats->n_generated == o->max_tokens || s->n_past == s->n_context) {
            g->stats->stop_reason = "length";
            return PN_OK;
        }
        if (cancelled(g)) {
            g->stats->stop_reason = "cancelled";
            return PN_OK;
        }
        if ((status = pn_session_feed(s, &id, 1, 1, g->session->logits, err)))
            return status;
        g->n_steps++;
        g->cache_bytes += (double)pn_kv_token_bytes(s->pool) * s->n_past;
    }
    return PN_OK;
}

static void finish_stats(struct generation *g)
{
    struct pantry_stats *st = g->stats;
    uint64_t now = pn_clock_ns(), first = g->first_token ? g->first_token : now;
    st->first_token_seconds = (double)(first - g->start) * 1e-9;
    st->prefill_seconds = st->first_token_seconds;
    st->decode_seconds = (double)(now - first) * 1e-9;
    st->bytes_per_token = (double)g->session->model->runner->model->step_bytes;
    if (g->n_steps)
        st->bytes_per_token += g->cache_bytes / g->n_steps;
    if (!st->stop_reason)
        st->stop_reason = "length";
}

static pn_status check(const struct pantry_session *session, const int32_t *ids, size_t n, struct pn_error *err)
{
    const struct pn_session *s = &session->session;
    if (!ids || n == 0)
        return pn_fail(err, PN_INVALID, "the prompt has no tokens");
    if (n > (size_t)s->n_context)
        return pn_fail(err, PN_CONTEXT_FULL, "the prompt has %zu tokens, but the context has room for %d", n,
                       s->n_context);
    return PN_OK;
}

pn_status pn_generate(struct pantry_session *session, const int32_t *ids, size_t n,
                      const struct pantry_generate_options *options, struct pantry_stats *stats, struct pn_error *err)
{
    struct pantry_stats unwanted;
    struct generation g = {
        .session = session, .options = options, .stats = stats ? stats : &unwanted, .start = pn_clock_ns()};
    *g.stats = (struct pantry_stats){.n_prompt = (int)n, .load_seconds = session->model->load_seconds};
    pn_status status = check(session, ids, n, err);
    if (status)
        return status;
    struct pn_runner *runner = session->model->runner;
    if ((status = pn_sampler_init(&g.sampler, &options->sampling, runner->model->hp.n_vocab, err)))
        return status;
    if (session->model->tokenizer &&
        (status = pn_detokenizer_new(session->model->tokenizer, PN_DETOKENIZE_CONTINUE, &g.detokenizer, err)))
        goto done;
    if (!pn_buf_reserve(&g.text, TEXT_RESERVE)) {
        status = pn_no_memory(err, "the answer");
        goto done;
    }
    if ((status = pn_runner_prepare(runner, 1, err)) || (status = prefill(&g, ids, (int)n, err)) ||
        (!g.stats->stop_reason && (status = loop(&g, err))))
        goto done;
    if (!g.refused && strcmp(g.stats->stop_reason, "stop_string") != 0)
        flush(&g);
done:
    finish_stats(&g);
    pn_buf_free(&g.text);
    pn_detokenizer_free(g.detokenizer);
    pn_sampler_free(&g.sampler);
    return status;
}
