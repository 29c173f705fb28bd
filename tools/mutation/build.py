"""Compiles and links mutants. The baseline is the ordinary build; the commands are make's own, so a mutant is compiled as
the product is. It needs its own objects and, for each test program that runs, one link with them before the library."""
import glob
import hashlib
import os
import shlex
import shutil
import subprocess
import threading

MAX_OBJECTS = 32  # a header that more objects include is left out: one mutant of it would cost a minute


class ToolError(Exception):
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
    """Whether this processor runs the code of an instruction set's folder; what cannot run is not changed."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = file.read().split()
    except OSError:
        return True
    return not folder.startswith("avx") or any(flag.startswith(folder) for flag in flags)


class Build:
    """The baseline: make's commands, and copies of its archives and objects, so that make may go on meanwhile."""

    def __init__(self, root, jobs):
        self.root, self.jobs = root, jobs
        self.out = os.environ.get("BUILD", "build")
        self.mine = os.path.join(self.out, "mutate")
        self.tests = sorted(os.path.basename(p)[:-2] for p in glob.glob(f"{root}/tests/unit/test_*.c"))
        self.make("tests", f"{self.out}/pantry")
        self.read_commands()
        self.read_dependencies()
        self.take_copies()
        self.originals, self.leaks, self.lock = {}, {}, threading.Lock()

    def make(self, *targets, extra=()):
        argv = ["make", "--no-print-directory", f"-j{self.jobs}", *extra, *targets]
        done = subprocess.run(argv, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise ToolError(f"{' '.join(argv)}\n{done.stdout[-3000:]}")
        return done.stdout

    def read_commands(self):
        """What make would run: object -> command, and program -> command that links it."""
        self.compile, self.compile_test, self.link = {}, {}, {}
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
            elif target.startswith(f"{self.out}/tests/unit/"):
                self.compile_test[target] = [a for a in argv if a not in ("-MMD", "-MP", "-g")]
        if not self.compile or sorted(self.link) != sorted(self.tests + ["pantry"]):
            raise ToolError("make does not show the commands that compile and link")

    def read_dependencies(self):
        """File of src/ -> the objects that are made of it."""
        self.users = {}
        for object_file in self.compile:
            isa = object_file.partition("/cpu/isa/")[2].partition("/")[0]
            if not processor_has(isa) or not self.has_symbols(object_file):
                continue  # for another processor, or for another system
            with open(os.path.join(self.root, object_file[:-2] + ".d"), encoding="utf-8") as file:
                first = file.read().replace("\\\n", " ").split("\n")[0]
            for path in sorted(set(first.split(":", 1)[1].split())):
                if path.startswith("src/"):
                    self.users.setdefault(path, []).append(object_file)
        self.users = {path: objects for path, objects in self.users.items() if len(objects) <= MAX_OBJECTS}

    def has_symbols(self, object_file):
        done = subprocess.run(["nm", object_file], cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return bool(done.stdout.strip())

    def take_copies(self):
        """Archives and objects that programs are linked of."""
        parts = sorted({a for argv in self.link.values() for a in argv if a.startswith(self.out) and a[-2:] in (".o", ".a")})
        for part in parts:
            copy = os.path.join(self.root, self.mine, "base", part)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy2(os.path.join(self.root, part), copy)
        self.parts = {part: os.path.join(self.mine, "base", part) for part in parts}

    def files(self):
        """The files of src/ that mutants may change."""
        return sorted(self.users)

    def digest(self):
        """Changes when the library does."""
        sources = [p for folder in ("src", "include") for p in glob.glob(f"{self.root}/{folder}/**/*.*", recursive=True)]
        return sum_of_all(sources + [os.path.join(self.root, self.out, "flags")])

    def leak_objects(self, name):
        """The object of a test that is to be linked with the leak sanitizer: it must bring no malloc of its own, which it
        knows by the macro of the address sanitizer."""
        with self.lock:
            if name not in self.leaks:
                self.leaks[name] = {}
                for part in [a for a in self.link[name] if a in self.compile_test]:
                    argv = list(self.compile_test[part])
                    argv[argv.index("-o") + 1] = out = os.path.join(self.mine, "base", name + "-leaks.o")
                    run(argv + ["-D__SANITIZE_ADDRESS__"], self.root)
                    self.leaks[name][part] = out
            return self.leaks[name]

    def link_program(self, name, folder, replaced, extra=()):
        """A program in a folder, with some objects of the library, or of the program itself, replaced."""
        argv = [replaced.get(a, self.parts.get(a, a)) for a in self.link[name]]
        argv[argv.index("-o") + 1] = os.path.join(folder, name)
        # The linker takes from the library only what nothing before it defines.
        library = argv.index(self.parts[f"{self.out}/libpantry.a"])
        argv[library:library] = [new for old, new in replaced.items() if new not in argv and "/src/cli/" not in old]
        run(argv + ["-Wl,-S", *extra], self.root)


class Worker:
    """A copy of the sources of its own, so that mutants are compiled side by side."""

    def __init__(self, build, index):
        self.build = build
        self.folder = os.path.join(build.root, build.mine, f"worker-{index}")
        self.programs = os.path.join(self.folder, "programs")
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("src", "include", "tests"):
            shutil.copytree(os.path.join(build.root, name), os.path.join(self.folder, name), symlinks=True)
        os.makedirs(self.programs)

    def compile(self, object_file, out):
        argv = list(self.build.compile[object_file])
        argv[argv.index("-o") + 1] = out
        os.makedirs(os.path.join(self.folder, os.path.dirname(out)), exist_ok=True)
        return run(argv + ["-Werror"], self.folder, check=False)

    def original(self, object_file):
        """The sum of an object as it is without a mutant."""
        with self.build.lock:
            if object_file not in self.build.originals:
                if not self.compile(object_file, "original.o"):
                    raise ToolError(f"{object_file} does not compile without warnings before anything is changed")
                self.build.originals[object_file] = sum_of(f"{self.folder}/original.o")
            return self.build.originals[object_file]

    def make(self, mutant):
        """'invalid', 'equal', or 'ready': then link() makes programs with the mutant."""
        path = os.path.join(self.folder, mutant.path)
        objects = self.build.users[mutant.path]
        originals = [self.original(object_file) for object_file in objects]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        lines = text.split("\n")
        lines[mutant.number - 1] = mutant.after
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
            self.replaced = {}
            for object_file, original in zip(objects, originals):
                out = "objects/" + os.path.relpath(object_file, self.build.out)
                if not self.compile(object_file, out):
                    return "invalid"
                if sum_of(f"{self.folder}/{out}") != original:
                    self.replaced[object_file] = f"{self.folder}/{out}"
            return "ready" if self.replaced else "equal"
        finally:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)

    def link(self, name, leaks=False):
        if leaks:
            replaced = dict(self.replaced, **self.build.leak_objects(name))
            self.build.link_program(name, self.programs, replaced, ["-fsanitize=leak"])
        else:
            self.build.link_program(name, self.programs, self.replaced)
        return os.path.join(self.programs, name)
