/* Weights by name: see blocks.h. */
#include "model/blocks.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* True if the architecture ignores "<name>.<suffix>". */
static bool is_unused(const struct pn_arch *arch, const char *name, const char *suffix)
{
    size_t n = strlen(name), len;
    for (const char *at = arch->unused; at && suffix && *at; at += len + (at[len] == ' ')) {
        len = strcspn(at, " ");
        if (len == n + 1 + strlen(suffix) && memcmp(at, name, n) == 0 && at[n] == '.' &&
            memcmp(at + n + 1, suffix, len - n - 1) == 0)
            return true;
    }
    return false;
}

static const struct pn_tensor_info *find(const struct pn_builder *b, int layer, const char *name, const char *suffix,
                                         char *full, size_t size)
{
    const char *dot = suffix ? "." : "";
    if (is_unused(b->arch, name, suffix))
        return NULL;
    if (layer < 0)
        snprintf(full, size, "%s%s%s", name, dot, suffix ? suffix : "");
    else
        snprintf(full, size, "%sblk.%d.%s%s%s", b->arch->names.layer_prefix ? b->arch->names.layer_prefix : "",
                 layer % b->hp->n_stored, name, dot, suffix ? suffix : "");
    return pn_weights_tensor(b->weights, full);
}

static int64_t rows_of(const struct pn_tensor_info *t)
{
    return t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1;
}

/* A copy of `from` in the arena; NULL, with the error recorded, when memory is out. */
static struct pn_weight *keep(struct pn_builder *b, struct pn_weight from)
{
    struct pn_weight *w = pn_arena_alloc(b->arena, sizeof *w);
    if (w)
        *w = from;
    else
        pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for the graph");
    return w;
}

static struct pn_tensor_leaf *tensor_of(const struct pn_builder *b, const struct pn_tensor_info *t)
{
    return &b->tensors[t - b->weights->tensors];
}

/* The whole tensor, in place: nothing is copied. NULL after an error. */
static const struct pn_weight *weight_of(struct pn_builder *b, const struct pn_tensor_info *t)
{
    struct pn_tensor_leaf *tensor = tensor_of(b, t);
    int64_t cols = t->shape[t->n_dims - 1], n_mat = 1;
    if (tensor->weight)
        return tensor->weight;
    if (rows_of(t) > INT32_MAX || cols > INT32_MAX) {
        pn_graph_fail(b->graph, PANTRY_LIMIT, "tensor %s is too large", t->name);
        return NULL;
    }
    for (int i = 0; i < t->n_dims - 2; i++)
        n_mat *= t->shape[i];
    struct pn_weight *w =
        keep(b, t->places ? *t->places : pn_weight_plain(t->name, t->type, n_mat, rows_of(t), cols, t->data));
    if (w)
        w->id = b->first_id + (size_t)(t - b->weights->tensors);
    return tensor->weight = w;
}

/* The leaf of a tensor's weight. */
static pn_array whole(struct pn_builder *b, const struct pn_tensor_info *t)
{
    struct pn_tensor_leaf *tensor = tensor_of(b, t);
    if (!tensor->has_leaf) {
        tensor->leaf = pn_weight_leaf(b->graph, tensor->weight);
        tensor->has_leaf = true;
    }
    return tensor->leaf;
}

/* The starts of the matrices of a stack of separate tensors, from another row on; NULL after an error. */
static const void *const *starts_at(struct pn_builder *b, const struct pn_weight *all, int64_t first)
{
    const void **mats = pn_arena_array(b->arena, (size_t)all->n_mat * (size_t)all->n_planes, sizeof *mats);
    if (!mats)
        pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for the graph");
    for (int64_t m = 0; mats && m < all->n_mat; m++)
        for (int p = 0; p < all->n_planes; p++)
            mats[m * all->n_planes + p] = pn_weight_at(all, p, m, first);
    return mats;
}

