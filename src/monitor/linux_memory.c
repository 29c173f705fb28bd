/* Linux: /proc/meminfo, and the pressure of memory (Documentation/accounting/psi.rst).
 *
 * Used is what is not available, as in `free` of procps 4. */
#include "monitor/linux.h"

#include "monitor/files.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory {
    const char *root;
};

static void *memory_open(const char *root)
{
    struct memory *m = calloc(1, sizeof *m);
    if (m)
        m->root = root;
    return m;
}

/* Bytes of a line "MemTotal:  16314020 kB"; NAN: it is missing. */
static double bytes_of(const char *text, const char *name)
{
    size_t n = strlen(name);
    uint64_t kib;
    for (const char *line = text; line; line = pn_next_line(line))
        if (strncmp(line, name, n) == 0 && line[n] == ':')
            return pn_parse_u64(line + n + 1, &kib) ? (double)kib * 1024 : NAN;
    return NAN;
}

/* "some avg10=1.25 avg60=..." as a share; NAN: not there, or not one. */
static double share_of(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    const char *value = line ? strstr(line, "avg10=") : NULL;
    const char *end = line ? strchr(line, '\n') : NULL;
    if (!value || (end && value > end))
        return NAN;
    double percent = strtod(value + 6, NULL);
    return percent >= 0 && percent <= 100 ? percent / 100 : NAN;
}

static void read_pressure(struct memory *m, struct pn_sample *s)
{
    char text[512];
    if (pn_read_text(m->root, "proc/pressure/memory", text, sizeof text) < 0) {
        pn_sample_absent(s, PN_SUBJECT_PRESSURE, "%s: /proc/pressure/memory",
                         errno == EOPNOTSUPP ? "switched off (psi=1 on the kernel's command line)"
                                             : pn_read_reason(errno));
        return;
    }
    s->pressure = share_of(text, "some ");
    s->pressure_full = share_of(text, "full ");
    if (!isnan(s->pressure))
        pn_sample_present(s, PN_SUBJECT_PRESSURE, "/proc/pressure");
    pn_sample_absent(s, PN_SUBJECT_PRESSURE, "/proc/pressure/memory has another form");
}

static void memory_read(void *state, struct pn_sample *s)
{
    struct memory *m = state;
    char text[8192];
    if (pn_read_text(m->root, "proc/meminfo", text, sizeof text) < 0) {
        pn_sample_absent(s, PN_SUBJECT_MEMORY, "%s: /proc/meminfo", pn_read_reason(errno));
    } else {
        s->memory_total = bytes_of(text, "MemTotal");
        s->memory_available = bytes_of(text, "MemAvailable");
        if (s->memory_total >= s->memory_available)
            s->memory_used = s->memory_total - s->memory_available;
        s->swap_total = bytes_of(text, "SwapTotal");
        double left = bytes_of(text, "SwapFree");
        if (s->swap_total >= left)
            s->swap_used = s->swap_total - left;
        if (!isnan(s->memory_used))
            pn_sample_present(s, PN_SUBJECT_MEMORY, "/proc/meminfo");
        pn_sample_absent(s, PN_SUBJECT_MEMORY, "/proc/meminfo has no MemTotal and MemAvailable that agree");
    }
    read_pressure(m, s);
}

const struct pn_source pn_source_memory = {"memory", memory_open, memory_read, free};
