/* Element-wise operations: sums, products, scales, activation functions. */
#include "tensor/op/reference.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>

/* The second operand of add and mul: an array of the same shape or a weight vector repeated over the rows. */
static pn_array binary(struct pn_graph *g, enum pn_op op, pn_array a, pn_array b)
{
    if (b == PN_NONE || !pn_op_want_rows(g, a, pn_op_name(op)))
        return PN_NONE;
    const struct pn_node *x = pn_node(g, a), *y = pn_node(g, b);
    if (y->rows == PN_ROWS_NONE) {
        if (!pn_op_is_vector(g, b, x->n2) && !pn_op_is_vector(g, b, (int64_t)x->n1 * x->n2))
            return pn_graph_fail(g, PANTRY_FORMAT, "%s has %d x %d values where %d are needed", y->weight->name, y->n1,
                                 y->n2, x->n2);
    } else if (y->rows != x->rows || y->n1 != x->n1 || y->n2 != x->n2) {
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot %s rows of %d x %d and of %d x %d values", pn_op_name(op), x->n1,
                             x->n2, y->n1, y->n2);
    }
    return pn_graph_add(
        g, (struct pn_node){.op = op, .rows = x->rows, .n1 = x->n1, .n2 = x->n2, .n_src = 2, .src = {a, b}});
}

pn_array pn_add(struct pn_graph *g, pn_array a, pn_array b)
{
    return binary(g, PN_OP_ADD, a, b);
}

pn_array pn_mul(struct pn_graph *g, pn_array a, pn_array b)
{
    return binary(g, PN_OP_MUL, a, b);
}

pn_array pn_mul_heads(struct pn_graph *g, pn_array x, pn_array by)
{
    if (!pn_op_want_rows(g, x, "the operand of mul_heads") || !pn_op_want_rows(g, by, "the factors of mul_heads"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *f = pn_node(g, by);
    if (f->rows != n->rows || (int64_t)f->n1 * f->n2 != n->n1)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot multiply %d heads by %d x %d numbers", n->n1, f->n1, f->n2);
    return pn_graph_add(
        g,
        (struct pn_node){.op = PN_OP_MUL_HEADS, .rows = n->rows, .n1 = n->n1, .n2 = n->n2, .n_src = 2, .src = {x, by}});
}

pantry_status pn_ref_mul_heads(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    bool flat = pn_node(a->graph, a->node->src[1])->n1 == 1;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            float factor = flat ? pn_view_at(a->src[1], r, 0)[h] : pn_view_at(a->src[1], r, h)[0];
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++)
                out[i] = x[i] * factor;
        }
    return PANTRY_OK;
}

static pantry_status run_binary(const struct pn_op_args *a, bool multiply, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    float *row = NULL;
    int n1 = a->node->n1, n2 = a->node->n2;
    if (w && !(row = pn_ref_weight_row(w, 0)))
        return pn_no_memory(err, w->name);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            const float *y = w ? row + (w->n_cols == n2 ? 0 : (int64_t)h * n2) : pn_view_at(a->src[1], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < n2; i++)
                out[i] = multiply ? x[i] * y[i] : x[i] + y[i];
        }
    free(row);
    return PANTRY_OK;
}

pantry_status pn_ref_add(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_binary(a, false, err);
}

pantry_status pn_ref_mul(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_binary(a, true, err);
}

/* A node of x's shape with one operand. */
static pn_array unary(struct pn_graph *g, pn_array x, struct pn_node node)
{
    if (!pn_op_want_rows(g, x, pn_op_name(node.op)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    node.rows = n->rows;
    node.n1 = n->n1;
    node.n2 = n->n2;
    node.n_src = 1;
    node.src[0] = x;
    return pn_graph_add(g, node);
}

pn_array pn_scale(struct pn_graph *g, pn_array x, float factor, float offset)
{
    return unary(g, x, (struct pn_node){.op = PN_OP_SCALE, .scale = {.factor = factor, .offset = offset}});
}

pn_array pn_softcap(struct pn_graph *g, pn_array x, float cap)
{
    if (!(cap > 0))
        return pn_graph_fail(g, PANTRY_FORMAT, "a soft cap of %g is not above 0", (double)cap);
    return unary(g, x, (struct pn_node){.op = PN_OP_SOFTCAP, .scale = {.factor = cap}});
}

pn_array pn_act(struct pn_graph *g, pn_array x, enum pn_act_fn fn)
{
    return unary(g, x, (struct pn_node){.op = PN_OP_ACT, .fn = fn});
}

pn_array pn_clamp(struct pn_graph *g, pn_array x, float low, float high)
{
    if (!(low <= high))
        return pn_graph_fail(g, PANTRY_FORMAT, "values cannot be kept between %g and %g", (double)low, (double)high);
    return unary(g, x, (struct pn_node){.op = PN_OP_CLAMP, .clamp = {.low = low, .high = high}});
}

static float apply(const struct pn_node *n, float x)
{
    switch (n->op) {
    case PN_OP_SCALE:
        return x * n->scale.factor + n->scale.offset;
    case PN_OP_SOFTCAP:
        return n->scale.factor * (float)tanh((double)(x / n->scale.factor));
    case PN_OP_CLAMP:
        return x < n->clamp.low ? n->clamp.low : x > n->clamp.high ? n->clamp.high : x;
    default:
        return pn_act_reference(n->fn, x);
    }
}

static pantry_status run_unary(const struct pn_op_args *a)
{
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++)
                out[i] = apply(a->node, x[i]);
        }
    return PANTRY_OK;
}

