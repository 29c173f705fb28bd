/* The engine: generation, reuse of a session's tokens, sampling, threads and failures. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/sample.h"
#include "pantry.h"
#include "sanitized.h"
#include "tiny_model.h"

/* ---- counting allocations: glibc lets a program replace malloc ---- */

#if defined(__GLIBC__) && !PN_ASAN && !PN_TSAN
#define COUNTS_ALLOCATIONS 1
static atomic_int n_allocations;
static atomic_bool counting;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
void *malloc(size_t size)
{
    n_allocations += atomic_load(&counting);
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    n_allocations += atomic_load(&counting);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    n_allocations += atomic_load(&counting);
    return __libc_realloc(p, size);
}
#endif

/* ---- a tiny model with a tokenizer: one character per token ---- */

static const char *const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!";

static const char *model_of(const char *arch)
{
    struct gw g;
    char text[TINY_VOCAB][2];
    const char *tokens[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) {
        text[i][0] = alphabet[i];
        text[i][1] = '\0';
        tokens[i] = text[i];
    }
    tiny_model_init(&g, arch, GW_F16);
    gw_str(&g, "tokenizer.ggml.model", "gpt2");
    gw_str(&g, "tokenizer.ggml.pre", "gpt-2");
    gw_strings(&g, "tokenizer.ggml.tokens", TINY_VOCAB, tokens);
    gw_strings(&g, "tokenizer.ggml.merges", 0, NULL);
    gw_u32(&g, "tokenizer.ggml.eos_token_id", TINY_VOCAB - 1);
    const char *path = gw_file(&g, "text.gguf");
    gw_free(&g);
    return path;
}

static const char *model_with_text(void)
{
    return model_of("llama");
}

struct fixture {
    pantry_model *model;
    pantry_session *session;
};

static void open_model(struct fixture *f, const char *path, const char *device, int n_context)
{
    struct pantry_error error;
    struct pantry_session_options options = {.size = sizeof options, .n_context = n_context};
    if (pantry_model_load(path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 2},
                          &f->model, &error) ||
        pantry_session_new(f->model, &options, &f->session, &error))
        fail_msg("%s", error.text);
}

static void close_model(struct fixture *f)
{
    pantry_session_free(f->session);
    pantry_model_free(f->model);
}

struct answer {
    int32_t ids[512];
    int n;
    char text[2048];
    size_t len;
    int stop_after; /* 0: never */
};

static bool collect(void *user, const struct pantry_token *token)
{
    struct answer *a = user;
    if (token->id >= 0)
        a->ids[a->n++] = token->id;
    memcpy(a->text + a->len, token->text, token->len);
    a->len += token->len;
    a->text[a->len] = '\0';
#ifdef COUNTS_ALLOCATIONS
    atomic_store(&counting, true); /* after the first token */
#endif
    return !a->stop_after || a->n < a->stop_after;
}

static struct pantry_generate_options greedy(struct answer *a, int n)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    o.sampling.temperature = 0;
    o.max_tokens = n;
    o.ignore_eos = true;
    o.callback = collect;
    o.user = a;
    return o;
}

static struct pantry_stats generate(pantry_session *session, const int32_t *ids, size_t n,
                                    const struct pantry_generate_options *o)
{
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error;
    pantry_status status = pantry_generate(session, ids, n, o, &stats, &error);
#ifdef COUNTS_ALLOCATIONS
    atomic_store(&counting, false);
#endif
    if (status)
        fail_msg("%s", error.text);
    return stats;
}

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static void same_answer(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
    assert_string_equal(a->text, b->text);
}

static void devices_generate_the_same(void **state)
{
    (void)state;
    struct answer a[2] = {0};
    static const char *const devices[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        open_model(&f, model_with_text(), devices[i], 0);
        struct pantry_generate_options o = greedy(&a[i], 40);
        struct pantry_stats stats = generate(f.session, prompt, N_PROMPT, &o);
        assert_int_equal(stats.n_generated, 40);
        assert_int_equal(stats.n_prompt, N_PROMPT);
        assert_int_equal(stats.stop, PANTRY_STOP_LENGTH);
        close_model(&f);
    }
    same_answer(&a[0], &a[1]);
    for (int i = 0; i < a[0].n; i++) /* one character per token */
        assert_int_equal(a[0].text[i], alphabet[a[0].ids[i]]);
}

