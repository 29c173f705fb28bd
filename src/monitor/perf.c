/* Counters of memory controllers: see perf.h.
 *
 * A unit has a folder in /sys/bus/event_source/devices with `type`, `cpumask` (a processor per package), `format` (the
 * bits of each word of an event: "config:0-7") and `events` (named events, with a scale and a unit), see
 * Documentation/ABI/testing/sysfs-bus-event_source-devices-*. Intel's servers count CAS commands of 64 bytes, its
 * clients have data_reads and data_writes; AMD's umc has no named events, its numbers are those of perf's tables. */
#include "monitor/perf.h"

#include "monitor/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char devices[] = "sys/bus/event_source/devices";
enum { MAX_UNITS = 128, MAX_CPUS = 64 };

/* Which events of which units count bytes. Without `named`, `event` is the configuration itself. */
static const struct {
    const char *unit, *event;
    bool named;
    double bytes; /* per count, where the event has no scale */
    bool writes;
} wanted[] = {
    {"uncore_imc", "cas_count_read", true, 64, false},
    {"uncore_imc", "cas_count_write", true, 64, true},
    {"uncore_imc", "data_reads", true, 64, false},
    {"uncore_imc", "data_writes", true, 64, true},
    {"uncore_imc_free_running", "data_read", true, 64, false},
    {"uncore_imc_free_running", "data_write", true, 64, true},
    {"amd_umc", "event=0x0a,rdwrmask=0x1", false, 64, false},
    {"amd_umc", "event=0x0a,rdwrmask=0x2", false, 64, true},
};

/* Puts `value` into the bits of a format such as "config1:0-7,32-35". */
static bool put_bits(const char *format, uint64_t value, uint64_t config[3])
{
    uint64_t which = 0, first, last;
    if (strncmp(format, "config", 6) != 0)
        return false;
    format += 6;
    if (*format >= '1' && *format <= '2')
        which = (uint64_t)(*format++ - '0');
    if (*format != ':')
        return false;
    do {
        if (!pn_parse_u64(++format, &first) || first > 63)
            return false;
        format += strspn(format, "0123456789");
        last = first;
        if (*format == '-') {
            if (!pn_parse_u64(++format, &last))
                return false;
            format += strspn(format, "0123456789");
        }
        if (last < first || last > 63)
            return false;
        for (uint64_t bit = first; bit <= last; bit++, value >>= 1)
            config[which] |= (value & 1) << bit;
    } while (*format == ',');
    return value == 0;
}

bool pn_perf_event(const char *root, const char *format, const char *event, uint64_t config[3])
{
    memset(config, 0, 3 * sizeof *config);
    while (*event) {
        char word[32], path[PN_PATH], bits[64], *end;
        size_t n = strcspn(event, "=,\n");
        if (!n || n >= sizeof word || memchr(event, '/', n))
            return false;
        snprintf(word, sizeof word, "%.*s", (int)n, event);
        event += n;
        uint64_t value = 1;
        if (*event == '=') {
            value = strtoull(event + 1, &end, 0);
            if (end == event + 1)
                return false;
            event = end;
        }
        pn_path(path, "%s/%s", format, word);
        pn_read_line(root, path, bits, sizeof bits);
        if (!put_bits(bits, value, config) || (*event && *event != ',' && *event != '\n'))
            return false;
        event += *event != '\0';
    }
    return true;
}

/* A unit's name is that of the table and perhaps a number: uncore_imc_3, amd_umc_11. */
static bool is_unit(const char *name, const char *wanted_name)
{
    size_t n = strlen(wanted_name);
    if (strncmp(name, wanted_name, n) != 0)
        return false;
    name += n + (name[n] == '_');
    return strspn(name, "0123456789") == strlen(name);
}

struct cpus {
    int n, at[MAX_CPUS];
};

static void take_cpu(void *user, int cpu)
{
    struct cpus *c = user;
    if (c->n < MAX_CPUS)
        c->at[c->n++] = cpu;
}

/* Bytes per count: "6.103515625e-5" with the unit MiB. */
static double bytes_per_count(const char *root, const char *event_path, double otherwise)
{
    char path[PN_PATH], text[64], unit[16];
    pn_path(path, "%s.scale", event_path);
    pn_read_line(root, path, text, sizeof text);
    double scale = strtod(text, NULL);
    pn_path(path, "%s.unit", event_path);
    pn_read_line(root, path, unit, sizeof unit);
    double bytes = strcmp(unit, "MiB") == 0 ? scale * 1048576 : strcmp(unit, "Bytes") == 0 ? scale : 0;
    return bytes > 0 && bytes <= 4096 ? bytes : otherwise;
}

static int add_counters(const char *root, const char *unit, size_t w, struct pn_counter *out, int room)
{
    char path[PN_PATH], event[128], format[PN_PATH], text[256];
    struct cpus cpus = {0};
    struct pn_counter c = {.writes = wanted[w].writes, .bytes = wanted[w].bytes};
    pn_path(format, "%s/%s/format", devices, unit);
    pn_path(path, "%s/%s/events/%s", devices, unit, wanted[w].event);
    if (wanted[w].named)
        pn_read_line(root, path, event, sizeof event);
    else
        snprintf(event, sizeof event, "%s", wanted[w].event);
    if (!*event || !pn_perf_event(root, format, event, c.config))
        return 0;
    if (wanted[w].named)
        c.bytes = bytes_per_count(root, path, c.bytes);
    pn_path(path, "%s/%s/type", devices, unit);
    double type = pn_read_number(root, path);
    if (!(type >= 0 && type < 4294967296.0))
        return 0;
    c.type = (uint32_t)type;
    pn_path(path, "%s/%s/cpumask", devices, unit);
    if (pn_read_text(root, path, text, sizeof text) <= 0 || !pn_parse_list(text, 65536, take_cpu, &cpus))
        take_cpu(&cpus, 0);
    int n = 0;
    for (; n < cpus.n && n < room; n++) {
        out[n] = c;
        out[n].cpu = cpus.at[n];
    }
    return n;
}

int pn_perf_counters(const char *root, struct pn_counter *out)
{
    char units[MAX_UNITS][PN_ENTRY];
    int n = 0, n_units = pn_list_folder(root, devices, "", units, MAX_UNITS);
    for (int i = 0; i < n_units; i++)
        for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++)
            if (is_unit(units[i], wanted[w].unit))
                n += add_counters(root, units[i], w, out + n, PN_MAX_COUNTERS - n);
    return n;
}
