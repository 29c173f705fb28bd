/* Sessions: conversations that are clients of the scheduler, each with a key of its own in the prefix tree. See
 * pantry.h. */
#include "engine/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MAX_CONTEXT = 32768, LEAST_CONTEXT = 512 };

/* ---- life ---- */

pantry_status pn_context_length(const struct pn_runner *runner, int wanted, int *out, struct pantry_error *err)
{
    const struct pn_model *model = runner->model;
    int trained = model->hp.n_context_train, limit = model->hp.n_context_limit;
    if (model->results[PN_RESULT_LOGITS] == PN_NONE || !model->hp.causal)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: architecture %s cannot generate text; use `pantry embed`",
                       model->weights->path, model->arch.name);
    if (wanted < 0)
        return pn_fail(err, PANTRY_INVALID, "invalid n_context (found %d, allowed 0 or more)", wanted);
    wanted = wanted ? wanted : runner->n_context;
    if (limit && wanted > limit)
        return pn_fail(
            err, PANTRY_UNSUPPORTED,
            "longer contexts of this model need its indexer, which is not supported (found %d tokens, allowed %d)",
            wanted, limit);
    trained = limit && limit < trained ? limit : trained;
    *out = wanted ? wanted : trained < DEFAULT_MAX_CONTEXT ? trained : DEFAULT_MAX_CONTEXT;
    return PANTRY_OK;
}

pantry_status pn_fit_context(struct pantry_model *m, int wanted, int n_batch, int *n_context, struct pantry_error *err)
{
    int slice = n_batch > 0 ? n_batch : PN_DEFAULT_BATCH;
    pantry_status status = pn_runner_settle_rope(m->runner, *n_context, err);
    bool chosen = wanted || m->runner->n_context;
    if (status)
        return status;
    while ((status = pn_sched_check_context(m->sched, *n_context, slice, err)) && !chosen && *n_context > LEAST_CONTEXT)
        *n_context = *n_context / 2 > LEAST_CONTEXT ? *n_context / 2 : LEAST_CONTEXT;
    return status;
}

static pantry_status init(struct pantry_session *s, const struct pantry_session_options *o, struct pantry_error *err)
{
    static atomic_uint_fast64_t n_sessions;
    if (o->reserved)
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "the options of a session set a member that this library does not have (reserved)");
    if (o->n_batch < 0 || o->n_batch > PN_MAX_BATCH)
        return pn_fail(err, PANTRY_INVALID, "invalid n_batch (found %d, allowed 0 to %d)", o->n_batch, PN_MAX_BATCH);
    pantry_status status = pn_context_length(s->model->runner, o->n_context, &s->n_context, err);
    if (status || (status = pn_model_sched(s->model, o->kv_type, &s->sched, err)))
        return status;
    s->n_batch = o->n_batch;
    snprintf(s->key, sizeof s->key, "session %" PRIuFAST64, atomic_fetch_add(&n_sessions, 1));
    return pn_fit_context(s->model, o->n_context, o->n_batch, &s->n_context, err);
}

pantry_status pantry_session_new(pantry_model *model, const struct pantry_session_options *options,
                                 pantry_session **session, struct pantry_error *err)
{
    struct pantry_session_options o = pantry_session_options_default();
    *session = NULL;
    pantry_status status = pn_take_options(&o, options, "options of a session", err);
    if (status)
        return status;
    struct pantry_session *s = calloc(1, sizeof *s);
    if (!s)
        return pn_no_memory(err, "a session");
    s->model = pn_model_retain(model);
    struct pantry_error why;
    status = pn_tell(init(s, &o, &why), &why, err);
    if (status)
        pantry_session_free(s);
    else
        *session = s;
    return status;
}

static pantry_status forget(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)err;
    pn_tree_drop_key(memory->tree, user);
    return PANTRY_OK;
}

void pantry_session_clear(pantry_session *s)
{
    if (s->sched && pn_sched_is_running(s->sched))
        pn_sched_call(s->sched, forget, s->key, NULL);
    s->n_past = 0;
}

void pantry_session_free(pantry_session *s)
{
    if (!s)
        return;
    pantry_session_clear(s);
    pantry_model_free(s->model);
    free(s);
}

int pantry_session_n_context(const pantry_session *s)
{
    return s->n_context;
}

int pantry_session_n_past(const pantry_session *s)
{
    return s->n_past;
}

