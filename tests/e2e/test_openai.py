"""OpenAI's API, asked by its own Python client: fields, streams, tools, errors. Every reply must fit the client's types."""

import asyncio
import concurrent.futures
import json
import math
import os
import shutil
import tempfile
import time
import unittest

import service
import spoken_model
import tiny_model

SPOKEN, TINY, BASE, NESTED = "spoken", "tiny", "base", "acme/spoken:v1"
# What OpenAI's types do not have.
EXTENSIONS = {"reasoning_content"}
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": WEATHER}]
VALUE, TYPE, UNKNOWN, MISSING = "invalid_value", "invalid_type", "unknown_parameter", "missing_required_parameter"


def setUpModule():
    global openai, FOLDER, SERVICE, CLIENT
    openai = service.client_library("openai")
    FOLDER = tempfile.mkdtemp(prefix="pantry-openai-")
    paths = {name: os.path.join(FOLDER, f"{name}.gguf") for name in (SPOKEN, TINY, BASE)}
    spoken_model.write(paths[SPOKEN])
    tiny_model.write(paths[TINY])
    tiny_model.write(paths[BASE], template=False)
    SERVICE = service.Service({**paths, NESTED: paths[SPOKEN]})
    CLIENT = client_of(SERVICE)


def tearDownModule():
    CLIENT.close()
    SERVICE.stop()
    shutil.rmtree(FOLDER)


def client_of(server, kind="OpenAI"):
    return getattr(openai, kind)(base_url=server.url + "/v1", api_key="none", max_retries=0)


