/* Compares every kind of vocabulary with a direct implementation of its definition, without heap, trie or index, on
 * small random vocabularies and texts with many ties; and streams of ids with a UTF-8 decoder that works one character
 * at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/unicode.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 400, MAX_TEXT = 400, MAX_MERGES = 64 };

static struct pn_rng rng;

static size_t below(size_t n)
{
    return (size_t)(pn_rng_u64(&rng) % n);
}

/* ---- a random vocabulary ---- */

struct vocabulary {
    struct pn_vocab v;
    struct pn_str tokens[MAX_TOKENS], merges[MAX_MERGES];
    char text[MAX_TOKENS][24], merge[MAX_MERGES][40];
    double scores[MAX_TOKENS];
    uint8_t types[MAX_TOKENS];
    int32_t left[MAX_MERGES], right[MAX_MERGES], made[MAX_MERGES];
    size_t n, n_merges;
};

static void begin(struct vocabulary *s, const char *model)
{
    struct pantry_error err = {0};
    memset(s, 0, sizeof *s);
    if (pn_vocab_init(&s->v, model, strlen(model), "gpt-2", 5, &err))
        fail_msg("%s", err.text);
    s->v.flags.add_bos = s->v.flags.add_space_prefix = false;
}

static int32_t find(const struct vocabulary *s, const char *text, size_t len)
{
    for (size_t i = 0; i < s->n; i++)
        if (strlen(s->text[i]) == len && memcmp(s->text[i], text, len) == 0)
            return (int32_t)i;
    return -1;
}

static int32_t add(struct vocabulary *s, const char *text, double score, uint8_t type)
{
    int32_t id = find(s, text, strlen(text));
    if (id >= 0)
        return id;
    assert_true(s->n < MAX_TOKENS);
    snprintf(s->text[s->n], sizeof s->text[0], "%s", text);
    s->scores[s->n] = score;
    s->types[s->n] = type;
    return (int32_t)s->n++;
}

static struct pn_tokenizer *finish(struct vocabulary *s)
{
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    for (size_t i = 0; i < s->n; i++)
        s->tokens[i] = (struct pn_str){s->text[i], (uint32_t)strlen(s->text[i])};
    for (size_t i = 0; i < s->n_merges; i++)
        s->merges[i] = (struct pn_str){s->merge[i], (uint32_t)strlen(s->merge[i])};
    s->v.tokens = s->tokens;
    s->v.n_tokens = s->n;
    s->v.scores = s->scores;
    s->v.types = s->types;
    if (s->v.kind == PN_VOCAB_BPE) {
        s->v.bpe.merges = s->merges;
        s->v.bpe.n_merges = s->n_merges;
    }
    if (pn_tokenizer_new(&s->v, &t, &err))
        fail_msg("%s", err.text);
    return t;
}

static const char *random_word(char word[MAX_TEXT], const char *letters, size_t shortest, size_t longest)
{
    size_t n = shortest + below(longest - shortest + 1), m = strlen(letters);
    for (size_t i = 0; i < n; i++)
        word[i] = letters[below(m)];
    word[n] = '\0';
    return word;
}

static void add_byte_tokens(struct vocabulary *s)
{
    for (int b = 0; b < 256; b++) {
        char text[16];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        add(s, text, 0, PN_TOKEN_BYTE);
    }
}

/* ---- the comparison ---- */

static void expect_same(const struct pn_tokenizer *t, const char *what, const char *text, const int32_t *want, size_t n)
{
    struct pn_ids ids = {0};
    assert_int_equal(pn_tokenizer_encode(t, text, strlen(text), 0, &ids, NULL), PANTRY_OK);
    if (ids.len != n || (n && memcmp(ids.data, want, n * sizeof *want) != 0)) {
        for (size_t i = 0; i < n || i < ids.len; i++)
            print_error("%d %d\n", i < n ? want[i] : -1, i < ids.len ? ids.data[i] : -1);
        fail_msg("%s: %s", what, text);
    }
    free(ids.data);
}

/* ---- merges by rank: of all pairs the one with the lowest rank, of equal ones the leftmost ---- */

