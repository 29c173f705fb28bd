"""Anthropic's API of `pantry serve`, asked by its own Python client: fields, events, tools, thinking and errors."""

import json
import os
import socket
import sys
import tempfile
import threading
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import service  # noqa: E402
import spoken_model  # noqa: E402
import tiny_model  # noqa: E402

SPOKEN = spoken_model.SCRIPTS
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
PATHS = ("/v1/messages", "/v1/messages/count_tokens")


def setUpModule():
    global anthropic, types, FOLDER, SERVICE, CLIENT
    anthropic = service.client_library("anthropic")
    types = anthropic.types
    FOLDER = tempfile.TemporaryDirectory(prefix="pantry-anthropic-")
    files = {name: os.path.join(FOLDER.name, name) for name in ("spoken", "plain", "short", "tiny", "base")}
    spoken_model.write(files["spoken"])
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ raise_exception('no!') if false }}"
    spoken_model.write(files["plain"], template=plain)
    spoken_model.write(files["short"], n_context=512)
    tiny_model.write(files["tiny"])
    tiny_model.write(files["base"], template=False)
    SERVICE = service.Service(files)
    CLIENT = anthropic.Anthropic(base_url=SERVICE.url, api_key="none", max_retries=0, timeout=service.PATIENCE)


def tearDownModule():
    CLIENT.close()
    status = SERVICE.stop()
    FOLDER.cleanup()
    if status:
        raise AssertionError(f"the server ended with {status}")


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


class Case(unittest.TestCase):
    def body(self, content="say hello", **fields):
        messages = content if isinstance(content, list) and "role" in content[0] else [user(content)]
        body = {"model": "spoken", "max_tokens": 100, "messages": messages, "temperature": 0, **fields}
        return {key: value for key, value in body.items() if value is not ...}

    def create(self, content="say hello", **fields):
        """A message, by the client; what it has no parameter for goes into the body."""
        body = self.body(content, **fields)
        extra = {key: body.pop(key) for key in ("temperature", "top_p", "top_k") if key in body}
        return CLIENT.messages.create(**body, extra_body=extra)

    def events(self, content="say hello", **fields):
        return list(self.create(content, stream=True, **fields))

    def refused(self, words, content="say hello", status=400, kind="invalid_request_error", **fields):
        """Must be refused in Anthropic's shape, with a sentence that has these words."""
        got, headers, reply = SERVICE.request("POST", PATHS[0], self.body(content, **fields))
        self.assertEqual(got, status, reply)
        self.assertEqual(set(reply), {"type", "error"})
        self.assertEqual((reply["type"], reply["error"]["type"]), ("error", kind))
        self.assertIn(words, reply["error"]["message"])
        self.assertTrue(headers["request-id"].startswith("req_"))
        return reply["error"]["message"]

    def text(self, message):
        self.assertEqual([block.type for block in message.content], ["text"])
        return message.content[0].text

    def n_tokens(self, content, **fields):
        body = self.body(content, max_tokens=..., temperature=..., **fields)
        return CLIENT.messages.count_tokens(**body).input_tokens

    def longer(self, content, more, **fields):
        """How many tokens (bytes, with these models) a prompt has more than another one."""
        return self.n_tokens(more, **fields) - self.n_tokens(content, **fields)


