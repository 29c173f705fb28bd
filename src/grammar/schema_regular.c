/* Questions about regular languages, answered by compiling them. */
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/schema_impl.h"

#include <stdlib.h>

/* The same expression in another builder: the schema's own is not complete yet. */
static pn_expr copy(const struct pn_expr_builder *from, pn_expr e, struct pn_expr_builder *to)
{
    const struct pn_expr_node *node = pn_expr_get(from, e);
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        return pn_expr_literal(to, node->bytes, node->n);
    case PN_EXPR_CLASS:
        return pn_expr_class(to, node->ranges, node->n, false);
    case PN_EXPR_SEQ:
    case PN_EXPR_CHOICE:
    case PN_EXPR_AND: {
        pn_expr *items = malloc((node->n + 1) * sizeof *items), out = PN_EXPR_NONE;
        for (uint32_t i = 0; items && i < node->n; i++)
            items[i] = copy(from, node->items[i], to);
        if (items && node->kind == PN_EXPR_AND)
            out = pn_expr_and(to, items[0], items[1]);
        else if (items)
            out = node->kind == PN_EXPR_SEQ ? pn_expr_seq(to, items, node->n) : pn_expr_choice(to, items, node->n);
        free(items);
        return out;
    }
    case PN_EXPR_REPEAT:
        return pn_expr_repeat(to, copy(from, node->item, to), node->min, node->max);
    case PN_EXPR_NOT:
        return pn_expr_not(to, copy(from, node->item, to));
    case PN_EXPR_JSON:
        return pn_expr_json_chars(to, copy(from, node->item, to));
    case PN_EXPR_REF:
    case PN_EXPR_TOKEN:
        break;
    }
    return PN_EXPR_NONE; /* not regular */
}

static pantry_status compile(const struct pn_expr_builder *from, pn_expr e, struct pn_grammar **out,
                             struct pantry_error *err)
{
    struct pn_expr_builder *b = NULL;
    pantry_status status = pn_expr_builder_new(&b, err);
    pn_expr root = status ? PN_EXPR_NONE : copy(from, e, b);
    if (!status)
        status = pn_expr_status(b, err);
    if (!status)
        status = root == PN_EXPR_NONE ? PANTRY_NO_MEMORY : pn_grammar_compile(b, root, out, err);
    pn_expr_builder_free(b);
    return status;
}

static const struct pn_compiled *compiled(struct pn_schema *s, pn_expr e)
{
    struct pn_compiled new = {.e = e};
    struct pantry_error why = {0};
    for (size_t i = 0; i < s->compiled.len; i++)
        if (s->compiled.data[i].e == e)
            return &s->compiled.data[i];
    if (s->status || e == PN_EXPR_NONE || !pn_schema_step(s, NULL, 2000))
        return NULL;
    pantry_status status = compile(s->b, e, &new.grammar, &why);
    new.empty = status == PANTRY_UNSUPPORTED;
    if (!pn_vec_push(&s->compiled, new)) {
        pn_grammar_free(new.grammar);
        return pn_schema_no_memory(s);
    }
    return &s->compiled.data[s->compiled.len - 1];
}

bool pn_language_has(struct pn_schema *s, const struct pn_language *language, struct pn_str text)
{
    const struct pn_compiled *c = compiled(s, language->e);
    bool accepted = false;
    if (!c || s->status)
        return false;
    if (!c->grammar && !c->empty) {
        pn_schema_fail(s, PANTRY_LIMIT, NULL, NULL, "a pattern is too large for a grammar");
        return false;
    }
    if (c->grammar) {
        pantry_status status = pn_grammar_accepts(c->grammar, text.data, text.len, &accepted, s->err);
        if (status)
            s->status = status;
    }
    return accepted != language->negated;
}

bool pn_regular_is_empty(struct pn_schema *s, pn_expr e)
{
    const struct pn_compiled *c = compiled(s, e);
    return c && c->empty;
}

void pn_regular_free(struct pn_schema *s)
{
    for (size_t i = 0; i < s->compiled.len; i++)
        pn_grammar_free(s->compiled.data[i].grammar);
    free(s->compiled.data);
}
