/* The public functions: descriptions, facts of a model, its options, tokens, templates, parsed answers, and the errors
 * that pantry.h promises. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "compare.h"
#include "pantry.h"
#include "script_model.h"
#include "tiny_encoder.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- descriptions ---- */

static json_t *describe(const char *path)
{
    struct pantry_error error;
    char *text;
    if (pantry_describe(path, &text, &error))
        fail_msg("%s", error.text);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    pantry_free(text);
    return root;
}

static void equals(json_t *got, const char *wanted)
{
    json_error_t e;
    json_t *w = json_loads(wanted, JSON_DECODE_ANY, &e);
    if (!w)
        fail_msg("%s in %s", e.text, wanted);
    if (!got || !json_equal(got, w)) {
        char *text = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
        fail_msg("%s instead of %s", text ? text : "nothing", wanted);
    }
    json_decref(w);
}

/* Every kind of metadata, and tensors of several types, one of them unknown. */
static void write_odd_file(struct gw *g)
{
    static const int32_t nine[] = {1, -2, 3, 4, 5, 6, 7, 8, 9};
    static const float floats[] = {0.5f, -INFINITY, NAN, 2};
    static const unsigned char bools[] = {1, 0};
    static const char *const strings[] = {"a", "\xC3\xA9", "b\xFF"}, *const tokens[] = {"x", "y", "z"};
    static const char data[128];
    gw_init(g);
    gw_str(g, "general.architecture", "odd");
    gw_str(g, "general.name", "caf\xE9 \xC3\xA9");
    gw_str(g, "general.license", "mit");
    gw_str(g, "general.license.text", "Permission is granted");
    gw_u32(g, "odd.block_count", 3);
    gw_f32(g, "odd.scale", 0.25f);
    gw_u32(g, "odd.", 4);  /* nothing after the prefix */
    gw_u32(g, "oddly", 5); /* and no prefix at all */
    gw_u32(g, "odd.x", 6);
    gw_f64(g, "no.number", NAN);
    gw_bool(g, "yes", true);
    gw_bool(g, "no", false);
    gw_i64(g, "below", -5000000000);
    gw_array(g, "eight", GW_INT32, 8, nine, 4);
    gw_array(g, "nine", GW_INT32, 9, nine, 4);
    gw_array(g, "unsigned", GW_UINT8, 3, "\x01\xFF\x03", 1);
    gw_array(g, "floats", GW_FLOAT32, 4, floats, 4);
    gw_array(g, "bools", GW_BOOL, 2, bools, 1);
    gw_strings(g, "strings", 3, strings);
    gw_array(g, "none", GW_INT32, 0, NULL, 4);
    gw_str(g, "tokenizer.ggml.model", "gpt2");
    gw_str(g, "tokenizer.ggml.pre", "p");
    gw_u32(g, "tokenizer.ggml.bos_token_id", 1);
    gw_u32(g, "tokenizer.ggml.eos_token_id", 2);
    gw_u32(g, "tokenizer.ggml.eot_token_id", 3);
    gw_u32(g, "tokenizer.ggml.unknown_token_id", 4);
    gw_u32(g, "tokenizer.ggml.padding_token_id", 5);
    gw_bool(g, "tokenizer.ggml.add_bos_token", true);
    gw_bool(g, "tokenizer.ggml.add_eos_token", false);
    gw_strings(g, "tokenizer.ggml.tokens", 3, tokens);
    gw_str(g, "tokenizer.chat_template", "{{ x }}");
    gw_tensor(g, "a", GW_F32, 2, (const int64_t[]){2, 3}, data, 24);
    gw_tensor(g, "b", GW_F16, 1, (const int64_t[]){5}, data, 10);
    gw_tensor(g, "c", GW_F32, 3, (const int64_t[]){2, 3, 4}, data, 96);
    gw_tensor_claim(g, "d", 1, 250, 1, (const uint64_t[]){7}, 1, 160);
    gw_data(g, data, 32);
}

