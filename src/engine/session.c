/* Sessions: see session.h. */
#include "engine/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MAX_CONTEXT = 32768, LEAST_CONTEXT = 512, DEFAULT_BATCH = 512 };

static pn_status cache_type(const struct pn_runner *r, const char *name, pn_type *out, struct pn_error *err)
{
    *out = r->device->properties.cache_type;
    if (!name)
        return PN_OK;
    bool known = strcmp(name, "f16") == 0 || strcmp(name, "f32") == 0 || strcmp(name, "q8_0") == 0;
    if (!known || !pn_type_from_name(name, out))
        return pn_fail(err, PN_INVALID, "keys and values cannot be kept as \"%s\"; f16, q8_0 and f32 are possible",
                       name);
    return PN_OK;
}

/* Takes the memory of a whole context now, so that no conversation ends for want of it. A context that nobody chose is
 * cut to what fits. */
static pn_status promise_context(struct pn_session *s, int chosen, struct pn_error *err)
{
    for (;;) {
        char what[64];
        int n = s->n_context / PN_PAGE_TOKENS + 1;
        snprintf(what, sizeof what, "a context of %d tokens", s->n_context);
        pn_status status = pn_kv_promise(s->pool, n, what, err);
        if (status != PN_NO_MEMORY || chosen || s->n_context <= LEAST_CONTEXT) {
            s->n_promised = status ? 0 : n;
            return status;
        }
        s->n_context = s->n_context / 2 > LEAST_CONTEXT ? s->n_context / 2 : LEAST_CONTEXT;
    }
}

pn_status pn_session_init(struct pn_session *s, struct pn_runner *runner, const struct pantry_session_options *o,
                          struct pn_error *err)
{
    *s = (struct pn_session){.runner = runner};
    pn_type type;
    const struct pn_model *model = runner->model;
    if (model->results[PN_RESULT_LOGITS] == PN_NONE || !model->hp.causal)
        return pn_fail(err, PN_UNSUPPORTED, "%s: architecture %s reads texts and writes none; use `pantry embed`",
                       model->weights->path, model->arch->name);
    pn_status status = cache_type(runner, o->kv_type, &type, err);
    if (status)
        return status;
    int trained = runner->model->hp.n_context_train;
    if (o->n_context < 0 || o->n_batch < 0 || o->n_batch > PN_MAX_BATCH)
        return pn_fail(err, PN_INVALID, "a context of %d tokens in steps of %d is not possible; steps end at %d",
                       o->n_context, o->n_batch, PN_MAX_BATCH);
    int limit = runner->model->hp.n_context_limit;
    trained = limit && limit < trained ? limit : trained;
    if (limit && o->n_context > limit)
        return pn_fail(err, PN_UNSUPPORTED,
                       "contexts of this model above %d tokens need its indexer, which is not built: %d are too many",
                       limit, o->n_context);
    s->n_context = o->n_context ? o->n_context : trained < DEFAULT_MAX_CONTEXT ? trained : DEFAULT_MAX_CONTEXT;
    s->n_batch = o->n_batch ? o->n_batch : DEFAULT_BATCH;
    if ((status = pn_runner_pool(runner, type, &s->pool, err)) || (status = promise_context(s, o->n_context, err)))
        return status;
    size_t n_pages = (size_t)s->n_promised;
    s->ids = calloc((size_t)s->n_context, sizeof *s->ids);
    s->positions = calloc((size_t)s->n_batch, sizeof *s->positions);
    s->out_rows = calloc((size_t)s->n_batch, sizeof *s->out_rows);
    s->pages = calloc(n_pages, sizeof *s->pages);
    if (!s->ids || !s->positions || !s->out_rows || !s->pages) {
        pn_session_release(s);
        return pn_no_memory(err, "a session");
    }
    if (runner->states && (status = pn_states_init(&s->states, runner->states, err)))
        pn_session_release(s);
    return status;
}

void pn_session_release(struct pn_session *s)
{
    if (!s)
        return;
    if (s->pages)
        pn_session_rewind(s, 0);
    if (s->n_promised)
        pn_kv_unpromise(s->pool, s->n_promised);
    pn_states_release(&s->states);
    free(s->ids);
    free(s->positions);
    free(s->out_rows);
    free(s->pages);
    *s = (struct pn_session){0};
}

void pn_session_rewind(struct pn_session *s, int n)
{
    if (n < s->n_past)
        s->n_past = s->states.pool ? pn_states_rewind(&s->states, n) : n;
    int needed = (s->n_past + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    while (s->n_pages > needed)
        pn_kv_page_release(s->pool, s->pages[--s->n_pages]);
}

int pn_session_common(const struct pn_session *s, const int32_t *ids, int n)
{
    int common = 0;
    while (common < n && common < s->n_past && ids[common] == s->ids[common])
        common++;
    return common;
}

pn_status pn_session_feed(struct pn_session *s, const int32_t *ids, int n, int n_outputs, float *logits,
                          struct pn_error *err)
{
    if (n > s->n_context - s->n_past)
        return pn_fail(err, PN_CONTEXT_FULL, "%d tokens do not fit after %d in a context of %d", n, s->n_past,
                       s->n_context);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->runner->model->hp.n_vocab)
            return pn_fail(err, PN_INVALID, "token id %d is not in the vocabulary of %d", ids[i],
                           s->runner->model->hp.n_vocab);
    int needed = (s->n_past + n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
    while (s->n_pages < needed) {
        pn_status status = pn_kv_page_new(s->pool, &s->pages[s->n_pages], err);
        if (status)
            return status;
        s->n_pages++;
    }
    memmove(s->ids + s->n_past, ids, (size_t)n * sizeof *ids);
    for (int i = 0; i < n; i++)
        s->positions[i] = s->n_past + i;
    for (int i = 0; i < n_outputs; i++)
        s->out_rows[i] = n - n_outputs + i;
    struct pn_batch_seq seq = {
        .start = 0, .n = n, .past = s->n_past, .pages = s->pages, .n_context = s->n_context, .state = s->states.slot};
    struct pn_batch batch = {.n_tokens = n,
                             .ids = s->ids + s->n_past,
                             .pos = s->positions,
                             .n_seqs = 1,
                             .seqs = &seq,
                             .n_outputs = n_outputs,
                             .out_rows = s->out_rows,
                             .caches = s->pool->caches,
                             .result = logits};
    if (s->states.pool) {
        batch.states = s->states.pool->slots.memory.data;
        batch.state_stride = s->states.pool->stride;
    }
    pn_status status = pn_runner_step(s->runner, PN_RESULT_LOGITS, &batch, err);
    if (!status) {
        s->n_past += n;
        pn_states_advance(&s->states, s->n_past, n);
    } else if (s->states.pool) { /* some layers may have gone ahead */
        s->n_past = pn_states_rewind(&s->states, s->n_past);
    }
    return status;
}
