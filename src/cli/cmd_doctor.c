/* pantry doctor: what is wrong on this machine, where, and what mends it. */
#include "cli/commands.h"
#include "cli/doctor_config.h"
#include "cli/doctor_machine.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/settings_file.h"
#include "cli/terminal.h"
#include "store/doctor.h"

#include <string.h>

struct chosen {
    bool store, machine, config, quick, fix, json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("store", offsetof(struct chosen, store), "examine the model store"),
    PN_OPT_FLAG("machine", offsetof(struct chosen, machine), "examine the machine and the service"),
    PN_OPT_FLAG("config", offsetof(struct chosen, config), "examine the settings of the service"),
    PN_OPT_FLAG("quick", offsetof(struct chosen, quick), "compare sizes of files, do not read them; measure nothing"),
    PN_OPT_FLAG("fix", offsetof(struct chosen, fix), "do what is safe: nothing of a model is removed",
                .more = "Removes what interrupted commands left, except for downloads that can go on, and takes "
                        "permissions from other users."),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value"),
};

/* What the groups report to. */
struct report {
    const struct chosen *chosen;
    json_t *checks;       /* with --json */
    size_t wrong, others; /* findings that were not fixed */
    size_t fixed, advice;
};

/* ---- the store ---- */

static const char *word_of(const struct pn_finding *f)
{
    return f->fixed ? "fixed" : f->level == PN_FINDING_WRONG ? "wrong" : "leftover";
}

static json_t *finding_json(const struct pn_finding *f)
{
    return json_pack("{s:s, s:o, s:o, s:o}", "state", word_of(f), "where", pn_cli_json_text(f->where, strlen(f->where)),
                     "what", pn_cli_json_text(f->what, strlen(f->what)), "mend",
                     pn_cli_json_text(f->mend, strlen(f->mend)));
}

static void put_finding(const struct pn_finding *f)
{
    printf("    %s: ", word_of(f));
    pn_cli_put_untrusted(stdout, f->where, strlen(f->where));
    fputs(": ", stdout);
    pn_cli_put_untrusted(stdout, f->what, strlen(f->what));
    if (!f->fixed) {
        fputs("\n      mend: ", stdout);
        pn_cli_put_untrusted(stdout, f->mend, strlen(f->mend));
    }
    putchar('\n');
}

/* One check of a group: its state is that of its worst finding. */
static void put_check(struct report *r, const struct pn_diagnosis *d, size_t check, bool skipped)
{
    const char *state = skipped ? "skipped" : "ok";
    json_t *list = r->checks ? json_array() : NULL;
    for (size_t i = 0; i < d->len; i++) {
        const struct pn_finding *f = &d->data[i];
        if (f->check != check)
            continue;
        r->fixed += f->fixed;
        r->wrong += !f->fixed && f->level == PN_FINDING_WRONG;
        r->others += !f->fixed && f->level != PN_FINDING_WRONG;
        if (strcmp(state, "wrong") != 0 && (strcmp(state, "leftover") != 0 || f->level == PN_FINDING_WRONG))
            state = word_of(f);
        if (list)
            json_array_append_new(list, finding_json(f));
    }
    if (list) {
        json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s, s:o}", "group", "store", "check",
                                                   pn_store_checks[check], "state", state, "findings", list));
        return;
    }
    printf("  %-12s %s\n", pn_store_checks[check], state);
    for (size_t i = 0; i < d->len; i++)
        if (d->data[i].check == check)
            put_finding(&d->data[i]);
}

static int check_store(struct report *r)
{
    struct pn_progress_bar bar;
    struct pn_diagnosis d;
    struct pantry_error err = {0};
    struct pn_number size;
    pn_progress_start(&bar, stderr, false);
    pn_term_take_interrupt();
    bool bars = bar.terminal && !r->chosen->json;
    struct pn_examine_options options = {
        .fetch = {.progress = bars ? pn_progress_show : NULL, .user = &bar, .cancel = pn_term_interrupt()},
        .quick = r->chosen->quick,
        .fix = r->chosen->fix};
    pantry_status status = pn_store_examine(&options, &d, &err);
    pn_progress_end(&bar);
    if (status == PANTRY_OK && !r->checks) {
        fputs("store ", stdout);
        pn_cli_put_untrusted(stdout, d.store, strlen(d.store));
        printf(": %zu model%s, %zu file%s, %s\n", d.n_models, d.n_models == 1 ? "" : "s", d.n_blobs,
               d.n_blobs == 1 ? "" : "s", pn_cli_bytes(&size, d.bytes));
        if (d.busy)
            puts("  another pantry is changing the store; what is unfinished there is left out");
    }
    for (size_t i = 0; status == PANTRY_OK && pn_store_checks[i]; i++)
        put_check(r, &d, i, r->chosen->quick && strcmp(pn_store_checks[i], "digests") == 0);
    pn_diagnosis_free(&d);
    return status == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
}

/* ---- the machine ---- */

