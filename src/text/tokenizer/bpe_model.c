/* The models that merge symbols: byte pairs (BPE) and SentencePiece's pieces (SPM). */
#include "text/split/pretype.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/normalize.h"

#include <stdlib.h>

/* The part of a merging that follows from tokens and flags. */
static void bind_tokens(struct pn_bpe *bpe, const struct pn_tokenizer *t)
{
    bpe->pieces = &t->tokens.pieces;
    bpe->byte_id = t->tokens.byte_id;
    bpe->max_piece = t->tokens.max_piece;
    bpe->bytes = t->flags.byte_level;
    bpe->unk = bpe->bytes && !t->flags.json ? -1 : t->id.unk;
    bpe->byte_fallback = t->flags.byte_fallback;
    bpe->fuse_unk = t->flags.fuse_unk;
    for (size_t b = 0; b < 256; b++) {
        char c = (char)b;
        bpe->symbol_id[b] = b < 128 || bpe->bytes ? pn_index_find(bpe->pieces, &c, 1) : -1;
    }
}

/* ---- BPE ---- */

static pantry_status init_splits(struct pn_tokenizer *t, const struct pn_bpe_vocab *v, struct pantry_error *err)
{
    struct pn_bpe_model *m = &t->bpe;
    const struct pn_pretype *row = pn_pretype_find(v->pre, v->pre_len);
    if (!row)
        return pn_fail(err, PANTRY_UNSUPPORTED, "unknown pre-tokenizer \"%.*s\"",
                       v->pre_len > 64 ? 64 : (int)v->pre_len, v->pre);
    bool drops_space = row->flags & PN_PRETYPE_DROP_SPACE;
    m->whole_newlines = row->flags & PN_PRETYPE_NEWLINE_RUNS;
    m->small_letters = drops_space && t->flags.lowercase;
    t->flags.add_bos |= (row->flags & PN_PRETYPE_ALWAYS_BOS) != 0;
    m->splits = calloc(PN_PRETYPE_STEPS, sizeof *m->splits);
    if (!m->splits)
        return pn_no_memory(err, "the pre-tokenizer");
    for (size_t i = 0; i < PN_PRETYPE_STEPS && row->steps[i]; i++) {
        pantry_status status = pn_split_from_regex(&m->splits[i], row->steps[i], strlen(row->steps[i]), err);
        if (status)
            return status;
        if (drops_space)
            m->splits[i].behavior = PN_SPLIT_REMOVED;
        m->n_splits++;
    }
    return PANTRY_OK;
}

static pantry_status rank_by_id(struct pn_bpe *bpe, size_t n, struct pantry_error *err)
{
    bpe->mode = PN_BPE_PIECES;
    bpe->rank = malloc((n + 1) * sizeof *bpe->rank);
    if (!bpe->rank)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < n; i++)
        bpe->rank[i] = (uint32_t)i;
    return PANTRY_OK;
}

static pantry_status bpe_init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    struct pn_bpe_model *m = &t->bpe;
    pantry_status status = t->pipeline ? PANTRY_OK : init_splits(t, &v->bpe, err);
    if (!status)
        status = pn_copy_affix(&m->merge.prefix, v->bpe.prefix, err);
    if (!status)
        status = pn_copy_affix(&m->merge.suffix, v->bpe.suffix, err);
    if (status)
        return status;
    bind_tokens(&m->merge, t);
    m->whole_words = v->bpe.ignore_merges;
    m->merge.mode = PN_BPE_MERGES;
    status = v->bpe.n_merges ? pn_bpe_read_merges(t, &v->bpe, err) : rank_by_id(&m->merge, t->tokens.n, err);
    if (!m->merge.bytes && !m->whole_words && !v->bpe.prefix && !v->bpe.suffix)
        pn_words_find_joins(t);
    if (t->flags.dna)
        pn_dna_init(t);
    return status;
}

static void bpe_free(struct pn_tokenizer *t)
{
    for (size_t i = 0; i < t->bpe.n_splits; i++)
        pn_split_free(&t->bpe.splits[i]);
    free(t->bpe.splits);
    pn_bpe_free(&t->bpe.merge);
}

static pantry_status bpe_normalize(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                                   const char **text, size_t *len, struct pantry_error *err)
{
    if (t->flags.escape_whitespaces)
        return pn_mark_blanks(t, s, blank_first, text, len, err);
    if (!t->bpe.small_letters)
        return PANTRY_OK;
    struct pn_buf *normal = &s->normal[0];
    pn_buf_clear(normal);
    pn_normalize_lowercase(normal, *text, *len);
    *text = normal->data;
    *len = normal->len;
    return normal->failed ? pn_no_memory(err, "normalizing text") : PANTRY_OK;
}

static pantry_status bpe_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                struct pn_ids *out, struct pantry_error *err)
{
    return t->bpe.dna.used ? pn_dna_encode(t, s, text, len, out, err) : pn_encode_pieces(t, s, text, len, out, err);
}

static pantry_status bpe_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                              struct pn_ids *out, struct pantry_error *err)
{
    bool whole = t->bpe.whole_words || (word[0] == '\n' && t->bpe.whole_newlines);
    int32_t id = whole ? pn_index_find(&t->tokens.pieces, word, len) : -1;
    if (id < 0)
        return pn_bpe_encode(&t->bpe.merge, &s->bpe, word, len, out, err);
    return pn_vec_push(out, id) ? PANTRY_OK : pn_no_memory(err, "tokenizing");
}

const struct pn_model_ops pn_bpe_ops = {
    .init = bpe_init,
    .free = bpe_free,
    .normalize = bpe_normalize,
    .encode = bpe_encode,
    .word = bpe_word,
    .decode = {.kind = PN_DECODE_SPM},
    .spells_bytes = true,
};

/* ---- SPM ---- */

static pantry_status spm_init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    struct pn_bpe *bpe = &t->spm.merge;
    pantry_status status = pn_spm_normalizer_init(&t->spm.normalizer, &v->spm, err);
    if (status)
        return status;
    bind_tokens(bpe, t);
    bpe->mode = PN_BPE_PIECES;
    bpe->rank = malloc((t->tokens.n + 1) * sizeof *bpe->rank);
    if (!bpe->rank)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < t->tokens.n; i++)
        bpe->rank[i] = pn_bpe_rank_of_score(v->scores ? (float)v->scores[i] : 0);
    pn_words_find_joins(t);
    return PANTRY_OK;
}

static void spm_ready(struct pn_tokenizer *t)
{
    pn_spm_normalizer_ready(&t->spm.normalizer, t);
}

static void spm_free(struct pn_tokenizer *t)
{
    free(t->spm.normalizer.charsmap);
    pn_bpe_free(&t->spm.merge);
}

static pantry_status spm_normalize(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                                   const char **text, size_t *len, struct pantry_error *err)
{
    return pn_spm_normalize(&t->spm.normalizer, t, s, blank_first, text, len, err);
}

static pantry_status spm_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                              struct pn_ids *out, struct pantry_error *err)
{
    return pn_bpe_encode(&t->spm.merge, &s->bpe, word, len, out, err);
}

const struct pn_model_ops pn_spm_ops = {
    .init = spm_init,
    .ready = spm_ready,
    .free = spm_free,
    .normalize = spm_normalize,
    .encode = pn_encode_cut,
    .word = spm_word,
    .decode = {.kind = PN_DECODE_SPM},
};
