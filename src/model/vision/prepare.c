/* Preparing pictures: the size that the encoder sees. */
#include "model/vision/vision.h"

#include <math.h>
#include <stdlib.h>

void pn_vision_views_free(struct pn_vision_views *views)
{
    for (size_t i = 0; i < views->n; i++)
        pn_image_free(&views->view[i].image);
    free(views->view);
    free(views->order);
    *views = (struct pn_vision_views){0};
}

int pn_vision_views_rows(const struct pn_vision *v, const struct pn_vision_views *views)
{
    int n = 0;
    for (size_t i = 0; i < views->n; i++)
        n += pn_vision_view_rows(v, &views->view[i]);
    return n;
}

pantry_status pn_vision_add_view(const struct pn_vision *v, struct pn_vision_views *out, struct pn_image *image,
                                 struct pantry_error *err)
{
    struct pn_vision_view view = {*image, image->height / v->patch, image->width / v->patch, 0, 0};
    if (v->n_tiles) {
        view.tile_rows = image->height / v->height;
        view.tile_cols = image->width / v->width;
    }
    struct pn_vision_view *all = realloc(out->view, (out->n + 1) * sizeof *all);
    if (!all) {
        pn_image_free(image);
        return pn_no_memory(err, "a picture");
    }
    out->view = all;
    out->view[out->n++] = view;
    if (view.rows % v->group || view.cols % v->group || view.rows < 1 || view.cols < 1)
        return pn_fail(err, PANTRY_FORMAT, "a picture of %d x %d patches cannot be divided into groups of %d x %d",
                       view.cols, view.rows, v->group, v->group);
    if ((int64_t)view.rows * view.cols > PN_VISION_MAX_PATCHES)
        return pn_fail(err, PANTRY_LIMIT, "the picture has too many patches (found %d x %d, allowed %d)", view.cols,
                       view.rows, PN_VISION_MAX_PATCHES);
    return PANTRY_OK;
}

/* The shorter side gets the length v->height, then the middle is cut out (CLIP's processor). */
static pantry_status shortest(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                              struct pantry_error *err)
{
    struct pn_image resized;
    bool wide = image->width > image->height;
    int64_t shorter = wide ? image->height : image->width, longer = wide ? image->width : image->height;
    int64_t length = (int64_t)((double)(v->height * longer) / (double)shorter);
    if (length > PN_IMAGE_MAX_SIDE)
        return pn_fail(err, PANTRY_LIMIT, "the picture is too narrow (found %d x %d)", image->width, image->height);
    pantry_status status = pn_image_resize(image, wide ? (int)length : v->height, wide ? v->height : (int)length,
                                           v->filter, &resized, err);
    if (status || !v->crop_width) {
        *out = resized;
        return status;
    }
    /* Where the picture is smaller than the part, the margin is half of the difference, rounded up. */
    int left = resized.width - v->crop_width, top = resized.height - v->crop_height;
    left = left >= 0 ? left / 2 : -((1 - left) / 2);
    top = top >= 0 ? top / 2 : -((1 - top) / 2);
    status = pn_image_crop(&resized, left, top, v->crop_width, v->crop_height, out, err);
    pn_image_free(&resized);
    return status;
}

/* Multiples of `unit` near the picture's sides, with an area between the bounds and about the same proportions. */
static pantry_status smart_size(const struct pn_vision *v, const struct pn_image *image, int *width, int *height,
                                struct pantry_error *err)
{
    double w = image->width, h = image->height, unit = v->patch * v->group;
    double most = (double)v->max_pixels, least = (double)v->min_pixels;
    if ((w > h ? w / h : h / w) > 200)
        return pn_fail(err, PANTRY_INVALID, "the picture is too narrow (found %d x %d; allowed: 200 times as long)",
                       image->width, image->height);
    double new_w = nearbyint(w / unit) * unit, new_h = nearbyint(h / unit) * unit;
    if (new_w * new_h > most) {
        double shrink = sqrt(w * h / most);
        new_w = fmax(unit, floor(w / shrink / unit) * unit);
        new_h = fmax(unit, floor(h / shrink / unit) * unit);
    } else if (new_w * new_h < least) {
        double grow = sqrt(least / (w * h));
        new_w = ceil(w * grow / unit) * unit;
        new_h = ceil(h * grow / unit) * unit;
    }
    if (new_w < unit || new_h < unit || new_w * new_h / (v->patch * v->patch) > (double)PN_VISION_MAX_PATCHES)
        return pn_fail(err, PANTRY_LIMIT, "the picture has too many patches (found %.0f, allowed %d)",
                       new_w * new_h / (v->patch * v->patch), PN_VISION_MAX_PATCHES);
    *width = (int)new_w;
    *height = (int)new_h;
    return PANTRY_OK;
}

/* The first multiples of `unit` that a picture fits, once it is small enough. */
static void native_size(const struct pn_vision *v, const struct pn_image *image, int *width, int *height)
{
    int unit = v->patch * v->group;
    double w = image->width, h = image->height, ratio = fmax(h / v->height, w / v->width);
    if (ratio > 1) {
        h = fmax(1, floor(h / ratio));
        w = fmax(1, floor(w / ratio));
    }
    *width = (((int)w - 1) / unit + 1) * unit;
    *height = (((int)h - 1) / unit + 1) * unit;
}

pantry_status pn_vision_resize(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                               struct pantry_error *err)
{
    int width = v->width, height = v->height;
    if (v->sizing == PN_SIZING_CANVAS)
        return pn_vision_canvas(v, image, out, err);
    if (v->sizing == PN_SIZING_SHORTEST)
        return shortest(v, image, out, err);
    if (v->sizing == PN_SIZING_NATIVE)
        native_size(v, image, &width, &height);
    pantry_status status = v->sizing == PN_SIZING_SMART ? smart_size(v, image, &width, &height, err) : PANTRY_OK;
    return status ? status : pn_image_resize(image, width, height, v->filter, out, err);
}

pantry_status pn_vision_prepare(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_views *out,
                                struct pantry_error *err)
{
    struct pn_image resized;
    *out = (struct pn_vision_views){0};
    pantry_status status;
    if (v->family->cut) {
        status = v->family->cut(v, image, out, err);
    } else {
        status = pn_vision_resize(v, image, &resized, err);
        if (!status)
            status = pn_vision_add_view(v, out, &resized, err);
    }
    if (status)
        pn_vision_views_free(out);
    return status;
}
