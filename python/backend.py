"""Builds the wheel and the sdist (PEP 517 and 660), with nothing but Python and make.

The wheel is py3-none-PLATFORM: ctypes needs no Python ABI. It has the package and the shared library under its versioned
name. Environment: PANTRY_WHEEL_LIBRARY takes a library that is built already (a cross build), PANTRY_WHEEL_PLATFORM its
tag."""

import base64
import hashlib
import io
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "pantry"
PACKAGE = os.path.join(ROOT, "python", "src", NAME)
SUMMARY = "Run open-weight language models on this machine, with mlx_lm's names"
BITS = 0o644 << 16
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same bytes


def read(*parts):
    with open(os.path.join(ROOT, *parts), "rb") as file:
        return file.read()


def version():
    return re.search(rb'#define PANTRY_VERSION "(.*)"', read("include", "pantry.h")).group(1).decode()


def library_name(tag):
    abi = version().split(".")[0]
    return f"libpantry.{abi}.dylib" if tag.startswith("macosx") else f"libpantry.so.{abi}"


def platform_tag():
    """The library links libraries of the system, so Linux wheels are for this system: `auditwheel repair` makes
    manylinux ones of them."""
    given = os.environ.get("PANTRY_WHEEL_PLATFORM")
    if given:
        return given
    if sys.platform == "darwin":
        return "macosx_14_0_" + platform.machine()
    return "linux_" + platform.machine()


def build_library():
    given = os.environ.get("PANTRY_WHEEL_LIBRARY")
    if given:
        return given
    name = "libpantry.dylib" if sys.platform == "darwin" else "libpantry.so"
    build = os.environ.get("BUILD", "build")
    target = os.path.join(build, name)
    make = shlex.split(os.environ.get("MAKE", "make"))
    subprocess.run([*make, f"-j{os.cpu_count()}", f"BUILD={build}", target], cwd=ROOT, check=True)
    return os.path.join(ROOT, target)


def without_debug_information(path):
    """The library's bytes; where there is a strip, without what only a debugger reads."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "stripped")
        strip = shutil.which(os.environ.get("STRIP", "strip"))
        if strip and subprocess.run([strip, "-S", "-o", out, path]).returncode == 0:
            path = out
        with open(path, "rb") as file:
            return file.read()


def metadata():
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {version()}",
        f"Summary: {SUMMARY}",
        "License: MIT",
        "Requires-Python: >=3.10",
        "Provides-Extra: numpy",
        "Requires-Dist: numpy; extra == 'numpy'",
        "Description-Content-Type: text/markdown",
    ]
    return ("\n".join(lines) + "\n\n").encode() + read("docs", "python.md")


def package_files():
    """(name in the wheel, bytes)"""
    for folder, folders, files in sorted(os.walk(PACKAGE)):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        inside = os.path.relpath(folder, os.path.dirname(PACKAGE))
        for name in sorted(files):
            if name.endswith((".py", ".typed")):
                yield f"{inside}/{name}".replace(os.sep, "/"), read(os.path.relpath(folder, ROOT), name)


def write_wheel(folder, files):
    tag = f"py3-none-{platform_tag()}"
    info = f"{NAME}-{version()}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    files = [
        *files,
        (f"{info}/METADATA", metadata()),
        (f"{info}/WHEEL", wheel),
        (f"{info}/licenses/LICENSE", read("LICENSE")),
    ]
    record = []
    for name, data in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")
    files.append((f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]).encode()))
    out = f"{NAME}-{version()}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(folder, out), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.compress_type = BITS, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return out


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    library = without_debug_information(build_library())
    name = f"{NAME}/lib/{library_name(platform_tag())}"
    return write_wheel(wheel_directory, [*package_files(), (name, library)])


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package of the source tree, which finds the library in build/."""
    build_library()
    path = os.path.dirname(PACKAGE).encode() + b"\n"
    return write_wheel(wheel_directory, [(f"{NAME}.pth", path)])


def build_sdist(sdist_directory, config_settings=None):
    """The files of the repository."""
    stem = f"{NAME}-{version()}"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(os.path.join(sdist_directory, stem + ".tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(filter(None, listed.decode().split("\0"))):
            archive.add(os.path.join(ROOT, name), f"{stem}/{name}", recursive=False)
        header = tarfile.TarInfo(f"{stem}/PKG-INFO")
        data = metadata()
        header.size = len(data)
        archive.addfile(header, io.BytesIO(data))
    return stem + ".tar.gz"
