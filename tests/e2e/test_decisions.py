"""Typed decisions: /v1/systemone by Ollama's client, /v1/decisions by OpenAI's, and `pantry decide`. Probabilities are
compared with the logits of whole texts."""

import array
import json
import math
import os
import shutil
import subprocess
import tempfile
import unittest

import service
import tiny_model

TINY, BASE, SHORT, THINKER = "tiny", "base", "short", "thinker"
STATE = "My card was charged twice for one order. Fix it now!"
NOUL = {"type": "noul", "instructions": "Is it urgent?"}
CHOICE = {
    "type": "choice",
    "instructions": "Which team?",
    "criteria": {"sales": None, "billing": "money", "tech": None},
}
SCORE = {"type": "score", "instructions": "How angry?", "criteria": ["calm", "cross", "furious"]}
# One label begins another, and one of those a third.
NESTED = {"type": "choice", "instructions": "Which?", "criteria": {"a": None, "ab": None, "abc": None, "b": None}}
PATH = "/v1/systemone"


def setUpModule():
    global FOLDER, FILES, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-decisions-")
    FILES = {name: os.path.join(FOLDER, f"{name}.gguf") for name in (TINY, BASE, THINKER)}
    tiny_model.write(FILES[TINY])
    tiny_model.write(FILES[BASE], template=False)
    thinks = tiny_model.TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    saved, tiny_model.TEMPLATE = tiny_model.TEMPLATE, thinks
    tiny_model.write(FILES[THINKER])
    tiny_model.TEMPLATE = saved
    SERVICE = service.Service(FILES)


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


class Case(unittest.TestCase):
    def ask(self, questions, state=STATE, **more):
        body = {"model": TINY, "state": state, "questions": questions, **more}
        status, _, reply = SERVICE.request("POST", PATH, body)
        self.assertEqual(status, 200, reply)
        self.assertEqual(set(reply), {"model", "answers", "usage"})
        self.assertEqual(list(reply["answers"]), list(questions))
        return reply["answers"]

    def one(self, question, **more):
        return self.ask({"q": question}, **more)["q"]

    def refused(self, words, status=400, path=PATH, **fields):
        body = {"model": TINY, "state": STATE, "questions": {"q": NOUL}, **fields}
        body = {k: v for k, v in body.items() if v is not ...}
        got, _, reply = SERVICE.request("POST", path, body)
        self.assertEqual(got, status, reply)
        error = reply["error"] if path == PATH else reply["error"]["message"]
        self.assertIn(words, error)
        return reply["error"]

    def near(self, a, b, tolerance=1e-4):
        self.assertEqual(list(a), list(b))
        for key in a:
            self.assertAlmostEqual(a[key], b[key], delta=tolerance)


