/* Making an adapter a part of a directory's weights: see hf.h. Each changed row is found by its address: it is in the
 * tensor of the directory whose bytes it is among. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "model/adapter.h"

#include "format/outfile.h"
#include "format/safetensors_write.h"
#include "model/hf/hf.h"
#include "model/hf/storage.h"
#include "tensor/weight.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What becomes of a tensor of the directory. */
struct result {
    enum pn_st_type type;
    int64_t last;         /* length of its last dimension */
    unsigned char *bytes; /* NULL: as it is */
    size_t size;
    bool left_out;
};

struct fuse {
    struct pn_weights *weights;
    struct pn_adapter *adapter;
    struct result *results; /* one per tensor */
    float *row, *change;
    struct pantry_error *err;
};

static size_t find(const struct fuse *f, const void *at)
{
    const struct pn_st_tensors *all = &f->weights->hf->tensors;
    for (size_t i = 0; i < all->len; i++)
        if ((uintptr_t)at >= (uintptr_t)all->data[i].data &&
            (uintptr_t)at < (uintptr_t)all->data[i].data + all->data[i].bytes)
            return i;
    return SIZE_MAX;
}

/* Leaves out the scales and biases of a weight that becomes plain. */
static void drop_companions(struct fuse *f, const char *weight)
{
    static const char *const ends[] = {".scales", ".biases"};
    const struct pn_st_tensors *all = &f->weights->hf->tensors;
    size_t n = strlen(weight) - strlen(".weight");
    for (size_t i = 0; i < all->len; i++)
        for (size_t e = 0; e < sizeof ends / sizeof *ends; e++)
            if (strncmp(all->data[i].name, weight, n) == 0 && strcmp(all->data[i].name + n, ends[e]) == 0)
                f->results[i].left_out = true;
    json_t *config = f->weights->hf->config;
    static const char *const keys[] = {"quantization", "quantization_config"};
    char *module = strndup(weight, n);
    for (size_t k = 0; module && k < 2; k++)
        if (json_is_object(json_object_get(config, keys[k])))
            json_object_set_new(json_object_get(config, keys[k]), module, json_false());
    free(module);
}

/* The changed tensor's memory, made at its first row. */
static struct result *prepare(struct fuse *f, size_t i, const struct pn_weight *w)
{
    const struct pn_st_tensor *t = &f->weights->hf->tensors.data[i];
    struct result *r = &f->results[i];
    if (r->bytes)
        return r;
    if (w->n_planes == 1) {
        r->bytes = malloc(t->bytes + 1);
        if (r->bytes)
            memcpy(r->bytes, t->data, t->bytes);
        return r->bytes ? r : NULL;
    }
    r->type = PN_ST_F16;
    r->last = w->n_cols;
    r->size = t->bytes / w->plane[0].row_bytes * (size_t)w->n_cols * sizeof(uint16_t);
    r->bytes = calloc(1, r->size + 1);
    if (r->bytes)
        drop_companions(f, t->name);
    return r->bytes ? r : NULL;
}

static bool is_affine(const struct pn_weight *w)
{
    return w->n_planes == 3 && strncmp(pn_type_info(w->type)->name, "affine", 6) == 0;
}

/* Row r of matrix m, changed. */
static void compute(struct fuse *f, const struct pn_adapter_pair *p, const struct pn_weight *w, int64_t m, int64_t r)
{
    const float *b = pn_weight_floats(p->b, m, r);
    double sum = 0;
    pn_weight_decode(w, m, r, 0, w->n_cols, f->row);
    for (int64_t i = 0; i < w->n_cols; i++)
        f->change[i] = 0;
    for (int64_t k = 0; k < p->a->n_rows; k++) {
        const float *a = pn_weight_floats(p->a, m, k);
        for (int64_t i = 0; i < w->n_cols; i++)
            f->change[i] += b[k] * a[i];
    }
    for (int64_t i = 0; i < w->n_cols; i++) {
        f->row[i] += f->change[i];
        sum += (double)f->row[i] * (double)f->row[i];
    }
    if (!p->magnitude)
        return;
    float factor = sum > 0 ? p->magnitude[r] / (float)sqrt(sum) : 0;
    for (int64_t i = 0; i < w->n_cols; i++)
        f->row[i] *= factor;
}

static pantry_status fuse_pair(struct fuse *f, const struct pn_adapter_pair *p)
{
    const struct pn_tensor_info *t = pn_weights_tensor(f->weights, p->name);
    const struct pn_weight w =
        t->places ? *t->places : pn_weight_plain(t->name, t->type, p->b->n_mat, p->b->n_rows, p->a->n_cols, t->data);
    pn_type to;
    for (int64_t m = 0; m < w.n_mat; m++)
        for (int64_t r = 0; r < w.n_rows; r++) {
            const unsigned char *at = pn_weight_at(&w, 0, m, r);
            size_t i = find(f, at);
            const struct pn_st_tensor *st = i == SIZE_MAX ? NULL : &f->weights->hf->tensors.data[i];
            bool plain =
                st && w.n_planes == 1 && (w.type == PN_TYPE_F32 || w.type == PN_TYPE_F16 || w.type == PN_TYPE_BF16);
            if (!plain && !(st && is_affine(&w)))
                return pn_fail(f->err, PANTRY_UNSUPPORTED,
                               "%s: the change of %s cannot become a part of a weight of type %s in this layout",
                               f->weights->path, p->name, pn_type_info(w.type)->name);
            struct result *result = prepare(f, i, &w);
            if (!result)
                return pn_no_memory(f->err, "a weight");
            compute(f, p, &w, m, r);
            size_t offset = (size_t)(at - st->data);
            if (!plain)
                offset = offset / w.plane[0].row_bytes * (size_t)w.n_cols * sizeof(uint16_t);
            pn_hf_plain_type(result->type, &to);
            pn_type_encode(to, f->row, NULL, result->bytes + offset, (size_t)w.n_cols);
        }
    return PANTRY_OK;
}

