/* The memory of one context's keys and values, with layers that see only a window, and as if all layers saw everything.
 *
 *   windows MODEL.gguf [TOKENS]
 *
 * A prompt of made-up ids, then an answer of 64 tokens. The count is the most pages in use at any time, for the prompt
 * or the answer, including those of the prefix tree. */
#include "engine/handle.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER = 64 };

static void fail(const struct pantry_error *error)
{
    fprintf(stderr, "%s\n", error->text);
    exit(1);
}

static double mib(const struct pn_kv_pool *pool, int group)
{
    return (double)pool->groups[group].slots.stride / (1 << 20);
}

int main(int argc, char **argv)
{
    struct pantry_error error;
    pantry_model *model;
    pantry_session *session;
    int n = argc > 2 ? atoi(argv[2]) : 8192;
    if (argc < 2 || n <= ANSWER) {
        fprintf(stderr, "usage: windows MODEL.gguf [TOKENS, more than %d]\n", ANSWER);
        return 2;
    }
    if (pantry_model_load(argv[1], NULL, &model, &error) ||
        pantry_session_new(
            model, &(struct pantry_session_options){.size = sizeof(struct pantry_session_options), .n_context = n},
            &session, &error))
        fail(&error);
    struct pn_rng rng = {1};
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    for (int i = 0; ids && i < n; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % (uint64_t)model->runner->model->hp.n_vocab);
    struct pantry_generate_options o = pantry_generate_options_default();
    o.max_tokens = ANSWER;
    o.ignore_eos = true;
    if (pantry_generate(session, ids, (size_t)(n - ANSWER), &o, NULL, &error))
        fail(&error);
    const struct pn_kv_pool *pool = pn_sched_pool(model->sched);
    double used = 0, all = 0;
    for (int g = 0; g < pool->n_groups; g++) { /* freed pages are reused before new ones */
        used += mib(pool, g) * pool->groups[g].slots.n_used;
        all += mib(pool, g) * pool->groups[0].slots.n_used;
    }
    printf("%d tokens: %.1f MiB of keys and values, %.1f MiB if all layers kept everything: %.3f\n", n, used, all,
           used / all);
    printf("needed for a context of that length: %.1f MiB\n",
           (double)pn_kv_most_bytes(pool, n, PN_DEFAULT_BATCH) / (1 << 20));
    free(ids);
    pantry_session_free(session);
    pantry_model_free(model);
    return 0;
}
