/* The writer of GGUF files: see gguf_write.h. */
#define _POSIX_C_SOURCE 200809L
#include "format/gguf_write.h"

#include "format/names.h"
#include "format/outfile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_ALIGNMENT = 32, MAX_SHARDS = 65535, HEADER_BYTES = 24, MAX_NAME_BYTES = 1023, COMPARED = 1 << 16 };

struct tensor {
    char *name;
    pn_type type;
    int n_dims;
    int64_t shape[PN_MAX_DIMS];
    uint64_t bytes, offset; /* the offset is from the start of the shard's data */
    size_t shard;
};

struct shard {
    struct pn_outfile file;
    struct pn_buf head; /* up to the data, padding included */
    uint64_t data_bytes;
    size_t first, end; /* tensors */
};

struct pn_gguf_writer {
    char *path, *key;
    size_t alignment;
    uint64_t split_size;
    bool keep_shards, began, finished;
    size_t shard; /* of the tensors to come */
    struct {
        struct tensor *data;
        size_t len, cap;
    } tensors;
    struct shard *shards;
    size_t n_shards;
    size_t at, n_done; /* the current tensor */
    uint64_t written;  /* of the current tensor */
};

/* ---- metadata ---- */

static void put_u32(struct pn_buf *buf, uint32_t value)
{
    pn_buf_append(buf, &value, sizeof value); /* little-endian, as the machine is */
}

static void put_u64(struct pn_buf *buf, uint64_t value)
{
    pn_buf_append(buf, &value, sizeof value);
}

static void put_string(struct pn_buf *buf, const char *bytes, size_t n)
{
    put_u64(buf, n);
    pn_buf_append(buf, bytes, n);
}

static void put_key(struct pn_gguf_meta *meta, const char *key, enum pn_gguf_type type)
{
    put_string(&meta->bytes, key, strlen(key));
    put_u32(&meta->bytes, (uint32_t)type);
    meta->n++;
}

void pn_gguf_meta_free(struct pn_gguf_meta *meta)
{
    pn_buf_free(&meta->bytes);
    meta->n = 0;
}

void pn_gguf_value(struct pn_gguf_meta *meta, const char *key, enum pn_gguf_type type, const void *bytes, size_t n)
{
    put_key(meta, key, type);
    pn_buf_append(&meta->bytes, bytes, n);
}

#define SCALAR(suffix, c_type, number)                                                                                 \
    void pn_gguf_##suffix(struct pn_gguf_meta *meta, const char *key, c_type value)                                    \
    {                                                                                                                  \
        pn_gguf_value(meta, key, number, &value, sizeof value);                                                        \
    }
SCALAR(u16, uint16_t, PN_GGUF_U16)
SCALAR(u32, uint32_t, PN_GGUF_U32)
SCALAR(i32, int32_t, PN_GGUF_I32)
SCALAR(u64, uint64_t, PN_GGUF_U64)
SCALAR(f32, float, PN_GGUF_F32)
#undef SCALAR

void pn_gguf_bool(struct pn_gguf_meta *meta, const char *key, bool value)
{
    unsigned char byte = value;
    pn_gguf_value(meta, key, PN_GGUF_BOOL, &byte, 1);
}

void pn_gguf_str(struct pn_gguf_meta *meta, const char *key, const char *value)
{
    put_key(meta, key, PN_GGUF_STRING);
    put_string(&meta->bytes, value, strlen(value));
}

static const unsigned char widths[PN_GGUF_TYPES] = {
    [PN_GGUF_U8] = 1,  [PN_GGUF_I8] = 1,   [PN_GGUF_U16] = 2, [PN_GGUF_I16] = 2, [PN_GGUF_U32] = 4, [PN_GGUF_I32] = 4,
    [PN_GGUF_F32] = 4, [PN_GGUF_BOOL] = 1, [PN_GGUF_U64] = 8, [PN_GGUF_I64] = 8, [PN_GGUF_F64] = 8,
};

void pn_gguf_array(struct pn_gguf_meta *meta, const char *key, enum pn_gguf_type item, size_t n, const void *items)
{
    put_key(meta, key, PN_GGUF_ARRAY);
    put_u32(&meta->bytes, (uint32_t)item);
    put_u64(&meta->bytes, n);
    pn_buf_append(&meta->bytes, items, n * widths[item]);
}

void pn_gguf_strings(struct pn_gguf_meta *meta, const char *key, size_t n, const struct pn_str *items)
{
    put_key(meta, key, PN_GGUF_ARRAY);
    put_u32(&meta->bytes, PN_GGUF_STRING);
    put_u64(&meta->bytes, n);
    for (size_t i = 0; i < n; i++)
        put_string(&meta->bytes, items[i].data, items[i].len);
}

