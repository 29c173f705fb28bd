/* Warnings before a pull or a run: see fit_ask.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/fit_ask.h"

#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USUAL_CONTEXT = 4096 };

/* ---- what would fit ---- */

/* "hf.co/user/repo:QUANT" without the quant; false: another kind of name. */
static bool repository_of(const char *name, char *out, size_t size)
{
    static const char *const hosts[] = {"hf.co/", "huggingface.co/"};
    bool found = false;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        found |= strncmp(name, hosts[i], strlen(hosts[i])) == 0;
    size_t n = strcspn(name, ":");
    if (!found || n >= size)
        return false;
    memcpy(out, name, n);
    out[n] = '\0';
    return true;
}

static bool fits(const char *name, const struct pn_fit_question *q, struct pn_fit *fit)
{
    struct pantry_error err;
    return pn_fit_look(name, q, fit, &err) == PANTRY_OK && fit->fits;
}

bool pn_fit_nearest(const char *name, const struct pn_fit_question *q, char *instead, size_t size, struct pn_fit *fit)
{
    static const char *const quants[] = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"};
    char repository[200];
    for (size_t i = 0; repository_of(name, repository, sizeof repository) && i < sizeof quants / sizeof *quants; i++) {
        snprintf(instead, size, "%s:%s", repository, quants[i]);
        if (!pn_term_interrupted() && strcmp(instead, name) != 0 && fits(instead, q, fit))
            return true;
    }
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n), *best = NULL;
    struct pn_fit one;
    for (size_t i = 0; i < n; i++)
        if ((!best || catalog[i].bytes > best->bytes) && strcmp(catalog[i].name, name) != 0 &&
            fits(catalog[i].name, q, &one)) {
            best = &catalog[i];
            *fit = one;
        }
    if (best)
        snprintf(instead, size, "%s", best->name);
    return best != NULL;
}

/* ---- asking ---- */

/* Is it here, and so small and quick that nothing need be estimated? */
static bool is_harmless(const char *name, const struct pn_fit_machine *on)
{
    char *path = NULL;
    bool here = pn_store_resolve(name, &path, NULL) == PANTRY_OK;
    double bytes = here ? (double)pn_store_model_bytes(path) : 0;
    free(path);
    return here && 2 * bytes < (double)on->usable && (on->rough || bytes * PN_FIT_SLOW < on->limits.decode);
}

/* 'y', 'n' or 'i'; a line that is something else counts as no. */
static char ask(const char *instead)
{
    char line[32];
    fprintf(stderr,
            *instead ? "Go on with it anyway (y), take %s instead (i), or stop (n)? [n] "
                     : "Go on with it anyway (y), or stop (n)?%s [n] ",
            instead);
    fflush(stderr);
    if (pn_term_interrupted() || !fgets(line, sizeof line, stdin)) {
        fputc('\n', stderr);
        return 'n';
    }
    return line[0] == 'y' || line[0] == 'Y' ? 'y' : (line[0] == 'i' || line[0] == 'I') && *instead ? 'i' : 'n';
}

static void put_instead(const char *instead, const struct pn_fit *near)
{
    struct pn_number a;
    if (*instead)
        fprintf(stderr, "%s would: %s, about %.3g tok/s.\n", instead, pn_cli_bytes(&a, near->need.total_bytes),
                1 / near->first_seconds);
}

static int warn(const char *name, const struct pn_fit_question *q, const struct pn_fit *fit,
                struct pn_fit_answer *answer)
{
    struct pn_fit near;
    struct pn_number a, b;
    char instead[sizeof answer->name] = "";
    bool slow = fit->first_seconds * PN_FIT_SLOW > 1;
    if (!pn_fit_nearest(name, q, instead, sizeof instead, &near))
        instead[0] = '\0';
    if (!fit->fits) {
        fprintf(stderr,
                "%s needs %s of memory, and this machine has %s for models: it will not fit, or be read from "
                "the disk for every token.\n",
                name, pn_cli_bytes(&a, fit->need.total_bytes), pn_cli_bytes(&b, fit->have));
        put_instead(instead, &near);
    } else if (slow) {
        fprintf(stderr, "%s will be slow on this machine: about %.2g tok/s (±%.0f %%).\n", name, 1 / fit->first_seconds,
                100 * fit->sure.step_error);
        if (*instead && near.first_seconds < 0.5 * fit->first_seconds)
            fprintf(stderr, "%s makes about %.3g tok/s.\n", instead, 1 / near.first_seconds);
    }
    if (fit->fits || !isatty(STDIN_FILENO))
        return PN_CLI_GO_ON;
    char said = ask(instead);
    if (said == 'i') {
        answer->changed = true;
        memcpy(answer->name, instead, sizeof instead);
    }
    return said == 'n' ? PN_EXIT_FAILED : PN_CLI_GO_ON;
}

int pn_fit_ask(const char *name, const struct pn_machine *machine, bool insecure, struct pn_fit_answer *answer)
{
    struct pn_machine asked = *machine;
    struct pantry_error err;
    *answer = (struct pn_fit_answer){0};
    struct pn_fit_machine *on = calloc(1, sizeof *on);
    struct pn_fit fit;
    int status = PN_CLI_GO_ON;
    if (!on || !pn_term_is(stderr) || strlen(name) >= sizeof answer->name ||
        pn_fit_this_machine_now(machine, on) != PN_EXIT_DONE || is_harmless(name, on)) {
        free(on);
        return status;
    }
    if (!asked.session.n_context)
        asked.session.n_context = USUAL_CONTEXT;
    const struct pn_fit_question q = {.machine = &asked, .on = on, .n_sequences = 1, .insecure = insecure};
    if (pn_fit_look(name, &q, &fit, &err) == PANTRY_OK)
        status = warn(name, &q, &fit, answer);
    free(on);
    return status;
}
