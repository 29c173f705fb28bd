/* The tokenizer of a directory as the metadata of a GGUF file: see convert.h.
 *
 * A GGUF file names what a tokenizer.json describes step by step: the kind of the vocabulary, and for byte-level BPE
 * the expressions that cut a text into words (text/split/pretype.c). Which name fits is found by encoding probes. */
#include "engine/convert.h"

#include "format/hfdir.h"
#include "text/split/pretype.h"
#include "text/tokenizer/tokenizer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* What the visitor copies. */
struct vocab {
    struct pn_arena arena;
    struct pn_vocab v; /* as a GGUF file would describe it; without pipeline */
    const char *model; /* tokenizer.ggml.model */
    const char *pre;   /* NULL: none */
    struct pn_str *tokens, *merges;
    double *scores;
    uint8_t *types;
    size_t n, n_merges;  /* tokens: as many as the embedding has */
    bool prefix;         /* texts start with a blank */
    struct pn_vocab bpe; /* BPE over characters, before it became SPM */
};

static const struct {
    enum pn_vocab_kind kind;
    const char *model;
} models[] = {
    {PN_VOCAB_SPM, "llama"},
    {PN_VOCAB_UNIGRAM, "t5"},
    {PN_VOCAB_WORDPIECE, "bert"},
};

static const char *model_of(const struct pn_vocab *v)
{
    if (v->kind == PN_VOCAB_BPE && (v->flags.byte_level || v->flags.byte_fallback))
        return v->flags.byte_level ? "gpt2" : "llama";
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (models[i].kind == v->kind)
            return models[i].model;
    return NULL;
}

/* ---- copying ---- */

static bool copy(struct vocab *to, struct pn_str *out, const char *start, struct pn_str text)
{
    size_t n = strlen(start);
    char *bytes = pn_arena_alloc(&to->arena, n + text.len + 1);
    if (!bytes)
        return false;
    memcpy(bytes, start, n);
    if (text.len)
        memcpy(bytes + n, text.data, text.len);
    *out = (struct pn_str){bytes, n + text.len};
    return true;
}

/* WordPiece marks pieces inside a word, GGUF files the words' first pieces. */
static bool copy_piece(struct vocab *to, const struct pn_vocab *v, size_t i)
{
    struct pn_str text = v->tokens[i];
    const char *inside = v->wordpiece.prefix ? v->wordpiece.prefix : "";
    size_t n = strlen(inside);
    bool special = text.len > 1 && text.data[0] == '[' && text.data[text.len - 1] == ']';
    if (special || (v->types && v->types[i] != PN_TOKEN_NORMAL))
        return copy(to, &to->tokens[i], "", text);
    if (n && text.len > n && memcmp(text.data, inside, n) == 0)
        return copy(to, &to->tokens[i], "", (struct pn_str){text.data + n, text.len - n});
    return copy(to, &to->tokens[i], "\xe2\x96\x81", text);
}

static bool copy_tokens(struct vocab *to, const struct pn_vocab *v)
{
    bool ok = true;
    for (size_t i = 0; ok && i < to->n; i++) {
        char name[32];
        bool known = i < v->n_tokens && v->tokens[i].len;
        to->types[i] = !known ? PN_TOKEN_UNUSED : v->types ? v->types[i] : PN_TOKEN_NORMAL;
        to->scores[i] = known && v->scores ? v->scores[i] : 0;
        snprintf(name, sizeof name, "[PAD%zu]", i);
        ok = !known                          ? copy(to, &to->tokens[i], name, (struct pn_str){0})
             : v->kind == PN_VOCAB_WORDPIECE ? copy_piece(to, v, i)
                                             : copy(to, &to->tokens[i], "", v->tokens[i]);
        if (known && (int32_t)i == v->id.unk && v->kind != PN_VOCAB_BPE)
            to->types[i] = PN_TOKEN_UNKNOWN;
    }
    return ok;
}

static bool copy_merges(struct vocab *to, const struct pn_vocab *v)
{
    size_t n = v->kind == PN_VOCAB_BPE ? v->bpe.n_merges : 0;
    bool ok = true;
    to->merges = pn_arena_array(&to->arena, n + 1, sizeof *to->merges);
    for (size_t i = 0; ok && to->merges && i < n; i++) {
        char *left = NULL;
        const struct pn_str *pair = v->bpe.merges + (v->bpe.merge_pairs ? 2 * i : i);
        if (!v->bpe.merge_pairs) {
            ok = copy(to, &to->merges[i], "", pair[0]);
        } else if ((left = malloc(pair[0].len + 2))) {
            memcpy(left, pair[0].data, pair[0].len);
            memcpy(left + pair[0].len, " ", 2);
            ok = copy(to, &to->merges[i], left, pair[1]);
        } else {
            ok = false;
        }
        free(left);
    }
    to->n_merges = n;
    return ok && to->merges;
}

