/* pantry top: what this machine and its models do right now. */
#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/kept.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/top_screen.h"
#include "cli/top_view.h"
#include "monitor/chips.h"
#include "monitor/monitor.h"
#include "store/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chosen {
    float interval;
    int count;
    bool once, json, prometheus, cores, no_service;
};

static const struct pn_option table[] = {
    PN_OPT_FLOAT("interval", "S", offsetof(struct chosen, interval), 0.1, 3600,
                 "seconds between two samples (default: 1)", .letter = 'i'),
    PN_OPT_FLAG("once", offsetof(struct chosen, once), "print one sample and leave",
                .more = "Rates are those of one interval, which it waits for."),
    PN_OPT_INT("count", "N", offsetof(struct chosen, count), 1, 1000000000, "print N samples and leave", .letter = 'n'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value per line and sample"),
    PN_OPT_FLAG("prometheus", offsetof(struct chosen, prometheus), "print each sample in Prometheus' text format"),
    PN_OPT_FLAG("cores", offsetof(struct chosen, cores), "show each core"),
    PN_OPT_FLAG("no-service", offsetof(struct chosen, no_service), "do not ask a running service"),
};

static const double shortest = 0.1, longest = 3600;

/* All that a run needs. */
struct run {
    const struct chosen *chosen;
    struct pn_monitor *monitor;
    struct pn_top_watch *watch; /* NULL: the service is not asked */
    struct pn_top *top;
    struct pn_page page;
};

/* The bandwidth that memory can reach: as `pantry fit` measured it on this machine, else what the maker of the chip
 * says. */
static void find_limit(struct pn_top *top)
{
    struct pantry_error err;
    const struct pn_chip *chip;
    struct pn_limits limits;
    top->measured = pn_kept_limits(NULL, &limits);
    top->limit = top->measured ? limits.read : NAN;
    if (!top->measured && strncmp(top->sample.machine, "Apple", 5) == 0 &&
        !pn_chip_find(top->sample.machine, &chip, &err))
        top->limit = chip->nominal;
}

static void take(struct run *r)
{
    pn_monitor_take(r->monitor, &r->top->sample);
    if (r->watch)
        pn_top_watch_get(r->watch, &r->top->service);
    pn_top_remember(r->top);
}

/* ---- printing ---- */

static json_t *to_json(const struct run *r)
{
    json_t *v = pn_sample_json(&r->top->sample);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_object_set_new(v, "time", json_real((double)now.tv_sec + (double)now.tv_nsec * 1e-9));
    if (!isnan(r->top->limit)) {
        json_object_set_new(v, "memory_limit_bytes_per_second", json_real(r->top->limit));
        json_object_set_new(v, "memory_limit_measured", json_boolean(r->top->measured));
    }
    if (r->watch)
        json_object_set_new(v, "service", pn_top_service_json(&r->top->service));
    return v;
}

static int print_json(const struct run *r)
{
    json_t *v = to_json(r);
    int bad = v ? json_dumpf(v, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15)) : -1;
    json_decref(v);
    putchar('\n');
    return bad ? pn_cli_no_memory() : PN_EXIT_DONE;
}

static int print_prometheus(const struct run *r)
{
    struct pn_buf out = {0};
    pn_sample_prometheus(&r->top->sample, &out);
    if (!isnan(r->top->limit))
        pn_buf_printf(&out,
                      "# HELP pantry_machine_memory_limit_bytes_per_second Bytes that main memory can move.\n"
                      "# TYPE pantry_machine_memory_limit_bytes_per_second gauge\n"
                      "pantry_machine_memory_limit_bytes_per_second %.10g\n",
                      r->top->limit);
    pn_buf_putc(&out, '\n');
    if (!out.failed)
        fwrite(out.data, 1, out.len, stdout);
    bool failed = out.failed;
    pn_buf_free(&out);
    return failed ? pn_cli_no_memory() : PN_EXIT_DONE;
}

static int print_page(struct run *r)
{
    pn_page_clear(&r->page, pn_term_is(stdout) ? pn_term_width(stdout) : 120, pn_top_screen_is_ascii());
    pn_top_show(r->top, &r->page, 0);
    pn_page_print(&r->page, stdout);
    return PN_EXIT_DONE;
}

/* Samples on standard output, until the count is reached or a signal ends it. */
static int print(struct run *r, int count)
{
    const struct chosen *chosen = r->chosen;
    uint64_t interval = (uint64_t)((double)chosen->interval * 1e9), next = pn_clock_ns() + interval;
    int status = PN_EXIT_DONE;
    pn_top_watch_signals();
    for (int i = 0; (!count || i < count) && status == PN_EXIT_DONE && pn_top_sleep(next); i++) {
        if (r->watch && count == 1)
            pn_top_watch_look(r->watch); /* the second look: now there are rates */
        take(r);
        if (i && !chosen->json && !chosen->prometheus)
            putchar('\n');
        status = chosen->json ? print_json(r) : chosen->prometheus ? print_prometheus(r) : print_page(r);
        if (fflush(stdout) != 0 && status == PN_EXIT_DONE)
            status = PN_EXIT_FAILED;
        /* In step with the clock; after a slow reader or on a busy machine samples are left out instead of crowded. */
        uint64_t soonest = pn_clock_ns() + interval / 2;
        for (next += interval; next < soonest;)
            next += interval;
    }
    return status;
}

