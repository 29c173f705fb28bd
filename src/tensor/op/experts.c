/* Mixtures of experts (Shazeer et al., 2017): choosing experts for each token, multiplying each token's slots with the
 * matrices of its experts, and putting the results together.
 *
 * A route is an array (rows, 2, n_used): each row has the weights of the chosen experts, then their numbers as floats,
 * which are exact and checked when they are computed. */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- choosing ---- */

pn_array pn_route(struct pn_graph *g, pn_array logits, pn_array bias, const struct pn_route_params *p)
{
    if (!pn_op_want_rows(g, logits, "the logits of a router"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, logits);
    if (p->n_expert < 1 || p->n_expert > PN_MAX_EXPERTS || p->n_used < 1 || p->n_used > p->n_expert ||
        p->n_used > PN_MAX_EXPERTS_USED || (int64_t)n->n1 * n->n2 != p->n_expert || !pn_op_contiguous(g, logits))
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot choose %d of %d experts by %d logits", p->n_used, p->n_expert,
                             n->n2);
    if (p->n_groups > 1 &&
        (p->n_groups > PN_MAX_EXPERT_GROUPS || p->n_expert % p->n_groups || p->n_groups_used < 1 ||
         p->n_groups_used > p->n_groups || (int64_t)p->n_expert / p->n_groups * p->n_groups_used < p->n_used))
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot choose %d experts out of %d of the %d groups of %d", p->n_used,
                             p->n_groups_used, p->n_groups, p->n_expert);
    if (bias != PN_NONE && !pn_op_is_vector(g, bias, p->n_expert))
        return pn_graph_fail(g, PANTRY_FORMAT, "%s has %d values for %d experts", pn_op_what(g, bias),
                             pn_node(g, bias)->n2, p->n_expert);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ROUTE,
                                            .rows = n->rows,
                                            .n1 = 2,
                                            .n2 = p->n_used,
                                            .n_src = 2,
                                            .src = {logits, bias},
                                            .route = *p});
}

/* Each expert's gate, and its rank for choosing. Without a bias the rank is the logit: every gate rises with it. */
struct ranking {
    const struct pn_route_params *params;
    float gates[PN_MAX_EXPERTS];
    float ranks[PN_MAX_EXPERTS];
};

static void find_gates(const struct pn_route_params *p, const float *logits, float *gates)
{
    float highest = -INFINITY, sum = 0;
    switch (p->gate) {
    case PN_GATE_SOFTMAX:
        for (int e = 0; e < p->n_expert; e++)
            highest = logits[e] > highest ? logits[e] : highest;
        for (int e = 0; e < p->n_expert; e++)
            sum += gates[e] = expf(logits[e] - highest);
        for (int e = 0; e < p->n_expert; e++)
            gates[e] /= sum;
        return;
    case PN_GATE_SIGMOID:
        for (int e = 0; e < p->n_expert; e++)
            gates[e] = 1 / (1 + expf(-logits[e]));
        return;
    case PN_GATE_SOFTMAX_CHOSEN:
        memcpy(gates, logits, (size_t)p->n_expert * sizeof *gates);
    }
}

static void find_ranks(struct ranking *r, const float *logits, const float *bias)
{
    bool by_gate = bias || r->params->n_groups > 1;
    for (int e = 0; e < r->params->n_expert; e++)
        r->ranks[e] = (by_gate ? r->gates[e] : logits[e]) + (bias ? bias[e] : 0);
}

/* The groups to choose from, as bits: those whose best expert ranks highest (DeepSeek-V2, whose gates are a softmax),
 * or with the highest sum of the two best (DeepSeek-V3). */
static uint64_t choose_groups(const struct ranking *r)
{
    const struct pn_route_params *p = r->params;
    int size = p->n_expert / p->n_groups;
    float scores[PN_MAX_EXPERT_GROUPS];
    for (int g = 0; g < p->n_groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            float s = r->ranks[e];
            second = s > first ? first : s > second ? s : second;
            first = s > first ? s : first;
        }
        scores[g] = size > 1 && p->gate != PN_GATE_SOFTMAX ? first + second : first;
    }
    uint64_t chosen = 0;
    for (int i = 0; i < p->n_groups_used; i++) {
        int best = -1;
        for (int g = 0; g < p->n_groups; g++)
            if (!(chosen >> g & 1) && (best < 0 || scores[g] > scores[best]))
                best = g;
        chosen |= (uint64_t)1 << best;
    }
    return chosen;
}

