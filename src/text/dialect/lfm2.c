/* LFM2 and LFM2.5: <|tool_call_start|>[NAME(key=value), ...]<|tool_call_end|> in Python's syntax; if asked for JSON,
 * the model writes a list of objects between the same markers. */
#include "text/dialect/dialect_impl.h"

static const struct pn_python_form python = {.start = "<|tool_call_start|>", .end = "<|tool_call_end|>"};
static const struct pn_json_form json = {.start = "<|tool_call_start|>", .end = "<|tool_call_end|>"};

static enum pn_step parse(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    (void)config;
    char c;
    if (call->stage)
        return call->stage == PN_IN_PYTHON ? pn_parse_python_calls(call, cut, &python)
                                           : pn_parse_json_calls(call, cut, &json);
    struct pn_cut ahead = *cut;
    PN_TRY(pn_cut_literal(&ahead, python.start));
    PN_TRY(pn_cut_space(&ahead));
    PN_TRY(pn_cut_peek(&ahead, &c));
    if (c == '[') {
        ahead.pos++;
        PN_TRY(pn_cut_space(&ahead));
        PN_TRY(pn_cut_peek(&ahead, &c));
    }
    return c == '{' ? pn_parse_json_calls(call, cut, &json) : pn_parse_python_calls(call, cut, &python);
}

static const struct pn_call_shape shape = {
    .trigger = "<|tool_call_start|>",
    .open = "<|tool_call_start|>[",
    .after = "(",
    .end = ")",
    .between = ", ",
    .close = "]<|tool_call_end|>",
    .list = true,
    .syntax = PN_ARGUMENTS_PYTHON,
};

const struct pn_dialect pn_dialect_lfm2 = {
    .name = "lfm2",
    .detect = {{.all = {"<|tool_call_start|>"}}, {.all = {"<|tool_list_start|>"}}, {.all = {"List of tools: ["}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<|tool_call_start|>", .parse = parse, .shape = &shape}},
};
