/* Probabilities of labels after a prompt: equal to those of whole texts, for any tree of labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/choose.h"
#include "public.h"
#include "tiny_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LABELS = 40, MAX_LABEL = 4, MAX_PROMPT = 40, N_PROMPTS = 3 };

static const int32_t ends[] = {2, 5};

struct fixture {
    pantry_model *model;
    pantry_session *session;
    int n_vocab;
    float *logits;
};

static int open_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct pantry_model_info info = {.size = sizeof info};
    f->model = load_on_ref(tiny_model("llama", GW_F32, "choose.gguf"));
    *state = f;
    if (pantry_model_info(f->model, &info, NULL) || pantry_session_new(f->model, NULL, &f->session, NULL))
        return 1;
    f->n_vocab = info.n_vocab;
    f->logits = calloc((size_t)(MAX_PROMPT + MAX_LABEL) * (size_t)info.n_vocab, sizeof *f->logits);
    return f->logits ? 0 : 1;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    pantry_session_free(f->session);
    pantry_model_free(f->model);
    free(f->logits);
    free(f);
    return 0;
}

struct labels {
    int32_t prompt[MAX_PROMPT], ids[MAX_LABELS][MAX_LABEL];
    struct pn_label label[MAX_LABELS];
    struct pn_choosing choosing;
};

static bool is_beginning(const struct pn_label *a, const struct pn_label *b)
{
    return a->n_ids <= b->n_ids && memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) == 0;
}

/* Different labels over a few tokens, so that many begin others. */
static void draw(struct pn_rng *rng, struct labels *l, size_t n_labels, size_t n_tokens, size_t n_prompt)
{
    for (size_t i = 0; i < n_prompt; i++)
        l->prompt[i] = (int32_t)(pn_rng_u64(rng) % 20);
    size_t n = 0;
    while (n < n_labels) {
        struct pn_label *label = &l->label[n];
        bool is_new = true;
        *label = (struct pn_label){.ids = l->ids[n], .n_ids = 1 + pn_rng_u64(rng) % MAX_LABEL};
        for (size_t i = 0; i < label->n_ids; i++)
            label->ids[i] = (int32_t)(7 + pn_rng_u64(rng) % n_tokens);
        for (size_t i = 0; i < n; i++)
            is_new = is_new && !(l->label[i].n_ids == label->n_ids && is_beginning(&l->label[i], label));
        n += is_new;
    }
    l->choosing = (struct pn_choosing){.ids = l->prompt, .n_ids = n_prompt, .labels = l->label, .n_labels = n_labels};
}

static double logprob(const struct fixture *f, size_t position, int32_t id)
{
    const float *row = f->logits + position * (size_t)f->n_vocab;
    double sum = 0;
    for (int i = 0; i < f->n_vocab; i++)
        sum += exp((double)row[i] - (double)row[id]);
    return -log(sum);
}

static double expected(const struct fixture *f, const struct labels *l, size_t label)
{
    int32_t ids[MAX_PROMPT + MAX_LABEL];
    const struct pn_label *own = &l->label[label];
    size_t n = l->choosing.n_ids;
    double total = 0, end = 0;
    bool begins = false;
    memcpy(ids, l->prompt, n * sizeof *ids);
    memcpy(ids + n, own->ids, own->n_ids * sizeof *ids);
    assert_int_equal(pantry_logits(f->session, ids, n + own->n_ids, NULL, 0, f->logits, NULL), PANTRY_OK);
    for (size_t i = 0; i < own->n_ids; i++)
        total += logprob(f, n + i - 1, own->ids[i]);
    for (size_t i = 0; i < l->choosing.n_labels; i++)
        begins = begins || (i != label && is_beginning(own, &l->label[i]));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        end += exp(logprob(f, n + own->n_ids - 1, ends[i]));
    return begins ? total + log(end) : total;
}

static void labels_have_the_probability_of_their_texts(void **state)
{
    struct fixture *f = *state;
    struct pn_rng rng = {17};
    struct pn_choose_options options = {.ends = ends, .n_ends = 2};
    for (int round = 0; round < 12; round++) {
        struct labels l[N_PROMPTS];
        struct pn_choosing list[N_PROMPTS];
        struct pantry_error err = {0};
        for (size_t p = 0; p < N_PROMPTS; p++) {
            draw(&rng, &l[p], 2 + pn_rng_u64(&rng) % (MAX_LABELS - 1), round % 3 ? 20 : 6,
                 1 + pn_rng_u64(&rng) % MAX_PROMPT);
            list[p] = l[p].choosing;
        }
        if (pn_choose(f->model, list, N_PROMPTS, &options, &err))
            fail_msg("%s", err.text);
        for (size_t p = 0; p < N_PROMPTS; p++)
            for (size_t i = 0; i < list[p].n_labels; i++)
                assert_true(fabs(l[p].label[i].logprob - expected(f, &l[p], i)) < 1e-3);
    }
}

static void a_prompt_is_read_once(void **state)
{
    struct fixture *f = *state;
    struct pn_rng rng = {18};
    struct labels l;
    struct pn_choose_options options = {.ends = ends, .n_ends = 2, .cache_key = "once"};
    draw(&rng, &l, 4, 20, MAX_PROMPT);
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, NULL), PANTRY_OK);
    assert_int_equal(l.choosing.n_cached, 0);
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, NULL), PANTRY_OK);
    assert_true(l.choosing.n_cached >= 32);
    options.cache_key = "another";
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, NULL), PANTRY_OK);
    assert_int_equal(l.choosing.n_cached, 0);
}

static void what_cannot_be_chosen(void **state)
{
    struct fixture *f = *state;
    struct pn_rng rng = {19};
    struct labels l;
    struct pantry_error err = {0};
    struct pn_choose_options options = {.ends = ends, .n_ends = 2};
    draw(&rng, &l, 4, 20, 5);
    l.label[2] = l.label[1];
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, &err), PANTRY_INVALID);
    assert_string_equal(err.text, "two labels have the same tokens");
    l.label[2].n_ids = 0;
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, &err), PANTRY_INVALID);
    assert_string_equal(err.text, "a label has no tokens");
    draw(&rng, &l, 4, 20, 5);
    l.label[3].ids[0] = f->n_vocab;
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, &err), PANTRY_INVALID);
    draw(&rng, &l, 4, 20, 5);
    pantry_cancel *cancel = pantry_cancel_new();
    pantry_cancel_set(cancel);
    options.cancel = cancel;
    assert_int_equal(pn_choose(f->model, &l.choosing, 1, &options, &err), PANTRY_CANCELLED);
    pantry_cancel_free(cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_have_the_probability_of_their_texts),
        cmocka_unit_test(a_prompt_is_read_once),
        cmocka_unit_test(what_cannot_be_chosen),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
