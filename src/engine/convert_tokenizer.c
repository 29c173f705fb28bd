/* The tokenizer of a GGUF file as tokenizer.json: see convert_dir.h. Byte-level BPE becomes itself, with the
 * expressions of its pre-tokenizer; SentencePiece's BPE becomes BPE over characters with the merges that its scores
 * imply. */
#define _POSIX_C_SOURCE 200809L
#include "engine/convert_dir.h"

#include "engine/gguf_tokenizer.h"
#include "text/split/pretype.h"
#include "text/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

static json_t *text_of(struct pn_str s)
{
    return json_stringn(s.data, s.len);
}

static int type_of(const struct pn_weights *w, size_t i)
{
    const struct pn_meta *types = pn_weights_meta(w, KEY("token_type"));
    return types && i < types->n ? (int)pn_meta_item_i64(types, i) : PN_TOKEN_NORMAL;
}

static bool flag(const struct pn_weights *w, const char *key, bool fallback)
{
    bool value = fallback;
    pn_meta_bool(w, key, &value, NULL);
    return value;
}

/* ---- byte-level BPE ---- */

static json_t *merges_of(const struct pn_weights *w)
{
    const struct pn_meta *merges = pn_weights_meta(w, KEY("merges"));
    json_t *list = json_array();
    for (size_t i = 0; merges && merges->items && i < merges->n; i++)
        json_array_append_new(list, text_of(merges->items[i]));
    return list;
}

static json_t *splits_of(const struct pn_pretype *pre)
{
    json_t *list = json_array();
    for (int i = 0; pre && i < PN_PRETYPE_STEPS && pre->steps[i]; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                              pre->steps[i], "behavior", "Isolated", "invert", 0));
    json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                          "trim_offsets", 1, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *byte_level(const struct pn_weights *w, json_t *vocab, struct pantry_error *err)
{
    struct pn_str name = {0};
    pn_meta_str(w, KEY("pre"), &name, NULL);
    const struct pn_pretype *pre = pn_pretype_find(name.data ? name.data : "default", name.data ? name.len : 7);
    if (!pre || pre->flags & PN_PRETYPE_RAW) {
        pn_fail(err, PANTRY_UNSUPPORTED, "the pre-tokenizer \"%.*s\" has no form in tokenizer.json", (int)name.len,
                name.data ? name.data : "");
        json_decref(vocab);
        return NULL;
    }
    return json_pack("{s:n, s:o, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
                     "normalizer", "pre_tokenizer", splits_of(pre), "decoder", "type", "ByteLevel", "add_prefix_space",
                     0, "trim_offsets", 0, "use_regex", 0, "model", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", (pre->flags & PN_PRETYPE_IGNORE_MERGES) != 0, "vocab", vocab, "merges",
                     merges_of(w));
}

/* ---- SentencePiece's BPE ---- */

struct merge {
    size_t left, cut; /* token, and the bytes of its first part */
    double score;
};

static int by_score(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->left != y->left ? (x->left > y->left ? 1 : -1) : (x->cut > y->cut) - (x->cut < y->cut);
}

/* Every way to make a token of two others, best tokens first. */
static json_t *merges_by_score(const struct pn_weights *w, const struct pn_tokenizer *t)
{
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens")), *scores = pn_weights_meta(w, KEY("scores"));
    struct {
        struct merge *data;
        size_t len, cap;
    } found = {0};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < tokens->n; i++) {
        struct pn_str s = tokens->items[i];
        if (type_of(w, i) != PN_TOKEN_NORMAL)
            continue;
        for (size_t cut = 1; ok && cut < s.len; cut++) {
            if ((s.data[cut] & 0xC0) == 0x80 || pn_tokenizer_find(t, s.data, cut) < 0 ||
                pn_tokenizer_find(t, s.data + cut, s.len - cut) < 0)
                continue;
            struct merge m = {i, cut, scores ? pn_meta_item_f64(scores, i) : 0};
            ok = pn_vec_push(&found, m);
        }
    }
    if (ok && found.len)
        qsort(found.data, found.len, sizeof *found.data, by_score);
    for (size_t i = 0; ok && i < found.len; i++) {
        struct pn_str s = tokens->items[found.data[i].left];
        size_t cut = found.data[i].cut;
        json_array_append_new(list, json_pack("[s%, s%]", s.data, cut, s.data + cut, s.len - cut));
    }
    free(found.data);
    return list;
}

static json_t *characters(const struct pn_weights *w, const struct pn_tokenizer *t, json_t *vocab)
{
    static const char mark[] = "\xe2\x96\x81";
    bool prefix = flag(w, KEY("add_space_prefix"), true);
    int64_t unk = -1;
    json_t *replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", mark);
    json_t *normalizers = json_pack("[o]", replace);
    json_t *decoders = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", mark,
                                 "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (prefix) {
        json_array_insert_new(normalizers, 0, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", mark));
        json_array_append_new(
            decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    }
    pn_meta_i64(w, KEY("unknown_token_id"), &unk, NULL);
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens"));
    json_t *name = unk >= 0 && (size_t)unk < tokens->n ? text_of(tokens->items[unk]) : json_null();
    return json_pack("{s:{s:s, s:o}, s:n, s:{s:s, s:o}, s:{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
                     "normalizer", "type", "Sequence", "normalizers", normalizers, "pre_tokenizer", "decoder", "type",
                     "Sequence", "decoders", decoders, "model", "type", "BPE", "dropout", "unk_token", name,
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 1, "byte_fallback", 1,
                     "ignore_merges", 0, "vocab", vocab, "merges", merges_by_score(w, t));
}

/* ---- files ---- */

static json_t *added_tokens(const struct pn_weights *w)
{
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens"));
    json_t *list = json_array();
    for (size_t i = 0; i < tokens->n; i++) {
        int type = type_of(w, i);
        if (type != PN_TOKEN_CONTROL && type != PN_TOKEN_USER && type != PN_TOKEN_UNKNOWN)
            continue;
        json_array_append_new(list, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                              text_of(tokens->items[i]), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                              "normalized", 0, "special", type != PN_TOKEN_USER));
    }
    return list;
}

