/* Hugging Face's tokenizer.json: see tokenizer_files.h.
 *
 * The file is untrusted: every member's type is checked, ids are bounded by the tokens that the file lists, and unknown
 * members are errors that name them, never ignored. */
#include "text/tokenizer/hf.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 64, MAX_DEPTH = 8 };

static const char *str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool flag(const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static bool is(const char *a, const char *b)
{
    return a && !strcmp(a, b);
}

/* A string of the file, in the arena. */
static bool keep(struct pn_hf *hf, const json_t *value, const char **out, size_t *len)
{
    *len = json_string_length(value);
    *out = json_is_string(value) ? pn_arena_copy(&hf->p->arena, json_string_value(value), *len) : NULL;
    return *out != NULL;
}

static pantry_status bad(struct pn_hf *hf, const char *where, const char *what)
{
    return pn_fail(hf->err, PANTRY_FORMAT, "tokenizer.json: %s: %s", where, what);
}

static pantry_status unknown(struct pn_hf *hf, const char *where, const char *type)
{
    return pn_fail(hf->err, PANTRY_UNSUPPORTED, "tokenizer.json: %s of type \"%.64s\" is not supported", where,
                   type ? type : "(none)");
}

/* ---- normalizers ---- */

static struct pn_normalizer *add_norm(struct pn_hf *hf, enum pn_normalizer_kind kind)
{
    struct pn_pipeline *p = hf->p;
    if (p->n_norms >= MAX_STEPS ||
        !pn_vec_reserve((void **)(void *)&p->norms, &p->cap_norms, p->n_norms + 1, sizeof *p->norms))
        return NULL;
    p->norms[p->n_norms] = (struct pn_normalizer){.kind = kind};
    return &p->norms[p->n_norms++];
}

static pantry_status read_replace(struct pn_hf *hf, const json_t *n, struct pn_normalizer *step)
{
    const json_t *pattern = json_object_get(n, "pattern"), *regex = json_object_get(pattern, "Regex");
    if (!keep(hf, json_object_get(n, "content"), &step->to, &step->to_len))
        return bad(hf, "normalizer", "Replace without content");
    if (json_is_string(regex))
        return pn_regex_new(json_string_value(regex), json_string_length(regex), &step->regex, hf->err);
    if (!keep(hf, json_object_get(pattern, "String"), &step->from, &step->from_len))
        return bad(hf, "normalizer", "Replace without pattern");
    return PANTRY_OK;
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static pantry_status read_charsmap(struct pn_hf *hf, const json_t *n, struct pn_normalizer *step)
{
    const json_t *map = json_object_get(n, "precompiled_charsmap");
    const char *text = json_string_value(map);
    size_t len = json_string_length(map), bytes = 0;
    if (!text)
        return json_is_null(map) ? PANTRY_OK : bad(hf, "normalizer", "Precompiled without a map");
    char *data = pn_arena_alloc(&hf->p->arena, len);
    if (!data)
        return pn_no_memory(hf->err, "the map of characters");
    uint32_t word = 0;
    for (size_t i = 0, have = 0; i < len && text[i] != '='; i++) {
        int v = base64_value(text[i]);
        if (v < 0)
            return bad(hf, "normalizer", "the precompiled map is not base64");
        word = word << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            data[bytes++] = (char)(word >> have);
        }
    }
    return pn_charsmap_init(&step->map, data, bytes, hf->err);
}

static pantry_status read_norm_step(struct pn_hf *hf, const json_t *n, const char *type)
{
    static const struct {
        const char *name;
        enum pn_normalizer_kind kind;
        enum pn_normal_form form;
    } kinds[] = {
        {"NFC", PN_NORMALIZER_FORM, PN_NFC},
        {"NFD", PN_NORMALIZER_FORM, PN_NFD},
        {"NFKC", PN_NORMALIZER_FORM, PN_NFKC},
        {"NFKD", PN_NORMALIZER_FORM, PN_NFKD},
        {"Lowercase", PN_NORMALIZER_LOWERCASE, PN_NFC},
        {"Strip", PN_NORMALIZER_STRIP, PN_NFC},
        {"StripAccents", PN_NORMALIZER_STRIP_ACCENTS, PN_NFC},
        {"Replace", PN_NORMALIZER_REPLACE, PN_NFC},
        {"Prepend", PN_NORMALIZER_PREPEND, PN_NFC},
        {"BertNormalizer", PN_NORMALIZER_BERT, PN_NFC},
        {"Precompiled", PN_NORMALIZER_CHARSMAP, PN_NFC},
        {"Nmt", PN_NORMALIZER_NMT, PN_NFC},
        {"ByteLevel", PN_NORMALIZER_BYTES, PN_NFC},
    };
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && !is(type, kinds[k].name))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return unknown(hf, "normalizer", type);
    struct pn_normalizer *step = add_norm(hf, kinds[k].kind);
    if (!step)
        return pn_fail(hf->err, PANTRY_LIMIT, "tokenizer.json: more than %d normalizers", MAX_STEPS);
    step->form = kinds[k].form;
    switch (step->kind) {
    case PN_NORMALIZER_STRIP:
        step->left = flag(n, "strip_left", true);
        step->right = flag(n, "strip_right", true);
        break;
    case PN_NORMALIZER_REPLACE:
        return read_replace(hf, n, step);
    case PN_NORMALIZER_PREPEND:
        if (!keep(hf, json_object_get(n, "prepend"), &step->to, &step->to_len))
            return bad(hf, "normalizer", "Prepend without a string");
        break;
    case PN_NORMALIZER_BERT:
        step->bert.clean = flag(n, "clean_text", true);
        step->bert.ideographs = flag(n, "handle_chinese_chars", true);
        step->bert.lowercase = flag(n, "lowercase", true);
        step->bert.strip_accents = flag(n, "strip_accents", step->bert.lowercase);
        break;
    case PN_NORMALIZER_CHARSMAP:
        return read_charsmap(hf, n, step);
    default:
        break;
    }
    return PANTRY_OK;
}