/* ---- generating ---- */

enum { CANCEL_POLL_MS = 20 }; /* setting a cancel does not wake the engine's thread */

/* Passes tokens to the callback until the end or until it returns false; tokens already made by then do not count. The
 * engine's thread checks o->cancel itself in every step. */
static const struct pantry_event *relay(struct pantry_session *s, struct pn_request *r,
                                        const struct pantry_generate_options *o, struct pantry_stats *stats)
{
    const struct pantry_event *event;
    bool refused = false;
    int n = 0;
    while (!(event = pn_sched_next(s->sched, r, o->cancel ? CANCEL_POLL_MS : -1)) || event->kind != PANTRY_EVENT_END) {
        if (!event && pantry_cancel_is_set(o->cancel))
            pn_sched_wake(s->sched);
        if (!event || refused)
            continue;
        n += event->token->id >= 0;
        if (!o->callback || o->callback(o->user, event->token))
            continue;
        refused = true;
        atomic_store(&r->cancel, true);
        pn_sched_wake(s->sched);
    }
    *stats = *event->stats;
    s->n_past = r->n_past;
    if (refused) {
        stats->stop = PANTRY_STOP_CALLBACK;
        stats->n_generated = n;
        s->n_past = r->n_past < r->n_prompt + n - 1 ? r->n_past : r->n_prompt + n - 1;
    }
    return event;
}

static pantry_status generate(struct pantry_session *s, const int32_t *ids, size_t n,
                              const struct pantry_generate_options *o, struct pantry_stats *stats,
                              struct pantry_error *err)
{
    struct pn_request *r;
    struct pantry_request_options options = {.ids = ids,
                                             .n_ids = n,
                                             .sampling = o->sampling,
                                             .max_tokens = o->max_tokens,
                                             .n_context = s->n_context,
                                             .n_batch = s->n_batch,
                                             .ignore_eos = o->ignore_eos,
                                             .stop = o->stop,
                                             .n_stop = o->n_stop,
                                             .cache_key = s->key,
                                             .logprobs = o->logprobs,
                                             .top_logprobs = o->top_logprobs,
                                             .logit_bias = o->logit_bias,
                                             .n_logit_bias = o->n_logit_bias,
                                             .think_budget = o->think_budget,
                                             .think_message = o->think_message,
                                             .end_thinking = o->end_thinking,
                                             .begin = o->begin,
                                             .grammar = o->grammar};
    pantry_status status = pn_prompt_encode(o->prompt, s->model, err);
    if (!status)
        status = pn_request_new(s->sched, s->model->runner->model, s->model->tokenizer, &options,
                                pn_prompt_pictures(o->prompt), &r, err);
    if (status)
        return status;
    r->also_cancel = o->cancel;
    r->stats.load_seconds = s->model->load_seconds;
    status = pn_model_guide(s->model, o->grammar, r, err);
    if (status || (status = pn_sched_submit(s->sched, r, err))) {
        pn_request_destroy(r);
        return status;
    }
    const struct pantry_event *end = relay(s, r, o, stats);
    if ((status = end->status))
        pn_fail(err, status, "%s", end->message);
    pn_sched_forget(s->sched, r);
    return status;
}

pantry_status pantry_generate(pantry_session *s, const int32_t *ids, size_t n,
                              const struct pantry_generate_options *options, struct pantry_stats *stats,
                              struct pantry_error *err)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_stats own = {.size = sizeof own, .n_prompt = (int)n, .load_seconds = s->model->load_seconds};
    pantry_status status = stats ? pn_check_result(stats, "statistics", err) : PANTRY_OK;
    if (status)
        return status;
    if (!(status = pn_take_options(&o, options, "options of a generation", err)))
        status = generate(s, ids, n, &o, &own, err);
    if (stats)
        pn_give_result(stats, &own);
    return status;
}

/* ---- logits ---- */

/* Runs one slice at a time, so that requests get their turn in between. */
struct logits_job {
    struct pn_seq seq;
    struct pn_step_builder step;
    const struct pantry_session *session;
    int32_t *ids;
    int n;
    size_t n_vocab;
    float *out;
    const struct pn_pictures *pictures; /* of the prompt; NULL: none */
};

static pantry_status begin_logits(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    struct logits_job *job = user;
    pantry_status status = pn_seq_init(&job->seq, memory, "", job->ids, job->session->n_context, err);
    return status ? status : pn_seq_start(&job->seq, 0, err);
}

