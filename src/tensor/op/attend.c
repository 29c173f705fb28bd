/* Attention of a batch over its own keys and values, and its gradient: see grad.h. Sequences begin in the batch, so
 * position i of a sequence is its i-th token. */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pn_array pn_attend(struct pn_graph *g, pn_array q, pn_array k, pn_array v, pn_array sinks, pn_array bias,
                   const struct pn_attention_params *p)
{
    if (!pn_op_want_rows(g, q, "the queries") || !pn_op_want_rows(g, k, "the keys") ||
        !pn_op_want_rows(g, v, "the values"))
        return PN_NONE;
    const struct pn_node *nq = pn_node(g, q), *nk = pn_node(g, k), *nv = pn_node(g, v);
    if (nq->rows != PN_ROWS_TOKENS || nk->rows != PN_ROWS_TOKENS || nv->rows != PN_ROWS_TOKENS || nk->n1 < 1 ||
        nq->n1 % nk->n1 || nv->n1 != nk->n1 || nq->n2 != nk->n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "queries of %d x %d do not fit keys of %d x %d and values of %d x %d",
                             nq->n1, nq->n2, nk->n1, nk->n2, nv->n1, nv->n2);
    if (sinks != PN_NONE && !pn_op_is_vector(g, sinks, nq->n1))
        return pn_graph_fail(g, PANTRY_FORMAT, "%s has %d values for %d heads", pn_op_what(g, sinks),
                             pn_node(g, sinks)->n2, nq->n1);
    struct pn_attention_params params = *p;
    params.n_head_kv = nk->n1;
    params.dim_k = nk->n2;
    params.dim_v = nv->n2;
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ATTEND,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = nq->n1,
                                            .n2 = nv->n2,
                                            .n_src = 5,
                                            .src = {q, k, v, sinks, bias},
                                            .attn = params});
}

pn_array pn_attend_back(struct pn_graph *g, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(g, y);
    const struct pn_attention_params *p = &n.attn;
    int kv = p->n_head_kv * (p->dim_k + p->dim_v), sinks = n.src[3] == PN_NONE ? 0 : n.n1;
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ATTEND_BACK,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = 1,
                                            .n2 = n.n1 * p->dim_k + kv + sinks,
                                            .n_src = 6,
                                            .src = {n.src[0], n.src[1], n.src[2], n.src[3], n.src[4], dy},
                                            .attn = *p});
}

void pn_back_attend(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    int n_q = n.n1 * n.attn.dim_k, n_k = n.attn.n_head_kv * n.attn.dim_k, n_v = n.attn.n_head_kv * n.attn.dim_v;
    pn_array all = pn_attend_back(t->g, y, dy);
    if (pn_grad_wants(t, n.src[4]))
        pn_graph_fail(t->g, PANTRY_UNSUPPORTED, "position biases cannot be trained");
    if (pn_grad_wants(t, n.src[0]))
        pn_grad_add(t, n.src[0], pn_slice(t->g, all, 0, n_q));
    if (pn_grad_wants(t, n.src[1]))
        pn_grad_add(t, n.src[1], pn_slice(t->g, all, n_q, n_k));
    if (pn_grad_wants(t, n.src[2]))
        pn_grad_add(t, n.src[2], pn_slice(t->g, all, n_q + n_k, n_v));
    if (pn_grad_wants(t, n.src[3]))
        pn_grad_add(t, n.src[3], pn_column_sum(t->g, pn_slice(t->g, all, n_q + n_k + n_v, n.n1), n.n1));
}

/* One query head of one sequence, and what its rows need. */
struct head {
    const struct pn_op_args *args;
    const struct pn_attention_params *p;
    const struct pn_batch_seq *seq;
    int head, head_kv;
    float slope, sink; /* sink: -INFINITY for none */
    struct pn_position_bias bias;
    double *scores; /* room for the sequence: scores, then probabilities */
    double *slopes; /* ... of the soft cap: d score / d (q.k * scale) */
};