class Messages(Case):
    def test_fields(self):
        m = self.create()
        self.assertRegex(m.id, r"^msg_[A-Za-z0-9]{24}$")
        self.assertEqual((m.type, m.role, m.model), ("message", "assistant", "spoken"))
        self.assertEqual((m.stop_reason, m.stop_sequence, m.stop_details), ("end_turn", None, None))
        self.assertEqual(self.text(m), SPOKEN["hello"])
        self.assertIsInstance(m, types.Message)
        types.Message.model_validate(m.model_dump(), strict=True)
        self.assertTrue(m._request_id.startswith("req_"))

    def test_raw_fields(self):
        status, headers, reply = SERVICE.request("POST", PATHS[0], self.body())
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("application/json"))
        wanted = "id type role model content stop_reason stop_sequence usage"
        self.assertEqual(set(reply), set(wanted.split()))
        self.assertEqual(reply["content"], [{"type": "text", "text": SPOKEN["hello"]}])
        types.Message.model_validate(reply, strict=True)

    def test_ids_differ(self):
        self.assertNotEqual(self.create().id, self.create().id)

    def test_usage(self):
        first, second = (self.create("say hello and be new"), self.create("say hello and be new"))
        n = self.n_tokens("say hello and be new")
        for m in (first, second):
            u = m.usage
            self.assertEqual(u.input_tokens + u.cache_read_input_tokens, n)
            self.assertEqual(u.cache_creation_input_tokens, 0)
            self.assertEqual(u.cache_creation.ephemeral_5m_input_tokens, 0)
            self.assertEqual(u.cache_creation.ephemeral_1h_input_tokens, 0)
            self.assertEqual(u.service_tier, "standard")
            self.assertGreater(u.output_tokens, 0)
        self.assertEqual(second.usage.input_tokens, 1)  # all but the token whose logits are needed

    def test_max_tokens(self):
        m = self.create("say endless", max_tokens=7)
        self.assertEqual((m.stop_reason, m.usage.output_tokens), ("max_tokens", 7))
        self.assertEqual(self.text(m), spoken_model.ENDLESS * 7)

    def test_max_tokens_0_only_reads_the_prompt(self):
        m = self.create("say hello, and read this", max_tokens=0)
        self.assertEqual((m.content, m.stop_reason, m.usage.output_tokens), ([], "max_tokens", 0))
        self.assertEqual(self.create("say hello, and read this").usage.input_tokens, 1)

    def test_context_window(self):
        m = self.create("say endless", model="short", max_tokens=5000)
        self.assertEqual(m.stop_reason, "model_context_window_exceeded")
        self.assertLess(m.usage.output_tokens, 512)

    def test_stop_sequence(self):
        m = self.create("say names", stop_sequences=["STOP"])
        self.assertEqual((m.stop_reason, m.stop_sequence), ("stop_sequence", "STOP"))
        self.assertEqual(self.text(m), "Ada, Grace, ")

    def test_one_of_several_stop_sequences(self):
        for stops, came, text in (
            (["nothing", "STOP"], "STOP", "Ada, Grace, "),
            (["Barbara", "Grace"], "Grace", "Ada, "),
            (["STOP", "OP", ", STOP"], ", STOP", "Ada, Grace"),
            (["a, G", "da, Gr", "a"], "a", "Ad"),
        ):
            for m in (
                self.create("say names", stop_sequences=stops),
                CLIENT.messages.stream(**self.body("say names", stop_sequences=stops, temperature=...)),
            ):
                if not isinstance(m, types.Message):
                    with m as stream:
                        m = stream.get_final_message()
                self.assertEqual((m.stop_reason, m.stop_sequence, self.text(m)), ("stop_sequence", came, text))
        self.assertEqual(self.create(stop_sequences=["nothing"]).stop_reason, "end_turn")

    def test_unicode(self):
        self.assertEqual(self.text(self.create("say unicode")), SPOKEN["unicode"])

    def test_sampling(self):
        for fields in (
            {"temperature": 1},
            {"top_p": 0.5},
            {"top_k": 1},
            {"top_p": 0},
            {"temperature": 0.3, "top_k": 9},
        ):
            self.assertEqual(self.text(self.create(**fields)), SPOKEN["hello"], fields)
        a, b = (self.text(self.create("x", model="tiny", temperature=1, top_k=1)) for _ in range(2))
        self.assertEqual(a, b)

    def test_fields_that_change_nothing(self):
        m = self.create(
            metadata={"user_id": "u"}, service_tier="auto", speed="standard", cache_control={"type": "ephemeral"}
        )
        self.assertEqual(self.text(m), SPOKEN["hello"])

    def test_beta_client(self):
        m = CLIENT.beta.messages.create(
            model="spoken",
            max_tokens=50,
            messages=[user("say hello")],
            betas=["context-management-2025-06-27"],
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        )
        self.assertEqual(m.content[0].text, SPOKEN["hello"])

    def test_async_client(self):
        import asyncio

        async def ask():
            async with anthropic.AsyncAnthropic(base_url=SERVICE.url, api_key="none", max_retries=0) as client:
                async with client.messages.stream(model="spoken", max_tokens=50, messages=[user("say hello")]) as s:
                    return "".join([text async for text in s.text_stream])

        self.assertEqual(asyncio.run(ask()), SPOKEN["hello"])

    def test_many_at_once(self):
        texts = [None] * 8

        def ask(i):
            texts[i] = self.text(self.create(f"say {'names' if i % 2 else 'hello'}"))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(texts, [SPOKEN["hello"], SPOKEN["names"]] * 4)