/* Rows first .. first + n - 1 of each matrix of t. */
static pn_array leaf(struct pn_builder *b, const struct pn_tensor_info *t, int64_t first, int64_t n)
{
    int64_t rows = rows_of(t);
    const struct pn_weight *all = weight_of(b, t);
    if (!all)
        return PN_NONE;
    if (first < 0 || n < 1 || first > rows - n)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %lld rows, but %lld are needed", t->name,
                             (long long)rows, (long long)(first + n));
    if (n == rows)
        return whole(b, t);
    struct pn_weight *part = keep(b, *all);
    if (!part)
        return PN_NONE;
    part->n_rows = n;
    part->whole = all;
    for (int p = 0; p < all->n_planes; p++)
        part->plane[p].data = pn_weight_at(all, p, 0, first);
    if (all->mats && !(part->mats = starts_at(b, all, first)))
        return PN_NONE;
    return pn_weight_leaf(b->graph, part);
}

bool pn_builder_has(const struct pn_builder *b, int layer, const char *name, const char *suffix)
{
    char full[128];
    return find(b, layer, name, suffix, full, sizeof full) != NULL;
}

int pn_builder_n_rows(const struct pn_builder *b, int layer, const char *name)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, "weight", full, sizeof full);
    return t && rows_of(t) <= INT32_MAX ? (int)rows_of(t) : 0;
}

int pn_builder_n_cols(const struct pn_builder *b, int layer, const char *name)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, "weight", full, sizeof full);
    return t && t->shape[t->n_dims - 1] <= INT32_MAX ? (int)t->shape[t->n_dims - 1] : 0;
}

pn_array pn_builder_optional(struct pn_builder *b, int layer, const char *name, const char *suffix)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, suffix, full, sizeof full);
    if (!t)
        return PN_NONE;
    b->used_bytes += t->bytes;
    return leaf(b, t, 0, rows_of(t));
}

static const struct pn_tensor_info *need(struct pn_builder *b, int layer, const char *name, const char *suffix)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, NULL, full, sizeof full); /* some have no suffix */
    if (!t)
        t = find(b, layer, name, suffix, full, sizeof full);
    if (!t)
        pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s is missing; architecture %s needs it", full, b->arch->name);
    return t;
}

pn_array pn_builder_weight(struct pn_builder *b, int layer, const char *name)
{
    const struct pn_tensor_info *t = need(b, layer, name, "weight");
    if (!t)
        return PN_NONE;
    b->used_bytes += t->bytes;
    return leaf(b, t, 0, rows_of(t));
}

pn_array pn_builder_vector(struct pn_builder *b, int layer, const char *name, const char *suffix, int first, int n)
{
    const struct pn_tensor_info *t = need(b, layer, name, suffix);
    if (!t)
        return PN_NONE;
    int64_t all = 1;
    for (int i = 0; i < t->n_dims; i++)
        all *= t->shape[i];
    if (first < 0 || n < 1 || first > all - n)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %lld values, but %lld are needed", t->name,
                             (long long)all, (long long)first + n);
    const struct pn_type_info *type = pn_type_info(t->type);
    if (type->block != 1 || t->places)
        return pn_graph_fail(b->graph, PANTRY_UNSUPPORTED,
                             "tensor %s is a vector of %s; f32, f16 and bf16 are supported", t->name, type->name);
    b->used_bytes += (size_t)n * type->bytes;
    const struct pn_weight *from = weight_of(b, t);
    if (!from)
        return PN_NONE;
    if (from->n_mat == 1 && from->n_rows == 1 && n == all)
        return whole(b, t);
    const void *at = (const char *)t->data + (size_t)first * type->bytes;
    struct pn_weight *part = keep(b, pn_weight_plain(t->name, t->type, 1, 1, n, at));
    if (!part)
        return PN_NONE;
    part->id = from->id;
    part->whole = from;
    return pn_weight_leaf(b->graph, part);
}

