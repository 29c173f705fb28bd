/* A unit of work of the searches: 16 sub-blocks side by side, so that a lane is a sub-block and no sum crosses lanes.
 */
#ifndef PN_QUANT_SEARCH_UNIT_H
#define PN_QUANT_SEARCH_UNIT_H

#include "tensor/quant/quant.h"
#include "tensor/quant/search/vec.h"

#include <math.h>

enum { SUBS = 16, MOST_SIZE = 32 };

struct unit {
    float x[MOST_SIZE][SUBS], w[MOST_SIZE][SUBS]; /* value j of sub-block s is at [j][s] */
};

/* Weights with mean 1, none of them zero, so that values without a weight are still encoded sensibly. */
PN_INLINE void normalize_weights(const float *restrict weights, float *restrict out, int n)
{
    float sum = 0, largest = 0x1p64f;
    for (int i = 0; weights && i < n; i++)
        sum += weights[i] > 0 && weights[i] < largest ? weights[i] : 0;
    float scale = sum > 0 ? (float)n / sum : 0;
    for (int i = 0; i < n; i++)
        out[i] = scale > 0 && scale < largest
                     ? (weights[i] > 0 && weights[i] < largest ? weights[i] * scale : 0) + 0x1p-13f
                     : 1.0f;
}

/* Fills sub-blocks first, first + 1, ... from `count` sub-blocks of `size` values that share the norm of weights. */
PN_INLINE void unit_fill(struct unit *u, int first, int count, int size, const float *restrict x,
                         const float *restrict weights)
{
    float w[256];
    if (weights)
        normalize_weights(weights, w, count * size);
    for (int s = 0; s < count; s++)
        for (int j = 0; j < size; j++) {
            u->x[j][first + s] = x[s * size + j];
            u->w[j][first + s] = weights ? w[s * size + j] : 1.0f;
        }
}

#endif
