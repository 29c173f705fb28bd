/* The scheduler with many requests at once: keys separate them, requests over the maximum wait, slow readers are
 * preempted, preempted requests continue unchanged, and other threads can cancel sessions. The tests count steps and
 * never measure time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/handle.h"
#include "engine/sched_impl.h"
#include "pantry.h"
#include "hold.h"
#include "public.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { CONTEXT = 256, VOCAB = HYBRID_VOCAB };

static pantry_model *load_tiny(void)
{
    return load_on_ref(tiny_model("llama", GW_F32, "scheduler.gguf"));
}

static void random_ids(uint64_t seed, int32_t *ids, int n)
{
    struct pn_rng rng = {seed};
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % VOCAB);
}

/* Sampled, so that a wrong logit or a wrong random number shows. */
static struct pantry_request_options options(const int32_t *ids, int n, int max_tokens, const char *key)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = (size_t)n;
    o.max_tokens = max_tokens;
    o.n_context = CONTEXT;
    o.ignore_eos = true;
    o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 3};
    o.cache_key = key;
    return o;
}

static void finish(pantry_request *r, struct answer *a)
{
    read_all(r, a);
    pantry_request_free(r);
}

static struct pn_sched_stats stats_of(pantry_model *model)
{
    struct pn_sched_stats s;
    assert_int_equal(pn_sched_stats(model->sched, &s, NULL), PANTRY_OK);
    return s;
}

static void nothing_runs(pantry_model *model)
{
    struct pn_sched_stats s = stats_of(model);
    assert_int_equal(s.n_requests, 0);
    assert_int_equal(s.states_used, s.states_in_tree);
    if (!model->runner->states)
        assert_int_equal(s.pages_used, s.pages_in_tree);
}

/* ---- keys ---- */

/* The same prompt with another key is read again in full; with the same key it is not. */
static void keys_keep_requests_apart(void **state)
{
    (void)state;
    enum { N = 100 };
    static const char *const keys[] = {NULL, "", "a", "b", "session 0", "session 1", "/a", "/"};
    static const char *const files[] = {NULL, "granitehybrid"};
    int32_t ids[N];
    random_ids(1, ids, N);
    for (size_t f = 0; f < COUNT(files); f++) {
        pantry_model *model = files[f] ? load_on_ref(tiny_hybrid(files[f])) : load_tiny();
        pantry_session *sessions[2];
        struct answer first, a;
        struct pantry_generate_options g = pantry_generate_options_default();
        struct pantry_stats stats = {.size = sizeof stats};
        g.max_tokens = 5;
        g.ignore_eos = true;
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pantry_session_new(model, NULL, &sessions[i], NULL), PANTRY_OK);
            assert_int_equal(pantry_generate(sessions[i], ids, N, &g, &stats, NULL), PANTRY_OK);
            assert_int_equal(stats.n_cached, 0);
        }
        for (size_t i = 0; i < COUNT(keys) + 2; i++) {
            /* also with the sessions' own keys */
            const char *key = i < COUNT(keys) ? keys[i] : sessions[i - COUNT(keys)]->key;
            if (i >= COUNT(keys) && (strcmp(key, keys[4]) == 0 || strcmp(key, keys[5]) == 0))
                continue;
            struct pantry_request_options o = options(ids, N, 5, key);
            uint64_t before = stats_of(model).tokens;
            run_request(model, &o, i ? &a : &first);
            assert_int_equal((i ? &a : &first)->stats.n_cached, 0);
            assert_int_equal(stats_of(model).tokens - before, N + 4); /* the last of 5 tokens is not run */
            if (i)
                assert_memory_equal(a.ids, first.ids, 5 * sizeof *a.ids);
        }
        for (size_t i = 0; i < COUNT(keys); i++) {
            struct pantry_request_options o = options(ids, N, 5, keys[i]);
            run_request(model, &o, &a);
            assert_int_equal(a.stats.n_cached, N - 1);
            assert_memory_equal(a.ids, first.ids, 5 * sizeof *a.ids);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pantry_generate(sessions[i], ids, N, &g, &stats, NULL), PANTRY_OK);
            assert_int_equal(stats.n_cached, N - 1);
            pantry_session_free(sessions[i]);
        }
        nothing_runs(model);
        pantry_model_free(model);
    }
}

/* Simultaneous requests: one waits for an older one with the same prefix only if their keys are equal. Otherwise both
 * are read in the first step. */
