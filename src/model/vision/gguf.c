/* Encoders of GGUF files that llama.cpp calls multimodal projectors (mmproj): metadata "clip.*", tensors with the names
 * that names.c gives those of directories. */
#include "model/vision/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct pn_vision *v;
    struct pantry_error *err;
    pantry_status status; /* the first failure */
};

/* ---- metadata ---- */

static int number(struct reader *r, const char *key, int fallback, int least, int most)
{
    int64_t n = fallback;
    if (r->status)
        return least;
    pantry_status status = pn_meta_i64(r->v->weights, key, &n, r->err);
    if (status && status != PANTRY_NOT_FOUND)
        r->status = status;
    else if (n < least || n > most)
        r->status =
            pn_fail(r->err, PANTRY_FORMAT, "%s is missing or out of range (allowed %d to %d)", key, least, most);
    return r->status ? least : (int)n;
}

static float real(struct reader *r, const char *key, float fallback)
{
    float x = fallback;
    pantry_status status = r->status ? PANTRY_OK : pn_meta_f32(r->v->weights, key, &x, r->err);
    if (status && status != PANTRY_NOT_FOUND)
        r->status = status;
    return x;
}

static bool truth(const struct reader *r, const char *key)
{
    bool b = false;
    return pn_meta_bool(r->v->weights, key, &b, NULL) == PANTRY_OK && b;
}

static void channels(struct reader *r, const char *key, float out[3])
{
    const struct pn_meta *m = pn_weights_meta(r->v->weights, key);
    bool ok = m && m->type == PN_META_ARRAY && m->n == 3;
    for (size_t c = 0; c < 3 && ok; c++) {
        out[c] = (float)pn_meta_item_f64(m, c);
        ok = isfinite(out[c]);
    }
    if (!ok && !r->status)
        r->status = pn_fail(r->err, PANTRY_FORMAT, "%s is missing or not three numbers", key);
}

/* Without a key, the family's own function. */
static enum pn_act_fn act_of(const struct reader *r)
{
    const char *defaults = r->v->family->defaults;
    if (truth(r, "clip.use_silu"))
        return PN_ACT_FN_SILU;
    if (truth(r, "clip.use_gelu"))
        return strstr(defaults, "gelu_pytorch_tanh") ? PN_ACT_FN_GELU_TANH : PN_ACT_FN_GELU;
    return strstr(defaults, "gelu_pytorch_tanh") ? PN_ACT_FN_GELU_TANH : PN_ACT_FN_GELU_QUICK;
}

/* Every n-th layer sees everything; windows have 112 pixels, which files do not say. */
static void read_windows(struct reader *r)
{
    enum { WINDOW = 112 };
    struct pn_vision *v = r->v;
    int every = number(r, "clip.vision.n_wa_pattern", 0, 0, PN_MAX_LAYERS);
    bool *full = pn_arena_array(&v->arena, (size_t)v->n_layer, sizeof *full);
    v->full = full;
    if (!full && !r->status)
        r->status = pn_no_memory(r->err, "the vision part of a model");
    v->window = every ? WINDOW / (v->patch * v->group) * v->group : 0;
    for (int i = 0; full && every && i < v->n_layer; i++)
        full[i] = (i + 1) % every == 0;
}

/* ---- what the families' processors do in directories, and files do not say ---- */

static void square(struct reader *r, int image_size, enum pn_resample filter)
{
    struct pn_vision *v = r->v;
    v->sizing = PN_SIZING_FIXED;
    v->filter = filter;
    v->width = v->height = v->tile = image_size / v->patch * v->patch;
    if (v->tile < 1 && !r->status)
        r->status = pn_fail(r->err, PANTRY_FORMAT, "clip.vision.image_size is smaller than a patch");
}

static void read_gemma(struct reader *r, int image_size)
{
    r->v->group = number(r, "clip.vision.projector.scale_factor", 4, 1, 64);
    square(r, image_size, PN_RESAMPLE_BILINEAR);
}

static void read_qwen(struct reader *r, int image_size)
{
    struct pn_vision *v = r->v;
    (void)image_size;
    v->group = number(r, "clip.vision.spatial_merge_size", 2, 1, 16);
    v->n_side = 0;
    v->sizing = PN_SIZING_SMART;
    v->filter = PN_RESAMPLE_BICUBIC;
    v->min_pixels = 56 * 56;
    v->max_pixels = 28 * 28 * 1280;
}

