/* The numbers of one weight, in place where their order allows it: see hf.h, and packed.c for packed integers. */
#include "model/hf/hf.h"
#include "model/hf/storage.h"

#include "tensor/weight.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

/* Ends of the names of tensors that are a weight's numbers, and what they are without it. */
static const struct {
    const char *end, *leaf;
} kinds[] = {
    {".weight", "weight"}, {".qweight", "weight"}, {".weight_packed", "weight"}, {".bias", "bias"}, {"_blocks", ""}};

/* Ends of the names of tensors that belong to a weight. */
static const char *const companions[] = {".scales",
                                         ".biases",
                                         ".qzeros",
                                         ".g_idx",
                                         ".weight_scale",
                                         ".weight_shape",
                                         ".weight_scale_inv",
                                         ".weight_scale_2",
                                         ".weight_g_idx",
                                         ".weight_zero_point",
                                         ".input_scale",
                                         ".input_zero_point",
                                         ".output_scale",
                                         ".weight_format",
                                         ".weight_global_scale",
                                         ".SCB",
                                         ".weight.absmax",
                                         ".weight.quant_map",
                                         ".weight.nested_absmax",
                                         ".weight.nested_quant_map",
                                         ".weight.quant_state.bitsandbytes__nf4",
                                         ".weight.quant_state.bitsandbytes__fp4",
                                         ".input_global_scale",
                                         ".k_scale",
                                         ".v_scale"};

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

size_t pn_hf_module(const struct pn_st_tensor *t, const char **leaf)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends(t->name, kinds[i].end)) {
            *leaf = kinds[i].leaf;
            return strlen(t->name) - strlen(kinds[i].end);
        }
    *leaf = "";
    return strlen(t->name);
}

const struct pn_st_tensor *pn_hf_beside(const struct pn_hf *hf, const struct pn_st_tensor *t, const char *end)
{
    char name[1100];
    const char *leaf;
    snprintf(name, sizeof name, "%.*s%s", (int)pn_hf_module(t, &leaf), t->name, end);
    return pn_hfdir_tensor(hf->dir, name);
}

bool pn_hf_is_companion(const struct pn_hf *hf, const struct pn_st_tensor *t)
{
    char name[1100];
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        if (ends(t->name, companions[i]))
            return true;
    if (!ends(t->name, "_scales"))
        return false;
    snprintf(name, sizeof name, "%.*s_blocks", (int)strlen(t->name) - 7, t->name);
    return pn_hfdir_tensor(hf->dir, name) != NULL;
}

/* ---- plain numbers ---- */

bool pn_hf_plain_type(enum pn_st_type from, pn_type *out)
{
    static const struct {
        enum pn_st_type from;
        pn_type to;
    } known[] = {{PN_ST_F32, PN_TYPE_F32}, {PN_ST_F16, PN_TYPE_F16}, {PN_ST_BF16, PN_TYPE_BF16},
                 {PN_ST_F64, PN_TYPE_F64}, {PN_ST_I32, PN_TYPE_I32}, {PN_ST_I64, PN_TYPE_I64}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].from == from) {
            *out = known[i].to;
            return true;
        }
    return false;
}

bool pn_hf_shape(struct pn_hf *hf, const struct pn_st_tensor *t, const int64_t *shape, int n_dims,
                 struct pn_hf_matrix *out)
{
    out->n_dims = n_dims < 1 ? 1 : n_dims;
    out->map = t->map;
    for (int i = 0; i < PN_MAX_DIMS; i++)
        out->shape[i] = i < n_dims ? shape[i] : 1;
    out->weight = pn_arena_alloc(&hf->w->arena, sizeof *out->weight);
    if (!out->weight)
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensors");
    if (n_dims > PN_MAX_DIMS)
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "tensor %s has %d dimensions, but at most %d are supported", t->name, n_dims,
                   PN_MAX_DIMS);
    int64_t n_mat = 1;
    for (int i = 0; i < out->n_dims && !hf->status; i++)
        if (out->shape[i] < 1 || out->shape[i] > INT32_MAX || (i < n_dims - 2 && (n_mat *= out->shape[i]) > INT32_MAX))
            pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: dimension %d is %lld, which is not supported", t->name, i,
                       (long long)out->shape[i]);
    if (hf->status)
        return false;
    out->weight->name = t->name;
    out->weight->n_mat = n_mat;
    out->weight->n_rows = out->n_dims > 1 ? out->shape[out->n_dims - 2] : 1;
    out->weight->n_cols = out->shape[out->n_dims - 1];
    return true;
}

static bool plain(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    pn_type type;
    if (!pn_hf_plain_type(t->type, &type)) {
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "tensor %s has the dtype %s, and nothing says how to read it", t->name,
                   pn_st_type_name(t->type));
        return false;
    }
    if (!pn_hf_shape(hf, t, t->shape, t->n_dims, out))
        return false;
    struct pn_weight *w = out->weight;
    *w = pn_weight_plain(t->name, type, w->n_mat, w->n_rows, w->n_cols, t->data);
    return true;
}

