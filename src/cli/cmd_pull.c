/* pantry pull: download a model. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "cli/fit_ask.h"
#include "cli/model.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/transfer.h"
#include "store/store.h"

#include <stdlib.h>

struct chosen {
    struct pn_cli_pull pull;
};

#define PULL(field) offsetof(struct chosen, pull.field)

static const struct pn_option table[] = {
    PN_OPT_INSECURE(PULL(insecure)),
    PN_OPT_TEXT("name", "NAME", PULL(name), "the model's name in the store, if a URL is pulled",
                .more = "Without it, that of the file."),
    PN_OPT_PROGRESS(PULL(json), "/api/pull"),
};

/* By a service on another machine, into its store. */
static int pull_there(const struct pn_client *client, const char *name, const struct chosen *chosen)
{
    const struct pn_remote_transfer pull = {.name = name, .insecure = chosen->pull.insecure, .json = chosen->pull.json};
    struct pn_number size;
    json_t *root;
    uint64_t bytes;
    if (pn_store_is_url(name)) {
        pn_cli_say_error("%s: a service pulls no URLs; run `pantry pull` on the machine of %s", name, client->url);
        return PN_EXIT_FAILED;
    }
    int status = pn_remote_transfer(client, &pull);
    if (status != PN_EXIT_DONE || chosen->pull.json)
        return status;
    if ((status = pn_remote_show(client, name, &root, &bytes)) == PN_EXIT_DONE)
        printf("%s is in the store (%s): `%s run %s`\n", name, pn_cli_bytes(&size, bytes), pn_cli_program(), name);
    json_decref(root);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, "pull needs one NAME or URL");
    const char *name = arguments.text[0];
    if (chosen.pull.name && !pn_store_is_url(name))
        return pn_cli_misuse(command, "--name is for a URL");
    struct pn_number size;
    struct pn_client client;
    bool elsewhere;
    char *path = NULL;
    pn_term_watch();
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    const struct pn_machine machine = pn_machine_default();
    struct pn_fit_answer answer = {0};
    if (!elsewhere && !chosen.pull.json &&
        (status = pn_fit_ask(name, &machine, chosen.pull.insecure, &answer)) != PN_CLI_GO_ON)
        return status;
    if (answer.changed)
        name = answer.name;
    if (elsewhere)
        status = pull_there(&client, name, &chosen);
    else if (pn_store_can_fetch(name) && !chosen.pull.json)
        status = pn_cli_find_model(name, &path);
    else
        status = pn_cli_pull_model(name, &chosen.pull, &path);
    if (status == PN_EXIT_DONE && !elsewhere && !chosen.pull.json) {
        printf("%s is in the store (%s)", name, pn_cli_bytes(&size, pn_store_model_bytes(path)));
        if (pn_store_is_url(name))
            putchar('\n');
        else
            printf(": `%s run %s`\n", pn_cli_program(), name);
    }
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
        "in Ollama's format or OCI artifacts with GGUF files, registry.ollama.ai unless HOST is given; or\n"
        "hf.co/USER/REPO[:QUANT], the GGUF file of Hugging Face with all its parts and its projector; or the URL of a\n"
        "GGUF file. A download that was interrupted goes on where it was. Every file is compared with its SHA-256.\n"
        "Where PANTRY_HOST names a service on another machine, that one pulls, into its store.",
    .example = "pantry pull smollm2:135m\n"
               "pantry pull registry.example.org/team/model:q4\n"
               "pantry pull docker.io/ai/smollm2\n"
               "pantry pull hf.co/user/some-model-GGUF:Q4_K_M\n"
               "pantry pull https://example.org/some-model.gguf --name some-model",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
