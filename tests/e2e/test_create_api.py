"""Making models through the service: /api/create and /api/blobs by Ollama's Python client, and what such a model
carries in every API."""

import asyncio
import hashlib
import os
import re
import socket
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import service  # noqa: E402
import spoken_model  # noqa: E402
import tiny_model  # noqa: E402
from registry_stub import Registry  # noqa: E402

JINJA = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[answer] "


def setUpModule():
    global ollama, FOLDER, SERVICE, CLIENT, REGISTRY, TINY
    ollama = service.client_library("ollama")
    FOLDER = tempfile.TemporaryDirectory(prefix="pantry-create-")
    TINY = os.path.join(FOLDER.name, "tiny.gguf")
    spoken, base = (
        os.path.join(FOLDER.name, "spoken"),
        os.path.join(FOLDER.name, "base"),
    )
    tiny_model.write(TINY)
    tiny_model.write(base, template=False)
    spoken_model.write(spoken)
    REGISTRY = Registry()
    SERVICE = service.Service({"spoken": spoken, "base": base}, "--registry", f"localhost:{REGISTRY.port}")
    CLIENT = ollama.Client(SERVICE.url, timeout=service.PATIENCE)


def tearDownModule():
    CLIENT.close()
    status = SERVICE.stop()
    REGISTRY.close()
    FOLDER.cleanup()
    if status:
        raise AssertionError(f"the server ended with {status}")


