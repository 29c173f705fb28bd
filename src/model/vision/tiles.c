/* Pictures as tiles: see vision.h. */
#include "model/vision/vision.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- views ---- */

/* Adds a picture in another size. */
static pantry_status add_resized(const struct pn_vision *v, const struct pn_image *image, int side,
                                 enum pn_resample filter, struct pn_vision_views *out, struct pantry_error *err)
{
    struct pn_image resized;
    pantry_status status = pn_image_resize(image, side, side, filter, &resized, err);
    return status ? status : pn_vision_add_view(v, out, &resized, err);
}

/* Adds a picture in the size that the file says. */
static pantry_status add_plain(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_views *out,
                               struct pantry_error *err)
{
    struct pn_image resized;
    pantry_status status = pn_vision_resize(v, image, &resized, err);
    return status ? status : pn_vision_add_view(v, out, &resized, err);
}

/* Adds the tiles of a canvas, row by row; `plain`: each in the size that the file says. */
static pantry_status add_tiles(const struct pn_vision *v, const struct pn_image *canvas, bool plain,
                               struct pn_vision_views *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    int rows = canvas->height / v->tile, cols = canvas->width / v->tile;
    if ((int64_t)rows * cols > PN_VISION_MAX_TILES)
        return pn_fail(err, PANTRY_LIMIT, "the picture has too many tiles (found %d x %d, allowed %d)", cols, rows,
                       PN_VISION_MAX_TILES);
    out->tile_rows = rows;
    out->tile_cols = cols;
    for (int i = 0; i < rows * cols && !status; i++) {
        struct pn_image tile;
        status = pn_image_crop(canvas, i % cols * v->tile, i / cols * v->tile, v->tile, v->tile, &tile, err);
        if (status)
            break;
        if (!plain) {
            status = pn_vision_add_view(v, out, &tile, err);
            continue;
        }
        status = add_plain(v, &tile, out, err);
        pn_image_free(&tile);
    }
    return status;
}

/* The smallest multiple of a tile that is not less than x. */
static int up(double x, int tile)
{
    return (int)(ceil(x / tile) * tile);
}

/* ---- Idefics 3 ---- */

/* The longer side gets a length, and the shorter, which becomes even, keeps the proportions. */
static void scale_to(int longest, int *width, int *height)
{
    enum { MOST = 4096 };
    double ratio = (double)*width / *height;
    if (*width >= *height) {
        *width = longest;
        *height = (int)(*width / ratio);
        *height += *height % 2;
    } else {
        *height = longest;
        *width = (int)(*height * ratio);
        *width += *width % 2;
    }
    *height = *height > 1 ? *height : 1;
    *width = *width > 1 ? *width : 1;
    ratio = (double)*width / *height;
    if (*width >= *height && *width > MOST) {
        *width = MOST;
        *height = (int)(*width / ratio);
    } else if (*height > *width && *height > MOST) {
        *height = MOST;
        *width = (int)(*height * ratio);
    }
    *height = *height > 1 ? *height : 1;
    *width = *width > 1 ? *width : 1;
}

/* The picture as transformers' processor has it before tiling. */
static pantry_status scaled(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                            struct pantry_error *err)
{
    int width = image->width, height = image->height;
    if (v->longest)
        scale_to(v->longest, &width, &height);
    return pn_image_resize(image, width, height, v->filter, out, err);
}

/* The longer side becomes a multiple of tiles; the other follows it, and then becomes one too. */
static void tiled_size(const struct pn_vision *v, const struct pn_image *image, int *width, int *height)
{
    double ratio = (double)image->width / image->height;
    if (image->width >= image->height) {
        *width = up(image->width, v->tile);
        *height = up((int)(*width / ratio), v->tile);
    } else {
        *height = up(image->height, v->tile);
        *width = up((int)(*height * ratio), v->tile);
    }
    *width = *width > v->tile ? *width : v->tile;
    *height = *height > v->tile ? *height : v->tile;
}

pantry_status pn_vision_cut_idefics3(const struct pn_vision *v, const struct pn_image *image,
                                     struct pn_vision_views *out, struct pantry_error *err)
{
    struct pn_image first, canvas = {0};
    int width, height;
    pantry_status status = scaled(v, image, &first, err);
    if (status)
        return status;
    if (v->max_tiles <= 1) {
        status = add_resized(v, &first, v->tile, v->filter, out, err);
    } else {
        tiled_size(v, &first, &width, &height);
        status = pn_image_resize(&first, width, height, v->filter, &canvas, err);
        if (!status && (width > v->tile || height > v->tile))
            status = add_tiles(v, &canvas, false, out, err);
        if (!status)
            status = add_resized(v, &canvas, v->tile, v->filter, out, err);
    }
    pn_image_free(&first);
    pn_image_free(&canvas);
    return status;
}

void pn_vision_write_idefics3(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out)
{
    int n_tiles = picture->tile_rows * picture->tile_cols;
    for (int i = 0; i < n_tiles; i++) {
        char place[48];
        snprintf(place, sizeof place, "<row_%d_col_%d>", i / picture->tile_cols + 1, i % picture->tile_cols + 1);
        pn_buf_puts(out, v->before);
        pn_buf_puts(out, place);
        pn_vision_write_rows(v, pn_vision_view_rows(v, &picture->view[i]), out);
        if (i % picture->tile_cols == picture->tile_cols - 1)
            pn_buf_puts(out, "\n");
    }
    pn_buf_puts(out, n_tiles ? "\n" : "");
    pn_buf_puts(out, v->before);
    pn_buf_puts(out, v->whole);
    pn_vision_write_rows(v, pn_vision_view_rows(v, &picture->view[n_tiles]), out);
    pn_buf_puts(out, v->before);
}

