/* pantry version. */
#include "cli/commands.h"
#include "cli/say.h"

struct chosen {
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value"),
};

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "version takes no argument");
    if (chosen.json)
        return pn_cli_put_json(json_pack("{s:s}", "version", pantry_version()));
    printf("pantry %s\n", pantry_version());
    return PN_EXIT_DONE;
}

const struct pn_command pn_cmd_version = {
    .name = "version",
    .usage = "[--json]",
    .summary = "print the version",
    .example = "pantry version",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
    .no_store = true,
};
