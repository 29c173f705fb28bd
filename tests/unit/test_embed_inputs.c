/* How inputs of embeddings and rankings are read, cut, packed into steps and rejected, and that pages and slots are
 * given back. test_embed.c checks the values. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/handle.h"
#include "pantry.h"
#include "public.h"
#include "script_model.h"
#include "tiny_encoder.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

enum { D = ENCODER_EMBD, N_IDS = 60 };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static int32_t ids[N_IDS];

static int make_ids(void **state)
{
    (void)state;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = 5 + (i * 7919 + i * i * 31) % 43;
    return 0;
}

static struct pantry_input of_ids(const int32_t *from, size_t n)
{
    return (struct pantry_input){.ids = from, .n_ids = n};
}

/* Checks that `in` was read as these ids: the rows must be equal bit for bit. */
static void read_as(pantry_model *model, const struct pantry_input *in, const struct pantry_embed_options *o,
                    const int32_t *wanted, size_t n)
{
    struct pantry_input as = of_ids(wanted, n);
    struct pantry_embeddings e = embed(model, in, 1, o), w = embed(model, &as, 1, NULL);
    assert_int_equal(e.n_tokens[0], n);
    assert_memory_equal(e.rows, w.rows, (size_t)w.n_dimensions * sizeof *w.rows);
    pantry_embeddings_free(&e);
    pantry_embeddings_free(&w);
}

/* ---- steps ---- */

static struct pn_device_class counting;
static const struct pn_device_class *plain_class;
static int n_steps, most_tokens;

static pantry_status count_and_run(struct pn_device *device, struct pn_program *program,
                                   const struct pn_buffer *scratch, const struct pn_batch *batch,
                                   struct pn_ticket *ticket, struct pantry_error *err)
{
    n_steps++;
    most_tokens = batch->n_tokens > most_tokens ? batch->n_tokens : most_tokens;
    return plain_class->submit(device, program, scratch, batch, ticket, err);
}

static void count_steps(pantry_model *model)
{
    struct pn_device *device = model->runner->device;
    plain_class = device->class;
    counting = *plain_class;
    counting.submit = count_and_run;
    device->class = &counting;
    n_steps = most_tokens = 0;
}

static void inputs_share_steps(void **state)
{
    (void)state;
    static const struct {
        size_t lengths[8];
        int n_batch, n_steps, most;
    } cases[] = {
        {{10, 10, 10}, 30, 1, 30},  {{10, 10, 10}, 29, 2, 20},
        {{10, 10, 10}, 20, 2, 20},  {{10, 10, 10}, 19, 3, 10},
        {{10, 10, 10}, 1, 3, 10}, /* a longer input is a step of its own */
        {{10, 10, 10}, 0, 1, 30},   {{1, 1, 1, 1, 1}, 2, 3, 2},
        {{5, 40, 5, 5}, 10, 3, 40}, {{60, 60, 60, 60, 60, 60, 60, 60}, 0, 1, 480},
    };
    pantry_model *model = load_on_ref(tiny_encoder("bert"));
    count_steps(model);
    for (size_t c = 0; c < COUNT(cases); c++) {
        struct pantry_input in[8];
        struct pantry_embed_options o = pantry_embed_options_default();
        size_t n = 0;
        for (; n < 8 && cases[c].lengths[n]; n++)
            in[n] = of_ids(ids + 60 - cases[c].lengths[n], cases[c].lengths[n]);
        o.n_batch = cases[c].n_batch;
        n_steps = most_tokens = 0;
        uint64_t start = pn_clock_ns();
        struct pantry_embeddings e = embed(model, in, n, &o);
        double seconds = (double)(pn_clock_ns() - start) * 1e-9;
        assert_int_equal(n_steps, cases[c].n_steps);
        assert_int_equal(most_tokens, cases[c].most);
        assert_true(e.seconds > 0 && e.seconds <= seconds);
        for (size_t i = 0; i < n; i++) {
            struct pantry_embeddings one = embed(model, &in[i], 1, NULL);
            assert_memory_equal(e.rows + i * D, one.rows, D * sizeof *one.rows);
            pantry_embeddings_free(&one);
        }
        assert_int_equal(pn_kv_pages_used(pn_sched_pool(model->sched), 0), 0); /* all pages were given back */
        pantry_embeddings_free(&e);
    }
    pantry_model_free(model);
    /* by default 512 tokens: nine inputs of 60 do not fit */
    model = load_on_ref(tiny_encoder("bert"));
    count_steps(model);
    struct pantry_input nine[9];
    for (int i = 0; i < 9; i++)
        nine[i] = of_ids(ids, N_IDS);
    struct pantry_embeddings e = embed(model, nine, 9, NULL);
    assert_int_equal(n_steps, 2);
    pantry_embeddings_free(&e);
    pantry_model_free(model);
}

