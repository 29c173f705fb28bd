/* Building steps: see step.h. */
#include "engine/step.h"

#include <stdlib.h>
#include <string.h>

static int32_t *list(const struct pn_step_builder *step, size_t at)
{
    return (int32_t *)(void *)((char *)step->counts + at);
}

pantry_status pn_step_init(struct pn_step_builder *step, int max_tokens, int max_seqs, struct pantry_error *err)
{
    *step = (struct pn_step_builder){.max_tokens = max_tokens, .max_seqs = max_seqs};
    pn_batch_lay_out(&step->layout, max_tokens, max_seqs);
    if (!(step->counts = calloc(1, step->layout.size)))
        return pn_no_memory(err, "a step");
    step->seqs = (struct pn_batch_seq *)(void *)list(step, step->layout.seqs);
    step->ids = list(step, step->layout.ids);
    step->pos = list(step, step->layout.pos);
    step->kinds = list(step, step->layout.kinds);
    step->last = list(step, step->layout.last);
    step->first = list(step, step->layout.first);
    step->given = list(step, step->layout.given);
    step->out_rows = list(step, step->layout.out_rows);
    if (!(step->places = calloc((size_t)max_tokens, 3 * sizeof *step->places))) {
        pn_step_release(step);
        return pn_no_memory(err, "a step");
    }
    return PANTRY_OK;
}

void pn_step_release(struct pn_step_builder *step)
{
    free(step->counts);
    free(step->places);
    free(step->rows);
    *step = (struct pn_step_builder){0};
}

void pn_step_begin(struct pn_step_builder *step, const struct pn_runner *runner, const struct pn_kv_pool *pool)
{
    *step->counts = (struct pn_batch_counts){0};
    step->n_rows = 0;
    step->batch = (struct pn_batch){.caches = pool->caches, .results = step->results};
    pn_batch_bind(&step->batch, &step->layout, step->counts);
    if (runner->states)
        step->batch.states = pn_state_base(runner->states, 0, &step->batch.state_stride);
}

int pn_step_add(struct pn_step_builder *step, const struct pn_batch_seq *seq, const int32_t *ids)
{
    struct pn_batch_counts *n = step->counts;
    int first = n->n_tokens;
    step->seqs[n->n_seqs] = *seq;
    step->seqs[n->n_seqs++].start = first;
    memcpy(step->ids + first, ids, (size_t)seq->n * sizeof *ids);
    memset(step->kinds + first, 0, (size_t)seq->n * sizeof *step->kinds);
    for (int i = 0; i < seq->n; i++) {
        step->pos[first + i] = step->last[first + i] = step->first[first + i] = seq->past + i;
        step->given[first + i] = -1;
        for (int s = 0; s < 3; s++)
            step->places[s * step->max_tokens + first + i] = seq->past + i;
    }
    n->n_tokens += seq->n;
    pn_batch_bind(&step->batch, &step->layout, n);
    return first;
}

float *pn_step_rows(struct pn_step_builder *step, size_t n, size_t size)
{
    size_t first = step->n_rows * size;
    if (!pn_vec_reserve((void **)(void *)&step->rows, &step->room, first + n * size, sizeof *step->rows))
        return NULL;
    step->row_size = size;
    step->n_rows += n;
    return step->rows + first;
}

void pn_step_attach(struct pn_step_builder *step, int row, size_t given)
{
    step->given[row] = (int32_t)given;
    step->counts->has_given = 1;
}

void pn_step_give(struct pn_step_builder *step, int row, size_t given)
{
    pn_step_attach(step, row, given);
    step->ids[row] = 0; /* any: it need not be in the vocabulary */
}

void pn_step_lead(struct pn_step_builder *step, int n)
{
    step->seqs[step->counts->n_seqs - 1].lead = n;
}

void pn_step_block(struct pn_step_builder *step, int row, int first, int last)
{
    step->first[row] = first;
    step->last[row] = last;
    step->counts->has_first = step->counts->has_last = 1;
}

void pn_step_place(struct pn_step_builder *step, int row, int time, int height, int width)
{
    const int place[3] = {time, height, width};
    for (int s = 0; s < 3; s++)
        step->places[s * step->max_tokens + row] = place[s];
    step->counts->n_pos = 3;
}

bool pn_step_is_lead(const struct pn_step_builder *step)
{
    for (int i = 0; i < step->counts->n_seqs; i++)
        if (step->seqs[i].past + step->seqs[i].n > step->seqs[i].lead)
            return false;
    return step->counts->n_seqs > 0;
}

void pn_step_settle(struct pn_step_builder *step)
{
    int n = step->counts->n_tokens;
    for (int s = 0; s < step->counts->n_pos; s++)
        memcpy(step->pos + (size_t)s * (size_t)n, step->places + s * step->max_tokens, (size_t)n * sizeof *step->pos);
    pn_batch_bind(&step->batch, &step->layout, step->counts);
    step->batch.rows = step->rows;
    step->batch.rows_stride = step->row_size;
}

void pn_step_set_second(struct pn_step_builder *step, int row)
{
    step->kinds[row] = 1;
    step->counts->has_kinds = 1;
    pn_batch_bind(&step->batch, &step->layout, step->counts);
}

void pn_step_output(struct pn_step_builder *step, int row)
{
    step->out_rows[step->counts->n_outputs++] = row;
    pn_batch_bind(&step->batch, &step->layout, step->counts);
}

void pn_step_cut(struct pn_step_builder *step, int n_tokens)
{
    struct pn_batch_counts *n = step->counts;
    n->n_tokens = n_tokens;
    while (n->n_seqs && step->seqs[n->n_seqs - 1].start >= n_tokens)
        n->n_seqs--;
    struct pn_batch_seq *last = &step->seqs[n->n_seqs - 1];
    if (last->start + last->n > n_tokens)
        last->n = n_tokens - last->start;
    while (n->n_outputs && step->out_rows[n->n_outputs - 1] >= n_tokens)
        n->n_outputs--;
    pn_batch_bind(&step->batch, &step->layout, n);
}

pantry_status pn_step_open_seq(struct pn_step_builder *step, struct pn_seq *s, int n, int n_outputs, float *logits,
                               struct pantry_error *err)
{
    pantry_status status = pn_seq_grow(s, n, err);
    if (status)
        return status;
    pn_step_begin(step, s->memory->runner, s->memory->pool);
    struct pn_batch_seq seq = pn_seq_batch(s, n);
    int first = pn_step_add(step, &seq, s->ids + s->n_past);
    for (int i = n - n_outputs; i < n; i++)
        pn_step_output(step, first + i);
    step->results[0] = logits;
    return PANTRY_OK;
}

pantry_status pn_step_close_seq(struct pn_step_builder *step, struct pn_seq *s, int n, struct pantry_error *err)
{
    pn_step_settle(step);
    enum pn_result result = pn_step_is_lead(step) ? PN_RESULT_SHOWN : PN_RESULT_LOGITS;
    pantry_status status = pn_runner_step(s->memory->runner, result, &step->batch, err);
    if (!status)
        pn_seq_advance(s, n);
    return status;
}

pantry_status pn_step_run_seq(struct pn_step_builder *step, struct pn_seq *s, int n, int n_outputs, float *logits,
                              struct pantry_error *err)
{
    pantry_status status = pn_step_open_seq(step, s, n, n_outputs, logits, err);
    return status ? status : pn_step_close_seq(step, s, n, err);
}