static void keys_keep_prompts_apart_while_they_are_read(void **state)
{
    (void)state;
    enum { N = 200 };
    int32_t ids[N];
    struct answer a, b;
    random_ids(2, ids, N);
    for (int same = 0; same < 2; same++) {
        pantry_model *model = load_tiny();
        struct pantry_request_options o = options(ids, N, 5, "a");
        pantry_request *first, *second;
        struct hold hold;
        hold_engine(&hold, model);
        first = submit(model, &o);
        o.cache_key = same ? "a" : "b";
        second = submit(model, &o);
        release_engine(&hold);
        finish(first, &a);
        finish(second, &b);
        assert_memory_equal(a.ids, b.ids, 5 * sizeof *a.ids);
        assert_int_equal(b.stats.n_cached, same ? N - 1 : 0);
        assert_int_equal(stats_of(model).tokens, same ? N + 4 + 1 + 4 : 2 * (N + 4));
        assert_int_equal(stats_of(model).steps, same ? 6 : 5); /* a prompt or two, and four tokens of both */
        nothing_runs(model);
        pantry_model_free(model);
    }
}

/* Layers with windows of 8 tokens keep little of a prompt, but pages that others wait for are kept where they diverge.
 */
static void windows_are_kept_where_prompts_diverge(void **state)
{
    (void)state;
    enum { TOGETHER = 8, SHARED = 700, N = SHARED + 12 };
    static int32_t ids[TOGETHER][N];
    pantry_model *model = load_on_ref(tiny_model("gemma3", GW_F32, "part.gguf"));
    pantry_request *r[TOGETHER];
    struct answer together[TOGETHER], alone;
    struct hold hold;
    hold_engine(&hold, model);
    for (int i = 0; i < TOGETHER; i++) {
        random_ids(80, ids[i], SHARED);
        random_ids(81 + (uint64_t)i, ids[i] + SHARED, N - SHARED);
        ids[i][SHARED] = i;
        struct pantry_request_options o = options(ids[i], N, 6, NULL);
        o.n_context = N + 6;
        o.n_batch = 100;
        r[i] = submit(model, &o);
    }
    release_engine(&hold);
    for (int i = 0; i < TOGETHER; i++)
        finish(r[i], &together[i]);
    assert_int_equal(stats_of(model).prompt_tokens, SHARED + TOGETHER * (N - SHARED));
    for (int i = 0; i < TOGETHER; i += 3) {
        struct pantry_request_options o = options(ids[i], N, 6, "alone");
        o.n_context = N + 6;
        run_request(model, &o, &alone);
        assert_memory_equal(together[i].ids, alone.ids, 6 * sizeof *alone.ids);
    }
    pantry_model_free(model);
}

/* ---- more requests than can run ---- */

enum { MANY = PN_MAX_RUNNING + 40 };

static void many_requests_are_all_answered(void **state)
{
    (void)state;
    static int32_t ids[MANY][4];
    static pantry_request *r[MANY];
    static struct answer answers[MANY];
    struct answer alone;
    pantry_model *model = load_tiny();
    for (int i = 0; i < MANY; i++) {
        random_ids(300 + (uint64_t)i, ids[i], 4);
        struct pantry_request_options o = options(ids[i], 4, 6, NULL);
        r[i] = submit(model, &o);
    }
    for (int i = MANY - 1; i >= 0; i--)
        finish(r[i], &answers[i]);
    for (int i = 0; i < MANY; i += 7) {
        struct pantry_request_options o = options(ids[i], 4, 6, "alone");
        run_request(model, &o, &alone);
        assert_int_equal(answers[i].n, 6);
        assert_memory_equal(answers[i].ids, alone.ids, 6 * sizeof *alone.ids);
    }
    nothing_runs(model);
    pantry_model_free(model);
}

struct running {
    const struct pn_sched *sched;
    int n;
};

static pantry_status count_running(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    struct running *c = user;
    (void)memory;
    (void)err;
    for (const struct pn_request *r = c->sched->active; r; r = r->next)
        c->n += r->phase == PN_REQUEST_RUNNING;
    return PANTRY_OK;
}

/* The maximum number of requests waits for readers that do not read. Others are still answered, and these too once they
 * are read. */
