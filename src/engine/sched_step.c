/* One step of the scheduler: choosing its tokens, running it, delivering its results. See sched.h. */
#include "engine/sched_impl.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_INTERVAL = 256 }; /* tokens of a prompt between updates of the prefix tree */

static int pending(const struct pn_request *r)
{
    return r->seq.n_ids - r->seq.n_past;
}

/* ---- ending ---- */

static void finish(struct pn_sched *s, struct pn_request *r, pantry_status status, const struct pantry_error *err)
{
    struct pn_request **at = &s->active;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->next = NULL;
    /* If a page was missing, the tokens so far are valid; a failed step may have damaged a recurrent state. */
    bool good = !status || (status == PANTRY_NO_MEMORY && !s->runner->states);
    r->n_past = good || !r->seq.memory ? r->seq.n_past : pn_tree_find(s->memory.tree, r->key, r->keys, r->seq.n_past);
    if (r->load)
        pn_disk_forget(s->disk, r->load);
    if (r->phase == PN_REQUEST_RUNNING && good) {
        pn_seq_keep_last(&r->seq);
        if (s->disk)
            pn_disk_save(s->disk, r->key, r->keys, r->seq.n_past);
    }
    pn_seq_release(&r->seq);
    r->phase = PN_REQUEST_ENDED;
    pn_request_end(r, status, err);
}

static void cancel(struct pn_sched *s, struct pn_request *r)
{
    r->stats.stop = PANTRY_STOP_CANCELLED;
    finish(s, r, PANTRY_OK, NULL);
}

static void end_cancelled(struct pn_sched *s)
{
    for (struct pn_request *r = s->active, *next; r; r = next) {
        next = r->next;
        r->in_step = false;
        if (pn_request_cancelled(r))
            cancel(s, r);
    }
}

void pn_sched_end_all(struct pn_sched *s)
{
    while (s->active)
        cancel(s, s->active);
}

/* ---- memory ---- */

/* The youngest request whose pages can be taken: not `r`, and not in the step. */
static struct pn_request *victim_for(const struct pn_sched *s, const struct pn_request *r)
{
    struct pn_request *victim = NULL;
    for (struct pn_request *v = s->active; v; v = v->next)
        if (v != r && v->phase == PN_REQUEST_RUNNING && !v->in_step)
            victim = v;
    return victim;
}

/* Takes a request's memory. It starts again later, with all its tokens so far. */
static void preempt(struct pn_request *r)
{
    pn_seq_drop(&r->seq);
    r->phase = PN_REQUEST_QUEUED;
    r->kept = r->boundary = 0;
}

/* Makes room for `n` more tokens of r. If pages are short, younger requests give theirs back, or r waits for those that
 * run. False: not in this step, or the request has ended. */
static bool grow(struct pn_sched *s, struct pn_request *r, int n, bool may_take)
{
    struct pantry_error err;
    pantry_status status;
    while ((status = pn_seq_grow(&r->seq, n, &err)) == PANTRY_NO_MEMORY) {
        bool alone = s->step.batch.n_seqs == 0;
        struct pn_request *victim = may_take || alone ? victim_for(s, r) : NULL;
        if (victim) {
            preempt(victim);
        } else if (alone) {
            finish(s, r, status, &err);
            return false;
        } else {
            return false;
        }
    }
    return true;
}

static int n_running(const struct pn_sched *s)
{
    int n = 0;
    for (const struct pn_request *r = s->active; r; r = r->next)
        n += r->phase == PN_REQUEST_RUNNING;
    return n;
}

/* Computed once per step, since it asks the system. */
static uint64_t capacity(struct pn_sched *s)
{
    if (!s->capacity)
        s->capacity = pn_kv_capacity(s->memory.pool);
    return s->capacity;
}

/* Whether r's tokens fit next to the pages of other requests, so that it need not give its pages back soon. Requests
 * that wait for their reader do not count: their pages can be taken. */
