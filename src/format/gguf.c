/* GGUF v2 and v3, read in place from the map; docs/formats.md has the layout.
 *
 * The file is hostile until proven otherwise. Invariants:
 *  - every byte is read through the cursor, or through a tensor's range that was compared with the size of the file;
 *  - a count is compared with the remaining bytes (each counted item has a minimum size) before it is used, and memory
 *    grows with the items read, never with the claimed count;
 *  - after success, names and keys are unique and printable, shapes do not overflow, tensor data is aligned, inside the
 *    file and disjoint, and every byte of the data region belongs to a tensor or to alignment padding. */
#include "format/gguf.h"

#include "base/model_files.h"
#include "format/cursor.h"
#include "format/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 65536,
    MAX_KEYS = 65536,
    MAX_TENSORS = 262144,
    MAX_STRINGS = 1 << 24, /* per array; the largest vocabularies have about 2^18 tokens and 2^19 merges */
    MAX_KEY_BYTES = 65535, /* the specification's limit */
    MAX_NAME_BYTES = 1023, /* the specification says 64, but real files have longer names */
    MIN_META_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
};

enum { GGUF_U32 = 4, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9, GGUF_VALUE_TYPES = 13 };

static const struct {
    enum pn_meta_type kind;
    unsigned width;
} value_types[GGUF_VALUE_TYPES] = {
    {PN_META_UINT, 1}, {PN_META_INT, 1},   {PN_META_UINT, 2},  {PN_META_INT, 2},    {PN_META_UINT, 4},
    {PN_META_INT, 4},  {PN_META_FLOAT, 4}, {PN_META_BOOL, 1},  {PN_META_STRING, 0}, {PN_META_ARRAY, 0},
    {PN_META_UINT, 8}, {PN_META_INT, 8},   {PN_META_FLOAT, 8},
};

struct span { /* of a tensor's data, from the start of the data region */
    uint64_t start, end;
    size_t tensor;
};

/* One shard while it is read. `view` gives pn_meta_* access to its metadata. */
struct reader {
    struct pn_weights *w;
    struct pantry_error *err;
    struct pn_weights view;
    struct pn_cursor in;
    size_t map;
    uint32_t version;
    uint64_t n_meta, n_tensors;
    size_t alignment, data_start;
    struct {
        struct pn_meta *data;
        size_t len, cap;
    } meta;
    struct {
        struct span *data;
        size_t len, cap;
    } spans;
    /* Current position, for messages: item `at` (from 0) of `n_items` `items`; its name once it is known. */
    const char *items, *name;
    uint64_t at, n_items;
};

/* All shards together. */
struct tensors {
    struct pn_tensor_info *data;
    size_t len, cap;
};

/* ---- errors ---- */

/* "smollm2.gguf: metadata 3 of 20 (tokenizer.ggml.model)" */
static pantry_status fail_item(struct reader *r, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static pantry_status fail_item(struct reader *r, pantry_status status, const char *format, ...)
{
    char what[768];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (r->name)
        return pn_fail(r->err, status, "%s: %s %s %s", r->view.path, r->items, r->name, what);
    return pn_fail(r->err, status, "%s: %s %s of %s %s", r->view.path, r->items, pn_digits(r->at + 1).text,
                   pn_digits(r->n_items).text, what);
}

static pantry_status cut_off(struct reader *r)
{
    return fail_item(r, PANTRY_FORMAT,
                     "goes on beyond the end of the file at byte %s; it was probably cut off while "
                     "downloading",
                     pn_digits(r->in.size).text);
}

/* ---- metadata ---- */

/* A string's bytes, in place. */
static pantry_status read_string(struct reader *r, const char *what, struct pn_str *out)
{
    uint64_t len;
    if (!pn_cursor_u64(&r->in, &len))
        return cut_off(r);
    if (len > pn_cursor_left(&r->in))
        return fail_item(r, PANTRY_FORMAT, "has a %s of %s bytes, but only %s are left in the file", what,
                         pn_digits(len).text, pn_digits(pn_cursor_left(&r->in)).text);
    *out = (struct pn_str){.data = pn_cursor_take(&r->in, len), .len = (size_t)len};
    return PANTRY_OK;
}

static pantry_status read_name(struct reader *r, const char *what, size_t max, const char **out)
{
    struct pn_str s;
    pantry_status status = read_string(r, what, &s);
    if (status)
        return status;
    const char *problem = pn_name_problem(s.data, s.len, max);
    if (problem)
        return fail_item(r, PANTRY_FORMAT, "has a %s that %s", what, problem);
    *out = pn_arena_copy(&r->w->arena, s.data, s.len);
    return *out ? PANTRY_OK : pn_no_memory(r->err, r->view.path);
}

static pantry_status read_array_of_strings(struct reader *r, struct pn_meta *m, uint64_t n)
{
    if (n > MAX_STRINGS)
        return fail_item(r, PANTRY_LIMIT, "has %s strings, but at most %s are allowed", pn_digits(n).text,
                         pn_digits(MAX_STRINGS).text);
    /* Two passes: lengths are checked before memory for the views is allocated. */
    struct pn_cursor begin = r->in;
    for (uint64_t i = 0; i < n; i++) {
        struct pn_str s;
        pantry_status status = read_string(r, "string", &s);
        if (status)
            return status;
    }
    struct pn_str *items = pn_arena_array(&r->w->arena, (size_t)n, sizeof *items);
    if (!items)
        return pn_no_memory(r->err, r->view.path);
    for (size_t i = 0; i < n; i++) {
        uint64_t len = 0;
        pn_cursor_u64(&begin, &len);
        items[i] = (struct pn_str){.data = pn_cursor_take(&begin, len), .len = (size_t)len};
    }
    m->items = items;
    return PANTRY_OK;
}

static pantry_status check_bools(struct reader *r, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] > 1)
            return fail_item(r, PANTRY_FORMAT, "has a bool of %u, but only 0 and 1 are allowed", p[i]);
    return PANTRY_OK;
}

