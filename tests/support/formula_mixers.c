/* Rare parts as formulas: per-layer inputs, and streams of several rows (Gemma 3n). See formula.h. */
#include "formula.h"

#include <string.h>

enum { MAX_WIDE = 160, N_STREAMS = 3 };

/* ---- per-layer inputs ---- */

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

/* A row's product with a matrix of a stack, scaled to the length of `like`. */
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

/* The layer's result for the active row, after attention. */
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
