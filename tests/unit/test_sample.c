/* Sampling against a reference in doubles, written from the definitions in pantry.h. Seeds with a known next number let
 * a test sweep evenly over all draws, so probabilities are compared value by value, independent of the order of
 * candidates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample.h"
#include "pantry.h"
#include "script_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { MAX_VOCAB = 5000 };

/* ---- known draws ---- */

/* x with x ^ x >> shift == y */
static uint64_t undo_xor(uint64_t y, int shift)
{
    uint64_t x = y;
    for (int i = 0; i < 64 / shift + 1; i++)
        x = y ^ (x >> shift);
    return x;
}

/* SplitMix64 backwards, with the multipliers' inverses modulo 2^64: the state whose next number is z. */
static uint64_t state_before(uint64_t z)
{
    z = undo_xor(z, 31) * 0x319642B2D24D8EC3u;
    z = undo_xor(z, 27) * 0x96DE1B173F119089u;
    return undo_xor(z, 30) - 0x9E3779B97F4A7C15u;
}

/* The state that draws u of 2^24. */
static uint64_t draws(uint32_t u)
{
    return state_before((uint64_t)u << 40);
}

static const uint32_t first_draw = 0, last_draw = 0xFFFFFF;

/* ---- the reference ---- */

struct logits {
    int n;
    float of[MAX_VOCAB];
    int n_recent;
    const int32_t *recent;
};

static void penalties(const struct logits *in, const struct pantry_sampling *o, double *l)
{
    int last_n = o->penalty_last_n < 0 || o->penalty_last_n > in->n_recent ? in->n_recent : o->penalty_last_n;
    for (int i = 0; i < in->n; i++) {
        int count = 0;
        for (int k = in->n_recent - last_n; k < in->n_recent; k++)
            count += in->recent[k] == i;
        l[i] = (double)in->of[i];
        if (!count)
            continue;
        l[i] = l[i] > 0 ? l[i] / (double)o->repeat_penalty : l[i] * (double)o->repeat_penalty;
        l[i] -= count * (double)o->frequency_penalty + (double)o->presence_penalty;
    }
}

static const double *sorted_by;
static int by_logit(const void *a, const void *b)
{
    double x = sorted_by[*(const int *)a], y = sorted_by[*(const int *)b];
    return x != y ? (x < y ? 1 : -1) : *(const int *)a - *(const int *)b;
}

/* The probability of each token; 0 for dropped ones. */
static void reference(const struct logits *in, const struct pantry_sampling *o, double *p)
{
    static double l[MAX_VOCAB];
    static int order[MAX_VOCAB];
    int n = 0;
    penalties(in, o, l);
    for (int i = 0; i < in->n; i++) {
        p[i] = 0;
        if (!isnan(l[i]) && !(isinf(l[i]) && l[i] < 0))
            order[n++] = i;
    }
    sorted_by = l;
    qsort(order, (size_t)n, sizeof *order, by_logit);
    if (o->temperature == 0) {
        p[order[0]] = 1;
        return;
    }
    if (o->top_k && o->top_k < n)
        n = o->top_k;
    double highest = l[order[0]], sum = 0, reached = 0;
    for (int i = 0; i < n; i++)
        sum += exp(l[order[i]] - highest);
    int kept = 0;
    while (kept < n && (o->top_p == 1 || kept == 0 || reached < (double)o->top_p))
        reached += exp(l[order[kept++]] - highest) / sum;
    while (kept && exp(l[order[kept - 1]] - highest) < (double)o->min_p)
        kept--;
    sum = 0;
    for (int i = 0; i < kept; i++)
        sum += exp((l[order[i]] - highest) / (double)o->temperature);
    for (int i = 0; i < kept; i++)
        p[order[i]] = exp((l[order[i]] - highest) / (double)o->temperature) / sum;
}

/* ---- comparing ---- */

static int32_t draw(struct pn_sampler *s, const struct logits *in, uint32_t u)
{
    static float copy[MAX_VOCAB];
    memcpy(copy, in->of, (size_t)in->n * sizeof *copy);
    s->options.seed = draws(u) - (uint64_t)in->n_recent * 0x9E3779B97F4A7C15u; /* the draw depends on the position */
    return pn_sampler_choose(s, copy, in->recent, in->n_recent);
}

