/* Whole texts against a grammar, without a vocabulary. */
#ifndef PN_GRAMMAR_MATCH_H
#define PN_GRAMMAR_MATCH_H

#include "grammar/grammar.h"

/* Whether the text is in the language. Tokens of the grammar stand for their spelling. PANTRY_LIMIT: the grammar is too
 * ambiguous, or nests too deeply, for this text. */
pantry_status pn_grammar_accepts(const struct pn_grammar *grammar, const char *text, size_t n, bool *accepted,
                                 struct pantry_error *err);

#endif
