/* Several models in one process share a device, a thread pool and a memory budget; their steps take turns, and the
 * budget is restored when they are freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/handle.h"
#include "tiny_model.h"

#include "pantry.h"

enum { N_TOKENS = 40 };
static const int32_t prompt[] = {3, 17, 42, 8, 25};

/* Threads of this process; -1 where the system does not list them. */
static int count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return d ? n : -1;
}

/* A joined thread may still be listed for a moment. */
static void assert_threads(int expected)
{
    int n = count_threads();
    for (int i = 0; n > expected && i < 10000; i++)
        n = count_threads();
    assert_int_equal(n, expected);
}

static pantry_model *load(const char *arch, struct pantry_model_options o)
{
    struct pantry_error error;
    pantry_model *model;
    char file[32];
    snprintf(file, sizeof file, "%s.gguf", arch);
    if (pantry_model_load(tiny_model(arch, GW_F32, file), &o, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static struct pantry_model_options threads(int n)
{
    struct pantry_model_options o = pantry_model_options_default();
    o.n_threads = n;
    return o;
}

static void models_share_threads(void **state)
{
    (void)state;
    pantry_model_free(load("llama", threads(3))); /* a sanitizer starts its own thread with the first one */
    int before = count_threads();
    pantry_model *a = load("llama", threads(3)), *b = load("gemma3", threads(3));
    assert_ptr_equal(a->runner->device, b->runner->device);
    if (before >= 0)
        assert_threads(before + 2); /* the caller is one of the three */
    pantry_model_free(a);
    if (before >= 0)
        assert_threads(before + 2); /* still in use */
    pantry_model *c = load("llama", threads(3));
    assert_ptr_equal(b->runner->device, c->runner->device);
    pantry_model_free(b);
    pantry_model_free(c);
    if (before >= 0)
        assert_threads(before);
}

static void different_options_open_different_devices(void **state)
{
    (void)state;
    struct pantry_model_options given[7];
    pantry_model *models[7];
    for (int i = 0; i < 7; i++)
        given[i] = threads(2);
    given[1].device = "cpu"; /* the same as the default */
    given[2].n_threads = 3;
    given[3].device = "ref";
    given[4].isa = "generic";
    given[5].isa = "generic", given[5].device = "cpu";
    static const int same_as[7] = {0, 0, 2, 3, 4, 4, 0};
    for (int pass = 0; pass < 2; pass++) { /* first the default, or first the name */
        for (int k = 0; k < 7; k++) {
            int i = pass ? (k + 1) % 7 : k;
            models[i] = load("llama", given[i]);
        }
        for (int i = 0; i < 7; i++)
            for (int j = 0; j < 7; j++)
                assert_int_equal(models[i]->runner->device == models[j]->runner->device, same_as[i] == same_as[j]);
        for (int i = 0; i < 7; i++)
            pantry_model_free(models[i]);
    }
    struct pantry_model_options none = threads(2);
    struct pantry_error error;
    pantry_model *model;
    none.device = "abacus";
    assert_int_equal(pantry_model_load(tiny_model("llama", GW_F32, "llama.gguf"), &none, &model, &error),
                     PANTRY_NOT_FOUND);
    assert_null(model);
}

/* ---- steps of two models at once ---- */

struct talk {
    pantry_model *model;
    int32_t ids[N_TOKENS];
    int n;
    pantry_status status;
};

static bool keep(void *user, const struct pantry_token *token)
{
    struct talk *t = user;
    if (token->id >= 0)
        t->ids[t->n++] = token->id;
    return true;
}

static void *speak(void *talk)
{
    struct talk *t = talk;
    struct pantry_session_options wanted = {.size = sizeof wanted, .n_context = 128};
    struct pantry_generate_options o = pantry_generate_options_default();
    pantry_session *session = NULL;
    o.max_tokens = N_TOKENS;
    o.ignore_eos = true;
    o.callback = keep;
    o.user = t;
    t->n = 0;
    t->status = pantry_session_new(t->model, &wanted, &session, NULL);
    if (!t->status)
        t->status = pantry_generate(session, prompt, sizeof prompt / sizeof *prompt, &o, NULL, NULL);
    pantry_session_free(session);
    return NULL;
}

static void steps_take_turns(void **state)
{
    (void)state;
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken, touched = budget->touched, weights = budget->weight_bytes;
    struct talk alone[2], both[4];
    for (int i = 0; i < 2; i++) {
        alone[i] = (struct talk){.model = load(i ? "gemma3" : "llama", threads(2))};
        speak(&alone[i]);
        assert_int_equal(alone[i].status, PANTRY_OK);
        assert_int_equal(alone[i].n, N_TOKENS);
    }
    assert_true(budget->taken > taken && budget->weight_bytes > weights);
    pthread_t speakers[4]; /* two per model, which also contend for the model's lock */
    for (int i = 0; i < 4; i++) {
        both[i] = (struct talk){.model = alone[i % 2].model};
        assert_int_equal(pthread_create(&speakers[i], NULL, speak, &both[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(speakers[i], NULL);
        assert_int_equal(both[i].status, PANTRY_OK);
        assert_int_equal(both[i].n, N_TOKENS);
        assert_memory_equal(both[i].ids, alone[i % 2].ids, sizeof both[i].ids);
    }
    pantry_model_free(alone[0].model);
    pantry_model_free(alone[1].model);
    assert_true(budget->taken == taken && budget->touched == touched && budget->weight_bytes == weights);
}

/* ---- memory ---- */

static pantry_session *open_session(pantry_model *model, int n_context)
{
    struct pantry_error error;
    struct pantry_session_options o = {.size = sizeof o, .n_context = n_context};
    pantry_session *session;
    if (pantry_session_new(model, &o, &session, &error))
        fail_msg("%s", error.text);
    return session;
}

/* A session takes nothing from the budget before it runs, but one that can never fit is an error. */
static void contexts_shrink_or_are_refused(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_session *session, *other;
    pantry_model *model = load("llama", threads(1));
    struct pn_memory *budget = pn_memory_of_process();
    struct pantry_session_options chosen = {.size = sizeof chosen, .n_context = 100 * 1000},
                                  more = {.size = sizeof more, .n_context = 320};
    uint64_t taken = budget->taken;
    session = open_session(model, 32);
    uint64_t page = pn_sched_pool(model->sched)->groups[0].slots.stride;
    assert_true(page >= 4096 && budget->taken == taken);
    pantry_limit_memory(budget->weight_bytes + budget->taken + 10 * page);
    assert_int_equal(pantry_session_new(model, &chosen, &other, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a context of 100000 tokens needs "));
    assert_null(other);
    other = open_session(model, 0);
    assert_int_equal(pantry_session_n_context(other), TINY_CONTEXT); /* 256 tokens, as trained: 9 pages */
    pantry_session_free(other);
    pantry_session_free(open_session(model, 319)); /* 10 pages, and one more token needs 11 */
    assert_int_equal(pantry_session_new(model, &more, &other, &error), PANTRY_NO_MEMORY);
    assert_true(budget->taken == taken);
    pantry_session_free(session);
    pantry_model_free(model);
    struct pantry_model_options longer = threads(1);
    longer.rope_factor = 8; /* 2,048 tokens */
    pantry_limit_memory(0);
    model = load("llama", longer);
    pantry_limit_memory(budget->weight_bytes + budget->taken + 20 * page);
    other = open_session(model, 0);
    assert_int_equal(pantry_session_n_context(other), 512); /* 17 pages; twice as many tokens need 33 */
    pantry_session_free(other);
    pantry_limit_memory(budget->weight_bytes + budget->taken + 10 * page);
    assert_int_equal(pantry_session_new(model, NULL, &other, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a context of 512 tokens needs "));
    pantry_limit_memory(0);
    pantry_model_free(model);
    assert_true(budget->taken == taken);
}

/* Pages are taken when needed: an answer that exceeds the budget ends with an error and leaves nothing. */
static void exhausted_budgets_are_errors(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_stats stats = {.size = sizeof stats};
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken, touched = budget->touched;
    pantry_model *model = load("llama", threads(1));
    pantry_session *session = open_session(model, 200);
    assert_int_equal(pn_runner_prepare(model->runner, PN_RESULT_LOGITS, 16, &(struct pantry_error){0}), PANTRY_OK);
    assert_int_equal(pn_runner_prepare(model->runner, PN_RESULT_LOGITS, 1, &(struct pantry_error){0}), PANTRY_OK);
    pantry_limit_memory(budget->weight_bytes + budget->taken + 3 * pn_sched_pool(model->sched)->groups[0].slots.stride);
    o.max_tokens = 0;
    o.ignore_eos = true;
    assert_int_equal(pantry_generate(session, prompt, 5, &o, &stats, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "a page of keys and values needs "));
    assert_non_null(strstr(error.text, "that pantry may use"));
    assert_int_equal(stats.n_generated, 3 * 32 - 5 + 1); /* three pages are full */
    assert_int_equal(pantry_session_n_past(session), 3 * 32);
    pantry_limit_memory(0);
    assert_int_equal(pantry_generate(session, prompt, 5, &o, &stats, &error), PANTRY_OK);
    assert_int_equal(stats.n_generated, 200 - 5 + 1);
    pantry_session_free(session);
    pantry_model_free(model);
    assert_true(budget->taken == taken && budget->touched == touched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_share_threads),
        cmocka_unit_test(different_options_open_different_devices),
        cmocka_unit_test(steps_take_turns),
        cmocka_unit_test(contexts_shrink_or_are_refused),
        cmocka_unit_test(exhausted_budgets_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
