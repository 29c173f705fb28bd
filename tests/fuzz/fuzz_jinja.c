/* Fuzzes the template engine: the input is a template, rendered with a small conversation and small limits. Rendering
 * twice must give the same kind of result. */
#define _GNU_SOURCE /* memmem */
#include "text/template/template.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context_text[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"caf\\u00e9 "
    "\\ud83d\\ude00\"},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": "
    "{\"a\": 1}}}]}],"
    "\"tools\": [{\"name\": \"f\", \"parameters\": {}}], \"bos_token\": \"<s>\", \"add_generation_prompt\": true, "
    "\"n\": 7,"
    "\"f\": 2.5, \"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": 2}, \"s\": \"Hello World\", \"big\": 9223372036854775807}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *context;
    if (!context)
        context = json_loads(context_text, 0, NULL);
    struct pn_template *t = NULL;
    struct pantry_error err;
    const struct pn_template_limits limits = {.max_steps = 200000, .max_output = 1 << 16, .now = 1768480496};
    if (pn_template_parse((const char *)data, size, &t, &err) != PANTRY_OK)
        return 0;
    char *out[2] = {NULL, NULL};
    size_t len[2] = {0, 0};
    pantry_status status[2];
    for (int i = 0; i < 2; i++)
        status[i] = pn_template_render(t, context, &limits, &out[i], &len[i], &err);
    /* Addresses and random() may differ, but not the kind of result. */
    if ((status[0] == PANTRY_OK) != (status[1] == PANTRY_OK) && !memmem(data, size, "random", 6))
        abort();
    free(out[0]);
    free(out[1]);
    pn_template_free(t);
    return 0;
}
