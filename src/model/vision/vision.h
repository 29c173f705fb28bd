/* Vision: pictures as rows of a language model's input.
 *
 * A picture is resized and cut into views (prepare.c); a view is a grid of patches. The encoder (encoder.c) is a graph
 * like a model's, with patches as tokens: they go in as given rows, and the states of all patches come out. Groups of
 * neighbouring patches are merged (patches.c), and a second graph projects each group to a row of the decoder. In the
 * text, a placeholder becomes as many tokens as the picture has rows (expand.c).
 *
 * A family's row (families.c) says how it differs; the rest comes from the files: config.json and
 * preprocessor_config.json of a directory (config.c, names.c), or the metadata of a GGUF projector (gguf.c). */
#ifndef PN_MODEL_VISION_VISION_H
#define PN_MODEL_VISION_VISION_H

#include "image/resample.h"
#include "model/model.h"

enum { PN_VISION_MAX_PATCHES = 1 << 15 }; /* of a view: the longest step */

/* How a picture's size changes. */
enum pn_vision_sizing {
    PN_SIZING_FROM_FILE, /* SHORTEST or FIXED, by the keys of `size` */
    PN_SIZING_SHORTEST,  /* the shorter side gets a length, then the middle is cut out */
    PN_SIZING_FIXED,     /* both sides get a length */
    PN_SIZING_CANVAS,    /* it fits a canvas of square tiles, the rest of which is black: Llama 3.2 Vision */
    PN_SIZING_SMART,     /* both become multiples of a unit, and the area stays between two bounds: Qwen2-VL, 2024 */
    PN_SIZING_NATIVE     /* both become multiples of a unit, below a bound: Pixtral, 2024 */
};

/* What becomes of square groups of patches. */
enum pn_vision_merge {
    PN_MERGE_JOIN, /* their values follow each other, row by row */
    PN_MERGE_MEAN,
    PN_MERGE_WEAVE /* the first value of each, then the second of each, ... */
};

/* What encodes positions of patches. */
enum pn_vision_positions {
    PN_POSITIONS_LEARNED,   /* a table, one row per patch (and before them the class token's) */
    PN_POSITIONS_ROTATED,   /* queries and keys rotate, half of their pairs with the row, half with the column */
    PN_POSITIONS_STRETCHED, /* they rotate, and a table is stretched over the view */
    PN_POSITIONS_TILED      /* tables for tiles and for patches in them, each with a gate: canvas_tiles.c */
};

struct pn_vision;
struct pn_vision_views;
struct pn_vision_files;
struct pn_builder;

/* The projector: merged rows (tokens, n) -> rows of the decoder (tokens, n_out). */
typedef pn_array pn_vision_project(struct pn_builder *b, const struct pn_vision *v, pn_array x);

struct pn_vision_family {
    const char *types;          /* model_type of config.json, separated by blanks */
    const char *projector;      /* clip.projector_type of a GGUF file; NULL: none */
    const char *placeholder;    /* a picture's place in the text that a template renders; NULL: the token of its rows */
    const char *token;          /* of its rows, where the file does not say */
    const char *before, *after; /* what surrounds its rows, in place of the placeholder */
    const char *defaults;       /* of vision_config: JSON with ' for " */
    enum pn_vision_sizing sizing;
    enum pn_vision_positions positions;
    enum pn_vision_merge merge;
    enum pn_norm_kind norm;
    bool post_norm;     /* states are normalized after the last layer */
    bool feature_layer; /* vision_feature_layer says whose states count: by default those before the last layer */
    bool both_ways;     /* in the decoder, the tokens of a picture see each other */
    bool sections;      /* ... and have positions of three components (M-RoPE) */
    bool apart;         /* layers of their own attend to the rows, which come before the text */
    pn_vision_project *project;
    const char *encoder;                               /* model_type of vision_config; NULL: any */
    void (*more)(const struct pn_vision_files *files); /* reads what only this family has */
    /* Cuts a picture into views; NULL: it is one view. */
    pantry_status (*cut)(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_views *out,
                         struct pantry_error *err);
    /* Writes the text of a picture's rows; NULL: only their tokens. */
    void (*write)(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out);
};

