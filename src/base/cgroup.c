/* Control groups: see cgroup.h. /proc/self/cgroup says which groups the process is in, /proc/self/mountinfo where their
 * files are (man 7 cgroups, man 5 proc). Version 1 has one tree per resource, version 2 one tree for all; both may be
 * mounted at once. */
#include "base/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096, LINE_SIZE = 3 * PATH_SIZE };

struct mount {
    char root[PATH_SIZE], point[PATH_SIZE]; /* which group is mounted, and where */
    char type[32], options[PATH_SIZE];
};

/* ---- files of one group ---- */

static FILE *open_file(const char *folder, const char *name)
{
    char path[2 * PATH_SIZE + 64];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* Reads the first word and the number after it, if any. */
static bool read_words(const char *folder, const char *name, char first[32], double *second)
{
    FILE *f = open_file(folder, name);
    if (!f)
        return false;
    *second = 0;
    bool ok = fscanf(f, "%31s %lf", first, second) >= 1;
    fclose(f);
    return ok;
}

static bool parse_bytes(const char *text, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') /* "max" */
        return false;
    *out = strtoull(text, &end, 10);
    return !*end;
}

static bool read_bytes(const char *folder, const char *name, uint64_t *out)
{
    char text[32];
    double unused;
    return read_words(folder, name, text, &unused) && parse_bytes(text, out);
}

/* Bytes of cached files, which the system reclaims when memory is short. In version 1 the sums over a group and its
 * descendants have their own names. */
static uint64_t reclaimable(const char *folder, bool v2)
{
    static const char *const names[2][2] = {{"total_inactive_file", "total_active_file"},
                                            {"inactive_file", "active_file"}};
    char name[64];
    unsigned long long value;
    uint64_t sum = 0;
    FILE *f = open_file(folder, "memory.stat");
    while (f && fscanf(f, "%63s %llu", name, &value) == 2)
        if (strcmp(name, names[v2][0]) == 0 || strcmp(name, names[v2][1]) == 0)
            sum += value;
    if (f)
        fclose(f);
    return sum;
}

static void limit_memory(const char *folder, bool v2, const char *limit_name, struct pn_cgroup *out)
{
    uint64_t limit, used;
    if (!read_bytes(folder, limit_name, &limit))
        return;
    if (limit < out->memory_limit)
        out->memory_limit = limit;
    if (!read_bytes(folder, v2 ? "memory.current" : "memory.usage_in_bytes", &used))
        used = 0;
    uint64_t cached = reclaimable(folder, v2);
    used = cached < used ? used - cached : 0;
    uint64_t left = used < limit ? limit - used : 0;
    if (left < out->memory_left)
        out->memory_left = left;
}

static void limit_cpus(const char *folder, bool v2, struct pn_cgroup *out)
{
    char quota[32], period[32] = "";
    double length = 0, unused;
    if (!read_words(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", quota, &length))
        return;
    if (!v2)
        length = read_words(folder, "cpu.cfs_period_us", period, &unused) ? atof(period) : 0;
    double n = length > 0 ? atof(quota) / length : 0; /* "max" is 0, and version 1 has -1 for no limit */
    if (n > 0 && (out->n_cpus == 0 || n < out->n_cpus))
        out->n_cpus = n;
}

/* ---- from the own group to the root ---- */

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

/* Finds the process's own group in the tree of a resource (NULL: the tree of version 2, which names none). */
static bool own_group(const char *root, const char *resource, char path[PATH_SIZE])
{
    char line[LINE_SIZE];
    bool found = false;
    FILE *f = open_file(root, "proc/self/cgroup");
    while (f && !found && fgets(line, sizeof line, f)) { /* "4:memory:/a/b" */
        char *resources = strchr(line, ':'), *group = resources ? strchr(resources + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        found = resource ? has_word(resources + 1, resource) : !resources[1];
        snprintf(path, PATH_SIZE, "%s", group); /* of the last line read */
    }
    if (f)
        fclose(f);
    return found;
}

/* Applies the limits of each group from the process's own up to the mounted one. */
static void climb(const char *root, const struct mount *m, const char *resource, bool v2, struct pn_cgroup *out)
{
    char own[PATH_SIZE], folder[2 * PATH_SIZE];
    if (!own_group(root, v2 ? NULL : resource, own))
        return;
    const char *below = own;
    size_t n = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
    if (strncmp(own, m->root, n) == 0 && (own[n] == '/' || !own[n]))
        below = own + n;
    else
        below = ""; /* outside of what is mounted: a container shows only its own part of the tree */
    if (strstr(below, "/.."))
        below = "";
    size_t top = strlen(root) + strlen(m->point);
    int len = snprintf(folder, sizeof folder, "%s%s%s", root, m->point, below);
    if (len < 0 || (size_t)len >= sizeof folder)
        return;
    for (;;) {
        if (strcmp(resource, "cpu") == 0) {
            limit_cpus(folder, v2, out);
        } else {
            limit_memory(folder, v2, v2 ? "memory.max" : "memory.limit_in_bytes", out);
            if (v2)
                limit_memory(folder, v2, "memory.high", out);
        }
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < top)
            return;
        *slash = '\0';
    }
}

/* "30 23 0:26 /root /mount/point rw shared:9 - cgroup2 cgroup2 rw,nsdelegate" */
static bool parse_mount(char *line, struct mount *m)
{
    char *rest = strstr(line, " - ");
    if (!rest)
        return false;
    *rest = '\0';
    return sscanf(line, "%*s %*s %*s %4095s %4095s", m->root, m->point) == 2 &&
           sscanf(rest + 3, "%31s %*s %4095s", m->type, m->options) == 2;
}

void pn_cgroup_read(const char *root, struct pn_cgroup *out)
{
    static const char *const resources[] = {"cpu", "memory"};
    char line[LINE_SIZE];
    struct mount m;
    *out = (struct pn_cgroup){.memory_limit = UINT64_MAX, .memory_left = UINT64_MAX};
    FILE *f = open_file(root, "proc/self/mountinfo");
    while (f && fgets(line, sizeof line, f)) {
        if (!parse_mount(line, &m))
            continue;
        bool v1 = strcmp(m.type, "cgroup") == 0, v2 = strcmp(m.type, "cgroup2") == 0;
        for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
            if (v2 || (v1 && has_word(m.options, resources[i])))
                climb(root, &m, resources[i], v2, out);
    }
    if (f)
        fclose(f);
}

int pn_cgroup_threads(const struct pn_cgroup *group, int n)
{
    if (group->n_cpus > 0 && group->n_cpus < n) /* all threads would wait for the one with part of a processor */
        n = (int)group->n_cpus;
    return n < 1 ? 1 : n;
}

/* ---- the whole machine ---- */

void pn_meminfo_read(const char *root, struct pn_meminfo *out)
{
    char line[128], name[64], mode[32];
    unsigned long long kib;
    double unused;
    uint64_t limit = UINT64_MAX, committed = 0;
    *out = (struct pn_meminfo){UINT64_MAX, UINT64_MAX};
    FILE *f = open_file(root, "proc/meminfo");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%63[^:]: %llu", name, &kib) != 2 || kib > UINT64_MAX >> 10)
            continue;
        uint64_t bytes = (uint64_t)kib << 10;
        if (strcmp(name, "MemAvailable") == 0)
            out->available = bytes;
        else if (strcmp(name, "CommitLimit") == 0)
            limit = bytes;
        else if (strcmp(name, "Committed_AS") == 0)
            committed = bytes;
    }
    if (f)
        fclose(f);
    if (limit != UINT64_MAX && read_words(root, "proc/sys/vm/overcommit_memory", mode, &unused) && mode[0] == '2')
        out->commit_left = committed < limit ? limit - committed : 0;
}
