/* Fuzzes the decoders of pictures, and resampling of what they accept. */
#include "image/resample.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_image image, small;
    struct pantry_error err = {0};
    unsigned char *exact = malloc(size ? size : 1); /* of exactly this size */
    if (size)
        memcpy(exact, data, size);
    if (pn_image_decode(exact, size, &image, &err)) {
        if (image.rgb || !*err.text)
            abort();
    } else {
        if (image.width < 1 || image.height < 1 || !image.rgb)
            abort();
        enum pn_resample filter = (enum pn_resample)(image.rgb[0] % PN_N_RESAMPLE);
        if (!pn_image_resize(&image, 1 + image.rgb[1] % 32, 1 + image.rgb[2] % 32, filter, &small, &err))
            pn_image_free(&small);
        pn_image_free(&image);
    }
    free(exact);
    return 0;
}
