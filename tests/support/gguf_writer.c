/* A writer of GGUF files for tests: see gguf_writer.h. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */
#include "gguf_writer.h"

#include "tensor/type.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "gguf_writer: %s: %s\n", what, strerror(errno));
    abort();
}

static void put(struct pn_buf *buf, const void *bytes, size_t n)
{
    pn_buf_append(buf, bytes, n);
    if (buf->failed)
        die("out of memory");
}

static void put_u32(struct pn_buf *buf, uint32_t value)
{
    put(buf, &value, sizeof value); /* little-endian, as the machine is */
}

static void put_u64(struct pn_buf *buf, uint64_t value)
{
    put(buf, &value, sizeof value);
}

static void put_zeros(struct pn_buf *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(buf, "", 1);
}

static void put_string(struct pn_buf *buf, const void *bytes, size_t n)
{
    put_u64(buf, n);
    put(buf, bytes, n);
}

void gw_init(struct gw *g)
{
    *g = (struct gw){.version = 3, .alignment = 32, .pad_end = true};
}

void gw_free(struct gw *g)
{
    pn_buf_free(&g->meta);
    pn_buf_free(&g->infos);
    pn_buf_free(&g->data);
}

/* ---- metadata ---- */

void gw_value_raw(struct gw *g, const void *key, size_t key_len, uint32_t type, const void *bytes, size_t n)
{
    put_string(&g->meta, key, key_len);
    put_u32(&g->meta, type);
    put(&g->meta, bytes, n);
    g->n_meta++;
}

void gw_value(struct gw *g, const char *key, uint32_t type, const void *bytes, size_t n)
{
    gw_value_raw(g, key, strlen(key), type, bytes, n);
}

#define SCALAR(suffix, c_type, number)                                                                                 \
    void gw_##suffix(struct gw *g, const char *key, c_type value)                                                      \
    {                                                                                                                  \
        gw_value(g, key, number, &value, sizeof value);                                                                \
    }
SCALAR(u8, uint8_t, GW_UINT8)
SCALAR(i8, int8_t, GW_INT8)
SCALAR(u16, uint16_t, GW_UINT16)
SCALAR(i16, int16_t, GW_INT16)
SCALAR(u32, uint32_t, GW_UINT32)
SCALAR(i32, int32_t, GW_INT32)
SCALAR(u64, uint64_t, GW_UINT64)
SCALAR(i64, int64_t, GW_INT64)
SCALAR(f32, float, GW_FLOAT32)
SCALAR(f64, double, GW_FLOAT64)
#undef SCALAR

void gw_bool(struct gw *g, const char *key, bool value)
{
    unsigned char byte = value;
    gw_value(g, key, GW_BOOL, &byte, 1);
}

void gw_str(struct gw *g, const char *key, const char *value)
{
    struct pn_buf buf = {0};
    put_string(&buf, value, strlen(value));
    gw_value(g, key, GW_STRING, buf.data, buf.len);
    pn_buf_free(&buf);
}

void gw_array(struct gw *g, const char *key, uint32_t item_type, uint64_t n, const void *items, size_t width)
{
    struct pn_buf buf = {0};
    put_u32(&buf, item_type);
    put_u64(&buf, n);
    put(&buf, items, (size_t)n * width);
    gw_value(g, key, GW_ARRAY, buf.data, buf.len);
    pn_buf_free(&buf);
}

void gw_strings(struct gw *g, const char *key, size_t n, const char *const *values)
{
    struct pn_buf buf = {0};
    put_u32(&buf, GW_STRING);
    put_u64(&buf, n);
    for (size_t i = 0; i < n; i++)
        put_string(&buf, values[i], strlen(values[i]));
    gw_value(g, key, GW_ARRAY, buf.data, buf.len);
    pn_buf_free(&buf);
}

/* ---- tensors ---- */

void gw_tensor_claim(struct gw *g, const void *name, size_t name_len, uint32_t type, uint32_t n_dims,
                     const uint64_t *dims, size_t n_written, uint64_t offset)
{
    put_string(&g->infos, name, name_len);
    put_u32(&g->infos, n_dims);
    for (size_t i = 0; i < n_written; i++)
        put_u64(&g->infos, dims[i]);
    put_u32(&g->infos, type);
    put_u64(&g->infos, offset);
    g->n_tensors++;
}

