/* Fuzzes the readers of tokenizers: tokenizer.json, SentencePiece models, and vocabularies as in GGUF files. A
 * tokenizer that loads encodes and decodes a short text. The first byte chooses the reader; text seeds are in corpus/.
 */
#include "text/tokenizer/tokenizer_files.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct pn_tokenizer *t)
{
    static const char text[] = "Hello, wörld 123's <s>\n\xFF ▁▁\U0001F642e\u0301 the [MASK]";
    struct pantry_error err;
    struct pn_ids ids = {0};
    struct pn_buf out = {.limit = 1 << 20};
    for (unsigned flags = 0; flags < 4; flags++) {
        ids.len = 0;
        if (pn_tokenizer_encode(t, text, sizeof text - 1, flags, &ids, &err))
            continue;
        for (size_t i = 0; i < ids.len; i++)
            if (!pn_tokenizer_token_type(t, ids.data[i]))
                abort(); /* an id outside the vocabulary */
        pn_buf_clear(&out);
        if (!pn_tokenizer_decode(t, ids.data, ids.len, flags & 1, &out, &err) && out.len &&
            pn_utf8_valid_prefix(out.data, out.len) != out.len)
            abort();
    }
    free(ids.data);
    pn_buf_free(&out);
    pn_tokenizer_free(t);
}

static const char *const models[] = {"gpt2",   "llama",      "t5",     "bert",     "rwkv",
                                     "gemma4", "whitespace", "plamo2", "hybriddna"};
static const char *const pres[] = {"gpt-2", "llama-bpe", "falcon", "deepseek-llm", "kimi-k2", "gemma4", "whitespace"};

/* Two bytes choose kind and flags; then tokens, each after its type and length; some are merges. */
static void load_vocab(const char *p, size_t n)
{
    struct pn_vocab v;
    struct pn_str tokens[256], merges[256];
    uint8_t types[256], attributes[256];
    double scores[256];
    size_t n_tokens = 0, n_merges = 0;
    struct pn_tokenizer *t = NULL;
    if (n < 3)
        return;
    unsigned kind = (unsigned char)p[0] % 9, flags = (unsigned char)p[1];
    const char *pre = pres[(unsigned char)p[2] % 7];
    if (pn_vocab_init(&v, models[kind], strlen(models[kind]), pre, strlen(pre), NULL))
        return;
    size_t at = 3;
    while (at + 2 <= n && n_tokens < 256 && n_merges < 256) {
        unsigned head = (unsigned char)p[at], len = (unsigned char)p[at + 1] % 16;
        at += 2;
        len = at + len > n ? (unsigned)(n - at) : len;
        struct pn_str s = {p + at, len};
        at += len;
        if (head % 8 == 7) {
            merges[n_merges++] = s;
            continue;
        }
        types[n_tokens] = head % 8;
        attributes[n_tokens] = (uint8_t)(head >> 3);
        scores[n_tokens] = -(double)(head >> 3);
        tokens[n_tokens++] = s;
    }
    v.tokens = tokens;
    v.n_tokens = n_tokens;
    v.types = types;
    v.attributes = attributes;
    v.scores = scores;
    v.id.unk = v.id.bos = 0;
    v.flags.add_space_prefix ^= flags & 1;
    v.flags.remove_extra_whitespaces ^= flags >> 1 & 1;
    v.flags.byte_fallback ^= flags >> 2 & 1;
    v.flags.space_suffix ^= flags >> 3 & 1;
    if (v.kind == PN_VOCAB_BPE) {
        v.bpe.merges = merges;
        v.bpe.n_merges = n_merges;
        v.bpe.ignore_merges ^= flags >> 4 & 1;
    } else if (v.kind == PN_VOCAB_SPM || v.kind == PN_VOCAB_UNIGRAM) {
        v.spm.charsmap = p;
        v.spm.charsmap_len = flags & 32 ? n : 0;
    }
    if (!pn_tokenizer_new(&v, &t, NULL))
        use(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pantry_error err;
    struct pn_tokenizer *t = NULL;
    if (!size)
        return 0;
    const char *p = (const char *)data + 1;
    size_t n = size - 1;
    if (data[0] == '{') { /* the whole input is the file */
        if (!pn_tokenizer_from_json((const char *)data, size, NULL, NULL, &t, &err))
            use(t);
    } else if (data[0] % 2) {
        if (!pn_tokenizer_from_sentencepiece(p, n, NULL, &t, &err))
            use(t);
    } else {
        load_vocab(p, n);
    }
    return 0;
}
