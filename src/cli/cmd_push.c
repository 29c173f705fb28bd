/* pantry push: upload a model. */
#include "cli/commands.h"

#include "cli/progress.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/transfer.h"
#include "store/store.h"

#include <string.h>

struct chosen {
    bool insecure, json;
};

static const struct pn_option table[] = {
    PN_OPT_INSECURE(offsetof(struct chosen, insecure)),
    PN_OPT_PROGRESS(offsetof(struct chosen, json), "/api/push"),
};

/* By a service on another machine, from its store. Ollama's pushes a model under its own name only. */
static int push_there(const struct pn_client *client, const char *name, const char *to, const struct chosen *chosen)
{
    bool same = strcmp(name, to) == 0;
    const struct pn_remote_transfer push = {
        .name = name, .to = same ? NULL : to, .push = true, .insecure = chosen->insecure, .json = chosen->json};
    if (same || client->pantry)
        return pn_remote_transfer(client, &push);
    pn_cli_say_error("%s: this service pushes a model under its own name; `%s cp %s %s` gives it this one", to,
                     pn_cli_program(), name, to);
    return PN_EXIT_FAILED;
}

static int push_own(const char *name, const char *to, const struct chosen *chosen)
{
    struct pantry_error err = {0};
    struct pn_progress_bar bar;
    pn_progress_start(&bar, chosen->json ? stdout : stderr, chosen->json);
    pn_progress_say(&bar, "retrieving manifest");
    const struct pn_push_options options = {
        .fetch = {.progress = pn_progress_show, .user = &bar, .cancel = pn_term_interrupt()},
        .to = to,
        .insecure = chosen->insecure};
    pantry_status result = pn_store_push(name, &options, &err);
    return pn_progress_finish(&bar, result, &err);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1 || arguments.n > 2)
        return pn_cli_misuse(command, "push needs a NAME, and at most one DEST");
    const char *name = arguments.text[0], *to = arguments.n == 2 ? arguments.text[1] : name;
    struct pn_client client;
    bool elsewhere;
    pn_term_watch();
    if ((status = pn_client_elsewhere(&client, &elsewhere)) != PN_CLI_GO_ON)
        return status;
    status = elsewhere ? push_there(&client, name, to, &chosen) : push_own(name, to, &chosen);
    if (status == PN_EXIT_DONE && !chosen.json)
        printf("%s is in the registry: `%s pull %s`\n", to, pn_cli_program(), to);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_push = {
    .name = "push",
    .usage = "NAME [DEST] [--insecure]",
    .summary = "upload a model of the store to a registry",
    .about =
        "DEST is the name in the registry, [HOST/][NAMESPACE/]MODEL[:TAG]; without it, NAME says which registry.\n"
        "Files that the registry has are not sent again, and an upload that was interrupted goes on where it was,\n"
        "if the registry still knows it. Where PANTRY_HOST names a service on another machine, that one pushes a "
        "model\n"
        "of its store.",
    .example = "pantry push localhost:5000/team/model:q4\n"
               "pantry push smollm2:135m registry.example.org/team/smollm2:135m",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
