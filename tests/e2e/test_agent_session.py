"""A coding agent's long session: the client sends calls back in its own JSON, and only what is new is read.

The model's answers are tokens of three letters, and texts are read letter by letter, so an answer that comes back as
text alone is never what the model has in memory."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import unittest.mock

import service
import spoken_model

N_TURNS = 20
FRAME = 160  # letters that the template puts around a result and before an answer, at most
MODEL, DROPS = "spoken", "drops"
SYSTEM = "You are a coding agent. " + "Work carefully and keep the tests green. " * 40
STEPS = ["say edit", "say two calls", "say thoughtful edit", "say call", "say thoughtful call"]
NAMES = ("edit_file", "get_weather", "get_time")
# As many models have it: an answer may begin with a thought, which is shown until the next question.
TEMPLATE = """\
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call them with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content and loop.index0 > ns.last %}<think>
{{ m.reasoning_content.strip() }}
</think>

{% endif %}{{ m.content.strip() }}{% for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if messages[-1].content.startswith('say ') %}<|{{ messages[-1].content.split('.')[0] }}|>{% endif %}{% endif %}"""


def setUpModule():
    global FOLDER, FILES, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-agent-")
    FILES = {name: os.path.join(FOLDER, f"{name}.gguf") for name in (MODEL, DROPS)}
    spoken_model.write(FILES[MODEL], n_context=32768, template=TEMPLATE)
    never = TEMPLATE.replace("m.reasoning_content and", "false and")
    spoken_model.write(FILES[DROPS], n_context=32768, template=never)
    SERVICE = service.Service(FILES)


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


def result(turn):
    """What a tool says: it names the model's next answer."""
    return STEPS[turn % len(STEPS)] + ". " + f"line {turn} of a file that was read\n" * 5


