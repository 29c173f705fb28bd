/* Views with tiles (Llama 3.2 Vision): a tile's class token and its patches, tile after tile. Encoders have room for a
 * number of tiles, some of which a picture may leave empty, and for some padding after each tile. As in transformers,
 * tokens of tiles that are filled see everything, also padding and empty tiles; these see only the former. */
#include "model/vision/vision.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASS = -1, PADDING = -2 };

static int n_patches(const struct pn_vision *v)
{
    return v->n_side * v->n_side;
}

static void add(struct pn_vision_order *o, int tile, int row, int col)
{
    o->tile[o->n] = tile;
    o->row[o->n] = row;
    o->col[o->n++] = col;
}

static void add_tile(const struct pn_vision *v, struct pn_vision_order *o, int tile)
{
    add(o, tile, CLASS, CLASS);
    for (int i = 0; i < n_patches(v); i++)
        add(o, tile, i / v->n_side, i % v->n_side);
}

static void add_padding(const struct pn_vision *v, struct pn_vision_order *o, int tile)
{
    for (int i = 0; i < v->n_padding; i++)
        add(o, tile, PADDING, PADDING);
}

pantry_status pn_vision_tiles_order(const struct pn_vision *v, const struct pn_vision_view *view,
                                    struct pn_vision_order *o, struct pantry_error *err)
{
    size_t most = (size_t)v->n_tiles * (size_t)(n_patches(v) + 1 + v->n_padding);
    int filled = view->tile_rows * view->tile_cols;
    *o = (struct pn_vision_order){.row = calloc(most, 5 * sizeof *o->row)};
    if (!o->row)
        return pn_no_memory(err, "a picture");
    o->col = o->row + most;
    o->first = o->col + most;
    o->last = o->first + most;
    o->tile = o->last + most;
    for (int t = 0; t < filled; t++)
        add_tile(v, o, t);
    int n = o->n;
    for (int t = 0; t < filled; t++)
        add_padding(v, o, t);
    for (int t = filled; t < v->n_tiles; t++) {
        add_tile(v, o, t);
        add_padding(v, o, t);
    }
    for (int i = 0; i < o->n; i++)
        o->last[i] = (i < n ? o->n : n) - 1;
    return PANTRY_OK;
}

/* ---- values ---- */

/* The number of a canvas among all that have room: columns count faster, and 0 means no picture. */
static int aspect_of(const struct pn_vision *v, const struct pn_vision_view *view)
{
    int n = 0;
    for (int r = 1; r <= view->tile_rows; r++)
        for (int c = 1; r * c <= v->n_tiles && (r < view->tile_rows || c <= view->tile_cols); c++)
            n++;
    return n;
}

struct filler {
    const struct pn_vision *v;
    const struct pn_vision_view *view;
    int aspect;
    float position, pre, post; /* gates */
    float *room;               /* (n_embd) */
};

/* to += by * a row of a table */
static bool add_row(const struct filler *f, const char *table, int64_t row, float by, float *to)
{
    if (!pn_vision_decode_part(f->v, table, row, f->v->n_embd, f->room))
        return false;
    for (int i = 0; i < f->v->n_embd; i++)
        to[i] += by * f->room[i];
    return true;
}

/* What is added to a token's embedding before the layers. */
static bool fill_before(const struct filler *f, int tile, int patch, float *to)
{
    int64_t at = (int64_t)f->aspect * f->v->n_tiles + tile; /* of a tile in a canvas */
    bool ok = patch < 0 ? add_row(f, "v.class_embd", 0, 1, to) : add_row(f, "v.pre_tile_embd.weight", at, f->pre, to);
    return ok && add_row(f, "v.position_embd.weight", patch + 1, 1 - f->position, to) &&
           add_row(f, "v.tile_position_embd.weight", at * (n_patches(f->v) + 1) + patch + 1, f->position, to);
}

/* Pixels, what is added before the layers, what is added before the global layers, and 0 for padding. */
static bool fill_token(const struct filler *f, const struct pn_vision_order *o, int i, float levels[3][256], float *to)
{
    const struct pn_vision *v = f->v;
    int row = o->row[i], tile = o->tile[i], n_pixels = 3 * v->frames * v->patch * v->patch, side = v->n_side;
    int across = f->view->tile_cols, filled = f->view->tile_rows * across;
    memset(to, 0, (size_t)pn_vision_n_given(v) * sizeof *to);
    if (row >= 0 && tile < filled)
        pn_vision_fill_pixels(v, f->view, tile / across * side + row, tile % across * side + o->col[i], levels, to);
    to += n_pixels;
    if (row != PADDING && !fill_before(f, tile, row < 0 ? -1 : row * side + o->col[i], to))
        return false;
    to += v->n_embd;
    if (!add_row(f, "v.post_tile_embd.weight", (int64_t)f->aspect * v->n_tiles + tile, f->post, to))
        return false;
    to[v->n_embd] = row != PADDING;
    return true;
}

static float gate_of(const struct pn_vision *v, const char *name, bool *ok)
{
    float gate = 0;
    *ok = *ok && pn_vision_decode(v, name, 0, 1, &gate);
    return tanhf(gate);
}

pantry_status pn_vision_tiles_fill(const struct pn_vision *v, const struct pn_vision_view *view,
                                   const struct pn_vision_order *order, float *rows, struct pantry_error *err)
{
    float levels[3][256];
    bool ok = true;
    struct filler f = {v,
                       view,
                       aspect_of(v, view),
                       gate_of(v, "v.position_gate", &ok),
                       gate_of(v, "v.pre_tile_gate", &ok),
                       gate_of(v, "v.post_tile_gate", &ok),
                       malloc((size_t)v->n_embd * sizeof *f.room)};
    if (!f.room)
        return pn_no_memory(err, "a picture");
    for (int c = 0; c < 3; c++)
        pn_vision_levels(v, c, levels[c]);
    for (int i = 0; i < order->n && ok; i++)
        ok = fill_token(&f, order, i, levels, rows + (size_t)i * (size_t)pn_vision_n_given(v));
    free(f.room);
    return ok ? PANTRY_OK
              : pn_fail(
                    err, PANTRY_FORMAT,
                    "%s: the encoder's tables of tiles and positions are missing or of a type that is not supported",
                    v->weights->path);
}

/* The last states, then value by value those of the layers that count too. */
void pn_vision_tiles_merge(const struct pn_vision *v, const struct pn_vision_view *view, const float *states,
                           float *merged)
{
    int n = v->n_embd, deep = v->n_deep;
    for (int r = 0; r < pn_vision_view_rows(v, view); r++, states += (1 + deep) * n, merged += (1 + deep) * n) {
        memcpy(merged, states, (size_t)n * sizeof *merged);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < deep; k++)
                merged[n + i * deep + k] = states[(1 + k) * n + i];
    }
}
