/* Linux: energy counters of processors (powercap, RAPL) and sensors (hwmon).
 *
 * Documentation/power/powercap/powercap.rst and Documentation/hwmon/sysfs-interface.rst: microjoules that wrap around
 * at max_energy_range_uj, thousandths of a degree, turns per minute, microwatts. */
#include "monitor/linux.h"

#include "monitor/files.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- RAPL ---- */

enum { MAX_ZONES = 64, MAX_CHIPS = 64, MAX_INPUTS = 128 };
static const char zones_folder[] = "sys/class/powercap", chips_folder[] = "sys/class/hwmon";

struct zone {
    char folder[PN_ENTRY], name[PN_SHORT];
    double before, range; /* microjoules; NAN: unknown */
};

struct rapl {
    const char *root;
    int n;
    struct zone zone[MAX_ZONES];
};

/* "package-0" is a package; its parts are named after it on machines with several. */
static void name_zone(struct rapl *r, struct zone *z)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {{"core", "cores"}, {"uncore", "uncore"}, {"dram", "memory"}, {"psys", "system"}};
    char path[PN_PATH], theirs[32];
    int package, part, end = 0;
    pn_path(path, "%s/%s/name", zones_folder, z->folder);
    pn_read_line(r->root, path, theirs, sizeof theirs);
    const char *name = theirs;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(theirs, names[i].theirs) == 0)
            name = names[i].ours;
    if (sscanf(theirs, "package-%9d%n", &package, &end) == 1 && !theirs[end])
        snprintf(z->name, sizeof z->name, "package %d", package);
    else if (sscanf(z->folder, "intel-rapl:%9d:%9d", &package, &part) == 2 && package > 0)
        snprintf(z->name, sizeof z->name, "%s %d", name, package);
    else
        snprintf(z->name, sizeof z->name, "%s", *name ? name : z->folder);
}

static void *rapl_open(const char *root)
{
    struct rapl *r = calloc(1, sizeof *r);
    char folders[MAX_ZONES][PN_ENTRY], path[PN_PATH];
    if (!r)
        return NULL;
    r->root = root;
    /* intel-rapl-mmio counts the package a second time */
    int n = pn_list_folder(root, zones_folder, "intel-rapl:", folders, MAX_ZONES);
    for (int i = 0; i < n; i++) {
        struct zone *z = &r->zone[r->n++];
        memcpy(z->folder, folders[i], sizeof z->folder);
        z->before = NAN;
        pn_path(path, "%s/%s/max_energy_range_uj", zones_folder, z->folder);
        z->range = pn_read_number(root, path);
        name_zone(r, z);
    }
    return r;
}

static void rapl_read(void *state, struct pn_sample *s)
{
    struct rapl *r = state;
    char path[PN_PATH];
    for (int i = 0; i < r->n; i++) {
        struct zone *z = &r->zone[i];
        pn_path(path, "%s/%s/energy_uj", zones_folder, z->folder);
        errno = EINVAL;
        double now = pn_read_number(r->root, path);
        if (isnan(now)) {
            pn_sample_absent(s, PN_SUBJECT_POWER, "%s: /%s%s", pn_read_reason(errno), path,
                             errno == EACCES ? " (only root may read it)" : "");
            continue;
        }
        double used = now - z->before;
        if (used < 0 && z->range > 0)
            used += z->range;
        z->before = now;
        pn_sample_present(s, PN_SUBJECT_POWER, "RAPL");
        if (s->seconds > 0 && used >= 0)
            pn_sample_add(&s->power, z->name, used * 1e-6 / s->seconds, NAN);
    }
}

const struct pn_source pn_source_rapl = {"rapl", rapl_open, rapl_read, free};

/* ---- hwmon ---- */

struct input {
    char path[PN_PATH]; /* of the value */
    char name[PN_SHORT];
    int kind; /* of `kinds` */
    double most;
};

