/* Layers with a window give pages back without changing results: logits equal, bit for bit, those of a model that keeps
 * all pages, and memory use is bounded by the windows. The model is the tiny gemma3, whose windows are changed after
 * loading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/handle.h"
#include "pantry.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { CONTEXT = 1024, VOCAB = TINY_VOCAB, MAX_ANSWER = 400, PAGE = PN_PAGE_TOKENS };

struct windows {
    const char *device;
    int window;
    enum pn_window_kind kind;
    bool alike;        /* all layers have the window, so no layer sees everything */
    bool shared;       /* the last layer reads the first one's keys and values, without a window */
    bool all_kept;     /* pretends that no context is longer than the window, so no page is given back */
    const char *whole; /* device of the model that keeps all pages; NULL: the same */
};

static struct windows keeping_all(const struct windows *w)
{
    struct windows all = *w;
    all.all_kept = true;
    all.device = w->whole ? w->whole : w->device;
    return all;
}

static pantry_model *load(const struct windows *w)
{
    struct pantry_error error;
    struct pantry_model_options o = {.size = sizeof o, .device = w->device, .n_threads = 1, .kv_type = NULL};
    pantry_model *m;
    if (pantry_model_load(tiny_model("gemma3", GW_F32, "windows.gguf"), &o, &m, &error))
        fail_msg("%s", error.text);
    struct pn_model *model = m->runner->model;
    for (size_t i = 0; i < model->graph.len; i++) {
        struct pn_node *n = &model->graph.data[i];
        if (n->op != PN_OP_ATTENTION)
            continue;
        if (w->shared && n->attn.cache == 2)
            n->attn.cache = 0;
        else if (n->attn.window || w->alike) {
            n->attn.window = w->window;
            n->attn.window_kind = w->kind;
        }
    }
    if (w->all_kept)
        model->hp.n_context_train = 1;
    return m;
}

static void random_ids(uint64_t seed, int32_t *ids, int n)
{
    struct pn_rng rng = {seed};
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % VOCAB);
}

static struct pn_kv_pool *pool_of(const pantry_model *m)
{
    return pn_sched_pool(m->sched);
}

static pantry_session *open_session(pantry_model *m, int n_batch)
{
    struct pantry_error error;
    pantry_session *s;
    if (pantry_session_new(m,
                           &(struct pantry_session_options){
                               .size = sizeof(struct pantry_session_options), .n_context = CONTEXT, .n_batch = n_batch},
                           &s, &error))
        fail_msg("%s", error.text);
    return s;
}

static pantry_status clear_tree(void *user, struct pn_seq_memory *memory, struct pantry_error *err)
{
    (void)user;
    (void)err;
    pn_tree_clear(memory->tree);
    return PANTRY_OK;
}

static int pages_used(const pantry_model *m)
{
    int n = 0;
    for (int g = 0; g < pool_of(m)->n_groups; g++)
        n += pn_kv_pages_used(pool_of(m), g);
    return n;
}

/* Checks that all pages were given back. */
static void close_model(pantry_model *m)
{
    pn_sched_call(m->sched, clear_tree, NULL, NULL);
    assert_int_equal(pages_used(m), 0);
    pantry_model_free(m);
}

/* ---- logits ---- */

static const struct windows cases[] = {
    {"ref", 8, PN_WINDOW_SLIDING, .alike = false},
    {"cpu", 8, PN_WINDOW_SLIDING, .alike = false},
    {"cpu", 1, PN_WINDOW_SLIDING, .alike = false},
    {"cpu", 33, PN_WINDOW_SLIDING, .alike = true},
    {"cpu", 64, PN_WINDOW_SLIDING, .alike = false},
    {"cpu", 100, PN_WINDOW_SLIDING, .shared = true},
    {"ref", 48, PN_WINDOW_CHUNKED, .alike = false},
    {"cpu", 64, PN_WINDOW_CHUNKED, .alike = true},
    {"cpu", 37, PN_WINDOW_CHUNKED, .alike = false},
    /* Pages of a group have a part on each device. */
    {"ref:0,ref:1-", 8, PN_WINDOW_SLIDING, .whole = "ref"},
    {"cpu:0-1,ref:2", 33, PN_WINDOW_SLIDING, .alike = true},
    {"ref:1,cpu", 48, PN_WINDOW_CHUNKED, .alike = false},
};

