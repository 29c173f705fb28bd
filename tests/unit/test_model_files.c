/* Requirements of a model for the tensors of its file: correct shapes and shapes that are off by one, layers that lost
 * a tensor, and the bytes that a step reads. */
#define _GNU_SOURCE 1 /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"
#include "model/model.h"
#include "tiny_model.h"

enum { E = TINY_EMBD, FF = TINY_FF, V = TINY_VOCAB, H = TINY_HEADS, KV = TINY_HEADS_KV, DIM = TINY_HEAD_DIM };
static const float ones[1 << 14] = {1};

/* ---- files ---- */

static pantry_status load(struct gw *g, struct pn_model **model, struct pantry_error *err)
{
    struct pn_weights *w;
    const char *path = gw_file(g, "shapes.gguf");
    gw_free(g);
    if (pn_weights_open(path, &w, err))
        fail_msg("%s", err->text);
    return pn_model_new(w, &(struct pn_rope_override){0}, model, err);
}

static void is_taken(struct gw *g, const char *what)
{
    struct pantry_error err = {0};
    struct pn_model *model;
    if (load(g, &model, &err))
        fail_msg("%s: %s", what, err.text);
    pn_model_free(model);
}

static void is_refused(struct gw *g, const char *what, const char *sentence)
{
    struct pantry_error err = {0};
    struct pn_model *model;
    pantry_status status = load(g, &model, &err);
    if (!status || model || !strstr(err.text, sentence))
        fail_msg("%s: status %d, \"%s\"; expected \"%s\"", what, status, err.text, sentence);
}

/* Renames a tensor. */
static void lose(struct gw *g, const char *name)
{
    char stored[8 + 64]; /* the length comes first, so no longer name matches */
    uint64_t len = strlen(name);
    memcpy(stored, &len, 8);
    memcpy(stored + 8, name, len);
    char *at = memmem(g->infos.data, g->infos.len, stored, 8 + len);
    if (at)
        at[8] = '_';
}

struct shape {
    const char *name;
    int n_dims;
    int64_t dims[3];
};

/* Replaces the file's tensor of that name. */
static void replace(struct gw *g, struct shape s)
{
    lose(g, s.name);
    gw_floats(g, s.name, GW_F32, s.n_dims, s.dims, ones);
}

static void set_u32(struct gw *g, const char *key, uint32_t value)
{
    char *at = memmem(g->meta.data, g->meta.len, key, strlen(key));
    if (at)
        memcpy(at + strlen(key) + 4, &value, sizeof value);
    else
        gw_u32(g, key, value);
}

/* Four experts in all layers, two of them used. */
static void add_experts(struct gw *g, const struct shape *instead)
{
    static const struct shape shapes[] = {{"ffn_gate_inp.weight", 2, {4, E}},
                                          {"ffn_gate_exps.weight", 3, {4, 16, E}},
                                          {"ffn_up_exps.weight", 3, {4, 16, E}},
                                          {"ffn_down_exps.weight", 3, {4, E, 16}}};
    char name[64];
    set_u32(g, "llama.expert_count", 4);
    set_u32(g, "llama.expert_used_count", 2);
    for (int layer = 0; layer < TINY_LAYERS; layer++)
        for (int i = 0; i < 4; i++) {
            bool other = instead && strcmp(instead->name, shapes[i].name) == 0;
            struct shape s = other ? *instead : shapes[i];
            snprintf(name, sizeof name, "blk.%d.%s", layer, s.name);
            s.name = name;
            replace(g, s);
        }
}

/* ---- shapes ---- */