/* ---- fully tuned weights ---- */

/* The tensors of the file, in the types of the base. */
static pantry_status take_full(struct fuse *f, const char *path)
{
    struct pn_weights *tuned = NULL;
    const char *const adapters[] = {path, NULL};
    const struct pn_st_tensors *all = &f->weights->hf->tensors;
    pantry_status status = pn_model_open_adapted(f->weights->path, adapters, &tuned, f->err);
    for (size_t i = 0; i < all->len && !status; i++) {
        const struct pn_st_tensor *from = pn_hfdir_tensor(tuned->hf, all->data[i].name), *to = &all->data[i];
        pn_type type;
        if (from->type == to->type && memcmp(from->data, to->data, to->bytes) == 0)
            continue;
        size_t n = pn_hf_count(to);
        struct result *r = &f->results[i];
        r->bytes = malloc(r->size + 1);
        if (!r->bytes || !pn_hf_plain_type(r->type, &type) || pn_type_info(type)->block != 1) {
            status = pn_no_memory(f->err, "a weight");
            break;
        }
        for (size_t j = 0; j < n; j++) {
            float value = pn_hf_number(from, j);
            pn_type_encode(type, &value, NULL, r->bytes + j * pn_type_info(type)->bytes, 1);
        }
    }
    pn_weights_close(tuned);
    return status;
}

/* ---- writing ---- */

static pantry_status write_all(const struct fuse *f, struct pn_st_writer *writer, bool write)
{
    const struct pn_st_tensors *all = &f->weights->hf->tensors;
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < all->len && !status; i++) {
        const struct pn_st_tensor *t = &all->data[i];
        const struct result *r = &f->results[i];
        int64_t shape[PN_ST_MAX_DIMS];
        memcpy(shape, t->shape, sizeof shape);
        if (r->bytes && t->n_dims > 0)
            shape[t->n_dims - 1] = r->last;
        if (!r->left_out)
            status = write ? pn_st_write(writer, r->bytes ? r->bytes : t->data, r->size, f->err)
                           : pn_st_add(writer, t->name, r->type, t->n_dims, shape, f->err);
    }
    return status;
}

static pantry_status write_files(const struct fuse *f, const char *out)
{
    struct pn_st_writer *writer = NULL;
    char *path = NULL, *config = json_dumps(f->weights->hf->config, JSON_INDENT(2));
    if (!config || asprintf(&path, "%s/model.safetensors", out) < 0) {
        free(config);
        return pn_no_memory(f->err, "a model");
    }
    pantry_status status = pn_outfile_text(out, "config.json", config, f->err);
    if (!status)
        status = pn_st_writer_new(path, &(struct pn_st_options){.format = f->weights->hf->mlx ? "mlx" : "pt"}, &writer,
                                  f->err);
    if (!status && !(status = write_all(f, writer, false)) && !(status = pn_st_begin(writer, f->err)) &&
        !(status = write_all(f, writer, true)))
        status = pn_st_finish(writer, f->err);
    pn_st_writer_free(writer);
    free(config);
    free(path);
    return status;
}

static pantry_status fuse_all(struct fuse *f, const char *adapter)
{
    size_t widest = 1;
    if (pn_adapter_is_full(adapter))
        return take_full(f, adapter);
    pantry_status status = pn_adapter_open(adapter, 1, f->weights, &f->adapter, f->err);
    if (status)
        return status;
    for (size_t i = 0; i < f->adapter->pairs.len; i++)
        widest =
            (size_t)f->adapter->pairs.data[i].a->n_cols > widest ? (size_t)f->adapter->pairs.data[i].a->n_cols : widest;
    f->row = malloc(widest * sizeof *f->row);
    f->change = malloc(widest * sizeof *f->change);
    if (!f->row || !f->change)
        return pn_no_memory(f->err, "a weight");
    for (size_t i = 0; i < f->adapter->pairs.len && !status; i++)
        status = fuse_pair(f, &f->adapter->pairs.data[i]);
    return status;
}

pantry_status pn_model_fuse(const char *path, const char *adapter, const char *out, struct pantry_error *err)
{
    struct fuse f = {.err = err};
    pantry_status status = pn_model_open(path, &f.weights, err);
    if (status)
        return status;
    size_t n = f.weights->hf ? f.weights->hf->tensors.len : 0;
    if (!f.weights->hf)
        status =
            pn_fail(err, PANTRY_UNSUPPORTED,
                    "%s: adapters become a part of Hugging Face and MLX directories only, not yet of GGUF files", path);
    else if (!(f.results = calloc(n + 1, sizeof *f.results)))
        status = pn_no_memory(err, "a model");
    for (size_t i = 0; i < n && f.results; i++) {
        const struct pn_st_tensor *t = &f.weights->hf->tensors.data[i];
        f.results[i] = (struct result){.type = t->type, .size = t->bytes};
        f.results[i].last = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
    }
    if (!status)
        status = fuse_all(&f, adapter);
    if (!status)
        status = write_files(&f, out);
    for (size_t i = 0; i < n && f.results; i++)
        free(f.results[i].bytes);
    free(f.results);
    free(f.row);
    free(f.change);
    pn_adapter_free(f.adapter);
    pn_weights_close(f.weights);
    return status;
}
