/* Encoders of directories: config.json, preprocessor_config.json, and the tensors. */
#include "model/vision/family_config.h"

#include "format/names.h"
#include "tensor/weight.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An encoder while it is read. */
struct reader {
    struct pn_vision *v;
    struct pn_hf hf;      /* hf.config: of the encoder */
    json_t *all;          /* config.json */
    json_t *preprocessor; /* NULL: none */
    json_t *processor;    /* processor_config.json; NULL: none */
    json_t *tokenizer;    /* tokenizer_config.json; NULL: none */
};

/* ---- numbers ---- */

static int64_t number(struct reader *r, const json_t *object, const char *key, int64_t fallback, int64_t least,
                      int64_t most)
{
    return pn_vision_number(&r->hf, object, key, fallback, least, most);
}

/* A number of the encoder's configuration, by the first of several names; without a fallback. */
static int config(struct reader *r, const char *names, int64_t least, int64_t most)
{
    int64_t n = pn_hf_int(&r->hf, names, -1);
    if (n < least || n > most)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "%s of the vision part is missing or out of range (allowed %lld to %lld)",
                   names, (long long)least, (long long)most);
    return n < least ? (int)least : n > most ? (int)most : (int)n;
}

/* ---- the encoder ---- */

static json_t *with_defaults(const struct pn_vision_family *f, const json_t *own)
{
    char text[512];
    size_t n = f->defaults ? strlen(f->defaults) : 0;
    json_t *all = json_is_object(own) ? json_copy((json_t *)(uintptr_t)own) : json_object();
    if (n == 0 || n >= sizeof text)
        return all;
    for (size_t i = 0; i <= n; i++)
        text[i] = f->defaults[i] == '\'' ? '"' : f->defaults[i];
    json_t *defaults = json_loads(text, 0, NULL);
    json_object_update_missing(all, defaults);
    json_decref(defaults);
    /* Both sides, if they are the same, are one. */
    static const char *const sides[] = {"image_size", "patch_size"};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        const json_t *pair = json_object_get(all, sides[i]);
        if (json_array_size(pair) == 2 && json_equal(json_array_get(pair, 0), json_array_get(pair, 1)))
            json_object_set(all, sides[i], json_array_get(pair, 0));
    }
    return all;
}

static enum pn_act_fn act_of(struct reader *r, const char *name)
{
    static const char *const names[] = {
#define PN_ACT_FN(NAME, name, label, value, slope) label,
#include "tensor/act.def"
#undef PN_ACT_FN
    };
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return (enum pn_act_fn)i;
    pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "activation \"%.40s\" of the vision part is not supported",
               name ? name : "");
    return PN_ACT_FN_GELU;
}

/* One of n layers, counted from the end if it is negative; 0: the embeddings. */
static int layer_at(struct reader *r, int64_t at, int n, int least)
{
    int64_t layer = at < 0 ? n + 1 + at : at;
    if (layer < least || layer > n)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "vision_feature_layer %lld is not one of %d layers", (long long)at, n);
    return layer < least || layer > n ? n : (int)layer;
}

/* The layers that run: up to the last one whose states are used. */
static int used_layers(struct reader *r, int n)
{
    struct pn_vision *v = r->v;
    const json_t *list = json_object_get(r->all, "vision_feature_layer");
    size_t n_taps = json_array_size(list);
    int most = 1, *taps;
    if (!v->family->feature_layer)
        return n;
    if (!n_taps)
        return layer_at(r,
                        json_is_integer(list)                ? json_integer_value(list)
                        : v->family->merge == PN_MERGE_WEAVE ? -1
                                                             : -2,
                        n, 1);
    taps = pn_arena_array(&v->arena, n_taps, sizeof *taps);
    if (!taps || n_taps > PN_MAX_LAYERS) {
        pn_hf_fail(&r->hf, PANTRY_LIMIT, "vision_feature_layer has too many layers (found %zu)", n_taps);
        return n;
    }
    for (size_t i = 0; i < n_taps; i++) {
        taps[i] = layer_at(r, json_integer_value(json_array_get(list, i)), n, 0);
        most = taps[i] > most ? taps[i] : most;
    }
    v->taps = taps;
    v->n_taps = (int)n_taps;
    return most;
}

