/* Sampling: see sample.h. */
#include "engine/sample.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pantry_status check(const struct pantry_sampling *o, struct pantry_error *err)
{
    for (size_t i = 0; i < sizeof o->reserved / sizeof *o->reserved; i++)
        if (o->reserved[i])
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "the sampling options set a member that this library does not have (reserved[%zu])", i);
    if (!(o->temperature >= 0) || o->temperature > 100)
        return pn_fail(err, PANTRY_INVALID, "invalid temperature (found %g, allowed 0 to 100)", (double)o->temperature);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return pn_fail(err, PANTRY_INVALID, "invalid top_p (found %g, allowed above 0 to 1)", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return pn_fail(err, PANTRY_INVALID, "invalid min_p (found %g, allowed 0 to 1)", (double)o->min_p);
    if (!(o->repeat_penalty > 0))
        return pn_fail(err, PANTRY_INVALID, "invalid repeat_penalty (found %g, allowed above 0)",
                       (double)o->repeat_penalty);
    if (o->top_k < 0)
        return pn_fail(err, PANTRY_INVALID, "invalid top_k (found %d, allowed 0 or more)", o->top_k);
    if (!isfinite(o->frequency_penalty) || !isfinite(o->presence_penalty))
        return pn_fail(err, PANTRY_INVALID, "frequency_penalty and presence_penalty must be finite numbers");
    return PANTRY_OK;
}

static bool has_penalties(const struct pantry_sampling *o)
{
    return o->repeat_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0;
}

pantry_status pn_sampler_init(struct pn_sampler *s, const struct pantry_sampling *options, int n_vocab,
                              struct pantry_error *err)
{
    *s = (struct pn_sampler){.options = *options, .n_vocab = n_vocab};
    pantry_status status = check(options, err);
    if (status)
        return status;
    bool draws = options->temperature > 0, counts = has_penalties(options); /* greedy requests need no memory */
    if (draws)
        s->candidates = malloc((size_t)n_vocab * sizeof *s->candidates);
    if (draws)
        s->p = malloc((size_t)n_vocab * sizeof *s->p);
    if (counts)
        s->n_seen = calloc((size_t)n_vocab, sizeof *s->n_seen);
    if ((draws && (!s->candidates || !s->p)) || (counts && !s->n_seen)) {
        pn_sampler_free(s);
        return pn_no_memory(err, "a sampler");
    }
    return PANTRY_OK;
}

pantry_status pn_sampler_set_bias(struct pn_sampler *s, const struct pantry_logit_bias *bias, size_t n,
                                  struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (bias[i].id < 0 || bias[i].id >= s->n_vocab)
            return pn_fail(err, PANTRY_INVALID, "logit_bias[%zu]: id not in the vocabulary (found %d, allowed 0..%d)",
                           i, bias[i].id, s->n_vocab - 1);
        if (!(bias[i].bias >= -100 && bias[i].bias <= 100))
            return pn_fail(err, PANTRY_INVALID, "logit_bias[%zu]: bias out of range (found %g, allowed -100..100)", i,
                           (double)bias[i].bias);
    }
    if (!n)
        return PANTRY_OK;
    s->bias = calloc(n, sizeof *s->bias);
    if (!s->bias)
        return pn_no_memory(err, "a sampler");
    memcpy(s->bias, bias, n * sizeof *bias);
    s->n_bias = n;
    return PANTRY_OK;
}

void pn_sampler_free(struct pn_sampler *s)
{
    if (!s)
        return;
    free(s->candidates);
    free(s->p);
    free(s->n_seen);
    free(s->bias);
    *s = (struct pn_sampler){0};
}

bool pn_sampler_is_greedy(const struct pn_sampler *s)
{
    return s->options.temperature == 0 && !has_penalties(&s->options) && !s->n_bias;
}

/* Keskar et al., CTRL, 2019 (repeat); OpenAI's definition of frequency and presence penalties. */
static void penalize(struct pn_sampler *s, float *logits, const int32_t *recent, int n)
{
    const struct pantry_sampling *o = &s->options;
    int window = o->penalty_last_n < 0 || o->penalty_last_n > n ? n : o->penalty_last_n;
    if (!has_penalties(o))
        return;
    for (int i = n - window; i < n; i++)
        if (recent[i] >= 0 && recent[i] < s->n_vocab && s->n_seen[recent[i]] < UINT16_MAX)
            s->n_seen[recent[i]]++;
    for (int i = n - window; i < n; i++) {
        int32_t id = recent[i];
        if (id < 0 || id >= s->n_vocab || !s->n_seen[id])
            continue;
        float l = logits[id];
        l = l > 0 ? l / o->repeat_penalty : l * o->repeat_penalty;
        logits[id] = l - (float)s->n_seen[id] * o->frequency_penalty - o->presence_penalty;
        s->n_seen[id] = 0;
    }
}

