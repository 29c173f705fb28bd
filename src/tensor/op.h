/* The operations: constructors with shape rules, and their plain references.
 *
 * The references are the definition of each operation: scalar, float32 arrays, double accumulators. The `ref` device
 * runs them in a loop; other devices use them where they have nothing faster. */
#ifndef PN_TENSOR_OP_H
#define PN_TENSOR_OP_H

#include "tensor/graph.h"

/* ---- building operations ---- */

/* `weight` is borrowed and must outlive the graph. */
pn_array pn_weight_leaf(struct pn_graph *g, const struct pn_weight *weight);
/* Rows of n1 x n2 values that the caller of a step passes; `name` is for errors, and borrowed. */
pn_array pn_input(struct pn_graph *g, const char *name, enum pn_rows rows, int n1, int n2);

/* (tokens) ids -> (tokens, n_cols): rows of a matrix. */
pn_array pn_embed(struct pn_graph *g, pn_array table);
/* Rows that the caller of a step computed, batch.rows, instead of those of x (tokens, 1, n): values offset .. offset +
 * n
 * - 1 of each. Tokens without a given row keep x's; with `add` the values are added to x. Without x (PN_NONE) such
 * tokens have zeros. */
pn_array pn_given(struct pn_graph *g, pn_array x, int offset, int n, bool add);
/* (tokens, ...) -> (outputs, ...): the requested rows. */
pn_array pn_output_rows(struct pn_graph *g, pn_array x);
/* (tokens, ...) -> (hidden states, ...): the rows with requested hidden states. */
pn_array pn_hidden_rows(struct pn_graph *g, pn_array x);
/* (outputs or hidden states, ...) -> (sequences, ...): the mean over the rows of each sequence, which has at least
 * one. */
pn_array pn_mean_rows(struct pn_graph *g, pn_array x);
/* (rows, n1, n2) -> (rows, n1, 1): the index of the largest value of each head, as a float. Of equal values the lowest
 * index; NaN is never the largest; -1 if all are NaN. n2 is at most PN_MAX_ARGMAX, so that floats represent every index
 * exactly. */
enum { PN_MAX_ARGMAX = 1 << 24 };
pn_array pn_argmax(struct pn_graph *g, pn_array x);

/* x (rows, n1, n_cols), weight (n_rows, n_cols) -> (rows, 1, n_rows); x's heads are read as one row. */
pn_array pn_matmul(struct pn_graph *g, pn_array x, pn_array weight);

/* Element-wise; b has the shape of a, or is a weight vector of n2 values (repeated over rows and n1) or of n1 * n2. */
pn_array pn_add(struct pn_graph *g, pn_array a, pn_array b);
pn_array pn_mul(struct pn_graph *g, pn_array a, pn_array b);
/* Each head of x times its own number: x (rows, n1, n2), by (rows, n1, 1) or (rows, 1, n1). */
pn_array pn_mul_heads(struct pn_graph *g, pn_array x, pn_array by);
pn_array pn_scale(struct pn_graph *g, pn_array x, float factor, float offset); /* x * factor + offset */
pn_array pn_softcap(struct pn_graph *g, pn_array x, float cap);                /* cap * tanh(x / cap) */
pn_array pn_act(struct pn_graph *g, pn_array x, enum pn_act_fn fn);

pn_array pn_clamp(struct pn_graph *g, pn_array x, float low, float high);
/* a (rows, n1, n), b (rows, n1 or 1, m) -> (rows, n1, n + m); one head of b follows each of a. */
pn_array pn_concat(struct pn_graph *g, pn_array a, pn_array b);

/* Over n2: x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich, 2019). weight (n2) or (n1 * n2) may be PN_NONE. */
pn_array pn_rms_norm(struct pn_graph *g, pn_array x, pn_array weight, float eps);
/* Over n2: (x - mean) / sqrt(variance + eps) * weight + bias (Ba et al., 2016). */
pn_array pn_layer_norm(struct pn_graph *g, pn_array x, pn_array weight, pn_array bias, float eps);