typedef pantry_status read_step_fn(struct pn_hf *hf, const json_t *step, const char *type);

/* Reads a step, or the members of a Sequence, whose list has one of two names. */
static pantry_status read_steps(struct pn_hf *hf, const json_t *step, const char *list, read_step_fn *read,
                                const char *where, int depth)
{
    if (!step || json_is_null(step))
        return PANTRY_OK;
    const char *type = str(step, "type");
    if (!is(type, "Sequence"))
        return json_is_object(step) ? read(hf, step, type) : bad(hf, where, "not an object");
    const json_t *steps = json_object_get(step, list);
    if (!json_is_array(steps) || depth > MAX_DEPTH)
        return bad(hf, where, "a Sequence without a list, or nested too deep");
    for (size_t i = 0; i < json_array_size(steps); i++) {
        pantry_status status = read_steps(hf, json_array_get(steps, i), list, read, where, depth + 1);
        if (status)
            return status;
    }
    return PANTRY_OK;
}

/* ---- pre-tokenizers ---- */

static struct pn_pre_step *add_pre(struct pn_hf *hf, enum pn_pre_kind kind)
{
    struct pn_pipeline *p = hf->p;
    if (p->n_pres >= MAX_STEPS ||
        !pn_vec_reserve((void **)(void *)&p->pres, &p->cap_pres, p->n_pres + 1, sizeof *p->pres))
        return NULL;
    p->pres[p->n_pres] = (struct pn_pre_step){.kind = kind};
    return &p->pres[p->n_pres++];
}

static pantry_status add_split(struct pn_hf *hf, struct pn_split split)
{
    struct pn_pre_step *step = add_pre(hf, PN_PRE_SPLIT);
    if (!step) {
        pn_split_free(&split);
        return pn_fail(hf->err, PANTRY_LIMIT, "tokenizer.json: more than %d pre-tokenizers", MAX_STEPS);
    }
    step->split = split;
    return PANTRY_OK;
}

static pantry_status add_regex(struct pn_hf *hf, const char *regex, size_t len, enum pn_split_behavior behavior,
                               bool invert)
{
    struct pn_split split;
    pantry_status status = pn_split_from_regex(&split, regex, len, hf->err);
    /* A scanner or splitter reports where pieces end, not which of them are matches. */
    if (!status && split.kind == PN_SPLIT_CUT && (behavior != PN_SPLIT_ISOLATED || invert)) {
        split = (struct pn_split){.kind = PN_SPLIT_REGEX};
        status = pn_regex_new(regex, len, &split.regex, hf->err);
    }
    if (status)
        return status;
    split.behavior = behavior;
    split.invert = invert;
    return add_split(hf, split);
}

