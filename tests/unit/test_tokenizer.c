/* Tokenizers with small vocabularies that the test makes. Golden ids come from Hugging Face tokenizers 0.23.3 (BPE,
 * WordPiece) and sentencepiece 0.2.3 (SPM, unigram), given the same vocabularies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/unicode.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 400 };

struct small {
    struct pn_vocab v;
    struct pn_str tokens[MAX_TOKENS], merges[32];
    char text[MAX_TOKENS][16];
    double scores[MAX_TOKENS];
    uint8_t types[MAX_TOKENS], attributes[MAX_TOKENS];
    size_t n;
};

static void add(struct small *s, const char *text, double score, uint8_t type)
{
    snprintf(s->text[s->n], sizeof s->text[s->n], "%s", text);
    s->tokens[s->n] = (struct pn_str){s->text[s->n], (uint32_t)strlen(s->text[s->n])};
    s->scores[s->n] = score;
    s->types[s->n] = type;
    s->n++;
}

static void begin(struct small *s, const char *model, const char *pre)
{
    struct pantry_error err = {0};
    memset(s, 0, sizeof *s);
    if (pn_vocab_init(&s->v, model, strlen(model), pre, strlen(pre), &err))
        fail_msg("%s", err.text);
    s->v.id.bos = s->v.id.eos = s->v.id.unk = -1;
}

static struct pn_tokenizer *finish(struct small *s)
{
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    s->v.tokens = s->tokens;
    s->v.n_tokens = s->n;
    s->v.scores = s->scores;
    s->v.types = s->types;
    s->v.attributes = s->attributes;
    if (pn_tokenizer_new(&s->v, &t, &err))
        fail_msg("%s", err.text);
    return t;
}

#define SPACE "\xC4\xA0" /* U+0120, a blank in the byte alphabet */

/* All bytes in order, then 13 merges, then <|end|> (269). */
static struct pn_tokenizer *make_bpe(struct small *s, const char *pre)
{
    static const char *const merges[] = {SPACE " t", "h e",  SPACE "t he", "i n",           SPACE " a",
                                         "r e",      "o n",  "in g",       SPACE " " SPACE, SPACE SPACE " " SPACE SPACE,
                                         "1 2",      "12 3", "' s"};
    static const char *const joined[] = {SPACE "t", "he",  SPACE "the", "in",        SPACE "a",
                                         "re",      "on",  "ing",       SPACE SPACE, SPACE SPACE SPACE SPACE,
                                         "12",      "123", "'s"};
    begin(s, "gpt2", pre);
    for (int b = 0; b < 256; b++) {
        struct pn_buf c = {0};
        uint32_t code = pn_byte_to_char((unsigned char)b);
        if (code < 0x80)
            pn_buf_putc(&c, (char)code);
        else
            pn_buf_put_utf8(&c, code);
        add(s, c.data, 0, PN_TOKEN_NORMAL);
        pn_buf_free(&c);
    }
    for (size_t i = 0; i < sizeof joined / sizeof *joined; i++) {
        add(s, joined[i], 0, PN_TOKEN_NORMAL);
        s->merges[i] = (struct pn_str){merges[i], (uint32_t)strlen(merges[i])};
    }
    s->v.bpe.merges = s->merges;
    s->v.bpe.n_merges = sizeof merges / sizeof *merges;
    add(s, "<|end|>", 0, PN_TOKEN_CONTROL);
    return finish(s);
}

