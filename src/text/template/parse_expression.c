/* Expressions, by recursive descent with jinja2's grammar and messages. */
#include "text/template/parser.h"

#include <string.h>

static struct jj_node *parse_unary(struct jj_parser *p, bool with_filter);

static struct jj_node *new_const(struct jj_parser *p, jv value, int line)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_CONST, line);
    node->u.value = value;
    return node;
}

static struct jj_node *new_op(struct jj_parser *p, enum jj_kind kind, char op, struct jj_node *a, struct jj_node *b,
                              int line)
{
    struct jj_node *node = pn_jj_new_node(p, kind, line);
    node->u.op.op = op;
    node->u.op.a = a;
    node->u.op.b = b;
    return node;
}

/* A name never ends a tuple: "for x, in l" needs a second name, as in jinja2. */
static bool at_tuple_end(const struct jj_parser *p)
{
    return jj_at(p, JJ_T_VARIABLE_END) || jj_at(p, JJ_T_BLOCK_END) || jj_at(p, JJ_T_RPAREN);
}

static struct jj_node *parse_primary(struct jj_parser *p, bool with_namespace);

struct jj_node *pn_jj_parse_tuple(struct jj_parser *p, struct jj_tuple_rules rules)
{
    int line = p->cur.line;
    struct jj_nodes items = {0};
    bool is_tuple = false;
    pn_jj_enter(p->r);
    for (;;) {
        if (items.n)
            pn_jj_expect(p, JJ_T_COMMA);
        if (at_tuple_end(p))
            break;
        pn_jj_nodes_push(p->r, &items,
                         rules.simplified ? parse_primary(p, rules.with_namespace)
                                          : pn_jj_parse_expression(p, !rules.no_cond));
        if (!jj_at(p, JJ_T_COMMA))
            break;
        is_tuple = true;
        line = p->cur.line;
    }
    pn_jj_leave(p->r);
    if (!is_tuple && items.n)
        return items.v[0];
    if (!is_tuple && !rules.explicit_parens)
        pn_jj_syntax_error(p->r, p->cur.line, "Expected an expression, got %s", pn_jj_describe(p, p->cur));
    struct jj_node *node = pn_jj_new_node(p, JJ_N_TUPLE, line);
    node->u.list.items = items;
    return node;
}

static struct jj_node *parse_list(struct jj_parser *p)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_LISTEXPR, pn_jj_expect(p, JJ_T_LBRACKET).line);
    while (!jj_at(p, JJ_T_RBRACKET)) {
        if (node->u.list.items.n)
            pn_jj_expect(p, JJ_T_COMMA);
        if (jj_at(p, JJ_T_RBRACKET))
            break;
        pn_jj_nodes_push(p->r, &node->u.list.items, pn_jj_parse_expression(p, true));
    }
    pn_jj_expect(p, JJ_T_RBRACKET);
    return node;
}

static struct jj_node *parse_dict(struct jj_parser *p)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_DICTEXPR, pn_jj_expect(p, JJ_T_LBRACE).line);
    while (!jj_at(p, JJ_T_RBRACE)) {
        if (node->u.list.items.n)
            pn_jj_expect(p, JJ_T_COMMA);
        if (jj_at(p, JJ_T_RBRACE))
            break;
        pn_jj_nodes_push(p->r, &node->u.list.items, pn_jj_parse_expression(p, true));
        pn_jj_expect(p, JJ_T_COLON);
        pn_jj_nodes_push(p->r, &node->u.list.items, pn_jj_parse_expression(p, true));
    }
    pn_jj_expect(p, JJ_T_RBRACE);
    return node;
}

struct jj_node *pn_jj_new_name(struct jj_parser *p, struct jj_token token)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_NAME, token.line);
    node->u.name.name = token.value;
    return node;
}

static struct jj_node *parse_name(struct jj_parser *p, bool with_namespace)
{
    struct jj_token token = pn_jj_advance(p);
    if (jj_is_name(token, "true") || jj_is_name(token, "True"))
        return new_const(p, jj_bool(true), token.line);
    if (jj_is_name(token, "false") || jj_is_name(token, "False"))
        return new_const(p, jj_bool(false), token.line);
    if (jj_is_name(token, "none") || jj_is_name(token, "None"))
        return new_const(p, jj_none(), token.line);
    struct jj_node *node = pn_jj_new_name(p, token);
    if (with_namespace && jj_at(p, JJ_T_DOT)) {
        pn_jj_advance(p);
        node->kind = JJ_N_NSREF;
        node->u.name.attr = pn_jj_expect(p, JJ_T_NAME).value;
    }
    return node;
}

