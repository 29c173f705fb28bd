/* Recurrent blocks as formulas, per token: state spaces, short convolutions, delta rules. See formula.h. */
#include "formula.h"

#include <string.h>

enum { MAX_WIDE = 160, DIM_V = F_SSM_INNER / F_SSM_HEADS };
typedef double wide[F_TOKENS][MAX_WIDE];

/* silu(y), y[t][c] = sum_i w[c][i] x[t - (k - 1) + i][c] plus a bias; without SiLU where `plain`. */
static void convolve(const struct f_file *f, int layer, const char *name, bool plain, int n, wide x, wide out)
{
    char full[48];
    const struct f_tensor *w = f_find(f, layer, strcat(strcpy(full, name), ".weight"));
    const struct f_tensor *b = f_find(f, layer, strcat(strcpy(full, name), ".bias"));
    for (int t = F_TOKENS - 1; t >= 0; t--)
        for (int c = 0; c < n; c++) {
            double y = b ? (double)b->data[c] : 0;
            for (int i = 0; i < F_CONV; i++)
                if (t - (F_CONV - 1) + i >= 0)
                    y += (double)w->data[c * F_CONV + i] * x[t - (F_CONV - 1) + i][c];
            out[t][c] = plain ? y : f_apply(F_SILU, y);
        }
}

/* The product with the weight alone: no scale, no bias. */
static void plain_product(const struct f_file *f, int layer, const char *name, const double *x, double *out)
{
    char full[32];
    const struct f_tensor *w = f_find(f, layer, strcat(strcpy(full, name), ".weight"));
    for (int i = 0; i < w->rows; i++) {
        out[i] = 0;
        for (int j = 0; j < w->cols; j++)
            out[i] += (double)w->data[i * w->cols + j] * x[j];
    }
}

/* ---- state spaces ---- */

/* Gu & Dao, Mamba, 2023: every channel has a step of its own and a decay for each value of its state. */
static void mamba(const struct f_file *f, int layer, const double *x, double *out)
{
    enum { N = F_SSM_STATE, INNER = F_SSM_INNER, RANK = F_SSM_HEADS };
    static wide all, y;
    static double state[INNER][N];
    const struct f_tensor *a = f_find(f, layer, "ssm_a"), *d = f_find(f, layer, "ssm_d");
    static const char *const norms[] = {"ssm_dt_norm", "ssm_b_norm", "ssm_c_norm"};
    static const int first[] = {0, RANK, RANK + N}, length[] = {RANK, N, N};
    for (int t = 0; t < F_TOKENS; t++)
        f_project(f, layer, "ssm_in", x + t * F_EMBD, 0, 0, true, false, all[t]);
    convolve(f, layer, "ssm_conv1d", false, INNER, all, y);
    memset(state, 0, sizeof state);
    for (int t = 0; t < F_TOKENS; t++) {
        double dbc[RANK + 2 * N], dt[INNER], made[INNER];
        f_project(f, layer, "ssm_x", y[t], 0, 0, false, false, dbc);
        for (int i = 0; i < 3; i++) {
            char full[32];
            const struct f_tensor *w = f_find(f, layer, strcat(strcpy(full, norms[i]), ".weight"));
            if (w || f_or(f->said.plain_norms, 0) != 0)
                f_rms(dbc + first[i], length[i], f->rms_eps);
            for (int j = 0; w && j < length[i]; j++)
                dbc[first[i] + j] *= (double)w->data[j];
        }
        f_project(f, layer, "ssm_dt", dbc, 0, 0, true, false, dt);
        for (int c = 0; c < INNER; c++) {
            double step = f_softplus(dt[c]);
            made[c] = (double)d->data[c] * y[t][c];
            for (int i = 0; i < N; i++) {
                state[c][i] = exp(step * (double)a->data[c * N + i]) * state[c][i] + step * y[t][c] * dbc[RANK + i];
                made[c] += state[c][i] * dbc[RANK + N + i];
            }
            made[c] *= f_apply(F_SILU, all[t][INNER + c]);
        }
        f_project(f, layer, "ssm_out", made, 0, 0, true, false, out + t * F_EMBD);
    }
}

/* Dao & Gu, Mamba 2, 2024: heads with one decay each; b and c are shared by the heads of a group. */
static void scan(const struct f_file *f, int layer, wide mixed, wide dt, wide y)
{
    const struct f_tensor *a = f_find(f, layer, "ssm_a"), *d = f_find(f, layer, "ssm_d");
    int per_group = F_SSM_HEADS / F_SSM_GROUPS;
    static double state[F_SSM_INNER][F_SSM_STATE];
    memset(state, 0, sizeof state);
    for (int t = 0; t < F_TOKENS; t++)
        for (int c = 0; c < F_SSM_INNER; c++) {
            int h = c / DIM_V, g = h / per_group;
            const double *b = mixed[t] + F_SSM_INNER + g * F_SSM_STATE, *out = b + F_SSM_GROUPS * F_SSM_STATE;
            y[t][c] = (double)d->data[h] * mixed[t][c];
            for (int i = 0; i < F_SSM_STATE; i++) {
                state[c][i] = exp(dt[t][h] * (double)a->data[h]) * state[c][i] + dt[t][h] * mixed[t][c] * b[i];
                y[t][c] += state[c][i] * out[i];
            }
        }
}