/* The probabilities of query i over positions *first .. *last; returns that of the sink. */
static double find_probabilities(struct head *t, int64_t i, int64_t *first, int64_t *last)
{
    const struct pn_attention_params *p = t->p;
    const float *q = pn_view_at(t->args->src[0], t->seq->start + i, t->head);
    double highest = (double)t->sink, sum = 0;
    *first = pn_attention_first(p, i);
    *last = pn_attention_last_of(p, t->args->batch, t->seq, i);
    for (int64_t j = *first; j <= *last; j++) {
        const float *k = pn_view_at(t->args->src[1], t->seq->start + j, t->head_kv);
        double s = 0, cap = (double)p->softcap, slope = 1;
        for (int d = 0; d < p->dim_k; d++)
            s += (double)q[d] * (double)k[d];
        s *= (double)p->scale;
        if (cap > 0) {
            double level = tanh(s / cap);
            s = cap * level;
            slope = 1 - level * level;
        }
        s -= (double)t->slope * (double)(j < i ? i - j : j - i);
        if (t->bias.row)
            s += (double)pn_position_bias_at(t->bias, j - i);
        t->scores[j] = s;
        t->slopes[j] = slope;
        highest = s > highest ? s : highest;
    }
    double sink = t->sink > -INFINITY ? exp((double)t->sink - highest) : 0;
    sum = sink;
    for (int64_t j = *first; j <= *last; j++)
        sum += t->scores[j] = exp(t->scores[j] - highest);
    for (int64_t j = *first; j <= *last; j++)
        t->scores[j] /= sum;
    return sink / sum;
}

static int64_t longest_of(const struct pn_batch *b)
{
    int64_t longest = 0;
    for (int i = 0; i < b->n_seqs; i++)
        longest = b->seqs[i].n > longest ? b->seqs[i].n : longest;
    return longest;
}

static struct head head_of(const struct pn_op_args *a, const struct pn_batch_seq *seq, int h, int n_head,
                           const float *sinks, double *scores, int64_t longest)
{
    const struct pn_attention_params *p = &a->node->attn;
    return (struct head){.args = a,
                         .p = p,
                         .seq = seq,
                         .head = h,
                         .head_kv = h / (n_head / p->n_head_kv),
                         .slope = p->alibi > 0 ? pn_alibi_slope(p->alibi, n_head, h) : 0,
                         .sink = sinks ? sinks[h] : -INFINITY,
                         .bias = pn_position_bias_of(pn_op_weight(a, 4), h),
                         .scores = scores,
                         .slopes = scores + longest};
}

pantry_status pn_ref_attend(const struct pn_op_args *a, struct pantry_error *err)
{
    int64_t longest = longest_of(a->batch), first, last;
    const struct pn_weight *w = pn_op_weight(a, 3);
    float *sinks = w ? pn_ref_weight_row(w, 0) : NULL;
    double *scores = malloc((size_t)(2 * longest + a->node->n2) * sizeof *scores);
    pantry_status status = scores && (!w || sinks) ? PANTRY_OK : pn_no_memory(err, "attention scores");
    for (int64_t r = a->row0; r < a->row1 && !status; r++) {
        const struct pn_batch_seq *seq = pn_batch_seq_of(a->batch, r);
        double *sum = scores + 2 * longest;
        if (!seq || seq->past) {
            status = pn_fail(err, PANTRY_INTERNAL, "token %lld belongs to no sequence of the batch", (long long)r);
            break;
        }
        for (int h = 0; h < a->node->n1; h++) {
            struct head t = head_of(a, seq, h, a->node->n1, sinks, scores, longest);
            find_probabilities(&t, r - seq->start, &first, &last);
            memset(sum, 0, (size_t)a->node->n2 * sizeof *sum);
            for (int64_t j = first; j <= last; j++) {
                const float *v = pn_view_at(a->src[2], seq->start + j, t.head_kv);
                for (int d = 0; d < a->node->n2; d++)
                    sum[d] += scores[j] * (double)v[d];
            }
            for (int d = 0; d < a->node->n2; d++)
                pn_view_at(a->out, r, h)[d] = (float)sum[d];
        }
    }
    free(scores);
    free(sinks);
    return status;
}

