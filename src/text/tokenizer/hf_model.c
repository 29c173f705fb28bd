/* The model and tokens of a tokenizer.json, and the other files in its folder: see tokenizer_files.h. */
#include "text/tokenizer/hf.h"

#include "base/file.h"
#include "text/tokenizer/tokenizer_files.h"
#include "text/tokenizer/tokenizer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 8 * 1000 * 1000 };
#define MAX_FILE ((size_t)512 * 1024 * 1024)

static bool is(const char *a, const char *b)
{
    return a && !strcmp(a, b);
}

static const char *str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static pantry_status bad(struct pn_hf *hf, const char *where, const char *what)
{
    return pn_fail(hf->err, PANTRY_FORMAT, "tokenizer.json: %s: %s", where, what);
}

static bool keep(struct pn_hf *hf, const char *bytes, size_t len, struct pn_str *out)
{
    const char *copy = len <= INT32_MAX ? pn_arena_copy(&hf->p->arena, bytes, len) : NULL;
    *out = (struct pn_str){.data = copy, .len = len};
    return copy != NULL;
}

/* Room for ids below `n`, in all arrays; new ones are empty and never made by the model. */
static pantry_status grow(struct pn_hf *hf, size_t n)
{
    if (n <= hf->n_tokens)
        return PANTRY_OK;
    if (n > MAX_TOKENS)
        return pn_fail(hf->err, PANTRY_LIMIT, "tokenizer.json: token id %zu; at most %d are allowed", n - 1,
                       MAX_TOKENS);
    struct pn_str *tokens = realloc(hf->tokens, n * sizeof *tokens);
    if (tokens)
        hf->tokens = tokens;
    double *scores = realloc(hf->scores, n * sizeof *scores);
    if (scores)
        hf->scores = scores;
    uint8_t *types = realloc(hf->types, n);
    if (types)
        hf->types = types;
    uint8_t *attributes = realloc(hf->attributes, n);
    if (attributes)
        hf->attributes = attributes;
    if (!tokens || !scores || !types || !attributes)
        return pn_no_memory(hf->err, "the vocabulary");
    for (size_t i = hf->n_tokens; i < n; i++) {
        hf->tokens[i] = (struct pn_str){.data = "", .len = 0};
        hf->scores[i] = 0;
        hf->types[i] = PN_TOKEN_NORMAL;
        hf->attributes[i] = PN_TOKEN_ADDED;
    }
    hf->n_tokens = n;
    return PANTRY_OK;
}

static pantry_status set_token(struct pn_hf *hf, json_int_t id, const char *text, size_t len, uint8_t attribute)
{
    if (id < 0 || id > MAX_TOKENS)
        return bad(hf, "vocabulary", "an id out of range");
    pantry_status status = grow(hf, (size_t)id + 1);
    if (!status && !keep(hf, text, len, &hf->tokens[id]))
        status = pn_no_memory(hf->err, "the vocabulary");
    if (!status)
        hf->attributes[id] = attribute;
    return status;
}

/* {"token": id, ...} */
static pantry_status read_vocab_object(struct pn_hf *hf, json_t *vocab)
{
    const char *key;
    json_t *id;
    json_int_t last = -1;
    if (!json_is_object(vocab) || !json_object_size(vocab))
        return bad(hf, "model", "no vocabulary");
    json_object_foreach(vocab, key, id)
    {
        if (!json_is_integer(id))
            return bad(hf, "model", "an id is not an integer");
        last = json_integer_value(id) > last ? json_integer_value(id) : last;
    }
    if (last < 0 || last > MAX_TOKENS)
        return bad(hf, "vocabulary", "an id out of range");
    pantry_status status = grow(hf, (size_t)last + 1);
    json_object_foreach(vocab, key, id)
    {
        if (status)
            break;
        status = set_token(hf, json_integer_value(id), key, strlen(key), 0);
    }
    return status;
}

/* [["piece", score], ...] */
static pantry_status read_vocab_list(struct pn_hf *hf, const json_t *vocab)
{
    size_t n = json_array_size(vocab);
    if (!n)
        return bad(hf, "model", "no vocabulary");
    pantry_status status = grow(hf, n);
    for (size_t i = 0; i < n && !status; i++) {
        const json_t *piece = json_array_get(json_array_get(vocab, i), 0),
                     *score = json_array_get(json_array_get(vocab, i), 1);
        if (!json_is_string(piece) || !json_is_number(score))
            return bad(hf, "model", "a piece is not a string with a score");
        status = set_token(hf, (json_int_t)i, json_string_value(piece), json_string_length(piece), 0);
        if (!status)
            hf->scores[i] = json_number_value(score);
    }
    return status;
}