/* Layers whose states become rows too: their projectors are named after them. */
static void read_deep(struct reader *r)
{
    struct pn_vision *v = r->v;
    const struct pn_meta *m = pn_weights_meta(v->weights, "clip.vision.is_deepstack_layers");
    int *deep = pn_arena_array(&v->arena, (size_t)v->n_layer, sizeof *deep);
    if (!deep && !r->status)
        r->status = pn_no_memory(r->err, "the vision part of a model");
    if (!deep || !m || m->type != PN_META_ARRAY || m->item == PN_META_STRING)
        return;
    for (size_t i = 0; i < m->n && i < (size_t)v->n_layer; i++)
        if (pn_meta_item_i64(m, i))
            deep[v->n_deep++] = (int)i;
    v->deep = v->deep_name = deep;
}

/* The side of the table of positions, in patches. */
static int side_of_table(const struct reader *r)
{
    const struct pn_tensor_info *t = pn_weights_tensor(r->v->weights, "v.position_embd.weight");
    return t && t->n_dims == 2 && t->shape[0] >= 1 && t->shape[0] <= 1 << 24 ? (int)sqrt((double)t->shape[0]) : 1;
}

static void read_qwen3(struct reader *r, int image_size)
{
    struct pn_vision *v = r->v;
    read_qwen(r, image_size);
    v->n_side = side_of_table(r);
    v->min_pixels = 256 * 256;
    v->max_pixels = 2048 * 2048;
    read_deep(r);
}

/* LLaVA's states are those before the last layer. Older files leave that layer out, and with it the norm after it. */
static void read_llava(struct reader *r, int image_size)
{
    struct pn_vision *v = r->v;
    const struct pn_meta *list = pn_weights_meta(v->weights, "clip.vision.feature_layer");
    if (list && list->type == PN_META_ARRAY && list->n > 0 && !r->status)
        r->status = pn_fail(r->err, PANTRY_UNSUPPORTED, "clip.vision.feature_layer is not supported");
    v->n_layer -= v->n_layer > 1 && pn_weights_tensor(v->weights, "v.post_ln.weight");
    v->group = 1;
    square(r, image_size, PN_RESAMPLE_BICUBIC);
    v->sizing = PN_SIZING_SHORTEST;
    v->crop_width = v->crop_height = v->width;
}

static void read_idefics3(struct reader *r, int image_size)
{
    enum { TILED = 4 }; /* a picture becomes this many tiles long */
    struct pn_vision *v = r->v;
    v->group = number(r, "clip.vision.projector.scale_factor", 4, 1, 64);
    square(r, image_size, PN_RESAMPLE_LANCZOS);
    v->longest = number(r, "clip.vision.preproc_image_size", TILED * v->tile, 1, PN_IMAGE_MAX_SIDE);
    v->max_tiles = PN_VISION_MAX_TILES;
    v->before = "<fake_token_around_image>";
    v->whole = "<global-img>";
}

static void read_pixtral(struct reader *r, int image_size)
{
    struct pn_vision *v = r->v;
    v->group = number(r, "clip.vision.spatial_merge_size", 1, 1, 16);
    square(r, image_size, PN_RESAMPLE_BICUBIC);
    v->sizing = PN_SIZING_NATIVE;
    v->n_side = 0;
    v->interleaved = v->neighbours = true;
    v->post_norm = pn_weights_tensor(v->weights, "mm.input_norm.weight") != NULL;
    v->line = "[IMG_BREAK]";
    v->after = "[IMG_END]";
}

static void read_internvl(struct reader *r, int image_size)
{
    struct pn_vision *v = r->v;
    v->group = number(r, "clip.vision.projector.scale_factor", 2, 1, 64);
    square(r, image_size, PN_RESAMPLE_BICUBIC);
    v->min_tiles = number(r, "clip.vision.preproc_min_tiles", 1, 1, PN_VISION_MAX_TILES);
    v->max_tiles = number(r, "clip.vision.preproc_max_tiles", 12, 1, PN_VISION_MAX_TILES);
    v->input_eps = 1e-5f;
    v->post_norm = pn_weights_tensor(v->weights, "v.post_ln.weight") != NULL;
    v->norm = pn_weights_tensor(v->weights, "v.blk.0.ln1.bias") ? PN_NORM_LAYER : PN_NORM_RMS;
}

static const struct {
    const char *projector;
    void (*read)(struct reader *r, int image_size);
} kinds[] = {
    {"gemma3", read_gemma},      {"qwen2.5vl_merger", read_qwen}, {"qwen2vl_merger", read_qwen},
    {"mlp", read_llava},         {"idefics3", read_idefics3},     {"pixtral", read_pixtral},
    {"internvl", read_internvl}, {"qwen3vl_merger", read_qwen3},
};

