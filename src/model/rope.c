/* Rotary frequencies and the ways to extend them to longer contexts. */
#include "model/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float pi = 3.14159265358979323846f;

bool pn_builder_rotates(const struct pn_builder *b, int layer)
{
    const struct pn_arch *arch = b->arch;
    const struct pn_hparams *hp = b->hp;
    if ((hp->layers[layer].local ? hp->rope.n_rot_local : hp->rope.n_rot) == 0 || arch->rope.where == PN_ROPE_NEVER)
        return false;
    if (arch->rope.where == PN_ROPE_LOCAL_OR_DENSE && layer < hp->n_dense)
        return true;
    bool local_only = arch->rope.where == PN_ROPE_LOCAL_ONLY || arch->rope.where == PN_ROPE_LOCAL_OR_DENSE;
    if (local_only && hp->window > 0 && !hp->layers[layer].local)
        return false;
    if (arch->rope.where == PN_ROPE_IF_FINETUNED && !hp->rope.finetuned)
        return false;
    if (arch->rope.n_layers && hp->n_layer != arch->rope.n_layers)
        return false;
    bool unwindowed = arch->window.period && hp->window == 0; /* such models rotate everywhere */
    return !arch->nope.period || unwindowed || (arch->nope.first ? layer : layer + 1) % arch->nope.period != 0;
}

/* The pair with `rotations` full turns over the original context: Peng et al., YaRN, 2023, section 3.2. */
static float yarn_dim(const struct pn_rope_hparams *r, int n_rot, float base, float rotations)
{
    return (float)n_rot * logf((float)r->n_context_original / (rotations * 2 * pi)) / (2 * logf(base));
}

/* Slow pairs are interpolated, fast ones kept, those between blended (YaRN, equation 23). */
static void yarn(const struct pn_builder *b, int n_rot, float base, float *inv_freq)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    float low = yarn_dim(r, n_rot, base, r->yarn_beta_fast), high = yarn_dim(r, n_rot, base, r->yarn_beta_slow);
    low = b->arch->yarn.unrounded ? low : floorf(low);
    high = b->arch->yarn.unrounded ? high : ceilf(high);
    low = low < 0 ? 0 : low;
    high = high > (float)(n_rot - 1) ? (float)(n_rot - 1) : high;
    for (int i = 0; i < n_rot / 2; i++) {
        float y = ((float)i - low) / (high - low > 0.001f ? high - low : 0.001f);
        float keep = (1 - (y < 0 ? 0 : y > 1 ? 1 : y)) * r->yarn_ext_factor;
        inv_freq[i] = inv_freq[i] / r->factor * (1 - keep) + inv_freq[i] * keep;
    }
}

static float yarn_temperature(float factor, float multiplier)
{
    return factor <= 1 ? 1 : 0.1f * multiplier * logf(factor) + 1;
}

/* YaRN, equation 22; DeepSeek models divide by the same with their own multiplier. */
static float yarn_magnitude(const struct pn_builder *b)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    if (r->yarn_log_multiplier == 0)
        return yarn_temperature(r->factor, 1);
    bool both = b->arch->yarn.log_both && r->yarn_log_multiplier != 1;
    return yarn_temperature(r->factor, both ? r->yarn_log_multiplier : 1) /
           yarn_temperature(r->factor, r->yarn_log_multiplier);
}

static float magnitude(const struct pn_builder *b)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    return r->scaling == PN_ROPE_SCALING_YARN ? r->attn_factor * yarn_magnitude(b) : r->attn_factor;
}

float pn_builder_rope_score_scale(const struct pn_builder *b)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    if (r->scaling == PN_ROPE_SCALING_LONGROPE) /* its magnitude is entirely in the rotation */
        return 1;
    float m = magnitude(b) * yarn_temperature(r->factor, r->yarn_log_multiplier);
    return m * m;
}

