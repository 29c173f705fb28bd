"""Runs test programs against a library, with limits, and measures which of them reach which functions."""

import glob
import gzip
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time

from mutation.build import ToolError, run, sum_of_all

E2E = "e2e"  # the tests of the program, for rooms that only they reach
E2E_SKIP = "test_anthropic test_first_minute test_job_control test_manual test_ollama test_openai test_pull"  # slow
MIB = 1 << 20
FAILED = re.compile(rb"^not ok (?!.*# SKIP)|\.\.\. (?:FAIL|ERROR)$", re.M)
HANGS = 50  # polls, three per second, without progress
POLLS = 0.1  # seconds of processor time in these polls that still count as waiting: a thread may poll a flag


class Result:
    def __init__(self, why, seconds, cpu, peak, output):
        self.why, self.seconds, self.cpu, self.peak, self.output = (
            why,
            seconds,
            cpu,
            peak,
            output,
        )


def program_of(test):
    return "pantry" if test == E2E else test


def command(test, program):
    return [sys.executable, "tests/e2e/run.py", program] if test == E2E else [program]


def environment(root, scratch, extra=None):
    home, tmp = os.path.join(scratch, "home"), os.path.join(scratch, "tmp")
    for path in (home, tmp):
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
    env = dict(
        os.environ,
        PANTRY_HOME=home,
        TMPDIR=tmp,
        VERBOSE="2",
        CMOCKA_MESSAGE_OUTPUT="TAP",
        E2E_SKIP=E2E_SKIP,
        PANTRY_SANDBOX="0",
    )  # coverage is written outside of the service's folders
    env.setdefault("PANTRY_TEST_DATA", os.path.join(os.path.dirname(root), "shared", "data"))
    return dict(env, **(extra or {}))


