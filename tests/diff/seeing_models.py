"""Models that see, beside transformers: ids and logits of tiny random models of each family, on five pictures.

Usage: seeing_models.py BUILD [FAMILY ...]. Needs transformers, torch and Pillow; without them it is skipped (exit status 77).
Each family has several models of different configurations, in old and new layouts of names. Ids must be equal; the NMSE of
the logits of the last 8 positions must be below 1e-3, or below 1e-2 where a picture is a JPEG (decoders differ).
"""

# run-diff: {build}

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import numpy as np
    import torch
    import transformers
    from PIL import Image, ImageOps
    from safetensors.torch import load_file, save_file
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
N_LOGITS = 8


# ---- pictures ----


def gradient(width, height, seed):
    """Waves, noise and an edge."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x * rng.random() / 4 + y * rng.random() / 4 + c) for c in range(3)], axis=2)
    out = waves * 90 + 128 + rng.integers(-20, 20, (height, width, 3))
    out[height // 3 : height // 2, : width // 2] = 255
    return np.clip(out, 0, 255).astype(np.uint8)


def write_pictures(folder):
    Image.fromarray(gradient(160, 160, 1)).save(folder / "square.png")
    Image.fromarray(gradient(300, 100, 2)).save(folder / "wide.jpg", quality=90, subsampling=2)
    alpha = np.arange(90 * 210).reshape(210, 90, 1) % 256
    Image.fromarray(np.concatenate([gradient(90, 210, 3), alpha.astype(np.uint8)], axis=2)).save(folder / "tall.png")
    Image.fromarray(gradient(20, 30, 4)[:, :, 0]).save(folder / "tiny.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient(150, 110, 5)).save(folder / "turned.jpg", quality=90, exif=exif)


def load(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


# ---- prompts ----


def image():
    return {"type": "image"}


def text(what):
    return {"type": "text", "text": what}


def user(*parts):
    return {"role": "user", "content": list(parts)}


CASES = {
    "text": ([], [user(text("How many stripes are in 2 pictures? It's a señor."))]),
    "square": (["square.png"], [user(image(), text("What is in this image?"))]),
    "wide": (["wide.jpg"], [user(text("Look at this: "), image(), text(" Describe it in one sentence."))]),
    "two": (["tall.png", "tiny.png"], [user(image(), image(), text("Compare the two pictures."))]),
    "turns": (
        ["turned.jpg", "square.png"],
        [
            user(image(), text("Which colours?")),
            {"role": "assistant", "content": [text("I can see 7 colours.")]},
            user(text("And in this one?"), image()),
        ],
    ),
}


# ---- tokenizers ----


def byte_tokenizer(special, **more):
    """One token per byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **more)


# ---- Qwen3-VL ----

