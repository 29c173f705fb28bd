/* Requests: see request.h. */
#include "engine/request.h"

#include "base/clock.h"
#include "base/os.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_RESERVE = 4096 };

/* ---- life ---- */

static pantry_status check(const struct pn_model *model, const struct pantry_request_options *o,
                           const struct pn_pictures *pictures, struct pantry_error *err)
{
    if (!o->ids || o->n_ids == 0)
        return pn_fail(err, PANTRY_INVALID, "the prompt has no tokens");
    if (o->n_context < 1)
        return pn_fail(err, PANTRY_INVALID, "invalid n_context (found %d, allowed 1 or more)", o->n_context);
    if (o->n_ids > (size_t)o->n_context)
        return pn_fail(err, PANTRY_CONTEXT_FULL,
                       "the prompt is too long for the context (found %zu tokens, allowed %d)", o->n_ids, o->n_context);
    if (o->n_batch < 0 || o->n_batch > PN_MAX_BATCH)
        return pn_fail(err, PANTRY_INVALID, "invalid n_batch (found %d, allowed 0 to %d)", o->n_batch, PN_MAX_BATCH);
    if (o->max_tokens < 0)
        return pn_fail(err, PANTRY_INVALID, "invalid max_tokens (found %d, allowed 0 or more)", o->max_tokens);
    return pictures ? pn_pictures_check(pictures, o->ids, o->n_ids, model->hp.n_vocab, err)
                    : pn_seq_check_ids(model, o->ids, o->n_ids, err);
}

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static bool copy_options(struct pn_request *r, const struct pantry_request_options *o)
{
    r->ids = calloc((size_t)r->n_context, sizeof *r->ids);
    r->key = copy_text(o->cache_key ? o->cache_key : "");
    r->stop = calloc(o->n_stop + 1, sizeof *r->stop);
    r->tops = calloc((size_t)r->logprobs.n_most * PN_MAX_EVENTS + 1, sizeof *r->tops);
    if (!r->ids || !r->key || !r->stop || !r->tops)
        return false;
    memcpy(r->ids, o->ids, o->n_ids * sizeof *r->ids);
    r->keys = r->ids;
    if (r->pictures) {
        if (!(r->keys = calloc((size_t)r->n_context, sizeof *r->keys)))
            return false;
        memcpy(r->keys, r->pictures->keys, o->n_ids * sizeof *r->keys);
        for (size_t i = 0; i < o->n_ids; i++) /* samplers count ids, and a picture's may be outside of the vocabulary */
            r->ids[i] = r->pictures->row[i] < 0 ? r->ids[i] : 0;
    }
    for (; r->n_stop < o->n_stop; r->n_stop++)
        if (!(r->stop[r->n_stop] = copy_text(o->stop[r->n_stop])))
            return false;
    return pn_buf_reserve(&r->text, TEXT_RESERVE) && pn_buf_reserve(&r->out, TEXT_RESERVE) &&
           pn_buf_reserve(&r->waiting, 2 * PN_MAX_EVENT_BYTES);
}

/* What steers the answer besides the sampler. Room for forced tokens is made now, since the token loop allocates
 * nothing. */
