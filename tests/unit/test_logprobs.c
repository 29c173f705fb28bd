/* Log probabilities against the definition in long doubles; and through the public API: the model's own distribution
 * whatever the sampling options are, with the right token even if the queue is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/logprobs.h"
#include "pantry.h"
#include "script_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { MAX_VOCAB = 4000, VOCAB = 40 };

/* ---- the reference ---- */

static const float *ordered;

static int by_logit(const void *a, const void *b)
{
    float x = ordered[*(const int *)a], y = ordered[*(const int *)b];
    return x != y ? (x < y ? 1 : -1) : *(const int *)a - *(const int *)b;
}

/* log p[i]; *n_possible ids in `order`, likeliest first. */
static void reference(const float *logits, int n, double *logp, int *order, int *n_possible)
{
    long double sum = 0, highest = -INFINITY;
    *n_possible = 0;
    for (int i = 0; i < n; i++) {
        highest = (long double)logits[i] > highest ? (long double)logits[i] : highest;
        if (logits[i] > -INFINITY)
            order[(*n_possible)++] = i;
    }
    for (int i = 0; i < *n_possible; i++)
        sum += expl((long double)logits[order[i]] - highest);
    for (int i = 0; i < n; i++)
        logp[i] = isnan(logits[i]) ? -INFINITY : (double)((long double)logits[i] - highest - logl(sum));
    ordered = logits;
    qsort(order, (size_t)*n_possible, sizeof *order, by_logit);
}

static bool near(float got, double expected, double tolerance)
{
    return isinf(expected) ? (double)got == expected : fabs((double)got - expected) <= tolerance * (1 + fabs(expected));
}

static void check_row(struct pn_logprobs *l, const float *logits)
{
    static double logp[MAX_VOCAB];
    static int order[MAX_VOCAB];
    int n, most = l->n_most;
    reference(logits, l->n_vocab, logp, order, &n);
    for (int k = 0; k < 4; k++) {
        int32_t id = k * (l->n_vocab - 1) / 3;
        pn_logprobs_keep(l, logits);
        pn_logprobs_take(l, id);
        if (!near(l->logprob, logp[id], 1e-7))
            fail_msg("token %d of %d: %.9g, not %.9g", id, l->n_vocab, (double)l->logprob, logp[id]);
        assert_int_equal(l->n_top, most < n ? most : n);
        for (int i = 0; i < l->n_top; i++) {
            assert_int_equal(l->top[i].id, order[i]);
            assert_true(near(l->top[i].logprob, logp[order[i]], 1e-7));
        }
    }
}

/* ---- one row ---- */

static void rows_equal_the_definition(void **state)
{
    (void)state;
    static float logits[MAX_VOCAB];
    struct pn_rng rng = {3};
    for (int round = 0; round < 200; round++) {
        int n = 1 + (int)(pn_rng_u64(&rng) % (round % 4 ? 60 : MAX_VOCAB)), kinds = 1 + round % 5;
        for (int i = 0; i < n; i++) {
            float x = pn_rng_float(&rng) * 30 - 15;
            logits[i] = round % 3 ? x : roundf(x); /* many are equal */
            if (kinds == 4 && pn_rng_u64(&rng) % 3)
                logits[i] = pn_rng_u64(&rng) % 2 ? NAN : -INFINITY;
        }
        logits[n / 2] = 1; /* at least one number */
        struct pn_logprobs l;
        assert_int_equal(pn_logprobs_init(&l, true, round % 21, n, NULL), PANTRY_OK);
        check_row(&l, logits);
        pn_logprobs_free(&l);
    }
}

static void infinite_logits_share(void **state)
{
    (void)state;
    static const float logits[] = {INFINITY, 3, NAN, INFINITY, -INFINITY};
    struct pn_logprobs l;
    assert_int_equal(pn_logprobs_init(&l, true, 4, COUNT(logits), NULL), PANTRY_OK);
    pn_logprobs_keep(&l, logits);
    pn_logprobs_take(&l, 3);
    assert_true(near(l.logprob, log(0.5), 1e-7));
    assert_int_equal(l.n_top, 3);
    assert_true(l.top[0].id == 0 && l.top[1].id == 3 && near(l.top[1].logprob, log(0.5), 1e-7));
    assert_true(l.top[2].id == 1 && (double)l.top[2].logprob == -INFINITY);
    pn_logprobs_take(&l, -1); /* no token: no change */
    assert_int_equal(l.n_top, 3);
    pn_logprobs_free(&l);
}