/* ["a b", ...] or [["a", "b"], ...] */
static pantry_status read_merges(struct pn_hf *hf, const json_t *merges)
{
    size_t n = json_array_size(merges);
    hf->v.bpe.merge_pairs = n && json_is_array(json_array_get(merges, 0));
    hf->merges = calloc(2 * n + 1, sizeof *hf->merges);
    if (!hf->merges)
        return pn_no_memory(hf->err, "the merges");
    for (size_t i = 0; i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        const json_t *a = hf->v.bpe.merge_pairs ? json_array_get(merge, 0) : merge,
                     *b = hf->v.bpe.merge_pairs ? json_array_get(merge, 1) : merge;
        struct pn_str *to = &hf->merges[hf->v.bpe.merge_pairs ? 2 * i : i];
        if (!json_is_string(a) || !json_is_string(b))
            return bad(hf, "model", "a merge is not a pair of strings");
        /* The strings live as long as the parsed file, which outlives their use. */
        to[0] = (struct pn_str){.data = json_string_value(a), .len = json_string_length(a)};
        if (hf->v.bpe.merge_pairs)
            to[1] = (struct pn_str){.data = json_string_value(b), .len = json_string_length(b)};
    }
    hf->v.bpe.merges = hf->merges;
    hf->v.bpe.n_merges = n;
    return PANTRY_OK;
}

static int32_t find_token(const struct pn_hf *hf, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    for (size_t i = 0; i < hf->n_tokens && text; i++)
        if (hf->tokens[i].len == len && !memcmp(hf->tokens[i].data, text, len))
            return (int32_t)i;
    return -1;
}

static bool flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static pantry_status read_model(struct pn_hf *hf)
{
    const json_t *model = json_object_get(hf->root, "model");
    json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const char *type = str(model, "type"), *prefix = str(model, "continuing_subword_prefix");
    pantry_status status = PANTRY_OK;
    if (!type) /* old files have no type: guess it from the members */
        type = merges                                               ? "BPE"
               : json_is_array(vocab)                               ? "Unigram"
               : json_object_get(model, "max_input_chars_per_word") ? "WordPiece"
                                                                    : "WordLevel";
    hf->v.flags.byte_fallback = flag(model, "byte_fallback");
    if (is(type, "BPE")) {
        hf->v.kind = PN_VOCAB_BPE;
        hf->v.flags.byte_level = hf->bytes_done;
        hf->v.flags.fuse_unk = flag(model, "fuse_unk");
        hf->v.bpe.ignore_merges = flag(model, "ignore_merges");
        hf->v.bpe.prefix = prefix;
        hf->v.bpe.suffix = str(model, "end_of_word_suffix");
        status = read_vocab_object(hf, vocab);
        if (!status)
            status = read_merges(hf, merges);
        hf->v.id.unk = find_token(hf, str(model, "unk_token"));
    } else if (is(type, "Unigram")) {
        const json_t *unk = json_object_get(model, "unk_id");
        hf->v.kind = PN_VOCAB_UNIGRAM;
        hf->v.flags.fuse_unk = true;
        status = read_vocab_list(hf, vocab);
        hf->v.id.unk =
            json_is_integer(unk) && json_integer_value(unk) >= 0 && (size_t)json_integer_value(unk) < hf->n_tokens
                ? (int32_t)json_integer_value(unk)
                : -1;
    } else if (is(type, "WordPiece")) {
        const json_t *longest = json_object_get(model, "max_input_chars_per_word");
        hf->v.kind = PN_VOCAB_WORDPIECE;
        hf->v.wordpiece.prefix = prefix ? prefix : "##";
        hf->v.wordpiece.max_chars = json_integer_value(longest) > 0 ? (size_t)json_integer_value(longest) : 100;
        status = read_vocab_object(hf, vocab);
        hf->v.id.unk = find_token(hf, str(model, "unk_token"));
    } else if (is(type, "WordLevel")) {
        hf->v.kind = PN_VOCAB_WORDS;
        hf->v.flags.byte_level = hf->bytes_done;
        status = read_vocab_object(hf, vocab);
        hf->v.id.unk = find_token(hf, str(model, "unk_token"));
    } else {
        return pn_fail(hf->err, PANTRY_UNSUPPORTED, "tokenizer.json: a model of type \"%.64s\" is not supported", type);
    }
    if (hf->bytes_done && hf->v.kind != PN_VOCAB_BPE && hf->v.kind != PN_VOCAB_WORDS)
        return pn_fail(hf->err, PANTRY_UNSUPPORTED, "tokenizer.json: ByteLevel with a model of type %s", type);
    return status;
}