static int by_text(const void *a, const void *b)
{
    const struct pn_str *x = *(const struct pn_str *const *)a, *y = *(const struct pn_str *const *)b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->data, y->data, n);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static const struct pn_str *find(const struct pn_str *const *sorted, size_t n, const struct pn_str *text)
{
    const struct pn_str *const *found = bsearch(&text, sorted, n, sizeof *sorted, by_text);
    return found ? *found : NULL;
}

/* BPE over characters, as Hugging Face keeps SentencePiece models: a merge's rank is the score of its result. The
 * result of several merges has the rank of the first. */
static bool rank_tokens(struct vocab *to)
{
    const struct pn_str **sorted = malloc((to->n + 1) * sizeof *sorted);
    struct pn_buf joined = {0};
    for (size_t i = 0; sorted && i < to->n; i++) {
        sorted[i] = &to->tokens[i];
        to->scores[i] = to->types[i] == PN_TOKEN_NORMAL ? -1e6 : 0; /* of tokens that no merge makes */
    }
    if (sorted)
        qsort(sorted, to->n, sizeof *sorted, by_text);
    for (size_t i = 0; sorted && i < to->n_merges; i++) {
        const struct pn_str *m = &to->merges[i];
        const char *gap = memchr(m->data + 1, ' ', m->len > 1 ? m->len - 1 : 0);
        if (!gap)
            continue;
        pn_buf_clear(&joined);
        pn_buf_append(&joined, m->data, (size_t)(gap - m->data));
        pn_buf_append(&joined, gap + 1, m->len - (size_t)(gap - m->data) - 1);
        const struct pn_str *token =
            joined.failed ? NULL : find(sorted, to->n, &(struct pn_str){joined.data, joined.len});
        if (token && to->scores[token - to->tokens] <= -1e6)
            to->scores[token - to->tokens] = -(double)i;
    }
    bool ok = sorted && !joined.failed;
    pn_buf_free(&joined);
    free(sorted);
    return ok;
}

/* The visitor: keeps what a GGUF file says. */
static pantry_status see(void *user, const struct pn_vocab *v, struct pantry_error *err)
{
    struct vocab *to = user;
    to->model = model_of(v);
    if (!to->model)
        return pn_fail(err, PANTRY_UNSUPPORTED, "GGUF files have no name for a vocabulary of this kind");
    to->v = *v;
    to->v.pipeline = to->v.strings = NULL;
    to->tokens = pn_arena_array(&to->arena, to->n + 1, sizeof *to->tokens);
    to->scores = pn_arena_array(&to->arena, to->n + 1, sizeof *to->scores);
    to->types = pn_arena_alloc(&to->arena, to->n + 1);
    if (!to->tokens || !to->scores || !to->types || !copy_tokens(to, v) || !copy_merges(to, v))
        return pn_no_memory(err, "the vocabulary");
    if ((v->kind == PN_VOCAB_SPM || v->kind == PN_VOCAB_UNIGRAM) && v->spm.charsmap_len) {
        char *map = pn_arena_copy(&to->arena, v->spm.charsmap, v->spm.charsmap_len);
        if (!map)
            return pn_no_memory(err, "the vocabulary");
        to->v.spm.charsmap = map;
    }
    if (v->kind == PN_VOCAB_BPE && !v->flags.byte_level) {
        to->bpe = to->v;
        to->v.kind = PN_VOCAB_SPM;
        to->v.spm = (struct pn_spm_vocab){0};
        if (!rank_tokens(to))
            return pn_no_memory(err, "the vocabulary");
    }
    return PANTRY_OK;
}

/* ---- probes ---- */