/* <unk> <s> </s>, 256 byte tokens, then 13 pieces and a user-defined <x> (272). */
static struct pn_tokenizer *make_spm(struct small *s, const char *model)
{
    static const char *const pieces[] = {"▁", "a", "b", "c", "▁a", "ab", "▁ab", "bc", "abc", "▁▁", "▁▁▁▁", "\n", "é"};
    bool unigram = !strcmp(model, "t5");
    begin(s, model, "");
    add(s, "<unk>", 0, PN_TOKEN_UNKNOWN);
    add(s, "<s>", 0, PN_TOKEN_CONTROL);
    add(s, "</s>", 0, PN_TOKEN_CONTROL);
    for (int b = 0; b < 256; b++) {
        char text[16];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        add(s, text, 0, PN_TOKEN_BYTE);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        add(s, pieces[i], unigram ? -3.0 - 0.25 * (double)(s->n % 7) : -(double)i, PN_TOKEN_NORMAL);
    add(s, "<x>", 0, PN_TOKEN_USER);
    s->v.id.unk = 0;
    s->v.id.bos = 1;
    s->v.id.eos = 2;
    s->v.flags.add_space_prefix = s->v.flags.byte_fallback = true;
    return finish(s);
}

static void expect(const struct pn_tokenizer *t, const char *text, unsigned flags, const int32_t *want, size_t n)
{
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    if (pn_tokenizer_encode(t, text, strlen(text), flags, &ids, &err))
        fail_msg("%s: %s", text, err.text);
    for (size_t i = 0; i < ids.len && (ids.len != n || memcmp(ids.data, want, n * sizeof *want) != 0); i++)
        print_error(" %d", ids.data[i]);
    if (ids.len != n || (n && memcmp(ids.data, want, n * sizeof *want) != 0))
        fail_msg("\"%s\"", text);
    free(ids.data);
}

#define EXPECT(t, text, flags, ...)                                                                                    \
    expect(t, text, flags, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void byte_level_bpe(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "gpt-2");
    EXPECT(t, "the thing 123's", 0, 116, 257, 256, 104, 263, 32, 267, 268);
    EXPECT(t, "    the\n\n  in12", 0, 264, 32, 258, 10, 10, 32, 32, 259, 266);
    EXPECT(t, "café \U0001F642\u0301 THE'S", 0, 99, 97, 102, 195, 169, 32, 240, 159, 153, 130, 204, 129, 32, 84, 72, 69,
           39, 83);
    expect(t, "", 0, NULL, 0);
    EXPECT(t, "he<|end|>", PN_TOKENIZE_SPECIAL, 257, 269);
    EXPECT(t, "<|end|>", 0, 60, 124, 101, 110, 100, 124, 62);
    assert_true(pn_tokenizer_is_eog(t, 269));
    assert_int_equal(pn_tokenizer_find(t, SPACE "the", 5), 258);
    assert_int_equal(pn_tokenizer_find(t, " the", 4), -1);
    pn_tokenizer_free(t);
    t = make_bpe(&s, "qwen2");
    EXPECT(t, "the thing 123's", 0, 116, 257, 256, 104, 263, 32, 49, 50, 51, 268);
    EXPECT(t, "    the\n\n  in12", 0, 264, 32, 258, 10, 10, 32, 32, 259, 49, 50);
    pn_tokenizer_free(t);
}

static bool adds_bos(const struct pn_tokenizer *t)
{
    size_t n;
    const int32_t *before = pn_tokenizer_around(t, false, &n);
    return n == 1 && before[0] == pn_tokenizer_bos(t);
}

static void sentencepiece_bpe(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_spm(&s, "llama");
    EXPECT(t, "abc ab  a", 0, 265, 262, 265, 259, 263);
    EXPECT(t, "é漢    b\n", 0, 259, 271, 233, 191, 165, 269, 261, 270);
    expect(t, "", 0, NULL, 0);
    EXPECT(t, "", PN_TOKENIZE_BOS, 1);
    EXPECT(t, "<s>a", PN_TOKENIZE_SPECIAL, 1, 263);
    EXPECT(t, "<x>", 0, 272);
    assert_true(adds_bos(t));
    pn_tokenizer_free(t);
    t = make_spm(&s, "t5");
    EXPECT(t, "abc ab  a", 0, 259, 267, 265, 268, 260);
    EXPECT(t, "é漢    b\n", 0, 259, 271, 233, 191, 165, 269, 261, 270);
    EXPECT(t, "abcabc", 0, 259, 267, 267);
    pn_tokenizer_free(t);
}

static void wordpiece(void **state)
{
    (void)state;
    static const char *const pieces[] = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able",
                                         "▁hello", "s",     "▁,",    "▁中",   "▁a",  "b",   "▁cafe"};
    static struct small s;
    begin(&s, "bert", "");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        add(&s, pieces[i], 0, i < 4 ? PN_TOKEN_CONTROL : PN_TOKEN_NORMAL);
    s.v.id.unk = 1;
    s.v.id.cls = 2;
    s.v.id.sep = 3;
    struct pn_tokenizer *t = finish(&s);
    EXPECT(t, "Unaffable, HELLOs", 0, 4, 5, 6, 9, 7, 8);
    EXPECT(t, "中中a café xyz abb", PN_TOKENIZE_BOS, 2, 10, 10, 11, 13, 1, 11, 12, 12, 3);
    char longest[102] = {0};
    memset(longest, 'a', 101);
    EXPECT(t, longest, 0, 1);
    pn_tokenizer_free(t);
}

