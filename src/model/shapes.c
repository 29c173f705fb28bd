/* Shapes of known models: see shapes.h. Numbers are those of config.json of the published models, written from memory:
 * tests compare the sums of parameters. Names and types of tensors are those of llama.cpp's files. */
#include "model/shapes.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 64 };

/* What a model has beside the tensors of a plain decoder. */
enum {
    BIAS = 1 << 0,       /* biases of queries, keys and values */
    QK_NORM = 1 << 1,    /* norms of queries and keys, per head */
    FUSED = 1 << 2,      /* queries, keys and values in one product; gate and up in another */
    POST_NORMS = 1 << 3, /* norms after each block */
    SINKS = 1 << 4,      /* a sink per head; biases everywhere; the norm between the blocks has another name */
    MOE = 1 << 5,        /* experts in every layer */
    SHARED = 1 << 6,     /* and one that all tokens use, with a gate */
    DELTA = 1 << 7,      /* a delta rule in three of four layers; queries with gates in the others */
};

struct pn_shape {
    const char *name, *arch;
    unsigned has;
    uint32_t n_layer, n_embd, n_head, n_head_kv, dim, n_ff, n_vocab, n_context;
    float freq_base;
    bool tied; /* the embedding is the output matrix too */
    uint32_t window, n_expert, n_used, n_ff_expert;
};

/* With the delta rule: the same in all models here. */
enum { DELTA_HEADS_K = 16, DELTA_HEADS = 32, DELTA_DIM = 128, DELTA_CONV = 4, DELTA_EVERY = 4, DELTA_ROT = 64 };

