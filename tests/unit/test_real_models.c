/* The two real models against golden files made with llama.cpp (tests/golden/make_real_models.py): tokens of the texts,
 * logits of the prompts, greedy tokens.
 *
 * llama.cpp rounds activations to 8 bits. These models carry such a rounding, or only another order of summation, to an
 * NMSE of about 1e-3 in the logits: llama.cpp run token by token differs by that much from itself run in one batch. Our
 * fast kernels round to 15 bits. So they, and the generic instruction set, which does not round, must agree closely
 * with llama.cpp's logits without rounding ("exact": float32 weights there), and with its rounded ones by the size of
 * its noise.
 *
 * Without rounding every weight is decoded for every product, which takes minutes: only the shorter prompts go that
 * way, one of them on to greedy tokens. With PANTRY_TEST_SLOW all of them do.
 *
 * Skipped for a model that is not on this machine: it is looked for in the store, and in PANTRY_TEST_MODELS. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pantry.h"
#include "store/store.h"

struct golden {
    json_t *root;
    char path[1024];
    pantry_model *model; /* one at a time: with rounding, or without */
    pantry_session *session;
    int n_vocab;
};

enum { SHORT_PROMPT = 32 }; /* tokens */

static bool everything(void)
{
    return getenv("PANTRY_TEST_SLOW") != NULL;
}

static bool find_golden(struct golden *g, const char *file, const char *name)
{
    char path[1024], *stored = NULL;
    const char *folder = getenv("PANTRY_TEST_MODELS");
    if (folder)
        snprintf(g->path, sizeof g->path, "%s/%s.gguf", folder, file);
    else if (pn_store_resolve(name, &stored, NULL) == PANTRY_OK)
        snprintf(g->path, sizeof g->path, "%s", stored);
    free(stored);
    if (!g->path[0] || access(g->path, R_OK) != 0)
        return false;
    snprintf(path, sizeof path, "tests/golden/%s.json", file);
    g->root = json_load_file(path, 0, NULL);
    assert_non_null(g->root);
    return true;
}

static void open_model(struct golden *g, const char *isa, const char *kv_type)
{
    struct pantry_error error;
    struct pantry_model_info info = {.size = sizeof info};
    /* Slices of 32 tokens, which no pace makes shorter: the same sums whatever else the machine does. */
    const struct pantry_session_options session = {
        .size = sizeof session, .n_context = 1024, .n_batch = 32, .kv_type = kv_type};
    if (pantry_model_load(g->path,
                          &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .isa = isa},
                          &g->model, &error) ||
        pantry_session_new(g->model, &session, &g->session, &error))
        fail_msg("%s", error.text);
    pantry_model_info(g->model, &info, NULL);
    g->n_vocab = info.n_vocab;
}

static void close_model(struct golden *g)
{
    pantry_session_free(g->session);
    pantry_model_free(g->model);
}

static int32_t *ids_of(json_t *list, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = malloc(*n * sizeof *ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static void check_tokens(const struct golden *g, const char *key, json_t *prompt)
{
    struct pantry_error error;
    const char *text = json_string_value(json_object_get(prompt, "text"));
    int32_t *ids;
    size_t n, n_wanted;
    int32_t *wanted = ids_of(json_object_get(prompt, "ids"), &n_wanted);
    if (pantry_tokenize(pantry_model_tokenizer(g->model), text, strlen(text),
                        PANTRY_TOKENIZE_SPECIAL | PANTRY_TOKENIZE_BOS, &ids, &n, &error))
        fail_msg("%s", error.text);
    if (n != n_wanted || memcmp(ids, wanted, n * sizeof *ids) != 0)
        fail_msg("prompt %s: tokens differ", key);
    pantry_free(ids);
    free(wanted);
}

/* NMSE of two tables of sampled logits, against the mean square of all logits of each position. */
static double distance(json_t *a, json_t *b, json_t *power)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < json_array_size(a); i++) {
        json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
        double squares = 0;
        assert_int_equal(json_array_size(x), json_array_size(y));
        for (size_t j = 0; j < json_array_size(x); j++) {
            double d = json_number_value(json_array_get(x, j)) - json_number_value(json_array_get(y, j));
            squares += d * d;
        }
        off += squares / (double)json_array_size(x);
        all += json_number_value(json_array_get(power, i));
    }
    return off / all;
}

static json_t *our_logits(const struct golden *g, json_t *prompt)
{
    struct pantry_error error;
    json_t *columns = json_object_get(g->root, "columns"), *rows = json_array();
    size_t n, first = (size_t)json_integer_value(json_object_get(prompt, "first_position"));
    int32_t *ids = ids_of(json_object_get(prompt, "ids"), &n);
    float *logits = malloc(n * (size_t)g->n_vocab * sizeof *logits);
    assert_non_null(logits);
    if (pantry_logits(g->session, ids, n, NULL, 0, logits, &error))
        fail_msg("%s", error.text);
    for (size_t i = first; i < n; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < json_array_size(columns); j++) {
            size_t column = (size_t)json_integer_value(json_array_get(columns, j));
            json_array_append_new(row, json_real((double)logits[i * (size_t)g->n_vocab + column]));
        }
        json_array_append_new(rows, row);
    }
    free(logits);
    free(ids);
    return rows;
}

/* Of the fast kernels, from the exact logits; keys and values are in half precision. */
#define MAX_NMSE 2e-5

struct rounding { /* NMSE to the exact logits, summed over prompts */
    double ours, peers;
    int n;
};

