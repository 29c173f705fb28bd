/* pantry prune: free the space of files that no model of the store uses. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"
#include "cli/say.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

struct chosen {
    bool cache;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("cache", offsetof(struct chosen, cache), "also empty the cache of prompts"),
};

/* Empties the folder that `pantry serve` uses without options. */
static pantry_status clear_cache(uint64_t *bytes, struct pantry_error *err)
{
    const char *given = getenv("PANTRY_CACHE");
    char *path = given && *given ? strdup(given) : NULL;
    pantry_status status = path ? PANTRY_OK : pn_store_private_file("cache", &path, err);
    *bytes = 0;
    if (!status)
        status = pantry_cache_clear(path, bytes, err);
    free(path);
    return status == PANTRY_NOT_FOUND ? PANTRY_OK : status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    int status = pn_cli_parse_options(command, argc, argv, &chosen);
    if (status != PN_CLI_GO_ON)
        return status;
    struct pantry_error err = {0};
    struct pn_pruned pruned;
    struct pn_number size;
    pantry_status result = pn_store_prune(&pruned, &err);
    printf("removed %zu file%s (%s)\n", pruned.files, pruned.files == 1 ? "" : "s", pn_cli_bytes(&size, pruned.bytes));
    uint64_t bytes;
    if (result == PANTRY_OK && chosen.cache && (result = clear_cache(&bytes, &err)) == PANTRY_OK)
        printf("emptied the cache of prompts (%s)\n", pn_cli_bytes(&size, bytes));
    return result == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
}

const struct pn_command pn_cmd_prune = {
    .name = "prune",
    .usage = "[--cache]",
    .summary = "remove files of the store that no model uses",
    .about = "Removes the files that no name in the store uses, such as those that an interrupted command left, and\n"
             "downloads that were not continued for a day. While a manifest cannot be read, only the latter.",
    .example = "pantry prune",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
