/* Every decoder of src/model/archs.c against its formula (tests/support/formula.h): tiny random files of each
 * architecture. One has only the required keys and tensors, one has every misleading one (also of other architectures),
 * and others have about half of them, selected by the key's name. Arguments select architectures by name and print the
 * error of each file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "formula.h"
#include "gguf_writer.h"
#include "model/arch.h"
#include "pantry.h"

enum { BARE, FULL, N_HALF = 4, N_VARIANTS = FULL + 1 + N_HALF };

static char **chosen;
static int n_chosen;

/* A file under construction, in both forms: as GGUF and for the formula. */
struct maker {
    struct gw g;
    struct f_file *f;
    struct pn_arena arena;
    int variant;
};

/* ---- optional parts of the file ---- */

static uint64_t hash(const char *text, uint64_t h)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint64_t number_of(const struct maker *m, const char *what)
{
    return hash(what, hash(m->f->arch->name, 0xcbf29ce484222325u + (uint64_t)(m->variant / 2)));
}

/* True if the file has an optional part: of two variants with the same number, exactly one has it. */
static bool has(const struct maker *m, const char *what)
{
    if (m->variant <= FULL)
        return m->variant == FULL;
    return ((number_of(m, what) >> 7) + (uint64_t)m->variant) % 2 == 0;
}

/* One of n ways, independent of the variant. */
static int way(const struct maker *m, const char *what, int n)
{
    return (int)((number_of(m, what) >> 9) % (uint64_t)n);
}

static const char *full_key(const struct maker *m, const char *key)
{
    static char full[96];
    snprintf(full, sizeof full, "%s.%s", m->f->arch->name, key);
    return full;
}

static void say(struct maker *m, const char *key, char kind, double value)
{
    const char *full = full_key(m, key);
    if (kind == 'u')
        gw_u32(&m->g, full, (uint32_t)value);
    else if (kind == 'b')
        gw_bool(&m->g, full, value != 0);
    else
        gw_f32(&m->g, full, (float)value);
}

/* Random values in offset - scale .. offset + scale. n_mat 0: a matrix, or a vector if rows is 0. */
static void tensor(struct maker *m, int layer, const char *name, int n_mat, int rows, int cols, double scale,
                   double offset)
{
    char full[64];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    const int64_t shape[] = {n_mat, rows, cols};
    size_t n = (size_t)(n_mat ? n_mat : 1) * (size_t)(rows ? rows : 1) * (size_t)cols;
    float *data = pn_arena_array(&m->arena, n, sizeof *data);
    struct pn_rng rng = {.state = hash(full, number_of(m, "weights"))};
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = (float)(offset + scale * (2 * (double)pn_rng_float(&rng) - 1));
    f_add(m->f, full, n_mat ? n_mat : 1, rows ? rows : 1, cols, data);
    int skip = n_mat ? 0 : rows ? 1 : 2;
    gw_floats(&m->g, full, GW_F32, 3 - skip, shape + skip, data);
}

static const char *named(const char *name, const char *suffix)
{
    static char full[4][64];
    static int turn;
    char *out = full[turn = (turn + 1) % 4];
    snprintf(out, sizeof full[0], "%s.%s", name, suffix);
    return out;
}

static void vector(struct maker *m, int layer, const char *name, const char *suffix, int n, double scale, double offset)
{
    tensor(m, layer, named(name, suffix), 0, 0, n, scale, offset);
}

static void matrix(struct maker *m, int layer, const char *name, int rows, int cols)
{
    tensor(m, layer, named(name, "weight"), 0, rows, cols, 1.5 / sqrt(cols), 0);
}

/* A matrix that may have a bias and a scale. */
static void product(struct maker *m, int layer, const char *name, int rows, int cols)
{
    matrix(m, layer, name, rows, cols);
    if (has(m, named(name, "bias")))
        vector(m, layer, name, "bias", rows, 0.5, 0);
    if (has(m, named(name, "scale")))
        vector(m, layer, name, "scale", 1, 0.25, 1);
}

static void norm(struct maker *m, int layer, const char *name, int n)
{
    vector(m, layer, name, "weight", n, 0.5, 1);
    if (has(m, named(name, "bias")))
        vector(m, layer, name, "bias", n, 0.5, 0);
}

/* ---- attention ---- */

