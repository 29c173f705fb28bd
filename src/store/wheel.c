/* Reads one member of a wheel (a zip) as a stream, through libarchive. */
#define _POSIX_C_SOURCE 200809L
#include "store/internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRIES = 10000 };

static pantry_status archive_fail(struct archive *zip, const char *path, struct pantry_error *err)
{
    const char *why = archive_error_string(zip);
    return pn_fail(err, PANTRY_FORMAT, "%s: %s", path, why ? why : "not a readable zip archive");
}

static pantry_status read_member(struct archive *zip, const char *path, const char *member, uint64_t limit,
                                 pn_wheel_sink *sink, void *user, struct pantry_error *err)
{
    for (uint64_t total = 0;;) {
        const void *bytes;
        size_t n;
        la_int64_t offset;
        int r = archive_read_data_block(zip, &bytes, &n, &offset);
        if (r == ARCHIVE_EOF)
            return PANTRY_OK;
        if (r == ARCHIVE_RETRY)
            continue;
        if (r != ARCHIVE_OK)
            return archive_fail(zip, path, err);
        if (offset < 0 || (uint64_t)offset != total)
            return pn_fail(err, PANTRY_FORMAT, "%s: %s has holes", path, member);
        if (n > limit - total)
            return pn_fail(err, PANTRY_FORMAT, "%s: %s has more than the %llu bytes allowed", path, member,
                           (unsigned long long)limit);
        total += n;
        pantry_status status = sink(user, bytes, n, err);
        if (status)
            return status;
    }
}

/* Opens a zip; NULL with an error on failure. */
static struct archive *open_zip(const char *path, pantry_status *status, struct pantry_error *err)
{
    struct archive *zip = archive_read_new();
    *status = zip ? PANTRY_OK : pn_no_memory(err, path);
    if (zip && (archive_read_support_format_zip(zip) != ARCHIVE_OK ||
                archive_read_open_filename(zip, path, 1 << 16) != ARCHIVE_OK)) {
        *status = archive_fail(zip, path, err);
        archive_read_free(zip);
        zip = NULL;
    }
    return zip;
}

/* The next entry; NULL at the end, and after an error, with *status. */
static struct archive_entry *next_entry(struct archive *zip, const char *path, int *i, pantry_status *status,
                                        struct pantry_error *err)
{
    struct archive_entry *entry;
    int r;
    do
        r = archive_read_next_header(zip, &entry);
    while (r == ARCHIVE_RETRY);
    if (r == ARCHIVE_EOF)
        return NULL;
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
        *status = archive_fail(zip, path, err);
    else if ((*i)++ >= MAX_ENTRIES)
        *status = pn_fail(err, PANTRY_FORMAT, "%s: more than %d entries", path, MAX_ENTRIES);
    return *status ? NULL : entry;
}

pantry_status pn_wheel_read(const char *path, const char *member, uint64_t limit, pn_wheel_sink *sink, void *user,
                            struct pantry_error *err)
{
    pantry_status status;
    struct archive *zip = open_zip(path, &status, err);
    struct archive_entry *entry;
    bool found = false;
    for (int i = 0; zip && (entry = next_entry(zip, path, &i, &status, err));) {
        const char *name = archive_entry_pathname(entry);
        if (!name || strcmp(name, member) != 0)
            continue;
        if (found || archive_entry_filetype(entry) != AE_IFREG)
            status = pn_fail(err, PANTRY_FORMAT, "%s: %s %s", path, member,
                             found ? "is a duplicate" : "is not a plain file");
        else
            status = read_member(zip, path, member, limit, sink, user, err);
        found = true;
        if (status)
            break;
    }
    if (!status && !found)
        status = pn_fail(err, PANTRY_FORMAT, "%s: has no %s", path, member);
    archive_read_free(zip);
    return status;
}

pantry_status pn_wheel_find(const char *path, const char *suffix, char **member, uint64_t *bytes,
                            struct pantry_error *err)
{
    pantry_status status;
    struct archive *zip = open_zip(path, &status, err);
    struct archive_entry *entry;
    *member = NULL;
    *bytes = 0;
    for (int i = 0; zip && (entry = next_entry(zip, path, &i, &status, err));) {
        const char *name = archive_entry_pathname(entry);
        size_t len = name ? strlen(name) : 0, n = strlen(suffix);
        if (len <= n || strcmp(name + len - n, suffix) != 0 || archive_entry_filetype(entry) != AE_IFREG)
            continue;
        if (*member)
            status = pn_fail(err, PANTRY_FORMAT, "%s: has several files *%s; give the file itself", path, suffix);
        else if (!(*member = strdup(name)))
            status = pn_no_memory(err, path);
        *bytes = archive_entry_size(entry) > 0 ? (uint64_t)archive_entry_size(entry) : 0;
        if (status)
            break;
    }
    if (status) {
        free(*member);
        *member = NULL;
    }
    archive_read_free(zip);
    return status;
}