static void read_windows(struct reader *r)
{
    struct pn_vision *v = r->v;
    int64_t pixels = pn_hf_int(&r->hf, "window_size", 0), unit = (int64_t)v->patch * v->group;
    bool *full = pn_arena_array(&v->arena, (size_t)v->n_layer, sizeof *full);
    const json_t *list = json_object_get(r->hf.config, "fullatt_block_indexes");
    v->full = full;
    if (!full) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for the vision part");
        return;
    }
    v->window = pixels >= unit && pixels <= 1 << 20 ? (int)(pixels / unit) * v->group : 0;
    v->window = v->n_tiles ? 1 : v->window; /* with tiles each token says what it sees */
    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t layer = json_integer_value(json_array_get(list, i));
        if (layer >= 0 && layer < v->n_layer)
            full[layer] = true;
    }
}

/* A side of the groups of patches that become one row. */
static int group_of(struct reader *r, int image_size)
{
    const struct pn_vision *v = r->v;
    if (v->family->merge == PN_MERGE_MEAN) {
        int64_t rows = number(r, r->all, "mm_tokens_per_image", 256, 1, 1 << 20);
        int side = (int)lround(sqrt((double)rows));
        return side > 0 && image_size / v->patch >= side ? image_size / v->patch / side : 1;
    }
    return (int)number(r, r->hf.config, "spatial_merge_size", 1, 1, 16);
}

/* Layers whose states count too. */
static void read_deep(struct reader *r)
{
    struct pn_vision *v = r->v;
    const char *key = v->n_tiles                                       ? "intermediate_layers_indices"
                      : v->family->positions == PN_POSITIONS_STRETCHED ? "deepstack_visual_indexes"
                                                                       : "";
    const json_t *list = json_object_get(r->hf.config, key);
    size_t n = json_array_size(list);
    int *deep = pn_arena_array(&v->arena, 2 * n + 1, sizeof *deep);
    if (!deep) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for the vision part");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t layer = json_integer_value(json_array_get(list, i));
        if (layer < (i ? deep[i - 1] + 1 : 0) || layer >= v->n_layer) {
            pn_hf_fail(&r->hf, PANTRY_FORMAT, "%s are not ascending layers of %d", key, v->n_layer);
            return;
        }
        deep[i] = (int)layer;
        deep[n + i] = (int)i;
    }
    v->n_deep = (int)n;
    v->deep = deep;
    v->deep_name = deep + n;
}

/* Tiles of views, and the layers that follow a norm. */
static void read_tiles(struct reader *r)
{
    struct pn_vision *v = r->v;
    if (v->family->positions != PN_POSITIONS_TILED)
        return;
    v->n_tiles = config(r, "max_num_tiles", 1, 64);
    v->pre_eps = v->post_eps = 1e-5f; /* whatever the file says */
    v->n_local = v->n_layer;
    v->n_layer += config(r, "num_global_layers", 1, PN_MAX_LAYERS - v->n_layer > 1 ? PN_MAX_LAYERS - v->n_layer : 1);
    int n = v->n_side * v->n_side + 1;
    v->n_padding = (8 - n % 8) % 8;
    if ((int64_t)v->n_tiles * (n + v->n_padding) > PN_VISION_MAX_PATCHES)
        pn_hf_fail(&r->hf, PANTRY_LIMIT, "the vision part has %d tiles of %d patches (allowed in all: %d)", v->n_tiles,
                   n, PN_VISION_MAX_PATCHES);
}