/* Fills `numbers` with the n_used experts that rank highest, best first; among equals, the lowest number first. */
static void choose(const struct ranking *r, float *numbers)
{
    const struct pn_route_params *p = r->params;
    uint64_t taken[PN_MAX_EXPERTS / 64] = {0}, groups = p->n_groups > 1 ? choose_groups(r) : 0;
    int size = p->n_groups > 1 ? p->n_expert / p->n_groups : p->n_expert;
    for (int i = 0; i < p->n_used; i++) {
        int best = -1;
        float highest = 0;
        for (int e = 0; e < p->n_expert; e++) {
            if ((taken[e / 64] >> (e % 64) & 1) || (p->n_groups > 1 && !(groups >> (e / size) & 1)))
                continue;
            float s = r->ranks[e];
            if (best < 0 || s > highest) {
                best = e;
                highest = s;
            }
        }
        taken[best / 64] |= (uint64_t)1 << (best % 64);
        numbers[i] = (float)best;
    }
}

void pn_route_row(const struct pn_route_params *p, const float *logits, const float *bias, float *weights,
                  float *numbers)
{
    struct ranking r; /* 32 KiB, of which only n_expert values are written */
    r.params = p;
    find_gates(p, logits, r.gates);
    find_ranks(&r, logits, bias);
    choose(&r, numbers);
    double sum = 0, highest = -INFINITY;
    for (int i = 0; i < p->n_used; i++) {
        weights[i] = r.gates[(int)numbers[i]];
        highest = weights[i] > highest ? (double)weights[i] : highest;
    }
    for (int i = 0; i < p->n_used; i++) {
        if (p->gate == PN_GATE_SOFTMAX_CHOSEN)
            weights[i] = (float)exp((double)weights[i] - highest);
        sum += (double)weights[i];
    }
    if (p->renormalize || p->gate == PN_GATE_SOFTMAX_CHOSEN) {
        double least = 6.103515625e-5; /* the smallest normal number of float16 prevents a division by 0 */
        sum = sum > least ? sum : least;
        for (int i = 0; i < p->n_used; i++)
            weights[i] = (float)((double)weights[i] / sum);
    }
    for (int i = 0; i < p->n_used; i++)
        weights[i] *= p->scale;
}

pantry_status pn_ref_route(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    float *bias = w ? pn_ref_weight_row(w, 0) : NULL;
    if (w && !bias)
        return pn_no_memory(err, w->name);
    for (int64_t r = a->row0; r < a->row1; r++)
        pn_route_row(&a->node->route, pn_view_at(a->src[0], r, 0), bias, pn_view_at(a->out, r, 0),
                     pn_view_at(a->out, r, 1));
    free(bias);
    return PANTRY_OK;
}

/* ---- multiplying ---- */

static bool is_route(struct pn_graph *g, pn_array route, const struct pn_node *x)
{
    const struct pn_node *n = pn_node(g, route);
    if (n->op == PN_OP_ROUTE && n->rows == x->rows)
        return true;
    pn_graph_fail(g, PANTRY_INTERNAL, "experts need the route that chose them");
    return false;
}

pn_array pn_matmul_each(struct pn_graph *g, pn_array x, pn_array stack, pn_array route)
{
    if (stack == PN_NONE || !pn_op_want_rows(g, x, "the left operand of a product"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    const struct pn_weight *w = pn_node(g, stack)->weight;
    if (route != PN_NONE && !is_route(g, route, n))
        return PN_NONE;
    int n_slots = route == PN_NONE ? n->n1 : pn_node(g, route)->n2;
    if (n->n2 != w->n_cols)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s takes rows of %lld values, but gets %d", w->name,
                             (long long)w->n_cols, n->n2);
    if (route != PN_NONE ? (n->n1 != 1 && n->n1 != n_slots) || w->n_mat != pn_node(g, route)->route.n_expert
                         : w->n_mat != n_slots)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s has %lld matrices for %d slots", w->name, (long long)w->n_mat,
                             n_slots);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_MATMUL_EACH,
                                            .rows = n->rows,
                                            .n1 = n_slots,
                                            .n2 = (int32_t)w->n_rows,
                                            .n_src = 3,
                                            .src = {x, stack, route}});
}

