"""tune and fuse: losses fall, output and errors, killed runs that resume to the same bytes, and reference runs if they
are there (../shared/data/lora, or PANTRY_TEST_DATA)."""

import array
import json
import math
import os
import random
import shutil
import signal
import subprocess
import tempfile
import unittest

import service
import tiny_model

DATA = os.path.join(os.environ.get("PANTRY_TEST_DATA") or "../shared/data", "lora")


def setUpModule():
    global FOLDER, MODEL
    FOLDER = tempfile.mkdtemp(prefix="pantry-tune-")
    MODEL = path("tiny.gguf")
    tiny_model.write(MODEL)
    rows = [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": "the hat " * (1 + i)}]}
        for i in range(8)
    ]
    write("train.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n")
    write("valid.jsonl", "\n".join(json.dumps(row) for row in rows[:4]) + "\n\n")
    write("test.jsonl", "\n".join(json.dumps(row) for row in rows[:4]) + "\n")


def tearDownModule():
    shutil.rmtree(FOLDER)


def path(name):
    return os.path.join(FOLDER, name)


def write(name, text):
    with open(path(name), "w") as f:
        f.write(text)
    return path(name)


def read(name):
    with open(path(name), "rb") as f:
        return f.read()


def command(*arguments):
    return [service.PANTRY, *arguments], {**os.environ, "PANTRY_HOME": path("home"), "PANTRY_FOREIGN": "0"}


def pantry(*arguments, status=0):
    """Standard output; of a failure, the error."""
    words, env = command(*arguments)
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, (arguments, done.returncode, done.stderr)
    return done.stderr if status else done.stdout


def tune(out, *more, model=None, data=None, status=0):
    options = ["--train", "--data", data or FOLDER, "--adapter-path", path(out), "--json", *more]
    text = pantry("tune", model or MODEL, *options, status=status)
    return text if status else [json.loads(line) for line in text.splitlines()]


COURSE = ["--iters", "12", "--batch-size", "2", "--learning-rate", "0.01", "--num-layers", "-1", "--save-every", "1"]


class Training(unittest.TestCase):
    def test_learns(self):
        events = tune("learns", *COURSE, "--iters", "40", "--optimizer", "adamw", "--mask-prompt")
        losses = [e["train_loss"] for e in events if "train_loss" in e]
        self.assertEqual(len(losses), 40)
        self.assertLess(losses[-1], losses[0] / 2)
        self.assertLess(events[-1]["val_loss"], losses[0] / 2)
        ids = write("ids.txt", "5 6 7 8")
        pantry("logits", MODEL, "--ids", ids, "-o", path("base.f32"))
        pantry("logits", MODEL, "--adapter", path("learns"), "--ids", ids, "-o", path("tuned.f32"))
        self.assertNotEqual(read("base.f32"), read("tuned.f32"))

    def test_optimizers_and_kinds(self):
        for optimizer, rate in (("sgd", "0.5"), ("adam", "0.01"), ("muon", "0.02")):
            for kind in ("lora", "dora"):
                options = ["--optimizer", optimizer, "--learning-rate", rate, "--fine-tune-type", kind]
                schedule = ["--schedule", "cosine", "--warmup", "2", "--grad-clip", "1", "--order", "given"]
                events = tune(f"{optimizer}-{kind}", *COURSE, *options, *schedule)
                losses = [e["train_loss"] for e in events if "train_loss" in e]
                self.assertLess(min(losses[-4:]), losses[0], (optimizer, kind))

    def test_stops_early(self):
        events = tune("early", *COURSE, "--learning-rate", "0", "--steps-per-eval", "2", "--patience", "2")
        self.assertEqual(max(e["iter"] for e in events), 6)


