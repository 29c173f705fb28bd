/* Safetensors: see safetensors.h.
 *
 * A file is the length of a header, the header (JSON: name -> dtype, shape and range of the data region), and the data
 * region. The file is hostile: the length is compared with the file before it is used, numbers are checked before they
 * become sizes, and every tensor's range must have the size that its type and shape give. */
#include "format/safetensors.h"

#include "format/names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER = 100 << 20, MAX_NAME = 1023, MAX_TENSORS = 1 << 20 };

static const struct {
    const char *name;
    unsigned bits;
} types[PN_ST_TYPE_COUNT] = {
#define PN_ST(name, bits) {#name, bits},
    PN_ST_TYPES
#undef PN_ST
};

const char *pn_st_type_name(enum pn_st_type type)
{
    return types[type].name;
}

unsigned pn_st_type_bits(enum pn_st_type type)
{
    return types[type].bits;
}

struct reader {
    const char *path;
    struct pantry_error *err;
    const unsigned char *region;
    size_t region_bytes;
    size_t map;
    struct pn_arena *arena;
};

static bool find_type(const char *name, enum pn_st_type *out)
{
    for (int i = 0; i < PN_ST_TYPE_COUNT; i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = (enum pn_st_type)i;
            return true;
        }
    return false;
}

/* ---- one tensor ---- */

static pantry_status read_shape(const struct reader *r, const json_t *shape, struct pn_st_tensor *t)
{
    size_t n = json_array_size(shape), values = 1, bits;
    if (!json_is_array(shape))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s has no shape", r->path, t->name);
    if (n > PN_ST_MAX_DIMS)
        return pn_fail(r->err, PANTRY_LIMIT, "%s: tensor %s has %zu dimensions, but at most %d are allowed", r->path,
                       t->name, n, PN_ST_MAX_DIMS);
    t->n_dims = (int)n;
    for (size_t i = 0; i < PN_ST_MAX_DIMS; i++)
        t->shape[i] = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s: dimension %zu is not a count", r->path, t->name, i);
        t->shape[i] = json_integer_value(dim);
        if (!pn_size_mul(values, (size_t)t->shape[i], &values))
            return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s: its shape overflows", r->path, t->name);
    }
    if (!pn_size_mul(values, types[t->type].bits, &bits) || bits % 8)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s: its shape does not fit whole bytes", r->path, t->name);
    t->bytes = bits / 8;
    return PANTRY_OK;
}

static pantry_status read_range(const struct reader *r, const json_t *range, struct pn_st_tensor *t)
{
    const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        json_integer_value(first) < 0 || json_integer_value(last) < json_integer_value(first))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s: data_offsets must be two rising offsets", r->path,
                       t->name);
    uint64_t begin = (uint64_t)json_integer_value(first), end = (uint64_t)json_integer_value(last);
    if (end > r->region_bytes)
        return pn_fail(r->err, PANTRY_FORMAT,
                       "%s: tensor %s ends at byte %s of the data, but the file has %s; it was probably cut off while "
                       "downloading",
                       r->path, t->name, pn_digits(end).text, pn_digits(r->region_bytes).text);
    if (end - begin != t->bytes)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s has %s bytes, but its type and shape need %s", r->path,
                       t->name, pn_digits(end - begin).text, pn_digits(t->bytes).text);
    t->data = r->region + begin;
    return PANTRY_OK;
}

static pantry_status read_tensor(const struct reader *r, const char *name, const json_t *entry,
                                 struct pn_st_tensors *out)
{
    struct pn_st_tensor t = {.map = r->map};
    const char *problem = pn_name_problem(name, strlen(name), MAX_NAME);
    if (problem)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %zu has a name that %s", r->path, out->len + 1, problem);
    if (!(t.name = pn_arena_copy(r->arena, name, strlen(name))))
        return pn_no_memory(r->err, r->path);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return pn_fail(r->err, PANTRY_FORMAT, "%s: tensor %s has no dtype", r->path, t.name);
    if (!find_type(dtype, &t.type))
        return pn_fail(r->err, PANTRY_UNSUPPORTED, "%s: tensor %s has the dtype \"%.40s\", which is not supported",
                       r->path, t.name, dtype);
    pantry_status status = read_shape(r, json_object_get(entry, "shape"), &t);
    if (!status)
        status = read_range(r, json_object_get(entry, "data_offsets"), &t);
    if (!status && out->len >= MAX_TENSORS)
        return pn_fail(r->err, PANTRY_LIMIT, "%s: has more than %d tensors", r->path, MAX_TENSORS);
    if (!status && !pn_vec_push(out, t))
        status = pn_no_memory(r->err, r->path);
    return status;
}

