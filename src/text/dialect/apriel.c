/* Apriel: reasoning without an opening marker up to [BEGIN FINAL RESPONSE] (1.6), calls as a list in <tool_calls>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<tool_calls>", .end = "</tool_calls>"};

const struct pn_dialect pn_dialect_apriel = {
    .name = "apriel",
    .detect = {{.all = {"[BEGIN FINAL RESPONSE]"}}},
    .think = {{"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"}, {"<thinking>", "</thinking>"}},
    .calls = {{.start = "<tool_calls>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"}},
    .drop = {{.text = "[END FINAL RESPONSE]"}, {.text = "<|end|>"}},
    .prompt_reasoning = "Here are my reasoning steps:\n",
};