static int32_t greedy(const float *logits, int n)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++)
        if (!isnan(logits[i]) && (best < 0 || logits[i] > logits[best]))
            best = i;
    return best;
}

/* Higher logits first, equal ones by id, so that the order does not depend on the sort. */
static bool before(const struct pn_candidate *a, const struct pn_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Moves the k best of n to the front, in no order (Hoare's selection). */
static void select_best(struct pn_candidate *c, int n, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        struct pn_candidate pivot = c[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot))
                i++;
            while (before(&pivot, &c[j]))
                j--;
            if (i <= j) {
                struct pn_candidate t = c[i];
                c[i++] = c[j];
                c[j--] = t;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

static int collect(struct pn_sampler *s, const float *logits)
{
    int n = 0;
    for (int32_t i = 0; i < s->n_vocab; i++)
        if (!isnan(logits[i]) && logits[i] > -INFINITY)
            s->candidates[n++] = (struct pn_candidate){i, logits[i]};
    return n;
}

/* Sorts c[0..n) best first, in place (Williams' heapsort, 1964), since qsort may allocate. */
static void sort_best(struct pn_candidate *c, int n)
{
    for (int start = n / 2 - 1, end = n; end > 1;) {
        int root = start;
        if (start >= 0) {
            start--;
        } else {
            struct pn_candidate t = c[--end];
            c[end] = c[0];
            c[0] = t;
            root = 0;
        }
        for (int child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && before(&c[child], &c[child + 1]))
                child++; /* the heap's root is the worst */
            if (!before(&c[root], &c[child]))
                break;
            struct pn_candidate t = c[root];
            c[root] = c[child];
            c[child] = t;
        }
    }
}

/* Keeps the fewest best of candidates[0..n) whose probabilities sum to top_p (Holtzman et al., 2020). Sorts only as far
 * as needed. */
static int keep_top_p(struct pn_sampler *s, int n, float highest)
{
    double sum = 0, reached = 0;
    for (int i = 0; i < n; i++)
        sum += (double)expf(s->candidates[i].logit - highest);
    double wanted = (double)s->options.top_p * sum;
    for (int done = 0, k = 64; done < n; k *= 8) {
        k = k > n ? n : k;
        select_best(s->candidates + done, n - done, k - done);
        sort_best(s->candidates + done, k - done);
        for (; done < k; done++) {
            reached += (double)expf(s->candidates[done].logit - highest);
            if (reached >= wanted)
                return done + 1;
        }
    }
    return n;
}

/* Drops candidates less likely than min_p times the likeliest (Nguyen et al., 2024). */
static int keep_min_p(struct pn_sampler *s, int n, float highest)
{
    float lowest = highest + logf(s->options.min_p);
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (s->candidates[i].logit >= lowest)
            s->candidates[kept++] = s->candidates[i];
    return kept;
}

int32_t pn_sampler_choose(struct pn_sampler *s, float *logits, const int32_t *recent, int n_recent)
{
    const struct pantry_sampling *o = &s->options;
    for (size_t i = 0; i < s->n_bias; i++)
        logits[s->bias[i].id] += s->bias[i].bias;
    penalize(s, logits, recent, n_recent);
    int32_t best = greedy(logits, s->n_vocab);
    if (o->temperature <= 0 || best < 0 || !isfinite(logits[best]))
        return best;
    float highest = logits[best];
    int n = collect(s, logits);
    if (o->top_k > 0 && o->top_k < n) {
        select_best(s->candidates, n, o->top_k);
        n = o->top_k;
        sort_best(s->candidates, n);
    }
    if (o->top_p < 1)
        n = keep_top_p(s, n, highest);
    if (o->min_p > 0)
        n = keep_min_p(s, n, highest);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        s->p[i] = expf((s->candidates[i].logit - highest) / o->temperature);
        sum += (double)s->p[i];
    }
    double at = (double)pn_random_unit(pn_random_at(o->seed, (uint64_t)n_recent)) * sum;
    for (int i = 0; i < n; i++) {
        at -= (double)s->p[i];
        if (at < 0)
            return s->candidates[i].id;
    }
    return s->candidates[n - 1].id;
}
