/* Links that give the blobs of a model in parts the names of its parts: see media.h. Readers of GGUF find the other
 * parts by the name of the first. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/media.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* models/shards/<hash>, NULL: out of memory. */
static char *folder_of(const char *home, const struct pn_digest *parts, size_t n)
{
    struct pn_sha256 hash;
    char hex[PN_SHA256_HEX + 1];
    if (pn_sha256_start(&hash, NULL))
        return NULL;
    for (size_t i = 0; i < n; i++)
        pn_sha256_update(&hash, parts[i].hex, PN_SHA256_HEX);
    return pn_sha256_finish(&hash, hex, NULL) ? NULL : pn_layout_path("%s/models/shards/%s", home, hex);
}

static char *part_path(const char *folder, size_t number, size_t count)
{
    return pn_layout_path("%s/model-%05zu-of-%05zu.gguf", folder, number, count);
}

char *pn_shards_path(const char *home, const struct pn_digest *parts, size_t n)
{
    char *folder = folder_of(home, parts, n), *path = folder ? part_path(folder, 1, n) : NULL;
    free(folder);
    return path;
}

static pantry_status link_parts(const char *home, const struct pn_digest *parts, size_t n, struct pantry_error *err)
{
    char *folder = folder_of(home, parts, n);
    pantry_status status = folder ? pn_layout_make_dirs(folder, err) : pn_no_memory(err, "a folder of links");
    for (size_t i = 0; i < n && !status; i++) {
        char *path = part_path(folder, i + 1, n), *target = pn_layout_path("../../blobs/sha256-%s", parts[i].hex);
        if (!path || !target)
            status = pn_no_memory(err, folder);
        else if (symlink(target, path) != 0 && errno != EEXIST)
            status = pn_fail(err, PANTRY_IO, "%s: cannot link: %s", path, strerror(errno));
        free(path);
        free(target);
    }
    if (!status)
        status = pn_layout_sync_dir(folder, err);
    free(folder);
    return status;
}

pantry_status pn_shards_link(const char *home, const char *text, size_t len, struct pantry_error *err)
{
    const json_t *models[PN_LAYERS_MAX];
    struct pn_digest parts[PN_LAYERS_MAX];
    size_t n = 0;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    pantry_status status = pn_media_models(json_object_get(root, "layers"), models, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        const char *hex = pn_digest_hex(json_string_value(json_object_get(models[i], "digest")));
        if (hex)
            memcpy(parts[i].hex, hex, sizeof parts[i].hex);
        else
            status = pn_fail(err, PANTRY_FORMAT, "the digest of a part is not sha256: and 64 hexadecimal digits");
    }
    if (!status && n > 1)
        status = link_parts(home, parts, n, err);
    json_decref(root);
    return status;
}

/* Does one of the links lead nowhere? */
static bool is_broken(const char *folder)
{
    bool broken = false;
    DIR *dir = opendir(folder);
    struct stat st;
    for (struct dirent *e; dir && !broken && (e = readdir(dir));)
        broken = e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, 0) != 0 && errno == ENOENT;
    if (dir)
        closedir(dir);
    return broken;
}

void pn_shards_tidy(const char *home)
{
    char *all = pn_layout_path("%s/models/shards", home);
    DIR *dir = all ? opendir(all) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char *folder = e->d_name[0] == '.' ? NULL : pn_layout_path("%s/%s", all, e->d_name);
        if (folder && is_broken(folder))
            pn_layout_remove(folder);
        free(folder);
    }
    if (dir)
        closedir(dir);
    free(all);
}

uint64_t pn_store_model_bytes(const char *path)
{
    unsigned number, count;
    struct stat st;
    uint64_t sum = 0;
    const char *slash = strrchr(path, '/');
    if (!pn_media_part(path, &number, &count))
        return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    if (!slash || !strstr(path, "/models/shards/"))
        return 0;
    char *folder = pn_layout_path("%.*s", (int)(slash - path), path);
    for (unsigned i = 1; folder && i <= count; i++) {
        char *part = part_path(folder, i, count);
        if (part && stat(part, &st) == 0)
            sum += (uint64_t)st.st_size;
        free(part);
    }
    free(folder);
    return sum;
}
