/* Tiny random models with recurrent layers: see tiny_hybrid.h. */
#include "tiny_hybrid.h"

#include <stdio.h>
#include <string.h>

enum { VOCAB = HYBRID_VOCAB, EMBD = 32, FF = 40, HEADS = 2, DIM = 16, INNER = 64, STATE = 8 };

const char *const tiny_hybrids[N_HYBRIDS] = {"mamba", "mamba2", "granitehybrid", "lfm2", "qwen35"};

static struct pn_rng rng;

static void u32(struct gw *g, const char *arch, const char *key, uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    gw_u32(g, full, value);
}

static void random_tensor(struct gw *g, int layer, const char *name, int64_t rows, int64_t cols)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    gw_random(g, full, GW_F32, rows ? 2 : 1, rows ? (const int64_t[]){rows, cols} : (const int64_t[]){cols}, 0.4f,
              &rng);
}

static void constant(struct gw *g, int layer, const char *name, int64_t rows, int64_t cols, float value)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    gw_constant(g, full, GW_F32, rows ? 2 : 1, rows ? (const int64_t[]){rows, cols} : (const int64_t[]){cols}, value);
}

static void attention(struct gw *g, int layer, bool gate, bool norms)
{
    random_tensor(g, layer, "attn_q.weight", (gate ? 2 : 1) * HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_k.weight", HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_v.weight", HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_output.weight", EMBD, HEADS * DIM);
    if (norms) {
        constant(g, layer, "attn_q_norm.weight", 0, DIM, 1);
        constant(g, layer, "attn_k_norm.weight", 0, DIM, 1);
    }
}

static void mamba(struct gw *g, int layer)
{
    random_tensor(g, layer, "ssm_in.weight", 2 * INNER, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", INNER, 4);
    random_tensor(g, layer, "ssm_conv1d.bias", 0, INNER);
    random_tensor(g, layer, "ssm_x.weight", 4 + 2 * STATE, INNER);
    random_tensor(g, layer, "ssm_dt.weight", INNER, 4);
    random_tensor(g, layer, "ssm_dt.bias", 0, INNER);
    constant(g, layer, "ssm_a", INNER, STATE, -0.3f);
    constant(g, layer, "ssm_d", 0, INNER, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

static void mamba2(struct gw *g, int layer)
{
    int mixed = INNER + 2 * 2 * STATE;
    random_tensor(g, layer, "ssm_in.weight", INNER + mixed + 4, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", mixed, 4);
    random_tensor(g, layer, "ssm_conv1d.bias", 0, mixed);
    random_tensor(g, layer, "ssm_dt.bias", 0, 4);
    constant(g, layer, "ssm_a", 4, 1, -0.3f);
    constant(g, layer, "ssm_d", 4, 1, 1);
    constant(g, layer, "ssm_norm.weight", 2, INNER / 2, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

static void shortconv(struct gw *g, int layer)
{
    random_tensor(g, layer, "shortconv.in_proj.weight", 3 * EMBD, EMBD);
    random_tensor(g, layer, "shortconv.conv.weight", EMBD, 3);
    random_tensor(g, layer, "shortconv.out_proj.weight", EMBD, EMBD);
}

static void delta(struct gw *g, int layer)
{
    int keys = 2 * STATE, heads = INNER / DIM;
    random_tensor(g, layer, "attn_qkv.weight", 2 * keys + INNER, EMBD);
    random_tensor(g, layer, "attn_gate.weight", INNER, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", 2 * keys + INNER, 4);
    random_tensor(g, layer, "ssm_beta.weight", heads, EMBD);
    random_tensor(g, layer, "ssm_alpha.weight", heads, EMBD);
    random_tensor(g, layer, "ssm_dt.bias", 0, heads);
    constant(g, layer, "ssm_a", 0, heads, -0.3f);
    constant(g, layer, "ssm_norm.weight", 0, DIM, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

/* Layer 0 is recurrent; layer 1 has attention, unless the model has only recurrent layers. */
static void layer_of(struct gw *g, const char *arch, int layer)
{
    bool is_delta = strcmp(arch, "qwen35") == 0;
    constant(g, layer, "attn_norm.weight", 0, EMBD, 1);
    if (strcmp(arch, "mamba") == 0)
        mamba(g, layer);
    else if (strcmp(arch, "mamba2") == 0)
        mamba2(g, layer);
    else if (layer == 1)
        attention(g, layer, is_delta, is_delta || strcmp(arch, "lfm2") == 0);
    else if (is_delta)
        delta(g, layer);
    else if (strcmp(arch, "lfm2") == 0)
        shortconv(g, layer);
    else
        mamba2(g, layer);
    if (strncmp(arch, "mamba", 5) == 0)
        return;
    constant(g, layer, is_delta ? "post_attention_norm.weight" : "ffn_norm.weight", 0, EMBD, 1);
    random_tensor(g, layer, "ffn_gate.weight", FF, EMBD);
    random_tensor(g, layer, "ffn_up.weight", FF, EMBD);
    random_tensor(g, layer, "ffn_down.weight", EMBD, FF);
}

const char *tiny_hybrid(const char *arch)
{
    struct gw g;
    char key[96], file[64];
    static const uint32_t kv[] = {0, HEADS};
    bool lfm2 = strcmp(arch, "lfm2") == 0;
    rng.state = 42;
    gw_init(&g);
    gw_str(&g, "general.architecture", arch);
    u32(&g, arch, "context_length", 4096);
    u32(&g, arch, "embedding_length", EMBD);
    u32(&g, arch, "block_count", 2);
    u32(&g, arch, "feed_forward_length", strncmp(arch, "mamba", 5) == 0 ? 0 : FF);
    u32(&g, arch, "attention.head_count", strncmp(arch, "mamba", 5) == 0 ? 0 : HEADS);
    snprintf(key, sizeof key, "%s.attention.head_count_kv", arch);
    if (strcmp(arch, "qwen35") == 0)
        gw_u32(&g, key, HEADS);
    else
        gw_array(&g, key, GW_UINT32, 2, kv, sizeof *kv);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gw_f32(&g, key, 1e-5f);
    u32(&g, arch, "full_attention_interval", 2);
    u32(&g, arch, "ssm.conv_kernel", lfm2 ? 0 : 4);
    u32(&g, arch, "shortconv.l_cache", lfm2 ? 3 : 0);
    u32(&g, arch, "ssm.inner_size", INNER);
    u32(&g, arch, "ssm.state_size", STATE);
    u32(&g, arch, "ssm.time_step_rank", 4);
    u32(&g, arch, "ssm.group_count", 2);
    gw_random(&g, "token_embd.weight", GW_F32, 2, (const int64_t[]){VOCAB, EMBD}, 1, &rng);
    gw_random(&g, "output.weight", GW_F32, 2, (const int64_t[]){VOCAB, EMBD}, 0.4f, &rng);
    gw_constant(&g, lfm2 ? "token_embd_norm.weight" : "output_norm.weight", GW_F32, 1, (const int64_t[]){EMBD}, 1);
    for (int i = 0; i < 2; i++)
        layer_of(&g, arch, i);
    snprintf(file, sizeof file, "%s.gguf", arch);
    const char *path = gw_file(&g, file);
    gw_free(&g);
    return path;
}
