/* Linux: load from /proc/stat (man 5 proc), clocks from cpufreq, throttling from the firmware's counters.
 *
 * A core is busy when it neither idles nor waits for a disk, as in mpstat's 100 - %idle - %iowait. */
#include "monitor/linux.h"

#include "monitor/files.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAT_SIZE = 256 << 10, FIELDS = 8, IDLE = 3, IO_WAIT = 4, MAX_CLUSTER_NAME = 40 };

struct processor {
    const char *root;
    char *text; /* of /proc/stat */
    uint64_t busy[PN_MAX_CORES], all[PN_MAX_CORES];
    bool seen[PN_MAX_CORES]; /* in the sample before */
    int kind[PN_MAX_CORES];  /* of cores: 1 fast, 2 slow on hybrid machines, else 0 */
    int package[PN_MAX_CORES];
    double capacity[PN_MAX_CORES];
    bool first_of_package[PN_MAX_CORES];
    bool known[PN_MAX_CORES]; /* the four above */
    bool many_packages, many_capacities;
    double package0, capacity0; /* of the first core that was seen */
    double throttles;           /* counted until now; NAN: none before */
    double most_hz[PN_MAX_CORES];
    bool use_cpuinfo; /* cpufreq is absent */
};

struct marking {
    struct processor *p;
    int kind;
};

static void mark(void *user, int core)
{
    const struct marking *m = user;
    m->p->kind[core] = m->kind;
}

static void *processor_open(const char *root)
{
    struct processor *p = calloc(1, sizeof *p);
    char text[4096];
    if (!p || !(p->text = malloc(STAT_SIZE))) {
        free(p);
        return NULL;
    }
    p->root = root;
    p->throttles = p->package0 = p->capacity0 = NAN;
    static const char *const lists[] = {"sys/devices/cpu_core/cpus", "sys/devices/cpu_atom/cpus"};
    for (int i = 0; i < 2; i++)
        if (pn_read_text(root, lists[i], text, sizeof text) > 0)
            pn_parse_list(text, PN_MAX_CORES, mark, &(struct marking){p, i + 1});
    return p;
}

static void processor_close(void *state)
{
    struct processor *p = state;
    free(p->text);
    free(p);
}

static double core_number(const struct processor *p, int core, const char *tail)
{
    char path[PN_PATH];
    pn_path(path, "sys/devices/system/cpu/cpu%d/%s", core, tail);
    return pn_read_number(p->root, path);
}

/* What does not change: package, capacity (arm), highest clock. */
static void look_at(struct processor *p, int core)
{
    double package = core_number(p, core, "topology/physical_package_id");
    double khz = core_number(p, core, "cpufreq/cpuinfo_max_freq");
    p->known[core] = true;
    p->package[core] = package >= 0 && package < 1024 ? (int)package : 0;
    p->capacity[core] = core_number(p, core, "cpu_capacity");
    p->most_hz[core] = khz > 0 ? khz * 1e3 : NAN;
    if (isnan(p->package0)) {
        p->package0 = p->package[core];
        p->capacity0 = p->capacity[core];
    }
    p->many_packages |= p->package[core] != (int)p->package0;
    p->many_capacities |= p->capacity[core] != p->capacity0 && p->capacity[core] > 0 && p->capacity0 > 0;
    p->first_of_package[core] = true;
    for (int i = 0; i < core; i++)
        if (p->known[i] && p->package[i] == p->package[core])
            p->first_of_package[core] = false;
}

static int cluster_of(const struct processor *p, int core, struct pn_sample *s)
{
    static const char *const kinds[] = {"cores", "P-cores", "E-cores"};
    char name[MAX_CLUSTER_NAME], package[MAX_CLUSTER_NAME / 2] = "";
    if (p->many_packages)
        snprintf(package, sizeof package, " of package %d", p->package[core]);
    if (p->many_capacities && !p->kind[core])
        snprintf(name, sizeof name, "cores %.0f%s", p->capacity[core], package);
    else
        snprintf(name, sizeof name, "%s%s", kinds[p->kind[core]], package);
    return pn_sample_cluster(s, name);
}

/* "cpu7 user nice system idle iowait irq softirq steal ...": guests are in user and nice already. Counters of idle and
 * iowait may go backwards a little; then nothing is known of this core for this sample. */
static bool parse_core(struct processor *p, const char *line, struct pn_sample *s)
{
    uint64_t core, field, all = 0, idle = 0;
    if (!pn_parse_u64(line, &core) || core >= PN_MAX_CORES || s->n_cores == PN_MAX_CORES)
        return false;
    line += strspn(line, "0123456789");
    for (int i = 0; i < FIELDS; i++) {
        if (*line != ' ' || !pn_parse_u64(line, &field))
            break; /* old kernels have fewer */
        line += strspn(line, " ");
        line += strspn(line, "0123456789");
        if (__builtin_add_overflow(all, field, &all))
            return false;
        idle += i == IDLE || i == IO_WAIT ? field : 0;
    }
    struct pn_core *c = &s->core[s->n_cores++];
    int i = (int)core;
    if (!p->known[i])
        look_at(p, i);
    *c = (struct pn_core){.load = NAN, .hz = NAN, .cluster = -1};
    uint64_t busy = all - idle;
    if (p->seen[i] && all > p->all[i] && busy >= p->busy[i] && busy - p->busy[i] <= all - p->all[i])
        c->load = (double)(busy - p->busy[i]) / (double)(all - p->all[i]);
    p->busy[i] = busy;
    p->all[i] = all;
    p->seen[i] = true;
    c->cluster = cluster_of(p, i, s);
    if (c->cluster >= 0 && !(s->cluster[c->cluster].most_hz >= p->most_hz[i]))
        s->cluster[c->cluster].most_hz = p->most_hz[i];
    double khz = p->use_cpuinfo ? NAN : core_number(p, i, "cpufreq/scaling_cur_freq");
    c->hz = khz > 0 ? khz * 1e3 : NAN;
    return true;
}

