/* Tokenizers from GGUF metadata: each key reaches its setting, at the ends of its range, and wrong types and lengths
 * are errors that name the key. The files hold only metadata, which is enough for a tokenizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf_tokenizer.h"
#include "gguf_writer.h"
#include "text/tokenizer/tokenizer_impl.h"

#define COUNT(a)  (sizeof(a) / sizeof *(a))
#define KEY(name) "tokenizer.ggml." name
enum { N_TOKENS = 16 };

static const char *const tokens[N_TOKENS] = {
    "<unk>",  "<s>",    "</s>",          "a", "b", "c", "ab", "bc", "x", "<g>", "<h>", "\xE2\x96\x81",
    "[MASK]", "<mask>", "<|endoftext|>", "y"};

/* A file whose tokenizer is called `model` (NULL: no such key), with all tokens, or the first `n`. */
static void begin(struct gw *g, const char *model, size_t n)
{
    gw_init(g);
    gw_str(g, "general.architecture", "llama");
    if (model)
        gw_str(g, KEY("model"), model);
    if (n)
        gw_strings(g, KEY("tokens"), n, tokens);
}

/* A tokenizer and the file that holds its tokens. */
struct vocab {
    struct pn_weights *weights;
    struct pn_tokenizer *tokenizer;
};

static pantry_status load(struct gw *g, struct vocab *v, struct pantry_error *err)
{
    const char *path = gw_file(g, "vocab.gguf");
    gw_free(g);
    *v = (struct vocab){0};
    if (pn_weights_inspect(path, &v->weights, err))
        fail_msg("%s", err->text);
    return pn_vocab_from_weights(v->weights, &v->tokenizer, err);
}

static void unload(struct vocab *v)
{
    pn_tokenizer_free(v->tokenizer);
    pn_weights_close(v->weights);
}

static struct vocab must_load(struct gw *g)
{
    struct pantry_error err;
    struct vocab v;
    if (load(g, &v, &err))
        fail_msg("%s", err.text);
    return v;
}

