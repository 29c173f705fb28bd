"""The cases of make_transformers.py: an entry is a tiny configuration, the unusual metadata of its GGUF file, and the
names of its parameters there. The entries are in the other transformers_*.py."""

import re

import transformers

SIZES = dict(
    vocab_size=64,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    intermediate_size=80,
    max_position_embeddings=128,
    tie_word_embeddings=False,
    pad_token_id=None,
    bos_token_id=None,
    eos_token_id=None,
)

# Names of parameters without the model's prefix, .weight and .bias; {} is the layer.
USUAL = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "layers.{}.input_layernorm": "blk.{}.attn_norm",
    "layers.{}.post_attention_layernorm": "blk.{}.ffn_norm",
    "layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "layers.{}.self_attn.k_proj": "blk.{}.attn_k",
    "layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "layers.{}.self_attn.o_proj": "blk.{}.attn_output",
    "layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
    "layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
    "layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "layers.{}.mlp.up_proj": "blk.{}.ffn_up",
    "layers.{}.mlp.down_proj": "blk.{}.ffn_down",
}


def first_half(axis):
    """View: the first half of an axis, where two weights are stored as one."""
    return lambda a: a[(slice(None),) * axis + (slice(0, a.shape[axis] // 2),)]


def second_half(axis):
    return lambda a: a[(slice(None),) * axis + (slice(a.shape[axis] // 2, None),)]


def pairs(n_head):
    """View: rows of heads whose halves rotate together, as rows whose neighbours do."""

    def view(a):
        per_head = a.shape[0] // n_head
        return a.reshape(n_head, 2, per_head // 2, *a.shape[1:]).swapaxes(1, 2), a.shape

    return view


def turned(a):
    """View: a matrix, or a stack of them, that is stored with the columns outside."""
    return a.swapaxes(-1, -2)


def experts(layer_path="mlp", gate="gate"):
    """The names of a mixture of experts, stored as transformers does: all experts' gate and up in one."""
    path = "layers.{}." + layer_path
    return {
        f"{path}.{gate}": "blk.{}.ffn_gate_inp",
        f"{path}.experts.gate_up_proj": [
            ("blk.{}.ffn_gate_exps.weight", first_half(1)),
            ("blk.{}.ffn_up_exps.weight", second_half(1)),
        ],
        f"{path}.experts.down_proj": "blk.{}.ffn_down_exps.weight",
    }


def rotated_pairs(c):
    """Queries and keys of files whose neighbouring values rotate together."""
    return {
        "layers.{}.self_attn.q_proj": ("blk.{}.attn_q", pairs(c.num_attention_heads)),
        "layers.{}.self_attn.k_proj": ("blk.{}.attn_k", pairs(c.num_key_value_heads)),
    }


def usual_metadata(c):
    """Keys that all conversions write, if the configuration has them."""

    def one(name):
        try:
            return getattr(c, name, None)
        except Exception:  # layers differ in it: the entry has the values
            return None

    def get(*names):
        return next((v for v in map(one, names) if v is not None), None)

    rope = get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    return {
        "block_count": get("num_hidden_layers"),
        "context_length": get("max_position_embeddings"),
        "embedding_length": get("hidden_size"),
        "feed_forward_length": get("intermediate_size"),
        "attention.head_count": get("num_attention_heads"),
        "attention.head_count_kv": get("num_key_value_heads"),
        "attention.key_length": get("head_dim"),
        "attention.value_length": get("head_dim"),
        "attention.layer_norm_rms_epsilon": get("rms_norm_eps", "norm_eps"),
        "attention.layer_norm_epsilon": get("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
        "rope.freq_base": get("rope_theta") or rope.get("rope_theta"),
        "expert_count": get("num_local_experts", "num_experts", "n_routed_experts"),
        "expert_used_count": get("num_experts_per_tok"),
        "expert_feed_forward_length": get("moe_intermediate_size"),
    }


class Case:
    """arch: general.architecture. model: the class in transformers. config: what differs from SIZES; ... takes a
    size away. names: what differs from USUAL, or a function of the configuration that returns it. Keys are parameters with or
    without their last part; values are GGUF names likewise, (name, view), (name, view, options of Builder.add), or a
    list of these; None leaves a parameter out. metadata: what differs from usual_metadata, likewise. vision: the
    configuration of a vision part, which is not used. extra(builder, config): tensors that are more
    than a view of one parameter. ranges: part of a GGUF name -> (scale, offset)."""

    def __init__(
        self,
        arch,
        model,
        config=None,
        names=None,
        metadata=None,
        extra=None,
        ranges=None,
        ignore=(),
        n_ids=None,
        positions=None,
        prefix="model.",
        vision=None,
        n_context=0,
        encodes=False,
    ):
        self.arch, self.model, self.extra, self.ranges = arch, model, extra, ranges or {}
        self.options, self.names, self.keys = config or {}, names or {}, metadata or {}
        self.ignore, self.n_ids, self.positions, self.prefix, self.vision = ignore, n_ids, positions, prefix, vision
        self.n_context, self.encodes = n_context, encodes

    def config(self):
        options = {k: v for k, v in {**SIZES, **self.options}.items() if v is not ...}
        if self.vision is not None:
            options = dict(text_config=options, vision_config=self.vision, tie_word_embeddings=False)
        return getattr(transformers, self.model).config_class(**options)

    def make(self, config):
        return getattr(transformers, self.model)(config)

    def run(self, model, ids):
        return (
            model(input_ids=ids).last_hidden_state[0]
            if self.encodes
            else model(input_ids=ids, use_cache=False).logits[0]
        )

    def metadata(self, c):
        return {**usual_metadata(c), **(self.keys(c) if callable(self.keys) else self.keys)}

    def range_of(self, gguf):
        return next((r for part, r in self.ranges.items() if part in gguf), (None, None))

    def fill(self, builder, c):
        if self.extra:
            self.extra(builder, c)
        rules = {**USUAL, **(self.names(c) if callable(self.names) else self.names)}
        for name in builder.params:
            if builder.filled(name) or any(part in name for part in self.ignore):
                continue
            short = re.sub(r"\.(\d+)\.", ".{}.", name.removeprefix(self.prefix), count=1)
            layer = (re.findall(r"\.(\d+)\.", name) or [""])[0]
            stem, _, last = short.rpartition(".")
            rule, suffix = (rules[short], "") if short in rules else (rules.get(stem), "." + last)
            for gguf, *rest in (
                []
                if rule is None
                else rule
                if isinstance(rule, list)
                else [rule if isinstance(rule, tuple) else (rule,)]
            ):
                gguf = gguf.format(layer) + suffix
                options = dict(zip(("scale", "offset"), self.range_of(gguf))) | (rest[1] if len(rest) > 1 else {})
                builder.add(gguf, name, rest[0] if rest else None, **options)