static struct jj_node *parse_string(struct jj_parser *p)
{
    struct jj_token token = pn_jj_advance(p);
    if (!jj_at(p, JJ_T_STRING))
        return new_const(p, token.value, token.line);
    struct jj_buf b = {.r = p->r};
    pn_jj_put_str(&b, token.value);
    while (jj_at(p, JJ_T_STRING))
        pn_jj_put_str(&b, pn_jj_advance(p).value);
    jv joined = pn_jj_buf_str(&b);
    pn_jj_chars(joined.u.s);
    return new_const(p, joined, token.line);
}

static struct jj_node *parse_primary(struct jj_parser *p, bool with_namespace)
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
        pn_jj_advance(p);
        break;
    case JJ_T_LPAREN:
        pn_jj_advance(p);
        node = pn_jj_parse_tuple(p, (struct jj_tuple_rules){.explicit_parens = true});
        pn_jj_expect(p, JJ_T_RPAREN);
        break;
    case JJ_T_LBRACKET:
        node = parse_list(p);
        break;
    case JJ_T_LBRACE:
        node = parse_dict(p);
        break;
    default:
        pn_jj_syntax_error(p->r, p->cur.line, "unexpected %s", pn_jj_describe(p, p->cur));
    }
    pn_jj_leave(p->r);
    return node;
}

static struct jj_node *parse_subscribed(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *start = NULL;
    if (!jj_at(p, JJ_T_COLON)) {
        start = pn_jj_parse_expression(p, true);
        if (!jj_at(p, JJ_T_COLON))
            return start;
    }
    pn_jj_advance(p);
    struct jj_node *node = pn_jj_new_node(p, JJ_N_SLICE, line);
    node->u.op.a = start;
    if (!jj_at(p, JJ_T_COLON) && !jj_at(p, JJ_T_RBRACKET) && !jj_at(p, JJ_T_COMMA))
        node->u.op.b = pn_jj_parse_expression(p, true);
    if (jj_at(p, JJ_T_COLON)) {
        pn_jj_advance(p);
        if (!jj_at(p, JJ_T_RBRACKET) && !jj_at(p, JJ_T_COMMA))
            node->u.op.c = pn_jj_parse_expression(p, true);
    }
    return node;
}

static struct jj_node *parse_subscript(struct jj_parser *p, struct jj_node *obj)
{
    struct jj_token token = pn_jj_advance(p);
    if (token.type == JJ_T_DOT) {
        struct jj_token attr = pn_jj_advance(p);
        if (attr.type == JJ_T_NAME) {
            struct jj_node *node = pn_jj_new_node(p, JJ_N_GETATTR, token.line);
            node->u.attr.obj = obj;
            node->u.attr.name = attr.value;
            return node;
        }
        if (attr.type != JJ_T_INTEGER)
            pn_jj_parse_fail(p, attr.line, "expected name or number");
        return new_op(p, JJ_N_GETITEM, 0, obj, new_const(p, attr.value, attr.line), token.line);
    }
    struct jj_nodes args = {0};
    while (!jj_at(p, JJ_T_RBRACKET)) {
        if (args.n)
            pn_jj_expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &args, parse_subscribed(p));
    }
    pn_jj_expect(p, JJ_T_RBRACKET);
    if (args.n == 1)
        return new_op(p, JJ_N_GETITEM, 0, obj, args.v[0], token.line);
    for (size_t i = 0; i < args.n; i++)
        if (args.v[i]->kind == JJ_N_SLICE)
            pn_jj_parse_fail(p, token.line, "invalid syntax");
    struct jj_node *tuple = pn_jj_new_node(p, JJ_N_TUPLE, token.line);
    tuple->u.list.items = args;
    return new_op(p, JJ_N_GETITEM, 0, obj, tuple, token.line);
}

static void push_keyword(struct jj_parser *p, struct jj_call_args *args, jv name, struct jj_node *value)
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

