/* Files of importance matrices: see imatrix_file.h. */
#define _POSIX_C_SOURCE 200809L
#include "engine/imatrix_file.h"

#include "base/file.h"
#include "format/cursor.h"
#include "format/gguf_write.h"
#include "format/names.h"
#include "format/weights.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_NAME = 1023, MAX_COLUMNS = 1 << 24, MAX_MATRICES = 1 << 16 };

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

/* ---- entries ---- */

const struct pn_imatrix_entry *pn_imatrix_find(const struct pn_imatrix *m, const char *name)
{
    for (size_t i = 0; i < m->entries.len; i++)
        if (strcmp(m->entries.data[i].name, name) == 0)
            return &m->entries.data[i];
    return NULL;
}

struct pn_imatrix_entry *pn_imatrix_entry(struct pn_imatrix *m, const char *name, size_t columns, size_t matrices)
{
    for (size_t i = 0; i < m->entries.len; i++) {
        struct pn_imatrix_entry *e = &m->entries.data[i];
        if (strcmp(e->name, name) == 0)
            return e->columns == columns && e->matrices == matrices ? e : NULL;
    }
    struct pn_imatrix_entry e = {.columns = columns, .matrices = matrices};
    e.name = strdup(name);
    e.sum = calloc(columns * matrices, sizeof *e.sum);
    e.count = calloc(matrices, sizeof *e.count);
    if (e.name && e.sum && e.count && pn_vec_push(&m->entries, e))
        return &m->entries.data[m->entries.len - 1];
    free(e.name);
    free(e.sum);
    free(e.count);
    return NULL;
}

pantry_status pn_imatrix_add_dataset(struct pn_imatrix *m, const char *name, struct pantry_error *err)
{
    for (size_t i = 0; i < m->datasets.len; i++)
        if (strcmp(m->datasets.data[i], name) == 0)
            return PANTRY_OK;
    char *copy = strdup(name);
    if (copy && pn_vec_push(&m->datasets, copy))
        return PANTRY_OK;
    free(copy);
    return pn_no_memory(err, name);
}

void pn_imatrix_free(struct pn_imatrix *m)
{
    for (size_t i = 0; i < m->entries.len; i++) {
        free(m->entries.data[i].name);
        free(m->entries.data[i].sum);
        free(m->entries.data[i].count);
    }
    for (size_t i = 0; i < m->datasets.len; i++)
        free(m->datasets.data[i]);
    free(m->entries.data);
    free(m->datasets.data);
    *m = (struct pn_imatrix){0};
}

/* ---- reading ---- */

static pantry_status bad_entry(const char *path, const char *name, const char *what, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "%s: importance of %s %s", path, name, what);
}

/* Adds sums (floats, unaligned) and the counts of each matrix; one count serves all if `n_counts` is 1. */
static pantry_status add_values(struct pn_imatrix *m, const char *path, const char *name, size_t columns,
                                size_t matrices, const void *sums, const float *counts, size_t n_counts,
                                struct pantry_error *err)
{
    struct pn_imatrix_entry *e = pn_imatrix_entry(m, name, columns, matrices);
    if (!e)
        return pn_imatrix_find(m, name) ? bad_entry(path, name, "has another shape than in an earlier file", err)
                                        : pn_no_memory(err, path);
    for (size_t k = 0; k < matrices; k++) {
        float count = counts[n_counts == 1 ? 0 : k];
        if (!isfinite(count) || count < 0)
            return bad_entry(path, name, "has a count that is not a number of rows", err);
        e->count[k] += (double)count;
        for (size_t i = k * columns; i < (k + 1) * columns; i++) {
            float value;
            memcpy(&value, (const char *)sums + i * sizeof value, sizeof value);
            if (!isfinite(value) || value < 0)
                return bad_entry(path, name, "has a value that is not finite or below zero", err);
            e->sum[i] += (double)value;
        }
    }
    return PANTRY_OK;
}