static const struct pn_shape shapes[] = {
    /* name, architecture, parts, layers, width, heads, key/value heads, head, feed-forward, vocabulary, context, base
     */
    {"smollm2-135m", "llama", 0, 30, 576, 9, 3, 64, 1536, 49152, 8192, 1e5f, true, .window = 0},
    {"smollm2-360m", "llama", 0, 32, 960, 15, 5, 64, 2560, 49152, 8192, 1e5f, true, .window = 0},
    {"smollm2-1.7b", "llama", 0, 24, 2048, 32, 32, 64, 8192, 49152, 8192, 1.3e5f, true, .window = 0},
    {"llama3.2-1b", "llama", 0, 16, 2048, 32, 8, 64, 8192, 128256, 131072, 5e5f, true, .window = 0},
    {"llama3.2-3b", "llama", 0, 28, 3072, 24, 8, 128, 8192, 128256, 131072, 5e5f, true, .window = 0},
    {"llama3.1-8b", "llama", 0, 32, 4096, 32, 8, 128, 14336, 128256, 131072, 5e5f, false, .window = 0},
    {"llama3.3-70b", "llama", 0, 80, 8192, 64, 8, 128, 28672, 128256, 131072, 5e5f, false, .window = 0},
    {"mistral-7b", "llama", 0, 32, 4096, 32, 8, 128, 14336, 32768, 32768, 1e6f, false, .window = 0},
    {"mistral-small-22b", "llama", 0, 56, 6144, 48, 8, 128, 16384, 32768, 32768, 1e6f, false, .window = 0},
    {"mistral-small-24b", "llama", 0, 40, 5120, 32, 8, 128, 32768, 131072, 32768, 1e8f, false, .window = 0},
    {"phi4-14b", "phi3", FUSED, 40, 5120, 40, 10, 128, 17920, 100352, 16384, 2.5e5f, false, .window = 0},
    {"qwen2.5-0.5b", "qwen2", BIAS, 24, 896, 14, 2, 64, 4864, 151936, 32768, 1e6f, true, .window = 0},
    {"qwen2.5-1.5b", "qwen2", BIAS, 28, 1536, 12, 2, 128, 8960, 151936, 32768, 1e6f, true, .window = 0},
    {"qwen2.5-3b", "qwen2", BIAS, 36, 2048, 16, 2, 128, 11008, 151936, 32768, 1e6f, true, .window = 0},
    {"qwen2.5-7b", "qwen2", BIAS, 28, 3584, 28, 4, 128, 18944, 152064, 32768, 1e6f, false, .window = 0},
    {"qwen2.5-14b", "qwen2", BIAS, 48, 5120, 40, 8, 128, 13824, 152064, 32768, 1e6f, false, .window = 0},
    {"qwen2.5-32b", "qwen2", BIAS, 64, 5120, 40, 8, 128, 27648, 152064, 32768, 1e6f, false, .window = 0},
    {"qwen2.5-72b", "qwen2", BIAS, 80, 8192, 64, 8, 128, 29568, 152064, 32768, 1e6f, false, .window = 0},
    {"qwen3-0.6b", "qwen3", QK_NORM, 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1e6f, true, .window = 0},
    {"qwen3-1.7b", "qwen3", QK_NORM, 28, 2048, 16, 8, 128, 6144, 151936, 40960, 1e6f, true, .window = 0},
    {"qwen3-4b", "qwen3", QK_NORM, 36, 2560, 32, 8, 128, 9728, 151936, 40960, 1e6f, true, .window = 0},
    {"qwen3-8b", "qwen3", QK_NORM, 36, 4096, 32, 8, 128, 12288, 151936, 40960, 1e6f, false, .window = 0},
    {"qwen3-14b", "qwen3", QK_NORM, 40, 5120, 40, 8, 128, 17408, 151936, 40960, 1e6f, false, .window = 0},
    {"qwen3-32b", "qwen3", QK_NORM, 64, 5120, 64, 8, 128, 25600, 151936, 40960, 1e6f, false, .window = 0},
    {"qwen3-30b-a3b", "qwen3moe", QK_NORM | MOE, 48, 2048, 32, 4, 128, 6144, 151936, 40960, 1e6f, false,
     .n_expert = 128, .n_used = 8, .n_ff_expert = 768},
    {"qwen3.5-35b-a3b", "qwen35moe", QK_NORM | MOE | SHARED | DELTA, 40, 2048, 16, 2, 256, 512, 248320, 262144, 1e7f,
     false, .n_expert = 256, .n_used = 8, .n_ff_expert = 512},
    {"gemma3-270m", "gemma3", QK_NORM | POST_NORMS, 18, 640, 4, 1, 256, 2048, 262144, 32768, 1e6f, true, .window = 512},
    {"gemma3-1b", "gemma3", QK_NORM | POST_NORMS, 26, 1152, 4, 1, 256, 6912, 262144, 32768, 1e6f, true, .window = 512},
    {"gemma3-4b", "gemma3", QK_NORM | POST_NORMS, 34, 2560, 8, 4, 256, 10240, 262208, 131072, 1e6f, true,
     .window = 1024},
    {"gemma3-12b", "gemma3", QK_NORM | POST_NORMS, 48, 3840, 16, 8, 256, 15360, 262208, 131072, 1e6f, true,
     .window = 1024},
    {"gemma3-27b", "gemma3", QK_NORM | POST_NORMS, 62, 5376, 32, 16, 128, 21504, 262208, 131072, 1e6f, true,
     .window = 1024},
    {"gpt-oss-20b", "gpt-oss", SINKS | MOE, 24, 2880, 64, 8, 64, 2880, 201088, 131072, 1.5e5f, false, .window = 128,
     .n_expert = 32, .n_used = 4, .n_ff_expert = 2880},
    {"gpt-oss-120b", "gpt-oss", SINKS | MOE, 36, 2880, 64, 8, 64, 2880, 201088, 131072, 1.5e5f, false, .window = 128,
     .n_expert = 128, .n_used = 4, .n_ff_expert = 2880},
};

/* The types of a file's matrices. `more` is for half of the value and down matrices, as in llama.cpp's *_M files;
 * `experts` replaces both in stacks of experts. */
