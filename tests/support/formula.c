/* Decoders as formulas: layers, norms and products. See formula.h. */
#include "formula.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- contents of a file ---- */

static bool is_ignored(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

/* The slot of that name, or the empty slot for it. */
static const int *slot_of(const struct f_file *f, const char *name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    size_t at = h % F_SLOTS;
    while (f->slots[at] && strcmp(f->tensors[f->slots[at] - 1].name, name) != 0)
        at = (at + 1) % F_SLOTS;
    return &f->slots[at];
}

const struct f_tensor *f_find(const struct f_file *f, int layer, const char *name)
{
    char full[64];
    if (is_ignored(f->arch->ignored, name))
        return NULL;
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer % f->n_layer, name);
    const int *slot = slot_of(f, full);
    return *slot ? &f->tensors[*slot - 1] : NULL;
}

void f_add(struct f_file *f, const char *name, int n_mat, int rows, int cols, const float *data)
{
    struct f_tensor *t = &f->tensors[f->n_tensors++];
    *t = (struct f_tensor){.n_mat = n_mat, .rows = rows, .cols = cols, .data = data};
    snprintf(t->name, sizeof t->name, "%s", name);
    f->slots[slot_of(f, name) - f->slots] = f->n_tensors;
}

static const struct f_tensor *part(const struct f_file *f, int layer, const char *name, const char *suffix)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, suffix);
    return f_find(f, layer, full);
}

int f_depth(const struct f_file *f)
{
    return f->n_layer * (int)f_or(f->said.loops, 1);
}

/* ---- arithmetic ---- */

double f_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double f_softplus(double x)
{
    return log(1 + exp(x));
}

double f_apply(enum f_act act, double x)
{
    switch (act) {
    case F_SILU:
        return x * f_sigmoid(x);
    case F_GELU:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case F_QUICK:
        return x * f_sigmoid(1.702 * x);
    case F_RELU:
        return x > 0 ? x : 0;
    default:
        return x > 0 ? x * x : 0;
    }
}

void f_rms(double *x, int n, double eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        x[i] /= sqrt(sum / n + eps);
}

static void center(double *x, int n, double eps)
{
    double mean = 0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        x[i] -= mean;
    f_rms(x, n, eps); /* the variance is the mean square after the subtraction */
}

bool f_uses_rms(const struct f_file *f)
{
    return f->arch->norms == F_RMS || (f->arch->norms == F_RMS_IF_SAID && !isnan(f->rms_eps));
}

void f_norm(const struct f_file *f, int layer, const char *name, int n, const double *x, double *out)
{
    const struct f_tensor *w = f->arch->bare_norms ? NULL : part(f, layer, name, "weight"),
                          *b = part(f, layer, name, "bias");
    memmove(out, x, (size_t)n * sizeof *out);
    if (f_uses_rms(f))
        f_rms(out, n, f->rms_eps);
    else
        center(out, n, f->layer_eps);
    for (int i = 0; i < n; i++)
        out[i] = out[i] * (w ? (double)w->data[i] : 1) + (b ? (double)b->data[i] : 0);
}

int f_project(const struct f_file *f, int layer, const char *name, const double *x, int first, int n, bool scale,
              bool late, double *out)
{
    const struct f_tensor *w = part(f, layer, name, "weight"), *b = part(f, layer, name, "bias"),
                          *s = scale ? part(f, layer, name, "scale") : NULL;
    double by = s ? (double)s->data[0] : 1;
    n = n ? n : w->rows;
    for (int i = 0; i < n; i++) {
        double sum = 0, bias = b ? (double)b->data[first + i] : 0;
        for (int j = 0; j < w->cols; j++)
            sum += (double)w->data[(first + i) * w->cols + j] * x[j];
        out[i] = late ? (sum + bias) * by : sum * by + bias;
    }
    return n;
}

/* ---- the stream ---- */

typedef double rows[F_TOKENS][F_EMBD];

static void norm_rows(const struct f_file *f, int layer, const char *name, rows x, rows out)
{
    for (int t = 0; t < F_TOKENS; t++)
        f_norm(f, layer, name, F_EMBD, x[t], out[t]);
}

static double residual_scale(const struct f_file *f)
{
    return f_or(f->said.residual_scale,
                f->arch->residual_per_root > 0 ? f->arch->residual_per_root / sqrt(f_depth(f)) : 1);
}

static void join(const struct f_file *f, rows x, rows y)
{
    for (int t = 0; t < F_TOKENS; t++)
        for (int i = 0; i < F_EMBD; i++)
            x[t][i] += y[t][i] * residual_scale(f);
}

static const char *name_or(const char *name, const char *usual)
{
    return name ? name : usual;
}

static void mix(const struct f_file *f, int layer, rows x, rows out)
{
    rows more;
    if (f->blocks[layer % f->n_layer] == F_RECURS)
        f_recur(f, layer, x[0], out[0]);
    else if (f->arch->mixer == F_LATENT)
        f_latent_attend(f, layer, x[0], out[0]);
    else
        f_attend(f, layer, x[0], out[0]);
    if (!f->arch->recurs_beside)
        return;
    f_recur(f, layer, x[0], more[0]);
    for (int t = 0; t < F_TOKENS; t++)
        for (int i = 0; i < F_EMBD; i++)
            out[t][i] += more[t][i];
}

static bool beside(const struct f_file *f, int layer)
{
    enum f_order order = f->arch->order;
    return order == F_BESIDE || (order == F_BESIDE_IF_SAID && f_or(f->said.beside, 1) != 0) ||
           (order == F_BESIDE_IF_ONE_NORM && !part(f, layer, "ffn_norm", "weight"));
}

