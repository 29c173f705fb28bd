"""pantry fit: memory, contexts and speed, for this machine and for chips of the table."""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import unittest

import service
import tiny_model

GIB = 1 << 30


def setUpModule():
    global FOLDER, MODEL
    FOLDER = tempfile.mkdtemp(prefix="pantry-fit-")
    MODEL = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(MODEL)


def tearDownModule():
    shutil.rmtree(FOLDER)


def fit(*arguments, status=0):
    env = {**os.environ, "PANTRY_HOME": os.path.join(FOLDER, "home"), "PANTRY_FOREIGN": "0", "TMPDIR": FOLDER}
    done = subprocess.run([service.PANTRY, "fit", *arguments], capture_output=True, text=True, env=env, timeout=600)
    assert status is None or done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if status != 2 else done.stderr


def read(*arguments, status=0):
    return json.loads(fit(*arguments, "--json", status=status))


# Published tokens per second of decoding. The first part: section 6 of the comparison of peers (issue 17), after llmfit's
# community results (AlexsJones/llmfit) and Ollama's figures; q4_0 stands for MLX's 4 bits in groups of 64. The second:
# XiongjieDai/GPU-Benchmarks-on-LLM-Inference, geerlingguy/ai-benchmarks (README and issues), brand-o/normiebench issues 3
# and 40, AlexsJones/llmfit pull 1031, geerlingguy/beowulf-ai-cluster issue 17, ggml-org/llama.cpp pull 26284. Two figures
# of a chip set its two numbers (monitor/chips.def); the third column says which rows did that.
SECTION_6 = [
    ("M4 Pro", "llama3.1-8b:q4_k_m", True, 47.3),
    ("M4 Pro", "llama3.2-3b:q4_k_m", True, 95.3),
    ("M4 Pro", "llama3.2-1b:q4_k_m", False, 216.5),
    ("M4 Pro", "qwen3-8b:q4_k_m", False, 46.2),
    ("M4 Pro", "gpt-oss-20b:mxfp4", False, 66.5),
    ("M4 Pro", "llama3.1-8b:q4_0", False, 50.2),
    ("M4 Pro", "llama3.2-3b:q4_0", False, 98.6),
    ("M4 Pro", "llama3.2-1b:q4_0", False, 220.2),
    ("M4 Pro", "qwen3-8b:q4_0", False, 49.4),
    ("M4 Pro", "gpt-oss-20b:mxfp4", False, 76.7),
    ("M5 Max", "llama3.1-8b:q4_k_m", True, 89.3),
    ("M5 Max", "llama3.2-3b:q4_k_m", True, 161.8),
    ("M5 Max", "llama3.2-1b:q8_0", False, 250.8),
    ("M5 Max", "gpt-oss-20b:mxfp4", False, 101.4),
]
ELSEWHERE = [
    ("M1 7", "llama3.1-8b:q4_k_m", True, 10.2),
    ("M1 Max", "llama3.1-8b:q4_k_m", True, 46.2),
    ("M1 Max", "llama3.3-70b:q4_k_m", True, 7.25),
    ("M1 Ultra", "llama3.2-3b:q4_k_m", True, 127.6),
    ("M1 Ultra", "qwen2.5-14b:q4_k_m", False, 41.51),
    ("M1 Ultra", "llama3.3-70b:q4_k_m", True, 9.84),
    ("M1 Ultra", "gpt-oss-20b:mxfp4", False, 100.43),
    ("M1 Ultra 48", "llama3.2-3b:q4_k_m", True, 108.67),
    ("M1 Ultra 48", "qwen2.5-14b:q4_k_m", False, 35.89),
    ("M2 Pro", "llama3.1-8b:q4_k_m", True, 33.0),
    ("M2 Pro", "llama3.1-8b:q8_0", True, 22.0),
    ("M2 Pro", "phi4-14b:q4_k_m", False, 17.2),
    ("M2 Pro", "gemma3-12b:q4_k_m", False, 19.8),
    ("M2 Pro", "qwen2.5-14b:q4_k_m", False, 17.6),
    ("M2 Pro", "gpt-oss-20b:mxfp4", False, 50.4),
    ("M2 Ultra", "llama3.1-8b:q4_k_m", True, 78.81),
    ("M2 Ultra", "llama3.1-8b:f16", False, 36.9),
    ("M2 Ultra", "llama3.3-70b:q4_k_m", True, 12.48),
    ("M3 Max", "llama3.1-8b:q4_k_m", True, 48.97),
    ("M3 Max", "llama3.1-8b:f16", False, 22.04),
    ("M3 Max", "llama3.3-70b:q4_k_m", True, 7.65),
    ("M3 Ultra", "llama3.2-3b:q4_k_m", True, 154.6),
    ("M3 Ultra", "qwen2.5-14b:q4_k_m", False, 51.85),
    ("M3 Ultra", "llama3.3-70b:q4_k_m", True, 14.41),
    ("M3 Ultra", "gpt-oss-20b:mxfp4", False, 115.29),
    ("M4", "llama3.1-8b:q4_k_m", True, 20.87),
    ("M4", "llama3.2-3b:q4_k_m", True, 41.31),
    ("RTX 3060", "llama3.2-3b:q4_k_m", True, 122.85),
    ("RTX 3060", "qwen2.5-14b:q4_k_m", True, 29.77),
    ("RTX 3060", "gpt-oss-20b:mxfp4", False, 83.96),
    ("RTX 3080 Ti", "llama3.2-3b:q4_k_m", True, 263.24),
    ("RTX 3080 Ti", "qwen2.5-14b:q4_k_m", True, 70.74),
    ("RTX 3080 Ti", "llama3.1-8b:q4_k_m", False, 110.6),
    ("RTX 3090", "llama3.1-8b:q4_k_m", True, 115.42),
    ("RTX 3090", "llama3.1-8b:f16", False, 47.4),
    ("RTX 4070 Ti", "llama3.2-3b:q4_k_m", True, 196.15),
    ("RTX 4070 Ti", "qwen2.5-14b:q4_k_m", True, 49.74),
    ("RTX 4070 Ti", "llama3.1-8b:q4_k_m", False, 83.5),
    ("RTX 4080", "llama3.1-8b:q4_k_m", True, 108.15),
    ("RTX 4080", "llama3.1-8b:f16", False, 40.58),
    ("RTX 4090", "llama3.2-3b:q4_k_m", True, 334.67),
    ("RTX 4090", "qwen2.5-14b:q4_k_m", True, 92.49),
    ("RTX 4090", "llama3.1-8b:f16", False, 54.84),
    ("RTX 4090", "gpt-oss-20b:mxfp4", False, 279.65),
    ("GB10", "llama3.2-3b:q4_k_m", True, 97.93),
    ("GB10", "qwen2.5-14b:q4_k_m", True, 23.92),
    ("GB10", "llama3.3-70b:q4_k_m", False, 4.71),
    ("GB10", "gpt-oss-20b:mxfp4", False, 87.97),
    ("AI Pro R9700", "llama3.2-3b:q4_k_m", True, 195.91),
    ("AI Pro R9700", "qwen2.5-14b:q4_k_m", True, 53.72),
    ("AI Pro R9700", "gpt-oss-20b:mxfp4", False, 163.26),
    ("RX 7900 XTX", "llama3.1-8b:q4_k_m", True, 105.75),
    ("RX 7900 XT", "llama3.2-3b:q4_k_m", True, 131.2),
    ("Ryzen AI Max+ 395", "llama3.3-70b:q4_k_m", True, 4.97),
]
# Prompts of 512 tokens, from the same sources.
PROMPTS = [
    ("M1 Max", "llama3.1-8b:q4_k_m", 499.58),
    ("M4", "llama3.1-8b:q4_k_m", 224.81),
    ("M1 Ultra", "llama3.2-3b:q4_k_m", 2142.59),
    ("M2 Ultra", "llama3.1-8b:q4_k_m", 994.04),
    ("M3 Max", "llama3.1-8b:q4_k_m", 693.32),
    ("M3 Ultra", "llama3.3-70b:q4_k_m", 162.3),
    ("RTX 3090", "llama3.1-8b:q4_k_m", 4030.4),
    ("RTX 4090", "llama3.1-8b:q4_k_m", 7138.99),
    ("RTX 4080", "llama3.1-8b:q4_k_m", 5389.74),
]


