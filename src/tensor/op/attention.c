/* Attention over a paged cache: Vaswani et al., 2017, with grouped heads (Ainslie et al., GQA, 2023). */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>

pn_array pn_cache_write(struct pn_graph *g, pn_array k, pn_array v, const struct pn_attention_params *p)
{
    if (!pn_op_want_rows(g, k, "the keys") || (!p->value_in_key && !pn_op_want_rows(g, v, "the values")))
        return PN_NONE;
    const struct pn_node *nk = pn_node(g, k), *nv = p->value_in_key ? nk : pn_node(g, v);
    bool fits = nk->n1 == p->n_head_kv && nv->n1 == p->n_head_kv && nk->n2 == p->dim_k;
    if (!fits || (p->value_in_key ? v != PN_NONE || p->dim_v > p->dim_k : nv->n2 != p->dim_v))
        return pn_graph_fail(g, PANTRY_FORMAT, "keys of %d x %d and values of %d x %d do not fit %d heads of %d and %d",
                             nk->n1, nk->n2, nv->n1, nv->n2, p->n_head_kv, p->dim_k, p->dim_v);
    return pn_graph_add(
        g,
        (struct pn_node){
            .op = PN_OP_CACHE_WRITE, .rows = PN_ROWS_TOKENS, .n1 = 1, .n2 = 0, .n_src = 2, .src = {k, v}, .attn = *p});
}

static pn_array attention(struct pn_graph *g, pn_array q, pn_array written, pn_array sinks, pn_array bias,
                          const struct pn_attention_params *p)
{
    if (written == PN_NONE || !pn_op_want_rows(g, q, "the queries"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, q);
    if (p->n_head_kv < 1 || n->n1 % p->n_head_kv || n->n2 != p->dim_k)
        return pn_graph_fail(g, PANTRY_FORMAT, "queries of %d x %d do not fit %d key heads of %d", n->n1, n->n2,
                             p->n_head_kv, p->dim_k);
    if (sinks != PN_NONE && !pn_op_is_vector(g, sinks, n->n1))
        return pn_graph_fail(g, PANTRY_FORMAT, "%s has %d values for %d heads", pn_op_what(g, sinks),
                             pn_node(g, sinks)->n2, n->n1);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ATTENTION,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = n->n1,
                                            .n2 = p->dim_v,
                                            .n_src = 4,
                                            .src = {q, written, sinks, bias},
                                            .attn = *p});
}

pn_array pn_attention(struct pn_graph *g, pn_array q, pn_array written, pn_array sinks,
                      const struct pn_attention_params *p)
{
    return attention(g, q, written, sinks, PN_NONE, p);
}

pn_array pn_attention_bias(struct pn_graph *g, pn_array q, pn_array written, pn_array bias,
                           const struct pn_attention_params *p)
{
    if (bias == PN_NONE || q == PN_NONE)
        return PN_NONE;
    const struct pn_weight *w = pn_node(g, bias)->weight;
    if (w->type != PN_TYPE_F32 || w->n_rows != pn_node(g, q)->n1 || w->n_cols % 2 == 0)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s is not a table of positions for %d heads", w->name,
                             pn_node(g, q)->n1);
    return attention(g, q, written, PN_NONE, bias, p);
}

float pn_alibi_slope(float max_bias, int n_head, int h)
{
    int even = 1; /* the largest power of two up to n_head */
    while (even * 2 <= n_head)
        even *= 2;
    float step = max_bias / (float)even;
    return h < even ? exp2f(-step * (float)(h + 1)) : exp2f(-step / 2 * (float)(2 * (h - even) + 1));
}

static size_t row_in_page(int head, int64_t position)
{
    return (size_t)head * PN_PAGE_TOKENS + (size_t)(position % PN_PAGE_TOKENS);
}

static unsigned char *key_row(const struct pn_batch *b, const struct pn_cache *c, const struct pn_batch_seq *seq,
                              int head, int64_t position)
{
    return c->k + pn_batch_page(b, seq, c->group, position) * c->k_page + row_in_page(head, position) * c->k_row;
}

static unsigned char *value_row(const struct pn_batch *b, const struct pn_cache *c, const struct pn_batch_seq *seq,
                                int head, int64_t position)
{
    return c->v + pn_batch_page(b, seq, c->group, position) * c->v_page + row_in_page(head, position) * c->v_row;
}