/* ---- all tensors ---- */

static int by_place(const void *a, const void *b)
{
    const struct pn_st_tensor *const *x = a, *const *y = b;
    if ((*x)->data != (*y)->data)
        return (*x)->data < (*y)->data ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes); /* empty ones first */
}

/* The tensors of this file cover the data region. */
static pantry_status check_places(const struct reader *r, const struct pn_st_tensor *tensors, size_t n)
{
    const struct pn_st_tensor **order = malloc((n + 1) * sizeof *order);
    pantry_status status = PANTRY_OK;
    if (!order)
        return pn_no_memory(r->err, r->path);
    for (size_t i = 0; i < n; i++)
        order[i] = &tensors[i];
    qsort(order, n, sizeof *order, by_place);
    const unsigned char *at = r->region;
    for (size_t i = 0; i < n && !status; i++) {
        if (order[i]->data < at)
            status = pn_fail(r->err, PANTRY_FORMAT, "%s: tensors %s and %s overlap", r->path, order[i - 1]->name,
                             order[i]->name);
        else if (order[i]->data > at)
            status = pn_fail(r->err, PANTRY_FORMAT, "%s: %s bytes before tensor %s belong to no tensor", r->path,
                             pn_digits((uint64_t)(order[i]->data - at)).text, order[i]->name);
        at = order[i]->data + order[i]->bytes;
    }
    if (!status && at != r->region + r->region_bytes)
        status = pn_fail(r->err, PANTRY_FORMAT, "%s: its last %s bytes belong to no tensor", r->path,
                         pn_digits((uint64_t)(r->region + r->region_bytes - at)).text);
    free(order);
    return status;
}

static pantry_status read_header(const struct reader *r, const json_t *header, struct pn_st_tensors *out,
                                 const char **writer)
{
    static const char key[] = "__metadata__";
    const char *name, *format;
    const json_t *entry;
    size_t first = out->len;
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        pantry_status status = strcmp(name, key) == 0 ? PANTRY_OK : read_tensor(r, name, entry, out);
        if (status)
            return status;
    }
    format = json_string_value(json_object_get(json_object_get(header, key), "format"));
    if (format && writer && !(*writer = pn_arena_copy(r->arena, format, strlen(format))))
        return pn_no_memory(r->err, r->path);
    return check_places(r, out->data ? out->data + first : NULL, out->len - first);
}

pantry_status pn_safetensors_read(const struct pn_map *map, size_t number, const char *path, struct pn_arena *arena,
                                  struct pn_st_tensors *out, const char **writer, struct pantry_error *err)
{
    struct reader r = {.path = path, .err = err, .map = number, .arena = arena};
    uint64_t length = 0;
    json_error_t e;
    if (map->size < LENGTH_BYTES)
        return pn_fail(err, PANTRY_FORMAT, "%s: has only %zu bytes, which is too short for a safetensors file", path,
                       map->size);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | map->data[i];
    if (length > map->size - LENGTH_BYTES)
        return pn_fail(
            err, PANTRY_FORMAT,
            "%s: says that its header has %s bytes, but only %s follow; it is not a safetensors file or was cut "
            "off",
            path, pn_digits(length).text, pn_digits(map->size - LENGTH_BYTES).text);
    if (length > MAX_HEADER)
        return pn_fail(err, PANTRY_LIMIT, "%s: its header has %s bytes, but at most %s are allowed", path,
                       pn_digits(length).text, pn_digits(MAX_HEADER).text);
    r.region = map->data + LENGTH_BYTES + length;
    r.region_bytes = map->size - LENGTH_BYTES - (size_t)length;
    json_t *header = json_loadb((const char *)map->data + LENGTH_BYTES, (size_t)length, JSON_REJECT_DUPLICATES, &e);
    if (!header)
        return pn_fail(err, PANTRY_FORMAT, "%s: its header is not JSON: %s (byte %d)", path, e.text, e.position);
    pantry_status status = json_is_object(header)
                               ? read_header(&r, header, out, writer)
                               : pn_fail(err, PANTRY_FORMAT, "%s: its header is not a JSON object", path);
    json_decref(header);
    return status;
}