static bool fits(struct pn_sched *s, const struct pn_request *r)
{
    const struct pn_kv_pool *pool = s->memory.pool;
    uint64_t held = 0, next = (uint64_t)n_running(s) * pn_kv_most_bytes(pool, 0, 0); /* a page per running request */
    for (struct pn_request *a = s->active; a; a = a->next)
        held += a->seq.n_pages && pn_request_has_room(a) ? pn_seq_bytes(&a->seq) : 0;
    int tokens = r->seq.memory ? r->seq.n_ids : r->n_prompt;
    return !held || held + pn_kv_most_bytes(pool, tokens, r->n_batch) + next <= capacity(s);
}

/* ---- prefixes ---- */

/* Puts the tokens of running requests into the tree before a new prompt looks there. */
static void tell_tree(struct pn_sched *s)
{
    if (s->runner->states) /* each kept state costs a slot: only at boundaries */
        return;
    for (struct pn_request *r = s->active; r; r = r->next)
        if (r->phase == PN_REQUEST_RUNNING && r->seq.n_past - r->kept >= PN_PAGE_TOKENS) {
            pn_seq_keep(&r->seq, false);
            r->kept = r->seq.n_past;
        }
}

/* Length of the common prefix, as far as prompt b can reuse it. */
static int shared_tokens(const struct pn_request *a, const struct pn_request *b, int n_a, int n_b)
{
    int n = 0, most = n_a < n_b - 1 ? n_a : n_b - 1;
    while (n < most && a->keys[n] == b->keys[n])
        n++;
    return n;
}

/* Whether an older prompt is about to read a prefix of `r`. If so, it will end a slice where the two diverge. */
static bool waits_for_older(struct pn_sched *s, struct pn_request *r)
{
    int n_ids = r->seq.memory ? r->seq.n_ids : r->n_prompt;
    int found = pn_tree_find(s->memory.tree, r->key, r->keys, n_ids - 1);
    for (struct pn_request *o = s->active; o != r; o = o->next) {
        int n_older = o->seq.memory ? o->seq.n_ids : o->n_prompt;
        if (strcmp(o->key, r->key) != 0 || !pn_request_has_room(o))
            continue;
        int n = shared_tokens(o, r, n_older, n_ids);
        if (n - found < PN_PAGE_TOKENS || o->seq.n_past >= n)
            continue;
        if (!o->boundary || o->boundary <= o->seq.n_past || n < o->boundary)
            o->boundary = n;
        return true;
    }
    return false;
}

/* Whether a request waits for the beginning of its prompt to come from the disk. */
static bool waits_for_disk(struct pn_sched *s, struct pn_request *r)
{
    if (!s->disk || (r->looked && !r->load))
        return false;
    int n = (r->seq.memory ? r->seq.n_ids : r->n_prompt) - 1;
    if (!r->looked)
        r->n_memory = pn_tree_find(s->memory.tree, r->key, r->keys, n);
    r->looked = true;
    double token_ns = s->stats.prompt_tokens ? s->pace.alone : 0;
    return pn_disk_wait(s->disk, &r->load, r->key, r->keys, n, r->n_memory, token_ns, &r->n_loaded);
}

/* The youngest request that waits for its reader gives its memory back, and starts again when it has room. False: none.
 */
static bool preempt_slow_reader(struct pn_sched *s)
{
    struct pn_request *victim = NULL;
    for (struct pn_request *v = s->active; v; v = v->next)
        if (v->phase == PN_REQUEST_RUNNING && !v->in_step && !pn_request_has_room(v))
            victim = v;
    if (!victim)
        return false;
    pn_seq_keep(&victim->seq, true);
    preempt(victim);
    return true;
}

