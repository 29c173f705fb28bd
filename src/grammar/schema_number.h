/* Numbers as expressions. */
#ifndef PN_GRAMMAR_SCHEMA_NUMBER_H
#define PN_GRAMMAR_SCHEMA_NUMBER_H

#include "grammar/schema_impl.h"

/* The spellings of the numbers that the constraints admit; `place` is for messages. */
pn_expr pn_number_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_number *number);

#endif