void gw_data(struct gw *g, const void *data, size_t bytes)
{
    put(&g->data, data, bytes);
}

void gw_tensor(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, const void *data,
               size_t bytes)
{
    uint64_t dims[8] = {0};
    for (int i = 0; i < n_dims; i++)
        dims[i] = (uint64_t)shape[n_dims - 1 - i];
    put_zeros(&g->data, (g->alignment - g->data.len % g->alignment) % g->alignment);
    gw_tensor_claim(g, name, strlen(name), type, (uint32_t)n_dims, dims, (size_t)n_dims, g->data.len);
    gw_data(g, data, bytes);
}

static size_t count(int n_dims, const int64_t *shape)
{
    size_t n = 1;
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)shape[i];
    return n;
}

void gw_floats(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, const float *data)
{
    size_t n = count(n_dims, shape);
    if (type == GW_F32) {
        gw_tensor(g, name, type, n_dims, shape, data, n * sizeof *data);
        return;
    }
    struct pn_buf half = {0};
    for (size_t i = 0; i < n; i++) {
        uint16_t h = pn_f32_to_f16(data[i]);
        put(&half, &h, sizeof h);
    }
    gw_tensor(g, name, type, n_dims, shape, half.data, half.len);
    pn_buf_free(&half);
}

/* Uniform in [center - scale, center + scale). */
static void fill(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, float center,
                 float scale, struct pn_rng *rng)
{
    size_t n = count(n_dims, shape);
    float *data = malloc((n + 1) * sizeof *data);
    if (!data)
        die("out of memory");
    for (size_t i = 0; i < n; i++)
        data[i] = center + (scale > 0 ? (2 * pn_rng_float(rng) - 1) * scale : 0);
    gw_floats(g, name, type, n_dims, shape, data);
    free(data);
}

void gw_random(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, float scale,
               struct pn_rng *rng)
{
    fill(g, name, type, n_dims, shape, 0, scale, rng);
}

void gw_constant(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, float value)
{
    fill(g, name, type, n_dims, shape, value, 0, NULL);
}

/* ---- files ---- */

size_t gw_data_start(const struct gw *g)
{
    size_t header = 24 + g->meta.len + g->infos.len;
    return (header + g->alignment - 1) / g->alignment * g->alignment;
}

void gw_bytes(const struct gw *g, struct pn_buf *out)
{
    *out = (struct pn_buf){0};
    put(out, "GGUF", 4);
    put_u32(out, g->version);
    put_u64(out, g->n_tensors);
    put_u64(out, g->n_meta);
    put(out, g->meta.data, g->meta.len);
    put(out, g->infos.data, g->infos.len);
    if (g->data.len == 0)
        return;
    put_zeros(out, gw_data_start(g) - out->len);
    put(out, g->data.data, g->data.len);
    if (g->pad_end)
        put_zeros(out, (g->alignment - out->len % g->alignment) % g->alignment);
}

static char folder[256];
static struct {
    char **data;
    size_t len, cap;
} paths;

static void remove_all(void)
{
    for (size_t i = 0; i < paths.len; i++) {
        unlink(paths.data[i]);
        free(paths.data[i]);
    }
    free(paths.data);
    rmdir(folder);
}

const char *gw_temp(const char *name)
{
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/pantry-test-XXXXXX", base && base[0] ? base : "/tmp");
        if (!mkdtemp(folder))
            die(folder);
        atexit(remove_all);
    }
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (!path)
        die("out of memory");
    snprintf(path, n, "%s/%s", folder, name);
    for (size_t i = 0; i < paths.len; i++)
        if (strcmp(paths.data[i], path) == 0) {
            free(path);
            return paths.data[i];
        }
    if (!pn_vec_push(&paths, path))
        die("out of memory");
    return path;
}

const char *gw_put(const char *name, const void *bytes, size_t n)
{
    const char *path = gw_temp(name);
    unlink(path); /* existing maps of the old file stay valid */
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(bytes, 1, n, f) != n) || fclose(f) != 0)
        die(path);
    return path;
}

const char *gw_file(const struct gw *g, const char *name)
{
    struct pn_buf bytes;
    gw_bytes(g, &bytes);
    const char *path = gw_put(name, bytes.data, bytes.len);
    pn_buf_free(&bytes);
    return path;
}
