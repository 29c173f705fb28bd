/* Building a tokenizer and encoding text: see tokenizer.h. */
#include "text/split/pretype.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/normalize.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>

/* ---- building ---- */

bool pn_token_is_matched(const struct pn_tokenizer *t, size_t id)
{
    if (t->v.json)
        return !(t->attribute[id] & PN_TOKEN_ADDED);
    if (t->v.dna && pn_dna_is_marked(&t->text[id]))
        return false;
    switch (t->type[id]) {
    case PN_TOKEN_UNKNOWN:
    case PN_TOKEN_CONTROL:
    case PN_TOKEN_BYTE:
        return false;
    case PN_TOKEN_USER: {
        /* A user token outside the byte alphabet was added to the vocabulary; merges never make it. */
        char room[256];
        size_t n;
        const struct pn_str *s = &t->text[id];
        return !t->v.byte_level || (s->len <= sizeof room && pn_bytes_decode(s->data, s->len, room, &n));
    }
    default:
        return true;
    }
}

static pantry_status copy_tokens(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    size_t n = v->n_tokens, total = 0;
    t->n_table = n + 1;
    t->text = pn_table_new(t->n_table, sizeof *t->text);
    t->piece = pn_table_new(t->n_table, sizeof *t->piece);
    t->type = malloc(n + 1);
    t->attribute = calloc(n + 1, 1);
    t->eog = calloc(n + 1, 1);
    if (!t->text || !t->piece || !t->type || !t->attribute || !t->eog)
        return pn_no_memory(err, "the vocabulary");
    memcpy(t->text, v->tokens, n * sizeof *t->text);
    memcpy(t->piece, v->tokens, n * sizeof *t->piece);
    for (size_t i = 0; i < n; i++) {
        t->type[i] = v->types && v->types[i] <= PN_TOKEN_BYTE && v->types[i] ? v->types[i] : PN_TOKEN_NORMAL;
        total += v->tokens[i].len;
    }
    if (v->attributes)
        memcpy(t->attribute, v->attributes, n);
    t->n_vocab = n;
    if (!t->v.byte_level)
        return PANTRY_OK;
    if (!pn_buf_reserve(&t->bytes, total))
        return pn_no_memory(err, "the vocabulary");
    char *at = t->bytes.data;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        bool in_alphabet = v->json || t->type[i] == PN_TOKEN_NORMAL || t->type[i] == PN_TOKEN_UNUSED;
        if (in_alphabet && pn_bytes_decode(t->text[i].data, t->text[i].len, at, &len)) {
            t->piece[i] = (struct pn_str){.data = at, .len = len};
            at += len;
        } else if (v->dna && pn_dna_is_marked(&t->text[i])) {
            t->piece[i].len -= 3;
        }
    }
    return PANTRY_OK;
}

static pantry_status index_tokens(struct pn_tokenizer *t, struct pantry_error *err)
{
    int32_t *ids = malloc((t->n_vocab + 1) * sizeof *ids); /* those that text is matched with, then the others */
    size_t n = 0, first = t->n_vocab;
    if (!ids)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < t->n_vocab; i++)
        if (pn_token_is_matched(t, i)) {
            ids[n++] = (int32_t)i;
            if (t->piece[i].len > t->bpe.max_piece)
                t->bpe.max_piece = t->piece[i].len;
        }
    for (size_t i = t->n_vocab; i-- > 0;)
        if (!pn_token_is_matched(t, i))
            ids[--first] = (int32_t)i;
    bool ok = pn_index_init(&t->bpe.pieces, t->piece, n) && pn_index_init(&t->special_texts, t->text, t->n_vocab - n);
    if (ok) {
        pn_index_add(&t->bpe.pieces, ids, n);
        pn_index_add(&t->special_texts, ids + n, t->n_vocab - n);
    }
    free(ids);
    if (!ok)
        return pn_no_memory(err, "the vocabulary");
    for (size_t b = 0; b < 256; b++)
        t->bpe.byte_id[b] = t->bpe.symbol_id[b] = -1;
    for (size_t i = 0; i < t->n_vocab; i++) {
        int value = pn_byte_token_value(t->text[i].data, t->text[i].len);
        if (value >= 0 && (t->type[i] == PN_TOKEN_BYTE || t->v.json || t->v.kind == PN_VOCAB_BPE) &&
            t->bpe.byte_id[value] < 0)
            t->bpe.byte_id[value] = (int32_t)i;
    }
    for (size_t b = 0; b < (t->bpe.bytes ? 256 : 128); b++) {
        char c = (char)b;
        t->bpe.symbol_id[b] = pn_index_find(&t->bpe.pieces, &c, 1);
    }
    return PANTRY_OK;
}

