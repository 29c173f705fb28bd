"""Models that see in tiles and lines, beside transformers: Idefics 3 and SmolVLM, Pixtral, Mistral 3, LLaVA-NeXT, InternVL and
the choices of LLaVA. Makes tiny random models with their processors, and compares ids and the logits of the last positions.

Usage: vision_tiles.py BUILD [NAME...]; --keep FOLDER leaves the models there. Ends with 77 where transformers is missing.
"""

# run-diff: {build} idefics3 smolvlm pixtral mistral3 llava-next internvl-norms llava-layers

import argparse
import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

try:
    import numpy as np
    import torch
    import transformers
    from PIL import Image
    from safetensors.torch import save_file
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers.image_utils import load_image
    from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
    from transformers.models.idefics3.image_processing_idefics3 import Idefics3ImageProcessor
    from transformers.models.internvl.processing_internvl import InternVLProcessor
    from transformers.models.llava_next.image_processing_llava_next import LlavaNextImageProcessor
    from transformers.models.pixtral.image_processing_pixtral import PixtralImageProcessor
    from transformers.processing_utils import ProcessorMixin
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

SPECIAL = {
    "idefics3": ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<row_1_col_1>", "<row_1_col_2>"],
    "pixtral": ["[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]"],
    "llava": ["<image>"],
    "internvl": ["<IMG_CONTEXT>", "<img>", "</img>", "<video>", "<|im_start|>", "<|im_end|>"],
}
PARTS = (
    "{%% if m['content'] is string %%}{{ m['content'] }}{%% else %%}{%% for c in m['content'] %%}"
    "{%% if c['type'] == 'image' %%}{{ '%s' }}{%% else %%}{{ c['text'] }}{%% endif %%}{%% endfor %%}{%% endif %%}"
)
TEMPLATE = (
    "{%% for m in messages %%}{{ m['role'] }}: " + PARTS + "\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}{{ 'assistant:' }}{%% endif %%}"
)


def tokenizer(family, **extra):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ["<s>", "</s>"] + SPECIAL[family]])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", **extra
    )


def decoder(words, kind=transformers.LlamaConfig, **more):
    return kind(
        **{
            "vocab_size": len(words),
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id,
            **more,
        }
    )


SEES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}