pn_array pn_builder_inverse(struct pn_builder *b, int layer, const char *name, const char *suffix)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, suffix, full, sizeof full);
    if (!t)
        return PN_NONE;
    if (t->n_dims != 1 || t->shape[0] > INT32_MAX || t->places)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s is not a vector", t->name);
    float *values;
    const struct pn_weight *w = pn_weight_constant(b->arena, t->name, 1, t->shape[0], &values);
    if (!w)
        return pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for the graph");
    pn_type_decode_row(t->type, t->data, values, (size_t)t->shape[0]);
    for (int64_t i = 0; i < t->shape[0]; i++)
        values[i] = 1 / values[i];
    return pn_weight_leaf(b->graph, w);
}

/* A stack that was stored as one matrix. */
static pn_array unstacked(struct pn_builder *b, const struct pn_weight *all, int n_mat)
{
    struct pn_weight *stack = keep(b, *all);
    if (!stack)
        return PN_NONE;
    stack->whole = all;
    stack->n_mat = n_mat;
    stack->n_rows /= n_mat;
    for (int p = 0; p < all->n_planes; p++)
        stack->plane[p].mat_bytes /= (size_t)n_mat;
    return pn_weight_leaf(b->graph, stack);
}

pn_array pn_builder_stack(struct pn_builder *b, int layer, const char *name, int first, int n, int n_mat, int n_used)
{
    const struct pn_tensor_info *t = need(b, layer, name, "weight");
    if (!t)
        return PN_NONE;
    const struct pn_weight *all = weight_of(b, t);
    if (!all)
        return PN_NONE;
    bool flat = all->n_mat == 1 && n_mat > 1 && all->n_rows % n_mat == 0 && first == 0 && n == 0;
    pn_array stack = flat ? unstacked(b, all, n_mat) : leaf(b, t, first, n ? n : rows_of(t) - first);
    if (stack == PN_NONE)
        return PN_NONE;
    const struct pn_weight *w = pn_node(b->graph, stack)->weight;
    if (w->n_mat != n_mat)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %lld matrices, but %d are needed", t->name,
                             (long long)w->n_mat, n_mat);
    b->used_bytes += t->bytes / (uint64_t)rows_of(t) * (uint64_t)w->n_rows / (uint64_t)n_mat * (uint64_t)n_used;
    return stack;
}

pn_array pn_builder_scaled(struct pn_builder *b, int layer, const char *name, const char *suffix, pn_array y)
{
    char full[128];
    float factor;
    const struct pn_tensor_info *t = find(b, layer, name, suffix, full, sizeof full);
    if (!t || y == PN_NONE)
        return y;
    if (t->n_dims != 1 || t->shape[0] != 1)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s must be one number", full);
    pn_type_decode_row(t->type, t->data, &factor, 1);
    return pn_scale(b->graph, y, factor, 0);
}

pn_array pn_builder_gated(struct pn_builder *b, int layer, const char *name, pn_array x)
{
    char full[128];
    float gate;
    const struct pn_tensor_info *t = find(b, layer, name, NULL, full, sizeof full);
    if (!t || x == PN_NONE)
        return x;
    if (t->n_dims != 1 || t->shape[0] != 1)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s must be one number", full);
    pn_type_decode_row(t->type, t->data, &gate, 1);
    return pn_scale(b->graph, x, tanhf(gate), 0);
}

/* Some weights have one more scale beside those of their storage type. */
static pn_array scaled(struct pn_builder *b, int layer, const char *name, pn_array y)
{
    return pn_builder_scaled(b, layer, name, "scale", y);
}

/* ---- adapters ---- */

/* Rows first .. first + n - 1 of a weight of an adapter. */
static pn_array adapter_leaf(struct pn_builder *b, const struct pn_weight *w, int64_t first, int64_t n)
{
    struct pn_weight *part = keep(b, *w);
    if (!part)
        return PN_NONE;
    b->used_bytes += pn_weight_bytes(w);
    if (n == w->n_rows)
        return pn_weight_leaf(b->graph, part);
    part->whole = w;
    part->n_rows = n;
    part->plane[0].data = pn_weight_at(w, 0, 0, first);
    return pn_weight_leaf(b->graph, part);
}