static void files_are_described(void **state)
{
    (void)state;
    struct gw g;
    write_odd_file(&g);
    json_t *root = describe(gw_file(&g, "odd.gguf"));
    gw_free(&g);
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"format", "\"gguf v3\""},
        {"architecture", "\"odd\""},
        {"name", "\"caf? ??\""}, /* one byte is not UTF-8, so only ASCII is kept */
        {"license", "\"mit\""},
        {"license_text", "\"Permission is granted\""},
        {"hyperparameters", "{\"block_count\":3,\"scale\":0.25,\"x\":6}"},
        {"tokenizer", "{\"model\":\"gpt2\",\"pre\":\"p\",\"bos\":1,\"eos\":2,\"eot\":3,\"unk\":4,\"pad\":5,"
                      "\"add_bos\":true,\"add_eos\":false,\"n_vocab\":3}"},
        {"template", "\"{{ x }}\""},
        {"n_params", "42"}, /* 6 + 5 + 24 + 7 */
        {"size_bytes", "130"},
        {"n_tensors", "4"},
        {"types", "{\"f32\":{\"tensors\":2,\"bytes\":120},\"f16\":{\"tensors\":1,\"bytes\":10},"
                  "\"unknown\":{\"tensors\":1,\"bytes\":0}}"},
        {"tensors", "[{\"name\":\"a\",\"type\":\"f32\",\"shape\":[2,3],\"bytes\":24},"
                    "{\"name\":\"b\",\"type\":\"f16\",\"shape\":[5],\"bytes\":10},"
                    "{\"name\":\"c\",\"type\":\"f32\",\"shape\":[2,3,4],\"bytes\":96},"
                    "{\"name\":\"d\",\"type\":\"unknown\",\"shape\":[7],\"bytes\":0}]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        equals(json_object_get(root, cases[i].key), cases[i].value);
    static const struct {
        const char *key, *value;
    } metadata[] = {
        {"odd.", "4"},
        {"oddly", "5"},
        {"no.number", "null"},
        {"yes", "true"},
        {"no", "false"},
        {"below", "-5000000000"},
        {"eight", "[1,-2,3,4,5,6,7,8]"},
        {"nine", "[1,-2,3,4,5,6,7,8,\"... 1 more\"]"},
        {"unsigned", "[1,255,3]"},
        {"floats", "[0.5,null,null,2.0]"},
        {"bools", "[true,false]"},
        {"strings", "[\"a\",\"\\u00e9\",\"b?\"]"},
        {"none", "[]"},
        {"tokenizer.ggml.tokens", "[\"x\",\"y\",\"z\"]"},
    };
    json_t *all = json_object_get(root, "metadata");
    assert_int_equal(json_object_size(all), 31);
    for (size_t i = 0; i < COUNT(metadata); i++)
        equals(json_object_get(all, metadata[i].key), metadata[i].value);
    assert_non_null(
        strstr(json_string_value(json_object_get(root, "runs")), "tensor d")); /* the tensor it cannot run */
    json_decref(root);
}

/* Missing facts are left out; long texts are cut, except the license and the template. */
static void little_is_described_with_little(void **state)
{
    (void)state;
    enum { MOST = 4096 };
    static char longer[MOST + 11], cut[MOST + 3], accent[MOST + 2], accent_cut[MOST + 3];
    struct gw g;
    gw_init(&g);
    json_t *root = describe(gw_file(&g, "empty.gguf"));
    gw_free(&g);
    static const char *const absent[] = {"architecture", "name", "license", "license_text", "tokenizer", "template"};
    for (size_t i = 0; i < COUNT(absent); i++)
        assert_null(json_object_get(root, absent[i]));
    equals(json_object_get(root, "hyperparameters"), "{}");
    equals(json_object_get(root, "types"), "{}");
    equals(json_object_get(root, "tensors"), "[]");
    assert_true(json_is_string(json_object_get(root, "runs")));
    json_decref(root);

    memset(longer, 'l', MOST + 10);
    snprintf(cut, sizeof cut, "%.*s", MOST, longer);
    snprintf(accent, sizeof accent, "%.*s\xC3\xA9", MOST - 1, longer);
    snprintf(accent_cut, sizeof accent_cut, "%.*s?", MOST - 1, longer);
    gw_init(&g);
    gw_str(&g, "general.license.text", longer);
    gw_str(&g, "tokenizer.chat_template", longer);
    gw_str(&g, "general.name", longer);
    gw_str(&g, "accent", accent); /* cut inside the character */
    gw_strings(&g, "list", 1, (const char *const[]){longer});
    root = describe(gw_file(&g, "long.gguf"));
    gw_free(&g);
    json_t *all = json_object_get(root, "metadata");
    assert_string_equal(json_string_value(json_object_get(root, "license_text")), longer);
    assert_string_equal(json_string_value(json_object_get(root, "template")), longer);
    assert_string_equal(json_string_value(json_object_get(root, "name")), cut);
    assert_string_equal(json_string_value(json_object_get(all, "accent")), accent_cut);
    assert_string_equal(json_string_value(json_array_get(json_object_get(all, "list"), 0)), cut);
    json_decref(root);
}

