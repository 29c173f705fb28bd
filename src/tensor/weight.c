/* The places of a tensor's numbers: see weight.h. */
#include "tensor/weight.h"

#include <stdatomic.h>
#include <stdlib.h>

struct pn_weight pn_weight_plain(const char *name, pn_type type, int64_t n_mat, int64_t n_rows, int64_t n_cols,
                                 const void *data)
{
    size_t row = pn_type_row_bytes(type, (size_t)n_cols);
    return (struct pn_weight){.name = name,
                              .type = type,
                              .n_mat = n_mat,
                              .n_rows = n_rows,
                              .n_cols = n_cols,
                              .n_planes = 1,
                              .plane = {{data, row, (size_t)n_rows * row, type}}};
}

uint64_t pn_weight_ids(size_t n)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add(&last, n) + 1;
}

const struct pn_weight *pn_weight_constant(struct pn_arena *arena, const char *name, int64_t n_rows, int64_t n_cols,
                                           float **values)
{
    size_t n;
    struct pn_weight *w = pn_arena_alloc(arena, sizeof *w);
    *values = pn_size_mul((size_t)n_rows, (size_t)n_cols, &n) ? pn_arena_array(arena, n, sizeof **values) : NULL;
    if (!w || !*values)
        return NULL;
    *w = pn_weight_plain(name, PN_TYPE_F32, 1, n_rows, n_cols, *values);
    w->id = pn_weight_ids(1);
    return w;
}

void pn_weight_decode(const struct pn_weight *w, int64_t mat, int64_t row, int64_t first, int64_t n, float *dst)
{
    const struct pn_type_info *type = pn_type_info(w->type);
    if (type->decode) {
        const char *at = pn_weight_at(w, PN_PLANE_VALUES, mat, row);
        type->decode(at + (size_t)first / type->block * type->bytes, dst, (size_t)n);
        return;
    }
    struct pn_planes_row planes = {.group = w->group};
    for (int p = 0; p < w->n_planes; p++) {
        planes.at[p] = pn_weight_at(w, p, mat, row);
        planes.type[p] = w->plane[p].type;
    }
    type->decode_planes(&planes, (size_t)first, dst, (size_t)n);
}

const float *pn_weight_floats(const struct pn_weight *w, int64_t mat, int64_t row)
{
    const void *at = pn_weight_at(w, PN_PLANE_VALUES, mat, row);
    return w->type == PN_TYPE_F32 && (uintptr_t)at % sizeof(float) == 0 ? at : NULL;
}

uint64_t pn_weight_bytes(const struct pn_weight *w)
{
    uint64_t row = 0;
    for (int p = 0; p < w->n_planes; p++)
        row += w->plane[p].row_bytes;
    return row * (uint64_t)w->n_rows * (uint64_t)w->n_mat;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = (*(const struct pn_weight *const *)a)->id, y = (*(const struct pn_weight *const *)b)->id;
    return (x > y) - (x < y);
}

size_t pn_weight_wholes(const struct pn_weight *const *weights, size_t n, const struct pn_weight **out)
{
    size_t len = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (weights[i]->id)
            out[len++] = weights[i]->whole ? weights[i]->whole : weights[i];
    qsort(out, len, sizeof *out, by_id);
    for (size_t i = 0; i < len; i++)
        if (kept == 0 || out[kept - 1]->id != out[i]->id)
            out[kept++] = out[i];
    return kept;
}
