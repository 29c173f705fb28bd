/* Pictures: see image.h. */
#include "image/image.h"

#include "base/alloc.h"
#include "image/decode.h"

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

/* ---- turning ---- */

/* EXIF 2.32, orientation: how stored rows and columns are seen. Where the pixel at (x, y) of the result comes from. */
static void source_of(int turn, int x, int y, int width, int height, int *from_x, int *from_y)
{
    bool sides = turn >= 5; /* rows are columns */
    int u = sides ? y : x, v = sides ? x : y;
    bool flip_x = turn == 2 || turn == 3 || turn == 7 || turn == 8,
         flip_y = turn == 3 || turn == 4 || turn == 6 || turn == 7;
    *from_x = flip_x ? width - 1 - u : u;
    *from_y = flip_y ? height - 1 - v : v;
}

static pantry_status turn(struct pn_image_file *file, struct pantry_error *err)
{
    struct pn_image from = file->image, to;
    bool sides = file->turn >= 5;
    pantry_status status = pn_image_new(sides ? from.height : from.width, sides ? from.width : from.height, &to, err);
    if (status)
        return status;
    for (int y = 0; y < to.height; y++)
        for (int x = 0; x < to.width; x++) {
            int u, v;
            source_of(file->turn, x, y, from.width, from.height, &u, &v);
            memcpy(to.rgb + ((size_t)y * (size_t)to.width + (size_t)x) * 3,
                   from.rgb + ((size_t)v * (size_t)from.width + (size_t)u) * 3, 3);
        }
    pn_image_free(&file->image);
    file->image = to;
    return PANTRY_OK;
}

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

/* ---- formats ---- */

struct format {
    const char *type;
    const char *magic;
    size_t n, at; /* the magic bytes' number and place */
    pn_image_decoder *decode;
};

static const struct format formats[] = {
    {"image/png", "\x89PNG\r\n\x1a\n", 8, 0, pn_image_png},
    {"image/jpeg", "\xff\xd8\xff", 3, 0, pn_image_jpeg},
    {"image/webp", "WEBP", 4, 8, pn_image_webp},
    {"image/gif", "GIF87a", 6, 0, pn_image_gif},
    {"image/gif", "GIF89a", 6, 0, pn_image_gif},
    {"image/bmp", "BM", 2, 0, pn_image_bmp},
};

static const struct format *format_of(const void *data, size_t len)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *f = &formats[i];
        if (len >= f->at + f->n && memcmp((const char *)data + f->at, f->magic, f->n) == 0)
            return f;
    }
    return NULL;
}

const char *pn_image_type(const void *data, size_t len)
{
    const struct format *f = format_of(data, len);
    return f ? f->type : NULL;
}

pantry_status pn_image_decode(const void *data, size_t len, struct pn_image *out, struct pantry_error *err)
{
    struct pn_image_file file = {.data = data, .len = len, .turn = 1};
    const struct format *f = format_of(data, len);
    *out = (struct pn_image){0};
    if (len == 0)
        return pn_fail(err, PANTRY_FORMAT, "the picture is empty");
    if (!f)
        return pn_fail(err, PANTRY_FORMAT, "this is not a PNG, JPEG, WebP, GIF or BMP picture");
    if (len > PN_IMAGE_MAX_FILE)
        return pn_fail(err, PANTRY_LIMIT, "the picture's file is too long (found %s bytes, allowed %s)",
                       pn_digits(len).text, pn_digits(PN_IMAGE_MAX_FILE).text);
    pantry_status status = f->decode(&file, err);
    if (status)
        pn_fail_prefix(err, "%s", f->type);
    else if (file.turn > 1)
        status = turn(&file, err);
    if (status)
        pn_image_free(&file.image);
    *out = file.image;
    return status;
}
