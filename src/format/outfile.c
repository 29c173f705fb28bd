/* Files that are written beside their name: see outfile.h. */
#define _POSIX_C_SOURCE 200809L
#include "format/outfile.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool pn_outfile_name(struct pn_outfile *f, char *path, const char *key)
{
    struct pn_buf partial = {0};
    if (path && key)
        pn_buf_printf(&partial, "%s.%s.partial", path, key);
    else if (path)
        pn_buf_printf(&partial, "%s.%d.partial", path, (int)getpid());
    f->path = path;
    f->partial = pn_buf_take(&partial);
    f->fd = -1;
    return f->path && f->partial;
}

pantry_status pn_outfile_error(const struct pn_outfile *f, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", f->partial, strerror(errno));
}

pantry_status pn_outfile_open(struct pn_outfile *f, struct pantry_error *err)
{
    f->fd = open(f->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return f->fd < 0 ? pn_outfile_error(f, err) : PANTRY_OK;
}

pantry_status pn_outfile_write(struct pn_outfile *f, const void *bytes, size_t n, struct pantry_error *err)
{
    for (const char *p = bytes; n > 0;) {
        ssize_t done = write(f->fd, p, n);
        if (done < 0 && errno != EINTR)
            return pn_outfile_error(f, err);
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return PANTRY_OK;
}

pantry_status pn_outfile_close(struct pn_outfile *f, bool sync, struct pantry_error *err)
{
    int fd = f->fd, failed = sync ? fsync(fd) : 0;
    f->fd = -1;
    return close(fd) != 0 || failed ? pn_outfile_error(f, err) : PANTRY_OK;
}

pantry_status pn_outfile_rename(struct pn_outfile *f, struct pantry_error *err)
{
    if (rename(f->partial, f->path) != 0)
        return pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", f->path, strerror(errno));
    return PANTRY_OK;
}

void pn_outfile_free(struct pn_outfile *f, bool remove)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->partial && remove)
        unlink(f->partial);
    free(f->path);
    free(f->partial);
    *f = (struct pn_outfile){.fd = -1};
}

pantry_status pn_outfile_bytes(const char *folder, const char *name, const void *bytes, size_t n,
                               struct pantry_error *err)
{
    struct pn_outfile file = {.fd = -1};
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/%s", folder, name);
    pantry_status status =
        pn_outfile_name(&file, pn_buf_take(&path), NULL) ? pn_outfile_open(&file, err) : pn_no_memory(err, name);
    if (!status && !(status = pn_outfile_write(&file, bytes, n, err)) && !(status = pn_outfile_close(&file, true, err)))
        status = pn_outfile_rename(&file, err);
    pn_outfile_free(&file, true);
    return status;
}

pantry_status pn_outfile_text(const char *folder, const char *name, const char *text, struct pantry_error *err)
{
    return pn_outfile_bytes(folder, name, text, strlen(text), err);
}
