/* GigaChat: a call is a message of its own in version 3, and follows <|function_call|> in 3.1. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form message = {.start = "<|message_sep|>\n\nfunction call<|role_sep|>\n"};
static const struct pn_json_form token = {.start = "<|function_call|>"};

const struct pn_dialect pn_dialect_gigachat = {
    .name = "gigachat",
    .detect = {{.all = {"<|role_sep|>", "<|message_sep|>"}}},
    .calls = {{.start = "<|message_sep|>\n\nfunction call<|role_sep|>\n",
               .parse = pn_parse_json_calls,
               .config = &message},
              {.start = "<|function_call|>", .parse = pn_parse_json_calls, .config = &token}},
    .drop = {{.text = "<|message_sep|>"}},
};
