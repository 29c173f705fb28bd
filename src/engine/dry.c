/* DRY: see dry.h. */
#include "engine/dry.h"

#include <math.h>
#include <stdlib.h>

pantry_status pn_dry_init(struct pn_dry *d, const struct pn_dry_options *options, const char *const *breakers,
                          size_t n_breakers, const struct pn_tokenizer *tokenizer, int n_vocab, int n_context,
                          struct pantry_error *err)
{
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    *d = (struct pn_dry){.options = *options, .n_context = n_context, .n_vocab = n_vocab};
    bool given = breakers != NULL;
    pantry_status status = pn_phrases_init(&d->breakers, given ? breakers : usual,
                                           given ? n_breakers : sizeof usual / sizeof *usual, "dry_breaker", err);
    if (!status)
        status = pn_tail_init(&d->tail, tokenizer, d->breakers.longest, err);
    if (status)
        return status;
    d->lengths = malloc((size_t)n_context * sizeof *d->lengths);
    d->repeats = calloc((size_t)n_vocab, sizeof *d->repeats);
    d->tokens = malloc((size_t)n_context * sizeof *d->tokens);
    return d->lengths && d->repeats && d->tokens ? PANTRY_OK : pn_no_memory(err, "a sampler");
}

void pn_dry_free(struct pn_dry *d)
{
    pn_phrases_free(&d->breakers);
    pn_tail_free(&d->tail);
    free(d->lengths);
    free(d->repeats);
    free(d->tokens);
    *d = (struct pn_dry){0};
}

static void find_breaks(struct pn_dry *d, const int32_t *ids, int n)
{
    while (d->tail.n_taken < n) {
        pn_tail_look(&d->tail, ids[d->tail.n_taken]);
        if (pn_phrases_end_in(&d->breakers, &d->tail))
            d->last_break = d->tail.n_taken + 1;
        pn_tail_take(&d->tail);
    }
}

/* The token i places from the end; they are searched backwards. */
static int32_t at(const int32_t *ids, int n, int i)
{
    return ids[n - 1 - i];
}

/* lengths[i]: how many tokens up to the one i places from the end equal the last ones (Gusfield's Z algorithm). */
static void find_lengths(struct pn_dry *d, const int32_t *ids, int n, int window)
{
    int left = 0, right = 0; /* the match that reaches furthest */
    for (int i = 1; i < window; i++) {
        int k = i < right ? (d->lengths[i - left] < right - i ? d->lengths[i - left] : right - i) : 0;
        while (i + k < window && at(ids, n, k) == at(ids, n, i + k))
            k++;
        d->lengths[i] = k;
        if (i + k > right) {
            left = i;
            right = i + k;
        }
    }
}

void pn_dry_find(struct pn_dry *d, const int32_t *ids, int n)
{
    int window = d->options.last_n < 0 || d->options.last_n > n ? n : d->options.last_n;
    find_breaks(d, ids, n);
    int most = n - d->last_break < window ? n - d->last_break : window; /* a repetition ends at a breaker */
    if (window > d->n_context || window <= d->options.allowed_length || most < d->options.allowed_length)
        return;
    find_lengths(d, ids, n, window);
    for (int i = 1; i < window; i++) {
        int32_t id = at(ids, n, i - 1), length = d->lengths[i] < most ? d->lengths[i] : most;
        if (length < d->options.allowed_length || length <= 0 || id < 0 || id >= d->n_vocab)
            continue;
        if (!d->repeats[id])
            d->tokens[d->n_tokens++] = id;
        d->repeats[id] = d->repeats[id] > length ? d->repeats[id] : length;
    }
}

float pn_dry_penalty(const struct pn_dry *d, int32_t id)
{
    if (!d->repeats[id])
        return 0;
    double more = (double)(d->repeats[id] - d->options.allowed_length);
    double most = d->options.base > 1 ? 88.7228391 / log((double)d->options.base) : more; /* stays a float */
    return d->options.multiplier * (float)pow((double)d->options.base, more < most ? more : floor(most));
}

void pn_dry_clear(struct pn_dry *d)
{
    while (d->n_tokens)
        d->repeats[d->tokens[--d->n_tokens]] = 0;
}
