/* The speed of the disk: see disk.h. */
#define _XOPEN_SOURCE    700
#define _DARWIN_C_SOURCE 1
#include "monitor/disk.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

pantry_status pn_disk_space(const char *folder, struct pn_disk *out, struct pantry_error *err)
{
    struct statvfs fs;
    *out = (struct pn_disk){.free = UINT64_MAX, .total = UINT64_MAX};
    if (statvfs(folder, &fs) != 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", folder, strerror(errno));
    out->free = (uint64_t)fs.f_bavail * fs.f_frsize;
    out->total = (uint64_t)fs.f_blocks * fs.f_frsize;
    return PANTRY_OK;
}

/* Writes random bytes, which no file system can compress. */
static bool fill(int fd, unsigned char *piece, uint64_t bytes)
{
    struct pn_rng rng = {1};
    for (uint64_t done = 0; done < bytes; done += PIECE) {
        for (size_t i = 0; i < PIECE; i += 8) {
            uint64_t value = pn_rng_u64(&rng);
            memcpy(piece + i, &value, 8);
        }
        for (size_t at = 0; at < PIECE;) {
            ssize_t n = write(fd, piece + at, PIECE - at);
            if (n <= 0 && errno != EINTR)
                return false;
            at += n > 0 ? (size_t)n : 0;
        }
    }
    return fsync(fd) == 0;
}

static bool read_all(int fd, unsigned char *piece, uint64_t bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, piece, PIECE, (off_t)done);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return true;
}

pantry_status pn_disk_measure(const char *folder, uint64_t bytes, struct pn_disk *out, struct pantry_error *err)
{
    struct pn_buf path = {0};
    pantry_status status = pn_disk_space(folder, out, err);
    if (status)
        return status;
    if (out->free / 4 < bytes)
        return pn_fail(err, PANTRY_LIMIT, "%s: too little space is left to measure (found %llu MB, needs %llu)", folder,
                       (unsigned long long)(out->free >> 20), (unsigned long long)(bytes >> 18));
    pn_buf_printf(&path, "%s/speed-XXXXXX", folder);
    unsigned char *piece = malloc(PIECE);
    if (path.failed || !piece) {
        free(piece);
        pn_buf_free(&path);
        return pn_no_memory(err, folder);
    }
    int fd = mkstemp(path.data);
    if (fd >= 0)
        unlink(path.data);
    if (fd < 0 || !fill(fd, piece, bytes)) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", folder, strerror(errno));
    } else {
        pn_os_forget_file(fd);
        uint64_t start = pn_clock_ns();
        if (read_all(fd, piece, bytes))
            out->read_rate = (double)bytes / ((double)(pn_clock_ns() - start) * 1e-9);
        else
            status = pn_fail(err, PANTRY_IO, "%s: %s", folder, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    free(piece);
    pn_buf_free(&path);
    return status;
}
