/* pantry rm: remove models from the store. */
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "store/store.h"

static int remove_own(const char *name)
{
    struct pantry_error err = {0};
    struct pn_number size;
    uint64_t bytes;
    if (pn_store_remove(name, &bytes, &err) != PANTRY_OK)
        return pn_cli_fail(&err);
    printf("removed %s (%s)\n", name, pn_cli_bytes(&size, bytes));
    return PN_EXIT_DONE;
}

/* From a service, which does not say how many bytes went. */
static int remove_there(const struct pn_client *client, const char *name)
{
    int status = pn_remote_change(client, "DELETE", "/api/delete", json_pack("{s:s}", "model", name));
    if (status == PN_EXIT_DONE)
        printf("removed %s\n", name);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    void *const targets[] = {NULL};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1)
        return pn_cli_misuse(command, "rm needs the NAME of a model");
    struct pn_client client;
    bool elsewhere;
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    status = PN_EXIT_DONE;
    for (int i = 0; i < arguments.n; i++)
        if ((elsewhere ? remove_there(&client, arguments.text[i]) : remove_own(arguments.text[i])) != PN_EXIT_DONE)
            status = PN_EXIT_FAILED;
    return status;
}

const struct pn_command pn_cmd_rm = {
    .name = "rm",
    .usage = "NAME...",
    .summary = "remove models from the store",
    .about = "Removes each name, then its files that no other name in the store uses. The size is that of the removed\n"
             "files. Where PANTRY_HOST names a service on another machine, its models are removed.",
    .example = "pantry rm smollm2:135m",
    .run = run,
};
