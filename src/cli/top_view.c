/* The page of `pantry top`: see top_view.h. */
#include "cli/top_view.h"

#include "cli/say.h"

#include <math.h>
#include <string.h>

enum {
    LABEL = 11,
    BAR = 16,
    CORE_BAR = 5,
    CORE_CELL = 15,
    CHART_MOST = 8,
    CHART_LEAST = 3,
    MOST_PRINTED_CORES = 32,
    TALL = 40,
    WIDE = 100
};

/* ---- pieces ---- */

static void label(struct pn_page *p, const char *text)
{
    pn_page_put(p, PN_TONE_BOLD, "%s", text);
    pn_page_to(p, LABEL);
}

static void percent(struct pn_page *p, double share)
{
    if (isnan(share))
        pn_page_put(p, PN_TONE_DIM, "    -");
    else
        pn_page_put(p, pn_tone_of(share), "%4.0f %%", fmin(share * 100, 9999));
}

static const char *bytes(struct pn_number *out, double v)
{
    return pn_cli_bytes(out, v > 0 ? (unsigned long long)fmin(v, 1e18) : 0);
}

static void hertz(struct pn_page *p, double hz, double most)
{
    if (isnan(hz))
        return;
    pn_page_put(p, PN_TONE_PLAIN, "  %.2f", hz / 1e9);
    if (!isnan(most))
        pn_page_put(p, PN_TONE_DIM, " of %.2f", most / 1e9);
    pn_page_put(p, PN_TONE_PLAIN, " GHz");
}

/* The history in the rest of the line. */
static void spark(const struct pn_top *t, struct pn_page *p, enum pn_top_figure figure, double most)
{
    int left = pn_page_left(p) - 2;
    if (left < 6 || t->history[figure].n < 2)
        return;
    pn_page_put(p, PN_TONE_PLAIN, "  ");
    pn_page_spark(p, &t->history[figure], most, left);
}

/* ---- parts ---- */

static void show_head(const struct pn_top *t, struct pn_page *p, bool screen)
{
    const struct pn_sample *s = &t->sample;
    struct pn_number total;
    pn_page_put(p, PN_TONE_BOLD, "pantry top");
    if (*s->machine)
        pn_page_put(p, PN_TONE_PLAIN, "  %s", s->machine);
    pn_page_put(p, PN_TONE_DIM, "  %d cores", s->n_cores);
    if (!isnan(s->memory_total))
        pn_page_put(p, PN_TONE_DIM, " · %s", bytes(&total, s->memory_total));
    if (screen) {
        pn_page_to(p, p->width - 9);
        if (t->paused)
            pn_page_put(p, PN_TONE_MIDDLE, "   paused");
        else
            pn_page_put(p, PN_TONE_DIM, "%7.3g s", t->interval);
    }
    pn_page_next(p);
}

static void show_processor(const struct pn_top *t, struct pn_page *p)
{
    const struct pn_sample *s = &t->sample;
    if (!s->n_cores)
        return;
    label(p, "processor");
    pn_page_bar(p, s->load, BAR);
    percent(p, s->load);
    if (s->n_clusters == 1)
        hertz(p, s->cluster[0].hz, s->cluster[0].most_hz);
    if (s->throttled > 0)
        pn_page_put(p, PN_TONE_HIGH, "  slowed down: %.3g %s", s->throttled, s->source[PN_SUBJECT_THROTTLE]);
    spark(t, p, PN_TOP_LOAD, 1);
    pn_page_next(p);
    for (int i = 0; i < s->n_clusters && s->n_clusters > 1; i++) {
        const struct pn_cluster *c = &s->cluster[i];
        pn_page_put(p, PN_TONE_PLAIN, " ");
        pn_page_put_name(p, PN_TONE_PLAIN, c->name, LABEL - 1);
        pn_page_bar(p, c->load, BAR);
        percent(p, c->load);
        hertz(p, c->hz, c->most_hz);
        pn_page_put(p, PN_TONE_DIM, "  %d core%s", c->n_cores, c->n_cores == 1 ? "" : "s");
        pn_page_next(p);
    }
}