static pantry_status run_slice(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)memory;
    struct logits_job *job = user;
    int past = job->seq.n_past;
    int lead = job->pictures && past < job->pictures->n_lead ? job->n : 0; /* tokens without logits: never only some */
    memset(job->out, 0, (size_t)lead * job->n_vocab * sizeof *job->out);
    pantry_status status = pn_step_open_seq(&job->step, &job->seq, job->n, job->n - lead, job->out, err);
    if (!status && job->pictures)
        status = pn_pictures_show(job->pictures, &job->step, 0, past, job->n, err);
    return status ? status : pn_step_close_seq(&job->step, &job->seq, job->n, err);
}

static pantry_status end_logits(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)memory;
    (void)err;
    struct logits_job *job = user;
    pn_seq_release(&job->seq);
    return PANTRY_OK;
}

static pantry_status logits(struct pantry_session *s, struct logits_job *job, size_t n, const int *slices,
                            size_t n_slices, struct pantry_error *err)
{
    size_t n_vocab = (size_t)s->model->runner->model->hp.n_vocab;
    float *out = job->out;
    job->n_vocab = n_vocab;
    pantry_status status = pn_sched_call(s->sched, begin_logits, job, err);
    for (size_t at = 0, i = 0; at < n && !status; at += (size_t)job->n, i++) {
        job->n = i < n_slices ? slices[i] : s->n_batch ? s->n_batch : PN_DEFAULT_BATCH;
        if (job->n < 1)
            return pn_fail(err, PANTRY_INVALID, "slice %zu is too short (found %d tokens, allowed 1 or more)", i,
                           job->n);
        if (job->n > job->step.max_tokens)
            job->n = job->step.max_tokens;
        if ((size_t)job->n > n - at)
            job->n = (int)(n - at);
        if (job->pictures)
            job->n = pn_pictures_whole(job->pictures, (int)at, job->n);
        job->out = out + at * n_vocab;
        status = pn_sched_call(s->sched, run_slice, job, err);
    }
    return status;
}

/* The longest step: a picture that must not be cut may be longer than a batch. */
static int longest_step(const struct pantry_session *s, const struct pn_pictures *pictures)
{
    int n = s->n_batch ? s->n_batch : PN_DEFAULT_BATCH;
    return pictures && pictures->whole ? n + PN_MAX_BATCH : n;
}

static pantry_status all_logits(pantry_session *s, const int32_t *ids, size_t n, const struct pn_pictures *pictures,
                                const int *slices, size_t n_slices, float *out, struct pantry_error *err)
{
    struct logits_job job = {.session = s, .out = out, .pictures = pictures};
    if (n > (size_t)s->n_context)
        return pn_fail(err, PANTRY_CONTEXT_FULL, "too many tokens for the context (found %zu, allowed %d)", n,
                       s->n_context);
    const struct pn_model *model = s->model->runner->model;
    pantry_status status =
        pictures ? pn_pictures_check(pictures, ids, n, model->hp.n_vocab, err) : pn_seq_check_ids(model, ids, n, err);
    if (status || (status = pn_step_init(&job.step, longest_step(s, pictures), 1, err)))
        return status;
    if (!(job.ids = malloc((n + 1) * sizeof *job.ids))) {
        status = pn_no_memory(err, "logits");
    } else {
        memcpy(job.ids, ids, n * sizeof *ids);
        struct pantry_error why;
        status = pn_tell(logits(s, &job, n, slices, n_slices, &why), &why, err);
        pn_sched_call(s->sched, end_logits, &job, NULL);
    }
    free(job.ids);
    pn_step_release(&job.step);
    return status;
}

pantry_status pantry_logits(pantry_session *s, const int32_t *ids, size_t n, const int *slices, size_t n_slices,
                            float *out, struct pantry_error *err)
{
    return all_logits(s, ids, n, NULL, slices, n_slices, out, err);
}

pantry_status pantry_prompt_logits(pantry_session *s, const pantry_prompt *prompt, const int *slices, size_t n_slices,
                                   float *out, struct pantry_error *err)
{
    size_t n;
    const int32_t *ids = pantry_prompt_ids(prompt, &n);
    pantry_status status = pn_prompt_encode(prompt, s->model, err);
    return status ? status : all_logits(s, ids, n, pn_prompt_pictures(prompt), slices, n_slices, out, err);
}
