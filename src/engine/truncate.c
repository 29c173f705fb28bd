/* Samplers over the list of candidates: see truncate.h. Each has the name that llama.cpp gives it. */
#include "engine/truncate.h"

#include "base/random.h"
#include "engine/scan.h"

#include <math.h>
#include <string.h>

float pn_sampler_random(const struct pn_sampler *s, enum pn_draw purpose)
{
    static const uint64_t streams[] = {[PN_DRAW_TOKEN] = 0, [PN_DRAW_XTC] = 0xA24BAED4963EE407u};
    uint64_t stream = s->options.seed ^ streams[purpose] ^ (uint64_t)s->attempt * 0x9FB21C651E98DF25u;
    return pn_random_unit(pn_random_at(stream, (uint64_t)s->n_recent));
}

/* ---- the list ---- */

/* The tokens from `least` on, by id. Blocks without any are skipped. */
static void collect_from(struct pn_sampler *s, float least)
{
    int n = 0;
    for (int b = 0; b < pn_scan_blocks(s->n_vocab); b++) {
        if (!(s->maxima[b] >= least))
            continue;
        int end = (b + 1) * PN_SCAN_BLOCK < s->n_vocab ? (b + 1) * PN_SCAN_BLOCK : s->n_vocab;
        for (int32_t i = b * PN_SCAN_BLOCK; i < end; i++)
            if (s->logits[i] >= least && s->logits[i] > -INFINITY)
                s->candidates[n++] = (struct pn_candidate){i, s->logits[i]};
    }
    s->n = n;
    s->collected = true;
    s->sorted = false;
}

void pn_sampler_collect(struct pn_sampler *s)
{
    if (!s->collected)
        collect_from(s, -INFINITY);
}

/* The k best are among the tokens from the k-th highest maximum on, which are few more than k. */
static void collect_best(struct pn_sampler *s, int k)
{
    int n_blocks = pn_scan_blocks(s->n_vocab);
    if (k > n_blocks) {
        collect_from(s, -INFINITY);
        return;
    }
    memcpy(s->scratch, s->maxima, (size_t)n_blocks * sizeof *s->scratch);
    collect_from(s, pn_kth_highest(s->scratch, n_blocks, k));
}

static void find_highest(struct pn_sampler *s)
{
    s->highest = -INFINITY;
    for (int i = 0; i < (s->sorted && s->n ? 1 : s->n); i++)
        s->highest = s->candidates[i].logit > s->highest ? s->candidates[i].logit : s->highest;
}

double pn_sampler_weigh(struct pn_sampler *s)
{
    pn_sampler_collect(s);
    find_highest(s);
    for (int i = 0; i < s->n; i++)
        s->p[i] = s->candidates[i].logit;
    return pn_scan_exp(s->p, s->n, s->highest, 1);
}

static void sort(struct pn_sampler *s)
{
    pn_sampler_collect(s);
    if (!s->sorted)
        pn_candidates_sort(s->candidates, s->n);
    s->sorted = true;
}

/* Keeps candidates with at least `least`, and those tokens of the row if there is no list yet. */
static void keep_from(struct pn_sampler *s, float least)
{
    int n = 0;
    if (!s->collected) {
        collect_from(s, least);
        return;
    }
    for (int i = 0; i < s->n; i++)
        if (s->candidates[i].logit >= least)
            s->candidates[n++] = s->candidates[i];
    s->n = n;
}

/* ---- cutting ---- */

void pn_sample_top_k(struct pn_sampler *s)
{
    int k = s->options.top_k;
    if (k <= 0 || k >= (s->collected ? s->n : s->n_vocab))
        return;
    if (!s->collected)
        collect_best(s, k);
    if (k < s->n && !s->sorted)
        pn_candidates_select(s->candidates, s->n, k);
    s->n = k < s->n ? k : s->n;
    sort(s);
}

/* The sum of the whole row's weights. */
static double row_sum(struct pn_sampler *s)
{
    memcpy(s->p, s->logits, (size_t)s->n_vocab * sizeof *s->p);
    return pn_scan_exp(s->p, s->n_vocab, s->highest, 1);
}

