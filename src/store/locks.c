/* Locks of parts of the store: see internal.h.
 *
 * The file of a lock goes with its release, so the folder stays small. A process may therefore lock a file whose name
 * is gone, or names another file: it looks, and tries again. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/alloc.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NOTE = 1 << 16, LINE = PN_SHA256_HEX + 1 };

static char *lock_path(const char *store, const char *key)
{
    return pn_layout_path("%s/fetch/locks/%s", store, key);
}

/* Is the open file still the one of that name? */
static bool is_file_at(int fd, const char *path)
{
    struct stat mine, named;
    return fstat(fd, &mine) == 0 && lstat(path, &named) == 0 && mine.st_dev == named.st_dev &&
           mine.st_ino == named.st_ino;
}

pantry_status pn_lock_try(const char *store, const char *key, struct pn_lock *lock, struct pantry_error *err)
{
    enum { TRIES = 100 };
    *lock = (struct pn_lock)PN_NO_LOCK;
    char *folder = lock_path(store, ""), *path = lock_path(store, key);
    pantry_status status = folder && path ? PANTRY_OK : pn_no_memory(err, key);
    if (!status) {
        folder[strlen(folder) - 1] = '\0'; /* the slash at its end */
        status = pn_layout_make_dirs(folder, err);
    }
    for (int i = 0; i < TRIES && !status; i++) {
        status = pn_layout_try_lock(path, &lock->fd, err);
        if (status || lock->fd < 0 || is_file_at(lock->fd, path))
            break;
        close(lock->fd);
        lock->fd = -1;
    }
    free(folder);
    if (lock->fd >= 0)
        lock->path = path;
    else
        free(path);
    return status;
}

void pn_lock_release(struct pn_lock *lock)
{
    if (lock->fd >= 0) {
        unlink(lock->path);
        close(lock->fd);
    }
    free(lock->path);
    *lock = (struct pn_lock)PN_NO_LOCK;
}

/* Also true if that cannot be seen. */
static bool is_held(const char *store, const char *key)
{
    char *path = lock_path(store, key);
    int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    bool held = !path || (fd < 0 ? errno != ENOENT : flock(fd, LOCK_SH | LOCK_NB) != 0);
    if (fd >= 0)
        close(fd);
    free(path);
    return held;
}

void pn_locks_tidy(const char *store)
{
    char *folder = lock_path(store, "");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct pn_lock lock = PN_NO_LOCK;
        if (e->d_name[0] != '.')
            pn_lock_try(store, e->d_name, &lock, NULL);
        pn_lock_release(&lock);
    }
    if (dir)
        closedir(dir);
    free(folder);
}

/* ---- the blobs that lock holders need ---- */

pantry_status pn_lock_keep(struct pn_lock *lock, const struct pn_digest *blobs, size_t n, struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "%s\n", blobs[i].hex);
        if (pwrite(lock->fd, line, LINE, (off_t)(i * LINE)) != LINE)
            return pn_fail(err, errno == ENOSPC ? PANTRY_LIMIT : PANTRY_IO, "%s: %s", lock->path, strerror(errno));
    }
    return PANTRY_OK;
}

static pantry_status take_note(const char *path, struct pn_digests *blobs, struct pantry_error *err)
{
    char *text = NULL;
    size_t n = 0;
    pantry_status status = pn_file_read(path, MAX_NOTE, &text, &n, err);
    if (status == PANTRY_NOT_FOUND)
        status = PANTRY_OK; /* released meanwhile */
    for (size_t at = 0; at < n && !status; at += LINE) {
        struct pn_digest digest = {0};
        if (n - at < LINE || strspn(text + at, "0123456789abcdef") != PN_SHA256_HEX || text[at + LINE - 1] != '\n') {
            status = pn_fail(err, PANTRY_FORMAT, "%s: is not a list of digests", path);
            break;
        }
        memcpy(digest.hex, text + at, PN_SHA256_HEX);
        if (!pn_vec_push(blobs, digest))
            status = pn_no_memory(err, path);
    }
    free(text);
    return status;
}

pantry_status pn_locks_kept(const char *store, struct pn_digests *blobs, struct pantry_error *err)
{
    char *folder = pn_layout_path("%s/fetch/locks", store);
    if (!folder)
        return pn_no_memory(err, "the locks");
    pantry_status status = PANTRY_OK;
    DIR *dir = opendir(folder);
    if (!dir && errno != ENOENT && errno != ENOTDIR)
        status = pn_fail(err, PANTRY_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *e; dir && !status && (errno = 0, e = readdir(dir));) {
        if (e->d_name[0] == '.' || !is_held(store, e->d_name))
            continue;
        char *path = pn_layout_path("%s/%s", folder, e->d_name);
        status = path ? take_note(path, blobs, err) : pn_no_memory(err, folder);
        free(path);
    }
    if (dir)
        closedir(dir);
    free(folder);
    return status;
}
