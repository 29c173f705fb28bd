/* Linux: graphics cards of AMD (amdgpu) and Intel (i915, xe) by their files in /sys/class/drm; NVIDIA's are in nvml.c.
 *
 * Documentation/gpu/amdgpu/thermal.rst and driver-misc.rst: gpu_busy_percent, mem_busy_percent, mem_info_vram_used, and
 * hwmon. Intel's drivers show the clock; their load needs the rights of perf. */
#include "monitor/linux.h"

#include "monitor/files.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct card {
    char folder[PN_ENTRY], hwmon[PN_ENTRY], name[64];
    bool amd;
};

struct drm {
    const char *root;
    int n;
    struct card card[PN_MAX_GPUS];
};

/* The value of a line "KEY=value" of a uevent file. */
static void value_of(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    *out = '\0';
    for (const char *line = text; line; line = pn_next_line(line))
        if (strncmp(line, key, n) == 0 && line[n] == '=')
            snprintf(out, size, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
}

static void look_at(struct drm *d, const char folder[PN_ENTRY])
{
    char path[PN_PATH], text[1024], driver[24], id[24], hwmon[1][PN_ENTRY];
    struct card *c = &d->card[d->n];
    pn_path(path, "sys/class/drm/%s/device/uevent", folder);
    pn_read_text(d->root, path, text, sizeof text);
    value_of(text, "DRIVER", driver, sizeof driver);
    value_of(text, "PCI_ID", id, sizeof id);
    bool amd = strcmp(driver, "amdgpu") == 0, intel = strcmp(driver, "i915") == 0 || strcmp(driver, "xe") == 0;
    if (!amd && !intel)
        return;
    *c = (struct card){.amd = amd};
    memcpy(c->folder, folder, PN_ENTRY);
    pn_path(path, "sys/class/drm/%s/device/product_name", folder);
    pn_read_line(d->root, path, text, sizeof text);
    if (*text)
        pn_sample_name(c->name, sizeof c->name, text);
    else
        snprintf(c->name, sizeof c->name, "%s %s", amd ? "AMD" : "Intel", id);
    pn_path(path, "sys/class/drm/%s/device/hwmon", folder);
    if (pn_list_folder(d->root, path, "hwmon", hwmon, 1) == 1)
        memcpy(c->hwmon, hwmon[0], sizeof c->hwmon);
    d->n++;
}

static void *drm_open(const char *root)
{
    struct drm *d = calloc(1, sizeof *d);
    char cards[64][PN_ENTRY];
    if (!d)
        return NULL;
    d->root = root;
    int n = pn_list_folder(root, "sys/class/drm", "card", cards, 64);
    for (int i = 0; i < n && d->n < PN_MAX_GPUS; i++)
        if (strlen(cards[i]) == 4 + strspn(cards[i] + 4, "0123456789")) /* not the connectors, "card0-DP-1" */
            look_at(d, cards[i]);
    return d;
}

static double card_number(const struct drm *d, const struct card *c, const char *tail)
{
    char path[PN_PATH];
    pn_path(path, "sys/class/drm/%s/%s", c->folder, tail);
    return pn_read_number(d->root, path);
}

static double hwmon_number(const struct drm *d, const struct card *c, const char *tail)
{
    char path[PN_PATH];
    if (!*c->hwmon)
        return NAN;
    pn_path(path, "device/hwmon/%s/%s", c->hwmon, tail);
    return card_number(d, c, path);
}

static double share(double percent)
{
    return percent >= 0 && percent <= 100 ? percent / 100 : NAN;
}

static double positive(double v)
{
    return v >= 0 ? v : NAN;
}

static void read_amd(const struct drm *d, const struct card *c, struct pn_gpu *g)
{
    g->load = share(card_number(d, c, "device/gpu_busy_percent"));
    g->memory_load = share(card_number(d, c, "device/mem_busy_percent"));
    g->used = positive(card_number(d, c, "device/mem_info_vram_used"));
    g->total = positive(card_number(d, c, "device/mem_info_vram_total"));
    g->hz = positive(hwmon_number(d, c, "freq1_input"));
    g->celsius = hwmon_number(d, c, "temp1_input") * 1e-3;
    double average = positive(hwmon_number(d, c, "power1_average"));
    g->watts = (isnan(average) ? positive(hwmon_number(d, c, "power1_input")) : average) * 1e-6;
}

static void read_intel(const struct drm *d, const struct card *c, struct pn_gpu *g)
{
    double mhz = card_number(d, c, "gt_act_freq_mhz");
    if (isnan(mhz))
        mhz = card_number(d, c, "device/tile0/gt0/freq0/act_freq");
    g->hz = positive(mhz) * 1e6;
    g->celsius = hwmon_number(d, c, "temp1_input") * 1e-3;
}

static void drm_read(void *state, struct pn_sample *s)
{
    struct drm *d = state;
    for (int i = 0; i < d->n && s->n_gpus < PN_MAX_GPUS; i++) {
        struct pn_gpu *g = &s->gpu[s->n_gpus++];
        *g = (struct pn_gpu){.load = NAN,
                             .hz = NAN,
                             .watts = NAN,
                             .celsius = NAN,
                             .used = NAN,
                             .total = NAN,
                             .memory_load = NAN,
                             .throttled = NAN};
        snprintf(g->name, sizeof g->name, "%s", d->card[i].name);
        if (d->card[i].amd)
            read_amd(d, &d->card[i], g);
        else
            read_intel(d, &d->card[i], g);
        pn_sample_present(s, PN_SUBJECT_GPU, d->card[i].amd ? "amdgpu" : "Intel's driver");
        if (isnan(g->load) && isnan(g->hz))
            pn_sample_absent(s, PN_SUBJECT_GPU, "the driver of %s shows nothing", g->name);
    }
    pn_sample_absent(s, PN_SUBJECT_GPU, "no GPU was found");
    pn_sample_absent(s, PN_SUBJECT_GPU_PROCESSES, "only NVIDIA's driver tells");
}

const struct pn_source pn_source_drm = {"drm", drm_open, drm_read, free};
