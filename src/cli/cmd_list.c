/* pantry list: the models that can be run by name. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "base/alloc.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "pantry.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

struct chosen {
    bool json, names;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("names", offsetof(struct chosen, names), "print only the names, one per line"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print a JSON list"),
};

/* 1: the file has no chat template, 0: it has one, -1: the file cannot be read. */
static int is_base(const char *path)
{
    char *text = NULL;
    if (pantry_describe(path, &text, NULL) != PANTRY_OK)
        return -1;
    json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL);
    int base = !json_is_string(json_object_get(root, "template"));
    json_decref(root);
    pantry_free(text);
    return base;
}

static const char *kind_of(bool base)
{
    return base ? "base" : "chat";
}

static json_t *row_of(const struct pn_catalog_entry *entry, const struct pn_listed *model)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s?, s:s?}", "name", entry->name, "summary", entry->summary,
                     "size", (json_int_t)entry->bytes, "download", (json_int_t)entry->download, "kind",
                     kind_of(entry->base), "license", entry->license, "sha256", entry->sha256, "source",
                     model ? model->source : NULL, "path", model ? model->path : NULL);
}

/* The longest name sets the width, within bounds. */
static int width_of(const struct pn_listed_all *models)
{
    enum { MIN = 20, MAX = 48 };
    size_t width = MIN;
    for (size_t i = 0; i < models->len; i++)
        if (strlen(models->data[i].name) > width)
            width = strlen(models->data[i].name);
    return width > MAX ? MAX : (int)width;
}

static void put_row(int width, const char *name, const char *kind, unsigned long long bytes, const char *license,
                    const char *source, const char *what)
{
    struct pn_number size;
    printf("%-*s %-5s %7s  %-19s %-11s %s\n", width, name, kind, pn_cli_bytes(&size, bytes), license, source, what);
}

static const struct pn_listed *find(const struct pn_listed_all *models, const char *name)
{
    for (size_t i = 0; i < models->len; i++)
        if (strcmp(models->data[i].name, name) == 0)
            return &models->data[i];
    return NULL;
}

static void put_catalog(json_t *list, const struct pn_listed_all *models)
{
    size_t n;
    const struct pn_catalog_entry *entry = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++) {
        const struct pn_listed *model = find(models, entry[i].name);
        if (list)
            json_array_append_new(list, row_of(&entry[i], model));
        else
            put_row(width_of(models), entry[i].name, kind_of(entry[i].base), entry[i].bytes, entry[i].license,
                    model ? model->source : "to fetch", entry[i].summary);
    }
}

/* Other models of the store, and those of other programs. */
static void put_stored(json_t *list, int width, const struct pn_listed *model)
{
    const char *kind = model->base < 0 ? "?" : kind_of(model->base);
    if (list)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s, s:s?}", "name", model->name, "size",
                                              (json_int_t)model->bytes, "kind", kind, "source", model->source, "path",
                                              model->path));
    else
        put_row(width, model->name, kind, model->bytes, "", model->source,
                strcmp(model->source, "pantry") == 0 || !model->path ? "in the store" : model->path);
}

/* The own models; `names`: no model file is read. Without a store there are none. */
static int list_own(bool names, struct pn_listed_all *out)
{
    struct pn_stored *stored = NULL;
    size_t n = 0;
    int status = PN_EXIT_DONE;
    *out = (struct pn_listed_all){0};
    pn_store_list(&stored, &n, NULL);
    for (size_t i = 0; i < n && status == PN_EXIT_DONE; i++) {
        struct pn_listed model = {.name = stored[i].name,
                                  .path = stored[i].path,
                                  .source = strdup(stored[i].source),
                                  .bytes = stored[i].bytes,
                                  .base = names || pn_store_can_fetch(stored[i].name) ? -1 : is_base(stored[i].path)};
        if (!model.source || !pn_vec_push(out, model)) {
            free(model.source);
            status = pn_cli_no_memory();
        } else {
            stored[i].name = stored[i].path = NULL;
        }
    }
    pn_store_list_free(stored, n);
    return status;
}

/* For shell completions. */
static int put_names(const struct pn_listed_all *models)
{
    size_t n_catalog;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n_catalog);
    for (size_t i = 0; i < n_catalog; i++)
        puts(catalog[i].name);
    for (size_t i = 0; i < models->len; i++)
        if (!pn_store_can_fetch(models->data[i].name))
            puts(models->data[i].name);
    return PN_EXIT_DONE;
}

static int put_list(const struct pn_listed_all *models, bool json)
{
    json_t *list = json ? json_array() : NULL;
    int width = width_of(models);
    if (!json)
        printf("%-*s %-5s %7s  %-19s %-11s %s\n", width, "NAME", "KIND", "SIZE", "LICENSE", "SOURCE", "WHAT");
    put_catalog(list, models);
    for (size_t i = 0; i < models->len; i++)
        if (!pn_store_can_fetch(models->data[i].name))
            put_stored(list, width, &models->data[i]);
    return json ? pn_cli_put_json(list) : PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "list takes no argument");
    if (chosen.names && chosen.json)
        return pn_cli_misuse(command, "list takes --names or --json, not both");
    struct pn_client client;
    struct pn_listed_all models;
    bool elsewhere;
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    status = elsewhere ? pn_remote_list(&client, chosen.names, &models) : list_own(chosen.names, &models);
    if (status == PN_EXIT_DONE)
        status = chosen.names ? put_names(&models) : put_list(&models, chosen.json);
    pn_listed_free(&models);
    return status;
}

const struct pn_command pn_cmd_list = {
    .name = "list",
    .usage = "[--names | --json]",
    .summary = "list the models that can be run by name",
    .about =
        "Lists the models of the catalog, then the others in the store, then those of Ollama, LM Studio, Hugging Face\n"
        "and llama.cpp on this machine, which run where they are (PANTRY_FOREIGN=0 leaves them out). SOURCE says "
        "which;\n"
        "a model \"to fetch\" is fetched at first use. The first is the default of `pantry run`. KIND is chat, or "
        "base\n"
        "for a model without a chat template, which only continues texts. Where PANTRY_HOST names a service on "
        "another\n"
        "machine, its models are listed.",
    .example = "pantry list",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
