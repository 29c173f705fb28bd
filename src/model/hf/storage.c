/* Names and shapes of stored weights: see storage.h. */
#include "model/hf/storage.h"

#include <math.h>
#include <stdio.h>
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
