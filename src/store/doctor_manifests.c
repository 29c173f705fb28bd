/* Checks of the manifests and of the blobs that they name: see examine.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/examine.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- manifests ---- */

static pantry_status need(struct pn_examination *x, const char *path, const char *what, const json_t *layer,
                          const char *name, struct pantry_error *err)
{
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    const json_t *size = json_object_get(layer, "size");
    if (!type)
        return pn_fail(err, PANTRY_FORMAT, "%s: %s has no mediaType", path, what);
    if (!hex)
        return pn_fail(err, PANTRY_FORMAT, "%s: the digest of %s is not sha256: and 64 hexadecimal digits", path, what);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: the size of %s is not a number of bytes", path, what);
    struct pn_needed needed = {.bytes = (uint64_t)json_integer_value(size), .name = strdup(name)};
    memcpy(needed.digest.hex, hex, sizeof needed.digest.hex);
    if (needed.name && pn_vec_push(&x->needed, needed))
        return PANTRY_OK;
    free(needed.name);
    return pn_no_memory(err, path);
}

static pantry_status parse(struct pn_examination *x, const char *path, const char *text, size_t n, const char *name,
                           struct pantry_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why), *layers = json_object_get(root, "layers");
    const json_t *config = json_object_get(root, "config");
    pantry_status status = PANTRY_OK;
    if (!json_is_object(root))
        status = pn_fail(err, PANTRY_FORMAT, "%s: not a JSON object: %s", path, why.text);
    else if (json_integer_value(json_object_get(root, "schemaVersion")) != 2)
        status = pn_fail(err, PANTRY_FORMAT, "%s: schemaVersion is not 2", path);
    else if (!json_is_array(layers) || json_array_size(layers) == 0 || json_array_size(layers) > PN_LAYERS_MAX)
        status = pn_fail(err, PANTRY_FORMAT, "%s: layers is not an array of 1 to %d", path, PN_LAYERS_MAX);
    else if (config)
        status = need(x, path, "the configuration", config, name, err);
    for (size_t i = 0; i < json_array_size(layers) && !status; i++) {
        char what[32];
        snprintf(what, sizeof what, "layer %zu", i);
        status = need(x, path, what, json_array_get(layers, i), name, err);
    }
    json_decref(root);
    return status;
}

/* Errors begin with the path, which the finding has, too. */
static void add_error(struct pn_examination *x, const char *path, const char *mend, const struct pantry_error *err)
{
    if (err->status == PANTRY_NO_MEMORY) {
        x->no_memory = true;
        return;
    }
    size_t n = strlen(path);
    bool same = strncmp(err->text, path, n) == 0 && strncmp(err->text + n, ": ", 2) == 0;
    pn_examine_add(x, PN_FINDING_WRONG, path, mend, "%s", same ? err->text + n + 2 : err->text);
}

static pantry_status examine_manifest(void *user, const char *path, const char *const parts[4],
                                      struct pantry_error *ignored)
{
    struct pn_examination *x = user;
    struct pantry_error err = {0};
    struct pn_model_name name;
    size_t n, before = x->needed.len;
    char *text = NULL, *shown = NULL, *mend = NULL,
         *full = pn_layout_path("%s/%s/%s:%s", parts[0], parts[1], parts[2], parts[3]);
    (void)ignored;
    bool is_name = full && pn_name_parse(full, &name, NULL) == PANTRY_OK;
    x->no_memory |= !full || (is_name && !(shown = pn_name_text(&name)));
    if (x->no_memory) {
        x->manifests_unclear = true;
    } else if (!is_name) {
        x->manifests_unclear = true;
        pn_examine_add(x, PN_FINDING_WRONG, path, "move it away", "its path is not the name of a model");
    } else if (!(mend = pn_layout_path("pantry rm %s; then pull or import it again", shown))) {
        x->no_memory = true;
    } else {
        x->out->n_models++;
        pantry_status status = pn_file_read(path, PN_MANIFEST_MAX, &text, &n, &err);
        if (!status)
            status = parse(x, path, text, n, shown, &err);
        if (status) {
            x->manifests_unclear = true;
            while (x->needed.len > before)
                free(x->needed.data[--x->needed.len].name);
            add_error(x, path, mend, &err);
        }
    }
    free(text);
    free(shown);
    free(mend);
    free(full);
    return PANTRY_OK;
}