/* top-p over the whole row: a few of the best are usually enough. */
static bool top_p_of_row(struct pn_sampler *s)
{
    double wanted = (double)s->options.top_p * row_sum(s), reached = 0;
    int n = 0;
    for (int k = 32; k <= pn_scan_blocks(s->n_vocab); k *= 8) {
        collect_best(s, k);
        sort(s);
        for (n = 0, reached = 0; n < s->n && reached < wanted; n++)
            reached += (double)expf(s->candidates[n].logit - s->highest);
        if (reached >= wanted)
            break;
    }
    s->n = n;
    s->collected = reached >= wanted;
    return s->collected;
}

/* The fewest best whose probabilities sum to top_p (Holtzman et al., 2020). Sorts only as far as needed. */
void pn_sample_top_p(struct pn_sampler *s)
{
    double reached = 0;
    if (s->options.top_p >= 1 || (!s->collected && top_p_of_row(s)))
        return;
    double wanted = (double)s->options.top_p * pn_sampler_weigh(s);
    int done = s->sorted ? s->n : 0;
    for (int i = 0; i < s->n; i++) {
        done = pn_candidates_sort_front(s->candidates, s->n, done, i + 1);
        reached += (double)expf(s->candidates[i].logit - s->highest);
        if (reached >= wanted) {
            s->n = i + 1;
            break;
        }
    }
    s->sorted = true;
}

/* Those with at least min_p times the probability of the best (Nguyen et al., 2024). */
void pn_sample_min_p(struct pn_sampler *s)
{
    if (s->options.min_p <= 0)
        return;
    if (s->collected)
        find_highest(s);
    keep_from(s, s->highest + logf(s->options.min_p));
}

/* Those whose surprise is nearest to the entropy, until their probabilities sum to more than typical_p (Meister et al.,
 * Locally Typical Sampling, 2022). */
void pn_sample_typical_p(struct pn_sampler *s)
{
    double entropy = 0, reached = 0;
    if (s->more.typical_p >= 1)
        return;
    double sum = pn_sampler_weigh(s);
    for (int i = 0; i < s->n; i++)
        if (s->p[i] > 0)
            entropy -= (double)s->p[i] / sum * log((double)s->p[i] / sum);
    /* The distances, negated, so that the nearest come first. */
    for (int i = 0; i < s->n; i++) {
        double surprise = log(sum) - ((double)s->candidates[i].logit - (double)s->highest);
        s->other[i] = (struct pn_candidate){i, -(float)fabs(surprise - entropy)};
    }
    int done = 0, n = 0;
    while (n < s->n && reached <= (double)s->more.typical_p) {
        done = pn_candidates_sort_front(s->other, s->n, done, n + 1);
        reached += (double)s->p[s->other[n++].id] / sum;
    }
    for (int i = 0; i < n; i++)
        s->other[i] = s->candidates[s->other[i].id];
    memcpy(s->candidates, s->other, (size_t)n * sizeof *s->candidates);
    s->n = n;
    s->sorted = false;
}

/* Those within n standard deviations of the best (Tang et al., Top-n sigma, 2024). */
void pn_sample_top_n_sigma(struct pn_sampler *s)
{
    double sum = 0, squares = 0;
    if (s->more.top_n_sigma <= 0)
        return;
    int n = s->n;
    if (!s->collected) {
        n = pn_scan_sum(s->logits, s->n_vocab, &sum);
        squares = pn_scan_squares(s->logits, s->n_vocab, sum / n);
    } else {
        find_highest(s);
        for (int i = 0; i < n; i++)
            sum += (double)s->candidates[i].logit;
        for (int i = 0; i < n; i++)
            squares += ((double)s->candidates[i].logit - sum / n) * ((double)s->candidates[i].logit - sum / n);
    }
    keep_from(s, (float)((double)s->highest - (double)s->more.top_n_sigma * sqrt(squares / n)));
}

/* Now and then leaves out all of the likely tokens but the least likely of them ("exclude top choices", p-e-w, 2024).
 */