static pantry_status add_literal(struct pn_hf *hf, const char *text, size_t len, enum pn_split_behavior behavior,
                                 bool invert)
{
    struct pn_split split = {.kind = PN_SPLIT_LITERAL, .behavior = behavior, .invert = invert, .count = len};
    split.literal = malloc(len + 1);
    if (!split.literal)
        return pn_no_memory(hf->err, "the pre-tokenizer");
    memcpy(split.literal, text, len);
    split.literal[len] = 0;
    return add_split(hf, split);
}

static pantry_status add_chars(struct pn_hf *hf, bool (*is_match)(uint32_t), enum pn_split_behavior behavior)
{
    return add_split(hf, (struct pn_split){.kind = PN_SPLIT_CHARS, .behavior = behavior, .is_match = is_match});
}

static bool read_behavior(const char *name, enum pn_split_behavior *out)
{
    static const char *const names[] = {
        [PN_SPLIT_ISOLATED] = "Isolated",
        [PN_SPLIT_REMOVED] = "Removed",
        [PN_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PN_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [PN_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is(name, names[i])) {
            *out = (enum pn_split_behavior)i;
            return true;
        }
    return false;
}

static pantry_status read_split(struct pn_hf *hf, const json_t *p)
{
    const json_t *pattern = json_object_get(p, "pattern"), *regex = json_object_get(pattern, "Regex"),
                 *literal = json_object_get(pattern, "String");
    enum pn_split_behavior behavior;
    bool invert = flag(p, "invert", false);
    if (!read_behavior(str(p, "behavior"), &behavior))
        return bad(hf, "pre_tokenizer", "Split without a known behavior");
    if (json_is_string(regex)) {
        /* After the byte alphabet, only expressions that cut digits off give the same result on bytes. */
        if (hf->bytes_done && (!is(json_string_value(regex), "[0-9][0-9][0-9]") || invert))
            return unknown(hf, "pre_tokenizer after ByteLevel", "Split");
        return add_regex(hf, json_string_value(regex), json_string_length(regex), behavior, invert);
    }
    if (!json_is_string(literal) || hf->bytes_done)
        return bad(hf, "pre_tokenizer", "Split without a pattern that can be used there");
    return add_literal(hf, json_string_value(literal), json_string_length(literal), behavior, invert);
}

static pantry_status read_metaspace(struct pn_hf *hf, const json_t *p)
{
    const char *mark = str(p, "replacement"), *scheme = str(p, "prepend_scheme");
    size_t len = mark ? strlen(mark) : 0;
    struct pn_pre_step *step = add_pre(hf, PN_PRE_METASPACE);
    if (!step || !len || len >= sizeof step->mark)
        return bad(hf, "pre_tokenizer", "Metaspace without a replacement");
    memcpy(step->mark, mark, len + 1);
    step->prepend = is(scheme, "always")                ? PN_PREPEND_ALWAYS
                    : is(scheme, "first")               ? PN_PREPEND_FIRST
                    : is(scheme, "never")               ? PN_PREPEND_NEVER
                    : flag(p, "add_prefix_space", true) ? PN_PREPEND_ALWAYS
                                                        : PN_PREPEND_NEVER;
    step->cuts = flag(p, "split", true);
    if (step->cuts) {
        char *literal = malloc(len + 1);
        if (!literal)
            return pn_no_memory(hf->err, "the pre-tokenizer");
        memcpy(literal, mark, len + 1);
        step->split = (struct pn_split){
            .kind = PN_SPLIT_LITERAL, .behavior = PN_SPLIT_MERGED_WITH_NEXT, .literal = literal, .count = len};
    }
    return PANTRY_OK;
}

static pantry_status read_byte_level(struct pn_hf *hf, const json_t *p)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    if (hf->bytes_done)
        return bad(hf, "pre_tokenizer", "ByteLevel twice");
    if (flag(p, "add_prefix_space", true) && !add_pre(hf, PN_PRE_PREFIX_BLANK))
        return pn_no_memory(hf->err, "the pre-tokenizer");
    hf->bytes_done = true;
    return flag(p, "use_regex", true) ? add_regex(hf, gpt2, sizeof gpt2 - 1, PN_SPLIT_ISOLATED, false) : PANTRY_OK;
}

static bool is_numeric(uint32_t c)
{
    return pn_uc_class(c) & PN_UC_NUMBER;
}

static pantry_status read_digits(struct pn_hf *hf, const json_t *p)
{
    bool each = flag(p, "individual_digits", false);
    if (!hf->bytes_done)
        return add_chars(hf, is_numeric, each ? PN_SPLIT_ISOLATED : PN_SPLIT_CONTIGUOUS);
    if (each)
        return unknown(hf, "pre_tokenizer after ByteLevel", "Digits");
    return add_regex(hf, PN_NUMBER_BYTES, strlen(PN_NUMBER_BYTES), PN_SPLIT_ISOLATED, false);
}

static pantry_status read_pre_step(struct pn_hf *hf, const json_t *p, const char *type)
{
    static const char words[] = "[\\w\\x{200C}\\x{200D}]+|[^\\w\\s\\x{200C}\\x{200D}]+";
    enum pn_split_behavior behavior = PN_SPLIT_ISOLATED;
    if (is(type, "Split"))
        return read_split(hf, p);
    if (is(type, "ByteLevel"))
        return read_byte_level(hf, p);
    if (is(type, "Digits"))
        return read_digits(hf, p);
    if (hf->bytes_done)
        return unknown(hf, "pre_tokenizer after ByteLevel", type);
    if (is(type, "Metaspace"))
        return read_metaspace(hf, p);
    if (is(type, "WhitespaceSplit"))
        return add_chars(hf, pn_is_white_space, PN_SPLIT_REMOVED);
    if (is(type, "Whitespace")) /* \w+|[^\w\s]+ in Rust's reading, where joiners are word characters */
        return add_regex(hf, words, sizeof words - 1, PN_SPLIT_REMOVED, true);
    if (is(type, "BertPreTokenizer")) {
        pantry_status status = add_chars(hf, pn_is_white_space, PN_SPLIT_REMOVED);
        return status ? status : add_chars(hf, pn_is_bert_punctuation, PN_SPLIT_ISOLATED);
    }
    if (is(type, "Punctuation")) {
        if (json_object_get(p, "behavior") && !read_behavior(str(p, "behavior"), &behavior))
            return bad(hf, "pre_tokenizer", "Punctuation without a known behavior");
        return add_chars(hf, pn_is_bert_punctuation, behavior);
    }
    if (is(type, "CharDelimiterSplit") && json_string_length(json_object_get(p, "delimiter")))
        return add_literal(hf, str(p, "delimiter"), json_string_length(json_object_get(p, "delimiter")),
                           PN_SPLIT_REMOVED, false);
    if (is(type, "FixedLength") && json_integer_value(json_object_get(p, "length")) > 0)
        return add_split(hf, (struct pn_split){.kind = PN_SPLIT_EVERY,
                                               .count = (size_t)json_integer_value(json_object_get(p, "length"))});
    return unknown(hf, "pre_tokenizer", type);
}

/* ---- post-processors ---- */

static pantry_status put_around(struct pn_hf *hf, bool after, json_int_t id)
{
    struct pn_pipeline *p = hf->p;
    size_t *n = after ? &p->n_after : &p->n_before;
    if (*n >= PN_MAX_AROUND || id < 0 || (size_t)id >= hf->n_tokens)
        return bad(hf, "post_processor", "too many tokens, or an id outside the vocabulary");
    (after ? p->after : p->before)[(*n)++] = (int32_t)id;
    return PANTRY_OK;
}

static pantry_status read_template(struct pn_hf *hf, const json_t *p)
{
    const json_t *items = json_object_get(p, "single"), *special = json_object_get(p, "special_tokens");
    bool after = false;
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i), *token = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) {
            after = true;
            continue;
        }
        const char *name = str(token, "id");
        const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;
        if (!json_array_size(ids))
            return bad(hf, "post_processor", "a template with a token that it does not define");
        for (size_t k = 0; k < json_array_size(ids); k++) {
            pantry_status status = put_around(hf, after, json_integer_value(json_array_get(ids, k)));
            if (status)
                return status;
        }
    }
    return PANTRY_OK;
}

