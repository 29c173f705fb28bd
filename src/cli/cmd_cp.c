/* pantry cp: a second name for a model of the store. */
#include "cli/commands.h"
#include "cli/remote.h"
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
    struct pn_client client;
    bool elsewhere;
    const char *from = arguments.text[0], *to = arguments.text[1];
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    if (elsewhere)
        status =
            pn_remote_change(&client, "POST", "/api/copy", json_pack("{s:s, s:s}", "source", from, "destination", to));
    else
        status = pn_store_copy(from, to, &err) == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
    if (status != PN_EXIT_DONE)
        return status;
    printf("%s is now a name of %s\n", to, from);
    return PN_EXIT_DONE;
}

const struct pn_command pn_cmd_cp = {
    .name = "cp",
    .usage = "FROM TO",
    .summary = "give a model of the store another name",
    .about = "Both names share the files, so the copy needs no space. A model that TO named before loses that name.\n"
             "Where PANTRY_HOST names a service on another machine, its models are meant.",
    .example = "pantry cp smollm2:135m small",
    .run = run,
};
