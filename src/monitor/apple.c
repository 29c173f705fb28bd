/* The meaning of Apple's counters: see apple.h. */
#include "monitor/apple.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPU = 'G' - 'A' };
static const double last_bucket = 32;  /* GB/s of a requestor's last state */
static const double most_joules = 1e7; /* of one interval: anything above is a broken counter */

/* ---- clocks ---- */

void pn_apple_new(struct pn_apple *a)
{
    memset(a, 0, sizeof *a);
    a->idle_watts = a->busy_watts = a->busy_rate = NAN;
    pn_apple_start(a);
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void pn_apple_table(struct pn_apple *a, char kind, const uint8_t *bytes, size_t n)
{
    if (kind < 'A' || kind > 'Z')
        return;
    struct pn_steps *steps = &a->steps[kind - 'A'];
    uint32_t most = 0;
    steps->n = 0;
    for (size_t i = 0; i + 8 <= n && steps->n < PN_MAX_STEPS; i += 8) {
        uint32_t v = word(bytes + i);
        most = v > most ? v : most;
        steps->hz[steps->n++] = v;
    }
    double unit = most < 100000000u ? 1e3 : 1; /* no clock of these is below 100 MHz at most, or above 100 GHz */
    for (int i = 0; i < steps->n; i++)
        steps->hz[i] *= unit;
    if (!most)
        steps->n = 0;
}

static bool is_idle(const char *state)
{
    return strcmp(state, "IDLE") == 0 || strcmp(state, "DOWN") == 0 || strcmp(state, "OFF") == 0;
}

/* Load, and the mean clock of the busy time (of the lowest step where there was none). The active states are the last
 * ones of the table, which may begin with an entry for `off`. */
static bool residencies(const struct pn_channel *c, const struct pn_steps *steps, double *load, double *hz)
{
    double all = 0, busy = 0, weighted = 0;
    int n_active = 0, i_active = 0;
    for (int i = 0; i < c->n_states; i++)
        n_active += !is_idle(c->state[i].name);
    int skip = steps->n - n_active;
    for (int i = 0; i < c->n_states; i++) {
        double r = c->state[i].residency > 0 ? (double)c->state[i].residency : 0;
        all += r;
        if (is_idle(c->state[i].name))
            continue;
        busy += r;
        if (skip >= 0 && steps->n)
            weighted += r * steps->hz[skip + i_active];
        i_active++;
    }
    *load = all > 0 ? busy / all : NAN;
    *hz = skip < 0 || !steps->n || !n_active ? NAN : busy > 0 ? weighted / busy : steps->hz[skip];
    return all > 0;
}

/* ---- names ---- */

/* Skips "DIE_1_" or "DIE1 "; *die is -1 without one. */
static const char *skip_die(const char *name, int *die)
{
    int n = 0, number;
    *die = -1;
    if (sscanf(name, "DIE_%9d_%n", &number, &n) == 1 && n)
        *die = number;
    else if (sscanf(name, "DIE%9d %n", &number, &n) == 1 && n)
        *die = number;
    return *die >= 0 ? name + n : name;
}

bool pn_apple_core(const char *channel, char *kind, char cluster[PN_SHORT])
{
    int die, group = -1;
    const char *name = skip_die(channel, &die);
    if (!*name || !strchr("EPMS", *name) || strncmp(name + 1, "CPU", 3) != 0)
        return false;
    *kind = *name;
    const char *p = name + 4;
    size_t digits = strspn(p, "0123456789");
    if (strncmp(p + digits, "_CPU", 4) == 0) { /* PCPU1_CPU3: cluster and core */
        group = digits ? atoi(p) % 1000 : 0;
        p += digits + 4;
        digits = strspn(p, "0123456789");
    } else if (digits == 3) { /* PCPU130: cluster, core, thread */
        group = *p - '0';
    }
    if (!digits || p[digits])
        return false;
    int n = snprintf(cluster, PN_SHORT, "%c-cores", *kind);
    if (group >= 0 && *kind != 'E')
        n += snprintf(cluster + n, (size_t)(PN_SHORT - n), " %d", group);
    if (die >= 0)
        snprintf(cluster + n, (size_t)(PN_SHORT - n), " of die %d", die % 1000);
    return true;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    size_t n = strlen(text), m = strlen(with);
    return n >= m && strcmp(text + n - m, with) == 0;
}

static bool is_pmp(const char *group) /* PMP, PMP0, PMP1 */
{
    return starts(group, "PMP") && strspn(group + 3, "0123456789") == strlen(group + 3);
}

static bool is_energy(const char *group)
{
    return strcmp(group, "Energy Model") == 0 || strcmp(group, "Energy Counters") == 0;
}

bool pn_apple_wants(const char *group, const char *subgroup)
{
    return is_energy(group) ||
           (strcmp(group, "CPU Stats") == 0 && strcmp(subgroup, "CPU Core Performance States") == 0) ||
           (strcmp(group, "GPU Stats") == 0 && strcmp(subgroup, "GPU Performance States") == 0) ||
           (strcmp(group, "AMC Stats") == 0 && strcmp(subgroup, "Perf Counters") == 0) ||
           (is_pmp(group) && (strcmp(subgroup, "DCS BW") == 0 || strcmp(subgroup, "DRAM BW") == 0));
}

/* ---- energy ---- */

/* "EACC_CPU", "PACC0_CPU" (up to the M4) and "PCPU", "MCPU1" (M5) are whole clusters; PACC_3 is a core, PCPM a fabric.
 */
static bool is_cluster_energy(const char *name)
{
    if (!*name || !strchr("EPMS", *name))
        return false;
    if (starts(name + 1, "CPU"))
        return strspn(name + 4, "0123456789") == strlen(name + 4);
    if (!starts(name + 1, "ACC"))
        return false;
    return strcmp(name + 4 + strspn(name + 4, "0123456789"), "_CPU") == 0;
}

static int part_of(const char *channel)
{
    int die;
    const char *name = skip_die(channel, &die);
    if (ends(name, "CPU Energy"))
        return PN_APPLE_CPU;
    if (is_cluster_energy(name))
        return PN_APPLE_CPU_CLUSTER;
    if (strcmp(name, "GPU Energy") == 0)
        return PN_APPLE_GPU;
    if (starts(name, "GPU SRAM"))
        return PN_APPLE_GPU_SRAM;
    if (starts(name, "GPU") && strspn(name + 3, "0123456789") == strlen(name + 3))
        return PN_APPLE_GPU_PART;
    return starts(name, "ANE") ? PN_APPLE_ANE : starts(name, "DRAM") ? PN_APPLE_DRAM : -1;
}

static void add_energy(struct pn_apple *a, const struct pn_channel *c)
{
    static const struct {
        const char *label;
        double joules;
    } units[] = {{"mJ", 1e-3}, {"uJ", 1e-6}, {"nJ", 1e-9}};
    int part = part_of(c->name);
    const char *label = c->unit + strspn(c->unit, " ");
    size_t n = strcspn(label, " ");
    double unit = 0;
    if (part < 0 || c->n_states || c->value < 0) /* also INT64_MIN */
        return;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (n == strlen(units[i].label) && memcmp(label, units[i].label, n) == 0)
            unit = units[i].joules;
    if (unit == 0) {
        a->bad_unit++;
        return;
    }
    if ((double)c->value * unit > most_joules)
        return;
    a->joules[part] += (double)c->value * unit;
    a->has_energy[part] = true;
}

/* ---- bandwidth ---- */

static struct pn_requestor *requestor(struct pn_apple *a, const char *name, size_t n)
{
    for (int i = 0; i < a->n_requestors; i++)
        if (strlen(a->requestor[i].name) == n && memcmp(a->requestor[i].name, name, n) == 0)
            return &a->requestor[i];
    if (a->n_requestors == PN_MAX_REQUESTORS || n >= sizeof a->requestor->name)
        return NULL;
    struct pn_requestor *r = &a->requestor[a->n_requestors++];
    *r = (struct pn_requestor){0};
    memcpy(r->name, name, n);
    return r;
}

/* "PCPU0 DCS RD", "DIE0 ECPU0 DCS WR", "DCS RD" (the whole chip), "GFX DCS RD/WR": the longest ending counts. */
static void add_amc(struct pn_apple *a, const struct pn_channel *c)
{
    static const struct {
        const char *tail;
        int column; /* of bytes */
    } tails[] = {{"DCS RD/WR + RD/WR", 2}, {"DCS RD/WR/RDWR", 2}, {"DCS RD/WR", 2}, {"DCS RDWR", 2},
                 {"DCS RD+WR", 2},         {"DCS RD", 0},         {"DCS WR", 1}};
    if (c->n_states || c->value < 0) /* INT64_MIN where macOS 27 does not fill it in */
        return;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        if (!ends(c->name, tails[i].tail))
            continue;
        size_t n = strlen(c->name) - strlen(tails[i].tail);
        while (n && c->name[n - 1] == ' ')
            n--;
        struct pn_requestor *r = requestor(a, c->name, n);
        if (r) {
            r->bytes[tails[i].column] += (double)c->value;
            r->has[tails[i].column] = true;
            a->has_rate[PN_APPLE_AMC] = true;
        }
        return;
    }
}