static pantry_status read_array(struct reader *r, struct pn_meta *m)
{
    uint32_t type;
    uint64_t n;
    if (!pn_cursor_u32(&r->in, &type) || !pn_cursor_u64(&r->in, &n))
        return cut_off(r);
    if (type == GGUF_ARRAY)
        return fail_item(r, PANTRY_UNSUPPORTED, "is an array of arrays, which is not supported");
    if (type >= GGUF_VALUE_TYPES)
        return fail_item(r, PANTRY_FORMAT, "is an array of the unknown value type %u", type);
    m->type = PN_META_ARRAY;
    m->item = value_types[type].kind;
    m->width = value_types[type].width;
    size_t smallest = type == GGUF_STRING ? sizeof(uint64_t) : m->width;
    if (n > pn_cursor_left(&r->in) / smallest)
        return fail_item(r, PANTRY_FORMAT, "is an array of %s items, but only %s bytes are left in the file",
                         pn_digits(n).text, pn_digits(pn_cursor_left(&r->in)).text);
    m->n = (size_t)n;
    if (type == GGUF_STRING)
        return read_array_of_strings(r, m, n);
    m->raw = pn_cursor_take(&r->in, n * m->width);
    return type == GGUF_BOOL ? check_bools(r, m->raw, m->n) : PANTRY_OK;
}

static pantry_status read_number(struct reader *r, uint32_t type, struct pn_meta *m)
{
    m->type = value_types[type].kind;
    m->width = value_types[type].width;
    const void *raw = pn_cursor_take(&r->in, m->width);
    if (!raw)
        return cut_off(r);
    const struct pn_meta one = {.item = m->type, .width = m->width, .n = 1, .raw = raw};
    switch (m->type) {
    case PN_META_UINT:
        m->u = pn_meta_item_u64(&one, 0);
        break;
    case PN_META_INT:
        m->i = pn_meta_item_i64(&one, 0);
        break;
    case PN_META_FLOAT:
        m->f = pn_meta_item_f64(&one, 0);
        break;
    default:
        m->b = pn_meta_item_bool(&one, 0);
        return check_bools(r, raw, 1);
    }
    return PANTRY_OK;
}

static pantry_status read_meta(struct reader *r)
{
    struct pn_meta m = {0};
    uint32_t type;
    pantry_status status = read_name(r, "key", MAX_KEY_BYTES, &m.key);
    if (status)
        return status;
    r->name = m.key;
    if (!pn_cursor_u32(&r->in, &type))
        return cut_off(r);
    if (type >= GGUF_VALUE_TYPES)
        return fail_item(r, PANTRY_FORMAT, "has the unknown value type %u", type);
    if (type == GGUF_ARRAY) {
        status = read_array(r, &m);
    } else if (type == GGUF_STRING) {
        m.type = PN_META_STRING;
        status = read_string(r, "string", &m.s);
    } else {
        status = read_number(r, type, &m);
    }
    if (!status && !pn_vec_push(&r->meta, m))
        status = pn_no_memory(r->err, r->view.path);
    return status;
}