static enum pn_gguf_type number_type(enum pn_meta_type kind, unsigned width)
{
    static const enum pn_gguf_type uints[] = {PN_GGUF_U8, PN_GGUF_U16, PN_GGUF_U32, PN_GGUF_U64};
    static const enum pn_gguf_type ints[] = {PN_GGUF_I8, PN_GGUF_I16, PN_GGUF_I32, PN_GGUF_I64};
    int size = width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3;
    switch (kind) {
    case PN_META_UINT:
        return uints[size];
    case PN_META_INT:
        return ints[size];
    case PN_META_FLOAT:
        return width == 4 ? PN_GGUF_F32 : PN_GGUF_F64;
    default:
        return PN_GGUF_BOOL;
    }
}

void pn_gguf_copy(struct pn_gguf_meta *meta, const struct pn_meta *value)
{
    float single = (float)value->f;
    switch (value->type) {
    case PN_META_STRING:
        put_key(meta, value->key, PN_GGUF_STRING);
        put_string(&meta->bytes, value->s.data, value->s.len);
        break;
    case PN_META_ARRAY:
        if (value->item == PN_META_STRING)
            pn_gguf_strings(meta, value->key, value->n, value->items);
        else
            pn_gguf_array(meta, value->key, number_type(value->item, value->width), value->n, value->raw);
        break;
    default: /* the members of the union begin with the value's low bytes */
        pn_gguf_value(meta, value->key, number_type(value->type, value->width),
                      value->type == PN_META_FLOAT && value->width == 4 ? (const void *)&single : &value->u,
                      value->width);
    }
}

/* ---- tensors ---- */

pantry_status pn_gguf_writer_new(const char *path, const struct pn_gguf_options *options, struct pn_gguf_writer **out,
                                 struct pantry_error *err)
{
    size_t alignment = options->alignment ? options->alignment : DEFAULT_ALIGNMENT;
    *out = NULL;
    if (alignment < 8 || alignment > 65536 || (alignment & (alignment - 1)))
        return pn_fail(err, PANTRY_INVALID,
                       "%s: alignment of tensors: not a power of two (found %zu, allowed 8..65,536)", path, alignment);
    struct pn_gguf_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->alignment = alignment;
        w->split_size = options->split_size;
        w->keep_shards = options->keep_shards;
        w->path = strdup(path);
        w->key = options->key ? strdup(options->key) : NULL;
    }
    if (!w || !w->path || (options->key && !w->key)) {
        pn_gguf_writer_free(w);
        return pn_no_memory(err, path);
    }
    *out = w;
    return PANTRY_OK;
}

void pn_gguf_shard(struct pn_gguf_writer *w, size_t number)
{
    if (w->keep_shards && number > w->shard)
        w->shard = number;
}

pantry_status pn_gguf_add(struct pn_gguf_writer *w, const char *name, pn_type type, int n_dims, const int64_t *shape,
                          struct pantry_error *err)
{
    const struct pn_type_info *info = pn_type_info(type);
    const char *problem = pn_name_problem(name, strlen(name), MAX_NAME_BYTES);
    struct tensor t = {.type = type, .n_dims = n_dims, .shard = w->shard};
    size_t n = 1;
    if (problem)
        return pn_fail(err, PANTRY_INVALID, "%s: a tensor has a name that %s", w->path, problem);
    if (info->gguf < 0)
        return pn_fail(err, PANTRY_INVALID, "%s: tensor %s: GGUF has no type %s", w->path, name, info->name);
    if (n_dims < 1 || n_dims > PN_MAX_DIMS || shape[n_dims - 1] < 1 || shape[n_dims - 1] % info->block)
        return pn_fail(err, PANTRY_INVALID,
                       "%s: tensor %s has rows of %lld values, which blocks of %u of %s do not divide", w->path, name,
                       n_dims < 1 || n_dims > PN_MAX_DIMS ? 0 : (long long)shape[n_dims - 1], info->block, info->name);
    for (int i = 0; i < n_dims; i++) {
        t.shape[i] = shape[i];
        if (shape[i] < 1 || !pn_size_mul(n, (size_t)shape[i], &n))
            return pn_fail(err, PANTRY_INVALID, "%s: tensor %s has a shape without values or with too many", w->path,
                           name);
    }
    size_t bytes;
    if (!pn_size_mul(n / info->block, info->bytes, &bytes))
        return pn_fail(err, PANTRY_INVALID, "%s: tensor %s has more bytes than 64 bits can count", w->path, name);
    t.bytes = bytes;
    if (!(t.name = strdup(name)) || !pn_vec_push(&w->tensors, t)) {
        free(t.name);
        return pn_no_memory(err, w->path);
    }
    return PANTRY_OK;
}

/* ---- layout ---- */

static uint64_t padded(const struct pn_gguf_writer *w, uint64_t bytes)
{
    return (bytes + w->alignment - 1) / w->alignment * w->alignment;
}

