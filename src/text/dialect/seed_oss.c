/* Seed-OSS: the elements of Qwen3-Coder inside <seed:tool_call>, values exactly as written, <seed:think> before them.
 */
#include "text/dialect/dialect_impl.h"

static const struct pn_xml_form call = {
    .start = "<seed:tool_call>",
    .open = "<function=",
    .name_end = ">",
    .param = "<parameter=",
    .key_end = ">",
    .value_end = "</parameter>",
    .close = "</function>",
    .end = "</seed:tool_call>",
};

const struct pn_dialect pn_dialect_seed_oss = {
    .name = "seed-oss",
    .detect = {{.all = {"<seed:tool_call>"}}, {.all = {"<seed:think>"}}},
    .think = {{"<seed:think>", "</seed:think>"}},
    .calls = {{.start = "<seed:tool_call>", .parse = pn_parse_xml_calls, .config = &call, .eat = "\n"}},
};
