/* Feed-forward blocks of one token as formulas: gated and plain, mixtures of experts. See formula.h. */
#include "formula.h"

#include <string.h>

enum { MAX_FF = 64 };

/* ---- blocks without a router ---- */

static double gated(const struct f_file *f, double gate, double up, double limit)
{
    const struct f_arch *a = f->arch;
    if (a->limit_always > 0)
        return f_apply(a->act, fmin(gate, a->limit_always)) * (1 + fmin(fmax(up, -a->limit_always), a->limit_always));
    if (!(limit > 0))
        return f_apply(a->act, gate) * up;
    up = fmin(fmax(up, -limit), limit);
    return a->limit_before ? f_apply(a->act, fmin(gate, limit)) * up : fmin(f_apply(a->act, gate), limit) * up;
}

static int project(const struct f_file *f, int layer, const char *name, const double *x, double *out)
{
    return f_project(f, layer, name, x, 0, 0, f->arch->ffn_scales, true, out);
}

/* max(x - (mean + by * deviation), 0). */
static void cut_off(double *x, int n, double by)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++)
        x[i] = fmax(x[i] - mean - by * sqrt(square), 0);
}

static void gated_mlp(const struct f_file *f, int layer, const double *x, double *out)
{
    double gate[MAX_FF], up[MAX_FF];
    int n = f_find(f, layer, "ffn_up.weight")->rows;
    if (f_find(f, layer, "ffn_gate.weight")) {
        project(f, layer, "ffn_gate", x, gate);
        project(f, layer, "ffn_up", x, up);
    } else { /* both in one */
        n /= 2;
        f_project(f, layer, "ffn_up", x, 0, n, f->arch->ffn_scales, false, gate);
        f_project(f, layer, "ffn_up", x, n, n, f->arch->ffn_scales, false, up);
    }
    if (layer < f->arch->sparse_layers)
        cut_off(gate, n, f->arch->sparse_by);
    for (int i = 0; i < n; i++)
        gate[i] = gated(f, gate[i], up[i], f_or(f->said.limit, 0));
    if (f_find(f, layer, "ffn_sub_norm.weight"))
        f_norm(f, layer, "ffn_sub_norm", n, gate, gate);
    project(f, layer, "ffn_down", gate, out);
}

/* Huang & Schlag, 2024: p x^2 + b x above 0, n (exp(x) - 1) - n x + b x below. */
static double xielu(const struct f_file *f, double x)
{
    double b = f->xielu[2], p = f_softplus(f->xielu[0]), n = b + f_softplus(f->xielu[1]);
    return x > 0 ? p * x * x + b * x : n * (exp(x) - 1) - n * x + b * x;
}

static void plain_mlp(const struct f_file *f, int layer, const double *x, double *out)
{
    double h[MAX_FF];
    const struct f_tensor *divisor = f_find(f, layer, "ffn.act.scales");
    int n = project(f, layer, "ffn_up", x, h);
    for (int i = 0; i < n; i++) {
        h[i] = f->arch->ffn == F_XIELU ? xielu(f, h[i]) : f_apply(f->arch->act, h[i]);
        h[i] /= divisor && f->arch->ffn != F_XIELU ? (double)divisor->data[i] : 1;
    }
    project(f, layer, "ffn_down", h, out);
}

/* ---- routing ---- */

struct route {
    int n, expert[F_EXPERTS];
    double weight[F_EXPERTS];
};

static int gate_of(const struct f_file *f)
{
    return f->arch->gate < 0 ? -f->arch->gate : (int)f_or(f->said.gate, f->arch->gate);
}

static void softmax(double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp(x[i]);
    for (int i = 0; i < n; i++)
        x[i] = exp(x[i]) / sum;
}

/* Only the groups with the highest best expert (two best experts, unless the gate is softmax) take part. */
static void close_groups(const struct f_file *f, double *rank)
{
    int groups = (int)f_or(f->said.groups, 0), size = groups ? F_EXPERTS / groups : 0, closed = 0;
    double worth[F_EXPERTS];
    if (groups < 2)
        return;
    for (int g = 0; g < groups; g++) {
        double best = -INFINITY, next = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            next = rank[e] > best ? best : fmax(next, rank[e]);
            best = fmax(best, rank[e]);
        }
        worth[g] = gate_of(f) == F_SOFTMAX ? best : best + next;
    }
    for (; closed < groups - (int)f->said.groups_used; closed++) {
        int worst = 0;
        for (int g = 1; g < groups; g++)
            worst = worth[g] < worth[worst] ? g : worst;
        worth[worst] = INFINITY;
        for (int e = worst * size; e < (worst + 1) * size; e++)
            rank[e] = -INFINITY;
    }
}