/* Logits over many windows, in slices of odd sizes, next to a sequence that overwrites the pages given back. */
static void logits_equal_those_with_all_pages(void **state)
{
    (void)state;
    static const int slices[][4] = {{1, 1, 1, 1}, {31, 32, 33, 1}, {7, 129, 3, 64}, {512, 5, 90, 1}};
    enum { N = 640 };
    static int32_t ids[N];
    static float kept[N * VOCAB], given_back[N * VOCAB];
    random_ids(1, ids, N);
    for (size_t c = 0; c < COUNT(cases); c++) {
        struct windows all = keeping_all(&cases[c]);
        pantry_model *models[2] = {load(&cases[c]), load(&all)};
        pantry_session *sessions[2] = {open_session(models[0], 0), open_session(models[1], 0)};
        assert_int_equal(pool_of(models[0])->n_groups, 2);
        assert_int_equal(pool_of(models[1])->n_groups, 1);
        for (size_t i = 0; i < COUNT(slices); i++) {
            memset(kept, 0, sizeof kept);
            memset(given_back, 1, sizeof given_back);
            assert_int_equal(pantry_logits(sessions[0], ids, N, slices[i], 4, given_back, NULL), PANTRY_OK);
            assert_int_equal(pantry_logits(sessions[1], ids, N, slices[i], 4, kept, NULL), PANTRY_OK);
            if (memcmp(kept, given_back, sizeof kept) != 0)
                fail_msg("case %zu: slices of %d, %d...", c, slices[i][0], slices[i][1]);
        }
        for (int i = 0; i < 2; i++) {
            pantry_session_free(sessions[i]);
            close_model(models[i]);
        }
    }
}

/* ---- memory ---- */

struct watch {
    pantry_model *model;
    int most[PN_KV_GROUPS], n;
};

static bool look(void *user, const struct pantry_token *token)
{
    struct watch *w = user;
    w->n += token->id >= 0;
    for (int g = 0; g < pool_of(w->model)->n_groups; g++) {
        int used = pn_kv_pages_used(pool_of(w->model), g);
        w->most[g] = used > w->most[g] ? used : w->most[g];
    }
    return true;
}

static void generate(pantry_session *s, const int32_t *ids, int n, int n_answer, pantry_token_callback *callback,
                     void *user, struct pantry_stats *stats)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_error error;
    o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 9};
    o.max_tokens = n_answer;
    o.ignore_eos = true;
    o.callback = callback;
    o.user = user;
    if (pantry_generate(s, ids, (size_t)n, &o, stats, &error))
        fail_msg("%s", error.text);
}

/* A long prompt and a long answer: layers with windows use only a few pages, including the tree's. */
static void pages_in_use_are_bounded(void **state)
{
    (void)state;
    enum { N = 600, N_BATCH = 64 };
    static int32_t ids[N];
    struct pantry_stats stats = {.size = sizeof stats};
    random_ids(2, ids, N);
    for (size_t c = 0; c < COUNT(cases); c++) {
        pantry_model *m = load(&cases[c]);
        pantry_session *s = open_session(m, N_BATCH);
        struct watch w = {.model = m};
        generate(s, ids, N, MAX_ANSWER, look, &w, &stats);
        assert_int_equal(w.n, MAX_ANSWER);
        /* Pages of the sequence, those at the end of the prompt, and temporary ones within it. */
        int window = (cases[c].window + PAGE - 1) / PAGE + 2;
        assert_in_range(w.most[1], 1, 3 * window + 1);
        if (cases[c].alike) /* no layer needs pages for all tokens */
            assert_int_equal(pool_of(m)->groups[0].slots.stride, 0);
        assert_true(w.most[0] >= (N + MAX_ANSWER - 64) / PAGE);
        pantry_session_free(s);
        close_model(m);
    }
}

