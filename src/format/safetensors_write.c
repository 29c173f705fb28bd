/* The writer of safetensors files: see safetensors_write.h. */
#define _POSIX_C_SOURCE 200809L
#include "format/safetensors_write.h"

#include "format/names.h"
#include "format/outfile.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_NAME_BYTES = 1023, MAX_SHARDS = 65535, HEADER_ALIGNMENT = 8, MAX_HEADER_BYTES = 100 << 20 };

struct tensor {
    char *name;
    enum pn_st_type type;
    int n_dims;
    int64_t shape[PN_ST_MAX_DIMS];
    uint64_t bytes, offset; /* the offset is from the start of the shard's data */
    size_t shard;
};

struct pn_st_writer {
    char *path, *format;
    size_t stem; /* of the path: without .safetensors */
    uint64_t split_size;
    bool began, finished;
    struct {
        struct tensor *data;
        size_t len, cap;
    } tensors;
    struct pn_outfile *files;
    size_t n_files;
    struct pn_outfile index;
    size_t at;        /* the current tensor */
    uint64_t written; /* of the current tensor */
};

pantry_status pn_st_writer_new(const char *path, const struct pn_st_options *options, struct pn_st_writer **out,
                               struct pantry_error *err)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(path), n_ending = strlen(ending);
    *out = NULL;
    if (n <= n_ending || strcmp(path + n - n_ending, ending) != 0)
        return pn_fail(err, PANTRY_INVALID, "%s: does not end in %s", path, ending);
    struct pn_st_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->index.fd = -1;
        w->stem = n - n_ending;
        w->split_size = options->split_size;
        w->path = strdup(path);
        w->format = options->format ? strdup(options->format) : NULL;
    }
    if (!w || !w->path || (options->format && !w->format)) {
        pn_st_writer_free(w);
        return pn_no_memory(err, path);
    }
    *out = w;
    return PANTRY_OK;
}

pantry_status pn_st_add(struct pn_st_writer *w, const char *name, enum pn_st_type type, int n_dims,
                        const int64_t *shape, struct pantry_error *err)
{
    const char *problem = pn_name_problem(name, strlen(name), MAX_NAME_BYTES);
    struct tensor t = {.type = type, .n_dims = n_dims};
    size_t n = 1, bits;
    if (problem)
        return pn_fail(err, PANTRY_INVALID, "%s: a tensor has a name that %s", w->path, problem);
    if (n_dims < 0 || n_dims > PN_ST_MAX_DIMS)
        return pn_fail(err, PANTRY_INVALID, "%s: tensor %s has %d dimensions (allowed 0..%d)", w->path, name, n_dims,
                       PN_ST_MAX_DIMS);
    for (int i = 0; i < n_dims; i++) {
        t.shape[i] = shape[i];
        if (shape[i] < 0 || !pn_size_mul(n, (size_t)shape[i], &n))
            return pn_fail(err, PANTRY_INVALID, "%s: tensor %s has a negative shape or one with too many values",
                           w->path, name);
    }
    if (!pn_size_mul(n, pn_st_type_bits(type), &bits) || bits % 8)
        return pn_fail(err, PANTRY_INVALID, "%s: tensor %s: its values of type %s do not fill whole bytes", w->path,
                       name, pn_st_type_name(type));
    t.bytes = bits / 8;
    if (!(t.name = strdup(name)) || !pn_vec_push(&w->tensors, t)) {
        free(t.name);
        return pn_no_memory(err, w->path);
    }
    return PANTRY_OK;
}

uint64_t pn_st_total(const struct pn_st_writer *w)
{
    uint64_t total = 0;
    for (size_t i = 0; i < w->tensors.len; i++)
        total += w->tensors.data[i].bytes;
    return total;
}

/* ---- layout ---- */

static pantry_status check_names(const struct pn_st_writer *w, struct pantry_error *err)
{
    struct pn_arena arena = {0};
    struct pn_name_index *index = pn_name_index_new(&arena, w->tensors.len);
    pantry_status status = index ? PANTRY_OK : pn_no_memory(err, w->path);
    for (size_t i = 0; index && i < w->tensors.len; i++)
        index->entries[i] = (struct pn_name_entry){w->tensors.data[i].name, i};
    const struct pn_name_entry *twice = index ? pn_name_index_sort(index) : NULL;
    if (twice)
        status = pn_fail(err, PANTRY_INVALID, "%s: duplicate tensor %s", w->path, twice->name);
    pn_arena_free(&arena);
    return status;
}