class Usage:
    """The resources of a process and its children, from /proc."""

    def __init__(self, pid):
        self.pid, self.ticks, self.page = (
            pid,
            os.sysconf("SC_CLK_TCK"),
            os.sysconf("SC_PAGE_SIZE"),
        )

    def of(self, pid):
        """(process group, seconds of processor time with ended children, bytes in memory), or None."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rsplit(b")", 1)[1].split()
        except OSError:
            return None
        return (
            int(fields[2]),
            sum(int(x) for x in fields[11:15]) / self.ticks,
            int(fields[21]) * self.page,
        )

    def alone(self):
        found = self.of(self.pid)
        return found and found[1:]

    def sleeps(self):
        """Whether every thread of the group waits; a runnable thread may only lack processor time."""
        for pid in (pid for pid in os.listdir("/proc") if pid.isdigit()):
            found = self.of(pid)
            if found and found[0] == self.pid and not self.threads_sleep(pid):
                return False
        return True

    @staticmethod
    def threads_sleep(pid):
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/stat", "rb") as file:
                    if file.read().rsplit(b")", 1)[1].split()[0] in (b"R", b"D"):
                        return False
        except OSError:
            pass
        return True


def run_test(argv, cwd, env, max_cpu, max_memory):
    """Runs until the end, the first failed test, or a limit. `why` is None when all went well."""
    # No core files, a limit of file sizes (in blocks of 512 bytes; outlines of large models have holes of 240 GB), and the kernel's limit of processor time.
    shell = [
        "/bin/sh",
        "-c",
        f'ulimit -c 0 -t {int(max_cpu) + 1} 2>/dev/null; ulimit -f 1073741824 2>/dev/null; exec "$@"',
        "sh",
    ]
    start = time.monotonic()
    process = subprocess.Popen(
        shell + argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    usage, output, why, looked, peak = Usage(process.pid), b"", None, start, 0
    used, moved, still = (
        0.0,
        0.0,
        0,
    )  # processor time, its value at the last progress, polls without progress
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while why is None:
            if selector.select(0.25):
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                output = (output + data)[-200000:]
                failed = FAILED.search(output)
                why = "failed: " + last_line(output, failed.start()) if failed else None
            now = time.monotonic()
            if now - looked > 0.3 and why is None:
                looked, read = now, usage.alone()
                used = max(used, read[0] if read else 0)
                if read and used <= moved + POLLS and usage.sleeps():
                    still += 1
                else:
                    moved, still = used, 0
                peak = max(peak, read[1] if read else 0)
                if peak > max_memory:
                    why = f"memory: more than {max_memory // MIB} MiB"
                elif used > max_cpu or (read is None and now - start > 4 * max_cpu):
                    why = f"time: more than {max_cpu:.0f} s"
                elif still > HANGS:
                    why = "time: hangs"
    if why:
        kill(process)
    status = process.wait()
    kill(process)  # the children it left
    process.stdout.close()
    if why is None and status:
        why = f"crashed: signal {-status}" if status < 0 else f"exit status {status}"
    return Result(why, time.monotonic() - start, used, peak, output)


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def last_line(output, start):
    return output[start:].split(b"\n")[0].decode(errors="replace").strip()[:120]


# ---- the baseline: which test reaches which function, and how long it takes ----


class Baseline:
    """Runs every test once with the files of interest counting their lines (gcov). Kept in build/mutate/reach, by the
    contents of library and test."""

    def __init__(self, build, files, tests, say):
        self.build, self.say = build, say
        self.digest = build.digest()[:16]
        self.folder = os.path.join(build.root, build.mine, "cover", self.digest)
        self.objects = sorted({o for path in files for o in build.users[path]})
        self.reach = {}  # test -> {"seconds", "peak", "files": {path: {"functions": [...], "lines": {...}}}}
        self.cache = os.path.join(build.root, build.mine, "reach", self.digest)
        os.makedirs(self.cache, exist_ok=True)
        missing = [test for test in tests if not self.load(test)]
        if missing:
            self.measure(missing)

    def path_of(self, test):
        """The file of a test's results; its name depends on the test's sources and golden files."""
        root = os.path.join(self.build.root, "tests")
        parts = (
            ["e2e/*.py"]
            if test == E2E
            else [
                f"unit/{test}.c",
                "unit/*.h",
                "support/*.[ch]",
                "golden/*.*",
                "golden/*/*.*",
            ]
        )
        sums = sum_of_all(path for part in parts for path in glob.glob(os.path.join(root, part)))
        return os.path.join(self.cache, f"{test}-{sums[:12]}.json.gz")

    def load(self, test):
        if not os.path.exists(self.path_of(test)):
            return False
        with gzip.open(self.path_of(test), "rt") as file:
            known = json.load(file)
        if not set(self.objects) <= set(known["objects"]):
            return False
        self.reach[test] = known
        return True

    def measure(self, tests):
        from concurrent.futures import ThreadPoolExecutor

        self.say(f"baseline: {len(self.objects)} objects count their lines, {len(tests)} test programs run")
        for old in glob.glob(os.path.join(self.build.root, self.build.mine, "cover", "*")):
            if old != self.folder:
                shutil.rmtree(old, ignore_errors=True)
        for name in ("counts", "scratch"):
            shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        os.makedirs(self.folder, exist_ok=True)
        with ThreadPoolExecutor(self.build.jobs) as pool:
            self.replaced = dict(zip(self.objects, pool.map(self.compile, self.objects)))
            self.replaced[self.build.library] = os.path.join(self.folder, "library.a")
            self.build.make_archive(self.replaced[self.build.library], self.replaced)
            failed = [line for line in pool.map(self.measure_one, tests) if line]
        if failed:
            raise ToolError("tests fail before anything is changed:\n" + "\n".join(failed))

    def own_object(self, test):
        """A test that includes a source file counts its lines itself."""
        for part in self.build.link[program_of(test)]:
            if any(path.endswith(".c") for path in self.build.test_reads.get(part, ())):
                return {part: self.compile(part)}
        return {}

    def compile(self, object_file):
        out = os.path.join(self.folder, os.path.relpath(object_file, self.build.out))
        if os.path.exists(out) and object_file in self.build.compile:
            return out
        known = self.build.compile if object_file in self.build.compile else self.build.compile_test
        argv = [a for a in known[object_file] if a != "-O3"]
        argv[argv.index("-o") + 1] = out
        os.makedirs(os.path.dirname(out), exist_ok=True)
        run(
            argv
            + [
                "--coverage",
                "-O2" if re.search("src/(tensor|device)/", object_file) else "-O1",
            ],
            self.build.root,
        )
        return out

    def measure_one(self, test):
        counts = os.path.join(self.folder, "counts", test)
        scratch = os.path.join(self.folder, "scratch", test)
        os.makedirs(counts)
        os.makedirs(scratch)
        replaced = dict(self.replaced, **self.own_object(test))
        self.build.link_program(program_of(test), scratch, replaced, ["--coverage"])
        env = environment(self.build.root, scratch, {"GCOV_PREFIX": counts})
        argv = command(test, os.path.join(scratch, program_of(test)))
        result = run_test(argv, self.build.root, env, 600, 8192 * MIB)
        if result.why:
            return f"{test}: {result.why}\n{result.output.decode(errors='replace')[-1500:]}"
        found = {
            "objects": self.objects,
            "seconds": result.seconds,
            "cpu": result.cpu,
            "peak": result.peak,
            "files": self.counted(counts),
        }
        with gzip.open(self.path_of(test), "wt") as file:
            json.dump(found, file)
        self.reach[test] = found
        return None

    def counted(self, counts):
        """gcov's result of one run: the functions and lines that ran."""
        data = glob.glob(f"{counts}/**/*.gcda", recursive=True)
        for path in data:
            os.symlink(path[len(counts) : -5] + ".gcno", path[:-5] + ".gcno")
        files = {}
        for some in (data[i : i + 40] for i in range(0, len(data), 40)):
            done = subprocess.run(
                ["gcov", "-j", "-t"] + some,
                cwd=self.build.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            if done.returncode:
                raise ToolError("gcov: " + done.stderr.decode(errors="replace")[-500:])
            for line in done.stdout.splitlines():
                for file in json.loads(line)["files"]:
                    if file["file"].startswith("src/"):
                        merge(
                            files.setdefault(file["file"], {"functions": {}, "lines": {}}),
                            file,
                        )
        return files

    def order(self, mutant, noticed):
        """The tests to run, best first: the quick, and those that noticed other mutants of the file, before the slow. A test
        that does not run the line notices nothing; where gcov has no count for the line (the second line of a statement,
        a table) it is those that run the function, or, outside of functions, any that runs the file."""
        known_line = self.reaches_line(mutant)
        functions = self.functions(mutant)
        chosen = []
        for test, known in self.reach.items():
            file = known["files"].get(mutant.path)
            if known_line:
                reached = self.hits(test, mutant)
            elif file and functions:
                reached = any(file["functions"].get(name, [0, 0, 0])[2] for name in functions)
            else:
                reached = bool(file) or self.only_data(mutant.path)
            if reached:
                chosen.append((known["seconds"] / (1 + noticed.get((mutant.path, test), 0)), test))
        return [test for _, test in sorted(chosen)]

    def reaches_line(self, mutant):
        return any(self.hits(test, mutant) for test in self.reach)

    def functions(self, mutant):
        return {
            name
            for known in self.reach.values()
            for name, (first, last, _) in known["files"].get(mutant.path, {"functions": {}})["functions"].items()
            if first <= mutant.number <= last
        }

    def only_data(self, path):
        return not any(known["files"].get(path, {"functions": {}})["functions"] for known in self.reach.values())

    def order_for_leaks(self, mutant):
        """The tests that run the line."""
        return [test for test in self.order(mutant, {}) if self.hits(test, mutant)]

    def hits(self, test, mutant):
        return self.reach[test]["files"].get(mutant.path, {"lines": {}})["lines"].get(str(mutant.number), 0)

    def limits(self, test):
        known = self.reach[test]
        return 5 * max(known["cpu"], 0.5) + 10, int(2 * known["peak"] + 1024 * MIB)


def merge(known, file):
    for function in file["functions"]:
        name, count = function["name"], function["execution_count"]
        old = known["functions"].get(name, [0, 0, 0])
        known["functions"][name] = [
            function["start_line"],
            function["end_line"],
            max(old[2], count),
        ]
    for line in file["lines"]:
        if line["count"]:
            known["lines"][str(line["line_number"])] = known["lines"].get(str(line["line_number"]), 0) + line["count"]
