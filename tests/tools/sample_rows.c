/* Draws tokens for rows of logits, for comparison with a reference (tests/diff/samplers.py): reads a JSON object per
 * line, {"options": {...}, "rows": [[logit, ...], ...], "recent": [id, ...]}, and prints for it
 * [{"id", "p": {id: probability}}, ...], one entry per row. The token drawn from a row is a recent one of the next. The
 * options have the names of store/sampling.h, besides "seed" and "samplers". */
#define _POSIX_C_SOURCE 200809L
#include "engine/sample.h"
#include "store/parameters.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RECENT = 4096 };

static void fail(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static json_t *probabilities(const struct pn_sampler *s)
{
    json_t *p = json_object();
    double sum = 0;
    for (int i = 0; s->collected && i < s->n; i++)
        sum += (double)s->p[i];
    for (int i = 0; s->collected && i < s->n; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", s->candidates[i].id);
        json_object_set_new(p, id, json_real((double)s->p[i] / sum));
    }
    return p;
}

static json_t *run(const json_t *given)
{
    static int32_t recent[MAX_RECENT];
    struct pantry_error err;
    struct pn_sampler s;
    struct pn_parameters o = {.sampling = pantry_sampling_default(), .more = pantry_samplers_default()};
    const json_t *rows = json_object_get(given, "rows"), *ids = json_object_get(given, "recent");
    size_t n = json_array_size(json_array_get(rows, 0)), n_recent = json_array_size(ids);
    if (pn_parameters_read(json_object_get(given, "options"), &o, &err))
        fail(err.text);
    o.more.order = o.order;
    o.sampling.more = &o.more;
    for (size_t i = 0; i < n_recent; i++)
        recent[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    if (pn_sampler_init(&s, &o.sampling, (int)n, &err) ||
        pn_sampler_set_text(&s, &o.sampling, NULL, (int)n_recent, MAX_RECENT, &err))
        fail(err.text);
    float *logits = malloc(n * sizeof *logits);
    json_t *out = json_array();
    for (size_t r = 0; logits && r < json_array_size(rows) && n_recent < MAX_RECENT; r++) {
        for (size_t i = 0; i < n; i++)
            logits[i] = (float)json_number_value(json_array_get(json_array_get(rows, r), i));
        int32_t id = pn_sampler_choose(&s, logits, recent, (int)n_recent);
        json_array_append_new(out, json_pack("{s:i, s:o}", "id", id, "p", probabilities(&s)));
        recent[n_recent++] = id;
    }
    free(logits);
    pn_sampler_free(&s);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        json_t *given = json_loads(line, 0, NULL);
        if (!given)
            fail("not JSON");
        json_t *out = run(given);
        json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(given);
        json_decref(out);
    }
    free(line);
    return 0;
}
