/* pantry: the program. One table of commands; each command is options, calls of the public interface, and printing.
 *
 * Exit status: 0 done, 1 failed with a message on standard error, 2 wrong usage. */
#include "cli/commands.h"
#include "cli/say.h"
#include "cli/settings_file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *command_name(const void *names, size_t i)
{
    (void)names;
    return pn_commands[i] ? pn_commands[i]->name : NULL;
}

static const struct pn_command *find_command(const char *name)
{
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        return &pn_cmd_help;
    if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)
        return &pn_cmd_version;
    if (strcmp(name, "ls") == 0) /* the other name that Ollama has */
        return &pn_cmd_list;
    for (size_t i = 0; pn_commands[i]; i++)
        if (strcmp(pn_commands[i]->name, name) == 0)
            return pn_commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *near = pn_cli_nearest(name, command_name, NULL);
    if (near)
        pn_cli_say_error("no command \"%s\"; did you mean `%s %s`?", name, pn_cli_program(), near);
    else
        pn_cli_say_error("no command \"%s\"", name);
    fprintf(stderr, "usage: pantry COMMAND [ARGUMENTS] (`%s help` lists the commands)\n", pn_cli_program());
    return PN_EXIT_USAGE;
}

/* The disk may be full, or the pipe closed. If an earlier write failed, errno now describes something else. */
static int finish(int status)
{
    errno = 0;
    bool failed = fflush(stdout) != 0;
    int why = failed ? errno : 0;
    if ((!failed && !ferror(stdout)) || status != PN_EXIT_DONE)
        return status;
    pn_cli_say_error("standard output: %s", why ? strerror(why) : "an earlier write failed");
    return PN_EXIT_FAILED;
}

/* Where the models are is a setting of all commands. */
static int start(const struct pn_command *command, int argc, char **argv)
{
    struct pantry_error err = {0};
    if (!command->no_store && pn_settings_find_models(&err) != PANTRY_OK)
        return pn_cli_fail(&err);
    return command->run(command, argc, argv);
}

int main(int argc, char **argv)
{
    char help[] = "help", *only_help[] = {help, NULL};
    char **rest = argc < 2 ? only_help : argv + 1;
    pn_cli_set_program(argv[0]);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit (ulimit -f) is an error with a sentence */
    const struct pn_command *command = find_command(rest[0]);
    int status = command ? start(command, argc < 2 ? 1 : argc - 1, rest) : unknown_command(rest[0]);
    return finish(status);
}