static void rwkv(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<s>", "a", "ab", "\\n", "\\xff", "abc\\n", "\\\\", "\\x4"};
    static struct small s;
    begin(&s, "rwkv", "");
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        add(&s, tokens[i], 0, i ? PN_TOKEN_NORMAL : PN_TOKEN_CONTROL);
    add(&s, "<u>", 0, PN_TOKEN_USER);
    s.attributes[8] = PN_TOKEN_NORMALIZED; /* without a normalizer, text is searched as it is */
    struct pn_tokenizer *t = finish(&s);
    EXPECT(t, "ab<u>a", 0, 2, 8, 1);
    EXPECT(t, "abaabc\n\xFF\\", 0, 2, 1, 5, 4, 6);
    EXPECT(t, "az\n", 0, 1, 3); /* no unknown token: text without a token is dropped */
    pn_tokenizer_free(t);
}

/* SentencePiece scores user-defined pieces 0.1 per byte after the first, even if the file says otherwise. */
static void user_pieces_weigh_more(void **state)
{
    (void)state;
    static struct small s;
    for (int longer = 0; longer < 2; longer++) {
        begin(&s, "t5", "");
        add(&s, "<unk>", 0, PN_TOKEN_UNKNOWN);
        add(&s, "x", -5, PN_TOKEN_NORMAL);
        add(&s, "y", -5, PN_TOKEN_NORMAL);
        add(&s, longer ? "xyé" : "xyy", -4.85, PN_TOKEN_NORMAL);
        add(&s, longer ? "yé" : "yy", -9, PN_TOKEN_USER);
        s.attributes[4] = PN_TOKEN_SCORED;
        s.v.id.unk = 0;
        struct pn_tokenizer *t = finish(&s);
        if (longer)
            EXPECT(t, "xyé", 0, 1, 4); /* -5 + 0.2 */
        else
            EXPECT(t, "xyy", 0, 3); /* -5 + 0.1 */
        pn_tokenizer_free(t);
    }
}

/* All byte tokens except `left_out`, then the tokens of PLaMo's test. */
static void begin_plamo(struct small *s, int left_out)
{
    begin(s, "plamo2", "");
    add(s, "<|plamo:unk|>", 0, PN_TOKEN_UNKNOWN);
    add(s, "<|plamo:bos|>", 0, PN_TOKEN_CONTROL);
    add(s, "<|plamo:eos|>", 0, PN_TOKEN_CONTROL);
    for (int b = 0; b < 256; b++) {
        char text[16];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        if (b != left_out)
            add(s, text, 0, PN_TOKEN_BYTE);
    }
}