/* Calls itself for the folders below, four levels at most. */
static void find_temporary(struct pn_examination *x, const char *folder, int level)
{
    struct pn_names names;
    pn_examine_names(x, folder, &names);
    for (size_t i = 0; i < names.len; i++) {
        char *inside = pn_layout_path("%s/%s", folder, names.data[i]),
             *path = pn_layout_path("%s/%s/%s", x->store, folder, names.data[i]);
        x->no_memory |= !inside || !path;
        if (inside && level < 3) {
            find_temporary(x, inside, level + 1);
        } else if (path && level == 3 && pn_name_is_partial(names.data[i])) {
            struct pn_finding *f = pn_examine_add(x, PN_FINDING_LEFTOVER, path, "pantry doctor --store --fix",
                                                  "is an unfinished manifest of a process that ended");
            if (f && pn_examine_may_fix(x))
                f->fixed = unlink(path) == 0;
        }
        free(inside);
        free(path);
    }
    pn_names_free(&names);
}

void pn_examine_manifests(struct pn_examination *x)
{
    struct pantry_error err = {0};
    if (pn_manifest_walk(x->store, examine_manifest, x, &err) != PANTRY_OK) {
        x->manifests_unclear = true;
        add_error(x, x->store, "give this user access to it", &err);
    }
    if (!x->out->busy)
        find_temporary(x, "manifests", 0);
}

/* ---- references ---- */

static int by_digest(const void *a, const void *b)
{
    return strcmp(((const struct pn_needed *)a)->digest.hex, ((const struct pn_needed *)b)->digest.hex);
}

static void examine_needed(struct pn_examination *x, struct pn_needed *needed)
{
    size_t before = x->out->len;
    struct stat st;
    char *path = pn_layout_path("%s/blobs/sha256-%s", x->store, needed->digest.hex),
         *mend = pn_layout_path("pantry pull %s, or import it again", needed->name);
    if (!path || !mend)
        x->no_memory = true;
    else if (stat(path, &st) != 0)
        pn_examine_add(x, PN_FINDING_WRONG, path, mend, "is missing, and a part of %s", needed->name);
    else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != needed->bytes)
        pn_examine_add(x, PN_FINDING_WRONG, path, mend, "has %jd bytes, and the manifest of %s says %" PRIu64,
                       (intmax_t)st.st_size, needed->name, needed->bytes);
    needed->bad = x->out->len > before;
    free(path);
    free(mend);
}

static bool is_bad(const struct pn_examination *x, const char *name)
{
    for (size_t i = 0; i < x->needed.len; i++)
        if (x->needed.data[i].bad && strcmp(x->needed.data[i].name, name) == 0)
            return true;
    return false;
}

/* A model whose blobs are there must also be one that can be found: with a layer of weights, and so on. */
static pantry_status examine_model(void *user, const char *path, const char *const parts[4],
                                   struct pantry_error *ignored)
{
    struct pn_examination *x = user;
    struct pantry_error err = {0};
    struct pn_model_name name;
    char *full = pn_layout_path("%s/%s/%s:%s", parts[0], parts[1], parts[2], parts[3]), *shown = NULL, *file = NULL;
    (void)ignored;
    bool readable = full && pn_name_parse(full, &name, NULL) == PANTRY_OK && (shown = pn_name_text(&name));
    bool known = false;
    for (size_t i = 0; i < x->needed.len && readable; i++)
        known |= strcmp(x->needed.data[i].name, shown) == 0; /* else there is a finding already */
    if (known && !is_bad(x, shown) && pn_manifest_model(x->store, &name, &file, &err) != PANTRY_OK) {
        char *mend = pn_layout_path("pantry rm %s; then pull or import it again", shown);
        if (mend)
            add_error(x, path, mend, &err);
        free(mend);
    }
    free(file);
    free(shown);
    free(full);
    return PANTRY_OK;
}