static size_t naive_bpe(const struct vocabulary *s, const char *text, int32_t *ids)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        ids[i] = find(s, text + i, 1);
    for (;;) {
        size_t at = 0, rank = s->n_merges;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t m = 0; m < rank; m++)
                if (s->left[m] == ids[i] && s->right[m] == ids[i + 1]) {
                    rank = m;
                    at = i;
                }
        if (rank == s->n_merges)
            return n;
        ids[at] = s->made[rank];
        for (size_t i = at + 1; i + 1 < n; i++)
            ids[i] = ids[i + 1];
        n--;
    }
}

static void merges_by_rank(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT];
    int32_t want[MAX_TEXT];
    rng.state = 1;
    for (int round = 0; round < 30; round++) {
        begin(&s, "gpt2");
        if (round % 2) /* all bytes: there is a table of byte pairs */
            for (int b = 0; b < 256; b++) {
                struct pn_buf c = {0};
                pn_buf_append(&c, "", 0);
                uint32_t code = pn_byte_to_char((unsigned char)b);
                if (code < 0x80)
                    pn_buf_putc(&c, (char)code);
                else
                    pn_buf_put_utf8(&c, code);
                add(&s, c.data, 0, PN_TOKEN_NORMAL);
                pn_buf_free(&c);
            }
        for (const char *c = "abc"; *c; c++)
            add(&s, (char[]){*c, '\0'}, 0, PN_TOKEN_NORMAL);
        size_t first = round % 2 ? (size_t)find(&s, "a", 1) : 0, wanted = 3 + below(40);
        for (int tries = 0; s.n_merges < wanted && tries < 1000; tries++) {
            /* a, b, c and their merges */
            size_t base = round % 2 ? 256 : 3, l = below(3 + s.n - base), r = below(3 + s.n - base), m = s.n_merges;
            l = l < 3 ? first + l : base + l - 3;
            r = r < 3 ? first + r : base + r - 3;
            bool known = strlen(s.text[l]) + strlen(s.text[r]) > 16;
            for (size_t i = 0; i < m; i++)
                known |= s.left[i] == (int32_t)l && s.right[i] == (int32_t)r;
            if (known)
                continue;
            char joined[40], merge[40];
            snprintf(merge, sizeof merge, "%.16s %.16s", s.text[l], s.text[r]);
            snprintf(joined, sizeof joined, "%.16s%.16s", s.text[l], s.text[r]);
            memcpy(s.merge[m], merge, sizeof merge);
            s.left[m] = (int32_t)l;
            s.right[m] = (int32_t)r;
            s.made[m] = add(&s, joined, 0, PN_TOKEN_NORMAL);
            s.n_merges++;
        }
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            random_word(word, "abc", 1, k % 3 ? 45 : 300); /* words of up to 40 symbols and longer ones are merged in
                                                            * two ways */
            expect_same(t, "merges", word, want, naive_bpe(&s, word, want));
        }
        pn_tokenizer_free(t);
    }
}

/* ---- SentencePiece: the joined piece with the highest score, of equal ones the leftmost ---- */

static size_t naive_pieces(const struct vocabulary *s, const char *text, int32_t *ids)
{
    size_t start[MAX_TEXT], n = strlen(text), out = 0;
    for (size_t i = 0; i <= n; i++)
        start[i] = i;
    for (;;) {
        int32_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t id = find(s, text + start[i], start[i + 2] - start[i]);
            if (id >= 0 && (best < 0 || s->scores[id] > s->scores[best])) {
                best = id;
                at = i;
            }
        }
        if (best < 0)
            break;
        for (size_t i = at + 1; i < n; i++)
            start[i] = start[i + 1];
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t id = find(s, text + start[i], start[i + 1] - start[i]);
        char byte[16];
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)(unsigned char)text[start[i]]);
        if (id < 0)
            id = find(s, byte, 6);
        if (id >= 0 || !out || ids[out - 1] != 0) /* consecutive unknown characters are one token */
            ids[out++] = id < 0 ? 0 : id;
    }
    return out;
}

