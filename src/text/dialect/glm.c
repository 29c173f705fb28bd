/* GLM 4.5 to 4.7, Laguna, Spark: <tool_call>NAME, then <arg_key>KEY</arg_key><arg_value>VALUE</arg_value> pairs. Ling 3
 * writes the same, and lets a call end its reasoning; Hunyuan 3 has its own spelling of every marker. */
#include "text/dialect/dialect_impl.h"

static const struct pn_xml_form call = {
    .start = "<tool_call>",
    .param = "<arg_key>",
    .key_end = "</arg_key>",
    .value = "<arg_value>",
    .value_end = "</arg_value>",
    .close = "</tool_call>",
};

const struct pn_dialect pn_dialect_glm = {
    .name = "glm",
    .detect = {{.all = {"<arg_key>", "<arg_value>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_xml_calls, .config = &call, .eat = "\n"}},
    .drop = {{.text = "</assistant>"}},
};

const struct pn_dialect pn_dialect_ling = {
    .name = "ling",
    .detect = {{.all = {"<role>ASSISTANT</role>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_xml_calls, .config = &call}},
    .drop = {{.text = "<|role_end|>"}},
    .flags = PN_CALLS_END_REASONING | PN_KEEP_NEWLINE | PN_DROP_THINK,
};

static const struct pn_xml_form hunyuan_call = {
    .start = "<tool_call:opensource>",
    .name_end = "<tool_sep:opensource>",
    .param = "<arg_key:opensource>",
    .key_end = "</arg_key:opensource>",
    .value = "<arg_value:opensource>",
    .value_end = "</arg_value:opensource>",
    .close = "</tool_call:opensource>",
};

const struct pn_dialect pn_dialect_hunyuan3 = {
    .name = "hunyuan3",
    .detect = {{.all = {"toolsep_token", "argkey_begin_token"}}},
    .think = {{"<think:opensource>", "</think:opensource>"}, {"<think>", "</think>"}},
    .calls = {{.start = "<tool_call:opensource>", .parse = pn_parse_xml_calls, .config = &hunyuan_call, .eat = "\n"}},
    .drop = {{.text = "<tool_calls:opensource>", .calls = true}, {.text = "</tool_calls:opensource>", .calls = true}},
};
