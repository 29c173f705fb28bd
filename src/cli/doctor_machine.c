/* Examining the machine: see doctor_machine.h. Advice is what costs speed; wrong is what keeps models from running. */
#define _POSIX_C_SOURCE 200809L
#include "cli/doctor_machine.h"

#include "base/clock.h"
#include "base/os.h"
#include "base/random.h"
#include "cli/kept.h"
#include "cli/say.h"
#include "cli/top_service.h"
#include "monitor/chips.h"
#include "monitor/disk.h"
#include "monitor/facts.h"
#include "monitor/monitor.h"
#include "store/store.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_PROMPT = 8, N_DECODE = 32, MOST_ROUNDS = 20 };
static const char proof_model[] = "smollm2-135m:q4_0";
static const double little = 1.5e9;  /* bytes left */
static const double proof_ns = 3e9;  /* of decoding, after a round that warms up */
static const double hot = 95;        /* degrees Celsius */
static const double slow_disk = 2e8; /* bytes per second */
static const double full_disk = 5e9; /* bytes left */
static const uint64_t disk_bytes = (uint64_t)64 << 20;
static const double slow = 0.6,
                    stuck = 0.05; /* share of the speed that was expected; of the bandwidth, where nothing was */

struct examination {
    int n;
    struct pn_machine_check *check;
    struct pn_sample *sample;
    struct pn_facts facts;
    struct pn_os_memory memory;
    char device[256]; /* that runs models; "": none */
    struct pn_limits limits;
    bool has_limits;
};

static struct pn_machine_check *add(struct examination *e, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static struct pn_machine_check *add(struct examination *e, const char *name, const char *format, ...)
{
    struct pn_machine_check *c = &e->check[e->n++];
    va_list args;
    *c = (struct pn_machine_check){.name = name};
    va_start(args, format);
    vsnprintf(c->found, sizeof c->found, format, args);
    va_end(args);
    return c;
}

static void advise(struct pn_machine_check *c, enum pn_machine_state state, const char *what, const char *mend)
{
    c->state = state;
    snprintf(c->what, sizeof c->what, "%s", what);
    snprintf(c->mend, sizeof c->mend, "%s", mend);
}

/* ---- processor and GPU ---- */

static void examine_device(struct examination *e)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_error err = {0};
    pantry_model *model;
    if (pantry_model_outline(proof_model, NULL, &model, &err)) {
        advise(add(e, "device", "no device runs models"), PN_MACHINE_WRONG, err.text,
               "report this with `pantry version`");
        return;
    }
    pantry_model_info(model, &info, NULL);
    snprintf(e->device, sizeof e->device, "%s", info.device);
    struct pn_machine_check *c = add(e, "device", "%s runs models", info.device);
    pantry_model_free(model);
    if (strstr(e->device, "generic"))
        advise(c, PN_MACHINE_ADVICE, "this processor has no vector instructions that pantry knows, so models are slow",
               "use a processor with AVX2 or NEON");
}

static void examine_processor(struct examination *e)
{
    const struct pn_sample *s = e->sample;
    int cores = pn_os_physical_cores(), usable = pn_os_processors();
    struct pn_machine_check *c = add(e, "processor", "%s: %d core%s, %d hardware thread%s may be used%s%.200s",
                                     *s->machine ? s->machine : "unknown", cores, cores == 1 ? "" : "s", usable,
                                     usable == 1 ? "" : "s", *e->facts.flags ? "; it has " : "", e->facts.flags);
    if (s->n_cores > usable) {
        char what[128];
        snprintf(what, sizeof what, "this process may use %d of the %d hardware threads", usable, s->n_cores);
        advise(c, PN_MACHINE_ADVICE, what,
               "raise the control group's processor time (cpu.max) or the affinity (taskset)");
    }
}

static void examine_gpu(struct examination *e)
{
    const struct pn_sample *s = e->sample;
    char device[96];
    struct pantry_error error;
    const char *kind = strncmp(s->machine, "Apple", 5) == 0 ? "metal" : "cuda";
    if (pantry_device_describe(kind, device, sizeof device, &error) == PANTRY_OK)
        add(e, "gpu", "%s: runs models by default", device);
    else if (s->n_gpus)
        add(e, "gpu", "%s%s: not used: %s", s->gpu[0].name, s->n_gpus > 1 ? " and others" : "", error.text);
    else
        add(e, "gpu", "none: %s", s->why[PN_SUBJECT_GPU]);
    if (strncmp(s->machine, "Apple", 5) != 0)
        return;
    struct pn_number a;
    uint64_t limit = pn_os_wired_limit();
    add(e, "gpu_memory", "%s may be wired%s",
        pn_cli_bytes(&a, limit ? limit : pn_chip_usable(PN_CHIP_APPLE, e->memory.total)),
        limit ? " (iogpu.wired_limit_mb)" : " by default; iogpu.wired_limit_mb raises it");
}