/* Values first .. first + n - 1 of a vector of an adapter. */
static pn_array adapter_vector(struct pn_builder *b, const struct pn_weight *w, int64_t first, int64_t n)
{
    struct pn_weight *part = keep(b, *w);
    if (!part)
        return PN_NONE;
    part->n_cols = n;
    part->plane[0].data = (const float *)w->plane[0].data + first;
    if (n < w->n_cols)
        part->whole = w;
    return pn_weight_leaf(b->graph, part);
}

/* m / |W + B A| for rows first .. first + n - 1: the lengths of the rows of the changed weight become m. */
static pn_array magnitudes(struct pn_builder *b, const struct pn_tensor_info *t, const struct pn_adapter_pair *p,
                           int64_t first, int64_t n)
{
    const struct pn_weight *base = weight_of(b, t);
    float *scales, *row = malloc((size_t)p->a->n_cols * 2 * sizeof *row);
    const struct pn_weight *w = pn_weight_constant(b->arena, p->name, 1, n, &scales);
    if (!base || !row || !w) {
        free(row);
        return pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for an adapter");
    }
    float *change = row + p->a->n_cols;
    for (int64_t r = 0; r < n; r++) {
        double sum = 0;
        const float *of_b = pn_weight_floats(p->b, 0, first + r);
        pn_weight_decode(base, 0, first + r, 0, base->n_cols, row);
        for (int64_t k = 0; k < p->a->n_rows; k++) {
            const float *of_a = pn_weight_floats(p->a, 0, k);
            for (int64_t i = 0; i < p->a->n_cols; i++)
                change[i] = (k ? change[i] : 0) + of_b[k] * of_a[i];
        }
        for (int64_t i = 0; i < p->a->n_cols; i++)
            sum += (double)(row[i] + change[i]) * (double)(row[i] + change[i]);
        scales[r] = sum > 0 ? p->magnitude[first + r] / (float)sqrt(sum) : 0;
    }
    free(row);
    return pn_weight_leaf(b->graph, w);
}

/* What A sees of x. */
static pn_array dropped(struct pn_builder *b, const struct pn_adapter *adapter, const struct pn_adapter_pair *pair,
                        pn_array x)
{
    pn_array keys = b->dropout_keys;
    if (keys == PN_NONE || x == PN_NONE)
        return x;
    if (pn_node(b->graph, x)->rows == PN_ROWS_OUTPUTS)
        keys = pn_output_rows(b->graph, keys);
    return pn_dropout(b->graph, x, keys, adapter->dropout, (uint32_t)(pair - adapter->pairs.data));
}

/* y = W x for rows first .. first + n - 1 of a tensor, with the changes of all adapters. */
static pn_array adapted(struct pn_builder *b, const struct pn_tensor_info *t, pn_array x, pn_array y, int64_t first,
                        int64_t n)
{
    int n_changes = 0;
    for (int i = 0; i < b->n_adapters && y != PN_NONE; i++) {
        const struct pn_adapter_pair *p = pn_adapter_find(b->adapters[i], t->name);
        if (!p)
            continue;
        if (n_changes++ && p->magnitude)
            return pn_graph_fail(b->graph, PANTRY_UNSUPPORTED,
                                 "a DoRA must come before other adapters that change tensor %s", t->name);
        pn_array seen = dropped(b, b->adapters[i], p, x);
        pn_array low = pn_matmul(b->graph, seen, adapter_leaf(b, p->a, 0, p->a->n_rows)); /* (rows, rank) */
        if (p->scale != 1)
            low = pn_scale(b->graph, low, p->scale, 0);
        y = pn_add(b->graph, y, pn_matmul(b->graph, low, adapter_leaf(b, p->b, first, n)));
        if (p->trained_magnitude)
            y = pn_mul(b->graph, pn_mul(b->graph, y, adapter_vector(b, p->inverse, first, n)),
                       adapter_vector(b, p->trained_magnitude, first, n));
        else if (p->magnitude)
            y = pn_mul(b->graph, y, magnitudes(b, t, p, first, n));
    }
    return y;
}

