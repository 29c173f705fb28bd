/* Directories to GGUF: see convert.h. Tensors stream through in pieces of rows. */
#include "engine/convert.h"

#include "engine/quantize_rows.h"
#include "engine/quantize_types.h"
#include "model/hf/hf.h"
#include "tensor/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_BYTES = 8 << 20, FILE_TYPE_F32 = 0, FILE_TYPE_F16 = 1, FILE_TYPE_BF16 = 32 };

struct gguf_job {
    struct pn_convert *c;
    struct pn_gguf_writer *writer;
    pn_type *types;
    const struct pn_mix *mix; /* NULL: types stay as they are where GGUF has them */
    int64_t pair_dim;         /* rows of a head whose halves become pairs; 0: none */
};

static pantry_status sink(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    struct gguf_job *job = user;
    return pn_gguf_write(job->writer, bytes, n, err);
}

/* ---- types ---- */

static bool is_plain(pn_type type)
{
    return type == PN_TYPE_F32 || type == PN_TYPE_F16 || type == PN_TYPE_BF16;
}

/* Numbers that were quantized keep their values if a type has them, also if another type is asked for. */
static pantry_status choose_types(struct gguf_job *job, struct pantry_error *err)
{
    const struct pn_weights *w = job->c->w;
    const struct pn_mix_requests requests = {0};
    size_t n_fallbacks = 0;
    pantry_status status = PANTRY_OK;
    if (job->c->options.type && (status = pn_mix_find(job->c->options.type, &job->mix, err)))
        return status;
    if (!(job->types = calloc(w->n_tensors + 1, sizeof *job->types)))
        return pn_no_memory(err, job->c->in);
    if (job->mix)
        status = pn_mix_types(w, job->mix, &requests, job->types, &n_fallbacks, err);
    for (size_t i = 0; !status && i < w->n_tensors; i++) {
        const struct pn_tensor_info *t = &w->tensors[i];
        pn_type exact = pn_exact_type(t);
        bool integers = t->type >= PN_TYPE_I8 && t->type <= PN_TYPE_I64;
        if (integers)
            job->types[i] = t->type;
        else if (!pn_mix_quantizes(t))
            job->types[i] = PN_TYPE_F32; /* norms, biases, routers, kernels: readers expect it */
        else if (exact < PN_TYPE_COUNT)
            job->types[i] = exact;
        else if (!job->mix)
            job->types[i] = is_plain(t->type) ? t->type : PN_TYPE_F16;
        job->c->result.n_kept += exact < PN_TYPE_COUNT && job->types[i] == exact;
        job->c->result.n_converted +=
            job->types[i] != t->type && job->types[i] != exact && job->types[i] != PN_TYPE_F32;
    }
    return status;
}

static int file_type(const struct gguf_job *job)
{
    static const struct {
        pn_type type;
        int number;
    } names[] = {{PN_TYPE_F32, FILE_TYPE_F32}, {PN_TYPE_BF16, FILE_TYPE_BF16}};
    size_t i = 0;
    if (job->mix)
        return job->mix->file_type;
    while (i + 1 < job->c->w->n_tensors && !pn_mix_quantizes(&job->c->w->tensors[i]))
        i++;
    for (size_t k = 0; job->c->w->n_tensors && k < sizeof names / sizeof *names; k++)
        if (names[k].type == job->types[i])
            return names[k].number;
    return FILE_TYPE_F16;
}

/* ---- tensors ---- */

static int64_t rows_of(const struct pn_tensor_info *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims - 1; i++)
        n *= t->shape[i];
    return n;
}