/* ---- memory ---- */

static void examine_memory(struct examination *e)
{
    const struct pn_os_memory *m = &e->memory;
    struct pn_number a, b, c;
    char limit[96] = "", *end = limit;
    if (m->group_limit < m->total)
        end += snprintf(limit, sizeof limit, ", at most %s by control groups", pn_cli_bytes(&a, m->group_limit));
    if (m->addresses != UINT64_MAX)
        snprintf(end, sizeof limit - (size_t)(end - limit), ", %s of addresses (ulimit)",
                 pn_cli_bytes(&b, m->addresses));
    uint64_t left = m->available < m->group_left ? m->available : m->group_left;
    struct pn_machine_check *check = add(e, "memory", "%s, of which %s are free for models%s",
                                         m->total == UINT64_MAX ? "unknown" : pn_cli_bytes(&a, m->total),
                                         left == UINT64_MAX ? "unknown" : pn_cli_bytes(&c, left), limit);
    if (left != UINT64_MAX && (double)left < little)
        advise(check, PN_MACHINE_ADVICE, "little memory is left, so that only small models run",
               "end programs that use much memory, or raise the limit");
}

static void examine_swap(struct examination *e)
{
    const struct pn_sample *s = e->sample;
    struct pn_number a, b;
    if (isnan(s->swap_used))
        return;
    struct pn_machine_check *c = s->swap_total > 0
                                     ? add(e, "swap", "%s of %s are used", pn_cli_bytes(&a, (uint64_t)s->swap_used),
                                           pn_cli_bytes(&b, (uint64_t)s->swap_total))
                                     : add(e, "swap", "none");
    if (s->pressure > 0.05 || s->pressure_level >= 2)
        advise(c, PN_MACHINE_ADVICE, "programs wait for memory: models that do not fit are read again and again",
               "use a smaller model or context (`pantry fit`), or end other programs");
}

static void examine_large_pages(struct examination *e)
{
    const char *pages = e->facts.large_pages;
    if (!*pages)
        return;
    struct pn_machine_check *c = add(e, "large_pages", "%s", pages);
    if (strcmp(pages, "never") == 0)
        advise(c, PN_MACHINE_ADVICE, "large pages are off, which makes long contexts slower",
               "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled");
}

/* ---- clocks and heat ---- */

static void examine_clock(struct examination *e)
{
    const struct pn_facts *f = &e->facts;
    const struct pn_sample *s = e->sample;
    bool chooses =
        strstr(f->driver, "pstate") != NULL; /* there `powersave` is the usual governor, which speeds up too */
    struct pn_machine_check *c;
    if (*f->governor)
        c = add(e, "clock", "governor %s%s%s%s%s", f->governor, *f->driver ? " of " : "", f->driver,
                *f->preference ? ", preference " : "", f->preference);
    else
        c = add(e, "clock", "%s", *s->why[PN_SUBJECT_CLOCK] ? s->why[PN_SUBJECT_CLOCK] : s->source[PN_SUBJECT_CLOCK]);
    if ((strcmp(f->governor, "powersave") == 0 && !chooses) || strcmp(f->preference, "power") == 0)
        advise(c, PN_MACHINE_ADVICE, "the processor is set to save power",
               "sudo cpupower frequency-set -g performance");
    c = add(e, "throttling", "%s", *s->why[PN_SUBJECT_THROTTLE] ? s->why[PN_SUBJECT_THROTTLE] : "none");
    if (s->throttled > 0) {
        snprintf(c->found, sizeof c->found, "%.3g %s", s->throttled, s->source[PN_SUBJECT_THROTTLE]);
        advise(c, PN_MACHINE_ADVICE, "heat or power make the processor slower", "give it cooler air, or more power");
    }
}

static void examine_heat(struct examination *e)
{
    const struct pn_sample *s = e->sample;
    const struct pn_sensor *most = NULL;
    for (int i = 0; i < s->temperature.n; i++)
        if (!most || s->temperature.at[i].value > most->value)
            most = &s->temperature.at[i];
    if (!most) {
        add(e, "temperature", "unknown: %s", s->why[PN_SUBJECT_TEMPERATURE]);
        return;
    }
    struct pn_machine_check *c = add(e, "temperature", "at most %.0f degrees Celsius (%s)", most->value, most->name);
    if (most->value >= hot)
        advise(c, PN_MACHINE_ADVICE, "this is hot: the clocks fall, or will soon", "give the machine cooler air");
}