static pantry_status read_post_step(struct pn_hf *hf, const json_t *p, const char *type)
{
    if (is(type, "TemplateProcessing"))
        return read_template(hf, p);
    if (is(type, "ByteLevel"))
        return PANTRY_OK; /* changes only offsets */
    if (is(type, "BertProcessing") || is(type, "RobertaProcessing")) {
        pantry_status status = put_around(hf, false, json_integer_value(json_array_get(json_object_get(p, "cls"), 1)));
        return status ? status : put_around(hf, true, json_integer_value(json_array_get(json_object_get(p, "sep"), 1)));
    }
    return unknown(hf, "post_processor", type);
}

/* ---- decoders ---- */

static pantry_status copy_affix(struct pn_hf *hf, const char *affix, const char *otherwise)
{
    const char *text = affix ? affix : otherwise;
    if (strlen(text) >= sizeof hf->p->decode.affix)
        return bad(hf, "decoder", "a prefix or suffix that is too long");
    memcpy(hf->p->decode.affix, text, strlen(text) + 1);
    return PANTRY_OK;
}

static pantry_status read_decode_step(struct pn_hf *hf, const json_t *d, const char *type)
{
    struct pn_decode_style *style = &hf->p->decode;
    if (is(type, "ByteLevel")) {
        style->kind = PN_DECODE_BYTES;
    } else if (is(type, "ByteFallback")) {
        style->kind = PN_DECODE_SPM;
        hf->byte_tokens = true;
    } else if (is(type, "Fuse")) {
        if (style->kind == PN_DECODE_WORDS)
            style->kind = PN_DECODE_RAW;
    } else if (is(type, "Replace")) {
        if (!is(str(json_object_get(d, "pattern"), "String"), "▁") || !is(str(d, "content"), " "))
            return unknown(hf, "decoder", "Replace of anything but U+2581 by a blank");
        style->kind = PN_DECODE_SPM;
    } else if (is(type, "Strip")) {
        if (!is(str(d, "content"), " ") || json_integer_value(json_object_get(d, "stop")) != 0 ||
            json_integer_value(json_object_get(d, "start")) > 1)
            return unknown(hf, "decoder", "Strip of anything but a blank in front");
        style->strip_first = json_integer_value(json_object_get(d, "start")) == 1;
    } else if (is(type, "Metaspace")) {
        if (!is(str(d, "replacement"), "▁"))
            return unknown(hf, "decoder", "Metaspace with another replacement");
        const char *scheme = str(d, "prepend_scheme");
        style->kind = PN_DECODE_SPM;
        style->strip_marks = scheme ? !is(scheme, "never") : flag(d, "add_prefix_space", true);
    } else if (is(type, "WordPiece")) {
        style->kind = PN_DECODE_WORDPIECE;
        style->cleanup = flag(d, "cleanup", true);
        return copy_affix(hf, str(d, "prefix"), "##");
    } else if (is(type, "BPEDecoder")) {
        style->kind = PN_DECODE_SUFFIX;
        return copy_affix(hf, str(d, "suffix"), "</w>");
    } else {
        return unknown(hf, "decoder", type);
    }
    return PANTRY_OK;
}

pantry_status pn_hf_read_before(struct pn_hf *hf)
{
    hf->p->decode.kind = PN_DECODE_WORDS;
    pantry_status status =
        read_steps(hf, json_object_get(hf->root, "normalizer"), "normalizers", read_norm_step, "normalizer", 0);
    if (!status)
        status = read_steps(hf, json_object_get(hf->root, "pre_tokenizer"), "pretokenizers", read_pre_step,
                            "pre_tokenizer", 0);
    if (!status)
        status = read_steps(hf, json_object_get(hf->root, "decoder"), "decoders", read_decode_step, "decoder", 0);
    return status;
}

pantry_status pn_hf_read_around(struct pn_hf *hf)
{
    return read_steps(hf, json_object_get(hf->root, "post_processor"), "processors", read_post_step, "post_processor",
                      0);
}