static void add_dram_bw(struct pn_apple *a, const struct pn_channel *c)
{
    bool writes = ends(c->name, " WR");
    if (c->n_states || c->value < 0 || (!writes && !ends(c->name, " RD")))
        return;
    a->dram_bytes[writes] += (double)c->value;
    a->has_rate[PN_APPLE_DRAM_BW] = true;
}

/* "EACC0 RD+WR" with states "   1GB/s" to "  32GB/s": the mean. The last state also has everything above it. */
static void add_histogram(struct pn_apple *a, const struct pn_channel *c)
{
    double all = 0, weighted = 0, last = 0;
    int die;
    if (!ends(c->name, " RD+WR"))
        return;
    for (int i = 0; i < c->n_states; i++) {
        char *end;
        double gb = strtod(c->state[i].name, &end);
        if (end == c->state[i].name || !starts(end, "GB/s") || !(gb >= 0 && gb <= 1e6) || c->state[i].residency <= 0)
            continue;
        all += (double)c->state[i].residency;
        weighted += (double)c->state[i].residency * gb;
        last = gb >= last_bucket ? (double)c->state[i].residency : last;
    }
    if (all <= 0)
        return;
    if (starts(skip_die(c->name, &die), "AMCC")) { /* all requestors together */
        a->aggregate += weighted / all;
        return;
    }
    a->saturated |= last > 0;
    a->histogram += weighted / all;
    a->has_rate[PN_APPLE_HISTOGRAM] = true;
}

