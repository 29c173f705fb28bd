/* Reads one member of a wheel (a zip) as a stream, through libarchive. */
#include "store/internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>

enum { MAX_ENTRIES = 10000 };

static pn_status archive_fail(struct archive *zip, const char *path, struct pn_error *err)
{
    const char *why = archive_error_string(zip);
    return pn_fail(err, PN_FORMAT, "%s: %s", path, why ? why : "not a readable zip archive");
}

static pn_status read_member(struct archive *zip, const char *path, const char *member, uint64_t limit,
                             pn_wheel_sink *sink, void *user, struct pn_error *err)
{
    for (uint64_t total = 0;;) {
        const void *bytes;
        size_t n;
        la_int64_t offset;
        int r = archive_read_data_block(zip, &bytes, &n, &offset);
        if (r == ARCHIVE_EOF)
            return PN_OK;
        if (r == ARCHIVE_RETRY)
            continue;
        if (r != ARCHIVE_OK)
            return archive_fail(zip, path, err);
        if (offset < 0 || (uint64_t)offset != total)
            return pn_fail(err, PN_FORMAT, "%s: %s has holes", path, member);
        if (n > limit - total)
            return pn_fail(err, PN_FORMAT, "%s: %s has more than the %llu bytes allowed", path, member,
                           (unsigned long long)limit);
        total += n;
        pn_status status = sink(user, bytes, n, err);
        if (status)
            return status;
    }
}

pn_status pn_wheel_read(const char *path, const char *member, uint64_t limit, pn_wheel_sink *sink, void *user,
                        struct pn_error *err)
{
    struct archive *zip = archive_read_new();
    if (!zip)
        return pn_no_memory(err, path);
    pn_status status = PN_OK;
    if (archive_read_support_format_zip(zip) != ARCHIVE_OK ||
        archive_read_open_filename(zip, path, 1 << 16) != ARCHIVE_OK) {
        status = archive_fail(zip, path, err);
        goto done;
    }
    bool found = false;
    for (int i = 0;; i++) {
        struct archive_entry *entry;
        int r = archive_read_next_header(zip, &entry);
        if (r == ARCHIVE_EOF)
            break;
        if (r == ARCHIVE_RETRY)
            continue;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
            status = archive_fail(zip, path, err);
            goto done;
        }
        if (i >= MAX_ENTRIES) {
            status = pn_fail(err, PN_FORMAT, "%s: more than %d entries", path, MAX_ENTRIES);
            goto done;
        }
        const char *name = archive_entry_pathname(entry);
        if (!name || strcmp(name, member) != 0)
            continue;
        if (found || archive_entry_filetype(entry) != AE_IFREG) {
            status =
                pn_fail(err, PN_FORMAT, "%s: %s %s", path, member, found ? "is there twice" : "is not a plain file");
            goto done;
        }
        found = true;
        if ((status = read_member(zip, path, member, limit, sink, user, err)))
            goto done;
    }
    if (!found)
        status = pn_fail(err, PN_FORMAT, "%s: has no %s", path, member);
done:
    archive_read_free(zip);
    return status;
}
