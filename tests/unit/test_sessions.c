/* Sessions: whatever they held before and whichever sessions share their pages, they generate what a fresh session
 * does. Contexts and batches end exactly at their limits, pages are given back, failures leave a session usable.
 *
 * Answers are sampled at a high temperature with a fixed seed on the scalar device, so that a wrong logit changes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "engine/handle.h"
#include "pantry.h"
#include "public.h"
#include "tiny_encoder.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { N_IDS = 200, N_ANSWER = 6, LEAST_VOCAB = HYBRID_VOCAB };

static int32_t ids[N_IDS], others[N_IDS]; /* different at every position */

static int make_ids(void **state)
{
    (void)state;
    struct pn_rng rng = {99};
    for (int i = 0; i < N_IDS; i++) {
        ids[i] = (int32_t)(pn_rng_u64(&rng) % LEAST_VOCAB);
        others[i] = (ids[i] + 1 + (int32_t)(pn_rng_u64(&rng) % (LEAST_VOCAB - 1))) % LEAST_VOCAB;
    }
    return 0;
}

static pantry_session *open_session(pantry_model *model, const struct pantry_session_options *options)
{
    struct pantry_error error;
    pantry_session *session;
    if (pantry_session_new(model, options, &session, &error))
        fail_msg("%s", error.text);
    return session;
}

static const struct pantry_session_options exact = {.size = sizeof exact, .kv_type = "f32"};

struct said {
    int32_t ids[64];
    int n;
};

static bool collect(void *user, const struct pantry_token *token)
{
    struct said *said = user;
    assert_true(said->n < 64);
    if (token->id >= 0)
        said->ids[said->n++] = token->id;
    return true;
}

static struct pantry_generate_options sampled(struct said *said, int n)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    *said = (struct said){.n = 0};
    o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 3};
    o.max_tokens = n;
    o.ignore_eos = true;
    o.callback = collect;
    o.user = said;
    return o;
}

/* Returns the number of cached tokens. */
static int answer(pantry_session *session, const int32_t *prompt, int n, struct said *said)
{
    struct pantry_error error;
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_generate_options o = sampled(said, N_ANSWER);
    if (pantry_generate(session, prompt, (size_t)n, &o, &stats, &error))
        fail_msg("%s", error.text);
    assert_int_equal(said->n, N_ANSWER);
    return stats.n_cached;
}

/* A prompt of n tokens that begins with `common` of ids[] and then differs. */
static const int32_t *branch(int common, int n)
{
    static int32_t prompt[N_IDS];
    memcpy(prompt, ids, (size_t)common * sizeof *ids);
    memcpy(prompt + common, others + common, (size_t)(n - common) * sizeof *ids);
    return prompt;
}

static void equals_fresh(pantry_model *model, const int32_t *prompt, int n, const struct said *said)
{
    struct said wanted;
    pantry_session *fresh = open_session(model, &exact);
    assert_int_equal(answer(fresh, prompt, n, &wanted), 0);
    pantry_session_free(fresh);
    assert_memory_equal(said->ids, wanted.ids, N_ANSWER * sizeof *said->ids);
}

static struct pn_sched_stats stats_of(const pantry_session *session)
{
    struct pn_sched_stats s;
    assert_int_equal(pn_sched_stats(session->sched, &s, NULL), PANTRY_OK);
    return s;
}

/* When nothing runs, the prefix tree holds all pages in use. */
static int pages_in_use(const pantry_session *session)
{
    struct pn_sched_stats s = stats_of(session);
    assert_int_equal(s.n_requests, 0);
    if (session->model->runner->states || s.window_pages_used) /* all states kept in a page share it */
        assert_true(s.pages_used <= s.pages_in_tree);
    else
        assert_int_equal(s.pages_used, s.pages_in_tree);
    assert_int_equal(s.states_used, s.states_in_tree);
    return s.pages_used;
}

