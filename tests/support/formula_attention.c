/* Attention as a formula: heads, their norms, windows, rotation and its extension to longer contexts; latent attention.
 * See formula.h. */
#include "formula.h"

#include <string.h>

enum { MAX_DIM = 32, MAX_ROW = F_HEADS * MAX_DIM };
static const double pi = 3.14159265358979323846;

/* ---- kinds of layers ---- */

static int window_of(const struct f_file *f)
{
    const struct f_arch *a = f->arch;
    if (!a->period || (a->window_layers && a->window_layers != f_depth(f)))
        return 0;
    int window = (int)f_or(f->said.window, a->window_always ? a->window_always : a->window);
    return window > 0 && a->window_always ? a->window_always : window;
}

bool f_is_local(const struct f_file *f, int layer)
{
    int i = layer % f->n_layer, period = f->period >= 0 ? f->period : f->arch->period;
    if (window_of(f) <= 0)
        return false;
    if (f->listed)
        return f->listed[i];
    return period == 0 || (f->arch->global_first ? i % period != 0 : i % period != period - 1);
}

int f_dim_k(const struct f_file *f, int layer)
{
    double all = f_or(f->said.key_length, F_EMBD / F_HEADS);
    return (int)(f_is_local(f, layer) ? f_or(f->said.key_length_local, all) : all);
}

int f_dim_v(const struct f_file *f, int layer)
{
    double all = f_or(f->said.value_length, f_or(f->said.key_length, F_EMBD / F_HEADS));
    return (int)(f_is_local(f, layer) ? f_or(f->said.value_length_local, all) : all);
}

static int n_turning(const struct f_file *f, bool local)
{
    double all = f_or(f->said.n_turning, f_or(f->said.key_length, F_EMBD / F_HEADS));
    if (local)
        return (int)f_or(f->said.n_turning_local, all);
    return (int)all / (f->arch->half_global ? 2 : 1);
}

static bool turns(const struct f_file *f, int layer)
{
    const struct f_arch *a = f->arch;
    bool windows = window_of(f) > 0;
    if (a->turn == F_STILL || (a->turn_layers && a->turn_layers != f_depth(f)))
        return false;
    if (a->turns == F_TURN_IF_TUNED && f_or(f->said.tuned, 1) == 0)
        return false;
    if (a->turns == F_TURN_LOCAL_OR_DENSE && layer < (int)f_or(f->said.n_dense, 0))
        return true;
    if ((a->turns == F_TURN_LOCAL || a->turns == F_TURN_LOCAL_OR_DENSE) && windows && !f_is_local(f, layer))
        return false;
    if (a->still_period && (windows || !a->period))
        return (a->still_first ? layer : layer + 1) % a->still_period != 0;
    return true;
}

/* ---- rotation ---- */

static bool stretches(const struct f_file *f, bool local)
{
    return !local || !(f->arch->local_base > 0 || f->arch->local_unscaled);
}

static double temperature(double factor, double multiplier)
{
    return factor > 1 ? 1 + 0.1 * multiplier * log(factor) : 1;
}

static double multiplier(const struct f_file *f)
{
    return f_or(f->said.log_multiplier, 0) / (f->arch->yarn_unit > 0 ? f->arch->yarn_unit : 1);
}

static double factor_of(const struct f_file *f)
{
    return f_or(f->said.factor, 1);
}

static double magnitude(const struct f_file *f)
{
    double m = f_or(f->said.magnitude, 1), by = multiplier(f), factor = factor_of(f);
    if (f->scaling != F_SCALING_YARN)
        return m;
    if (by == 0)
        return m * temperature(factor, 1);
    return m * temperature(factor, f->arch->yarn_both ? by : 1) / temperature(factor, by);
}

/* Peng et al., YaRN, 2023: fast pairs are kept, pairs of less than one turn are interpolated. */
static double yarn(const struct f_file *f, int i, int n, double base, double speed)
{
    double length = f_or(f->said.original, F_CONTEXT);
    double low = n * log(length / (f_or(f->said.beta_fast, 32) * 2 * pi)) / (2 * log(base));
    double high = n * log(length / (f_or(f->said.beta_slow, 1) * 2 * pi)) / (2 * log(base));
    low = fmax(f->arch->yarn_exact ? low : floor(low), 0);
    high = fmin(f->arch->yarn_exact ? high : ceil(high), n - 1);
    double ramp = (i - low) / fmax(high - low, 0.001);
    double kept = (1 - fmin(fmax(ramp, 0), 1)) * f_or(f->said.ext, 1);
    return speed * kept + speed / factor_of(f) * (1 - kept);
}