static void slow_readers_are_preempted(void **state)
{
    (void)state;
    enum { N_ANSWER = PN_MAX_EVENTS + 30 };
    static int32_t ids[MANY][4];
    static pantry_request *slow[MANY];
    static struct answer a, alone;
    pantry_model *model = load_tiny();
    for (int i = 0; i < MANY; i++) {
        random_ids(700 + (uint64_t)i, ids[i], 4);
        struct pantry_request_options o = options(ids[i], 4, N_ANSWER, NULL);
        slow[i] = submit(model, &o);
    }
    struct pantry_request_options o = options(ids[5], 4, N_ANSWER, "quick");
    run_request(model, &o, &a);
    assert_int_equal(a.n, N_ANSWER);
    struct running running = {.sched = model->sched};
    pn_sched_call(model->sched, count_running, &running, NULL);
    assert_in_range(running.n, 1, PN_MAX_RUNNING);
    for (int i = 0; i < MANY; i++) {
        finish(slow[i], &a);
        assert_int_equal(a.n, N_ANSWER);
        if (i % 50)
            continue;
        o = options(ids[i], 4, N_ANSWER, "alone");
        run_request(model, &o, &alone);
        assert_memory_equal(a.ids, alone.ids, N_ANSWER * sizeof *a.ids);
    }
    nothing_runs(model);
    pantry_model_free(model);
}

/* The only state belongs to a request whose reader does not read. */
static void slow_readers_give_up_states(void **state)
{
    (void)state;
    enum { N_ANSWER = PN_MAX_EVENTS + 30 };
    int32_t ids[40];
    static struct answer a, slow_answer, alone;
    pantry_model *model = load_on_ref(tiny_hybrid("mamba2"));
    model->runner->states->slots.n = 1;
    random_ids(60, ids, 40);
    struct pantry_request_options o = options(ids, 20, N_ANSWER, NULL);
    pantry_request *slow = submit(model, &o);
    struct pantry_request_options quick = options(ids + 20, 20, N_ANSWER, NULL);
    run_request(model, &quick, &a);
    assert_int_equal(a.n, N_ANSWER);
    finish(slow, &slow_answer);
    run_request(model, &o, &alone);
    assert_memory_equal(slow_answer.ids, alone.ids, N_ANSWER * sizeof *alone.ids);
    nothing_runs(model);
    pantry_model_free(model);
}

/* ---- memory is short ---- */

/* Two requests start; the younger gives its pages back, starts again, and generates what it generates alone. */
static void requests_start_again(void **state)
{
    (void)state;
    enum { N = 40, N_ANSWER = 180, PAGES = 9 };
    static const char *const files[] = {NULL, "granitehybrid", "mamba2"};
    int32_t ids[2][N];
    static struct answer together[2], alone;
    for (size_t f = 0; f < COUNT(files); f++) {
        pantry_model *model = files[f] ? load_on_ref(tiny_hybrid(files[f])) : load_tiny();
        pantry_request *r[2];
        struct pn_sched *sched;
        assert_int_equal(pn_model_sched(model, NULL, &sched, NULL), PANTRY_OK);
        pn_sched_pool(sched)->groups[0].slots.n = PAGES; /* 220 tokens need seven */
        for (int i = 0; i < 2; i++) {
            random_ids(20 + (uint64_t)i, ids[i], N);
            struct pantry_request_options o = options(ids[i], N, N_ANSWER, NULL);
            o.n_context = 240;
            r[i] = submit(model, &o);
        }
        /* Both readers must read, since otherwise their requests would wait. */
        bool ended[2] = {false, false};
        together[0].n = together[1].n = 0;
        while (!ended[0] || !ended[1])
            for (int i = 0; i < 2; i++) {
                const struct pantry_event *e = ended[i] ? NULL : pantry_request_next(r[i], 1);
                if (!e)
                    continue;
                if (e->kind == PANTRY_EVENT_TOKEN && e->token->id >= 0)
                    together[i].ids[together[i].n++] = e->token->id;
                if ((ended[i] = e->kind == PANTRY_EVENT_END)) {
                    together[i].end = *e;
                    together[i].stats = *e->stats;
                }
            }
        assert_true(stats_of(model).prompt_tokens > 2 * N); /* something was read again */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(together[i].end.status, PANTRY_OK);
            assert_int_equal(together[i].stats.n_generated, N_ANSWER);
            pantry_request_free(r[i]);
            struct pantry_request_options o = options(ids[i], N, N_ANSWER, "alone");
            o.n_context = 240;
            run_request(model, &o, &alone);
            assert_int_equal(together[i].n, N_ANSWER);
            assert_memory_equal(together[i].ids, alone.ids, N_ANSWER * sizeof *alone.ids);
        }
        nothing_runs(model);
        pantry_model_free(model);
    }
}

