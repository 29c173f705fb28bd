/* pantry rm: remove models from the store. */
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
    if (arguments.n < 1)
        return pn_cli_misuse(command, "rm needs the NAME of a model");
    status = PN_EXIT_DONE;
    for (int i = 0; i < arguments.n; i++) {
        struct pantry_error err = {0};
        struct pn_number size;
        uint64_t bytes;
        if (pn_store_remove(arguments.text[i], &bytes, &err) == PANTRY_OK)
            printf("removed %s (%s)\n", arguments.text[i], pn_cli_bytes(&size, bytes));
        else
            status = pn_cli_fail(&err);
    }
    return status;
}

const struct pn_command pn_cmd_rm = {
    .name = "rm",
    .usage = "NAME...",
    .summary = "remove models from the store",
    .about = "Removes each name, then its files that no other name in the store uses. The size is that of the removed\n"
             "files.",
    .example = "pantry rm smollm2:135m",
    .run = run,
};