static void must_fail(struct gw *g, pantry_status status, const char *says)
{
    struct pantry_error err = {0};
    struct vocab v;
    assert_int_equal(load(g, &v, &err), status);
    unload(&v);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void must_pass(struct gw *g)
{
    struct vocab v = must_load(g);
    unload(&v);
}

static void check_ids(const struct vocab *v, const char *text, size_t n, const int32_t *wanted)
{
    struct pn_ids ids = {0};
    assert_int_equal(pn_tokenizer_encode(v->tokenizer, text, strlen(text), 0, &ids, NULL), PANTRY_OK);
    assert_int_equal(ids.len, n);
    assert_memory_equal(ids.data, wanted, n * sizeof *wanted);
    free(ids.data);
}

/* ---- special ids ---- */

#define ID(key, field)                                                                                                 \
    {                                                                                                                  \
        KEY(key), offsetof(struct pn_special_ids, field)                                                               \
    }
static const struct {
    const char *key;
    size_t field;
} id_keys[] = {
    ID("bos_token_id", bos),         ID("eos_token_id", eos),         ID("eot_token_id", eot),
    ID("eom_token_id", eom),         ID("unknown_token_id", unk),     ID("seperator_token_id", sep),
    ID("separator_token_id", sep),   ID("padding_token_id", pad),     ID("cls_token_id", cls),
    ID("mask_token_id", mask),       ID("fim_pad_token_id", fim_pad), ID("fim_rep_token_id", fim_repo),
    ID("fim_sep_token_id", fim_sep),
};

static int32_t id_of(const struct vocab *t, size_t field)
{
    int32_t id;
    memcpy(&id, (const char *)&t->tokenizer->id + field, sizeof id);
    return id;
}

/* Each id alone, in every type that a writer may use; ids outside the vocabulary count as not given. */
static void ids_reach_their_settings(void **state)
{
    (void)state;
    enum { GIVEN, NOT_GIVEN, NONE };
    static const struct {
        uint32_t type;
        int64_t value;
        int becomes;
    } values[] = {{GW_UINT32, 8, GIVEN},           {GW_UINT32, 0, GIVEN},
                  {GW_INT32, N_TOKENS - 1, GIVEN}, {GW_UINT32, N_TOKENS, NOT_GIVEN},
                  {GW_INT64, -2, NOT_GIVEN},       {GW_INT32, -1, NONE},
                  {GW_UINT32, UINT32_MAX, NONE},   {GW_UINT64, (int64_t)1 << 40, NOT_GIVEN}};
    for (size_t i = 0; i < COUNT(id_keys); i++) {
        struct gw g;
        begin(&g, "llama", N_TOKENS);
        struct vocab t = must_load(&g);
        int32_t before = id_of(&t, id_keys[i].field);
        unload(&t);
        for (size_t k = 0; k < COUNT(values); k++) {
            size_t width = values[k].type == GW_UINT64 || values[k].type == GW_INT64 ? 8 : 4;
            int32_t wanted = values[k].becomes == GIVEN  ? (int32_t)values[k].value
                             : values[k].becomes == NONE ? -1
                                                         : before;
            begin(&g, "llama", N_TOKENS);
            gw_value(&g, id_keys[i].key, values[k].type, &values[k].value, width);
            t = must_load(&g);
            if (values[k].becomes != NONE || id_keys[i].field != offsetof(struct pn_special_ids, eot))
                assert_int_equal(id_of(&t, id_keys[i].field), wanted);
            unload(&t);
        }
        begin(&g, "llama", N_TOKENS);
        gw_str(&g, id_keys[i].key, "8");
        must_fail(&g, PANTRY_FORMAT, id_keys[i].key);
    }
}

/* All ids at once, each a different token: none is confused with another. */
static void ids_are_told_apart(void **state)
{
    (void)state;
    struct gw g;
    begin(&g, "llama", N_TOKENS);
    for (size_t i = 0; i < COUNT(id_keys); i++)
        gw_u32(&g, id_keys[i].key, (uint32_t)(N_TOKENS - 1 - i));
    struct vocab t = must_load(&g);
    for (size_t i = 0; i < COUNT(id_keys); i++) /* of the two spellings of separator the correct one counts */
        assert_int_equal(id_of(&t, id_keys[i].field), N_TOKENS - 1 - (i == 5 ? 6 : (int)i));
    static const int ends[N_TOKENS] = {[14] = 1, [13] = 1, [12] = 1, [5] = 1, [4] = 1, [3] = 1};
    for (int32_t id = 0; id < N_TOKENS; id++) /* eos, eot, eom and those of fill-in-the-middle */
        assert_int_equal(pn_tokenizer_is_eog(t.tokenizer, id), ends[id]);
    assert_false(pn_tokenizer_is_eog(t.tokenizer, -1));
    assert_false(pn_tokenizer_is_eog(t.tokenizer, N_TOKENS));
    unload(&t);
}

/* The defaults of each kind; ids outside the vocabulary count as not given. */
static void kinds_have_their_ids(void **state)
{
    (void)state;
    enum { MANY = 260 };
    static const struct {
        const char *model, *pre;
        int32_t bos, eos, unk, sep, pad, mask;
        bool add_bos, add_eos, space;
    } kinds[] = {
        {"llama", NULL, 1, 2, 0, -1, -1, -1, true, false, true},
        {"bert", NULL, 101, -1, 100, 102, 0, 103, true, true, false},
        {"t5", NULL, -1, 1, 2, -1, 0, -1, false, true, false},
        {"plamo2", NULL, 1, 2, 0, -1, 3, -1, false, false, false},
        {"rwkv", NULL, -1, -1, -1, -1, -1, -1, false, false, false},
        {"gpt2", "gpt-2", 11, 11, -1, -1, -1, -1, false, false, false},
        {"gpt2", "llama-bpe", 11, 11, -1, -1, -1, -1, true, false, false},
        {"gpt2", "glm4", -1, 11, -1, -1, -1, -1, false, false, false},
        {"gpt2", NULL, 11, 11, -1, -1, -1, -1, false, false, false},
        {"whitespace", "gpt-2", 11, 11, -1, -1, -1, -1, false, false, false},
        {"hybriddna", "gpt-2", 11, 11, -1, -1, -1, -1, false, false, false},
    };
    static const size_t sizes[] = {1, 2, 3, 11, 12, 100, 101, 102, 103, MANY};
    char names[MANY][16], bytes[MANY][16];
    const char *many[MANY], *with_bytes[MANY];
    int32_t types[MANY];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "'t%d'", i); /* RWKV's tokens are spelled as in Python */
        many[i] = names[i];
        snprintf(bytes[i], sizeof bytes[i], i < 4 ? "t%d" : "<0x%02X>", i < 4 ? i : i - 4);
        with_bytes[i] = bytes[i];
        types[i] = i < 4 ? PN_TOKEN_NORMAL : PN_TOKEN_BYTE;
    }
    for (size_t i = 0; i < COUNT(kinds); i++)
        for (size_t k = 0; k < COUNT(sizes); k++) {
            const int32_t wanted[] = {kinds[i].bos, kinds[i].eos, kinds[i].unk,
                                      kinds[i].sep, kinds[i].pad, kinds[i].mask};
            bool needs_bytes = strcmp(kinds[i].model, "plamo2") == 0;
            struct gw g;
            if (needs_bytes && sizes[k] < MANY)
                continue;
            begin(&g, kinds[i].model, 0);
            if (kinds[i].pre)
                gw_str(&g, KEY("pre"), kinds[i].pre);
            gw_strings(&g, KEY("tokens"), sizes[k], needs_bytes ? with_bytes : many);
            if (needs_bytes)
                gw_array(&g, KEY("token_type"), GW_INT32, MANY, types, 4);
            struct vocab t = must_load(&g);
            const struct pn_tokenizer *v = t.tokenizer;
            const int32_t got[] = {v->id.bos, v->id.eos, v->id.unk, v->id.sep, v->id.pad, v->id.mask};
            for (size_t w = 0; w < COUNT(wanted); w++)
                if (got[w] != (wanted[w] < (int32_t)sizes[k] ? wanted[w] : -1))
                    fail_msg("%s of %zu tokens: id %zu is %d", kinds[i].model, sizes[k], w, got[w]);
            assert_true(v->id.eot == -1 && v->id.eom == -1 && v->id.cls == -1 && v->id.fim_pad == -1);
            assert_true(v->flags.add_bos == kinds[i].add_bos && v->flags.add_eos == kinds[i].add_eos);
            assert_true(v->flags.add_space_prefix == kinds[i].space && !v->flags.remove_extra_whitespaces);
            for (int32_t id = 0; id < (int32_t)sizes[k]; id++)
                assert_int_equal(pn_tokenizer_is_eog(t.tokenizer, id), id == v->id.eos);
            unload(&t);
        }
}

