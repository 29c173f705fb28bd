"""tune and fuse: losses fall, output and errors, killed runs that resume to the same bytes, and reference runs if they
are there (../shared/data/lora, or PANTRY_TEST_DATA)."""

import array
import json
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


class Resuming(unittest.TestCase):
    def test_dropout(self):
        tune("first", *COURSE, "--iters", "1")
        config = path("first/adapter_config.json")
        with open(config) as f:
            said = json.load(f)
        said["lora_parameters"]["dropout"] = 0.1
        write("first/adapter_config.json", json.dumps(said))
        first = path("first/adapters.safetensors")
        error = tune("second", *COURSE, "--resume-adapter-file", first, status=1)
        self.assertIn("adapter_config.json has a dropout of 0.1, which is not supported (allowed: 0)", error)

    def test_other_options(self):
        tune("other", *COURSE)
        error = tune("other", *COURSE, "--resume", "--learning-rate", "0.02", status=1)
        self.assertIn("the learning rate was another one", error)

    def test_killed(self):
        options = [*COURSE, "--optimizer", "adamw", "--grad-accumulation-steps", "3", "--threads", "1"]
        tune("whole", *options)
        dice = random.Random(5)
        for attempt in range(4):
            out = f"killed-{attempt}"
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