/* Bytes read, written, and moved in either direction: of the channel of the whole chip (of each die), or else of all
 * requestors. */
static void sum_requestors(const struct pn_apple *a, double sum[3])
{
    bool whole = false;
    int die;
    sum[0] = sum[1] = sum[2] = 0;
    for (int i = 0; i < a->n_requestors; i++)
        whole |= !*skip_die(a->requestor[i].name, &die);
    for (int i = 0; i < a->n_requestors; i++) {
        const struct pn_requestor *r = &a->requestor[i];
        if (whole && *skip_die(r->name, &die))
            continue;
        sum[0] += r->bytes[0];
        sum[1] += r->bytes[1];
        if (!r->has[0] && !r->has[1])
            sum[2] += r->bytes[2];
    }
}

void pn_apple_calibrate(struct pn_apple *a, double idle_watts, double busy_watts, double busy_rate)
{
    if (!(busy_rate > 0) || !(idle_watts >= 0) || !(busy_watts > 1.2 * idle_watts) || !(busy_watts > idle_watts + 0.05))
        return;
    a->idle_watts = idle_watts;
    a->busy_watts = busy_watts;
    a->busy_rate = busy_rate;
}

double pn_apple_dram_watts(const struct pn_apple *a, double seconds)
{
    return a->has_energy[PN_APPLE_DRAM] && seconds > 0 ? a->joules[PN_APPLE_DRAM] / seconds : NAN;
}

