/* Sampling options: see sampler.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/sampler.h"

#include "base/clock.h"
#include "base/random.h"
#include "cli/terminal.h"
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

struct pn_cli_sampler pn_cli_sampler_default(void)
{
    struct pn_cli_sampler sampler = {.sampling = pantry_sampling_default(), .max_tokens = PN_TOKENS_UNSET};
    sampler.sampling.seed = PN_SEED_UNSET;
    sampler.sampling.temperature = sampler.sampling.top_p = PN_FLOAT_UNSET;
    return sampler;
}

void pn_cli_sampler_settle(struct pn_cli_sampler *sampler, const char *model)
{
    struct pantry_sampling settled = pantry_sampling_default();
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(catalog[i].name, model) == 0 && catalog[i].temperature > 0) {
            settled.temperature = catalog[i].temperature;
            settled.top_p = catalog[i].top_p;
        }
    if (sampler->sampling.temperature < 0)
        sampler->sampling.temperature = settled.temperature;
    if (sampler->sampling.top_p < 0)
        sampler->sampling.top_p = settled.top_p;
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
