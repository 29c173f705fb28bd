/* Adapters: see adapter.h. */
#define _POSIX_C_SOURCE 200809L
#include "model/adapter.h"

#include "model/arch.h"
#include "model/hf/hf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Every pair is complete and fits a tensor of the base. */
static pantry_status check(const struct pn_adapter *adapter, const struct pn_weights *base, struct pantry_error *err)
{
    for (size_t i = 0; i < adapter->pairs.len; i++) {
        const struct pn_adapter_pair *p = &adapter->pairs.data[i];
        const struct pn_tensor_info *t = pn_weights_tensor(base, p->name);
        if (!t)
            return pn_fail(err, PANTRY_FORMAT, "%s: changes tensor %s, which the model does not have", adapter->path,
                           p->name);
        if (!p->a || !p->b)
            return pn_fail(err, PANTRY_FORMAT, "%s: one half of the change of tensor %s is missing", adapter->path,
                           p->name);
        int64_t n_mat = t->n_dims > 2 ? t->shape[0] : 1;
        if (t->n_dims < 2 || t->n_dims > 3 || p->a->n_cols != t->shape[t->n_dims - 1] ||
            p->b->n_rows != t->shape[t->n_dims - 2] || p->a->n_rows != p->b->n_cols || p->a->n_mat != n_mat ||
            p->b->n_mat != n_mat)
            return pn_fail(
                err, PANTRY_FORMAT, "%s: the change of tensor %s is %lld x %lld x %lld, which does not fit the model",
                adapter->path, p->name, (long long)p->b->n_rows, (long long)p->a->n_rows, (long long)p->a->n_cols);
    }
    if (adapter->pairs.len == 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: has no change of any weight", adapter->path);
    return PANTRY_OK;
}

/* ---- GGUF ---- */

/* "blk.0.attn_q.weight" of "blk.0.attn_q.weight.lora_a"; 'a' or 'b', 0 for other names. */
static char half_of(const char *name, char *base, size_t size)
{
    const char *end = strstr(name, ".lora_");
    if (!end || (strcmp(end, ".lora_a") != 0 && strcmp(end, ".lora_b") != 0) || (size_t)(end - name) >= size)
        return 0;
    memcpy(base, name, (size_t)(end - name));
    base[end - name] = '\0';
    return end[6];
}

/* GGUF files of some architectures have the rows of queries and keys in another order than directories: pairs of
 * neighbours instead of halves. Row r of a head, in the order of the directory. */
static int64_t row_of_pairs(int64_t r, int64_t n_rot)
{
    return r >= n_rot ? r : r % 2 * (n_rot / 2) + r / 2;
}

static pantry_status read_tensor(struct pn_adapter *adapter, const struct pn_weights *w, const struct pn_tensor_info *t,
                                 double alpha, float user, int64_t n_rot, int64_t head, struct pantry_error *err)
{
    char name[512];
    char half = half_of(t->name, name, sizeof name);
    if (!half || t->n_dims < 2 || t->n_dims > 3)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: tensor %s is not a part of a LoRA", w->path, t->name);
    int64_t n_mat = t->n_dims > 2 ? t->shape[0] : 1, rows = t->shape[t->n_dims - 2], cols = t->shape[t->n_dims - 1];
    struct pn_weight *to = pn_adapter_weight(adapter, n_mat, rows, cols);
    if (!to)
        return pn_no_memory(err, "an adapter");
    const struct pn_weight from = pn_weight_plain(t->name, t->type, n_mat, rows, cols, t->data);
    float scale = half == 'a' ? 1 : user * (float)(alpha != 0 ? alpha / (double)cols : 1);
    bool turns = half == 'b' && n_rot > 0 && n_mat == 1 && head > 0 && rows % head == 0 &&
                 (strstr(name, ".attn_q.weight") || strstr(name, ".attn_k.weight"));
    float *values = (float *)(uintptr_t)to->plane[0].data;
    for (int64_t i = 0; i < n_mat * rows; i++) {
        int64_t at = turns ? i / head * head + row_of_pairs(i % head, n_rot) : i;
        pn_weight_decode(&from, i / rows, i % rows, 0, cols, values + at * cols);
        for (int64_t c = 0; c < cols; c++)
            values[at * cols + c] *= scale;
    }
    return half == 'a' ? pn_adapter_add(adapter, name, to, NULL, NULL, err)
                       : pn_adapter_add(adapter, name, NULL, to, NULL, err);
}

static pantry_status read_gguf(struct pn_adapter *adapter, const struct pn_weights *base, float scale,
                               struct pantry_error *err)
{
    struct pn_weights *w;
    struct pn_str type = {"", 0};
    float alpha = 0;
    int64_t n_rot = 0, head = 0;
    pantry_status status = pn_weights_open(adapter->path, &w, err);
    if (status)
        return status;
    if (pn_meta_str(w, "adapter.type", &type, NULL) || type.len != 4 || memcmp(type.data, "lora", 4) != 0)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: is not a LoRA adapter (adapter.type)", adapter->path);
    pn_meta_f32(w, "adapter.lora.alpha", &alpha, NULL);
    if (base->hf && base->arch->rope.kind == PN_ROPE_HALVES)
        pn_hf_pairs_in_gguf(base->arch, base, &n_rot, &head);
    for (size_t i = 0; i < w->n_tensors && !status; i++)
        status = read_tensor(adapter, w, &w->tensors[i], (double)alpha, scale, n_rot, head, err);
    pn_weights_close(w);
    return status;
}

/* Magnitudes as vectors that the trainer changes. */
static pantry_status make_trained(struct pn_adapter *adapter, struct pantry_error *err)
{
    for (size_t i = 0; i < adapter->pairs.len; i++) {
        struct pn_adapter_pair *p = &adapter->pairs.data[i];
        struct pn_weight *m = p->magnitude ? pn_adapter_weight(adapter, 1, 1, p->b->n_rows) : NULL;
        struct pn_weight *inverse = m ? pn_adapter_weight(adapter, 1, 1, p->b->n_rows) : NULL;
        if (!p->magnitude)
            continue;
        if (!inverse)
            return pn_no_memory(err, "an adapter");
        if (p->b->n_mat > 1)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: a DoRA of experts (%s) is not supported", adapter->path,
                           p->name);
        memcpy((float *)(uintptr_t)m->plane[0].data, p->magnitude, (size_t)p->b->n_rows * sizeof(float));
        p->trained_magnitude = m;
        p->inverse = inverse;
    }
    return PANTRY_OK;
}

