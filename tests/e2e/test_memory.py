"""Little memory: a process reports it in one sentence and is never killed."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import tiny_model  # noqa: E402

PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))
GIB = 1 << 30
# 256 bytes of keys and values per token: this context needs 2 GiB.
LARGE = ("--ctx", "8000000", "--kv-type", "f32")


def setUpModule():
    global FOLDER, MODEL
    FOLDER = tempfile.mkdtemp(prefix="pantry-memory-")
    MODEL = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(MODEL)


def tearDownModule():
    shutil.rmtree(FOLDER)


class Group:
    """A control group below this process's own with a limit, version 1 or 2."""

    def __init__(self, limit):
        v1 = os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        own = {}
        with open("/proc/self/cgroup") as f:
            for line in f:
                _, resources, path = line.rstrip("\n").split(":", 2)
                own[resources] = path
        base = "/sys/fs/cgroup/memory" + own.get("memory", "") if v1 else "/sys/fs/cgroup" + own.get("", "")
        self.folder = os.path.join(base, f"pantry-e2e-{os.getpid()}")
        os.mkdir(self.folder)
        try:
            self.put("memory.limit_in_bytes" if v1 else "memory.max", limit)
        except OSError:
            os.rmdir(self.folder)
            raise

    def put(self, name, value):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(str(value))

    def enter(self):
        self.put("cgroup.procs", os.getpid())

    def close(self):
        os.rmdir(self.folder)


def generate(*arguments, preexec_fn=None):
    return subprocess.run(
        [PANTRY, "generate", MODEL, "-p", "hi", "-n", "4", "--temp", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=preexec_fn,
    )


class Memory(unittest.TestCase):
    def refused(self, done, *words):
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in ("a context of 8000000 tokens needs ", *words):
            self.assertIn(word, done.stderr)

    def test_limit_of_the_user(self):
        self.refused(generate(*LARGE, "--memory", "1G"), " left of the 1.0 GiB that pantry may use")
        self.refused(generate(*LARGE, "--memory=1.5 GiB"), " left of the 1.5 GiB that pantry may use")
        self.assertEqual(generate("--memory", "64m").returncode, 0)
        done = generate("--memory", "10K")
        self.assertEqual(done.returncode, 1)
        self.assertIn("tiny.gguf: the model needs ", done.stderr)
        for wrong in ("", "G", "1.5.2G", "-1G", "1X", "2GiBs", "nan", "99999999T"):
            self.assertEqual(generate("--memory", wrong).returncode, 2, wrong)

    def test_control_group(self):
        try:
            group = Group(GIB)
        except OSError as e:
            self.skipTest(f"no control group can be made here: {e}")
        try:
            self.refused(generate(*LARGE, preexec_fn=group.enter), " left of the 1.0 GiB that the control group allows")
            done = generate(preexec_fn=group.enter)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(generate("--ctx", "2000000", preexec_fn=group.enter).returncode, 0)
        finally:
            group.close()

    @unittest.skipUnless(sys.platform == "linux", "macOS does not count addresses")
    def test_limit_on_addresses(self):
        for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):

            def limit(which=which):
                resource.setrlimit(which, (GIB, GIB))

            self.refused(generate(*LARGE, preexec_fn=limit), "of addresses are left")
            done = generate(preexec_fn=limit)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
