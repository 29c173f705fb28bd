/* WordPiece, BERT's vocabulary: text is cleaned and cut at white space and punctuation; each word is split from the
 * left, the longest piece first. A word that cannot be split completely is one unknown token. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/normalize.h"
#include "text/unicode/unicode.h"

/* Length of the longest piece with this prefix that starts the text; 0: none. `room` holds the longest piece. */
static size_t longest_piece(const struct pn_tokenizer *t, const char *prefix, const char *text, size_t len, char *room,
                            int32_t *id)
{
    size_t n = strlen(prefix);
    size_t mark = t->flags.json ? 0 : 3; /* in GGUF files a piece that starts with the mark starts a word */
    if (n > t->tokens.max_piece || (mark && !n && len >= mark && !memcmp(text, PN_SPACE_MARK, mark)))
        return 0;
    if (len > t->tokens.max_piece - n)
        len = t->tokens.max_piece - n;
    memcpy(room, prefix, n);
    memcpy(room + n, text, len);
    while (len > 0) {
        *id = pn_index_find(&t->tokens.pieces, room, n + len);
        if (*id >= 0)
            return len;
        do
            len--;
        while (len && (text[len] & 0xC0) == 0x80);
    }
    return 0;
}

static pantry_status encode_one(const struct pn_tokenizer *t, const char *word, size_t len, char *room,
                                struct pn_ids *out, struct pantry_error *err)
{
    size_t first = out->len, chars = 0;
    bool whole = true;
    for (size_t i = 0; i < len; i++)
        chars += (word[i] & 0xC0) != 0x80;
    if (t->wordpiece.max_chars && chars > t->wordpiece.max_chars)
        whole = false;
    for (size_t pos = 0; pos < len && whole;) {
        int32_t id;
        size_t n =
            longest_piece(t, pos ? t->wordpiece.prefix : t->wordpiece.first_prefix, word + pos, len - pos, room, &id);
        if (n && !pn_vec_push(out, id))
            return pn_no_memory(err, "tokenizing");
        whole = n > 0;
        pos += n;
    }
    if (whole)
        return PANTRY_OK;
    out->len = first;
    return t->id.unk < 0 || pn_vec_push(out, t->id.unk) ? PANTRY_OK : pn_no_memory(err, "tokenizing");
}

static pantry_status word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                          struct pn_ids *out, struct pantry_error *err)
{
    if (!pn_vec_reserve(&s->path, &s->path_cap, t->tokens.max_piece + 1, 1))
        return pn_no_memory(err, "tokenizing");
    return encode_one(t, text, len, s->path, out, err);
}

static pantry_status init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    t->wordpiece.max_chars = v->wordpiece.max_chars;
    pantry_status status = pn_copy_affix(&t->wordpiece.prefix, v->wordpiece.prefix, err);
    return status ? status : pn_copy_affix(&t->wordpiece.first_prefix, v->wordpiece.first_prefix, err);
}

static pantry_status normalize(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                               const char **text, size_t *len, struct pantry_error *err)
{
    (void)blank_first;
    struct pn_bert_options options = {
        .clean = true, .ideographs = true, .strip_accents = t->flags.strip_accents, .lowercase = t->flags.lowercase};
    struct pn_buf *normal = &s->normal[0];
    pn_buf_clear(normal);
    pantry_status status = pn_normalize_bert(normal, options, *text, *len, err);
    *text = normal->data;
    *len = normal->len;
    return status;
}

/* Cuts normalized text at white space and punctuation. */
static pantry_status encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *p, size_t end,
                            struct pn_ids *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    size_t start = 0;
    unsigned n;
    for (size_t pos = 0; pos <= end && !status; pos += n) {
        uint32_t c = ' ';
        n = 1;
        if (pos < end)
            c = pn_utf8_get((const unsigned char *)p + pos, &n);
        unsigned class = pn_uc_class(c);
        bool alone = class & PN_UC_PUNCT || (c < 128 && class & PN_UC_SYMBOL);
        if (!alone && !(class & PN_UC_SPACE))
            continue;
        if (pos > start)
            status = pn_encode_word(t, s, p + start, pos - start, end - start, out, err);
        if (!status && alone)
            status = pn_encode_word(t, s, p + pos, n, end - pos, out, err);
        start = pos + n;
    }
    return status;
}

const struct pn_model_ops pn_wordpiece_ops = {
    .init = init,
    .normalize = normalize,
    .encode = encode,
    .word = word,
    .decode = {.kind = PN_DECODE_SPM, .strip_first = true},
    .framed = true,
};