/* The tensor of queries, keys or both, of which rows become pairs: how many, 0: none. */
static int64_t n_paired(const struct gguf_job *job, const struct pn_tensor_info *t)
{
    static const char *const names[] = {"attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"};
    const char *rest = strstr(t->name, "attn_");
    int64_t rows = t->n_dims > 1 ? rows_of(t) : t->shape[0];
    if (!job->pair_dim || !rest)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(rest, names[i]) == 0)
            return rows;
    if (strcmp(rest, "attn_qkv.weight") != 0 && strcmp(rest, "attn_qkv.bias") != 0)
        return 0;
    /* q + 2 k rows; the output product has q columns */
    char output[64];
    int layer = atoi(t->name + strlen("blk."));
    snprintf(output, sizeof output, "blk.%d.attn_output.weight", layer);
    const struct pn_tensor_info *o = pn_weights_tensor(job->c->w, output);
    int64_t q = o ? o->shape[o->n_dims - 1] : 0;
    return q > 0 && q < rows ? q + (rows - q) / 2 : 0;
}

/* The row in halves that becomes row `row` in pairs. */
static int64_t *make_order(int64_t rows, int64_t paired, int64_t dim)
{
    int64_t *order = malloc(((size_t)rows + 1) * sizeof *order);
    for (int64_t r = 0; order && r < rows; r++) {
        int64_t i = r % dim;
        order[r] = r < paired ? r - i + i % 2 * (dim / 2) + i / 2 : r;
    }
    return order;
}

/* A vector whose values are ordered like rows. */
static pantry_status write_vector(struct gguf_job *job, const struct pn_tensor_info *t, pn_type to,
                                  const int64_t *order, struct pantry_error *err)
{
    size_t n = (size_t)t->shape[0];
    float *values = malloc(2 * (n + 1) * sizeof *values);
    unsigned char *bytes = malloc(pn_type_row_bytes(to, n) + 1);
    pantry_status status = values && bytes ? PANTRY_OK : pn_no_memory(err, t->name);
    if (!status) {
        pn_type_decode_row(t->type, t->data, values + n, n);
        for (size_t i = 0; i < n; i++)
            values[i] = values[n + (size_t)order[i]];
        pn_type_encode(to, values, NULL, bytes, n);
        status = pn_gguf_write(job->writer, bytes, pn_type_row_bytes(to, n), err);
    }
    free(values);
    free(bytes);
    return status;
}

static pantry_status write_exact(struct gguf_job *job, const struct pn_tensor_info *t, pn_type to, const int64_t *order,
                                 struct pantry_error *err)
{
    int64_t rows = rows_of(t), per_mat = t->places->n_rows;
    size_t bytes = pn_type_row_bytes(to, (size_t)t->places->n_cols);
    size_t piece = COPY_BYTES / bytes + 1, n = 0;
    unsigned char *out = malloc(piece * bytes);
    pantry_status status = out ? PANTRY_OK : pn_no_memory(err, t->name);
    for (int64_t r = 0; !status && r < rows; r++) {
        int64_t from = order ? order[r] : r;
        pn_exact_row(t, from / per_mat, from % per_mat, to, out + n++ * bytes);
        if (n == piece || r + 1 == rows) {
            status = pn_gguf_write(job->writer, out, n * bytes, err);
            n = 0;
        }
    }
    free(out);
    return status;
}

static pantry_status write_tensor(struct gguf_job *job, size_t i, struct pantry_error *err)
{
    const struct pn_tensor_info *t = &job->c->w->tensors[i];
    int64_t rows = rows_of(t), paired = n_paired(job, t), *order = NULL;
    pn_type to = job->types[i];
    bool exact = t->places && t->places->n_planes > 1 && to == pn_exact_type(t) && to != PN_TYPE_BF16;
    pantry_status status = PANTRY_OK;
    if (paired && !(order = make_order(t->n_dims > 1 ? rows : t->shape[0], paired, job->pair_dim)))
        return pn_no_memory(err, t->name);
    if (exact)
        status = write_exact(job, t, to, order, err);
    else if (order && t->n_dims == 1)
        status = write_vector(job, t, to, order, err);
    else if (to == t->type && !t->places && !order)
        for (size_t at = 0; !status && at < t->bytes; at += COPY_BYTES)
            status = pn_gguf_write(job->writer, (const char *)t->data + at,
                                   t->bytes - at < COPY_BYTES ? t->bytes - at : COPY_BYTES, err);
    else
        status = pn_quantize_rows(job->c->pool, job->c->n_threads, t, to, NULL, 1, order, job->c->options.cancel, sink,
                                  job, err);
    free(order);
    return status;
}

