/* DeepSeek: R1, V3 and V3.1 put a name and JSON between <｜tool▁call▁begin｜> and <｜tool▁call▁end｜>; V3.2 and V4
 * write parameters as DSML elements. */
#include "text/dialect/dialect_impl.h"

/* R1: function<｜tool▁sep｜>NAME, newline, fenced JSON. V3.1: NAME<｜tool▁sep｜>JSON. */
static const struct pn_named_form call = {
    .start = "<｜tool▁call▁begin｜>",
    .prefix = "function<｜tool▁sep｜>",
    .name_end = {"<｜tool▁sep｜>", "\n"},
    .end = "<｜tool▁call▁end｜>",
    .fenced = true,
};

static const struct pn_call_shape r1_shape = {
    .trigger = "<｜tool▁call▁begin｜>",
    .before = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    .after = "\n```json\n",
    .end = "\n```<｜tool▁call▁end｜>",
    .between = "\n",
};

static const struct pn_call_shape v3_1_shape = {
    .trigger = "<｜tool▁call▁begin｜>",
    .before = "<｜tool▁call▁begin｜>",
    .after = "<｜tool▁sep｜>",
    .end = "<｜tool▁call▁end｜>",
    .between = "",
};

const struct pn_dialect pn_dialect_deepseek = {
    .name = "deepseek",
    .detect = {{.all = {"<｜tool▁calls▁begin｜>"}, .none = {"'<think></think>'"}},
               {.all = {"<｜Assistant｜>"}, .none = {"<｜tool▁calls▁begin｜>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<｜tool▁call▁begin｜>", .parse = pn_parse_named_calls, .config = &call, .shape = &r1_shape}},
    .lead = "<｜tool▁calls▁begin｜>",
    .drop = {{.text = "<｜tool▁calls▁begin｜>", .calls = true},
             {.text = "<｜tool▁calls▁end｜>", .calls = true},
             {.text = "<｜end▁of▁sentence｜>"}},
};

const struct pn_dialect pn_dialect_deepseek_v3_1 = {
    .name = "deepseek-v3.1",
    .detect = {{.all = {"<｜tool▁calls▁begin｜>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<｜tool▁call▁begin｜>", .parse = pn_parse_named_calls, .config = &call, .shape = &v3_1_shape}},
    .lead = "<｜tool▁calls▁begin｜>",
    .drop = {{.text = "<｜tool▁calls▁begin｜>", .calls = true},
             {.text = "<｜tool▁calls▁end｜>", .calls = true},
             {.text = "<｜end▁of▁sentence｜>"}},
    .flags = PN_SPACE_IS_REASONING,
};

#define DSML_FORM(block)                                                                                               \
    {                                                                                                                  \
        .start = "<｜DSML｜" block ">", .open = "<｜DSML｜invoke name=\"", .name_end = "\">",                          \
        .param = "<｜DSML｜parameter name=\"", .key_end = "\"", .param_end = ">", .value_end = "</｜DSML｜parameter>", \
        .close = "</｜DSML｜invoke>", .end = "</｜DSML｜" block ">", .string_attribute = true,                         \
    }

static const struct pn_xml_form function_calls = DSML_FORM("function_calls");
static const struct pn_xml_form tool_calls = DSML_FORM("tool_calls");

const struct pn_dialect pn_dialect_deepseek_dsml = {
    .name = "deepseek-v3.2",
    .detect = {{.all = {"｜DSML｜", "function_calls"}}, {.all = {"｜DSML｜", "tool_calls"}}, {.all = {"dsml_token"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<｜DSML｜function_calls>",
               .parse = pn_parse_xml_calls,
               .config = &function_calls,
               .eat = "\n\n",
               .shown = "function_calls>"},
              {.start = "<｜DSML｜tool_calls>",
               .parse = pn_parse_xml_calls,
               .config = &tool_calls,
               .eat = "\n\n",
               .shown = "tool_calls>"}},
    .drop = {{.text = "<｜end▁of▁sentence｜>"}},
    .flags = PN_CALLS_END_REASONING,
};
