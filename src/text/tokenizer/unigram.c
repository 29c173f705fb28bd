/* SentencePiece's unigram vocabulary: cuts a word into the pieces with the highest sum of scores (Viterbi). A character
 * without a piece is unknown and scores ten below the lowest piece. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

#include <float.h>
#include <stdlib.h>

struct step { /* the best way to reach a place in the word */
    double score;
    int32_t id;
    uint32_t start; /* where its last piece starts */
};

static pantry_status init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    const struct pn_tokens *k = &t->tokens;
    struct pn_unigram_model *m = &t->unigram;
    pantry_status status = pn_trie_init(&m->trie, err);
    double low = DBL_MAX;
    m->score = malloc((k->n + 1) * sizeof *m->score);
    if (!m->score && !status)
        status = pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < k->n && !status; i++) {
        m->score[i] = v->scores ? v->scores[i] : 0;
        /* The file's score of a user-defined piece does not count: 0.1 per byte after the first does. */
        if (!t->flags.json && k->type[i] == PN_TOKEN_USER && k->piece[i].len)
            m->score[i] = 0.1 * (double)(k->piece[i].len - 1);
        bool in_model = t->flags.json && !(k->attribute[i] & PN_TOKEN_ADDED);
        if (k->type[i] == PN_TOKEN_NORMAL || in_model)
            low = m->score[i] < low ? m->score[i] : low;
        if (in_model || (!t->flags.json && (k->type[i] == PN_TOKEN_NORMAL || k->type[i] == PN_TOKEN_USER)))
            status = pn_trie_add(&m->trie, k->piece[i].data, k->piece[i].len, (int32_t)i, err);
    }
    m->unk_score = (low == DBL_MAX ? 0 : low) - 10;
    if (!status)
        status = pn_spm_normalizer_init(&m->normalizer, &v->spm, err);
    pn_words_find_joins(t);
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
    bool bytes = t->flags.byte_fallback;
    for (size_t i = 0; i < len && bytes; i++)
        bytes = t->tokens.byte_id[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; i < len && bytes; i++)
        if (!pn_vec_push(out, t->tokens.byte_id[(unsigned char)text[i]]))
            return pn_no_memory(err, "tokenizing");
    if (!bytes && t->id.unk >= 0 && !*after_unk && !pn_vec_push(out, t->id.unk))
        return pn_no_memory(err, "tokenizing");
    *after_unk = !bytes;
    return PANTRY_OK;
}

/* Finds the best way to each place of a word. */
static void find_best(const struct pn_tokenizer *t, const char *text, size_t len, struct step *best)
{
    const struct pn_unigram_model *m = &t->unigram;
    for (size_t i = 0; i <= len; i++)
        best[i].id = INT32_MIN;
    best[0] = (struct step){.id = -1};
    for (size_t pos = 0, next; pos < len; pos = next) {
        next = pos + pn_utf8_len((unsigned char)text[pos]);
        next = next < len ? next : len;
        bool whole_char = false;
        uint32_t node = 0;
        for (size_t i = pos; i < len && (node = pn_trie_step(&m->trie, node, (unsigned char)text[i])); i++) {
            int32_t id = m->trie.value[node];
            if (id < 0)
                continue;
            offer(&best[i + 1], best[pos].score + m->score[id], id, pos);
            whole_char |= i + 1 == next;
        }
        if (!whole_char)
            offer(&best[next], best[pos].score + m->unk_score, -1, pos);
    }
}

/* Cuts one word. */
static pantry_status word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                          struct pn_ids *out, struct pantry_error *err)
{
    size_t cap = s->path_cap / sizeof(struct step);
    if (!pn_vec_reserve(&s->path, &cap, len + 1, sizeof(struct step)))
        return pn_no_memory(err, "tokenizing");
    s->path_cap = cap * sizeof(struct step);
    struct step *best = s->path;
    find_best(t, text, len, best);
    /* Walk back and reverse the links, then walk forward. */
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
            status = put_unknown(t, text + start, end - start, &after_unk, out, err);
        } else {
            bool unk = best[end].id == t->id.unk;
            if (!(unk && after_unk) && !pn_vec_push(out, best[end].id))
                status = pn_no_memory(err, "tokenizing");
            after_unk = unk;
        }
        start = end;
        end = best[end].start;
    }
    return status;
}

static void ready(struct pn_tokenizer *t)
{
    pn_spm_normalizer_ready(&t->unigram.normalizer, t);
}

static void free_model(struct pn_tokenizer *t)
{
    free(t->unigram.normalizer.charsmap);
    pn_trie_free(&t->unigram.trie);
    free(t->unigram.score);
}

static pantry_status normalize(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                               const char **text, size_t *len, struct pantry_error *err)
{
    return pn_spm_normalize(&t->unigram.normalizer, t, s, blank_first, text, len, err);
}

const struct pn_model_ops pn_unigram_ops = {
    .init = init,
    .ready = ready,
    .free = free_model,
    .normalize = normalize,
    .encode = pn_encode_cut,
    .word = word,
    .decode = {.kind = PN_DECODE_SPM},
};
