/* pantry serve: the service. */
#define _POSIX_C_SOURCE 200809L
#include "cli/address.h"
#include "cli/commands.h"
#include "cli/reread.h"
#include "cli/say.h"
#include "cli/setting_value.h"
#include "cli/settings.h"
#include "cli/unit.h"
#include "server/server.h"
#include "store/store.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chosen {
    bool install, uninstall, system, print;
    const char *manager;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("install", offsetof(struct chosen, install),
                "write a systemd unit, or a launchd property list on macOS, with the other options",
                .more = "It says which file it wrote and the command that starts the service."),
    PN_OPT_FLAG("uninstall", offsetof(struct chosen, uninstall), "remove that file"),
    PN_OPT_FLAG("system", offsetof(struct chosen, system), "of these: for the whole machine, and not for this user"),
    PN_OPT_FLAG("print", offsetof(struct chosen, print), "of these: only show the file"),
    PN_OPT_TEXT("manager", "NAME", offsetof(struct chosen, manager),
                "with --print: the file for systemd or launchd, whatever this system has",
                .choices = "systemd launchd"),
};

static pantry_cancel *stop, *reload;

static void on_signal(int number)
{
    pantry_cancel_set(number == SIGHUP ? reload : stop);
}

static void say_ready(void *user, const char *url)
{
    (void)user;
    printf("pantry listens on %s\n", url);
    fflush(stdout);
}

/* ---- where to listen ---- */

/* "unix:PATH", or an address with or without a port. */
static bool take_host(const char *text, char host[PN_HOST_MAX], int *port)
{
    if (strncmp(text, "unix:", 5) == 0)
        return snprintf(host, PN_HOST_MAX, "%s", text) < PN_HOST_MAX;
    return pn_cli_take_host(text, host, port);
}

/* A port goes before the host's where it comes from the same place or one that goes before the host's. */
static int listen_where(const struct pn_command *command, const struct pn_settings *s, char host[PN_HOST_MAX],
                        int *port)
{
    const struct pn_setting_value *given = &s->of[PN_SET_host], *number = &s->of[PN_SET_port];
    char origin[300];
    int own = -1;
    snprintf(host, PN_HOST_MAX, "127.0.0.1");
    if (!take_host(given->text, host, &own)) {
        pn_settings_origin(s, PN_SET_host, origin, sizeof origin);
        return pn_cli_misuse(command, "%s: wrong address (found \"%s\", allowed ADDRESS, ADDRESS:PORT or unix:PATH)",
                             origin, given->text);
    }
    *port = own < 0 ? PN_DEFAULT_PORT : own;
    if (*number->text && (own < 0 || number->source >= given->source))
        *port = (int)number->number;
    return PN_CLI_GO_ON;
}

/* ---- the rest ---- */

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

static struct pn_models_options models_of(const struct pn_settings *s)
{
    struct pn_models_options o = {.model = pantry_model_options_default(),
                                  .keep_alive = pn_setting_keep_alive(&s->of[PN_SET_keep_alive]),
                                  .max_loaded = pn_settings_int(s, PN_SET_max_loaded_models),
                                  .n_parallel = pn_settings_int(s, PN_SET_num_parallel),
                                  .load_seconds = s->of[PN_SET_load_timeout].number,
                                  .settings = s->models,
                                  .n_settings = s->n_models,
                                  .aliases = s->aliases,
                                  .n_aliases = s->n_aliases,
                                  .adapters = s->adapters,
                                  .n_adapters = s->n_adapters};
    o.model.device = pn_settings_text(s, PN_SET_device);
    o.model.gpu_layers = pn_settings_int(s, PN_SET_gpu_layers);
    o.model.isa = pn_settings_text(s, PN_SET_isa);
    o.model.n_threads = pn_settings_int(s, PN_SET_threads);
    o.model.n_context = pn_settings_int(s, PN_SET_context_length);
    /* a default stays one, as other devices than the CPU may have another */
    o.model.kv_type = s->of[PN_SET_kv_cache_type].source ? pn_settings_text(s, PN_SET_kv_cache_type) : NULL;
    return o;
}

