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

/* The group of a weight's first new block. */
static struct pn_train_group *group_for(struct pn_train_params *p, const struct pn_weight *w, struct pn_train_form form)
{
    struct pn_train_group fresh = {
        .n_mat = w->n_mat, .rows = w->n_rows, .cols = w->n_cols, .turned = form.turned, .vector = form.vector};
    struct pn_train_group *last = p->groups.len ? &p->groups.data[p->groups.len - 1] : NULL;
    if (form.joins && last && last->cols == w->n_cols && last->n_mat == w->n_mat) {
        last->rows += w->n_rows;
        return last;
    }
    return pn_vec_push(&p->groups, fresh) ? &p->groups.data[p->groups.len - 1] : NULL;
}

static bool is_known(const struct pn_train_params *p, const float *values)
{
    for (size_t i = 0; i < p->len; i++)
        if (p->data[i].values == values)
            return true;
    return false;
}

pantry_status pn_train_params_add(struct pn_train_params *p, const char *name, const struct pn_weight *w,
                                  struct pn_train_form form, struct pantry_error *err)
{
    float *values = (float *)(uintptr_t)pn_weight_floats(w, 0, 0);
    bool gaps = w->mats || (w->n_mat > 1 && w->plane[0].mat_bytes != w->plane[0].row_bytes * (size_t)w->n_rows);
    size_t n_mat = gaps ? (size_t)w->n_mat : 1; /* separate matrices are separate blocks */
    if (!values || (w->n_rows > 1 && w->plane[0].row_bytes != (size_t)w->n_cols * sizeof(float)))
        return pn_fail(err, PANTRY_INTERNAL, "%s cannot be trained in place", name);
    if (is_known(p, values))
        return PANTRY_OK;
    if (!group_for(p, w, form))
        return pn_no_memory(err, "trained weights");
    for (size_t m = 0; m < n_mat; m++) {
        struct pn_train_param one = {.values = (float *)(uintptr_t)pn_weight_floats(w, (int64_t)m, 0),
                                     .group = (int32_t)p->groups.len - 1};
        struct pn_buf text = {0};
        pn_buf_puts(&text, name);
        if (gaps)
            pn_buf_printf(&text, ".%zu", m);
        one.name = text.data ? pn_arena_copy(&p->arena, text.data, text.len) : NULL;
        pn_buf_free(&text);
        one.n = (size_t)(gaps ? 1 : w->n_mat) * (size_t)w->n_rows * (size_t)w->n_cols;
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

pantry_status pn_train_params_sort(struct pn_train_params *p, struct pantry_error *err)
{
    if (p->len == 0)
        return pn_fail(err, PANTRY_INVALID, "nothing is to be trained");
    qsort(p->data, p->len, sizeof *p->data, by_address);
    return PANTRY_OK;
}

static size_t n_row_means(const struct pn_train_group *g)
{
    return (size_t)(g->vector ? g->cols : g->n_mat * g->rows);
}

static size_t n_col_means(const struct pn_train_group *g)
{
    return (size_t)(g->vector ? 0 : g->n_mat * g->cols);
}

size_t pn_train_params_n_state(const struct pn_train_params *p, struct pn_train_keeps keeps)
{
    size_t n = p->n * (size_t)(1 + keeps.n_moments);
    for (size_t i = 0; i < p->groups.len && keeps.factors; i++)
        n += n_row_means(&p->groups.data[i]) + n_col_means(&p->groups.data[i]);
    return n;
}

/* Room for `n` numbers of the state, all 0. */
static float *state(struct pn_train_params *p, size_t n)
{
    return pn_arena_array(&p->arena, n + 1, sizeof(float));
}

pantry_status pn_train_params_ready(struct pn_train_params *p, struct pn_train_keeps keeps, struct pantry_error *err)
{
    bool ok = true;
    for (size_t i = 0; i < p->len; i++) {
        struct pn_train_param *one = &p->data[i];
        ok = ok && (one->grad = state(p, one->n));
        for (int m = 0; m < keeps.n_moments; m++)
            ok = ok && (one->moment[m] = state(p, one->n));
    }
    for (size_t i = 0; i < p->groups.len && keeps.factors; i++) {
        struct pn_train_group *g = &p->groups.data[i];
        ok = ok && (g->row_means = state(p, n_row_means(g))) && (g->col_means = state(p, n_col_means(g)));
    }
    return ok ? PANTRY_OK : pn_no_memory(err, "gradients");
}

void pn_train_params_free(struct pn_train_params *p)
{
    free(p->data);
    free(p->groups.data);
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
