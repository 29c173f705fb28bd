/* Calls of tools as expressions of a grammar, in the syntax of a dialect (text/dialect/call_shape.h). */
#ifndef PN_ENGINE_TOOL_TEXT_H
#define PN_ENGINE_TOOL_TEXT_H

#include "grammar/expr.h"
#include "text/dialect/call_shape.h"
#include "text/tokenizer/tokenizer.h"

#include <jansson.h>

struct pn_tool_writer {
    struct pn_expr_builder *b;
    struct pn_call_shape shape;
    const struct pn_tokenizer *tokenizer; /* whose control tokens the markers are written with; NULL: none */
    const char *name;                     /* the only tool; NULL: any */
    bool demanded;                        /* calls begin with what leads to them; otherwise after the trigger */
};

enum { PN_MAX_TOOL_ITEMS = 512 };

/* (tool_marks.c) A marker: control tokens of the model, where it has some with these spellings, and bytes. */
pn_expr pn_tool_marker(const struct pn_tool_writer *writer, const char *text);
/* What the marker is made of, for a key of a cache. */
void pn_tool_marker_key(const struct pn_tokenizer *tokenizer, const char *text, struct pn_buf *key);
/* Calls of `tools` ([{"function": {"name", "parameters"}}]), with `parallel` several one after the other. Errors begin
 * with "tools" or "tool_choice". */
pantry_status pn_tool_calls(const struct pn_tool_writer *writer, const json_t *tools, bool parallel, pn_expr *out,
                            struct pantry_error *err);

/* The arguments of one call (tool_values.c). `tool` is for errors. */
pantry_status pn_tool_arguments(const struct pn_tool_writer *writer, const json_t *schema, const char *tool,
                                pn_expr *out, struct pantry_error *err);
/* Any text without `end`, without `also` (may be NULL), and without zero bytes. */
pn_expr pn_tool_plain_text(const struct pn_tool_writer *writer, const char *end, const char *also);

#endif