static pantry_status read_all_meta(struct reader *r)
{
    r->items = "metadata";
    r->n_items = r->n_meta;
    for (r->at = 0; r->at < r->n_meta; r->at++) {
        r->name = NULL;
        pantry_status status = read_meta(r);
        if (status)
            return status;
    }
    r->view.meta = r->meta.data;
    r->view.n_meta = r->meta.len;
    struct pn_name_index *index = pn_name_index_new(&r->w->arena, r->meta.len);
    if (!index)
        return pn_no_memory(r->err, r->view.path);
    for (size_t i = 0; i < r->meta.len; i++)
        index->entries[i] = (struct pn_name_entry){r->meta.data[i].key, i};
    r->view.meta_index = index;
    const struct pn_name_entry *twice = pn_name_index_sort(index);
    if (twice)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: duplicate metadata key %s", r->view.path, twice->name);
    return PANTRY_OK;
}

/* ---- tensors ---- */

static pantry_status read_shape(struct reader *r, struct pn_tensor_info *t, uint64_t *n_values)
{
    uint32_t n_dims;
    if (!pn_cursor_u32(&r->in, &n_dims))
        return cut_off(r);
    if (n_dims < 1 || n_dims > PN_MAX_DIMS)
        return fail_item(r, PANTRY_FORMAT, "has %s dimensions, but must have 1 to %d", pn_digits(n_dims).text,
                         PN_MAX_DIMS);
    t->n_dims = (int)n_dims;
    for (int i = 0; i < PN_MAX_DIMS; i++)
        t->shape[i] = 1;
    *n_values = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) { /* GGUF's order is innermost first */
        uint64_t dim;
        if (!pn_cursor_u64(&r->in, &dim))
            return cut_off(r);
        if (dim < 1 || dim > INT64_MAX)
            return fail_item(r, PANTRY_FORMAT, "has a dimension of %s, but must have 1 to 9,223,372,036,854,775,807",
                             pn_digits(dim).text);
        if (__builtin_mul_overflow(*n_values, dim, n_values) || *n_values > INT64_MAX)
            return fail_item(r, PANTRY_FORMAT, "has dimensions whose product is beyond 63 bits");
        t->shape[i] = (int64_t)dim;
    }
    return PANTRY_OK;
}

/* Type and bytes of the tensor's data; PN_TYPE_COUNT and 0 for an unknown type. */
static pantry_status size_tensor(struct reader *r, struct pn_tensor_info *t, uint64_t n_values)
{
    if (!pn_type_from_gguf(t->number, &t->type)) {
        t->type = PN_TYPE_COUNT;
        return PANTRY_OK;
    }
    const struct pn_type_info *type = pn_type_info(t->type);
    int64_t row = t->shape[t->n_dims - 1];
    if (row % type->block)
        return fail_item(r, PANTRY_FORMAT, "has rows of %s values, which is not a multiple of the %u in a block of %s",
                         pn_digits((uint64_t)row).text, type->block, type->name);
    if (!pn_size_mul(n_values / type->block, type->bytes, &t->bytes))
        return fail_item(r, PANTRY_FORMAT, "has more bytes than 64 bits can count");
    return PANTRY_OK;
}

static pantry_status read_tensor(struct reader *r, struct tensors *tensors)
{
    struct pn_tensor_info t = {.map = r->map};
    uint64_t n_values = 1, offset = 0;
    pantry_status status = read_name(r, "name", MAX_NAME_BYTES, &t.name);
    if (status)
        return status;
    r->name = t.name;
    if ((status = read_shape(r, &t, &n_values)))
        return status;
    if (!pn_cursor_u32(&r->in, &t.number) || !pn_cursor_u64(&r->in, &offset))
        return cut_off(r);
    if ((status = size_tensor(r, &t, n_values)))
        return status;
    if (offset % r->alignment)
        return fail_item(r, PANTRY_FORMAT, "has its data at offset %s, which is not aligned to %zu bytes",
                         pn_digits(offset).text, r->alignment);
    struct span span = {.start = offset, .tensor = tensors->len};
    if (__builtin_add_overflow(offset, t.bytes, &span.end))
        return fail_item(r, PANTRY_FORMAT, "has its data at offset %s, beyond the end of the file",
                         pn_digits(offset).text);
    if (!pn_vec_push(&r->spans, span) || !pn_vec_push(tensors, t))
        return pn_no_memory(r->err, r->view.path);
    return PANTRY_OK;
}