static json_t *token_named(const struct pn_weights *w, const char *key)
{
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens"));
    int64_t id = -1;
    pn_meta_i64(w, key, &id, NULL);
    return id >= 0 && (size_t)id < tokens->n ? text_of(tokens->items[id]) : NULL;
}

/* What the model puts before a text. */
static json_t *template_of(const struct pn_weights *w, const struct pn_tokenizer *t)
{
    json_t *bos = token_named(w, KEY("bos_token_id"));
    size_t n;
    const int32_t *before = pn_tokenizer_around(t, false, &n);
    if (!bos || !n || before[0] != pn_tokenizer_bos(t)) {
        json_decref(bos);
        return json_null();
    }
    const char *name = json_string_value(bos);
    json_t *template = json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], "
        "s:{s:{s:s, s:[i], s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A",
        "type_id", 0, "pair", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A", "type_id", 0, "Sequence",
        "id", "B", "type_id", 1, "special_tokens", name, "id", name, "ids", before[0], "tokens", name);
    json_decref(bos);
    return template ? template : json_null();
}

static pantry_status put_config(const struct pn_weights *w, const char *folder, struct pantry_error *err)
{
    static const struct {
        const char *name, *key;
    } ids[] = {{"bos_token", KEY("bos_token_id")},
               {"eos_token", KEY("eos_token_id")},
               {"unk_token", KEY("unknown_token_id")},
               {"pad_token", KEY("padding_token_id")}};
    json_t *config =
        json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    json_t *generation = json_object();
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        json_t *name = token_named(w, ids[i].key);
        if (name)
            json_object_set_new(config, ids[i].name, name);
    }
    int64_t id;
    if (pn_meta_i64(w, KEY("bos_token_id"), &id, NULL) == PANTRY_OK)
        json_object_set_new(generation, "bos_token_id", json_integer(id));
    if (pn_meta_i64(w, KEY("eos_token_id"), &id, NULL) == PANTRY_OK)
        json_object_set_new(generation, "eos_token_id", json_integer(id));
    pantry_status status = config && generation ? pn_dir_put(folder, "tokenizer_config.json", config, NULL, err)
                                                : pn_no_memory(err, "tokenizer_config.json");
    if (!status)
        status = pn_dir_put(folder, "generation_config.json", generation, NULL, err);
    json_decref(config);
    json_decref(generation);
    return status;
}

pantry_status pn_dir_tokenizer(const struct pn_convert *c, const char *folder, struct pantry_error *err)
{
    const struct pn_weights *w = c->w;
    const struct pn_meta *tokens = pn_weights_meta(w, KEY("tokens"));
    struct pn_str model = {0};
    struct pn_tokenizer *t = NULL;
    pn_meta_str(w, KEY("model"), &model, NULL);
    if (!tokens || !tokens->items || !model.data)
        return PANTRY_OK;
    bool bytes = model.len == 4 && memcmp(model.data, "gpt2", 4) == 0;
    bool spm = model.len == 5 && memcmp(model.data, "llama", 5) == 0;
    if (!bytes && !spm)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: a tokenizer of kind \"%.*s\" cannot become tokenizer.json yet",
                       c->in, (int)model.len, model.data);
    pantry_status status = pn_vocab_from_weights(w, &t, err);
    if (status)
        return status;
    json_t *vocab = json_object();
    for (size_t i = 0; vocab && i < tokens->n; i++)
        json_object_setn_new_nocheck(vocab, tokens->items[i].data, tokens->items[i].len, json_integer((json_int_t)i));
    json_t *all = bytes ? byte_level(w, vocab, err) : characters(w, t, vocab);
    if (!all && !(bytes && err && err->status == PANTRY_UNSUPPORTED))
        status = pn_no_memory(err, "tokenizer.json");
    else if (!all)
        status = PANTRY_UNSUPPORTED;
    if (!status) {
        json_object_set_new(all, "version", json_string("1.0"));
        json_object_set_new(all, "added_tokens", added_tokens(w));
        json_object_set_new(all, "post_processor", template_of(w, t));
        status = pn_dir_put(folder, "tokenizer.json", all, NULL, err);
    }
    if (!status)
        status = put_config(w, folder, err);
    if (!status && w->chat_template.len) {
        char *text = strndup(w->chat_template.data, w->chat_template.len);
        status = text ? pn_dir_put(folder, "chat_template.jinja", NULL, text, err) : pn_no_memory(err, "a template");
        free(text);
    }
    json_decref(all);
    pn_tokenizer_free(t);
    return status;
}