static void describing_tells_what_runs(void **state)
{
    (void)state;
    struct pantry_error error;
    char *text;
    json_t *root = describe(tiny_model("llama", GW_F32, "tiny.gguf"));
    equals(json_object_get(root, "runs"), "true");
    json_decref(root);
    root = describe(tiny_encoder("bert"));
    equals(json_object_get(root, "runs"), "true");
    json_decref(root);
    struct gw g;
    gw_init(&g);
    gw_str(&g, "general.architecture", "abacus");
    root = describe(gw_file(&g, "abacus.gguf"));
    gw_free(&g);
    assert_non_null(strstr(json_string_value(json_object_get(root, "runs")), "abacus"));
    json_decref(root);
    assert_int_equal(pantry_describe(gw_temp("absent"), &text, &error), PANTRY_NOT_FOUND);
    assert_null(text);
    assert_int_equal(pantry_describe(gw_put("no.gguf", "GGUF", 4), &text, &error), PANTRY_FORMAT);
    assert_int_equal(pantry_check(gw_temp("no.gguf"), &error), PANTRY_FORMAT);
    assert_int_equal(pantry_check(gw_temp("tiny.gguf"), &error), PANTRY_OK);
}

/* ---- models ---- */

static pantry_status load_with(const char *path, struct pantry_model_options o, pantry_model **model,
                               struct pantry_error *error)
{
    o.size = sizeof o;
    o.device = o.device ? o.device : "ref";
    return pantry_model_load(path, &o, model, error);
}

