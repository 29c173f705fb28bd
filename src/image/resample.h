/* Resampling: another size of a picture, as Pillow computes it.
 *
 * Each value of the result is a weighted mean of the source's, with a filter that grows when the picture shrinks. One
 * pass goes along rows, one along columns; weights are rounded to 22 bits, and results to 8 bits after each pass. */
#ifndef PN_IMAGE_RESAMPLE_H
#define PN_IMAGE_RESAMPLE_H

#include "image/image.h"

/* Numbered as `resample` in preprocessor_config.json. */
enum pn_resample {
    PN_RESAMPLE_NEAREST,
    PN_RESAMPLE_LANCZOS,
    PN_RESAMPLE_BILINEAR,
    PN_RESAMPLE_BICUBIC,
    PN_RESAMPLE_BOX,
    PN_RESAMPLE_HAMMING,
    PN_N_RESAMPLE
};

/* The picture in another size; the caller frees *out. */
pantry_status pn_image_resize(const struct pn_image *from, int width, int height, enum pn_resample filter,
                              struct pn_image *out, struct pantry_error *err);
/* The part of `from` that begins at (x, y), which may lie outside: pixels there are black. */
pantry_status pn_image_crop(const struct pn_image *from, int x, int y, int width, int height, struct pn_image *out,
                            struct pantry_error *err);

#endif