static pantry_status read_added(struct pn_hf *hf)
{
    const json_t *added = json_object_get(hf->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i), *content = json_object_get(token, "content"),
                     *id = json_object_get(token, "id");
        if (!json_is_string(content) || !json_is_integer(id) || json_integer_value(id) < 0)
            return bad(hf, "added_tokens", "an entry without content or id");
        const char *text = json_string_value(content);
        size_t len = json_string_length(content);
        json_int_t n = json_integer_value(id);
        bool in_model = (size_t)n < hf->n_tokens && !(hf->attributes[n] & PN_TOKEN_ADDED) && hf->tokens[n].len == len &&
                        !memcmp(hf->tokens[n].data, text, len);
        if (!len)
            continue;
        pantry_status status = set_token(hf, n, text, len, in_model ? 0 : PN_TOKEN_ADDED);
        if (status)
            return status;
        hf->types[n] = flag(token, "special") ? PN_TOKEN_CONTROL : PN_TOKEN_USER;
        hf->attributes[n] |=
            (uint8_t)((flag(token, "lstrip") ? PN_TOKEN_LSTRIP : 0) | (flag(token, "rstrip") ? PN_TOKEN_RSTRIP : 0) |
                      (flag(token, "single_word") ? PN_TOKEN_SINGLE_WORD : 0) |
                      (flag(token, "normalized") ? PN_TOKEN_NORMALIZED : 0));
    }
    for (size_t i = 0; i < hf->n_tokens && hf->byte_tokens; i++)
        if (hf->types[i] == PN_TOKEN_NORMAL && pn_byte_token_value(hf->tokens[i].data, hf->tokens[i].len) >= 0)
            hf->types[i] = PN_TOKEN_BYTE;
    return PANTRY_OK;
}

static void name_special(struct pn_hf *hf, const struct pn_token_names *names)
{
    const struct pn_pipeline *p = hf->p;
    if (names) {
        hf->v.id.bos = find_token(hf, names->bos);
        hf->v.id.eos = find_token(hf, names->eos);
        hf->v.id.pad = find_token(hf, names->pad);
        if (hf->v.id.unk < 0 && hf->v.kind != PN_VOCAB_BPE && hf->v.kind != PN_VOCAB_WORDS)
            hf->v.id.unk = find_token(hf, names->unk);
    }
    if (hf->v.id.bos < 0 && p->n_before)
        hf->v.id.bos = p->before[0];
    if (hf->v.id.eos < 0 && p->n_after)
        hf->v.id.eos = p->after[0];
}

pantry_status pn_tokenizer_from_json(const char *json, size_t len, const struct pn_token_names *names,
                                     const struct pn_vocab_visitor *visitor, struct pn_tokenizer **out,
                                     struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    json_error_t why;
    struct pn_hf hf = {.err = err, .v = pn_vocab_empty()};
    hf.v.flags.json = hf.v.flags.escape_whitespaces = true;
    hf.root = json_loadb(json, len, JSON_ALLOW_NUL, &why);
    if (!hf.root)
        return pn_fail(err, PANTRY_FORMAT, "tokenizer.json: line %d: %s", why.line, why.text);
    hf.p = calloc(1, sizeof *hf.p);
    status = hf.p ? pn_hf_read_before(&hf) : pn_no_memory(err, "the tokenizer");
    if (!status)
        status = read_model(&hf);
    if (!status)
        status = read_added(&hf);
    if (!status)
        status = pn_hf_read_around(&hf);
    if (!status) {
        name_special(&hf, names);
        hf.v.tokens = hf.tokens;
        hf.v.n_tokens = hf.n_tokens;
        hf.v.scores = hf.scores;
        hf.v.types = hf.types;
        hf.v.attributes = hf.attributes;
        hf.v.pipeline = hf.p;
        status = visitor ? visitor->see(visitor->user, &hf.v, err) : PANTRY_OK;
    }
    if (!status) {
        hf.p = NULL; /* owned by the tokenizer from here on, even if the call fails */
        status = pn_tokenizer_new(&hf.v, out, err);
    }
    if (!status && names)
        for (size_t i = 0; i < names->n_eog; i++)
            if (names->eog[i] >= 0 && (size_t)names->eog[i] < (*out)->tokens.n)
                (*out)->tokens.eog[names->eog[i]] = 1;
    pn_pipeline_free(hf.p);
    free(hf.tokens);
    free(hf.merges);
    free(hf.scores);
    free(hf.types);
    free(hf.attributes);
    json_decref(hf.root);
    return status;
}

