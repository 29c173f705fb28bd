/* Muon and Adafactor, whose updates depend on whole matrices: see optimizer.h. */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the numbers of a group, one after another ---- */

enum part { VALUES, GRADIENTS, MOMENT };

static float *part_of(const struct pn_train_param *one, enum part part)
{
    return part == VALUES ? one->values : part == GRADIENTS ? one->grad : one->moment[0];
}

static size_t size_of(const struct pn_train_group *g)
{
    return (size_t)g->n_mat * (size_t)g->rows * (size_t)g->cols;
}

/* Copies a part of group `number` to `all` (n_mat, rows, cols), or back. */
static void move(const struct pn_train_params *p, size_t number, enum part part, float *all, bool back)
{
    const struct pn_train_group *g = &p->groups.data[number];
    size_t matrix = (size_t)g->rows * (size_t)g->cols, at = 0, members = 0;
    for (size_t i = 0; i < p->len; i++)
        members += (size_t)p->data[i].group == number;
    size_t n_mat = g->n_mat > 1 && members == (size_t)g->n_mat ? 1 : (size_t)g->n_mat; /* of a member */
    for (size_t i = 0; i < p->len; i++) {
        const struct pn_train_param *one = &p->data[i];
        if ((size_t)one->group != number)
            continue;
        size_t n = one->n / n_mat;
        for (size_t m = 0; m < n_mat; m++) {
            float *here = part_of(one, part) + m * n, *there = all + m * matrix + at;
            memcpy(back ? here : there, back ? there : here, n * sizeof *all);
        }
        at += n;
    }
}

static double mean_square(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return n ? sum / (double)n : 0;
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
static void orthogonalize(float *x, size_t n, size_t k, int steps, float *room)
{
    float *a = room, *b = a + n * n, *c = b + n * n;
    double length = sqrt(mean_square(x, n * k) * (double)(n * k)) + 1e-7;
    for (size_t i = 0; i < n * k; i++)
        x[i] = (float)((double)x[i] / length);
    for (int step = 0; step < steps; step++) {
        gram(x, n, k, a);
        times(a, a, n, n, b);
        for (size_t i = 0; i < n * n; i++)
            b[i] = -4.7750f * a[i] + 2.0315f * b[i];
        times(b, x, n, k, c);
        for (size_t i = 0; i < n * k; i++)
            x[i] = 3.4445f * x[i] + c[i];
    }
}

static void turn(const float *from, size_t rows, size_t cols, float *to)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            to[c * rows + r] = from[r * cols + c];
}

/* The direction of an update of `rows` x `cols`, in place. `room`: rows * cols, then as orthogonalize needs it. */
static void straighten(float *x, size_t rows, size_t cols, int steps, float *room)
{
    if (rows <= cols) {
        orthogonalize(x, rows, cols, steps, room);
        return;
    }
    turn(x, rows, cols, room);
    orthogonalize(room, cols, rows, steps, room + rows * cols);
    turn(room, cols, rows, x);
}

static bool muon_group(const struct pn_optimizer *o, struct pn_train_params *p, size_t number, float rate)
{
    const struct pn_train_group *g = &p->groups.data[number];
    size_t n = size_of(g), rows = (size_t)(g->n_mat > 1 ? g->n_mat : g->rows), cols = n / rows;
    size_t few = rows < cols ? rows : cols;
    float momentum = (float)o->momentum, fresh = (float)(1 - o->momentum), decay = (float)o->weight_decay;
    float *update = malloc((4 * n + n + 2 * few * few + n) * sizeof *update);
    if (!update)
        return false;
    float *w = update + n, *grad = w + n, *v = grad + n, *room = v + n;
    move(p, number, VALUES, w, false);
    move(p, number, GRADIENTS, grad, false);
    move(p, number, MOMENT, v, false);
    for (size_t i = 0; i < n; i++) {
        float with = grad[i] + decay * w[i];
        v[i] = momentum * v[i] + fresh * with;
        update[i] = o->nesterov ? with * fresh + v[i] * momentum : v[i];
    }
    if (!g->vector) {
        double high = (double)(g->turned ? g->cols : g->rows), wide = (double)(g->turned ? g->rows : g->cols);
        straighten(update, rows, cols, (int)o->ns_steps, room);
        rate *= high > wide ? (float)sqrt(high / wide) : 1;
    }
    for (size_t i = 0; i < n; i++)
        w[i] -= rate * update[i];
    move(p, number, VALUES, w, true);
    move(p, number, MOMENT, v, true);
    free(update);
    return true;
}

