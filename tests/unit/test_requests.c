/* Requests: many together get what each gets alone, even if some are cancelled, and memory is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/handle.h"
#include "pantry.h"
#include "hold.h"
#include "public.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { CONTEXT = 4096, VOCAB = HYBRID_VOCAB };

static pantry_model *load(const char *path, const char *device)
{
    struct pantry_error error;
    pantry_model *model;
    if (pantry_model_load(path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 1},
                          &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static struct pantry_request_options options(const int32_t *ids, int n, int max_tokens)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = (size_t)n;
    o.max_tokens = max_tokens;
    o.n_context = CONTEXT;
    o.ignore_eos = true;
    o.sampling.temperature = 0;
    return o;
}

/* When nothing runs, only the prefix tree holds pages, and it gives all of them back. */
static pantry_status clear_tree(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)user;
    (void)err;
    pn_tree_clear(memory->tree);
    return PANTRY_OK;
}

static void nothing_is_left(pantry_model *model)
{
    struct pn_sched_stats s;
    assert_int_equal(pn_sched_stats(model->sched, &s, NULL), PANTRY_OK);
    assert_int_equal(s.n_requests, 0);
    assert_int_equal(s.states_used, s.states_in_tree);
    if (!model->runner->states && !s.window_pages_used)
        assert_int_equal(s.pages_used, s.pages_in_tree);
    pn_sched_call(model->sched, clear_tree, NULL, NULL);
    pn_sched_stats(model->sched, &s, NULL);
    assert_int_equal(s.pages_used, 0);
    assert_int_equal(s.window_pages_used, 0);
    assert_int_equal(s.states_used, 0);
}

static uint64_t prompt_tokens(pantry_model *model)
{
    struct pn_sched_stats s;
    pn_sched_stats(model->sched, &s, NULL);
    return s.prompt_tokens;
}

static uint32_t below(struct pn_rng *rng, uint32_t n)
{
    return (uint32_t)(pn_rng_u64(rng) % n);
}

static void random_ids(uint64_t seed, int32_t *ids, int n)
{
    struct pn_rng rng = {seed};
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)below(&rng, VOCAB);
}

/* ---- many at once ---- */

enum { N_THREADS = 16, N_EACH = 4, MAX_PROMPT = 300 };

struct client {
    pantry_model *model;
    uint64_t seed;
    struct one {
        int32_t ids[MAX_PROMPT];
        int n, max_tokens, cancel_after; /* tokens; -1: never */
        bool greedy;
        struct answer answer;
    } all[N_EACH];
};

/* Prompts of four families share prefixes of random length. */
static void make(struct one *one, struct pn_rng *rng)
{
    int shared = (int)below(rng, MAX_PROMPT);
    one->n = 1 + (int)below(rng, MAX_PROMPT);
    random_ids(1000 + below(rng, 4), one->ids, MAX_PROMPT);
    if (shared < one->n)
        random_ids(pn_rng_u64(rng), one->ids + shared, one->n - shared);
    one->max_tokens = 1 + (int)below(rng, 60);
    one->greedy = below(rng, 3) != 0;
    one->cancel_after = below(rng, 4) == 0 ? (int)below(rng, 40) : -1;
}

static struct pantry_request_options options_of(const struct one *one, struct pn_rng *rng)
{
    struct pantry_request_options o = options(one->ids, one->n, one->max_tokens);
    o.n_batch = 1 + (int)below(rng, 200);
    if (one->greedy)
        return o;
    o.sampling = pantry_sampling_default();
    o.sampling.temperature = 0.1f + (float)below(rng, 20) / 10;
    o.sampling.top_k = (int)below(rng, 50);
    o.sampling.top_p = (float)(1 + below(rng, 10)) / 10;
    o.sampling.repeat_penalty = 1 + (float)below(rng, 5) / 10;
    o.sampling.seed = pn_rng_u64(rng);
    return o;
}

static void *client(void *user)
{
    struct client *c = user;
    struct pn_rng rng = {c->seed};
    pantry_request *requests[N_EACH];
    for (int i = 0; i < N_EACH; i++) {
        make(&c->all[i], &rng);
        struct pantry_request_options o = options_of(&c->all[i], &rng);
        if (pantry_submit(c->model, &o, &requests[i], NULL))
            return "a request was refused";
    }
    for (int i = 0; i < N_EACH; i++) {
        struct one *one = &c->all[i];
        struct answer *a = &one->answer;
        do {
            if (one->cancel_after >= 0 && a->n >= one->cancel_after)
                pantry_request_cancel(requests[i]);
            next_event(requests[i], a, -1);
            if (a->end.kind == PANTRY_EVENT_TOKEN && a->end.token->id >= 0)
                a->ids[a->n++] = a->end.token->id;
        } while (a->end.kind != PANTRY_EVENT_END);
        if (a->end.status || a->n != a->stats.n_generated)
            return "a request failed";
        pantry_request_free(requests[i]);
    }
    return NULL;
}

