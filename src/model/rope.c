/* Rotary frequencies and the ways to stretch them over longer contexts. */
#include "model/blocks.h"

#include <math.h>
#include <stdlib.h>

static const float pi = 3.14159265358979323846f;

bool pn_builder_rotates(const struct pn_builder *b, int layer)
{
    return b->hp->rope.n_rot > 0 && (!b->arch->nope_period || (layer + 1) % b->arch->nope_period != 0);
}

/* The pair that turns `rotations` times over the original context: Peng et al., YaRN, 2023, section 3.2. */
static float yarn_dim(const struct pn_rope_hparams *r, float base, float rotations)
{
    return (float)r->n_rot * logf((float)r->n_context_original / (rotations * 2 * pi)) / (2 * logf(base));
}

/* Slow pairs are interpolated, fast ones kept, those between blended (YaRN, equation 23). */
static void yarn(const struct pn_rope_hparams *r, float base, float *inv_freq)
{
    float low = floorf(yarn_dim(r, base, r->yarn_beta_fast)), high = ceilf(yarn_dim(r, base, r->yarn_beta_slow));
    low = low < 0 ? 0 : low;
    high = high > (float)(r->n_rot - 1) ? (float)(r->n_rot - 1) : high;
    for (int i = 0; i < r->n_rot / 2; i++) {
        float y = ((float)i - low) / (high - low > 0.001f ? high - low : 0.001f);
        float keep = (1 - (y < 0 ? 0 : y > 1 ? 1 : y)) * r->yarn_ext_factor;
        inv_freq[i] = inv_freq[i] / r->factor * (1 - keep) + inv_freq[i] * keep;
    }
}

static float yarn_temperature(float factor, float multiplier)
{
    return factor <= 1 ? 1 : 0.1f * multiplier * logf(factor) + 1;
}

/* YaRN, equation 22; models of the DeepSeek line divide by the same with a multiplier of their own. */
static float yarn_magnitude(const struct pn_rope_hparams *r)
{
    float all = r->yarn_log_multiplier != 0 ? yarn_temperature(r->factor, r->yarn_log_multiplier) : 1;
    return yarn_temperature(r->factor, 1) / all;
}

/* Llama 3 stretches each pair by its own factor, which the file carries as rope_freqs.weight. */
static bool divide_by_factors(struct pn_builder *b, float *inv_freq)
{
    const struct pn_tensor_info *t = pn_weights_tensor(b->weights, "rope_freqs.weight");
    int half = b->hp->rope.n_rot / 2;
    if (!t || !b->arch->rope_factors)
        return true;
    if (t->n_dims != 1 || t->shape[0] < half) {
        pn_graph_fail(b->graph, PN_FORMAT, "tensor rope_freqs.weight has %lld values where %d are needed",
                      (long long)t->shape[0], half);
        return false;
    }
    float *factors = malloc((size_t)t->shape[0] * sizeof *factors);
    if (!factors) {
        pn_graph_fail(b->graph, PN_NO_MEMORY, "out of memory for rotary factors");
        return false;
    }
    pn_type_decode_row(t->type, t->data, factors, (size_t)t->shape[0]);
    bool ok = true;
    for (int i = 0; i < half && ok; i++) {
        ok = factors[i] != 0 && isfinite(factors[i]);
        if (ok)
            inv_freq[i] /= factors[i];
        else
            pn_graph_fail(b->graph, PN_FORMAT,
                          "value %d of tensor rope_freqs.weight is %g, by which nothing can be divided", i,
                          (double)factors[i]);
    }
    free(factors);
    return ok;
}

static pn_array make_table(struct pn_builder *b, bool local)
{
    const struct pn_rope_hparams *r = &b->hp->rope;
    int half = r->n_rot / 2;
    float base = local ? r->freq_base_local : r->freq_base, magnitude = 1;
    float *inv_freq = malloc((size_t)half * sizeof *inv_freq);
    if (!inv_freq)
        return pn_graph_fail(b->graph, PN_NO_MEMORY, "out of memory for rotary frequencies");
    for (int i = 0; i < half; i++)
        inv_freq[i] = powf(base, -2.0f * (float)i / (float)r->n_rot);
    pn_array table = PN_NONE;
    if (!divide_by_factors(b, inv_freq))
        goto done;
    bool stretched = !(local && b->arch->freq_base_local > 0); /* local layers with a base of their own stay short */
    if (stretched && r->scaling == PN_ROPE_SCALING_YARN) {
        yarn(r, base, inv_freq);
        magnitude = r->attn_factor * yarn_magnitude(r);
    } else if (stretched && r->scaling == PN_ROPE_SCALING_LINEAR) {
        for (int i = 0; i < half; i++)
            inv_freq[i] /= r->factor;
    }
    table = pn_rope_table(b->graph, inv_freq, r->n_rot, magnitude);
done:
    free(inv_freq);
    return table;
}

pn_array pn_builder_rope_table(struct pn_builder *b, int layer)
{
    bool local = b->hp->layers[layer].local;
    pn_array *table = local ? &b->rope_local : &b->rope_global;
    if (*table == PN_NONE)
        *table = make_table(b, local);
    return *table;
}
