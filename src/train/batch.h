/* Batches: rows of a data set as one step of a training graph, and the rule that says which targets count. */
#ifndef PN_TRAIN_BATCH_H
#define PN_TRAIN_BATCH_H

#include "tensor/batch.h"
#include "train/data.h"

/* A step's lists; sequences hold no padding, since no target that counts sees any. */
struct pn_train_batch {
    int max_rows, max_length;
    struct pn_batch_seq *seqs;
    int32_t *ids, *pos, *out_rows;
    float *targets; /* (n_outputs) */
    int n_seqs, n_tokens, n_outputs;
    int n_cut; /* rows that were longer than max_length */
};

pantry_status pn_train_batch_new(int max_rows, int max_length, struct pn_train_batch *out, struct pantry_error *err);
void pn_train_batch_free(struct pn_train_batch *batch);
/* The width of batches with rows of up to `longest` tokens, before cutting. */
int64_t pn_train_width(int64_t longest, int max_length);
/* Fills a batch with rows order[first] .. order[first + n - 1].
 *
 * As in mlx_lm, rows are cut to max_length tokens and fill a rectangle of width min(1 + 32 ceil(longest / 32),
 * max_length), `longest` before cutting, filled up with id 0. In a row of n tokens the targets at positions from
 * max(1, offset) to n count: with them, one id of padding after the last token, if the rectangle has room for it. */
void pn_train_batch_fill(struct pn_train_batch *batch, const struct pn_train_data *data, const size_t *order,
                         size_t first, int n);

/* The order of the rows in an epoch: a permutation that depends on the seed and the epoch, or the file's order. */
void pn_train_order(size_t *order, size_t n, bool shuffle, uint64_t seed, uint64_t epoch);

#endif
