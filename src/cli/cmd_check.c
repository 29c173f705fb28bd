/* pantry check: is a model file complete and well-formed? */
#include "cli/commands.h"
#include "cli/say.h"
#include "pantry.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

struct chosen {
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("json", offsetof(struct chosen, json),
                "print a JSON list: [{\"file\": ..., \"ok\": ..., \"error\": ...}]"),
};

/* Errors usually begin with the file's path, which the line already shows. */
static const char *without_path(const char *text, const char *path)
{
    const char *name = strrchr(path, '/');
    const char *const prefixes[] = {path, name ? name + 1 : path};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(text, prefixes[i], len) == 0 && strncmp(text + len, ": ", 2) == 0)
            return text + len + 2;
    }
    return text;
}

static void put_result(const char *path, const char *error)
{
    pn_cli_put_untrusted(stdout, path, strlen(path));
    if (error) {
        fputs(": error: ", stdout);
        pn_cli_put_untrusted(stdout, error, strlen(error));
        putchar('\n');
    } else {
        puts(": ok");
    }
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
        return pn_cli_misuse(command, "check needs a FILE or a MODEL");

    json_t *list = chosen.json ? json_array() : NULL;
    int n_bad = 0;
    for (int i = 0; i < arguments.n; i++) {
        const char *path = arguments.text[i], *text = NULL;
        struct pantry_error error = {0};
        struct pantry_error unresolved = {0};
        char *file = NULL;
        if (pn_store_resolve(path, &file, &unresolved) != PANTRY_OK)
            text = without_path(unresolved.text, path);
        else if (pantry_check(file, &error) != PANTRY_OK)
            text = without_path(error.text[0] ? error.text : pantry_status_text(error.status), file);
        n_bad += text != NULL;
        free(file);
        if (!chosen.json) {
            put_result(path, text);
            fflush(stdout);
            continue;
        }
        json_t *row = json_pack("{s:o, s:b}", "file", pn_cli_json_text(path, strlen(path)), "ok", !text);
        if (row && text)
            json_object_set_new(row, "error", pn_cli_json_text(text, strlen(text)));
        json_array_append_new(list, row);
    }
    if (chosen.json && (status = pn_cli_put_json(list)) != PN_EXIT_DONE)
        return status;
    if (n_bad)
        pn_cli_say_error("%d of %d file%s %s bad", n_bad, arguments.n, arguments.n == 1 ? "" : "s",
                         n_bad == 1 ? "is" : "are");
    return n_bad ? PN_EXIT_FAILED : PN_EXIT_DONE;
}

const struct pn_command pn_cmd_check = {
    .name = "check",
    .usage = "FILE|MODEL... [--json]",
    .summary = "check that model files are complete and well-formed",
    .about =
        "Reads all headers and checks every count, offset and name; loads nothing. Prints `FILE: ok` or\n"
        "`FILE: error: ...` for each file. The exit status is 1 if any file is bad. A MODEL is a name in the store;\n"
        "nothing is fetched.",
    .example = "pantry check ~/Downloads/*.gguf\n"
               "pantry check smollm2:135m",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
