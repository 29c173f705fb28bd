/* pantry show: describe a model, in sections made from the library's description of the file. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct chosen {
    bool json, modelfile, parameters, template, system, license, tensors, metadata;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("modelfile", offsetof(struct chosen, modelfile), "print a Modelfile that makes this model"),
    PN_OPT_FLAG("parameters", offsetof(struct chosen, parameters), "print the parameters that the model sets"),
    PN_OPT_FLAG("template", offsetof(struct chosen, template), "print the chat template"),
    PN_OPT_FLAG("system", offsetof(struct chosen, system), "print the system message that the model sets"),
    PN_OPT_FLAG("license", offsetof(struct chosen, license), "print the licence"),
    PN_OPT_FLAG("tensors", offsetof(struct chosen, tensors), "list the tensors"),
    PN_OPT_FLAG("metadata", offsetof(struct chosen, metadata), "list all metadata"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print everything as one JSON value"),
};

/* ---- printing ---- */

static void heading(const char *title)
{
    printf("%s%s%s\n", pn_term_style(stdout, PN_STYLE_BOLD), title, pn_term_style(stdout, PN_STYLE_OFF));
}

static void put_shown(const char *text)
{
    pn_cli_put_untrusted(stdout, text, strlen(text));
}

static void put_row(const char *name, const char *value)
{
    printf("  %-32s ", name);
    put_shown(value);
    putchar('\n');
}

/* "attention.head_count" -> "attention head count" */
static void put_value(const char *key, const json_t *value)
{
    struct pn_number number;
    char name[64], text[64];
    snprintf(name, sizeof name, "%s", key);
    for (char *p = name; *p; p++)
        if (*p == '_' || *p == '.')
            *p = ' ';
    if (json_is_string(value)) {
        put_row(name, json_string_value(value));
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        put_row(name, pn_cli_grouped(&number, (unsigned long long)json_integer_value(value)));
    } else if (json_is_number(value)) {
        snprintf(text, sizeof text, "%g", json_number_value(value));
        put_row(name, text);
    } else if (json_is_boolean(value)) {
        put_row(name, json_is_true(value) ? "yes" : "no");
    } else {
        char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        put_row(name, dump ? dump : "");
        free(dump);
    }
}

static unsigned long long count_of(const json_t *root, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(root, key));
    return n > 0 ? (unsigned long long)n : 0;
}

/* "q4_1 210 tensors, f32 61" with the largest share first. */
static void put_types(const json_t *types)
{
    struct pn_number bytes;
    const char *name;
    json_t *type;
    char line[512] = "";
    size_t used = 0;
    unsigned long long below = UINT64_MAX;
    for (size_t round = 0; round < json_object_size(types); round++) {
        unsigned long long best = 0;
        json_object_foreach((json_t *)types, name, type)
        {
            unsigned long long size = count_of(type, "bytes");
            if (size < below && size > best)
                best = size;
        }
        json_object_foreach((json_t *)types, name, type)
        {
            if (count_of(type, "bytes") != best || used >= sizeof line - 80 || strlen(name) > 20)
                continue;
            used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %s", used ? ", " : "", name,
                                     pn_cli_bytes(&bytes, best));
        }
        if (!best)
            break;
        below = best;
    }
    put_row("types", line);
}

/* A decoder without a chat template is a base model; an encoder is neither. */
static void put_kind(const json_t *root)
{
    if (json_is_string(json_object_get(root, "template")))
        put_row("kind", "chat model");
    else if (json_is_true(json_object_get(root, "runs")))
        put_row("kind", "base model: no chat template, it continues texts");
}

/* Files that the model carries besides its weights. */
static void put_files(const json_t *root, const char *key, const char *name)
{
    size_t i;
    json_t *path;
    json_array_foreach(json_object_get(root, key), i, path) put_row(name, json_string_value(path));
}

