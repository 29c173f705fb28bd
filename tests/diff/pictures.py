"""Decoding and resampling beside Pillow: build/tools/resize reads what Pillow writes, and resizes as it does.

Usage: pictures.py BUILD [SEED]. Needs Pillow and numpy. Lossless formats must agree in every byte; JPEG and lossy WebP in
99 % to 3 levels (decoders differ); resized pictures in 99.9 % of bytes to 1 level.
"""

# run-diff: {build}

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

RESAMPLE = {0: Image.NEAREST, 1: Image.LANCZOS, 2: Image.BILINEAR, 3: Image.BICUBIC, 4: Image.BOX, 5: Image.HAMMING}


def picture(rng, width, height):
    """Noise, waves and edges: values that ring at edges and clip."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x * rng.random() + y * rng.random() + c) for c in range(3)], axis=2) * 100 + 128
    noise = np.random.default_rng(rng.getrandbits(32)).integers(-60, 60, (height, width, 3))
    out = waves + noise
    out[height // 3 : height // 2] = 255
    out[:, width // 4 : width // 3] = 0
    return Image.fromarray(np.clip(out, 0, 255).astype(np.uint8))


class Tool:
    def __init__(self, build, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [f"{build}/tools/resize"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, file, width=0, height=0, resample=0):
        out = self.folder / "out.rgb"
        self.process.stdin.write(f"{file} {width} {height} {resample} {out}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            return " ".join(answer)
        return np.fromfile(out, np.uint8).reshape(int(answer[2]), int(answer[1]), 3)


def compare(name, ours, theirs, levels, share):
    if isinstance(ours, str):
        sys.exit(f"{name}: {ours}")
    if ours.shape != theirs.shape:
        sys.exit(f"{name}: {ours.shape} instead of {theirs.shape}")
    near = (np.abs(ours.astype(int) - theirs.astype(int)) <= levels).mean()
    if near < share:
        sys.exit(f"{name}: only {near:.6f} of the bytes are within {levels} levels (allowed {share})")
    return (ours != theirs).mean()


def formats(rng, tool):
    image = picture(rng, 61, 47)
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.fromarray(np.random.default_rng(1).integers(0, 255, (47, 61), np.uint8)))
    exif = Image.Exif()
    cases = [
        ("rgb.png", image, {}),
        ("rgba.png", alpha, {}),
        ("grey.png", image.convert("L"), {}),
        ("greyalpha.png", alpha.convert("LA"), {}),
        ("palette.png", image.quantize(19), {}),
        ("bits.png", image.convert("1"), {}),
        ("rgb.bmp", image, {}),
        ("palette.bmp", image.quantize(200), {}),
        ("bits.bmp", image.convert("1"), {}),
        ("palette.gif", image.quantize(90), {}),
        ("few.gif", image.quantize(3), {}),
        ("interlaced.gif", image.quantize(250), {"interlace": True}),
        ("lossless.webp", image, {"lossless": True}),
        ("alpha.webp", alpha, {"lossless": True, "exact": True}),
        ("lossy.webp", image, {"quality": 90}),
        ("moving.gif", image.quantize(50), {"save_all": True, "append_images": [image.quantize(9)] * 3}),
        ("moving.webp", image, {"save_all": True, "append_images": [alpha] * 3, "lossless": True}),
        ("rgb.jpg", image, {"quality": 95, "subsampling": 0}),
        ("half.jpg", image, {"quality": 80}),
        ("progressive.jpg", image, {"progressive": True}),
        ("grey.jpg", image.convert("L"), {}),
        ("cmyk.jpg", image.convert("CMYK"), {"quality": 95}),
    ]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        for kind in ("jpg", "png", "webp"):
            options = {"lossless": True} if kind == "webp" else {}
            cases.append((f"turn{turn}.{kind}", image, {"exif": exif.tobytes(), **options}))
    for name, value, options in cases:
        path = tool.folder / name
        value.save(path, **options)
        theirs = np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        lossy = name.endswith(".jpg") or name == "lossy.webp"
        compare(name, tool.run(path), theirs, 3 if lossy else 0, 0.99 if lossy else 1)
    return len(cases)


def sizes(rng, tool, n):
    worst = 0
    for i in range(n):
        image = picture(rng, rng.randint(1, 300), rng.randint(1, 300))
        path = tool.folder / "in.png"
        image.save(path)
        width, height, resample = rng.randint(1, 400), rng.randint(1, 400), i % 6
        theirs = np.array(image.resize((width, height), RESAMPLE[resample]))
        name = f"{image.size} as {(width, height)}, filter {resample}"
        worst = max(worst, compare(name, tool.run(path, width, height, resample), theirs, 1, 0.999))
    return worst


def main():
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool(sys.argv[1], Path(folder))
        n = formats(rng, tool)
        worst = sizes(rng, tool, 200)
    print(f"{n} files read as by Pillow; of 200 resized pictures, at most {worst:.6f} of the bytes differ at all")


if __name__ == "__main__":
    main()