/* Sets the folder of the prefix cache and cleans it. One that nobody asked for may fail. Caller frees *path. */
static int find_cache(const struct pn_settings *s, struct pantry_model_options *model, char **path)
{
    struct pantry_error error = {0};
    const char *given = pn_settings_text(s, PN_SET_cache);
    const struct pn_setting_value *size = &s->of[PN_SET_cache_size];
    *path = NULL;
    if (size->source && size->number == 0)
        return PN_CLI_GO_ON;
    if (given && !(*path = strdup(given)))
        return pn_cli_no_memory();
    model->cache_bytes = (uint64_t)size->number;
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

static struct pn_server_options options_of(const struct pn_settings *s)
{
    return (struct pn_server_options){
        .socket_mode = (unsigned)strtoul(s->of[PN_SET_socket_mode].text, NULL, 8),
        .tls_cert = pn_settings_text(s, PN_SET_tls_cert),
        .tls_key = pn_settings_text(s, PN_SET_tls_key),
        .models = models_of(s),
        .n_parallel = pn_settings_int(s, PN_SET_max_requests),
        .read_seconds = pn_settings_int(s, PN_SET_read_timeout),
        .per_address = pn_settings_int(s, PN_SET_connections_per_address),
        .origins = s->of[PN_SET_origins].list,
        .registries = s->of[PN_SET_registries].list,
        .quiet = pn_settings_bool(s, PN_SET_quiet),
        .debug = pn_settings_bool(s, PN_SET_debug),
        .sandbox = pn_settings_bool(s, PN_SET_sandbox),
        .folders = s->of[PN_SET_read_folders].list,
        .ready = say_ready,
    };
}

/* What counts from now on, or for models loaded from now on. */
static pantry_status reread(void *user, struct pn_server_options *next, json_t **report, struct pantry_error *err)
{
    struct pn_reread *r = user;
    pantry_status status = pn_reread_settings(r, report, err);
    if (status)
        return status;
    struct pn_server_options fresh = options_of(r->now);
    fresh.models.model.cache_dir = next->models.model.cache_dir;
    fresh.models.model.cache_bytes = next->models.model.cache_bytes;
    next->models = fresh.models;
    next->origins = fresh.origins;
    next->registries = fresh.registries;
    next->n_parallel = fresh.n_parallel;
    next->quiet = fresh.quiet;
    next->debug = fresh.debug;
    pantry_limit_memory((uint64_t)r->now->of[PN_SET_memory].number);
    return PANTRY_OK;
}

static int check_tls(const struct pn_command *command, const struct pn_settings *s)
{
    bool cert = pn_settings_text(s, PN_SET_tls_cert), key = pn_settings_text(s, PN_SET_tls_key);
    return cert == key ? PN_CLI_GO_ON : pn_cli_misuse(command, "--tls-cert and --tls-key belong together");
}

static int serve(const struct pn_settings *s, struct pn_server_options *options)
{
    struct pantry_error error = {0};
    pantry_limit_memory((uint64_t)s->of[PN_SET_memory].number);
    setenv("PANTRY_FOREIGN", pn_settings_bool(s, PN_SET_foreign) ? "1" : "0", 1); /* which the store reads */
    stop = pantry_cancel_new();
    reload = pantry_cancel_new();
    if (!stop || !reload)
        return pn_cli_no_memory();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    options->stop = stop;
    options->reload = reload;
    int status = pn_server_run(options, &error) ? pn_cli_fail(&error) : PN_EXIT_DONE;
    pantry_cancel_free(stop);
    pantry_cancel_free(reload);
    return status;
}

static int run_with(const struct pn_command *command, const struct pn_settings *s,
                    const struct pn_settings_given *given)
{
    struct pn_server_options options = options_of(s);
    struct pn_reread again = {.given = given, .start = s, .now = s};
    struct pantry_error error = {0};
    char host[PN_HOST_MAX], *keys = NULL, *said = NULL, *cache = NULL;
    if (pn_settings_text(s, PN_SET_models))
        setenv("PANTRY_MODELS", pn_settings_text(s, PN_SET_models), 1); /* which the store reads */
    int port = PN_DEFAULT_PORT, status = check_tls(command, s);
    if (status == PN_CLI_GO_ON)
        status = listen_where(command, s, host, &port);
    if (status != PN_CLI_GO_ON)
        return status;
    options.port = (uint16_t)port;
    if (pn_server_inherited(&options.fd, host, &options.port, &error))
        return pn_cli_fail(&error);
    options.host = host;
    options.needs_key = !pn_settings_bool(s, PN_SET_public) && !pn_server_is_local(host);
    status = find_keys(host, options.needs_key, &keys);
    if (status == PN_CLI_GO_ON)
        status = find_cache(s, &options.models.model, &cache);
    pn_store_private_file("cache/turns", &said, NULL); /* without it they are in memory only */
    options.keys = keys;
    options.said = said;
    options.config = s->file;
    options.reread = reread;
    options.user = &again;
    if (status == PN_CLI_GO_ON)
        status = serve(s, &options);
    pn_reread_free(&again);
    free(keys);
    free(said);
    free(cache);
    return status;
}

/* The arguments without those of --install itself. Those that are kept move to the front of `argv`. */
static int keep_arguments(int argc, char **argv)
{
    int n = 0;
    for (int i = 0; i < argc; i++) {
        const struct pn_option *own = NULL;
        for (size_t o = 0; o < sizeof table / sizeof *table; o++) {
            size_t len = strlen(table[o].name);
            bool same = strncmp(argv[i], "--", 2) == 0 && strncmp(argv[i] + 2, table[o].name, len) == 0;
            if (same && (argv[i][2 + len] == '\0' || argv[i][2 + len] == '='))
                own = &table[o];
        }
        if (!own)
            argv[n++] = argv[i];
        else
            i += own->value && !strchr(argv[i], '=');
    }
    return n;
}

static int install(const struct pn_command *command, const struct chosen *chosen, char **arguments, int n)
{
    struct pn_unit unit = {.system = chosen->system, .print = chosen->print, .arguments = arguments, .n = n};
    unit.launchd = chosen->manager ? strcmp(chosen->manager, "launchd") == 0 : pn_unit_is_launchd();
    if (chosen->install && chosen->uninstall)
        return pn_cli_misuse(command, "--install and --uninstall exclude each other");
    if (chosen->manager && !chosen->print)
        return pn_cli_misuse(command, "--manager needs --print");
    if (!chosen->install && !chosen->uninstall)
        return pn_cli_misuse(command, "--system and --print belong to --install and --uninstall");
    if (chosen->uninstall && n)
        return pn_cli_misuse(command, "--uninstall takes no options of the service");
    return chosen->install ? pn_unit_install(&unit) : pn_unit_remove(&unit);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_settings_given given = {0};
    struct pn_settings settings;
    void *const targets[] = {&chosen, &given};
    struct pn_arguments arguments;
    struct pantry_error error = {0};
    char **copy = calloc((size_t)argc + 1, sizeof *copy); /* parsing reorders argv */
    if (!copy)
        return pn_cli_no_memory();
    memcpy(copy, argv + 1, (size_t)(argc - 1) * sizeof *copy);
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status == PN_CLI_GO_ON && arguments.n)
        status = pn_cli_misuse(command, "serve takes no argument");
    bool manages = chosen.install || chosen.uninstall || chosen.system || chosen.print || chosen.manager;
    int n_kept = keep_arguments(argc - 1, copy);
    if (status != PN_CLI_GO_ON) {
        free(copy);
        return status;
    }
    if (pn_settings_read(&settings, &given, &error))
        status = strncmp(error.text, "--", 2) == 0 ? pn_cli_misuse(command, "%s", error.text) : pn_cli_fail(&error);
    else
        status = manages ? install(command, &chosen, copy, n_kept) : run_with(command, &settings, &given);
    pn_settings_free(&settings);
    free(copy);
    return status;
}

const struct pn_command pn_cmd_serve = {
    .name = "serve",
    .usage = "[--host ADDRESS] [--port N]",
    .summary = "answer the APIs of Ollama, OpenAI and Anthropic",
    .about = "Listens on 127.0.0.1:11434 and loads the models of the store when a request asks for them. SIGINT and\n"
             "SIGTERM end it after the requests that run, ten seconds at most; SIGHUP reads the settings again, and\n"
             "the log says what needs a restart. Every option is also a key of ~/.pantry/config.toml and a variable:\n"
             "see `pantry config`.",
    .example =
        "pantry serve\ncurl http://127.0.0.1:11434/api/chat -d '{\"model\": \"qwen2.5-coder:1.5b\", \"messages\": "
        "[{\"role\": \"user\", \"content\": \"Hello\"}]}'",
    .options = {PN_OPTIONS(NULL, table), PN_SETTINGS_OPTIONS},
    .run = run,
    .no_store = true,
};