/* The best source that there is. */
static void finish_bandwidth(const struct pn_apple *a, double seconds, struct pn_sample *s)
{
    double sum[3], watts = pn_apple_dram_watts(a, seconds);
    if (a->has_rate[PN_APPLE_AMC]) {
        sum_requestors(a, sum);
        pn_sample_present(s, PN_SUBJECT_BANDWIDTH, "memory controllers (AMC Stats)");
        s->memory_rate = (sum[0] + sum[1] + sum[2]) / seconds;
        if (sum[2] == 0) {
            s->read_rate = sum[0] / seconds;
            s->write_rate = sum[1] / seconds;
        }
    } else if (a->has_rate[PN_APPLE_DRAM_BW]) {
        pn_sample_present(s, PN_SUBJECT_BANDWIDTH, "memory controllers (DRAM BW)");
        s->read_rate = a->dram_bytes[0] / seconds;
        s->write_rate = a->dram_bytes[1] / seconds;
        s->memory_rate = s->read_rate + s->write_rate;
    } else if (a->has_rate[PN_APPLE_HISTOGRAM] || a->aggregate > 0) {
        bool parts = a->has_rate[PN_APPLE_HISTOGRAM];
        pn_sample_present(s, PN_SUBJECT_BANDWIDTH,
                          parts ? "histograms of requestors (DCS BW)" : "histogram of the whole (DCS BW)");
        s->memory_rate = (parts ? a->histogram : a->aggregate) * 1e9;
        s->rate_estimated = true;
        s->rate_at_least = parts ? a->saturated : a->aggregate >= last_bucket;
    } else if (!isnan(watts) && a->busy_rate > 0) {
        double share = (watts - a->idle_watts) / (a->busy_watts - a->idle_watts);
        pn_sample_present(s, PN_SUBJECT_BANDWIDTH, "estimate from the power of memory");
        s->memory_rate = (share > 0 ? share : 0) * a->busy_rate;
        s->rate_estimated = true;
    }
    pn_sample_absent(s, PN_SUBJECT_BANDWIDTH, "this macOS hides the memory controllers, and DRAM's power says nothing");
}

/* ---- temperatures ---- */

/* SMC: Tp.., Te.., Ts.. are processor cores, Tg.. the GPU (from macOS 14). HID: "pACC MTR Temp Sensor3". */
void pn_apple_temperature(struct pn_apple *a, const char *sensor, double celsius)
{
    if (!(celsius > 0 && celsius <= 150))
        return;
    int which = -1;
    if (strstr(sensor, "MTR Temp Sensor"))
        which = starts(sensor, "GPU") ? 1 : starts(sensor, "pACC") || starts(sensor, "eACC") ? 0 : -1;
    else if (strlen(sensor) == 4 && *sensor == 'T')
        which = sensor[1] == 'g' ? 1 : strchr("pes", sensor[1]) ? 0 : -1;
    if (which >= 0 && !(celsius <= a->hottest[which]))
        a->hottest[which] = celsius;
}

/* ---- a sample ---- */

void pn_apple_start(struct pn_apple *a)
{
    memset(a->joules, 0, sizeof a->joules);
    memset(a->has_energy, 0, sizeof a->has_energy);
    memset(a->has_rate, 0, sizeof a->has_rate);
    a->saturated = false;
    a->n_requestors = 0;
    a->bad_unit = a->dram_bytes[0] = a->dram_bytes[1] = a->histogram = a->aggregate = 0;
    a->gpu_load = a->gpu_hz = a->hottest[0] = a->hottest[1] = NAN;
}

static void add_core(struct pn_apple *a, const struct pn_channel *c, struct pn_sample *s)
{
    char kind, name[PN_SHORT];
    if (s->n_cores == PN_MAX_CORES || !pn_apple_core(c->name, &kind, name))
        return;
    struct pn_core core = {.cluster = pn_sample_cluster(s, name)};
    const struct pn_steps *steps = &a->steps[kind - 'A'];
    if (residencies(c, steps, &core.load, &core.hz)) {
        s->core[s->n_cores++] = core;
        if (core.cluster >= 0 && steps->n)
            s->cluster[core.cluster].most_hz = steps->hz[steps->n - 1];
    }
}