/* ---- the file ---- */

/* State spaces whose heads have one decay each: files give these vectors as columns, and the norm's groups as rows. */
static int shape_of(const struct pn_convert *c, const struct pn_tensor_info *t, int64_t *shape)
{
    char name[128];
    int layer = -1, end = 0;
    memcpy(shape, t->shape, sizeof t->shape);
    if (t->n_dims != 1 || sscanf(t->name, "blk.%d.%n", &layer, &end) != 1)
        return t->n_dims;
    const char *rest = t->name + end;
    snprintf(name, sizeof name, "blk.%d.ssm_d", layer);
    const struct pn_tensor_info *d = pn_weights_tensor(c->w, name);
    snprintf(name, sizeof name, "blk.%d.ssm_a", layer);
    const struct pn_tensor_info *a = pn_weights_tensor(c->w, name);
    if (!d || !a || a->n_dims != 1)
        return t->n_dims;
    int64_t groups = 0;
    snprintf(name, sizeof name, "%s.ssm.group_count", c->w->arch->name);
    pn_meta_i64(c->w, name, &groups, NULL);
    if (strcmp(rest, "ssm_a") == 0 || strcmp(rest, "ssm_d") == 0)
        shape[1] = 1;
    else if (strcmp(rest, "ssm_norm.weight") == 0 && groups > 0 && shape[0] % groups == 0) {
        shape[1] = shape[0] / groups;
        shape[0] = groups;
    } else
        return t->n_dims;
    return 2;
}

static pantry_status begin(struct gguf_job *job, struct pantry_error *err)
{
    struct pn_convert *c = job->c;
    const struct pn_tensor_info *embedding = pn_weights_tensor(c->w, "token_embd.weight");
    struct pn_gguf_meta meta = {0};
    int64_t n_rot = 0;
    if (!c->w->hf)
        return pn_fail(err, PANTRY_INVALID, "%s: is a GGUF file already; `pantry quantize` changes its types", c->in);
    pantry_status status = choose_types(job, err);
    pn_hf_pairs_in_gguf(c->w->arch, c->w, &n_rot, &job->pair_dim);
    if (!status)
        status = pn_gguf_writer_new(c->out, &(struct pn_gguf_options){.split_size = c->options.split_size},
                                    &job->writer, err);
    for (size_t i = 0; !status && i < c->w->n_tensors; i++) {
        const struct pn_tensor_info *t = &c->w->tensors[i];
        int64_t shape[PN_MAX_DIMS];
        int n_dims = shape_of(c, t, shape);
        status = pn_gguf_add(job->writer, t->name, job->types[i], n_dims, shape, err);
    }
    if (!status)
        status = pn_convert_meta(c, file_type(job), &meta, err);
    if (!status)
        status = pn_convert_vocab(c, embedding ? (size_t)embedding->shape[0] : 0, &meta, err);
    if (!status)
        status = pn_gguf_begin(job->writer, &meta, err);
    pn_gguf_meta_free(&meta);
    return status;
}

pantry_status pn_convert_to_gguf(struct pn_convert *c, struct pantry_error *err)
{
    struct gguf_job job = {.c = c};
    pantry_status status = begin(&job, err);
    if (!status)
        c->result.bytes_out = pn_gguf_total(job.writer);
    for (size_t i = 0; !status && i < c->w->n_tensors; i++) {
        const struct pn_tensor_info *t = &c->w->tensors[i];
        status = write_tensor(&job, i, err);
        if (!status)
            status = pn_convert_report(
                c, t->name, pn_type_info(t->type)->name, pn_type_info(job.types[i])->name, i, c->w->n_tensors,
                pn_type_row_bytes(job.types[i], (size_t)t->shape[t->n_dims - 1]) * (uint64_t)rows_of(t), err);
    }
    if (!status && pn_weights_damaged(c->w))
        status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", c->in);
    if (!status)
        status = pn_gguf_finish(job.writer, err);
    pn_gguf_writer_free(job.writer);
    free(job.types);
    return status;
}