static void pieces_by_score(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT];
    int32_t want[MAX_TEXT];
    rng.state = 2;
    for (int round = 0; round < 30; round++) {
        begin(&s, "llama");
        add(&s, "<unk>", 0, PN_TOKEN_UNKNOWN);
        if (round % 3 == 0)
            add_byte_tokens(&s);
        for (const char *c = "abc"; *c; c++)
            add(&s, (char[]){*c, '\0'}, -(double)below(9), PN_TOKEN_NORMAL);
        for (size_t i = 0, n = 4 + below(40); i < n; i++)
            add(&s, random_word(word, "abc", 2, 6), (double)below(round % 2 ? 5 : 1000) / 8 - 9, PN_TOKEN_NORMAL);
        s.v.id.unk = 0;
        s.v.flags.byte_fallback = true;
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            random_word(word, k % 4 ? "abc" : "abcz", 1, k % 3 ? 45 : 200);
            expect_same(t, "pieces", word, want, naive_pieces(&s, word, want));
        }
        pn_tokenizer_free(t);
    }
}

/* ---- unigram: the highest sum of scores ---- */

static size_t naive_unigram(const struct vocabulary *s, const char *text, int32_t *ids)
{
    double best[MAX_TEXT], low = DBL_MAX;
    size_t from[MAX_TEXT], n = strlen(text), k = 0;
    int32_t id_of[MAX_TEXT];
    for (size_t i = 0; i < s->n; i++)
        if (s->types[i] == PN_TOKEN_NORMAL && s->scores[i] < low)
            low = s->scores[i];
    best[0] = 0;
    for (size_t end = 1; end <= n; end++) {
        best[end] = -DBL_MAX;
        for (size_t start = 0; start < end; start++) {
            int32_t id = find(s, text + start, end - start);
            double score = id >= 0 ? s->scores[id] : end - start == 1 ? low - 10 : -DBL_MAX;
            if (score > -DBL_MAX && best[start] + score > best[end]) {
                best[end] = best[start] + score;
                from[end] = start;
                id_of[end] = id < 0 ? 0 : id;
            }
        }
    }
    for (size_t end = n; end > 0; end = from[end])
        ids[k++] = id_of[end];
    for (size_t i = 0; i < k / 2; i++) {
        int32_t swap = ids[i];
        ids[i] = ids[k - 1 - i];
        ids[k - 1 - i] = swap;
    }
    size_t kept = 0; /* consecutive unknown characters are one token */
    for (size_t i = 0; i < k; i++)
        if (ids[i] != 0 || !kept || ids[kept - 1] != 0)
            ids[kept++] = ids[i];
    return kept;
}

static void best_sums(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT];
    int32_t want[MAX_TEXT];
    rng.state = 3;
    for (int round = 0; round < 30; round++) {
        begin(&s, "t5");
        add(&s, "<unk>", 0, PN_TOKEN_UNKNOWN);
        for (const char *c = "abc"; *c; c++)
            if (round % 3 || *c != 'b') /* some letters only inside pieces */
                add(&s, (char[]){*c, '\0'}, -1 - (double)below(1000000) / 99991, PN_TOKEN_NORMAL);
        for (size_t i = 0, n = 4 + below(40); i < n; i++)
            add(&s, random_word(word, "abc", 2, 6), -1 - (double)below(1000000) / 50021, PN_TOKEN_NORMAL);
        s.v.id.unk = 0;
        s.v.flags.byte_fallback = false;
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            random_word(word, k % 4 ? "abc" : "abcz", 1, k % 3 ? 45 : 200);
            expect_same(t, "unigram", word, want, naive_unigram(&s, word, want));
        }
        pn_tokenizer_free(t);
    }
}

/* ---- PLaMo 2: the lowest cost from the end, of equal ones the longer token first ---- */

static size_t naive_plamo(const struct vocabulary *s, const char *text, int32_t *ids)
{
    double cost[MAX_TEXT];
    size_t to[MAX_TEXT], n = strlen(text), k = 0;
    int32_t id_of[MAX_TEXT];
    cost[n] = 0;
    for (size_t start = n; start-- > 0;) {
        char byte[16];
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)(unsigned char)text[start]);
        cost[start] = cost[start + 1] + 1000;
        to[start] = start + 1;
        id_of[start] = find(s, byte, 6);
        for (size_t end = start + 1; end <= n; end++) {
            int32_t id = find(s, text + start, end - start);
            if (id >= 0 && cost[end] - s->scores[id] <= cost[start]) {
                cost[start] = cost[end] - s->scores[id];
                to[start] = end;
                id_of[start] = id;
            }
        }
    }
    for (size_t at = 0; at < n; at = to[at])
        ids[k++] = id_of[at];
    return k;
}

