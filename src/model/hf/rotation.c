/* Rotation and windows from config.json: see hf.h. Transformers has kept them under several names: rope_theta and
 * rope_scaling beside each other, rope_parameters with both, or one rope_parameters per kind of layer. */
#include "model/hf/hf.h"

#include "model/hparams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- windows ---- */

static int n_layers(struct pn_hf *hf)
{
    int64_t n = pn_hf_int(hf, "num_hidden_layers n_layer n_layers num_layers", 0);
    if (n < 1 || n > PN_MAX_LAYERS) {
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: has %lld layers (allowed 1 to %d)", (long long)n, PN_MAX_LAYERS);
        return 0;
    }
    return (int)n;
}

/* Whether a list of layer_types says that the layer has a window; false without a list. */
static bool read_types(struct pn_hf *hf, bool *local, int n)
{
    if (!json_is_array(pn_hf_get(hf, "layer_types")))
        return false;
    for (int i = 0; i < n; i++) {
        const char *type = pn_hf_layer_type(hf, "layer_types", i);
        local[i] = strcmp(type, "sliding_attention") == 0 || strcmp(type, "chunked_attention") == 0;
    }
    return true;
}

/* "LLLG", repeated. */
static bool read_letters(struct pn_hf *hf, bool *local, int n)
{
    const char *pattern = json_string_value(pn_hf_get(hf, "sliding_window_pattern _sliding_window_pattern"));
    size_t len = pattern ? strlen(pattern) : 0;
    for (int i = 0; i < n && len; i++)
        local[i] = pattern[(size_t)i % len] == 'L' && i + 1 < n;
    return len > 0;
}

static void use_window(struct pn_hf *hf, int64_t window, const bool *local, int n)
{
    struct pn_arch *arch = hf->arch;
    if (!arch->window.period)
        arch->window.period = PN_MAX_LAYERS;
    arch->window.n_layers = arch->window.fixed_size = 0;
    pn_hf_put_int(hf, "attention.sliding_window", window);
    if (local)
        pn_hf_put_bools(hf, "attention.sliding_window_pattern", local, (size_t)n);
}

/* A period, from the architecture or the configuration; windows of all layers; or none. */
static void windows_by_rule(struct pn_hf *hf, int64_t window, bool *local, int n)
{
    int64_t period = pn_hf_int(hf, "sliding_window_pattern _sliding_window_pattern", hf->arch->window.period);
    if (hf->arch->window.period && hf->arch->window.period < PN_MAX_LAYERS) {
        for (int i = 0; i < n; i++)
            local[i] = period > 0 && (hf->arch->window.global_first ? i % period != 0 : i % period < period - 1);
        use_window(hf, window, local, n);
    } else if (hf->row->flags & PN_HF_WINDOW) {
        int64_t first = pn_hf_bool(hf, "use_sliding_window", false) ? pn_hf_int(hf, "max_window_layers", 0) : 0;
        for (int i = 0; i < n; i++)
            local[i] = i >= first;
        use_window(hf, window, local, n);
    } else if (hf->arch->window.required) {
        use_window(hf, window, NULL, n);
    }
}

void pn_hf_read_windows(struct pn_hf *hf)
{
    int n = n_layers(hf);
    int64_t window = pn_hf_int(hf, "sliding_window attention_chunk_size", 0);
    bool *local = hf->status ? NULL : calloc((size_t)n + 1, sizeof *local);
    if (!local) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for layers");
        return;
    }
    if (!pn_hf_bool(hf, "use_sliding_window", true) || window <= 0) {
        hf->arch->window.required = false;
        hf->arch->window.size = hf->arch->window.fixed_size = 0;
    } else if (read_types(hf, local, n) || read_letters(hf, local, n)) {
        use_window(hf, window, local, n);
    } else {
        windows_by_rule(hf, window, local, n);
    }
    free(local);
}

/* ---- layers that do not rotate ---- */

/* no_rope_layers has 1 for layers that rotate. Only periods are supported. */
static void read_unrotated(struct pn_hf *hf)
{
    const json_t *list = pn_hf_get(hf, "no_rope_layers");
    struct pn_arch *arch = hf->arch;
    if (!arch->nope.period)
        return;
    arch->nope.period = (int)pn_hf_int(hf, "no_rope_layer_interval", arch->nope.period);
    if (!json_is_array(list) || !json_array_size(list))
        return;
    size_t n = json_array_size(list), first = 0;
    while (first < n && json_integer_value(json_array_get(list, first)))
        first++;
    arch->nope.period = first < n ? (int)first + 1 : PN_MAX_LAYERS + 1;
    for (size_t i = 0; i < n; i++)
        if (!json_integer_value(json_array_get(list, i)) != ((i + 1) % (size_t)arch->nope.period == 0))
            pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: no_rope_layers has no period, which is not supported");
}

/* ---- rotation ---- */