static void read_config(struct reader *r)
{
    struct pn_vision *v = r->v;
    bool table = v->family->positions == PN_POSITIONS_LEARNED || v->family->positions == PN_POSITIONS_TILED;
    int image_size = table ? config(r, "image_size", 1, 1 << 16) : 0;
    v->patch = config(r, "patch_size", 1, 256);
    v->n_embd = config(r, json_object_get(r->hf.config, "embed_dim") ? "embed_dim" : "hidden_size", 1, 1 << 16);
    v->n_head = config(r, "num_attention_heads num_heads attention_heads", 1, PN_MAX_HEADS);
    v->n_layer = used_layers(r, config(r, "num_hidden_layers depth", 1, PN_MAX_LAYERS));
    v->frames = (int)number(r, r->hf.config, "temporal_patch_size", 1, 1, 16);
    v->group = group_of(r, image_size);
    v->n_side = image_size / v->patch;
    if (v->family->positions == PN_POSITIONS_STRETCHED)
        v->n_side = (int)sqrt((double)config(r, "num_position_embeddings", 1, 1 << 24));
    v->eps = (float)pn_hf_float(&r->hf, "layer_norm_eps rms_norm_eps norm_eps", 1e-6);
    v->norm = v->family->norm;
    v->post_norm = v->family->post_norm;
    v->pre_eps = v->post_eps = v->eps;
    v->theta = 10000;
    v->act = act_of(r, json_string_value(json_object_get(r->hf.config, "hidden_act")));
    const char *project = json_string_value(json_object_get(r->all, "projector_hidden_act"));
    v->project_act = project ? act_of(r, project) : PN_ACT_FN_GELU;
    if (v->n_embd % v->n_head)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "the vision part has %d values for %d heads", v->n_embd, v->n_head);
    read_tiles(r);
    read_windows(r);
    read_deep(r);
}

/* ---- preparing pictures ---- */

static void read_size(struct reader *r, const json_t *p)
{
    struct pn_vision *v = r->v;
    const json_t *size = json_object_get(p, "size"), *crop = json_object_get(p, "crop_size");
    int side = v->n_side > 0 ? v->n_side * v->patch : 1;
    v->sizing = v->family->sizing;
    if (v->sizing == PN_SIZING_FROM_FILE)
        v->sizing = json_object_get(size, "shortest_edge") ? PN_SIZING_SHORTEST : PN_SIZING_FIXED;
    if (v->sizing == PN_SIZING_SMART) {
        int64_t most = (int64_t)1 << 40;
        v->min_pixels = number(r, size, "shortest_edge", 56 * 56, 1, most);
        v->max_pixels = number(r, size, "longest_edge", 28 * 28 * 1280, 1, most);
        v->min_pixels = number(r, p, "min_pixels", v->min_pixels, 1, most);
        v->max_pixels = number(r, p, "max_pixels", v->max_pixels, 1, most);
        /* A view is read in one step: larger pictures shrink. */
        int64_t longest = (int64_t)v->patch * v->patch << 15;
        v->max_pixels = v->max_pixels < longest ? v->max_pixels : longest;
        return;
    }
    if (v->sizing == PN_SIZING_NATIVE) {
        v->height = (int)number(r, size, "longest_edge", 1024, 1, PN_IMAGE_MAX_SIDE);
        v->height = (int)number(r, size, "height", v->height, 1, PN_IMAGE_MAX_SIDE);
        v->width = (int)number(r, size, "width", v->height, 1, PN_IMAGE_MAX_SIDE);
        return;
    }
    v->height =
        (int)number(r, size, v->sizing == PN_SIZING_SHORTEST ? "shortest_edge" : "height", side, 1, PN_IMAGE_MAX_SIDE);
    v->width = (int)number(r, size, "width", v->height, 1, PN_IMAGE_MAX_SIDE);
    if (v->sizing == PN_SIZING_SHORTEST && pn_vision_truth(p, "do_center_crop", true)) {
        v->crop_height = json_is_integer(crop) ? (int)number(r, p, "crop_size", side, 1, PN_IMAGE_MAX_SIDE)
                                               : (int)number(r, crop, "height", v->height, 1, PN_IMAGE_MAX_SIDE);
        v->crop_width = (int)number(r, crop, "width", v->crop_height, 1, PN_IMAGE_MAX_SIDE);
    }
}

