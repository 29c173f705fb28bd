/* Checks of the store's folders and files, without what is in them: see examine.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/examine.h"

#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* pantry's own folder and those of the store. Caller frees; NULL: there is none, or memory is out. */
static char *folder(struct pn_examination *x, size_t i)
{
    static const char *const tails[] = {"", "", "/manifests", "/blobs", "/fetch"};
    const char *root = i == 0 ? x->home : x->store;
    char *path = root ? pn_layout_path("%s%s", root, tails[i]) : NULL;
    x->no_memory |= root && !path;
    return path;
}
enum { N_FOLDERS = 5 };

/* ---- layout ---- */

/* "sha256-" and 64 digits; the rest of the name, or NULL. */
static const char *after_digest(const char *name)
{
    if (strncmp(name, "sha256-", 7) != 0 || strspn(name + 7, "0123456789abcdef") < PN_SHA256_HEX)
        return NULL;
    return name + 7 + PN_SHA256_HEX;
}

static void examine_blob_file(struct pn_examination *x, const char *name)
{
    struct stat st;
    char *path = pn_layout_path("%s/blobs/%s", x->store, name);
    const char *rest = after_digest(name);
    x->no_memory |= !path;
    if (!path)
        return;
    if (!rest || (*rest && strncmp(rest, "-partial", 8) != 0))
        pn_examine_add(x, PN_FINDING_LEFTOVER, path, "remove it, if it is not needed elsewhere",
                       "is not a file of the store");
    else if (stat(path, &st) != 0)
        pn_examine_add(x, PN_FINDING_WRONG, path, "remove it", "cannot be read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        pn_examine_add(x, PN_FINDING_WRONG, path, "remove it", "is not a file");
    else if (*rest == '\0') {
        x->out->n_blobs++;
        x->out->bytes += (uint64_t)st.st_size;
    }
    free(path);
}

void pn_examine_layout(struct pn_examination *x)
{
    struct stat st;
    struct pn_names names;
    for (size_t i = 0; i < N_FOLDERS; i++) {
        char *path = folder(x, i);
        if (path && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
            pn_examine_add(x, PN_FINDING_WRONG, path, "move it away", "is not a folder");
        else if (path && stat(path, &st) != 0 && errno != ENOENT && errno != ENOTDIR)
            pn_examine_add(x, PN_FINDING_WRONG, path, "give this user access to it", "%s", strerror(errno));
        free(path);
    }
    pn_examine_names(x, "blobs", &names);
    for (size_t i = 0; i < names.len; i++)
        examine_blob_file(x, names.data[i]);
    pn_names_free(&names);
}

/* ---- permissions ---- */

/* `bits` that a file or folder must not have. */
static void forbid(struct pn_examination *x, const char *path, mode_t bits, const char *what)
{
    struct stat st;
    if (stat(path, &st) != 0 || !(st.st_mode & bits))
        return;
    char *mend = pn_layout_path("chmod %s '%s'", bits & S_IRGRP ? "600" : "o-w", path);
    struct pn_finding *f =
        mend ? pn_examine_add(x, PN_FINDING_WRONG, path, mend, "%s", what) : (x->no_memory = true, NULL);
    if (f && x->options->fix)
        f->fixed = chmod(path, st.st_mode & 07777 & ~bits) == 0;
    free(mend);
}

void pn_examine_permissions(struct pn_examination *x)
{
    struct stat st;
    for (size_t i = 0; i < N_FOLDERS; i++) {
        char *path = folder(x, i);
        if (path && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            if (access(path, R_OK | W_OK | X_OK) != 0) {
                const char *root = i == 0 ? x->home : x->store;
                char *mend = pn_layout_path("chown -R %ld '%s'; chmod -R u+rwX '%s'", (long)getuid(), root, root);
                if (mend)
                    pn_examine_add(x, PN_FINDING_WRONG, path, mend, "this user cannot change it: %s", strerror(errno));
                free(mend);
            }
            forbid(x, path, S_IWOTH, "every user of this machine may change it");
        }
        free(path);
    }
    char *keys = x->home ? pn_layout_path("%s/keys.json", x->home) : NULL;
    if (keys)
        forbid(x, keys, S_IRWXG | S_IRWXO, "holds keys, and other users may access it");
    free(keys);
    struct pn_names names;
    pn_examine_names(x, "blobs", &names);
    for (size_t i = 0; i < names.len; i++) {
        char *path = pn_layout_path("%s/blobs/%s", x->store, names.data[i]);
        if (path && access(path, R_OK) != 0 && errno != ENOENT)
            pn_examine_add(x, PN_FINDING_WRONG, path, "chmod u+r", "this user cannot read it: %s", strerror(errno));
        else if (path)
            forbid(x, path, S_IWOTH, "every user of this machine may change it");
        free(path);
    }
    pn_names_free(&names);
}

/* ---- locks ---- */

/* Locks of parts of the store are files of fetch/locks, which go when they are released. */
static void examine_part_locks(struct pn_examination *x)
{
    struct pn_names names;
    pn_examine_names(x, "fetch/locks", &names);
    for (size_t i = 0; i < names.len; i++) {
        char *path = pn_layout_path("%s/fetch/locks/%s", x->store, names.data[i]);
        int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) : -1;
        x->no_memory |= !path;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            struct pn_finding *f = pn_examine_add(x, PN_FINDING_LEFTOVER, path, "pantry doctor --store --fix",
                                                  "is the lock of a process that ended");
            if (f && pn_examine_may_fix(x))
                f->fixed = unlink(path) == 0;
        }
        if (fd >= 0)
            close(fd);
        free(path);
    }
    pn_names_free(&names);
}

