/* PNG, by libpng. Every checksum counts, those of chunks that are not needed too. */
#include "image/decode.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct pn_image_file *file;
    size_t at;
    struct pantry_error *err;
    pantry_status status;
    unsigned char **rows;
};

static void fail(png_structp png, png_const_charp message)
{
    struct reader *r = png_get_error_ptr(png);
    if (!r->status)
        r->status = pn_fail(r->err, PANTRY_FORMAT, "the picture is damaged: %s", message);
    png_longjmp(png, 1);
}

static void ignore(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void take(png_structp png, png_bytep to, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (r->file->len - r->at < n)
        png_error(png, "it ends early");
    memcpy(to, r->file->data + r->at, n);
    r->at += n;
}

/* Whatever is stored becomes 8-bit RGB; transparency goes. */
static void want_rgb(png_structp png, png_infop info)
{
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

static void read_turn(struct reader *r, png_structp png, png_infop info)
{
    png_uint_32 n = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(png, info, &n, &exif) && exif)
        r->file->turn = pn_image_exif_turn(exif, n);
}

static void read_all(struct reader *r, png_structp png, png_infop info)
{
    struct pn_image *image = &r->file->image;
    png_read_info(png, info);
    read_turn(r, png, info);
    r->status = pn_image_take(r->file, png_get_image_width(png, info), png_get_image_height(png, info), 0, r->err);
    if (r->status)
        png_error(png, "size");
    want_rgb(png, info);
    if (png_get_rowbytes(png, info) != (size_t)image->width * 3)
        png_error(png, "its rows have another length");
    r->rows = malloc((size_t)image->height * sizeof *r->rows);
    if (!r->rows) {
        r->status = pn_no_memory(r->err, "a picture");
        png_error(png, "memory");
    }
    for (int y = 0; y < image->height; y++)
        r->rows[y] = image->rgb + (size_t)y * (size_t)image->width * 3;
    png_read_image(png, r->rows);
    png_read_end(png, info);
    read_turn(r, png, info); /* it may follow the pixels */
}

pantry_status pn_image_png(struct pn_image_file *file, struct pantry_error *err)
{
    struct reader r = {.file = file, .err = err};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, fail, ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return pn_no_memory(err, "a picture");
    }
    if (setjmp(png_jmpbuf(png)) == 0) {
        png_set_read_fn(png, &r, take);
        png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
        png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* pn_image_take says what is too large */
        png_set_chunk_malloc_max(png, 8 << 20);
        png_set_chunk_cache_max(png, 64);
        read_all(&r, png, info);
    }
    free(r.rows);
    png_destroy_read_struct(&png, &info, NULL);
    return r.status;
}
