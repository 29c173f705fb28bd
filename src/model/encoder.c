/* Parts of embedding and ranking models besides the stack of layers: position biases, and heads after pooling. */
#include "model/blocks.h"

#include <math.h>
#include <stdlib.h>

/* ---- position biases: Raffel et al., T5, 2020 ---- */

enum { BIAS_REACH = 128 }; /* distances from here on share a bucket */

/* Short distances have their own buckets; longer ones share buckets of logarithmically growing size. Half of the
 * buckets are for keys after the query. */
static int bucket_of(int distance, int n_buckets)
{
    int half = n_buckets / 2, exact = half / 2, n = abs(distance), first = distance > 0 ? half : 0;
    if (n < exact)
        return first + n;
    float steps = logf((float)n / (float)exact) / logf((float)BIAS_REACH / (float)exact);
    int bucket = exact + (int)(steps * (float)(half - exact));
    return first + (bucket < half ? bucket : half - 1);
}

/* The file's (n_buckets, n_head) as (n_head, distances). */
static pn_array make_bias(struct pn_builder *b, int layer)
{
    int n_head = b->hp->layers[layer].n_head, n_buckets = b->hp->rel_buckets, n = 2 * BIAS_REACH + 1;
    pn_array leaf = pn_builder_weight(b, layer, "attn_rel_b");
    if (leaf == PN_NONE)
        return PN_NONE;
    const struct pn_weight *t = pn_node(b->graph, leaf)->weight;
    if (t->n_rows != n_buckets || t->n_cols != n_head)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s is %lld x %lld, but must be %d x %d", t->name,
                             (long long)t->n_rows, (long long)t->n_cols, n_buckets, n_head);
    float *table;
    const struct pn_weight *w = pn_weight_constant(b->arena, t->name, n_head, n, &table);
    float *row = pn_arena_array(b->arena, (size_t)n_head, sizeof *row);
    if (!w || !row)
        return pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for the graph");
    for (int i = 0; i < n; i++) {
        pn_weight_decode(t, 0, bucket_of(i - BIAS_REACH, n_buckets), 0, n_head, row);
        for (int h = 0; h < n_head; h++)
            table[h * n + i] = row[h];
    }
    return pn_weight_leaf(b->graph, w);
}

/* Layers without their own table share that of the first layer. */
pn_array pn_builder_position_bias(struct pn_builder *b, int layer)
{
    if (layer > 0 && pn_builder_has(b, layer, "attn_rel_b", "weight"))
        return make_bias(b, layer);
    if (b->position_bias == PN_NONE)
        b->position_bias = make_bias(b, 0);
    return b->position_bias;
}

/* ---- heads ---- */

/* x times "<name>.weight", plus its bias; x if there is no such tensor. */
static pn_array maybe_project(struct pn_builder *b, const char *name, pn_array x)
{
    return pn_builder_has(b, -1, name, "weight") ? pn_builder_project(b, -1, name, x, 0) : x;
}

pn_array pn_model_embedding(struct pn_builder *b, pn_array states) /* (outputs, n_embd) -> (sequences, n) */
{
    pn_array x = pn_mean_rows(b->graph, states);
    return maybe_project(b, "dense_3", maybe_project(b, "dense_2", x));
}

pn_array pn_model_scores(struct pn_builder *b, pn_array states) /* (outputs, n_embd) -> (sequences, labels) */
{
    bool first = pn_builder_has(b, -1, "cls", "weight"), last = pn_builder_has(b, -1, "cls.output", "weight");
    if (!first && !last)
        return PN_NONE;
    pn_array x = pn_mean_rows(b->graph, states);
    if (first)
        x = pn_act(b->graph, pn_builder_project(b, -1, "cls", x, 0), b->arch->rank.act);
    if (pn_builder_has(b, -1, "cls.norm", "weight"))
        x = pn_builder_norm(b, -1, "cls.norm", x);
    return maybe_project(b, "cls.output", x);
}