pantry_status pn_ref_matmul_each(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    bool routed = a->node->src[2] != PN_NONE, one = pn_node(a->graph, a->node->src[0])->n1 == 1;
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    if (!row)
        return pn_no_memory(err, w->name);
    for (int64_t m = 0; m < w->n_mat; m++)
        for (int64_t i = 0; i < w->n_rows; i++) {
            pn_weight_decode(w, m, i, 0, w->n_cols, row);
            for (int64_t r = a->row0; r < a->row1; r++)
                for (int j = 0; j < a->node->n1; j++) {
                    if (routed ? (int64_t)pn_view_at(a->src[2], r, 1)[j] != m : j != m)
                        continue;
                    const float *x = pn_view_at(a->src[0], r, one ? 0 : j);
                    double sum = 0;
                    for (int64_t k = 0; k < w->n_cols; k++)
                        sum += (double)x[k] * (double)row[k];
                    pn_view_at(a->out, r, j)[i] = (float)sum;
                }
        }
    free(row);
    return PANTRY_OK;
}

/* ---- putting together ---- */

static pn_array each(struct pn_graph *g, enum pn_op op, pn_array x, pn_array route, pn_array weight, int n1)
{
    const struct pn_node *n = pn_node(g, x);
    return pn_graph_add(
        g, (struct pn_node){.op = op, .rows = n->rows, .n1 = n1, .n2 = n->n2, .n_src = 3, .src = {x, route, weight}});
}

pn_array pn_each_scale(struct pn_graph *g, pn_array x, pn_array route, pn_array by)
{
    if (route == PN_NONE || !pn_op_want_rows(g, x, "the slots of experts") || !is_route(g, route, pn_node(g, x)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, route);
    if (pn_node(g, x)->n1 != n->n2 || (by != PN_NONE && !pn_op_is_vector(g, by, n->route.n_expert)))
        return pn_graph_fail(g, PANTRY_FORMAT, "scales do not fit %d of %d experts", n->n2, n->route.n_expert);
    return each(g, PN_OP_EACH_SCALE, x, route, by, n->n2);
}

pn_array pn_each_bias(struct pn_graph *g, pn_array x, pn_array route, pn_array bias)
{
    if (route == PN_NONE || bias == PN_NONE || !pn_op_want_rows(g, x, "the slots of experts") ||
        !is_route(g, route, pn_node(g, x)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, route), *w = pn_node(g, bias);
    if (pn_node(g, x)->n1 != n->n2 || w->n1 != n->route.n_expert || w->n2 != pn_node(g, x)->n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s has %d x %d values where %d x %d are needed", w->weight->name, w->n1,
                             w->n2, n->route.n_expert, pn_node(g, x)->n2);
    return each(g, PN_OP_EACH_BIAS, x, route, bias, n->n2);
}

pn_array pn_each_sum(struct pn_graph *g, pn_array x, pn_array route)
{
    if (!pn_op_want_rows(g, x, "the slots of experts") || (route != PN_NONE && !is_route(g, route, pn_node(g, x))))
        return PN_NONE;
    if (route != PN_NONE && pn_node(g, x)->n1 != pn_node(g, route)->n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "%d slots do not fit a route of %d", pn_node(g, x)->n1,
                             pn_node(g, route)->n2);
    return each(g, PN_OP_EACH_SUM, x, route, PN_NONE, 1);
}

pantry_status pn_ref_each_scale(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 2);
    float *by = w ? pn_ref_weight_row(w, 0) : NULL;
    if (w && !by)
        return pn_no_memory(err, w->name);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int j = 0; j < a->node->n1; j++) {
            float factor = by ? by[(int)pn_view_at(a->src[1], r, 1)[j]] : pn_view_at(a->src[1], r, 0)[j];
            const float *x = pn_view_at(a->src[0], r, j);
            float *out = pn_view_at(a->out, r, j);
            for (int i = 0; i < a->node->n2; i++)
                out[i] = x[i] * factor;
        }
    free(by);
    return PANTRY_OK;
}