def reordered(value):
    """The same JSON with the keys of all objects the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    return int(value) if isinstance(value, float) and value == int(value) else value


class Agent:
    """A client of one API: begins a conversation, asks, and sends results."""

    def __init__(self, server, **more):
        self.server, self.more = server, more
        self.client = None

    def close(self):
        if self.client:
            self.client.close()


class OpenAI(Agent):
    def __init__(self, server, model=MODEL, key="none", **more):
        super().__init__(server, **more)
        openai = service.client_library("openai")
        self.client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, timeout=service.PATIENCE)
        self.model = model
        self.messages = [{"role": "system", "content": SYSTEM}]
        schema = {"type": "object", "properties": {}}
        self.tools = [{"type": "function", "function": {"name": n, "parameters": schema}} for n in NAMES]

    def say(self, text):
        self.messages.append({"role": "user", "content": text})

    def ask(self):
        """(tokens of the prompt, of these cached, tokens of the answer)"""
        reply = self.client.chat.completions.create(
            model=self.model, messages=self.messages, tools=self.tools, temperature=0, **self.more
        )
        m, usage = reply.choices[0].message, reply.usage
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "arguments": json.dumps(reordered(json.loads(call.function.arguments)), indent=1),
                    "name": call.function.name,
                },
            }
            for call in m.tool_calls or []
        ]
        self.messages.append({"role": "assistant", "content": m.content, **({"tool_calls": calls} if calls else {})})
        return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens

    def answer_calls(self, text):
        for i, call in enumerate(self.messages[-1]["tool_calls"]):
            last = i == len(self.messages[-1]["tool_calls"]) - 1
            self.pending = [] if i == 0 else self.pending
            self.pending.append({"role": "tool", "tool_call_id": call["id"], "content": text if last else "done"})
        self.messages += self.pending


class Responses(OpenAI):
    def say(self, text):
        self.messages.append({"role": "user", "content": text})

    def ask(self):
        tools = [{"type": "function", "strict": False, **tool["function"]} for tool in self.tools]
        reply = self.client.responses.create(
            model=self.model, input=self.messages, tools=tools, temperature=0, store=False, **self.more
        )
        self.calls = []
        for item in reply.output:
            if item.type == "function_call":
                arguments = json.dumps(reordered(json.loads(item.arguments)), indent=1)
                self.messages.append(
                    {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": arguments}
                )
                self.calls.append(item.call_id)
            else:
                self.messages.append(item.model_dump(exclude_none=True))
        usage = reply.usage
        return usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens

    def answer_calls(self, text):
        for i, call_id in enumerate(self.calls):
            output = text if i == len(self.calls) - 1 else "done"
            self.messages.append({"type": "function_call_output", "call_id": call_id, "output": output})


class Anthropic(Agent):
    def __init__(self, server, model=MODEL, **more):
        super().__init__(server, **more)
        anthropic = service.client_library("anthropic")
        self.client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=service.PATIENCE)
        self.model, self.messages = model, []
        self.tools = [{"name": n, "input_schema": {"type": "object", "properties": {}}} for n in NAMES]

    def say(self, text):
        self.messages.append({"role": "user", "content": text})

    def ask(self):
        reply = self.client.messages.create(
            model=self.model,
            messages=self.messages,
            system=SYSTEM,
            tools=self.tools,
            max_tokens=1000,
            extra_body={"temperature": 0},
        )
        blocks = [block.model_dump(exclude_none=True) for block in reply.content]
        self.messages.append(
            {
                "role": "assistant",
                "content": [{**b, "input": reordered(b["input"])} if "input" in b else b for b in blocks],
            }
        )
        usage = reply.usage
        cached = usage.cache_read_input_tokens
        return usage.input_tokens + cached, cached, usage.output_tokens

    def answer_calls(self, text):
        calls = [b["id"] for b in self.messages[-1]["content"] if b["type"] == "tool_use"]
        blocks = [
            {"type": "tool_result", "tool_use_id": call, "content": text if i == len(calls) - 1 else "done"}
            for i, call in enumerate(calls)
        ]
        self.messages.append({"role": "user", "content": blocks})


class Ollama(Agent):
    """Its replies do not say what was cached; the counters of the service do."""

    def __init__(self, server, model=MODEL, **more):
        super().__init__(server, **more)
        self.model = model
        self.messages = [{"role": "system", "content": SYSTEM}]
        self.tools = [{"type": "function", "function": {"name": n, "parameters": {}}} for n in NAMES]

    def say(self, text):
        self.messages.append({"role": "user", "content": text})

    def ask(self):
        before = self.server.metric("prompt_tokens_cached_total")
        body = {
            "model": self.model,
            "messages": self.messages,
            "tools": self.tools,
            "stream": False,
            "options": {"temperature": 0},
        }
        status, _, reply = self.server.request("POST", "/api/chat", body)
        assert status == 200, reply
        message = reply["message"]
        message.pop("thinking", None)
        for call in message["tool_calls"]:
            call.pop("id")
            call["function"] = {"arguments": reordered(call["function"]["arguments"]), "name": call["function"]["name"]}
        self.messages.append(message)
        cached = self.server.metric("prompt_tokens_cached_total") - before
        return reply["prompt_eval_count"], int(cached), reply["eval_count"]

    def answer_calls(self, text):
        calls = self.messages[-1]["tool_calls"]
        for i in range(len(calls)):
            self.messages.append({"role": "tool", "content": text if i == len(calls) - 1 else "done"})


class Case(unittest.TestCase):
    def session(self, agent, n_turns=N_TURNS, first=0, known=0):
        """A question and a call in every answer to it: all of an answer is in memory when its result is read."""
        self.addCleanup(agent.close)
        if not first:
            agent.say("say edit")
        for turn in range(first, first + n_turns):
            n_prompt, n_cached, n_answer = agent.ask()
            new = len(result(turn - 1)) + 2 * FRAME if turn > first else n_prompt
            self.assertLessEqual(n_prompt - n_cached, new, f"turn {turn}")
            self.assertGreaterEqual(n_cached, known, f"turn {turn}")
            known = n_prompt + n_answer - 1
            agent.answer_calls(result(turn))
        return known


class Session(Case):
    def test_openai(self):
        self.session(OpenAI(SERVICE))

    def test_openai_responses(self):
        self.session(Responses(SERVICE))

    def test_anthropic(self):
        self.session(Anthropic(SERVICE))

    def test_ollama(self):
        self.session(Ollama(SERVICE))


class Templates(Case):
    def test_thoughts_go_with_the_next_question(self):
        """The turns of one question are shown without their thoughts after the next: once, they are read again."""
        agent = OpenAI(SERVICE)
        known = self.session(agent, 6)
        agent.messages.pop()
        agent.messages.pop()
        for question in range(3):
            agent.say(result(question))
            n_prompt, n_cached, n_answer = agent.ask()
            if question:
                self.assertLessEqual(n_prompt - n_cached, 6 * len(result(0)), "what is before the last question stays")
            known = n_prompt + n_answer - 1
            agent.answer_calls(result(question))
            self.session(agent, 4, first=question + 1, known=known)
            agent.messages.pop()
            agent.messages.pop()

    def test_a_template_without_thoughts(self):
        """Its prompt differs from what is in memory at each thought; what was before is not read again."""
        agent = OpenAI(SERVICE, DROPS)
        self.addCleanup(agent.close)
        agent.say("say edit")
        before = 0
        for turn in range(N_TURNS):
            n_prompt, n_cached, _ = agent.ask()
            self.assertGreaterEqual(n_cached, before - 1, turn)
            before = n_prompt
            agent.answer_calls(result(turn))


class Meaning(Case):
    """Only a turn that means the same is put back."""

    def changed(self, change, same=False, model=MODEL):
        agent = OpenAI(SERVICE, model)
        self.addCleanup(agent.close)
        agent.messages[0] = {"role": "system", "content": self.id() + SYSTEM}
        agent.say("say thoughtful edit")
        n_prompt, _, n_answer = agent.ask()
        agent.answer_calls(result(0))
        change(agent.messages[-2])
        cached = agent.ask()[1]
        if same:
            self.assertGreaterEqual(cached, n_prompt + n_answer - 1)
        else:
            self.assertLess(cached, n_prompt + n_answer - 1)

    def arguments(self, text):
        return lambda message: message["tool_calls"][0]["function"].update(arguments=text)

    def test_other_spaces_and_order(self):
        self.changed(self.arguments('{ "n":3,\n"path" : "b.c", "edits":[ ] }'), same=True)

    def test_another_form_of_a_number(self):
        self.changed(self.arguments('{"n": 3.0, "path": "b.c", "edits": []}'), same=True)

    def test_escapes(self):
        self.changed(self.arguments('{"n": 3, "path": "\\u0062.c", "edits": []}'), same=True)

    def test_white_space_of_the_text(self):
        self.changed(lambda message: message.update(content="\n"), same=True)

    def test_the_thought_comes_back(self):
        self.changed(lambda message: message.update(reasoning_content="The file is wrong."), same=True)

    def test_another_value(self):
        self.changed(self.arguments('{"n": 4, "path": "b.c", "edits": []}'))

    def test_another_type(self):
        self.changed(self.arguments('{"n": "3", "path": "b.c", "edits": []}'))

    def test_a_missing_value(self):
        self.changed(self.arguments('{"n": 3, "path": "b.c"}'))

    def test_what_is_not_json(self):
        self.changed(self.arguments('{"n": 3, '))

    def test_another_name(self):
        self.changed(lambda message: message["tool_calls"][0]["function"].update(name="get_time"))

    def test_another_text(self):
        self.changed(lambda message: message.update(content="I will not."))

    def test_another_thought(self):
        self.changed(lambda message: message.update(reasoning_content="The file is right."))

    def test_one_more_call(self):
        self.changed(lambda message: message["tool_calls"].append(message["tool_calls"][0]))

    def test_another_prompt_before_it(self):
        agent = OpenAI(SERVICE)
        self.addCleanup(agent.close)
        agent.messages[0] = {"role": "system", "content": self.id() + SYSTEM}
        agent.say("say edit")
        n_prompt, _, n_answer = agent.ask()
        agent.answer_calls(result(0))
        agent.messages[0]["content"] += "More."
        n_next, cached, _ = agent.ask()
        self.assertLess(cached, n_prompt)
        self.assertGreater(n_next, n_prompt + n_answer + len(result(0)), "the turn is read as text, letter by letter")


class Between(Case):
    """A conversation that goes on through another API."""

    def test_openai_to_anthropic_and_back(self):
        known = self.session(first := OpenAI(SERVICE), 4)
        second = Anthropic(SERVICE)
        self.addCleanup(second.close)
        for m in first.messages[1:]:
            if m["role"] == "user":
                second.say(m["content"])
            elif m["role"] == "assistant":
                text = [{"type": "text", "text": m["content"]}] if (m["content"] or "").strip() else []
                calls = [
                    {
                        "type": "tool_use",
                        "id": "toolu_" + call["id"].removeprefix("call_"),
                        "name": call["function"]["name"],
                        "input": json.loads(call["function"]["arguments"]),
                    }
                    for call in m["tool_calls"]
                ]
                second.messages.append({"role": "assistant", "content": text + calls})
            else:
                block = {
                    "type": "tool_result",
                    "tool_use_id": "toolu_" + m["tool_call_id"].removeprefix("call_"),
                    "content": m["content"],
                }
                if second.messages[-1]["role"] == "user":
                    second.messages[-1]["content"].append(block)
                else:
                    second.messages.append({"role": "user", "content": [block]})
        self.session(second, 4, first=4, known=known)

    def test_count_tokens_counts_the_same(self):
        agent = Anthropic(SERVICE)
        self.session(agent, 3)
        body = {"model": MODEL, "messages": agent.messages, "system": SYSTEM, "tools": agent.tools}
        counted = agent.client.messages.count_tokens(**body).input_tokens
        self.assertEqual(agent.ask()[0], counted)


class Kept(Case):
    """With a store and keys of its own, which a second service finds again."""

    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="pantry-agent-home-")
        self.addCleanup(shutil.rmtree, self.home)
        change = unittest.mock.patch.dict(os.environ, PANTRY_HOME=self.home)
        change.start()
        self.addCleanup(change.stop)
        subprocess.run([service.PANTRY, "import", FILES[MODEL], "--name", MODEL], check=True, capture_output=True)
        self.turns = os.path.join(self.home, "cache", "turns")

    def key(self, name):
        done = subprocess.run([service.PANTRY, "key", "add", name], check=True, capture_output=True, text=True)
        return done.stdout.split()[-1]

    def serve(self):
        server = service.Service(None, env={"PANTRY_CACHE": os.path.join(self.home, "cache")})
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server

    def again(self, agent, server, **more):
        """The same conversation with another service."""
        other = type(agent)(server, **more)
        other.messages = [dict(m) for m in agent.messages]
        self.addCleanup(other.close)
        return other

    def test_keys_share_nothing(self):
        one, two = self.key("one"), self.key("two")
        server = self.serve()
        agent = OpenAI(server, key=one)
        self.session(agent, 4)
        other = self.again(agent, server, key=two)
        n_other, cached, _ = other.ask()
        n_prompt = agent.ask()[0]
        self.assertEqual(cached, 0)
        self.assertGreater(n_other, n_prompt, "its own turns are put back, the other's are text")

    def test_after_a_restart(self):
        server = self.serve()
        agent = OpenAI(server)
        self.session(agent, 4)
        expected = self.again(agent, server).ask()[0]
        server.stop()
        self.assertEqual(os.stat(self.turns).st_mode & 0o777, 0o600)
        second = self.serve()
        self.assertEqual(self.again(agent, second).ask()[0], expected)
        second.stop()
        os.remove(self.turns)
        self.assertGreater(self.again(agent, self.serve()).ask()[0], expected, "without the file they are text")

    def test_a_damaged_file(self):
        server = self.serve()
        agent = OpenAI(server)
        self.session(agent, 4)
        expected = self.again(agent, server).ask()[0]
        server.stop()
        with open(self.turns, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        with open(self.turns, "wb") as file:
            file.write(b"\xff\0garbage\n" + b"".join(lines[:-1]) + lines[-1][:-40])
        server = self.serve()
        self.assertLessEqual(os.path.getsize(self.turns), sum(map(len, lines)), "what is damaged goes")
        self.assertEqual(self.again(agent, server).ask()[0], expected, "the turn that was torn is the last answer's")

    def test_nothing_is_read_again_after_a_restart(self):
        server = self.serve()
        if not re.search("pantry_prefix_(disk|cache)_", server.request("GET", "/metrics")[2]):
            self.skipTest("this service keeps no prefixes on disk")
        agent = OpenAI(server)
        known = self.session(agent, N_TURNS // 2)
        server.stop()
        self.session(self.again(agent, self.serve()), N_TURNS // 2, first=N_TURNS // 2, known=known - 32)


if __name__ == "__main__":
    unittest.main()
