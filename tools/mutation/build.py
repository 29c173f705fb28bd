"""Compiles and links mutants. The baseline is the ordinary build; the commands are make's own, so a mutant is compiled like
the product. It needs its own objects, an archive that names them, and a link per test program that runs."""

import glob
import hashlib
import os
import shlex
import shutil
import subprocess
import threading

MAX_OBJECTS = 32  # headers in more objects are left out: a mutant would cost a minute


class ToolError(Exception):
    pass


class LinkError(ToolError):
    pass


def run(argv, cwd, check=True):
    done = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise ToolError(f"{' '.join(argv)}\n{done.stdout.decode(errors='replace')[-3000:]}")
    return done.returncode == 0


def sum_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def sum_of_all(paths):
    sums = hashlib.sha256()
    for path in sorted(paths):
        sums.update(sum_of(path).encode())
    return sums.hexdigest()


def processor_has(folder):
    """Whether this processor runs the code of an instruction set's folder; other code is not mutated."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = file.read().split()
    except OSError:
        return True
    return not folder.startswith("avx") or any(flag.startswith(folder) for flag in flags)


class Build:
    """The baseline: make's commands, and copies of its archives and objects, so that make may run meanwhile."""

    def __init__(self, root, jobs):
        self.root, self.jobs = root, jobs
        self.out = os.environ.get("BUILD", "build")
        self.mine = os.path.join(self.out, "mutate")
        self.tests = sorted(os.path.basename(p)[:-2] for p in glob.glob(f"{root}/tests/unit/test_*.c"))
        self.make("tests", f"{self.out}/pantry")
        self.read_commands()
        self.read_dependencies()
        self.take_copies()
        self.originals, self.lock = {}, threading.Lock()

    def make(self, *targets, extra=()):
        argv = ["make", "--no-print-directory", f"-j{self.jobs}", *extra, *targets]
        done = subprocess.run(argv, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise ToolError(f"{' '.join(argv)}\n{done.stdout[-3000:]}")
        return done.stdout

    def read_commands(self):
        """The commands of make: object -> command, and program -> command that links it."""
        self.compile, self.compile_test, self.link, self.embedded = {}, {}, {}, []
        for line in self.make("tests", f"{self.out}/pantry", extra=["-n", "-B", "V=1"]).split("\n"):
            if " -o " not in line or line.startswith("printf"):
                continue
            argv = shlex.split(line)
            target = argv[argv.index("-o") + 1]
            if "-c" not in argv:
                self.link[os.path.basename(target)] = argv
            elif target.startswith(f"{self.out}/src/"):
                # Without debug information equal code is an equal object.
                self.compile[target] = [a for a in argv if a not in ("-MMD", "-MP", "-g")]
            elif target.startswith(f"{self.out}/embedded/"):
                self.embedded.append(target)
            elif target.startswith(f"{self.out}/tests/unit/"):
                self.compile_test[target] = [a for a in argv if a not in ("-MMD", "-MP", "-g")]
        if not self.compile or sorted(self.link) != sorted(self.tests + ["pantry"]):
            raise ToolError("make does not show the commands that compile and link")

    def read_dependencies(self):
        """File of src/ -> its objects."""
        self.users = {}
        named = self.with_symbols()
        for object_file in self.compile:
            isa = object_file.partition("/cpu/isa/")[2].partition("/")[0]
            if not processor_has(isa) or object_file not in named:
                continue  # for another processor, or for another system
            for path in self.read_from(object_file):
                self.users.setdefault(path, []).append(object_file)
        self.users = {path: objects for path, objects in self.users.items() if len(objects) <= MAX_OBJECTS}
        # Some tests include a source file, and all include headers: then their own objects change too.
        self.test_reads = {object_file: self.read_from(object_file) for object_file in self.compile_test}

    def read_from(self, object_file):
        """The files of src/ in an object."""
        with open(os.path.join(self.root, object_file[:-2] + ".d"), encoding="utf-8") as file:
            first = file.read().replace("\\\n", " ").split("\n")[0]
        paths = {os.path.normpath(path) for path in first.split(":", 1)[1].split()}
        return sorted(path for path in paths if path.startswith("src/"))

    def with_symbols(self):
        done = subprocess.run(
            ["nm", "-A", *self.compile], cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return {line.partition(b":")[0].decode() for line in done.stdout.splitlines()}

    def take_copies(self):
        """The inputs of a link, without the debug information that makes links slow."""
        parts = {a for argv in self.link.values() for a in argv if a.startswith(self.out) and a[-2:] in (".o", ".a")}
        self.library = f"{self.out}/libpantry.a"
        # Of the embedded files, the program's own are in the commands that link it.
        self.members = [a for a in self.compile if not a.startswith(f"{self.out}/src/cli/")]
        self.members += [a for a in self.embedded if a not in parts]
        self.parts = {part: os.path.join(self.mine, "base", part) for part in parts | set(self.members)}
        changed = []
        for part, copy in self.parts.items():
            part, copy = os.path.join(self.root, part), os.path.join(self.root, copy)
            if part.endswith(self.library) or os.path.exists(copy) and os.path.getmtime(copy) > os.path.getmtime(part):
                continue
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(part, copy)
            changed.append(copy)
        if changed:
            run(["strip", "--strip-debug", *changed], self.root)
        self.make_archive(self.parts[self.library], {})

    def make_archive(self, path, replaced):
        """A library that names its members instead of holding them."""
        if os.path.exists(os.path.join(self.root, path)):
            os.remove(os.path.join(self.root, path))
        members = [os.path.join(self.root, replaced.get(a, self.parts[a])) for a in self.members]
        run(["ar", "rcsT", os.path.join(self.root, path)] + members, self.root)

    def files(self):
        """The files of src/ that mutants may change."""
        return sorted(self.users)

    def digest(self):
        """A sum that changes with the library."""
        sources = [
            p for folder in ("src", "include") for p in glob.glob(f"{self.root}/{folder}/**/*.*", recursive=True)
        ]
        return sum_of_all(sources + [os.path.join(self.root, self.out, "flags")])

    def link_program(self, name, folder, replaced, extra=()):
        """A program in a folder, with its library or some of its own objects replaced."""
        argv = [replaced.get(a, self.parts.get(a, a)) for a in self.link[name]]
        argv[argv.index("-o") + 1] = os.path.join(folder, name)
        if not run(argv + ["-Wl,-S", *extra], self.root, check=not self.library in replaced):
            raise LinkError(f"{name} cannot be linked")


class Worker:
    """A private copy of the sources, so that mutants are compiled in parallel."""

    def __init__(self, build, index):
        self.build = build
        self.folder = os.path.join(build.root, build.mine, f"worker-{index}")
        self.programs = os.path.join(self.folder, "programs")
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("src", "include", "tests"):
            shutil.copytree(os.path.join(build.root, name), os.path.join(self.folder, name), symlinks=True)
        for name in os.listdir(build.root):  # the program's own tests read the documentation
            if name[0] != "." and name != build.out and not os.path.exists(os.path.join(self.folder, name)):
                os.symlink(os.path.join(build.root, name), os.path.join(self.folder, name))
        os.makedirs(self.programs)

    def compile(self, object_file, out):
        argv = list(self.build.compile[object_file])
        argv[argv.index("-o") + 1] = out
        os.makedirs(os.path.join(self.folder, os.path.dirname(out)), exist_ok=True)
        return run(argv + ["-Werror"], self.folder, check=False)

    def original(self, object_file):
        """The sum of an object without a mutant."""
        with self.build.lock:
            if object_file not in self.build.originals:
                if not self.compile(object_file, "original.o"):
                    raise ToolError(f"{object_file} does not compile without warnings before anything is changed")
                self.build.originals[object_file] = sum_of(f"{self.folder}/original.o")
            return self.build.originals[object_file]

    def make(self, mutant):
        """'invalid', 'equal', or 'ready': then link() makes programs with the mutant. It stays until restore()."""
        objects = self.build.users[mutant.path]
        originals = [self.original(object_file) for object_file in objects]
        self.mutant, self.replaced = mutant, {}
        with open(os.path.join(self.folder, mutant.path), encoding="utf-8") as file:
            lines = file.read().split("\n")
        lines[mutant.number - 1] = mutant.after
        with open(os.path.join(self.folder, mutant.path), "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        for object_file, original in zip(objects, originals):
            out = "objects/" + os.path.relpath(object_file, self.build.out)
            if not self.compile(object_file, out):
                return "invalid"
            if sum_of(f"{self.folder}/{out}") != original:
                self.replaced[object_file] = f"{self.folder}/{out}"
        if not self.replaced:
            return "equal"
        self.replaced[self.build.library] = f"{self.folder}/library.a"
        self.build.make_archive(f"{self.folder}/library.a", self.replaced)
        return "ready"

    def restore(self):
        shutil.copy2(os.path.join(self.build.root, self.mutant.path), os.path.join(self.folder, self.mutant.path))

    def link(self, name, leaks=False):
        extra = ["-D__SANITIZE_ADDRESS__"] if leaks else []  # tests with their own malloc check this macro
        replaced = dict(self.replaced)
        for part in self.build.link[name]:
            if part in self.build.compile_test and (leaks or self.mutant.path in self.build.test_reads[part]):
                out = replaced[part] = f"{self.folder}/test.o"
                argv = list(self.build.compile_test[part])
                argv[argv.index("-o") + 1] = out
                run(argv + extra, self.folder)
        self.build.link_program(name, self.programs, replaced, ["-fsanitize=leak"] if leaks else [])
        return os.path.join(self.programs, name)