pantry_status pn_ref_each_bias(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 2);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int j = 0; j < a->node->n1; j++) {
            float *bias = pn_ref_weight_row(w, (int64_t)pn_view_at(a->src[1], r, 1)[j]);
            if (!bias)
                return pn_no_memory(err, w->name);
            const float *x = pn_view_at(a->src[0], r, j);
            float *out = pn_view_at(a->out, r, j);
            for (int i = 0; i < a->node->n2; i++)
                out[i] = x[i] + bias[i];
            free(bias);
        }
    return PANTRY_OK;
}

pantry_status pn_ref_each_sum(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n_slots = pn_node(a->graph, a->node->src[0])->n1;
    bool weighted = a->node->src[1] != PN_NONE;
    for (int64_t r = a->row0; r < a->row1; r++) {
        float *out = pn_view_at(a->out, r, 0);
        for (int i = 0; i < a->node->n2; i++) {
            double sum = 0;
            for (int j = 0; j < n_slots; j++)
                sum += (double)pn_view_at(a->src[0], r, j)[i] * (weighted ? (double)pn_view_at(a->src[1], r, 0)[j] : 1);
            out[i] = (float)sum;
        }
    }
    return PANTRY_OK;
}

/* ---- gradients ---- */

pn_array pn_route_back(struct pn_graph *g, pn_array logits, pn_array route, pn_array droute)
{
    if (!pn_op_want_rows(g, logits, "the logits of a router") || !pn_op_want_rows(g, droute, "the gradient of a route"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, logits), *d = pn_node(g, droute);
    if (!is_route(g, route, n) || (int64_t)d->n1 * d->n2 != 2 * (int64_t)pn_node(g, route)->n2 || d->rows != n->rows)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the gradient of a route does not fit it");
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ROUTE_BACK,
                                            .rows = n->rows,
                                            .n1 = 1,
                                            .n2 = n->n1 * n->n2,
                                            .n_src = 3,
                                            .src = {logits, route, droute},
                                            .route = pn_node(g, route)->route});
}

/* The gates' gradients (of chosen experts, in `dg`, which begins as that of the weights), undoing the division by the
 * sum: with u = g / sum(g), dg = (du - sum(du u)) / sum(g). */
static void undo_sum(const float *gates, const float *numbers, int n_used, double *dg)
{
    double sum = 0, dot = 0, least = 6.103515625e-5;
    for (int i = 0; i < n_used; i++)
        sum += (double)gates[(int)numbers[i]];
    bool held = sum <= least; /* then the divisor is a constant */
    sum = held ? least : sum;
    for (int i = 0; i < n_used; i++)
        dot += held ? 0 : dg[i] * (double)gates[(int)numbers[i]] / sum;
    for (int i = 0; i < n_used; i++)
        dg[i] = (dg[i] - dot) / sum;
}

static void route_back_row(const struct pn_route_params *p, const float *logits, const float *weights,
                           const float *numbers, const float *dweights, float *out)
{
    float gates[PN_MAX_EXPERTS];
    double dg[PN_MAX_EXPERTS_USED], dot = 0, scale = (double)p->scale;
    bool chosen = p->gate == PN_GATE_SOFTMAX_CHOSEN;
    find_gates(p, logits, gates);
    for (int i = 0; i < p->n_used; i++)
        dg[i] = (double)dweights[i] * scale;
    if (!chosen && p->renormalize)
        undo_sum(gates, numbers, p->n_used, dg);
    for (int i = 0; i < p->n_used; i++)
        dot += dg[i] * (chosen ? (scale != 0 ? (double)weights[i] / scale : 0) : (double)gates[(int)numbers[i]]);
    for (int e = 0; e < p->n_expert; e++)
        out[e] = p->gate == PN_GATE_SOFTMAX ? (float)(-(double)gates[e] * dot) : 0;
    for (int i = 0; i < p->n_used; i++) {
        int e = (int)numbers[i];
        double g = chosen ? (scale != 0 ? (double)weights[i] / scale : 0) : (double)gates[e];
        if (chosen)
            out[e] = (float)(g * (dg[i] - dot));
        else if (p->gate == PN_GATE_SIGMOID)
            out[e] = (float)(dg[i] * g * (1 - g));
        else
            out[e] = (float)(g * (dg[i] - dot));
    }
}

