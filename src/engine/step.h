/* Building one step: tokens of one or more sequences in one block for the device. All batches of models are built here.
 */
#ifndef PN_ENGINE_STEP_H
#define PN_ENGINE_STEP_H

#include "engine/sequence.h"

struct pn_step_builder {
    struct pn_batch batch;
    struct pn_batch_layout layout;
    struct pn_batch_counts *counts; /* the block: its counts ... */
    int32_t *ids, *pos, *kinds, *last, *first, *given, *out_rows;
    struct pn_batch_seq *seqs; /* ... and its lists */
    int max_tokens, max_seqs;
    int32_t *places; /* (3, max_tokens): positions of the rotation's sections, until the step is settled */
    float *rows;     /* (n_rows, row_size): what stands for tokens */
    size_t n_rows, row_size, room; /* room: floats */
    void *results[1];              /* where the result goes; set it before the step runs */
};

/* Room for `max_seqs` sequences with `max_tokens` tokens in total. */
pantry_status pn_step_init(struct pn_step_builder *step, int max_tokens, int max_seqs, struct pantry_error *err);
void pn_step_release(struct pn_step_builder *step);
/* Empties the step. Its sequences' keys and values are in `pool`. */
void pn_step_begin(struct pn_step_builder *step, const struct pn_runner *runner, const struct pn_kv_pool *pool);
/* Appends a sequence: `seq` without its start, and its seq->n ids. The caller checks the bounds. Returns the row of its
 * first token. */
int pn_step_add(struct pn_step_builder *step, const struct pn_batch_seq *seq, const int32_t *ids);
/* Marks a token as part of the second of two texts that are read together. */
void pn_step_set_second(struct pn_step_builder *step, int row);
/* Room for n more rows of `size` values that stand for tokens. NULL: out of memory. */
float *pn_step_rows(struct pn_step_builder *step, size_t n, size_t size);
/* Row `given` of those stands for a token. */
void pn_step_give(struct pn_step_builder *step, int row, size_t given);
/* The same for a token of the text, which keeps its id: layers that attend to pictures read the row. */
void pn_step_attach(struct pn_step_builder *step, int row, size_t given);
/* The first positions of the sequence that was added last are pictures outside the text. */
void pn_step_lead(struct pn_step_builder *step, int n);
/* A token sees all positions from `first` to `last`, of which later ones are in the same step. */
void pn_step_block(struct pn_step_builder *step, int row, int first, int last);
/* The positions of a token in time, height and width. */
void pn_step_place(struct pn_step_builder *step, int row, int time, int height, int width);
/* Whether all tokens are pictures outside the text: PN_RESULT_SHOWN is all there is to compute. */
bool pn_step_is_lead(const struct pn_step_builder *step);
/* Completes the step's lists. After the last change, before it runs. */
void pn_step_settle(struct pn_step_builder *step);
/* Asks for the result of a token. Call it in order of rows. */
void pn_step_output(struct pn_step_builder *step, int row);
/* Cuts the step to its first n tokens, which may cut its last sequence. */
void pn_step_cut(struct pn_step_builder *step, int n_tokens);
/* Runs a step of only the next `n` ids of a sequence. The logits of the last `n_outputs` of them go to `logits`. */
pantry_status pn_step_run_seq(struct pn_step_builder *step, struct pn_seq *seq, int n, int n_outputs, float *logits,
                              struct pantry_error *err);

/* The same in two halves, between which the step can get pictures (show.h): its rows begin at 0. */
pantry_status pn_step_open_seq(struct pn_step_builder *step, struct pn_seq *seq, int n, int n_outputs, float *logits,
                               struct pantry_error *err);
pantry_status pn_step_close_seq(struct pn_step_builder *step, struct pn_seq *seq, int n, struct pantry_error *err);

#endif