static pantry_status steer(struct pn_request *r, const struct pn_model *model, const struct pantry_request_options *o,
                           struct pantry_error *err)
{
    const struct pn_str *source = &model->weights->chat_template;
    pantry_status status = PANTRY_OK;
    size_t room = 1;
    if (o->think_budget < -1)
        return pn_fail(err, PANTRY_INVALID, "invalid think_budget (found %d, allowed -1 or more)", o->think_budget);
    if ((o->think_budget >= 0 || o->end_thinking || o->begin) && !r->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no tokenizer, so nothing is known of its text");
    r->may_think = source->len && strstr(source->data, "think");
    if (o->think_budget >= 0 || o->end_thinking || (o->grammar && r->tokenizer))
        status = pn_think_init(&r->think, pn_dialect_detect(source->data ? source->data : "", source->len),
                               r->tokenizer, o->think_budget, o->think_message, o->ids, r->n_prompt, err);
    r->end_thinking = o->end_thinking;
    for (int i = 0; i < r->think.n_pairs; i++)
        room = r->think.pair[i].closing.len > room ? r->think.pair[i].closing.len : room;
    if (!status && o->begin)
        status = pn_tokenizer_encode(r->tokenizer, o->begin, strlen(o->begin), 0, &r->forced, err);
    if (!status &&
        !pn_vec_reserve((void **)(void *)&r->forced.data, &r->forced.cap, r->forced.len + room, sizeof *r->forced.data))
        status = pn_no_memory(err, "a request");
    return status;
}

pantry_status pn_request_new(struct pn_sched *sched, const struct pn_model *model, const struct pn_tokenizer *tokenizer,
                             const struct pantry_request_options *o, struct pn_pictures *pictures,
                             struct pn_request **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = check(model, o, pictures, err);
    if (status)
        return status;
    struct pn_request *r = calloc(1, sizeof *r);
    if (!r)
        return pn_no_memory(err, "a request");
    *r = (struct pn_request){.sched = sched,
                             .tokenizer = tokenizer,
                             .sampling = o->sampling,
                             .n_prompt = (int)o->n_ids,
                             .max_tokens = o->max_tokens,
                             .n_context = o->n_context,
                             .n_batch = o->n_batch ? o->n_batch : PN_DEFAULT_BATCH,
                             .pictures = pictures ? pn_pictures_retain(pictures) : NULL,
                             .ignore_eos = o->ignore_eos,
                             .submitted = pn_clock_ns()};
    pthread_mutex_init(&r->lock, NULL);
    pn_os_cond_init(&r->ready);
    r->stats.size = sizeof r->stats;
    r->stats.n_prompt = r->n_prompt;
    status = pn_logprobs_init(&r->logprobs, o->logprobs, o->top_logprobs, model->hp.n_vocab, err);
    if (!status && !copy_options(r, o))
        status = pn_no_memory(err, "a request");
    if (!status)
        status = pn_sampler_init(&r->sampler, &r->sampling, model->hp.n_vocab, err);
    if (!status)
        status = pn_sampler_set_bias(&r->sampler, o->logit_bias, o->n_logit_bias, err);
    if (!status)
        status = pn_sampler_set_text(&r->sampler, &o->sampling, tokenizer, r->n_prompt, r->n_context, err);
    if (!status)
        status = steer(r, model, o, err);
    if (!status && tokenizer)
        status = pn_detokenizer_new(
            tokenizer, PN_DETOKENIZE_CONTINUE | (o->control_tokens ? PN_DETOKENIZE_SPECIAL : 0u), &r->detokenizer, err);
    if (status)
        pn_request_destroy(r);
    else
        *out = r;
    return status;
}

void pn_request_destroy(struct pn_request *r)
{
    if (!r)
        return;
    pn_sampler_free(&r->sampler);
    pn_think_free(&r->think);
    pn_guide_free(&r->guide);
    free(r->forced.data);
    pn_logprobs_free(&r->logprobs);
    pn_detokenizer_free(r->detokenizer);
    for (size_t i = 0; r->stop && i < r->n_stop; i++)
        free(r->stop[i]);
    free(r->stop);
    free(r->key);
    if (r->keys != r->ids)
        free(r->keys);
    free(r->ids);
    pn_pictures_release(r->pictures);
    free(r->tops);
    pn_buf_free(&r->text);
    pn_buf_free(&r->waiting);
    pn_buf_free(&r->out);
    pthread_cond_destroy(&r->ready);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int32_t pn_request_forced(struct pn_request *r)
{
    if (r->at_forced == r->forced.len) {
        const struct pn_ids *end = pn_think_end(&r->think, r->end_thinking && pantry_cancel_is_set(r->end_thinking));
        r->at_forced = r->forced.len = 0;
        if (end && end->len <= r->forced.cap) {
            memcpy(r->forced.data, end->data, end->len * sizeof *end->data);
            r->forced.len = end->len;
        }
    }
    return r->at_forced < r->forced.len ? r->forced.data[r->at_forced++] : -1;
}

enum { AHEAD = 64 }; /* tokens that must come, at a time */

pantry_status pn_request_guide(struct pn_request *r, struct pn_grammar *grammar, const char *trigger,
                               struct pn_grammar_vocabulary *vocabulary, struct pantry_error *err)
{
    if (!pn_vec_reserve((void **)(void *)&r->forced.data, &r->forced.cap, r->forced.len + AHEAD,
                        sizeof *r->forced.data))
        return pn_no_memory(err, "a request");
    return pn_guide_init(&r->guide, grammar, vocabulary, r->tokenizer, trigger, &r->think, r->may_think, err);
}

pantry_status pn_request_took(struct pn_request *r, int32_t id, struct pantry_error *err)
{
    pn_think_take(&r->think, id);
    pantry_status status = pn_guide_take(&r->guide, id, &r->think, err);
    if (!status && r->guide.state == PN_GUIDE_WHOLE && !r->stats.stop)
        r->stats.stop = PANTRY_STOP_END;
    return status;
}

pantry_status pn_request_look_ahead(struct pn_request *r, int n_ids, struct pantry_error *err)
{
    if (r->guide.state != PN_GUIDE_ON || r->at_forced < r->forced.len)
        return PANTRY_OK;
    r->at_forced = r->forced.len = 0;
    return pn_guide_ahead(&r->guide, r->ids, n_ids, n_ids - r->n_prompt, r->forced.cap, &r->forced, err);
}

bool pn_request_cancelled(const struct pn_request *r)
{
    return atomic_load_explicit(&r->cancel, memory_order_relaxed) ||
           (r->also_cancel && pantry_cancel_is_set(r->also_cancel));
}

/* ---- the queue ---- */

bool pn_request_has_room(struct pn_request *r)
{
    pthread_mutex_lock(&r->lock);
    /* One event for the token, and one for text that is held back until the end. */
    bool room = r->n_events + 2 <= PN_MAX_EVENTS && r->waiting.len < PN_MAX_EVENT_BYTES;
    r->starved = !room;
    pthread_mutex_unlock(&r->lock);
    return room;
}

/* The lock is held. Text that was held back has no log probabilities. */
static void add_event(struct pn_request *r, int32_t id, size_t n)
{
    const struct pn_logprobs *l = &r->logprobs;
    int at = (r->first_event + r->n_events++) % PN_MAX_EVENTS;
    r->events[at] = (struct pn_event){.id = id, .len = n};
    if (id < 0 || !l->logits)
        return;
    r->events[at].logprob = l->logprob;
    r->events[at].n_top = l->n_top;
    memcpy(r->tops + at * l->n_most, l->top, (size_t)l->n_top * sizeof *l->top);
}

static pantry_status push(struct pn_request *r, int32_t id, size_t n, struct pantry_error *err)
{
    pthread_mutex_lock(&r->lock);
    pn_buf_append(&r->waiting, r->text.data ? r->text.data : "", n);
    bool ok = !r->waiting.failed;
    if (ok)
        add_event(r, id, n);
    pthread_cond_signal(&r->ready);
    pthread_mutex_unlock(&r->lock);
    if (n) {
        memmove(r->text.data, r->text.data + n, r->text.len - n);
        r->text.len -= n;
        r->text.data[r->text.len] = '\0';
    }
    return ok ? PANTRY_OK : pn_no_memory(err, "the answer");
}

/* Takes the first event; the lock is held. */
static void pop(struct pn_request *r)
{
    struct pn_event e = r->events[r->first_event];
    memcpy(r->top, r->tops + r->first_event * r->logprobs.n_most, (size_t)e.n_top * sizeof *r->top);
    r->first_event = (r->first_event + 1) % PN_MAX_EVENTS;
    r->n_events--;
    pn_buf_clear(&r->out);
    pn_buf_append(&r->out, r->waiting.data, e.len);
    memmove(r->waiting.data, r->waiting.data + e.len, r->waiting.len - e.len);
    r->waiting.len -= e.len;
    r->n_read += e.id >= 0;
    r->token = (struct pantry_token){
        .id = e.id, .text = r->out.data, .len = e.len, .logprob = e.logprob, .n_top = e.n_top, .top = r->top};
    r->event = (struct pantry_event){.kind = PANTRY_EVENT_TOKEN, .token = &r->token, .message = ""};
}

const struct pantry_event *pn_request_next(struct pn_request *r, int timeout_ms, bool *has_room)
{
    uint64_t now = pn_clock_ns(), end = timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms * 1000000u;
    pthread_mutex_lock(&r->lock);
    for (; !r->n_events && !r->ended && now < end; now = pn_clock_ns())
        pn_os_cond_wait(&r->ready, &r->lock, end - now);
    bool any = r->n_events || r->ended;
    if (r->n_events)
        pop(r);
    else if (r->ended)
        r->event = (struct pantry_event){
            .kind = PANTRY_EVENT_END, .status = r->status, .message = r->error.text, .stats = &r->stats};
    *has_room = r->starved && r->n_events <= PN_MAX_EVENTS / 2 && r->waiting.len <= PN_MAX_EVENT_BYTES / 2;
    if (*has_room)
        r->starved = false;
    pthread_mutex_unlock(&r->lock);
    return any ? &r->event : NULL;
}

/* ---- text ---- */

/* Where the first stop text begins in the pending text; SIZE_MAX: none. */
static size_t find_stop(const struct pn_request *r)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < r->n_stop; i++) {
        size_t n = strlen(r->stop[i]);
        for (size_t at = 0; n && at + n <= r->text.len && at < found; at++)
            if (memcmp(r->text.data + at, r->stop[i], n) == 0)
                found = at;
    }
    return found;
}

