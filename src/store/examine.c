/* What the checks of the store share: see examine.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/examine.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pn_finding *pn_examine_add(struct pn_examination *x, enum pn_finding_level level, const char *where,
                                  const char *mend, const char *format, ...)
{
    va_list args;
    struct pn_finding f = {.check = x->check, .level = level, .where = strdup(where), .mend = strdup(mend)};
    va_start(args, format);
    if (vasprintf(&f.what, format, args) < 0)
        f.what = NULL;
    va_end(args);
    if (f.where && f.mend && f.what && pn_vec_push(x->out, f))
        return &x->out->data[x->out->len - 1];
    free(f.where);
    free(f.mend);
    free(f.what);
    x->no_memory = true;
    return NULL;
}

bool pn_examine_may_fix(const struct pn_examination *x)
{
    return x->options->fix && x->lock >= 0;
}

bool pn_examine_remove_blob(const struct pn_examination *x, const char *name)
{
    struct pn_lock lock = PN_NO_LOCK;
    char *key = pn_layout_path("blob-%.*s", PN_SHA256_HEX, name + 7),
         *path = pn_layout_path("%s/blobs/%s", x->store, name);
    bool removed =
        key && path && pn_lock_try(x->store, key, &lock, NULL) == PANTRY_OK && lock.fd >= 0 && unlink(path) == 0;
    pn_lock_release(&lock);
    free(key);
    free(path);
    return removed;
}

void pn_examine_names(struct pn_examination *x, const char *folder, struct pn_names *names)
{
    char *path = pn_layout_path("%s/%s", x->store, folder);
    *names = (struct pn_names){0};
    x->no_memory |= !path || pn_names_read(AT_FDCWD, path, false, names, NULL) == PANTRY_NO_MEMORY;
    free(path);
}
