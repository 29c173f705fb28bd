/* Running the steps of a tokenizer.json: see pipeline.h. */
#include "text/tokenizer/pipeline.h"

#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

void pn_pipeline_free(struct pn_pipeline *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_norms; i++)
        pn_regex_free(p->norms[i].regex);
    for (size_t i = 0; i < p->n_pres; i++)
        pn_split_free(&p->pres[i].split);
    free(p->norms);
    free(p->pres);
    pn_arena_free(&p->arena);
    free(p);
}

void pn_pipeline_scratch_free(struct pn_pipeline_scratch *s)
{
    for (int i = 0; i < 2; i++) {
        pn_buf_free(&s->text[i]);
        pn_buf_free(&s->rewritten[i]);
        free(s->pieces[i].data);
    }
    *s = (struct pn_pipeline_scratch){0};
}

/* ---- normalizers ---- */

static pantry_status replace(const struct pn_normalizer *step, struct pn_split_scratch *m, struct pn_buf *to,
                             const char *text, size_t len, struct pantry_error *err)
{
    size_t done = 0, start, end;
    for (size_t from = 0; from <= len;) {
        pantry_status status = PANTRY_NOT_FOUND;
        if (step->regex) {
            status = pn_regex_find(step->regex, m->regex, text, len, from, &start, &end, err);
        } else if (step->from_len) {
            const char *hit = text + from;
            while ((hit = memchr(hit, step->from[0], (size_t)(text + len - hit))) &&
                   ((size_t)(text + len - hit) < step->from_len || memcmp(hit, step->from, step->from_len) != 0))
                hit++;
            start = hit ? (size_t)(hit - text) : len;
            end = start + step->from_len;
            status = hit ? PANTRY_OK : PANTRY_NOT_FOUND;
        }
        if (status == PANTRY_NOT_FOUND)
            break;
        if (status)
            return status;
        pn_buf_append(to, text + done, start - done);
        pn_buf_append(to, step->to, step->to_len);
        done = end;
        from = end > start ? end : start < len ? start + pn_utf8_len((unsigned char)text[start]) : len + 1;
    }
    pn_buf_append(to, text + done, len - done);
    return PANTRY_OK;
}

static void strip(const struct pn_normalizer *step, struct pn_buf *to, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    unsigned n;
    while (step->left && p < end && pn_is_white_space(pn_utf8_get(p, &n)))
        p += n;
    while (step->right && end > p) {
        const unsigned char *before = pn_utf8_back(end);
        if (!pn_is_white_space(pn_utf8_get(before, &n)))
            break;
        end = before;
    }
    pn_buf_append(to, p, (size_t)(end - p));
}

static void strip_accents(struct pn_buf *to, const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n)
        if (!(pn_uc_class(pn_utf8_get((const unsigned char *)text + i, &n)) & PN_UC_MARK))
            pn_buf_append(to, text + i, n);
}

/* Hugging Face applies the map first to whole grapheme clusters if they are short, where the first entry that starts
 * one replaces all of it, then to code points. */
static void apply_map(const struct pn_charsmap *map, struct pn_buf *to, const char *text, size_t len)
{
    for (size_t pos = 0; pos < len;) {
        const char *with;
        size_t n_with, cluster = pn_grapheme_len(text + pos, len - pos), end = pos + cluster;
        if (cluster < 6 && pn_charsmap_prefix(map, text + pos, cluster, true, &with, &n_with)) {
            pn_buf_append(to, with, n_with);
            pos = end;
        }
        while (pos < end) {
            unsigned n = pn_utf8_len((unsigned char)text[pos]);
            if (pn_charsmap_prefix(map, text + pos, n, true, &with, &n_with))
                pn_buf_append(to, with, n_with);
            else
                pn_buf_append(to, text + pos, n);
            pos += n;
        }
    }
}

/* Drops control characters and turns unusual blanks into plain ones. */
static void nmt(struct pn_buf *to, const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = pn_utf8_get((const unsigned char *)text + i, &n);
        bool drop = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
        bool blank = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
        if (blank)
            pn_buf_putc(to, ' ');
        else if (!drop)
            pn_buf_append(to, text + i, n);
    }
}

static pantry_status run_norm(const struct pn_normalizer *step, struct pn_split_scratch *m, struct pn_buf *to,
                              const char *text, size_t len, struct pantry_error *err)
{
    switch (step->kind) {
    case PN_NORMALIZER_FORM:
        return pn_normalize_form(to, step->form, text, len, err);
    case PN_NORMALIZER_LOWERCASE:
        pn_normalize_lowercase(to, text, len);
        break;
    case PN_NORMALIZER_STRIP:
        strip(step, to, text, len);
        break;
    case PN_NORMALIZER_STRIP_ACCENTS:
        strip_accents(to, text, len);
        break;
    case PN_NORMALIZER_REPLACE:
        return replace(step, m, to, text, len, err);
    case PN_NORMALIZER_PREPEND:
        if (len)
            pn_buf_append(to, step->to, step->to_len);
        pn_buf_append(to, text, len);
        break;
    case PN_NORMALIZER_BERT:
        return pn_normalize_bert(to, step->bert, text, len, err);
    case PN_NORMALIZER_CHARSMAP:
        apply_map(&step->map, to, text, len);
        break;
    case PN_NORMALIZER_NMT:
        nmt(to, text, len);
        break;
    case PN_NORMALIZER_BYTES:
        for (size_t i = 0; i < len; i++)
            pn_buf_put_utf8(to, pn_byte_to_char((unsigned char)text[i]));
        break;
    }
    return PANTRY_OK;
}