void pn_sample_xtc(struct pn_sampler *s)
{
    int n = 0;
    const struct pantry_samplers *o = &s->more;
    if (o->xtc_probability <= 0 || o->xtc_threshold > 0.5f)
        return;
    pn_sampler_collect(s);
    if (s->n < 2 || pn_sampler_random(s, PN_DRAW_XTC) > o->xtc_probability)
        return;
    sort(s);
    double sum = pn_sampler_weigh(s);
    while (n < s->n && (double)s->p[n] / sum >= (double)o->xtc_threshold)
        n++;
    if (n < 2)
        return;
    s->n -= n - 1;
    memmove(s->candidates, s->candidates + n - 1, (size_t)s->n * sizeof *s->candidates);
}

/* ---- changing ---- */

/* The entropy of the candidates as a share of the largest possible. */
static double relative_entropy(struct pn_sampler *s)
{
    double entropy = 0, sum = pn_sampler_weigh(s);
    for (int i = 0; i < s->n; i++)
        if (s->p[i] > 0)
            entropy -= (double)s->p[i] / sum * log((double)s->p[i] / sum);
    return entropy / log((double)s->n);
}

void pn_sample_temperature(struct pn_sampler *s)
{
    const struct pantry_samplers *o = &s->more;
    float t = s->options.temperature;
    pn_sampler_collect(s);
    if (o->dynatemp_range > 0) {
        float least = t > o->dynatemp_range ? t - o->dynatemp_range : 0, most = t + o->dynatemp_range;
        if (s->n < 2)
            return;
        t = least + (most - least) * (float)pow(relative_entropy(s), (double)o->dynatemp_exponent);
    }
    if (t < 1e-6f) {
        pn_candidates_select(s->candidates, s->n, 1);
        s->n = s->n ? 1 : 0;
        s->sorted = true;
        return;
    }
    find_highest(s); /* subtracted first, so that a low temperature does not make logits infinite */
    for (int i = 0; i < s->n && t != 1; i++)
        s->candidates[i].logit = (s->candidates[i].logit - s->highest) / t;
}

/* ---- steering ---- */

/* How many tokens have a mean surprise of mu bits, if probabilities fall like Zipf's (Basu et al., Mirostat, 2021). */
static int zipf_k(struct pn_sampler *s)
{
    enum { M = 100 };
    double above = 0, below = 0;
    int m = s->n - 1 < M - 1 ? s->n - 1 : M - 1;
    for (int i = 0; i < m; i++) {
        double t = log((i + 2.0) / (i + 1.0)), b = (double)s->candidates[i].logit - (double)s->candidates[i + 1].logit;
        above += t * b;
        below += t * t;
    }
    double exponent = below > 0 ? above / below : 1, e = exponent - 1;
    double k = pow(e * pow(2, (double)s->state.mu) / (1 - pow(s->n_vocab, -e)), 1 / exponent);
    return k >= s->n ? s->n : k >= 1 ? (int)k : 1;
}

/* Tokens with a surprise above mu have a logit below this. */
static float least_logit(struct pn_sampler *s)
{
    double sum = s->collected ? pn_sampler_weigh(s) : row_sum(s);
    return (float)((double)s->highest + log(sum) - (double)s->state.mu * log(2));
}

void pn_sample_mirostat(struct pn_sampler *s)
{
    if (s->more.mirostat == 2) {
        float least = least_logit(s);
        keep_from(s, least < s->highest ? least : s->highest);
        return;
    }
    pn_sampler_collect(s);
    int done = pn_candidates_sort_front(s->candidates, s->n, s->sorted ? s->n : 0, 100);
    int k = zipf_k(s);
    pn_candidates_sort_front(s->candidates, s->n, done, k);
    s->n = k;
    s->sorted = true;
}

void pn_sample_adaptive_p(struct pn_sampler *s)
{
    const float width = 0.3f, peak = 5, sharpness = 10;
    float target = s->more.adaptive_target;
    if (target < 0)
        return;
    double sum = pn_sampler_weigh(s);
    float wanted = 2 * target - s->state.weight / s->state.total;
    wanted = wanted < 0 ? 0 : wanted > 1 ? 1 : wanted;
    for (int i = 0; i < s->n; i++) {
        s->first_p[i] = (float)((double)s->p[i] / sum);
        float distance = fabsf(s->first_p[i] - wanted) / width;
        s->candidates[i].logit = peak - sharpness * distance * distance / (1 + distance);
    }
    s->sorted = false;
}