pantry_status pn_ref_scale(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_unary(a);
}

pantry_status pn_ref_softcap(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_unary(a);
}

pantry_status pn_ref_act(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_unary(a);
}

pantry_status pn_ref_clamp(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_unary(a);
}

/* ---- gradients ---- */

pn_array pn_column_sum(struct pn_graph *g, pn_array x, int n)
{
    if (!pn_op_want_rows(g, x, "the operand of column_sum"))
        return PN_NONE;
    const struct pn_node *m = pn_node(g, x);
    if (n != m->n2 && n != m->n1 * m->n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "columns of %d x %d values have no sum of %d", m->n1, m->n2, n);
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_COLUMN_SUM, .rows = PN_ROWS_ONE, .n1 = 1, .n2 = n, .n_src = 1, .src = {x}});
}

pantry_status pn_ref_column_sum(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_node *x = pn_node(a->graph, a->node->src[0]);
    int64_t rows = pn_batch_n_rows(a->batch, x->rows);
    bool over_heads = a->node->n2 == x->n2;
    double *sum = calloc((size_t)a->node->n2, sizeof *sum);
    if (!sum)
        return pn_no_memory(err, "a gradient");
    for (int64_t r = 0; r < rows; r++)
        for (int h = 0; h < x->n1; h++)
            for (int i = 0; i < x->n2; i++)
                sum[(over_heads ? 0 : h * x->n2) + i] += (double)pn_view_at(a->src[0], r, h)[i];
    for (int i = 0; i < a->node->n2; i++)
        pn_view_at(a->out, 0, 0)[i] = (float)sum[i];
    free(sum);
    return PANTRY_OK;
}

static void grad_second(struct pn_grad *t, pn_array b, pn_array db)
{
    if (pn_node(t->g, b)->rows == PN_ROWS_NONE)
        db = pn_column_sum(t->g, db, pn_node(t->g, b)->n2);
    pn_grad_add(t, b, db);
}

void pn_back_add(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array a = pn_node(t->g, y)->src[0], b = pn_node(t->g, y)->src[1];
    pn_grad_add(t, a, dy);
    if (pn_grad_wants(t, b))
        grad_second(t, b, dy);
}

void pn_back_mul(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array a = pn_node(t->g, y)->src[0], b = pn_node(t->g, y)->src[1];
    if (pn_grad_wants(t, a))
        pn_grad_add(t, a, pn_mul(t->g, dy, b));
    if (pn_grad_wants(t, b))
        grad_second(t, b, pn_mul(t->g, dy, a));
}

pn_array pn_head_dot(struct pn_graph *g, pn_array a, pn_array b)
{
    if (!pn_op_want_rows(g, a, "the first operand of head_dot") ||
        !pn_op_want_rows(g, b, "the second operand of head_dot"))
        return PN_NONE;
    const struct pn_node *x = pn_node(g, a), *y = pn_node(g, b);
    if (x->rows != y->rows || x->n1 != y->n1 || x->n2 != y->n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operands of head_dot differ in shape");
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_HEAD_DOT, .rows = x->rows, .n1 = x->n1, .n2 = 1, .n_src = 2, .src = {a, b}});
}

pantry_status pn_ref_head_dot(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n2 = pn_node(a->graph, a->node->src[0])->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h), *y = pn_view_at(a->src[1], r, h);
            double sum = 0;
            for (int i = 0; i < n2; i++)
                sum += (double)x[i] * (double)y[i];
            pn_view_at(a->out, r, h)[0] = (float)sum;
        }
    return PANTRY_OK;
}

