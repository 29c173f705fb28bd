/* Hugging Face's cache: models--USER--REPO/snapshots/COMMIT/FILE are links to ../../blobs/; refs/main has the newest
 * commit. Names: hf.co/USER/REPO[:QUANT] and hf.co/USER/REPO/FILE; "hf.co/" may be left out. A snapshot without GGUF
 * files may be a model itself, hf.co/USER/REPO. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char source[] = "huggingface", usual_quant[] = "Q4_K_M";
static const char *const prefixes[] = {"hf.co/", "huggingface.co/"};
enum { DEPTH = 2, MAX_COMMIT = 64 };

static void roots(struct pn_names *out)
{
    pn_look_root(out, getenv("HF_HUB_CACHE"), "");
    pn_look_root(out, getenv("HUGGINGFACE_HUB_CACHE"), "");
    pn_look_root(out, getenv("HF_HOME"), "/hub");
    pn_look_root(out, getenv("XDG_CACHE_HOME"), "/huggingface/hub");
    pn_look_root(out, pn_layout_user(), "/.cache/huggingface/hub");
}

struct repo {
    const char *root; /* of this repository: what its links must not leave */
    const char *name; /* USER/REPO */
    const char *snapshot;
    const char *file, *quant; /* only this; NULL: any */
};

/* The part of a file's name that looks like a quantization, as in gemma-3-1b-it-Q4_K_M.gguf. *n: its length, or 0. */
static const char *quant_of(const char *inside, size_t *n)
{
    static const char *const begins[] = {"IQ", "TQ", "MXFP", "BF", "FP", "Q", "F"};
    const char *slash = strrchr(inside, '/'), *base = slash ? slash + 1 : inside;
    uint32_t number, count;
    size_t end = strlen(base) - (pn_shard_name(base, &number, &count) ? PN_SHARD_SUFFIX : 5), start = end;
    while (start > 0 && base[start - 1] != '-' && base[start - 1] != '.')
        start--;
    for (size_t i = 0; start > 0 && i < sizeof begins / sizeof *begins; i++) {
        size_t k = strlen(begins[i]);
        if (end - start > k && strncasecmp(base + start, begins[i], k) == 0 && base[start + k] >= '1' &&
            base[start + k] <= '9') {
            *n = end - start;
            return base + start;
        }
    }
    *n = 0;
    return base;
}

static bool has_quant(const char *inside, const char *quant)
{
    size_t n;
    const char *own = quant_of(inside, &n);
    return n == strlen(quant) && strncasecmp(own, quant, n) == 0;
}

static void add_file(struct pn_look *look, const char *inside, void *user)
{
    const struct repo *repo = user;
    size_t n;
    const char *quant = quant_of(inside, &n);
    if (repo->quant && !has_quant(inside, repo->quant))
        return;
    char *path = pn_look_text(look, "%s/%s", repo->snapshot, inside),
         *name = n ? pn_look_text(look, "%s%s:%.*s", prefixes[0], repo->name, (int)n, quant) : NULL;
    if (!name || pn_look_is_own(name)) {
        free(name);
        name = pn_look_text(look, "%s%s/%s", prefixes[0], repo->name, inside);
    }
    if (path)
        pn_look_add(look, repo->root, source, name, path, NULL);
    else
        free(name);
    free(path);
}

/* Names that several models have become those of their files. */
static void tell_apart(struct pn_look *look, size_t from, const char *name, const char *snapshot)
{
    struct pn_stored *models = look->found.data;
    size_t n = look->found.len;
    bool *twice = n > from ? calloc(n - from, sizeof *twice) : NULL;
    for (size_t i = from; twice && i < n; i++)
        for (size_t k = from; k < n; k++)
            twice[i - from] |= k != i && strcasecmp(models[i].name, models[k].name) == 0;
    for (size_t i = from; twice && i < n; i++) {
        char *text = twice[i - from]
                         ? pn_look_text(look, "%s%s/%s", prefixes[0], name, models[i].path + strlen(snapshot) + 1)
                         : NULL;
        if (text) {
            free(models[i].name);
            models[i].name = text;
        }
    }
    look->no_memory |= n > from && !twice;
    free(twice);
}

/* The snapshot itself. One that the own store has is not shown twice. */
static void add_folder(struct pn_look *look, const struct repo *repo)
{
    char *name = pn_look_text(look, "%s%s", prefixes[0], repo->name);
    if (name && !pn_look_is_own(name))
        pn_look_add_folder(look, repo->root, source, name, repo->snapshot);
    else
        free(name);
}