static void read_channels(struct reader *r, const json_t *p, const char *key, double fallback, float out[3])
{
    const json_t *list = json_object_get(p, key);
    for (size_t c = 0; c < 3; c++) {
        const json_t *value = json_array_get(list, c);
        out[c] = (float)(json_is_number(value) ? json_number_value(value) : fallback);
        if (!isfinite(out[c]))
            pn_hf_fail(&r->hf, PANTRY_FORMAT, "%s is not a list of three numbers", key);
    }
}

/* The numbers of slow image processors: levels are rescaled in float64, then normalized in float32. */
static void read_preprocessor(struct reader *r)
{
    struct pn_vision *v = r->v;
    const json_t *p = r->preprocessor;
    read_size(r, p);
    v->filter = (enum pn_resample)number(r, p, "resample", v->n_tiles ? PN_RESAMPLE_BILINEAR : PN_RESAMPLE_BICUBIC, 0,
                                         PN_N_RESAMPLE - 1);
    const json_t *scale = json_object_get(p, "rescale_factor");
    v->rescale = !pn_vision_truth(p, "do_rescale", true) ? 1
                 : json_is_number(scale)                 ? json_number_value(scale)
                                                         : 1.0 / 255;
    bool normalize = pn_vision_truth(p, "do_normalize", true);
    read_channels(r, normalize ? p : NULL, "image_mean", normalize ? 0.5 : 0, v->mean);
    read_channels(r, normalize ? p : NULL, "image_std", normalize ? 0.5 : 1, v->deviation);
    if (v->deviation[0] == 0 || v->deviation[1] == 0 || v->deviation[2] == 0)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "image_std has a zero");
    bool free = v->sizing == PN_SIZING_SMART || v->sizing == PN_SIZING_NATIVE || r->v->late;
    int side = v->crop_width ? v->crop_width : v->width, high = v->crop_height ? v->crop_height : v->height;
    if (v->n_tiles && number(r, p, "max_image_tiles", 4, 1, 64) != v->n_tiles)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "pictures become another number of tiles than the encoder has (%d)",
                   v->n_tiles);
    if (!free && (side != v->n_side * v->patch || high != side))
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "pictures become %d x %d pixels, but the encoder sees %d x %d", side, high,
                   v->n_side * v->patch, v->n_side * v->patch);
}

static void open_file(struct reader *r, const char *dir, const char *name, json_t **out)
{
    pantry_status status = r->hf.status ? PANTRY_OK : pn_hfdir_json(dir, name, out, r->hf.err);
    if (status && status != PANTRY_NOT_FOUND)
        r->hf.status = status;
}

static void open_files(struct reader *r, const char *dir)
{
    open_file(r, dir, "preprocessor_config.json", &r->preprocessor);
    open_file(r, dir, "processor_config.json", &r->processor);
    open_file(r, dir, "tokenizer_config.json", &r->tokenizer);
    if (!r->preprocessor) /* newer directories have one file for all parts */
        r->preprocessor = json_incref(json_object_get(r->processor, "image_processor"));
}

/* ---- tensors ---- */

/* A vector as float32; norms of Gemma are stored as their difference from 1. */
static bool to_floats(struct reader *r, struct pn_tensor_info *t, bool plus_one)
{
    float *values = pn_arena_array(&r->v->weights->arena, (size_t)t->shape[0], sizeof *values);
    if (!values) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for tensors");
        return false;
    }
    pn_type_decode_row(t->type, t->data, values, (size_t)t->shape[0]);
    for (int64_t i = 0; plus_one && i < t->shape[0]; i++)
        values[i] += 1;
    t->type = PN_TYPE_F32;
    t->data = values;
    t->bytes = (size_t)t->shape[0] * sizeof *values;
    return true;
}

/* A kernel that covers a patch is a matrix: (out, channels, ..., side, side) as (out, values of a patch). Leading ones
 * of a table are left out. */
static struct pn_st_tensor flat(const struct pn_st_tensor *t)
{
    struct pn_st_tensor f = *t;
    while (f.n_dims > 1 && f.n_dims != 4 && f.n_dims != 5 && f.shape[0] == 1) {
        f.n_dims--;
        memmove(f.shape, f.shape + 1, (size_t)f.n_dims * sizeof *f.shape);
        f.shape[f.n_dims] = 1;
    }
    for (int i = 2; i < f.n_dims; i++) {
        f.shape[1] *= f.shape[i];
        f.shape[i] = 1;
    }
    f.n_dims = f.n_dims > 2 ? 2 : f.n_dims;
    return f;
}