void pn_apple_add(struct pn_apple *a, const struct pn_channel *c, struct pn_sample *s)
{
    if (is_energy(c->group))
        add_energy(a, c);
    else if (strcmp(c->group, "CPU Stats") == 0 && strcmp(c->subgroup, "CPU Core Performance States") == 0)
        add_core(a, c, s);
    else if (strcmp(c->group, "GPU Stats") == 0 && strcmp(c->subgroup, "GPU Performance States") == 0) {
        if (strcmp(c->name, "GPUPH") == 0)
            residencies(c, &a->steps[GPU], &a->gpu_load, &a->gpu_hz);
    } else if (strcmp(c->group, "AMC Stats") == 0)
        add_amc(a, c);
    else if (is_pmp(c->group) && strcmp(c->subgroup, "DRAM BW") == 0)
        add_dram_bw(a, c);
    else if (is_pmp(c->group) && strcmp(c->subgroup, "DCS BW") == 0)
        add_histogram(a, c);
}

static void finish_power(const struct pn_apple *a, double seconds, struct pn_sample *s)
{
    static const struct {
        const char *name;
        enum pn_apple_part part, otherwise;
    } parts[] = {{"processor", PN_APPLE_CPU, PN_APPLE_CPU_CLUSTER},
                 {"GPU", PN_APPLE_GPU, PN_APPLE_GPU_PART},
                 {"GPU SRAM", PN_APPLE_GPU_SRAM, PN_APPLE_GPU_SRAM},
                 {"ANE", PN_APPLE_ANE, PN_APPLE_ANE},
                 {"memory", PN_APPLE_DRAM, PN_APPLE_DRAM}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        enum pn_apple_part p = a->has_energy[parts[i].part] ? parts[i].part : parts[i].otherwise;
        if (!a->has_energy[p])
            continue;
        pn_sample_add(&s->power, parts[i].name, a->joules[p] / seconds, NAN);
        pn_sample_present(s, PN_SUBJECT_POWER, "IOReport");
    }
    if (a->bad_unit > 0)
        pn_sample_absent(s, PN_SUBJECT_POWER, "the energy counters have a unit that this version does not know");
}

void pn_apple_finish(struct pn_apple *a, double seconds, struct pn_sample *s)
{
    if (seconds > 0) {
        finish_power(a, seconds, s);
        finish_bandwidth(a, seconds, s);
    }
    if (s->n_cores) {
        pn_sample_present(s, PN_SUBJECT_LOAD, "IOReport");
        pn_sample_sum_cores(s);
    }
    for (int i = 0; i < s->n_cores; i++)
        if (!isnan(s->core[i].hz))
            pn_sample_present(s, PN_SUBJECT_CLOCK, "IOReport");
    static const char *const names[] = {"processor", "GPU"};
    for (int i = 0; i < 2; i++)
        if (!isnan(a->hottest[i])) {
            pn_sample_add(&s->temperature, names[i], a->hottest[i], NAN);
            pn_sample_present(s, PN_SUBJECT_TEMPERATURE, "hottest sensor");
        }
}

/* ---- SMC and memory ---- */

double pn_smc_number(const char type[4], const uint8_t *b, size_t n)
{
    if (memcmp(type, "flt ", 4) == 0 && n == 4) {
        uint32_t bits = word(b);
        float v;
        memcpy(&v, &bits, sizeof v);
        return isfinite(v) ? (double)v : NAN;
    }
    if (memcmp(type, "fpe2", 4) == 0 && n == 2)
        return (b[0] << 8 | b[1]) / 4.0;
    if (memcmp(type, "sp78", 4) == 0 && n == 2)
        return (int16_t)(b[0] << 8 | b[1]) / 256.0;
    if ((memcmp(type, "ui8 ", 4) == 0 && n == 1) || (memcmp(type, "ui16", 4) == 0 && n == 2) ||
        (memcmp(type, "ui32", 4) == 0 && n == 4)) {
        double v = 0;
        for (size_t i = 0; i < n; i++)
            v = v * 256 + b[i];
        return v;
    }
    return NAN;
}

double pn_apple_used(const struct pn_apple_pages *p, uint64_t page_size)
{
    double used = (double)p->active + (double)p->inactive + (double)p->wired + (double)p->speculative +
                  (double)p->compressor - (double)p->purgeable - (double)p->external;
    return used >= 0 ? used * (double)page_size : NAN;
}
