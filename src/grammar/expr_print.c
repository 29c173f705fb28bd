/* Prints expressions, for people: see expr.h. */
#include "grammar/expr.h"

/* One character of a literal or class; `special` are those that need a backslash. */
static void put_char(struct pn_buf *out, uint32_t c, bool is_byte, const char *special)
{
    if (c == '\n')
        pn_buf_puts(out, "\\n");
    else if (c == '\t')
        pn_buf_puts(out, "\\t");
    else if (c == '\r')
        pn_buf_puts(out, "\\r");
    else if (c < 0x20 || c == 0x7F || (is_byte && c >= 0x80))
        pn_buf_printf(out, "\\x%02X", (unsigned)c);
    else if (c > 0xFFFF)
        pn_buf_printf(out, "\\U%08X", (unsigned)c);
    else if (c > 0x7E)
        pn_buf_printf(out, "\\u%04X", (unsigned)c);
    else {
        for (const char *s = special; *s; s++)
            if (c == (unsigned char)*s)
                pn_buf_putc(out, '\\');
        pn_buf_putc(out, (char)c);
    }
}

static void print_class(struct pn_buf *out, const struct pn_expr_node *node)
{
    pn_buf_putc(out, '[');
    for (uint32_t i = 0; i < node->n; i++) {
        put_char(out, node->ranges[i].first, false, "[]\\^-");
        if (node->ranges[i].last == node->ranges[i].first)
            continue;
        pn_buf_putc(out, '-');
        put_char(out, node->ranges[i].last, false, "[]\\^-");
    }
    pn_buf_putc(out, ']');
}

static void print_token(struct pn_buf *out, const struct pn_expr_node *node)
{
    pn_buf_puts(out, node->negate ? "!" : "");
    if (node->named) {
        pn_buf_append(out, node->bytes, node->n);
        return;
    }
    pn_buf_puts(out, "<[");
    for (uint32_t i = 0; i < node->n; i++)
        pn_buf_printf(out, i ? " %d" : "%d", (int)node->ids[i]);
    pn_buf_puts(out, "]>");
}

static void print_items(const struct pn_expr_builder *b, const struct pn_expr_node *node, const char *between,
                        struct pn_buf *out)
{
    pn_buf_putc(out, '(');
    for (uint32_t i = 0; i < node->n; i++) {
        pn_buf_puts(out, i ? between : "");
        pn_expr_print(b, node->items[i], out);
    }
    pn_buf_putc(out, ')');
}

static void print_repeat(const struct pn_expr_builder *b, const struct pn_expr_node *node, struct pn_buf *out)
{
    pn_expr_print(b, node->item, out);
    if (node->max == PN_EXPR_NO_MAX && node->min <= 1)
        pn_buf_puts(out, node->min ? "+" : "*");
    else if (node->max == PN_EXPR_NO_MAX)
        pn_buf_printf(out, "{%d,}", (int)node->min);
    else if (node->min == 0 && node->max == 1)
        pn_buf_puts(out, "?");
    else if (node->min == node->max)
        pn_buf_printf(out, "{%d}", (int)node->min);
    else
        pn_buf_printf(out, "{%d,%d}", (int)node->min, (int)node->max);
}

void pn_expr_print(const struct pn_expr_builder *b, pn_expr e, struct pn_buf *out)
{
    if (e < 0) {
        pn_buf_puts(out, "(error)");
        return;
    }
    const struct pn_expr_node *node = pn_expr_get(b, e);
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        pn_buf_putc(out, '"');
        for (uint32_t i = 0; i < node->n; i++)
            put_char(out, (unsigned char)node->bytes[i], true, "\"\\");
        pn_buf_putc(out, '"');
        return;
    case PN_EXPR_CLASS:
        print_class(out, node);
        return;
    case PN_EXPR_SEQ:
        print_items(b, node, " ", out);
        return;
    case PN_EXPR_CHOICE:
        print_items(b, node, " | ", out);
        return;
    case PN_EXPR_AND:
        print_items(b, node, " & ", out);
        return;
    case PN_EXPR_REPEAT:
        print_repeat(b, node, out);
        return;
    case PN_EXPR_REF:
        pn_buf_append(out, pn_expr_rule_name(b, node->rule).data, pn_expr_rule_name(b, node->rule).len);
        return;
    case PN_EXPR_TOKEN:
        print_token(out, node);
        return;
    case PN_EXPR_NOT:
        pn_buf_puts(out, "~");
        pn_expr_print(b, node->item, out);
        return;
    case PN_EXPR_JSON:
        pn_buf_puts(out, "json(");
        pn_expr_print(b, node->item, out);
        pn_buf_puts(out, ")");
        return;
    }
}
