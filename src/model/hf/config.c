/* Metadata from config.json: see hf.h. */
#include "model/hf/hf.h"

#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

const json_t *pn_hf_get(const struct pn_hf *hf, const char *names)
{
    for (size_t n; *names; names += n + (names[n] == ' ')) {
        char name[64];
        n = strcspn(names, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        const json_t *value = json_object_get(hf->config, name);
        if (value && !json_is_null(value))
            return value;
    }
    return NULL;
}

int64_t pn_hf_int(struct pn_hf *hf, const char *names, int64_t fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    if (!value)
        return fallback;
    if (json_is_integer(value))
        return json_integer_value(value);
    double real = json_real_value(value);
    if (json_is_real(value) && real > -9e15 && real < 9e15 && real == (double)(int64_t)real)
        return (int64_t)real;
    pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %s is not an integer", names);
    return fallback;
}

double pn_hf_float(struct pn_hf *hf, const char *names, double fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    if (!value)
        return fallback;
    if (json_is_number(value))
        return json_number_value(value);
    pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %s is not a number", names);
    return fallback;
}

bool pn_hf_bool(const struct pn_hf *hf, const char *names, bool fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int64_t pn_hf_layer_int(struct pn_hf *hf, const char *name, int layer, int64_t fallback)
{
    char number[16];
    snprintf(number, sizeof number, "%d", layer);
    const json_t *own = json_object_get(json_object_get(pn_hf_get(hf, "per_layer_config"), number), name);
    return json_is_integer(own) ? json_integer_value(own) : pn_hf_int(hf, name, fallback);
}

const char *pn_hf_layer_type(const struct pn_hf *hf, const char *name, int i)
{
    const char *type = json_string_value(json_array_get(pn_hf_get(hf, name), (size_t)i));
    return type ? type : "";
}

/* ---- writing ---- */

static struct pn_meta *put(struct pn_hf *hf, const char *key)
{
    char full[160];
    bool general = strncmp(key, "general.", 8) == 0 || strncmp(key, "xielu.", 6) == 0;
    int n = snprintf(full, sizeof full, "%s%s%s", general ? "" : hf->arch->name, general ? "" : ".", key);
    for (size_t i = 0; i < hf->meta.len; i++)
        if (strcmp(hf->meta.data[i].key, full) == 0) {
            hf->meta.data[i] = (struct pn_meta){.key = hf->meta.data[i].key};
            return &hf->meta.data[i];
        }
    struct pn_meta meta = {.key = pn_arena_copy(&hf->w->arena, full, (size_t)n)};
    if (meta.key && pn_vec_push(&hf->meta, meta))
        return &hf->meta.data[hf->meta.len - 1];
    pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
    return NULL;
}

void pn_hf_put_int(struct pn_hf *hf, const char *key, int64_t value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_INT;
    m->width = 8;
    m->i = value;
}

void pn_hf_put_float(struct pn_hf *hf, const char *key, double value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_FLOAT;
    m->width = 8;
    m->f = value;
}

void pn_hf_put_bool(struct pn_hf *hf, const char *key, bool value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_BOOL;
    m->width = 1;
    m->b = value;
}

void pn_hf_put_str(struct pn_hf *hf, const char *key, const char *value)
{
    struct pn_meta *m = put(hf, key);
    const char *copy = pn_arena_copy(&hf->w->arena, value, strlen(value));
    if (!m || !copy) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
        return;
    }
    m->type = PN_META_STRING;
    m->s = (struct pn_str){copy, strlen(value)};
}

/* An array of n items, whose bytes the caller fills in, low ones first. */
static unsigned char *put_array(struct pn_hf *hf, const char *key, enum pn_meta_type item, unsigned width, size_t n)
{
    struct pn_meta *m = put(hf, key);
    unsigned char *raw = pn_arena_array(&hf->w->arena, n + 1, width);
    if (!m || !raw) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
        return NULL;
    }
    m->type = PN_META_ARRAY;
    m->item = item;
    m->width = width;
    m->n = n;
    m->raw = raw;
    return raw;
}

void pn_hf_put_ints(struct pn_hf *hf, const char *key, const int64_t *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_INT, 8, n);
    for (size_t i = 0; raw && i < n; i++)
        for (int b = 0; b < 8; b++)
            raw[8 * i + (size_t)b] = (unsigned char)((uint64_t)values[i] >> 8 * b);
}

void pn_hf_put_floats(struct pn_hf *hf, const char *key, const float *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_FLOAT, 4, n);
    for (size_t i = 0; raw && i < n; i++)
        for (int b = 0; b < 4; b++)
            raw[4 * i + (size_t)b] = (unsigned char)(pn_bits_of_float(values[i]) >> 8 * b);
}

void pn_hf_put_bools(struct pn_hf *hf, const char *key, const bool *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_BOOL, 1, n);
    for (size_t i = 0; raw && i < n; i++)
        raw[i] = values[i];
}

/* ---- what most configurations have ---- */

/* Pairs "key=name" and "key~name" of a row. */
static void put_listed(struct pn_hf *hf, const char *pairs)
{
    for (size_t n; pairs && *pairs; pairs += n + (pairs[n] == ' ')) {
        char pair[128];
        n = strcspn(pairs, " ");
        snprintf(pair, sizeof pair, "%.*s", (int)n, pairs);
        size_t at = strcspn(pair, "=~");
        bool real = pair[at] == '~';
        pair[at] = '\0';
        const char *name = pair + at + 1;
        const json_t *value = pn_hf_get(hf, name);
        if (json_is_boolean(value))
            pn_hf_put_bool(hf, pair, json_is_true(value));
        else if (value && real)
            pn_hf_put_float(hf, pair, pn_hf_float(hf, name, 0));
        else if (value)
            pn_hf_put_int(hf, pair, pn_hf_int(hf, name, 0));
    }
}

