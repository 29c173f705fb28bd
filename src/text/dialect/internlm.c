/* InternLM 2 and 3: <|action_start|><|plugin|>{"name": ..., "parameters": ...}<|action_end|> */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<|action_start|>", .end = "<|action_end|>", .prelude = "<|plugin|>"};

const struct pn_dialect pn_dialect_internlm = {
    .name = "internlm",
    .detect = {{.all = {"<|action_start|>"}}, {.all = {"<|plugin|>"}}},
    .calls = {{.start = "<|action_start|>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"}},
};