static int pages_of(int n_tokens)
{
    return (n_tokens + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS;
}

/* ---- rewinding ---- */

static void rewinding_anywhere_equals_a_fresh_session(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gemma3"};
    for (size_t k = 0; k < COUNT(archs); k++) {
        pantry_model *model = load_on_ref(tiny_model(archs[k], GW_F32, "tiny.gguf"));
        pantry_session *session = open_session(model, &exact);
        struct said said;
        answer(session, ids, 100, &said);
        int n_pages = 4, n_read_again = 0;
        assert_int_equal(pages_in_use(session), n_pages);
        for (int at = 99; at >= 0; at -= k == 0 || at % 32 < 2 ? 1 : 5) {
            const int32_t *prompt = branch(at, at + 3);
            int end = at + 3 + N_ANSWER - 1;
            int cached = answer(session, prompt, at + 3, &said);
            if (cached != at) { /* windows of 8 need a page that was given back; reading it again restores it */
                assert_true(k == 1 && cached == 0 && n_read_again++ == 0);
            }
            assert_int_equal(pantry_session_n_past(session), end);
            n_pages += pages_of(end) - at / PN_PAGE_TOKENS; /* except the full pages of the common prefix */
            assert_int_equal(pages_in_use(session), n_pages);
            equals_fresh(model, prompt, at + 3, &said);
            assert_int_equal(pages_in_use(session), n_pages); /* the fresh session's pages are gone */
        }
        pantry_session_clear(session);
        assert_int_equal(pages_in_use(session), 0);
        pantry_session_free(session);
        pantry_model_free(model);
    }
}

/* The same prompt again, a shorter one, and the conversation's next turn. */
static void held_tokens_are_reused(void **state)
{
    (void)state;
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "tiny.gguf"));
    pantry_session *session = open_session(model, &exact);
    struct said first, said;
    int32_t turn[120];
    assert_int_equal(answer(session, ids, 70, &first), 0);
    assert_int_equal(answer(session, ids, 70, &said), 69); /* the last token must run for its logits */
    assert_memory_equal(said.ids, first.ids, sizeof said.ids);
    memcpy(turn, ids, 70 * sizeof *ids);
    memcpy(turn + 70, said.ids, N_ANSWER * sizeof *ids);
    memcpy(turn + 70 + N_ANSWER, others, 10 * sizeof *ids);
    assert_int_equal(answer(session, turn, 80 + N_ANSWER, &said), 70 + N_ANSWER - 1);
    equals_fresh(model, turn, 80 + N_ANSWER, &said);
    assert_int_equal(answer(session, ids, 40, &said), 39);
    equals_fresh(model, ids, 40, &said);
    assert_int_equal(answer(session, others, 1, &said), 0);
    equals_fresh(model, others, 1, &said);
    pantry_session_clear(session);
    assert_int_equal(pantry_session_n_past(session), 0);
    assert_int_equal(pages_in_use(session), 0);
    assert_int_equal(answer(session, ids, 40, &said), 0);
    pantry_session_free(session);
    pantry_model_free(model);
}

