/* Fields of sampling that the APIs have in common, by the names that each gives them. */
#ifndef PN_SERVER_API_SAMPLING_H
#define PN_SERVER_API_SAMPLING_H

#include "server/answer.h"

/* Reads what is there of: temperature, top_p, top_k, min_p, repeat_penalty, repeat_last_n, frequency_penalty,
 * presence_penalty, seed, stop, and the most tokens under the name `max_tokens` (-1, -2 and 0: no limit). */
pantry_status pn_read_sampling(const json_t *fields, const char *max_tokens, struct pn_answer_options *out,
                               struct pantry_error *err);

#endif
