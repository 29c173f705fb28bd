/* See public.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "public.h"

#include <string.h>

pantry_model *load_on_ref(const char *path)
{
    struct pantry_error error;
    struct pantry_model_options options = {.size = sizeof options, .device = "ref"};
    pantry_model *model;
    if (pantry_model_load(path, &options, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

pantry_request *submit(pantry_model *model, const struct pantry_request_options *options)
{
    struct pantry_error error;
    pantry_request *request;
    if (pantry_submit(model, options, &request, &error))
        fail_msg("%s", error.text);
    return request;
}

void next_event(pantry_request *request, struct answer *a, int timeout_ms)
{
    const struct pantry_event *event = pantry_request_next(request, timeout_ms);
    a->end = event ? *event : (struct pantry_event){.message = "nothing came"};
    if (event && event->kind == PANTRY_EVENT_END)
        a->stats = *event->stats;
}

void read_all(pantry_request *request, struct answer *a)
{
    a->n = 0;
    for (;;) {
        next_event(request, a, -1);
        if (a->end.kind == PANTRY_EVENT_END)
            break;
        assert_true(a->end.kind == PANTRY_EVENT_TOKEN && a->n < MAX_ANSWER);
        if (a->end.token->id >= 0)
            a->ids[a->n++] = a->end.token->id;
    }
    if (a->end.status)
        fail_msg("%s", a->end.message);
    assert_string_equal(a->end.message, "");
}

void run_request(pantry_model *model, const struct pantry_request_options *options, struct answer *a)
{
    pantry_request *request = submit(model, options);
    read_all(request, a);
    pantry_request_free(request);
}

struct pantry_input of_text(const char *text)
{
    return (struct pantry_input){.text = text, .len = strlen(text)};
}

struct pantry_embeddings embed(pantry_model *model, const struct pantry_input *inputs, size_t n,
                               const struct pantry_embed_options *options)
{
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    if (pantry_embed(model, inputs, n, options, &e, &error))
        fail_msg("%s", error.text);
    return e;
}
