/* Functionary: 3.1 writes <function=NAME>{...}</function>; 3.2 addresses every part, >>>all for text and >>>NAME for a
 * call, and its prompt ends with the first >>>. */
#include "text/dialect/dialect_impl.h"

static const struct pn_named_form tag = {.start = "<function=", .name_end = {">"}, .end = "</function>", .known = true};

const struct pn_dialect pn_dialect_functionary_v3_1 = {
    .name = "functionary-v3.1",
    .detect = {{.all = {"<function=", "</function>"}, .none = {"<parameter="}}},
    .calls = {{.start = "<function=", .parse = pn_parse_named_calls, .config = &tag, .eat = "\n"}},
};

static const struct pn_named_form first = {.name_end = {"\n"}, .known = true};
static const struct pn_named_form later = {.start = ">>>", .name_end = {"\n"}, .known = true};

const struct pn_dialect pn_dialect_functionary_v3_2 = {
    .name = "functionary-v3.2",
    .detect = {{.all = {">>>", "recipient"}}, {.all = {">>>all"}}},
    .calls = {{.start = ">>>", .parse = pn_parse_named_calls, .config = &later, .eat = "\n"},
              {.at_start = "*", .parse = pn_parse_named_calls, .config = &first}},
    .drop = {{.text = ">>>all\n"}},
    .drop_at_start = "all\n",
};
