/* Tokenizers from model files: see gguf_tokenizer.h. Checks types and lengths of arrays, and ids. */
#include "engine/gguf_tokenizer.h"

#include "model/arch.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* The arrays that a tokenizer is made from; freed once it exists. */
struct arrays {
    double *scores;
    uint8_t *types, *attributes;
    char *charsmap;
};

static void free_arrays(struct arrays *a)
{
    free(a->scores);
    free(a->types);
    free(a->attributes);
    free(a->charsmap);
}

static pantry_status wrong_type(const struct pn_meta *meta, const char *want, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "%s: not an array of %s", meta->key, want);
}

static bool is_array_of_numbers(const struct pn_meta *meta)
{
    return meta->type == PN_META_ARRAY &&
           (meta->item == PN_META_INT || meta->item == PN_META_UINT || meta->item == PN_META_FLOAT);
}

/* The strings stay in the mapped file. */
static pantry_status read_strings(const struct pn_meta *meta, const struct pn_str **out, size_t *n,
                                  struct pantry_error *err)
{
    if (meta->type != PN_META_ARRAY || meta->item != PN_META_STRING)
        return wrong_type(meta, "strings", err);
    *out = meta->items;
    *n = meta->n;
    return PANTRY_OK;
}

static pantry_status check_length(const struct pn_meta *meta, size_t n, struct pantry_error *err)
{
    if (meta->n == n)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_FORMAT, "%s: %zu items for a vocabulary of %zu tokens", meta->key, meta->n, n);
}

static pantry_status read_scores(const struct pn_weights *w, struct pn_vocab *v, struct arrays *a,
                                 struct pantry_error *err)
{
    const struct pn_meta *meta = pn_weights_meta(w, KEY("scores"));
    if (!meta)
        return PANTRY_OK;
    if (!is_array_of_numbers(meta))
        return wrong_type(meta, "numbers", err);
    pantry_status status = check_length(meta, v->n_tokens, err);
    if (status)
        return status;
    a->scores = malloc((meta->n + 1) * sizeof *a->scores);
    if (!a->scores)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < meta->n; i++)
        a->scores[i] = pn_meta_item_f64(meta, i);
    v->scores = a->scores;
    return PANTRY_OK;
}

static pantry_status read_types(const struct pn_weights *w, struct pn_vocab *v, struct arrays *a,
                                struct pantry_error *err)
{
    const struct pn_meta *meta = pn_weights_meta(w, KEY("token_type"));
    if (!meta)
        return PANTRY_OK;
    if (meta->type != PN_META_ARRAY || (meta->item != PN_META_INT && meta->item != PN_META_UINT))
        return wrong_type(meta, "integers", err);
    pantry_status status = check_length(meta, v->n_tokens, err);
    if (status)
        return status;
    a->types = malloc(meta->n + 1);
    if (!a->types)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < meta->n; i++) {
        int64_t type = pn_meta_item_i64(meta, i);
        a->types[i] = type >= PN_TOKEN_NORMAL && type <= PN_TOKEN_BYTE ? (uint8_t)type : PN_TOKEN_NORMAL;
    }
    v->types = a->types;
    return PANTRY_OK;
}

static pantry_status read_charsmap(const struct pn_weights *w, struct pn_vocab *v, struct arrays *a,
                                   struct pantry_error *err)
{
    const struct pn_meta *meta = pn_weights_meta(w, KEY("precompiled_charsmap"));
    if (!meta || v->kind != PN_VOCAB_UNIGRAM)
        return PANTRY_OK;
    if (meta->type != PN_META_ARRAY || (meta->item != PN_META_INT && meta->item != PN_META_UINT) || meta->width != 1)
        return wrong_type(meta, "bytes", err);
    a->charsmap = malloc(meta->n + 1);
    if (!a->charsmap)
        return pn_no_memory(err, "the map of characters");
    for (size_t i = 0; i < meta->n; i++)
        a->charsmap[i] = (char)pn_meta_item_i64(meta, i);
    v->spm.charsmap = a->charsmap;
    v->spm.charsmap_len = meta->n;
    return PANTRY_OK;
}

static pantry_status read_arrays(const struct pn_weights *w, struct pn_vocab *v, struct arrays *a,
                                 struct pantry_error *err)
{
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens")), *merges = pn_weights_meta(w, KEY("merges"));
    if (!tokens)
        return pn_fail(err, PANTRY_FORMAT, "tokenizer.ggml.tokens: missing");
    pantry_status status = read_strings(tokens, &v->tokens, &v->n_tokens, err);
    if (!status && merges && v->kind == PN_VOCAB_BPE)
        status = read_strings(merges, &v->bpe.merges, &v->bpe.n_merges, err);
    if (!status)
        status = read_scores(w, v, a, err);
    if (!status)
        status = read_types(w, v, a, err);
    if (!status)
        status = read_charsmap(w, v, a, err);
    return status;
}

/* An id outside the vocabulary is ignored, as in llama.cpp; -1 in the file means none. */
static pantry_status read_id(const struct pn_weights *w, const char *key, size_t n, int32_t *out,
                             struct pantry_error *err)
{
    int64_t id;
    pantry_status status = pn_meta_i64(w, key, &id, err);
    if (status == PANTRY_NOT_FOUND)
        return PANTRY_OK;
    if (!status && (uint64_t)id < n) /* negative ids become large */
        *out = (int32_t)id;
    else if (!status && (id == -1 || id == UINT32_MAX))
        *out = -1;
    return status;
}