static pantry_status rank_pieces(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    t->bpe.rank = malloc((t->n_vocab + 1) * sizeof *t->bpe.rank);
    if (!t->bpe.rank)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < t->n_vocab; i++)
        t->bpe.rank[i] =
            v->kind == PN_VOCAB_SPM ? pn_bpe_rank_of_score(v->scores ? (float)v->scores[i] : 0) : (uint32_t)i;
    return PANTRY_OK;
}

/* No piece may hold a blank behind something else, other than behind the bytes it is noted for. */
static void find_joins(struct pn_tokenizer *t)
{
    size_t n = strlen(t->mark);
    t->cut_at_marks = pn_index_find(&t->bpe.pieces, t->mark, n) >= 0;
    for (size_t i = 0; i < t->n_vocab; i++) {
        const struct pn_str *p = &t->piece[i];
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

static pantry_status copy_affix(char (*to)[32], const char *from, struct pantry_error *err)
{
    if (!from)
        return PANTRY_OK;
    if (strlen(from) >= sizeof *to)
        return pn_fail(err, PANTRY_LIMIT, "a prefix or suffix of pieces has %zu bytes; at most %zu are allowed",
                       strlen(from), sizeof *to - 1);
    memcpy(*to, from, strlen(from) + 1);
    return PANTRY_OK;
}

static pantry_status copy_charsmap(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    struct pn_charsmap map;
    t->charsmap = malloc(v->charsmap_len);
    if (!t->charsmap)
        return pn_no_memory(err, "the map of characters");
    memcpy(t->charsmap, v->charsmap, v->charsmap_len);
    return pn_charsmap_init(&map, t->charsmap, v->charsmap_len, err);
}

static pantry_status init_splits(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    const struct pn_pretype *row = pn_pretype_find(v->pre, v->pre_len);
    if (!row)
        return pn_fail(err, PANTRY_UNSUPPORTED, "unknown pre-tokenizer \"%.*s\"",
                       v->pre_len > 64 ? 64 : (int)v->pre_len, v->pre);
    t->pretype_flags = row->flags;
    t->v.add_bos |= (row->flags & PN_PRETYPE_ALWAYS_BOS) != 0;
    t->splits = calloc(PN_PRETYPE_STEPS, sizeof *t->splits);
    if (!t->splits)
        return pn_no_memory(err, "the pre-tokenizer");
    for (size_t i = 0; i < PN_PRETYPE_STEPS && row->steps[i]; i++) {
        pantry_status status = pn_split_from_regex(&t->splits[i], row->steps[i], strlen(row->steps[i]), err);
        if (status)
            return status;
        if (row->flags & PN_PRETYPE_DROP_SPACE)
            t->splits[i].behavior = PN_SPLIT_REMOVED;
        t->n_splits++;
    }
    return PANTRY_OK;
}

static pantry_status init_model(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    pantry_status status = copy_affix(&t->bpe.prefix, v->subword_prefix, err);
    if (!status)
        status = copy_affix(&t->bpe.suffix, v->word_suffix, err);
    if (!status && v->charsmap_len)
        status = copy_charsmap(t, v, err);
    if (!status)
        status = copy_tokens(t, v, err);
    t->bpe.bytes = t->v.byte_level;
    if (!status)
        status = index_tokens(t, err);
    if (status)
        return status;
    t->bpe.mode = v->kind == PN_VOCAB_BPE && v->n_merges ? PN_BPE_MERGES : PN_BPE_PIECES;
    t->bpe.unk = t->bpe.bytes && !v->json ? -1 : v->unk;
    t->bpe.byte_fallback = v->byte_fallback;
    t->bpe.fuse_unk = v->fuse_unk;
    t->bpe.ignore_merges = v->ignore_merges;
    memcpy(t->mark, v->escape_whitespaces ? PN_SPACE_MARK : " ", v->escape_whitespaces ? 4 : 2);
    switch (v->kind) {
    case PN_VOCAB_BPE:
        status = t->bpe.mode == PN_BPE_MERGES ? pn_bpe_read_merges(t, v, err) : rank_pieces(t, v, err);
        if (!t->bpe.bytes && !v->ignore_merges && !v->subword_prefix && !v->word_suffix)
            find_joins(t);
        if (v->dna)
            pn_dna_init(t);
        break;
    case PN_VOCAB_SPM:
        status = rank_pieces(t, v, err);
        find_joins(t);
        break;
    case PN_VOCAB_WORDPIECE:
        break;
    case PN_VOCAB_UNIGRAM:
        status = pn_unigram_init(t, v->scores, err);
        find_joins(t);
        break;
    case PN_VOCAB_RWKV:
        status = pn_rwkv_init(t, err);
        break;
    case PN_VOCAB_PLAMO:
        status = pn_plamo_init(t, v->scores, err);
        break;
    case PN_VOCAB_WORDS:
        break;
    }
    return status;
}

static pantry_status init_special(struct pn_tokenizer *t, struct pantry_error *err)
{
    pn_vocab_find_special(t);
    pantry_status status = pn_trie_init(&t->special, err);
    if (!status)
        status = pn_trie_init(&t->normal_special, err);
    const char *text;
    size_t len;
    for (size_t i = 0; i < t->n_vocab && !status; i++) {
        if (t->type[i] != PN_TOKEN_CONTROL && t->type[i] != PN_TOKEN_USER && t->type[i] != PN_TOKEN_UNKNOWN)
            continue;
        text = t->text[i].data;
        len = t->text[i].len;
        if (!(t->attribute[i] & PN_TOKEN_NORMALIZED)) {
            status = pn_trie_add(&t->special, text, len, (int32_t)i, err);
            continue;
        }
        /* Normalized text is searched for the normalized token. */
        struct pn_pipeline_scratch s = {0};
        struct pn_split_scratch m = {0};
        if (t->pipeline)
            status = pn_pipeline_normalize(t->pipeline, &s, &m, &text, &len, err);
        if (!status)
            status = pn_trie_add(&t->normal_special, text, len, (int32_t)i, err);
        if (!status && t->pipeline && t->attribute[i] & PN_TOKEN_ADDED) { /* that is also how it prints */
            const char *kept = pn_arena_copy(&t->pipeline->arena, text, len);
            if (!kept)
                status = pn_no_memory(err, "the vocabulary");
            t->text[i] = t->piece[i] = (struct pn_str){.data = kept, .len = len};
        }
        pn_pipeline_scratch_free(&s);
        pn_split_scratch_free(&m);
    }
    return status;
}

static void note_start(struct pn_starts *starts, unsigned byte)
{
    starts->n += !starts->at[byte];
    starts->at[byte] = true;
    starts->last = (unsigned char)byte;
}

/* Which bytes special tokens start with, so that text without them is passed over. */
static void find_starts(struct pn_tokenizer *t)
{
    for (size_t i = 0; i < t->n_vocab; i++) {
        int type = t->type[i];
        if ((type == PN_TOKEN_CONTROL || type == PN_TOKEN_USER || type == PN_TOKEN_UNKNOWN) && t->text[i].len &&
            !(t->attribute[i] & (PN_TOKEN_SCORED | PN_TOKEN_NORMALIZED)))
            for (int all = type != PN_TOKEN_USER; all < 2; all++)
                note_start(&t->starts[0][all], (unsigned char)t->text[i].data[0]);
    }
    for (unsigned byte = 0; byte < 256; byte++)
        for (int all = 0; all < 2 && t->normal_special.root[byte]; all++)
            note_start(&t->starts[1][all], byte);
}

/* What the model puts around a text, and how its tokens are printed. */
static void init_frame(struct pn_tokenizer *t)
{
    const struct pn_vocab *v = &t->v;
    if (t->pipeline) {
        t->n_before = t->pipeline->n_before;
        t->n_after = t->pipeline->n_after;
        memcpy(t->before, t->pipeline->before, sizeof t->before);
        memcpy(t->after, t->pipeline->after, sizeof t->after);
        t->decode = t->pipeline->decode;
        return;
    }
    int32_t before = v->kind == PN_VOCAB_WORDPIECE && v->cls >= 0 ? v->cls : v->bos;
    int32_t after = v->kind == PN_VOCAB_WORDPIECE ? v->sep : v->eos;
    if (v->add_bos && before >= 0)
        t->before[t->n_before++] = before;
    if (v->add_eos && after >= 0)
        t->after[t->n_after++] = after;
    t->decode =
        (struct pn_decode_style){.kind = t->bpe.bytes                                            ? PN_DECODE_BYTES
                                         : v->kind == PN_VOCAB_RWKV || v->kind == PN_VOCAB_PLAMO ? PN_DECODE_RAW
                                                                                                 : PN_DECODE_SPM,
                                 .strip_first = v->add_space_prefix || v->kind == PN_VOCAB_WORDPIECE};
}

pantry_status pn_tokenizer_new(const struct pn_vocab *v, struct pn_tokenizer **out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct pn_tokenizer *t = NULL;
    t = calloc(1, sizeof *t);
    if (!t) {
        pn_pipeline_free(v->pipeline);
        pn_pipeline_free(v->strings);
        return pn_no_memory(err, "the tokenizer");
    }
    t->pipeline = v->pipeline;
    t->strings = v->strings;
    if (!v->n_tokens || v->n_tokens > INT32_MAX / 2) {
        status = pn_fail(err, PANTRY_FORMAT, "the vocabulary has %zu tokens", v->n_tokens);
        goto fail;
    }
    t->v = *v;
    t->v.tokens = NULL;
    t->v.scores = NULL;
    t->v.types = t->v.attributes = NULL;
    t->v.merges = NULL;
    int32_t *ids[] = {&t->v.bos, &t->v.eos, &t->v.eot,  &t->v.eom,     &t->v.unk,      &t->v.sep,
                      &t->v.pad, &t->v.cls, &t->v.mask, &t->v.fim_pad, &t->v.fim_repo, &t->v.fim_sep};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (*ids[i] < 0 || (size_t)*ids[i] >= v->n_tokens)
            *ids[i] = -1;
    if (v->kind == PN_VOCAB_BPE && !v->pipeline)
        status = init_splits(t, v, err);
    if (!status)
        status = init_model(t, v, err);
    if (!status)
        status = init_special(t, err);
    if (status)
        goto fail;
    find_starts(t);
    if (v->kind == PN_VOCAB_SPM || v->kind == PN_VOCAB_UNIGRAM)
        pn_sentencepiece_find_plain(t);
    init_frame(t);
    *out = t;
    return PANTRY_OK;
fail:
    pn_tokenizer_free(t);
    return status;
}

static void free_state(struct pn_encode_state *s)
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

void pn_tokenizer_free(struct pn_tokenizer *t)
{
    if (!t)
        return;
    free_state(atomic_load(&t->spare));
    for (size_t i = 0; i < t->n_splits; i++)
        pn_split_free(&t->splits[i]);
    free(t->splits);
    pn_table_free(t->text, t->n_table, sizeof *t->text);
    pn_table_free(t->piece, t->n_table, sizeof *t->piece);
    free(t->type);
    free(t->attribute);
    free(t->eog);
    free(t->charsmap);
    free(t->score);
    free(t->cost);
    pn_buf_free(&t->bytes);
    pn_index_free(&t->special_texts);
    pn_trie_free(&t->special);
    pn_trie_free(&t->normal_special);
    pn_pipeline_free(t->pipeline);
    pn_pipeline_free(t->strings);
    pn_trie_free(&t->trie);
    pn_bpe_free(&t->bpe);
    free(t);
}

/* ---- encoding ---- */

/* Room for the words of a text: a short text does not touch more memory than it needs. */
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

static struct pn_encode_state *take_state(const struct pn_tokenizer *t, size_t len)
{
    struct pn_encode_state *s = atomic_exchange((_Atomic(struct pn_encode_state *) *)&t->spare, NULL);
    if (!s)
        s = calloc(1, sizeof *s);
    if (s && !ready_cache(&s->cache, len)) {
        free_state(s);
        s = NULL;
    }
    return s;
}

static void give_state(const struct pn_tokenizer *t, struct pn_encode_state *s)
{
    free_state(atomic_exchange((_Atomic(struct pn_encode_state *) *)&t->spare, s));
}

/* Up to 15 bytes as two numbers. `left`: how many bytes may be read, at least `len`. */
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

static pantry_status encode_whole(const struct pn_tokenizer *t, const char *word, size_t len, struct pn_ids *out,
                                  struct pantry_error *err)
{
    int32_t id = pn_index_find(&t->bpe.pieces, word, len);
    if (id < 0)
        id = t->v.unk;
    if (id < 0)
        return pn_fail(err, PANTRY_INVALID, "the vocabulary has neither the word \"%.*s\" nor one for unknown words",
                       len > 64 ? 64 : (int)len, word);
    return pn_vec_push(out, id) ? PANTRY_OK : pn_no_memory(err, "tokenizing");
}

static pantry_status encode_new_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word,
                                     size_t len, struct pn_ids *out, struct pantry_error *err)
{
    bool whole = t->bpe.ignore_merges || (word[0] == '\n' && t->pretype_flags & PN_PRETYPE_NEWLINE_RUNS);
    int32_t id = whole ? pn_index_find(&t->bpe.pieces, word, len) : -1;
    if (id >= 0) {
        out->data[out->len++] = id;
        return PANTRY_OK;
    }
    switch (t->v.kind) {
    case PN_VOCAB_UNIGRAM:
        return pn_unigram_word(t, s, word, len, out, err);
    case PN_VOCAB_WORDPIECE:
        return pn_wordpiece_word(t, s, word, len, out, err);
    case PN_VOCAB_WORDS:
        return encode_whole(t, word, len, out, err);
    default:
        return pn_bpe_encode(&t->bpe, &s->bpe, word, len, out, err);
    }
}

/* Words that the cache of short ones does not have, or which are not short. */
static pantry_status encode_rare_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word,
                                      size_t len, struct pn_short_word *pair, const struct pn_short_word *key,
                                      struct pn_ids *out, struct pantry_error *err)
{
    struct pn_long_word *c = NULL;
    if (len <= sizeof c->word) {
        c = &s->cache.long_words[pn_hash_bytes(word, len, t->bpe.pieces.seed) % PN_LONG_WORDS];
        if (c->len == len && !memcmp(c->word, word, len)) {
            memcpy(out->data + out->len, c->ids, sizeof c->ids);
            out->len += c->n;
            return PANTRY_OK;
        }
    }
    size_t first = out->len;
    pantry_status status = encode_new_word(t, s, word, len, out, err);
    size_t n = out->len - first;
    if (status)
        return status;
    if (pair && n <= sizeof key->ids / sizeof *key->ids)
        remember_short(pair, key, out->data + first, n);
    else if (c && n <= sizeof c->ids / sizeof *c->ids)
        remember_long(c, word, len, out->data + first, n);
    return PANTRY_OK;
}