static void read_kind(struct reader *r, int image_size)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].projector, r->v->family->projector) == 0) {
            kinds[i].read(r, image_size);
            return;
        }
}

static void read_all(struct reader *r)
{
    struct pn_vision *v = r->v;
    int image_size = number(r, "clip.vision.image_size", 0, 1, 1 << 16);
    v->patch = number(r, "clip.vision.patch_size", 0, 1, 256);
    v->n_embd = number(r, "clip.vision.embedding_length", 0, 1, 1 << 16);
    v->n_head = number(r, "clip.vision.attention.head_count", 0, 1, PN_MAX_HEADS);
    v->n_layer = number(r, "clip.vision.block_count", 0, 1, PN_MAX_LAYERS);
    v->eps = real(r, "clip.vision.attention.layer_norm_epsilon", 1e-6f);
    v->frames = 1; /* the frames of Qwen's kernel are tensors of their own */
    v->n_side = image_size / v->patch;
    v->norm = v->family->norm;
    v->post_norm = v->family->post_norm;
    v->pre_eps = v->post_eps = v->eps;
    v->theta = 10000;
    v->act = act_of(r);
    v->project_act = PN_ACT_FN_GELU;
    channels(r, "clip.vision.image_mean", v->mean);
    channels(r, "clip.vision.image_std", v->deviation);
    v->rescale = 1.0 / 255;
    read_kind(r, image_size);
    if (!r->status && v->n_embd % v->n_head)
        r->status = pn_fail(r->err, PANTRY_FORMAT, "the vision part has %d values for %d heads", v->n_embd, v->n_head);
    if (!r->status && (v->deviation[0] == 0 || v->deviation[1] == 0 || v->deviation[2] == 0))
        r->status = pn_fail(r->err, PANTRY_FORMAT, "clip.vision.image_std has a zero");
    read_windows(r);
}

/* ---- the file ---- */

/* A kernel that covers a patch is a matrix. */
static void flatten(struct pn_weights *w, const char *name)
{
    for (size_t i = 0; i < w->n_tensors; i++) {
        struct pn_tensor_info *t = &w->tensors[i];
        if (strcmp(t->name, name) != 0 || t->n_dims != 4 || pn_type_info(t->type)->block != 1)
            continue;
        t->shape[1] *= t->shape[2] * t->shape[3];
        t->shape[2] = t->shape[3] = 1;
        t->n_dims = 2;
    }
}

static const struct pn_vision_family *family_of(const struct pn_weights *w, struct pantry_error *err)
{
    struct pn_str type = {"", 0};
    if (pn_meta_str(w, "clip.projector_type", &type, NULL))
        pn_meta_str(w, "clip.vision.projector_type", &type, NULL);
    for (size_t i = 0; pn_vision_family_at(i); i++) {
        const char *name = pn_vision_family_at(i)->projector;
        if (name && strlen(name) == type.len && memcmp(name, type.data, type.len) == 0)
            return pn_vision_family_at(i);
    }
    pn_fail(err, PANTRY_UNSUPPORTED, "projectors of the type \"%.*s\" are not supported",
            (int)(type.len < 40 ? type.len : 40), type.data);
    return NULL;
}

pantry_status pn_vision_open_gguf(const char *path, struct pn_vision **out, struct pantry_error *err)
{
    struct pn_weights *w;
    *out = NULL;
    pantry_status status = pn_weights_open(path, &w, err);
    if (status)
        return status;
    struct pn_vision *v = calloc(1, sizeof *v);
    if (!v) {
        pn_weights_close(w);
        return pn_no_memory(err, path);
    }
    v->weights = w;
    v->family = family_of(w, err);
    struct reader r = {.v = v, .err = err, .status = v->family ? PANTRY_OK : PANTRY_UNSUPPORTED};
    if (!r.status) {
        v->token = -1;
        v->token_text = v->family->token;
        flatten(w, "v.patch_embd.weight");
        flatten(w, "v.patch_embd.weight.1");
        read_all(&r);
        v->has_class = pn_weights_tensor(w, "v.class_embd") != NULL;
        v->skip = v->has_class;
    }
    if (r.status) {
        pn_fail_prefix(err, "%s", path);
        pn_vision_free(v);
        return r.status;
    }
    *out = v;
    return PANTRY_OK;
}