static void head_norm(struct maker *m, int layer, const char *name, int n_head, int dim)
{
    enum f_qk kind = m->f->arch->qk;
    bool needed = kind == F_QK_HEAD || kind == F_QK_HEAD_LATE || kind == F_QK_WHOLE;
    bool whole = kind == F_QK_WHOLE || kind == F_QK_WHOLE_IF_THERE, each = has(m, "norms for each head");
    if (!needed && !has(m, "head norms"))
        return;
    int rows = whole ? 0 : each ? n_head : 0;
    tensor(m, layer, named(name, "weight"), 0, rows, whole ? n_head * dim : dim, 0.5, 1);
    if (has(m, named(name, "bias")))
        tensor(m, layer, named(name, "bias"), 0, rows, whole ? n_head * dim : dim, 0.5, 0);
}

static void attention(struct maker *m, int layer)
{
    int dim_k = f_dim_k(m->f, layer), dim_v = f_dim_v(m->f, layer);
    int n_q = F_HEADS * dim_k, n_k = F_HEADS_KV * dim_k, n_v = F_HEADS_KV * dim_v;
    if (!m->f->arch->query_gate && has(m, "attn_qkv")) {
        product(m, layer, "attn_qkv", n_q + n_k + n_v, F_EMBD);
        if (has(m, "biases of parts")) {
            vector(m, layer, "attn_q", "bias", n_q, 0.5, 0);
            vector(m, layer, "attn_k", "bias", n_k, 0.5, 0);
            vector(m, layer, "attn_v", "bias", n_v, 0.5, 0);
        }
    } else {
        product(m, layer, "attn_q", m->f->arch->query_gate ? 2 * n_q : n_q, F_EMBD);
        product(m, layer, "attn_k", n_k, F_EMBD);
        if (!m->f->arch->value_is_key || dim_k != dim_v || has(m, "attn_v"))
            product(m, layer, "attn_v", n_v, F_EMBD);
    }
    head_norm(m, layer, "attn_q_norm", F_HEADS, dim_k);
    head_norm(m, layer, "attn_k_norm", F_HEADS_KV, dim_k);
    if (has(m, "sinks"))
        vector(m, layer, "attn_sinks", "weight", F_HEADS, 1, 0);
    if (has(m, "attn_gate"))
        matrix(m, layer, "attn_gate", has(m, "gates of values") ? F_HEADS * dim_v : F_HEADS, F_EMBD);
    if (has(m, "attn_sub_norm"))
        norm(m, layer, "attn_sub_norm", F_HEADS * dim_v);
    product(m, layer, "attn_output", F_EMBD, F_HEADS * dim_v);
}

static void latent_attention(struct maker *m, int layer)
{
    const struct f_said *s = &m->f->said;
    int rank = (int)s->kv_rank, turning = (int)s->n_turning;
    int k = (int)f_or(s->key_length_mla, s->key_length), still = k - turning;
    int v = (int)f_or(s->value_length_mla, f_or(s->value_length, f_or(s->key_length, F_EMBD / F_HEADS)));
    if (!isnan(s->q_rank)) {
        product(m, layer, "attn_q_a", (int)s->q_rank, F_EMBD);
        norm(m, layer, "attn_q_a_norm", (int)s->q_rank);
        product(m, layer, "attn_q_b", F_HEADS * k, (int)s->q_rank);
    } else {
        product(m, layer, "attn_q", F_HEADS * k, F_EMBD);
    }
    product(m, layer, "attn_kv_a_mqa", rank + turning, F_EMBD);
    norm(m, layer, "attn_kv_a_norm", rank);
    if (has(m, "attn_k_b")) {
        tensor(m, layer, "attn_k_b.weight", F_HEADS, rank, still, 0.5, 0);
        tensor(m, layer, "attn_v_b.weight", F_HEADS, v, rank, 0.5, 0);
    } else {
        product(m, layer, "attn_kv_b", F_HEADS * (still + v), rank);
    }
    product(m, layer, "attn_output", F_EMBD, F_HEADS * v);
}

/* ---- rare parts ---- */

static void state_space(struct maker *m, int layer)
{
    const int inner = F_SSM_INNER, heads = F_SSM_HEADS, n = F_SSM_STATE;
    bool old = m->f->arch->recurrent == F_MAMBA;
    const int mixed = old ? inner : inner + 2 * F_SSM_GROUPS * n;
    product(m, layer, "ssm_in", old ? 2 * inner : inner + mixed + heads, F_EMBD);
    matrix(m, layer, "ssm_conv1d", mixed, F_CONV);
    if (has(m, "ssm_conv1d.bias"))
        vector(m, layer, "ssm_conv1d", "bias", mixed, 0.5, 0);
    tensor(m, layer, "ssm_a", 0, old ? inner : heads, old ? n : 1, 0.5, -1);
    tensor(m, layer, "ssm_d", 0, 0, old ? inner : heads, 0.5, 1);
    if (old) {
        matrix(m, layer, "ssm_x", heads + 2 * n, inner);
        product(m, layer, "ssm_dt", inner, heads);
        if (has(m, "norms of steps")) {
            vector(m, layer, "ssm_dt_norm", "weight", heads, 0.5, 1);
            vector(m, layer, "ssm_b_norm", "weight", n, 0.5, 1);
            vector(m, layer, "ssm_c_norm", "weight", n, 0.5, 1);
        }
    } else {
        vector(m, layer, "ssm_dt", "bias", heads, 0.5, 0);
        if (!m->f->arch->recurs_beside || has(m, "ssm_norm"))
            tensor(m, layer, "ssm_norm.weight", 0, F_SSM_GROUPS, inner / F_SSM_GROUPS, 0.5, 1);
    }
    product(m, layer, "ssm_out", F_EMBD, inner);
}