/* The two highest logits after the prompt and the first `n` tokens of its answer. */
static double margin(pantry_session *session, const struct one *one, const struct answer *a, int n)
{
    static int32_t ids[MAX_PROMPT + MAX_ANSWER];
    static float logits[(MAX_PROMPT + MAX_ANSWER) * TINY_VOCAB];
    double first = -INFINITY, second = -INFINITY;
    memcpy(ids, one->ids, (size_t)one->n * sizeof *ids);
    memcpy(ids + one->n, a->ids, (size_t)n * sizeof *ids);
    assert_int_equal(pantry_logits(session, ids, (size_t)(one->n + n), NULL, 0, logits, NULL), PANTRY_OK);
    const float *last = logits + (size_t)(one->n + n - 1) * TINY_VOCAB;
    for (int i = 0; i < TINY_VOCAB; i++)
        if ((double)last[i] > first) {
            second = first;
            first = (double)last[i];
        } else if ((double)last[i] > second) {
            second = (double)last[i];
        }
    return first - second;
}

static void equal_themselves_alone(const char *arch)
{
    static struct client clients[N_THREADS];
    pthread_t threads[N_THREADS];
    void *problem;
    int n_ties = 0, n_compared = 0;
    pantry_model *model = load(tiny_model(arch, GW_F16, "many.gguf"), "cpu");
    memset(clients, 0, sizeof clients);
    for (int i = 0; i < N_THREADS; i++) {
        clients[i].model = model;
        clients[i].seed = 100 + (uint64_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, client, &clients[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], &problem);
        if (problem)
            fail_msg("%s", (const char *)problem);
    }
    nothing_is_left(model);
    pantry_session *session;
    struct pantry_session_options context = {.size = sizeof context, .n_context = CONTEXT};
    assert_int_equal(pantry_session_new(model, &context, &session, NULL), PANTRY_OK);
    for (int i = 0; i < N_THREADS; i++)
        for (int k = 0; k < N_EACH; k++) {
            struct one *one = &clients[i].all[k];
            struct answer alone;
            char key[32];
            struct pantry_request_options o = options(one->ids, one->n, one->max_tokens);
            snprintf(key, sizeof key, "alone %d %d", i, k);
            o.cache_key = key;
            if (one->cancel_after < 0)
                assert_int_equal(one->answer.n, one->max_tokens);
            if (!one->greedy)
                continue;
            run_request(model, &o, &alone);
            assert_int_equal(alone.stats.n_cached, 0);
            int same = 0;
            while (same < one->answer.n && one->answer.ids[same] == alone.ids[same])
                same++;
            n_compared++;
            if (same == one->answer.n)
                continue;
            if (!(margin(session, one, &alone, same) < 1e-3))
                fail_msg("request %d of client %d differs at token %d", k, i, same);
            n_ties++;
        }
    print_message("  %s: %d greedy answers, %d of them other at a near tie\n", arch, n_compared, n_ties);
    assert_true(n_ties * 10 <= n_compared);
    pantry_session_free(session);
    nothing_is_left(model);
    pantry_model_free(model);
}

static void requests_together_equal_requests_alone(void **state)
{
    (void)state;
    equal_themselves_alone("llama");
    equal_themselves_alone("gemma3");
}

/* ---- shared prefixes ---- */

enum { N_TOGETHER = 8, TAIL = 10 };

/* Simultaneous requests read their common prefix once, and generate what they generate alone. */
static void read_together(pantry_model *model, int shared)
{
    static int32_t ids[N_TOGETHER][2048];
    struct answer together[N_TOGETHER], alone;
    pantry_request *r[N_TOGETHER];
    struct hold hold;
    uint64_t before = 0;
    hold_engine(&hold, model);
    for (int i = 0; i < N_TOGETHER; i++) {
        random_ids(5, ids[i], shared);
        random_ids(50 + (uint64_t)i, ids[i] + shared, TAIL);
        ids[i][shared] = i; /* they diverge exactly here */
        struct pantry_request_options o = options(ids[i], shared + TAIL, 6);
        r[i] = submit(model, &o);
    }
    release_engine(&hold);
    for (int i = 0; i < N_TOGETHER; i++) {
        read_all(r[i], &together[i]);
        pantry_request_free(r[i]);
    }
    uint64_t read = prompt_tokens(model) - before, one = (uint64_t)(shared + TAIL);
    if (read > one + one / 10)
        fail_msg("%llu tokens of prompts were read, one prompt has %llu", (unsigned long long)read,
                 (unsigned long long)one);
    for (int i = 0; i < N_TOGETHER; i += 3) {
        struct pantry_request_options o = options(ids[i], shared + TAIL, 6);
        o.cache_key = "alone";
        run_request(model, &o, &alone);
        assert_memory_equal(alone.ids, together[i].ids, 6 * sizeof *alone.ids);
    }
    /* Later, the same prefix with another end. */
    struct pantry_request_options o = options(ids[0], shared + TAIL, 6);
    ids[0][shared + TAIL - 1] = (ids[0][shared + TAIL - 1] + 1) % VOCAB;
    run_request(model, &o, &alone);
    assert_true(alone.stats.n_cached >= shared);
    nothing_is_left(model);
}