/* Of the models from number `from` on, keeps the one with that path. */
static void keep_path(struct pn_look *look, size_t from, const char *path)
{
    size_t kept = from;
    for (size_t i = from; i < look->found.len; i++) {
        struct pn_stored *model = &look->found.data[i];
        if (path && strcmp(model->path, path) == 0)
            look->found.data[kept++] = *model;
        else
            pn_stored_free(model);
    }
    look->found.len = kept;
}

/* The commit of refs/main, if it is one, else the only snapshot. Caller frees. */
static char *find_snapshot(struct pn_look *look, const char *root)
{
    char *ref = pn_look_text(look, "%s/refs/main", root), *text = NULL, *found = NULL;
    uint64_t bytes;
    size_t n = 0;
    struct pn_names names;
    char *folder = pn_look_text(look, "%s/snapshots", root);
    if (!folder || !ref)
        goto done;
    pn_look_names(look, folder, &names);
    if (pn_look_inside(root, ref, &bytes) && pn_file_read(ref, MAX_COMMIT + 2, &text, &n, NULL) == PANTRY_OK)
        text[strcspn(text, "\r\n")] = '\0';
    for (size_t i = 0; i < names.len && !found; i++)
        if (text ? strcmp(names.data[i], text) == 0 : names.len == 1)
            found = pn_look_text(look, "%s/%s", folder, names.data[i]);
    pn_names_free(&names);
done:
    free(ref);
    free(text);
    free(folder);
    return found;
}

/* `folder`: models--USER--REPO */
static void look_in(struct pn_look *look, const char *cache, const char *folder, struct repo repo)
{
    size_t from = look->found.len;
    char *root = pn_look_text(look, "%s/%s", cache, folder), *snapshot = root ? find_snapshot(look, root) : NULL;
    repo.root = root;
    repo.snapshot = snapshot;
    char *file = snapshot && repo.file ? pn_look_text(look, "%s/%s", snapshot, repo.file) : NULL;
    if (snapshot) {
        pn_look_files(look, snapshot, "", DEPTH, add_file, &repo);
        if (look->found.len == from && !repo.file && !repo.quant)
            add_folder(look, &repo);
        else
            tell_apart(look, from, repo.name, snapshot);
        if (repo.file)
            keep_path(look, from, file);
    }
    free(file);
    free(snapshot);
    free(root);
}

static void list(struct pn_look *look, const char *root)
{
    static const char begin[] = "models--";
    struct pn_names names;
    pn_look_names(look, root, &names);
    for (size_t i = 0; i < names.len; i++) {
        const char *folder = names.data[i], *user = folder + sizeof begin - 1, *repo;
        if (strncmp(folder, begin, sizeof begin - 1) != 0 || !pn_look_is_part(user, strlen(user)) ||
            !(repo = strstr(user, "--")) || !repo[2])
            continue;
        char *name = pn_look_text(look, "%.*s/%s", (int)(repo - user), user, repo + 2);
        if (name)
            look_in(look, root, folder, (struct repo){.name = name});
        free(name);
    }
    pn_names_free(&names);
}

/* Of several files the usual quantization, if it is among them. */
static void find_any(struct pn_look *look, const char *root, const char *folder, struct repo repo)
{
    if (!repo.file && !repo.quant) {
        struct repo usual = repo;
        usual.quant = usual_quant;
        look_in(look, root, folder, usual);
        if (look->found.len)
            return;
    }
    look_in(look, root, folder, repo);
}

static void find(struct pn_look *look, const char *root, const char *text)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0)
            text += strlen(prefixes[i]);
    size_t user = strcspn(text, "/"), model;
    if (!pn_look_is_part(text, user) || text[user] != '/')
        return;
    const char *rest = text + user + 1;
    model = strcspn(rest, "/:");
    const char *more = rest + model;
    if (!pn_look_is_part(rest, model) || (*more && !more[1]))
        return;
    char *name = pn_look_text(look, "%.*s/%.*s", (int)user, text, (int)model, rest),
         *folder = pn_look_text(look, "models--%.*s--%.*s", (int)user, text, (int)model, rest);
    struct repo repo = {.name = name, .file = *more == '/' ? more + 1 : NULL, .quant = *more == ':' ? more + 1 : NULL};
    struct pn_names names = {0};
    if (name && folder)
        pn_look_names(look, root, &names); /* a repository that is a link is left out, too */
    for (size_t i = 0; i < names.len; i++)
        if (strcmp(names.data[i], folder) == 0)
            find_any(look, root, folder, repo);
    pn_names_free(&names);
    free(name);
    free(folder);
}

const struct pn_cache pn_cache_hub = {
    .source = source,
    .owner = "Hugging Face's programs",
    .remove = "remove it with `hf cache`",
    .roots = roots,
    .list = list,
    .find = find,
};
