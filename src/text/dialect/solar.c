/* Solar Open: every part is a message, opened by <|think|> or <|content|>, calls carry an id before the name. */
#include "text/dialect/dialect_impl.h"

static const struct pn_named_form call = {
    .start = "<|tool_call:begin|>",
    .id_first = true,
    .id_end = "<|tool_call:name|>",
    .name_end = {"<|tool_call:args|>"},
    .end = "<|tool_call:end|>",
};

const struct pn_dialect pn_dialect_solar = {
    .name = "solar",
    .detect = {{.all = {"<|tool_call:begin|>"}}, {.all = {"<|begin|>assistant<|content|>"}}},
    .think = {{"<|think|>", "<|end|>"}},
    .calls = {{.start = "<|tool_call:begin|>", .parse = pn_parse_named_calls, .config = &call}},
    .lead = "<|tool_calls|>",
    .again = "<|begin|>assistant",
    .drop = {{.text = "<|begin|>assistant", .separate = true},
             {.text = "<|content|>"},
             {.text = "<|tool_calls|>", .calls = true},
             {.text = "<|calls|>", .calls = true},
             {.text = "<|end|>", .separate = true}},
};
