/* pantry_parse and pantry_parser: the public API of the dialects. */
#include "pantry.h"

#include "base/status.h"
#include "text/dialect/dialect.h"

#include <stdlib.h>

static pantry_status load_context(const char *context_json, json_t **out, struct pantry_error *err)
{
    json_error_t where;
    json_t *context = json_loads(context_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    bool other = context && !json_is_object(context);
    if (other)
        json_decref(context);
    *out = other ? NULL : context;
    return *out ? PANTRY_OK
                : pn_fail(err, PANTRY_FORMAT, "the context is not a JSON object: line %d, column %d: %s",
                          other ? 1 : where.line, other ? 1 : where.column, other ? "it is another value" : where.text);
}

static struct pn_parse_options options_of(unsigned flags, enum pantry_tool_choice tool_choice)
{
    static const enum pn_tool_choice choices[] = {
        [PANTRY_TOOL_AUTO] = PN_TOOL_AUTO,
        [PANTRY_TOOL_REQUIRED] = PN_TOOL_REQUIRED,
        [PANTRY_TOOL_NONE] = PN_TOOL_NONE,
    };
    return (struct pn_parse_options){
        .reasoning_in_content = flags & PANTRY_PARSE_REASONING_IN_CONTENT,
        .tool_choice = (size_t)tool_choice < 3 ? choices[tool_choice] : PN_TOOL_AUTO,
    };
}

pantry_status pantry_parse(const char *template_source, size_t template_len, const char *context_json, const char *raw,
                           size_t raw_len, unsigned flags, enum pantry_tool_choice tool_choice, char **json,
                           struct pantry_error *err)
{
    struct pn_parse_options options = options_of(flags, tool_choice);
    json_t *context, *out = NULL;
    pantry_status status = load_context(context_json, &context, err);
    if (status)
        return status;
    status = pn_parse_all(template_source, template_len, context, raw, raw_len, &options, &out, err);
    char *text = status ? NULL : json_dumps(out, JSON_ENCODE_ANY);
    if (!status && !text)
        status = pn_no_memory(err, "the parts of the answer");
    if (!status)
        *json = text;
    json_decref(out);
    json_decref(context);
    return status;
}

/* ---- streaming ---- */

struct pantry_parser {
    struct pn_answer *answer;
    json_t *context; /* the answer refers to its tools */
    pantry_parse_callback *callback;
    void *user;
    bool ended;
};

static void tell(void *user, const struct pn_parse_event *event)
{
    static const enum pantry_parse_kind kinds[] = {
        [PN_EVENT_REASONING] = PANTRY_PARSE_REASONING,
        [PN_EVENT_CONTENT] = PANTRY_PARSE_CONTENT,
        [PN_EVENT_TOOL_CALL] = PANTRY_PARSE_TOOL_CALL,
    };
    const struct pantry_parser *parser = user;
    parser->callback(parser->user, &(struct pantry_parse_event){.kind = kinds[event->type],
                                                                .text = event->text,
                                                                .len = event->len,
                                                                .name = event->name,
                                                                .arguments = event->arguments,
                                                                .id = event->id});
}

pantry_status pantry_parser_new(const char *template_source, size_t template_len, const char *context_json,
                                const char *prompt, size_t prompt_len, unsigned flags,
                                enum pantry_tool_choice tool_choice, pantry_parse_callback *callback, void *user,
                                pantry_parser **out, struct pantry_error *err)
{
    struct pn_parse_options options = options_of(flags, tool_choice);
    *out = NULL;
    struct pantry_parser *parser = calloc(1, sizeof *parser);
    if (!parser)
        return pn_no_memory(err, "an answer's parser");
    parser->callback = callback;
    parser->user = user;
    pantry_status status = load_context(context_json, &parser->context, err);
    if (!status)
        status = pn_answer_new(template_source, template_len, parser->context, prompt, prompt_len, &options, tell,
                               parser, &parser->answer, err);
    if (status)
        pantry_parser_free(parser);
    else
        *out = parser;
    return status;
}

static pantry_status check_open(const struct pantry_parser *parser, struct pantry_error *err)
{
    return parser->ended ? pn_fail(err, PANTRY_INVALID, "the parser has ended: make a new one") : PANTRY_OK;
}

pantry_status pantry_parser_push(pantry_parser *parser, const char *text, size_t len, struct pantry_error *err)
{
    pantry_status status = check_open(parser, err);
    if (!status && (status = pn_answer_push(parser->answer, text, len, err)))
        parser->ended = true;
    return status;
}

pantry_status pantry_parser_finish(pantry_parser *parser, struct pantry_error *err)
{
    pantry_status status = check_open(parser, err);
    parser->ended = true;
    return status ? status : pn_answer_finish(parser->answer, err);
}

void pantry_parser_free(pantry_parser *parser)
{
    if (!parser)
        return;
    pn_answer_free(parser->answer);
    json_decref(parser->context);
    free(parser);
}