struct pn_shape_mix {
    const char *name;
    pn_type base, more, output, experts;
};

#define ALL(name, type)                                                                                                \
    {                                                                                                                  \
        name, type, type, type, PN_TYPE_COUNT                                                                          \
    }
#define MIX(name, base, more, output)                                                                                  \
    {                                                                                                                  \
        name, base, more, output, PN_TYPE_COUNT                                                                        \
    }
static const struct pn_shape_mix mixes[] = {
    ALL("f32", PN_TYPE_F32),
    ALL("f16", PN_TYPE_F16),
    ALL("bf16", PN_TYPE_BF16),
    ALL("q8_0", PN_TYPE_Q8_0),
    MIX("q4_0", PN_TYPE_Q4_0, PN_TYPE_Q4_0, PN_TYPE_Q6_K),
    MIX("q4_1", PN_TYPE_Q4_1, PN_TYPE_Q4_1, PN_TYPE_Q6_K),
    MIX("q5_0", PN_TYPE_Q5_0, PN_TYPE_Q5_0, PN_TYPE_Q6_K),
    MIX("q5_1", PN_TYPE_Q5_1, PN_TYPE_Q5_1, PN_TYPE_Q6_K),
    MIX("q2_k", PN_TYPE_Q2_K, PN_TYPE_Q3_K, PN_TYPE_Q6_K),
    MIX("q3_k_m", PN_TYPE_Q3_K, PN_TYPE_Q4_K, PN_TYPE_Q6_K),
    MIX("q4_k_m", PN_TYPE_Q4_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K),
    MIX("q5_k_m", PN_TYPE_Q5_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K),
    MIX("q6_k", PN_TYPE_Q6_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K),
    {"mxfp4", PN_TYPE_Q8_0, PN_TYPE_Q8_0, PN_TYPE_Q8_0, PN_TYPE_MXFP4},
};
#undef ALL
#undef MIX

/* ---- by name ---- */

const char *pn_shape_name(size_t i)
{
    return i < sizeof shapes / sizeof *shapes ? shapes[i].name : NULL;
}

const char *pn_shape_mix_name(size_t i)
{
    return i < sizeof mixes / sizeof *mixes ? mixes[i].name : NULL;
}

const char *pn_shape_own_type(size_t i)
{
    return i < sizeof shapes / sizeof *shapes && shapes[i].has & SINKS ? "mxfp4" : NULL;
}