/* Tokens of one word, of which `left` bytes may be read. Words seen lately come from the cache. */
static inline pantry_status encode_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word,
                                        size_t len, size_t left, struct pn_ids *out, struct pantry_error *err)
{
    if (out->cap - out->len < 8 &&
        !pn_vec_reserve((void **)(void *)&out->data, &out->cap, out->len + 8, sizeof *out->data))
        return pn_no_memory(err, "tokenizing");
    if (len > PN_SHORT_WORD_BYTES)
        return encode_rare_word(t, s, word, len, NULL, NULL, out, err);
    struct pn_short_word w = short_word(word, len, left);
    size_t place = pn_hash_mix(w.low ^ t->bpe.pieces.seed, w.high ^ 0x9E3779B97F4A7C15u) & (s->cache.n - 2);
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

/* A piece whose tokens never reach over a blank is merged word by word. */
static pantry_status encode_cut(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
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
    if (t->n_splits == 1 && t->splits[0].kind == PN_SPLIT_SCAN && t->splits[0].behavior == PN_SPLIT_ISOLATED &&
        t->bpe.bytes) {
        pn_scan_fn *scan = t->splits[0].scan;
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
    for (size_t k = 0; k < t->n_splits; k++) {
        to->len = 0;
        for (size_t i = 0; i < from->len && !status; i++)
            status = pn_split_run(&t->splits[k], &s->split, text, from->data[i], to, err);
        struct pn_pieces *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < from->len && !status; i++) {
        const char *piece = text + from->data[i].start;
        size_t n = from->data[i].end - from->data[i].start, left = len - from->data[i].start;
        status = t->bpe.bytes ? encode_word(t, s, piece, n, left, out, err) : encode_cut(t, s, piece, n, out, err);
    }
    return status;
}

/* Writes blanks as the vocabulary has them. */
static pantry_status mark_blanks(const struct pn_tokenizer *t, struct pn_buf *to, bool blank_first, const char *text,
                                 size_t len, struct pantry_error *err)
{
    pn_buf_clear(to);
    if (blank_first)
        pn_buf_puts(to, t->mark);
    if (!t->v.escape_whitespaces) {
        pn_buf_append(to, text, len);
    } else {
        for (size_t pos = 0; pos < len;) {
            const char *blank = memchr(text + pos, ' ', len - pos);
            size_t end = blank ? (size_t)(blank - text) : len;
            pn_buf_append(to, text + pos, end - pos);
            if (blank)
                pn_buf_append(to, PN_SPACE_MARK, 3);
            pos = end + (blank != NULL);
        }
    }
    return to->failed ? pn_no_memory(err, "tokenizing") : PANTRY_OK;
}

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
        status = t->cut_at_marks ? encode_cut(t, s, piece, n, out, err) : encode_word(t, s, piece, n, n, out, err);
    }
    return status;
}