static void delta_rule(struct maker *m, int layer)
{
    const int heads = F_SSM_HEADS, mixed = F_SSM_INNER + 2 * F_SSM_GROUPS * F_SSM_STATE;
    product(m, layer, "attn_qkv", mixed, F_EMBD);
    product(m, layer, "attn_gate", F_SSM_INNER, F_EMBD);
    if (has(m, "ssm_ba")) {
        product(m, layer, "ssm_ba", 2 * heads, F_EMBD);
    } else {
        product(m, layer, "ssm_alpha", heads, F_EMBD);
        product(m, layer, "ssm_beta", heads, F_EMBD);
    }
    vector(m, layer, "ssm_dt", "bias", heads, 0.5, 0);
    tensor(m, layer, "ssm_a", 0, 0, heads, 0.5, -1);
    matrix(m, layer, "ssm_conv1d", mixed, F_CONV);
    vector(m, layer, "ssm_norm", "weight", F_SSM_INNER / heads, 0.5, 1);
    product(m, layer, "ssm_out", F_EMBD, F_SSM_INNER);
}

static void kimi_delta_rule(struct maker *m, int layer)
{
    static const char *const weights[] = {"attn_q", "attn_k", "attn_v"}, *const kernels[] = {"ssm_conv1d_q",
                                                                                             "ssm_conv1d_k",
                                                                                             "ssm_conv1d_v"};
    const int dim = F_KDA_DIM, n = F_SSM_HEADS * dim;
    for (int i = 0; i < 3; i++) {
        product(m, layer, weights[i], n, F_EMBD);
        matrix(m, layer, kernels[i], n, F_CONV);
    }
    matrix(m, layer, "ssm_f_a", dim, F_EMBD);
    matrix(m, layer, "ssm_f_b", n, dim);
    matrix(m, layer, "ssm_g_a", dim, F_EMBD);
    matrix(m, layer, "ssm_g_b", n, dim);
    product(m, layer, "ssm_beta", F_SSM_HEADS, F_EMBD);
    vector(m, layer, "ssm_dt", "bias", n, 0.5, 0);
    tensor(m, layer, "ssm_a", 0, 0, F_SSM_HEADS, 0.5, -1);
    vector(m, layer, "ssm_norm", "weight", dim, 0.5, 1);
    product(m, layer, "attn_output", F_EMBD, n);
}

static void short_convolution(struct maker *m, int layer)
{
    product(m, layer, "shortconv.in_proj", 3 * F_EMBD, F_EMBD);
    matrix(m, layer, "shortconv.conv", F_EMBD, F_CONV);
    if (has(m, "shortconv.conv.bias"))
        vector(m, layer, "shortconv.conv", "bias", F_EMBD, 0.5, 0);
    product(m, layer, "shortconv.out_proj", F_EMBD, F_EMBD);
}

static void recurrent(struct maker *m, int layer)
{
    switch (m->f->arch->recurrent) {
    case F_SHORT_CONVOLUTION:
        short_convolution(m, layer);
        break;
    case F_DELTA:
        delta_rule(m, layer);
        break;
    case F_KIMI_DELTA:
        kimi_delta_rule(m, layer);
        break;
    default:
        state_space(m, layer);
    }
}

static bool says_to_layers(const struct maker *m)
{
    enum f_order order = m->f->arch->order;
    bool beside = order == F_BESIDE || order == F_BESIDE_IF_SAID || order == F_BESIDE_IF_ONE_NORM;
    return m->f->arch->mixer == F_ALTERNATING ||
           (!beside && isnan(m->f->said.loops) && !isnan(m->f->rms_eps) && has(m, "per_layer_token_embd"));
}

static void layer_inputs(struct maker *m)
{
    int n = F_SAID_WIDTH * m->f->n_layer;
    tensor(m, -1, "per_layer_token_embd.weight", 0, F_VOCAB, n, 1, 0);
    product(m, -1, "per_layer_model_proj", n, F_EMBD);
    vector(m, -1, "per_layer_proj_norm", "weight", F_SAID_WIDTH, 0.5, 1);
}

