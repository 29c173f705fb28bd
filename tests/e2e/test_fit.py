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
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if status != 2 else done.stderr


def read(*arguments, status=0):
    return json.loads(fit(*arguments, "--json", status=status))


class Chips(unittest.TestCase):
    def test_published_speeds(self):
        """Within 15 % of two thirds of published figures, to some of which the table was fitted: it is consistent."""
        published = [
            ("M4 Pro", "llama3.1-8b:q4_k_m", 47.3),
            ("M4 Pro", "llama3.2-3b:q4_k_m", 95.3),
            ("M4 Pro", "llama3.2-1b:q4_k_m", 216.5),
            ("M4 Pro", "qwen3-8b:q4_k_m", 46.2),
            ("M4 Pro", "gpt-oss-20b:mxfp4", 66.5),
            ("M5 Max", "llama3.1-8b:q4_k_m", 89.3),
            ("M5 Max", "llama3.2-3b:q4_k_m", 161.8),
            ("M5 Max", "llama3.2-1b:q8_0", 250.8),
            ("M5 Max", "gpt-oss-20b:mxfp4", 101.4),
            ("M4", "llama3.1-8b:q4_k_m", 20.87),
            ("M1 Max", "llama3.1-8b:q4_k_m", 46.2),
        ]
        near = 0
        for chip, model, speed in published:
            found = read(model, "--chip", chip, "--memory", "64G", "--ctx", "2048")
            near += abs(found["decode_tokens_per_second"] / speed - 1) < 0.15
        self.assertGreaterEqual(near / len(published), 2 / 3)

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
        one = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "4096")
        eight = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "4096", "--parallel", "8")
        self.assertEqual(eight["memory"]["kv"], 8 * one["memory"]["kv"])
        self.assertEqual(eight["memory"]["weights"], one["memory"]["weights"])
        half = read("llama3.1-8b:q4_k_m", "--chip", "RTX 4090", "--ctx", "4096", "--kv-type", "q8_0")
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


if __name__ == "__main__":
    unittest.main()
