/* Operations release everything, whether they succeed or fail: heap memory, address space and open files are the same
 * before and after each, and nothing is written beyond the end of a block. (The address sanitizer finds this too, but
 * is not always available.) */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/threads.h"
#include "own_heap.h"
#include "pantry.h"
#include "public.h"
#include "script_model.h"
#include "tiny_encoder.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- files and models, made once ---- */

static const char template_source[] = "{{ bos_token }}{{ x }}{% if y %}{{ raise_exception('y') }}{% endif %}";
static const char *text_path, *hybrid_path, *rank_path, *template_rank_path, *mute_path, *broken_path;
static pantry_model *text_model, *hybrid_model, *rank_model, *template_rank_model, *cosine_model;
static const int32_t prompt[] = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1};
enum { N_PROMPT = COUNT(prompt) };

static const char *text_file(void)
{
    static const char *const pieces[] = {"?", "a", "b", "\xC3", "\xA9", "ab", "<bos>", "<eos>"};
    static float table[SCRIPT_CONTEXT * COUNT(pieces)];
    struct gw g;
    for (size_t i = 0; i < COUNT(table); i++)
        table[i] = (float)(i * 7 % 13) / 4;
    script_model_init(&g, table, COUNT(pieces));
    script_tokenizer(&g, pieces, COUNT(pieces), 7);
    gw_u32(&g, "tokenizer.ggml.bos_token_id", 6);
    gw_str(&g, "tokenizer.chat_template", template_source);
    const char *path = gw_file(&g, "text.gguf");
    gw_free(&g);
    return path;
}

static const char *template_rank_file(void)
{
    struct gw g;
    tiny_encoder_init(&g, "modern-bert");
    gw_str(&g, "tokenizer.chat_template.rerank", "{query} x {document}");
    const char *path = gw_file(&g, "template_rank.gguf");
    gw_free(&g);
    return path;
}

static int make_models(void **state)
{
    (void)state;
    text_path = text_file();
    hybrid_path = tiny_hybrid("granitehybrid");
    rank_path = tiny_encoder("bert");
    template_rank_path = template_rank_file();
    mute_path = tiny_model("llama", GW_F32, "mute.gguf");
    broken_path = gw_put("broken.gguf", "GGUF\3\0\0\0", 8);
    text_model = load_on_ref(text_path);
    hybrid_model = load_on_ref(hybrid_path);
    rank_model = load_on_ref(rank_path);
    template_rank_model = load_on_ref(template_rank_path);
    cosine_model = load_on_ref(tiny_encoder("nomic-bert"));
    return 0;
}

static int free_models(void **state)
{
    (void)state;
    pantry_model *const models[] = {text_model, hybrid_model, rank_model, template_rank_model, cosine_model};
    for (size_t i = 0; i < COUNT(models); i++)
        pantry_model_free(models[i]);
    return 0;
}

/* ---- operations ---- */

/* Creates plans, pages and slots that must be freed with the model. */
static void use(pantry_model *model)
{
    pantry_session *session;
    struct pantry_embeddings e = {.size = sizeof e};
    struct pantry_input in = {.ids = prompt, .n_ids = N_PROMPT};
    struct pantry_generate_options o = pantry_generate_options_default();
    o.max_tokens = 2;
    if (pantry_session_new(model, NULL, &session, NULL) == PANTRY_OK)
        assert_int_equal(pantry_generate(session, prompt, N_PROMPT, &o, NULL, NULL), PANTRY_OK);
    pantry_session_free(session);
    assert_int_equal(pantry_embed(model, &in, 1, NULL, &e, NULL), PANTRY_OK);
    pantry_embeddings_free(&e);
}

static void load_and_free(void)
{
    const char *const paths[] = {text_path, hybrid_path, rank_path, mute_path};
    for (size_t i = 0; i < COUNT(paths); i++) {
        pantry_model *model = load_on_ref(paths[i]);
        char *text;
        if (i == 0) {
            assert_int_equal(pantry_model_render(model, "{\"x\": 1}", &text, NULL, NULL), PANTRY_OK);
            pantry_free(text);
        }
        use(model);
        pantry_model_free(model);
    }
}