static void layer_input(struct maker *m, int layer)
{
    product(m, layer, "inp_gate", F_SAID_WIDTH, F_EMBD);
    product(m, layer, "proj", F_EMBD, F_SAID_WIDTH);
    norm(m, layer, "post_norm", F_EMBD);
}

static void alternating(struct maker *m, int layer)
{
    enum { N = 3, RANK = 7 };
    norm(m, layer, "altup_router_norm", F_EMBD);
    tensor(m, layer, "altup_router.weight", 0, N, F_EMBD, 4, 0);
    tensor(m, layer, "altup_predict_coef.weight", 0, N * N, N, 0.5, 0);
    tensor(m, layer, "altup_correct_coef.weight", 0, N, N, 0.5, 0);
    vector(m, layer, "altup_correct_scale", "weight", F_EMBD, 0.5, 1);
    matrix(m, layer, "laurel_l", RANK, F_EMBD);
    matrix(m, layer, "laurel_r", F_EMBD, RANK);
    norm(m, layer, "laurel_post_norm", F_EMBD);
}

/* ---- feed-forward ---- */

static void mlp(struct maker *m, int layer)
{
    enum f_ffn kind = m->f->arch->ffn;
    bool plain = kind == F_UP_DOWN || kind == F_XIELU;
    int n = m->f->arch->ffn_embd_wide ? F_EMBD : F_FF;
    if (!plain && has(m, "gate and up in one")) {
        product(m, layer, "ffn_up", 2 * n, F_EMBD);
    } else {
        product(m, layer, "ffn_up", n, F_EMBD);
        if (!plain || has(m, "a gate in vain"))
            product(m, layer, "ffn_gate", n, F_EMBD);
    }
    if (has(m, "ffn.act.scales"))
        vector(m, layer, "ffn.act", "scales", n, 0.25, 1);
    if (has(m, "ffn_sub_norm"))
        norm(m, layer, "ffn_sub_norm", n);
    product(m, layer, "ffn_down", F_EMBD, n);
}

static void stack(struct maker *m, int layer, const char *name, int rows, int cols)
{
    tensor(m, layer, named(name, "weight"), F_EXPERTS, rows, cols, 1.5 / sqrt(cols), 0);
    if (has(m, named(name, "bias")) && strcmp(name, "ffn_gate_up_exps") != 0) /* refused with one */
        tensor(m, layer, named(name, "bias"), 0, F_EXPERTS, rows, 0.5, 0);
    if (has(m, named(name, "scale")))
        vector(m, layer, name, "scale", F_EXPERTS, 0.25, 1);
}

static void shared_expert(struct maker *m, int layer)
{
    int n = F_FF_EXPERT, in_one = has(m, "shared gate and up in one");
    product(m, layer, "ffn_up_shexp", in_one ? 2 * n : n, F_EMBD);
    if (!in_one && has(m, "ffn_gate_shexp"))
        product(m, layer, "ffn_gate_shexp", n, F_EMBD);
    product(m, layer, "ffn_down_shexp", F_EMBD, n);
    if (has(m, "ffn_gate_inp_shexp"))
        product(m, layer, "ffn_gate_inp_shexp", 1, F_EMBD);
}

static void experts(struct maker *m, int layer)
{
    enum f_ffn kind = m->f->arch->ffn;
    bool latent = kind != F_MOE_AND_MLP && kind != F_MOE_OF_INPUT && has(m, "ffn_latent");
    int n = F_FF_EXPERT, width = latent ? F_EMBD / 2 : F_EMBD;
    matrix(m, layer, "ffn_gate_inp", F_EXPERTS, F_EMBD);
    if (kind == F_MOE_AND_MLP) {
        vector(m, layer, "ffn_gate_inp", "scale", F_EMBD, 2, 4);
        norm(m, layer, "pre_ffw_norm_2", F_EMBD);
        norm(m, layer, "post_ffw_norm_1", F_EMBD);
        norm(m, layer, "post_ffw_norm_2", F_EMBD);
    } else {
        if (has(m, "ffn_gate_inp.bias"))
            vector(m, layer, "ffn_gate_inp", "bias", F_EXPERTS, 0.5, 0);
        if (has(m, "ffn_gate_inp.scale"))
            vector(m, layer, "ffn_gate_inp", "scale", 1, 0.25, 1);
    }
    if (kind == F_MOE_OF_INPUT)
        norm(m, layer, "ffn_norm_exps", F_EMBD);
    if (has(m, "exp_probs_b"))
        vector(m, layer, "exp_probs_b", "bias", F_EXPERTS, 0.25, 0);
    if (latent) {
        matrix(m, layer, "ffn_latent_down", width, F_EMBD);
        matrix(m, layer, "ffn_latent_up", F_EMBD, width);
    }
    if (has(m, "experts' gate and up in one")) {
        stack(m, layer, "ffn_gate_up_exps", 2 * n, width);
    } else {
        stack(m, layer, "ffn_up_exps", n, width);
        if (m->variant == BARE || has(m, "ffn_gate_exps"))
            stack(m, layer, "ffn_gate_exps", n, width);
    }
    stack(m, layer, "ffn_down_exps", width, n);
    if (kind != F_MOE_OF_INPUT && kind != F_MOE_AND_MLP && has(m, "shared expert"))
        shared_expert(m, layer);
}

