/* Draws a grammar for Graphviz: a box per rule, calls as dashed edges. */
#include "grammar/grammar.h"

static void put_byte(struct pn_buf *out, unsigned byte)
{
    if (byte == '"' || byte == '\\')
        pn_buf_printf(out, "\\%c", (char)byte);
    else if (byte > 0x20 && byte < 0x7F)
        pn_buf_putc(out, (char)byte);
    else
        pn_buf_printf(out, "%02X", byte);
}

/* All byte edges between two states share one arrow. */
static void put_bytes(const struct pn_grammar *g, uint32_t state, struct pn_buf *out)
{
    for (uint32_t i = g->byte_first[state]; i < g->byte_first[state + 1]; i++) {
        bool seen = false;
        for (uint32_t k = g->byte_first[state]; k < i; k++)
            seen = seen || g->bytes[k].to == g->bytes[i].to;
        if (seen)
            continue;
        pn_buf_printf(out, "    %u -> %u [label=\"", state, g->bytes[i].to);
        for (uint32_t k = i; k < g->byte_first[state + 1]; k++) {
            if (g->bytes[k].to != g->bytes[i].to)
                continue;
            pn_buf_puts(out, k > i ? " " : "");
            put_byte(out, g->bytes[k].first);
            if (g->bytes[k].first != g->bytes[k].last) {
                pn_buf_putc(out, '-');
                put_byte(out, g->bytes[k].last);
            }
        }
        pn_buf_puts(out, "\"];\n");
    }
}

static void put_name(struct pn_buf *out, const char *name)
{
    for (; *name; name++)
        put_byte(out, *name == ' ' ? '_' : (unsigned char)*name);
}

static void put_state(const struct pn_grammar *g, uint32_t state, struct pn_buf *out)
{
    pn_buf_printf(out, "    %u [shape=%s];\n", state, g->flags[state] & PN_STATE_FINAL ? "doublecircle" : "circle");
    put_bytes(g, state, out);
    for (uint32_t i = g->call_first[state]; i < g->call_first[state + 1]; i++) {
        pn_buf_printf(out, "    %u -> %u [style=dashed, label=\"%u ", state, g->calls[i].to, g->calls[i].what);
        put_name(out, g->rules[g->calls[i].what].name);
        pn_buf_puts(out, "\"];\n");
    }
    for (uint32_t i = g->token_first[state]; i < g->token_first[state + 1]; i++) {
        const struct pn_token_label *label = &g->labels[g->tokens[i].what];
        pn_buf_printf(out, "    %u -> %u [style=bold, label=\"%s", state, g->tokens[i].to, label->negate ? "!" : "");
        if (label->text)
            put_name(out, label->text);
        else
            pn_buf_printf(out, "[%d%s]", label->n ? (int)label->ids[0] : -1, label->n > 1 ? " ..." : "");
        pn_buf_puts(out, "\"];\n");
    }
}

void pn_grammar_dot(const struct pn_grammar *g, struct pn_buf *out)
{
    uint32_t state = 0;
    pn_buf_puts(out, "digraph grammar {\n  rankdir=LR;\n");
    for (uint32_t r = 0; r < g->n_rules; r++) {
        const struct pn_grammar_rule *rule = &g->rules[r];
        if (rule->start == UINT32_MAX) { /* nothing calls it */
            while (state < g->n_states && g->rule_of[state] == r)
                state++;
            continue;
        }
        pn_buf_printf(out, "  subgraph cluster_%u {\n    label=\"%u ", r, r);
        put_name(out, rule->name);
        if (rule->counts && rule->max == PN_EXPR_NO_MAX)
            pn_buf_printf(out, " {%d,}", (int)rule->min);
        else if (rule->counts)
            pn_buf_printf(out, " {%d,%d}", (int)rule->min, (int)rule->max);
        pn_buf_printf(out, "\";\n    in%u [shape=point];\n    in%u -> %u;\n", r, r, rule->start);
        for (; state < g->n_states && g->rule_of[state] == r; state++) /* states are numbered rule by rule */
            put_state(g, state, out);
        pn_buf_puts(out, "  }\n");
    }
    pn_buf_puts(out, "}\n");
}