static void put_machine_check(struct report *r, const char *group, const struct pn_machine_check *c)
{
    static const char *const words[] = {"ok", "advice", "wrong", "skipped"};
    r->wrong += c->state == PN_MACHINE_WRONG;
    r->advice += c->state == PN_MACHINE_ADVICE;
    bool finding = c->state == PN_MACHINE_WRONG || c->state == PN_MACHINE_ADVICE;
    if (r->checks) {
        json_t *list = json_array();
        if (finding)
            json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o}", "state", words[c->state], "where", c->name,
                                                  "what", pn_cli_json_text(c->what, strlen(c->what)), "mend",
                                                  pn_cli_json_text(c->mend, strlen(c->mend))));
        json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s, s:o, s:o}", "group", group, "check", c->name,
                                                   "state", words[c->state], "found",
                                                   pn_cli_json_text(c->found, strlen(c->found)), "findings", list));
        return;
    }
    printf("  %-12s %-8s ", c->name, words[c->state]);
    pn_cli_put_untrusted(stdout, c->found, strlen(c->found));
    if (finding) {
        fputs("\n    ", stdout);
        pn_cli_put_untrusted(stdout, c->what, strlen(c->what));
        fputs("\n      mend: ", stdout);
        pn_cli_put_untrusted(stdout, c->mend, strlen(c->mend));
    }
    putchar('\n');
}

static int check_machine(struct report *r)
{
    struct pn_machine_check checks[PN_MACHINE_CHECKS];
    int n = pn_machine_examine(r->chosen->quick, checks);
    if (!n)
        return pn_cli_no_memory();
    if (!r->checks)
        puts("machine");
    for (int i = 0; i < n; i++)
        put_machine_check(r, "machine", &checks[i]);
    return PN_EXIT_DONE;
}

/* ---- the settings ---- */

static int check_config(struct report *r)
{
    struct pn_machine_check checks[PN_CONFIG_CHECKS];
    int n = pn_config_examine(checks);
    if (!r->checks)
        puts("configuration");
    for (int i = 0; i < n; i++)
        put_machine_check(r, "configuration", &checks[i]);
    return PN_EXIT_DONE;
}

/* ---- all groups ---- */

/* Without an option of a group, all run. */
static const struct {
    size_t option; /* offset in struct chosen */
    int (*run)(struct report *report);
} groups[] = {{offsetof(struct chosen, machine), check_machine},
              {offsetof(struct chosen, config), check_config},
              {offsetof(struct chosen, store), check_store}};
enum { N_GROUPS = sizeof groups / sizeof *groups };

static bool is_chosen(const struct chosen *chosen, size_t group)
{
    return *(const bool *)((const char *)chosen + groups[group].option);
}

static int put_sum(const struct report *r)
{
    if (r->checks) {
        json_t *v = json_pack("{s:b, s:I, s:I, s:I, s:I, s:O}", "ok", r->wrong == 0, "wrong", (json_int_t)r->wrong,
                              "advice", (json_int_t)r->advice, "leftover", (json_int_t)r->others, "fixed",
                              (json_int_t)r->fixed, "checks", r->checks);
        int status = pn_cli_put_json(v);
        return status != PN_EXIT_DONE || r->wrong == 0 ? status : PN_EXIT_FAILED;
    }
    if (r->wrong)
        printf("%zu thing%s wrong", r->wrong, r->wrong == 1 ? " is" : "s are");
    else
        fputs("nothing is wrong", stdout);
    if (r->advice)
        printf(", %zu piece%s of advice", r->advice, r->advice == 1 ? "" : "s");
    if (r->others)
        printf(", %zu leftover%s", r->others, r->others == 1 ? "" : "s");
    if (r->fixed)
        printf(", %zu fixed", r->fixed);
    putchar('\n');
    return r->wrong ? PN_EXIT_FAILED : PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    int status = pn_cli_parse_options(command, argc, argv, &chosen);
    if (status != PN_CLI_GO_ON)
        return status;
    struct pantry_error unread; /* of a file with a mistake, which a check is about: then the usual store counts */
    pn_settings_find_models(&unread);
    struct report report = {.chosen = &chosen, .checks = chosen.json ? json_array() : NULL};
    bool all = true;
    for (size_t i = 0; i < N_GROUPS; i++)
        all &= !is_chosen(&chosen, i);
    status = PN_EXIT_DONE;
    for (size_t i = 0; i < N_GROUPS && status == PN_EXIT_DONE; i++)
        if (all || is_chosen(&chosen, i))
            status = groups[i].run(&report);
    if (status == PN_EXIT_DONE)
        status = put_sum(&report);
    json_decref(report.checks);
    return status;
}

const struct pn_command pn_cmd_doctor = {
    .name = "doctor",
    .usage = "[--machine] [--config] [--store] [--quick] [--fix] [--json]",
    .summary = "examine the machine and the model store, and say what mends them",
    .about =
        "Examines the machine: which device runs models and why, instruction sets, memory and its limits, large "
        "pages,\n"
        "clocks, throttling, temperatures, swap, the bandwidth, the disk's speed and a proof that decoding is as fast "
        "as\n"
        "expected (a few seconds, not with --quick), and whether a service runs. Then the settings of the service: "
        "the\n"
        "file, and the models and adapters that it names. Then the store: its folders and permissions, every manifest, "
        "that each "
        "file\n"
        "of a model is there with its size and its SHA-256 (--quick: its size), unfinished downloads and what other\n"
        "interrupted commands left. For each finding it prints what is wrong, where, and what mends it. Advice costs\n"
        "speed, leftovers take space; the exit status is 0 only if nothing is wrong.",
    .example = "pantry doctor\n"
               "pantry doctor --store --quick --fix",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
    .no_store = true, /* a mistake in the settings is a finding */
};
