/* Ids to text, all at once or streaming: see tokenizer.h.
 *
 * Bytes that do not complete a character wait in `pending`. As in Hugging Face's decoder, a broken character becomes
 * one U+FFFD for its longest valid part with the byte alphabet, and one U+FFFD per byte with SentencePiece's byte
 * tokens. The output depends only on the ids, not on how they were pushed. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>

#define REPLACEMENT "\xEF\xBF\xBD"

struct pn_detokenizer {
    const struct pn_tokenizer *t;
    unsigned flags;
    unsigned char pending[4];
    unsigned n_pending;
    bool started;       /* text was printed before */
    bool any;           /* a token was */
    bool pending_blank; /* SUFFIX: the last token had a suffix, which becomes a blank if another token follows */
};

static void start(struct pn_detokenizer *d)
{
    d->n_pending = 0;
    d->started = d->any = d->flags & PN_DETOKENIZE_CONTINUE;
    d->pending_blank = false;
}

static void emit(struct pn_detokenizer *d, struct pn_buf *out, const void *bytes, size_t n)
{
    const char *p = bytes;
    if (!n)
        return;
    if (!d->started && d->t->decode.strip_first && *p == ' ') {
        p++;
        n--;
    }
    d->started = true;
    pn_buf_append(out, p, n);
}

/* Replaces the broken character in `pending`, whose last byte does not fit. True when that byte may start the next
 * character. */
static bool give_up(struct pn_detokenizer *d, struct pn_buf *out)
{
    emit(d, out, REPLACEMENT, 3);
    bool again = d->n_pending > 1;
    if (d->t->decode.kind == PN_DECODE_BYTES) {
        d->n_pending = 0;
        return again;
    }
    for (unsigned i = 2; i < d->n_pending; i++)
        emit(d, out, REPLACEMENT, 3);
    d->n_pending = 0;
    return again;
}

static void feed(struct pn_detokenizer *d, struct pn_buf *out, const char *bytes, size_t n)
{
    while (n) {
        if (!d->n_pending) {
            size_t good = pn_utf8_valid_prefix(bytes, n);
            emit(d, out, bytes, good);
            bytes += good;
            n -= good;
            if (!n)
                return;
        }
        d->pending[d->n_pending++] = (unsigned char)*bytes;
        int complete = pn_utf8_check(d->pending, d->n_pending);
        if (complete > 0) {
            emit(d, out, d->pending, d->n_pending);
            d->n_pending = 0;
        } else if (complete == 0 && give_up(d, out)) {
            continue;
        }
        bytes++;
        n--;
    }
}

/* Ends a run of bytes: an incomplete character is broken. */
static void end_bytes(struct pn_detokenizer *d, struct pn_buf *out)
{
    unsigned n = d->t->decode.kind == PN_DECODE_BYTES ? d->n_pending > 0 : d->n_pending;
    while (n--)
        emit(d, out, REPLACEMENT, 3);
    d->n_pending = 0;
}

/* A SentencePiece token, with blanks for marks. */
static void feed_marked(struct pn_detokenizer *d, struct pn_buf *out, const char *text, size_t len)
{
    end_bytes(d, out);
    for (size_t pos = 0; pos < len;) {
        const char *hit = memchr(text + pos, PN_SPACE_MARK[0], len - pos);
        size_t at = hit ? (size_t)(hit - text) : len;
        bool is_mark = hit && len - at >= 3 && !memcmp(hit, PN_SPACE_MARK, 3);
        if (hit && !is_mark)
            at++;
        feed(d, out, text + pos, at - pos);
        if (is_mark && (d->any || !d->t->decode.strip_marks))
            feed(d, out, " ", 1);
        pos = at + (is_mark ? 3 : 0);
    }
}

