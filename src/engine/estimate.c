/* What a model needs, computed from its plans and pools without reading a weight: pantry_model_estimate. */
#include "engine/handle.h"

#include "engine/eye.h"
#include "engine/stages.h"

#include <stdlib.h>
#include <string.h>

/* Memory that the budget does not count. The program itself and its libraries; per token and merge of the
 * vocabulary, the tables of the tokenizer; and what a running request's sampler and its logits take. Measured
 * (tests/unit/test_estimate.c). */
enum { PROGRAM_BYTES = 9 << 20, TOKEN_BYTES = 120, MERGE_BYTES = 35, REQUEST_BYTES = 24 };

/* What the system maps with a page that is touched (Linux: fault_around_bytes). */
enum { MAPPED_AROUND = 64 << 10 };

/* Merges of the vocabulary; where the file does not list it, as many as tokens. */
static uint64_t count_merges(const struct pn_model *model)
{
    const struct pn_meta *merges = pn_weights_meta(model->weights, "tokenizer.ggml.merges");
    bool listed = pn_weights_meta(model->weights, "tokenizer.ggml.tokens") != NULL;
    return merges ? merges->n : listed ? 0 : (uint64_t)model->hp.n_vocab;
}

static uint64_t text_bytes(const struct pantry_model *m, const struct pantry_estimate_options *o, int n_sequences)
{
    const struct pn_model *model = m->runner->model;
    uint64_t n_vocab = (uint64_t)model->hp.n_vocab, bytes = PROGRAM_BYTES;
    if (m->tokenizer || o->vocabulary)
        bytes += n_vocab * TOKEN_BYTES + count_merges(model) * MERGE_BYTES;
    return bytes + n_vocab * REQUEST_BYTES * (uint64_t)n_sequences;
}

/* Is the weight an operand of anything but a lookup of rows? */
static bool is_multiplied(const struct pn_graph *g, pn_array weight)
{
    for (size_t i = 0; i < g->len; i++) {
        const struct pn_node *n = pn_node(g, (pn_array)i);
        for (int k = 0; k < n->n_src; k++)
            if (n->src[k] == weight && n->op != PN_OP_EMBED)
                return true;
    }
    return false;
}

/* Bytes of tables of embeddings that n_tokens cannot touch, since every token reads a row. */
static uint64_t untouched_bytes(const struct pn_graph *g, uint64_t n_tokens)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < g->len; i++) {
        const struct pn_node *n = pn_node(g, (pn_array)i);
        if (n->op != PN_OP_EMBED || n->n_src == 0 || n->src[0] == PN_NONE ||
            pn_node(g, n->src[0])->op != PN_OP_WEIGHT || is_multiplied(g, n->src[0]))
            continue;
        const struct pn_weight *w = pn_node(g, n->src[0])->weight;
        uint64_t all = pn_weight_bytes(w), row = w->n_rows > 0 ? all / (uint64_t)w->n_rows : all;
        uint64_t touched = n_tokens * (row + MAPPED_AROUND);
        sum += all > touched ? all - touched : 0;
    }
    return sum;
}