static pantry_status unknown(const char *spec, struct pantry_error *err)
{
    struct pn_buf list = {0};
    for (size_t i = 0; pn_shape_name(i); i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", pn_shape_name(i));
    pn_buf_puts(&list, "; types: ");
    for (size_t i = 0; pn_shape_mix_name(i); i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", pn_shape_mix_name(i));
    pantry_status status =
        pn_fail(err, PANTRY_NOT_FOUND,
                "unknown synthetic model \"%.60s\"; use SHAPE:TYPE, such as llama3.2-1b:q4_k_m; shapes: %s", spec,
                list.data ? list.data : "");
    pn_buf_free(&list);
    return status;
}

pantry_status pn_shape_parse(const char *spec, struct pn_shape_spec *out, struct pantry_error *err)
{
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : 0;
    *out = (struct pn_shape_spec){0};
    for (size_t i = 0; colon && i < sizeof shapes / sizeof *shapes; i++)
        if (strlen(shapes[i].name) == len && memcmp(shapes[i].name, spec, len) == 0)
            out->shape = &shapes[i];
    for (size_t i = 0; colon && i < sizeof mixes / sizeof *mixes; i++)
        if (strcmp(mixes[i].name, colon + 1) == 0)
            out->mix = &mixes[i];
    return out->shape && out->mix ? PANTRY_OK : unknown(spec, err);
}

/* ---- metadata ---- */

struct writer {
    const struct pn_shape *shape;
    const struct pn_shape_mix *mix;
    const struct pn_shape_sink *sink;
};

/* 0 means that the model has no such number. */
static void number(const struct writer *w, const char *key, uint32_t value)
{
    char full[MAX_NAME];
    if (value == 0)
        return;
    snprintf(full, sizeof full, "%s.%s", w->shape->arch, key);
    w->sink->u32(w->sink->user, full, value);
}

static void real(const struct writer *w, const char *key, float value)
{
    char full[MAX_NAME];
    snprintf(full, sizeof full, "%s.%s", w->shape->arch, key);
    w->sink->f32(w->sink->user, full, value);
}

static void integers(const struct writer *w, const char *key, size_t n, const int32_t *values)
{
    char full[MAX_NAME];
    snprintf(full, sizeof full, "%s.%s", w->shape->arch, key);
    w->sink->ints(w->sink->user, full, n, values);
}

static void metadata(const struct writer *w, const char *name)
{
    const struct pn_shape *s = w->shape;
    bool delta = s->has & DELTA;
    w->sink->text(w->sink->user, "general.architecture", s->arch);
    w->sink->text(w->sink->user, "general.name", name);
    number(w, "block_count", s->n_layer);
    number(w, "context_length", s->n_context);
    number(w, "embedding_length", s->n_embd);
    number(w, "feed_forward_length", s->n_ff);
    number(w, "attention.head_count", s->n_head);
    number(w, "attention.head_count_kv", s->n_head_kv);
    number(w, "attention.key_length", s->dim);
    number(w, "attention.value_length", s->dim);
    number(w, "attention.sliding_window", s->window);
    real(w, "attention.layer_norm_rms_epsilon", 1e-6f);
    real(w, "rope.freq_base", s->freq_base);
    number(w, "rope.dimension_count", delta ? DELTA_ROT : s->dim);
    if (delta)
        integers(w, "rope.dimension_sections", 4, (const int32_t[]){11, 11, 10, 0});
    number(w, "expert_count", s->n_expert);
    number(w, "expert_used_count", s->n_used);
    number(w, "expert_feed_forward_length", s->n_ff_expert);
    number(w, "expert_shared_feed_forward_length", s->has & SHARED ? s->n_ff_expert : 0);
    number(w, "full_attention_interval", delta ? DELTA_EVERY : 0);
    number(w, "ssm.conv_kernel", delta ? DELTA_CONV : 0);
    number(w, "ssm.state_size", delta ? DELTA_DIM : 0);
    number(w, "ssm.group_count", delta ? DELTA_HEADS_K : 0);
    number(w, "ssm.time_step_rank", delta ? DELTA_HEADS : 0);
    number(w, "ssm.inner_size", delta ? DELTA_HEADS * DELTA_DIM : 0);
}

/* ---- tensors ---- */

/* Rows that are not whole super-blocks get the nearest type with small blocks. */
static pn_type fitting(pn_type type, uint32_t row)
{
    if (row % pn_type_info(type)->block == 0)
        return type;
    switch (type) {
    case PN_TYPE_Q2_K:
    case PN_TYPE_Q3_K:
        return PN_TYPE_Q4_0;
    case PN_TYPE_Q4_K:
        return PN_TYPE_Q5_0;
    case PN_TYPE_Q5_K:
        return PN_TYPE_Q5_1;
    default:
        return PN_TYPE_Q8_0;
    }
}

static void matrix(const struct writer *w, const char *name, pn_type type, uint32_t rows, uint32_t row)
{
    const uint32_t shape[] = {rows, row};
    w->sink->tensor(w->sink->user, name, fitting(type, row), 2, shape, false);
}

static void vector(const struct writer *w, const char *name, uint32_t n, bool ones)
{
    w->sink->tensor(w->sink->user, name, PN_TYPE_F32, 1, &n, ones);
}

/* A tensor of a layer: `n` 0 if the layer lacks it. */
struct part {
    bool has;
    const char *name; /* with its suffix */
    pn_type type;     /* F32 without rows: a vector */
    uint32_t n_mat, rows, row;
};

static void put_parts(const struct writer *w, uint32_t layer, const struct part *parts, size_t n)
{
    for (const struct part *p = parts; p < parts + n; p++) {
        char name[MAX_NAME];
        snprintf(name, sizeof name, "blk.%u.%s", layer, p->name);
        const uint32_t stack[] = {p->n_mat, p->rows, p->row};
        if (!p->has)
            continue;
        if (p->n_mat)
            w->sink->tensor(w->sink->user, name, fitting(p->type, p->row), 3, stack, false);
        else if (p->rows)
            matrix(w, name, p->type, p->rows, p->row);
        else
            vector(w, name, p->row, strstr(p->name, "norm"));
    }
}

#define PUT(w, layer, parts) put_parts(w, layer, parts, sizeof(parts) / sizeof *(parts))

static void attention(const struct writer *w, uint32_t layer, pn_type careful)
{
    const struct pn_shape *s = w->shape;
    const pn_type base = w->mix->base, f32 = PN_TYPE_F32;
    uint32_t q = s->n_head * s->dim, kv = s->n_head_kv * s->dim, n = s->n_embd;
    bool apart = !(s->has & FUSED), bias = s->has & (BIAS | SINKS), norms = s->has & QK_NORM, sinks = s->has & SINKS;
    const struct part parts[] = {
        {!apart, "attn_qkv.weight", careful, 0, q + 2 * kv, n},
        {apart, "attn_q.weight", base, 0, s->has & DELTA ? 2 * q : q, n},
        {apart, "attn_k.weight", base, 0, kv, n},
        {apart, "attn_v.weight", careful, 0, kv, n},
        {bias, "attn_q.bias", f32, 0, 0, q},
        {bias, "attn_k.bias", f32, 0, 0, kv},
        {bias, "attn_v.bias", f32, 0, 0, kv},
        {norms, "attn_q_norm.weight", f32, 0, 0, s->dim},
        {norms, "attn_k_norm.weight", f32, 0, 0, s->dim},
        {true, "attn_output.weight", base, 0, n, q},
        {sinks, "attn_output.bias", f32, 0, 0, n},
        {sinks, "attn_sinks.weight", f32, 0, 0, s->n_head},
    };
    PUT(w, layer, parts);
}

static void delta_rule(const struct writer *w, uint32_t layer, pn_type careful)
{
    const pn_type base = w->mix->base, f32 = PN_TYPE_F32;
    uint32_t values = DELTA_HEADS * DELTA_DIM, channels = values + 2 * DELTA_HEADS_K * DELTA_DIM, n = w->shape->n_embd;
    const struct part parts[] = {
        {true, "attn_qkv.weight", careful, 0, channels, n},
        {true, "attn_gate.weight", base, 0, values, n},
        {true, "ssm_beta.weight", base, 0, DELTA_HEADS, n},
        {true, "ssm_alpha.weight", base, 0, DELTA_HEADS, n},
        {true, "ssm_conv1d.weight", f32, 0, channels, DELTA_CONV},
        {true, "ssm_dt.bias", f32, 0, 0, DELTA_HEADS},
        {true, "ssm_a", f32, 0, 0, DELTA_HEADS},
        {true, "ssm_norm.weight", f32, 0, 0, DELTA_DIM},
        {true, "ssm_out.weight", base, 0, n, values},
    };
    PUT(w, layer, parts);
}

static void feed_forward(const struct writer *w, uint32_t layer, pn_type careful)
{
    const struct pn_shape *s = w->shape;
    bool dense = !(s->has & MOE), fused = s->has & FUSED, shared = s->has & SHARED, sinks = s->has & SINKS;
    const pn_type base = w->mix->base, f32 = PN_TYPE_F32;
    const pn_type experts = w->mix->experts < PN_TYPE_COUNT ? w->mix->experts : base;
    const pn_type experts_down = w->mix->experts < PN_TYPE_COUNT ? w->mix->experts : careful;
    uint32_t n = s->n_embd, ff = s->n_ff, e = s->n_expert, ffe = s->n_ff_expert;
    const struct part parts[] = {
        {dense && !fused, "ffn_gate.weight", base, 0, ff, n},
        {dense, "ffn_up.weight", base, 0, fused ? 2 * ff : ff, n},
        {dense, "ffn_down.weight", careful, 0, n, ff},
        {!dense, "ffn_gate_inp.weight", f32, 0, e, n},
        {sinks, "ffn_gate_inp.bias", f32, 0, 0, e},
        {!dense, "ffn_gate_exps.weight", experts, e, ffe, n},
        {!dense, "ffn_up_exps.weight", experts, e, ffe, n},
        {!dense, "ffn_down_exps.weight", experts_down, e, n, ffe},
        {sinks, "ffn_gate_exps.bias", f32, 0, e, ffe},
        {sinks, "ffn_up_exps.bias", f32, 0, e, ffe},
        {sinks, "ffn_down_exps.bias", f32, 0, e, n},
        {shared, "ffn_gate_inp_shexp.weight", f32, 0, 0, n},
        {shared, "ffn_gate_shexp.weight", base, 0, ffe, n},
        {shared, "ffn_up_shexp.weight", base, 0, ffe, n},
        {shared, "ffn_down_shexp.weight", careful, 0, n, ffe},
    };
    PUT(w, layer, parts);
}

static void norm(const struct writer *w, uint32_t layer, const char *name)
{
    const struct part parts[] = {{true, name, PN_TYPE_F32, 0, 0, w->shape->n_embd}};
    PUT(w, layer, parts);
}

static void put_layer(const struct writer *w, uint32_t layer)
{
    const struct pn_shape *s = w->shape;
    uint32_t eighth = s->n_layer / 8;
    bool more = layer < eighth || layer >= 7 * s->n_layer / 8 || (layer - eighth) % 3 == 2;
    pn_type careful = more ? w->mix->more : w->mix->base;
    norm(w, layer, "attn_norm.weight");
    if (s->has & DELTA && (layer + 1) % DELTA_EVERY)
        delta_rule(w, layer, careful);
    else
        attention(w, layer, careful);
    if (s->has & POST_NORMS)
        norm(w, layer, "post_attention_norm.weight");
    norm(w, layer, s->has & (SINKS | DELTA) ? "post_attention_norm.weight" : "ffn_norm.weight");
    feed_forward(w, layer, careful);
    if (s->has & POST_NORMS)
        norm(w, layer, "post_ffw_norm.weight");
}

uint32_t pn_shape_n_vocab(const struct pn_shape_spec *spec)
{
    return spec->shape->n_vocab;
}

uint32_t pn_shape_n_layers(const struct pn_shape_spec *spec)
{
    return spec->shape->n_layer;
}

void pn_shape_describe(const struct pn_shape_spec *spec, const char *name, const struct pn_shape_sink *sink)
{
    struct pn_shape shape = *spec->shape;
    const struct writer w = {&shape, spec->mix, sink};
    const struct pn_shape *s = w.shape;
    shape.n_layer = spec->n_layers ? spec->n_layers : shape.n_layer;
    metadata(&w, name);
    matrix(&w, "token_embd.weight", s->tied ? w.mix->output : w.mix->base, s->n_vocab, s->n_embd);
    vector(&w, "output_norm.weight", s->n_embd, true);
    if (!s->tied)
        matrix(&w, "output.weight", w.mix->output, s->n_vocab, s->n_embd);
    for (uint32_t i = 0; i < s->n_layer; i++)
        put_layer(&w, i);
}
