/* Clients of graphics cards: see linux_clients.h. Documentation/gpu/drm-usage-stats.rst: keys drm-pdev, drm-client-id,
 * drm-resident-REGION, and before it drm-memory-REGION (amdgpu). One client may have several descriptors.
 *
 * Looking through all descriptors of all processes takes milliseconds, so that is done once in a while; in between only
 * the known ones are read. */
#define _POSIX_C_SOURCE 200809L
#include "monitor/linux_clients.h"

#include "monitor/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROCESSES = 4096, MAX_FILES = 256, MAX_KNOWN = 256, SEARCH_EVERY = 10, TEXT = 4096 };

struct known {
    char pid[PN_ENTRY], file[PN_ENTRY];
};

struct pn_drm_clients {
    const char *root;
    int age, n;
    struct known known[MAX_KNOWN];
    char process[MAX_PROCESSES][PN_ENTRY];
    char file[MAX_FILES][PN_ENTRY];
};

struct pn_drm_clients *pn_drm_clients_new(const char *root)
{
    struct pn_drm_clients *c = calloc(1, sizeof *c);
    if (c)
        c->root = root;
    return c;
}

void pn_drm_clients_free(struct pn_drm_clients *clients)
{
    free(clients);
}

/* ---- one file ---- */

/* "1234 KiB" in bytes; NAN: it is not a size. */
static double size_of(const char *text)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
    uint64_t n;
    if (!pn_parse_u64(text, &n))
        return NAN;
    text += strspn(text, " \t");
    text += strspn(text, "0123456789");
    text += strspn(text, " \t");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strncmp(text, units[i].unit, 3) == 0)
            return (double)n * units[i].bytes;
    return *text == '\n' || *text == '\0' ? (double)n : NAN;
}

static const char *after(const char *line, const char *key)
{
    size_t n = strlen(key);
    return strncmp(line, key, n) == 0 ? line + n : NULL;
}

static void copy_word(const char *text, char *out, size_t size)
{
    text += strspn(text, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(text, " \t\n"), text);
}

bool pn_drm_usage_parse(const char *text, struct pn_drm_usage *out)
{
    double sum[2][2] = {{0}}; /* resident or memory; the card's own or main memory */
    bool has_resident = false, owns = false;
    *out = (struct pn_drm_usage){.bytes = NAN};
    for (const char *line = text; line; line = pn_next_line(line)) {
        const char *value, *resident = after(line, "drm-resident-"), *region = after(line, "drm-memory-");
        if ((value = after(line, "drm-pdev:")))
            copy_word(value, out->address, sizeof out->address);
        else if ((value = after(line, "drm-client-id:")))
            copy_word(value, out->client, sizeof out->client);
        region = resident ? resident : region;
        value = region ? strpbrk(region, ":\n") : NULL;
        double bytes = value && *value == ':' ? size_of(value + 1) : NAN;
        if (isnan(bytes))
            continue;
        bool own = after(region, "vram") || after(region, "local");
        has_resident |= resident != NULL;
        owns |= own;
        sum[!resident][!own] += bytes;
        out->bytes = 0;
    }
    if (!isnan(out->bytes))
        out->bytes = sum[!has_resident][!owns];
    return *out->address && *out->client;
}

/* ---- all ---- */

static void search(struct pn_drm_clients *c)
{
    char path[PN_PATH], target[64];
    c->n = 0;
    int n = pn_list_folder(c->root, "proc", "", c->process, MAX_PROCESSES);
    for (int i = 0; i < n; i++) {
        const char *pid = c->process[i];
        if (pid[strspn(pid, "0123456789")])
            continue;
        pn_path(path, "proc/%s/fd", pid);
        int n_files = pn_list_folder(c->root, path, "", c->file, MAX_FILES);
        for (int k = 0; k < n_files && c->n < MAX_KNOWN; k++) {
            pn_path(path, "%s/proc/%s/fd/%s", c->root, pid, c->file[k]);
            ssize_t len = readlink(path, target, sizeof target - 1);
            if (len <= 0)
                continue;
            target[len] = '\0';
            if (strncmp(target, "/dev/dri/", 9) != 0)
                continue;
            memcpy(c->known[c->n].pid, pid, PN_ENTRY);
            memcpy(c->known[c->n++].file, c->file[k], PN_ENTRY);
        }
    }
}

static int gpu_of(const struct pn_drm_card *cards, int n, const char *address)
{
    for (int i = 0; i < n; i++)
        if (strcmp(cards[i].address, address) == 0)
            return cards[i].gpu;
    return -1;
}

/* Finds or adds the sample's row of a process and card. NULL: the sample is full. */
static struct pn_gpu_process *row_of(const char *root, const char *pid, int gpu, struct pn_sample *s)
{
    char path[PN_PATH], name[64];
    uint64_t number = 0;
    pn_parse_u64(pid, &number);
    for (int i = 0; i < s->n_gpu_processes; i++)
        if (s->gpu_process[i].pid == (int64_t)number && s->gpu_process[i].gpu == gpu)
            return &s->gpu_process[i];
    if (s->n_gpu_processes == PN_MAX_GPU_PROCESSES)
        return NULL;
    struct pn_gpu_process *p = &s->gpu_process[s->n_gpu_processes++];
    *p = (struct pn_gpu_process){.gpu = gpu, .pid = (int64_t)number, .bytes = NAN};
    pn_path(path, "proc/%s/comm", pid);
    pn_read_line(root, path, name, sizeof name);
    pn_sample_name(p->name, sizeof p->name, name);
    return p;
}

void pn_drm_clients_read(struct pn_drm_clients *c, const struct pn_drm_card *cards, int n, struct pn_sample *s)
{
    struct pn_drm_usage seen[MAX_KNOWN];
    char path[PN_PATH], text[TEXT];
    int n_seen = 0;
    if (c->age++ % SEARCH_EVERY == 0)
        search(c);
    for (int i = 0; i < c->n; i++) {
        struct pn_drm_usage *u = &seen[n_seen];
        pn_path(path, "proc/%s/fdinfo/%s", c->known[i].pid, c->known[i].file);
        if (pn_read_text(c->root, path, text, sizeof text) < 0 || !pn_drm_usage_parse(text, u))
            continue;
        int gpu = gpu_of(cards, n, u->address);
        bool twice = false;
        for (int k = 0; k < n_seen; k++)
            twice |= strcmp(seen[k].client, u->client) == 0 && strcmp(seen[k].address, u->address) == 0;
        if (gpu < 0 || twice)
            continue;
        n_seen++;
        struct pn_gpu_process *p = row_of(c->root, c->known[i].pid, gpu, s);
        if (p && !isnan(u->bytes))
            p->bytes = (isnan(p->bytes) ? 0 : p->bytes) + u->bytes;
    }
}