static const struct {
    struct shape shape;
    const char *sentence; /* the error; NULL: accepted */
} shapes[] = {
    {{"token_embd.weight", 1, {E}}, "tensor token_embd.weight is missing or not a matrix"},
    {{"token_embd.weight", 3, {V, E, 1}}, "tensor token_embd.weight is missing or not a matrix"},
    {{"token_embd.weight", 2, {V, E - 1}},
     "tensor token_embd.weight has rows of 31 values, but embedding_length is 32"},
    {{"token_embd.weight", 2, {V, E + 1}},
     "tensor token_embd.weight has rows of 33 values, but embedding_length is 32"},
    {{"output.weight", 2, {V - 1, E}}, "tensor output.weight has 63 rows, but 64 are needed"},
    {{"output.weight", 2, {V + 1, E}}, "tensor output.weight has 65 rows, but 64 are needed"},
    {{"output.weight", 2, {V, E - 1}}, "output.weight"},
    {{"blk.1.attn_q.weight", 2, {H * DIM - 1, E}},
     "layer 1: tensor blk.1.attn_q.weight has 31 rows, but 32 are needed"},
    {{"blk.1.attn_q.weight", 2, {H * DIM + 1, E}}, "tensor blk.1.attn_q.weight has 33 rows, but 32 are needed"},
    {{"blk.1.attn_q.weight", 2, {H * DIM, E + 1}}, "blk.1.attn_q.weight"},
    {{"blk.2.attn_k.weight", 2, {KV * DIM - 1, E}}, "tensor blk.2.attn_k.weight has 15 rows, but 16 are needed"},
    {{"blk.2.attn_v.weight", 2, {KV * DIM + 1, E}}, "tensor blk.2.attn_v.weight has 17 rows, but 16 are needed"},
    {{"blk.0.attn_output.weight", 2, {E - 1, H *DIM}},
     "tensor blk.0.attn_output.weight has 31 rows, but 32 are needed"},
    {{"blk.0.attn_output.weight", 2, {E, H *DIM - 1}}, "blk.0.attn_output.weight"},
    {{"blk.0.ffn_gate.weight", 2, {FF - 1, E}}, "tensor blk.0.ffn_gate.weight has 47 rows, but 48 are needed"},
    {{"blk.0.ffn_up.weight", 2, {FF + 1, E}}, "tensor blk.0.ffn_up.weight has 49 rows, but 48 are needed"},
    {{"blk.0.ffn_down.weight", 2, {E + 1, FF}}, "tensor blk.0.ffn_down.weight has 33 rows, but 32 are needed"},
    {{"blk.0.attn_norm.weight", 1, {E - 1}}, "layer 0: weight of a norm over 32 values has 1 x 31"},
    {{"blk.0.attn_norm.weight", 1, {E + 1}}, "layer 0: weight of a norm over 32 values has 1 x 33"},
    {{"blk.0.attn_norm.weight", 2, {1, E}}, NULL},
    {{"output_norm.weight", 1, {E - 1}}, "output: weight of a norm over 32 values has 1 x 31"},
    {{"blk.0.attn_qkv.weight", 2, {(H + 2 * KV) * DIM, E}}, "blk.1.attn_qkv.weight is missing, but layer 0 has it"},
    {{"blk.0.attn_qkv.weight", 2, {(H + 2 * KV) * DIM - 1, E}},
     "tensor blk.0.attn_qkv.weight has 63 rows, but 64 are needed"},
    {{"blk.0.attn_qkv.weight", 2, {(H + 2 * KV) * DIM + 1, E}},
     "tensor blk.0.attn_qkv.weight has 65 rows, but 64 are needed"},
    {{"blk.0.attn_q.bias", 1, {H * DIM}}, "tensor blk.1.attn_q.bias is missing, but layer 0 has it"},
    {{"blk.0.attn_q.bias", 1, {H * DIM - 1}}, "blk.0.attn_q.bias"},
    {{"blk.0.attn_q.scale", 1, {1}}, NULL}, /* some layers may have a type with a scale */
    {{"blk.0.attn_q.scale", 1, {2}}, "tensor blk.0.attn_q.scale must be one number"},
    {{"blk.0.attn_q.scale", 2, {1, 1}}, "tensor blk.0.attn_q.scale must be one number"},
    {{"blk.0.attn_sinks.weight", 1, {H - 1}}, "tensor blk.0.attn_sinks.weight has 3 values, but 4 are needed"},
    {{"blk.0.ffn_sub_norm.weight", 1, {FF - 1}}, "layer 0: weight of a norm over 48 values has 1 x 47"},
    {{"rope_freqs.weight", 1, {DIM / 2 - 1}}, "tensor rope_freqs.weight has 3 values, but 4 are needed"},
    {{"rope_freqs.weight", 2, {1, DIM / 2}}, "tensor rope_freqs.weight has 1 values, but 4 are needed"},
    {{"rope_freqs.weight", 1, {DIM / 2}}, "value 1 of tensor rope_freqs.weight is 0, but must be finite and not 0"},
    {{"per_layer_token_embd.weight", 2, {V, 3 * TINY_LAYERS - 1}},
     "per_layer_token_embd.weight has rows of 8 values for 3 layers of 2"},
};