/* Over n2: max(x - (mean + by * deviation), 0), mean and deviation of all n2 values. Keeps the largest values of a row
 * without sorting them (Gemma 3n's activation sparsity). */
pn_array pn_cutoff(struct pn_graph *g, pn_array x, float by);

/* ---- several streams in one array (op/mix.c) ---- */

/* Each head of x (rows, n1, n2) stretched to the length (2-norm) of the same head of `like`, (rows, n1 or 1, n2). */
pn_array pn_match(struct pn_graph *g, pn_array x, pn_array like);
/* A small matrix product in each row: by (rows, n, m), x (rows, m, n2) -> (rows, n, n2). */
pn_array pn_mix(struct pn_graph *g, pn_array by, pn_array x);

/* The same values as (rows, n1, n2); n1 * n2 must be x's. */
pn_array pn_reshape(struct pn_graph *g, pn_array x, int n1, int n2);
/* The `n2` values from `offset` on of each innermost row of x: (rows, n1, n2). A view. */
pn_array pn_slice(struct pn_graph *g, pn_array x, int offset, int n2);

/* cos and sin of position * inv_freq[i], times magnitude: (tokens, 1, n_rot), n_rot/2 cosines, then the sines. inv_freq
 * (n_rot / 2) is copied and becomes a constant of the graph. One table serves all layers with equal rotations.
 * inv_freq_long, or NULL, is for sequences with a context longer than n_short. `split` chooses which of a token's
 * positions rotates a pair; NULL: always the first. */
pn_array pn_rope_table(struct pn_graph *g, const float *inv_freq, const float *inv_freq_long, int n_short, int n_rot,
                       float magnitude, const struct pn_rope_split *split);
/* Rotates the first n_rot values of each head of x (tokens, heads, head_dim). */
pn_array pn_rope(struct pn_graph *g, pn_array x, pn_array table, enum pn_rope_kind kind);

/* x * (1 + scale * ln(1 + floor((position + offset) / floor))): keeps attention sharp over long contexts (Llama 4). */
pn_array pn_pos_scale(struct pn_graph *g, pn_array x, float scale, float floor, float offset);

/* (tokens) positions -> (tokens, n_cols): rows of a matrix of learned positions. */
pn_array pn_pos_embed(struct pn_graph *g, pn_array table);

/* (tokens) kinds -> (tokens, n_cols): rows of a matrix; a matrix with one row serves all tokens. */
pn_array pn_kind_embed(struct pn_graph *g, pn_array table);

/* ---- experts (op/experts.c) ---- */

/* Chooses experts by their logits (rows, 1, n_expert): (rows, 2, n_used), the weights of the chosen experts, then their
 * numbers. `bias` (n_expert) or PN_NONE is added for choosing only. */
pn_array pn_route(struct pn_graph *g, pn_array logits, pn_array bias, const struct pn_route_params *params);
/* x (rows, n1 or 1, n), a stack of matrices (n_mat, n_out, n) -> (rows, n1, n_out): slot j of x times the matrix of the
 * expert in slot j of the route; without a route (PN_NONE), times matrix j. */
pn_array pn_matmul_each(struct pn_graph *g, pn_array x, pn_array stack, pn_array route);
/* Multiplies slot j of x by the number, by (n_expert), of the expert in slot j; without `by`, by the routing weight. */
pn_array pn_each_scale(struct pn_graph *g, pn_array x, pn_array route, pn_array by);
/* Adds the row, bias (n_expert, n2), of the expert in slot j to slot j of x. */
pn_array pn_each_bias(struct pn_graph *g, pn_array x, pn_array route, pn_array bias);
/* (rows, n1, n) -> (rows, 1, n): the sum over slots, with the route's weights or (PN_NONE) without. */
pn_array pn_each_sum(struct pn_graph *g, pn_array x, pn_array route);

