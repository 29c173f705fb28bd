/* The files of an unfinished blob: see partfile.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/partfile.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MIN_PART = 4 << 20,
    MAX_PARTS = 64,
    NUMBER = 21, /* bytes of a number's line */
    HEAD = 9 + 2 * NUMBER + PN_ETAG_MAX + 1,
};
static const char version[] = "pantry 1\n";

static int open_plain(const char *path)
{
    return open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
}

static pantry_status io_error(const char *path, struct pantry_error *err)
{
    return pn_fail(err, errno == ENOSPC || errno == EDQUOT ? PANTRY_LIMIT : PANTRY_IO, "%s: %s", path, strerror(errno));
}

static pantry_status write_at(int fd, const char *path, uint64_t at, const char *bytes, size_t n,
                              struct pantry_error *err)
{
    while (n > 0) {
        ssize_t k = pwrite(fd, bytes, n, (off_t)at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return io_error(path, err);
        bytes += k;
        at += (uint64_t)k;
        n -= (size_t)k;
    }
    return PANTRY_OK;
}

static bool read_number(const char *line, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < NUMBER - 1; i++) {
        if (line[i] < '0' || line[i] > '9' || __builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(line[i] - '0'), out))
            return false;
    }
    return line[NUMBER - 1] == '\n';
}

/* Reads the state; false if it is not that of this blob. */
static bool read_state(struct pn_partfile *f, const char *text, size_t n)
{
    uint64_t bytes, part_bytes;
    const char *etag = text + 9 + 2 * NUMBER;
    if (n != HEAD + f->n * NUMBER || memcmp(text, version, 9) != 0 || !read_number(text + 9, &bytes) ||
        !read_number(text + 9 + NUMBER, &part_bytes) || bytes != f->bytes || part_bytes != f->part_bytes)
        return false;
    for (size_t i = 0; i < f->n; i++)
        if (!read_number(text + HEAD + i * NUMBER, &f->have[i]) || f->have[i] > pn_partfile_length(f, i))
            return false;
    size_t len = 0;
    while (len < PN_ETAG_MAX && (unsigned char)etag[len] > 0x20 && (unsigned char)etag[len] < 0x7F)
        len++;
    memcpy(f->etag, etag, len);
    f->etag[len] = '\0';
    return true;
}

/* Reserves the space, so that a full disk shows before the download. */
static pantry_status reserve(struct pn_partfile *f, struct pantry_error *err)
{
#ifdef __linux__
    if (f->bytes && fallocate(f->data, 0, 0, (off_t)f->bytes) != 0 && errno != EOPNOTSUPP && errno != EINTR)
        return io_error(f->data_path, err);
#endif
    return ftruncate(f->data, (off_t)f->bytes) == 0 ? PANTRY_OK : io_error(f->data_path, err);
}

pantry_status pn_partfile_restart(struct pn_partfile *f, const char *etag, struct pantry_error *err)
{
    size_t size = HEAD + f->n * NUMBER;
    char *text = malloc(size + 1);
    if (!text)
        return pn_no_memory(err, f->state_path);
    memset(f->have, 0, f->n * sizeof *f->have);
    snprintf(f->etag, sizeof f->etag, "%s", etag); /* not f->etag itself */
    int n = snprintf(text, size + 1, "%s%020" PRIu64 "\n%020" PRIu64 "\n%-*s\n", version, f->bytes, f->part_bytes,
                     PN_ETAG_MAX, f->etag);
    for (size_t i = 0; i < f->n; i++)
        n += snprintf(text + n, size + 1 - (size_t)n, "%020d\n", 0);
    pantry_status status = ftruncate(f->state, 0) == 0 ? PANTRY_OK : io_error(f->state_path, err);
    if (!status)
        status = write_at(f->state, f->state_path, 0, text, (size_t)n, err);
    free(text);
    return status;
}

pantry_status pn_partfile_open(struct pn_partfile *f, const char *store, const char *hex, uint64_t bytes,
                               struct pantry_error *err)
{
    *f = (struct pn_partfile){.data = -1, .state = -1, .bytes = bytes};
    f->part_bytes = bytes / MAX_PARTS < MIN_PART ? MIN_PART : (bytes / MAX_PARTS | 0xFFFF) + 1;
    f->n = (size_t)((bytes + f->part_bytes - 1) / f->part_bytes);
    f->data_path = pn_layout_path("%s/blobs/sha256-%s-partial-data", store, hex);
    f->state_path = pn_layout_path("%s/blobs/sha256-%s-partial-state", store, hex);
    f->have = calloc(f->n + 1, sizeof *f->have);
    if (!f->data_path || !f->state_path || !f->have)
        return pn_no_memory(err, hex);
    f->data = open_plain(f->data_path);
    f->state = f->data < 0 ? -1 : open_plain(f->state_path);
    struct stat st;
    if (f->state < 0 || fstat(f->data, &st) != 0)
        return io_error(f->data < 0 ? f->data_path : f->state_path, err);
    char *text = NULL;
    size_t n = 0;
    bool matches = (uint64_t)st.st_size == bytes &&
                   !pn_file_read(f->state_path, HEAD + (f->n + 1) * NUMBER, &text, &n, NULL) && read_state(f, text, n);
    free(text);
    pantry_status status = reserve(f, err);
    return status || matches ? status : pn_partfile_restart(f, "", err);
}

void pn_partfile_close(struct pn_partfile *f)
{
    if (f->data >= 0)
        close(f->data);
    if (f->state >= 0)
        close(f->state);
    free(f->data_path);
    free(f->state_path);
    free(f->have);
    *f = (struct pn_partfile){.data = -1, .state = -1};
}

pantry_status pn_partfile_write(struct pn_partfile *f, uint64_t at, const char *bytes, size_t n,
                                struct pantry_error *err)
{
    return write_at(f->data, f->data_path, at, bytes, n, err);
}

pantry_status pn_partfile_mark(struct pn_partfile *f, size_t part, struct pantry_error *err)
{
    char line[NUMBER + 1];
    snprintf(line, sizeof line, "%020" PRIu64 "\n", f->have[part]);
    return write_at(f->state, f->state_path, HEAD + part * NUMBER, line, NUMBER, err);
}

uint64_t pn_partfile_present(const struct pn_partfile *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->n; i++)
        sum += f->have[i];
    return sum;
}