class Prompts(Case):
    """Token counts tell what the model was shown: a token is a byte."""

    def test_count_tokens(self):
        count = CLIENT.messages.count_tokens(model="spoken", messages=[user("say hello")])
        self.assertIsInstance(count, types.MessageTokensCount)
        self.assertEqual(self.longer("x", "xyz"), 2)
        status, _, reply = SERVICE.request("POST", PATHS[1], {"model": "spoken", "messages": [user("x")]})
        self.assertEqual((status, set(reply)), (200, {"input_tokens"}))

    def test_blocks_are_lines(self):
        blocks = [
            {"type": "text", "text": "ab"},
            {"type": "text", "text": "cd", "cache_control": {"type": "ephemeral"}},
        ]
        self.assertEqual(self.n_tokens(blocks), self.n_tokens("ab\ncd"))
        self.assertEqual(self.n_tokens([user("ab"), user("cd")]), self.n_tokens("ab\ncd"))

    def test_system(self):
        n = self.n_tokens("x", system="be good")
        self.assertEqual(n - self.n_tokens("x", system="be"), 5)
        self.assertEqual(self.n_tokens("x", system=[{"type": "text", "text": "be good"}]), n)
        self.assertEqual(self.n_tokens([{"role": "system", "content": "be good"}, user("x")]), n)
        self.assertEqual(self.n_tokens("x", system=""), self.n_tokens("x"))

    def test_tools_are_shown(self):
        one, two = (self.n_tokens("x", tools=[TIME]), self.n_tokens("x", tools=[TIME, WEATHER]))
        self.assertLess(self.n_tokens("x"), one)
        self.assertGreater(two - one, len(json.dumps(WEATHER["input_schema"])))
        self.assertEqual(self.n_tokens("x", tools=[TIME], tool_choice={"type": "none"}), self.n_tokens("x"))
        custom = {**TIME, "type": "custom", "cache_control": {"type": "ephemeral"}, "eager_input_streaming": True}
        self.assertEqual(self.n_tokens("x", tools=[custom]), one)

    def test_history_of_a_thinker(self):
        plain = [user("x"), assistant("ab"), user("y")]
        thought = [user("x"), assistant([{"type": "thinking", "thinking": "hm", "signature": "s"},
                                         {"type": "text", "text": "ab"}]), user("y")]  # fmt: skip
        self.assertEqual(self.longer(plain, thought), len("<think>\nhm\n</think>\n\n".encode()))
        hidden = [user("x"), assistant([{"type": "redacted_thinking", "data": "e"}, {"type": "text", "text": "ab"}])]
        self.assertEqual(self.n_tokens(hidden + [user("y")]), self.n_tokens(plain))

    def test_answer_continues_the_assistant(self):
        m = self.create([user("say hello"), assistant("Well,")])
        self.assertEqual(self.text(m), SPOKEN["else"])
        n, whole = (self.n_tokens([user("x")]), self.n_tokens([user("x"), assistant("Well,")]))
        self.assertEqual(whole - n, len("Well,"))
        for text in ("  Well,", "<tool_call>", "<", "|im_end|>", "a\n\nb"):
            self.assertEqual(self.text(self.create([user("say hello"), assistant(text)])), SPOKEN["else"])
        self.assertEqual(self.text(self.create([user("say hello"), assistant("")])), SPOKEN["hello"])

    def test_results(self):
        def history(**result):
            call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}}
            return [user("x"), assistant([call]), user([{"type": "tool_result", "tool_use_id": "toolu_1", **result}])]

        whole = self.n_tokens(history(content="noon"))
        self.assertEqual(self.n_tokens(history(content=[{"type": "text", "text": "noon"}])), whole)
        self.assertEqual(self.n_tokens(history(content="noon", is_error=False)), whole)
        self.assertEqual(self.n_tokens(history(content="noon", is_error=True)) - whole, len("Error: "))
        self.assertEqual(whole - self.n_tokens(history()), len("noon"))


class Models(Case):
    def test_list(self):
        names = sorted(("spoken", "plain", "short", "tiny", "base"))
        models = list(CLIENT.models.list())
        self.assertEqual(sorted(m.id for m in models), names)
        for m in models:
            type(m).model_validate(json.loads(m.model_dump_json(warnings="error")))
            self.assertEqual((m.type, m.display_name, m.lifecycle), ("model", m.id, "active"))

    def test_pages(self):
        names = [m.id for m in CLIENT.models.list()]
        page = CLIENT.models.list(limit=2)
        self.assertEqual([m.id for m in page.data], names[:2])
        self.assertEqual((page.has_more, page.first_id, page.last_id), (True, names[0], names[1]))
        self.assertEqual([m.id for m in CLIENT.models.list(limit=2)], names, "the client asks for the next page")
        last = CLIENT.models.list(limit=2, after_id=names[3])
        self.assertEqual(([m.id for m in last.data], last.has_more), (names[4:], False))
        back = CLIENT.models.list(limit=2, before_id=names[3])
        self.assertEqual(([m.id for m in back.data], back.has_more), (names[1:3], True))
        end = CLIENT.models.list(after_id=names[4])
        self.assertEqual((end.data, end.has_more, end.first_id, end.last_id), ([], False, None, None))
        self.assertEqual(CLIENT.models.list(before_id=names[0]).data, [])

    def test_one(self):
        self.assertEqual(CLIENT.models.retrieve("tiny").id, "tiny")
        with self.assertRaises(anthropic.NotFoundError) as caught:
            CLIENT.models.retrieve("nope")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")

    def test_refused(self):
        for query in ("limit=0", "limit=1001", "limit=x", "limit=", "after_id=nope", "before_id=nope"):
            status, _, reply = SERVICE.request(
                "GET", f"/v1/models?{query}", headers={"anthropic-version": "2023-06-01"}
            )
            self.assertEqual((status, reply["error"]["type"]), (400, "invalid_request_error"), query)

    def test_others_get_openais_shape(self):
        self.assertEqual(SERVICE.request("GET", "/v1/models")[2]["object"], "list")


