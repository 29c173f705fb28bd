/* Reading hyper-parameters: see hparams.h. Every value that later code uses as a divisor, size or count is bounded
 * here. */
#include "model/hparams.h"

#include "model/arch.h"
#include "model/blocks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CROSS_LAYERS "attention.cross_attention_layers"

struct reader {
    const struct pn_weights *w;
    const char *arch;
    struct pantry_error *err;
    pantry_status status; /* the first failure */
    char key[128];
};

static const char *full_key(struct reader *r, const char *key)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, key);
    return r->key;
}

static void fail(struct reader *r, pantry_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct reader *r, pantry_status status, const char *format, ...)
{
    if (r->status)
        return;
    va_list args;
    va_start(args, format);
    r->status = pn_vfail(r->err, status, format, args);
    va_end(args);
    pn_fail_prefix(r->err, "%s", r->w->path);
}

/* An integer between low and high. Missing: `fallback`, or an error if that is below 0. */
static int integer(struct reader *r, const char *key, int64_t low, int64_t high, int fallback)
{
    int64_t v = 0;
    if (r->status)
        return fallback;
    pantry_status status = pn_meta_i64(r->w, full_key(r, key), &v, r->err);
    if (status == PANTRY_NOT_FOUND) {
        if (fallback < 0)
            fail(r, PANTRY_FORMAT, "%s is missing; the model cannot be built without it", r->key);
        return fallback;
    }
    if (status)
        r->status = status;
    else if (v < low || v > high)
        fail(r, PANTRY_FORMAT, "%s is %lld, but must be between %lld and %lld", r->key, (long long)v, (long long)low,
             (long long)high);
    return r->status ? fallback : (int)v;
}

static float number(struct reader *r, const char *key, float fallback)
{
    float v = fallback;
    if (r->status)
        return fallback;
    pantry_status status = pn_meta_f32(r->w, full_key(r, key), &v, r->err);
    if (status && status != PANTRY_NOT_FOUND)
        r->status = status;
    return v;
}

/* A number; files write 0 for "none". */
static float scale(struct reader *r, const char *key, float fallback)
{
    float v = number(r, key, fallback);
    return v == 0 ? fallback : v;
}

/* True or false; missing: `fallback`. */
static bool boolean(struct reader *r, const char *key, bool fallback)
{
    bool v = fallback;
    if (r->status)
        return fallback;
    pantry_status status = pn_meta_bool(r->w, full_key(r, key), &v, r->err);
    if (status && status != PANTRY_NOT_FOUND)
        r->status = status;
    return v;
}

/* Item `layer` of a key that is one number for all layers or an array with one per layer. */
static int layered(struct reader *r, const char *key, int layer, int n_layer, int64_t low, int64_t high, int fallback)
{
    if (r->status)
        return fallback;
    const struct pn_meta *m = pn_weights_meta(r->w, full_key(r, key));
    if (!m || m->type != PN_META_ARRAY)
        return integer(r, key, low, high, fallback);
    if ((m->item != PN_META_UINT && m->item != PN_META_INT) || m->n < (size_t)n_layer) {
        fail(r, PANTRY_FORMAT, "%s must be a list of %d integers, one per layer, but has %zu items", r->key, n_layer,
             m->n);
        return fallback;
    }
    int64_t v = pn_meta_item_i64(m, (size_t)layer);
    if (v < low || v > high) {
        fail(r, PANTRY_FORMAT, "item %d of %s is %lld, but must be between %lld and %lld", layer, r->key, (long long)v,
             (long long)low, (long long)high);
        return fallback;
    }
    return (int)v;
}

/* The same for a number. A key that contains a dot has no prefix and is required; others may be missing: 0. */
static float layered_number(struct reader *r, const char *key, int layer, int n_layer)
{
    if (r->status)
        return 0;
    bool needed = strchr(key, '.') != NULL;
    const char *name = needed ? key : full_key(r, key);
    const struct pn_meta *m = pn_weights_meta(r->w, name);
    float v = 0;
    if (m && m->type == PN_META_ARRAY && m->item == PN_META_FLOAT && m->n >= (size_t)n_layer)
        v = (float)pn_meta_item_f64(m, (size_t)layer);
    else if (m && m->type == PN_META_FLOAT)
        pn_meta_f32(r->w, name, &v, NULL);
    else if (m || needed)
        fail(r, PANTRY_FORMAT, "%s must be a number or a list of %d numbers, one per layer", name, n_layer);
    return v;
}