class Exact(Case):
    """The same numbers from `pantry logits`, which reads each label as a text of its own."""

    def ids(self, text, model=TINY):
        body = {"model": model, "content": text}
        return SERVICE.request("POST", "/tokenize", body)[2]["tokens"]

    def logprobs(self, ids, first, model=TINY):
        """Log probabilities of every token after each position from `first` on."""
        out = os.path.join(FOLDER, "logits")
        command = [service.PANTRY, "logits", FILES[model], "--ids", "-", "-o", out]
        subprocess.run(command, input=" ".join(map(str, ids)), text=True, check=True, capture_output=True)
        values = array.array("f")
        with open(out, "rb") as file:
            values.frombytes(file.read())
        width = len(values) // len(ids)
        rows = [values[i * width : (i + 1) * width] for i in range(first, len(ids))]
        sums = [math.log(sum(math.exp(y) for y in row)) for row in rows]  # these logits are small
        return [[x - total for x in row] for row, total in zip(rows, sums)]

    def expected(self, question, labels, ends=(), model=TINY, after=""):
        """Probabilities of the labels, of which those in `ends` must end there."""
        body = {"model": model, "messages": [{"role": "user", "content": f"{STATE}\n\nQuestion: {question}"}]}
        prompt = self.ids(SERVICE.request("POST", "/apply-template", body)[2]["prompt"].rstrip("\n") + after, model)
        p = {}
        for label in labels:
            ids = self.ids(label, model)
            rows = self.logprobs(prompt + ids, len(prompt) - 1, model)
            p[label] = math.exp(sum(rows[i][ids[i]] for i in range(len(ids))))
            if label in ends:
                p[label] *= sum(math.exp(rows[-1][end]) for end in ENDS)
        total = sum(p.values())
        return {label: value / total for label, value in p.items()}

    def test_choice(self):
        text = (
            "Which team?\nOptions:\n- sales\n- billing: money\n- tech\n"
            "Answer with one of the options as it is written, and nothing else."
        )
        answer = self.one(CHOICE)
        self.near(answer["probabilities"], self.expected(text, ["sales", "billing", "tech"], after="\n"))
        best = max(answer["probabilities"], key=answer["probabilities"].get)
        self.assertEqual(answer["choice"], best)
        self.assertAlmostEqual(answer["confidence"], (answer["probabilities"][best] - 1 / 3) / (2 / 3))

    def test_labels_that_begin_others(self):
        text = (
            "Which?\nOptions:\n- a\n- ab\n- abc\n- b\n"
            "Answer with one of the options as it is written, and nothing else."
        )
        answer = self.one(NESTED)
        self.near(answer["probabilities"], self.expected(text, ["a", "ab", "abc", "b"], {"a", "ab"}, after="\n"), 1e-3)

    def test_score(self):
        text = (
            "How angry?\nLevels:\n0: calm\n1: cross\n2: furious\nAnswer with the number of one level, and nothing else."
        )
        answer = self.one(SCORE)
        expected = self.expected(text, ["0", "1", "2"], after="\n")
        self.near(answer["probabilities"], expected)
        self.assertAlmostEqual(answer["score"], expected["1"] + 2 * expected["2"], 3)
        self.assertEqual(answer["legend"], {"0": "calm", "1": "cross", "2": "furious"})

    def test_noul(self):
        text = "Is it urgent?\nYes means: soon\nNo means: later\nAnswer with Yes or No, and nothing else."
        answer = self.one({**NOUL, "criteria": {"true": "soon", "false": "later"}})
        self.assertEqual(set(answer), {"type", "noul"})
        self.assertAlmostEqual(answer["noul"], self.expected(text, ["Yes", "No"], after="\n")["Yes"], 3)

    def test_many_labels(self):
        """More than a request reads at once."""
        labels = {f"{chr(97 + i)}x": None for i in range(26)}
        options = "".join(f"\n- {label}" for label in labels)
        text = f"Which?\nOptions:{options}\nAnswer with one of the options as it is written, and nothing else."
        answer = self.one({"type": "choice", "instructions": "Which?", "criteria": labels})
        self.near(answer["probabilities"], self.expected(text, labels, after="\n"))
        self.assertAlmostEqual(sum(answer["probabilities"].values()), 1)

    def test_an_answer_begins_after_the_thought(self):
        text = "Is it urgent?\nAnswer with Yes or No, and nothing else."
        answer = self.one(NOUL, model=THINKER)
        expected = self.expected(text, ["Yes", "No"], model=THINKER, after="\n\n</think>\n\n")
        self.assertAlmostEqual(answer["noul"], expected["Yes"], 3)


ENDS = (2,)  # what tiny_model ends an answer with


