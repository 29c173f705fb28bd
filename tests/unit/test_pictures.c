/* Prompts with pictures in the engine: several at once, follow-up questions, slices. The models are directories with
 * made-up weights: one whose layers attend to pictures outside the text (Llama 3.2 Vision), and one whose first layers
 * add states of the encoder to a picture's tokens (Qwen3-VL). tests/diff/seeing_models.py compares both with
 * transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/random.h"
#include "engine/handle.h"

#include "folder.h"
#include "public.h"
#include "safetensors_writer.h"

enum { IMAGE = 26, N_ANSWER = 12 };

/* ---- models ---- */

/* "*" is a layer of those given; dims end with 0. */
struct tensor {
    const char *name;
    int64_t dims[6];
    const char *layers;
};

#define LAYER(root, layers)                                                                                            \
    {root ".input_layernorm.weight", {16}, layers}, {root ".post_attention_layernorm.weight", {16}, layers},           \
        {root ".mlp.gate_proj.weight", {24, 16}, layers}, {root ".mlp.up_proj.weight", {24, 16}, layers},              \
    {                                                                                                                  \
        root ".mlp.down_proj.weight", {16, 24}, layers                                                                 \
    }
#define ATTENTION(root, layers)                                                                                        \
    {root ".q_proj.weight", {16, 16}, layers}, {root ".k_proj.weight", {8, 16}, layers},                               \
        {root ".v_proj.weight", {8, 16}, layers},                                                                      \
    {                                                                                                                  \
        root ".o_proj.weight", {16, 16}, layers                                                                        \
    }
#define HEAD_NORMS(root, layers)                                                                                       \
    {root ".q_norm.weight", {8}, layers},                                                                              \
    {                                                                                                                  \
        root ".k_norm.weight", {8}, layers                                                                             \
    }
#define BOTH(name, layers, n, ...)                                                                                     \
    {name ".weight", {n, __VA_ARGS__}, layers},                                                                        \
    {                                                                                                                  \
        name ".bias", {n}, layers                                                                                      \
    }
#define SEES(root, layers)                                                                                             \
    BOTH(root ".input_layernorm", layers, 8, 0), BOTH(root ".post_attention_layernorm", layers, 8, 0),                 \
        {root ".self_attn.q_proj.weight", {8, 8}, layers}, {root ".self_attn.k_proj.weight", {8, 8}, layers},          \
        {root ".self_attn.v_proj.weight", {8, 8}, layers}, {root ".self_attn.o_proj.weight", {8, 8}, layers},          \
        BOTH(root ".mlp.fc1", layers, 12, 8), BOTH(root ".mlp.fc2", layers, 8, 12)

#define TEXT "language_model.model."
#define DEEP "model.language_model."
#define EYE  "model.visual."

static const struct tensor apart[] = {
    {TEXT "embed_tokens.weight", {34, 16}, ""},
    {TEXT "norm.weight", {16}, ""},
    {"language_model.lm_head.weight", {26, 16}, ""},
    LAYER(TEXT "layers.*", "0123"),
    ATTENTION(TEXT "layers.*.self_attn", "02"),
    ATTENTION(TEXT "layers.*.cross_attn", "13"),
    HEAD_NORMS(TEXT "layers.*.cross_attn", "13"),
    {TEXT "layers.*.cross_attn_attn_gate", {1}, "13"},
    {TEXT "layers.*.cross_attn_mlp_gate", {1}, "13"},
    {"vision_model.class_embedding", {8}, ""},
    {"vision_model.patch_embedding.weight", {8, 3, 4, 4}, ""},
    {"vision_model.gated_positional_embedding.gate", {1}, ""},
    {"vision_model.gated_positional_embedding.embedding", {5, 8}, ""},
    {"vision_model.gated_positional_embedding.tile_embedding.weight", {4, 80}, ""},
    {"vision_model.pre_tile_positional_embedding.gate", {1}, ""},
    {"vision_model.pre_tile_positional_embedding.embedding.weight", {4, 16}, ""},
    {"vision_model.post_tile_positional_embedding.gate", {1}, ""},
    {"vision_model.post_tile_positional_embedding.embedding.weight", {4, 16}, ""},
    BOTH("vision_model.layernorm_pre", "", 8, 0),
    BOTH("vision_model.layernorm_post", "", 8, 0),
    SEES("vision_model.transformer.layers.*", "01"),
    SEES("vision_model.global_transformer.layers.*", "0"),
    {"vision_model.global_transformer.layers.*.gate_attn", {1}, "0"},
    {"vision_model.global_transformer.layers.*.gate_ffn", {1}, "0"},
    BOTH("multi_modal_projector", "", 16, 16),
};

