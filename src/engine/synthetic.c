/* Models with the shape of a known one (model/shapes.c) and random weights, or none: pantry_model_synthetic, _outline
 * and pantry_synthesize.
 *
 * The first two write a temporary GGUF file (unlinked as soon as it is mapped) and load it like any other, so a
 * measurement applies to real files. Random values for a few rows are repeated: speed does not depend on values, and
 * every byte still has its own address. */
#define _POSIX_C_SOURCE  200809L
#define _DARWIN_C_SOURCE 1
#include "engine/handle.h"

#include "base/alloc.h"
#include "base/random.h"
#include "engine/synthetic_vocab.h"
#include "format/gguf_write.h"
#include "model/shapes.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLE_ROWS = 16 };

struct tensor {
    pn_type type;
    uint32_t row; /* values */
    uint64_t bytes;
    bool ones;
};

struct maker {
    struct pn_gguf_meta meta;
    struct pn_gguf_writer *writer;
    struct tensor *tensor;
    size_t n, cap;
    struct pantry_error *err;
    pantry_status status; /* the first failure */
};

/* ---- the head of the file ---- */

static void meta_text(void *user, const char *key, const char *value)
{
    pn_gguf_str(&((struct maker *)user)->meta, key, value);
}

static void meta_u32(void *user, const char *key, uint32_t value)
{
    pn_gguf_u32(&((struct maker *)user)->meta, key, value);
}

static void meta_f32(void *user, const char *key, float value)
{
    pn_gguf_f32(&((struct maker *)user)->meta, key, value);
}

static void meta_ints(void *user, const char *key, size_t n, const int32_t *values)
{
    pn_gguf_array(&((struct maker *)user)->meta, key, PN_GGUF_I32, n, values);
}

static void add_tensor(void *user, const char *name, pn_type type, int n_dims, const uint32_t *shape, bool ones)
{
    struct maker *m = user;
    int64_t dims[PN_MAX_DIMS];
    uint64_t rows = 1;
    for (int d = 0; d < n_dims; d++) {
        dims[d] = shape[d];
        rows *= d < n_dims - 1 ? shape[d] : 1;
    }
    struct tensor t = {.type = type, .row = shape[n_dims - 1], .ones = ones};
    t.bytes = (uint64_t)pn_type_row_bytes(type, t.row) * rows;
    if (!m->status)
        m->status = pn_gguf_add(m->writer, name, type, n_dims, dims, m->err);
    if (m->status)
        return;
    if (!pn_vec_reserve((void **)(void *)&m->tensor, &m->cap, m->n + 1, sizeof *m->tensor))
        m->status = pn_no_memory(m->err, name);
    else
        m->tensor[m->n++] = t;
}

/* ---- the data ---- */

/* Values with mean 0 and variance 1 / n_in, which keeps activations in range; norms are 1. */
static pantry_status write_tensor(struct maker *m, const struct tensor *t, struct pn_rng *rng)
{
    size_t row_bytes = pn_type_row_bytes(t->type, t->row);
    uint64_t rows = t->bytes / row_bytes;
    uint32_t n_sample = rows < SAMPLE_ROWS ? (uint32_t)rows : SAMPLE_ROWS;
    float *values = calloc(t->row, sizeof *values), width = sqrtf(12.0f / (float)t->row);
    char *sample = calloc(n_sample, row_bytes);
    pantry_status status = values && sample ? PANTRY_OK : pn_no_memory(m->err, "weights");
    for (uint32_t r = 0; !status && r < n_sample; r++) {
        for (uint32_t i = 0; i < t->row; i++)
            values[i] = t->ones ? 1.0f : (pn_rng_float(rng) - 0.5f) * width;
        pn_type_info(t->type)->encode(values, sample + r * row_bytes, t->row);
    }
    for (uint64_t left = t->bytes; !status && left;) {
        size_t part = left < n_sample * row_bytes ? (size_t)left : n_sample * row_bytes;
        status = pn_gguf_write(m->writer, sample, part, m->err);
        left -= part;
    }
    free(sample);
    free(values);
    return status;
}

/* What makes the head of a file: the shape's, or a test's own. */
typedef void describe_fn(struct maker *m, const void *what);

