/* What few architectures have, as formulas: state spaces, short convolutions, what a token says to each layer, and
 * streams of several rows (Gemma 3n). See formula.h. */
#include "formula.h"

#include <string.h>

enum { MAX_WIDE = 160, N_STREAMS = 3 };

/* ---- recurrent blocks ---- */

/* y[t][c] = sum_i w[c][i] x[t - (k - 1) + i][c], plus a bias. */
static double convolved(const struct f_file *f, int layer, const char *weight, const char *bias, int k,
                        double x[F_TOKENS][MAX_WIDE], int t, int c)
{
    const struct f_tensor *w = f_find(f, layer, weight), *b = f_find(f, layer, bias);
    double y = b ? (double)b->data[c] : 0;
    for (int i = 0; i < k; i++)
        if (t - (k - 1) + i >= 0)
            y += (double)w->data[c * k + i] * x[t - (k - 1) + i][c];
    return y;
}

/* Dao & Gu, Mamba 2, 2024, token by token. */
static void scan(const struct f_file *f, int layer, double mixed[F_TOKENS][MAX_WIDE], double dt[F_TOKENS][MAX_WIDE],
                 double y[F_TOKENS][MAX_WIDE])
{
    const struct f_tensor *a = f_find(f, layer, "ssm_a"), *d = f_find(f, layer, "ssm_d");
    int per_head = F_SSM_INNER / F_SSM_HEADS, per_group = F_SSM_HEADS / F_SSM_GROUPS;
    static double state[F_SSM_INNER][F_SSM_STATE];
    memset(state, 0, sizeof state);
    for (int t = 0; t < F_TOKENS; t++)
        for (int c = 0; c < F_SSM_INNER; c++) {
            int h = c / per_head, g = h / per_group;
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
    static double all[F_TOKENS][MAX_WIDE], raw[F_TOKENS][MAX_WIDE], mixed[F_TOKENS][MAX_WIDE], dt[F_TOKENS][MAX_WIDE],
        y[F_TOKENS][MAX_WIDE];
    const struct f_tensor *step = f_find(f, layer, "ssm_dt.bias"), *norm = f_find(f, layer, "ssm_norm.weight");
    for (int t = 0; t < F_TOKENS; t++) {
        f_project(f, layer, "ssm_in", x + t * F_EMBD, 0, 0, true, false, all[t]);
        memcpy(raw[t], all[t] + F_SSM_INNER, MIXED * sizeof(double));
        for (int h = 0; h < F_SSM_HEADS; h++)
            dt[t][h] = f_softplus(all[t][F_SSM_INNER + MIXED + h] + (double)step->data[h]);
        for (int c = 0; c < MIXED; c++)
            mixed[t][c] =
                f_apply(F_SILU, convolved(f, layer, "ssm_conv1d.weight", "ssm_conv1d.bias", F_CONV, raw, t, c));
    }
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
    static double all[F_TOKENS][3 * F_EMBD], opened[F_TOKENS][MAX_WIDE];
    for (int t = 0; t < F_TOKENS; t++) {
        double y[F_EMBD];
        f_project(f, layer, "shortconv.in_proj", x + t * F_EMBD, 0, 0, false, false, all[t]);
        for (int c = 0; c < F_EMBD; c++)
            opened[t][c] = all[t][c] * all[t][2 * F_EMBD + c];
        for (int c = 0; c < F_EMBD; c++)
            y[c] = all[t][F_EMBD + c] *
                   convolved(f, layer, "shortconv.conv.weight", "shortconv.conv.bias", F_CONV, opened, t, c);
        f_project(f, layer, "shortconv.out_proj", y, 0, 0, false, false, out + t * F_EMBD);
    }
}

void f_recur(const struct f_file *f, int layer, const double *x, double *out)
{
    (f->arch->recurrent == F_SHORT_CONVOLUTION ? short_convolution : mamba2)(f, layer, x, out);
}

/* ---- what a token says to each layer ---- */

static void said_to(const struct f_file *f, int layer, int id, const double *embedding, double *out)
{
    double all[MAX_WIDE * 4];
    const struct f_tensor *table = f_find(f, -1, "per_layer_token_embd.weight"),
                          *weight = f_find(f, -1, "per_layer_proj_norm.weight");
    f_project(f, -1, "per_layer_model_proj", embedding, layer * F_SAID_WIDTH, F_SAID_WIDTH, true, false, all);
    for (int i = 0; i < F_SAID_WIDTH; i++)
        all[i] /= sqrt(F_EMBD);
    f_rms(all, F_SAID_WIDTH, f->rms_eps);
    for (int i = 0; i < F_SAID_WIDTH; i++) {
        double said = (double)table->data[id * table->cols + layer * F_SAID_WIDTH + i] * sqrt(F_SAID_WIDTH);
        out[i] = (all[i] * (double)weight->data[i] + said) / sqrt(2);
    }
}

bool f_layer_input(const struct f_file *f, int layer, int id, const double *embedding, const double *x, double *out)
{
    double said[F_SAID_WIDTH], gate[F_SAID_WIDTH];
    if (!f_find(f, -1, "per_layer_token_embd.weight"))
        return false;
    said_to(f, layer, id, embedding, said);
    f_project(f, layer, "inp_gate", x, 0, 0, true, false, gate);
    for (int i = 0; i < F_SAID_WIDTH; i++)
        said[i] *= f_apply(f->arch->act, gate[i]);
    f_project(f, layer, "proj", said, 0, 0, true, false, out);
    f_norm(f, layer, "post_norm", F_EMBD, out, out);
    return true;
}

/* ---- alternating updates: Gemma 3n ---- */

typedef double row[F_EMBD];

static double size_of(const double *x)
{
    double sum = 0;
    for (int i = 0; i < F_EMBD; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* A row's product with a matrix of a stack, stretched to the length of `like`. */
static void matched(const struct f_tensor *stack, int mat, const double *x, const double *like, double *out)
{
    for (int i = 0; i < F_EMBD; i++) {
        out[i] = 0;
        for (int j = 0; j < F_EMBD; j++)
            out[i] += (double)stack->data[(mat * F_EMBD + i) * F_EMBD + j] * x[j];
    }
    double by = size_of(like) / size_of(out);
    for (int i = 0; i < F_EMBD; i++)
        out[i] *= by;
}

static void modalities(const struct f_file *f, int layer, const double *x, double *out)
{
    row normed;
    f_norm(f, layer, "altup_router_norm", F_EMBD, x, normed);
    for (int i = 0; i < F_EMBD; i++)
        normed[i] /= F_EMBD;
    f_project(f, layer, "altup_router", normed, 0, 0, false, false, out);
    for (int i = 0; i < N_STREAMS; i++)
        out[i] = tanh(out[i]);
}

static void predict(const struct f_file *f, int layer, int active, row *streams, row *out)
{
    double seen[N_STREAMS], by[N_STREAMS * N_STREAMS];
    modalities(f, layer, streams[active], seen);
    f_project(f, layer, "altup_predict_coef", seen, 0, 0, false, false, by);
    for (int s = 0; s < N_STREAMS; s++)
        for (int i = 0; i < F_EMBD; i++) {
            out[s][i] = streams[s][i];
            for (int j = 0; j < N_STREAMS; j++)
                out[s][i] += by[s * N_STREAMS + j] * streams[j][i];
        }
}

static void correct(const struct f_file *f, int layer, int active, row *predicted, const double *made, row *out)
{
    double seen[N_STREAMS], by[N_STREAMS];
    modalities(f, layer, made, seen);
    f_project(f, layer, "altup_correct_coef", seen, 0, 0, false, false, by);
    for (int s = 0; s < N_STREAMS; s++)
        for (int i = 0; i < F_EMBD; i++)
            out[s][i] = predicted[s][i] + (by[s] + 1) * (made[i] - predicted[active][i]);
}

/* What the layer makes of the active row, with attention already done. */
static void make_row(const struct f_file *f, int layer, const double *active, const double *normed, double *attended,
                     double *out)
{
    row beside, x, y;
    double low[MAX_WIDE];
    f_project(f, layer, "laurel_l", normed, 0, 0, false, false, low);
    f_project(f, layer, "laurel_r", low, 0, 0, false, false, beside);
    f_norm(f, layer, "laurel_post_norm", F_EMBD, beside, beside);
    f_norm(f, layer, "post_attention_norm", F_EMBD, attended, attended);
    for (int i = 0; i < F_EMBD; i++)
        x[i] = (attended[i] + active[i] + beside[i] + normed[i]) / sqrt(2);
    f_norm(f, layer, "ffn_norm", F_EMBD, x, y);
    f_feed_forward(f, layer, y, y, y, out);
    f_norm(f, layer, "post_ffw_norm", F_EMBD, out, out);
    for (int i = 0; i < F_EMBD; i++)
        out[i] += x[i];
}

static void altup_layer(const struct f_file *f, int layer, const int *ids, row *embeddings,
                        row streams[F_TOKENS][N_STREAMS])
{
    static row predicted[F_TOKENS][N_STREAMS], normed[F_TOKENS], attended[F_TOKENS];
    int active = (int)f_or(f->said.active, 0);
    for (int t = 0; t < F_TOKENS; t++) {
        predict(f, layer, active, streams[t], predicted[t]);
        f_norm(f, layer, "attn_norm", F_EMBD, predicted[t][active], normed[t]);
    }
    f_attend(f, layer, normed[0], attended[0]);
    for (int t = 0; t < F_TOKENS; t++) {
        row made, scaled, more;
        make_row(f, layer, predicted[t][active], normed[t], attended[t], made);
        correct(f, layer, active, predicted[t], made, streams[t]);
        for (int i = 0; i < F_EMBD; i++)
            scaled[i] = streams[t][active][i] * (double)f_find(f, layer, "altup_correct_scale.weight")->data[i];
        f_layer_input(f, layer, ids[t], embeddings[t], scaled, more);
        for (int s = 1; s < N_STREAMS; s++)
            for (int i = 0; i < F_EMBD; i++)
                streams[t][s][i] += more[i];
    }
}

void f_alternate(const struct f_file *f, const int *ids, double *x)
{
    static row streams[F_TOKENS][N_STREAMS], embeddings[F_TOKENS];
    const struct f_tensor *in = f_find(f, -1, "altup_proj.weight"), *out = f_find(f, -1, "altup_unembd_proj.weight");
    memcpy(embeddings, x, sizeof embeddings);
    for (int t = 0; t < F_TOKENS; t++) {
        memcpy(streams[t][0], embeddings[t], sizeof(row));
        for (int s = 1; s < N_STREAMS; s++)
            matched(in, s - 1, embeddings[t], embeddings[t], streams[t][s]);
    }
    for (int layer = 0; layer < f->n_layer; layer++)
        altup_layer(f, layer, ids, embeddings, streams);
    for (int t = 0; t < F_TOKENS; t++) {
        row more;
        memcpy(x + t * F_EMBD, streams[t][0], sizeof(row));
        for (int s = 1; s < N_STREAMS; s++) {
            matched(out, s - 1, streams[t][s], streams[t][(int)f_or(f->said.active, 0)], more);
            for (int i = 0; i < F_EMBD; i++)
                x[t * F_EMBD + i] += more[i];
        }
        for (int i = 0; i < F_EMBD; i++)
            x[t * F_EMBD + i] /= N_STREAMS;
    }
}