/* Writes k (tokens, n_head_kv, dim_k) and v (tokens, n_head_kv, dim_v) into the cache of params->cache; without v
 * (PN_NONE) where params->value_in_key. The result has no values; it only orders the attention after the write. */
pn_array pn_cache_write(struct pn_graph *g, pn_array k, pn_array v, const struct pn_attention_params *params);
/* softmax(q.k * scale) v over all positions of the sequence that a token sees, including its own: q (tokens, n_head,
 * dim_k) -> (tokens, n_head, dim_v). Query head h reads key/value head h / (n_head / n_head_kv). sinks (n_head), or
 * PN_NONE: one score per head that takes part in the softmax and has no value (Xiao et al., 2023; learned in gpt-oss).
 */
pn_array pn_attention(struct pn_graph *g, pn_array q, pn_array written, pn_array sinks,
                      const struct pn_attention_params *params);

/* Attention with a bias that is added to the scores: a table (n_head, 2 r + 1) in float32, with column r + (key's
 * position - query's); distances beyond r count as r (Raffel et al., T5, 2020). */
pn_array pn_attention_bias(struct pn_graph *g, pn_array q, pn_array written, pn_array bias,
                           const struct pn_attention_params *params);

/* ---- recurrences: state of each sequence, `offset` floats into its slot ---- */

/* Causal convolution, each channel with its own kernel: x (tokens, 1, channels), weight vector (channels * k) -> x's
 * shape. y[t][c] = sum_i w[c][i] x[t - (k - 1) + i][c]. State: the last inputs, (k - 1, channels), oldest first. */
pn_array pn_conv(struct pn_graph *g, pn_array x, pn_array weight, size_t offset);
/* Selective state space (Gu & Dao, Mamba, 2023; Dao & Gu, Mamba 2, 2024): x (tokens, heads, dim), dt (tokens, 1,
 * heads), b and c (tokens, groups, n) -> (tokens, heads, dim). Head h reads group h / (heads / groups); s = exp(dt a) s
 * + dt x b, y = s.c + d x. Weight vectors a (heads, or heads * n), d (heads). State: (heads, dim, n). */
pn_array pn_ssm_scan(struct pn_graph *g, pn_array x, pn_array dt, pn_array b, pn_array c, pn_array a, pn_array d,
                     size_t offset);
/* Gated delta rule (Yang et al., Gated Delta Networks, 2024; with a gate for each key channel: Kimi Linear, 2025):
 * q, k (tokens, heads_k, dim_k), v (tokens, heads, dim_v), gate (tokens, 1, heads) or (tokens, heads, dim_k), beta
 * (tokens, 1, heads), weight vector a (heads) -> (tokens, heads, dim_v). For each head:
 * s = s exp(a gate), s += (beta (v - s k)) k', y = s q * scale. State: (heads, dim_v, dim_k). */
pn_array pn_delta(struct pn_graph *g, pn_array q, pn_array k, pn_array v, pn_array gate, pn_array beta, pn_array a,
                  const struct pn_recurrent_params *params);

/* ---- plain references ---- */

/* The place of an array's values while a plan runs. */
struct pn_strided {
    float *data;
    int64_t stride0, stride1; /* floats between rows, between heads */
};

/* Value 0 of a head of a row. */
static inline float *pn_view_at(struct pn_strided v, int64_t row, int64_t head)
{
    return v.data + row * v.stride0 + head * v.stride1;
}

struct pn_op_args {
    const struct pn_graph *graph;
    const struct pn_node *node;
    struct pn_strided out;
    struct pn_strided src[PN_MAX_SRC]; /* of operands that are not weights */
    int64_t row0, row1;                /* the rows to compute */
    const struct pn_batch *batch;
};

typedef pantry_status pn_op_fn(const struct pn_op_args *args, struct pantry_error *err);

/* The plain reference of an operation; NULL for leaves and views. */
pn_op_fn *pn_op_reference(enum pn_op op);

