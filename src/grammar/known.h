/* Masks of places that grammars have in common. What a place allows depends on the part of the automaton that can be
 * reached from it, so grammars that have the same part there (the text of a string, a number, any JSON) share its mask:
 * it is computed once per vocabulary. */
#ifndef PN_GRAMMAR_KNOWN_H
#define PN_GRAMMAR_KNOWN_H

#include "base/alloc.h"
#include "grammar/masks.h"

struct pn_known;

/* Writes what can be reached from a place within its rule and the rules that it calls, in a form that is the same for
 * all grammars. False: too much for this, or tokens of a model are in it. */
bool pn_known_key(const struct pn_grammar *grammar, uint32_t state, uint32_t count, struct pn_buf *key);
/* Fills in mask and leaves of `local`, which then belong to it. False: it is not known. */
bool pn_known_find(struct pn_grammar_vocabulary *vocabulary, const struct pn_buf *key, struct pn_local *local);
/* Remembers a copy. Without memory it does not. */
void pn_known_add(struct pn_grammar_vocabulary *vocabulary, const struct pn_buf *key, const struct pn_local *local);
void pn_known_free(struct pn_known *known);

#endif
