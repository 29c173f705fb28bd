/* The settings of the service: see settings.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/settings.h"

#include "base/status.h"
#include "cli/setting_value.h"
#include "cli/settings_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- places ---- */

void pn_settings_variable(const struct pn_setting *s, char out[64])
{
    int n = snprintf(out, 64, "PANTRY_%s", s->key);
    for (int i = 0; i < n; i++)
        if (out[i] >= 'a' && out[i] <= 'z')
            out[i] = (char)(out[i] - 'a' + 'A');
}

void pn_settings_origin(const struct pn_settings *settings, enum pn_setting_id id, char *out, size_t size)
{
    const struct pn_setting *s = &pn_settings_table[id];
    const struct pn_setting_value *v = &settings->of[id];
    char variable[64];
    switch (v->source) {
    case PN_FROM_OPTION:
        snprintf(out, size, "--%s", s->option);
        break;
    case PN_FROM_ENVIRONMENT:
        pn_settings_variable(s, variable);
        snprintf(out, size, "%s", variable);
        break;
    case PN_FROM_OLLAMA:
        snprintf(out, size, "OLLAMA_%s", s->ollama);
        break;
    case PN_FROM_FILE:
        snprintf(out, size, "%s:%d", settings->file, v->line);
        break;
    case PN_FROM_DEFAULT:
        snprintf(out, size, "default");
        break;
    }
}

static pantry_status read_default(struct pn_settings *settings, size_t id, struct pantry_error *err)
{
    const struct pn_setting *s = &pn_settings_table[id];
    return pn_setting_from_text(s, s->fallback, s->key, &settings->arena, &settings->of[id], err);
}

static pantry_status read_variable(struct pn_settings *settings, size_t id, enum pn_setting_source source,
                                   struct pantry_error *err)
{
    const struct pn_setting *s = &pn_settings_table[id];
    char name[64];
    if (source == PN_FROM_ENVIRONMENT)
        pn_settings_variable(s, name);
    else if (s->ollama)
        snprintf(name, sizeof name, "OLLAMA_%s", s->ollama);
    else
        return PANTRY_OK;
    const char *text = getenv(name);
    if (!text || !*text)
        return PANTRY_OK;
    settings->of[id] = (struct pn_setting_value){.source = source};
    return pn_setting_from_text(s, text, name, &settings->arena, &settings->of[id], err);
}

static pantry_status read_option(struct pn_settings *settings, size_t id, const struct pn_settings_given *given,
                                 struct pantry_error *err)
{
    const struct pn_setting *s = &pn_settings_table[id];
    struct pn_setting_value *to = &settings->of[id];
    char name[64];
    if (!given->of[id].text && !given->of[id].given && !given->of[id].list.n)
        return PANTRY_OK;
    *to = (struct pn_setting_value){.source = PN_FROM_OPTION};
    snprintf(name, sizeof name, "--%s", s->option);
    if (s->kind == PN_SETTING_LIST)
        return pn_setting_from_list(given->of[id].list.item, given->of[id].list.n, &settings->arena, to, err);
    const char *text = given->of[id].text;
    if (s->kind == PN_SETTING_FLAG || s->kind == PN_SETTING_OFF)
        text = s->kind == PN_SETTING_FLAG ? "true" : "false";
    else if (!*text)
        return pn_fail(err, PANTRY_INVALID, "%s: the value is empty", name);
    return pn_setting_from_text(s, text, name, &settings->arena, to, err);
}

pantry_status pn_settings_read(struct pn_settings *settings, const struct pn_settings_given *given,
                               struct pantry_error *err)
{
    *settings = (struct pn_settings){0};
    pantry_status status = PANTRY_OK;
    for (size_t id = 0; id < PN_N_SETTINGS && !status; id++)
        status = read_default(settings, id, err);
    if (!status)
        status = pn_settings_read_file(settings, err);
    for (size_t id = 0; id < PN_N_SETTINGS && !status; id++) {
        status = read_variable(settings, id, PN_FROM_OLLAMA, err);
        if (!status)
            status = read_variable(settings, id, PN_FROM_ENVIRONMENT, err);
        if (!status && given)
            status = read_option(settings, id, given, err);
    }
    return status;
}

void pn_settings_free(struct pn_settings *settings)
{
    for (size_t i = 0; i < settings->n_models; i++)
        json_decref(settings->models[i].parameters);
    pn_arena_free(&settings->arena);
    free(settings->file);
    *settings = (struct pn_settings){0};
}

/* ---- values ---- */

const char *pn_settings_text(const struct pn_settings *settings, enum pn_setting_id id)
{
    const char *text = settings->of[id].text;
    return text && *text ? text : NULL;
}

int pn_settings_int(const struct pn_settings *settings, enum pn_setting_id id)
{
    return (int)settings->of[id].number;
}

bool pn_settings_bool(const struct pn_settings *settings, enum pn_setting_id id)
{
    return settings->of[id].number != 0;
}