/* ---- LLaVA-NeXT ---- */

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

/* The canvas on which most of the picture's pixels have a place, and of those the smallest. */
static struct pn_vision_canvas best_canvas(const struct pn_vision *v, const struct pn_image *image)
{
    struct pn_vision_canvas best = v->grid[0];
    double w = image->width, h = image->height, most = 0, least_waste = DBL_MAX;
    for (int i = 0; i < v->n_grid; i++) {
        struct pn_vision_canvas c = v->grid[i];
        double scale = lesser(c.width / w, c.height / h);
        double used = lesser(floor(w * scale) * floor(h * scale), w * h), waste = (double)c.width * c.height - used;
        if (used > most || (used == most && waste < least_waste)) {
            most = used;
            least_waste = waste;
            best = c;
        }
    }
    return best;
}

/* The picture in the middle of a black canvas. */
static pantry_status on_canvas(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_canvas c,
                               struct pn_image *out, struct pantry_error *err)
{
    struct pn_image resized;
    double wide = (double)c.width / image->width, high = (double)c.height / image->height;
    int width = c.width, height = c.height;
    if (wide < high)
        height = (int)lesser(ceil(image->height * wide), c.height);
    else
        width = (int)lesser(ceil(image->width * high), c.width);
    pantry_status status = pn_image_resize(image, width, height, v->filter, &resized, err);
    if (status)
        return status;
    status = pn_image_crop(&resized, -((c.width - width) / 2), -((c.height - height) / 2), c.width, c.height, out, err);
    pn_image_free(&resized);
    return status;
}

/* What remains of a side of `rows` if the picture has only `part` of it, in the middle: how many rows are left out at
 * each end. `part` is rounded to 7 decimals first, as transformers does against errors of rounding. */
static int margin(int rows, double part)
{
    char text[64];
    snprintf(text, sizeof text, "%.7f", part);
    return (rows - (int)strtol(text, NULL, 10)) / 2;
}

/* The rows of the whole picture, then line by line those of the tiles that see some of it, each line with an end. */
static pantry_status order_rows(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_views *out,
                                struct pantry_error *err)
{
    int side = v->n_side, per_view = pn_vision_view_rows(v, &out->view[0]);
    int rows = out->tile_rows * side, cols = out->tile_cols * side, top = 0, left = 0;
    double w = image->width, h = image->height;
    if (w / h > (double)cols / rows)
        top = margin(rows, h * (cols / w));
    else
        left = margin(cols, w * (rows / h));
    out->order = malloc(((size_t)per_view + (size_t)rows * ((size_t)cols + 1)) * sizeof *out->order);
    if (!out->order)
        return pn_no_memory(err, "a picture");
    for (int i = 0; i < per_view; i++)
        out->order[out->n_rows++] = i;
    for (int y = top; y < rows - top; y++) {
        for (int x = left; x < cols - left; x++)
            out->order[out->n_rows++] =
                per_view * (1 + y / side * out->tile_cols + x / side) + y % side * side + x % side;
        out->order[out->n_rows++] = -1;
    }
    return PANTRY_OK;
}

pantry_status pn_vision_cut_llava_next(const struct pn_vision *v, const struct pn_image *image,
                                       struct pn_vision_views *out, struct pantry_error *err)
{
    struct pn_image whole, canvas = {0};
    pantry_status status = pn_image_resize(image, v->height < v->width ? v->height : v->width,
                                           v->height < v->width ? v->height : v->width, v->filter, &whole, err);
    if (status)
        return status;
    if (!(status = add_plain(v, &whole, out, err)) &&
        !(status = on_canvas(v, image, best_canvas(v, image), &canvas, err)) &&
        !(status = add_tiles(v, &canvas, true, out, err)))
        status = order_rows(v, image, out, err);
    pn_image_free(&whole);
    pn_image_free(&canvas);
    return status;
}

/* ---- InternVL ---- */

/* The grid of tiles with the proportions nearest to the picture's; of equally near ones a later, larger one if the
 * picture has more than half of its pixels. */
static struct pn_vision_canvas best_grid(const struct pn_vision *v, const struct pn_image *image)
{
    struct pn_vision_canvas best = {1, 1};
    double ratio = (double)image->width / image->height, area = (double)image->width * image->height, near = DBL_MAX;
    for (int n = v->min_tiles; n <= v->max_tiles; n++)
        for (int cols = 1; cols <= n; cols++) {
            if (n % cols)
                continue;
            double diff = fabs(ratio - (double)cols / (n / cols));
            if (diff < near || (diff == near && area > 0.5 * v->tile * v->tile * n)) {
                near = diff;
                best = (struct pn_vision_canvas){cols, n / cols};
            }
        }
    return best;
}

pantry_status pn_vision_cut_internvl(const struct pn_vision *v, const struct pn_image *image,
                                     struct pn_vision_views *out, struct pantry_error *err)
{
    struct pn_image canvas;
    if (v->max_tiles <= 1)
        return add_resized(v, image, v->tile, v->filter, out, err);
    struct pn_vision_canvas grid = best_grid(v, image);
    pantry_status status =
        pn_image_resize(image, grid.width * v->tile, grid.height * v->tile, PN_RESAMPLE_BICUBIC, &canvas, err);
    if (status)
        return status;
    status = add_tiles(v, &canvas, false, out, err);
    pn_image_free(&canvas);
    if (!status && grid.width * grid.height > 1)
        status = add_resized(v, image, v->tile, PN_RESAMPLE_BICUBIC, out, err);
    return status;
}