/* Pairs of the fourth section do not rotate in a text. */
static bool stays(const struct f_file *f, int pair)
{
    const int *s = f->sections;
    int total = s[0] + s[1] + s[2] + s[3];
    if (!f->arch->sections || !total)
        return false;
    int at = pair % total;
    if (f->arch->sections == 1)
        return at >= total - s[3];
    return at >= 3 * s[at % 3];
}

static const struct f_tensor *divisors(const struct f_file *f)
{
    const struct f_tensor *t = f->arch->divided ? f_find(f, -1, "rope_freqs.weight") : NULL;
    if (t || !f->arch->divided)
        return t;
    bool is_long = F_CONTEXT > (int)f_or(f->said.original, F_CONTEXT);
    return f_find(f, -1, is_long ? "rope_factors_long.weight" : "rope_factors_short.weight");
}

static double speed_of(const struct f_file *f, bool local, int i, int n)
{
    double base = f_or(f->said.base, 10000), global = base;
    const struct f_tensor *by = divisors(f);
    if (local)
        base = f_or(f->said.base_local, f->arch->local_base > 0 ? f->arch->local_base : global);
    if (stays(f, i))
        return 0;
    if (stretches(f, local) && f->scaling == F_SCALING_NTK)
        base *= pow(factor_of(f), (double)n / (n - 2));
    double speed = pow(base, -2.0 * i / n);
    if (!stretches(f, local))
        return speed;
    speed /= by ? (double)by->data[i] : 1;
    if (f->scaling == F_SCALING_YARN)
        return yarn(f, i, n, base, speed);
    bool linear = f->scaling == F_SCALING_LINEAR || f->scaling == F_SCALING_MISSING;
    return linear ? speed / factor_of(f) : speed;
}

static void turn(const struct f_file *f, bool local, int position, double *x)
{
    int n = n_turning(f, local);
    double m = stretches(f, local) ? magnitude(f) : 1, y[MAX_DIM];
    bool halves =
        f->arch->turn == F_HALVES || (f->arch->halves_if_sections && f->sections[0] > 0 && f->sections[1] > 0);
    for (int i = 0; i < n / 2; i++) {
        double angle = position * speed_of(f, local, i, n);
        int a = halves ? i : 2 * i, b = halves ? i + n / 2 : 2 * i + 1;
        y[a] = m * (x[a] * cos(angle) - x[b] * sin(angle));
        y[b] = m * (x[a] * sin(angle) + x[b] * cos(angle));
    }
    memcpy(x, y, (size_t)n * sizeof *x);
}

/* ---- scores and sums ---- */

struct heads { /* of all tokens */
    int n, dim;
    double at[F_TOKENS][MAX_ROW];
};

static double slope(double bias, int h)
{
    return pow(2, -bias * (h + 1) / F_HEADS); /* for a power of two of heads: Press et al., 2021 */
}

static double alibi(const struct f_file *f)
{
    bool by_default = !f->arch->alibi_layers || f->arch->alibi_layers == f_depth(f);
    return f_or(f->said.alibi, by_default ? f->arch->alibi : 0);
}

static bool sees(const struct f_file *f, int layer, int from, int to)
{
    int window = window_of(f);
    if (to > from)
        return false;
    if (!f_is_local(f, layer))
        return true;
    return f->arch->chunked ? to >= from / window * window : to > from - window;
}

static void attend_head(const struct f_file *f, int layer, const struct heads *q, const struct heads *k,
                        const struct heads *v, int t, int h, double scale, double *out)
{
    const struct f_tensor *sinks = f_find(f, layer, "attn_sinks.weight");
    double cap = f->arch->cap_scores ? f_or(f->said.cap_scores, f->arch->cap_scores_at) : 0;
    double sum = sinks ? exp((double)sinks->data[h]) : 0;
    int of = h / (q->n / k->n);
    memset(out, 0, (size_t)v->dim * sizeof *out);
    for (int i = 0; i < F_TOKENS; i++) {
        double score = 0;
        if (!sees(f, layer, t, i))
            continue;
        for (int j = 0; j < k->dim; j++)
            score += q->at[t][h * q->dim + j] * k->at[i][of * k->dim + j] * scale;
        if (cap > 0)
            score = cap * tanh(score / cap);
        if (alibi(f) > 0)
            score -= slope(alibi(f), h) * (t - i);
        sum += exp(score);
        for (int j = 0; j < v->dim; j++)
            out[j] += exp(score) * v->at[i][of * v->dim + j];
    }
    for (int j = 0; j < v->dim; j++)
        out[j] /= sum;
}