static void examine_unneeded(struct pn_examination *x, const struct pn_digests *used, const char *name)
{
    struct stat st;
    if (strlen(name) != 7 + PN_SHA256_HEX || strncmp(name, "sha256-", 7) != 0 || pn_references_have(used, name + 7))
        return;
    char *path = pn_layout_path("%s/blobs/%s", x->store, name);
    x->no_memory |= !path;
    if (path && stat(path, &st) == 0) {
        struct pn_finding *f = pn_examine_add(x, PN_FINDING_LEFTOVER, path, "pantry prune",
                                              "is not a part of any model (%s)", pn_size((uint64_t)st.st_size).text);
        if (f && pn_examine_may_fix(x))
            f->fixed = pn_examine_remove_blob(x, name);
    }
    free(path);
}

/* Blobs of no model. While a manifest cannot be read, any blob may be in use. */
static void examine_blobs(struct pn_examination *x)
{
    struct pn_names names;
    struct pn_digests used;
    pantry_status status = pn_references_read(x->store, &used, NULL);
    x->no_memory |= status == PANTRY_NO_MEMORY;
    if (status)
        return;
    pn_examine_names(x, "blobs", &names);
    for (size_t i = 0; i < names.len; i++)
        examine_unneeded(x, &used, names.data[i]);
    pn_names_free(&names);
    free(used.data);
}

/* Folders of links, which give the blobs of a sharded model the names of shards. */
static void examine_shards(struct pn_examination *x)
{
    struct pn_names names, links;
    size_t before = x->out->len;
    pn_examine_names(x, "shards", &names);
    for (size_t i = 0; i < names.len; i++) {
        char *inside = pn_layout_path("shards/%s", names.data[i]),
             *path = pn_layout_path("%s/shards/%s", x->store, names.data[i]);
        bool whole = strlen(names.data[i]) == PN_SHA256_HEX;
        x->no_memory |= !inside || !path;
        if (inside && path)
            pn_examine_names(x, inside, &links);
        else
            links = (struct pn_names){0};
        for (size_t k = 0; k < links.len && whole; k++) {
            char *link = pn_layout_path("%s/%s", path, links.data[k]);
            whole = !link || access(link, F_OK) == 0;
            x->no_memory |= !link;
            free(link);
        }
        if (!whole && path)
            pn_examine_add(x, PN_FINDING_LEFTOVER, path, "pantry prune", "has links to blobs that are gone");
        pn_names_free(&links);
        free(inside);
        free(path);
    }
    pn_names_free(&names);
    if (x->out->len == before || !pn_examine_may_fix(x))
        return;
    pn_shards_sweep(x->store);
    for (size_t i = before; i < x->out->len; i++)
        x->out->data[i].fixed = access(x->out->data[i].where, F_OK) != 0;
}

void pn_examine_references(struct pn_examination *x)
{
    if (x->needed.len)
        qsort(x->needed.data, x->needed.len, sizeof *x->needed.data, by_digest);
    for (size_t i = 0; i < x->needed.len; i++)
        if (i == 0 || by_digest(&x->needed.data[i - 1], &x->needed.data[i]) != 0 ||
            x->needed.data[i - 1].bytes != x->needed.data[i].bytes)
            examine_needed(x, &x->needed.data[i]);
        else
            x->needed.data[i].bad = x->needed.data[i - 1].bad;
    pn_manifest_walk(x->store, examine_model, x, NULL);
    if (x->out->busy)
        return;
    if (!x->manifests_unclear)
        examine_blobs(x);
    examine_shards(x);
}
