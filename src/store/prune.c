/* Pruning: blobs that no manifest names, and what unfinished downloads left more than a day ago. See store.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/media.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OLD_SECONDS = 24 * 60 * 60 };

struct prune {
    const char *store;
    struct pn_digests used;
    bool blobs; /* remove blobs: all manifests could be read */
    struct pn_pruned *pruned;
};

static bool is_old(const struct stat *st)
{
    return time(NULL) - st->st_mtime > OLD_SECONDS;
}

/* "sha256-" and 64 digits, alone or with "-partial" and anything after it. */
static bool is_unused(const struct prune *p, const char *name, const struct stat *st)
{
    const char *hex = name + 7, *rest = hex + PN_SHA256_HEX;
    if (strncmp(name, "sha256-", 7) != 0 || strspn(hex, "0123456789abcdef") != PN_SHA256_HEX)
        return false;
    if (*rest == '\0')
        return p->blobs && !pn_references_have(&p->used, hex);
    return strncmp(rest, "-partial", 8) == 0 && is_old(st);
}

static bool is_unfinished(const struct prune *p, const char *name, const struct stat *st)
{
    (void)p;
    return strcmp(name, "lock") != 0 && strcmp(name, "locks") != 0 && is_old(st);
}

static char *blob_key(const char *name)
{
    return pn_layout_path("blob-%.*s", PN_SHA256_HEX, name + 7);
}

static char *fetch_key(const char *name)
{
    return pn_layout_path("fetch-%.200s", name); /* those of downloads are shorter */
}

/* What a folder may have that goes, and the lock of those who work on it. */
struct kind {
    const char *folder;
    bool (*is_garbage)(const struct prune *, const char *name, const struct stat *);
    char *(*key)(const char *name);
};

/* Removes one file or folder, unless somebody is at work on it. */
static pantry_status remove_one(struct prune *p, const char *path, const char *key, struct pantry_error *err)
{
    struct pn_lock lock;
    pantry_status status = pn_lock_try(p->store, key, &lock, err);
    if (status || lock.fd < 0)
        return status;
    uint64_t bytes = pn_layout_bytes_below(path);
    pn_layout_remove(path);
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        status = pn_fail(err, PANTRY_IO, "%s: cannot be removed", path);
    } else {
        p->pruned->files++;
        p->pruned->bytes += bytes;
    }
    pn_lock_release(&lock);
    return status;
}

static pantry_status sweep(struct prune *p, const struct kind *kind, struct pantry_error *err)
{
    char *path = pn_layout_path("%s/%s", p->store, kind->folder);
    if (!path)
        return pn_no_memory(err, kind->folder);
    DIR *dir = opendir(path);
    pantry_status status = PANTRY_OK;
    if (!dir && errno != ENOENT)
        status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    for (struct dirent *e; dir && !status && (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !kind->is_garbage(p, e->d_name, &st))
            continue;
        char *file = pn_layout_path("%s/%s", path, e->d_name), *key = kind->key(e->d_name);
        status = file && key ? remove_one(p, file, key, err) : pn_no_memory(err, path);
        free(file);
        free(key);
    }
    if (dir)
        closedir(dir);
    free(path);
    return status;
}

pantry_status pn_store_prune(struct pn_pruned *pruned, struct pantry_error *err)
{
    static const struct kind kinds[] = {{"blobs", is_unused, blob_key}, {"fetch", is_unfinished, fetch_key}};
    *pruned = (struct pn_pruned){0};
    char *store = NULL;
    int lock = -1;
    pantry_status status = pn_layout_store(&store, err), unread = PANTRY_OK;
    if (status || access(store, F_OK) != 0) {
        free(store);
        return status;
    }
    struct prune p = {.store = store, .pruned = pruned};
    if ((status = pn_layout_lock(store, &lock, err)))
        goto done;
    unread = pn_references_read(store, &p.used, err);
    p.blobs = !unread;
    if (unread)
        pn_fail_prefix(err, "no blob was removed, as a manifest cannot be read");
    struct pantry_error *why = unread ? NULL : err;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !status; i++)
        status = sweep(&p, &kinds[i], why);
    if (!status)
        pn_locks_tidy(store);
    pn_shards_sweep(store);
    status = unread ? unread : status;
done:
    if (lock >= 0)
        close(lock);
    free(p.used.data);
    free(store);
    return status;
}
