/* Kimi K2 names a call by its id, functions.NAME:0, and may leave out every end marker. Kimi K3 writes elements whose
 * brackets are tokens. */
#include "text/dialect/dialect_impl.h"

static const struct pn_named_form k2_call = {
    .start = "<|tool_call_begin|>",
    .name_end = {"<|tool_call_argument_begin|>"},
    .end = "<|tool_call_end|>",
    .colon_id = true,
};

const struct pn_dialect pn_dialect_kimi_k2 = {
    .name = "kimi-k2",
    .detect = {{.all = {"<|tool_calls_section_begin|>"}}, {.all = {"<|im_middle|>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<|tool_call_begin|>", .parse = pn_parse_named_calls, .config = &k2_call}},
    .lead = "<|tool_calls_section_begin|>",
    .drop = {{.text = "<|tool_calls_section_begin|>", .ends_reasoning = true, .calls = true},
             {.text = "<|tool_calls_section_end|>", .calls = true}},
    .flags = PN_CALLS_END_REASONING,
};

static const struct pn_xml_form k3_call = {
    .open = "<|open|>call tool=\"",
    .name_end = "\"",
    .open_end = "<|sep|>",
    .param = "<|open|>argument key=\"",
    .key_end = "\"",
    .param_end = "<|sep|>",
    .value_end = "<|close|>argument<|sep|>",
    .close = "<|close|>call<|sep|>",
};

static const struct pn_type_words k3_types = {"string", "number", "boolean", "null", "array", "object"};

static const struct pn_call_shape k3_shape = {
    .trigger = "<|open|>call tool=\"",
    .before = "<|open|>call tool=\"",
    .after = "\" index=\"0\"<|sep|>",
    .end = "<|close|>call<|sep|>",
    .syntax = PN_ARGUMENTS_ELEMENTS,
    .types = &k3_types,
    .key_before = "<|open|>argument key=\"",
    .key_after = "\" type=\"",
    .value_before = "\"<|sep|>",
    .value_after = "<|close|>argument<|sep|>",
    .ends = "<|close|>argument<|sep|>",
};

const struct pn_dialect pn_dialect_kimi_k3 = {
    .name = "kimi-k3",
    .detect = {{.all = {"<|open|>", "<|close|>", "<|sep|>"}}},
    .think = {{"<|open|>think<|sep|>", "<|close|>think<|sep|>"}},
    .calls = {{.start = "<|open|>call tool=\"", .parse = pn_parse_xml_calls, .config = &k3_call, .shape = &k3_shape}},
    .lead = "<|open|>tools<|sep|>",
    .drop = {{.text = "<|open|>response<|sep|>", .ends_reasoning = true},
             {.text = "<|close|>response<|sep|>"},
             {.text = "<|open|>tools<|sep|>", .ends_reasoning = true},
             {.text = "<|close|>tools<|sep|>"},
             {.text = "<|close|>message<|sep|>", .ends_reasoning = true},
             {.text = "<|end_of_msg|>", .ends_reasoning = true}},
    .flags = PN_DROP_THINK,
};
