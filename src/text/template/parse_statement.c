/* The parser: recursive descent over the tokens of one template, with jinja2's grammar and messages.
 *
 * Depth is counted (pn_jj_enter), so hostile nesting is an error and does not overflow the stack. */
#include "text/template/parser.h"

static void parse_statements(struct jj_parser *p, const char *const *ends, bool drop, struct jj_nodes *out);

static void make_target(struct jj_parser *p, struct jj_node *target, struct jj_node *whole)
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

static struct jj_node *parse_target(struct jj_parser *p, bool with_namespace)
{
    struct jj_node *target =
        pn_jj_parse_tuple(p, (struct jj_tuple_rules){.simplified = true, .with_namespace = with_namespace});
    make_target(p, target, target);
    return target;
}

static struct jj_node *parse_target_name(struct jj_parser *p)
{
    struct jj_node *node = pn_jj_new_name(p, pn_jj_expect(p, JJ_T_NAME));
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (pn_jj_is(node->u.name.name, constants[i]))
            pn_jj_parse_fail(p, node->line, "can't assign to 'name'");
    node->u.name.store = true;
    return node;
}

static struct jj_node *parse_set(struct jj_parser *p)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_SET, pn_jj_advance(p).line);
    node->u.set.target = parse_target(p, true);
    if (jj_at(p, JJ_T_ASSIGN)) {
        pn_jj_advance(p);
        node->u.set.value = pn_jj_parse_tuple(p, (struct jj_tuple_rules){0});
        return node;
    }
    static const char *const ends[] = {"endset", NULL};
    node->kind = JJ_N_SETBLOCK;
    node->u.set.value = pn_jj_parse_filters(p, NULL, false);
    parse_statements(p, ends, true, &node->u.set.body);
    return node;
}

static struct jj_node *clone_target(struct jj_parser *p, const struct jj_node *target)
{
    struct jj_node *copy = pn_jj_new_node(p, target->kind, target->line);
    *copy = *target;
    if (target->kind == JJ_N_TUPLE) {
        copy->u.list.items = (struct jj_nodes){0};
        for (size_t i = 0; i < target->u.list.items.n; i++)
            pn_jj_nodes_push(p->r, &copy->u.list.items, clone_target(p, target->u.list.items.v[i]));
    }
    return copy;
}

static struct jj_node *parse_for(struct jj_parser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const end[] = {"endfor", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_FOR, pn_jj_advance(p).line);
    struct jj_for *loop = &node->u.loop;
    loop->target = parse_target(p, false);
    pn_jj_expect_name(p, "in");
    loop->iter = pn_jj_parse_tuple(p, (struct jj_tuple_rules){.no_cond = true});
    if (pn_jj_skip_name(p, "if")) {
        loop->test = pn_jj_parse_expression(p, true);
        loop->test_target = clone_target(p, loop->target);
    }
    loop->recursive = pn_jj_skip_name(p, "recursive");
    p->loops++;
    parse_statements(p, ends, false, &loop->body);
    p->loops--;
    if (!pn_jj_is(pn_jj_advance(p).value, "endfor")) {
        loop->has_else = true;
        /* the else part of a recursive loop is outside the loop but inside its function */
        int loops = p->loops;
        p->loops = loop->recursive ? 0 : loops;
        parse_statements(p, end, true, &loop->otherwise);
        p->loops = loops;
        loop->has_else = loop->otherwise.n > 0;
    }
    return node;
}

static struct jj_node *parse_if(struct jj_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const end[] = {"endif", NULL};
    struct jj_node *first = pn_jj_new_node(p, JJ_N_IF, pn_jj_advance(p).line), *node = first;
    for (;;) {
        node->u.cond.test = pn_jj_parse_tuple(p, (struct jj_tuple_rules){.no_cond = true});
        parse_statements(p, ends, false, &node->u.cond.body);
        struct jj_token token = pn_jj_advance(p);
        if (jj_is_name(token, "endif"))
            return first;
        node = pn_jj_new_node(p, JJ_N_IF, p->cur.line);
        pn_jj_nodes_push(p->r, &first->u.cond.more, node);
        if (jj_is_name(token, "else")) {
            parse_statements(p, end, true, &node->u.cond.body);
            return first;
        }
    }
}

static struct jj_node *parse_with(struct jj_parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_WITH, pn_jj_advance(p).line);
    while (!jj_at(p, JJ_T_BLOCK_END)) {
        if (node->u.scope.targets.n)
            pn_jj_expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &node->u.scope.targets, parse_target(p, false));
        pn_jj_expect(p, JJ_T_ASSIGN);
        pn_jj_nodes_push(p->r, &node->u.scope.values, pn_jj_parse_expression(p, true));
    }
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

