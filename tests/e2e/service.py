"""Starts `pantry serve` for tests, and finds the client libraries (tests/requirements-clients.txt)."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))
PATIENCE = float(os.environ.get("PATIENCE", "120"))  # seconds; only a broken program waits that long


def client_library(name):
    """The module; skips the tests where it is not installed and cannot be."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pass
    venv = [os.path.join(ROOT, "tools", "venv"), os.path.join(ROOT, "build"), "clients"]
    done = subprocess.run(venv, capture_output=True, text=True)
    if done.returncode:
        raise unittest.SkipTest(f"the client libraries cannot be installed: {done.stderr.strip()[-300:]}")
    ask = "import sys, sysconfig; print(*sys.version_info[:2]); print(sysconfig.get_path('platlib'))"
    version, folder = subprocess.check_output([done.stdout.strip(), "-c", ask], text=True).splitlines()
    if version != "%d %d" % sys.version_info[:2]:
        raise unittest.SkipTest(f"the client libraries are for another Python: run this with {done.stdout.strip()}")
    sys.path.insert(0, folder)  # its packages fit together; others of this Python may be older
    return importlib.import_module(name)


def has_model(name):
    """Whether the store of this machine (PANTRY_HOME) has a model of the catalog."""
    done = subprocess.run([PANTRY, "list", "--json"], capture_output=True, text=True, timeout=PATIENCE)
    rows = json.loads(done.stdout) if done.returncode == 0 else []
    return any(row["name"] == name and row.get("path") for row in rows)


class Service:
    """A server; `models` are {name: file} for a store of its own, or None for this machine's store. `home` is the folder
    of that store, which stays; without it, it goes with the server."""

    def __init__(self, models, *arguments, quiet=True, env=None, context=None, fds=(), home=None):
        self.folder = tempfile.mkdtemp(prefix="pantry-serve-")
        self.context = context  # of TLS
        cache = os.path.join(home or self.folder, "cache")
        inherited = {k: v for k, v in os.environ.items() if models is None or k != "PANTRY_MODELS"}
        self.env = env = {**inherited, "PANTRY_FOREIGN": "0", "PANTRY_CACHE": cache, **(env or {})}
        env.pop("PANTRY_HOST", None)
        env.pop("OLLAMA_HOST", None)
        if models is not None:
            env["PANTRY_HOME"] = home or os.path.join(self.folder, "home")
            for name, path in models.items():
                subprocess.run(
                    [PANTRY, "import", path, "--name", name],
                    env=env,
                    check=True,
                    capture_output=True,
                )
        self.errors = open(os.path.join(self.folder, "errors"), "a+")
        command = [
            PANTRY,
            "serve",
            "--port",
            "0",
            *(["--quiet"] if quiet else []),
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            pass_fds=fds,
        )
        line = self.process.stdout.readline()
        found = re.search(r"listens on (\S+)", line)
        if not found:
            self.errors.seek(0)
            why = self.errors.read()
            self.stop()
            raise AssertionError(f"the server does not start: {line!r} {why!r}")
        self.url = found.group(1)
        self.port = int(self.url.rsplit(":", 1)[1]) if "://" in self.url else None

    def stop(self, number=signal.SIGTERM):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.errors.close()
        shutil.rmtree(self.folder)
        return status

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body as JSON if it is)"""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.context) as reply:
                status, got, text = reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                status, got, text = e.code, e.headers, e.read().decode()
        try:
            return status, got, json.loads(text)
        except ValueError:
            return status, got, text

    def metric(self, name):
        return float(re.search(rf"^pantry_{name} (\S+)$", self.request("GET", "/metrics")[2], re.M).group(1))

    def becomes_idle(self):
        """Waits until no request runs. False: some goes on."""
        deadline = time.monotonic() + PATIENCE
        while self.metric("requests_running") > 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