static pantry_status place(struct pn_st_writer *w, struct pantry_error *err)
{
    uint64_t used = 0;
    size_t shard = 0;
    for (size_t i = 0; i < w->tensors.len; i++) {
        struct tensor *t = &w->tensors.data[i];
        if (w->split_size && used > 0 && (t->bytes > w->split_size || used > w->split_size - t->bytes)) {
            shard++;
            used = 0;
        }
        t->shard = shard;
        t->offset = used;
        used += t->bytes;
    }
    w->n_files = shard + 1;
    if (w->n_files > MAX_SHARDS)
        return pn_fail(err, PANTRY_LIMIT, "%s: %zu shards are too many (allowed 1..%d): choose larger ones", w->path,
                       w->n_files, MAX_SHARDS);
    return PANTRY_OK;
}

static void put_text(struct pn_buf *out, const char *text)
{
    json_t *value = json_string(text);
    char *dumped = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (dumped)
        pn_buf_puts(out, dumped);
    out->failed = out->failed || !dumped;
    free(dumped);
    json_decref(value);
}

static void put_tensor(struct pn_buf *out, const struct tensor *t)
{
    put_text(out, t->name);
    pn_buf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", pn_st_type_name(t->type));
    for (int i = 0; i < t->n_dims; i++)
        pn_buf_printf(out, "%s%lld", i ? "," : "", (long long)t->shape[i]);
    pn_buf_printf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
                  (unsigned long long)(t->offset + t->bytes));
}

/* The length of the header and the header, padded with blanks so that the data are aligned. */
static pantry_status put_head(struct pn_st_writer *w, size_t file, struct pantry_error *err)
{
    struct pn_buf head = {0};
    bool first = true;
    pn_buf_append(&head, "\0\0\0\0\0\0\0\0{", 9);
    if (w->format) {
        pn_buf_puts(&head, "\"__metadata__\":{\"format\":");
        put_text(&head, w->format);
        pn_buf_putc(&head, '}');
        first = false;
    }
    for (size_t i = 0; i < w->tensors.len; i++)
        if (w->tensors.data[i].shard == file) {
            if (!first)
                pn_buf_putc(&head, ',');
            put_tensor(&head, &w->tensors.data[i]);
            first = false;
        }
    pn_buf_putc(&head, '}');
    while (!head.failed && head.len % HEADER_ALIGNMENT)
        pn_buf_putc(&head, ' ');
    pantry_status status = head.failed ? pn_no_memory(err, w->path) : PANTRY_OK;
    if (!status && head.len - 8 > MAX_HEADER_BYTES)
        status = pn_fail(err, PANTRY_LIMIT, "%s: %zu tensors need a longer header than readers take: use shards",
                         w->path, w->tensors.len);
    for (int i = 0; !status && i < 8; i++)
        head.data[i] = (char)((head.len - 8) >> 8 * i);
    if (!status)
        status = pn_outfile_write(&w->files[file], head.data, head.len, err);
    pn_buf_free(&head);
    return status;
}

static char *name_of(const struct pn_st_writer *w, size_t file)
{
    struct pn_buf path = {0};
    if (w->n_files > 1)
        pn_buf_printf(&path, "%.*s-%05zu-of-%05zu.safetensors", (int)w->stem, w->path, file + 1, w->n_files);
    else
        pn_buf_puts(&path, w->path);
    return pn_buf_take(&path);
}

