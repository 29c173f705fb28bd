/* What changes from step to step while a plan stays the same: tokens, positions, sequences, page tables. */
#ifndef PN_TENSOR_BATCH_H
#define PN_TENSOR_BATCH_H

#include "tensor/type.h"

/* Tokens of one page of the key/value cache. A page holds, for each head, (token, dim) contiguously. */
#define PN_PAGE_TOKENS 32

/* Keys and values of one attention layer, in pages shared by all sequences. */
struct pn_cache {
    pn_type type; /* F16, Q8_0 or F32 */
    int n_head, dim_k, dim_v;
    int group;             /* of layers that keep equally many tokens: it has pages of its own */
    size_t k_row, v_row;   /* bytes from one token's row of a head to the next */
    size_t k_page, v_page; /* bytes of a page: n_head * PN_PAGE_TOKENS rows */
    /* Page p starts at k + p * k_page; values that lie in their keys: v is k. Addresses as the device that runs the
     * step knows them: the host may not be able to follow them. The same holds for states, inputs and results. */
    unsigned char *k, *v;
};

/* A run of new tokens of one sequence. Its i-th token stands at position past + i, and its key/value rows in page
 * (past + i) / PN_PAGE_TOKENS of the table of each group of layers. Pages that no new token sees need not be there. */
struct pn_batch_seq {
    int32_t start, n; /* tokens start .. start + n - 1 of the batch */
    int32_t past;
    int32_t pages;     /* where its tables begin in pn_batch.tables: those of all groups, */
    int32_t table;     /* so many entries apart */
    int32_t n_context; /* tokens that it may have: what its rotation is chosen by */
    /* Slots of recurrent state: that before the new tokens (zero when past is 0), and that after them. One slot may be
     * both; where they differ, the first stays as it is. */
    int32_t state_in, state_out;
};

/* A step's counts and lists may be in one block of memory, each list at a place of its own, so that a device copies
 * them with one transfer and finds them where they were in the last step. The block begins with the counts. */
struct pn_batch_counts {
    int32_t n_tokens, n_seqs, n_outputs, n_hidden, n_pos;
    int32_t has_last, has_kinds; /* 0: the list is not there */
};

struct pn_batch_layout { /* bytes from the start of the block */
    size_t seqs, ids, pos, last, kinds, out_rows, hidden_rows, size;
};

struct pn_batch {
    int32_t n_tokens;
    const int32_t *ids;   /* (n_tokens) */
    const int32_t *pos;   /* (max(n_pos, 1), n_tokens): what the rotation turns by, with one row per section: time,
                             height,   width, other. With one row the last section's position is 0. */
    int32_t n_pos;        /* rows of pos; 0: one */
    const int32_t *last;  /* (n_tokens): the last position of its sequence that a token of a causal model sees, from its
                             own on, at most the last of the step (pictures are seen whole); NULL: its own */
    const int32_t *kinds; /* (n_tokens): which of two texts read together a token belongs to; NULL: all 0 */
    int32_t n_seqs;
    const struct pn_batch_seq *seqs; /* in the order of their tokens */
    const int32_t *tables;           /* the page tables of all sequences, as the device knows them */
    int32_t n_outputs;
    const int32_t *out_rows; /* (n_outputs): the tokens whose logits are wanted, rising */
    int32_t n_hidden;
    const int32_t *hidden_rows; /* (n_hidden): ... and those whose hidden states are, where a plan gives both */
    struct pn_cache *caches;    /* one an attention layer, as the model numbers them */
    float *states;              /* recurrent state of all sequences: slots, state_stride floats apart */
    size_t state_stride;
    const void *const *inputs; /* what the plan's inputs read, (rows, n1, n2) float32 each, and ... */
    void *const *results;      /* ... where its results go, likewise */
    /* Where counts and lists are in one block, or NULL: what a device with memory of its own copies. */
    const void *block;
    const struct pn_batch_layout *layout;
};

enum { PN_MAX_POS = 4 }; /* sections of a rotation */

/* A block with room for so many tokens and sequences. */
void pn_batch_lay_out(struct pn_batch_layout *layout, int max_tokens, int max_seqs);
/* Takes a batch's counts from a block, and points its lists into it. What is not in the block stays. */
void pn_batch_bind(struct pn_batch *batch, const struct pn_batch_layout *layout, const void *block);

/* The page that holds a position of a sequence, in a cache of `group`. */
static inline size_t pn_batch_page(const struct pn_batch *b, const struct pn_batch_seq *seq, int group,
                                   int64_t position)
{
    const int32_t *table = b->tables + seq->pages + (size_t)group * (size_t)seq->table;
    return (size_t)table[position / PN_PAGE_TOKENS];
}

/* The first sequence that ends after token `row`: n_seqs if none does. */
static inline int32_t pn_batch_seq_after(const struct pn_batch *b, int64_t row)
{
    int32_t low = 0, high = b->n_seqs;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (b->seqs[middle].start + b->seqs[middle].n > row)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The sequence that a token of the batch belongs to; NULL: none. */
static inline const struct pn_batch_seq *pn_batch_seq_of(const struct pn_batch *b, int64_t row)
{
    int32_t i = pn_batch_seq_after(b, row);
    return i < b->n_seqs && row >= b->seqs[i].start ? &b->seqs[i] : NULL;
}

/* The state of one operation of a sequence, `offset` floats into the sequence's slot, before and after the step. */
static inline const float *pn_batch_state_in(const struct pn_batch *b, const struct pn_batch_seq *seq, size_t offset)
{
    return b->states + (size_t)seq->state_in * b->state_stride + offset;
}
static inline float *pn_batch_state_out(const struct pn_batch *b, const struct pn_batch_seq *seq, size_t offset)
{
    return b->states + (size_t)seq->state_out * b->state_stride + offset;
}

/* What token `row` turns by in a section of its rotation. */
static inline int32_t pn_batch_pos(const struct pn_batch *b, int64_t row, int section)
{
    if (b->n_pos <= 1)
        return section == 3 ? 0 : b->pos[row];
    return section < b->n_pos ? b->pos[(int64_t)section * b->n_tokens + row] : 0;
}

#endif
