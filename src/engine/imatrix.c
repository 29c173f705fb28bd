/* pantry_imatrix: sums of squared inputs of a model's matrices. The devices show each product's operand to an observer
 * (device.h), which adds its squares to the entry of the weight. */
#include "engine/handle.h"
#include "engine/imatrix_file.h"
#include "engine/windows.h"

#include <math.h>
#include <string.h>

struct collector {
    struct pn_imatrix matrix;
    bool output, failed;
    /* The rows that several weights share come one weight after another: the entry found last is tried first. */
    const struct pn_weight *last;
    size_t entry;
};

/* The entry of a weight; NULL for weights that do not count. Parts of a tensor count once, at its beginning. */
static struct pn_imatrix_entry *entry_of(struct collector *c, const struct pn_weight *w)
{
    if (w == c->last)
        return c->entry == SIZE_MAX ? NULL : &c->matrix.entries.data[c->entry];
    const struct pn_weight *whole = w->whole ? w->whole : w;
    const char *name = whole->name ? whole->name : "";
    bool counts = strncmp(name, "blk.", 4) == 0 || (c->output && strcmp(name, "output.weight") == 0);
    bool begins = !w->plane[0].data || w->plane[0].data == whole->plane[0].data;
    c->last = w;
    c->entry = SIZE_MAX;
    if (!counts || !begins)
        return NULL;
    struct pn_imatrix_entry *e = pn_imatrix_entry(&c->matrix, name, (size_t)w->n_cols, (size_t)w->n_mat);
    if (!e) {
        c->failed = true;
        return NULL;
    }
    c->entry = (size_t)(e - c->matrix.entries.data);
    return e;
}

static void collect(void *context, const struct pn_weight *weight, int64_t matrix, const float *row, int n1, int n2,
                    int64_t stride1)
{
    struct collector *c = context;
    struct pn_imatrix_entry *e = entry_of(c, weight);
    if (!e || matrix < 0 || (size_t)matrix >= e->matrices || (size_t)n1 * (size_t)n2 != e->columns)
        return;
    double *sum = e->sum + (size_t)matrix * e->columns;
    for (int h = 0; h < n1; h++, row += stride1)
        for (int i = 0; i < n2; i++)
            *sum++ += (double)row[i] * (double)row[i];
    e->count[matrix] += 1;
}

static pantry_status check_finite(const struct pn_imatrix *m, struct pantry_error *err)
{
    for (size_t i = 0; i < m->entries.len; i++) {
        const struct pn_imatrix_entry *e = &m->entries.data[i];
        for (size_t k = 0; k < e->columns * e->matrices; k++)
            if (!isfinite(e->sum[k]))
                return pn_fail(err, PANTRY_FORMAT, "%s: its inputs are not finite numbers", e->name);
    }
    return PANTRY_OK;
}

static pantry_status read_text(struct collector *c, pantry_model *model, const char *text, size_t len,
                               const struct pantry_imatrix_options *o, struct pantry_error *err)
{
    struct pn_windows windows;
    struct pn_window_sums sums = {0};
    struct pn_runner *runner = model->runner;
    const struct pn_observer observer = {collect, c};
    pantry_status status = pn_windows_open(&windows, model, text, len, NULL, 0, o->n_context, o->max_windows, err);
    for (int i = 0; !status && i < runner->n_parts; i++) {
        struct pn_device *device = runner->parts[i].device;
        if (device->properties.unified)
            device->observer = &observer;
        else
            status =
                pn_fail(err, PANTRY_UNSUPPORTED, "%s: importances cannot be measured (allowed: the device \"cpu\")",
                        device->properties.name);
    }
    for (int i = 0; !status && i < windows.n_windows; i++) {
        status = pn_windows_read(&windows, i, err);
        if (!status && c->failed)
            status = pn_no_memory(err, "importances");
        if (status)
            break;
        pn_windows_add(&windows, i, &sums);
        c->matrix.chunks++;
        const struct pantry_window window = {(size_t)i + 1, (size_t)windows.n_windows,
                                             exp(sums.nll / (double)sums.n_tokens)};
        if (o->callback && !o->callback(o->user, &window))
            status = pn_fail(err, PANTRY_CANCELLED, "cancelled after %d of %d windows", i + 1, windows.n_windows);
    }
    for (int i = 0; i < runner->n_parts; i++)
        runner->parts[i].device->observer = NULL;
    c->matrix.chunk_size = (uint32_t)windows.n_context;
    pn_windows_free(&windows);
    if (!status && o->name)
        status = pn_imatrix_add_dataset(&c->matrix, o->name, err);
    return status ? status : check_finite(&c->matrix, err);
}

pantry_status pantry_imatrix(pantry_model *model, const char *text, size_t len, const char *path,
                             const struct pantry_imatrix_options *options, struct pantry_error *error)
{
    struct pantry_imatrix_options o = {.size = sizeof o};
    struct collector c = {.entry = SIZE_MAX};
    pantry_status status = pn_take_options(&o, options, "options of importances", error);
    c.output = o.output;
    for (size_t i = 0; !status && i < o.n_merge; i++)
        status = pn_imatrix_add_file(&c.matrix, o.merge[i], error);
    if (!status && model && text)
        status = read_text(&c, model, text, len, &o, error);
    if (!status && !c.matrix.entries.len)
        status = pn_fail(error, PANTRY_INVALID, "%s: there is nothing to write: no text and no files to merge", path);
    if (!status)
        status = pn_imatrix_write(&c.matrix, path, error);
    pn_imatrix_free(&c.matrix);
    return status;
}