/* Slots of recurrent state are few, so each input is a step; slots and pages are given back, also after a failure. */
static void recurrent_inputs_have_a_step_each(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    struct pantry_input in[] = {of_ids(ids, 40), of_ids(ids + 5, 3), of_ids(ids + 9, 33)};
    pantry_model *model = load_on_ref(tiny_hybrid("granitehybrid"));
    count_steps(model);
    e = embed(model, in, 3, NULL);
    assert_int_equal(n_steps, 3);
    for (int i = 0; i < 3; i++) {
        struct pantry_embeddings one = embed(model, &in[i], 1, NULL);
        assert_memory_equal(e.rows + i * e.n_dimensions, one.rows, (size_t)e.n_dimensions * sizeof *one.rows);
        pantry_embeddings_free(&one);
    }
    pantry_embeddings_free(&e);
    struct pn_state_pool *states = model->runner->states;
    struct pn_kv_pool *pool = pn_sched_pool(model->sched);
    int32_t page, state_slot;
    assert_int_equal(pn_states_used(states), 0);
    assert_int_equal(pn_kv_pages_used(pool, 0), 0);
    pool->groups[0].slots.n = pool->groups[0].slots.n_used; /* one page too few for an input of 40 tokens */
    assert_int_equal(pool->groups[0].slots.n, 2);
    assert_int_equal(pn_kv_page_new(pool, 0, &page, NULL), PANTRY_OK);
    assert_int_equal(pantry_embed(model, in, 3, NULL, &e, &error), PANTRY_NO_MEMORY);
    assert_true(!e.rows && !e.n_tokens && e.n_rows == 0);
    assert_int_equal(pn_states_used(states), 0);
    assert_int_equal(pn_kv_pages_used(pool, 0), 1);
    states->slots.n = states->slots.n_used; /* and the only state is in use */
    assert_int_equal(states->slots.n, 1);
    assert_int_equal(pn_state_new(states, &state_slot, NULL), PANTRY_OK);
    assert_int_equal(pantry_embed(model, &in[1], 1, NULL, &e, &error), PANTRY_NO_MEMORY);
    assert_non_null(strstr(error.text, "the recurrent state of a sequence needs 4 KiB of memory"));
    assert_int_equal(pn_kv_pages_used(pool, 0), 1);
    pn_state_release(states, state_slot);
    e = embed(model, &in[1], 1, NULL);
    pantry_embeddings_free(&e);
    pn_kv_page_release(pool, 0, page);
    pantry_model_free(model);
}

/* ---- cutting ---- */