/* Finds the start of the data region and checks that each tensor is inside the file, in file order: for a file that was
 * cut off, the error names the first missing tensor. */
static pantry_status place_tensors(struct reader *r, struct tensors *tensors)
{
    size_t data_start;
    if (!pn_size_add(r->in.at, r->alignment - 1, &data_start))
        return cut_off(r);
    r->data_start = data_start - data_start % r->alignment;
    for (size_t i = 0; i < r->spans.len; i++) {
        struct span *s = &r->spans.data[i];
        struct pn_tensor_info *t = &tensors->data[s->tensor];
        uint64_t end;
        if (__builtin_add_overflow(s->end, r->data_start, &end))
            return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s has its data at offset %s, beyond the end of the file",
                           r->view.path, t->name, pn_digits(s->start).text);
        if (end > r->in.size)
            return pn_fail(r->err, PANTRY_FORMAT,
                           "%s: tensor %s ends at byte %s, but the file has %s; it was probably cut off while "
                           "downloading",
                           r->view.path, t->name, pn_digits(end).text, pn_digits(r->in.size).text);
        if (t->type != PN_TYPE_COUNT)
            t->data = r->in.data + r->data_start + s->start;
    }
    return PANTRY_OK;
}

static int by_start(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static uint64_t align_up(const struct reader *r, uint64_t n)
{
    return (n + r->alignment - 1) / r->alignment * r->alignment; /* n is inside the file, so this cannot overflow */
}

/* Checks that tensors are disjoint, with only padding between them and after the last. The end of a tensor of unknown
 * type is not known: the next tensor only has to begin later. */
static pantry_status check_layout(struct reader *r, const struct tensors *tensors)
{
    if (r->spans.len)
        qsort(r->spans.data, r->spans.len, sizeof *r->spans.data, by_start);
    uint64_t end = 0;
    const char *before = NULL;
    bool known = true;
    for (size_t i = 0; i < r->spans.len; i++) {
        const struct span *s = &r->spans.data[i];
        const struct pn_tensor_info *t = &tensors->data[s->tensor];
        if (before && (s->start < end || s->start == r->spans.data[i - 1].start))
            return pn_fail(r->err, PANTRY_FORMAT, "%s: the data of tensors %s and %s overlap", r->view.path, before,
                           t->name);
        if (known && s->start != align_up(r, end))
            return pn_fail(r->err, PANTRY_FORMAT, "%s: %s bytes before the data of tensor %s belong to no tensor",
                           r->view.path, pn_digits(s->start - end).text, t->name);
        before = t->name;
        known = t->type != PN_TYPE_COUNT;
        end = s->end;
    }
    uint64_t file_end = align_up(r, r->data_start + end);
    if (known && r->in.size > file_end)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: has %s bytes after its last tensor, which ends at byte %s",
                       r->view.path, pn_digits(r->in.size - file_end).text, pn_digits(r->data_start + end).text);
    return PANTRY_OK;
}

static pantry_status read_all_tensors(struct reader *r, struct tensors *tensors)
{
    r->items = "tensor";
    r->n_items = r->n_tensors;
    pantry_status status;
    for (r->at = 0; r->at < r->n_tensors; r->at++) {
        r->name = NULL;
        if ((status = read_tensor(r, tensors)))
            return status;
    }
    if ((status = place_tensors(r, tensors)))
        return status;
    return check_layout(r, tensors);
}

/* ---- one file ---- */

static pantry_status check_version(struct reader *r)
{
    uint32_t v = r->version;
    if (v == 2 || v == 3)
        return PANTRY_OK;
    if (v && (v & 0xFFFF) == 0)
        return pn_fail(r->err, PANTRY_UNSUPPORTED,
                       "%s: is a big-endian GGUF file; only little-endian files are supported", r->view.path);
    return pn_fail(r->err, PANTRY_UNSUPPORTED,
                   "%s: is GGUF version %u, but only versions 2 and 3 are supported; convert the model again",
                   r->view.path, v);
}

static pantry_status check_count(struct reader *r, uint64_t n, size_t smallest, uint64_t limit, const char *what)
{
    if (n > pn_cursor_left(&r->in) / smallest)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: claims %s %s, but only %s bytes are left in the file", r->view.path,
                       pn_digits(n).text, what, pn_digits(pn_cursor_left(&r->in)).text);
    if (n > limit)
        return pn_fail(r->err, PANTRY_LIMIT, "%s: has %s %s, but at most %s are allowed", r->view.path,
                       pn_digits(n).text, what, pn_digits(limit).text);
    return PANTRY_OK;
}