/* ---- disk ---- */

/* The folder of the store, or the nearest one above it that is there. Caller frees; NULL: unknown. */
static char *find_folder(void)
{
    char *path = NULL, *slash;
    const char *models = getenv("PANTRY_MODELS");
    if (models && *models)
        path = strdup(models);
    else if (pn_store_private_path("models", &path, NULL))
        return NULL;
    while (path && access(path, W_OK) != 0 && (slash = strrchr(path, '/')) && slash != path)
        *slash = '\0';
    return path;
}

static void examine_disk(struct examination *e, bool quick)
{
    struct pantry_error err = {0};
    struct pn_number a, b;
    struct pn_disk disk;
    char *folder = find_folder(), what[160];
    if (!folder)
        return;
    pantry_status status =
        quick ? pn_disk_space(folder, &disk, &err) : pn_disk_measure(folder, disk_bytes, &disk, &err);
    struct pn_machine_check *c = add(e, "disk", "%.200s", folder);
    size_t n = strlen(c->found);
    if (status && status != PANTRY_LIMIT)
        advise(c, PN_MACHINE_ADVICE, err.text, "mend what the sentence names");
    else if (disk.read_rate > 0)
        snprintf(c->found + n, sizeof c->found - n, ": %s free, reads %s/s", pn_cli_bytes(&a, disk.free),
                 pn_cli_bytes(&b, (uint64_t)disk.read_rate));
    else
        snprintf(c->found + n, sizeof c->found - n, ": %s free", pn_cli_bytes(&a, disk.free));
    free(folder);
    if (disk.read_rate > 0 && disk.read_rate < slow_disk) {
        snprintf(what, sizeof what, "models start slowly: 5 GB take %.0f s to read", 5e9 / disk.read_rate);
        advise(c, PN_MACHINE_ADVICE, what, "keep models on a faster disk (PANTRY_MODELS)");
    }
    if (!status && (double)disk.free < full_disk)
        advise(c, PN_MACHINE_ADVICE, "little space is left for models",
               "`pantry prune`, `pantry rm`, or another disk (PANTRY_MODELS)");
}

/* ---- speed ---- */

static void examine_bandwidth(struct examination *e)
{
    const struct pn_sample *s = e->sample;
    const char *why = s->why[PN_SUBJECT_BANDWIDTH];
    struct pn_number a;
    if (e->has_limits)
        add(e, "bandwidth", "%s/s of memory were measured; live: %s", pn_cli_bytes(&a, (uint64_t)e->limits.read),
            *why ? why : s->source[PN_SUBJECT_BANDWIDTH]);
    else
        add(e, "bandwidth", "not measured yet, which `%s fit --measure` does; live: %s", pn_cli_program(),
            *why ? why : s->source[PN_SUBJECT_BANDWIDTH]);
}

/* Decodes with random weights. */
static pantry_status decode(struct pantry_stats *stats, int *n_layer, char *device, size_t size,
                            struct pantry_error *err)
{
    struct pantry_session_options so = pantry_session_options_default();
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_model_info info = {.size = sizeof info};
    int32_t ids[N_PROMPT];
    struct pn_rng rng = {1};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    so.n_context = 2 * (N_PROMPT + N_DECODE);
    o.sampling.temperature = 0;
    o.ignore_eos = true;
    o.max_tokens = N_DECODE;
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % 40000);
    pantry_status status = pantry_model_synthetic(proof_model, NULL, &model, err);
    if (!status)
        status = pantry_session_new(model, &so, &session, err);
    uint64_t start = pn_clock_ns();
    double best = 0;
    for (int i = 0; i < MOST_ROUNDS && !status && (i < 2 || (double)(pn_clock_ns() - start) < proof_ns); i++) {
        struct pantry_stats round = {.size = sizeof round}; /* the first warms up */
        pantry_session_clear(session);
        status = pantry_generate(session, ids, N_PROMPT, &o, &round, err);
        if (!status && pn_cli_decode_rate(&round) > best) {
            best = pn_cli_decode_rate(&round);
            *stats = round;
        }
    }
    if (!status) {
        pantry_model_info(model, &info, NULL);
        *n_layer = info.n_layer;
        snprintf(device, size, "%s", info.device);
    }
    pantry_session_free(session);
    pantry_model_free(model);
    return status;
}