static void inputs_are_cut_before_their_last_special_token(void **state)
{
    (void)state;
    static const struct {
        int max_tokens;
        size_t n;
        int32_t ids[8];
        bool truncated;
    } texts[] = {
        /* "a b c d": [CLS] ▁a ▁b ▁c ▁d [SEP] */
        {7, 6, {2, 5, 6, 7, 8, 3}, false},
        {6, 6, {2, 5, 6, 7, 8, 3}, false},
        {5, 5, {2, 5, 6, 7, 3}, true},
        {3, 3, {2, 5, 3}, true},
        {2, 2, {2, 3}, true},
        {1, 1, {2}, true},
    };
    pantry_model *model = load_on_ref(tiny_encoder("bert"));
    struct pantry_embed_options o = pantry_embed_options_default();
    struct pantry_input text = of_text("a b c d");
    o.truncate = true;
    for (size_t i = 0; i < COUNT(texts); i++) {
        o.max_tokens = texts[i].max_tokens;
        read_as(model, &text, &o, texts[i].ids, texts[i].n);
        struct pantry_embeddings e = embed(model, &text, 1, &o);
        assert_int_equal(e.truncated, texts[i].truncated);
        pantry_embeddings_free(&e);
    }
    /* Ids are used as they are, and cut at their end. */
    struct pantry_input in[] = {of_ids(ids, 10), of_ids(ids, 3)};
    o.max_tokens = 4;
    read_as(model, in, &o, ids, 4);
    struct pantry_embeddings e = embed(model, in, 2, &o);
    assert_true(e.truncated);
    pantry_embeddings_free(&e);
    e = embed(model, in + 1, 1, &o);
    assert_false(e.truncated);
    pantry_embeddings_free(&e);
    /* At most the trained context, whatever max_tokens is. */
    static int32_t many[ENCODER_CONTEXT + 1];
    memset(many, 0, sizeof many);
    struct pantry_input long_input = of_ids(many, ENCODER_CONTEXT + 1);
    o.max_tokens = 1000;
    read_as(model, &long_input, &o, many, ENCODER_CONTEXT);
    pantry_model_free(model);
}

/* A cut document equals a shorter one; if the query is cut, nothing of the document is left. */
static void pairs_are_cut_too(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model = load_on_ref(tiny_encoder("bert"));
    struct pantry_embed_options o = pantry_embed_options_default();
    struct pantry_input query = of_text("a b"), longer = of_text("c d e f g h"), shorter = of_text("c d");
    float cut, wanted;
    o.truncate = true;
    o.max_tokens = 7; /* [CLS] a b [SEP] c d [SEP] */
    assert_int_equal(pantry_rank(model, &query, &longer, 1, &o, &cut, &error), PANTRY_OK);
    assert_int_equal(pantry_rank(model, &query, &shorter, 1, NULL, &wanted, &error), PANTRY_OK);
    assert_true(cut == wanted);
    o.max_tokens = 6;
    assert_int_equal(pantry_rank(model, &query, &longer, 1, &o, &cut, &error), PANTRY_OK);
    assert_true(cut != wanted);
    o.truncate = false;
    o.max_tokens = 7;
    assert_int_equal(pantry_rank(model, &query, &shorter, 1, &o, &cut, &error), PANTRY_OK);
    o.max_tokens = 6;
    assert_int_equal(pantry_rank(model, &query, &shorter, 1, &o, &cut, &error), PANTRY_CONTEXT_FULL);
    assert_non_null(strstr(error.text, "text 1 is too long (found 7 tokens, allowed 6)"));
    o.truncate = true;
    o.max_tokens = 4; /* [CLS] a b [SEP] of the first text, nothing of the second */
    struct pantry_input queries[] = {of_text("a b c"), of_text("a b d e f")},
                        documents[] = {of_text("x y"), of_text("z")};
    assert_int_equal(pantry_rank(model, &queries[0], documents, 1, &o, &cut, &error), PANTRY_OK);
    assert_int_equal(pantry_rank(model, &queries[1], documents + 1, 1, &o, &wanted, &error), PANTRY_OK);
    assert_true(cut == wanted);
    pantry_model_free(model);
}

/* ---- rows ---- */

static void rows_without_length_stay_zero(void **state)
{
    (void)state;
    static float table[SCRIPT_CONTEXT * 4];
    struct gw g;
    struct pantry_embed_options o = pantry_embed_options_default();
    static const int32_t zeros[8] = {0};
    script_model_init(&g, table, 4); /* position p has its two values at 2p and 2p + 1 */
    pantry_model *model = load_on_ref(gw_file(&g, "zero.gguf"));
    gw_free(&g);
    for (int dimensions = 1; dimensions <= SCRIPT_EMBD; dimensions++) {
        struct pantry_input in = of_ids(zeros, 5);
        o.dimensions = dimensions;
        struct pantry_embeddings e = embed(model, &in, 1, &o);
        assert_int_equal(e.n_dimensions, dimensions);
        for (int i = 0; i < dimensions; i++) {
            float wanted = dimensions == 9 ? 1 : (i == 8 ? 1 : -1) * sqrtf(0.5f);
            assert_float_equal(e.rows[i], i == 8 || i == 9 ? wanted : 0, 1e-6f);
        }
        pantry_embeddings_free(&e);
    }
    pantry_model_free(model);
}