/* Removes the blank that a WordPiece decoder put before punctuation and English contractions. */
static size_t cleanup(char *text, size_t len)
{
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        size_t from = strlen(rules[r][0]), to = strlen(rules[r][1]);
        for (size_t i = 0; i + from <= len; i++) {
            if (memcmp(text + i, rules[r][0], from) != 0)
                continue;
            memcpy(text + i, rules[r][1], to);
            memmove(text + i + to, text + i + from, len - i - from);
            len -= from - to;
            i += to - 1;
        }
    }
    return len;
}

static void feed_wordpiece(struct pn_detokenizer *d, struct pn_buf *out, const struct pn_str *piece)
{
    const struct pn_decode_style *style = &d->t->decode;
    char room[512];
    size_t n = strlen(style->affix), len = 0, skip = 0;
    if (d->any && piece->len >= n && !memcmp(piece->data, style->affix, n))
        skip = n;
    else if (d->any)
        room[len++] = ' ';
    if (!style->cleanup || piece->len >= sizeof room) {
        feed(d, out, room, len);
        feed(d, out, piece->data + skip, piece->len - skip);
        return;
    }
    memcpy(room + len, piece->data + skip, piece->len - skip);
    feed(d, out, room, cleanup(room, len + piece->len - skip));
}

static void feed_suffixed(struct pn_detokenizer *d, struct pn_buf *out, const struct pn_str *piece)
{
    size_t n = strlen(d->t->decode.affix), len = piece->len;
    bool ends = n && len >= n && !memcmp(piece->data + len - n, d->t->decode.affix, n);
    if (d->pending_blank)
        feed(d, out, " ", 1);
    d->pending_blank = ends;
    feed(d, out, piece->data, ends ? len - n : len);
}

/* If the model works on bytes, its pieces are bytes already; a ByteLevel normalizer leaves them spelled out. */
static bool is_spelled_out(const struct pn_tokenizer *t, const struct pn_str *piece)
{
    return t->decode.kind == PN_DECODE_BYTES && !t->flags.byte_level && pn_in_byte_alphabet(piece->data, piece->len);
}

static void feed_bytes(struct pn_detokenizer *d, struct pn_buf *out, const struct pn_str *piece)
{
    char room[256];
    size_t n;
    const unsigned char *p = (const unsigned char *)piece->data;
    if (!is_spelled_out(d->t, piece)) {
        feed(d, out, piece->data, piece->len);
        return;
    }
    for (size_t i = 0, end; i < piece->len; i = end) { /* in parts, because pieces may have any length */
        end = i + sizeof room - 1 < piece->len ? i + sizeof room - 1 : piece->len;
        while (end < piece->len && (p[end] & 0xC0) == 0x80)
            end--;
        if (pn_bytes_decode(piece->data + i, end - i, room, &n))
            feed(d, out, room, n);
    }
}

static void push_piece(struct pn_detokenizer *d, int32_t id, struct pn_buf *out)
{
    const struct pn_tokenizer *t = d->t;
    const struct pn_str *text = &t->tokens.text[id], *piece = &t->tokens.piece[id];
    int type = t->tokens.type[id], byte = type == PN_TOKEN_BYTE ? pn_byte_token_value(text->data, text->len) : -1;
    char c = (char)byte;
    if (byte >= 0) {
        feed(d, out, &c, 1);
        return;
    }
    switch (t->decode.kind) {
    case PN_DECODE_SPM:
        if (type == PN_TOKEN_NORMAL || type == PN_TOKEN_UNUSED || t->flags.json) {
            feed_marked(d, out, text->data, text->len);
            break;
        }
        end_bytes(d, out);
        feed(d, out, text->data, text->len);
        break;
    case PN_DECODE_WORDPIECE:
        feed_wordpiece(d, out, text);
        break;
    case PN_DECODE_SUFFIX:
        feed_suffixed(d, out, text);
        break;
    case PN_DECODE_WORDS:
        if (d->any)
            feed(d, out, " ", 1);
        feed(d, out, text->data, text->len);
        break;
    case PN_DECODE_BYTES:
        feed_bytes(d, out, piece);
        break;
    case PN_DECODE_RAW:
        feed(d, out, piece->data, piece->len);
        break;
    }
}

