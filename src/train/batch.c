/* Making batches: see batch.h. */
#include "train/batch.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH_STEP = 32 };

pantry_status pn_train_batch_new(int max_rows, int max_length, struct pn_train_batch *b, struct pantry_error *err)
{
    size_t rows = (size_t)max_rows, tokens;
    *b = (struct pn_train_batch){.max_rows = max_rows, .max_length = max_length};
    if (!pn_size_mul(rows, (size_t)max_length, &tokens) || tokens > INT32_MAX)
        return pn_fail(err, PANTRY_LIMIT, "batches of %d rows of %d tokens are too large", max_rows, max_length);
    b->seqs = calloc(rows, sizeof *b->seqs);
    b->ids = calloc(tokens, sizeof *b->ids);
    b->pos = calloc(tokens, sizeof *b->pos);
    b->out_rows = calloc(tokens, sizeof *b->out_rows);
    b->targets = calloc(tokens, sizeof *b->targets);
    return b->seqs && b->ids && b->pos && b->out_rows && b->targets ? PANTRY_OK : pn_no_memory(err, "a batch");
}

void pn_train_batch_free(struct pn_train_batch *b)
{
    free(b->seqs);
    free(b->ids);
    free(b->pos);
    free(b->out_rows);
    free(b->targets);
    *b = (struct pn_train_batch){0};
}

static void add_row(struct pn_train_batch *b, const struct pn_train_row *row, int width)
{
    int n = row->n < b->max_length ? row->n : b->max_length;
    int inputs = n < width - 1 ? n : width - 1, last = n < width - 1 ? n : width - 1;
    b->n_cut += row->n > b->max_length;
    if (inputs == 0)
        return;
    b->seqs[b->n_seqs++] = (struct pn_batch_seq){.start = b->n_tokens, .n = inputs, .n_context = inputs};
    for (int s = row->offset > 1 ? row->offset : 1; s <= last; s++) {
        b->out_rows[b->n_outputs] = b->n_tokens + s - 1;
        b->targets[b->n_outputs++] = s < n ? (float)row->ids[s] : 0;
    }
    for (int i = 0; i < inputs; i++) {
        b->ids[b->n_tokens] = row->ids[i];
        b->pos[b->n_tokens++] = i;
    }
}

int64_t pn_train_width(int64_t longest, int max_length)
{
    int64_t width = 1 + (longest + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
    return width < max_length ? width : max_length;
}

void pn_train_batch_fill(struct pn_train_batch *b, const struct pn_train_data *data, const size_t *order, size_t first,
                         int n)
{
    int64_t longest = 0;
    b->n_seqs = b->n_tokens = b->n_outputs = b->n_cut = 0;
    for (int i = 0; i < n; i++) {
        int64_t length = data->data[order[first + (size_t)i]].n;
        longest = length > longest ? length : longest;
    }
    int64_t width = pn_train_width(longest, b->max_length);
    for (int i = 0; i < n; i++)
        add_row(b, &data->data[order[first + (size_t)i]], (int)width);
}

void pn_train_order(size_t *order, size_t n, bool shuffle, uint64_t seed, uint64_t epoch)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = n; i > 1 && shuffle; i--) { /* Fisher & Yates */
        size_t j = (size_t)(pn_random_at(pn_random_at(seed, epoch), i) % i), swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
