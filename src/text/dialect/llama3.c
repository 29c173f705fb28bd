/* Llama 3.x: an answer that is one JSON object {"name": ..., "parameters": ...} of an offered tool, or, after
 * <|python_tag|>: such an object, NAME.call(key="value"), or Python code for the code interpreter. Llama 4 adds
 * [NAME(key=value)]. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

static const struct pn_json_form bare = {.known = true};
static const struct pn_json_form tagged = {.start = "<|python_tag|>", .known = true};
static const struct pn_python_form list = {.known = true};

static bool code_tool(const json_t *tools, const char **name)
{
    static const char *const names[] = {"python", "code_interpreter", "ipython"};
    for (size_t i = 0; i < 3; i++) {
        *name = names[i];
        if (pn_tool_known(tools, names[i]))
            return true;
    }
    return false;
}

/* NAME.call(key="value", ...) */
static enum pn_step cut_builtin(struct pn_call *call, struct pn_cut *cut)
{
    struct pn_slice name;
    bool first = true;
    char c;
    PN_TRY(pn_cut_within(cut, ".call(", PN_MAX_NAME, &name));
    for (size_t i = 0; i < name.len; i++)
        if (strchr(" \n\t(\"'=", name.at[i]))
            return PN_FAIL;
    PN_TRY(pn_call_name(call, name, false));
    pn_buf_clear(&call->arguments);
    pn_buf_putc(&call->arguments, '{');
    for (;; first = false) {
        struct pn_slice key;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        if (c == ')')
            break;
        if (!first) {
            PN_TRY(pn_cut_literal(cut, ","));
            PN_TRY(pn_cut_space(cut));
        }
        PN_TRY(pn_cut_within(cut, "=", PN_MAX_KEY, &key));
        pn_buf_puts(&call->arguments, first ? "" : ",");
        pn_json_put_string(&call->arguments, key.at, key.len);
        pn_buf_putc(&call->arguments, ':');
        PN_TRY(pn_cut_python(cut, &call->arguments, 0));
    }
    cut->pos++;
    pn_buf_putc(&call->arguments, '}');
    call->have = true;
    return PN_DONE;
}

static enum pn_step parse_python_tag(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const char *name;
    char c;
    if (call->stage)
        return pn_parse_json_calls(call, cut, config);
    struct pn_cut at = *cut;
    PN_TRY(pn_cut_literal(&at, tagged.start));
    PN_TRY(pn_cut_space(&at));
    PN_TRY(pn_cut_peek(&at, &c));
    struct pn_cut trial = *cut;
    enum pn_step step = c == '{' ? pn_parse_json_calls(call, &trial, config) : PN_FAIL;
    size_t reached = trial.pos;
    if (step == PN_FAIL) {
        call->stage = 0;
        call->more = false;
        trial = at;
        step = cut_builtin(call, &trial);
    }
    if (step == PN_DONE)
        *cut = trial;
    if (step != PN_FAIL)
        return step;
    if (!code_tool(call->tools, &name)) {
        cut->pos = reached > trial.pos ? reached : trial.pos;
        return PN_FAIL;
    }
    if (!cut->final)
        return PN_MORE; /* the code continues to the end */
    pn_buf_clear(&call->name);
    pn_buf_puts(&call->name, name);
    pn_buf_clear(&call->arguments);
    pn_buf_puts(&call->arguments, "{\"code\":");
    pn_json_put_string(&call->arguments, at.text + at.pos, at.len - at.pos);
    pn_buf_putc(&call->arguments, '}');
    cut->pos = cut->len;
    call->have = true;
    return PN_DONE;
}

/* An object is tried only when it can be a call; other text that begins like one is reported at once. */
static enum pn_step parse_bare(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    static const char *const keys[] = {"\"name\"",       "\"type\"",      "\"function\"",
                                       "\"parameters\"", "\"arguments\"", "\"id\""};
    bool possible = false;
    char c;
    if (call->stage)
        return call->stage == PN_IN_PYTHON ? pn_parse_python_calls(call, cut, &list)
                                           : pn_parse_json_calls(call, cut, config);
    struct pn_cut ahead = *cut;
    PN_TRY(pn_cut_peek(&ahead, &c));
    if (c == '[') {
        ahead.pos++;
        PN_TRY(pn_cut_space(&ahead));
        PN_TRY(pn_cut_peek(&ahead, &c));
        if (c != '{')
            return pn_parse_python_calls(call, cut, &list);
    }
    PN_TRY(pn_cut_literal(&ahead, "{"));
    PN_TRY(pn_cut_space(&ahead));
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !possible; i++) {
        enum pn_step step = pn_cut_literal(&ahead, keys[i]);
        if (step == PN_MORE)
            return PN_MORE;
        possible = step == PN_DONE;
    }
    return possible ? pn_parse_json_calls(call, cut, config) : PN_FAIL;
}

const struct pn_dialect pn_dialect_llama3 = {
    .name = "llama3",
    .detect = {{.all = {"<|python_tag|>"}},
               {.all = {"<|start_header_id|>", "\"parameters\""}},
               {.all = {"<|header_start|>"}}},
    .calls = {{.start = "<|python_tag|>", .parse = parse_python_tag, .config = &tagged},
              {.at_start = "{[", .parse = parse_bare, .config = &bare}},
    .drop = {{.text = "<|python_start|>"}, {.text = "<|python_end|>"}},
};
