/* The last bytes of a text that grows by tokens, and texts that are looked for in it. */
#ifndef PN_ENGINE_TAIL_H
#define PN_ENGINE_TAIL_H

#include "base/alloc.h"
#include "base/status.h"
#include "text/tokenizer/tokenizer.h"

/* Copies of texts. */
struct pn_phrases {
    char **at;
    size_t n, longest; /* bytes */
};

/* `name` is that of the option, for errors. PANTRY_INVALID: a text is empty or longer than 4,096 bytes, or there are
 * more than 256. */
pantry_status pn_phrases_init(struct pn_phrases *texts, const char *const *given, size_t n, const char *name,
                              struct pantry_error *err);
void pn_phrases_free(struct pn_phrases *texts);

struct pn_tail {
    const struct pn_tokenizer *tokenizer; /* NULL: tokens have no text */
    struct pn_buf text;                   /* the last bytes, then those of the token that is looked at */
    size_t before, keep;                  /* where that token begins; how many bytes stay */
    int n_taken;                          /* tokens */
    bool special;                         /* control tokens count with their spelling */
};

/* Keeps enough bytes to find texts of up to `longest`. */
pantry_status pn_tail_init(struct pn_tail *tail, const struct pn_tokenizer *tokenizer, size_t longest,
                           struct pantry_error *err);
void pn_tail_free(struct pn_tail *tail);
/* Appends the bytes of a token; of a control token its spelling. */
void pn_spell_token(const struct pn_tokenizer *tokenizer, int32_t id, struct pn_buf *out);
/* Puts a token's bytes at the end, in place of the last one that was only looked at. */
void pn_tail_look(struct pn_tail *tail, int32_t id);
/* The token stays. */
void pn_tail_take(struct pn_tail *tail);
/* Whether one of the texts ends in the token that is looked at. */
bool pn_phrases_end_in(const struct pn_phrases *texts, const struct pn_tail *tail);

#endif
