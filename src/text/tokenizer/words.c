/* Words of a text and their tokens, and the working memory of encode.
 *
 * Most words of a text occurred in it before, so their tokens come from a cache. */
#include "text/tokenizer/tokenizer_impl.h"

#include <stdlib.h>

/* ---- the state of a call ---- */

void pn_encode_state_free(struct pn_encode_state *s)
{
    if (!s)
        return;
    pn_bpe_scratch_free(&s->bpe);
    pn_split_scratch_free(&s->split);
    pn_pipeline_scratch_free(&s->pipeline);
    for (int i = 0; i < 2; i++) {
        free(s->pieces[i].data);
        pn_buf_free(&s->normal[i]);
    }
    pn_buf_free(&s->clean);
    free(s->cache.words);
    free(s->cache.long_words);
    free(s->path);
    free(s);
}

/* Sizes the cache for a text, so that a short text touches little memory. */
static bool ready_cache(struct pn_word_cache *cache, size_t len)
{
    size_t n = 512;
    while (n < len / 8 && n < PN_MAX_SHORT_WORDS)
        n *= 2;
    if (!cache->long_words)
        cache->long_words = calloc(PN_LONG_WORDS, sizeof *cache->long_words);
    if (n > cache->n) {
        free(cache->words);
        cache->n = n;
        cache->words = calloc(n, sizeof *cache->words);
    }
    return cache->long_words && cache->words;
}

struct pn_encode_state *pn_encode_state_take(const struct pn_tokenizer *t, size_t len)
{
    struct pn_encode_state *s = atomic_exchange((_Atomic(struct pn_encode_state *) *)&t->spare, NULL);
    if (!s)
        s = calloc(1, sizeof *s);
    if (s && !ready_cache(&s->cache, len)) {
        pn_encode_state_free(s);
        s = NULL;
    }
    return s;
}

void pn_encode_state_give(const struct pn_tokenizer *t, struct pn_encode_state *s)
{
    pn_encode_state_free(atomic_exchange((_Atomic(struct pn_encode_state *) *)&t->spare, s));
}

/* ---- words ---- */

/* Up to 15 bytes as two numbers. `left` >= `len` bytes may be read. */
static inline struct pn_short_word short_word(const char *word, size_t len, size_t left)
{
    struct pn_short_word w;
    if (left >= 16) {
        memcpy(&w.low, word, 8);
        memcpy(&w.high, word + 8, 8);
    } else {
        char room[16] = {0};
        memcpy(room, word, len);
        memcpy(&w.low, room, 8);
        memcpy(&w.high, room + 8, 8);
    }
    if (len < 8) {
        w.low &= ((uint64_t)1 << (8 * len)) - 1;
        w.high = 0;
    } else {
        w.high &= ((uint64_t)1 << (8 * (len - 8))) - 1;
    }
    w.high |= (uint64_t)len << 56;
    return w;
}

static void remember_short(struct pn_short_word *pair, const struct pn_short_word *word, const int32_t *ids, size_t n)
{
    pair[1] = pair[0];
    pair[0] = *word;
    pair[0].n = (uint32_t)n;
    memcpy(pair[0].ids, ids, n * sizeof *ids);
}

static void remember_long(struct pn_long_word *c, const char *word, size_t len, const int32_t *ids, size_t n)
{
    c->len = (uint8_t)len;
    c->n = (uint8_t)n;
    memcpy(c->word, word, len);
    memcpy(c->ids, ids, n * sizeof *ids);
}

/* Words that are not in the cache of short words, or not short. */
static pantry_status encode_rare_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word,
                                      size_t len, struct pn_short_word *pair, const struct pn_short_word *key,
                                      struct pn_ids *out, struct pantry_error *err)
{
    struct pn_long_word *c = NULL;
    if (len <= sizeof c->word) {
        c = &s->cache.long_words[pn_hash_bytes(word, len, t->tokens.pieces.seed) % PN_LONG_WORDS];
        if (c->len == len && !memcmp(c->word, word, len)) {
            memcpy(out->data + out->len, c->ids, sizeof c->ids);
            out->len += c->n;
            return PANTRY_OK;
        }
    }
    size_t first = out->len;
    pantry_status status = t->ops->word(t, s, word, len, out, err);
    size_t n = out->len - first;
    if (status)
        return status;
    if (pair && n <= sizeof key->ids / sizeof *key->ids)
        remember_short(pair, key, out->data + first, n);
    else if (c && n <= sizeof c->ids / sizeof *c->ids)
        remember_long(c, word, len, out->data + first, n);
    return PANTRY_OK;
}

