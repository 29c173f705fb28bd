/* Phi-4: mini lists calls after <|tool_call|> or "functools", the reasoning models begin with <think>. FireFunction
 * writes functools as well. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<|tool_call|>", .end = "<|/tool_call|>"};
static const struct pn_json_form functools = {.start = "functools", .known = true};

const struct pn_dialect pn_dialect_phi = {
    .name = "phi",
    .detect = {{.all = {"<|/tool_call|>"}},
               {.all = {"<|/tool|>"}},
               {.all = {"<|im_sep|>"}},
               {.all = {"functools"}},
               {.all = {"<|assistant|>", "<|end|>", "<|user|>"}, .none = {"<|think|>"}}},
    .calls = {{.start = "<|tool_call|>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"},
              {.start = "functools", .parse = pn_parse_json_calls, .config = &functools, .eat = " "}},
};
