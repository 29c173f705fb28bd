/* Building steps: see step.h. */
#include "engine/step.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_step_init(struct pn_step_builder *step, int max_tokens, int max_seqs, struct pantry_error *err)
{
    size_t tokens = (size_t)max_tokens;
    *step = (struct pn_step_builder){.max_tokens = max_tokens, .max_seqs = max_seqs};
    step->ids = calloc(tokens, sizeof *step->ids);
    step->pos = calloc(tokens, sizeof *step->pos);
    step->kinds = calloc(tokens, sizeof *step->kinds);
    step->out_rows = calloc(tokens, sizeof *step->out_rows);
    step->seqs = calloc((size_t)max_seqs, sizeof *step->seqs);
    if (step->ids && step->pos && step->kinds && step->out_rows && step->seqs)
        return PANTRY_OK;
    pn_step_release(step);
    return pn_no_memory(err, "a step");
}

void pn_step_release(struct pn_step_builder *step)
{
    free(step->ids);
    free(step->pos);
    free(step->kinds);
    free(step->out_rows);
    free(step->seqs);
    *step = (struct pn_step_builder){0};
}

void pn_step_begin(struct pn_step_builder *step, const struct pn_runner *runner, const struct pn_kv_pool *pool)
{
    step->batch = (struct pn_batch){.ids = step->ids,
                                    .pos = step->pos,
                                    .kinds = step->kinds,
                                    .seqs = step->seqs,
                                    .out_rows = step->out_rows,
                                    .caches = pool->caches,
                                    .results = step->results};
    if (runner->states)
        step->batch.states = pn_state_base(runner->states, 0, &step->batch.state_stride);
}

int pn_step_add(struct pn_step_builder *step, const struct pn_batch_seq *seq, const int32_t *ids)
{
    struct pn_batch *b = &step->batch;
    int first = b->n_tokens;
    step->seqs[b->n_seqs] = *seq;
    step->seqs[b->n_seqs++].start = first;
    memcpy(step->ids + first, ids, (size_t)seq->n * sizeof *ids);
    memset(step->kinds + first, 0, (size_t)seq->n * sizeof *step->kinds);
    for (int i = 0; i < seq->n; i++)
        step->pos[first + i] = seq->past + i;
    b->n_tokens += seq->n;
    return first;
}

void pn_step_output(struct pn_step_builder *step, int row)
{
    step->out_rows[step->batch.n_outputs++] = row;
}

pantry_status pn_step_run_seq(struct pn_step_builder *step, struct pn_seq *s, int n, int n_outputs, float *logits,
                              struct pantry_error *err)
{
    struct pn_runner *runner = s->memory->runner;
    pantry_status status = pn_seq_grow(s, n, err);
    if (status)
        return status;
    pn_step_begin(step, runner, s->memory->pool);
    struct pn_batch_seq seq = pn_seq_batch(s, n);
    int first = pn_step_add(step, &seq, s->ids + s->n_past);
    for (int i = n - n_outputs; i < n; i++)
        pn_step_output(step, first + i);
    step->results[0] = logits;
    if (!(status = pn_runner_step(runner, PN_RESULT_LOGITS, &step->batch, err)))
        pn_seq_advance(s, n);
    return status;
}