pn_array pn_builder_adapt_each(struct pn_builder *b, int layer, const char *name, pn_array x, pn_array route, int first,
                               int n, pn_array y)
{
    const struct pn_tensor_info *t = b->n_adapters ? need(b, layer, name, "weight") : NULL;
    for (int i = 0; t && i < b->n_adapters && y != PN_NONE; i++) {
        const struct pn_adapter_pair *p = pn_adapter_find(b->adapters[i], t->name);
        if (!p)
            continue;
        if (p->magnitude)
            return pn_graph_fail(b->graph, PANTRY_UNSUPPORTED, "a DoRA of experts (%s) is not supported", t->name);
        pn_array seen = dropped(b, b->adapters[i], p, x);
        pn_array low = pn_matmul_each(b->graph, seen, adapter_leaf(b, p->a, 0, p->a->n_rows), route);
        if (p->scale != 1)
            low = pn_scale(b->graph, low, p->scale, 0);
        y = pn_add(b->graph, y,
                   pn_matmul_each(b->graph, low, adapter_leaf(b, p->b, first, n ? n : p->b->n_rows), route));
    }
    return y;
}

pn_array pn_builder_product(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    const struct pn_tensor_info *t = need(b, layer, name, "weight");
    if (!t)
        return PN_NONE;
    b->used_bytes += t->bytes;
    pn_array w = leaf(b, t, 0, rows_of(t));
    if (w != PN_NONE && n_out && pn_node(b->graph, w)->n1 != n_out)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %d rows, but %d are needed",
                             pn_node(b->graph, w)->weight->name, pn_node(b->graph, w)->n1, n_out);
    return adapted(b, t, x, pn_matmul(b->graph, x, w), 0, rows_of(t));
}

pn_array pn_builder_project(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    pn_array y = scaled(b, layer, name, pn_builder_product(b, layer, name, x, n_out));
    pn_array bias = pn_builder_optional(b, layer, name, "bias");
    return bias == PN_NONE ? y : pn_add(b->graph, y, bias);
}

pn_array pn_builder_project_rows(struct pn_builder *b, int layer, const char *name, pn_array x, int first, int n,
                                 int total, bool scales)
{
    const struct pn_tensor_info *t = need(b, layer, name, "weight");
    if (!t)
        return PN_NONE;
    if (rows_of(t) != total)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %lld rows, but %d are needed", t->name,
                             (long long)rows_of(t), total);
    b->used_bytes += t->bytes / (uint64_t)total * (uint64_t)n;
    pn_array y = adapted(b, t, x, pn_matmul(b->graph, x, leaf(b, t, first, n)), first, n);
    if (scales)
        y = scaled(b, layer, name, y);
    if (y == PN_NONE || !pn_builder_has(b, layer, name, "bias"))
        return y;
    return pn_add(b->graph, y, pn_builder_vector(b, layer, name, "bias", first, n));
}

pn_array pn_builder_project_ffn(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    pn_array y = pn_builder_product(b, layer, name, x, n_out);
    pn_array bias = pn_builder_optional(b, layer, name, "bias");
    if (bias != PN_NONE)
        y = pn_add(b->graph, y, bias);
    return b->arch->ffn.scales ? scaled(b, layer, name, y) : y;
}

size_t pn_builder_state(struct pn_builder *b, size_t n)
{
    size_t offset = b->n_state;
    b->n_state += (n + 15) / 16 * 16;
    return offset;
}

pn_array pn_builder_norm(struct pn_builder *b, int layer, const char *name, pn_array x)
{
    pn_array weight = b->arch->norm.plain ? PN_NONE : pn_builder_weight(b, layer, name);
    pn_array bias = pn_builder_optional(b, layer, name, "bias");
    if (b->hp->norm == PN_NORM_LAYER)
        return pn_layer_norm(b->graph, x, weight, bias, b->hp->norm_eps);
    x = pn_rms_norm(b->graph, x, weight, b->hp->rms_eps);
    return bias == PN_NONE ? x : pn_add(b->graph, x, bias);
}