static void push(struct pn_detokenizer *d, int32_t id, struct pn_buf *out)
{
    int type = d->t->tokens.type[id];
    bool hidden = type == PN_TOKEN_CONTROL || type == PN_TOKEN_UNKNOWN;
    if (hidden && !(d->flags & PN_DETOKENIZE_SPECIAL))
        return;
    push_piece(d, id, out);
    d->any = true;
}

pantry_status pn_detokenizer_new(const struct pn_tokenizer *t, unsigned flags, struct pn_detokenizer **out,
                                 struct pantry_error *err)
{
    struct pn_detokenizer *d = calloc(1, sizeof *d);
    if (!d)
        return pn_no_memory(err, "a detokenizer");
    d->t = t;
    d->flags = flags;
    start(d);
    *out = d;
    return PANTRY_OK;
}

void pn_detokenizer_free(struct pn_detokenizer *d)
{
    free(d);
}

static pantry_status check_id(const struct pn_tokenizer *t, int32_t id, struct pantry_error *err)
{
    if (id >= 0 && (size_t)id < t->tokens.n)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_INVALID, "token %d is outside the vocabulary of %zu", id, t->tokens.n);
}

pantry_status pn_detokenizer_push(struct pn_detokenizer *d, int32_t id, struct pn_buf *out, struct pantry_error *err)
{
    pantry_status status = check_id(d->t, id, err);
    if (status)
        return status;
    push(d, id, out);
    return out->failed ? pn_no_memory(err, "text") : PANTRY_OK;
}

void pn_detokenizer_flush(struct pn_detokenizer *d, struct pn_buf *out)
{
    end_bytes(d, out);
    start(d);
}

pantry_status pn_tokenizer_decode(const struct pn_tokenizer *t, const int32_t *ids, size_t n, bool special,
                                  struct pn_buf *out, struct pantry_error *err)
{
    struct pn_detokenizer d = {.t = t, .flags = special ? PN_DETOKENIZE_SPECIAL : 0};
    for (size_t i = 0; i < n; i++) {
        pantry_status status = pn_detokenizer_push(&d, ids[i], out, err);
        if (status)
            return status;
    }
    pn_detokenizer_flush(&d, out);
    return out->failed ? pn_no_memory(err, "text") : PANTRY_OK;
}

pantry_status pn_tokenizer_token_bytes(const struct pn_tokenizer *t, int32_t id, struct pn_buf *out,
                                       struct pantry_error *err)
{
    pantry_status status = check_id(t, id, err);
    if (status)
        return status;
    const struct pn_str *piece = &t->tokens.piece[id];
    int type = t->tokens.type[id];
    int byte = type == PN_TOKEN_BYTE ? pn_byte_token_value(t->tokens.text[id].data, t->tokens.text[id].len) : -1;
    if (type == PN_TOKEN_CONTROL || type == PN_TOKEN_UNKNOWN)
        return PANTRY_OK;
    if (byte >= 0) {
        pn_buf_putc(out, (char)byte);
    } else if (is_spelled_out(t, piece)) {
        size_t n;
        if (pn_buf_reserve(out, piece->len) && pn_bytes_decode(piece->data, piece->len, out->data + out->len, &n)) {
            out->len += n;
            out->data[out->len] = '\0';
        }
    } else if (t->decode.kind != PN_DECODE_SPM || type == PN_TOKEN_USER) {
        pn_buf_append(out, piece->data, piece->len);
    } else {
        for (uint32_t i = 0; i < piece->len;) {
            bool mark = piece->len - i >= 3 && !memcmp(piece->data + i, PN_SPACE_MARK, 3);
            pn_buf_putc(out, mark ? ' ' : piece->data[i]);
            i += mark ? 3 : 1;
        }
    }
    return out->failed ? pn_no_memory(err, "text") : PANTRY_OK;
}