/* "cpu MHz : 2100.000" per processor, in the order of /proc/stat: what x86 without cpufreq says, often the nominal
 * clock. The name of the processor is in "model name". */
static void read_cpuinfo(struct processor *p, struct pn_sample *s, bool clocks)
{
    int core = 0;
    if (pn_read_text(p->root, "proc/cpuinfo", p->text, STAT_SIZE) < 0)
        return;
    for (char *line = p->text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *value = strchr(line, ':');
        if (!value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        if (strncmp(line, "model name", 10) == 0 && !*s->machine)
            pn_sample_name(s->machine, sizeof s->machine, value);
        if (clocks && strncmp(line, "cpu MHz", 7) == 0 && core < s->n_cores) {
            double mhz = strtod(value, NULL);
            s->core[core++].hz = mhz > 0 && mhz < 1e6 ? mhz * 1e6 : NAN;
        }
    }
}

static bool have_clocks(const struct pn_sample *s)
{
    for (int i = 0; i < s->n_cores; i++)
        if (!isnan(s->core[i].hz))
            return true;
    return false;
}

static void read_clocks(struct processor *p, struct pn_sample *s)
{
    bool cpufreq = have_clocks(s);
    if (cpufreq)
        pn_sample_present(s, PN_SUBJECT_CLOCK, "cpufreq");
    p->use_cpuinfo = !cpufreq;
    read_cpuinfo(p, s, !cpufreq);
    if (!cpufreq && have_clocks(s))
        pn_sample_present(s, PN_SUBJECT_CLOCK, "/proc/cpuinfo (nominal)");
    pn_sample_absent(s, PN_SUBJECT_CLOCK, "this system has no cpufreq: virtual machines often hide it");
}

/* Coolers that slow the processor down, as a share of their most; NAN: none. */
static double cooling(const struct processor *p)
{
    char names[64][PN_ENTRY], path[PN_PATH], type[64];
    double most = NAN;
    int n = pn_list_folder(p->root, "sys/class/thermal", "cooling_device", names, 64);
    for (int i = 0; i < n; i++) {
        pn_path(path, "sys/class/thermal/%s/type", names[i]);
        pn_read_line(p->root, path, type, sizeof type);
        if (strncmp(type, "Processor", 9) != 0 && strncmp(type, "cpufreq", 7) != 0 &&
            strncmp(type, "thermal-cpufreq", 15) != 0)
            continue;
        pn_path(path, "sys/class/thermal/%s/cur_state", names[i]);
        double now = pn_read_number(p->root, path);
        pn_path(path, "sys/class/thermal/%s/max_state", names[i]);
        double max = pn_read_number(p->root, path);
        if (now >= 0 && max > 0 && !(now / max <= most))
            most = now / max;
    }
    return most;
}

static void read_throttling(struct processor *p, struct pn_sample *s)
{
    double sum = NAN, share;
    for (int i = 0; i < PN_MAX_CORES; i++) {
        if (!p->known[i])
            continue;
        double core = core_number(p, i, "thermal_throttle/core_throttle_count");
        double package = p->first_of_package[i] ? core_number(p, i, "thermal_throttle/package_throttle_count") : NAN;
        if (isnan(core) && i == 0)
            break; /* other machines have none at all */
        sum = (isnan(sum) ? 0 : sum) + (core >= 0 ? core : 0) + (package >= 0 ? package : 0);
    }
    if (!isnan(sum)) {
        pn_sample_present(s, PN_SUBJECT_THROTTLE, "events per second");
        if (sum >= p->throttles && s->seconds > 0)
            s->throttled = (sum - p->throttles) / s->seconds;
        p->throttles = sum;
    } else if (!isnan(share = cooling(p))) {
        pn_sample_present(s, PN_SUBJECT_THROTTLE, "share of the cooling");
        s->throttled = share;
    }
    pn_sample_absent(s, PN_SUBJECT_THROTTLE, "this system does not count it");
}

static void processor_read(void *state, struct pn_sample *s)
{
    struct processor *p = state;
    if (pn_read_text(p->root, "proc/stat", p->text, STAT_SIZE) < 0) {
        pn_sample_absent(s, PN_SUBJECT_LOAD, "%s: /proc/stat", pn_read_reason(errno));
        pn_sample_absent(s, PN_SUBJECT_CLOCK, "%s: /proc/stat", pn_read_reason(errno));
        return;
    }
    for (char *line = p->text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            next++;
        if (strncmp(line, "cpu", 3) == 0 && line[3] >= '0' && line[3] <= '9')
            parse_core(p, line + 3, s);
        else if (strncmp(line, "cpu", 3) != 0)
            break; /* they come first */
    }
    if (s->n_cores)
        pn_sample_present(s, PN_SUBJECT_LOAD, "/proc/stat");
    pn_sample_absent(s, PN_SUBJECT_LOAD, "/proc/stat names no processor");
    read_clocks(p, s);
    read_throttling(p, s);
    pn_sample_sum_cores(s);
}

const struct pn_source pn_source_processor = {"processor", processor_open, processor_read, processor_close};
