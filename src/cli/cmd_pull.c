/* pantry pull: download a model. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdlib.h>

struct chosen {
    bool insecure;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("insecure", offsetof(struct chosen, insecure), "use http, without encryption",
                .more = "Names that begin with localhost or an address 127.* always use http, others https."),
};

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, "pull needs one NAME");
    const char *name = arguments.text[0];
    struct pantry_error err = {0};
    struct pn_progress_bar bar;
    struct pn_number size;
    char *path = NULL;
    pn_term_watch();
    if (pn_store_can_fetch(name)) {
        status = pn_cli_find_model(name, &path);
    } else {
        pn_progress_start(&bar, stderr);
        struct pn_pull_options options = {
            .fetch = {.progress = pn_progress_show, .user = &bar, .cancel = pn_term_interrupt()},
            .insecure = chosen.insecure};
        pantry_status result = pn_store_pull(name, &options, &path, &err);
        pn_progress_end(&bar);
        status = result == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
    }
    if (status == PN_EXIT_DONE)
        printf("%s is in the store (%s): `%s run %s`\n", name, pn_cli_bytes(&size, pn_cli_model_bytes(path)),
               pn_cli_program(), name);
    free(path);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_pull = {
    .name = "pull",
    .usage = "NAME [--insecure]",
    .summary = "download a model into the store, or bring it up to date",
    .about =
        "A NAME of the catalog comes from there. Others are [HOST/][NAMESPACE/]MODEL[:TAG] in a registry with models\n"
        "in Ollama's format, registry.ollama.ai unless HOST is given, or hf.co/USER/REPO[:QUANT], a GGUF file of\n"
        "Hugging Face. A download that was interrupted goes on where it was. Every file is compared with its\n"
        "SHA-256.",
    .example = "pantry pull smollm2:135m\n"
               "pantry pull registry.example.org/team/model:q4\n"
               "pantry pull hf.co/user/some-model-GGUF:Q4_K_M",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
