/* The folder of the prefix cache: see disk_folder.h. What is removed first is in disk_trim.c. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "engine/disk_folder.h"

#include "engine/disk_trim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

static pantry_status io_error(const char *path, struct pantry_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return pn_fail(err, full ? PANTRY_LIMIT : PANTRY_IO, "%s: %s", path, strerror(errno));
}

/* Creates a folder and those above it. */
static int make_folders(char *path)
{
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        *at = '/';
        if (failed)
            return -1;
    }
    return mkdir(path, 0700) != 0 && errno != EEXIST ? -1 : 0;
}

pantry_status pn_disk_folder_open(const char *path, uint64_t limit, struct pn_disk_folder **out,
                                  struct pantry_error *err)
{
    struct pn_disk_folder *f = *out = NULL;
    if (!*path)
        return pn_fail(err, PANTRY_INVALID, "the folder of the prefix cache has an empty name");
    if (!(f = calloc(1, sizeof *f)) || !(f->path = strdup(path))) {
        free(f);
        return pn_no_memory(err, path);
    }
    f->wanted = limit;
    f->fd = make_folders(f->path) ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0 || faccessat(f->fd, ".", W_OK, 0) != 0) {
        pantry_status status = io_error(path, err);
        pn_disk_folder_close(f);
        return status;
    }
    *out = f;
    return PANTRY_OK;
}

void pn_disk_folder_close(struct pn_disk_folder *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}

/* ---- files ---- */

bool pn_disk_folder_has(const struct pn_disk_folder *f, const struct pn_disk_block *b)
{
    char name[PN_DISK_NAME];
    pn_disk_name(b, name);
    return faccessat(f->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void pn_disk_folder_remove(const struct pn_disk_folder *f, const struct pn_disk_block *b)
{
    char name[PN_DISK_NAME];
    pn_disk_name(b, name);
    unlinkat(f->fd, name, 0);
}

void pn_disk_folder_touch(const struct pn_disk_folder *f, const struct pn_disk_block *b)
{
    char name[PN_DISK_NAME];
    pn_disk_name(b, name);
    utimensat(f->fd, name, NULL, AT_SYMLINK_NOFOLLOW);
}

static bool write_all(int fd, const unsigned char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            errno = k == 0 ? ENOSPC : errno;
            return false;
        }
        bytes += k;
        n -= (size_t)k;
    }
    return true;
}

pantry_status pn_disk_folder_write(struct pn_disk_folder *f, const struct pn_disk_block *b, const unsigned char *file,
                                   struct pantry_error *err)
{
    static atomic_uint n_written;
    char name[PN_DISK_NAME], temporary[PN_DISK_NAME];
    size_t size = pn_disk_file_size(b->bytes);
    pn_disk_name(b, name);
    snprintf(temporary, sizeof temporary, PN_DISK_TEMPORARY "%ld-%u", (long)getpid(), atomic_fetch_add(&n_written, 1));
    int fd = openat(f->fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) { /* of an earlier process with our number */
        unlinkat(f->fd, temporary, 0);
        return pn_fail(err, PANTRY_IO, "%s/%s: %s", f->path, temporary, strerror(EEXIST));
    }
    if (fd < 0)
        return io_error(f->path, err);
    /* The lock tells a process that cleans up that this file has an owner. */
    bool ok = flock(fd, LOCK_EX | LOCK_NB) == 0 && write_all(fd, file, size);
    ok = ok && renameat(f->fd, temporary, f->fd, name) == 0;
    pantry_status status = ok ? PANTRY_OK : io_error(f->path, err);
    if (!ok)
        unlinkat(f->fd, temporary, 0);
    close(fd);
    if (ok)
        f->unchecked += size;
    return status;
}

/* Reads exactly `size` bytes of a plain file. */
static bool read_file(int fd, unsigned char *to, size_t size)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return false;
    while (size > 0) {
        ssize_t k = read(fd, to, size);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        to += k;
        size -= (size_t)k;
    }
    return true;
}

pantry_status pn_disk_folder_read(const struct pn_disk_folder *f, struct pn_disk_block *b, unsigned char *file)
{
    char name[PN_DISK_NAME];
    size_t size = pn_disk_file_size(b->bytes);
    pn_disk_name(b, name);
    int fd = openat(f->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return PANTRY_NOT_FOUND;
    bool good = fd >= 0 && read_file(fd, file, size) && pn_disk_file_is(file, size, b);
    if (fd >= 0)
        close(fd);
    if (!good)
        unlinkat(f->fd, name, 0);
    return good ? PANTRY_OK : PANTRY_FORMAT;
}