static void fail_to_load(void)
{
    static const struct pantry_model_options options[] = {{.size = sizeof *options, .device = "abacus"},
                                                          {.size = sizeof *options, .device = "cpu", .isa = "abacus"},
                                                          {.size = sizeof *options, .rope_scaling = "abacus"}};
    pantry_model *model;
    for (size_t i = 0; i < COUNT(options); i++)
        assert_int_not_equal(pantry_model_load(text_path, &options[i], &model, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_model_load(broken_path, NULL, &model, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_model_load("/no/such/file", NULL, &model, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_check(broken_path, NULL), PANTRY_OK);
    assert_int_equal(pantry_check(text_path, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_model_synthetic("no:thing", NULL, &model, NULL), PANTRY_OK);
}

static void generate(void)
{
    static const char *const stop[] = {"abab", "\xC3\xA9"};
    pantry_model *const models[] = {text_model, hybrid_model};
    for (size_t i = 0; i < COUNT(models); i++) {
        pantry_session *session;
        struct pantry_generate_options o = pantry_generate_options_default();
        static float logits[N_PROMPT * 64];
        o.max_tokens = 20;
        o.stop = stop;
        o.n_stop = 2;
        assert_int_equal(pantry_session_new(models[i], NULL, &session, NULL), PANTRY_OK);
        for (int k = 0; k < 3; k++)
            assert_int_equal(pantry_generate(session, prompt, N_PROMPT, &o, NULL, NULL), PANTRY_OK);
        assert_int_equal(pantry_logits(session, prompt, N_PROMPT, NULL, 0, logits, NULL), PANTRY_OK);
        pantry_session_free(session);
    }
}

static void fail_to_generate(void)
{
    pantry_session *session;
    struct pantry_generate_options o = pantry_generate_options_default();
    static const int32_t wrong[] = {1, 1000};
    static const struct pantry_session_options options[] = {{.size = sizeof *options, .n_context = -1},
                                                            {.size = sizeof *options, .kv_type = "abacus"}};
    for (size_t i = 0; i < COUNT(options); i++)
        assert_int_not_equal(pantry_session_new(text_model, &options[i], &session, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_session_new(rank_model, NULL, &session, NULL), PANTRY_OK);
    assert_int_equal(pantry_session_new(text_model, NULL, &session, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_generate(session, prompt, 0, &o, NULL, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_generate(session, wrong, 2, &o, NULL, NULL), PANTRY_OK);
    o.sampling.top_p = 0;
    assert_int_not_equal(pantry_generate(session, prompt, N_PROMPT, &o, NULL, NULL), PANTRY_OK);
    pantry_session_free(session);
}

static struct pantry_input text_of(const char *text)
{
    return (struct pantry_input){.text = text, .len = strlen(text)};
}

static void embed_and_rank(void)
{
    pantry_model *const models[] = {rank_model, template_rank_model, cosine_model};
    struct pantry_input in[] = {text_of("a b c"), text_of("d e"), {.ids = prompt, .n_ids = N_PROMPT}};
    float scores[2];
    for (size_t i = 0; i < COUNT(models); i++) {
        struct pantry_embeddings e = {.size = sizeof e};
        struct pantry_embed_options o = pantry_embed_options_default();
        o.pooling = i ? PANTRY_POOLING_MEAN : PANTRY_POOLING_NONE;
        assert_int_equal(pantry_embed(models[i], in, 3, &o, &e, NULL), PANTRY_OK);
        pantry_embeddings_free(&e);
        assert_int_equal(pantry_rank(models[i], in, in, 2, NULL, scores, NULL), PANTRY_OK);
    }
    struct pantry_embeddings e = {.size = sizeof e};
    assert_int_equal(pantry_embed(hybrid_model, in + 2, 1, NULL, &e, NULL), PANTRY_OK);
    pantry_embeddings_free(&e);
}

static void fail_to_embed(void)
{
    pantry_model *const models[] = {rank_model, template_rank_model, cosine_model};
    static const int32_t wrong[] = {1, 1000};
    struct pantry_input in[] = {text_of("a b c"), {.ids = wrong, .n_ids = 2}}, words[] = {text_of("a b c d"), in[0]};
    float score;
    pantry_cancel *stop = pantry_cancel_new();
    pantry_cancel_set(stop);
    for (size_t i = 0; i < COUNT(models); i++) {
        struct pantry_embeddings e = {.size = sizeof e};
        struct pantry_embed_options o = pantry_embed_options_default();
        assert_int_not_equal(pantry_embed(models[i], in, 2, &o, &e, NULL), PANTRY_OK);
        assert_int_not_equal(pantry_rank(models[i], in, in + 1, 1, &o, &score, NULL), PANTRY_OK);
        o.max_tokens = 3;
        assert_int_not_equal(pantry_embed(models[i], words, 2, &o, &e, NULL), PANTRY_OK);
        assert_int_not_equal(pantry_rank(models[i], words, words, 1, &o, &score, NULL), PANTRY_OK);
        o.max_tokens = -1;
        assert_int_not_equal(pantry_embed(models[i], words, 2, &o, &e, NULL), PANTRY_OK);
        assert_int_not_equal(pantry_rank(models[i], words, words, 1, &o, &score, NULL), PANTRY_OK);
        o = pantry_embed_options_default();
        o.cancel = stop;
        assert_int_not_equal(pantry_embed(models[i], words, 2, &o, &e, NULL), PANTRY_OK);
        assert_int_not_equal(pantry_rank(models[i], words, words, 1, &o, &score, NULL), PANTRY_OK);
    }
    pantry_cancel_free(stop);
}

static void describe(void)
{
    const char *const paths[] = {text_path, hybrid_path, rank_path, mute_path};
    char *json;
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_int_equal(pantry_describe(paths[i], &json, NULL), PANTRY_OK);
        pantry_free(json);
    }
    assert_int_not_equal(pantry_describe(broken_path, &json, NULL), PANTRY_OK);
    const char *odd = gw_temp("odd.gguf"); /* names that are not UTF-8, weights that cannot run */
    assert_int_equal(pantry_describe(odd, &json, NULL), PANTRY_OK);
    pantry_free(json);
}

static void tokenize(void)
{
    pantry_tokenizer *t;
    int32_t *ids;
    char *text;
    size_t n;
    assert_int_equal(pantry_tokenizer_load(text_path, &t, NULL), PANTRY_OK);
    assert_int_equal(pantry_tokenize(t, "abba", 4, PANTRY_TOKENIZE_BOS, &ids, &n, NULL), PANTRY_OK);
    assert_int_equal(pantry_detokenize(t, ids, n, PANTRY_DETOKENIZE_SPECIAL, &text, &n, NULL), PANTRY_OK);
    pantry_free(text);
    pantry_free(ids);
    assert_int_equal(pantry_tokenize(t, "", 0, 0, &ids, &n, NULL), PANTRY_OK);
    pantry_free(ids);
    assert_int_not_equal(
        pantry_detokenize(t, (const int32_t[]){1, 1000}, 2, PANTRY_DETOKENIZE_SPECIAL, &text, &n, NULL), PANTRY_OK);
    pantry_tokenizer_free(t);
    assert_int_equal(pantry_tokenizer_load(rank_path, &t, NULL), PANTRY_OK);
    pantry_tokenizer_free(t);
    assert_int_not_equal(pantry_tokenizer_load(mute_path, &t, NULL), PANTRY_OK);
    assert_int_not_equal(pantry_tokenizer_load(broken_path, &t, NULL), PANTRY_OK);
}

static void render_and_parse(void)
{
    static const char *const contexts[] = {"{\"x\": 1}", "{\"y\": 1}", "{", "[]"};
    for (size_t i = 0; i < COUNT(contexts); i++) {
        char *text;
        size_t n;
        bool good = i == 0;
        pantry_status status = pantry_model_render(text_model, contexts[i], &text, &n, NULL);
        assert_int_equal(status == PANTRY_OK, good);
        if (good)
            pantry_free(text);
        status = pantry_template_render(template_source, sizeof template_source - 1, contexts[i], &text, &n, NULL);
        assert_int_equal(status == PANTRY_OK, good);
        if (good)
            pantry_free(text);
        status = pantry_parse("", 0, contexts[i], "<think>a</think>b", 17, 0, PANTRY_TOOL_AUTO, &text, NULL);
        assert_int_equal(status == PANTRY_OK, i < 2);
        if (i < 2)
            pantry_free(text);
    }
    char *text;
    size_t n;
    assert_int_not_equal(pantry_template_render("{{ x", 4, "{}", &text, &n, NULL), PANTRY_OK);
}

static void use_base(void)
{
    struct pn_map map;
    struct pn_sha256 hash;
    struct pn_pool *pool;
    struct pn_arena arena = {0};
    char hex[PN_SHA256_HEX + 1], *text;
    size_t n;
    assert_int_equal(pn_map_open(&map, text_path, NULL), PANTRY_OK);
    pn_map_close(&map);
    assert_int_not_equal(pn_map_open(&map, "/", NULL), PANTRY_OK);
    assert_int_not_equal(pn_map_open(&map, "/no/such", NULL), PANTRY_OK);
    assert_int_equal(pn_file_read(text_path, SIZE_MAX, &text, &n, NULL), PANTRY_OK);
    free(text);
    assert_int_not_equal(pn_file_read(text_path, 10, &text, &n, NULL), PANTRY_OK);
    assert_int_not_equal(pn_file_read("/", 10, &text, &n, NULL), PANTRY_OK);
    assert_int_equal(pn_sha256_bytes("abc", 3, hex, NULL), PANTRY_OK);
    assert_int_equal(pn_sha256_start(&hash, NULL), PANTRY_OK);
    pn_sha256_free(&hash);
    assert_int_equal(pn_pool_new(3, &pool, NULL), PANTRY_OK);
    pn_pool_free(pool);
    for (int i = 0; i < 300; i++)
        assert_non_null(pn_arena_alloc(&arena, 10000));
    assert_non_null(pn_arena_alloc(&arena, 10000000));
    pn_arena_free(&arena);
    void *table = pn_table_new(5000000, 1);
    pn_table_free(table, 5000000, 1);
}

/* ---- counting ---- */

#ifdef OWN_HEAP
static size_t address_pages(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return (size_t)strtoull(text, NULL, 10);
}

static size_t open_files(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}
#endif

static void everything_is_freed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*run)(void);
    } operations[] = {{"load and free", load_and_free},
                      {"fail to load", fail_to_load},
                      {"generate", generate},
                      {"fail to generate", fail_to_generate},
                      {"embed and rank", embed_and_rank},
                      {"fail to embed", fail_to_embed},
                      {"describe", describe},
                      {"tokenize", tokenize},
                      {"render and parse", render_and_parse},
                      {"base", use_base}};
    struct gw g;
    gw_init(&g);
    gw_str(&g, "general.architecture", "odd\xFF");
    gw_str(&g, "general.name", "caf\xE9");
    gw_array(&g, "list", GW_FLOAT32, 2, (const float[]){1, 2}, 4);
    gw_file(&g, "odd.gguf");
    gw_free(&g);
    for (size_t i = 0; i < COUNT(operations); i++) {
        for (int warm = 0; warm < 2; warm++) /* creates things that are kept for the process */
            operations[i].run();
#ifdef OWN_HEAP
        long blocks = n_blocks;
        size_t pages = address_pages(), files = open_files();
        for (int k = 0; k < 3; k++)
            operations[i].run();
        if (n_blocks != blocks || address_pages() > pages + 64 || open_files() != files)
            fail_msg("%s: %ld blocks, %zd pages, %zd files stay", operations[i].name, n_blocks - blocks,
                     (ssize_t)(address_pages() - pages), (ssize_t)(open_files() - files));
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_is_freed)};
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, make_models, free_models);
}