def said(text, **more):
    return {"model": SPOKEN, "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


class Case(unittest.TestCase):
    def fits(self, value):
        """Checks a reply against its own type, strictly: no wrong types and no fields that the type does not have."""
        type(value).model_validate(json.loads(value.model_dump_json(warnings="error", by_alias=True)))
        self.no_extra(value)
        return value

    def no_extra(self, value):
        if isinstance(value, (list, tuple)):
            for item in value:
                self.no_extra(item)
        elif hasattr(value, "model_extra"):
            self.assertLessEqual(set(value.model_extra or ()), EXTENSIONS, type(value))
            for name in type(value).model_fields:
                self.no_extra(getattr(value, name))

    def chat(self, text="say hello", **more):
        return self.fits(CLIENT.chat.completions.create(**said(text, **more)))

    def message(self, text="say hello", **more):
        return self.chat(text, **more).choices[0].message

    def stream(self, text="say hello", **more):
        return [self.fits(chunk) for chunk in CLIENT.chat.completions.create(**said(text, **more), stream=True)]

    def refused(self, call, status=400, param=None, code=None, words=""):
        """The body of the error that `call` gets."""
        with self.assertRaises(openai.APIStatusError) as caught:
            call()
        body = caught.exception.body
        self.assertEqual(caught.exception.status_code, status, body)
        self.assertEqual(set(body), {"message", "type", "param", "code"})
        self.assertEqual(body["type"], "invalid_request_error")
        self.assertEqual(body["param"], param, body)
        if code:
            self.assertEqual(body["code"], code, body)
        self.assertIn(words, body["message"])
        return body

    def chat_refused(self, param, code="unsupported_value", words="", **more):
        return self.refused(
            lambda: CLIENT.chat.completions.create(**{**said("say hello"), **more}), 400, param, code, words
        )


def joined(chunks, index=0):
    """What a stream says: (content, reasoning, calls, finish_reason) of one choice."""
    content, reasoning, calls, finish = "", "", [], None
    for choice in (c for chunk in chunks for c in chunk.choices if c.index == index):
        content += choice.delta.content or ""
        reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or []:
            calls.append((call.index, call.type, call.function.name, call.function.arguments))
        finish = choice.finish_reason or finish
    return content, reasoning, calls, finish


class Models(Case):
    def test_list(self):
        models = self.fits(CLIENT.models.list())
        self.assertEqual({m.id for m in models.data}, {SPOKEN, TINY, BASE, NESTED})
        self.assertEqual({m.object for m in models.data}, {"model"})
        for model in models.data:
            self.fits(model)
            self.assertLess(abs(model.created - time.time()), 3600)

    def test_one(self):
        self.assertEqual(self.fits(CLIENT.models.retrieve(TINY)).id, TINY)
        self.assertEqual(CLIENT.models.retrieve(TINY).owned_by, "library")

    def test_one_with_slash_and_colon(self):
        model = self.fits(CLIENT.models.retrieve(NESTED))
        self.assertEqual((model.id, model.owned_by), (NESTED, "acme"))
        self.assertEqual(SERVICE.request("GET", "/v1/models/" + NESTED)[2]["id"], NESTED)
        self.assertEqual(self.chat(model=NESTED).model, NESTED)

    def test_unknown(self):
        self.refused(lambda: CLIENT.models.retrieve("nope"), 404, "model", "model_not_found", "nope")


class Chat(Case):
    def test_shape(self):
        reply = self.chat()
        self.assertRegex(reply.id, r"^chatcmpl-[0-9a-f]{24}$")
        self.assertEqual((reply.object, reply.model, len(reply.choices)), ("chat.completion", SPOKEN, 1))
        self.assertLess(abs(reply.created - time.time()), 3600)
        self.assertTrue(reply.system_fingerprint.startswith("fp_"))
        choice = reply.choices[0]
        self.assertEqual((choice.index, choice.finish_reason, choice.logprobs), (0, "stop", None))
        self.assertEqual((choice.message.role, choice.message.refusal), ("assistant", None))
        self.assertEqual(choice.message.content, spoken_model.SCRIPTS["hello"])
        self.assertIsNone(choice.message.tool_calls)

    def test_ids_differ(self):
        self.assertNotEqual(self.chat().id, self.chat().id)

    def test_usage(self):
        usage = self.chat().usage
        self.assertGreater(usage.prompt_tokens, 20)
        self.assertGreater(usage.completion_tokens, 5)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertEqual(usage.completion_tokens_details.reasoning_tokens, 0)

    def test_cached_tokens(self):
        text = "say hello" + "!" * 200
        first, second = self.chat(text).usage, self.chat(text).usage
        self.assertLess(first.prompt_tokens_details.cached_tokens, 100)
        self.assertGreater(second.prompt_tokens_details.cached_tokens, 150)

    def test_length(self):
        for name in ("max_tokens", "max_completion_tokens"):
            reply = self.chat("say endless", **{name: 5})
            self.assertEqual(reply.choices[0].finish_reason, "length")
            self.assertEqual(reply.usage.completion_tokens, 5)
            self.assertEqual(reply.choices[0].message.content, spoken_model.ENDLESS * 5)

    def test_content_parts(self):
        """Parts become lines."""
        for parts in (["say hello"], ["say", "hello"]):
            content = [{"type": "text", "text": part} for part in parts]
            usage = self.chat(content, max_tokens=1).usage
            self.assertEqual(usage.prompt_tokens, self.chat("\n".join(parts), max_tokens=1).usage.prompt_tokens)
        self.assertEqual(self.message([{"type": "text", "text": "say names"}]).content, spoken_model.SCRIPTS["names"])

    def test_roles(self):
        def tokens(role):
            messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "say hello"}]
            return CLIENT.chat.completions.create(model=SPOKEN, messages=messages).usage.prompt_tokens

        self.assertEqual(tokens("developer"), tokens("system"))
        self.assertNotEqual(tokens("user"), tokens("system"))

    def test_stop(self):
        for stop in ("STOP", ["nothing", "STOP"]):
            choice = self.chat("say names", stop=stop).choices[0]
            self.assertEqual((choice.message.content, choice.finish_reason), ("Ada, Grace, ", "stop"))

    def test_unicode(self):
        self.assertEqual(self.message("say unicode").content, spoken_model.SCRIPTS["unicode"])

    def test_seed(self):
        def text(seed):
            return self.message("x", model=TINY, temperature=1.5, seed=seed, max_tokens=12).content

        self.assertEqual(text(7), text(7))
        self.assertNotEqual(text(7), text(8))
        self.assertNotEqual(text(None), text(None))

    def test_n(self):
        """Choice i has the seed of the request plus i."""
        options = {"model": TINY, "temperature": 1.5, "max_tokens": 6}
        reply = self.chat("x", n=3, seed=7, **options)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2])
        for i, choice in enumerate(reply.choices):
            self.assertEqual(choice.message.content, self.message("x", seed=7 + i, **options).content)
        self.assertEqual(reply.usage.completion_tokens, 18)
        self.assertEqual(reply.usage.prompt_tokens, self.chat("x", **options).usage.prompt_tokens)

    def test_most_choices(self):
        self.assertEqual(len(self.chat(n=8).choices), 8)

    def test_penalties(self):
        plain = self.message("x", model=TINY, max_tokens=30).content
        for name in ("frequency_penalty", "presence_penalty"):
            self.assertNotEqual(self.message("x", model=TINY, max_tokens=30, **{name: 2.0}).content, plain, name)

    def test_top_p_0_is_greedy(self):
        greedy = self.message("x", model=TINY, max_tokens=8).content
        self.assertEqual(self.message("x", model=TINY, max_tokens=8, **{"temperature": 2, "top_p": 0}).content, greedy)

    def test_fields_that_change_nothing(self):
        message = self.message(
            user="me",
            metadata={"a": "b"},
            store=True,
            service_tier="auto",
            safety_identifier="x",
            prompt_cache_key="x",
            prompt_cache_retention="24h",
            prediction={"type": "content", "content": "x"},
            logit_bias={},
            logprobs=False,
            modalities=["text"],
            verbosity="medium",
            response_format={"type": "text"},
            parallel_tool_calls=True,
            tool_choice="auto",
        )
        self.assertEqual(message.content, spoken_model.SCRIPTS["hello"])

    def test_null_is_missing(self):
        nothing = (
            "max_tokens",
            "stop",
            "seed",
            "tools",
            "n",
            "stream_options",
            "top_p",
            "response_format",
            "logit_bias",
        )
        self.chat(extra_body=dict.fromkeys(nothing))

    def test_fields_of_local_engines(self):
        self.chat(extra_body={"top_k": 1, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": 8})

    def test_reasoning(self):
        reply = self.chat("say thought")
        self.assertEqual(reply.choices[0].message.content.strip(), "Good morning!")
        self.assertEqual(reply.choices[0].message.reasoning_content.strip(), "They want a greeting.")
        details = reply.usage.completion_tokens_details
        self.assertGreater(details.reasoning_tokens, 0)
        self.assertLess(details.reasoning_tokens, reply.usage.completion_tokens)

    def test_reasoning_effort(self):
        """The template prints thinking=... and effort=..., a token per byte."""
        plain = self.chat().usage.prompt_tokens
        high = self.chat(reasoning_effort="high").usage.prompt_tokens
        self.assertEqual(high - plain, len("thinking=True\neffort=high\n"))
        none = self.chat(reasoning_effort="none").usage.prompt_tokens
        self.assertEqual(none - plain, len("thinking=False\n"))

    def test_template_fields(self):
        plain = self.chat().usage.prompt_tokens
        more = self.chat(extra_body={"chat_template_kwargs": {"enable_thinking": True}}).usage.prompt_tokens
        self.assertEqual(more - plain, len("thinking=True\n"))

    def test_an_answer_comes_back(self):
        """As clients return it: with all fields that the type has, or as it is."""
        message = self.message("say thought")
        for form in (message, message.model_dump(), message.model_dump(exclude_none=True)):
            messages = [{"role": "user", "content": "x"}, form, {"role": "user", "content": "say names"}]
            reply = CLIENT.chat.completions.create(model=SPOKEN, messages=messages)
            self.assertEqual(reply.choices[0].message.content, spoken_model.SCRIPTS["names"])

    def test_raw_response(self):
        raw = CLIENT.chat.completions.with_raw_response.create(**said("say hello"))
        self.assertEqual(raw.headers["content-type"].split(";")[0], "application/json")
        self.assertEqual(raw.parse().choices[0].message.content, spoken_model.SCRIPTS["hello"])

    def test_async_client(self):
        async def ask():
            async with client_of(SERVICE, "AsyncOpenAI") as client:
                replies = [client.chat.completions.create(**said(f"say {name}")) for name in ("hello", "names")]
                return [reply.choices[0].message.content for reply in await asyncio.gather(*replies)]

        self.assertEqual(asyncio.run(ask()), [spoken_model.SCRIPTS["hello"], spoken_model.SCRIPTS["names"]])


class Together(Case):
    def test_many_clients(self):
        """Each gets the answer to its own question, whole or as a stream, while others leave."""

        def ask(i):
            name = ("hello", "names", "unicode", "result")[i % 4]
            if i % 5 == 0:
                stream = CLIENT.chat.completions.create(**said("say endless"), stream=True)
                next(stream)
                stream.close()
            if i % 2:
                return name, joined(CLIENT.chat.completions.create(**said(f"say {name}"), stream=True))[0]
            return name, CLIENT.chat.completions.create(**said(f"say {name}")).choices[0].message.content

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for name, text in pool.map(ask, range(64)):
                self.assertEqual(text, spoken_model.SCRIPTS[name])
        self.assertTrue(SERVICE.becomes_idle())


class Stream(Case):
    def same(self, text, **more):
        message = (choice := self.chat(text, **more).choices[0]).message
        content, reasoning, calls, finish = joined(self.stream(text, **more))
        self.assertEqual(content, message.content or "")
        self.assertEqual(reasoning, getattr(message, "reasoning_content", None) or "")
        self.assertEqual(finish, choice.finish_reason)
        wanted = [(i, c.type, c.function.name, c.function.arguments) for i, c in enumerate(message.tool_calls or [])]
        self.assertEqual(calls, wanted)

    def test_says_what_a_whole_reply_says(self):
        for text in ("hello", "unicode", "names", "thought"):
            with self.subTest(text):
                self.same(f"say {text}")

    def test_tools(self):
        for text in ("call", "two calls", "thoughtful call", "hello"):
            with self.subTest(text):
                self.same(f"say {text}", tools=TOOLS)

    def test_stop_and_length(self):
        self.same("say names", stop="STOP")
        self.same("say endless", max_tokens=4)

    def test_tiny_model(self):
        self.chat("Tell me", model=TINY, max_tokens=2)  # so that both find the prompt in memory
        self.same("Tell me", model=TINY, max_tokens=24)

    def test_order_of_chunks(self):
        chunks = self.stream()
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}), 1)
        self.assertEqual([chunk.choices[0].delta.role for chunk in chunks], ["assistant"] + [None] * (len(chunks) - 1))
        self.assertEqual({chunk.choices[0].finish_reason for chunk in chunks[:-1]}, {None})
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertEqual({chunk.usage for chunk in chunks}, {None})
        self.assertGreater(len(chunks), 5)

    def test_usage(self):
        chunks = self.stream(stream_options={"include_usage": True})
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual({chunk.usage for chunk in chunks[:-1]}, {None})
        self.assertEqual(chunks[-1].usage.total_tokens, self.chat().usage.total_tokens)

    def test_n(self):
        chunks = self.stream(n=3, stream_options={"include_usage": True})
        for i in range(3):
            self.assertEqual(joined(chunks, i)[0], spoken_model.SCRIPTS["hello"])
            self.assertEqual(joined(chunks, i)[3], "stop")
        self.assertEqual(chunks[-1].usage.completion_tokens, 3 * self.chat().usage.completion_tokens)

    def test_tool_call_chunks(self):
        chunks = self.stream("say two calls", tools=TOOLS)
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        self.assertEqual([call.index for call in calls], [0, 1])
        self.assertEqual(len({call.id for call in calls}), 2)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")

    def test_helper_of_the_client(self):
        with CLIENT.chat.completions.stream(**said("say call", tools=TOOLS)) as events:
            kinds = {event.type for event in events}
            final = events.get_final_completion()
        self.assertIn("tool_calls.function.arguments.done", kinds)
        self.assertEqual(final.choices[0].message.tool_calls[0].function.name, "get_weather")
        self.assertEqual(final.choices[0].finish_reason, "tool_calls")

    def test_progress(self):
        body = {**said("say hello " + "x" * 2000), "stream": True, "return_progress": True}
        lines = SERVICE.request("POST", "/v1/chat/completions", body)[2].split("\n\n")
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        progress = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
        self.assertTrue(progress)
        for before, after in zip(progress, progress[1:]):
            self.assertLess(before["processed"], after["processed"])
            self.assertLessEqual(before["time_ms"], after["time_ms"])
        last = progress[-1]
        self.assertEqual(set(last), {"total", "cache", "processed", "time_ms"})
        self.assertEqual(last["processed"], last["total"])
        self.assertGreater(last["total"], 2000)
        self.assertEqual({len(chunk["choices"]) for chunk in chunks if "prompt_progress" in chunk}, {0})
        self.chat_refused("return_progress", VALUE, extra_body={"return_progress": True})

    def test_on_the_wire(self):
        status, headers, text = SERVICE.request("POST", "/v1/chat/completions", said("say hello", stream=True))
        self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream"))
        self.assertEqual(headers["Cache-Control"], "no-cache")
        events = text.split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        self.assertTrue(all(event.startswith("data: {") for event in events[:-2]))

    def test_async(self):
        async def ask():
            async with client_of(SERVICE, "AsyncOpenAI") as client:
                stream = await client.chat.completions.create(**said("say hello"), stream=True)
                return joined([chunk async for chunk in stream])[0]

        self.assertEqual(asyncio.run(ask()), spoken_model.SCRIPTS["hello"])