/* ---- layers and ends ---- */

static bool is_moe(const struct maker *m)
{
    return m->f->arch->ffn >= F_MOE;
}

static bool is_needed(const char *name, const char *usual, const char *other)
{
    return strcmp(other ? other : usual, name) == 0;
}

static void layer_norms(struct maker *m, int layer)
{
    const struct f_arch *a = m->f->arch;
    static const char *const names[] = {"attn_norm",         "attn_norm_2",         "ffn_norm",     "attn_output_norm",
                                        "layer_output_norm", "post_attention_norm", "post_ffw_norm"};
    bool after = a->order == F_POST || a->order == F_SANDWICH || a->mixer == F_ALTERNATING, before = a->order != F_POST;
    bool one_may_do = a->order == F_BESIDE || a->order == F_BESIDE_IF_SAID || a->order == F_BESIDE_IF_ONE_NORM;
    bool two_needed = a->order == F_BESIDE_IF_SAID && f_or(m->f->said.beside, 1) == 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i];
        bool needed = (before && strcmp(name, "attn_norm") == 0) ||
                      (before && (!one_may_do || two_needed) && is_needed(name, "ffn_norm", a->before_ffn)) ||
                      (after && is_needed(name, "post_attention_norm", a->after_attention)) ||
                      (after && is_needed(name, "post_ffw_norm", a->after_ffn));
        if (needed || has(m, name))
            norm(m, layer, name, F_EMBD);
    }
}

static void layer(struct maker *m, int i)
{
    const struct f_arch *a = m->f->arch;
    bool routed = i >= (int)f_or(m->f->said.n_dense, 0) && (is_moe(m) || has(m, "router in vain"));
    layer_norms(m, i);
    if (m->f->blocks[i] == F_RECURS || a->recurs_beside)
        recurrent(m, i);
    if (a->mixer == F_LATENT && m->f->blocks[i] == F_ATTENDS)
        latent_attention(m, i);
    else if (m->f->lacks[i] == F_NO_KEYS)
        matrix(m, i, "attn_output", F_EMBD, F_EMBD);
    else if (m->f->blocks[i] == F_ATTENDS && m->f->lacks[i] != F_NO_ATTENTION)
        attention(m, i);
    if (a->mixer == F_ALTERNATING)
        alternating(m, i);
    if (has(m, "layer_output_scale"))
        vector(m, i, "layer_output_scale", "weight", 1, 0.25, 1);
    if (says_to_layers(m))
        layer_input(m, i);
    if (a->one_block && m->f->blocks[i] != F_FEEDS)
        return;
    if (m->f->lacks[i] == F_NO_FFN)
        return;
    if (routed)
        experts(m, i);
    if (!routed || !is_moe(m) || a->ffn == F_MOE_OF_INPUT || a->ffn == F_MOE_AND_MLP ||
        has(m, "a block beside experts"))
        mlp(m, i);
}

static void ends(struct maker *m)
{
    const struct f_arch *a = m->f->arch;
    matrix(m, -1, "token_embd", F_VOCAB, F_EMBD);
    if (has(m, "token_embd.bias"))
        vector(m, -1, "token_embd", "bias", F_VOCAB, 0.5, 0);
    if (a->mixer == F_ALTERNATING) {
        tensor(m, -1, "altup_proj.weight", 2, F_EMBD, F_EMBD, 0.25, 0);
        tensor(m, -1, "altup_unembd_proj.weight", 2, F_EMBD, F_EMBD, 0.25, 0);
    }
    if (says_to_layers(m))
        layer_inputs(m);
    if (a->embedding_norm || a->last || has(m, "token_embd_norm"))
        norm(m, -1, "token_embd_norm", F_EMBD);
    bool knows_nothing_else = a->turn == F_STILL && !a->recurrent && a->alibi == 0 && isnan(m->f->said.alibi);
    if (knows_nothing_else || has(m, "position_embd"))
        matrix(m, -1, "position_embd", F_CONTEXT, F_EMBD);
    if (has(m, "token_types"))
        matrix(m, -1, "token_types", 2, F_EMBD);
    norm(m, -1, "output_norm", F_EMBD);
    if (has(m, "output"))
        product(m, -1, "output", F_VOCAB, F_EMBD);
    if (has(m, "rope_freqs")) {
        vector(m, -1, "rope_freqs", "weight", 8, 1, 2);
    } else if (has(m, "rope_factors")) {
        vector(m, -1, "rope_factors_long", "weight", 8, 1, 4);
        vector(m, -1, "rope_factors_short", "weight", 8, 0.25, 1.5);
    }
}

