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

#include <limits.h>
#include <math.h>
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
    PN_OPT_FLOAT("dynatemp-range", "X", SAMPLER(more.dynatemp_range), 0, 100,
                 "let the temperature vary by X, with the entropy of the candidates; 0: off",
                 .parameter = "dynatemp_range"),
    PN_OPT_FLOAT("dynatemp-exp", "X", SAMPLER(more.dynatemp_exponent), 0, 100,
                 "power of the entropy in the dynamic temperature", .parameter = "dynatemp_exponent"),
    PN_OPT_FLOAT("typical-p", "P", SAMPLER(more.typical_p), 0, 1,
                 "draw from the most typical tokens with total probability P; 1: off", .parameter = "typical_p"),
    PN_OPT_FLOAT("top-n-sigma", "X", SAMPLER(more.top_n_sigma), -1, 1000,
                 "draw from tokens within X standard deviations of the best logit; 0: off", .parameter = "top_n_sigma"),
    PN_OPT_FLOAT("xtc-probability", "P", SAMPLER(more.xtc_probability), 0, 1,
                 "how often the likeliest tokens are left out; 0: never", .parameter = "xtc_probability"),
    PN_OPT_FLOAT("xtc-threshold", "P", SAMPLER(more.xtc_threshold), 0, 1,
                 "from which probability on they are, all but the least likely; above 0.5: off",
                 .parameter = "xtc_threshold"),
    PN_OPT_FLOAT("dry-multiplier", "X", SAMPLER(more.dry_multiplier), 0, 100,
                 "make tokens less likely that go on with a repetition; 0: off", .parameter = "dry_multiplier"),
    PN_OPT_FLOAT("dry-base", "X", SAMPLER(more.dry_base), 0, 100, "growth of that penalty per repeated token",
                 .parameter = "dry_base"),
    PN_OPT_INT("dry-allowed-length", "N", SAMPLER(more.dry_allowed_length), 0, 1 << 24,
               "longest repetition without that penalty, in tokens", .parameter = "dry_allowed_length"),
    PN_OPT_INT("dry-penalty-last-n", "N", SAMPLER(more.dry_penalty_last_n), -1, 1 << 24,
               "number of tokens searched for repetitions; -1: all of the context", .parameter = "dry_penalty_last_n"),
    PN_OPT_LIST("dry-sequence-breaker", "TEXT", SAMPLER(breakers),
                "text that ends a repetition; may be repeated; \"none\": nothing does",
                .parameter = "dry_sequence_breakers"),
    PN_OPT_INT("mirostat", "N", SAMPLER(more.mirostat), 0, 2,
               "keep the surprise of tokens even with Mirostat 1 or 2; 0: off", .parameter = "mirostat"),
    PN_OPT_FLOAT("mirostat-tau", "X", SAMPLER(more.mirostat_tau), 0, 100, "that surprise, in bits",
                 .parameter = "mirostat_tau"),
    PN_OPT_FLOAT("mirostat-eta", "X", SAMPLER(more.mirostat_eta), 0, 1, "how fast it is reached",
                 .parameter = "mirostat_eta"),
    PN_OPT_FLOAT("adaptive-target", "P", SAMPLER(more.adaptive_target), -1, 1,
                 "prefer tokens with about this probability; below 0: off", .parameter = "adaptive_target"),
    PN_OPT_FLOAT("adaptive-decay", "X", SAMPLER(more.adaptive_decay), 0, 0.99,
                 "weight of earlier tokens in reaching it", .parameter = "adaptive_decay"),
    PN_OPT_TEXT("samplers", "NAMES", SAMPLER(order), "the samplers to apply, in order, with semicolons between",
                .more = "The default is penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature.",
                .parameter = "samplers"),
    PN_OPT_LIST("ban", "TEXT", SAMPLER(banned), "text that the answer never contains; may be repeated",
                .parameter = "banned_strings"),
    PN_OPT_TEXT("json-schema", "FILE", SAMPLER(form.schema), "the answer is JSON that obeys this schema"),
    PN_OPT_TEXT("grammar", "FILE", SAMPLER(form.gbnf), "the answer obeys this grammar, in llama.cpp's notation"),
    PN_OPT_TEXT("regex", "PATTERN", SAMPLER(form.regex),
                "the answer matches this regular expression, or the one in this file"),
    PN_OPT_INT("think-budget", "N", SAMPLER(think_budget), -1, 1 << 24,
               "most tokens of reasoning, which is then ended; -1: no limit", .parameter = "think_budget"),
    PN_OPT_TEXT("think-message", "TEXT", SAMPLER(think_message), "text that ends reasoning which the budget cuts",
                .parameter = "think_message"),
    PN_OPT_SEED("seed", "N", SAMPLER(sampling.seed), "seed of the random draws: the same seed gives the same answer",
                .more = "Without it each run draws a seed.", .parameter = "seed"),
    PN_OPT_LIST("stop", "TEXT", SAMPLER(stop), "text that ends the answer, and is not part of it; may be repeated",
                .parameter = "stop"),
};

