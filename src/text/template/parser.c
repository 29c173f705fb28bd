/* The parser: recursive descent over the tokens of one template, with jinja2's grammar and messages.
 *
 * Depth is counted (pn_jj_enter), so hostile nesting ends in an error, not in a full stack. */
#include "text/template/ast.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TAGS = 256 };

struct parser {
    struct jj_run *r;
    struct jj_lexer lx;
    struct jj_token cur, ahead;
    bool has_ahead;
    const char *const *ends[MAX_TAGS]; /* the tags that close the open blocks, NULL-terminated lists */
    jv tags[MAX_TAGS];                 /* the open blocks */
    size_t n_ends, n_tags;
    int loops; /* open loops of this function, for break and continue */
};

static struct jj_node *parse_expression(struct parser *p, bool with_cond);
static struct jj_node *parse_unary(struct parser *p, bool with_filter);
static void parse_statements(struct parser *p, const char *const *ends, bool drop, struct jj_nodes *out);

/* ---- tokens ---- */

static _Noreturn void fail(struct parser *p, int line, const char *message)
{
    pn_jj_syntax_error(p->r, line, "%s", message);
}

static struct jj_token advance(struct parser *p)
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

static struct jj_token look(struct parser *p)
{
    if (!p->has_ahead) {
        struct jj_token old = p->cur;
        advance(p);
        p->ahead = p->cur;
        p->cur = old;
        p->has_ahead = true;
    }
    return p->ahead;
}

static bool is_name(struct jj_token t, const char *name)
{
    return t.type == JJ_T_NAME && pn_jj_is(t.value, name);
}

static bool at(const struct parser *p, enum jj_token_type type)
{
    return p->cur.type == type;
}

static bool at_name(const struct parser *p, const char *name)
{
    return is_name(p->cur, name);
}

static bool skip_name(struct parser *p, const char *name)
{
    if (!at_name(p, name))
        return false;
    advance(p);
    return true;
}

/* repr() of how a message calls a token */
static const char *describe(struct parser *p, struct jj_token t)
{
    return pn_jj_repr(p->r, t.type == JJ_T_NAME ? t.value : pn_jj_cstr(p->r, pn_jj_token_text(t.type)));
}

static _Noreturn void fail_expected(struct parser *p, const char *what)
{
    const char *quoted = pn_jj_repr(p->r, pn_jj_cstr(p->r, what));
    if (at(p, JJ_T_EOF))
        pn_jj_syntax_error(p->r, p->cur.line, "unexpected end of template, expected %s.", quoted);
    pn_jj_syntax_error(p->r, p->cur.line, "expected token %s, got %s", quoted, describe(p, p->cur));
}

static struct jj_token expect(struct parser *p, enum jj_token_type type)
{
    if (!at(p, type))
        fail_expected(p, pn_jj_token_text(type));
    return advance(p);
}

static struct jj_token expect_name(struct parser *p, const char *name)
{
    if (!at_name(p, name))
        fail_expected(p, name);
    return advance(p);
}

/* ---- nodes ---- */

static struct jj_node *new_node(struct parser *p, enum jj_kind kind, int line)
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

static struct jj_node *new_const(struct parser *p, jv value, int line)
{
    struct jj_node *node = new_node(p, JJ_N_CONST, line);
    node->u.value = value;
    return node;
}

static struct jj_node *new_op(struct parser *p, enum jj_kind kind, char op, struct jj_node *a, struct jj_node *b,
                              int line)
{
    struct jj_node *node = new_node(p, kind, line);
    node->u.op.op = op;
    node->u.op.a = a;
    node->u.op.b = b;
    return node;
}

/* ---- expressions ---- */

/* A name never ends a tuple: "for x, in l" wants a second name, as in jinja2. */
static bool at_tuple_end(const struct parser *p)
{
    return at(p, JJ_T_VARIABLE_END) || at(p, JJ_T_BLOCK_END) || at(p, JJ_T_RPAREN);
}

static struct jj_node *parse_primary(struct parser *p, bool with_namespace);

struct tuple_rules {
    bool simplified, no_cond, explicit_parens, with_namespace;
};

static struct jj_node *parse_tuple(struct parser *p, struct tuple_rules rules)
{
    int line = p->cur.line;
    struct jj_nodes items = {0};
    bool is_tuple = false;
    pn_jj_enter(p->r);
    for (;;) {
        if (items.n)
            expect(p, JJ_T_COMMA);
        if (at_tuple_end(p))
            break;
        pn_jj_nodes_push(p->r, &items,
                         rules.simplified ? parse_primary(p, rules.with_namespace)
                                          : parse_expression(p, !rules.no_cond));
        if (!at(p, JJ_T_COMMA))
            break;
        is_tuple = true;
        line = p->cur.line;
    }
    pn_jj_leave(p->r);
    if (!is_tuple && items.n)
        return items.v[0];
    if (!is_tuple && !rules.explicit_parens)
        pn_jj_syntax_error(p->r, p->cur.line, "Expected an expression, got %s", describe(p, p->cur));
    struct jj_node *node = new_node(p, JJ_N_TUPLE, line);
    node->u.list.items = items;
    return node;
}