static const struct tensor deep[] = {
    {DEEP "embed_tokens.weight", {27, 16}, ""},
    {DEEP "norm.weight", {16}, ""},
    {"lm_head.weight", {27, 16}, ""},
    LAYER(DEEP "layers.*", "012"),
    ATTENTION(DEEP "layers.*.self_attn", "012"),
    HEAD_NORMS(DEEP "layers.*.self_attn", "012"),
    {EYE "pos_embed.weight", {9, 8}, ""},
    BOTH(EYE "patch_embed.proj", "", 8, 3, 2, 4, 4),
    BOTH(EYE "blocks.*.norm1", "01", 8, 0),
    BOTH(EYE "blocks.*.norm2", "01", 8, 0),
    BOTH(EYE "blocks.*.attn.qkv", "01", 24, 8),
    BOTH(EYE "blocks.*.attn.proj", "01", 8, 8),
    BOTH(EYE "blocks.*.mlp.linear_fc1", "01", 12, 8),
    BOTH(EYE "blocks.*.mlp.linear_fc2", "01", 8, 12),
    BOTH(EYE "merger.norm", "", 8, 0),
    BOTH(EYE "merger.linear_fc1", "", 32, 32),
    BOTH(EYE "merger.linear_fc2", "", 16, 32),
    BOTH(EYE "deepstack_merger_list.0.norm", "", 32, 0),
    BOTH(EYE "deepstack_merger_list.0.linear_fc1", "", 32, 32),
    BOTH(EYE "deepstack_merger_list.0.linear_fc2", "", 16, 32),
};

#define READS                                                                                                          \
    "\"hidden_size\":16,\"intermediate_size\":24,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"  \
    "\"rms_norm_eps\":1e-5,\"max_position_embeddings\":512,\"hidden_act\":\"silu\","

static const struct family {
    const char *name;
    const struct tensor *tensors;
    size_t n_tensors;
    const char *config, *preprocessor;
} families[] = {
    {"apart", apart, sizeof apart / sizeof *apart,
     "{\"model_type\":\"mllama\",\"image_token_index\":26,\"text_config\":{\"model_type\":\"mllama_text_model\"," READS
     "\"num_hidden_layers\":4,\"cross_attention_layers\":[1,3],\"vocab_size\":26},\"vision_config\":{\"image_size\":8,"
     "\"patch_size\":4,\"hidden_size\":8,\"attention_heads\":2,\"num_hidden_layers\":2,\"num_global_layers\":1,"
     "\"max_num_tiles\":2,\"intermediate_layers_indices\":[0]}}",
     "{\"size\":{\"height\":8,\"width\":8},\"max_image_tiles\":2}"},
    {"deep", deep, sizeof deep / sizeof *deep,
     "{\"model_type\":\"qwen3_vl\",\"image_token_id\":26,\"text_config\":{\"model_type\":\"qwen3_vl_text\"," READS
     "\"num_hidden_layers\":3,\"vocab_size\":27,\"rope_scaling\":{\"rope_type\":\"default\",\"mrope_section\":[2,1,1]}}"
     ","
     "\"vision_config\":{\"depth\":2,\"hidden_size\":8,\"num_heads\":1,\"patch_size\":4,\"num_position_embeddings\":9,"
     "\"deepstack_visual_indexes\":[0]}}",
     "{\"min_pixels\":64,\"max_pixels\":1024,\"patch_size\":4}"},
};