static void a_common_prefix_is_read_once(void **state)
{
    (void)state;
    pantry_model *model = load(tiny_model("llama", GW_F32, "common.gguf"), "cpu");
    read_together(model, 2000);
    pantry_model_free(model);
}

static void hybrid_models_reuse_prefixes(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        pantry_model *model = load(tiny_hybrid(tiny_hybrids[i]), "cpu");
        read_together(model, 900);
        pantry_model_free(model);
    }
}

/* ---- readers ---- */

/* A reader that does not read blocks only its own request. */
static void a_slow_reader_blocks_no_other(void **state)
{
    (void)state;
    static int32_t ids[64];
    struct answer a, slow_answer, alone;
    pantry_model *model = load(tiny_model("llama", GW_F32, "slow.gguf"), "cpu");
    random_ids(8, ids, 64);
    struct pantry_request_options o = options(ids, 64, 2 * PN_MAX_EVENTS - 1);
    pantry_request *slow = submit(model, &o);
    for (int i = 0; i < 5; i++) {
        o.max_tokens = 100;
        o.ids = ids + i;
        o.n_ids = 30;
        run_request(model, &o, &a);
        assert_int_equal(a.n, 100);
    }
    o = options(ids, 64, 2 * PN_MAX_EVENTS - 1);
    read_all(slow, &slow_answer);
    run_request(model, &o, &alone);
    assert_int_equal(slow_answer.n, alone.n);
    assert_memory_equal(slow_answer.ids, alone.ids, (size_t)alone.n * sizeof *alone.ids);
    pantry_request_free(slow);
    nothing_is_left(model);
    pantry_model_free(model);
}

/* Freed without reading, cancelled while waiting for the reader, and cancelled twice. */
static void requests_can_be_abandoned(void **state)
{
    (void)state;
    static int32_t ids[200];
    struct answer a;
    pantry_model *model = load(tiny_model("llama", GW_F32, "left.gguf"), "cpu");
    random_ids(9, ids, 200);
    struct pantry_request_options o = options(ids, 200, 0);
    for (int i = 0; i < 20; i++)
        pantry_request_free(submit(model, &o));
    pantry_request *r = submit(model, &o);
    next_event(r, &a, -1);
    assert_int_equal(a.end.kind, PANTRY_EVENT_TOKEN);
    pantry_request_cancel(r);
    pantry_request_cancel(r);
    read_all(r, &a);
    assert_int_equal(a.stats.stop, PANTRY_STOP_CANCELLED);
    pantry_request_cancel(r);
    next_event(r, &a, 0); /* the end repeats */
    assert_int_equal(a.end.kind, PANTRY_EVENT_END);
    pantry_request_free(r);
    nothing_is_left(model);
    pantry_model_free(model);
}

/* The model is freed last, whatever the order of the calls. */
static void models_outlive_their_requests(void **state)
{
    (void)state;
    static int32_t ids[100];
    struct answer a;
    pantry_session *session;
    pantry_model *model = load(tiny_model("llama", GW_F32, "life.gguf"), "cpu");
    random_ids(10, ids, 100);
    struct pantry_request_options o = options(ids, 100, 50);
    pantry_request *r = submit(model, &o);
    assert_int_equal(pantry_session_new(model, NULL, &session, NULL), PANTRY_OK);
    pantry_model_free(model);
    pantry_session_free(session);
    read_all(r, &a);
    assert_int_equal(a.n, 50);
    pantry_request_free(r);
}

/* ---- memory ---- */

