/* One row an architecture. Blocks are in attention.c and mlp.c; the order of a layer is in decoder.c. To add one, see
 * docs/adding-an-architecture.md. */
#include "model/arch.h"

#include "model/blocks.h"

#include <string.h>

#define DENSE .attention = pn_block_attention, .mlp = pn_block_gated_mlp, .act = PN_ACT_FN_SILU

static const struct pn_arch archs[] = {
    {.name = "llama", .hf = "LlamaForCausalLM", DENSE, .rope = PN_ROPE_PAIRS, .rope_factors = true, .ffn_scales = true},
    {.name = "mistral3",
     .hf = "Mistral3ForConditionalGeneration",
     DENSE,
     .rope = PN_ROPE_PAIRS,
     .rope_factors = true,
     .attn_temperature = true,
     .ffn_scales = true},
    {.name = "smollm3", .hf = "SmolLM3ForCausalLM", DENSE, .rope = PN_ROPE_PAIRS, .nope_period = 4},
    {.name = "qwen2", .hf = "Qwen2ForCausalLM", DENSE, .rope = PN_ROPE_HALVES},
    {.name = "qwen3", .hf = "Qwen3ForCausalLM", DENSE, .rope = PN_ROPE_HALVES, .qk_norm = true, .ffn_scales = true},
    {.name = "gemma2",
     .hf = "Gemma2ForCausalLM",
     .attention = pn_block_attention,
     .mlp = pn_block_gated_mlp,
     .act = PN_ACT_FN_GELU_TANH,
     .rope = PN_ROPE_HALVES,
     .post_norms = true,
     .scale_embedding = true,
     .tied_output = true,
     .attn_softcap = true,
     .attn_softcap_default = 50,
     .final_softcap = true,
     .window_default = 4096,
     .window_period = 2,
     .layers_wide_head = 46},
    {.name = "gemma3",
     .hf = "Gemma3ForCausalLM",
     .attention = pn_block_attention,
     .mlp = pn_block_gated_mlp,
     .act = PN_ACT_FN_GELU_TANH,
     .rope = PN_ROPE_HALVES,
     .qk_norm = true,
     .post_norms = true,
     .scale_embedding = true,
     .final_softcap = true,
     .window_period = 6,
     .freq_base_local = 10000,
     .layers_wide_head = 62},
};

const struct pn_arch *pn_arch_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i].name) == len && memcmp(archs[i].name, name, len) == 0)
            return &archs[i];
    return NULL;
}

const struct pn_arch *pn_arch_at(int i)
{
    return i >= 0 && (size_t)i < sizeof archs / sizeof *archs ? &archs[i] : NULL;
}
