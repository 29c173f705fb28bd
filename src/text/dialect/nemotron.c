/* Nemotron Nano v2: <TOOLCALL>[{...}]</TOOLCALL>. Version 3 speaks like Qwen3-Coder. */
#include "text/dialect/dialect_impl.h"

static const struct pn_json_form call = {.start = "<TOOLCALL>", .end = "</TOOLCALL>"};

const struct pn_dialect pn_dialect_nemotron = {
    .name = "nemotron",
    .detect = {{.all = {"<TOOLCALL>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<TOOLCALL>", .parse = pn_parse_json_calls, .config = &call, .eat = "\n"}},
    .drop = {{.text = "<SPECIAL_12>"}},
};
