/* Rows in another storage type: see quantize_rows.h. */
#include "engine/quantize_rows.h"

#include "tensor/weight.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 8 << 20, PIECE_VALUES = 4 << 20 };

struct work {
    struct pn_claim claim;
    const struct pn_tensor_info *tensor;
    pn_type to;
    const float *weights;
    int64_t first, n, step; /* rows first, first + step, ...: n of them */
    int64_t rows_per_matrix;
    const int64_t *order;                 /* NULL: as they are */
    size_t columns, from_bytes, to_bytes; /* of a row */
    unsigned char *out;                   /* (n, to_bytes); NULL: errors only */
    pthread_mutex_t lock;
    double error, energy;
    bool failed;
};

static void add_errors(struct work *w, const float *x, const float *y, const float *weights, double *error,
                       double *energy)
{
    for (size_t i = 0; i < w->columns; i++) {
        double weight = weights ? (double)weights[i] : 1, e = (double)x[i] - (double)y[i];
        *error += weight * e * e;
        *energy += weight * (double)x[i] * (double)x[i];
    }
}

static void decode_row(const struct work *w, int64_t row, float *values)
{
    const struct pn_weight *places = w->tensor->places;
    row = w->order ? w->order[row] : row;
    if (places)
        pn_weight_decode(places, row / places->n_rows, row % places->n_rows, 0, places->n_cols, values);
    else
        pn_type_decode_row(w->tensor->type, (const unsigned char *)w->tensor->data + (size_t)row * w->from_bytes,
                           values, w->columns);
}

static void convert(void *context, int worker)
{
    (void)worker;
    struct work *w = context;
    float *values = malloc(2 * w->columns * sizeof *values);
    unsigned char *own = malloc(w->to_bytes);
    double error = 0, energy = 0;
    int64_t first, end;
    while (values && own && pn_claim_next(&w->claim, w->n, 4, &first, &end))
        for (int64_t r = first; r < end; r++) {
            int64_t row = w->first + r * w->step;
            const float *weights = w->weights ? w->weights + (size_t)(row / w->rows_per_matrix) * w->columns : NULL;
            unsigned char *to = w->out ? w->out + (size_t)r * w->to_bytes : own;
            decode_row(w, row, values);
            pn_type_encode(w->to, values, weights, to, w->columns);
            if (w->out)
                continue;
            pn_type_decode_row(w->to, to, values + w->columns, w->columns);
            add_errors(w, values, values + w->columns, weights, &error, &energy);
        }
    pthread_mutex_lock(&w->lock);
    w->failed = w->failed || !values || !own;
    w->error += error;
    w->energy += energy;
    pthread_mutex_unlock(&w->lock);
    free(values);
    free(own);
}

static struct work work_of(const struct pn_tensor_info *t, pn_type to, const float *weights, size_t n_matrices)
{
    struct work w = {.tensor = t, .to = to, .weights = weights, .step = 1, .lock = PTHREAD_MUTEX_INITIALIZER};
    int64_t rows = 1;
    for (int i = 0; i < t->n_dims - 1; i++)
        rows *= t->shape[i];
    w.columns = (size_t)t->shape[t->n_dims - 1];
    w.from_bytes = pn_type_row_bytes(t->type, w.columns);
    w.to_bytes = pn_type_row_bytes(to, w.columns);
    w.n = rows;
    w.rows_per_matrix = n_matrices ? rows / (int64_t)n_matrices : rows;
    return w;
}

pantry_status pn_quantize_rows(struct pn_pool *pool, int n_threads, const struct pn_tensor_info *t, pn_type to,
                               const float *weights, size_t n_matrices, const int64_t *order,
                               const pantry_cancel *cancel, pn_rows_sink *sink, void *user, struct pantry_error *err)
{
    struct work w = work_of(t, to, weights, n_matrices);
    w.order = order;
    int64_t rows = w.n, piece = (int64_t)(PIECE_BYTES / (w.to_bytes + 1)) + 1;
    int64_t least = 4 * (int64_t)n_threads; /* so that every thread has rows */
    piece = piece < least ? least : piece;
    piece = piece < rows ? piece : rows;
    w.out = malloc((size_t)piece * w.to_bytes);
    pantry_status status = w.out ? PANTRY_OK : pn_no_memory(err, t->name);
    for (int64_t at = 0; !status && at < rows; at += piece) {
        w.first = at;
        w.n = piece < rows - at ? piece : rows - at;
        w.claim = (struct pn_claim){0};
        pn_pool_run(pool, convert, &w);
        if (w.failed)
            status = pn_no_memory(err, t->name);
        else if (cancel && pantry_cancel_is_set(cancel))
            status = pn_fail(err, PANTRY_CANCELLED, "cancelled while converting %s", t->name);
        else
            status = sink(user, w.out, (size_t)w.n * w.to_bytes, err);
    }
    free(w.out);
    return status;
}

pantry_status pn_quantize_error(struct pn_pool *pool, const struct pn_tensor_info *t, pn_type to, const float *weights,
                                size_t n_matrices, size_t n_rows, double *out, struct pantry_error *err)
{
    struct work w = work_of(t, to, weights, n_matrices);
    if ((size_t)w.n > n_rows) {
        w.step = w.n / (int64_t)n_rows;
        w.n = (int64_t)n_rows;
    }
    pn_pool_run(pool, convert, &w);
    if (w.failed)
        return pn_no_memory(err, t->name);
    *out = w.energy > 0 ? w.error / w.energy : 0;
    return PANTRY_OK;
}
