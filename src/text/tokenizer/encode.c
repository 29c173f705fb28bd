/* Encoding a text: finds special tokens, then normalizes the text between them and passes it to the model. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

/* How to encode a text: it is at the start or after a special token; it is the first; control tokens count; it is
 * normalized. */
enum { AT_START = 1, FIRST = 2, CONTROL = 4, NORMAL = 8 };

/* Normalized text of a tokenizer.json, between special tokens. */
static pantry_status encode_normal(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text,
                                   size_t len, bool first, struct pn_ids *out, struct pantry_error *err)
{
    const struct pn_pieces *pieces;
    pantry_status status =
        pn_pipeline_pretokenize(t->pipeline, &s->pipeline, &s->split, first, text, len, &text, &pieces, err);
    for (size_t i = 0; i < (status ? 0 : pieces->len) && !status; i++) {
        const char *piece = text + pieces->data[i].start;
        size_t n = pieces->data[i].end - pieces->data[i].start;
        status =
            t->cut_at_marks ? pn_encode_cut(t, s, piece, n, out, err) : pn_encode_word(t, s, piece, n, n, out, err);
    }
    return status;
}

static pantry_status encode_found(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                  unsigned how, struct pn_ids *out, struct pantry_error *err);

/* Text between special tokens that are found in text as given: normalizes it, then searches it for the others. */
static pantry_status encode_pipeline(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text,
                                     size_t len, unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    if (s->split.regex)
        pn_regex_scratch_start(s->split.regex, len);
    pantry_status status = pn_pipeline_normalize(t->pipeline, &s->pipeline, &s->split, &text, &len, err);
    if (status || !len)
        return status;
    if (t->special.normal.n_nodes > 1)
        return encode_found(t, s, text, len, how | NORMAL, out, err);
    return encode_normal(t, s, text, len, how & FIRST, out, err);
}

/* Text between special tokens. */
static pantry_status encode_text(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                 unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    if (t->pipeline)
        return how & NORMAL ? encode_normal(t, s, text, len, how & FIRST, out, err)
                            : encode_pipeline(t, s, text, len, how, out, err);
    if (!t->ops->encode)
        return pn_fail(err, PANTRY_INTERNAL, "the vocabulary encodes words, not texts");
    if (!(how & NORMAL)) {
        bool blank_first = t->flags.add_space_prefix && how & AT_START;
        pantry_status status = t->ops->normalize ? t->ops->normalize(t, s, blank_first, &text, &len, err) : PANTRY_OK;
        if (status || !len)
            return status;
        if (t->special.normal.n_nodes > 1)
            return encode_found(t, s, text, len, how | NORMAL, out, err);
    }
    return t->ops->encode(t, s, text, len, out, err);
}

/* Encodes special tokens and what is between them. */
static pantry_status encode_found(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                  unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct pn_special_match match;
    size_t done = 0;
    while (!status && pn_specials_next(t, how & NORMAL, how & CONTROL, text, len, done, &match)) {
        if (match.start > done)
            status = encode_text(t, s, text + done, match.start - done, done ? how & ~(unsigned)FIRST : how, out, err);
        if (!status && !pn_vec_push(out, match.id))
            status = pn_no_memory(err, "tokenizing");
        how |= AT_START;
        done = match.end;
    }
    if (!status && done < len)
        status = encode_text(t, s, text + done, len - done, done ? how & ~(unsigned)FIRST : how, out, err);
    return status;
}

static bool push_ids(struct pn_ids *out, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!pn_vec_push(out, ids[i]))
            return false;
    return true;
}

pantry_status pn_tokenizer_encode(const struct pn_tokenizer *t, const char *text, size_t len, unsigned flags,
                                  struct pn_ids *out, struct pantry_error *err)
{
    if (len >= INT32_MAX / 4)
        return pn_fail(err, PANTRY_LIMIT, "a text of %zu bytes; at most %d can be tokenized at once", len,
                       INT32_MAX / 4);
    struct pn_encode_state *s = pn_encode_state_take(t, len);
    pantry_status status = s ? PANTRY_OK : pn_no_memory(err, "tokenizing");
    if (status)
        return status;
    if (!t->ops->takes_bytes && pn_utf8_valid_prefix(text, len) < len) {
        pn_buf_clear(&s->clean);
        pn_utf8_clean(&s->clean, text, len);
        if (s->clean.failed)
            status = pn_no_memory(err, "tokenizing");
        text = s->clean.data;
        len = s->clean.len;
    }
    if (!status && (flags & PN_TOKENIZE_BOS) && !push_ids(out, t->before, t->n_before))
        status = pn_no_memory(err, "tokenizing");
    if (!status)
        status =
            encode_found(t, s, text, len, AT_START | FIRST | (flags & PN_TOKENIZE_SPECIAL ? CONTROL : 0), out, err);
    if (!status && (flags & PN_TOKENIZE_BOS) && !push_ids(out, t->after, t->n_after))
        status = pn_no_memory(err, "tokenizing");
    pn_encode_state_give(t, s);
    return status;
}