static void parse_call_args(struct jj_parser *p, struct jj_call_args *args)
{
    int line = pn_jj_expect(p, JJ_T_LPAREN).line;
    bool comma = false, good = true;
    while (!jj_at(p, JJ_T_RPAREN)) {
        if (comma) {
            pn_jj_expect(p, JJ_T_COMMA);
            if (jj_at(p, JJ_T_RPAREN))
                break;
        }
        if (jj_at(p, JJ_T_MUL)) {
            good = !args->dyn_pos && !args->dyn_kw;
            if (good) {
                pn_jj_advance(p);
                args->dyn_pos = pn_jj_parse_expression(p, true);
            }
        } else if (jj_at(p, JJ_T_POW)) {
            good = !args->dyn_kw;
            if (good) {
                pn_jj_advance(p);
                args->dyn_kw = pn_jj_parse_expression(p, true);
            }
        } else if (jj_at(p, JJ_T_NAME) && pn_jj_look_ahead(p).type == JJ_T_ASSIGN) {
            good = !args->dyn_kw;
            if (good) {
                jv name = pn_jj_advance(p).value;
                pn_jj_advance(p);
                push_keyword(p, args, name, pn_jj_parse_expression(p, true));
            }
        } else {
            good = !args->dyn_pos && !args->dyn_kw && args->kw_values.n == 0;
            if (good)
                pn_jj_nodes_push(p->r, &args->pos, pn_jj_parse_expression(p, true));
        }
        if (!good)
            pn_jj_parse_fail(p, line, "invalid syntax for function call expression");
        comma = true;
    }
    pn_jj_expect(p, JJ_T_RPAREN);
}

static struct jj_node *parse_call(struct jj_parser *p, struct jj_node *fn)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_CALL, p->cur.line);
    node->u.call.fn = fn;
    parse_call_args(p, &node->u.call.args);
    return node;
}

static struct jj_node *parse_postfix(struct jj_parser *p, struct jj_node *node)
{
    for (;;) {
        if (jj_at(p, JJ_T_DOT) || jj_at(p, JJ_T_LBRACKET))
            node = parse_subscript(p, node);
        else if (jj_at(p, JJ_T_LPAREN))
            node = parse_call(p, node);
        else
            return node;
    }
}

/* name(.name)* of a filter or test */
static jv parse_dotted(struct jj_parser *p, int *line)
{
    struct jj_token token = pn_jj_expect(p, JJ_T_NAME);
    *line = token.line;
    jv name = token.value;
    while (jj_at(p, JJ_T_DOT)) {
        pn_jj_advance(p);
        struct jj_buf b = {.r = p->r};
        pn_jj_put_str(&b, name);
        pn_jj_putc(&b, '.');
        pn_jj_put_str(&b, pn_jj_expect(p, JJ_T_NAME).value);
        name = pn_jj_buf_str(&b);
    }
    return name;
}

struct jj_node *pn_jj_parse_filters(struct jj_parser *p, struct jj_node *node, bool inlined)
{
    while (inlined || jj_at(p, JJ_T_PIPE)) {
        if (!inlined)
            pn_jj_advance(p);
        inlined = false;
        struct jj_node *filter = pn_jj_new_node(p, JJ_N_FILTER, 0);
        filter->u.filter.input = node;
        filter->u.filter.name = parse_dotted(p, &filter->line);
        filter->u.filter.filter = pn_jj_find_filter(filter->u.filter.name.u.s->p, filter->u.filter.name.u.s->n);
        if (jj_at(p, JJ_T_LPAREN))
            parse_call_args(p, &filter->u.filter.args);
        node = filter;
    }
    return node;
}

static struct jj_node *parse_test(struct jj_parser *p, struct jj_node *input)
{
    int line = pn_jj_advance(p).line, name_line;
    bool negated = pn_jj_skip_name(p, "not");
    struct jj_node *node = pn_jj_new_node(p, JJ_N_TEST, line);
    node->u.filter.input = input;
    node->u.filter.name = parse_dotted(p, &name_line);
    node->u.filter.test = pn_jj_find_test(node->u.filter.name.u.s->p, node->u.filter.name.u.s->n);
    if (jj_at(p, JJ_T_LPAREN)) {
        parse_call_args(p, &node->u.filter.args);
    } else if ((jj_at(p, JJ_T_NAME) || jj_at(p, JJ_T_STRING) || jj_at(p, JJ_T_INTEGER) || jj_at(p, JJ_T_FLOAT) ||
                jj_at(p, JJ_T_LBRACKET) || jj_at(p, JJ_T_LBRACE)) &&
               !jj_at_name(p, "else") && !jj_at_name(p, "or") && !jj_at_name(p, "and")) {
        if (jj_at_name(p, "is"))
            pn_jj_parse_fail(p, p->cur.line, "You cannot chain multiple tests with is");
        pn_jj_nodes_push(p->r, &node->u.filter.args.pos, parse_postfix(p, parse_primary(p, false)));
    }
    return negated ? new_op(p, JJ_N_NOT, 0, node, NULL, line) : node;
}

static struct jj_node *parse_filter_expr(struct jj_parser *p, struct jj_node *node)
{
    for (;;) {
        if (jj_at(p, JJ_T_PIPE))
            node = pn_jj_parse_filters(p, node, false);
        else if (jj_at_name(p, "is"))
            node = parse_test(p, node);
        else if (jj_at(p, JJ_T_LPAREN))
            node = parse_call(p, node);
        else
            return node;
    }
}

