"""Runs the tests of the program: python3 tests/e2e/run.py [PROGRAM]. Ends with "N passed, N failed".

E2E_SKIP names modules that do not run, E2E_ONLY the only ones that do ("keys" for test_keys)."""

import os
import sys
import unittest

if len(sys.argv) > 1:
    os.environ["PANTRY"] = os.path.abspath(sys.argv[1])
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
only = [f"test_{name}" for name in os.environ.get("E2E_ONLY", "").split()]
skip = os.environ.get("E2E_SKIP", "").split()
names = sorted(name[:-3] for name in os.listdir(here) if name.startswith("test_") and name.endswith(".py"))
suite = unittest.defaultTestLoader.loadTestsFromNames(name for name in only or names if name not in skip)
result = unittest.TextTestRunner(verbosity=int(os.environ.get("VERBOSE", "1"))).run(suite)
n_failed = len(result.failures) + len(result.errors)
n_passed = result.testsRun - n_failed - len(result.skipped)
skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
print(f"{n_passed} passed, {n_failed} failed{skipped}", flush=True)
sys.exit(n_failed > 0)