/* Item `layer` of a list of booleans; the key is in r->key. */
static bool layer_flag(struct reader *r, const struct pn_meta *m, int layer, int n_layer)
{
    if (m->n < (size_t)n_layer || m->item == PN_META_STRING || m->item == PN_META_FLOAT) {
        fail(r, PANTRY_FORMAT, "%s must be a list of %d booleans, one per layer", r->key, n_layer);
        return false;
    }
    return m->item == PN_META_BOOL ? pn_meta_item_bool(m, (size_t)layer) : pn_meta_item_i64(m, (size_t)layer) != 0;
}

static void read_window(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    if (!arch->window.period)
        return;
    int fallback = arch->window.required ? -1 : arch->window.fixed_size ? arch->window.fixed_size : arch->window.size;
    hp->window = integer(r, "attention.sliding_window", 0, INT32_MAX, fallback);
    if (arch->window.n_layers && arch->window.n_layers != hp->n_layer)
        hp->window = 0;
    if (hp->window && arch->window.fixed_size)
        hp->window = arch->window.fixed_size;
}

/* Layers with a window: from a list of booleans or a period in the file, or from the architecture's period. */
static bool is_local(struct reader *r, const struct pn_arch *arch, int layer, int n_layer)
{
    if (!arch->window.period || r->status)
        return false;
    const char *key = "attention.sliding_window_pattern";
    const struct pn_meta *m = pn_weights_meta(r->w, full_key(r, key));
    if (m && m->type == PN_META_ARRAY)
        return layer_flag(r, m, layer, n_layer);
    int period = integer(r, key, 0, PN_MAX_LAYERS, arch->window.period);
    if (period == 0)
        return true;
    return arch->window.global_first ? layer % period != 0 : layer % period < period - 1;
}

static bool is_recurrent(struct reader *r, const struct pn_arch *arch, int layer, int n_layer,
                         const struct pn_layer_hparams *l)
{
    if (!arch->recurrent.block || arch->recurrent.layers == PN_RECURRENT_BESIDE || r->status)
        return false;
    if (arch->recurrent.layers == PN_RECURRENT_NO_KV_HEADS)
        return l->n_head_kv == 0 && !(arch->recurrent.single_block && l->n_ff);
    if (arch->recurrent.layers == PN_RECURRENT_ALL)
        return true;
    const struct pn_meta *m = pn_weights_meta(r->w, full_key(r, "attention.recurrent_layers"));
    if (m && m->type == PN_META_ARRAY)
        return layer_flag(r, m, layer, n_layer);
    return (layer + 1) % integer(r, "full_attention_interval", 1, PN_MAX_LAYERS, 4) != 0;
}

/* The last layers may share keys and values: each reads those of the nearest earlier layer of its kind. */
static void share_kv(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    int own = hp->n_layer;
    if (arch->kv.shared) {
        int fallback = arch->kv.n_own && arch->kv.n_own < own ? own - arch->kv.n_own : 0;
        own -= integer(r, "attention.shared_kv_layers", 0, hp->n_layer - 1, fallback);
    }
    for (int i = 0; i < hp->n_layer && !r->status; i++) {
        int from = i < own ? i : own - 1;
        while (from >= 0 && i >= own && hp->layers[from].local != hp->layers[i].local)
            from--;
        hp->layers[i].kv_layer = from;
        if (from < 0)
            fail(r, PANTRY_FORMAT,
                 "layer %d has no keys and values of its own, and no layer of its kind is before layer %d", i, own);
    }
}

/* Whether the list of layers that attend to pictures has layer i. */
static bool is_cross(struct reader *r, int i)
{
    const struct pn_meta *m = pn_weights_meta(r->w, full_key(r, CROSS_LAYERS));
    bool found = false;
    for (size_t k = 0; m && m->type == PN_META_ARRAY && m->item != PN_META_STRING && k < m->n; k++)
        found = found || pn_meta_item_i64(m, k) == i;
    return found;
}