/* Writes a file. Without `weights`, it has a hole in their place. */
static pantry_status make_file(const char *path, describe_fn *describe, const void *what, bool weights, bool temporary,
                               struct pantry_error *err)
{
    struct maker m = {.err = err};
    struct pn_rng rng = {1};
    m.status = pn_gguf_writer_new(path, &(struct pn_gguf_options){.temporary = temporary}, &m.writer, err);
    if (!m.status)
        describe(&m, what);
    if (!m.status)
        m.status = pn_gguf_begin(m.writer, &m.meta, err);
    if (!m.status && !weights)
        m.status = pn_gguf_leave_hole(m.writer, err);
    for (size_t i = 0; !m.status && weights && i < m.n; i++)
        m.status = write_tensor(&m, &m.tensor[i], &rng);
    if (!m.status)
        m.status = pn_gguf_finish(m.writer, err);
    if (m.status == PANTRY_IO && temporary)
        pn_fail_prefix(err, "%llu MB of weights (set TMPDIR to use another folder)",
                       (unsigned long long)(pn_gguf_total(m.writer) >> 20));
    pn_gguf_writer_free(m.writer);
    pn_gguf_meta_free(&m.meta);
    free(m.tensor);
    return m.status;
}

struct model {
    struct pn_shape_spec spec;
    const char *name;
    bool vocabulary;
};

static void describe_model(struct maker *m, const void *what)
{
    const struct model *model = what;
    const struct pn_shape_sink sink = {m, meta_text, meta_u32, meta_f32, meta_ints, add_tensor};
    pn_shape_describe(&model->spec, model->name, &sink);
    if (model->vocabulary && !m->status)
        m->status = pn_synthetic_vocab(&m->meta, pn_shape_n_vocab(&model->spec), m->err);
}

/* ---- the public functions ---- */

static pantry_status load(const char *spec, bool weights, const struct pantry_model_options *options,
                          pantry_model **out, struct pantry_error *err)
{
    struct model model = {.name = spec};
    const char *folder = getenv("TMPDIR");
    struct pn_buf dir = {0}, path = {0};
    *out = NULL;
    pantry_status status = pn_shape_parse(spec, &model.spec, err);
    if (status)
        return status;
    pn_buf_printf(&dir, "%s/pantry-synthetic-XXXXXX", folder && *folder ? folder : "/tmp");
    if (dir.failed)
        return pn_no_memory(err, spec);
    if (!mkdtemp(dir.data)) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", dir.data, strerror(errno));
        pn_buf_free(&dir);
        return status;
    }
    pn_buf_printf(&path, "%s/model.gguf", dir.data);
    status = path.failed ? pn_no_memory(err, spec) : make_file(path.data, describe_model, &model, weights, true, err);
    if (!status)
        status = pantry_model_load(path.data, options, out, err);
    if (!path.failed)
        unlink(path.data);
    rmdir(dir.data);
    pn_buf_free(&path);
    pn_buf_free(&dir);
    return status;
}

pantry_status pantry_model_synthetic(const char *spec, const struct pantry_model_options *options, pantry_model **model,
                                     struct pantry_error *err)
{
    return load(spec, true, options, model, err);
}

pantry_status pantry_model_outline(const char *spec, const struct pantry_model_options *options, pantry_model **model,
                                   struct pantry_error *err)
{
    return load(spec, false, options, model, err);
}

pantry_status pantry_synthesize(const char *spec, const char *path, int n_layers, struct pantry_error *err)
{
    struct model model = {.name = spec, .vocabulary = true};
    pantry_status status = pn_shape_parse(spec, &model.spec, err);
    if (status)
        return status;
    if (n_layers < 0 || (uint32_t)n_layers > pn_shape_n_layers(&model.spec))
        return pn_fail(err, PANTRY_INVALID, "layers: out of range (found %d, allowed 1..%u for %s)", n_layers,
                       pn_shape_n_layers(&model.spec), spec);
    model.spec.n_layers = (uint32_t)n_layers;
    return make_file(path, describe_model, &model, true, false, err);
}

const char *pantry_shape_name(size_t i)
{
    return pn_shape_name(i);
}

const char *pantry_shape_type(size_t i)
{
    return pn_shape_mix_name(i);
}

const char *pantry_shape_own_type(size_t i)
{
    return pn_shape_own_type(i);
}