static const char *const probes[] = {
    "Hello world, it's 2024 and I'd say: we'LL see! DON'T they've \xc3\xa9t\xc3\xa9?",
    "1234567890 12,345.678 3 42 x2y 0x1F\t\ttabs  two   three    spaces ",
    "\n\nlines\r\n\r\n  indented\n\tdef f(x):\n        return x+1  # note\n",
    "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97\xe7\xac\xa6 \xe3\x81\xb2\xe3\x82\x89\xe3\x81\x8c\xe3\x81\xaa "
    "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xf0\x9f\x98\x80!!! "
    "\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7",
    "camelCaseWords ALLCAPS MixedUP 'quoted' \"double\" (a)[b]{c} <tag/> a/b\\c @#$%^&*_-+=~`|;:",
    "blank before\n",
    " leading",
};

/* Whether a tokenizer made as from a GGUF file gives the ids of the directory's. */
static pantry_status same_ids(const struct vocab *to, const struct pn_tokenizer *own, bool *same,
                              struct pantry_error *err)
{
    struct pn_tokenizer *t = NULL;
    struct pn_vocab v;
    const char *pre = to->pre ? to->pre : "";
    size_t n = strcspn(pre, " ");
    *same = true;
    pantry_status status = pn_vocab_init(&v, to->model, strlen(to->model), pre, n, err);
    if (status)
        return status;
    v.tokens = to->tokens;
    v.n_tokens = to->n;
    v.types = to->types;
    v.scores = to->scores;
    v.id = to->v.id;
    v.flags.add_space_prefix = to->prefix;
    if (v.kind == PN_VOCAB_BPE) {
        v.bpe.merges = to->merges;
        v.bpe.n_merges = to->n_merges;
    } else if (v.kind == PN_VOCAB_SPM || v.kind == PN_VOCAB_UNIGRAM) {
        v.spm = to->v.spm;
    }
    if ((status = pn_tokenizer_new(&v, &t, err)))
        return status;
    for (size_t i = 0; !status && *same && i < sizeof probes / sizeof *probes; i++) {
        struct pn_ids a = {0}, b = {0};
        status = pn_tokenizer_encode(own, probes[i], strlen(probes[i]), 0, &a, err);
        if (!status)
            status = pn_tokenizer_encode(t, probes[i], strlen(probes[i]), 0, &b, err);
        *same = a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len * sizeof *a.data) == 0);
        free(a.data);
        free(b.data);
    }
    pn_tokenizer_free(t);
    return status;
}

/* Finds what GGUF files do not say otherwise: the pre-tokenizer, and whether texts start with a blank. */
static pantry_status settle(struct vocab *to, const struct pn_tokenizer *own, struct pantry_error *err)
{
    bool same = false;
    pantry_status status = PANTRY_OK;
    const struct pn_pretype *row;
    if (strcmp(to->model, "gpt2") == 0) {
        for (size_t i = 0; !status && !same && (row = pn_pretype_row(i + 1)); i++) {
            bool ignores = row->flags & PN_PRETYPE_IGNORE_MERGES;
            to->pre = row->names;
            if (ignores == to->v.bpe.ignore_merges && !(row->flags & PN_PRETYPE_RAW))
                status = same_ids(to, own, &same, err);
        }
        if (!status && !same) { /* the first row: the name that says nothing */
            to->pre = pn_pretype_row(0)->names;
            status = same_ids(to, own, &same, err);
        }
    } else {
        for (int i = 0; !status && !same && i < 2; i++) {
            to->prefix = i == 0;
            status = same_ids(to, own, &same, err);
        }
        if (!status && !same && to->bpe.kind == PN_VOCAB_BPE && to->bpe.n_tokens) { /* merges that no scores replace */
            to->model = "gemma4";
            to->v = to->bpe;
            status = same_ids(to, own, &same, err);
        }
    }
    if (!status && !same)
        status = pn_fail(err, PANTRY_UNSUPPORTED,
                         "GGUF files cannot describe this tokenizer: the pre-tokenizers and kinds that have a name "
                         "give other ids");
    return status;
}

/* ---- metadata ---- */

static void put_id(struct pn_gguf_meta *meta, const char *key, int32_t id, size_t n)
{
    if (id >= 0 && (size_t)id < n)
        pn_gguf_u32(meta, key, (uint32_t)id);
}

/* Another id that ends an answer: the end of a turn, where `eos` ends a text. */
static int32_t other_end(const struct pn_tokenizer *t, int32_t eos)
{
    for (size_t i = 0; i < pn_tokenizer_n_vocab(t); i++)
        if ((int32_t)i != eos && pn_tokenizer_is_eog(t, (int32_t)i))
            return (int32_t)i;
    return -1;
}