/* ---- the screen ---- */

static void draw(struct run *r)
{
    int columns, lines;
    pn_top_screen_size(&columns, &lines);
    pn_page_clear(&r->page, columns, pn_top_screen_is_ascii());
    pn_top_show(r->top, &r->page, lines < PN_PAGE_LINES ? lines : PN_PAGE_LINES);
    pn_top_screen_draw(&r->page);
}

static void set_interval(struct run *r, double seconds)
{
    r->top->interval = seconds < shortest ? shortest : seconds > longest ? longest : seconds;
    if (r->watch)
        pn_top_watch_every(r->watch, r->top->interval);
}

/* False: leave. */
static bool press(struct run *r, int key)
{
    struct pn_top *top = r->top;
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case ' ':
    case 'p':
        top->paused = !top->paused;
        break;
    case '+':
    case '=':
        set_interval(r, top->interval * 2);
        break;
    case '-':
        set_interval(r, top->interval / 2);
        break;
    case 'c':
        top->cores = !top->cores;
        break;
    case 's':
        top->sensors = !top->sensors;
        break;
    case '?':
    case 'h':
        top->help = !top->help;
        break;
    }
    return true;
}

static int show(struct run *r)
{
    uint64_t next = pn_clock_ns();
    int letter;
    for (bool goes_on = true; goes_on;) {
        switch (pn_top_screen_wait(next, &letter)) {
        case PN_KEY_END:
            goes_on = false;
            break;
        case PN_KEY_OTHER:
            if ((goes_on = press(r, letter)))
                draw(r);
            break;
        case PN_KEY_SIZE:
            draw(r);
            break;
        case PN_KEY_NONE:
            if (!r->top->paused) {
                take(r);
                draw(r);
            }
            next = pn_clock_ns() + (uint64_t)(r->top->interval * 1e9);
            break;
        }
    }
    pn_top_screen_close();
    return PN_EXIT_DONE;
}

/* ---- the command ---- */

static int start(struct run *r, bool screen, bool once)
{
    struct pantry_error err = {0};
    if (!(r->top = calloc(1, sizeof *r->top)) || !pn_page_new(&r->page))
        return pn_cli_no_memory();
    if (pn_monitor_new("", &r->monitor, &err))
        return pn_cli_fail(&err);
    if (!r->chosen->no_service && !(r->watch = pn_top_watch_new()))
        return pn_cli_no_memory();
    if (r->watch && once)
        pn_top_watch_look(r->watch);
    else if (r->watch && !pn_top_watch_start(r->watch, (double)r->chosen->interval))
        return pn_cli_no_memory();
    r->top->interval = (double)r->chosen->interval;
    r->top->cores = r->chosen->cores;
    r->top->asks = !r->chosen->no_service;
    pn_top_service_clear(&r->top->service, PN_SERVICE_ABSENT);
    pn_monitor_take(r->monitor, &r->top->sample); /* rates begin here */
    find_limit(r->top);
    if (screen)
        pn_top_remember(r->top);
    return PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.interval = 1};
    int status = pn_cli_parse_options(command, argc, argv, &chosen);
    if (status != PN_CLI_GO_ON)
        return status;
    if (chosen.json && chosen.prometheus)
        return pn_cli_misuse(command, "--json and --prometheus exclude each other");
    if (chosen.once && chosen.count > 1)
        return pn_cli_misuse(command, "--once prints one sample, --count %d prints several", chosen.count);
    struct run r = {.chosen = &chosen};
    int count = chosen.once ? 1 : chosen.count;
    bool prints = count || chosen.json || chosen.prometheus;
    bool screen = !prints && pn_top_screen_open();
    if (!prints && !screen && !pn_term_is(stdout)) /* a pipe or a file gets one sample */
        count = 1;
    status = start(&r, screen, count == 1);
    if (status == PN_EXIT_DONE)
        status = screen ? show(&r) : print(&r, count);
    pn_top_screen_close();
    pn_top_watch_free(r.watch);
    pn_monitor_free(r.monitor);
    pn_page_free(&r.page);
    free(r.top);
    pn_top_screen_end();
    return status;
}

const struct pn_command pn_cmd_top = {
    .name = "top",
    .usage = "[--once | --json | --prometheus] [--interval S]",
    .summary = "watch this machine, and the models and requests of a running service",
    .about =
        "Shows, once per interval, the load and clocks of the processor, memory, its bandwidth and the share of what "
        "it\n"
        "can reach, GPUs, power, temperatures and fans, and, of the service at PANTRY_HOST or 127.0.0.1:11434, its\n"
        "models, requests and tokens per second. What this system does not tell is listed with the reason. Nothing\n"
        "needs root, but some counters may. Without a terminal it prints one sample.",
    .example = "pantry top\n"
               "pantry top --once\n"
               "pantry top --json --interval 5 | jq .load\n"
               "pantry top --prometheus --once > /var/lib/node_exporter/pantry.prom",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
