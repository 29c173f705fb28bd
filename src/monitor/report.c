/* Samples for programs: JSON, and Prometheus' text format. See sample.h. Tables name every number once, for both. */
#include "monitor/sample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A number of a struct. */
struct number {
    const char *json, *prometheus, *help; /* without `prometheus` only in JSON */
    size_t offset;
};

#define OF(type, member) offsetof(struct type, member)
static const struct number machine_numbers[] = {
    {"seconds", NULL, NULL, OF(pn_sample, seconds)},
    {"load", "load_ratio", "Load of all processor cores", OF(pn_sample, load)},
    {"throttled", "throttled", "0 unless heat or power slow the processor down", OF(pn_sample, throttled)},
    {"memory_total_bytes", "memory_total_bytes", "Main memory", OF(pn_sample, memory_total)},
    {"memory_used_bytes", "memory_used_bytes", "Main memory that programs use", OF(pn_sample, memory_used)},
    {"memory_available_bytes", "memory_available_bytes", "Main memory that programs could get",
     OF(pn_sample, memory_available)},
    {"swap_total_bytes", "swap_total_bytes", "Swap", OF(pn_sample, swap_total)},
    {"swap_used_bytes", "swap_used_bytes", "Swap in use", OF(pn_sample, swap_used)},
    {"pressure", "memory_pressure_ratio", "Share of ten seconds in which a thread waited for memory",
     OF(pn_sample, pressure)},
    {"pressure_full", "memory_pressure_full_ratio", "Share of ten seconds in which all threads waited for memory",
     OF(pn_sample, pressure_full)},
    {"pressure_level", "memory_pressure_level", "Pressure of memory on macOS: 1 normal, 2 warning, 4 critical",
     OF(pn_sample, pressure_level)},
    {"read_bytes_per_second", "memory_read_bytes_per_second", "Bytes read from main memory", OF(pn_sample, read_rate)},
    {"write_bytes_per_second", "memory_written_bytes_per_second", "Bytes written to main memory",
     OF(pn_sample, write_rate)},
    {"memory_bytes_per_second", "memory_bytes_per_second", "Bytes read from and written to main memory",
     OF(pn_sample, memory_rate)},
};
static const struct number core_numbers[] = {
    {"load", "core_load_ratio", "Load of a processor core", OF(pn_core, load)},
    {"hz", "core_hertz", "Clock of a processor core", OF(pn_core, hz)},
};
static const struct number cluster_numbers[] = {
    {"load", "cluster_load_ratio", "Load of a cluster of cores", OF(pn_cluster, load)},
    {"hz", "cluster_hertz", "Clock of a cluster of cores", OF(pn_cluster, hz)},
    {"most_hz", "cluster_most_hertz", "Highest clock of a cluster of cores", OF(pn_cluster, most_hz)},
};
static const struct number gpu_numbers[] = {
    {"load", "gpu_load_ratio", "Load of a GPU", OF(pn_gpu, load)},
    {"hz", "gpu_hertz", "Clock of a GPU", OF(pn_gpu, hz)},
    {"watts", "gpu_watts", "Power of a GPU", OF(pn_gpu, watts)},
    {"celsius", "gpu_celsius", "Temperature of a GPU", OF(pn_gpu, celsius)},
    {"memory_used_bytes", "gpu_memory_used_bytes", "Memory of a GPU in use", OF(pn_gpu, used)},
    {"memory_total_bytes", "gpu_memory_total_bytes", "Memory of a GPU", OF(pn_gpu, total)},
    {"memory_load", "gpu_memory_load_ratio", "Share of the time in which the memory of a GPU was busy",
     OF(pn_gpu, memory_load)},
    {"throttled", "gpu_throttled", "1 if power or heat make a GPU slower", OF(pn_gpu, throttled)},
};
static const struct number process_numbers[] = {
    {"memory_bytes", "gpu_process_memory_bytes", "Memory of a GPU that a process uses", OF(pn_gpu_process, bytes)},
};
static const struct number watts[] = {{"watts", "watts", "Power of a part of the machine", OF(pn_sensor, value)}};
static const struct number degrees[] = {{"celsius", "celsius", "Temperature of a sensor", OF(pn_sensor, value)}};
static const struct number turns[] = {
    {"rpm", "fan_rpm", "Turns per minute of a fan", OF(pn_sensor, value)},
    {"most_rpm", "fan_most_rpm", "Most turns per minute of a fan", OF(pn_sensor, most)},
};

/* A list of structs in a sample. */
struct list {
    const char *json, *label; /* the label of Prometheus, whose value is the name, or the index where it has none */
    size_t offset, count, size;
    ptrdiff_t name; /* offset of the name; -1: it has none */
    const struct number *number;
    size_t n_numbers;
};

#define NUMBERS(table)  table, sizeof table / sizeof *table
#define SENSORS(member) OF(pn_sample, member.at), OF(pn_sample, member.n), sizeof(struct pn_sensor), 0
static const struct list lists[] = {
    {"clusters", "cluster", OF(pn_sample, cluster), OF(pn_sample, n_clusters), sizeof(struct pn_cluster),
     OF(pn_cluster, name), NUMBERS(cluster_numbers)},
    {"cores", "core", OF(pn_sample, core), OF(pn_sample, n_cores), sizeof(struct pn_core), -1, NUMBERS(core_numbers)},
    {"gpus", "gpu", OF(pn_sample, gpu), OF(pn_sample, n_gpus), sizeof(struct pn_gpu), OF(pn_gpu, name),
     NUMBERS(gpu_numbers)},
    {"gpu_processes", "process", OF(pn_sample, gpu_process), OF(pn_sample, n_gpu_processes),
     sizeof(struct pn_gpu_process), OF(pn_gpu_process, name), NUMBERS(process_numbers)},
    {"power", "part", SENSORS(power), NUMBERS(watts)},
    {"temperatures", "sensor", SENSORS(temperature), NUMBERS(degrees)},
    {"fans", "fan", SENSORS(fan), NUMBERS(turns)},
};
enum { N_LISTS = sizeof lists / sizeof *lists };

