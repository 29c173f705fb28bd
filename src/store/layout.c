/* Folders, locks and durable files of the store: see internal.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/alloc.h"
#include "base/size.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 16 }; /* of folders when counting or removing */

char *pn_layout_path(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *path = NULL;
    if (vasprintf(&path, format, args) < 0)
        path = NULL;
    va_end(args);
    return path;
}

const char *pn_layout_user(void)
{
    const char *user = getenv("HOME");
    if (user && *user)
        return user;
    const struct passwd *entry = getpwuid(getuid());
    return entry && entry->pw_dir && *entry->pw_dir ? entry->pw_dir : NULL;
}

pantry_status pn_layout_home(char **home, struct pantry_error *err)
{
    const char *set = getenv("PANTRY_HOME"), *user = pn_layout_user();
    if (set && *set)
        *home = strdup(set);
    else if (user)
        *home = pn_layout_path("%s/.pantry", user);
    else
        return pn_fail(err, PANTRY_NOT_FOUND,
                       "neither PANTRY_HOME nor HOME is set; one of them gives the folder of the models");
    return *home ? PANTRY_OK : pn_no_memory(err, "the path of the store");
}

pantry_status pn_layout_store(char **store, struct pantry_error *err)
{
    const char *set = getenv("PANTRY_MODELS");
    char *home = NULL;
    *store = set && *set ? strdup(set) : NULL;
    pantry_status status = set && *set ? PANTRY_OK : pn_layout_home(&home, err);
    if (home)
        *store = pn_layout_path("%s/models", home);
    if (!status && !*store)
        status = pn_no_memory(err, "the path of the store");
    free(home);
    return status;
}

pantry_status pn_store_folder(char **path, struct pantry_error *err)
{
    pantry_status status = pn_layout_store(path, err);
    if (!status && (status = pn_layout_make_dirs(*path, err))) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* A sync that reaches the medium: on Darwin fsync alone stops at the drive's cache. */
static int sync_fd(int fd)
{
#ifdef F_FULLFSYNC
    if (fcntl(fd, F_FULLFSYNC) == 0)
        return 0;
#endif
    return fsync(fd);
}

pantry_status pn_layout_sync_file(int fd, const char *path, struct pantry_error *err)
{
    return sync_fd(fd) == 0 ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
}

pantry_status pn_layout_sync_dir(const char *path, struct pantry_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    /* Some file systems cannot sync a folder and return EINVAL; nothing more can be done. */
    pantry_status status = PANTRY_OK;
    if (sync_fd(fd) != 0 && errno != EINVAL)
        status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    close(fd);
    return status;
}

pantry_status pn_layout_make_dirs(const char *path, struct pantry_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: exists and is not a folder", path);
    char *parent = strdup(path);
    if (!parent)
        return pn_no_memory(err, path);
    char *slash = strrchr(parent, '/');
    pantry_status status = PANTRY_OK;
    if (slash && slash != parent) {
        *slash = '\0';
        status = pn_layout_make_dirs(parent, err);
    }
    if (!status && mkdir(path, 0777) != 0 && errno != EEXIST)
        status = pn_fail(err, PANTRY_IO, "%s: cannot create the folder: %s", path, strerror(errno));
    if (!status && slash)
        status = pn_layout_sync_dir(slash == parent ? "/" : parent, err);
    free(parent);
    return status;
}

pantry_status pn_layout_make_store(const char *store, struct pantry_error *err)
{
    char *blobs = pn_layout_path("%s/blobs", store), *work = pn_layout_path("%s/fetch", store);
    pantry_status status = blobs && work ? pn_layout_make_dirs(blobs, err) : pn_no_memory(err, "the store");
    if (!status)
        status = pn_layout_make_dirs(work, err);
    free(blobs);
    free(work);
    return status;
}

pantry_status pn_store_private_path(const char *name, char **path, struct pantry_error *err)
{
    char *home = NULL;
    pantry_status status = pn_layout_home(&home, err);
    if (status == PANTRY_OK && !(*path = pn_layout_path("%s/%s", home, name)))
        status = pn_no_memory(err, name);
    free(home);
    return status;
}

pantry_status pn_store_private_file(const char *name, char **path, struct pantry_error *err)
{
    char *home = NULL;
    pantry_status status = pn_layout_home(&home, err);
    if (status == PANTRY_OK)
        status = pn_layout_make_dirs(home, err);
    free(home);
    return status ? status : pn_store_private_path(name, path, err);
}

/* Calls itself for folders; the depth is bounded because the contents are not trusted. */
static void remove_at(int at, const char *name, int depth)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)) {
        unlinkat(at, name, 0);
        return;
    }
    int fd = depth > 0 ? openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    DIR *dir = fdopendir(fd); /* of -1: NULL */
    if (dir) {
        for (struct dirent *e; (e = readdir(dir));)
            if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                remove_at(dirfd(dir), e->d_name, depth - 1);
        closedir(dir);
    } else if (fd >= 0) {
        close(fd);
    }
    unlinkat(at, name, AT_REMOVEDIR);
}

void pn_layout_remove(const char *path)
{
    remove_at(AT_FDCWD, path, MAX_DEPTH);
}

static uint64_t bytes_at(int at, const char *name, int depth)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    uint64_t sum = 0;
    int fd = depth > 0 ? openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    DIR *dir = fdopendir(fd); /* of -1: NULL */
    if (dir) {
        for (struct dirent *e; (e = readdir(dir));)
            if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                sum += bytes_at(dirfd(dir), e->d_name, depth - 1);
        closedir(dir);
    } else if (fd >= 0) {
        close(fd);
    }
    return sum;
}

uint64_t pn_layout_bytes_below(const char *path)
{
    return bytes_at(AT_FDCWD, path, MAX_DEPTH);
}

