/* Pictures: decoding with bounds, and turning them as their metadata says.
 *
 * A picture is (height, width, 3) bytes of RGB. The formats are PNG, JPEG, WebP, GIF and BMP; the content decides, not
 * a name. Of animations the first frame counts. Transparency is dropped, not blended; grey becomes RGB; 16 bits become
 * their upper 8. Sizes are checked before memory is taken: a decoder needs at most PN_IMAGE_MAX_BYTES. A file that ends
 * early or has a wrong checksum is an error. */
#ifndef PN_IMAGE_IMAGE_H
#define PN_IMAGE_IMAGE_H

#include "base/status.h"

#include <stddef.h>

enum { PN_IMAGE_MAX_SIDE = 1 << 16, PN_IMAGE_MAX_PIXELS = 64 << 20, PN_IMAGE_MAX_BYTES = 192 << 20 };
enum { PN_IMAGE_MAX_FILE = 64 << 20 };

struct pn_image {
    int width, height;  /* above 0 */
    unsigned char *rgb; /* (height, width, 3) */
};

/* Decodes a file's bytes. PANTRY_FORMAT: they are not a picture, or damaged; PANTRY_LIMIT: too large;
 * PANTRY_UNSUPPORTED: a kind of picture that is not read. The caller frees *out with pn_image_free. */
pantry_status pn_image_decode(const void *data, size_t len, struct pn_image *out, struct pantry_error *err);
/* A picture of that size, not filled. */
pantry_status pn_image_new(int width, int height, struct pn_image *out, struct pantry_error *err);
/* Accepts an empty one. */
void pn_image_free(struct pn_image *image);
/* The format that the bytes begin like, as a MIME type ("image/png"); NULL: none that is read. */
const char *pn_image_type(const void *data, size_t len);

#endif