/* ---- directories ---- */

/* PANTRY_NOT_FOUND: no such file. */
static pantry_status read_beside(const char *dir, const char *name, char **data, size_t *len, struct pantry_error *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return pn_fail(err, PANTRY_INVALID, "%s: the path is too long", dir);
    FILE *f = fopen(path, "rb");
    if (!f)
        return PANTRY_NOT_FOUND;
    fclose(f);
    return pn_file_read(path, MAX_FILE, data, len, err);
}

/* transformers writes 10^30 for "no longest text": whole numbers beyond 64 bits are read as real ones. */
static json_t *load_beside(const char *dir, const char *name)
{
    char *data = NULL;
    size_t len;
    json_t *root = NULL;
    if (!read_beside(dir, name, &data, &len, NULL) && !(root = json_loadb(data, len, 0, NULL)))
        root = json_loadb(data, len, JSON_DECODE_INT_AS_REAL, NULL);
    free(data);
    return root;
}

/* "token", or {"content": "token"} */
static const char *token_name(const json_t *config, const char *key)
{
    const json_t *token = json_object_get(config, key);
    return json_is_object(token) ? str(token, "content") : json_string_value(token);
}

static size_t read_eog(const json_t *config, int32_t *ids, size_t n)
{
    const json_t *eos = json_object_get(config, "eos_token_id");
    size_t count = 0;
    if (json_is_integer(eos) && n)
        ids[count++] = (int32_t)json_integer_value(eos);
    for (size_t i = 0; i < json_array_size(eos) && count < n; i++)
        if (json_is_integer(json_array_get(eos, i)))
            ids[count++] = (int32_t)json_integer_value(json_array_get(eos, i));
    return count;
}

/* A single template, the one named "default" among several, or a separate file. */
static void read_chat_template(const char *dir, const json_t *config, struct pn_buf *out)
{
    char *data = NULL;
    size_t len;
    if (!out)
        return;
    json_t *beside = load_beside(dir, "chat_template.json"); /* of processors, before they had chat_template.jinja */
    const json_t *template = json_object_get(beside, "chat_template");
    template = template ? template : json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(template); i++)
        if (is(str(json_array_get(template, i), "name"), "default"))
            template = json_object_get(json_array_get(template, i), "template");
    if (!read_beside(dir, "chat_template.jinja", &data, &len, NULL))
        pn_buf_append(out, data, len);
    else if (json_is_string(template))
        pn_buf_append(out, json_string_value(template), json_string_length(template));
    free(data);
    json_decref(beside);
}

pantry_status pn_tokenizer_from_hf(const char *dir, const struct pn_vocab_visitor *visitor, struct pn_tokenizer **out,
                                   struct pn_buf *chat_template, struct pantry_error *err)
{
    char *data = NULL;
    size_t len;
    int32_t eog[64];
    json_t *config = load_beside(dir, "tokenizer_config.json"),
           *generation = load_beside(dir, "generation_config.json");
    struct pn_token_names names = {.bos = token_name(config, "bos_token"),
                                   .eos = token_name(config, "eos_token"),
                                   .unk = token_name(config, "unk_token"),
                                   .pad = token_name(config, "pad_token"),
                                   .eog = eog};
    names.n_eog = read_eog(generation, eog, sizeof eog / sizeof *eog);
    pantry_status status = read_beside(dir, "tokenizer.json", &data, &len, err);
    if (!status) {
        status = pn_tokenizer_from_json(data, len, &names, visitor, out, err);
    } else if (status == PANTRY_NOT_FOUND) {
        status = read_beside(dir, "tokenizer.model", &data, &len, err);
        if (!status)
            status = pn_tokenizer_from_sentencepiece(data, len, visitor, out, err);
        else if (status == PANTRY_NOT_FOUND)
            status = pn_fail(err, PANTRY_NOT_FOUND, "%s: neither tokenizer.json nor tokenizer.model", dir);
    }
    if (!status)
        read_chat_template(dir, config, chat_template);
    if (status && err && status != PANTRY_NOT_FOUND)
        pn_fail_prefix(err, "%s", dir);
    free(data);
    json_decref(config);
    json_decref(generation);
    return status;
}