static void show_cores(const struct pn_top *t, struct pn_page *p)
{
    const struct pn_sample *s = &t->sample;
    int per_line = p->width / CORE_CELL > 0 ? p->width / CORE_CELL : 1;
    for (int i = 0; i < s->n_cores; i++) {
        pn_page_put(p, PN_TONE_DIM, "%4d ", i);
        pn_page_bar(p, s->core[i].load, CORE_BAR);
        if (isnan(s->core[i].load))
            pn_page_put(p, PN_TONE_DIM, "   -");
        else
            pn_page_put(p, pn_tone_of(s->core[i].load), "%4.0f", s->core[i].load * 100);
        if ((i + 1) % per_line == 0 || i + 1 == s->n_cores)
            pn_page_next(p);
        else
            pn_page_put(p, PN_TONE_PLAIN, " ");
    }
}

static void show_memory(const struct pn_top *t, struct pn_page *p)
{
    static const char *const level_names[] = {"", "normal", "warning", "", "critical"};
    const struct pn_sample *s = &t->sample;
    struct pn_number a, b;
    if (!isnan(s->memory_used)) {
        double share = s->memory_used / s->memory_total;
        label(p, "memory");
        pn_page_bar(p, share, BAR);
        percent(p, share);
        pn_page_put(p, PN_TONE_PLAIN, "  %s of %s", bytes(&a, s->memory_used), bytes(&b, s->memory_total));
        if (!isnan(s->pressure))
            pn_page_put(p, pn_tone_of(s->pressure * 8), "  waiting %.1f %%", s->pressure * 100);
        int level = s->pressure_level >= 1 && s->pressure_level <= 4 ? (int)s->pressure_level : 0;
        if (*level_names[level])
            pn_page_put(p, level > 1 ? PN_TONE_HIGH : PN_TONE_LOW, "  pressure %s", level_names[level]);
        spark(t, p, PN_TOP_MEMORY, 1);
        pn_page_next(p);
    }
    if (s->swap_total > 0) {
        label(p, "swap");
        pn_page_bar(p, s->swap_used / s->swap_total, BAR);
        percent(p, s->swap_used / s->swap_total);
        pn_page_put(p, PN_TONE_PLAIN, "  %s of %s", bytes(&a, s->swap_used), bytes(&b, s->swap_total));
        pn_page_next(p);
    }
}

static void show_bandwidth(const struct pn_top *t, struct pn_page *p)
{
    const struct pn_sample *s = &t->sample;
    if (isnan(s->memory_rate))
        return;
    double share = s->memory_rate / t->limit;
    label(p, "bandwidth");
    pn_page_bar(p, share, BAR);
    percent(p, share);
    pn_page_put(p, PN_TONE_PLAIN, "  %s%.1f",
                s->rate_at_least    ? "≥ "
                : s->rate_estimated ? "≈ "
                                    : "",
                s->memory_rate / 1e9);
    if (!isnan(t->limit))
        pn_page_put(p, PN_TONE_PLAIN, " of %.1f", t->limit / 1e9);
    pn_page_put(p, PN_TONE_PLAIN, " GB/s");
    if (!isnan(t->limit))
        pn_page_put(p, PN_TONE_DIM, t->measured ? " measured" : " by its maker");
    if (s->rate_estimated)
        pn_page_put(p, PN_TONE_MIDDLE, "  %s", s->source[PN_SUBJECT_BANDWIDTH]);
    else if (!isnan(s->read_rate))
        pn_page_put(p, PN_TONE_DIM, "  read %.1f, written %.1f", s->read_rate / 1e9, s->write_rate / 1e9);
    spark(t, p, PN_TOP_RATE, isnan(t->limit) ? pn_history_most(&t->history[PN_TOP_RATE], 1e9) : t->limit);
    pn_page_next(p);
}