/* Models with recurrent layers resume from a copy, which exists after each slice of a prompt except its last token. */
static void recurrent_models_resume_from_copies(void **state)
{
    (void)state;
    static const struct {
        int common, n_cached; /* after a prompt of 70 tokens in slices of 16: copies after 16, 32, 48, 64, 69 */
    } cases[] = {{69, 69}, {68, 64}, {65, 64}, {64, 64}, {63, 48}, {40, 32}, {17, 16}, {16, 16}, {15, 0}, {1, 0}};
    for (int i = 0; i < N_HYBRIDS; i++) {
        pantry_model *model = load_on_ref(tiny_hybrid(tiny_hybrids[i]));
        struct pantry_session_options options = {.size = sizeof options, .kv_type = "f32", .n_batch = 16};
        pantry_session *session = open_session(model, &options);
        for (size_t c = 0; c < COUNT(cases); c++) {
            struct said first, said;
            pantry_session_clear(session);
            assert_int_equal(answer(session, ids, 70, &first), 0);
            assert_int_equal(answer(session, ids, 70, &said), 69);
            assert_memory_equal(said.ids, first.ids, sizeof said.ids);
            const int32_t *prompt = branch(cases[c].common, 72);
            assert_int_equal(answer(session, prompt, 72, &said), cases[c].n_cached);
            equals_fresh(model, prompt, 72, &said);
        }
        /* A turn that only continues finds the state at the end of the answer. */
        struct said said;
        int32_t turn[70 + N_ANSWER + 5];
        answer(session, ids, 70, &said);
        memcpy(turn, ids, 70 * sizeof *ids);
        memcpy(turn + 70, said.ids, N_ANSWER * sizeof *ids);
        memcpy(turn + 70 + N_ANSWER, others, 5 * sizeof *ids);
        assert_int_equal(answer(session, turn, COUNT(turn), &said), 70 + N_ANSWER - 1);
        equals_fresh(model, turn, COUNT(turn), &said);
        pantry_session_free(session);
        pantry_model_free(model);
    }
}

/* ---- several sessions on the same pages ---- */

/* A rewinds into the middle of a page (or to its end), B takes and fills pages, A continues. Freeing A and B gives back
 * their pages. */
static void sessions_do_not_take_each_others_pages(void **state)
{
    (void)state;
    static const struct {
        int back_to, n_other;
    } cases[] = {{99, 70},  {96, 40}, {95, 70},  {65, 33}, {64, 64}, {63, 70},
                 {33, 100}, {32, 20}, {31, 100}, {1, 100}, {0, 90}};
    static const char *const files[] = {"llama", "granitehybrid", "qwen35"};
    for (size_t k = 0; k < COUNT(files); k++) {
        pantry_model *model = load_on_ref(k == 0 ? tiny_model("llama", GW_F32, "tiny.gguf") : tiny_hybrid(files[k]));
        pantry_session *a = open_session(model, &exact), *b = open_session(model, &exact);
        for (size_t c = 0; c < COUNT(cases); c += k == 0 ? 1 : 2) {
            struct said first, said;
            const int32_t *prompt;
            answer(a, ids, 110, &first);
            answer(a, branch(cases[c].back_to, cases[c].back_to + 1), cases[c].back_to + 1, &said);
            pantry_session_clear(b);
            int of_a = pages_in_use(a);
            assert_int_equal(answer(b, others, cases[c].n_other, &said), 0); /* shares nothing with A */
            equals_fresh(model, others, cases[c].n_other, &said);
            if (k == 0)
                assert_int_equal(pages_in_use(b), of_a + pages_of(cases[c].n_other + N_ANSWER - 1));
            prompt = branch(cases[c].back_to, 105);
            answer(a, prompt, 105, &said);
            equals_fresh(model, prompt, 105, &said);
            answer(b, others, cases[c].n_other, &said);
            equals_fresh(model, others, cases[c].n_other, &said);
            answer(a, ids, 110, &said);
            assert_memory_equal(said.ids, first.ids, sizeof said.ids);
        }
        int both = pages_in_use(a);
        pantry_session_free(b);
        int of_a = pages_in_use(a);
        assert_true(of_a > 0 && of_a < both);
        b = open_session(model, &exact);
        assert_int_equal(pages_in_use(b), of_a);
        pantry_session_free(a); /* removes its key from the tree */
        assert_int_equal(pages_in_use(b), 0);
        assert_int_equal(stats_of(b).states_used, 0);
        pantry_session_free(b);
        pantry_model_free(model);
    }
}

/* Models with different types of keys and values take turns, and each equals itself alone. A model has one type: a
 * session that asks for another is an error. */
