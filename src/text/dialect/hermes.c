/* Hermes, Qwen 2.5 and 3, QwQ, MiMo, SmolLM3, Bielik, Reka: <tool_call>{"name": ..., "arguments": ...}</tool_call>,
 * with a <think> block before it in models that reason. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<tool_call>", .end = "</tool_call>"};

const struct pn_dialect pn_dialect_hermes = {
    .name = "hermes",
    .detect = {{.all = {"<tool_call>"}}, {.all = {"xml_tools"}}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"}},
};
