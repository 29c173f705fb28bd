/* Keeps an answer within a grammar: which tokens may come next, which must, and when it is whole.
 *
 * The grammar is about what follows the reasoning. With a trigger it is about what follows that text, each time it
 * comes; other text is free. */
#ifndef PN_ENGINE_GUIDE_H
#define PN_ENGINE_GUIDE_H

#include "engine/tail.h"
#include "engine/think.h"
#include "grammar/mask.h"

enum pn_guide_state {
    PN_GUIDE_NONE,      /* there is no grammar */
    PN_GUIDE_REASONING, /* it begins after the reasoning */
    PN_GUIDE_TEXT,      /* ... or after the trigger */
    PN_GUIDE_ON,
    PN_GUIDE_WHOLE /* the answer is, and nothing can follow */
};

struct pn_guide {
    enum pn_guide_state state;
    const struct pn_tokenizer *tokenizer;
    struct pn_matcher *matcher, *start; /* start: at the beginning of the grammar */
    struct pn_phrases trigger;          /* none: the grammar is about all of the answer */
    struct pn_tail tail;                /* of the text, where a trigger is looked for */
    int32_t trigger_id;                 /* the trigger, if it is one token that is always whole; else -1 */
    int32_t opens;                      /* a token that opens the reasoning, allowed at the start; -1: none */
    int n_taken;                        /* tokens of the answer */
    int n_on;                           /* of the grammar, since it began */
    struct pn_buf ahead;                /* bytes that must come next */
};

/* Follows an answer of which `think` follows the reasoning. `trigger` may be NULL; `may_think`: the model may open
 * reasoning first, though its prompt did not. PANTRY_NOT_FOUND: the grammar names a token that the model does not have.
 */
pantry_status pn_guide_init(struct pn_guide *guide, struct pn_grammar *grammar,
                            struct pn_grammar_vocabulary *vocabulary, const struct pn_tokenizer *tokenizer,
                            const char *trigger, const struct pn_think *think, bool may_think,
                            struct pantry_error *err);
void pn_guide_free(struct pn_guide *guide);

/* Whether the next token can be anything, so that no logits are needed to find an allowed one. */
bool pn_guide_is_free(const struct pn_guide *guide);
/* The tokens that may come next; *mask is valid until the next call. False in *masked: all. */
pantry_status pn_guide_mask(struct pn_guide *guide, struct pn_mask *mask, bool *masked, struct pantry_error *err);
/* Whether the model begins its answer with the token that opens the reasoning: it is the likeliest one. */
bool pn_guide_opens(const struct pn_guide *guide, const float *logits, int n_vocab);
/* Whether a token may come next where no mask says it: the text after a trigger in it has to fit. */
bool pn_guide_allows(struct pn_guide *guide, int32_t id);
/* A token has become part of the answer. PANTRY_INVALID: the grammar does not allow it. */
pantry_status pn_guide_take(struct pn_guide *guide, int32_t id, const struct pn_think *think, struct pantry_error *err);
/* Appends the tokens that must come next to `out`, which has room for `room` of them: those that the tokenizer would
 * make of the text so far and the bytes that must follow, as long as it makes `ids` (n; `n_answer` of them are the
 * answer) of the text so far. */
pantry_status pn_guide_ahead(struct pn_guide *guide, const int32_t *ids, int n, int n_answer, size_t room,
                             struct pn_ids *out, struct pantry_error *err);

#endif