pantry_status pn_st_begin(struct pn_st_writer *w, struct pantry_error *err)
{
    pantry_status status = check_names(w, err);
    if (!status)
        status = place(w, err);
    if (status)
        return status;
    if (!(w->files = calloc(w->n_files, sizeof *w->files)))
        return pn_no_memory(err, w->path);
    for (size_t i = 0; i < w->n_files; i++)
        w->files[i].fd = -1;
    for (size_t i = 0; i < w->n_files && !status; i++) {
        status = pn_outfile_name(&w->files[i], name_of(w, i), NULL) ? pn_outfile_open(&w->files[i], err)
                                                                    : pn_no_memory(err, w->path);
        if (!status && ftruncate(w->files[i].fd, 0) != 0) /* of a process that died and had this one's number */
            status = pn_outfile_error(&w->files[i], err);
        if (!status)
            status = put_head(w, i, err);
    }
    w->began = !status;
    while (w->at < w->tensors.len && w->tensors.data[w->at].bytes == 0)
        w->at++;
    return status;
}

/* ---- data ---- */

pantry_status pn_st_write(struct pn_st_writer *w, const void *bytes, size_t n, struct pantry_error *err)
{
    while (n > 0) {
        if (w->at == w->tensors.len)
            return pn_fail(err, PANTRY_INVALID, "%s: more data than the tensors have", w->path);
        const struct tensor *t = &w->tensors.data[w->at];
        size_t part = n < t->bytes - w->written ? n : (size_t)(t->bytes - w->written);
        pantry_status status = pn_outfile_write(&w->files[t->shard], bytes, part, err);
        if (status)
            return status;
        bytes = (const char *)bytes + part;
        n -= part;
        w->written += part;
        if (w->written < t->bytes)
            continue;
        w->written = 0;
        do
            w->at++;
        while (w->at < w->tensors.len && w->tensors.data[w->at].bytes == 0);
    }
    return PANTRY_OK;
}

static void put_index(const struct pn_st_writer *w, struct pn_buf *out)
{
    pn_buf_printf(out, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
                  (unsigned long long)pn_st_total(w));
    for (size_t i = 0; i < w->tensors.len; i++) {
        const struct tensor *t = &w->tensors.data[i];
        const char *path = w->files[t->shard].path, *slash = strrchr(path, '/');
        pn_buf_puts(out, i ? ",\n    " : "\n    ");
        put_text(out, t->name);
        pn_buf_puts(out, ": ");
        put_text(out, slash ? slash + 1 : path);
    }
    pn_buf_puts(out, "\n  }\n}\n");
}

static pantry_status write_index(struct pn_st_writer *w, struct pantry_error *err)
{
    struct pn_buf path = {0}, text = {0};
    pn_buf_printf(&path, "%s.index.json", w->path);
    put_index(w, &text);
    pantry_status status = pn_outfile_name(&w->index, pn_buf_take(&path), NULL) && !text.failed
                               ? pn_outfile_open(&w->index, err)
                               : pn_no_memory(err, w->path);
    if (!status && ftruncate(w->index.fd, 0) != 0)
        status = pn_outfile_error(&w->index, err);
    if (!status)
        status = pn_outfile_write(&w->index, text.data, text.len, err);
    if (!status)
        status = pn_outfile_sync(&w->index, err);
    pn_buf_free(&text);
    return status;
}

pantry_status pn_st_finish(struct pn_st_writer *w, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    if (!w->began || w->at != w->tensors.len)
        return pn_fail(err, PANTRY_INVALID, "%s: %zu of %zu tensors have no data", w->path, w->tensors.len - w->at,
                       w->tensors.len);
    for (size_t i = 0; !status && i < w->n_files; i++)
        status = pn_outfile_sync(&w->files[i], err);
    if (!status && w->n_files > 1)
        status = write_index(w, err);
    for (size_t i = 0; !status && i < w->n_files; i++)
        status = pn_outfile_rename(&w->files[i], err);
    if (!status && w->n_files > 1)
        status = pn_outfile_rename(&w->index, err);
    w->finished = !status;
    return status;
}

void pn_st_writer_free(struct pn_st_writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; w->files && i < w->n_files; i++)
        pn_outfile_free(&w->files[i], !w->finished);
    pn_outfile_free(&w->index, !w->finished);
    for (size_t i = 0; i < w->tensors.len; i++)
        free(w->tensors.data[i].name);
    free(w->tensors.data);
    free(w->files);
    free(w->format);
    free(w->path);
    free(w);
}
