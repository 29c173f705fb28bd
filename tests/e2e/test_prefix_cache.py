"""Prompts that a restarted service finds on disk: after SIGTERM, after SIGKILL, per key, and never from damaged files."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import service
import spoken_model

NAME = "spoken"
PROMPT_TOKENS = 2000
PAGE = 32  # tokens of a file


def setUpModule():
    global FOLDER, MODELS
    FOLDER = tempfile.mkdtemp(prefix="pantry-prefix-cache-")
    path = os.path.join(FOLDER, "spoken.gguf")
    spoken_model.write(path)
    MODELS = {NAME: path}


def tearDownModule():
    shutil.rmtree(FOLDER)


def words(seed, n):
    """A text of n tokens: the model has one per character."""
    return "".join(random.Random(seed).choice("abcdefghij ") for _ in range(n))


class PrefixCache(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="home-", dir=FOLDER)
        self.cache = os.path.join(self.home, "cache")
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            server.stop(signal.SIGKILL)

    def start(self, *arguments):
        self.servers.append(service.Service(MODELS, *arguments, home=self.home))
        return self.servers[-1]

    def stop(self, server, number=signal.SIGTERM):
        self.servers.remove(server)
        return server.stop(number)

    def ask(self, server, text, key=None):
        """(tokens of the prompt, of these from memory or disk, answer)"""
        body = {"model": NAME, "messages": [{"role": "user", "content": text}], "max_tokens": 5, "temperature": 0}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status, _, reply = server.request("POST", "/v1/chat/completions", body, headers)
        self.assertEqual(status, 200, reply)
        usage = reply["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return usage["prompt_tokens"], cached, reply["choices"][0]["message"]["content"]

    def wait_until_saved(self, server):
        deadline = time.monotonic() + service.PATIENCE
        while server.metric("prefix_cache_pending") > 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_a_restart_keeps_prompts(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number):
                text = words(number, PROMPT_TOKENS)
                first = self.start()
                n, cached, answer = self.ask(first, text)
                self.assertGreaterEqual(n, PROMPT_TOKENS)
                self.assertLess(cached, PAGE * 2)  # of the template
                self.assertEqual(self.ask(first, text), (n, n - 1, answer))
                if number == signal.SIGKILL:
                    self.wait_until_saved(first)
                    self.assertGreaterEqual(first.metric("prefix_cache_written_files_total"), n // PAGE)
                status = self.stop(first, number)
                self.assertEqual(status, 0 if number == signal.SIGTERM else -signal.SIGKILL)

                second = self.start()
                again, cached, same = self.ask(second, text)
                self.assertEqual((again, same), (n, answer))
                self.assertGreaterEqual(cached, n - 1 - PAGE)
                self.assertEqual(second.metric("prefix_cache_hits_total"), 1)
                self.assertGreaterEqual(second.metric("prefix_cache_loaded_tokens_total"), n - 1 - PAGE)
                self.assertGreaterEqual(second.metric("prompt_tokens_cached_total"), n - 1 - PAGE)
                self.stop(second)

    def test_keys_share_nothing(self):
        def add(name):
            done = subprocess.run(
                [service.PANTRY, "key", "add", name, "--scope", "manage"],
                env={**os.environ, "PANTRY_HOME": self.home},
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout.strip()

        keys = [add("one"), add("two")]
        text = words(3, 500)
        first = self.start()
        self.ask(first, text, keys[0])
        self.assertEqual(self.stop(first), 0)
        names = "".join(os.listdir(self.cache))
        self.assertNotIn(keys[0][3:], names)
        second = self.start()
        self.assertEqual(self.ask(second, text, keys[1])[1], 0)
        n, cached, _ = self.ask(second, text, keys[0])
        self.assertGreaterEqual(cached, n - 1 - PAGE)

    def test_damaged_files_are_not_used(self):
        text = words(4, 500)
        first = self.start()
        n, _, answer = self.ask(first, text)
        self.stop(first)
        names = [name for name in os.listdir(self.cache) if re.fullmatch(r"[0-9a-f]{40}-.*", name)]
        self.assertGreaterEqual(len(names), n // PAGE)
        for name in names:
            with open(os.path.join(self.cache, name), "r+b") as file:
                file.seek(-40, os.SEEK_END)
                file.write(b"x")
        second = self.start()
        self.assertEqual(self.ask(second, text), (n, 0, answer))
        self.assertGreater(second.metric("prefix_cache_rejected_files_total"), 0)

    def test_options(self):
        own = os.path.join(self.home, "own")
        server = self.start("--cache-dir", own)
        self.ask(server, words(5, 300))
        self.stop(server)
        self.assertTrue(any(name.startswith(tuple("0123456789abcdef")) for name in os.listdir(own)))
        self.assertEqual(os.stat(own).st_mode & 0o777, 0o700)
        server = self.start("--cache-size", "0")
        self.ask(server, words(5, 300))
        self.assertEqual(server.metric("prefix_cache_lookups_total"), 0)
        self.stop(server)
        self.assertEqual([name for name in os.listdir(self.cache) if name != "turns"], [])
        plain = os.path.join(self.home, "plain")
        with open(plain, "w"):
            pass
        command = [service.PANTRY, "serve", "--port", "0", "--cache-dir", os.path.join(plain, "x")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=service.PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("plain/x", done.stderr)

    def test_prune_empties_it(self):
        server = self.start()
        self.ask(server, words(6, 300))
        self.stop(server)
        env = {**os.environ, "PANTRY_HOME": self.home, "PANTRY_CACHE": self.cache}
        for arguments, left in ((["prune"], True), (["prune", "--cache"], False)):
            done = subprocess.run([service.PANTRY, *arguments], env=env, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(any("-p0" in name for name in os.listdir(self.cache)), left)


if __name__ == "__main__":
    unittest.main()
