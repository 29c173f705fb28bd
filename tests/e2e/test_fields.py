"""Every field of the three APIs, from the tables of docs/openai.md, docs/anthropic.md and docs/ollama.md: the tables have
all that the clients' own types have, and the service does with each field what they say."""

import os
import re
import shutil
import tempfile
import unittest

import service
import spoken_model

MODEL = "spoken"
USER = [{"role": "user", "content": "say hello"}]
CHAT = {"model": MODEL, "messages": USER}
ANTHROPIC = {**CHAT, "max_tokens": 50}
# What takes an object or a list; all else is asked with an object to see whether it is read.
CONTAINERS = set(
    "messages tools tool_choice stream_options logit_bias response_format chat_template_kwargs reasoning text options"
    " thinking output_config system input prompt stop include stop_sequences dry_sequence_breakers banned_strings json_schema format".split()
)
# Values other than the neutral one.
VALUES = {
    "functions": [{"name": "f"}],
    "modalities": ["audio"],
    "verbosity": "high",
    "background": True,
    "context_management": [{"type": "compaction"}],
    "truncation": "auto",
    "metadata": {"user_id": "a"},
    "cache_control": {"type": "ephemeral"},
    "service_tier": "auto",
    "speed": "standard",
    "store": True,
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_options": {"mode": "implicit"},
    "max_tool_calls": 3,
    "use_mmap": True,
    "numa": True,
    "use_mlock": True,
    "low_vram": True,
}
KEEPS_ALL = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}


def setUpModule():
    global FOLDER, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-fields-")
    path = os.path.join(FOLDER, "spoken.gguf")
    spoken_model.write(path)
    SERVICE = service.Service({MODEL: path})


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


def table(page, section):
    """{"read": names, "accepted": names, "refused": names}"""
    with open(os.path.join(service.ROOT, "docs", f"{page}.md")) as file:
        text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", file.read(), re.M | re.S).group(1)
    rows = {"read": set(), "accepted": set(), "refused": set()}
    for use, names in re.findall(r"^\| (read|accepted|refused)[^|]*\| (.*) \|$", text, re.M):
        rows[use] |= set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)|, and .*", "", names)))
    return rows


def fields_of(*types):
    """What TypedDicts have, without what is a header."""
    names = set()
    for t in types:
        names |= set(getattr(t, "__required_keys__", ())) | set(getattr(t, "__optional_keys__", ()))
    return names - {"betas", "workspace_id"}


class Case(unittest.TestCase):
    def post(self, path, body):
        return SERVICE.request("POST", path, body)

    def message(self, reply):
        error = reply["error"]
        return error["message"] if isinstance(error, dict) else error

    def check(self, page, section, path, body, inner=None, **values):
        """`inner`: the field with the object that the table is about."""

        def sent(name, value):
            return self.post(path, {**body, inner: {name: value}} if inner else {**body, name: value})

        rows = table(page, section)
        self.assertTrue(rows["read"])
        self.assertFalse(rows["read"] & rows["accepted"] | rows["read"] & rows["refused"])
        plain = self.post(path, body)
        self.assertEqual(plain[0], 200, plain[2])
        for name in sorted(rows["read"] - {"metadata", "user"}):
            with self.subTest(read=name):
                status, _, reply = sent(name, 7 if name in CONTAINERS else {"x": 1})
                self.assertEqual(status, 400, reply)
                self.assertIn(name, self.message(reply))
        for name in sorted(rows["accepted"]):
            with self.subTest(accepted=name):
                status, _, reply = sent(name, values.get(name, VALUES.get(name, "x")))
                self.assertEqual(status, 200, reply)
        for name in sorted(rows["refused"]):
            with self.subTest(refused=name):
                status, _, reply = sent(name, values.get(name, VALUES.get(name, "x")))
                self.assertEqual(status, 400, reply)
                self.assertIn(name, self.message(reply))
        status, _, reply = sent("no_such_field", "x")
        self.assertEqual(status, 400, reply)
        self.assertIn("no_such_field", self.message(reply))
        return rows["read"] | rows["accepted"] | rows["refused"]


