/* BMP: headers of 12 and of 40 and more bytes; palettes of 1, 4 and 8 bits, also with runs; 16, 24 and 32 bits. */
#include "image/decode.h"

#include <string.h>

enum { PLAIN, RUNS8, RUNS4, FIELDS };

struct picture {
    const struct pn_image_file *file;
    int bits, kind;
    bool upwards;  /* the last row comes first */
    size_t pixels; /* where they begin */
    const unsigned char *palette;
    int entry, n_palette; /* bytes of a colour, and their number */
    uint32_t mask[3];
};

static pantry_status early(struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "the picture ends early");
}

static unsigned char *row_of(const struct picture *p, int y)
{
    const struct pn_image *image = &p->file->image;
    return image->rgb + (size_t)(p->upwards ? image->height - 1 - y : y) * (size_t)image->width * 3;
}

/* Blue comes first. A number beyond the palette is black. */
static void put_colour(const struct picture *p, unsigned char *to, int index)
{
    for (int c = 0; c < 3; c++)
        to[c] = index < p->n_palette ? p->palette[index * p->entry + 2 - c] : 0;
}

/* The bits under a mask as 0 to 255. */
static unsigned char under(uint32_t value, uint32_t mask)
{
    if (!mask)
        return 0;
    int low = __builtin_ctz(mask);
    uint32_t most = mask >> low;
    return (unsigned char)((uint64_t)(value & mask) * 255 / ((uint64_t)most << low));
}

static void put_row(const struct picture *p, const unsigned char *from, unsigned char *to)
{
    int width = p->file->image.width;
    for (int x = 0; x < width; x++, to += 3) {
        if (p->bits <= 8) {
            int per = 8 / p->bits, shift = 8 - p->bits * (x % per + 1);
            put_colour(p, to, from[x / per] >> shift & ((1 << p->bits) - 1));
        } else if (p->bits == 24) {
            for (int c = 0; c < 3; c++)
                to[c] = from[3 * x + 2 - c];
        } else {
            uint32_t value = p->bits == 16 ? pn_image_le16(from + 2 * x) : pn_image_le32(from + 4 * x);
            for (int c = 0; c < 3; c++)
                to[c] = under(value, p->mask[c]);
        }
    }
}

static pantry_status read_rows(const struct picture *p, struct pantry_error *err)
{
    const struct pn_image *image = &p->file->image;
    size_t stride = ((size_t)image->width * (size_t)p->bits + 31) / 32 * 4;
    if ((p->file->len - p->pixels) / stride < (size_t)image->height)
        return early(err);
    for (int y = 0; y < image->height; y++)
        put_row(p, p->file->data + p->pixels + (size_t)y * stride, row_of(p, y));
    return PANTRY_OK;
}

/* Pairs of a count and a colour; a count of 0 begins a literal run, a new row, a move or the end. */
static pantry_status read_runs(const struct picture *p, struct pantry_error *err)
{
    const struct pn_image *image = &p->file->image;
    const unsigned char *data = p->file->data;
    size_t at = p->pixels, len = p->file->len;
    int per = p->kind == RUNS4 ? 2 : 1;
    memset(image->rgb, 0, (size_t)image->width * (size_t)image->height * 3);
    for (int x = 0, y = 0; len - at >= 2;) {
        int n = data[at], value = data[at + 1];
        bool literal = n == 0 && value > 2;
        at += 2;
        if (n == 0 && value == 1)
            return PANTRY_OK;
        if (n == 0 && value == 0) {
            x = 0;
            y++;
            continue;
        }
        if (n == 0 && value == 2) {
            if (len - at < 2)
                return early(err);
            x += data[at];
            y += data[at + 1];
            at += 2;
            continue;
        }
        size_t bytes = literal ? ((size_t)(value + per - 1) / (size_t)per + 1) / 2 * 2 : 0;
        if (len - at < bytes)
            return early(err);
        n = literal ? value : n;
        for (int i = 0; i < n; i++, x++) {
            int code = literal ? data[at + (size_t)(i / per)] : value;
            if (x < image->width && y < image->height)
                put_colour(p, row_of(p, y) + (size_t)x * 3, per == 1 ? code : i % 2 ? code & 15 : code >> 4);
        }
        at += bytes;
    }
    return early(err);
}

static pantry_status read_masks(struct picture *p, struct pantry_error *err)
{
    static const uint32_t usual[2][3] = {{0x7c00, 0x3e0, 0x1f}, {0xff0000, 0xff00, 0xff}};
    memcpy(p->mask, usual[p->bits == 32], sizeof p->mask);
    if (p->kind != FIELDS)
        return PANTRY_OK;
    if (p->file->len < 14 + 40 + 12)
        return early(err);
    for (int c = 0; c < 3; c++)
        p->mask[c] = pn_image_le32(p->file->data + 14 + 40 + 4 * c);
    return PANTRY_OK;
}

static pantry_status read_palette(struct picture *p, size_t header, uint32_t n, struct pantry_error *err)
{
    size_t at = 14 + header;
    if (p->bits > 8)
        return PANTRY_OK;
    n = n == 0 || n > 1u << p->bits ? 1u << p->bits : n;
    if (at > p->file->len || (p->file->len - at) / (size_t)p->entry < n)
        return early(err);
    p->palette = p->file->data + at;
    p->n_palette = (int)n;
    return PANTRY_OK;
}

static bool known(const struct picture *p)
{
    bool plain = p->kind == PLAIN &&
                 (p->bits == 1 || p->bits == 4 || p->bits == 8 || p->bits == 16 || p->bits == 24 || p->bits == 32);
    return plain || (p->kind == RUNS8 && p->bits == 8) || (p->kind == RUNS4 && p->bits == 4) ||
           (p->kind == FIELDS && (p->bits == 16 || p->bits == 32));
}

pantry_status pn_image_bmp(struct pn_image_file *file, struct pantry_error *err)
{
    const unsigned char *d = file->data;
    size_t header = file->len >= 18 ? pn_image_le32(d + 14) : 0;
    bool old = header == 12;
    if (file->len < 26 || (!old && file->len < 14 + 40))
        return early(err);
    if (!old && header < 40)
        return pn_fail(err, PANTRY_FORMAT, "its header has %zu bytes (allowed 12, or 40 and more)", header);
    int64_t width = old ? (int32_t)pn_image_le16(d + 18) : (int32_t)pn_image_le32(d + 18);
    int64_t height = old ? (int32_t)pn_image_le16(d + 20) : (int32_t)pn_image_le32(d + 22);
    struct picture p = {.file = file,
                        .bits = (int)pn_image_le16(d + (old ? 24 : 28)),
                        .kind = (int)(old ? PLAIN : pn_image_le32(d + 30) & 0xff),
                        .upwards = height > 0,
                        .pixels = pn_image_le32(d + 10),
                        .entry = old ? 3 : 4};
    if (!known(&p))
        return pn_fail(err, PANTRY_UNSUPPORTED, "a BMP picture of %d bits and compression %d", p.bits, p.kind);
    if (p.pixels > file->len)
        return early(err);
    pantry_status status = pn_image_take(file, width, height < 0 ? -height : height, 0, err);
    if (!status)
        status = read_masks(&p, err);
    if (!status)
        status = read_palette(&p, header, old ? 0 : pn_image_le32(d + 46), err);
    if (status)
        return status;
    return p.kind == RUNS8 || p.kind == RUNS4 ? read_runs(&p, err) : read_rows(&p, err);
}