class Chips(unittest.TestCase):
    def share(self, rows):
        """The share of the figures that the table gives to 15 %."""
        near = 0
        for chip, model, speed in rows:
            found = read(model, "--chip", chip, "--memory", "256G", "--ctx", "2048")
            off = found["decode_tokens_per_second"] / speed - 1
            near += abs(off) < 0.15
            if os.environ.get("SHOW"):
                print(f"{chip:18} {model:22} {speed:7.1f} {found['decode_tokens_per_second']:7.1f} {100 * off:+6.1f} %")
        return near / len(rows)

    def test_published_speeds(self):
        self.assertGreaterEqual(self.share([(c, m, s) for c, m, _, s in SECTION_6]), 2 / 3)
        self.assertGreaterEqual(self.share([(c, m, s) for c, m, _, s in ELSEWHERE]), 0.9)

    def test_speeds_that_set_no_number(self):
        """Other figures than those that the rows of the table were calculated from."""
        rows = [(c, m, s) for c, m, used, s in SECTION_6 + ELSEWHERE if not used]
        self.assertGreater(len(rows), 25)
        self.assertGreaterEqual(self.share(rows), 2 / 3)

    def test_published_prompts(self):
        for chip, model, speed in PROMPTS:
            found = read(model, "--chip", chip, "--memory", "256G", "--ctx", "2048")
            self.assertAlmostEqual(found["prefill_tokens_per_second"] / speed, 1, delta=0.2, msg=chip)

    def test_fits_or_not(self):
        found = read("llama3.3-70b:q4_k_m", "--chip", "M4 Max", "--memory", "64G", "--ctx", "8192")
        self.assertTrue(found["fits"])
        self.assertEqual(found["have_bytes"], 48 * GIB)
        self.assertEqual(found["context"], 8192)
        self.assertGreater(found["max_context"], 8192)
        self.assertEqual(found["need_bytes"], sum(found["memory"].values()))
        found = read("llama3.3-70b:q4_k_m", "--chip", "M4 Max", "--memory", "36G", status=1)
        self.assertFalse(found["fits"])
        self.assertEqual(found["max_context"], 0)
        text = fit("llama3.3-70b:q4_k_m", "--chip", "M4 Max", "--memory", "48G", "--ctx", "4096", status=1)
        self.assertIn("no: ", text)
        self.assertIn("instead      llama3.3-70b:q3_k_m needs ", text)

    def test_conversations_share_weights(self):
        one = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "8192")
        eight = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "8192", "--parallel", "8", status=None)
        self.assertEqual(eight["memory"]["kv"], 8 * one["memory"]["kv"])
        self.assertEqual(eight["memory"]["weights"], one["memory"]["weights"])
        half = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "8192", "--kv-type", "q8_0")
        self.assertAlmostEqual(half["memory"]["kv"] / one["memory"]["kv"], 34 / 64, places=2)

    def test_best_type(self):
        """A shape without a type: the best that fits."""
        self.assertEqual(
            read("qwen3-14b", "--chip", "M4", "--memory", "24G", "--ctx", "16384")["model"], "qwen3-14b:q6_k"
        )
        self.assertEqual(read("qwen3-14b", "--chip", "M4 Pro", "--memory", "64G")["model"], "qwen3-14b:q8_0")

    def test_mistakes(self):
        self.assertIn("one MODEL", fit("a", "b", status=2))
        self.assertIn("--measure", fit("--chip", "M1", "--measure", status=2))
        env = {**os.environ, "PANTRY_HOME": os.path.join(FOLDER, "home"), "PANTRY_FOREIGN": "0"}
        for words, told in [
            (["--chip", "M99"], 'unknown chip "M99"'),
            (["qwen3-14b:q9_9", "--chip", "M1"], "qwen3-14b:q9_9"),
            (["no-such-model", "--chip", "M1"], "no-such-model"),
        ]:
            done = subprocess.run([service.PANTRY, "fit", *words], capture_output=True, text=True, env=env, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn(told, done.stderr)

    def test_limit_of_file_sizes(self):
        """The outline of a model is a file as large as the model, nearly all of it a hole."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        words = [service.PANTRY, "fit", "llama3.1-8b:q4_k_m", "--chip", "M4"]
        done = subprocess.run(words, capture_output=True, text=True, preexec_fn=limit, timeout=60)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("File too large", done.stderr)


class Tiers(unittest.TestCase):
    def test_tables_that_everybody_knows(self):
        tiers = {t["memory_gb"]: {m.rsplit(":", 1)[0] for m in t["models"]} for t in read("--tiers")}
        for size, models in {
            8: "qwen3-4b llama3.2-3b",
            16: "llama3.1-8b qwen3-8b",
            24: "qwen3-14b mistral-small-22b",
            48: "qwen3-32b",
            64: "llama3.3-70b",
            96: "llama3.3-70b gpt-oss-120b",
        }.items():
            self.assertLessEqual(set(models.split()), tiers[size], size)
        for size, models in {8: "qwen3-14b", 16: "qwen3-32b", 32: "llama3.3-70b", 64: "gpt-oss-120b"}.items():
            self.assertFalse(set(models.split()) & tiers[size], size)
        self.assertIn("llama3.3-70b:q5_k_m", str(read("llama3.3-70b:q5_k_m", "--chip", "M4 Max", "--memory", "96G")))
        self.assertEqual(fit("--tiers").count(" GB "), 2 * len(tiers))


class ThisMachine(unittest.TestCase):
    def test_measured_once(self):
        kept = os.path.join(FOLDER, "home", "machine.json")
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with open(kept, "w") as f:
            f.write("{ damaged")
        text = fit(MODEL, "--explain", "--ctx", "64")
        self.assertIn("fits         yes", text)
        self.assertIn("measured on this machine", text)
        self.assertRegex(text, r"decode       about [0-9.e+]+ tok/s")
        # what was kept is used: with other numbers in the file, others come out
        limits = {
            "device": re.search(r"machine +(.*?) · ", text)[1],
            "read_bytes_per_second": 2e9,
            "decode_bytes_per_second": 1e9,
            "layer_seconds": 1.0,
            "operations_per_second": 1e9,
        }
        with open(kept, "w") as f:
            json.dump({"limits": [limits], "other": 1}, f)
        n_layer = 2
        self.assertAlmostEqual(read(MODEL, "--ctx", "64")["decode_tokens_per_second"], 1 / n_layer, places=3)

    def test_own_runs_correct(self):
        """A run of bench is kept, and a prediction for its model is then what it measured."""
        home = os.path.join(FOLDER, "home-of-runs")
        env = {**os.environ, "PANTRY_HOME": home, "PANTRY_FOREIGN": "0", "TMPDIR": FOLDER}

        def run(*words):
            words = [service.PANTRY, *words, "-t", "1"]
            done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)

        measured = run("bench", MODEL, "-p", "16", "-n", "8", "-r", "2", "--json")
        with open(os.path.join(home, "machine.json")) as f:
            kept = json.load(f)
        (row,) = kept["runs"]
        self.assertEqual((row["model"], row["device"]), (os.path.basename(MODEL), measured["device"]))
        self.assertEqual((row["type"], row["prompt"], row["layers"]), ("f16", 16, 2))
        self.assertAlmostEqual(row["step_seconds"] * measured["decode_tokens_per_second"]["median"], 1, places=6)
        limits = {
            "device": measured["device"],
            "read_bytes_per_second": 2e9,
            "decode_bytes_per_second": 1e9,
            "layer_seconds": 1e-3,
            "operations_per_second": 1e9,
        }
        kept["limits"] = [limits]
        row["step_seconds"] = 3 * (row["bytes"] / 1e9 + 2e-3)  # three times what the limits say
        with open(os.path.join(home, "machine.json"), "w") as f:
            json.dump(kept, f)
        found = run("fit", MODEL, "--ctx", "64", "--json")
        self.assertEqual(found["runs"], 1)
        seconds = 3 * (measured["bytes_per_token"] / 1e9 + 2e-3)
        self.assertAlmostEqual(found["decode_tokens_per_second"] * seconds, 1, delta=0.01)
        self.assertLess(found["decode_error"], 0.1)
        # a second run of the model replaces the first
        run("bench", MODEL, "-p", "16", "-n", "8", "-r", "1", "--json")
        with open(os.path.join(home, "machine.json")) as f:
            kept = json.load(f)
        self.assertEqual((len(kept["runs"]), kept["limits"]), (1, [limits]))


if __name__ == "__main__":
    unittest.main()
