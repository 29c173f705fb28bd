/* Tiny random encoders: see tiny_encoder.h. */
#include "tiny_encoder.h"

#include <stdio.h>
#include <string.h>

enum { D = ENCODER_EMBD, FF = ENCODER_FF, N_EXPERT = 4, N_BUCKETS = 8 };

struct maker {
    struct gw *g;
    const char *arch;
    struct pn_rng rng;
};

const char *const tiny_encoders[] = {"bert",         "nomic-bert",  "nomic-bert-moe",  "jina-bert-v2",
                                     "jina-bert-v3", "modern-bert", "gemma-embedding", "t5",
                                     "t5encoder",    NULL};

static bool is(const struct maker *m, const char *arch)
{
    return strcmp(m->arch, arch) == 0;
}

static void tensor(struct maker *m, int layer, const char *name, const char *suffix, int n_dims, const int64_t *shape,
                   float scale)
{
    char full[96];
    const char *prefix = strncmp(m->arch, "t5", 2) == 0 ? "enc." : "";
    if (layer < 0)
        snprintf(full, sizeof full, "%s.%s", name, suffix);
    else
        snprintf(full, sizeof full, "%sblk.%d.%s.%s", prefix, layer, name, suffix);
    gw_random(m->g, full, GW_F32, n_dims, shape, scale, &m->rng);
}

static void matrix(struct maker *m, int layer, const char *name, int64_t rows, int64_t cols, bool bias)
{
    tensor(m, layer, name, "weight", 2, (const int64_t[]){rows, cols}, 0.3f);
    if (bias)
        tensor(m, layer, name, "bias", 1, &rows, 0.2f);
}

/* Norm weights are random around 1. */
static void norm(struct maker *m, int layer, const char *name, int64_t n, bool bias)
{
    char full[96];
    float values[D];
    const char *prefix = strncmp(m->arch, "t5", 2) == 0 ? "enc." : "";
    if (layer < 0)
        snprintf(full, sizeof full, "%s.weight", name);
    else
        snprintf(full, sizeof full, "%sblk.%d.%s.weight", prefix, layer, name);
    for (int64_t i = 0; i < n; i++)
        values[i] = 0.5f + pn_rng_float(&m->rng);
    gw_floats(m->g, full, GW_F32, 1, &n, values);
    if (bias)
        tensor(m, layer, name, "bias", 1, &n, 0.2f);
}

static void key(struct maker *m, const char *name, uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", m->arch, name);
    gw_u32(m->g, full, value);
}

static void number(struct maker *m, const char *name, float value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", m->arch, name);
    gw_f32(m->g, full, value);
}

