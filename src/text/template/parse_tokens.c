/* The tokens of a parser, and new nodes. */
#include "text/template/parser.h"

#include <string.h>

_Noreturn void pn_jj_parse_fail(struct jj_parser *p, int line, const char *message)
{
    pn_jj_syntax_error(p->r, line, "%s", message);
}

struct jj_token pn_jj_advance(struct jj_parser *p)
{
    struct jj_token old = p->cur;
    if (p->has_ahead) {
        p->cur = p->ahead;
        p->has_ahead = false;
    } else if (old.type != JJ_T_EOF || p->cur.line == 0) {
        p->cur = pn_jj_lexer_next(&p->lx);
        if (p->cur.type == JJ_T_EOF && old.line)
            p->cur.line = old.line;
    }
    return old;
}

struct jj_token pn_jj_look_ahead(struct jj_parser *p)
{
    if (!p->has_ahead) {
        struct jj_token old = p->cur;
        pn_jj_advance(p);
        p->ahead = p->cur;
        p->cur = old;
        p->has_ahead = true;
    }
    return p->ahead;
}

bool pn_jj_skip_name(struct jj_parser *p, const char *name)
{
    if (!jj_at_name(p, name))
        return false;
    pn_jj_advance(p);
    return true;
}

const char *pn_jj_describe(struct jj_parser *p, struct jj_token t)
{
    return pn_jj_repr(p->r, t.type == JJ_T_NAME ? t.value : pn_jj_cstr(p->r, pn_jj_token_text(t.type)));
}

static _Noreturn void fail_expected(struct jj_parser *p, const char *what)
{
    const char *quoted = pn_jj_repr(p->r, pn_jj_cstr(p->r, what));
    if (jj_at(p, JJ_T_EOF))
        pn_jj_syntax_error(p->r, p->cur.line, "unexpected end of template, expected %s.", quoted);
    pn_jj_syntax_error(p->r, p->cur.line, "expected token %s, got %s", quoted, pn_jj_describe(p, p->cur));
}

struct jj_token pn_jj_expect(struct jj_parser *p, enum jj_token_type type)
{
    if (!jj_at(p, type))
        fail_expected(p, pn_jj_token_text(type));
    return pn_jj_advance(p);
}

struct jj_token pn_jj_expect_name(struct jj_parser *p, const char *name)
{
    if (!jj_at_name(p, name))
        fail_expected(p, name);
    return pn_jj_advance(p);
}

/* ---- nodes ---- */

struct jj_node *pn_jj_new_node(struct jj_parser *p, enum jj_kind kind, int line)
{
    struct jj_node *node = pn_jj_alloc(p->r, sizeof *node);
    node->kind = kind;
    node->line = line;
    return node;
}

void pn_jj_nodes_push(struct jj_run *r, struct jj_nodes *nodes, struct jj_node *node)
{
    if (nodes->n == nodes->cap) {
        size_t cap = nodes->cap ? nodes->cap * 2 : 4;
        struct jj_node **v = pn_jj_array(r, cap, sizeof *v);
        if (nodes->n)
            memcpy(v, nodes->v, nodes->n * sizeof(struct jj_node *));
        nodes->v = v;
        nodes->cap = cap;
    }
    nodes->v[nodes->n++] = node;
}