static double score_scale(const struct f_file *f, int layer)
{
    const struct f_arch *a = f->arch;
    double said = a->score_key ? f->said.score_scale_grok : f->said.score_scale;
    if (!isnan(said))
        return said;
    if (a->over_dim)
        return 1 / f_or(f->said.key_length, F_EMBD / F_HEADS);
    if (a->score_scale > 0)
        return a->score_scale;
    if (a->wide_layers && a->wide_layers == f_depth(f))
        return 1 / sqrt(F_EMBD / F_HEADS);
    return 1 / sqrt(f_dim_k(f, layer));
}

static double warmth(const struct f_file *f, int position)
{
    double length = f_or(f->said.temperature_length, f_or(f->said.original, F_CONTEXT));
    if (!f->arch->temperature)
        return 1;
    return 1 + f_or(f->said.temperature, 0) * log(1 + floor(position / length));
}

/* ---- heads ---- */

static void make(const struct f_file *f, int layer, char which, const double *x, double *out, int n)
{
    char name[] = "attn_?", bias_name[] = "attn_?.bias";
    name[5] = bias_name[5] = which;
    const struct f_tensor *bias = f_find(f, layer, bias_name);
    if (f_find(f, layer, "attn_qkv.weight")) {
        int dim_k = f_dim_k(f, layer);
        int first = which == 'q' ? 0 : which == 'k' ? F_HEADS * dim_k : (F_HEADS + F_HEADS_KV) * dim_k;
        f_project(f, layer, "attn_qkv", x, first, n, true, false, out);
        for (int i = 0; i < n && bias && !f_find(f, layer, "attn_qkv.bias"); i++)
            out[i] += (double)bias->data[i];
    } else {
        f_project(f, layer, name, x, 0, n, true, false, out);
    }
    for (int i = 0; i < n && !isnan(f->said.clamp); i++)
        out[i] = fmin(fmax(out[i], -f->said.clamp), f->said.clamp);
}

static void head_norm(const struct f_file *f, int layer, const char *name, double *x, int n, int dim)
{
    char weight[32], bias[32];
    strcat(strcpy(weight, name), ".weight");
    strcat(strcpy(bias, name), ".bias");
    const struct f_tensor *w = f_find(f, layer, weight), *b = f_find(f, layer, bias);
    enum f_qk kind = f->arch->qk;
    if (kind == F_QK_NONE || ((kind == F_QK_HEAD_IF_THERE || kind == F_QK_WHOLE_IF_THERE) && !w))
        return;
    bool whole = kind == F_QK_WHOLE || kind == F_QK_WHOLE_IF_THERE, one = w && w->rows == 1 && !whole;
    for (int h = 0; h < (whole ? 1 : n); h++) {
        double *at = x + h * dim, mean = 0;
        int len = whole ? n * dim : dim;
        bool rms = f_uses_rms(f) || kind == F_QK_LENGTH;
        for (int i = 0; i < len && !rms; i++)
            mean += at[i] / len;
        for (int i = 0; i < len; i++)
            at[i] -= mean;
        f_rms(at, len, rms ? f->rms_eps : f->layer_eps);
        for (int i = 0; i < len && kind != F_QK_LENGTH; i++) {
            int of = one ? i : h * dim + i;
            at[i] = at[i] * (double)w->data[of] + (b && !rms ? (double)b->data[of] : 0);
        }
    }
}

/* Queries or keys, normalized and rotated. */
static void place(const struct f_file *f, int layer, const char *norm, int position, double *x, int n, int dim)
{
    bool does = turns(f, layer);
    enum f_qk kind = f->arch->qk;
    if (kind != F_QK_HEAD_LATE && kind != F_QK_LENGTH)
        head_norm(f, layer, norm, x, n, dim);
    for (int h = 0; h < n && does; h++)
        turn(f, f_is_local(f, layer), position, x + h * dim);
    if (kind == F_QK_HEAD_LATE || (kind == F_QK_LENGTH && does))
        head_norm(f, layer, norm, x, n, dim);
}

