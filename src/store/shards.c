/* Models of several files: see internal.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool pn_shards_name(const char *path, unsigned *number, unsigned *count)
{
    static const char pattern[] = "-#####-of-#####.gguf";
    size_t n = strlen(path), m = sizeof pattern - 1;
    if (n < m)
        return false;
    const char *end = path + n - m;
    for (size_t i = 0; i < m; i++)
        if (pattern[i] == '#' ? end[i] < '0' || end[i] > '9' : end[i] != pattern[i])
            return false;
    *number = (unsigned)strtoul(end + 1, NULL, 10);
    *count = (unsigned)strtoul(end + 10, NULL, 10);
    return *number >= 1 && *number <= *count;
}

/* The digest of the digests names the folder, and for those with `names` of their own that of both. */
static pantry_status folder_of(const char *store, const struct pn_linked *files, size_t n, bool names, char **folder,
                               struct pantry_error *err)
{
    struct pn_sha256 hash;
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++) {
        pn_sha256_update(&hash, files[i].digest.hex, PN_SHA256_HEX);
        if (names)
            pn_sha256_update(&hash, files[i].name, strlen(files[i].name) + 1);
    }
    if ((status = pn_sha256_finish(&hash, hex, err)))
        return status;
    *folder = pn_layout_path("%s/shards/%s", store, hex);
    return *folder ? PANTRY_OK : pn_no_memory(err, "the shards of a model");
}

static pantry_status put_links(const char *folder, const struct pn_linked *files, size_t n, struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char target[100];
        snprintf(target, sizeof target, "../../blobs/sha256-%s", files[i].digest.hex);
        char *link = pn_layout_path("%s/%s", folder, files[i].name);
        int failed = link ? symlink(target, link) : 0;
        pantry_status status = !link    ? pn_no_memory(err, folder)
                               : failed ? pn_fail(err, PANTRY_IO, "%s: %s", link, strerror(errno))
                                        : PANTRY_OK;
        free(link);
        if (status)
            return status;
    }
    return PANTRY_OK;
}

/* The folder appears with all its links. Somebody else may make it at the same time. */
static pantry_status make_folder(const char *folder, const struct pn_linked *files, size_t n, struct pantry_error *err)
{
    char *partial = pn_layout_path("%s-partial-%ld-XXXXXX", folder, (long)getpid());
    char *parent = strdup(folder);
    if (!partial || !parent) {
        free(partial);
        free(parent);
        return pn_no_memory(err, folder);
    }
    *strrchr(parent, '/') = '\0';
    pantry_status status = pn_layout_make_dirs(parent, err);
    if (!status && !mkdtemp(partial))
        status = pn_fail(err, PANTRY_IO, "%s: %s", partial, strerror(errno));
    else if (!status) {
        if (!(status = put_links(partial, files, n, err)) && chmod(partial, 0777 & ~022) == 0 &&
            rename(partial, folder) != 0 && access(folder, F_OK) != 0)
            status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", partial, strerror(errno));
        pn_layout_remove(partial);
    }
    if (!status)
        status = pn_layout_sync_dir(parent, err);
    free(partial);
    free(parent);
    return status;
}

static pantry_status need_folder(const char *store, const struct pn_linked *files, size_t n, bool names, char **folder,
                                 struct pantry_error *err)
{
    *folder = NULL;
    pantry_status status = folder_of(store, files, n, names, folder, err);
    if (!status && access(*folder, F_OK) != 0)
        status = make_folder(*folder, files, n, err);
    if (status) {
        free(*folder);
        *folder = NULL;
    }
    return status;
}

pantry_status pn_folder_path(const char *store, const struct pn_linked *files, size_t n, char **path,
                             struct pantry_error *err)
{
    return need_folder(store, files, n, true, path, err);
}

pantry_status pn_shards_path(const char *store, const struct pn_digest *blobs, size_t n, char **path,
                             struct pantry_error *err)
{
    enum { NAME = 64 };
    char *folder = NULL, *names = malloc((n + 1) * NAME);
    struct pn_linked *files = calloc(n + 1, sizeof *files);
    *path = NULL;
    pantry_status status = names && files ? PANTRY_OK : pn_no_memory(err, "the shards of a model");
    for (size_t i = 0; i < n && !status; i++) {
        files[i] = (struct pn_linked){.digest = blobs[i], .name = names + i * NAME};
        snprintf(names + i * NAME, NAME, "model-%05zu-of-%05zu.gguf", i + 1, n);
    }
    if (!status)
        status = need_folder(store, files, n, false, &folder, err);
    if (!status && !(*path = pn_layout_path("%s/%s", folder, names)))
        status = pn_no_memory(err, folder);
    free(folder);
    free(files);
    free(names);
    return status;
}

/* Is it the path of a shard in the store? */
static bool is_of_shards(const char *path)
{
    char *store = NULL, *shards = NULL;
    if (pn_layout_store(&store, NULL) == PANTRY_OK)
        shards = pn_layout_path("%s/shards/", store);
    bool is = shards && strncmp(path, shards, strlen(shards)) == 0;
    free(shards);
    free(store);
    return is;
}

static uint64_t bytes_of_links(const char *folder)
{
    struct pn_names names;
    uint64_t sum = 0;
    if (pn_names_read(AT_FDCWD, folder, false, &names, NULL) != PANTRY_OK)
        return 0;
    for (size_t i = 0; i < names.len; i++) {
        struct stat st;
        char *file = pn_layout_path("%s/%s", folder, names.data[i]);
        if (file && stat(file, &st) == 0)
            sum += (uint64_t)st.st_size;
        free(file);
    }
    pn_names_free(&names);
    return sum;
}

uint64_t pn_store_model_bytes(const char *path)
{
    unsigned number, count;
    struct stat st;
    uint64_t sum = 0;
    const char *slash = strrchr(path, '/');
    if (!pn_shards_name(path, &number, &count))
        return stat(path, &st) != 0  ? 0
               : S_ISREG(st.st_mode) ? (uint64_t)st.st_size
               : is_of_shards(path)  ? bytes_of_links(path)
                                     : 0;
    if (!is_of_shards(path))
        return 0;
    for (unsigned i = 1; i <= count; i++) {
        char *part = pn_layout_path("%.*s/model-%05u-of-%05u.gguf", (int)(slash - path), path, i, count);
        if (part && stat(part, &st) == 0)
            sum += (uint64_t)st.st_size;
        free(part);
    }
    return sum;
}

/* Whether all links of a folder lead somewhere. */
static bool is_whole(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fdopendir(fd); /* of -1: NULL */
    bool whole = true;
    struct stat st;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    for (struct dirent *e; whole && (e = readdir(dir));)
        whole = e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, 0) == 0 || errno != ENOENT;
    closedir(dir);
    return whole;
}

void pn_shards_sweep(const char *store)
{
    char *path = pn_layout_path("%s/shards", store);
    DIR *dir = path ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || (strlen(e->d_name) == PN_SHA256_HEX && is_whole(dirfd(dir), e->d_name)))
            continue;
        char *folder = pn_layout_path("%s/%s", path, e->d_name);
        if (folder)
            pn_layout_remove(folder);
        free(folder);
    }
    if (dir)
        closedir(dir);
    free(path);
}
