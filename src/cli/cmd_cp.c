/* pantry cp: a second name for a model of the store. */
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
    if (arguments.n != 2)
        return pn_cli_misuse(command, "cp needs the names FROM and TO");
    struct pantry_error err = {0};
    if (pn_store_copy(arguments.text[0], arguments.text[1], &err) != PANTRY_OK)
        return pn_cli_fail(&err);
    printf("%s is now a name of %s\n", arguments.text[1], arguments.text[0]);
    return PN_EXIT_DONE;
}

const struct pn_command pn_cmd_cp = {
    .name = "cp",
    .usage = "FROM TO",
    .summary = "give a model of the store another name",
    .about = "Both names share the files, so the copy needs no space. A model that TO named before loses that name.",
    .example = "pantry cp smollm2:135m small",
    .run = run,
};