static pantry_status read_ids(const struct pn_weights *w, struct pn_vocab *v, struct pantry_error *err)
{
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {
        {KEY("bos_token_id"), &v->id.bos},         {KEY("eos_token_id"), &v->id.eos},
        {KEY("eot_token_id"), &v->id.eot},         {KEY("eom_token_id"), &v->id.eom},
        {KEY("unknown_token_id"), &v->id.unk},     {KEY("seperator_token_id"), &v->id.sep},
        {KEY("separator_token_id"), &v->id.sep},   {KEY("padding_token_id"), &v->id.pad},
        {KEY("cls_token_id"), &v->id.cls},         {KEY("mask_token_id"), &v->id.mask},
        {KEY("fim_pad_token_id"), &v->id.fim_pad}, {KEY("fim_rep_token_id"), &v->id.fim_repo},
        {KEY("fim_sep_token_id"), &v->id.fim_sep},
    };
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !status; i++)
        status = read_id(w, ids[i].key, v->n_tokens, ids[i].id, err);
    return status;
}

static pantry_status read_flags(const struct pn_weights *w, struct pn_vocab *v, struct pantry_error *err)
{
    bool strip = v->flags.strip_accents, escape = v->flags.escape_whitespaces;
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {
        {KEY("add_bos_token"), &v->flags.add_bos},
        {KEY("add_eos_token"), &v->flags.add_eos},
        {KEY("add_space_prefix"), &v->flags.add_space_prefix},
        {KEY("remove_extra_whitespaces"), &v->flags.remove_extra_whitespaces},
        {KEY("escape_whitespaces"), &escape},
        {KEY("normalizer.lowercase"), &v->flags.lowercase},
    };
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && !status; i++) {
        status = pn_meta_bool(w, flags[i].key, flags[i].flag, err);
        if (status == PANTRY_NOT_FOUND)
            status = PANTRY_OK;
    }
    if (v->kind == PN_VOCAB_WORDPIECE)
        strip = v->flags.lowercase;
    if (!status && pn_meta_bool(w, KEY("normalizer.strip_accents"), &strip, err) == PANTRY_FORMAT)
        return PANTRY_FORMAT;
    v->flags.strip_accents = strip;
    v->flags.escape_whitespaces = escape;
    return status;
}

static bool holds(struct pn_str text, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= text.len; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)text.data[i + k]) == part[k])
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static void set_attribute(const struct pn_vocab *v, struct arrays *a, const char *token, uint8_t attribute)
{
    for (size_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].len == strlen(token) && !memcmp(v->tokens[i].data, token, v->tokens[i].len))
            a->attributes[i] = attribute;
}

/* Some special tokens absorb adjacent white space. tokenizer.json says which, GGUF does not: */
static pantry_status set_attributes(const struct pn_weights *w, struct pn_vocab *v, struct arrays *a,
                                    struct pantry_error *err)
{
    struct pn_str name = {0}, arch_name = {0}, pre = {0};
    if (v->kind == PN_VOCAB_BPE)
        pre = (struct pn_str){.data = v->bpe.pre, .len = v->bpe.pre_len};
    if (pn_meta_str(w, "general.name", &name, NULL))
        name.len = 0;
    if (pn_meta_str(w, "general.architecture", &arch_name, NULL))
        arch_name.len = 0;
    struct pn_arch arch = {0};
    pn_arch_find(arch_name.data ? arch_name.data : "", arch_name.len, &arch);
    bool phi3 = v->kind == PN_VOCAB_SPM && (holds(name, "phi-3") || holds(name, "phi3"));
    bool mask = holds(pre, "jina-v2-") || arch.mask_takes_space;
    bool modern = holds(pre, "modern-bert") || holds(name, "modern-bert");
    if (!phi3 && !mask && !modern)
        return PANTRY_OK;
    a->attributes = calloc(v->n_tokens + 1, 1);
    if (!a->attributes)
        return pn_no_memory(err, "the vocabulary");
    if (phi3)
        for (size_t i = 0; i < v->n_tokens && v->types; i++)
            if (v->types[i] == PN_TOKEN_CONTROL || v->types[i] == PN_TOKEN_USER)
                a->attributes[i] = PN_TOKEN_RSTRIP;
    if (phi3) {
        set_attribute(v, a, "</s>", PN_TOKEN_RSTRIP);
        set_attribute(v, a, "<unk>", 0);
        set_attribute(v, a, "<s>", 0);
        set_attribute(v, a, "<|endoftext|>", 0);
    }
    if (mask)
        set_attribute(v, a, "<mask>", PN_TOKEN_LSTRIP);
    if (modern)
        set_attribute(v, a, "[MASK]", PN_TOKEN_LSTRIP);
    v->attributes = a->attributes;
    return PANTRY_OK;
}

pantry_status pn_vocab_from_weights(const struct pn_weights *w, struct pn_tokenizer **out, struct pantry_error *err)
{
    struct arrays a = {0};
    struct pn_vocab v;
    struct pn_str model = {0}, pre = {0};
    pantry_status status = pn_meta_str(w, KEY("model"), &model, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no tokenizer (no tokenizer.ggml.model)");
    if (!status && pn_meta_str(w, KEY("pre"), &pre, err) == PANTRY_FORMAT)
        status = PANTRY_FORMAT;
    if (!status)
        status = pn_vocab_init(&v, model.data, model.len, pre.data, pre.len, err);
    if (!status)
        status = read_arrays(w, &v, &a, err);
    if (!status)
        status = read_ids(w, &v, err);
    if (!status)
        status = read_flags(w, &v, err);
    if (!status)
        status = set_attributes(w, &v, &a, err);
    if (!status)
        status = pn_tokenizer_new(&v, out, err);
    free_arrays(&a);
    return status;
}
