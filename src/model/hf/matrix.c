/* The numbers of one weight, in place where their order allows it: see hf.h, and packed.c for packed integers. */
#include "model/hf/hf.h"
#include "model/hf/storage.h"

#include "tensor/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

/* ---- plain numbers ---- */

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
