/* Optimizers: see optimizer.h. */
#include "train/optimizer.h"

#include "train/words.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const char *const names[PN_OPTIMIZER_COUNT] = {
#define PN_OPTIMIZER(NAME, name) [PN_OPTIMIZER_##NAME] = #name,
    PN_OPTIMIZERS
#undef PN_OPTIMIZER
};

enum pn_optimizer_kind pn_optimizer_find(const char *name)
{
    int i = 0;
    while (i < PN_OPTIMIZER_COUNT && strcmp(names[i], name) != 0)
        i++;
    return (enum pn_optimizer_kind)i;
}

/* ---- settings ---- */

#define OF(optimizer) (1u << PN_OPTIMIZER_##optimizer)
#define ADAMS         (OF(ADAM) | OF(ADAMW))

/* n: numbers; 0: true or false. The numbers are in [least, most]. */
static const struct setting {
    const char *name;
    unsigned optimizers;
    int n;
    size_t offset;
    double least, most;
} settings[] = {
    {"betas", ADAMS, 2, offsetof(struct pn_optimizer, betas), 0, 0x1.fffffffffffffp-1},
    {"eps", ADAMS, 1, offsetof(struct pn_optimizer, eps), 0, 1},
    {"bias_correction", ADAMS, 0, offsetof(struct pn_optimizer, bias_correction), 0, 0},
    {"weight_decay", OF(SGD) | OF(ADAMW) | OF(MUON) | OF(ADAFACTOR), 1, offsetof(struct pn_optimizer, weight_decay), 0,
     1e6},
    {"momentum", OF(SGD) | OF(MUON), 1, offsetof(struct pn_optimizer, momentum), 0, 1},
    {"dampening", OF(SGD), 1, offsetof(struct pn_optimizer, dampening), 0, 1},
    {"nesterov", OF(SGD) | OF(MUON), 0, offsetof(struct pn_optimizer, nesterov), 0, 0},
    {"ns_steps", OF(MUON), 1, offsetof(struct pn_optimizer, ns_steps), 1, 100},
    {"eps", OF(ADAFACTOR), 2, offsetof(struct pn_optimizer, eps), 0, 1},
    {"clip_threshold", OF(ADAFACTOR), 1, offsetof(struct pn_optimizer, clip_threshold), 1e-30, 1e30},
    {"decay_rate", OF(ADAFACTOR), 1, offsetof(struct pn_optimizer, decay_rate), -10, 0},
    {"beta_1", OF(ADAFACTOR), 1, offsetof(struct pn_optimizer, beta_1), 0, 1},
    {"scale_parameter", OF(ADAFACTOR), 0, offsetof(struct pn_optimizer, scale_parameter), 0, 0},
    {"relative_step", OF(ADAFACTOR), 0, offsetof(struct pn_optimizer, relative_step), 0, 0},
    {"warmup_init", OF(ADAFACTOR), 0, offsetof(struct pn_optimizer, warmup_init), 0, 0},
};

static struct pn_optimizer defaults(enum pn_optimizer_kind kind)
{
    struct pn_optimizer o = {.kind = kind};
    bool adam = kind == PN_OPTIMIZER_ADAM || kind == PN_OPTIMIZER_ADAMW;
    if (adam)
        o = (struct pn_optimizer){.kind = kind, .betas = {0.9, 0.999}, .eps = {1e-8, 0}};
    if (kind == PN_OPTIMIZER_ADAMW)
        o.weight_decay = 0.01;
    if (kind == PN_OPTIMIZER_MUON)
        o = (struct pn_optimizer){
            .kind = kind, .momentum = 0.95, .weight_decay = 0.01, .nesterov = true, .ns_steps = 5};
    if (kind == PN_OPTIMIZER_ADAFACTOR)
        o = (struct pn_optimizer){.kind = kind,
                                  .eps = {1e-30, 1e-3},
                                  .clip_threshold = 1,
                                  .decay_rate = -0.8,
                                  .beta_1 = -1,
                                  .scale_parameter = true,
                                  .relative_step = true};
    return o;
}

static bool read_truth(const struct pn_train_word *w, bool *out)
{
    *out = w->value_len == 4 && memcmp(w->value, "true", 4) == 0;
    return *out || (w->value_len == 5 && memcmp(w->value, "false", 5) == 0);
}

static pantry_status read_setting(const struct setting *s, const struct pn_train_word *w, struct pn_optimizer *out,
                                  struct pantry_error *err)
{
    double value[2] = {0, 0};
    void *at = (char *)out + s->offset;
    if (s->n == 0)
        return read_truth(w, at)
                   ? PANTRY_OK
                   : pn_fail(err, PANTRY_INVALID, "optimizer_config: %s is \"%.*s\" (allowed: true, false)", s->name,
                             (int)w->value_len, w->value);
    bool good = pn_train_word_numbers(w, value, s->n);
    for (int i = 0; i < s->n; i++)
        good &= value[i] >= s->least && value[i] <= s->most;
    if (!good)
        return pn_fail(err, PANTRY_INVALID, "optimizer_config: %s is \"%.*s\" (allowed: %s from %g to %g)", s->name,
                       (int)w->value_len, w->value, s->n == 1 ? "a number" : "two numbers", s->least, s->most);
    memcpy(at, value, (size_t)s->n * sizeof *value);
    return PANTRY_OK;
}

