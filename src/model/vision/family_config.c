/* What only some families read: see family_config.h. */
#include "model/vision/family_config.h"

#include <string.h>

/* ---- values ---- */

int64_t pn_vision_number(struct pn_hf *hf, const json_t *object, const char *key, int64_t fallback, int64_t least,
                         int64_t most)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value))
        return fallback;
    int64_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < least || n > most)
        pn_hf_fail(hf, PANTRY_FORMAT, "%s of the vision part is out of range (allowed %lld to %lld)", key,
                   (long long)least, (long long)most);
    return n < least ? least : n > most ? most : n;
}

bool pn_vision_truth(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

/* A text, which may be the content of a token's description. */
static const char *text(const struct pn_vision_files *f, const json_t *object, const char *key, const char *fallback)
{
    const json_t *value = json_object_get(object, key);
    const char *s = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (!s || !*s)
        return fallback;
    const char *copy = pn_arena_copy(&f->v->arena, s, strlen(s));
    if (!copy)
        pn_hf_fail(f->hf, PANTRY_NO_MEMORY, "out of memory for the vision part");
    return copy ? copy : fallback;
}

/* A special token that tokenizer_config.json names. */
static const char *special(const struct pn_vision_files *f, const char *key, const char *fallback)
{
    static const char *const places[] = {"extra_special_tokens", "model_specific_special_tokens"};
    const char *found = text(f, f->tokenizer, key, NULL);
    for (size_t i = 0; i < sizeof places / sizeof *places && !found; i++)
        found = text(f, json_object_get(f->tokenizer, places[i]), key, NULL);
    return found ? found : fallback;
}

static double real(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* ---- LLaVA ---- */

void pn_vision_config_llava(const struct pn_vision_files *f)
{
    f->v->token_text = special(f, "image_token", text(f, f->processor, "image_token", f->v->token_text));
}

/* One of image_grid_pinpoints: [height, width]. */
static struct pn_vision_canvas canvas_at(const struct pn_vision_files *f, const json_t *pair)
{
    int64_t height = json_integer_value(json_array_get(pair, 0)), width = json_integer_value(json_array_get(pair, 1));
    int64_t tile = f->v->tile, most = PN_IMAGE_MAX_SIDE;
    if (json_array_size(pair) != 2 || height < tile || width < tile || height > most || width > most || height % tile ||
        width % tile || height / tile * (width / tile) > PN_VISION_MAX_TILES) {
        pn_hf_fail(f->hf, PANTRY_FORMAT, "image_grid_pinpoints has a size that is not made of tiles of %d pixels",
                   f->v->tile);
        return (struct pn_vision_canvas){f->v->tile, f->v->tile};
    }
    return (struct pn_vision_canvas){(int)width, (int)height};
}

void pn_vision_config_llava_next(const struct pn_vision_files *f)
{
    struct pn_vision *v = f->v;
    const json_t *list = json_object_get(f->preprocessor, "image_grid_pinpoints");
    json_t *usual = json_pack("[[ii][ii][ii][ii][ii]]", 336, 672, 672, 336, 672, 672, 1008, 336, 336, 1008);
    pn_vision_config_llava(f);
    list = json_array_size(list) ? list : json_object_get(f->config, "image_grid_pinpoints");
    list = json_array_size(list) ? list : usual;
    size_t n = json_array_size(list);
    struct pn_vision_canvas *grid = pn_arena_array(&v->arena, n ? n : 1, sizeof *grid);
    v->tile = v->n_side * v->patch;
    if (!grid)
        pn_hf_fail(f->hf, PANTRY_NO_MEMORY, "out of memory for the vision part");
    else if (n > 4096)
        pn_hf_fail(f->hf, PANTRY_LIMIT, "image_grid_pinpoints is too long (found %zu, allowed 4096)", n);
    for (size_t i = 0; i < n && !f->hf->status; i++)
        grid[i] = canvas_at(f, json_array_get(list, i));
    v->grid = grid;
    v->n_grid = (int)n;
    json_decref(usual);
    if (!f->hf->status && v->skip != (v->has_class ? 1 : 0))
        pn_hf_fail(f->hf, PANTRY_UNSUPPORTED,
                   "tiles with a class token, or without their first patch "
                   "(vision_feature_select_strategy), are not supported");
}

/* ---- Pixtral ---- */

void pn_vision_config_pixtral(const struct pn_vision_files *f)
{
    struct pn_vision *v = f->v;
    const json_t *own = f->hf->config, *decoder = json_object_get(f->config, "text_config");
    v->eps = v->pre_eps = 1e-5f; /* whatever the file says */
    v->skip = 0;
    v->theta = (float)real(own, "rope_theta", 10000);
    v->theta = (float)real(json_object_get(own, "rope_parameters"), "rope_theta", (double)v->theta);
    v->interleaved = true;
    if (v->family->merge == PN_MERGE_WEAVE) {
        v->group = (int)pn_vision_number(f->hf, f->config, "spatial_merge_size", 2, 1, 16);
        v->post_eps = (float)real(decoder, "rms_norm_eps", 1e-6);
        if (v->n_taps > 1)
            pn_hf_fail(f->hf, PANTRY_UNSUPPORTED, "states of several layers (vision_feature_layer) are not supported");
    }
    v->token_text = text(f, f->processor, "image_token", v->token_text);
    v->line = text(f, f->processor, "image_break_token", "[IMG_BREAK]");
    v->after = text(f, f->processor, "image_end_token", "[IMG_END]");
}

/* ---- Idefics 3 ---- */

void pn_vision_config_idefics3(const struct pn_vision_files *f)
{
    struct pn_vision *v = f->v;
    const json_t *p = f->preprocessor, *tile = json_object_get(p, "max_image_size"), *size = json_object_get(p, "size");
    v->group = (int)pn_vision_number(f->hf, f->config, "scale_factor", 2, 1, 16);
    v->tile = (int)pn_vision_number(f->hf, tile, "longest_edge", 364, 1, 4096);
    v->longest = (int)pn_vision_number(f->hf, size, "longest_edge", 4 * 364, 1, PN_IMAGE_MAX_SIDE);
    if (!pn_vision_truth(p, "do_resize", true))
        v->longest = 0;
    v->max_tiles = pn_vision_truth(p, "do_image_splitting", true) ? PN_VISION_MAX_TILES : 1;
    v->filter = (enum pn_resample)pn_vision_number(f->hf, p, "resample", PN_RESAMPLE_LANCZOS, 0, PN_N_RESAMPLE - 1);
    v->late = true;
    if (v->n_side < 1)
        pn_hf_fail(f->hf, PANTRY_FORMAT, "image_size of the vision part is smaller than a patch");
    v->before = "<fake_token_around_image>";
    v->whole = "<global-img>";
    const char *class = text(f, f->processor, "processor_class", text(f, f->tokenizer, "processor_class", ""));
    if (strcmp(class, "SmolVLMProcessor") != 0)
        return;
    v->token_text = special(f, "image_token", v->token_text);
    v->before = special(f, "fake_image_token", v->before);
    v->whole = special(f, "global_image_token", v->whole);
}

/* ---- InternVL ---- */

void pn_vision_config_internvl(const struct pn_vision_files *f)
{
    struct pn_vision *v = f->v;
    const json_t *own = f->hf->config, *norm = json_object_get(own, "norm_type");
    double ratio = real(f->config, "downsample_ratio", 0.5);
    if (ratio > 1 || ratio < 1.0 / 16)
        pn_hf_fail(f->hf, PANTRY_FORMAT, "downsample_ratio is out of range (allowed 1/16 to 1)");
    else
        v->group = (int)(1 / ratio);
    v->tile = v->width;
    v->min_tiles = (int)pn_vision_number(f->hf, f->preprocessor, "min_patches", 1, 1, PN_VISION_MAX_TILES);
    v->max_tiles = (int)pn_vision_number(f->hf, f->preprocessor, "max_patches", 12, 1, PN_VISION_MAX_TILES);
    v->post_norm = !pn_vision_truth(own, "use_mean_pooling", true);
    v->norm = json_is_string(norm) && strcmp(json_string_value(norm), "rms_norm") == 0 ? PN_NORM_RMS : PN_NORM_LAYER;
    v->input_eps = 1e-5f;
    v->token_text = special(f, "context_image_token", v->token_text);
    v->before = special(f, "start_image_token", v->family->before);
    v->after = special(f, "end_image_token", v->family->after);
}
