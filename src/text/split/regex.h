/* Regular expressions of tokenizers, on PCRE2.
 *
 * tokenizer.json files are written for Oniguruma (and tiktoken's for Rust's fancy-regex). pn_regex_new translates what
 * PCRE2 reads differently: \s \w \b follow Unicode's properties, \p{Han} is a script, classes may nest and intersect
 * (&&), ^ and $ work at lines. Matching is bounded: one search by PCRE2's match limit, all searches of one text by a
 * budget of processor time, so a hostile expression ends with PANTRY_LIMIT. */
#ifndef PN_TEXT_SPLIT_REGEX_H
#define PN_TEXT_SPLIT_REGEX_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pn_regex;
struct pn_regex_scratch; /* what one thread needs to match; all expressions share it */

pantry_status pn_regex_new(const char *pattern, size_t len, struct pn_regex **out, struct pantry_error *err);
void pn_regex_free(struct pn_regex *re);

pantry_status pn_regex_scratch_new(struct pn_regex_scratch **out, struct pantry_error *err);
void pn_regex_scratch_free(struct pn_regex_scratch *scratch);
/* Starts the budget for a text of `len` bytes. */
void pn_regex_scratch_start(struct pn_regex_scratch *scratch, size_t len);

/* First match in text[start, len), valid UTF-8; the text before `start` is visible to lookbehind. PANTRY_NOT_FOUND: no
 * match; PANTRY_LIMIT: the expression takes too long. */
pantry_status pn_regex_find(const struct pn_regex *re, struct pn_regex_scratch *scratch, const char *text, size_t len,
                            size_t start, size_t *match_start, size_t *match_end, struct pantry_error *err);

#endif