class Errors(unittest.TestCase):
    def test_data(self):
        good = json.dumps({"text": "a hat"})
        for line, wanted in (
            ("{", "is not JSON"),
            ("[1]", "is not a JSON object"),
            ("{}", "has neither"),
            ('{"text": 1}', "is not a text"),
            ('{"messages": []}', "is not a list of messages"),
            ('{"messages": [{"content": "x"}]}', 'message 1 has no "role"'),
            ('{"prompt": "x", "completion": 2}', '"completion" is not a text'),
            ('{"text": "a", "text": "b"}', "is not JSON"),
        ):
            bad = write("bad.jsonl", f"{good}\n\n{line}\n")
            error = tune("bad", *COURSE, data=bad, status=1)
            self.assertIn(f"{bad}:3: ", error)
            self.assertIn(wanted, error)
        self.assertIn("no rows", tune("bad", *COURSE, data=write("none.jsonl", "\n"), status=1))
        text = write("text.jsonl", (good + "\n") * 2)
        self.assertIn("--mask-prompt", tune("bad", *COURSE, "--mask-prompt", data=text, status=1))
        self.assertIn("a batch needs", tune("bad", *COURSE, "--batch-size", "3", data=text, status=1))

    def test_options(self):
        self.assertIn("no layer of the model", tune("bad", *COURSE, "--keys", "nothing", status=1))
        self.assertIn("directories only", tune("bad", *COURSE, "--fine-tune-type", "full", status=1))
        self.assertIn("not yet of GGUF", pantry("fuse", MODEL, "--adapter", path("x"), "-o", path("y"), status=1))
        self.assertIn("--data", pantry("tune", MODEL, "--train", status=2))


class Choices(unittest.TestCase):
    def test_yaml(self):
        said = (
            "train: true\niters: 6\nbatch_size: 2\nlearning_rate: 1e-2\nnum_layers: -1\noptimizer: sgd\n"
            "optimizer_config:\n  sgd:\n    momentum: 0.9\n  adamw:\n    weight_decay: 0.3\n"
            "lora_parameters:\n  keys: [self_attn.q_proj]\n  rank: 2\n  scale: 4.0\n"
            f"lr_schedule:\n  name: step_decay\n  arguments: [0.5, 0.5, 2]\nmodel: {MODEL}\ndata: {FOLDER}\n"
        )
        file = write("run.yaml", said)
        text = pantry("tune", "-c", file, "--adapter-path", path("yaml"), "--json", "--iters", "4")
        steps = [e for e in map(json.loads, text.splitlines()) if "train_loss" in e]
        self.assertEqual([e["learning_rate"] for e in steps], [0.5, 0.5, 0.25, 0.25])
        with open(path("yaml/adapter_config.json")) as f:
            lora = json.load(f)["lora_parameters"]
        self.assertEqual(lora, {"rank": 2, "scale": 4.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]})
        spelled = ["--iters", "4", "--batch-size", "2", "--num-layers", "-1", "--rank", "2", "--scale", "4", "--keys"]
        spelled += ["self_attn.q_proj", "--optimizer", "sgd", "--optimizer-config", "momentum=0.9", "--lr-schedule"]
        tune("spelled", *spelled, "step_decay 0.5 0.5 2")
        self.assertEqual(read("yaml/adapters.safetensors"), read("spelled/adapters.safetensors"))
        tune("other", *spelled, "step_decay 0.5 0.5 2", "--optimizer-config", "momentum=0.5")
        self.assertNotEqual(read("other/adapters.safetensors"), read("spelled/adapters.safetensors"))
        bad = write("bad.yaml", "iters: 3\nspeed: 1\n")
        self.assertIn(f'{bad}:2: unknown key "speed"', pantry("tune", "-c", bad, status=1))

    def test_test(self):
        events = tune("tested", *COURSE, "--test")
        valid = [e["val_loss"] for e in events if "val_loss" in e][-1]
        test = events[-1]
        self.assertAlmostEqual(test["test_loss"], valid, 6)
        self.assertAlmostEqual(test["test_perplexity"], math.exp(valid), 4)
        alone = ["--test", "--data", FOLDER, "--batch-size", "2", "--json"]
        for out, same in (("tested", True), ("nowhere", False)):
            lines = pantry("tune", MODEL, *alone, "--adapter-path", path(out)).splitlines()
            self.assertEqual(len(lines), 1)
            self.assertEqual(abs(json.loads(lines[0])["test_loss"] - valid) < 1e-5, same)
        fewer = json.loads(pantry("tune", MODEL, *alone, "--test-batches", "1"))
        self.assertLess(fewer["tokens"], test["tokens"])

    def test_split_and_long_rows(self):
        alone = os.path.join(FOLDER, "train.jsonl")
        planned = tune("split", *COURSE, "--valid-split", "0.25", data=alone)
        self.assertEqual(planned[0]["rows"], 6)
        self.assertIn("val_loss", planned[-1])
        skipped = tune("skip", *COURSE, "--long-rows", "skip", "--max-seq-length", "60", data=alone)
        self.assertEqual((skipped[0]["rows"], skipped[0]["left_out"]), (5, 3))
        error = tune("refuse", *COURSE, "--long-rows", "refuse", "--max-seq-length", "60", data=alone, status=1)
        self.assertRegex(error, r"train.jsonl:6: has 62 tokens \(allowed 60\), the first of 3 rows")
        self.assertGreater(tune("cut", *COURSE, "--max-seq-length", "60", data=alone)[-2]["cut"], 0)

    def test_best(self):
        options = ["--optimizer", "sgd", "--lr-schedule", "linear_schedule 0.1 600 11", "--steps-per-eval", "1"]
        options += ["--iters", "6"]
        events = tune("best", *COURSE, *options)
        values = {e["iter"]: e["val_loss"] for e in events if "val_loss" in e}
        best = min(values, key=values.get)
        self.assertEqual([e["iter"] for e in events if e.get("best")][-1], best)
        self.assertLess(best, 6)
        found = pantry("tune", MODEL, "--test", "--data", FOLDER, "--adapter-path", path("best/best"), "--batch-size",
                       "2", "--json")  # fmt: skip
        self.assertAlmostEqual(json.loads(found)["test_loss"], values[best], 5)

    def test_memory(self):
        error = tune("memory", *COURSE, "--memory", "1M", status=1)
        self.assertRegex(error, r"this training needs .* of memory, but .* are left")

    def test_checkpoints(self):
        options = [*COURSE, "--optimizer", "adamw", "--threads", "1", "--dropout", "0.1"]
        plain = tune("kept", *options)
        again = tune("recomputed", *options, "--grad-checkpoint")
        self.assertLess(again[0]["memory"], plain[0]["memory"])
        self.assertEqual(read("kept/adapters.safetensors"), read("recomputed/adapters.safetensors"))