class Stream(Case):
    def test_order_of_events(self):
        events = [e for e in self.events() if e.type != "ping"]
        kinds = [e.type for e in events]
        self.assertEqual(kinds[:2], ["message_start", "content_block_start"])
        self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(kinds[2:-3]), {"content_block_delta"})
        self.assertGreater(len(kinds), 6)
        self.assertIsInstance(events[0], types.RawMessageStartEvent)
        self.assertIsInstance(events[1], types.RawContentBlockStartEvent)
        self.assertIsInstance(events[2], types.RawContentBlockDeltaEvent)
        self.assertIsInstance(events[-3], types.RawContentBlockStopEvent)
        self.assertIsInstance(events[-2], types.RawMessageDeltaEvent)
        self.assertIsInstance(events[-1], types.RawMessageStopEvent)

    def test_start(self):
        m = self.events()[0].message
        self.assertRegex(m.id, "^msg_")
        self.assertEqual((m.role, m.type, m.model, m.content), ("assistant", "message", "spoken", []))
        self.assertEqual((m.stop_reason, m.stop_sequence, m.usage.output_tokens), (None, None, 0))
        self.assertEqual(m.usage.input_tokens, self.n_tokens("say hello"))

    def test_text(self):
        events = self.events()
        self.assertEqual((events[1].index, events[1].content_block.type, events[1].content_block.text), (0, "text", ""))
        deltas = [e.delta for e in events if e.type == "content_block_delta"]
        self.assertEqual({d.type for d in deltas}, {"text_delta"})
        self.assertEqual("".join(d.text for d in deltas), SPOKEN["hello"])

    def test_end(self):
        end = self.events("say names", stop_sequences=["STOP"])[-2]
        self.assertEqual((end.delta.stop_reason, end.delta.stop_sequence), ("stop_sequence", "STOP"))
        self.assertGreater(end.usage.output_tokens, 0)
        self.assertEqual(end.usage.cache_creation_input_tokens, 0)
        n = end.usage.input_tokens + end.usage.cache_read_input_tokens
        self.assertEqual(n, self.n_tokens("say names"))
        self.assertEqual(self.events("say endless", max_tokens=3)[-2].delta.stop_reason, "max_tokens")
        self.assertEqual(self.events(max_tokens=0)[-2].usage.output_tokens, 0)

    def test_names_of_events(self):
        """As lines: each event has its name and the same name as its type."""
        status, headers, text = SERVICE.request("POST", PATHS[0], self.body(stream=True))
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        self.assertEqual(headers["Cache-Control"], "no-cache")
        self.assertTrue(text.endswith("\n\n"))
        for event in text.strip().split("\n\n"):
            name, data = event.split("\n")
            self.assertEqual(name, "event: " + json.loads(data.removeprefix("data: "))["type"])

    def same(self, content, **fields):
        whole = self.create(content, **fields)
        body = self.body(content, **fields)
        extra = {"temperature": body.pop("temperature")}
        with CLIENT.messages.stream(**body, extra_body=extra) as stream:
            built = stream.get_final_message()
        for m in (whole, built):
            for block in m.content:
                if block.type == "tool_use":
                    self.assertRegex(block.id, r"^toolu_[A-Za-z0-9]+$")
                    block.id = "toolu_"
        a, b = (m.model_dump(exclude={"id", "usage"}, exclude_none=True) for m in (whole, built))
        for block in b["content"]:
            block.pop("parsed_output", None)
        self.assertEqual(a, b)
        self.assertEqual(whole.usage.output_tokens, built.usage.output_tokens)
        self.assertEqual(built.usage.input_tokens, 1)
        return whole

    def test_equals_the_message(self):
        for script in SPOKEN:
            with self.subTest(script):
                tools = [] if script in ("hello", "names") else [WEATHER, TIME]
                self.same(f"say {script}", tools=tools)

    def test_equals_the_message_of_a_model_with_weights(self):
        self.same("tell me something", model="tiny", max_tokens=60)

    def test_closing_it_ends_the_request(self):
        for _ in range(3):
            with CLIENT.messages.stream(model="spoken", max_tokens=8000, messages=[user("say endless")]) as stream:
                for _, event in zip(range(10), stream):
                    self.assertNotEqual(event.type, "message_stop")
        self.assertTrue(SERVICE.becomes_idle())

    def test_helpers_of_the_client(self):
        with CLIENT.messages.stream(model="spoken", max_tokens=50, messages=[user("say hello")]) as stream:
            kinds = {e.type for e in stream}
            self.assertEqual(stream.get_final_text(), SPOKEN["hello"])
        self.assertLessEqual({"text", "content_block_stop", "message_stop"}, kinds)