static void shapes_must_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct gw g;
        char what[128];
        const struct shape *s = &shapes[i].shape;
        snprintf(what, sizeof what, "%s %d x %d", s->name, (int)s->dims[0], (int)s->dims[1]);
        tiny_model_init(&g, "llama", GW_F32);
        replace(&g, *s);
        if (shapes[i].sentence)
            is_refused(&g, what, shapes[i].sentence);
        else
            is_taken(&g, what);
    }
}

static void a_sink_for_each_head(void **state)
{
    (void)state;
    struct gw g;
    char name[64];
    tiny_model_init(&g, "llama", GW_F32);
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        snprintf(name, sizeof name, "blk.%d.attn_sinks.weight", layer);
        replace(&g, (struct shape){name, 1, {H}});
    }
    is_taken(&g, "sinks of 4 heads");
    static const unsigned char zeros[34];
    tiny_model_init(&g, "llama", GW_F32);
    gw_tensor(&g, "blk.0.attn_sinks.weight", GW_Q8_0, 1, (const int64_t[]){32}, zeros, sizeof zeros);
    is_refused(&g, "sinks in blocks",
               "tensor blk.0.attn_sinks.weight is a vector of q8_0; f32, f16 and bf16 are supported");
}

static void frequencies_have_finite_divisors(void **state)
{
    (void)state;
    static const float divisors[][4] = {
        {1, 2, 3, 4}, {1, 2, 3, 0}, {INFINITY, 2, 3, 4}, {1, 2, NAN, 4}, {-1, 2, 3, 1e30f}};
    static const char *const sentences[] = {NULL, "value 3 of tensor rope_freqs.weight is 0",
                                            "value 0 of tensor rope_freqs.weight is inf",
                                            "value 2 of tensor rope_freqs.weight is", NULL};
    for (int i = 0; i < 5; i++) {
        struct gw g;
        tiny_model_init(&g, "llama", GW_F32);
        gw_floats(&g, "rope_freqs.weight", GW_F32, 1, (const int64_t[]){4}, divisors[i]);
        if (sentences[i])
            is_refused(&g, "divisors", sentences[i]);
        else
            is_taken(&g, "divisors");
    }
    for (int i = 0; i < 2; i++) {
        struct gw g;
        tiny_model_init(&g, "llama", GW_F32);
        gw_floats(&g, i ? "rope_factors_long.weight" : "rope_factors_short.weight", GW_F32, 1, (const int64_t[]){4},
                  divisors[1]);
        is_refused(&g, "factors",
                   i ? "value 3 of tensor rope_factors_long.weight is 0"
                     : "value 3 of tensor rope_factors_short.weight is 0");
    }
}

static void stacks_hold_all_experts(void **state)
{
    (void)state;
    static const struct {
        struct shape shape;
        const char *sentence;
    } cases[] = {
        {{"none", 0, {0}}, NULL},
        {{"ffn_gate_exps.weight", 3, {3, 16, E}}, "tensor blk.0.ffn_gate_exps.weight has 3 matrices, but 4 are needed"},
        {{"ffn_up_exps.weight", 3, {5, 16, E}}, "tensor blk.0.ffn_up_exps.weight has 5 matrices, but 4 are needed"},
        {{"ffn_up_exps.weight", 3, {4, 15, E}}, "layer 0: cannot mul rows of 2 x 16 and of 2 x 15 values"},
        {{"ffn_up_exps.weight", 2, {4 * 16, E}}, NULL}, /* stored as one matrix */
        {{"ffn_up_exps.weight", 2, {4 * 16 + 1, E}},
         "tensor blk.0.ffn_up_exps.weight has 1 matrices, but 4 are needed"},
        {{"ffn_up_exps.weight", 2, {4 * 15, E}}, "layer 0"},
        {{"ffn_down_exps.weight", 3, {4, E - 1, 16}}, "layer 0"},
        {{"ffn_gate_inp.weight", 2, {3, E}}, "tensor blk.0.ffn_gate_inp.weight has 3 rows, but 4 are needed"},
        {{"ffn_gate_inp.weight", 2, {5, E}}, "tensor blk.0.ffn_gate_inp.weight has 5 rows, but 4 are needed"},
    };
    struct gw g;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_model_init(&g, "llama", GW_F32);
        add_experts(&g, &cases[i].shape);
        if (cases[i].sentence)
            is_refused(&g, cases[i].shape.name, cases[i].sentence);
        else
            is_taken(&g, cases[i].shape.name);
    }
    tiny_model_init(&g, "llama", GW_F32);
    add_experts(&g, NULL);
    set_u32(&g, "llama.expert_used_count", 0);
    set_u32(&g, "llama.expert_count", 0);
    is_refused(&g, "no experts", "there is a router, but llama.expert_count is 0 and expert_used_count 0");
    tiny_model_init(&g, "llama", GW_F32);
    add_experts(&g, NULL);
    gw_floats(&g, "blk.0.exp_probs_b.bias", GW_F32, 1, (const int64_t[]){3}, ones);
    is_refused(&g, "a short bias", "tensor blk.0.exp_probs_b.bias has 3 values, but 4 are needed");
}