static struct jj_node *parse_list(struct parser *p)
{
    struct jj_node *node = new_node(p, JJ_N_LISTEXPR, expect(p, JJ_T_LBRACKET).line);
    while (!at(p, JJ_T_RBRACKET)) {
        if (node->u.list.items.n)
            expect(p, JJ_T_COMMA);
        if (at(p, JJ_T_RBRACKET))
            break;
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_expression(p, true));
    }
    expect(p, JJ_T_RBRACKET);
    return node;
}

static struct jj_node *parse_dict(struct parser *p)
{
    struct jj_node *node = new_node(p, JJ_N_DICTEXPR, expect(p, JJ_T_LBRACE).line);
    while (!at(p, JJ_T_RBRACE)) {
        if (node->u.list.items.n)
            expect(p, JJ_T_COMMA);
        if (at(p, JJ_T_RBRACE))
            break;
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_expression(p, true));
        expect(p, JJ_T_COLON);
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_expression(p, true));
    }
    expect(p, JJ_T_RBRACE);
    return node;
}

static struct jj_node *new_name(struct parser *p, struct jj_token token)
{
    struct jj_node *node = new_node(p, JJ_N_NAME, token.line);
    node->u.name.name = token.value;
    return node;
}

static struct jj_node *parse_name(struct parser *p, bool with_namespace)
{
    struct jj_token token = advance(p);
    if (is_name(token, "true") || is_name(token, "True"))
        return new_const(p, jj_bool(true), token.line);
    if (is_name(token, "false") || is_name(token, "False"))
        return new_const(p, jj_bool(false), token.line);
    if (is_name(token, "none") || is_name(token, "None"))
        return new_const(p, jj_none(), token.line);
    struct jj_node *node = new_name(p, token);
    if (with_namespace && at(p, JJ_T_DOT)) {
        advance(p);
        node->kind = JJ_N_NSREF;
        node->u.name.attr = expect(p, JJ_T_NAME).value;
    }
    return node;
}

static struct jj_node *parse_string(struct parser *p)
{
    struct jj_token token = advance(p);
    if (!at(p, JJ_T_STRING))
        return new_const(p, token.value, token.line);
    struct jj_buf b = {.r = p->r};
    pn_jj_put_str(&b, token.value);
    while (at(p, JJ_T_STRING))
        pn_jj_put_str(&b, advance(p).value);
    jv joined = pn_jj_buf_str(&b);
    pn_jj_chars(joined.u.s);
    return new_const(p, joined, token.line);
}

static struct jj_node *parse_primary(struct parser *p, bool with_namespace)
{
    struct jj_node *node = NULL;
    pn_jj_enter(p->r);
    switch (p->cur.type) {
    case JJ_T_NAME:
        node = parse_name(p, with_namespace);
        break;
    case JJ_T_STRING:
        node = parse_string(p);
        break;
    case JJ_T_INTEGER:
    case JJ_T_FLOAT:
        node = new_const(p, p->cur.value, p->cur.line);
        advance(p);
        break;
    case JJ_T_LPAREN:
        advance(p);
        node = parse_tuple(p, (struct tuple_rules){.explicit_parens = true});
        expect(p, JJ_T_RPAREN);
        break;
    case JJ_T_LBRACKET:
        node = parse_list(p);
        break;
    case JJ_T_LBRACE:
        node = parse_dict(p);
        break;
    default:
        pn_jj_syntax_error(p->r, p->cur.line, "unexpected %s", describe(p, p->cur));
    }
    pn_jj_leave(p->r);
    return node;
}

static struct jj_node *parse_subscribed(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *start = NULL;
    if (!at(p, JJ_T_COLON)) {
        start = parse_expression(p, true);
        if (!at(p, JJ_T_COLON))
            return start;
    }
    advance(p);
    struct jj_node *node = new_node(p, JJ_N_SLICE, line);
    node->u.op.a = start;
    if (!at(p, JJ_T_COLON) && !at(p, JJ_T_RBRACKET) && !at(p, JJ_T_COMMA))
        node->u.op.b = parse_expression(p, true);
    if (at(p, JJ_T_COLON)) {
        advance(p);
        if (!at(p, JJ_T_RBRACKET) && !at(p, JJ_T_COMMA))
            node->u.op.c = parse_expression(p, true);
    }
    return node;
}

