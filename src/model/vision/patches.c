/* Patches: their order, their values, and merging them. */
#include "model/vision/vision.h"

#include <stdlib.h>
#include <string.h>

/* ---- order ---- */

void pn_vision_order_free(struct pn_vision_order *o)
{
    free(o->row);
    *o = (struct pn_vision_order){0};
}

/* Adds the patches of a rectangle of groups, group by group, as one window. */
static void add_window(struct pn_vision_order *o, int row0, int row1, int col0, int col1, int group)
{
    int first = o->n;
    for (int y = row0; y < row1; y += group)
        for (int x = col0; x < col1; x += group)
            for (int i = 0; i < group * group; i++, o->n++) {
                o->row[o->n] = y + i / group;
                o->col[o->n] = x + i % group;
            }
    for (int i = first; i < o->n; i++) {
        o->first[i] = first;
        o->last[i] = o->n - 1;
    }
}

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

pantry_status pn_vision_order_new(const struct pn_vision *v, const struct pn_vision_view *view,
                                  struct pn_vision_order *o, struct pantry_error *err)
{
    if (v->n_tiles)
        return pn_vision_tiles_order(v, view, o, err);
    size_t most = (size_t)view->rows * (size_t)view->cols + 1;
    int side = v->window ? v->window : view->rows > view->cols ? view->rows : view->cols;
    *o = (struct pn_vision_order){.row = calloc(most, 4 * sizeof *o->row)};
    if (!o->row)
        return pn_no_memory(err, "a picture");
    o->col = o->row + most;
    o->first = o->col + most;
    o->last = o->first + most;
    if (v->has_class)
        o->row[o->n] = o->col[o->n] = -1, o->n++;
    int group = v->window ? v->group : 1; /* without windows row by row */
    for (int y = 0; y < view->rows; y += side)
        for (int x = 0; x < view->cols; x += side)
            add_window(o, y, lesser(y + side, view->rows), x, lesser(x + side, view->cols), group);
    return PANTRY_OK;
}

/* ---- values ---- */

/* The index of patch i of n in a side of the table of positions. Where it is rounded down (Idefics 3),
 * transformers 4.57 computes i / n * (1 - 1e-6) in float32, so that a patch at the beginning of a place belongs to the
 * one before. */
static int place_of(const struct pn_vision *v, int i, int n)
{
    int place = v->late ? (int)((double)i * v->n_side / n * (1 - 1e-6)) : i;
    return place < v->n_side ? place : v->n_side - 1;
}

/* What is added to the embedding of a patch: its position. The class token has its own embedding, and takes back the
 * bias that every patch gets. */
static bool fill_position(const struct pn_vision *v, const struct pn_vision_view *view, int row, int col, float *to,
                          float *room)
{
    int64_t at = row < 0 ? 0
                         : (int64_t)place_of(v, row, view->rows) * v->n_side + place_of(v, col, view->cols) +
                               (v->has_class ? 1 : 0);
    if (!pn_vision_decode(v, "v.position_embd.weight", at, v->n_embd, to))
        return false;
    if (row >= 0)
        return true;
    if (!pn_vision_decode(v, "v.class_embd", 0, v->n_embd, room))
        return false;
    for (int i = 0; i < v->n_embd; i++)
        to[i] += room[i];
    if (pn_vision_decode(v, "v.patch_embd.bias", 0, v->n_embd, room))
        for (int i = 0; i < v->n_embd; i++)
            to[i] -= room[i];
    return true;
}

/* A place of a view in the table that is stretched over it: two neighbours, and the weight of the second. */
struct between {
    int first, second;
    float weight;
};

static struct between stretch(int at, int n, int n_side)
{
    float x = n > 1 ? (float)at * ((float)(n_side - 1) / (float)(n - 1)) : 0;
    int first = (int)x;
    first = first < n_side ? first : n_side - 1;
    return (struct between){first, first + 1 < n_side ? first + 1 : first, x - (float)first};
}

/* Four places of the table, weighted by distance. */
static bool fill_stretched(const struct pn_vision *v, const struct pn_vision_view *view, int row, int col, float *to,
                           float *room)
{
    struct between y = stretch(row, view->rows, v->n_side), x = stretch(col, view->cols, v->n_side);
    const int rows[2] = {y.first, y.second}, cols[2] = {x.first, x.second};
    memset(to, 0, (size_t)v->n_embd * sizeof *to);
    for (int i = 0; i < 4; i++) {
        float weight = (i / 2 ? y.weight : 1 - y.weight) * (i % 2 ? x.weight : 1 - x.weight);
        if (!pn_vision_decode(v, "v.position_embd.weight", (int64_t)rows[i / 2] * v->n_side + cols[i % 2], v->n_embd,
                              room))
            return false;
        for (int k = 0; k < v->n_embd; k++)
            to[k] += weight * room[k];
    }
    return true;
}

