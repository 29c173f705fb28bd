/* pantry list: the models that have a name here. */
#include "cli/commands.h"
#include "cli/say.h"
#include "store/store.h"

#include <stdlib.h>

static json_t *row_of(const struct pn_catalog_entry *entry, const char *path)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s?}", "name", entry->name, "summary", entry->summary, "size",
                     (json_int_t)entry->bytes, "license", entry->license, "sha256", entry->sha256, "path", path);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct {
        bool json;
    } chosen = {false};
    static const struct pn_option table[] = {
        {0, "json", NULL, "print a JSON list", PN_OPTION_FLAG, 0, 0, 0, NULL},
    };
    const struct pn_option_set sets[] = {PN_OPTIONS(NULL, table, &chosen)};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, sets, 1, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "list takes no argument");

    size_t n;
    const struct pn_catalog_entry *entry = pn_store_catalog(&n);
    json_t *list = chosen.json ? json_array() : NULL;
    if (!chosen.json)
        printf("%-16s %10s  %-20s %-10s %s\n", "NAME", "SIZE", "LICENSE", "STATE", "WHAT");
    for (size_t i = 0; i < n; i++) {
        char *path = NULL;
        struct pn_number size;
        pn_store_resolve(entry[i].name, &path, NULL);
        if (chosen.json)
            json_array_append_new(list, row_of(&entry[i], path));
        else
            printf("%-16s %10s  %-20s %-10s %s\n", entry[i].name, pn_cli_bytes(&size, entry[i].bytes), entry[i].license,
                   path ? "here" : "to fetch", entry[i].summary);
        free(path);
    }
    return chosen.json ? pn_cli_put_json(list) : PN_EXIT_DONE;
}

const struct pn_command pn_cmd_list = {
    .name = "list",
    .usage = "[--json]",
    .summary = "list the models that can be run by name",
    .about = "A model that is to fetch is fetched when it is first used.",
    .example = "pantry list",
    .run = run,
};
