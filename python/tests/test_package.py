"""The wheel, and the snippets of README.md and docs/python.md."""

import base64
import hashlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile

import pantry
from pantry import _capi, _options

from support import ROOT, Folder

generate_module = importlib.import_module("pantry.generate")  # the package has a function of this name


def snippets(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return re.findall(r"^```python\n(.*?)^```$", file.read(), flags=re.M | re.S)


class Types(unittest.TestCase):
    def test_options_are_those_that_calls_take(self):
        answer = set(_options.GenerateOptions.__annotations__)
        mlx_lm = set(generate_module._REFUSED) | generate_module._IGNORED
        self.assertEqual(answer - mlx_lm, set(generate_module.RequestSettings.__dataclass_fields__))
        self.assertEqual(mlx_lm - answer, set())
        members = lambda struct: {name for name, *_ in struct._fields_}
        self.assertEqual(set(_options.LoadOptions.__annotations__),
                         members(_capi.ModelOptions) - {"size", "adapters", "maybe_projector"})  # fmt: skip
        self.assertEqual(set(_options.TuneOptions.__annotations__),
                         members(_capi.TuneOptions) - {"size", "callback", "user", "data", "adapter_path"})  # fmt: skip

    def test_mistakes_are_seen(self):
        try:
            import mypy.api
        except ImportError:
            self.skipTest("mypy is not installed")
        lines = (
            "generate(model, tokenizer, 'x', max_token=3)",
            "generate(model, tokenizer, 'x', seed='1')",
            "generate(model, tokenizer, 'x', kv_bits=4)",
            "load('x', device=1)",
            "reveal_type(load('x', return_config=True)[2])",
            "chat(model, tokenizer, [], tool=[])",
            "tune('x', iters='3')",
        )
        code = "from pantry import chat, generate, load, tune\nmodel, tokenizer = load('x')\n" + "\n".join(lines)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "program.py")
            with open(path, "w") as file:
                file.write(code)
            os.environ["MYPYPATH"] = os.path.join(ROOT, "python", "src")
            out, _, _ = mypy.api.run(["--strict", "--cache-dir", folder, path])
        found = [int(n) for n in re.findall(r"program\.py:(\d+): error", out)]
        self.assertEqual(found, [3, 4, 5, 6, 8, 9], out)
        self.assertRegex(out, r"program\.py:7: note: Revealed type is .dict\[.*str, Any\]")


class Wheel(unittest.TestCase):
    def setUp(self):
        if "PANTRY_WHEEL" not in os.environ:
            self.skipTest("PANTRY_WHEEL does not name a wheel")
        self.path = os.environ["PANTRY_WHEEL"]
        self.wheel = zipfile.ZipFile(self.path)
        self.addCleanup(self.wheel.close)
        self.names = self.wheel.namelist()

    def test_name_and_tag(self):
        name, version, python, abi, platform = os.path.basename(self.path)[: -len(".whl")].split("-")
        self.assertEqual((name, version, python, abi), ("pantry", pantry.__version__, "py3", "none"))
        self.assertRegex(platform, r"^(linux_(x86_64|aarch64)|macosx_14_0_arm64)$")
        info = self.wheel.read(f"pantry-{version}.dist-info/WHEEL").decode()
        self.assertIn(f"Tag: py3-none-{platform}\n", info)
        self.assertIn("Root-Is-Purelib: false\n", info)
        suffix = f"{version[0]}.dylib" if platform.startswith("macosx") else f"so.{version[0]}"
        self.assertIn(f"pantry/lib/libpantry.{suffix}", self.names)

    def test_record_lists_every_file(self):
        record = next(name for name in self.names if name.endswith("/RECORD"))
        rows = dict(line.split(",", 1) for line in self.wheel.read(record).decode().splitlines())
        self.assertEqual(set(rows), set(self.names))
        for name, rest in rows.items():
            if name != record:
                data = self.wheel.read(name)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                self.assertEqual(rest, f"sha256={digest},{len(data)}", name)
        for name in ("pantry/py.typed", "pantry/models/cache.py"):
            self.assertIn(name, self.names)

    def test_the_package_is_the_installed_one(self):
        self.assertIn("site-packages", pantry.__file__)
        with open("/proc/self/maps") if os.path.exists("/proc/self/maps") else self.skipTest("no maps") as file:
            libraries = {line.split()[-1] for line in file if "libpantry" in line}
        self.assertEqual(
            {os.path.dirname(path) for path in libraries}, {os.path.join(os.path.dirname(pantry.__file__), "lib")}
        )


class Snippets(unittest.TestCase):
    """They run as they are, each in a program of its own, with the models of this machine or, where it has none, with
    made-up ones of their names."""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        self.env = dict(os.environ)
        try:
            pantry.load("smollm2:135m", fetch=False)[0].close()
        except pantry.errors.NotFoundError:
            self.env = self.folder.environment()
            self.folder.write("Modelfile", f"FROM {self.folder.model}\n")
            self.folder.program("create", "smollm2:135m", "-f", self.folder.file("Modelfile"))
        self.env.pop("PYTHONPATH", None)

    def run_all(self, *path):
        found = snippets(*path)
        for snippet in found:
            with tempfile.TemporaryDirectory() as folder:
                # -s: nothing of the user's; the test's packages are not there either
                done = subprocess.run(
                    [sys.executable, "-s", "-c", snippet], cwd=folder, env=self.env, capture_output=True, text=True
                )
            self.assertEqual(done.returncode, 0, snippet + done.stderr)
            self.assertTrue(done.stdout.strip(), snippet)
        return len(found)

    def test_readme(self):
        self.assertEqual(self.run_all("README.md"), 1)

    def test_manual(self):
        self.assertGreaterEqual(self.run_all("docs", "python.md"), 6)


if __name__ == "__main__":
    unittest.main()
