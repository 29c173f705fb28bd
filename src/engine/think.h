/* The budget of an answer's reasoning: follows the dialect's markers through the answer, and says when and with which
 * tokens the reasoning is to end. */
#ifndef PN_ENGINE_THINK_H
#define PN_ENGINE_THINK_H

#include "base/alloc.h"
#include "base/status.h"
#include "text/dialect/dialect.h"
#include "text/tokenizer/tokenizer.h"

enum { PN_MAX_REASONING = 8 }; /* pairs of markers */

struct pn_think {
    const struct pn_tokenizer *tokenizer; /* NULL: not followed */
    int budget;                           /* most tokens; -1: no limit */
    struct {
        const char *open, *close;
        struct pn_ids closing; /* the message and the closing marker */
    } pair[PN_MAX_REASONING];
    int n_pairs, inside; /* inside: the pair that is open; -1: none */
    bool ended;          /* it was, by a marker or by the budget */
    int n;               /* tokens of the reasoning so far */
    int n_closing;       /* tokens that still come of those that end it */
    struct pn_buf text;  /* the last bytes of the answer, with markers */
    size_t keep;
};

/* Follows the answer to `prompt`. `message` (may be NULL) comes before the closing marker where the budget ends the
 * reasoning. */
pantry_status pn_think_init(struct pn_think *think, const struct pn_dialect *dialect,
                            const struct pn_tokenizer *tokenizer, int budget, const char *message,
                            const int32_t *prompt, int n_prompt, struct pantry_error *err);
void pn_think_free(struct pn_think *think);
/* The next token of the answer. */
void pn_think_take(struct pn_think *think, int32_t id);
/* The tokens that end the reasoning if it has to end here; NULL: it has not. `now`: whatever the budget. Once. */
const struct pn_ids *pn_think_end(struct pn_think *think, bool now);

#endif