/* Weight operand i of a node, NULL if it is absent or an activation. */
static inline const struct pn_weight *pn_op_weight(const struct pn_op_args *a, int i)
{
    if (i >= a->node->n_src || a->node->src[i] == PN_NONE)
        return NULL;
    const struct pn_node *n = pn_node(a->graph, a->node->src[i]);
    return n->op == PN_OP_WEIGHT ? n->weight : NULL;
}

/* Chooses experts for one row: n_used weights and numbers. `bias` may be NULL. */
void pn_route_row(const struct pn_route_params *params, const float *logits, const float *bias, float *weights,
                  float *numbers);

/* The first and last position that a token at `position` sees in a sequence of `end` positions. */
static inline int64_t pn_attention_first(const struct pn_attention_params *p, int64_t position)
{
    if (p->window <= 0 || p->window_kind == PN_WINDOW_LISTED)
        return 0;
    int64_t first = p->window_kind == PN_WINDOW_CHUNKED     ? position / p->window * p->window
                    : p->window_kind == PN_WINDOW_SYMMETRIC ? position - p->window / 2
                                                            : position - p->window + 1;
    return first < 0 ? 0 : first;
}

static inline int64_t pn_attention_last(const struct pn_attention_params *p, int64_t position, int64_t end)
{
    if (p->causal)
        return position;
    if (p->window > 0 && p->window_kind == PN_WINDOW_SYMMETRIC && position + p->window / 2 < end)
        return position + p->window / 2;
    return end - 1;
}

/* The same for the i-th new token of a sequence. */
static inline int64_t pn_attention_first_of(const struct pn_attention_params *p, const struct pn_batch *b,
                                            const struct pn_batch_seq *seq, int64_t i)
{
    int64_t first = pn_attention_first(p, seq->past + i), lead = seq->lead < seq->past + i ? seq->lead : seq->past + i;
    if (p->shown)
        return b->first ? b->first[seq->start + i] : seq->past + i;
    if (lead > 0)
        return first > lead ? first : lead;
    if (!b->first || p->window <= 0 || (p->window_kind != PN_WINDOW_LISTED && !p->causal))
        return first;
    int64_t block = b->first[seq->start + i];
    return p->window_kind == PN_WINDOW_LISTED || block < first ? block : first;
}

static inline int64_t pn_attention_last_of(const struct pn_attention_params *p, const struct pn_batch *b,
                                           const struct pn_batch_seq *seq, int64_t i)
{
    if (p->shown)
        return b->last ? b->last[seq->start + i] : seq->past + i;
    return b->last && seq->lead == 0 && (p->causal || (p->window > 0 && p->window_kind == PN_WINDOW_LISTED))
               ? b->last[seq->start + i]
               : pn_attention_last(p, seq->past + i, (int64_t)seq->past + seq->n);
}

/* The decrease of head h's scores per position of distance: Press et al., ALiBi, 2021. */
float pn_alibi_slope(float max_bias, int n_head, int h);

/* A bias table's row of one head, indexed by a distance between -reach and reach; NULL for no table. */
struct pn_position_bias {
    const float *row;
    int64_t reach;
};

static inline struct pn_position_bias pn_position_bias_of(const struct pn_weight *table, int head)
{
    if (!table)
        return (struct pn_position_bias){NULL, 0};
    int64_t reach = table->n_cols / 2;
    return (struct pn_position_bias){(const float *)pn_weight_at(table, PN_PLANE_VALUES, 0, head) + reach, reach};
}

static inline float pn_position_bias_at(struct pn_position_bias b, int64_t distance)
{
    return b.row[distance < -b.reach ? -b.reach : distance > b.reach ? b.reach : distance];
}

/* Bytes of one key or value row of `dim` values in a cache. */
static inline size_t pn_cache_row_bytes(pn_type type, int dim)
{
    return pn_type_row_bytes(type, (size_t)dim);
}

#endif
