"""The settings of the service: where they come from, what is refused, models and aliases."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import service
import tiny_model

# a value of each setting per place, as the file writes it and as text
PLACES = ("file", "ollama", "variable", "option")
VALUES = {
    "host": ['"1.1.1.1"', "2.2.2.2", "3.3.3.3", "4.4.4.4"],
    "port": ["1", None, "3", "4"],
    "socket_mode": ['"0660"', None, "0666", "0600"],
    "public": ["true", None, "0", True],
    "origins": [
        '["http://a", "http://b"]',
        "http://c,http://d",
        "http://e",
        "http://f",
    ],
    "tls_cert": ['"/a"', None, "/c", "/d"],
    "tls_key": ['"/a"', None, "/c", "/d"],
    "max_requests": ["1", "2", "3", "4"],
    "num_parallel": ["1", "2", "3", "4"],
    "read_timeout": ['"1m"', None, "3", "4s"],
    "connections_per_address": ["1", None, "3", "4"],
    "models": ['"/a"', None, "/b", "/c"],
    "keep_alive": ["-1", "2m", "1h30m", "4"],
    "foreign": ["false", None, "1", True],
    "max_loaded_models": ["1", "2", "3", "4"],
    "cache": ['"/a"', None, "/b", "/c"],
    "cache_size": ['"1G"', None, "3000000", "4k"],
    "registries": ['["a:1", "b"]', None, "c,d", "e"],
    "load_timeout": ["1", "2m", "3s", "4"],
    "context_length": ["1", "2", "3", "4"],
    "kv_cache_type": ['"q8_0"', "f32", "f16", "q8_0"],
    "device": ['"cpu"', None, "ref", "cpu"],
    "gpu_layers": ["1", None, "-1", "0"],
    "threads": ["1", None, "3", "4"],
    "isa": ['"generic"', None, "avx2", "generic"],
    "memory": ['"1G"', None, "3000000", "4k"],
    "sandbox": ["false", None, "yes", True],
    "read_folders": ['["/a"]', None, "/b", "/c"],
    "quiet": ["true", None, "off", True],
    "debug": ["true", "0", "false", True],
}
READ = {
    "host": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"],
    "socket_mode": ["0660", None, "0666", "0600"],
    "public": [True, None, False, True],
    "origins": [
        ["http://a", "http://b"],
        ["http://c", "http://d"],
        ["http://e"],
        ["http://f"],
    ],
    "read_timeout": [60, None, 3, 4],
    "keep_alive": [-1, 120, 5400, 4],
    "foreign": [False, None, True, False],
    "load_timeout": [1, 120, 3, 4],
    "cache_size": [1 << 30, None, 3000000, 4096],
    "registries": [["a:1", "b"], None, ["c", "d"], ["e"]],
    "memory": [1 << 30, None, 3000000, 4096],
    "sandbox": [False, None, True, False],
    "read_folders": [["/a"], None, ["/b"], ["/c"]],
    "quiet": [True, None, False, True],
    "debug": [True, False, False, True],
}


# From when on a value counts that changed in the file while the service runs; the others need a restart.
AT_ONCE = {
    "origins", "registries", "max_requests", "num_parallel", "keep_alive", "max_loaded_models", "load_timeout", "memory",
    "quiet", "debug",
}  # fmt: skip
NEXT_LOAD = {"context_length", "kv_cache_type", "device", "gpu_layers", "threads", "isa"}


def setUpModule():
    global FOLDER, MODELS
    FOLDER = tempfile.mkdtemp(prefix="pantry-config-")
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    MODELS = {"tiny": path, "other": path}


def tearDownModule():
    shutil.rmtree(FOLDER)


class Case(unittest.TestCase):
    def setUp(self):
        self.file = os.path.join(tempfile.mkdtemp(dir=FOLDER), "config.toml")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PANTRY_", "OLLAMA_"))}
        self.env["PANTRY_HOME"] = os.path.dirname(self.file)

    def write(self, text):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(text)

    def pantry(self, *arguments, **env):
        command = [service.PANTRY, *arguments]
        return subprocess.run(command, env={**self.env, **env}, capture_output=True, text=True, timeout=60)

    def settings(self, *arguments, **env):
        done = self.pantry("config", "--json", *arguments, **env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)


class Precedence(Case):
    def test_every_setting_and_place(self):
        """The option, PANTRY_, OLLAMA_, the file, the default: each one goes before those after it."""
        table = self.settings()["settings"]
        self.assertEqual(table.keys(), VALUES.keys())
        for key, about in table.items():
            file, ollama, variable, option = VALUES[key]
            read = READ.get(key) or [
                None if v is None else json.loads(v) if v.lstrip("-").isdigit() else v.strip('"') for v in VALUES[key]
            ]
            self.assertEqual(about["variable"], "PANTRY_" + key.upper())
            self.assertEqual(ollama is not None, "ollama" in about, key)
            self.write(f"# first\n{key} = {file}\n")
            places = [
                ("default", None),
                (f"{self.file}:2", read[0]),
                (about.get("ollama"), read[1]),
            ]
            places += [(about["variable"], read[2]), (about["option"], read[3])]
            env, arguments = {}, ()
            for place, (origin, value) in zip(("default", *PLACES), places):
                if origin is None:
                    continue
                if place == "ollama":
                    env[about["ollama"]] = ollama
                elif place == "variable":
                    env[about["variable"]] = variable
                elif place == "option":
                    arguments = (about["option"],) if option is True else (about["option"], option)
                if place == "default":
                    got = about
                else:
                    got = self.settings(*arguments, **env)["settings"][key]
                    self.assertEqual(got["value"], value, (key, place))
                self.assertEqual(got["from"], origin, (key, place))

    def test_the_file(self):
        self.assertFalse(self.settings()["exists"])
        self.write("port = 7\n")
        got = self.settings()
        self.assertEqual(
            (got["file"], got["exists"], got["settings"]["port"]["value"]),
            (self.file, True, 7),
        )
        other = self.file + ".2"
        shutil.move(self.file, other)
        self.assertEqual(self.settings(PANTRY_CONFIG=other)["settings"]["port"]["from"], f"{other}:1")
        self.assertEqual(self.pantry("config", PANTRY_CONFIG=self.file).returncode, 1)
        self.assertEqual(self.settings()["settings"]["port"]["value"], None)
        text = self.pantry("config", PANTRY_CONFIG=other).stdout
        self.assertRegex(text, rf"port +7 +{other}:1\n")
        self.assertRegex(text, r"keep_alive +5m +default\n")

    def test_the_folder_beside_tables_of_models(self):
        self.write("[models]\nfolder = '/a'\n[models.folder2]\ncontext = 7\n[models.b]\ncontext = 8\n")
        got = self.settings()
        self.assertEqual(
            (got["settings"]["models"]["value"], got["settings"]["models"]["from"]), ("/a", f"{self.file}:2")
        )
        self.assertEqual(got["models"], {"folder2": {"context": 7}, "b": {"context": 8}})
        self.write("[models.folder]\ncontext = 7\n")
        got = self.settings()
        self.assertEqual(got["settings"]["models"]["from"], "default")
        self.assertEqual(got["models"], {"folder": {"context": 7}})

    def test_an_empty_variable_is_none(self):
        self.assertEqual(
            self.settings(OLLAMA_HOST="", PANTRY_HOST="")["settings"]["host"]["from"],
            "default",
        )


class Mistakes(Case):
    CASES = (
        ("hosst = 1", "1: hosst: unknown key; did you mean host?"),
        (
            "\n\nport = 'x'",
            "3: port: wrong value (found a string, allowed a whole number from 0 to 65535)",
        ),
        ("port = 65536", '1: port: wrong value (found "65536"'),
        ("port = 1.5", "1: port: wrong value (found a number"),
        ("max_requests = -1", "1: max_requests: wrong value"),
        (
            "quiet = 1",
            "1: quiet: wrong value (found a whole number, allowed true or false)",
        ),
        ("host = ['a']", "1: host: wrong value (found an array, allowed a text)"),
        (
            "origins = 'a'",
            "1: origins: wrong value (found a string, allowed a list of texts)",
        ),
        ("origins = [1]", "1: origins: wrong value (found a whole number"),
        ("keep_alive = '5 minutes'", "1: keep_alive: wrong value"),
        ("keep_alive = true", "1: keep_alive: wrong value (found true or false"),
        ("kv_cache_type = 'q4_0'", 'found "q4_0", allowed f16 q8_0 f32'),
        ("memory = 'much'", "1: memory: wrong value"),
        ("socket_mode = '0777'", "1: socket_mode: wrong value"),
        ("read_timeout = 0", "1: read_timeout: wrong value"),
        ("port = 1\nport = 2", "2: port: defined twice"),
        ("port 1", '1: port: a key goes on with "="'),
        ("[server]\nport = 1", "1: server: unknown key"),
        (
            "models = 1",
            "1: models: wrong value (found a whole number, allowed the path of a folder, or a table)",
        ),
        ("models = 'a'", '1: models: wrong value (found "a", allowed the absolute path of a folder)'),
        ("[models]\nfolder = ''", '2: models: wrong value (found "", allowed the absolute path of a folder)'),
        ("[models]\nfolder = 1", '2: models."folder": wrong value (found a whole number, allowed a table)'),
        ("[models]\na = 1", '2: models."a": wrong value'),
        ("[models.'../a']", "not a model name"),
        ("[models.a]\nctx = 1", '2: models."a".ctx: unknown key'),
        ("[models.a]\ncontxt = 1", "did you mean context?"),
        ("[models.a]\ncontext = 'x'", '2: models."a".context: wrong value'),
        ("[models.a]\nparameters = 1", "2: parameters: wrong value"),
        (
            "[models.a]\nparameters.top_q = 1",
            '1: models."a": parameter top_q: not supported',
        ),
        (
            "[models.a]\nparameters.top_p = 2",
            "parameter top_p: out of range (found 2, allowed 0..1)",
        ),
        ("[models.a]\nparameters.stop = [1]", "stop: "),
        (
            "[models.a]\nparameters.temperature = nan",
            "parameters.temperature: wrong value",
        ),
        ("aliases = []", "1: aliases: wrong value"),
        (
            "[aliases]\na = 1",
            '2: aliases."a": wrong value (found a whole number, allowed the name of a model)',
        ),
        ("[aliases]\na = '/etc/passwd'", '2: aliases."a": wrong value'),
        ("[aliases]\n'a b' = 'c'", "not a model name"),
        ("[aliases]\na = 'b'\nb = 'c'", '2: aliases."a": names another alias'),
    )

    def test_in_the_file(self):
        for text, expected in self.CASES:
            self.write(text)
            done = self.pantry("config", "check")
            with self.subTest(text=text):
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertTrue(done.stderr.startswith(f"pantry: {self.file}:"), done.stderr)
                self.assertIn(expected, done.stderr)
        self.assertEqual(self.pantry("serve", "--port", "0").returncode, 1)
        self.write("")
        self.assertEqual(self.pantry("config", "check").stdout, "ok\n")

    def test_elsewhere(self):
        for name, value in (
            ("OLLAMA_KEEP_ALIVE", "5q"),
            ("PANTRY_PORT", "x"),
            ("OLLAMA_KV_CACHE_TYPE", "q4_0"),
        ):
            done = self.pantry("serve", **{name: value})
            self.assertEqual(done.returncode, 1)
            self.assertTrue(done.stderr.startswith(f"pantry: {name}: wrong value"), done.stderr)
        for arguments in (
            ("--port", "x"),
            ("--keep-alive", "5q"),
            ("--host", ""),
            ("--tls-cert", "x"),
        ):
            done = self.pantry("serve", *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(arguments[0], done.stderr)
        for arguments in (("what",), ("check", "--json"), ("check", "x")):
            self.assertEqual(self.pantry("config", *arguments).returncode, 2)

    def test_the_address(self):
        for host in ("127.0.0.1:x", "127.0.0.1:70000", "[::1", "a" * 300):
            done = self.pantry("serve", PANTRY_HOST=host)
            self.assertEqual(done.returncode, 2)
            self.assertIn("PANTRY_HOST: wrong address", done.stderr)


class Running(Case):
    def start(self, text, *arguments, **env):
        self.write(text)
        s = service.Service(MODELS, *arguments, env={"PANTRY_CONFIG": self.file, **env}, quiet=False)
        self.addCleanup(lambda: self.assertEqual(s.stop(), 0))
        return s

    def ask(self, s, model, **more):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": False,
        }
        return s.request("POST", "/api/chat", {**body, **more})

    def events(self, s):
        """What the log says of settings. A line that is still being written is read the next time."""
        s.errors.seek(0)
        lines = [json.loads(line) for line in s.errors if line.endswith("\n")]
        return [e for e in lines if e.get("event", "").startswith("settings")]

    def reload(self, s, text):
        """The line of the log."""
        seen = len(self.events(s))
        self.write(text)
        s.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + service.PATIENCE
        while len(self.events(s)) == seen:
            self.assertLess(time.monotonic(), deadline, "nothing was read")
            time.sleep(0.02)
        return self.events(s)[-1]

    def expires(self, s, model):
        rows = {row["name"]: row["expires_at"] for row in s.request("GET", "/api/ps")[2]["models"]}
        return rows.get(model)


class Service(Running):
    def test_models(self):
        """A model's settings go before the service's, and a request's before both."""
        s = self.start(
            'keep_alive = "5m"\n[models.tiny]\nkeep_alive = -1\nsystem = "Be brief."\ncontext = 100\n'
            "parameters = {num_predict = 3, temperature = 0}\n[aliases]\ngpt-4o = 'tiny'\n'a/b' = 'missing'\n"
        )
        self.assertEqual(self.ask(s, "tiny")[2]["eval_count"], 3)
        self.assertEqual(self.ask(s, "tiny", options={"num_predict": 5})[2]["eval_count"], 5)
        self.assertEqual(self.ask(s, "other", options={"num_predict": 5})[2]["eval_count"], 5)
        self.assertGreater(self.expires(s, "tiny:latest")[:4], self.expires(s, "other:latest")[:4])
        for model, status in (("tiny", 400), ("other", 200)):
            body = {
                "model": model,
                "prompt": "word " * 60,
                "stream": False,
                "options": {"num_predict": 1},
            }
            got = s.request("POST", "/api/generate", body)
            self.assertEqual(got[0], status, got)

    def rendered(self, s, messages, model="tiny"):
        body = {"model": model, "messages": messages, "_debug_render_only": True}
        return s.request("POST", "/api/chat", body)[2]["_debug_info"]["rendered_template"]

    def test_system(self):
        s = self.start('[models.tiny]\nsystem = "Be brief."\n')
        user, own = (
            {"role": "user", "content": "Hello"},
            {"role": "system", "content": "Be long."},
        )
        self.assertIn("Be brief.", self.rendered(s, [user]))
        self.assertNotIn("Be brief.", self.rendered(s, [own, user]))
        self.assertNotIn("Be brief.", self.rendered(s, [user], "other"))
        self.assertIn(
            "Be brief.",
            self.rendered(s, [user, {"role": "assistant", "content": "Hi"}]),
        )

    def test_aliases(self):
        s = self.start("[aliases]\ngpt-4o = 'tiny'\n'a/b' = 'missing'\n[models.tiny]\nparameters.num_predict = 2\n")
        status, _, reply = self.ask(s, "gpt-4o")
        self.assertEqual((status, reply["model"], reply["eval_count"]), (200, "gpt-4o", 2))
        self.assertEqual(self.ask(s, "gpt-4o:latest")[0], 200)
        self.assertEqual(self.ask(s, "a/b")[0], 404)
        names = {m["name"] for m in s.request("GET", "/api/tags")[2]["models"]}
        self.assertEqual(names, {"tiny:latest", "other:latest", "gpt-4o:latest"})
        names = {m["id"] for m in s.request("GET", "/v1/models")[2]["data"]}
        self.assertEqual(names, {"tiny", "other", "gpt-4o"})
        self.assertEqual(s.request("GET", "/v1/models/gpt-4o")[2]["id"], "tiny")
        self.assertEqual(s.request("POST", "/api/show", {"model": "gpt-4o"})[0], 200)
        self.assertEqual(len(s.request("GET", "/api/ps")[2]["models"]), 1)
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
        status, _, reply = s.request("POST", "/v1/chat/completions", body)
        self.assertEqual(
            (status, reply["model"], reply["usage"]["completion_tokens"]),
            (200, "gpt-4o", 2),
        )

    def test_pinned(self):
        s = self.start("max_loaded_models = 1\n[models.tiny]\npin = true\n", "--debug")
        self.assertTrue(self.expires(s, "tiny:latest"))
        self.assertEqual(self.ask(s, "tiny", keep_alive=0)[0], 200)
        self.assertEqual(self.ask(s, "other", keep_alive=0, options={"num_predict": 1})[0], 200)
        self.assertTrue(self.expires(s, "tiny:latest"))
        s.errors.seek(0)
        events = [(e["event"], e["model"]) for e in map(json.loads, s.errors) if e.get("event") in ("load", "unload")]
        self.assertIn(("load", "tiny"), events)
        self.assertIn(("load", "other"), events)
        self.assertNotIn(("unload", "tiny"), events)
        self.write("[models.none]\npin = true\n")
        done = self.pantry("serve", "--port", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{self.file}:1: models.\"none\": model 'none' not found", done.stderr)

    def test_variables_of_ollama(self):
        s = self.start(
            "",
            OLLAMA_ORIGINS="http://page.example",
            OLLAMA_KEEP_ALIVE="-1",
            OLLAMA_CONTEXT_LENGTH="100",
            OLLAMA_NUM_PARALLEL="1",
        )
        self.assertEqual(
            s.request("GET", "/api/tags", headers={"Origin": "http://page.example"})[0],
            200,
        )
        self.assertEqual(
            s.request("GET", "/api/tags", headers={"Origin": "http://other.example"})[0],
            403,
        )
        body = {
            "model": "tiny",
            "prompt": "word " * 60,
            "stream": False,
            "options": {"num_predict": 1},
        }
        self.assertEqual(s.request("POST", "/api/generate", body)[0], 400)

    def test_one_at_a_time(self):
        """With num_parallel 1, requests of a model follow each other."""
        s = self.start("num_parallel = 1\n")
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(self.ask(s, "tiny", options={"num_predict": 4})))
            for _ in range(6)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([r[0] for r in replies], [200] * 6)
        self.assertTrue(s.becomes_idle())


