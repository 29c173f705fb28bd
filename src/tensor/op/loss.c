/* The loss of a language model and its gradient, in tiles of the vocabulary: see grad.h. */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pn_array pn_cross_entropy(struct pn_graph *g, pn_array x, pn_array weight, pn_array bias, pn_array targets,
                          float factor, float softcap)
{
    if (weight == PN_NONE || !pn_op_want_rows(g, x, "the operand of cross_entropy") ||
        !pn_op_want_rows(g, targets, "the targets of cross_entropy"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *w = pn_node(g, weight), *t = pn_node(g, targets);
    if (w->op != PN_OP_WEIGHT || (int64_t)n->n1 * n->n2 != w->n2 || t->rows != n->rows || t->n1 * t->n2 != 1 ||
        (bias != PN_NONE && !pn_op_is_vector(g, bias, w->n1)) || w->n1 > PN_MAX_ARGMAX)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s does not fit states of %d x %d values and their targets",
                             pn_op_what(g, weight), n->n1, n->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_CROSS_ENTROPY,
                                            .rows = n->rows,
                                            .n1 = 1,
                                            .n2 = 2,
                                            .n_src = 4,
                                            .src = {x, weight, bias, targets},
                                            .scale = {.factor = factor, .offset = softcap}});
}

void pn_back_cross_entropy(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    const struct pn_node *w = pn_node(t->g, n.src[1]);
    if (pn_grad_wants(t, n.src[1]) || pn_grad_wants(t, n.src[2]))
        pn_graph_fail(t->g, PANTRY_UNSUPPORTED, "the output matrix cannot be trained");
    pn_grad_add(t, n.src[0],
                pn_graph_add(t->g, (struct pn_node){.op = PN_OP_CROSS_ENTROPY_BACK,
                                                    .rows = n.rows,
                                                    .n1 = 1,
                                                    .n2 = w->n2,
                                                    .n_src = 6,
                                                    .src = {n.src[0], n.src[1], n.src[2], n.src[3], y, dy},
                                                    .scale = n.scale}));
}

/* A logit from x.w, and its slope. */
static double logit_of(const struct pn_node *n, double z, double bias, double *slope)
{
    double cap = (double)n->scale.offset;
    z = (z + bias) * (double)n->scale.factor;
    *slope = (double)n->scale.factor;
    if (cap > 0) {
        double level = tanh(z / cap);
        z = cap * level;
        *slope *= 1 - level * level;
    }
    return z;
}

static double dot_row(const struct pn_op_args *a, int64_t r, const float *row)
{
    const struct pn_node *x = pn_node(a->graph, a->node->src[0]);
    double sum = 0;
    for (int h = 0; h < x->n1; h++)
        for (int j = 0; j < x->n2; j++)
            sum += (double)pn_view_at(a->src[0], r, h)[j] * (double)row[h * x->n2 + j];
    return sum;
}

static pantry_status check_targets(const struct pn_op_args *a, int64_t n_vocab, struct pantry_error *err)
{
    for (int64_t r = a->row0; r < a->row1; r++) {
        float id = pn_view_at(a->src[3], r, 0)[0];
        if (!(id >= 0 && id < (float)n_vocab))
            return pn_fail(err, PANTRY_INVALID, "the target %g is not in the vocabulary of %lld", (double)id,
                           (long long)n_vocab);
    }
    return PANTRY_OK;
}

/* Each row of the weight is decoded once; a row of x keeps its greatest logit and the sum of exponentials below it. */
pantry_status pn_ref_cross_entropy(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1), *b = pn_op_weight(a, 2);
    int64_t rows = a->row1 - a->row0;
    float *row = malloc((size_t)w->n_cols * sizeof *row), *bias = b ? pn_ref_weight_row(b, 0) : NULL;
    double *highest = malloc((size_t)(3 * rows + 1) * sizeof *highest);
    pantry_status status =
        row && highest && (!b || bias) ? check_targets(a, w->n_rows, err) : pn_no_memory(err, "a loss");
    for (int64_t r = 0; r < rows && !status; r++)
        highest[r] = -INFINITY, highest[rows + r] = highest[2 * rows + r] = 0;
    for (int64_t i = 0; i < w->n_rows && !status; i++) {
        pn_weight_decode(w, 0, i, 0, w->n_cols, row);
        for (int64_t r = 0; r < rows; r++) {
            double slope, z = logit_of(a->node, dot_row(a, a->row0 + r, row), bias ? (double)bias[i] : 0, &slope);
            double top = z > highest[r] ? z : highest[r];
            highest[rows + r] = highest[rows + r] * exp(highest[r] - top) + exp(z - top);
            highest[r] = top;
            if (i == (int64_t)pn_view_at(a->src[3], a->row0 + r, 0)[0])
                highest[2 * rows + r] = z;
        }
    }
    for (int64_t r = 0; r < rows && !status; r++) {
        double log_sum = highest[r] + log(highest[rows + r]);
        pn_view_at(a->out, a->row0 + r, 0)[0] = (float)(log_sum - highest[2 * rows + r]);
        pn_view_at(a->out, a->row0 + r, 0)[1] = (float)log_sum;
    }
    free(row);
    free(bias);
    free(highest);
    return status;
}

/* dx = dy * sum over the vocabulary of (p - [target]) * slope * row. */
pantry_status pn_ref_cross_entropy_back(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1), *b = pn_op_weight(a, 2);
    int64_t rows = a->row1 - a->row0, n = w->n_cols;
    float *row = malloc((size_t)n * sizeof *row), *bias = b ? pn_ref_weight_row(b, 0) : NULL;
    double *sum = calloc((size_t)(rows * n) + 1, sizeof *sum);
    pantry_status status = row && sum && (!b || bias) ? check_targets(a, w->n_rows, err) : pn_no_memory(err, "a loss");
    for (int64_t i = 0; i < w->n_rows && !status; i++) {
        pn_weight_decode(w, 0, i, 0, n, row);
        for (int64_t r = 0; r < rows; r++) {
            double slope, z = logit_of(a->node, dot_row(a, a->row0 + r, row), bias ? (double)bias[i] : 0, &slope);
            double d = exp(z - (double)pn_view_at(a->src[4], a->row0 + r, 0)[1]);
            if (i == (int64_t)pn_view_at(a->src[3], a->row0 + r, 0)[0])
                d -= 1;
            d *= slope * (double)pn_view_at(a->src[5], a->row0 + r, 0)[0];
            for (int64_t j = 0; j < n; j++)
                sum[r * n + j] += d * (double)row[j];
        }
    }
    for (int64_t r = 0; r < rows && !status; r++)
        for (int64_t j = 0; j < n; j++)
            pn_view_at(a->out, a->row0 + r, 0)[j] = (float)sum[r * n + j];
    free(row);
    free(bias);
    free(sum);
    return status;
}