/* MLX puts the channels of a kernel last: (out, ..., side, side, 3). Copies it with them in their place, as float32. */
static bool turn_kernel(struct reader *r, const struct pn_st_tensor *from, struct pn_tensor_info *t)
{
    int64_t n_out = from->shape[0], n = t->shape[1];
    float *values = pn_arena_array(&r->v->weights->arena, (size_t)(n_out * n), sizeof *values);
    float *row = pn_arena_array(&r->v->weights->arena, (size_t)n, sizeof *row);
    if (!values || !row) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for tensors");
        return false;
    }
    for (int64_t i = 0; i < n_out; i++) {
        pn_type_decode_row(t->type, (const char *)t->data + (size_t)i * pn_type_row_bytes(t->type, (size_t)n), row,
                           (size_t)n);
        for (int64_t k = 0; k < n; k++)
            values[i * n + k % 3 * (n / 3) + k / 3] = row[k];
    }
    t->type = PN_TYPE_F32;
    t->number = pn_type_info(t->type)->gguf;
    t->data = values;
    t->bytes = (size_t)(n_out * n) * sizeof *values;
    return true;
}

static void add_tensor(struct reader *r, const struct pn_st_tensor *from, const char *name)
{
    struct pn_hf_matrix m;
    struct pn_weights *w = r->v->weights;
    struct pn_st_tensor t = flat(from);
    bool kernel = from->n_dims > 3, turned = kernel && from->shape[1] != 3;
    if (turned && from->shape[from->n_dims - 1] != 3) {
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "tensor %s does not have 3 channels", from->name);
        return;
    }
    struct pn_tensor_info info = {.name = pn_arena_copy(&w->arena, name, strlen(name))};
    if (!info.name) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for tensors");
        return;
    }
    if (!pn_hf_matrix(&r->hf, &t, &m))
        return;
    info.type = m.weight->type;
    info.number = pn_type_info(info.type)->gguf;
    info.n_dims = m.n_dims < 1 ? 1 : m.n_dims;
    memcpy(info.shape, m.shape, sizeof info.shape);
    info.data = m.weight->plane[0].data;
    info.bytes = (size_t)pn_weight_bytes(m.weight);
    info.places = m.weight->n_planes > 1 || m.weight->mats ? m.weight : NULL;
    if (info.n_dims == 1 && !info.places && !to_floats(r, &info, strstr(name, "soft_emb_norm") != NULL))
        return;
    if (turned && (info.places || pn_type_info(info.type)->block != 1 || !turn_kernel(r, from, &info))) {
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "tensor %s is a kernel of a type that is not supported", from->name);
        return;
    }
    if (!pn_vec_push(&r->hf.tensors, info))
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for tensors");
}

static void index_tensors(struct reader *r)
{
    struct pn_weights *w = r->v->weights;
    struct pn_name_index *index = pn_name_index_new(&w->arena, r->hf.tensors.len);
    w->tensors = r->hf.tensors.data;
    w->n_tensors = r->hf.tensors.len;
    if (!index) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for tensors");
        return;
    }
    for (size_t i = 0; i < w->n_tensors; i++)
        index->entries[i] = (struct pn_name_entry){w->tensors[i].name, i};
    const struct pn_name_entry *twice = pn_name_index_sort(index);
    if (twice)
        pn_hf_fail(&r->hf, PANTRY_FORMAT, "several tensors are %s", twice->name);
    w->tensor_index = index;
}

/* Global layers are numbered after the others. */
static void number_global(const struct pn_vision *v, char *name, size_t size)
{
    char rest[128];
    int layer;
    if (sscanf(name, "v.gblk.%d.%127s", &layer, rest) == 2)
        snprintf(name, size, "v.blk.%d.%s", v->n_local + layer, rest);
}

