/* pantry list: the models that can be run by name. */
#include "cli/commands.h"
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

static json_t *row_of(const struct pn_catalog_entry *entry, const struct pn_stored *model)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s?, s:s?}", "name", entry->name, "summary", entry->summary,
                     "size", (json_int_t)entry->bytes, "download", (json_int_t)entry->download, "kind",
                     kind_of(entry->base), "license", entry->license, "sha256", entry->sha256, "source",
                     model ? model->source : NULL, "path", model ? model->path : NULL);
}

/* The longest name sets the width, within bounds. */
static int width_of(const struct pn_stored *stored, size_t n)
{
    enum { MIN = 20, MAX = 48 };
    size_t width = MIN;
    for (size_t i = 0; i < n; i++)
        if (strlen(stored[i].name) > width)
            width = strlen(stored[i].name);
    return width > MAX ? MAX : (int)width;
}

static void put_row(int width, const char *name, const char *kind, unsigned long long bytes, const char *license,
                    const char *source, const char *what)
{
    struct pn_number size;
    printf("%-*s %-5s %7s  %-19s %-11s %s\n", width, name, kind, pn_cli_bytes(&size, bytes), license, source, what);
}

static const struct pn_stored *find(const struct pn_stored *stored, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(stored[i].name, name) == 0)
            return &stored[i];
    return NULL;
}

static void put_catalog(json_t *list, const struct pn_stored *stored, size_t n_stored)
{
    size_t n;
    const struct pn_catalog_entry *entry = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++) {
        const struct pn_stored *model = find(stored, n_stored, entry[i].name);
        if (list)
            json_array_append_new(list, row_of(&entry[i], model));
        else
            put_row(width_of(stored, n_stored), entry[i].name, kind_of(entry[i].base), entry[i].bytes, entry[i].license,
                    model ? model->source : "to fetch", entry[i].summary);
    }
}

/* Other models of the store, and those of other programs. */
static void put_stored(json_t *list, int width, const struct pn_stored *model)
{
    int base = is_base(model->path);
    const char *kind = base < 0 ? "?" : kind_of(base);
    if (list)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s, s:s}", "name", model->name, "size",
                                              (json_int_t)model->bytes, "kind", kind, "source", model->source, "path",
                                              model->path));
    else
        put_row(width, model->name, kind, model->bytes, "", model->source,
                strcmp(model->source, "pantry") == 0 ? "in the store" : model->path);
}

/* For shell completions: reads no model file, so it is fast. */
static int put_names(void)
{
    struct pn_stored *stored = NULL;
    size_t n_catalog, n = 0;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n_catalog);
    for (size_t i = 0; i < n_catalog; i++)
        puts(catalog[i].name);
    pn_store_list(&stored, &n, NULL);
    for (size_t i = 0; i < n; i++)
        if (!pn_store_can_fetch(stored[i].name))
            puts(stored[i].name);
    pn_store_list_free(stored, n);
    return PN_EXIT_DONE;
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

    if (chosen.names)
        return put_names();

    json_t *list = chosen.json ? json_array() : NULL;
    struct pn_stored *stored = NULL;
    size_t n = 0;
    pn_store_list(&stored, &n, NULL); /* without a store the list is empty */
    if (!chosen.json)
        printf("%-*s %-5s %7s  %-19s %-11s %s\n", width_of(stored, n), "NAME", "KIND", "SIZE", "LICENSE", "SOURCE",
               "WHAT");
    put_catalog(list, stored, n);
    for (size_t i = 0; i < n; i++)
        if (!pn_store_can_fetch(stored[i].name))
            put_stored(list, width_of(stored, n), &stored[i]);
    pn_store_list_free(stored, n);
    return chosen.json ? pn_cli_put_json(list) : PN_EXIT_DONE;
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
        "for a model without a chat template, which only continues texts.",
    .example = "pantry list",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