static pantry_status put(const struct vocab *to, const struct pn_tokenizer *own, struct pn_gguf_meta *meta,
                         struct pantry_error *err)
{
    int32_t *types = malloc((to->n + 1) * sizeof *types);
    float *scores = malloc((to->n + 1) * sizeof *scores);
    size_t n_before, n_after, n = to->n;
    const int32_t *before = pn_tokenizer_around(own, false, &n_before),
                  *after = pn_tokenizer_around(own, true, &n_after);
    int32_t bos = pn_tokenizer_bos(own), eos = pn_tokenizer_eos(own);
    if (!types || !scores) {
        free(types);
        free(scores);
        return pn_no_memory(err, "the vocabulary");
    }
    for (size_t i = 0; i < n; i++) {
        types[i] = to->types[i];
        scores[i] = (float)to->scores[i];
    }
    pn_gguf_str(meta, KEY("model"), to->model);
    if (to->pre) {
        char pre[64];
        snprintf(pre, sizeof pre, "%.*s", (int)strcspn(to->pre, " "), to->pre);
        pn_gguf_str(meta, KEY("pre"), pre);
    } else if (to->v.kind == PN_VOCAB_SPM) {
        pn_gguf_str(meta, KEY("pre"), "default");
    }
    pn_gguf_strings(meta, KEY("tokens"), n, to->tokens);
    if (to->v.kind == PN_VOCAB_SPM || to->v.kind == PN_VOCAB_UNIGRAM)
        pn_gguf_array(meta, KEY("scores"), PN_GGUF_F32, n, scores);
    pn_gguf_array(meta, KEY("token_type"), PN_GGUF_I32, n, types);
    if (to->v.kind == PN_VOCAB_BPE)
        pn_gguf_strings(meta, KEY("merges"), to->n_merges, to->merges);
    if (to->v.kind == PN_VOCAB_UNIGRAM && to->v.spm.charsmap_len)
        pn_gguf_array(meta, KEY("precompiled_charsmap"), PN_GGUF_U8, to->v.spm.charsmap_len, to->v.spm.charsmap);
    put_id(meta, KEY("bos_token_id"), bos, n);
    put_id(meta, KEY("eos_token_id"), eos, n);
    put_id(meta, KEY("eot_token_id"), other_end(own, eos), n);
    put_id(meta, KEY("unknown_token_id"), to->v.id.unk, n);
    put_id(meta, KEY("padding_token_id"), to->v.id.pad, n);
    if (to->v.kind == PN_VOCAB_WORDPIECE) {
        put_id(meta, KEY("seperator_token_id"), n_after ? after[0] : -1, n);
        put_id(meta, KEY("cls_token_id"), n_before ? before[0] : -1, n);
        put_id(meta, KEY("mask_token_id"), pn_tokenizer_find(own, "[MASK]", 6), n);
        pn_gguf_u32(meta, KEY("token_type_count"), 2);
    } else {
        pn_gguf_bool(meta, KEY("add_bos_token"), n_before && before[0] == bos);
        pn_gguf_bool(meta, KEY("add_eos_token"), n_after && after[0] == eos);
    }
    if (to->v.kind == PN_VOCAB_SPM || to->v.kind == PN_VOCAB_UNIGRAM)
        pn_gguf_bool(meta, KEY("add_space_prefix"), to->prefix);
    free(types);
    free(scores);
    return PANTRY_OK;
}

pantry_status pn_convert_vocab(const struct pn_convert *c, size_t n_vocab, struct pn_gguf_meta *meta,
                               struct pantry_error *err)
{
    struct vocab to = {.n = n_vocab};
    struct pn_tokenizer *own = NULL;
    struct pn_buf template = {0};
    const struct pn_vocab_visitor visitor = {see, &to};
    pantry_status status = pn_tokenizer_from_hf(c->w->hf->dir, &visitor, &own, &template, err);
    if (status == PANTRY_NOT_FOUND) { /* a model without one still runs, on ids */
        pn_gguf_str(meta, KEY("model"), "none");
        return PANTRY_OK;
    }
    if (!status)
        status = settle(&to, own, err);
    if (!status)
        status = put(&to, own, meta, err);
    if (!status && template.len) {
        pn_buf_putc(&template, '\0');
        if (template.failed)
            status = pn_no_memory(err, "the chat template");
        else
            pn_gguf_str(meta, "tokenizer.chat_template", template.data);
    }
    pn_buf_free(&template);
    pn_tokenizer_free(own);
    pn_arena_free(&to.arena);
    return status;
}