static pantry_status read_header(struct reader *r)
{
    pantry_status status;
    r->in.at = 4; /* the caller has seen the magic */
    bool has_version = pn_cursor_u32(&r->in, &r->version);
    if (has_version && (status = check_version(r)))
        return status;
    if (!has_version || !pn_cursor_u64(&r->in, &r->n_tensors) || !pn_cursor_u64(&r->in, &r->n_meta))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: has only %zu bytes; it was probably cut off while downloading",
                       r->view.path, r->in.size);
    if ((status = check_count(r, r->n_tensors, MIN_TENSOR_BYTES, MAX_TENSORS, "tensors")))
        return status;
    return check_count(r, r->n_meta, MIN_META_BYTES, MAX_KEYS, "metadata keys");
}

static pantry_status read_alignment(struct reader *r)
{
    r->alignment = DEFAULT_ALIGNMENT;
    const struct pn_meta *m = pn_weights_meta(&r->view, "general.alignment");
    if (!m)
        return PANTRY_OK;
    if (m->type != PN_META_UINT || m->width != sizeof(uint32_t))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: general.alignment must be an unsigned 32-bit integer", r->view.path);
    if (m->u < 8 || m->u > MAX_ALIGNMENT || (m->u & (m->u - 1)))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: general.alignment is %s, but must be a power of two from 8 to %s",
                       r->view.path, pn_digits(m->u).text, pn_digits(MAX_ALIGNMENT).text);
    r->alignment = (size_t)m->u;
    return PANTRY_OK;
}

static pantry_status read_file(struct reader *r, struct tensors *tensors)
{
    const struct pn_map *map = &r->w->maps[r->map];
    r->in = (struct pn_cursor){.data = map->data, .size = map->size};
    pantry_status status;
    if ((status = read_header(r)) || (status = read_all_meta(r)) || (status = read_alignment(r)))
        return status;
    return read_all_tensors(r, tensors);
}

/* ---- shards ---- */

/* The path of shard `number` (from 1) beside `path`, which is one of the shards. */
static char *shard_path(struct pn_arena *arena, const char *path, uint32_t number)
{
    char *copy = pn_arena_copy(arena, path, strlen(path));
    if (copy)
        pn_shard_renumber(copy, number);
    return copy;
}

/* Checks that a key of the split exists and is `wanted`. */
static pantry_status check_split(struct reader *r, const char *key, uint32_t wanted)
{
    uint32_t found = 0;
    pantry_status status = pn_meta_u32(&r->view, key, &found, r->err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: does not match the number in its name: %s is missing", r->view.path,
                       key);
    if (!status && found != wanted)
        status = pn_fail(r->err, PANTRY_FORMAT, "%s: does not match the number in its name: %s is %u instead of %u",
                         r->view.path, key, found, wanted);
    return status;
}

/* Reads the split.* keys of the given file: which of *count shards it is, from 0. A file that is not split is the only
 * one. */
static pantry_status find_shards(struct reader *r, uint32_t *no_out, uint32_t *count)
{
    uint32_t no = 0, name_no = 0, name_count = 0;
    const char *path = r->view.path;
    *no_out = 0;
    *count = 1;
    pantry_status status = pn_meta_u32(&r->view, "split.count", count, r->err);
    if (status == PANTRY_NOT_FOUND || (!status && *count <= 1))
        return *count = 1, PANTRY_OK;
    if (status || ((status = pn_meta_u32(&r->view, "split.no", &no, r->err)) && status != PANTRY_NOT_FOUND))
        return status;
    bool named = pn_shard_name(path, &name_no, &name_count) && name_count == *count && name_no == no + 1;
    if (!named)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: is shard %u of %u, so its name must end in -%05u-of-%05u.gguf", path,
                       no + 1, *count, no + 1, *count);
    *no_out = no;
    return PANTRY_OK;
}