static pantry_status read_gguf_entry(struct pn_imatrix *m, const struct pn_weights *w, const struct pn_tensor_info *t,
                                     struct pantry_error *err)
{
    size_t n = strlen(t->name), suffix = sizeof sums_suffix - 1;
    char name[MAX_NAME + 1], counts_name[MAX_NAME + 16];
    if (n <= suffix || strcmp(t->name + n - suffix, sums_suffix) != 0)
        return PANTRY_OK;
    snprintf(name, sizeof name, "%.*s", (int)(n - suffix), t->name);
    snprintf(counts_name, sizeof counts_name, "%s%s", name, counts_suffix);
    const struct pn_tensor_info *c = pn_weights_tensor(w, counts_name);
    size_t columns = (size_t)t->shape[t->n_dims - 1];
    size_t matrices = t->bytes / sizeof(float) / columns;
    if (t->type != PN_TYPE_F32 || !c || c->type != PN_TYPE_F32 || columns > MAX_COLUMNS || matrices > MAX_MATRICES)
        return bad_entry(w->path, name, "has no float32 sums with counts", err);
    size_t n_counts = c->bytes / sizeof(float);
    if (n_counts != matrices && n_counts != 1)
        return bad_entry(w->path, name, "has sums and counts of different lengths", err);
    float *counts = malloc(c->bytes);
    if (!counts)
        return pn_no_memory(err, w->path);
    memcpy(counts, c->data, c->bytes);
    pantry_status status = add_values(m, w->path, name, columns, matrices, t->data, counts, n_counts, err);
    free(counts);
    return status;
}

static pantry_status read_gguf(struct pn_imatrix *m, const char *path, struct pantry_error *err)
{
    struct pn_weights *w;
    uint32_t chunks = 0;
    pantry_status status = pn_weights_open(path, &w, err);
    if (status)
        return status;
    const struct pn_meta *names = pn_weights_meta(w, "imatrix.datasets");
    if ((status = pn_meta_u32(w, "imatrix.chunk_count", &chunks, err)) == PANTRY_NOT_FOUND)
        status = pn_fail(err, PANTRY_FORMAT, "%s: is not an importance matrix (it has no imatrix.chunk_count)", path);
    if (!status && (status = pn_meta_u32(w, "imatrix.chunk_size", &m->chunk_size, err)) == PANTRY_NOT_FOUND)
        status = PANTRY_OK;
    for (size_t i = 0; !status && names && names->item == PN_META_STRING && i < names->n; i++) {
        char *name = strndup(names->items[i].data, names->items[i].len);
        status = name ? pn_imatrix_add_dataset(m, name, err) : pn_no_memory(err, path);
        free(name);
    }
    for (size_t i = 0; !status && i < w->n_tensors; i++)
        status = read_gguf_entry(m, w, &w->tensors[i], err);
    if (!status && pn_weights_damaged(w))
        status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", path);
    m->chunks += chunks;
    pn_weights_close(w);
    return status;
}

static pantry_status cut_off(const char *path, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "%s: is not an importance matrix, or was cut off", path);
}

static pantry_status read_legacy_entry(struct pn_imatrix *m, const char *path, struct pn_cursor *in,
                                       struct pantry_error *err)
{
    uint32_t len, calls, n;
    char name[MAX_NAME + 1];
    const char *bytes;
    if (!pn_cursor_u32(in, &len) || len > MAX_NAME || !(bytes = pn_cursor_take(in, len)) ||
        !pn_cursor_u32(in, &calls) || !pn_cursor_u32(in, &n) || n < 1 || n > MAX_COLUMNS || calls > INT32_MAX)
        return cut_off(path, err);
    const char *problem = pn_name_problem(bytes, len, MAX_NAME);
    const void *values = pn_cursor_take(in, (uint64_t)n * sizeof(float));
    if (problem)
        return pn_fail(err, PANTRY_FORMAT, "%s: an entry has a name that %s", path, problem);
    if (!values)
        return cut_off(path, err);
    snprintf(name, sizeof name, "%.*s", (int)len, bytes);
    float count = (float)calls;
    return add_values(m, path, name, n, 1, values, &count, 1, err);
}