QWEN_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
QWEN_TEMPLATE = (
    "{% set count = namespace(value=0) %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{% set count.value = count.value + 1 %}{% if add_vision_id %}Picture {{ count.value }}: "
    "{% endif %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen3_vl(experts, text_config, vision_config, processor):
    tokenizer = byte_tokenizer(QWEN_SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in QWEN_SPECIAL}
    name = "Qwen3VLMoe" if experts else "Qwen3VL"
    config = getattr(transformers, name + "Config")(
        text_config={
            "vocab_size": len(tokenizer) + 5,
            "max_position_embeddings": 4096,
            "rope_theta": 5000000.0,
            **text_config,
        },
        vision_config={"in_channels": 3, "out_hidden_size": text_config["hidden_size"], **vision_config},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = getattr(transformers, name + "ForConditionalGeneration")(config)
    pictures = transformers.Qwen2VLImageProcessor(
        patch_size=vision_config["patch_size"],
        merge_size=vision_config["spatial_merge_size"],
        temporal_patch_size=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        **processor,
    )

    def inputs(prompt, images):
        more = dict(pictures(images=images, return_tensors="pt")) if images else {}
        for grid in more.get("image_grid_thw", []):
            n = int(grid.prod()) // vision_config["spatial_merge_size"] ** 2
            prompt = prompt.replace("<|image_pad|>", "<|place|>" * n, 1)
        ids = tokenizer(prompt.replace("<|place|>", "<|image_pad|>"), return_tensors="pt")
        return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"], **more}

    return model, tokenizer, pictures, QWEN_TEMPLATE, inputs


def qwen3_vl_models():
    dense = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 2, 2]},
    }
    sees = {
        "depth": 4,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_heads": 3,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 2],
    }
    yield (
        "dense",
        qwen3_vl(
            False,
            dense,
            sees,
            {"size": {"shortest_edge": 4096, "longest_edge": 65536}, "min_pixels": 4096, "max_pixels": 65536},
        ),
    )
    # as many picked layers as the decoder has, another patch, and a larger merge
    rope = {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [6, 5, 5]}
    yield (
        "deep",
        qwen3_vl(
            False,
            {**dense, "num_hidden_layers": 3, "head_dim": 32, "rope_scaling": rope, "tie_word_embeddings": True},
            {
                **sees,
                "depth": 5,
                "patch_size": 14,
                "spatial_merge_size": 3,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [1, 2, 4],
            },
            {"min_pixels": 3136, "max_pixels": 50176, "resample": 2},
        ),
    )
    # pictures of the sizes that GGUF files do not say
    yield "gguf", qwen3_vl(False, dense, sees, {"min_pixels": 256 * 256, "max_pixels": 2048 * 2048})
    experts = {
        **dense,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    yield "experts", qwen3_vl(True, experts, sees, {"min_pixels": 4096, "max_pixels": 40960})


def write_projector(path, model):
    """The encoder as llama.cpp's programs keep it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
    import tiny_model as gguf
    from seeing_model import BOOL, pack, u32

    v, rows = model.config.vision_config, []
    f32 = lambda x: np.float32(x).tobytes()
    renames = [
        ("patch_embed.proj.", "v.patch_embd."), ("pos_embed.", "v.position_embd."), ("blocks.", "v.blk."),
        ("merger.norm.", "v.post_ln."), ("merger.linear_fc1.", "mm.0."), ("merger.linear_fc2.", "mm.2."),
    ]  # fmt: skip
    renames += [
        (f"deepstack_merger_list.{i}.", f"v.deepstack.{layer}.") for i, layer in enumerate(v.deepstack_visual_indexes)
    ]
    inner = [
        (".norm1.", ".ln1."), (".norm2.", ".ln2."), (".attn.qkv.", ".attn_qkv."), (".attn.proj.", ".attn_out."),
        (".mlp.linear_fc1.", ".ffn_up."), (".mlp.linear_fc2.", ".ffn_down."), (".linear_fc1.", ".fc1."),
        (".linear_fc2.", ".fc2."),
    ]  # fmt: skip

    def add(name, t):
        rows.append((name, gguf.TYPE_F32, tuple(t.shape), t.contiguous().numpy().astype(np.float32).tobytes()))

    for name, t in model.model.visual.state_dict().items():
        name = older(renames)(name)
        for old, new in inner:
            name = name.replace(old, new)
        if name == "v.patch_embd.weight":
            add(name, t[:, :, 0])
            add(name + ".1", t[:, :, 1])
        else:
            add(name, t)
    deep = [i in v.deepstack_visual_indexes for i in range(v.depth)]
    numbers = {
        "image_size": 256, "patch_size": v.patch_size, "embedding_length": v.hidden_size, "block_count": v.depth,
        "feed_forward_length": v.intermediate_size, "attention.head_count": v.num_heads,
        "spatial_merge_size": v.spatial_merge_size,
    }  # fmt: skip
    metadata = [
        ("general.architecture", gguf.STRING, gguf.string("clip")),
        ("clip.projector_type", gguf.STRING, gguf.string("qwen3vl_merger")),
        ("clip.use_gelu", BOOL, b"\1"),
        ("clip.vision.attention.layer_norm_epsilon", gguf.F32, f32(1e-6)),
        ("clip.vision.image_mean", gguf.ARRAY, gguf.array(gguf.F32, f32, [0.5] * 3)),
        ("clip.vision.image_std", gguf.ARRAY, gguf.array(gguf.F32, f32, [0.5] * 3)),
        ("clip.vision.is_deepstack_layers", gguf.ARRAY, gguf.array(BOOL, lambda b: bytes([b]), deep)),
    ] + [(f"clip.vision.{key}", gguf.U32, u32(n)) for key, n in numbers.items()]
    gguf.write_file(path, rows, pack(metadata))


# ---- Llama 3.2 Vision ----

LLAMA_SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>",
]  # fmt: skip
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|image|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def mllama(text_config, vision_config, processor):
    tokenizer = byte_tokenizer(
        LLAMA_SPECIAL + ["<|image|>"],
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token="<|end_of_text|>",
    )
    place = tokenizer.convert_tokens_to_ids("<|image|>")
    config = transformers.MllamaConfig(
        text_config={"vocab_size": place, "max_position_embeddings": 4096, "pad_token_id": 1, **text_config},
        vision_config=vision_config,
        image_token_index=place,
    )
    model = transformers.MllamaForConditionalGeneration(config)
    pictures = transformers.MllamaImageProcessor(
        size={"height": vision_config["image_size"], "width": vision_config["image_size"]},
        max_image_tiles=vision_config["max_num_tiles"],
        **processor,
    )
    both = transformers.MllamaProcessor(pictures, tokenizer)

    def inputs(prompt, images):
        return dict(
            both(images=[images] if images else None, text=prompt, return_tensors="pt", add_special_tokens=False)
        )

    return model, tokenizer, pictures, LLAMA_TEMPLATE, inputs


def mllama_models():
    reads = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "cross_attention_layers": [1, 3],
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    }
    sees = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "attention_heads": 4,
        "num_hidden_layers": 4,
        "num_global_layers": 2,
        "image_size": 56,
        "patch_size": 14,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0, 2],
        "vision_output_dim": 96,
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    clip = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    yield "four", mllama(reads, sees, clip)
    # the last layer attends to pictures, another number of tiles, more layers that count
    ratios = [[1, 1], [1, 2], [1, 3], [2, 1], [3, 1]]
    yield (
        "three",
        mllama(
            {
                **reads,
                "num_hidden_layers": 4,
                "cross_attention_layers": [0, 3],
                "rope_scaling": {"rope_type": "default"},
            },
            {
                **sees,
                "image_size": 112,
                "patch_size": 16,
                "max_num_tiles": 3,
                "intermediate_layers_indices": [1, 2, 3],
                "vision_output_dim": 128,
                "supported_aspect_ratios": ratios,
                "norm_eps": 1e-4,
            },
            {"resample": 3},
        ),
    )


# ---- comparing ----


def randomize(model, seed):
    """Weights that matter: norms are near 1, gates and biases are not 0, activations do not die away."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                p.copy_(p + 0.1 * noise)
            elif p.dim() >= 2:
                p.copy_(noise * (1.5 if "embed" in name else 1) / p.shape[-1] ** 0.5)
            else:
                p.copy_(0.3 * noise + (0.5 if "gate" in name else 0))
    return model.eval()


def save(folder, model, tokenizer, pictures, template, layout):
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    pictures.save_pretrained(folder)
    if layout["template"] == "jinja":
        (folder / "chat_template.jinja").write_text(template)
    elif layout["template"] == "json":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    else:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    if layout.get("names"):
        path = folder / "model.safetensors"
        tensors = {layout["names"](name): t.clone() for name, t in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})


