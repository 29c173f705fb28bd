/* Resampling: see resample.h. */
#include "image/resample.h"

#include "base/alloc.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PRECISION = 22 }; /* bits of a weight after the point */

static const double pi = 3.14159265358979323846;

/* ---- filters ---- */

static double sinc(double x)
{
    return x == 0 ? 1 : sin(x * pi) / (x * pi);
}

static double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Keys, Cubic convolution interpolation for digital image processing, 1981, with a = -0.5. */
static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1 : 0;
}

static double hamming(double x)
{
    x = fabs(x);
    return x == 0 ? 1 : x < 1 ? sinc(x) * (0.54 + 0.46 * cos(x * pi)) : 0;
}

static const struct {
    double (*at)(double x);
    double reach; /* beyond it the filter is 0 */
} filters[PN_N_RESAMPLE] = {[PN_RESAMPLE_LANCZOS] = {lanczos, 3},
                            [PN_RESAMPLE_BILINEAR] = {bilinear, 1},
                            [PN_RESAMPLE_BICUBIC] = {bicubic, 2},
                            [PN_RESAMPLE_BOX] = {box, 0.5},
                            [PN_RESAMPLE_HAMMING] = {hamming, 1}};

/* ---- weights ---- */

/* For each value of the result: the first of the source that counts, how many do, and their weights. */
struct weights {
    int n;    /* results */
    int most; /* weights of a result */
    int *first, *count;
    int32_t *weight; /* (n, most) */
};

static void weights_free(struct weights *w)
{
    free(w->first);
    free(w->count);
    free(w->weight);
    *w = (struct weights){0};
}

static int32_t rounded(double x)
{
    return (int32_t)(x * (1 << PRECISION) + (x < 0 ? -0.5 : 0.5));
}

/* The weights of one result. `row` has room for w->most. */
static void weigh(struct weights *w, int i, int from, enum pn_resample filter, double *row)
{
    double scale = (double)from / w->n, wide = scale < 1 ? 1 : scale, reach = filters[filter].reach * wide;
    double centre = (i + 0.5) * scale, sum = 0;
    int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
    first = first < 0 ? 0 : first;
    end = end > from ? from : end;
    for (int k = 0; k < end - first; k++)
        sum += row[k] = filters[filter].at((k + first - centre + 0.5) * (1 / wide));
    for (int k = 0; k < end - first; k++)
        w->weight[(size_t)i * (size_t)w->most + (size_t)k] = rounded(sum != 0 ? row[k] * (1 / sum) : row[k]);
    w->first[i] = first;
    w->count[i] = end - first;
}

static pantry_status weights_new(struct weights *w, int from, int to, enum pn_resample filter, struct pantry_error *err)
{
    double scale = (double)from / to, reach = filters[filter].reach * (scale < 1 ? 1 : scale);
    *w = (struct weights){.n = to, .most = (int)ceil(reach) * 2 + 1};
    size_t size = 0;
    double *row = calloc((size_t)w->most, sizeof *row);
    w->first = calloc((size_t)to, sizeof *w->first);
    w->count = calloc((size_t)to, sizeof *w->count);
    w->weight = pn_size_mul((size_t)to, (size_t)w->most, &size) ? calloc(size, sizeof *w->weight) : NULL;
    bool ok = row && w->first && w->count && w->weight;
    for (int i = 0; ok && i < to; i++)
        weigh(w, i, from, filter, row);
    free(row);
    if (ok)
        return PANTRY_OK;
    weights_free(w);
    return pn_no_memory(err, "a picture");
}

/* ---- the two passes ---- */

static unsigned char clip(int32_t sum)
{
    int32_t x = sum >> PRECISION;
    return (unsigned char)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* One result of three values: `step` bytes lie between the source's pixels. */
static void blend(const struct weights *w, int i, const unsigned char *from, size_t step, unsigned char *to)
{
    const int32_t *k = w->weight + (size_t)i * (size_t)w->most;
    int32_t sum[3] = {1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)};
    from += (size_t)w->first[i] * step;
    for (int n = 0; n < w->count[i]; n++, from += step)
        for (int c = 0; c < 3; c++)
            sum[c] += from[c] * k[n];
    for (int c = 0; c < 3; c++)
        to[c] = clip(sum[c]);
}

