/* The commands: one object per file cmd_<name>.c; cmd_help.c lists them. */
#ifndef PN_CLI_COMMANDS_H
#define PN_CLI_COMMANDS_H

#include "cli/options.h"

extern const struct pn_command pn_cmd_run, pn_cmd_serve, pn_cmd_ps, pn_cmd_stop, pn_cmd_launch, pn_cmd_key,
    pn_cmd_generate, pn_cmd_list, pn_cmd_pull, pn_cmd_import, pn_cmd_cp, pn_cmd_rm, pn_cmd_prune, pn_cmd_show,
    pn_cmd_bench, pn_cmd_tokenize, pn_cmd_embed, pn_cmd_rank, pn_cmd_template, pn_cmd_parse, pn_cmd_logits,
    pn_cmd_check, pn_cmd_help, pn_cmd_version;

/* All commands in the order of `pantry help`; NULL ends the list. */
extern const struct pn_command *const pn_commands[];

/* Prints the sections of `pantry show` for a model file; for cmd_run and cmd_show. Exit status. */
int pn_cli_show_model(const char *path);

#endif