static void put_model(const json_t *root, uint64_t bytes)
{
    static const char *const first[] = {"name", "architecture", "format"};
    struct pn_number number;
    heading("Model");
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        const char *text = json_string_value(json_object_get(root, first[i]));
        if (text && *text)
            put_row(first[i], text);
    }
    if (count_of(root, "n_params"))
        put_row("parameters", pn_cli_count(&number, count_of(root, "n_params")));
    if (bytes || count_of(root, "size_bytes"))
        put_row("size", pn_cli_bytes(&number, bytes ? bytes : count_of(root, "size_bytes")));
    put_kind(root);
    if (json_object_size(json_object_get(root, "types")))
        put_types(json_object_get(root, "types"));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, "hyperparameters"), key, value) put_value(key, value);
    value = json_object_get(root, "runs");
    if (json_is_string(value))
        put_row("runs here", json_string_value(value));
    put_files(root, "adapters", "adapter");
    put_files(root, "drafts", "draft (not used yet)");
}

static void put_tokenizer(const json_t *root)
{
    const char *key;
    json_t *value, *tokenizer = json_object_get(root, "tokenizer");
    if (!json_object_size(tokenizer))
        return;
    putchar('\n');
    heading("Tokenizer");
    json_object_foreach(tokenizer, key, value) put_value(key, value);
}

/* The first lines of a long text. */
static void put_beginning(const char *text, const char *option)
{
    int lines = 0;
    size_t n = 0;
    while (text[n] && lines < 6 && n < 600)
        lines += text[n++] == '\n';
    while (n && ((unsigned char)text[n] & 0xC0) == 0x80) /* not in the middle of a character */
        n--;
    fputs("  ", stdout);
    for (size_t i = 0; i < n; i++) {
        size_t line = strcspn(text + i, "\n");
        if (line > n - i)
            line = n - i;
        pn_cli_put_untrusted(stdout, text + i, line);
        i += line;
        if (i < n)
            fputs(i + 1 < n ? "\n  " : "", stdout);
    }
    putchar('\n');
    if (text[n])
        printf("  %s... (%s prints all)%s\n", pn_term_style(stdout, PN_STYLE_DIM), option,
               pn_term_style(stdout, PN_STYLE_OFF));
}

static void put_text_section(const json_t *root, const char *title, const char *key, const char *option)
{
    const char *text = json_string_value(json_object_get(root, key));
    if (!text || !*text)
        return;
    putchar('\n');
    heading(title);
    put_beginning(text, option);
}

static void put_tensors(const json_t *root)
{
    size_t i, k;
    json_t *tensor, *size;
    json_array_foreach(json_object_get(root, "tensors"), i, tensor)
    {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        const char *type = json_string_value(json_object_get(tensor, "type"));
        printf("%-9s (", type ? type : "?");
        json_array_foreach(json_object_get(tensor, "shape"), k, size)
            printf(k ? ", %lld" : "%lld", (long long)json_integer_value(size));
        fputs(") ", stdout);
        put_shown(name ? name : "");
        putchar('\n');
    }
}

static void put_metadata(const json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, "metadata"), key, value)
    {
        char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        put_shown(key);
        fputs(" = ", stdout);
        put_shown(dump ? dump : "");
        putchar('\n');
        free(dump);
    }
}

static int put_whole(const json_t *root, const char *key, const char *none)
{
    const json_t *value = json_object_get(root, key);
    if (!json_is_string(value)) {
        pn_cli_say_error("%s", none);
        return PN_EXIT_FAILED;
    }
    pn_cli_put_untrusted(stdout, json_string_value(value), json_string_length(value));
    if (pn_term_is(stdout))
        putchar('\n');
    return PN_EXIT_DONE;
}

/* ---- the command ---- */

static void put_sections(const json_t *root, uint64_t bytes)
{
    put_model(root, bytes);
    put_tokenizer(root);
    put_text_section(root, "System", "system", "--system");
    put_text_section(root, "Parameters", "parameters", "--parameters");
    put_text_section(root, "Template", "template", "--template");
    bool whole = json_is_string(json_object_get(root, "license_text"));
    put_text_section(root, "License", whole ? "license_text" : "license", "--license");
}

static void set_text(json_t *root, const char *key, char *text)
{
    if (text && *text)
        json_object_set_new(root, key, json_string(text));
    free(text);
}

