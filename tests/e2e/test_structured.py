"""Answers that obey: schemas, grammars and calls, asked for with the unmodified clients of the three APIs and with the
commands, of a model with random weights at a temperature at which it says anything."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import service
import tiny_model

# Knows the calls of Hermes, and reasoning.
TEMPLATE = "{% if tools %}<tool_call>{% endif %}"
MODEL = "tiny"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
        "boss": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "age", "tags", "boss"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 6}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TIME = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
]
USER = [{"role": "user", "content": "hi"}]
WILD = {"temperature": 2, "top_k": 0, "min_p": 0, "top_p": 1}


def setUpModule():
    global FOLDER, PATH, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-structured-")
    PATH = os.path.join(FOLDER, "tiny.gguf")
    before = tiny_model.N_CONTEXT, tiny_model.TEMPLATE
    tiny_model.N_CONTEXT, tiny_model.TEMPLATE = 2048, TEMPLATE + tiny_model.TEMPLATE
    tiny_model.write(PATH)
    tiny_model.N_CONTEXT, tiny_model.TEMPLATE = before
    SERVICE = service.Service({MODEL: PATH})


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


class Case(unittest.TestCase):
    def check_person(self, text):
        person = json.loads(text)
        self.assertEqual(list(person), ["name", "age", "tags", "boss"])
        self.assertIsInstance(person["name"], str)
        self.assertLessEqual(len(person["name"]), 8)
        self.assertIs(type(person["age"]), int)
        self.assertIn(person["age"], range(151))
        self.assertLessEqual(len(person["tags"]), 3)
        self.assertLessEqual(set(person["tags"]), {"red", "green"})
        self.assertIn(person["boss"], (None, True, False))
        return person

    def check_city(self, arguments):
        self.assertEqual(list(arguments), ["city", "days"])
        self.assertLessEqual(len(arguments["city"]), 6)
        self.assertIn(arguments["days"], range(1, 10))

    def post(self, path, body, status=200):
        got, _, reply = SERVICE.request("POST", path, {"model": MODEL, **body})
        self.assertEqual(got, status, reply)
        return reply


class OpenAI(Case):
    def setUp(self):
        self.client = service.client_library("openai").OpenAI(
            base_url=f"{SERVICE.url}/v1", api_key="none", max_retries=0, timeout=120
        )

    def chat(self, seed=1, **more):
        return self.client.chat.completions.create(
            model=MODEL, messages=USER, seed=seed, max_tokens=600, temperature=2, top_p=1,
            extra_body={"top_k": 0, "min_p": 0}, **more
        )  # fmt: skip

    def format(self, schema=PERSON):
        return {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}

    def test_a_schema_is_always_obeyed(self):
        ages = set()
        for seed in range(0, 40, 8):
            for choice in self.chat(seed, n=8, response_format=self.format()).choices:
                self.assertEqual(choice.finish_reason, "stop")
                ages.add(self.check_person(choice.message.content)["age"])
        self.assertGreater(len(ages), 15)  # it is the model that chooses

    def test_parsing_with_pydantic(self):
        from pydantic import BaseModel, ConfigDict, Field
        from typing import Literal, Optional

        class Step(BaseModel):
            model_config = ConfigDict(extra="forbid")
            what: Literal["add", "subtract"]
            value: int = Field(ge=-9, le=9)

        class Answer(BaseModel):
            model_config = ConfigDict(extra="forbid")
            steps: list[Step] = Field(max_length=2)
            note: Optional[bool]

        for seed in range(6):
            message = self.client.chat.completions.parse(
                model=MODEL, messages=USER, seed=seed, max_tokens=600, temperature=2, response_format=Answer
            ).choices[0].message  # fmt: skip
            self.assertIsInstance(message.parsed, Answer)
            self.assertIsNone(message.refusal)
        reply = self.client.responses.parse(model=MODEL, input="hi", temperature=2, text_format=Answer)
        self.assertIsInstance(reply.output_parsed, Answer)

    def test_a_stream_says_the_same(self):
        whole = self.chat(response_format=self.format()).choices[0].message.content
        chunks = self.chat(response_format=self.format(), stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole)

    def test_any_object(self):
        for seed in range(6):
            choice = self.chat(seed, response_format={"type": "json_object"}).choices[0]
            self.assertTrue(choice.message.content.startswith("{"))
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)

    def test_cut_answers_say_so(self):
        reply = self.client.chat.completions.create(
            model=MODEL, messages=USER, max_tokens=5, response_format=self.format()
        )
        self.assertEqual(reply.choices[0].finish_reason, "length")

    def test_required_calls(self):
        names = set()
        for seed in range(12):
            choice = self.chat(seed, tools=TOOLS, tool_choice="required", parallel_tool_calls=False).choices[0]
            self.assertEqual((choice.finish_reason, choice.message.content), ("tool_calls", None))
            (call,) = choice.message.tool_calls
            names.add(call.function.name)
            arguments = json.loads(call.function.arguments)
            if call.function.name == "get_weather":
                self.check_city(arguments)
            else:
                self.assertIn(arguments["zone"], ("UTC", "CET"))
        self.assertEqual(names, {"get_weather", "get_time"})

    def test_a_named_call(self):
        named = {"type": "function", "function": {"name": "get_time"}}
        for seed in range(4):
            choice = self.chat(seed, tools=TOOLS, tool_choice=named, parallel_tool_calls=False).choices[0]
            self.assertEqual([c.function.name for c in choice.message.tool_calls], ["get_time"])
        reply = self.client.responses.create(
            model=MODEL, input="hi", temperature=2, parallel_tool_calls=False,
            tools=[{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS],
            tool_choice={"type": "function", "name": "get_weather"},
        )  # fmt: skip
        (call,) = reply.output
        self.check_city(json.loads(call.arguments))

    def test_grammars_of_other_engines(self):
        for fields, pattern in (
            ({"grammar": 'root ::= ("a" | "b"){3,5} "!"'}, "[ab]{3,5}!"),
            ({"regex": "[0-9]{3}-x+"}, "[0-9]{3}-x+"),
            ({"json_schema": {"enum": [1, "two"]}}, '1(\\.0+)?([eE][-+]?0+)?|"two"'),
        ):
            for path, prompt in (("/v1/completions", {"prompt": "x"}), ("/v1/chat/completions", {"messages": USER})):
                reply = self.post(path, {**prompt, **WILD, "max_tokens": 200, **fields})["choices"][0]
                text = reply["text"] if "text" in reply else reply["message"]["content"]
                self.assertRegex(text, f"^({pattern})$" if reply["finish_reason"] == "stop" else ".*")

    def test_refusals(self):
        def refused(param, **body):
            error = self.post("/v1/chat/completions", {"messages": USER, **body}, 400)["error"]
            self.assertEqual(error["param"], param, error)
            return error["message"]

        where = "response_format.json_schema.schema"
        message = refused(where, response_format=self.format({"properties": {"a": {"type": "nothing"}}}))
        self.assertIn("properties", message)
        where_it_is = self.format({"type": "object", "properties": {"a": {"$dynamicRef": "#a"}}})
        self.assertIn("properties/a", refused(where, response_format=where_it_is))
        refused("response_format.type", response_format={"type": "yaml"})
        refused("response_format.json_schema", response_format={"type": "json_schema"})
        refused("response_format.json_schema.extra", response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": {}, "extra": 1}})  # fmt: skip
        refused("grammar", grammar="root ::= missing")
        refused("regex", regex="(")
        refused("grammar", grammar='root ::= "a"', response_format={"type": "json_object"})
        refused("tool_choice", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "fly"}})


class Ollama(Case):
    def setUp(self):
        self.client = service.client_library("ollama").Client(host=SERVICE.url)

    def test_format(self):
        for seed in range(8):
            options = {**WILD, "seed": seed, "num_predict": 600}
            reply = self.client.chat(model=MODEL, messages=USER, format=PERSON, options=options)
            self.check_person(reply.message.content)
            self.assertEqual(reply.done_reason, "stop")
            self.check_person(self.client.generate(model=MODEL, prompt="x", format=PERSON, options=options).response)
        reply = self.client.generate(model=MODEL, prompt="x", format="json", options={**WILD, "num_predict": 60})
        self.assertTrue(reply.response.startswith("{"))

    def test_refusals(self):
        for words, body in {
            "format: ": {"format": "yaml"},
            "format: #/type": {"format": {"type": "nothing"}},
        }.items():
            reply = self.post("/api/chat", {"messages": USER, **body}, 400)
            self.assertIn(words, reply["error"])


class Anthropic(Case):
    def setUp(self):
        self.client = service.client_library("anthropic").Anthropic(
            base_url=SERVICE.url, api_key="none", max_retries=0, timeout=120
        )
        self.tools = [{"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS]

    def create(self, **more):
        return self.client.messages.create(model=MODEL, max_tokens=600, messages=USER, **more)

    def test_forced_calls(self):
        for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
            for _ in range(4):
                choice["disable_parallel_tool_use"] = True
                message = self.create(tools=self.tools, tool_choice=choice)
                (block,) = message.content
                self.assertEqual((block.type, message.stop_reason), ("tool_use", "tool_use"))
                if block.name == "get_weather":
                    self.check_city(block.input)
                else:
                    self.assertEqual(choice["type"], "any")

    def test_output_schema(self):
        body = {
            "max_tokens": 600,
            "messages": USER,
            "output_config": {"format": {"type": "json_schema", "schema": PERSON}},
        }
        for _ in range(4):
            (block,) = self.post("/v1/messages", body)["content"]
            self.check_person(block["text"])


class FormOrCalls(Case):
    """With tools on `auto`, an answer is calls or what the form says."""

    def kind_of(self, content, calls):
        if not calls:
            self.check_person(content)
            return "form"
        self.assertFalse(content)
        for name, arguments in calls:
            if name == "get_weather":
                self.check_city(arguments)
            else:
                self.assertIn(arguments["zone"], ("UTC", "CET"))
        return "calls"

    def test_chat_completions(self):
        kinds = []
        for seed in range(24):
            body = {"messages": USER, **WILD, "seed": seed, "max_tokens": 900, "tools": TOOLS}
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}
            choice = self.post("/v1/chat/completions", {**body, "parallel_tool_calls": False})["choices"][0]
            calls = [c["function"] for c in choice["message"].get("tool_calls") or []]
            calls = [(c["name"], json.loads(c["arguments"])) for c in calls]
            kinds.append(self.kind_of(choice["message"]["content"], calls))
            self.assertEqual(choice["finish_reason"], "tool_calls" if calls else "stop")
        self.assertEqual(set(kinds), {"form", "calls"})
        body["tool_choice"] = "none"
        for seed in range(4):  # only the form is left
            choice = self.post("/v1/chat/completions", {**body, "seed": seed})["choices"][0]
            self.check_person(choice["message"]["content"])
        body["tool_choice"] = "required"
        for seed in range(4):  # only calls are left
            body["parallel_tool_calls"] = False
            choice = self.post("/v1/chat/completions", {**body, "seed": seed})["choices"][0]
            self.assertEqual((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))

    def test_the_other_apis(self):
        kinds = {"ollama": set(), "anthropic": set(), "responses": set()}
        anthropic_tools = [{"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS]
        for seed in range(16):
            options = {**WILD, "seed": seed, "num_predict": 900}
            reply = self.post(
                "/api/chat",
                {"messages": USER, "format": PERSON, "tools": TOOLS, "options": options, "stream": False},
            )["message"]
            calls = [(c["function"]["name"], c["function"]["arguments"]) for c in reply.get("tool_calls", [])]
            kinds["ollama"].add(self.kind_of(reply["content"], calls))
            form = {"format": {"type": "json_schema", "schema": PERSON}}
            body = {"max_tokens": 900, "messages": USER, "tools": anthropic_tools, "output_config": form}
            blocks = self.post("/v1/messages", body)["content"]
            texts = "".join(b["text"] for b in blocks if b["type"] == "text")
            calls = [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
            kinds["anthropic"].add(self.kind_of(texts, calls))
            body = {"input": "hi", "temperature": 2, "seed": seed, "max_output_tokens": 900}
            body["tools"] = [{"type": "function", **t["function"]} for t in TOOLS]
            body["text"] = {"format": {"type": "json_schema", "name": "p", "schema": PERSON}}
            items = self.post("/v1/responses", body)["output"]
            texts = "".join(p["text"] for i in items if i["type"] == "message" for p in i["content"])
            calls = [(i["name"], json.loads(i["arguments"])) for i in items if i["type"] == "function_call"]
            kinds["responses"].add(self.kind_of(texts, calls))
        for api, found in kinds.items():
            self.assertEqual(found, {"form", "calls"}, api)

    def test_a_free_tool_with_a_schema_that_cannot_be_kept(self):
        """It does not make the form impossible; the calls of that tool are free."""
        loose = {"name": "odd", "parameters": {"type": "object", "properties": {"a": {"disallow": "null"}}}}
        body = {"messages": USER, "format": PERSON, "tools": [{"type": "function", "function": loose}]}
        for seed in range(8):
            options = {**WILD, "seed": seed, "num_predict": 900}
            reply = self.post("/api/chat", {**body, "options": options, "stream": False})
            if reply["done_reason"] == "stop" and not reply["message"].get("tool_calls"):
                self.check_person(reply["message"]["content"])


class Dialects(unittest.TestCase):
    """Calls that are forced, and forms, in dialects of other kinds: markers that are control tokens, answers that are
    messages with headers, arguments that are not JSON."""

    # the name, what makes templates of the dialect, and control tokens
    DIALECTS = [
        (
            "harmony",
            "<|channel|><|message|>",
            "<|channel|> <|message|> <|start|> <|end|> <|constrain|> <|return|> <|call|>".split(),
        ),
        ("gemma4", "<|tool_call>call:", ["<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"]),
        ("muse", "<atem:function_calls>", ["<|start|>", "<|message|>", "<|eom|>"]),
        ("lfm2", "<|tool_call_start|>", ["<|tool_call_start|>", "<|tool_call_end|>"]),
        ("kimi-k3", "<|open|><|close|><|sep|>", ["<|open|>", "<|close|>", "<|sep|>"]),
        ("minimax-m3", "]<]minimax[>[", []),
        ("deepseek-v3.2", "\uff5cDSML\uff5ctool_calls>", []),
        ("deepseek", "<\uff5ctool\u2581calls\u2581begin\uff5c>", ["<\uff5ctool\u2581calls\u2581begin\uff5c>"]),
        ("mistral", "[TOOL_CALLS]", ["[TOOL_CALLS]"]),
        ("solar", "<|tool_call:begin|>", ["<|tool_calls|>", "<|tool_call:begin|>", "<|tool_call:end|>"]),
    ]
    COUNT = {
        "type": "object",
        "properties": {
            "zone": {"enum": ["UTC", "CET"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "on": {"type": "boolean"},
        },
        "required": ["zone", "on"],
        "additionalProperties": False,
    }
    TOOLS = [
        {"type": "function", "function": {"name": "count", "parameters": COUNT}},
        {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
    ]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="pantry-dialects-")
        paths = {}
        before = tiny_model.N_CONTEXT, tiny_model.TEMPLATE
        for name, needle, controls in cls.DIALECTS:
            tiny_model.N_CONTEXT, tiny_model.CONTROLS = 2048, controls
            tiny_model.TEMPLATE = "{# tools: " + needle + " #}" + before[1]
            paths[name] = os.path.join(cls.folder, f"{name}.gguf")
            tiny_model.write(paths[name])
        tiny_model.N_CONTEXT, tiny_model.TEMPLATE = before
        tiny_model.CONTROLS = []
        cls.service = service.Service(paths)

    @classmethod
    def tearDownClass(cls):
        cls.service.stop()
        shutil.rmtree(cls.folder)

    def choice(self, model, seed, **more):
        body = {"model": model, "messages": USER, **WILD, "seed": seed, "max_tokens": 1200, **more}
        status, _, reply = self.service.request("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, (model, reply))
        return reply["choices"][0]

    def check(self, call):
        function = call["function"]
        arguments = json.loads(function["arguments"])
        self.assertIn(arguments["zone"], ("UTC", "CET"))
        if function["name"] == "count":
            self.assertIsInstance(arguments["on"], bool)
            self.assertIn(arguments.get("days", 1), range(1, 10))
        return function["name"]

    def test_forced_calls(self):
        for name, *_ in self.DIALECTS:
            names = set()
            for seed in range(8):
                choice = self.choice(
                    name, seed, tools=self.TOOLS, tool_choice="required", parallel_tool_calls=False, think_budget=5
                )
                message = choice["message"]
                self.assertEqual((choice["finish_reason"], message["content"]), ("tool_calls", None), (name, choice))
                names.add(self.check(message["tool_calls"][0]))
            self.assertEqual(names, {"count", "get_time"}, name)

    def test_a_form_or_calls(self):
        form = {"type": "json_schema", "json_schema": {"name": "t", "schema": TIME}}
        for name, *_ in self.DIALECTS:
            kinds = set()
            for seed in range(12):
                choice = self.choice(
                    name, seed, tools=self.TOOLS, response_format=form, parallel_tool_calls=False, think_budget=5
                )
                message = choice["message"]
                for call in message.get("tool_calls") or []:
                    self.check(call)
                if not message.get("tool_calls"):
                    self.assertEqual(set(json.loads(message["content"])) - {"zone"}, set(), name)
                kinds.add("calls" if message.get("tool_calls") else "form")
            self.assertEqual(kinds, {"calls", "form"}, name)

    def test_models_without_a_format_of_calls_refuse(self):
        template = "{{ tools }}" + tiny_model.TEMPLATE
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "plain.gguf")
            before, tiny_model.TEMPLATE = tiny_model.TEMPLATE, template
            tiny_model.write(path)
            tiny_model.TEMPLATE = before
            server = service.Service({"plain": path})
            try:
                body = {"model": "plain", "messages": USER, "tools": self.TOOLS}
                for more, param in (
                    ({"tool_choice": "required"}, "tool_choice"),
                    ({"response_format": {"type": "json_object"}}, "tools"),
                ):
                    status, _, reply = server.request("POST", "/v1/chat/completions", {**body, **more})
                    self.assertEqual((status, reply["error"]["param"]), (400, param), reply)
                    self.assertIn('its format is "plain"', reply["error"]["message"])
            finally:
                server.stop()


class Strict(Case):
    def test_calls_obey_from_the_marker_on(self):
        """The answer begins with text of the test that ends in the marker; what follows is the model's."""
        tools = [{"type": "function", "function": {**t["function"], "strict": True}} for t in TOOLS]
        body = {"messages": USER, "tools": tools, "begin": "I look.\n<tool_call>", "max_tokens": 400, **WILD}
        for seed in range(8):
            choice = self.post("/v1/chat/completions", {**body, "seed": seed, "parallel_tool_calls": False})["choices"][
                0
            ]
            call = choice["message"]["tool_calls"][0]["function"]
            self.assertEqual(choice["message"]["content"].strip(), "I look.")
            if call["name"] == "get_weather":
                self.check_city(json.loads(call["arguments"]))
            else:
                self.assertIn(json.loads(call["arguments"])["zone"], ("UTC", "CET"))


