/* Examining the settings: see doctor_config.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/doctor_config.h"

#include "cli/settings.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pn_machine_check *add(struct pn_machine_check *list, int *n, const char *name)
{
    list[*n] = (struct pn_machine_check){.name = name};
    return &list[(*n)++];
}

static void find_fault(struct pn_machine_check *c, enum pn_machine_state state, const char *what, const char *mend)
{
    c->state = state;
    snprintf(c->what, sizeof c->what, "%.1000s", what);
    snprintf(c->mend, sizeof c->mend, "%.250s", mend);
}

static bool is_here(const char *model)
{
    char *path = NULL;
    bool here = pn_store_resolve(model, &path, NULL) == PANTRY_OK;
    free(path);
    return here;
}

/* Models that the settings speak of, and that are not here: a service answers with an error when they are asked for. */
static void examine_models(const struct pn_settings *s, struct pn_machine_check *c)
{
    char what[512] = "";
    size_t missing = 0, at = 0;
    for (size_t i = 0; i < s->n_models + s->n_aliases; i++) {
        const char *name = i < s->n_models ? s->models[i].name : s->aliases[i - s->n_models].model;
        bool alias = false;
        for (size_t k = 0; k < s->n_aliases; k++)
            alias |= strcmp(s->aliases[k].name, name) == 0;
        if (alias || is_here(name))
            continue;
        missing++;
        if (at + 1 < sizeof what)
            at += (size_t)snprintf(what + at, sizeof what - at, "%s%.100s", at ? ", " : "not here: ", name);
        at = at < sizeof what ? at : sizeof what - 1;
    }
    snprintf(c->found, sizeof c->found, "%zu model%s with settings, %zu alias%s", s->n_models,
             s->n_models == 1 ? "" : "s", s->n_aliases, s->n_aliases == 1 ? "" : "es");
    if (missing)
        find_fault(c, PN_MACHINE_ADVICE, what, "`pantry pull` them, or take them out of the file");
}

static void examine_adapters(const struct pn_settings *s, struct pn_machine_check *c)
{
    char what[512];
    snprintf(c->found, sizeof c->found, "%zu", s->n_adapters);
    for (size_t i = 0; i < s->n_adapters; i++)
        if (access(s->adapters[i].path, R_OK) != 0 && !is_here(s->adapters[i].path)) {
            snprintf(what, sizeof what,
                     "adapter %.100s: %.300s is neither a file that can be read nor a model of the store",
                     s->adapters[i].name, s->adapters[i].path);
            find_fault(c, PN_MACHINE_WRONG, what, "correct its path in the file");
        }
}

int pn_config_examine(struct pn_machine_check out[PN_CONFIG_CHECKS])
{
    struct pn_settings_given given = {0};
    struct pn_settings settings;
    struct pantry_error err = {0};
    int n = 0;
    struct pn_machine_check *file = add(out, &n, "file");
    if (pn_settings_read(&settings, &given, &err)) {
        snprintf(file->found, sizeof file->found, "%.300s", settings.file ? settings.file : "cannot be read");
        find_fault(file, PN_MACHINE_WRONG, err.text,
                   "correct that line or variable; until then `pantry serve` does not start");
        pn_settings_free(&settings);
        return n;
    }
    snprintf(file->found, sizeof file->found, "%.300s%s", settings.file,
             settings.has_file ? "" : " does not exist, so defaults and the environment count");
    examine_models(&settings, add(out, &n, "models"));
    examine_adapters(&settings, add(out, &n, "adapters"));
    pn_settings_free(&settings);
    return n;
}
