/* Linux: the sources of samples, and the counters of memory controllers through perf_event_open(2). */
#ifdef __linux__
#define _GNU_SOURCE 1
#include "monitor/source.h"

#include "monitor/linux.h"
#include "monitor/nvml.h"
#include "monitor/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uncore {
    int n;
    struct pn_counter counter[PN_MAX_COUNTERS];
    int file[PN_MAX_COUNTERS]; /* -1: not open */
    uint64_t before[PN_MAX_COUNTERS];
    int error; /* of the first that cannot be opened; 0: none */
};

static int open_counter(const struct pn_counter *c)
{
    struct perf_event_attr attr = {.size = sizeof attr, .type = c->type, .config = c->config[0]};
    attr.config1 = c->config[1];
    attr.config2 = c->config[2];
    return (int)syscall(SYS_perf_event_open, &attr, -1, c->cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void *uncore_open(const char *root)
{
    struct uncore *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->n = pn_perf_counters(root, u->counter);
    for (int i = 0; i < u->n; i++) {
        u->file[i] = *root ? -1 : open_counter(&u->counter[i]);
        if (u->file[i] < 0 && !u->error)
            u->error = *root ? ENOENT : errno;
    }
    return u;
}

static void uncore_close(void *state)
{
    struct uncore *u = state;
    for (int i = 0; i < u->n; i++)
        if (u->file[i] >= 0)
            close(u->file[i]);
    free(u);
}

/* All controllers or none: a part of them would be a wrong sum. */
static void uncore_read(void *state, struct pn_sample *s)
{
    struct uncore *u = state;
    double sum[2] = {0};
    bool complete = u->n > 0 && !u->error;
    for (int i = 0; i < u->n && complete; i++) {
        uint64_t now;
        if (read(u->file[i], &now, sizeof now) != sizeof now || now < u->before[i]) {
            complete = false;
            break;
        }
        sum[u->counter[i].writes] += (double)(now - u->before[i]) * u->counter[i].bytes;
        u->before[i] = now;
    }
    if (complete) {
        pn_sample_present(s, PN_SUBJECT_BANDWIDTH, "memory controllers (perf)");
        if (s->seconds > 0) {
            s->read_rate = sum[0] / s->seconds;
            s->write_rate = sum[1] / s->seconds;
            s->memory_rate = s->read_rate + s->write_rate;
        }
    } else if (u->error == EACCES || u->error == EPERM) {
        pn_sample_absent(s, PN_SUBJECT_BANDWIDTH,
                         "no permission: kernel.perf_event_paranoid must be 0 or less, or run with CAP_PERFMON");
    } else if (u->n) {
        pn_sample_absent(s, PN_SUBJECT_BANDWIDTH, "the memory controllers' counters cannot be read: %s",
                         u->error ? strerror(u->error) : "a reading failed");
    }
    pn_sample_absent(s, PN_SUBJECT_BANDWIDTH, "this system shows no counters of memory controllers");
}

static const struct pn_source uncore = {"uncore", uncore_open, uncore_read, uncore_close};

const struct pn_source *const pn_sources[] = {
    &pn_source_processor, &pn_source_memory, &uncore,          &pn_source_nvml,
    &pn_source_drm,       &pn_source_rapl,   &pn_source_hwmon, NULL};

#else
typedef int pn_monitor_os_linux_is_empty; /* ISO C wants a declaration */
#endif