/* Sweeps evenly over draws: the frequency of a token is its probability, up to one draw at each end of its share. */
static void compare(const char *what, const struct logits *in, const struct pantry_sampling *o, int n_draws)
{
    static double p[MAX_VOCAB];
    static int counts[MAX_VOCAB];
    struct pn_sampler s;
    reference(in, o, p);
    memset(counts, 0, sizeof counts);
    assert_int_equal(pn_sampler_init(&s, o, in->n, NULL), PANTRY_OK);
    for (int i = 0; i < n_draws; i++) {
        int32_t id = draw(&s, in, (uint32_t)(((uint64_t)i << 24) / (uint64_t)n_draws));
        assert_in_range(id, 0, in->n - 1);
        counts[id]++;
    }
    pn_sampler_free(&s);
    for (int i = 0; i < in->n; i++)
        if (fabs(counts[i] - p[i] * n_draws) > (p[i] > 0 ? 1.5 : 0))
            fail_msg("%s: token %d came %d times of %d; its probability is %g", what, i, counts[i], n_draws, p[i]);
}

static struct pantry_sampling plain(float temperature)
{
    return (struct pantry_sampling){.temperature = temperature, .top_p = 1, .repeat_penalty = 1, .penalty_last_n = -1};
}

/* ---- tests ---- */

static void known_draws_are_drawn(void **state)
{
    (void)state;
    static const uint32_t some[] = {0, 1, 0x800000, 0x123456, 0xFFFFFF};
    for (size_t i = 0; i < COUNT(some); i++) {
        struct pn_rng rng = {draws(some[i])};
        assert_true(pn_rng_float(&rng) == (float)some[i] * 0x1p-24f);
    }
}

static void each_option_follows_its_definition(void **state)
{
    (void)state;
    static const int32_t recent[] = {1, 1, 4, 3, 0, 3, 3};
    static const struct {
        const char *what;
        float temperature;
        int top_k;
        float top_p, min_p, repeat, frequency, presence;
        int last_n;
    } cases[] = {
        {"temperature 1", 1, 0, 1, 0, 1, 0, 0, -1},
        {"temperature 0.5", 0.5f, 0, 1, 0, 1, 0, 0, -1},
        {"temperature 3", 3, 0, 1, 0, 1, 0, 0, -1},
        {"top-k 1", 2, 1, 1, 0, 1, 0, 0, -1},
        {"top-k 3", 2, 3, 1, 0, 1, 0, 0, -1},
        {"top-k of all", 2, 7, 1, 0, 1, 0, 0, -1},
        {"top-k of more", 2, INT_MAX, 1, 0, 1, 0, 0, -1},
        {"top-p 0.5", 2, 0, 0.5f, 0, 1, 0, 0, -1},
        {"top-p 0.9", 2, 0, 0.9f, 0, 1, 0, 0, -1},
        {"top-p 0.999", 2, 0, 0.999f, 0, 1, 0, 0, -1},
        {"top-p next to nothing", 2, 0, 1e-6f, 0, 1, 0, 0, -1},
        {"min-p 0.1", 2, 0, 1, 0.1f, 1, 0, 0, -1},
        {"min-p 0.5", 2, 0, 1, 0.5f, 1, 0, 0, -1},
        {"min-p 1", 2, 0, 1, 1, 1, 0, 0, -1},
        {"top-p of what top-k left", 2, 3, 0.85f, 0, 1, 0, 0, -1},
        {"top-p before temperature", 5, 0, 0.85f, 0, 1, 0, 0, -1},
        {"min-p before temperature", 5, 0, 1, 0.25f, 1, 0, 0, -1},
        {"all three", 3, 5, 0.95f, 0.15f, 1, 0, 0, -1},
        {"repeat 1.5", 1, 0, 1, 0, 1.5f, 0, 0, -1},
        {"repeat 0.5", 1, 0, 1, 0, 0.5f, 0, 0, -1},
        {"frequency", 1, 0, 1, 0, 1, 0.4f, 0, -1},
        {"frequency below 0", 1, 0, 1, 0, 1, -0.3f, 0, -1},
        {"presence", 1, 0, 1, 0, 1, 0, 0.7f, -1},
        {"presence below 0", 1, 0, 1, 0, 1, 0, -0.7f, -1},
        {"all penalties", 1.5f, 0, 1, 0, 1.3f, 0.2f, 0.4f, -1},
        {"penalties of none", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 0},
        {"penalties of the last", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 1},
        {"penalties of the last 4", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 4},
        {"penalties of 6", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 6},
        {"penalties of 7", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 7},
        {"penalties of more than there are", 1, 0, 1, 0, 1.3f, 0.2f, 0.4f, 8},
        {"penalties before top-k", 1, 2, 1, 0, 1.3f, 0.6f, 0, -1},
        {"penalties before top-p", 1, 0, 0.6f, 0, 1.3f, 0.6f, 0, -1},
        {"greedy", 0, 0, 1, 0, 1, 0, 0, -1},
        {"greedy with penalties", 0, 0, 1, 0, 1.3f, 0.6f, 0.4f, -1},
        {"greedy with all", 0, 2, 0.3f, 0.9f, 1.3f, 0, 0, -1},
    };
    const struct logits in = {.n = 7, .of = {1.5f, 3, -0.5f, 2.5f, -2, 0, 0.75f}, .n_recent = 7, .recent = recent};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_sampling o = {.temperature = cases[i].temperature,
                                    .top_k = cases[i].top_k,
                                    .top_p = cases[i].top_p,
                                    .min_p = cases[i].min_p,
                                    .repeat_penalty = cases[i].repeat,
                                    .frequency_penalty = cases[i].frequency,
                                    .presence_penalty = cases[i].presence,
                                    .penalty_last_n = cases[i].last_n};
        compare(cases[i].what, &in, &o, 4096);
    }
}

