#!/usr/bin/env python3
"""llama.cpp's server with 8 slots for bench/load.py, for machines with a Python package of llama.cpp but without llama-server.

    python3 bench/peer_server.py -m MODEL.gguf --port N -np 8 -c CONTEXT -t THREADS -tb THREADS

With xllamacpp it is llama.cpp's own server, in this process. Else the package llama_cpp (llama-cpp-python) is needed:
one thread decodes all slots together, a batch of at most 512 tokens per step, as that server does without a cache of
prompts. Only /health and /v1/completions, greedy, whole or as events."""

import argparse
import ctypes
import http.server
import json
import os
import queue
import sys
import threading
import time

N_BATCH = 512


def own_server(a):
    """llama.cpp's own server; returns if xllamacpp cannot be imported."""
    try:
        import xllamacpp
    except ImportError:
        return
    print("the peer is llama.cpp's own server, of xllamacpp", file=sys.stderr, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its log
    params = xllamacpp.CommonParams()
    params.model.path = a.model
    params.port = a.port
    params.n_parallel, params.n_ctx, params.n_batch = a.parallel, a.context, N_BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = a.threads
    params.warmup = True
    server = xllamacpp.Server(params)  # it answers until it is freed
    while server:
        time.sleep(3600)


class Slot:
    def __init__(self, seq):
        self.seq, self.request = seq, None


class Request:
    def __init__(self, ids, limit):
        self.ids, self.limit, self.read, self.made, self.last = ids, limit, 0, 0, None
        self.out = queue.SimpleQueue()  # pieces; None: the end
        self.gone = False


class Engine:
    def __init__(self, a):
        import llama_cpp as L

        self.L = L
        self.quiet = L.llama_log_callback(lambda *_: None)
        L.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.model = L.llama_model_load_from_file(a.model.encode(), L.llama_model_default_params())
        cp = L.llama_context_default_params()
        cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_seq_max = a.context, N_BATCH, N_BATCH, a.parallel
        cp.n_threads = cp.n_threads_batch = a.threads
        self.context = L.llama_init_from_model(self.model, cp)
        if not self.model or not self.context:
            sys.exit("llama.cpp cannot load the model")
        self.vocab = L.llama_model_get_vocab(self.model)
        self.greedy = L.llama_sampler_init_greedy()
        self.batch = L.llama_batch_init(N_BATCH, 0, 1)
        self.slots = [Slot(i) for i in range(a.parallel)]
        self.waiting, self.lock = [], threading.Condition()
        threading.Thread(target=self.run, daemon=True).start()

    def tokenize(self, text):
        data = text.encode()
        ids = (self.L.llama_token * (len(data) + 8))()
        n = self.L.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, False)
        return list(ids[:n])

    def piece(self, token):
        buffer = ctypes.create_string_buffer(64)
        n = self.L.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[: max(n, 0)].decode("utf-8", "replace")

    def submit(self, request):
        with self.lock:
            self.waiting.append(request)
            self.lock.notify()

    def add(self, token, position, seq, last):
        b, i = self.batch, self.batch.n_tokens
        b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, position, 1, seq, last
        b.n_tokens = i + 1

    def fill(self):
        """Tokens of answers first, then of prompts. (slot, place in the batch) of those that get a token."""
        self.batch.n_tokens, wanted = 0, []
        for slot in self.slots:
            r = slot.request
            if r and r.last is not None:
                self.add(r.last, len(r.ids) + r.made - 1, slot.seq, 1)
                wanted.append((slot, self.batch.n_tokens - 1))
        for slot in self.slots:
            r = slot.request
            while r and r.last is None and r.read < len(r.ids) and self.batch.n_tokens < N_BATCH:
                r.read += 1
                self.add(r.ids[r.read - 1], r.read - 1, slot.seq, r.read == len(r.ids))
                if r.read == len(r.ids):
                    wanted.append((slot, self.batch.n_tokens - 1))
        return wanted

    def take(self, slot, place):
        r = slot.request
        r.last = self.L.llama_sampler_sample(self.greedy, self.context, place)
        r.made += 1
        ends = self.L.llama_vocab_is_eog(self.vocab, r.last) or r.made == r.limit or r.gone
        r.out.put(self.piece(r.last))
        if ends:
            r.out.put(None)
            self.L.llama_memory_seq_rm(self.L.llama_get_memory(self.context), slot.seq, -1, -1)
            slot.request = None

    def run(self):
        while True:
            with self.lock:
                while not self.waiting and not any(s.request for s in self.slots):
                    self.lock.wait()
                for slot in self.slots:
                    if not slot.request and self.waiting:
                        slot.request = self.waiting.pop(0)
            wanted = self.fill()
            if self.L.llama_decode(self.context, self.batch):
                raise SystemExit("llama_decode failed")
            for slot, place in wanted:
                self.take(slot, place)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply({"status": "ok"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        engine = self.server.engine
        request = Request(engine.tokenize(body["prompt"]), body["max_tokens"])
        usage = lambda: {"prompt_tokens": len(request.ids), "completion_tokens": request.made}
        engine.submit(request)
        if not body.get("stream"):
            text = "".join(iter(request.out.get, None))
            return self.reply({"choices": [{"text": text}], "usage": usage()})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for piece in iter(request.out.get, None):
                self.event({"choices": [{"text": piece}]})
            self.event({"choices": [], "usage": usage()})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            request.gone = True
        return None

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("-np", "--parallel", type=int, default=8)
    p.add_argument("-c", "--context", type=int, default=16384)
    p.add_argument("-t", "--threads", type=int, default=1)
    p.add_argument("-tb", "--threads-batch", type=int)
    p.add_argument("--no-webui", action="store_true", help="accepted, as there is none")
    a = p.parse_args()
    own_server(a)
    server = Server(("127.0.0.1", a.port), Handler)
    server.engine = Engine(a)
    print("the peer is llama.cpp's library, with a server in Python", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