/* Norms are near 1, gates near 0.5, the rest so large that activations keep their size. */
static void put_tensor(struct stw *w, const char *name, const int64_t *dims, struct pn_rng *rng)
{
    int n_dims = 0;
    int64_t n = 1, in = 1;
    float values[4096];
    for (; n_dims < 6 && dims[n_dims]; n_dims++) {
        n *= dims[n_dims];
        in *= n_dims ? dims[n_dims] : 1;
    }
    assert_in_range(n, 1, sizeof values / sizeof *values);
    bool norm = strstr(name, "norm") && strstr(name, "weight"), gate = strstr(name, "gate") && n == 1;
    for (int64_t i = 0; i < n; i++) {
        float x = (float)(pn_rng_u64(rng) % 2001) / 1000 - 1; /* -1 .. 1 */
        values[i] = norm ? 1 + x / 4 : gate ? 0.5f + x / 4 : n_dims > 1 ? 2.5f * x / sqrtf((float)in) : x;
    }
    stw_tensor(w, name, "F32", n_dims, dims, values, (size_t)n * sizeof *values);
}

static void put_text(const char *folder, const char *name, const char *text)
{
    stw_put(folder, name, text, strlen(text));
}

static void write_model(const struct family *f)
{
    struct stw w = {0};
    struct pn_rng rng = {7};
    char name[160], tokenizer[1024];
    const char *folder = in_root(f->name);
    assert_int_equal(mkdir(folder, 0755), 0);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *t = &f->tensors[i];
        const char *star = strchr(t->name, '*');
        for (const char *layer = star ? t->layers : "x"; *layer; layer++) {
            if (star)
                snprintf(name, sizeof name, "%.*s%c%s", (int)(star - t->name), t->name, *layer, star + 1);
            else
                snprintf(name, sizeof name, "%s", t->name);
            put_tensor(&w, name, t->dims, &rng);
        }
    }
    stw_file(&w, folder, "model.safetensors");
    stw_free(&w);
    put_text(folder, "config.json", f->config);
    put_text(folder, "preprocessor_config.json", f->preprocessor);
    int n = snprintf(tokenizer, sizeof tokenizer,
                     "{\"added_tokens\":[{\"id\":26,\"content\":\"%s\",\"special\":true}],"
                     "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{",
                     f == families ? "<|image|>" : "<|image_pad|>");
    for (int i = 0; i < 26; i++)
        n += snprintf(tokenizer + n, sizeof tokenizer - (size_t)n, "%s\"%c\":%d", i ? "," : "", 'a' + i, i);
    snprintf(tokenizer + n, sizeof tokenizer - (size_t)n, "}}}");
    put_text(folder, "tokenizer.json", tokenizer);
}