static bool start(struct pn_sched *s, struct pn_request *r)
{
    struct pantry_error err;
    pantry_status status = PANTRY_OK;
    if (n_running(s) >= PN_MAX_RUNNING && !preempt_slow_reader(s))
        return false;
    if (!r->seq.memory) {
        status = pn_seq_init(&r->seq, &s->memory, r->key, r->ids, r->n_context, &err);
        r->seq.n_ids = r->n_prompt;
        r->seq.keys = r->keys;
    }
    if (!status)
        do
            status = pn_seq_start(&r->seq, r->seq.n_ids - 1, &err);
        while (status == PANTRY_NO_MEMORY && preempt_slow_reader(s));
    if (status == PANTRY_NO_MEMORY && n_running(s)) /* they will free some */
        return false;
    if (status) {
        finish(s, r, status, &err);
        return false;
    }
    r->phase = PN_REQUEST_RUNNING;
    r->kept = r->seq.n_past;
    /* The tree knows a longer prefix, but without the pages that windows need: keep them this time. */
    int known = r->seq.n_known;
    if (s->memory.pool->n_groups > 1 && known - r->seq.n_past >= PN_PAGE_TOKENS &&
        r->seq.n_ids - known > PN_PAGE_TOKENS)
        r->boundary = known;
    if (!r->started) {
        r->started = pn_clock_ns();
        r->stats.n_cached = r->seq.n_past;
        atomic_store(&r->prompt_cached, r->seq.n_past);
        atomic_store(&r->prompt_read, r->seq.n_past);
        r->stats.n_loaded = r->n_loaded < r->seq.n_past ? r->n_loaded : r->seq.n_past;
        r->stats.n_loaded -= r->n_memory < r->stats.n_loaded ? r->n_memory : r->stats.n_loaded;
        r->stats.device_bandwidth = pn_runner_bandwidth(s->runner);
        r->stats.bytes_per_token = (double)s->runner->model->step_bytes;
    }
    return true;
}

/* ---- building a step ---- */

static void add(struct pn_sched *s, struct pn_request *r, int n)
{
    struct pantry_error err;
    struct pn_seq *q = &r->seq;
    struct pn_batch_seq seq = pn_seq_batch(q, n);
    s->in_step[s->step.batch.n_seqs] = r;
    int first = pn_step_add(&s->step, &seq, q->ids + q->n_past);
    if (r->pictures && pn_pictures_show(r->pictures, &s->step, first, q->n_past, n, &err))
        s->starved = true; /* the step fails: its rows are not complete */
    if (n == pending(r))
        pn_step_output(&s->step, first + n - 1);
    r->in_step = true;
}

/* Adds the next token of every decoding sequence. */
static void add_decodes(struct pn_sched *s)
{
    for (struct pn_request *r = s->active, *next; r && s->step.batch.n_seqs < PN_MAX_RUNNING; r = next) {
        next = r->next;
        if (r->phase == PN_REQUEST_RUNNING && pending(r) == 1 && pn_request_has_room(r) && grow(s, r, 1, true))
            add(s, r, 1);
    }
}

/* How many tokens of r's prompt to read, at most `most`. */
static int slice(const struct pn_sched *s, const struct pn_request *r, int most)
{
    int n = pending(r) < most ? pending(r) : most;
    n = n < r->n_batch ? n : r->n_batch;
    if (s->runner->states && n == pending(r) && n > 1) /* so that a prompt with another last token finds the state */
        n--;
    if (r->boundary > r->seq.n_past && n > r->boundary - r->seq.n_past)
        n = r->boundary - r->seq.n_past;
    return r->pictures ? pn_pictures_whole(r->pictures, r->seq.n_past, n) : n;
}

/* Collects the prompts that can be read now, oldest first, and starts new ones. */
static int readable(struct pn_sched *s, struct pn_request **out, int most)
{
    int n = 0;
    bool told = false;
    for (struct pn_request *r = s->active, *next; r && n < most; r = next) {
        next = r->next;
        if (r->phase == PN_REQUEST_QUEUED) {
            if (!pn_request_has_room(r)) /* its memory was taken, and its reader is slow */
                continue;
            if (!told)
                tell_tree(s);
            told = true;
            if (waits_for_older(s, r) || !fits(s, r) || waits_for_disk(s, r) || !start(s, r))
                continue;
        }
        if (!r->in_step && pn_request_has_room(r))
            out[n++] = r;
    }
    return n;
}