static void mamba2(const struct f_file *f, int layer, const double *x, double *out)
{
    enum { MIXED = F_SSM_INNER + 2 * F_SSM_GROUPS * F_SSM_STATE, GROUP = F_SSM_INNER / F_SSM_GROUPS };
    static wide all, mixed, dt, y;
    const struct f_tensor *step = f_find(f, layer, "ssm_dt.bias"), *norm = f_find(f, layer, "ssm_norm.weight");
    for (int t = 0; t < F_TOKENS; t++) {
        f_project(f, layer, "ssm_in", x + t * F_EMBD, 0, 0, true, false, all[t]);
        memcpy(mixed[t], all[t] + F_SSM_INNER, MIXED * sizeof(double));
        for (int h = 0; h < F_SSM_HEADS; h++)
            dt[t][h] = f_softplus(all[t][F_SSM_INNER + MIXED + h] + (double)step->data[h]);
    }
    convolve(f, layer, "ssm_conv1d", false, MIXED, mixed, mixed);
    scan(f, layer, mixed, dt, y);
    for (int t = 0; t < F_TOKENS; t++) {
        for (int c = 0; c < F_SSM_INNER; c++)
            y[t][c] *= f_apply(F_SILU, all[t][c]);
        for (int g = 0; norm && g < F_SSM_GROUPS; g++)
            f_rms(y[t] + g * GROUP, GROUP, f->rms_eps);
        for (int c = 0; norm && c < F_SSM_INNER; c++)
            y[t][c] *= (double)norm->data[c];
        f_project(f, layer, "ssm_out", y[t], 0, 0, true, false, out + t * F_EMBD);
    }
}

/* Liquid AI, LFM2, 2025: out(c * conv(b * x)). */
static void short_convolution(const struct f_file *f, int layer, const double *x, double *out)
{
    static wide all, opened, y;
    for (int t = 0; t < F_TOKENS; t++) {
        plain_product(f, layer, "shortconv.in_proj", x + t * F_EMBD, all[t]);
        for (int c = 0; c < F_EMBD; c++)
            opened[t][c] = all[t][c] * all[t][2 * F_EMBD + c];
    }
    convolve(f, layer, "shortconv.conv", true, F_EMBD, opened, y);
    for (int t = 0; t < F_TOKENS; t++) {
        for (int c = 0; c < F_EMBD; c++)
            y[t][c] *= all[t][F_EMBD + c];
        plain_product(f, layer, "shortconv.out_proj", y[t], out + t * F_EMBD);
    }
}

/* ---- delta rules: Yang et al., Gated Delta Networks, 2024 ---- */

static void make_unit(double *x, int n, double eps)
{
    double sum = eps;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        x[i] /= sqrt(sum);
}

/* One head and token: s decays by key channel, learns v at k, is read at q: y (dim_v). */
static void learn(double *s, int dim_k, int dim_v, const double *q, const double *k, const double *v,
                  const double *decay, double beta, double *y)
{
    for (int j = 0; j < dim_v; j++) {
        double known = 0;
        for (int i = 0; i < dim_k; i++) {
            s[j * dim_k + i] *= decay[i];
            known += s[j * dim_k + i] * k[i];
        }
        y[j] = 0;
        for (int i = 0; i < dim_k; i++) {
            s[j * dim_k + i] += beta * (v[j] - known) * k[i];
            y[j] += s[j * dim_k + i] * q[i] / sqrt(dim_k);
        }
    }
}

static void delta_product(const struct f_file *f, int layer, const char *name, const double *x, double *out)
{
    if (f->arch->recurrent_scales)
        f_project(f, layer, name, x, 0, 0, true, false, out);
    else
        plain_product(f, layer, name, x, out);
}

/* Decay and learning rate of each value head. */
static void delta_gates(const struct f_file *f, int layer, const double *x, double *alpha, double *beta)
{
    enum { PER_KEY = F_SSM_HEADS / F_SSM_GROUPS };
    const struct f_tensor *step = f_find(f, layer, "ssm_dt.bias"), *a = f_find(f, layer, "ssm_a");
    double both[2 * F_SSM_HEADS];
    if (f_find(f, layer, "ssm_ba.weight")) { /* key head by key head: the betas of its value heads, their alphas */
        delta_product(f, layer, "ssm_ba", x, both);
        for (int h = 0; h < F_SSM_HEADS; h++) {
            beta[h] = both[h / PER_KEY * 2 * PER_KEY + h % PER_KEY];
            alpha[h] = both[h / PER_KEY * 2 * PER_KEY + PER_KEY + h % PER_KEY];
        }
    } else {
        delta_product(f, layer, "ssm_alpha", x, alpha);
        delta_product(f, layer, "ssm_beta", x, beta);
    }
    for (int h = 0; h < F_SSM_HEADS; h++) {
        alpha[h] = exp((double)a->data[h] * f_softplus(alpha[h] + (double)step->data[h]));
        beta[h] = f_sigmoid(beta[h]);
    }
}