static int set_up(void **state)
{
    (void)state;
    int status = make_folder("pictures");
    for (size_t i = 0; !status && i < sizeof families / sizeof *families; i++)
        write_model(&families[i]);
    return status;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

/* ---- prompts ---- */

enum { WIDTH = 19, HEIGHT = 12, BMP_BYTES = 54 + HEIGHT * (WIDTH * 3 + 3) / 4 * 4 };

/* A picture that depends on a number. */
static void paint(int seed, unsigned char bmp[BMP_BYTES])
{
    static const unsigned char header[30] = {'B', 'M', 0, 0,     0, 0, 0, 0,      0, 0, 54, 0, 0, 0,  40,
                                             0,   0,   0, WIDTH, 0, 0, 0, HEIGHT, 0, 0, 0,  1, 0, 24, 0};
    memset(bmp, 0, BMP_BYTES);
    memcpy(bmp, header, sizeof header);
    for (int i = 54; i < BMP_BYTES; i++)
        bmp[i] = (unsigned char)(i * i * seed + 11 * i);
}

/* "0 1" are pictures 0 and 1, other characters text. */
static pantry_prompt *prompt_of(pantry_model *model, const struct family *f, const char *what)
{
    static unsigned char files[4][BMP_BYTES];
    struct pantry_picture pictures[4];
    struct pantry_error err = {0};
    pantry_prompt *prompt;
    char text[256] = "";
    size_t n = 0;
    for (; *what; what++) {
        char one[2] = {*what, 0};
        bool picture = *what >= '0' && *what <= '9';
        strcat(text, !picture ? one : f == families ? "<|image|>" : "<|image_pad|>");
        if (!picture)
            continue;
        paint(*what - '0' + 1, files[n]);
        pictures[n] = (struct pantry_picture){files[n], BMP_BYTES};
        n++;
    }
    if (pantry_prompt_new(model, text, strlen(text), PANTRY_TOKENIZE_SPECIAL, pictures, n, &prompt, &err))
        fail_msg("%s: %s", f->name, err.text);
    return prompt;
}

static struct pantry_request_options options_of(const pantry_prompt *prompt)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = pantry_prompt_ids(prompt, &o.n_ids);
    o.prompt = prompt;
    o.sampling.temperature = 0;
    o.max_tokens = N_ANSWER;
    o.n_context = 400;
    o.ignore_eos = true;
    return o;
}

static void ask(pantry_model *model, const struct family *f, const char *what, struct answer *a)
{
    pantry_prompt *prompt = prompt_of(model, f, what);
    struct pantry_request_options o = options_of(prompt);
    run_request(model, &o, a);
    pantry_prompt_free(prompt);
}

static void ask_alone(const struct family *f, const char *what, struct answer *a)
{
    pantry_model *model = load_on_ref(in_root(f->name));
    ask(model, f, what, a);
    pantry_model_free(model);
}

static bool same(const struct answer *a, const struct answer *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) == 0;
}

#define EACH_FAMILY(f) for (const struct family *f = families; f < families + sizeof families / sizeof *families; f++)

/* ---- tests ---- */

/* Logits of all tokens; returns their number. */
static size_t logits_of(pantry_model *model, const struct family *f, const char *what, const int *slices,
                        size_t n_slices, float *out)
{
    struct pantry_session_options o = pantry_session_options_default();
    struct pantry_error err = {0};
    pantry_session *session;
    pantry_prompt *prompt = prompt_of(model, f, what);
    size_t n;
    pantry_prompt_ids(prompt, &n);
    assert_in_range(n, 1, 400);
    o.n_context = 400;
    if (pantry_session_new(model, &o, &session, &err) ||
        pantry_prompt_logits(session, prompt, slices, n_slices, out, &err))
        fail_msg("%s: %s", f->name, err.text);
    pantry_session_free(session);
    pantry_prompt_free(prompt);
    return n;
}

/* Pictures matter, and so does their order and where they are. */
static void logits_depend_on_pictures(void **state)
{
    (void)state;
    static const char *const texts[] = {"abcdef", "abc0def", "abc1def", "ab0c1def", "ab1c0def", "abc01def"};
    enum { N = sizeof texts / sizeof *texts };
    static float logits[400 * 27], last[N][27];
    EACH_FAMILY(f)
    {
        pantry_model *model = load_on_ref(in_root(f->name));
        for (size_t i = 0; i < N; i++) {
            size_t n = logits_of(model, f, texts[i], NULL, 0, logits), n_vocab = f == families ? 26 : 27;
            memcpy(last[i], logits + (n - 1) * n_vocab, n_vocab * sizeof **last);
            for (size_t k = 0; k < i; k++) {
                double e = 0, sum = 0;
                for (size_t j = 0; j < n_vocab; j++) {
                    e += (double)(last[i][j] - last[k][j]) * (double)(last[i][j] - last[k][j]);
                    sum += (double)last[i][j] * (double)last[i][j];
                }
                if (!(e > 1e-6 * sum))
                    fail_msg("%s: \"%s\" and \"%s\" have the same logits", f->name, texts[k], texts[i]);
            }
        }
        pantry_model_free(model);
    }
}