static void read_layer(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp, int i)
{
    struct pn_layer_hparams *l = &hp->layers[i];
    int n = hp->n_stored;
    bool may_lack = arch->recurrent.block || arch->block.optional;
    int least = may_lack ? 0 : 1, fallback = may_lack ? 0 : -1;
    l->n_head = layered(r, "attention.head_count", i, n, least, PN_MAX_HEADS, fallback);
    l->n_head_kv = layered(r, "attention.head_count_kv", i, n, least, PN_MAX_HEADS, l->n_head);
    l->n_ff = layered(r, "feed_forward_length", i, n, 0, 1 << 24, 0); /* 0: from the weights */
    l->n_ff = arch->ffn.as_stream ? hp->n_embd : l->n_ff / (arch->ffn.halved ? 2 : 1);
    l->n_used = layered(r, "expert_used_count", i, n, 0, PN_MAX_EXPERTS_USED, 0);
    l->recurrent = is_recurrent(r, arch, i, n, l);
    bool attends = !l->recurrent && !(arch->recurrent.single_block && l->n_ff) && !arch->block.optional;
    if (!r->status && attends && (!l->n_head || !l->n_head_kv))
        fail(r, PANTRY_FORMAT, "layer %d has neither heads nor a recurrent block", i);
    if (!r->status && l->n_head && l->n_head_kv && l->n_head % l->n_head_kv)
        fail(r, PANTRY_FORMAT, "layer %d has %d query heads, which is not a multiple of its %d key/value heads", i,
             l->n_head, l->n_head_kv);
    l->local = hp->window > 0 && is_local(r, arch, i, n);
    l->cross = is_cross(r, i);
    l->limit = layered_number(r, "swiglu_clamp_shexp", i, n);
    l->limit_experts = layered_number(r, "swiglu_clamp_exp", i, n);
    if (arch->block.mlp == pn_block_xielu_mlp) {
        l->xielu_beta = layered_number(r, "xielu.beta", i, n);
        l->xielu_p = pn_act_reference(PN_ACT_FN_SOFTPLUS, layered_number(r, "xielu.alpha_p", i, n));
        l->xielu_n = l->xielu_beta + pn_act_reference(PN_ACT_FN_SOFTPLUS, layered_number(r, "xielu.alpha_n", i, n));
    }
}

static void read_layers(struct reader *r, const struct pn_arch *arch, struct pn_arena *arena, struct pn_hparams *hp)
{
    if (r->status)
        return;
    hp->layers = pn_arena_array(arena, (size_t)hp->n_layer, sizeof *hp->layers);
    if (!hp->layers) {
        fail(r, PANTRY_NO_MEMORY, "out of memory for %d layers", hp->n_layer);
        return;
    }
    for (int i = 0; i < hp->n_stored && !r->status; i++)
        read_layer(r, arch, hp, i);
    for (int i = hp->n_stored; i < hp->n_layer && !r->status; i++)
        hp->layers[i] = hp->layers[i % hp->n_stored];
    share_kv(r, arch, hp);
}

/* Lengths of heads, in layers with and without a window. */
static void read_heads(struct reader *r, struct pn_hparams *hp, int n_head)
{
    int even = hp->n_embd / n_head;
    hp->dim_k = integer(r, "attention.key_length", 1, PN_MAX_HEAD_DIM, even ? even : -1);
    hp->dim_v = integer(r, "attention.value_length", 1, PN_MAX_HEAD_DIM, hp->dim_k);
    int local_k = integer(r, "attention.key_length_swa", 1, PN_MAX_HEAD_DIM, hp->dim_k);
    int local_v = integer(r, "attention.value_length_swa", 1, PN_MAX_HEAD_DIM, hp->dim_v);
    for (int i = 0; i < hp->n_layer && !r->status; i++) {
        struct pn_layer_hparams *l = &hp->layers[i];
        l->dim_k = l->local ? local_k : hp->dim_k;
        l->dim_v = l->local ? local_v : hp->dim_v;
    }
}

