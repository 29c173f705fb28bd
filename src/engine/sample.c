/* Sampling: see sample.h. */
#include "engine/sample.h"

#include "engine/handle.h"
#include "engine/scan.h"
#include "engine/truncate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- penalties ---- */

static bool has_penalties(const struct pantry_sampling *o)
{
    return o->repeat_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0;
}

static float penalized(const struct pn_sampler *s, int32_t id, float logit)
{
    const struct pantry_sampling *o = &s->options;
    logit = logit > 0 ? logit / o->repeat_penalty : logit * o->repeat_penalty;
    return logit - (float)s->n_seen[id] * o->frequency_penalty - o->presence_penalty;
}

/* Keskar et al., CTRL, 2019 (repeat); OpenAI's definition of frequency and presence penalties. */
static void penalties(struct pn_sampler *s)
{
    const struct pantry_sampling *o = &s->options;
    int n = s->n_recent, window = o->penalty_last_n < 0 || o->penalty_last_n > n ? n : o->penalty_last_n;
    if (!has_penalties(o))
        return;
    for (int i = n - window; i < n; i++)
        if (s->recent[i] >= 0 && s->recent[i] < s->n_vocab && s->n_seen[s->recent[i]] < UINT16_MAX)
            s->n_seen[s->recent[i]]++;
    for (int i = 0; s->collected && i < s->n; i++)
        if (s->n_seen[s->candidates[i].id])
            s->candidates[i].logit = penalized(s, s->candidates[i].id, s->candidates[i].logit);
    for (int i = n - window; i < n; i++) {
        int32_t id = s->recent[i];
        if (id < 0 || id >= s->n_vocab || !s->n_seen[id])
            continue;
        if (!s->collected)
            s->logits[id] = penalized(s, id, s->logits[id]);
        s->n_seen[id] = 0;
    }
    s->sorted = false;
}

static void dry(struct pn_sampler *s)
{
    if (!s->dry.lengths)
        return;
    pn_dry_find(&s->dry, s->recent, s->n_recent);
    for (int i = 0; !s->collected && i < s->dry.n_tokens; i++)
        s->logits[s->dry.tokens[i]] -= pn_dry_penalty(&s->dry, s->dry.tokens[i]);
    for (int i = 0; s->collected && i < s->n; i++)
        s->candidates[i].logit -= pn_dry_penalty(&s->dry, s->candidates[i].id);
    pn_dry_clear(&s->dry);
    s->sorted = false;
}

/* ---- options ---- */

static const struct {
    const char *name;
    pn_sampler_step *apply;
} samplers[] = {
    {"penalties", penalties},
    {"dry", dry},
    {"top_n_sigma", pn_sample_top_n_sigma},
    {"top_k", pn_sample_top_k},
    {"typ_p", pn_sample_typical_p},
    {"typical_p", pn_sample_typical_p},
    {"top_p", pn_sample_top_p},
    {"min_p", pn_sample_min_p},
    {"xtc", pn_sample_xtc},
    {"temperature", pn_sample_temperature},
    {"temp", pn_sample_temperature},
    {"adaptive_p", pn_sample_adaptive_p},
};
static const char usual_order[] = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";

static bool applies(const struct pn_sampler *s, pn_sampler_step *apply)
{
    for (int i = 0; i < s->n_order; i++)
        if (s->order[i] == apply)
            return true;
    return false;
}

static pantry_status read_order(struct pn_sampler *s, const char *order, struct pantry_error *err)
{
    for (const char *at = order, *end; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, ";");
        size_t i = 0, n = sizeof samplers / sizeof *samplers;
        while (i < n && (strncmp(samplers[i].name, at, (size_t)(end - at)) != 0 || samplers[i].name[end - at]))
            i++;
        if (i == n)
            return pn_fail(err, PANTRY_INVALID, "samplers: unknown name (found \"%.*s\", allowed %s;adaptive_p)",
                           (int)(end - at < 60 ? end - at : 60), at, usual_order);
        if (applies(s, samplers[i].apply))
            return pn_fail(err, PANTRY_INVALID, "samplers: \"%s\" comes twice", samplers[i].name);
        s->order[s->n_order++] = samplers[i].apply;
    }
    return PANTRY_OK;
}

