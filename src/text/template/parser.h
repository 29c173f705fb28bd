/* Shared by the files of the parser: its state and tokens (parse_tokens.c), and expressions (parse_expression.c), which
 * statements (parse_statement.c) consist of. */
#ifndef PN_TEXT_TEMPLATE_PARSER_H
#define PN_TEXT_TEMPLATE_PARSER_H

#include "text/template/ast.h"

enum { JJ_MAX_TAGS = 256 };

struct jj_parser {
    struct jj_run *r;
    struct jj_lexer lx;
    struct jj_token cur, ahead;
    bool has_ahead;
    const char *const *ends[JJ_MAX_TAGS]; /* the tags that close the open blocks, NULL-terminated lists */
    jv tags[JJ_MAX_TAGS];                 /* the open blocks */
    size_t n_ends, n_tags;
    int loops; /* open loops of this function, for break and continue */
};

/* ---- tokens ---- */

static inline bool jj_is_name(struct jj_token t, const char *name)
{
    return t.type == JJ_T_NAME && pn_jj_is(t.value, name);
}

static inline bool jj_at(const struct jj_parser *p, enum jj_token_type type)
{
    return p->cur.type == type;
}

static inline bool jj_at_name(const struct jj_parser *p, const char *name)
{
    return jj_is_name(p->cur, name);
}

_Noreturn void pn_jj_parse_fail(struct jj_parser *p, int line, const char *message);
struct jj_token pn_jj_advance(struct jj_parser *p); /* takes the current token */
struct jj_token pn_jj_look_ahead(struct jj_parser *p);
/* Takes the name if it is the current token. */
bool pn_jj_skip_name(struct jj_parser *p, const char *name);
/* Takes a token; any other one is an error. */
struct jj_token pn_jj_expect(struct jj_parser *p, enum jj_token_type type);
struct jj_token pn_jj_expect_name(struct jj_parser *p, const char *name);
/* repr() of a token's name in messages */
const char *pn_jj_describe(struct jj_parser *p, struct jj_token t);
struct jj_node *pn_jj_new_node(struct jj_parser *p, enum jj_kind kind, int line);

/* ---- expressions ---- */

struct jj_tuple_rules {
    bool simplified, no_cond, explicit_parens, with_namespace;
};

struct jj_node *pn_jj_new_name(struct jj_parser *p, struct jj_token token);
struct jj_node *pn_jj_parse_expression(struct jj_parser *p, bool with_cond);
struct jj_node *pn_jj_parse_tuple(struct jj_parser *p, struct jj_tuple_rules rules);
/* Filters after `node`; with `inlined` the first one has no bar before it. */
struct jj_node *pn_jj_parse_filters(struct jj_parser *p, struct jj_node *node, bool inlined);

#endif