/* ---- planes ---- */

void pn_hf_plane(struct pn_weight *w, int plane, const void *data, size_t row_bytes, pn_type type)
{
    w->plane[plane] = (struct pn_plane){data, row_bytes, row_bytes * (size_t)w->n_rows, type};
}

float pn_hf_number(const struct pn_st_tensor *t, size_t i)
{
    pn_type type;
    float value = 0;
    if (t->type == PN_ST_F8_E8M0)
        return ldexpf(1, t->data[i] - 127);
    if (t->type == PN_ST_F8_E4M3) {
        const float one = 1;
        const struct pn_planes_row row = {.at = {t->data + i, &one}, .type = {[1] = PN_TYPE_F32}, .group = 1};
        pn_type_info(PN_TYPE_FP8)->decode_planes(&row, 0, &value, 1);
    }
    if (pn_hf_plain_type(t->type, &type))
        pn_type_decode_row(type, t->data + i * pn_type_info(type)->bytes, &value, 1);
    return value;
}

size_t pn_hf_count(const struct pn_st_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= (size_t)t->shape[i];
    return n;
}

float *pn_hf_floats(struct pn_hf *hf, size_t n, size_t m)
{
    size_t all;
    float *values = pn_size_mul(n, m, &all) ? pn_arena_array(&hf->w->arena, all + 1, sizeof *values) : NULL;
    if (!values)
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for scales");
    return values;
}

/* The tensor has as many numbers in its last dimension, and the same ones before, as a weight with that many scales. */
static bool fits(const struct pn_st_tensor *s, const struct pn_st_tensor *t, int outer, int64_t n)
{
    bool same = s && s->n_dims == outer + 1 && s->shape[outer] == n;
    for (int i = 0; i < outer && same; i++)
        same = s->shape[i] == t->shape[i];
    return same;
}

/* ---- MLX ---- */

/* The quantization of a path, or of the whole model. */
static const json_t *quantization_of(const struct pn_hf *hf, const struct pn_st_tensor *t, bool *own)
{
    char path[1100];
    const char *leaf;
    const json_t *all = json_object_get(hf->dir->config, "quantization");
    if (!all)
        all = json_object_get(hf->dir->config, "quantization_config");
    if (!all)
        all = pn_hf_get(hf, "quantization quantization_config");
    snprintf(path, sizeof path, "%.*s", (int)pn_hf_module(t, &leaf), t->name);
    const json_t *mine = json_object_get(all, path);
    *own = json_is_object(mine);
    return *own ? mine : all;
}

/* Bits and group of an affine weight whose rows have `words` words and `groups` scales: what the configuration says if
 * it fits, else what does. */
static bool find_affine(const struct pn_hf *hf, const struct pn_st_tensor *t, int64_t words, int64_t groups, int *bits,
                        int *group)
{
    static const int all_bits[] = {4, 8, 6, 5, 3, 2}, all_groups[] = {64, 32, 128};
    bool own;
    const json_t *q = quantization_of(hf, t, &own);
    int64_t b = json_integer_value(json_object_get(q, "bits")),
            g = json_integer_value(json_object_get(q, "group_size"));
    b = b ? b : 4;
    g = g ? g : 64;
    for (int pass = 0; pass < 3; pass++)
        for (size_t i = 0; i < sizeof all_bits / sizeof *all_bits; i++)
            for (size_t j = 0; j < sizeof all_groups / sizeof *all_groups; j++) {
                *bits = all_bits[i];
                *group = all_groups[j];
                bool as_said = pass == 0 ? *bits == b && *group == g : pass > 1 || *group == g;
                if (as_said && words * 32 == groups * *group * *bits)
                    return true;
            }
    return false;
}

