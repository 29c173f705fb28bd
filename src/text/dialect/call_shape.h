/* How a dialect writes calls, so that a grammar can demand them: the other direction of its call parser. */
#ifndef PN_TEXT_DIALECT_CALL_SHAPE_H
#define PN_TEXT_DIALECT_CALL_SHAPE_H

#include "text/dialect/dialect.h"

enum pn_argument_syntax {
    PN_ARGUMENTS_JSON,     /* one JSON object */
    PN_ARGUMENTS_ELEMENTS, /* key_before KEY key_after [TYPE] value_before VALUE value_after [KEY key_close] ... */
    PN_ARGUMENTS_PYTHON,   /* KEY=LITERAL, KEY=LITERAL */
    PN_ARGUMENTS_GEMMA,    /* KEY:VALUE,KEY:VALUE, where strings are between `quote`, and objects have bare keys */
};

/* Words for the types of values, in elements that name them. */
struct pn_type_words {
    const char *string, *number, *boolean, *null, *array, *object;
};

/* All calls: open CALL (between CALL)* close. A call: before [ID id_after] NAME after ARGUMENTS end. Where a call is
 * demanded the answer begins with [again] lead [NAME lead_after]. Texts are never NULL, pointers may be. */
struct pn_call_shape {
    const char *trigger; /* what no answer has before its first call; "": calls have no marker */
    char open[256], before[256], after[256], end[256], close[256];
    char lead[128], lead_after[64], again[64]; /* again: between two messages of an answer */
    char id_after[64];                         /* "": no id */
    const char *between;                       /* NULL: at most one call */
    bool list;                                 /* `between` comes inside the markers of the trigger */
    bool name_in_json;                         /* the name is written as in a JSON string */
    enum pn_argument_syntax syntax;
    /* of elements: a value that is a string is written as it is, and has neither `ends` nor `avoid` in it */
    char key_before[256], key_after[64], value_before[256], value_after[256], key_close[16];
    const struct pn_type_words *types; /* NULL: elements do not tell the type */
    const char *ends, *avoid;
    bool union_is_string; /* a value that may be a string is read as one */
    const char *quote;    /* PN_ARGUMENTS_GEMMA */
};

/* The shape of the first of the dialect's forms of calls that the template's source (NULL: none) has the marker of,
 * else of its first one. False: the dialect has no calls, or writes them in a way that is not known here. */
bool pn_dialect_call_shape(const struct pn_dialect *dialect, const char *source, size_t len, struct pn_call_shape *out);

/* How answers are put together whose reasoning begins with several tokens, or whose content has a header:
 * [open REASONING close [again]] content TEXT */
struct pn_answer_frame {
    const char *open, *close, *again, *content;
};
/* False: answers are plain text after their reasoning. */
bool pn_dialect_frame(const struct pn_dialect *dialect, struct pn_answer_frame *out);

#endif