class OpenAI(Case):
    def all_of(self, names, *types):
        self.assertLessEqual(fields_of(*types), names)

    def test_chat(self):
        service.client_library("openai")
        from openai.types.chat import completion_create_params as params

        names = self.check("openai", "Chat completions", "/v1/chat/completions", CHAT)
        self.all_of(names, params.CompletionCreateParamsBase)

    def test_completions(self):
        service.client_library("openai")
        from openai.types import completion_create_params as params

        names = self.check("openai", "Completions", "/v1/completions", {"model": MODEL, "prompt": "x"})
        self.all_of(names, params.CompletionCreateParamsBase)

    def test_embeddings(self):
        service.client_library("openai")
        from openai.types import embedding_create_params as params

        names = self.check("openai", "Embeddings", "/v1/embeddings", {"model": MODEL, "input": "x"})
        self.all_of(names, params.EmbeddingCreateParams)

    def test_responses(self):
        service.client_library("openai")
        from openai.types.responses import response_create_params as params

        names = self.check("openai", "Responses", "/v1/responses", {"model": MODEL, "input": "say hello"})
        self.all_of(names, params.ResponseCreateParamsBase)

    def test_input_tokens(self):
        service.client_library("openai")
        from openai.types.responses import input_token_count_params as params

        body = {"model": MODEL, "input": "say hello"}
        names = self.check("openai", "Input tokens", "/v1/responses/input_tokens", body)
        self.all_of(names, params.InputTokenCountParams)


class Anthropic(Case):
    def test_messages(self):
        anthropic = service.client_library("anthropic")
        types = anthropic.types
        names = self.check("anthropic", "Messages", "/v1/messages", ANTHROPIC, context_management=KEEPS_ALL)
        beta = types.beta.message_create_params.MessageCreateParamsBase
        self.assertLessEqual(fields_of(types.message_create_params.MessageCreateParamsBase, beta), names)

    def test_counting(self):
        anthropic = service.client_library("anthropic")
        types = anthropic.types
        path = "/v1/messages/count_tokens"
        names = self.check("anthropic", "Counting tokens", path, CHAT, context_management=KEEPS_ALL)
        beta = types.beta.message_count_tokens_params.MessageCountTokensParams
        self.assertLessEqual(fields_of(types.message_count_tokens_params.MessageCountTokensParams, beta), names)


class Ollama(Case):
    def all_of(self, names, kind):
        ollama = service.client_library("ollama")
        self.assertLessEqual(set(getattr(ollama._types, kind).model_fields), names)

    def test_generate(self):
        body = {"model": MODEL, "prompt": "say hello", "stream": False}
        self.all_of(self.check("ollama", "Generate", "/api/generate", body), "GenerateRequest")

    def test_chat(self):
        self.all_of(self.check("ollama", "Chat", "/api/chat", {**CHAT, "stream": False}), "ChatRequest")

    def test_options(self):
        body = {**CHAT, "stream": False}
        self.all_of(self.check("ollama", "Options", "/api/chat", body, inner="options", **NUMBERS), "Options")

    def test_embed(self):
        self.all_of(self.check("ollama", "Embed", "/api/embed", {"model": MODEL, "input": "x"}), "EmbedRequest")

    def test_embeddings(self):
        body = {"model": MODEL, "prompt": "x"}
        self.all_of(self.check("ollama", "Embeddings", "/api/embeddings", body), "EmbeddingsRequest")

    def test_show(self):
        self.all_of(self.check("ollama", "Show", "/api/show", {"model": MODEL}), "ShowRequest")


NUMBERS = {name: 1 for name in ("num_keep", "num_gpu", "main_gpu", "num_thread")}


if __name__ == "__main__":
    unittest.main()