static void a_model_has_one_cache_type(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t row;         /* bytes of 32 values */
        double least, most; /* NMSE to float32 */
        const char *says;
    } types[] = {{"f32", 128, 0, 1e-15, "in one type (found f16, allowed f32)"},
                 {"f16", 64, 1e-12, 1e-5, "in one type (found q8_0, allowed f16)"},
                 {"q8_0", 34, 1e-8, 1e-2, "in one type (found f32, allowed q8_0)"}};
    enum { N = 70, N_TYPES = COUNT(types) };
    pantry_model *models[N_TYPES];
    pantry_session *sessions[N_TYPES], *other;
    struct said alone[N_TYPES], said;
    static float logits[N_TYPES][N * TINY_VOCAB];
    struct pantry_error error;
    const char *path = tiny_wide_model();
    for (int i = 0; i < N_TYPES; i++) {
        models[i] = load_on_ref(path);
        sessions[i] =
            open_session(models[i], &(struct pantry_session_options){.size = sizeof(struct pantry_session_options),
                                                                     .kv_type = types[i].name});
        assert_true(pn_kv_step_bytes(pn_sched_pool(sessions[i]->sched), &models[i]->runner->model->graph, 3) ==
                    (double)(3 * 2 * types[i].row));
        answer(sessions[i], ids, 50, &alone[i]);
        assert_int_equal(pantry_logits(sessions[i], ids, N, NULL, 0, logits[i], NULL), PANTRY_OK);
        double e = nmse(logits[i], logits[0], N * TINY_VOCAB);
        if (!(e >= types[i].least && e < types[i].most))
            fail_msg("%s: NMSE %g", types[i].name, e);
    }
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < N_TYPES; i++) {
            if (turn != 1)
                pantry_session_clear(sessions[i]);
            answer(sessions[i], ids, 50, &said);
            assert_memory_equal(said.ids, alone[i].ids, sizeof said.ids);
        }
    for (int i = 0; i < N_TYPES; i++) {
        struct pantry_session_options same = {.size = sizeof same, .kv_type = types[i].name},
                                      unlike = {.size = sizeof unlike, .kv_type = types[(i + 1) % N_TYPES].name},
                                      any = {.size = sizeof any};
        assert_int_equal(pantry_session_new(models[i], &unlike, &other, &error), PANTRY_INVALID);
        assert_null(other);
        if (!strstr(error.text, types[i].says))
            fail_msg("%s", error.text);
        for (int k = 0; k < 2; k++) {
            other = open_session(models[i], k ? &same : &any);
            assert_ptr_equal(other->sched, sessions[i]->sched);
            answer(other, ids, 50, &said);
            assert_memory_equal(said.ids, alone[i].ids, sizeof said.ids);
            pantry_session_free(other);
        }
    }
    for (int i = 0; i < N_TYPES; i++) {
        pantry_session_free(sessions[i]);
        pantry_model_free(models[i]);
    }
}

static void runners_have_one_pool(void **state)
{
    (void)state;
    pantry_model *model = load_on_ref(tiny_wide_model());
    struct pn_kv_pool *first, *again, *none;
    struct pantry_error err;
    assert_int_equal(pn_runner_pool(model->runner, "q8_0", &first, &err), PANTRY_OK);
    assert_int_equal(first->type, PN_TYPE_Q8_0);
    assert_int_equal(pn_runner_pool(model->runner, NULL, &again, &err), PANTRY_OK); /* any type will do */
    assert_ptr_equal(again, first);
    assert_int_equal(pn_runner_pool(model->runner, "q8_0", &again, &err), PANTRY_OK);
    assert_ptr_equal(again, first);
    assert_int_equal(pn_runner_pool(model->runner, "f16", &none, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "in one type (found f16, allowed q8_0)"));
    pantry_model_free(model);
}

/* ---- limits ---- */