/* Random options and random logits on a grid, so that many are equal. */
static void random_options_equal_the_reference(void **state)
{
    (void)state;
    struct pn_rng rng = {21};
    static struct logits in;
    static int32_t recent[20];
    for (int round = 0; round < 300; round++) {
        struct pantry_sampling o = plain(0.25f + 3 * pn_rng_float(&rng));
        unsigned with = (unsigned)pn_rng_u64(&rng);
        in.n = (int)(pn_rng_u64(&rng) % 40) + 1;
        in.n_recent = (int)(pn_rng_u64(&rng) % 21);
        in.recent = recent;
        for (int i = 0; i < in.n; i++)
            in.of[i] = (float)(pn_rng_u64(&rng) % 16) * 0.375f - 2;
        for (int i = 0; i < in.n_recent; i++)
            recent[i] = (int32_t)(pn_rng_u64(&rng) % (uint64_t)in.n);
        if (with & 1)
            o.top_k = (int)(pn_rng_u64(&rng) % 45) + 1;
        if (with & 2)
            o.top_p = 0.02f + 0.97f * pn_rng_float(&rng);
        if (with & 4)
            o.min_p = pn_rng_float(&rng);
        if (with & 8) {
            o.repeat_penalty = 0.5f + pn_rng_float(&rng);
            o.penalty_last_n = (int)(pn_rng_u64(&rng) % 25) - 1;
        }
        if (with & 16)
            o.frequency_penalty = pn_rng_float(&rng) - 0.5f;
        if (with & 32)
            o.presence_penalty = pn_rng_float(&rng) - 0.5f;
        char what[64];
        snprintf(what, sizeof what, "round %d", round);
        compare(what, &in, &o, 1024);
    }
}

/* Shares that end exactly at the limit of an option. */
static void cuts_at_exact_limits(void **state)
{
    (void)state;
    static struct logits in;
    struct pantry_sampling o = plain(1);
    in.n = 8; /* 1/8 each, all exact */
    for (int k = 1; k <= 8; k++) {
        o.top_p = (float)k / 8;
        compare("top-p reached exactly", &in, &o, 64);
    }
    o.top_p = 0.5f;
    o.top_k = 4; /* 1/4 each: two are left */
    compare("top-p of top-k", &in, &o, 64);
    o = plain(1);
    o.min_p = 1;
    compare("min-p keeps equals", &in, &o, 64);
    o = plain(0);
    compare("the lowest id of equals", &in, &o, 8);
    for (int k = 1; k < 8; k++) {
        o = plain(1);
        o.top_k = k;
        compare("top-k keeps the lowest ids of equals", &in, &o, 64);
    }
    in.n = 1;
    compare("one token", &in, &o, 8);
}

