"""Decoders with attention in every layer."""

from transformers_cases import Case, experts

MOE = dict(num_experts=8, num_experts_per_tok=3, moe_intermediate_size=24)

CASES = {
    "qwen3moe": Case("qwen3moe", "Qwen3MoeForCausalLM",
                     dict(**MOE, norm_topk_prob=True, mlp_only_layers=[1]), experts()),
}