static void lowest_costs(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT];
    int32_t want[MAX_TEXT];
    rng.state = 4;
    for (int round = 0; round < 20; round++) {
        begin(&s, "plamo2");
        add(&s, "<|plamo:unk|>", 0, PN_TOKEN_UNKNOWN);
        add_byte_tokens(&s);
        for (size_t i = 0, n = 4 + below(40); i < n; i++) /* quarters: sums are exact, and often equal */
            add(&s, random_word(word, "abc", 1, 5), -(double)below(40) / 4, PN_TOKEN_NORMAL);
        s.v.id.unk = 0;
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            random_word(word, k % 4 ? "abc" : "abcz", 1, 60);
            expect_same(t, "plamo", word, want, naive_plamo(&s, word, want));
        }
        pn_tokenizer_free(t);
    }
}

/* ---- longest first: WordPiece and RWKV ---- */

static size_t naive_wordpiece(const struct vocabulary *s, const char *word, int32_t *ids)
{
    size_t n = strlen(word), k = 0;
    for (size_t start = 0, end; start < n; start = end) {
        int32_t id = -1;
        char piece[MAX_TEXT];
        for (end = n; end > start && id < 0; end -= id < 0) {
            snprintf(piece, sizeof piece, "%s%.*s", start ? "" : "\u2581", (int)(end - start), word + start);
            id = find(s, piece, strlen(piece));
        }
        if (id < 0) {
            ids[0] = 1;
            return 1;
        }
        ids[k++] = id;
    }
    return k;
}

static void longest_pieces_first(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT], piece[MAX_TEXT + 8], text[MAX_TEXT * 3];
    int32_t want[MAX_TEXT * 3];
    rng.state = 5;
    for (int round = 0; round < 30; round++) {
        begin(&s, "bert");
        add(&s, "[PAD]", 0, PN_TOKEN_CONTROL);
        add(&s, "[UNK]", 0, PN_TOKEN_UNKNOWN);
        for (size_t i = 0, n = 10 + below(40); i < n; i++) {
            snprintf(piece, sizeof piece, "%s%s", i % 2 ? "\u2581" : "", random_word(word, "abc", 1, 4));
            add(&s, piece, 0, PN_TOKEN_NORMAL);
        }
        s.v.id.unk = 1;
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            size_t n = 0;
            text[0] = '\0';
            for (int words = 0; words < 3; words++) {
                random_word(word, "abc", 1, 12);
                strcat(strcat(text, words ? " " : ""), word);
                n += naive_wordpiece(&s, word, want + n);
            }
            expect_same(t, "wordpiece", text, want, n);
        }
        pn_tokenizer_free(t);
    }
}

static void longest_tokens_first(void **state)
{
    (void)state;
    static struct vocabulary s;
    char word[MAX_TEXT];
    rng.state = 6;
    for (int round = 0; round < 20; round++) {
        begin(&s, "rwkv");
        add(&s, "<s>", 0, PN_TOKEN_CONTROL);
        for (size_t i = 0, n = 5 + below(40); i < n; i++)
            add(&s, random_word(word, "abc", 1, 6), 0, PN_TOKEN_NORMAL);
        s.v.id.unk = round % 2 ? -1 : 0;
        struct pn_tokenizer *t = finish(&s);
        for (int k = 0; k < 30; k++) {
            int32_t want[MAX_TEXT];
            size_t n = 0, len;
            random_word(word, k % 4 ? "abc" : "abcz", 1, 60);
            for (const char *p = word; *p; p += len) {
                int32_t id = -1;
                for (len = strlen(p); len > 0; len--)
                    if ((id = find(&s, p, len)) > 0)
                        break;
                if (id > 0 || s.v.id.unk >= 0)
                    want[n++] = id > 0 ? id : 0;
                len = len ? len : 1;
            }
            expect_same(t, "rwkv", word, want, n);
        }
        pn_tokenizer_free(t);
    }
}

/* ---- back to text ---- */