pantry_status pn_pipeline_normalize(const struct pn_pipeline *p, struct pn_pipeline_scratch *s,
                                    struct pn_split_scratch *m, const char **text, size_t *len,
                                    struct pantry_error *err)
{
    for (size_t i = 0; i < p->n_norms; i++) {
        if (p->norms[i].regex) {
            pantry_status status = pn_split_scratch_ready(m, *len, err);
            if (status)
                return status;
        }
        struct pn_buf *to = &s->text[*text == s->text[0].data];
        pn_buf_clear(to);
        pn_buf_append(to, "", 0);
        pantry_status status = run_norm(&p->norms[i], m, to, *text, *len, err);
        if (!status && to->failed)
            status = pn_no_memory(err, "normalizing text");
        if (status)
            return status;
        *text = to->data;
        *len = to->len;
    }
    return PANTRY_OK;
}

/* ---- pre-tokenizers ---- */

static bool push_rewritten(struct pn_pieces *out, size_t start, size_t end)
{
    return end == start || pn_vec_push(out, ((struct pn_piece){start, end}));
}

/* Turns blanks into marks, and puts one in front if asked for. */
static pantry_status metaspace(const struct pn_pre_step *step, struct pn_split_scratch *m, bool first, const char *text,
                               const struct pn_pieces *from, struct pn_buf *to, struct pn_pieces *out,
                               struct pantry_error *err)
{
    size_t n = strlen(step->mark);
    for (size_t i = 0; i < from->len; i++) {
        struct pn_piece piece = from->data[i];
        size_t start = to->len;
        bool prepend =
            step->prepend == PN_PREPEND_ALWAYS || (step->prepend == PN_PREPEND_FIRST && first && piece.start == 0);
        bool has_mark =
            text[piece.start] == ' ' || (piece.end - piece.start >= n && !memcmp(text + piece.start, step->mark, n));
        if (prepend && !has_mark)
            pn_buf_append(to, step->mark, n);
        for (size_t pos = piece.start; pos < piece.end; pos++)
            if (text[pos] == ' ')
                pn_buf_append(to, step->mark, n);
            else
                pn_buf_putc(to, text[pos]);
        if (to->failed)
            return pn_no_memory(err, "tokenizing");
        struct pn_piece whole = {start, to->len};
        pantry_status status = PANTRY_OK;
        if (step->cuts)
            status = pn_split_run(&step->split, m, to->data, whole, out, err);
        else if (!push_rewritten(out, whole.start, whole.end))
            status = pn_no_memory(err, "tokenizing");
        if (status)
            return status;
    }
    return PANTRY_OK;
}

/* Puts a blank in front of each piece that has none. */
static pantry_status prefix_blank(const char *text, const struct pn_pieces *from, struct pn_buf *to,
                                  struct pn_pieces *out, struct pantry_error *err)
{
    for (size_t i = 0; i < from->len; i++) {
        struct pn_piece piece = from->data[i];
        size_t start = to->len;
        if (text[piece.start] != ' ')
            pn_buf_putc(to, ' ');
        pn_buf_append(to, text + piece.start, piece.end - piece.start);
        if (to->failed || !push_rewritten(out, start, to->len))
            return pn_no_memory(err, "tokenizing");
    }
    return PANTRY_OK;
}

static pantry_status run_pre(const struct pn_pre_step *step, struct pn_split_scratch *m, bool first, const char *text,
                             const struct pn_pieces *from, struct pn_buf *to, struct pn_pieces *out,
                             struct pantry_error *err)
{
    switch (step->kind) {
    case PN_PRE_SPLIT:
        for (size_t i = 0; i < from->len; i++) {
            pantry_status status = pn_split_run(&step->split, m, text, from->data[i], out, err);
            if (status)
                return status;
        }
        return PANTRY_OK;
    case PN_PRE_METASPACE:
        return metaspace(step, m, first, text, from, to, out, err);
    case PN_PRE_PREFIX_BLANK:
        return prefix_blank(text, from, to, out, err);
    }
    return PANTRY_OK;
}

pantry_status pn_pipeline_pretokenize(const struct pn_pipeline *p, struct pn_pipeline_scratch *s,
                                      struct pn_split_scratch *m, bool first, const char *text, size_t len,
                                      const char **out, const struct pn_pieces **pieces, struct pantry_error *err)
{
    struct pn_pieces *from = &s->pieces[0], *to = &s->pieces[1];
    from->len = 0;
    if (!push_rewritten(from, 0, len))
        return pn_no_memory(err, "tokenizing");
    int turn = 0;
    for (size_t i = 0; i < p->n_pres; i++) {
        struct pn_buf *rewritten = &s->rewritten[turn];
        pn_buf_clear(rewritten);
        to->len = 0;
        pantry_status status = run_pre(&p->pres[i], m, first, text, from, rewritten, to, err);
        if (status)
            return status;
        if (p->pres[i].kind != PN_PRE_SPLIT) {
            text = rewritten->data ? rewritten->data : "";
            turn = !turn;
        }
        struct pn_pieces *swap = from;
        from = to;
        to = swap;
    }
    *out = text;
    *pieces = from;
    return PANTRY_OK;
}
