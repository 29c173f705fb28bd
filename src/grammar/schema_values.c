/* Expressions that all schemas share: separators, strings, free values, references to goals. */
#include "grammar/schema_impl.h"

#include <stdlib.h>
#include <string.h>

pn_expr pn_expr_pair(struct pn_schema *s, pn_expr a, pn_expr b)
{
    pn_expr both[] = {a, b};
    return pn_expr_seq(s->b, both, 2);
}

pn_expr pn_expr_optional(struct pn_schema *s, pn_expr e)
{
    return pn_expr_repeat(s->b, e, 0, 1);
}

pn_expr pn_schema_quoted(struct pn_schema *s, pn_expr text)
{
    pn_expr quote = pn_expr_literal(s->b, "\"", 1);
    pn_expr all[] = {quote, pn_expr_json_chars(s->b, text), quote};
    return pn_expr_seq(s->b, all, 3);
}

pn_expr pn_schema_string(struct pn_schema *s, struct pn_str text)
{
    struct pn_buf out = {0};
    pn_buf_putc(&out, '"');
    for (size_t i = 0; i < text.len; i++) {
        static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        unsigned char c = (unsigned char)text.data[i];
        const char *found = c ? strchr(plain, c) : NULL;
        if (found)
            pn_buf_printf(&out, "\\%c", letters[found - plain]);
        else if (c < 0x20)
            pn_buf_printf(&out, "\\u%04x", c);
        else
            pn_buf_putc(&out, (char)c);
    }
    pn_buf_putc(&out, '"');
    pn_expr e = PN_EXPR_NONE;
    if (out.failed)
        pn_schema_no_memory(s);
    else
        e = pn_expr_literal(s->b, out.data, out.len);
    pn_buf_free(&out);
    return e;
}

static pn_expr digits(struct pn_schema *s, int min)
{
    const struct pn_code_range range = {'0', '9'};
    return pn_expr_repeat(s->b, pn_expr_class(s->b, &range, 1, false), min, PN_EXPR_NO_MAX);
}

static pn_expr one_of(struct pn_schema *s, const char *characters)
{
    struct pn_code_range ranges[8];
    size_t n = 0;
    for (; *characters && n < 8; characters++)
        ranges[n++] = (struct pn_code_range){(unsigned char)*characters, (unsigned char)*characters};
    return pn_expr_class(s->b, ranges, n, false);
}

/* A number as in RFC 8259, with an exponent that a double has. */
static pn_expr number(struct pn_schema *s)
{
    struct pn_expr_builder *b = s->b;
    const struct pn_code_range nonzero = {'1', '9'}, digit = {'0', '9'}, one_two = {'1', '2'}, up_to_7 = {'0', '7'};
    pn_expr d = pn_expr_class(b, &digit, 1, false);
    pn_expr whole[] = {pn_expr_literal(b, "0", 1), pn_expr_pair(s, pn_expr_class(b, &nonzero, 1, false), digits(s, 0))};
    pn_expr hundreds[] = {pn_expr_class(b, &one_two, 1, false), d, d};
    pn_expr power[] = {pn_expr_repeat(b, d, 1, 2), pn_expr_seq(b, hundreds, 3),
                       pn_expr_pair(s, pn_expr_literal(b, "30", 2), pn_expr_class(b, &up_to_7, 1, false))};
    pn_expr exponent[] = {one_of(s, "eE"), pn_expr_optional(s, one_of(s, "+-")), pn_expr_choice(b, power, 3)};
    pn_expr all[] = {pn_expr_optional(s, pn_expr_literal(b, "-", 1)), pn_expr_choice(b, whole, 2),
                     pn_expr_optional(s, pn_expr_pair(s, pn_expr_literal(b, ".", 1), digits(s, 1))),
                     pn_expr_optional(s, pn_expr_seq(b, exponent, 3))};
    return pn_expr_seq(b, all, 4);
}

static pn_expr named(struct pn_schema *s, const char *name, pn_expr body)
{
    int rule = pn_expr_new_rule(s->b, name, strlen(name));
    pn_expr_define(s->b, rule, body);
    return pn_expr_ref(s->b, rule);
}

static pn_expr list_of(struct pn_schema *s, pn_expr open, pn_expr item, pn_expr close)
{
    pn_expr more = pn_expr_repeat(s->b, pn_expr_pair(s, s->comma, item), 0, PN_EXPR_NO_MAX);
    pn_expr all[] = {open, pn_expr_optional(s, pn_expr_pair(s, item, more)), close};
    return pn_expr_seq(s->b, all, 3);
}

void pn_schema_shared(struct pn_schema *s)
{
    struct pn_expr_builder *b = s->b;
    enum pn_schema_space space = s->options->space;
    pn_expr blank = pn_expr_literal(b, " ", 1), empty = pn_expr_empty(b), line = empty;
    pn_expr one = space == PN_SCHEMA_COMPACT ? empty : pn_expr_optional(s, blank);
    if (space == PN_SCHEMA_INDENTED)
        line = pn_expr_optional(s, pn_expr_pair(s, pn_expr_literal(b, "\n", 1), pn_expr_repeat(b, blank, 0, 40)));
    pn_expr after[] = {one, line};
    s->comma =
        pn_expr_pair(s, pn_expr_literal(b, ",", 1), space == PN_SCHEMA_INDENTED ? pn_expr_choice(b, after, 2) : one);
    s->colon = pn_expr_pair(s, pn_expr_literal(b, ":", 1), one);
    s->open_object = pn_expr_pair(s, pn_expr_literal(b, "{", 1), line);
    s->close_object = pn_expr_pair(s, line, pn_expr_literal(b, "}", 1));
    s->open_array = pn_expr_pair(s, pn_expr_literal(b, "[", 1), line);
    s->close_array = pn_expr_pair(s, line, pn_expr_literal(b, "]", 1));
    pn_expr any = pn_expr_class(b, NULL, 0, true);
    s->any_string = named(s, "string", pn_schema_quoted(s, pn_expr_repeat(b, any, 0, PN_EXPR_NO_MAX)));
    s->any_number = named(s, "number", number(s));
    int value = pn_expr_new_rule(b, "value", 5);
    s->any_value = pn_expr_ref(b, value);
    s->any_array = named(s, "array", list_of(s, s->open_array, s->any_value, s->close_array));
    pn_expr member[] = {s->any_string, s->colon, s->any_value};
    s->any_object = named(s, "object", list_of(s, s->open_object, pn_expr_seq(b, member, 3), s->close_object));
    pn_expr all[] = {pn_expr_literal(b, "null", 4),
                     pn_expr_literal(b, "true", 4),
                     pn_expr_literal(b, "false", 5),
                     s->any_number,
                     s->any_string,
                     s->any_array,
                     s->any_object};
    pn_expr_define(b, value, pn_expr_choice(b, all, sizeof all / sizeof *all));
}

pn_expr pn_schema_value(struct pn_schema *s, int goal)
{
    struct pn_goal *g = &s->goals.data[goal];
    if (goal == PN_GOAL_TRUE)
        return s->any_value;
    if (goal == PN_GOAL_FALSE)
        return pn_expr_nothing(s->b);
    if (g->rule < 0) {
        const struct pn_place *place = s->literals.data[g->literals[0]].place;
        g->rule = pn_expr_new_rule(s->b, place->step, strlen(place->step));
        if (!pn_vec_push(&s->pending, goal))
            pn_schema_no_memory(s);
    }
    return pn_expr_ref(s->b, g->rule);
}
