/* Hunyuan A13B and dense: <tool_call>NAME and fenced JSON inside <tool_calls>, text in <answer>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_named_form call = {
    .start = "<tool_call>", .name_end = {"```json", "\n"}, .end = "</tool_call>", .fenced = true};

static const struct pn_call_shape shape = {
    .trigger = "<tool_call>",
    .before = "<tool_call>",
    .after = "\n```json\n",
    .end = "\n```</tool_call>",
    .between = "\n",
};

const struct pn_dialect pn_dialect_hunyuan = {
    .name = "hunyuan",
    .detect = {{.all = {"<tool_calls>", "<tool_call>"}}, {.all = {"<answer>", "</answer>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_named_calls, .config = &call, .eat = "\n", .shape = &shape}},
    .lead = "<tool_calls>\n",
    .drop = {{.text = "<tool_calls>", .calls = true},
             {.text = "</tool_calls>", .calls = true},
             {.text = "<answer>\n", .separate = true},
             {.text = "\n</answer>", .separate = true},
             {.text = "<answer>", .separate = true},
             {.text = "</answer>", .separate = true}},
};