pantry_status pn_adapter_refresh(const struct pn_adapter_pair *p, const struct pn_weights *base,
                                 struct pantry_error *err)
{
    const struct pn_tensor_info *t = pn_weights_tensor(base, p->name);
    const struct pn_weight w =
        t->places ? *t->places : pn_weight_plain(t->name, t->type, 1, p->b->n_rows, p->a->n_cols, t->data);
    float *inverse = (float *)(uintptr_t)p->inverse->plane[0].data;
    float *row = malloc((size_t)p->a->n_cols * sizeof *row);
    if (!row)
        return pn_no_memory(err, "an adapter");
    for (int64_t r = 0; r < p->b->n_rows; r++) {
        double sum = 0;
        const float *of_b = pn_weight_floats(p->b, 0, r);
        pn_weight_decode(&w, 0, r, 0, w.n_cols, row);
        for (int64_t k = 0; k < p->a->n_rows; k++) {
            const float *of_a = pn_weight_floats(p->a, 0, k);
            for (int64_t i = 0; i < p->a->n_cols; i++)
                row[i] += p->scale * of_b[k] * of_a[i];
        }
        for (int64_t i = 0; i < p->a->n_cols; i++)
            sum += (double)row[i] * (double)row[i];
        inverse[r] = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    }
    free(row);
    return PANTRY_OK;
}

static pantry_status open_any(const char *path, float scale, bool trains, const struct pn_weights *base,
                              struct pn_adapter **out, struct pantry_error *err)
{
    struct stat st;
    *out = NULL;
    struct pn_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter)
        return pn_no_memory(err, path);
    pantry_status status = PANTRY_OK;
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    bool in_folder = n > 12 && strcmp(path + n - 12, ".safetensors") == 0;
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    adapter->trains = trains;
    if (in_folder)
        adapter->path = pn_arena_copy(&adapter->arena, slash ? path : ".", slash ? (size_t)(slash - path) : 1);
    else
        adapter->path = pn_arena_copy(&adapter->arena, path, n);
    if (!adapter->path)
        status = pn_no_memory(err, path);
    else if (trains && !in_folder && !is_folder)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: only adapters in a folder can be trained further", path);
    else
        status = (in_folder || is_folder ? pn_hf_adapter_read : read_gguf)(adapter, base, scale, err);
    if (!status)
        status = check(adapter, base, err);
    if (!status && trains)
        status = make_trained(adapter, err);
    if (status)
        pn_adapter_free(adapter);
    else
        *out = adapter;
    return status;
}

pantry_status pn_adapter_open(const char *path, float scale, const struct pn_weights *base, struct pn_adapter **out,
                              struct pantry_error *err)
{
    return open_any(path, scale, false, base, out, err);
}

pantry_status pn_adapter_open_trained(const char *path, const struct pn_weights *base, struct pn_adapter **out,
                                      struct pantry_error *err)
{
    return open_any(path, 1, true, base, out, err);
}

pantry_status pn_adapter_new_trained(const struct pn_adapter_spec *spec, const struct pn_weights *base,
                                     struct pn_adapter **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter)
        return pn_no_memory(err, "an adapter");
    adapter->path = "the new adapter";
    adapter->trains = true;
    pantry_status status = pn_hf_adapter_make(adapter, spec, base, err);
    if (!status)
        status = check(adapter, base, err);
    if (!status)
        status = make_trained(adapter, err);
    if (status)
        pn_adapter_free(adapter);
    else
        *out = adapter;
    return status;
}
