/* Pictures: see image.h. */
#include "image/image.h"

#include "image/decode.h"

#include <stdlib.h>
#include <string.h>

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
