/* Removing, copying and pruning models: see store.h.
 *
 * All of it under the lock of the store. A manifest goes before its blobs, so a process that dies in between leaves
 * blobs without a name, which pruning finds. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char copy_advice[] = "`pantry import` makes a copy of the file";

/* Parses the name of a model to change. That of another program's model need not be a name of the own store. */
static pantry_status parse_own(const char *text, const char *advice, struct pn_model_name *name,
                               struct pantry_error *err)
{
    pantry_status status = pn_name_parse(text, name, err);
    if (status && pn_foreign_refuse(text, advice, NULL) == PANTRY_UNSUPPORTED)
        status = pn_foreign_refuse(text, advice, err);
    return status;
}

/* Removes the empty folders above a manifest: model, namespace, host. Not durable: an empty folder does no harm. */
static void remove_empty_folders(char *manifest)
{
    for (int level = 0; level < 3; level++) {
        *strrchr(manifest, '/') = '\0';
        if (rmdir(manifest) != 0)
            return;
    }
}

static pantry_status remove_manifest(char *path, const char *name, struct pantry_error *err)
{
    if (unlink(path) != 0)
        return errno == ENOENT ? pn_fail(err, PANTRY_NOT_FOUND, "%.200s: not in the store", name)
                               : pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    char *slash = strrchr(path, '/');
    *slash = '\0';
    pantry_status status = pn_layout_sync_dir(path, err);
    *slash = '/';
    remove_empty_folders(path);
    return status;
}

static pantry_status remove_locked(const char *store, const char *path, const char *name, uint64_t *bytes,
                                   struct pantry_error *err)
{
    struct pn_digests blobs = {0};
    pn_manifest_digests(path, &blobs, NULL); /* the blobs of a damaged manifest are left to pruning */
    char *copy = strdup(path);
    pantry_status status = copy ? remove_manifest(copy, name, err) : pn_no_memory(err, name);
    if (!status && (status = pn_references_drop(store, &blobs, bytes, err)))
        pn_fail_prefix(err, "%.200s is removed, but not all of its blobs", name);
    free(copy);
    free(blobs.data);
    return status;
}

pantry_status pn_store_remove(const char *text, uint64_t *bytes, struct pantry_error *err)
{
    uint64_t ignored;
    bytes = bytes ? bytes : &ignored;
    *bytes = 0;
    struct pn_model_name name;
    char *store = NULL, *path = NULL;
    int lock = -1;
    pantry_status status = parse_own(text, NULL, &name, err);
    if (!status)
        status = pn_layout_store(&store, err);
    if (!status && !(path = pn_manifest_path(store, &name)))
        status = pn_no_memory(err, text);
    if (!status && access(path, F_OK) != 0 && errno == ENOENT) /* without making a store for the lock */
        status = pn_foreign_refuse(text, NULL, err);
    if (!status)
        status = pn_layout_lock(store, &lock, err);
    if (!status)
        status = remove_locked(store, path, text, bytes, err);
    if (lock >= 0)
        close(lock);
    free(store);
    free(path);
    return status;
}

/* ---- copy ---- */

static pantry_status copy_locked(const char *store, const struct pn_model_name *from, const struct pn_model_name *to,
                                 struct pantry_error *err)
{
    char *text = NULL, *model = NULL, *source = pn_manifest_path(store, from), *target = pn_manifest_path(store, to);
    size_t n;
    uint64_t bytes;
    struct pn_digests replaced = {0};
    pantry_status status = source && target ? PANTRY_OK : pn_no_memory(err, from->model);
    if (!status)
        status = pn_manifest_model(store, from, &model, err); /* a damaged model is not copied */
    if (!status)
        status = pn_file_read(source, PN_MANIFEST_MAX, &text, &n, err);
    if (!status) {
        pn_manifest_digests(target, &replaced, NULL);
        status = pn_manifest_put(store, to, text, n, err);
    }
    if (!status)
        pn_references_drop(store, &replaced, &bytes, NULL); /* pruning removes what stays here */
    free(replaced.data);
    free(model);
    free(text);
    free(source);
    free(target);
    return status;
}

pantry_status pn_store_copy(const char *from, const char *to, struct pantry_error *err)
{
    struct pn_model_name source, target;
    char *store = NULL, *model = NULL;
    int lock = -1;
    pantry_status status = parse_own(from, copy_advice, &source, err);
    if (!status)
        status = pn_name_parse(to, &target, err);
    if (!status)
        status = pn_layout_store(&store, err);
    if (!status)
        status = pn_manifest_model(store, &source, &model, err); /* again under the lock */
    if (!status)
        status = pn_layout_lock(store, &lock, err);
    if (!status)
        status = copy_locked(store, &source, &target, err);
    if (status == PANTRY_NOT_FOUND)
        status = pn_foreign_refuse(from, copy_advice, err);
    if (lock >= 0)
        close(lock);
    free(model);
    free(store);
    return status;
}
