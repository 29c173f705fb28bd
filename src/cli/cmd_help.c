/* pantry help: the commands, for people and, with --json, for tools/manual, which writes the manual and the shell
 * completions. */
#include "cli/commands.h"
#include "cli/say.h"

#include "pantry.h"

#include <stdio.h>
#include <string.h>

struct chosen {
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print all commands and options as one JSON value"),
};

/* ---- as JSON ---- */

static json_t *option_json(const struct pn_option *option)
{
    static const char *const kinds[] = {
        [PN_OPTION_FLAG] = "flag",    [PN_OPTION_OFF] = "flag",     [PN_OPTION_INT] = "integer",
        [PN_OPTION_FLOAT] = "number", [PN_OPTION_SEED] = "integer", [PN_OPTION_SIZE] = "size",
        [PN_OPTION_TEXT] = "text",    [PN_OPTION_LIST] = "list",
    };
    char letter[] = {option->letter, '\0'};
    json_t *row =
        json_pack("{s:s, s:s*, s:s, s:s*, s:s*, s:s*, s:s, s:s*}", "name", option->name, "letter",
                  option->letter ? letter : NULL, "kind", kinds[option->kind], "value", option->value, "parameter",
                  option->parameter, "choices", option->choices, "help", option->help, "more", option->more);
    if (row && (option->min != 0 || option->max != 0)) {
        json_object_set_new(row, "min", json_real(option->min));
        json_object_set_new(row, "max", json_real(option->max));
    }
    return row;
}

static json_t *set_json(const struct pn_option_set *set, bool first)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < set->n; i++)
        json_array_append_new(rows, option_json(&set->option[i]));
    if (first)
        json_array_append_new(rows, option_json(&pn_option_help));
    return json_pack("{s:s, s:o}", "title", set->title ? set->title : "Options", "options", rows);
}

static json_t *command_json(const struct pn_command *command)
{
    json_t *sets = json_array();
    for (size_t i = 0; i < PN_SETS_MAX && (i == 0 || command->options[i].n); i++)
        json_array_append_new(sets, set_json(&command->options[i], i == 0));
    return json_pack("{s:s, s:s, s:s, s:s*, s:s, s:o}", "name", command->name, "usage", command->usage, "summary",
                     command->summary, "about", command->about, "example", command->example, "options", sets);
}

static int put_json(void)
{
    json_t *list = json_array();
    for (size_t i = 0; pn_commands[i]; i++)
        json_array_append_new(list, command_json(pn_commands[i]));
    return pn_cli_put_json(json_pack("{s:s, s:o}", "version", PANTRY_VERSION, "commands", list));
}

/* ---- as text ---- */

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (chosen.json && arguments.n)
        return pn_cli_misuse(command, "help --json takes no COMMAND: it prints all of them");
    if (chosen.json)
        return put_json();
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
    .usage = "[COMMAND | --json]",
    .summary = "list the commands, or explain one",
    .example = "pantry help run",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
    .no_store = true,
};

const struct pn_command *const pn_commands[] = {
#define PN_COMMAND(name) &pn_cmd_##name,
#include "cli/commands.def"
#undef PN_COMMAND
    NULL,
};
