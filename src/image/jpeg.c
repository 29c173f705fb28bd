/* JPEG, by libjpeg-turbo. What it only warns of is an error where data is missing or wrong. */
#include "image/decode.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive picture keeps its coefficients: two bytes for each value, in up to four components. */
enum { PROGRESSIVE_WORK = 8, MAX_LIBRARY_BYTES = 128 << 20, MAX_SCANS = 200 };

struct reader {
    struct jpeg_error_mgr base; /* first, so that the library's pointer is also ours */
    struct pn_image_file *file;
    struct pantry_error *err;
    pantry_status status;
    jmp_buf escape;
};

static void give_up(j_common_ptr c)
{
    struct reader *r = (struct reader *)(void *)c->err;
    char message[JMSG_LENGTH_MAX];
    c->err->format_message(c, message);
    if (!r->status)
        r->status = pn_fail(r->err, PANTRY_FORMAT, "the picture is damaged: %s", message);
    longjmp(r->escape, 1);
}

static void hear(j_common_ptr c, int level)
{
    static const int grave[] = {JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_ARITH_BAD_CODE,
                                JWRN_MUST_RESYNC};
    for (size_t i = 0; level < 0 && i < sizeof grave / sizeof *grave; i++)
        if (c->err->msg_code == grave[i])
            give_up(c);
}

static void say_nothing(j_common_ptr c)
{
    (void)c;
}

/* A file of many scans takes time for each: a bound on what a small file can cost. */
static void watch(j_common_ptr c)
{
    struct reader *r = (struct reader *)(void *)c->err;
    if (c->is_decompressor && ((j_decompress_ptr)c)->input_scan_number > MAX_SCANS) {
        r->status = pn_fail(r->err, PANTRY_LIMIT, "it has too many scans (allowed %d)", MAX_SCANS);
        longjmp(r->escape, 1);
    }
}

static void read_turn(struct reader *r, j_decompress_ptr d)
{
    static const char name[] = "Exif\0";
    for (jpeg_saved_marker_ptr m = d->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length > sizeof name && memcmp(m->data, name, sizeof name) == 0) {
            r->file->turn = pn_image_exif_turn(m->data + sizeof name, m->data_length - sizeof name);
            return;
        }
}

/* CMYK by the formula r = (1 - c)(1 - k); Adobe's programs store all four inverted. */
static void from_cmyk(const unsigned char *from, unsigned char *to, int n, bool inverted)
{
    for (int x = 0; x < n; x++, from += 4, to += 3)
        for (int c = 0; c < 3; c++) {
            int ink = inverted ? 255 - from[c] : from[c], key = inverted ? from[3] : 255 - from[3];
            int part = ink * key + 128;
            int value = key - (((part >> 8) + part) >> 8);
            to[c] = (unsigned char)(value < 0 ? 0 : value);
        }
}

static void read_rows(struct reader *r, j_decompress_ptr d)
{
    struct pn_image *image = &r->file->image;
    bool cmyk = d->out_color_space == JCS_CMYK;
    JSAMPARRAY line = cmyk ? d->mem->alloc_sarray((j_common_ptr)d, JPOOL_IMAGE, d->output_width * 4, 1) : NULL;
    while (d->output_scanline < d->output_height) {
        unsigned char *row = image->rgb + (size_t)d->output_scanline * (size_t)image->width * 3;
        jpeg_read_scanlines(d, cmyk ? line : &row, 1);
        if (cmyk)
            from_cmyk(line[0], row, image->width, d->saw_Adobe_marker);
    }
    jpeg_finish_decompress(d);
}

static void read_all(struct reader *r, j_decompress_ptr d)
{
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xffff);
    jpeg_mem_src(d, r->file->data, (unsigned long)r->file->len);
    jpeg_read_header(d, TRUE);
    read_turn(r, d);
    d->out_color_space = d->num_components == 4 ? JCS_CMYK : JCS_RGB;
    r->status =
        pn_image_take(r->file, d->image_width, d->image_height, d->progressive_mode ? PROGRESSIVE_WORK : 0, r->err);
    if (r->status)
        longjmp(r->escape, 1);
    jpeg_start_decompress(d);
    read_rows(r, d);
}

pantry_status pn_image_jpeg(struct pn_image_file *file, struct pantry_error *err)
{
    struct reader r = {.file = file, .err = err};
    struct jpeg_decompress_struct d = {.err = jpeg_std_error(&r.base)};
    struct jpeg_progress_mgr progress = {.progress_monitor = watch};
    r.base.error_exit = give_up;
    r.base.emit_message = hear;
    r.base.output_message = say_nothing;
    if (setjmp(r.escape) == 0) {
        jpeg_create_decompress(&d);
        d.mem->max_memory_to_use = MAX_LIBRARY_BYTES;
        d.progress = &progress;
        read_all(&r, &d);
    }
    jpeg_destroy_decompress(&d);
    return r.status;
}