/* The source layer of the keys and values that `layer` reads. */
static int source(const struct f_file *f, int layer)
{
    if (!f->arch->shares_layers)
        return layer;
    bool some = f->arch->shares_layers > 0 && f->arch->shares_layers < f->n_layer;
    int own = some ? f->arch->shares_layers : f->n_layer;
    own = isnan(f->said.shared_layers) ? own : f->n_layer - (int)f->said.shared_layers;
    if (layer < own)
        return layer;
    int from = own - 1;
    while (f_is_local(f, from) != f_is_local(f, layer))
        from--;
    return from;
}

static struct heads kept_k[F_MAX_LAYERS], kept_v[F_MAX_LAYERS];

static void make_keys(const struct f_file *f, int layer, const double *x)
{
    struct heads *k = &kept_k[layer], *v = &kept_v[layer];
    *k = (struct heads){.n = F_HEADS_KV, .dim = f_dim_k(f, layer)};
    *v = (struct heads){.n = F_HEADS_KV, .dim = f_dim_v(f, layer)};
    for (int t = 0; t < F_TOKENS; t++) {
        make(f, layer, 'k', x + t * F_EMBD, k->at[t], k->n * k->dim);
        if (f->arch->value_is_key && !f_find(f, layer, "attn_v.weight") && !f_find(f, layer, "attn_qkv.weight"))
            memcpy(v->at[t], k->at[t], sizeof v->at[t]);
        else
            make(f, layer, 'v', x + t * F_EMBD, v->at[t], v->n * v->dim);
        for (int h = 0; h < v->n && f->arch->value_norm; h++)
            f_rms(v->at[t] + h * v->dim, v->dim, f->rms_eps);
        place(f, layer, "attn_k_norm", t, k->at[t], k->n, k->dim);
    }
}

static void open_gate(const struct f_file *f, int layer, const double *x, double *heads, int dim)
{
    const struct f_tensor *w = f_find(f, layer, "attn_gate.weight");
    for (int i = 0; w && i < w->rows; i++) {
        double sum = 0;
        for (int j = 0; j < F_EMBD; j++)
            sum += (double)w->data[i * F_EMBD + j] * x[j];
        sum = f->arch->gate_softplus ? f_softplus(sum) : f_sigmoid(sum);
        for (int j = 0; j < dim * F_HEADS / w->rows; j++)
            heads[i * (dim * F_HEADS / w->rows) + j] *= sum;
    }
}

void f_attend(const struct f_file *f, int layer, const double *x, double *out)
{
    static struct heads q;
    int from = source(f, layer), dim = f_dim_k(f, layer);
    if (f->lacks[layer % f->n_layer] == F_NO_KEYS) {
        for (int t = 0; t < F_TOKENS; t++)
            f_project(f, layer, "attn_output", x + t * F_EMBD, 0, 0, false, false, out + t * F_EMBD);
        return;
    }
    if (from == layer)
        make_keys(f, layer, x);
    const struct heads *k = &kept_k[from], *v = &kept_v[from];
    q = (struct heads){.n = F_HEADS, .dim = dim};
    for (int t = 0; t < F_TOKENS; t++) {
        double heads[MAX_ROW], open[2 * MAX_ROW];
        if (f->arch->query_gate) {
            make(f, layer, 'q', x + t * F_EMBD, open, 2 * F_HEADS * dim);
            for (int i = 0; i < F_HEADS * dim; i++)
                q.at[t][i] = open[i / dim * 2 * dim + i % dim];
        } else {
            make(f, layer, 'q', x + t * F_EMBD, q.at[t], F_HEADS * dim);
        }
        place(f, layer, "attn_q_norm", t, q.at[t], F_HEADS, dim);
        for (int i = 0; i < F_HEADS * dim; i++)
            q.at[t][i] *= warmth(f, t);
        for (int h = 0; h < F_HEADS; h++)
            attend_head(f, layer, &q, k, v, t, h, score_scale(f, layer), heads + h * v->dim);
        for (int i = 0; i < F_HEADS * dim && f->arch->query_gate; i++)
            heads[i] *= f_sigmoid(open[i / dim * 2 * dim + dim + i % dim]);
        open_gate(f, layer, x + t * F_EMBD, heads, v->dim);
        if (f_find(f, layer, "attn_sub_norm.weight"))
            f_norm(f, layer, "attn_sub_norm", F_HEADS * v->dim, heads, heads);
        f_project(f, layer, "attn_output", heads, 0, 0, true, false, out + t * F_EMBD);
        for (int i = 0; i < F_EMBD; i++)
            out[t * F_EMBD + i] *= f_or(f->said.value_scale, 1);
    }
}