class Exports(unittest.TestCase):
    """Adapters in other formats give the same logits as the original."""

    def logits(self, adapter, name):
        pantry("logits", MODEL, "--adapter", path(adapter), "--ids", write("ids.txt", "5 6 7 8"), "-o", path(name))
        return read(name)

    def test_lora(self):
        pantry("tune", MODEL, "--train", "--data", FOLDER, "--adapter-path", path("lora"), *COURSE, "--export", "gguf")
        pantry("tune", MODEL, "--adapter-path", path("lora"), "--export", "peft")
        want = self.logits("lora", "a.f32")
        for name in ("lora/adapter.gguf", "lora/peft"):
            self.assertLess(nmse(self.logits(name, "b.f32"), want), 1e-10)
        with open(path("lora/peft/adapter_config.json")) as f:
            config = json.load(f)
        self.assertEqual((config["r"], config["lora_alpha"]), (8, 160))
        self.assertIn("model.layers.0.self_attn.q_proj", config["target_modules"])

    def test_dora(self):
        tune("dora", *COURSE, "--fine-tune-type", "dora")
        pantry("tune", MODEL, "--adapter-path", path("dora"), "--export", "peft")
        self.assertLess(nmse(self.logits("dora/peft", "b.f32"), self.logits("dora", "a.f32")), 1e-10)
        error = pantry("tune", MODEL, "--adapter-path", path("dora"), "--export", "gguf", status=1)
        self.assertIn("GGUF files have no DoRA", error)
        error = pantry("tune", MODEL, "--adapter-path", path("no"), "--export", "gguf", status=1)
        self.assertIn("only adapters in a folder", error)


class Resuming(unittest.TestCase):
    def test_dropout(self):
        tune("first", *COURSE, "--iters", "1")
        config = path("first/adapter_config.json")
        with open(config) as f:
            said = json.load(f)
        said["lora_parameters"]["dropout"] = 0.5
        write("first/adapter_config.json", json.dumps(said))
        first = ["--resume-adapter-file", path("first/adapters.safetensors"), "--threads", "1"]
        dropped = [e["train_loss"] for e in tune("dropped", *COURSE, *first) if "train_loss" in e]
        again = [e["train_loss"] for e in tune("again", *COURSE, *first) if "train_loss" in e]
        self.assertEqual(dropped, again)
        said["lora_parameters"]["dropout"] = 0
        write("first/adapter_config.json", json.dumps(said))
        whole = [e["train_loss"] for e in tune("undropped", *COURSE, *first) if "train_loss" in e]
        self.assertNotEqual(dropped[0], whole[0])
        said["lora_parameters"]["dropout"] = 1
        write("first/adapter_config.json", json.dumps(said))
        self.assertIn("has a dropout of 1", tune("bad", *COURSE, *first, status=1))

    def test_other_options(self):
        tune("other", *COURSE)
        error = tune("other", *COURSE, "--resume", "--learning-rate", "0.02", status=1)
        self.assertIn("the learning rate was another one", error)

    def test_killed(self):
        options = [*COURSE, "--optimizer", "adamw", "--grad-accumulation-steps", "3", "--threads", "1"]
        self.kill(options + ["--dropout", "0.2"], 50 if os.environ.get("PANTRY_TEST_SLOW") else 3)
        self.kill(options + ["--optimizer", "adafactor", "--optimizer-config", "beta_1=0.9"], 1)

    def kill(self, options, attempts):
        tune("whole", *options)
        dice = random.Random(5)
        for attempt in range(attempts):
            out = f"killed-{len(options)}-{attempt}"
            words, env = command(
                "tune", MODEL, "--train", "--data", FOLDER, "--adapter-path", path(out), "--json", *options
            )
            run = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
            for _ in range(dice.randrange(1, 16)):
                run.stdout.readline()
            run.send_signal(signal.SIGKILL)
            run.communicate()
            tune(out, *options, "--resume")
            for name in ("adapters.safetensors", "tune_state.safetensors"):
                self.assertEqual(read(f"whole/{name}"), read(f"{out}/{name}"), (attempt, name))