class Reload(Running):
    """SIGHUP reads the file again."""

    def test_every_setting(self):
        """Each that changed is named, by when it counts; the service goes on."""
        s = self.start("")
        keys = VALUES.keys() - {"sandbox", "public"}
        event = self.reload(s, "".join(f"{key} = {VALUES[key][0]}\n" for key in keys))
        self.assertEqual(set(event["now"]), AT_ONCE)
        self.assertEqual(set(event["next_load"]), NEXT_LOAD)
        # the option --port and two variables go before the file, so nothing changed there
        self.assertEqual(set(event["needs_restart"]), keys - AT_ONCE - NEXT_LOAD - {"port", "cache", "foreign"})
        self.assertEqual(s.request("GET", "/health")[0], 200)
        event = self.reload(s, 'host = "1.1.1.1"\n')
        self.assertEqual(set(event["needs_restart"]), {"host"})  # beside what the service runs with
        self.assertEqual(set(event["now"]), AT_ONCE)  # beside the last file
        event = self.reload(s, "")
        self.assertNotIn("needs_restart", event)
        event = self.reload(s, "")
        self.assertEqual(event.keys(), {"time", "event"})

    def test_what_counts_at_once(self):
        s = self.start('keep_alive = "5m"\n')
        page = {"Origin": "http://page.example"}
        self.assertEqual(s.request("GET", "/api/tags", headers=page)[0], 403)
        self.assertEqual(self.ask(s, "gpt-4o")[0], 404)
        self.assertEqual(self.ask(s, "tiny", options={"num_predict": 1})[0], 200)
        before = self.expires(s, "tiny:latest")
        self.reload(
            s,
            'origins = ["http://page.example"]\nkeep_alive = -1\nquiet = true\ndebug = true\n'
            "[aliases]\ngpt-4o = 'tiny'\n[models.other]\nparameters.num_predict = 2\n",
        )
        self.assertEqual(s.request("GET", "/api/tags", headers=page)[0], 200)
        self.assertEqual(self.ask(s, "gpt-4o", options={"num_predict": 1})[0], 200)
        self.assertGreater(self.expires(s, "tiny:latest")[:4], before[:4])
        self.assertEqual(self.ask(s, "other")[2]["eval_count"], 2)
        s.errors.seek(0)
        lines = [json.loads(line) for line in s.errors]
        at = next(i for i, e in enumerate(lines) if e.get("event") == "settings")
        self.assertEqual([e for e in lines[at + 1 :] if "path" in e], [])
        self.assertIn(("load", "other"), [(e.get("event"), e.get("model")) for e in lines[at:]])

    def test_what_counts_for_models_loaded_later(self):
        s = self.start("")
        long = {"model": "tiny", "prompt": "word " * 60, "stream": False, "options": {"num_predict": 1}}
        self.assertEqual(s.request("POST", "/api/generate", long)[0], 200)
        self.assertEqual(self.reload(s, "context_length = 100\n")["next_load"], ["context_length"])
        self.assertEqual(s.request("POST", "/api/generate", long)[0], 200)
        self.assertEqual(s.request("POST", "/api/generate", {"model": "tiny", "keep_alive": 0})[0], 200)
        self.assertEqual(s.request("POST", "/api/generate", long)[0], 400)

    def test_a_wrong_file_changes_nothing(self):
        s = self.start("[aliases]\ngpt-4o = 'tiny'\n")
        for text, why in (
            ("keep_alive = 5x\n", ":1: "),
            ("port = 99999\n", ":1: port: "),
            ("[models.a]\nno = 1\n", ":2: "),
        ):
            event = self.reload(s, text)
            self.assertEqual(event["event"], "settings stay as they are")
            self.assertIn(self.file + why, event["error"])
            self.assertEqual(self.ask(s, "gpt-4o", options={"num_predict": 1})[0], 200)
        self.reload(s, "")
        self.assertEqual(self.ask(s, "gpt-4o")[0], 404)

    def test_options_go_before_the_file(self):
        s = self.start("", "--origin", "http://own.example")
        self.assertNotIn("now", self.reload(s, 'origins = ["http://page.example"]\n'))
        self.assertEqual(s.request("GET", "/api/tags", headers={"Origin": "http://own.example"})[0], 200)

    def test_while_requests_run(self):
        """Requests that began with older settings end with them."""
        s = self.start("num_parallel = 1\n")
        replies = []
        ask = lambda: replies.append(self.ask(s, "tiny", options={"num_predict": 100})[0])
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for t in threads:
            t.start()
        for i in range(10):
            self.reload(s, f"num_parallel = {1 + i % 3}\n[aliases]\nname{i} = 'tiny'\n")
        for t in threads:
            t.join()
        self.assertEqual(replies, [200] * 8)


if __name__ == "__main__":
    unittest.main()
