/* pantry serve: the service. */
#define _POSIX_C_SOURCE 200809L
#include "cli/address.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"
#include "server/server.h"
#include "store/store.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_KEEP_ALIVE = 300, MAX_ORIGINS = 64 };

struct chosen {
    const char *host;
    int port, keep_alive, max_loaded, n_parallel, read_seconds;
    struct pn_text_list origins;
    bool quiet, public;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("host", "ADDRESS", offsetof(struct chosen, host), "address to listen on, with or without a port",
                .more = "Without it, what PANTRY_HOST or OLLAMA_HOST says, or 127.0.0.1:11434."),
    PN_OPT_INT("port", "N", offsetof(struct chosen, port), 0, 65535, "port to listen on; 0: any that is free"),
    PN_OPT_INT("keep-alive", "SECONDS", offsetof(struct chosen, keep_alive), -1, 1 << 30,
               "how long an idle model stays in memory; -1: forever"),
    PN_OPT_INT("max-loaded", "N", offsetof(struct chosen, max_loaded), 0, 1000,
               "most models in memory at the same time; 0: as many as fit"),
    PN_OPT_INT("max-requests", "N", offsetof(struct chosen, n_parallel), 0, 4096,
               "most requests at the same time; more are answered with 503; 0: 512"),
    PN_OPT_INT("read-timeout", "SECONDS", offsetof(struct chosen, read_seconds), 0, 86400,
               "how long a request may take to arrive, and a connection stay idle; 0: 60"),
    PN_OPT_LIST("origin", "ORIGIN", offsetof(struct chosen, origins),
                "let pages of that web origin call, besides those of this machine; may be repeated"),
    PN_OPT_FLAG("public", offsetof(struct chosen, public),
                "listen on an address that other machines reach, also without keys"),
    PN_OPT_FLAG("quiet", offsetof(struct chosen, quiet), "print no line per request"),
};

static pantry_cancel *stop;

static void on_signal(int number)
{
    (void)number;
    pantry_cancel_set(stop);
}

static void say_ready(void *user, const char *url)
{
    (void)user;
    printf("pantry listens on %s\n", url);
    fflush(stdout);
}

static int listen_where(const struct pn_command *command, const struct chosen *chosen, char host[PN_HOST_MAX],
                        int *port)
{
    const char *from = chosen->host ? chosen->host : pn_cli_variable("PANTRY_HOST", "OLLAMA_HOST");
    snprintf(host, PN_HOST_MAX, "127.0.0.1");
    *port = PN_DEFAULT_PORT;
    if (from && !pn_cli_take_host(from, host, port))
        return pn_cli_misuse(command, "wrong address (found \"%s\", allowed ADDRESS or ADDRESS:PORT)", from);
    if (chosen->port >= 0)
        *port = chosen->port;
    return PN_CLI_GO_ON;
}

/* The file of the keys; it must be readable, and where others reach the service, have a key. Caller frees *path. */
static int find_keys(const char *host, bool needed, char **path)
{
    struct pantry_error error = {0};
    struct pn_keys keys;
    if (pn_store_private_file("keys.json", path, &error) || pn_keys_open(&keys, *path, &error))
        return pn_cli_fail(&error);
    bool missing = needed && !keys.n;
    pn_keys_close(&keys);
    if (!missing)
        return PN_CLI_GO_ON;
    pn_cli_say_error("%s: other machines reach this address, and there are no keys: make one with `%s key add`, or let "
                     "everyone in with --public",
                     host, pn_cli_program());
    return PN_EXIT_FAILED;
}

/* Those of PANTRY_ORIGINS or OLLAMA_ORIGINS, with commas between them. Caller frees what they point into. */
static char *take_origins(const char **origins, size_t *n)
{
    const char *given = pn_cli_variable("PANTRY_ORIGINS", "OLLAMA_ORIGINS");
    char *copy = given ? strdup(given) : NULL, *rest = NULL;
    for (char *o = copy ? strtok_r(copy, ", ", &rest) : NULL; o && *n < MAX_ORIGINS; o = strtok_r(NULL, ", ", &rest))
        origins[(*n)++] = o;
    origins[*n] = NULL;
    return copy;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.port = -1, .keep_alive = DEFAULT_KEEP_ALIVE};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine};
    struct pn_arguments arguments;
    const char *origins[MAX_ORIGINS + 1] = {NULL};
    char host[PN_HOST_MAX];
    int port, status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "serve takes no argument");
    if ((status = listen_where(command, &chosen, host, &port)) != PN_CLI_GO_ON)
        return status;
    bool needs_key = !chosen.public && !pn_server_is_local(host);
    char *keys = NULL;
    if ((status = find_keys(host, needs_key, &keys)) != PN_CLI_GO_ON) {
        free(keys);
        return status;
    }
    size_t n_origins = chosen.origins.n;
    memcpy(origins, chosen.origins.item, n_origins * sizeof *origins);
    char *more = take_origins(origins, &n_origins);
    pantry_limit_memory(machine.memory);
    if (!(stop = pantry_cancel_new()))
        return pn_cli_no_memory();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct pn_server_options options = {
        .host = host,
        .port = (uint16_t)port,
        .models = {.model = machine.model,
                   .keep_alive = {.forever = chosen.keep_alive < 0, .seconds = chosen.keep_alive},
                   .max_loaded = chosen.max_loaded},
        .n_parallel = chosen.n_parallel,
        .read_seconds = chosen.read_seconds,
        .origins = origins,
        .keys = keys,
        .needs_key = needs_key,
        .quiet = chosen.quiet,
        .ready = say_ready,
        .stop = stop};
    struct pantry_error error = {0};
    status = pn_server_run(&options, &error) ? pn_cli_fail(&error) : PN_EXIT_DONE;
    pantry_cancel_free(stop);
    free(more);
    free(keys);
    return status;
}

const struct pn_command pn_cmd_serve = {
    .name = "serve",
    .usage = "[--host ADDRESS] [--port N]",
    .summary = "answer the APIs of Ollama, OpenAI and Anthropic",
    .about = "Listens on 127.0.0.1:11434 and loads the models of the store when a request asks for them. SIGINT and\n"
             "SIGTERM end it after the requests that run, ten seconds at most.",
    .example =
        "pantry serve\ncurl http://127.0.0.1:11434/api/chat -d '{\"model\": \"qwen2.5-coder:1.5b\", \"messages\": "
        "[{\"role\": \"user\", \"content\": \"Hello\"}]}'",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