static void read_tensors(struct reader *r, const struct pn_hfdir *dir)
{
    char name[160];
    for (size_t i = 0; i < dir->tensors.len && !r->hf.status; i++) {
        const struct pn_st_tensor *t = &dir->tensors.data[i];
        if (pn_hf_is_companion(&r->hf, t) || !pn_vision_name(t->name, name, sizeof name))
            continue;
        number_global(r->v, name, sizeof name);
        add_tensor(r, t, name);
    }
    if (r->hf.status)
        return;
    index_tensors(r);
}

/* ---- opening ---- */

/* The id of the rows' token. */
static int32_t token_of(struct reader *r)
{
    const json_t *id = json_object_get(r->all, "image_token_index");
    id = id && !json_is_null(id) ? id : json_object_get(r->all, "image_token_id");
    int64_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    return value >= 0 && value <= INT32_MAX ? (int32_t)value : -1;
}

/* Whether the first state counts too: by default it is the class token's, which is left out. */
static bool takes_all(const struct reader *r)
{
    const char *strategy = json_string_value(json_object_get(r->all, "vision_feature_select_strategy"));
    return strategy && strcmp(strategy, "full") == 0;
}

static void read_all(struct reader *r, const struct pn_weights *text)
{
    struct pn_vision *v = r->v;
    read_config(r);
    open_files(r, text->hf->dir);
    if (!r->hf.status)
        read_preprocessor(r);
    v->token = token_of(r);
    if (!r->hf.status)
        read_tensors(r, text->hf);
    v->has_class = v->weights->tensor_index && pn_weights_tensor(v->weights, "v.class_embd");
    v->skip = v->family->feature_layer ? !takes_all(r) : v->has_class && !v->n_tiles;
    struct pn_vision_files files = {v, &r->hf, r->all, r->preprocessor, r->processor, r->tokenizer};
    if (!r->hf.status && v->family->more)
        v->family->more(&files);
}

static const struct pn_vision_family *family_of(const struct pn_weights *text)
{
    const json_t *config = text->hf ? text->hf->config : NULL;
    const json_t *own = json_object_get(config, "vision_config");
    const char *type = json_string_value(json_object_get(config, "model_type"));
    return type && own ? pn_vision_family_of(type, json_string_value(json_object_get(own, "model_type"))) : NULL;
}

bool pn_vision_is_in(const struct pn_weights *text)
{
    return family_of(text) != NULL;
}

pantry_status pn_vision_open(const struct pn_weights *text, struct pn_vision **out, struct pantry_error *err)
{
    *out = NULL;
    const struct pn_vision_family *family = family_of(text);
    if (!family)
        return PANTRY_OK;
    const json_t *own = json_object_get(text->hf->config, "vision_config");
    struct pn_vision *v = calloc(1, sizeof *v);
    struct pn_weights *w = calloc(1, sizeof *w);
    if (!v || !w) {
        free(v);
        free(w);
        return pn_no_memory(err, "the vision part of a model");
    }
    *v = (struct pn_vision){.family = family, .weights = w, .token_text = family->token};
    w->path = pn_arena_copy(&w->arena, text->path, strlen(text->path));
    w->format = text->format;
    struct reader r = {.v = v, .all = text->hf->config};
    r.hf = (struct pn_hf){.w = w, .dir = text->hf, .config = with_defaults(family, own), .err = err};
    if (!w->path || !r.hf.config)
        pn_hf_fail(&r.hf, PANTRY_NO_MEMORY, "out of memory");
    if (!r.hf.status)
        read_all(&r, text);
    w->tensors = r.hf.tensors.data;
    w->n_tensors = r.hf.tensors.len;
    json_decref(r.hf.config);
    json_decref(r.preprocessor);
    json_decref(r.processor);
    json_decref(r.tokenizer);
    if (r.hf.status) {
        pn_fail_prefix(err, "%s", text->path);
        pn_vision_free(v);
        return r.hf.status;
    }
    *out = v;
    return PANTRY_OK;
}

void pn_vision_free(struct pn_vision *v)
{
    if (!v)
        return;
    if (!v->lent)
        pn_weights_close(v->weights);
    pn_arena_free(&v->arena);
    free(v);
}