static pantry_model *load(const char *path)
{
    struct pantry_error error;
    pantry_model *model;
    if (load_with(path, pantry_model_options_default(), &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static void facts_are_counted(void **state)
{
    (void)state;
    struct gw g;
    struct pantry_model_info info = {.size = sizeof info};
    tiny_model_init(&g, "llama", GW_F16);
    gw_str(&g, "general.name", "Tiny");
    gw_u32(&g, "general.license", 7); /* not a text */
    pantry_model *model = load(gw_file(&g, "facts.gguf"));
    gw_free(&g);
    pantry_model_info(model, &info, NULL);
    /* per layer: q and output of 32 x 32, k and v of 16 x 32, three of 48 x 32, two norms */
    uint64_t layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32, norms = TINY_LAYERS * 2 * 32 + 32;
    uint64_t matrices = TINY_LAYERS * layer + 2 * TINY_VOCAB * 32;
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.name, "Tiny");
    assert_string_equal(info.license, "");
    assert_string_equal(info.tokenizer, "");
    assert_string_equal(info.format, "gguf v3");
    assert_int_equal(info.pooling, PANTRY_POOLING_LAST);
    assert_int_equal(info.n_params, matrices + norms);
    assert_int_equal(info.size_bytes, 2 * matrices + 4 * norms);
    /* a step reads one row of the embedding */
    assert_in_range(info.step_bytes, 2 * (matrices - TINY_VOCAB * 32) + 4 * norms,
                    2 * (matrices - TINY_VOCAB * 32 + 32) + 4 * norms);
    const int counts[] = {info.n_vocab,   info.n_layer, info.n_embd,          info.n_head,
                          info.n_head_kv, info.n_ff,    info.n_context_train, info.n_embedding};
    const int wanted[] = {TINY_VOCAB,    TINY_LAYERS, TINY_EMBD,    TINY_HEADS,
                          TINY_HEADS_KV, TINY_FF,     TINY_CONTEXT, TINY_EMBD};
    assert_memory_equal(counts, wanted, sizeof wanted);
    assert_true(info.generates && !info.ranks && !info.has_tokenizer);
    assert_null(pantry_model_tokenizer(model));
    size_t n = 5;
    assert_null(pantry_model_template(model, &n));
    assert_int_equal(n, 0);
    assert_null(pantry_model_template(model, NULL));
    pantry_model_free(model);

    model = load(tiny_encoder("bert"));
    pantry_model_info(model, &info, NULL);
    assert_true(!info.generates && info.ranks && info.has_tokenizer);
    assert_string_equal(info.tokenizer, "bert");
    assert_int_equal(info.pooling, PANTRY_POOLING_MEAN);
    pantry_model_free(model);
    pantry_model_free(NULL);
}

static void poolings_have_names(void **state)
{
    (void)state;
    static const struct {
        uint32_t number;
        const char *name;
    } cases[] = {{0, "last"}, {1, "mean"}, {2, "cls"}, {3, "last"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw g;
        struct pantry_model_info info = {.size = sizeof info};
        tiny_model_init(&g, "llama", GW_F32);
        gw_u32(&g, "llama.pooling_type", cases[i].number);
        pantry_model *model = load(gw_file(&g, "pooling.gguf"));
        gw_free(&g);
        pantry_model_info(model, &info, NULL);
        assert_string_equal(pantry_pooling_name(info.pooling), cases[i].name);
        pantry_model_free(model);
    }
}

static void logits_of(pantry_model *model, float *out)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6};
    pantry_session *session;
    assert_int_equal(pantry_session_new(model, NULL, &session, NULL), PANTRY_OK);
    assert_int_equal(pantry_logits(session, ids, COUNT(ids), NULL, 0, out, NULL), PANTRY_OK);
    pantry_session_free(session);
}

/* Each option has its effect, and no other. */
static void options_reach_what_they_name(void **state)
{
    (void)state;
    enum { N = 8 * TINY_VOCAB };
    static const struct {
        struct pantry_model_options o;
        int n_context;
        bool same; /* the logits are those without options */
        const char *device;
    } cases[] = {
        {{0}, 256, true, "ref"},
        {{.rope_scaling = "none"}, 256, true, "ref"},
        {{.rope_factor = 2}, 512, false, "ref"},
        {{.rope_scaling = "linear", .rope_factor = 3}, 768, false, "ref"},
        {{.rope_scaling = "yarn", .rope_factor = 2}, 512, false, "ref"},
        {{.rope_freq_base = 10000}, 256, true, "ref"}, /* the default */
        {{.rope_freq_base = 500}, 256, false, "ref"},
        {{.device = "cpu", .n_threads = 1, .isa = "generic"}, 256, true, "cpu (generic, 1 thread)"},
        {{.device = "cpu", .n_threads = 3, .isa = "generic"}, 256, true, "cpu (generic, 3 threads)"},
    };
    static float plain[N], got[N];
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    pantry_model *model = load(path);
    logits_of(model, plain);
    pantry_model_free(model);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error;
        struct pantry_model_info info = {.size = sizeof info};
        if (load_with(path, cases[i].o, &model, &error))
            fail_msg("%s", error.text);
        pantry_model_info(model, &info, NULL);
        assert_int_equal(info.n_context_train, cases[i].n_context);
        assert_int_equal(strncmp(info.device, cases[i].device, strlen(cases[i].device)), 0);
        logits_of(model, got);
        double e = nmse(got, plain, N);
        if (cases[i].same ? !(e < 1e-6) : !(e > 1e-6))
            fail_msg("case %zu: NMSE %g", i, e);
        pantry_model_free(model);
    }
    assert_int_equal(pantry_model_load(path, NULL, &model, NULL), PANTRY_OK);
    pantry_model_free(model);
}

