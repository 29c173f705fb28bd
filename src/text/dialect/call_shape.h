/* How a dialect writes calls, so that a grammar can demand them: the other direction of its call parser. */
#ifndef PN_TEXT_DIALECT_CALL_SHAPE_H
#define PN_TEXT_DIALECT_CALL_SHAPE_H

#include "text/dialect/dialect.h"

/* All calls: open CALL (between CALL)* close. A call: before NAME after ARGUMENTS end. Texts are never NULL. */
struct pn_call_shape {
    const char *trigger; /* what no answer has before its first call; "": calls have no marker */
    char open[256], before[256], after[256], end[256], close[256];
    const char *between; /* NULL: at most one call */
    bool list;           /* `between` comes inside the markers of the trigger */
    bool name_in_json;   /* the name is written as in a JSON string */
    /* Arguments as elements (else one JSON object): an element is key_before KEY value_before VALUE value_after; a
     * value that is a string is written as it is and has no `ends` in it. */
    bool elements;
    char key_before[256], value_before[256], value_after[256];
    const char *ends;
};

/* False: the dialect writes calls in a way that is not known here. */
bool pn_dialect_call_shape(const struct pn_dialect *dialect, struct pn_call_shape *out);

#endif
