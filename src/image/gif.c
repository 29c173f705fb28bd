/* The first frame of a GIF (CompuServe, GIF89a, 1990): a palette and LZW codes of up to 12 bits. */
#include "image/decode.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CODES = 4096, PALETTE = 3 * 256 };

struct reader {
    struct pn_image_file *file;
    size_t at;
    unsigned char palette[PALETTE];
    size_t block;  /* bytes left of a data block */
    uint32_t bits; /* not yet used, ... */
    int n_bits;    /* ... so many */
    uint16_t prefix[MAX_CODES];
    unsigned char last[MAX_CODES], stack[MAX_CODES];
};

static pantry_status early(struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "the picture ends early");
}

static bool has(const struct reader *r, size_t n)
{
    return r->file->len - r->at >= n;
}

static bool read_palette(struct reader *r, unsigned flags)
{
    size_t n = 3 * ((size_t)2 << (flags & 7));
    if (!(flags & 0x80))
        return true;
    if (!has(r, n))
        return false;
    memcpy(r->palette, r->file->data + r->at, n);
    r->at += n;
    return true;
}

/* Moves past data blocks to the end of them. */
static bool skip_blocks(struct reader *r)
{
    while (has(r, 1)) {
        size_t n = r->file->data[r->at++];
        if (n == 0)
            return true;
        if (!has(r, n))
            return false;
        r->at += n;
    }
    return false;
}

/* The next `n` bits of the data blocks; -1: they have ended. */
static int next_code(struct reader *r, int n)
{
    while (r->n_bits < n) {
        if (r->block == 0) {
            if (!has(r, 1) || (r->block = r->file->data[r->at]) == 0)
                return -1;
            r->at++;
        }
        if (!has(r, 1))
            return -1;
        r->bits |= (uint32_t)r->file->data[r->at++] << r->n_bits;
        r->block--;
        r->n_bits += 8;
    }
    int code = (int)(r->bits & ((1u << n) - 1));
    r->bits >>= n;
    r->n_bits -= n;
    return code;
}

/* Where the frame's pixels go. */
struct frame {
    int left, top, width, height;
    bool interlaced;
    int x, y, pass; /* of the next pixel */
};

/* Rows come in four passes: every 8th, then those between, and so on. */
static void next_row(struct frame *f)
{
    static const int start[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    f->x = 0;
    f->y += f->interlaced ? step[f->pass] : 1;
    while (f->interlaced && f->y >= f->height && f->pass < 3)
        f->y = start[++f->pass];
}

static void put(const struct reader *r, struct frame *f, int index)
{
    const struct pn_image *image = &r->file->image;
    int x = f->left + f->x, y = f->top + f->y;
    if (f->y < f->height && x < image->width && y < image->height)
        memcpy(image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3, r->palette + 3 * index, 3);
    if (++f->x == f->width)
        next_row(f);
}

/* Welch, A technique for high-performance data compression, 1984, with a growing length of codes. */
static pantry_status unpack(struct reader *r, struct frame *f, int least, struct pantry_error *err)
{
    int clear = 1 << least, end = clear + 1, next = end + 1, length = least + 1, before = -1, first = 0;
    int64_t left = (int64_t)f->width * f->height;
    for (int i = 0; i < clear; i++)
        r->last[i] = (unsigned char)i;
    while (left > 0) {
        int code = next_code(r, length), n = 0;
        if (code < 0 || code == end)
            return early(err);
        if (code == clear) {
            next = end + 1;
            length = least + 1;
            before = -1;
            continue;
        }
        if (code > next || (before < 0 && code >= clear) || (code == next && before < 0))
            return pn_fail(err, PANTRY_FORMAT, "the picture is damaged: wrong code %d", code);
        int at = code;
        if (code == next) { /* the text before and its own first value */
            r->stack[n++] = (unsigned char)first;
            at = before;
        }
        for (; at >= clear; at = r->prefix[at])
            r->stack[n++] = r->last[at];
        first = r->last[at];
        r->stack[n++] = (unsigned char)first;
        for (; n > 0 && left > 0; left--)
            put(r, f, r->stack[--n]);
        if (before >= 0 && next < MAX_CODES) {
            r->prefix[next] = (uint16_t)before;
            r->last[next++] = (unsigned char)first;
            if (next == 1 << length && length < 12)
                length++;
        }
        before = code;
    }
    return PANTRY_OK;
}

/* What the frame does not cover has the background's colour. */
static void fill(const struct reader *r, int index)
{
    size_t n = (size_t)r->file->image.width * (size_t)r->file->image.height;
    for (size_t i = 0; i < n; i++)
        memcpy(r->file->image.rgb + 3 * i, r->palette + 3 * index, 3);
}

static pantry_status read_frame(struct reader *r, int background, struct pantry_error *err)
{
    const unsigned char *p = r->file->data + r->at;
    if (!has(r, 9))
        return early(err);
    struct frame f = {.left = (int)pn_image_le16(p),
                      .top = (int)pn_image_le16(p + 2),
                      .width = (int)pn_image_le16(p + 4),
                      .height = (int)pn_image_le16(p + 6),
                      .interlaced = p[8] & 0x40};
    r->at += 9;
    if (f.width < 1 || f.height < 1 || f.width > r->file->image.width || f.height > r->file->image.height)
        return pn_fail(err, PANTRY_FORMAT, "its frame has %d x %d pixels (allowed up to %d x %d)", f.width, f.height,
                       r->file->image.width, r->file->image.height);
    fill(r, background);
    if (!read_palette(r, p[8]) || !has(r, 1))
        return early(err);
    int least = r->file->data[r->at++];
    if (least < 1 || least > 8)
        return pn_fail(err, PANTRY_FORMAT, "its codes begin with %d bits (allowed 1 to 8)", least);
    return unpack(r, &f, least, err);
}

static pantry_status read_blocks(struct reader *r, int background, struct pantry_error *err)
{
    while (has(r, 1)) {
        unsigned char kind = r->file->data[r->at++];
        if (kind == ',')
            return read_frame(r, background, err);
        if (kind != '!' || !has(r, 1))
            return pn_fail(err, PANTRY_FORMAT, "it has no frame");
        r->at++; /* the extension's label */
        if (!skip_blocks(r))
            return early(err);
    }
    return early(err);
}

pantry_status pn_image_gif(struct pn_image_file *file, struct pantry_error *err)
{
    const unsigned char *p = file->data;
    if (file->len < 13)
        return early(err);
    pantry_status status = pn_image_take(file, pn_image_le16(p + 6), pn_image_le16(p + 8), 0, err);
    if (status)
        return status;
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return pn_no_memory(err, "a picture");
    r->file = file;
    r->at = 13;
    for (int i = 0; i < PALETTE; i++) /* grey, where the file has none */
        r->palette[i] = (unsigned char)(i / 3);
    status = read_palette(r, p[10]) ? read_blocks(r, p[10] & 0x80 ? p[11] : 0, err) : early(err);
    free(r);
    return status;
}