pantry_status pn_layout_need_space(const char *path, uint64_t bytes, struct pantry_error *err)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    uint64_t have;
    if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &have) || have >= bytes)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_LIMIT, "%s: needs %s of free disk space and has %s", path, pn_size(bytes).text,
                   pn_size(have).text);
}

pantry_status pn_layout_try_lock(const char *path, int *fd, struct pantry_error *err)
{
    /* The file stays: removing it would let two processes lock two files of one name. */
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return PANTRY_OK;
    int why = errno;
    close(*fd);
    *fd = -1;
    if (why == EWOULDBLOCK || why == EINTR)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_IO, "%s: cannot lock: %s", path, strerror(why));
}

pantry_status pn_layout_lock(const char *store, int *fd, struct pantry_error *err)
{
    enum { PERIOD_MS = 50, PATIENCE_MS = 2000 };
    *fd = -1;
    char *folder = pn_layout_path("%s/fetch", store), *path = pn_layout_path("%s/fetch/lock", store);
    pantry_status status =
        folder && path ? pn_layout_make_dirs(folder, err) : pn_no_memory(err, "the lock of the store");
    for (int waited = 0; !status && *fd < 0; waited += PERIOD_MS) {
        status = pn_layout_try_lock(path, fd, err);
        if (status || *fd >= 0)
            break;
        if (waited >= PATIENCE_MS)
            status = pn_fail(err, PANTRY_IO, "another pantry is changing the store; try again when it is done");
        else
            nanosleep(&(struct timespec){0, PERIOD_MS * 1000000L}, NULL);
    }
    free(folder);
    free(path);
    return status;
}

static pantry_status open_durable(struct pn_durable *file, const char *path, mode_t mode, struct pantry_error *err)
{
    *file = (struct pn_durable){.fd = -1};
    pantry_status status;
    file->path = strdup(path);
    file->partial = pn_layout_path("%s-partial", path);
    if (!file->path || !file->partial) {
        status = pn_no_memory(err, path);
        goto fail;
    }
    if ((status = pn_sha256_start(&file->hash, err)))
        goto fail;
    unlink(file->partial); /* a leftover, or a planted link */
    file->fd = open(file->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file->fd < 0) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", file->partial, strerror(errno));
        goto fail;
    }
    return PANTRY_OK;
fail:
    pn_durable_abort(file);
    return status;
}

pantry_status pn_durable_open(struct pn_durable *file, const char *path, struct pantry_error *err)
{
    return open_durable(file, path, 0666, err);
}

pantry_status pn_durable_write(struct pn_durable *file, const void *bytes, size_t n, struct pantry_error *err)
{
    pn_sha256_update(&file->hash, bytes, n);
    const char *p = bytes;
    for (size_t left = n; left > 0;) {
        ssize_t k = write(file->fd, p, left);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return pn_fail(err, PANTRY_IO, "%s: %s", file->partial,
                           k < 0 ? strerror(errno) : "the disk accepts no more data");
        p += k;
        left -= (size_t)k;
    }
    file->written += n;
    return PANTRY_OK;
}

static pantry_status sync_parent(const char *path, struct pantry_error *err)
{
    char *parent = strdup(path);
    if (!parent)
        return pn_no_memory(err, path);
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    pantry_status status = pn_layout_sync_dir(slash ? parent : ".", err);
    free(parent);
    return status;
}

pantry_status pn_durable_commit(struct pn_durable *file, const char *sha256, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_finish(&file->hash, hex, err);
    if (status)
        goto done;
    if (sha256 && strcmp(hex, sha256) != 0) {
        status = pn_fail(err, PANTRY_FORMAT, "the file has SHA-256 %s, expected %s", hex, sha256);
        goto done;
    }
    bool synced = sync_fd(file->fd) == 0;
    int why = errno;
    if (close(file->fd) != 0 && synced) {
        synced = false;
        why = errno;
    }
    file->fd = -1;
    if (!synced) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", file->partial, strerror(why));
        goto done;
    }
    if (rename(file->partial, file->path) != 0) {
        status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", file->partial, strerror(errno));
        goto done;
    }
    status = sync_parent(file->path, err);
done:
    pn_durable_abort(file);
    return status;
}

void pn_durable_abort(struct pn_durable *file)
{
    if (!file)
        return;
    if (file->partial) {
        if (file->fd >= 0)
            close(file->fd);
        unlink(file->partial); /* after a rename there is nothing under that name */
    }
    pn_sha256_free(&file->hash);
    free(file->path);
    free(file->partial);
    *file = (struct pn_durable){.fd = -1};
}

/* ---- private files ---- */

pantry_status pn_store_replace_private_file(const char *path, const void *bytes, size_t n, struct pantry_error *err)
{
    struct pn_durable file;
    pantry_status status = open_durable(&file, path, 0600, err);
    if (!status)
        status = pn_durable_write(&file, bytes, n, err);
    if (!status)
        status = pn_durable_commit(&file, NULL, err);
    pn_durable_abort(&file);
    return status;
}

pantry_status pn_store_lock_private_file(const char *path, int *fd, struct pantry_error *err)
{
    /* A file of its own, which stays: the other one is replaced, and a lock belongs to a file, not to its name. */
    char *name = pn_layout_path("%s-lock", path);
    if (!name)
        return pn_no_memory(err, path);
    pantry_status status = PANTRY_OK;
    *fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int locked = *fd < 0 ? -1 : flock(*fd, LOCK_EX);
    while (locked != 0 && *fd >= 0 && errno == EINTR)
        locked = flock(*fd, LOCK_EX);
    if (locked != 0) {
        status = pn_fail(err, PANTRY_IO, "%s: cannot lock: %s", name, strerror(errno));
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    free(name);
    return status;
}