static struct jj_node *parse_autoescape(struct jj_parser *p)
{
    static const char *const ends[] = {"endautoescape", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_AUTOESCAPE, pn_jj_advance(p).line);
    node->u.scope.filter = pn_jj_parse_expression(p, true);
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

/* The body of a function of jinja2: break and continue cannot leave loops around it. */
static void parse_function_body(struct jj_parser *p, const char *const *ends, struct jj_nodes *out)
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

static struct jj_node *parse_block(struct jj_parser *p)
{
    static const char *const ends[] = {"endblock", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_BLOCKDEF, pn_jj_advance(p).line);
    struct jj_block_def *def = node->u.block = pn_jj_alloc(p->r, sizeof *def);
    def->name = pn_jj_expect(p, JJ_T_NAME).value;
    def->scoped = pn_jj_skip_name(p, "scoped");
    def->required = pn_jj_skip_name(p, "required");
    if (jj_at(p, JJ_T_SUB))
        pn_jj_parse_fail(
            p, p->cur.line,
            "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore "
            "instead.");
    parse_function_body(p, ends, &def->body);
    for (size_t i = 0; def->required && i < def->body.n; i++)
        if (!is_blank_data(def->body.v[i]))
            pn_jj_parse_fail(p, p->cur.line, "Required blocks can only contain comments or whitespace");
    if (jj_at(p, JJ_T_NAME) && pn_jj_equal(p->r, p->cur.value, def->name))
        pn_jj_advance(p);
    return node;
}

static void parse_context_word(struct jj_parser *p)
{
    if ((jj_at_name(p, "with") || jj_at_name(p, "without")) && jj_is_name(pn_jj_look_ahead(p), "context")) {
        pn_jj_advance(p);
        pn_jj_advance(p);
    }
}

/* include, import, from, extends: nothing can be loaded, but the syntax is checked. */
static struct jj_node *parse_loader(struct jj_parser *p)
{
    struct jj_token tag = pn_jj_advance(p);
    struct jj_node *node = pn_jj_new_node(p, JJ_N_LOADER, tag.line);
    node->u.loader.what = tag.value;
    node->u.loader.template = pn_jj_parse_expression(p, true);
    if (jj_is_name(tag, "include") && jj_at_name(p, "ignore") && jj_is_name(pn_jj_look_ahead(p), "missing")) {
        pn_jj_advance(p);
        pn_jj_advance(p);
    }
    if (jj_is_name(tag, "import")) {
        pn_jj_expect_name(p, "as");
        node->u.loader.target = parse_target_name(p)->u.name.name;
    } else if (jj_is_name(tag, "from")) {
        pn_jj_expect_name(p, "import");
        for (;;) {
            struct jj_node *name = parse_target_name(p);
            if (name->u.name.name.u.s->p[0] == '_')
                pn_jj_parse_fail(p, name->line, "names starting with an underline can not be imported");
            if (pn_jj_skip_name(p, "as"))
                parse_target_name(p);
            if (!jj_at(p, JJ_T_COMMA))
                break;
            pn_jj_advance(p);
        }
    }
    if (!jj_is_name(tag, "extends"))
        parse_context_word(p);
    return node;
}

static void parse_signature(struct jj_parser *p, struct jj_signature *sig)
{
    pn_jj_expect(p, JJ_T_LPAREN);
    while (!jj_at(p, JJ_T_RPAREN)) {
        if (sig->params.n)
            pn_jj_expect(p, JJ_T_COMMA);
        struct jj_node *param = parse_target_name(p);
        if (jj_at(p, JJ_T_ASSIGN)) {
            pn_jj_advance(p);
            pn_jj_nodes_push(p->r, &sig->defaults, pn_jj_parse_expression(p, true));
        } else if (sig->defaults.n) {
            pn_jj_parse_fail(p, p->cur.line, "non-default argument follows default argument");
        }
        for (size_t i = 0; i < sig->params.n; i++)
            if (pn_jj_equal(p->r, sig->params.v[i]->u.name.name, param->u.name.name))
                pn_jj_syntax_error(p->r, param->line, "duplicate argument '%.*s' in function definition",
                                   (int)param->u.name.name.u.s->n, param->u.name.name.u.s->p);
        pn_jj_nodes_push(p->r, &sig->params, param);
    }
    pn_jj_expect(p, JJ_T_RPAREN);
}

static struct jj_node *parse_macro(struct jj_parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_MACRO, pn_jj_advance(p).line);
    node->u.macro.def.name = parse_target_name(p)->u.name.name;
    parse_signature(p, &node->u.macro.def.sig);
    parse_function_body(p, ends, &node->u.macro.def.body);
    return node;
}

static struct jj_node *parse_call_block(struct jj_parser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_CALLBLOCK, pn_jj_advance(p).line);
    node->u.callblock.def.name = jj_none();
    if (jj_at(p, JJ_T_LPAREN))
        parse_signature(p, &node->u.callblock.def.sig);
    node->u.callblock.call = pn_jj_parse_expression(p, true);
    if (node->u.callblock.call->kind != JJ_N_CALL)
        pn_jj_parse_fail(p, node->line, "expected call");
    parse_function_body(p, ends, &node->u.callblock.def.body);
    return node;
}

