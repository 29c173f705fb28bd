/* Cohere: Command-R writes "Action:" and a fenced list; R7B, Command A and Cohere2 MoE wrap every part of the answer in
 * its own pair of markers. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form action = {
    .start = "<|START_ACTION|>",
    .end = "<|END_ACTION|>",
    .name_key = "tool_name",
    .arguments_key = "parameters",
    .id_key = "tool_call_id",
};

const struct pn_dialect pn_dialect_cohere = {
    .name = "cohere",
    .detect = {{.all = {"<|START_ACTION|>"}}},
    .think = {{"<|START_THINKING|>", "<|END_THINKING|>"}},
    .calls = {{.start = "<|START_ACTION|>", .parse = pn_parse_json_calls, .config = &action}},
    .drop = {{.text = "<|START_TEXT|>", .ends_reasoning = true},
             {.text = "<|END_TEXT|>"},
             {.text = "<|START_RESPONSE|>", .ends_reasoning = true},
             {.text = "<|END_RESPONSE|>"},
             {.text = "<|CHATBOT_TOKEN|>"},
             {.text = "<|END_OF_TURN_TOKEN|>", .ends_reasoning = true}},
    .flags = PN_CALLS_END_REASONING,
};

static const struct pn_json_form fenced = {
    .start = "Action:",
    .prelude = "```json",
    .postlude = "```",
    .name_key = "tool_name",
    .arguments_key = "parameters",
    .known = true,
};

const struct pn_dialect pn_dialect_command_r = {
    .name = "command-r",
    .detect = {{.all = {"<|CHATBOT_TOKEN|>"}}},
    .calls = {{.start = "Action:", .parse = pn_parse_json_calls, .config = &fenced, .eat = "\n"}},
    .drop = {{.text = "<|CHATBOT_TOKEN|>"}, {.text = "<|END_OF_TURN_TOKEN|>"}, {.text = "<|START_OF_TURN_TOKEN|>"}},
};
