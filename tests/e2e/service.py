"""A running `pantry serve`, for tests of the service."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))


class Service:
    """Listens on a free port; `home` is its PANTRY_HOME."""

    def __init__(self, home, *options):
        self.log = open(os.path.join(home, "serve.log"), "ab")
        self.process = subprocess.Popen(
            [PANTRY, "serve", "--port", "0", *options],
            env={**os.environ, "PANTRY_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            self.stop()
            raise RuntimeError(f"pantry serve said {line!r}")
        self.url = found.group()
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self, number=signal.SIGTERM):
        """Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()
        return status

    def call(self, method, path, body=None, headers=None):
        """(status, JSON value or text, headers)"""
        data = None if body is None else json.dumps(body).encode() if not isinstance(body, bytes) else body
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, read(reply), reply.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, read(error), error.headers

    def get(self, path, **rest):
        return self.call("GET", path, **rest)

    def post(self, path, body, **rest):
        return self.call("POST", path, body, **rest)

    def metric(self, name):
        text = self.get("/metrics")[1]
        return int(re.search(rf"^pantry_{name} (\d+)$", text, re.M).group(1))


def read(reply):
    data = reply.read().decode()
    return json.loads(data) if "json" in reply.headers.get("Content-Type", "") else data