#ifdef COUNTS_ALLOCATIONS
static void allocates_nothing(const char *arch)
{
    struct fixture f;
    open_model(&f, model_of(arch), "cpu", 0);
    struct answer first = {0};
    struct pantry_generate_options warm_up = greedy(&first, 100); /* the prefix tree gets its nodes */
    generate(f.session, prompt, N_PROMPT, &warm_up);
    for (int sampled = 0; sampled < 2; sampled++) {
        struct answer a = {0};
        struct pantry_generate_options o = greedy(&a, 100); /* several pages of the cache */
        static const char *const stop[] = {"never this"};
        o.stop = stop;
        o.n_stop = 1;
        o.sampling.temperature = (float)sampled;
        o.sampling.top_k = sampled ? 0 : 40;
        o.sampling.repeat_penalty = 1.1f;
        n_allocations = 0;
        generate(f.session, prompt, N_PROMPT, &o);
        assert_int_equal(n_allocations, 0);
    }
    close_model(&f);
}
#endif

static void token_loop_allocates_nothing(void **state)
{
    (void)state;
#ifdef COUNTS_ALLOCATIONS
    allocates_nothing("llama");
    allocates_nothing("gemma3"); /* it gives pages back */
#else
    skip();
#endif
}

static void prefixes_are_reused(void **state)
{
    (void)state;
    struct fixture f, fresh;
    struct answer first = {0}, second = {0}, wanted = {0};
    open_model(&f, model_with_text(), "cpu", 0);
    open_model(&fresh, model_with_text(), "cpu", 0);
    struct pantry_generate_options o = greedy(&first, 40);
    assert_int_equal(generate(f.session, prompt, N_PROMPT, &o).n_cached, 0);
    /* The next turn: prompt, answer, more. All tokens but the last of the answer already have keys and values. */
    int32_t turn[N_PROMPT + 43];
    memcpy(turn, prompt, sizeof prompt);
    memcpy(turn + N_PROMPT, first.ids, 40 * sizeof *turn);
    for (int i = 0; i < 3; i++)
        turn[N_PROMPT + 40 + i] = 10 + i;
    o = greedy(&second, 20);
    struct pantry_stats stats = generate(f.session, turn, N_PROMPT + 43, &o);
    assert_int_equal(stats.n_cached, N_PROMPT + 39);
    o = greedy(&wanted, 20);
    generate(fresh.session, turn, N_PROMPT + 43, &o);
    same_answer(&second, &wanted);
    /* Another branch from the middle: tokens after it are dropped. */
    turn[20] = (turn[20] + 1) % TINY_VOCAB;
    second = wanted = (struct answer){0};
    o = greedy(&second, 20);
    assert_int_equal(generate(f.session, turn, N_PROMPT + 43, &o).n_cached, 20);
    pantry_session_clear(fresh.session);
    o = greedy(&wanted, 20);
    assert_int_equal(generate(fresh.session, turn, N_PROMPT + 43, &o).n_cached, 0);
    same_answer(&second, &wanted);
    close_model(&f);
    close_model(&fresh);
}

static void seeds_repeat(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a[3] = {0};
    open_model(&f, model_with_text(), "cpu", 0);
    for (int i = 0; i < 3; i++) {
        struct pantry_generate_options o = greedy(&a[i], 60);
        o.sampling = pantry_sampling_default();
        o.sampling.temperature = 1.5f;
        o.sampling.seed = i < 2 ? 11 : 12;
        generate(f.session, prompt, N_PROMPT, &o);
    }
    same_answer(&a[0], &a[1]);
    assert_memory_not_equal(a[0].ids, a[2].ids, 60 * sizeof(int32_t));
    close_model(&f);
}

static void stops_follow_the_options(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0}, b = {0};
    open_model(&f, model_with_text(), "cpu", 0);
    struct pantry_generate_options o = greedy(&a, 40);
    generate(f.session, prompt, N_PROMPT, &o);

    char stop_text[4] = {0};
    memcpy(stop_text, a.text + 20, 3);
    const char *stop[] = {"\x01never", stop_text};
    size_t at = (size_t)(strstr(a.text, stop_text) - a.text);
    o = greedy(&b, 40);
    o.stop = stop;
    o.n_stop = 2;
    assert_int_equal(generate(f.session, prompt, N_PROMPT, &o).stop, PANTRY_STOP_TEXT);
    assert_int_equal(b.len, at);
    assert_memory_equal(b.text, a.text, at);

    /* The beginning of a stop text that never completes is shown at the end. */
    char never[3] = {a.text[39], '\x01', 0};
    const char *unseen[] = {never};
    b = (struct answer){0};
    o = greedy(&b, 40);
    o.stop = unseen;
    o.n_stop = 1;
    generate(f.session, prompt, N_PROMPT, &o);
    assert_string_equal(b.text, a.text);

    b = (struct answer){.stop_after = 7};
    o = greedy(&b, 40);
    struct pantry_stats stats = generate(f.session, prompt, N_PROMPT, &o);
    assert_int_equal(stats.stop, PANTRY_STOP_CALLBACK);
    assert_int_equal(b.n, 7);

    pantry_cancel *cancel = pantry_cancel_new();
    pantry_cancel_set(cancel);
    b = (struct answer){0};
    o = greedy(&b, 40);
    o.cancel = cancel;
    pantry_session_clear(f.session);
    stats = generate(f.session, prompt, N_PROMPT, &o);
    assert_int_equal(stats.stop, PANTRY_STOP_CANCELLED);
    assert_int_equal(stats.n_generated, 0);
    pantry_cancel_free(cancel);
    close_model(&f);
}

