/* pantry_parse: the public API of the dialects. */
#include "pantry.h"

#include "base/status.h"
#include "text/dialect/dialect.h"

pantry_status pantry_parse(const char *template_source, size_t template_len, const char *context_json, const char *raw,
                           size_t raw_len, unsigned flags, enum pantry_tool_choice tool_choice, char **json,
                           struct pantry_error *err)
{
    static const enum pn_tool_choice choices[] = {
        [PANTRY_TOOL_AUTO] = PN_TOOL_AUTO,
        [PANTRY_TOOL_REQUIRED] = PN_TOOL_REQUIRED,
        [PANTRY_TOOL_NONE] = PN_TOOL_NONE,
    };
    json_error_t where;
    json_t *out = NULL;
    json_t *context = json_loads(context_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    struct pn_parse_options options = {
        .reasoning_in_content = flags & PANTRY_PARSE_REASONING_IN_CONTENT,
        .tool_choice = (size_t)tool_choice < 3 ? choices[tool_choice] : PN_TOOL_AUTO,
    };
    pantry_status status;
    if (json_is_object(context))
        status = pn_parse_all(template_source, template_len, context, raw, raw_len, &options, &out, err);
    else
        status =
            pn_fail(err, PANTRY_FORMAT, "the context is not a JSON object: line %d, column %d: %s",
                    context ? 1 : where.line, context ? 1 : where.column, context ? "it is another value" : where.text);
    char *text = status ? NULL : json_dumps(out, JSON_ENCODE_ANY);
    if (!status && !text)
        status = pn_no_memory(err, "the parts of the answer");
    if (!status)
        *json = text;
    json_decref(out);
    json_decref(context);
    return status;
}
