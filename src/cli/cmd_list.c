/* pantry list: the models that can be run by name. */
#include "cli/commands.h"
#include "cli/say.h"
#include "pantry.h"
#include "store/store.h"

#include <stdlib.h>

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

static json_t *row_of(const struct pn_catalog_entry *entry, const char *path)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s?}", "name", entry->name, "summary", entry->summary,
                     "size", (json_int_t)entry->bytes, "download", (json_int_t)entry->download, "kind",
                     kind_of(entry->base), "license", entry->license, "sha256", entry->sha256, "path", path);
}

static void put_row(const char *name, const char *kind, unsigned long long bytes, const char *license, bool here,
                    const char *summary)
{
    struct pn_number size;
    printf("%-20s %-5s %7s  %-19s %-9s %s\n", name, kind, pn_cli_bytes(&size, bytes), license,
           here ? "here" : "to fetch", summary);
}

static void put_catalog(json_t *list)
{
    size_t n;
    const struct pn_catalog_entry *entry = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++) {
        char *path = NULL;
        pn_store_resolve(entry[i].name, &path, NULL);
        if (list)
            json_array_append_new(list, row_of(&entry[i], path));
        else
            put_row(entry[i].name, kind_of(entry[i].base), entry[i].bytes, entry[i].license, path != NULL,
                    entry[i].summary);
        free(path);
    }
}

/* Other models of the store: imported, or stored by another program. */
static void put_stored(json_t *list, const struct pn_stored *stored)
{
    int base = is_base(stored->path);
    const char *kind = base < 0 ? "?" : kind_of(base);
    if (list)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s}", "name", stored->name, "size",
                                              (json_int_t)stored->bytes, "kind", kind, "path", stored->path));
    else
        put_row(stored->name, kind, stored->bytes, "", true, "in the store");
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
    if (!chosen.json)
        printf("%-20s %-5s %7s  %-19s %-9s %s\n", "NAME", "KIND", "SIZE", "LICENSE", "STATE", "WHAT");
    put_catalog(list);
    pn_store_list(&stored, &n, NULL); /* without a store the list is empty */
    for (size_t i = 0; i < n; i++)
        if (!pn_store_can_fetch(stored[i].name))
            put_stored(list, &stored[i]);
    pn_store_list_free(stored, n);
    return chosen.json ? pn_cli_put_json(list) : PN_EXIT_DONE;
}

const struct pn_command pn_cmd_list = {
    .name = "list",
    .usage = "[--names | --json]",
    .summary = "list the models that can be run by name",
    .about =
        "Lists the models of the catalog, then the others in the store. A model \"to fetch\" is fetched at first use.\n"
        "The first is the default of `pantry run`. KIND is chat, or base for a model without a chat template,\n"
        "which only continues texts.",
    .example = "pantry list",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