pantry_status pn_ref_route_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        route_back_row(&a->node->route, pn_view_at(a->src[0], r, 0), pn_view_at(a->src[1], r, 0),
                       pn_view_at(a->src[1], r, 1), pn_view_at(a->src[2], r, 0), pn_view_at(a->out, r, 0));
    return PANTRY_OK;
}

void pn_back_route(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array logits = pn_node(t->g, y)->src[0];
    pn_grad_add(t, logits, pn_route_back(t->g, logits, y, dy));
}

pn_array pn_spread(struct pn_graph *g, pn_array x, int n1)
{
    if (!pn_op_want_rows(g, x, "the operand of spread"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (n->n1 != 1)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operand of spread has %d heads", n->n1);
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_SPREAD, .rows = n->rows, .n1 = n1, .n2 = n->n2, .n_src = 1, .src = {x}});
}

pantry_status pn_ref_spread(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            memcpy(pn_view_at(a->out, r, h), pn_view_at(a->src[0], r, 0), (size_t)a->node->n2 * sizeof(float));
    return PANTRY_OK;
}

/* The gradient of a route's weights: one number per slot. */
static void add_weights(struct pn_grad *t, pn_array route, pn_array dweights)
{
    int n_used = pn_node(t->g, route)->n2;
    pn_grad_add(t, route, pn_pad(t->g, pn_reshape(t->g, dweights, 1, n_used), 0, 2 * n_used));
}

void pn_back_each_scale(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    if (pn_grad_wants(t, n.src[2]))
        pn_graph_fail(t->g, PANTRY_UNSUPPORTED, "scales of experts cannot be trained");
    if (pn_grad_wants(t, n.src[0]))
        pn_grad_add(t, n.src[0], pn_each_scale(t->g, dy, n.src[1], n.src[2]));
    if (n.src[2] == PN_NONE && pn_grad_wants(t, n.src[1]))
        add_weights(t, n.src[1], pn_head_dot(t->g, dy, n.src[0]));
}

void pn_back_each_bias(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_grad_add(t, n.src[0], dy);
    if (pn_grad_wants(t, n.src[2])) {
        int n_expert = pn_node(t->g, n.src[2])->n1, n2 = pn_node(t->g, n.src[2])->n2;
        pn_array sum = pn_outer_each(t->g, dy, PN_NONE, n.src[1], n_expert);
        pn_grad_add(t, n.src[2], pn_reshape(t->g, sum, n_expert, n2));
    }
}

void pn_back_each_sum(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_array each = pn_spread(t->g, dy, pn_node(t->g, n.src[0])->n1);
    if (pn_grad_wants(t, n.src[0]))
        pn_grad_add(t, n.src[0], n.src[1] == PN_NONE ? each : pn_each_scale(t->g, each, n.src[1], PN_NONE));
    if (pn_grad_wants(t, n.src[1]))
        add_weights(t, n.src[1], pn_head_dot(t->g, each, n.src[0]));
}

pn_array pn_matmul_each_back(struct pn_graph *g, pn_array dy, pn_array stack, pn_array route)
{
    if (stack == PN_NONE || !pn_op_want_rows(g, dy, "the operand of matmul_each_back"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, dy);
    const struct pn_weight *w = pn_node(g, stack)->weight;
    int64_t n_slots = route == PN_NONE ? w->n_mat : pn_node(g, route)->n2;
    if ((route != PN_NONE && !is_route(g, route, n)) || n->n2 != w->n_rows || n->n1 != n_slots)
        return pn_graph_fail(g, PANTRY_INTERNAL, "gradients of %d x %d values do not fit %s", n->n1, n->n2, w->name);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_MATMUL_EACH_BACK,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = (int32_t)w->n_cols,
                                            .n_src = 3,
                                            .src = {dy, stack, route}});
}