static struct jj_node *parse_subscript(struct parser *p, struct jj_node *obj)
{
    struct jj_token token = advance(p);
    if (token.type == JJ_T_DOT) {
        struct jj_token attr = advance(p);
        if (attr.type == JJ_T_NAME) {
            struct jj_node *node = new_node(p, JJ_N_GETATTR, token.line);
            node->u.attr.obj = obj;
            node->u.attr.name = attr.value;
            return node;
        }
        if (attr.type != JJ_T_INTEGER)
            fail(p, attr.line, "expected name or number");
        return new_op(p, JJ_N_GETITEM, 0, obj, new_const(p, attr.value, attr.line), token.line);
    }
    struct jj_nodes args = {0};
    while (!at(p, JJ_T_RBRACKET)) {
        if (args.n)
            expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &args, parse_subscribed(p));
    }
    expect(p, JJ_T_RBRACKET);
    if (args.n == 1)
        return new_op(p, JJ_N_GETITEM, 0, obj, args.v[0], token.line);
    for (size_t i = 0; i < args.n; i++)
        if (args.v[i]->kind == JJ_N_SLICE)
            fail(p, token.line, "invalid syntax");
    struct jj_node *tuple = new_node(p, JJ_N_TUPLE, token.line);
    tuple->u.list.items = args;
    return new_op(p, JJ_N_GETITEM, 0, obj, tuple, token.line);
}

static void push_keyword(struct parser *p, struct jj_call_args *args, jv name, struct jj_node *value)
{
    size_t n = args->kw_values.n;
    for (size_t i = 0; i < n; i++)
        if (pn_jj_equal(p->r, args->kw_names[i], name))
            pn_jj_syntax_error(p->r, value->line, "keyword argument repeated: %s",
                               name.u.s->p ? pn_jj_sprintf(p->r, "%.*s", (int)name.u.s->n, name.u.s->p) : "");
    jv *names = pn_jj_array(p->r, n + 1, sizeof *names);
    if (n)
        memcpy(names, args->kw_names, n * sizeof *names);
    names[n] = name;
    args->kw_names = names;
    pn_jj_nodes_push(p->r, &args->kw_values, value);
}

static void parse_call_args(struct parser *p, struct jj_call_args *args)
{
    int line = expect(p, JJ_T_LPAREN).line;
    bool comma = false, good = true;
    while (!at(p, JJ_T_RPAREN)) {
        if (comma) {
            expect(p, JJ_T_COMMA);
            if (at(p, JJ_T_RPAREN))
                break;
        }
        if (at(p, JJ_T_MUL)) {
            good = !args->dyn_pos && !args->dyn_kw;
            if (good) {
                advance(p);
                args->dyn_pos = parse_expression(p, true);
            }
        } else if (at(p, JJ_T_POW)) {
            good = !args->dyn_kw;
            if (good) {
                advance(p);
                args->dyn_kw = parse_expression(p, true);
            }
        } else if (at(p, JJ_T_NAME) && look(p).type == JJ_T_ASSIGN) {
            good = !args->dyn_kw;
            if (good) {
                jv name = advance(p).value;
                advance(p);
                push_keyword(p, args, name, parse_expression(p, true));
            }
        } else {
            good = !args->dyn_pos && !args->dyn_kw && args->kw_values.n == 0;
            if (good)
                pn_jj_nodes_push(p->r, &args->pos, parse_expression(p, true));
        }
        if (!good)
            fail(p, line, "invalid syntax for function call expression");
        comma = true;
    }
    expect(p, JJ_T_RPAREN);
}

static struct jj_node *parse_call(struct parser *p, struct jj_node *fn)
{
    struct jj_node *node = new_node(p, JJ_N_CALL, p->cur.line);
    node->u.call.fn = fn;
    parse_call_args(p, &node->u.call.args);
    return node;
}

static struct jj_node *parse_postfix(struct parser *p, struct jj_node *node)
{
    for (;;) {
        if (at(p, JJ_T_DOT) || at(p, JJ_T_LBRACKET))
            node = parse_subscript(p, node);
        else if (at(p, JJ_T_LPAREN))
            node = parse_call(p, node);
        else
            return node;
    }
}

/* name(.name)* of a filter or test */
static jv parse_dotted(struct parser *p, int *line)
{
    struct jj_token token = expect(p, JJ_T_NAME);
    *line = token.line;
    jv name = token.value;
    while (at(p, JJ_T_DOT)) {
        advance(p);
        struct jj_buf b = {.r = p->r};
        pn_jj_put_str(&b, name);
        pn_jj_putc(&b, '.');
        pn_jj_put_str(&b, expect(p, JJ_T_NAME).value);
        name = pn_jj_buf_str(&b);
    }
    return name;
}

