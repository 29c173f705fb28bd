/* Renders templates in bulk for differential tests: one JSON object {"template", "context"} per line on standard input,
 * one {"output"} or {"error", "status"} per line on standard output. */
#include "text/template/template.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t now = 1768480496; /* 2026-01-15 12:34:56 */

static json_t *render(const json_t *row)
{
    struct pantry_error err = {0};
    struct pn_template *t = NULL;
    struct pn_template_limits limits = {.now = now};
    const json_t *source = json_object_get(row, "template"), *context = json_object_get(row, "context");
    char *out = NULL;
    size_t len = 0;
    pantry_status status = pn_template_parse(json_string_value(source), json_string_length(source), &t, &err);
    if (status == PANTRY_OK)
        status = pn_template_render(t, context, &limits, &out, &len, &err);
    json_t *result = status == PANTRY_OK ? json_pack("{s:s%}", "output", out, len)
                                         : json_pack("{s:s, s:i}", "error", err.text, "status", (int)status);
    free(out);
    pn_template_free(t);
    return result;
}

int main(void)
{
    json_error_t error;
    json_t *row;
    while ((row = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, &error))) {
        json_t *result = render(row);
        json_dumpf(result, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(result);
        json_decref(row);
    }
    return 0;
}