static bool divide_by_factors(struct pn_builder *b, const char *name, int half, float *inv_freq)
{
    const struct pn_tensor_info *t = pn_weights_tensor(b->weights, name);
    if (!t || !b->arch->rope.factors)
        return true;
    if (t->n_dims != 1 || t->shape[0] < half) {
        pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s has %lld values, but %d are needed", t->name,
                      (long long)t->shape[0], half);
        return false;
    }
    float *factors = malloc((size_t)t->shape[0] * sizeof *factors);
    if (!factors) {
        pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for rotary factors");
        return false;
    }
    pn_type_decode_row(t->type, t->data, factors, (size_t)t->shape[0]);
    bool ok = true;
    for (int i = 0; i < half && ok; i++) {
        ok = factors[i] != 0 && isfinite(factors[i]);
        if (ok)
            inv_freq[i] /= factors[i];
        else
            pn_graph_fail(b->graph, PANTRY_FORMAT, "value %d of tensor %s is %g, but must be finite and not 0", i,
                          t->name, (double)factors[i]);
    }
    free(factors);
    return ok;
}

/* Local layers with their own base are not extended. */
static bool is_stretched(const struct pn_builder *b, bool local)
{
    return !(local && (b->arch->rope.freq_base_local > 0 || b->arch->rope.local_unscaled));
}

/* Radians per position of each pair. `factors` names the tensor of divisors, if the file has it. */
static bool frequencies(struct pn_builder *b, bool local, const char *factors, float *inv_freq)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    int n_rot = local ? r->n_rot_local : r->n_rot, half = n_rot / 2;
    float base = local ? r->freq_base_local : r->freq_base;
    bool stretched = is_stretched(b, local);
    if (stretched && r->scaling == PN_ROPE_SCALING_NTK && n_rot > 2)
        base *= powf(r->factor, (float)n_rot / (float)(n_rot - 2));
    for (int i = 0; i < half; i++)
        inv_freq[i] = powf(base, -2.0f * (float)i / (float)n_rot);
    if (stretched && !divide_by_factors(b, factors, half, inv_freq))
        return false;
    if (stretched && r->scaling == PN_ROPE_SCALING_YARN)
        yarn(b, n_rot, base, inv_freq);
    for (int i = 0; i < half && stretched && r->scaling == PN_ROPE_SCALING_LINEAR; i++)
        inv_freq[i] /= r->factor;
    return true;
}

/* Llama 3 stretches each pair by its own factor, from rope_freqs.weight; LongRoPE (Ding et al., 2024) has one set of
 * factors for contexts up to the original length and one for longer ones. The set depends on the size of the context,
 * not on how much of it is used, so keys in the cache stay valid. */
static pn_array make_table(struct pn_builder *b, bool local)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    int n_rot = local ? r->n_rot_local : r->n_rot;
    bool one = pn_weights_tensor(b->weights, "rope_freqs.weight") || !is_stretched(b, local) ||
               (!pn_weights_tensor(b->weights, "rope_factors_long.weight") &&
                !pn_weights_tensor(b->weights, "rope_factors_short.weight"));
    float *inv_freq = malloc((size_t)n_rot * sizeof *inv_freq), *longer = inv_freq + n_rot / 2;
    if (!inv_freq)
        return pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for rotary frequencies");
    pn_array table = PN_NONE;
    struct pn_rope_split split = {.interleaved = b->arch->rope.sections == PN_SECTIONS_INTERLEAVED};
    if (b->arch->rope.sections != PN_SECTIONS_NONE)
        memcpy(split.n, r->sections, sizeof split.n);
    if (frequencies(b, local, one ? "rope_freqs.weight" : "rope_factors_short.weight", inv_freq) &&
        (one || frequencies(b, local, "rope_factors_long.weight", longer)))
        table = pn_rope_table(b->graph, inv_freq, one ? NULL : longer, r->n_context_original, n_rot,
                              is_stretched(b, local) ? magnitude(b) : 1, &split);
    free(inv_freq);
    return table;
}

static pn_array rope_table(struct pn_builder *b, int layer)
{
    bool local = b->hp->layers[layer].local;
    pn_array *table = local ? &b->rope_local : &b->rope_global;
    if (*table == PN_NONE)
        *table = make_table(b, local);
    return *table;
}

pn_array pn_builder_rotate(struct pn_builder *b, int layer, pn_array x)
{
    const int *sections = b->hp->rope.sections;
    bool halves = b->arch->rope.sections_halves && sections[0] > 0 && sections[1] > 0;
    return pn_rope(b->graph, x, rope_table(b, layer), halves ? PN_ROPE_HALVES : b->arch->rope.kind);
}