static void cosines_follow_their_options(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_embed_options o = pantry_embed_options_default(), raw = o;
    struct pantry_input in[] = {of_ids(ids, 9), of_ids(ids + 3, 14), of_ids(ids + 20, 5)};
    float scores[2];
    pantry_model *model = load_on_ref(tiny_encoder("nomic-bert"));
    o.dimensions = raw.dimensions = 8;
    o.pooling = raw.pooling = PANTRY_POOLING_CLS;
    o.normalize = raw.normalize = false; /* does not affect a cosine */
    assert_int_equal(pantry_rank(model, &in[0], in + 1, 2, &o, scores, &error), PANTRY_OK);
    struct pantry_embeddings e = embed(model, in, 3, &raw);
    for (int d = 0; d < 2; d++) {
        const float *q = e.rows, *t = e.rows + (d + 1) * 8;
        double dot = 0, qq = 0, tt = 0;
        for (int i = 0; i < 8; i++) {
            dot += (double)q[i] * (double)t[i];
            qq += (double)q[i] * (double)q[i];
            tt += (double)t[i] * (double)t[i];
        }
        assert_float_equal(scores[d], (float)(dot / sqrt(qq * tt)), 1e-6f);
    }
    pantry_embeddings_free(&e);
    o.pooling = PANTRY_POOLING_NONE;
    assert_int_equal(pantry_rank(model, &in[0], in + 1, 2, &o, scores, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "ranking needs one embedding per text"));
    assert_int_equal(pantry_rank(model, &in[0], in + 1, 0, NULL, scores, &error), PANTRY_OK);
    pantry_model_free(model);
}

/* ---- query and document ---- */

/* modern-bert (which has no token kinds) with a tokenizer of letters, [CLS] before and [SEP] after a text. `sep` < 0:
 * the file does not ask for a second separator. */
static pantry_model *pair_model(const char *kind, int sep, const char *template)
{
    struct gw g;
    struct pn_buf bytes;
    static const char key[] = "tokenizer.ggml.model", sep_key[] = "tokenizer.ggml.seperator_token_id";
    tiny_encoder_init(&g, "modern-bert");
    gw_bool(&g, "tokenizer.ggml.add_bos_token", true);
    gw_bool(&g, "tokenizer.ggml.add_eos_token", true);
    gw_u32(&g, "tokenizer.ggml.bos_token_id", 2);
    gw_u32(&g, "tokenizer.ggml.eos_token_id", 3);
    gw_bool(&g, "tokenizer.ggml.add_sep_token", sep >= 0);
    if (template)
        gw_str(&g, "tokenizer.chat_template.rerank", template);
    gw_bytes(&g, &bytes);
    gw_free(&g);
    char *at = memmem(bytes.data, bytes.len, key, sizeof key - 1);
    assert_non_null(at);
    memcpy(at + sizeof key - 1 + 12, kind, 4); /* the text comes after the key, its type and its length */
    at = memmem(bytes.data, bytes.len, sep_key, sizeof sep_key - 1);
    assert_non_null(at);
    if (sep >= 0)
        memcpy(at + sizeof sep_key - 1 + 4, &sep, 4);
    pantry_model *model = load_on_ref(gw_put("pair.gguf", bytes.data, bytes.len));
    pn_buf_free(&bytes);
    return model;
}

static float score_of(pantry_model *model, const char *query, const char *document)
{
    struct pantry_error error;
    struct pantry_input q = of_text(query), d = of_text(document);
    float score;
    if (pantry_rank(model, &q, &d, 1, NULL, &score, &error))
        fail_msg("%s", error.text);
    pantry_model_free(model);
    return score;
}