def digest_of(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.sha256(file.read()).hexdigest()


def user(content):
    return {"role": "user", "content": content}


class Case(unittest.TestCase):
    def post(self, path, status=200, **body):
        got, _, reply = SERVICE.request("POST", path, body)
        self.assertEqual(got, status, reply)
        return reply

    def refused(self, words, status=400, **body):
        reply = self.post(
            "/api/create",
            status,
            stream=False,
            **{"model": "mine", "from": "spoken", **body},
        )
        self.assertRegex(reply["error"], words)

    def prompt(self, model, messages, path="/api/chat", **body):
        body = {"messages": messages} if path == "/api/chat" else {"prompt": messages}
        return self.post(path, model=model, _debug_render_only=True, **body)["_debug_info"]["rendered_template"]

    def blobs(self):
        return sorted(os.listdir(os.path.join(SERVICE.env["PANTRY_HOME"], "models", "blobs")))


class Creating(Case):
    def test_the_client_makes_a_model_from_another(self):
        lines = list(CLIENT.create("mine", from_="spoken", system="Be brief.", stream=True))
        statuses = [line.status for line in lines]
        self.assertRegex(statuses[0], "^using existing layer sha256:[0-9a-f]{64}$")
        self.assertRegex(statuses[-3], "^creating new layer sha256:[0-9a-f]{64}$")
        self.assertEqual(statuses[-2:], ["writing manifest", "success"])
        self.assertEqual(CLIENT.create("mine", from_="spoken", system="Be brief.").status, "success")
        self.assertEqual(
            CLIENT.chat("mine", [user("say hello")]).message.content,
            spoken_model.SCRIPTS["hello"],
        )
        self.assertIn("mine:latest", [model.model for model in CLIENT.list().models])
        CLIENT.delete("mine")

    def test_the_client_sends_a_file(self):
        digest = CLIENT.create_blob(TINY)
        self.assertEqual(digest, digest_of(TINY))
        self.assertEqual(SERVICE.request("HEAD", f"/api/blobs/{digest}")[0], 200)
        done = CLIENT.create(
            "sent",
            files={"tiny.gguf": digest},
            template=JINJA,
            system="One.",
            license=["First.", "Second."],
            parameters={"temperature": 0, "num_predict": 3, "stop": ["never", "ever"]},
            messages=[user("Hi"), {"role": "assistant", "content": "Ho"}],
        )
        self.assertEqual(done.status, "success")
        shown = CLIENT.show("sent")
        self.assertEqual((shown.template, shown.license), (JINJA, "First.\nSecond."))
        words = [line.split() for line in shown.parameters.splitlines()]
        self.assertEqual(
            words,
            [
                ["temperature", "0"],
                ["num_predict", "3"],
                ["stop", '"never"'],
                ["stop", '"ever"'],
            ],
        )
        whole = self.post("/api/show", model="sent")
        self.assertEqual((whole["system"], whole["messages"][1]["content"]), ("One.", "Ho"))
        self.assertIn("\nSYSTEM One.\n", shown.modelfile)
        self.assertIn("\nMESSAGE assistant Ho\n", shown.modelfile)
        self.assertEqual(CLIENT.generate("sent", "x").eval_count, 3)
        CLIENT.copy("sent", "copy")
        CLIENT.delete("sent")
        self.assertEqual(self.post("/api/show", model="copy")["system"], "One.")
        CLIENT.delete("copy")
        self.assertNotIn(digest.replace(":", "-"), self.blobs())

    def test_the_asynchronous_client_sends_a_file_in_chunks(self):
        async def send():
            return await ollama.AsyncClient(SERVICE.url).create_blob(TINY)

        digest = asyncio.run(send())
        self.assertEqual(digest, digest_of(TINY))
        self.assertEqual(CLIENT.create("chunks", files={"a.gguf": digest}).status, "success")
        CLIENT.delete("chunks")

    def test_sends_shards(self):
        paths = tiny_model.write_shards(os.path.join(FOLDER.name, "s"), 2)
        files = {os.path.basename(path): CLIENT.create_blob(path) for path in paths}
        CLIENT.create("shards", files=files)
        self.assertEqual(CLIENT.generate("shards", "x", options={"num_predict": 2}).eval_count, 2)
        some = dict(list(files.items())[:1])
        self.refused("not all shards", **{"from": None, "files": some})
        CLIENT.delete("shards")

    def test_a_base_that_is_not_there_is_pulled(self):
        with open(TINY, "rb") as file:
            REGISTRY.add("me/toy:1", file.read())
        base = f"localhost:{REGISTRY.port}/me/toy:1"
        lines = [progress.status for progress in CLIENT.create("mine", from_=base, system="Two.", stream=True)]
        self.assertEqual((lines[0], lines[-1]), ("pulling manifest", "success"))
        self.assertIn("writing manifest", lines)
        self.assertEqual(self.post("/api/show", model="mine")["system"], "Two.")
        self.assertIn(base, [model.model for model in CLIENT.list().models])
        self.assertEqual(CLIENT.create("mine", from_=base).status, "success")  # it is there now
        self.assertEqual(len(REGISTRY.paths("/manifests/1")), 1)
        CLIENT.delete("mine")
        CLIENT.delete(base)

    def test_a_new_model_replaces_the_loaded_one(self):
        for text in ("One.", "Two."):
            CLIENT.create("mine", from_="spoken", system=text)
            self.assertIn(f"system\n{text}<", self.prompt("mine", [user("x")]))
        CLIENT.delete("mine")

    def test_refuses_by_name(self):
        before = self.blobs()
        missing = "sha256:" + "0" * 64
        self.refused("model is required", model=None)
        self.refused("invalid model name", model="../x")
        self.refused("neither 'from' or 'files'", **{"from": None})
        self.refused("no other registry", **{"from": "localhost:1/me/nothing"})
        self.refused("has no such model", 404, **{"from": f"localhost:{REGISTRY.port}/me/nothing:1"})
        self.refused("both 'from' and 'files'", files={"a.gguf": missing})
        self.refused("has no blob", 404, **{"from": None, "files": {"a.gguf": missing}})
        self.refused("not a digest", **{"from": None, "files": {"a.gguf": "sha256:../x"}})
        self.refused("has no blob", 404, **{"from": None, "files": {"model.safetensors": missing}})
        self.refused("quantize: models are not converted yet", quantize="q4_K_M")
        self.refused("the template: template:1: ", template="{{ .Prompt")
        self.refused("the template: ", template="{% if %}")
        self.refused("parameter heat: not supported", parameters={"heat": 1})
        self.refused("parameter top_p: out of range", parameters={"top_p": 3})
        self.refused("parameter stop: wrong type", parameters={"stop": [1]})
        self.refused(r"messages\[0\].role", messages=[{"role": "tool", "content": "x"}])
        self.refused(r"messages\[0\].content", messages=[{"role": "user"}])
        self.refused("renderer", renderer="qwen3")
        self.refused("SYSTEM: the model has no chat template", **{"from": "base", "system": "x"})
        self.assertEqual(self.blobs(), before)

    def test_a_model_is_no_adapter(self):
        digest = CLIENT.create_blob(TINY)
        CLIENT.create("adapted", from_="spoken", adapters={"lora.gguf": digest})
        for path, body in (
            ("/api/chat", {"messages": [user("x")]}),
            ("/api/embed", {"input": "x"}),
            ("/v1/chat/completions", {"messages": [user("x")]}),
            ("/v1/messages", {"messages": [user("x")], "max_tokens": 1}),
        ):
            got, _, reply = SERVICE.request("POST", path, {"model": "adapted", **body})
            self.assertEqual((got, "adapter" in str(reply)), (400, True), reply)
        CLIENT.delete("adapted")


class Carried(Case):
    @classmethod
    def setUpClass(cls):
        CLIENT.create(
            "mario",
            from_="spoken",
            system="You are Mario.",
            messages=[user("Hi"), {"role": "assistant", "content": "Mamma mia!"}],
            parameters={"num_predict": 2, "stop": ["STOP"]},
        )

    @classmethod
    def tearDownClass(cls):
        CLIENT.delete("mario")

    BEGINS = "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nMamma mia!<|im_end|>\n"
    ASKS = "<|im_start|>user\nsay names<|im_end|>\n<|im_start|>assistant\n<|say names|>"

    def test_begins_a_conversation(self):
        mario, luigi = self.BEGINS % "You are Mario.", self.BEGINS % "You are Luigi."
        self.assertEqual(self.prompt("mario", [user("say names")]), mario + self.ASKS)
        own = [{"role": "system", "content": "You are Luigi."}, user("say names")]
        self.assertEqual(self.prompt("mario", own), luigi + self.ASKS)
        self.assertEqual(self.prompt("mario", "say names", "/api/generate"), mario + self.ASKS)
        applied = self.post("/apply-template", model="mario", messages=[user("say names")])["prompt"]
        self.assertEqual(applied, mario + self.ASKS)
        raw = self.post(
            "/api/generate",
            model="mario",
            prompt="say names",
            raw=True,
            _debug_render_only=True,
        )
        self.assertEqual(raw["_debug_info"]["rendered_template"], "say names")

    def test_every_api_reads_the_same_prompt(self):
        asked = [user("say names")]
        n = self.post("/api/chat", model="mario", messages=asked, stream=False)["prompt_eval_count"]
        plain = self.post("/api/chat", model="spoken", messages=asked, stream=False)["prompt_eval_count"]
        self.assertGreater(n, plain + 20)
        counts = {
            "/v1/chat/completions": lambda r: r["usage"]["prompt_tokens"],
            "/v1/responses": lambda r: r["usage"]["input_tokens"],
            "/v1/messages": lambda r: r["usage"]["input_tokens"] + r["usage"].get("cache_read_input_tokens", 0),
            "/v1/messages/count_tokens": lambda r: r["input_tokens"],
        }
        for path, count in counts.items():
            body = {
                "model": "mario",
                "input" if "responses" in path else "messages": asked,
            }
            if path == "/v1/messages":
                body["max_tokens"] = 1
            with self.subTest(path):
                self.assertEqual(count(self.post(path, **body)), n)

    def test_parameters_are_defaults_of_every_api(self):
        asked = {"model": "mario", "messages": [user("say names")]}
        ollamas = self.post("/api/chat", stream=False, **asked)
        self.assertEqual((ollamas["eval_count"], ollamas["done_reason"]), (2, "length"))
        more = self.post("/api/chat", stream=False, options={"num_predict": 50}, **asked)
        self.assertEqual(more["message"]["content"], "Ada, Grace, ")
        other = self.post(
            "/api/chat",
            stream=False,
            options={"num_predict": 50, "stop": ["Grace"]},
            **asked,
        )
        self.assertEqual(other["message"]["content"], "Ada, ")
        openai = self.post("/v1/chat/completions", **asked)
        self.assertEqual(openai["usage"]["completion_tokens"], 2)
        openai = self.post("/v1/chat/completions", max_tokens=50, **asked)
        self.assertEqual(openai["choices"][0]["message"]["content"], "Ada, Grace, ")
        self.assertEqual(
            self.post("/v1/completions", model="mario", prompt="x")["usage"]["completion_tokens"],
            2,
        )
        reply = self.post("/v1/responses", model="mario", input="say names")
        self.assertEqual(reply["usage"]["output_tokens"], 2)
        reply = self.post("/v1/messages", max_tokens=50, **asked)
        self.assertEqual(reply["content"][0]["text"], "Ada, Grace, ")


class GoTemplates(Case):
    TEMPLATE = (
        "{{ if .Tools }}<tools>{{ range .Tools }}{{ .Function.Name }};{{ end }}</tools>\n"
        'Call them with <tool_call>{"name": ..., "arguments": ...}</tool_call>.\n{{ end }}'
        "{{ range $i, $m := .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}"
        "{{ range .ToolCalls }}<tool_call>{{ .Function.Name }}{{ .Function.Arguments }}</tool_call>{{ end }}"
        '{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if or (ne .Role "assistant") (not $last) }}<|im_end|>\n{{ end }}'
        '{{ if and $last (ne .Role "assistant") }}<|im_start|>assistant\n'
        '{{ if eq .Content "call" }}<|say call|>{{ else }}<|say names|>{{ end }}{{ end }}{{ end }}'
    )

    @classmethod
    def setUpClass(cls):
        CLIENT.create("go", from_="spoken", template=cls.TEMPLATE, parameters={"num_predict": 50})

    @classmethod
    def tearDownClass(cls):
        CLIENT.delete("go")

    def test_tools(self):
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        self.assertIn("tools", CLIENT.show("go").capabilities)
        reply = CLIENT.chat("go", [user("call")], tools=[tool])
        self.assertEqual(reply.message.tool_calls[0].function.name, "get_weather")
        self.assertEqual(dict(reply.message.tool_calls[0].function.arguments), {"city": "Paris", "days": 2})
        openai = self.post("/v1/chat/completions", model="go", messages=[user("call")], tools=[tool])
        self.assertEqual(openai["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather")

    def test_goes_on_with_a_message_of_the_assistant(self):
        messages = [user("x"), {"role": "assistant", "content": "I say"}]
        self.assertEqual(self.prompt("go", messages), "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\nI say")

    def test_streams(self):
        parts = list(CLIENT.chat("go", [user("x")], stream=True))
        self.assertEqual("".join(part.message.content for part in parts), spoken_model.SCRIPTS["names"])


class Blobs(Case):
    def put(self, digest, body, status):
        got, _, reply = SERVICE.request("POST", f"/api/blobs/{digest}", body)
        self.assertEqual(got, status, reply)
        return reply

    def test_one_blob(self):
        body = os.urandom(3 << 20)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.assertEqual(SERVICE.request("HEAD", f"/api/blobs/{digest}")[0], 404)
        self.put(digest, body, 201)
        self.assertEqual(SERVICE.request("HEAD", f"/api/blobs/{digest}")[0], 200)
        self.put(digest, body, 200)
        self.put(digest, b"", 200)  # it is there: the body is not read
        self.assertIn(digest.replace(":", "-"), self.blobs())
        empty = "sha256:" + hashlib.sha256(b"").hexdigest()
        self.put(empty, b"", 201)

    def test_refuses(self):
        before = self.blobs()
        wrong = "sha256:" + "1" * 64
        self.assertIn("digest mismatch", self.put(wrong, b"x" * 100000, 400)["error"])
        for name in (
            "sha256:abc",
            "sha256-" + "1" * 64,
            "sha256:" + "G" * 64,
            "..%2F..%2Fx",
            "sha256:" + "1" * 65,
        ):
            with self.subTest(name):
                self.assertIn("not a digest", self.put(name, b"x" * 100000, 400)["error"])
                self.assertEqual(SERVICE.request("HEAD", f"/api/blobs/{name}")[0], 400)
        self.assertEqual(SERVICE.request("GET", f"/api/blobs/{wrong}")[0], 405)
        self.assertEqual(self.blobs(), before)

    def begin(self, digest, length):
        connection = socket.create_connection(("127.0.0.1", SERVICE.port), timeout=service.PATIENCE)
        head = f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        return connection

    def test_a_disk_that_is_too_small_is_noticed_at_once(self):
        with self.begin("sha256:" + "2" * 64, 1 << 55) as connection:
            connection.sendall(b"x" * 1000)
            self.assertTrue(SERVICE.becomes_idle())  # although the body goes on
        self.assertNotIn("2" * 64, "".join(self.blobs()))

    def test_a_client_that_leaves_leaves_nothing(self):
        before = self.blobs()
        with self.begin("sha256:" + "3" * 64, 1 << 22) as connection:
            connection.sendall(b"x" * (1 << 20))
        self.assertTrue(SERVICE.becomes_idle())
        self.assertEqual(self.blobs(), before)

    def peak(self):
        """The most memory that the server has used, in bytes."""
        with open(f"/proc/{SERVICE.process.pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) * 1024

    @unittest.skipUnless(os.path.isdir("/proc/self"), "needs /proc")
    def test_a_large_blob_needs_little_memory(self):
        before, size = self.peak(), 96 << 20
        part = bytes(range(256)) * 4096
        digest = hashlib.sha256()
        for _ in range(size // len(part)):
            digest.update(part)
        with self.begin("sha256:" + digest.hexdigest(), size) as connection:
            for _ in range(size // len(part)):
                connection.sendall(part)
            self.assertIn(b" 201 ", connection.recv(1000))
        self.assertLess(self.peak() - before, 32 << 20)
        self.assertEqual(SERVICE.request("HEAD", f"/api/blobs/sha256:{digest.hexdigest()}")[0], 200)

    def test_several_of_one_blob(self):
        body = os.urandom(1 << 20)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        status = []

        def send(body):
            status.append(SERVICE.request("POST", f"/api/blobs/{digest}", body)[0])

        threads = [threading.Thread(target=send, args=(body if i % 2 else body[:-1],)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertLessEqual(set(status), {200, 201, 400})
        self.assertIn(201, status)
        path = os.path.join(SERVICE.env["PANTRY_HOME"], "models", "blobs", digest.replace(":", "-"))
        self.assertEqual(digest_of(path), digest)
        self.assertEqual([name for name in self.blobs() if "partial" in name], [])


if __name__ == "__main__":
    unittest.main()
