/* The place of a unit of a weight's row: where its bytes are or, for types with their scales in separate planes, its
 * values and the scales of its row. A file of a type with planes defines UNIT_PLANES, their number, first. */
#ifndef PN_ISA_PLACE_H
#define PN_ISA_PLACE_H

#include "device/cpu/isa/common/vec.h"

#ifdef UNIT_PLANES

typedef struct {
    const uint8_t *q, *scales, *biases;
    int64_t block; /* the first of the unit's blocks of 32 */
    const struct pn_planes_row *form;
} unit_place;

/* The unit of a row that begins at a block (a multiple of 8); units of a row are `bytes` apart. */
PN_INLINE unit_place unit_at(const struct pn_matmul_args *a, int64_t row, int64_t block, size_t bytes)
{
    const struct pn_matmul_planes *w = a->planes;
    const uint8_t *at[UNIT_PLANES];
    UNROLL
    for (int i = 0; i < UNIT_PLANES; i++)
        at[i] = (const uint8_t *)w->first.at[i] + (size_t)row * w->stride[i];
    return (unit_place){at[PN_PLANE_VALUES] + (size_t)(block / 8) * bytes, at[PN_PLANE_SCALES],
                        UNIT_PLANES > 2 ? at[UNIT_PLANES - 1] : NULL, block, &w->first};
}
PN_INLINE unit_place unit_next(unit_place p, size_t bytes)
{
    p.q += bytes;
    p.block += 8;
    return p;
}
PN_INLINE const uint8_t *unit_values(unit_place p)
{
    return p.q;
}

#else

typedef const uint8_t *unit_place;

PN_INLINE unit_place unit_at(const struct pn_matmul_args *a, int64_t row, int64_t block, size_t bytes)
{
    return (const uint8_t *)a->w + (size_t)row * a->w_stride + (size_t)(block / 8) * bytes;
}
PN_INLINE unit_place unit_next(unit_place p, size_t bytes)
{
    return p + bytes;
}
PN_INLINE const uint8_t *unit_values(unit_place p)
{
    return p;
}

#endif

#endif