/* Several prompts in the same steps, with different pictures and without, answer as each does alone. */
static void together_as_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"abcdef", "abc0def", "x1", "xyz01ab", "01", "abcabcabcabcabcabc2"};
    enum { N = sizeof texts / sizeof *texts };
    EACH_FAMILY(f)
    {
        struct answer alone, a[N];
        pantry_model *model = load_on_ref(in_root(f->name));
        pantry_prompt *prompts[N];
        pantry_request *requests[N];
        for (size_t i = 0; i < N; i++) {
            prompts[i] = prompt_of(model, f, texts[i]);
            struct pantry_request_options o = options_of(prompts[i]);
            o.n_batch = 5;
            requests[i] = submit(model, &o);
        }
        for (size_t i = 0; i < N; i++) {
            read_all(requests[i], &a[i]);
            pantry_request_free(requests[i]);
            pantry_prompt_free(prompts[i]);
        }
        pantry_model_free(model);
        for (size_t i = 0; i < N; i++) {
            ask_alone(f, texts[i], &alone);
            if (!same(&alone, &a[i]))
                fail_msg("%s: \"%s\" has another answer beside others", f->name, texts[i]);
        }
    }
}

/* A question about the same picture reads neither it nor the text before it again; one with another picture is not
 * misled by what is remembered. */
static void follow_up_questions(void **state)
{
    (void)state;
    static const char *const texts[] = {"abc0def",    "abc0defghi", "abc0def1ghi", "abc0def2ghi",
                                        "abc1defghi", "abcdefghi",  "abc0defghj"};
    /* letters that are known, with the whole first picture */
    static const int least[] = {0, 6, 0, 0, 0, 0, 8}, most[] = {0, 6, 6, 6, 4, 3, 8};
    EACH_FAMILY(f)
    {
        pantry_model *model = load_on_ref(in_root(f->name));
        struct answer alone, a;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            pantry_prompt *prompt = prompt_of(model, f, texts[i]);
            int picture = pantry_prompt_picture(prompt, 0, NULL, NULL);
            pantry_prompt_free(prompt);
            ask(model, f, texts[i], &a);
            ask_alone(f, texts[i], &alone);
            if (!same(&alone, &a))
                fail_msg("%s: \"%s\" has another answer after others", f->name, texts[i]);
            assert_in_range(a.stats.n_cached, least[i] ? picture + least[i] : 0, picture + most[i] + 1);
        }
        assert_int_equal(pn_eye_n_encoded(model->eye), 3);
        pantry_model_free(model);
    }
}

/* Slices of any length have the logits of the whole; pictures outside the text have none. */
static void slices_agree(void **state)
{
    (void)state;
    static float whole[400 * 27], parts[400 * 27];
    static const int slices[] = {1, 3, 2, 7, 1, 1, 30, 4, 1};
    EACH_FAMILY(f)
    {
        pantry_model *model = load_on_ref(in_root(f->name));
        pantry_prompt *prompt = prompt_of(model, f, "ab0c1defg");
        size_t lead = pantry_prompt_lead(prompt), n_vocab = f == families ? 26 : 27;
        assert_int_equal(lead, f == families ? 2 * 2 * 5 : 0);
        size_t n = logits_of(model, f, "ab0c1defg", NULL, 0, whole);
        logits_of(model, f, "ab0c1defg", slices, sizeof slices / sizeof *slices, parts);
        assert_memory_equal(whole, parts, n * n_vocab * sizeof *whole);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(whole[i * n_vocab] == 0, i < lead);
        pantry_prompt_free(prompt);
        pantry_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_depend_on_pictures),
        cmocka_unit_test(together_as_alone),
        cmocka_unit_test(follow_up_questions),
        cmocka_unit_test(slices_agree),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
