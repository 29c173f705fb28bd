/* The unigram vocabulary of SentencePiece: of all ways to cut a word into pieces the one with the highest sum of scores
 * (Viterbi). A character without a piece counts as unknown, ten below the lowest score. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/normalize.h"
#include "text/unicode/unicode.h"

#include <float.h>
#include <stdlib.h>

struct step { /* the best way to reach a place in the word */
    double score;
    int32_t id;
    uint32_t start; /* where its last piece starts */
};

pantry_status pn_unigram_init(struct pn_tokenizer *t, const double *scores, struct pantry_error *err)
{
    pantry_status status = pn_trie_init(&t->trie, err);
    double low = DBL_MAX;
    t->score = malloc((t->n_vocab + 1) * sizeof *t->score);
    if (!t->score && !status)
        status = pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < t->n_vocab && !status; i++) {
        t->score[i] = scores ? scores[i] : 0;
        /* What the file says of user-defined pieces does not count: a tenth a byte beyond the first does. */
        if (!t->v.json && t->type[i] == PN_TOKEN_USER && t->piece[i].len)
            t->score[i] = 0.1 * (double)(t->piece[i].len - 1);
        bool in_model = t->v.json && !(t->attribute[i] & PN_TOKEN_ADDED);
        if (t->type[i] == PN_TOKEN_NORMAL || in_model) {
            low = t->score[i] < low ? t->score[i] : low;
        }
        if (in_model || (!t->v.json && (t->type[i] == PN_TOKEN_NORMAL || t->type[i] == PN_TOKEN_USER)))
            status = pn_trie_add(&t->trie, t->piece[i].data, t->piece[i].len, (int32_t)i, err);
    }
    t->unk_score = (low == DBL_MAX ? 0 : low) - 10;
    return status;
}

static void offer(struct step *to, double score, int32_t id, size_t start)
{
    if (to->id == INT32_MIN || score > to->score)
        *to = (struct step){.score = score, .id = id, .start = (uint32_t)start};
}

static pantry_status put_unknown(const struct pn_tokenizer *t, const char *text, size_t len, bool *after_unk,
                                 struct pn_ids *out, struct pantry_error *err)
{
    bool bytes = t->v.byte_fallback;
    for (size_t i = 0; i < len && bytes; i++)
        bytes = t->bpe.byte_id[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; i < len && bytes; i++)
        if (!pn_vec_push(out, t->bpe.byte_id[(unsigned char)text[i]]))
            return pn_no_memory(err, "tokenizing");
    if (!bytes && t->v.unk >= 0 && !*after_unk && !pn_vec_push(out, t->v.unk))
        return pn_no_memory(err, "tokenizing");
    *after_unk = !bytes;
    return PANTRY_OK;
}

/* Cuts one word, without what is known of unknown characters beside it. */
pantry_status pn_unigram_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                              struct pn_ids *out, struct pantry_error *err)
{
    size_t cap = s->path_cap / sizeof(struct step);
    if (!pn_vec_reserve(&s->path, &cap, len + 1, sizeof(struct step)))
        return pn_no_memory(err, "tokenizing");
    s->path_cap = cap * sizeof(struct step);
    struct step *best = s->path;
    for (size_t i = 0; i <= len; i++)
        best[i].id = INT32_MIN;
    best[0] = (struct step){.id = -1};
    for (size_t pos = 0, next; pos < len; pos = next) {
        next = pos + pn_utf8_len((unsigned char)word[pos]);
        next = next < len ? next : len;
        bool whole_char = false;
        uint32_t node = 0;
        for (size_t i = pos; i < len && (node = pn_trie_step(&t->trie, node, (unsigned char)word[i])); i++) {
            int32_t id = t->trie.value[node];
            if (id < 0)
                continue;
            offer(&best[i + 1], best[pos].score + t->score[id], id, pos);
            whole_char |= i + 1 == next;
        }
        if (!whole_char)
            offer(&best[next], best[pos].score + t->unk_score, -1, pos);
    }
    /* Walk back, turning the links around, then forward. */
    size_t to = len, n = 0;
    for (size_t at = len; at > 0; n++) {
        size_t start = best[at].start;
        best[at].start = (uint32_t)to; /* now where the following piece ends */
        to = at;
        at = start;
    }
    bool after_unk = false;
    pantry_status status = PANTRY_OK;
    for (size_t start = 0, end = to; n > 0 && !status; n--) {
        if (best[end].id < 0) {
            status = put_unknown(t, word + start, end - start, &after_unk, out, err);
        } else {
            bool unk = best[end].id == t->v.unk;
            if (!(unk && after_unk) && !pn_vec_push(out, best[end].id))
                status = pn_no_memory(err, "tokenizing");
            after_unk = unk;
        }
        start = end;
        end = best[end].start;
    }
    return status;
}

