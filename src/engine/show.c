/* Pictures in steps: see show.h. */
#include "engine/show.h"

#include <string.h>

/* Pictures outside the text. Every token has a row: a picture's values or zeros, and whether a picture is before it. */
static pantry_status show_apart(const struct pn_pictures *p, struct pn_step_builder *step, int first, int past, int n,
                                struct pantry_error *err)
{
    pn_step_lead(step, p->n_lead);
    for (int i = 0; i < n; i++) {
        int at = past + i, row = first + i, known = at < p->n ? at : p->n - 1;
        int place = at < p->n_lead ? 0 : at - p->n_lead;
        float *to = pn_step_rows(step, 1, p->row_size + 1);
        if (!to || !p->rows)
            return pn_no_memory(err, "a picture");
        if (at < p->n_lead)
            memcpy(to, p->rows[p->row[at]], p->row_size * sizeof *to);
        else
            memset(to, 0, p->row_size * sizeof *to);
        to[p->row_size] = at >= p->n_before;
        if (at < p->n_lead)
            pn_step_give(step, row, step->n_rows - 1);
        else
            pn_step_attach(step, row, step->n_rows - 1);
        pn_step_block(step, row, p->first[known], p->last[known]);
        pn_step_place(step, row, place, place, place);
    }
    return PANTRY_OK;
}

pantry_status pn_pictures_show(const struct pn_pictures *p, struct pn_step_builder *step, int first, int past, int n,
                               struct pantry_error *err)
{
    if (p->n_lead)
        return show_apart(p, step, first, past, n, err);
    for (int i = 0; i < n; i++) {
        int at = past + i, row = first + i;
        if (at >= p->n) {
            if (p->place)
                pn_step_place(step, row, at + p->shift, at + p->shift, at + p->shift);
            continue;
        }
        if (p->place)
            pn_step_place(step, row, p->place[at], p->place[p->n + at], p->place[2 * p->n + at]);
        if (p->row[at] < 0)
            continue;
        float *to = pn_step_rows(step, 1, p->row_size);
        if (!to || !p->rows)
            return pn_no_memory(err, "a picture");
        memcpy(to, p->rows[p->row[at]], p->row_size * sizeof *to);
        pn_step_give(step, row, step->n_rows - 1);
        if (p->whole) /* what was read before is before the window, or in the cache */
            pn_step_block(step, row, p->first[at] < past ? past : p->first[at], p->last[at]);
    }
    return PANTRY_OK;
}

int pn_pictures_whole(const struct pn_pictures *p, int past, int n)
{
    int end = past + n;
    if (past < p->n_lead && end > p->n_lead) /* reading pictures outside the text is another step than reading text */
        return p->n_lead - past;
    if (!p->whole || end >= p->n || p->row[end - 1] < 0 || p->last[end - 1] < end)
        return n;
    return p->first[end - 1] > past ? p->first[end - 1] - past : p->last[end - 1] + 1 - past;
}