class Tools(Case):
    def test_call(self):
        m = self.create("say call", tools=[WEATHER])
        self.assertEqual(m.stop_reason, "tool_use")
        text, call = m.content
        self.assertEqual((text.type, text.text.strip()), ("text", "Let me look."))
        self.assertIsInstance(call, types.ToolUseBlock)
        self.assertEqual((call.name, call.input), ("get_weather", {"city": "Paris", "days": 2}))
        self.assertRegex(call.id, r"^toolu_[A-Za-z0-9]+$")

    def test_two_calls(self):
        m = self.create("say two calls", tools=[WEATHER, TIME])
        self.assertEqual([b.type for b in m.content], ["tool_use", "tool_use"])
        self.assertEqual([b.input for b in m.content], [{"city": "Rome"}, {}])
        self.assertNotEqual(m.content[0].id, m.content[1].id)

    def test_at_most_one(self):
        choice = {"type": "auto", "disable_parallel_tool_use": True}
        m = self.create("say two calls", tools=[WEATHER, TIME], tool_choice=choice)
        self.assertEqual([b.name for b in m.content], ["get_weather"])
        self.assertEqual(m.stop_reason, "tool_use")

    def test_events(self):
        events = self.events("say call", tools=[WEATHER])
        starts = [e for e in events if e.type == "content_block_start"]
        self.assertEqual([(e.index, e.content_block.type) for e in starts], [(0, "text"), (1, "tool_use")])
        self.assertEqual((starts[1].content_block.name, starts[1].content_block.input), ("get_weather", {}))
        deltas = [e.delta for e in events if e.type == "content_block_delta" and e.index == 1]
        self.assertEqual({d.type for d in deltas}, {"input_json_delta"})
        self.assertEqual(json.loads("".join(d.partial_json for d in deltas)), {"city": "Paris", "days": 2})
        self.assertEqual([e.index for e in events if e.type == "content_block_stop"], [0, 1])
        self.assertEqual(events[-2].delta.stop_reason, "tool_use")

    def test_round_trip(self):
        m = self.create("say call", tools=[WEATHER])
        result = {"type": "tool_result", "tool_use_id": m.content[1].id, "content": "Sunny"}
        messages = [user("say call"), m.to_param(), user([result])]
        m = self.create(messages, tools=[WEATHER])
        self.assertEqual((self.text(m), m.stop_reason), (SPOKEN["result"], "end_turn"))
        # The calls of the model are in the prompt as they were: only what is new is read.
        again = self.create([*messages, m.to_param(), user("say hello")], tools=[WEATHER])
        self.assertEqual(self.text(again), SPOKEN["hello"])
        self.assertLess(again.usage.input_tokens, 100)

    def test_two_results(self):
        m = self.create("say two calls", tools=[WEATHER, TIME])
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": b.name} for b in m.content]
        m = self.create([user("say two calls"), m.to_param(), user(results)], tools=[WEATHER, TIME])
        self.assertEqual(self.text(m), SPOKEN["result"])
        text = {"type": "text", "text": "say hello"}
        m = self.create([user("x"), assistant([{"type": "tool_use", "id": "a", "name": "get_time", "input": {}}]),
                         user([{"type": "tool_result", "tool_use_id": "a"}, text])])  # fmt: skip
        self.assertEqual(self.text(m), SPOKEN["hello"])

    def test_without_tools_a_call_is_text(self):
        for fields in ({}, {"tools": [WEATHER], "tool_choice": {"type": "none"}}):
            self.assertEqual(self.text(self.create("say call", **fields)), SPOKEN["call"])

    def test_tool_runner(self):
        """The client's own loop of calls and results."""
        asked = []

        @anthropic.beta_tool
        def get_weather(city: str, days: int) -> str:
            """The weather of a city."""
            asked.append((city, days))
            return "Sunny"

        run = CLIENT.beta.messages.tool_runner(
            model="spoken", max_tokens=100, tools=[get_weather], messages=[user("say call")]
        )
        self.assertEqual(run.until_done().content[0].text, SPOKEN["result"])
        self.assertEqual(asked, [("Paris", 2)])

    def test_refused(self):
        def tools(words, *given, **fields):
            self.refused(words, tools=list(given), **fields)

        tools('tools.0.type: "web_search_20250305"', {"type": "web_search_20250305", "name": "web_search"})
        tools('tools.1.type: "bash_20250124"', TIME, {"type": "bash_20250124", "name": "bash"})
        tools("tools.0.defer_loading", {**TIME, "defer_loading": True})
        tools("tools.0.input_examples", {**TIME, "input_examples": [{}]})
        tools("tools.0.allowed_callers", {**TIME, "allowed_callers": ["code_execution_20250825"]})
        tools("tools.0.name", {**TIME, "name": "no spaces"})
        tools("tools.0.input_schema", {"name": "x"})
        tools("unique", TIME, TIME)
        tools("tool_choice.name", TIME, tool_choice={"type": "tool", "name": "get_weather"})
        tools("tool_choice.tool.name", TIME, tool_choice={"type": "tool"})
        tools("tool_choice.type", TIME, tool_choice={"type": "maybe"})
        tools("does not support tools", TIME, model="plain")
        self.refused("tool_choice", tool_choice={"type": "auto"})