/* Tokens of one word, from the cache if it is recent. `left` bytes may be read. */
static inline pantry_status encode_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word,
                                        size_t len, size_t left, struct pn_ids *out, struct pantry_error *err)
{
    if (out->cap - out->len < 8 &&
        !pn_vec_reserve((void **)(void *)&out->data, &out->cap, out->len + 8, sizeof *out->data))
        return pn_no_memory(err, "tokenizing");
    if (len > PN_SHORT_WORD_BYTES)
        return encode_rare_word(t, s, word, len, NULL, NULL, out, err);
    struct pn_short_word w = short_word(word, len, left);
    size_t place = pn_hash_mix(w.low ^ t->tokens.pieces.seed, w.high ^ 0x9E3779B97F4A7C15u) & (s->cache.n - 2);
    struct pn_short_word *c = &s->cache.words[place];
    if (c[0].low != w.low || c[0].high != w.high) {
        if (c[1].low != w.low || c[1].high != w.high)
            return encode_rare_word(t, s, word, len, c, &w, out, err);
        struct pn_short_word swap = c[0];
        c[0] = c[1];
        c[1] = swap;
    }
    memcpy(out->data + out->len, c->ids, sizeof c->ids);
    out->len += c->n;
    return PANTRY_OK;
}

pantry_status pn_encode_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                             size_t left, struct pn_ids *out, struct pantry_error *err)
{
    return encode_word(t, s, word, len, left, out, err);
}

/* ---- cutting ---- */

/* No piece holds a blank after another byte, except after the bytes that are noted. */
void pn_words_find_joins(struct pn_tokenizer *t)
{
    size_t n = strlen(t->mark);
    t->cut_at_marks = pn_index_find(&t->tokens.pieces, t->mark, n) >= 0;
    for (size_t i = 0; i < t->tokens.n; i++) {
        const struct pn_str *p = &t->tokens.piece[i];
        if (p->len <= n)
            continue;
        const char *end = p->data + p->len, *at = p->data + 1;
        while ((at = memchr(at, t->mark[0], (size_t)(end - at))) && (size_t)(end - at) >= n) {
            if (!memcmp(at, t->mark, n))
                t->joins[(unsigned char)at[-1]] = true;
            at++;
        }
    }
    t->joins[(unsigned char)t->mark[n - 1]] = true;
}

/* Merges word by word if no token contains a blank after its start. */
pantry_status pn_encode_cut(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err)
{
    size_t n = strlen(t->mark), start = 0;
    for (size_t at = 1; t->cut_at_marks && at + n <= len;) {
        const char *hit = memchr(text + at, t->mark[0], len - at);
        if (!hit)
            break;
        at = (size_t)(hit - text);
        if (len - at >= n && !memcmp(hit, t->mark, n) && !t->joins[(unsigned char)hit[-1]]) {
            pantry_status status = encode_word(t, s, text + start, at - start, len - start, out, err);
            if (status)
                return status;
            start = at;
        }
        at++;
    }
    return start < len ? encode_word(t, s, text + start, len - start, len - start, out, err) : PANTRY_OK;
}

pantry_status pn_encode_pieces(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                               struct pn_ids *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    const struct pn_split *splits = t->bpe.splits;
    if (t->bpe.n_splits == 1 && splits[0].kind == PN_SPLIT_SCAN && splits[0].behavior == PN_SPLIT_ISOLATED &&
        t->bpe.merge.bytes) {
        pn_scan_fn *scan = splits[0].scan;
        for (size_t pos = 0, end; pos < len && !status; pos = end) {
            end = scan((const unsigned char *)text, len, pos);
            status = encode_word(t, s, text + pos, end - pos, len - pos, out, err);
        }
        return status;
    }
    if (s->split.regex)
        pn_regex_scratch_start(s->split.regex, len);
    struct pn_pieces *from = &s->pieces[0], *to = &s->pieces[1];
    from->len = 0;
    if (!pn_vec_push(from, ((struct pn_piece){0, len})))
        return pn_no_memory(err, "tokenizing");
    for (size_t k = 0; k < t->bpe.n_splits; k++) {
        to->len = 0;
        for (size_t i = 0; i < from->len && !status; i++)
            status = pn_split_run(&splits[k], &s->split, text, from->data[i], to, err);
        struct pn_pieces *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < from->len && !status; i++) {
        const char *piece = text + from->data[i].start;
        size_t n = from->data[i].end - from->data[i].start, left = len - from->data[i].start;
        status =
            t->bpe.merge.bytes ? encode_word(t, s, piece, n, left, out, err) : pn_encode_cut(t, s, piece, n, out, err);
    }
    return status;
}