static struct jj_node *parse_generation(struct jj_parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_CALLBLOCK, pn_jj_advance(p).line);
    node->u.callblock.def.name = jj_none();
    parse_function_body(p, ends, &node->u.callblock.def.body);
    return node;
}

static struct jj_node *parse_filter_block(struct jj_parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct jj_node *node = pn_jj_new_node(p, JJ_N_FILTERBLOCK, pn_jj_advance(p).line);
    node->u.scope.filter = pn_jj_parse_filters(p, NULL, true);
    parse_statements(p, ends, true, &node->u.scope.body);
    return node;
}

static struct jj_node *parse_print(struct jj_parser *p)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_OUTPUT, pn_jj_advance(p).line);
    while (!jj_at(p, JJ_T_BLOCK_END)) {
        if (node->u.list.items.n)
            pn_jj_expect(p, JJ_T_COMMA);
        pn_jj_nodes_push(p->r, &node->u.list.items, pn_jj_parse_expression(p, true));
    }
    return node;
}

static struct jj_node *parse_jump(struct jj_parser *p)
{
    struct jj_token tag = pn_jj_advance(p);
    bool is_break = jj_is_name(tag, "break");
    if (p->loops == 0)
        pn_jj_parse_fail(p, tag.line, is_break ? "'break' outside loop" : "'continue' not properly in loop");
    return pn_jj_new_node(p, is_break ? JJ_N_BREAK : JJ_N_CONTINUE, tag.line);
}

static bool among(jv name, const char *const *list)
{
    for (; *list; list++)
        if (pn_jj_is(name, *list))
            return true;
    return false;
}

/* The end of the template, or an unknown tag, inside open blocks. */
static _Noreturn void fail_end(struct jj_parser *p, jv name, int line)
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
    pn_jj_parse_fail(p, line, b.p);
}

static const struct {
    const char *tag;
    struct jj_node *(*parse)(struct jj_parser *p);
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

static struct jj_node *parse_statement(struct jj_parser *p)
{
    struct jj_token tag = p->cur;
    if (tag.type != JJ_T_NAME)
        pn_jj_parse_fail(p, tag.line, "tag name expected");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (pn_jj_is(tag.value, statements[i].tag)) {
            if (p->n_tags == JJ_MAX_TAGS)
                pn_jj_parse_fail(p, tag.line, "too many nested blocks");
            p->tags[p->n_tags++] = tag.value;
            struct jj_node *node = statements[i].parse(p);
            p->n_tags--;
            return node;
        }
    fail_end(p, tag.value, tag.line);
}

static void push_output(struct jj_parser *p, struct jj_nodes *out, struct jj_node *expr)
{
    struct jj_node *node = pn_jj_new_node(p, JJ_N_OUTPUT, expr->line);
    pn_jj_nodes_push(p->r, &node->u.list.items, expr);
    pn_jj_nodes_push(p->r, out, node);
}

/* Text and tags up to one of `ends` (which becomes the current token), or to the end of the template. */
static void parse_body(struct jj_parser *p, const char *const *ends, struct jj_nodes *out)
{
    while (!jj_at(p, JJ_T_EOF)) {
        if (jj_at(p, JJ_T_DATA)) {
            struct jj_node *node = pn_jj_new_node(p, JJ_N_DATA, p->cur.line);
            node->u.value = pn_jj_advance(p).value;
            pn_jj_nodes_push(p->r, out, node);
        } else if (jj_at(p, JJ_T_VARIABLE_BEGIN)) {
            pn_jj_advance(p);
            push_output(p, out, pn_jj_parse_tuple(p, (struct jj_tuple_rules){0}));
            pn_jj_expect(p, JJ_T_VARIABLE_END);
        } else {
            pn_jj_advance(p);
            if (ends && jj_at(p, JJ_T_NAME) && among(p->cur.value, ends))
                return;
            pn_jj_nodes_push(p->r, out, parse_statement(p));
            pn_jj_expect(p, JJ_T_BLOCK_END);
        }
    }
}

static void parse_statements(struct jj_parser *p, const char *const *ends, bool drop, struct jj_nodes *out)
{
    if (jj_at(p, JJ_T_COLON))
        pn_jj_advance(p);
    pn_jj_expect(p, JJ_T_BLOCK_END);
    if (p->n_ends == JJ_MAX_TAGS)
        pn_jj_parse_fail(p, p->cur.line, "too many nested blocks");
    pn_jj_enter(p->r);
    p->ends[p->n_ends++] = ends;
    parse_body(p, ends, out);
    if (jj_at(p, JJ_T_EOF))
        fail_end(p, jj_none(), p->cur.line);
    p->n_ends--;
    pn_jj_leave(p->r);
    if (drop)
        pn_jj_advance(p);
}

void pn_jj_parse(struct jj_run *r, struct pn_template *t)
{
    struct jj_parser *p = pn_jj_alloc(r, sizeof *p);
    p->r = r;
    pn_jj_lexer_init(&p->lx, r, t->source, t->len);
    pn_jj_advance(p);
    parse_body(p, NULL, &t->body);
}