static pantry_status pass(const struct pn_image *from, bool rows, int n, enum pn_resample filter, struct pn_image *out,
                          struct pantry_error *err)
{
    struct weights w;
    int length = rows ? from->width : from->height;
    size_t row = (size_t)from->width * 3;
    pantry_status status = weights_new(&w, length, n, filter, err);
    if (!status)
        status = pn_image_new(rows ? n : from->width, rows ? from->height : n, out, err);
    for (int y = 0; !status && y < out->height; y++)
        for (int x = 0; x < out->width; x++) {
            unsigned char *to = out->rgb + ((size_t)y * (size_t)out->width + (size_t)x) * 3;
            if (rows)
                blend(&w, x, from->rgb + (size_t)y * row, 3, to);
            else
                blend(&w, y, from->rgb + (size_t)x * 3, row, to);
        }
    weights_free(&w);
    return status;
}

static pantry_status copy(const struct pn_image *from, struct pn_image *out, struct pantry_error *err)
{
    pantry_status status = pn_image_new(from->width, from->height, out, err);
    if (!status)
        memcpy(out->rgb, from->rgb, (size_t)from->width * (size_t)from->height * 3);
    return status;
}

static pantry_status nearest(const struct pn_image *from, int width, int height, struct pn_image *out,
                             struct pantry_error *err)
{
    pantry_status status = pn_image_new(width, height, out, err);
    double step_x = (double)from->width / width, step_y = (double)from->height / height, at_y = step_y / 2;
    for (int y = 0; !status && y < height; y++, at_y += step_y) {
        double at_x = step_x / 2; /* sums, whose rounding decides in ties */
        for (int x = 0; x < width; x++, at_x += step_x) {
            size_t u = (size_t)at_x, v = (size_t)at_y, last_u = (size_t)from->width - 1,
                   last_v = (size_t)from->height - 1;
            u = u < last_u ? u : last_u;
            v = v < last_v ? v : last_v;
            memcpy(out->rgb + ((size_t)y * (size_t)width + (size_t)x) * 3,
                   from->rgb + (v * (size_t)from->width + u) * 3, 3);
        }
    }
    return status;
}

/* Which pass comes first, as Pillow 13 chooses (found by comparing): columns if the picture loses more than twice as
 * many rows as columns. It matters, since values are rounded between the passes. */
static bool rows_first(const struct pn_image *from, int width, int height)
{
    return from->height <= height || from->height - height <= 2 * (from->width - width);
}

pantry_status pn_image_resize(const struct pn_image *from, int width, int height, enum pn_resample filter,
                              struct pn_image *out, struct pantry_error *err)
{
    struct pn_image between = {0};
    pantry_status status = PANTRY_OK;
    *out = (struct pn_image){0};
    if (width < 1 || height < 1 || (int64_t)width * height > PN_IMAGE_MAX_PIXELS)
        return pn_fail(err, PANTRY_LIMIT, "a picture cannot become %d x %d pixels", width, height);
    if (width == from->width && height == from->height)
        return copy(from, out, err);
    if (filter == PN_RESAMPLE_NEAREST)
        return nearest(from, width, height, out, err);
    bool first = rows_first(from, width, height); /* of the two passes, the one that goes along rows */
    bool both = width != from->width && height != from->height;
    if (!both)
        return width != from->width ? pass(from, true, width, filter, out, err)
                                    : pass(from, false, height, filter, out, err);
    status = pass(from, first, first ? width : height, filter, &between, err);
    if (!status)
        status = pass(&between, !first, first ? height : width, filter, out, err);
    pn_image_free(&between);
    if (status)
        pn_image_free(out);
    return status;
}

pantry_status pn_image_crop(const struct pn_image *from, int x, int y, int width, int height, struct pn_image *out,
                            struct pantry_error *err)
{
    if (width < 1 || height < 1 || (int64_t)width * height > PN_IMAGE_MAX_PIXELS)
        return pn_fail(err, PANTRY_LIMIT, "a picture cannot become %d x %d pixels", width, height);
    pantry_status status = pn_image_new(width, height, out, err);
    int first = x < 0 ? -x : 0, end = from->width - x < width ? from->width - x : width;
    if (status)
        return status;
    memset(out->rgb, 0, (size_t)width * (size_t)height * 3);
    for (int v = 0; v < height; v++)
        if (y + v >= 0 && y + v < from->height && end > first)
            memcpy(out->rgb + ((size_t)v * (size_t)width + (size_t)first) * 3,
                   from->rgb + ((size_t)(y + v) * (size_t)from->width + (size_t)(x + first)) * 3,
                   (size_t)(end - first) * 3);
    return PANTRY_OK;
}