class Commands(Case):
    def run_pantry(self, *arguments):
        pantry = os.environ.get("PANTRY", os.path.join(service.ROOT, "build", "pantry"))
        done = subprocess.run(
            [pantry, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    def test_forms(self):
        schema, gbnf = os.path.join(FOLDER, "schema.json"), os.path.join(FOLDER, "some.gbnf")
        with open(schema, "w") as file:
            json.dump(PERSON, file)
        with open(gbnf, "w") as file:
            file.write('root ::= "yes" | "no"\n')
        wild = ("--temp", "2", "--top-k", "0", "--min-p", "0", "-n", "600")
        for seed in range(3):
            made = self.run_pantry("generate", PATH, "-p", "x", "--json-schema", schema, "--seed", str(seed), *wild)
            self.check_person(made[1])
        self.assertIn(self.run_pantry("generate", PATH, "-p", "x", "--grammar", gbnf, *wild)[1].strip(), ("yes", "no"))
        self.assertRegex(self.run_pantry("generate", PATH, "-p", "x", "--regex", "[ab]{4}", *wild)[1], "^[ab]{4}\n$")
        made = self.run_pantry("run", "--local", PATH, "x", "--regex", "[0-9]{4}", *wild)
        self.assertRegex(made[1], "^[0-9]{4}\n")

    def test_mistakes(self):
        status, _, err = self.run_pantry("generate", PATH, "-p", "x", "--regex", "[", "--json-schema", "none")
        self.assertEqual(status, 2)
        self.assertIn("exclude each other", err)
        status, _, err = self.run_pantry("generate", PATH, "-p", "x", "--regex", "a(")
        self.assertEqual(status, 1)
        self.assertIn("a(", err)


if __name__ == "__main__":
    unittest.main()