static bool affine(struct pn_hf *hf, const struct pn_st_tensor *t, const struct pn_st_tensor *scales,
                   struct pn_hf_matrix *out)
{
    static const pn_type types[] = {[2] = PN_TYPE_AFFINE2, [3] = PN_TYPE_AFFINE3, [4] = PN_TYPE_AFFINE4,
                                    [5] = PN_TYPE_AFFINE5, [6] = PN_TYPE_AFFINE6, [8] = PN_TYPE_AFFINE8};
    const struct pn_st_tensor *biases = pn_hf_beside(hf, t, ".biases");
    int last = t->n_dims - 1, bits, group;
    int64_t words = t->shape[last], groups = scales->shape[last], shape[PN_ST_MAX_DIMS];
    pn_type scale_type, bias_type;
    if (!biases) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s is packed and has scales, but its biases are missing", t->name);
        return false;
    }
    if (!fits(scales, t, last, groups) || !fits(biases, t, last, groups) ||
        !pn_hf_plain_type(scales->type, &scale_type) || !pn_hf_plain_type(biases->type, &bias_type) ||
        !find_affine(hf, t, words, groups, &bits, &group)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its scales and biases do not fit %lld words per row", t->name,
                   (long long)words);
        return false;
    }
    memcpy(shape, t->shape, sizeof shape);
    shape[last] = groups * group;
    if (!pn_hf_shape(hf, t, shape, t->n_dims, out))
        return false;
    struct pn_weight *w = out->weight;
    w->type = types[bits];
    w->group = group;
    w->n_planes = 3;
    pn_hf_plane(w, 0, t->data, (size_t)words * 4, w->type);
    pn_hf_plane(w, 1, scales->data, (size_t)groups * pn_type_info(scale_type)->bytes, scale_type);
    pn_hf_plane(w, 2, biases->data, (size_t)groups * pn_type_info(bias_type)->bytes, bias_type);
    return true;
}

/* A weight of FP4_MX, FP4_NV or FP8_MX with a byte per scale. `factor`: of FP4_NV. */
static bool small_floats(struct pn_hf *hf, const struct pn_st_tensor *t, const struct pn_st_tensor *scales,
                         pn_type type, int64_t row_bytes, float factor, struct pn_hf_matrix *out)
{
    int group = type == PN_TYPE_FP4_NV ? 16 : 32, last = scales->n_dims - 1;
    int64_t groups = last < 0 ? 0 : scales->shape[last], shape[PN_ST_MAX_DIMS];
    size_t bytes = pn_type_row_bytes(type, (size_t)group);
    if (last < 1 || row_bytes != groups * (int64_t)bytes || !fits(scales, t, last, groups)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its scales do not fit %lld bytes per row", t->name,
                   (long long)row_bytes);
        return false;
    }
    memcpy(shape, scales->shape, sizeof shape);
    shape[last] = groups * group;
    if (!pn_hf_shape(hf, t, shape, scales->n_dims, out))
        return false;
    struct pn_weight *w = out->weight;
    w->type = type;
    w->group = group;
    w->n_planes = type == PN_TYPE_FP4_NV ? 3 : 2;
    pn_hf_plane(w, 0, t->data, (size_t)row_bytes, type);
    pn_hf_plane(w, 1, scales->data, (size_t)groups, PN_TYPE_I8);
    if (type == PN_TYPE_FP4_NV) {
        float *one = pn_hf_floats(hf, 1, 1);
        if (!one)
            return false;
        *one = factor;
        w->plane[2] = (struct pn_plane){one, 0, 0, PN_TYPE_F32};
    }
    return true;
}

static bool mlx(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    const struct pn_st_tensor *scales = pn_hf_beside(hf, t, ".scales");
    if (!scales || t->n_dims < 2 || scales->n_dims != t->n_dims) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s is packed (U32), but its scales are missing", t->name);
        return false;
    }
    if (scales->type != PN_ST_U8)
        return affine(hf, t, scales, out);
    const struct pn_st_tensor *global = pn_hf_beside(hf, t, ".global_scale");
    int last = t->n_dims - 1;
    int64_t row = t->shape[last] * 4, groups = scales->shape[last];
    pn_type type = groups > 0 && row / groups == 8    ? PN_TYPE_FP4_NV
                   : groups > 0 && row / groups == 16 ? PN_TYPE_FP4_MX
                                                      : PN_TYPE_FP8_MX;
    return small_floats(hf, t, scales, type, row, global ? pn_hf_number(global, 0) : 1, out);
}

/* ---- others, in place ---- */

/* Hugging Face's mxfp4: (matrices, rows, groups, 16) bytes. */
static bool blocks(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    const struct pn_st_tensor *scales = pn_hf_beside(hf, t, "_scales");
    int last = t->n_dims - 1;
    if (!scales || t->n_dims < 3 || t->shape[last] != 16 || t->type != PN_ST_U8 || scales->type != PN_ST_U8) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s: its scales are missing, or it is not made of blocks of 16 bytes",
                   t->name);
        return false;
    }
    return small_floats(hf, t, scales, PN_TYPE_FP4_MX, t->shape[last - 1] * 16, 1, out);
}