static bool find_scaling(const char *name, size_t len, enum pn_rope_scaling *out)
{
    static const struct {
        const char *name;
        enum pn_rope_scaling scaling;
    } known[] = {{"none", PN_ROPE_SCALING_NONE},
                 {"linear", PN_ROPE_SCALING_LINEAR},
                 {"ntk", PN_ROPE_SCALING_NTK},
                 {"yarn", PN_ROPE_SCALING_YARN},
                 {"longrope", PN_ROPE_SCALING_LONGROPE}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == len && memcmp(known[i].name, name, len) == 0) {
            *out = known[i].scaling;
            return true;
        }
    return false;
}

static void read_rope_scaling(struct reader *r, struct pn_rope_hparams *rope)
{
    struct pn_str type = {"", 0};
    if (r->status)
        return;
    pantry_status status = pn_meta_str(r->w, full_key(r, "rope.scaling.type"), &type, r->err);
    if (status && status != PANTRY_NOT_FOUND) {
        r->status = status;
        return;
    }
    rope->factor = number(r, "rope.scaling.factor", number(r, "rope.scale_linear", 0));
    if (rope->factor == 0) /* files write 0 for "none" */
        rope->factor = 1;
    if (rope->factor < 0)
        fail(r, PANTRY_FORMAT, "%s.rope.scaling.factor is %g, but must be above 0", r->arch, (double)rope->factor);
    rope->scaling = PN_ROPE_SCALING_LINEAR;
    if (type.len && !find_scaling(type.data, type.len, &rope->scaling))
        fail(r, PANTRY_UNSUPPORTED,
             "%s.rope.scaling.type is \"%.*s\"; none, linear, ntk, yarn and longrope are supported", r->arch,
             (int)(type.len < 40 ? type.len : 40), type.data);
}

static void read_rope(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    struct pn_rope_hparams *rope = &hp->rope;
    int local_k = hp->dim_k;
    for (int i = 0; i < hp->n_layer; i++)
        local_k = hp->layers[i].local ? hp->layers[i].dim_k : local_k;
    rope->n_rot = integer(r, "rope.dimension_count", 0, hp->dim_k, hp->dim_k);
    rope->n_rot_local = integer(r, "rope.dimension_count_swa", 0, local_k, rope->n_rot);
    rope->n_rot /= arch->rope.half_global ? 2 : 1;
    if (!r->status && rope->n_rot_local > local_k)
        fail(r, PANTRY_FORMAT, "%s.rope.dimension_count is %d, but heads with a window have %d values", r->arch,
             rope->n_rot_local, local_k);
    rope->freq_base = number(r, "rope.freq_base", 10000);
    rope->freq_base_local =
        number(r, "rope.freq_base_swa", arch->rope.freq_base_local > 0 ? arch->rope.freq_base_local : rope->freq_base);
    rope->n_context_original = integer(r, "rope.scaling.original_context_length", 0, INT32_MAX, hp->n_context_train);
    rope->attn_factor = number(r, "rope.scaling.attn_factor", 1);
    rope->yarn_beta_fast = number(r, "rope.scaling.yarn_beta_fast", 32);
    rope->yarn_beta_slow = number(r, "rope.scaling.yarn_beta_slow", 1);
    rope->yarn_ext_factor = number(r, "rope.scaling.yarn_ext_factor", 1);
    if (rope->yarn_ext_factor < 0) /* files write -1 for "default" */
        rope->yarn_ext_factor = 1;
    rope->yarn_log_multiplier =
        number(r, "rope.scaling.yarn_log_multiplier", 0) / (arch->yarn.log_unit > 0 ? arch->yarn.log_unit : 1);
    read_rope_scaling(r, rope);
    if (!r->status &&
        (rope->n_rot % 2 || rope->n_rot_local % 2 || !(rope->freq_base > 1) || !(rope->freq_base_local > 1)))
        fail(r, PANTRY_FORMAT, "cannot rotate %d values with a base of %g: the number must be even, the base above 1",
             rope->n_rot, (double)rope->freq_base);
    rope->finetuned = boolean(r, "rope.scaling.finetuned", true);
    const struct pn_meta *sections = pn_weights_meta(r->w, full_key(r, "rope.dimension_sections"));
    if (arch->rope.sections && sections && sections->type == PN_META_ARRAY && sections->item != PN_META_STRING)
        for (size_t i = 0; i < 4 && i < sections->n; i++) {
            int64_t n = pn_meta_item_i64(sections, i);
            rope->sections[i] = n < 0 ? 0 : n > PN_MAX_HEAD_DIM ? PN_MAX_HEAD_DIM : (int)n;
        }
    bool yarn_ok = rope->n_context_original > 0 && rope->yarn_beta_fast > 0 && rope->yarn_beta_slow > 0;
    if (!r->status && rope->scaling == PN_ROPE_SCALING_YARN && !yarn_ok)
        fail(r, PANTRY_FORMAT, "%s.rope.scaling: yarn needs an original context length and betas above 0", r->arch);
}

