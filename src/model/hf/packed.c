/* Packed integers of GPTQ, AWQ, compressed-tensors and bitsandbytes: see storage.h. */
#include "model/hf/storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *method_of(const struct pn_hf *hf)
{
    const json_t *q = json_object_get(hf->dir->config, "quantization_config");
    return q ? q : pn_hf_get(hf, "quantization_config");
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Value i of a stream of words, low bits first. */
static unsigned bits_at(const unsigned char *stream, size_t i, unsigned bits)
{
    size_t bit = i * bits;
    unsigned low = bit % 8, value = (unsigned)stream[bit / 8] >> low;
    if (low + bits > 8)
        value |= (unsigned)stream[bit / 8 + 1] << (8 - low);
    return value & ((1u << bits) - 1);
}

static void put_bits(unsigned char *stream, size_t i, unsigned bits, unsigned value)
{
    size_t bit = i * bits;
    stream[bit / 8] |= (unsigned char)(value << bit % 8);
    if (bit % 8 + bits > 8)
        stream[bit / 8 + 1] |= (unsigned char)(value >> (8 - bit % 8));
}

/* ---- GPTQ and AWQ ---- */

/* A weight whose words hold several inputs of one output (GPTQ), or several outputs of one input (AWQ). */
struct across {
    const struct pn_st_tensor *q, *zeros, *scales, *index;
    bool awq;
    unsigned bits;
    int64_t n_in, n_out, n_groups;
    unsigned zero_offset;
};

/* The bits of word `word` of column `column`, that is (row word, column) in a matrix of words. */
static unsigned across_at(const struct pn_st_tensor *t, int64_t i, int64_t column, unsigned bits)
{
    int64_t n = t->shape[1];
    size_t bit = (size_t)i * bits, word = bit / 32, low = bit % 32;
    const unsigned char *p = t->data + (word * (size_t)n + (size_t)column) * 4;
    uint64_t value = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
    if (low + bits > 32) {
        p += (size_t)n * 4;
        value |= ((uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24) << 32;
    }
    return (unsigned)(value >> low) & ((1u << bits) - 1);
}

/* AWQ's order of the outputs in a word. */
static unsigned awq_at(const struct pn_st_tensor *t, int64_t row, int64_t out)
{
    static const unsigned place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    const unsigned char *p = t->data + ((size_t)row * (size_t)t->shape[1] + (size_t)out / 8) * 4;
    unsigned at = place[out % 8];
    return p[at / 2] >> (at % 2 * 4) & 15;
}

static unsigned value_at(const struct across *a, int64_t in, int64_t out)
{
    return a->awq ? awq_at(a->q, in, out) : across_at(a->q, in, out, a->bits);
}

static unsigned zero_at(const struct across *a, int64_t group, int64_t out)
{
    if (a->awq)
        return awq_at(a->zeros, group, out);
    return bits_at(a->zeros->data + (size_t)group * (size_t)a->zeros->shape[1] * 4, (size_t)out, a->bits) +
           a->zero_offset;
}

static float scale_at(const struct across *a, int64_t group, int64_t out)
{
    return pn_hf_number(a->scales, (size_t)(group * a->n_out + out));
}

static bool read_across(struct pn_hf *hf, const struct pn_st_tensor *t, struct across *a)
{
    const json_t *q = method_of(hf);
    int64_t bits = json_integer_value(json_object_get(q, "bits"));
    *a = (struct across){.q = t,
                         .zeros = pn_hf_beside(hf, t, ".qzeros"),
                         .scales = pn_hf_beside(hf, t, ".scales"),
                         .index = pn_hf_beside(hf, t, ".g_idx"),
                         .awq = strcmp(text_of(q, "quant_method"), "awq") == 0,
                         .bits = bits > 0 && bits <= 8 ? (unsigned)bits : 4};
    a->zero_offset = strcmp(text_of(q, "checkpoint_format"), "gptq_v2") != 0;
    if (!a->zeros || !a->scales || t->n_dims != 2 || a->scales->n_dims != 2 || a->zeros->n_dims != 2 ||
        t->type != PN_ST_I32 || a->zeros->type != PN_ST_I32) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its zero points or scales are missing", t->name);
        return false;
    }
    bool supported = a->awq ? a->bits == 4 && strcmp(text_of(q, "version"), "gemv") != 0
                            : a->bits == 2 || a->bits == 3 || a->bits == 4 || a->bits == 8;
    if (!supported) {
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "tensor %s: %u bits of %s are not supported", t->name, a->bits,
                   a->awq ? "AWQ" : "GPTQ");
        return false;
    }
    a->n_in = a->awq ? t->shape[0] : t->shape[0] * 32 / a->bits;
    a->n_out = a->awq ? t->shape[1] * 8 : t->shape[1];
    a->n_groups = a->scales->shape[0];
    if (a->n_in < 1 || a->n_out < 1 || a->n_groups < 1 || a->scales->shape[1] != a->n_out ||
        a->zeros->shape[0] != a->n_groups || a->zeros->shape[1] * 32 != a->n_out * a->bits ||
        (!a->awq && t->shape[0] * 32 % a->bits) || (a->index && pn_hf_count(a->index) != (size_t)a->n_in)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its zero points, scales or indices do not fit it", t->name);
        return false;
    }
    return true;
}