/* Filters after `node`; with `inlined` the first one has no bar before it. */
static struct jj_node *parse_filters(struct parser *p, struct jj_node *node, bool inlined)
{
    while (inlined || at(p, JJ_T_PIPE)) {
        if (!inlined)
            advance(p);
        inlined = false;
        struct jj_node *filter = new_node(p, JJ_N_FILTER, 0);
        filter->u.filter.input = node;
        filter->u.filter.name = parse_dotted(p, &filter->line);
        filter->u.filter.filter = pn_jj_find_filter(filter->u.filter.name.u.s->p, filter->u.filter.name.u.s->n);
        if (at(p, JJ_T_LPAREN))
            parse_call_args(p, &filter->u.filter.args);
        node = filter;
    }
    return node;
}

static struct jj_node *parse_test(struct parser *p, struct jj_node *input)
{
    int line = advance(p).line, name_line;
    bool negated = skip_name(p, "not");
    struct jj_node *node = new_node(p, JJ_N_TEST, line);
    node->u.filter.input = input;
    node->u.filter.name = parse_dotted(p, &name_line);
    node->u.filter.test = pn_jj_find_test(node->u.filter.name.u.s->p, node->u.filter.name.u.s->n);
    if (at(p, JJ_T_LPAREN)) {
        parse_call_args(p, &node->u.filter.args);
    } else if ((at(p, JJ_T_NAME) || at(p, JJ_T_STRING) || at(p, JJ_T_INTEGER) || at(p, JJ_T_FLOAT) ||
                at(p, JJ_T_LBRACKET) || at(p, JJ_T_LBRACE)) &&
               !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and")) {
        if (at_name(p, "is"))
            fail(p, p->cur.line, "You cannot chain multiple tests with is");
        pn_jj_nodes_push(p->r, &node->u.filter.args.pos, parse_postfix(p, parse_primary(p, false)));
    }
    return negated ? new_op(p, JJ_N_NOT, 0, node, NULL, line) : node;
}

static struct jj_node *parse_filter_expr(struct parser *p, struct jj_node *node)
{
    for (;;) {
        if (at(p, JJ_T_PIPE))
            node = parse_filters(p, node, false);
        else if (at_name(p, "is"))
            node = parse_test(p, node);
        else if (at(p, JJ_T_LPAREN))
            node = parse_call(p, node);
        else
            return node;
    }
}

static struct jj_node *parse_unary(struct parser *p, bool with_filter)
{
    int line = p->cur.line;
    struct jj_node *node;
    if (at(p, JJ_T_SUB) || at(p, JJ_T_ADD)) {
        char op = at(p, JJ_T_SUB) ? '-' : '+';
        pn_jj_enter(p->r);
        advance(p);
        node = new_op(p, JJ_N_UNARY, op, parse_unary(p, false), NULL, line);
        pn_jj_leave(p->r);
    } else {
        node = parse_primary(p, false);
    }
    node = parse_postfix(p, node);
    return with_filter ? parse_filter_expr(p, node) : node;
}

