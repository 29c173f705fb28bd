/* pantry version. */
#include "cli/commands.h"
#include "cli/say.h"

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct {
        bool json;
    } chosen = {false};
    static const struct pn_option table[] = {
        {0, "json", NULL, "print one JSON value", PN_OPTION_FLAG, 0, 0, 0, NULL},
    };
    const struct pn_option_set sets[] = {PN_OPTIONS(NULL, table, &chosen)};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, sets, 1, &arguments);
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
    .run = run,
};
