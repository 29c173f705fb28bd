/* Trained numbers: see params.h. */
#include "train/params.h"

#include <stdlib.h>
#include <string.h>

static const struct pn_train_param *find(const struct pn_train_params *p, const float *at)
{
    size_t low = 0, high = p->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)p->data[middle].values <= (uintptr_t)at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct pn_train_param *one = &p->data[low - 1];
    return (uintptr_t)at < (uintptr_t)(one->values + one->n) ? one : NULL;
}

pantry_status pn_train_params_add(struct pn_train_params *p, const char *name, const struct pn_weight *w, bool turned,
                                  struct pantry_error *err)
{
    float *values = (float *)(uintptr_t)pn_weight_floats(w, 0, 0);
    bool gaps = w->mats || (w->n_mat > 1 && w->plane[0].mat_bytes != w->plane[0].row_bytes * (size_t)w->n_rows);
    size_t n_mat = gaps ? (size_t)w->n_mat : 1; /* separate matrices are separate blocks */
    if (!values || (w->n_rows > 1 && w->plane[0].row_bytes != (size_t)w->n_cols * sizeof(float)))
        return pn_fail(err, PANTRY_INTERNAL, "%s cannot be trained in place", name);
    for (size_t m = 0; m < n_mat; m++) {
        int64_t stacked = gaps ? 1 : w->n_mat;
        struct pn_train_param one = {.values = (float *)(uintptr_t)pn_weight_floats(w, (int64_t)m, 0),
                                     .n_mat = stacked,
                                     .rows = stacked * w->n_rows,
                                     .cols = w->n_cols,
                                     .turned = turned};
        bool known = false;
        for (size_t i = 0; i < p->len; i++)
            known |= p->data[i].values == one.values;
        if (known)
            continue;
        struct pn_buf text = {0};
        pn_buf_puts(&text, name);
        if (gaps)
            pn_buf_printf(&text, ".%zu", m);
        one.name = text.data ? pn_arena_copy(&p->arena, text.data, text.len) : NULL;
        pn_buf_free(&text);
        one.n = (size_t)one.rows * (size_t)one.cols;
        if (!one.name || !pn_vec_push(p, one))
            return pn_no_memory(err, "trained weights");
        p->n += one.n;
    }
    return PANTRY_OK;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct pn_train_param *)a)->values;
    uintptr_t y = (uintptr_t)((const struct pn_train_param *)b)->values;
    return (x > y) - (x < y);
}

pantry_status pn_train_params_ready(struct pn_train_params *p, int n_moments, struct pantry_error *err)
{
    if (p->len == 0)
        return pn_fail(err, PANTRY_INVALID, "nothing is to be trained");
    qsort(p->data, p->len, sizeof *p->data, by_address);
    for (size_t i = 0; i < p->len; i++) {
        struct pn_train_param *one = &p->data[i];
        one->grad = pn_arena_array(&p->arena, one->n, sizeof(float));
        for (int m = 0; m < n_moments; m++)
            one->moment[m] = pn_arena_array(&p->arena, one->n, sizeof(float));
        if (!one->grad || (n_moments > 0 && !one->moment[0]) || (n_moments > 1 && !one->moment[1]))
            return pn_no_memory(err, "gradients");
    }
    return PANTRY_OK;
}

void pn_train_params_free(struct pn_train_params *p)
{
    free(p->data);
    pn_arena_free(&p->arena);
    *p = (struct pn_train_params){0};
}

const struct pn_train_param *pn_train_params_of(const struct pn_train_params *p, const struct pn_weight *leaf)
{
    const float *values = pn_weight_floats(leaf, 0, 0);
    return values ? find(p, values) : NULL;
}

void pn_train_params_add_grad(struct pn_train_params *p, const struct pn_weight *w, const float *grad)
{
    for (int64_t m = 0; m < w->n_mat; m++)
        for (int64_t r = 0; r < w->n_rows; r++, grad += w->n_cols) {
            const float *at = pn_weight_floats(w, m, r);
            const struct pn_train_param *one = find(p, at);
            float *to = one->grad + (at - one->values);
            for (int64_t i = 0; i < w->n_cols; i++)
                to[i] += grad[i];
        }
}
