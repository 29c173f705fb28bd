"""Ollama's API of `pantry serve`, asked by its own Python client: answers, models, embeddings, errors."""

import datetime
import json
import os
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import service  # noqa: E402
import spoken_model  # noqa: E402
import tiny_model  # noqa: E402

SPOKEN = spoken_model.SCRIPTS
CHAT, GENERATE, EMBED = "/api/chat", "/api/generate", "/api/embed"


def weather(city: str, days: int = 1) -> str:
    """The weather of a city.

    Args:
      city: its name
      days: how many
    """
    return f"{city}: sunny for {days} days"


WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


def setUpModule():
    global ollama, FOLDER, SERVICE, CLIENT
    ollama = service.client_library("ollama")
    FOLDER = tempfile.TemporaryDirectory(prefix="pantry-ollama-")
    files = {name: os.path.join(FOLDER.name, name) for name in ("spoken", "plain", "tiny", "base:1b")}
    spoken_model.write(files["spoken"])
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    spoken_model.write(files["plain"], template=plain)
    tiny_model.write(files["tiny"])
    tiny_model.write(files["base:1b"], template=False)
    SERVICE = service.Service(files)
    CLIENT = ollama.Client(SERVICE.url, timeout=service.PATIENCE)


def tearDownModule():
    CLIENT.close()
    status = SERVICE.stop()
    FOLDER.cleanup()
    if status:
        raise AssertionError(f"the server ended with {status}")


def user(content):
    return {"role": "user", "content": content}


class Case(unittest.TestCase):
    def chat(self, content="say hello", model="spoken", **fields):
        messages = content if isinstance(content, list) else [user(content)]
        return CLIENT.chat(model, messages=messages, **fields)

    def generate(self, prompt="say hello", model="spoken", **fields):
        return CLIENT.generate(model, prompt, **fields)

    def post(self, path, status=200, **body):
        got, headers, reply = SERVICE.request("POST", path, {"model": "spoken", **body})
        self.assertEqual(got, status, reply)
        return reply

    def refused(self, words, path=CHAT, status=400, **body):
        """Must be refused as {"error": sentence}, with a sentence that has these words."""
        if path == CHAT:
            body.setdefault("messages", [user("say hello")])
        elif path == GENERATE:
            body.setdefault("prompt", "say hello")
        reply = self.post(path, status, **body)
        self.assertEqual(list(reply), ["error"])
        self.assertIn(words, reply["error"])

    def rendered(self, path=CHAT, **body):
        reply = self.post(path, _debug_render_only=True, **body)
        return reply["_debug_info"]["rendered_template"]

    def check_figures(self, reply):
        self.assertTrue(reply.done)
        moment = datetime.datetime.fromisoformat(reply.created_at)
        self.assertLess(abs(moment - datetime.datetime.now(datetime.timezone.utc)), datetime.timedelta(minutes=10))
        self.assertGreater(reply.prompt_eval_count, 0)
        self.assertGreater(reply.eval_count, 0)
        self.assertGreaterEqual(reply.load_duration, 0)
        self.assertGreater(reply.prompt_eval_duration, 0)
        self.assertGreaterEqual(reply.eval_duration, 0)
        self.assertGreaterEqual(reply.total_duration, reply.eval_duration)