static int by_bytes(const void *a, const void *b)
{
    const struct pantry_type_bytes *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

/* Weights by storage type; what is left where there are more types than room is not listed. */
static void count_types(const struct pn_weights *w, struct pantry_estimate *e)
{
    struct pantry_type_bytes sums[PN_TYPE_COUNT] = {0};
    for (size_t i = 0; i < w->n_tensors; i++) {
        sums[w->tensors[i].type].type = pn_type_info(w->tensors[i].type)->name;
        sums[w->tensors[i].type].bytes += w->tensors[i].bytes;
    }
    qsort(sums, PN_TYPE_COUNT, sizeof *sums, by_bytes);
    while (e->n_types < PANTRY_ESTIMATE_TYPES && e->n_types < PN_TYPE_COUNT && sums[e->n_types].bytes) {
        e->types[e->n_types] = sums[e->n_types];
        e->n_types++;
    }
}

/* Multiplications of a product, per row of its result. */
static double multiplies(const struct pn_graph *g, const struct pn_node *n)
{
    for (int i = 0; i < n->n_src; i++)
        if (n->src[i] != PN_NONE && pn_node(g, n->src[i])->op == PN_OP_WEIGHT)
            return (double)n->n1 * (double)n->n2 * (double)pn_node(g, n->src[i])->weight->n_cols;
    return 0;
}

static void count_work(const struct pn_graph *g, struct pantry_estimate *e)
{
    for (size_t i = 0; i < g->len; i++) {
        const struct pn_node *n = pn_node(g, (pn_array)i);
        if ((n->op == PN_OP_MATMUL || n->op == PN_OP_MATMUL_EACH) && n->rows == PN_ROWS_TOKENS)
            e->token_multiplies += multiplies(g, n);
    }
}

/* Multiplications of attention in a prompt of n tokens: keys and values that its tokens see. */
static double attention_multiplies(const struct pn_graph *g, int n_tokens)
{
    double sum = 0;
    for (size_t i = 0; i < g->len; i++) {
        const struct pn_node *n = pn_node(g, (pn_array)i);
        if (n->op != PN_OP_ATTENTION)
            continue;
        double per_key = (double)pn_node(g, n->src[0])->n1 * (n->attn.dim_k + n->attn.dim_v), all = n_tokens;
        double window = n->attn.window > 0 && n->attn.window < n_tokens ? n->attn.window : all;
        sum += per_key * (window * (all - window) + window * (window + 1) / 2);
    }
    return sum;
}

static uint64_t kv_bytes(const struct pn_kv_pool *pool, const struct pantry_estimate_options *o, int n_context)
{
    int slice = o->n_batch ? o->n_batch : PN_DEFAULT_BATCH;
    return pn_kv_most_bytes(pool, n_context, slice) * (uint64_t)(o->n_sequences ? o->n_sequences : 1);
}

/* The largest context, in pages, whose memory fits beside the rest. */
static int largest_context(const struct pn_kv_pool *pool, const struct pantry_estimate_options *o,
                           const struct pantry_estimate *e, uint64_t untouched)
{
    uint64_t rest = e->total_bytes - e->kv_bytes + untouched;
    int low = 0, high = e->n_context_train;
    if (rest >= o->memory_bytes)
        return 0;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (kv_bytes(pool, o, middle) <= o->memory_bytes - rest)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Plans the steps that a prompt and an answer take. Their scratch stays in the budget like that of real steps. */
static pantry_status plan(struct pn_runner *r, int n_batch, uint64_t *bytes, struct pantry_error *err)
{
    const struct pn_model *model = r->model;
    enum pn_result result = model->results[PN_RESULT_LOGITS] != PN_NONE ? PN_RESULT_LOGITS : PN_RESULT_EMBEDDINGS;
    pantry_status status = pn_runner_prepare(r, result, n_batch, err);
    if (!status)
        status = pn_runner_prepare(r, result, 1, err);
    *bytes = 0;
    for (int i = 0; i < r->n_parts; i++)
        *bytes += r->parts[i].taken;
    return status;
}

static pantry_status estimate(struct pantry_model *m, const struct pantry_estimate_options *o,
                              struct pantry_estimate *e, struct pantry_error *err)
{
    struct pn_runner *r = m->runner;
    const struct pn_model *model = r->model;
    int n_sequences = o->n_sequences ? o->n_sequences : 1;
    struct pn_kv_pool *pool;
    e->n_context_train = model->hp.n_context_train;
    e->weight_bytes = model->size_bytes;
    e->step_bytes = model->step_bytes;
    e->n_params = model->n_params;
    e->text_bytes = text_bytes(m, o, n_sequences);
    count_types(model->weights, e);
    count_work(&model->graph, e);
    pantry_status status = PANTRY_OK;
    if (model->hp.causal && model->results[PN_RESULT_LOGITS] != PN_NONE)
        status = pn_context_length(r, o->n_context, &e->n_context, err);
    else
        e->n_context = o->n_context ? o->n_context : e->n_context_train;
    if (status || (status = pn_runner_pool(r, o->kv_type, &pool, err)))
        return status;
    int n_batch = o->n_batch ? o->n_batch : PN_DEFAULT_BATCH;
    if ((status = plan(r, n_batch < e->n_context ? n_batch : e->n_context, &e->scratch_bytes, err)))
        return status;
    e->kv_bytes = kv_bytes(pool, o, e->n_context);
    e->step_kv_bytes = pn_kv_step_bytes(pool, &model->graph, e->n_context);
    e->prompt_attention_multiplies = attention_multiplies(&model->graph, e->n_context);
    e->state_bytes = r->states ? pn_slots_bytes(&r->states->slots) * (uint64_t)(2 * n_sequences) : 0;
    if (m->eye && (status = pn_eye_need(m->eye, &e->vision_bytes, err)))
        return status;
    uint64_t untouched = untouched_bytes(&model->graph, (uint64_t)e->n_context * (uint64_t)n_sequences);
    e->weight_bytes -= untouched;
    e->total_bytes =
        e->weight_bytes + e->kv_bytes + e->state_bytes + e->scratch_bytes + e->text_bytes + e->vision_bytes;
    e->max_context = o->memory_bytes ? largest_context(pool, o, e, untouched) : e->n_context_train;
    return PANTRY_OK;
}

pantry_status pantry_model_estimate(pantry_model *model, const struct pantry_estimate_options *options,
                                    struct pantry_estimate *out, struct pantry_error *err)
{
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pantry_estimate own = {.size = sizeof own};
    pantry_status status = pn_check_result(out, "an estimate", err);
    if (status || (status = pn_take_options(&o, options, "options of an estimate", err)))
        return status;
    if (o.n_context < 0 || o.n_batch < 0 || o.n_batch > PN_MAX_BATCH || o.n_sequences < 0 || o.n_sequences > 4096)
        return pn_fail(err, PANTRY_INVALID,
                       "invalid options of an estimate (found %d tokens of context, %d per step, %d sequences)",
                       o.n_context, o.n_batch, o.n_sequences);
    struct pantry_error why;
    status = pn_tell(estimate(model, &o, &own, &why), &why, err);
    if (!status)
        pn_give_result(out, &own);
    return status;
}