/* Models without any other source of positions need learned ones. */
static void models_without_rotation_need_learned_positions(void **state)
{
    (void)state;
    static const char *const archs[] = {"gpt2", "mpt", "jais", "starcoder"};
    struct gw g;
    char sentence[96];
    for (int i = 0; i < 4; i++) {
        gw_init(&g);
        gw_str(&g, "general.architecture", archs[i]);
        static const char *const keys[] = {"block_count", "embedding_length", "context_length", "attention.head_count"};
        static const uint32_t values[] = {1, E, 16, H};
        for (int j = 0; j < 4; j++) {
            snprintf(sentence, sizeof sentence, "%s.%s", archs[i], keys[j]);
            gw_u32(&g, sentence, values[j]);
        }
        snprintf(sentence, sizeof sentence, "%s.attention.layer_norm_epsilon", archs[i]);
        gw_f32(&g, sentence, 0.01f);
        gw_floats(&g, "token_embd.weight", GW_F32, 2, (const int64_t[]){V, E}, ones);
        snprintf(sentence, sizeof sentence, "tensor position_embd.weight is missing; architecture %s needs it",
                 archs[i]);
        is_refused(&g, archs[i], sentence);
    }
}

/* ---- layers of one kind ---- */

static void add_bias(struct gw *g, int layer, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, what);
    gw_floats(g, name, GW_F32, 1, (const int64_t[]){E}, ones);
}

static void layers_have_what_others_have(void **state)
{
    (void)state;
    struct gw g;
    for (int lost = 0; lost < TINY_LAYERS; lost++) { /* any layer may have lost it */
        char sentence[96];
        tiny_model_init(&g, "llama", GW_F32);
        for (int layer = 0; layer < TINY_LAYERS; layer++)
            if (layer != lost)
                add_bias(&g, layer, "attn_output.bias");
        snprintf(sentence, sizeof sentence, "layer %d: tensor blk.%d.attn_output.bias is missing, but layer %d has it",
                 lost, lost, lost ? 0 : 1);
        is_refused(&g, "a lost bias", sentence);
    }
    tiny_model_init(&g, "llama", GW_F32);
    for (int layer = 0; layer < TINY_LAYERS; layer++)
        add_bias(&g, layer, "attn_output.bias");
    is_taken(&g, "biases everywhere");
    tiny_model_init(&g, "llama", GW_F32); /* two tensors more: another kind of layer */
    add_bias(&g, 1, "attn_output.bias");
    add_bias(&g, 1, "ffn_down.bias");
    is_taken(&g, "two biases in one layer");
    tiny_model_init(&g, "gemma3", GW_F32); /* layers 0 and 1 have a window, 2 does not */
    add_bias(&g, 2, "attn_output.bias");
    is_taken(&g, "a bias in layers of a kind");
    static const char *const scales[] = {"attn_output.scale", "attn_output.input_scale"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        tiny_model_init(&g, "llama", GW_F32);
        snprintf(name, sizeof name, "blk.1.%s", scales[i]);
        gw_floats(&g, name, GW_F32, 1, (const int64_t[]){1}, ones);
        is_taken(&g, "a scale in one layer");
    }
    static const char *const others[] = {"blk.3.attn_output.bias", "blk.-1.attn_output.bias", "blk.x.attn_output.bias",
                                         "v.blk.1.attn_output.bias", "blk.1attn_output.bias"};
    for (int i = 0; i < 5; i++) { /* not a layer's */
        tiny_model_init(&g, "llama", GW_F32);
        gw_floats(&g, others[i], GW_F32, 1, (const int64_t[]){E}, ones);
        is_taken(&g, others[i]);
    }
}