/* The parameters of all layers, or those of layers without a window; *local: of layers with one, or NULL. */
static const json_t *parameters(const struct pn_hf *hf, const json_t **local)
{
    const json_t *all = pn_hf_get(hf, "rope_parameters rope_scaling");
    const json_t *full = json_object_get(all, "full_attention");
    *local = json_object_get(all, "sliding_attention");
    return json_is_object(full) ? full : all;
}

static double number(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static const char *type_of(const json_t *rope)
{
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(rope, "type"));
    return type ? type : "default";
}

/* The divisor of each pair's frequency: Llama 3.1. */
static void llama3(struct pn_hf *hf, const json_t *rope, int n_rot, double base)
{
    double factor = number(rope, "factor", 8), low = number(rope, "low_freq_factor", 1),
           high = number(rope, "high_freq_factor", 4), length = number(rope, "original_max_position_embeddings", 8192);
    float *divisors = pn_hf_constant(hf, "rope_freqs.weight", n_rot / 2);
    if (divisors && !(factor > 0 && high > low)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: llama3 scaling needs a factor above 0 and a rising range");
        return;
    }
    for (int i = 0; divisors && i < n_rot / 2; i++) {
        double turns = length * pow(base, -2.0 * i / n_rot) / (2 * 3.14159265358979323846);
        double keep = (turns - low) / (high - low);
        keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
        divisors[i] = (float)(1 / ((1 - keep) / factor + keep));
    }
    hf->arch->rope.factors = true;
}

/* Full layers rotate some of their pairs; the factors of the others are infinite. */
static void proportional(struct pn_hf *hf, int n_rot, double part)
{
    float *divisors = pn_hf_constant(hf, "rope_freqs.weight", n_rot / 2);
    for (int i = 0; divisors && i < n_rot / 2; i++)
        divisors[i] = i < (int)(part * n_rot) / 2 ? 1 : 1e30f;
    hf->arch->rope.factors = true;
}

static void copy_factors(struct pn_hf *hf, const json_t *rope, const char *key, const char *name, int n_rot)
{
    const json_t *list = json_object_get(rope, key);
    if (json_array_size(list) < (size_t)n_rot / 2) {
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %s has %zu numbers, but %d are needed", key, json_array_size(list),
                   n_rot / 2);
        return;
    }
    float *factors = pn_hf_constant(hf, name, n_rot / 2);
    for (int i = 0; factors && i < n_rot / 2; i++)
        factors[i] = (float)json_number_value(json_array_get(list, (size_t)i));
}

static void longrope(struct pn_hf *hf, const json_t *rope, int n_rot)
{
    double most = (double)pn_hf_int(hf, "max_position_embeddings", 4096);
    double original = number(rope, "original_max_position_embeddings",
                             (double)pn_hf_int(hf, "original_max_position_embeddings", (int64_t)most));
    double scale = original > 0 ? most / original : 1;
    double magnitude = scale <= 1 || original <= 1 ? 1 : sqrt(1 + log(scale) / log(original));
    copy_factors(hf, rope, "long_factor", "rope_factors_long.weight", n_rot);
    copy_factors(hf, rope, "short_factor", "rope_factors_short.weight", n_rot);
    pn_hf_put_int(hf, "rope.scaling.original_context_length", (int64_t)original);
    pn_hf_put_float(hf, "rope.scaling.attn_factor", number(rope, "attention_factor", magnitude));
    pn_hf_put_str(hf, "rope.scaling.type", "longrope");
    hf->arch->rope.factors = true;
}

static void yarn(struct pn_hf *hf, const json_t *rope)
{
    double factor = number(rope, "factor", 1), all = number(rope, "mscale_all_dim", 0), one = number(rope, "mscale", 0);
    double usual_magnitude = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    int64_t most = pn_hf_int(hf, "max_position_embeddings", 4096);
    double original = number(rope, "original_max_position_embeddings", factor > 0 ? (double)most / factor : 0);
    pn_hf_put_str(hf, "rope.scaling.type", "yarn");
    pn_hf_put_float(hf, "rope.scaling.factor", factor);
    pn_hf_put_int(hf, "rope.scaling.original_context_length", (int64_t)original);
    if (json_object_get(rope, "beta_fast"))
        pn_hf_put_float(hf, "rope.scaling.yarn_beta_fast", number(rope, "beta_fast", 32));
    if (json_object_get(rope, "beta_slow"))
        pn_hf_put_float(hf, "rope.scaling.yarn_beta_slow", number(rope, "beta_slow", 1));
    /* a directory that says nothing rounds, whatever the GGUF files of the family do */
    hf->arch->yarn.unrounded = json_is_false(json_object_get(rope, "truncate"));
    if (json_is_number(json_object_get(rope, "attention_factor"))) {
        pn_hf_put_float(hf, "rope.scaling.attn_factor", number(rope, "attention_factor", 1) / usual_magnitude);
    } else if (all != 0) {
        double unit = hf->arch->yarn.log_unit > 0 ? (double)hf->arch->yarn.log_unit : 1;
        pn_hf_put_float(hf, "rope.scaling.yarn_log_multiplier", unit * all);
        if (hf->arch->yarn.log_unit == 0 && one != 0 && factor > 1)
            pn_hf_put_float(hf, "rope.scaling.attn_factor", (0.1 * one * log(factor) + 1) / usual_magnitude);
    }
    if (json_is_number(json_object_get(rope, "llama_4_scaling_beta")))
        pn_hf_put_float(hf, "attention.temperature_scale", number(rope, "llama_4_scaling_beta", 0));
}

