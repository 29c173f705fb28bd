/* Sampling options: see sampler.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/sampler.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/parameters.h"
#include "store/store.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAMPLER(field) offsetof(struct pn_cli_sampler, field)

const struct pn_option pn_sampling_options[PN_N_SAMPLING_OPTIONS] = {
    PN_OPT_INT("max-tokens", "N", SAMPLER(max_tokens), -1, 1 << 24,
               "most tokens to make; -1 or 0: no limit. Default: 4096, or 256 without a chat template", .letter = 'n',
               .parameter = "num_predict"),
    PN_OPT_FLOAT("temp", "T", SAMPLER(sampling.temperature), 0, 100, "temperature; 0: always the likeliest token",
                 .parameter = "temperature"),
    PN_OPT_INT("top-k", "K", SAMPLER(sampling.top_k), 0, 1 << 24, "draw from the K likeliest tokens; 0: off",
               .parameter = "top_k"),
    PN_OPT_FLOAT("top-p", "P", SAMPLER(sampling.top_p), 0, 1,
                 "draw from the likeliest tokens with total probability P; 1: off", .parameter = "top_p"),
    PN_OPT_FLOAT("min-p", "P", SAMPLER(sampling.min_p), 0, 1,
                 "draw from tokens with at least P times the best probability; 0: off", .parameter = "min_p"),
    PN_OPT_FLOAT("repeat-penalty", "X", SAMPLER(sampling.repeat_penalty), 0.01, 100,
                 "make recent tokens less likely; 1: off", .parameter = "repeat_penalty"),
    PN_OPT_FLOAT("frequency-penalty", "X", SAMPLER(sampling.frequency_penalty), -100, 100,
                 "make tokens less likely with each recent occurrence; 0: off", .parameter = "frequency_penalty"),
    PN_OPT_FLOAT("presence-penalty", "X", SAMPLER(sampling.presence_penalty), -100, 100,
                 "make tokens that occurred recently less likely; 0: off", .parameter = "presence_penalty"),
    PN_OPT_INT("repeat-last-n", "N", SAMPLER(sampling.penalty_last_n), -1, 1 << 24,
               "number of tokens that count as recent; -1: all of the context", .parameter = "repeat_last_n"),
    PN_OPT_SEED("seed", "N", SAMPLER(sampling.seed), "seed of the random draws: the same seed gives the same answer",
                .more = "Without it each run draws a seed.", .parameter = "seed"),
    PN_OPT_LIST("stop", "TEXT", SAMPLER(stop), "text that ends the answer, and is not part of it; may be repeated",
                .parameter = "stop"),
};

/* Outside the ranges of the options. */
static const struct pantry_sampling unset = {.temperature = -1,
                                             .top_k = -1,
                                             .top_p = -1,
                                             .min_p = -1,
                                             .repeat_penalty = -1,
                                             .frequency_penalty = -1000,
                                             .presence_penalty = -1000,
                                             .penalty_last_n = -2,
                                             .seed = PN_SEED_UNSET};

struct pn_cli_sampler pn_cli_sampler_default(void)
{
    return (struct pn_cli_sampler){.sampling = unset, .max_tokens = PN_TOKENS_UNSET};
}

static void recommend(struct pantry_sampling *sampling, const char *model)
{
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(catalog[i].name, model) == 0 && catalog[i].temperature > 0) {
            sampling->temperature = catalog[i].temperature;
            sampling->top_p = catalog[i].top_p;
        }
}

bool pn_cli_sampler_is_unset(const struct pn_cli_sampler *s, const void *member)
{
#define IS_UNSET(field) (member == &s->sampling.field && s->sampling.field == unset.field)
    return IS_UNSET(temperature) || IS_UNSET(top_k) || IS_UNSET(top_p) || IS_UNSET(min_p) || IS_UNSET(repeat_penalty) ||
           IS_UNSET(frequency_penalty) || IS_UNSET(presence_penalty) || IS_UNSET(penalty_last_n);
#undef IS_UNSET
}

#define SETTLE(field)                                                                                                  \
    if (s->sampling.field == unset.field)                                                                              \
    s->sampling.field = p.sampling.field

int pn_cli_sampler_settle(struct pn_cli_sampler *s, int *n_context, const char *model, const json_t *params)
{
    struct pn_parameters p = {.sampling = pantry_sampling_default()};
    struct pantry_error err = {0};
    recommend(&p.sampling, model);
    if (pn_parameters_read(params, &p, &err) != PANTRY_OK) {
        pn_fail_prefix(&err, "%.200s", model);
        return pn_cli_fail(&err);
    }
    SETTLE(temperature);
    SETTLE(top_k);
    SETTLE(top_p);
    SETTLE(min_p);
    SETTLE(repeat_penalty);
    SETTLE(frequency_penalty);
    SETTLE(presence_penalty);
    SETTLE(penalty_last_n);
    if (p.has_seed)
        SETTLE(seed);
    if (p.has_limit && s->max_tokens == PN_TOKENS_UNSET)
        s->max_tokens = p.max_tokens;
    for (size_t i = 0, own = s->stop.n; !own && i < p.n_stop; i++)
        s->stop.item[s->stop.n++] = p.stop[i];
    if (!*n_context)
        *n_context = p.n_context;
    return PN_EXIT_DONE;
}

void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler)
{
    if (sampler->sampling.seed != PN_SEED_UNSET)
        return;
    struct pn_rng rng = {(uint64_t)time(NULL) * 1000003u ^ pn_clock_ns() ^ (uint64_t)getpid() << 32};
    sampler->sampling.seed = pn_rng_u64(&rng) >> 32; /* short enough to type */
}

struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler, bool chat)
{
    struct pantry_generate_options options = pantry_generate_options_default();
    options.sampling = sampler->sampling;
    options.max_tokens = sampler->max_tokens > 0 ? sampler->max_tokens : 0;
    if (sampler->max_tokens == PN_TOKENS_UNSET)
        options.max_tokens = chat ? PN_TOKENS_CHAT : PN_TOKENS_BASE;
    options.stop = sampler->stop.item;
    options.n_stop = sampler->stop.n;
    return options;
}

bool pn_cli_stops_repeating(const struct pn_cli_sampler *sampler)
{
    return sampler->max_tokens == PN_TOKENS_UNSET;
}

void pn_cli_put_cut(FILE *out, const struct pantry_stats *stats, const struct pn_cli_sampler *sampler, bool chat)
{
    const char *dim = pn_term_style(out, PN_STYLE_DIM), *off = pn_term_style(out, PN_STYLE_OFF);
    bool full = stats->stop == PANTRY_STOP_LENGTH;
    if (stats->stop == PANTRY_STOP_CALLBACK)
        fprintf(out, "%sstopped: the text repeats itself (-n -1 would let it go on)%s\n", dim, off);
    else if (full && sampler->max_tokens != PN_TOKENS_UNSET)
        fprintf(out, "%sthe answer was cut at the number of tokens that you set%s\n", dim, off);
    else if (full && chat)
        fprintf(out, "%sthe answer was cut at %d tokens: -n N allows more, -n -1 any number%s\n", dim, PN_TOKENS_CHAT,
                off);
    else if (full)
        fprintf(
            out,
            "%sthe text was cut at %d tokens, because without a chat template nothing says where it ends: -n N allows "
            "more%s\n",
            dim, PN_TOKENS_BASE, off);
}