pn_array pn_dropout(struct pn_graph *g, pn_array x, pn_array keys, float share, uint32_t salt)
{
    if (!pn_op_want_rows(g, x, "the operand of dropout") || !pn_op_want_rows(g, keys, "the keys of dropout"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *k = pn_node(g, keys);
    if (k->rows != n->rows || k->n1 != 1 || k->n2 != 2 || !(share >= 0 && share < 1))
        return pn_graph_fail(g, PANTRY_INTERNAL, "a dropout of %g with %d x %d keys", (double)share, k->n1, k->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_DROPOUT,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 2,
                                            .src = {x, keys},
                                            .dropout = {.share = share, .salt = salt}});
}

pantry_status pn_ref_dropout(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    float share = a->node->dropout.share, kept = 1 / (1 - share);
    for (int64_t r = a->row0; r < a->row1; r++) {
        const float *key = pn_view_at(a->src[1], r, 0);
        bool off = key[0] < 0;
        uint64_t row = off ? 0 : (uint64_t)(int64_t)key[0] << 24 | (uint64_t)(int64_t)key[1];
        uint64_t stream = pn_random_at(row, a->node->dropout.salt), at = 0;
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++, at++)
                out[i] = off ? x[i] : pn_random_unit(pn_random_at(stream, at)) < share ? 0 : x[i] * kept;
        }
    }
    return PANTRY_OK;
}

/* The same values of the gradient are 0. */
void pn_back_dropout(struct pn_grad *t, pn_array y, pn_array dy)
{
    const struct pn_node n = *pn_node(t->g, y), d = *pn_node(t->g, dy);
    if (d.n1 != n.n1)
        pn_graph_fail(t->g, PANTRY_INTERNAL, "the gradient of a dropout has other heads");
    else
        pn_grad_add(t, n.src[0], pn_dropout(t->g, dy, n.src[1], n.dropout.share, n.dropout.salt));
}

void pn_back_mul_heads(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array x = pn_node(t->g, y)->src[0], by = pn_node(t->g, y)->src[1];
    if (pn_grad_wants(t, x))
        pn_grad_add(t, x, pn_mul_heads(t->g, dy, by));
    if (pn_grad_wants(t, by))
        pn_grad_add(t, by, pn_head_dot(t->g, dy, x));
}

void pn_back_scale(struct pn_grad *t, pn_array y, pn_array dy)
{
    const struct pn_node *n = pn_node(t->g, y);
    pn_grad_add(t, n->src[0], n->scale.factor == 1 ? dy : pn_scale(t->g, dy, n->scale.factor, 0));
}

/* 1 - (y / cap)^2 is the slope of cap tanh(x / cap). */
void pn_back_softcap(struct pn_grad *t, pn_array y, pn_array dy)
{
    float cap = pn_node(t->g, y)->scale.factor;
    pn_array x = pn_node(t->g, y)->src[0];
    pn_array slope = pn_scale(t->g, pn_mul(t->g, y, y), -1 / (cap * cap), 1);
    pn_grad_add(t, x, pn_mul(t->g, dy, slope));
}

/* A node of the shape of x and dy. */
static pn_array pair(struct pn_graph *g, pn_array x, pn_array dy, struct pn_node node)
{
    if (!pn_op_want_rows(g, x, pn_op_name(node.op)) || !pn_op_want_rows(g, dy, pn_op_name(node.op)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *d = pn_node(g, dy);
    if (n->rows != d->rows || n->n1 != d->n1 || n->n2 != d->n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operands of %s differ in shape", pn_op_name(node.op));
    node.rows = n->rows;
    node.n1 = n->n1;
    node.n2 = n->n2;
    node.n_src = 2;
    node.src[0] = x;
    node.src[1] = dy;
    return pn_graph_add(g, node);
}

pn_array pn_act_back(struct pn_graph *g, pn_array x, pn_array dy, enum pn_act_fn fn)
{
    return pair(g, x, dy, (struct pn_node){.op = PN_OP_ACT_BACK, .fn = fn});
}

pn_array pn_clamp_back(struct pn_graph *g, pn_array x, pn_array dy, float low, float high)
{
    return pair(g, x, dy, (struct pn_node){.op = PN_OP_CLAMP_BACK, .clamp = {.low = low, .high = high}});
}

static pantry_status run_pair(const struct pn_op_args *a)
{
    const struct pn_node *n = a->node;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < n->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h), *dy = pn_view_at(a->src[1], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < n->n2; i++) {
                bool inside = n->op != PN_OP_CLAMP_BACK || (x[i] >= n->clamp.low && x[i] <= n->clamp.high);
                double slope = n->op == PN_OP_ACT_BACK ? pn_act_slope(n->fn, (double)x[i]) : inside;
                out[i] = (float)((double)dy[i] * slope);
            }
        }
    return PANTRY_OK;
}

pantry_status pn_ref_act_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_pair(a);
}

pantry_status pn_ref_clamp_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    return run_pair(a);
}

void pn_back_act(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array x = pn_node(t->g, y)->src[0];
    pn_grad_add(t, x, pn_act_back(t->g, x, dy, pn_node(t->g, y)->fn));
}

void pn_back_clamp(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_grad_add(t, n.src[0], pn_clamp_back(t->g, n.src[0], dy, n.clamp.low, n.clamp.high));
}
