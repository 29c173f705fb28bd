/* Adapters of requests: see lora.h. Their ids are their places in the configuration. */
#include "server/api/lora.h"

#include "base/status.h"
#include "server/adapters.h"

#include <string.h>

/* Reads [{"id": 0, "scale": 1}, ...] into scales by id; an adapter that is left out gets 0. */
static pantry_status read_scales(const json_t *list, const char *where, size_t n_adapters, float *scales,
                                 struct pantry_error *err)
{
    size_t i;
    json_t *item;
    memset(scales, 0, n_adapters * sizeof *scales);
    json_array_foreach(list, i, item)
    {
        const json_t *id = json_object_get(item, "id");
        json_int_t n = json_integer_value(id);
        float scale = 0;
        if (!json_is_integer(id) || n < 0 || (uint64_t)n >= n_adapters)
            return pn_fail(err, PANTRY_INVALID, "%s[%zu].id: no such adapter (there are %zu, counted from 0)", where, i,
                           n_adapters);
        if (!json_is_number(json_object_get(item, "scale")))
            return pn_fail(err, PANTRY_INVALID, "%s[%zu].scale: a number is needed", where, i);
        pantry_status status = pn_json_float(item, "scale", -1000, 1000, &scale, err);
        if (status)
            return pn_fail_prefix(err, "%s[%zu]", where, i), status;
        scales[n] = scale;
    }
    return PANTRY_OK;
}

pantry_status pn_lora_hold(struct pn_server *s, const char *model, const json_t *body, struct pn_loaded **out,
                           bool *loaded_now, struct pantry_error *err)
{
    const struct pn_adapter_setting *adapters;
    float scales[PN_ADAPTER_SETTINGS_MAX] = {0}; /* the list may become longer meanwhile */
    json_t *list = NULL;
    pantry_status status = pn_json_array(body, "lora", &list, err);
    if (status || !list)
        return status ? status : pn_models_hold(s->models, model, out, loaded_now, err);
    size_t n = pn_models_adapters(s->models, &adapters, scales);
    if ((status = read_scales(list, "lora", n, scales, err)))
        return status;
    return pn_models_hold_adapted(s->models, model, scales, out, loaded_now, err);
}

/* An error or list that clients see names no folder. */
static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return *path == '/' && slash[1] ? slash + 1 : path;
}

void pn_lora_list(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    const struct pn_adapter_setting *adapters;
    float scales[PN_ADAPTER_SETTINGS_MAX] = {0};
    size_t n = pn_models_adapters(s->models, &adapters, scales);
    json_t *list = json_array();
    (void)body, (void)tail;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:f, s:s*}", "id", (int)i, "name", adapters[i].name,
                                              "path", last_part(adapters[i].path), "scale", (double)scales[i], "model",
                                              adapters[i].model));
    pn_reply_json(x, 200, list);
}

void pn_lora_set(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    const struct pn_adapter_setting *adapters;
    struct pantry_error err = {0};
    float scales[PN_ADAPTER_SETTINGS_MAX] = {0};
    size_t n = pn_models_adapters(s->models, &adapters, scales);
    (void)tail;
    if (read_scales(body, "", n, scales, &err)) {
        pn_reply_error(x, PN_ERRORS_OPENAI, &err);
        return;
    }
    pn_models_set_scales(s->models, scales, n);
    pn_reply_json(x, 200, json_pack("{s:b}", "success", 1));
}