/* The group of an input; -1 if the file's is none. */
static int64_t group_of(const struct across *a, int64_t in)
{
    if (!a->index || a->index->type != PN_ST_I32) {
        int64_t size = (a->n_in + a->n_groups - 1) / a->n_groups;
        return in / size;
    }
    int32_t g;
    memcpy(&g, a->index->data + (size_t)in * sizeof g, sizeof g);
    return g >= 0 && g < a->n_groups ? g : -1;
}

static bool in_order(const struct across *a)
{
    int64_t size = a->n_in / a->n_groups;
    if (size * a->n_groups != a->n_in || size % 32)
        return false;
    for (int64_t i = 0; i < a->n_in; i++)
        if (group_of(a, i) != i / size)
            return false;
    return true;
}

/* Groups that are scattered over the inputs (act-order): float16, which is no less exact than the scales. */
static bool scattered(struct pn_hf *hf, const struct across *a, struct pn_weight *w)
{
    size_t n;
    bool ok = pn_size_mul((size_t)a->n_in, (size_t)a->n_out, &n);
    uint16_t *values = ok ? pn_arena_array(&hf->w->arena, n + 1, sizeof *values) : NULL;
    if (!values) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensor %s", a->q->name);
        return false;
    }
    for (int64_t i = 0; i < a->n_in; i++) {
        int64_t g = group_of(a, i);
        if (g < 0) {
            pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: the group of input %lld does not exist", a->q->name,
                       (long long)i);
            return false;
        }
        for (int64_t o = 0; o < a->n_out; o++) {
            int level = (int)value_at(a, i, o) - (int)zero_at(a, g, o);
            values[o * a->n_in + i] = pn_f32_to_f16((float)level * scale_at(a, g, o));
        }
    }
    *w = pn_weight_plain(w->name, PN_TYPE_F16, 1, a->n_out, a->n_in, values);
    return true;
}

static pn_type affine_type(unsigned bits)
{
    return bits == 2 ? PN_TYPE_AFFINE2 : bits == 3 ? PN_TYPE_AFFINE3 : bits == 4 ? PN_TYPE_AFFINE4 : PN_TYPE_AFFINE8;
}