/* Two requests, the second of which arrives after some steps of the first. */
struct late {
    pantry_model *model;
    struct pantry_request_options options[2];
    pantry_request *requests[2];
    bool runs; /* the second, one step after it arrived */
};

/* Runs on the engine's thread, so that the order of steps is known. */
static pantry_status run_some_then_another(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    struct late *late = user;
    struct pn_sched *s = late->model->sched;
    pantry_status status = PANTRY_OK;
    (void)memory;
    for (int i = 0; i < 2 && !status; i++) {
        status = pantry_submit(late->model, &late->options[i], &late->requests[i], err);
        pthread_mutex_lock(&s->lock);
        *(i ? &s->active->next : &s->active) = s->arrivals;
        s->arrivals = NULL;
        pthread_mutex_unlock(&s->lock);
        for (int k = 0; k < (i ? 1 : 10) && !status; k++)
            status = pn_sched_step(s) ? PANTRY_OK : PANTRY_INTERNAL;
    }
    late->runs = !status && s->active->next->phase == PN_REQUEST_RUNNING;
    return status;
}

/* Whether a prompt of `n` tokens starts next to a request of two pages if there are n_pages. */
static bool starts_beside(int n_pages, int n)
{
    enum { N = 40, N_ANSWER = 20 }; /* so few that they need not be read */
    int32_t ids[2][MAX_ANSWER];
    static struct answer answer;
    struct late late = {.model = load_tiny()};
    struct pn_sched *sched;
    assert_int_equal(pn_model_sched(late.model, NULL, &sched, NULL), PANTRY_OK);
    pn_sched_pool(sched)->groups[0].slots.n = n_pages;
    for (int i = 0; i < 2; i++) {
        int length = i ? n : N;
        random_ids(30 + (uint64_t)i, ids[i], length);
        late.options[i] = options(ids[i], length, N_ANSWER, i ? "second" : "first");
        late.options[i].n_context = length + N_ANSWER;
    }
    struct hold hold;
    hold_engine(&hold, late.model); /* its thread runs */
    release_engine(&hold);
    struct pantry_error err;
    if (pn_sched_call(sched, run_some_then_another, &late, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) {
        finish(late.requests[i], &answer);
        assert_int_equal(answer.n, N_ANSWER);
    }
    nothing_runs(late.model);
    pantry_model_free(late.model);
    return late.runs;
}

static void requests_start_where_they_fit(void **state)
{
    (void)state;
    static const int lengths[] = {20, PN_PAGE_TOKENS - 1, PN_PAGE_TOKENS, 2 * PN_PAGE_TOKENS - 1, 2 * PN_PAGE_TOKENS};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        /* the pages of the first, those of the second with its next token, and one more for the first to continue */
        int needed = 2 + lengths[i] / PN_PAGE_TOKENS + 1 + 1;
        assert_false(starts_beside(needed - 1, lengths[i]));
        assert_true(starts_beside(needed, lengths[i]));
    }
}

/* A prompt is answered even if the tree holds all pages, including its own. */
static void full_trees_block_no_request(void **state)
{
    (void)state;
    enum { N = 70, N_ANSWER = 6, PAGES = 3 };
    int32_t ids[N];
    struct answer first, a;
    pantry_model *model = load_tiny();
    struct pn_sched *sched;
    assert_int_equal(pn_model_sched(model, NULL, &sched, NULL), PANTRY_OK);
    pn_sched_pool(sched)->groups[0].slots.n = PAGES;
    random_ids(30, ids, N);
    struct pantry_request_options o = options(ids, N, N_ANSWER, NULL);
    o.n_context = N + N_ANSWER;
    run_request(model, &o, &first);
    assert_int_equal(stats_of(model).pages_in_tree, PAGES);
    for (int i = 0; i < 3; i++) {
        run_request(model, &o, &a);
        assert_int_equal(a.stats.n_cached, 64); /* the third page could not be copied */
        assert_memory_equal(a.ids, first.ids, N_ANSWER * sizeof *a.ids);
    }
    nothing_runs(model);
    pantry_model_free(model);
}

/* ---- greedy ---- */

static bool has_run(const pantry_model *model, enum pn_result result)
{
    bool any = false;
    for (int i = 0; i < PN_N_BUCKETS; i++)
        any |= model->runner->buckets[result][i].in_use;
    return any;
}

