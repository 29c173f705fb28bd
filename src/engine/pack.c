/* Packing texts into steps: see pack.h.
 *
 * Each text is a sequence of its own whose pages live for one step only. A text is never split between steps, since its
 * tokens may attend to later ones. */
#include "engine/pack.h"

#include "base/clock.h"

#include <stdlib.h>

struct pack {
    const struct pn_texts *texts;
    enum pn_result result;
    enum pn_pooling pooling;
    struct pn_sched *sched;
    float *rows; /* where the next step's results go */
    double seconds;
    struct pn_step_builder step;
    size_t first, end; /* the texts of the step */
    int32_t pages;     /* its page tables: one per group, each of `table` entries */
    int table;
    int32_t *states; /* one per text where layers are recurrent */
    int n_pages, n_states;
};

/* Tokens of a full step. */
static int full_step(const struct pn_texts *t)
{
    return t->options->n_batch ? t->options->n_batch : PN_DEFAULT_BATCH;
}

/* Makes room for a full step or the longest text, whichever is longer. */
static pantry_status reserve(struct pack *p, struct pantry_error *err)
{
    pantry_status status = pn_model_sched(p->texts->model, NULL, &p->sched, err);
    if (status)
        return status;
    int room = full_step(p->texts);
    for (size_t i = 0; i < p->texts->n; i++)
        room = p->texts->text[i].n > room ? p->texts->text[i].n : room;
    p->table = room;
    p->states = calloc((size_t)room, sizeof *p->states);
    if (!p->states)
        return pn_no_memory(err, "embeddings");
    return pn_step_init(&p->step, room, room, err);
}

static void release(struct pack *p)
{
    pn_step_release(&p->step);
    free(p->states);
}

/* ---- one step ---- */

static int32_t *page_at(const struct pack *p, struct pn_seq_memory *m, int group, int i)
{
    return pn_tables_at(&m->pool->tables, p->pages + group * p->table + i);
}

/* Adds one page in every group; on failure in none. */
static pantry_status add_page(struct pack *p, struct pn_seq_memory *m, struct pantry_error *err)
{
    for (int g = 0; g < m->pool->n_groups; g++) {
        pantry_status status = pn_seq_page_new(m, g, page_at(p, m, g, p->n_pages), err);
        if (!status)
            continue;
        while (g-- > 0)
            pn_kv_page_release(m->pool, g, *page_at(p, m, g, p->n_pages));
        return status;
    }
    p->n_pages++;
    return PANTRY_OK;
}

/* Appends a text to the step: its tokens, pages and outputs. */
static pantry_status add_text(struct pack *p, struct pn_seq_memory *m, const struct pn_text *t,
                              struct pantry_error *err)
{
    struct pn_batch_seq seq = {.n = t->n, .pages = p->pages + p->n_pages, .table = p->table, .n_context = t->n};
    pantry_status status = PANTRY_OK;
    if (m->runner->states) {
        if ((status = pn_seq_state_new(m, &seq.state_in, err)))
            return status;
        seq.state_out = seq.state_in;
        pn_state_clear(m->runner->states, seq.state_in);
        p->states[p->n_states++] = seq.state_in;
    }
    for (int i = 0; i < (t->n + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS; i++)
        if ((status = add_page(p, m, err)))
            return status;
    int first = pn_step_add(&p->step, &seq, t->ids);
    for (int i = 0; i < t->n; i++) {
        bool last = i == t->n - 1;
        if (i >= t->second)
            pn_step_set_second(&p->step, first + i);
        if (p->pooling == PN_POOLING_LAST ? last : p->pooling == PN_POOLING_CLS ? i == 0 : true)
            pn_step_output(&p->step, first + i);
    }
    return PANTRY_OK;
}

/* Runs the texts first .. end - 1 as one step, on the engine's thread, and moves `rows` past their results. */
static pantry_status run_step(void *user, struct pn_seq_memory *m, struct pantry_error *err)
{
    struct pack *p = user;
    struct pn_batch *b = &p->step.batch;
    uint64_t start = pn_clock_ns();
    pantry_status status = pn_tables_take(&m->pool->tables, p->table * m->pool->n_groups, &p->pages, err);
    if (status)
        return status;
    pn_step_begin(&p->step, m->runner, m->pool);
    p->step.results[0] = p->rows;
    for (size_t i = p->first; i < p->end && !status; i++)
        status = add_text(p, m, &p->texts->text[i], err);
    pn_tables_changed(&m->pool->tables, p->pages, p->table * m->pool->n_groups);
    if (!status)
        status = pn_runner_step(m->runner, p->result, b, err);
    for (; p->n_pages; p->n_pages--)
        for (int g = 0; g < m->pool->n_groups; g++)
            pn_kv_page_release(m->pool, g, *page_at(p, m, g, p->n_pages - 1));
    pn_tables_give(&m->pool->tables, p->pages, p->table * m->pool->n_groups);
    while (p->n_states)
        pn_state_release(m->runner->states, p->states[--p->n_states]);
    p->seconds += (double)(pn_clock_ns() - start) * 1e-9;
    size_t width = (size_t)pn_node(&m->runner->model->graph, m->runner->model->results[p->result])->n2;
    p->rows += width * (size_t)(p->result == PN_RESULT_STATES ? b->n_outputs : b->n_seqs);
    return status;
}

/* ---- all steps ---- */

/* The end of the step that begins with text `first`. A step of a recurrent model has one text: it has few states. */
static size_t end_of_step(const struct pn_texts *t, size_t first)
{
    size_t end = first + 1;
    int tokens = t->text[first].n;
    if (t->model->runner->states)
        return end;
    while (end < t->n && tokens + t->text[end].n <= full_step(t))
        tokens += t->text[end++].n;
    return end;
}

static pantry_status run_all(struct pack *p, struct pantry_error *err)
{
    const struct pn_texts *t = p->texts;
    pantry_status status = reserve(p, err);
    for (p->first = 0; p->first < t->n && !status; p->first = p->end) {
        if (t->options->cancel && pantry_cancel_is_set(t->options->cancel))
            return pn_fail(err, PANTRY_CANCELLED, "cancelled");
        p->end = end_of_step(t, p->first);
        status = pn_sched_call(p->sched, run_step, p, err);
    }
    return status;
}

pantry_status pn_pack_run(const struct pn_texts *texts, enum pn_result result, enum pn_pooling pooling, float *rows,
                          double *seconds, struct pantry_error *err)
{
    struct pack p = {.texts = texts, .result = result, .pooling = pooling, .rows = rows};
    pantry_status status = run_all(&p, err);
    *seconds = p.seconds;
    release(&p);
    return status;
}