static void delta(const struct f_file *f, int layer, const double *x, double *out)
{
    enum { K = F_SSM_STATE, KEYS = F_SSM_GROUPS * K, VALUES = F_SSM_INNER };
    static wide qkv, z, y;
    static double state[F_SSM_HEADS][DIM_V * K];
    const struct f_tensor *norm = f_find(f, layer, "ssm_norm.weight");
    for (int t = 0; t < F_TOKENS; t++) {
        delta_product(f, layer, "attn_qkv", x + t * F_EMBD, qkv[t]);
        delta_product(f, layer, "attn_gate", x + t * F_EMBD, z[t]);
    }
    convolve(f, layer, "ssm_conv1d", false, 2 * KEYS + VALUES, qkv, qkv);
    memset(state, 0, sizeof state);
    for (int t = 0; t < F_TOKENS; t++) {
        double alpha[F_SSM_HEADS], beta[F_SSM_HEADS], decay[K];
        delta_gates(f, layer, x + t * F_EMBD, alpha, beta);
        for (int h = 0; h < 2 * F_SSM_GROUPS; h++)
            make_unit(qkv[t] + h * K, K, f->rms_eps);
        for (int h = 0; h < F_SSM_HEADS; h++) {
            int of = f->arch->delta_neighbours ? h / (F_SSM_HEADS / F_SSM_GROUPS) : h % F_SSM_GROUPS;
            double *head = y[t] + h * DIM_V;
            for (int i = 0; i < K; i++)
                decay[i] = alpha[h];
            learn(state[h], K, DIM_V, qkv[t] + of * K, qkv[t] + KEYS + of * K, qkv[t] + 2 * KEYS + h * DIM_V, decay,
                  beta[h], head);
            f_rms(head, DIM_V, f->rms_eps);
            for (int i = 0; i < DIM_V; i++)
                head[i] *= (double)norm->data[i] * f_apply(F_SILU, z[t][h * DIM_V + i]);
        }
        delta_product(f, layer, "ssm_out", y[t], out + t * F_EMBD);
    }
}

/* Kimi Linear, 2025: a decay per key channel, and separate convolutions for queries, keys and values. */
static void kimi_delta(const struct f_file *f, int layer, const double *x, double *out)
{
    enum { DIM = F_KDA_DIM, N = F_SSM_HEADS * DIM };
    static wide parts[3];
    static double state[F_SSM_HEADS][DIM * DIM];
    static const char *const weights[] = {"attn_q", "attn_k", "attn_v"}, *const kernels[] = {"ssm_conv1d_q",
                                                                                             "ssm_conv1d_k",
                                                                                             "ssm_conv1d_v"};
    const struct f_tensor *step = f_find(f, layer, "ssm_dt.bias"), *a = f_find(f, layer, "ssm_a"),
                          *norm = f_find(f, layer, "ssm_norm.weight");
    for (int i = 0; i < 3; i++) {
        for (int t = 0; t < F_TOKENS; t++)
            plain_product(f, layer, weights[i], x + t * F_EMBD, parts[i][t]);
        convolve(f, layer, kernels[i], false, N, parts[i], parts[i]);
    }
    memset(state, 0, sizeof state);
    for (int t = 0; t < F_TOKENS; t++) {
        double low[DIM], decay[N], beta[F_SSM_HEADS], z[N], y[N];
        plain_product(f, layer, "ssm_f_a", x + t * F_EMBD, low);
        plain_product(f, layer, "ssm_f_b", low, decay);
        plain_product(f, layer, "ssm_g_a", x + t * F_EMBD, low);
        plain_product(f, layer, "ssm_g_b", low, z);
        plain_product(f, layer, "ssm_beta", x + t * F_EMBD, beta);
        for (int i = 0; i < N; i++)
            decay[i] = exp((double)a->data[i / DIM] * f_softplus(decay[i] + (double)step->data[i]));
        for (int h = 0; h < F_SSM_HEADS; h++) {
            make_unit(parts[0][t] + h * DIM, DIM, f->rms_eps);
            make_unit(parts[1][t] + h * DIM, DIM, f->rms_eps);
            learn(state[h], DIM, DIM, parts[0][t] + h * DIM, parts[1][t] + h * DIM, parts[2][t] + h * DIM,
                  decay + h * DIM, f_sigmoid(beta[h]), y + h * DIM);
            f_rms(y + h * DIM, DIM, f->rms_eps);
        }
        for (int i = 0; i < N; i++)
            y[i] *= (double)norm->data[i % DIM] * f_sigmoid(z[i]);
        plain_product(f, layer, "attn_output", y, out + t * F_EMBD);
    }
}

void f_recur(const struct f_file *f, int layer, const double *x, double *out)
{
    static void (*const blocks[])(const struct f_file *, int, const double *,
                                  double *) = {[F_MAMBA] = mamba,
                                               [F_MAMBA2] = mamba2,
                                               [F_SHORT_CONVOLUTION] = short_convolution,
                                               [F_DELTA] = delta,
                                               [F_KIMI_DELTA] = kimi_delta};
    blocks[f->arch->recurrent](f, layer, x, out);
}
