/* Fields of sampling that the APIs have in common, by the names that each gives them. */
#ifndef PN_SERVER_API_SAMPLING_H
#define PN_SERVER_API_SAMPLING_H

#include "server/answer.h"

/* The fields of samplers that OpenAI's API does not have, for tables of fields: X(name). Other local engines have them.
 */
#define PN_SAMPLER_FIELDS(X)                                                                                           \
    X(top_k)                                                                                                           \
    X(min_p)                                                                                                           \
    X(repeat_penalty)                                                                                                  \
    X(repeat_last_n)                                                                                                   \
    X(dynatemp_range)                                                                                                  \
    X(dynatemp_exponent)                                                                                               \
    X(typical_p)                                                                                                       \
    X(top_n_sigma)                                                                                                     \
    X(xtc_probability)                                                                                                 \
    X(xtc_threshold)                                                                                                   \
    X(dry_multiplier)                                                                                                  \
    X(dry_base)                                                                                                        \
    X(dry_allowed_length)                                                                                              \
    X(dry_penalty_last_n)                                                                                              \
    X(dry_sequence_breakers)                                                                                           \
    X(mirostat)                                                                                                        \
    X(mirostat_tau)                                                                                                    \
    X(mirostat_eta)                                                                                                    \
    X(adaptive_target)                                                                                                 \
    X(adaptive_decay)                                                                                                  \
    X(banned_strings)                                                                                                  \
    X(samplers)                                                                                                        \
    X(begin)                                                                                                           \
    X(think_budget)                                                                                                    \
    X(think_message)

/* Whether pn_read_sampling reads a field of this name, besides seed, stop and the most tokens. */
bool pn_is_sampling(const char *name);
/* Reads what is there of: the numbers in store/sampling.h, dry_sequence_breakers, banned_strings, samplers, begin,
 * think_budget, think_message, seed, stop, and the most tokens under the name `max_tokens` (-1, -2 and 0: no limit). */
pantry_status pn_read_sampling(const json_t *fields, const char *max_tokens, struct pn_answer_options *out,
                               struct pantry_error *err);

#endif