static double number_of(const void *base, const struct number *n)
{
    double v;
    memcpy(&v, (const char *)base + n->offset, sizeof v);
    return v;
}

static int count_of(const struct pn_sample *s, const struct list *l)
{
    int n;
    memcpy(&n, (const char *)s + l->count, sizeof n);
    return n;
}

static const char *row_of(const struct pn_sample *s, const struct list *l, int i)
{
    return (const char *)s + l->offset + (size_t)i * l->size;
}

static void set_numbers(json_t *out, const void *base, const struct number *table, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(number_of(base, &table[i])))
            json_object_set_new(out, table[i].json, json_real(number_of(base, &table[i])));
}

static void set_texts(json_t *out, const char *key, const char *texts, size_t size)
{
    json_t *object = json_object();
    for (size_t i = 0; i < PN_N_SUBJECTS; i++)
        if (texts[i * size])
            json_object_set_new(object, pn_subject_name((enum pn_subject)i), json_string(texts + i * size));
    json_object_set_new(out, key, object);
}

json_t *pn_sample_json(const struct pn_sample *s)
{
    json_t *out = json_object();
    if (*s->machine)
        json_object_set_new(out, "machine", json_string(s->machine));
    set_numbers(out, s, NUMBERS(machine_numbers));
    if (isfinite(s->memory_rate)) {
        json_object_set_new(out, "memory_rate_estimated", json_boolean(s->rate_estimated));
        json_object_set_new(out, "memory_rate_at_least", json_boolean(s->rate_at_least));
    }
    for (size_t i = 0; i < N_LISTS; i++) {
        const struct list *l = &lists[i];
        json_t *rows = json_array();
        for (int k = 0; k < count_of(s, l); k++) {
            const char *row = row_of(s, l, k);
            json_t *v = json_object();
            if (l->name >= 0)
                json_object_set_new(v, "name", json_string(row + l->name));
            set_numbers(v, row, l->number, l->n_numbers);
            json_array_append_new(rows, v);
        }
        json_object_set_new(out, l->json, rows);
    }
    json_t *cores = json_object_get(out, "cores"), *processes = json_object_get(out, "gpu_processes");
    for (int i = 0; i < s->n_cores; i++)
        if (s->core[i].cluster >= 0)
            json_object_set_new(json_array_get(cores, (size_t)i), "cluster", json_integer(s->core[i].cluster));
    for (int i = 0; i < s->n_gpu_processes; i++) {
        json_t *v = json_array_get(processes, (size_t)i);
        json_object_set_new(v, "pid", json_integer((json_int_t)s->gpu_process[i].pid));
        json_object_set_new(v, "gpu", json_integer(s->gpu_process[i].gpu));
    }
    set_texts(out, "sources", s->source[0], sizeof *s->source);
    set_texts(out, "absent", s->why[0], sizeof *s->why);
    return out;
}

static void put_help(struct pn_buf *out, const struct number *n)
{
    pn_buf_printf(out, "# HELP pantry_machine_%s %s.\n# TYPE pantry_machine_%s gauge\n", n->prometheus, n->help,
                  n->prometheus);
}

/* A label's value: names have no control characters, so that only these two need a backslash. */
static void put_label(struct pn_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            pn_buf_putc(out, '\\');
        pn_buf_putc(out, *text);
    }
}

static void put_rows(const struct pn_sample *s, const struct list *l, const struct number *n, struct pn_buf *out)
{
    bool helped = false;
    for (int k = 0; k < count_of(s, l); k++) {
        const char *row = row_of(s, l, k);
        double v = number_of(row, n);
        if (!isfinite(v))
            continue;
        if (!helped)
            put_help(out, n);
        helped = true;
        pn_buf_printf(out, "pantry_machine_%s{", n->prometheus);
        if (l->name >= 0) { /* names may repeat: the index makes the labels unique */
            pn_buf_printf(out, "%s=\"", l->label);
            put_label(out, row + l->name);
            pn_buf_printf(out, "\",index=\"%d\"} %.10g\n", k, v);
        } else {
            pn_buf_printf(out, "%s=\"%d\"} %.10g\n", l->label, k, v);
        }
    }
}

void pn_sample_prometheus(const struct pn_sample *s, struct pn_buf *out)
{
    for (size_t i = 0; i < sizeof machine_numbers / sizeof *machine_numbers; i++) {
        const struct number *n = &machine_numbers[i];
        if (!n->prometheus || !isfinite(number_of(s, n)))
            continue;
        put_help(out, n);
        pn_buf_printf(out, "pantry_machine_%s %.10g\n", n->prometheus, number_of(s, n));
    }
    for (size_t i = 0; i < N_LISTS; i++)
        for (size_t k = 0; k < lists[i].n_numbers; k++)
            put_rows(s, &lists[i], &lists[i].number[k], out);
    bool helped = false;
    for (size_t i = 0; i < PN_N_SUBJECTS; i++) {
        if (!*s->why[i])
            continue;
        if (!helped)
            pn_buf_puts(out, "# HELP pantry_machine_absent What could not be read.\n"
                             "# TYPE pantry_machine_absent gauge\n");
        helped = true;
        pn_buf_printf(out, "pantry_machine_absent{subject=\"%s\"} 1\n", pn_subject_name((enum pn_subject)i));
    }
}
