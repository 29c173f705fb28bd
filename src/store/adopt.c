/* Files that become blobs: see adopt.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/adopt.h"

#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct adoption {
    struct pn_job *job;
    const struct pn_adopted *file;
    uint64_t done, total;
    char *blob, *partial;
};

/* Passes the whole file to `take`. */
static pantry_status read_all(struct adoption *a,
                              pantry_status (*take)(void *user, const void *bytes, size_t n, struct pantry_error *err),
                              void *user, struct pantry_error *err)
{
    static const size_t chunk_bytes = 1 << 18;
    char *chunk = malloc(chunk_bytes);
    pantry_status status = chunk ? PANTRY_OK : pn_no_memory(err, a->file->path);
    off_t at = 0;
    while (!status) {
        ssize_t n = pread(a->file->fd, chunk, chunk_bytes, at);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = pn_fail(err, PANTRY_IO, "%s: %s", a->file->path, strerror(errno));
        else if (pn_job_cancelled(a->job))
            status = pn_fail(err, PANTRY_CANCELLED, "stopped; nothing was created");
        else
            status = take(user, chunk, (size_t)n, err);
        at += n > 0 ? n : 0;
        pn_job_report(a->job, PN_FETCH_VERIFY, a->done + (uint64_t)at, a->total);
    }
    free(chunk);
    return status;
}

static pantry_status hash_bytes(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    (void)err;
    pn_sha256_update(user, bytes, n);
    return PANTRY_OK;
}

static pantry_status write_bytes(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    return pn_durable_write(user, bytes, n, err);
}

static pantry_status hash_file(struct adoption *a, char hex[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    struct pn_sha256 hash;
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    if (!(status = read_all(a, hash_bytes, &hash, err)))
        return pn_sha256_finish(&hash, hex, err);
    pn_sha256_free(&hash);
    return status;
}

/* Whether the file under that name is the one that was hashed, and as it was then. */
static bool is_unchanged(const struct pn_adopted *a, const struct stat *now)
{
#ifdef __APPLE__
    bool same_time = now->st_mtimespec.tv_sec == a->st.st_mtimespec.tv_sec &&
                     now->st_mtimespec.tv_nsec == a->st.st_mtimespec.tv_nsec;
#else
    bool same_time = now->st_mtim.tv_sec == a->st.st_mtim.tv_sec && now->st_mtim.tv_nsec == a->st.st_mtim.tv_nsec;
#endif
    return now->st_dev == a->st.st_dev && now->st_ino == a->st.st_ino && now->st_size == a->st.st_size && same_time;
}

/* The partial file shares the blocks, or is the file. False: neither can be had. */
static bool share(struct adoption *a)
{
    struct stat now;
    unlink(a->partial);
    bool cloned = pn_os_clone_file(a->file->fd, a->partial);
    bool shared = cloned || linkat(AT_FDCWD, a->file->path, AT_FDCWD, a->partial, AT_SYMLINK_FOLLOW) == 0;
    if (shared && (fstat(a->file->fd, &now) != 0 || !is_unchanged(a->file, &now) ||
                   (!cloned && (stat(a->partial, &now) != 0 || !is_unchanged(a->file, &now)))))
        shared = false;
    if (!shared)
        unlink(a->partial);
    return shared;
}

/* On the disk, then visible. */
static pantry_status publish(struct adoption *a, const char *store, struct pantry_error *err)
{
    int fd = open(a->partial, O_RDONLY | O_CLOEXEC);
    pantry_status status = fd < 0 ? pn_fail(err, PANTRY_IO, "%s: %s", a->partial, strerror(errno))
                                  : pn_layout_sync_file(fd, a->partial, err);
    if (fd >= 0)
        close(fd);
    if (!status && rename(a->partial, a->blob) != 0)
        status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", a->partial, strerror(errno));
    unlink(a->partial); /* renaming a link to the same file leaves it */
    char *blobs = pn_layout_path("%s/blobs", store);
    if (!status)
        status = blobs ? pn_layout_sync_dir(blobs, err) : pn_no_memory(err, a->file->path);
    free(blobs);
    return status;
}

static pantry_status copy(struct adoption *a, const char *store, struct pantry_error *err)
{
    struct pn_durable file;
    pantry_status status = pn_layout_need_space(store, (uint64_t)a->file->st.st_size, err);
    if (status || (status = pn_durable_open(&file, a->blob, err)))
        return status;
    if (!(status = read_all(a, write_bytes, &file, err)) && (status = pn_durable_commit(&file, a->file->hex, err)))
        pn_fail_prefix(err, "%s changed while it was read", a->file->path);
    pn_durable_abort(&file);
    return status;
}

pantry_status pn_adopt_put(struct pn_job *job, const char *store, const struct pn_adopted *file,
                           struct pantry_error *err)
{
    struct adoption a = {.job = job, .file = file, .total = (uint64_t)file->st.st_size};
    struct stat there;
    a.blob = pn_layout_path("%s/blobs/sha256-%s", store, file->hex);
    a.partial = pn_layout_path("%s/blobs/sha256-%s-partial", store, file->hex);
    pantry_status status = a.blob && a.partial ? PANTRY_OK : pn_no_memory(err, file->path);
    if (!status && !(stat(a.blob, &there) == 0 && S_ISREG(there.st_mode) && there.st_size == file->st.st_size))
        status = share(&a) ? publish(&a, store, err) : copy(&a, store, err);
    free(a.blob);
    free(a.partial);
    return status;
}

pantry_status pn_adopt_hash(struct pn_job *job, const char *path, uint64_t done, uint64_t total,
                            struct pn_adopted *file, struct pantry_error *err)
{
    struct adoption a = {.job = job, .file = file, .done = done, .total = total};
    *file = (struct pn_adopted){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (file->fd < 0 || fstat(file->fd, &file->st) != 0)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(file->st.st_mode))
        return pn_fail(err, PANTRY_INVALID, "%s: is not a file", path);
    return hash_file(&a, file->hex, err);
}

void pn_adopt_close(struct pn_adopted *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
