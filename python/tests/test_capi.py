"""The declarations for ctypes say what pantry.h says."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from support import ROOT

from pantry import _capi, errors


def header():
    with open(os.path.join(ROOT, "include", "pantry.h"), encoding="utf-8") as file:
        return re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)


def prototypes():
    """Name: [arguments], of each function in pantry.h."""
    found = {}
    for name, arguments in re.findall(r"PANTRY_API[^;(]*?\b(pantry_\w+)\(([^;]*)\);", header()):
        parts = [" ".join(part.split()) for part in arguments.split(",")]
        found[name] = [] if parts == ["void"] else parts
    return found


def compiled(program):
    """What a C program that includes pantry.h prints."""
    compiler = shutil.which("cc")
    if not compiler:
        raise unittest.SkipTest("there is no cc")
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "a.c"), os.path.join(folder, "a")
        with open(source, "w", encoding="utf-8") as file:
            file.write(f"#include <pantry.h>\n#include <stdio.h>\nint main(void)\n{{\n{program}\nreturn 0;\n}}\n")
        subprocess.run([compiler, "-std=c17", "-I", os.path.join(ROOT, "include"), source, "-o", out], check=True)
        return subprocess.check_output([out], text=True).split()


class Declarations(unittest.TestCase):
    def test_structs_have_the_layout_of_the_header(self):
        rows, lines = [], []
        for struct in _capi.STRUCTS:
            name = f"struct {struct.c_name}"
            rows.append((name, ctypes.sizeof(struct)))
            lines.append(f'printf("%zu\\n", sizeof({name}));')
            for member, kind, *_ in struct._fields_:
                rows += [(f"{name}.{member}", getattr(struct, member).offset), (member, ctypes.sizeof(kind))]
                lines.append(f'printf("%zu %zu\\n", offsetof({name}, {member}), sizeof((({name} *)0)->{member}));')
        numbers = [int(n) for n in compiled("\n".join(lines))]
        self.assertEqual(len(numbers), len(rows))
        for (what, ours), theirs in zip(rows, numbers):
            self.assertEqual(ours, theirs, what)

    def test_enumerations_have_the_numbers_of_the_header(self):
        rows = [(p + n, number) for p, names in _capi.ENUMS.items() for n, number in names.items()]
        printed = compiled("\n".join(f'printf("%d\\n", (int){name});' for name, _ in rows))
        self.assertEqual([number for _, number in rows], [int(n) for n in printed])

    def test_functions_have_the_arguments_of_the_header(self):
        known = prototypes()
        self.assertGreater(len(known), 100)
        for name, (_, arguments) in _capi.FUNCTIONS.items():
            self.assertIn(name, known)
            self.assertEqual(len(arguments), len(known[name]), name)
            for ours, theirs in zip(arguments, known[name]):
                pointer = "*" in theirs or "_callback" in theirs
                self.assertEqual(ctypes.sizeof(ours) == ctypes.sizeof(ctypes.c_void_p) and ours is not ctypes.c_size_t
                                 and ours is not ctypes.c_uint64, pointer, (name, theirs))  # fmt: skip

    def test_each_status_has_a_class(self):
        statuses = re.findall(r"PANTRY_\w+ = (-\d+)", header())
        self.assertEqual({int(n) for n in statuses}, set(errors.BY_STATUS))
        for status, kind in errors.BY_STATUS.items():
            self.assertEqual(kind.status, status)
            self.assertTrue(issubclass(kind, errors.PantryError))

    def test_calls_release_the_lock_of_the_interpreter(self):
        self.assertIs(type(_capi.lib), ctypes.CDLL)


if __name__ == "__main__":
    unittest.main()
