/* tokenizer.json and SentencePiece models that the test makes. Golden ids: Hugging Face tokenizers 0.23.3 and
 * sentencepiece 0.2.3 with the same files. A file that is cut off or wrong is an error. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "pantry.h"
#include "text/tokenizer/tokenizer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pn_tokenizer *from_json(const char *json)
{
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    if (pn_tokenizer_from_json(json, strlen(json), NULL, NULL, &t, &err))
        fail_msg("%s", err.text);
    return t;
}

static void expect(const struct pn_tokenizer *t, const char *text, const char *want, const char *decoded)
{
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    struct pn_buf shown = {0}, back = {0};
    if (pn_tokenizer_encode(t, text, strlen(text), PN_TOKENIZE_SPECIAL | PN_TOKENIZE_BOS, &ids, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ids.len; i++)
        pn_buf_printf(&shown, i ? " %d" : "%d", ids.data[i]);
    assert_string_equal(shown.data ? shown.data : "", want);
    assert_int_equal(pn_tokenizer_decode(t, ids.data, ids.len, true, &back, &err), PANTRY_OK);
    assert_string_equal(back.data ? back.data : "", decoded);
    free(ids.data);
    pn_buf_free(&shown);
    pn_buf_free(&back);
}

static const char llama_json[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<unk>\",\"special\":true,\"normalized\":false},"
    "{\"id\":7,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"
    "{\"id\":8,\"content\":\"the\",\"single_word\":true,\"rstrip\":true,\"normalized\":true,\"special\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"▁\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}]},"
    "\"pre_tokenizer\":null,"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[7],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"▁\"},\"content\":"
    "\" "
    "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
    "\",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<unk>\":3,\"▁\":4,\"▁a\":5,\"<0x41>\":6,\"<s>\":7},"
    "\"merges\":[\"a b\",\"▁ a\"]}}";

static bool adds_bos(const struct pn_tokenizer *t)
{
    size_t n;
    const int32_t *before = pn_tokenizer_around(t, false, &n);
    return n == 1 && before[0] == pn_tokenizer_bos(t);
}

static void json_like_llama(void **state)
{
    (void)state;
    struct pn_tokenizer *t = from_json(llama_json);
    expect(t, "ab a", "7 4 2 5", "<s> ab a");
    expect(t, "zzA<s>b", "7 4 6 3 7 4 1", "<s> A<unk><s> b");
    assert_true(adds_bos(t));
    assert_int_equal(pn_tokenizer_bos(t), 7);
    pn_tokenizer_free(t);
}

static void json_byte_level(void **state)
{
    (void)state;
    struct pn_tokenizer *t = from_json(
        "{\"added_tokens\":[{\"id\":5,\"content\":\"[MASK]\",\"special\":true,\"lstrip\":true,\"normalized\":false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true},"
        "\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"Ġ\":3,\"Ġab\":4},\"merges\":[[\"a\",\"b\"],[\"Ġ\",\"ab\"]]}"
        "}");
    expect(t, "ab ab  [MASK]ab", "4 4 5 4", " ab ab[MASK] ab");
    pn_tokenizer_free(t);
}

static void put_varint(struct pn_buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        pn_buf_putc(b, (char)(v | 0x80));
    pn_buf_putc(b, (char)v);
}

static void put_bytes(struct pn_buf *b, unsigned field, const void *data, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    pn_buf_append(b, data, n);
}

static void put_piece(struct pn_buf *model, const char *text, float score, unsigned type)
{
    struct pn_buf piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    pn_buf_putc(&piece, 2 << 3 | 5);
    pn_buf_append(&piece, &score, sizeof score);
    put_varint(&piece, 3 << 3);
    put_varint(&piece, type);
    put_bytes(model, 1, piece.data, piece.len);
    pn_buf_free(&piece);
}

static void make_model(struct pn_buf *model, unsigned type)
{
    static const char *const pieces[] = {"▁", "a", "b", "c", "▁a", "ab", "▁ab", "bc", "abc"};
    struct pn_buf trainer = {0}, normalizer = {0};
    put_piece(model, "<unk>", 0, 2);
    put_piece(model, "<s>", 0, 3);
    put_piece(model, "</s>", 0, 3);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        put_piece(model, pieces[i], -(float)i - 1, 1);
    put_piece(model, "<x>", 0, 4);
    put_varint(&trainer, 3 << 3);
    put_varint(&trainer, type);
    put_bytes(model, 2, trainer.data, trainer.len);
    put_bytes(&normalizer, 1, "identity", 8);
    put_bytes(model, 3, normalizer.data, normalizer.len);
    pn_buf_free(&trainer);
    pn_buf_free(&normalizer);
}

static void sentencepiece_models(void **state)
{
    (void)state;
    for (unsigned type = 1; type <= 2; type++) {
        struct pn_buf model = {0};
        struct pn_tokenizer *t = NULL;
        struct pantry_error err = {0};
        make_model(&model, type);
        if (pn_tokenizer_from_sentencepiece(model.data, model.len, NULL, &t, &err))
            fail_msg("%s", err.text);
        pn_buf_free(&model); /* not needed afterwards */
        if (type == 1)
            expect(t, "  abc  ab z<x> ", "1 3 11 3 4 5 3 0 12", "<s> abc ab <unk><x>");
        else
            expect(t, "  abc  ab z<x> ", "1 9 6 9 3 0 12", "<s> abc ab <unk><x>");
        pn_tokenizer_free(t);
    }
}

