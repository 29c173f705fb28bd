"""tools/check-abi sees what would break programs, and lets pantry.h grow."""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Interface(unittest.TestCase):
    def check(self, *changes):
        """(status, output) for a header with changes (old text, new text)."""
        with open(os.path.join(ROOT, "include", "pantry.h"), encoding="utf-8") as file:
            text = file.read()
        for old, new in changes:
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pantry.h")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            tool = os.path.join(ROOT, "tools", "check-abi")
            done = subprocess.run([sys.executable, tool, path], stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    def test_the_header_is_as_listed(self):
        status, said = self.check()
        self.assertEqual(status, 0, said)

    def test_names_of_arguments_and_comments_may_change(self):
        status, said = self.check(
            ("pantry_check(const char *path,", "pantry_check(const char *file, /* a GGUF file */")
        )
        self.assertEqual(status, 0, said)

    def test_breaks(self):
        rows = (
            ("PANTRY_API const char *pantry_version(void);", "", "pantry_version(void) -> const char * (now: missing)"),
            ("pantry_check(const char *path,", "pantry_check(const void *path,", "function pantry_check"),
            ("PANTRY_INVALID = -1,", "PANTRY_INVALID = -21,", "constant PANTRY_INVALID = -1 (now"),
            ("    int n_prompt; /* tokens of the prompt */", "", "member pantry_stats.n_prompt"),
            ("int penalty_last_n;  ", "int64_t penalty_last_n;", "member pantry_sampling.penalty_last_n"),
            ("uint64_t reserved[5];", "uint64_t reserved[6];", "struct pantry_sampling: 88 bytes"),
            ("typedef bool pantry_token_callback(void *user,", "typedef bool pantry_token_callback(", "callback"),
        )
        for old, new, named in rows:
            status, said = self.check((old, new))
            self.assertEqual(status, 1, old)
            self.assertIn("would break", said)
            self.assertIn(named, said)

    def test_growth_has_to_be_listed(self):
        status, said = self.check(
            ("PANTRY_API const char *pantry_version(void);",
             "PANTRY_API const char *pantry_version(void);\nPANTRY_API int pantry_new(int a);"),
            ("    uint64_t reserved[5];", "    float tail; float rest; uint64_t reserved[4];"),
        )  # fmt: skip
        self.assertEqual(status, 1)
        self.assertNotIn("would break", said)
        for line in ("function pantry_new(int) -> int", "member pantry_sampling.tail at 48, 4 bytes"):
            self.assertIn(line, said)

    def test_another_first_number_is_another_interface(self):
        status, said = self.check(('#define PANTRY_VERSION "0.', '#define PANTRY_VERSION "7.'))
        self.assertEqual((status, "abi 7" in said), (1, True), said)


if __name__ == "__main__":
    unittest.main()