static void read_moe(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    struct pn_moe_hparams *moe = &hp->moe;
    hp->n_dense = integer(r, "leading_dense_block_count", 0, PN_MAX_LAYERS, 0);
    moe->n_expert = integer(r, "expert_count", 0, PN_MAX_EXPERTS, 0);
    moe->n_groups = integer(r, "expert_group_count", 0, PN_MAX_EXPERT_GROUPS, 0);
    moe->n_groups_used = integer(r, "expert_group_used_count", 0, PN_MAX_EXPERT_GROUPS, 0);
    moe->scale = number(r, "expert_weights_scale", 1);
    if (moe->scale == 0) /* files write 0 for "none" */
        moe->scale = 1;
    moe->renormalize = arch->moe.renormalize == PN_FROM_FILE ? boolean(r, "expert_weights_norm", false)
                                                             : arch->moe.renormalize == PN_YES;
    static const enum pn_gate gates[] = {PN_GATE_SOFTMAX, PN_GATE_SIGMOID, PN_GATE_SOFTMAX_CHOSEN}; /* 1, 2, 3 */
    int gate = arch->moe.gate_fixed ? 0 : integer(r, "expert_gating_func", 0, 3, 0);
    moe->gate = gate ? gates[gate - 1] : arch->moe.gate;
    int most = 0;
    for (int i = 0; i < hp->n_layer && !r->status; i++)
        most = hp->layers[i].n_used > most ? hp->layers[i].n_used : most;
    if (moe->n_expert > 0 && most < 1)
        fail(r, PANTRY_FORMAT, "%s.expert_used_count must be above 0, as there are %d experts", r->arch, moe->n_expert);
    if (most > moe->n_expert)
        fail(r, PANTRY_FORMAT, "%s.expert_used_count is %d, but there are %d experts", r->arch, most, moe->n_expert);
}

static void read_mla(struct reader *r, struct pn_mla_hparams *mla)
{
    mla->kv_rank = integer(r, "attention.kv_lora_rank", 0, 1 << 20, 0);
    mla->q_rank = integer(r, "attention.q_lora_rank", 0, 1 << 20, 0);
    mla->dim_k = integer(r, "attention.key_length_mla", 0, PN_MAX_HEAD_DIM, 0);
    mla->dim_v = integer(r, "attention.value_length_mla", 0, PN_MAX_HEAD_DIM, 0);
}

static void read_recurrent(struct reader *r, struct pn_recurrent_hparams *c)
{
    c->n_conv = integer(r, "ssm.conv_kernel", 0, 256, 0);
    if (c->n_conv == 0)
        c->n_conv = integer(r, "shortconv.l_cache", 0, 256, 0);
    c->n_inner = integer(r, "ssm.inner_size", 0, 1 << 24, 0);
    c->n_state = integer(r, "ssm.state_size", 0, 1 << 16, 0);
    c->n_rank = integer(r, "ssm.time_step_rank", 0, 1 << 20, 0);
    c->n_group = integer(r, "ssm.group_count", 0, 1 << 16, 0);
    c->dt_b_c_rms = boolean(r, "ssm.dt_b_c_rms", false);
    c->kda_dim = integer(r, "kda.head_dim", 0, PN_MAX_HEAD_DIM, 0);
    if (!r->status && c->n_conv < 1)
        fail(r, PANTRY_FORMAT,
             "%s.ssm.conv_kernel or %s.shortconv.l_cache is missing; the model cannot be built without it", r->arch,
             r->arch);
}