static pantry_status read_legacy(struct pn_imatrix *m, const char *path, const struct pn_map *map,
                                 struct pantry_error *err)
{
    struct pn_cursor in = {.data = map->data, .size = map->size};
    uint32_t n, chunks = 0, len;
    pantry_status status = PANTRY_OK;
    if (!pn_cursor_u32(&in, &n) || n < 1 || n > pn_cursor_left(&in) / 16)
        return cut_off(path, err);
    for (uint32_t i = 0; !status && i < n; i++)
        status = read_legacy_entry(m, path, &in, err);
    /* Newer files end with the number of chunks and the text's name. */
    const char *name = NULL;
    if (!status && pn_cursor_u32(&in, &chunks) && pn_cursor_u32(&in, &len) && len > 0 && len <= MAX_NAME &&
        (name = pn_cursor_take(&in, len)) && !pn_name_problem(name, len, MAX_NAME)) {
        char text[MAX_NAME + 1];
        snprintf(text, sizeof text, "%.*s", (int)len, name);
        status = pn_imatrix_add_dataset(m, text, err);
    }
    m->chunks += chunks;
    return status;
}

pantry_status pn_imatrix_add_file(struct pn_imatrix *m, const char *path, struct pantry_error *err)
{
    struct pn_map map = {0};
    pantry_status status = pn_map_open(&map, path, err);
    if (status)
        return status;
    bool gguf = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    if (!gguf)
        status = read_legacy(m, path, &map, err);
    pn_map_close(&map);
    return gguf ? read_gguf(m, path, err) : status;
}

/* ---- writing ---- */

static int by_name(const void *a, const void *b)
{
    const struct pn_imatrix_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The entries by name, as llama.cpp writes them. */
static const struct pn_imatrix_entry **sorted(const struct pn_imatrix *m)
{
    const struct pn_imatrix_entry **order = calloc(m->entries.len + 1, sizeof *order);
    for (size_t i = 0; order && i < m->entries.len; i++)
        order[i] = &m->entries.data[i];
    if (order)
        qsort(order, m->entries.len, sizeof *order, by_name);
    return order;
}

static pantry_status add_tensors(struct pn_gguf_writer *writer, const struct pn_imatrix_entry *e,
                                 struct pantry_error *err)
{
    char name[MAX_NAME + 16];
    snprintf(name, sizeof name, "%s%s", e->name, sums_suffix);
    pantry_status status =
        pn_gguf_add(writer, name, PN_TYPE_F32, 2, (const int64_t[]){(int64_t)e->matrices, (int64_t)e->columns}, err);
    if (status)
        return status;
    snprintf(name, sizeof name, "%s%s", e->name, counts_suffix);
    return pn_gguf_add(writer, name, PN_TYPE_F32, 2, (const int64_t[]){(int64_t)e->matrices, 1}, err);
}

static pantry_status write_floats(struct pn_gguf_writer *writer, const double *values, size_t n,
                                  struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t at = 0; !status && at < n;) {
        float part[1024];
        size_t k = n - at < 1024 ? n - at : 1024;
        for (size_t i = 0; i < k; i++)
            part[i] = (float)values[at + i];
        status = pn_gguf_write(writer, part, k * sizeof *part, err);
        at += k;
    }
    return status;
}

