/* The cost of choosing a token: a row of N logits (151,936 without an argument), shaped like a model's, on one core.
 *
 *     make build/bench/sampling && build/bench/sampling [N] */
#include "base/clock.h"
#include "base/random.h"
#include "engine/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 400, RECENT = 512 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, const struct pantry_sampling *o, const float *row, int n, const int32_t *recent)
{
    struct pn_sampler s;
    struct pantry_error err;
    static double us[ROUNDS];
    float *logits = malloc((size_t)n * sizeof *logits);
    if (!logits || pn_sampler_init(&s, o, n, &err) || pn_sampler_set_text(&s, o, NULL, 0, RECENT, &err))
        exit(1);
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(logits, row, (size_t)n * sizeof *logits);
        s.options.seed = (uint64_t)i;
        uint64_t began = pn_clock_ns();
        pn_sampler_choose(&s, logits, recent, RECENT);
        us[i] = (double)(pn_clock_ns() - began) * 1e-3;
    }
    qsort(us, ROUNDS, sizeof *us, by_value);
    printf("%-44s %8.1f us (median), %8.1f us (fastest)\n", name, us[ROUNDS / 2], us[0]);
    pn_sampler_free(&s);
    free(logits);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 151936;
    struct pn_rng rng = {7};
    float *row = malloc((size_t)(n > 0 ? n : 1) * sizeof *row);
    static int32_t recent[RECENT];
    if (n < 1000 || !row)
        return 1;
    for (int i = 0; i < n; i++) { /* a normal distribution, as the sum of uniform ones, with a few likely tokens */
        float sum = 0;
        for (int k = 0; k < 6; k++)
            sum += pn_rng_float(&rng) - 0.5f;
        row[i] = 2.5f * sum + (i % 9973 == 5 ? 10 + 4 * pn_rng_float(&rng) : 0);
    }
    for (int i = 0; i < RECENT; i++)
        recent[i] = (int32_t)(pn_rng_u64(&rng) % 50);
    struct pantry_samplers more = pantry_samplers_default();
    const struct pantry_sampling plain = {.temperature = 0.8f, .top_p = 1, .repeat_penalty = 1, .penalty_last_n = 64};
    struct pantry_sampling o = plain;
    o.temperature = 0;
    measure("greedy", &o, row, n, recent);
    o = plain;
    o.top_k = 40;
    o.top_p = 0.95f;
    measure("top-k 40, top-p 0.95, temperature 0.8", &o, row, n, recent);
    o.min_p = 0.05f;
    o.repeat_penalty = 1.1f;
    measure("the same, min-p 0.05, repeat penalty", &o, row, n, recent);
    o = plain;
    o.top_k = 1000;
    measure("top-k 1000", &o, row, n, recent);
    o = plain;
    o.min_p = 0.05f;
    measure("min-p 0.05", &o, row, n, recent);
    o = plain;
    o.top_p = 0.95f;
    measure("top-p 0.95", &o, row, n, recent);
    o = plain;
    measure("temperature 0.8", &o, row, n, recent);
    o.more = &more;
    more.top_n_sigma = 1;
    measure("top-n-sigma 1", &o, row, n, recent);
    more = pantry_samplers_default();
    more.typical_p = 0.9f;
    measure("typical-p 0.9", &o, row, n, recent);
    more = pantry_samplers_default();
    more.dry_multiplier = 0.8f;
    o.top_k = 40;
    measure("DRY over 512 tokens, top-k 40", &o, row, n, recent);
    more = pantry_samplers_default();
    more.mirostat = 2;
    measure("mirostat 2", &o, row, n, recent);
    free(row);
    return 0;
}