class Logprobs(Case):
    def check(self, tokens, text, top):
        self.assertEqual(b"".join(bytes(token.bytes) for token in tokens).decode(), text)
        for token in tokens:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), top)
            values = [other.logprob for other in token.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
            if top:  # temperature 0 takes the likeliest
                self.assertEqual((token.top_logprobs[0].token, values[0]), (token.token, token.logprob))

    def test_chat(self):
        for top in (0, 3, 20):
            choice = self.chat("x", model=TINY, max_tokens=6, logprobs=True, top_logprobs=top).choices[0]
            self.check(choice.logprobs.content, choice.message.content, top)
            self.assertEqual(len(choice.logprobs.content), 6)
        self.assertIsNone(self.chat().choices[0].logprobs)

    def test_probabilities_add_up(self):
        token = self.chat("x", model=TINY, max_tokens=1, logprobs=True, top_logprobs=20).choices[0].logprobs.content[0]
        total = sum(math.exp(other.logprob) for other in token.top_logprobs)
        self.assertLessEqual(total, 1.0001)
        self.assertGreater(total, 20 / 264)

    def test_only_the_content(self):
        """Tokens of reasoning and of calls have none."""
        for text in ("say thought", "say call"):
            choice = self.chat(text, tools=TOOLS, logprobs=True).choices[0]
            said_text = b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode()
            self.assertIn(choice.message.content.strip()[-6:], said_text)
            self.assertNotIn("They want", said_text)
            self.assertNotIn("get_weather", said_text)

    def test_characters_of_several_tokens(self):
        choice = self.chat("say unicode", logprobs=True).choices[0]
        self.check(choice.logprobs.content, spoken_model.SCRIPTS["unicode"], 0)

    def test_stream(self):
        options = {"model": TINY, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
        self.chat("x", model=TINY, max_tokens=1)
        whole = self.chat("x", **options).choices[0].logprobs.content
        choices = [chunk.choices[0] for chunk in self.stream("x", **options)]
        self.assertEqual([token for c in choices if c.logprobs for token in c.logprobs.content], whole)

    def test_completions(self):
        options = {"model": TINY, "prompt": "Hello", "temperature": 0, "max_tokens": 6}
        CLIENT.completions.create(**options | {"max_tokens": 1})
        choice = self.fits(CLIENT.completions.create(**options, logprobs=2)).choices[0]
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        self.assertEqual(choice.logprobs.text_offset, [len("".join(choice.logprobs.tokens[:i])) for i in range(6)])
        for token, value, top in zip(
            *[getattr(choice.logprobs, n) for n in ("tokens", "token_logprobs", "top_logprobs")]
        ):
            self.assertEqual((top[token], len(top)), (value, 2))
        streamed = [c.choices[0].logprobs for c in CLIENT.completions.create(**options, logprobs=2, stream=True)]
        self.assertEqual([t for l in streamed if l for t in l.tokens], choice.logprobs.tokens)
        self.assertEqual([o for l in streamed if l for o in l.text_offset], choice.logprobs.text_offset)
        alone = CLIENT.completions.create(**options, logprobs=0).choices[0].logprobs
        self.assertEqual((len(alone.tokens), alone.top_logprobs), (6, None))

    def test_responses(self):
        options = {
            "model": SPOKEN,
            "input": "say hello",
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 2,
        }
        part = self.fits(CLIENT.responses.create(**options)).output[0].content[0]
        self.check(part.logprobs, part.text, 2)
        events = [self.fits(event) for event in CLIENT.responses.create(**options, stream=True)]
        deltas = [token.token for e in events if e.type == "response.output_text.delta" for token in e.logprobs]
        self.assertEqual(deltas, [token.token for token in part.logprobs])

    def test_bias(self):
        """A token that is forced, and one that is banned."""
        ids = SERVICE.request("POST", "/tokenize", {"model": TINY, "content": "QZ"})[2]["tokens"]
        self.assertEqual(self.message("x", model=TINY, max_tokens=4, logit_bias={str(ids[0]): 100}).content, "QQQQ")
        plain = self.message("x", model=TINY, max_tokens=1).content
        banned = SERVICE.request("POST", "/tokenize", {"model": TINY, "content": plain})[2]["tokens"][0]
        self.assertNotEqual(self.message("x", model=TINY, max_tokens=1, logit_bias={str(banned): -100}).content, plain)
        reply = CLIENT.completions.create(model=TINY, prompt="x", max_tokens=3, logit_bias={str(ids[1]): 100})
        self.assertEqual(reply.choices[0].text, "ZZZ")
        for bias in ([[ids[1], True]], {str(ids[1]): True}):
            reply = CLIENT.completions.create(model=TINY, prompt="x", max_tokens=3, extra_body={"logit_bias": bias})
            self.assertEqual(reply.choices[0].text, "ZZZ")
        bias = [[banned, False]]
        self.assertNotEqual(self.message("x", model=TINY, max_tokens=1, extra_body={"logit_bias": bias}).content, plain)

    def test_refusals(self):
        self.chat_refused("top_logprobs", VALUE, top_logprobs=3)
        self.chat_refused("top_logprobs", VALUE, logprobs=True, top_logprobs=21)
        self.chat_refused("logit_bias", VALUE, logit_bias={"x": 1})
        self.chat_refused("logit_bias", VALUE, logit_bias={"100000": 1})
        self.chat_refused("logit_bias", VALUE, logit_bias={"1": 101})
        self.chat_refused("logit_bias", VALUE, extra_body={"logit_bias": [[1]]})
        self.chat_refused("logit_bias", VALUE, extra_body={"logit_bias": [[100000, 1]]})
        self.chat_refused("logit_bias", TYPE, extra_body={"logit_bias": "x"})


class Tools(Case):
    def test_call(self):
        choice = self.chat("say call", tools=TOOLS).choices[0]
        call = choice.message.tool_calls[0]
        self.assertEqual(
            (choice.finish_reason, call.type, call.function.name), ("tool_calls", "function", "get_weather")
        )
        self.assertEqual(json.loads(call.function.arguments), {"city": "Paris", "days": 2})
        self.assertRegex(call.id, r"^call_[0-9A-Za-z]{9}$")
        self.assertEqual(choice.message.content.strip(), "Let me look.")

    def test_content_is_null_where_there_are_only_calls(self):
        message = self.message("say two calls", tools=TOOLS)
        self.assertIsNone(message.content)
        self.assertEqual([call.function.name for call in message.tool_calls], ["get_weather", "get_time"])
        self.assertEqual(message.tool_calls[1].function.arguments, "{}")

    def test_one_call_at_most(self):
        for more in ({}, {"stream": True}):
            reply = CLIENT.chat.completions.create(
                **said("say two calls", tools=TOOLS, parallel_tool_calls=False, **more)
            )
            if more:
                _, _, calls, finish = joined(list(reply))
            else:
                calls, finish = reply.choices[0].message.tool_calls, reply.choices[0].finish_reason
            self.assertEqual((len(calls), finish), (1, "tool_calls"))

    def test_choice_none_hides_the_tools(self):
        plain = self.chat().usage.prompt_tokens
        self.assertEqual(self.chat(tools=TOOLS, tool_choice="none").usage.prompt_tokens, plain)
        self.assertGreater(self.chat(tools=TOOLS, tool_choice="auto").usage.prompt_tokens, plain + 100)

    def round_trip(self, arguments, name=None):
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"} | ({"name": name} if name else {})
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}, result]
        return self.fits(CLIENT.chat.completions.create(model=SPOKEN, messages=messages, tools=TOOLS))

    def test_round_trip(self):
        messages = [{"role": "user", "content": "say call"}]
        message = CLIENT.chat.completions.create(model=SPOKEN, messages=messages, tools=TOOLS).choices[0].message
        messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny, 25 C"}]
        choice = CLIENT.chat.completions.create(model=SPOKEN, messages=messages, tools=TOOLS).choices[0]
        self.assertEqual((choice.message.content, choice.finish_reason), (spoken_model.SCRIPTS["result"], "stop"))

    def test_arguments_are_objects_for_the_template(self):
        spaced, tight = self.round_trip('{ "city" : "Paris" }'), self.round_trip('{"city":"Paris"}')
        self.assertEqual(spaced.usage.prompt_tokens, tight.usage.prompt_tokens)
        self.assertEqual(self.round_trip("").usage.prompt_tokens, self.round_trip("{}").usage.prompt_tokens)
        self.assertGreater(self.round_trip("not JSON").usage.prompt_tokens, 0)

    def test_a_result_gets_the_name_of_its_tool(self):
        named, unnamed = self.round_trip("{}", "get_weather"), self.round_trip("{}")
        self.assertEqual(named.usage.prompt_tokens, unnamed.usage.prompt_tokens)

    def test_parameters_may_be_missing(self):
        self.chat(tools=[{"type": "function", "function": {"name": "ping"}}])


