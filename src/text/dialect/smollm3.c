/* SmolLM3: the calls of Hermes, or Python calls of offered tools in <code>. OLMo 3 lists Python calls in
 * <function_calls>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<tool_call>", .end = "</tool_call>"};
static const struct pn_python_form code = {.start = "<code>", .end = "</code>", .known = true, .bare = true};

const struct pn_dialect pn_dialect_smollm3 = {
    .name = "smollm3",
    .detect = {{.all = {"xml_tools", "python_tools"}}, {.all = {"SmolLM", "/no_think"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<tool_call>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"},
              {.start = "<code>", .parse = pn_parse_python_calls, .config = &code, .eat = "\n"}},
};

static const struct pn_python_form olmo_calls = {.start = "<function_calls>", .end = "</function_calls>", .bare = true};

static const struct pn_call_shape olmo_shape = {
    .trigger = "<function_calls>",
    .open = "<function_calls>\n",
    .after = "(",
    .end = ")",
    .between = "\n",
    .close = "\n</function_calls>",
    .list = true,
    .syntax = PN_ARGUMENTS_PYTHON,
};

const struct pn_dialect pn_dialect_olmo = {
    .name = "olmo",
    .detect = {{.all = {"<function_calls>"}, .none = {"<invoke"}}},
    .calls = {{.start = "<function_calls>",
               .parse = pn_parse_python_calls,
               .config = &olmo_calls,
               .eat = "\n",
               .shape = &olmo_shape}},
};