static struct jj_node *parse_pow(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_unary(p, true);
    while (at(p, JJ_T_POW)) {
        advance(p);
        left = new_op(p, JJ_N_BINARY, 'P', left, parse_unary(p, true), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_product(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_pow(p);
    while (at(p, JJ_T_MUL) || at(p, JJ_T_DIV) || at(p, JJ_T_FLOORDIV) || at(p, JJ_T_MOD)) {
        enum jj_token_type t = advance(p).type;
        char op = t == JJ_T_MUL ? '*' : t == JJ_T_DIV ? '/' : t == JJ_T_FLOORDIV ? 'F' : '%';
        left = new_op(p, JJ_N_BINARY, op, left, parse_pow(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_concat(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *first = parse_product(p);
    if (!at(p, JJ_T_TILDE))
        return first;
    struct jj_node *node = new_node(p, JJ_N_CONCAT, line);
    pn_jj_nodes_push(p->r, &node->u.list.items, first);
    while (at(p, JJ_T_TILDE)) {
        advance(p);
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_product(p));
    }
    return node;
}

static struct jj_node *parse_sum(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_concat(p);
    while (at(p, JJ_T_ADD) || at(p, JJ_T_SUB)) {
        char op = advance(p).type == JJ_T_ADD ? '+' : '-';
        left = new_op(p, JJ_N_BINARY, op, left, parse_concat(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_compare(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *first = parse_sum(p), *node = NULL;
    for (;;) {
        enum jj_token_type op = p->cur.type;
        if (op >= JJ_T_EQ && op <= JJ_T_LTEQ) {
            advance(p);
        } else if (skip_name(p, "in")) {
            op = JJ_T_NAME;
        } else if (at_name(p, "not") && is_name(look(p), "in")) {
            advance(p);
            advance(p);
            op = JJ_T_SEMICOLON;
        } else {
            return node ? node : first;
        }
        if (!node) {
            node = new_node(p, JJ_N_COMPARE, line);
            node->u.list.first = first;
        }
        size_t n = node->u.list.items.n;
        enum jj_token_type *ops = pn_jj_array(p->r, n + 1, sizeof *ops);
        if (n)
            memcpy(ops, node->u.list.ops, n * sizeof *ops);
        ops[n] = op;
        node->u.list.ops = ops;
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_sum(p));
        pn_jj_step(p->r, n);
    }
}

static struct jj_node *parse_not(struct parser *p)
{
    if (!at_name(p, "not"))
        return parse_compare(p);
    int line = advance(p).line;
    pn_jj_enter(p->r);
    struct jj_node *node = new_op(p, JJ_N_NOT, 0, parse_not(p), NULL, line);
    pn_jj_leave(p->r);
    return node;
}

static struct jj_node *parse_and(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_not(p);
    while (skip_name(p, "and")) {
        left = new_op(p, JJ_N_AND, 0, left, parse_not(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_or(struct parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_and(p);
    while (skip_name(p, "or")) {
        left = new_op(p, JJ_N_OR, 0, left, parse_and(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_expression(struct parser *p, bool with_cond)
{
    int line = p->cur.line;
    pn_jj_enter(p->r);
    struct jj_node *expr = parse_or(p);
    while (with_cond && skip_name(p, "if")) {
        struct jj_node *test = parse_or(p);
        expr = new_op(p, JJ_N_COND, 0, expr, test, line);
        if (skip_name(p, "else"))
            expr->u.op.c = parse_expression(p, true);
        line = p->cur.line;
    }
    pn_jj_leave(p->r);
    return expr;
}

/* ---- statements ---- */

static void make_target(struct parser *p, struct jj_node *target, struct jj_node *whole)
{
    static const char *const names[] = {
        [JJ_N_CONST] = "const",   [JJ_N_NAME] = "name",       [JJ_N_NSREF] = "nsref",     [JJ_N_TUPLE] = "tuple",
        [JJ_N_LISTEXPR] = "list", [JJ_N_DICTEXPR] = "dict",   [JJ_N_UNARY] = "neg",       [JJ_N_NOT] = "not",
        [JJ_N_AND] = "and",       [JJ_N_OR] = "or",           [JJ_N_COMPARE] = "compare", [JJ_N_CONCAT] = "concat",
        [JJ_N_COND] = "condexpr", [JJ_N_GETATTR] = "getattr", [JJ_N_GETITEM] = "getitem", [JJ_N_SLICE] = "slice",
        [JJ_N_CALL] = "call",     [JJ_N_FILTER] = "filter",   [JJ_N_TEST] = "test",
    };
    if (target->kind == JJ_N_NAME) {
        target->u.name.store = true;
    } else if (target->kind == JJ_N_TUPLE) {
        for (size_t i = 0; i < target->u.list.items.n; i++)
            make_target(p, target->u.list.items.v[i], whole);
    } else if (target->kind != JJ_N_NSREF) {
        const char *name = names[whole->kind];
        if (whole->kind == JJ_N_BINARY) {
            char op = whole->u.op.op;
            name = op == '+'   ? "add"
                   : op == '-' ? "sub"
                   : op == '*' ? "mul"
                   : op == '/' ? "div"
                   : op == 'F' ? "floordiv"
                   : op == '%' ? "mod"
                               : "pow";
        }
        pn_jj_syntax_error(p->r, whole->line, "can't assign to '%s'", name);
    }
}

static struct jj_node *parse_target(struct parser *p, bool with_namespace)
{
    struct jj_node *target = parse_tuple(p, (struct tuple_rules){.simplified = true, .with_namespace = with_namespace});
    make_target(p, target, target);
    return target;
}

static struct jj_node *parse_target_name(struct parser *p)
{
    struct jj_node *node = new_name(p, expect(p, JJ_T_NAME));
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (pn_jj_is(node->u.name.name, constants[i]))
            fail(p, node->line, "can't assign to 'name'");
    node->u.name.store = true;
    return node;
}

static struct jj_node *parse_set(struct parser *p)
{
    struct jj_node *node = new_node(p, JJ_N_SET, advance(p).line);
    node->u.set.target = parse_target(p, true);
    if (at(p, JJ_T_ASSIGN)) {
        advance(p);
        node->u.set.value = parse_tuple(p, (struct tuple_rules){0});
        return node;
    }
    static const char *const ends[] = {"endset", NULL};
    node->kind = JJ_N_SETBLOCK;
    node->u.set.value = parse_filters(p, NULL, false);
    parse_statements(p, ends, true, &node->u.set.body);
    return node;
}

static struct jj_node *clone_target(struct parser *p, const struct jj_node *target)
{
    struct jj_node *copy = new_node(p, target->kind, target->line);
    *copy = *target;
    if (target->kind == JJ_N_TUPLE) {
        copy->u.list.items = (struct jj_nodes){0};
        for (size_t i = 0; i < target->u.list.items.n; i++)
            pn_jj_nodes_push(p->r, &copy->u.list.items, clone_target(p, target->u.list.items.v[i]));
    }
    return copy;
}

static struct jj_node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const end[] = {"endfor", NULL};
    struct jj_node *node = new_node(p, JJ_N_FOR, advance(p).line);
    struct jj_for *loop = &node->u.loop;
    loop->target = parse_target(p, false);
    expect_name(p, "in");
    loop->iter = parse_tuple(p, (struct tuple_rules){.no_cond = true});
    if (skip_name(p, "if")) {
        loop->test = parse_expression(p, true);
        loop->test_target = clone_target(p, loop->target);
    }
    loop->recursive = skip_name(p, "recursive");
    p->loops++;
    parse_statements(p, ends, false, &loop->body);
    p->loops--;
    if (!pn_jj_is(advance(p).value, "endfor")) {
        loop->has_else = true;
        /* of a recursive loop, the else part is outside of the loop but inside of its function */
        int loops = p->loops;
        p->loops = loop->recursive ? 0 : loops;
        parse_statements(p, end, true, &loop->otherwise);
        p->loops = loops;
        loop->has_else = loop->otherwise.n > 0;
    }
    return node;
}

static struct jj_node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const end[] = {"endif", NULL};
    struct jj_node *first = new_node(p, JJ_N_IF, advance(p).line), *node = first;
    for (;;) {
        node->u.cond.test = parse_tuple(p, (struct tuple_rules){.no_cond = true});
        parse_statements(p, ends, false, &node->u.cond.body);
        struct jj_token token = advance(p);
        if (is_name(token, "endif"))
            return first;
        node = new_node(p, JJ_N_IF, p->cur.line);
        pn_jj_nodes_push(p->r, &first->u.cond.more, node);
        if (is_name(token, "else")) {
            parse_statements(p, end, true, &node->u.cond.body);
            return first;
        }
    }
}

static struct jj_node *parse_with(struct parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct jj_node *node = new_node(p, JJ_N_WITH, advance(p).line);
    while (!at(p, JJ_T_BLOCK_END)) {
        if (node->u.scope.targets.n)
            expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &node->u.scope.targets, parse_target(p, false));
        expect(p, JJ_T_ASSIGN);
        pn_jj_nodes_push(p->r, &node->u.scope.values, parse_expression(p, true));
    }
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

static struct jj_node *parse_autoescape(struct parser *p)
{
    static const char *const ends[] = {"endautoescape", NULL};
    struct jj_node *node = new_node(p, JJ_N_AUTOESCAPE, advance(p).line);
    node->u.scope.filter = parse_expression(p, true);
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

/* The body of something that is a function in jinja2: loops around it can't be left from inside. */
static void parse_function_body(struct parser *p, const char *const *ends, struct jj_nodes *out)
{
    int loops = p->loops;
    p->loops = 0;
    parse_statements(p, ends, true, out);
    p->loops = loops;
}

static bool is_blank_data(const struct jj_node *node)
{
    if (node->kind != JJ_N_DATA)
        return false;
    const struct jj_str *s = node->u.value.u.s;
    for (size_t i = 0, used; i < s->n; i += used)
        if (!pn_jj_is_space(pn_jj_decode(s->p + i, s->p + s->n, &used)))
            return false;
    return true;
}

static struct jj_node *parse_block(struct parser *p)
{
    static const char *const ends[] = {"endblock", NULL};
    struct jj_node *node = new_node(p, JJ_N_BLOCKDEF, advance(p).line);
    struct jj_block_def *def = node->u.block = pn_jj_alloc(p->r, sizeof *def);
    def->name = expect(p, JJ_T_NAME).value;
    def->scoped = skip_name(p, "scoped");
    def->required = skip_name(p, "required");
    if (at(p, JJ_T_SUB))
        fail(p, p->cur.line,
             "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore "
             "instead.");
    parse_function_body(p, ends, &def->body);
    for (size_t i = 0; def->required && i < def->body.n; i++)
        if (!is_blank_data(def->body.v[i]))
            fail(p, p->cur.line, "Required blocks can only contain comments or whitespace");
    if (at(p, JJ_T_NAME) && pn_jj_equal(p->r, p->cur.value, def->name))
        advance(p);
    return node;
}

static void parse_context_word(struct parser *p)
{
    if ((at_name(p, "with") || at_name(p, "without")) && is_name(look(p), "context")) {
        advance(p);
        advance(p);
    }
}

/* include, import, from, extends: there is nothing to load from, but the syntax is checked. */
static struct jj_node *parse_loader(struct parser *p)
{
    struct jj_token tag = advance(p);
    struct jj_node *node = new_node(p, JJ_N_LOADER, tag.line);
    node->u.loader.what = tag.value;
    node->u.loader.template = parse_expression(p, true);
    if (is_name(tag, "include") && at_name(p, "ignore") && is_name(look(p), "missing")) {
        advance(p);
        advance(p);
    }
    if (is_name(tag, "import")) {
        expect_name(p, "as");
        node->u.loader.target = parse_target_name(p)->u.name.name;
    } else if (is_name(tag, "from")) {
        expect_name(p, "import");
        for (;;) {
            struct jj_node *name = parse_target_name(p);
            if (name->u.name.name.u.s->p[0] == '_')
                fail(p, name->line, "names starting with an underline can not be imported");
            if (skip_name(p, "as"))
                parse_target_name(p);
            if (!at(p, JJ_T_COMMA))
                break;
            advance(p);
        }
    }
    if (!is_name(tag, "extends"))
        parse_context_word(p);
    return node;
}

static void parse_signature(struct parser *p, struct jj_signature *sig)
{
    expect(p, JJ_T_LPAREN);
    while (!at(p, JJ_T_RPAREN)) {
        if (sig->params.n)
            expect(p, JJ_T_COMMA);
        struct jj_node *param = parse_target_name(p);
        if (at(p, JJ_T_ASSIGN)) {
            advance(p);
            pn_jj_nodes_push(p->r, &sig->defaults, parse_expression(p, true));
        } else if (sig->defaults.n) {
            fail(p, p->cur.line, "non-default argument follows default argument");
        }
        for (size_t i = 0; i < sig->params.n; i++)
            if (pn_jj_equal(p->r, sig->params.v[i]->u.name.name, param->u.name.name))
                pn_jj_syntax_error(p->r, param->line, "duplicate argument '%.*s' in function definition",
                                   (int)param->u.name.name.u.s->n, param->u.name.name.u.s->p);
        pn_jj_nodes_push(p->r, &sig->params, param);
    }
    expect(p, JJ_T_RPAREN);
}

static struct jj_node *parse_macro(struct parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct jj_node *node = new_node(p, JJ_N_MACRO, advance(p).line);
    node->u.macro.def.name = parse_target_name(p)->u.name.name;
    parse_signature(p, &node->u.macro.def.sig);
    parse_function_body(p, ends, &node->u.macro.def.body);
    return node;
}

static struct jj_node *parse_call_block(struct parser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    struct jj_node *node = new_node(p, JJ_N_CALLBLOCK, advance(p).line);
    node->u.callblock.def.name = jj_none();
    if (at(p, JJ_T_LPAREN))
        parse_signature(p, &node->u.callblock.def.sig);
    node->u.callblock.call = parse_expression(p, true);
    if (node->u.callblock.call->kind != JJ_N_CALL)
        fail(p, node->line, "expected call");
    parse_function_body(p, ends, &node->u.callblock.def.body);
    return node;
}

static struct jj_node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct jj_node *node = new_node(p, JJ_N_CALLBLOCK, advance(p).line);
    node->u.callblock.def.name = jj_none();
    parse_function_body(p, ends, &node->u.callblock.def.body);
    return node;
}

static struct jj_node *parse_filter_block(struct parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct jj_node *node = new_node(p, JJ_N_FILTERBLOCK, advance(p).line);
    node->u.scope.filter = parse_filters(p, NULL, true);
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

static struct jj_node *parse_print(struct parser *p)
{
    struct jj_node *node = new_node(p, JJ_N_OUTPUT, advance(p).line);
    while (!at(p, JJ_T_BLOCK_END)) {
        if (node->u.list.items.n)
            expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_expression(p, true));
    }
    return node;
}

static struct jj_node *parse_jump(struct parser *p)
{
    struct jj_token tag = advance(p);
    bool is_break = is_name(tag, "break");
    if (p->loops == 0)
        fail(p, tag.line, is_break ? "'break' outside loop" : "'continue' not properly in loop");
    return new_node(p, is_break ? JJ_N_BREAK : JJ_N_CONTINUE, tag.line);
}

static bool among(jv name, const char *const *list)
{
    for (; *list; list++)
        if (pn_jj_is(name, *list))
            return true;
    return false;
}

/* The end of the template, or an unknown tag, inside of blocks that wait for their end. */
static _Noreturn void fail_end(struct parser *p, jv name, int line)
{
    struct jj_buf b = {.r = p->r};
    bool expected = false;
    if (name.t == JJ_STR)
        pn_jj_puts(&b, pn_jj_sprintf(p->r, "Encountered unknown tag %s.", pn_jj_repr(p->r, name)));
    else
        pn_jj_puts(&b, "Unexpected end of template.");
    for (size_t i = 0; name.t == JJ_STR && i < p->n_ends; i++)
        expected = expected || among(name, p->ends[i]);
    if (p->n_ends) {
        pn_jj_puts(&b, expected ? " You probably made a nesting mistake. Jinja is expecting this tag, but currently "
                                  "looking for "
                                : " Jinja was looking for the following tags: ");
        for (const char *const *e = p->ends[p->n_ends - 1]; *e; e++) {
            if (e != p->ends[p->n_ends - 1])
                pn_jj_puts(&b, " or ");
            pn_jj_puts(&b, pn_jj_sprintf(p->r, "'%s'", *e));
        }
        pn_jj_putc(&b, '.');
    }
    if (p->n_tags)
        pn_jj_puts(&b, pn_jj_sprintf(p->r, " The innermost block that needs to be closed is %s.",
                                     pn_jj_repr(p->r, p->tags[p->n_tags - 1])));
    pn_jj_putc(&b, '\0');
    fail(p, line, b.p);
}

static const struct {
    const char *tag;
    struct jj_node *(*parse)(struct parser *p);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"break", parse_jump},
    {"continue", parse_jump},
    {"print", parse_print},
    {"block", parse_block},
    {"include", parse_loader},
    {"import", parse_loader},
    {"from", parse_loader},
    {"extends", parse_loader},
    {"autoescape", parse_autoescape},
};

static struct jj_node *parse_statement(struct parser *p)
{
    struct jj_token tag = p->cur;
    if (tag.type != JJ_T_NAME)
        fail(p, tag.line, "tag name expected");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (pn_jj_is(tag.value, statements[i].tag)) {
            if (p->n_tags == MAX_TAGS)
                fail(p, tag.line, "too many nested blocks");
            p->tags[p->n_tags++] = tag.value;
            struct jj_node *node = statements[i].parse(p);
            p->n_tags--;
            return node;
        }
    fail_end(p, tag.value, tag.line);
}

static void push_output(struct parser *p, struct jj_nodes *out, struct jj_node *expr)
{
    struct jj_node *node = new_node(p, JJ_N_OUTPUT, expr->line);
    pn_jj_nodes_push(p->r, &node->u.list.items, expr);
    pn_jj_nodes_push(p->r, out, node);
}

/* Text and tags up to one of `ends` (which becomes the current token), or to the end of the template. */
static void parse_body(struct parser *p, const char *const *ends, struct jj_nodes *out)
{
    while (!at(p, JJ_T_EOF)) {
        if (at(p, JJ_T_DATA)) {
            struct jj_node *node = new_node(p, JJ_N_DATA, p->cur.line);
            node->u.value = advance(p).value;
            pn_jj_nodes_push(p->r, out, node);
        } else if (at(p, JJ_T_VARIABLE_BEGIN)) {
            advance(p);
            push_output(p, out, parse_tuple(p, (struct tuple_rules){0}));
            expect(p, JJ_T_VARIABLE_END);
        } else {
            advance(p);
            if (ends && at(p, JJ_T_NAME) && among(p->cur.value, ends))
                return;
            pn_jj_nodes_push(p->r, out, parse_statement(p));
            expect(p, JJ_T_BLOCK_END);
        }
    }
}

static void parse_statements(struct parser *p, const char *const *ends, bool drop, struct jj_nodes *out)
{
    if (at(p, JJ_T_COLON))
        advance(p);
    expect(p, JJ_T_BLOCK_END);
    if (p->n_ends == MAX_TAGS)
        fail(p, p->cur.line, "too many nested blocks");
    pn_jj_enter(p->r);
    p->ends[p->n_ends++] = ends;
    parse_body(p, ends, out);
    if (at(p, JJ_T_EOF))
        fail_end(p, jj_none(), p->cur.line);
    p->n_ends--;
    pn_jj_leave(p->r);
    if (drop)
        advance(p);
}

void pn_jj_parse(struct jj_run *r, struct pn_template *t)
{
    struct parser *p = pn_jj_alloc(r, sizeof *p);
    p->r = r;
    pn_jj_lexer_init(&p->lx, r, t->source, t->len);
    advance(p);
    parse_body(p, NULL, &t->body);
}