/* Is somebody at work on a blob ("blob", its digest) or on a folder of fetch/ ("fetch", its name)? */
static bool is_held(struct pn_examination *x, const char *kind, const char *name, size_t n)
{
    char *path = pn_layout_path("%s/fetch/locks/%s-%.*s", x->store, kind, (int)n, name);
    int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) : -1;
    bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    x->no_memory |= !path;
    if (fd >= 0)
        close(fd);
    free(path);
    return held;
}

/* A lock file stays when its holder ends; that it can be locked is what counts. */
void pn_examine_locks(struct pn_examination *x)
{
    static const char *const locks[] = {"/fetch/lock", "/keys.json-lock"};
    const char *const roots[] = {x->store, x->home};
    struct stat st;
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        char *path = roots[i] ? pn_layout_path("%s%s", roots[i], locks[i]) : NULL;
        x->no_memory |= roots[i] && !path;
        if (path && lstat(path, &st) == 0) {
            int fd = S_ISREG(st.st_mode) ? open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;
            if (!S_ISREG(st.st_mode))
                pn_examine_add(x, PN_FINDING_WRONG, path, "remove it", "is a lock, and not a file");
            else if (fd < 0)
                pn_examine_add(x, PN_FINDING_WRONG, path, "remove it", "is a lock that cannot be opened: %s",
                               strerror(errno));
            else if (x->lock < 0 && !x->out->busy && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno != EWOULDBLOCK)
                pn_examine_add(x, PN_FINDING_WRONG, path,
                               i == 0 ? "put the models on a file system with locks"
                                      : "put PANTRY_HOME on a file system with locks",
                               "cannot be locked: %s", strerror(errno));
            if (fd >= 0)
                close(fd);
        }
        free(path);
    }
    examine_part_locks(x);
}

/* ---- unfinished work ---- */

/* Of two files of an unfinished blob, one alone is of no use: the download starts again. */
static bool has_other(struct pn_examination *x, const char *name)
{
    static const char data[] = "-data", state[] = "-state";
    size_t n = strlen(name) - (strstr(name, data) ? sizeof data : sizeof state) + 1;
    char *other = pn_layout_path("%s/blobs/%.*s%s", x->store, (int)n, name, strstr(name, data) ? state : data);
    bool has = other && access(other, F_OK) == 0;
    x->no_memory |= !other;
    free(other);
    return has;
}

/* Uploads write "-partial-<process>-<number>" without the lock of the store. */
static bool has_owner(const char *rest)
{
    char *end;
    long process = strncmp(rest, "-partial-", 9) == 0 ? strtol(rest + 9, &end, 10) : 0;
    return process > 0 && *end == '-' && (kill((pid_t)process, 0) == 0 || errno == EPERM);
}

/* `blob`: its name in models/blobs, or NULL. */
static void leftover(struct pn_examination *x, const char *path, const char *blob, bool resumes)
{
    uint64_t bytes = pn_layout_bytes_below(path);
    struct pn_finding *f = resumes ? pn_examine_add(x, PN_FINDING_LEFTOVER, path,
                                                    "pull or run its model to go on; `pantry prune` removes it after "
                                                    "a day without a change",
                                                    "is an unfinished download (%s)", pn_size(bytes).text)
                                   : pn_examine_add(x, PN_FINDING_LEFTOVER, path, "pantry doctor --store --fix",
                                                    "was left by a process that ended (%s)", pn_size(bytes).text);
    if (f && !resumes && blob && pn_examine_may_fix(x))
        f->fixed = pn_examine_remove_blob(x, blob);
}

/* Under the lock of the store, files of nobody who holds a lock of a part are of processes that ended. */
void pn_examine_downloads(struct pn_examination *x)
{
    struct pn_names names;
    if (x->out->busy)
        return;
    pn_examine_names(x, "blobs", &names);
    for (size_t i = 0; i < names.len; i++) {
        const char *rest = after_digest(names.data[i]);
        char *path = pn_layout_path("%s/blobs/%s", x->store, names.data[i]);
        bool part = rest && (strcmp(rest, "-partial-data") == 0 || strcmp(rest, "-partial-state") == 0);
        x->no_memory |= !path;
        if (path && part && strcmp(rest, "-partial-state") == 0 && has_other(x, names.data[i]))
            ; /* with its data */
        else if (path && rest && strncmp(rest, "-partial", 8) == 0 && !has_owner(rest) &&
                 !is_held(x, "blob", names.data[i] + 7, PN_SHA256_HEX))
            leftover(x, path, names.data[i], part && has_other(x, names.data[i]));
        free(path);
    }
    pn_names_free(&names);
    pn_examine_names(x, "fetch", &names);
    for (size_t i = 0; i < names.len; i++) {
        char *path = pn_layout_path("%s/fetch/%s", x->store, names.data[i]);
        x->no_memory |= !path;
        bool lock = strcmp(names.data[i], "lock") == 0 || strcmp(names.data[i], "locks") == 0;
        if (path && !lock && !is_held(x, "fetch", names.data[i], strlen(names.data[i])))
            leftover(x, path, NULL, true);
        free(path);
    }
    pn_names_free(&names);
}
