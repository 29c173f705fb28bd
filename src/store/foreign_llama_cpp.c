/* Files that llama.cpp downloaded: one folder, no structure. Names: llama.cpp/FILE, or FILE. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include <stdlib.h>
#include <string.h>

static const char source[] = "llama.cpp", prefix[] = "llama.cpp/";

static void roots(struct pn_names *out)
{
    const char *user = pn_layout_user();
    pn_look_root(out, getenv("LLAMA_CACHE"), "");
    pn_look_root(out, getenv("XDG_CACHE_HOME"), "/llama.cpp");
    pn_look_root(out, user, "/.cache/llama.cpp");
    pn_look_root(out, user, "/Library/Caches/llama.cpp");
}

struct wanted {
    const char *root, *file; /* NULL: all */
};

static void add_file(struct pn_look *look, const char *inside, void *user)
{
    const struct wanted *wanted = user;
    if (wanted->file && strcmp(wanted->file, inside) != 0)
        return;
    char *path = pn_look_text(look, "%s/%s", wanted->root, inside);
    if (path)
        pn_look_add(look, wanted->root, source, pn_look_text(look, "%s%s", prefix, inside), path, NULL);
    free(path);
}

static void list(struct pn_look *look, const char *root)
{
    struct wanted wanted = {root, NULL};
    pn_look_files(look, root, "", 0, add_file, &wanted);
}

static void find(struct pn_look *look, const char *root, const char *text)
{
    struct wanted wanted = {root, text};
    if (strncmp(text, prefix, sizeof prefix - 1) == 0)
        wanted.file = text + sizeof prefix - 1;
    if (pn_is_model_file(wanted.file))
        pn_look_files(look, root, "", 0, add_file, &wanted);
}

const struct pn_cache pn_cache_llama_cpp = {
    .source = source,
    .owner = "llama.cpp",
    .remove = "delete the file",
    .roots = roots,
    .list = list,
    .find = find,
};