/* The special tokens around pairs, compared with templates that spell them out. */
static void pairs_are_framed(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        int sep;
        const char *same_as;
    } cases[] = {
        {"gpt2", -1, "{query}[SEP]{document}"},
        {"gpt2", 3, "{query}[SEP][SEP]{document}"},
        {"gpt2", 4, "{query}[SEP][MASK]{document}"},
        {"gpt2", 0, "{query}[SEP][PAD]{document}"},
        {"gpt2", ENCODER_VOCAB, "{query}[SEP]{document}"}, /* not a token */
        {"bert", 3, "{query}[SEP]{document}"},             /* WordPiece never adds a second one */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        float pair = score_of(pair_model(cases[i].kind, cases[i].sep, NULL), "ab", "cd");
        float spelled = score_of(pair_model(cases[i].kind, -1, cases[i].same_as), "ab", "cd");
        float other = score_of(pair_model(cases[i].kind, -1, "{query}[SEP][SEP][SEP]{document}"), "ab", "cd");
        if (pair != spelled || pair == other)
            fail_msg("%s, %d: %g, spelled out %g", cases[i].kind, cases[i].sep, (double)pair, (double)spelled);
    }
}

/* Placeholders are replaced anywhere in a template; similar text, and placeholders in the inputs, are not. */
static void templates_are_filled(void **state)
{
    (void)state;
    static const struct {
        const char *template, *query, *document, *same_as;
    } cases[] = {
        {"q{query}d{document}", "ab", "cd", "qabdcd"},
        {"{query}{document}", "ab", "cd", "abcd"},
        {"{document}{query}", "ab", "cd", "cdab"},
        {"{query}{query}{document}x", "ab", "cd", "ababcdx"},
        {"xyz", "ab", "cd", "xyz"},
        {"x{quer", "ab", "cd", "x{quer"},
        {"x{documen", "ab", "cd", "x{documen"},
        {"x{query{query}", "ab", "cd", "x{queryab"},
        {"{query}", "{document}", "cd", "{document}"},
        {"{document}y", "ab", "", "y"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        float filled = score_of(pair_model("gpt2", -1, cases[i].template), cases[i].query, cases[i].document);
        float wanted = score_of(pair_model("gpt2", -1, "{query}"), cases[i].same_as, "");
        float other = score_of(pair_model("gpt2", -1, "{query}"), "other", "");
        if (filled != wanted || filled == other)
            fail_msg("%s: %g, wanted %g", cases[i].template, (double)filled, (double)wanted);
    }
}

/* ---- errors ---- */

static void options_are_bounded(void **state)
{
    (void)state;
    static const struct {
        struct pantry_embed_options o;
        pantry_status status;
    } cases[] = {
        {{.dimensions = -1}, PANTRY_INVALID},
        {{.dimensions = D}, PANTRY_OK},
        {{.dimensions = D + 1}, PANTRY_INVALID},
        {{.dimensions = 1}, PANTRY_OK},
        {{.max_tokens = -1}, PANTRY_INVALID},
        {{.max_tokens = 3}, PANTRY_OK},
        {{.max_tokens = 2}, PANTRY_CONTEXT_FULL},
        {{.n_batch = -1}, PANTRY_INVALID},
        {{.n_batch = 1}, PANTRY_OK},
        {{.n_batch = 32768}, PANTRY_OK},
        {{.n_batch = 32769}, PANTRY_INVALID},
        {{.pooling = PANTRY_POOLING_NONE}, PANTRY_OK},
        {{.pooling = PANTRY_POOLING_NONE, .dimensions = 1}, PANTRY_INVALID},
        {{.pooling = PANTRY_POOLING_NONE, .dimensions = D}, PANTRY_INVALID},
        {{.pooling = (enum pantry_pooling)(PANTRY_POOLING_NONE + 1)}, PANTRY_INVALID},
        {{.pooling = (enum pantry_pooling) - 1}, PANTRY_INVALID},
    };
    pantry_model *model = load_on_ref(tiny_encoder("bert"));
    struct pantry_input in = of_ids(ids, 3);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error;
        struct pantry_embeddings e = {.size = sizeof e};
        struct pantry_embed_options o = cases[i].o;
        o.size = sizeof o;
        assert_int_equal(pantry_embed(model, &in, 1, &o, &e, &error), cases[i].status);
        assert_true((e.rows != NULL) == (cases[i].status == PANTRY_OK));
        assert_true(cases[i].status == PANTRY_OK || (!e.n_tokens && e.n_rows == 0 && e.n_dimensions == 0));
        pantry_embeddings_free(&e);
    }
    pantry_model_free(model);
}

