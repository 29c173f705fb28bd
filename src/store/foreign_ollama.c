/* Ollama's models: the same layout as pantry's own store. Names: those of Ollama, or ollama/NAME, which also works
 * where the own store has a model of the same name. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include <stdlib.h>
#include <string.h>

static const char source[] = "ollama", prefix[] = "ollama/";
enum { N_LEVELS = 4 }; /* host, namespace, model, tag */

static void roots(struct pn_names *out)
{
    pn_look_root(out, getenv("OLLAMA_MODELS"), "");
    pn_look_root(out, pn_layout_user(), "/.ollama/models");
    pn_look_root(out, "/usr/share/ollama/.ollama/models", "");
}

/* The name alone means this model, unless the own store has one of that name. */
static char *shown_name(struct pn_look *look, const struct pn_model_name *name)
{
    char *text = pn_name_text(name), *shown = text;
    if (text && pn_look_is_own(text)) {
        shown = pn_look_text(look, "%s%s", prefix, text);
        free(text);
    }
    return shown;
}

static void add(struct pn_look *look, const char *root, const struct pn_model_name *name)
{
    uint64_t bytes;
    char *path = NULL, *manifest = pn_look_text(look, "%s/manifests/%s/%s/%s/%s", root, name->host, name->space,
                                                name->model, name->tag);
    if (manifest && pn_look_inside(root, manifest, &bytes) && bytes <= PN_MANIFEST_MAX &&
        pn_manifest_model_in(root, manifest, &path, NULL) == PANTRY_OK) {
        pn_look_add(look, root, source, shown_name(look, name), path, manifest);
        manifest = NULL;
    }
    free(path);
    free(manifest);
}

/* Calls itself for the folders below, four levels at most. */
static void walk(struct pn_look *look, const char *root, const char *path, const char *parts[N_LEVELS], int level)
{
    struct pn_names names;
    pn_look_names(look, path, &names);
    for (size_t i = 0; i < names.len; i++) {
        parts[level] = names.data[i];
        char *below = pn_look_text(look, "%s/%s", path, names.data[i]);
        if (below && level < N_LEVELS - 1) {
            walk(look, root, below, parts, level + 1);
        } else if (below) {
            struct pn_model_name name;
            char *text = pn_look_text(look, "%s/%s/%s:%s", parts[0], parts[1], parts[2], parts[3]);
            if (text && pn_name_parse(text, &name, NULL) == PANTRY_OK)
                add(look, root, &name);
            free(text);
        }
        free(below);
    }
    pn_names_free(&names);
}

static void list(struct pn_look *look, const char *root)
{
    const char *parts[N_LEVELS];
    char *path = pn_look_text(look, "%s/manifests", root);
    if (path)
        walk(look, root, path, parts, 0);
    free(path);
}

/* "llama3.2" is "llama3.2:latest" here, whatever pantry's catalog says. */
static void find_text(struct pn_look *look, const char *root, const char *text)
{
    struct pn_model_name name;
    const char *slash = strrchr(text, '/');
    if (pn_name_parse(text, &name, NULL) != PANTRY_OK)
        return;
    if (!strchr(slash ? slash : text, ':'))
        memcpy(name.tag, "latest", sizeof "latest");
    add(look, root, &name);
}

static void find(struct pn_look *look, const char *root, const char *text)
{
    find_text(look, root, text);
    if (!look->found.len && strncmp(text, prefix, sizeof prefix - 1) == 0)
        find_text(look, root, text + sizeof prefix - 1);
}

const struct pn_cache pn_cache_ollama = {
    .source = source,
    .owner = "Ollama",
    .remove = "remove it with `ollama rm`",
    .roots = roots,
    .list = list,
    .find = find,
};
