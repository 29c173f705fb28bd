/* Mistral: [TOOL_CALLS][{"name": ..., "arguments": ..., "id": ...}] up to Nemo, [TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{...}
 * after it, and [THINK] in models that reason. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form list = {.start = "[TOOL_CALLS]"};
static const struct pn_named_form named = {
    .start = "[TOOL_CALLS]", .name_end = {"[ARGS]", "{"}, .id_start = "[CALL_ID]"};

static enum pn_step parse(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    (void)config;
    char c;
    if (call->stage)
        return pn_parse_json_calls(call, cut, &list);
    struct pn_cut ahead = *cut;
    PN_TRY(pn_cut_literal(&ahead, list.start));
    PN_TRY(pn_cut_space(&ahead));
    PN_TRY(pn_cut_peek(&ahead, &c));
    return c == '[' || c == '{' ? pn_parse_json_calls(call, cut, &list) : pn_parse_named_calls(call, cut, &named);
}

const struct pn_dialect pn_dialect_mistral = {
    .name = "mistral",
    .detect = {{.all = {"[TOOL_CALLS]"}}, {.all = {"[INST]", "[/INST]"}}},
    .think = {{"[THINK]", "[/THINK]"}, {"<think>", "</think>"}},
    .calls = {{.start = "[TOOL_CALLS]", .parse = parse}},
};