class Thinking(Case):
    ON = {"type": "enabled", "budget_tokens": 1024}

    def test_block(self):
        m = self.create("say thought", thinking=self.ON, max_tokens=2000)
        thought, text = m.content
        self.assertIsInstance(thought, types.ThinkingBlock)
        self.assertEqual((thought.thinking.strip(), text.text), ("They want a greeting.", "Good morning!"))
        self.assertIsInstance(thought.signature, str)
        self.assertEqual(self.create([user("say thought"), m.to_param(), user("say hello")]).stop_reason, "end_turn")

    def test_events(self):
        events = self.events("say thought", thinking=self.ON, max_tokens=2000)
        start = events[1].content_block
        self.assertEqual((start.type, start.thinking, start.signature), ("thinking", "", ""))
        kinds = [e.delta.type for e in events if e.type == "content_block_delta" and e.index == 0]
        self.assertEqual((set(kinds[:-1]), kinds[-1]), ({"thinking_delta"}, "signature_delta"))
        self.assertEqual([e.index for e in events if e.type == "content_block_stop"], [0, 1])

    def test_omitted(self):
        on = {**self.ON, "display": "omitted"}
        m = self.create("say thought", thinking=on, max_tokens=2000)
        self.assertEqual([(b.type) for b in m.content], ["thinking", "text"])
        self.assertEqual((m.content[0].thinking, m.content[1].text), ("", "Good morning!"))
        deltas = [e.delta.type for e in self.events("say thought", thinking=on, max_tokens=2000) if hasattr(e, "index")
                  and e.index == 0 and e.type == "content_block_delta"]  # fmt: skip
        self.assertEqual(deltas, ["signature_delta"])

    def test_before_a_call(self):
        m = self.create("say thoughtful call", tools=[TIME], thinking={"type": "adaptive"})
        self.assertEqual([b.type for b in m.content], ["thinking", "tool_use"])
        self.assertEqual((m.content[1].input, m.stop_reason), ({"zone": "UTC"}, "tool_use"))

    def test_template_is_told(self):
        def n(thinking):
            return self.n_tokens("x", thinking=thinking) - self.n_tokens("x")

        self.assertEqual(n({"type": "adaptive"}), len("thinking=True\n"))
        self.assertEqual(n(self.ON), len("thinking=True\n"))
        self.assertEqual(n({"type": "disabled"}), len("thinking=False\n"))

    def test_effort(self):
        n = self.n_tokens("x", output_config={"effort": "high"}) - self.n_tokens("x")
        self.assertEqual(n, len("effort=high\n"))
        self.refused("output_config.effort", output_config={"effort": "low"}, model="plain")

    def test_refused(self):
        self.refused("budget_tokens", thinking={"type": "enabled"})
        self.refused("budget_tokens", thinking={"type": "enabled", "budget_tokens": 10}, max_tokens=100)
        self.refused("must be greater than", thinking=self.ON, max_tokens=1024)
        self.refused("thinking.type", thinking={"type": "between_tools"})
        self.refused("thinking.display", thinking={"type": "adaptive", "display": "loud"})
        self.refused("thinking.depth", thinking={"type": "adaptive", "depth": 3})
        self.refused("cannot continue", [user("x"), assistant("y")], thinking=self.ON, max_tokens=2000)