/* The best sum of scores; of equal sums, the longer token first. */
static void plamo(void **state)
{
    (void)state;
    static struct small s;
    static const struct {
        const char *text;
        double score;
    } pieces[] = {{"a", -3}, {"b", -3},  {"ab", -5}, {"ba", -4.00001},         {"aba", -9},
                  {"c", -1}, {"cc", -2}, {"漢", -1}, {"字", (double)-INFINITY}};
    begin_plamo(&s, -1);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        add(&s, pieces[i].text, pieces[i].score, PN_TOKEN_NORMAL); /* from 259 on */
    s.v.id.bos = 1;
    s.v.id.eos = 2;
    struct pn_tokenizer *t = finish(&s);
    EXPECT(t, "aba", 0, 259, 262);  /* -7.00001 beats -8 and -9 */
    EXPECT(t, "abab", 0, 261, 261); /* -10 */
    EXPECT(t, "ccc", 0, 265, 264);  /* -3 in three ways */
    EXPECT(t, "\uFEFFa漢é字", 0, 259, 266, 0xC3 + 3, 0xA9 + 3, 0xE5 + 3, 0xAD + 3, 0x97 + 3);
    EXPECT(t, "<|plamo:eos|>", PN_TOKENIZE_SPECIAL, 2);
    expect(t, "", 0, NULL, 0);
    struct pn_buf out = {0};
    const int32_t ids[] = {1, 259, 0xC3 + 3, 0xA9 + 3, 266};
    assert_int_equal(pn_tokenizer_decode(t, ids, 5, false, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, "aé漢");
    pn_buf_free(&out);
    assert_true(pn_tokenizer_is_eog(t, 2));
    assert_false(adds_bos(t));
    pn_tokenizer_free(t);

    struct pantry_error err = {0};
    begin_plamo(&s, 0x41);
    s.v.tokens = s.tokens;
    s.v.n_tokens = s.n;
    s.v.types = s.types;
    assert_int_equal(pn_tokenizer_new(&s.v, &t, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "<0x41>"));
}

static void dna(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "gpt-2");
    pn_tokenizer_free(t);
    s.v.flags.dna = true;
    static const char *const tokens[] = {"<dna>", "</dna>", "<oov>", "AAAAAA\xEE\x80\x80", "ACGTAC\xEE\x80\x80",
                                         "ACGTAC"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        add(&s, tokens[i], 0, PN_TOKEN_NORMAL); /* from 270 on */
    t = finish(&s);
    EXPECT(t, "he<dna>acgtacAA</dna>he", 0, 257, 270, 274, 273, 271, 257);
    EXPECT(t, "<dna>ACGTAX<dna>", 0, 270, 272, 272); /* "<DNA>A" is not a word either */
    EXPECT(t, "<dna></dna>he<dna>", 0, 270, 271, 257, 270);
    EXPECT(t, "ACGTAC</dna>", 0, 65, 67, 71, 84, 65, 67, 60, 47, 100, 110, 97, 62);
    struct pn_buf out = {0};
    assert_int_equal(pn_tokenizer_decode(t, (const int32_t[]){270, 274, 271}, 3, false, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, "<dna>ACGTAC</dna>");
    pn_buf_free(&out);
    pn_tokenizer_free(t);
}

/* Padding between files ends a generation: the token that the file names, else one with a known text that is not
 * ordinary text. */
static void fim_tokens_end(void **state)
{
    (void)state;
    static struct small s;
    for (int named = 0; named < 2; named++) {
        begin(&s, "llama", "");
        add(&s, "<|fim_pad|>", 0, PN_TOKEN_CONTROL);
        add(&s, "<|file_sep|>", 0, PN_TOKEN_NORMAL);
        add(&s, "a", 0, PN_TOKEN_NORMAL);
        s.v.id.fim_pad = named ? 2 : -1;
        struct pn_tokenizer *t = finish(&s);
        assert_int_equal(pn_tokenizer_is_eog(t, 0), !named);
        assert_false(pn_tokenizer_is_eog(t, 1));
        assert_int_equal(pn_tokenizer_is_eog(t, 2), named);
        pn_tokenizer_free(t);
    }
}

/* Gemma 4 starts with BOS even if its file says otherwise, and a whitespace vocabulary may fold case. */
static void flags_of_pretypes(void **state)
{
    (void)state;
    static struct small s;
    begin(&s, "gemma4", "");
    add(&s, "<bos>", 0, PN_TOKEN_CONTROL);
    add(&s, "a", 0, PN_TOKEN_NORMAL);
    s.v.id.bos = 0;
    s.v.flags.add_bos = false;
    struct pn_tokenizer *t = finish(&s);
    EXPECT(t, "a", PN_TOKENIZE_BOS, 0, 1);
    pn_tokenizer_free(t);
    begin(&s, "whitespace", "whitespace");
    add(&s, "é", 0, PN_TOKEN_NORMAL);
    add(&s, "É", 0, PN_TOKEN_NORMAL);
    t = finish(&s);
    EXPECT(t, "É \té", 0, 1, 0);
    pn_tokenizer_free(t);
    s.v.flags.lowercase = true;
    t = finish(&s);
    EXPECT(t, "É \té", 0, 0, 0);
    pn_tokenizer_free(t);
}

/* ---- streams ---- */

static void push_all(const struct pn_tokenizer *t, const int32_t *ids, size_t n, struct pn_buf *out)
{
    struct pantry_error err = {0};
    struct pn_detokenizer *d = NULL;
    assert_int_equal(pn_detokenizer_new(t, 0, &d, &err), PANTRY_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pn_detokenizer_push(d, ids[i], out, &err), PANTRY_OK);
        assert_int_equal(pn_utf8_valid_prefix(out->data ? out->data : "", out->len), out->len);
    }
    pn_detokenizer_flush(d, out);
    assert_int_equal(pn_utf8_valid_prefix(out->data ? out->data : "", out->len), out->len);
    pn_detokenizer_free(d);
}

/* Random ids, most of them bytes: the stream prints only whole characters, and the same text as decoding at once. */
static void streams_equal_whole(void **state)
{
    (void)state;
    static struct small s;
    static const char *const models[] = {"gpt2", "llama"};
    for (size_t k = 0; k < 2; k++) {
        struct pn_tokenizer *t = k ? make_spm(&s, models[k]) : make_bpe(&s, "gpt-2");
        struct pn_rng rng = {.state = 99};
        struct pn_buf whole = {0}, stream = {0};
        for (int round = 0; round < 3000; round++) {
            int32_t ids[12];
            size_t n = pn_rng_u64(&rng) % 12;
            for (size_t i = 0; i < n; i++) {
                static const unsigned char bytes[] = {0xF0, 0x9F, 0x99, 0x82, 0xE2, 0x82,
                                                      0xAC, 0xC3, 0xA9, 0xFF, 0x80, ' '};
                int32_t byte = bytes[pn_rng_u64(&rng) % sizeof bytes] + (k ? 3 : 0);
                ids[i] = pn_rng_u64(&rng) % 5 ? byte : (int32_t)(pn_rng_u64(&rng) % s.n);
            }
            pn_buf_clear(&whole);
            pn_buf_clear(&stream);
            assert_int_equal(pn_tokenizer_decode(t, ids, n, false, &whole, NULL), PANTRY_OK);
            push_all(t, ids, n, &stream);
            assert_int_equal(whole.len, stream.len);
            if (whole.len)
                assert_memory_equal(whole.data, stream.data, whole.len);
        }
        pn_buf_free(&whole);
        pn_buf_free(&stream);
        pn_tokenizer_free(t);
    }
}

static void expect_text(const struct pn_tokenizer *t, const char *want, size_t n, const int32_t *ids)
{
    struct pn_buf out = {0};
    assert_int_equal(pn_tokenizer_decode(t, ids, n, false, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data ? out.data : "", want);
    pn_buf_free(&out);
}

static void broken_characters(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "gpt-2");
    /* One U+FFFD for the valid part of a character, as in Rust's from_utf8_lossy. */
    expect_text(t, "\uFFFD", 3, (const int32_t[]){0xF0, 0x9F, 0x99});
    expect_text(t, "\uFFFDa", 3, (const int32_t[]){0xE2, 0x82, 'a'});
    expect_text(t, "\uFFFD\uFFFDé", 4, (const int32_t[]){0xFF, 0xE2, 0xC3, 0xA9});
    expect_text(t, "\U0001F642", 4, (const int32_t[]){0xF0, 0x9F, 0x99, 0x82});
    pn_tokenizer_free(t);
    t = make_spm(&s, "llama");
    /* One per byte, as in SentencePiece; a piece ends a run of bytes. */
    expect_text(t, "\uFFFD\uFFFDa", 3, (const int32_t[]){0xE2 + 3, 0x82 + 3, 260});
    expect_text(t, "€", 3, (const int32_t[]){0xE2 + 3, 0x82 + 3, 0xAC + 3});
    expect_text(t, "\uFFFD\uFFFD\uFFFD", 3, (const int32_t[]){0xF0 + 3, 0x9F + 3, 0x99 + 3});
    expect_text(t, "a ab", 3, (const int32_t[]){263, 259, 264}); /* the first blank is dropped */
    pn_tokenizer_free(t);
}

/* ---- hostile input ---- */

/* untrusted-input item 15: malformed byte tokens stay text, and no part of them is read as a byte. */
static void bad_byte_tokens(void **state)
{
    (void)state;
    static struct small s;
    static const char *const bad[] = {"<0x-1>", "<0xZZ>", "<0x", "<0x1>", "<0x123>", "<0x1 >", ""};
    begin(&s, "llama", "");
    add(&s, "<unk>", 0, PN_TOKEN_UNKNOWN);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        add(&s, bad[i], 0, PN_TOKEN_BYTE);
    add(&s, "a", 0, PN_TOKEN_NORMAL);
    s.v.id.unk = 0;
    s.v.flags.add_space_prefix = false;
    struct pn_tokenizer *t = finish(&s);
    EXPECT(t, "aé<0xZZ>a", 0, 8, 0, 8);
    expect_text(t, "<0x-1><0xZZ>a", 3, (const int32_t[]){1, 2, 8});
    struct pn_buf out = {0};
    assert_int_equal(pn_tokenizer_decode(t, (const int32_t[]){9}, 1, false, &out, NULL), PANTRY_INVALID);
    assert_int_equal(pn_tokenizer_decode(t, (const int32_t[]){-1}, 1, false, &out, NULL), PANTRY_INVALID);
    assert_int_equal(pn_tokenizer_token_type(t, 9), 0);
    assert_false(pn_tokenizer_is_eog(t, -5));
    pn_buf_free(&out);
    pn_tokenizer_free(t);
}

static void odd_vocabularies(void **state)
{
    (void)state;
    static struct small s;
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    static const char *const merges[] = {"", " ", "a", "a ", " b", "a b c", "zz top", "\xFF \xFE", "a a", "a a"};
    begin(&s, "gpt2", "gpt-2");
    assert_int_equal(pn_tokenizer_new(&s.v, &t, &err), PANTRY_FORMAT); /* no tokens */
    add(&s, "a", 0, PN_TOKEN_NORMAL);
    add(&s, "a", 0, PN_TOKEN_NORMAL);
    add(&s, "aa", 0, 77);
    add(&s, "\xFF\xFE", 0, PN_TOKEN_NORMAL);
    add(&s, "", 0, PN_TOKEN_CONTROL);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        s.merges[i] = (struct pn_str){merges[i], (uint32_t)strlen(merges[i])};
    s.v.bpe.merges = s.merges;
    s.v.bpe.n_merges = sizeof merges / sizeof *merges;
    s.v.id.eos = 1000000;
    s.v.id.bos = -7;
    s.v.flags.add_bos = s.v.flags.add_eos = true;
    t = finish(&s);
    EXPECT(t, "aaa", PN_TOKENIZE_BOS | PN_TOKENIZE_SPECIAL, 2, 0);
    expect(t, "bc", 0, NULL, 0);
    assert_int_equal(pn_tokenizer_eos(t), -1);
    pn_tokenizer_free(t);

    /* A token that would make searching slow is an error. */
    char *longest = malloc(5000);
    memset(longest, 'a', 5000);
    begin(&s, "gpt2", "gpt-2");
    add(&s, "a", 0, PN_TOKEN_USER);
    s.tokens[0] = (struct pn_str){longest, 5000};
    s.v.tokens = s.tokens;
    s.v.n_tokens = 1;
    s.v.types = s.types;
    assert_int_equal(pn_tokenizer_new(&s.v, &t, &err), PANTRY_LIMIT);
    free(longest);
    assert_int_equal(pn_vocab_init(&s.v, "none", 4, "", 0, &err), PANTRY_UNSUPPORTED);
    assert_int_equal(pn_vocab_init(&s.v, "test", 4, "", 0, &err), PANTRY_UNSUPPORTED);
    assert_int_equal(pn_vocab_init(&s.v, "gpt2", 4, "no-such", 7, &err), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no-such"));
}

/* A precompiled map with any contents is never read out of bounds. */
static void bad_maps(void **state)
{
    (void)state;
    struct pn_rng rng = {.state = 5};
    for (int round = 0; round < 2000; round++) {
        static struct small s;
        char map[64];
        size_t n = pn_rng_u64(&rng) % sizeof map;
        for (size_t i = 0; i < n; i++)
            map[i] = (char)pn_rng_u64(&rng);
        if (n >= 4 && round % 2)
            memcpy(map, &(uint32_t){(uint32_t)(n - 4) / 8 * 4}, 4);
        begin(&s, "t5", "");
        add(&s, "a", -1, PN_TOKEN_NORMAL);
        s.v.tokens = s.tokens;
        s.v.n_tokens = 1;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, map, n);
        s.v.spm.charsmap = copy;
        s.v.spm.charsmap_len = n;
        struct pn_tokenizer *t = NULL;
        if (!pn_tokenizer_new(&s.v, &t, NULL)) {
            struct pn_ids ids = {0};
            assert_int_equal(pn_tokenizer_encode(t, "abc\x01\xC3\xA9 z", 8, 0, &ids, NULL), PANTRY_OK);
            free(ids.data);
        }
        pn_tokenizer_free(t);
        free(copy);
    }
}

static void invalid_utf8_is_replaced(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "gpt-2");
    struct pn_ids a = {0}, b = {0};
    static const char broken[] = "a\xFF\xE2\x82z\xF0\x9F\x99", replaced[] = "a\uFFFD\uFFFD\uFFFDz\uFFFD\uFFFD\uFFFD";
    assert_int_equal(pn_tokenizer_encode(t, broken, sizeof broken - 1, 0, &a, NULL), PANTRY_OK);
    assert_int_equal(pn_tokenizer_encode(t, replaced, sizeof replaced - 1, 0, &b, NULL), PANTRY_OK);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
    free(a.data);
    free(b.data);
    pn_tokenizer_free(t);
}

