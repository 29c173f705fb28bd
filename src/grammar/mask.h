/* Matchers: where a generation is in its grammar, and which tokens may come next.
 *
 * A matcher belongs to one thread at a time. What matchers of the same grammar and vocabulary find out (states, steps,
 * masks) they share, under a lock: after a state has been met once, its mask is a look-up. */
#ifndef PN_GRAMMAR_MASK_H
#define PN_GRAMMAR_MASK_H

#include "base/alloc.h"
#include "grammar/grammar.h"
#include "grammar/vocabulary.h"

struct pn_matcher;

enum {
    PN_MASK_FEW = 128,         /* masks of up to this many tokens also list them */
    PN_MATCHER_HISTORY = 1024, /* steps that can always be rolled back */
};

/* Which tokens may come next. */
struct pn_mask {
    const uint64_t *bits; /* token i: bit i % 64 of bits[i / 64]; bits beyond the vocabulary are 0 */
    size_t n_words;
    size_t n_allowed;   /* how many tokens; 0 only if the vocabulary lacks a token that the grammar needs */
    const int32_t *ids; /* (n_allowed), ascending, if n_allowed <= PN_MASK_FEW; else NULL */
};

/* At the start of the grammar. Shares grammar and vocabulary: the caller keeps its own references. PANTRY_NOT_FOUND:
 * the grammar names a token that the vocabulary does not have. */
pantry_status pn_matcher_new(struct pn_grammar *grammar, struct pn_grammar_vocabulary *vocabulary,
                             struct pn_matcher **out, struct pantry_error *err);
/* At the same place, with the same history; independent of the first from then on. */
pantry_status pn_matcher_clone(struct pn_matcher *m, struct pn_matcher **out, struct pantry_error *err);
void pn_matcher_free(struct pn_matcher *m);

/* Steps over a token. PANTRY_INVALID: it is not allowed; the matcher stays where it is. A token that ends generation is
 * a step, too: after it the matcher has finished and allows only such tokens. PANTRY_LIMIT, here and below: the grammar
 * is too ambiguous, or nested too deeply. */
pantry_status pn_matcher_accept(struct pn_matcher *m, int32_t token, struct pantry_error *err);
/* Steps over a text, as one step. PANTRY_INVALID as above. */
pantry_status pn_matcher_accept_text(struct pn_matcher *m, const char *bytes, size_t n, struct pantry_error *err);
/* Whether pn_matcher_accept would step. Cheaper than a mask where a token is at hand (greedy, or a draft). */
pantry_status pn_matcher_allows(struct pn_matcher *m, int32_t token, bool *allowed, struct pantry_error *err);
/* Takes back the last n steps. PANTRY_INVALID: there are not that many, or they are too long ago. */
pantry_status pn_matcher_rollback(struct pn_matcher *m, size_t n, struct pantry_error *err);
/* Steps so far, less those rolled back. */
size_t pn_matcher_n_steps(const struct pn_matcher *m);

/* The mask of the place where the matcher is. *mask is valid until the next call with this matcher. Tokens that end
 * generation are allowed where the grammar can end. */
pantry_status pn_matcher_mask(struct pn_matcher *m, struct pn_mask *mask, struct pantry_error *err);
/* Appends the bytes that must come next, at most `max` of them, whatever the model says; none where the grammar can end
 * or has a choice. The matcher does not move. */
pantry_status pn_matcher_forced(struct pn_matcher *m, size_t max, struct pn_buf *out, struct pantry_error *err);

/* Whether the text so far is a whole text of the grammar. */
bool pn_matcher_can_end(struct pn_matcher *m);
/* Whether nothing but the end can follow: a token that ends generation has come, or the text is whole and cannot go on.
 */
bool pn_matcher_is_finished(struct pn_matcher *m);

#endif
