/* MiniCPM5: <function name="NAME"><param name="KEY">VALUE</param></function>, a value may be CDATA. */
#include "text/dialect/dialect_impl.h"

static const struct pn_xml_form call = {
    .open = "<function name=\"",
    .name_end = "\">",
    .param = "<param name=\"",
    .key_end = "\">",
    .value_end = "</param>",
    .close = "</function>",
    .cdata = true,
};

const struct pn_dialect pn_dialect_minicpm = {
    .name = "minicpm5",
    .detect = {{.all = {"<function name=\"", "<param name=\""}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<function name=\"", .parse = pn_parse_xml_calls, .config = &call, .eat = "\n"}},
};