/* Query i: adds to dk and dv, (tokens of the sequence, dim), and fills the query's own gradient. With p the
 * probabilities and D = sum p (dy.v): the score of key j gets p_j (dy.v_j - D), the sink -p_sink D. */
static void row_back(struct head *t, int64_t i, const float *dy, double *dk, double *dv, double *dq, float *dsink)
{
    const struct pn_op_args *a = t->args;
    const struct pn_attention_params *p = t->p;
    int64_t first, last;
    double sum = 0, sink = find_probabilities(t, i, &first, &last);
    const float *q = pn_view_at(a->src[0], t->seq->start + i, t->head);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = first; j <= last; j++) {
            const float *v = pn_view_at(a->src[2], t->seq->start + j, t->head_kv);
            double dp = 0;
            for (int d = 0; d < p->dim_v; d++)
                dp += (double)dy[d] * (double)v[d];
            if (pass == 0) {
                sum += t->scores[j] * dp;
                continue;
            }
            const float *k = pn_view_at(a->src[1], t->seq->start + j, t->head_kv);
            double ds = t->scores[j] * (dp - sum) * t->slopes[j] * (double)p->scale;
            for (int d = 0; d < p->dim_v; d++)
                dv[j * p->dim_v + d] += t->scores[j] * (double)dy[d];
            for (int d = 0; d < p->dim_k; d++) {
                dk[j * p->dim_k + d] += ds * (double)q[d];
                dq[d] += ds * (double)k[d];
            }
        }
    if (dsink)
        *dsink = (float)(-sink * sum);
}

static void sequence_back(const struct pn_op_args *a, const struct pn_batch_seq *seq, const float *sinks, double *room,
                          int64_t longest)
{
    const struct pn_attention_params *p = &a->node->attn;
    int n_head = pn_node(a->graph, a->node->src[0])->n1, group = n_head / p->n_head_kv;
    int at_k = n_head * p->dim_k, at_v = at_k + p->n_head_kv * p->dim_k, at_sink = at_v + p->n_head_kv * p->dim_v;
    double *dq = room + 2 * longest, *dk = dq + p->dim_k, *dv = dk + longest * p->dim_k;
    for (int kv = 0; kv < p->n_head_kv; kv++) {
        memset(dk, 0, (size_t)(longest * (p->dim_k + p->dim_v)) * sizeof *dk);
        for (int h = kv * group; h < (kv + 1) * group; h++) {
            struct head t = head_of(a, seq, h, n_head, sinks, room, longest);
            for (int64_t i = 0; i < seq->n; i++) {
                float *out = pn_view_at(a->out, seq->start + i, 0);
                memset(dq, 0, (size_t)p->dim_k * sizeof *dq);
                row_back(&t, i, pn_view_at(a->src[5], seq->start + i, h), dk, dv, dq, sinks ? out + at_sink + h : NULL);
                for (int d = 0; d < p->dim_k; d++)
                    out[h * p->dim_k + d] = (float)dq[d];
            }
        }
        for (int64_t j = 0; j < seq->n; j++) {
            float *out = pn_view_at(a->out, seq->start + j, 0);
            for (int d = 0; d < p->dim_k; d++)
                out[at_k + kv * p->dim_k + d] = (float)dk[j * p->dim_k + d];
            for (int d = 0; d < p->dim_v; d++)
                out[at_v + kv * p->dim_v + d] = (float)dv[j * p->dim_v + d];
        }
    }
}

pantry_status pn_ref_attend_back(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_attention_params *p = &a->node->attn;
    int64_t longest = longest_of(a->batch);
    const struct pn_weight *w = pn_op_weight(a, 3);
    float *sinks = w ? pn_ref_weight_row(w, 0) : NULL;
    double *room = malloc((size_t)(longest * (2 + p->dim_k + p->dim_v) + p->dim_k) * sizeof *room);
    pantry_status status = room && (!w || sinks) ? PANTRY_OK : pn_no_memory(err, "gradients of attention");
    for (int i = 0; i < a->batch->n_seqs && !status; i++)
        sequence_back(a, &a->batch->seqs[i], sinks, room, longest);
    free(room);
    free(sinks);
    return status;
}
