#!/usr/bin/env python3
"""Renders the chat templates of real models with conversations of every shape, and compares with Python's jinja2.

usage: chat_templates.py [--driver FILE] [--show N] [TEMPLATE.jinja...]

Without arguments: the templates in data/chat-templates (PANTRY_TEST_DATA). Each is rendered with every conversation and
every set of flags below: offered tools, reasoning in all its field names, calls with arguments as objects and as text,
content as a list or missing, roles that a template does not know. Output must be equal; where jinja2 raises, the text
of the exception must be. Needs: jinja2.
"""

import argparse
import copy
import glob
import json
import os
import subprocess
import sys
import warnings

from jinja_programs import environment


def tool(name, parameters, description="A tool."):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, id_="abc123456"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content, **more):
    return {"role": "tool", "content": content, **more}


ONE_TOOL = [
    tool(
        "get_weather",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": 'City "name" <b>\n& more'},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            },
            "required": ["city"],
        },
        "Current weather — naïve ☀",
    )
]
SOME_TOOLS = ONE_TOOL + [
    tool(
        "multi",
        {
            "type": "object",
            "properties": {
                "a": {"type": ["integer", "null"], "minimum": -1.5e-07},
                "list": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"$ref": "#/$defs/y"}}},
                },
                "u": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "e": {"type": "object", "additionalProperties": True},
                "b": {"type": "boolean", "default": False},
                "n": {"default": None},
            },
            "required": [],
            "$defs": {"y": {"type": "string"}},
        },
    ),
    {"type": "function", "function": {"name": "bare"}},
    {
        "type": "function",
        "function": {
            "name": "noprops",
            "description": "x",
            "parameters": {"type": "object", "properties": {}},
            "return": {"type": "string"},
        },
    },
]
FLAT_TOOL = [
    {
        "name": "flat",
        "description": "flat tool",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    }
]
CONVERSATIONS = {
    "u": [user("Hi")],
    "empty": [],
    "emptyuser": [user("")],
    "noneuser": [user(None)],
    "sysonly": [system("S")],
    "sysu": [system("You are.\n\n"), user(" hi \n")],
    "uau": [user("a"), assistant("b"), user("c")],
    "uaend": [user("a"), assistant("b")],
    "uaempty": [user("a"), assistant(""), user("q")],
    "uanone": [user("a"), assistant(None), user("q")],
    "uu": [user("a"), user("b")],
    "startsa": [assistant("b"), user("c")],
    "syslate": [user("a"), system("late"), user("c")],
    "syssys": [system("1"), system("2"), user("3")],
    "dev": [{"role": "developer", "content": "D"}, user("x")],
    "unknownrole": [{"role": "critic", "content": "D"}, user("x")],
    "reason": [user("a"), assistant("b", reasoning_content="because\n\n"), user("c")],
    "reasonend": [user("a"), assistant("", reasoning_content="I'm")],
    "reason2": [
        user("a"),
        assistant("b", reasoning="r"),
        user("c"),
        assistant("d", thinking="t2"),
        user("e"),
        assistant("f", thought="x"),
    ],
    "inline": [
        user("a"),
        assistant("<think>\nfoo\n</think>\n\nbar"),
        user("c"),
        assistant("<think>baz</think>"),
        user("d"),
    ],
    "inlineunclosed": [user("a"), assistant("bar</think>rest</think>x"), user("c"), assistant("<think>")],
    "call": [
        user("w?"),
        assistant("", tool_calls=[call("get_weather", {"city": 'Zürich "x"', "n": [1, 2.5, None, True, {"k": "v"}]})]),
        result('{"t": 1}', tool_call_id="abc123456", name="get_weather"),
    ],
    "callstr": [
        user("w?"),
        assistant(None, tool_calls=[call("get_weather", '{"city": "P"}')]),
        result("ok", tool_call_id="abc123456"),
    ],
    "callreason": [
        user("w?"),
        assistant(
            "I will",
            reasoning_content="think",
            tool_calls=[call("get_weather", {"city": "P"}), call("multi", {}, "def123456")],
        ),
        result("1", name="get_weather"),
        result("2", name="multi"),
        assistant("Done"),
        user("next"),
    ],
    "callreason2": [
        system("x"),
        user("w?"),
        assistant("", reasoning_content="t1", tool_calls=[call("get_weather", {"city": "P"})]),
        result("1", name="get_weather", tool_call_id="abc123456"),
        assistant("", reasoning_content="t2", tool_calls=[call("multi", {"a": 1, "e": {"z": []}}, "id1234567")]),
        result("r", tool_call_id="id1234567"),
    ],
    "callnoid": [
        user("w?"),
        assistant("", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": {}}}]),
        result("x"),
    ],
    "callflat": [user("w?"), assistant("", tool_calls=[{"name": "f", "arguments": {"a": "b"}}]), result("x")],
    "callnocontent": [
        user("w?"),
        {"role": "assistant", "tool_calls": [call("f", {"a": 1e22, "b": -0.0, "c": 1234567890123456789})]},
        result("x"),
    ],
    "callempty": [user("w?"), assistant("x", tool_calls=[]), user("y")],
    "callnone": [user("w?"), assistant("x", tool_calls=None), user("y")],
    "toolfirst": [result("x")],
    "toollist": [
        user("a"),
        assistant("", tool_calls=[call("f", {})]),
        result([{"type": "text", "text": "part1"}, {"type": "text", "text": "part2"}]),
    ],
    "tooldict": [user("a"), assistant("", tool_calls=[call("f", {})]), result({"a": 1, "b": [None, True]})],
    "toolnone": [user("a"), assistant("", tool_calls=[call("f", {})]), result(None)],
    "tooljson": [user("a"), assistant("", tool_calls=[call("f", {})]), result("[1, 2]"), result("true"), user("b")],
    "parts": [
        user(
            [
                {"type": "text", "text": "one"},
                {"type": "image_url", "image_url": {"url": "http://x"}},
                {"type": "text", "text": "two"},
            ]
        )
    ],
    "parts2": [
        system([{"type": "text", "text": "sys"}]),
        user([{"type": "image"}, {"type": "video"}, {"type": "audio"}, {"type": "text", "text": "t"}]),
        assistant([{"type": "text", "text": "ans"}]),
        user("z"),
    ],
    "partsempty": [user([])],
    "partsodd": [user([{"type": "weird"}, {"text": "no type"}, "str"])],
    "partsinput": [
        user(
            [
                {"type": "input_audio", "input_audio": {"data": "x"}},
                {"type": "video", "video": "v"},
                {"type": "document", "document": {"data": "d"}},
            ]
        )
    ],
    "special": [system("<|im_start|>{{ x }}"), user("<s></s> <|eot_id|> \u2028 \xa0 \x7f é 日本 😀\r\n\t")],
    "ipython": [user("a"), {"role": "ipython", "content": "out"}, user("b")],
    "function": [user("a"), {"role": "function", "name": "f", "content": "out"}],
    "tooldefs": [system("x"), user("y"), {"role": "user", "content": "z", "extra": 1}],
    "numcontent": [user(5)],
    "nocontent": [{"role": "user"}],
    "norole": [{"content": "x"}],
    "long": [system("S")]
    + [m for i in range(6) for m in (user("q%d" % i), assistant("a%d" % i, reasoning_content="r%d" % i))]
    + [user("end")],
    "name": [
        {"role": "user", "name": "Bob", "content": "hi"},
        assistant("yo", name="Al"),
        {"role": "user", "name": "Eve", "content": "x"},
    ],
}
FLAGS = [
    {},
    {"tools": ONE_TOOL},
    {"tools": SOME_TOOLS},
    {"tools": FLAT_TOOL},
    {"tools": []},
    {"tools": None},
    {"enable_thinking": False},
    {"enable_thinking": True},
    {"thinking": True, "reasoning_effort": "high"},
    {"add_generation_prompt": False},
    {
        "tools": SOME_TOOLS,
        "add_generation_prompt": False,
        "enable_thinking": True,
        "preserve_thinking": True,
        "clear_thinking": False,
    },
    {
        "tools": ONE_TOOL,
        "enable_thinking": False,
        "documents": [
            {"title": "D1", "text": "Body", "doc_id": 1},
            {"title": "D2", "text": "More", "contents": "c", "source": "s"},
        ],
        "available_tools": ONE_TOOL,
        "custom_tools": ONE_TOOL,
        "builtin_tools": ["web_search", "code_interpreter", "python"],
        "tools_in_user_message": False,
        "date_string": "01 Jan 2026",
        "controls": {"length": "long", "originality": "x"},
        "reasoning": "on",
        "keep_past_thinking": True,
        "force_reasoning": True,
        "tool_choice": "auto",
        "thinking_budget": 0,
        "xml_tools": ONE_TOOL,
        "python_tools": ONE_TOOL,
        "reasoning_effort": "low",
        "model_identity": "M",
        "response_format": {"type": "json"},
        "add_vision_id": True,
        "citations": True,
        "safety_mode": "none",
    },
]


def contexts():
    for messages in CONVERSATIONS.values():
        for flags in FLAGS:
            yield {
                "messages": messages,
                "add_generation_prompt": True,
                "bos_token": "<s>",
                "eos_token": "</s>",
                **flags,
            }


def expected(template, context):
    try:
        return {"output": template.render(**copy.deepcopy(context))}
    except RecursionError:
        return None
    except Exception as error:
        text = str(error)
        return {"error": text if type(error).__name__ == "TemplateError" else f"{type(error).__name__}: {text}"}


def main():
    warnings.simplefilter("ignore")
    arguments = argparse.ArgumentParser()
    arguments.add_argument(
        "--driver", default=os.path.join(os.environ.get("BUILD", "build"), "tools", "render_template")
    )
    arguments.add_argument("--show", type=int, default=10)
    arguments.add_argument("templates", nargs="*")
    options = arguments.parse_args()
    data = os.environ.get("PANTRY_TEST_DATA", "../shared/data")
    files = options.templates or sorted(glob.glob(os.path.join(data, "chat-templates", "*.jinja")))
    if not os.path.exists(options.driver) or not files:
        print(f"{options.driver} or the templates are missing")
        sys.exit(77)
    all_contexts, total, raised, wrong = list(contexts()), 0, 0, 0
    for file in files:
        with open(file, encoding="utf-8") as stream:
            source = stream.read()
        template = environment().from_string(source)
        rows = "".join(json.dumps({"template": source, "context": context}) + "\n" for context in all_contexts)
        done = subprocess.run([options.driver], input=rows.encode(), stdout=subprocess.PIPE, check=True)
        answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
        if len(answers) != len(all_contexts):
            sys.exit(f"the driver answered {len(answers)} of {len(all_contexts)} contexts")
        for context, got in zip(all_contexts, answers):
            want = expected(template, context)
            if want is None:
                continue
            total += 1
            raised += "error" in want
            if {key: got.get(key) for key in want} != want:
                wrong += 1
                if wrong <= options.show:
                    print(f"{os.path.basename(file)}: {json.dumps(context)}\n  jinja2: {want!r}\n  engine: {got!r}")
    print(f"{len(files)} templates, {total} renders, {raised} of them raise, {wrong} differences")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
