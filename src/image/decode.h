/* What the decoders of formats share. Inside image/ only. */
#ifndef PN_IMAGE_DECODE_H
#define PN_IMAGE_DECODE_H

#include "image/image.h"

#include <stdbool.h>
#include <stdint.h>

/* A file's bytes and what is known after decoding. */
struct pn_image_file {
    const unsigned char *data;
    size_t len;
    struct pn_image image;
    int turn; /* EXIF's orientation, 1 to 8; 1: as it is stored */
};

typedef pantry_status pn_image_decoder(struct pn_image_file *file, struct pantry_error *err);
pn_image_decoder pn_image_png, pn_image_jpeg, pn_image_webp, pn_image_gif, pn_image_bmp;

/* Checks a size from outside, then takes the memory of file->image. `work`: bytes per pixel that the decoder itself
 * needs besides. */
pantry_status pn_image_take(struct pn_image_file *file, int64_t width, int64_t height, int work,
                            struct pantry_error *err);
/* Reads the orientation of an EXIF block (TIFF, from its byte order on); 1 if there is none that is valid. */
int pn_image_exif_turn(const unsigned char *data, size_t len);

static inline uint32_t pn_image_le16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t pn_image_le32(const unsigned char *p)
{
    return pn_image_le16(p) | pn_image_le16(p + 2) << 16;
}

#endif