static void keys(struct maker *m)
{
    bool rms = is(m, "gemma-embedding") || strncmp(m->arch, "t5", 2) == 0;
    gw_str(m->g, "general.architecture", m->arch);
    key(m, "context_length", ENCODER_CONTEXT);
    key(m, "embedding_length", D);
    key(m, "block_count", ENCODER_LAYERS);
    key(m, "feed_forward_length", FF);
    key(m, "attention.head_count", ENCODER_HEADS);
    number(m, rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", rms ? 1e-6f : 1e-5f);
    if (is(m, "bert"))
        key(m, "pooling_type", 1);
    if (is(m, "nomic-bert-moe")) {
        key(m, "expert_count", N_EXPERT);
        key(m, "expert_used_count", 2);
        key(m, "moe_every_n_layers", 2);
    }
    if (is(m, "modern-bert") || is(m, "gemma-embedding")) {
        key(m, "attention.sliding_window", ENCODER_WINDOW);
        key(m, "attention.sliding_window_pattern", is(m, "modern-bert") ? 3 : 2);
        number(m, "rope.freq_base", is(m, "modern-bert") ? 160000 : 1000000);
        number(m, "rope.freq_base_swa", 10000);
    }
    if (strncmp(m->arch, "t5", 2) == 0)
        key(m, "attention.relative_buckets_count", N_BUCKETS);
}

/* [PAD] [UNK] [CLS] [SEP] [MASK], letters that begin a word, letters inside one. */
static void vocabulary(struct maker *m)
{
    static char text[ENCODER_VOCAB][12];
    const char *tokens[ENCODER_VOCAB];
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    int32_t types[ENCODER_VOCAB];
    for (int i = 0; i < ENCODER_VOCAB; i++) {
        if (i < 5)
            snprintf(text[i], sizeof text[i], "%s", special[i]);
        else if (i < 31)
            snprintf(text[i], sizeof text[i], "\xe2\x96\x81%c", 'a' + i - 5);
        else if (i < 57)
            snprintf(text[i], sizeof text[i], "%c", 'a' + i - 31);
        else
            snprintf(text[i], sizeof text[i], "[more%d]", i);
        tokens[i] = text[i];
        types[i] = i < 5 ? 3 : 1;
    }
    gw_str(m->g, "tokenizer.ggml.model", "bert");
    gw_str(m->g, "tokenizer.ggml.pre", "default");
    gw_strings(m->g, "tokenizer.ggml.tokens", ENCODER_VOCAB, tokens);
    gw_array(m->g, "tokenizer.ggml.token_type", GW_INT32, ENCODER_VOCAB, types, sizeof *types);
    gw_u32(m->g, "tokenizer.ggml.unknown_token_id", 1);
    gw_u32(m->g, "tokenizer.ggml.cls_token_id", 2);
    gw_u32(m->g, "tokenizer.ggml.seperator_token_id", 3);
    gw_u32(m->g, "tokenizer.ggml.padding_token_id", 0);
    gw_u32(m->g, "tokenizer.ggml.mask_token_id", 4);
}

/* Norms after the sums. */
static void bert_layer(struct maker *m, int i)
{
    bool jina2 = is(m, "jina-bert-v2"), nomic = is(m, "nomic-bert"), moe = is(m, "nomic-bert-moe") && i % 2 == 1;
    if (is(m, "bert") || jina2) {
        matrix(m, i, "attn_q", D, D, true);
        matrix(m, i, "attn_k", D, D, true);
        matrix(m, i, "attn_v", D, D, true);
    } else {
        matrix(m, i, "attn_qkv", 3 * D, D, !nomic);
    }
    if (jina2) {
        norm(m, i, "attn_q_norm", D, true);
        norm(m, i, "attn_k_norm", D, true);
    }
    matrix(m, i, "attn_output", D, D, !nomic);
    norm(m, i, "attn_output_norm", D, true);
    if (jina2)
        norm(m, i, "attn_norm_2", D, true);
    if (moe) {
        matrix(m, i, "ffn_gate_inp", N_EXPERT, D, false);
        tensor(m, i, "ffn_up_exps", "weight", 3, (const int64_t[]){N_EXPERT, FF, D}, 0.3f);
        tensor(m, i, "ffn_down_exps", "weight", 3, (const int64_t[]){N_EXPERT, D, FF}, 0.3f);
    } else {
        if (nomic)
            matrix(m, i, "ffn_gate", FF, D, false);
        matrix(m, i, "ffn_up", jina2 ? 2 * FF : FF, D, !nomic && !jina2);
        matrix(m, i, "ffn_down", D, FF, !nomic);
    }
    norm(m, i, "layer_output_norm", D, true);
}

static void modern_layer(struct maker *m, int i)
{
    if (i > 0)
        norm(m, i, "attn_norm", D, false);
    matrix(m, i, "attn_qkv", 3 * D, D, false);
    matrix(m, i, "attn_output", D, D, false);
    norm(m, i, "ffn_norm", D, false);
    matrix(m, i, "ffn_up", 2 * FF, D, false);
    matrix(m, i, "ffn_down", D, FF, false);
}

/* RMS norms before the blocks; Gemma's also after them. */
static void rms_layer(struct maker *m, int i)
{
    bool gemma = is(m, "gemma-embedding");
    norm(m, i, "attn_norm", D, false);
    if (!gemma && i == 0)
        tensor(m, i, "attn_rel_b", "weight", 2, (const int64_t[]){N_BUCKETS, ENCODER_HEADS}, 2);
    matrix(m, i, "attn_q", D, D, false);
    matrix(m, i, "attn_k", D, D, false);
    matrix(m, i, "attn_v", D, D, false);
    matrix(m, i, gemma ? "attn_output" : "attn_o", D, D, false);
    if (gemma) {
        norm(m, i, "attn_q_norm", D / ENCODER_HEADS, false);
        norm(m, i, "attn_k_norm", D / ENCODER_HEADS, false);
        norm(m, i, "post_attention_norm", D, false);
    }
    norm(m, i, "ffn_norm", D, false);
    if (!is(m, "t5encoder"))
        matrix(m, i, "ffn_gate", FF, D, false);
    matrix(m, i, "ffn_up", FF, D, false);
    matrix(m, i, "ffn_down", D, FF, false);
    if (gemma)
        norm(m, i, "post_ffw_norm", D, false);
}

void tiny_encoder_init(struct gw *g, const char *arch)
{
    struct maker m = {.g = g, .arch = arch, .rng = {.state = 4321}};
    bool t5 = strncmp(arch, "t5", 2) == 0, gemma = is(&m, "gemma-embedding"), modern = is(&m, "modern-bert");
    gw_init(g);
    keys(&m);
    vocabulary(&m);
    matrix(&m, -1, "token_embd", ENCODER_VOCAB, D, false);
    if (is(&m, "bert"))
        matrix(&m, -1, "position_embd", ENCODER_CONTEXT, D, false);
    if (!t5 && !gemma && !modern)
        matrix(&m, -1, "token_types", is(&m, "bert") ? 2 : 1, D, false);
    if (!t5 && !gemma)
        norm(&m, -1, "token_embd_norm", D, !modern);
    for (int i = 0; i < ENCODER_LAYERS; i++)
        if (modern)
            modern_layer(&m, i);
        else if (t5 || gemma)
            rms_layer(&m, i);
        else
            bert_layer(&m, i);
    if (t5 || gemma || modern)
        norm(&m, -1, t5 ? "enc.output_norm" : "output_norm", D, false);
    if (gemma) {
        matrix(&m, -1, "dense_2", FF, D, false);
        matrix(&m, -1, "dense_3", D, FF, false);
    }
    if (is(&m, "bert") || modern) {
        matrix(&m, -1, "cls", D, D, is(&m, "bert"));
        if (modern)
            norm(&m, -1, "cls.norm", D, false);
        matrix(&m, -1, "cls.output", 1, D, true);
    }
}

const char *tiny_encoder(const char *arch)
{
    struct gw g;
    char name[64];
    snprintf(name, sizeof name, "%s.gguf", arch);
    tiny_encoder_init(&g, arch);
    const char *path = gw_file(&g, name);
    gw_free(&g);
    return path;
}