static pantry_status encode_found(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                  unsigned how, struct pn_ids *out, struct pantry_error *err);

enum { AT_START = 1, FIRST = 2, CONTROL = 4, NORMAL = 8 }; /* `how` text is encoded */

/* Text between special tokens that are found as they are: it is normalized, then others are looked for. */
static pantry_status encode_pipeline(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text,
                                     size_t len, unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    if (s->split.regex)
        pn_regex_scratch_start(s->split.regex, len);
    pantry_status status = pn_pipeline_normalize(t->pipeline, &s->pipeline, &s->split, &text, &len, err);
    if (status || !len)
        return status;
    if (t->normal_special.n_nodes > 1)
        return encode_found(t, s, text, len, how | NORMAL, out, err);
    return encode_normal(t, s, text, len, how & FIRST, out, err);
}

/* Text between special tokens. */
static pantry_status encode_text(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                 unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    bool blank_first = t->v.add_space_prefix && how & AT_START;
    struct pn_buf *normal = &s->normal[0];
    if (how & NORMAL)
        return t->pipeline ? encode_normal(t, s, text, len, how & FIRST, out, err)
                           : encode_cut(t, s, text, len, out, err);
    if (t->pipeline)
        return encode_pipeline(t, s, text, len, how, out, err);
    switch (t->v.kind) {
    case PN_VOCAB_BPE:
        if (t->v.escape_whitespaces) {
            status = mark_blanks(t, normal, blank_first, text, len, err);
            text = normal->data;
            len = normal->len;
        } else if (t->pretype_flags & PN_PRETYPE_DROP_SPACE && t->v.lowercase) {
            pn_buf_clear(normal);
            pn_normalize_lowercase(normal, text, len);
            if (normal->failed)
                return pn_no_memory(err, "normalizing text");
            text = normal->data;
            len = normal->len;
        }
        if (!status && t->dna.used)
            return pn_dna_encode(t, s, text, len, out, err);
        return status ? status : pn_encode_pieces(t, s, text, len, out, err);
    case PN_VOCAB_SPM:
    case PN_VOCAB_UNIGRAM:
        if (t->charsmap || t->v.remove_extra_whitespaces || t->v.space_suffix) {
            pn_buf_clear(normal);
            pn_buf_append(normal, "", 0);
            status = pn_sentencepiece_normalize(t, text, len, blank_first, normal, err);
        } else {
            status = mark_blanks(t, normal, blank_first, text, len, err);
        }
        if (status || !normal->len)
            return status;
        return t->normal_special.n_nodes > 1 ? encode_found(t, s, normal->data, normal->len, how | NORMAL, out, err)
                                             : encode_cut(t, s, normal->data, normal->len, out, err);
    case PN_VOCAB_WORDPIECE:
        return pn_wordpiece_encode(t, s, text, len, out, err);
    case PN_VOCAB_RWKV:
        return pn_rwkv_encode(t, text, len, out, err);
    case PN_VOCAB_PLAMO:
        return pn_plamo_encode(t, s, text, len, out, err);
    case PN_VOCAB_WORDS:
        break; /* only with the steps of a tokenizer.json */
    }
    return pn_fail(err, PANTRY_INTERNAL, "unknown kind of vocabulary");
}

