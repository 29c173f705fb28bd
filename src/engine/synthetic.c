/* Models with the shape of a known one (model/shapes.c) and random weights, or none: pantry_model_synthetic and
 * _outline.
 *
 * The weights are written to a temporary GGUF file (unlinked as soon as it is mapped) and loaded like any other, so a
 * measurement applies to real files. Random values for a few rows are repeated: speed does not depend on values, and
 * every byte still has its own address. */
#define _POSIX_C_SOURCE   200809L
#define _FILE_OFFSET_BITS 64
#include "engine/handle.h"

#include "base/alloc.h"
#include "base/random.h"
#include "model/shapes.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 32, SAMPLE_ROWS = 16 };

struct tensor {
    pn_type type;
    uint32_t row; /* values */
    uint64_t bytes;
    bool ones;
};

struct writer {
    struct pn_buf head;
    uint64_t n_meta;
    struct tensor *tensor;
    size_t n, cap;
    uint64_t end; /* of the tensors so far */
    bool failed;
};

/* ---- the head of the file ---- */

static void put_u32(struct pn_buf *buf, uint32_t v)
{
    pn_buf_append(buf, &v, sizeof v);
}

static void put_u64(struct pn_buf *buf, uint64_t v)
{
    pn_buf_append(buf, &v, sizeof v);
}

static void put_text(struct pn_buf *buf, const char *text)
{
    put_u64(buf, strlen(text));
    pn_buf_puts(buf, text);
}

static void put_key(struct writer *w, const char *key, uint32_t type)
{
    put_text(&w->head, key);
    put_u32(&w->head, type);
    w->n_meta++;
}

static void meta_text(void *user, const char *key, const char *value)
{
    struct writer *w = user;
    put_key(w, key, 8);
    put_text(&w->head, value);
}

static void meta_u32(void *user, const char *key, uint32_t value)
{
    struct writer *w = user;
    put_key(w, key, 4);
    put_u32(&w->head, value);
}

static void meta_f32(void *user, const char *key, float value)
{
    struct writer *w = user;
    put_key(w, key, 6);
    pn_buf_append(&w->head, &value, sizeof value);
}

static void add_tensor(void *user, const char *name, pn_type type, int n_dims, const uint32_t *shape, bool ones)
{
    struct writer *w = user;
    uint64_t rows = 1;
    put_text(&w->head, name);
    put_u32(&w->head, (uint32_t)n_dims);
    for (int d = n_dims - 1; d >= 0; d--) { /* the file has the innermost first */
        put_u64(&w->head, shape[d]);
        rows *= d < n_dims - 1 ? shape[d] : 1;
    }
    put_u32(&w->head, (uint32_t)pn_type_info(type)->gguf);
    put_u64(&w->head, w->end);
    struct tensor t = {.type = type, .row = shape[n_dims - 1], .ones = ones};
    t.bytes = (uint64_t)pn_type_row_bytes(type, t.row) * rows;
    w->end += (t.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!pn_vec_reserve((void **)(void *)&w->tensor, &w->cap, w->n + 1, sizeof *w->tensor))
        w->failed = true;
    else
        w->tensor[w->n++] = t;
}

/* ---- the data ---- */

static void write_padding(FILE *file, uint64_t written)
{
    static const char zeros[ALIGNMENT];
    fwrite(zeros, 1, (size_t)((ALIGNMENT - written % ALIGNMENT) % ALIGNMENT), file);
}

/* Values with mean 0 and variance 1 / n_in, which keeps activations in range; norms are 1. */
static bool write_tensor(FILE *file, const struct tensor *t, struct pn_rng *rng)
{
    size_t row_bytes = pn_type_row_bytes(t->type, t->row);
    uint64_t rows = t->bytes / row_bytes;
    uint32_t n_sample = rows < SAMPLE_ROWS ? (uint32_t)rows : SAMPLE_ROWS;
    float *values = calloc(t->row, sizeof *values), width = sqrtf(12.0f / (float)t->row);
    char *sample = calloc(n_sample, row_bytes);
    bool ok = values && sample;
    for (uint32_t r = 0; ok && r < n_sample; r++) {
        for (uint32_t i = 0; i < t->row; i++)
            values[i] = t->ones ? 1.0f : (pn_rng_float(rng) - 0.5f) * width;
        pn_type_info(t->type)->encode(values, sample + r * row_bytes, t->row);
    }
    for (uint64_t left = t->bytes; ok && left;) {
        size_t part = left < n_sample * row_bytes ? (size_t)left : n_sample * row_bytes;
        ok = fwrite(sample, 1, part, file) == part;
        left -= part;
    }
    write_padding(file, t->bytes);
    free(sample);
    free(values);
    return ok;
}