static void read_attention(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    bool has_alibi = !arch->alibi.n_layers || arch->alibi.n_layers == hp->n_layer;
    float fallback = arch->score.over_dim && hp->dim_k ? 1 / (float)hp->dim_k : arch->score.scale;
    hp->attn_scale = scale(r, arch->names.attn_scale ? arch->names.attn_scale : "attention.scale", fallback);
    hp->value_scale = number(r, "attention.value_scale", 0);
    hp->attn_softcap = number(r, "attn_logit_softcapping", arch->score.softcap_default);
    hp->attn_clamp = number(r, "attention.clamp_kqv", 0);
    hp->alibi = number(r, "attention.max_alibi_bias", has_alibi ? arch->alibi.bias : 0);
    if (!r->status && (hp->alibi < 0 || hp->alibi > 64))
        fail(r, PANTRY_FORMAT, "%s.attention.max_alibi_bias is %g, but must be between 0 and 64", r->arch,
             (double)hp->alibi);
    if (arch->attn.sparse)
        hp->n_context_limit = integer(r, "attention.indexer.top_k", 1, INT32_MAX, -1);
    if (arch->temperature.from_file) {
        hp->temperature_scale = number(r, "attention.temperature_scale", 0);
        hp->temperature_length = (float)integer(r, "attention.temperature_length", 0, INT32_MAX, 0);
        if (hp->temperature_length == 0)
            hp->temperature_length = (float)hp->rope.n_context_original;
    } else if (arch->temperature.unrotated_only) {
        hp->temperature_scale = arch->temperature.scale;
        hp->temperature_length = arch->temperature.length;
        hp->temperature_offset = arch->temperature.offset;
    }
}

static float epsilon(struct reader *r, const char *key, bool needed)
{
    float v = number(r, key, needed ? -1 : 1e-5f);
    if (!r->status && v == -1)
        fail(r, PANTRY_FORMAT, "%s is missing; the model cannot be built without it", r->key);
    else if (!r->status && !(v >= 0 && v < 1))
        fail(r, PANTRY_FORMAT, "%s is %g, but must be between 0 and 1", r->key, (double)v);
    return v;
}

/* NONE if missing or -1, signed or unsigned. */
static enum pn_pooling pooling(struct reader *r, const char *key)
{
    int64_t v = PN_POOLING_NONE;
    if (r->status)
        return PN_POOLING_NONE;
    pantry_status status = pn_meta_i64(r->w, full_key(r, key), &v, r->err);
    if (status && status != PANTRY_NOT_FOUND)
        r->status = status;
    else if (v == -1 || v == UINT32_MAX)
        v = PN_POOLING_NONE;
    else if (v < 0 || v > PN_POOLING_RANK)
        fail(r, PANTRY_FORMAT, "%s is %lld, but must be between 0 and %d", r->key, (long long)v, PN_POOLING_RANK);
    return r->status ? PN_POOLING_NONE : (enum pn_pooling)v;
}

/* Encoders attend in both directions; so may a decoder that was made into an embedding model. */
static void read_embedding(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    hp->causal = boolean(r, "attention.causal", true) && !arch->encoder;
    hp->rel_buckets = arch->attn.position_bias ? integer(r, "attention.relative_buckets_count", 4, 1 << 16, -1) : 0;
    if (!r->status && hp->rel_buckets % 4)
        fail(r, PANTRY_FORMAT, "%s.attention.relative_buckets_count is %d, but must be a multiple of 4", r->arch,
             hp->rel_buckets);
    enum pn_pooling kind = pooling(r, "pooling_type");
    if (kind == PN_POOLING_RANK) {
        kind = pooling(r, "classifier.pooling_type");
        if (kind == PN_POOLING_NONE && !hp->causal)
            kind = arch->rank.mean ? PN_POOLING_MEAN : PN_POOLING_CLS;
    }
    if (kind == PN_POOLING_NONE || kind == PN_POOLING_RANK)
        kind = hp->causal ? PN_POOLING_LAST : PN_POOLING_MEAN;
    hp->pooling = kind;
}

