/* Fuzzes Go templates: a template and, after a NUL, a context; a template that parses is rendered within its bounds, and
 * what it writes is UTF-8. */
#include "text/template/go/go.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"}, {\"role\": "
    "\"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": [1, "
    "null]}}}]}, {\"role\": \"tool\", \"content\": \"t\"}, {\"role\": \"user\", \"content\": \"v\"}], \"tools\": "
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"required\": [\"a\"]}}}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size, len = 0;
    struct pantry_error err;
    struct go_template *t;
    char *exact = malloc(n ? n : 1), *out; /* of exactly this size */
    json_t *given = nul ? json_loadb((const char *)nul + 1, size - n - 1, 0, NULL) : NULL;
    if (n)
        memcpy(exact, data, n);
    json_t *checked = json_stringn(exact, n), *own = json_loads(context, 0, NULL);
    pn_go_is_template(exact, n);
    if (checked && pn_go_parse(exact, n, &t, &err) == PANTRY_OK) {
        if (pn_go_render(t, json_is_object(given) ? given : own, 100000, 100000, 86400, &out, &len, &err) ==
            PANTRY_OK) {
            json_t *text = json_stringn(out, len);
            if (!text || len > 100000 || strlen(out) > len)
                abort();
            json_decref(text);
        }
        free(out);
        pn_go_free(t);
    }
    json_decref(checked);
    json_decref(own);
    json_decref(given);
    free(exact);
    return 0;
}