static const char *model_with_context(uint32_t n)
{
    struct gw g;
    struct pn_buf bytes;
    static const char key[] = "llama.context_length";
    tiny_model_init(&g, "llama", GW_F32);
    gw_bytes(&g, &bytes);
    gw_free(&g);
    for (size_t i = 0; i + sizeof key + 8 < bytes.len; i++)
        if (memcmp(bytes.data + i, key, sizeof key - 1) == 0)
            memcpy(bytes.data + i + sizeof key - 1 + 4, &n, 4); /* the value comes after the key and its type */
    const char *path = gw_put("context.gguf", bytes.data, bytes.len);
    pn_buf_free(&bytes);
    return path;
}

static void options_are_bounded(void **state)
{
    (void)state;
    static const struct {
        uint32_t trained;
        struct pantry_session_options o;
        pantry_status status;
        int n_context, n_batch;
        const char *says;
    } cases[] = {
        {256, {0}, PANTRY_OK, 256, 0, NULL},
        {1, {0}, PANTRY_OK, 1, 0, NULL},
        {32767, {0}, PANTRY_OK, 32767, 0, NULL},
        {32768, {0}, PANTRY_OK, 32768, 0, NULL},
        {32769, {0}, PANTRY_OK, 32768, 0, NULL},
        {256, {.n_context = 1, .n_batch = 1}, PANTRY_OK, 1, 1, NULL},
        {256, {.n_context = 100000, .n_batch = 4096}, PANTRY_OK, 100000, 4096, NULL},
        {256, {.n_context = -1}, PANTRY_INVALID, 0, 0, "invalid n_context (found -1, allowed 0 or more)"},
        {256, {.n_batch = -1}, PANTRY_INVALID, 0, 0, "invalid n_batch (found -1, allowed 0 to 4096)"},
        {256, {.n_batch = 4097}, PANTRY_INVALID, 0, 0, "invalid n_batch (found 4097, allowed 0 to 4096)"},
        {256, {.kv_type = "f32"}, PANTRY_OK, 256, 0, NULL},
        {256, {.kv_type = "f16"}, PANTRY_OK, 256, 0, NULL},
        {256, {.kv_type = "q8_0"}, PANTRY_INVALID, 0, 0, "heads of 8 values do not fit type q8_0"},
        {256,
         {.kv_type = "bf16"},
         PANTRY_INVALID,
         0,
         0,
         "unknown type of keys and values (found \"bf16\", allowed f16, q8_0 and f32)"},
        {256, {.kv_type = "F16"}, PANTRY_INVALID, 0, 0, "(found \"F16\", allowed"},
        {256, {.kv_type = ""}, PANTRY_INVALID, 0, 0, "(found \"\", allowed"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error = {0};
        pantry_session *session;
        pantry_model *model = load_on_ref(model_with_context(cases[i].trained));
        struct pantry_session_options o = cases[i].o;
        o.size = sizeof o;
        assert_int_equal(pantry_session_new(model, &o, &session, &error), cases[i].status);
        if (cases[i].says && !strstr(error.text, cases[i].says))
            fail_msg("%s", error.text);
        assert_true((session == NULL) == (cases[i].status != PANTRY_OK));
        if (session) {
            assert_int_equal(pantry_session_n_context(session), cases[i].n_context);
            assert_int_equal(session->n_batch, cases[i].n_batch);
            assert_int_equal(pantry_session_n_past(session), 0);
        }
        pantry_session_free(session);
        pantry_model_free(model);
    }
    pantry_session_free(NULL);
}

/* The last position that the pool has pages for, and one more; and a model that is bounded by an indexer. */
static void contexts_fit_the_pool_and_the_model(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_session *session;
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "tiny.gguf"));
    struct pantry_session_options o = {.size = sizeof o, .n_context = 1};
    struct pn_kv_pool *pool;
    assert_int_equal(pn_runner_pool(model->runner, "f16", &pool, NULL), PANTRY_OK);
    pool->groups[0].slots.n = 9;
    o.kv_type = "f16";
    o.n_context = 9 * PN_PAGE_TOKENS - 1;
    session = open_session(model, &o);
    pantry_session_free(session);
    o.n_context = 9 * PN_PAGE_TOKENS;
    assert_int_equal(pantry_session_new(model, &o, &session, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a context of 288 tokens needs"));
    struct pn_hparams *hp = &model->runner->model->hp;
    hp->n_context_limit = 40;
    o.n_context = 40;
    session = open_session(model, &o);
    pantry_session_free(session);
    o.n_context = 41;
    assert_int_equal(pantry_session_new(model, &o, &session, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "need its indexer, which is not supported (found 41 tokens, allowed 40)"));
    o.n_context = 0;
    session = open_session(model, &o);
    assert_int_equal(pantry_session_n_context(session), 40);
    pantry_session_free(session);
    hp->n_context_limit = 250;
    hp->n_context_train = 200;
    session = open_session(model, &o);
    assert_int_equal(pantry_session_n_context(session), 200);
    pantry_session_free(session);
    pantry_model_free(model);
}

static void full_contexts_refuse_one_more(void **state)
{
    (void)state;
    enum { N = 40 };
    struct pantry_error error;
    struct said said;
    static float logits[(N + 1) * TINY_VOCAB];
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "tiny.gguf"));
    pantry_session *session = open_session(
        model,
        &(struct pantry_session_options){.size = sizeof(struct pantry_session_options), .n_context = N, .n_batch = 7});
    struct pantry_generate_options o = sampled(&said, 1);
    assert_int_equal(pantry_generate(session, ids, N, &o, NULL, &error), PANTRY_OK);
    assert_int_equal(pantry_session_n_past(session), N);
    assert_int_equal(pantry_generate(session, ids, N + 1, &o, NULL, &error), PANTRY_CONTEXT_FULL);
    assert_non_null(strstr(error.text, "the prompt is too long for the context (found 41 tokens, allowed 40)"));
    int n_pages = pages_in_use(session);
    assert_int_equal(pantry_logits(session, ids, N, NULL, 0, logits, &error), PANTRY_OK);
    assert_int_equal(pantry_logits(session, ids, N + 1, NULL, 0, logits, &error), PANTRY_CONTEXT_FULL);
    assert_non_null(strstr(error.text, "too many tokens for the context (found 41, allowed 40)"));
    assert_int_equal(pages_in_use(session), n_pages); /* logits keep no pages */
    assert_int_equal(pantry_session_n_past(session), N);
    static const int32_t wrong[][2] = {{5, TINY_VOCAB}, {TINY_VOCAB, 5}, {5, -1}, {INT32_MIN, 5}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(pantry_logits(session, wrong[i], 2, NULL, 0, logits, &error), PANTRY_INVALID);
        assert_non_null(strstr(error.text, "is not in the vocabulary of 64"));
        assert_int_equal(pantry_generate(session, wrong[i], 2, &o, NULL, &error), PANTRY_INVALID);
        assert_non_null(strstr(error.text, "is not in the vocabulary of 64"));
        assert_int_equal(pantry_session_n_past(session), N); /* the session is unchanged */
        assert_int_equal(pages_in_use(session), n_pages);
    }
    assert_int_equal(pantry_logits(session, (const int32_t[]){TINY_VOCAB - 1, 0}, 2, NULL, 0, logits, NULL), PANTRY_OK);
    pantry_session_free(session);
    pantry_model_free(model);
}