static bool word_at(const char *text, size_t len, size_t pos)
{
    unsigned n;
    uint32_t c;
    return pos < len &&
           (pn_uc_is_word(c = pn_utf8_get((const unsigned char *)text + pos, &n)) || c == 0x200C || c == 0x200D);
}

static bool word_before(const char *text, size_t pos)
{
    return pos > 0 &&
           word_at(text, pos, (size_t)((const char *)pn_utf8_back((const unsigned char *)text + pos) - text));
}

/* The longest special token at `pos`; -1 when there is none that counts. */
static int32_t special_at(const struct pn_tokenizer *t, const char *text, size_t len, size_t pos, unsigned how,
                          size_t *end)
{
    const struct pn_trie *trie = how & NORMAL ? &t->normal_special : &t->special;
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = pos; i < len; i++) {
        node = pn_trie_step(trie, node, (unsigned char)text[i]);
        if (!node)
            break;
        int32_t id = trie->value[node];
        if (id < 0 || (!(how & CONTROL) && t->type[id] != PN_TOKEN_USER) || t->attribute[id] & PN_TOKEN_SCORED)
            continue;
        found = id;
        *end = i + 1;
    }
    if (found >= 0 && (t->attribute[found] & PN_TOKEN_SINGLE_WORD) &&
        (word_before(text, pos) || word_at(text, len, *end)))
        return -1;
    return found;
}