def nmse(file, reference):
    got, want = array.array("f"), array.array("f")
    got.frombytes(file)
    want.frombytes(reference)
    return sum((a - b) ** 2 for a, b in zip(got, want, strict=True)) / sum(b * b for b in want)


@unittest.skipUnless(os.path.isdir(DATA), "no reference runs")
class ReferenceRuns(unittest.TestCase):
    def test_all(self):
        with open(os.path.join(DATA, "runs.json")) as f:
            runs = json.load(f)
        for run in runs:
            with self.subTest(run["name"]):
                self.check(run)

    def test_full(self):
        model, data = os.path.join(DATA, "models", "llama"), os.path.join(DATA, "data", "llama")
        options = ["--fine-tune-type", "full", "--iters", "6", "--batch-size", "4", "--optimizer", "sgd"]
        events = tune("full", *options, "--learning-rate", "0.05", "--order", "given", model=model, data=data)
        losses = [e["train_loss"] for e in events if "train_loss" in e]
        self.assertLess(losses[-1], losses[0] - 1)
        ids = write("ids.txt", "5 6 7 8")
        pantry("fuse", model, "--adapter", path("full"), "-o", path("full-fused"))
        pantry("logits", model, "--adapter", path("full"), "--ids", ids, "-o", path("a.f32"))
        pantry("logits", path("full-fused"), "--ids", ids, "-o", path("b.f32"))
        pantry("logits", model, "--ids", ids, "-o", path("c.f32"))
        self.assertEqual(read("a.f32"), read("b.f32"))
        self.assertNotEqual(read("a.f32"), read("c.f32"))

    def check(self, run):
        name, folder = run["name"], os.path.join(DATA, "runs", run["name"])
        model = os.path.join(DATA, "models", run["model"])
        options = ["--iters", str(run["iters"]), "--batch-size", str(run["batch_size"]), "--order", "given"]
        options += ["--learning-rate", str(run["learning_rate"]), "--optimizer", run["optimizer"]]
        options += ["--max-seq-length", str(run["max_seq_length"]), "--num-layers", "-1"]
        options += ["--resume-adapter-file", os.path.join(folder, "adapter", "adapters.safetensors")]
        options += ["--mask-prompt"] if run["mask_prompt"] else []
        events = tune(name, *options, model=model, data=os.path.join(DATA, "data", run["model"]))
        steps = [e for e in events if "train_loss" in e]
        self.assertEqual([e["tokens"] for e in steps], run["counted_tokens"])
        for step, want in zip(steps, run["train_loss"], strict=True):
            self.assertLess(abs(step["train_loss"] / want - 1), run["tolerance"] / 100)
        self.assertLess(abs(events[-1]["val_loss"] / run["val_loss"] - 1), run["tolerance"] / 100)
        ids, out = os.path.join(folder, "ids.txt"), path("logits.f32")
        with open(os.path.join(folder, "logits.f32"), "rb") as f:
            reference = f.read()
        pantry("logits", model, "--adapter", path(name), "--ids", ids, "-o", out)
        self.assertLess(nmse(read("logits.f32"), reference), 1e-6)
        pantry("fuse", model, "--adapter", path(name), "-o", path(name + "-fused"))
        pantry("logits", path(name + "-fused"), "--ids", ids, "-o", out)
        self.assertLess(nmse(read("logits.f32"), reference), 1e-6 if run["fuse"] else 1e-4)


if __name__ == "__main__":
    unittest.main()
