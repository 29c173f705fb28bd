/* One row an architecture. Blocks are in attention.c, mla.c, mlp.c and moe.c; the order of a layer is in decoder.c. To
 * add one, see docs/adding-an-architecture.md. */
#include "model/arch.h"

#include "model/blocks.h"

#include <string.h>

#define DENSE   .attention = pn_block_attention, .mlp = pn_block_gated_mlp, .act = PN_ACT_FN_SILU
#define EXPERTS .attention = pn_block_attention, .mlp = pn_block_moe, .act = PN_ACT_FN_SILU
#define PLAIN   .attention = pn_block_attention, .mlp = pn_block_mlp, .act = PN_ACT_FN_GELU_TANH, .norm = PN_NORM_LAYER
#define GEMMA                                                                                                          \
    .attention = pn_block_attention, .mlp = pn_block_gated_mlp, .act = PN_ACT_FN_GELU_TANH, .rope = PN_ROPE_HALVES,    \
    .scale_embedding = true

static const struct pn_arch archs[] = {
    {.name = "llama",
     .hf = "LlamaForCausalLM",
     EXPERTS,
     .rope = PN_ROPE_PAIRS,
     .rope_factors = true,
     .ffn_scales = true,
     .moe = {.gate_fixed = true, .renormalize = PN_YES}},
    {.name = "mistral3",
     .hf = "Mistral3ForConditionalGeneration",
     EXPERTS,
     .rope = PN_ROPE_PAIRS,
     .rope_factors = true,
     .attn_temperature = true,
     .ffn_scales = true,
     .moe = {.gate_fixed = true, .renormalize = PN_YES}},
    {.name = "smollm3", .hf = "SmolLM3ForCausalLM", DENSE, .rope = PN_ROPE_PAIRS, .nope_period = 4},

    {.name = "qwen2", .hf = "Qwen2ForCausalLM", DENSE, .rope = PN_ROPE_HALVES},
    {.name = "qwen3",
     .hf = "Qwen3ForCausalLM",
     DENSE,
     .rope = PN_ROPE_HALVES,
     .qk_norm = PN_QK_NORM_HEAD,
     .ffn_scales = true},
    {.name = "qwen3moe",
     .hf = "Qwen3MoeForCausalLM",
     EXPERTS,
     .rope = PN_ROPE_HALVES,
     .qk_norm = PN_QK_NORM_HEAD,
     .ffn_scales = true,
     .moe = {.gate_fixed = true, .renormalize = PN_YES}},

    {.name = "gemma2",
     .hf = "Gemma2ForCausalLM",
     GEMMA,
     .order = PN_ORDER_SANDWICH,
     .tied_output = true,
     .attn_softcap = true,
     .attn_softcap_default = 50,
     .final_softcap = true,
     .window_default = 4096,
     .window_period = 2,
     .layers_wide_head = 46},
    {.name = "gemma3",
     .hf = "Gemma3ForCausalLM",
     GEMMA,
     .order = PN_ORDER_SANDWICH,
     .qk_norm = PN_QK_NORM_HEAD,
     .final_softcap = true,
     .window_period = 6,
     .freq_base_local = 10000,
     .layers_wide_head = 62},

    {.name = "gpt2", .hf = "GPT2LMHeadModel", PLAIN, .rope_where = PN_ROPE_NEVER},

    {.name = "phi3", .hf = "Phi3ForCausalLM", DENSE, .rope = PN_ROPE_HALVES, .rope_factors = true},

    {.name = "gpt-oss",
     .hf = "GptOssForCausalLM",
     .attention = pn_block_attention,
     .mlp = pn_block_moe,
     .act = PN_ACT_FN_GELU_QUICK,
     .swiglu_limit = 7,
     .ffn_norm = "post_attention_norm",
     .rope = PN_ROPE_HALVES,
     .window_period = 2,
     .moe = {.gate = PN_GATE_SOFTMAX_CHOSEN, .gate_fixed = true}},

    {.name = "deepseek2",
     .hf = "DeepseekV3ForCausalLM",
     .attention = pn_block_mla,
     .mlp = pn_block_moe,
     .act = PN_ACT_FN_SILU,
     .rope = PN_ROPE_PAIRS,
     .attn_temperature = true,
     .yarn_log_unit = 0.1f,
     .yarn_log_both = true,
     .moe = {.renormalize = PN_AS_THE_FILE_SAYS}},
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