static void show_gpus(const struct pn_top *t, struct pn_page *p)
{
    const struct pn_sample *s = &t->sample;
    struct pn_number a, b;
    for (int i = 0; i < s->n_gpus; i++) {
        const struct pn_gpu *g = &s->gpu[i];
        pn_page_put(p, PN_TONE_BOLD, "GPU");
        if (s->n_gpus > 1)
            pn_page_put(p, PN_TONE_BOLD, " %d", i);
        pn_page_to(p, LABEL);
        pn_page_bar(p, g->load, BAR);
        percent(p, g->load);
        hertz(p, g->hz, NAN);
        if (!isnan(g->used))
            pn_page_put(p, PN_TONE_PLAIN, "  %s of %s", bytes(&a, g->used), bytes(&b, g->total));
        if (!isnan(g->memory_load))
            pn_page_put(p, PN_TONE_PLAIN, "  memory busy %.0f %%", g->memory_load * 100);
        if (!isnan(g->watts))
            pn_page_put(p, PN_TONE_PLAIN, "  %.1f W", g->watts);
        if (!isnan(g->celsius))
            pn_page_put(p, PN_TONE_PLAIN, "  %.0f °C", g->celsius);
        if (g->throttled > 0)
            pn_page_put(p, PN_TONE_HIGH, "  slowed down");
        if (i == 0)
            spark(t, p, PN_TOP_GPU, 1);
        pn_page_next(p);
        pn_page_put(p, PN_TONE_DIM, "           %s", g->name);
        for (int k = 0; k < s->n_gpu_processes; k++)
            if (s->gpu_process[k].gpu == i) {
                pn_page_put(p, PN_TONE_PLAIN, " · %s (%lld)", s->gpu_process[k].name, (long long)s->gpu_process[k].pid);
                if (!isnan(s->gpu_process[k].bytes))
                    pn_page_put(p, PN_TONE_PLAIN, " %s", bytes(&a, s->gpu_process[k].bytes));
            }
        pn_page_next(p);
    }
}

/* "power  package 0 12.3 W · memory 1.0 W", on one line, or on as many as it needs. */
static void show_sensors(const struct pn_top *t, struct pn_page *p, const char *name, const struct pn_sensors *list,
                         const char *format)
{
    if (!list->n)
        return;
    label(p, name);
    for (int i = 0; i < list->n; i++) {
        char value[32];
        snprintf(value, sizeof value, format, list->at[i].value);
        int need = (int)strlen(list->at[i].name) + (int)strlen(value) + 4;
        if (pn_page_left(p) < need && i) {
            if (!t->sensors) {
                pn_page_put(p, PN_TONE_DIM, " …");
                break;
            }
            pn_page_next(p);
            pn_page_to(p, LABEL);
        } else if (i) {
            pn_page_put(p, PN_TONE_DIM, " · ");
        }
        double share = list->at[i].most > 0 ? list->at[i].value / list->at[i].most : NAN;
        pn_page_put(p, PN_TONE_DIM, "%s ", list->at[i].name);
        pn_page_put(p, isnan(share) ? PN_TONE_PLAIN : pn_tone_of(share), "%s", value);
    }
    pn_page_next(p);
}

static void show_model(struct pn_page *p, const struct pn_top_model *m)
{
    struct pn_number a;
    pn_page_put(p, PN_TONE_PLAIN, "  ");
    pn_page_put_name(p, PN_TONE_PLAIN, m->name, p->width < WIDE ? 20 : 32);
    if (isnan(m->rate))
        pn_page_put(p, PN_TONE_DIM, "%9s", "");
    else
        pn_page_put(p, m->rate > 0 ? PN_TONE_BOLD : PN_TONE_DIM, " %8.1f", m->rate);
    pn_page_put(p, PN_TONE_DIM, " tok/s");
    if (!isnan(m->bytes))
        pn_page_put(p, PN_TONE_PLAIN, " %9s", bytes(&a, m->bytes));
    if (!isnan(m->context))
        pn_page_put(p, PN_TONE_PLAIN, "  context %s", pn_cli_grouped(&a, (unsigned long long)m->context));
    if (m->running > 0)
        pn_page_put(p, PN_TONE_LOW, "  %.0f running", m->running);
    if (m->waiting > 0)
        pn_page_put(p, PN_TONE_MIDDLE, "  %.0f waiting", m->waiting);
    pn_page_next(p);
}