/* ---- latent attention ---- */

/* deepseek2's metadata without tensors: errors in it come before the first missing tensor. */
static void latent_heads_have_both_parts(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank, key, turning;
        const char *sentence;
    } cases[] = {
        {0, 16, 8, "deepseek2.attention.kv_lora_rank is missing; the model cannot be built without it"},
        {10, 8, 8, "heads of 8 values, 8 of them rotated, do not fit a latent vector of 10"},
        {10, 9, 8, "tensor blk.0.attn_q.weight is missing"}, /* one value is enough */
        {10, 16, 0, "heads of 16 values, 0 of them rotated, do not fit a latent vector of 10"},
        {10, 16, 2, "tensor blk.0.attn_q.weight is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gw g;
        gw_init(&g);
        gw_str(&g, "general.architecture", "deepseek2");
        gw_u32(&g, "deepseek2.block_count", 1);
        gw_u32(&g, "deepseek2.embedding_length", E);
        gw_u32(&g, "deepseek2.context_length", 16);
        gw_u32(&g, "deepseek2.attention.head_count", H);
        gw_u32(&g, "deepseek2.attention.kv_lora_rank", cases[i].rank);
        gw_u32(&g, "deepseek2.attention.key_length", 16);
        gw_u32(&g, "deepseek2.attention.key_length_mla", cases[i].key);
        gw_u32(&g, "deepseek2.rope.dimension_count", cases[i].turning);
        gw_f32(&g, "deepseek2.attention.layer_norm_rms_epsilon", 0.01f);
        gw_floats(&g, "token_embd.weight", GW_F32, 2, (const int64_t[]){V, E}, ones);
        gw_floats(&g, "blk.0.attn_norm.weight", GW_F32, 1, (const int64_t[]){E}, ones);
        is_refused(&g, "latent attention", cases[i].sentence);
    }
}

/* ---- numbers ---- */

static struct pn_model *loaded(struct gw *g)
{
    struct pantry_error err = {0};
    struct pn_model *model;
    if (load(g, &model, &err))
        fail_msg("%s", err.text);
    return model;
}

static void step_bytes_counts_what_a_step_reads(void **state)
{
    (void)state;
    const uint64_t attention = E + (uint64_t)(2 * H + 2 * KV) * DIM * E, ffn = E + 3 * FF * E, ends = E + V * E;
    struct gw g;
    tiny_model_init(&g, "llama", GW_F32);
    struct pn_model *m = loaded(&g);
    assert_int_equal(m->step_bytes,
                     4 * (TINY_LAYERS * (attention + ffn) + ends)); /* the embedding: one row, not counted */
    assert_int_equal(m->n_params, TINY_LAYERS * (attention + ffn) + ends + V * E);
    assert_int_equal(m->size_bytes, 4 * m->n_params);
    assert_int_equal(m->n_caches, TINY_LAYERS);
    assert_int_equal(m->n_state, 0);
    for (int i = 0; i < TINY_LAYERS; i++)
        assert_true(m->caches[i].n_head == KV && m->caches[i].dim_k == DIM && m->caches[i].dim_v == DIM &&
                    !m->caches[i].value_in_key);
    pn_model_free(m);
    tiny_model_init(&g, "llama", GW_F32);
    add_experts(&g, NULL);
    m = loaded(&g);
    const uint64_t experts = E + 4 * E + 2 * 3 * 16 * E; /* two of four */
    assert_int_equal(m->step_bytes, 4 * (TINY_LAYERS * (attention + experts) + ends));
    pn_model_free(m);
    tiny_model_init(&g, "llama", GW_F32); /* as one tensor: a step reads the same */
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.attn_qkv.weight", layer);
        replace(&g, (struct shape){name, 2, {(H + 2 * KV) * DIM, E}});
    }
    m = loaded(&g);
    assert_int_equal(m->step_bytes, 4 * (TINY_LAYERS * (attention + ffn) + ends));
    pn_model_free(m);
    tiny_model_init(&g, "llama", GW_F32); /* rows of tables are not counted either; sinks and biases are */
    replace(&g, (struct shape){"position_embd.weight", 2, {TINY_CONTEXT, E}});
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.attn_sinks.weight", layer);
        replace(&g, (struct shape){name, 1, {H}});
        snprintf(name, sizeof name, "blk.%d.ffn_up.bias", layer);
        replace(&g, (struct shape){name, 1, {FF}});
    }
    m = loaded(&g);
    assert_int_equal(m->step_bytes, 4 * (TINY_LAYERS * (attention + H + ffn + FF) + ends));
    pn_model_free(m);
    tiny_model_init(&g, "llama", GW_F32); /* gate and up of the experts as one tensor; two of four are read */
    add_experts(&g, NULL);
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", layer);
        replace(&g, (struct shape){name, 3, {4, 32, E}});
    }
    m = loaded(&g);
    assert_int_equal(m->step_bytes, 4 * (TINY_LAYERS * (attention + experts) + ends));
    pn_model_free(m);
    tiny_model_init(&g, "gemma3", GW_F32); /* the embedding is the output, too */
    m = loaded(&g);
    assert_int_equal(m->step_bytes, 4 * (TINY_LAYERS * (attention + ffn + 2 * DIM + 2 * E) + ends));
    pn_model_free(m);
}

