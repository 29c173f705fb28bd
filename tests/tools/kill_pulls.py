#!/usr/bin/env python3
"""Kills `pantry pull` at random points and looks at the store each time: tests/tools/kill_pulls.py [COUNT [SEED]].

PANTRY names the program, build/pantry by default. After a kill every file with the name of a blob has its digest, a
model with a manifest is whole, and what was written but not noted, so that it is fetched again, is less than one part
of the download. A pull that ends leaves nothing unfinished, and has asked for no byte that was noted."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
from registry_stub import Registry, digest  # noqa: E402

PART, BLOCK = 4 << 20, 4096


class Campaign:
    def __init__(self, pantry, seed):
        self.pantry, self.random = pantry, random.Random(seed)
        self.registry = Registry()
        self.large = self.random.randbytes(23 * (1 << 20) + 12345)
        self.small = [b"GGUF" + self.random.randbytes(n) for n in (100000, 700)]
        self.registry.add("you/model:1", self.small[0], [("projector", self.large), ("license", self.small[1])])
        self.name = f"localhost:{self.registry.port}/you/model:1"
        self.home = tempfile.mkdtemp(prefix="pantry-kill-")
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.env["PANTRY_HOME"] = self.home
        self.kills = self.pulls = self.most_again = 0

    def close(self):
        self.registry.close()
        shutil.rmtree(self.home)

    def blobs(self):
        folder = os.path.join(self.home, "models", "blobs")
        return {name: os.path.join(folder, name) for name in os.listdir(folder)} if os.path.isdir(folder) else {}

    def manifest(self):
        return os.path.join(self.home, "models", "manifests", f"localhost:{self.registry.port}", "you", "model", "1")

    def noted(self):
        """Bytes that the state of the large blob says are there; None: it has none."""
        stem = digest(self.large).replace(":", "-")
        path = self.blobs().get(stem + "-partial-state")
        if not path:
            return None
        with open(path) as file:
            lines = file.read().split("\n")
        return sum(int(line) for line in lines[4:] if re.fullmatch(r"\d{20}", line))

    def written(self):
        """Bytes of the large blob that are in its unfinished file, by comparison."""
        with open(self.blobs()[digest(self.large).replace(":", "-") + "-partial-data"], "rb") as file:
            data = file.read()
        blocks = range(0, len(data), BLOCK)
        return sum(len(data[at : at + BLOCK]) for at in blocks if data[at : at + BLOCK] == self.large[at : at + BLOCK])

    def look(self):
        for name, path in self.blobs().items():
            if "partial" not in name:
                with open(path, "rb") as file:
                    assert f"sha256-{hashlib.sha256(file.read()).hexdigest()}" == name, f"{name} has other bytes"
        if os.path.exists(self.manifest()):
            with open(self.manifest(), "rb") as file:
                root = json.loads(file.read())
            for layer in [*root["layers"], root["config"]]:
                assert layer["digest"].replace(":", "-") in self.blobs(), f"{layer['digest']} is missing"
        noted = self.noted()
        if noted is not None:
            again = self.written() - noted
            assert again < PART, f"{again} bytes were written, but not noted"
            self.most_again = max(self.most_again, again)
        return noted

    def asked(self):
        ranges = [h["Range"] for path, h in self.registry.log if digest(self.large) in path and "Range" in h]
        spans = [re.fullmatch(r"bytes=(\d+)-(\d+)", span) for span in ranges]
        return sum(int(span.group(2)) - int(span.group(1)) + 1 for span in spans)

    def start(self):
        return subprocess.Popen(
            [self.pantry, "pull", self.name], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def end(self, noted):
        """A pull that nobody kills."""
        here = digest(self.large).replace(":", "-") in self.blobs()
        self.registry.log.clear()
        child = self.start()
        _, err = child.communicate(timeout=600)
        assert child.returncode == 0, err.decode()
        self.look()
        assert os.path.exists(self.manifest())
        assert not [name for name in self.blobs() if "partial" in name]
        pruned = subprocess.run([self.pantry, "prune"], env=self.env, capture_output=True)
        assert pruned.returncode == 0, pruned.stderr.decode()
        assert os.listdir(os.path.join(self.home, "models", "fetch", "locks")) == []
        assert len(self.blobs()) == 4
        wanted = 0 if here else len(self.large) - (noted or 0)
        assert self.asked() == wanted, f"asked for {self.asked()} bytes, {wanted} were missing"
        self.pulls += 1

    def run(self, count):
        self.registry.rate = 24 << 20
        begin = time.monotonic()
        self.end(None)
        whole = time.monotonic() - begin
        while self.kills < count:
            shutil.rmtree(self.home)
            noted = None
            for _ in range(self.random.randint(1, 6)):
                child = self.start()
                try:
                    child.wait(self.random.uniform(0, 1.1 * whole))
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    self.kills += 1
                child.communicate()
                noted = self.look()
            self.end(noted)
            print(f"{self.kills} kills", file=sys.stderr, flush=True)


def main(count=40, seed=1):
    pantry = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))
    campaign = Campaign(pantry, int(seed))
    try:
        campaign.run(int(count))
        print(f"{campaign.kills} kills, {campaign.pulls} whole pulls, at most {campaign.most_again} bytes again")
    finally:
        campaign.close()
    return campaign


if __name__ == "__main__":
    main(*sys.argv[1:])
