"""Writes a tiny model that says what a test wants to hear: each token names the next one.

The weights of its one layer are zeros, so that the next token follows from the last one alone. "say NAME" as the last
message of the user makes the template end in the token "<|say NAME|>", after which the text SCRIPTS[NAME] follows, and
then the end. After any other token comes SCRIPTS["else"].
"""

import math
import struct

from tiny_model import ARRAY, F32, I32, STRING, TYPE_F16, TYPE_F32, U32, array, byte_letters, string

CALL = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
SCRIPTS = {
    "hello": "Hello there, how are you today?",
    "call": "Let me look.\n" + CALL % ("get_weather", '{"city": "Paris", "days": 2}'),
    "two calls": CALL % ("get_weather", '{"city": "Rome"}') + "\n" + CALL % ("get_time", "{}"),
    "thought": "<think>\nThey want a greeting.\n</think>\n\nGood morning!",
    "thoughtful call": "<think>\nI need it.\n</think>\n\n" + CALL % ("get_time", '{"zone": "UTC"}'),
    "edit": "I change it.\n"
    + CALL % ("edit_file", '{"path":"src/main.c","edits":[{"old":"a\\tb","new":"caf\u00e9"}],"scale":1.0,"dry":false}'),
    "thoughtful edit": "<think>\nThe file is wrong.\n</think>\n\n"
    + CALL % ("edit_file", '{"path":  "b.c", "edits": [], "n": 3}'),
    "names": "Ada, Grace, STOP, Barbara",
    "unicode": "caf\u00e9 \u2014 \u65e5\u672c \U0001f600",
    "result": "It is sunny in Paris.",
    "else": "and so on.",
}
ENDLESS = "more "
LOOPS = {"endless": ("", ENDLESS), "long thought": ("<think>\n", "hm ")}  # a beginning, and what goes on for ever
LOUD = 40.0  # the logit of the next token; the others' are 0
PIECE = 3  # letters of a token, or more where a shorter one is taken

TEMPLATE = """\
{%- if tools %}<|im_start|>system
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Call them with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}{{ ' ' + m.name if m.name }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}
<tool_call id={{ call.id }}>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined %}thinking={{ enable_thinking }}
{% endif %}{% if reasoning_effort is defined %}effort={{ reasoning_effort }}
{% endif %}{% set last = messages[-1] %}
{%- if last.role == 'tool' %}<|say result|>
{%- elif last.content.startswith('say ') %}<|{{ last.content }}|>{% endif %}{% endif %}"""


def pieces_of(text, used):
    pieces, at = [], 0
    while at < len(text):
        n = PIECE
        while text[at : at + n] in used and at + n < len(text):
            n += 1
        piece = text[at : at + n]
        at += n
        while piece in used:  # the end is there already: it is one with what is before it
            piece = pieces.pop() + piece
        pieces.append(piece)
        used.add(piece)
    return pieces


def vocabulary():
    """(tokens, types, next token of each; what is not there is followed by SCRIPTS["else"])"""
    letters = byte_letters()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [letters[b] for b in range(256)]
    types = [3] * 3 + [1] * 256
    used, follows, starts = set(), {}, {}
    for name, text in SCRIPTS.items():
        starts[name] = len(tokens)
        for piece in pieces_of(text, used):
            follows[len(tokens)] = len(tokens) + 1
            tokens.append("".join(letters[b] for b in piece.encode()))
            types.append(1)
        follows[len(tokens) - 1] = 2
    for name, (beginning, again) in LOOPS.items():
        starts[name] = len(tokens)
        pieces = pieces_of(beginning, used) + [again]
        for piece in pieces:
            follows[len(tokens)] = len(tokens) + 1
            tokens.append("".join(letters[b] for b in piece.encode()))
            types.append(1)
        follows[len(tokens) - 1] = len(tokens) - 1
    for name, start in starts.items():
        follows[len(tokens)] = start
        tokens.append(f"<|say {name}|>")
        types.append(3)
    return tokens, types, follows, starts["else"]


def write(path, n_context=8192, template=TEMPLATE):
    tokens, types, follows, other = vocabulary()
    n_embd = (len(follows) + 1 + 63) // 64 * 64
    place = {token: i + 1 for i, token in enumerate(follows)}  # 0: of all other tokens
    loud = LOUD / math.sqrt(n_embd)
    embedding, output = {}, {(other, 0): loud}
    for token in range(len(tokens)):
        embedding[token, place.get(token, 0)] = 1.0
    for token, following in follows.items():
        output[following, place[token]] = loud

    def matrix(rows, columns, values):
        flat = [0.0] * (rows * columns)
        for (row, column), value in values.items():
            flat[row * columns + column] = value
        return TYPE_F16, (rows, columns), struct.pack(f"<{rows * columns}e", *flat)

    ones = TYPE_F32, (n_embd,), struct.pack(f"<{n_embd}f", *[1.0] * n_embd)
    tensors = {
        "token_embd.weight": matrix(len(tokens), n_embd, embedding),
        "output_norm.weight": ones,
        "output.weight": matrix(len(tokens), n_embd, output),
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"blk.0.{name}.weight"] = matrix(n_embd, n_embd, {})
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"blk.0.{name}.weight"] = matrix(64, n_embd, {})
    tensors["blk.0.ffn_down.weight"] = matrix(n_embd, 64, {})
    rows = [
        ("general.architecture", STRING, string("llama")),
        ("general.name", STRING, string("Spoken Test")),
        ("tokenizer.ggml.model", STRING, string("gpt2")),
        ("tokenizer.ggml.pre", STRING, string("gpt-2")),
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, string, tokens)),
        ("tokenizer.ggml.token_type", ARRAY, array(I32, lambda v: struct.pack("<i", v), types)),
        ("tokenizer.ggml.merges", ARRAY, array(STRING, string, [])),
        ("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 2)),
        ("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-9)),
    ]
    if template:
        rows.append(("tokenizer.chat_template", STRING, string(template)))
    numbers = {"block_count": 1, "context_length": n_context, "embedding_length": n_embd, "feed_forward_length": 64}
    for name, value in {**numbers, "attention.head_count": 4}.items():
        rows.append((f"llama.{name}", U32, struct.pack("<I", value)))
    write_gguf(path, rows, tensors)


def write_gguf(path, rows, tensors):
    meta = b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in rows)
    infos, data = b"", b""
    for name, (kind, shape, values) in tensors.items():
        infos += string(name) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += values + b"\0" * (-len(values) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(rows)) + meta + infos
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + data)


if __name__ == "__main__":
    import sys

    write(sys.argv[1])