/* Adds up to `most` tokens of r's prompt. Returns how many. */
static int add_slice(struct pn_sched *s, struct pn_request *r, int most)
{
    if (r->phase != PN_REQUEST_RUNNING) /* its pages were taken */
        return 0;
    int n = slice(s, r, most);
    if (s->step.batch.n_tokens + n > s->step.max_tokens) /* a picture that is read whole: alone, then */
        return 0;
    if (!grow(s, r, n, false))
        return 0;
    add(s, r, n);
    return n;
}

/* The oldest prompt gets at least a quarter; for the rest, prompts with the fewest tokens left come first. */
static void add_prompts(struct pn_sched *s)
{
    struct pn_request *prompts[PN_MAX_RUNNING];
    int n_decode = s->step.batch.n_seqs;
    int n = readable(s, prompts, PN_MAX_RUNNING - n_decode);
    if (!n)
        return;
    int most = prompts[0]->n_batch > n_decode ? prompts[0]->n_batch - n_decode : 1;
    int left = pn_pace_allowance(&s->pace, n_decode, n, most);
    int oldest = n > 1 ? (left + 3) / 4 : left;
    left -= oldest;
    for (int done = 1; done < n && left > 0; done++) {
        int best = done;
        for (int i = done + 1; i < n; i++)
            if (pending(prompts[i]) < pending(prompts[best]))
                best = i;
        struct pn_request *r = prompts[best];
        prompts[best] = prompts[done];
        left -= add_slice(s, r, left);
    }
    add_slice(s, prompts[0], oldest + left);
}

/* ---- results ---- */

/* Number of values in a row of the step's result. */
static size_t row_size(const struct pn_sched *s)
{
    return s->result == PN_RESULT_IDS ? 1 : (size_t)s->runner->model->hp.n_vocab;
}

/* Draws a token that the grammar allows. */
static pantry_status draw(struct pn_request *r, float *logits, int32_t *id, struct pantry_error *err)
{
    struct pn_mask mask;
    bool masked;
    pantry_status status = pn_guide_mask(&r->guide, &mask, &masked, err);
    if (status)
        return status;
    *id = pn_sampler_choose_from(&r->sampler, masked ? &mask : NULL, logits, r->seq.ids, r->seq.n_ids);
    while (!masked && *id >= 0 && logits[*id] > -INFINITY && !pn_guide_allows(&r->guide, *id)) {
        logits[*id] = -INFINITY;
        *id = pn_sampler_choose(&r->sampler, logits, r->seq.ids, r->seq.n_ids);
    }
    return PANTRY_OK;
}

/* `result` holds the logits of r's token, or its id. -1: all logits are NaN. */
static pantry_status next_id(struct pn_sched *s, struct pn_request *r, float *result, int32_t *id,
                             struct pantry_error *err)
{
    *id = pn_request_forced(r);
    if (s->result == PN_RESULT_IDS) {
        *id = *id >= 0 ? *id : (int32_t)*result;
        return PANTRY_OK;
    }
    pn_logprobs_keep(&r->logprobs, result);
    if (*id < 0 && pn_guide_opens(&r->guide, result, s->runner->model->hp.n_vocab))
        *id = r->guide.opens;
    pantry_status status = *id < 0 ? draw(r, result, id, err) : PANTRY_OK;
    pn_logprobs_take(&r->logprobs, *id);
    return status;
}