static void loading_tells_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        struct pantry_model_options o;
        pantry_status status;
        const char *says;
    } cases[] = {
        {{.device = "abacus"}, PANTRY_NOT_FOUND, "unknown device (found \"abacus\""},
        {{.device = "cpu", .isa = "abacus"}, PANTRY_INVALID, "no instruction set \"abacus\""},
        {{.device = "cpu", .n_threads = -1}, PANTRY_INVALID, ""},
        {{.rope_scaling = "abacus"}, PANTRY_INVALID, "abacus"},
        {{.rope_factor = -1}, PANTRY_INVALID, ""},
    };
    struct pantry_error error;
    pantry_model *model;
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    for (size_t i = 0; i < COUNT(cases); i++) {
        pantry_status status = load_with(path, cases[i].o, &model, &error);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(error.status, status);
        assert_null(model);
        if (!strstr(error.text, cases[i].says))
            fail_msg("%s", error.text);
    }
    assert_int_equal(load_with(gw_temp("absent"), cases[0].o, &model, &error), PANTRY_NOT_FOUND);
    assert_null(model);
    /* With an unknown tokenizer a model still takes ids; a broken tokenizer is an error. */
    struct gw g;
    tiny_model_init(&g, "llama", GW_F32);
    gw_str(&g, "tokenizer.ggml.model", "abacus");
    struct pantry_error untouched = {PANTRY_OK, "as it was"}; /* a successful call writes no error */
    assert_int_equal(load_with(gw_file(&g, "unknown.gguf"), pantry_model_options_default(), &model, &untouched),
                     PANTRY_OK);
    assert_string_equal(untouched.text, "as it was");
    gw_free(&g);
    assert_null(pantry_model_tokenizer(model));
    pantry_model_free(model);
    tiny_model_init(&g, "llama", GW_F32);
    gw_str(&g, "tokenizer.ggml.model", "gpt2");
    assert_int_equal(load_with(gw_file(&g, "broken.gguf"), pantry_model_options_default(), &model, &error),
                     PANTRY_FORMAT);
    gw_free(&g);
    assert_non_null(strstr(error.text, "tokenizer.ggml.tokens: missing"));
}

/* ---- tokens ---- */

enum { N_TOKENS = 6, BOS = 4, EOS = 5 };
static const char *const pieces[N_TOKENS] = {"a", "b", "c", "ab", "<bos>", "<eos>"};

/* A model with six tokens and, if given, a chat template. */
static const char *small_model(const char *template)
{
    static float table[SCRIPT_CONTEXT * N_TOKENS];
    struct gw g;
    script_model_init(&g, table, N_TOKENS);
    script_tokenizer(&g, pieces, N_TOKENS, EOS);
    gw_u32(&g, "tokenizer.ggml.bos_token_id", BOS);
    gw_bool(&g, "tokenizer.ggml.add_bos_token", true);
    if (template)
        gw_str(&g, "tokenizer.chat_template", template);
    const char *path = gw_file(&g, "small.gguf");
    gw_free(&g);
    return path;
}