static size_t info_bytes(const struct tensor *t)
{
    return 8 + strlen(t->name) + 4 + 8 * (size_t)t->n_dims + 4 + 8;
}

static pantry_status check_names(struct pn_gguf_writer *w, struct pantry_error *err)
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

/* Gives each tensor its shard and offset. */
static pantry_status place(struct pn_gguf_writer *w, const struct pn_gguf_meta *meta, struct pantry_error *err)
{
    uint64_t used = HEADER_BYTES + meta->bytes.len, offset = 0;
    size_t shard = 0;
    for (size_t i = 0; i < w->tensors.len; i++) {
        struct tensor *t = &w->tensors.data[i];
        uint64_t needs = padded(w, t->bytes) + info_bytes(t);
        bool full = w->split_size && offset > 0 && (needs > w->split_size || used > w->split_size - needs);
        if (w->keep_shards ? t->shard > shard : full) {
            shard++;
            used = HEADER_BYTES + 128; /* the keys of a shard */
            offset = 0;
        }
        t->shard = shard; /* without gaps */
        t->offset = offset;
        offset += padded(w, t->bytes);
        used += needs;
    }
    w->n_shards = shard + 1;
    if (w->n_shards > MAX_SHARDS)
        return pn_fail(err, PANTRY_LIMIT, "%s: %zu shards are too many (allowed 1..%d): choose larger ones", w->path,
                       w->n_shards, MAX_SHARDS);
    return PANTRY_OK;
}

/* The shard's own name and its partial file's. */
static bool name_shard(const struct pn_gguf_writer *w, size_t number, struct shard *s)
{
    struct pn_buf path = {0};
    size_t stem = strlen(w->path), ending = strlen(".gguf");
    if (stem > ending && strcmp(w->path + stem - ending, ".gguf") == 0)
        stem -= ending;
    if (w->n_shards > 1)
        pn_buf_printf(&path, "%.*s-%05zu-of-%05zu.gguf", (int)stem, w->path, number + 1, w->n_shards);
    else
        pn_buf_puts(&path, w->path);
    return pn_outfile_name(&s->file, pn_buf_take(&path), w->key);
}

static void make_head(const struct pn_gguf_writer *w, const struct pn_gguf_meta *meta, size_t number, struct shard *s)
{
    static const char zeros[64];
    struct pn_gguf_meta own = {0};
    if (w->alignment != DEFAULT_ALIGNMENT)
        pn_gguf_u32(&own, "general.alignment", (uint32_t)w->alignment);
    if (w->n_shards > 1) {
        pn_gguf_u16(&own, "split.no", (uint16_t)number);
        pn_gguf_u16(&own, "split.count", (uint16_t)w->n_shards);
        pn_gguf_i32(&own, "split.tensors.count", (int32_t)w->tensors.len);
    }
    pn_buf_append(&s->head, "GGUF", 4);
    put_u32(&s->head, 3);
    put_u64(&s->head, s->end - s->first);
    put_u64(&s->head, own.n + (number == 0 ? meta->n : 0));
    if (number == 0)
        pn_buf_append(&s->head, meta->bytes.data, meta->bytes.len);
    pn_buf_append(&s->head, own.bytes.data, own.bytes.len);
    for (size_t i = s->first; i < s->end; i++) {
        const struct tensor *t = &w->tensors.data[i];
        put_string(&s->head, t->name, strlen(t->name));
        put_u32(&s->head, (uint32_t)t->n_dims);
        for (int d = t->n_dims - 1; d >= 0; d--)
            put_u64(&s->head, (uint64_t)t->shape[d]);
        put_u32(&s->head, (uint32_t)pn_type_info(t->type)->gguf);
        put_u64(&s->head, t->offset);
    }
    while (!s->head.failed && s->head.len % w->alignment) {
        size_t left = w->alignment - s->head.len % w->alignment;
        pn_buf_append(&s->head, zeros, left < sizeof zeros ? left : sizeof zeros);
    }
    s->head.failed = s->head.failed || own.bytes.failed || meta->bytes.failed;
    pn_gguf_meta_free(&own);
}

/* ---- files ---- */

static bool same_head(int fd, const struct pn_buf *head)
{
    char bytes[COMPARED];
    for (size_t at = 0; at < head->len;) {
        size_t n = head->len - at < sizeof bytes ? head->len - at : sizeof bytes;
        if (pread(fd, bytes, n, (off_t)at) != (ssize_t)n || memcmp(bytes, head->data + at, n) != 0)
            return false;
        at += n;
    }
    return true;
}