class Refusals(Case):
    def test_options_that_cannot_be_honoured(self):
        for param, more in {
            "tools[0].type": {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
            "functions": {"functions": [WEATHER]},
            "function_call": {"function_call": "auto"},
            "audio": {"audio": {"voice": "x", "format": "wav"}},
            "modalities": {"modalities": ["text", "audio"]},
            "web_search_options": {"web_search_options": {}},
            "verbosity": {"verbosity": "high"},
        }.items():
            with self.subTest(param):
                self.chat_refused(param, **more)
        self.chat_refused("tool_choice", VALUE, tool_choice="required")
        self.chat_refused("tool_choice", tools=TOOLS, tool_choice={"type": "custom", "custom": {"name": "x"}})

    def test_unknown_fields(self):
        self.chat_refused("foo", UNKNOWN, "unknown field", extra_body={"foo": 1})
        self.chat_refused("stream_options.foo", UNKNOWN, stream=True, stream_options={"foo": True})
        messages = [{"role": "user", "content": "x", "foo": 1}]
        self.chat_refused("messages[0].foo", UNKNOWN, messages=messages)

    def test_wrong_types(self):
        for param, value in {
            "temperature": "hot",
            "max_tokens": "5",
            "stream": "yes",
            "seed": 1.5,
            "stop": [1],
            "n": "2",
            "messages": "hello",
            "tools": {},
            "top_p": [],
            "parallel_tool_calls": 1,
            "reasoning_effort": 5,
            "chat_template_kwargs": [],
        }.items():
            with self.subTest(param):
                self.chat_refused(param, TYPE, "wrong type", extra_body={param: value})

    def test_ranges(self):
        for param, value in {
            "temperature": 2.1,
            "top_p": 1.1,
            "frequency_penalty": -2.5,
            "presence_penalty": 3,
            "n": 9,
            "max_tokens": 0,
            "max_completion_tokens": -1,
        }.items():
            with self.subTest(param):
                self.chat_refused(param, VALUE, "out of range", **{param: value})

    def test_messages(self):
        self.chat_refused("messages", MISSING, messages=[])
        self.chat_refused("messages[0].role", VALUE, messages=[{"role": "robot", "content": "x"}])
        self.chat_refused("messages[0].content", MISSING, messages=[{"role": "user"}])
        self.chat_refused("messages[0].content", TYPE, messages=[{"role": "user", "content": 5}])
        self.chat_refused("messages[0].tool_call_id", MISSING, messages=[{"role": "tool", "content": "x"}])
        image = [
            {"type": "text", "text": "x"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ]
        self.chat_refused("messages", words="image_url", messages=[{"role": "user", "content": image}])
        call = {"id": "x", "type": "function", "function": {"name": "f"}}
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
        self.chat_refused("messages[1].tool_calls[0]", VALUE, messages=messages)

    def test_stream_options_need_a_stream(self):
        self.chat_refused("stream_options", VALUE, stream_options={"include_usage": True})

    def test_reasoning_effort(self):
        self.chat_refused("reasoning_effort", VALUE, reasoning_effort="huge")
        self.chat_refused("reasoning_effort", model=TINY, reasoning_effort="high")
        self.chat(model=TINY, reasoning_effort="none", max_tokens=1)

    def test_unknown_model(self):
        with self.assertRaises(openai.NotFoundError):
            CLIENT.chat.completions.create(**said("x", model="nope"))
        self.refused(lambda: CLIENT.chat.completions.create(**said("x", model="nope")), 404, "model", "model_not_found")

    def test_no_model(self):
        status, _, body = SERVICE.request("POST", "/v1/chat/completions", {"messages": []})
        self.assertEqual((status, body["error"]["param"]), (400, "model"))

    def test_no_template(self):
        self.chat_refused(None, words="base model", model=BASE)

    def test_no_place_for_tools(self):
        self.chat_refused("tools", model=TINY, tools=TOOLS)

    def test_the_template_refuses(self):
        body = self.refused(lambda: CLIENT.chat.completions.create(**said("raise", model=TINY)))
        self.assertIn("Do not say raise!", body["message"])

    def test_context(self):
        body = self.chat_refused("messages", "context_length_exceeded", **said("x" * 9000))
        self.assertRegex(body["message"], r"\b90\d\d\b.*\b8192\b")

    def test_streams_fail_as_replies(self):
        self.chat_refused("n", VALUE, stream=True, n=0)
        self.chat_refused("messages", "context_length_exceeded", **said("x" * 9000), stream=True)

    def test_bodies(self):
        for body in (b"", b"{", b"[]", b'"x"', b'{"model": "a", "model": "b"}', b"[" * 1000):
            status, _, reply = SERVICE.request("POST", "/v1/chat/completions", body)
            self.assertEqual((status, reply["error"]["type"]), (400, "invalid_request_error"), body)

    def test_paths_and_methods(self):
        self.assertEqual(SERVICE.request("POST", "/v1/nothing", {})[0], 404)
        status, _, reply = SERVICE.request("GET", "/v1/chat/completions")
        self.assertEqual((status, reply["error"]["type"]), (405, "invalid_request_error"))


class Completions(Case):
    def complete(self, prompt="x", **more):
        return self.fits(CLIENT.completions.create(**{"model": TINY, "prompt": prompt, "temperature": 0, **more}))

    def streamed(self, prompt="x", **more):
        options = {"model": TINY, "prompt": prompt, "temperature": 0, **more}
        chunks = list(CLIENT.completions.create(**options, stream=True))
        for chunk in chunks:  # OpenAI sends null as finish_reason before the end, which its type does not have
            if all(choice.finish_reason for choice in chunk.choices):
                self.fits(chunk)
        return chunks

    def refused_for(self, param, code="unsupported_value", **more):
        options = {"model": TINY, "prompt": "x", **more}
        return self.refused(lambda: CLIENT.completions.create(**options), 400, param, code)

    def test_shape(self):
        reply = self.complete()
        self.assertRegex(reply.id, r"^cmpl-[0-9a-f]{24}$")
        self.assertEqual((reply.object, reply.model), ("text_completion", TINY))
        choice = reply.choices[0]
        self.assertEqual((choice.index, choice.finish_reason, choice.logprobs), (0, "length", None))
        self.assertEqual(reply.usage.prompt_tokens, 1)

    def test_16_tokens_where_none_are_given(self):
        self.assertEqual(self.complete().usage.completion_tokens, 16)

    def test_finish(self):
        choice = self.complete("<|say hello|>", model=SPOKEN).choices[0]
        self.assertEqual((choice.text, choice.finish_reason), (spoken_model.SCRIPTS["hello"], "stop"))

    def test_stop(self):
        choice = self.complete("<|say names|>", model=SPOKEN, stop="STOP").choices[0]
        self.assertEqual((choice.text, choice.finish_reason), ("Ada, Grace, ", "stop"))

    def test_list_of_prompts(self):
        prompts = ["<|say hello|>", "<|say names|>", "<|say unicode|>"]
        reply = self.complete(prompts, model=SPOKEN, n=2, max_tokens=50)
        self.assertEqual([choice.index for choice in reply.choices], list(range(6)))
        wanted = [spoken_model.SCRIPTS[name] for name in ("hello", "hello", "names", "names", "unicode", "unicode")]
        self.assertEqual([choice.text for choice in reply.choices], wanted)
        self.assertEqual(reply.usage.prompt_tokens, 3)

    def test_many_prompts(self):
        reply = self.complete(["<|say hello|>"] * 40, model=SPOKEN)
        self.assertEqual({choice.text for choice in reply.choices}, {spoken_model.SCRIPTS["hello"]})
        self.assertEqual(len(reply.choices), 40)

    def test_token_ids(self):
        ids = SERVICE.request("POST", "/tokenize", {"model": TINY, "content": "Hello"})[2]["tokens"]
        text = self.complete("Hello").choices[0].text
        self.assertEqual(self.complete(ids).choices[0].text, text)
        self.assertEqual([c.text for c in self.complete([ids, ids]).choices], [text, text])

    def test_echo(self):
        text = self.complete("Hello").choices[0].text
        self.assertEqual(self.complete("Hello", echo=True).choices[0].text, "Hello" + text)
        ids = SERVICE.request("POST", "/tokenize", {"model": TINY, "content": "Hello"})[2]["tokens"]
        self.assertEqual(self.complete(ids, echo=True).choices[0].text, "Hello" + text)

    def test_echo_alone(self):
        reply = self.complete("Hello", echo=True, max_tokens=0)
        self.assertEqual(reply.choices[0].text, "Hello")
        self.assertEqual((reply.usage.completion_tokens, reply.choices[0].finish_reason), (0, "length"))

    def test_stream(self):
        for more in ({}, {"echo": True}, {"n": 2}, {"max_tokens": 0, "echo": True}):
            self.complete("Hello", max_tokens=1)
            whole = self.complete("Hello", **more)
            chunks = self.streamed("Hello", stream_options={"include_usage": True}, **more)
            for choice in whole.choices:
                parts = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
                self.assertEqual("".join(part.text for part in parts), choice.text)
                self.assertEqual([part.finish_reason for part in parts if part.finish_reason], [choice.finish_reason])
            self.assertEqual(chunks[-1].usage.total_tokens, whole.usage.total_tokens)

    def test_refusals(self):
        self.refused_for("best_of", VALUE, n=3, best_of=2)
        self.refused_for("best_of", VALUE, best_of=21)
        self.refused_for("best_of", VALUE, best_of=2, stream=True)
        self.refused_for("logprobs", logprobs=0, echo=True)
        self.refused_for("suffix", suffix="end")
        self.refused_for("foo", UNKNOWN, extra_body={"foo": 1})
        self.refused_for("prompt", MISSING, prompt=None)
        self.refused_for("prompt", MISSING, prompt=[])
        self.refused_for("prompt", TYPE, prompt=[["x"]])
        self.refused_for("prompt", VALUE, prompt=[1, 100000])
        self.refused_for("prompt", VALUE, prompt=[-1])
        self.refused_for(None, VALUE, prompt="")
        self.refused_for("max_tokens", VALUE, max_tokens=-1)
        self.assertEqual(self.complete(best_of=1, user="me", suffix="").usage.completion_tokens, 16)

    def test_the_best_of_several(self):
        """Of six answers the two with the highest mean log probability, which the same seeds give one by one too."""
        options = {"max_tokens": 6, "temperature": 2, "extra_body": {"top_k": 0, "min_p": 0}}
        ranked = []
        for seed in range(40, 46):
            choice = self.complete("Hello", seed=seed, logprobs=0, **options).choices[0]
            values = choice.logprobs.token_logprobs
            ranked.append((sum(values) / len(values), choice.text))
        best = [text for _, text in sorted(ranked, key=lambda pair: -pair[0])]
        self.assertEqual(len(set(best)), 6)
        reply = self.complete("Hello", seed=40, n=2, best_of=6, **options)
        self.assertEqual([choice.text for choice in reply.choices], best[:2])
        self.assertEqual([choice.index for choice in reply.choices], [0, 1])
        self.assertIsNone(reply.choices[0].logprobs)
        self.assertEqual(reply.usage.completion_tokens, 36)


class Embeddings(Case):
    def embed(self, text, **more):
        return self.fits(CLIENT.embeddings.create(model=TINY, input=text, **more))

    def refused_for(self, param, code=VALUE, **more):
        options = {"model": TINY, "input": "x", **more}
        return self.refused(lambda: CLIENT.embeddings.create(**options), 400, param, code)

    def test_shape(self):
        reply = self.embed("hello")
        self.assertEqual((reply.object, reply.model, reply.data[0].object), ("list", TINY, "embedding"))
        self.assertEqual(len(reply.data[0].embedding), tiny_model.N_EMBD)
        self.assertAlmostEqual(math.hypot(*reply.data[0].embedding), 1, 5)
        self.assertEqual((reply.usage.prompt_tokens, reply.usage.total_tokens), (5, 5))

    def test_base64_is_float(self):
        """The client asks for base64 by default."""
        numbers = self.embed("hello", encoding_format="float").data[0].embedding
        self.assertEqual(self.embed("hello").data[0].embedding, numbers)
        body = {"model": TINY, "input": "hello"}
        self.assertIsInstance(SERVICE.request("POST", "/v1/embeddings", body)[2]["data"][0]["embedding"], list)
        body["encoding_format"] = "base64"
        self.assertIsInstance(SERVICE.request("POST", "/v1/embeddings", body)[2]["data"][0]["embedding"], str)

    def test_every_length_of_base64(self):
        for n in range(1, 7):
            numbers = self.embed("hello", dimensions=n, encoding_format="float").data[0].embedding
            self.assertEqual(self.embed("hello", dimensions=n).data[0].embedding, numbers)
            self.assertEqual(len(numbers), n)

    def test_lists(self):
        reply = self.embed(["one", "two", "three"])
        self.assertEqual([row.index for row in reply.data], [0, 1, 2])
        for row, text in zip(reply.data, ["one", "two", "three"]):
            for a, b in zip(row.embedding, self.embed(text).data[0].embedding):
                self.assertAlmostEqual(a, b, 4)
        self.assertEqual(reply.usage.prompt_tokens, 10)  # "th" is one

    def test_token_ids(self):
        ids = SERVICE.request("POST", "/tokenize", {"model": TINY, "content": "one"})[2]["tokens"]
        wanted = self.embed("one").data[0].embedding
        self.assertEqual(self.embed(ids).data[0].embedding, wanted)
        self.assertEqual(len(self.embed([ids, ids]).data), 2)

    def test_refusals(self):
        self.refused_for("input", input="")
        self.refused_for("input", MISSING, input=[])
        self.refused_for("input", TYPE, input=[{}])
        self.refused_for("dimensions", dimensions=0)
        self.refused_for(None, dimensions=1000)
        self.refused_for("encoding_format", encoding_format="hex")
        self.refused_for("foo", UNKNOWN, extra_body={"foo": 1})
        self.refused_for("input", "context_length_exceeded", input="x" * 40000)
        self.refused(lambda: CLIENT.embeddings.create(model="nope", input="x"), 404, "model", "model_not_found")


class Responses(Case):
    def respond(self, text="say hello", **more):
        return self.fits(CLIENT.responses.create(**{"model": SPOKEN, "input": text, "temperature": 0, **more}))

    def events(self, text="say hello", **more):
        return [
            self.fits(e) for e in CLIENT.responses.create(model=SPOKEN, input=text, temperature=0, stream=True, **more)
        ]

    def refused_for(self, param, code="unsupported_value", **more):
        options = {"model": SPOKEN, "input": "say hello", **more}
        return self.refused(lambda: CLIENT.responses.create(**options), 400, param, code)

    TOOLS = [{"type": "function", **WEATHER}]

    def test_shape(self):
        r = self.respond(metadata={"a": "b"}, instructions="Be brief.")
        self.assertRegex(r.id, r"^resp_[0-9a-f]{24}$")
        self.assertEqual((r.object, r.status, r.error, r.incomplete_details), ("response", "completed", None, None))
        self.assertEqual((r.model, r.instructions, r.metadata), (SPOKEN, "Be brief.", {"a": "b"}))
        self.assertEqual((r.tool_choice, r.tools, r.parallel_tool_calls, r.truncation), ("auto", [], True, "disabled"))
        self.assertEqual(r.output_text, spoken_model.SCRIPTS["hello"])
        item = r.output[0]
        self.assertEqual(
            (item.type, item.role, item.status, len(item.content)), ("message", "assistant", "completed", 1)
        )
        self.assertRegex(item.id, r"^msg_[0-9a-f]{24}$")
        self.assertGreaterEqual(r.completed_at, r.created_at)

    def test_usage(self):
        usage = self.respond().usage
        chat = self.chat().usage
        self.assertEqual((usage.input_tokens, usage.output_tokens), (chat.prompt_tokens, chat.completion_tokens))
        self.assertEqual(usage.total_tokens, chat.total_tokens)

    def test_incomplete(self):
        r = self.respond("say endless", max_output_tokens=4)
        self.assertEqual((r.status, r.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual((r.output[0].status, r.usage.output_tokens), ("incomplete", 4))

    def test_items(self):
        items = [
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "y", "annotations": []}]},
            {"role": "user", "content": "say names"},
        ]
        self.assertEqual(self.respond(items).output_text, spoken_model.SCRIPTS["names"])

    def test_instructions_join_the_system_message(self):
        one = self.respond([{"role": "system", "content": "A\n\nB"}, {"role": "user", "content": "x"}])
        two = self.respond([{"role": "developer", "content": "B"}, {"role": "user", "content": "x"}], instructions="A")
        self.assertEqual(one.usage.input_tokens, two.usage.input_tokens)

    def test_reasoning(self):
        r = self.respond("say thought", reasoning={"effort": "high"})
        self.assertEqual([item.type for item in r.output], ["reasoning", "message"])
        self.assertEqual(r.output[0].content[0].text.strip(), "They want a greeting.")
        self.assertEqual(r.output_text.strip(), "Good morning!")
        self.assertEqual(r.reasoning.effort, "high")
        self.assertGreater(r.usage.output_tokens_details.reasoning_tokens, 0)

    def test_reasoning_comes_back(self):
        """As content, or as the opaque text that was asked for."""
        first = self.respond("say thought", include=["reasoning.encrypted_content"], store=False)
        self.assertTrue(first.output[0].encrypted_content)
        items = [item.model_dump(exclude_none=True) for item in first.output]
        opaque = [{k: v for k, v in item.items() if item["type"] != "reasoning" or k != "content"} for item in items]
        ask = [{"role": "user", "content": "say hello"}]
        self.assertEqual(self.respond(items + ask).usage.input_tokens, self.respond(opaque + ask).usage.input_tokens)
        self.assertGreater(
            self.respond(items + ask).usage.input_tokens, self.respond(items[1:] + ask).usage.input_tokens
        )

    def test_call(self):
        r = self.respond("say call", tools=self.TOOLS)
        self.assertEqual([item.type for item in r.output], ["message", "function_call"])
        call = r.output[1]
        self.assertEqual((call.name, call.status), ("get_weather", "completed"))
        self.assertEqual(json.loads(call.arguments), {"city": "Paris", "days": 2})
        self.assertRegex(call.call_id, "^call_")
        self.assertRegex(call.id, "^fc_")
        self.assertEqual(r.tools[0].name, "get_weather")

    def test_calls(self):
        self.assertEqual(len(self.respond("say two calls", tools=self.TOOLS).output), 2)
        self.assertEqual(len(self.respond("say two calls", tools=self.TOOLS, parallel_tool_calls=False).output), 1)

    def test_round_trip(self):
        items = [{"role": "user", "content": "say call"}]
        first = self.respond(items, tools=self.TOOLS)
        result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "sunny"}
        whole = self.respond(
            items + [i.model_dump(exclude_none=True) for i in first.output] + [result], tools=self.TOOLS
        )
        self.assertEqual(whole.output_text, spoken_model.SCRIPTS["result"])
        short = self.respond([result], previous_response_id=first.id, tools=self.TOOLS)
        self.assertEqual(short.output_text, whole.output_text)
        self.assertEqual(short.usage.input_tokens, whole.usage.input_tokens)
        self.assertEqual(short.previous_response_id, first.id)

    def test_previous_response(self):
        first = self.respond("say hello", instructions="Only now.")
        second = self.respond("say names", previous_response_id=first.id)
        self.assertEqual(second.output_text, spoken_model.SCRIPTS["names"])
        items = [
            {"role": "user", "content": "say hello"},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "say names"},
        ]
        self.assertEqual(second.usage.input_tokens, self.respond(items).usage.input_tokens)
        third = self.respond("say hello", previous_response_id=second.id)
        self.assertGreater(third.usage.input_tokens, second.usage.input_tokens)

    def test_kept_responses(self):
        r = self.respond()
        self.assertEqual(self.fits(CLIENT.responses.retrieve(r.id)), r)
        CLIENT.responses.delete(r.id)
        self.refused(lambda: CLIENT.responses.retrieve(r.id), 404)
        self.refused(lambda: CLIENT.responses.delete(r.id), 404)
        self.refused_for("previous_response_id", "previous_response_not_found", previous_response_id=r.id)
        r = self.respond(store=False)
        self.refused(lambda: CLIENT.responses.retrieve(r.id), 404)
        r = self.respond()
        self.refused(lambda: CLIENT.responses.retrieve(r.id, stream=True), 400, "stream")

    def test_deletion_says_what_is_gone(self):
        r = self.respond()
        status, _, reply = SERVICE.request("DELETE", "/v1/responses/" + r.id)
        self.assertEqual((status, reply), (200, {"id": r.id, "object": "response", "deleted": True}))

    def test_input_tokens(self):
        count = self.fits(CLIENT.responses.input_tokens.count(model=SPOKEN, input="say hello", tools=self.TOOLS))
        self.assertEqual(count.object, "response.input_tokens")
        self.assertEqual(count.input_tokens, self.respond(tools=self.TOOLS).usage.input_tokens)

    def test_order_of_events(self):
        events = self.events()
        types = [event.type.removeprefix("response.") for event in events]
        self.assertEqual(types[:4], ["created", "in_progress", "output_item.added", "content_part.added"])
        self.assertEqual(set(types[4:-4]), {"output_text.delta"})
        self.assertEqual(types[-4:], ["output_text.done", "content_part.done", "output_item.done", "completed"])
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual((events[0].response.status, events[0].response.output), ("in_progress", []))

    def test_events_say_what_a_whole_response_says(self):
        for name in ("hello", "unicode", "thought", "call", "two calls", "thoughtful call"):
            with self.subTest(name):
                events = self.events(f"say {name}", tools=self.TOOLS)
                final, whole = events[-1].response, self.respond(f"say {name}", tools=self.TOOLS)
                self.assertEqual(final.status, "completed")
                self.assertEqual([i.type for i in final.output], [i.type for i in whole.output])
                self.assertEqual(final.output_text, whole.output_text)
                done = [e.item for e in events if e.type == "response.output_item.done"]
                self.assertEqual(done, final.output)
                added = [e.item.id for e in events if e.type == "response.output_item.added"]
                self.assertEqual(added, [item.id for item in final.output])
                for item in final.output:
                    deltas = "".join(e.delta for e in events if e.type.endswith(".delta") and e.item_id == item.id)
                    text = item.arguments if item.type == "function_call" else item.content[0].text
                    self.assertEqual(deltas, text)

    def test_events_of_a_call(self):
        types = [event.type.removeprefix("response.") for event in self.events("say two calls", tools=self.TOOLS)]
        call = [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        self.assertEqual(types, ["created", "in_progress", *call, *call, "completed"])

    def test_events_of_an_incomplete_response(self):
        events = self.events("say endless", max_output_tokens=3)
        self.assertEqual((events[-1].type, events[-1].response.status), ("response.incomplete", "incomplete"))

    def test_streamed_responses_are_kept(self):
        final = self.events()[-1].response
        self.assertEqual(CLIENT.responses.retrieve(final.id), final)

    def test_helper_of_the_client(self):
        with CLIENT.responses.stream(model=SPOKEN, input="say call", tools=self.TOOLS) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output[1].name, "get_weather")

    def test_refusals(self):
        for param, more in {
            "tools[0].type": {"tools": [{"type": "web_search"}]},
            "tool_choice": {"tools": self.TOOLS, "tool_choice": {"type": "web_search"}},
            "background": {"background": True},
            "truncation": {"truncation": "auto"},
            "reasoning.summary": {"reasoning": {"summary": "detailed"}},
            "conversation": {"conversation": "conv_1"},
            "prompt": {"prompt": {"id": "x"}},
            "input[0].type": {"input": [{"type": "item_reference", "id": "msg_1"}]},
            "input[0].content[0]": {
                "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]
            },
        }.items():
            with self.subTest(param):
                self.refused_for(param, **more)

    def test_errors(self):
        self.refused_for("input", MISSING, input=[])
        self.refused_for("input", TYPE, extra_body={"input": 5})
        self.refused_for("input[0]", VALUE, input=[{}])
        self.refused_for("input[0].role", VALUE, input=[{"role": "robot", "content": "x"}])
        self.refused_for("input[0]", VALUE, input=[{"type": "function_call", "name": "f"}])
        self.refused_for("foo", UNKNOWN, extra_body={"foo": 1})
        self.refused_for("max_output_tokens", VALUE, max_output_tokens=0)
        self.refused_for("max_tokens", UNKNOWN, extra_body={"max_tokens": 5})
        self.refused_for("input", "context_length_exceeded", input="x" * 9000)
        missing = lambda: CLIENT.responses.create(model="nope", input="x")
        self.refused(missing, 404, "model", "model_not_found")


