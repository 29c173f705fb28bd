/* Data sets for fine-tuning: JSON Lines in the three forms that mlx_lm knows, as token ids.
 *
 *     {"messages": [...], "tools": [...]}      a conversation, through the model's chat template
 *     {"prompt": "...", "completion": "..."}   the same as two messages
 *     {"text": "..."}                          a text, and the end-of-text token after it */
#ifndef PN_TRAIN_DATA_H
#define PN_TRAIN_DATA_H

#include "base/status.h"
#include "text/template/template.h"
#include "text/tokenizer/tokenizer.h"

/* One example. */
struct pn_train_row {
    int32_t *ids;
    int32_t n, offset; /* the first target that counts is the one at `offset` (or at 1) */
    int32_t line;      /* of the file, from 1 */
};

struct pn_train_data {
    struct pn_train_row *data;
    size_t len, cap;
    char *path;
    size_t n_left_out; /* rows that were too long */
};

/* How rows become tokens. */
struct pn_train_text {
    const struct pn_tokenizer *tokenizer;
    const struct pn_template *template;            /* NULL: conversations are refused */
    bool mask_prompt;                              /* only the last message counts */
    const char *prompt, *completion, *chat, *text; /* names of a row's members; NULL: those above */
};

/* Appends the rows of `len` bytes of JSON Lines; `path` is for errors, which name the line. Blank lines are skipped. */
pantry_status pn_train_data_parse(const char *path, const char *text, size_t len, const struct pn_train_text *how,
                                  struct pn_train_data *out, struct pantry_error *err);
/* The same of a file. PANTRY_NOT_FOUND: it does not exist. */
pantry_status pn_train_data_read(const char *path, const struct pn_train_text *how, struct pn_train_data *out,
                                 struct pantry_error *err);
enum pn_long_rows { PN_LONG_CUT, PN_LONG_SKIP, PN_LONG_REFUSE, PN_LONG_COUNT };
enum pn_long_rows pn_long_rows_find(const char *name); /* "cut", "skip", "refuse"; PN_LONG_COUNT: unknown */
/* Deals with rows of more than max_length tokens: leaves them for batches to cut, or takes them out and counts them;
 * PANTRY_LIMIT names the first one if they are refused. */
pantry_status pn_train_data_limit(struct pn_train_data *data, enum pn_long_rows how, int max_length,
                                  struct pantry_error *err);
/* Moves a share of the rows to `out`, at least one, and leaves at least one: random ones by the seed, or the last ones.
 * Both keep the file's order. PANTRY_INVALID: there is only one row. */
pantry_status pn_train_data_split(struct pn_train_data *data, double share, bool random, uint64_t seed,
                                  struct pn_train_data *out, struct pantry_error *err);
void pn_train_data_free(struct pn_train_data *data);

#endif