/* An encoder: what its files say. */
struct pn_vision {
    const struct pn_vision_family *family;
    struct pn_weights *weights;  /* of encoder and projector */
    bool lent;                   /* a model owns them */
    int n_embd, n_head, n_layer; /* layers that run */
    int n_out;                   /* values of a row of the decoder, with those for its first layers */
    int patch, frames;           /* a patch's side; the copies of the picture that it has */
    int group;                   /* a side of merged groups, in patches */
    int n_side;                  /* patches of a side of the table of positions */
    int window;                  /* a side of windows, in patches; 0: none */
    const bool *full;            /* (n_layer): the layer sees the whole view in spite of windows */
    bool has_class;              /* a token without a patch comes first */
    int skip;                    /* the first states that no row stands for; 0 with tiles */
    const int *taps;             /* (n_taps): the layers whose states count, side by side; 0: the embeddings */
    int n_taps;                  /* 0: the last layer */
    bool late;                   /* a patch's place in the table of positions is rounded down: see place_of */
    float theta;                 /* of ROTATED: the base of the frequencies */
    bool interleaved;            /* ... rows and columns have every other frequency */
    bool neighbours;             /* ... values that rotate together are neighbours */
    enum pn_norm_kind norm;      /* of layers */
    bool post_norm;              /* states are normalized after the last layer */
    float pre_eps, post_eps;     /* of the norms before and after the layers; with tiles before global layers */
    float input_eps;             /* of the one before the projector */
    int n_tiles;                 /* of a view, with empty ones; 0: views have no tiles */
    int n_padding;               /* tokens without a patch after each tile */
    int n_local;                 /* layers before the norm, after which global layers follow; 0: all */
    int n_deep;                  /* layers whose states count too: see pn_vision_n_deep_rows */
    const int *deep;             /* (n_deep): these layers, ascending */
    const int *deep_name;        /* (n_deep): their numbers in the names of their projectors */
    float eps;
    enum pn_act_fn act, project_act;
    /* preparing */
    enum pn_vision_sizing sizing;
    enum pn_resample filter;
    int width, height;           /* FIXED; of SHORTEST the side and, in both, ... */
    int crop_width, crop_height; /* ... what is cut out; 0: nothing */
    int64_t min_pixels, max_pixels;
    double rescale;
    float mean[3], deviation[3];
    int tile;                            /* a side of tiles, in pixels */
    int longest;                         /* the longer side before tiling; 0: as it is */
    int min_tiles, max_tiles;            /* 0 or 1: the picture is not cut */
    const struct pn_vision_canvas *grid; /* (n_grid): the sizes that tiles may make up */
    int n_grid;
    /* text */
    int32_t token; /* of its rows; -1: known by its text only */
    const char *token_text;
    const char *before, *after; /* NULL: the family's */
    const char *line, *whole;   /* what ends a line of rows; what comes before the rows of the whole picture */
    struct pn_arena arena;
};

static inline bool pn_vision_rotates(const struct pn_vision *v)
{
    return v->family->positions == PN_POSITIONS_ROTATED || v->family->positions == PN_POSITIONS_STRETCHED;
}

/* Layers whose states become rows for the first layers of the decoder; with tiles they are parts of one row. */
static inline int pn_vision_n_deep_rows(const struct pn_vision *v)
{
    return v->n_tiles ? 0 : v->n_deep;
}

/* Whether a table of positions is added to the patches. */
static inline bool pn_vision_has_table(const struct pn_vision *v)
{
    return v->family->positions != PN_POSITIONS_ROTATED;
}

/* Whether a model has a vision part that is known here. */
bool pn_vision_is_in(const struct pn_weights *text);
/* The vision part of a model; *out is NULL if it has none. `text`: the decoder's weights, which must outlive it. */
pantry_status pn_vision_open(const struct pn_weights *text, struct pn_vision **out, struct pantry_error *err);
void pn_vision_free(struct pn_vision *v);
/* By model_type of config.json and of its vision_config (NULL: it has none); NULL: none is known. */
const struct pn_vision_family *pn_vision_family_of(const char *model_type, const char *encoder);
const struct pn_vision_family *pn_vision_family_at(size_t i);

/* ---- views (prepare.c) ---- */