static void cut_off_models(void **state)
{
    (void)state;
    struct pn_buf model = {0};
    make_model(&model, 2);
    for (size_t n = 0; n < model.len; n++) {
        struct pn_tokenizer *t = NULL;
        char *copy = malloc(n ? n : 1); /* exactly this size, so that a sanitizer sees reads beyond it */
        memcpy(copy, model.data, n);
        pn_tokenizer_from_sentencepiece(copy, n, NULL, &t, NULL);
        pn_tokenizer_free(t);
        free(copy);
    }
    struct pn_rng rng = {.state = 4};
    for (int round = 0; round < 3000; round++) {
        struct pn_tokenizer *t = NULL;
        char *copy = malloc(model.len);
        memcpy(copy, model.data, model.len);
        for (int k = 0; k < 3; k++)
            copy[pn_rng_u64(&rng) % model.len] = (char)pn_rng_u64(&rng);
        pn_tokenizer_from_sentencepiece(copy, model.len, NULL, &t, NULL);
        pn_tokenizer_free(t);
        free(copy);
    }
    pn_buf_free(&model);
}

static void cut_off_json(void **state)
{
    (void)state;
    struct pn_rng rng = {.state = 6};
    size_t len = sizeof llama_json - 1;
    for (size_t n = 0; n < len; n++) {
        struct pn_tokenizer *t = NULL;
        assert_int_not_equal(pn_tokenizer_from_json(llama_json, n, NULL, NULL, &t, NULL), PANTRY_OK);
    }
    for (int round = 0; round < 4000; round++) {
        struct pn_tokenizer *t = NULL;
        char copy[sizeof llama_json];
        memcpy(copy, llama_json, sizeof copy);
        for (int k = 0; k < 2; k++)
            copy[pn_rng_u64(&rng) % len] = "09{}[]\",:-aeltrufsn"[pn_rng_u64(&rng) % 19];
        if (!pn_tokenizer_from_json(copy, len, NULL, NULL, &t, NULL)) {
            struct pn_ids ids = {0};
            assert_int_equal(pn_tokenizer_encode(t, "ab the a", 8, PN_TOKENIZE_SPECIAL, &ids, NULL), PANTRY_OK);
            free(ids.data);
        }
        pn_tokenizer_free(t);
    }
}