/* The logits do not depend on the slices, including those around the sizes of plans. */
static void slices_change_nothing(void **state)
{
    (void)state;
    enum { N = 150 };
    static const int cuts[][12] = {{1, 16, 17, 15, 33},   {128, 2},    {129, 21}, {127, 1, 22}, {150}, {1000},
                                   {31, 1, 32, 33, 1, 2}, {2, 2, 2, 2}};
    static float whole[N * TINY_VOCAB], got[N * TINY_VOCAB];
    struct pantry_error error;
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "tiny.gguf"));
    pantry_session *session = open_session(model, &exact);
    assert_int_equal(pantry_logits(session, ids, N, NULL, 0, whole, &error), PANTRY_OK);
    for (size_t i = 0; i < COUNT(cuts); i++) {
        size_t n = 0;
        while (n < 12 && cuts[i][n])
            n++;
        memset(got, 0, sizeof got);
        assert_int_equal(pantry_logits(session, ids, N, cuts[i], n, got, &error), PANTRY_OK);
        assert_memory_equal(got, whole, sizeof got);
        assert_int_equal(pages_in_use(session), 0);
    }
    /* A session's n_batch bounds every slice. */
    pantry_session *small = open_session(
        model, &(struct pantry_session_options){.size = sizeof(struct pantry_session_options), .n_batch = 16});
    static const int wide[] = {16, 17, 40};
    assert_int_equal(pantry_logits(small, ids, N, wide, 3, got, &error), PANTRY_OK);
    assert_memory_equal(got, whole, sizeof got);
    static const int wrong[] = {5, 0}, below[] = {-3};
    assert_int_equal(pantry_logits(small, ids, N, wrong, 2, got, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "slice 1 is too short (found 0 tokens, allowed 1 or more)"));
    assert_int_equal(pantry_logits(small, ids, N, below, 1, got, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "slice 0 is too short (found -3 tokens"));
    assert_int_equal(pantry_logits(small, ids, 0, NULL, 0, got, &error), PANTRY_OK);
    assert_int_equal(pages_in_use(small), 0);
    pantry_session_free(small);
    pantry_session_free(session);
    pantry_model_free(model);
}