class Errors(Case):
    def test_classes_of_the_client(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.create(model="absent")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")
        self.assertTrue(caught.exception.request_id.startswith("req_"))
        with self.assertRaises(anthropic.BadRequestError):
            self.create(temperature=2)
        with self.assertRaises(anthropic.NotFoundError):
            CLIENT.messages.count_tokens(model="absent", messages=[user("x")])

    def test_required(self):
        self.refused("max_tokens", max_tokens=...)
        self.refused("model", model=...)
        self.refused("messages", messages=...)
        self.refused("messages", messages=[])
        self.refused("absent", model="absent", status=404, kind="not_found_error")

    def test_wrong_values(self):
        for name, value in {
            "max_tokens": -1,
            "temperature": 1.5,
            "top_p": 2,
            "top_k": -1,
            "stop_sequences": "STOP",
            "stream": "yes",
            "system": 5,
            "tools": {},
            "tool_choice": "auto",
            "thinking": True,
            "metadata": "me",
            "messages": "hello",
            "model": 7,
        }.items():
            with self.subTest(name):
                self.refused(name, **{name: value})
        self.refused("stop_sequences.1", stop_sequences=["x", " \n"])

    def test_fields_are_refused_by_name(self):
        for name, value in {
            "container": "c",
            "mcp_servers": [{"type": "url"}],
            "inference_geo": "eu",
            "diagnostics": {"previous_message_id": "m"},
            "user_profile_id": "u",
            "workspace_id": "w",
            "speed": "fast",
            "service_tier": "priority",
            "output_config": {"format": {"type": "grammar"}},
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
            "seed": 1,
            "something_new": 1,
        }.items():
            with self.subTest(name):
                self.refused(name, **{name: value})

    def test_blocks(self):
        source = {"type": "base64", "media_type": "image/png", "data": "aaaa"}
        self.refused("messages: this model does not see pictures", [{"type": "image", "source": source}])
        self.refused('"document"', [{"type": "document", "source": source}])
        self.refused('"server_tool_use"', [{"type": "server_tool_use"}])
        self.refused("messages.0.content.0.type", [{"text": "x"}])
        self.refused("messages.0.content.0.text", [{"type": "text"}])
        self.refused("citations", [{"type": "text", "text": "x", "citations": [{}]}])
        self.refused("`tool_use` blocks are not allowed", [{"type": "tool_use", "id": "a", "name": "b", "input": {}}])
        self.refused("`thinking` blocks", [{"type": "thinking", "thinking": "x", "signature": ""}])
        self.refused("system.0.type", system=[{"type": "image", "source": source}])

    def test_messages(self):
        self.refused("messages.0.role", [{"role": "tool", "content": "x"}])
        self.refused("messages.0.content", [{"role": "user"}])
        self.refused("messages.1.name", [user("x"), {**user("y"), "name": "z"}])
        self.refused("trailing whitespace", [user("x"), assistant("y ")])
        self.refused("final block", [user("x"), assistant([{"type": "thinking", "thinking": "x", "signature": ""}])])

    def test_calls_and_results(self):
        call = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "a"}
        image = {"type": "image", "source": {}}
        self.refused("messages.0.content.0: unexpected `tool_use_id`", [user([result])])
        self.refused("messages.2: `tool_use` ids were found", [user("x"), assistant([call]), user("y")])
        self.refused("`tool_use` ids were found", [user("x"), assistant([call])])
        self.refused("unique", [user("x"), assistant([call, call]), user([result])])
        self.refused("input", [user("x"), assistant([{**call, "input": "{}"}])])
        self.refused("content.0.content.0.type", [user("x"), assistant([call]), user([{**result, "content": [image]}])])
        self.refused("is_error", [user("x"), assistant([call]), user([{**result, "is_error": "no"}])])
        self.refused("caller", [user("x"), assistant([{**call, "caller": {"type": "code_execution_20250825"}}])])

    def test_prompt_is_too_long(self):
        words = self.refused("prompt is too long: ", "x" * 9000)
        self.assertRegex(words, r"\d+ tokens")
        got = SERVICE.request("POST", PATHS[0], self.body("x" * 9000, stream=True))
        self.assertEqual((got[0], got[2]["error"]["type"]), (400, "invalid_request_error"))
        self.assertGreater(self.n_tokens("x" * 9000), 9000)

    def test_threads(self):
        """Clients send the whole conversation after this error; see Tools.test_tool_runner."""
        with self.assertRaises(anthropic.BadRequestError) as caught:
            CLIENT.beta.messages.create(model="spoken", max_tokens=5, messages=[user("x")], thread={"type": "create"})
        self.assertEqual(caught.exception.error_code, "thread_unsupported_request")

    def test_model_without_template(self):
        self.refused("chat template", model="base")

    def test_template_refuses(self):
        self.refused("Do not say raise!", "raise", model="tiny")

    def test_body(self):
        for body in (b"", b"{", b"[]", b'{"model": "spoken", "model": "spoken"}'):
            status, _, reply = SERVICE.request("POST", PATHS[0], body)
            self.assertEqual((status, reply["error"]["type"]), (400, "invalid_request_error"), reply)

    def test_paths(self):
        status, _, reply = SERVICE.request("GET", PATHS[0])
        self.assertEqual((status, reply["type"]), (405, "error"))
        status, _, reply = SERVICE.request("POST", "/v1/messages/batches", {})
        self.assertEqual((status, reply["error"]["type"]), (404, "not_found_error"))

    def test_too_large(self):
        address = urllib.parse.urlsplit(SERVICE.url)
        with socket.create_connection((address.hostname, address.port), service.PATIENCE) as s:
            s.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 999999999\r\n\r\n")  # fmt: skip
            reply = s.recv(65536).decode()
        self.assertRegex(reply, r"^HTTP/1.1 413 ")
        self.assertEqual(json.loads(reply.split("\r\n\r\n")[1])["error"]["type"], "request_too_large")

    def test_headers(self):
        for headers in ({"anthropic-version": "2023-06-01"}, {"anthropic-beta": "a,b"}, {"x-api-key": "secret"}):
            self.assertEqual(SERVICE.request("POST", PATHS[0], self.body(), headers)[0], 200)


