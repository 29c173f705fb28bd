/* Samples: see sample.h. */
#include "monitor/sample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *words;
} subjects[PN_N_SUBJECTS] = {
#define PN_SUBJECT(id, name_, words_) {name_, words_},
#include "monitor/subjects.def"
#undef PN_SUBJECT
};

const char *pn_subject_name(enum pn_subject subject)
{
    return subjects[subject].name;
}

const char *pn_subject_words(enum pn_subject subject)
{
    return subjects[subject].words;
}

void pn_sample_clear(struct pn_sample *s)
{
    memset(s, 0, sizeof *s);
    double *const numbers[] = {
        &s->seconds,          &s->load,       &s->throttled,  &s->memory_total, &s->memory_used,
        &s->memory_available, &s->swap_total, &s->swap_used,  &s->pressure,     &s->pressure_full,
        &s->pressure_level,   &s->read_rate,  &s->write_rate, &s->memory_rate};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = NAN;
}

void pn_sample_absent(struct pn_sample *s, enum pn_subject subject, const char *format, ...)
{
    if (*s->why[subject] || *s->source[subject])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->why[subject], sizeof s->why[subject], format, args);
    va_end(args);
}

void pn_sample_present(struct pn_sample *s, enum pn_subject subject, const char *source)
{
    *s->why[subject] = '\0';
    if (!*s->source[subject])
        snprintf(s->source[subject], sizeof s->source[subject], "%s", source);
}

void pn_sample_name(char *out, size_t size, const char *name)
{
    size_t n = 0;
    for (; n + 1 < size && name[n] && name[n] != '\n'; n++)
        out[n] = name[n] >= ' ' && name[n] <= '~' ? name[n] : '?';
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

void pn_sample_add(struct pn_sensors *list, const char *name, double value, double most)
{
    if (list->n == PN_MAX_SENSORS || !isfinite(value))
        return;
    struct pn_sensor *r = &list->at[list->n++];
    pn_sample_name(r->name, sizeof r->name, name);
    r->value = value;
    r->most = most;
}

int pn_sample_cluster(struct pn_sample *s, const char *name)
{
    for (int i = 0; i < s->n_clusters; i++)
        if (strcmp(s->cluster[i].name, name) == 0)
            return i;
    if (s->n_clusters == PN_MAX_CLUSTERS)
        return -1;
    struct pn_cluster *c = &s->cluster[s->n_clusters];
    *c = (struct pn_cluster){.load = NAN, .hz = NAN, .most_hz = NAN};
    pn_sample_name(c->name, sizeof c->name, name);
    return s->n_clusters++;
}

/* The mean of `member` of the cores of a cluster (-1: all) that have it. */
static double mean(const struct pn_sample *s, int cluster, size_t member)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < s->n_cores; i++) {
        double v;
        memcpy(&v, (const char *)&s->core[i] + member, sizeof v);
        if ((cluster >= 0 && s->core[i].cluster != cluster) || isnan(v))
            continue;
        sum += v;
        n++;
    }
    return n ? sum / n : NAN;
}

void pn_sample_sum_cores(struct pn_sample *s)
{
    for (int c = 0; c < s->n_clusters; c++) {
        s->cluster[c].n_cores = 0;
        for (int i = 0; i < s->n_cores; i++)
            s->cluster[c].n_cores += s->core[i].cluster == c;
        s->cluster[c].load = mean(s, c, offsetof(struct pn_core, load));
        s->cluster[c].hz = mean(s, c, offsetof(struct pn_core, hz));
    }
    s->load = mean(s, -1, offsetof(struct pn_core, load));
}