/* Draw 0 takes the first candidate, and a draw at the end of a share takes the next one. */
static void draws_choose_by_share(void **state)
{
    (void)state;
    static struct logits in = {.n = 4};
    struct pn_sampler s;
    struct pantry_sampling o = plain(1);
    assert_int_equal(pn_sampler_init(&s, &o, 4, NULL), PANTRY_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(draw(&s, &in, i << 22), i);
        assert_int_equal(draw(&s, &in, (i << 22) + (1 << 22) - 1), i);
    }
    pn_sampler_free(&s);
}

static void nan_and_infinite_logits(void **state)
{
    (void)state;
    static const struct {
        float logits[5];
        int32_t greedy; /* -1: no token */
    } cases[] = {
        {{1, NAN, 3, -INFINITY, 2}, 2},
        {{NAN, NAN, -INFINITY, -5, NAN}, 3},
        {{NAN, 4, 4, NAN, 4}, 1},
        {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0},
        {{1, 2, INFINITY, 3, INFINITY}, 2},
        {{NAN, NAN, NAN, NAN, NAN}, -1},
        {{NAN, -INFINITY, NAN, NAN, NAN}, 1},
        {{-0.0f, 0.0f, -1, -2, -3}, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        static struct logits in;
        struct pn_sampler s;
        bool finite = cases[i].greedy >= 0 && isfinite(cases[i].logits[cases[i].greedy]);
        struct pantry_sampling o = plain(0);
        in.n = 5;
        memcpy(in.of, cases[i].logits, sizeof cases[i].logits);
        assert_int_equal(pn_sampler_init(&s, &o, 5, NULL), PANTRY_OK);
        assert_int_equal(draw(&s, &in, 0), cases[i].greedy);
        pn_sampler_free(&s);
        o = plain(1);
        if (finite) {
            compare("with NaN", &in, &o, 512);
            o.top_k = 2;
            o.top_p = 0.9f;
            compare("with NaN, cut", &in, &o, 512);
            continue;
        }
        assert_int_equal(pn_sampler_init(&s, &o, 5, NULL), PANTRY_OK); /* no distribution: the best token, or none */
        assert_int_equal(draw(&s, &in, last_draw), cases[i].greedy);
        pn_sampler_free(&s);
    }
}

/* The highest draw takes the last candidate kept, the lowest takes the best: cuts in large vocabularies, around the
 * sizes in which the sampler sorts. */
static void large_vocabularies_are_cut_exactly(void **state)
{
    (void)state;
    static const int cuts[] = {1, 2, 3, 7, 63, 64, 65, 66, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 4999, 5000};
    static struct logits in;
    static int order[MAX_VOCAB]; /* by falling logit */
    struct pn_rng rng = {5};
    for (int equal = 0; equal < 2; equal++) {
        in.n = MAX_VOCAB;
        for (int i = 0; i < in.n; i++)
            order[i] = i;
        for (int i = in.n - 1; i > 0 && !equal; i--) {
            int k = (int)(pn_rng_u64(&rng) % (uint64_t)(i + 1)), t = order[i];
            order[i] = order[k];
            order[k] = t;
        }
        for (int i = 0; i < in.n; i++)
            in.of[order[i]] = equal ? 1 : 1 - (float)i * 1e-4f;
        for (size_t c = 0; c < COUNT(cuts); c++)
            for (int by_p = 0; by_p < 2; by_p++) {
                struct pn_sampler s;
                struct pantry_sampling o = plain(1);
                double sum = 0, part = 0;
                for (int i = 0; i < in.n; i++) {
                    double share = exp((double)in.of[order[i]]);
                    sum += share;
                    part += i < cuts[c] - 1 ? share : i == cuts[c] - 1 ? share / 2 : 0;
                }
                if (by_p)
                    o.top_p = (float)(part / sum);
                else
                    o.top_k = cuts[c];
                assert_int_equal(pn_sampler_init(&s, &o, in.n, NULL), PANTRY_OK);
                assert_int_equal(draw(&s, &in, first_draw), !by_p && cuts[c] == in.n ? 0 : order[0]);
                int32_t last = draw(&s, &in, last_draw);
                if (by_p || cuts[c] < in.n)
                    assert_int_equal(last, order[cuts[c] - 1]);
                else
                    assert_int_equal(last, in.n - 1); /* no cut, so no sorting */
                pn_sampler_free(&s);
            }
    }
}

/* Token counts are reset for every token, and ids outside the vocabulary are ignored. */
static void penalties_reset_and_ignore_unknown_ids(void **state)
{
    (void)state;
    enum { MANY = 70000 };
    static struct logits in = {.n = 3, .of = {40, 1, 0}};
    static int32_t recent[MANY];
    struct pn_sampler s;
    struct pantry_sampling o = plain(0);
    o.frequency_penalty = 0.001f;
    in.recent = recent;
    assert_int_equal(pn_sampler_init(&s, &o, 3, NULL), PANTRY_OK);
    static const int lengths[] = {38000, 40000, 38000, 65535, 65536, 65537, MANY, 38000};
    static const int32_t wanted[] = {0, 1, 0, 1, 1, 1, 1, 0};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        in.n_recent = lengths[i];
        assert_int_equal(draw(&s, &in, 0), wanted[i]);
    }
    pn_sampler_free(&s);
    static const int32_t odd[] = {-1, 3, INT32_MAX, INT32_MIN, 1};
    static struct logits few = {.n = 3, .of = {2, 2.5f, 1.5f}, .n_recent = 5, .recent = odd};
    o.presence_penalty = 1;
    compare("ids outside", &few, &o, 8);
    o.temperature = 1;
    compare("ids outside", &few, &o, 1024);
}