/* Mirostat replaces what cuts the list, and adaptive-p comes last, since it draws. */
static void settle_order(struct pn_sampler *s)
{
    int n = 0;
    for (int i = 0; i < s->n_order; i++) {
        pn_sampler_step *apply = s->order[i];
        bool kept = apply == penalties || apply == dry || apply == pn_sample_temperature;
        if (apply != pn_sample_adaptive_p && (kept || !s->more.mirostat))
            s->order[n++] = apply;
    }
    if (s->more.mirostat)
        s->order[n++] = pn_sample_mirostat;
    else if (s->more.adaptive_target >= 0)
        s->order[n++] = pn_sample_adaptive_p;
    s->n_order = n;
}

/* Whether the likeliest token of the row is taken, once the penalties at the beginning of the order have changed it. */
static bool takes_best(const struct pn_sampler *s)
{
    int i = 0;
    if (s->options.temperature > 0 || s->more.dynatemp_range > 0)
        return false;
    while (i < s->n_order && (s->order[i] == penalties || s->order[i] == dry))
        i++;
    for (; i < s->n_order; i++) {
        pn_sampler_step *step = s->order[i];
        bool keeps_best = step == pn_sample_top_k || step == pn_sample_top_p || step == pn_sample_min_p ||
                          step == pn_sample_top_n_sigma || (step == pn_sample_xtc && s->more.xtc_probability <= 0) ||
                          (step == pn_sample_typical_p && s->more.typical_p >= 1);
        if (!keeps_best)
            return step == pn_sample_temperature;
    }
    return false;
}

bool pn_sampler_is_greedy(const struct pn_sampler *s)
{
    return takes_best(s) && !has_penalties(&s->options) && s->more.dry_multiplier <= 0 && !s->n_bias && !s->banned.n;
}

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

static pantry_status check_more(const struct pantry_samplers *o, struct pantry_error *err)
{
    const struct {
        const char *name;
        float value, least, most;
    } ranges[] = {{"dynatemp_range", o->dynatemp_range, 0, 100},
                  {"dynatemp_exponent", o->dynatemp_exponent, 0, 100},
                  {"typical_p", o->typical_p, 0, 1},
                  {"top_n_sigma", o->top_n_sigma, -1, 1000},
                  {"xtc_probability", o->xtc_probability, 0, 1},
                  {"xtc_threshold", o->xtc_threshold, 0, 1},
                  {"dry_multiplier", o->dry_multiplier, 0, 100},
                  {"dry_base", o->dry_base, 0, 100},
                  {"dry_allowed_length", (float)o->dry_allowed_length, 0, 1 << 24},
                  {"dry_penalty_last_n", (float)o->dry_penalty_last_n, -1, 1 << 24},
                  {"mirostat", (float)o->mirostat, 0, 2},
                  {"mirostat_tau", o->mirostat_tau, 0, 100},
                  {"mirostat_eta", o->mirostat_eta, 0, 1},
                  {"adaptive_target", o->adaptive_target, -1, 1},
                  {"adaptive_decay", o->adaptive_decay, 0, 0.99f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].least && ranges[i].value <= ranges[i].most))
            return pn_fail(err, PANTRY_INVALID, "invalid %s (found %g, allowed %g to %g)", ranges[i].name,
                           (double)ranges[i].value, (double)ranges[i].least, (double)ranges[i].most);
    return PANTRY_OK;
}

/* ---- life ---- */

/* Greedy requests need little memory. */
static bool allocate(struct pn_sampler *s)
{
    size_t n = (size_t)s->n_vocab, n_blocks = (size_t)pn_scan_blocks(s->n_vocab);
    bool ok = (s->maxima = malloc(n_blocks * sizeof *s->maxima)) != NULL;
    if (has_penalties(&s->options))
        ok &= (s->n_seen = calloc(n, sizeof *s->n_seen)) != NULL;
    if (takes_best(s))
        return ok;
    ok &= (s->candidates = malloc(n * sizeof *s->candidates)) != NULL;
    ok &= (s->p = malloc(n * sizeof *s->p)) != NULL;
    ok &= (s->scratch = malloc(n_blocks * sizeof *s->scratch)) != NULL;
    if (s->more.typical_p < 1)
        ok &= (s->other = malloc(n * sizeof *s->other)) != NULL;
    if (s->more.adaptive_target >= 0)
        ok &= (s->first_p = malloc(n * sizeof *s->first_p)) != NULL;
    return ok;
}

