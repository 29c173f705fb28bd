/* pantry prune: free the space of files that no model of the store uses. */
#include "cli/commands.h"
#include "cli/say.h"
#include "store/store.h"

static int run(const struct pn_command *command, int argc, char **argv)
{
    void *const targets[] = {NULL};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "prune takes no argument");
    struct pantry_error err = {0};
    struct pn_pruned pruned;
    struct pn_number size;
    pantry_status result = pn_store_prune(&pruned, &err);
    printf("removed %zu file%s (%s)\n", pruned.files, pruned.files == 1 ? "" : "s", pn_cli_bytes(&size, pruned.bytes));
    return result == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
}

const struct pn_command pn_cmd_prune = {
    .name = "prune",
    .usage = "",
    .summary = "remove files of the store that no model uses",
    .about = "Removes the files that no name in the store uses, such as those that an interrupted command left, and\n"
             "downloads that were not continued for a day. While a manifest cannot be read, only the latter.",
    .example = "pantry prune",
    .run = run,
};
