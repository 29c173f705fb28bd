/* Facts of a machine: see facts.h. */
#include "monitor/facts.h"

#include "monitor/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPUINFO = 64 << 10 };

/* The word in brackets of "always [madvise] never". */
static void chosen_of(const char *text, char *out, size_t size)
{
    const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
    snprintf(out, size, "%.*s", close ? (int)(close - open - 1) : 0, close ? open + 1 : "");
}

static bool is_wanted(const char *word, size_t n)
{
    static const char *const names[] = {"avx", "fma", "f16c", "amx",  "asimd", "neon",
                                        "sve", "sme", "i8mm", "bf16", "sdot"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t m = strlen(names[i]);
        bool part = n > m && word[m] >= 'a' && word[m] <= 'z' && names[i][0] != 'a'; /* smep is not of sme */
        if (n >= m && memcmp(word, names[i], m) == 0 && !part)
            return true;
    }
    return false;
}

/* Of the first processor: "flags : ..." on x86, "Features : ..." on arm. */
static void read_flags(const char *root, struct pn_facts *out)
{
    char *text = malloc(CPUINFO);
    if (!text || pn_read_text(root, "proc/cpuinfo", text, CPUINFO) < 0) {
        free(text);
        return;
    }
    char *line = strstr(text, "\nflags"), *features = strstr(text, "\nFeatures");
    line = line ? line : features;
    char *p = line ? strchr(line + 1, ':') : NULL, *end = p ? strchr(p, '\n') : NULL;
    if (end)
        *end = '\0';
    size_t used = 0;
    for (size_t n; p && *p; p += n) {
        p += strspn(p, ": \t");
        n = strcspn(p, " \t");
        if (n && is_wanted(p, n) && used + n + 2 < sizeof out->flags)
            used += (size_t)snprintf(out->flags + used, sizeof out->flags - used, "%s%.*s", used ? " " : "", (int)n, p);
    }
    free(text);
}

void pn_facts_read(const char *root, struct pn_facts *out)
{
    static const char folder[] = "sys/devices/system/cpu/cpu0/cpufreq";
    char path[PN_PATH], text[128];
    memset(out, 0, sizeof *out);
    pn_path(path, "%s/scaling_governor", folder);
    pn_read_line(root, path, out->governor, sizeof out->governor);
    pn_path(path, "%s/scaling_driver", folder);
    pn_read_line(root, path, out->driver, sizeof out->driver);
    pn_path(path, "%s/energy_performance_preference", folder);
    pn_read_line(root, path, out->preference, sizeof out->preference);
    pn_read_line(root, "sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    chosen_of(text, out->large_pages, sizeof out->large_pages);
    read_flags(root, out);
}
