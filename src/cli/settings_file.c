/* The configuration file: see settings_file.h. Unknown keys are errors: a setting that is misspelt must not be lost. */
#define _POSIX_C_SOURCE 200809L
#include "cli/settings_file.h"

#include "base/file.h"
#include "cli/setting_value.h"
#include "store/parameters.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reading {
    struct pn_settings *settings;
    struct pantry_error *err;
};

static size_t n_members(const struct pn_toml *table)
{
    size_t n = 0;
    for (const struct pn_toml *v = table ? table->first : NULL; v; v = v->next)
        n++;
    return n;
}

static pantry_status fail_at(const struct reading *r, const struct pn_toml *v, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static pantry_status fail_at(const struct reading *r, const struct pn_toml *v, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pn_fail(r->err, PANTRY_INVALID, "%s:%d: %s", r->settings->file, v->line, text);
}

/* ---- unknown keys ---- */

static const char *setting_key(const void *names, size_t i)
{
    (void)names;
    static const char *const tables[] = {"aliases", "adapters", NULL};
    return i < PN_N_SETTINGS ? pn_settings_table[i].key : tables[i - PN_N_SETTINGS];
}

static pantry_status unknown(const struct reading *r, const struct pn_toml *v, const char *in,
                             const char *(*next)(const void *names, size_t i))
{
    const char *near = pn_cli_nearest(v->key, next, NULL);
    return fail_at(r, v, "%s%.100s: unknown key%s%s%s", in, v->key, near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

/* ---- models ---- */

/* The keys of a model, as rows like those of settings.def. */
enum { KEY_context, KEY_kv_type, KEY_device, KEY_threads, KEY_keep_alive, KEY_system, KEY_pin, N_KEYS };
static const struct pn_setting model_keys[N_KEYS] = {
    [KEY_context] = {.key = "context", .kind = PN_SETTING_INT, .min = 1, .max = 16777216},
    [KEY_kv_type] = {.key = "kv_type", .kind = PN_SETTING_TEXT, .choices = "f16 q8_0 f32"},
    [KEY_device] = {.key = "device", .kind = PN_SETTING_TEXT},
    [KEY_threads] = {.key = "threads", .kind = PN_SETTING_INT, .min = 1, .max = 1024},
    [KEY_keep_alive] = {.key = "keep_alive", .kind = PN_SETTING_KEEP_ALIVE},
    [KEY_system] = {.key = "system", .kind = PN_SETTING_TEXT},
    [KEY_pin] = {.key = "pin", .kind = PN_SETTING_FLAG},
};
static const char parameters_key[] = "parameters";

static const char *model_key(const void *names, size_t i)
{
    (void)names;
    return i < N_KEYS ? model_keys[i].key : i == N_KEYS ? parameters_key : NULL;
}

static json_t *to_json(const struct pn_toml *v)
{
    switch (v->kind) {
    case PN_TOML_STRING:
        return json_stringn(v->text, v->len);
    case PN_TOML_INTEGER:
        return json_integer(v->integer);
    case PN_TOML_FLOAT:
        return json_real(v->number); /* NULL: not a finite number */
    case PN_TOML_BOOL:
        return json_boolean(v->truth);
    case PN_TOML_ARRAY: {
        json_t *list = json_array();
        for (const struct pn_toml *item = v->first; item; item = item->next)
            if (item->kind == PN_TOML_ARRAY || json_array_append_new(list, to_json(item))) {
                json_decref(list);
                return NULL;
            }
        return list;
    }
    default:
        return NULL;
    }
}

static pantry_status read_parameters(const struct reading *r, const struct pn_toml *v, struct pn_model_settings *out)
{
    if (v->kind != PN_TOML_TABLE)
        return fail_at(r, v, "parameters: wrong value (found %s, allowed a table)", pn_toml_kind_text(v->kind));
    if (!(out->parameters = json_object()))
        return pn_no_memory(r->err, "the settings");
    for (const struct pn_toml *p = v->first; p; p = p->next) {
        json_t *value = to_json(p);
        if (!value)
            return fail_at(r, p, "models.\"%s\".parameters.%.100s: wrong value (found %s)", out->name, p->key,
                           pn_toml_kind_text(p->kind));
        json_object_set_new(out->parameters, p->key, value);
    }
    return PANTRY_OK;
}

static pantry_status check_parameters(const struct reading *r, const struct pn_model_settings *m)
{
    struct pn_parameters scratch = {.max_tokens = 0};
    pantry_status status = pn_parameters_read(m->parameters, &scratch, r->err);
    if (status)
        pn_fail_prefix(r->err, "%s", m->where);
    return status;
}

static void take_model_value(struct pn_model_settings *out, size_t key, const struct pn_setting_value *v)
{
    switch (key) {
    case KEY_context:
        out->n_context = (int)v->number;
        break;
    case KEY_kv_type:
        out->kv_type = v->text;
        break;
    case KEY_device:
        out->device = v->text;
        break;
    case KEY_threads:
        out->n_threads = (int)v->number;
        break;
    case KEY_keep_alive:
        out->has_keep_alive = true;
        out->keep_alive = pn_setting_keep_alive(v);
        break;
    case KEY_system:
        out->system = v->text;
        break;
    case KEY_pin:
        out->pin = v->number != 0;
        break;
    }
}

static pantry_status read_model_key(const struct reading *r, const struct pn_toml *v, struct pn_model_settings *out)
{
    char where[300];
    for (size_t i = 0; i < N_KEYS; i++) {
        if (strcmp(model_keys[i].key, v->key) != 0)
            continue;
        struct pn_setting_value value = {0};
        snprintf(where, sizeof where, "%s:%d: models.\"%.80s\".%s", r->settings->file, v->line, out->name, v->key);
        pantry_status status = pn_setting_from_toml(&model_keys[i], v, where, &r->settings->arena, &value, r->err);
        if (!status)
            take_model_value(out, i, &value);
        return status;
    }
    if (strcmp(v->key, parameters_key) == 0)
        return read_parameters(r, v, out);
    snprintf(where, sizeof where, "models.\"%.80s\".", out->name);
    return unknown(r, v, where, model_key);
}

static pantry_status read_model(const struct reading *r, const struct pn_toml *v, struct pn_model_settings *out)
{
    char where[300];
    if (v->kind != PN_TOML_TABLE)
        return fail_at(r, v, "models.\"%.80s\": wrong value (found %s, allowed a table)", v->key,
                       pn_toml_kind_text(v->kind));
    if (strlen(v->key) != v->key_len || !pn_store_is_name(v->key))
        return fail_at(r, v, "models.\"%.80s\": not a model name", v->key);
    snprintf(where, sizeof where, "%s:%d: models.\"%.80s\"", r->settings->file, v->line, v->key);
    out->name = v->key;
    if (!(out->where = pn_arena_copy(&r->settings->arena, where, strlen(where))))
        return pn_no_memory(r->err, "the settings");
    pantry_status status = PANTRY_OK;
    for (const struct pn_toml *m = v->first; m && !status; m = m->next)
        status = read_model_key(r, m, out);
    return status ? status : check_parameters(r, out);
}

/* The folder of the models: `models` is a text, or a table with a text of this key beside the models' own tables. */
static const char folder_key[] = "folder";

static const struct pn_toml *folder_of(const struct pn_toml *root)
{
    const struct pn_toml *v = pn_toml_get(root, "models");
    if (v && v->kind == PN_TOML_TABLE)
        v = pn_toml_get(v, folder_key);
    return v && v->kind == PN_TOML_STRING ? v : NULL;
}

static pantry_status read_folder(const struct reading *r, const struct pn_toml *v)
{
    struct pn_setting_value *to = &r->settings->of[PN_SET_models];
    if (*v->text != '/')
        return fail_at(r, v, "models: wrong value (found \"%.200s\", allowed the absolute path of a folder)", v->text);
    *to = (struct pn_setting_value){.source = PN_FROM_FILE};
    return pn_setting_from_toml(&pn_settings_table[PN_SET_models], v, "models", &r->settings->arena, to, r->err);
}

static pantry_status read_models(const struct reading *r, const struct pn_toml *table)
{
    struct pn_settings *s = r->settings;
    pantry_status status = PANTRY_OK;
    if (table->kind == PN_TOML_STRING)
        return read_folder(r, table);
    if (table->kind != PN_TOML_TABLE)
        return fail_at(r, table, "models: wrong value (found %s, allowed the path of a folder, or a table)",
                       pn_toml_kind_text(table->kind));
    if (!(s->models = pn_arena_array(&s->arena, n_members(table) + 1, sizeof *s->models)))
        return pn_no_memory(r->err, "the settings");
    for (const struct pn_toml *v = table->first; v && !status; v = v->next)
        status = v->kind == PN_TOML_STRING && strcmp(v->key, folder_key) == 0
                     ? read_folder(r, v)
                     : read_model(r, v, &s->models[s->n_models++]);
    return status;
}

static pantry_status read_aliases(const struct reading *r, const struct pn_toml *table)
{
    struct pn_settings *s = r->settings;
    if (table->kind != PN_TOML_TABLE)
        return fail_at(r, table, "aliases: wrong value (found %s, allowed a table)", pn_toml_kind_text(table->kind));
    if (!(s->aliases = pn_arena_array(&s->arena, n_members(table) + 1, sizeof *s->aliases)))
        return pn_no_memory(r->err, "the settings");
    for (const struct pn_toml *v = table->first; v; v = v->next) {
        if (v->kind != PN_TOML_STRING || strlen(v->text) != v->len || !pn_store_is_name(v->text))
            return fail_at(r, v, "aliases.\"%.80s\": wrong value (found %s, allowed the name of a model)", v->key,
                           v->kind == PN_TOML_STRING ? "another text" : pn_toml_kind_text(v->kind));
        if (strlen(v->key) != v->key_len || !pn_store_is_name(v->key))
            return fail_at(r, v, "aliases.\"%.80s\": not a model name", v->key);
        if (pn_toml_get(table, v->text))
            return fail_at(r, v, "aliases.\"%.80s\": names another alias (found \"%.80s\", allowed a model)", v->key,
                           v->text);
        s->aliases[s->n_aliases++] = (struct pn_model_alias){.name = v->key, .model = v->text};
    }
    return PANTRY_OK;
}

/* ---- adapters ---- */

static const char *adapter_key(const void *names, size_t i)
{
    static const char *const keys[] = {"path", "model", NULL};
    (void)names;
    return keys[i];
}

static pantry_status wrong_adapter(const struct reading *r, const struct pn_toml *v, const char *name,
                                   const char *allowed)
{
    return fail_at(r, v, "adapters.\"%.80s\": wrong value (found %s, allowed %s)", name,
                   v->kind == PN_TOML_STRING ? "another text" : pn_toml_kind_text(v->kind), allowed);
}

/* The path of a file or folder, or a model of the store. */
static pantry_status read_adapter_path(const struct reading *r, const struct pn_toml *v, struct pn_adapter_setting *out)
{
    if (v->kind != PN_TOML_STRING || strlen(v->text) != v->len || (*v->text != '/' && !pn_store_is_name(v->text)))
        return wrong_adapter(r, v, out->name, "an absolute path, or the name of a model");
    out->path = v->text;
    return PANTRY_OK;
}

/* NAME = "PATH", or NAME = {path = "PATH", model = "NAME"}. */
static pantry_status read_adapter(const struct reading *r, const struct pn_toml *v, struct pn_adapter_setting *out)
{
    pantry_status status = PANTRY_OK;
    if (strlen(v->key) != v->key_len || strpbrk(v->key, ":/") || !pn_store_is_name(v->key))
        return fail_at(r, v, "adapters.\"%.80s\": not a name (allowed letters, digits, '.', '_' and '-')", v->key);
    out->name = v->key;
    if (v->kind != PN_TOML_TABLE)
        return read_adapter_path(r, v, out);
    for (const struct pn_toml *k = v->first; k && !status; k = k->next) {
        char where[200];
        snprintf(where, sizeof where, "adapters.\"%.80s\".", out->name);
        if (strcmp(k->key, "path") == 0)
            status = read_adapter_path(r, k, out);
        else if (strcmp(k->key, "model") != 0)
            status = unknown(r, k, where, adapter_key);
        else if (k->kind != PN_TOML_STRING || strlen(k->text) != k->len || !pn_store_is_name(k->text))
            status = wrong_adapter(r, k, out->name, "the name of a model");
        else
            out->model = k->text;
    }
    return status || out->path ? status : fail_at(r, v, "adapters.\"%.80s\": path is missing", out->name);
}

static pantry_status read_adapters(const struct reading *r, const struct pn_toml *table)
{
    struct pn_settings *s = r->settings;
    pantry_status status = PANTRY_OK;
    if (table->kind != PN_TOML_TABLE)
        return fail_at(r, table, "adapters: wrong value (found %s, allowed a table)", pn_toml_kind_text(table->kind));
    if (n_members(table) > PN_ADAPTER_SETTINGS_MAX)
        return fail_at(r, table, "adapters: too many (found %zu, allowed %d)", n_members(table),
                       PN_ADAPTER_SETTINGS_MAX);
    if (!(s->adapters = pn_arena_array(&s->arena, n_members(table) + 1, sizeof *s->adapters)))
        return pn_no_memory(r->err, "the settings");
    for (const struct pn_toml *v = table->first; v && !status; v = v->next)
        status = read_adapter(r, v, &s->adapters[s->n_adapters++]);
    return status;
}

/* ---- the file ---- */

static pantry_status read_key(const struct reading *r, const struct pn_toml *v)
{
    struct pn_settings *s = r->settings;
    char where[300];
    if (strcmp(v->key, "models") == 0)
        return read_models(r, v);
    for (size_t id = 0; id < PN_N_SETTINGS; id++)
        if (strcmp(pn_settings_table[id].key, v->key) == 0) {
            s->of[id] = (struct pn_setting_value){.source = PN_FROM_FILE};
            snprintf(where, sizeof where, "%.200s:%d: %s", s->file, v->line, v->key);
            return pn_setting_from_toml(&pn_settings_table[id], v, where, &s->arena, &s->of[id], r->err);
        }
    if (strcmp(v->key, "aliases") == 0)
        return read_aliases(r, v);
    if (strcmp(v->key, "adapters") == 0)
        return read_adapters(r, v);
    return unknown(r, v, "", setting_key);
}

/* *root is NULL where there is no file. */
static pantry_status parse_file(struct pn_settings *s, struct pn_toml **root, struct pantry_error *err)
{
    const char *given = getenv("PANTRY_CONFIG");
    bool named = given && *given;
    char *text = NULL;
    size_t len;
    pantry_status status = PANTRY_OK;
    *root = NULL;
    if (!named)
        status = pn_store_private_path("config.toml", &s->file, err);
    else if (!(s->file = strdup(given)))
        status = pn_no_memory(err, "the settings");
    if (status || (!named && access(s->file, F_OK) != 0 && errno == ENOENT))
        return status;
    status = pn_file_read(s->file, PN_TOML_MAX, &text, &len, err);
    if (!status)
        status = pn_toml_parse(text, len, s->file, &s->arena, root, err);
    free(text);
    s->has_file = !status;
    return status;
}

pantry_status pn_settings_read_file(struct pn_settings *s, struct pantry_error *err)
{
    struct pn_toml *root;
    struct reading r = {.settings = s, .err = err};
    pantry_status status = parse_file(s, &root, err);
    for (const struct pn_toml *v = root ? root->first : NULL; v && !status; v = v->next)
        status = read_key(&r, v);
    return status;
}

pantry_status pn_settings_find_models(struct pantry_error *err)
{
    struct pn_settings s = {.file = NULL};
    struct pn_toml *root;
    const char *set = getenv("PANTRY_MODELS");
    if (set && *set)
        return PANTRY_OK;
    pantry_status status = parse_file(&s, &root, err);
    const struct pn_toml *folder = root ? folder_of(root) : NULL;
    struct reading r = {.settings = &s, .err = err};
    if (!status && folder && !(status = read_folder(&r, folder)))
        setenv("PANTRY_MODELS", folder->text, 1);
    if (status == PANTRY_NOT_FOUND && !s.file)
        status = PANTRY_OK; /* without a home there is no file; who needs the home says so */
    pn_arena_free(&s.arena);
    free(s.file);
    return status;
}