/* Without `weights`, the file has a hole in their place. */
static pantry_status write_file(FILE *file, const char *path, const struct writer *w, bool weights,
                                struct pantry_error *err)
{
    struct pn_rng rng = {1};
    const uint64_t counts[] = {w->n, w->n_meta};
    const uint32_t version = 3;
    errno = 0;
    fwrite("GGUF", 1, 4, file);
    fwrite(&version, sizeof version, 1, file);
    fwrite(counts, sizeof counts, 1, file);
    fwrite(w->head.data, 1, w->head.len, file);
    write_padding(file, 24 + w->head.len);
    bool ok = true;
    for (size_t i = 0; weights && ok && i < w->n; i++)
        ok = write_tensor(file, &w->tensor[i], &rng);
    if (ok && !weights)
        ok = fflush(file) == 0 && ftruncate(fileno(file), ftello(file) + (off_t)w->end) == 0;
    if (!ok || fflush(file) != 0 || ferror(file))
        return pn_fail(err, PANTRY_IO, "%s: cannot write %llu MB of weights: %s; set TMPDIR to use another folder",
                       path, (unsigned long long)(w->end >> 20), errno ? strerror(errno) : "out of memory");
    return PANTRY_OK;
}

static pantry_status outline(const char *spec, struct writer *w, struct pantry_error *err)
{
    const struct pn_shape_sink sink = {w, meta_text, meta_u32, meta_f32, add_tensor};
    struct pn_shape_spec shape;
    pantry_status status = pn_shape_parse(spec, &shape, err);
    if (status)
        return status;
    pn_shape_describe(&shape, spec, &sink);
    return w->failed || w->head.failed ? pn_no_memory(err, spec) : PANTRY_OK;
}

static pantry_status load(const char *spec, const struct writer *w, bool weights,
                          const struct pantry_model_options *options, pantry_model **model, struct pantry_error *err)
{
    const char *folder = getenv("TMPDIR");
    struct pn_buf path = {0};
    pantry_status status;
    FILE *file = NULL;
    int fd = -1;
    pn_buf_printf(&path, "%s/pantry-synthetic-XXXXXX", folder && *folder ? folder : "/tmp");
    if (path.failed)
        return pn_no_memory(err, spec);
    if ((fd = mkstemp(path.data)) < 0 || !(file = fdopen(fd, "wb")))
        status = pn_fail(err, PANTRY_IO, "%s: %s", path.data, strerror(errno));
    else if (!(status = write_file(file, path.data, w, weights, err)))
        status = pantry_model_load(path.data, options, model, err);
    if (fd >= 0)
        unlink(path.data);
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
    pn_buf_free(&path);
    return status;
}

/* ---- the public functions ---- */

static pantry_status make(const char *spec, bool weights, const struct pantry_model_options *options,
                          pantry_model **model, struct pantry_error *err)
{
    struct writer w = {0};
    *model = NULL;
    pantry_status status = outline(spec, &w, err);
    if (!status)
        status = load(spec, &w, weights, options, model, err);
    pn_buf_free(&w.head);
    free(w.tensor);
    return status;
}

pantry_status pantry_model_synthetic(const char *spec, const struct pantry_model_options *options, pantry_model **model,
                                     struct pantry_error *err)
{
    return make(spec, true, options, model, err);
}

pantry_status pantry_model_outline(const char *spec, const struct pantry_model_options *options, pantry_model **model,
                                   struct pantry_error *err)
{
    return make(spec, false, options, model, err);
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
