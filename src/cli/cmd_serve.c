/* pantry serve: the service. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"
#include "server/server.h"
#include "store/store.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PORT = 11434, DEFAULT_KEEP_ALIVE = 300, MAX_ORIGINS = 64 };

struct chosen {
    const char *host;
    int port, keep_alive, max_loaded, n_parallel, read_seconds;
    struct pn_text_list origins;
    const char *cache_dir;
    uint64_t cache_bytes;
    bool quiet, public;
};
static const uint64_t not_given = UINT64_MAX;

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
    PN_OPT_TEXT("cache-dir", "DIR", offsetof(struct chosen, cache_dir),
                "keep the beginnings of prompts in that folder when memory does not, also for the next start",
                .more = "Without it, in PANTRY_CACHE, or cache in the folder of the store."),
    PN_OPT_SIZE("cache-size", "SIZE", offsetof(struct chosen, cache_bytes),
                "most bytes in that folder; 0: keep nothing there",
                .more = "Without it, 8 GiB, but at most a tenth of what is free."),
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

/* The first that is set, of two names of a variable. */
static const char *variable(const char *ours, const char *theirs)
{
    const char *v = getenv(ours);
    v = v && *v ? v : getenv(theirs);
    return v && *v ? v : NULL;
}

/* "127.0.0.1:11434", "0.0.0.0", ":8080", "http://[::1]:11434": the address goes to `host`, the port to *port. */
static bool take_host(const char *text, char host[256], int *port)
{
    const char *end, *colon;
    if (strncmp(text, "http://", 7) == 0)
        text += 7;
    size_t n = strcspn(text, "/");
    if (*text == '[') {
        if (!(end = memchr(text, ']', n)))
            return false;
        text++;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = memchr(text, ':', n);
        end = colon ? colon : text + n;
        if (colon && strchr(colon + 1, ':')) { /* an IPv6 address without brackets */
            end = text + n;
            colon = NULL;
        }
    }
    if (end - text >= 256)
        return false;
    if (end > text)
        snprintf(host, 256, "%.*s", (int)(end - text), text);
    return !colon || pn_cli_parse_int(colon + 1, 0, 65535, port);
}

static int listen_where(const struct pn_command *command, const struct chosen *chosen, char host[256], int *port)
{
    const char *from = chosen->host ? chosen->host : variable("PANTRY_HOST", "OLLAMA_HOST");
    snprintf(host, 256, "127.0.0.1");
    *port = DEFAULT_PORT;
    if (from && !take_host(from, host, port))
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
    const char *given = variable("PANTRY_ORIGINS", "OLLAMA_ORIGINS");
    char *copy = given ? strdup(given) : NULL, *rest = NULL;
    for (char *o = copy ? strtok_r(copy, ", ", &rest) : NULL; o && *n < MAX_ORIGINS; o = strtok_r(NULL, ", ", &rest))
        origins[(*n)++] = o;
    origins[*n] = NULL;
    return copy;
}

/* Sets the folder of the prefix cache and cleans it. One that nobody asked for may fail. Caller frees *path. */
static int find_cache(const struct chosen *chosen, struct pantry_model_options *model, char **path)
{
    struct pantry_error error = {0};
    const char *given = chosen->cache_dir ? chosen->cache_dir : variable("PANTRY_CACHE", "PANTRY_CACHE");
    if (!chosen->cache_bytes)
        return PN_CLI_GO_ON;
    if (given && !(*path = strdup(given)))
        return pn_cli_no_memory();
    model->cache_bytes = chosen->cache_bytes == not_given ? 0 : chosen->cache_bytes;
    pantry_status status = given ? PANTRY_OK : pn_store_private_file("cache", path, &error);
    if (!status)
        status = pantry_cache_trim(*path, model->cache_bytes, NULL, &error);
    if (status && given)
        return pn_cli_fail(&error);
    if (status)
        pn_cli_say_error("%s; beginnings of prompts are kept in memory only", error.text);
    model->cache_dir = status ? NULL : *path;
    return PN_CLI_GO_ON;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.port = -1, .keep_alive = DEFAULT_KEEP_ALIVE, .cache_bytes = not_given};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine};
    struct pn_arguments arguments;
    const char *origins[MAX_ORIGINS + 1] = {NULL};
    char host[256];
    int port, status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n)
        return pn_cli_misuse(command, "serve takes no argument");
    if ((status = listen_where(command, &chosen, host, &port)) != PN_CLI_GO_ON)
        return status;
    bool needs_key = !chosen.public && !pn_server_is_local(host);
    char *keys = NULL, *cache = NULL;
    if ((status = find_keys(host, needs_key, &keys)) != PN_CLI_GO_ON ||
        (status = find_cache(&chosen, &machine.model, &cache)) != PN_CLI_GO_ON) {
        free(keys);
        free(cache);
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
    free(cache);
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