/* A picture or a part of it, in the size that the encoder sees. */
struct pn_vision_view {
    struct pn_image image;
    int rows, cols;           /* of patches */
    int tile_rows, tile_cols; /* of tiles, if views have tiles */
};

struct pn_vision_views {
    struct pn_vision_view *view;
    size_t n;
    int tile_rows, tile_cols; /* views that are tiles; 0: none */
    int *order; /* (n_rows): rows of all views in the picture's order, -1: a new line; NULL: as they are */
    int n_rows;
};

/* Width and height. */
struct pn_vision_canvas {
    int width, height;
};

enum { PN_VISION_MAX_TILES = 1024 }; /* of a picture */

pantry_status pn_vision_prepare(const struct pn_vision *v, const struct pn_image *image, struct pn_vision_views *out,
                                struct pantry_error *err);
void pn_vision_views_free(struct pn_vision_views *views);
/* The picture as one view, in the size that the file says. */
pantry_status pn_vision_resize(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                               struct pantry_error *err);
/* Adds a view, and takes over its image. */
pantry_status pn_vision_add_view(const struct pn_vision *v, struct pn_vision_views *views, struct pn_image *image,
                                 struct pantry_error *err);
/* Rows of the decoder that a view becomes: (rows, cols) of merged groups, and the class token's if it counts. */
static inline int pn_vision_view_rows(const struct pn_vision *v, const struct pn_vision_view *view)
{
    if (v->n_tiles)
        return v->n_tiles * (v->n_side * v->n_side + 1);
    return view->rows / v->group * (view->cols / v->group) + (v->group == 1 ? (v->has_class ? 1 : 0) - v->skip : 0);
}
/* Rows of all views, as they come. */
int pn_vision_views_rows(const struct pn_vision *v, const struct pn_vision_views *views);
/* Rows of the picture. */
static inline int pn_vision_picture_rows(const struct pn_vision *v, const struct pn_vision_views *views)
{
    return views->order ? views->n_rows : pn_vision_views_rows(v, views);
}

/* ---- tiles (tiles.c) ---- */

/* Idefics 3 (Laurençon et al., 2024): the picture grows to a multiple of tiles, and they come before all of it. */
pantry_status pn_vision_cut_idefics3(const struct pn_vision *v, const struct pn_image *image,
                                     struct pn_vision_views *out, struct pantry_error *err);
void pn_vision_write_idefics3(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out);
/* LLaVA-NeXT (Liu et al., 2024): all of the picture, then tiles of the canvas that fits it best; rows that only see the
 * canvas's margin are left out. */
pantry_status pn_vision_cut_llava_next(const struct pn_vision *v, const struct pn_image *image,
                                       struct pn_vision_views *out, struct pantry_error *err);
/* InternVL (Chen et al., 2024): tiles with the proportions nearest to the picture's, then all of it. */
pantry_status pn_vision_cut_internvl(const struct pn_vision *v, const struct pn_image *image,
                                     struct pn_vision_views *out, struct pantry_error *err);

/* ---- a canvas of tiles as one view (canvas.c): Llama 3.2 Vision ---- */

/* Rows of tiles that the picture fills: the first ones. */
static inline int pn_vision_view_filled(const struct pn_vision *v, const struct pn_vision_view *view)
{
    return view->tile_rows * view->tile_cols * (v->n_side * v->n_side + 1);
}
/* Fits a picture to a canvas of tiles. */
pantry_status pn_vision_canvas(const struct pn_vision *v, const struct pn_image *image, struct pn_image *out,
                               struct pantry_error *err);

/* ---- patches (patches.c) ---- */

/* The tokens of a view in the order in which the encoder reads them. */
struct pn_vision_order {
    int n;             /* tokens, the class token included */
    int *row, *col;    /* (n): of the patch; the class token's are -1, padding's -2 */
    int *tile;         /* (n): its tile, whose rows and columns these are; NULL: views have no tiles */
    int *first, *last; /* (n): the tokens of its window */
};

/* Whether the states of token i count. */
static inline bool pn_vision_is_output(const struct pn_vision *v, const struct pn_vision_order *o, int i)
{
    return i >= v->skip && o->row[i] >= -1;
}