/* ---- latent attention: DeepSeek-V2, 2024, with keys and values of all heads expanded ---- */

struct latent {
    int rank, k, v, turning, still;
};

static struct latent latent_of(const struct f_file *f)
{
    struct latent d = {.rank = (int)f->said.kv_rank, .turning = n_turning(f, false)};
    d.k = (int)f_or(f->said.key_length_mla, f_or(f->said.key_length, F_EMBD / F_HEADS));
    d.v = (int)f_or(f->said.value_length_mla, f_or(f->said.value_length, f_or(f->said.key_length, F_EMBD / F_HEADS)));
    d.still = d.k - d.turning;
    return d;
}

static void latent_query(const struct f_file *f, int layer, const double *x, double *q)
{
    double low[MAX_ROW];
    if (!f_find(f, layer, "attn_q_a.weight")) {
        f_project(f, layer, "attn_q", x, 0, 0, true, false, q);
        return;
    }
    int rank = f_project(f, layer, "attn_q_a", x, 0, 0, true, false, low);
    f_norm(f, layer, "attn_q_a_norm", rank, low, low);
    f_project(f, layer, "attn_q_b", low, 0, 0, true, false, q);
}

/* Key (without its rotated part) and value of a head, from the latent vector. */
static void expand(const struct f_file *f, int layer, const struct latent *d, int h, const double *latent, double *k,
                   double *v)
{
    const struct f_tensor *k_b = f_find(f, layer, "attn_k_b.weight"), *v_b = f_find(f, layer, "attn_v_b.weight");
    double both[MAX_ROW];
    if (!k_b) {
        f_project(f, layer, "attn_kv_b", latent, h * (d->still + d->v), d->still + d->v, true, false, both);
        memcpy(k, both, (size_t)d->still * sizeof *k);
        memcpy(v, both + d->still, (size_t)d->v * sizeof *v);
        return;
    }
    for (int i = 0; i < d->still; i++) {
        k[i] = 0;
        for (int j = 0; j < d->rank; j++)
            k[i] += (double)k_b->data[(h * d->rank + j) * d->still + i] * latent[j];
    }
    for (int i = 0; i < d->v; i++) {
        v[i] = 0;
        for (int j = 0; j < d->rank; j++)
            v[i] += (double)v_b->data[(h * d->v + i) * d->rank + j] * latent[j];
    }
}

void f_latent_attend(const struct f_file *f, int layer, const double *x, double *out)
{
    static struct heads q, k, v;
    struct latent d = latent_of(f);
    double scale = magnitude(f) * temperature(factor_of(f), multiplier(f));
    scale = scale * scale / sqrt(d.k);
    q = (struct heads){.n = F_HEADS, .dim = d.k};
    k = q;
    v = (struct heads){.n = F_HEADS, .dim = d.v};
    for (int t = 0; t < F_TOKENS; t++) {
        double kv[MAX_ROW];
        latent_query(f, layer, x + t * F_EMBD, q.at[t]);
        f_project(f, layer, "attn_kv_a_mqa", x + t * F_EMBD, 0, 0, true, false, kv);
        if (turns(f, layer))
            turn(f, false, t, kv + d.rank);
        f_norm(f, layer, "attn_kv_a_norm", d.rank, kv, kv);
        for (int h = 0; h < F_HEADS; h++) {
            expand(f, layer, &d, h, kv, k.at[t] + h * d.k, v.at[t] + h * d.v);
            memcpy(k.at[t] + h * d.k + d.still, kv + d.rank, (size_t)d.turning * sizeof *kv);
            if (turns(f, layer))
                turn(f, false, t, q.at[t] + h * d.k + d.still);
        }
        for (int i = 0; i < F_HEADS * d.k; i++)
            q.at[t][i] *= warmth(f, t);
    }
    for (int t = 0; t < F_TOKENS; t++) {
        double heads[MAX_ROW];
        for (int h = 0; h < F_HEADS; h++)
            attend_head(f, layer, &q, &k, &v, t, h, scale, heads + h * d.v);
        f_project(f, layer, "attn_output", heads, 0, 0, true, false, out + t * F_EMBD);
    }
}
