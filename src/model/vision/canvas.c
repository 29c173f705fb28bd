/* Canvases of square tiles (Llama 3.2 Vision): which one a picture gets, and its size there. */
#include "model/vision/vision.h"

#include <math.h>

/* The tiles of the canvas, at most n: the one that enlarges the picture least or, if all shrink it, shrinks it least;
 * of several with the same factor the one with the fewest tiles. */
static void choose(const struct pn_vision *v, const struct pn_image *image, int *rows, int *cols)
{
    double best = 0;
    for (int r = 1; r <= v->n_tiles; r++)
        for (int c = 1; r * c <= v->n_tiles; c++) {
            double high = (double)(r * v->height) / image->height, wide = (double)(c * v->height) / image->width;
            double scale = wide > high ? high : wide;
            bool better = scale >= 1 ? best < 1 || scale < best : best < 1 && scale > best;
            if (best > 0 && !better && !(scale == best && r * c < *rows * *cols))
                continue;
            best = scale;
            *rows = r;
            *cols = c;
        }
}

static int between(int n, int least, int most)
{
    return n < least ? least : n > most ? most : n;
}

/* A side that shrinks or grows with the other one, but not to nothing or beyond the canvas. */
static int follow(int side, double scale, int most)
{
    int n = (int)floor(side * scale);
    return n < 1 ? 1 : n > most ? most : n;
}

pantry_status pn_vision_canvas(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                               struct pantry_error *err)
{
    struct pn_image resized;
    int rows = 1, cols = 1, tile = v->height;
    choose(v, image, &rows, &cols);
    int width = between(image->width, tile, cols * tile), height = between(image->height, tile, rows * tile);
    double high = (double)height / image->height, wide = (double)width / image->width;
    if (wide < high)
        height = follow(image->height, wide, height);
    else
        width = follow(image->width, high, width);
    pantry_status status = pn_image_resize(image, width, height, v->filter, &resized, err);
    if (status)
        return status;
    status = pn_image_crop(&resized, 0, 0, cols * tile, rows * tile, out, err);
    pn_image_free(&resized);
    return status;
}