/* Bytes with two E2M1: of compressed-tensors (`divisor`: a divisor for the whole tensor) or ModelOpt (a factor). */
static bool packed_floats(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    const struct pn_st_tensor *scales = pn_hf_beside(hf, t, ".weight_scale");
    const struct pn_st_tensor *divisor = pn_hf_beside(hf, t, ".weight_global_scale");
    const struct pn_st_tensor *factor = pn_hf_beside(hf, t, ".weight_scale_2");
    if (!scales || t->n_dims < 2 || scales->n_dims != t->n_dims || pn_hf_count(scales) < 1) {
        pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s is packed, but its scales are missing", t->name);
        return false;
    }
    pn_type type = scales->type == PN_ST_F8_E4M3 ? PN_TYPE_FP4_NV : PN_TYPE_FP4_MX;
    float value = divisor && pn_hf_count(divisor) ? 1 / pn_hf_number(divisor, 0)
                  : factor && pn_hf_count(factor) ? pn_hf_number(factor, 0)
                                                  : 1;
    return small_floats(hf, t, scales, type, t->shape[t->n_dims - 1], value, out);
}

/* A block of rows and columns of an FP8 weight that share a scale. */
static void scale_block(const struct pn_hf *hf, int64_t *rows, int64_t *cols)
{
    const json_t *q = json_object_get(hf->dir->config, "quantization_config");
    const json_t *size = json_object_get(q, "weight_block_size");
    *rows = json_integer_value(json_array_get(size, 0));
    *cols = json_integer_value(json_array_get(size, 1));
    *rows = *rows > 0 ? *rows : 128;
    *cols = *cols > 0 ? *cols : 128;
}

/* Bytes with a float scale: one for all, one per row, or one per block of rows and columns. */
static bool scaled_bytes(struct pn_hf *hf, const struct pn_st_tensor *t, pn_type type, const struct pn_st_tensor *s,
                         float factor, struct pn_hf_matrix *out)
{
    if (!pn_hf_shape(hf, t, t->shape, t->n_dims, out))
        return false;
    struct pn_weight *w = out->weight;
    size_t n = s ? pn_hf_count(s) : 1, all = (size_t)(w->n_mat * w->n_rows);
    int64_t block_rows = 1, block_cols = w->n_cols, per_row = 1, per_mat = w->n_rows;
    if (n == 1) {
        block_rows = w->n_rows;
        per_mat = 1;
    } else if (n != all) {
        scale_block(hf, &block_rows, &block_cols);
        per_row = (w->n_cols + block_cols - 1) / block_cols;
        per_mat = (w->n_rows + block_rows - 1) / block_rows * per_row;
        if (n != (size_t)(per_mat * w->n_mat)) {
            pn_hf_fail(hf, PANTRY_FORMAT, "tensor %s has %zu scales, which do not fit blocks of %lld x %lld", t->name,
                       n, (long long)block_rows, (long long)block_cols);
            return false;
        }
    }
    float *scales = pn_hf_floats(hf, all, (size_t)per_row);
    if (!scales)
        return false;
    for (int64_t m = 0; m < w->n_mat; m++)
        for (int64_t r = 0; r < w->n_rows; r++)
            for (int64_t c = 0; c < per_row; c++) {
                size_t at = n == 1 ? 0 : (size_t)(m * per_mat + r / block_rows * per_row + c);
                scales[(m * w->n_rows + r) * per_row + c] = s ? pn_hf_number(s, at) * factor : factor;
            }
    w->type = type;
    w->group = (int)block_cols;
    w->n_planes = 2;
    pn_hf_plane(w, 0, t->data, (size_t)w->n_cols, type);
    pn_hf_plane(w, 1, scales, (size_t)per_row * sizeof *scales, PN_TYPE_F32);
    return true;
}

bool pn_hf_matrix(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out)
{
    *out = (struct pn_hf_matrix){0};
    const struct pn_st_tensor *scale = pn_hf_beside(hf, t, ".weight_scale_inv");
    scale = scale ? scale : pn_hf_beside(hf, t, ".weight_scale");
    if (ends(t->name, ".qweight"))
        return pn_hf_packed_across(hf, t, out);
    if (ends(t->name, ".weight_packed") && t->type == PN_ST_I32)
        return pn_hf_packed_along(hf, t, out);
    if (ends(t->name, ".weight_packed") || (t->type == PN_ST_U8 && scale && t->n_dims == 2 && t->shape[1] > 1))
        return packed_floats(hf, t, out);
    if (ends(t->name, "_blocks"))
        return blocks(hf, t, out);
    if (t->type == PN_ST_U32)
        return mlx(hf, t, out);
    if (t->type == PN_ST_F8_E4M3)
        return scaled_bytes(hf, t, PN_TYPE_FP8, scale, 1, out);
    if (t->type == PN_ST_I8 && pn_hf_beside(hf, t, ".SCB"))
        return scaled_bytes(hf, t, PN_TYPE_INT8, pn_hf_beside(hf, t, ".SCB"), 1.0f / 127, out);
    if (t->type == PN_ST_I8 && scale)
        return scaled_bytes(hf, t, PN_TYPE_INT8, scale, 1, out);
    if (pn_hf_beside(hf, t, ".weight.absmax"))
        return pn_hf_codes(hf, t, out);
    return plain(hf, t, out);
}