/* Which texts end a generation depends on the other texts of the vocabulary, but not on their order. */
static void texts_end_generations(void **state)
{
    (void)state;
    static const struct {
        const char *tokens[5];
        const char *ends; /* a digit per token, in order */
    } rows[] = {
        {{"</s>", "a", "b", "c", "d"}, "10000"},
        {{"</s>", "<|tool_response>", "b", "c", "d"}, "01000"},
        {{"</s>", "<|eom_id|>", "<|eot_id|>", "<|im_end|>", "<end_of_turn>"}, "11111"},
        {{"<|end|>", "a", "b", "c", "d"}, "10000"},
        {{"<|end|>", "<|return|>", "b", "c", "d"}, "11000"},
        {{"<|end|>", "<|return|>", "<|call|>", "c", "d"}, "01100"},
        {{"<|end|>", "<|return|>", "<|calls|>", "c", "d"}, "01100"},
        {{"<|end|>", "<|flush|>", "<|calls|>", "c", "d"}, "01100"},
        {{"<|end|>", "<|flush|>", "<|call|>", "c", "d"}, "01100"},
        {{"<|end|>", "<|flush|>", "<|return|>", "c", "d"}, "11100"},
        {{"<|end|>", "<|call|>", "b", "c", "d"}, "11000"},
        {{"<|fim_pad|>", "<fim-pad>", "<|repo_name|>", "<|file_sep|>", "[PAD]"}, "10110"},
        {{"<eos>", "[EOS]", "<turn|>", "[e~[", "_<EOT>"}, "11111"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int turn = 0; turn < 5; turn++) { /* each of them is first once */
            const char *all[5];
            int32_t types[5];
            struct gw g;
            for (int k = 0; k < 5; k++) {
                all[k] = rows[i].tokens[(k + turn) % 5];
                types[k] = strlen(all[k]) > 1 ? PN_TOKEN_CONTROL : PN_TOKEN_NORMAL;
            }
            begin(&g, "llama", 0);
            gw_strings(&g, KEY("tokens"), 5, all);
            gw_array(&g, KEY("token_type"), GW_INT32, 5, types, 4);
            gw_u32(&g, KEY("eos_token_id"), UINT32_MAX);
            struct vocab t = must_load(&g);
            for (int32_t k = 0; k < 5; k++)
                if (pn_tokenizer_is_eog(t.tokenizer, k) != (rows[i].ends[(k + turn) % 5] == '1'))
                    fail_msg("row %zu, turn %d: %s", i, turn, all[k]);
            unload(&t);
        }
}

/* Of several texts for one purpose the first in the list is taken, independent of the order in the vocabulary. */
static void first_texts_are_preferred(void **state)
{
    (void)state;
    static const char *const turn[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",         "<|endoftext|>",     "<|end_of_text|>",
        "<EOT>",      "_<EOT>",     "[EOT]",   "<｜end▁of▁sentence｜>", "<end_of_utterance>"};
    static const char *const pad[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"};
    static const char *const repo[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"};
    static const struct {
        const char *const *texts;
        size_t n;
    } lists[] = {{turn, COUNT(turn)}, {pad, COUNT(pad)}, {repo, COUNT(repo)}};
    static const int32_t types[] = {PN_TOKEN_CONTROL, PN_TOKEN_CONTROL, PN_TOKEN_NORMAL};
    for (size_t l = 0; l < COUNT(lists); l++)
        for (size_t i = 0; i + 1 < lists[l].n; i++)
            for (int32_t swapped = 0; swapped < 2; swapped++) {
                const char *both[] = {lists[l].texts[i + (size_t)swapped], lists[l].texts[i + !swapped], "a"};
                struct gw g;
                begin(&g, "llama", 0);
                gw_strings(&g, KEY("tokens"), 3, both);
                gw_array(&g, KEY("token_type"), GW_INT32, 3, types, 4);
                gw_u32(&g, KEY("eos_token_id"), UINT32_MAX);
                struct vocab t = must_load(&g);
                if (l == 0)
                    assert_int_equal(t.tokenizer->id.eot, swapped);
                assert_true(pn_tokenizer_is_eog(t.tokenizer, swapped));
                assert_int_equal(pn_tokenizer_is_eog(t.tokenizer, !swapped), l == 0);
                unload(&t);
            }
}

/* ---- flags ---- */

#define FLAG(key, field)                                                                                               \
    {                                                                                                                  \
        KEY(key), offsetof(struct pn_vocab_flags, field)                                                               \
    }
static void flags_reach_their_settings(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t field;
    } flags[] = {
        FLAG("add_bos_token", add_bos),
        FLAG("add_eos_token", add_eos),
        FLAG("add_space_prefix", add_space_prefix),
        FLAG("remove_extra_whitespaces", remove_extra_whitespaces),
        FLAG("escape_whitespaces", escape_whitespaces),
        FLAG("normalizer.lowercase", lowercase),
        FLAG("normalizer.strip_accents", strip_accents),
    };
    for (size_t i = 0; i < COUNT(flags); i++) {
        struct gw g;
        for (int value = 0; value < 2; value++) {
            begin(&g, "llama", N_TOKENS);
            gw_bool(&g, flags[i].key, value);
            struct vocab t = must_load(&g);
            assert_int_equal(*((const bool *)&t.tokenizer->flags + flags[i].field), value);
            for (size_t k = 0; k < COUNT(flags); k++) { /* the others have the defaults of the kind */
                static const bool of_llama[] = {true, false, true, false, true, false, false};
                if (k != i)
                    assert_int_equal(*((const bool *)&t.tokenizer->flags + flags[k].field), of_llama[k]);
            }
            unload(&t);
        }
        begin(&g, "llama", N_TOKENS);
        gw_u32(&g, flags[i].key, 1);
        must_fail(&g, PANTRY_FORMAT, flags[i].key);
    }
}

/* Accents are stripped if letters are lowercased, unless the file says otherwise. */
static void accents_follow_case(void **state)
{
    (void)state;
    static const struct {
        int lowercase, strip; /* -1: not given */
        bool wanted_lowercase, wanted_strip;
    } cases[] = {{-1, -1, true, true}, {0, -1, false, false}, {1, -1, true, true},
                 {0, 1, false, true},  {1, 0, true, false},   {-1, 0, true, false}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw g;
        begin(&g, "bert", N_TOKENS);
        if (cases[i].lowercase >= 0)
            gw_bool(&g, KEY("normalizer.lowercase"), cases[i].lowercase);
        if (cases[i].strip >= 0)
            gw_bool(&g, KEY("normalizer.strip_accents"), cases[i].strip);
        struct vocab t = must_load(&g);
        assert_int_equal(t.tokenizer->flags.lowercase, cases[i].wanted_lowercase);
        assert_int_equal(t.tokenizer->flags.strip_accents, cases[i].wanted_strip);
        unload(&t);
    }
}

/* ---- arrays ---- */

/* Higher scores merge first: "abc" is ab c or a bc. */
static void scores_decide(void **state)
{
    (void)state;
    static const int32_t ab_c[] = {6, 5}, a_bc[] = {3, 7};
    for (int first = 0; first < 2; first++)
        for (int as_int = 0; as_int < 2; as_int++) {
            struct gw g;
            float scores[N_TOKENS + 1] = {0};
            int32_t whole[N_TOKENS + 1] = {0};
            for (int i = 3; i < 6; i++)
                scores[i] = (float)(whole[i] = -20);
            scores[6] = (float)(whole[6] = first ? -5 : -7);
            scores[7] = (float)(whole[7] = first ? -7 : -5);
            begin(&g, "llama", N_TOKENS);
            gw_bool(&g, KEY("add_space_prefix"), false);
            gw_array(&g, KEY("scores"), as_int ? GW_INT32 : GW_FLOAT32, N_TOKENS,
                     as_int ? (void *)whole : (void *)scores, 4);
            struct vocab t = must_load(&g);
            check_ids(&t, "abc", 2, first ? ab_c : a_bc);
            unload(&t);
        }
    for (int more = -1; more < 2; more += 2) {
        struct gw g;
        float scores[N_TOKENS + 1] = {0};
        begin(&g, "llama", N_TOKENS);
        gw_array(&g, KEY("scores"), GW_FLOAT32, (uint64_t)(N_TOKENS + more), scores, 4);
        must_fail(&g, PANTRY_FORMAT,
                  more < 0 ? "tokenizer.ggml.scores: 15 items for a vocabulary of 16 tokens"
                           : "tokenizer.ggml.scores: 17 items for a vocabulary of 16 tokens");
    }
}

static void types_reach_their_tokens(void **state)
{
    (void)state;
    static const int32_t given[N_TOKENS] = {2, 3, 3, 1, 1, 1, 4, 5, 6, 0, -1, 7, 3, 1000, -2147483647 - 1, 1};
    static const int wanted[N_TOKENS] = {2, 3, 3, 1, 1, 1, 4, 5, 6, 1, 1, 1, 3, 1, 3, 1};
    static const struct {
        uint32_t type;
        size_t width;
    } stored[] = {{GW_INT32, 4}, {GW_UINT32, 4}, {GW_INT64, 8}};
    for (size_t s = 0; s < COUNT(stored); s++) {
        struct gw g;
        int64_t wide[N_TOKENS];
        for (int i = 0; i < N_TOKENS; i++)
            wide[i] = given[i];
        begin(&g, "llama", N_TOKENS);
        gw_array(&g, KEY("token_type"), stored[s].type, N_TOKENS, stored[s].width == 8 ? (const void *)wide : given,
                 stored[s].width);
        struct vocab t = must_load(&g);
        for (int32_t i = 0; i < N_TOKENS; i++) /* <|endoftext|> is special even if the file says otherwise */
            assert_int_equal(pn_tokenizer_token_type(t.tokenizer, i), wanted[i]);
        unload(&t);
    }
    struct gw g;
    begin(&g, "llama", N_TOKENS);
    gw_array(&g, KEY("token_type"), GW_INT32, N_TOKENS - 1, given, 4);
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.token_type: 15 items for a vocabulary of 16 tokens");
}

static void wrong_arrays_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *model, *key;
        uint32_t type; /* of the items; GW_ARRAY: no array at all */
        const char *says;
    } cases[] = {
        {"llama", KEY("scores"), GW_STRING, "tokenizer.ggml.scores: not an array of numbers"},
        {"llama", KEY("scores"), GW_BOOL, "tokenizer.ggml.scores: not an array of numbers"},
        {"llama", KEY("scores"), GW_ARRAY, "tokenizer.ggml.scores: not an array of numbers"},
        {"llama", KEY("token_type"), GW_FLOAT32, "tokenizer.ggml.token_type: not an array of integers"},
        {"llama", KEY("token_type"), GW_STRING, "tokenizer.ggml.token_type: not an array of integers"},
        {"llama", KEY("token_type"), GW_ARRAY, "tokenizer.ggml.token_type: not an array of integers"},
        {"gpt2", KEY("merges"), GW_INT32, "tokenizer.ggml.merges: not an array of strings"},
        {"gpt2", KEY("merges"), GW_ARRAY, "tokenizer.ggml.merges: not an array of strings"},
        {"t5", KEY("precompiled_charsmap"), GW_STRING, "tokenizer.ggml.precompiled_charsmap: not an array of bytes"},
        {"t5", KEY("precompiled_charsmap"), GW_INT32, "tokenizer.ggml.precompiled_charsmap: not an array of bytes"},
        {"t5", KEY("precompiled_charsmap"), GW_BOOL, "tokenizer.ggml.precompiled_charsmap: not an array of bytes"},
        {"t5", KEY("precompiled_charsmap"), GW_ARRAY, "tokenizer.ggml.precompiled_charsmap: not an array of bytes"},
        /* only kinds that use them read them */
        {"llama", KEY("merges"), GW_INT32, NULL},
        {"llama", KEY("precompiled_charsmap"), GW_STRING, NULL},
        {"gpt2", KEY("precompiled_charsmap"), GW_INT32, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw g;
        int32_t zeros[N_TOKENS] = {0};
        begin(&g, cases[i].model, N_TOKENS);
        if (cases[i].type == GW_ARRAY)
            gw_u32(&g, cases[i].key, 3);
        else if (cases[i].type == GW_STRING)
            gw_strings(&g, cases[i].key, N_TOKENS, tokens);
        else
            gw_array(&g, cases[i].key, cases[i].type, N_TOKENS, zeros, cases[i].type == GW_BOOL ? 1 : 4);
        if (cases[i].says)
            must_fail(&g, PANTRY_FORMAT, cases[i].says);
        else
            must_pass(&g);
    }
}

/* A map with one rule, A becomes b: SentencePiece's trie (units of darts-clone) and the text that it points to. */
static void charsmaps_are_used(void **state)
{
    (void)state;
    enum { N_UNITS = 512 };
    static uint32_t units[N_UNITS];
    float scores[N_TOKENS] = {0};
    static const int32_t with[] = {4}, without[] = {0};
    units[0] = 0x100u << 10;                 /* the root's children are at 0x100 ^ their byte */
    units[0x141] = 'A' | 1u << 8 | 1u << 10; /* A: ends a text, whose value is one unit away */
    units[0x140] = 1u << 31;                 /* the value: where its text begins */
    for (int used = 0; used < 2; used++)
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            struct gw g;
            struct pn_buf map = {0};
            uint32_t size = sizeof units;
            pn_buf_append(&map, &size, sizeof size);
            pn_buf_append(&map, units, sizeof units);
            pn_buf_append(&map, "b", 2);
            begin(&g, "t5", N_TOKENS);
            gw_u32(&g, KEY("unknown_token_id"), 0);
            gw_bool(&g, KEY("add_space_prefix"), false);
            gw_bool(&g, KEY("add_eos_token"), false);
            gw_array(&g, KEY("scores"), GW_FLOAT32, N_TOKENS, scores, 4);
            if (used)
                gw_array(&g, KEY("precompiled_charsmap"), is_signed ? GW_INT8 : GW_UINT8, map.len, map.data, 1);
            struct vocab t = must_load(&g);
            check_ids(&t, "A", 1, used ? with : without);
            unload(&t);
            pn_buf_free(&map);
        }
}