class SystemOne(Case):
    def test_by_ollamas_client(self):
        ollama = service.client_library("ollama")
        client = ollama.Client(host=SERVICE.url)
        if not hasattr(client, "systemone"):
            self.skipTest("this client has no decisions")
        reply = client.systemone(TINY, STATE, {"n": NOUL, "c": CHOICE, "s": SCORE}, keep_alive="5m")
        self.assertEqual(reply.model, TINY)
        self.assertEqual([reply.answers[k].type for k in "ncs"], ["noul", "choice", "score"])
        self.assertEqual(reply.usage.output_tokens, 0)
        self.assertGreater(reply.usage.input_tokens, 3 * len(STATE) / 2)
        with self.assertRaises(ollama.ResponseError) as caught:
            client.systemone(BASE, STATE, {"n": NOUL})
        self.assertIn("no chat template", caught.exception.error)

    def test_questions_do_not_change_each_other(self):
        alone = [self.one(q) for q in (NOUL, CHOICE, SCORE)]
        together = list(self.ask({"a": NOUL, "b": CHOICE, "c": SCORE}).values())
        for x, y in zip(alone, together):
            self.assertEqual(x.keys(), y.keys())
            self.assertAlmostEqual(x.get("confidence", x.get("noul")), y.get("confidence", y.get("noul")), 3)

    def test_the_same_again(self):
        first = self.ask({"a": NOUL, "b": NESTED})
        self.assertAlmostEqual(first["a"]["noul"], self.ask({"a": NOUL, "b": NESTED})["a"]["noul"], 5)

    def test_the_state_is_read_once(self):
        state = "A long letter. " * 200
        before = SERVICE.metric("prompt_tokens_total")
        self.ask({f"q{i}": {**NOUL, "instructions": f"Question number {i}?"} for i in range(10)}, state=state)
        self.assertLess(SERVICE.metric("prompt_tokens_total") - before, 2 * len(state))

    def test_states_and_instructions_of_json(self):
        self.assertNotEqual(self.one(NOUL, state={"a": 1}), self.one(NOUL, state={"a": 2}))
        self.one({**NOUL, "instructions": {"ask": ["this"]}}, state=["a", "b"])

    def test_sizes(self):
        most = {f"label {i}": None for i in range(255)}
        answer = self.one({**CHOICE, "criteria": most})
        self.assertEqual(len(answer["probabilities"]), 255)
        self.refused("criteria: wrong size (found 256", questions={"q": {**CHOICE, "criteria": {**most, "z": None}}})
        self.assertEqual(len(self.one({**SCORE, "criteria": ["x"] * 10})["probabilities"]), 10)
        self.refused("criteria: wrong size (found 11", questions={"q": {**SCORE, "criteria": ["x"] * 11}})
        self.refused("found 1 labels", questions={"q": {**CHOICE, "criteria": {"a": None}}})
        self.refused("questions: wrong size (found 401", questions={str(i): NOUL for i in range(401)})
        self.refused("questions: wrong size (found 0", questions={})

    def test_refusals(self):
        self.refused("model is required", model=...)
        self.refused("not found", 404, model="nope")
        self.refused("state is required", state=...)
        self.refused("state is required", state="")
        self.refused("state is required", state=3)
        self.refused("images: not supported", images=["aGVsbG8="])
        self.refused("keep_alive", keep_alive="soon")
        self.refused("questions", questions=[NOUL])
        self.refused("no chat template", model=BASE)
        self.refused("questions.q: too long", state="word " * 20000)
        for words, change in {
            "questions.q.type: unknown": {"type": "guess"},
            "questions.q.instructions is required": {"instructions": ""},
            "questions.q.more: unknown field": {"more": 1},
            "questions.q.criteria: wrong entry": {"criteria": {"maybe": "x"}},
            "questions.q.criteria: wrong type": {"criteria": ["x"]},
        }.items():
            self.refused(words, questions={"q": {**NOUL, **change}})
        for label in ("", " a", "a ", "a\nb", "x" * 257):
            self.refused("wrong label", questions={"q": {**CHOICE, "criteria": {"b": None, label: None}}})
        self.refused("criteria.b: wrong type", questions={"q": {**CHOICE, "criteria": {"b": 1, "c": None}}})
        self.refused("criteria[1]", questions={"q": {**SCORE, "criteria": ["a", None]}})
        got = SERVICE.request("POST", PATH, b'{"model": "tiny", "state": "x", "questions": {"q": {}, "q": {}}}')
        self.assertEqual(got[0], 400)