static bool space_at(const char *text, size_t pos, unsigned *n)
{
    return pn_uc_class(pn_utf8_get((const unsigned char *)text + pos, n)) & PN_UC_SPACE;
}

/* Where the white space before `end` starts that a token takes with it. */
static size_t strip_before(const char *text, size_t done, size_t end)
{
    unsigned n;
    while (end > done) {
        size_t before = (size_t)((const char *)pn_utf8_back((const unsigned char *)text + end) - text);
        if (!space_at(text, before, &n))
            break;
        end = before;
    }
    return end;
}

/* The first place from `pos` on where a special token may start; `len` when there is none. */
static size_t next_start(const struct pn_starts *starts, const char *text, size_t len, size_t pos)
{
    if (starts->n == 0 || pos >= len)
        return len;
    if (starts->n == 1) {
        const char *hit = memchr(text + pos, starts->last, len - pos);
        return hit ? (size_t)(hit - text) : len;
    }
    while (pos < len && !starts->at[(unsigned char)text[pos]])
        pos++;
    return pos;
}

/* Encodes special tokens and what lies between them. */
static pantry_status encode_found(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                  unsigned how, struct pn_ids *out, struct pantry_error *err)
{
    const struct pn_starts *starts = &t->starts[how & NORMAL ? 1 : 0][how & CONTROL ? 1 : 0];
    pantry_status status = PANTRY_OK;
    size_t done = 0;
    unsigned n;
    for (size_t pos = 0; (pos = next_start(starts, text, len, pos)) < len && !status;) {
        size_t end;
        int32_t id = special_at(t, text, len, pos, how, &end);
        if (id < 0) {
            pos++;
            continue;
        }
        size_t text_end = t->attribute[id] & PN_TOKEN_LSTRIP ? strip_before(text, done, pos) : pos;
        if (text_end > done)
            status = encode_text(t, s, text + done, text_end - done, done ? how & ~(unsigned)FIRST : how, out, err);
        if (t->attribute[id] & PN_TOKEN_RSTRIP)
            while (end < len && space_at(text, end, &n))
                end += n;
        if (!status && !pn_vec_push(out, id))
            status = pn_no_memory(err, "tokenizing");
        how |= AT_START;
        done = pos = end;
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
    struct pn_encode_state *s = take_state(t, len);
    pantry_status status = s ? PANTRY_OK : pn_no_memory(err, "tokenizing");
    if (status)
        return status;
    if (t->v.kind != PN_VOCAB_RWKV && pn_utf8_valid_prefix(text, len) < len) {
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
    give_state(t, s);
    return status;
}

/* ---- the vocabulary ---- */

size_t pn_tokenizer_n_vocab(const struct pn_tokenizer *t)
{
    return t->n_vocab;
}

int32_t pn_tokenizer_bos(const struct pn_tokenizer *t)
{
    return t->v.bos;
}

int32_t pn_tokenizer_eos(const struct pn_tokenizer *t)
{
    return t->v.eos;
}

int32_t pn_tokenizer_eot(const struct pn_tokenizer *t)
{
    return t->v.eot;
}

int32_t pn_tokenizer_unk(const struct pn_tokenizer *t)
{
    return t->v.unk;
}

int32_t pn_tokenizer_pad(const struct pn_tokenizer *t)
{
    return t->v.pad;
}

bool pn_tokenizer_adds_bos(const struct pn_tokenizer *t)
{
    return t->n_before > 0 && t->before[0] == (t->v.kind == PN_VOCAB_WORDPIECE ? t->before[0] : t->v.bos);
}

const int32_t *pn_tokenizer_around(const struct pn_tokenizer *t, bool behind, size_t *n)
{
    *n = behind ? t->n_after : t->n_before;
    return behind ? t->after : t->before;
}

bool pn_tokenizer_adds_eos(const struct pn_tokenizer *t)
{
    return t->n_after > 0;
}

static bool has(const struct pn_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_vocab;
}

bool pn_tokenizer_is_eog(const struct pn_tokenizer *t, int32_t id)
{
    return has(t, id) && t->eog[id];
}

int pn_tokenizer_token_type(const struct pn_tokenizer *t, int32_t id)
{
    return has(t, id) ? t->type[id] : 0;
}

const char *pn_tokenizer_token_text(const struct pn_tokenizer *t, int32_t id, size_t *len)
{
    *len = has(t, id) ? t->text[id].len : 0;
    return has(t, id) ? t->text[id].data : NULL;
}

static bool spelled(const struct pn_tokenizer *t, int32_t id, const char *text, size_t len)
{
    return id >= 0 && t->text[id].len == len && !memcmp(t->text[id].data, text, len);
}

int32_t pn_tokenizer_find(const struct pn_tokenizer *t, const char *text, size_t len)
{
    int32_t id = pn_index_find(&t->special_texts, text, len);
    if (id < 0)
        id = pn_index_find(&t->bpe.pieces, text, len);
    if (spelled(t, id, text, len))
        return id;
    char room[256];
    size_t n;
    if (!t->bpe.bytes || len > sizeof room || !pn_bytes_decode(text, len, room, &n))
        return -1;
    id = pn_index_find(&t->bpe.pieces, room, n);
    return spelled(t, id, text, len) ? id : -1;
}