/* The matrix that slot j of row r uses. */
static int64_t matrix_of(const struct pn_op_args *a, int route, int64_t r, int j)
{
    return a->node->src[route] != PN_NONE ? (int64_t)pn_view_at(a->src[route], r, 1)[j] : j;
}

pantry_status pn_ref_matmul_each_back(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    double *sum = malloc((size_t)w->n_cols * sizeof *sum);
    if (!row || !sum) {
        free(row);
        free(sum);
        return pn_no_memory(err, w->name);
    }
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int j = 0; j < a->node->n1; j++) {
            const float *dy = pn_view_at(a->src[0], r, j);
            float *out = pn_view_at(a->out, r, j);
            memset(sum, 0, (size_t)w->n_cols * sizeof *sum);
            for (int64_t i = 0; i < w->n_rows; i++) {
                pn_weight_decode(w, matrix_of(a, 2, r, j), i, 0, w->n_cols, row);
                for (int64_t k = 0; k < w->n_cols; k++)
                    sum[k] += (double)dy[i] * (double)row[k];
            }
            for (int64_t k = 0; k < w->n_cols; k++)
                out[k] = (float)sum[k];
        }
    free(row);
    free(sum);
    return PANTRY_OK;
}

pn_array pn_outer_each(struct pn_graph *g, pn_array dy, pn_array x, pn_array route, int n_mat)
{
    if (!pn_op_want_rows(g, dy, "the left operand of outer_each"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, dy), *m = x == PN_NONE ? NULL : pn_node(g, x);
    if ((route != PN_NONE && !is_route(g, route, n)) || (m && (m->rows != n->rows || (m->n1 != 1 && m->n1 != n->n1))) ||
        n->n1 != (route == PN_NONE ? n_mat : pn_node(g, route)->n2))
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operands of outer_each do not fit");
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_OUTER_EACH,
                                            .rows = PN_ROWS_ONE,
                                            .n1 = n_mat * n->n2,
                                            .n2 = m ? m->n2 : 1,
                                            .n_src = 3,
                                            .src = {dy, x, route}});
}

pantry_status pn_ref_outer_each(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_node *n = pn_node(a->graph, a->node->src[0]);
    bool has_x = a->node->src[1] != PN_NONE, one = has_x && pn_node(a->graph, a->node->src[1])->n1 == 1;
    int64_t rows = pn_batch_n_rows(a->batch, n->rows);
    size_t n_in = (size_t)a->node->n2, total = (size_t)a->node->n1 * n_in;
    double *sum = calloc(total + 1, sizeof *sum);
    if (!sum)
        return pn_no_memory(err, "a gradient");
    for (int64_t r = 0; r < rows; r++)
        for (int j = 0; j < n->n1; j++) {
            const float *dy = pn_view_at(a->src[0], r, j), *x = has_x ? pn_view_at(a->src[1], r, one ? 0 : j) : NULL;
            double *to = sum + (size_t)matrix_of(a, 2, r, j) * (size_t)n->n2 * n_in;
            for (int i = 0; i < n->n2; i++)
                for (size_t k = 0; k < n_in; k++)
                    to[(size_t)i * n_in + k] += (double)dy[i] * (x ? (double)x[k] : 1);
        }
    for (size_t i = 0; i < total; i++)
        pn_view_at(a->out, 0, 0)[i] = (float)sum[i];
    free(sum);
    return PANTRY_OK;
}

void pn_back_matmul_each(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    if (pn_grad_wants(t, n.src[0])) {
        pn_array dx = pn_matmul_each_back(t->g, dy, n.src[1], n.src[2]);
        bool one = pn_node(t->g, n.src[0])->n1 == 1 && n.n1 > 1;
        pn_grad_add(t, n.src[0], one ? pn_each_sum(t->g, dx, PN_NONE) : dx);
    }
    if (pn_grad_wants(t, n.src[1]))
        pn_grad_add(t, n.src[1],
                    pn_outer_each(t->g, dy, n.src[0], n.src[2], (int)pn_node(t->g, n.src[1])->weight->n_mat));
}