/* A context that fits with windows does not fit without them. */
static void contexts_need_less(void **state)
{
    (void)state;
    struct windows windows = {"cpu", 8, PN_WINDOW_SLIDING, .all_kept = false}, all = windows;
    struct pn_memory *budget = pn_memory_of_process();
    struct pantry_session_options long_one = {.size = sizeof long_one, .n_context = 16000, .n_batch = 32};
    struct pantry_error error;
    pantry_session *s;
    all.all_kept = true;
    for (int i = 0; i < 2; i++) {
        pantry_model *m = load(i ? &all : &windows);
        pantry_session_free(open_session(m, 32));
        const struct pn_kv_pool *pool = pool_of(m);
        uint64_t needed = 0;
        for (int g = 0; g < pool->n_groups; g++) {
            int pages = g ? (8 + 32 + PAGE - 1) / PAGE + 2 : 16000 / PAGE + 1;
            assert_int_equal(pn_kv_most_pages(pool, g, 16000, 32), pages);
            needed += (uint64_t)pages * pool->groups[g].slots.stride;
        }
        assert_true(pn_kv_most_bytes(pool, 16000, 32) == needed);
        for (int missing = 0; missing < 2; missing++) {
            pantry_limit_memory(budget->weight_bytes + budget->taken + needed - (uint64_t)missing);
            assert_int_equal(pantry_session_new(m, &long_one, &s, &error), missing ? PANTRY_NO_MEMORY : PANTRY_OK);
            if (missing)
                assert_non_null(strstr(error.text, "a context of 16000 tokens needs "));
            pantry_session_free(s);
        }
        pantry_limit_memory(0);
        close_model(m);
    }
}

/* ---- conversations ---- */

struct said {
    int32_t ids[MAX_ANSWER];
    int n;
};

static bool hear(void *user, const struct pantry_token *token)
{
    struct said *said = user;
    if (token->id >= 0)
        said->ids[said->n++] = token->id;
    return true;
}

/* Rewinds to random positions and continues: the answers equal those of a fresh session. */
static void rewinding_is_exact(void **state)
{
    (void)state;
    enum { N = 400, N_ANSWER = 20 };
    static int32_t ids[N + N_ANSWER], others[N + N_ANSWER];
    static const struct windows some[] = {{"cpu", 8, PN_WINDOW_SLIDING, .alike = false},
                                          {"cpu", 70, PN_WINDOW_SLIDING, .alike = true},
                                          {"cpu", 64, PN_WINDOW_CHUNKED, .alike = false},
                                          {"ref:0,ref:1-", 8, PN_WINDOW_SLIDING, .whole = "ref"},
                                          {"cpu:0,ref:1-", 40, PN_WINDOW_SLIDING, .alike = true}};
    struct pantry_stats stats = {.size = sizeof stats};
    for (size_t c = 0; c < COUNT(some); c++) {
        struct windows all = keeping_all(&some[c]);
        pantry_model *m = load(&some[c]), *kept = load(&all);
        pantry_session *s = open_session(m, 50);
        struct pn_rng rng = {77};
        int n_reused = 0, n_near = 0, n = 0;
        random_ids(3, ids, N);
        for (int round = 0; round < 60; round++) {
            struct said said = {.n = 0}, wanted = {.n = 0};
            /* a few tokens back, to anywhere, or on from the end of the last answer */
            int how = (int)(pn_rng_u64(&rng) % 3), back = (int)(pn_rng_u64(&rng) % 20);
            int at = how == 0 ? (n > back ? n - back : 0) : how == 1 ? (int)(pn_rng_u64(&rng) % (uint64_t)(n + 1)) : n;
            at = at > N - 30 ? N / 2 : at;
            int next = at + 1 + (int)(pn_rng_u64(&rng) % 25);
            random_ids(1000 + (uint64_t)round, others, N);
            memcpy(ids + at, others + at, (size_t)(next - at) * sizeof *ids);
            generate(s, ids, next, N_ANSWER, hear, &said, &stats);
            n_reused += stats.n_cached > 0;
            n_near += how != 1 && at > 64 && stats.n_cached >= at - 1;
            pantry_session *fresh = open_session(kept, 50);
            generate(fresh, ids, next, N_ANSWER, hear, &wanted, &stats);
            assert_int_equal(said.n, N_ANSWER);
            assert_memory_equal(said.ids, wanted.ids, N_ANSWER * sizeof *said.ids);
            pantry_session_free(fresh);
            memcpy(ids + next, said.ids, N_ANSWER * sizeof *ids);
            n = next + N_ANSWER - 1;
        }
        assert_true(n_reused > 30 && n_near > 10);
        pantry_session_free(s);
        assert_int_equal(pages_used(m), 0);
        close_model(m);
        close_model(kept);
    }
}

/* ---- requests ---- */

static pantry_request *submit(pantry_model *m, const int32_t *ids, int n, int n_answer, const char *key)
{
    struct pantry_request_options o = pantry_request_options_default();
    struct pantry_error error;
    pantry_request *r;
    o.ids = ids;
    o.n_ids = (size_t)n;
    o.max_tokens = n_answer;
    o.n_context = CONTEXT;
    o.n_batch = 48;
    o.ignore_eos = true;
    o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 3};
    o.cache_key = key;
    if (pantry_submit(m, &o, &r, &error))
        fail_msg("%s", error.text);
    return r;
}

