/* pantry key: the API keys of the service. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"
#include "cli/say.h"
#include "server/keys.h"
#include "store/store.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chosen {
    const char *scope;
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("scope", "SCOPE", offsetof(struct chosen, scope), "what a new key allows: infer or manage",
                .more = "`manage` also allows `/api/pull` and `/metrics`. Without it, `infer`."),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the list as JSON"),
};

static int add(const struct pn_command *command, const char *path, const char *name, const char *scope_name)
{
    struct pantry_error error = {0};
    struct pn_key key;
    char text[PN_KEY_TEXT + 1];
    enum pn_scope scope = PN_SCOPE_INFER;
    if (scope_name && !pn_scope_parse(scope_name, &scope))
        return pn_cli_misuse(command, "--scope: unknown (found \"%s\", allowed infer or manage)", scope_name);
    if (pn_keys_add(path, name, scope, &key, text, &error))
        return pn_cli_fail(&error);
    fprintf(stderr, "New key %s with the scope %s; it is shown only now:\n", key.name, pn_scope_name(key.scope));
    puts(text);
    OPENSSL_cleanse(text, sizeof text);
    return PN_EXIT_DONE;
}

static void put_time(int64_t unix_time, char out[32])
{
    time_t when = (time_t)unix_time;
    struct tm tm;
    out[0] = '\0';
    if (gmtime_r(&when, &tm))
        strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int list(const char *path, bool json)
{
    struct pantry_error error = {0};
    struct pn_keys keys;
    char when[32];
    if (pn_keys_open(&keys, path, &error))
        return pn_cli_fail(&error);
    json_t *rows = json ? json_array() : NULL;
    if (!json)
        printf("%-24s %-7s %-21s %s\n", "NAME", "SCOPE", "CREATED", "KEY");
    for (size_t i = 0; i < keys.n; i++) {
        const struct pn_key *k = &keys.key[i];
        put_time(k->created, when);
        if (json)
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "name", k->name, "scope",
                                                  pn_scope_name(k->scope), "created", when, "last", k->last));
        else
            printf("%-24s %-7s %-21s ...%s\n", k->name, pn_scope_name(k->scope), when, k->last);
    }
    pn_keys_close(&keys);
    return json ? pn_cli_put_json(rows) : PN_EXIT_DONE;
}

static int change(const struct pn_command *command, const struct chosen *chosen, const struct pn_arguments *arguments,
                  const char *path)
{
    struct pantry_error error = {0};
    const char *action = arguments->text[0], *name = arguments->n > 1 ? arguments->text[1] : NULL;
    bool adds = strcmp(action, "add") == 0, lists = strcmp(action, "list") == 0;
    if (!adds && !lists && strcmp(action, "rm") != 0)
        return pn_cli_misuse(command, "no action \"%s\" (allowed add, list, rm)", action);
    if (chosen->scope && !adds)
        return pn_cli_misuse(command, "only `key add` takes --scope");
    if (chosen->json && !lists)
        return pn_cli_misuse(command, "only `key list` takes --json");
    if (adds)
        return add(command, path, name, chosen->scope);
    if (lists)
        return name ? pn_cli_misuse(command, "`key list` takes no NAME") : list(path, chosen->json);
    if (!name)
        return pn_cli_misuse(command, "`key rm` needs a NAME");
    return pn_keys_remove(path, name, &error) ? pn_cli_fail(&error) : PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    struct pantry_error error = {0};
    char *path = NULL;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1 || arguments.n > 2)
        return pn_cli_misuse(command, "key needs add, list or rm, and one NAME at most");
    if (pn_store_private_file("keys.json", &path, &error))
        return pn_cli_fail(&error);
    status = change(command, &chosen, &arguments, path);
    free(path);
    return status;
}

const struct pn_command pn_cmd_key = {
    .name = "key",
    .usage = "add|list|rm [NAME] [--scope infer|manage]",
    .summary = "add, list and remove the API keys of the service",
    .about = "Once there is a key, every request to `pantry serve` needs one, as \"Authorization: Bearer KEY\" or\n"
             "\"x-api-key: KEY\". A running service follows changes at once.",
    .example = "pantry key add laptop\npantry key add admin --scope manage\npantry key list\npantry key rm laptop",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