class Waiting(Case):
    """Servers of their own: one that computes slowly, one that is soon full, one with little memory."""

    def serve(self, *arguments, n_context=8192):
        path = os.path.join(FOLDER.name, "own")
        spoken_model.write(path, n_context=n_context)
        own = service.Service({"spoken": path}, *arguments)
        self.addCleanup(own.stop)
        return own

    def test_pings_while_the_prompt_is_read(self):
        own = self.serve("--device", "ref", "--threads", "1")
        status, _, text = own.request("POST", PATHS[0], self.body("x" * 5000, stream=True))
        self.assertEqual(status, 200)
        names = [event.split("\n")[0].removeprefix("event: ") for event in text.strip().split("\n\n")]
        self.assertEqual(names[:2], ["message_start", "ping"])
        self.assertIn('event: ping\ndata: {"type":"ping"}\n', text)
        self.assertEqual(names[-1], "message_stop")

    def test_overloaded(self):
        own = self.serve("--max-requests", "1")
        client = anthropic.Anthropic(base_url=own.url, api_key="none", max_retries=0)
        self.addCleanup(client.close)
        with client.messages.stream(model="spoken", max_tokens=8000, messages=[user("say endless")]) as stream:
            next(iter(stream))
            with self.assertRaises(anthropic.InternalServerError) as caught:
                client.messages.create(model="spoken", max_tokens=5, messages=[user("say hello")])
        e = caught.exception
        self.assertEqual((e.status_code, e.body["error"]["type"]), (529, "overloaded_error"))
        self.assertIn("retry-after", e.response.headers)

    def test_error_in_mid_stream(self):
        """Of three answers without end, some find no more memory after they began."""
        own = self.serve("--memory", "5M", n_context=8000000)
        client = anthropic.Anthropic(base_url=own.url, api_key="none", max_retries=0)
        self.addCleanup(client.close)
        errors, texts = [], []

        def ask():
            text = ""
            try:
                with client.messages.stream(
                    model="spoken", max_tokens=200000, messages=[user("say endless")]
                ) as stream:
                    for more in stream.text_stream:
                        text += more
            except anthropic.APIStatusError as e:
                errors.append(e)
                texts.append(text)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue(errors)
        for e in errors:
            self.assertEqual((e.body["type"], e.body["error"]["type"]), ("error", "overloaded_error"))
            self.assertIn("memory", e.body["error"]["message"])
        self.assertTrue(any(texts))
        self.assertTrue(own.becomes_idle())


@unittest.skipUnless(service.has_model("smollm2:135m"), "smollm2:135m is not in the store")
class RealModel(Case):
    @classmethod
    def setUpClass(cls):
        cls.own = service.Service(None)
        cls.addClassCleanup(cls.own.stop)
        cls.client = anthropic.Anthropic(base_url=cls.own.url, api_key="none", max_retries=0)
        cls.addClassCleanup(cls.client.close)

    def ask(self, **fields):
        body = {"model": "smollm2:135m", "max_tokens": 24, "extra_body": {"temperature": 0}, **fields}
        body.setdefault("messages", [user("Name three fruits.")])
        return body

    def test_stream_equals_message(self):
        whole = self.client.messages.create(**self.ask())
        with self.client.messages.stream(**self.ask()) as stream:
            self.assertEqual(stream.get_final_text(), whole.content[0].text)
        self.assertGreater(len(whole.content[0].text), 10)
        self.assertEqual(stream.get_final_message().usage.output_tokens, whole.usage.output_tokens)

    def test_history_is_cached(self):
        first = self.client.messages.create(**self.ask())
        messages = [user("Name three fruits."), first.to_param(), user("And one more?")]
        second = self.client.messages.create(**self.ask(messages=messages))
        self.assertGreaterEqual(second.usage.cache_read_input_tokens, first.usage.input_tokens)
        self.assertLess(second.usage.input_tokens, 30)

    def test_continues_a_message(self):
        whole = self.client.messages.create(**self.ask()).content[0].text
        start = whole[: whole.rindex(" ")]
        rest = self.client.messages.create(**self.ask(messages=[user("Name three fruits."), assistant(start)]))
        self.assertTrue(rest.content[0].text.startswith(whole[len(start) :][:10]), (whole, rest.content))

    def test_tools_are_refused_without_a_template_for_them(self):
        with self.assertRaisesRegex(anthropic.BadRequestError, "does not support tools"):
            self.client.messages.create(**self.ask(tools=[TIME]))


if __name__ == "__main__":
    unittest.main()