static void read_act(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    struct pn_str name = {"", 0};
    hp->act = arch->ffn.act;
    if (r->status || !arch->encoder)
        return;
    pantry_status status = pn_meta_str(r->w, full_key(r, "hidden_activation"), &name, r->err);
    if (status == PANTRY_NOT_FOUND)
        return;
    r->status = status;
    if (status)
        return;
    enum pn_act_fn fn = pn_act_find(name.data, name.len);
    if (fn < PN_ACT_FN_COUNT) {
        hp->act = fn;
        return;
    }
    struct pn_buf known = {0};
    for (int i = 0; i < PN_ACT_FN_COUNT; i++)
        pn_buf_printf(&known, "%s%s", i ? ", " : "", pn_act_label((enum pn_act_fn)i));
    fail(r, PANTRY_UNSUPPORTED, "%s is \"%.*s\"; supported are %s", r->key, (int)(name.len < 40 ? name.len : 40),
         name.data, known.data ? known.data : "none");
    pn_buf_free(&known);
}

static void read_scales(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    hp->logit_scale =
        scale(r, "logit_scale", arch->logits.width > 0 ? (float)hp->n_embd / arch->logits.width : arch->logits.scale);
    hp->residual_scale = scale(r, "residual_scale", r->status ? 0 : arch->residual_depth / sqrtf((float)hp->n_layer));
    hp->embedding_scale = scale(r, "embedding_scale", arch->embedding.scale);
    hp->final_softcap = number(r, "final_logit_softcapping", arch->logits.softcap_default);
    hp->rms_eps = epsilon(r, "attention.layer_norm_rms_epsilon", arch->norm.kind == PN_NORM_RMS);
    hp->norm_eps = epsilon(r, "attention.layer_norm_epsilon", arch->norm.kind == PN_NORM_LAYER);
    hp->norm = arch->norm.kind;
    if (arch->norm.kind == PN_NORM_FROM_FILE)
        hp->norm = number(r, "attention.layer_norm_rms_epsilon", 0) > 0 ? PN_NORM_RMS : PN_NORM_LAYER;
}

/* Alternating updates, and the sparsity of each layer's gates. */
static void read_streams(struct reader *r, const struct pn_arch *arch, struct pn_hparams *hp)
{
    hp->n_embd_layer = integer(r, "embedding_length_per_layer_input", 0, 1 << 16, 0);
    for (int i = 0; i < hp->n_layer && !r->status; i++)
        hp->layers[i].sparsity = i < arch->sparsity.n_layers ? arch->sparsity.deviations : -INFINITY;
    if (!arch->block.widen)
        return;
    hp->altup.n_inputs = integer(r, "altup.num_inputs", 2, 64, 4);
    hp->altup.active = integer(r, "altup.active_idx", 0, hp->altup.n_inputs - 1, 0);
    const struct pn_meta *m = pn_weights_meta(r->w, full_key(r, "activation_sparsity_scale"));
    if (!m || r->status)
        return;
    if (m->type != PN_META_ARRAY || m->item != PN_META_FLOAT || m->n < (size_t)hp->n_layer)
        fail(r, PANTRY_FORMAT, "%s must be a list of %d numbers, one per layer", r->key, hp->n_layer);
    for (int i = 0; i < hp->n_layer && !r->status; i++)
        hp->layers[i].sparsity = (float)pn_meta_item_f64(m, (size_t)i);
}

/* The last layers may predict further tokens; they are left out. The others may run several times, each time with their
 * own keys and values. */
static void read_n_layer(struct reader *r, struct pn_hparams *hp)
{
    int all = integer(r, "block_count", 1, PN_MAX_LAYERS, -1);
    int further = integer(r, "nextn_predict_layers", 0, PN_MAX_LAYERS, 0);
    if (!r->status && further >= all)
        fail(r, PANTRY_FORMAT, "%s.nextn_predict_layers is %d, but there are %d layers", r->arch, further, all);
    hp->n_stored = all - further;
    int loops = integer(r, "num_loops", 1, 16, 1);
    if (!r->status && loops > PN_MAX_LAYERS / hp->n_stored)
        fail(r, PANTRY_LIMIT, "%s.num_loops is %d, which makes %d layers of %d, but at most %d are allowed", r->arch,
             loops, loops * hp->n_stored, hp->n_stored, PN_MAX_LAYERS);
    hp->n_layer = hp->n_stored * loops;
    hp->loop_norm = hp->n_layer > hp->n_stored && !boolean(r, "skip_loop_final_norm", false);
}

/* The rows of the embedding; vocab_size and the list of tokens may differ or be missing. A model that attends to
 * pictures has rows for their tokens, which it never answers with. */