/* The numbers of a patch's pixels: (channel, frame, y, x). */
int pn_vision_n_pixels(const struct pn_vision *v);

pantry_status pn_vision_order_new(const struct pn_vision *v, const struct pn_vision_view *view,
                                  struct pn_vision_order *out, struct pantry_error *err);
void pn_vision_order_free(struct pn_vision_order *order);
/* Values of a given row of the encoder, of the states of a patch, and of a given row of the projector. */
int pn_vision_n_given(const struct pn_vision *v);
int pn_vision_n_states(const struct pn_vision *v);
int pn_vision_n_merged(const struct pn_vision *v);
/* Fills the encoder's given rows, (order->n, pn_vision_n_given): pixels, channel by channel, then what is added to the
 * patch's embedding. */
pantry_status pn_vision_fill(const struct pn_vision *v, const struct pn_vision_view *view,
                             const struct pn_vision_order *order, float *rows, struct pantry_error *err);
/* Merges states (tokens that count, in order, pn_vision_n_states) to (rows of the view, pn_vision_n_merged). */
pantry_status pn_vision_merge(const struct pn_vision *v, const struct pn_vision_view *view,
                              const struct pn_vision_order *order, const float *states, float *merged,
                              struct pantry_error *err);
/* The row that ends a line of rows, if the encoder has one: (n_out). */
pantry_status pn_vision_new_line(const struct pn_vision *v, float *row, struct pantry_error *err);
/* A row of a tensor of the encoder that has rows of n values, as float32; false: it is not there, too short or of
 * another shape or type. */
bool pn_vision_decode(const struct pn_vision *v, const char *name, int64_t row, int n, float *out);
/* The same where rows of n values are parts of the tensor's rows. */
bool pn_vision_decode_part(const struct pn_vision *v, const char *name, int64_t row, int n, float *out);
/* The pixels of a patch: (3, frames, patch, patch), each frame the same. */
void pn_vision_fill_pixels(const struct pn_vision *v, const struct pn_vision_view *view, int row, int col,
                           float levels[3][256], float *to);
/* canvas_tiles.c: the same three for views with tiles. */
pantry_status pn_vision_tiles_order(const struct pn_vision *v, const struct pn_vision_view *view,
                                    struct pn_vision_order *out, struct pantry_error *err);
pantry_status pn_vision_tiles_fill(const struct pn_vision *v, const struct pn_vision_view *view,
                                   const struct pn_vision_order *order, float *rows, struct pantry_error *err);
void pn_vision_tiles_merge(const struct pn_vision *v, const struct pn_vision_view *view, const float *states,
                           float *merged);
/* A pixel's value as the encoder sees it, for each of 256 levels of a channel. */
void pn_vision_levels(const struct pn_vision *v, int channel, float levels[256]);

/* ---- the graphs (encoder.c) ---- */

/* A model with two results: PN_RESULT_STATES, the states of patches, and PN_RESULT_EMBEDDINGS, merged rows projected.
 * Takes over v->weights, which v still reads. */
pantry_status pn_vision_model(struct pn_vision *v, struct pn_model **out, struct pantry_error *err);
/* projectors.c */
pn_vision_project pn_vision_project_mlp, pn_vision_project_gemma, pn_vision_project_one, pn_vision_project_merged,
    pn_vision_project_deep;

/* ---- text (expand.c) ---- */

/* The number of placeholders in a text. */
size_t pn_vision_placeholders(const struct pn_vision *v, const char *text, size_t len);
/* Writes the text with the placeholder of picture i replaced by the tokens of pictures[i]. */
pantry_status pn_vision_expand(const struct pn_vision *v, const char *text, size_t len,
                               const struct pn_vision_views *pictures, size_t n, struct pn_buf *out,
                               struct pantry_error *err);

/* Writes the tokens of n rows. */
void pn_vision_write_rows(const struct pn_vision *v, int n, struct pn_buf *out);
/* Pixtral (Agrawal et al., 2024): lines of rows, each with an end. */
void pn_vision_write_lines(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out);

/* ---- names.c ---- */

/* The name of a directory's tensor here ("v.blk.0.attn_q.weight"); false: it does not belong to the encoder. */
bool pn_vision_name(const char *name, char *out, size_t size);

#endif
