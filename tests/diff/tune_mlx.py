"""pantry tune against mlx_lm's own trainer: tiny random models of many architectures, on the CPU.

    python tests/diff/tune_mlx.py PANTRY [NAME ...]

needs mlx (its build for the CPU) and mlx_lm. Models, rows and first adapters come from fixed seeds and are the same on both sides: mlx_lm
writes them, pantry reads the folder. mlx_lm trains on batches in file order. Compared: the loss of each iteration, the loss of the validation
rows, the logits of the final adapter, and the logits that mlx_lm computes with the adapter that pantry wrote. Fails above a bound."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

os.environ.setdefault("HF_HUB_OFFLINE", "1")

try:
    import mlx.core as mx
    import mlx.optimizers
    import numpy as np
    import tokenizers
    import transformers
    import yaml
    from mlx.utils import tree_flatten
    from mlx_lm.tuner import datasets, trainer, utils
    from mlx_lm.utils import _get_classes
except ImportError as missing:
    print(f"tune_mlx: {missing}")
    sys.exit(77)

mx.disable_compile()
mx.set_default_device(mx.cpu)

LOSS_BOUND, LOGITS_BOUND = 2e-4, 1e-6
WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u")]
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>", "<tools>"]
VOCAB = 96
TEMPLATE = (
    "{{ bos_token }}{% if tools %}<tools> {% for t in tools %}{{ t.function.name }} {% endfor %}</s>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)

BASE = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "head_dim": 16,
}
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True}
MODELS = {
    "llama": {"model_type": "llama"},
    "llama3-rope": {
        "model_type": "llama",
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"model_type": "mistral"},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 80,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 24},
    "qwen3_moe": {"model_type": "qwen3_moe", "decoder_sparse_step": 1, "mlp_only_layers": [1], **MOE},
    "gemma": {"model_type": "gemma", "tie_word_embeddings": True},
    "gemma2": {
        "model_type": "gemma2",
        "tie_word_embeddings": True,
        "attn_logit_softcapping": 20.0,
        "final_logit_softcapping": 15.0,
        "query_pre_attn_scalar": 20,
        "sliding_window": 4096,  # mlx_lm has none in this model
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 20,
        "sliding_window": 24,
        "sliding_window_pattern": 3,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 100000.0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "phi3": {"model_type": "phi3"},
    "olmo2": {"model_type": "olmo2"},
    "olmoe": {
        "model_type": "olmoe",
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "norm_topk_prob": False,
        "num_key_value_heads": 4,
    },
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "cohere": {"model_type": "cohere", "logit_scale": 0.25, "layer_norm_eps": 1e-5, "tie_word_embeddings": True},
    "granite": {
        "model_type": "granite",
        "logits_scaling": 2.0,
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "glm4": {"model_type": "glm4", "partial_rotary_factor": 0.5, "attention_bias": True},
    "smollm3": {"model_type": "smollm3", "no_rope_layer_interval": 2},
    "starcoder2": {"model_type": "starcoder2", "norm_epsilon": 1e-5, "tie_word_embeddings": True, "use_bias": True},
    "stablelm": {
        "model_type": "stablelm",
        "layer_norm_eps": 1e-5,
        "use_qkv_bias": True,
        "partial_rotary_factor": 0.25,
        "rope_pct": 0.25,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": True,
            "original_max_position_embeddings": 128,
        },
    },
}


def run(kind="lora", optimizer="adamw", rate=1e-3, data="messages", **more):
    return {"kind": kind, "optimizer": optimizer, "rate": rate, "data": data, **more}


# name: model, then what differs from the usual run
RUNS = {
    "llama": ("llama", run()),
    "llama-text": ("llama", run(data="text", optimizer="sgd", rate=0.05)),
    "llama-tools": ("llama", run(data="tools", mask=True)),
    "llama-pairs": ("llama", run(data="pairs", mask=True, optimizer="adam")),
    "llama-dora": ("llama", run("dora")),
    "llama-full": ("llama", run("full")),
    "llama-full-sgd-2": ("llama", run("full", optimizer="sgd", rate=0.05, layers=2)),
    "llama-2-layers": ("llama", run(layers=2)),
    "llama-accumulate": ("llama", run(accumulate=3, optimizer="sgd", rate=0.1)),
    "llama-cut": ("llama", run(length=40)),
    "llama-muon": ("llama", run(optimizer="muon", rate=0.02)),
    "llama-muon-full": ("llama", run("full", optimizer="muon", rate=0.01)),
    "llama-muon-dora": ("llama", run("dora", optimizer="muon", rate=0.01)),
    "llama-yaml": (
        "llama",
        run(
            schedule={"name": "cosine_decay", "warmup": 4, "warmup_init": 1e-5, "arguments": [2e-3, 10, 1e-4]},
            settings={"betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.2, "bias_correction": True},
        ),
    ),
    "llama-yaml-sgd": (
        "llama",
        run(
            optimizer="sgd",
            schedule={"name": "step_decay", "arguments": [0.05, 0.5, 3]},
            settings={"momentum": 0.8, "weight_decay": 0.1, "nesterov": True},
        ),
    ),
    "llama-yaml-muon": (
        "llama",
        run(
            optimizer="muon",
            schedule={"name": "exponential_decay", "arguments": [0.02, 0.9]},
            settings={"momentum": 0.9, "weight_decay": 0.1, "nesterov": False, "ns_steps": 4},
        ),
    ),
    "llama-adafactor": ("llama", run(optimizer="adafactor")),
    "llama-adafactor-full": ("llama", run("full", optimizer="adafactor")),
    "llama-adafactor-yaml": (
        "llama",
        run(
            optimizer="adafactor",
            settings={
                "eps": [1e-28, 1e-2],
                "clip_threshold": 0.5,
                "decay_rate": -0.7,
                "beta_1": 0.8,
                "weight_decay": 0.1,
                "relative_step": False,
                "scale_parameter": True,
            },
            schedule={"name": "linear_schedule", "arguments": [0.1, 0.01, 8], "warmup": 2},
        ),
    ),
    "phi3-muon": ("phi3", run(optimizer="muon", rate=0.02)),
    "phi3-dora": ("phi3", run("dora")),
    "phi3-full": ("phi3", run("full")),
    "phi3-adafactor": ("phi3", run(optimizer="adafactor")),
    "qwen3-moe-muon": ("qwen3_moe", run(optimizer="muon", rate=0.01)),
    "qwen3-moe-adafactor": ("qwen3_moe", run(optimizer="adafactor")),
    "qwen3-moe-full": ("qwen3_moe", run("full", optimizer="sgd", rate=0.05)),
    "gemma2-full": ("gemma2", run("full", rate=3e-4)),
    "gemma3-dora": ("gemma3", run("dora")),
    "qwen2-full": ("qwen2", run("full", rate=3e-4)),
    "qwen3-full": ("qwen3", run("full", rate=3e-4)),
    **{name: (name, run()) for name in MODELS if name != "llama"},
}


def make_tokenizer(folder):
    vocab = {w: i for i, w in enumerate(SPECIAL + WORDS + ["<unk>"])}
    t = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    t.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    t.add_special_tokens(SPECIAL)
    t.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=t, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    return fast


def make_rows(form, dice, n):
    def text(most):
        return " ".join(dice.choice(WORDS, size=dice.integers(2, most)))

    rows = []
    for _ in range(n):
        messages = [{"role": "user", "content": text(20)}, {"role": "assistant", "content": text(30)}]
        if form == "text":
            rows.append({"text": text(60)})
        elif form == "pairs":
            rows.append({"prompt": messages[0]["content"], "completion": messages[1]["content"]})
        elif form == "tools":
            tools = [{"type": "function", "function": {"name": dice.choice(WORDS), "parameters": {}}}]
            rows.append({"messages": [{"role": "system", "content": text(5)}, *messages], "tools": tools})
        else:
            rows.append({"messages": messages * int(dice.integers(1, 3))})
    return rows


def make_model(config, dice):
    cls, args = _get_classes(config)[:2]
    model = cls(args.from_dict(config))
    if config["tie_word_embeddings"] and "lm_head" in model:
        model.sanitize({k: v for k, v in tree_flatten(model.parameters()) if "lm_head" not in k})
    weights = []
    for name, w in tree_flatten(model.parameters()):
        noise = dice.uniform(-1, 1, size=w.shape).astype(np.float32)
        if w.ndim == 1:
            one = 0 if config["model_type"].startswith("gemma") or "norm" not in name or name.endswith("bias") else 1
            noise = one + 0.3 * noise
        elif "embed" not in name:
            noise *= (3 / w.shape[-1]) ** 0.5
        weights.append((name, mx.array(noise)))
    model.load_weights(weights)
    mx.eval(model.parameters())
    return model


def in_file_order(dataset, batch_size, max_seq_length, loop=False, **_):
    """mlx_lm's batches, without its permutation."""
    while True:
        for i in range(0, len(dataset) - batch_size + 1, batch_size):
            part = [dataset[j] for j in range(i, i + batch_size)]
            given = trainer.iterate_batches(part, batch_size, max_seq_length)
            yield next(iter(given))
        if not loop:
            return


