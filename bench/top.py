"""What `pantry top` costs, and whether it agrees with other programs.

python3 bench/top.py [PROGRAM]: processor time per sample of the JSON stream and of the screen (the difference of a long
and a short run, so that starting does not count), and its load and memory next to those of mpstat and free, where these
are installed. At one sample per second, 10 ms are 1 % of a core. Exit status 1 if it costs more."""

import json
import os
import pty
import re
import resource
import shutil
import subprocess
import sys
import threading

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "build/pantry"
SHORT, LONG, MOST_MS = 10, 60, 10.0


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stream(n):
    before = spent()
    subprocess.run(
        [PROGRAM, "top", "--json", "--interval", "0.1", "--count", str(n)], check=True, stdout=subprocess.DEVNULL
    )
    return spent() - before


def screen(n):
    """n frames of 80 x 24, then `q`."""
    before = spent()
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LC_ALL="C.UTF-8", LINES="24", COLUMNS="80")
        os.execv(PROGRAM, [PROGRAM, "top", "--interval", "0.1"])
    threading.Timer(0.1 * n, lambda: os.write(master, b"q")).start()
    try:
        while os.read(master, 65536):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)
    return spent() - before


def cost(name, run):
    ms = 1000 * (run(LONG) - run(SHORT)) / (LONG - SHORT)
    print(f"{name:8} {ms:6.2f} ms of processor time per sample: {ms / 10:.2f} % of a core at one per second")
    return ms


def agree():
    seconds = "5"
    mpstat = shutil.which("mpstat")
    other = mpstat and subprocess.Popen(
        [mpstat, seconds, "1"], stdout=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    ours = json.loads(subprocess.check_output([PROGRAM, "top", "--once", "--json", "--interval", seconds]))
    if other:
        words = re.search(r"Average: +all (.*)", other.communicate()[0]).group(1).split()
        load = 100 - float(words[-1]) - float(words[3])  # neither idle nor waiting for a disk
        print(f"load     {100 * ours['load']:.1f} %, mpstat {load:.1f} %")
    if shutil.which("free"):
        words = subprocess.check_output(["free", "-b"], text=True).split("\n")[1].split()
        print(f"memory   {ours['memory_total_bytes']:.0f} bytes, free {words[1]}")
        print(f"used     {ours['memory_used_bytes'] / 1e6:.0f} MB, free {int(words[2]) / 1e6:.0f} MB")
        print(f"left     {ours['memory_available_bytes'] / 1e6:.0f} MB, free {int(words[6]) / 1e6:.0f} MB")


worst = max(cost("stream", stream), cost("screen", screen))
agree()
sys.exit(worst > MOST_MS)
