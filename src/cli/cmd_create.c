/* pantry create: a model of the store from a Modelfile. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/progress.h"
#include "cli/remote_create.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/transfer.h"
#include "store/create.h"

#include <stdlib.h>
#include <string.h>

struct chosen {
    const char *file, *quantize;
    bool quiet;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file), "the Modelfile; -: standard input. Default: Modelfile",
                .more = "Paths in it are relative to its folder.", .letter = 'f'),
    PN_OPT_TEXT("quantize", "TYPE", offsetof(struct chosen, quantize), "the storage type that the model must have",
                .more = "Nothing is converted yet: a model in another type is refused.", .letter = 'q'),
    PN_OPT_FLAG("quiet", offsetof(struct chosen, quiet), "print nothing but errors"),
};

/* The target of the library's callbacks. */
struct show {
    struct pn_progress_bar bar;
    bool quiet;
};

static void show_progress(void *user, const struct pn_fetch_progress *progress)
{
    struct show *show = user;
    if (show->bar.terminal && !show->quiet)
        pn_progress_show(&show->bar, progress);
}

static void show_status(void *user, const char *line)
{
    struct show *show = user;
    if (show->quiet)
        return;
    pn_progress_end(&show->bar);
    fprintf(stderr, "%s\n", line);
    pn_progress_start(&show->bar, stderr, false);
}

static int read_modelfile(const char *file, struct pn_create *create)
{
    struct pn_modelfile modelfile;
    struct pantry_error err = {0};
    char *text = NULL;
    size_t n;
    const char *slash = strrchr(file, '/');
    int status = pn_cli_read_file(file, PN_MODELFILE_MAX, &text, &n);
    if (status != PN_EXIT_DONE)
        return status;
    char *folder = slash ? strndup(file, (size_t)(slash - file) + (slash == file)) : strdup(".");
    if (!folder) {
        status = pn_cli_no_memory();
    } else if (pn_modelfile_parse(file, text, n, &modelfile, &err) != PANTRY_OK) {
        status = pn_cli_fail(&err);
    } else {
        if (pn_create_read(file, &modelfile, folder, create, &err) != PANTRY_OK)
            status = pn_cli_fail(&err);
        pn_modelfile_free(&modelfile);
    }
    free(folder);
    free(text);
    return status;
}

/* A base that is nowhere yet is pulled; that it is asked for by name alone is enough here, as for Ollama. */
static int find_base(const struct pn_create *create)
{
    static const struct pn_cli_pull plain;
    char *path = NULL, *place = NULL;
    int status = PN_EXIT_DONE;
    if (!create->from || pn_store_resolve(create->from, &path, NULL) == PANTRY_OK) {
        /* it is here */
    } else if (!pn_store_is_name(create->from) || pn_store_can_fetch(create->from) ||
               (place = pn_store_place(create->from))) {
        status = pn_cli_find_model(create->from, &path);
    } else {
        fprintf(stderr, "%s is not in the store; pulling it from registry.ollama.ai\n", create->from);
        status = pn_cli_pull_model(create->from, &plain, &path);
    }
    free(place);
    free(path);
    return status;
}

static int create_model(const char *name, const struct pn_create *create, bool quiet)
{
    struct show show = {.quiet = quiet};
    struct pantry_error err = {0};
    pn_progress_start(&show.bar, stderr, false);
    pn_term_watch();
    struct pn_create_options options = {
        .fetch = {.progress = show_progress, .user = &show, .cancel = pn_term_interrupt()},
        .status = show_status,
        .library = PN_CREATE_LIBRARY,
    };
    pantry_status status = pn_store_create(name, create, &options, &err);
    pn_progress_end(&show.bar);
    if (status == PANTRY_OK && !quiet)
        fprintf(stderr, "success: `%s run %s`\n", pn_cli_program(), name);
    if (status == PANTRY_CANCELLED && pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.file = "Modelfile"};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    struct pn_create create = {0};
    struct pn_client client;
    bool elsewhere;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, "create needs one NAME");
    if (!pn_store_is_name(arguments.text[0]))
        return pn_cli_misuse(command, "%s: not a model name; names look like mario or namespace/mario:tag",
                             arguments.text[0]);
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    status = read_modelfile(chosen.file, &create);
    if (status == PN_EXIT_DONE && chosen.quantize && !(create.quantize = strdup(chosen.quantize)))
        status = pn_cli_no_memory();
    if (status == PN_EXIT_DONE && elsewhere) {
        status = pn_remote_create(&client, arguments.text[0], &create, chosen.quiet);
        pn_create_free(&create);
        return status;
    }
    if (status == PN_EXIT_DONE)
        status = find_base(&create);
    if (status == PN_EXIT_DONE)
        status = create_model(arguments.text[0], &create, chosen.quiet);
    pn_create_free(&create);
    return status;
}

const struct pn_command pn_cmd_create = {
    .name = "create",
    .usage = "NAME [-f FILE]",
    .summary = "make a model from a Modelfile",
    .about = "A Modelfile is a text file with Ollama's instructions: FROM (a model, which is pulled if it is not "
             "there, a GGUF\n"
             "file or a folder with one),\n"
             "SYSTEM, PARAMETER, TEMPLATE, MESSAGE, LICENSE, ADAPTER, DRAFT, REQUIRES. Files are cloned or linked "
             "into\n"
             "the store where the file system can, else copied. Where PANTRY_HOST names a service on another machine,\n"
             "that one makes the model, and is sent the files that it lacks.",
    .example = "printf 'FROM smollm2:135m\\nSYSTEM You are Mario.\\nPARAMETER temperature 1\\n' > Modelfile\n"
               "pantry create mario\n"
               "pantry run mario",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