/* Adds a token to the answer. False: the request has ended. */
static bool append(struct pn_sched *s, struct pn_request *r, int32_t id)
{
    struct pantry_error err;
    struct pn_seq *q = &r->seq;
    if (!r->ignore_eos && r->tokenizer && pn_tokenizer_is_eog(r->tokenizer, id)) {
        r->stats.stop = PANTRY_STOP_END;
        finish(s, r, PANTRY_OK, NULL);
        return false;
    }
    r->stats.n_generated++;
    pantry_status status = pn_request_emit(r, id, &err);
    if (!status)
        status = pn_request_took(r, id, &err);
    if (!status && !r->stats.stop && (r->stats.n_generated == r->max_tokens || q->n_ids == q->n_context))
        r->stats.stop = PANTRY_STOP_LENGTH;
    if (!status && !r->stats.stop) {
        q->keys[q->n_ids] = id;
        q->ids[q->n_ids++] = id;
        status = pn_request_look_ahead(r, q->n_ids, &err);
    }
    if (status || r->stats.stop)
        finish(s, r, status, &err);
    return !status && !r->stats.stop;
}

/* The next token, and those that are forced after it: they are read together in the next step. */
static void choose(struct pn_sched *s, struct pn_request *r, float *result)
{
    struct pantry_error err;
    int32_t id;
    pantry_status status = next_id(s, r, result, &id, &err);
    if (!status && id < 0)
        status = pn_fail(&err, PANTRY_INTERNAL, "all logits of the model are NaN");
    if (status) {
        finish(s, r, status, &err);
        return;
    }
    if (!r->first_token)
        r->first_token = pn_clock_ns();
    while (append(s, r, id) && pn_request_has_room(r) && (id = pn_request_forced(r)) >= 0)
        pn_logprobs_skip(&r->logprobs);
}

/* Adds a prompt to the tree now and then while it is read, where a younger one waits, and at its end. Pages that
 * windows need are kept at the last two only. */
static void keep_prompt(struct pn_sched *s, struct pn_request *r)
{
    struct pn_seq *q = &r->seq;
    bool awaited = r->boundary > r->kept && q->n_past >= r->boundary;
    bool end = q->n_past >= r->n_prompt - (s->runner->states ? 1 : 0) && r->kept < r->n_prompt - 1;
    if (!awaited && !end && q->n_past - r->kept < (r->n_batch < KEEP_INTERVAL ? r->n_batch : KEEP_INTERVAL))
        return;
    pn_seq_keep(q, awaited || (end && s->memory.pool->n_groups > 1));
    r->kept = q->n_past;
}

/* Delivers the rows of the result, which are in the order of the step's outputs. */
static void deliver(struct pn_sched *s)
{
    const struct pn_batch *b = &s->step.batch;
    float *row = s->rows;
    for (int i = 0; i < b->n_seqs; i++) {
        struct pn_request *r = s->in_step[i];
        bool has_output = b->seqs[i].n == pending(r);
        pn_seq_advance(&r->seq, b->seqs[i].n);
        if (r->stats.n_generated) {
            r->n_steps++;
            r->cache_bytes += pn_kv_step_bytes(s->memory.pool, &s->runner->model->graph, r->seq.n_past);
        } else {
            keep_prompt(s, r);
            atomic_store(&r->prompt_read, r->seq.n_past);
        }
        if (has_output) {
            choose(s, r, row);
            row += row_size(s);
        }
    }
}

static void fail_all(struct pn_sched *s, pantry_status status, const struct pantry_error *err)
{
    for (int i = 0; i < s->step.batch.n_seqs; i++)
        finish(s, s->in_step[i], status, err);
}

/* ---- running a step ---- */

/* If all requests want the likeliest token, the device chooses it. Only in steps of few tokens: the logits are then in
 * scratch, and a plan for many tokens would need a lot of it. */
static enum pn_result result_of(const struct pn_sched *s)
{
    enum { MOST_TOKENS = 128 };
    const struct pn_batch *b = &s->step.batch;
    if (pn_step_is_lead(&s->step))
        return PN_RESULT_SHOWN;
    bool greedy = b->n_tokens <= MOST_TOKENS;
    for (int i = 0; i < b->n_seqs && greedy; i++)
        greedy = pn_sampler_is_greedy(&s->in_step[i]->sampler) && !s->in_step[i]->logprobs.logits &&
                 pn_guide_is_free(&s->in_step[i]->guide);
    return greedy ? PN_RESULT_IDS : PN_RESULT_LOGITS;
}

