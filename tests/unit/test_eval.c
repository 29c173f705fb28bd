/* pantry_eval and pantry_imatrix: perplexity and divergence against their definitions, importances against the
 * reference device and against hand-made inputs, files and mistakes. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/imatrix_file.h"
#include "pantry.h"

#include "script_model.h"
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 16, LETTERS = 26, LENGTH = 200 };

/* Letters are tokens of their own; without a beginning token. */
static void add_tokenizer(struct gw *g, int n_vocab)
{
    static char text[TINY_VOCAB][8];
    const char *pieces[TINY_VOCAB];
    for (int i = 0; i < n_vocab; i++) {
        snprintf(text[i], sizeof text[i],
                 i == 0         ? "?"
                 : i <= LETTERS ? "%c"
                                : "<%d>",
                 i == 0         ? 0
                 : i <= LETTERS ? 'a' + i - 1
                                : i);
        pieces[i] = i == 0 ? "?" : text[i];
    }
    script_tokenizer(g, pieces, n_vocab, -1);
}

static pantry_model *loaded(const char *path, const char *device)
{
    struct pantry_model_options o = pantry_model_options_default();
    struct pantry_error err;
    pantry_model *m;
    o.device = device;
    o.n_threads = strcmp(device, "cpu") == 0 ? 2 : 0;
    if (pantry_model_load(path, &o, &m, &err) != PANTRY_OK)
        fail_msg("%s", err.text);
    return m;
}

static const char *llama_file(void)
{
    struct gw g;
    tiny_model_init(&g, "llama", GW_F32);
    add_tokenizer(&g, TINY_VOCAB);
    const char *path = gw_file(&g, "eval.gguf");
    gw_free(&g);
    return path;
}

static const char *text(void)
{
    static char letters[LENGTH + 1];
    struct pn_rng rng = {3};
    for (int i = 0; i < LENGTH; i++)
        letters[i] = (char)('a' + (int)(pn_rng_float(&rng) * LETTERS));
    return letters;
}

static double log_prob(const float *logits, int token)
{
    double sum = 0;
    for (int i = 0; i < TINY_VOCAB; i++)
        sum += exp((double)logits[i]);
    return (double)logits[token] - log(sum);
}

static void perplexity_is_as_defined(void **state)
{
    (void)state;
    pantry_model *m = loaded(llama_file(), "cpu");
    struct pantry_eval_options o = pantry_eval_options_default();
    struct pantry_eval_result r = {.size = sizeof r};
    o.n_context = CONTEXT;
    assert_int_equal(pantry_eval(m, text(), LENGTH, &o, &r, NULL), PANTRY_OK);
    assert_int_equal(r.n_windows, LENGTH / CONTEXT);
    assert_int_equal(r.n_tokens, LENGTH / CONTEXT * (CONTEXT / 2 - 1));
    pantry_session *s;
    int32_t *ids;
    size_t n;
    static float logits[CONTEXT * TINY_VOCAB];
    double nll = 0;
    assert_int_equal(pantry_tokenize(pantry_model_tokenizer(m), text(), LENGTH, 0, &ids, &n, NULL), PANTRY_OK);
    assert_int_equal(n, LENGTH);
    assert_int_equal(pantry_session_new(m, NULL, &s, NULL), PANTRY_OK);
    for (int w = 0; w < LENGTH / CONTEXT; w++) {
        assert_int_equal(pantry_logits(s, ids + w * CONTEXT, CONTEXT, NULL, 0, logits, NULL), PANTRY_OK);
        for (int i = CONTEXT / 2; i < CONTEXT - 1; i++)
            nll -= log_prob(logits + i * TINY_VOCAB, ids[w * CONTEXT + i + 1]);
    }
    double want = exp(nll / (double)r.n_tokens);
    assert_true(fabs(r.perplexity - want) < 1e-4 * want);
    assert_true(r.perplexity_error > 0 && r.perplexity_error < want);
    pantry_session_free(s);
    pantry_free(ids);
    pantry_model_free(m);
}

