/* pantry help: what there is. */
#include "cli/commands.h"
#include "cli/say.h"

#include "pantry.h"

#include <stdio.h>
#include <string.h>

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, NULL, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n > 1)
        return pn_cli_misuse(command, "help explains one command at a time");
    for (size_t i = 0; arguments.n && pn_commands[i]; i++) {
        char name[] = "help", option[] = "--help", *ask[] = {name, option, NULL};
        if (strcmp(arguments.text[0], pn_commands[i]->name) == 0)
            return pn_commands[i]->run(pn_commands[i], 2, ask);
    }
    if (arguments.n)
        return pn_cli_misuse(command, "no command \"%s\"", arguments.text[0]);

    puts("pantry " PANTRY_VERSION ": run open-weight language models on this machine\n\n"
         "Usage: pantry COMMAND [ARGUMENTS]\n");
    for (size_t i = 0; pn_commands[i]; i++)
        printf("  %-10s %s\n", pn_commands[i]->name, pn_commands[i]->summary);
    const char *program = pn_cli_program();
    printf("\nMODEL is a name such as smollm2:135m (fetched at first use), a GGUF file, or a directory.\n"
           "`%s list` shows the names, `%s COMMAND --help` explains a command with an example.\n\n"
           "Start here:\n"
           "  %s run\n",
           program, program, program);
    return PN_EXIT_DONE;
}

const struct pn_command pn_cmd_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "list the commands, or explain one",
    .example = "pantry help run",
    .run = run,
};