/* ---- metadata ---- */

static bool must_say(const struct maker *m, const char *key)
{
    const struct f_arch *a = m->f->arch;
    bool latent = a->mixer == F_LATENT;
    if (strcmp(key, "attention.sliding_window") == 0)
        return a->window < 0;
    if (strcmp(key, "attention.kv_lora_rank") == 0 || strcmp(key, "rope.dimension_count") == 0 ||
        strcmp(key, "attention.indexer.top_k") == 0)
        return latent;
    return strcmp(key, "attention.key_length") == 0 && latent && m->variant == BARE;
}

static bool may_say(const struct maker *m, const char *key)
{
    const struct f_arch *a = m->f->arch;
    bool odd_layers = a->still_period || a->turns == F_TURN_LOCAL_OR_DENSE || a->shares_layers || a->alibi_layers ||
                      a->recurrent || a->window_layers || a->wide_layers;
    if (strcmp(key, "num_loops") == 0)
        return !odd_layers;
    if (a->query_gate && strncmp(key, "attention.value_length", 22) == 0) /* gates are as long as queries */
        return false;
    return strcmp(key, "leading_dense_block_count") != 0 || a->ffn != F_MOE_OF_INPUT;
}

static void say_all(struct maker *m)
{
    struct f_said *s = &m->f->said;
#define X(field, key, kind, value)                                                                                     \
    s->field = must_say(m, key) || (may_say(m, key) && has(m, key)) ? (double)(value) : (double)NAN;
    F_SAID(X)
#undef X
    if (m->f->arch->mixer == F_LATENT && isnan(s->key_length_mla) && isnan(s->key_length))
        s->key_length_mla = 14;
    s->groups_used = isnan(s->groups) ? (double)NAN : 2;
    s->gate = isnan(s->gate) ? s->gate : 1 + way(m, "gate", 3);
    s->renormalize = isnan(s->renormalize) ? s->renormalize : way(m, "renormalize", 2);
    if (m->f->arch->renormalized != 2 && !isnan(s->renormalize)) /* it has no effect, so use the opposite */
        s->renormalize = !m->f->arch->renormalized;
    if (m->f->arch->gate < 0 && !isnan(s->gate) && (int)s->gate == -m->f->arch->gate)
        s->gate = 1 + (int)s->gate % 3;
#define X(field, key, kind, value)                                                                                     \
    if (!isnan(s->field))                                                                                              \
        say(m, key, kind, s->field);
    F_SAID(X)
#undef X
}

static void say_lists(struct maker *m)
{
    static const bool listed[] = {false, true, true, false, true, false, false, true, false};
    static const char *const types[] = {"", "none", "linear", "ntk", "yarn"};
    static const uint32_t sections[4] = {2, 1, 0, 1};
    struct f_file *f = m->f;
    bool as_usual = m->variant == 2 || m->variant == 3; /* windows in the architecture's usual layers */
    f->period = -1;
    if (as_usual) {
        f->listed = NULL;
    } else if (f->n_layer <= (int)(sizeof listed / sizeof *listed) && has(m, "listed windows")) {
        gw_array(&m->g, full_key(m, "attention.sliding_window_pattern"), GW_BOOL, (uint64_t)f->n_layer, listed, 1);
        f->listed = listed;
    } else if (has(m, "a period of windows")) {
        f->period = way(m, "a period of windows", 4);
        say(m, "attention.sliding_window_pattern", 'u', f->period);
    }
    f->scaling = m->variant == BARE ? F_SCALING_MISSING : (enum f_scaling)((m->variant + way(m, "scaling", 5)) % 5);
    if (f->scaling != F_SCALING_MISSING)
        gw_str(&m->g, full_key(m, "rope.scaling.type"), types[f->scaling]);
    if (has(m, "sections")) {
        gw_array(&m->g, full_key(m, "rope.dimension_sections"), GW_UINT32, 4, sections, sizeof *sections);
        for (int i = 0; i < 4; i++)
            f->sections[i] = (int)sections[i];
    }
}