static void refused(const char *json, pantry_status status, const char *word)
{
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    assert_int_equal(pn_tokenizer_from_json(json, strlen(json), NULL, NULL, &t, &err), status);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" does not say %s", err.text, word);
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}"

static void unknown_parts_are_named(void **state)
{
    (void)state;
    refused("[]", PANTRY_FORMAT, "vocabulary");
    refused("{" MODEL ",\"normalizer\":{\"type\":\"Rot13\"}}", PANTRY_UNSUPPORTED, "normalizer of type \"Rot13\"");
    refused("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Magic\"}}", PANTRY_UNSUPPORTED,
            "pre_tokenizer of type \"Magic\"");
    refused("{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", PANTRY_UNSUPPORTED, "decoder of type \"CTC\"");
    refused("{" MODEL ",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":2,\"stop\":0}}", PANTRY_UNSUPPORTED,
            "decoder of type \"Strip of anything but a blank in front\"");
    refused("{" MODEL ",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}}", PANTRY_UNSUPPORTED,
            "decoder of type \"Strip");
    refused("{" MODEL ",\"decoder\":{\"type\":\"Strip\",\"content\":\"x\",\"start\":1,\"stop\":0}}", PANTRY_UNSUPPORTED,
            "decoder of type \"Strip");
    refused("{" MODEL ",\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\" \"}}",
            PANTRY_UNSUPPORTED, "decoder of type \"Replace");
    refused("{" MODEL ",\"post_processor\":{\"type\":\"Other\"}}", PANTRY_UNSUPPORTED, "Other");
    refused("{\"model\":{\"type\":\"Phrases\",\"vocab\":{\"a\":0}}}", PANTRY_UNSUPPORTED, "Phrases");
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
            PANTRY_UNSUPPORTED, "Unigram");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", PANTRY_FORMAT, "id");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", PANTRY_FORMAT, "id");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[1]}}", PANTRY_FORMAT, "merge");
    refused("{" MODEL ",\"added_tokens\":[{\"id\":99999999,\"content\":\"x\"}]}", PANTRY_FORMAT, "id");
    refused("{" MODEL
            ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}}",
            PANTRY_FORMAT, "regular expression");
    refused("{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAEAAA==\"}}",
            PANTRY_FORMAT, "map");
}

static void expect_ids(const struct pn_tokenizer *t, const char *text, size_t n, const int32_t *want)
{
    struct pantry_error err = {0};
    struct pn_ids ids = {0};
    if (pn_tokenizer_encode(t, text, strlen(text), 0, &ids, &err))
        fail_msg("%s", err.text);
    assert_int_equal(ids.len, n);
    assert_memory_equal(ids.data, want, n * sizeof *want);
    free(ids.data);
}

static void expect_decoded(const struct pn_tokenizer *t, const char *want, size_t n, const int32_t *ids)
{
    struct pn_buf out = {0};
    assert_int_equal(pn_tokenizer_decode(t, ids, n, true, &out, NULL), PANTRY_OK);
    assert_string_equal(out.data, want);
    pn_buf_free(&out);
}

/* Whole words only; without a token for unknown words, they are an error, as in the reference. */
static void json_words(void **state)
{
    (void)state;
    struct pn_tokenizer *t = from_json("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"the\":0,\"cat\":1,\"?\":2},"
                                       "\"unk_token\":\"?\"},\"pre_tokenizer\":{\"type\":\"Whitespace\"}}");
    expect_ids(t, "the cats the\ncat", 4, (const int32_t[]){0, 2, 0, 1});
    expect_decoded(t, "the cat", 2, (const int32_t[]){0, 1});
    pn_tokenizer_free(t);
    /* An old file does not name its kind. */
    t = from_json("{\"model\":{\"vocab\":{\"the\":0,\"cat\":1},\"unk_token\":\"?\"},"
                  "\"pre_tokenizer\":{\"type\":\"Whitespace\"}}");
    struct pn_ids ids = {0};
    struct pantry_error err = {0};
    expect_ids(t, "cat the", 2, (const int32_t[]){1, 0});
    assert_int_equal(pn_tokenizer_encode(t, "cat dog", 7, 0, &ids, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "dog"));
    free(ids.data);
    pn_tokenizer_free(t);
}