struct pn_cli_sampler pn_cli_sampler_default(void)
{
    struct pn_cli_sampler s = {.sampling = {.seed = PN_SEED_UNSET},
                               .more = pantry_samplers_default(),
                               .max_tokens = PN_TOKENS_UNSET,
                               .think_budget = -1};
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS; i++) {
        const struct pn_sampling_field *f = &pn_sampling_fields[i];
        pn_sampling_set(f, f->whole ? INT_MIN : (double)NAN, &s.sampling, &s.more);
    }
    return s;
}

bool pn_cli_sampling_is_unset(const struct pn_cli_sampler *s, const struct pn_sampling_field *f)
{
    struct pn_cli_sampler *own = (struct pn_cli_sampler *)(uintptr_t)s;
    const void *at = pn_sampling_at(f, &own->sampling, &own->more);
    return f->whole ? *(const int *)at == INT_MIN : isnan(*(const float *)at);
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
    struct pn_cli_sampler *own = (struct pn_cli_sampler *)(uintptr_t)s;
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS; i++)
        if (member == pn_sampling_at(&pn_sampling_fields[i], &own->sampling, &own->more))
            return pn_cli_sampling_is_unset(s, &pn_sampling_fields[i]);
    return false;
}

static void settle_texts(struct pn_text_list *own, const struct pn_sampling_texts *given)
{
    if (own->n || !given->given)
        return;
    memcpy(own->item, given->item, sizeof own->item);
    own->n = given->n;
}

int pn_cli_sampler_settle(struct pn_cli_sampler *s, int *n_context, const char *model, const json_t *params)
{
    struct pn_parameters p = {.sampling = pantry_sampling_default(), .more = pantry_samplers_default()};
    struct pantry_error err = {0};
    recommend(&p.sampling, model);
    if (pn_parameters_read(params, &p, &err) != PANTRY_OK) {
        pn_fail_prefix(&err, "%.200s", model);
        return pn_cli_fail(&err);
    }
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS; i++) {
        const struct pn_sampling_field *f = &pn_sampling_fields[i];
        if (pn_cli_sampling_is_unset(s, f))
            memcpy(pn_sampling_at(f, &s->sampling, &s->more), pn_sampling_at(f, &p.sampling, &p.more), sizeof(float));
    }
    if (p.has_seed && s->sampling.seed == PN_SEED_UNSET)
        s->sampling.seed = p.sampling.seed;
    if (!s->order)
        s->order = p.order;
    settle_texts(&s->stop, &p.stop);
    settle_texts(&s->breakers, &p.breakers);
    settle_texts(&s->banned, &p.banned);
    if (p.has_limit && s->max_tokens == PN_TOKENS_UNSET)
        s->max_tokens = p.max_tokens;
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

int pn_cli_sampler_most(const struct pn_cli_sampler *s, bool chat)
{
    if (s->max_tokens == PN_TOKENS_UNSET)
        return chat ? PN_TOKENS_CHAT : PN_TOKENS_BASE;
    return s->max_tokens > 0 ? s->max_tokens : 0;
}

struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *s, bool chat,
                                                      struct pantry_samplers *more)
{
    struct pantry_generate_options options = pantry_generate_options_default();
    bool none = s->breakers.n == 1 && strcmp(s->breakers.item[0], "none") == 0;
    *more = s->more;
    more->order = s->order;
    more->dry_breaker = s->breakers.n ? s->breakers.item : NULL;
    more->n_dry_breaker = none ? 0 : s->breakers.n;
    more->banned = s->banned.item;
    more->n_banned = s->banned.n;
    options.sampling = s->sampling;
    options.sampling.more = more;
    options.max_tokens = pn_cli_sampler_most(s, chat);
    options.stop = s->stop.item;
    options.n_stop = s->stop.n;
    options.grammar = s->form.grammar;
    options.think_budget = s->think_budget;
    options.think_message = s->think_message;
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