pantry_status pn_ref_cache_write(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_attention_params *p = &a->node->attn;
    const struct pn_cache *c = &a->batch->caches[p->cache];
    pn_encode_fn *encode = pn_type_info(c->type)->encode;
    for (int64_t r = a->row0; r < a->row1; r++) {
        const struct pn_batch_seq *seq = pn_batch_seq_of(a->batch, r);
        if (!seq)
            return pn_fail(err, PANTRY_INTERNAL, "token %lld belongs to no sequence", (long long)r);
        int64_t position = seq->past + (r - seq->start);
        for (int h = 0; h < p->n_head_kv; h++) {
            encode(pn_view_at(a->src[0], r, h), key_row(a->batch, c, seq, h, position), (size_t)p->dim_k);
            if (!p->value_in_key)
                encode(pn_view_at(a->src[1], r, h), value_row(a->batch, c, seq, h, position), (size_t)p->dim_v);
        }
    }
    return PANTRY_OK;
}

/* The operands of `attend`: one query head of one token. */
struct head {
    const struct pn_attention_params *params;
    const struct pn_batch *batch;
    const struct pn_cache *cache;
    const struct pn_batch_seq *seq;
    int head_kv;
    int64_t position, first, last; /* the token's own position; the positions that it sees */
    float slope, sink;             /* sink: -INFINITY for none */
    struct pn_position_bias bias;
    double *scores; /* room for all positions */
    float *row;     /* ... for one key */
};

static void attend(const struct head *t, const float *q, float *out)
{
    const struct pn_attention_params *p = t->params;
    const struct pn_cache *c = t->cache;
    double highest = (double)t->sink, sum = 0;
    for (int64_t i = t->first; i <= t->last; i++) {
        pn_type_decode_row(c->type, key_row(t->batch, c, t->seq, t->head_kv, i), t->row, (size_t)p->dim_k);
        double s = 0;
        for (int j = 0; j < p->dim_k; j++)
            s += (double)q[j] * (double)t->row[j];
        s *= (double)p->scale;
        if (p->softcap > 0)
            s = (double)p->softcap * tanh(s / (double)p->softcap);
        s -= (double)t->slope * (double)(i < t->position ? t->position - i : i - t->position);
        if (t->bias.row)
            s += (double)pn_position_bias_at(t->bias, i - t->position);
        t->scores[i - t->first] = s;
        highest = s > highest ? s : highest;
    }
    for (int j = 0; j < p->dim_v; j++)
        out[j] = 0;
    sum = t->sink > -INFINITY ? exp((double)t->sink - highest) : 0;
    for (int64_t i = t->first; i <= t->last; i++)
        sum += t->scores[i - t->first] = exp(t->scores[i - t->first] - highest);
    for (int64_t i = t->first; i <= t->last; i++) {
        pn_type_decode_row(c->type, value_row(t->batch, c, t->seq, t->head_kv, i), t->row, (size_t)p->dim_v);
        for (int j = 0; j < p->dim_v; j++)
            out[j] += (float)(t->scores[i - t->first] / sum) * t->row[j];
    }
}

pantry_status pn_ref_attention(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_attention_params *p = &a->node->attn;
    const struct pn_cache *c = &a->batch->caches[p->cache];
    int group = a->node->n1 / p->n_head_kv;
    int64_t longest = 0;
    for (int i = 0; i < a->batch->n_seqs; i++) {
        int64_t end = (int64_t)a->batch->seqs[i].past + a->batch->seqs[i].n;
        longest = end > longest ? end : longest;
    }
    pantry_status status = PANTRY_OK;
    double *scores = malloc((size_t)longest * sizeof *scores);
    float *row = malloc((size_t)(p->dim_k > p->dim_v ? p->dim_k : p->dim_v) * sizeof *row);
    const struct pn_weight *w = pn_op_weight(a, 2);
    float *sinks = w ? pn_ref_weight_row(w, 0) : NULL;
    if (!scores || !row || (w && !sinks)) {
        status = pn_no_memory(err, "attention scores");
        goto done;
    }
    for (int64_t r = a->row0; r < a->row1; r++) {
        const struct pn_batch_seq *seq = pn_batch_seq_of(a->batch, r);
        if (!seq) {
            status = pn_fail(err, PANTRY_INTERNAL, "token %lld belongs to no sequence", (long long)r);
            goto done;
        }
        int64_t position = seq->past + (r - seq->start);
        struct head t = {.params = p,
                         .batch = a->batch,
                         .cache = c,
                         .seq = seq,
                         .position = position,
                         .first = pn_attention_first_of(p, a->batch, seq, r - seq->start),
                         .last = pn_attention_last_of(p, a->batch, seq, r - seq->start),
                         .scores = scores,
                         .row = row};
        for (int h = 0; h < a->node->n1; h++) {
            t.head_kv = h / group;
            t.slope = p->alibi > 0 ? pn_alibi_slope(p->alibi, a->node->n1, h) : 0;
            t.sink = sinks ? sinks[h] : -INFINITY;
            t.bias = pn_position_bias_of(pn_op_weight(a, 3), h);
            attend(&t, pn_view_at(a->src[0], r, h), pn_view_at(a->out, r, h));
        }
    }
done:
    free(scores);
    free(row);
    free(sinks);
    return status;
}
