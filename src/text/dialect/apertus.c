/* Apertus: <|tools_prefix|>[{"NAME": {...}}]<|tools_suffix|>, thoughts between <|inner_prefix|> and <|inner_suffix|>.
 */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<|tools_prefix|>", .end = "<|tools_suffix|>", .name_is_key = true};

const struct pn_dialect pn_dialect_apertus = {
    .name = "apertus",
    .detect = {{.all = {"<|tools_prefix|>"}}},
    .think = {{"<|inner_prefix|>", "<|inner_suffix|>"}},
    .calls = {{.start = "<|tools_prefix|>", .parse = pn_parse_json_calls, .config = &call}},
};
