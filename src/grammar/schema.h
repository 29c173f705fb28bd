/* JSON schemas (draft 2020-12, and what earlier drafts share with it) as expressions. docs/schemas.md lists the
 * keywords.
 *
 * The language of a schema is the JSON texts of valid values: properties in the order of `properties`, undeclared ones
 * last, strings and numbers as Python's json.dumps writes them. What cannot be expressed is an error that begins with
 * the path of the keyword. */
#ifndef PN_GRAMMAR_SCHEMA_H
#define PN_GRAMMAR_SCHEMA_H

#include "grammar/expr.h"

#include <jansson.h>

enum pn_schema_space {
    PN_SCHEMA_FLEXIBLE, /* a space may follow each comma and colon */
    PN_SCHEMA_COMPACT,  /* no white space */
    PN_SCHEMA_INDENTED  /* as flexible; besides, a new line and up to 40 spaces between tokens */
};

struct pn_schema_options {
    enum pn_schema_space space;
    /* Where `properties` stands without a word about others (`additionalProperties`, ...), there are no others; the
     * same for items after `prefixItems`. */
    bool closed;
};

/* The texts of the values that are valid against the schema, an expression of `b`; several schemas may share a builder.
 * The schema is only read; it has to be a tree, as json_load makes it, read with JSON_REJECT_DUPLICATES and
 * JSON_ALLOW_NUL where that matters. NULL options: flexible, open. PANTRY_FORMAT: not a schema; PANTRY_UNSUPPORTED: not
 * expressible; PANTRY_LIMIT: too large. */
pantry_status pn_schema_expr(struct pn_expr_builder *b, const json_t *schema, const struct pn_schema_options *options,
                             pn_expr *out, struct pantry_error *err);

/* The same from text. */
pantry_status pn_schema_parse(struct pn_expr_builder *b, const char *text, size_t n,
                              const struct pn_schema_options *options, pn_expr *out, struct pantry_error *err);

/* Any JSON value, or any object. */
pantry_status pn_schema_any(struct pn_expr_builder *b, bool object, const struct pn_schema_options *options,
                            pn_expr *out, struct pantry_error *err);

#endif
