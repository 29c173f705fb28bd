/* How an answer is drawn: the one table of sampling options, and their defaults.
 *
 * A row has the name of the command line (`--temp`) and of the chat (`/set parameter temperature`), type, range and
 * help, and the offset of the value in struct pn_cli_sampler. */
#ifndef PN_CLI_SAMPLER_H
#define PN_CLI_SAMPLER_H

#include "cli/options.h"
#include "pantry.h"

#include <stdio.h>

/* Most tokens of an answer when nobody says how many: enough for any answer, and little where a model has no chat
 * template and so does not know when to end. */
enum { PN_TOKENS_UNSET = -2, PN_TOKENS_CHAT = 4096, PN_TOKENS_BASE = 256 };
#define PN_SEED_UNSET UINT64_MAX

struct pn_cli_sampler {
    struct pantry_sampling sampling;
    int max_tokens; /* PN_TOKENS_UNSET: nobody said; -1 or 0: no limit */
    struct pn_text_list stop;
};
/* The library's defaults. What nobody gave is settled once the model is known: pn_cli_sampler_settle takes what the
 * makers of a model in the catalog recommend, pn_cli_sampler_draw_seed any seed. */
struct pn_cli_sampler pn_cli_sampler_default(void);
void pn_cli_sampler_settle(struct pn_cli_sampler *sampler, const char *model);
void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler);
/* `chat`: a chat template says where an answer ends. */
struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler, bool chat);
/* True if the answer should end when it repeats itself: nobody asked for a number of tokens. */
bool pn_cli_stops_repeating(const struct pn_cli_sampler *sampler);
/* On `out`: why the answer ended early, if it did, for the reader of a terminal. */
void pn_cli_put_cut(FILE *out, const struct pantry_stats *stats, const struct pn_cli_sampler *sampler, bool chat);

enum { PN_N_SAMPLING_OPTIONS = 11 };
extern const struct pn_option pn_sampling_options[PN_N_SAMPLING_OPTIONS]; /* of struct pn_cli_sampler */

#endif