/* What the store's manifest adds to the description of the file, or replaces in it. */
static void overlay(json_t *root, const char *name, const char *path, const struct pn_carried *carried)
{
    const char *template = pn_carried_template(carried, json_string_value(json_object_get(root, "template")));
    if (template)
        json_object_set_new(root, "template", json_string(template));
    if (carried->system)
        json_object_set_new(root, "system", json_string(carried->system));
    if (carried->messages)
        json_object_set(root, "messages", carried->messages);
    if (carried->adapters)
        json_object_set(root, "adapters", carried->adapters);
    if (carried->drafts)
        json_object_set(root, "drafts", carried->drafts);
    set_text(root, "license_text", pn_carried_license(carried));
    set_text(root, "parameters", pn_carried_parameters(carried));
    set_text(root, "modelfile",
             pn_carried_modelfile(carried, name, path, json_string_value(json_object_get(root, "template"))));
}

/* The description of a MODEL, with what it carries. */
static int describe(const char *name, json_t **root)
{
    struct pantry_error error = {0};
    struct pn_carried carried = {0};
    char *text = NULL, *path = NULL;
    int status = pn_cli_find_model(name, &path);
    if (status == PN_EXIT_DONE &&
        (pantry_describe(path, &text, &error) != PANTRY_OK || pn_carried_find(name, &carried, &error) != PANTRY_OK))
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE && !(*root = json_loads(text, JSON_ALLOW_NUL, NULL)))
        status = pn_cli_no_memory();
    if (status == PN_EXIT_DONE)
        overlay(*root, name, path, &carried);
    pantry_free(text);
    pn_carried_free(&carried);
    free(path);
    return status;
}

/* The same of a service on another machine, if that is meant; a file is always one of this machine. */
static int find_description(const char *name, json_t **root, uint64_t *bytes)
{
    struct pn_client client;
    struct stat st;
    bool elsewhere = false;
    int status = stat(name, &st) == 0 ? PN_CLI_GO_ON : pn_client_elsewhere(&client, &elsewhere);
    if (status != PN_CLI_GO_ON)
        return status;
    if (elsewhere)
        return pn_remote_show(&client, name, root, bytes);
    status = describe(name, root);
    *bytes = status == PN_EXIT_DONE ? pn_cli_model_bytes(name) : 0;
    return status;
}

int pn_cli_show_model(const char *name)
{
    json_t *root = NULL;
    int status = describe(name, &root);
    if (root)
        put_sections(root, pn_cli_model_bytes(name));
    json_decref(root);
    return status;
}

static int put_chosen(const struct chosen *chosen, const json_t *root)
{
    if (chosen->modelfile)
        return put_whole(root, "modelfile", "");
    if (chosen->parameters)
        return put_whole(root, "parameters", "this model sets no parameters");
    if (chosen->template)
        return put_whole(root, "template", "this model has no chat template");
    if (chosen->system)
        return put_whole(root, "system", "this model sets no system message");
    if (json_object_get(root, "license_text"))
        return put_whole(root, "license_text", "");
    return put_whole(root, "license", "this model does not name a licence");
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
        return pn_cli_misuse(command, "show needs one MODEL");
    bool text = chosen.modelfile || chosen.parameters || chosen.template || chosen.system || chosen.license;
    if (chosen.json + chosen.tensors + chosen.metadata + chosen.modelfile + chosen.parameters + chosen.template +
            chosen.system + chosen.license >
        1)
        return pn_cli_misuse(command, "show takes one of --modelfile, --parameters, --template, --system, --license, "
                                      "--tensors, --metadata and --json");

    json_t *root = NULL;
    uint64_t bytes = 0;
    status = find_description(arguments.text[0], &root, &bytes);
    if (status == PN_EXIT_DONE && chosen.json)
        status = pn_cli_put_json(json_incref(root));
    else if (status == PN_EXIT_DONE && text)
        status = put_chosen(&chosen, root);
    else if (status == PN_EXIT_DONE && chosen.tensors)
        put_tensors(root);
    else if (status == PN_EXIT_DONE && chosen.metadata)
        put_metadata(root);
    else if (status == PN_EXIT_DONE)
        put_sections(root, bytes);
    json_decref(root);
    return status;
}

const struct pn_command pn_cmd_show = {
    .name = "show",
    .usage = "MODEL [--modelfile | --parameters | --template | --system | --license | --tensors | --metadata | --json]",
    .summary = "describe a model",
    .about = "Prints architecture, sizes, storage types, hyper-parameters, tokenizer, template and licence, what a\n"
             "Modelfile has set, and whether the model is a chat or a base model; or one of them in full.",
    .example = "pantry show smollm2:135m",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
