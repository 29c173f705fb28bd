/* A tiny random model: see tiny_model.h. The order of the random tensors is part of the definition. */
#include "tiny_model.h"

#include <stdio.h>
#include <string.h>

static struct pn_rng rng;

static void matrix(struct gw *g, uint32_t type, int layer, const char *name, int64_t rows, int64_t cols)
{
    char full[64];
    if (layer < 0)
        snprintf(full, sizeof full, "%s.weight", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    gw_random(g, full, type, 2, (const int64_t[]){rows, cols}, 0.25f, &rng);
}

/* Norm weights are random around 1: in [0.5, 1.5). */
static void norm(struct gw *g, int layer, const char *name, int64_t n)
{
    char full[64];
    float values[TINY_EMBD];
    if (layer < 0)
        snprintf(full, sizeof full, "%s.weight", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    for (int64_t i = 0; i < n; i++)
        values[i] = 0.5f + pn_rng_float(&rng);
    gw_floats(g, full, GW_F32, 1, &n, values);
}

static void key(struct gw *g, const char *arch, const char *name, uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", arch, name);
    gw_u32(g, full, value);
}

void tiny_model_init(struct gw *g, const char *arch, uint32_t type)
{
    char full[96];
    bool gemma = strcmp(arch, "gemma3") == 0, head_norms = gemma || strcmp(arch, "qwen3") == 0;
    rng.state = 1234;
    gw_init(g);
    gw_str(g, "general.architecture", arch);
    key(g, arch, "context_length", TINY_CONTEXT);
    key(g, arch, "embedding_length", TINY_EMBD);
    key(g, arch, "block_count", TINY_LAYERS);
    key(g, arch, "feed_forward_length", TINY_FF);
    key(g, arch, "attention.head_count", TINY_HEADS);
    key(g, arch, "attention.head_count_kv", TINY_HEADS_KV);
    key(g, arch, "attention.key_length", TINY_HEAD_DIM);
    key(g, arch, "attention.value_length", TINY_HEAD_DIM);
    snprintf(full, sizeof full, "%s.attention.layer_norm_rms_epsilon", arch);
    gw_f32(g, full, 1e-5f);
    if (gemma) {
        key(g, arch, "attention.sliding_window", 8);
        key(g, arch, "attention.sliding_window_pattern", 3);
        gw_f32(g, "gemma3.rope.freq_base", 100000);
    }
    matrix(g, type, -1, "token_embd", TINY_VOCAB, TINY_EMBD);
    for (int i = 0; i < TINY_LAYERS; i++) {
        norm(g, i, "attn_norm", TINY_EMBD);
        matrix(g, type, i, "attn_q", TINY_HEADS * TINY_HEAD_DIM, TINY_EMBD);
        matrix(g, type, i, "attn_k", TINY_HEADS_KV * TINY_HEAD_DIM, TINY_EMBD);
        matrix(g, type, i, "attn_v", TINY_HEADS_KV * TINY_HEAD_DIM, TINY_EMBD);
        matrix(g, type, i, "attn_output", TINY_EMBD, TINY_HEADS * TINY_HEAD_DIM);
        if (head_norms) {
            norm(g, i, "attn_q_norm", TINY_HEAD_DIM);
            norm(g, i, "attn_k_norm", TINY_HEAD_DIM);
        }
        if (gemma)
            norm(g, i, "post_attention_norm", TINY_EMBD);
        norm(g, i, "ffn_norm", TINY_EMBD);
        matrix(g, type, i, "ffn_gate", TINY_FF, TINY_EMBD);
        matrix(g, type, i, "ffn_up", TINY_FF, TINY_EMBD);
        matrix(g, type, i, "ffn_down", TINY_EMBD, TINY_FF);
        if (gemma)
            norm(g, i, "post_ffw_norm", TINY_EMBD);
    }
    norm(g, -1, "output_norm", TINY_EMBD);
    if (!gemma)
        matrix(g, type, -1, "output", TINY_VOCAB, TINY_EMBD);
}

const char *tiny_model(const char *arch, uint32_t type, const char *file)
{
    struct gw g;
    tiny_model_init(&g, arch, type);
    const char *path = gw_file(&g, file);
    gw_free(&g);
    return path;
}

const char *tiny_wide_model(void)
{
    enum { EMBD = 64, FF = 32, KV = 32, VOCAB = TINY_VOCAB };
    static const struct {
        const char *name;
        int64_t rows, cols; /* rows 0: a norm */
    } tensors[] = {{"blk.0.attn_norm", 0, EMBD}, {"blk.0.attn_q", EMBD, EMBD},      {"blk.0.attn_k", KV, EMBD},
                   {"blk.0.attn_v", KV, EMBD},   {"blk.0.attn_output", EMBD, EMBD}, {"blk.0.ffn_norm", 0, EMBD},
                   {"blk.0.ffn_gate", FF, EMBD}, {"blk.0.ffn_up", FF, EMBD},        {"blk.0.ffn_down", EMBD, FF},
                   {"token_embd", VOCAB, EMBD},  {"output_norm", 0, EMBD},          {"output", VOCAB, EMBD}};
    struct gw g;
    char name[64];
    rng.state = 8;
    gw_init(&g);
    gw_str(&g, "general.architecture", "llama");
    gw_u32(&g, "llama.context_length", 256);
    gw_u32(&g, "llama.embedding_length", EMBD);
    gw_u32(&g, "llama.block_count", 1);
    gw_u32(&g, "llama.feed_forward_length", FF);
    gw_u32(&g, "llama.attention.head_count", 2);
    gw_u32(&g, "llama.attention.head_count_kv", 1);
    gw_f32(&g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        snprintf(name, sizeof name, "%s.weight", tensors[i].name);
        if (tensors[i].rows)
            gw_random(&g, name, GW_F32, 2, (const int64_t[]){tensors[i].rows, tensors[i].cols}, 0.3f, &rng);
        else
            gw_constant(&g, name, GW_F32, 1, &tensors[i].cols, 1);
    }
    const char *path = gw_file(&g, "wide.gguf");
    gw_free(&g);
    return path;
}
