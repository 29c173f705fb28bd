"""Answers: as the program's, streamed, in batches, continued from prompt caches, cancelled."""

import contextlib
import io
import os
import resource
import signal
import threading
import unittest

import pantry
from pantry import batch_generate, generate, load, make_logits_processors, make_sampler, stream_generate
from pantry.models.cache import load_prompt_cache, make_prompt_cache, save_prompt_cache, trim_prompt_cache
from support import Folder, real_model

PROMPT = "the hat in the hall"


def setUpModule():
    global FOLDER, MODEL, TOKENIZER
    FOLDER = Folder()
    MODEL, TOKENIZER = load(FOLDER.model)


def tearDownModule():
    MODEL.close()
    FOLDER.remove()


def answer(prompt=PROMPT, **kwargs):
    return list(stream_generate(MODEL, TOKENIZER, prompt, **kwargs))


def text_of(responses):
    return "".join(response.text for response in responses)


class Greedy(unittest.TestCase):
    def test_equals_the_program(self):
        said = FOLDER.generated(FOLDER.model, PROMPT, "-n", "40")
        responses = answer(max_tokens=40)
        self.assertEqual(text_of(responses), said["text"])
        self.assertEqual([r.token for r in responses], said["ids"])
        self.assertEqual(generate(MODEL, TOKENIZER, PROMPT, max_tokens=40), said["text"])

    def test_equals_the_program_with_a_real_model(self):
        model, tokenizer = real_model()
        prompt = "The capital of France is"
        said = FOLDER.generated("smollm2:135m", prompt, "-n", "24", env=os.environ)
        stream = stream_generate(model, tokenizer, prompt, max_tokens=24)
        self.assertEqual(text_of(stream), said["text"])
        self.assertEqual(stream.tokens, said["ids"])

    def test_run_answers_the_same(self):
        model, tokenizer = real_model()
        question = "What is the capital of France?"
        said = FOLDER.program("run", "smollm2:135m", question, "--temp", "0", env=os.environ)
        ids = tokenizer.apply_chat_template(
            model.conversation([{"role": "user", "content": question}]), add_generation_prompt=True
        )
        self.assertEqual(generate(model, tokenizer, ids, max_tokens=-1).split(), said.split())

    def test_responses(self):
        responses = answer(max_tokens=5)
        self.assertEqual([r.finish_reason for r in responses], [None] * 4 + ["length"])
        self.assertEqual([r.generation_tokens for r in responses], [1, 2, 3, 4, 5])
        self.assertEqual({r.prompt_tokens for r in responses}, {len(TOKENIZER.encode(PROMPT))})
        self.assertTrue(all(r.prompt_tps > 0 and r.peak_memory > 0 and not r.from_draft for r in responses))
        self.assertTrue(all(r.logprobs == {} for r in responses))

    def test_the_end_of_a_model(self):
        model, tokenizer = real_model()
        ids = tokenizer.apply_chat_template([{"role": "user", "content": "Say hi."}], add_generation_prompt=True)
        *_, last = stream_generate(model, tokenizer, ids, max_tokens=200)
        self.assertEqual((last.finish_reason, last.token), ("stop", tokenizer.eos_token_id))

    def test_stop_texts_are_not_part_of_the_answer(self):
        whole = text_of(answer(max_tokens=40))
        stop = whole[10:13]
        responses = answer(max_tokens=40, stop=[stop])
        self.assertEqual(text_of(responses), whole[: whole.index(stop)])
        self.assertEqual(responses[-1].finish_reason, "stop")

    def test_text_that_could_begin_a_stop_text_comes_at_the_end(self):
        whole = text_of(answer(max_tokens=12))
        self.assertEqual(text_of(answer(max_tokens=12, stop=[whole[-3:] + "!"])), whole)
        grammar = pantry.Grammar.regex("[a-c]{5}")
        held = answer(max_tokens=50, stop=["a!", "b!", "c!"], grammar=grammar)
        self.assertRegex(text_of(held), "^[a-c]{5}$")

    def test_logprobs(self):
        for response in answer(max_tokens=6, logprobs=3):
            best = max(response.logprobs, key=response.logprobs.get)
            self.assertEqual(best, response.token)
            self.assertEqual(len(response.logprobs), 3)
            self.assertTrue(all(value <= 0 for value in response.logprobs.values()))
        one = answer(max_tokens=6, logprobs=True)
        self.assertEqual([len(r.logprobs) for r in one], [1] * 6)

    def test_verbose(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            text = generate(MODEL, TOKENIZER, PROMPT, verbose=True, max_tokens=8)
        self.assertIn(text, out.getvalue())
        self.assertIn("Generation: 8 tokens,", out.getvalue())

    def test_progress_of_a_long_prompt(self):
        seen = []
        answer("hat " * 500, max_tokens=1, prompt_progress_callback=lambda done, n: seen.append((done, n)))
        n = len(TOKENIZER.encode("hat " * 500))
        self.assertEqual(seen[-1], (n, n))
        self.assertEqual(seen, sorted(seen))


class Sampling(unittest.TestCase):
    def test_seeds(self):
        draw = lambda **k: text_of(answer(max_tokens=30, **k))
        hot = make_sampler(temp=2.0, seed=7)
        self.assertEqual(draw(sampler=hot), draw(sampler=hot))
        self.assertNotEqual(draw(sampler=hot), draw(sampler=make_sampler(temp=2.0, seed=8)))
        self.assertEqual(draw(sampler=hot), draw(sampler=make_sampler(temp=2.0), seed=7))
        self.assertNotEqual(draw(sampler=make_sampler(temp=2.0)), draw(sampler=make_sampler(temp=2.0)))

    def test_samplers_that_leave_one_token(self):
        greedy = text_of(answer(max_tokens=20))
        for only in (dict(top_k=1), dict(top_p=1e-6), dict(min_p=1.0), dict(top_n_sigma=1e-6)):
            self.assertEqual(text_of(answer(max_tokens=20, sampler=make_sampler(temp=1.5, **only))), greedy, only)

    def test_bias_and_penalties(self):
        forced = TOKENIZER.encode("q", add_special_tokens=False)[0]
        biased = answer(max_tokens=4, logits_processors=make_logits_processors(logit_bias={forced: 100.0}))
        self.assertEqual([r.token for r in biased], [forced] * 4)
        plain = answer(max_tokens=30)
        for kind in ("repetition", "presence", "frequency"):
            penalty = make_logits_processors(**{f"{kind}_penalty": 5.0, f"{kind}_context_size": 100})
            tokens = [r.token for r in answer(max_tokens=26, logits_processors=penalty)]
            self.assertGreater(len(set(tokens)), len({r.token for r in plain}), kind)

    def test_what_cannot_be_expressed_is_refused_by_name(self):
        refused = {
            "min_tokens_to_keep": lambda: make_sampler(min_tokens_to_keep=2),
            "xtc_special_tokens": lambda: make_sampler(xtc_special_tokens=[1]),
            "context sizes": lambda: make_logits_processors(
                repetition_penalty=2.0, presence_penalty=1.0, presence_context_size=3
            ),
            "sampler": lambda: answer(sampler=lambda logits: logits),
            "logits_processors": lambda: answer(logits_processors=[lambda tokens, logits: logits]),
            "max_kv_size": lambda: answer(max_kv_size=100),
            "kv_bits": lambda: answer(kv_bits=4),
            "draft_model": lambda: answer(draft_model=MODEL),
        }
        for name, call in refused.items():
            with self.assertRaisesRegex(pantry.errors.UnsupportedError, name):
                call()
        for call in (lambda: answer(nonsense=1), lambda: make_sampler(nonsense=1)):
            with self.assertRaisesRegex(TypeError, "nonsense"):
                call()
        with self.assertRaisesRegex(ValueError, "max_tokens"):
            answer(max_tokens=0)
        self.assertEqual(len(answer(max_tokens=2, kv_bits=None, num_draft_tokens=3)), 2)


class Batches(unittest.TestCase):
    PROMPTS = ["the hat", "a cat in a hat", "hall " * 40, "q", "the hat in the hall and the cat"]

    def test_equal_single_answers(self):
        prompts = [TOKENIZER.encode(p) for p in self.PROMPTS]
        most = [9, 30, 12, 1, 25]
        single = [text_of(answer(p, max_tokens=n)) for p, n in zip(prompts, most)]
        for width in (1, 2, 32):
            batch = batch_generate(
                MODEL, TOKENIZER, prompts, max_tokens=most, completion_batch_size=width, return_token_ids=True,
                return_logprobs=True,
            )  # fmt: skip
            self.assertEqual(batch.texts, single)
            self.assertEqual([len(ids) for ids in batch.token_ids], most)
            self.assertEqual([len(row) for row in batch.logprobs], most)
            self.assertTrue(all(value < 0 for row in batch.logprobs for value in row))
            self.assertEqual(batch.stats.generation_tokens, sum(most))
        self.assertEqual(batch_generate(MODEL, TOKENIZER, []).texts, [])

    def test_equal_single_answers_with_a_real_model(self):
        model, tokenizer = real_model()
        prompts = [tokenizer.encode(p) for p in ("The capital of France is", "One, two, three,", "Water boils at")]
        single = [generate(model, tokenizer, p, max_tokens=12) for p in prompts]
        self.assertEqual(batch_generate(model, tokenizer, prompts, max_tokens=12).texts, single)

    def test_caches(self):
        turns = [TOKENIZER.encode(p) for p in self.PROMPTS[:2]]
        first = batch_generate(MODEL, TOKENIZER, turns, max_tokens=4, return_prompt_caches=True)
        second = batch_generate(MODEL, TOKENIZER, turns, prompt_caches=first.caches, max_tokens=4)
        for i, cache in enumerate(first.caches):
            self.assertEqual(cache.offset, len(turns[i]) + 4)  # given caches stay as they are
            self.assertEqual(second.texts[i], text_of(answer(cache.tokens + turns[i], max_tokens=4)))

    def test_a_bad_prompt_ends_all(self):
        for prompts in ([[5], []], [[5], [10**6]]):
            with self.assertRaises(pantry.errors.InvalidError):
                batch_generate(MODEL, TOKENIZER, prompts)
        with self.assertRaisesRegex(ValueError, "1 max_tokens for 2 prompts"):
            batch_generate(MODEL, TOKENIZER, [[5], [6]], max_tokens=[1])


class Caches(unittest.TestCase):
    def test_a_conversation_goes_on(self):
        cache = make_prompt_cache(MODEL)
        first = TOKENIZER.encode("the hat in the hall " * 20)
        said = answer(first, max_tokens=8, prompt_cache=cache)
        self.assertEqual(cache.tokens, first + [r.token for r in said])
        more, whole = TOKENIZER.encode(" and the cat"), list(cache.tokens)
        stream = stream_generate(MODEL, TOKENIZER, more, max_tokens=8, prompt_cache=cache)
        continued = text_of(stream)
        self.assertGreaterEqual(stream.stats.cached_tokens, len(whole) - 1)
        self.assertEqual(continued, text_of(answer(whole + more, max_tokens=8)))

    def test_share_memory_with_no_other(self):
        prompt, cached = TOKENIZER.encode("a cat of its own " * 8), []
        first = make_prompt_cache(MODEL)
        for cache in (first, make_prompt_cache(MODEL), None, first.copy()):
            if cache is not None:
                cache.tokens.clear()
            stream = stream_generate(MODEL, TOKENIZER, prompt, max_tokens=2, prompt_cache=cache)
            list(stream)
            cached.append(stream.stats.cached_tokens)
        self.assertEqual(cached[:2], [0, 0])
        self.assertLess(cached[2], len(prompt) // 2)  # only with others that have no cache
        self.assertGreaterEqual(cached[3], len(prompt) - 1)

    def test_trimmed_saved_and_loaded(self):
        cache = make_prompt_cache(MODEL)
        answer("the hat", max_tokens=6, prompt_cache=cache)
        self.assertEqual(trim_prompt_cache(cache, 6), 6)
        self.assertEqual(cache.tokens, TOKENIZER.encode("the hat"))
        path = FOLDER.file("cache.json")
        save_prompt_cache(path, cache, {"model": "tiny"})
        loaded, metadata = load_prompt_cache(path, return_metadata=True)
        self.assertEqual((loaded.tokens, metadata), (cache.tokens, {"model": "tiny"}))
        self.assertNotEqual(loaded.key, cache.key)
        self.assertEqual(trim_prompt_cache(loaded, 99), len(cache.tokens))
        with self.assertRaisesRegex(pantry.errors.FormatError, "bad.json"):
            load_prompt_cache(FOLDER.write("bad.json", "{}"))
        with self.assertRaises(pantry.errors.UnsupportedError):
            make_prompt_cache(MODEL, max_kv_size=4)


class Cancelling(unittest.TestCase):
    def endless(self, **kwargs):
        return stream_generate(MODEL, TOKENIZER, PROMPT, max_tokens=-1, ignore_eos=True, **kwargs)

    def test_closing_ends_a_stream(self):
        with self.endless() as stream:
            next(stream)
        self.assertEqual(list(stream), [])
        stream.cancel()
        stream.close()
        self.assertEqual(len(answer(max_tokens=3)), 3)

    def test_cancel_from_another_thread(self):
        for handle in (pantry.Cancel(), None):
            stream = self.endless(cancel=handle)
            next(stream)
            other = threading.Thread(target=handle.set if handle else stream.cancel)
            other.start()
            *_, last = stream
            other.join()
            self.assertEqual(last.finish_reason, "cancelled")
            self.assertLess(last.generation_tokens, 16000)

    def test_cancel_from_a_signal(self):
        cancel = pantry.Cancel()
        before = signal.signal(signal.SIGUSR1, lambda *_: cancel.set())
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        stream = self.endless(cancel=cancel)
        next(stream)
        os.kill(os.getpid(), signal.SIGUSR1)
        *_, last = stream
        self.assertEqual(last.finish_reason, "cancelled")

    def test_an_interrupt_reaches_a_program_that_reads(self):
        # A program that a shell has started in the background ignores the signal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        stream = self.endless()
        next(stream)
        reading = threading.Event()
        interrupt = threading.Thread(target=lambda: reading.wait() and os.kill(os.getpid(), signal.SIGINT))
        interrupt.start()
        with self.assertRaises(KeyboardInterrupt):
            reading.set()
            list(stream)
        interrupt.join()
        stream.close()
        self.assertEqual(len(answer(max_tokens=3)), 3)

    def test_a_cancel_stays_set(self):
        cancel = pantry.Cancel()
        cancel.set()
        *_, last = self.endless(cancel=cancel)
        self.assertEqual(last.finish_reason, "cancelled")
        with self.assertRaises(pantry.errors.CancelledError):
            pantry.embed(MODEL, ["hat"], cancel=cancel)
        cancel.clear()
        self.assertFalse(cancel.is_set())
        self.assertEqual(len(answer(max_tokens=3, cancel=cancel)), 3)

    def test_streams_that_nobody_closes_are_freed(self):
        for _ in range(50):
            next(self.endless())
        self.assertEqual(len(answer(max_tokens=3)), 3)


class Robust(unittest.TestCase):
    def test_errors(self):
        e = pantry.errors
        rows = (
            (e.NotFoundError, lambda: load("no-such-model", fetch=False)),
            (e.NotFoundError, lambda: load("./no/such.gguf")),
            (FileNotFoundError, lambda: load("no-such-model", fetch=False)),
            (e.FormatError, lambda: load(FOLDER.write("bad.gguf", "GGUF\x03\0\0\0 and no more"))),
            (e.NotFoundError, lambda: load(FOLDER.model, device="abacus")),
            (e.UnsupportedError, lambda: load(FOLDER.model, revision="main")),
            (TypeError, lambda: load(FOLDER.model, nonsense=1)),
            (e.InvalidError, lambda: load(FOLDER.model, tokenizer_config={"eos_token": "hat"})),
            (e.ContextFullError, lambda: answer("the hat " * 30, n_context=8)),
            (e.InvalidError, lambda: answer([10**6])),
            (e.InvalidError, lambda: answer([])),
            (e.InvalidError, lambda: TOKENIZER.decode([10**6])),
            (e.TemplateRaisedError, lambda: TOKENIZER.apply_chat_template([{"role": "user", "content": "raise"}])),
        )
        for kind, call in rows:
            with self.assertRaises(kind) as caught:
                call()
            self.assertTrue(str(caught.exception))
        with self.assertRaisesRegex(e.TemplateRaisedError, "Do not say raise!"):
            pantry.chat(MODEL, TOKENIZER, [{"role": "user", "content": "raise"}])

    def test_a_closed_model(self):
        model, tokenizer = load(FOLDER.model)
        stream = stream_generate(model, tokenizer, PROMPT, max_tokens=4)
        model.close()
        self.assertEqual(text_of(stream), text_of(answer(max_tokens=4)))  # the stream keeps the model
        for call in (lambda: generate(model, tokenizer, [5]), lambda: tokenizer.encode("hat")):
            with self.assertRaisesRegex(ValueError, "closed"):
                call()

    def test_threads_share_a_model(self):
        expected, said = text_of(answer(max_tokens=20)), [None] * 6

        def work(i):
            said[i] = text_of(answer(max_tokens=20))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(said))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(said, [expected] * len(said))

    def test_generations_leave_no_memory_behind(self):
        rounds = int(os.environ.get("PANTRY_TEST_ROUNDS", "400"))

        def used():
            if not os.path.exists("/proc/self/statm"):
                raise unittest.SkipTest("this system does not say how much memory is in use")
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize()

        def work(n):
            for i in range(n):
                answer([5 + i % 40, 6, 7], max_tokens=3, logprobs=2, stop=["zzz"])
                TOKENIZER.decode(TOKENIZER.encode(PROMPT))

        work(rounds // 2)
        before = used()
        work(rounds)
        self.assertLess(used() - before, 4 << 20)


if __name__ == "__main__":
    unittest.main()
