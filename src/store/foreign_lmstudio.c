/* LM Studio's models: PUBLISHER/REPO/FILE. Names: lmstudio/PUBLISHER/REPO/FILE, and without FILE where there is only
 * one model; "lmstudio/" may be left out. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char source[] = "lmstudio", prefix[] = "lmstudio/";
enum { DEPTH = 2, MAX_SETTINGS = 1 << 20, MAX_POINTER = 4096 };

/* The folder that its settings name. */
static void add_chosen(struct pn_names *out, const char *home)
{
    char *path = pn_layout_path("%s/settings.json", home), *text = NULL;
    size_t n;
    if (path && pn_file_read(path, MAX_SETTINGS, &text, &n, NULL) == PANTRY_OK) {
        json_t *settings = json_loadb(text, n, 0, NULL);
        pn_look_root(out, json_string_value(json_object_get(settings, "downloadsFolder")), "");
        json_decref(settings);
    }
    free(text);
    free(path);
}

static void add_home(struct pn_names *out, const char *home)
{
    add_chosen(out, home);
    pn_look_root(out, home, "/models");
}

/* A file with the path of its home. */
static void add_pointer(struct pn_names *out, const char *user)
{
    char *path = pn_layout_path("%s/.lmstudio-home-pointer", user), *text = NULL;
    size_t n;
    if (path && pn_file_read(path, MAX_POINTER, &text, &n, NULL) == PANTRY_OK) {
        text[strcspn(text, "\r\n")] = '\0';
        if (text[0] == '/')
            add_home(out, text);
    }
    free(text);
    free(path);
}

static void roots(struct pn_names *out)
{
    static const char *const homes[] = {"/.lmstudio", "/.cache/lm-studio"};
    const char *user = pn_layout_user();
    if (!user)
        return;
    add_pointer(out, user);
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++) {
        char *home = pn_layout_path("%s%s", user, homes[i]);
        if (home)
            add_home(out, home);
        free(home);
    }
}

struct repo {
    const char *root, *name; /* PUBLISHER/REPO */
    const char *file;        /* only this one; NULL: all */
};

static void add_file(struct pn_look *look, const char *inside, void *user)
{
    const struct repo *repo = user;
    if (repo->file && strcmp(repo->file, inside) != 0)
        return;
    char *path = pn_look_text(look, "%s/%s/%s", repo->root, repo->name, inside);
    if (path)
        pn_look_add(look, repo->root, source, pn_look_text(look, "%s%s/%s", prefix, repo->name, inside), path, NULL);
    free(path);
}

static void look_in(struct pn_look *look, struct repo repo)
{
    char *folder = pn_look_text(look, "%s/%s", repo.root, repo.name);
    if (folder)
        pn_look_files(look, folder, "", DEPTH, add_file, &repo);
    free(folder);
}

static void list(struct pn_look *look, const char *root)
{
    struct pn_names publishers, repos;
    pn_look_names(look, root, &publishers);
    for (size_t i = 0; i < publishers.len; i++) {
        const char *publisher = publishers.data[i];
        char *path =
            pn_look_is_part(publisher, strlen(publisher)) ? pn_look_text(look, "%s/%s", root, publisher) : NULL;
        if (!path)
            continue;
        pn_look_names(look, path, &repos);
        for (size_t k = 0; k < repos.len; k++) {
            const char *repo = repos.data[k];
            char *name = pn_look_is_part(repo, strlen(repo)) ? pn_look_text(look, "%s/%s", publisher, repo) : NULL;
            if (name)
                look_in(look, (struct repo){root, name, NULL});
            free(name);
        }
        pn_names_free(&repos);
        free(path);
    }
    pn_names_free(&publishers);
}

static void find(struct pn_look *look, const char *root, const char *text)
{
    if (strncmp(text, prefix, sizeof prefix - 1) == 0)
        text += sizeof prefix - 1;
    size_t publisher = strcspn(text, "/");
    if (!pn_look_is_part(text, publisher) || text[publisher] != '/')
        return;
    const char *rest = text + publisher + 1;
    size_t repo = strcspn(rest, "/");
    if (!pn_look_is_part(rest, repo))
        return;
    char *name = pn_look_text(look, "%.*s", (int)(publisher + 1 + repo), text), *folder;
    folder = name ? pn_look_text(look, "%s/%.*s", root, (int)publisher, text) : NULL;
    struct pn_names repos = {0};
    if (folder)
        pn_look_names(look, folder, &repos); /* a publisher that is a link has none */
    for (size_t i = 0; i < repos.len; i++)
        if (strlen(repos.data[i]) == repo && strncmp(repos.data[i], rest, repo) == 0)
            look_in(look, (struct repo){root, name, rest[repo] ? rest + repo + 1 : NULL});
    pn_names_free(&repos);
    free(folder);
    free(name);
}

const struct pn_cache pn_cache_lmstudio = {
    .source = source,
    .owner = "LM Studio",
    .remove = "remove it there",
    .roots = roots,
    .list = list,
    .find = find,
};
