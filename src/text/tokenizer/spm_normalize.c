/* SentencePiece's normalizer: maps characters, marks blanks, and squeezes them if the model says so. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/normalize.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>

pantry_status pn_spm_normalizer_init(struct pn_spm_normalizer *m, const struct pn_spm_vocab *v,
                                     struct pantry_error *err)
{
    struct pn_charsmap map;
    if (!v->charsmap_len)
        return PANTRY_OK;
    m->charsmap_len = v->charsmap_len;
    m->charsmap = malloc(v->charsmap_len);
    if (!m->charsmap)
        return pn_no_memory(err, "the map of characters");
    memcpy(m->charsmap, v->charsmap, v->charsmap_len);
    return pn_charsmap_init(&map, m->charsmap, m->charsmap_len, err);
}

/* Returns what a prefix of the text becomes: a user token stays, the map's entry applies, or the character stays. */
static size_t normal_prefix(const struct pn_tokenizer *t, const struct pn_charsmap *map, const char *text, size_t len,
                            const char **to, size_t *to_len)
{
    const struct pn_trie *trie = t->special.normal.n_nodes > 1 ? &t->special.normal : &t->special.given;
    size_t user = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < len && (node = pn_trie_step(trie, node, (unsigned char)text[i])); i++)
        if (trie->value[node] >= 0 && t->tokens.type[trie->value[node]] == PN_TOKEN_USER)
            user = i + 1;
    size_t n = user ? 0 : pn_charsmap_prefix(map, text, len, false, to, to_len);
    if (n)
        return n;
    *to = text;
    *to_len = user ? user : pn_utf8_len((unsigned char)text[0]);
    return *to_len;
}

/* Notes the ASCII characters that neither are mapped nor start a user token when ASCII or nothing follows. */
void pn_spm_normalizer_ready(struct pn_spm_normalizer *m, const struct pn_tokenizer *t)
{
    struct pn_charsmap map = {0};
    if (m->charsmap && pn_charsmap_init(&map, m->charsmap, m->charsmap_len, NULL))
        return;
    for (unsigned c = 1; c < 128; c++)
        m->plain[c] =
            !t->special.given.root[c] && !t->special.normal.root[c] && pn_charsmap_spares(&map, (unsigned char)c);
}

/* Appends the plain characters from `pos` on; returns where they end. */
static size_t put_plain(const struct pn_spm_normalizer *m, const char *mark, const char *text, size_t len, size_t pos,
                        bool squeeze, bool *after_blank, struct pn_buf *out)
{
    enum { AT_ONCE = 64 * 1024 };
    const unsigned char *p = (const unsigned char *)text;
    size_t end = len - pos < AT_ONCE ? len : pos + AT_ONCE, n_mark = strlen(mark);
    bool blank = *after_blank;
    if (!pn_buf_reserve(out, (end - pos) * n_mark))
        return pos;
    char *to = out->data + out->len;
    for (; pos < end && p[pos] < 128 && m->plain[p[pos]] && (pos + 1 == len || p[pos + 1] < 128); pos++) {
        if (p[pos] != ' ') {
            *to++ = text[pos];
            blank = false;
            continue;
        }
        if (!blank) {
            memcpy(to, mark, n_mark);
            to += n_mark;
        }
        blank = squeeze;
    }
    *after_blank = blank;
    out->len = (size_t)(to - out->data);
    return pos;
}

static pantry_status normalize(const struct pn_spm_normalizer *m, const struct pn_tokenizer *t, const char *text,
                               size_t len, bool blank_first, struct pn_buf *out, struct pantry_error *err)
{
    struct pn_charsmap map;
    pantry_status status = pn_charsmap_init(&map, m->charsmap, m->charsmap_len, err);
    if (status)
        return status;
    bool squeeze = t->flags.remove_extra_whitespaces, after_blank = squeeze, begun = false;
    const char *blank = t->mark, *to;
    size_t n_blank = strlen(blank), to_len, start = out->len;
    for (size_t pos = 0; pos < len;) {
        size_t plain = begun ? put_plain(m, t->mark, text, len, pos, squeeze, &after_blank, out) : pos;
        if (plain > pos) {
            pos = plain;
            continue;
        }
        pos += normal_prefix(t, &map, text + pos, len - pos, &to, &to_len);
        if (!begun && squeeze && to_len == 1 && to[0] == ' ')
            continue;
        if (!begun && blank_first && !t->flags.space_suffix)
            pn_buf_append(out, blank, n_blank);
        begun = true;
        for (size_t i = 0; i < to_len; i++) {
            if (to[i] == ' ' && after_blank)
                continue;
            if (to[i] == ' ')
                pn_buf_append(out, blank, n_blank);
            else
                pn_buf_putc(out, to[i]);
            after_blank = squeeze && to[i] == ' ';
        }
    }
    if (squeeze)
        while (out->len - start >= n_blank && !memcmp(out->data + out->len - n_blank, blank, n_blank))
            out->len -= n_blank;
    if (begun && blank_first && t->flags.space_suffix)
        pn_buf_append(out, blank, n_blank);
    pn_buf_append(out, "", 0);
    return out->failed ? pn_no_memory(err, "normalizing text") : PANTRY_OK;
}

pantry_status pn_mark_blanks(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                             const char **text, size_t *len, struct pantry_error *err)
{
    struct pn_buf *to = &s->normal[0];
    const char *from = *text;
    pn_buf_clear(to);
    if (blank_first)
        pn_buf_puts(to, t->mark);
    for (size_t pos = 0; pos < *len;) {
        const char *blank = t->flags.escape_whitespaces ? memchr(from + pos, ' ', *len - pos) : NULL;
        size_t end = blank ? (size_t)(blank - from) : *len;
        pn_buf_append(to, from + pos, end - pos);
        if (blank)
            pn_buf_append(to, PN_SPACE_MARK, 3);
        pos = end + (blank != NULL);
    }
    *text = to->data;
    *len = to->len;
    return to->failed ? pn_no_memory(err, "tokenizing") : PANTRY_OK;
}

pantry_status pn_spm_normalize(const struct pn_spm_normalizer *m, const struct pn_tokenizer *t,
                               struct pn_encode_state *s, bool blank_first, const char **text, size_t *len,
                               struct pantry_error *err)
{
    struct pn_buf *normal = &s->normal[0];
    if (!m->charsmap && !t->flags.remove_extra_whitespaces && !t->flags.space_suffix)
        return pn_mark_blanks(t, s, blank_first, text, len, err);
    pn_buf_clear(normal);
    pn_buf_append(normal, "", 0);
    pantry_status status = normalize(m, t, *text, *len, blank_first, normal, err);
    *text = normal->data;
    *len = normal->len;
    return status;
}
