/* A writer of small wheels for tests: see wheel_writer.h. */
#include "wheel_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>

static void must(int r, struct archive *zip)
{
    if (r == ARCHIVE_OK)
        return;
    fprintf(stderr, "wheel_write: %s\n", archive_error_string(zip));
    abort();
}

void wheel_write(const char *path, const struct wheel_entry *entries, size_t n)
{
    struct archive *zip = archive_write_new();
    must(archive_write_set_format_zip(zip), zip);
    must(archive_write_open_filename(zip, path), zip);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, entries[i].name);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_filetype(e, entries[i].link ? AE_IFLNK : AE_IFREG);
        if (entries[i].link)
            archive_entry_set_symlink(e, entries[i].link);
        archive_entry_set_size(e, entries[i].link ? 0 : (la_int64_t)entries[i].size);
        must(archive_write_header(zip, e), zip);
        if (!entries[i].link &&
            archive_write_data(zip, entries[i].bytes, entries[i].size) != (la_ssize_t)entries[i].size)
            must(ARCHIVE_FATAL, zip);
        archive_entry_free(e);
    }
    must(archive_write_close(zip), zip);
    archive_write_free(zip);
}