static void merges_are_used(void **state)
{
    (void)state;
    static const char *const orders[][2] = {{"a b", "b c"}, {"b c", "a b"}};
    static const int32_t wanted[][2] = {{6, 5}, {3, 7}};
    for (int k = 0; k < 2; k++) {
        struct gw g;
        begin(&g, "gpt2", N_TOKENS);
        gw_str(&g, KEY("pre"), "gpt-2");
        gw_strings(&g, KEY("merges"), 2, orders[k]);
        struct vocab t = must_load(&g);
        check_ids(&t, "abc", 2, wanted[k]);
        unload(&t);
    }
}

/* ---- what special tokens take with them ---- */

static void white_space_goes_with_some_tokens(void **state)
{
    (void)state;
    enum { L = PN_TOKEN_LSTRIP, R = PN_TOKEN_RSTRIP };
    static const int32_t types[N_TOKENS] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 4, 3, 1, 3, 3, 3, 1};
    static const struct {
        const char *model, *pre, *name, *arch;
        uint8_t wanted[N_TOKENS];
    } cases[] = {
        {"llama", NULL, "Phi-3 mini", "phi3", {[2] = R, [9] = R, [10] = R, [12] = R, [13] = R}},
        {"llama", NULL, "my PHI3 of old", "llama", {[2] = R, [9] = R, [10] = R, [12] = R, [13] = R}},
        {"llama", NULL, "phi-3", "llama", {[2] = R, [9] = R, [10] = R, [12] = R, [13] = R}},
        {"llama", NULL, "phi-2", "llama", {0}},
        {"llama", NULL, "phi-", "llama", {0}},
        {"llama", NULL, NULL, "phi3", {0}},
        {"gpt2", "gpt-2", "phi-3", "llama", {0}},
        {"gpt2", "jina-v2-es", NULL, "bert", {[13] = L}},
        {"gpt2", "jina-es", NULL, "bert", {0}},
        {"llama", NULL, NULL, "jina-bert-v3", {[13] = L}},
        {"llama", NULL, NULL, "nomic-bert-moe", {[13] = L}},
        {"llama", NULL, NULL, "nomic-bert", {0}},
        {"gpt2", "modern-bert", NULL, "llama", {[12] = L}},
        {"gpt2", "gpt-2", "ModernBERT modern-BERT", "llama", {[12] = L}},
        {"gpt2", "gpt-2", "ModernBERT", "modern-bert", {0}},
        {"gpt2", "jina-v2-de", "a modern-bert", "llama", {[12] = L, [13] = L}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw g;
        gw_init(&g);
        gw_str(&g, "general.architecture", cases[i].arch);
        if (cases[i].name)
            gw_str(&g, "general.name", cases[i].name);
        gw_str(&g, KEY("model"), cases[i].model);
        if (cases[i].pre)
            gw_str(&g, KEY("pre"), cases[i].pre);
        gw_strings(&g, KEY("tokens"), N_TOKENS, tokens);
        gw_array(&g, KEY("token_type"), GW_INT32, N_TOKENS, types, 4);
        struct vocab t = must_load(&g);
        for (int k = 0; k < N_TOKENS; k++)
            if ((t.tokenizer->tokens.attribute[k] & (L | R)) != cases[i].wanted[k])
                fail_msg("case %zu: %s takes %d", i, tokens[k], t.tokenizer->tokens.attribute[k]);
        unload(&t);
    }
}

