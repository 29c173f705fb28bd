"""The Python package: tools/check-python builds its wheel, installs it into a fresh environment and runs its tests."""

import os
import subprocess
import unittest

import service


class Package(unittest.TestCase):
    def test_wheel_tests_and_types(self):
        build = os.path.dirname(service.PANTRY)
        relative = os.path.relpath(build, service.ROOT)
        if relative.startswith("..") or os.path.basename(build) in ("asan", "tsan", "debug"):
            self.skipTest("the library of this build cannot be loaded by Python")
        done = subprocess.run(
            [os.path.join(service.ROOT, "tools", "check-python"), relative],
            env={**os.environ, "PANTRY": service.PANTRY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode == 77:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