/* One norm, or one per part. */
static void beside_layer(const struct f_file *f, int layer, rows x)
{
    rows a, m, y, z;
    const char *second = name_or(f->arch->before_ffn, "ffn_norm");
    norm_rows(f, layer, part(f, layer, "attn_norm_2", "weight") ? "attn_norm_2" : "attn_norm", x, a);
    norm_rows(f, layer, part(f, layer, second, "weight") ? second : "attn_norm", x, m);
    mix(f, layer, a, y);
    for (int t = 0; t < F_TOKENS; t++)
        f_feed_forward(f, layer, m[t], x[t], x[t], z[t]);
    join(f, x, y);
    join(f, x, z);
}

static const char *after_ffn(const struct f_file *f, int layer)
{
    const char *name = f->arch->after_ffn;
    return name && part(f, layer, name, "weight") ? name : "post_ffw_norm";
}

static void one_block(const struct f_file *f, int layer, rows x)
{
    rows y, z;
    norm_rows(f, layer, "attn_norm", x, y);
    if (f->blocks[layer] != F_FEEDS)
        mix(f, layer, y, z);
    for (int t = 0; t < F_TOKENS && f->blocks[layer] == F_FEEDS; t++)
        f_feed_forward(f, layer, y[t], x[t], x[t], z[t]);
    join(f, x, z);
}

static void two_blocks(const struct f_file *f, int layer, rows x)
{
    enum f_order order = f->arch->order;
    bool before = order != F_POST, after = order == F_POST || order == F_SANDWICH;
    rows y, z, input;
    memcpy(input, x, sizeof input);
    if (f->lacks[layer % f->n_layer] != F_NO_ATTENTION) {
        memcpy(y, x, sizeof y);
        if (before)
            norm_rows(f, layer, "attn_norm", x, y);
        mix(f, layer, y, z);
        if (after)
            norm_rows(f, layer, name_or(f->arch->after_attention, "post_attention_norm"), z, z);
        join(f, x, z);
    }
    if (f->lacks[layer % f->n_layer] != F_NO_FFN) {
        memcpy(y, x, sizeof y);
        if (before)
            norm_rows(f, layer, name_or(f->arch->before_ffn, "ffn_norm"), x, y);
        for (int t = 0; t < F_TOKENS; t++)
            f_feed_forward(f, layer, y[t], x[t], input[t], z[t]);
        if (after)
            norm_rows(f, layer, after_ffn(f, layer), z, z);
        join(f, x, z);
    }
}

static void layer_of(const struct f_file *f, int layer, const int *ids, rows embeddings, rows x)
{
    if (f->arch->one_block)
        one_block(f, layer, x);
    else
        two_blocks(f, layer, x);
    for (int t = 0; t < F_TOKENS; t++) {
        double more[F_EMBD] = {0};
        if (f_layer_input(f, layer, ids[t], embeddings[t], x[t], more))
            for (int i = 0; i < F_EMBD; i++)
                x[t][i] += more[i];
    }
    const struct f_tensor *s = f_find(f, layer, "layer_output_scale.weight");
    for (int t = 0; t < F_TOKENS && s; t++)
        for (int i = 0; i < F_EMBD; i++)
            x[t][i] *= (double)s->data[0];
}

static void embed(const struct f_file *f, const int *ids, rows x)
{
    const struct f_tensor *w = f_find(f, -1, "token_embd.weight"), *p = f_find(f, -1, "position_embd.weight");
    double by = f_or(f->said.embedding_scale, f->arch->embedding_times > 0 ? f->arch->embedding_times : 1);
    if (f->arch->embedding_root)
        by *= sqrt(F_EMBD);
    for (int t = 0; t < F_TOKENS; t++) {
        for (int i = 0; i < F_EMBD; i++)
            x[t][i] = (double)w->data[ids[t] * F_EMBD + i] * by + (p ? (double)p->data[t * F_EMBD + i] : 0);
        if (f->arch->embedding_norm)
            f_norm(f, -1, "token_embd_norm", F_EMBD, x[t], x[t]);
    }
}

static void head(const struct f_file *f, const double *x, double *logits)
{
    const struct f_arch *a = f->arch;
    bool own = !a->tied && part(f, -1, "output", "weight");
    double scale = f_or(f->said.logit_scale, a->logit_width > 0 ? (double)F_EMBD / a->logit_width : a->logit_scale);
    double cap = a->cap_logits ? f_or(f->said.cap_logits, a->cap_logits_at) : 0;
    f_project(f, -1, own ? "output" : "token_embd", x, 0, F_VOCAB, true, false, logits);
    for (int i = 0; i < F_VOCAB; i++) {
        if (a->logits && scale > 0)
            logits[i] = a->logits > 0 ? logits[i] * scale : logits[i] / scale;
        if (cap > 0)
            logits[i] = cap * tanh(logits[i] / cap);
    }
}

void f_logits(const struct f_file *f, const int *ids, double *logits)
{
    rows x, embeddings;
    embed(f, ids, x);
    memcpy(embeddings, x, sizeof embeddings);
    if (f->arch->mixer == F_ALTERNATING)
        f_alternate(f, ids, x[0]);
    for (int layer = 0; layer < f_depth(f) && f->arch->mixer != F_ALTERNATING; layer++) {
        if (beside(f, layer))
            beside_layer(f, layer, x);
        else
            layer_of(f, layer, ids, embeddings, x);
        bool loop_ends = (layer + 1) % f->n_layer == 0 && layer + 1 < f_depth(f);
        if (loop_ends && f_or(f->said.no_loop_norm, 0) == 0)
            norm_rows(f, -1, "output_norm", x, x);
    }
    norm_rows(f, -1, name_or(f->arch->last, "output_norm"), x, x);
    for (int t = 0; t < F_TOKENS; t++)
        head(f, x[t], logits + t * F_VOCAB);
}
