/* pantry config: the settings of the service, and where each comes from. */
#include "cli/commands.h"
#include "cli/say.h"
#include "cli/settings.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chosen {
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the settings as JSON"),
};

/* ---- as JSON ---- */

static json_t *value_json(const struct pn_setting *s, const struct pn_setting_value *v)
{
    json_t *list;
    switch (s->kind) {
    case PN_SETTING_FLAG:
    case PN_SETTING_OFF:
        return json_boolean(v->number != 0);
    case PN_SETTING_INT:
        return *v->text ? json_integer((json_int_t)v->number) : json_null();
    case PN_SETTING_SIZE:
        return json_integer((json_int_t)v->number);
    case PN_SETTING_SECONDS:
    case PN_SETTING_KEEP_ALIVE:
        return json_real(v->number);
    case PN_SETTING_LIST:
        list = json_array();
        for (size_t i = 0; v->list[i]; i++)
            json_array_append_new(list, json_string(v->list[i]));
        return list;
    case PN_SETTING_TEXT:
        break;
    }
    return *v->text ? json_string(v->text) : json_null();
}

static json_t *setting_json(const struct pn_settings *settings, enum pn_setting_id id)
{
    const struct pn_setting *s = &pn_settings_table[id];
    char origin[512], variable[64];
    pn_settings_origin(settings, id, origin, sizeof origin);
    pn_settings_variable(s, variable);
    json_t *v = json_pack("{s:o, s:s, s:s, s:s+, s:s, s:s}", "value", value_json(s, &settings->of[id]), "from", origin,
                          "variable", variable, "option", "--", s->option, "default", s->fallback, "help", s->help);
    if (s->ollama)
        json_object_set_new(v, "ollama", json_pack("s+", "OLLAMA_", s->ollama));
    return v;
}

static json_t *model_json(const struct pn_model_settings *m)
{
    json_t *v = json_object();
    if (m->n_context)
        json_object_set_new(v, "context", json_integer(m->n_context));
    if (m->kv_type)
        json_object_set_new(v, "kv_type", json_string(m->kv_type));
    if (m->device)
        json_object_set_new(v, "device", json_string(m->device));
    if (m->n_threads)
        json_object_set_new(v, "threads", json_integer(m->n_threads));
    if (m->has_keep_alive)
        json_object_set_new(v, "keep_alive", json_real(m->keep_alive.forever ? -1 : m->keep_alive.seconds));
    if (m->system)
        json_object_set_new(v, "system", json_string(m->system));
    if (m->pin)
        json_object_set_new(v, "pin", json_true());
    if (m->parameters)
        json_object_set(v, "parameters", m->parameters);
    return v;
}

static int put_json(const struct pn_settings *s)
{
    json_t *settings = json_object(), *models = json_object(), *aliases = json_object(), *adapters = json_array();
    for (int id = 0; id < PN_N_SETTINGS; id++)
        json_object_set_new(settings, pn_settings_table[id].key, setting_json(s, (enum pn_setting_id)id));
    for (size_t i = 0; i < s->n_models; i++)
        json_object_set_new(models, s->models[i].name, model_json(&s->models[i]));
    for (size_t i = 0; i < s->n_aliases; i++)
        json_object_set_new(aliases, s->aliases[i].name, json_string(s->aliases[i].model));
    for (size_t i = 0; i < s->n_adapters; i++)
        json_array_append_new(adapters, json_pack("{s:s, s:s, s:s*}", "name", s->adapters[i].name, "path",
                                                  s->adapters[i].path, "model", s->adapters[i].model));
    return pn_cli_put_json(json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "file", s->file, "exists", s->has_file,
                                     "settings", settings, "models", models, "aliases", aliases, "adapters", adapters));
}

/* ---- as text ---- */

static void put_text(const struct pn_settings *s)
{
    char origin[512];
    printf("%-24s %-26s %s\n", "KEY", "VALUE", "FROM");
    for (int id = 0; id < PN_N_SETTINGS; id++) {
        pn_settings_origin(s, (enum pn_setting_id)id, origin, sizeof origin);
        printf("%-24s %-26s %s\n", pn_settings_table[id].key, s->of[id].text, origin);
    }
    for (size_t i = 0; i < s->n_models; i++) {
        json_t *v = model_json(&s->models[i]);
        char *text = json_dumps(v, JSON_COMPACT);
        printf("\n[models.\"%s\"]\n%s\n", s->models[i].name, text ? text : "");
        free(text);
        json_decref(v);
    }
    if (s->n_aliases)
        printf("\n[aliases]\n");
    for (size_t i = 0; i < s->n_aliases; i++)
        printf("%s = %s\n", s->aliases[i].name, s->aliases[i].model);
    if (s->n_adapters)
        printf("\n[adapters]\n");
    for (size_t i = 0; i < s->n_adapters; i++)
        printf("%s = %s%s%s\n", s->adapters[i].name, s->adapters[i].path, s->adapters[i].model ? ", for " : "",
               s->adapters[i].model ? s->adapters[i].model : "");
    printf("\n%s%s\n", s->file, s->has_file ? "" : " does not exist");
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_settings_given given = {0};
    struct pn_settings settings;
    void *const targets[] = {&chosen, &given};
    struct pn_arguments arguments;
    struct pantry_error error = {0};
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    bool check = arguments.n == 1 && strcmp(arguments.text[0], "check") == 0;
    if (arguments.n && !check)
        return pn_cli_misuse(command, "no action \"%s\" (allowed check, or none)", arguments.text[0]);
    if (check && chosen.json)
        return pn_cli_misuse(command, "`config check` takes no --json");
    status = PN_EXIT_DONE;
    if (pn_settings_read(&settings, &given, &error))
        status = pn_cli_fail(&error);
    else if (check)
        puts("ok");
    else if (chosen.json)
        status = put_json(&settings);
    else
        put_text(&settings);
    pn_settings_free(&settings);
    return status;
}

const struct pn_command pn_cmd_config = {
    .name = "config",
    .usage = "[check] [--json]",
    .summary = "show the settings of the service and where each comes from",
    .about =
        "Reads ~/.pantry/config.toml (PANTRY_CONFIG names another file) and the environment, as `pantry serve` does.\n"
        "`check` prints ok, or the first mistake with its file, line and key.",
    .example = "pantry config\npantry config check",
    .options = {PN_OPTIONS(NULL, table), PN_SETTINGS_OPTIONS},
    .run = run,
    .no_store = true,
};
