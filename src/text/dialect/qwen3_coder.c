/* Qwen3-Coder, Qwen3.5, Nemotron 3 Nano, Step 3.5: parameters as elements inside <tool_call><function=NAME>. The models
 * that do not reason sometimes leave out <tool_call>; those that do sometimes leave out </think>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_xml_form call = {
    .start = "<tool_call>",
    .open = "<function=",
    .name_end = ">",
    .param = "<parameter=",
    .key_end = ">",
    .value_end = "</parameter>",
    .close = "</function>",
    .end = "</tool_call>",
    .trim_newline = true,
};

static const struct pn_xml_form bare_call = {
    .open = "<function=",
    .name_end = ">",
    .param = "<parameter=",
    .key_end = ">",
    .value_end = "</parameter>",
    .close = "</function>",
    .end = "</tool_call>",
    .trim_newline = true,
    .known = true,
};

const struct pn_dialect pn_dialect_qwen3_coder = {
    .name = "qwen3-coder",
    .detect = {{.all = {"<tool_call>", "<function=", "<parameter="}, .none = {"<think>"}}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_xml_calls, .config = &call},
              {.start = "<function=", .parse = pn_parse_xml_calls, .config = &bare_call}},
};

const struct pn_dialect pn_dialect_qwen3_5 = {
    .name = "qwen3.5",
    .detect = {{.all = {"<tool_call>", "<function=", "<parameter="}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_xml_calls, .config = &call}},
    .flags = PN_CALLS_END_REASONING,
};