class Losses:
    def __init__(self):
        self.losses = []

    def on_train_loss_report(self, info):
        self.losses.append(info["train_loss"])

    def on_val_loss_report(self, info):
        pass


def train_mlx(model, tokenizer, rows, valid, how, folder):
    config = {"rank": 4, "scale": 3.0, "dropout": 0.0}
    model.freeze()
    layers = how.get("layers", -1)
    if how["kind"] == "full":
        for layer in model.layers[-(len(model.layers) if layers < 0 else layers) :]:
            layer.unfreeze()
    else:
        utils.linear_to_lora_layers(
            model, len(model.layers) if layers < 0 else layers, config, use_dora=how["kind"] == "dora"
        )
        dice = np.random.default_rng(7)
        first = {}
        for name, w in tree_flatten(model.trainable_parameters()):
            if name.endswith("lora_b"):
                w = mx.array(dice.uniform(-0.05, 0.05, size=w.shape).astype(np.float32))
            elif name.endswith(".m"):
                w = w * mx.array(dice.uniform(0.9, 1.1, size=w.shape).astype(np.float32))
            first[name] = w
        model.load_weights(list(first.items()), strict=False)
        os.makedirs(folder / "first")
        mx.save_safetensors(str(folder / "first" / "adapters.safetensors"), first)
        said = {"fine_tune_type": how["kind"], "num_layers": layers, "lora_parameters": config}
        (folder / "first" / "adapter_config.json").write_text(json.dumps(said))
    settings = types_of(mask_prompt=how.get("mask", False))
    train, test = (datasets.CacheDataset(datasets.create_dataset(r, tokenizer, settings)) for r in (rows, valid))
    rate = utils.build_schedule(how["schedule"]) if "schedule" in how else how["rate"]
    classes = {
        "adam": "Adam",
        "adamw": "AdamW",
        "sgd": "SGD",
        "muon": "Muon",
        "adafactor": "Adafactor",
    }
    optimizer = getattr(mlx.optimizers, classes[how["optimizer"]])(learning_rate=rate, **how.get("settings", {}))
    seen = Losses()
    arguments = trainer.TrainingArgs(
        batch_size=2,
        iters=12,
        steps_per_report=1,
        steps_per_save=1000,
        max_seq_length=how.get("length", 128),
        adapter_file=str(folder / "mlx.safetensors"),
        grad_accumulation_steps=how.get("accumulate", 1),
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        trainer.train(
            model,
            optimizer,
            train,
            None,
            args=arguments,
            iterate_batches=in_file_order,
            training_callback=seen,
        )
    loss = trainer.evaluate(model, test, 2, -1, max_seq_length=how.get("length", 128), iterate_batches=in_file_order)
    return seen.losses, loss


def types_of(**members):
    return type("settings", (), members)


def train_pantry(pantry, folder, how):
    options = ["--train", "--data", str(folder), "--iters", "12", "--batch-size", "2", "--order", "given", "--json"]
    options += ["--optimizer", how["optimizer"], "--fine-tune-type", how["kind"]]
    options += ["--num-layers", str(how.get("layers", -1)), "--max-seq-length", str(how.get("length", 128))]
    options += ["--mask-prompt"] if how.get("mask") else []
    options += ["--grad-accumulation-steps", str(how.get("accumulate", 1))]
    options += ["--adapter-path", str(folder / "out"), "--learning-rate", str(how["rate"])]
    if how["kind"] != "full":
        options += ["--resume-adapter-file", str(folder / "first" / "adapters.safetensors")]
    if "schedule" in how or "settings" in how:
        said = {"optimizer_config": {how["optimizer"]: how.get("settings", {})}}
        if "schedule" in how:
            said["lr_schedule"] = how["schedule"]
        (folder / "run.yaml").write_text(yaml.dump(said))
        options += ["--config", str(folder / "run.yaml")]
    done = subprocess.run(
        [pantry, "tune", str(folder / "model"), *options], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    events = [json.loads(line) for line in done.stdout.splitlines()]
    losses = [e["train_loss"] for e in events if "train_loss" in e]
    return losses, [e["val_loss"] for e in events if "val_loss" in e][-1]


def nmse(a, b):
    return float(((a - b) ** 2).sum() / (b**2).sum())


def check(pantry, name):
    model_name, how = RUNS[name]
    config = {**BASE, **MODELS[model_name]}
    dice = np.random.default_rng(sum(map(ord, model_name)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "model").mkdir()
        tokenizer = make_tokenizer(folder / "model")
        model = make_model(config, dice)
        mx.save_safetensors(str(folder / "model" / "model.safetensors"), dict(tree_flatten(model.parameters())))
        (folder / "model" / "config.json").write_text(json.dumps(config))
        rows, valid = make_rows(how["data"], dice, 14), make_rows(how["data"], dice, 5)
        for part, content in (("train", rows), ("valid", valid)):
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(r, default=str) + "\n" for r in content))
        base = {k: mx.array(v) for k, v in tree_flatten(model.parameters())}
        want, want_val = train_mlx(model, tokenizer, rows, valid, how, folder)
        got, got_val = train_pantry(pantry, folder, how)
        worst = max(abs(a / b - 1) for a, b in zip(got + [got_val], want + [want_val], strict=True))
        ids = [int(i) for i in dice.integers(8, 68, size=48)]
        (folder / "ids.txt").write_text(" ".join(map(str, ids)))
        model.eval()
        reference = np.array(model(mx.array([ids]))[0])
        subprocess.run(
            [pantry, "logits", str(folder / "model"), "--adapter", str(folder / "out"), "--ids",
             str(folder / "ids.txt"), "-o", str(folder / "logits.f32")], check=True, timeout=600
        )  # fmt: skip
        logits = np.fromfile(folder / "logits.f32", dtype="<f4").reshape(len(ids), -1)
        error = nmse(logits, reference)
        fresh = make_model(config, np.random.default_rng(0))
        fresh.load_weights(list(base.items()))
        fresh = utils.load_adapters(fresh, str(folder / "out"))
        fresh.eval()
        read_back = nmse(np.array(fresh(mx.array([ids]))[0]), reference)
    ok = worst < LOSS_BOUND and error < LOGITS_BOUND and read_back < LOGITS_BOUND
    print(f"{name:22} loss {worst:.1e}  logits {error:.1e}  read by mlx_lm {read_back:.1e}  {'ok' if ok else 'WRONG'}")
    if not ok:
        print("   ", [round(a, 4) for a in got], "\n   ", [round(a, 4) for a in want], got_val, want_val)
    return ok


def main():
    pantry, *names = sys.argv[1:]
    failed = []
    for name in names or RUNS:
        try:
            good = check(pantry, name)
        except Exception as error:
            if os.environ.get("TRACE"):
                traceback.print_exc()
            print(f"{name:22} {type(error).__name__}: {str(error)[:300]}")
            good = False
        sys.stdout.flush()
        failed += [] if good else [name]
    print(f"{len(names or RUNS) - len(failed)} of {len(names or RUNS)} agree" + (f"; not {failed}" if failed else ""))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
