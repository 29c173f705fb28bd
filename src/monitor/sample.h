/* One sample of the machine, as data. What a source could not read is absent: a number is NAN, a list is empty, and
 * `why` of its subject says the reason. Nothing that is absent is ever 0. */
#ifndef PN_MONITOR_SAMPLE_H
#define PN_MONITOR_SAMPLE_H

#include "base/alloc.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum pn_subject {
#define PN_SUBJECT(id, name, words) PN_SUBJECT_##id,
#include "monitor/subjects.def"
#undef PN_SUBJECT
    PN_N_SUBJECTS
};

/* Longer lists are cut. */
enum {
    PN_MAX_CORES = 1024,
    PN_MAX_CLUSTERS = 64,
    PN_MAX_GPUS = 16,
    PN_MAX_GPU_PROCESSES = 64,
    PN_MAX_SENSORS = 64,
    PN_WHY = 160,
    PN_SHORT = 48
};

struct pn_core {
    double load, hz; /* load: share of the time, 0 to 1 */
    int cluster;
};

/* Cores of one kind that share a package or a die. */
struct pn_cluster {
    char name[PN_SHORT];
    int n_cores;
    double load, hz, most_hz;
};

struct pn_gpu {
    char name[64];
    double load, hz, watts, celsius;
    double used, total; /* bytes of memory */
    double memory_load; /* share of the time in which its memory was read or written */
    double throttled;   /* 1: it runs slower than it could, because of power or heat; 0: it does not */
};

struct pn_gpu_process {
    char name[PN_SHORT];
    int gpu;
    int64_t pid;
    double bytes;
};

struct pn_sensor {
    char name[PN_SHORT];
    double value; /* watts, degrees Celsius, or turns per minute */
    double most;  /* NAN: unknown */
};

struct pn_sensors {
    int n;
    struct pn_sensor at[PN_MAX_SENSORS];
};

struct pn_sample {
    char machine[96];                     /* the processor's name; "": unknown */
    double seconds;                       /* since the sample before; NAN at the first, which has no rates */
    char why[PN_N_SUBJECTS][PN_WHY];      /* why it is absent; "": it is there */
    char source[PN_N_SUBJECTS][PN_SHORT]; /* where it comes from, as a few words */

    double load; /* of all cores, 0 to 1 */
    int n_cores, n_clusters;
    struct pn_core core[PN_MAX_CORES];
    struct pn_cluster cluster[PN_MAX_CLUSTERS];
    double throttled; /* 0: the processor is not slowed down; otherwise how much, as source[THROTTLE] says */

    double memory_total, memory_used, memory_available, swap_total, swap_used; /* bytes */
    double pressure, pressure_full; /* share of the last ten seconds in which some, or all, threads waited for memory */
    double pressure_level;          /* macOS: 1 normal, 2 warning, 4 critical */

    double read_rate, write_rate, memory_rate; /* of main memory, bytes per second; the last is their sum */
    bool rate_estimated, rate_at_least;        /* the source does not count bytes; it cannot count more than this */

    int n_gpus, n_gpu_processes;
    struct pn_gpu gpu[PN_MAX_GPUS];
    struct pn_gpu_process gpu_process[PN_MAX_GPU_PROCESSES];

    struct pn_sensors power, temperature, fan;
};

/* The name of a subject in JSON, and in words. */
const char *pn_subject_name(enum pn_subject subject);
const char *pn_subject_words(enum pn_subject subject);

/* Makes everything absent, without reasons. */
void pn_sample_clear(struct pn_sample *s);
/* The first reason stays. */
void pn_sample_absent(struct pn_sample *s, enum pn_subject subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Something was read: reasons of other sources no longer count. */
void pn_sample_present(struct pn_sample *s, enum pn_subject subject, const char *source);
/* Adds a reading unless the list is full or the value is not finite. The name is cut, and control characters become
 * '?'. */
void pn_sample_add(struct pn_sensors *list, const char *name, double value, double most);
/* Copies a name that the machine gave, as above. */
void pn_sample_name(char *out, size_t size, const char *name);
/* The cluster of this name, which is made if it does not exist; -1: the list is full. */
int pn_sample_cluster(struct pn_sample *s, const char *name);
/* Load and clock of clusters, and of the whole, from those of the cores. */
void pn_sample_sum_cores(struct pn_sample *s);

/* For programs. Absent numbers are left out; "absent" has the reasons by subject. NULL: out of memory. */
json_t *pn_sample_json(const struct pn_sample *s);
/* Prometheus' text format, version 0.0.4; names begin with pantry_machine_. */
void pn_sample_prometheus(const struct pn_sample *s, struct pn_buf *out);

#endif
