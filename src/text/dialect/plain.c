/* An unknown template: a leading block of reasoning in any common spelling, and text. */
#include "text/dialect/dialect_impl.h"

const struct pn_dialect pn_dialect_plain = {.name = "plain"};
