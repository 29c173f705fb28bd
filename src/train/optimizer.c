/* Optimizers: see optimizer.h. All values are float32, as in mlx. */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int moments;
} table[PN_OPTIMIZER_COUNT] = {
#define PN_OPTIMIZER(NAME, name, moments) [PN_OPTIMIZER_##NAME] = {#name, moments},
    PN_OPTIMIZERS
#undef PN_OPTIMIZER
};

enum pn_optimizer pn_optimizer_find(const char *name)
{
    int i = 0;
    while (i < PN_OPTIMIZER_COUNT && strcmp(table[i].name, name) != 0)
        i++;
    return (enum pn_optimizer)i;
}

int pn_optimizer_moments(enum pn_optimizer optimizer)
{
    return table[optimizer].moments;
}

double pn_optimizer_clip(struct pn_train_params *p, double limit)
{
    double sum = 0;
    for (size_t i = 0; i < p->len; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            sum += (double)p->data[i].grad[j] * (double)p->data[i].grad[j];
    double length = sqrt(sum);
    if (!(limit > 0) || length <= limit)
        return length;
    for (size_t i = 0; i < p->len; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            p->data[i].grad[j] *= (float)(limit / length);
    return length;
}

static void adam(struct pn_train_param *one, float rate, float decay)
{
    float *m = one->moment[0], *v = one->moment[1];
    for (size_t i = 0; i < one->n; i++) {
        float g = one->grad[i], w = one->values[i] * (1 - rate * decay);
        m[i] = 0.9f * m[i] + 0.1f * g;
        v[i] = 0.999f * v[i] + 0.001f * g * g;
        one->values[i] = w - rate * m[i] / (sqrtf(v[i]) + 1e-8f);
    }
}

/* ---- Muon ---- */

/* c (n, n) = a a' for a (n, k). */
static void gram(const float *a, size_t n, size_t k, float *c)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (double)a[i * k + l] * (double)a[j * k + l];
            c[i * n + j] = c[j * n + i] = (float)sum;
        }
}

/* c (n, k) = a (n, n) b (n, k) */
static void times(const float *a, const float *b, size_t n, size_t k, float *c)
{
    memset(c, 0, n * k * sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < n; l++)
            for (size_t j = 0; j < k; j++)
                c[i * k + j] += a[i * n + l] * b[l * k + j];
}

/* Newton and Schulz's iteration towards the nearest orthogonal matrix of x (n, k), n <= k. `room`: 2 n n + n k. */
static void orthogonalize(float *x, size_t n, size_t k, float *room)
{
    float *a = room, *b = a + n * n, *c = b + n * n;
    double sum = 0;
    for (size_t i = 0; i < n * k; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < n * k; i++)
        x[i] = (float)((double)x[i] / (sqrt(sum) + 1e-7));
    for (int step = 0; step < 5; step++) {
        gram(x, n, k, a);
        times(a, a, n, n, b);
        for (size_t i = 0; i < n * n; i++)
            b[i] = -4.7750f * a[i] + 2.0315f * b[i];
        times(b, x, n, k, c);
        for (size_t i = 0; i < n * k; i++)
            x[i] = 3.4445f * x[i] + c[i];
    }
}

static bool muon(struct pn_train_param *one, float rate)
{
    const float momentum = 0.95f;
    size_t rows = (size_t)one->rows, cols = (size_t)one->cols;
    size_t mat_rows = rows / (size_t)one->n_mat, few = mat_rows < cols ? mat_rows : cols;
    float *update = malloc((one->n + mat_rows * cols + 2 * few * few + few * (mat_rows + cols)) * sizeof *update);
    if (!update)
        return false;
    for (size_t i = 0; i < one->n; i++) {
        one->moment[0][i] = momentum * one->moment[0][i] + (1 - momentum) * one->grad[i];
        update[i] = (1 - momentum) * one->grad[i] + momentum * one->moment[0][i];
    }
    for (int64_t m = 0; m < one->n_mat && rows > 1; m++) {
        float *x = update + (size_t)m * mat_rows * cols, *turned = update + one->n, *room = turned + mat_rows * cols;
        if (mat_rows <= cols) {
            orthogonalize(x, mat_rows, cols, room);
            continue;
        }
        for (size_t r = 0; r < mat_rows; r++)
            for (size_t c = 0; c < cols; c++)
                turned[c * mat_rows + r] = x[r * cols + c];
        orthogonalize(turned, cols, mat_rows, room);
        for (size_t r = 0; r < mat_rows; r++)
            for (size_t c = 0; c < cols; c++)
                x[r * cols + c] = turned[c * mat_rows + r];
    }
    double high = (double)(one->turned ? cols : mat_rows), wide = (double)(one->turned ? mat_rows : cols);
    if (rows > 1 && high > wide)
        rate *= (float)sqrt(high / wide);
    for (size_t i = 0; i < one->n; i++)
        one->values[i] -= rate * update[i];
    free(update);
    return true;
}

/* ---- all ---- */

pantry_status pn_optimizer_step(enum pn_optimizer optimizer, struct pn_train_params *p, float rate,
                                struct pantry_error *err)
{
    for (size_t i = 0; i < p->len; i++) {
        struct pn_train_param *one = &p->data[i];
        if (optimizer == PN_OPTIMIZER_ADAM || optimizer == PN_OPTIMIZER_ADAMW)
            adam(one, rate, optimizer == PN_OPTIMIZER_ADAMW ? 0.01f : 0);
        else if (optimizer == PN_OPTIMIZER_SGD)
            for (size_t j = 0; j < one->n; j++)
                one->values[j] -= rate * one->grad[j];
        else if (!muon(one, rate))
            return pn_no_memory(err, "an update");
    }
    return PANTRY_OK;
}

/* ---- schedules ---- */

enum pn_schedule pn_schedule_find(const char *name)
{
    static const char *const names[PN_SCHEDULE_COUNT] = {"constant", "cosine", "linear"};
    int i = 0;
    while (i < PN_SCHEDULE_COUNT && strcmp(names[i], name) != 0)
        i++;
    return (enum pn_schedule)i;
}

float pn_schedule_rate(enum pn_schedule schedule, float rate, float end, int64_t warmup, int64_t at, int64_t n)
{
    if (at < warmup)
        return rate * (float)(at + 1) / (float)(warmup + 1);
    if (schedule == PN_SCHEDULE_CONSTANT || n <= warmup)
        return rate;
    double part = (double)(at - warmup) / (double)(n - warmup);
    if (schedule == PN_SCHEDULE_COSINE)
        part = 0.5 * (1 - cos(3.14159265358979323846 * part));
    return (float)((double)rate + part * ((double)end - (double)rate));
}
