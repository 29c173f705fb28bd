/* Grammars from their sources: JSON schemas, GBNF, regular expressions. The front door of this room. */
#ifndef PN_GRAMMAR_SOURCE_H
#define PN_GRAMMAR_SOURCE_H

#include "grammar/grammar.h"
#include "grammar/schema.h"

enum pn_grammar_kind {
    PN_GRAMMAR_SCHEMA,
    PN_GRAMMAR_GBNF,
    PN_GRAMMAR_REGEX,  /* the whole text matches */
    PN_GRAMMAR_JSON,   /* any JSON value; the text is unused */
    PN_GRAMMAR_OBJECT, /* any JSON object; the text is unused */
    PN_N_GRAMMAR_KINDS
};

/* Compiles a source. Sources that were compiled lately are found by their content, in a cache of the process, so they
 * cost next to nothing again. NULL options: the defaults of schemas; other kinds do not use them. Any thread may call
 * it. The caller frees *out with pn_grammar_free. Errors as for the front ends and pn_grammar_compile. */
pantry_status pn_grammar_make(enum pn_grammar_kind kind, const char *text, size_t n,
                              const struct pn_schema_options *options, struct pn_grammar **out,
                              struct pantry_error *err);

/* The same as an expression of a builder, to be a part of a larger one. */
pantry_status pn_grammar_parse(struct pn_expr_builder *b, enum pn_grammar_kind kind, const char *text, size_t n,
                               const struct pn_schema_options *options, pn_expr *root, struct pantry_error *err);

#endif