static pantry_status write_gguf(const struct pn_imatrix *m, const struct pn_imatrix_entry **order, const char *path,
                                struct pantry_error *err)
{
    struct pn_gguf_writer *writer = NULL;
    struct pn_gguf_meta meta = {0};
    struct pn_str *names = calloc(m->datasets.len + 1, sizeof *names);
    pantry_status status = names ? PANTRY_OK : pn_no_memory(err, path);
    for (size_t i = 0; names && i < m->datasets.len; i++)
        names[i] = (struct pn_str){m->datasets.data[i], strlen(m->datasets.data[i])};
    if (!status)
        status = pn_gguf_writer_new(path, &(struct pn_gguf_options){0}, &writer, err);
    for (size_t i = 0; !status && i < m->entries.len; i++)
        status = add_tensors(writer, order[i], err);
    if (!status) {
        pn_gguf_str(&meta, "general.type", "imatrix");
        pn_gguf_strings(&meta, "imatrix.datasets", m->datasets.len, names);
        pn_gguf_u32(&meta, "imatrix.chunk_count", m->chunks);
        pn_gguf_u32(&meta, "imatrix.chunk_size", m->chunk_size);
        status = pn_gguf_begin(writer, &meta, err);
    }
    for (size_t i = 0; !status && i < m->entries.len; i++)
        if (!(status = write_floats(writer, order[i]->sum, order[i]->matrices * order[i]->columns, err)))
            status = write_floats(writer, order[i]->count, order[i]->matrices, err);
    if (!status)
        status = pn_gguf_finish(writer, err);
    pn_gguf_writer_free(writer);
    pn_gguf_meta_free(&meta);
    free(names);
    return status;
}

static void put_u32(struct pn_buf *buf, size_t value)
{
    uint32_t v = (uint32_t)value;
    pn_buf_append(buf, &v, sizeof v);
}

/* The older format scales each sum to the number of calls. */
static void put_legacy(const struct pn_imatrix *m, const struct pn_imatrix_entry **order, struct pn_buf *buf)
{
    put_u32(buf, m->entries.len);
    for (size_t i = 0; i < m->entries.len; i++) {
        const struct pn_imatrix_entry *e = order[i];
        put_u32(buf, strlen(e->name));
        pn_buf_puts(buf, e->name);
        put_u32(buf, m->chunks);
        put_u32(buf, e->matrices * e->columns);
        for (size_t k = 0; k < e->matrices * e->columns; k++) {
            double count = e->count[k / e->columns];
            float value = count > 0 ? (float)(e->sum[k] / count * m->chunks) : 1;
            pn_buf_append(buf, &value, sizeof value);
        }
    }
    const char *name = m->datasets.len ? m->datasets.data[0] : "";
    put_u32(buf, m->chunks);
    put_u32(buf, strlen(name));
    pn_buf_puts(buf, name);
}

static pantry_status write_legacy(const struct pn_imatrix *m, const struct pn_imatrix_entry **order, const char *path,
                                  struct pantry_error *err)
{
    struct pn_buf buf = {0}, partial = {0};
    pantry_status status = PANTRY_OK;
    put_legacy(m, order, &buf);
    pn_buf_printf(&partial, "%s.%d.partial", path, (int)getpid());
    FILE *file = buf.failed || partial.failed ? NULL : fopen(partial.data, "wb");
    if (buf.failed || partial.failed) {
        status = pn_no_memory(err, path);
    } else {
        bool ok = file && fwrite(buf.data, 1, buf.len, file) == buf.len;
        ok = file && fclose(file) == 0 && ok && rename(partial.data, path) == 0;
        if (!ok) {
            status = pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", path, strerror(errno));
            unlink(partial.data);
        }
    }
    pn_buf_free(&buf);
    pn_buf_free(&partial);
    return status;
}

pantry_status pn_imatrix_write(const struct pn_imatrix *m, const char *path, struct pantry_error *err)
{
    size_t n = strlen(path);
    const struct pn_imatrix_entry **order = sorted(m);
    if (!order)
        return pn_no_memory(err, path);
    pantry_status status = n > 4 && strcmp(path + n - 4, ".dat") == 0 ? write_legacy(m, order, path, err)
                                                                      : write_gguf(m, order, path, err);
    free(order);
    return status;
}