/* ---- time and stack ---- */

struct job {
    const struct pn_tokenizer *t;
    const char *text;
    size_t len;
    struct pn_ids ids;
    pantry_status status;
};

static void *run_job(void *arg)
{
    struct job *j = arg;
    j->status = pn_tokenizer_encode(j->t, j->text, j->len, 0, &j->ids, NULL);
    return NULL;
}

/* Vocabularies without merges: WordPiece, RWKV, PLaMo, characters with byte fallback. */
static struct pn_tokenizer *make_other(struct small *s, const char *model)
{
    static const char *const pieces[] = {"a", "aa", "aaaa", "e",  "the", " ", "  ",
                                         "7", "77", "(",    "((", "é",   "▁", "▁▁"};
    if (!strcmp(model, "plamo2")) {
        begin_plamo(s, -1);
    } else {
        begin(s, model, "");
        add(s, "<unk>", 0, PN_TOKEN_UNKNOWN);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        add(s, pieces[i], -1.5, PN_TOKEN_NORMAL);
    s->v.id.unk = 0;
    return finish(s);
}

/* untrusted-input item 17 and more: long runs on a small stack. Quadratic time would not end here. */
static void long_runs(void **state)
{
    (void)state;
    static struct small s;
    static const char *const runs[] = {"a", " ", "7", "(", "\n", "\U0001F642", "e\u0301", "▁", "\xFF", "'", "the"};
    static const char *const pres[] = {"gpt-2",  "qwen2",       "gpt-4o",   "kimi-k2", "exaone-moe", "deepseek-llm",
                                       "falcon", "deepseek-v3", "superbpe", "bloom",   "tiny_aya",   "deepseek-coder",
                                       "afmoe",  "chameleon",   "youtu",    "jais-2",  "viking",     "laguna"};
    static const char *const models[] = {"llama", "t5", "bert", "rwkv", "plamo2", "gemma4"};
    size_t n_pres = sizeof pres / sizeof *pres;
    for (size_t k = 0; k < n_pres + sizeof models / sizeof *models; k++) {
        const char *name = k < n_pres ? pres[k] : models[k - n_pres];
        struct pn_tokenizer *t = k < n_pres       ? make_bpe(&s, name)
                                 : k < n_pres + 2 ? make_spm(&s, name)
                                                  : make_other(&s, name);
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            struct pn_buf text = {0};
            while (text.len < 131072)
                pn_buf_puts(&text, runs[r]);
            struct job job = {.t = t, .text = text.data, .len = text.len};
            pthread_attr_t small_stack;
            pthread_t thread;
            pthread_attr_init(&small_stack);
            pthread_attr_setstacksize(&small_stack, 128 * 1024);
            assert_int_equal(pthread_create(&thread, &small_stack, run_job, &job), 0);
            pthread_join(thread, NULL);
            pthread_attr_destroy(&small_stack);
            if (job.status)
                fail_msg("%s, run of %s: status %d", name, runs[r], job.status);
            /* BERT drops white space, and RWKV here drops text without a token. */
            assert_true(job.ids.len > 0 || !strcmp(name, "bert") || !strcmp(name, "rwkv"));
            free(job.ids.data);
            pn_buf_free(&text);
        }
        pn_tokenizer_free(t);
    }
}

