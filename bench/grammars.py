"""Cost of grammars in pantry, xgrammar, llguidance and llama.cpp, side by side: the same vocabulary, schemas and tokens.

    python bench/grammars.py MODEL.gguf --bench build/bench/grammar_masks [--schemas FILE] [--rounds 5]

MODEL needs only a vocabulary. FILE is a JSON array of {"schema", "strings", "expect"}, by default tools.json of
../shared/data/grammar; of each row the longest accepted string is taken, and one more case offers all rows as tools. A text
is made into tokens by pantry; each engine computes the mask before each token and then steps over it. Compared are processor
times of one thread, in microseconds per token:

    mask    the mask alone, later times through (median of rounds): all that an engine remembers is known
    cold    mask and step, the first time through after compiling
    compile milliseconds

Engines are timed in turn, round by round (llama.cpp on the first 40 tokens of each text). xgrammar and llguidance write their masks into one buffer, as their documentation
shows; llama.cpp's grammar is applied to an array of all candidates, as its sampler does; pantry hands out its bits. Texts
that an engine's grammar does not accept are left out for it and counted. Needs PyPI's xgrammar, llguidance and
llama-cpp-python; those that are missing are left out.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != HERE]


def now():
    return time.thread_time_ns() / 1000


def make_cases(path):
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)
    cases, tools = [], []
    for row in rows:
        texts = [
            s
            for s, good in zip(row["strings"], row["expect"])
            if good is True and s == json.dumps(json.loads(s), ensure_ascii=False)
        ]
        if row.get("class") != "must" or not texts:
            continue
        text = max(texts, key=len)
        cases.append({"kind": "schema", "source": json.dumps(row["schema"]), "text": text, "name": row["name"]})
        if "$ref" not in cases[-1]["source"] and "$defs" not in cases[-1]["source"]:
            properties = {"name": {"const": row["name"]}, "arguments": row["schema"]}
            tool = {"type": "object", "properties": properties, "required": ["name", "arguments"]}
            tools.append((dict(tool, additionalProperties=False), row["name"], text))
    longest = max(tools, key=lambda tool: len(tool[2]))
    call = {"name": longest[1], "arguments": json.loads(longest[2])}
    cases.append(
        {
            "kind": "schema",
            "source": json.dumps({"anyOf": [tool[0] for tool in tools]}),
            "text": json.dumps(call, ensure_ascii=False),
            "name": f"{len(tools)} tools",
        }
    )
    return cases


class XGrammar:
    name = "xgrammar"
    most = None

    def __init__(self, model, vocabulary):
        import xgrammar

        self.x = xgrammar
        tokens = [bytes.fromhex(t) for t in vocabulary["tokens"]]
        info = xgrammar.TokenizerInfo(
            tokens, vocab_type=xgrammar.VocabType.RAW, vocab_size=len(tokens), stop_token_ids=vocabulary["ends"]
        )
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.mask = xgrammar.allocate_token_bitmask(1, len(tokens))

    def compile(self, source):
        return self.compiler.compile_json_schema(
            source, any_whitespace=False, separators=(", ", ": "), strict_mode=True
        )

    def start(self, grammar):
        return self.x.GrammarMatcher(grammar)

    def fill(self, matcher):
        matcher.fill_next_token_bitmask(self.mask)

    def step(self, matcher, token):
        return matcher.accept_token(token)


class LLGuidance:
    name = "llguidance"
    most = None

    def __init__(self, model, vocabulary):
        import llguidance
        import llguidance.numpy

        self.g = llguidance

        class Tokens:
            eos_token_id = vocabulary["ends"][0]
            bos_token_id = None
            tokens = [bytes.fromhex(t) for t in vocabulary["tokens"]]
            special_token_ids = vocabulary["special"]

            def __call__(self, text):
                return list(text if isinstance(text, bytes) else text.encode())

        # Only the special tokens need a spelling; it begins with a byte that no text has.
        for i in vocabulary["special"]:
            Tokens.tokens[i] = b"\xff<special%d>" % i
        # Stepping needs bytes of tokens alone, so a tokenizer that splits into bytes will do.
        self.tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(Tokens()), n_vocab=len(Tokens.tokens)
        )
        self.mask = llguidance.numpy.allocate_token_bitmask(1, len(Tokens.tokens))

    def compile(self, source):
        defaults = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = self.g.LLMatcher.grammar_from_json_schema(source, defaults=defaults)
        matcher = self.g.LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def start(self, grammar):
        return grammar.deep_copy()

    def fill(self, matcher):
        self.g.numpy.fill_next_token_bitmask(matcher, self.mask, 0)

    def step(self, matcher, token):
        return matcher.consume_token(token)


class LlamaCpp:
    name = "llama.cpp"
    most = 40  # tokens of a text, since it is slow

    def __init__(self, model, vocabulary):
        import llama_cpp
        from llama_cpp.llama_grammar import json_schema_to_gbnf

        self.l, self.convert = llama_cpp, json_schema_to_gbnf
        self.log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.log, None)
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(model.encode(), params)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        n = len(vocabulary["tokens"])
        self.data = (llama_cpp.llama_token_data * n)()
        for i in range(n):
            self.data[i].id = i
        self.fresh = bytes(self.data)
        self.array = llama_cpp.llama_token_data_array(self.data, n, -1, False)

    def compile(self, source):
        gbnf = self.convert(source).encode()
        grammar = self.l.llama_sampler_init_grammar(self.vocab, gbnf, b"root")
        if not grammar:
            raise ValueError("grammar refused")
        return grammar

    def start(self, grammar):
        return self.l.llama_sampler_clone(grammar)

    def fill(self, sampler):
        self.array.size = len(self.data)
        self.l.llama_sampler_apply(sampler, ctypes.byref(self.array))

    def step(self, sampler, token):
        # It throws, and ends the process, over a token that is not allowed: its logit is minus infinity.
        allowed = self.data[token].logit != float("-inf")
        if allowed:
            self.l.llama_sampler_accept(sampler, token)
        return allowed

    def clear(self):
        ctypes.memmove(self.data, self.fresh, ctypes.sizeof(self.data))


def run_peer(engine, case, rounds):
    """compile ms, cold us, mask us; None if the engine does not accept the text."""
    start = now()
    try:
        grammar = engine.compile(case["source"])
    except (ValueError, RuntimeError):
        return None
    compiled = (now() - start) / 1000
    totals, cold = [], None
    for _ in range(rounds + 1):
        matcher, masks, steps = engine.start(grammar), 0, 0
        ids = case["ids"][: engine.most]
        for token in ids:
            if hasattr(engine, "clear"):
                engine.clear()
            before = now()
            engine.fill(matcher)
            middle = now()
            if not engine.step(matcher, token):
                return None
            masks, steps = masks + middle - before, steps + now() - middle
        if cold is None:
            cold = (masks + steps) / len(ids)
        else:
            totals.append(masks / len(ids))
    return compiled, cold, statistics.median(totals)


def run_pantry(bench, model, cases):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(cases, file)
        file.flush()
        done = subprocess.run([bench, model, file.name], stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for case, row in zip(cases, found):
        case["ids"] = row["ids"]
    return [(row["compile_ms"], row["cold_us"], row["mask_us"]) for row in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--bench", default=os.path.join(HERE, "..", "build", "bench", "grammar_masks"))
    parser.add_argument("--schemas", default=os.path.join(HERE, "..", "..", "shared", "data", "grammar", "tools.json"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cases = make_cases(arguments.schemas)
    run_pantry(arguments.bench, arguments.model, cases)
    dump = subprocess.run([arguments.bench, arguments.model, "--vocabulary"], stdout=subprocess.PIPE, check=True)
    vocabulary = json.loads(dump.stdout)
    engines = []
    for kind in (XGrammar, LLGuidance, LlamaCpp):
        try:
            engines.append(kind(arguments.model, vocabulary))
        except ImportError as error:
            print(f"{kind.name}: left out ({error})")
    clock = [0.0] * 100
    for i in range(100):
        start = now()
        clock[i] = now() - start
    print(f"{len(vocabulary['tokens'])} tokens, {len(cases)} texts; reading the clock takes {statistics.median(clock):.1f} us, "
          "which the others' figures contain")
    results = {"pantry": {}, **{engine.name: {} for engine in engines}}
    for _ in range(arguments.rounds):
        for i, row in enumerate(run_pantry(arguments.bench, arguments.model, cases)):
            results["pantry"].setdefault(i, []).append(row)
        for engine in engines:
            for i, case in enumerate(cases):
                row = run_peer(engine, case, 1 if engine.name == "llama.cpp" else 3)
                if row:
                    results[engine.name].setdefault(i, []).append(row)
    print(f"{'':12} {'texts':>5} {'compile ms':>11} {'largest':>9} {'cold us':>9} {'mask us':>9}   (means over texts of medians of rounds)")
    for name, rows in results.items():
        medians = [[statistics.median(r[k] for r in runs) for k in range(3)] for runs in rows.values()]
        if not medians:
            print(f"{name:12}     0")
            continue
        compiled, cold, mask = zip(*medians)
        print(f"{name:12} {len(medians):5} {statistics.mean(compiled):11.2f} {max(compiled):9.2f} {statistics.mean(cold):9.2f} {statistics.mean(mask):9.3f}")


if __name__ == "__main__":
    main()