/* How much of the pending text can be shown: all but the longest suffix that could begin a stop text. */
static size_t safe_length(const struct pn_request *r)
{
    size_t held = 0;
    for (size_t i = 0; i < r->n_stop; i++) {
        size_t n = strlen(r->stop[i]);
        size_t most = n && n - 1 < r->text.len ? n - 1 : r->text.len;
        for (size_t k = n ? most : 0; k > held; k--)
            if (memcmp(r->text.data + r->text.len - k, r->stop[i], k) == 0)
                held = k;
    }
    return r->text.len - held;
}

pantry_status pn_request_emit(struct pn_request *r, int32_t id, struct pantry_error *err)
{
    if (r->detokenizer) {
        pantry_status status = pn_detokenizer_push(r->detokenizer, id, &r->text, err);
        if (status)
            return status;
    }
    size_t stop = r->text.len ? find_stop(r) : SIZE_MAX;
    if (stop == SIZE_MAX)
        return push(r, id, safe_length(r), err);
    r->text.len = stop;
    r->stats.stop = PANTRY_STOP_TEXT;
    return push(r, id, stop, err);
}

static void finish_stats(struct pn_request *r, pantry_status status)
{
    struct pantry_stats *st = &r->stats;
    uint64_t now = pn_clock_ns(), first = r->first_token ? r->first_token : now;
    uint64_t started = r->started ? r->started : now;
    st->first_token_seconds = (double)(first - r->submitted) * 1e-9;
    st->prefill_seconds = (double)(first - (started < first ? started : first)) * 1e-9;
    st->decode_seconds = (double)(now - first) * 1e-9;
    st->n_steps = r->n_steps;
    if (r->n_steps)
        st->bytes_per_token += r->cache_bytes / r->n_steps;
    if (status)
        st->stop = PANTRY_STOP_NONE;
    else if (!st->stop)
        st->stop = PANTRY_STOP_LENGTH;
}

void pn_request_end(struct pn_request *r, pantry_status status, const struct pantry_error *err)
{
    struct pantry_error ignored;
    bool held = r->stats.stop != PANTRY_STOP_TEXT;
    if (!status && held) {
        if (r->detokenizer)
            pn_detokenizer_flush(r->detokenizer, &r->text);
        if (r->text.len)
            push(r, -1, r->text.len, &ignored);
    }
    finish_stats(r, status);
    pthread_mutex_lock(&r->lock);
    r->status = status;
    if (status && err)
        r->error = *err;
    r->ended = true;
    pthread_cond_broadcast(&r->ready);
    pthread_mutex_unlock(&r->lock);
}
