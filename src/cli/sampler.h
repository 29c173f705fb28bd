/* Sampling: the table of its options, and their defaults.
 *
 * A row has the option's name (`--temp`), its name as a parameter (`/set parameter temperature`), type, range, help,
 * and the offset of the value in struct pn_cli_sampler. */
#ifndef PN_CLI_SAMPLER_H
#define PN_CLI_SAMPLER_H

#include "cli/options.h"
#include "pantry.h"
#include "store/sampling.h"

#include <jansson.h>
#include <stdio.h>

/* Default limits of an answer: enough for any answer, and few tokens without a chat template, because nothing then
 * tells the model where to end. */
enum { PN_TOKENS_UNSET = -2, PN_TOKENS_CHAT = 4096, PN_TOKENS_BASE = 256 };
#define PN_SEED_UNSET UINT64_MAX

/* What the answer has to be: see form.h. */
struct pn_form {
    const char *schema, *gbnf, *regex; /* as given; at most one */
    enum pantry_grammar_kind kind;
    char *text;              /* of the source */
    pantry_grammar *grammar; /* NULL: any text */
};

struct pn_cli_sampler {
    struct pn_form form;
    struct pantry_sampling sampling;
    struct pantry_samplers more; /* without its texts */
    const char *order;           /* NULL: not set */
    int max_tokens;              /* PN_TOKENS_UNSET: the default; -1 or 0: no limit */
    struct pn_text_list stop, breakers, banned;
    int think_budget;          /* most tokens of reasoning; -1: no limit */
    const char *think_message; /* that ends reasoning which is cut; NULL: none */
};
/* Nothing is set. Unset options get their values when the model is known: pn_cli_sampler_settle takes what the model
 * carries, then the recommendations of the catalog, then the library's defaults; pn_cli_sampler_draw_seed draws a seed.
 */
struct pn_cli_sampler pn_cli_sampler_default(void);
/* `params`: of the model, or NULL; their texts are borrowed. *n_context is settled where it is 0. Reports errors; exit
 * status. */
int pn_cli_sampler_settle(struct pn_cli_sampler *sampler, int *n_context, const char *model, const json_t *params);
/* Whether a number of sampling has no value. */
bool pn_cli_sampling_is_unset(const struct pn_cli_sampler *sampler, const struct pn_sampling_field *field);
/* The same for the number at `member`. False for other members. */
bool pn_cli_sampler_is_unset(const struct pn_cli_sampler *sampler, const void *member);
void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler);
/* `chat`: the model has a chat template, which tells it where to end. `more` is filled too and must outlive the result.
 */
struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler, bool chat,
                                                      struct pantry_samplers *more);
/* The most tokens of an answer; 0: no limit. */
int pn_cli_sampler_most(const struct pn_cli_sampler *sampler, bool chat);
/* True if the answer should end when it repeats itself: the user set no number of tokens. */
bool pn_cli_stops_repeating(const struct pn_cli_sampler *sampler);
/* Prints why the answer ended early, if it did. */
void pn_cli_put_cut(FILE *out, const struct pantry_stats *stats, const struct pn_cli_sampler *sampler, bool chat);

enum { PN_N_SAMPLING_OPTIONS = 34 };
extern const struct pn_option pn_sampling_options[PN_N_SAMPLING_OPTIONS]; /* of struct pn_cli_sampler */

#endif
