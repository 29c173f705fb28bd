"""Ending the reasoning of an answer that is being made: Ctrl-C in the chat, and the control route of the service.

The model reasons for ever, so every answer here exists because its reasoning was ended.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.request

import service
import spoken_model
from terminal import Terminal

NAME, CONTROL, ANSWER = "thinker", "/v1/chat/completions/control", "and so on."
ASK = {"model": NAME, "messages": [{"role": "user", "content": "say long thought"}], "temperature": 0}


def setUpModule():
    global FOLDER, MODEL, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-thinker-")
    MODEL = os.path.join(FOLDER, "thinker.gguf")
    spoken_model.write(MODEL, n_context=1 << 17)
    SERVICE = service.Service({NAME: MODEL})


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


def end_thinking(name, headers=None, server=None):
    return (server or SERVICE).request("POST", CONTROL, {"id": name, "action": "reasoning_end"}, headers)


def until_found(name, headers=None, server=None):
    """Ends it as soon as the service knows the answer; the client cannot see before that it does."""
    while True:
        status, _, reply = end_thinking(name, headers, server)
        if status != 404:
            return status, reply


class Streams(unittest.TestCase):
    def events(self, path, body):
        """The stream's objects; when one has an id, the reasoning of that answer is ended."""
        request = urllib.request.Request(
            SERVICE.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        ended = False
        with urllib.request.urlopen(request, timeout=service.PATIENCE) as reply:
            for line in reply:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                found = event.get("id") or event.get("message", {}).get("id") or event.get("response", {}).get("id")
                if found and not ended:
                    ended = True
                    status, _, got = end_thinking(found)
                    self.assertEqual((status, got), (200, {"id": found, "action": "reasoning_end", "success": True}))
                yield event

    def test_chat_completions(self):
        deltas = [e["choices"][0]["delta"] for e in self.events("/v1/chat/completions", {**ASK, "stream": True})]
        self.assertRegex("".join(d.get("reasoning_content", "") for d in deltas), r"^(hm )*(hm)?$")
        self.assertEqual("".join(d.get("content") or "" for d in deltas), ANSWER)

    def test_field_of_llama_cpp(self):
        deltas = self.events("/v1/chat/completions", {**ASK, "stream": True, "reasoning_control": True})
        self.assertEqual("".join(e["choices"][0]["delta"].get("content") or "" for e in deltas), ANSWER)

    def test_responses(self):
        body = {"model": NAME, "input": "say long thought", "temperature": 0, "stream": True}
        *_, last = self.events("/v1/responses", body)
        self.assertEqual(last["response"]["output"][-1]["content"][0]["text"], ANSWER)

    def test_messages(self):
        body = {**ASK, "max_tokens": 1 << 20, "stream": True}
        texts = [e["delta"].get("text", "") for e in self.events("/v1/messages", body) if "delta" in e]
        self.assertEqual("".join(texts), ANSWER)


class Names(unittest.TestCase):
    def ask_while(self, path, body, act, headers):
        """The reply to a request that is in work while act() runs."""
        got = {}
        asking = threading.Thread(target=lambda: got.update(reply=SERVICE.request("POST", path, body, headers)))
        asking.start()
        act()
        asking.join()
        return got["reply"]

    def test_name_of_the_client(self):
        """The id of an answer that comes in one piece is known too late, and Ollama's answers have none."""
        body = {**ASK, "stream": False, "options": {"temperature": 0, "num_predict": -1}}
        del body["temperature"]
        status, _, reply = self.ask_while("/api/chat", body, lambda: until_found("mine"), {"X-Request-Id": "mine"})
        self.assertEqual((status, reply["message"]["content"]), (200, ANSWER))
        status, _, reply = self.ask_while(
            "/v1/chat/completions", ASK, lambda: until_found("m2"), {"X-Request-Id": "m2"}
        )
        self.assertEqual((status, reply["choices"][0]["message"]["content"]), (200, ANSWER))

    def test_closing_text(self):
        body = {**ASK, "think_message": "Enough."}
        _, _, reply = self.ask_while("/v1/chat/completions", body, lambda: until_found("m3"), {"X-Request-Id": "m3"})
        self.assertTrue(reply["choices"][0]["message"]["reasoning_content"].rstrip().endswith("Enough."))

    def test_answers_that_are_not_there(self):
        self.assertEqual(end_thinking("nobody")[0], 404)
        status, _, reply = self.ask_while(
            "/v1/chat/completions", ASK, lambda: until_found("m4"), {"X-Request-Id": "m4"}
        )
        self.assertEqual(status, 200)
        self.assertEqual(end_thinking("m4")[0], 404)  # it has ended
        self.assertEqual(end_thinking(reply["id"])[0], 404)

    def test_wrong_requests(self):
        for body, why in (
            ({}, "id is required"),
            ({"id": ""}, "id is required"),
            ({"id": 3, "action": "reasoning_end"}, "id"),
            ({"id": "x"}, "reasoning_end"),
            ({"id": "x", "action": "stop"}, "reasoning_end"),
            ({"id": "x", "action": "reasoning_end", "slot": 1}, "slot"),
        ):
            status, _, reply = SERVICE.request("POST", CONTROL, body)
            self.assertEqual(status, 400, body)
            self.assertIn(why, reply["error"]["message"], body)

    def test_answers_of_other_keys_are_out_of_reach(self):
        made = [subprocess.run([service.PANTRY, "key", "add", name], env=SERVICE.env, capture_output=True, text=True)
                for name in ("one", "two")]  # fmt: skip
        one, two = ({"Authorization": "Bearer " + re.search(r"pk-[0-9a-f]{64}", m.stdout).group()} for m in made)
        try:
            body = json.dumps({**ASK, "stream": True}).encode()
            headers = {"Content-Type": "application/json", "X-Request-Id": "m5", **one}
            request = urllib.request.Request(SERVICE.url + "/v1/chat/completions", body, headers)
            with urllib.request.urlopen(request, timeout=service.PATIENCE) as reply:
                while b"hm" not in reply.readline():  # it runs, and reasons for ever
                    pass
                self.assertEqual(end_thinking("m5", two)[0], 404)
                self.assertEqual(end_thinking("m5", one)[0], 200)
                self.assertIn(b"so", reply.read())
        finally:
            for name in ("one", "two"):
                subprocess.run([service.PANTRY, "key", "rm", name], env=SERVICE.env, check=True, capture_output=True)


class Chat(unittest.TestCase):
    def chat(self, *arguments):
        env = {**SERVICE.env, "PANTRY_HOST": SERVICE.url, "TERM": "xterm"}
        command = [service.PANTRY, "run", *arguments, "--temp", "0", "-n", "-1", "--ctx", str(1 << 17)]
        t = Terminal(command, env)
        self.addCleanup(t.close)
        t.expect(">>> ")
        return t

    def converse(self, t):
        t.line("say long thought")
        t.expect("hm hm")
        t.type("\x03")  # the reasoning ends, and the answer comes
        t.expect("</think>")
        t.expect(ANSWER)
        self.assertNotIn("stopped", t.expect(">>> "))
        t.line("say endless")  # nothing to end: the answer stops
        t.expect("more more")
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        t.line("say long thought")  # the switch of the first answer is off again
        t.expect("hm hm")
        t.type("\x03")
        t.expect(ANSWER)
        t.expect(">>> ")
        t.line("/bye")
        self.assertEqual(t.ended(), 0)

    def test_in_this_process(self):
        self.converse(self.chat(MODEL, "--local"))

    def test_by_a_service(self):
        self.converse(self.chat(NAME))


if __name__ == "__main__":
    unittest.main()