pantry_status pn_sampler_init(struct pn_sampler *s, const struct pantry_sampling *options, int n_vocab,
                              struct pantry_error *err)
{
    *s = (struct pn_sampler){.options = *options, .n_vocab = n_vocab, .more = pantry_samplers_default()};
    s->options.more = NULL;
    pantry_status status = check(options, err);
    if (!status)
        status = pn_take_options(&s->more, options->more, "samplers", err);
    if (!status)
        status = check_more(&s->more, err);
    if (!status)
        status = read_order(s, s->more.order ? s->more.order : usual_order, err);
    if (status)
        return status;
    settle_order(s);
    s->state.mu = 2 * s->more.mirostat_tau;
    s->state.total = 1 / (1 - s->more.adaptive_decay);
    s->state.weight = s->more.adaptive_target * s->state.total;
    if (allocate(s))
        return PANTRY_OK;
    pn_sampler_free(s);
    return pn_no_memory(err, "a sampler");
}

static int by_id(const void *a, const void *b)
{
    const struct pantry_logit_bias *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

pantry_status pn_sampler_set_bias(struct pn_sampler *s, const struct pantry_logit_bias *bias, size_t n,
                                  struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (bias[i].id < 0 || bias[i].id >= s->n_vocab)
            return pn_fail(err, PANTRY_INVALID, "logit_bias[%zu]: id not in the vocabulary (found %d, allowed 0..%d)",
                           i, bias[i].id, s->n_vocab - 1);
        if (!(bias[i].bias >= -100 && bias[i].bias <= 100) && !isinf(bias[i].bias))
            return pn_fail(err, PANTRY_INVALID, "logit_bias[%zu]: bias out of range (found %g, allowed -100..100)", i,
                           (double)bias[i].bias);
    }
    if (!n)
        return PANTRY_OK;
    s->bias = calloc(n, sizeof *s->bias);
    if (!s->bias)
        return pn_no_memory(err, "a sampler");
    memcpy(s->bias, bias, n * sizeof *bias);
    qsort(s->bias, n, sizeof *s->bias, by_id);
    for (s->n_bias = 0; s->n_bias < n; s->n_bias++)
        s->n_forced += s->bias[s->n_bias].bias == INFINITY;
    return PANTRY_OK;
}

pantry_status pn_sampler_set_text(struct pn_sampler *s, const struct pantry_sampling *options,
                                  const struct pn_tokenizer *tokenizer, int n_prompt, int n_context,
                                  struct pantry_error *err)
{
    struct pantry_samplers o = pantry_samplers_default();
    const struct pn_dry_options d = {.multiplier = s->more.dry_multiplier,
                                     .base = s->more.dry_base,
                                     .allowed_length = s->more.dry_allowed_length,
                                     .last_n = s->more.dry_penalty_last_n};
    pantry_status status = pn_take_options(&o, options->more, "samplers", err);
    s->more.dry_breaker = s->more.banned = NULL; /* the caller's */
    s->more.order = NULL;
    s->n_prompt = n_prompt;
    if (!status && d.multiplier > 0 && applies(s, dry))
        status = pn_dry_init(&s->dry, &d, o.dry_breaker, o.n_dry_breaker, tokenizer, s->n_vocab, n_context, err);
    if (!status && o.n_banned)
        status = pn_phrases_init(&s->banned, o.banned, o.n_banned, "banned_strings", err);
    if (!status && s->banned.n)
        status = pn_tail_init(&s->answer, tokenizer, s->banned.longest, err);
    return status;
}

void pn_sampler_free(struct pn_sampler *s)
{
    if (!s)
        return;
    free(s->maxima);
    free(s->scratch);
    free(s->candidates);
    free(s->other);
    free(s->p);
    free(s->first_p);
    free(s->n_seen);
    free(s->bias);
    pn_dry_free(&s->dry);
    pn_phrases_free(&s->banned);
    pn_tail_free(&s->answer);
    *s = (struct pn_sampler){0};
}

/* ---- choosing ---- */

/* The bias is sorted by id. */
static void add_bias(struct pn_sampler *s)
{
    int32_t next = 0;
    for (size_t i = 0; i < s->n_bias; i++) {
        int32_t id = s->bias[i].id;
        if (s->bias[i].bias != INFINITY) {
            s->logits[id] += s->bias[i].bias;
            continue;
        }
        for (; next < id; next++) /* what no such bias names is impossible */
            s->logits[next] = -INFINITY;
        next = id + 1;
    }
    for (; s->n_forced && next < s->n_vocab; next++)
        s->logits[next] = -INFINITY;
}

