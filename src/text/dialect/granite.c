/* Granite: 3.x writes a list of calls after <|tool_call|>, 4.x the calls of Hermes; 3.3 may wrap its answer in
 * <response>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form list = {.start = "<|tool_call|>"};
static const struct pn_json_form call = {.start = "<tool_call>", .end = "</tool_call>"};

const struct pn_dialect pn_dialect_granite = {
    .name = "granite",
    .detect = {{.all = {"<|start_of_role|>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"},
              {.start = "<|tool_call|>", .parse = pn_parse_json_calls, .config = &list, .eat = "\n"}},
    .drop = {{.text = "<response>", .separate = true}, {.text = "</response>", .separate = true}},
};
