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

pantry_status pn_outfile_sync(struct pn_outfile *f, struct pantry_error *err)
{
    int fd = f->fd, failed = fsync(fd);
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