/* Heads and lengths: one number for all layers, or a list if layers differ. */
static void say_blocks(struct maker *m)
{
    static const enum f_block one[] = {F_RECURS, F_FEEDS, F_ATTENDS, F_FEEDS, F_RECURS};
    const struct f_arch *a = m->f->arch;
    int n_ff = a->ffn_embd_wide ? 7 : a->ffn_halved ? 2 * F_FF : F_FF, n = m->f->n_layer;
    uint32_t heads[F_MAX_LAYERS], kv[F_MAX_LAYERS], ff[F_MAX_LAYERS];
    for (int i = 0; i < n; i++) {
        if (a->recurrent && !a->recurs_beside)
            m->f->blocks[i] = a->all_recur ? F_RECURS : a->one_block ? one[i % 5] : i % 2 ? F_ATTENDS : F_RECURS;
        if (a->thinned && m->variant != BARE)
            m->f->lacks[i] = i % 4;
        int lacks = m->f->lacks[i];
        heads[i] = lacks == F_NO_ATTENTION ? 0 : F_HEADS;
        bool keys = m->f->blocks[i] == F_ATTENDS || a->recurrent == F_DELTA; /* whose layers are counted */
        kv[i] = keys && lacks != F_NO_ATTENTION && lacks != F_NO_KEYS ? F_HEADS_KV : 0;
        ff[i] = (m->f->blocks[i] == F_FEEDS || !a->one_block) && lacks != F_NO_FFN ? F_FF : 0;
    }
    if (!a->recurrent && !a->thinned) {
        say(m, "attention.head_count", 'u', F_HEADS);
        say(m, "feed_forward_length", 'u', n_ff);
        say(m, "attention.head_count_kv", 'u', F_HEADS_KV);
        return;
    }
    gw_array(&m->g, full_key(m, "attention.head_count"), GW_UINT32, (uint64_t)n, heads, sizeof *heads);
    gw_array(&m->g, full_key(m, "attention.head_count_kv"), GW_UINT32, (uint64_t)n, kv, sizeof *kv);
    gw_array(&m->g, full_key(m, "feed_forward_length"), GW_UINT32, (uint64_t)n, ff, sizeof *ff);
    if (a->recurrent == F_SHORT_CONVOLUTION)
        say(m, "shortconv.l_cache", 'u', F_CONV);
    if (a->recurrent == F_DELTA)
        say(m, "full_attention_interval", 'u', 2);
    if (a->recurrent == F_KIMI_DELTA)
        say(m, "kda.head_dim", 'u', F_KDA_DIM);
    if (!a->recurrent || a->recurrent == F_SHORT_CONVOLUTION)
        return;
    say(m, "ssm.conv_kernel", 'u', F_CONV);
    say(m, "ssm.inner_size", 'u', F_SSM_INNER);
    say(m, "ssm.state_size", 'u', F_SSM_STATE);
    say(m, "ssm.time_step_rank", 'u', F_SSM_HEADS);
    say(m, "ssm.group_count", 'u', F_SSM_GROUPS);
}

static void say_sizes(struct maker *m)
{
    const struct f_arch *a = m->f->arch;
    gw_str(&m->g, "general.architecture", a->name);
    say(m, "block_count", 'u', m->f->n_layer);
    say(m, "context_length", 'u', F_CONTEXT);
    say(m, "embedding_length", 'u', F_EMBD);
    say_blocks(m);
    if (a->mixer == F_ALTERNATING)
        say(m, "altup.num_inputs", 'u', 3);
    say(m, "expert_count", 'u', F_EXPERTS);
    say(m, "expert_used_count", 'u', F_USED);
    m->f->rms_eps = a->norms == F_RMS || has(m, "rms_eps") ? 0.03125 : (double)NAN;
    m->f->layer_eps = a->norms != F_RMS || has(m, "layer_eps") ? 0.0625 : (double)NAN;
    if (!isnan(m->f->rms_eps))
        say(m, "attention.layer_norm_rms_epsilon", 'f', m->f->rms_eps);
    if (!isnan(m->f->layer_eps))
        say(m, "attention.layer_norm_epsilon", 'f', m->f->layer_eps);
}

static void say_xielu(struct maker *m)
{
    static const double values[] = {0.75, 1.25, 0.5};
    static const char *const keys[] = {"xielu.alpha_p", "xielu.alpha_n", "xielu.beta"};
    for (int i = 0; i < 3; i++) {
        m->f->xielu[i] = values[i];
        gw_f32(&m->g, keys[i], (float)values[i]);
    }
}

