/* The vocabulary of a model as a trie over the bytes of its tokens. Built once per model; immutable but for the caches
 * of masks, which have their own lock. Any number of threads may use it. */
#ifndef PN_GRAMMAR_VOCABULARY_H
#define PN_GRAMMAR_VOCABULARY_H

#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pn_grammar_token {
    struct pn_str bytes; /* what the token adds to a text; may be half a character. Empty: it never matches text */
    struct pn_str text;  /* as the vocabulary spells it: `<think>` in a grammar finds it */
    bool special;        /* a control token: only a token of the grammar allows it */
    bool ends;           /* ends generation: allowed where the grammar can end */
};

struct pn_grammar_vocabulary;

/* Copies what it needs. tokens[i] is the token with id i. PANTRY_LIMIT: more than 2^24 tokens, or one of more than
 * 65,535 bytes. */
pantry_status pn_grammar_vocabulary_new(const struct pn_grammar_token *tokens, size_t n,
                                        struct pn_grammar_vocabulary **out, struct pantry_error *err);
/* Another user of the same vocabulary. */
struct pn_grammar_vocabulary *pn_grammar_vocabulary_share(struct pn_grammar_vocabulary *v);
void pn_grammar_vocabulary_free(struct pn_grammar_vocabulary *v);
size_t pn_grammar_vocabulary_size(const struct pn_grammar_vocabulary *v);

#endif