/* What sensors measure: how their files begin and end, and how their numbers become ours. */
static const struct {
    const char *prefix, *tail, *most;
    double scale, low, high; /* readings outside of this range are those of missing sensors */
    enum pn_subject subject;
    size_t list;
} kinds[] = {
    {"temp", "_input", "_crit", 1e-3, -50, 200, PN_SUBJECT_TEMPERATURE, offsetof(struct pn_sample, temperature)},
    {"fan", "_input", "_max", 1, 0, 100000, PN_SUBJECT_FAN, offsetof(struct pn_sample, fan)},
    {"power", "_input", "_cap", 1e-6, 0, 100000, PN_SUBJECT_POWER, offsetof(struct pn_sample, power)},
    {"power", "_average", "_cap", 1e-6, 0, 100000, PN_SUBJECT_POWER, offsetof(struct pn_sample, power)},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

struct hwmon {
    const char *root;
    int n;
    struct input input[MAX_INPUTS];
    bool has[PN_N_SUBJECTS];
};

/* The sensor of a file name such as "temp12_input"; false: another kind of file. */
static bool add_input(struct hwmon *h, const char *folder, const char *chip, const char *file)
{
    char path[PN_PATH], label[PN_SHORT];
    if (h->n == MAX_INPUTS)
        return false;
    for (int k = 0; k < N_KINDS; k++) {
        size_t prefix = strlen(kinds[k].prefix), digits = strspn(file + prefix, "0123456789");
        if (strncmp(file, kinds[k].prefix, prefix) != 0 || !digits ||
            strcmp(file + prefix + digits, kinds[k].tail) != 0)
            continue;
        struct input *in = &h->input[h->n];
        pn_path(path, "%s/%s", folder, file);
        if (strlen(path) >= sizeof in->path)
            return false;
        memcpy(in->path, path, strlen(path) + 1);
        in->kind = k;
        int stem = (int)(prefix + digits);
        pn_path(path, "%s/%.*s%s", folder, stem, file, kinds[k].most);
        double most = pn_read_number(h->root, path) * kinds[k].scale;
        in->most = most > 0 && most <= kinds[k].high ? most : NAN;
        pn_path(path, "%s/%.*s_label", folder, stem, file);
        pn_read_line(h->root, path, label, sizeof label);
        pn_path(path, "%s %.*s", chip, *label ? (int)sizeof label : stem, *label ? label : file);
        pn_sample_name(in->name, sizeof in->name, path);
        h->has[kinds[k].subject] = true;
        h->n++;
        return true;
    }
    return false;
}

/* Zones of the firmware, where no chip has temperatures. */
static void add_zones(struct hwmon *h)
{
    char zones[MAX_CHIPS][PN_ENTRY], path[PN_PATH];
    int n = pn_list_folder(h->root, "sys/class/thermal", "thermal_zone", zones, MAX_CHIPS);
    for (int i = 0; i < n && h->n < MAX_INPUTS && !h->has[PN_SUBJECT_TEMPERATURE]; i++) {
        struct input *in = &h->input[h->n++];
        *in = (struct input){.most = NAN};
        pn_path(path, "sys/class/thermal/%s/temp", zones[i]);
        memcpy(in->path, path, strlen(path) + 1);
        pn_path(path, "sys/class/thermal/%s/type", zones[i]);
        pn_read_line(h->root, path, in->name, sizeof in->name);
        pn_sample_name(in->name, sizeof in->name, in->name);
    }
}

static void *hwmon_open(const char *root)
{
    struct hwmon *h = calloc(1, sizeof *h);
    char chips[MAX_CHIPS][PN_ENTRY], (*files)[PN_ENTRY] = malloc(MAX_INPUTS * sizeof *files);
    if (!h || !files) {
        free(h);
        free(files);
        return NULL;
    }
    h->root = root;
    int n = pn_list_folder(root, chips_folder, "hwmon", chips, MAX_CHIPS);
    for (int i = 0; i < n; i++) {
        char folder[PN_PATH], path[PN_PATH], chip[24];
        pn_path(folder, "%s/%s", chips_folder, chips[i]);
        pn_path(path, "%s/name", folder);
        pn_read_line(root, path, chip, sizeof chip);
        for (int k = 0; k < N_KINDS; k++) {
            if (k && strcmp(kinds[k].prefix, kinds[k - 1].prefix) == 0)
                continue;
            int m = pn_list_folder(root, folder, kinds[k].prefix, files, MAX_INPUTS);
            for (int f = 0; f < m; f++)
                add_input(h, folder, chip, files[f]);
        }
    }
    add_zones(h);
    free(files);
    return h;
}

static void hwmon_read(void *state, struct pn_sample *s)
{
    struct hwmon *h = state;
    for (int i = 0; i < h->n; i++) {
        const struct input *in = &h->input[i];
        errno = EINVAL;
        double v = pn_read_number(h->root, in->path) * kinds[in->kind].scale;
        enum pn_subject subject = kinds[in->kind].subject;
        if (isnan(v)) {
            pn_sample_absent(s, subject, "%s: /%s", pn_read_reason(errno), in->path);
        } else if (v >= kinds[in->kind].low && v <= kinds[in->kind].high) {
            pn_sample_add((struct pn_sensors *)(void *)((char *)s + kinds[in->kind].list), in->name, v, in->most);
            pn_sample_present(s, subject, "hwmon");
        }
    }
    pn_sample_absent(s, PN_SUBJECT_TEMPERATURE, "this system shows no sensors: virtual machines have none");
    pn_sample_absent(s, PN_SUBJECT_FAN, "this system shows no fans");
    pn_sample_absent(s, PN_SUBJECT_POWER, "this system counts no energy: no RAPL in /sys/class/powercap");
}

const struct pn_source pn_source_hwmon = {"hwmon", hwmon_open, hwmon_read, free};