/* If no request needs logits, the device chooses the tokens: the same as chosen from logits, next to a sampled request.
 */
static void devices_choose_the_likeliest(void **state)
{
    (void)state;
    enum { N = 40, N_ANSWER = 30 };
    int32_t ids[N];
    struct answer alone, beside, penalized, sampled;
    random_ids(60, ids, N);
    struct pantry_request_options o = options(ids, N, N_ANSWER, "a"), other = options(ids, N, N_ANSWER, "b");
    o.sampling.temperature = 0;
    pantry_model *model = load_tiny();
    run_request(model, &o, &alone);
    assert_true(has_run(model, PN_RESULT_IDS) && !has_run(model, PN_RESULT_LOGITS));
    pantry_model_free(model);
    model = load_tiny();
    struct hold hold;
    hold_engine(&hold, model);
    pantry_request *a = submit(model, &o), *b = submit(model, &other);
    release_engine(&hold);
    finish(a, &beside);
    finish(b, &sampled);
    assert_true(has_run(model, PN_RESULT_LOGITS) && !has_run(model, PN_RESULT_IDS));
    assert_memory_equal(beside.ids, alone.ids, N_ANSWER * sizeof *ids);
    assert_memory_not_equal(sampled.ids, alone.ids, N_ANSWER * sizeof *ids);
    o.sampling.presence_penalty = 100;
    o.sampling.penalty_last_n = -1;
    o.cache_key = "c";
    run_request(model, &o, &penalized);
    assert_false(has_run(model, PN_RESULT_IDS));
    assert_memory_not_equal(penalized.ids, alone.ids, N_ANSWER * sizeof *ids);
    pantry_model_free(model);
}

/* ---- scratch ---- */

static void look_at_much(struct pn_os_memory *out)
{
    *out = (struct pn_os_memory){.total = (uint64_t)1 << 40,
                                 .available = (uint64_t)1 << 40,
                                 .group_limit = UINT64_MAX,
                                 .group_left = UINT64_MAX,
                                 .addresses = UINT64_MAX};
}

enum { N_SHORT = 3, N_PROMPT_SHORT = 150, N_ANSWER_SHORT = 8 };

/* Answers three prompts with `limit` bytes of scratch (0: any number). Returns the number of steps; -1: at least one
 * failed for lack of memory, with an error that says so. */
static int answer_with_scratch(uint64_t limit, struct answer *out)
{
    static int32_t ids[N_SHORT][N_PROMPT_SHORT];
    struct pn_memory *all = pn_memory_of_process(), own = {.look = look_at_much};
    pantry_model *model = load_tiny();
    struct pn_runner *runner = model->runner;
    pantry_request *r[N_SHORT];
    struct hold hold;
    bool short_of = false;
    pthread_mutex_init(&own.lock, NULL);
    pn_memory_add_weights(&own, runner->model->size_bytes, runner->model->step_bytes, "a model", NULL);
    if (limit)
        pn_memory_set_limit(&own, own.weight_bytes + limit);
    runner->budget = &own;
    hold_engine(&hold, model);
    for (int i = 0; i < N_SHORT; i++) {
        random_ids(400 + (uint64_t)i, ids[i], N_PROMPT_SHORT);
        struct pantry_request_options o = options(ids[i], N_PROMPT_SHORT, N_ANSWER_SHORT, NULL);
        r[i] = submit(model, &o);
    }
    release_engine(&hold);
    for (int i = 0; i < N_SHORT; i++) {
        const struct pantry_event *event;
        out[i].n = 0;
        while ((event = pantry_request_next(r[i], -1))->kind == PANTRY_EVENT_TOKEN)
            out[i].ids[out[i].n++] = event->token->id;
        if (event->status) {
            assert_int_equal(event->status, PANTRY_NO_MEMORY);
            assert_non_null(strstr(event->message, "a step of 1 tokens needs"));
            short_of = true;
        }
        pantry_request_free(r[i]);
    }
    int steps = (int)stats_of(model).steps;
    nothing_runs(model);
    runner->budget = &own;
    uint64_t weights = runner->model->size_bytes, step_bytes = runner->model->step_bytes;
    pantry_model_free(model);
    pn_memory_remove_weights(all, weights, step_bytes);
    assert_true(own.taken == 0 && own.weight_bytes == 0);
    pthread_mutex_destroy(&own.lock);
    return short_of ? -1 : steps;
}