def idefics3(kind="Idefics3", image=None, vision=None, scale=2, **text):
    words = tokenizer("idefics3")
    vision = {**SEES, "image_size": 56, "patch_size": 14, **(vision or {})}
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision,
        text_config=decoder(words, **text).to_dict(),
        scale_factor=scale,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=text.get("tie_word_embeddings", False),
    )
    pictures = Idefics3ImageProcessor(
        **{"size": {"longest_edge": 224}, "max_image_size": {"longest_edge": 56}, **image}
    )
    side = pictures.max_image_size["longest_edge"] // vision["patch_size"] // scale
    processor = transformers.Idefics3Processor(
        pictures, words, image_seq_len=side * side, chat_template=TEMPLATE % "<image>"
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


def pixtral(kind="Llava", image=None, vision=None, merge=1, patch=8, **more):
    words = tokenizer("pixtral")
    config = getattr(transformers, f"{kind}Config")(
        vision_config={**SEES, "model_type": "pixtral", "image_size": 160, "patch_size": patch, **(vision or {})},
        text_config=decoder(words, transformers.MistralConfig, rms_norm_eps=1e-5, head_dim=16).to_dict(),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        **{"vision_feature_layer": -1, "vision_feature_select_strategy": "full", **more},
        **({"spatial_merge_size": merge} if kind == "Mistral3" else {}),
    )
    pictures = PixtralImageProcessor(size={"longest_edge": 96}, patch_size={"height": patch, "width": patch})
    for key, value in (image or {}).items():
        setattr(pictures, key, value)
    processor = transformers.PixtralProcessor(
        pictures, words, patch_size=patch, spatial_merge_size=merge, chat_template=TEMPLATE % "[IMG]"
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


def llava(kind="Llava", encoder="clip_vision_model", image=None, vision=None, **more):
    words = tokenizer("llava")
    vision = {**SEES, "model_type": encoder, "image_size": 56, "patch_size": 14, **(vision or {})}
    side, clip = vision["image_size"], encoder == "clip_vision_model"
    more = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default", **more}
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision,
        text_config=decoder(words, rms_norm_eps=1e-5).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        **({"image_grid_pinpoints": image["image_grid_pinpoints"]} if kind == "LlavaNext" else {}),
        **more,
    )
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    maker = LlavaNextImageProcessor if kind == "LlavaNext" else transformers.CLIPImageProcessor
    processor = getattr(transformers, f"{kind}Processor")(
        maker(**{**size, **(image or {})}),
        words,
        patch_size=vision["patch_size"],
        vision_feature_select_strategy=more["vision_feature_select_strategy"],
        num_additional_image_tokens=int(clip),
        chat_template=TEMPLATE % "<image>\n",
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


class Still(InternVLProcessor):
    """Without videos, whose processor needs another package."""

    attributes = ["image_processor", "tokenizer"]

    def __init__(self, image_processor, words, image_seq_length, chat_template):
        self.image_seq_length = image_seq_length
        self.start_image_token, self.end_image_token = "<img>", "</img>"
        self.image_token, self.video_token = "<IMG_CONTEXT>", "<video>"
        ids = words.convert_tokens_to_ids([self.image_token, self.start_image_token, self.end_image_token])
        self.image_token_id, self.start_image_token_id, self.end_image_token_id = ids
        self.image_ids = ids
        ProcessorMixin.__init__(self, image_processor, words, chat_template=chat_template)


def internvl(image=None, vision=None, ratio=0.5, **more):
    words = tokenizer(
        "internvl",
        extra_special_tokens={
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        },
    )
    vision = {**SEES, "image_size": [56, 56], "patch_size": [14, 14], **(vision or {})}
    side = vision["image_size"][0]
    config = transformers.InternVLConfig(
        vision_config=vision,
        text_config=decoder(words, transformers.Qwen2Config, rms_norm_eps=1e-6).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        downsample_ratio=ratio,
        **more,
    )
    pictures = GotOcr2ImageProcessor(**{"size": {"height": side, "width": side}, **(image or {})})
    rows = int(side // vision["patch_size"][0] * ratio) ** 2
    return transformers.InternVLForConditionalGeneration(config), Still(
        pictures, words, rows, TEMPLATE % "<IMG_CONTEXT>\n"
    )


GRID = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
MODELS = {
    "idefics3": lambda: idefics3(image={}),
    "idefics3-whole": lambda: idefics3(
        image={"do_image_splitting": False, "max_image_size": {"longest_edge": 64}, "resample": 2},
        vision={"image_size": 64, "patch_size": 8},
        scale=4,
    ),
    "smolvlm": lambda: idefics3(
        "SmolVLM",
        image={"size": {"longest_edge": 150}, "max_image_size": {"longest_edge": 48}},
        vision={"image_size": 64, "patch_size": 8, "num_hidden_layers": 2},
        scale=3,
        tie_word_embeddings=True,
    ),
    "pixtral": lambda: pixtral(),
    "pixtral-layers": lambda: pixtral(
        image={"size": {"longest_edge": 160}, "resample": 2},
        vision={"hidden_act": "silu", "rope_theta": 500.0},
        vision_feature_layer=[-2, -1],
    ),
    "mistral3": lambda: pixtral("Mistral3", merge=2),
    "mistral3-bias": lambda: pixtral(
        "Mistral3", image={"size": {"longest_edge": 120}}, merge=3, patch=6, multimodal_projector_bias=True
    ),
    "llava-next": lambda: llava("LlavaNext", image={"image_grid_pinpoints": GRID}),
    "llava-next-siglip": lambda: llava(
        "LlavaNext",
        "siglip_vision_model",
        {"image_grid_pinpoints": [[96, 48], [48, 96], [96, 144], [144, 144]], "resample": 2},
        {"image_size": 48, "patch_size": 8},
        vision_feature_layer=[0, 2, -1],
        vision_feature_select_strategy="full",
    ),
    "internvl": lambda: internvl(),
    "internvl-norms": lambda: internvl(
        image={"min_patches": 2, "max_patches": 6, "image_mean": [0.485, 0.456, 0.406], "resample": 2},
        vision={
            "image_size": [64, 64],
            "patch_size": [8, 8],
            "use_qk_norm": True,
            "attention_bias": True,
            "norm_type": "rms_norm",
            "use_mean_pooling": False,
        },
        ratio=0.25,
    ),
    "llava-full": lambda: llava(vision_feature_select_strategy="full", vision_feature_layer=-1),
    "llava-layers": lambda: llava(vision_feature_layer=[1, -1, 2]),
    "llava-siglip": lambda: llava(
        encoder="siglip_vision_model",
        vision={"image_size": 48, "patch_size": 16},
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    ),
}
IMAGE = {"type": "image"}
TEXTS = [
    ("text", [], [["How many stripes are in 2 pictures? It's 图片, señor."]]),
    ("square", ["square.png"], [[IMAGE, "What is in this image?"]]),
    ("wide", ["wide.jpg"], [["Look at this: ", IMAGE, " Describe the image."]]),
    ("two", ["tall.png", "tiny.png"], [[IMAGE, IMAGE, "Compare them."]]),
    ("turns", ["turned.jpg", "square.png"], [[IMAGE, "Colours?"], ["I see 7."], ["And in this one?", IMAGE]]),
]


def images(folder):
    rng = np.random.default_rng(5)

    def picture(width, height, channels):
        y, x, c = np.mgrid[0:height, 0:width, 0:channels]
        waves = np.sin(x / (7 + c) + y / 11) * 90 + np.cos(x * y / 900) * 30 + 128
        return np.clip(waves + rng.integers(-20, 20, waves.shape), 0, 255).astype(np.uint8)

    Image.fromarray(picture(160, 160, 3)).save(folder / "square.png")
    Image.fromarray(picture(300, 100, 3)).save(folder / "wide.jpg", quality=92)
    Image.fromarray(picture(90, 210, 4), "RGBA").save(folder / "tall.png")
    Image.fromarray(picture(20, 30, 1)[..., 0], "L").save(folder / "tiny.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(150, 110, 3)).save(folder / "turned.jpg", exif=exif, quality=92)


def randomize(model, seed):
    """Weights for which every part counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 1:
                p.copy_(noise * 0.1 + (1 if "norm" in name or "ln_" in name or "lambda" in name else 0))
            elif "embed" in name or "token" in name:
                p.copy_(noise * 0.5)
            else:
                p.copy_(noise / p[0].numel() ** 0.5)


def save(model, processor, folder, newer, half):
    """As transformers 4 writes it, or with the names and files of version 5. `half`: as BF16; the model keeps float32
    tensors of the same values, since its tables of rotation must not be rounded."""
    if half:
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.bfloat16())
        model = copy.deepcopy(model).to(torch.bfloat16)
    processor.save_pretrained(folder)
    model.config.save_pretrained(folder)
    if not newer:
        model.save_pretrained(folder)
        return
    state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    if model.config.text_config.tie_word_embeddings:
        state.pop("lm_head.weight")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    path = folder / "processor_config.json"
    own = json.loads(path.read_text()) if path.exists() else {}
    own["image_processor"] = json.loads((folder / "preprocessor_config.json").read_text())
    path.write_text(json.dumps(own))
    (folder / "preprocessor_config.json").unlink()


def run(pantry, *arguments):
    done = subprocess.run([pantry, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{arguments[:2]}: {done.stderr}")
    return done.stdout


def check(pantry, name, model, processor, folder, pictures):
    for case, files, turns in TEXTS:
        messages = [
            {
                "role": ("user", "assistant")[i % 2],
                "content": [p if p is IMAGE else {"type": "text", "text": p} for p in turn],
            }
            for i, turn in enumerate(turns)
        ]
        prompt = processor.tokenizer.apply_chat_template(
            messages, chat_template=processor.chat_template, tokenize=False, add_generation_prompt=True
        )
        seen = [load_image(str(pictures / f)) for f in files]
        inputs = processor(text=[prompt], **({"images": seen} if seen else {}), return_tensors="pt")
        inputs = {k: v for k, v in inputs.items() if k not in ("token_type_ids", "rows", "cols", "num_patches")}
        with torch.no_grad():
            expected = model(**inputs, use_cache=False).logits[0, -8:].float().numpy()
        context = folder / "context.json"
        context.write_text(json.dumps({"messages": messages, "add_generation_prompt": True}))
        ask = [folder, "--context", context] + [part for f in files for part in ("--image", pictures / f)]
        ids = json.loads(run(pantry, "tokenize", *ask, "--json"))
        if ids != inputs["input_ids"][0].tolist():
            sys.exit(f"{name} {case}: ids {ids} instead of {inputs['input_ids'][0].tolist()}")
        run(pantry, "logits", *ask, "-o", folder / "logits")
        found = np.fromfile(folder / "logits", np.float32).reshape(-1, expected.shape[1])[-8:]
        error = float(((found - expected) ** 2).sum() / (expected**2).sum())
        limit = 1e-3 if any(f.endswith(".jpg") for f in files) else 1e-6
        if not error < limit:
            sys.exit(f"{name} {case}: NMSE {error:.2e}")
        print(f"{name} {case}: {len(ids)} ids, NMSE {error:.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--keep")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(options.keep or temporary)
        root.mkdir(exist_ok=True)
        images(root)
        for i, name in enumerate(MODELS):
            if options.names and name not in options.names:
                continue
            torch.manual_seed(i)
            model, processor = MODELS[name]()
            model = model.eval()
            model.set_attn_implementation("eager")
            randomize(model, i)
            folder = root / name
            folder.mkdir(exist_ok=True)
            save(model, processor, folder, newer=i % 2 == 1, half=i % 3 == 1)
            check(f"{options.build}/pantry", name, model, processor, folder, root)


if __name__ == "__main__":
    main()