static int32_t draw(struct pn_sampler *s)
{
    double sum = pn_sampler_weigh(s);
    double at = (double)pn_sampler_random(s, PN_DRAW_TOKEN) * sum;
    int i = 0;
    for (; i < s->n - 1; i++) {
        at -= (double)s->p[i];
        if (at < 0)
            break;
    }
    s->next = s->state;
    if (s->more.mirostat)
        s->next.mu -= s->more.mirostat_eta * ((float)-log2((double)s->p[i] / sum) - s->more.mirostat_tau);
    if (s->first_p && !s->more.mirostat) {
        s->next.weight = s->first_p[i] + s->more.adaptive_decay * s->state.weight;
        s->next.total = 1 + s->more.adaptive_decay * s->state.total;
    }
    return s->candidates[i].id;
}

static int32_t first_allowed(const struct pn_mask *mask)
{
    for (size_t w = 0; w < mask->n_words; w++)
        if (mask->bits[w])
            return (int32_t)(64 * w) + __builtin_ctzll(mask->bits[w]);
    return -1;
}

/* Makes all other tokens impossible. */
static void apply_mask(struct pn_sampler *s)
{
    for (size_t w = 0; w < s->mask->n_words; w++) {
        uint64_t bits = s->mask->bits[w];
        int n = s->n_vocab - 64 * (int)w < 64 ? s->n_vocab - 64 * (int)w : 64;
        float *at = s->logits + 64 * w;
        for (int i = 0; bits != UINT64_MAX && i < n; i++)
            at[i] = bits >> i & 1 ? at[i] : -INFINITY;
    }
}

/* Few tokens: only their logits are read. */
static int32_t pick_listed(struct pn_sampler *s, int done)
{
    int32_t best = -1;
    s->n = 0;
    s->collected = true;
    s->sorted = false;
    for (size_t i = 0; i < s->mask->n_allowed; i++) {
        int32_t id = s->mask->ids[i];
        if (isnan(s->logits[id]) || !(s->logits[id] > -INFINITY))
            continue;
        if (s->candidates)
            s->candidates[s->n++] = (struct pn_candidate){id, s->logits[id]};
        best = best < 0 || s->logits[id] > s->logits[best] ? id : best;
    }
    if (best < 0 || takes_best(s) || !isfinite(s->logits[best]))
        return best;
    for (int i = done; i < s->n_order; i++)
        s->order[i](s);
    return draw(s);
}

/* Chooses from the row, after the first `done` samplers; -1: nothing is possible. */
static int32_t pick(struct pn_sampler *s, int done)
{
    if (s->mask && s->mask->ids)
        return pick_listed(s, done);
    s->collected = false;
    s->highest = pn_scan_max(s->logits, s->n_vocab, s->maxima);
    if (s->mask && !(s->highest > -INFINITY))
        return -1;
    if (takes_best(s) || !isfinite(s->highest))
        return pn_scan_first(s->logits, s->n_vocab, s->highest, s->maxima);
    for (int i = done; i < s->n_order; i++)
        s->order[i](s);
    return draw(s);
}

static bool is_banned(struct pn_sampler *s, int32_t id)
{
    pn_tail_look(&s->answer, id);
    return pn_phrases_end_in(&s->banned, &s->answer);
}

int32_t pn_sampler_choose(struct pn_sampler *s, float *logits, const int32_t *recent, int n_recent)
{
    return pn_sampler_choose_from(s, NULL, logits, recent, n_recent);
}

int32_t pn_sampler_choose_from(struct pn_sampler *s, const struct pn_mask *mask, float *logits, const int32_t *recent,
                               int n_recent)
{
    int done = 0;
    s->mask = mask;
    s->logits = logits;
    s->recent = recent;
    s->n_recent = n_recent;
    s->attempt = 0;
    s->collected = false;
    s->next = s->state;
    if (mask && !mask->ids)
        apply_mask(s);
    add_bias(s);
    for (; done < s->n_order && (s->order[done] == penalties || s->order[done] == dry); done++)
        s->order[done](s);
    for (; s->banned.n && s->answer.n_taken < n_recent - s->n_prompt; pn_tail_take(&s->answer))
        pn_tail_look(&s->answer, recent[s->n_prompt + s->answer.n_taken]);
    int32_t id = pick(s, done);
    while (s->banned.n && id >= 0 && logits[id] > -INFINITY && is_banned(s, id)) {
        logits[id] = -INFINITY;
        s->attempt++;
        id = pick(s, done);
    }
    s->state = s->next;
    return id < 0 && mask ? first_allowed(mask) : id;
}