/* The length of the character at p, or minus the length of the longest beginning of one (Unicode, table 3-7), or 0. */
static int character(const unsigned char *p, size_t n)
{
    unsigned c = p[0];
    int need = c < 0x80 ? 1 : c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    for (int i = 1; i < need; i++) {
        unsigned low = 0x80, high = 0xBF;
        if (i == 1) {
            low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : low;
            high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : high;
        }
        if ((size_t)i >= n || p[i] < low || p[i] > high)
            return -i;
    }
    return need;
}

/* Each incomplete character is one U+FFFD, or with `each_byte` one per byte. */
static void naive_text(struct pn_buf *out, const unsigned char *p, size_t n, bool each_byte)
{
    for (size_t i = 0; i < n;) {
        int len = character(p + i, n - i);
        size_t step = len > 0 ? (size_t)len : len ? (size_t)-len : 1;
        if (len > 0)
            pn_buf_append(out, p + i, step);
        for (size_t k = 0; len <= 0 && k < (each_byte ? step : 1); k++)
            pn_buf_puts(out, "\uFFFD");
        i += step;
    }
}

/* Runs of bytes with pieces between them: at once, token by token, and cut after every token by a second stream. */
static void broken_bytes(void **state)
{
    (void)state;
    static struct vocabulary s;
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                          0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    rng.state = 7;
    for (int kind = 0; kind < 2; kind++) {
        begin(&s, kind ? "llama" : "gpt2");
        if (kind)
            add(&s, "<unk>", 0, PN_TOKEN_UNKNOWN);
        for (int b = 0; b < 256; b++) {
            struct pn_buf c = {0};
            uint32_t code = pn_byte_to_char((unsigned char)b);
            if (kind)
                pn_buf_printf(&c, "<0x%02X>", (unsigned)b);
            else if (code < 0x80)
                pn_buf_putc(&c, (char)code);
            else
                pn_buf_put_utf8(&c, code);
            add(&s, c.data, 0, kind ? PN_TOKEN_BYTE : PN_TOKEN_NORMAL);
            pn_buf_free(&c);
        }
        int32_t first = (int32_t)s.n - 256, piece = add(&s, kind ? "xy" : "ax", 0, PN_TOKEN_NORMAL);
        s.v.id.unk = kind ? 0 : -1;
        struct pn_tokenizer *t = finish(&s);
        for (int round = 0; round < 6000; round++) {
            unsigned char bytes[8], run[16];
            int32_t ids[8];
            size_t n = 1 + below(7), n_run = 0;
            struct pn_buf want = {0}, got = {0}, stream = {0};
            struct pn_detokenizer *d = NULL;
            assert_int_equal(pn_detokenizer_new(t, 0, &d, NULL), PANTRY_OK);
            for (size_t i = 0; i < n; i++) {
                bytes[i] = round % 3 ? edges[below(sizeof edges)] : (unsigned char)below(256);
                bool is_piece = below(8) == 0;
                ids[i] = is_piece ? piece : first + bytes[i];
                assert_int_equal(pn_detokenizer_push(d, ids[i], &stream, NULL), PANTRY_OK);
                if (!is_piece) {
                    run[n_run++] = bytes[i];
                } else if (!kind) { /* bytes like the others */
                    run[n_run++] = 'a';
                    run[n_run++] = 'x';
                } else {
                    naive_text(&want, run, n_run, true);
                    pn_buf_puts(&want, "xy");
                    n_run = 0;
                }
            }
            naive_text(&want, run, n_run, kind);
            pn_detokenizer_flush(d, &stream);
            assert_int_equal(pn_tokenizer_decode(t, ids, n, false, &got, NULL), PANTRY_OK);
            /* a blank in front comes from SentencePiece; no byte here is a blank */
            assert_int_equal(got.len, want.len);
            assert_int_equal(stream.len, want.len);
            assert_memory_equal(got.data, want.data, want.len);
            assert_memory_equal(stream.data, want.data, want.len);
            pn_detokenizer_free(d);
            pn_buf_free(&want);
            pn_buf_free(&got);
            pn_buf_free(&stream);
        }
        pn_tokenizer_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(pieces_by_score),
        cmocka_unit_test(best_sums),
        cmocka_unit_test(lowest_costs),
        cmocka_unit_test(longest_pieces_first),
        cmocka_unit_test(longest_tokens_first),
        cmocka_unit_test(broken_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
