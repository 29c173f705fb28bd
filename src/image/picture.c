/* The memory of pictures, and their orientation in EXIF blocks: see image.h and decode.h. */
#include "image/decode.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

pantry_status pn_image_new(int width, int height, struct pn_image *out, struct pantry_error *err)
{
    size_t size;
    *out = (struct pn_image){0};
    if (width < 1 || height < 1)
        return pn_fail(err, PANTRY_FORMAT, "a picture of %d x %d pixels", width, height);
    if (!pn_size_mul((size_t)width * 3, (size_t)height, &size) || !(out->rgb = malloc(size)))
        return pn_no_memory(err, "a picture");
    out->width = width;
    out->height = height;
    return PANTRY_OK;
}

void pn_image_free(struct pn_image *image)
{
    free(image->rgb);
    *image = (struct pn_image){0};
}

pantry_status pn_image_take(struct pn_image_file *file, int64_t width, int64_t height, int work,
                            struct pantry_error *err)
{
    if (width < 1 || height < 1)
        return pn_fail(err, PANTRY_FORMAT, "it has no pixels (found %lld x %lld)", (long long)width, (long long)height);
    if (width > PN_IMAGE_MAX_SIDE || height > PN_IMAGE_MAX_SIDE || width * height > PN_IMAGE_MAX_PIXELS ||
        width * height * (3 + work) > PN_IMAGE_MAX_BYTES)
        return pn_fail(err, PANTRY_LIMIT, "it is too large (found %lld x %lld, allowed %d pixels of this kind)",
                       (long long)width, (long long)height,
                       PN_IMAGE_MAX_BYTES / (3 + work) < PN_IMAGE_MAX_PIXELS ? PN_IMAGE_MAX_BYTES / (3 + work)
                                                                             : PN_IMAGE_MAX_PIXELS);
    return pn_image_new((int)width, (int)height, &file->image, err);
}

/* ---- EXIF ---- */

/* A value of an IFD entry's type SHORT in the block's byte order. */
static uint32_t read16(const unsigned char *p, bool little)
{
    return little ? pn_image_le16(p) : (uint32_t)p[0] << 8 | p[1];
}

static uint32_t read32(const unsigned char *p, bool little)
{
    return little ? pn_image_le32(p) : read16(p, false) << 16 | read16(p + 2, false);
}

int pn_image_exif_turn(const unsigned char *data, size_t len)
{
    enum { ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12 };
    if (len < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0))
        return 1;
    bool little = data[0] == 'I';
    size_t at = read32(data + 4, little);
    if (at > len || len - at < 2)
        return 1;
    size_t n = read16(data + at, little);
    at += 2;
    for (size_t i = 0; i < n && len - at >= ENTRY; i++, at += ENTRY) {
        if (read16(data + at, little) != ORIENTATION || read16(data + at + 2, little) != SHORT)
            continue;
        uint32_t value = read16(data + at + 8, little);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
