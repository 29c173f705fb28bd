/* Correcting predictions by own runs: see calibrate.h. The corrections are factors, averaged by their logarithms with
 * weights that fall with the square of the distance (kernel regression, Nadaraya and Watson, 1964). */
#include "monitor/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double uncorrected = 0.5; /* error without runs */
static const double least = 0.05;      /* error at best: runs differ by that much from day to day */
static const double other_type = 1.5;  /* distance between storage types, like that of models of 4.5 times the size */
static const double near = 0.15;       /* distances below this make little difference */

static double step_seconds(const struct pn_limits *l, const struct pn_work *w)
{
    return w->bytes / l->decode + w->n_layer * l->layer_seconds;
}

/* The weights are read once at least. */
static double prompt_seconds(const struct pn_limits *l, const struct pn_work *w)
{
    double computed = 2 * w->multiplies / l->operations, read = step_seconds(l, w);
    return computed > read ? computed : read;
}

struct mean {
    double weight, sum, squares, nearest;
};

static void add(struct mean *m, double ratio, double distance)
{
    double weight = 1 / (near * near + distance * distance), value = log(ratio);
    m->weight += weight;
    m->sum += weight * value;
    m->squares += weight * value * value;
    if (distance < m->nearest)
        m->nearest = distance;
}

/* The factor, and how far it may be off: the runs disagree, or they are far away. */
static double factor_of(const struct mean *m, double *error)
{
    double mean = m->sum / m->weight, variance = m->squares / m->weight - mean * mean;
    double spread = exp(sqrt(variance > 0 ? variance : 0)) - 1, far = 0.1 * m->nearest;
    *error = least + spread + far < uncorrected ? least + spread + far : uncorrected;
    return exp(mean);
}

static double distance_of(double a, double b, bool same_type)
{
    double d = log(a / b), t = same_type ? 0 : other_type;
    return sqrt(d * d + t * t);
}

void pn_predict(const struct pn_limits *l, const struct pn_run *runs, size_t n, const struct pn_work *work,
                struct pn_prediction *out)
{
    struct mean step = {.nearest = INFINITY}, prompt = {.nearest = INFINITY};
    bool quiet = false;
    double per_token = work->multiplies / work->n_prompt;
    *out = (struct pn_prediction){.step_seconds = step_seconds(l, work),
                                  .prompt_seconds = prompt_seconds(l, work),
                                  .step_error = uncorrected,
                                  .prompt_error = uncorrected};
    for (size_t i = 0; i < n; i++)
        quiet |= !runs[i].busy && strcmp(runs[i].device, l->device) == 0;
    for (size_t i = 0; i < n; i++) {
        const struct pn_run *r = &runs[i];
        if (strcmp(r->device, l->device) != 0 || (quiet && r->busy))
            continue;
        bool same = strcmp(r->work.type, work->type) == 0;
        double before = step.nearest;
        add(&step, r->step_seconds / step_seconds(l, &r->work), distance_of(r->work.bytes, work->bytes, same));
        add(&prompt, r->prompt_seconds / prompt_seconds(l, &r->work),
            distance_of(r->work.multiplies / r->work.n_prompt, per_token, same));
        if (step.nearest < before)
            memcpy(out->nearest, r->work.model, sizeof out->nearest);
        out->n_runs++;
    }
    if (!out->n_runs)
        return;
    out->step_seconds *= factor_of(&step, &out->step_error);
    out->prompt_seconds *= factor_of(&prompt, &out->prompt_error);
}

json_t *pn_run_json(const struct pn_run *r)
{
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:f, s:f, s:b}", "device", r->device, "model", r->work.model,
                     "type", r->work.type, "bytes", r->work.bytes, "multiplies", r->work.multiplies, "layers",
                     r->work.n_layer, "prompt", r->work.n_prompt, "step_seconds", r->step_seconds, "prompt_seconds",
                     r->prompt_seconds, "busy", r->busy);
}

/* Copies a text that fits; false: it is missing or too long. */
static bool read_text(const json_t *json, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(json, key));
    size_t n = text ? strlen(text) : size;
    if (n >= size)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

bool pn_run_read(const json_t *json, struct pn_run *out)
{
    *out = (struct pn_run){0};
    struct pn_work *w = &out->work;
    json_int_t layers = json_integer_value(json_object_get(json, "layers"));
    json_int_t prompt = json_integer_value(json_object_get(json, "prompt"));
    if (!read_text(json, "device", out->device, sizeof out->device) ||
        !read_text(json, "model", w->model, sizeof w->model) || !read_text(json, "type", w->type, sizeof w->type) ||
        layers < 0 || layers > 100000 || prompt < 1 || prompt > 1 << 24)
        return false;
    w->n_layer = (int)layers;
    w->n_prompt = (int)prompt;
    w->bytes = json_number_value(json_object_get(json, "bytes"));
    w->multiplies = json_number_value(json_object_get(json, "multiplies"));
    out->step_seconds = json_number_value(json_object_get(json, "step_seconds"));
    out->prompt_seconds = json_number_value(json_object_get(json, "prompt_seconds"));
    out->busy = json_is_true(json_object_get(json, "busy"));
    return w->bytes > 0 && w->multiplies > 0 && out->step_seconds > 0 && out->prompt_seconds > 0;
}
