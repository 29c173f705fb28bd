"""Times streaming in Python beside one call of the library, in one process, interleaved A B B A:

    PYTHONPATH=python/src python3 bench/python_overhead.py [MODEL] [-n 128] [-r 12] [-t THREADS]

A reads a stream_generate token by token; B is one pantry_generate without a callback. Both decode greedily from the same
prompt, and count from the first token to the last. Prints the median of the ratios of neighbouring rounds, and the time of
the processor that Python itself takes per token, as a share of a token's time: that number hardly depends on the machine's
other work."""

import argparse
import ctypes
import statistics
import time

from pantry import _capi, load, stream_generate
from pantry.errors import call


class Options(ctypes.Structure):
    """The beginning of struct pantry_generate_options: `size` says that the rest is not there."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("sampling", _capi.Sampling),
        ("max_tokens", ctypes.c_int),
        ("ignore_eos", ctypes.c_bool),
    ]


# What the package does not use.
for name, arguments in {
    "pantry_session_new": [_capi.Handle, ctypes.c_void_p, ctypes.POINTER(_capi.Handle), ctypes.POINTER(_capi.Error)],
    "pantry_session_clear": [_capi.Handle],
    "pantry_session_free": [_capi.Handle],
    "pantry_generate": [
        _capi.Handle,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.c_size_t,
        ctypes.POINTER(Options),
        ctypes.POINTER(_capi.Stats),
        ctypes.POINTER(_capi.Error),
    ],
}.items():
    getattr(_capi.lib, name).argtypes = arguments


def streamed(model, tokenizer, prompt, n):
    """(seconds, seconds of this thread's processor)"""
    stream = stream_generate(model, tokenizer, prompt, max_tokens=n, ignore_eos=True)
    next(stream)
    start, worked = time.perf_counter(), time.thread_time()
    got = sum(1 for _ in stream)
    assert got == n - 1
    return time.perf_counter() - start, time.thread_time() - worked


def called(model, session, ids, n):
    """Seconds."""
    options, stats = Options(), _capi.Stats(size=ctypes.sizeof(_capi.Stats))
    options.size, options.sampling = ctypes.sizeof(options), _capi.lib.pantry_sampling_default()
    options.sampling.temperature, options.max_tokens, options.ignore_eos = 0, n, True
    _capi.lib.pantry_session_clear(session)
    call(_capi.lib.pantry_generate, session, ids, len(ids), options, stats)
    assert stats.n_generated == n
    return stats.decode_seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="smollm2:135m")
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-r", type=int, default=12)
    parser.add_argument("-t", type=int, default=0)
    a = parser.parse_args()
    model, tokenizer = load(a.model, n_threads=a.t)
    prompt = "The history of the world begins with"
    values = tokenizer.encode(prompt)
    ids = (ctypes.c_int32 * len(values))(*values)
    session = ctypes.c_void_p()
    call(_capi.lib.pantry_session_new, model.pointer, None, session)
    streamed(model, tokenizer, prompt, 16), called(model, session, ids, 16)
    ratios, shares, streams, calls = [], [], [], []
    for i in range(a.r):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        seconds = {}
        for side in order:
            if side == 0:
                seconds[0], worked = streamed(model, tokenizer, prompt, a.n)
                shares.append(worked / seconds[0])
            else:
                seconds[1] = called(model, session, ids, a.n)
        ratios.append(seconds[0] / seconds[1])
        streams.append(seconds[0] / (a.n - 1))
        calls.append(seconds[1] / (a.n - 1))
    _capi.lib.pantry_session_free(session)
    print(f"{model.info.device}, {a.r} rounds of {a.n} tokens")
    print(
        f"stream_generate {1 / statistics.median(streams):.1f} tok/s, pantry_generate {1 / statistics.median(calls):.1f}"
    )
    print(
        f"median of the ratios {statistics.median(ratios) - 1:+.2%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
    )
    print(
        f"Python's own time {statistics.median(shares) * statistics.median(streams) * 1e6:.0f} us per token, "
        f"{statistics.median(shares):.2%} of a token's time"
    )


main()