static int read_n_vocab(struct reader *r)
{
    const struct pn_tensor_info *answers = pn_weights_tensor(r->w, "output.weight");
    if (answers && answers->n_dims == 2 && pn_weights_meta(r->w, full_key(r, CROSS_LAYERS)))
        return answers->shape[0] > INT32_MAX ? 0 : (int)answers->shape[0];
    const struct pn_tensor_info *t = pn_weights_tensor(r->w, "token_embd.weight");
    if (!r->status && (!t || t->n_dims != 2 || t->shape[0] > INT32_MAX))
        fail(r, PANTRY_FORMAT, "tensor token_embd.weight is missing or not a matrix");
    return r->status ? 0 : (int)t->shape[0];
}

/* Heads of the first layer that has any: the default length of a head is n_embd / that. */
static int first_heads(const struct reader *r, const struct pn_hparams *hp)
{
    for (int i = 0; i < hp->n_layer && !r->status; i++)
        if (hp->layers[i].n_head)
            return hp->layers[i].n_head;
    return 0;
}

pantry_status pn_hparams_read(const struct pn_weights *weights, const struct pn_arch *arch, struct pn_arena *arena,
                              struct pn_hparams *hp, struct pantry_error *err)
{
    struct reader r = {.w = weights, .arch = arch->name, .err = err};
    *hp = (struct pn_hparams){0};
    read_n_layer(&r, hp);
    hp->n_embd = integer(&r, "embedding_length", 1, 1 << 24, -1);
    hp->n_context_train = integer(&r, "context_length", 1, INT32_MAX, -1);
    hp->n_vocab = read_n_vocab(&r);
    hp->parallel_residual = boolean(&r, "use_parallel_residual", true);
    read_window(&r, arch, hp);
    read_layers(&r, arch, arena, hp);
    int n_head = first_heads(&r, hp);
    if (!r.status && n_head)
        read_heads(&r, hp, n_head);
    read_embedding(&r, arch, hp);
    read_act(&r, arch, hp);
    read_scales(&r, arch, hp);
    read_moe(&r, arch, hp);
    read_mla(&r, &hp->mla);
    if (!r.status && n_head)
        read_rope(&r, arch, hp);
    if (arch->recurrent.block)
        read_recurrent(&r, &hp->recurrent);
    read_attention(&r, arch, hp);
    if (!r.status)
        read_streams(&r, arch, hp);
    return r.status;
}

pantry_status pn_hparams_extend(struct pn_hparams *hp, const struct pn_arch *arch, const struct pn_rope_override *user,
                                struct pantry_error *err)
{
    struct pn_rope_hparams *rope = &hp->rope;
    if (!user->scaling && user->factor == 0 && user->freq_base == 0)
        return PANTRY_OK;
    if (rope->n_rot == 0 || arch->rope.where == PN_ROPE_NEVER)
        return pn_fail(err, PANTRY_INVALID, "this model does not rotate: its context cannot be extended");
    if (user->freq_base != 0 && !(user->freq_base > 1 && isfinite(user->freq_base)))
        return pn_fail(err, PANTRY_INVALID, "the rotary base is %g, but must be above 1", (double)user->freq_base);
    if (user->factor != 0 && !(user->factor > 0 && user->factor <= 4096))
        return pn_fail(err, PANTRY_INVALID, "the context factor is %g, but must be above 0 and at most 4096",
                       (double)user->factor);
    bool known = !user->scaling || find_scaling(user->scaling, strlen(user->scaling), &rope->scaling);
    if (!known || (user->scaling && rope->scaling == PN_ROPE_SCALING_LONGROPE))
        return pn_fail(err, PANTRY_INVALID, "rope scaling \"%s\" is not supported; use none, linear, ntk or yarn",
                       user->scaling);
    if (user->freq_base != 0)
        rope->freq_base = user->freq_base;
    if (user->factor != 0) {
        if (rope->scaling == PN_ROPE_SCALING_NONE)
            rope->scaling = PN_ROPE_SCALING_LINEAR;
        rope->factor = user->factor;
        double length = (double)rope->n_context_original * (double)user->factor;
        hp->n_context_train = length > INT32_MAX ? INT32_MAX : length < 1 ? 1 : (int)length;
    }
    return PANTRY_OK;
}
