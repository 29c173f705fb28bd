/* What the caches of other programs have in common: folders, files, names. See foreign.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/alloc.h"
#include "base/file.h"
#include "store/media.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_MODELS = 4096, MAX_INDEX = 64 << 20 };

char *pn_look_text(struct pn_look *look, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
        look->no_memory = true;
    }
    va_end(args);
    return text;
}

void pn_look_root(struct pn_names *roots, const char *folder, const char *tail)
{
    char *path = folder && *folder ? pn_layout_path("%s%s", folder, tail) : NULL;
    if (path && !pn_vec_push(roots, path))
        free(path);
}

void pn_look_names(struct pn_look *look, const char *path, struct pn_names *names)
{
    *names = (struct pn_names){0};
    if (look->folders == 0)
        return;
    look->folders--;
    look->no_memory |= pn_names_read(AT_FDCWD, path, true, names, NULL) == PANTRY_NO_MEMORY;
}

bool pn_look_inside(const char *root, const char *path, uint64_t *bytes)
{
    struct stat st;
    char *real = realpath(path, NULL);
    size_t n = strlen(root);
    bool inside = real && strncmp(real, root, n) == 0 && (real[n] == '/' || (n && root[n - 1] == '/')) &&
                  lstat(real, &st) == 0 && S_ISREG(st.st_mode);
    free(real);
    if (inside)
        *bytes = (uint64_t)st.st_size;
    return inside;
}

bool pn_look_is_own(const char *text)
{
    struct pn_model_name name;
    char *store = NULL, *path = NULL;
    bool own = pn_name_parse(text, &name, NULL) == PANTRY_OK && pn_layout_store(&store, NULL) == PANTRY_OK &&
               (path = pn_manifest_path(store, &name)) && access(path, F_OK) == 0;
    free(store);
    free(path);
    return own;
}

bool pn_look_is_part(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] < 0x20 || text[i] > 0x7e || text[i] == '/' || text[i] == ':')
            return false;
    return n > 0 && text[0] != '.';
}

/* The size of all files of a model; false if one of them is missing or elsewhere. */
static bool size_of(const char *root, const char *path, uint64_t *bytes)
{
    uint32_t number, count;
    if (!pn_shard_name(path, &number, &count) || count < 2)
        return pn_look_inside(root, path, bytes);
    char *shard = strdup(path);
    uint64_t one, sum = 0;
    bool all = shard != NULL;
    for (number = 1; all && number <= count; number++) {
        pn_shard_renumber(shard, number);
        all = pn_look_inside(root, shard, &one) && !__builtin_add_overflow(sum, one, &sum);
    }
    free(shard);
    *bytes = sum;
    return all;
}

/* All files that an index of weights names are there; without an index all is well. */
static bool is_complete(const char *folder, const struct pn_names *files)
{
    char *path = pn_layout_path("%s/model.safetensors.index.json", folder), *text = NULL;
    size_t n;
    json_t *index = NULL, *file;
    const char *tensor;
    bool complete = path != NULL;
    if (path && access(path, F_OK) == 0) {
        complete =
            pn_file_read(path, MAX_INDEX, &text, &n, NULL) == PANTRY_OK && (index = json_loadb(text, n, 0, NULL));
        json_object_foreach(json_object_get(index, "weight_map"), tensor, file)
        {
            size_t i = 0;
            const char *name = json_string_value(file);
            while (name && i < files->len && strcmp(files->data[i], name) != 0)
                i++;
            complete = complete && name && i < files->len;
        }
    }
    json_decref(index);
    free(text);
    free(path);
    return complete;
}

/* The size of the parts of a folder's model; false if it is none, or one is missing or elsewhere. */
static bool size_of_folder(struct pn_look *look, const char *root, const char *folder, uint64_t *bytes)
{
    struct pn_names names;
    bool config = false, weights = false, all = true;
    *bytes = 0;
    pn_look_names(look, folder, &names);
    for (size_t i = 0; i < names.len && all; i++) {
        uint64_t one = 0;
        char *path = pn_media_is_part(names.data[i]) ? pn_look_text(look, "%s/%s", folder, names.data[i]) : NULL;
        config |= strcmp(names.data[i], "config.json") == 0;
        weights |= pn_media_is_weights(names.data[i]);
        all = !path || (pn_look_inside(root, path, &one) && !__builtin_add_overflow(*bytes, one, bytes));
        free(path);
    }
    all = all && config && weights && is_complete(folder, &names);
    pn_names_free(&names);
    return all;
}

static void add_model(struct pn_look *look, struct pn_stored model, bool good)
{
    look->no_memory |= !model.name || !model.path;
    bool added = good && model.name && strlen(model.name) <= PN_LOOK_NAME_MAX && look->found.len < MAX_MODELS;
    if (added && !pn_vec_push(&look->found, model)) {
        look->no_memory = true;
        added = false;
    }
    if (!added)
        pn_stored_free(&model);
}

void pn_look_add_folder(struct pn_look *look, const char *root, const char *source, char *name, const char *path)
{
    struct pn_stored model = {.name = name, .path = strdup(path), .source = source};
    bool good = model.path && size_of_folder(look, root, path, &model.bytes);
    add_model(look, model, good);
}

void pn_look_add(struct pn_look *look, const char *root, const char *source, char *name, const char *path,
                 char *manifest)
{
    struct pn_stored model = {.name = name, .path = strdup(path), .manifest = manifest, .source = source};
    bool good = model.path && size_of(root, path, &model.bytes);
    add_model(look, model, good);
}

void pn_look_files(struct pn_look *look, const char *folder, const char *inside, int depth,
                   void (*fn)(struct pn_look *look, const char *inside, void *user), void *user)
{
    struct pn_names names;
    char *path = pn_look_text(look, "%s%s%s", folder, *inside ? "/" : "", inside);
    if (!path)
        return;
    pn_look_names(look, path, &names);
    for (size_t i = 0; i < names.len && depth > 0; i++) {
        const char *name = names.data[i];
        char *below = pn_look_is_part(name, strlen(name)) && !pn_is_model_file(name)
                          ? pn_look_text(look, "%s%s%s", inside, *inside ? "/" : "", name)
                          : NULL;
        if (below)
            pn_look_files(look, folder, below, depth - 1, fn, user);
        free(below);
    }
    pn_names_keep_models(&names);
    for (size_t i = 0; i < names.len; i++) {
        const char *name = names.data[i];
        char *file =
            pn_look_is_part(name, strlen(name)) ? pn_look_text(look, "%s%s%s", inside, *inside ? "/" : "", name) : NULL;
        if (file)
            fn(look, file, user);
        free(file);
    }
    pn_names_free(&names);
    free(path);
}