/* ---- what is missing or wrong ---- */

static void missing_parts_are_named(void **state)
{
    (void)state;
    struct gw g;
    begin(&g, NULL, N_TOKENS);
    must_fail(&g, PANTRY_UNSUPPORTED, "the model has no tokenizer (no tokenizer.ggml.model)");
    begin(&g, "llama", 0);
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.tokens: missing");
    begin(&g, NULL, N_TOKENS);
    gw_u32(&g, KEY("model"), 1);
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.model");
    begin(&g, "gpt2", N_TOKENS);
    gw_u32(&g, KEY("pre"), 1);
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.pre");
    begin(&g, "gpt2", N_TOKENS);
    gw_str(&g, KEY("pre"), "nobody's");
    must_fail(&g, PANTRY_UNSUPPORTED, "nobody's");
    begin(&g, "abacus", N_TOKENS);
    must_fail(&g, PANTRY_UNSUPPORTED, "unknown tokenizer \"abacus\"");
    begin(&g, "llama", 0);
    gw_array(&g, KEY("tokens"), GW_INT32, 2, (const int32_t[]){1, 2}, 4);
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.tokens: not an array of strings");
    begin(&g, "llama", 0);
    gw_str(&g, KEY("tokens"), "a b c");
    must_fail(&g, PANTRY_FORMAT, "tokenizer.ggml.tokens: not an array of strings");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_reach_their_settings),
        cmocka_unit_test(ids_are_told_apart),
        cmocka_unit_test(kinds_have_their_ids),
        cmocka_unit_test(texts_end_generations),
        cmocka_unit_test(first_texts_are_preferred),
        cmocka_unit_test(flags_reach_their_settings),
        cmocka_unit_test(accents_follow_case),
        cmocka_unit_test(scores_decide),
        cmocka_unit_test(types_reach_their_tokens),
        cmocka_unit_test(wrong_arrays_are_refused),
        cmocka_unit_test(charsmaps_are_used),
        cmocka_unit_test(merges_are_used),
        cmocka_unit_test(white_space_goes_with_some_tokens),
        cmocka_unit_test(missing_parts_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