static void penalties_change_the_logits_given(void **state)
{
    (void)state;
    static const int32_t recent[] = {2, 0, 2};
    float logits[] = {-1, 1, 4};
    struct pn_sampler s;
    struct pantry_sampling o = plain(0);
    o.repeat_penalty = 2;
    o.frequency_penalty = 0.25f;
    o.presence_penalty = 0.125f;
    assert_int_equal(pn_sampler_init(&s, &o, 3, NULL), PANTRY_OK);
    assert_int_equal(pn_sampler_choose(&s, logits, recent, 3), 2);
    assert_true(logits[0] == -1 * 2 - 0.25f - 0.125f && logits[1] == 1 && logits[2] == 4.0f / 2 - 2 * 0.25f - 0.125f);
    pn_sampler_free(&s);
}

static void options_out_of_range_are_errors(void **state)
{
    (void)state;
    static const struct {
        struct pantry_sampling o;
        const char *says; /* NULL: fine */
    } cases[] = {
        {{.temperature = 0, .top_p = 1, .repeat_penalty = 1}, NULL},
        {{.temperature = 100, .top_p = 1, .repeat_penalty = 1}, NULL},
        {{.temperature = 100.001f, .top_p = 1, .repeat_penalty = 1}, "temperature (found 100.001"},
        {{.temperature = -0.001f, .top_p = 1, .repeat_penalty = 1}, "temperature (found -0.001"},
        {{.temperature = NAN, .top_p = 1, .repeat_penalty = 1}, "temperature (found"},
        {{.top_p = 0, .repeat_penalty = 1}, "top_p (found 0"},
        {{.top_p = 1e-9f, .repeat_penalty = 1}, NULL},
        {{.top_p = 1.001f, .repeat_penalty = 1}, "top_p (found 1.001"},
        {{.top_p = NAN, .repeat_penalty = 1}, "top_p (found"},
        {{.top_p = 1, .min_p = 1, .repeat_penalty = 1}, NULL},
        {{.top_p = 1, .min_p = 1.001f, .repeat_penalty = 1}, "min_p (found 1.001"},
        {{.top_p = 1, .min_p = -0.001f, .repeat_penalty = 1}, "min_p (found -0.001"},
        {{.top_p = 1, .min_p = NAN, .repeat_penalty = 1}, "min_p (found"},
        {{.top_p = 1, .repeat_penalty = 0}, "repeat_penalty (found 0"},
        {{.top_p = 1, .repeat_penalty = 0.001f}, NULL},
        {{.top_p = 1, .repeat_penalty = NAN}, "repeat_penalty (found"},
        {{.top_p = 1, .repeat_penalty = 1, .top_k = -1}, "top_k (found -1"},
        {{.top_p = 1, .repeat_penalty = 1, .top_k = INT_MAX}, NULL},
        {{.top_p = 1, .repeat_penalty = 1, .frequency_penalty = NAN}, "must be finite numbers"},
        {{.top_p = 1, .repeat_penalty = 1, .frequency_penalty = INFINITY}, "must be finite numbers"},
        {{.top_p = 1, .repeat_penalty = 1, .presence_penalty = NAN}, "must be finite numbers"},
        {{.top_p = 1, .repeat_penalty = 1, .presence_penalty = -INFINITY}, "must be finite numbers"},
        {{.top_p = 1, .repeat_penalty = 1, .frequency_penalty = -2, .presence_penalty = -2}, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_sampler s;
        struct pantry_error err = {0};
        pantry_status status = pn_sampler_init(&s, &cases[i].o, 4, &err);
        assert_int_equal(status, cases[i].says ? PANTRY_INVALID : PANTRY_OK);
        if (cases[i].says && !strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
        pn_sampler_free(&s);
    }
    pn_sampler_free(NULL);
}

/* The bias comes before the penalties; those of one token add up. */
static void a_bias_comes_first(void **state)
{
    (void)state;
    struct pn_sampler s;
    struct pantry_sampling o = plain(0);
    float logits[4] = {-1, 1, 4, NAN};
    const int32_t recent[] = {0, 2};
    struct pantry_logit_bias bias[] = {{0, 2.5f}, {2, -5}, {3, 100}, {0, 0.5f}};
    o.repeat_penalty = 2;
    assert_int_equal(pn_sampler_init(&s, &o, 4, NULL), PANTRY_OK);
    assert_int_equal(pn_sampler_set_bias(&s, bias, COUNT(bias), NULL), PANTRY_OK);
    memset(bias, 0, sizeof bias); /* it was copied */
    assert_int_equal(pn_sampler_choose(&s, logits, recent, 2), 0);
    assert_true(logits[0] == (-1 + 3) / 2.0f && logits[1] == 1 && logits[2] == (4 - 5) * 2.0f && isnan(logits[3]));
    pn_sampler_free(&s);
}

static void only_plain_greed_is_greedy(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct pn_sampler s;
        struct pantry_sampling o = plain(i == 1 ? 1.0f : 0);
        o.presence_penalty = i == 2 ? 1 : 0;
        assert_int_equal(pn_sampler_init(&s, &o, 4, NULL), PANTRY_OK);
        assert_int_equal(pn_sampler_set_bias(&s, &(struct pantry_logit_bias){1, 1}, i == 3, NULL), PANTRY_OK);
        assert_int_equal(pn_sampler_is_greedy(&s), i == 0);
        pn_sampler_free(&s);
    }
}

static void biases_out_of_range_are_errors(void **state)
{
    (void)state;
    static const struct {
        struct pantry_logit_bias bias;
        const char *says; /* NULL: fine */
    } cases[] = {
        {{0, -100}, NULL},
        {{3, 100}, NULL},
        {{-1, 1}, "logit_bias[1]: id not in the vocabulary (found -1, allowed 0..3)"},
        {{4, 1}, "logit_bias[1]: id not in the vocabulary (found 4, allowed 0..3)"},
        {{3, 100.5f}, "logit_bias[1]: bias out of range (found 100.5, allowed -100..100)"},
        {{3, -101}, "logit_bias[1]: bias out of range (found -101, allowed -100..100)"},
        {{3, NAN}, "logit_bias[1]: bias out of range (found "},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_sampler s;
        struct pantry_error err = {0};
        struct pantry_sampling o = plain(0);
        const struct pantry_logit_bias bias[] = {{2, 1}, cases[i].bias};
        assert_int_equal(pn_sampler_init(&s, &o, 4, NULL), PANTRY_OK);
        assert_int_equal(pn_sampler_set_bias(&s, bias, 2, &err), cases[i].says ? PANTRY_INVALID : PANTRY_OK);
        if (cases[i].says && !strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
        pn_sampler_free(&s);
    }
}

/* ---- through the public API ---- */

struct said {
    int32_t ids[SCRIPT_CONTEXT];
    int n;
};

static bool collect(void *user, const struct pantry_token *token)
{
    struct said *said = user;
    if (token->id >= 0)
        said->ids[said->n++] = token->id;
    return true;
}

enum { VOCAB = 6 };

static void open_table(const float *row, pantry_model **model, pantry_session **session)
{
    static float table[SCRIPT_CONTEXT * VOCAB];
    struct gw g;
    struct pantry_error error;
    for (int p = 0; p < SCRIPT_CONTEXT; p++)
        memcpy(table + p * VOCAB, row, VOCAB * sizeof *row);
    script_model_init(&g, table, VOCAB);
    const char *path = gw_file(&g, "table.gguf");
    gw_free(&g);
    if (pantry_model_load(path,
                          &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"},
                          model, &error) ||
        pantry_session_new(*model, NULL, session, &error))
        fail_msg("%s", error.text);
}

/* Greedy with penalties, token by token: tokens of prompt and answer count, within the window. */
static void generation_penalizes_earlier_tokens(void **state)
{
    (void)state;
    static const float row[VOCAB] = {3, 2.6f, 2.2f, 1.9f, 1.1f, -0.5f};
    static const int32_t prompt[] = {1, 0, 0};
    static const int windows[] = {-1, 0, 1, 2, 5, 64};
    enum { N = 30 };
    pantry_model *model;
    pantry_session *session;
    open_table(row, &model, &session);
    for (size_t w = 0; w < COUNT(windows); w++) {
        struct pantry_generate_options o = pantry_generate_options_default();
        struct said said = {.n = 0};
        o.sampling = plain(0);
        o.sampling.repeat_penalty = 1.25f;
        o.sampling.frequency_penalty = 0.375f;
        o.sampling.presence_penalty = 0.25f;
        o.sampling.penalty_last_n = windows[w];
        o.max_tokens = N;
        o.callback = collect;
        o.user = &said;
        assert_int_equal(pantry_generate(session, prompt, 3, &o, NULL, NULL), PANTRY_OK);
        assert_int_equal(said.n, N);
        int32_t all[3 + N];
        memcpy(all, prompt, sizeof prompt);
        for (int i = 0; i < N; i++) {
            static struct logits in = {.n = VOCAB};
            double p[VOCAB];
            memcpy(in.of, row, sizeof row);
            in.recent = all;
            in.n_recent = 3 + i;
            reference(&in, &o.sampling, p);
            all[3 + i] = said.ids[i];
            assert_true(p[said.ids[i]] == 1);
        }
    }
    pantry_session_free(session);
    pantry_model_free(model);
}

/* Chi-square with 5 degrees of freedom over many answers with fixed seeds; the same seed gives the same answer. */
static void generation_follows_the_distribution(void **state)
{
    (void)state;
    static const float row[VOCAB] = {1, 0.5f, 0, -0.5f, 1.25f, -1};
    enum { N = 60, ANSWERS = 60 };
    pantry_model *model;
    pantry_session *session;
    struct said first = {.n = 0};
    int counts[VOCAB] = {0};
    double p[VOCAB], chi = 0;
    open_table(row, &model, &session);
    struct pantry_generate_options o = pantry_generate_options_default();
    o.sampling = plain(0.8f);
    o.max_tokens = N;
    o.callback = collect;
    for (int k = 0; k <= ANSWERS; k++) {
        struct said said = {.n = 0};
        o.sampling.seed = k < ANSWERS ? (uint64_t)k : 0;
        o.user = &said;
        assert_int_equal(pantry_generate(session, (const int32_t[]){2}, 1, &o, NULL, NULL), PANTRY_OK);
        assert_int_equal(said.n, N);
        if (k == 0)
            first = said;
        else if (k == ANSWERS)
            assert_memory_equal(said.ids, first.ids, sizeof first.ids);
        else
            assert_memory_not_equal(said.ids, first.ids, sizeof first.ids);
        for (int i = 0; i < N && k < ANSWERS; i++)
            counts[said.ids[i]]++;
    }
    static struct logits in = {.n = VOCAB};
    memcpy(in.of, row, sizeof row);
    reference(&in, &o.sampling, p);
    for (int i = 0; i < VOCAB; i++)
        chi += (counts[i] - p[i] * N * ANSWERS) * (counts[i] - p[i] * N * ANSWERS) / (p[i] * N * ANSWERS);
    assert_true(chi < 20.5); /* p = 0.001 */
    pantry_session_free(session);
    pantry_model_free(model);
}

/* Of requests and of generations: 100 forces a token, -100 bans one, and the caller's array may go. */
static void a_bias_decides(void **state)
{
    (void)state;
    static const float row[VOCAB] = {3, 2.6f, 2.2f, 1.9f, 1.1f, -0.5f};
    static const int32_t prompt[] = {1};
    static const struct {
        struct pantry_logit_bias bias[2];
        int32_t id;
    } cases[] = {{{{5, 100}, {0, 0}}, 5}, {{{0, -100}, {1, -100}}, 2}, {{{1, 0.25f}, {1, 0.25f}}, 1}};
    pantry_model *model;
    pantry_session *session;
    open_table(row, &model, &session);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_logit_bias bias[2];
        struct said said = {.n = 0};
        struct pantry_generate_options g = pantry_generate_options_default();
        struct pantry_request_options o = pantry_request_options_default();
        const struct pantry_event *event;
        pantry_request *r;
        memcpy(bias, cases[i].bias, sizeof bias);
        g.sampling.temperature = i == 0 ? 0.5f : 0;
        o.sampling = g.sampling;
        o.max_tokens = g.max_tokens = 3;
        o.logit_bias = g.logit_bias = bias;
        o.n_logit_bias = g.n_logit_bias = 2;
        g.callback = collect;
        g.user = &said;
        assert_int_equal(pantry_generate(session, prompt, 1, &g, NULL, NULL), PANTRY_OK);
        o.ids = prompt;
        o.n_ids = 1;
        assert_int_equal(pantry_submit(model, &o, &r, NULL), PANTRY_OK);
        memset(bias, 0, sizeof bias);
        while ((event = pantry_request_next(r, -1))->kind == PANTRY_EVENT_TOKEN)
            said.ids[said.n++] = event->token->id;
        pantry_request_free(r);
        assert_int_equal(said.n, 6);
        for (int k = 0; k < said.n; k++)
            assert_int_equal(said.ids[k], cases[i].id);
    }
    pantry_session_free(session);
    pantry_model_free(model);
}

static void nan_logits_end_generation(void **state)
{
    (void)state;
    static const float row[VOCAB] = {NAN, NAN, NAN, NAN, NAN, NAN};
    struct pantry_error error;
    pantry_model *model;
    pantry_session *session;
    open_table(row, &model, &session);
    assert_int_equal(pantry_generate(session, (const int32_t[]){2}, 1, NULL, NULL, &error), PANTRY_INTERNAL);
    assert_non_null(strstr(error.text, "all logits of the model are NaN"));
    pantry_session_free(session);
    pantry_model_free(model);
}

static void defaults_are_as_documented(void **state)
{
    (void)state;
    struct pantry_sampling o = pantry_sampling_default();
    assert_true(o.temperature == 0.8f && o.top_k == 40 && o.top_p == 0.95f && o.min_p == 0.05f);
    assert_true(o.repeat_penalty == 1 && o.frequency_penalty == 0 && o.presence_penalty == 0);
    assert_true(o.penalty_last_n == 64 && o.seed == 0);
    struct pantry_generate_options g = pantry_generate_options_default();
    assert_memory_equal(&g.sampling, &o, sizeof o);
    assert_true(g.max_tokens == 0 && !g.ignore_eos && g.n_stop == 0 && !g.cancel && !g.callback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_draws_are_drawn),
        cmocka_unit_test(each_option_follows_its_definition),
        cmocka_unit_test(random_options_equal_the_reference),
        cmocka_unit_test(cuts_at_exact_limits),
        cmocka_unit_test(draws_choose_by_share),
        cmocka_unit_test(nan_and_infinite_logits),
        cmocka_unit_test(large_vocabularies_are_cut_exactly),
        cmocka_unit_test(penalties_reset_and_ignore_unknown_ids),
        cmocka_unit_test(penalties_change_the_logits_given),
        cmocka_unit_test(options_out_of_range_are_errors),
        cmocka_unit_test(a_bias_comes_first),
        cmocka_unit_test(only_plain_greed_is_greedy),
        cmocka_unit_test(biases_out_of_range_are_errors),
        cmocka_unit_test(generation_penalizes_earlier_tokens),
        cmocka_unit_test(a_bias_decides),
        cmocka_unit_test(generation_follows_the_distribution),
        cmocka_unit_test(nan_logits_end_generation),
        cmocka_unit_test(defaults_are_as_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