static void texts_become_tokens_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned flags;
        size_t n;
        int32_t ids[12];
    } cases[] = {
        {"cab", 0, 2, {2, 3}},
        {"cab", PANTRY_TOKENIZE_BOS, 3, {BOS, 2, 3}},
        {"c<eos>", PANTRY_TOKENIZE_SPECIAL, 2, {2, EOS}},
        {"c<eos>", PANTRY_TOKENIZE_SPECIAL | PANTRY_TOKENIZE_BOS, 3, {BOS, 2, EOS}},
        {"c", PANTRY_TOKENIZE_BOS, 2, {BOS, 2}},
        {"", 0, 0, {0}},
        {"", PANTRY_TOKENIZE_BOS, 1, {BOS}},
    };
    struct pantry_error error;
    pantry_model *model = load(small_model(NULL));
    pantry_tokenizer *own;
    assert_int_equal(pantry_tokenizer_load(gw_temp("small.gguf"), &own, &error), PANTRY_OK);
    const pantry_tokenizer *both[] = {pantry_model_tokenizer(model), own};
    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        int32_t *ids = NULL;
        size_t n = 99;
        const char *text = cases[i / 2].text;
        assert_int_equal(pantry_tokenize(both[i % 2], text, strlen(text), cases[i / 2].flags, &ids, &n, &error),
                         PANTRY_OK);
        assert_non_null(ids);
        assert_int_equal(n, cases[i / 2].n);
        assert_memory_equal(ids, cases[i / 2].ids, n * sizeof *ids);
        pantry_free(ids);
    }
    char *text;
    size_t len = 0;
    static const int32_t said[] = {BOS, 2, 3, EOS};
    assert_int_equal(pantry_detokenize(own, said, 4, 0, &text, &len, &error), PANTRY_OK);
    assert_string_equal(text, "cab");
    assert_int_equal(len, 3);
    pantry_free(text);
    assert_int_equal(pantry_detokenize(own, said, 4, PANTRY_DETOKENIZE_SPECIAL, &text, NULL, &error), PANTRY_OK);
    assert_non_null(strstr(text, "cab<eos>"));
    pantry_free(text);
    assert_int_equal(pantry_detokenize(own, said, 0, PANTRY_DETOKENIZE_SPECIAL, &text, &len, &error), PANTRY_OK);
    assert_string_equal(text, "");
    pantry_free(text);
    assert_int_equal(
        pantry_detokenize(own, (const int32_t[]){N_TOKENS}, 1, PANTRY_DETOKENIZE_SPECIAL, &text, &len, &error),
        PANTRY_INVALID);
    assert_true(pantry_token_ends_generation(own, EOS));
    assert_false(pantry_token_ends_generation(own, 0));
    pantry_tokenizer_free(own);
    pantry_model_free(model);
    assert_int_equal(pantry_tokenizer_load(tiny_model("llama", GW_F32, "mute.gguf"), &own, &error), PANTRY_UNSUPPORTED);
    assert_null(own);
    assert_int_equal(pantry_tokenizer_load(gw_temp("absent"), &own, &error), PANTRY_NOT_FOUND);
    assert_null(own);
    pantry_tokenizer_free(NULL);
}

/* ---- templates ---- */

static void models_render_their_template(void **state)
{
    (void)state;
    static const char source[] = "{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}|{{ x }}";
    static const struct {
        const char *context, *wanted;
    } cases[] = {
        {"{\"x\": 1}", "<bos>|<eos>|True|1"},
        {"{\"bos_token\": \"B\", \"x\": 2}", "B|<eos>|True|2"},
        {"{\"eos_token\": \"E\", \"add_generation_prompt\": false}", "<bos>|E|False|"},
    };
    struct pantry_error error;
    pantry_model *model = load(small_model(source));
    size_t len;
    const char *own = pantry_model_template(model, &len);
    assert_int_equal(len, sizeof source - 1);
    assert_memory_equal(own, source, len);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text;
        assert_int_equal(pantry_model_render(model, cases[i].context, &text, &len, &error), PANTRY_OK);
        assert_string_equal(text, cases[i].wanted);
        assert_int_equal(len, strlen(text));
        pantry_free(text);
    }
    pantry_model_free(model);
    /* Without a tokenizer special tokens are empty. */
    struct gw g;
    char *text;
    tiny_model_init(&g, "llama", GW_F32);
    gw_str(&g, "tokenizer.chat_template", source);
    model = load(gw_file(&g, "mute.gguf"));
    gw_free(&g);
    assert_int_equal(pantry_model_render(model, "{}", &text, &len, &error), PANTRY_OK);
    assert_string_equal(text, "||True|");
    pantry_free(text);
    pantry_model_free(model);
}

