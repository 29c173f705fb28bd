/* Fuzzes what `pantry top` reads. The first byte chooses: a recording of Apple's counters, Prometheus' text, or one
 * file of a made-up tree of /proc and /sys, which all sources of Linux then read. What they find is finite and within
 * its bounds. */
#define _GNU_SOURCE      1 /* mkdtemp */
#define _DARWIN_C_SOURCE 1
#include "cli/metrics.h"
#include "monitor/linux.h"
#include "monitor/perf.h"
#include "recording.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const files[] = {
    "proc/stat",
    "proc/meminfo",
    "proc/cpuinfo",
    "proc/pressure/memory",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
    "sys/devices/cpu_atom/cpus",
    "sys/class/powercap/intel-rapl:0/name",
    "sys/class/powercap/intel-rapl:0/energy_uj",
    "sys/class/hwmon/hwmon0/name",
    "sys/class/hwmon/hwmon0/temp1_label",
    "sys/class/hwmon/hwmon0/temp1_input",
    "sys/class/drm/card0/device/uevent",
    "sys/class/drm/card0/device/gpu_busy_percent",
    "sys/bus/event_source/devices/uncore_imc_0/events/cas_count_read",
    "sys/bus/event_source/devices/uncore_imc_0/events/cas_count_read.scale",
    "sys/bus/event_source/devices/uncore_imc_0/format/event",
    "sys/bus/event_source/devices/uncore_imc_0/cpumask",
    "sys/bus/event_source/devices/uncore_imc_0/type",
    "proc/7/fdinfo/3",
};
enum { N_FILES = sizeof files / sizeof *files };

static struct pn_sample s;
static char root[160]; /* of the made-up tree */

static void check(double v, double low, double high)
{
    if (!isnan(v) && !(v >= low && v <= high))
        abort();
}

static void check_sample(void)
{
    check(s.load, 0, 1);
    check(s.pressure, 0, 1);
    check(s.memory_used, 0, s.memory_total);
    check(s.memory_rate, 0, 1e30);
    for (int i = 0; i < s.n_cores; i++) {
        check(s.core[i].load, 0, 1);
        check(s.core[i].hz, 0, 1e15);
        if (s.core[i].cluster >= s.n_clusters)
            abort();
    }
    for (int i = 0; i < s.power.n; i++)
        check(s.power.at[i].value, 0, 1e12);
    for (int i = 0; i < s.temperature.n; i++)
        check(s.temperature.at[i].value, -100, 1e15);
    for (int i = 0; i < s.n_gpu_processes; i++)
        check(s.gpu_process[i].bytes, 0, 1e33);
    json_t *json = pn_sample_json(&s);
    char *text = json_dumps(json, JSON_COMPACT);
    if (!text)
        abort();
    free(text);
    json_decref(json);
    struct pn_buf out = {0};
    pn_sample_prometheus(&s, &out);
    const char *p = out.data ? out.data : "";
    struct pn_metric m;
    size_t n = 0, lines = 0;
    while (pn_metrics_next(&p, &m))
        n++;
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n' && (i + 1 < out.len ? out.data[i + 1] != '#' : false);
    if (n > lines + 1)
        abort();
    pn_buf_free(&out);
}

/* Writes a file of the tree and its folders. */
static void put(const char *name, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    if (!f)
        abort();
    fwrite(bytes, 1, n, f);
    fclose(f);
}

static const char *usual(const char *name)
{
    return strstr(name, "stat")     ? "cpu0 1 1 1 1\n"
           : strstr(name, "uevent") ? "DRIVER=amdgpu\nPCI_SLOT_NAME=0\n"
           : strstr(name, "fdinfo") ? "drm-pdev: 0\ndrm-client-id: 1\ndrm-memory-vram: 1 KiB\n"
           : strstr(name, "format") ? "config:0-7"
           : strstr(name, "events") ? "event=0x4"
                                    : "1\n";
}

static void make_tree(void)
{
    snprintf(root, sizeof root, "%s/pantry-fuzz-monitor.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(root))
        abort();
    for (size_t i = 0; i < N_FILES; i++)
        put(files[i], usual(files[i]), strlen(usual(files[i])));
    char link[512];
    put("proc/7/fd/4", "", 0);
    snprintf(link, sizeof link, "%s/proc/7/fd/3", root);
    if (symlink("/dev/dri/renderD128", link))
        abort();
}

static void read_tree(size_t which, const uint8_t *data, size_t size)
{
    static const struct pn_source *const sources[] = {&pn_source_processor, &pn_source_memory, &pn_source_rapl,
                                                      &pn_source_hwmon, &pn_source_drm};
    static struct pn_counter counters[PN_MAX_COUNTERS];
    if (!*root)
        make_tree();
    put(files[which], data, size / 2);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        void *state = sources[i]->open(root);
        pn_sample_clear(&s);
        sources[i]->read(state, &s);
        check_sample();
        pn_sample_clear(&s);
        s.seconds = 1;
        put(files[which], data, size);
        sources[i]->read(state, &s);
        check_sample();
        sources[i]->close(state);
    }
    int n = pn_perf_counters(root, counters);
    for (int i = 0; i < n; i++)
        check(counters[i].bytes, 0, 4096);
    put(files[which], usual(files[which]), strlen(usual(files[which])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    size_t which = data[0] % (N_FILES + 2);
    data++;
    size--;
    if (which >= 2) {
        read_tree(which - 2, data, size);
        return 0;
    }
    char *text = malloc(size + 1); /* of exactly this size */
    memcpy(text, data, size);
    text[size] = '\0';
    if (which == 0) {
        struct pn_apple apple;
        pn_apple_new(&apple);
        pn_apple_calibrate(&apple, 1, 5, 1e11);
        pn_sample_clear(&s);
        play_recording(&apple, text, 1, &s);
        check_sample();
    } else {
        struct pn_metric m;
        for (const char *p = text; pn_metrics_next(&p, &m);)
            if (!isfinite(m.value) || !*m.name || p > text + size)
                abort();
    }
    free(text);
    return 0;
}
