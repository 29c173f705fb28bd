/* Pictures in steps: see show.h. */
#include "engine/show.h"

#include <string.h>

pantry_status pn_pictures_show(const struct pn_pictures *p, struct pn_step_builder *step, int first, int past, int n,
                               struct pantry_error *err)
{
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
    if (!p->whole || end >= p->n || p->row[end - 1] < 0 || p->last[end - 1] < end)
        return n;
    return p->first[end - 1] > past ? p->first[end - 1] - past : p->last[end - 1] + 1 - past;
}