static void inputs_are_checked(void **state)
{
    (void)state;
    static const int32_t above[] = {5, ENCODER_VOCAB}, below[] = {-1, 5}, last[] = {5, ENCODER_VOCAB - 1, 0};
    const struct {
        struct pantry_input in;
        pantry_status status;
        const char *says;
    } cases[] = {
        {of_ids(last, 3), PANTRY_OK, NULL},
        {of_ids(above, 2), PANTRY_INVALID, "token id 64 is not in the vocabulary of 64"},
        {of_ids(below, 2), PANTRY_INVALID, "token id -1 is not in the vocabulary of 64"},
        {of_ids(ids, 0), PANTRY_INVALID, "text 2 has no tokens"},
        {of_ids(ids, INT32_MAX), PANTRY_CONTEXT_FULL, "text 2 is too long (found 2147483647 tokens, allowed 128)"},
        {of_ids(ids, (size_t)INT32_MAX + 1), PANTRY_LIMIT,
         "text too long (found 2147483648 tokens, allowed 2147483647)"},
        {of_text(""), PANTRY_OK, NULL},
    };
    pantry_model *model = load_on_ref(tiny_encoder("bert"));
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_error error = {0};
        struct pantry_embeddings e = {.size = sizeof e};
        struct pantry_input both[] = {of_ids(ids, 2), cases[i].in};
        assert_int_equal(pantry_embed(model, both, 2, NULL, &e, &error), cases[i].status);
        if (cases[i].says && !strstr(error.text, cases[i].says))
            fail_msg("%s", error.text);
        pantry_embeddings_free(&e);
    }
    pantry_model_free(model);
    /* Texts for a model without a tokenizer, and ids for a ranking head. */
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    struct pantry_input text = of_text("a"), numbers = of_ids(ids, 2);
    float score;
    model = load_on_ref(tiny_model("llama", GW_F32, "mute.gguf"));
    assert_int_equal(pantry_embed(model, &text, 1, NULL, &e, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "mute.gguf: the model has no tokenizer; its inputs must be token ids"));
    pantry_model_free(model);
    model = load_on_ref(tiny_encoder("bert"));
    assert_int_equal(pantry_rank(model, &text, &numbers, 1, NULL, &score, &error), PANTRY_INVALID);
    assert_int_equal(pantry_rank(model, &numbers, &text, 1, NULL, &score, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "needs query and document as texts"));
    assert_int_equal(pantry_rank(model, &text, &text, 0, NULL, &score, &error), PANTRY_OK);
    pantry_cancel *stop = pantry_cancel_new();
    pantry_cancel_set(stop);
    struct pantry_embed_options o = {.size = sizeof o, .cancel = stop};
    assert_int_equal(pantry_rank(model, &text, &text, 1, &o, &score, &error), PANTRY_CANCELLED);
    pantry_cancel_free(stop);
    o = (struct pantry_embed_options){.size = sizeof(struct pantry_embed_options), .n_batch = -1};
    assert_int_equal(pantry_rank(model, &text, &text, 1, &o, &score, &error), PANTRY_INVALID);
    pantry_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_share_steps),
        cmocka_unit_test(recurrent_inputs_have_a_step_each),
        cmocka_unit_test(inputs_are_cut_before_their_last_special_token),
        cmocka_unit_test(pairs_are_cut_too),
        cmocka_unit_test(rows_without_length_stay_zero),
        cmocka_unit_test(cosines_follow_their_options),
        cmocka_unit_test(pairs_are_framed),
        cmocka_unit_test(templates_are_filled),
        cmocka_unit_test(options_are_bounded),
        cmocka_unit_test(inputs_are_checked),
    };
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