def pantry(build, *arguments):
    done = subprocess.run([f"{build}/pantry", *arguments], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise AssertionError(f"{arguments}: {done.stderr}")
    return done.stdout


def compare(build, work, images, folder, name, model, tokenizer, template, inputs):
    files, messages = CASES[name]
    context = {"messages": messages, "add_generation_prompt": True, "add_vision_id": name == "two"}
    path = work / "context.json"
    path.write_text(json.dumps(context))
    bos = {"bos_token": tokenizer.bos_token or "", "eos_token": tokenizer.eos_token or ""}
    prompt = transformers.utils.chat_template_utils._compile_jinja_template(template).render(**bos, **context)
    given = inputs(prompt, [load(images / f) for f in files])
    with torch.no_grad():
        expected = model(**given, use_cache=False).logits[0, -N_LOGITS:].double().numpy()
    ask = [str(folder), "--context", str(path)]
    for f in files:
        ask += ["--image", str(images / f)]
    ids = json.loads(pantry(build, "tokenize", *ask, "--json"))
    if ids != given["input_ids"][0].tolist():
        raise AssertionError(f"{name}: the ids differ\n{ids}\n{given['input_ids'][0].tolist()}")
    worst = 0
    for more in ([], ["--slices", "7"]):
        pantry(build, "logits", *ask, "-o", str(work / "logits"), *more)
        found = np.fromfile(work / "logits", np.float32).reshape(-1, expected.shape[1])[-N_LOGITS:]
        worst = max(worst, float(((found - expected) ** 2).sum() / (expected**2).sum()))
    most = 1e-2 if any(f.endswith(".jpg") for f in files) else 1e-3
    if not worst < most:
        raise AssertionError(f"{name}: NMSE {worst:.1e}, allowed {most:.0e}")
    return worst


def older(renames):
    def rename(name):
        for new, old in renames:
            if name.startswith(new):
                return old + name[len(new) :]
        return name

    return rename


QWEN_OLD = older([("model.visual.", "visual."), ("model.language_model.", "model.")])
MLLAMA_NEW = older(
    [
        ("language_model.model.", "model.language_model."),
        ("vision_model.", "model.vision_model."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
        ("language_model.lm_head.", "lm_head."),
    ]
)
FAMILIES = {
    "mllama": (mllama_models, [{"template": "json"}, {"template": "jinja", "names": MLLAMA_NEW}]),
    "qwen3_vl": (
        qwen3_vl_models,
        [
            {"template": "jinja"},
            {"template": "json", "names": QWEN_OLD},
            {"template": "jinja"},
            {"template": "tokenizer"},
        ],
    ),
}


def main():
    build, wanted = sys.argv[1], sys.argv[2:] or list(FAMILIES)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory(prefix="pantry-seeing-") as work:
        work = Path(work)
        images = work / "images"
        images.mkdir()
        write_pictures(images)
        for family in wanted:
            make, layouts = FAMILIES[family]
            for seed, (which, (model, tokenizer, pictures, template, inputs)) in enumerate(make()):
                folder = work / f"{family}-{which}"
                model.config._attn_implementation = "eager"
                randomize(model, seed)
                save(folder, model, tokenizer, pictures, template, layouts[seed % len(layouts)])
                if which == "gguf":
                    pantry(build, "convert", str(folder), "-o", str(folder / "model.gguf"))
                    write_projector(folder / "mmproj.gguf", model)
                    folder = folder / "model.gguf"
                for name in CASES:
                    worst = compare(build, work, images, folder, name, model, tokenizer, template, inputs)
                    print(f"{family} {which} {name}: NMSE {worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