class Chat(Case):
    def test_fields(self):
        r = self.chat()
        self.assertIsInstance(r, ollama.ChatResponse)
        self.assertEqual((r.model, r.done_reason), ("spoken", "stop"))
        self.assertEqual((r.message.role, r.message.content), ("assistant", SPOKEN["hello"]))
        self.assertEqual((r.message.thinking, r.message.tool_calls, r.message.images), (None, None, None))
        self.check_figures(r)

    def test_raw_fields(self):
        reply = self.post(CHAT, messages=[user("say hello")], stream=False)
        durations = {f"{name}_duration" for name in ("total", "load", "prompt_eval", "eval")}
        wanted = {"model", "created_at", "message", "done", "done_reason", "prompt_eval_count", "eval_count"}
        self.assertEqual(set(reply), wanted | durations)
        self.assertEqual(reply["message"], {"role": "assistant", "content": SPOKEN["hello"]})
        self.assertRegex(reply["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")
        self.assertTrue(all(isinstance(reply[name], int) for name in durations))

    def test_stream(self):
        parts = list(self.chat(stream=True))
        self.assertGreater(len(parts), 4)
        self.assertEqual("".join(p.message.content for p in parts), SPOKEN["hello"])
        self.assertEqual([p.done for p in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual({p.message.role for p in parts}, {"assistant"})
        self.assertEqual((parts[0].done_reason, parts[0].eval_count), (None, None))
        self.assertEqual((parts[-1].done_reason, parts[-1].message.content), ("stop", ""))
        self.check_figures(parts[-1])

    def test_streams_by_default(self):
        status, headers, text = SERVICE.request("POST", CHAT, {"model": "spoken", "messages": [user("say hello")]})
        self.assertEqual((status, headers["Content-Type"]), (200, "application/x-ndjson"))
        self.assertGreater(len([json.loads(line) for line in text.splitlines()]), 4)

    def test_stream_equals_answer(self):
        for script in SPOKEN:
            with self.subTest(script):
                tools = [] if script in ("hello", "names") else [WEATHER, TIME]
                whole = self.chat(f"say {script}", tools=tools)
                parts = list(self.chat(f"say {script}", tools=tools, stream=True))
                for name in ("content", "thinking"):
                    self.assertEqual(
                        "".join(getattr(p.message, name) or "" for p in parts), getattr(whole.message, name) or ""
                    )
                calls = [c for p in parts for c in p.message.tool_calls or []]
                self.assertEqual(calls, list(whole.message.tool_calls or []))
                self.assertEqual(parts[-1].eval_count, whole.eval_count)

    def test_stream_equals_answer_of_a_model_with_weights(self):
        options = {"temperature": 0, "num_predict": 50}
        whole = self.chat("x", "tiny", options=options)
        parts = self.chat("x", "tiny", options=options, stream=True)
        self.assertEqual("".join(p.message.content for p in parts), whole.message.content)
        self.assertEqual((whole.eval_count, whole.done_reason), (50, "length"))

    def test_messages(self):
        text = self.rendered(messages=[{"role": "system", "content": "Be good."}, user("x")])
        self.assertIn("<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\nx<|im_end|>", text)
        self.assertTrue(text.endswith("<|im_start|>assistant\n"))
        text = self.rendered(messages=[user("x"), {"role": "assistant", "content": "y", "thinking": "hm"}, user("z")])
        self.assertIn("assistant\n<think>\nhm\n</think>\n\ny<|im_end|>", text)
        self.assertIn("user\n<|im_end|>", self.rendered(messages=[{"role": "user", "content": None}]))

    def test_answer_continues_the_assistant(self):
        messages = [user("say hello"), {"role": "assistant", "content": "Well,"}]
        self.assertTrue(self.rendered(messages=messages).endswith("<|im_start|>assistant\nWell,"))
        self.assertEqual(self.chat(messages).message.content, SPOKEN["else"])

    def test_history_in_the_clients_types(self):
        r = self.chat()
        r = self.chat([user("say hello"), r.message, ollama.Message(role="user", content="say names")])
        self.assertEqual(r.message.content, SPOKEN["names"])

    def test_async_client(self):
        import asyncio

        async def ask():
            text, client = "", ollama.AsyncClient(SERVICE.url)
            async for part in await client.chat("spoken", [user("say hello")], stream=True):
                text += part.message.content
            await client.close()
            return text

        self.assertEqual(asyncio.run(ask()), SPOKEN["hello"])

    def test_many_at_once(self):
        texts = [None] * 8

        def ask(i):
            texts[i] = self.chat("say names" if i % 2 else "say hello").message.content

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(texts, [SPOKEN["hello"], SPOKEN["names"]] * 4)

    def test_closing_a_stream_ends_the_request(self):
        for _ in range(3):
            stream = self.chat("say endless", stream=True)
            for _, part in zip(range(10), stream):
                self.assertFalse(part.done)
            stream.close()
        self.assertTrue(SERVICE.becomes_idle())


class Tools(Case):
    def test_call(self):
        r = self.chat("say call", tools=[WEATHER])
        (call,) = r.message.tool_calls
        self.assertEqual((call.function.name, call.function.arguments), ("get_weather", {"city": "Paris", "days": 2}))
        self.assertEqual((r.message.content.strip(), r.done_reason), ("Let me look.", "stop"))

    def test_raw_calls(self):
        reply = self.post(CHAT, messages=[user("say two calls")], tools=[WEATHER, TIME], stream=False)
        a, b = reply["message"]["tool_calls"]
        self.assertEqual(a["function"], {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}})
        self.assertEqual(b["function"], {"index": 1, "name": "get_time", "arguments": {}})
        self.assertRegex(a["id"], r"^call_\w+$")
        self.assertNotEqual(a["id"], b["id"])

    def test_round_trip_with_a_function(self):
        r = self.chat("say call", tools=[weather])
        messages = [user("say call"), r.message]
        for call in r.message.tool_calls:
            result = weather(**call.function.arguments)
            messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
        text = self.rendered(messages=[m if isinstance(m, dict) else m.model_dump(exclude_none=True) for m in messages])
        self.assertIn('{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}', text)
        self.assertIn("<|im_start|>tool get_weather\nParis: sunny for 2 days<|im_end|>", text)
        self.assertEqual(self.chat(messages, tools=[weather]).message.content, SPOKEN["result"])

    def test_template_sees_tools(self):
        text = self.rendered(messages=[user("x")], tools=[WEATHER])
        self.assertIn(json.dumps(WEATHER), text)

    def test_without_tools_a_call_is_text(self):
        r = self.chat("say call")
        self.assertEqual((r.message.content, r.message.tool_calls), (SPOKEN["call"], None))

    def test_model_without_tools(self):
        self.refused("plain does not support tools", model="plain", tools=[WEATHER])


class Thinking(Case):
    def test_thought(self):
        r = self.chat("say thought", think=True)
        self.assertEqual((r.message.thinking.strip(), r.message.content), ("They want a greeting.", "Good morning!"))
        r = self.generate("say thought", think=True)
        self.assertEqual((r.thinking.strip(), r.response), ("They want a greeting.", "Good morning!"))

    def test_stream(self):
        parts = list(self.chat("say thought", think=True, stream=True))
        thinks = [bool(p.message.thinking) for p in parts[:-1]]
        self.assertEqual(thinks, sorted(thinks, reverse=True))
        self.assertEqual("".join(p.message.content for p in parts), "Good morning!")

    def test_template_is_told(self):
        self.assertIn("thinking=True", self.rendered(messages=[user("x")], think=True))
        self.assertIn("thinking=False", self.rendered(messages=[user("x")], think=False))
        text = self.rendered(GENERATE, prompt="x", think="high")
        self.assertIn("thinking=True", text)
        self.assertIn("effort=high", text)
        self.assertNotIn("thinking=", self.rendered(messages=[user("x")]))

    def test_refused(self):
        self.refused('"plain" does not support thinking', model="plain", think=True)
        self.refused("think value", think="enormous")
        self.refused("think: wrong type", think=3)
        self.refused("think", GENERATE, model="base:1b", think=True)
        self.refused("think", GENERATE, raw=True, think="high")
        self.assertEqual(self.chat("x", "plain", think=False).message.content, SPOKEN["else"])


class Generate(Case):
    def test_fields(self):
        r = self.generate()
        self.assertIsInstance(r, ollama.GenerateResponse)
        self.assertEqual((r.model, r.response, r.done_reason), ("spoken", SPOKEN["hello"], "stop"))
        self.assertIsNone(r.thinking)
        self.check_figures(r)

    def test_stream(self):
        parts = list(self.generate(stream=True))
        self.assertEqual("".join(p.response for p in parts), SPOKEN["hello"])
        self.assertEqual([p.done for p in parts], [False] * (len(parts) - 1) + [True])
        self.check_figures(parts[-1])

    def test_template_and_system(self):
        text = self.rendered(GENERATE, prompt="x", system="Be good.")
        self.assertTrue(text.startswith("<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n"))

    def test_raw(self):
        self.assertEqual(self.rendered(GENERATE, prompt="<|im_start|>x", raw=True), "<|im_start|>x")
        self.assertEqual(self.generate("<|say names|>", raw=True).response, SPOKEN["names"])
        self.assertEqual(self.generate("Once", raw=True).response, SPOKEN["else"])
        self.refused("raw mode does not support", GENERATE, raw=True, system="x")

    def test_raw_prompt_of_calls_is_text(self):
        self.assertEqual(self.generate("<|say call|>", raw=True).response, SPOKEN["call"])

    def test_base_model(self):
        r = self.generate("x", "base:1b", options={"num_predict": 3})
        self.assertEqual((r.eval_count, r.done_reason), (3, "length"))
        self.assertEqual(self.rendered(GENERATE, model="base:1b", prompt="x"), "x")
        self.refused('"base:1b" does not support chat', model="base:1b")
        self.refused("system", GENERATE, model="base:1b", system="x")

    def test_debug_render_only(self):
        reply = self.post(GENERATE, prompt="x", _debug_render_only=True)
        self.assertEqual(set(reply), {"model", "created_at", "_debug_info"})

    def test_names(self):
        self.assertEqual(self.generate(model="spoken:latest").response, SPOKEN["hello"])


class Options(Case):
    def text(self, prompt="say names", **options):
        return self.generate(prompt, options=options)

    def test_stop(self):
        self.assertEqual(self.text(stop=["STOP"]).response, "Ada, Grace, ")
        self.assertEqual(self.text(stop="Grace").response, "Ada, ")
        self.assertEqual(self.text(stop=["nothing", "Barb"]).response, "Ada, Grace, STOP, ")

    def test_num_predict(self):
        r = self.text("say endless", num_predict=6)
        self.assertEqual((r.response, r.eval_count, r.done_reason), (spoken_model.ENDLESS * 6, 6, "length"))
        self.assertEqual(self.text(num_predict=-1).done_reason, "stop")

    def test_num_ctx(self):
        self.assertEqual(self.text("say endless", num_ctx=64).done_reason, "length")
        self.refused("64", GENERATE, prompt="x" * 100, options={"num_ctx": 64})
        self.assertEqual(self.text(num_ctx=64, num_batch=8).response, SPOKEN["names"])

    def test_seed(self):
        def ask(seed):
            return self.generate("x", "tiny", options={"temperature": 2, "seed": seed, "num_predict": 30}).response

        self.assertEqual(ask(1), ask(1))
        self.assertNotEqual(ask(1), ask(2))

    def test_temperature_and_penalties(self):
        def ask(**options):
            return self.generate("x", "tiny", options={"temperature": 0, "num_predict": 40, **options}).response

        self.assertEqual(ask(), ask(top_k=5, top_p=0.5, min_p=0.1))
        self.assertEqual(ask(), ask(temperature=1, top_k=1))
        self.assertNotEqual(ask(), ask(repeat_penalty=3.0, repeat_last_n=64))
        self.assertNotEqual(ask(), ask(presence_penalty=9.0, frequency_penalty=9.0))

    def test_options_of_the_clients_type(self):
        options = ollama.Options(temperature=0.0, stop=["STOP"], num_predict=20, num_thread=1, use_mmap=True, num_gpu=0)
        self.assertEqual(self.generate("say names", options=options).response, "Ada, Grace, ")

    def test_refused_by_name(self):
        for name in ("tfs_z", "mirostat", "penalize_newline", "something_new"):
            with self.subTest(name):
                self.refused(f"options.{name}", options={name: 1})
        self.refused("options.typical_p", options={"typical_p": 0.5})
        for name, value in {
            "temperature": "hot",
            "top_k": 1.5,
            "seed": "x",
            "stop": 4,
            "num_ctx": -5,
            "num_predict": "all",
        }.items():
            with self.subTest(name):
                self.refused(name, options={name: value})

    def test_fields_are_refused_by_name(self):
        for name, value in {
            "template": "{{ .Prompt }}",
            "images": ["aaaa"],
            "format": "json",
            "context": [1, 2],
            "width": 512,
            "something_new": 1,
        }.items():
            with self.subTest(name):
                self.refused(name, GENERATE, **{name: value})
        for name, value in {"format": {"type": "object"}, "tool_choice": "auto"}.items():
            with self.subTest(name):
                self.refused(name, **{name: value})
        self.refused("images", messages=[{"role": "user", "content": "x", "images": ["aaaa"]}])
        reply = self.post(GENERATE, prompt="say hello", stream=False, format="", suffix="", truncate=False, images=[])
        self.assertEqual(reply["response"], SPOKEN["hello"])


class LogProbs(Case):
    def test_whole_replies(self):
        reply = CLIENT.chat("spoken", [user("say hello")], logprobs=True, top_logprobs=2)
        self.assertEqual("".join(t.token for t in reply.logprobs), SPOKEN["hello"])
        for token in reply.logprobs:
            self.assertAlmostEqual(token.logprob, 0, 3)
            self.assertEqual((len(token.top_logprobs), token.top_logprobs[0].token), (2, token.token))
        self.assertIsNone(CLIENT.chat("spoken", [user("say hello")]).logprobs)

    def test_streams(self):
        parts = list(CLIENT.generate("spoken", "say hello", stream=True, logprobs=True))
        tokens = [t.token for part in parts for t in part.logprobs or []]
        self.assertEqual("".join(tokens), SPOKEN["hello"])
        for part in parts[:-1]:
            self.assertEqual("".join(t.token for t in part.logprobs), part.response)

    def test_bytes(self):
        reply = self.post(CHAT, messages=[user("say unicode")], stream=False, logprobs=True)
        text = bytes(b for token in reply["logprobs"] for b in token["bytes"]).decode()
        self.assertEqual(text, SPOKEN["unicode"])

    def test_refused(self):
        self.refused("top_logprobs: only allowed with logprobs", top_logprobs=3)
        self.refused("top_logprobs: out of range", logprobs=True, top_logprobs=21)


class Truncate(Case):
    """The oldest messages are left out only when that is asked for, and the reply says how many."""

    LONG = [{"role": "system", "content": "Be good."}] + [
        user("x" * 400),
        {"role": "assistant", "content": "y" * 400},
    ] * 5

    def test_messages(self):
        body = {"messages": self.LONG + [user("say hello")], "stream": False, "options": {"num_ctx": 1200}}
        self.refused("allowed 1200", **body)
        reply = self.post(CHAT, **body, truncate=True)
        self.assertEqual(reply["message"]["content"], SPOKEN["hello"])
        self.assertGreater(reply["truncated_messages"], 4)
        self.assertGreater(reply["prompt_eval_count"], 400, "what fits stays")
        self.assertLess(reply["prompt_eval_count"], 1200)

    def test_nothing_is_left_out_of_what_fits(self):
        reply = self.post(CHAT, messages=[user("say hello")], stream=False, truncate=True)
        self.assertNotIn("truncated_messages", reply)

    def test_the_last_message_stays(self):
        self.refused("allowed 300", messages=[user("x" * 600)], truncate=True, options={"num_ctx": 300})

    def test_results_go_with_their_calls(self):
        call = {"function": {"name": "f", "arguments": {"a": "z" * 700}}}
        messages = [user("a"), {"role": "assistant", "content": "", "tool_calls": [call]}]
        messages += [{"role": "tool", "content": "r", "tool_name": "f"}, user("say hello")]
        reply = self.post(CHAT, messages=messages, stream=False, truncate=True, options={"num_ctx": 600})
        self.assertEqual(reply["truncated_messages"], 3)


class Suffix(Case):
    def test_needs_tokens(self):
        self.refused("suffix: spoken has no tokens", GENERATE, prompt="a", suffix="b")

    def test_alone(self):
        self.refused("suffix: not allowed with raw", GENERATE, prompt="a", suffix="b", raw=True)

    def test_code(self):
        if not service.has_model("qwen2.5-coder:1.5b"):
            self.skipTest("qwen2.5-coder:1.5b is not here")
        server = service.Service(None)
        self.addCleanup(server.stop)
        body = {"model": "qwen2.5-coder:1.5b", "prompt": "def add(a, b):\n    return ", "stream": False}
        body |= {"suffix": "\n\nprint(add(1, 2))\n", "options": {"temperature": 0, "num_predict": 16}}
        self.assertEqual(server.request("POST", GENERATE, body)[2]["response"], "a + b")


class Loading(Case):
    def names(self):
        return {m.model for m in CLIENT.ps().models}

    def becomes_unloaded(self, name):
        deadline = time.monotonic() + service.PATIENCE
        while name in self.names() and time.monotonic() < deadline:
            time.sleep(0.02)
        return name not in self.names()

    def seconds(self, keep_alive):
        self.generate("x", "tiny", keep_alive=keep_alive, options={"num_predict": 1})
        (model,) = (m for m in CLIENT.ps().models if m.model == "tiny:latest")
        return (model.expires_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()

    def test_load_and_unload(self):
        r = self.generate("", "tiny")
        self.assertEqual((r.done, r.done_reason, r.response), (True, "load", ""))
        self.assertIn("tiny:latest", self.names())
        r = self.generate("", "tiny", keep_alive=0)
        self.assertEqual((r.done, r.done_reason), (True, "unload"))
        self.assertTrue(self.becomes_unloaded("tiny:latest"))
        r = self.chat([], "tiny")
        self.assertEqual((r.done_reason, r.message.role, r.message.content), ("load", "assistant", ""))
        self.assertEqual(self.chat([], "tiny", keep_alive=0).done_reason, "unload")
        self.assertTrue(self.becomes_unloaded("tiny:latest"))

    def test_keep_alive_0_unloads_after_the_answer(self):
        for keep in (0, "0", "0s"):
            r = self.generate("x", "tiny", keep_alive=keep, options={"num_predict": 2})
            self.assertEqual(r.eval_count, 2)
            self.assertTrue(self.becomes_unloaded("tiny:latest"), keep)

    def test_durations(self):
        for given, wanted in {"10m": 600, "1h30m": 5400, "90s": 90, 42: 42, "1500ms": 1.5, "1.5h": 5400}.items():
            with self.subTest(given):
                self.assertAlmostEqual(self.seconds(given), wanted, delta=30)
        for forever in (-1, "-1m"):
            self.assertGreater(self.seconds(forever), 86400 * 365)
        self.generate("", "tiny", keep_alive=0)

    def test_wrong_durations(self):
        for wrong in ("soon", "5m5", "5 parsecs", "", True, [5]):
            with self.subTest(wrong):
                self.refused("keep_alive", keep_alive=wrong)
                self.refused("keep_alive", EMBED, input="x", keep_alive=wrong)

    def test_load_duration(self):
        self.generate("", "tiny", keep_alive=0)
        self.assertTrue(self.becomes_unloaded("tiny:latest"))
        first, second = (self.generate("x", "tiny", options={"num_predict": 1}) for _ in range(2))
        self.assertGreater(first.load_duration, 0)
        self.assertEqual(second.load_duration, 0)


class Models(Case):
    def test_list(self):
        r = CLIENT.list()
        self.assertIsInstance(r, ollama.ListResponse)
        models = {m.model: m for m in r.models}
        self.assertEqual(set(models), {"spoken:latest", "plain:latest", "tiny:latest", "base:1b"})
        m = models["tiny:latest"]
        self.assertEqual(m.size, os.path.getsize(os.path.join(FOLDER.name, "tiny")))
        self.assertRegex(m.digest, r"^[0-9a-f]{64}$")
        self.assertLess(abs(m.modified_at.timestamp() - time.time()), 3600)
        self.assertEqual((m.details.format, m.details.family, m.details.families), ("gguf", "llama", ["llama"]))
        self.assertRegex(m.details.parameter_size, r"^[\d.]+[MB]$")
        self.assertEqual((m.details.quantization_level, m.details.parent_model), ("F16", ""))

    def test_raw_list(self):
        _, _, reply = SERVICE.request("GET", "/api/tags")
        wanted = {"name", "model", "modified_at", "size", "digest", "details"}
        self.assertEqual([set(m) for m in reply["models"]], [wanted] * 4)
        self.assertEqual([m["name"] for m in reply["models"]], [m["model"] for m in reply["models"]])

    def test_ps(self):
        self.generate()
        r = CLIENT.ps()
        self.assertIsInstance(r, ollama.ProcessResponse)
        (m,) = (m for m in r.models if m.model == "spoken:latest")
        self.assertEqual(m.name, "spoken:latest")
        self.assertGreater(m.size, 0)
        self.assertEqual((m.size_vram, m.context_length), (0, 8192))
        self.assertRegex(m.digest, r"^[0-9a-f]{64}$")
        self.assertGreater(m.expires_at, datetime.datetime.now(datetime.timezone.utc))
        self.assertEqual(m.details.family, "llama")

    def test_show(self):
        r = CLIENT.show("spoken")
        self.assertIsInstance(r, ollama.ShowResponse)
        self.assertEqual(r.template, spoken_model.TEMPLATE)
        self.assertEqual(r.details.family, "llama")
        self.assertEqual(r.modelinfo["general.architecture"], "llama")
        self.assertEqual(r.modelinfo["llama.context_length"], 8192)
        self.assertGreater(r.modelinfo["general.parameter_count"], 1000)
        self.assertIsNone(r.modelinfo["tokenizer.ggml.tokens"])
        self.assertIn("FROM ", r.modelfile)
        self.assertIsInstance(r.modified_at, datetime.datetime)
        self.assertEqual(set(r.capabilities), {"completion", "tools", "thinking"})
        self.assertEqual(CLIENT.show("base:1b").capabilities, ["completion"])

    def test_show_more(self):
        reply = self.post("/api/show", verbose=True)
        self.assertIsInstance(reply["model_info"]["tokenizer.ggml.tokens"], list)
        self.assertIn("token_embd.weight", {t["name"] for t in reply["tensors"]})
        self.assertEqual(self.post("/api/show", model=None, name="tiny")["details"]["family"], "llama")

    def test_version(self):
        _, _, reply = SERVICE.request("GET", "/api/version")
        self.assertRegex(reply["version"], r"^\d+\.\d+\.\d+")

    def test_root(self):
        self.assertIn("is running", SERVICE.request("GET", "/")[2])
        self.assertEqual(SERVICE.request("HEAD", "/")[0], 200)

    def test_pull_from_other_hosts(self):
        for stream in (False, True):
            for name in ("localhost/a/b", "127.0.0.1:5000/a/b", "example.com/a/b", "evil.registry.ollama.ai/a/b"):
                with self.assertRaises(ollama.ResponseError) as caught:
                    for _ in CLIENT.pull(name, stream=stream):
                        pass
                self.assertIn("no other registry", caught.exception.error)

    def test_copy_and_delete(self):
        before = sorted(m.model for m in CLIENT.list().models)
        self.assertEqual(CLIENT.copy("tiny", "another/copy:of").status, "success")
        self.assertIn("another/copy:of", [m.model for m in CLIENT.list().models])
        said = CLIENT.generate("another/copy:of", "Hi", options={"num_predict": 4, "temperature": 0}).response
        self.assertEqual(said, CLIENT.generate("tiny", "Hi", options={"num_predict": 4, "temperature": 0}).response)
        self.assertEqual(CLIENT.delete("another/copy:of").status, "success")
        self.assertEqual(sorted(m.model for m in CLIENT.list().models), before)
        with self.assertRaises(ollama.ResponseError) as caught:
            CLIENT.generate("another/copy:of", "Hi")
        self.assertEqual(caught.exception.status_code, 404)
        for wrong in ("another/copy:of", "../../x", "/etc/passwd", "a b"):
            for call in (
                lambda: CLIENT.delete(wrong),
                lambda: CLIENT.copy(wrong, "x"),
                lambda: CLIENT.copy("tiny", "../x"),
            ):
                with self.assertRaises(ollama.ResponseError) as caught:
                    call()
                self.assertIn(caught.exception.status_code, (400, 404))
        self.assertEqual(sorted(m.model for m in CLIENT.list().models), before)


class Embeddings(Case):
    def test_fields(self):
        r = CLIENT.embed("tiny", "hello world")
        self.assertIsInstance(r, ollama.EmbedResponse)
        self.assertEqual((r.model, len(r.embeddings)), ("tiny", 1))
        self.assertEqual(len(r.embeddings[0]), tiny_model.N_EMBD)
        self.assertGreater(r.prompt_eval_count, 5)
        self.assertGreater(r.total_duration, 0)
        self.assertGreaterEqual(r.load_duration, 0)
        self.assertAlmostEqual(sum(v * v for v in r.embeddings[0]), 1, places=4)

    def test_several(self):
        one, two = (CLIENT.embed("tiny", text).embeddings[0] for text in ("one", "two"))
        both = CLIENT.embed("tiny", ["one", "two"]).embeddings
        for got, wanted in zip(both, (one, two)):
            for a, b in zip(got, wanted):
                self.assertAlmostEqual(a, b, places=4)

    def test_nothing(self):
        self.assertEqual(CLIENT.embed("tiny", []).embeddings, [])
        self.assertEqual(CLIENT.embed("tiny", "").embeddings, [])
        self.assertEqual(CLIENT.embeddings("tiny", "").embedding, [])

    def test_dimensions(self):
        row = CLIENT.embed("tiny", "x", dimensions=8).embeddings[0]
        self.assertEqual(len(row), 8)
        self.assertAlmostEqual(sum(v * v for v in row), 1, places=4)
        self.refused("dimensions", EMBED, input="x", model="tiny", dimensions=100000)

    def test_truncate(self):
        self.refused("too long", EMBED, model="spoken", input="x" * 9000, truncate=False)
        r = CLIENT.embed("spoken", "x" * 9000)
        self.assertLessEqual(r.prompt_eval_count, 8192)
        r = CLIENT.embed("spoken", "x" * 900, options={"num_ctx": 100})
        self.assertEqual(r.prompt_eval_count, 100)

    def test_older_call(self):
        row = CLIENT.embeddings("tiny", "hello")
        self.assertIsInstance(row, ollama.EmbeddingsResponse)
        wanted = CLIENT.embed("tiny", "hello").embeddings[0]
        length = sum(v * v for v in row.embedding) ** 0.5
        for a, b in zip(row.embedding, wanted):
            self.assertAlmostEqual(a / length, b, places=4)

    def test_refused(self):
        self.refused("input", EMBED, model="tiny", input=5)
        self.refused("absent", EMBED, 404, model="absent", input="x")
        self.refused("options.mirostat", EMBED, model="tiny", input="x", options={"mirostat": 1})
        self.refused("something_new", EMBED, model="tiny", input="x", something_new=1)
        self.refused("something_new", "/api/embeddings", model="tiny", prompt="x", something_new=1)


class Errors(Case):
    def test_of_the_client(self):
        for call in (self.chat, self.generate, CLIENT.show):
            with self.assertRaises(ollama.ResponseError) as caught:
                call(model="absent")
            self.assertEqual((caught.exception.status_code, caught.exception.error), (404, "model 'absent' not found"))
        with self.assertRaises(ollama.ResponseError) as caught:
            list(self.chat(model="absent", stream=True))
        self.assertEqual(caught.exception.status_code, 404)

    def test_required(self):
        self.refused("model is required", model=None)
        self.refused("model is required", EMBED, model=None, input="x")
        self.refused("model is required", "/api/show", model=None)

    def test_wrong_values(self):
        for name, value in {"model": 5, "messages": "x", "tools": {}, "stream": "no", "options": []}.items():
            with self.subTest(name):
                self.refused(name, **{name: value})
        self.refused("prompt", GENERATE, prompt=5)
        self.refused("system", GENERATE, system=5)
        self.refused("messages[0]", messages=["x"])
        self.refused("messages[1]", messages=[user("x"), {"content": "x"}])

    def test_prompt_is_too_long(self):
        self.refused("8192", messages=[user("x" * 9000)])

    def test_template_refuses(self):
        self.refused("Do not say raise!", model="tiny", messages=[user("raise")])

    def test_bodies(self):
        for body in (b"", b"{", b"[]", b'{"model": "spoken", "model": "tiny"}'):
            status, _, reply = SERVICE.request("POST", CHAT, body)
            self.assertEqual((status, list(reply)), (400, ["error"]))

    def test_paths(self):
        self.assertEqual(SERVICE.request("GET", "/api/nothing")[0], 404)
        status, _, reply = SERVICE.request("GET", CHAT)
        self.assertEqual((status, list(reply)), (405, ["error"]))

    def test_error_in_mid_stream(self):
        path = os.path.join(FOLDER.name, "own")
        spoken_model.write(path, n_context=8000000)
        own = service.Service({"spoken": path}, "--memory", "5M")
        self.addCleanup(own.stop)
        client, errors = ollama.Client(own.url), []
        self.addCleanup(client.close)

        def ask():
            try:
                for _ in client.chat("spoken", [user("say endless")], stream=True):
                    pass
            except ollama.ResponseError as e:
                errors.append(e.error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue(errors)
        self.assertTrue(all("memory" in e for e in errors), errors)


@unittest.skipUnless(service.has_model("smollm2:135m"), "smollm2:135m is not in the store")
class RealModel(Case):
    @classmethod
    def setUpClass(cls):
        cls.own = service.Service(None)
        cls.addClassCleanup(cls.own.stop)
        cls.client = ollama.Client(cls.own.url)
        cls.addClassCleanup(cls.client.close)

    def test_chat(self):
        messages, options = [user("Name three fruits.")], {"temperature": 0, "num_predict": 24}
        whole = self.client.chat("smollm2:135m", messages, options=options)
        parts = list(self.client.chat("smollm2:135m", messages, options=options, stream=True))
        self.assertEqual("".join(p.message.content for p in parts), whole.message.content)
        self.assertRegex(whole.message.content.lower(), "apple|banana|orange|grape")

    def test_pull_of_what_is_here(self):
        states = [p.status for p in self.client.pull("smollm2:135m", stream=True)]
        self.assertEqual((states[0], states[-1]), ("pulling manifest", "success"))
        self.assertEqual(self.client.pull("smollm2:135m").status, "success")

    def test_show(self):
        r = self.client.show("smollm2:135m")
        self.assertEqual((r.details.parameter_size, r.details.family), ("134.52M", "llama"))
        self.assertIn("apache", r.license.lower())


if __name__ == "__main__":
    unittest.main()