/* eos is token 63. The test searches for a prompt whose greedy answer contains it, so it does not depend on the
 * weights. */
static void ends_at_eos(void **state)
{
    (void)state;
    struct fixture f;
    bool seen = false;
    open_model(&f, model_with_text(), "cpu", 0);
    for (int32_t start = 0; start < TINY_VOCAB && !seen; start++) {
        struct answer all = {0}, ended = {0};
        struct pantry_generate_options o = greedy(&all, 60);
        o.sampling.temperature = 3;
        o.sampling.top_k = 0;
        generate(f.session, &start, 1, &o);
        int at = 0;
        while (at < all.n && all.ids[at] != TINY_VOCAB - 1)
            at++;
        if (at == all.n)
            continue;
        seen = true;
        o.ignore_eos = false;
        o.user = &ended;
        assert_int_equal(generate(f.session, &start, 1, &o).stop, PANTRY_STOP_END);
        assert_int_equal(ended.n, at);
    }
    assert_true(seen);
    close_model(&f);
}

static void contexts_end(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error;
    int32_t many[80] = {0};
    open_model(&f, model_with_text(), "cpu", 40);
    struct pantry_generate_options o = greedy(&a, 0);
    stats = generate(f.session, prompt, N_PROMPT, &o);
    assert_int_equal(stats.stop, PANTRY_STOP_LENGTH);
    assert_int_equal(stats.n_generated, 40 - N_PROMPT + 1); /* the last token needs no room */
    assert_int_equal(pantry_generate(f.session, many, 80, &o, &stats, &error), PANTRY_CONTEXT_FULL);
    assert_non_null(strstr(error.text, "80 tokens"));
    assert_int_equal(pantry_generate(f.session, many, 0, &o, &stats, &error), PANTRY_INVALID);
    many[1] = TINY_VOCAB;
    assert_int_equal(pantry_generate(f.session, many, 2, &o, &stats, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "token id 64"));
    o.sampling.top_p = 0;
    assert_int_equal(pantry_generate(f.session, prompt, N_PROMPT, &o, &stats, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "top_p"));
    close_model(&f);
}

/* ---- threads ---- */

struct parallel {
    pantry_session *session;
    struct answer answer;
    int32_t start;
};

static void *generate_many(void *argument)
{
    struct parallel *p = argument;
    struct pantry_stats stats = {.size = sizeof stats};
    for (int round = 0; round < 5; round++) {
        p->answer = (struct answer){0};
        struct pantry_generate_options o = greedy(&p->answer, 50);
        pantry_session_clear(p->session);
        if (pantry_generate(p->session, &p->start, 1, &o, &stats, NULL))
            return p;
    }
    return NULL;
}