/* If pages are short, requests wait for each other or start again, and all of them finish. */
static void short_memory_is_shared(void **state)
{
    (void)state;
    enum { N = 7 };
    static int32_t ids[N][100];
    struct answer a, alone;
    pantry_request *r[N];
    pantry_model *model = load(tiny_model("llama", GW_F32, "short.gguf"), "cpu");
    struct pn_sched *sched;
    assert_int_equal(pn_model_sched(model, NULL, &sched, NULL), PANTRY_OK);
    struct pn_kv_pool *pool = pn_sched_pool(sched);
    int32_t all = pool->groups[0].slots.n;
    pool->groups[0].slots.n = 14; /* enough for two at full length, or for all at their beginning */
    for (int i = 0; i < N; i++) {
        random_ids(200 + (uint64_t)i, ids[i], 100);
        struct pantry_request_options o = options(ids[i], 40 + i, 120);
        o.n_context = 300;
        r[i] = submit(model, &o);
    }
    for (int i = 0; i < N; i++) {
        read_all(r[i], &a);
        pantry_request_free(r[i]);
        struct pantry_request_options o = options(ids[i], 40 + i, 120);
        o.n_context = 300;
        o.cache_key = "alone";
        run_request(model, &o, &alone);
        assert_int_equal(a.n, 120);
        assert_memory_equal(a.ids, alone.ids, 120 * sizeof *a.ids);
    }
    struct pantry_request_options o = options(ids[0], 100, 0); /* longer than all pages */
    struct pantry_error error;
    pantry_request *late;
    assert_int_equal(pantry_submit(model, &o, &late, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a context of 4096 tokens needs"));
    nothing_is_left(model);
    pool->groups[0].slots.n = all;
    pantry_model_free(model);
}

/* Two of three layers of the tiny gemma3 see 8 tokens; keys and values of 2 heads of 8 float16 values each. */
static void bytes_of_a_step_follow_the_windows(void **state)
{
    (void)state;
    enum { WINDOW = 8 };
    pantry_model *model = load(tiny_model("gemma3", GW_F32, "bytes.gguf"), "cpu");
    struct pn_sched *sched;
    assert_int_equal(pn_model_sched(model, "f16", &sched, NULL), PANTRY_OK);
    size_t row = 2 * TINY_HEADS_KV * TINY_HEAD_DIM * 2;
    for (int n = 1; n <= 256; n++) {
        size_t seen = (size_t)n + 2 * (size_t)(n < WINDOW ? n : WINDOW);
        assert_true(pn_kv_step_bytes(pn_sched_pool(sched), &model->runner->model->graph, n) == (double)(seen * row));
    }
    pantry_model_free(model);
}

/* ---- errors ---- */

static void bad_requests_are_errors(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 3}, outside[] = {1, TINY_VOCAB}, negative[] = {-1};
    pantry_model *model = load(tiny_model("llama", GW_F32, "bad.gguf"), "cpu");
    const struct pantry_request_options good = options(ids, 3, 1);
    static const struct pantry_logit_bias bias[] = {{TINY_VOCAB, 1}};
    struct pantry_request_options bad[10];
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = good;
    bad[0].size = 0;
    bad[1].n_ids = 0;
    bad[2].ids = outside;
    bad[2].n_ids = 2;
    bad[3].ids = negative;
    bad[3].n_ids = 1;
    bad[4].max_tokens = -1;
    bad[5].n_batch = PN_MAX_BATCH + 1;
    bad[6].n_context = -1;
    bad[7].sampling.top_p = 0;
    bad[8].n_context = 2;
    bad[9].logit_bias = bias;
    bad[9].n_logit_bias = 1;
    static const char *const says[COUNT(bad)] = {"(found 0): get it from",
                                                 "no tokens",
                                                 "id 64",
                                                 "id -1",
                                                 "max_tokens (found -1",
                                                 "n_batch (found 4097",
                                                 "n_context (found -1",
                                                 "top_p (found 0",
                                                 "3 tokens",
                                                 "logit_bias[0]: id not in the vocabulary"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pantry_error error = {0};
        pantry_request *r;
        assert_int_equal(pantry_submit(model, &bad[i], &r, &error), i == 8 ? PANTRY_CONTEXT_FULL : PANTRY_INVALID);
        assert_null(r);
        if (!strstr(error.text, says[i]))
            fail_msg("%zu: %s", i, error.text);
    }
    struct pantry_request_options least = good;
    struct answer a;
    least.n_context = 3; /* room for the prompt, and for an answer of one token */
    least.max_tokens = 0;
    run_request(model, &least, &a);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.stats.stop, PANTRY_STOP_LENGTH);
    pantry_model_free(model);
    pantry_request_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_together_equal_requests_alone),
        cmocka_unit_test(a_common_prefix_is_read_once),
        cmocka_unit_test(hybrid_models_reuse_prefixes),
        cmocka_unit_test(a_slow_reader_blocks_no_other),
        cmocka_unit_test(requests_can_be_abandoned),
        cmocka_unit_test(models_outlive_their_requests),
        cmocka_unit_test(short_memory_is_shared),
        cmocka_unit_test(bytes_of_a_step_follow_the_windows),
        cmocka_unit_test(bad_requests_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