static struct route route_of(const struct f_file *f, int layer, double *logits)
{
    struct route r = {.n = F_USED};
    double rank[F_EXPERTS], sum = 0, scale = f_or(f->said.weights_scale, 1);
    const struct f_tensor *bias = f_find(f, layer, "exp_probs_b.bias");
    int gate = gate_of(f);
    bool norm = f->arch->renormalized == 2 ? f_or(f->said.renormalize, 0) != 0 : f->arch->renormalized != 0;
    if (gate == F_SOFTMAX)
        softmax(logits, F_EXPERTS);
    for (int e = 0; e < F_EXPERTS; e++) {
        logits[e] = gate == F_SIGMOID ? f_sigmoid(logits[e]) : logits[e];
        rank[e] = logits[e] + (bias ? (double)bias->data[e] : 0);
    }
    close_groups(f, rank);
    for (int i = 0; i < r.n; i++) {
        int best = 0;
        for (int e = 1; e < F_EXPERTS; e++)
            best = rank[e] > rank[best] ? e : best;
        rank[best] = -INFINITY;
        r.expert[i] = best;
        r.weight[i] = logits[best];
    }
    if (gate == F_SOFTMAX_LATE)
        softmax(r.weight, r.n);
    for (int i = 0; i < r.n; i++)
        sum += r.weight[i];
    for (int i = 0; i < r.n; i++)
        r.weight[i] *= scale / (norm ? sum : 1);
    return r;
}

/* ---- experts ---- */

/* A row of rows first .. first + n - 1 of an expert's matrix, with the expert's scale and bias. */
static void expert_project(const struct f_file *f, int layer, const char *name, int e, const double *x, int first,
                           int n, double *out)
{
    char full[40];
    const struct f_tensor *w = f_find(f, layer, strcat(strcpy(full, name), ".weight"));
    const struct f_tensor *b = f_find(f, layer, strcat(strcpy(full, name), ".bias"));
    const struct f_tensor *s = f->arch->ffn_scales ? f_find(f, layer, strcat(strcpy(full, name), ".scale")) : NULL;
    for (int i = 0; i < n; i++) {
        out[i] = 0;
        for (int j = 0; j < w->cols; j++)
            out[i] += (double)w->data[(e * w->rows + first + i) * w->cols + j] * x[j];
        out[i] = out[i] * (s ? (double)s->data[e] : 1) + (b ? (double)b->data[e * w->rows + first + i] : 0);
    }
}

static void expert(const struct f_file *f, int layer, int e, double weight, const double *x, double *out)
{
    double gate[MAX_FF], up[MAX_FF], by = f->arch->weigh_inputs ? weight : 1;
    const struct f_tensor *both = f_find(f, layer, "ffn_gate_up_exps.weight"),
                          *down = f_find(f, layer, "ffn_down_exps.weight");
    int n = F_FF_EXPERT;
    bool has_gate = both || f_find(f, layer, "ffn_gate_exps.weight");
    if (both) {
        expert_project(f, layer, "ffn_gate_up_exps", e, x, 0, n, gate);
        expert_project(f, layer, "ffn_gate_up_exps", e, x, n, n, up);
    } else {
        if (has_gate)
            expert_project(f, layer, "ffn_gate_exps", e, x, 0, n, gate);
        expert_project(f, layer, "ffn_up_exps", e, x, 0, n, up);
    }
    for (int i = 0; i < n; i++)
        up[i] = has_gate ? gated(f, gate[i] * by, up[i] * by, f_or(f->said.limit_experts, 0))
                         : f_apply(f->arch->act, up[i] * by);
    double y[MAX_FF];
    expert_project(f, layer, "ffn_down_exps", e, up, 0, down->rows, y);
    for (int i = 0; i < down->rows; i++)
        out[i] += y[i] * (f->arch->weigh_inputs ? 1 : weight);
}

static void product(const struct f_tensor *w, const double *x, double *out)
{
    for (int i = 0; i < w->rows; i++) {
        out[i] = 0;
        for (int j = 0; j < w->cols; j++)
            out[i] += (double)w->data[i * w->cols + j] * x[j];
    }
}

/* Experts may work on a shorter vector. */
static void experts(const struct f_file *f, int layer, const double *seen, const double *x, double *out)
{
    double logits[F_EXPERTS], low[F_EMBD], y[F_EMBD] = {0};
    const struct f_tensor *down = f_find(f, layer, "ffn_latent_down.weight");
    project(f, layer, "ffn_gate_inp", seen, logits);
    struct route r = route_of(f, layer, logits);
    if (down)
        product(down, x, low);
    for (int i = 0; i < r.n; i++)
        expert(f, layer, r.expert[i], r.weight[i], down ? low : x, y);
    if (down)
        product(f_find(f, layer, "ffn_latent_up.weight"), y, out);
    else
        memcpy(out, y, sizeof y);
}