bool pn_hf_packed_across(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    struct across a;
    if (!read_across(hf, t, &a) || !pn_hf_shape(hf, t, (int64_t[]){a.n_out, a.n_in}, 2, out))
        return false;
    struct pn_weight *w = out->weight;
    if (!in_order(&a))
        return scattered(hf, &a, w);
    size_t row = (size_t)a.n_in * a.bits / 8, groups = (size_t)a.n_groups;
    unsigned char *q = pn_arena_array(&hf->w->arena, (size_t)a.n_out + 1, row);
    float *scales = pn_hf_floats(hf, (size_t)a.n_out, groups), *biases = pn_hf_floats(hf, (size_t)a.n_out, groups);
    if (!q || !scales || !biases) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensor %s", t->name);
        return false;
    }
    for (int64_t o = 0; o < a.n_out; o++) {
        for (int64_t i = 0; i < a.n_in; i++)
            put_bits(q + (size_t)o * row, (size_t)i, a.bits, value_at(&a, i, o));
        for (size_t g = 0; g < groups; g++) {
            float scale = scale_at(&a, (int64_t)g, o);
            scales[(size_t)o * groups + g] = scale;
            biases[(size_t)o * groups + g] = -scale * (float)zero_at(&a, (int64_t)g, o);
        }
    }
    w->type = affine_type(a.bits);
    w->group = (int)(a.n_in / a.n_groups);
    w->n_planes = 3;
    pn_hf_plane(w, 0, q, row, w->type);
    pn_hf_plane(w, 1, scales, groups * sizeof *scales, PN_TYPE_F32);
    pn_hf_plane(w, 2, biases, groups * sizeof *biases, PN_TYPE_F32);
    return true;
}

/* ---- compressed-tensors ---- */

bool pn_hf_packed_along(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    const struct pn_st_tensor *scales = pn_hf_beside(hf, t, ".weight_scale"),
                              *zeros = pn_hf_beside(hf, t, ".weight_zero_point"),
                              *shape = pn_hf_beside(hf, t, ".weight_shape"),
                              *index = pn_hf_beside(hf, t, ".weight_g_idx");
    pn_type scale_type;
    if (!scales || !shape || pn_hf_count(shape) != 2 || t->n_dims != 2 || scales->n_dims != 2 ||
        !pn_hf_plain_type(scales->type, &scale_type)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s is packed, but its scales or its shape are missing", t->name);
        return false;
    }
    int64_t n_out = (int64_t)pn_hf_number(shape, 0), n_in = (int64_t)pn_hf_number(shape, 1);
    int64_t groups = scales->shape[1], words = t->shape[1];
    unsigned bits = n_in > 0 && words * 32 == n_in * 8 ? 8 : 4;
    bool fits = n_out > 0 && n_in > 0 && n_out == t->shape[0] && n_out == scales->shape[0] && groups > 0 &&
                words * 32 == n_in * (int64_t)bits && n_in % groups == 0 && n_in / groups % 32 == 0;
    fits = fits && (!zeros || (zeros->n_dims == 2 && zeros->shape[1] == groups && zeros->type == PN_ST_I32 &&
                               zeros->shape[0] * 32 == n_out * (int64_t)bits));
    for (int64_t i = 0; index && fits && i < n_in; i++)
        fits = pn_hf_count(index) == (size_t)n_in && (int64_t)pn_hf_number(index, (size_t)i) == i / (n_in / groups);
    if (!fits) {
        pn_hf_fail(hf, PANTRY_UNSUPPORTED,
                   "tensor %s: %lld x %lld values in %lld words per row and %lld groups are not supported", t->name,
                   (long long)n_out, (long long)n_in, (long long)words, (long long)groups);
        return false;
    }
    float *biases = pn_hf_floats(hf, (size_t)n_out, (size_t)groups);
    if (!biases || !pn_hf_shape(hf, t, (int64_t[]){n_out, n_in}, 2, out))
        return false;
    for (int64_t o = 0; o < n_out; o++)
        for (int64_t g = 0; g < groups; g++) {
            unsigned zero = zeros ? across_at(zeros, o, g, bits) : 1u << (bits - 1);
            biases[o * groups + g] = -(float)zero * pn_hf_number(scales, (size_t)(o * groups + g));
        }
    struct pn_weight *w = out->weight;
    w->type = affine_type(bits);
    w->group = (int)(n_in / groups);
    w->n_planes = 3;
    pn_hf_plane(w, 0, t->data, (size_t)words * 4, w->type);
    pn_hf_plane(w, 1, scales->data, (size_t)groups * pn_type_info(scale_type)->bytes, scale_type);
    pn_hf_plane(w, 2, biases, (size_t)groups * sizeof *biases, PN_TYPE_F32);
    return true;
}

