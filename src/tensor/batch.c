/* Blocks of batches: see batch.h. */
#include "tensor/batch.h"

#include <stdbool.h>

/* Hands out aligned pieces. */
static size_t carve(size_t *used, size_t n, size_t size)
{
    size_t at = *used;
    *used += (n * size + 63) / 64 * 64;
    return at;
}

void pn_batch_lay_out(struct pn_batch_layout *l, int max_tokens, int max_seqs)
{
    size_t tokens = (size_t)max_tokens, used = 0;
    carve(&used, 1, sizeof(struct pn_batch_counts));
    l->seqs = carve(&used, (size_t)max_seqs, sizeof(struct pn_batch_seq));
    l->ids = carve(&used, tokens, sizeof(int32_t));
    l->pos = carve(&used, PN_MAX_POS * tokens, sizeof(int32_t));
    l->last = carve(&used, tokens, sizeof(int32_t));
    l->kinds = carve(&used, tokens, sizeof(int32_t));
    l->first = carve(&used, tokens, sizeof(int32_t));
    l->given = carve(&used, tokens, sizeof(int32_t));
    l->out_rows = carve(&used, tokens, sizeof(int32_t));
    l->hidden_rows = carve(&used, tokens, sizeof(int32_t));
    l->size = used;
}

static const int32_t *list(const void *block, size_t at, bool there)
{
    return there ? (const int32_t *)(const void *)((const char *)block + at) : NULL;
}

void pn_batch_bind(struct pn_batch *b, const struct pn_batch_layout *l, const void *block)
{
    const struct pn_batch_counts *n = block;
    b->block = block;
    b->layout = l;
    b->n_tokens = n->n_tokens;
    b->n_seqs = n->n_seqs;
    b->n_outputs = n->n_outputs;
    b->n_hidden = n->n_hidden;
    b->n_pos = n->n_pos;
    b->seqs = (const struct pn_batch_seq *)(const void *)((const char *)block + l->seqs);
    b->ids = list(block, l->ids, true);
    b->pos = list(block, l->pos, true);
    b->last = list(block, l->last, n->has_last);
    b->kinds = list(block, l->kinds, n->has_kinds);
    b->first = list(block, l->first, n->has_first);
    b->given = list(block, l->given, n->has_given);
    b->out_rows = list(block, l->out_rows, true);
    b->hidden_rows = list(block, l->hidden_rows, true);
}
