"""Kills commands that change the store at chosen points, then asks the doctor, and finishes what was begun.

    python3 tests/e2e/kill_campaign.py [RUNS [SEED]]

A dry run of each command counts its calls that change files (kill_at.c). Half of the points are drawn from all calls of a
command, half from a kind of call first, so that rare calls (renames, locks) are met as often as writes. After each kill:
`pantry doctor --store` finds nothing wrong and the models that the command did not touch are whole; the same command
succeeds; `doctor --fix` then leaves exactly the files of a run that was not killed. RUNS are divided among the commands."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import registry_stub
import tiny_model

HERE = os.path.dirname(os.path.abspath(__file__))
PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(HERE, "..", "..", "build", "pantry")))
PART = 4 << 20  # bytes of a part of a download
LARGE = random.Random(1).randbytes(2 * PART + 12345)
PATIENCE = 300


class Failed(Exception):
    pass


def compile_interposer(folder):
    """The path of the library; None where there is no compiler or no LD_PRELOAD."""
    if not sys.platform.startswith("linux") or not shutil.which(os.environ.get("CC", "cc").split()[0]):
        return None
    out = os.path.join(folder, "kill_at.so")
    flags = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    source = os.path.join(HERE, "kill_at.c")
    subprocess.run([*os.environ.get("CC", "cc").split(), *flags, source, "-o", out, "-ldl"], check=True)
    return out


class Campaign:
    """A store with the models `kept` (never touched), `old`, and a registry with you/large:1."""

    def __init__(self, folder, interposer, seed=1):
        self.folder, self.interposer, self.random = folder, interposer, random.Random(seed)
        self.registry = registry_stub.Registry()
        self.pulled = f"localhost:{self.registry.port}/you/large:1"
        others = [("license", b"free"), ("params", b'{"temperature": 0.5}')]
        self.registry.add("you/large:1", LARGE, others)
        self.file = os.path.join(folder, "new.gguf")
        tiny_model.write(self.file, seed=2)
        self.modelfile = os.path.join(folder, "Modelfile")
        with open(self.modelfile, "w") as file:
            file.write(f'FROM {self.file}\nSYSTEM "Be brief."\nPARAMETER temperature 0.5\n')
        self.start = os.path.join(folder, "start")  # the store before each run
        self.home = os.path.join(folder, "home")
        first = os.path.join(folder, "first.gguf")
        tiny_model.write(first)
        self.run("import", first, "--name", "kept", home=self.start)
        self.run("import", first, "--name", "old", home=self.start)
        tiny_model.write(first, seed=3)
        self.run("import", first, "--name", "single", home=self.start)
        self.kept = self.snapshot(self.start)
        self.again = 0  # the most bytes that a resumed pull fetched again

    # One row per command: what it is called with. A name that may be missing afterwards is its own business.
    def commands(self):
        rows = {
            "pull": ["pull", self.pulled],
            "import": ["import", self.file, "--name", "new"],
            "import over": ["import", self.file, "--name", "single"],
            "cp": ["cp", "old", "me/copy:1"],
            "cp over": ["cp", "old", "single"],
            "rm": ["rm", "single"],
            "rm one of two": ["rm", "old"],
            "create": ["create", "new", "-f", self.modelfile],
        }
        known = {command["name"] for command in json.loads(self.run("help", "--json"))["commands"]}
        return {name: row for name, row in rows.items() if row[0] in known}

    def environment(self, home=None, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("KILL_")}
        preload = {"LD_PRELOAD": self.interposer} if self.interposer else {}
        return {**env, **preload, "PANTRY_HOME": home or self.home, "PANTRY_FOREIGN": "0", "no_proxy": "*", **more}

    def call(self, arguments, home=None, **more):
        env = self.environment(home, **more)
        return subprocess.run([PANTRY, *arguments], env=env, capture_output=True, text=True, timeout=PATIENCE)

    def run(self, *arguments, home=None, **more):
        done = self.call(arguments, home, **more)
        if done.returncode:
            raise Failed(f"pantry {' '.join(arguments)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def snapshot(self, home):
        """Every file of the store with its size, but for the locks."""
        rows = {}
        for at, _, files in os.walk(home):
            for name in files:
                path = os.path.join(at, name)
                if "lock" not in os.path.relpath(path, home):
                    rows[os.path.relpath(path, home)] = os.lstat(path).st_size
        return rows

    def reset(self):
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.start, self.home, symlinks=True)

    def examine(self, *arguments):
        report = json.loads(self.run("doctor", "--store", "--json", *arguments))
        if not report["ok"]:
            raise Failed(f"the doctor found: {report}")
        return report

    def measure(self, command):
        """(calls of each kind, the files afterwards) of a run that is not killed."""
        self.reset()
        counts = os.path.join(self.folder, "counts")
        self.run(*command, KILL_COUNT=counts)
        with open(counts) as file:
            kinds = {kind: int(n) for kind, n in (line.split() for line in file)}
        if self.examine()["leftover"]:
            raise Failed(f"{command} leaves something that a doctor finds")
        return {kind: n for kind, n in kinds.items() if n}, self.snapshot(self.home)

    def draw(self, kinds):
        """A point, and how to die there."""
        if self.random.random() < 0.5:
            at = f"ANY:{self.random.randint(1, sum(kinds.values()))}"
        else:
            kind = self.random.choice(sorted(kinds))
            at = f"{kind}:{self.random.randint(1, kinds[kind])}"
        return {"KILL_AT": at, "KILL_HOW": self.random.choice(["before", "middle", "after"])}

    def kill(self, command, point, after):
        """One run. True if the command was killed; it ends before a point that is not met this time."""
        self.reset()
        self.registry.sent = 0
        done = self.call(command, **point)
        if done.returncode not in (0, -9):
            raise Failed(f"status {done.returncode}: {done.stdout}{done.stderr}")
        self.examine()
        for path, size in self.kept.items():
            if "/kept/" in path and self.snapshot(self.home).get(path) != size:
                raise Failed(f"{path} is another one or gone")
        self.run("check", "kept")
        if command[0] == "rm":  # it may be done already
            again = self.call(command)
            if again.returncode and "not in the store" not in again.stderr:
                raise Failed(f"again: {again.stderr}")
        else:
            self.run(*command)
        if command[0] == "pull":
            self.again = max(self.again, self.registry.sent - sum(map(len, self.registry.blobs.values())))
        if self.examine("--fix")["leftover"] or self.snapshot(self.home) != after:
            raise Failed(f"left: {self.snapshot(self.home)}, wanted {after}")
        return done.returncode == -9

    def all(self, runs, say=lambda text: None):
        """How many runs were killed. Raises Failed with the point where something is wrong."""
        killed, commands = 0, self.commands()
        for i, (name, command) in enumerate(commands.items()):
            kinds, after = self.measure(command)
            mine = runs // len(commands) + (i < runs % len(commands))
            n = 0
            for _ in range(mine):
                point = self.draw(kinds)
                try:
                    n += self.kill(command, point, after)
                except Failed as e:
                    raise Failed(f"{name} at {point}: {e}") from e
            say(f"{name}: {n} of {mine} runs killed at one of {sum(kinds.values())} calls; nothing wrong")
            killed += n
        return killed

    def close(self):
        self.registry.close()


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    folder = tempfile.mkdtemp(prefix="pantry-kill-")
    try:
        interposer = compile_interposer(folder)
        if not interposer:
            sys.exit("needs Linux and a C compiler")
        campaign = Campaign(folder, interposer, seed)
        killed = campaign.all(runs, lambda text: print(text, flush=True))
        campaign.close()
        print(f"{killed} of {runs} runs killed; a resumed pull fetched at most {campaign.again:,} bytes again")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