class Cancel(Case):
    def test_closing_a_stream_ends_the_answer(self):
        stream = CLIENT.chat.completions.create(**said("say endless"), stream=True)
        for _, _ in zip(range(3), stream):
            pass
        stream.close()
        self.assertTrue(SERVICE.becomes_idle())

    def test_all_choices_end(self):
        stream = CLIENT.chat.completions.create(**said("say endless", n=4), stream=True)
        next(stream)
        stream.close()
        self.assertTrue(SERVICE.becomes_idle())

    def test_completions_and_responses(self):
        for start in (
            lambda: CLIENT.completions.create(model=SPOKEN, prompt="<|say endless|>", max_tokens=8000, stream=True),
            lambda: CLIENT.responses.create(model=SPOKEN, input="say endless", stream=True),
        ):
            stream = start()
            next(stream)
            stream.close()
            self.assertTrue(SERVICE.becomes_idle())

    def test_a_whole_reply(self):
        """The client gives up before the answer is there."""
        with self.assertRaises(openai.APITimeoutError):
            CLIENT.with_options(timeout=0.3).chat.completions.create(**said("say endless", n=8))
        self.assertTrue(SERVICE.becomes_idle())


class RealModel(Case):
    """With the models of the catalog in PANTRY_HOME, as in CI."""

    MODEL = "smollm2:135m"

    @classmethod
    def setUpClass(cls):
        if not service.has_model(cls.MODEL):
            raise unittest.SkipTest(f"{cls.MODEL} is not here")
        cls.server = service.Service(None)
        cls.addClassCleanup(cls.server.stop)
        cls.client = client_of(cls.server)
        cls.addClassCleanup(cls.client.close)

    def test_stream(self):
        options = said("Why is the sky blue?", model=self.MODEL, max_tokens=24)
        self.client.chat.completions.create(**options | {"max_tokens": 1})  # both find the prompt in memory
        whole = self.client.chat.completions.create(**options)
        stream = list(self.client.chat.completions.create(**options, stream=True))
        self.assertEqual(joined(stream)[0], whole.choices[0].message.content)

    def test_suffix(self):
        """Tokens to fill in the middle of a text, as models of code have them."""
        if not service.has_model("qwen2.5-coder:1.5b"):
            self.skipTest("qwen2.5-coder:1.5b is not here")
        reply = self.client.completions.create(
            model="qwen2.5-coder:1.5b",
            prompt="def add(a, b):\n    return ",
            suffix="\n\nprint(add(1, 2))\n",
            temperature=0,
            echo=True,
        )
        self.assertEqual(reply.choices[0].text, "def add(a, b):\n    return a + b")
        self.assertEqual(reply.choices[0].finish_reason, "stop")

    def test_infill(self):
        if not service.has_model("qwen2.5-coder:1.5b"):
            self.skipTest("qwen2.5-coder:1.5b is not here")
        body = {
            "model": "qwen2.5-coder:1.5b",
            "input_prefix": "def add(a, b):\n    return ",
            "input_suffix": "\n\nprint(add(1, 2))\n",
            "input_extra": [{"filename": "other.py", "text": "x = 1\n"}],
            "n_predict": 16,
            "temperature": 0,
        }
        status, _, reply = self.server.request("POST", "/infill", body)
        self.assertEqual(status, 200, reply)
        self.assertIn("a + b", reply["content"])
        self.assertIn("<|file_sep|>other.py\nx = 1\n", reply["prompt"])
        self.assertTrue(reply["prompt"].endswith("<|fim_middle|>"))
        del body["input_extra"]
        reply = self.server.request("POST", "/infill", body)[2]
        self.assertEqual(reply["content"], "a + b")
        self.assertEqual((reply["stop"], reply["stop_type"], reply["truncated"]), (True, "eos", False))
        self.assertEqual(reply["tokens_evaluated"], reply["timings"]["cache_n"] + reply["timings"]["prompt_n"])
        body["prompt"] = "a"
        self.assertTrue(self.server.request("POST", "/infill", body)[2]["content"].startswith(" + b"))
        lines = self.server.request("POST", "/infill", {**body, "stream": True})[2].split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        self.assertEqual([e["stop"] for e in events], [False] * (len(events) - 1) + [True])
        self.assertTrue("".join(e["content"] for e in events).startswith(" + b"))

    def test_infill_refusals(self):
        for fields, words in [
            ({}, "input_suffix: tiny has no tokens"),
            ({"input_prefix": ...}, "input_prefix is required"),
            ({"input_suffix": ...}, "input_suffix is required"),
            ({"input_extra": [{"filename": "x"}]}, "input_extra[0].text is required"),
            ({"grammar": "x"}, "grammar: not supported"),
            ({"model": ...}, "model is required"),
        ]:
            body = {"model": TINY, "input_prefix": "a", "input_suffix": "b", **fields}
            body = {k: v for k, v in body.items() if v is not ...}
            status, _, reply = SERVICE.request("POST", "/infill", body)
            self.assertEqual((status, words in reply["error"]["message"]), (400, True), reply)

    def test_pings_and_cancel_while_a_prompt_is_read(self):
        """Comments come before the first chunk; a client that leaves then frees the sequence."""
        options = said("word " * 6000, model=self.MODEL, stream=True)
        with self.client.chat.completions.with_streaming_response.create(**options) as reply:
            for line in reply.iter_lines():
                if line.startswith(": ping"):
                    break
                self.assertNotIn('"finish_reason":"', line)
            else:
                self.skipTest("this machine reads the prompt within a second")
        self.assertTrue(self.server.becomes_idle())


if __name__ == "__main__":
    unittest.main()