static const char *make(struct maker *m, const struct f_arch *arch, int n_layer, int variant)
{
    m->f = calloc(1, sizeof *m->f);
    assert_non_null(m->f);
    m->f->arch = arch;
    m->f->n_layer = n_layer;
    m->variant = variant;
    gw_init(&m->g);
    say_sizes(m);
    say_all(m);
    say_lists(m);
    say_xielu(m);
    ends(m);
    for (int i = 0; i < n_layer; i++)
        layer(m, i);
    const char *path = gw_file(&m->g, "formula.gguf");
    gw_free(&m->g);
    return path;
}

static void forget(struct maker *m)
{
    pn_arena_free(&m->arena);
    free(m->f);
}

/* ---- comparing ---- */

static const int ids[F_TOKENS] = {3, 17, 8, 8, 21, 0, 14, 5, 19, 11, 2, 23};

/* 1e300 and a message if it cannot be run. */
static double distance(const struct f_file *f, const char *path)
{
    static double wanted[F_TOKENS * F_VOCAB];
    static float got[F_TOKENS * F_VOCAB], rounded[F_TOKENS * F_VOCAB];
    int32_t tokens[F_TOKENS];
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    double e = 1e300;
    for (int t = 0; t < F_TOKENS; t++)
        tokens[t] = ids[t];
    f_logits(f, ids, wanted);
    for (int i = 0; i < F_TOKENS * F_VOCAB; i++)
        rounded[i] = (float)wanted[i];
    if (pantry_model_load(path,
                          &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"},
                          &model, &error) ||
        pantry_session_new(
            model, &(struct pantry_session_options){.size = sizeof(struct pantry_session_options), .kv_type = "f32"},
            &session, &error) ||
        pantry_logits(session, tokens, F_TOKENS, NULL, 0, got, &error))
        print_error("%s: %s\n", f->arch->name, error.text);
    else
        e = nmse(got, rounded, F_TOKENS * F_VOCAB);
    pantry_session_free(session);
    pantry_model_free(model);
    return e;
}

static int check(const struct f_arch *arch, int n_layer, int variant)
{
    struct maker m = {0};
    const char *path = make(&m, arch, n_layer, variant);
    double e = distance(m.f, path);
    forget(&m);
    if (e < 1e-9) {
        if (n_chosen)
            print_message("  %s, %d layers, variant %d: NMSE %g\n", arch->name, n_layer, variant, e);
        return 0;
    }
    print_error("%s, %d layers, variant %d: NMSE %g\n", arch->name, n_layer, variant, e);
    return 1;
}

static bool is_chosen(const char *name)
{
    for (int i = 0; i < n_chosen; i++)
        if (strcmp(chosen[i], name) == 0)
            return true;
    return n_chosen == 0;
}

static int depth_of(const struct f_arch *a)
{
    int period = a->period > a->still_period ? a->period : a->still_period;
    if (a->one_block || a->sparse_layers)
        return a->one_block ? 5 : a->sparse_layers + 1;
    if (a->thinned)
        return 4;
    return period && period < 100 ? period + 1 : 3;
}

/* Every row has a formula with its name and the authors' class name. Encoders have references in test_embed. */
static void every_decoder_has_a_formula(void **state)
{
    (void)state;
    int failures = 0;
    struct pn_arch row;
    for (int i = 0; pn_arch_at(i, &row); i++) {
        bool found = row.encoder;
        for (int j = 0; j < f_n_archs; j++) {
            if (strcmp(f_archs[j].name, row.name) != 0)
                continue;
            found = true;
            assert_string_equal(f_archs[j].hf, row.hf);
        }
        if (!found)
            print_error("%s has no formula\n", row.name);
        failures += !found;
    }
    assert_int_equal(failures, 0);
}

static void decoders_equal_their_formulas(void **state)
{
    (void)state;
    int failures = 0;
    for (int i = 0; i < f_n_archs; i++) {
        const struct f_arch *a = &f_archs[i];
        const int special[] = {a->alibi_layers, a->turn_layers, a->wide_layers, a->window_layers,
                               a->shares_layers > 0 ? a->shares_layers + 3 : 0};
        if (!is_chosen(a->name))
            continue;
        for (int variant = 0; variant < N_VARIANTS; variant++)
            failures += check(a, depth_of(a), variant);
        for (int j = 0; j < 5; j++)
            if (special[j])
                failures += check(a, special[j], BARE);
    }
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_decoder_has_a_formula),
                                       cmocka_unit_test(decoders_equal_their_formulas)};
    chosen = argv + 1;
    n_chosen = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