/* Texts joined from words in and not in the cache: the same ids as without a cache. */
static void cache_changes_nothing(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "gpt-2");
    struct pn_rng rng = {.state = 3};
    for (int round = 0; round < 300; round++) {
        char text[64];
        size_t n = pn_rng_u64(&rng) % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = "thein gareons123' \n"[pn_rng_u64(&rng) % 19];
        struct pn_tokenizer *fresh = make_bpe(&s, "gpt-2");
        struct pn_ids a = {0}, b = {0};
        assert_int_equal(pn_tokenizer_encode(t, text, n, 0, &a, NULL), PANTRY_OK);
        assert_int_equal(pn_tokenizer_encode(fresh, text, n, 0, &b, NULL), PANTRY_OK);
        assert_int_equal(a.len, b.len);
        if (a.len)
            assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        struct pn_buf back = {0};
        assert_int_equal(pn_tokenizer_decode(t, a.data, a.len, true, &back, NULL), PANTRY_OK);
        assert_int_equal(back.len, n);
        if (n)
            assert_memory_equal(back.data, text, n);
        pn_buf_free(&back);
        free(a.data);
        free(b.data);
        pn_tokenizer_free(fresh);
    }
    pn_tokenizer_free(t);
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    static struct small s;
    struct pn_tokenizer *t = make_bpe(&s, "qwen2");
    struct pn_buf text = {0};
    struct pn_rng rng = {.state = 8};
    while (text.len < 200000)
        pn_buf_putc(&text, "the in 123's\n"[pn_rng_u64(&rng) % 13]);
    struct job jobs[4];
    pthread_t threads[4];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            jobs[i] = (struct job){.t = t, .text = text.data, .len = text.len};
            assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(jobs[i].status, PANTRY_OK);
            assert_int_equal(jobs[i].ids.len, jobs[0].ids.len);
            assert_memory_equal(jobs[i].ids.data, jobs[0].ids.data, jobs[0].ids.len * sizeof(int32_t));
        }
        for (int i = 0; i < 4; i++)
            free(jobs[i].ids.data);
    }
    pn_buf_free(&text);
    pn_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_bpe),
        cmocka_unit_test(sentencepiece_bpe),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(rwkv),
        cmocka_unit_test(plamo),
        cmocka_unit_test(dna),
        cmocka_unit_test(flags_of_pretypes),
        cmocka_unit_test(user_pieces_weigh_more),
        cmocka_unit_test(fim_tokens_end),
        cmocka_unit_test(streams_equal_whole),
        cmocka_unit_test(broken_characters),
        cmocka_unit_test(bad_byte_tokens),
        cmocka_unit_test(odd_vocabularies),
        cmocka_unit_test(bad_maps),
        cmocka_unit_test(invalid_utf8_is_replaced),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(cache_changes_nothing),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