static void read_scaling(struct pn_hf *hf, const json_t *rope, int n_rot, double base, double part)
{
    const char *type = type_of(rope);
    if (strcmp(type, "linear") == 0) {
        pn_hf_put_str(hf, "rope.scaling.type", "linear");
        pn_hf_put_float(hf, "rope.scaling.factor", number(rope, "factor", 1));
    } else if (strcmp(type, "llama3") == 0) {
        llama3(hf, rope, n_rot, base);
    } else if (strcmp(type, "yarn") == 0) {
        yarn(hf, rope);
    } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) {
        longrope(hf, rope, n_rot);
    } else if (strcmp(type, "proportional") == 0) {
        proportional(hf, n_rot, part);
    } else {
        /* "dynamic" changes nothing within the original length */
        bool known = strcmp(type, "default") == 0 || strcmp(type, "mrope") == 0 || strcmp(type, "dynamic") == 0 ||
                     strcmp(type, "none") == 0;
        if (!known)
            pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: the rope type \"%.40s\" is not supported", type);
        pn_hf_put_str(hf, "rope.scaling.type", "none");
    }
}

static void read_sections(struct pn_hf *hf, const json_t *rope)
{
    const json_t *list = json_object_get(rope, "mrope_section");
    int64_t sections[4] = {0};
    for (size_t i = 0; i < 4 && i < json_array_size(list); i++)
        sections[i] = json_integer_value(json_array_get(list, i));
    if (json_is_array(list))
        pn_hf_put_ints(hf, "rope.dimension_sections", sections, 4);
}

/* Values of a head; 0 if there are no heads. */
static int head_length(struct pn_hf *hf)
{
    int64_t heads = pn_hf_int(hf, "num_attention_heads n_head n_heads", 0);
    int64_t width = pn_hf_int(hf, "hidden_size n_embd d_model", 0);
    int64_t dim = pn_hf_int(hf, "qk_rope_head_dim head_dim", heads > 0 ? width / heads : 0);
    if (dim < 0 || dim > PN_MAX_HEAD_DIM) {
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: heads of %lld values are not supported", (long long)dim);
        return 0;
    }
    return (int)dim;
}

void pn_hf_read_rotation(struct pn_hf *hf)
{
    const json_t *local, *rope = parameters(hf, &local);
    int dim = head_length(hf);
    double base = number(rope, "rope_theta", pn_hf_float(hf, "rope_theta rotary_emb_base rope_base", 10000));
    double part =
        number(rope, "partial_rotary_factor", pn_hf_float(hf, "partial_rotary_factor rotary_pct rope_pct", 1));
    bool is_proportional = strcmp(type_of(rope), "proportional") == 0;
    if (pn_hf_get(hf, "qk_rope_head_dim")) /* which is already the rotated part */
        part = 1;
    if (!(part > 0 && part <= 1)) {
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: partial_rotary_factor is %g, but must be between 0 and 1", part);
        return;
    }
    int n_rot = (int)(dim * part);
    for (int i = 0; is_proportional && i < n_layers(hf); i++) /* of the layers without a window */
        if (strcmp(pn_hf_layer_type(hf, "layer_types", i), "full_attention") == 0)
            n_rot = (int)pn_hf_int(hf, "global_head_dim", pn_hf_layer_int(hf, "head_dim", i, dim));
    n_rot = (int)pn_hf_int(hf, "rotary_dim", n_rot);
    if (n_rot < 0 || n_rot > PN_MAX_HEAD_DIM)
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %d rotated values are not supported", n_rot);
    if (dim == 0 || hf->status)
        return;
    pn_hf_put_int(hf, "rope.dimension_count", n_rot);
    pn_hf_put_float(hf, "rope.freq_base", base);
    if (local)
        pn_hf_put_float(hf, "rope.freq_base_swa", number(local, "rope_theta", 10000));
    else if (pn_hf_get(hf, "rope_local_base_freq"))
        pn_hf_put_float(hf, "rope.freq_base_swa", pn_hf_float(hf, "rope_local_base_freq", 10000));
    read_scaling(hf, rope, n_rot, base, part);
    read_sections(hf, rope);
    read_unrotated(hf);
    if (hf->row->flags & PN_HF_HALVES)
        hf->arch->rope.kind = PN_ROPE_HALVES;
}
