/* The commands: one object per file cmd_<name>.c; commands.def lists them. */
#ifndef PN_CLI_COMMANDS_H
#define PN_CLI_COMMANDS_H

#include "cli/options.h"

#define PN_COMMAND(name) extern const struct pn_command pn_cmd_##name;
#include "cli/commands.def"
#undef PN_COMMAND

/* All commands in the order of `pantry help`; NULL ends the list. */
extern const struct pn_command *const pn_commands[];

/* Prints the sections of `pantry show` for a MODEL; for the chat and cmd_show. Exit status. */
int pn_cli_show_model(const char *name);

#endif