static void shared_expert(const struct f_file *f, int layer, const double *x, double *out)
{
    double up[MAX_FF], gate[MAX_FF], open = 1;
    int n_up = project(f, layer, "ffn_up_shexp", x, up), n = f_find(f, layer, "ffn_down_shexp.weight")->cols;
    const double *first = up, *second = up + n;
    bool has_gate = n_up == 2 * n;
    if (f_find(f, layer, "ffn_gate_shexp.weight")) {
        project(f, layer, "ffn_gate_shexp", x, gate);
        first = gate;
        second = up;
        has_gate = true;
    }
    double h[MAX_FF];
    for (int i = 0; i < n; i++)
        h[i] = has_gate ? gated(f, first[i], second[i], f_or(f->said.limit, 0)) : f_apply(f->arch->act, up[i]);
    project(f, layer, "ffn_down_shexp", h, out);
    if (f_find(f, layer, "ffn_gate_inp_shexp.weight")) {
        project(f, layer, "ffn_gate_inp_shexp", x, &open);
        open = f_sigmoid(open);
    }
    for (int i = 0; i < F_EMBD; i++)
        out[i] *= open;
}

bool f_has_router(const struct f_file *f, int layer)
{
    return f->arch->ffn >= F_MOE && f_find(f, layer, "ffn_gate_inp.weight");
}

static void moe(const struct f_file *f, int layer, const double *x, const double *input, double *out)
{
    double more[F_EMBD];
    experts(f, layer, f->arch->router_sees_input ? input : x, x, out);
    if (f->arch->root_half_with_mlp && f_find(f, layer, "ffn_up.weight")) {
        gated_mlp(f, layer, x, more);
        for (int i = 0; i < F_EMBD; i++)
            out[i] = (out[i] + more[i]) / sqrt(2);
    }
    if (!f_find(f, layer, "ffn_up_shexp.weight"))
        return;
    shared_expert(f, layer, x, more);
    for (int i = 0; i < F_EMBD; i++)
        out[i] = (out[i] + more[i]) * (f->arch->half_with_shared ? 0.5 : 1);
}

/* Snowflake Arctic: experts of a norm of the layer's input, beside the feed-forward block. */
static void moe_of_input(const struct f_file *f, int layer, const double *x, const double *input, double *out)
{
    double normed[F_EMBD], y[F_EMBD];
    gated_mlp(f, layer, x, out);
    f_norm(f, layer, "ffn_norm_exps", F_EMBD, input, normed);
    experts(f, layer, normed, normed, y);
    for (int i = 0; i < F_EMBD; i++)
        out[i] += y[i];
}

/* Gemma 4: experts and a block, each normalized before and after; the router sees the stream's direction. */
static void moe_and_mlp(const struct f_file *f, int layer, const double *x, const double *stream, double *out)
{
    double seen[F_EMBD], own[F_EMBD], y[F_EMBD];
    const struct f_tensor *scale = f_find(f, layer, "ffn_gate_inp.scale");
    gated_mlp(f, layer, x, out);
    memcpy(seen, stream, sizeof seen);
    f_rms(seen, F_EMBD, f->rms_eps);
    for (int i = 0; i < F_EMBD; i++)
        seen[i] *= (double)scale->data[i] / sqrt(F_EMBD);
    double logits[F_EXPERTS];
    product(f_find(f, layer, "ffn_gate_inp.weight"), seen, logits);
    struct route r = route_of(f, layer, logits);
    f_norm(f, layer, "pre_ffw_norm_2", F_EMBD, stream, own);
    memset(y, 0, sizeof y);
    for (int i = 0; i < r.n; i++)
        expert(f, layer, r.expert[i], r.weight[i], own, y);
    f_norm(f, layer, "post_ffw_norm_1", F_EMBD, out, out);
    f_norm(f, layer, "post_ffw_norm_2", F_EMBD, y, y);
    for (int i = 0; i < F_EMBD; i++)
        out[i] += y[i];
}

void f_feed_forward(const struct f_file *f, int layer, const double *x, const double *stream, const double *input,
                    double *out)
{
    enum f_ffn kind = f->arch->ffn;
    bool routed = f_has_router(f, layer);
    if (kind == F_UP_DOWN || kind == F_XIELU || (kind == F_MOE_PLAIN_DENSE && !routed))
        plain_mlp(f, layer, x, out);
    else if (!routed)
        gated_mlp(f, layer, x, out);
    else if (kind == F_MOE_AND_MLP)
        moe_and_mlp(f, layer, x, stream, out);
    else if (kind == F_MOE_OF_INPUT)
        moe_of_input(f, layer, x, input, out);
    else
        moe(f, layer, x, input, out);
}