/* If the scratch of a step does not fit, the step gets shorter, and the answers stay the same. It is an error only if a
 * single token does not fit. */
static void steps_fit_the_scratch(void **state)
{
    (void)state;
    struct answer ample[N_SHORT], a[N_SHORT];
    int least = answer_with_scratch(0, ample), n_longer = 0, steps;
    uint64_t limit = (uint64_t)1 << 22;
    for (; (steps = answer_with_scratch(limit, a)) >= 0; limit /= 2) {
        n_longer += steps > least;
        for (int i = 0; i < N_SHORT; i++) {
            assert_int_equal(a[i].n, N_ANSWER_SHORT);
            assert_memory_equal(a[i].ids, ample[i].ids, N_ANSWER_SHORT * sizeof *a[i].ids);
        }
    }
    assert_true(n_longer >= 2);
    assert_in_range(limit, 1, 1 << 20);
}

/* ---- cancelling ---- */

struct talk {
    pantry_cancel *cancel;
    int n, cancel_at;
    pthread_t thread;
};

static void *set_cancel(void *user)
{
    pantry_cancel_set(user);
    return NULL;
}

/* Lets another thread cancel at a given token. */
static bool count(void *user, const struct pantry_token *token)
{
    struct talk *t = user;
    t->n += token->id >= 0;
    if (t->n == t->cancel_at) {
        pthread_create(&t->thread, NULL, set_cancel, t->cancel);
        pthread_join(t->thread, NULL);
    }
    return true;
}

static void sessions_are_cancelled_from_other_threads(void **state)
{
    (void)state;
    int32_t ids[40];
    pantry_model *model = load_tiny();
    struct pantry_session_options wanted = {.size = sizeof wanted,
                                            .n_context = 40000}; /* too long for the test to wait for */
    struct talk t = {.cancel = pantry_cancel_new(), .cancel_at = 3};
    pantry_session *session;
    struct pantry_stats stats = {.size = sizeof stats};
    random_ids(40, ids, 40);
    assert_int_equal(pantry_session_new(model, &wanted, &session, NULL), PANTRY_OK);
    struct pantry_generate_options g = pantry_generate_options_default();
    g.ignore_eos = true;
    g.callback = count;
    g.user = &t;
    g.cancel = t.cancel;
    for (int i = 0; i < 3; i++) {
        t.n = 0;
        pantry_cancel_clear(t.cancel);
        assert_int_equal(pantry_generate(session, ids, 40, &g, &stats, NULL), PANTRY_OK);
        assert_int_equal(stats.stop, PANTRY_STOP_CANCELLED);
        assert_int_equal(t.n, stats.n_generated);
        assert_in_range(t.n, 3, 3 + PN_MAX_EVENTS + 2); /* the queue at that time, and a step */
        assert_int_equal(pantry_session_n_past(session), 40 + t.n - 1);
        assert_int_equal(stats.n_cached, i ? 39 : 0);
    }
    t.n = t.cancel_at = 0;
    assert_true(pantry_cancel_is_set(t.cancel)); /* it stays set */
    assert_int_equal(pantry_generate(session, ids, 40, &g, &stats, NULL), PANTRY_OK);
    assert_int_equal(stats.stop, PANTRY_STOP_CANCELLED);
    assert_int_equal(t.n, 0);
    pantry_cancel_clear(t.cancel);
    g.max_tokens = 20; /* the next one is not cancelled */
    assert_int_equal(pantry_generate(session, ids, 40, &g, &stats, NULL), PANTRY_OK);
    assert_int_equal(stats.stop, PANTRY_STOP_LENGTH);
    assert_int_equal(t.n, 20);
    pantry_cancel_free(t.cancel);
    pantry_session_free(session);
    nothing_runs(model);
    pantry_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_kept_where_prompts_diverge),
        cmocka_unit_test(keys_keep_requests_apart),
        cmocka_unit_test(keys_keep_prompts_apart_while_they_are_read),
        cmocka_unit_test(many_requests_are_all_answered),
        cmocka_unit_test(slow_readers_are_preempted),
        cmocka_unit_test(slow_readers_give_up_states),
        cmocka_unit_test(requests_start_again),
        cmocka_unit_test(requests_start_where_they_fit),
        cmocka_unit_test(full_trees_block_no_request),
        cmocka_unit_test(devices_choose_the_likeliest),
        cmocka_unit_test(steps_fit_the_scratch),
        cmocka_unit_test(sessions_are_cancelled_from_other_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