/* A model does not diverge from itself; another one does, and the base's own perplexity is in its file. */
static void divergence_from_saved_logits(void **state)
{
    (void)state;
    const char *file = gw_temp("base.logits");
    struct gw g;
    tiny_model_init(&g, "qwen3", GW_F32);
    add_tokenizer(&g, TINY_VOCAB);
    pantry_model *m = loaded(llama_file(), "cpu"), *other = loaded(gw_file(&g, "eval-other.gguf"), "cpu");
    gw_free(&g);
    struct pantry_eval_options save = pantry_eval_options_default(), compare = pantry_eval_options_default();
    struct pantry_eval_result base = {.size = sizeof base}, same = base, far = base;
    save.n_context = CONTEXT;
    save.save_logits = file;
    compare.base_logits = file;
    assert_int_equal(pantry_eval(m, text(), LENGTH, &save, &base, NULL), PANTRY_OK);
    assert_int_equal(pantry_eval(m, NULL, 0, &compare, &same, NULL), PANTRY_OK);
    assert_int_equal(pantry_eval(other, NULL, 0, &compare, &far, NULL), PANTRY_OK);
    assert_int_equal(same.n_tokens, base.n_tokens);
    assert_true(fabs(same.base_perplexity / base.perplexity - 1) < 1e-3);
    assert_true(fabs(same.divergence) < 1e-5 && same.same_top > 0.95 && same.divergence_max < 1e-4);
    assert_true(far.divergence > 1e-3 && far.same_top < 0.9 && far.divergence_99 >= far.divergence_median);
    assert_true(fabs(far.base_perplexity / base.perplexity - 1) < 1e-3);
    assert_true(far.divergence_error > 0);
    /* Every prefix of the file is refused. */
    static char bytes[1 << 16];
    FILE *f = fopen(file, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(n > 1000 && n < sizeof bytes);
    compare.base_logits = gw_temp("cut.logits");
    for (size_t i = 0; i < n; i += i < 64 ? 1 : 997) {
        gw_put("cut.logits", bytes, i);
        assert_int_not_equal(pantry_eval(m, NULL, 0, &compare, &same, NULL), PANTRY_OK);
    }
    bytes[20] = (char)0xFF; /* an id beyond the vocabulary */
    gw_put("cut.logits", bytes, n);
    assert_int_equal(pantry_eval(m, NULL, 0, &compare, &same, NULL), PANTRY_FORMAT);
    pantry_model_free(m);
    pantry_model_free(other);
}

static struct pn_imatrix importances(const char *model_file, const char *device, size_t n_entries)
{
    struct pn_imatrix m = {0};
    struct pantry_imatrix_options o = pantry_imatrix_options_default();
    struct pantry_error err;
    pantry_model *model = loaded(model_file, device);
    const char *path = gw_temp("eval.imatrix");
    o.n_context = CONTEXT;
    o.name = "letters";
    if (pantry_imatrix(model, text(), LENGTH, path, &o, &err) != PANTRY_OK)
        fail_msg("%s", err.text);
    pantry_model_free(model);
    assert_int_equal(pn_imatrix_add_file(&m, path, NULL), PANTRY_OK);
    assert_int_equal(m.entries.len, n_entries);
    assert_int_equal(m.chunks, LENGTH / CONTEXT);
    assert_int_equal(m.chunk_size, CONTEXT);
    assert_string_equal(m.datasets.data[0], "letters");
    return m;
}

/* Both devices show the same inputs, and each matrix sees every token once. */
static void importances_of_both_devices_agree(void **state)
{
    (void)state;
    struct pn_imatrix cpu = importances(llama_file(), "cpu", 7 * TINY_LAYERS);
    struct pn_imatrix ref = importances(llama_file(), "ref", 7 * TINY_LAYERS);
    for (size_t i = 0; i < cpu.entries.len; i++) {
        const struct pn_imatrix_entry *a = &cpu.entries.data[i], *b = pn_imatrix_find(&ref, a->name);
        double total = 0;
        assert_non_null(b);
        assert_int_equal(a->columns, b->columns);
        assert_true(a->count[0] == LENGTH / CONTEXT * CONTEXT && b->count[0] == a->count[0]);
        for (size_t k = 0; k < a->columns; k++) {
            assert_true(fabs(a->sum[k] - b->sum[k]) <= 0.02 * b->sum[k] + 1e-4);
            total += a->sum[k];
        }
        assert_true(total > 0);
        /* Norms keep the mean square of their output near 1 (times the weights'), and gate and up share their input. */
        if (strstr(a->name, "ffn_up")) {
            char gate[64];
            snprintf(gate, sizeof gate, "%.*s_gate.weight", (int)(strstr(a->name, "_up") - a->name), a->name);
            const struct pn_imatrix_entry *g = pn_imatrix_find(&cpu, gate);
            assert_memory_equal(g->sum, a->sum, a->columns * sizeof *a->sum);
        }
    }
    pn_imatrix_free(&cpu);
    pn_imatrix_free(&ref);
}

static bool stop_at_two(void *user, const struct pantry_window *window)
{
    int *calls = user;
    ++*calls;
    assert_true(window->perplexity > 1 && window->n_windows == LENGTH / CONTEXT);
    return window->number < 2;
}

static void mistakes(void **state)
{
    (void)state;
    pantry_model *m = loaded(llama_file(), "cpu");
    struct pantry_eval_options o = pantry_eval_options_default();
    struct pantry_eval_result r = {.size = sizeof r};
    struct pantry_imatrix_options i = pantry_imatrix_options_default();
    struct pantry_error err;
    int calls = 0;
    assert_int_equal(pantry_eval(m, text(), LENGTH, NULL, &r, &err), PANTRY_INVALID); /* shorter than 512 tokens */
    assert_non_null(strstr(err.text, "too short"));
    assert_int_equal(pantry_eval(m, NULL, 0, &o, &r, &err), PANTRY_INVALID);
    o.n_context = 7;
    assert_int_equal(pantry_eval(m, text(), LENGTH, &o, &r, &err), PANTRY_INVALID);
    o.n_context = CONTEXT;
    o.save_logits = "/nowhere/logits";
    assert_int_equal(pantry_eval(m, text(), LENGTH, &o, &r, &err), PANTRY_IO);
    o.save_logits = NULL;
    o.callback = stop_at_two;
    o.user = &calls;
    assert_int_equal(pantry_eval(m, text(), LENGTH, &o, &r, &err), PANTRY_CANCELLED);
    assert_int_equal(calls, 2);
    assert_int_equal(pantry_imatrix(NULL, NULL, 0, gw_temp("none"), NULL, &err), PANTRY_INVALID);
    i.n_context = CONTEXT;
    assert_int_equal(pantry_imatrix(m, text(), LENGTH, "/nowhere/imatrix", &i, &err), PANTRY_IO);
    const char *missing = "/nowhere/imatrix";
    i.merge = &missing;
    i.n_merge = 1;
    assert_int_equal(pantry_imatrix(m, text(), LENGTH, gw_temp("none"), &i, &err), PANTRY_NOT_FOUND);
    pantry_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_is_as_defined),
        cmocka_unit_test(divergence_from_saved_logits),
        cmocka_unit_test(importances_of_both_devices_agree),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