/* ---- bitsandbytes ---- */

/* What a weight's quant_state says, as JSON in a tensor of bytes. The caller frees it. */
static json_t *quant_state(const struct pn_hf *hf, const struct pn_st_tensor *t)
{
    const struct pn_st_tensor *state = pn_hf_beside(hf, t, ".weight.quant_state.bitsandbytes__nf4");
    state = state ? state : pn_hf_beside(hf, t, ".weight.quant_state.bitsandbytes__fp4");
    return state && state->bytes < 1 << 16 ? json_loadb((const char *)state->data, state->bytes, 0, NULL) : NULL;
}

static int64_t divisor_of(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Scale i of the blocks, which may be quantized themselves. */
static float absmax_at(const struct pn_st_tensor *scales, const struct pn_st_tensor *nested,
                       const struct pn_st_tensor *map, int64_t nested_block, float offset, size_t i)
{
    if (scales->type != PN_ST_U8)
        return pn_hf_number(scales, i);
    return pn_hf_number(map, scales->data[i]) * pn_hf_number(nested, i / (size_t)nested_block) + offset;
}

bool pn_hf_codes(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    const struct pn_st_tensor *scales = pn_hf_beside(hf, t, ".weight.absmax"),
                              *codes = pn_hf_beside(hf, t, ".weight.quant_map"),
                              *nested = pn_hf_beside(hf, t, ".weight.nested_absmax"),
                              *map = pn_hf_beside(hf, t, ".weight.nested_quant_map");
    json_t *state = quant_state(hf, t);
    const json_t *shape = json_object_get(state, "shape");
    int64_t block = json_integer_value(json_object_get(state, "blocksize"));
    int64_t nested_block = json_integer_value(json_object_get(state, "nested_blocksize"));
    float offset = (float)json_number_value(json_object_get(state, "nested_offset"));
    int64_t n_out = json_integer_value(json_array_get(shape, 0)), n_in = json_integer_value(json_array_get(shape, 1));
    size_t n = 0, n_blocks = 0;
    bool fits = json_array_size(shape) == 2 && block >= 2 && block % 2 == 0 && n_out > 0 && n_in > 0 && n_in % 2 == 0 &&
                pn_size_mul((size_t)n_out, (size_t)n_in, &n) && t->type == PN_ST_U8 && t->bytes == n / 2 && codes &&
                codes->type == PN_ST_F32 && pn_hf_count(codes) == 16;
    if (fits) {
        n_blocks = (n + (size_t)block - 1) / (size_t)block;
        bool is_nested = scales->type == PN_ST_U8;
        fits = pn_hf_count(scales) == n_blocks &&
               (!is_nested || (nested && map && nested_block > 0 && pn_hf_count(map) == 256 &&
                               pn_hf_count(nested) * (size_t)nested_block >= n_blocks));
    }
    json_decref(state);
    if (!fits) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its scales, codes or quant_state are missing or do not fit", t->name);
        return false;
    }
    int64_t group = divisor_of(n_in, block), per_row = n_in / group;
    float *expanded = pn_hf_floats(hf, (size_t)n_out, (size_t)per_row);
    if (!expanded || !pn_hf_shape(hf, t, (int64_t[]){n_out, n_in}, 2, out))
        return false;
    for (size_t i = 0; i < (size_t)(n_out * per_row); i++)
        expanded[i] = absmax_at(scales, nested, map, nested_block, offset, i * (size_t)group / (size_t)block);
    struct pn_weight *w = out->weight;
    w->type = PN_TYPE_CODES4;
    w->group = (int)group;
    w->n_planes = 3;
    pn_hf_plane(w, 0, t->data, (size_t)n_in / 2, w->type);
    pn_hf_plane(w, 1, expanded, (size_t)per_row * sizeof *expanded, PN_TYPE_F32);
    w->plane[2] = (struct pn_plane){codes->data, 0, 0, PN_TYPE_F32};
    return true;
}
