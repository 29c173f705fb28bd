/* Embeddings and ranking: every encoder against references in float64, batches, pooling, truncation, errors; and a real
 * model, if this machine has it, against sentence-transformers.
 *
 *     test_embed --write FOLDER    writes the tiny models for tests/golden/make_encoders.py */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "golden/tiny_encoders.h"
#include "pantry.h"
#include "public.h"
#include "tiny_encoder.h"
#include "tiny_model.h"

enum { D = ENCODER_EMBD, N_IDS = 40 };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static int32_t ids[N_IDS]; /* as in make_encoders.py */

static int make_ids(void **state)
{
    (void)state;
    ids[0] = 2;
    for (int i = 0; i < N_IDS - 2; i++)
        ids[1 + i] = 5 + (i * 7919 + i * i * 31) % 52;
    ids[N_IDS - 1] = 3;
    return 0;
}

static pantry_model *load(const char *path, const char *device)
{
    struct pantry_error error;
    pantry_model *model;
    if (pantry_model_load(path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 2},
                          &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static struct pantry_input of_ids(const int32_t *from, size_t n)
{
    return (struct pantry_input){.ids = from, .n_ids = n};
}

static struct pantry_embed_options plain(enum pantry_pooling pooling)
{
    struct pantry_embed_options o = pantry_embed_options_default();
    o.pooling = pooling;
    o.normalize = false;
    return o;
}

static void check(const char *arch, const char *device, const char *what, const float *got, const float *wanted,
                  size_t n, double limit)
{
    double e = nmse(got, wanted, n);
    if (!(e < limit))
        fail_msg("%s on %s, %s: NMSE %g, allowed %g", arch, device, what, e, limit);
}

/* ---- against references ---- */

static void equals_references(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        double limit;
    } devices[] = {{"ref", 1e-11}, {"cpu", 1e-10}};
    for (size_t i = 0; i < COUNT(golden_encoders); i++)
        for (size_t d = 0; d < COUNT(devices); d++) {
            const char *arch = golden_encoders[i].arch, *device = devices[d].device;
            double limit = devices[d].limit;
            pantry_model *model = load(tiny_encoder(arch), device);
            struct pantry_input in = of_ids(ids, N_IDS);
            struct pantry_embed_options none = plain(PANTRY_POOLING_NONE), mean = plain(PANTRY_POOLING_AUTO);
            struct pantry_embeddings e = embed(model, &in, 1, &none);
            assert_int_equal(e.n_rows, N_IDS);
            assert_int_equal(e.n_dimensions, D);
            check(arch, device, "first state", e.rows, golden_encoders[i].first, D, limit);
            check(arch, device, "last state", e.rows + (N_IDS - 1) * D, golden_encoders[i].last, D, limit);
            pantry_embeddings_free(&e);
            e = embed(model, &in, 1, &mean);
            check(arch, device, "mean", e.rows, golden_encoders[i].mean, D, limit);
            pantry_embeddings_free(&e);
            pantry_model_free(model);
        }
    size_t n = 0;
    while (tiny_encoders[n])
        n++;
    assert_int_equal(n, COUNT(golden_encoders));
}

static void ranks_by_its_head(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(golden_scores); i++) {
        struct pantry_error error;
        struct pantry_model_info info = {.size = sizeof info};
        pantry_model *model = load(tiny_encoder(golden_scores[i].arch), "cpu");
        struct pantry_input query = of_text("where do foxes sleep");
        struct pantry_input texts[] = {of_text("no"), of_text("a fox digs a den under roots")};
        float scores[2], alone;
        pantry_model_info(model, &info, NULL);
        assert_true(info.ranks);
        assert_int_equal(pantry_rank(model, &query, texts, 2, NULL, scores, &error), PANTRY_OK);
        assert_int_equal(pantry_rank(model, &query, texts, 1, NULL, &alone, &error), PANTRY_OK);
        assert_float_equal(scores[1], golden_scores[i].score, 1e-4f);
        assert_float_equal(scores[0], alone, 1e-4f);
        assert_true(fabsf(scores[0] - scores[1]) > 1e-3f);
        assert_int_equal(
            pantry_rank(model, &(struct pantry_input){.ids = ids, .n_ids = 3}, texts, 1, NULL, &alone, &error),
            PANTRY_INVALID);
        pantry_model_free(model);
    }
}

