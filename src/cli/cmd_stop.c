/* pantry stop: let a service unload models. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"

#include <stdio.h>
#include <string.h>

/* A request of a model that is not loaded would load it first. */
static bool is_loaded(const json_t *running, const char *name)
{
    size_t i, n = strlen(name);
    json_t *row;
    json_array_foreach(json_object_get(running, "models"), i, row)
    {
        const char *other = json_string_value(json_object_get(row, "name"));
        if (other && strncmp(other, name, n) == 0 && (!other[n] || strcmp(other + n, ":latest") == 0))
            return true;
    }
    return false;
}

static int stop(const struct pn_client *client, const char *name)
{
    struct pantry_error err = {0};
    json_t *reply;
    long http_status;
    pantry_status status = pn_client_ask(client, "GET", "/api/ps", NULL, &reply, &http_status, &err);
    bool loaded = !status && is_loaded(reply, name);
    json_decref(reply);
    if (!status && !loaded) {
        pn_cli_say_error("%s: not loaded by the service at %s (`%s ps` lists what is)", name, client->url,
                         pn_cli_program());
        return PN_EXIT_FAILED;
    }
    if (!status)
        status = pn_client_ask(client, "POST", "/api/generate", json_pack("{s:s, s:i}", "model", name, "keep_alive", 0),
                               &reply, &http_status, &err);
    if (status)
        return pn_client_fail(client, http_status, &err);
    json_decref(reply);
    printf("stopped %s\n", name);
    return PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    void *const targets[] = {NULL};
    struct pn_client client;
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1)
        return pn_cli_misuse(command, "stop needs the NAME of a model");
    if ((status = pn_client_need(&client)) != PN_CLI_GO_ON)
        return status;
    status = PN_EXIT_DONE;
    for (int i = 0; i < arguments.n; i++)
        if (stop(&client, arguments.text[i]) != PN_EXIT_DONE)
            status = PN_EXIT_FAILED;
    return status;
}

const struct pn_command pn_cmd_stop = {
    .name = "stop",
    .usage = "NAME...",
    .summary = "let a service unload models",
    .about =
        "Asks the service at PANTRY_HOST, OLLAMA_HOST or 127.0.0.1:11434. Answers that run go on to their end, and\n"
        "then the model goes. The next request loads it again.",
    .example = "pantry stop smollm2:135m",
    .run = run,
};