static pantry_status open_shard(struct pn_weights *w, const char *path, uint32_t number, uint32_t count,
                                struct pantry_error *err)
{
    struct pn_map *maps = realloc(w->maps, (w->n_maps + 1) * sizeof *maps);
    if (!maps)
        return pn_no_memory(err, path);
    w->maps = maps;
    struct pn_map *map = &maps[w->n_maps];
    pantry_status status = pn_map_open(map, path, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_NOT_FOUND, "%s: is missing; it is shard %u of %u", path, number, count);
    if (status)
        return status;
    w->n_maps++;
    if (map->size < 4 || memcmp(map->data, "GGUF", 4) != 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: is not a GGUF file, but should be shard %u of %u", path, number, count);
    return PANTRY_OK;
}

static pantry_status read_shard(struct pn_weights *w, struct tensors *tensors, uint32_t number, uint32_t count,
                                struct pantry_error *err)
{
    struct reader r = {.w = w, .err = err, .map = w->n_maps};
    r.view.path = shard_path(&w->arena, w->path, number);
    if (!r.view.path)
        return pn_no_memory(err, w->path);
    pantry_status status = open_shard(w, r.view.path, number, count, err);
    if (!status)
        status = read_file(&r, tensors);
    if (!status)
        status = check_split(&r, "split.no", number - 1);
    if (!status)
        status = check_split(&r, "split.count", count);
    free(r.meta.data);
    free(r.spans.data);
    return status;
}

/* Reads the first shard in place of the given one: only it has the metadata. */
static pantry_status turn_to_first(struct reader *r, struct tensors *tensors, uint32_t count)
{
    struct pn_weights *w = r->w;
    if (!(w->path = shard_path(&w->arena, w->path, 1)))
        return pn_no_memory(r->err, r->view.path);
    pn_map_close(&w->maps[0]);
    w->n_maps = tensors->len = 0;
    free(r->meta.data);
    free(r->spans.data);
    *r = (struct reader){.w = w, .err = r->err, .view = {.path = w->path}};
    pantry_status status = open_shard(w, w->path, 1, count, r->err);
    if (!status)
        status = read_file(r, tensors);
    if (!status)
        status = check_split(r, "split.no", 0);
    if (!status)
        status = check_split(r, "split.count", count);
    return status;
}

static pantry_status check_split_total(struct pn_weights *w, size_t n_tensors, struct pantry_error *err)
{
    int64_t total;
    pantry_status status = pn_meta_i64(w, "split.tensors.count", &total, err);
    if (status == PANTRY_NOT_FOUND)
        return PANTRY_OK;
    if (!status && (total < 0 || (uint64_t)total != n_tensors))
        status = pn_fail(err, PANTRY_FORMAT, "%s: split.tensors.count is %jd, but its shards have %s tensors", w->path,
                         (intmax_t)total, pn_digits(n_tensors).text);
    return status;
}

/* ---- all together ---- */

static pantry_status index_tensors(struct pn_weights *w, const struct tensors *tensors, struct pantry_error *err)
{
    struct pn_name_index *index = pn_name_index_new(&w->arena, tensors->len);
    if (!index)
        return pn_no_memory(err, w->path);
    for (size_t i = 0; i < tensors->len; i++)
        index->entries[i] = (struct pn_name_entry){tensors->data[i].name, i};
    w->tensor_index = index;
    const struct pn_name_entry *twice = pn_name_index_sort(index);
    if (twice)
        return pn_fail(err, PANTRY_FORMAT, "%s: duplicate tensor %s", w->path, twice->name);
    return PANTRY_OK;
}

pantry_status pn_gguf_read(struct pn_weights *w, struct pantry_error *err)
{
    struct reader first = {.w = w, .err = err, .view = {.path = w->path}};
    struct tensors tensors = {0};
    uint32_t no = 0, count = 1;
    pantry_status status = read_file(&first, &tensors);
    if (!status && !(status = find_shards(&first, &no, &count)) && no > 0)
        status = turn_to_first(&first, &tensors, count);
    w->format = first.version == 2 ? "gguf v2" : "gguf v3";
    w->meta = first.meta.data;
    w->n_meta = first.meta.len;
    w->meta_index = first.view.meta_index;
    if (status)
        goto done;
    for (uint32_t number = 2; number <= count; number++)
        if ((status = read_shard(w, &tensors, number, count, err)))
            goto done;
    if (count > 1 && (status = check_split_total(w, tensors.len, err)))
        goto done;
    if ((status = index_tensors(w, &tensors, err)))
        goto done;
    status = pn_meta_str(w, "tokenizer.chat_template", &w->chat_template, err);
    if (status == PANTRY_NOT_FOUND)
        status = PANTRY_OK;
done:
    w->tensors = tensors.data;
    w->n_tensors = tensors.len;
    free(first.spans.data);
    return status;
}
