/* Many requests at once: their total tokens per second, and how long the others wait for their next token while a long
 * prompt is read.
 *
 *   requests MODEL.gguf [TOKENS [THREADS]]
 *
 * Prompts are made-up ids; answers are greedy and do not end early. */
#include "pantry.h"

#include "base/clock.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_REQUESTS = 128, N_BESIDE = 7, N_GAPS = 4096, PROMPT = 32, LONG_PROMPT = 4000, CONTEXT = 8192 };

static void fail(const struct pantry_error *error)
{
    fprintf(stderr, "%s\n", error->text);
    exit(1);
}

static pantry_request *submit(pantry_model *model, uint64_t seed, int n, int max_tokens)
{
    struct pantry_error error;
    struct pantry_model_info info = {.size = sizeof info};
    pantry_request *r;
    struct pn_rng rng = {seed};
    static int32_t ids[LONG_PROMPT];
    pantry_model_info(model, &info, NULL);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % (uint64_t)info.n_vocab);
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = (size_t)n;
    o.max_tokens = max_tokens;
    o.n_context = CONTEXT;
    o.ignore_eos = true;
    o.sampling.temperature = 0;
    if (pantry_submit(model, &o, &r, &error))
        fail(&error);
    return r;
}

/* Takes the available tokens of all requests; returns how many have ended. Times of tokens go to `last`, gaps to
 * `gaps`. */
static int poll(pantry_request **r, int n, bool *ended, uint64_t *last, double *gaps, int *n_gaps)
{
    int done = 0, waits = 1; /* for the first running request */
    for (int i = 0; i < n; i++) {
        const struct pantry_event *event;
        while (!ended[i] && (event = pantry_request_next(r[i], waits))) {
            uint64_t now = pn_clock_ns();
            if (event->kind == PANTRY_EVENT_TOKEN && event->token->id >= 0) {
                if (last[i] && *n_gaps < N_GAPS)
                    gaps[(*n_gaps)++] = (double)(now - last[i]) * 1e-6;
                last[i] = now;
            }
            ended[i] = event->kind == PANTRY_EVENT_END;
        }
        waits = ended[i] ? waits : 0;
        done += ended[i];
    }
    return done;
}

static void together(pantry_model *model, int n, int tokens)
{
    pantry_request *r[MAX_REQUESTS];
    bool ended[MAX_REQUESTS] = {false};
    uint64_t last[MAX_REQUESTS] = {0};
    static double gaps[N_GAPS];
    int n_gaps = 0;
    uint64_t start = pn_clock_ns();
    for (int i = 0; i < n; i++)
        r[i] = submit(model, 100 + (uint64_t)i + 1000u * (uint64_t)n, PROMPT, tokens);
    while (poll(r, n, ended, last, gaps, &n_gaps) < n)
        ;
    double seconds = (double)(pn_clock_ns() - start) * 1e-9;
    for (int i = 0; i < n; i++)
        pantry_request_free(r[i]);
    printf("%3d requests: %6.1f tok/s together\n", n, n * tokens / seconds);
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seven requests generate when a long prompt arrives: their worst wait beside their usual one. */
static void beside(pantry_model *model)
{
    pantry_request *r[N_BESIDE + 1];
    bool ended[N_BESIDE + 1] = {false};
    uint64_t last[N_BESIDE + 1] = {0};
    static double before[N_GAPS], during[N_GAPS];
    int n_before = 0, n_during = 0;
    for (int i = 0; i < N_BESIDE; i++)
        r[i] = submit(model, 7 + (uint64_t)i, PROMPT, 2000);
    while (n_before < N_BESIDE * 60)
        poll(r, N_BESIDE, ended, last, before, &n_before);
    r[N_BESIDE] = submit(model, 99, LONG_PROMPT, 1);
    while (!ended[N_BESIDE]) {
        int unused = N_GAPS;
        poll(r, N_BESIDE, ended, last, during, &n_during);
        poll(r + N_BESIDE, 1, ended + N_BESIDE, last + N_BESIDE, during, &unused);
    }
    for (int i = 0; i <= N_BESIDE; i++)
        pantry_request_free(r[i]);
    qsort(before + N_BESIDE * 10, (size_t)(n_before - N_BESIDE * 10), sizeof *before, rising);
    qsort(during, (size_t)n_during, sizeof *during, rising);
    double usual = before[N_BESIDE * 10 + (n_before - N_BESIDE * 10) / 2];
    printf(
        "7 requests generate, a prompt of %d tokens arrives: usual gap %.1f ms, during the prompt median %.1f, 99 %% "
        "below %.1f, worst %.1f (%.1f times the usual one)\n",
        LONG_PROMPT, usual, during[n_during / 2], during[n_during * 99 / 100], during[n_during - 1],
        during[n_during - 1] / usual);
}

int main(int argc, char **argv)
{
    struct pantry_error error;
    pantry_model *model;
    struct pantry_model_options o = pantry_model_options_default();
    if (argc < 2) {
        fprintf(stderr, "usage: requests MODEL.gguf [TOKENS [THREADS]]\n");
        return 2;
    }
    int tokens = argc > 2 ? atoi(argv[2]) : 64;
    o.n_threads = argc > 3 ? atoi(argv[3]) : 0;
    if (pantry_model_load(argv[1], &o, &model, &error))
        fail(&error);
    together(model, 1, tokens); /* makes the plans */
    for (int n = 1; n <= MAX_REQUESTS; n *= n == 1 ? 8 : 4)
        together(model, n, tokens);
    beside(model);
    pantry_model_free(model);
    return 0;
}
