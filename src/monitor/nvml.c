/* NVIDIA's GPUs: see nvml.h. The numbers are those of NVML's reference manual. */
#define _DEFAULT_SOURCE 1
#include "monitor/nvml.h"

#include "monitor/files.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPHICS = 0, ON_DIE = 0, INSUFFICIENT = 7, MEMORY_VERSION = 40 | 2 << 24 };
/* Reasons for a lower clock that are a lack of power or heat: the cap, the hardware's slowdown, heat by software and
 * hardware, the power brake. */
static const unsigned long long slowed = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

/* nvmlProcessInfo_v2_t */
struct process_row {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};
_Static_assert(sizeof(struct process_row) == 24, "as in NVML");

struct state {
    const char *root;
    struct pn_nvml nvml;
    bool open;
    char why[PN_WHY];
};

bool pn_nvml_open(struct pn_nvml *out, char why[PN_WHY])
{
    static const struct {
        const char *name;
        size_t offset;
        bool may_lack;
    } symbols[] = {
        {"nvmlInit_v2", offsetof(struct pn_nvml, init), false},
        {"nvmlShutdown", offsetof(struct pn_nvml, shutdown), false},
        {"nvmlDeviceGetCount_v2", offsetof(struct pn_nvml, count), false},
        {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct pn_nvml, device), false},
        {"nvmlDeviceGetName", offsetof(struct pn_nvml, name), false},
        {"nvmlDeviceGetUtilizationRates", offsetof(struct pn_nvml, use), false},
        {"nvmlDeviceGetMemoryInfo", offsetof(struct pn_nvml, memory), false},
        {"nvmlDeviceGetMemoryInfo_v2", offsetof(struct pn_nvml, memory2), true},
        {"nvmlDeviceGetPowerUsage", offsetof(struct pn_nvml, power), false},
        {"nvmlDeviceGetTemperature", offsetof(struct pn_nvml, temperature), false},
        {"nvmlDeviceGetClockInfo", offsetof(struct pn_nvml, clock), false},
        {"nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(struct pn_nvml, reasons), false},
        {"nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct pn_nvml, processes), true},
    };
    memset(out, 0, sizeof *out);
    out->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!out->library) {
        snprintf(why, PN_WHY, "no GPU was found (NVIDIA's libnvidia-ml.so.1 is not installed)");
        return false;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *f = dlsym(out->library, symbols[i].name);
        if (!f && !symbols[i].may_lack) {
            snprintf(why, PN_WHY, "NVIDIA's driver is too old: it has no %s", symbols[i].name);
            goto fail;
        }
        memcpy((char *)out + symbols[i].offset, &f, sizeof f);
    }
    int code = out->init();
    if (code == 0)
        return true;
    snprintf(why, PN_WHY, "NVIDIA's driver does not answer (NVML error %d)", code);
fail:
    dlclose(out->library);
    out->library = NULL;
    return false;
}

static void read_processes(const struct pn_nvml *nvml, void *device, int gpu, struct pn_sample *s)
{
    struct process_row rows[PN_MAX_GPU_PROCESSES] = {0};
    unsigned n = PN_MAX_GPU_PROCESSES;
    if (!nvml->processes) {
        pn_sample_absent(s, PN_SUBJECT_GPU_PROCESSES, "NVIDIA's driver is too old");
        return;
    }
    int code = nvml->processes(device, &n, rows);
    if (code) {
        pn_sample_absent(s, PN_SUBJECT_GPU_PROCESSES, code == INSUFFICIENT ? "more than %d processes" : "NVML error %d",
                         code == INSUFFICIENT ? PN_MAX_GPU_PROCESSES : code);
        return;
    }
    pn_sample_present(s, PN_SUBJECT_GPU_PROCESSES, "NVML");
    for (unsigned i = 0; i < n && i < PN_MAX_GPU_PROCESSES && s->n_gpu_processes < PN_MAX_GPU_PROCESSES; i++) {
        struct pn_gpu_process *p = &s->gpu_process[s->n_gpu_processes++];
        char path[PN_PATH], name[64];
        pn_path(path, "proc/%u/comm", rows[i].pid);
        pn_read_line("", path, name, sizeof name);
        *p = (struct pn_gpu_process){.gpu = gpu, .pid = rows[i].pid, .bytes = (double)rows[i].bytes};
        pn_sample_name(p->name, sizeof p->name, *name ? name : "?");
        if (rows[i].bytes == ~0ull) /* hidden, as in containers */
            p->bytes = NAN;
    }
}

/* Without what the driver reserves, where it can tell that apart. */
static void read_memory(const struct pn_nvml *nvml, void *device, struct pn_gpu *g)
{
    unsigned long long with[5] = {MEMORY_VERSION}, without[3] = {0};
    g->total = g->used = NAN;
    if (nvml->memory2 && nvml->memory2(device, with) == 0) {
        g->total = (double)with[1];
        g->used = (double)with[4];
    } else if (nvml->memory(device, without) == 0) {
        g->total = (double)without[0];
        g->used = (double)without[2];
    }
}

static double number(int code, double v)
{
    return code == 0 ? v : NAN;
}

void pn_nvml_read(const struct pn_nvml *nvml, struct pn_sample *s)
{
    unsigned n = 0;
    int code = nvml->count(&n);
    if (code)
        pn_sample_absent(s, PN_SUBJECT_GPU, "NVIDIA's driver does not answer (NVML error %d)", code);
    for (unsigned i = 0; i < n && s->n_gpus < PN_MAX_GPUS; i++) {
        unsigned use[2] = {0}, milliwatts = 0, celsius = 0, mhz = 0;
        unsigned long long reasons = 0;
        char name[96] = "";
        void *d = NULL;
        if ((code = nvml->device(i, &d))) {
            pn_sample_absent(s, PN_SUBJECT_GPU, "GPU %u does not answer (NVML error %d)", i, code);
            continue;
        }
        struct pn_gpu *g = &s->gpu[s->n_gpus];
        int used = nvml->use(d, use);
        g->load = number(used, use[0] / 100.0);
        g->memory_load = number(used, use[1] / 100.0);
        read_memory(nvml, d, g);
        int known = nvml->power(d, &milliwatts);
        g->watts = number(known, milliwatts * 1e-3);
        known = nvml->temperature(d, ON_DIE, &celsius);
        g->celsius = number(known, celsius);
        known = nvml->clock(d, GRAPHICS, &mhz);
        g->hz = number(known, mhz * 1e6);
        known = nvml->reasons(d, &reasons);
        g->throttled = number(known, (reasons & slowed) != 0);
        pn_sample_name(g->name, sizeof g->name, nvml->name(d, name, sizeof name) == 0 && *name ? name : "NVIDIA");
        read_processes(nvml, d, s->n_gpus++, s);
        pn_sample_present(s, PN_SUBJECT_GPU, "NVML");
    }
}

static void *open_source(const char *root)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    state->root = root;
    state->open = !*root && pn_nvml_open(&state->nvml, state->why); /* fixtures have no driver */
    return state;
}

static void read_source(void *p, struct pn_sample *s)
{
    struct state *state = p;
    if (state->open)
        pn_nvml_read(&state->nvml, s);
    else if (*state->why && !s->n_gpus)
        pn_sample_absent(s, PN_SUBJECT_GPU, "%s", state->why);
}

static void close_source(void *p)
{
    struct state *state = p;
    if (state->open) {
        state->nvml.shutdown();
        dlclose(state->nvml.library);
    }
    free(state);
}

const struct pn_source pn_source_nvml = {"nvml", open_source, read_source, close_source};