/* Returns how far the peer and we, each with its own rounding, may be apart: NMSE. */
static double check_logits(const struct golden *g, const char *key, json_t *prompt, struct rounding *sum)
{
    json_t *power = json_object_get(prompt, "mean_square"), *exact = json_object_get(prompt, "exact");
    json_t *peer = json_object_get(prompt, "logits"), *ours = our_logits(g, prompt);
    double to_exact = distance(ours, exact, power), to_peer = distance(ours, peer, power);
    double noise = distance(peer, exact, power);
    print_message("  %-8s NMSE: fast to exact %.1e, fast to peer %.1e, peer to exact %.1e\n", key, to_exact, to_peer,
                  noise);
    if (!(to_exact < MAX_NMSE) || !(to_peer < 1.5 * noise))
        fail_msg("prompt %s: NMSE to the peer's logits %g (its own noise is %g), to the exact ones %g", key, to_peer,
                 noise, to_exact);
    sum->ours += to_exact;
    sum->peers += noise;
    sum->n++;
    json_decref(ours);
    return to_exact + noise;
}

static void check_plain_logits(const struct golden *g, const char *key, json_t *prompt)
{
    json_t *ours = our_logits(g, prompt);
    double off = distance(ours, json_object_get(prompt, "exact"), json_object_get(prompt, "mean_square"));
    print_message("  %-8s NMSE: plain to exact %.1e\n", key, off);
    if (!(off < 1e-5))
        fail_msg("prompt %s: NMSE of the plain logits to the exact ones %g, allowed 1e-5", key, off);
    json_decref(ours);
}

struct greedy {
    int32_t ids[64];
    int n;
};

static bool collect(void *user, const struct pantry_token *token)
{
    struct greedy *g = user;
    if (token->id >= 0 && g->n < 64)
        g->ids[g->n++] = token->id;
    return true;
}

/* All 64 tokens equal `wanted`, or the first that differs is the runner-up there and closer than `tie`. */
static void check_greedy(pantry_session *session, const char *what, json_t *prompt, const char *wanted_key,
                         const char *runner_up_key, double tie)
{
    struct pantry_error error;
    struct pantry_stats stats = {.size = sizeof stats};
    struct greedy got = {0};
    size_t n, n_wanted;
    int32_t *ids = ids_of(json_object_get(prompt, "ids"), &n);
    int32_t *wanted = ids_of(json_object_get(prompt, wanted_key), &n_wanted);
    struct pantry_generate_options o = pantry_generate_options_default();
    o.sampling.temperature = 0;
    o.max_tokens = 64;
    o.ignore_eos = true;
    o.callback = collect;
    o.user = &got;
    if (pantry_generate(session, ids, n, &o, &stats, &error))
        fail_msg("%s", error.text);
    assert_int_equal(got.n, 64);
    int i = 0;
    while (i < 64 && got.ids[i] == wanted[i])
        i++;
    if (i == 64) {
        print_message("           %s: 64 greedy tokens equal\n", what);
    } else {
        json_t *second = json_array_get(json_object_get(prompt, runner_up_key), (size_t)i);
        double margin = json_number_value(json_array_get(second, 1));
        print_message("           %s: token %d is %d, there %d, its runner-up %d by %.4f (a tie below %.3f)\n", what, i,
                      got.ids[i], wanted[i], (int)json_integer_value(json_array_get(second, 0)), margin, tie);
        if (got.ids[i] != json_integer_value(json_array_get(second, 0)) || margin >= tie)
            fail_msg("%s: token %d differs and is not a tie", what, i);
    }
    free(ids);
    free(wanted);
}

static void check_rounded(struct golden *g)
{
    const char *key;
    json_t *prompt;
    struct rounding sum = {0};
    open_model(g, NULL, NULL);
    json_object_foreach(json_object_get(g->root, "prompts"), key, prompt)
    {
        check_tokens(g, key, prompt);
        double noise = check_logits(g, key, prompt, &sum);
        json_t *power = json_object_get(prompt, "mean_square");
        double last = json_number_value(json_array_get(power, json_array_size(power) - 1));
        /* The difference of two logits with that noise: four standard deviations. */
        check_greedy(g->session, "fast, peer", prompt, "greedy", "runner_up", 4 * sqrt(2 * noise * last));
        check_greedy(g->session, "fast, exact peer", prompt, "exact_greedy", "exact_runner_up", 0.05);
    }
    print_message("  on average NMSE %.1e to the exact logits, the peer %.1e\n", sum.ours / sum.n, sum.peers / sum.n);
    close_model(g);
}

static void check_plain(struct golden *g)
{
    const char *key;
    json_t *prompt;
    int n = 0;
    open_model(g, "generic", "f32");
    json_object_foreach(json_object_get(g->root, "prompts"), key, prompt)
    {
        if (!everything() && json_array_size(json_object_get(prompt, "ids")) > SHORT_PROMPT)
            continue;
        check_plain_logits(g, key, prompt);
        if (everything() || n++ == 0)
            check_greedy(g->session, "plain, exact peer", prompt, "exact_greedy", "exact_runner_up", 0.01);
    }
    assert_true(n > 0 || everything());
    close_model(g);
}

static void check_model(const char *file, const char *name)
{
    struct golden g = {0};
    if (!find_golden(&g, file, name)) {
        print_message("  %s is not on this machine\n", name);
        skip();
    }
    check_rounded(&g);
    check_plain(&g);
    json_decref(g.root);
}

static void smollm2(void **state)
{
    (void)state;
    check_model("smollm2-135m-q4_1", "smollm2:135m");
}

static void gemma3(void **state)
{
    (void)state;
    check_model("gemma3-270m-q4_k_m", "gemma3:270m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2), cmocka_unit_test(gemma3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