static void only_generating_models_have_sessions(void **state)
{
    (void)state;
    for (int i = 0; tiny_encoders[i]; i++) {
        struct pantry_error error;
        struct pantry_model_info info = {.size = sizeof info};
        pantry_session *session;
        pantry_model *model = load_on_ref(tiny_encoder(tiny_encoders[i]));
        pantry_model_info(model, &info, NULL);
        assert_false(info.generates);
        assert_int_equal(pantry_session_new(model, NULL, &session, &error), PANTRY_UNSUPPORTED);
        assert_null(session);
        pantry_model_free(model);
    }
    struct pantry_error err;
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "tiny.gguf"));
    model->runner->model->hp.causal = false; /* has logits, but not of the next token */
    pantry_session *session;
    assert_int_equal(pantry_session_new(model, NULL, &session, NULL), PANTRY_UNSUPPORTED);
    assert_int_equal(pn_runner_prepare(model->runner, PN_RESULT_LOGITS, 1, &err), PANTRY_OK);
    assert_int_equal(pn_runner_prepare(model->runner, PN_RESULT_LOGITS, PN_MAX_STEP + 1, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "the step is too long (found 32769 tokens, allowed 32768)"));
    pantry_model_free(model);
}

/* ---- failures ---- */

/* Pages of idle sessions are evicted. An answer longer than all pages is an error that leaves both sessions usable. */
static void used_up_pools_are_errors(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_stats stats = {.size = sizeof stats};
    struct said first, said;
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    pantry_model *model = load_on_ref(path), *roomy = load_on_ref(path);
    pantry_session *a = open_session(model, &exact), *b = open_session(model, &exact);
    struct pn_kv_pool *pool = pn_sched_pool(a->sched);
    pool->groups[0].slots.n = 4;
    answer(a, ids, 70, &first); /* three pages */
    assert_int_equal(pages_in_use(a), 3);
    assert_int_equal(answer(b, others, 40, &said), 0);
    assert_in_range(pages_in_use(a), 2, 4); /* some of A's were evicted */
    equals_fresh(roomy, others, 40, &said);
    assert_true(answer(a, ids, 70, &said) < 69);
    assert_memory_equal(said.ids, first.ids, sizeof said.ids);
    answer(a, ids, 70, &said);
    assert_memory_equal(said.ids, first.ids, sizeof said.ids);
    struct pantry_generate_options o = sampled(&said, N_ANSWER);
    assert_int_equal(pantry_generate(b, others, 129, &o, &stats, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a page of keys and values needs "));
    assert_int_equal(said.n, 0);
    assert_int_equal(stats.n_generated, 0);
    o = sampled(&said, N_ANSWER);
    assert_int_equal(pantry_generate(b, others, 126, &o, &stats, &error), PANTRY_NO_MEMORY);
    assert_int_equal(stats.stop, PANTRY_STOP_NONE);
    assert_int_equal(stats.n_generated, 3); /* 126, 127, 128: four pages are full */
    assert_int_equal(said.n, 3);
    assert_int_equal(pantry_session_n_past(b), 4 * PN_PAGE_TOKENS);
    answer(a, ids, 70, &said);
    assert_memory_equal(said.ids, first.ids, sizeof said.ids);
    answer(b, others, 40, &said);
    pantry_session_free(a);
    assert_int_equal(pages_in_use(b), 2);
    equals_fresh(roomy, others, 40, &said);
    pantry_session_clear(b);
    assert_int_equal(pages_in_use(b), 0);
    pantry_session_free(b);
    pantry_model_free(roomy);
    pantry_model_free(model);
}

static struct pn_device_class failing; /* fails after the step has run */
static const struct pn_device_class *working;

static pantry_status wait_and_fail(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err)
{
    pantry_status status = working->wait(device, ticket, err);
    return status ? status : pn_fail(err, PANTRY_IO, "the test's device fails");
}

/* A failed step may have changed some layers: the session resumes from its earlier tokens, of which the prefix tree has
 * copies. */
static void failed_steps_leave_sessions_usable(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "mamba2", "qwen35"};
    for (size_t i = 0; i < COUNT(archs); i++) {
        struct pantry_error error;
        struct said said;
        pantry_model *model = load_on_ref(i == 0 ? tiny_model("llama", GW_F32, "tiny.gguf") : tiny_hybrid(archs[i]));
        pantry_session *session =
            open_session(model, &(struct pantry_session_options){
                                    .size = sizeof(struct pantry_session_options), .kv_type = "f32", .n_batch = 16});
        struct pn_device *device = model->runner->device;
        int32_t turn[60];
        answer(session, ids, 40, &said);
        memcpy(turn, ids, 40 * sizeof *ids);
        memcpy(turn + 40, said.ids, 5 * sizeof *ids);
        memcpy(turn + 45, others, 15 * sizeof *ids);
        working = device->class;
        failing = *working;
        failing.wait = wait_and_fail;
        device->class = &failing;
        struct pantry_generate_options o = sampled(&said, N_ANSWER);
        assert_int_equal(pantry_generate(session, turn, 60, &o, NULL, &error), PANTRY_IO);
        assert_string_equal(error.text, "the test's device fails");
        device->class = working;
        assert_int_equal(pantry_session_n_past(session), 45);
        pages_in_use(session);
        assert_int_equal(answer(session, turn, 60, &said), 45);
        equals_fresh(model, turn, 60, &said);
        pantry_session_free(session);
        pantry_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewinding_anywhere_equals_a_fresh_session),
        cmocka_unit_test(held_tokens_are_reused),
        cmocka_unit_test(recurrent_models_resume_from_copies),
        cmocka_unit_test(sessions_do_not_take_each_others_pages),
        cmocka_unit_test(a_model_has_one_cache_type),
        cmocka_unit_test(runners_have_one_pool),
        cmocka_unit_test(options_are_bounded),
        cmocka_unit_test(contexts_fit_the_pool_and_the_model),
        cmocka_unit_test(full_contexts_refuse_one_more),
        cmocka_unit_test(only_generating_models_have_sessions),
        cmocka_unit_test(slices_change_nothing),
        cmocka_unit_test(used_up_pools_are_errors),
        cmocka_unit_test(failed_steps_leave_sessions_usable),
    };
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
