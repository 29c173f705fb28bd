/* Which blobs the manifests of the store name and running downloads need. Manifests are not trusted: one that is
 * damaged may name any blob, so while it is there nothing is removed. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/media.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_LEVELS = 4 }; /* host, namespace, model, tag */

/* A walk goes on after a failure and ends with the first one. */
struct walk {
    pn_manifest_visit *visit;
    void *user;
    const char *parts[N_LEVELS];
    pantry_status status;
    struct pantry_error *err;
};

static void failed(struct walk *walk, pantry_status status, const char *path, const char *why)
{
    if (!walk->status)
        walk->status = pn_fail(walk->err, status, "%s: %s", path, why);
}

static void walk_folder(struct walk *walk, const char *path, int level);

static void walk_entry(struct walk *walk, const char *folder, const char *name, int level)
{
    bool is_file = level == N_LEVELS - 1;
    if (name[0] == '.' || (is_file && pn_name_is_partial(name)))
        return;
    char *path = pn_layout_path("%s/%s", folder, name);
    walk->parts[level] = name;
    if (!path) {
        failed(walk, PANTRY_NO_MEMORY, folder, "out of memory");
    } else if (is_file) {
        pantry_status status = walk->visit(walk->user, path, walk->parts, walk->status ? NULL : walk->err);
        walk->status = walk->status ? walk->status : status;
    } else {
        walk_folder(walk, path, level + 1);
    }
    free(path);
}

/* Calls itself for the folders below, four levels at most. */
static void walk_folder(struct walk *walk, const char *path, int level)
{
    DIR *dir = opendir(path);
    if (!dir) {
        if (errno != ENOENT && errno != ENOTDIR)
            failed(walk, PANTRY_IO, path, strerror(errno));
        return;
    }
    struct dirent *e;
    while ((errno = 0, e = readdir(dir)))
        walk_entry(walk, path, e->d_name, level);
    if (errno)
        failed(walk, PANTRY_IO, path, strerror(errno));
    closedir(dir);
}

pantry_status pn_manifest_walk(const char *store, pn_manifest_visit *visit, void *user, struct pantry_error *err)
{
    struct walk walk = {.visit = visit, .user = user, .err = err};
    char *path = pn_layout_path("%s/manifests", store);
    if (!path)
        return pn_no_memory(err, "the manifests");
    walk_folder(&walk, path, 0);
    free(path);
    return walk.status;
}

static pantry_status add_references(void *user, const char *path, const char *const parts[4], struct pantry_error *err)
{
    (void)parts;
    return pn_manifest_digests(path, user, err);
}

static int by_hex(const void *a, const void *b)
{
    return strcmp(((const struct pn_digest *)a)->hex, ((const struct pn_digest *)b)->hex);
}

pantry_status pn_references_read(const char *store, struct pn_digests *used, struct pantry_error *err)
{
    *used = (struct pn_digests){0};
    pantry_status status = pn_manifest_walk(store, add_references, used, err);
    if (!status)
        status = pn_locks_kept(store, used, err);
    if (status) {
        free(used->data);
        *used = (struct pn_digests){0};
    } else if (used->len) {
        qsort(used->data, used->len, sizeof *used->data, by_hex);
    }
    return status;
}

bool pn_references_have(const struct pn_digests *used, const char *hex)
{
    struct pn_digest key;
    memcpy(key.hex, hex, PN_SHA256_HEX);
    key.hex[PN_SHA256_HEX] = '\0';
    return used->len && bsearch(&key, used->data, used->len, sizeof key, by_hex);
}

static pantry_status drop_blob(const char *store, const char *hex, uint64_t *bytes, struct pantry_error *err)
{
    char *path = pn_layout_path("%s/blobs/sha256-%s", store, hex);
    struct stat st;
    if (!path)
        return pn_no_memory(err, hex);
    pantry_status status = PANTRY_OK;
    uint64_t size = lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    if (unlink(path) == 0)
        *bytes += size;
    else if (errno != ENOENT)
        status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    free(path);
    return status;
}

pantry_status pn_references_drop(const char *store, const struct pn_digests *blobs, uint64_t *bytes,
                                 struct pantry_error *err)
{
    *bytes = 0;
    struct pn_digests used;
    pantry_status status = pn_references_read(store, &used, err);
    for (size_t i = 0; i < blobs->len && !status; i++)
        if (!pn_references_have(&used, blobs->data[i].hex))
            status = drop_blob(store, blobs->data[i].hex, bytes, err);
    if (*bytes)
        pn_shards_sweep(store);
    free(used.data);
    return status;
}