static struct jj_node *parse_unary(struct jj_parser *p, bool with_filter)
{
    int line = p->cur.line;
    struct jj_node *node;
    if (jj_at(p, JJ_T_SUB) || jj_at(p, JJ_T_ADD)) {
        char op = jj_at(p, JJ_T_SUB) ? '-' : '+';
        pn_jj_enter(p->r);
        pn_jj_advance(p);
        node = new_op(p, JJ_N_UNARY, op, parse_unary(p, false), NULL, line);
        pn_jj_leave(p->r);
    } else {
        node = parse_primary(p, false);
    }
    node = parse_postfix(p, node);
    return with_filter ? parse_filter_expr(p, node) : node;
}

static struct jj_node *parse_pow(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_unary(p, true);
    while (jj_at(p, JJ_T_POW)) {
        pn_jj_advance(p);
        left = new_op(p, JJ_N_BINARY, 'P', left, parse_unary(p, true), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_product(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_pow(p);
    while (jj_at(p, JJ_T_MUL) || jj_at(p, JJ_T_DIV) || jj_at(p, JJ_T_FLOORDIV) || jj_at(p, JJ_T_MOD)) {
        enum jj_token_type t = pn_jj_advance(p).type;
        char op = t == JJ_T_MUL ? '*' : t == JJ_T_DIV ? '/' : t == JJ_T_FLOORDIV ? 'F' : '%';
        left = new_op(p, JJ_N_BINARY, op, left, parse_pow(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_concat(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *first = parse_product(p);
    if (!jj_at(p, JJ_T_TILDE))
        return first;
    struct jj_node *node = pn_jj_new_node(p, JJ_N_CONCAT, line);
    pn_jj_nodes_push(p->r, &node->u.list.items, first);
    while (jj_at(p, JJ_T_TILDE)) {
        pn_jj_advance(p);
        pn_jj_nodes_push(p->r, &node->u.list.items, parse_product(p));
    }
    return node;
}

static struct jj_node *parse_sum(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_concat(p);
    while (jj_at(p, JJ_T_ADD) || jj_at(p, JJ_T_SUB)) {
        char op = pn_jj_advance(p).type == JJ_T_ADD ? '+' : '-';
        left = new_op(p, JJ_N_BINARY, op, left, parse_concat(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_compare(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *first = parse_sum(p), *node = NULL;
    for (;;) {
        enum jj_token_type op = p->cur.type;
        if (op >= JJ_T_EQ && op <= JJ_T_LTEQ) {
            pn_jj_advance(p);
        } else if (pn_jj_skip_name(p, "in")) {
            op = JJ_T_NAME;
        } else if (jj_at_name(p, "not") && jj_is_name(pn_jj_look_ahead(p), "in")) {
            pn_jj_advance(p);
            pn_jj_advance(p);
            op = JJ_T_SEMICOLON;
        } else {
            return node ? node : first;
        }
        if (!node) {
            node = pn_jj_new_node(p, JJ_N_COMPARE, line);
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

static struct jj_node *parse_not(struct jj_parser *p)
{
    if (!jj_at_name(p, "not"))
        return parse_compare(p);
    int line = pn_jj_advance(p).line;
    pn_jj_enter(p->r);
    struct jj_node *node = new_op(p, JJ_N_NOT, 0, parse_not(p), NULL, line);
    pn_jj_leave(p->r);
    return node;
}

static struct jj_node *parse_and(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_not(p);
    while (pn_jj_skip_name(p, "and")) {
        left = new_op(p, JJ_N_AND, 0, left, parse_not(p), line);
        line = p->cur.line;
    }
    return left;
}

static struct jj_node *parse_or(struct jj_parser *p)
{
    int line = p->cur.line;
    struct jj_node *left = parse_and(p);
    while (pn_jj_skip_name(p, "or")) {
        left = new_op(p, JJ_N_OR, 0, left, parse_and(p), line);
        line = p->cur.line;
    }
    return left;
}

struct jj_node *pn_jj_parse_expression(struct jj_parser *p, bool with_cond)
{
    int line = p->cur.line;
    pn_jj_enter(p->r);
    struct jj_node *expr = parse_or(p);
    while (with_cond && pn_jj_skip_name(p, "if")) {
        struct jj_node *test = parse_or(p);
        expr = new_op(p, JJ_N_COND, 0, expr, test, line);
        if (pn_jj_skip_name(p, "else"))
            expr->u.op.c = pn_jj_parse_expression(p, true);
        line = p->cur.line;
    }
    pn_jj_leave(p->r);
    return expr;
}