/* A decoder that reads a template and answers yes or no. */
static void ranks_by_a_template(void **state)
{
    (void)state;
    static const int32_t prompt[] = {16, 26, 27, 62, 3, 28, 29, 63}; /* "Qab.Dcd!" */
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!";
    const char *tokens[TINY_VOCAB];
    char text[TINY_VOCAB][2];
    float labels[2 * D] = {0};
    struct gw g;
    tiny_model_init(&g, "qwen3", GW_F32);
    for (int i = 0; i < TINY_VOCAB; i++) {
        memcpy(text[i], (const char[]){alphabet[i], '\0'}, 2);
        tokens[i] = text[i];
    }
    gw_u32(&g, "qwen3.pooling_type", 4);
    gw_str(&g, "tokenizer.ggml.model", "gpt2");
    gw_str(&g, "tokenizer.ggml.pre", "gpt-2");
    gw_strings(&g, "tokenizer.ggml.tokens", TINY_VOCAB, tokens);
    gw_strings(&g, "tokenizer.ggml.merges", 0, NULL);
    gw_str(&g, "tokenizer.chat_template.rerank", "Q{query}.D{document}!");
    labels[3] = labels[D + 7] = 2; /* yes is twice the state's value 3, no its value 7 */
    gw_floats(&g, "cls.output.weight", GW_F32, 2, (const int64_t[]){2, D}, labels);
    pantry_model *model = load(gw_file(&g, "rank.gguf"), "ref");
    gw_free(&g);
    struct pantry_error error;
    struct pantry_input query = of_text("ab"), document = of_text("cd"), in = of_ids(prompt, COUNT(prompt));
    struct pantry_embed_options last = plain(PANTRY_POOLING_LAST);
    struct pantry_embeddings e = embed(model, &in, 1, &last);
    float score;
    assert_int_equal(pantry_rank(model, &query, &document, 1, NULL, &score, &error), PANTRY_OK);
    assert_float_equal(score, 1 / (1 + expf(2 * e.rows[7] - 2 * e.rows[3])), 1e-6f);
    pantry_embeddings_free(&e);
    pantry_model_free(model);
}

static void ranks_by_cosine_without_a_head(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model = load(tiny_encoder("nomic-bert"), "cpu");
    struct pantry_input in[] = {of_text("some words"), of_text("other words"), of_text("some words")};
    float scores[2];
    assert_int_equal(pantry_rank(model, &in[0], in + 1, 2, NULL, scores, &error), PANTRY_OK);
    struct pantry_embeddings e = embed(model, in, 2, NULL);
    double cosine = 0;
    for (int i = 0; i < D; i++)
        cosine += (double)e.rows[i] * (double)e.rows[D + i];
    assert_float_equal(scores[0], (float)cosine, 1e-6f);
    assert_float_equal(scores[1], 1, 1e-6f);
    pantry_embeddings_free(&e);
    pantry_model_free(model);
}

/* ---- batches ---- */

/* Texts of many lengths in one call, in steps of several sizes, equal each text alone. */
static void batches_change_nothing(void **state)
{
    (void)state;
    static const size_t lengths[] = {40, 1, 7, 33, 2, 32, 31, 12, 40, 3};
    static const enum pantry_pooling poolings[] = {PANTRY_POOLING_MEAN, PANTRY_POOLING_CLS, PANTRY_POOLING_LAST};
    static const int batches[] = {0, 1, 50, 200};
    static const char *const files[] = {"bert", "modern-bert", "jina-bert-v2", "t5", "nomic-bert-moe", "llama"};
    static const char *const devices[] = {"ref", "cpu"};
    struct pantry_input in[COUNT(lengths)];
    for (size_t i = 0; i < COUNT(lengths); i++)
        in[i] = of_ids(ids + (N_IDS - lengths[i]), lengths[i]);
    for (size_t f = 0; f < COUNT(files); f++)
        for (size_t k = 0; k < COUNT(poolings) * COUNT(batches) * COUNT(devices); k++) {
            const char *device = devices[k % 2];
            bool decoder = strcmp(files[f], "llama") == 0;
            pantry_model *model =
                load(decoder ? tiny_model("llama", GW_F32, "llama.gguf") : tiny_encoder(files[f]), device);
            struct pantry_embed_options o = plain(poolings[k / 2 % COUNT(poolings)]);
            o.n_batch = batches[k / 2 / COUNT(poolings)];
            struct pantry_embeddings all = embed(model, in, COUNT(in), &o);
            assert_int_equal(all.n_rows, COUNT(in));
            for (size_t i = 0; i < COUNT(in); i++) {
                struct pantry_embeddings one = embed(model, &in[i], 1, &o);
                check(files[f], device, "in a batch", all.rows + i * D, one.rows, D,
                      strcmp(device, "ref") == 0 ? 1e-14 : 1e-8);
                assert_int_equal(all.n_tokens[i], lengths[i]);
                pantry_embeddings_free(&one);
            }
            pantry_embeddings_free(&all);
            pantry_model_free(model);
        }
}

