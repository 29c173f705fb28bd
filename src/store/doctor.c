/* Examining the store: see doctor.h. All checks but that of the digests run under the lock of the store, if it is free,
 * so that they see no half-done change. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/examine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In this order: later checks use what earlier ones read. */
static const struct {
    void (*run)(struct pn_examination *x);
    bool unlocked;
} checks[] = {
    {pn_examine_layout, false},    {pn_examine_permissions, false}, {pn_examine_locks, false},
    {pn_examine_manifests, false}, {pn_examine_references, false},  {pn_examine_downloads, false},
    {pn_examine_digests, true},
};
const char *const pn_store_checks[] = {"layout",     "permissions", "locks",   "manifests",
                                       "references", "downloads",   "digests", NULL};

/* Takes the lock if that is possible without making anything. */
static void take_lock(struct pn_examination *x)
{
    char *path = pn_layout_path("%s/fetch/lock", x->store);
    x->lock = -1;
    x->no_memory |= !path;
    if (path && access(path, F_OK) == 0) {
        x->out->busy = pn_layout_try_lock(path, &x->lock, NULL) == PANTRY_OK && x->lock < 0;
    } else if (path && x->options->fix) {
        pn_layout_lock(x->store, &x->lock, NULL);
    }
    free(path);
}

static void drop_lock(struct pn_examination *x)
{
    if (x->lock >= 0)
        close(x->lock);
    x->lock = -1;
}

pantry_status pn_store_examine(const struct pn_examine_options *options, struct pn_diagnosis *out,
                               struct pantry_error *err)
{
    struct pn_examination x = {.options = options, .out = out, .lock = -1};
    *out = (struct pn_diagnosis){0};
    pantry_status status = pn_layout_store(&out->store, err);
    if (status)
        return status;
    x.store = out->store;
    pn_layout_home(&x.home, NULL);
    if (access(out->store, F_OK) == 0 || (x.home && access(x.home, F_OK) == 0)) {
        take_lock(&x);
        for (x.check = 0; x.check < sizeof checks / sizeof *checks && !x.no_memory && !x.cancelled; x.check++) {
            if (checks[x.check].unlocked)
                drop_lock(&x);
            checks[x.check].run(&x);
        }
        drop_lock(&x);
    }
    for (size_t i = 0; i < x.needed.len; i++)
        free(x.needed.data[i].name);
    free(x.needed.data);
    free(x.home);
    if (x.no_memory)
        return pn_no_memory(err, "examining the store");
    return x.cancelled ? pn_fail(err, PANTRY_CANCELLED, "stopped") : PANTRY_OK;
}

void pn_diagnosis_free(struct pn_diagnosis *d)
{
    for (size_t i = 0; i < d->len; i++) {
        free(d->data[i].where);
        free(d->data[i].what);
        free(d->data[i].mend);
    }
    free(d->data);
    free(d->store);
    *d = (struct pn_diagnosis){0};
}