pantry_status pn_optimizer_read(enum pn_optimizer_kind kind, const char *config, struct pn_optimizer *out,
                                struct pantry_error *err)
{
    struct pn_train_word w;
    *out = defaults(kind);
    while (config && pn_train_word_next(&config, &w)) {
        const struct setting *found = NULL;
        const char *dot = w.name ? memchr(w.name, '.', w.name_len) : NULL;
        if (dot) { /* of one optimizer */
            size_t n = (size_t)(dot - w.name);
            bool mine = n == strlen(names[kind]) && memcmp(w.name, names[kind], n) == 0;
            w.name += n + 1;
            w.name_len -= n + 1;
            if (!mine)
                continue;
        }
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
            if (settings[i].optimizers >> kind & 1 && pn_train_word_is(&w, settings[i].name))
                found = &settings[i];
        if (!found)
            return pn_fail(err, PANTRY_INVALID, "optimizer_config: %s has no setting \"%.*s\"", names[kind],
                           (int)(w.name ? w.name_len : w.value_len), w.name ? w.name : w.value);
        pantry_status status = read_setting(found, &w, out, err);
        if (status)
            return status;
    }
    if (kind == PN_OPTIMIZER_SGD && out->nesterov && (out->momentum <= 0 || out->dampening > 0))
        return pn_fail(err, PANTRY_INVALID, "optimizer_config: nesterov needs a momentum, and a dampening of 0");
    return PANTRY_OK;
}

struct pn_train_keeps pn_optimizer_keeps(const struct pn_optimizer *o)
{
    switch (o->kind) {
    case PN_OPTIMIZER_SGD:
        return (struct pn_train_keeps){.n_moments = o->momentum > 0};
    case PN_OPTIMIZER_MUON:
        return (struct pn_train_keeps){.n_moments = 1};
    case PN_OPTIMIZER_ADAFACTOR:
        return (struct pn_train_keeps){.n_moments = o->beta_1 >= 0, .factors = true};
    default:
        return (struct pn_train_keeps){.n_moments = 2};
    }
}

/* ---- updates of single numbers ---- */

double pn_optimizer_clip(struct pn_train_params *p, double limit)
{
    double sum = 0;
    for (size_t i = 0; i < p->len; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            sum += (double)p->data[i].grad[j] * (double)p->data[i].grad[j];
    double length = sqrt(sum);
    if (!(limit > 0) || length <= limit)
        return length;
    for (size_t i = 0; i < p->len; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            p->data[i].grad[j] *= (float)(limit / length);
    return length;
}

static void sgd(const struct pn_optimizer *o, struct pn_train_param *one, float rate)
{
    float decay = (float)o->weight_decay, momentum = (float)o->momentum, fresh = (float)(1 - o->dampening);
    float *v = one->moment[0];
    for (size_t i = 0; i < one->n; i++) {
        float g = one->grad[i] + decay * one->values[i];
        if (momentum > 0) {
            v[i] = momentum * v[i] + fresh * g;
            g = o->nesterov ? g + momentum * v[i] : v[i];
        }
        one->values[i] -= rate * g;
    }
}

static void adam(const struct pn_optimizer *o, struct pn_train_param *one, float rate, int64_t number)
{
    float *m = one->moment[0], *v = one->moment[1];
    float b1 = (float)o->betas[0], b2 = (float)o->betas[1], eps = (float)o->eps[0];
    float f1 = (float)(1 - o->betas[0]), f2 = (float)(1 - o->betas[1]), kept = 1 - rate * (float)o->weight_decay;
    float c1 = rate, c2 = 1;
    if (o->bias_correction) {
        c1 = (float)((double)rate / (1 - pow(o->betas[0], (double)number)));
        c2 = (float)(1 / sqrt(1 - pow(o->betas[1], (double)number)));
    }
    for (size_t i = 0; i < one->n; i++) {
        float g = one->grad[i], w = one->values[i] * kept;
        m[i] = b1 * m[i] + f1 * g;
        v[i] = b2 * v[i] + f2 * g * g;
        one->values[i] = w - c1 * m[i] / (sqrtf(v[i]) * c2 + eps);
    }
}

pantry_status pn_optimizer_step(const struct pn_optimizer *o, struct pn_train_params *p, float rate, int64_t number,
                                struct pantry_error *err)
{
    if (o->kind == PN_OPTIMIZER_MUON)
        return pn_muon(o, p, rate, err);
    if (o->kind == PN_OPTIMIZER_ADAFACTOR)
        return pn_adafactor(o, p, rate, number, err);
    for (size_t i = 0; i < p->len; i++)
        if (o->kind == PN_OPTIMIZER_SGD)
            sgd(o, &p->data[i], rate);
        else
            adam(o, &p->data[i], rate, number);
    return PANTRY_OK;
}