/* That decoding runs where it should, and as fast as it was measured before. */
static void prove(struct examination *e)
{
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error err = {0};
    char device[256];
    int n_layer = 0;
    if (decode(&stats, &n_layer, device, sizeof device, &err)) {
        advise(add(e, "decoding", "failed"), PN_MACHINE_WRONG, err.text,
               "mend what the sentence names; it needs 90 MB of TMPDIR");
        return;
    }
    double rate = pn_cli_decode_rate(&stats), bytes = rate * stats.bytes_per_token;
    double read = stats.device_bandwidth > 0 ? stats.device_bandwidth : pantry_read_bandwidth(0);
    struct pn_machine_check *c =
        add(e, "decoding",
            "%s with random weights on %s: %.0f tok/s, %.1f GB/s, %.0f %% of the %.1f GB/s that memory reaches now",
            proof_model, device, rate, bytes / 1e9, read > 0 ? 100 * bytes / read : 0, read / 1e9);
    /* So small a model keeps no GPU busy. */
    if (!e->has_limits && stats.device_bandwidth <= 0 && bytes < stuck * read)
        advise(c, PN_MACHINE_ADVICE,
               "decoding is far from what memory can do: threads wait for one that another program holds up",
               "end programs that keep a core busy (`pantry top` shows the load), or use fewer threads");
    if (*e->device && strcmp(device, e->device) != 0)
        advise(c, PN_MACHINE_WRONG, "it ran on another device than models are loaded to", "report this");
    if (!e->has_limits)
        return;
    double expected = 1 / (stats.bytes_per_token / e->limits.decode + n_layer * e->limits.layer_seconds);
    size_t n = strlen(c->found);
    snprintf(c->found + n, sizeof c->found - n, "; expected %.0f tok/s, %.0f %%", expected,
             read > 0 ? 100 * expected * stats.bytes_per_token / read : 0);
    if (rate < slow * expected)
        advise(c, PN_MACHINE_ADVICE, "models run much slower than they did when this machine was measured",
               "look for other programs, heat and power saving (`pantry top`), then run it again");
}

/* ---- service ---- */

static void examine_service(struct examination *e)
{
    struct pn_top_watch *w = pn_top_watch_new();
    struct pn_top_service *s = malloc(sizeof *s);
    if (w && s) {
        pn_top_watch_look(w);
        pn_top_watch_get(w, s);
        if (s->presence == PN_SERVICE_ABSENT)
            add(e, "service", "none runs at %.200s", s->url);
        else if (s->presence == PN_SERVICE_BROKEN)
            advise(add(e, "service", "%.200s", *s->url ? s->url : "cannot be asked"), PN_MACHINE_WRONG, s->why,
                   "start it there (`pantry serve`), or correct PANTRY_HOST");
        else if (*s->version && strcmp(s->version, pantry_version()) != 0)
            advise(add(e, "service", "%.200s, version %s", s->url, s->version), PN_MACHINE_ADVICE,
                   "it has another version than this program, " PANTRY_VERSION, "restart the service");
        else
            add(e, "service", "%.200s, version %s, %d model%s loaded", s->url, *s->version ? s->version : "unknown",
                s->n_models + s->n_more, s->n_models + s->n_more == 1 ? "" : "s");
    }
    free(s);
    pn_top_watch_free(w);
}

/* ---- all ---- */

/* Two samples, since load and throttling are rates. */
static void take_sample(struct examination *e)
{
    const struct timespec moment = {0, 300000000};
    struct pn_monitor *monitor;
    struct pantry_error err;
    pn_sample_clear(e->sample);
    if (pn_monitor_new("", &monitor, &err))
        return;
    pn_monitor_take(monitor, e->sample);
    nanosleep(&moment, NULL);
    pn_monitor_take(monitor, e->sample);
    pn_monitor_free(monitor);
}

int pn_machine_examine(int quick, struct pn_machine_check out[PN_MACHINE_CHECKS])
{
    struct examination e = {.check = out, .sample = malloc(sizeof *e.sample)};
    if (!e.sample)
        return 0;
    take_sample(&e);
    pn_facts_read("", &e.facts);
    pn_os_memory(&e.memory);
    examine_processor(&e);
    examine_device(&e);
    examine_gpu(&e);
    examine_memory(&e);
    examine_swap(&e);
    examine_large_pages(&e);
    examine_clock(&e);
    examine_heat(&e);
    examine_disk(&e, quick);
    e.has_limits = pn_kept_limits(e.device, &e.limits);
    examine_bandwidth(&e);
    if (quick)
        add(&e, "decoding", "left out")->state = PN_MACHINE_SKIPPED;
    else
        prove(&e);
    examine_service(&e);
    free(e.sample);
    return e.n;
}
