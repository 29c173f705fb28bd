/* Blobs that clients send: see create.h.
 *
 * Each upload has a file of its own until it is complete, so several of one blob do not meet. It needs no lock: nothing
 * names the blob yet. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/create.h"
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPACE_EVERY = 64 << 20 };

struct pn_upload {
    char *store, *blob, *partial;
    int fd;
    struct pn_sha256 hash;
    uint64_t written, checked; /* bytes; free space was looked at for `checked` */
};

static pantry_status take_digest(const char *digest, char hex[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    const char *digits = pn_digest_hex(digest);
    if (!digits)
        return pn_fail(err, PANTRY_INVALID, "not a digest (found \"%.80s\", allowed sha256: and 64 hexadecimal digits)",
                       digest);
    memcpy(hex, digits, PN_SHA256_HEX + 1);
    return PANTRY_OK;
}

pantry_status pn_store_has_blob(const char *digest, bool *has, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1], *store = NULL;
    struct stat st;
    *has = false;
    pantry_status status = take_digest(digest, hex, err);
    if (!status)
        status = pn_layout_store(&store, err);
    char *path = status ? NULL : pn_layout_path("%s/blobs/sha256-%s", store, hex);
    if (!status && !path)
        status = pn_no_memory(err, "a blob");
    if (!status)
        *has = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    free(store);
    return status;
}

static pantry_status need_space(struct pn_upload *u, uint64_t bytes, struct pantry_error *err)
{
    char *folder = pn_layout_path("%s/blobs", u->store);
    pantry_status status = folder ? pn_layout_need_space(folder, bytes, err) : pn_no_memory(err, "a blob");
    free(folder);
    return status;
}

static pantry_status open_partial(struct pn_upload *u, const char *hex, uint64_t bytes, struct pantry_error *err)
{
    static atomic_uint counter;
    char *folder = NULL;
    pantry_status status = pn_layout_store(&u->store, err);
    if (status)
        return status;
    folder = pn_layout_path("%s/blobs", u->store);
    u->blob = pn_layout_path("%s/blobs/sha256-%s", u->store, hex);
    u->partial = pn_layout_path("%s/blobs/sha256-%s-partial-%ld-%u", u->store, hex, (long)getpid(),
                                atomic_fetch_add(&counter, 1));
    status = folder && u->blob && u->partial ? pn_layout_make_dirs(folder, err) : pn_no_memory(err, "a blob");
    free(folder);
    if (!status)
        status = need_space(u, bytes, err);
    if (!status)
        status = pn_sha256_start(&u->hash, err);
    if (status)
        return status;
    unlink(u->partial); /* of an earlier process with this number */
    u->fd = open(u->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return u->fd < 0 ? pn_fail(err, PANTRY_IO, "%s: %s", u->partial, strerror(errno)) : PANTRY_OK;
}

pantry_status pn_upload_open(const char *digest, uint64_t bytes, struct pn_upload **out, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    *out = NULL;
    pantry_status status = take_digest(digest, hex, err);
    if (status)
        return status;
    struct pn_upload *u = calloc(1, sizeof *u);
    if (!u)
        return pn_no_memory(err, "a blob");
    u->fd = -1;
    u->checked = bytes;
    if ((status = open_partial(u, hex, bytes, err))) {
        pn_upload_abort(u);
        return status;
    }
    *out = u;
    return PANTRY_OK;
}

pantry_status pn_upload_write(struct pn_upload *u, const void *bytes, size_t n, struct pantry_error *err)
{
    if (u->written + n > u->checked) { /* of unknown size: a full disk is noticed before the last block */
        pantry_status status = need_space(u, SPACE_EVERY, err);
        if (status)
            return status;
        u->checked = u->written + n + SPACE_EVERY;
    }
    pn_sha256_update(&u->hash, bytes, n);
    const char *p = bytes;
    for (size_t left = n; left > 0;) {
        ssize_t k = write(u->fd, p, left);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return pn_fail(err, PANTRY_IO, "%s: %s", u->partial, k < 0 ? strerror(errno) : "the disk is full");
        p += k;
        left -= (size_t)k;
    }
    u->written += n;
    return PANTRY_OK;
}

pantry_status pn_upload_commit(struct pn_upload *u, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    const char *wanted = strrchr(u->blob, '-') + 1;
    pantry_status status = pn_sha256_finish(&u->hash, hex, err);
    if (!status && strcmp(hex, wanted) != 0)
        status =
            pn_fail(err, PANTRY_INVALID, "digest mismatch, expected \"sha256:%s\", got \"sha256:%s\"", wanted, hex);
    if (!status)
        status = pn_layout_sync_file(u->fd, u->partial, err);
    if (!status && rename(u->partial, u->blob) != 0)
        status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", u->partial, strerror(errno));
    char *folder = pn_layout_path("%s/blobs", u->store);
    if (!status)
        status = folder ? pn_layout_sync_dir(folder, err) : pn_no_memory(err, "a blob");
    free(folder);
    pn_upload_abort(u);
    return status;
}

void pn_upload_abort(struct pn_upload *u)
{
    if (!u)
        return;
    if (u->fd >= 0)
        close(u->fd);
    if (u->partial)
        unlink(u->partial); /* after a rename there is nothing under that name */
    pn_sha256_free(&u->hash);
    free(u->store);
    free(u->blob);
    free(u->partial);
    free(u);
}
