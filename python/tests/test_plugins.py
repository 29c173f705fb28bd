"""The plugins of docs/examples/python, with the packages that they are for."""

import os
import sys
import unittest

from support import ROOT, Folder

import pantry

EXAMPLES = os.path.join(ROOT, "docs", "examples", "python")
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}<tool_call>{% endif %}"


def setUpModule():
    global FOLDER, MODEL, TOKENIZER
    FOLDER = Folder()
    MODEL, TOKENIZER = pantry.load(FOLDER.model)


def tearDownModule():
    FOLDER.remove()


def person():
    import pydantic

    return pydantic.create_model(
        "Person", name=(str, pydantic.Field(max_length=8)), age=(int, pydantic.Field(ge=0, le=150))
    )


class LangChain(unittest.TestCase):
    def setUp(self):
        try:
            import langchain_core  # noqa: F401
        except ImportError:
            self.skipTest("langchain-core is not installed")
        sys.path.insert(0, EXAMPLES)
        self.addCleanup(sys.path.remove, EXAMPLES)
        import langchain_pantry

        self.module = langchain_pantry
        self.chat = langchain_pantry.ChatPantry(model=FOLDER.model, max_tokens=20)

    def expected(self, messages, **kwargs):
        return pantry.chat(MODEL, TOKENIZER, messages, max_tokens=20, **kwargs)

    def test_answers_and_streams(self):
        expected = self.expected([{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}])
        answer = self.chat.invoke([("system", "be"), ("human", "hi")])
        self.assertEqual(answer.content, expected.content)
        self.assertEqual(answer.response_metadata["finish_reason"], "length")
        self.assertEqual(answer.usage_metadata["output_tokens"], 20)
        parts = list(self.chat.stream([("system", "be"), ("human", "hi")]))
        self.assertGreater(len(parts), 3)
        self.assertEqual("".join(part.content for part in parts), expected.content)
        self.assertEqual(sum((p.usage_metadata or {}).get("output_tokens", 0) for p in parts), 20)
        stopped = self.chat.invoke("hi", stop=[self.chat.invoke("hi").content[5:8]])
        self.assertEqual(stopped.response_metadata["finish_reason"], "stop")

    def test_structured_output(self):
        Person = person()
        wild = self.module.ChatPantry(model=FOLDER.model, max_tokens=-1, temperature=2, seed=1)
        self.assertIsInstance(wild.with_structured_output(Person).invoke("hi"), Person)
        value = wild.with_structured_output(Person.model_json_schema()).invoke("hi")
        self.assertEqual(set(value), {"name", "age"})

    def test_tools(self):
        real = self.module.load
        self.module.load = lambda name, **_: pantry.load(name, chat_template=TEMPLATE)
        self.addCleanup(setattr, self.module, "load", real)
        wild = self.module.ChatPantry(model=FOLDER.model, max_tokens=-1, temperature=2, seed=1)
        for choice in ("any", "Person"):
            bound = wild.bind_tools([person()], tool_choice=choice)
            calls = bound.invoke("hi").tool_calls
            self.assertGreaterEqual(len(calls), 1)
            streamed = None
            for part in bound.stream("hi"):
                streamed = part if streamed is None else streamed + part
            for call in [*calls, *streamed.tool_calls]:
                self.assertEqual((call["name"], set(call["args"])), ("Person", {"name", "age"}))
            self.assertEqual(len(streamed.tool_calls), len(calls))

    def test_calls_come_back_as_values(self):
        from langchain_core.messages import AIMessage, ToolMessage

        call = {"name": "f", "args": {"x": 1}, "id": "7"}
        asked, told = self.module.to_messages(
            [AIMessage(content="", tool_calls=[call]), ToolMessage("2", tool_call_id="7")]
        )
        self.assertEqual(asked["tool_calls"][0]["function"], {"name": "f", "arguments": {"x": 1}})
        self.assertEqual((told["role"], told["content"]), ("tool", "2"))

    def test_embeddings(self):
        vectors = self.module.PantryEmbeddings(FOLDER.model)
        rows = pantry.embed(MODEL, ["the hat", "q"]).tolist()
        self.assertEqual(vectors.embed_documents(["the hat", "q"]), rows)
        self.assertEqual(self.module.PantryEmbeddings(FOLDER.model, 8).embed_query("q"),
                         pantry.embed(MODEL, "q", dimensions=8)[0])  # fmt: skip


class Llm(unittest.TestCase):
    def setUp(self):
        folder = os.path.join(EXAMPLES, "llm-pantry")
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        os.environ["LLM_PANTRY_MODELS"] = FOLDER.model
        os.environ["LLM_USER_PATH"] = FOLDER.file("llm")
        try:
            import llm
            import llm.plugins
        except ImportError:
            self.skipTest("llm is not installed")
        import llm_pantry

        if not llm.plugins.pm.is_registered(llm_pantry):
            llm.plugins.pm.register(llm_pantry)
        self.llm, self.name = llm, f"pantry/{FOLDER.model}"

    def test_answers_and_streams(self):
        model = self.llm.get_model(self.name)
        expected = pantry.chat(MODEL, TOKENIZER, [{"role": "user", "content": "hi"}], max_tokens=20)
        answer = model.prompt("hi", max_tokens=20)
        self.assertGreater(len(list(answer)), 3)
        self.assertEqual(answer.text(), expected.content)
        self.assertEqual(answer.usage().output, 20)

    def test_conversations_remember(self):
        talk = self.llm.get_model(self.name).conversation()
        first = talk.prompt("one", system="be brief", max_tokens=6).text()
        second = talk.prompt("two", max_tokens=6)
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": first},
            {"role": "user", "content": "two"},
        ]
        self.assertEqual(second.text(), pantry.chat(MODEL, TOKENIZER, messages, max_tokens=6).content)

    def test_schemas(self):
        Person = person()
        answer = self.llm.get_model(self.name).prompt("hi", schema=Person, temperature=2, seed=1, max_tokens=-1)
        Person.model_validate_json(answer.text())

    def test_embeddings(self):
        model = self.llm.get_embedding_model(self.name)
        self.assertEqual(list(model.embed_multi(["the hat", "q"])), pantry.embed(MODEL, ["the hat", "q"]).tolist())


if __name__ == "__main__":
    unittest.main()
