/* Names of GGUF files: see model_files.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "base/model_files.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MAX_ENTRIES = 65536, MAX_NAMED = 12, SHARD_NUMBER = 1 };

bool pn_shard_name(const char *path, uint32_t *number, uint32_t *count)
{
    static const char pattern[] = "-#####-of-#####.gguf";
    size_t len = strlen(path);
    if (len < PN_SHARD_SUFFIX)
        return false;
    const char *p = path + len - PN_SHARD_SUFFIX;
    uint32_t value[2] = {0, 0};
    for (size_t i = 0; i < PN_SHARD_SUFFIX; i++) {
        if (pattern[i] != '#' ? p[i] != pattern[i] : p[i] < '0' || p[i] > '9')
            return false;
        if (pattern[i] == '#')
            value[i > 6] = value[i > 6] * 10 + (uint32_t)(p[i] - '0');
    }
    *number = value[0];
    *count = value[1];
    return true;
}

void pn_shard_renumber(char *path, uint32_t number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%05u", number);
    memcpy(path + strlen(path) - PN_SHARD_SUFFIX + SHARD_NUMBER, digits, 5);
}

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++)
        if (strncasecmp(text, part, n) == 0)
            return true;
    return false;
}

bool pn_is_model_file(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcasecmp(name + n - 5, ".gguf") == 0 && !contains(name, "mmproj") && !contains(name, "imatrix");
}

/* ---- folders ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void pn_names_free(struct pn_names *names)
{
    for (size_t i = 0; i < names->len; i++)
        free(names->data[i]);
    free(names->data);
    *names = (struct pn_names){0};
}

pantry_status pn_names_read(int at, const char *name, bool own, struct pn_names *names, struct pantry_error *err)
{
    *names = (struct pn_names){0};
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (own ? O_NOFOLLOW : 0));
    DIR *dir = fdopendir(fd); /* of -1: NULL */
    if (!dir) {
        pantry_status status =
            pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", name, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    pantry_status status = PANTRY_OK;
    for (struct dirent *e; !status && (errno = 0, e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        char *copy = strdup(e->d_name);
        if (!copy || !pn_vec_push(names, copy)) {
            free(copy);
            status = pn_no_memory(err, name);
        } else if (names->len > MAX_ENTRIES) {
            status = pn_fail(err, PANTRY_LIMIT, "%s: has too many entries (allowed %d)", name, MAX_ENTRIES);
        }
    }
    if (!status && errno)
        status = pn_fail(err, PANTRY_IO, "%s: %s", name, strerror(errno));
    closedir(dir);
    if (status)
        pn_names_free(names);
    else if (names->len)
        qsort(names->data, names->len, sizeof *names->data, by_text);
    return status;
}

/* Are these two shards of one model? */
static bool same_model(const char *a, const char *b)
{
    uint32_t number[2], count[2];
    size_t n = strlen(a);
    return n == strlen(b) && pn_shard_name(a, &number[0], &count[0]) && pn_shard_name(b, &number[1], &count[1]) &&
           count[0] == count[1] && strncmp(a, b, n - PN_SHARD_SUFFIX) == 0;
}

void pn_names_keep_models(struct pn_names *names)
{
    size_t kept = 0;
    for (size_t i = 0; i < names->len; i++) {
        char *name = names->data[i];
        if (pn_is_model_file(name) && !(kept && same_model(names->data[kept - 1], name)))
            names->data[kept++] = name; /* sorted: the shards of a model follow each other */
        else
            free(name);
    }
    names->len = kept;
}

static bool has_end(const struct pn_names *names, const char *end)
{
    for (size_t i = 0; i < names->len; i++) {
        size_t n = strlen(names->data[i]), m = strlen(end);
        if (n >= m && strcmp(names->data[i] + n - m, end) == 0)
            return true;
    }
    return false;
}

static pantry_status refuse_several(const char *folder, const struct pn_names *models, struct pantry_error *err)
{
    struct pn_buf list = {0};
    for (size_t i = 0; i < models->len && i < MAX_NAMED; i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", models->data[i]);
    pantry_status status = list.failed
                               ? pn_no_memory(err, folder)
                               : pn_fail(err, PANTRY_INVALID, "%s: has %zu models; name one of its files (%s%s)",
                                         folder, models->len, list.data, models->len > MAX_NAMED ? ", ..." : "");
    pn_buf_free(&list);
    return status;
}

pantry_status pn_folder_model(const char *folder, char **path, struct pantry_error *err)
{
    *path = NULL;
    struct pn_names names;
    pantry_status status = pn_names_read(AT_FDCWD, folder, false, &names, err);
    if (status)
        return status;
    bool safetensors = has_end(&names, ".safetensors");
    pn_names_keep_models(&names);
    size_t n = strlen(folder);
    if (names.len == 0)
        status =
            pn_fail(err, safetensors ? PANTRY_UNSUPPORTED : PANTRY_NOT_FOUND, "%s: is a folder without a GGUF model%s",
                    folder, safetensors ? "; its safetensors files need a config.json" : "");
    else if (names.len > 1)
        status = refuse_several(folder, &names, err);
    else if (asprintf(path, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", names.data[0]) < 0)
        *path = NULL, status = pn_no_memory(err, folder);
    pn_names_free(&names);
    return status;
}
