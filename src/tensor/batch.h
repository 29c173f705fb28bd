/* The inputs of a step that change while the plan stays the same: tokens, positions, sequences, page tables. */
#ifndef PN_TENSOR_BATCH_H
#define PN_TENSOR_BATCH_H

#include "tensor/type.h"

/* Tokens of one page of the key/value cache. A page holds, for each head, (token, dim) contiguously. */
#define PN_PAGE_TOKENS 32

/* Keys and values of one attention layer, in pages shared by all sequences. */
struct pn_cache {
    pn_type type; /* F16, Q8_0 or F32 */
    int n_head, dim_k, dim_v;
    int group;             /* layers that keep equally many tokens form a group, which has its own pages */
    size_t k_row, v_row;   /* bytes from one token's row of a head to the next */
    size_t k_page, v_page; /* bytes of a page: n_head * PN_PAGE_TOKENS rows */
    /* Page p starts at k + p * k_page; where values are part of the keys, v is k. These are addresses of the device
     * that runs the step; the host may not be able to use them. The same holds for states, inputs and results. */
    unsigned char *k, *v;
};

/* A run of new tokens of one sequence. Its i-th token is at position past + i, its key/value rows are in page (past +
 * i) / PN_PAGE_TOKENS of the table of each group of layers. Pages that no new token sees may be missing. */
struct pn_batch_seq {
    int32_t start, n; /* tokens start .. start + n - 1 of the batch */
    int32_t past;
    int32_t pages;     /* where its tables begin in pn_batch.tables: one per group, */
    int32_t table;     /* ... this many entries apart */
    int32_t n_context; /* its maximum length, which decides the rotation */
    /* Slots of the recurrent state before the new tokens (zero when past is 0) and after them. They may be the same; if
     * not, the first does not change. */
    int32_t state_in, state_out;
    int32_t
        lead; /* its first positions that only layers with pn_attention_params.shown see: pictures outside the text */
};

/* A step's counts and lists may be in one block of memory, each list at a fixed offset, so that a device copies them in
 * one transfer and finds them where they were in the last step. The block begins with the counts. */
struct pn_batch_counts {
    int32_t n_tokens, n_seqs, n_outputs, n_hidden, n_pos;
    int32_t has_last, has_kinds, has_first, has_given; /* 0: the list is absent */
};

struct pn_batch_layout { /* bytes from the start of the block */
    size_t seqs, ids, pos, last, kinds, first, given, out_rows, hidden_rows, size;
};

struct pn_batch {
    int32_t n_tokens;
    const int32_t *ids;   /* (n_tokens) */
    const int32_t *pos;   /* (max(n_pos, 1), n_tokens): positions for the rotation, one row per section: time, height,
                             width, other. With one row the last section's position is 0. */
    int32_t n_pos;        /* rows of pos; 0: one */
    const int32_t *last;  /* (n_tokens): the last position of its sequence that a token of a causal model sees: its own
                             or a later one of the step (images are seen whole); NULL: its own */
    const int32_t *first; /* (n_tokens): the first position of the block that a token sees whole: all it sees where
                             windows are listed, and no later than this where they slide; NULL: its own */
    const int32_t *given; /* (n_tokens): the row of `rows` that stands for the token; -1: none; NULL: none has one */
    const float *rows;    /* ... rows_stride floats apart, in memory of the host */
    size_t rows_stride;
    const int32_t *kinds; /* (n_tokens): which of two texts read together a token belongs to; NULL: all 0 */
    int32_t n_seqs;
    const struct pn_batch_seq *seqs; /* in the order of their tokens */
    const int32_t *tables;           /* the page tables of all sequences, in device memory */
    int32_t n_outputs;
    const int32_t *out_rows; /* (n_outputs): the tokens whose logits are results, in rising order */
    int32_t n_hidden;
    const int32_t *hidden_rows; /* (n_hidden): the tokens whose hidden states are results */
    struct pn_cache *caches;    /* one per attention layer, as the model numbers them */
    float *states;              /* recurrent state of all sequences: slots, state_stride floats apart */
    size_t state_stride;
    const void *const *inputs; /* the plan's inputs, (rows, n1, n2) float32 each, and ... */
    void *const *results;      /* ... its results, likewise */
    /* The block of counts and lists, which a device with its own memory copies; NULL: there is none. */
    const void *block;
    const struct pn_batch_layout *layout;
};

enum { PN_MAX_POS = 4 }; /* sections of a rotation */

/* The layout of a block with room for this many tokens and sequences. */
void pn_batch_lay_out(struct pn_batch_layout *layout, int max_tokens, int max_seqs);
/* Reads a batch's counts from a block and points its lists into it. Other members do not change. */
void pn_batch_bind(struct pn_batch *batch, const struct pn_batch_layout *layout, const void *block);

/* The page that holds a position of a sequence, in a cache of `group`. */
static inline size_t pn_batch_page(const struct pn_batch *b, const struct pn_batch_seq *seq, int group,
                                   int64_t position)
{
    const int32_t *table = b->tables + seq->pages + (size_t)group * (size_t)seq->table;
    return (size_t)table[position / PN_PAGE_TOKENS];
}

/* The first sequence that ends after token `row`; n_seqs: none. */
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

/* The position of token `row` in a section of its rotation. */
static inline int32_t pn_batch_pos(const struct pn_batch *b, int64_t row, int section)
{
    if (b->n_pos <= 1)
        return section == 3 ? 0 : b->pos[row];
    return section < b->n_pos ? b->pos[(int64_t)section * b->n_tokens + row] : 0;
}

#endif