static void template_mistakes_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *source, *context;
        pantry_status status;
        const char *says;
    } cases[] = {
        {"{{ x", "{}", PANTRY_FORMAT, ""},
        {"x", "{", PANTRY_FORMAT, "the template's context is not JSON: line 1, column 1"},
        {"x", "{\"a\":1,\n\"a\":2}", PANTRY_FORMAT, "the template's context is not JSON: line 2, column"},
        {"x", "[]", PANTRY_FORMAT, "must be a JSON object"},
        {"x", "3", PANTRY_FORMAT, "context"},
        {"{{ raise_exception('no') }}", "{}", PANTRY_RAISED, "no"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int of_model = 0; of_model < 2; of_model++) {
            struct pantry_error error = {0};
            char *text = NULL;
            size_t len;
            pantry_model *model = of_model ? load(small_model(cases[i].source)) : NULL;
            pantry_status status = of_model ? pantry_model_render(model, cases[i].context, &text, &len, &error)
                                            : pantry_template_render(cases[i].source, strlen(cases[i].source),
                                                                     cases[i].context, &text, &len, &error);
            assert_int_equal(status, cases[i].status);
            if (!strstr(error.text, cases[i].says))
                fail_msg("%s", error.text);
            pantry_model_free(model);
        }
    struct pantry_error error;
    char *text;
    size_t len;
    assert_int_equal(pantry_template_render("a{{ x }}b", 8, "{\"x\": \"\\u0000\"}", &text, &len, &error), PANTRY_OK);
    assert_int_equal(len, 2); /* the length ends the source, and NUL is a character */
    assert_memory_equal(text, "a\0", 3);
    pantry_free(text);
    pantry_model *model = load(small_model(NULL));
    assert_int_equal(pantry_model_render(model, "{}", &text, &len, &error), PANTRY_NOT_FOUND);
    assert_non_null(strstr(error.text, "the model has no chat template"));
    pantry_model_free(model);
}

/* ---- answers ---- */

static void answers_are_split(void **state)
{
    (void)state;
#define TOOLS "{\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}"
#define CALL  "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
    static const char hermes[] =
        "<tool_call>{\"name\": <function-name>, \"arguments\": <args-json-object>}</tool_call>";
    static const struct {
        const char *context, *raw;
        unsigned flags;
        int choice;
        const char *content, *reasoning, *call;
    } cases[] = {
        {"{}", "<think>why</think>\n\nthat", 0, PANTRY_TOOL_AUTO, "that", "why", NULL},
        {"{}", "<think>why</think>\n\nthat", PANTRY_PARSE_REASONING_IN_CONTENT, PANTRY_TOOL_AUTO,
         "<think>why</think>\n\nthat", "", NULL},
        {TOOLS, CALL, 0, PANTRY_TOOL_AUTO, "", "", "f"},
        {TOOLS, CALL, 0, PANTRY_TOOL_REQUIRED, "", "", "f"},
        {TOOLS, CALL, 0, PANTRY_TOOL_NONE, CALL, "", NULL},
        {TOOLS, CALL, 0, 3, "", "", "f"}, /* other values count as AUTO */
        {TOOLS, CALL, 0, 1000, "", "", "f"},
        {"{}", CALL, 0, PANTRY_TOOL_AUTO, CALL, "", NULL}, /* there are no tools */
        {"{}", "", 0, PANTRY_TOOL_AUTO, "", "", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error;
        char *text = NULL;
        if (pantry_parse(hermes, sizeof hermes - 1, cases[i].context, cases[i].raw, strlen(cases[i].raw),
                         cases[i].flags, (enum pantry_tool_choice)cases[i].choice, &text, &error))
            fail_msg("%s", error.text);
        json_t *root = json_loads(text, 0, NULL), *calls = json_object_get(root, "tool_calls");
        const char *reasoning = json_string_value(json_object_get(root, "reasoning_content"));
        assert_string_equal(json_string_value(json_object_get(root, "content")), cases[i].content);
        assert_string_equal(reasoning ? reasoning : "", cases[i].reasoning);
        assert_int_equal(json_array_size(calls), cases[i].call != NULL);
        if (cases[i].call)
            assert_string_equal(json_string_value(json_object_get(json_array_get(calls, 0), "name")), cases[i].call);
        json_decref(root);
        pantry_free(text);
    }
    /* The lengths end the template and the answer. */
    char *text = NULL;
    assert_int_equal(pantry_parse(hermes, sizeof hermes - 1, "{}", "answer", 3, 0, PANTRY_TOOL_AUTO, &text, NULL),
                     PANTRY_OK);
    assert_non_null(strstr(text, "\"ans\""));
    pantry_free(text);
}

static void parse_mistakes_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *context, *says;
    } cases[] = {{"{", "the context is not a JSON object: "},
                 {"{\"a\":1,\n\"a\":2}", ": line 2, column"},
                 {"[]", "the context is not a JSON object: line 1, column 1: it is another value"},
                 {"", "the context is not a JSON object: "}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error = {0};
        char *text = NULL;
        assert_int_equal(pantry_parse("", 0, cases[i].context, "x", 1, 0, PANTRY_TOOL_AUTO, &text, &error),
                         PANTRY_FORMAT);
        assert_int_equal(error.status, PANTRY_FORMAT);
        assert_null(text);
        if (!strstr(error.text, cases[i].says))
            fail_msg("%s", error.text);
        assert_int_equal(pantry_parse("", 0, cases[i].context, "x", 1, 0, PANTRY_TOOL_AUTO, &text, NULL),
                         PANTRY_FORMAT);
    }
}