/* Makes room for the results of `n_rows` outputs. Doubles it, so that steps seldom allocate. */
static pantry_status reserve_rows(struct pn_sched *s, int n_rows, struct pantry_error *err)
{
    size_t wanted = (size_t)n_rows * row_size(s), most = (size_t)PN_MAX_RUNNING * row_size(s);
    if (wanted <= s->n_values)
        return PANTRY_OK;
    size_t n = n_rows > 1 ? 2 * wanted : wanted;
    n = n > most ? most : n;
    free(s->rows);
    s->rows = malloc(n * sizeof *s->rows);
    s->n_values = s->rows ? n : 0;
    return s->rows ? PANTRY_OK : pn_no_memory(err, "logits");
}

/* The most of the step's first n tokens that cut no picture; 0: none. */
static int whole_pictures(const struct pn_sched *s, int n)
{
    const struct pn_batch *b = &s->step.batch;
    for (int i = 0; i < b->n_seqs; i++) {
        const struct pn_batch_seq *q = &b->seqs[i];
        const struct pn_pictures *p = s->in_step[i]->pictures;
        if (!p || q->start >= n || q->start + q->n <= n)
            continue;
        int part = pn_pictures_whole(p, q->past, n - q->start);
        return q->start + part <= n ? q->start + part : q->start;
    }
    return n;
}

/* Frees memory that only saves time, or else shortens the step; later steps run the rest. False: neither is possible.
 */
static bool make_step_cheaper(struct pn_sched *s)
{
    int n = s->step.batch.n_tokens, before = n;
    if (pn_seq_memory_shrink(&s->memory))
        return true;
    if (n > 1 && (n = whole_pictures(s, n / 2)) > 0)
        pn_step_cut(&s->step, n);
    return n > 0 && n < before;
}

/* Prepares the step, so that planning does not count as time of the step. */
static pantry_status prepare(struct pn_sched *s, struct pantry_error *err)
{
    pantry_status status;
    do {
        s->result = result_of(s);
        status = reserve_rows(s, s->step.batch.n_outputs, err);
        if (!status)
            status = pn_runner_prepare(s->runner, s->result, s->step.batch.n_tokens, err);
    } while (status == PANTRY_NO_MEMORY && make_step_cheaper(s));
    s->step.results[0] = s->rows;
    return status;
}

bool pn_sched_step(struct pn_sched *s)
{
    struct pantry_error err;
    s->capacity = 0;
    s->starved = false;
    end_cancelled(s);
    bool more = s->disk && pn_disk_step(s->disk, s->active != NULL);
    pn_step_begin(&s->step, s->runner, s->memory.pool);
    add_decodes(s);
    int n_decode = s->step.batch.n_tokens;
    add_prompts(s);
    const struct pn_batch *b = &s->step.batch;
    if (!b->n_seqs) {
        if (!s->active)
            pn_seq_memory_settle(&s->memory);
        return more;
    }
    pantry_status status = s->starved ? pn_no_memory(&err, "pictures") : prepare(s, &err);
    pn_step_settle(&s->step);
    uint64_t began = pn_clock_ns();
    if (!status)
        status = pn_runner_step(s->runner, s->result, b, &err);
    if (status) {
        fail_all(s, status, &err);
        return true;
    }
    n_decode = n_decode < b->n_tokens ? n_decode : b->n_tokens;
    pn_pace_learn(&s->pace, n_decode, b->n_tokens - n_decode, pn_clock_ns() - began);
    s->stats.steps++;
    s->stats.tokens += (uint64_t)b->n_tokens;
    s->stats.prompt_tokens += (uint64_t)(b->n_tokens - n_decode);
    deliver(s);
    return true;
}