/* Opens a shard's partial file and says how many of its tensors it already has. */
static pantry_status open_shard(struct pn_gguf_writer *w, struct shard *s, bool resume, size_t *done,
                                struct pantry_error *err)
{
    struct stat st;
    *done = 0;
    pantry_status status = pn_outfile_open(&s->file, err);
    if (status)
        return status;
    int fd = s->file.fd;
    if (fstat(fd, &st) != 0)
        return pn_outfile_error(&s->file, err);
    uint64_t size = s->head.len;
    if (resume && (uint64_t)st.st_size >= size && same_head(fd, &s->head)) {
        for (size_t i = s->first; i < s->end; i++) {
            uint64_t end = s->head.len + w->tensors.data[i].offset + padded(w, w->tensors.data[i].bytes);
            if (end > (uint64_t)st.st_size)
                break;
            size = end;
            ++*done;
        }
        if (ftruncate(fd, (off_t)size) != 0 || lseek(fd, (off_t)size, SEEK_SET) < 0)
            return pn_outfile_error(&s->file, err);
        return PANTRY_OK;
    }
    if (ftruncate(fd, 0) != 0)
        return pn_outfile_error(&s->file, err);
    return pn_outfile_write(&s->file, s->head.data, s->head.len, err);
}

pantry_status pn_gguf_begin(struct pn_gguf_writer *w, const struct pn_gguf_meta *meta, struct pantry_error *err)
{
    pantry_status status = check_names(w, err);
    if (!status)
        status = place(w, meta, err);
    if (status)
        return status;
    if (!(w->shards = calloc(w->n_shards, sizeof *w->shards)))
        return pn_no_memory(err, w->path);
    bool resume = w->key != NULL;
    size_t next = 0;
    for (size_t i = 0; i < w->n_shards; i++)
        w->shards[i].file.fd = -1;
    for (size_t i = 0; i < w->n_shards; i++) {
        struct shard *s = &w->shards[i];
        for (s->first = next; next < w->tensors.len && w->tensors.data[next].shard == i; next++)
            s->data_bytes += padded(w, w->tensors.data[next].bytes);
        s->end = next;
        make_head(w, meta, i, s);
        if (!name_shard(w, i, s) || s->head.failed)
            return pn_no_memory(err, w->path);
        size_t done;
        if ((status = open_shard(w, s, resume, &done, err)))
            return status;
        w->n_done += done;
        resume = resume && done == s->end - s->first; /* later files are begun again */
    }
    w->at = w->n_done;
    w->began = true;
    return PANTRY_OK;
}

size_t pn_gguf_done(const struct pn_gguf_writer *w)
{
    return w->n_done;
}

uint64_t pn_gguf_total(const struct pn_gguf_writer *w)
{
    uint64_t total = 0;
    for (size_t i = 0; i < w->n_shards; i++)
        total += w->shards[i].head.len + w->shards[i].data_bytes;
    return total;
}

pantry_status pn_gguf_write(struct pn_gguf_writer *w, const void *bytes, size_t n, struct pantry_error *err)
{
    static const char zeros[65536];
    while (n > 0) {
        if (w->at == w->tensors.len)
            return pn_fail(err, PANTRY_INVALID, "%s: more data than the tensors have", w->path);
        const struct tensor *t = &w->tensors.data[w->at];
        struct pn_outfile *file = &w->shards[t->shard].file;
        size_t part = n < t->bytes - w->written ? n : (size_t)(t->bytes - w->written);
        pantry_status status = pn_outfile_write(file, bytes, part, err);
        if (status)
            return status;
        bytes = (const char *)bytes + part;
        n -= part;
        w->written += part;
        if (w->written < t->bytes)
            continue;
        if ((status = pn_outfile_write(file, zeros, (size_t)(padded(w, t->bytes) - t->bytes), err)))
            return status;
        w->at++;
        w->written = 0;
    }
    return PANTRY_OK;
}

pantry_status pn_gguf_finish(struct pn_gguf_writer *w, struct pantry_error *err)
{
    if (!w->began || w->at != w->tensors.len)
        return pn_fail(err, PANTRY_INVALID, "%s: %zu of %zu tensors have no data", w->path, w->tensors.len - w->at,
                       w->tensors.len);
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; !status && i < w->n_shards; i++)
        status = pn_outfile_sync(&w->shards[i].file, err);
    for (size_t i = w->n_shards; !status && i-- > 0;)
        status = pn_outfile_rename(&w->shards[i].file, err);
    w->finished = !status;
    return status;
}

void pn_gguf_writer_free(struct pn_gguf_writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; w->shards && i < w->n_shards; i++) {
        pn_outfile_free(&w->shards[i].file, !w->finished && !w->key);
        pn_buf_free(&w->shards[i].head);
    }
    for (size_t i = 0; i < w->tensors.len; i++)
        free(w->tensors.data[i].name);
    free(w->tensors.data);
    free(w->shards);
    free(w->path);
    free(w->key);
    free(w);
}