/* A ByteLevel normalizer spells bytes in GPT-2's alphabet; later steps see its characters. */
static void json_bytes_spelled_out(void **state)
{
    (void)state;
    struct pn_tokenizer *t =
        from_json("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xC4\xA0\":1,\"\xC3\x83\":2,\"\xC2\xA9\":3,"
                  "\"\xC3\x83\xC2\xA9\":4,\"\xC4\xA0"
                  "a\":5,\"\u6f22\":6},\"merges\":[\"\xC3\x83 \xC2\xA9\",\"\xC4\xA0 a\"]},"
                  "\"normalizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}}");
    expect_ids(t, "a\xC3\xA9 a ", 4, (const int32_t[]){0, 4, 5, 1});
    expect_decoded(t, "a\xC3\xA9 a \u6f22", 5, (const int32_t[]){0, 4, 5, 1, 6});
    expect_decoded(t, "\xC3\xA9", 2, (const int32_t[]){2, 3});
    struct pn_buf bytes = {0};
    assert_int_equal(pn_tokenizer_token_bytes(t, 4, &bytes, NULL), PANTRY_OK);
    assert_string_equal(bytes.data, "\xC3\xA9");
    pn_buf_free(&bytes);
    pn_tokenizer_free(t);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void directories(void **state)
{
    (void)state;
    char dir[256], path[512];
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pantry-tokenizer-XXXXXX", base && *base ? base : "/tmp");
    struct pantry_error err = {0};
    struct pn_tokenizer *t = NULL;
    struct pn_buf template = {0};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pantry_tokenizer_load(dir, &(pantry_tokenizer *){NULL}, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, dir));
    write_file(dir, "tokenizer.json", llama_json);
    write_file(dir, "tokenizer_config.json",
               "{\"model_max_length\":1000000000000000019884624838656,\"bos_token\":{\"content\":\"<s>\"},\"eos_"
               "token\":\"ab\","
               "\"chat_template\":[{\"name\":\"default\",\"template\":\"{{x}}\"}]}");
    write_file(dir, "generation_config.json", "{\"eos_token_id\":[2,5,-1,1000000]}");
    if (pn_tokenizer_from_hf(dir, NULL, &t, &template, &err))
        fail_msg("%s", err.text);
    assert_string_equal(template.data, "{{x}}");
    pantry_tokenizer *loaded = NULL;
    int32_t *ids;
    size_t n;
    assert_int_equal(pantry_tokenizer_load(dir, &loaded, &err), PANTRY_OK);
    assert_int_equal(pantry_tokenize(loaded, "ab a", 4, PANTRY_TOKENIZE_BOS, &ids, &n, &err), PANTRY_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(ids, ((const int32_t[]){7, 4, 2, 5}), sizeof(int32_t[4]));
    assert_true(pantry_token_ends_generation(loaded, 5));
    pantry_free(ids);
    pantry_tokenizer_free(loaded);
    assert_int_equal(pn_tokenizer_eos(t), 2);
    assert_true(pn_tokenizer_is_eog(t, 2));
    assert_true(pn_tokenizer_is_eog(t, 5));
    assert_false(pn_tokenizer_is_eog(t, 4));
    pn_tokenizer_free(t);
    pn_buf_free(&template);
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_like_llama),      cmocka_unit_test(json_byte_level),
        cmocka_unit_test(sentencepiece_models), cmocka_unit_test(cut_off_models),
        cmocka_unit_test(cut_off_json),         cmocka_unit_test(unknown_parts_are_named),
        cmocka_unit_test(json_words),           cmocka_unit_test(json_bytes_spelled_out),
        cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
