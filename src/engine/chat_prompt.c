/* Prompts of conversations with pictures: see pantry_prompt_chat. */
#include "engine/handle.h"

#include "base/base64.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICTURES = 1024 };

/* The pictures of a conversation. */
struct found {
    struct {
        struct pantry_picture *data;
        size_t len, cap;
    } pictures;
};

static void found_free(struct found *f)
{
    for (size_t i = 0; i < f->pictures.len; i++)
        free((void *)(uintptr_t)f->pictures.data[i].data);
    free(f->pictures.data);
}

/* Takes a picture out of a part of a message. */
static pantry_status take_picture(struct found *f, json_t *part, size_t message, struct pantry_error *err)
{
    const json_t *data = json_object_get(part, "data");
    struct pn_buf bytes = {0};
    if (!data)
        return PANTRY_OK;
    if (f->pictures.len == MAX_PICTURES)
        return pn_fail(err, PANTRY_LIMIT, "too many pictures (allowed %d)", MAX_PICTURES);
    bool ok = json_is_string(data) && pn_base64_decode(json_string_value(data), json_string_length(data), &bytes);
    bool failed = bytes.failed;
    struct pantry_picture picture = {.len = bytes.len};
    if (ok && bytes.len)
        picture.data = pn_buf_take(&bytes);
    pn_buf_free(&bytes);
    json_object_del(part, "data");
    if (!failed && !picture.data)
        return pn_fail(err, PANTRY_FORMAT, "messages[%zu]: a picture is not base64", message);
    if (failed || !pn_vec_push(&f->pictures, picture)) {
        free((void *)(uintptr_t)picture.data);
        return pn_no_memory(err, "a picture");
    }
    return PANTRY_OK;
}

/* Templates that show pictures expect a list of parts; some know nothing else. */
static void list_parts(json_t *message)
{
    json_t *content = json_object_get(message, "content");
    if (json_is_string(content))
        json_object_set_new(message, "content", json_pack("[{s:s, s:O}]", "type", "text", "text", content));
}

static pantry_status take_pictures(struct found *f, json_t *context, bool parts, struct pantry_error *err)
{
    json_t *message, *part;
    size_t i, k;
    pantry_status status = PANTRY_OK;
    json_array_foreach(json_object_get(context, "messages"), i, message)
    {
        json_array_foreach(json_object_get(message, "content"), k, part)
        {
            const char *type = json_string_value(json_object_get(part, "type"));
            if (!status && type && strcmp(type, "image") == 0)
                status = take_picture(f, part, i, err);
        }
        if (parts)
            list_parts(message);
    }
    return status;
}

pantry_status pantry_prompt_chat(pantry_model *m, const char *context_json, pantry_prompt **prompt, char **text,
                                 size_t *len, struct pantry_error *err)
{
    struct found found = {0};
    char *rendered = NULL;
    size_t n = 0;
    const char *template = pantry_model_template(m, NULL);
    json_error_t e;
    *prompt = NULL;
    json_t *context = json_loads(context_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!context)
        return pn_fail(err, PANTRY_FORMAT, "the template's context is not JSON: line %d, column %d: %s", e.line,
                       e.column, e.text);
    bool parts = m->eye && template && strstr(template, "image");
    pantry_status status = take_pictures(&found, context, parts, err);
    if (!status && found.pictures.len && !m->eye)
        status = pn_prompt_refuse(m, err);
    char *plain = status ? NULL : json_dumps(context, 0);
    json_decref(context);
    if (!status && !plain)
        status = pn_no_memory(err, "a prompt");
    if (!status)
        status = pantry_model_render(m, plain, &rendered, &n, err);
    if (!status)
        status = pantry_prompt_new(m, rendered, n, PANTRY_TOKENIZE_SPECIAL | PANTRY_TOKENIZE_BOS, found.pictures.data,
                                   found.pictures.len, prompt, err);
    free(plain);
    found_free(&found);
    if (status || !text) {
        free(rendered);
        return status;
    }
    *text = rendered;
    *len = n;
    return PANTRY_OK;
}