/* Returns the number of cached tokens. */
static int read_all(pantry_request *r, struct said *said)
{
    const struct pantry_event *e;
    said->n = 0;
    while ((e = pantry_request_next(r, -1))->kind != PANTRY_EVENT_END)
        if (e->token->id >= 0)
            said->ids[said->n++] = e->token->id;
    if (e->status)
        fail_msg("%s", e->message);
    int n_cached = e->stats->n_cached;
    pantry_request_free(r);
    return n_cached;
}

/* Many requests with common prefixes of every length, while pages are short, so that some start again. */
static void many_requests_equal_requests_alone(void **state)
{
    (void)state;
    enum { N_REQUESTS = 24, N_ANSWER = 40, MAX_PROMPT = 300 };
    static int32_t ids[N_REQUESTS][MAX_PROMPT];
    static const struct windows some[] = {{"ref", 8, PN_WINDOW_SLIDING, .alike = false},
                                          {"ref", 70, PN_WINDOW_SLIDING, .alike = true},
                                          {"ref", 40, PN_WINDOW_CHUNKED, .shared = true},
                                          {"ref:0,ref:1-", 8, PN_WINDOW_SLIDING, .whole = "ref"}};
    for (size_t c = 0; c < COUNT(some); c++) {
        struct windows all = keeping_all(&some[c]);
        pantry_model *m = load(&some[c]), *kept = load(&all);
        pantry_session_free(open_session(m, 0));
        struct pn_kv_pool *pool = pool_of(m);
        int32_t slots[2] = {pool->groups[0].slots.n, pool->groups[1].slots.n};
        struct pn_rng rng = {5};
        pantry_request *r[N_REQUESTS];
        int n[N_REQUESTS];
        for (int i = 0; i < N_REQUESTS; i++) {
            n[i] = 20 + (int)(pn_rng_u64(&rng) % (MAX_PROMPT - 20));
            int shared = (int)(pn_rng_u64(&rng) % (uint64_t)n[i]);
            random_ids(40 + (uint64_t)i, ids[i], n[i]);
            random_ids(i % 3, ids[i], shared);
        }
        for (int few = 0; few < 2; few++) {
            if (few) { /* the longest needs 11 full pages */
                pn_sched_call(m->sched, clear_tree, NULL, NULL);
                pool->groups[0].slots.n = 30;
                pool->groups[1].slots.n = 16;
            }
            for (int i = 0; i < N_REQUESTS; i++)
                r[i] = submit(m, ids[i], n[i], N_ANSWER, NULL);
            for (int i = 0; i < N_REQUESTS; i++) {
                struct said said, wanted;
                read_all(r[i], &said);
                assert_int_equal(said.n, N_ANSWER);
                read_all(submit(kept, ids[i], n[i], N_ANSWER, "alone"), &wanted);
                if (memcmp(said.ids, wanted.ids, N_ANSWER * sizeof *said.ids) != 0)
                    fail_msg("case %zu: request %d is not what it is alone", c, i);
            }
        }
        pool->groups[0].slots.n = slots[0];
        pool->groups[1].slots.n = slots[1];
        close_model(m);
        close_model(kept);
    }
}

/* Pages that windows need in the middle of a prompt are given back while it is read. Once another prompt diverges
 * there, they are kept. */
static void shared_prefixes_are_learned(void **state)
{
    (void)state;
    enum { N = 300, SHARED = 211 };
    int32_t ids[N];
    struct said said;
    pantry_model *m = load(&(struct windows){"cpu", 8, PN_WINDOW_SLIDING, .alike = false});
    static const int cached[] = {0, 0, SHARED, SHARED};
    random_ids(6, ids, N);
    for (size_t i = 0; i < COUNT(cached); i++) {
        random_ids(100 + i, ids + SHARED, N - SHARED);
        ids[SHARED] = (int32_t)i;
        assert_int_equal(read_all(submit(m, ids, N, 5, NULL), &said), cached[i]);
        assert_int_equal(read_all(submit(m, ids, N, 5, NULL), &said), N - 1); /* the very same */
    }
    close_model(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_those_with_all_pages),
        cmocka_unit_test(pages_in_use_are_bounded),
        cmocka_unit_test(contexts_need_less),
        cmocka_unit_test(rewinding_is_exact),
        cmocka_unit_test(many_requests_equal_requests_alone),
        cmocka_unit_test(shared_prefixes_are_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
