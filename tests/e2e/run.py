"""Runs the tests of the program: python3 tests/e2e/run.py [PROGRAM]. Ends with "N passed, N failed".

Modules run side by side, JOBS at a time (one per processor), each in a process of its own: a line for each that ends, and what it
printed if a test failed. E2E_SKIP names modules that do not run, E2E_ONLY the only ones that do ("keys" for test_keys)."""

import os
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor, as_completed

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def run_here(name):
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    result = unittest.TextTestRunner(verbosity=int(os.environ.get("VERBOSE", "1"))).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"sums {result.testsRun - failed - skipped} {failed} {skipped}", flush=True)


def run(name):
    """The sums of a module (passed, failed, skipped), what it printed, and its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--module", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    *_, last = done.stdout.splitlines() or [""]
    words = last.split()
    ended = words[:1] == ["sums"] and done.returncode == 0
    return [int(n) for n in words[1:]] if ended else [0, 1, 0], done.stdout, time.monotonic() - start


def main():
    if sys.argv[1:2] == ["--module"]:
        return run_here(sys.argv[2])
    if len(sys.argv) > 1:
        os.environ["PANTRY"] = os.path.abspath(sys.argv[1])
    only = [f"test_{name}" for name in os.environ.get("E2E_ONLY", "").split()]
    skip = os.environ.get("E2E_SKIP", "").split()
    files = [n for n in os.listdir(HERE) if n.startswith("test_") and n.endswith(".py")]
    names = only or [n[:-3] for n in sorted(files, key=lambda n: -os.path.getsize(os.path.join(HERE, n)))]
    sums = [0, 0, 0]
    with ThreadPoolExecutor(int(os.environ.get("JOBS") or os.cpu_count())) as pool:
        running = {pool.submit(run, name): name for name in names if name not in skip}
        for done in as_completed(running):
            (passed, failed, skipped), text, seconds = done.result()
            if failed:
                print(text)
            state = f"{failed} FAILED" if failed else "ok"
            print(f"{running[done]}: {state}, {passed} passed, {skipped} skipped, {seconds:.0f} s", flush=True)
            sums = [a + b for a, b in zip(sums, (passed, failed, skipped))]
    print(f"{sums[0]} passed, {sums[1]} failed" + (f", {sums[2]} skipped" if sums[2] else ""), flush=True)
    return sums[1] > 0


sys.exit(main())