pantry_status pn_muon(const struct pn_optimizer *o, struct pn_train_params *p, float rate, struct pantry_error *err)
{
    for (size_t i = 0; i < p->groups.len; i++)
        if (!muon_group(o, p, i, rate))
            return pn_no_memory(err, "an update");
    return PANTRY_OK;
}

/* ---- Adafactor ---- */

/* Adds the squares of a matrix's gradients to its means of rows and columns, and makes the update of them. */
static void factor(const struct pn_optimizer *o, const float *grad, size_t rows, size_t cols, float beta,
                   float *row_means, float *col_means, float *update)
{
    float fresh = 1 - beta, eps = (float)o->eps[0];
    double mean = 0;
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < cols; c++)
            sum += (double)(grad[r * cols + c] * grad[r * cols + c] + eps);
        row_means[r] = beta * row_means[r] + fresh * (float)(sum / (double)cols);
        mean += (double)row_means[r] / (double)rows;
    }
    for (size_t c = 0; c < cols; c++) {
        double sum = 0;
        for (size_t r = 0; r < rows; r++)
            sum += (double)(grad[r * cols + c] * grad[r * cols + c] + eps);
        col_means[c] = beta * col_means[c] + fresh * (float)(sum / (double)rows);
    }
    for (size_t r = 0; r < rows; r++) {
        float of_row = 1 / sqrtf(row_means[r] / (float)mean);
        for (size_t c = 0; c < cols; c++)
            update[r * cols + c] = of_row * (1 / sqrtf(col_means[c])) * grad[r * cols + c];
    }
}

static float adafactor_rate(const struct pn_optimizer *o, float rate, int64_t number, double length)
{
    double step = (double)rate;
    if (o->relative_step)
        step = fmin(o->warmup_init ? 1e-6 * (double)number : 1e-2, 1 / sqrt((double)number));
    return (float)(o->scale_parameter ? step * fmax(o->eps[1], length) : step);
}

static bool adafactor_group(const struct pn_optimizer *o, struct pn_train_params *p, size_t number, float rate,
                            int64_t count)
{
    const struct pn_train_group *g = &p->groups.data[number];
    size_t n = size_of(g), rows = (size_t)g->rows, cols = (size_t)g->cols;
    float *update = malloc(4 * n * sizeof *update), beta = (float)(1 - pow((double)count, o->decay_rate));
    if (!update)
        return false;
    float *w = update + n, *grad = w + n, *m = grad + n, first = (float)o->beta_1;
    move(p, number, VALUES, w, false);
    move(p, number, GRADIENTS, grad, false);
    float step = adafactor_rate(o, rate, count, sqrt(mean_square(w, n)));
    for (size_t i = 0; i < (size_t)g->n_mat && !g->vector; i++)
        factor(o, grad + i * rows * cols, rows, cols, beta, g->row_means + i * rows, g->col_means + i * cols,
               update + i * rows * cols);
    for (size_t i = 0; i < n && g->vector; i++) {
        g->row_means[i] = beta * g->row_means[i] + (1 - beta) * (grad[i] * grad[i] + (float)o->eps[0]);
        update[i] = grad[i] / sqrtf(g->row_means[i]);
    }
    float shorter = (float)(1 / fmax(1, sqrt(mean_square(update, n)) / o->clip_threshold));
    if (first >= 0)
        move(p, number, MOMENT, m, false);
    for (size_t i = 0; i < n; i++) {
        float change = step * (update[i] * shorter);
        if (first >= 0)
            change = m[i] = first * m[i] + (1 - first) * change;
        w[i] = w[i] * (1 - (float)o->weight_decay * step) - change;
    }
    move(p, number, VALUES, w, true);
    if (first >= 0)
        move(p, number, MOMENT, m, true);
    free(update);
    return true;
}

pantry_status pn_adafactor(const struct pn_optimizer *o, struct pn_train_params *p, float rate, int64_t number,
                           struct pantry_error *err)
{
    for (size_t i = 0; i < p->groups.len; i++)
        if (!adafactor_group(o, p, i, rate, number))
            return pn_no_memory(err, "an update");
    return PANTRY_OK;
}