static void show_service(const struct pn_top *t, struct pn_page *p)
{
    const struct pn_top_service *s = &t->service;
    label(p, "service");
    if (s->presence != PN_SERVICE_RUNS) {
        bool absent = s->presence == PN_SERVICE_ABSENT;
        pn_page_put(p, PN_TONE_DIM, "%s", !absent ? "" : *s->url ? "none runs at " : "asking...");
        pn_page_put_name(p, PN_TONE_DIM, absent ? s->url : s->why, 0);
        pn_page_next(p);
        return;
    }
    pn_page_put_name(p, PN_TONE_PLAIN, s->url, 0);
    pn_page_put(p, PN_TONE_PLAIN, " ");
    pn_page_put_name(p, PN_TONE_DIM, s->version, 0);
    if (!isnan(s->running))
        pn_page_put(p, PN_TONE_PLAIN, "  %.0f running", s->running);
    if (s->failed > 0)
        pn_page_put(p, PN_TONE_MIDDLE, ", %.0f failed", s->failed);
    pn_page_next(p);
    if (*s->why) {
        pn_page_to(p, LABEL);
        pn_page_put_name(p, PN_TONE_MIDDLE, s->why, 0);
        pn_page_next(p);
    }
    if (!isnan(s->made) || !isnan(s->made_rate)) {
        label(p, "tokens");
        pn_page_put(p, PN_TONE_BOLD, "%.1f tok/s", isnan(s->made_rate) ? 0 : s->made_rate);
        if (s->read_rate > 0)
            pn_page_put(p, PN_TONE_PLAIN, "  prompts %.0f tok/s", s->read_rate);
        if (!isnan(s->cached_share))
            pn_page_put(p, PN_TONE_PLAIN, "  from the cache %.0f %%", s->cached_share * 100);
        if (s->disk_lookups > 0)
            pn_page_put(p, PN_TONE_DIM, "  on disk %.0f of %.0f", s->disk_hits, s->disk_lookups);
        spark(t, p, PN_TOP_TOKENS, pn_history_most(&t->history[PN_TOP_TOKENS], 1));
        pn_page_next(p);
    }
    for (int i = 0; i < s->n_models; i++)
        show_model(p, &s->model[i]);
    if (s->n_more) {
        pn_page_put(p, PN_TONE_DIM, "  and %d more", s->n_more);
        pn_page_next(p);
    }
}

/* What could not be read, each with its reason on a line, or all in one. */
static void show_absent(const struct pn_top *t, struct pn_page *p, bool reasons)
{
    int n = 0;
    for (int i = 0; i < PN_N_SUBJECTS; i++) {
        if (!*t->sample.why[i] || (i == PN_SUBJECT_GPU_PROCESSES && !t->sample.n_gpus))
            continue;
        if (reasons || !n++)
            label(p, "absent");
        else
            pn_page_put(p, PN_TONE_DIM, ", ");
        pn_page_put(p, PN_TONE_DIM, "%s", pn_subject_words((enum pn_subject)i));
        if (!reasons)
            continue;
        pn_page_put(p, PN_TONE_DIM, ": ");
        pn_page_put_name(p, PN_TONE_DIM, t->sample.why[i], 0);
        pn_page_next(p);
    }
    if (n)
        pn_page_next(p);
}

static void show_help(const struct pn_top *t, struct pn_page *p)
{
    static const char *const lines[] = {
        "q, Ctrl-C   leave",
        "space       hold the display, go on",
        "+ -         a longer, a shorter interval",
        "c           each core, or not",
        "s           all sensors, or one line of each kind",
        "? h         this help, or not",
        "",
        "Colours change at 60 % and at 85 %. `waiting` is the share of the last ten",
        "seconds in which programs waited for memory. Estimates begin with ~ or >.",
        "",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        pn_page_put(p, PN_TONE_PLAIN, "%s", lines[i]);
        pn_page_next(p);
    }
    show_absent(t, p, true);
}

/* Charts of the figures that there are, in the lines that are left. */
static void show_charts(const struct pn_top *t, struct pn_page *p, int lines)
{
    static const struct {
        enum pn_top_figure figure;
        const char *name, *unit;
        double scale, most; /* most: of the unit; 0: the greatest value */
    } charts[] = {{PN_TOP_LOAD, "processor", "%", 100, 1},     {PN_TOP_TOKENS, "tokens", "tok/s", 1, 0},
                  {PN_TOP_RATE, "bandwidth", "GB/s", 1e-9, 0}, {PN_TOP_GPU, "GPU", "%", 100, 1},
                  {PN_TOP_WATTS, "power", "W", 1, 0},          {PN_TOP_MEMORY, "memory", "%", 100, 1}};
    int shown = 0, n_charts = sizeof charts / sizeof *charts;
    bool has[PN_TOP_N_FIGURES];
    for (int i = 0; i < n_charts; i++) {
        has[i] = pn_history_most(&t->history[charts[i].figure], -1) >= 0;
        shown += has[i];
    }
    int most_shown = lines / (CHART_LEAST + 1);
    shown = shown < most_shown ? shown : most_shown;
    if (!shown)
        return;
    int high = lines / shown - 1;
    high = high < CHART_MOST ? high : CHART_MOST;
    for (int i = 0; i < n_charts && shown; i++) {
        if (!has[i])
            continue;
        const struct pn_history *h = &t->history[charts[i].figure];
        double most = charts[i].most > 0 ? charts[i].most : pn_history_most(h, 1 / charts[i].scale);
        if (charts[i].figure == PN_TOP_RATE && !isnan(t->limit))
            most = t->limit;
        pn_page_put(p, PN_TONE_BOLD, "%s", charts[i].name);
        pn_page_put(p, PN_TONE_DIM, "  up to %.3g %s", most * charts[i].scale, charts[i].unit);
        pn_page_next(p);
        pn_page_chart(p, h, most, 0, high);
        shown--;
    }
}