/* With a row per token, the rows of texts follow each other. */
static void states_of_several(void **state)
{
    (void)state;
    pantry_model *model = load(tiny_encoder("bert"), "ref");
    struct pantry_input in[] = {of_ids(ids, 5), of_ids(ids + 3, 9)};
    struct pantry_embed_options o = plain(PANTRY_POOLING_NONE);
    struct pantry_embeddings both = embed(model, in, 2, &o), second = embed(model, in + 1, 1, &o);
    assert_int_equal(both.n_rows, 14);
    check("bert", "ref", "states of the second", both.rows + 5 * D, second.rows, 9 * D, 1e-14);
    pantry_embeddings_free(&both);
    pantry_embeddings_free(&second);
    pantry_model_free(model);
}

/* ---- pooling and what comes after ---- */

static double length(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void pooling_follows_the_option(void **state)
{
    (void)state;
    pantry_model *model = load(tiny_encoder("bert"), "cpu");
    struct pantry_input in = of_ids(ids, N_IDS);
    struct pantry_embed_options none = plain(PANTRY_POOLING_NONE);
    struct pantry_embeddings states = embed(model, &in, 1, &none);
    float mean[D] = {0};
    for (int t = 0; t < N_IDS; t++)
        for (int i = 0; i < D; i++)
            mean[i] += states.rows[t * D + i] / N_IDS;
    const struct {
        enum pantry_pooling pooling;
        const float *wanted;
    } cases[] = {{PANTRY_POOLING_AUTO, mean},
                 {PANTRY_POOLING_MEAN, mean},
                 {PANTRY_POOLING_CLS, states.rows},
                 {PANTRY_POOLING_LAST, states.rows + (N_IDS - 1) * D}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_embed_options o = plain(cases[i].pooling);
        struct pantry_embeddings e = embed(model, &in, 1, &o);
        check("bert", "cpu", "pooled", e.rows, cases[i].wanted, D, 1e-10);
        pantry_embeddings_free(&e);
    }
    pantry_embeddings_free(&states);
    pantry_model_free(model);
}

/* Decoders give the last token's state, from which logits are also computed. */
static void decoders_give_their_last_state(void **state)
{
    (void)state;
    pantry_model *model = load(tiny_model("gemma3", GW_F32, "gemma3.gguf"), "ref");
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_input in = of_ids(ids, N_IDS);
    struct pantry_embed_options none = plain(PANTRY_POOLING_NONE), automatic = plain(PANTRY_POOLING_AUTO);
    pantry_model_info(model, &info, NULL);
    assert_true(info.generates && !info.ranks);
    assert_int_equal(info.pooling, PANTRY_POOLING_LAST);
    struct pantry_embeddings states = embed(model, &in, 1, &none), e = embed(model, &in, 1, &automatic);
    check("gemma3", "ref", "last state", e.rows, states.rows + (N_IDS - 1) * D, D, 1e-14);
    /* Later tokens have no influence: */
    struct pantry_input shorter = of_ids(ids, 11);
    struct pantry_embeddings first = embed(model, &shorter, 1, &none);
    check("gemma3", "ref", "states of a prefix", first.rows, states.rows, 11 * D, 1e-14);
    pantry_embeddings_free(&first);
    pantry_embeddings_free(&states);
    pantry_embeddings_free(&e);
    pantry_model_free(model);
}

static void dimensions_and_length(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model = load(tiny_encoder("bert"), "cpu");
    struct pantry_input in[] = {of_ids(ids, N_IDS), of_ids(ids, 9)};
    struct pantry_embed_options o = pantry_embed_options_default(), raw = plain(PANTRY_POOLING_AUTO);
    struct pantry_embeddings whole = embed(model, in, 2, &raw), cut;
    o.dimensions = 8;
    cut = embed(model, in, 2, &o);
    assert_int_equal(cut.n_dimensions, 8);
    for (int r = 0; r < 2; r++) {
        double l = length(whole.rows + r * D, 8);
        assert_float_equal((float)length(cut.rows + r * 8, 8), 1, 1e-6f);
        for (int i = 0; i < 8; i++)
            assert_float_equal(cut.rows[r * 8 + i], whole.rows[r * D + i] / (float)l, 1e-5f);
    }
    pantry_embeddings_free(&cut);
    o.normalize = false;
    cut = embed(model, in, 2, &o);
    assert_float_equal(cut.rows[8 + 7], whole.rows[D + 7], 1e-6f);
    pantry_embeddings_free(&cut);
    o.dimensions = D + 1;
    assert_int_equal(pantry_embed(model, in, 2, &o, &cut, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "(found 33, allowed 32)"));
    o.dimensions = 4;
    o.pooling = PANTRY_POOLING_NONE;
    assert_int_equal(pantry_embed(model, in, 2, &o, &cut, &error), PANTRY_INVALID);
    pantry_embeddings_free(&whole);
    pantry_model_free(model);
}

/* ---- texts ---- */

static void texts_are_framed(void **state)
{
    (void)state;
    static const int32_t framed[] = {2, 5, 32, 5 + 25, 3}; /* [CLS] ▁a b ▁z [SEP] */
    static const int32_t special[] = {2, 5, 4, 3};         /* "a [MASK]" */
    pantry_model *model = load(tiny_encoder("bert"), "ref");
    struct pantry_input text[] = {of_text("ab z"), of_text("a [MASK]"), of_text("")};
    struct pantry_input wanted[] = {of_ids(framed, 5), of_ids(special, 4), of_ids((const int32_t[]){2, 3}, 2)};
    struct pantry_embeddings e = embed(model, text, 3, NULL), w = embed(model, wanted, 3, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(e.n_tokens[i], w.n_tokens[i]);
    check("bert", "ref", "texts", e.rows, w.rows, 3 * D, 1e-14);
    pantry_embeddings_free(&e);
    struct pantry_embed_options o = pantry_embed_options_default();
    o.plain_text = true;
    e = embed(model, &text[1], 1, &o);
    assert_int_equal(e.n_tokens[0], 2 + 1 + 6); /* [ m a s k ], the brackets unknown */
    pantry_embeddings_free(&e);
    pantry_embeddings_free(&w);
    pantry_model_free(model);
}

static void long_texts(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    pantry_model *model = load(tiny_encoder("bert"), "ref");
    char text[512];
    memset(text, 'a', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = ' ';
    struct pantry_input in[] = {of_text("ab"), {.text = text, .len = sizeof text}};
    assert_int_equal(pantry_embed(model, in, 2, NULL, &e, &error), PANTRY_CONTEXT_FULL);
    assert_null(e.rows);
    assert_non_null(strstr(error.text, "text 2 is too long (found 258 tokens, allowed 128)"));
    struct pantry_embed_options o = pantry_embed_options_default();
    o.truncate = true;
    o.max_tokens = 5;
    e = embed(model, in, 2, &o);
    assert_true(e.truncated);
    assert_int_equal(e.n_tokens[0], 4);
    assert_int_equal(e.n_tokens[1], 5);
    struct pantry_input wanted = of_ids((const int32_t[]){2, 5, 5, 5, 3}, 5);
    struct pantry_embeddings w = embed(model, &wanted, 1, NULL);
    check("bert", "ref", "truncated", e.rows + D, w.rows, D, 1e-14);
    pantry_embeddings_free(&w);
    pantry_embeddings_free(&e);
    o.max_tokens = 0;
    e = embed(model, in, 2, &o);
    assert_int_equal(e.n_tokens[1], ENCODER_CONTEXT);
    pantry_embeddings_free(&e);
    float score;
    assert_int_equal(pantry_rank(model, &in[0], &in[1], 1, NULL, &score, &error), PANTRY_CONTEXT_FULL);
    assert_int_equal(pantry_rank(model, &in[0], &in[1], 1, &o, &score, &error), PANTRY_OK);
    pantry_model_free(model);
}

/* ---- what goes wrong ---- */

static void mistakes_are_errors(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    pantry_model *model = load(tiny_encoder("t5"), "cpu"),
                 *mute = load(tiny_model("llama", GW_F32, "mute.gguf"), "cpu");
    struct pantry_input outside = of_ids((const int32_t[]){5, ENCODER_VOCAB}, 2), nothing = of_ids(ids, 0),
                        text = of_text("x");
    struct pantry_embed_options o = pantry_embed_options_default();
    assert_int_equal(pantry_embed(model, &outside, 1, NULL, &e, &error), PANTRY_INVALID);
    assert_int_equal(pantry_embed(model, &nothing, 1, NULL, &e, &error), PANTRY_INVALID);
    assert_int_equal(pantry_embed(mute, &text, 1, NULL, &e, &error), PANTRY_UNSUPPORTED);
    o.dimensions = -1;
    assert_int_equal(pantry_embed(model, &text, 1, &o, &e, &error), PANTRY_INVALID);
    pantry_cancel *stop = pantry_cancel_new();
    pantry_cancel_set(stop);
    o = pantry_embed_options_default();
    o.cancel = stop;
    assert_int_equal(pantry_embed(model, &text, 1, &o, &e, &error), PANTRY_CANCELLED);
    pantry_cancel_free(stop);
    assert_int_equal(pantry_embed(model, NULL, 0, NULL, &e, &error), PANTRY_OK);
    assert_int_equal(e.n_rows, 0);
    pantry_embeddings_free(&e);
    pantry_embeddings_free(NULL);
    pantry_model_free(mute);
    pantry_model_free(model);
}

static void encoders_cannot_generate(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_model_info info = {.size = sizeof info};
    pantry_session *session;
    pantry_model *model = load(tiny_encoder("modern-bert"), "cpu");
    pantry_model_info(model, &info, NULL);
    assert_false(info.generates);
    assert_int_equal(info.n_embedding, D);
    assert_int_equal(pantry_session_new(model, NULL, &session, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "modern-bert"));
    pantry_model_free(model);
}

static void refuses_wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *key;
        uint32_t value;
        const char *says;
    } cases[] = {{"bert", "bert.pooling_type", 9, "pooling_type"},
                 {"t5", "t5.attention.relative_buckets_count", 10, "multiple of 4"},
                 {"t5", "t5.attention.relative_buckets_count", 16, "attn_rel_b"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw g;
        struct pn_buf bytes = {0};
        struct pantry_error error = {0};
        pantry_model *model;
        tiny_encoder_init(&g, cases[i].arch);
        gw_bytes(&g, &bytes);
        gw_free(&g);
        /* The value follows the key and its type. */
        char *at = memmem(bytes.data, bytes.len, cases[i].key, strlen(cases[i].key));
        assert_non_null(at);
        memcpy(at + strlen(cases[i].key) + 4, &cases[i].value, 4);
        const char *path = gw_put("wrong.gguf", bytes.data, bytes.len);
        assert_true(pantry_model_load(path, NULL, &model, &error) != PANTRY_OK);
        if (!strstr(error.text, cases[i].says))
            fail_msg("%s", error.text);
        pn_buf_free(&bytes);
    }
}

/* ---- threads ---- */

struct job {
    pantry_model *model;
    float row[D];
    bool good;
};

static void *embed_often(void *arg)
{
    struct job *j = arg;
    struct pantry_input in[] = {of_ids(ids, N_IDS), of_ids(ids, 17)};
    j->good = true;
    for (int i = 0; i < 5; i++) {
        struct pantry_embeddings e = {.size = sizeof e};
        j->good &= pantry_embed(j->model, in, 2, NULL, &e, NULL) == PANTRY_OK;
        memcpy(j->row, e.rows + D, sizeof j->row);
        pantry_embeddings_free(&e);
    }
    return NULL;
}

static void threads_share_a_model(void **state)
{
    (void)state;
    struct job jobs[3];
    pthread_t threads[3];
    pantry_model *model = load(tiny_encoder("gemma-embedding"), "cpu");
    for (int i = 0; i < 3; i++) {
        jobs[i].model = model;
        pthread_create(&threads[i], NULL, embed_often, &jobs[i]);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        assert_true(jobs[i].good);
        assert_memory_equal(jobs[i].row, jobs[0].row, sizeof jobs[0].row);
    }
    pantry_model_free(model);
}

/* ---- a real model ---- */

static double cosine(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void equals_sentence_transformers(void **state)
{
    (void)state;
    char path[1024];
    struct pantry_error error;
    pantry_model *model;
    const char *file = getenv("PANTRY_TEST_MINILM"), *folder = getenv("PANTRY_TEST_MODELS");
    if (!file && !folder)
        skip();
    if (file)
        snprintf(path, sizeof path, "%s", file);
    else
        snprintf(path, sizeof path, "%s/all-minilm-l6-v2.gguf", folder);
    pantry_status status = pantry_model_load(path, NULL, &model, &error);
    if (status == PANTRY_NOT_FOUND)
        skip();
    if (status)
        fail_msg("%s", error.text);
    json_t *golden = json_load_file("tests/golden/all-minilm-l6-v2.json", 0, NULL);
    assert_non_null(golden);
    json_t *sentences = json_object_get(golden, "sentences"), *tokens = json_object_get(golden, "tokens");
    size_t n = json_array_size(sentences);
    assert_true(n >= 20);
    struct pantry_input *in = calloc(n, sizeof *in);
    for (size_t i = 0; i < n; i++)
        in[i] = of_text(json_string_value(json_array_get(sentences, i)));
    struct pantry_embed_options o = pantry_embed_options_default();
    o.max_tokens = (int)json_integer_value(json_object_get(golden, "max_tokens"));
    o.truncate = true;
    struct pantry_embeddings e = embed(model, in, n, &o);
    assert_int_equal(e.n_dimensions, 384);
    for (size_t i = 0; i < n; i++) {
        const float *row = e.rows + i * 384;
        json_t *first = json_array_get(json_object_get(golden, "first"), i);
        json_t *cosines = json_array_get(json_object_get(golden, "cosines"), i);
        assert_int_equal(e.n_tokens[i], json_integer_value(json_array_get(tokens, i)));
        for (size_t k = 0; k < json_array_size(first); k++)
            assert_float_equal(row[k], (float)json_number_value(json_array_get(first, k)), 2e-4f);
        for (size_t k = 0; k < i; k++)
            assert_float_equal((float)cosine(row, e.rows + k * 384, 384),
                               (float)json_number_value(json_array_get(cosines, k)), 1e-3f);
    }
    pantry_embeddings_free(&e);
    free(in);
    json_decref(golden);
    pantry_model_free(model);
}

static int write_models(const char *folder)
{
    for (int i = 0; tiny_encoders[i]; i++) {
        struct gw g;
        struct pn_buf bytes = {0};
        char path[1024];
        tiny_encoder_init(&g, tiny_encoders[i]);
        gw_bytes(&g, &bytes);
        gw_free(&g);
        snprintf(path, sizeof path, "%s/%s.gguf", folder, tiny_encoders[i]);
        FILE *f = fopen(path, "wb");
        bool ok = f && fwrite(bytes.data, 1, bytes.len, f) == bytes.len;
        if (f && fclose(f) != 0)
            ok = false;
        pn_buf_free(&bytes);
        if (!ok) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_models(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_references),
        cmocka_unit_test(ranks_by_its_head),
        cmocka_unit_test(ranks_by_a_template),
        cmocka_unit_test(ranks_by_cosine_without_a_head),
        cmocka_unit_test(batches_change_nothing),
        cmocka_unit_test(states_of_several),
        cmocka_unit_test(pooling_follows_the_option),
        cmocka_unit_test(decoders_give_their_last_state),
        cmocka_unit_test(dimensions_and_length),
        cmocka_unit_test(texts_are_framed),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(mistakes_are_errors),
        cmocka_unit_test(encoders_cannot_generate),
        cmocka_unit_test(refuses_wrong_files),
        cmocka_unit_test(threads_share_a_model),
        cmocka_unit_test(equals_sentence_transformers),
    };
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