/* ---- the rest ---- */

static void versions_and_codes(void **state)
{
    (void)state;
    assert_string_equal(pantry_version(), PANTRY_VERSION);
    static const struct {
        pantry_status status;
        int code;
        const char *text;
    } codes[] = {
        {PANTRY_OK, 0, "success"},
        {PANTRY_INVALID, -1, "invalid argument"},
        {PANTRY_FORMAT, -2, "malformed input"},
        {PANTRY_UNSUPPORTED, -3, "not supported"},
        {PANTRY_NOT_FOUND, -4, "not found"},
        {PANTRY_IO, -5, "input/output error"},
        {PANTRY_NO_MEMORY, -6, "out of memory"},
        {PANTRY_LIMIT, -7, "limit exceeded"},
        {PANTRY_CANCELLED, -8, "cancelled"},
        {PANTRY_CONTEXT_FULL, -9, "context full"},
        {PANTRY_RAISED, -10, "raised by the template"},
        {PANTRY_INTERNAL, -11, "internal error"},
    };
    for (size_t i = 0; i < COUNT(codes); i++) {
        assert_int_equal(codes[i].status, codes[i].code);
        assert_string_equal(pantry_status_text(codes[i].status), codes[i].text);
    }
    assert_string_equal(pantry_status_text((pantry_status)5), "unknown status");
    pantry_free(NULL);
}

static void bandwidth_is_measured_once(void **state)
{
    (void)state;
    double one = pantry_read_bandwidth(1);
    assert_true(one > 1e8 && one < 1e13); /* all machines are within */
    assert_true(pantry_read_bandwidth(1) == one);
    double most = pantry_read_bandwidth(0);
    assert_true(most > 1e8 && most < 1e13 && pantry_read_bandwidth(0) == most && pantry_read_bandwidth(-5) == most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_described),
        cmocka_unit_test(little_is_described_with_little),
        cmocka_unit_test(describing_tells_what_runs),
        cmocka_unit_test(facts_are_counted),
        cmocka_unit_test(poolings_have_names),
        cmocka_unit_test(options_reach_what_they_name),
        cmocka_unit_test(loading_tells_what_is_wrong),
        cmocka_unit_test(texts_become_tokens_and_back),
        cmocka_unit_test(models_render_their_template),
        cmocka_unit_test(template_mistakes_are_told),
        cmocka_unit_test(answers_are_split),
        cmocka_unit_test(parse_mistakes_are_told),
        cmocka_unit_test(versions_and_codes),
        cmocka_unit_test(bandwidth_is_measured_once),
    };
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