class OpenAI(Case):
    PREDICATE = {"type": "predicate", "name": "urgent", "instructions": "Is it urgent?"}

    def setUp(self):
        openai = service.client_library("openai")
        self.client = openai.OpenAI(base_url=SERVICE.url + "/v1", api_key="none", max_retries=0)
        self.addCleanup(self.client.close)
        if not hasattr(self.client, "decisions"):
            self.skipTest("this client has no decisions")

    def decide(self, *questions, **more):
        reply = self.client.decisions.create(**{"model": TINY, "input": STATE, "questions": questions, **more})
        type(reply).model_validate(json.loads(reply.model_dump_json(warnings="error")))
        self.assertEqual(len(reply.answers), len(questions))
        return reply

    def test_predicate(self):
        answer = self.decide(self.PREDICATE).answers[0]
        self.assertEqual((answer.type, answer.name), ("predicate", "urgent"))
        self.assertAlmostEqual(answer.probability, self.one(NOUL)["noul"], 3)

    def test_choice(self):
        choices = [{"value": "sales"}, {"value": "billing", "description": "money"}, {"value": "tech"}]
        answer = self.decide({"type": "choice", "instructions": "Which team?", "choices": choices}).answers[0]
        native = self.one(CHOICE)
        self.assertIsNone(answer.name)
        self.assertEqual(answer.choice, native["choice"])
        self.near({p.value: p.probability for p in answer.probabilities}, native["probabilities"], 1e-3)

    def test_booleans(self):
        question = {"type": "choice", "instructions": "Is it?", "choices": [{"value": True}, {"value": False}]}
        answer = self.decide(question).answers[0]
        self.assertIsInstance(answer.choice, bool)
        self.assertEqual([p.value for p in answer.probabilities], [True, False])

    def test_score(self):
        levels = [{"label": "calm"}, {"label": "cross"}, {"label": "furious"}]
        answer = self.decide({"type": "score", "instructions": "How angry?", "levels": levels}).answers[0]
        native = self.one(SCORE)
        self.assertAlmostEqual(answer.score, native["score"], 3)
        self.assertEqual(
            [(p.label, p.value) for p in answer.probabilities], [("calm", 0), ("cross", 1), ("furious", 2)]
        )

    def test_input_of_messages(self):
        text = {"type": "input_text", "text": STATE}
        plain = self.decide(self.PREDICATE).answers[0].probability
        listed = self.decide(self.PREDICATE, input=[{"role": "user", "content": [text]}])
        self.assertAlmostEqual(listed.answers[0].probability, plain, 3)
        with_json = [{"role": "user", "content": [text, {"type": "input_json", "data": {"a": [1, 2]}}]}]
        more = self.decide(self.PREDICATE, input=with_json)
        self.assertGreater(more.usage.input_tokens, listed.usage.input_tokens)
        chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]
        self.assertGreater(self.decide(self.PREDICATE, input=chat).usage.input_tokens, 20)

    def test_usage(self):
        usage = self.decide(self.PREDICATE, self.PREDICATE).usage
        self.assertEqual(usage.total_tokens, usage.input_tokens)
        self.assertGreater(usage.input_tokens_details.cached_tokens, 0)

    def test_refusals(self):
        def refused(words, **fields):
            self.refused(
                words, path="/v1/decisions", state=..., **{"input": STATE, "questions": [self.PREDICATE], **fields}
            )

        choice = {"type": "choice", "instructions": "Which?"}
        refused("input is required", input=...)
        refused("input is required", input=[])
        refused("questions: wrong size", questions=[])
        refused("stream: unknown field", stream=True)
        refused("questions[0].type: unknown", questions=[{"type": "noul", "instructions": "x"}])
        refused("questions[0].choices: unknown field", questions=[{**self.PREDICATE, "choices": []}])
        refused("questions[0].instructions is required", questions=[{"type": "predicate"}])
        refused("duplicate", questions=[{**choice, "choices": [{"value": "a"}, {"value": "a"}]}])
        refused("duplicate", questions=[{**choice, "choices": [{"value": "true"}, {"value": True}]}])
        refused("questions[0].choices: wrong size (found 1", questions=[{**choice, "choices": [{"value": "a"}]}])
        refused("value is required", questions=[{**choice, "choices": [{"value": 1}, {"value": "a"}]}])
        image = {"type": "input_image", "image_url": "data:,"}
        refused("input[0].content[0]", input=[{"role": "user", "content": [image]}])


class Command(Case):
    def run_it(self, *arguments, stdin=None, status=0):
        done = subprocess.run(
            [service.PANTRY, "decide", FILES[TINY], *arguments], input=stdin, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def test_as_the_service(self):
        answers = json.loads(self.run_it("Is it urgent?", STATE, "--json"))["answers"]
        self.assertAlmostEqual(answers["answer"]["noul"], self.one(NOUL)["noul"], 3)
        out = self.run_it("Which team?", "-c", "sales", "-c", "billing=money", "-c", "tech", stdin=STATE)
        rows = dict(reversed(line.split()) for line in out.splitlines()[:3])
        self.near({k: float(v) for k, v in rows.items()}, self.one(CHOICE)["probabilities"], 1e-3)
        self.assertIn("score: ", self.run_it("How angry?", STATE, "-l", "calm", "-l", "cross", "-l", "furious"))

    def test_file_of_questions(self):
        path = os.path.join(FOLDER, "questions.json")
        with open(path, "w") as file:
            json.dump({"urgent": NOUL, "team": CHOICE}, file)
        out = self.run_it("--questions", path, STATE)
        self.assertIn("urgent:\n", out)
        self.assertIn("team:\n", out)

    def test_mistakes(self):
        self.assertIn("duplicate", self.run_it("q", "text", "-c", "a", "-c", "a", status=1))
        self.assertIn("exclude", self.run_it("q", "text", "-c", "a", "-l", "b", status=2))
        self.assertIn("found 1 labels", self.run_it("q", "text", "-c", "a", status=1))
        self.assertIn("state is required", self.run_it("q", "", status=1))


if __name__ == "__main__":
    unittest.main()
