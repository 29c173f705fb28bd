/* pantry_parse: the public face of the dialects. */
#include "pantry.h"

#include "base/status.h"
#include "text/dialect/dialect.h"

#include <stdlib.h>
#include <string.h>

/* The public and the internal error are the same struct under two names (a test compares the codes). */
static pantry_status hand_over(const struct pn_error *err, struct pantry_error *error)
{
    if (error) {
        error->status = (pantry_status)err->status;
        memcpy(error->text, err->text, sizeof error->text);
    }
    return (pantry_status)err->status;
}

pantry_status pantry_parse(const char *template_source, size_t template_len, const char *context_json, const char *raw,
                           size_t raw_len, unsigned flags, enum pantry_tool_choice tool_choice, char **json,
                           struct pantry_error *error)
{
    static const enum pn_tool_choice choices[] = {
        [PANTRY_TOOL_AUTO] = PN_TOOL_AUTO,
        [PANTRY_TOOL_REQUIRED] = PN_TOOL_REQUIRED,
        [PANTRY_TOOL_NONE] = PN_TOOL_NONE,
    };
    struct pn_error err = {PN_OK, ""};
    json_error_t where;
    json_t *out = NULL;
    json_t *context = json_loads(context_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!json_is_object(context)) {
        pn_fail(&err, PN_FORMAT, "the context is no JSON object: %s (line %d, column %d)",
                context ? "it is another value" : where.text, context ? 1 : where.line, context ? 1 : where.column);
        goto fail;
    }
    struct pn_parse_options options = {
        .reasoning_in_content = flags & PANTRY_PARSE_REASONING_IN_CONTENT,
        .tool_choice = (size_t)tool_choice < 3 ? choices[tool_choice] : PN_TOOL_AUTO,
    };
    if (pn_parse_all(template_source, template_len, context, raw, raw_len, &options, &out, &err) != PN_OK)
        goto fail;
    if (!(*json = json_dumps(out, JSON_ENCODE_ANY))) {
        pn_no_memory(&err, "the parts of the answer");
        goto fail;
    }
fail:
    json_decref(out);
    json_decref(context);
    return hand_over(&err, error);
}
