/* Fuzzes encoding and decoding with small vocabularies of every kind. The first byte chooses the tokenizer, the rest is
 * text. Checks that ids are in the vocabulary, decoded text is UTF-8, a stream prints the same as decoding at once, and
 * with the byte alphabet valid text is restored. */
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_TOKENS = 300, N_KINDS = 22 };

static const char *const pres[] = {"gpt-2",    "llama-bpe", "qwen2",  "qwen35",       "gpt-4o",
                                   "tekken",   "kimi-k2",   "falcon", "exaone-moe",   "superbpe",
                                   "tiny_aya", "afmoe",     "bloom",  "deepseek-llm", "chameleon"};

struct maker {
    struct pn_str tokens[N_TOKENS];
    char text[N_TOKENS][16];
    uint8_t types[N_TOKENS];
    double scores[N_TOKENS];
    size_t n;
};

static void add(struct maker *m, const char *text, uint8_t type)
{
    snprintf(m->text[m->n], sizeof m->text[m->n], "%s", text);
    m->tokens[m->n] = (struct pn_str){m->text[m->n], (uint32_t)strlen(m->text[m->n])};
    m->types[m->n] = type;
    m->scores[m->n] = -(double)(m->n % 13);
    m->n++;
}

static void add_bytes(struct maker *m, bool alphabet)
{
    for (unsigned b = 0; b < 256; b++) {
        char text[16];
        uint32_t c = pn_byte_to_char((unsigned char)b);
        if (!alphabet)
            snprintf(text, sizeof text, "<0x%02X>", b);
        else if (c < 0x80)
            snprintf(text, sizeof text, "%c", (char)c);
        else
            snprintf(text, sizeof text, "%c%c", (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)));
        add(m, text, alphabet ? PN_TOKEN_NORMAL : PN_TOKEN_BYTE);
    }
}

static struct pn_tokenizer *make(unsigned kind)
{
    static struct maker maker;
    static const struct pn_str merges[] = {{"t h", 3}, {"th e", 4}, {"a a", 3}, {"aa aa", 5}, {"1 2", 3}, {"( (", 3}};
    static const char *const pieces[] = {"▁", "a", "b", "▁a", "aa", "aaaa", "▁▁", "the", "12", "((", "\n", "é", "漢"};
    static const char *const models[] = {"llama", "t5", "bert", "rwkv", "gemma4", "plamo2", "hybriddna"};
    struct maker *m = &maker;
    struct pn_vocab v;
    struct pn_tokenizer *t = NULL;
    bool has_pre = kind < sizeof pres / sizeof *pres, dna = kind == N_KINDS - 1, bpe = has_pre || dna;
    const char *model = has_pre ? "gpt2" : models[kind - sizeof pres / sizeof *pres];
    const char *pre = has_pre ? pres[kind] : dna ? pres[0] : "";
    m->n = 0;
    if (pn_vocab_init(&v, model, strlen(model), pre, strlen(pre), NULL))
        abort();
    add(m, "<unk>", PN_TOKEN_UNKNOWN);
    add(m, "<s>", PN_TOKEN_CONTROL);
    add(m, "</s>", PN_TOKEN_CONTROL);
    add(m, "<user>", PN_TOKEN_USER);
    add_bytes(m, bpe);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces && !bpe; i++)
        add(m, pieces[i], PN_TOKEN_NORMAL);
    static const char *const joined[] = {"th", "the", "aa", "aaaa", "12", "(("};
    for (size_t i = 0; i < sizeof joined / sizeof *joined && bpe; i++)
        add(m, joined[i], PN_TOKEN_NORMAL);
    static const char *const letters[] = {"<dna>", "</dna>", "<oov>", "AAAAAA\uE000", "ACGTAC\uE000"};
    for (size_t i = 0; i < sizeof letters / sizeof *letters && dna; i++)
        add(m, letters[i], PN_TOKEN_NORMAL);
    v.tokens = m->tokens;
    v.n_tokens = m->n;
    v.types = m->types;
    v.scores = m->scores;
    if (v.kind == PN_VOCAB_BPE) {
        v.bpe.merges = merges;
        v.bpe.n_merges = sizeof merges / sizeof *merges;
    }
    v.id.unk = 0;
    v.id.bos = 1;
    v.id.eos = 2;
    if (pn_tokenizer_new(&v, &t, NULL))
        abort();
    return t;
}

static void check_decoding(const struct pn_tokenizer *t, const struct pn_ids *ids, const char *text, size_t n,
                           bool exact)
{
    struct pn_buf whole = {0}, stream = {0};
    struct pn_detokenizer *d = NULL;
    if (pn_tokenizer_decode(t, ids->data, ids->len, true, &whole, NULL) ||
        pn_detokenizer_new(t, PN_DETOKENIZE_SPECIAL, &d, NULL))
        abort();
    for (size_t i = 0; i < ids->len; i++) {
        if (pn_detokenizer_push(d, ids->data[i], &stream, NULL))
            abort();
        if (stream.len && i % 16 == 0 && pn_utf8_valid_prefix(stream.data, stream.len) != stream.len)
            abort();
    }
    pn_detokenizer_flush(d, &stream);
    if (stream.len != whole.len || (whole.len && memcmp(stream.data, whole.data, whole.len) != 0))
        abort();
    if (whole.len && pn_utf8_valid_prefix(whole.data, whole.len) != whole.len)
        abort();
    if (exact && (whole.len != n || (n && memcmp(whole.data, text, n) != 0)))
        abort();
    pn_detokenizer_free(d);
    pn_buf_free(&whole);
    pn_buf_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pn_tokenizer *tokenizers[N_KINDS];
    struct pn_ids ids = {0};
    if (size < 2)
        return 0;
    unsigned kind = data[0] % N_KINDS, flags = data[0] / N_KINDS % 2 ? PN_TOKENIZE_SPECIAL : 0;
    if (!tokenizers[kind])
        tokenizers[kind] = make(kind);
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    if (pn_tokenizer_encode(tokenizers[kind], text, n, flags, &ids, NULL))
        abort();
    for (size_t i = 0; i < ids.len; i++)
        if (!pn_tokenizer_token_type(tokenizers[kind], ids.data[i]))
            abort();
    bool byte_level = kind < sizeof pres / sizeof *pres;
    check_decoding(tokenizers[kind], &ids, text, n, byte_level && pn_utf8_valid_prefix(text, n) == n);
    free(ids.data);
    return 0;
}
