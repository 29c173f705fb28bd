/* What requests say about the form of an answer, as grammars: JSON, schemas, and calls of tools. */
#ifndef PN_SERVER_API_GUIDE_H
#define PN_SERVER_API_GUIDE_H

#include "server/answer.h"

/* How an answer may use its tools. */
struct pn_tool_rules {
    bool none;        /* not at all */
    bool required;    /* it is a call, ... */
    const char *name; /* ... of this tool (NULL: of any); borrowed */
    bool one;         /* at most one call */
    json_t *strict;   /* true per tool whose arguments obey its schema; may be NULL */
};

/* The grammar of values that are valid against a schema. Errors begin with `where`. PANTRY_INVALID: not a schema;
 * PANTRY_UNSUPPORTED: not expressible. Caller frees *out. */
pantry_status pn_guide_schema(const json_t *schema, const char *where, pantry_grammar **out, struct pantry_error *err);
pantry_status pn_guide_object(pantry_grammar **out, struct pantry_error *err);
/* llama.cpp's fields `grammar` and `json_schema`, and `regex`; *out stays as it is without them. */
pantry_status pn_guide_fields(const json_t *body, pantry_grammar **out, struct pantry_error *err);
/* Makes *grammar, the form that an answer of a chat was asked for (NULL: none), what the whole answer may be: that
 * form, or calls of `tools`, which are as templates have them (NULL: none), by the rules. NULL where nothing has to be
 * kept.
 */
pantry_status pn_guide_answer(const struct pn_loaded *loaded, const json_t *tools, const struct pn_tool_rules *rules,
                              pantry_grammar **grammar, struct pantry_error *err);

#endif