/* What a prefix of the text becomes: a user token itself, what the map says, or the character. */
static size_t normal_prefix(const struct pn_tokenizer *t, const struct pn_charsmap *map, const char *text, size_t len,
                            const char **to, size_t *to_len)
{
    const struct pn_trie *trie = t->normal_special.n_nodes > 1 ? &t->normal_special : &t->special;
    size_t user = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < len && (node = pn_trie_step(trie, node, (unsigned char)text[i])); i++)
        if (trie->value[node] >= 0 && t->type[trie->value[node]] == PN_TOKEN_USER)
            user = i + 1;
    size_t n = user ? 0 : pn_charsmap_prefix(map, text, len, false, to, to_len);
    if (n)
        return n;
    *to = text;
    *to_len = user ? user : pn_utf8_len((unsigned char)text[0]);
    return *to_len;
}

/* Notes the ASCII characters that are not mapped, nor start a user token, when another one or nothing follows. */
void pn_sentencepiece_find_plain(struct pn_tokenizer *t)
{
    struct pn_charsmap map = {0};
    if (t->charsmap && pn_charsmap_init(&map, t->charsmap, t->v.charsmap_len, NULL))
        return;
    for (unsigned c = 1; c < 128; c++)
        t->plain[c] = !t->special.root[c] && !t->normal_special.root[c] && pn_charsmap_spares(&map, (unsigned char)c);
}

/* Appends plain characters from `pos` on, as long as they come; returns where it stopped. */
static size_t put_plain(const struct pn_tokenizer *t, const char *text, size_t len, size_t pos, bool squeeze,
                        bool *after_blank, struct pn_buf *out)
{
    enum { AT_ONCE = 64 * 1024 };
    const unsigned char *p = (const unsigned char *)text;
    size_t end = len - pos < AT_ONCE ? len : pos + AT_ONCE, n_mark = strlen(t->mark);
    bool blank = *after_blank;
    if (!pn_buf_reserve(out, (end - pos) * n_mark))
        return pos;
    char *to = out->data + out->len;
    for (; pos < end && p[pos] < 128 && t->plain[p[pos]] && (pos + 1 == len || p[pos + 1] < 128); pos++) {
        if (p[pos] != ' ') {
            *to++ = text[pos];
            blank = false;
            continue;
        }
        if (!blank) {
            memcpy(to, t->mark, n_mark);
            to += n_mark;
        }
        blank = squeeze;
    }
    *after_blank = blank;
    out->len = (size_t)(to - out->data);
    return pos;
}

/* SentencePiece's normalizer. */
pantry_status pn_sentencepiece_normalize(const struct pn_tokenizer *t, const char *text, size_t len, bool blank_first,
                                         struct pn_buf *out, struct pantry_error *err)
{
    struct pn_charsmap map;
    pantry_status status = pn_charsmap_init(&map, t->charsmap, t->v.charsmap_len, err);
    if (status)
        return status;
    bool squeeze = t->v.remove_extra_whitespaces, after_blank = squeeze, begun = false;
    const char *blank = t->mark, *to;
    size_t n_blank = strlen(blank), to_len, start = out->len;
    for (size_t pos = 0; pos < len;) {
        size_t plain = begun ? put_plain(t, text, len, pos, squeeze, &after_blank, out) : pos;
        if (plain > pos) {
            pos = plain;
            continue;
        }
        pos += normal_prefix(t, &map, text + pos, len - pos, &to, &to_len);
        if (!begun && squeeze && to_len == 1 && to[0] == ' ')
            continue;
        if (!begun && blank_first && !t->v.space_suffix)
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
    if (begun && blank_first && t->v.space_suffix)
        pn_buf_append(out, blank, n_blank);
    pn_buf_append(out, "", 0);
    return out->failed ? pn_no_memory(err, "normalizing text") : PANTRY_OK;
}
