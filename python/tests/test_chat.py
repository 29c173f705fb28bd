"""Tokenizers, conversations, forms of answers, and the same for asyncio."""

import asyncio
import subprocess
import sys
import unittest

import pantry
from pantry import Grammar, chat, generate_structured, load, make_sampler, stream_chat
from support import CHAT, Folder

WILD = make_sampler(temp=2.0, seed=3)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TEMPLATE = "{% for m in messages %}hat {{ m.content }}{% endfor %}"
TOOLS = [{"type": "function", "function": {"name": "get_age", "parameters": PERSON}}]


def setUpModule():
    global FOLDER, MODEL, TOKENIZER
    FOLDER = Folder()
    MODEL, TOKENIZER = load(FOLDER.model)


def tearDownModule():
    FOLDER.remove()


class Tokenizers(unittest.TestCase):
    def test_texts_come_back(self):
        for text in ("the hat", "Gr\u00fc\u00dfe, \U0001f984!", "a\x00b", ""):
            self.assertEqual(TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)), text)
        self.assertEqual(TOKENIZER.decode(3 + ord("x")), "x")

    def test_special_tokens(self):
        ids = TOKENIZER.encode("<|im_start|>x<|im_end|>", add_special_tokens=False)
        self.assertEqual((ids[0], ids[-1], len(ids)), (1, 2, 3))
        self.assertEqual(TOKENIZER.decode(ids), "<|im_start|>x<|im_end|>")
        self.assertEqual(TOKENIZER.decode(ids, skip_special_tokens=True), "x")
        self.assertEqual((TOKENIZER.bos_token, TOKENIZER.bos_token_id), ("<|im_start|>", 1))
        self.assertEqual((TOKENIZER.eos_token, TOKENIZER.eos_token_id), ("<|im_end|>", 2))
        self.assertIn(2, TOKENIZER.eos_token_ids)
        self.assertNotIn(70, TOKENIZER.eos_token_ids)
        self.assertEqual(len(TOKENIZER), MODEL.info.n_vocab)

    def test_chat_templates(self):
        text = TOKENIZER.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        self.assertEqual(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
        ids = TOKENIZER.apply_chat_template(CHAT, add_generation_prompt=True)
        self.assertEqual(ids, TOKENIZER.encode(text, add_special_tokens=False))
        self.assertEqual(TOKENIZER.apply_chat_template(CHAT, tokenize=False), text[: -len("<|im_start|>assistant\n")])
        self.assertIn("im_start", TOKENIZER.chat_template)

    def test_a_tokenizer_alone(self):
        alone = pantry.Tokenizer.from_file(FOLDER.model)
        self.assertEqual(alone.encode("the hat"), TOKENIZER.encode("the hat"))
        with self.assertRaises(pantry.errors.UnsupportedError):
            alone.apply_chat_template(CHAT)


class Chats(unittest.TestCase):
    def test_an_answer(self):
        ids = TOKENIZER.apply_chat_template(CHAT, add_generation_prompt=True)
        expected = pantry.generate(MODEL, TOKENIZER, ids, max_tokens=20)
        answer = chat(MODEL, TOKENIZER, CHAT, max_tokens=20)
        self.assertEqual((answer.content, answer.finish_reason), (expected, "length"))
        self.assertEqual(answer.stats.generation_tokens, 20)
        with stream_chat(MODEL, TOKENIZER, CHAT, max_tokens=20) as stream:
            parts = [delta.content for delta in stream]
        self.assertGreater(len(parts), 3)
        self.assertEqual("".join(parts), expected)

    def test_parsers_see_control_tokens(self):
        bias = pantry.make_logits_processors(logit_bias={1: 100.0})
        self.assertIn("<|im_start|>", chat(MODEL, TOKENIZER, CHAT, max_tokens=2, logits_processors=bias).content)

    def test_reasoning_is_apart(self):
        template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
        model, tokenizer = load(FOLDER.model, chat_template=template + "{# </think> #}")
        answer = chat(model, tokenizer, CHAT, max_tokens=40, think_budget=8)
        self.assertGreater(len(answer.reasoning), 0)
        self.assertGreater(len(answer.content), 0)

    def test_conversations_keep_their_messages(self):
        talk = pantry.Conversation(MODEL, TOKENIZER, system="be brief", max_tokens=6)
        first = talk.send("one")
        parts = list(talk.stream("two"))
        roles = [m["role"] for m in talk.messages]
        self.assertEqual(roles, ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual(talk.messages[2]["content"], first.content)
        self.assertEqual(talk.messages[4]["content"], "".join(p.content for p in parts))

    def test_calls_of_tools(self):
        model, tokenizer = load(FOLDER.model, chat_template="chat{% if tools %}<tool_call>{% endif %}")
        for choice in ("required", {"type": "function", "function": {"name": "get_age"}}):
            answer = chat(model, tokenizer, CHAT, tools=TOOLS, tool_choice=choice, sampler=WILD, max_tokens=-1)
            self.assertGreaterEqual(len(answer.tool_calls), 1)
            for call in answer.tool_calls:
                self.assertEqual(call.name, "get_age")
                self.assertEqual(set(call.arguments), {"name", "age"})
                self.assertTrue(0 <= call.arguments["age"] <= 150)
            self.assertEqual(answer.message()["tool_calls"][0]["function"]["name"], "get_age")
        self.assertEqual(chat(model, tokenizer, CHAT, tools=TOOLS, tool_choice="none", max_tokens=5).tool_calls, [])
        with self.assertRaisesRegex(pantry.errors.InvalidError, "tool_choice"):
            chat(model, tokenizer, CHAT, tool_choice="perhaps")

    def test_a_model_of_the_store_says_what_it_carries(self):
        FOLDER.write("Modelfile", f"FROM {FOLDER.model}\nSYSTEM always say hat\nTEMPLATE {TEMPLATE}\n")
        FOLDER.program("create", "hatter", "-f", FOLDER.file("Modelfile"))
        code = (
            "import pantry; m, t = pantry.load('hatter');"
            "print(m.conversation([{'role': 'user', 'content': 'x'}])[0]['content'], m.path);"
            "print(m.template)"
        )
        out = subprocess.check_output([sys.executable, "-c", code], env=FOLDER.environment(), text=True)
        self.assertRegex(out, r"^always say hat .*home/models/blobs/sha256-")
        self.assertEqual(out.splitlines()[1], TEMPLATE)


class Forms(unittest.TestCase):
    def test_schemas(self):
        for prompt in ("a person:", CHAT):
            for seed in range(3):
                value = generate_structured(MODEL, TOKENIZER, prompt, PERSON, sampler=WILD, seed=seed)
                self.assertEqual(set(value), {"name", "age"})
                self.assertLessEqual(len(value["name"]), 8)
                self.assertTrue(isinstance(value["age"], int) and 0 <= value["age"] <= 150)
        self.assertEqual(set(chat(MODEL, TOKENIZER, CHAT, response_format=PERSON, sampler=WILD, max_tokens=-1).parsed),
                         {"name", "age"})  # fmt: skip

    def test_pydantic(self):
        try:
            import pydantic
        except ImportError:
            self.skipTest("pydantic is not installed")
        Person = pydantic.create_model(
            "Person", name=(str, pydantic.Field(max_length=8)), age=(int, pydantic.Field(ge=0, le=150))
        )
        person = generate_structured(MODEL, TOKENIZER, CHAT, Person, sampler=WILD)
        self.assertIsInstance(person, Person)

    def test_regular_expressions_and_grammars(self):
        for grammar, pattern in (
            (Grammar.regex(r"[a-c]{3}-[0-9]{2}"), r"[a-c]{3}-[0-9]{2}"),
            (Grammar.gbnf('root ::= "x" [0-9] [0-9]'), r"x[0-9][0-9]"),
        ):
            text = pantry.generate(MODEL, TOKENIZER, "q", grammar=grammar, sampler=WILD, max_tokens=-1)
            self.assertRegex(text, f"^{pattern}$")
            self.assertTrue(grammar.accepts(text))
            self.assertFalse(grammar.accepts(text + "!"))
        self.assertTrue(Grammar.json().accepts('{"a": [1]}'))
        self.assertFalse(Grammar.json(whitespace="compact").accepts('{"a": [1]}'))
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        self.assertTrue(Grammar.json_schema(schema).accepts('{"a":1,"b":2}'))
        self.assertFalse(Grammar.json_schema(schema, closed=True).accepts('{"a":1,"b":2}'))

    def test_errors(self):
        for kind, call in (
            (pantry.errors.FormatError, lambda: Grammar.regex("(")),
            (pantry.errors.FormatError, lambda: Grammar.json_schema("{")),
            (pantry.errors.InvalidError, lambda: Grammar.json_schema(7)),
            (pantry.errors.InvalidError, lambda: Grammar.json_schema(PERSON, whitespace="lots")),
            (pantry.errors.InvalidError, lambda: generate_structured(MODEL, TOKENIZER, "q", PERSON, max_tokens=2)),
        ):
            with self.assertRaises(kind):
                call()


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_answers_at_once(self):
        one = lambda p: pantry.generate(MODEL, TOKENIZER, p, max_tokens=12)
        expected = [await asyncio.to_thread(one, p) for p in ("the hat", "a cat")]
        said = await asyncio.gather(
            *(pantry.agenerate(MODEL, TOKENIZER, p, max_tokens=12) for p in ("the hat", "a cat"))
        )
        self.assertEqual(said, expected)
        answer = await pantry.achat(MODEL, TOKENIZER, CHAT, max_tokens=12)
        same = await asyncio.to_thread(lambda: chat(MODEL, TOKENIZER, CHAT, max_tokens=12))
        self.assertEqual(answer.content, same.content)

    async def test_a_cancelled_task_ends_its_answer(self):
        begun, streams = asyncio.Event(), []

        async def work():
            stream = await pantry.astream_generate(MODEL, TOKENIZER, "the hat", max_tokens=-1, ignore_eos=True)
            streams.append(stream)
            async for _ in stream:
                begun.set()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(list(streams[0].source), [])

    async def test_leaving_ends_an_answer(self):
        async with await pantry.astream_chat(MODEL, TOKENIZER, CHAT, max_tokens=-1, ignore_eos=True) as stream:
            async for _ in stream:
                break
        with self.assertRaises(StopAsyncIteration):
            await stream.__anext__()


if __name__ == "__main__":
    unittest.main()