/* ---- through the public API ---- */

static float table[SCRIPT_CONTEXT * VOCAB];
static char pieces[VOCAB][4];
static pantry_model *model;

static int load(void **state)
{
    (void)state;
    struct gw g;
    struct pn_rng rng = {7};
    struct pantry_error error;
    const char *tokens[VOCAB];
    for (int i = 0; i < SCRIPT_CONTEXT * VOCAB; i++)
        table[i] = pn_rng_float(&rng) * 8 - 4;
    for (int i = 0; i < VOCAB; i++) {
        snprintf(pieces[i], sizeof pieces[i], "%c%c", 'a' + i / 26, 'a' + i % 26);
        tokens[i] = pieces[i];
    }
    script_model_init(&g, table, VOCAB);
    script_tokenizer(&g, tokens, VOCAB, -1);
    const char *path = gw_file(&g, "logprobs.gguf");
    gw_free(&g);
    return pantry_model_load(path, NULL, &model, &error) != PANTRY_OK;
}

static int unload(void **state)
{
    (void)state;
    pantry_model_free(model);
    return 0;
}

struct told {
    int n, n_prompt, n_most, n_texts;
    int32_t ids[SCRIPT_CONTEXT];
};

/* The token's log probabilities are those of its position. */
static void check_token(struct told *told, const struct pantry_token *token)
{
    double logp[VOCAB];
    int order[VOCAB], n;
    if (token->id < 0) {
        told->n_texts++;
        assert_true(token->logprob == 0 && token->n_top == 0);
        return;
    }
    reference(table + (told->n_prompt - 1 + told->n) * VOCAB, VOCAB, logp, order, &n);
    if (!near(token->logprob, logp[token->id], 3e-4))
        fail_msg("token %d: %g, not %g", told->n, (double)token->logprob, logp[token->id]);
    assert_int_equal(token->n_top, told->n_most);
    for (int i = 0; i < token->n_top; i++) {
        assert_true(near(token->top[i].logprob, logp[token->top[i].id], 3e-4));
        assert_true(near(token->top[i].logprob, logp[order[i]], 3e-4)); /* equal ones may swap */
    }
    told->ids[told->n++] = token->id;
}

static bool on_token(void *user, const struct pantry_token *token)
{
    check_token(user, token);
    return true;
}

static const int32_t prompt[] = {3, 1, 2};

static struct pantry_request_options options(int max_tokens, int n_most)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = prompt;
    o.n_ids = COUNT(prompt);
    o.max_tokens = max_tokens;
    o.n_context = SCRIPT_CONTEXT;
    o.sampling.temperature = 0;
    o.logprobs = n_most >= 0;
    o.top_logprobs = n_most < 0 ? 0 : n_most;
    return o;
}

static pantry_request *submit(const struct pantry_request_options *o)
{
    struct pantry_error error;
    pantry_request *r;
    if (pantry_submit(model, o, &r, &error))
        fail_msg("%s", error.text);
    return r;
}

static struct told read_all(pantry_request *r, int n_most)
{
    struct told told = {.n_prompt = COUNT(prompt), .n_most = n_most};
    const struct pantry_event *event;
    while ((event = pantry_request_next(r, -1))->kind == PANTRY_EVENT_TOKEN)
        check_token(&told, event->token);
    assert_int_equal(event->status, PANTRY_OK);
    pantry_request_free(r);
    return told;
}

/* Options do not change the values: a bias, penalties and cuts affect only the choice. */
static void options_do_not_change_the_values(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        static const int most[] = {0, 1, 5, 20, 7};
        struct pantry_request_options o = options(40, most[i]);
        if (i > 0)
            o.sampling = pantry_sampling_default();
        o.sampling.seed = (uint64_t)i;
        o.sampling.top_k = i == 2 ? 3 : 0;
        o.sampling.repeat_penalty = i >= 3 ? 2 : 1;
        o.sampling.presence_penalty = i == 4 ? 1.5f : 0;
        o.sampling.penalty_last_n = -1;
        o.logit_bias = (const struct pantry_logit_bias[]){{4, 3}, {9, -8}};
        o.n_logit_bias = i == 1 ? 2 : 0;
        struct told told = read_all(submit(&o), most[i]);
        assert_int_equal(told.n, 40);
    }
}