static bool fill_table(const struct pn_vision *v, const struct pn_vision_view *view, int row, int col, float *to,
                       float *room)
{
    return v->family->positions == PN_POSITIONS_STRETCHED ? fill_stretched(v, view, row, col, to, room)
                                                          : fill_position(v, view, row, col, to, room);
}

pantry_status pn_vision_fill(const struct pn_vision *v, const struct pn_vision_view *view,
                             const struct pn_vision_order *order, float *rows, struct pantry_error *err)
{
    if (v->n_tiles)
        return pn_vision_tiles_fill(v, view, order, rows, err);
    float levels[3][256];
    float *room = malloc((size_t)v->n_embd * sizeof *room);
    bool ok = true;
    if (!room)
        return pn_no_memory(err, "a picture");
    for (int c = 0; c < 3; c++)
        pn_vision_levels(v, c, levels[c]);
    for (int i = 0; i < order->n && ok; i++) {
        float *to = rows + (size_t)i * (size_t)pn_vision_n_given(v);
        if (order->row[i] < 0)
            memset(to, 0, (size_t)pn_vision_n_pixels(v) * sizeof *to);
        else
            pn_vision_fill_pixels(v, view, order->row[i], order->col[i], levels, to);
        ok = !pn_vision_has_table(v) ||
             fill_table(v, view, order->row[i], order->col[i], to + pn_vision_n_pixels(v), room);
    }
    free(room);
    return ok ? PANTRY_OK
              : pn_fail(err, PANTRY_FORMAT,
                        "%s: the encoder's table of positions is missing, too short or of a "
                        "type that is not supported",
                        v->weights->path);
}

pantry_status pn_vision_new_line(const struct pn_vision *v, float *row, struct pantry_error *err)
{
    return pn_vision_decode(v, "model.image_newline", 0, v->n_out, row)
               ? PANTRY_OK
               : pn_fail(err, PANTRY_FORMAT, "%s: image_newline is missing or has not %d values", v->weights->path,
                         v->n_out);
}

/* ---- merging ---- */

/* One merged row from the states at `token` (group * group). */
static void merge_row(const struct pn_vision *v, const float *states, const int *token, int n, float *out)
{
    size_t width = (size_t)v->n_embd, all = (size_t)pn_vision_n_states(v);
    if (v->family->merge == PN_MERGE_WEAVE) {
        for (size_t j = 0; j < all; j++)
            for (int i = 0; i < n; i++)
                *out++ = states[(size_t)token[i] * all + j];
        return;
    }
    if (v->family->merge == PN_MERGE_JOIN) { /* layer by layer */
        for (size_t part = 0; part < all / width; part++)
            for (int i = 0; i < n; i++, out += width)
                memcpy(out, states + (size_t)token[i] * all + part * width, width * sizeof *out);
        return;
    }
    for (size_t j = 0; j < all; j++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)states[(size_t)token[i] * all + j];
        out[j] = (float)(sum / n);
    }
}

pantry_status pn_vision_merge(const struct pn_vision *v, const struct pn_vision_view *view,
                              const struct pn_vision_order *order, const float *states, float *merged,
                              struct pantry_error *err)
{
    if (v->n_tiles) {
        pn_vision_tiles_merge(v, view, states, merged);
        return PANTRY_OK;
    }
    int g = v->group, cols = view->cols / g, rows = view->rows / g, skip = v->skip;
    size_t width = (size_t)pn_vision_n_merged(v), n_patches = (size_t)view->rows * (size_t)view->cols;
    if (g == 1 && !v->window) { /* nothing to merge, and the class token may be among them */
        memcpy(merged, states, (size_t)(order->n - skip) * width * sizeof *merged);
        return PANTRY_OK;
    }
    int *token = malloc((n_patches + (size_t)(g * g)) * sizeof *token), *of_group = token + n_patches;
    if (!token)
        return pn_no_memory(err, "a picture");
    for (int i = skip; i < order->n; i++)
        token[order->row[i] * view->cols + order->col[i]] = i - skip;
    for (int r = 0; r < rows * cols; r++) {
        for (int i = 0; i < g * g; i++)
            of_group[i] = token[(r / cols * g + i / g) * view->cols + r % cols * g + i % g];
        merge_row(v, states, of_group, g * g, merged + (size_t)r * width);
    }
    free(token);
    return PANTRY_OK;
}