static struct pn_arch arch_named(const char *name)
{
    struct pn_arch row;
    if (!pn_arch_find(name, strlen(name), &row))
        fail_msg("no row is called %s", name);
    return row;
}

static void rows_inherit_from_the_row_they_are_like(void **state)
{
    (void)state;
    struct pn_arch base = arch_named("llama"), row = arch_named("mistral3");
    assert_true(row.block.mlp == pn_block_moe && row.moe.renormalize == PN_YES); /* taken */
    assert_true(row.temperature.from_file && !base.temperature.from_file);       /* given */
    base = arch_named("qwen3"), row = arch_named("qwen3vl");
    assert_true(base.ffn.scales && !row.ffn.scales); /* without */
    assert_true(row.rank.softmax && row.qk_norm == PN_QK_NORM_HEAD);
    row = arch_named("qwen35moe"); /* two rows below the one with .without = "rank" */
    assert_true(!row.rank.softmax && row.ffn.scales && row.attn.query_gate && row.rope.kind == PN_ROPE_HALVES);
    base = arch_named("gemma3"), row = arch_named("gemma4"); /* a member is replaced as a whole */
    assert_true(base.score.n_layers_wide == 62 && row.score.n_layers_wide == 0 && row.score.scale == 1);
    for (int i = 0; pn_arch_at(i, &row); i++) {
        bool above = !row.like;
        for (int j = 0; j < i && !above; j++)
            above = pn_arch_at(j, &base) && strcmp(base.name, row.like) == 0;
        if (!above || (row.without && !row.like))
            fail_msg("%s: no row above is called %s", row.name, row.like ? row.like : "(none)");
    }
}

static void architectures_are_found_by_whole_names(void **state)
{
    (void)state;
    struct pn_arch row, same;
    assert_string_equal(arch_named("llama").name, "llama");
    assert_true(pn_arch_find("llama4x", 6, &row));
    assert_string_equal(row.name, "llama4");
    assert_false(pn_arch_find("llam", 4, &row));
    assert_false(pn_arch_find("llama5", 6, &row));
    assert_false(pn_arch_find("", 0, &row));
    assert_false(pn_arch_at(-1, &row));
    int n = 0;
    for (; pn_arch_at(n, &row); n++) {
        assert_true(pn_arch_find(row.name, strlen(row.name), &same));
        assert_string_equal(same.hf, row.hf); /* names are unique */
    }
    assert_true(n > 100);
    struct gw g;
    gw_init(&g);
    is_refused(&g, "nothing", "general.architecture is missing");
    gw_init(&g);
    gw_u32(&g, "general.architecture", 1);
    is_refused(&g, "a number", "general.architecture is an integer, but must be a string");
    gw_init(&g);
    gw_str(&g, "general.architecture", "llama9");
    is_refused(&g, "another", "architecture \"llama9\" is not supported; supported are llama, mistral3,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_must_fit),
        cmocka_unit_test(a_sink_for_each_head),
        cmocka_unit_test(frequencies_have_finite_divisors),
        cmocka_unit_test(stacks_hold_all_experts),
        cmocka_unit_test(models_without_rotation_need_learned_positions),
        cmocka_unit_test(layers_have_what_others_have),
        cmocka_unit_test(latent_heads_have_both_parts),
        cmocka_unit_test(step_bytes_counts_what_a_step_reads),
        cmocka_unit_test(rows_inherit_from_the_row_they_are_like),
        cmocka_unit_test(architectures_are_found_by_whole_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