static void sessions_in_threads_are_right(void **state)
{
    (void)state;
    struct fixture f;
    struct pantry_error error;
    struct parallel p[2] = {{.start = 7}, {.start = 30}};
    struct answer wanted[2] = {0};
    open_model(&f, model_with_text(), "cpu", 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        struct pantry_generate_options o = greedy(&wanted[i], 50);
        pantry_session_clear(f.session);
        generate(f.session, &p[i].start, 1, &o);
        assert_int_equal(pantry_session_new(f.model, NULL, &p[i].session, &error), PANTRY_OK);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, generate_many, &p[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
        same_answer(&p[i].answer, &wanted[i]);
        pantry_session_free(p[i].session);
    }
    close_model(&f);
}

/* ---- files that change ---- */

static void truncated_while_in_use(void **state)
{
    (void)state;
    struct fixture f, other;
    struct answer a = {0};
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error;
    const char *path = model_with_text();
    char copy[1200];
    snprintf(copy, sizeof copy, "%s.cut", path);
    assert_int_equal(rename(path, copy), 0);
    open_model(&f, copy, "cpu", 0);
    open_model(&other, model_with_text(), "cpu", 0);
    struct pantry_generate_options o = greedy(&a, 10);
    generate(f.session, prompt, N_PROMPT, &o);
    assert_int_equal(truncate(copy, 4096), 0);
    assert_int_equal(pantry_generate(f.session, prompt, N_PROMPT, &o, &stats, &error), PANTRY_IO);
    assert_non_null(strstr(error.text, "truncated"));
    a = (struct answer){0};
    assert_int_equal(generate(other.session, prompt, N_PROMPT, &o).n_generated, 10); /* the process lives */
    close_model(&f);
    close_model(&other);
    unlink(copy);
}

/* ---- sampling ---- */

static int32_t choose(struct pantry_sampling options, const float *logits, int n, const int32_t *recent, int n_recent)
{
    struct pn_sampler s;
    float copy[16];
    memcpy(copy, logits, (size_t)n * sizeof *copy);
    assert_int_equal(pn_sampler_init(&s, &options, n, NULL), PANTRY_OK);
    int32_t id = pn_sampler_choose(&s, copy, recent, n_recent);
    pn_sampler_free(&s);
    return id;
}

static void sampling_follows_its_options(void **state)
{
    (void)state;
    const float logits[8] = {0, 5, 4, 4.5f, -2, 3, NAN, -INFINITY};
    struct pantry_sampling o = pantry_sampling_default();
    o.temperature = 0;
    assert_int_equal(choose(o, logits, 8, NULL, 0), 1);
    /* Penalties: 5 / 2 < 4.5; 5 - 2 * 0.4 < 4.5; 5 - 0.6 < 4.5. */
    const int32_t recent[] = {1, 1};
    o.repeat_penalty = 2;
    assert_int_equal(choose(o, logits, 8, recent, 2), 3);
    o.repeat_penalty = 1;
    o.frequency_penalty = 0.4f;
    assert_int_equal(choose(o, logits, 8, recent, 2), 3);
    assert_int_equal(choose(o, logits, 8, recent, 1), 1);
    o.frequency_penalty = 0;
    o.presence_penalty = 0.6f;
    assert_int_equal(choose(o, logits, 8, recent, 2), 3);
    o.penalty_last_n = 0;
    assert_int_equal(choose(o, logits, 8, recent, 2), 1);
    /* With one candidate left the seed does not matter. */
    o = pantry_sampling_default();
    o.temperature = 100;
    struct pantry_sampling one = o;
    for (one.seed = 0; one.seed < 20; one.seed++) {
        one.top_k = 1;
        assert_int_equal(choose(one, logits, 8, NULL, 0), 1);
    }
    o.top_k = 0;
    struct pantry_sampling few = o;
    int counts[8] = {0};
    few.min_p = 0.5f; /* exp(4.5 - 5) = 0.61 stays, exp(4 - 5) = 0.37 goes */
    few.top_p = 1;
    for (few.seed = 0; few.seed < 200; few.seed++)
        counts[choose(few, logits, 8, NULL, 0)]++;
    assert_int_equal(counts[1] + counts[3], 200);
    assert_true(counts[1] > 60 && counts[3] > 60);
    memset(counts, 0, sizeof counts);
    few = o;
    few.min_p = 0;
    few.top_p = 0.6f; /* 0.450 + 0.273 >= 0.6 */
    for (few.seed = 0; few.seed < 200; few.seed++)
        counts[choose(few, logits, 8, NULL, 0)]++;
    assert_int_equal(counts[1] + counts[3], 200);
    assert_true(counts[1] > 60 && counts[3] > 60);
}

/* Compares the frequencies of many draws with the softmax: a chi-square test with 4 degrees of freedom. */
static void sampling_follows_the_distribution(void **state)
{
    (void)state;
    enum { N = 5, DRAWS = 20000 };
    const float logits[N] = {1, 0, -1, 2, 0.5f};
    struct pantry_sampling o = {.temperature = 0.7f, .top_p = 1, .repeat_penalty = 1, .seed = 5};
    struct pn_sampler s;
    assert_int_equal(pn_sampler_init(&s, &o, N, NULL), PANTRY_OK);
    int counts[N] = {0};
    double sum = 0, chi = 0;
    for (int i = 0; i < DRAWS; i++) {
        float copy[N];
        memcpy(copy, logits, sizeof copy);
        counts[pn_sampler_choose(&s, copy, NULL, i)]++; /* a different position each time */
    }
    pn_sampler_free(&s);
    for (int i = 0; i < N; i++)
        sum += exp((double)logits[i] / 0.7);
    for (int i = 0; i < N; i++) {
        double wanted = DRAWS * exp((double)logits[i] / 0.7) / sum;
        chi += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
    }
    assert_true(chi < 18.5); /* p = 0.001 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_generate_the_same),
        cmocka_unit_test(token_loop_allocates_nothing),
        cmocka_unit_test(prefixes_are_reused),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(stops_follow_the_options),
        cmocka_unit_test(ends_at_eos),
        cmocka_unit_test(contexts_end),
        cmocka_unit_test(sessions_in_threads_are_right),
        cmocka_unit_test(truncated_while_in_use),
        cmocka_unit_test(sampling_follows_its_options),
        cmocka_unit_test(sampling_follows_the_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