static void show_keys(struct pn_page *p)
{
    static const struct {
        const char *key, *does;
    } keys[] = {{"q", "quit"}, {"space", "pause"}, {"+-", "interval"}, {"c", "cores"}, {"s", "sensors"}, {"?", "help"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        pn_page_put(p, PN_TONE_BOLD, "%s%s", i ? "  " : "", keys[i].key);
        pn_page_put(p, PN_TONE_DIM, " %s", keys[i].does);
    }
}

/* ---- the page ---- */

static double sum_watts(const struct pn_sample *s)
{
    double sum = NAN;
    for (int i = 0; i < s->power.n; i++) {
        const char *name = s->power.at[i].name;
        if (strcmp(name, "system") == 0) /* has all others */
            return s->power.at[i].value;
        if (strncmp(name, "package", 7) == 0 || strcmp(name, "processor") == 0 || strcmp(name, "GPU") == 0 ||
            strcmp(name, "ANE") == 0 || strncmp(name, "memory", 6) == 0)
            sum = (isnan(sum) ? 0 : sum) + s->power.at[i].value;
    }
    for (int i = 0; i < s->n_gpus; i++)
        if (!isnan(s->gpu[i].watts) && strcmp(s->source[PN_SUBJECT_POWER], "IOReport") != 0)
            sum = (isnan(sum) ? 0 : sum) + s->gpu[i].watts;
    return sum;
}

void pn_top_remember(struct pn_top *t)
{
    const struct pn_sample *s = &t->sample;
    pn_history_add(&t->history[PN_TOP_LOAD], s->load);
    pn_history_add(&t->history[PN_TOP_MEMORY], s->memory_used / s->memory_total);
    pn_history_add(&t->history[PN_TOP_RATE], s->memory_rate);
    pn_history_add(&t->history[PN_TOP_GPU], s->n_gpus ? s->gpu[0].load : NAN);
    pn_history_add(&t->history[PN_TOP_WATTS], sum_watts(s));
    pn_history_add(&t->history[PN_TOP_TOKENS], t->service.made_rate);
}

void pn_top_show(const struct pn_top *t, struct pn_page *p, int lines)
{
    const struct pn_sample *s = &t->sample;
    bool screen = lines > 0;
    show_head(t, p, screen);
    if (t->help) {
        show_help(t, p);
    } else {
        show_processor(t, p);
        if (screen ? t->cores : s->n_cores <= MOST_PRINTED_CORES && s->n_cores > 1)
            show_cores(t, p);
        show_memory(t, p);
        show_bandwidth(t, p);
        show_gpus(t, p);
        show_sensors(t, p, "power", &s->power, "%.1f W");
        show_sensors(t, p, "heat", &s->temperature, p->ascii ? "%.0f C" : "%.0f °C");
        show_sensors(t, p, "fans", &s->fan, "%.0f rpm");
        if (t->asks)
            show_service(t, p);
        show_absent(t, p, !screen || lines >= TALL);
        if (screen && p->n < lines - CHART_LEAST)
            show_charts(t, p, lines - p->n - 1);
    }
    if (!screen)
        return;
    /* the keys are always the last line */
    while (p->n < lines)
        pn_page_next(p);
    p->n = lines;
    p->line[p->n - 1].bytes = p->line[p->n - 1].columns = 0;
    show_keys(p);
}