static const char usual[] =
    "block_count=num_hidden_layers block_count=n_layer block_count=n_layers block_count=num_layers "
    "context_length=max_position_embeddings context_length=n_positions context_length=max_seq_len "
    "context_length=seq_length context_length=max_sequence_length "
    "embedding_length=hidden_size embedding_length=n_embd embedding_length=d_model "
    "feed_forward_length=intermediate_size feed_forward_length=n_inner feed_forward_length=ffn_dim "
    "attention.head_count=num_attention_heads attention.head_count=n_head attention.head_count=n_heads "
    "attention.head_count_kv=num_attention_heads attention.head_count_kv=n_head attention.head_count_kv=n_heads "
    "attention.head_count_kv=num_key_value_heads "
    "attention.key_length=head_dim attention.value_length=head_dim "
    "attn_logit_softcapping~attn_logit_softcapping final_logit_softcapping~final_logit_softcapping "
    "expert_count=num_local_experts expert_count=num_experts expert_count=n_routed_experts "
    "expert_count=moe_num_experts "
    "expert_used_count=num_experts_per_tok expert_used_count=moe_k expert_used_count=moe_topk "
    "expert_used_count=top_k_experts expert_used_count=num_experts_per_token "
    "expert_feed_forward_length=moe_intermediate_size expert_shared_count=n_shared_experts "
    "expert_weights_norm=norm_topk_prob expert_weights_scale~routed_scaling_factor "
    "expert_group_count=n_group expert_group_used_count=topk_group "
    "leading_dense_block_count=first_k_dense_replace leading_dense_block_count=num_dense_layers "
    "full_attention_interval=full_attention_interval";

/* The activation function, by transformers' names. */
static void read_act(struct pn_hf *hf)
{
    static const struct {
        const char *name;
        enum pn_act_fn fn;
    } known[] = {{"silu", PN_ACT_FN_SILU},
                 {"swish", PN_ACT_FN_SILU},
                 {"gelu", PN_ACT_FN_GELU},
                 {"gelu_python", PN_ACT_FN_GELU},
                 {"gelu_new", PN_ACT_FN_GELU_TANH},
                 {"gelu_fast", PN_ACT_FN_GELU_TANH},
                 {"gelu_pytorch_tanh", PN_ACT_FN_GELU_TANH},
                 {"quick_gelu", PN_ACT_FN_GELU_QUICK},
                 {"relu", PN_ACT_FN_RELU},
                 {"relu2", PN_ACT_FN_RELU2}};
    const char *name = json_string_value(
        pn_hf_get(hf, "hidden_activation hidden_act activation_function activation mlp_hidden_act ffn_act_fn"));
    if (!name || (hf->row->flags & PN_HF_FIXED_ACT))
        return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            hf->arch->ffn.act = known[i].fn;
            return;
        }
    pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: the activation function \"%.40s\" is not supported", name);
}

static void read_gates(struct pn_hf *hf)
{
    const char *name = json_string_value(pn_hf_get(hf, "scoring_func score_func scoring_function"));
    bool sigmoid = name ? strcmp(name, "sigmoid") == 0 : hf->row->flags & PN_HF_SIGMOID;
    if (name || (hf->row->flags & (PN_HF_SIGMOID | PN_HF_SOFTMAX)))
        pn_hf_put_int(hf, "expert_gating_func", sigmoid ? 2 : 1);
}

static void read_epsilons(struct pn_hf *hf)
{
    static const char rms[] = "rms_norm_eps norm_eps layer_norm_epsilon layernorm_epsilon layer_norm_eps norm_epsilon "
                              "layer_norm_rms_eps block_norm_eps",
                      layer[] = "layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps layernorm_epsilon "
                                "rms_norm_eps";
    pn_hf_put_float(hf, "attention.layer_norm_rms_epsilon", pn_hf_float(hf, rms, 1e-5));
    pn_hf_put_float(hf, "attention.layer_norm_epsilon", pn_hf_float(hf, layer, 1e-5));
}

void pn_hf_read_config(struct pn_hf *hf)
{
    pn_hf_put_str(hf, "general.architecture", hf->arch->name);
    put_listed(hf, usual);
    if (!pn_hf_get(hf, "max_position_embeddings n_positions max_seq_len seq_length max_sequence_length"))
        pn_hf_put_int(hf, "context_length", 1 << 20);
    read_epsilons(hf);
    if (pn_hf_get(hf, "query_pre_attn_scalar")) {
        double s = pn_hf_float(hf, "query_pre_attn_scalar", 1);
        if (!(s > 0))
            pn_hf_fail(hf, PANTRY_FORMAT, "config.json: query_pre_attn_scalar is %g, but must be above 0", s);
        else
            pn_hf_put_float(hf, "attention.scale", 1 / __builtin_sqrt(s));
    }
    read_act(hf);
    read_gates(hf);
    pn_hf_read_windows(hf);
    pn_hf_read_rotation(hf);
    put_listed(hf, hf->row->keys);
    if (hf->row->more && !hf->status)
        hf->row->more(hf);
}