static void generations_report_them_too(void **state)
{
    (void)state;
    pantry_session *session;
    struct told told = {.n_prompt = COUNT(prompt), .n_most = 4};
    struct pantry_generate_options o = pantry_generate_options_default();
    assert_int_equal(pantry_session_new(model, NULL, &session, NULL), PANTRY_OK);
    o.max_tokens = 20;
    o.logprobs = true;
    o.top_logprobs = 4;
    o.callback = on_token;
    o.user = &told;
    assert_int_equal(pantry_generate(session, prompt, COUNT(prompt), &o, NULL, NULL), PANTRY_OK);
    assert_int_equal(told.n, 20);
    pantry_session_free(session);
}

/* The device chooses for greedy requests unless another request of the step needs logits; the tokens are the same. */
static void greedy_requests_share_steps(void **state)
{
    (void)state;
    const int most[] = {-1, 2, 0, -1};
    pantry_request *r[COUNT(most)];
    int32_t ids[COUNT(most)][SCRIPT_CONTEXT];
    for (size_t i = 0; i < COUNT(most); i++) {
        struct pantry_request_options o = options(60 - 10 * (int)i, most[i]);
        r[i] = submit(&o);
    }
    for (size_t i = 0; i < COUNT(most); i++) {
        const struct pantry_event *event;
        struct told told = {.n_prompt = COUNT(prompt), .n_most = most[i]};
        while ((event = pantry_request_next(r[i], -1))->kind == PANTRY_EVENT_TOKEN) {
            if (most[i] >= 0)
                check_token(&told, event->token);
            else
                assert_true(event->token->logprob == 0 && event->token->n_top == 0);
            ids[i][told.n - (most[i] >= 0)] = event->token->id;
            told.n += most[i] < 0;
        }
        assert_int_equal(told.n, 60 - 10 * (int)i);
        assert_memory_equal(ids[i], ids[0], (size_t)told.n * sizeof *ids[i]);
        pantry_request_free(r[i]);
    }
}

/* The engine fills the queue, waits, and continues when the reader reads: each token keeps its own values. The last
 * token's text is held back, since it may begin a stop text, and comes in an event without values. */
static void a_full_queue_keeps_them_apart(void **state)
{
    (void)state;
    char text[8];
    const char *stop = text;
    struct pantry_request_options o = options(100, 3), other = options(110, -1);
    struct told told = read_all(submit(&o), 3);
    assert_int_equal(told.n_texts, 0);
    snprintf(text, sizeof text, "%s!", pieces[told.ids[99]]);
    o.stop = &stop;
    o.n_stop = 1;
    pantry_request *r = submit(&o), *beside = submit(&other);
    while (pantry_request_next(beside, -1)->kind == PANTRY_EVENT_TOKEN)
        ; /* it is longer: when it ends, the other queue is full */
    pantry_request_free(beside);
    told = read_all(r, 3);
    assert_int_equal(told.n, 100);
    assert_int_equal(told.n_texts, 1);
}

static void bad_options_are_errors(void **state)
{
    (void)state;
    static const struct {
        bool logprobs;
        int top;
        const char *says;
    } cases[] = {{true, 21, "top_logprobs: out of range (found 21, allowed 0..20)"},
                 {true, -1, "top_logprobs: out of range (found -1, allowed 0..20)"},
                 {false, 1, "top_logprobs: out of range (found 1, allowed 0 without logprobs)"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error = {0};
        struct pantry_request_options o = options(1, 0);
        pantry_request *r;
        o.logprobs = cases[i].logprobs;
        o.top_logprobs = cases[i].top;
        assert_int_equal(pantry_submit(model, &o, &r, &error), PANTRY_INVALID);
        assert_string_equal(error.text, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_the_definition),        cmocka_unit_test(infinite_logits_share),
        cmocka_unit_test(options_do_not_change_the_values), cmocka_unit_test(generations_report_them_too),
        cmocka_unit_test(greedy_requests_share_steps),      cmocka_unit_test(a_full_queue_keeps_them_apart),
        cmocka_unit_test(bad_options_are_errors),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
